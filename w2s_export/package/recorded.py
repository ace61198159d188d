"""What a package of ours records beside its weights, so that exporting it again gives it again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from w2s_export.config import Frozen, GeneratorConfig, parse_config
from w2s_export.errors import ConfigError, PackageError
from w2s_export.package.opening import open_package
from w2s_export.package.sample import RawSample, read_sample
from w2s_export.rdf.description import SAMPLE_INPUT, Description
from w2s_export.rdf.metadata import Metadata


class Record(Frozen):
    """`config.w2s_export.export` of the rdf."""

    metadata: Metadata
    """All that people wrote about the model, and its name."""
    sample_name: str
    """Where the sample image comes from."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Metadata and sample of a package."""

    metadata: Metadata
    sample: RawSample


def record(description: Description) -> dict[str, object]:
    """What `read_recorded` reads back, as plain values for the rdf."""
    named = description.metadata.model_copy(update={"name": description.name})
    kept = Record(metadata=named, sample_name=description.sample.name)
    return kept.model_dump(mode="json", exclude_defaults=True)


def read_recorded(path: Path, config: GeneratorConfig) -> Recorded:
    """Read metadata and sample of a package that `checkpoint.package` could read.

    Args:
        path: either zip of a package.
        config: architecture of its network.

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
    with TemporaryDirectory(prefix="w2s-export-") as folder:
        package.extract(Path(folder), SAMPLE_INPUT)
        sample = read_sample(Path(folder) / SAMPLE_INPUT, config)
    return Recorded(kept.metadata, replace(sample, name=kept.sample_name))
