"""Features that judge how an image looks: a VGG network up to the end of its third block.

The last convolution of block 3 (`block3_conv4` of VGG19, `block3_conv3` of VGG16), before its
activation, https://arxiv.org/abs/1409.1556 and https://arxiv.org/abs/1809.00219.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import ConfigError

MEAN_BGR = (103.939, 116.779, 123.68)
"""Of ImageNet, blue first: what the Caffe VGG networks subtract from pixels of 0 to 255."""
SMALLEST = 4
"""Side of the smallest image, pixels: two poolings halve it."""

_WIDTHS = (64, 128, 256)
_BLOCK3 = {"vgg16": 3, "vgg19": 4}
_MEMBER = re.compile(r"(?:^|/)(block[123]_conv[1-4])(?:[_/]|$)")


@dataclass(frozen=True, slots=True)
class FeatureNetwork:
    """Kernels (3, 3, in, out) and biases (out,) of the convolutions, first to last."""

    kind: str
    """`vgg16` or `vgg19`."""
    kernels: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]

    @property
    def layer(self) -> str:
        """Name of the layer whose output, before its activation, are the features."""
        return _names(self.kind)[-1]

    def __call__(self, image: Any) -> Any:
        """Features of images (N, H, W, 1 or 3), 0…1: (N, H // 4, W // 4, 256), not activated."""
        return self._outputs(image)[-1]

    def stages(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Activated features of a plane (H, W), 0…1, at the end of each block: three (h, w, C)."""
        import tensorflow as tf

        names = _names(self.kind)
        outputs = self._outputs(tf.constant(image[None, ..., None]))
        last = [names[index][:6] != following[:6] for index, following in enumerate(names[1:])]
        chosen = [x for x, ends in zip(outputs, [*last, True], strict=True) if ends]
        return [tf.nn.relu(x)[0].numpy() for x in chosen]

    def _outputs(self, image: Any) -> list[Any]:
        """What each convolution gives, before its activation."""
        import tensorflow as tf

        x = preprocess(image)
        names, outputs = _names(self.kind), []
        for name, kernel, bias in zip(names, self.kernels, self.biases, strict=True):
            if name != names[0]:
                x = tf.nn.relu(x)
                if name.endswith("conv1"):
                    x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            with tf.init_scope():  # outside the graph, which would hold a copy for each use
                kernel, bias = tf.constant(kernel, x.dtype), tf.constant(bias, x.dtype)
            x = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias)
            outputs.append(x)
        return outputs


def preprocess(image: Any) -> Any:
    """What VGG was trained on: (N, H, W, 1 or 3) of 0…1 → (N, H, W, 3), BGR, 0…255 less the mean.

    Grey becomes three equal channels. Values beyond 0…1 stay: cut off, they would have no gradient.
    """
    import tensorflow as tf

    image = tf.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., ::-1]
    return image * 255.0 - tf.constant(MEAN_BGR, image.dtype)


def is_member(name: str) -> bool:
    """Whether a tensor of this name belongs to one of the layers."""
    return _MEMBER.search(name) is not None


def assemble(members: Mapping[str, NDArray[Any]], where: str) -> FeatureNetwork:
    """Sort named arrays into layers, and hold them against the architecture.

    Args:
        members: kernels HWIO and biases, by names that hold `block1_conv1…`.
        where: what they were read from, for messages.

    Raises:
        ConfigError: a layer is missing or of another shape, or holds NaN or infinity.
    """
    layers: dict[str, dict[int, NDArray[np.float32]]] = {}
    for name, value in members.items():
        match = _MEMBER.search(name)
        if match:
            layers.setdefault(match[1], {})[value.ndim] = value.astype(np.float32)
    kind = "vgg19" if "block3_conv4" in layers else "vgg16"
    kernels, biases = [], []
    inputs = 3
    for name in _names(kind):
        outputs = _WIDTHS[int(name[5]) - 1]
        kernel, bias = layers.get(name, {}).get(4), layers.get(name, {}).get(1)
        if kernel is None or bias is None:
            raise ConfigError(f"{where}: has no kernel and bias of '{name}'; give VGG16 or VGG19")
        if kernel.shape != (3, 3, inputs, outputs) or bias.shape != (outputs,):
            raise ConfigError(
                f"{where}: the kernel of '{name}' is {kernel.shape}, its bias {bias.shape}; VGG's "
                f"are {(3, 3, inputs, outputs)} and {(outputs,)}"
            )
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise ConfigError(f"{where}: '{name}' holds NaN or infinity")
        kernels.append(kernel)
        biases.append(bias)
        inputs = outputs
    return FeatureNetwork(kind, tuple(kernels), tuple(biases))


def _names(kind: str) -> list[str]:
    depths = (2, 2, _BLOCK3[kind])
    return [f"block{b}_conv{c}" for b, n in enumerate(depths, 1) for c in range(1, n + 1)]
