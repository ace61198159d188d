"""Infers the generator's configuration from the tensors of a file.

Two kinds of file exist: those whose names tell a tensor's place (PyTorch), and those where only
order and shape do (the original Keras files, whose dense blocks share names). What no tensor
shows, keeps the family's usual value: residual factor 0.2, slope 0.2, and ×2 for nearest-neighbour
upsampling without convolutions unless the caller knows better. `assumed` names those fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from w2s_export.config import GeneratorConfig, parse_config
from w2s_export.counting import counted
from w2s_export.errors import CheckpointMismatchError, ConfigError
from w2s_export.networks.layout import tensor_shapes
from w2s_export.sources.stored_tensor import Stored

_BLOCK = re.compile(r"body_(\d+)_rdb\d_conv\d/kernel")
_PLAIN_SCALE = 2
NOTHING_KNOWN: Mapping[str, Any] = MappingProxyType({})
_CONVS_OF_A_BLOCK = 15
_CONVS_AROUND = 4  # conv_first, conv_body, conv_hr, conv_last


def from_names(
    shapes: Mapping[str, tuple[int, ...]], known: Mapping[str, Any] = NOTHING_KNOWN
) -> GeneratorConfig:
    """Configuration of a network whose tensors are known by our names, in our axis order.

    Raises:
        CheckpointMismatchError: a tensor the inference rests on is absent or no 3×3 kernel.
    """

    def channels(layer: str) -> tuple[int, int]:
        name = f"{layer}/kernel"
        if name not in shapes:
            raise CheckpointMismatchError(
                f"has no '{layer}' convolution, which every RRDBNet generator has"
            )
        return _kernel(name, shapes[name])

    inputs, nf = channels("conv_first")
    blocks = [int(match[1]) for match in map(_BLOCK.fullmatch, shapes) if match]
    _, gc = channels("body_0_rdb1_conv1")
    _, out_nc = channels("conv_last")
    steps = sum(f"conv_up{step}/kernel" in shapes for step in (1, 2))
    return _config(inputs, nf, gc, max(blocks) + 1, steps, out_nc, known)


def from_order(
    tensors: Sequence[Stored], known: Mapping[str, Any] = NOTHING_KNOWN
) -> tuple[GeneratorConfig, Iterator[tuple[str, Stored]]]:
    """Configuration and weight map of a network whose tensors lie in the order data flows.

    That is kernel, bias, kernel, bias, …, first layer to last.

    Raises:
        CheckpointMismatchError: no RRDBNet has these shapes in this order.
    """
    for tensor in tensors:
        if len(tensor.shape) not in (1, 4):
            raise CheckpointMismatchError(
                f"{tensor} fits no layer: an RRDBNet has kernels (4 axes) and biases (1 axis)"
            )
    kernels = tensors[0::2]
    for kernel, bias in zip(kernels, tensors[1::2], strict=False):
        if bias.shape != kernel.our_shape[-1:]:
            raise CheckpointMismatchError(
                f"{kernel} is followed by {bias}, where an RRDBNet's kernel is followed by its bias"
            )
    blocks, steps = divmod(len(kernels) - _CONVS_AROUND, _CONVS_OF_A_BLOCK)
    if len(tensors) % 2 or blocks < 1 or steps > 2:
        raise CheckpointMismatchError(
            f"holds {counted(len(tensors), 'tensor')}, first {tensors[0]}; an RRDBNet with nb "
            f"blocks has {2 * _CONVS_OF_A_BLOCK}·nb + {2 * _CONVS_AROUND}, and 2 more per "
            "upsampling convolution"
        )
    inputs, nf = _kernel(str(kernels[0]), kernels[0].our_shape)
    _, gc = _kernel(str(kernels[1]), kernels[1].our_shape)
    _, out_nc = _kernel(str(kernels[-1]), kernels[-1].our_shape)
    config = _config(inputs, nf, gc, blocks, steps, out_nc, known)
    return config, zip(tensor_shapes(config), tensors, strict=True)


def assumed(config: GeneratorConfig, known: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields of a configuration found here that no tensor shows and nobody stated.

    The scale is open where nothing but nearest-neighbour upsampling makes it, and where a
    pixel-unshuffle is as plausible as an image of so many channels.
    """
    shown = set(known)
    if config.upsampling == "conv" and config.pixel_unshuffle == 1:
        shown |= {"scale", "pixel_unshuffle"}
    elif config.pixel_unshuffle == 1 or "scale" in known:
        shown.add("pixel_unshuffle")
    open_fields = ("scale", "pixel_unshuffle", "residual_scale", "negative_slope")
    return tuple(field for field in open_fields if field not in shown)


def settle(known: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """What the user knows and what the file states, together.

    Raises:
        CheckpointMismatchError: they differ.
    """
    for key, value in known.items():
        if stated.get(key, value) != value:
            raise CheckpointMismatchError(
                f"{key} should be {value}, but the file says {stated[key]}"
            )
    return {**known, **stated}


def _kernel(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Input and output channels of a 3×3 kernel."""
    if len(shape) != 4 or shape[:2] != (3, 3):
        raise CheckpointMismatchError(
            f"{name} has shape {shape} (height, width, in, out) where an RRDBNet has a 3×3 kernel"
        )
    return shape[2], shape[3]


def _config(
    inputs: int, nf: int, gc: int, nb: int, steps: int, out_nc: int, known: Mapping[str, Any]
) -> GeneratorConfig:
    """Settle what the upsampling convolutions and the first layer's inputs leave open.

    Real-ESRGAN's ×2 and ×1 networks are its ×4 network behind a pixel-unshuffle by 2 or 4: the
    first layer then has 4 or 16 times the image's channels, which are as many as the output's.
    """
    factor = 2**steps
    fitting = [f for f in (2, 4) if inputs == f * f * out_nc and factor % f == 0] if steps else []
    if "scale" in known:  # the user settles whether the inputs are channels or parts of a pixel
        fitting = [f for f in fitting if factor == f * known["scale"]]
    unshuffle = known.get("pixel_unshuffle", fitting[0] if fitting else 1)
    found = {
        "in_nc": inputs // unshuffle**2,
        "out_nc": out_nc,
        "nf": nf,
        "gc": gc,
        "nb": nb,
        "upsampling": "conv" if steps else "plain",
        "scale": factor // unshuffle if steps else known.get("scale", _PLAIN_SCALE),
    }
    for key, value in known.items():
        if found.setdefault(key, value) != value:
            raise CheckpointMismatchError(
                f"{key} should be {value}, but its tensors make it {found[key]}"
            )
    found["pixel_unshuffle"] = unshuffle
    try:
        return parse_config(GeneratorConfig, found, "the architecture found")
    except ConfigError as error:
        raise CheckpointMismatchError(str(error)) from None
