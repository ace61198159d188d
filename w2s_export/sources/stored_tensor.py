"""A tensor as a file holds it: its key, claimed shape and type, and how to read it.

Reading is deferred, so that the claims are checked against the architecture and a size limit
before anything is allocated. The weight map is data: pairs of (our name, stored tensor), and
`fill` consumes all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import GeneratorConfig
from w2s_export.counting import counted
from w2s_export.errors import CheckpointError, CheckpointMismatchError, RRDBNetMismatchError
from w2s_export.foreign_text import shown
from w2s_export.networks.layout import misfits, parameter_count, tensor_shapes
from w2s_export.sources.tensor_exchange import MOST_TENSORS

MAX_BYTES = 1 << 30
"""Most a checkpoint may hold or unpack to: 268 million float32, 16 times the default network."""
_SMALL, _MOST_COMPRESSED = 64 << 20, 200
_MOST_AXES, _ENDLESS = 8, 1 << 40
_LONGEST_KEY = 1000
_READABLE = ("float16", "bfloat16", "float32", "float64")
_AXES = {"HWIO": (0, 1, 2, 3), "OIHW": (2, 3, 1, 0)}


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of a file, not read yet."""

    key: str
    """Its name in the file."""
    shape: tuple[int, ...]
    """Its claimed shape, in the file's axis order."""
    dtype: str
    """Its element type by NumPy's name, or `bfloat16`."""
    read: Callable[[], NDArray[Any]]
    """Reads the elements, as any real type."""
    axes: str = "HWIO"
    """Order of a kernel's axes: `HWIO` (TensorFlow) or `OIHW` (PyTorch, ONNX)."""

    @property
    def our_shape(self) -> tuple[int, ...]:
        """The shape in our axis order: kernels (height, width, in, out)."""
        if len(self.shape) != 4:
            return self.shape
        return tuple(self.shape[axis] for axis in _AXES[self.axes])

    def values(self) -> NDArray[np.float32]:
        """Read the elements, in our axis order, as float32."""
        array = np.asarray(self.read())
        if array.shape != self.shape:
            raise CheckpointError(f"'{self.key}' claims {self.shape} but holds {array.shape}")
        if array.ndim == 4:
            array = array.transpose(_AXES[self.axes])
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity, refused below
            return np.ascontiguousarray(array, np.float32)

    def __str__(self) -> str:
        return f"'{shown(self.key)}' {shown(self.shape, 100)}"


def upper_half(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The float32 whose upper halves these are: bfloat16, which NumPy does not know."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def allowance(held: int) -> int:
    """Bytes that the tensors of a file of so many bytes may take as float32.

    Compression gains little on trained weights; what is small may be all zeros.
    """
    return min(MAX_BYTES, max(_SMALL, _MOST_COMPRESSED * held))


def check_count(tensors: Sequence[Stored]) -> None:
    """Refuse more tensors than a network has.

    Raises:
        CheckpointError: states both numbers.
    """
    if len(tensors) > MOST_TENSORS:
        raise CheckpointError(
            f"holds {len(tensors)} tensors, more than the {MOST_TENSORS} a network may have"
        )


def check_claims(tensors: Sequence[Stored], held: int | None = None) -> None:
    """Refuse element types, counts and sizes no generator has, before reading anything.

    `held` are the bytes of the file, where it may be compressed.

    Raises:
        CheckpointError: no tensor at all, too many, a type other than floating point, or more
            than `MAX_BYTES` (of a small compressed file less) once unpacked to float32.
    """
    total = 0
    check_count(tensors)
    for tensor in tensors:
        if len(tensor.key) > _LONGEST_KEY:
            raise CheckpointError(f"has a tensor of {len(tensor.key)} letters' name, {tensor}")
        if tensor.dtype not in _READABLE:
            raise CheckpointMismatchError(
                f"{tensor} holds {tensor.dtype} numbers; a generator's weights are one of "
                f"{', '.join(_READABLE)} (a quantised network cannot be exported)"
            )
        total += 4 * elements(tensor.key, tensor.shape)
        check_size(total, "its tensors")
    if held is not None and total > allowance(held):
        raise CheckpointError(
            f"its tensors claim {total} bytes, and the file has {held}; the file is damaged or is "
            "no checkpoint"
        )
    if not total:
        raise CheckpointError("holds no weights; save the network after it is built and trained")


def elements(key: str, shape: Sequence[int]) -> int:
    """How many elements a claimed shape has.

    Raises:
        CheckpointError: more axes than a weight has, or a negative or endless one.
    """
    if len(shape) > _MOST_AXES or any(not 0 <= length < _ENDLESS for length in shape):
        raise CheckpointError(f"'{shown(key)}' has shape {shown(shape, 100)}, which no weight has")
    return math.prod(shape)


def check_size(claimed: int, what: str) -> None:
    """Refuse a claimed size beyond `MAX_BYTES`.

    Raises:
        CheckpointError: states both numbers.
    """
    if claimed > MAX_BYTES:
        raise CheckpointError(
            f"{what} claim {claimed / 2**30:.1f} GiB, more than the {MAX_BYTES / 2**30:.0f} GiB "
            "a generator may take; the file is damaged or is no checkpoint"
        )


def fill(
    config: GeneratorConfig,
    pairs: Iterable[tuple[str, Stored]],
    left_over: Sequence[Stored] = (),
) -> dict[str, NDArray[np.float32]]:
    """Read every tensor into the place its pair names, as `layout.tensor_shapes` does.

    Raises:
        RRDBNetMismatchError: a tensor without layer, a layer without tensor, a shape that does
            not fit, NaN or infinity. Lists the first of each kind, by the file's own key.
    """
    shapes = tensor_shapes(config)
    found: dict[str, Stored] = {}
    extra = list(left_over)
    for name, tensor in pairs:
        if name in found or name not in shapes:
            extra.append(tensor)
        else:
            found[name] = tensor
    faults = misfits(
        shapes,
        {name: tensor.our_shape for name, tensor in found.items()},
        [str(tensor) for tensor in extra],
        {name: str(tensor) for name, tensor in found.items()},
    )
    if faults:
        raise RRDBNetMismatchError(f"{'; '.join(faults)}. Expected {describe(config)}")
    weights = {name: found[name].values() for name in shapes}
    bad = [name for name in shapes if not np.isfinite(weights[name]).all()]
    if bad:
        raise RRDBNetMismatchError(
            f"NaN or infinity in {counted(len(bad), 'tensor')}, first {found[bad[0]]}; the "
            "training diverged or the file is damaged: take an earlier checkpoint"
        )
    return weights


def describe(config: GeneratorConfig) -> str:
    """The architecture in a line: `RRDBNet, nf 64, gc 32, nb 23, ×2 plain, 1→1 channels, …`."""
    unshuffle = f", pixel-unshuffle {config.pixel_unshuffle}" if config.pixel_unshuffle > 1 else ""
    return (
        f"RRDBNet, nf {config.nf}, gc {config.gc}, nb {config.nb}, ×{config.scale} "
        f"{config.upsampling}{unshuffle}, {config.in_nc}→{config.out_nc} channels, "
        f"{parameter_count(config):,} parameters"
    )
