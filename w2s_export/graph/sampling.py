"""Follows an image through operations that read it by windows, or change its resolution."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from w2s_export.graph.reach import Reach, coarser, finer, whole
from w2s_export.graph.resizing import resized
from w2s_export.graph.tensors import Axis, Tensor, length, marked, plain
from w2s_export.graph.tracing import GraphError, Node, Sources, along

_LARGEST_WINDOW = 1024
_LARGEST_FACTOR = 256
"""Of enlarging; what is enlarged to a size that is no simple multiple is no longer followed."""


def convolution(node: Node) -> Tensor:
    """Conv: `taps` input pixels per output pixel, every channel of the group."""
    x, kernel = node.first, node.input(1).shape
    axes = _window(node, x, kernel[2:])
    return _mixed_channels(axes, plain(kernel[0]))


def pooling(node: Node) -> Tensor:
    """MaxPool, AveragePool, LpPool."""
    return _window(node, node.first, node.attributes["kernel_shape"])


def _mixed_channels(x: Tensor, channels: Axis) -> Tensor:
    return x.with_axes((*x.axes[:1], channels, *x.axes[2:]))


def _window(node: Node, x: Tensor, kernel: tuple[int, ...]) -> Tensor:
    count = len(kernel)
    strides = node.attributes.get("strides") or [1] * count
    dilations = node.attributes.get("dilations") or [1] * count
    pads = node.attributes.get("pads") or [0] * 2 * count
    auto = node.attributes.get("auto_pad", "NOTSET")
    ceil = bool(node.attributes.get("ceil_mode", 0))
    if max(kernel, default=1) > _LARGEST_WINDOW:
        raise GraphError(f"operation '{node.name}' ({node.kind}): its window is too large")
    for i in range(count):
        size, stride, dilation = length(x.axes[2 + i]), strides[i], dilations[i]
        extent = dilation * (kernel[i] - 1) + 1
        before, after = pads[i], pads[count + i]
        if auto.startswith("SAME"):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            before, after = total // 2, total - total // 2
            if auto == "SAME_LOWER":
                before, after = after, before
        elif auto == "VALID":
            before = after = 0
        room = size + before + after - extent
        new = (-(-room // stride) if ceil else room // stride) + 1
        if new < 1:
            raise GraphError(f"operation '{node.name}' ({node.kind}): its window is too large")
        x = along(x, 2 + i, new, Fraction(stride), _taps(kernel[i], stride, before, dilation))
    return x


def _taps(kernel: int, stride: int, before: int, dilation: int) -> Sources:
    """Elements that a window reads."""
    return lambda i: [i * stride - before + tap * dilation for tap in range(kernel)]


def _spread(kernel: int, stride: int, before: int, dilation: int) -> Sources:
    """Elements whose windows an element is written by."""

    def sources(i: int) -> list[int]:
        places = [i + before - tap * dilation for tap in range(kernel)]
        return [place // stride for place in places if place % stride == 0]

    return sources


def transposed_convolution(node: Node) -> Tensor:
    """ConvTranspose: every input pixel adds to `kernel` output pixels."""
    x, kernel = node.first, node.input(1).shape
    get, count = node.attributes.get, len(kernel) - 2
    strides, dilations = get("strides") or [1] * count, get("dilations") or [1] * count
    pads, extra = get("pads") or [0] * 2 * count, get("output_padding") or [0] * count
    auto, wanted = get("auto_pad", "NOTSET"), get("output_shape")
    for i in range(count):
        size, stride, dilation = length(x.axes[2 + i]), strides[i], dilations[i]
        full = stride * (size - 1) + extra[i] + dilation * (kernel[2 + i] - 1) + 1
        before, after = pads[i], pads[count + i]
        if wanted or auto.startswith("SAME"):
            total = max(full - (wanted[-count:][i] if wanted else size * stride), 0)
            before = -(-total // 2) if auto != "SAME_UPPER" else total // 2
            after = total - before
        new = full - before - after
        sources = _spread(kernel[2 + i], stride, before, dilation)
        x = along(x, 2 + i, new, Fraction(1, stride), sources)
    return _mixed_channels(x, plain(kernel[1] * get("group", 1)))


def resize(node: Node) -> Tensor:
    """Resize and Upsample, by factors or to a size."""
    x = node.first
    for axis, ratio in enumerate(_ratios(node)):
        if ratio == 1:
            continue
        new = int(x.shape[axis] * ratio)
        if max(ratio.numerator, ratio.denominator) > _LARGEST_FACTOR:  # moves with the size
            images = marked([x.axes[axis]])
            x = x.with_axes((*x.axes[:axis], plain(new), *x.axes[axis + 1 :]))
            for image in images:  # whatever was rounded on the way
                x = x.with_reach(image, whole())
            continue
        sources = resized(node.kind, node.attributes, ratio)
        x = along(x, axis, new, 1 / ratio, sources or (lambda _: ()))
        if sources is None:
            x = x.seeing_all(marked([x.axes[axis]]))
    return x


def _ratios(node: Node) -> list[Fraction]:
    """How much each axis grows."""
    sizes = node.constants[3] if len(node.constants) > 3 else None
    if sizes is not None:
        pairs = zip(sizes.tolist(), node.first.shape, strict=True)
        return [Fraction(new, size) for new, size in pairs]
    given = [*node.constants, None, None]
    factors = given[1 if node.kind == "Upsample" else 2]
    if factors is None or len(factors) != len(node.first.axes):
        raise GraphError(f"operation '{node.name}' ({node.kind}): its size is unknown")
    return [Fraction(float(factor)).limit_denominator(1000) for factor in factors]


def depth_to_space(node: Node) -> Tensor:
    """Channels become pixels, blocksize² for one."""
    x, block = node.first, node.attributes["blocksize"]
    x = _mixed_channels(x, plain(length(x.axes[1]) // block**2))
    return _every_block(x, lambda reach: finer(reach, block), Fraction(block))


def space_to_depth(node: Node) -> Tensor:
    """Pixels become channels, one for blocksize²."""
    x, block = node.first, node.attributes["blocksize"]
    x = _mixed_channels(x, plain(length(x.axes[1]) * block**2))
    return _every_block(x, lambda reach: coarser(reach, block), Fraction(1, block))


def _every_block(x: Tensor, change: Callable[[Reach], Reach], factor: Fraction) -> Tensor:
    axes = list(x.axes)
    for axis in (2, 3):
        images, size = marked([axes[axis]]), int(length(axes[axis]) * factor)
        if len(axes[axis]) == 1 and images:
            (image,) = images
            if (reach := x.reach[image]) is not None:
                x = x.with_reach(image, change(reach))
            axes[axis] = ((size, image),)
        else:
            axes[axis] = plain(size)
    return x.with_axes(axes)
