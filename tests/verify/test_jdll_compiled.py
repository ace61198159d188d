"""Our model of JDLL against the compiled JDLL: 541 descriptions and sizes, one thing varied each.

golden/jdll_answers.json says how its answers were made.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from w2s_export.rdf.whole_image import LARGEST_TILE
from w2s_export.verify.clients.jdll import JdllPlan, check_run, normalise_as_jdll, plan
from w2s_export.verify.clients.jdll_axes import Failure, JdllError, check_fields
from w2s_export.verify.clients.jdll_weights import weights_in_order

from .jdll_cases import Case, cases

RECORD = json.loads((Path(__file__).parent / "golden" / "jdll_answers.json").read_bytes())
RUNS = "runs"


def outcome(case: Case) -> str:
    rdf, shape = case
    try:
        weights_in_order(rdf)
        if math.prod(shape) > LARGEST_TILE:
            check_fields(rdf)
            plan(rdf, shape)
        elif math.prod(shape) < 4_000_000:  # larger images were planned alone
            check_run(rdf, shape)
    except JdllError as error:
        return error.failure.value
    return RUNS


def planned(tiles: JdllPlan) -> dict[str, Any]:
    """As golden/JdllJudge.java writes it."""
    return {
        "tiles": tiles.tiles,
        "input_tile": [axis.tile for axis in tiles.input],
        "input_positions": positions(tiles.input),
        "outputs": [
            {
                "image": [axis.size for axis in output],
                "tile": [axis.tile for axis in output],
                "roi": [axis.kept for axis in output],
                "positions": positions(output),
            }
            for output in tiles.outputs
        ],
    }


def positions(axes: Any) -> list[list[int]]:
    """Where the first six tiles begin."""
    counts = [axis.count for axis in axes]
    places = [np.unravel_index(n, counts) for n in range(min(6, math.prod(counts)))]
    return [
        [axis.start(int(i)) - axis.before for axis, i in zip(axes, place, strict=True)]
        for place in places
    ]


def test_every_case_was_asked():
    assert list(RECORD["answers"]) == list(cases())
    assert len(RECORD["answers"]) >= 500


def test_what_runs_what_throws_and_what_is_dropped():
    wrong = {
        name: (outcome(case), RECORD["answers"][name])
        for name, case in cases().items()
        if outcome(case) != RECORD["answers"][name]["outcome"]
    }
    assert wrong == {}


def test_the_order_of_the_weights():
    for name, (rdf, _) in cases().items():
        if keys := RECORD["answers"][name].get("weights"):
            assert [weights.key for weights in weights_in_order(rdf)] == keys, name


def test_the_tiles():
    for name, (rdf, shape) in cases().items():
        answer = RECORD["answers"][name]
        if answer["outcome"] == RUNS:
            made = planned(plan(rdf, shape))
            assert made == {key: answer[key] for key in made}, name


def test_the_pixels_after_preprocessing():
    """Pixel n of the image is 7919·n modulo 1009; four pixels, the mean and the mean square."""
    tried = 0
    for name, (rdf, shape) in cases().items():
        answer = RECORD["answers"][name]
        if answer["outcome"] == RUNS and "pre" in answer:
            counts = np.arange(math.prod(shape)) * 7919 % 1009
            values = normalise_as_jdll(counts.reshape(shape), rdf).astype(np.float64)
            some = [tuple(min(s - 1, q * (i + 1)) for i, s in enumerate(shape)) for q in range(4)]
            made = [*(values[place] for place in some), values.mean(), (values**2).mean()]
            seen = [*map(float, answer["pre"]), answer["pre_mean"], answer["pre_square"]]
            # sums of float32 in another order; eps makes 1e-6 of a deviation of 300
            np.testing.assert_allclose(made, seen, rtol=2e-5, atol=1e-5, err_msg=name)
            tried += 1
    assert tried > 250


def test_a_loop_without_end_is_not_run():
    assert {outcome(cases()[name]) for name in cases() if name.endswith(" 8000")} == {
        Failure.hangs.value
    }
