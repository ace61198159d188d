from __future__ import annotations

import pytest

from w2s_export.package.archive import open_package
from w2s_export.rdf.reading import (
    AxisPlan,
    DescriptionError,
    FileReference,
    at,
    axes,
    axis_plans,
    example_files,
    file_references,
    release,
)


def test_at_walks_and_forgives():
    tree = {"a": [{"b": 1}]}
    assert at(tree, "a", 0, "b") == 1
    assert at(tree, "a", 1, "b") is None
    assert at(tree, "a", "b") is None
    assert at(tree, 0) is None


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("0.5.10", (0, 5, 10)), (0.5, (0, 5)), ("latest", ()), (None, ()), ("0.5.x", ())],
)
def test_release(stated, expected):
    assert release({"format_version": stated}) == expected


def space(name, **fields):
    return {"type": "space", "id": name, **fields}


def test_axes_of_05_follow_the_specification_and_jdll():
    size = {"tensor_id": "in", "axis_id": "x", "offset": 4}
    rdf = {
        "format_version": "0.5.10",
        "inputs": [
            {"id": "in", "axes": [space("x", scale=1.0, size={"min": 8, "step": 2})]},
        ],
        "outputs": [
            {
                "axes": [
                    {"type": "batch"},
                    space("x", scale=0.5, size=size, halo=6),
                    space("y", size=9),
                ]
            }
        ],
    }
    # the specification: 1.0 / 0.5 = twice the size; JDLL: times 0.5
    (plan,) = axis_plans(rdf)
    assert plan == AxisPlan("x", 8, 2, spec_factor=2, jdll_factor=0.5, offset=4, halo=6)
    assert plan.input_halo == 3


def test_axes_of_04():
    rdf = {
        "format_version": "0.4.10",
        "inputs": [{"name": "in", "axes": "bxyc", "shape": [1, 64, 32, 1]}],
        "outputs": [
            {
                "axes": "bcyx",
                "halo": [0, 0, 4, 8],
                "shape": {
                    "reference_tensor": "in",
                    "scale": [1, 1, 2, 4],
                    "offset": [0, 0, 0.5, 0],
                },
            }
        ],
    }
    # a fixed size has step 0; the format counts its offset on both sides
    assert axis_plans(rdf) == [
        AxisPlan("y", 32, 0, spec_factor=2, jdll_factor=2, offset=1, halo=4),
        AxisPlan("x", 64, 0, spec_factor=4, jdll_factor=4, offset=0, halo=8),
    ]


def test_text_for_a_number_is_refused():
    rdf = {
        "format_version": "0.5.10",
        "inputs": [{"id": "in", "axes": [space("x", size=8)]}],
        "outputs": [{"axes": [space("x", halo="wide", size={"tensor_id": "in", "axis_id": "x"})]}],
    }
    with pytest.raises(DescriptionError, match="'wide'"):
        axis_plans(rdf)


def test_both_packages_say_the_same(good):
    first, second = (
        open_package(path).rdf for path in (good.packages.bioimageio, good.packages.deepimagej)
    )
    halo, least = good.description.halo.halo, good.description.halo.minimum
    expected = [AxisPlan(name, least, 1, 2, 2, 0, 2 * halo) for name in "yx"]
    assert axis_plans(first) == axis_plans(second) == expected
    assert example_files(first) == example_files(second)
    assert axes(first["inputs"][0]) == axes(second["inputs"][0]) == "bcyx"


def test_every_named_file_is_listed():
    rdf = {
        "documentation": "README.md",
        "covers": ["cover.png", "https://example.org/cover.png"],
        "weights": {"onnx": {"source": "w.onnx", "sha256": "ab"}},
        "test_inputs": ["in.npy"],
        "attachments": {"files": ["a.ijm"]},
        "config": {"anything": {"source": "not a file"}},
    }
    assert set(file_references(rdf)) == {
        FileReference("documentation", "README.md", None),
        FileReference("covers[0]", "cover.png", None),
        FileReference("weights.onnx.source", "w.onnx", "ab"),
        FileReference("test_inputs[0]", "in.npy", None),
        FileReference("attachments.files[0]", "a.ijm", None),
    }
