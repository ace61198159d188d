"""bioimage.io packages of this tool: the weights of the ONNX member, the rest of the rdf."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from w2s_export.config import (
    Frozen,
    GeneratorConfig,
    Normalisation,
    Provenance,
    parse_config,
)
from w2s_export.errors import CheckpointError, CheckpointMismatchError, ConfigError
from w2s_export.graph.guard import check_alone, parse
from w2s_export.io.yaml_files import parse_yaml
from w2s_export.network import Network
from w2s_export.sources import onnx_file
from w2s_export.sources.architecture import NOTHING_KNOWN
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.recognise import description_name, readable_zip
from w2s_export.sources.rrdbnet import rrdbnet_network
from w2s_export.sources.stored_tensor import check_size

if TYPE_CHECKING:
    import onnx

    from w2s_export.runtime.protocol import Runtime
    from w2s_export.sources.load import Reading

_RDF_LIMIT = 1 << 20
_MOST_VALUES = 100_000  # with its aliases written out


class _File(Frozen):
    source: str
    sha256: str


class _Stated(Frozen):
    """What an rdf says of a network that is no RRDBNet."""

    architecture: str
    channels_in: int
    channels_out: int
    scale: int
    step: int = 1
    minimum: int = 1
    fixed: tuple[int, int] | None = None


class _Recorded(Frozen):
    """`config.w2s_export` of the rdf, as `rdf.shared_fields` writes it, but for `export`."""

    generator: GeneratorConfig | None = None
    network: _Stated | None = None
    normalisation: Normalisation | None = None
    provenance: Provenance = Provenance()
    cpu_fast: _File | None = None
    seams: float | None = None

    @model_validator(mode="after")
    def _says_what_it_is(self) -> _Recorded:
        if (self.generator is None) == (self.network is None):
            raise ValueError("holds either 'generator' or 'network'")
        return self


def read(path: Path, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read the weights of either zip of a package of ours, an RRDBNet's.

    Raises:
        CheckpointError: damaged, or a package that this tool did not write.
        CheckpointMismatchError: the weights are not those of the architecture the rdf records.
    """
    with readable_zip(path) as archive:
        rdf = _rdf(archive)
        recorded, data = _recorded(rdf), _onnx_weights(archive, rdf)
    return _checkpoint(recorded, parse(data), known)


def read_network(path: Path, known: Mapping[str, Any], reading: Reading) -> Network:
    """The network of a package: of ours its own ONNX graph, of others what their weights hold.

    Raises:
        CheckpointError: damaged, or a package of others without weights that can be read.
        CheckpointMismatchError: the weights are not those of the architecture the rdf records.
    """
    with readable_zip(path) as archive:
        rdf = _rdf(archive)
        section = rdf.get("config")
        ours = isinstance(section, dict) and section.get("w2s_export") is not None
        if ours:
            recorded, data = _recorded(rdf), _onnx_weights(archive, rdf)
    if not ours:
        from w2s_export.sources.foreign_package import read_foreign_package

        return read_foreign_package(path, rdf, reading)
    graph = parse(data)
    if recorded.network is None:
        return rrdbnet_network(_checkpoint(recorded, graph, known), graph)
    from w2s_export.graph.facts import facts_of_any
    from w2s_export.graph.refusals import check_operators

    check_alone(graph)
    check_operators(graph)
    stated = recorded.network
    return Network(
        graph=graph,
        facts=facts_of_any(graph, scale=stated.scale, step=stated.step),
        reference=partial(_onnx_reference, graph.SerializeToString()),
        normalisation=recorded.normalisation,
        provenance=recorded.provenance,
        source_format="package",
        **stated.model_dump(),
    )


def _checkpoint(
    recorded: _Recorded, graph: onnx.ModelProto, known: Mapping[str, Any]
) -> Checkpoint:
    if recorded.generator is None:
        raise CheckpointError(
            "holds another network than an RRDBNet, whose weights cannot be taken apart; use the "
            "package as it is, or give the weights it was made from"
        )
    checkpoint = onnx_file.from_model(graph, known)
    if checkpoint.config != recorded.generator:
        raise CheckpointMismatchError(
            f"its weights are of {checkpoint.config}, its rdf records {recorded.generator}"
        )
    return replace(
        checkpoint,
        normalisation=recorded.normalisation,
        provenance=recorded.provenance,
        source_format="package",
    )


def _onnx_reference(data: bytes) -> Runtime:
    """ONNX Runtime in a process of its own: the graph is whoever's the package is."""
    from w2s_export.io.temporary import temporary_folder
    from w2s_export.io.worker import memory_limit
    from w2s_export.runtime.choose import open_engine

    with temporary_folder() as folder:
        file = folder / "network.onnx"
        file.write_bytes(data)
        return open_engine("cpu", file, apart=memory_limit())


def _rdf(archive: zipfile.ZipFile) -> Mapping[str, Any]:
    name = description_name(archive.namelist()) or "rdf.yaml"
    if archive.getinfo(name).file_size > _RDF_LIMIT:
        raise CheckpointError(f"claims a {name} larger than {_RDF_LIMIT} bytes")
    try:
        rdf = parse_yaml(archive.read(name), name, _MOST_VALUES)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(rdf, dict):
        raise CheckpointError(f"its {name} is no mapping of fields")
    return rdf


def _recorded(rdf: Mapping[str, Any]) -> _Recorded:
    section = rdf.get("config")
    record = section.get("w2s_export") if isinstance(section, dict) else None
    if record is None:
        raise CheckpointError(
            "is a bioimage.io package that w2s-export did not write (its rdf has no "
            "config.w2s_export); give the weights it was made from"
        )
    try:
        return parse_config(_Recorded, _generator_part(record), "config.w2s_export of its rdf")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _generator_part(record: object) -> object:
    if not isinstance(record, dict):
        return record
    return {key: value for key, value in record.items() if key != "export"}


def _onnx_weights(archive: zipfile.ZipFile, rdf: Mapping[str, Any]) -> bytes:
    listed = rdf.get("weights")
    entry = listed.get("onnx") if isinstance(listed, dict) else None
    entry = entry if isinstance(entry, dict) else {}
    source = entry.get("source")
    if not isinstance(source, str) or source not in archive.namelist():
        raise CheckpointError(f"its rdf names ONNX weights {source!r}, which the zip does not hold")
    check_size(archive.getinfo(source).file_size, "its ONNX file's bytes")
    weights = archive.read(source)
    recorded, found = entry.get("sha256"), hashlib.sha256(weights).hexdigest()
    if recorded is not None and recorded != found:
        raise CheckpointError(
            f"its '{source}' is not the file its rdf names (SHA-256 {found[:12]}…, recorded "
            f"{str(recorded)[:12]}…); fetch the package again"
        )
    return weights
