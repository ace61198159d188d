"""Whole Keras models, `.keras` and `.h5`: loaded by Keras in safe mode, converted by tf2onnx.

What a file says of its layers is read before Keras sees it: layers that hold code, or classes that
are not Keras's own, are refused by name.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import CheckpointError, NoWholeNetworkError
from w2s_export.foreign_text import shown
from w2s_export.runtime.protocol import first_line
from w2s_export.sources.by_tf2onnx import convert
from w2s_export.sources.original import Options, Original
from w2s_export.sources.stored_tensor import check_size

if TYPE_CHECKING:
    import onnx

_CODE = {
    "Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer",
    "ExportArchive", "TensorFlowOpLayer", "TFOpLambda", "SlicingOpLambda",
}  # fmt: skip
_HALF = ("float16", "bfloat16")
_ADVICE = (
    "save the network as a SavedModel where it was made (Keras 2: model.save('FOLDER'); Keras 3: "
    "model.export('FOLDER')) and give that folder"
)


def open_original(path: Path, options: Options) -> Original:
    """Open a whole model.

    Raises:
        CheckpointError: weights alone, code in it, classes of others, or refused by Keras.
    """
    _check_layers(_configuration(path))
    import keras
    import tensorflow as tf

    try:
        model = keras.saving.load_model(_named(path), compile=False, safe_mode=True)
    except Exception as error:  # Keras raises errors of any class for what it cannot build
        raise CheckpointError(
            f"Keras {keras.__version__} does not load it ({shown(first_line(error))}); {_ADVICE}"
        ) from None
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        sides = ([tensor.name for tensor in model.inputs], model.output_names)
        ins, outs = (shown(", ".join(names)) for names in sides)
        raise CheckpointError(
            f"has {counted(len(model.inputs), 'input')} ({ins}) and "
            f"{counted(len(model.outputs), 'output')} ({outs}); only a network of one image in "
            "and one image out becomes a package that Fiji runs"
        )
    half = any(layer.compute_dtype in _HALF for layer in model._flatten_layers())
    if half:
        model = _in_single_precision(keras, model)
    shape = tuple(model.inputs[0].shape)
    if options.get("dynamic") and len(shape) == 4:
        model = _freed(keras, model, shape)
    converted = _converted(model, tuple(model.inputs[0].shape))
    # TensorFlow convolves channels-first images on a GPU, and on a CPU only as compiled by XLA.
    first = any(_channels_first(layer) for layer in model._flatten_layers())
    call = tf.function(model, autograph=False, jit_compile=True) if first else model

    def run(batch: NDArray[np.float32]) -> NDArray[Any]:
        return np.asarray(call(tf.constant(batch), training=False))

    kind = f"Keras network '{shown(model.name)}', {model.count_params():,} parameters"
    kind += ", trained in half precision" if half else ""
    return Original(converted, f"Keras {keras.__version__}", run, kind)


def _named(path: Path) -> Path:
    """The file under a name that Keras tells its kind by, in the working directory."""
    suffix = ".keras" if zipfile.is_zipfile(path) else ".h5"
    if path.suffix == suffix:
        return path
    link = Path(f"network{suffix}")
    link.symlink_to(path.absolute())
    return link


def _configuration(path: Path) -> Any:
    """What the file says of its layers."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_size(archive.getinfo("config.json").file_size * 16, "its configuration")
            return json.loads(archive.read("config.json"))
    import h5py

    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
    if text is None:
        raise NoWholeNetworkError(
            "holds the weights of a Keras network without the network; save the whole model "
            "(model.save('network.keras'))"
        )
    return json.loads(text)


def _check_layers(configuration: Any) -> None:
    """Refuse layers that hold code, and classes that Keras does not have.

    Raises:
        CheckpointError: names the class.
    """
    for entry in _classes(configuration):
        name, module = str(entry.get("class_name")), entry.get("module")
        if name in _CODE or name.endswith("OpLambda"):
            raise CheckpointError(
                f"has a {shown(name)} layer, which holds code; code of a file is never run. "
                f"Build the network without it, or {_ADVICE}"
            )
        registered = str(entry.get("registered_name") or "").partition(">")
        if registered[1] and registered[0] != "keras":  # of somebody's, and named so in the file
            module = registered[0]
        package = str(module or "keras").split(".")[0]
        if package == "w2s_export":
            raise NoWholeNetworkError(
                f"has a {shown(name)} of this tool that is no part of a network"
            )
        if package not in ("keras", "builtins", "tensorflow", "tf_keras"):
            raise CheckpointError(
                f"has a {shown(name)} of {shown(str(module))}, a class that Keras does not have; "
                f"{_ADVICE}"
            )


def _classes(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if "class_name" in found:
                yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _channels_first(layer: Any) -> bool:
    return getattr(layer, "data_format", None) == "channels_first"


def _in_single_precision(keras: Any, model: Any) -> Any:
    """The same network computed in float32: its own rounding, 5e-4, would be no witness."""

    def single(layer: Any) -> Any:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    try:
        made = keras.models.clone_model(model, clone_function=single, recursive=True)
        made.set_weights(model.get_weights())
    except Exception as error:  # Keras raises errors of any class for what it cannot build
        raise CheckpointError(
            f"computes in half precision and cannot be built in single ({shown(first_line(error))})"
            "; save it with the policy float32"
        ) from None
    return made


def _freed(keras: Any, model: Any, shape: tuple[Any, ...]) -> Any:
    """The same network on images of any size, where its layers allow it."""
    first = str(keras.config.image_data_format()) == "channels_first"
    free = (shape[1], None, None) if first else (None, None, shape[3])
    try:
        made = keras.models.clone_model(model, input_tensors=keras.Input(free))
        made.set_weights(model.get_weights())
    except Exception as error:
        raise CheckpointError(
            f"cannot be freed from its size {shape[1:3]} ({shown(first_line(error))}); export it "
            "without --dynamic"
        ) from None
    return made


def _converted(model: Any, shape: tuple[Any, ...]) -> onnx.ModelProto:
    import tensorflow as tf
    import tf2onnx

    traced = tf.function(lambda image: model(image, training=False), autograph=False)
    with _traceable():
        signature = [tf.TensorSpec((None, *shape[1:]), tf.float32)]
        return convert(lambda: tf2onnx.convert.from_function(traced, signature, opset=17))


class _traceable:  # noqa: N801 - a context, read like a function
    """Trace UpSampling2D as TensorFlow's own resizing, and functions of Keras as what they hold.

    Keras 3's own code compares sizes in Python, which a traced size refuses, and repeats rows and
    columns one after the other. Grouped convolutions it calls as a function compiled by XLA, which
    tf2onnx does not look into.
    """

    def __enter__(self) -> None:
        import keras
        import tensorflow as tf

        def resize(_: Any, x: Any, height: int, width: int, data_format: str, **how: Any) -> Any:
            if data_format == "channels_first":
                x = tf.transpose(x, (0, 2, 3, 1))
            size = tf.shape(x)[1:3] * tf.constant((height, width))
            x = tf.image.resize(x, size, method=how.get("interpolation", "nearest"))
            return tf.transpose(x, (0, 3, 1, 2)) if data_format == "channels_first" else x

        self._kept = keras.layers.UpSampling2D._resize_images
        keras.layers.UpSampling2D._resize_images = resize
        tf.config.run_functions_eagerly(True)

    def __exit__(self, *_: object) -> None:
        import keras
        import tensorflow as tf

        keras.layers.UpSampling2D._resize_images = self._kept
        tf.config.run_functions_eagerly(False)
