"""Checks by numbers: the same image from every format, from the test tensors, and from tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.normalise import normalise
from w2s_export.errors import ImageError, PackageError
from w2s_export.io.images import read_image
from w2s_export.metrics.parity import Parity, compare
from w2s_export.rdf.stated import CPU_FAST, DescriptionError, at, axis_plans, example_files
from w2s_export.restore.halo import SEAM_TOLERANCE, four_tiles
from w2s_export.verify.cases import Case
from w2s_export.verify.clients.core_processing import preprocess
from w2s_export.verify.clients.jdll import plan, restore
from w2s_export.verify.contents import Contents
from w2s_export.verify.findings import Client, Code, Finding

if TYPE_CHECKING:
    from w2s_export.rdf.description import Description
    from w2s_export.runtime.protocol import Runtime

TOLERANCE = 1e-4
"""Largest difference between two outputs that count as the same image, part of the output's range.
Measured between Keras, ONNX Runtime and TensorFlow, 12 thousand to 16.6 million parameters: up to
1e-6 (float32 sums in another order). A real fault is above: weights rounded to float16 1.7e-4 to
4.6e-4, percentiles 1 and 99 for 0.1 and 99.9 at least 7e-2, an output shifted by one pixel 5e-1."""

SEAM_LIMIT = SEAM_TOLERANCE + 2e-6
"""Largest seam between tiles on the sample, part of the output's range: what the halo was measured
for on the same tiles, and twice what runtimes differ by. Half the halo gives 5e-3 (default model)
to 2e-2 (a trained network of 6 blocks), none 7e-2 to 6e-1."""

FAST_SEAM_LIMIT = SEAM_TOLERANCE + 2e-5
"""The same for the fast CPU graph: twice the 8.5e-6 by which it differed from the direct one with a
trained network of 6 blocks."""

EXPORT_AGAIN = "export again; if it happens again it is a bug of w2s-export"

Runtimes = Mapping[str, "Runtime"]
"""A package's loaded weights by their format's key in the rdf."""


@dataclass(slots=True)
class Outcome:
    """What the checks gather: rows of the table, and findings."""

    parity: list[Parity] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    outputs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """The restored sample, (C, H, W), by runtime and package."""

    def judge(
        self,
        code: Code,
        where: str,
        row: Parity,
        limit: float = TOLERANCE,
        clients: tuple[Client, ...] = (),
    ) -> None:
        """Add a row, and a finding where it is beyond the limit."""
        self.parity.append(row)
        if not row.max_relative <= limit:
            message = (
                f"{row.subject}, {row.case}: differs by {row.max_relative:.2g} of the range "
                f"({row.max_abs:.2g}), at most {limit:g} is allowed"
            )
            finding = Finding(code, where, message, clients=clients, remedy=EXPORT_AGAIN)
            self.findings.append(finding)


def load_weights(
    contents: Contents,
    loaders: Mapping[str, Callable[[Path], Runtime]],
    outcome: Outcome,
    loaded: Mapping[str, Runtime],
) -> dict[str, Runtime]:
    """Load every weights file a package should hold.

    Args:
        contents: the package.
        loaders: makes a runtime of a weights file, by its format's key in the rdf.
        outcome: gains a finding for each file that is missing or does not load.
        loaded: runtimes of files that are loaded already, by their SHA-256.
    """
    runtimes = {}
    for weights_format, load in loaders.items():
        where = f"{contents.name}: weights.{weights_format}"
        path = contents.weights(weights_format)
        try:
            if path is None:
                raise PackageError("holds no whole file of this format")
            runtimes[weights_format] = loaded.get(contents.hashes[path.name]) or load(path)
        except PackageError as error:
            outcome.findings.append(
                Finding(Code.weights_unloadable, where, str(error), remedy=EXPORT_AGAIN)
            )
    return runtimes


def compare_with_source(
    contents: Contents,
    runtimes: Runtimes,
    expected: Sequence[tuple[Case, NDArray[np.float32]]],
    outcome: Outcome,
) -> None:
    """Run every case through every format, against the source's output."""
    for weights_format, runtime in runtimes.items():
        where = f"{contents.name}: weights.{weights_format}"
        for case, output in expected:
            with _reported(outcome, Code.output_differs, where):
                row = compare(runtime.name, case.name, output, _run(runtime, case.batch))
                outcome.judge(Code.output_differs, where, row)


def check_tensors(contents: Contents, description: Description, outcome: Outcome) -> None:
    """Test tensors and samples hold the sample; the rdf's preprocessing is the source's."""
    files = example_files(contents.rdf)
    image = description.sample.image.astype(np.float32)
    restored = description.sample.restored
    given = (
        ("test input", Code.test_input_differs, files.test_input, image),
        ("test output", Code.test_output_differs, files.test_output, restored),
        ("sample input", Code.sample_differs, files.sample_input, image),
        ("sample output", Code.sample_differs, files.sample_output, restored),
    )
    for subject, code, name, expected in given:
        where = f"{contents.name}: {name}"
        with _reported(outcome, code, where):
            stored = _image(contents, name)
            row = compare(f"{contents.name}: {subject}", "the sample itself", expected, stored)
            outcome.judge(code, where, row, limit=0)
    where = f"{contents.name}: inputs[0].preprocessing"
    normalised = normalise(description.sample.image, description.network.normalisation)
    with _reported(outcome, Code.preprocessing_unsupported, where):
        described = preprocess(image[np.newaxis], _input(contents))[0]
        subject = f"{contents.name}: preprocessing"
        row = compare(subject, "the sample, normalised", normalised, described)
        outcome.judge(Code.preprocessing_differs, where, row)


def check_chain(contents: Contents, runtimes: Runtimes, outcome: Outcome) -> None:
    """test_input → the rdf's preprocessing → weights → test_output, as any client would."""
    files = example_files(contents.rdf)
    where = f"{contents.name}: {files.test_output}"
    for runtime in runtimes.values():
        with _reported(outcome, Code.test_output_differs, where):
            batch = preprocess(contents.array(files.test_input), _input(contents))
            expected = contents.array(files.test_output)
            case = f"sample, {batch.shape[-2]}×{batch.shape[-1]}"
            output = _run(runtime, batch)
            outcome.outputs[f"{runtime.name}, {contents.name}"] = output[0]
            row = compare(runtime.name, case, expected, output)
            outcome.judge(Code.test_output_differs, where, row)


def declared_halo(contents: Contents, description: Description, outcome: Outcome) -> int | None:
    """The halo an rdf declares, input pixels, which must be the measured one; None if unusable."""
    where = f"{contents.name}: outputs[0] halo"
    measured = description.halo.halo
    with _reported(outcome, Code.rdf_malformed, where):
        declared = sorted({plan.input_halo for plan in axis_plans(contents.rdf)})
        if declared != [measured]:
            message = f"declares {declared} input pixels, {measured} were measured"
            outcome.findings.append(Finding(Code.halo_differs, where, message, remedy=EXPORT_AGAIN))
        if len(declared) == 1 and declared[0] >= 0 and declared[0] % 1 == 0:
            return int(declared[0])
    return None


def check_seams(
    contents: Contents,
    runtimes: Runtimes,
    image: NDArray[np.float32],
    halo: int,
    description: Description,
    outcome: Outcome,
) -> None:
    """Four tiles against one tile, with the halo that the rdf declares."""
    where = f"{contents.name}: outputs[0] halo"
    scale, step = description.scale, description.step
    for number, (weights_format, runtime) in enumerate(runtimes.items()):
        limit = FAST_SEAM_LIMIT if weights_format == CPU_FAST else SEAM_LIMIT
        with _reported(outcome, Code.seams_visible, where):
            whole, tiled = four_tiles(runtime, image, scale=scale, halo=halo, step=step)
            row = compare(runtime.name, f"tiles, halo {halo}", whole, tiled)
            outcome.judge(Code.seams_visible, where, row, limit)
            if number == 0:  # the places of tiles are the same in every format
                _check_jdll(contents, runtime, image, whole, outcome)


def _check_jdll(
    contents: Contents,
    runtime: Runtime,
    image: NDArray[np.float32],
    whole: NDArray[np.float32],
    outcome: Outcome,
) -> None:
    """DeepImageJ 3.1 puts every pixel where it belongs."""
    where = f"{contents.name}: outputs[0]"
    clients = (Client.deepimagej_3_1,)
    with _reported(outcome, Code.output_differs, where, clients):
        restored = restore(_normalised(contents.rdf), image[np.newaxis], runtime)[0]
        row = compare(runtime.name, "as DeepImageJ 3.1 tiles it", whole, restored)
        outcome.judge(Code.output_differs, where, row, clients=clients)


def check_plans(contents: Contents, description: Description, outcome: Outcome) -> None:
    """DeepImageJ 3.1 plans the output that the network gives, of the sample and the smallest."""
    where = f"{contents.name}: outputs[0]"
    channels, height, width = description.sample.image.shape
    least = description.minimum
    for size in {(height, width), (least, least)}:
        with _reported(outcome, Code.test_output_size, where, (Client.deepimagej_3_1,)):
            planned = plan(contents.rdf, (1, channels, *size)).output_shape
            expected = tuple(description.scale * length for length in size)
            if planned[2:] != expected:
                message = f"of {size} plans {planned[2:]}, the network gives {expected}"
                raise PackageError(f"DeepImageJ 3.1 {message}")


@contextmanager
def _reported(
    outcome: Outcome, code: Code, where: str, clients: tuple[Client, ...] = ()
) -> Iterator[None]:
    """A check that cannot be made is a finding, not an end."""
    try:
        yield
    except (PackageError, ImageError, DescriptionError) as error:
        finding = Finding(code, where, str(error), clients=clients, remedy=EXPORT_AGAIN)
        outcome.findings.append(finding)


def _normalised(rdf: Mapping[str, Any]) -> dict[str, Any]:
    """A description that takes images as they are."""
    inputs = [{**tensor, "preprocessing": []} for tensor in rdf["inputs"]]
    return {**rdf, "inputs": inputs}


def _run(runtime: Runtime, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Restore a batch; whatever the runtime throws becomes a PackageError."""
    try:
        return runtime(batch)
    except Exception as error:  # ONNX Runtime's and TensorFlow's errors share no other class
        reason = " ".join(str(error).split())[:300]
        raise PackageError(f"{runtime.name} fails on {batch.shape}: {reason}") from None


def _input(contents: Contents) -> dict[str, Any]:
    tensor = at(contents.rdf, "inputs", 0)
    return tensor if isinstance(tensor, dict) else {}


def _image(contents: Contents, name: str | None) -> NDArray[Any]:
    """A test tensor's or a sample's only image, (C, H, W)."""
    if name is not None and name.endswith((".tif", ".tiff")) and name in contents.hashes:
        pixels = read_image(contents.folder / name).pixels
        return pixels.reshape(-1, *pixels.shape[2:])
    tensor = contents.array(name)
    return tensor[0] if tensor.ndim == 4 and len(tensor) == 1 else tensor
