"""Tells what a checkpoint is, and whether it can be exported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from w2s_export.config import GeneratorConfig, Normalisation, Provenance
from w2s_export.counting import counted
from w2s_export.errors import W2SExportError
from w2s_export.network import Network
from w2s_export.networks.layout import parameter_count
from w2s_export.sources.load import Reading, load_either
from w2s_export.sources.recognise import recognise


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file is."""

    path: Path
    format: str
    """Name of the format, e.g. `keras-h5` or `pytorch`; `unknown` for anything else."""
    reason: str = ""
    """Why it is not exportable; empty where it is."""
    architecture: GeneratorConfig | None = None
    """None where the file holds no generator of the family."""
    parameters: int | None = None
    """Number of trainable parameters."""
    normalisation: Normalisation | None = None
    """None where the format does not record it."""
    provenance: Provenance = field(default_factory=Provenance)
    chosen: str = ""
    """What was taken of a file that holds more than the generator, and what was left aside."""
    dtypes: tuple[str, ...] = ()
    """Element types of the stored tensors."""
    assumed: tuple[str, ...] = ()
    """Fields of `architecture` that the file does not show."""
    details: tuple[tuple[str, str], ...] = ()
    """What is known of a network of another family: channels, scale, sizes, how far it looks."""

    @property
    def exportable(self) -> bool:
        """Whether `load_network` takes it."""
        return not self.reason


def inspect_checkpoint(
    path: Path,
    *,
    scale: int | None = None,
    dynamic: bool = False,
    signature: str | None = None,
) -> Inspection:
    """Look at a file of any kind; whatever is wrong with it is in the result.

    The weights are read and checked, as an export would. TensorFlow is imported for a SavedModel
    only, torch for a `.pth` of another family only.

    Args:
        path: any file or folder.
        scale: as for `load_checkpoint`.
        dynamic: as for `load_network`.
        signature: as for `load_network`.
    """
    source_format = "unknown"
    try:
        source_format = recognise(path)
        found = load_either(path, scale, Reading(dynamic, signature))
    except (W2SExportError, OSError) as error:
        return Inspection(path, source_format, reason=str(error).removeprefix(f"{path}: "))
    if isinstance(found, Network):
        if found.checkpoint is None:
            return _of_another_family(path, found)
        found = found.checkpoint
    return Inspection(
        path=path,
        format=found.source_format,
        architecture=found.config,
        parameters=parameter_count(found.config),
        normalisation=found.normalisation,
        provenance=found.provenance,
        chosen=found.chosen,
        dtypes=found.dtypes,
        assumed=found.assumed,
    )


def _sizes(network: Network) -> str:
    if network.fixed is not None:
        height, width = network.fixed
        return f"{height}×{width} pixels and no others; see --dynamic"
    return f"multiples of {network.step} from {network.minimum} on"


def _of_another_family(path: Path, network: Network) -> Inspection:
    facts = network.facts
    radius = facts.receptive_radius
    far = (
        "the whole image, or it is not followed"
        if radius is None
        else counted(radius, "input pixel")
    )
    details: tuple[tuple[str, str], ...] = (
        ("network", network.architecture),
        ("channels", f"{network.channels_in} in, {network.channels_out} out"),
        ("scale", str(network.scale)),
        ("sizes", _sizes(network)),
        ("looks as far as", far),
        ("multiplications per pixel", f"{facts.multiplications:,.0f}"),
    )
    if network.postprocessing:
        details += (("postprocessing", ", then ".join(network.postprocessing)),)
    return Inspection(
        path=path,
        format=network.source_format,
        normalisation=network.normalisation,
        provenance=network.provenance,
        chosen=network.chosen,
        details=details,
    )
