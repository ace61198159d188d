"""Checks of a finished export: what was written is read back, run and compared with the source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from w2s_export.data.normalise import normalise
from w2s_export.errors import PackageError
from w2s_export.formats.registry import format_of
from w2s_export.package.macros import postprocessing_macro, preprocessing_macro
from w2s_export.rdf.description import POSTPROCESSING, PREPROCESSING
from w2s_export.rdf.reading import CPU_FAST, ONNX, SAVED_MODEL, example_files, weights_file
from w2s_export.rdf.v05 import rdf_05
from w2s_export.rdf.whole_image import ClientDifference
from w2s_export.verify.cases import noise_cases
from w2s_export.verify.clients.jdll import restore
from w2s_export.verify.clients.jdll_axes import JdllError
from w2s_export.verify.contents import Contents
from w2s_export.verify.findings import Code
from w2s_export.verify.numbers import (
    Checked,
    check_chain,
    check_plans,
    check_seams,
    check_tensors,
    compare_with_source,
    declared_halo,
    load_weights,
)
from w2s_export.verify.report import Gathered, Kind, SampleRuns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from w2s_export.rdf.description import Description
    from w2s_export.runtime.protocol import Runtime

_SEAM_WORK = 1.5e11
"""Multiplications of the tiled comparison above which one format stands for the others."""


@dataclass(slots=True)
class Source:
    """What an export has in hand when it verifies its packages."""

    runtime: Runtime
    """The network the weights were converted from."""
    description: Description
    """What the packages were written from."""
    loaded: dict[str, Runtime] = field(default_factory=dict)
    """Runtimes of weights files, by the SHA-256 of the file. A package that holds the same file is
    run by the same runtime."""

    def release(self) -> None:
        """Let go of the runtimes: each holds the weights, 600 MB together with 23 blocks."""
        self.loaded = {}
        del self.runtime


def check_export(
    opened: Sequence[Contents], source: Source, gathered: Gathered, clock: Callable[[str], None]
) -> None:
    """Compare what the packages hold with what they were written from."""
    description = source.description
    clock("test tensors and samples")
    for contents in opened:
        check_tensors(contents, description, gathered)
        check_plans(contents, description, gathered)
        _check_macros(contents, description, gathered)
    halos = {c.name: declared_halo(c, description, gathered) for c in opened}
    before = len(gathered.findings), len(gathered.comparisons)
    clock("loading the weights")
    loaders: dict[str, Callable[[Path], Runtime]] = {
        artifact.format: format_of(artifact.format).load for artifact in description.artifacts
    }
    distinct = _distinct(opened, gathered)
    runnable = [
        (contents, load_weights(contents, loaders, gathered, source.loaded))
        for contents in distinct
    ]
    clock("comparing formats")
    network = description.network
    noise = noise_cases(
        network.channels_in, description.minimum, network.step, network.fixed, network.minimum
    )
    expected = [(case, source.runtime(case.batch)) for case in noise]
    for contents, runtimes in runnable:
        check_chain(contents, runtimes, gathered)
        compare_with_source(contents, runtimes, source.runtime.name, expected, gathered)
    clock("comparing tiles")
    image = normalise(description.sample.image, description.network.normalisation)
    for contents, runtimes in runnable:
        if (halo := halos[contents.name]) is not None:
            affordable = _affordable(runtimes, halo, description)
            check_seams(contents, affordable, image, halo, description, gathered)
    for contents in opened:
        if contents not in distinct:  # what is wrong with its twin is wrong with it
            _copy_twin(contents.name, distinct[0].name, gathered, *before)


def difference_in_deepimagej_3(
    description: Description, runtime: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> ClientDifference | None:
    """What DeepImageJ 3.1 makes of the sample, against the sample that the packages carry.

    It mirrors the image at its border and takes percentiles by rank, so the two are not equal.

    Args:
        description: what the packages are written from.
        runtime: the network in ONNX Runtime.

    Returns:
        None where it would not restore the sample.
    """
    sample, border = description.sample, description.output_halo
    try:
        restored = restore(
            rdf_05(description, defaultdict(str)), sample.image[np.newaxis], runtime
        )[0]
    except (JdllError, PackageError):
        return None
    width = float(np.ptp(sample.restored)) or 1.0
    away = np.abs(restored - sample.restored).max(axis=0) / width
    inside = away[border : away.shape[0] - border, border : away.shape[1] - border]
    return ClientDifference(border, float(inside.max()), float(away.max()))


def sample_runs(source: Source, gathered: Gathered) -> SampleRuns:
    """The sample, and what every format made of it."""
    sample = source.description.sample
    return SampleRuns(
        name=sample.name,
        pixel_size_um=sample.pixel_size_um,
        image=sample.image,
        restored=sample.restored,
        outputs=gathered.outputs,
    )


def _distinct(opened: Sequence[Contents], gathered: Gathered) -> Sequence[Contents]:
    """Packages that need a run of their own: both, unless they hold the same files.

    The two zips of an export differ in their rdf alone. Where that holds, running one is running
    both; where it does not, that is a finding and both are run.
    """
    if len(opened) != 2:
        return opened
    first, second = opened
    names = [{*package.hashes} - {package.package.rdf_name} for package in opened]
    differing = sorted(
        name for name in names[0] | names[1] if first.hashes.get(name) != second.hashes.get(name)
    )
    for name in differing:
        message = f"is not the same file as in {first.name}"
        Checked(gathered, second).fault(Code.packages_differ, name, message)
    return opened if differing else _by_description(opened)


def _by_description(opened: Sequence[Contents]) -> Sequence[Contents]:
    """One of them, unless their descriptions name different weights or test tensors."""
    first, second = opened
    same = example_files(first.rdf) == example_files(second.rdf) and all(
        weights_file(first.rdf, key) == weights_file(second.rdf, key)
        for key in (ONNX, SAVED_MODEL, CPU_FAST)
    )
    return [first] if same else opened


def _copy_twin(
    name: str, twin: str, gathered: Gathered, first_finding: int, first_row: int
) -> None:
    """What was found of a package is true of another that holds the same files.

    What only one client minds lies in the description, which each package has of its own.
    """
    gathered.findings += [
        replace(finding, package=name)
        for finding in gathered.findings[first_finding:]
        if finding.package == twin and not finding.clients
    ]
    gathered.comparisons += [
        replace(row, package=name)
        for row in gathered.comparisons[first_row:]
        if row.package == twin and row.kind is not Kind.client
    ]


def _check_macros(contents: Contents, description: Description, gathered: Gathered) -> None:
    """The macros are those of this model: DeepImageJ 2.1 and 3.0 normalise by nothing else."""
    network = description.network
    expected = {POSTPROCESSING: postprocessing_macro(description.scale)}
    if macro := preprocessing_macro(network.normalisation, network.channels_in):
        expected[PREPROCESSING] = macro
    for name, text in expected.items():
        path = contents.folder / name
        if name not in contents.hashes or path.read_bytes() != text.encode():
            message = "is not the macro that does what the rdf says"
            Checked(gathered, contents).fault(Code.macro_differs, name, message)


def _affordable(
    runtimes: dict[str, Runtime], halo: int, description: Description
) -> dict[str, Runtime]:
    """All formats, or the first where a large network looks far.

    A seam comes from what the network sees, which is the same in every format.
    """
    height, width = description.sample.image.shape[1:]
    pixels = (height + 2 * halo) * (width + 2 * halo)
    pixels += 4 * (height // 2 + 2 * halo) * (width // 2 + 2 * halo)
    work = pixels * description.network.facts.multiplications
    return runtimes if work <= _SEAM_WORK else dict(list(runtimes.items())[:1])
