"""bioimage.io packages of others: their weights by whichever reader takes them, their processing.

Of several formats the first of ONNX, Keras, TensorFlow and PyTorch tensors is taken that a reader
opens. Code of a package (TorchScript, architectures in Python) is never executed.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from w2s_export.config import (
    FixedMeanNormalisation,
    FixedRangeNormalisation,
    NoNormalisation,
    Normalisation,
    PercentileNormalisation,
    ZeroMeanNormalisation,
    parse_config,
)
from w2s_export.counting import counted
from w2s_export.data.normalise import EPS
from w2s_export.errors import CheckpointError, ConfigError, W2SExportError
from w2s_export.foreign_text import shown
from w2s_export.graph.adapting import Numbers
from w2s_export.io.temporary import temporary_folder
from w2s_export.network import Network
from w2s_export.runtime.saved_model import GRAPH_FILE
from w2s_export.sources.adapted_network import cut_to, in_counts, squashed, turned
from w2s_export.sources.earlier_fields import in_common_fields, macros
from w2s_export.sources.stored_tensor import check_size

if TYPE_CHECKING:
    from w2s_export.sources.load import Reading

_log = logging.getLogger(__name__)

FORMAT = "foreign-package"

_READ: Mapping[str, str] = {
    "onnx": ".onnx",
    "keras_v3": ".keras",
    "keras_hdf5": ".h5",
    "tensorflow_saved_model_bundle": ".zip",
    "pytorch_state_dict": ".pth",
}
"""Formats that are read, the best first, and how their files are called."""
_NEVER: Mapping[str, str] = {
    "torchscript": "TorchScript, a program with its weights, is never run",
    "pytorch_script": "TorchScript, a program with its weights, is never run",
    "tensorflow_js": "TensorFlow.js cannot be read back",
}


def read_foreign_package(path: Path, rdf: Mapping[str, Any], reading: Reading) -> Network:
    """The network of a package that this tool did not write.

    Args:
        path: the zip.
        rdf: its description.
        reading: what the user says of it.

    Raises:
        CheckpointError: several inputs or outputs, processing that is not known, or no weights
            that can be read: says why for each format.
    """
    rdf = in_common_fields(rdf)
    source, result = (_sole(rdf, side) for side in ("inputs", "outputs"))
    how = _normalisation(source, macros(rdf, "preprocess"), reading.normalisation)
    _processed(result, None)  # refused before the weights are opened
    if (macro := macros(rdf, "postprocess")) and not result.get("postprocessing"):
        _log.warning("left out: '%s', which DeepImageJ runs on the result", shown(macro))
    network = replace(_network(path, rdf, reading), normalisation=how, source_format=FORMAT)
    if _columns_first(source):
        network = turned(network)
    return _processed(result, network) or network


def _normalisation(
    source: Mapping[str, Any], macro: str, given: Normalisation | None
) -> Normalisation:
    """What the description says; what the user says where no client has it, or a macro does it."""
    try:
        if macro and not source.get("preprocessing"):
            raise CheckpointError(
                f"leaves the preparation of its images to '{shown(macro)}', which is never run; "
                "write it down as 'preprocessing' of its input"
            )
        return normalisation_of(source)
    except CheckpointError as error:
        if given is None:
            raise CheckpointError(f"{error}, or say --normalisation for this package") from None
        _log.warning("the package %s; --normalisation is taken instead", error)
        return given


def _columns_first(tensor: Mapping[str, Any]) -> bool:
    axes = tensor.get("axes")
    listed = axes if isinstance(axes, list) else []
    letters = (
        axes
        if isinstance(axes, str)
        else "".join(str(axis.get("id", "x")) for axis in listed if axis.get("type") == "space")
    )
    return {"x", "y"} <= set(letters) and letters.index("x") < letters.index("y")


def _sole(rdf: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    tensors = rdf.get(side)
    tensors = tensors if isinstance(tensors, list) else []
    if len(tensors) != 1 or not isinstance(tensors[0], dict):
        names = ", ".join(str(t.get("id") or t.get("name")) for t in tensors if isinstance(t, dict))
        raise CheckpointError(
            f"describes {len(tensors)} {side} ({shown(names) or 'none'}); only a network of one "
            "image in and one image out becomes a package that Fiji runs"
        )
    return tensors[0]


def _network(path: Path, rdf: Mapping[str, Any], reading: Reading) -> Network:
    from w2s_export.sources.load import load_network

    listed = rdf.get("weights")
    entries = listed if isinstance(listed, dict) else {}
    reasons = [
        f"{shown(str(kind), 60)}: {_NEVER.get(kind, 'is not read')}"
        for kind in entries
        if kind not in _READ
    ]
    with temporary_folder() as folder:
        for kind, suffix in _READ.items():
            if kind not in entries:
                continue
            try:
                file = _extracted(path, entries[kind], folder / f"{kind}{suffix}")
                network = load_network(file, dynamic=reading.dynamic, signature=reading.signature)
            except W2SExportError as error:
                reason = str(error).replace(f"{folder}/", "")
                reasons.append(f"{kind}: {reason}")
                continue
            for reason in reasons:
                _log.info("%s: %s", path, reason)
            return network
    raise CheckpointError(
        f"holds no weights that can be read ({shown('; '.join(reasons) or 'none at all', 1500)})"
    )


def _extracted(path: Path, entry: object, target: Path) -> Path:
    source = entry.get("source") if isinstance(entry, dict) else None
    name = str(PurePosixPath(str(source).removeprefix("./")))
    digest = hashlib.sha256()
    with zipfile.ZipFile(path) as archive:
        if name not in archive.namelist():
            if target.suffix == ".zip":
                return _saved_model_of(archive, name, target)
            raise _not_held(source)
        check_size(archive.getinfo(name).file_size, "its weights")
        with archive.open(name) as stream, target.open("wb") as copy:
            while block := stream.read(1 << 20):
                digest.update(block)
                copy.write(block)
    stated = entry.get("sha256") if isinstance(entry, dict) else None
    if stated not in (None, digest.hexdigest()):
        raise CheckpointError(f"'{shown(name)}' is not the file whose SHA-256 the rdf states")
    return target


def _saved_model_of(archive: zipfile.ZipFile, name: str, target: Path) -> Path:
    """A SavedModel that lies unpacked in a package, zipped; `name` is its folder or a part of it.

    Raises:
        CheckpointError: there is none.
    """
    folders = [PurePosixPath(name), *PurePosixPath(name).parents]
    begins = [f"{folder}/".removeprefix("./") for folder in folders]
    held = archive.namelist()
    root = next((begin for begin in begins if f"{begin}{GRAPH_FILE}" in held), None)
    if root is None:
        raise _not_held(name)
    inner = [f"{root}{GRAPH_FILE}", *(n for n in held if n.startswith(f"{root}variables/"))]
    check_size(sum(archive.getinfo(member).file_size for member in inner), "its weights")
    with zipfile.ZipFile(target, "w") as made:
        for member in inner:
            made.writestr(member.removeprefix(root), archive.read(member))
    return target


def _not_held(source: object) -> CheckpointError:
    return CheckpointError(f"names '{shown(str(source))}', which the zip does not hold")


def normalisation_of(tensor: Mapping[str, Any]) -> Normalisation:
    """The normalisation that an input's preprocessing describes, in format 0.3 to 0.5.

    Raises:
        CheckpointError: a step that no normalisation of this tool is; names it.
    """
    found: dict[str, Any] = {"kind": "none"}
    for name, kwargs in _steps(tensor, "preprocessing"):
        if "clip" in found:
            raise _unknown(name, "behind a clip")
        if name == "clip" and {"min", "max"} <= kwargs.keys():
            found["clip"] = (kwargs["min"], kwargs["max"])
            continue
        if name == "ensure_dtype":
            continue
        if found["kind"] != "none":
            raise _unknown(name, f"behind {found['kind']}")
        found = _kind(name, kwargs, tensor)
    kinds: dict[str, Any] = {
        "none": NoNormalisation,
        "percentile": PercentileNormalisation,
        "fixed_range": FixedRangeNormalisation,
        "mean_std": FixedMeanNormalisation,
        "zero_mean": ZeroMeanNormalisation,
    }
    try:
        made: Normalisation = parse_config(kinds[found["kind"]], found, "its preprocessing")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    return made


def _kind(name: str, kwargs: Mapping[str, Any], tensor: Mapping[str, Any]) -> dict[str, Any]:
    if name == "scale_range":
        _whole_image(name, kwargs, tensor)
        if kwargs.get("reference_tensor") is not None:
            raise _unknown(name, "by another tensor")
        low, high = kwargs.get("min_percentile", 0.0), kwargs.get("max_percentile", 100.0)
        return {"kind": "percentile", "low": low, "high": high}
    if name == "scale_linear":
        gains, offsets = (_numbers(name, kwargs, k, v) for k, v in (("gain", 1.0), ("offset", 0.0)))
        if min(gains) <= 0:
            raise _unknown(name, f"by a factor of {min(gains)}")
        gain, offset = gains[0], offsets[0]
        if len(gains) == len(offsets) == 1:
            return {"kind": "fixed_range", "low": -offset / gain, "high": (1 - offset) / gain}
        pairs = _matched(name, gains, offsets)
        return {
            "kind": "mean_std",
            "mean": tuple(-offset / gain for gain, offset in pairs),
            "std": tuple(1 / gain for gain, _ in pairs),
        }
    if _by_fixed_numbers(name, kwargs):
        means, stds = (_numbers(name, kwargs, key, 0.0) for key in ("mean", "std"))
        if len(means) == len(stds) == 1:
            return {"kind": "mean_std", "mean": means[0], "std": stds[0]}
        mean, std = zip(*_matched(name, means, stds), strict=True)
        return {"kind": "mean_std", "mean": mean, "std": std}
    if name == "zero_mean_unit_variance":
        _whole_image(name, kwargs, tensor)
        return {"kind": "zero_mean"}
    raise _unknown(name)


def _by_fixed_numbers(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether a step subtracts a mean and divides by a deviation that it states."""
    fixed = name == "fixed_zero_mean_unit_variance" or kwargs.get("mode") == "fixed"
    return fixed and name.endswith("zero_mean_unit_variance")


def _processed(tensor: Mapping[str, Any], network: Network | None) -> Network | None:
    """The network with what an output's postprocessing describes behind it.

    Raises:
        CheckpointError: a step that does not belong to single numbers; names it.
    """
    for name, kwargs in _steps(tensor, "postprocessing"):
        if name == "ensure_dtype":
            continue
        if name == "scale_linear":
            defaults = (("gain", 1.0), ("offset", 0.0))
            scaling = [_plain(_numbers(name, kwargs, key, default)) for key, default in defaults]
            network = network and in_counts(network, *scaling)
        elif _by_fixed_numbers(name, kwargs):  # CAREamics scales back by the inverse numbers
            means, stds = (_numbers(name, kwargs, key, 0.0) for key in ("mean", "std"))
            if min(stds) <= 0:
                raise _unknown(name, f"by a deviation of {min(stds)}")
            pairs = _matched(name, means, stds)
            gain = tuple(1 / (std + EPS) for _, std in pairs)
            offset = tuple(-mean / (std + EPS) for mean, std in pairs)
            network = network and in_counts(network, _plain(gain), _plain(offset))
        elif name == "clip" and {"min", "max"} <= kwargs.keys():
            low, high = (_numbers(name, kwargs, key, 0.0)[0] for key in ("min", "max"))
            network = network and cut_to(network, low, high)
        elif name == "sigmoid":
            network = network and squashed(network)
        else:
            raise _unknown(name, "of its output")
    return network


def _plain(numbers: tuple[float, ...]) -> Numbers:
    return numbers if len(numbers) > 1 else numbers[0]


def _steps(tensor: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    listed = tensor.get(key)
    for step in listed if isinstance(listed, list) else []:
        step = step if isinstance(step, dict) else {}
        kwargs = step.get("kwargs")
        name = str(step.get("id") or step.get("name") or step.get("spec"))
        yield name, kwargs if isinstance(kwargs, dict) else {}


def _whole_image(name: str, kwargs: Mapping[str, Any], tensor: Mapping[str, Any]) -> None:
    """Refuse statistics of a data set, of each channel apart, or of a batch."""
    if kwargs.get("mode") == "per_dataset":
        raise _unknown(name, "over a data set")
    named, axes = kwargs.get("axes"), tensor.get("axes")
    if named is None or not isinstance(axes, str | list):
        return
    letters = {"c" if axis == "channel" else str(axis) for axis in named}
    if "b" in letters or "batch" in letters:
        raise _unknown(name, "over a batch")
    if "c" not in letters and _channels(tensor, axes) != 1:
        raise _unknown(name, "of each channel apart")


def _channels(tensor: Mapping[str, Any], axes: str | list[Any]) -> int:
    if isinstance(axes, list):
        named = [a for a in axes if isinstance(a, dict) and a.get("type") == "channel"]
        return len(named[0].get("channel_names") or ()) if named else 1
    if "c" not in axes:
        return 1
    shape = tensor.get("shape")
    sizes = (
        shape if isinstance(shape, list) else shape.get("min") if isinstance(shape, dict) else []
    )
    place = axes.index("c")
    return int(sizes[place]) if isinstance(sizes, list) and len(sizes) > place else 0


def _numbers(name: str, kwargs: Mapping[str, Any], key: str, default: float) -> tuple[float, ...]:
    """One number for all channels, or one per channel."""
    value = kwargs.get(key, default)
    listed = value if isinstance(value, list) else [value]
    if not listed or any(isinstance(v, bool) or not isinstance(v, int | float) for v in listed):
        raise _unknown(name, f"with {key} {shown(value, 60)}")
    numbers = tuple(float(v) for v in listed)
    return numbers[:1] if len(set(numbers)) == 1 else numbers


def _matched(
    name: str, first: tuple[float, ...], second: tuple[float, ...]
) -> list[tuple[float, float]]:
    """Pairs for each channel, where one of both may be the same for all."""
    count = max(len(first), len(second))
    if {len(first), len(second)} - {1, count}:
        raise _unknown(
            name, f"with numbers for {len(first)} and for {counted(len(second), 'channel')}"
        )
    wide = [numbers * count if len(numbers) == 1 else numbers for numbers in (first, second)]
    return list(zip(*wide, strict=True))


def _unknown(name: str, how: str = "") -> CheckpointError:
    return CheckpointError(
        f"processes images by '{shown(name)}'{f' {how}' if how else ''}, which no client of both "
        "formats does alike; give the weights themselves"
    )
