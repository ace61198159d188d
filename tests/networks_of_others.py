"""Makes tiny networks of other families, and what their own frameworks make of an image.

    python -m tests.networks_of_others keras|torch|trained FOLDER

For each network a file, NAME.in.npy and NAME.out.npy, both (N, C, H, W). In a process of its own:
spandrel and TensorFlow do not live together.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def image(channels: int) -> np.ndarray:
    return np.random.default_rng(channels).random((2, channels, 32, 48)).astype(np.float32)


def unet(up: Callable[[Any, int], Any], residual: bool = False, channels: int = 1) -> Any:
    from keras import Input, Model
    from keras import layers as L

    x = start = Input((None, None, channels))
    skips = []
    for features in (4, 8):
        x = L.Conv2D(features, 3, padding="same")(x)
        x = L.LeakyReLU()(L.BatchNormalization()(x))
        skips.append(x)
        x = L.MaxPooling2D()(x)
    x = L.Conv2D(16, 3, padding="same", activation="relu")(x)
    for features, skip in zip((8, 4), skips[::-1], strict=True):
        x = L.Concatenate()([up(x, features), skip])
        x = L.Conv2D(features, 3, padding="same", activation="relu")(x)
    x = L.Conv2D(channels, 1)(x)
    return Model(start, L.Add()([x, start]) if residual else x)


def keras_networks() -> dict[str, Any]:
    from keras import Input, Model
    from keras import layers as L

    def dncnn() -> Any:
        x = start = Input((None, None, 1))
        for _ in range(3):
            x = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
            x = L.ReLU()(L.BatchNormalization()(x))
        return Model(start, L.Subtract()([start, L.Conv2D(1, 3, padding="same")(x)]))

    def srcnn() -> Any:
        x = start = Input((None, None, 1))
        x = L.UpSampling2D(2, interpolation="bilinear")(x)
        x = L.Conv2D(8, 9, padding="same", activation="relu")(x)
        return Model(start, L.Conv2D(1, 5, padding="same")(x))

    def pix2pix() -> Any:
        x = start = Input((None, None, 3))
        for features in (8, 16):
            x = L.Conv2D(features, 4, strides=2, padding="same", use_bias=False)(x)
            x = L.LeakyReLU(0.2)(L.BatchNormalization()(x))
        for features in (8, 3):
            x = L.Conv2DTranspose(features, 4, strides=2, padding="same")(x)
            x = L.Dropout(0.5)(L.ReLU()(x)) if features != 3 else L.Activation("tanh")(x)
        return Model(start, x)

    return {
        "unet.keras": unet(lambda x, _: L.UpSampling2D()(x)),
        "care.h5": unet(lambda x, _: L.UpSampling2D()(x), residual=True),
        "unet-transposed.keras": unet(
            lambda x, f: L.Conv2DTranspose(f, 3, strides=2, padding="same")(x)
        ),
        "dncnn.keras": dncnn(),
        "srcnn.h5": srcnn(),
        "pix2pix.keras": pix2pix(),
        "unet-exported": unet(lambda x, _: L.UpSampling2D()(x)),
    }


def write_keras(folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(4)
    for name, network in keras_networks().items():
        for weight in network.weights:
            if "moving_variance" in weight.path or "gamma" in weight.path:
                weight.assign(np.random.default_rng(1).uniform(0.5, 1.5, weight.shape))
        given = image(network.inputs[0].shape[-1])
        made = np.asarray(network(given.transpose(0, 2, 3, 1), training=False))
        if "." in name:
            network.save(folder / name)
        else:
            network.export(folder / name, verbose=False)
        np.save(folder / f"{name}.in.npy", given)
        np.save(folder / f"{name}.out.npy", made.transpose(0, 3, 1, 2))


def write_trained(folder: Path) -> None:
    """A Keras file of one size; SavedModels: after training, of two signatures, of one size."""
    import keras
    import tensorflow as tf
    from keras import layers as L

    keras.utils.set_random_seed(4)
    x = start = keras.Input((32, 48, 1))
    x = L.UpSampling2D()(L.MaxPooling2D()(L.Conv2D(8, 3, padding="same", activation="relu")(x)))
    fixed = keras.Model(start, L.Conv2D(1, 3, padding="same")(x))
    fixed.save(folder / "fixed.keras")
    free = keras.Input((None, None, 1))
    freed = keras.models.clone_model(fixed, input_tensors=free)
    freed.set_weights(fixed.get_weights())

    freed.compile("adam", "mse", metrics=["mae"])
    batch = np.random.default_rng(3).random((2, 32, 48, 1)).astype(np.float32)
    given = image(1)
    np.save(folder / "fixed.keras.in.npy", given[:, :, :, :40])
    made = np.asarray(freed(given[..., :40].transpose(0, 2, 3, 1)))
    np.save(folder / "fixed.keras.out.npy", made.transpose(0, 3, 1, 2))
    freed.fit(batch, batch, verbose=0)
    tf.saved_model.save(freed, folder / "trained")
    made = np.asarray(freed(given.transpose(0, 2, 3, 1), training=False))

    class Two(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = freed

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32)])
        def any(self, x: Any) -> Any:
            return {"y": self.network(x)}

        @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 1), tf.float32)])
        def twice(self, x: Any) -> Any:
            return {"y": 2 * self.network(x)}

    two = Two()
    tf.saved_model.save(two, folder / "two", signatures={"any": two.any, "twice": two.twice})
    np.save(folder / "trained.in.npy", given)
    np.save(folder / "trained.out.npy", made.transpose(0, 3, 1, 2))
    small = given[..., :16, :16]
    made = np.asarray(freed(small.transpose(0, 2, 3, 1), training=False))
    np.save(folder / "two.in.npy", small)
    np.save(folder / "two.out.npy", 2 * made.transpose(0, 3, 1, 2))


SPANDREL = {
    "compact": ("Compact.__arch.SRVGG", "SRVGGNetCompact", {"num_feat": 8, "num_conv": 2,
                "upscale": 2}),
    "rcan": ("RCAN", "RCAN", {"n_feats": 16, "n_resgroups": 2, "n_resblocks": 1, "scale": 2,
             "reduction": 4}),
    "safmn": ("SAFMN.__arch.safmn", "SAFMN", {"dim": 16, "n_blocks": 1, "upscaling_factor": 2}),
    "kair-dncnn": ("DnCNN", "DnCNN", {"in_nc": 1, "out_nc": 1, "nc": 8, "nb": 4}),
    "swinir": ("SwinIR", "SwinIR", {"embed_dim": 12, "depths": [2], "num_heads": [2],
               "window_size": 8, "upscale": 2, "upsampler": "pixelshuffle", "img_size": 64,
               "mlp_ratio": 2}),
}  # fmt: skip


def write_torch(folder: Path) -> None:
    import spandrel
    import torch

    torch.manual_seed(2)
    for name, (module, kind, settings) in SPANDREL.items():
        made = getattr(importlib.import_module(f"spandrel.architectures.{module}"), kind)
        torch.save(made(**settings).state_dict(), folder / f"{name}.pth")
        tensors = torch.load(folder / f"{name}.pth", weights_only=True)
        network = spandrel.ModelLoader().load_from_state_dict(tensors)
        network.model.eval()
        given = image(network.input_channels)
        with torch.inference_mode():
            # Each image alone, and a copy of it: some networks change what they are given.
            results = [
                network._call_fn(network.model, torch.from_numpy(one[np.newaxis].copy()))
                for one in given
            ]
        np.save(folder / f"{name}.pth.in.npy", given)
        np.save(folder / f"{name}.pth.out.npy", torch.cat(results).numpy())


MAKERS = {"keras": write_keras, "torch": write_torch, "trained": write_trained}

if __name__ == "__main__":
    MAKERS[sys.argv[1]](Path(sys.argv[2]))
