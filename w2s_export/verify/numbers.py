"""Checks by numbers: the same image from every format, from the test tensors, and from tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.data.normalise import normalise
from w2s_export.errors import ImageError, PackageError
from w2s_export.io.images import read_image
from w2s_export.metrics.parity import Parity, compare
from w2s_export.rdf.reading import CPU_FAST, DescriptionError, at, axis_plans, example_files
from w2s_export.restore.halo import SEAM_TOLERANCE, fixed_tiles, four_tiles
from w2s_export.verify.cases import Case
from w2s_export.verify.clients.core_processing import preprocess
from w2s_export.verify.clients.jdll import plan, restore
from w2s_export.verify.contents import Contents
from w2s_export.verify.findings import Client, Code, Finding
from w2s_export.verify.report import Gathered, Kind

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


class Checked:
    """Where a check's rows and findings go: those of one package, and of one of its formats."""

    def __init__(
        self,
        gathered: Gathered,
        contents: Contents,
        weights_format: str = "",
        clients: tuple[Client, ...] = (),
    ) -> None:
        self.gathered = gathered
        self._package, self._format, self._clients = contents.name, weights_format, clients

    def fault(self, code: Code, where: str, message: str, case: str = "") -> None:
        """Add a finding."""
        finding = Finding(
            code,
            where,
            message,
            clients=self._clients,
            remedy=EXPORT_AGAIN,
            package=self._package,
            format=self._format,
            case=case,
        )
        self.gathered.findings.append(finding)

    def judge(
        self,
        code: Code,
        where: str,
        measured: Parity,
        kind: Kind,
        against: str,
        limit: float = TOLERANCE,
    ) -> None:
        """Add a comparison, and a finding where it is beyond the limit."""
        self.gathered.compared(
            measured,
            kind,
            against,
            package=self._package,
            weights_format=self._format,
            clients=self._clients,
        )
        if not measured.max_relative <= limit:
            message = (
                f"{measured.subject}, {measured.case}: differs by {measured.max_relative:.2g} of "
                f"the range ({measured.max_abs:.2g}), at most {limit:g} is allowed"
            )
            self.fault(code, where, message, measured.case)

    @contextmanager
    def reported(self, code: Code, where: str) -> Iterator[None]:
        """A check that cannot be made is a finding, not an end."""
        try:
            yield
        except (PackageError, ImageError, DescriptionError) as error:
            self.fault(code, where, str(error))


def load_weights(
    contents: Contents,
    loaders: Mapping[str, Callable[[Path], Runtime]],
    gathered: Gathered,
    loaded: Mapping[str, Runtime],
) -> dict[str, Runtime]:
    """Load every weights file a package should hold; some are `loaded`, by SHA-256."""
    runtimes = {}
    for weights_format, load in loaders.items():
        path = contents.weights(weights_format)
        checked = Checked(gathered, contents, weights_format)
        with checked.reported(Code.weights_unloadable, f"weights.{weights_format}"):
            if path is None:
                raise PackageError("holds no whole file of this format")
            runtimes[weights_format] = loaded.get(contents.hashes[path.name]) or load(path)
    return runtimes


def compare_with_source(
    contents: Contents,
    runtimes: Runtimes,
    source: str,
    expected: Sequence[tuple[Case, NDArray[np.float32]]],
    gathered: Gathered,
) -> None:
    """Run every case through every format, against the source's output."""
    for weights_format, runtime in runtimes.items():
        checked, where = Checked(gathered, contents, weights_format), f"weights.{weights_format}"
        for case, output in expected:
            with checked.reported(Code.output_differs, where):
                row = compare(runtime.name, case.name, output, _run(runtime, case.batch))
                checked.judge(Code.output_differs, where, row, Kind.output, source)


def check_tensors(contents: Contents, description: Description, gathered: Gathered) -> None:
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
    checked = Checked(gathered, contents)
    for subject, code, name, expected in given:
        with checked.reported(code, str(name)):
            row = compare(subject, "the sample itself", expected, _image(contents, name))
            checked.judge(code, str(name), row, Kind.file, "the sample", limit=0)
    where = "inputs[0].preprocessing"
    normalised = normalise(description.sample.image, description.network.normalisation)
    with checked.reported(Code.preprocessing_unsupported, where):
        described = preprocess(image[np.newaxis], _input(contents))[0]
        row = compare("preprocessing", "the sample, normalised", normalised, described)
        checked.judge(Code.preprocessing_differs, where, row, Kind.file, "our normalisation")


def check_chain(contents: Contents, runtimes: Runtimes, gathered: Gathered) -> None:
    """test_input → the rdf's preprocessing → weights → test_output, as any client would."""
    files = example_files(contents.rdf)
    where = str(files.test_output)
    for weights_format, runtime in runtimes.items():
        checked = Checked(gathered, contents, weights_format)
        with checked.reported(Code.test_output_differs, where):
            batch = preprocess(contents.array(files.test_input), _input(contents))
            expected = contents.array(files.test_output)
            case = f"sample, {batch.shape[-2]}×{batch.shape[-1]}"
            output = _run(runtime, batch)
            gathered.outputs[f"{runtime.name}, {contents.name}"] = output[0]
            row = compare(runtime.name, case, expected, output)
            checked.judge(Code.test_output_differs, where, row, Kind.output, "the test output")


def declared_halo(contents: Contents, description: Description, gathered: Gathered) -> int | None:
    """The halo an rdf declares, input pixels, which must be the measured one; None if unusable."""
    checked, where = Checked(gathered, contents), "outputs[0] halo"
    measured = description.halo.halo
    with checked.reported(Code.rdf_malformed, where):
        declared = sorted({plan.input_halo for plan in axis_plans(contents.rdf)})
        if declared != [measured]:
            message = f"declares {declared} input pixels, {measured} were measured"
            checked.fault(Code.halo_differs, where, message)
        if len(declared) == 1 and declared[0] >= 0 and declared[0] % 1 == 0:
            return int(declared[0])
    return None


def check_seams(
    contents: Contents,
    runtimes: Runtimes,
    image: NDArray[np.float32],
    halo: int,
    description: Description,
    gathered: Gathered,
) -> None:
    """Four tiles against one tile, with the halo that the rdf declares."""
    where = "outputs[0] halo"
    scale, step, fixed = description.scale, description.step, description.network.fixed
    for number, (weights_format, runtime) in enumerate(runtimes.items()):
        limit = FAST_SEAM_LIMIT if weights_format == CPU_FAST else SEAM_LIMIT
        limit += description.halo.tolerance - SEAM_TOLERANCE
        checked = Checked(gathered, contents, weights_format)
        with checked.reported(Code.seams_visible, where):
            if fixed is None:
                unknown = description.network.facts.receptive_radius is None
                whole, tiled = four_tiles(
                    runtime, image, scale=scale, halo=halo, step=step, off_grid=unknown
                )
            else:
                whole, tiled = fixed_tiles(runtime, image, scale=scale, halo=halo, fixed=fixed)
            row = compare(runtime.name, f"tiles, halo {halo}", whole, tiled)
            checked.judge(Code.seams_visible, where, row, Kind.tiles, "the whole image", limit)
            if number == 0 and fixed is None:  # the places of tiles are the same in every format
                _check_jdll(contents, weights_format, runtime, image, whole, gathered)


def _check_jdll(
    contents: Contents,
    weights_format: str,
    runtime: Runtime,
    image: NDArray[np.float32],
    whole: NDArray[np.float32],
    gathered: Gathered,
) -> None:
    """DeepImageJ 3.1 puts every pixel where it belongs."""
    checked = Checked(gathered, contents, weights_format, (Client.deepimagej_3_1,))
    with checked.reported(Code.output_differs, "outputs[0]"):
        restored = restore(_normalised(contents.rdf), image[np.newaxis], runtime)[0]
        row = compare(runtime.name, "as DeepImageJ 3.1 tiles it", whole, restored)
        checked.judge(Code.output_differs, "outputs[0]", row, Kind.client, "the whole image")


def check_plans(contents: Contents, description: Description, gathered: Gathered) -> None:
    """DeepImageJ 3.1 plans the output that the network gives, of the sample and the smallest."""
    channels, height, width = description.sample.image.shape
    least = description.minimum
    checked = Checked(gathered, contents, clients=(Client.deepimagej_3_1,))
    for size in {(height, width), (least, least)}:
        with checked.reported(Code.test_output_size, "outputs[0]"):
            planned = plan(contents.rdf, (1, channels, *size)).output_shape
            expected = tuple(description.scale * length for length in size)
            if planned[2:] != expected:
                message = f"of {size} plans {planned[2:]}, the network gives {expected}"
                raise PackageError(f"DeepImageJ 3.1 {message}")


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
