"""Rules of axes, sizes, scales and halos."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.io.npy import read_header
from w2s_export.rdf.reading import (
    AxisPlan,
    at,
    axes,
    axis_id,
    axis_plans,
    example_tensors,
    input_extents,
    listed,
)
from w2s_export.rdf.whole_image import LARGEST_TILE
from w2s_export.verify.findings import Code, Severity
from w2s_export.verify.rules.registry import (
    CORE,
    DEEPIMAGEJ,
    EVERYONE,
    JDLL,
    ZOO,
    Fault,
    Subject,
    rule,
)

_SIZES_TRIED = 512


@rule(
    '"NCHW (`bcyx`): JDLL gets outputs as nested Java arrays, so a trailing channel of 1 '
    'makes one array per pixel." And: "ONNX and SavedModel of one package share one `axes`."',
    Code.axes_order,
    DEEPIMAGEJ,
    "convert to bcyx",
    Severity.warning,
)
def _channels_come_before_space(subject: Subject) -> Iterator[Fault]:
    for side in ("inputs", "outputs"):
        for index, tensor in enumerate(listed(subject.rdf, side)):
            if axes(tensor).endswith("c"):
                yield f"{side}[{index}].axes", f"'{axes(tensor)}' is slow and costs memory in Java"


@rule(
    "JDLL 0.6.1, TileMaker.validateStepMin: tiles are cut to multiples of the step and must be "
    '`min + n x step`; so "`min` a multiple of `step` ✔", in both formats.',
    Code.minimum_off_step,
    JDLL,
    "raise the minimum to a multiple of the step",
)
def _minimum_is_a_multiple_of_the_step(subject: Subject) -> Iterator[Fault]:
    for where, minimum, step in input_extents(subject.rdf):
        if step > 0 and minimum % step:
            yield where, f"minimum {minimum}, step {step}"


@rule(
    '"A fixed input shape forces small tiles, but images under a third of the tile throw ✔, '
    'and when (tile − image) is odd the output is shifted by one pixel ✔."',
    Code.input_fixed_size,
    JDLL,
    "convert with dynamic sizes and describe them by a minimum and a step",
    Severity.warning,
)
def _input_takes_any_size(subject: Subject) -> Iterator[Fault]:
    for where, size, step in input_extents(subject.rdf):
        if step == 0 and size > 1:
            yield where, f"has the fixed size {size}"


@rule(
    'JDLL: "one tile covers the whole image up to 50.3 Mpixel; beyond, its planner hangs ✔"',
    Code.image_too_large,
    JDLL,
    "give a smaller example",
    Severity.warning,
)
def _example_fits_one_tile(subject: Subject) -> Iterator[Fault]:
    shape = example_shape(subject, "inputs")
    if (pixels := math.prod(shape)) > LARGEST_TILE:
        yield _test_name(subject, "inputs"), f"has {pixels / 1e6:.1f} Mpixel"


@rule(
    'JDLL 0.4: "output via `reference_tensor`, `scale`, `offset` (all three, else dropped)".',
    Code.output_reference,
    JDLL,
    "state reference_tensor, scale and offset",
)
def _output_refers_to_the_input(subject: Subject) -> Iterator[Fault]:
    for index, output in enumerate(listed(subject.rdf, "outputs")):
        shape = at(output, "shape")
        if subject.format_05 or isinstance(shape, list):
            continue
        missing = [k for k in ("reference_tensor", "scale", "offset") if at(shape, k) is None]
        if missing:
            yield f"outputs[{index}].shape", f"lacks {', '.join(missing)}"


@rule(
    'JDLL 0.5: "`out = ref.size · ref.scale / axis.scale` in the spec, but JDLL multiplies by '
    "the output axis `scale` ✔ (a spec-correct `1.0 → 0.5` plans half the size and throws). "
    'Both formulas hold with input `scale: s²`, output `scale: s` and no unit."',
    Code.output_scale_ambiguous,
    JDLL,
    "input scale s², output scale s, for factor s",
)
def _both_readings_of_the_scale_agree(subject: Subject) -> Iterator[Fault]:
    for plan in axis_plans(subject.rdf):
        if plan.spec_factor != plan.jdll_factor:
            message = f"{plan.spec_factor:g}× by the specification, {plan.jdll_factor:g}× in JDLL"
            yield f"outputs[0] {plan.name}", message


@rule(
    '"Do not encode a pixel size as axis scale: floats are truncated (0.1→0.05 µm gives 85 for '
    'n=43) ✔." bioimageio.spec: int(ref_size * ref_axis.scale / axis.scale + offset).',
    Code.output_scale_truncated,
    CORE + ZOO,
    "use whole numbers as scales, s² and s for factor s",
)
def _no_size_is_truncated(subject: Subject) -> Iterator[Fault]:
    for plan in axis_plans(subject.rdf) if subject.format_05 else ():
        for n in range(_SIZES_TRIED if plan.step > 0 else 0):
            size = plan.minimum + n * plan.step
            real = size * plan.reference_scale / plan.jdll_factor + plan.offset
            if int(real) != int(real + 1e-6):
                message = f"{size} pixels become {int(real)}, not {round(real)}"
                yield f"outputs[0] {plan.name}", message
                break


@rule(
    '0.5: "Offsets stay 0."',
    Code.output_offset,
    JDLL,
    "crop inside the network and set the offset to 0",
)
def _output_has_no_offset(subject: Subject) -> Iterator[Fault]:
    for plan in axis_plans(subject.rdf) if subject.format_05 else ():
        if plan.offset:
            yield f"outputs[0] {plan.name}", f"offset {plan.offset:g}"


@rule(
    '0.5: "Halo is on output axes, in OUTPUT pixels, divisible by the factor." bioimageio.core '
    "cuts the halo to whole input pixels.",
    Code.halo_odd,
    DEEPIMAGEJ,
    "round the halo up to a multiple of the enlargement",
)
def _halo_is_whole_input_pixels(subject: Subject) -> Iterator[Fault]:
    for plan in axis_plans(subject.rdf):
        if plan.input_halo % 1:
            message = f"{plan.halo:g} output pixels at {plan.spec_factor:g}× enlargement"
            yield f"outputs[0] {plan.name}", message


@rule(
    '0.5: "Halo is on output axes"; bioimageio.spec forbids it on others.',
    Code.halo_on_input,
    JDLL,
    "state the halo on the output's axes, in output pixels",
    Severity.warning,
)
def _halo_is_on_the_output(subject: Subject) -> Iterator[Fault]:
    for index, tensor in enumerate(listed(subject.rdf, "inputs")):
        for axis in listed(tensor, "axes"):
            if at(axis, "halo"):
                yield f"inputs[{index}] {axis_id(axis)}", f"halo {at(axis, 'halo')!r:.40}"


@rule(
    'bioimageio.spec, 0.4 and 0.5: "`min_size − 2·halo_in ≥ 1`". DeepImageJ adds the halo to the '
    "image before it cuts tiles, so any fits there.",
    Code.halo_too_large,
    CORE + ZOO,
    "raise the minimum size or lower the halo",
)
def _minimum_is_more_than_two_halos(subject: Subject) -> Iterator[Fault]:
    for plan in axis_plans(subject.rdf):
        if plan.minimum - 2 * plan.input_halo < 1:
            message = f"minimum {plan.minimum}, halo {plan.input_halo:g} input pixels"
            yield f"outputs[0] {plan.name}", message


@rule(
    'JDLL 0.5: drops "a channel axis without `channel_names`"; the specification requires them.',
    Code.channel_names_missing,
    JDLL + CORE + ZOO,
    "name the channels",
)
def _channels_have_names(subject: Subject) -> Iterator[Fault]:
    for side in ("inputs", "outputs"):
        for index, tensor in enumerate(listed(subject.rdf, side)):
            for axis in listed(tensor, "axes") if subject.format_05 else ():
                if at(axis, "type") == "channel" and not at(axis, "channel_names"):
                    yield f"{side}[{index}].axes", "a channel axis has no channel_names"


@rule(
    '"core rejects off-grid sizes" of format 0.5; of 0.4 it compares no size.',
    Code.test_size_off_grid,
    CORE + ZOO,
    "cut the test image to minimum + n · step",
)
def _test_input_is_an_accepted_size(subject: Subject) -> Iterator[Fault]:
    shape = example_shape(subject, "inputs")
    for plan in axis_plans(subject.rdf) if shape and subject.format_05 else ():
        if plan.reference:
            continue
        size = _size(subject, "inputs", plan, shape)
        fits = size == plan.minimum if plan.step == 0 else (size - plan.minimum) % plan.step == 0
        if size < plan.minimum or not fits:
            message = f"{plan.name} is {size}; accepted are {plan.minimum} + n · {plan.step}"
            yield _test_name(subject, "inputs"), message


@rule(
    '"output shape differs from the model\'s (plugin#52)": DeepImageJ plans by the description.',
    Code.test_output_size,
    DEEPIMAGEJ,
    "describe the size that the network returns",
)
def _test_output_is_the_planned_size(subject: Subject) -> Iterator[Fault]:
    yield from _other_sizes(subject)


@rule(
    "bioimageio.spec 0.5.12.0, validate_tensors: test outputs have the described size; of format "
    "0.4 no size is compared.",
    Code.test_output_size,
    CORE + ZOO,
    "describe the size that the network returns",
)
def _test_output_is_the_described_size(subject: Subject) -> Iterator[Fault]:
    if subject.format_05:
        yield from _other_sizes(subject)


def _other_sizes(subject: Subject) -> Iterator[Fault]:
    given, held = example_shape(subject, "inputs"), example_shape(subject, "outputs")
    for plan in axis_plans(subject.rdf) if given and held else ():
        if plan.reference:
            continue
        size = _size(subject, "inputs", plan, given)
        planned = size * plan.spec_factor + plan.offset
        actual = _size(subject, "outputs", plan, held)
        if planned != actual:
            message = f"{plan.name} is {actual}, described is {planned:g}"
            yield _test_name(subject, "outputs"), message


@rule(
    "bioimageio.core 0.11.0, get_test_input_sample: every tensor has a test tensor, a .npy file.",
    Code.test_tensor_missing,
    CORE + ZOO,
    "give a .npy file of each input and output",
)
def _every_tensor_has_a_test(subject: Subject) -> Iterator[Fault]:
    for side in ("inputs", "outputs"):
        names = example_tensors(subject.rdf, "test", side)
        for index, name in enumerate(names):
            data = subject.read(name) if str(name).endswith(".npy") else None
            if name is None:
                yield f"{side}[{index}]", "has no test tensor"
            elif data is not None and npy_header(data)[1].kind not in "buif":
                yield f"{side}[{index}]", f"'{name}' is no NumPy array of numbers"


@rule(
    "bioimageio.core 0.11.0: \"no batch axis found in any input tensor, but output tensor 'out' "
    'has one".',
    Code.batch_missing,
    CORE + ZOO,
    "describe the batch axis of the input too",
)
def _outputs_have_no_batch_of_their_own(subject: Subject) -> Iterator[Fault]:
    if any("b" in axes(tensor) for tensor in listed(subject.rdf, "inputs")):
        return
    for index, tensor in enumerate(listed(subject.rdf, "outputs")):
        if "b" in axes(tensor):
            yield f"outputs[{index}].axes", "has a batch axis, no input has one"


@rule(
    "bioimageio.core 0.11.0 tests format 0.5 at the smallest size and two steps more: "
    '"Expected output shape".',
    Code.output_fixed_size,
    CORE + ZOO,
    "let the output's size refer to the input's",
)
def _output_follows_the_input(subject: Subject) -> Iterator[Fault]:
    varying = {
        axis_id(axis)
        for tensor in listed(subject.rdf, "inputs")
        for axis in listed(tensor, "axes")
        if isinstance(at(axis, "size"), dict) and "step" in axis["size"]
    }
    for index, tensor in enumerate(listed(subject.rdf, "outputs")):
        for axis in listed(tensor, "axes"):
            if axis_id(axis) in varying and isinstance(at(axis, "size"), int):
                where = f"outputs[{index}] {axis_id(axis)}"
                yield where, f"has the fixed size {axis['size']}, the input's varies"


@rule(
    "Every client that cuts an image into tiles shows what the package itself states of them in "
    "`config.w2s_export.seams`.",
    Code.seams_visible,
    EVERYONE,
    "restore each image in one tile: give tiles of its size, or as much memory as that takes",
    Severity.warning,
)
def _tiles_give_the_whole_image(subject: Subject) -> Iterator[Fault]:
    seams = at(subject.rdf, "config", "w2s_export", "seams")
    if isinstance(seams, int | float) and not isinstance(seams, bool):
        message = f"tiles differ from the whole image by up to {seams:.1g} of the range"
        yield "outputs[0] halo", f"{message}, with any halo"


def _size(subject: Subject, side: str, plan: AxisPlan, shape: tuple[int, ...]) -> int:
    return shape[axes(at(subject.rdf, side, 0)).index(plan.letters[side == "outputs"])]


def example_shape(subject: Subject, side: str, index: int = 0) -> tuple[int, ...]:
    """Shape of a test tensor along its described axes; empty where it has another number."""
    names = example_tensors(subject.rdf, "test", side)
    data = subject.read(names[index] if index < len(names) else None)
    shape = npy_header(data)[0] if data else ()
    return shape if len(shape) == len(axes(at(subject.rdf, side, index))) else ()


def example_array(subject: Subject, side: str, index: int = 0) -> NDArray[Any] | None:
    """A test tensor of numbers along its described axes; None where it is not there whole."""
    names = example_tensors(subject.rdf, "test", side)
    data = subject.read(names[index] if index < len(names) else None)
    shape, dtype = npy_header(data or b"")
    tensor = at(subject.rdf, side, index)
    if data is None or dtype.kind not in "buif" or len(shape) != len(axes(tensor)) or not shape:
        return None
    claimed = math.prod(shape) * dtype.itemsize
    if not 0 < claimed < len(data):
        return None
    try:
        array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    except ValueError:
        return None
    return array


def npy_header(data: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that a `.npy` file states; empty and bytes where it states none."""
    try:
        shape, _, dtype = read_header(io.BytesIO(data))
    except Exception:  # NumPy's header reader lets TokenError and others out
        return (), np.dtype("S")
    return shape, dtype


def _test_name(subject: Subject, side: str) -> str:
    return str((example_tensors(subject.rdf, "test", side) or [None])[0])
