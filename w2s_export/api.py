"""The public functions, with the keywords of the command line; `import w2s_export as w2s`.

Nothing heavy is imported before a function needs it, and a call leaves the process as it found it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from w2s_export.config import Normalisation
    from w2s_export.evaluate.compare import Evaluation
    from w2s_export.export import ExportResult
    from w2s_export.network import Network
    from w2s_export.restore.batch import Outcome
    from w2s_export.submit import Submission
    from w2s_export.training.run import Trained
    from w2s_export.verify.report import Report

PathLike: TypeAlias = str | Path


def load(
    path: PathLike,
    *,
    scale: int | None = None,
    dynamic: bool = False,
    signature: str | None = None,
) -> Network:
    """Load the network of a file of any known format; nothing in it is executed.

    Args:
        path: weights, a package, or the folder of a SavedModel. Its content decides the format.
        scale: output pixels per input pixel, where the file does not record it.
        dynamic: let a network of another family take other sizes than its file fixes.
        signature: of a SavedModel that has several.

    Raises:
        W2SExportError: no network that this tool can use; the message says what the file is.
    """
    from w2s_export.sources.load import load_network

    return load_network(Path(path), scale=scale, dynamic=dynamic, signature=signature)


def export(
    weights: PathLike | None = None,
    *,
    sample: PathLike | None = None,
    output: PathLike = "w2s-export-output",
    name: str | None = None,
    metadata: PathLike | None = None,
    normalisation: str | Normalisation | None = None,
    scale: int | None = None,
    plane: int | None = None,
    repeat_channels: bool = False,
    output_normalisation: str | None = None,
    fold_channels: bool = False,
    dynamic: bool = False,
    signature: str | None = None,
    cpu_fast: bool = False,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Turn weights into two verified packages and a report.

    Args:
        weights: a file of any known format; by default the embedded model.
        sample: image of the kind that the network restores, TIFF or PNG.
        output: folder for the packages and the report.
        name: of the model.
        metadata: YAML file with authors, citations, licence and tags.
        normalisation: as `--normalisation` writes it, or a configuration of it.
        scale: output pixels per input pixel, where the weights do not record it.
        plane: of the sample, if it is a stack.
        repeat_channels: give a grey sample to every channel of a colour network.
        output_normalisation: what the result is scaled to, as `--output-normalisation` writes it.
        fold_channels: turn a network of colour images into one for grey images.
        dynamic: let the network take images of other sizes than its file fixes.
        signature: of a SavedModel that has several.
        cpu_fast: add the fast CPU graph.
        overwrite: replace the files of an earlier export.
        progress: called with a short text when a stage begins.

    Raises:
        W2SExportError: bad input; the output folder is left as it was.
    """
    from w2s_export.export import ExportRequest
    from w2s_export.export import export as run

    request = ExportRequest(
        output=Path(output),
        weights=_path(weights),
        scale=scale,
        sample=_path(sample),
        plane=plane,
        repeat_channels=repeat_channels,
        output_normalisation=output_normalisation,
        fold_channels=fold_channels,
        dynamic=dynamic,
        signature=signature,
        metadata=_path(metadata),
        name=name,
        normalisation=_normalisation(normalisation),
        cpu_fast=cpu_fast,
        overwrite=overwrite,
    )
    return run(request, progress)


def verify(
    package: PathLike | Sequence[PathLike],
    *,
    client: str | Sequence[str] = (),
    rules_only: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Say in which clients a bioimage.io package runs, and why not in others.

    Args:
        package: the zip, of anybody's making, or the zips of one model.
        client: whom to ask, as on the command line; those the package is meant for by default.
        rules_only: do not run its weights; no framework is loaded.
        progress: called with a short text when a step begins.

    Raises:
        PackageError: the file cannot be read at all.
        ConfigError: no such client.
    """
    from w2s_export.verify.verdicts import named_clients
    from w2s_export.verify.verify import verify as run

    asked = named_clients([client] if isinstance(client, str) else client)
    paths = [package] if isinstance(package, str | Path) else package
    return run(
        [Path(path) for path in paths], rules_only=rules_only, asked=asked, progress=progress
    )


@overload
def restore(
    images: NDArray[Any],
    *,
    package: PathLike | None = ...,
    weights: PathLike | None = ...,
    axes: str | None = ...,
    scale: int | None = ...,
    normalisation: str | Normalisation | None = ...,
) -> NDArray[np.float32]: ...


@overload
def restore(
    images: PathLike | Sequence[PathLike],
    *,
    output: PathLike,
    package: PathLike | None = ...,
    weights: PathLike | None = ...,
    scale: int | None = ...,
    normalisation: str | Normalisation | None = ...,
    **options: Any,
) -> list[Outcome]: ...


def restore(
    images: Any,
    *,
    output: PathLike | None = None,
    package: PathLike | None = None,
    weights: PathLike | None = None,
    axes: str | None = None,
    scale: int | None = None,
    normalisation: str | Normalisation | None = None,
    **options: Any,
) -> Any:
    """Restore an array in memory, or files into a folder.

    Args:
        images: an array of counts, or paths of images, folders and globs.
        output: folder for the results, of paths alone.
        package: package of this tool; by default the embedded model.
        weights: weights instead of a package.
        axes: of the array: `HW`, `CHW`, `NCHW`, or any order of these letters, e.g. `HWC`. By
            default `HW`, `CHW` or `NCHW` by its number of axes. Each image is normalised by itself.
        scale: output pixels per input pixel, where the weights do not record it.
        normalisation: as `--normalisation` writes it, or a configuration of it.
        options: `dynamic` and `signature`, as for `load`; and of files alone fields of
            `restore.image.Options`, e.g. `overwrite=True`.

    Returns:
        Of an array: the restored array, float32, of the same axes, height and width `scale` times
        as large. Of paths: what became of each image.

    Raises:
        W2SExportError: the network cannot be used, or the array does not fit it.
    """
    from w2s_export.package.network import open_network
    from w2s_export.sources.load import Reading

    how = _normalisation(normalisation)
    reading = Reading(options.pop("dynamic", False), options.pop("signature", None))
    network = open_network(
        _path(package), _path(weights), scale=scale, normalisation=how, reading=reading
    )
    if hasattr(images, "__array__"):
        from w2s_export.restore.arrays import restore_array

        return restore_array(images, network.model, network.open, axes)
    if output is None:
        raise TypeError("restore(paths) needs output=FOLDER")
    from w2s_export.restore.batch import restore_files
    from w2s_export.restore.image import Options
    from w2s_export.restore.inputs import find
    from w2s_export.restore.memory import free_bytes

    given = [images] if isinstance(images, str | Path) else list(images)
    found = find([str(path) for path in given], Path(output))
    options.setdefault("memory", free_bytes() // 2)
    return restore_files(
        found.images, Path(output), network.model, network.open, Options(**options)
    )


def train(config: PathLike, *, data: PathLike, output: PathLike, resume: bool = False) -> Trained:
    """Train a generator on paired images.

    Args:
        config: YAML file; `w2s-export train --explain` documents its keys.
        data: folder that holds the folders of inputs and targets.
        output: folder for the checkpoint, the log and the state that resuming needs.
        resume: go on with an interrupted training in that folder.

    Raises:
        W2SExportError: the configuration or the data cannot be used.
    """
    from w2s_export.training.config import read_training_config
    from w2s_export.training.run import train as run

    return run(read_training_config(Path(config)), Path(data), Path(output), resume=resume)


def evaluate(
    checkpoints: Sequence[PathLike],
    *,
    data: PathLike,
    output: PathLike | None = None,
    low: str = "lr",
    high: str = "hr",
    normalisation: str | Normalisation | None = None,
) -> Evaluation:
    """Compare networks and bicubic enlargement on paired images.

    Args:
        checkpoints: files of any known format, none for bicubic alone.
        data: folder that holds the folders of inputs and targets, files of the same names.
        output: folder for tables and a figure, if they are wanted.
        low: folder of inputs in `data`.
        high: folder of targets in `data`.
        normalisation: for checkpoints that do not record it.

    Raises:
        W2SExportError: a checkpoint or an image cannot be used.
    """
    from w2s_export.data.pairs import match_names
    from w2s_export.evaluate.compare import evaluate as run
    from w2s_export.evaluate.report import write_evaluation

    files = match_names(Path(data) / low, Path(data) / high)
    how = _normalisation(normalisation)
    evaluation = run([Path(path) for path in checkpoints], files, normalisation=how)
    if output is not None:
        write_evaluation(evaluation, Path(output))
    return evaluation


def simulate(output: PathLike, **settings: Any) -> None:
    """Simulate pairs of widefield and SIM images.

    Args:
        output: folder to make: avgN/ for every noise level, sim/ and simulation.yaml.
        settings: fields of `simulation.sets.SimulatedSet`, e.g. `fields=24`, `seed=1`.

    Raises:
        ConfigError: a setting that is not known or out of range.
        OutputError: the folder cannot be written.
    """
    from w2s_export.config import parse_config
    from w2s_export.simulation.sets import SimulatedSet, write_simulated_set

    write_simulated_set(parse_config(SimulatedSet, settings, "simulate"), Path(output))


def submit(
    package: PathLike,
    *,
    yes: bool = False,
    hugging_face: str | None = None,
    output: PathLike | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Submission:
    """Check a package as the bioimage.io zoo does, and send it if `yes` says so.

    Args:
        package: `NAME.bioimageio.zip`.
        yes: send it, if nothing is missing. Without it nothing leaves this machine.
        hugging_face: USER or USER/REPOSITORY on Hugging Face, in place of the zoo.
        output: folder for the files as Hugging Face gets them: model card, pictures, package.
        progress: called with a short text when a step begins.

    Raises:
        W2SExportError: the package cannot be read or sent.
    """
    from w2s_export.submit import submit as run

    return run(
        Path(package), yes=yes, hugging_face=hugging_face, output=_path(output), progress=progress
    )


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)


def _normalisation(given: str | Normalisation | None) -> Normalisation | None:
    from w2s_export.data.normalise import parse_normalisation

    return parse_normalisation(given) if isinstance(given, str) else given
