"""The worker that opens a foreign network, lowers it, and runs the original on demand.

    foreign_program FOLDER KIND FILE OPTIONS

It writes FOLDER/network.onnx, then serves (`runtime.in_worker`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import CheckpointError, W2SExportError
from w2s_export.foreign_text import shown
from w2s_export.runtime.in_worker import refuse, serve
from w2s_export.runtime.onnx_runtime import OnnxRuntime
from w2s_export.sources.original import Original

if TYPE_CHECKING:
    from w2s_export.graph.lower import Lowered

TOLERANCE = 1e-4
"""Largest difference between a lowered network and its original, as a part of the result's range.
Seen: 0 to 1e-6; 3e-4 and more where a conversion was wrong."""

_BASES = (16, 32, 48, 56, 60, 64, 120, 128, 192, 240, 256)

_GRIDS = (2, 4, 8, 16, 32, 3, 6, 12, 24, 48, 5, 10, 20, 7, 14, 9, 18, 64)
"""Sizes of windows that are looked for, those of one kind in a row."""
_SHIFTED = 160
"""Side of the images that are compared."""
_MIDDLE = 24
"""Side of the square that is compared: whatever the shift, 32 pixels and more lie around it."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def main(arguments: list[str], questions: Iterable[bytes] | None = None) -> None:
    """Open, lower, measure, then serve.

    Args:
        arguments: FOLDER KIND FILE OPTIONS.
        questions: lines, instead of standard input's.
    """
    folder, kind, file, options = Path(arguments[0]), *arguments[1:]
    try:
        chosen = json.loads(options)
        opener = import_module(f"{__package__}.{kind}")
        original: Original = opener.open_original(Path(file), chosen)
        lowered, witness, measured = look(original, bool(chosen.get("dynamic")))
        (folder / "network.onnx").write_bytes(lowered.graph.SerializeToString())
    except W2SExportError as error:
        refuse(folder, error)
        return
    opened = {
        "runtime": original.runtime,
        "architecture": original.architecture,
        "chosen": original.chosen,
        "channels_in": lowered.channels_in,
        "channels_out": lowered.channels_out,
        "scale": lowered.scale,
        **measured,
    }
    serve(folder, opened, witness, questions)


def look(original: Original, dynamic: bool) -> tuple[Lowered, Run, dict[str, Any]]:
    """The lowered network, the original on NCHW, and what running both shows.

    Raises:
        CheckpointError: it cannot be lowered, or gives another result then; says why.
    """
    try:
        return _looked(original, dynamic)
    except CheckpointError:
        if original.unpadded is None:
            raise
        with suppress(CheckpointError):
            return _looked(replace(original, model=original.unpadded()), dynamic, unpadded=True)
        raise


def _looked(
    original: Original, dynamic: bool, *, unpadded: bool = False
) -> tuple[Lowered, Run, dict[str, Any]]:
    lowered = _lowered(original, dynamic)
    witness, run = _witness(original, lowered), _runtime(lowered)

    def as_the_original(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        made = run(batch)
        if _difference(made, witness(batch)) > TOLERANCE:
            raise CheckpointError("pads images of this size")
        return made

    known = as_the_original if unpadded else run
    return lowered, witness, _measured(witness, known, lowered, original.step)


def _lowered(original: Original, dynamic: bool) -> Lowered:
    """Lower, and lower again with the batch freed where two images come out otherwise than one.

    Raises:
        CheckpointError: it cannot be lowered, or it takes one image at a time.
    """
    from w2s_export.graph.lower import lower

    reason: CheckpointError | None = None
    for one_image in (False, True):
        try:
            lowered = lower(original.model, dynamic=dynamic, one_image=one_image)
        except CheckpointError as error:
            reason = reason or error
            continue
        if _batches_agree(_runtime(lowered), lowered):
            return lowered
        reason = CheckpointError(
            "mixes the images of a batch, or takes one at a time; export it with a dynamic batch"
        )
    raise reason or AssertionError


def _batches_agree(run: Run, lowered: Lowered) -> bool:
    """Whether two images together give what each gives alone; None of both counts as yes."""
    squares = ((side, side) for side in _BASES)
    size = lowered.fixed or next(
        (size for size in squares if _attempt(run, _image(lowered, 1, *size)) is not None), None
    )
    if size is None:
        return True  # `_measured` says what is wrong
    images = _image(lowered, 2, *size)
    together = _attempt(run, images)
    apart = [_attempt(run, images[place : place + 1]) for place in (0, 1)]
    if together is None or apart[0] is None or apart[1] is None:
        return False
    return _difference(together, np.concatenate([apart[0], apart[1]])) <= TOLERANCE


def _image(lowered: Lowered, count: int, height: int, width: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(height * 4096 + width)
    shape = (count, lowered.channels_in, height, width)
    return generator.random(shape, dtype=np.float32)


def _runtime(lowered: Lowered) -> Run:
    """What restoration will run, less what would end the process.

    ONNX Runtime (1.32) divides by zero where a Resize gets an empty tensor, as pooling
    leaves of a small image.
    """
    from w2s_export.graph.lower import taken_apart
    from w2s_export.graph.model import INPUT_ID, OUTPUT_ID
    from w2s_export.graph.specialise import follow

    engine = OnnxRuntime(lowered.graph.SerializeToString())
    graph = taken_apart(lowered.graph, INPUT_ID, OUTPUT_ID)
    resized = [node.input[0] for node in graph.nodes if node.op_type == "Resize"]

    @cache
    def whole(shape: tuple[int, ...]) -> bool:
        seen = follow(graph, shape)
        return seen is not None and all(min(seen.shapes.get(name, (1,))) > 0 for name in resized)

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if resized and not whole(batch.shape):
            raise CheckpointError("leaves nothing of so small an image")
        return engine(batch)

    return run


def _witness(original: Original, lowered: Lowered) -> Run:
    """The original on NCHW, image by image: many a file takes one at a time."""
    from w2s_export.graph.layout import NCHW_TO_NHWC, NHWC_TO_NCHW

    def one(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        given = batch.transpose(NCHW_TO_NHWC) if lowered.channels_last else batch
        output = np.asarray(original.run(np.ascontiguousarray(given)), np.float32)
        return output.transpose(NHWC_TO_NCHW) if lowered.channels_last_out else output

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([one(batch[place : place + 1]) for place in range(len(batch))])

    return run


def _attempt(run: Run, batch: NDArray[np.float32]) -> NDArray[np.float32] | None:
    with suppress(Exception):  # runtimes raise errors of any class for sizes that do not fit
        return run(batch)
    return None


def _difference(output: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    if output.shape != expected.shape:
        return float("inf")
    return float(np.abs(output - expected).max() / (np.ptp(expected) or 1.0))


def _measured(witness: Run, run: Run, lowered: Lowered, least_step: int) -> dict[str, Any]:
    """Step and minimum by running, once the lowered network gives what the original gives.

    Raises:
        CheckpointError: no size that both compute, or the results differ.
    """
    if lowered.fixed is not None:
        difference = _compared(witness, run, lowered, lowered.fixed)
        fixed = list(lowered.fixed)
        return {"step": 1, "minimum": 1, "fixed": fixed, "difference": difference}

    def fits(height: int, width: int) -> bool:
        image = _image(lowered, 1, height, width)
        output = _attempt(run, image)
        scale = lowered.scale
        return output is not None and output.shape[2:] == (scale * height, scale * width)

    base = next((side for side in _BASES if side % least_step == 0 and fits(side, side)), None)
    if base is None:
        raise CheckpointError("computes no image of 16 to 256 pixels, square and of even sides")
    step = least_step
    for divisor in range(least_step, base + 1, least_step):
        if base % divisor == 0 and fits(base, base + divisor) and fits(base + divisor, base):
            step = divisor
            break

    def both(side: int) -> bool:
        image = _image(lowered, 1, side, side)
        return fits(side, side) and _attempt(witness, image) is not None

    minimum = next((side for side in range(step, base + 1, step) if both(side)), base)
    if not _followed(lowered):
        step = _grid(run, lowered, step, minimum)
    minimum = -(-minimum // step) * step
    base = -(-base // step) * step
    sizes = dict.fromkeys(((minimum, minimum + step), (base + step, base)))
    difference = max(_compared(witness, run, lowered, size) for size in sizes)
    return {"step": step, "minimum": minimum, "fixed": None, "difference": difference}


def _followed(lowered: Lowered) -> bool:
    """Whether the graph itself tells the step."""
    from w2s_export.graph.facts import read_facts

    try:
        read_facts(lowered.graph)
    except W2SExportError:
        return False
    return True


def _grid(run: Run, lowered: Lowered, step: int, minimum: int) -> int:
    """The step, or that of a grid which the network cuts its image into, such as windows.

    A pixel in the middle of an image comes out alike in a shifted one only where the shift is a
    multiple of the grid. In a network that sees the whole image it differs with every shift.
    """
    if step >= max(_GRIDS):
        return step
    side = -(-max(_SHIFTED, minimum) // step) * step
    image = _image(lowered, 1, side + max(_GRIDS), side + max(_GRIDS))
    middle, scale = side // 2 + _MIDDLE, lowered.scale

    def shifted(by: int) -> NDArray[np.float32]:
        made = run(image[:, :, by : by + side, by : by + side])
        place = slice(scale * (middle - by), scale * (middle - by + _MIDDLE))
        return made[:, :, place, place]

    at_rest = shifted(0)
    largest = _difference(shifted(step), at_rest)
    if largest <= TOLERANCE:
        return step
    shifts = [grid for grid in _GRIDS if grid % step == 0 and grid > step]
    return next((s for s in shifts if _difference(shifted(s), at_rest) <= largest / 10), step)


def _compared(witness: Run, run: Run, lowered: Lowered, size: tuple[int, int]) -> float:
    """Difference of both results, as a part of the range.

    Raises:
        CheckpointError: beyond the tolerance, or no result.
    """
    image = _image(lowered, 1, *size)
    try:
        expected = witness(image)
    except Exception as error:  # runtimes raise errors of any class for sizes that do not fit
        raise CheckpointError(
            f"does not run on {size[0]}×{size[1]} pixels in its own framework: {shown(error)}"
        ) from None
    difference = _difference(run(image), expected)
    if not np.isfinite(expected).all():
        raise CheckpointError("makes NaN or infinity of an image of 0…1; its training diverged")
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"gives another result once converted to ONNX: {difference:.1e} of its range on "
            f"{size[0]}×{size[1]} pixels, at most {TOLERANCE:.0e} is allowed"
        )
    return difference
