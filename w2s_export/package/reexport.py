"""What a package of ours records beside its weights, so that exporting it again gives it again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from w2s_export.config import parse_config
from w2s_export.errors import ConfigError, PackageError
from w2s_export.io.temporary import temporary_folder
from w2s_export.package.opening import open_package
from w2s_export.package.sample import RawSample, read_sample
from w2s_export.rdf.description import SAMPLE_INPUT
from w2s_export.rdf.metadata import Metadata
from w2s_export.rdf.shared_fields import Record


@dataclass(frozen=True, slots=True)
class Recorded:
    """Metadata and sample of a package."""

    metadata: Metadata
    sample: RawSample | None
    """None where a package of others holds no image that fits."""


def read_recorded(path: Path, channels: int) -> Recorded:
    """Read metadata and sample of a package that `sources.package_file` could read.

    Args:
        path: either zip of a package.
        channels: of its network's input.

    Raises:
        PackageError: unsafe or damaged, or its record was edited into something unusable.
        ImageError: its sample does not fit the network.
    """
    package = open_package(path)
    values = package.rdf["config"]["w2s_export"].get("export")
    try:
        kept = parse_config(Record, values, f"{path}: config.w2s_export.export of its rdf")
    except ConfigError as error:
        raise PackageError(f"{error}; give --metadata and --sample") from None
    with temporary_folder() as folder:
        package.extract(folder, SAMPLE_INPUT)
        sample = read_sample(folder / SAMPLE_INPUT, channels)
    return Recorded(kept.metadata, replace(sample, name=kept.sample_name))
