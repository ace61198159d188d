"""PyTorch state dicts of RRDBNet in every key style in use, and `.safetensors` of the same.

`torch.load(weights_only=True)` builds tensors and plain containers only; a pickled module is
refused, never unpickled. PyTorch's kernels are (out, in, height, width), and its pixel-unshuffle
orders channels (channel, row, column) where ours orders (row, column, channel).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import GeneratorConfig
from w2s_export.errors import CheckpointError, MissingExtraError
from w2s_export.sources.architecture import NOTHING_KNOWN
from w2s_export.sources.assemble import by_name
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.stored import Stored

_WRAPPERS = (
    "params_ema", "params", "state_dict", "model_state_dict", "model", "generator", "net_g",
    "netG", "G", "weights",
)  # fmt: skip
"""Where the generator's state dict may lie, the best first: averaged weights before raw ones."""


def read(path: Path, known: Mapping[str, Any] = NOTHING_KNOWN) -> Checkpoint:
    """Read a `.pth` or `.pt` file.

    Raises:
        MissingExtraError: torch is not installed.
        CheckpointError: unreadable, a TorchScript archive, a pickled module, an optimizer state.
        CheckpointMismatchError: its tensors are not an RRDBNet's.
    """
    if find_spec("torch") is None:
        raise MissingExtraError(
            'is a PyTorch file and torch is not installed: pip install "w2s-export[torch]"'
        )
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "holds Python objects besides tensors (a pickled module, or training options), which "
            f"are never unpickled ({_first_line(error)}); save the weights alone: "
            "torch.save(network.state_dict(), FILE)"
        ) from None
    except Exception as error:  # damaged bytes lead torch to errors of any kind
        raise CheckpointError(
            f"is truncated or damaged ({_first_line(error)}); fetch or write it again"
        ) from None
    tensors = [_stored(key, value) for key, value in _state_dict(content).items()]
    return assemble(tensors, "pytorch", known)


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


def _state_dict(content: Any) -> Mapping[str, Any]:
    """The generator's state dict, bare or under one of the usual names."""
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        if "param_groups" in content or ("optimizers" in content and not _wrapped(content)):
            raise CheckpointError(
                "holds the state of an optimizer, not a network; give the network's own file"
            )
        if _wrapped(content) is None:
            tensors = {str(key): value for key, value in content.items() if _is_tensor(value)}
            nested = [key for key, value in content.items() if _holds_tensors(value)]
            if tensors and nested:
                raise CheckpointError(
                    f"holds tensors beside '{nested[0]}', which holds more of them; save the "
                    "generator's state dict alone"
                )
            if tensors or not content:
                return tensors
            break
        content = content[_wrapped(content)]
    found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
    raise CheckpointError(
        f"holds no state dict (found: {found:.200}); expected tensors by name, bare or under "
        f"{', '.join(_WRAPPERS)}"
    )


def _wrapped(content: Mapping[Any, Any]) -> str | None:
    return next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _holds_tensors(value: Any) -> bool:
    items = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, Mapping | list | tuple) and any(
        _is_tensor(item) or _holds_tensors(item) for item in items
    )


def _stored(key: str, tensor: Any) -> Stored:
    import torch

    dense = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    return Stored(
        key=key,
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch.") if dense else "sparse or quantised",
        read=lambda: tensor.detach().to(torch.float32).numpy(),
        axes="OIHW",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0]:.160}" if lines else type(error).__name__
