"""The main job, stage after stage: weights → generator → ONNX, SavedModel → two zips → report."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from w2s_export.clock import StageClock
from w2s_export.config import Normalisation
from w2s_export.data.normalise import as_normalisation, normalise
from w2s_export.errors import ConfigError, ImageError, UnsupportedOperationError
from w2s_export.formats.registry import ATTACHMENTS, WEIGHTS, format_of
from w2s_export.io.files import name_of
from w2s_export.options import ExportOptions
from w2s_export.package.archive import Packages, package_paths, write_packages
from w2s_export.package.foreign_metadata import differs_from_test, read_others
from w2s_export.package.reexport import Recorded, read_recorded
from w2s_export.package.sample import SIMULATED, RawSample, read_sample, simulated_sample
from w2s_export.publish import publish, staging
from w2s_export.rdf.description import Description, Sample
from w2s_export.rdf.metadata import (
    NAME_LENGTH,
    Metadata,
    check_name,
    default_metadata,
    read_metadata,
)
from w2s_export.resources import DEFAULT_MODEL, asset
from w2s_export.runtime.caching import CachingRuntime
from w2s_export.runtime.choose import error_in_half
from w2s_export.runtime.onednn import onednn
from w2s_export.sources.adapted_network import (
    in_counts,
    in_grey,
    of_counts,
    parse_output_normalisation,
)
from w2s_export.sources.foreign_package import FORMAT as FOREIGN_PACKAGE
from w2s_export.sources.load import doubts, load_network, normalisation_of
from w2s_export.verify.page import PAGE_NAME, write_page
from w2s_export.verify.report import REPORT_NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from w2s_export.formats.artifact import Artifact
    from w2s_export.network import HaloMeasurement, Network
    from w2s_export.runtime.precision import PrecisionError
    from w2s_export.runtime.protocol import Runtime
    from w2s_export.verify.after_export import Source
    from w2s_export.verify.clients.core_tests import CoreProgram
    from w2s_export.verify.report import Report

logger = logging.getLogger(__name__)

_THEIR_TOLERANCE = 1e-2
"""Largest difference from a package's own test output, part of its range: other runtimes and half
precision stay below it; an image turned or normalised otherwise is above 1e-1."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Where everything is, and what was proven."""

    packages: Packages
    report_path: Path
    page_path: Path
    report: Report
    seconds: dict[str, float]


def export(options: ExportOptions, stage: Callable[[str], None] = lambda _: None) -> ExportResult:
    """Run every stage; nothing appears in the output folder before all of them are through.

    Args:
        options: what to export.
        stage: called with a short text when a stage begins.

    Raises:
        W2SExportError: bad input; the output folder is left as it was.
    """
    clock, output = StageClock(stage), Path(options.output)
    options = replace(options, normalisation=as_normalisation(options.normalisation))
    # With it the same convolution differs in its last bit from one run to the next: of ten exports
    # in one process four gave other bytes.
    with onednn(False):
        clock("Loading weights")
        subject = _read(options)
        from w2s_export.verify.clients.core_tests import core_program

        targets = package_paths(subject.name, output)
        files = (targets.bioimageio.name, targets.deepimagej.name, PAGE_NAME, REPORT_NAME)
        with (
            staging(output, files, overwrite=options.overwrite) as folder,
            core_program([folder]) as core,
        ):
            report = _write_and_verify(subject, options, folder, core, clock)
            publish(folder, output, files)
    return ExportResult(
        packages=targets,
        report_path=output / REPORT_NAME,
        page_path=output / PAGE_NAME,
        report=report,
        seconds=clock.finish(),
    )


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is exported: a network, what people say of it, and an image of the kind it restores."""

    network: Network
    metadata: Metadata
    name: str
    sample: RawSample


def _read(options: ExportOptions) -> _Subject:
    """Everything that the user gave, read and checked."""
    network = load_network(
        Path(options.weights or default_weights()),
        scale=options.scale,
        dynamic=options.dynamic,
        signature=options.signature,
        normalisation=as_normalisation(options.normalisation),
    )
    if doubt := doubts(network):
        logger.warning("%s: %s", options.weights, doubt)
    recorded = _recorded(options, network)
    if options.weights is not None and network.source_format == FOREIGN_PACKAGE:
        _check_their_test(Path(options.weights), network)
    metadata, name = _identity(options, network, recorded)
    network = _adapted(options, network)
    whole = _sample(options, network, recorded)
    try:
        normalise(whole.cut(network).pixels, network.normalisation)
    except ImageError as error:
        raise type(error)(f"sample '{whole.name}': {error}") from None
    if options.weights and not options.sample and not (recorded and recorded.sample):
        logger.warning(
            "no --sample: the packages carry a simulated image of microtubules; give an image of "
            "the kind the network restores before you share them"
        )
    return _Subject(network, metadata, name, whole)


def _check_their_test(package: Path, network: Network) -> None:
    """Warn of a package whose weights do not make the test output that it holds."""
    difference = differs_from_test(package, network)
    if difference is not None and not difference <= _THEIR_TOLERANCE:
        logger.warning(
            "%s: its weights make another image of its test input than its test output, by %.2g of "
            "the range: its description and its files do not belong together",
            package,
            difference,
        )


def _adapted(options: ExportOptions, network: Network) -> Network:
    """The network with its normalisation, as the user asked to have it changed."""
    how = _normalisation(options, network)
    network = replace(network, normalisation=how)
    if options.output_normalisation is not None:
        network = in_counts(network, *parse_output_normalisation(options.output_normalisation, how))
    network = of_counts(network)
    return in_grey(network) if options.fold_channels else network


def _write_and_verify(
    subject: _Subject,
    options: ExportOptions,
    folder: Path,
    core: CoreProgram,
    clock: StageClock,
) -> Report:
    """Write packages and report into the folder, which holds nothing else afterwards."""
    from w2s_export.verify.verify import verify

    work = folder / "work"
    work.mkdir()
    packages, source = _write(subject, options, work, core, clock)
    clock("Verifying the packages")
    report = verify(
        (packages.bioimageio, packages.deepimagej),
        source,
        core=core,
        progress=lambda step: clock.say(f"Verifying: {step}"),
    )
    spent = dict(clock.finish())
    clock("Writing the report")
    report.write_json(folder / REPORT_NAME)
    write_page(report, folder / PAGE_NAME, subject.name, spent)
    shutil.rmtree(work)
    return report


def _write(
    subject: _Subject,
    options: ExportOptions,
    work: Path,
    core: CoreProgram,
    clock: StageClock,
) -> tuple[Packages, Source]:
    """Write the packages beside the folder of work; what they are to be compared with."""
    from w2s_export.metrics.parity import compare
    from w2s_export.metrics.sanity import sanity_warnings
    from w2s_export.verify.after_export import Source, difference_in_deepimagej_3

    network = subject.network
    artifacts = _convert(network, options.cpu_fast, work, core, clock)
    clock("Opening the source")
    source = CachingRuntime(network.reference())
    clock("Measuring the halo")
    loaded: dict[str, Runtime] = {
        artifact.sha256: CachingRuntime(format_of(artifact.format).load(artifact.path))
        for artifact in artifacts
    }
    sample, batch, halo = _sample_and_halo(subject.sample, network, loaded)
    clock("Comparing on the sample")
    expected = source(batch)
    for doubt in sanity_warnings(batch[0], expected[0]):
        logger.warning("on the sample %s", doubt)
    parity = [compare(run.name, "sample", expected, run(batch)) for run in loaded.values()]
    half = _error_in_half(artifacts[0].path, batch, expected)
    clock("Writing the packages")
    description = Description(
        name=subject.name,
        metadata=subject.metadata,
        network=network,
        artifacts=artifacts,
        sample=Sample(sample.pixels, expected[0], sample.pixel_size_um, sample.name),
        halo=halo,
        parity=tuple(parity),
        half=half,
    )
    onnx = loaded[description.artifact("onnx").sha256]
    expected_there = difference_in_deepimagej_3(description, onnx)
    description = replace(description, in_deepimagej_3=expected_there)
    return write_packages(description, work.parent), Source(source, description, loaded)


def _error_in_half(
    onnx: Path, batch: NDArray[np.float32], expected: NDArray[np.float32]
) -> PrecisionError | None:
    """Of 16-bit arithmetic, where this machine has it."""
    half = error_in_half(onnx, batch, expected)
    if isinstance(half, str):
        logger.debug("16 bits not measured: %s", half)
        return None
    return half


def _convert(
    network: Network, cpu_fast: bool, work: Path, core: CoreProgram, clock: StageClock
) -> tuple[Artifact, ...]:
    """The network in every format that can hold it; ONNX always, and first."""
    artifacts = []
    for known in reversed(WEIGHTS):
        clock(f"Converting to {known.TITLE}")
        try:
            artifacts.append(known.write(network, work / known.FILE))
        except UnsupportedOperationError as error:
            logger.warning("no %s: %s", known.TITLE, error)
        else:
            core.prepare(artifacts[-1])
    for known in ATTACHMENTS if cpu_fast else ():
        clock(f"Converting to the {known.TITLE}")
        artifacts.append(known.write(network, work / known.FILE))
    return tuple(artifacts)


def _sample_and_halo(
    whole: RawSample, network: Network, loaded: Mapping[str, Runtime]
) -> tuple[RawSample, NDArray[np.float32], HaloMeasurement]:
    """The part of the image that travels, that part normalised (1, C, H, W), and the halo on it.

    How much must travel depends on how far the network looks: clients tile with the halo, and the
    sample may not be smaller than the smallest image.
    """
    from w2s_export.restore.halo import MoreImageNeededError, measure_halo

    if network.fixed is not None:
        sample = whole.cut(network)
        image = normalise(sample.pixels, network.normalisation)
        runtime = next(iter(loaded.values()))
        return sample, image[np.newaxis], measure_halo(runtime, image, network)
    least, step = 0, network.step
    most = min(whole.pixels.shape[1:]) // step * step
    runtime = next(iter(loaded.values()))
    while True:
        sample = whole.cut(network, least)
        image = normalise(sample.pixels, network.normalisation)
        part = min(sample.pixels.shape[1:]) < most
        try:
            halo = measure_halo(runtime, image, network, part=part)
        except MoreImageNeededError as needed:
            least = needed.pixels
            continue
        if whole.name == SIMULATED and halo.minimum > min(sample.pixels.shape[1:]):
            least = halo.minimum
            whole = simulated_sample(network.channels_in, least)
            most = min(whole.pixels.shape[1:]) // step * step
            continue
        return sample, image[np.newaxis], halo


def default_weights() -> Path:
    """The embedded default model's checkpoint."""
    return asset(f"models/{DEFAULT_MODEL}/weights.npz")


def _recorded(options: ExportOptions, network: Network) -> Recorded | None:
    """Metadata and sample of the package the weights lie in, if both are not given anew."""
    if options.weights is None or network.source_format not in ("package", FOREIGN_PACKAGE):
        return None
    package = Path(options.weights)
    if options.metadata and options.sample:
        return None
    if network.source_format == FOREIGN_PACKAGE:
        return read_others(package, network.channels_in)
    return read_recorded(package, network.channels_in)


def _sample(options: ExportOptions, network: Network, recorded: Recorded | None) -> RawSample:
    channels = network.channels_in
    if options.sample is None and recorded is not None and recorded.sample is not None:
        return recorded.sample
    if options.sample is None and (channels > 1 or network.fixed):
        return simulated_sample(channels, max(network.fixed or (0,)))
    sample = read_sample(
        Path(options.sample or asset(f"models/{DEFAULT_MODEL}/sample_input.tif")),
        channels,
        plane=options.plane,
        channel=options.channel,
        repeat_channels=options.repeat_channels,
    )
    if options.sample is None:
        return replace(sample, name=SIMULATED)
    return sample


def _identity(
    options: ExportOptions, network: Network, recorded: Recorded | None
) -> tuple[Metadata, str]:
    """Metadata complete with defaults, and the name of the files."""
    file = options.metadata
    if file is None and options.weights is None:
        file = asset(f"models/{DEFAULT_MODEL}/metadata.yaml")
    given = read_metadata(Path(file)) if file else recorded.metadata if recorded else Metadata()
    stem = Path(name_of(Path(options.weights))).stem if options.weights else DEFAULT_MODEL
    name = (
        options.name
        or given.name
        or network.provenance.name
        or re.sub(r"[^A-Za-z0-9_+\-() ]", "-", stem)
    )
    try:
        check_name(name)
    except ConfigError as error:
        plain = re.sub(r"[^A-Za-z0-9_+\-() ]+", "-", name).strip()
        longer = plain if len(plain) >= NAME_LENGTH[0] else f"{plain}-network"
        proposal = longer[: NAME_LENGTH[1]].strip()
        raise ConfigError(f'{error}; give another with --name, e.g. --name "{proposal}"') from None
    return default_metadata(network, given.model_copy(update={"name": name})), name


def _normalisation(options: ExportOptions, network: Network) -> Normalisation:
    chosen = as_normalisation(options.normalisation) or network.normalisation
    recorded = network.normalisation
    if recorded is not None and chosen != recorded:
        logger.warning("the weights record %s; --normalisation overrides it", recorded)
    return normalisation_of(Path(options.weights) if options.weights else None, chosen)
