"""What is drawn where, in the picture's own pixels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from w2s_export.evaluate.figure import Column, Row, draw_comparison, zoomed_regions
from w2s_export.metrics.scores import Scores


def detailed(shape: tuple[int, int], *places: tuple[int, int]) -> np.ndarray:
    """Faint noise, and strong detail in squares of 64 at the given places, the first strongest."""
    rng = np.random.default_rng(0)
    image = rng.normal(0, 0.1, shape)
    for strength, (y, x) in enumerate(reversed(places), start=1):
        image[y : y + 64, x : x + 64] += rng.normal(0, 10 + strength, (64, 64))
    return image


def test_regions_are_the_two_busiest_that_do_not_overlap() -> None:
    target = detailed((256, 320), (128, 192), (64, 16))
    assert zoomed_regions(target) == [(128, 192, 64), (64, 16, 64)]
    beside = detailed((256, 320), (128, 192), (144, 208))
    (y, x, _), (v, u, _) = zoomed_regions(beside)
    assert max(abs(y - v), abs(x - u)) >= 64
    assert zoomed_regions(detailed((70, 90), (0, 0))) == [(0, 0, 64)]
    assert zoomed_regions(detailed((20, 90)))[0][2] == 20


def row(scores: Scores | None) -> Row:
    target = detailed((256, 256), (0, 0), (128, 128))
    # Gain, offset and sign of a restored image do not matter.
    columns = (Column("inverted", 40 - 3 * target, scores), Column("target", target, None))
    return Row("name.tif", target, 0.05, columns)


def drawn(rows: list[Row]) -> np.ndarray:
    with Image.open(io.BytesIO(draw_comparison(rows))) as picture:
        return np.asarray(picture)


def test_panels_show_fitted_pixels_magnified() -> None:
    picture = drawn([row(None)])
    target = row(None).overview
    shown = np.clip(target, *np.percentile(target, [0.5, 99.8]))
    assert picture.shape[2] == 3
    # Two columns of 192 at the right edge, 6 pixels apart and from the edge; frames are 2 wide.
    left = picture.shape[1] - 6 - 192 - 6 - 192
    first, second = picture[:, left : left + 192], picture[:, left + 198 : left + 198 + 192]
    tops = np.flatnonzero((second[:, 96] == (230, 159, 0)).all(axis=1))
    top = int(tops[0])
    inner = slice(top + 3, top + 189)
    np.testing.assert_array_equal(first[inner, 3:189], second[inner, 3:189])
    grey = second[top : top + 192 : 3, ::3, 0].astype(float)  # every target pixel is 3 × 3
    inside = (slice(1, 63), slice(1, 63))
    assert np.corrcoef(grey[inside].ravel(), shown[inside].ravel())[0, 1] > 0.999


def test_scores_are_written_below_and_rows_stacked() -> None:
    scores = {"psnr_db": 31.25, "ssim": 0.875}
    with_scores, without = drawn([row(scores)]), drawn([row(None)])
    assert with_scores.shape == without.shape
    changed = np.flatnonzero((with_scores != without).any(axis=(1, 2)))
    assert changed.size
    assert changed.min() > 2 * 192  # under both panels
    assert drawn([row(scores), row(scores)]).shape[0] == 2 * with_scores.shape[0]
    for other in ({"psnr_db": 31.35, "ssim": 0.875}, {"psnr_db": 31.25, "ssim": 0.885}):
        assert (drawn([row(other)]) != with_scores).any()
