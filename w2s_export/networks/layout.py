"""Names and shapes of the generator's convolutions, in the order data flows.

Pure arithmetic: checkpoints are checked against it without loading TensorFlow. Every convolution
is 3×3, stride 1, zero padded, with bias. Names follow BasicSR's RRDBNet, with `_` for `.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import GeneratorConfig
from w2s_export.counting import counted
from w2s_export.errors import CheckpointMismatchError


class Conv(NamedTuple):
    """One convolution: its layer name and channel counts."""

    name: str
    inputs: int
    outputs: int


def convolutions(config: GeneratorConfig) -> Iterator[Conv]:
    """Every convolution of the generator, first to last."""
    nf, gc = config.nf, config.gc
    yield Conv("conv_first", config.in_nc * config.pixel_unshuffle**2, nf)
    for block in range(config.nb):
        for dense in (1, 2, 3):
            for index in range(1, 6):
                yield Conv(
                    conv_name(block, dense, index), nf + (index - 1) * gc, nf if index == 5 else gc
                )
    yield Conv("conv_body", nf, nf)
    if config.upsampling == "conv":
        for step in range(1, upsampling_steps(config) + 1):
            yield Conv(f"conv_up{step}", nf, nf)
    yield Conv("conv_hr", nf, nf)
    yield Conv("conv_last", nf, config.out_nc)


def conv_name(block: int, dense: int, index: int) -> str:
    """Layer name of convolution `index` (1–5) of dense block `dense` (1–3) of RRDB `block` (0–)."""
    return f"body_{block}_rdb{dense}_conv{index}"


def upsampling_steps(config: GeneratorConfig) -> int:
    """Number of ×2 nearest-neighbour steps: 0, 1 or 2."""
    return config.upsampling_factor.bit_length() - 1


def tensor_shapes(config: GeneratorConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every weight by name: `layer/kernel` (3, 3, in, out) and `layer/bias` (out,)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in convolutions(config):
        shapes[f"{conv.name}/kernel"] = (3, 3, conv.inputs, conv.outputs)
        shapes[f"{conv.name}/bias"] = (conv.outputs,)
    return shapes


def multiplications(config: GeneratorConfig) -> float:
    """Multiplications of the network per input pixel: 16,720,704 for the default configuration."""
    total, area = 0.0, config.pixel_unshuffle**-2
    for conv in convolutions(config):
        if conv.name.startswith("conv_up"):
            area *= 4
        elif conv.name == "conv_hr" and config.upsampling == "plain":
            area *= config.upsampling_factor**2
        total += area * 9 * conv.inputs * conv.outputs
    return total


def parameter_count(config: GeneratorConfig) -> int:
    """Number of trainable parameters: 16,621,825 for the default configuration."""
    return sum((9 * conv.inputs + 1) * conv.outputs for conv in convolutions(config))


def check_weights(config: GeneratorConfig, weights: Mapping[str, NDArray[Any]]) -> None:
    """Assert that `weights` fill the network of `config` exactly and are finite.

    Raises:
        CheckpointMismatchError: names the first tensor of each kind at fault.
    """
    shapes = tensor_shapes(config)
    found = {name: np.shape(array) for name, array in weights.items()}
    left_over = [f"'{name}' {shape}" for name, shape in found.items() if name not in shapes]
    faults = misfits(shapes, found, left_over)
    if not faults:
        bad = [name for name in shapes if not np.isfinite(weights[name]).all()]
        if bad:
            faults.append(f"NaN or infinity in {counted(len(bad), 'tensor')}, first '{bad[0]}'")
    if faults:
        raise CheckpointMismatchError("; ".join(faults))


def misfits(
    needed: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    left_over: Sequence[str],
    as_stored: Mapping[str, str] | None = None,
) -> list[str]:
    """What is left over, missing, or of another shape; the first of each kind is named.

    Args:
        needed: shape of every tensor of the network, by our name.
        found: those that are there.
        left_over: tensors that fit none, as people are shown them.
        as_stored: how the file calls a tensor, where it has names of its own.
    """
    missing = [name for name in needed if name not in found]
    wrong = [name for name in needed if name in found and found[name] != needed[name]]
    faults = []
    if left_over:
        faults.append(f"no layer for {counted(len(left_over), 'tensor')}, first {left_over[0]}")
    if missing:
        first = missing[0]
        faults.append(f"lacks {counted(len(missing), 'weight')}, first '{first}' {needed[first]}")
    if wrong:
        first = wrong[0]
        stored = (as_stored or {}).get(first)
        faults.append(
            f"another shape of {counted(len(wrong), 'tensor')}, first "
            f"{f'{stored}: ' if stored else ''}'{first}' needs {needed[first]}, got {found[first]}"
        )
    return faults
