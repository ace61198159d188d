"""The main job, stage after stage: weights → generator → ONNX, SavedModel → two zips → report."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from w2s_export.clock import StageClock
from w2s_export.config import Normalisation, PercentileNormalisation
from w2s_export.data.normalise import normalise
from w2s_export.errors import ConfigError, ImageError
from w2s_export.networks.layout import parameter_count
from w2s_export.package.archive import Packages, package_paths, write_packages
from w2s_export.package.recorded import Recorded, read_recorded
from w2s_export.package.sample import RawSample, read_sample
from w2s_export.publish import publish, staging
from w2s_export.rdf.description import Description, Sample
from w2s_export.rdf.metadata import Metadata, check_name, default_metadata, read_metadata
from w2s_export.resources import DEFAULT_MODEL, asset
from w2s_export.sources.load import doubts, load_checkpoint
from w2s_export.verify.page import PAGE_NAME, write_page
from w2s_export.verify.report import REPORT_NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from w2s_export.config import GeneratorConfig
    from w2s_export.formats.artifact import OnnxArtifact, SavedModelArtifact
    from w2s_export.restore.halo import HaloMeasurement
    from w2s_export.runtime.protocol import Runtime
    from w2s_export.sources.checkpoint import Checkpoint
    from w2s_export.verify.verify import VerificationReport

logger = logging.getLogger(__name__)

_LARGE = 5_000_000
"""Parameters above which bioimageio.core tests each format in a process of its own."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What the user asked for. Paths that are None mean the default model's own."""

    output: Path
    weights: Path | None = None
    scale: int | None = None
    sample: Path | None = None
    plane: int | None = None
    repeat_channels: bool = False
    metadata: Path | None = None
    name: str | None = None
    normalisation: Normalisation | None = None
    cpu_fast: bool = False
    """Add the fast CPU graph to the packages."""
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Where everything is, and what was proven."""

    packages: Packages
    report_path: Path
    page_path: Path
    report: VerificationReport
    seconds: dict[str, float]


def export(request: ExportRequest, stage: Callable[[str], None] = lambda _: None) -> ExportResult:
    """Run every stage; nothing appears in the output folder before all of them are through.

    Args:
        request: what to export.
        stage: called with a short text when a stage begins.

    Raises:
        W2SExportError: bad input; the output folder is left as it was.
    """
    # With oneDNN the same convolution differs in its last bit from one run to the next: of ten
    # exports in one process four gave other bytes. Heeded unless TensorFlow is loaded already.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    clock = StageClock(stage)
    clock("Loading weights")
    checkpoint = load_checkpoint(request.weights or default_weights(), scale=request.scale)
    if doubt := doubts(checkpoint):
        logger.warning("%s: %s", request.weights, doubt)
    recorded = _recorded(request, checkpoint)
    metadata, name = _identity(request, checkpoint, recorded)
    checkpoint = replace(checkpoint, normalisation=_normalisation(request, checkpoint))
    whole = _sample(request, checkpoint.config, recorded)
    try:
        normalise(whole.cut(checkpoint.config).pixels, checkpoint.normalisation)
    except ImageError as error:
        raise type(error)(f"sample '{whole.name}': {error}") from None
    if request.weights and not request.sample and not recorded:
        logger.warning(
            "no --sample: the packages carry a simulated image of microtubules; give an image of "
            "the kind the network restores before you share them"
        )
    from w2s_export.verify.clients.core_tests import core_program

    targets = package_paths(name, request.output)
    files = (targets.bioimageio.name, targets.deepimagej.name, PAGE_NAME, REPORT_NAME)
    with (
        staging(request.output, files, overwrite=request.overwrite) as folder,
        core_program(apart=parameter_count(checkpoint.config) > _LARGE) as core,
    ):
        clock("Building the generator")
        from w2s_export.formats.onnx import to_onnx
        from w2s_export.formats.saved_model import to_saved_model
        from w2s_export.graph.cpu_fast import to_cpu_fast
        from w2s_export.metrics.parity import compare
        from w2s_export.networks.rrdbnet import build_generator, set_weights
        from w2s_export.runtime.keras import KerasRuntime
        from w2s_export.verify.verify import verify_packages

        model = build_generator(checkpoint.config)
        set_weights(model, checkpoint.config, checkpoint.weights)
        work = folder / "work"
        work.mkdir()
        clock("Converting to ONNX")
        onnx = to_onnx(model, checkpoint.config, work / "weights.onnx")
        clock("Converting to SavedModel")
        saved_model = to_saved_model(model, checkpoint.config, work / "saved_model.zip")
        core.prepare(saved_model.path)
        cpu_fast = None
        if request.cpu_fast:
            clock("Converting to the fast CPU graph")
            cpu_fast = to_cpu_fast(checkpoint.config, checkpoint.weights, work / "cpu_fast.onnx")

        source = KerasRuntime(model)
        clock("Measuring the halo")
        loaded = _load(onnx, saved_model, cpu_fast)
        sample, batch, halo = _sample_and_halo(whole, checkpoint, loaded[onnx.sha256])
        clock("Comparing on the sample")
        expected = source(batch)
        parity = [compare(run.name, "sample", expected, run(batch)) for run in loaded.values()]
        clock("Writing the packages")
        description = Description(
            name=name,
            metadata=metadata,
            checkpoint=checkpoint,
            onnx=onnx,
            saved_model=saved_model,
            sample=Sample(
                image=sample.pixels,
                restored=expected[0],
                pixel_size_um=sample.pixel_size_um,
                name=sample.name,
            ),
            halo=halo,
            parity=tuple(parity),
            cpu_fast=cpu_fast,
        )
        packages = write_packages(description, folder)
        clock("Verifying the packages")
        report = verify_packages(
            packages, source, description, lambda step: stage(f"Verifying: {step}"), core, loaded
        )
        spent = dict(clock.finish())
        clock("Writing the report")
        report.write_json(folder / REPORT_NAME)
        write_page(report, folder / PAGE_NAME, name, spent)
        shutil.rmtree(work)
        publish(folder, request.output, files)
    return ExportResult(
        packages=targets,
        report_path=request.output / REPORT_NAME,
        page_path=request.output / PAGE_NAME,
        report=report,
        seconds=clock.finish(),
    )


def _load(
    onnx: OnnxArtifact, saved_model: SavedModelArtifact, cpu_fast: OnnxArtifact | None
) -> dict[str, Runtime]:
    """Runtimes of the files by their SHA-256; none restores the same pixels twice."""
    from w2s_export.runtime.caching import CachingRuntime
    from w2s_export.runtime.onnx_runtime import OnnxRuntime
    from w2s_export.runtime.saved_model import SavedModelRuntime

    loaded: dict[str, Runtime] = {
        onnx.sha256: CachingRuntime(OnnxRuntime(onnx.path)),
        saved_model.sha256: CachingRuntime(SavedModelRuntime(saved_model.path)),
    }
    if cpu_fast is not None:
        loaded[cpu_fast.sha256] = CachingRuntime(OnnxRuntime(cpu_fast.path))
    return loaded


def _sample_and_halo(
    whole: RawSample, checkpoint: Checkpoint, runtime: Runtime
) -> tuple[RawSample, NDArray[np.float32], HaloMeasurement]:
    """The part of the image that travels, that part normalised (1, C, H, W), and the halo on it.

    How much must travel depends on how far the network looks: clients tile with the halo, and the
    sample may not be smaller than the smallest image.
    """
    from w2s_export.restore.halo import MoreImageNeededError, measure_halo

    config, least = checkpoint.config, 0
    most = min(whole.pixels.shape[1:]) // config.pixel_unshuffle * config.pixel_unshuffle
    while True:
        sample = whole.cut(config, least)
        image = normalise(sample.pixels, checkpoint.normalisation)
        part = min(sample.pixels.shape[1:]) < most
        try:
            halo = measure_halo(runtime, image, config, part=part)
        except MoreImageNeededError as needed:
            least = needed.pixels
        else:
            return sample, image[np.newaxis], halo


def default_weights() -> Path:
    """The embedded default model's checkpoint."""
    return asset(f"models/{DEFAULT_MODEL}/weights.npz")


def _recorded(request: ExportRequest, checkpoint: Checkpoint) -> Recorded | None:
    """Metadata and sample of the package the weights lie in, if both are not given anew."""
    if request.weights is None or checkpoint.source_format != "package":
        return None
    if request.metadata and request.sample:
        return None
    return read_recorded(request.weights, checkpoint.config)


def _sample(
    request: ExportRequest, config: GeneratorConfig, recorded: Recorded | None
) -> RawSample:
    if request.sample is None and recorded is not None:
        return recorded.sample
    sample = read_sample(
        request.sample or asset(f"models/{DEFAULT_MODEL}/sample_input.tif"),
        config,
        plane=request.plane,
        repeat_channels=request.repeat_channels,
    )
    if request.sample is None:
        return replace(sample, name="a simulated image of microtubules")
    return sample


def _identity(
    request: ExportRequest, checkpoint: Checkpoint, recorded: Recorded | None
) -> tuple[Metadata, str]:
    """Metadata complete with defaults, and the name of the files."""
    file = request.metadata
    if file is None and request.weights is None:
        file = asset(f"models/{DEFAULT_MODEL}/metadata.yaml")
    given = read_metadata(file) if file else recorded.metadata if recorded else Metadata()
    stem = request.weights.stem if request.weights else DEFAULT_MODEL
    name = (
        request.name
        or given.name
        or checkpoint.provenance.name
        or re.sub(r"[^A-Za-z0-9_+\-() ]", "-", stem)
    )
    try:
        check_name(name)
    except ConfigError as error:
        raise ConfigError(f"{error}; give another with --name") from None
    return default_metadata(checkpoint, given.model_copy(update={"name": name})), name


def _normalisation(request: ExportRequest, checkpoint: Checkpoint) -> Normalisation:
    chosen = request.normalisation or checkpoint.normalisation
    recorded = checkpoint.normalisation
    if recorded is not None and chosen != recorded:
        logger.warning("the weights record %s; --normalisation overrides it", recorded)
    if chosen is None:
        chosen = PercentileNormalisation()
        logger.warning(
            "the weights do not record how their images were normalised; percentiles %g and %g "
            "are used: say --normalisation percentile:LOW:HIGH or range:LOW:HIGH if that is wrong",
            chosen.low,
            chosen.high,
        )
    return chosen
