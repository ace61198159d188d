"""The discriminator: does an image look like a target? One logit an image, no sigmoid.

After VGG128 of ESRGAN's code (https://arxiv.org/abs/1809.00219) and SRGAN's discriminator
(https://arxiv.org/abs/1609.04802): pairs of convolutions, the second of stride 2, the width
doubling up to eight times `nf`, batch normalisation after all but the first. They flatten the last
feature map, which ties them to one patch size; here its mean is taken, and any size fits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from w2s_export.config import Frozen

if TYPE_CHECKING:
    import keras

_WIDEST = 8
_HIDDEN = 100
_NEGATIVE_SLOPE = 0.2


class DiscriminatorConfig(Frozen):
    """Size of the discriminator. The defaults are VGG128's."""

    nf: Annotated[int, Field(ge=1, le=1024)] = 64
    """Features of the first convolution."""
    levels: Annotated[int, Field(ge=1, le=8)] = 5
    """Halvings of the image."""


def build_discriminator(config: DiscriminatorConfig, channels: int, seed: int = 0) -> keras.Model:
    """Build it with freshly initialised weights (the same for a seed).

    Args:
        config: its size.
        channels: of the images.
        seed: decides the initial weights.

    Returns:
        (N, H, W, channels), any H and W → logits (N, 1), float32.
    """
    import keras

    from w2s_export.networks.batch_statistics import BatchStatisticsNormalisation

    seeds = iter(range(1000 * seed + 500, 1000 * seed + 10**9))

    def initialiser() -> Any:
        return keras.initializers.HeNormal(seed=next(seeds))

    def conv(x: Any, filters: int, stride: int, name: str) -> Any:
        first = name == "conv0_0"
        x = keras.layers.Conv2D(
            filters,
            3 if stride == 1 else 4,
            stride,
            "same",
            use_bias=first,
            kernel_initializer=initialiser(),
            name=name,
        )(x)
        if not first:
            x = BatchStatisticsNormalisation(name=f"{name}_norm")(x)
        return keras.layers.LeakyReLU(negative_slope=_NEGATIVE_SLOPE, name=f"{name}_lrelu")(x)

    image = keras.Input((None, None, channels), name="image")
    x: Any = image
    for level in range(config.levels):
        filters = config.nf * min(2**level, _WIDEST)
        x = conv(x, filters, 1, f"conv{level}_0")
        x = conv(x, filters, 2, f"conv{level}_1")
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    x = keras.layers.Dense(_HIDDEN, kernel_initializer=initialiser(), name="hidden")(x)
    x = keras.layers.LeakyReLU(negative_slope=_NEGATIVE_SLOPE, name="hidden_lrelu")(x)
    # float32 even under mixed precision: differences of logits decide.
    x = keras.layers.Dense(1, kernel_initializer=initialiser(), name="logit", dtype="float32")(x)
    return keras.Model(image, x, name="discriminator")
