"""Our processing against bioimageio.core's own, step by step, format by format, type by type."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from w2s_export.errors import PackageError
from w2s_export.verify.clients.core_processing import postprocess, preprocess

pytest.importorskip("bioimageio.core")

TYPES = ["float32", "float64", "uint8", "int16", "uint16", "int32"]
IDS_05 = ["batch", "channel", "y", "x"]
CHANNELS = 3

CHANNEL = {"axis": st.just("channel")}

numbers = st.sampled_from([-2.0, 0.0, 0.5, 3.0, 100.0])
triples = st.lists(numbers, min_size=CHANNELS, max_size=CHANNELS)
some_axes_05 = st.lists(st.sampled_from(IDS_05), min_size=1, max_size=4, unique=True)
some_axes_04 = st.sampled_from(["cyx", "yx", "c", "xy"])
percentiles = {
    "min_percentile": st.sampled_from([0.0, 1, 25.5]),
    "max_percentile": st.sampled_from([100, 99.8, 60]),
}
positive = st.sampled_from([0.5, 3.0, 100.0])


def step(key: str, name: str, required: dict[str, Any], optional: dict[str, Any] | None = None):
    kwargs = st.fixed_dictionaries(required, optional=optional or {})
    return kwargs.map(lambda made: {key: name, "kwargs": made})


def steps_05(reference: str):
    eps = {"eps": st.sampled_from([1e-6, 0.01])}
    axes = {"axes": st.none() | some_axes_05}
    yield step("id", "ensure_dtype", {"dtype": st.sampled_from([*TYPES, "bool", "int64"])})
    yield step("id", "binarize", {"threshold": numbers})
    yield step("id", "binarize", {"threshold": triples, **CHANNEL})
    yield step("id", "clip", {"min": st.just(-1.0)}, {"max": positive})
    yield step("id", "clip", {"max": numbers}, {"min_percentile": st.sampled_from([1.0, 30])})
    yield step("id", "clip", {**percentiles}, axes)
    yield step("id", "scale_linear", {"gain": numbers, "offset": numbers})
    yield step("id", "scale_linear", {"gain": triples, "offset": triples, **CHANNEL})
    yield step("id", "scale_linear", {"gain": triples, **CHANNEL})
    yield st.just({"id": "sigmoid"})
    yield step("id", "softmax", {}, {"axis": st.sampled_from(["channel", "x"])})
    yield step("id", "scale_range", {}, {**percentiles, **eps, **axes})
    yield step("id", "zero_mean_unit_variance", {}, {**eps, **axes})
    yield step("id", "fixed_zero_mean_unit_variance", {"mean": numbers, "std": positive})
    many = st.lists(positive, min_size=CHANNELS, max_size=CHANNELS)
    along = {"mean": triples, "std": many, **CHANNEL}
    yield step("id", "fixed_zero_mean_unit_variance", along)
    if reference:
        of_input = {"reference_tensor": st.just(reference)}
        yield step("id", "scale_range", of_input, {**percentiles, **axes})
        yield step("id", "scale_mean_variance", of_input, {**eps, **axes})


def steps_04(reference: str):
    eps = {"eps": st.sampled_from([1e-6, 0.01])}
    per = {"mode": st.sampled_from(["per_sample", "per_dataset"]), "axes": some_axes_04}
    yield step("name", "binarize", {"threshold": numbers})
    yield step("name", "clip", {"min": st.just(-1.0), "max": positive})
    yield step("name", "scale_linear", {"gain": numbers, "offset": st.sampled_from([0.5, 3.0])})
    yield step("name", "scale_linear", {"gain": st.just([2.0]), "offset": st.just([1.0])})
    yield step("name", "scale_linear", {"gain": triples, "offset": triples, "axes": st.just("yx")})
    yield st.just({"name": "sigmoid"})
    yield step("name", "scale_range", per, {**percentiles, **eps})
    yield step("name", "zero_mean_unit_variance", per, eps)
    fixed = {"axes": some_axes_04, "mean": numbers, "std": positive}
    yield step("name", "zero_mean_unit_variance", fixed, {"mode": st.just("fixed")})
    many = st.lists(positive, min_size=CHANNELS, max_size=CHANNELS)
    yield step(
        "name", "zero_mean_unit_variance", {"axes": st.just("yx"), "mean": triples, "std": many}
    )
    if reference:
        yield step("name", "scale_range", per | {"reference_tensor": st.just(reference)})
        yield step("name", "scale_mean_variance", per | {"reference_tensor": st.just(reference)})


def tensor(version: str, side: str, dtype: str, steps: list[Any]) -> dict[str, Any]:
    name, key = ("raw", "preprocessing") if side == "inputs" else ("out", "postprocessing")
    if version == "0.4":
        shape = [1, CHANNELS, 5, 7]
        common = {
            "name": name,
            "axes": "bcyx",
            "data_type": dtype,
            "shape": shape,
            "description": "a",
        }
        return {**common, key: steps}
    channels = [f"c{i}" for i in range(CHANNELS)]
    axes = [
        {"type": "batch"},
        {"type": "channel", "channel_names": channels},
        {"type": "space", "id": "y", "size": 5},
        {"type": "space", "id": "x", "size": 7},
    ]
    file = {"source": "test.npy"}
    return {"id": name, "axes": axes, "data": {"type": dtype}, "test_tensor": file, key: steps}


def by_core(
    version: str, described: dict[str, Any], side: str, image: Any, given_image: Any
) -> Any:
    """What bioimageio.core makes of it, or None where it fails."""
    from bioimageio.core.proc_setup import get_pre_and_postprocessing
    from bioimageio.core.sample import Sample
    from bioimageio.core.tensor import Tensor
    from bioimageio.spec import ValidationContext
    from bioimageio.spec.model import v0_4, v0_5

    spec = v0_4 if version == "0.4" else v0_5
    plain = tensor(version, "inputs", "float32", [])
    with ValidationContext(perform_io_checks=False):
        source = spec.InputTensorDescr.model_validate(described if side == "inputs" else plain)
        outputs = [spec.OutputTensorDescr.model_validate(described)] if side == "outputs" else []
    try:
        processing = get_pre_and_postprocessing(
            SimpleNamespace(inputs=[source], outputs=outputs), dataset_for_initial_statistics=[]
        )
        sample = Sample({"raw": Tensor(given_image, IDS_05)}, stat={}, id=None)
        processing.pre(sample)
        if side == "inputs":
            return sample.members["raw"].data.to_numpy()
        result = Sample({"out": Tensor(image, IDS_05)}, stat=sample.stat, id=None)
        processing.post(result)
        return result.members["out"].data.to_numpy()
    except Exception:
        return None


def by_us(described: dict[str, Any], side: str, image: Any, given_image: Any) -> Any:
    try:
        if side == "inputs":
            return preprocess(image, described)
        return postprocess(image, described, {"raw": given_image})
    except PackageError:
        return None


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_core_is_really_asked(version, side):
    key = "name" if version == "0.4" else "id"
    step = {key: "clip", "kwargs": {"min": 2.0, "max": 3.0}}
    image = np.ones((1, CHANNELS, 5, 7), np.uint8)
    described = tensor(version, side, "float32", [step])
    assert (by_core(version, described, side, image, image) == 2).all()


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_each_step_gives_what_core_gives(data):
    version = data.draw(st.sampled_from(["0.4", "0.5"]), "format")
    side = data.draw(st.sampled_from(["inputs", "outputs"]), "side")
    known = (steps_04 if version == "0.4" else steps_05)("raw" if side == "outputs" else "")
    kinds = list(known)
    steps = data.draw(st.lists(st.one_of(kinds), max_size=2), "steps")
    dtype = data.draw(st.sampled_from(TYPES), "described type")
    held = data.draw(st.sampled_from(TYPES), "type of the file")
    seed = data.draw(st.integers(0, 9))
    random = np.random.default_rng(seed)
    batch = data.draw(st.integers(1, 2), "batch")
    image = (random.random((batch, CHANNELS, 5, 7)) * 120).astype(held)
    given_image = (random.random((batch, CHANNELS, 5, 7)) * 200).astype(held)
    described = tensor(version, side, dtype, steps)
    try:
        theirs = by_core(
            version, described, side, image, image if side == "inputs" else given_image
        )
    except ValueError:  # bioimageio.spec refuses the description before core sees it
        return
    ours = by_us(described, side, image, given_image)
    assert (ours is None) == (theirs is None), (ours, theirs)
    if ours is not None:
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(
            ours.astype(np.float64), theirs.astype(np.float64), rtol=1e-4, atol=1e-4
        )
