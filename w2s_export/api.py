"""The public functions, with the keywords of the command line; `import w2s_export as w2s`.

The keywords stand in `w2s_export.options`, with their help. Nothing heavy is imported before a
function needs it, and a call leaves the process as it found it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, cast, overload

from w2s_export.errors import ConfigError, OutputError
from w2s_export.keywords import documented, help_of, with_keywords_of
from w2s_export.options import (
    ArrayOptions,
    EvaluateCall,
    ExportCall,
    NetworkOptions,
    PathLike,
    RestoreOptions,
    SimulateCall,
    SubmitCall,
    TrainCall,
    VerifyCall,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from w2s_export.evaluate.compare import Evaluation
    from w2s_export.export import ExportResult
    from w2s_export.network import Network
    from w2s_export.package.network import BareWeights, PackagedNetwork
    from w2s_export.restore.batch import Outcome, Progress
    from w2s_export.restore.inputs import Found
    from w2s_export.simulation.sets import SimulatedSet
    from w2s_export.submit import Submission
    from w2s_export.training.run import Trained
    from w2s_export.verify.report import Report

P = ParamSpec("P")
Q = ParamSpec("Q")


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


@with_keywords_of(ExportCall)
def export(options: ExportCall) -> ExportResult:
    """Turn weights into two verified packages and a report.

    Raises:
        W2SExportError: bad input; the output folder is left as it was.
    """
    from w2s_export.export import export as run

    return run(options, options.progress)


@with_keywords_of(VerifyCall)
def verify(options: VerifyCall) -> Report:
    """Say in which clients a bioimage.io package runs, and why not in others.

    Raises:
        PackageError: the file cannot be read at all.
        ConfigError: no such client.
    """
    from w2s_export.verify.verdicts import named_clients
    from w2s_export.verify.verify import verify as run

    return run(
        [Path(path) for path in _several(options.package)],
        rules_only=options.rules_only,
        asked=named_clients(_several(options.client or ())),
        progress=options.progress,
    )


class _Restore(Protocol[P, Q]):
    """Restores an array with the keywords `P`, or files with the keywords `Q`."""

    @overload
    def __call__(
        self, images: NDArray[Any], *values: P.args, **keywords: P.kwargs
    ) -> NDArray[np.float32]: ...
    @overload
    def __call__(
        self, images: PathLike | Sequence[PathLike], *values: Q.args, **keywords: Q.kwargs
    ) -> list[Outcome]: ...


def _restoring(
    array: Callable[P, ArrayOptions], files: Callable[Q, RestoreOptions]
) -> _Restore[P, Q]:
    """The function; its keywords are those of the two classes, for type checkers too."""
    of_array: Any = array
    of_files: Any = files
    parameters = {
        parameter.name: parameter
        for options in (files, array)
        for parameter in inspect.signature(options).parameters.values()
    }
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    first = inspect.Parameter("images", kind, annotation="NDArray | PathLike | Sequence[PathLike]")

    def restore(images: Any, **keywords: Any) -> Any:
        """Restore an array in memory, or files into a folder.

        An array takes the network's keywords and `axes`; files take all others, and need `output`.

        Returns:
            Of an array: the restored array, float32, of the same axes, height and width `scale`
            times as large; with `uncertainty` mean and standard deviation along one axis more, in
            front. Of paths: what became of each image.

        Raises:
            W2SExportError: the network cannot be used, or the array does not fit it.
        """
        in_memory = hasattr(images, "__array__")
        try:  # its error names the keyword
            inspect.signature(array if in_memory else files).bind(**keywords)
        except TypeError as error:
            raise TypeError(
                f"restore() of {'an array' if in_memory else 'files'} {error}"
            ) from None
        if in_memory:
            from w2s_export.restore.arrays import restore_array

            options = of_array(**keywords)
            network = _network(options)
            return restore_array(images, network, options.axes, uncertainty=options.uncertainty)
        outcomes, _ = restore_paths([str(path) for path in _several(images)], of_files(**keywords))
        return outcomes

    texts = {"images": "an array of counts, or paths of images, folders and globs."}
    signature = inspect.Signature(
        [first, *parameters.values()], return_annotation="NDArray | list[Outcome]"
    )
    documented(restore, signature, texts | help_of(array) | help_of(files))
    return cast("_Restore[P, Q]", restore)


restore = _restoring(ArrayOptions, RestoreOptions)


def restore_paths(
    paths: Sequence[str],
    options: RestoreOptions,
    progress: Callable[[Progress], None] = lambda _: None,
    finished: Callable[[Outcome], None] = lambda _: None,
) -> tuple[list[Outcome], Found]:
    """Restore files; what became of each image, and what was found.

    Raises:
        ConfigError: options that exclude each other, or no image at all.
        W2SExportError: the network cannot be used.
    """
    from w2s_export.restore.batch import restore_files
    from w2s_export.restore.inputs import find
    from w2s_export.restore.memory import memory_budget
    from w2s_export.runtime.threads import MOST_THREADS

    if options.workers is not None and options.scheduler is not None:
        raise ConfigError("--workers and --scheduler exclude each other; give one")
    for name, number in (("--workers", options.workers), ("--threads", options.threads)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} {number}: give 1 or more")
    if options.threads is not None and options.threads > MOST_THREADS:
        raise ConfigError(
            f"--threads {options.threads}: more than any machine has cores; give {MOST_THREADS} "
            "or fewer"
        )
    if options.cpu_fast:
        if options.engine not in ("auto", "cpu") or options.precision == 16:
            raise ConfigError(
                "--cpu-fast is ONNX Runtime on a CPU in float32; leave it out, or leave out "
                "--engine and --precision"
            )
        options = replace(options, engine="cpu")
    options = replace(options, memory=memory_budget(options))
    output = Path(options.output)
    if output.is_file():
        raise OutputError(f"--output {output}: is a file; give a folder")
    found = find(paths, output)
    network = _network(options, cpu_fast=options.cpu_fast)
    outcomes = restore_files(
        found.images,
        output,
        network,
        options,
        distribution=options,
        progress=progress,
        finished=finished,
    )
    return outcomes, found


@with_keywords_of(TrainCall)
def train(options: TrainCall) -> Trained:
    """Train a generator on paired images.

    Raises:
        W2SExportError: the configuration or the data cannot be used.
    """
    from w2s_export.training.config import read_training_config
    from w2s_export.training.run import train as run

    config = read_training_config(Path(options.config))
    if options.steps is not None:
        config = config.with_steps(options.steps)
    data, output = Path(options.data), Path(options.output)
    return run(config, data, output, resume=options.resume, progress=options.progress)


@with_keywords_of(EvaluateCall)
def evaluate(options: EvaluateCall) -> Evaluation:
    """Compare networks and bicubic enlargement on paired images.

    Raises:
        W2SExportError: a checkpoint or an image cannot be used.
    """
    from w2s_export.data.normalise import as_normalisation
    from w2s_export.evaluate.compare import chosen_pairs
    from w2s_export.evaluate.compare import evaluate as run
    from w2s_export.evaluate.report import check_request, write_evaluation
    from w2s_export.sources.feature_weights import load_features
    from w2s_export.sources.load import Reading

    normalisation = as_normalisation(options.normalisation)
    weights = options.feature_weights
    features = load_features(Path(weights)).stages if weights else None
    folder, config = Path(options.data), options.config
    files = chosen_pairs(folder, options.low, options.high, _path(config), options.split)
    shown, output = _several(options.show or ()), options.output
    if output is not None:
        check_request(Path(output), options.overwrite, files, shown)
    evaluation = run(
        [Path(path) for path in options.checkpoints],
        files,
        normalisation=normalisation,
        tile=options.tile,
        features=features,
        reading=Reading(options.dynamic, options.signature),
        progress=options.progress,
    )
    if output is not None:
        write_evaluation(evaluation, Path(output), shown=shown)
    return evaluation


@with_keywords_of(SimulateCall)
def simulate(options: SimulateCall) -> SimulatedSet:
    """Simulate pairs of widefield and SIM images; what was simulated.

    Raises:
        ConfigError: a setting out of range.
        OutputError: the folder cannot be written.
    """
    from w2s_export.simulation.sets import planned_set, write_simulated_set

    plan = planned_set(options)
    write_simulated_set(plan, Path(options.output), options.progress)
    return plan


@with_keywords_of(SubmitCall)
def submit(options: SubmitCall) -> Submission:
    """Check a package as the bioimage.io zoo does, and send it if `yes` says so.

    Raises:
        W2SExportError: the package cannot be read or sent.
    """
    from w2s_export.submit import submit as run

    return run(
        Path(options.package),
        yes=options.yes,
        hugging_face=options.hugging_face,
        output=_path(options.output),
        progress=options.progress,
    )


def _network(options: NetworkOptions, *, cpu_fast: bool = False) -> BareWeights | PackagedNetwork:
    from w2s_export.data.normalise import as_normalisation
    from w2s_export.package.network import open_network
    from w2s_export.sources.load import Reading

    return open_network(
        _path(options.package),
        _path(options.weights),
        scale=options.scale,
        normalisation=as_normalisation(options.normalisation),
        cpu_fast=cpu_fast,
        reading=Reading(options.dynamic, options.signature),
    )


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)


def _several(given: Any) -> list[Any]:
    """One name or path, or several, as a list."""
    return [given] if isinstance(given, str | Path) else list(given)
