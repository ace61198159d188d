"""Weights of VGG16 and VGG19, from a file of anybody's making or from where Keras keeps them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from w2s_export.errors import CheckpointError, ConfigError, W2SExportError
from w2s_export.io.files import regular_size
from w2s_export.networks.features import FeatureNetwork, assemble, is_member
from w2s_export.sources.isolated import isolated
from w2s_export.sources.naming import naming
from w2s_export.sources.npz_checkpoint import stored_array
from w2s_export.sources.recognise import member_names


def load_features(path: Path | None) -> FeatureNetwork:
    """The network from a local file, or VGG19 trained on ImageNet through `keras.applications`.

    Args:
        path: `.npz` or `.h5` whose members are named `block1_conv1…`, kernels HWIO, as Keras names
            and stores VGG16 and VGG19; whatever follows block 3 is ignored. None downloads.

    Raises:
        ConfigError: no such file, not readable, a layer missing or of another shape; or there is
            nothing to download from.
    """
    if path is None:
        return assemble(_downloaded(), "keras.applications.VGG19")
    if not path.exists():
        raise ConfigError(f"feature_weights: {path}: no such file; give VGG16 or VGG19 weights")
    reader = {".npz": _npz, ".h5": _hdf5, ".hdf5": _hdf5}.get(path.suffix)
    if reader is None:
        raise ConfigError(f"feature_weights: {path}: is neither .npz nor .h5")
    try:
        with naming(path):
            regular_size(path, CheckpointError)
            members = reader(path)
    except W2SExportError as error:
        raise ConfigError(f"feature_weights: {error}") from None
    return assemble(members, f"feature_weights: {path}")


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    names = [name for name in member_names(path) if is_member(name)]
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy"): stored_array(archive, name).read() for name in names}


def _hdf5(path: Path) -> dict[str, NDArray[Any]]:
    """Keras 3 numbers layers by their class, and notes the name beside their variables."""
    with isolated("hdf5_program", path, [path]) as (_, found):
        members = {}
        for tensor, noted in found:
            key = tensor.key.replace(": ", "/")  # the group and the name in it that Keras 2 lists
            name = key if is_member(key) else f"{noted}/{key}"
            if is_member(name):
                members[name] = tensor.read()
        return members


def _downloaded() -> dict[str, NDArray[Any]]:
    import keras

    try:
        model = keras.applications.VGG19(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise ConfigError(
            "the ImageNet weights of VGG19 cannot be downloaded "
            f"({' '.join(str(error).split())[:200]}); give a local file of VGG16 or VGG19 weights "
            "as adversarial.feature_weights"
        ) from None
    return {
        f"{layer.name}/{index}": value
        for layer in model.layers
        for index, value in enumerate(layer.get_weights())
        if is_member(layer.name)
    }
