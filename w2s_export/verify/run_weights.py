"""Runs a package's own weights on its own test tensors, as bioimageio.core would judge them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import ImageError, PackageError, WithheldError
from w2s_export.io.images import read_image
from w2s_export.metrics.parity import compare
from w2s_export.rdf.reading import (
    DescriptionError,
    at,
    axes,
    axis_plans,
    example_tensors,
    input_extents,
    listed,
    mapped,
    stated_shape,
    tensor_ids,
)
from w2s_export.verify.clients.core_processing import postprocess, preprocess
from w2s_export.verify.clients.core_tests import TESTED, CoreTest, core_test, give_test
from w2s_export.verify.contents import Contents
from w2s_export.verify.core_verdict import RUNNERS, TEST_CASE
from w2s_export.verify.findings import Client, Code, Finding, Severity
from w2s_export.verify.report import Gathered, Kind
from w2s_export.verify.worker.jobs import Arrays, Jobs, Outputs, job_program

ABSOLUTE = RELATIVE = 1e-3
MISMATCHES = 1e-4
"""bioimageio.core's default: |d| > 1e-3 + 1e-3·|expected| in at most 100 of a million pixels."""

_MOST_PIXELS = 1 << 26
"""Of a test tensor. At 64 features and float32 the network's largest layer is then 16 GiB."""
_MOST_BYTES = 8 * _MOST_PIXELS
"""Of a file of such a tensor, decoded: a few kilobytes can claim any size."""
_NOT_RUN = {
    "torchscript": "TorchScript is a program, and running it would trust its author",
    "pytorch_state_dict": "its network is Python code of the package, which is never run",
    "keras_hdf5": "Keras files are given to bioimageio.core's own test alone",
    "keras_v3": "Keras files are given to bioimageio.core's own test alone",
    "tensorflow_js": "TensorFlow.js needs a browser",
}


@dataclass(frozen=True, slots=True)
class _Case:
    """Inputs of a run, and what should come of it."""

    name: str
    inputs: Arrays
    expected: tuple[NDArray[Any], ...] | None
    """Outputs; None where only their shapes are known."""
    shapes: tuple[tuple[int | None, ...], ...] = ()
    code: Code = Code.test_output_differs
    severity: Severity = Severity.error


def run_weights(contents: Contents, folder: Path, gathered: Gathered) -> list[CoreTest]:
    """Run every weights file that can be run safely on everything the package says of itself.

    Each in a process of its own, which then makes bioimageio.core's own test of it.

    Raises:
        OutputError: no space is left for what the processes write.
    """
    stated = [str(key) for key in mapped(contents.rdf, "weights")]
    for other in stated:
        if other not in RUNNERS:
            message = f"was not run: {_NOT_RUN.get(other, 'no runtime for it is at hand')}"
            note = _note(contents, Code.weights_not_run, f"weights.{other}", message, other)
            gathered.findings.append(note)
    tried = [
        key for key in stated if key in (*RUNNERS, *TESTED) and contents.weights(key) is not None
    ]
    cases = _cases(contents, gathered.findings) if RUNNERS.keys() & {*tried} else []
    reads = [contents.folder, contents.package.path]
    tests = []
    with ExitStack() as stack:
        started = []
        for key in tried:
            jobs = stack.enter_context(job_program(folder / key, reads))
            run = _give_run(jobs, contents, key, cases) if key in RUNNERS and cases else 0
            test = give_test(jobs, contents.package.path, key) if key in TESTED else 0
            started.append((key, jobs, run, test))
        for key, jobs, run, test in started:
            if run:
                _compare(contents, key, cases, jobs, run, gathered)
            if test:
                tests.append(core_test(contents.name, key, jobs, test))
    return tests


def _give_run(jobs: Jobs, contents: Contents, weights_format: str, cases: Sequence[_Case]) -> int:
    """Hand the weights and every case over; the number of the job."""
    path = contents.weights(weights_format)
    assert path is not None  # noqa: S101 - asked before
    arrays: dict[str, Any] = {
        f"{number}-{index}": array
        for number, case in enumerate(cases)
        for index, array in enumerate(case.inputs)
    }
    np.savez(jobs.folder / "inputs.npz", **arrays)
    return jobs.give(
        "run",
        format=weights_format,
        path=str(path.absolute()),
        inputs="inputs.npz",
        input_ids=tensor_ids(contents.rdf, "inputs"),
        output_ids=tensor_ids(contents.rdf, "outputs"),
        cases=[len(case.inputs) for case in cases],
    )


def _compare(
    contents: Contents,
    weights_format: str,
    cases: Sequence[_Case],
    jobs: Jobs,
    run: int,
    gathered: Gathered,
) -> None:
    try:
        outputs = jobs.outputs(run)
    except WithheldError as error:
        place = f"weights.{weights_format}"
        note = _note(contents, Code.weights_not_run, place, str(error), weights_format)
        gathered.findings.append(note)
        return
    except PackageError as error:
        gathered.findings.append(_unloadable(contents, weights_format, str(error)))
        return
    for case, arrays in zip(cases, outputs.cases, strict=True):
        _judge(contents, weights_format, case, arrays, outputs, gathered)


def _cases(contents: Contents, findings: list[Finding]) -> list[_Case]:
    found: list[_Case] = []
    for kind in ("test", "sample"):
        try:
            case = _example(contents, kind)
            findings += _blank(contents, kind, case)
            if not found or not _equal(case, found[0]):
                found.append(case)
        except (PackageError, ImageError, DescriptionError) as error:
            findings.append(_note(contents, Code.not_compared, f"{kind} tensors", str(error)))
    try:
        found += _smallest(contents)
    except DescriptionError as error:
        findings.append(_note(contents, Code.not_compared, "the smallest input", str(error)))
    return found


def _example(contents: Contents, kind: str) -> _Case:
    """The package's own example, through its preprocessing."""
    sides: list[list[NDArray[Any]]] = []
    for side in ("inputs", "outputs"):
        names = example_tensors(contents.rdf, kind, side)
        if not names or None in names:
            raise PackageError(f"were not compared: the description names no {kind} {side}")
        tensors = listed(contents.rdf, side)
        sides.append([_read(contents, n, axes(t)) for n, t in zip(names, tensors, strict=True)])
    given, expected = sides
    if any(array.size > _MOST_PIXELS for array in given):
        raise PackageError(f"were not run: they have more than {_MOST_PIXELS} pixels")
    inputs = tuple(
        preprocess(array, tensor)
        for array, tensor in zip(given, listed(contents.rdf, "inputs"), strict=True)
    )
    if kind == "test":
        return _Case(TEST_CASE, inputs, tuple(expected))
    # A sample is a picture for people: often rescaled, so that a difference is no failure.
    code, severity = Code.sample_differs, Severity.warning
    return _Case("samples", inputs, tuple(expected), (), code, severity)


def _blank(contents: Contents, kind: str, case: _Case) -> list[Finding]:
    """Examples of a single value: no image, and any network that ignores its input passes."""
    return [
        Finding(
            Code.sample_blank,
            f"{kind} inputs[{index}]",
            "has the same value everywhere",
            Severity.warning,
            (Client.zoo,),
            "give an image of the kind the network restores",
            "The zoo shows the sample, and compares the test tensors.",
            package=contents.name,
        )
        for index, array in enumerate(case.inputs)
        if array.size and array.min() == array.max()
    ]


def _equal(one: _Case, other: _Case) -> bool:
    """Whether two cases hold the same images, so that one run is both."""
    pairs = zip(
        one.inputs + (one.expected or ()), other.inputs + (other.expected or ()), strict=True
    )
    return all(np.array_equal(first, second) for first, second in pairs)


def _read(contents: Contents, name: str | None, letters: str) -> NDArray[Any]:
    """An example along the described axes.

    Raises:
        PackageError: no array or image, or one that does not have these axes.
        ImageError: an image that cannot be read.
    """
    if contents.package.sizes.get(str(name), 0) > _MOST_BYTES:
        raise PackageError(f"'{name}' was not read: it has more than {_MOST_BYTES} bytes")
    if name is None or name.endswith(".npy"):
        array = contents.array(name)
        if array.dtype.kind not in "buif":
            raise PackageError(f"'{name}' holds {array.dtype}, not numbers")
    else:
        if name not in contents.hashes:
            raise PackageError(f"'{name}' is not there whole")
        array = read_image(contents.folder / name, _MOST_BYTES).pixels  # (planes, C, H, W)
        singular = sorted(letters) == sorted("bcyx")
        if not singular or len(array) != 1:
            raise PackageError(f"'{name}' was not compared: its axes are not known")
        array = array.transpose(["bcyx".index(letter) for letter in letters])
    if array.ndim != len(letters):
        raise PackageError(
            f"'{name}' has {counted(array.ndim, 'axis', 'axes')}, the description says '{letters}'"
        )
    return array


def _smallest(contents: Contents) -> list[_Case]:
    """Noise of the smallest accepted size, through the bare network: is its output as described?"""
    rdf = contents.rdf
    plans = {plan.name: plan for plan in axis_plans(rdf)}
    sizes = {where.split()[-1]: (least, step) for where, least, step in input_extents(rdf)}
    several = len(listed(rdf, "inputs")) != 1 or len(listed(rdf, "outputs")) != 1
    if several or not plans or any(step == 0 for _, step in sizes.values()):
        return []
    letters, stated = axes(at(rdf, "inputs", 0)), stated_shape(rdf, "inputs", 0)
    out = axes(at(rdf, "outputs", 0))
    if not set(plans) <= set(sizes) or not set(letters) | set(out) <= set("bcxyz"):
        return []
    shape = tuple(
        sizes[axis][0] + sizes[axis][1] if axis in sizes else stated[place] or 1
        for place, axis in enumerate(letters)
    )
    if min(shape) < 1 or math.prod(shape) > _MOST_PIXELS:
        return []
    given = dict(zip(letters, shape, strict=True))
    planned = tuple(
        round(given[axis] * plans[axis].spec_factor + plans[axis].offset) if axis in plans else None
        for axis in out
    )
    noise = np.random.default_rng(20200311).random(shape, np.float32)
    name = f"noise, smallest and a step, {'×'.join(map(str, shape))}"
    return [_Case(name, (noise,), None, (planned,))]


def _judge(
    contents: Contents,
    weights_format: str,
    case: _Case,
    arrays: Sequence[NDArray[np.float32]],
    outputs: Outputs,
    gathered: Gathered,
) -> None:
    """Compare the outputs of one case."""
    if case.expected is None:
        gathered.findings += _off_plan(contents, weights_format, case, arrays)
        return
    if len(arrays) != len(case.expected):
        message = (
            f"gives {counted(len(arrays), 'output')}, the description has {len(case.expected)}"
        )
        certain = replace(case, severity=Severity.error)
        finding = _fault(contents, weights_format, certain, Code.onnx_not_one_tensor, message)
        gathered.findings.append(finding)
        return
    for index, (array, expected) in enumerate(zip(arrays, case.expected, strict=True)):
        try:
            actual = postprocess(array, at(contents.rdf, "outputs", index))
        except PackageError as error:
            what = f"outputs[{index}].postprocessing"
            note = _note(contents, Code.not_compared, what, str(error), weights_format)
            gathered.findings.append(note)
            continue
        named = f"{case.name}, {_shape_text(expected.shape)}"
        row = gathered.compared(
            compare(outputs.runtime, named, expected, actual),
            Kind.sample if case.code is Code.sample_differs else Kind.output,
            f"the package's {case.name}",
            package=contents.name,
            weights_format=weights_format,
            clients=RUNNERS[weights_format],
        )
        if _differs(expected, actual):
            message = (
                f"{case.name}, output {index}: differs by {row.max_abs:.2g}, "
                f"{row.max_relative:.2g} of the range"
            )
            remedy = "write the output of these weights on this input, or describe the processing"
            because = '"|d| > atol + rtol·|expected|, defaults 1e-3, 1e-3, 100 ppm"'
            finding = _fault(contents, weights_format, case, case.code, message, remedy, because)
            gathered.findings.append(finding)


def _off_plan(
    contents: Contents, weights_format: str, case: _Case, arrays: Sequence[NDArray[np.float32]]
) -> list[Finding]:
    """Outputs of another size than the description plans; of each axis only what is known."""
    remedy = "describe the size that the network returns"
    because = '"output shape differs from the model\'s (plugin#52)"'
    return [
        _fault(
            contents,
            weights_format,
            case,
            Code.output_off_plan,
            f"{case.name}: gives {array.shape}, described is {_shape_text(planned)}",
            remedy,
            because,
        )
        for array, planned in zip(arrays, case.shapes, strict=False)
        if len(array.shape) != len(planned)
        or any(p not in (None, size) for p, size in zip(planned, array.shape, strict=True))
    ]


def _fault(
    contents: Contents,
    weights_format: str,
    case: _Case,
    code: Code,
    message: str,
    remedy: str = "",
    because: str = "",
) -> Finding:
    """A difference between a case and what came of it, as severe as the case."""
    return Finding(
        code,
        f"weights.{weights_format}",
        message,
        case.severity,
        RUNNERS[weights_format],
        remedy,
        because,
        package=contents.name,
        format=weights_format,
        case=case.name,
    )


def _differs(expected: NDArray[Any], actual: NDArray[Any]) -> bool:
    """bioimageio.core's rule, at its defaults."""
    if expected.shape != actual.shape or not np.isfinite(actual).all() or not expected.size:
        return True
    expected = expected.astype(np.float64)
    beyond = np.abs(actual - expected) > ABSOLUTE + RELATIVE * np.abs(expected)
    return bool(beyond.mean() > MISMATCHES)


def _shape_text(shape: Sequence[int | None]) -> str:
    return "×".join("any" if size is None else str(size) for size in shape)


def _unloadable(contents: Contents, weights_format: str, message: str) -> Finding:
    return Finding(
        Code.weights_unloadable,
        f"weights.{weights_format}",
        message,
        clients=RUNNERS[weights_format],
        remedy="convert again",
        package=contents.name,
        format=weights_format,
    )


def _note(
    contents: Contents, code: Code, where: str, message: str, weights_format: str = ""
) -> Finding:
    return Finding(
        code, where, message, Severity.note, package=contents.name, format=weights_format
    )
