"""Rules by the model of JDLL as a whole: does it read the description, and run the test image?

They speak where no rule of one topic has: those say better what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from w2s_export.counting import counted
from w2s_export.errors import PackageError
from w2s_export.rdf.reading import at, listed
from w2s_export.verify.clients.jdll import check_run, plan
from w2s_export.verify.clients.jdll_axes import Failure, JdllError, read_model
from w2s_export.verify.clients.jdll_weights import weights_in_order
from w2s_export.verify.findings import Client, Code
from w2s_export.verify.rules.registry import JDLL, Fault, Subject, rule
from w2s_export.verify.rules.shapes import example_shape

_USUAL = 256
"""Pixels along an axis of an image, where a package holds no test image."""


@rule(
    "JDLL 0.6.1, ModelDescriptorFactory.getModelsAtLocalRepo: a description that throws while it "
    "is read (a cast, an index, a null) is passed over, and the model is not in the list.",
    Code.jdll_drops,
    JDLL,
    "write the field as the specification's examples do",
)
def _jdll_reads_the_description(subject: Subject) -> Iterator[Fault]:
    yield from _failures(subject, Failure.drops)


@rule(
    "JDLL 0.6.1, BioimageIoModelJava.run: TileCalculator and TileMaker plan the tiles, "
    "Processing.init finds a class and a setter for each step; each of them throws on what it does "
    "not know.",
    Code.jdll_throws,
    JDLL,
    "describe sizes and processing as JDLL knows them: docs/clients.md",
)
def _jdll_runs_the_test_image(subject: Subject) -> Iterator[Fault]:
    yield from _failures(subject, Failure.throws)


@rule(
    "JDLL 0.6.1, DLModelJava.runTiling: as many tiles are run as the input has; an output of more "
    "stays zero where none came, of fewer throws.",
    Code.jdll_incomplete,
    JDLL,
    "describe the size and the halo of the output as multiples of the input's",
)
def _jdll_fills_the_output(subject: Subject) -> Iterator[Fault]:
    if Client.deepimagej_3_1 in subject.refusing:
        return
    try:
        planned = plan(subject.rdf, _shape(subject))
    except PackageError:
        return
    for index, output in enumerate(planned.outputs):
        tiles = math.prod(axis.count for axis in output)
        if tiles != planned.tiles or not tiles:
            yield (
                f"outputs[{index}]",
                f"is cut into {counted(tiles, 'tile')}, the input into {planned.tiles}",
            )


def _failures(subject: Subject, failure: Failure) -> Iterator[Fault]:
    # Every rule of an older client or another format speaks of other reasons.
    if Client.deepimagej_3_1 in subject.refusing or at(subject.rdf, "type") != "model":
        return
    if not all(listed(subject.rdf, side) for side in ("inputs", "outputs")):
        return
    try:
        weights_in_order(subject.rdf)
        check_run(subject.rdf, _shape(subject))
    except JdllError as error:
        if error.failure is failure:
            yield subject.package.rdf_name, str(error).removeprefix("DeepImageJ 3.1 ")
    except PackageError:
        pass  # several inputs, or a test image of other axes: they have their own rules


def _shape(subject: Subject) -> tuple[int, ...]:
    """Of the test image, or of a usual image of the described input."""
    shape = example_shape(subject, "inputs")
    if shape:
        return shape
    return tuple(
        axis.minimum + axis.step * -(-_USUAL // axis.step) if axis.step > 0 else axis.minimum
        for axis in read_model(subject.rdf).input.axes
    )
