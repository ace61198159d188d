"""Rules of axes, sizes, scales and halos."""

from __future__ import annotations

import ast
import math
import struct
from collections.abc import Iterator

from w2s_export.rdf.stated import (
    AxisPlan,
    at,
    axes,
    axis_id,
    axis_plans,
    example_files,
    input_extents,
    listed,
)
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

_MOST_PIXELS = 4096 * 4096 * 3
"""JDLL's OPTIMAL_MAX_NUMBER_PIXELS, 50.3 million."""
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
    'JDLL 0.4: "`min` a multiple of `step` ✔".',
    Code.minimum_off_step,
    JDLL,
    "raise the minimum to a multiple of the step",
)
def _minimum_is_a_multiple_of_the_step(subject: Subject) -> Iterator[Fault]:
    for where, minimum, step in () if subject.format_05 else input_extents(subject.rdf):
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
    name = example_files(subject.rdf).test_input
    shape = _npy_shape(subject, name)
    if (pixels := math.prod(shape)) > _MOST_PIXELS:
        yield str(name), f"has {pixels / 1e6:.1f} Mpixel"


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
    '0.5: "Halo is on output axes, in OUTPUT pixels, divisible by the factor."',
    Code.halo_odd,
    EVERYONE,
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
    '0.5: "`min_size − 2·halo_in ≥ 1`".',
    Code.halo_too_large,
    EVERYONE,
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
            for axis in at(tensor, "axes") or () if subject.format_05 else ():
                if at(axis, "type") == "channel" and not at(axis, "channel_names"):
                    yield f"{side}[{index}].axes", "a channel axis has no channel_names"


@rule(
    '"core rejects off-grid sizes"',
    Code.test_size_off_grid,
    CORE + ZOO,
    "cut the test image to minimum + n · step",
)
def _test_input_is_an_accepted_size(subject: Subject) -> Iterator[Fault]:
    name = example_files(subject.rdf).test_input
    shape = _npy_shape(subject, name)
    for plan in axis_plans(subject.rdf) if shape else ():
        if plan.reference:
            continue
        size = _size(subject, "inputs", plan, shape)
        fits = size == plan.minimum if plan.step == 0 else (size - plan.minimum) % plan.step == 0
        if size < plan.minimum or not fits:
            message = f"{plan.name} is {size}; accepted are {plan.minimum} + n · {plan.step}"
            yield str(name), message


@rule(
    '"output shape differs from the model\'s (plugin#52)"',
    Code.test_output_size,
    EVERYONE,
    "describe the size that the network returns",
)
def _test_output_is_the_described_size(subject: Subject) -> Iterator[Fault]:
    files = example_files(subject.rdf)
    given = _npy_shape(subject, files.test_input)
    held = _npy_shape(subject, files.test_output)
    for plan in axis_plans(subject.rdf) if given and held else ():
        if plan.reference:
            continue
        size = _size(subject, "inputs", plan, given)
        planned = size * plan.spec_factor + plan.offset
        actual = _size(subject, "outputs", plan, held)
        if planned != actual:
            yield str(files.test_output), f"{plan.name} is {actual}, described is {planned:g}"


def _size(subject: Subject, side: str, plan: AxisPlan, shape: tuple[int, ...]) -> int:
    return shape[axes(at(subject.rdf, side, 0)).index(plan.name)]


def _npy_shape(subject: Subject, name: str | None) -> tuple[int, ...]:
    """Shape that a `.npy` file states; empty where it states none."""
    data = subject.read(name)
    if not data or not data.startswith(b"\x93NUMPY") or len(data) < 12:
        return ()
    wide = data[6] >= 2
    (size,) = struct.unpack_from("<I" if wide else "<H", data, 8)
    start = 12 if wide else 10
    header = ast.literal_eval(data[start : start + min(size, 4096)].decode("latin1"))
    return tuple(int(length) for length in header["shape"])
