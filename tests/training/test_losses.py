"""Pixel losses by hand."""

import numpy as np
import pytest

from w2s_export.losses import pixel_loss


def test_l1_and_l2_by_hand() -> None:
    target = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32).reshape(1, 2, 2, 1)
    output = np.array([[1.0, 1.0], [0.0, 6.0]], np.float32).reshape(1, 2, 2, 1)
    assert float(pixel_loss(target, output, "l1")) == pytest.approx((1 + 0 + 2 + 3) / 4)
    assert float(pixel_loss(target, output, "l2")) == pytest.approx((1 + 0 + 4 + 9) / 4)
    with pytest.raises(ValueError, match="unknown pixel loss 'l3'"):
        pixel_loss(target, output, "l3")
