"""How much memory ONNX Runtime takes for the tensors of a graph, its memory pattern off."""

from __future__ import annotations

from collections.abc import Sequence

from w2s_export.graph.tensors import Tensor, length
from w2s_export.graph.walk import ELEMENTWISE, Step

_BLOCK = 16
"""Convolutions pad channels to the width of a vector register: 8 or 16 floats."""
_FRAGMENTED = 2.15
"""Memory taken per byte in use at the peak: pieces given back do not fit the next tensor.

Measured with 1.32.0 at 256² and 512², bytes per pixel beside the peak of this module: RRDBNet
default 2146 (1024), 64 features 4329 (2048), ×4 8563 (4096), unshuffled 2148 (1024), ×1 1408
(1024), 4 features 540 to 672 (576); EDSR 4224 (2048), RCAN 4224 (2048), U-Net 1040 (512). Chains
of equal tensors waste nothing: DnCNN 528 (512), Compact 544 (512).
"""
_VIEWS = frozenset(("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"))
_KEEP_BLOCKS = ELEMENTWISE | {"Concat", "MaxPool", "AveragePool", "GlobalAveragePool"}


def working_memory(steps: Sequence[Step], output: str) -> float:
    """Bytes, at the size of image that was followed; steps in the order in which they run."""
    memory = _Memory({name: i for i, step in enumerate(steps) for name in step.reads})
    memory.last[output] = len(steps)
    for index, step in enumerate(steps):
        memory.run(index, step)
    images = 4 * (steps[0].node.first.elements + 2 * steps[-1].outputs[0].elements)
    return _FRAGMENTED * memory.peak + 1.1 * images


class _Memory:
    """Buffers in use, from one operation to the next."""

    def __init__(self, last: dict[str, int]) -> None:
        self.last = last
        """Index of the operation that reads a tensor last, by name."""
        self.peak = 0
        self._buffer: dict[str, str] = {}  # tensors by the name of the one that took the memory
        self._bytes: dict[str, int] = {}
        self._until: dict[str, int] = {}
        self._blocked: dict[str, bool] = {}

    def run(self, index: int, step: Step) -> None:
        """Take what an operation writes, give back what nothing reads any more."""
        kind = step.node.kind
        read = [
            (name, tensor)
            for name, tensor in zip(step.reads, step.node.inputs, strict=True)
            if name in self._buffer and tensor is not None
        ]
        if kind not in _VIEWS:
            for name, tensor in read:
                self._reorder(index, kind, name, tensor)
        blocked = kind == "Conv" or (
            kind in _KEEP_BLOCKS and all(self._blocked[name] for name, _ in read) and bool(read)
        )
        for name, tensor in zip(step.writes, step.outputs, strict=False):
            self._blocked[name] = blocked
            if place := self._in_place(index, kind, read, tensor):
                self._buffer[name] = place
                self._until[place] = max(self._until[place], self.last.get(name, index))
            elif name:
                self._take(name, tensor, blocked, self.last.get(name, index))
        self._give_back(index)

    def _reorder(self, index: int, kind: str, name: str, tensor: Tensor) -> None:
        """A copy in the other layout, after which the first may go."""
        few = len(tensor.axes) > 1 and length(tensor.axes[1]) < 8  # the image itself is read as is
        to_blocks = kind == "Conv" and not self._blocked[name] and not few
        if to_blocks or (self._blocked[name] and kind not in _KEEP_BLOCKS | {"Conv"}):
            self._take(f"{name} {index}", tensor, to_blocks, index)
            if self._until.get(self._buffer[name]) == index:
                self._until[self._buffer[name]] = index - 1
                self._give_back(index - 1)

    def _in_place(
        self, index: int, kind: str, read: Sequence[tuple[str, Tensor]], result: Tensor
    ) -> str | None:
        for name, tensor in read:
            place = self._buffer[name]
            free = kind in ELEMENTWISE and self._until.get(place) == index
            fits = place in self._until and tensor.elements == result.elements
            if fits and (kind in _VIEWS or free):
                return place
        return None

    def _take(self, name: str, tensor: Tensor, blocked: bool, until: int) -> None:
        size = 4 * tensor.elements
        if blocked and len(tensor.axes) > 1:
            channels = length(tensor.axes[1])
            size = size // channels * (-(-channels // _BLOCK) * _BLOCK)
        self._buffer[name] = name
        self._bytes[name], self._until[name] = size, until
        self.peak = max(self.peak, sum(self._bytes.values()))

    def _give_back(self, index: int) -> None:
        for name in [name for name, until in self._until.items() if until <= index]:
            del self._until[name], self._bytes[name]
