"""PyTorch state dicts of RRDBNet in every key style in use, and `.safetensors` of the same.

Nothing is unpickled (`torch_archive`). PyTorch's kernels are (out, in, height, width), and its
pixel-unshuffle orders channels (channel, row, column) where ours orders (row, column, channel).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import GeneratorConfig
from w2s_export.errors import CheckpointError
from w2s_export.foreign_text import shown
from w2s_export.sources.architecture import NOTHING_KNOWN
from w2s_export.sources.assemble import by_name
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.choose import choose
from w2s_export.sources.stored_tensor import Stored
from w2s_export.sources.torch_archive import Tensor, describe, flattened, open_archive


def read(path: Path, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read a `.pth`, `.pt` or `.ckpt` file.

    Raises:
        CheckpointError: unreadable, a TorchScript archive, a pickled module, an optimizer state.
        CheckpointMismatchError: its tensors are not an RRDBNet's.
    """
    with open_archive(path) as content:
        tensors, said = choose(stored_tensors(content))
        _check_one_level(content, tensors)
        return replace(assemble(tensors, "pytorch", known), chosen=said)


def stored_tensors(content: Any) -> list[Stored]:
    """Every tensor of a file under a dotted key.

    Raises:
        CheckpointError: none by name, or the state of an optimizer alone.
    """
    if isinstance(content, Mapping):
        found = [
            Stored(key, tensor.shape, tensor.dtype, tensor.read, axes="OIHW")
            for key, tensor in flattened(content)
        ]
        names = {tensor.key.partition(".")[0] for tensor in found}
        if "param_groups" in content or ("optimizers" in content and names <= {"optimizers"}):
            raise CheckpointError(
                "holds the state of an optimizer, not a network; give the network's own file"
            )
        if found or not content:
            return found
    raise CheckpointError(
        f"holds no state dict (found: {shown(describe(content))}); expected tensors by name"
    )


def assemble(tensors: Sequence[Stored], source_format: str, known: Mapping[str, Any]) -> Checkpoint:
    """Make a checkpoint of PyTorch's tensors; arguments and errors as `assemble.by_name`."""
    checkpoint = by_name(tensors, source_format, known)
    first = row_column_channel(checkpoint.weights["conv_first/kernel"], checkpoint.config)
    return replace(checkpoint, weights={**checkpoint.weights, "conv_first/kernel": first})


def row_column_channel(kernel: NDArray[np.float32], config: GeneratorConfig) -> NDArray[np.float32]:
    """Reorder the first kernel's inputs from (channel, row, column) to (row, column, channel).

    Args:
        kernel: (3, 3, in_nc·f², nf) with f the pixel-unshuffle factor.
        config: gives in_nc and f.
    """
    factor = config.pixel_unshuffle
    apart = kernel.reshape(3, 3, config.in_nc, factor, factor, config.nf)
    return np.ascontiguousarray(apart.transpose(0, 1, 3, 4, 2, 5)).reshape(kernel.shape)


def _check_one_level(content: Mapping[str, Any], chosen: Sequence[Stored]) -> None:
    """Refuse containers of tensors beside the network's own, which no rule knows."""
    keys = {tensor.key for tensor in chosen}
    left = {key.partition(".")[0] for key in keys}
    if not any(isinstance(value, Tensor) and str(name) in keys for name, value in content.items()):
        return
    for name, value in content.items():
        if str(name) in left and not isinstance(value, Tensor) and any(flattened(value)):
            raise CheckpointError(
                f"holds tensors beside '{shown(name)}', which holds more of them; save the "
                "generator's state dict alone"
            )
