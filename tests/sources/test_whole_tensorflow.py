"""Keras files and SavedModels of anybody: one size, several signatures, what training left."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from tests.matrix import make
from w2s_export.errors import CheckpointError
from w2s_export.sources.keras_network import _check_layers
from w2s_export.sources.load import doubts, load_network

if TYPE_CHECKING:
    import keras

    from w2s_export.network import Network

# Conversions differ from TensorFlow by 1e-6 of the range; the wrong signature by half of it.
TOLERANCE = 1e-5
pytestmark = [
    pytest.mark.usefixtures("in_this_process"),
    pytest.mark.xdist_group("whole-tensorflow"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    make("trained", folder, warm=True)
    return folder


def difference(network: object, file: Path) -> float:
    given, expected = (np.load(f"{file}.{side}.npy") for side in ("in", "out"))
    made = network.reference()(given)  # type: ignore[attr-defined]
    return float(np.abs(made - expected).max() / np.ptp(expected))


def test_a_keras_file_is_let_go_of_its_size(folder: Path) -> None:
    network = load_network(folder / "fixed.keras", dynamic=True)
    assert (network.fixed, network.step) == (None, 2)
    assert difference(network, folder / "fixed.keras") <= TOLERANCE


def test_the_signature_is_the_user_s_choice(folder: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"signatures any, twice; choose one with --signature"
    ):
        load_network(folder / "two")
    network = load_network(folder / "two", signature="twice")
    assert network.fixed == (16, 16)
    assert difference(network, folder / "two") <= TOLERANCE


def test_what_training_left_beside_the_network_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TensorFlow's loader runs initialisers, and fails on optimizers of Keras 2.
    monkeypatch.delattr("tensorflow.saved_model.load")
    network = load_network(folder / "trained")
    assert difference(network, folder / "trained") <= TOLERANCE
    assert "left aside" in doubts(network)
    assert "optimizer" in doubts(network)


@pytest.mark.parametrize("name", ["mine>Twice", "Custom>Twice"])
def test_a_class_of_somebody_s_is_named_before_keras_sees_it(name: str) -> None:
    layer = {"module": None, "class_name": "Twice", "registered_name": name, "config": {}}
    own = {"module": "keras.layers", "class_name": "Conv2D", "registered_name": None}
    _check_layers({"class_name": "Functional", "config": {"layers": [own]}})
    with pytest.raises(CheckpointError, match=f"has a Twice of {name.partition('>')[0]}, a class"):
        _check_layers({"class_name": "Functional", "config": {"layers": [own, layer]}})


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
def test_a_layer_called_d_is_no_discriminator(beside: bool, tmp_path: Path) -> None:
    import tensorflow as tf

    class Network(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a = tf.Variable(tf.ones((3, 3, 1, 2)))
            self.d = tf.Variable(tf.ones((3, 3, 2, 1)))
            if beside:
                self.discriminator = tf.Variable(tf.ones((3, 3, 2, 1)))

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32)])
        def run(self, image: object) -> object:
            return tf.nn.conv2d(tf.nn.conv2d(image, self.a, 1, "SAME"), self.d, 1, "SAME")

    network = Network()
    tf.saved_model.save(network, tmp_path / "saved", signatures=network.run)
    assert ("discriminator" in load_network(tmp_path / "saved").chosen) == beside
    if not beside:
        assert load_network(tmp_path / "saved").chosen == ""


@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")  # of Keras with NumPy 2
def test_a_network_of_half_precision_is_computed_in_single(tmp_path: Path) -> None:
    """Half precision rounds by 5e-4 of the range; the conversion may differ by 1e-4."""
    import keras

    def built(policy: str) -> keras.Model:
        x = start = keras.Input((None, None, 1))
        for features in (4, 4):
            x = keras.layers.Conv2D(
                features, 3, padding="same", activation="relu", dtype=keras.DTypePolicy(policy)
            )(x)
        last = keras.layers.Conv2D(1, 3, padding="same", dtype="float32")
        return keras.Model(start, last(x))

    half, single = built("mixed_float16"), built("float32")
    single.set_weights(half.get_weights())
    half.save(tmp_path / "half.keras")
    network = load_network(tmp_path / "half.keras")
    image = np.random.default_rng(2).random((1, 1, 20, 24)).astype(np.float32)
    expected = single(image.transpose(0, 2, 3, 1)).numpy().transpose(0, 3, 1, 2)
    made = network.reference()(image)
    assert np.abs(made - expected).max() <= TOLERANCE * np.ptp(expected)
    assert "half precision" in network.architecture


def test_a_saved_model_of_half_precision_is_computed_in_single(tmp_path: Path) -> None:
    import tensorflow as tf

    class Network(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            rng = np.random.default_rng(1)
            shapes = ((3, 3, 1, 8), (3, 3, 8, 1))
            self.kernels = [tf.Variable(rng.normal(0, 1, s).astype(np.float32)) for s in shapes]

        def through(self, image: tf.Tensor, kind: tf.DType) -> tf.Tensor:
            x = tf.cast(image, kind)
            for kernel in self.kernels:
                x = tf.nn.relu(tf.nn.conv2d(x, tf.cast(kernel, kind), 1, "SAME"))
                x = x + tf.constant(0.3, kind)
            return tf.cast(x, tf.float32)

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32)])
        def run(self, image: tf.Tensor) -> tf.Tensor:
            return self.through(image, tf.float16)

    original = Network()
    tf.saved_model.save(original, tmp_path / "half", signatures=original.run)
    image = np.random.default_rng(2).random((1, 1, 20, 24)).astype(np.float32)
    turned = tf.constant(image.transpose(0, 2, 3, 1))
    expected, rounded = (
        original.through(turned, kind).numpy().transpose(0, 3, 1, 2)
        for kind in (tf.float32, tf.float16)
    )
    made = load_network(tmp_path / "half").reference()(image)
    assert np.abs(made - expected).max() <= 1e-3 * np.ptp(expected)  # 0.3 is rounded in the file
    assert np.abs(made - expected).max() < np.abs(rounded - expected).max()


def test_of_two_saved_models_none_is_taken_in_silence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for name in ("A2B", "B2A"):
            archive.writestr(f"{name}/saved_model.pb", b"\x08\x01")
            archive.writestr(f"{name}/variables/variables.index", b"")
    with pytest.raises(CheckpointError, match=r"holds 2 SavedModels, 'A2B', 'B2A'.*one"):
        load_network(tmp_path / "both.zip")


def computed(network: Network, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the graph of a network makes of an image, by ONNX Runtime."""
    session = onnxruntime.InferenceSession(network.graph.SerializeToString())
    made: NDArray[np.float32] = session.run(None, {"input": image})[0]
    return made


def by_keras(model: keras.Model, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a channels-last model makes of an (N, C, H, W) image."""
    made: NDArray[np.float32] = model(image.transpose(0, 2, 3, 1)).numpy().transpose(0, 3, 1, 2)
    return made


IMAGE = np.random.default_rng(2).random((2, 3, 20, 24)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")  # of Keras with NumPy 2
def test_channels_first_gives_what_its_channels_last_twin_gives(tmp_path: Path) -> None:
    """TensorFlow has no channels-first convolution on a CPU but as compiled by XLA."""
    import keras

    def built(order: str) -> keras.Model:
        first = order == "channels_first"
        axis = 1 if first else -1
        start = keras.Input((3, None, None) if first else (None, None, 3))
        how = {"padding": "same", "data_format": order}
        fine = keras.layers.Conv2D(4, 3, activation="relu", **how)(start)
        coarse = keras.layers.MaxPooling2D(2, data_format=order)(fine)
        coarse = keras.layers.BatchNormalization(axis)(coarse)
        coarse = keras.layers.Conv2DTranspose(4, 2, 2, **how)(coarse)
        both = keras.layers.Concatenate(axis)([coarse, fine])
        return keras.Model(start, keras.layers.Conv2D(1, 3, **how)(both))

    first, last = built("channels_first"), built("channels_last")
    last.set_weights(first.get_weights())
    first.save(tmp_path / "first.keras")
    network = load_network(tmp_path / "first.keras")
    expected = by_keras(last, IMAGE)
    assert np.abs(computed(network, IMAGE) - expected).max() <= TOLERANCE * np.ptp(expected)


@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")  # of Keras with NumPy 2
def test_grouped_convolutions_and_gelu_are_converted(tmp_path: Path) -> None:
    """Keras compiles the one by XLA, tf2onnx has no Erfc for the other."""
    import keras

    start = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(6, 3, groups=3, padding="same", activation="gelu")(start)
    original = keras.Model(start, keras.layers.Conv2D(1, 3, padding="same")(x))
    original.save(tmp_path / "net.keras")
    original.export(tmp_path / "net", verbose=False)
    expected = by_keras(original, IMAGE)
    for name in ("net.keras", "net"):
        made = computed(load_network(tmp_path / name), IMAGE)
        assert np.abs(made - expected).max() <= TOLERANCE * np.ptp(expected)


def test_a_saved_model_is_let_go_of_its_size(tmp_path: Path) -> None:
    """Keras 3 notes a size beside each operation, which these convolutions do not need."""
    import keras

    def built(size: int | None) -> keras.Model:
        start = keras.Input((size, size, 1))
        x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(start)
        return keras.Model(start, keras.layers.Conv2D(1, 3, padding="same")(x))

    fixed, free = built(16), built(None)
    free.set_weights(fixed.get_weights())
    fixed.export(tmp_path / "net", verbose=False)
    network = load_network(tmp_path / "net", dynamic=True)
    image = IMAGE[:, :1]
    expected = by_keras(free, image)
    assert network.fixed is None
    assert np.abs(computed(network, image) - expected).max() <= TOLERANCE * np.ptp(expected)
