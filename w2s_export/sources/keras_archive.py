"""`.keras` archives of our generator.

A zip of `config.json`, `metadata.json` and `model.weights.h5`. The configuration is read as plain
JSON for the few numbers that no tensor shows; no layer is ever built from it, so a Lambda layer or
a registered class in a foreign archive has nothing to run in.
"""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2s_export.errors import CheckpointError, CheckpointMismatchError
from w2s_export.io.temporary import temporary_folder
from w2s_export.sources import keras_h5
from w2s_export.sources.architecture import NOTHING_KNOWN, settle
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.recognise import ZIP_DAMAGE

_CONFIG_LIMIT = 64 << 20
_WEIGHTS = "model.weights.h5"
_LAYERS = frozenset(
    {"InputLayer", "Conv2D", "LeakyReLU", "Concatenate", "Add", "Functional"}
    | {"Scale", "PixelUnshuffle", "NearestUpsampling"}
    | {"RRDBNet"}  # w2s-tensorflow's class, a single layer of its own
)
_CONVOLUTION: Mapping[str, Any] = {
    "kernel_size": [3, 3],
    "strides": [1, 1],
    "padding": "same",
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "groups": 1,
    "activation": "linear",
    "use_bias": True,
}
"""Settings of every convolution, as Keras writes them in `config.json`."""


def read(path: Path, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read a `.keras` archive.

    Raises:
        CheckpointError: truncated or damaged.
        CheckpointMismatchError: a layer or a tensor that is not our generator's.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if _WEIGHTS not in archive.namelist():
                raise CheckpointError(f"holds no {_WEIGHTS}; save it again with Keras 3 and h5py")
            if archive.getinfo("config.json").file_size > _CONFIG_LIMIT:
                raise CheckpointError("claims a config.json too large for any network")
            config = json.loads(archive.read("config.json"))
            stated = _stated(config) if isinstance(config, dict) else {}
            with temporary_folder() as folder:
                weights = folder / _WEIGHTS
                with archive.open(_WEIGHTS) as source, weights.open("wb") as target:
                    shutil.copyfileobj(source, target)
                checkpoint = keras_h5.read(weights, settle(known, stated))
    except (KeyError, *ZIP_DAMAGE) as error:
        raise CheckpointError(
            f"is truncated or damaged ({error}); fetch or write it again"
        ) from None
    return replace(checkpoint, source_format="keras-archive")


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `GeneratorConfig` that the layers' settings tell."""
    layers = list(_layers(config))
    for kind, name, settings in layers:
        if kind not in _LAYERS:
            raise CheckpointMismatchError(
                f"has a {kind} layer '{name}', which an RRDBNet generator of this tool does not "
                "have"
            )
        for key, value in _CONVOLUTION.items() if kind == "Conv2D" else ():
            if settings.get(key, value) != value:
                raise CheckpointMismatchError(
                    f"has a convolution '{name}' with {key} {settings[key]!r:.40}; an RRDBNet's "
                    f"have {value!r}"
                )
    found: dict[str, Any] = {}
    for field, wanted, key in (
        ("residual_scale", "Scale", "factor"),
        ("negative_slope", "LeakyReLU", "negative_slope"),
        ("pixel_unshuffle", "PixelUnshuffle", "factor"),
    ):
        values = {str(settings.get(key)) for kind, _, settings in layers if kind == wanted}
        if len(values) > 1:
            raise CheckpointMismatchError(f"has several values of {field}: {sorted(values)}")
        for value in values:
            found[field] = _number(value)
    if found:
        factors = (
            _number(settings.get("factor"))
            for kind, _, settings in layers
            if kind == "NearestUpsampling"
        )
        found.setdefault("pixel_unshuffle", 1)
        found["scale"] = math.prod(factors) / found["pixel_unshuffle"]
    return found


def _number(value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise CheckpointError(f"has a layer set to {value!r:.40} where a number belongs") from None
    return int(number) if number.is_integer() else number


def _layers(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(class, name, settings) of every layer, those of nested models included."""
    settings = config.get("config")
    for layer in settings.get("layers", ()) if isinstance(settings, dict) else ():
        if isinstance(layer, dict) and isinstance(layer.get("config"), dict):
            yield str(layer.get("class_name")), str(layer.get("name")), layer["config"]
            yield from _layers(layer)
