"""The feature network against PyTorch, its files, and what it says of files it cannot use."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.vgg import Layers, layers, write_npz
from w2s_export.errors import ConfigError
from w2s_export.networks.features import preprocess
from w2s_export.sources.feature_weights import load_features


def _pytorch(of: Layers, image: np.ndarray, *, activate: bool = False, prepare: bool = True):
    """Features as PyTorch computes them from torchvision's description of VGG."""
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    functional = torch.nn.functional
    x = torch.from_numpy(image).permute(0, 3, 1, 2)
    x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
    if prepare:
        mean_rgb = torch.tensor([123.68, 116.779, 103.939])
        x = (255 * x - mean_rgb[:, None, None]).flip(1)
    for name, (kernel, bias) in of.items():
        if name in ("block2_conv1", "block3_conv1"):
            x = functional.max_pool2d(x, 2)
        weight = torch.from_numpy(kernel).permute(3, 2, 0, 1)
        before = functional.conv2d(x, weight, torch.from_numpy(bias), padding=1)
        x = functional.relu(before)
    return (x if activate else before).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(("block3", "last"), [(3, "block3_conv3"), (4, "block3_conv4")])
@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_pytorchs(tmp_path: Path, block3: int, last: str, channels: int) -> None:
    network = load_features(write_npz(tmp_path / "vgg.npz", layers(block3)))
    assert network.layer == last
    image = np.random.default_rng(0).random((2, 18, 13, channels), np.float32)
    expected = _pytorch(layers(block3), image)
    got = network(image)
    assert got.shape == (2, 4, 3, 256)
    # Both in float32: 2e-6 of the largest feature was seen.
    np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "fault", [{"activate": True}, {"prepare": False}], ids=["after activation", "not preprocessed"]
)
def test_faulty_features_of_the_original_are_told_apart(tmp_path: Path, fault: dict) -> None:
    """The original took features behind the activation, of images the VGG did not expect."""
    image = np.random.default_rng(0).random((1, 16, 16, 1), np.float32)
    got = np.asarray(load_features(write_npz(tmp_path / "vgg.npz", layers(4)))(image))
    faulty = _pytorch(layers(4), image, **fault)
    assert np.abs(got - faulty).mean() > 0.1 * np.abs(got).mean()
    assert 0.2 < (got < 0).mean() < 0.8


def test_preprocessing_by_hand() -> None:
    grey = np.full((1, 1, 1, 1), 0.5, np.float32)
    np.testing.assert_allclose(
        preprocess(grey)[0, 0, 0], [127.5 - 103.939, 127.5 - 116.779, 127.5 - 123.68], rtol=1e-5
    )
    red = np.array([1, 0, 0], np.float32).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(
        preprocess(red)[0, 0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-5
    )


def test_preprocessing_is_keras_applications() -> None:
    import keras

    image = np.random.default_rng(0).random((1, 4, 4, 3), np.float32)
    expected = keras.applications.vgg19.preprocess_input(255 * image)
    np.testing.assert_allclose(preprocess(image), expected, atol=1e-4)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("style", ["{0}/{0}/{1}:0", "{0}/{0}_{2}_1:0", "layers/{0}/vars/{3}"])
def test_keras_h5_files_of_all_ages_are_read(tmp_path: Path, style: str, listed: bool) -> None:
    path = tmp_path / "vgg19.h5"
    with h5py.File(path, "w") as file:
        for name, parts in layers(4).items():
            for index, part in enumerate(parts):
                word = ("kernel", "bias")[index]
                file[style.format(name, word, "Wb"[index], index)] = part
        file["block4_conv1/block4_conv1/kernel:0"] = np.zeros((3, 3, 256, 512), np.float32)
        if listed and not style.startswith("layers"):
            file.attrs["layer_names"] = np.array(list(file), "S")
            for group in file.values():
                inside: list[str] = []
                group.visit(inside.append)
                arrays = [path for path in inside if isinstance(group[path], h5py.Dataset)]
                group.attrs["weight_names"] = np.array(arrays, "S")
    network = load_features(path)
    assert network.kind == "vgg19"
    for kernel, bias, expected in zip(
        network.kernels, network.biases, layers(4).values(), strict=True
    ):
        np.testing.assert_array_equal(kernel, expected[0])
        np.testing.assert_array_equal(bias, expected[1])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_keras_own_vgg19_is_read(tmp_path: Path) -> None:
    import keras

    model = keras.applications.VGG19(include_top=False, weights=None, input_shape=(32, 32, 3))
    model.save_weights(tmp_path / "vgg19.weights.h5")
    network = load_features(tmp_path / "vgg19.weights.h5")
    assert network.kind == "vgg19"
    np.testing.assert_array_equal(
        network.kernels[-1], model.get_layer("block3_conv4").get_weights()[0]
    )


def _without(name: str) -> Layers:
    return {key: value for key, value in layers(3).items() if key != name}


def _damaged(path: Path) -> Path:
    path.write_bytes(b"PK\x03\x04 not a zip")
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "none.npz", "no such file"),
        (lambda p: _damaged(p / "vgg.npz"), "truncated or damaged zip"),
        (lambda p: _damaged(p / "vgg.h5"), "truncated or damaged HDF5"),
        (lambda p: _damaged(p / "vgg.pth"), "neither .npz nor .h5"),
        (lambda p: write_npz(p / "v.npz", _without("block2_conv1")), "no .* 'block2_conv1'"),
        (
            lambda p: write_npz(
                p / "v.npz", layers(3) | {"block1_conv1": (np.zeros((3, 3, 1, 64)), np.zeros(64))}
            ),
            r"'block1_conv1' is \(3, 3, 1, 64\).*\(3, 3, 3, 64\)",
        ),
        (
            lambda p: write_npz(
                p / "v.npz",
                layers(3) | {"block1_conv1": (np.full((3, 3, 3, 64), np.nan), np.zeros(64))},
            ),
            "'block1_conv1' holds NaN",
        ),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, make, words: str) -> None:
    with pytest.raises(ConfigError, match=f"feature_weights.*{words}"):
        load_features(make(tmp_path))


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", block1_conv1_kernel=np.array([{}], object))
    with pytest.raises(ConfigError, match="never unpickled"):
        load_features(tmp_path / "v.npz")


def _elsewhere(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["block1_conv1/kernel:0"] = h5py.ExternalLink("/etc/passwd", "/")


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("block1_conv1.npy", bytes(200 << 20))


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("v.h5", _elsewhere, "points into another file"),
        ("v.npz", _bomb, "members claim"),
        ("v.npz", os.mkfifo, "is a pipe"),
        ("v.h5", os.mkfifo, "is a pipe"),
        ("v.h5", Path.mkdir, "is a folder"),
    ],
)
def test_hostile_files_are_refused(
    tmp_path: Path, name: str, make: Callable[[Path], None], words: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(ConfigError, match=f"feature_weights.*{words}"):
        load_features(tmp_path / name)


def test_a_download_that_fails_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    def refuse(**options: object) -> None:
        raise Exception("URL fetch failure on https://…: None")  # as Keras does

    monkeypatch.setattr(keras.applications, "VGG19", refuse)
    with pytest.raises(ConfigError, match=r"URL fetch failure.*adversarial\.feature_weights"):
        load_features(None)


def test_a_download_is_read_by_layer_names(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    build = keras.applications.VGG19

    def untrained(include_top: bool, weights: str) -> object:
        assert (include_top, weights) == (False, "imagenet")
        return build(include_top=False, weights=None, input_shape=(32, 32, 3))

    monkeypatch.setattr(keras.applications, "VGG19", untrained)
    network = load_features(None)
    assert network.kind == "vgg19"
    assert [kernel.shape[-1] for kernel in network.kernels] == [64] * 2 + [128] * 2 + [256] * 4
