"""One channel of a sample by its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from w2s_export.errors import ImageError
from w2s_export.package.sample import read_sample


def test_one_channel_or_colour_of_a_sample(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", pixels, photometric="rgb")
    with pytest.raises(ImageError, match=r"has 3 channels, the network takes 1.*--channel 0…2"):
        read_sample(tmp_path / "c.tif", 1)
    sample = read_sample(tmp_path / "c.tif", 1, channel=2)
    np.testing.assert_array_equal(sample.pixels[0], pixels[..., 2])
    with pytest.raises(ImageError, match=r"has channels 0…2, got --channel 3"):
        read_sample(tmp_path / "c.tif", 1, channel=3)
