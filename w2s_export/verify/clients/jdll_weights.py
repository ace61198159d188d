"""Which weights of a package JDLL runs, and by which engine.

JDLL 0.6.1: `bioimageio.description.weights.ModelWeight` (a HashMap of the formats),
`BioimageIoModelJava.createBioimageioModel` (the first whose file is there and that has an engine),
`RunnerAdapter.initWithEnginesPath` (a state dict alone goes to Python), and the files
supportedVersions.json and availableDLVersions.json (engines).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from w2s_export.rdf.reading import ONNX, SAVED_MODEL, mapped
from w2s_export.verify.clients.jdll_axes import Failure, JdllError

TORCHSCRIPT = "torchscript"
STATE_DICT = "pytorch_state_dict"
_VERSION_FIELDS = {
    "keras_hdf5": "tensorflow_version",
    ONNX: "opset_version",
    STATE_DICT: "pytorch_version",
    SAVED_MODEL: "tensorflow_version",
    "tensorflow_js": "tensorflow_version",
    TORCHSCRIPT: "pytorch_version",
    "pytorch_script": "pytorch_version",
}
"""The formats that ModelWeight.build reads, and the field that names a version."""
_DEFAULTS = {ONNX: "17", TORCHSCRIPT: "1.13.1", "pytorch_script": "1.13.1"}
"""Versions that OnnxWeights and TorchscriptWeights take where none is stated."""


@dataclass(frozen=True, slots=True)
class OnnxEngine:
    """An ONNX Runtime that JDLL installs."""

    version: str
    opset: int
    """Newest operator set it loads."""
    ir_version: int
    """Newest ONNX file version it loads."""


ONNX_ENGINES = {
    18: OnnxEngine("1.13.1", 17, 8),
    17: OnnxEngine("1.12.1", 17, 8),
    16: OnnxEngine("1.11.0", 16, 8),
    15: OnnxEngine("1.10.0", 15, 8),
    14: OnnxEngine("1.9.0", 15, 8),
    13: OnnxEngine("1.8.1", 14, 7),
    12: OnnxEngine("1.7.0", 13, 7),
    11: OnnxEngine("1.6.0", 13, 7),
    10: OnnxEngine("1.5.2", 12, 7),
    9: OnnxEngine("1.4.0", 12, 7),
    8: OnnxEngine("1.3.0", 12, 7),
    7: OnnxEngine("1.3.0", 12, 7),
    6: OnnxEngine("1.3.0", 12, 7),
}
"""By the opset that the description states (supportedVersions.json). The limits were measured: each
version loaded files of IR 6 to 9 and opsets 9 to 18. For 8 and older JDLL takes 1.3.1."""
ENGINE_TYPES = {
    1: "float32",
    2: "int8",
    3: "int8",
    6: "int32",
    7: "int64",
    10: "float32",
    11: "float64",
}
"""What onnx-java-interface 0.4.2 makes of an output: element type of the ONNX file → type in Java.
Of every other element type (int16, bool, …) ImgLib2Builder.build makes an exception."""


@dataclass(frozen=True, slots=True)
class Weights:
    """One format of a package as JDLL keeps it."""

    weights_format: str
    version: str | None
    source: str | None
    """Bare file name that it looks for in the model's folder."""

    @property
    def key(self) -> str:
        """Its key in the HashMap."""
        version = "Unknown0" if self.version is None else self.version
        return f"{self.weights_format}_v{version}"

    @property
    def has_engine(self) -> bool:
        """Whether JDLL has an engine for it."""
        if self.weights_format == ONNX:
            return self.onnx_engine is not None
        majors = {SAVED_MODEL: ("1", "2"), TORCHSCRIPT: ("1", "2")}.get(self.weights_format, ())
        return str(self.version).split(".")[0] in majors

    @property
    def onnx_engine(self) -> OnnxEngine | None:
        """The ONNX Runtime of its stated opset."""
        opset = str(self.version)
        return ONNX_ENGINES.get(int(opset)) if opset.isdecimal() else None


def weights_in_order(rdf: Mapping[str, Any]) -> list[Weights]:
    """Every format of the description, in the order JDLL tries them.

    Raises:
        JdllError: JDLL drops such a model.
    """
    if not isinstance(rdf.get("weights"), Mapping):
        raise JdllError(Failure.drops, f"weights is {rdf.get('weights')!r:.40}")
    found: dict[str, Weights] = {}
    for name, entry in mapped(rdf, "weights").items():
        if name not in _VERSION_FIELDS or entry is None:
            continue
        if not isinstance(entry, Mapping):
            raise JdllError(Failure.drops, f"weights.{name} is {entry!r:.40}")
        version = _version(entry.get(_VERSION_FIELDS[name]))
        if version is None:
            version = _DEFAULTS.get(name)
        if version is None and name == SAVED_MODEL:  # SupportedVersions looks a null up
            raise JdllError(Failure.drops, f"weights.{name} states no {_VERSION_FIELDS[name]}")
        source = entry.get("source")
        weights = Weights(
            TORCHSCRIPT if name == "pytorch_script" else name,
            version,
            _bare_name(source) if isinstance(source, str) else None,
        )
        found[weights.key] = weights
    return [found[key] for key in java_hash_order(found)]


def chosen_weights(rdf: Mapping[str, Any], files: Collection[str]) -> Weights | None:
    """The weights that DeepImageJ 3.1 runs, None where it finds none that it can.

    Raises:
        JdllError: JDLL drops such a model.
    """
    candidates = weights_in_order(rdf)
    runnable = [w for w in candidates if w.source in files and w.has_engine]
    if runnable:
        return runnable[0]
    supported = {w.weights_format for w in candidates} - {"keras_hdf5", "tensorflow_js"}
    return next((w for w in candidates if supported == {STATE_DICT} == {w.weights_format}), None)


def java_hash_order(keys: Iterable[str]) -> list[str]:
    """The order in which a java.util.HashMap gives back the keys that were put in this order."""
    entries = list(dict.fromkeys(keys))
    size = 16
    while len(entries) > size * 3 // 4:
        size *= 2
    hashes = {key: _java_hash(key) for key in entries}
    places = {key: (value ^ (value >> 16)) & (size - 1) for key, value in hashes.items()}
    return sorted(entries, key=places.__getitem__)  # stable: a bucket keeps the order of insertion


def _java_hash(text: str) -> int:
    """String.hashCode, as 32 bits without sign."""
    value = 0
    units = text.encode("utf-16-be")
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value


def _version(value: Any) -> str | None:
    """setTrainingVersion: a number or a text, which ends before +, cuda and cu."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    text = str(value)
    for end in ("+", "cuda", "cu") if isinstance(value, str) else ():
        if end in text:
            return text[: text.index(end)].strip()
    return text


def _bare_name(source: str) -> str:
    """getSourceFileName: the last part of an address or a path."""
    path = urlsplit(source).path if "://" in source else source
    return PurePosixPath(path).name
