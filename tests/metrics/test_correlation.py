"""Correlation against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from w2s_export.metrics.scores import score


def test_it_is_scipys_and_zero_for_a_constant_image() -> None:
    rng = np.random.default_rng(0)
    target = rng.gamma(2.0, 10.0, (40, 32))
    restored = target + rng.normal(0, 5, target.shape)
    expected = pearsonr(restored.ravel(), target.ravel()).statistic
    assert score(restored, target)["correlation"] == pytest.approx(expected)
    assert score(np.ones_like(target), target)["correlation"] == 0
