"""Restore a large image tile by tile with an exported ONNX file.

python examples/03_restore.py WEIGHTS.onnx IMAGE.tif RESTORED.tif
"""

import sys
from pathlib import Path

from w2s_export.config import PercentileNormalisation
from w2s_export.convert.runtimes import OnnxRuntime
from w2s_export.data.images import read_image, write_imagej_tiff
from w2s_export.data.normalise import normalise
from w2s_export.restore.tiling import restore_tiled


def main(weights: Path, source: Path, target: Path) -> None:
    image = read_image(source)
    # Once for the whole image: tiles normalised one by one would differ in brightness.
    x = normalise(image.pixels[0], PercentileNormalisation(low=1, high=99.8))
    y = restore_tiled(OnnxRuntime(weights), x, scale=2, halo=16, tile=256)
    pixel = image.pixel_size_um[0] / 2 if image.pixel_size_um else None
    write_imagej_tiff(target, y[0] if len(y) == 1 else y, pixel)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
