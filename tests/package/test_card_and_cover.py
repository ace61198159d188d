from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from w2s_export.config import FixedRangeNormalisation, GeneratorConfig, Provenance
from w2s_export.package.card import write_card
from w2s_export.package.cover import draw_cover
from w2s_export.rdf.description import Description
from w2s_export.rdf.metadata import Metadata

from .conftest import TINY, Describe


def test_the_card_has_the_section_the_specification_looks_for(description: Description) -> None:
    card = write_card(description)
    assert re.search("#.*[vV]alidation", card)
    assert "$" not in card


def test_the_card_holds_the_measured_numbers(description: Description) -> None:
    card = write_card(description)
    assert "| ONNX Runtime 1.32.0 | sample | 1×96×128 | 1.5e-06 | 2.5e-07 | 131.2 |" in card
    assert "| TensorFlow 2.21.0 | sample | 1×96×128 | 0 | 0 | ∞ |" in card
    assert "6 input pixels of context" in card
    assert "12 output pixels" in card
    assert "| 3 | 0.001 |" in card
    assert "| PSNR bicubic (dB) | 26.5 |" in card


def test_the_card_holds_the_recordable_lines(description: Description) -> None:
    card = write_card(description)
    # DeepImageJ 2.1 unwraps brackets only around a blank. The tile is 48 + 2·6 by 64 + 2·6.
    assert (
        'run("DeepImageJ Run", "model=[tiny test model] format=Tensorflow '
        "preprocessing=preprocessing.ijm postprocessing=postprocessing.ijm axes=Y,X,C "
        'tile=60,76,1 logging=normal");' in card
    )
    assert (
        'run("DeepImageJ Run", "model_path=[/path/to/Fiji.app/models/tiny test model] '
        "input_path=[/path/to/image.tif] output_folder=[/path/to/results] "
        'display_output=null");' in card
    )


def test_a_tile_is_at_most_three_times_the_image(describe: Describe) -> None:
    wide = describe(TINY, shape=(64, 130), halo=31)
    assert "tile=126,192,1 " in write_card(wide)


def test_the_card_credits_data_and_papers(description: Description) -> None:
    card = write_card(description)
    assert "Data: Qiao & Li, BioSR, CC BY 4.0." in card
    assert "<https://doi.org/10.1038/s41592-020-01048-5>" in card
    assert "<https://doi.org/10.48550/arXiv.1809.00219>" in card
    assert "## Licence\n\nCC-BY-4.0" in card


def test_the_card_says_what_is_not_known(describe: Describe) -> None:
    card = write_card(describe(how=None, halo=0, pixel_size_um=None, provenance=Provenance()))
    assert "preprocessing=[no preprocessing] " in card
    assert "Tiles need no overlap." in card
    assert "## Licence\n\nNot stated." in card
    assert "None" not in card


def test_the_user_text_is_in_the_card(describe: Describe) -> None:
    given = Metadata(limitations="Only on Tuesdays.", notes="Costs $5.")
    card = write_card(describe(given=given, how=FixedRangeNormalisation(low=100, high=4000)))
    assert "Only on Tuesdays." in card
    assert "## Notes\n\nCosts $5." in card
    assert "`(x − 100) / (4000 − 100)`" in card


@pytest.mark.parametrize(
    "config",
    [TINY, TINY.model_copy(update={"in_nc": 3, "out_nc": 3}), TINY.model_copy(update={"scale": 4})],
)
@pytest.mark.parametrize("shape", [(16, 16), (48, 301), (300, 40)])
def test_covers_are_what_the_zoo_asks_for(
    describe: Describe, config: GeneratorConfig, shape: tuple[int, int]
) -> None:
    # Noise is the worst case for the file's size.
    description = describe(config, shape=shape, halo=2)
    data = draw_cover(description)
    cover = Image.open(io.BytesIO(data))
    assert cover.size == (1200, 600)
    assert cover.format == "PNG"
    assert len(data) < 500_000
    assert draw_cover(description) == data


def test_both_halves_show_the_same_place(describe: Describe) -> None:
    description = describe(shape=(60, 60), pixel_size_um=None)
    image = np.zeros((1, 60, 60), np.uint16)
    image[:, 10:20, 30:50] = 900
    enlarged = image.repeat(2, axis=1).repeat(2, axis=2).astype(np.float32)
    sample = replace(description.sample, image=image, restored=enlarged)
    cover = Image.open(io.BytesIO(draw_cover(replace(description, sample=sample)))).convert("L")
    grey = np.asarray(cover)
    # Row 15 of 60 is row 150 of 600; columns 30–50 are 300–500, and 900–1100 on the right.
    bright = np.flatnonzero(grey[150] > 128)
    left, right = bright[bright < 590], bright[bright > 610]
    assert (left.min(), left.max()) == (300, 499)
    assert right.min() == pytest.approx(900, abs=4)  # bicubic
    assert right.max() == pytest.approx(1099, abs=4)


def test_a_flat_image_still_gets_a_cover(describe: Describe) -> None:
    description = describe()
    sample = replace(description.sample, image=np.full((1, 48, 64), 7, np.uint8))
    assert draw_cover(replace(description, sample=sample))[:4] == b"\x89PNG"
