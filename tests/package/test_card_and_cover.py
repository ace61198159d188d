from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.imagej import imagej, needs_imagej
from w2s_export.config import FixedRangeNormalisation, GeneratorConfig, Provenance
from w2s_export.package.card import write_card
from w2s_export.package.cover import draw_cover
from w2s_export.rdf.description import Description
from w2s_export.rdf.metadata import Metadata
from w2s_export.rdf.whole_image import ClientDifference, whole_image_memory
from w2s_export.resources import asset
from w2s_export.runtime.precision import PrecisionError
from w2s_export.sources.load import load_network

from .conftest import TINY, Describe


def test_the_card_has_the_section_the_specification_looks_for(description: Description) -> None:
    card = write_card(description)
    assert re.search("#.*[vV]alidation", card)
    assert "$" not in card


def test_the_card_of_a_network_that_does_not_enlarge_says_so(describe: Describe) -> None:
    card = write_card(describe(TINY.model_copy(update={"scale": 1})))
    assert "1×" not in card.partition("## Training data")[0]
    assert "The output has just as many pixels" in card
    assert "1 out, 2× enlargement" in write_card(describe(TINY))


def test_the_card_holds_the_measured_numbers(description: Description) -> None:
    card = write_card(description)
    assert "| ONNX Runtime 1.32.0 | sample | 1×96×128 | 1.5e-06 | 2.5e-07 | 131.2 |" in card
    assert "| TensorFlow 2.21.0 | sample | 1×96×128 | 0 | 0 | ∞ |" in card
    assert "6 input pixels of context" in card
    assert "12 output pixels" in card
    assert "| 3 | 0.001 |" in card
    assert "| PSNR bicubic (dB) | 26.5 |" in card


@pytest.mark.parametrize(
    ("half", "said"),
    [
        (PrecisionError(1e-3, 5e-3), "gives the sample 60.0 dB from float32 (rms 1.0e-03, largest"),
        (PrecisionError(1e-2, 5e-2), "of the range), which it refuses."),
        (None, "**16 bits.** Not measured: "),
    ],
)
def test_the_card_states_the_error_of_16_bits(
    description: Description, half: PrecisionError | None, said: str
) -> None:
    card = write_card(replace(description, half=half))
    assert said in card
    assert ("refuses" in card) is (half is not None and half.rms == 1e-2)


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


def test_the_card_tells_what_the_real_deepimagej_3_does(description: Description) -> None:
    known = replace(description, in_deepimagej_3=ClientDifference(12, 3.7e-3, 0.16))
    card = write_card(known)
    for words in (
        "black image without an error",
        "Above 50.3 megapixels it hangs",
        "only the first Z of each T",
        "Results carry none",
        "Close the results",
        "`mycell_output.tif`",
        "up to 3.7e-03 of the output's range, and up to 1.6e-01 within 12 pixels of the border",
        "and takes percentiles by rank",
    ):
        assert words in card, words
    fixed = replace(
        description, network=replace(description.network, normalisation=FixedRangeNormalisation())
    )
    assert "by rank" not in write_card(fixed)


def test_memory_of_deepimagej_3_is_what_was_measured() -> None:
    # Peaks of ONNX Runtime 1.12.1 in DeepImageJ 3.1 with the default network, GB.
    network = load_network(asset("models/wf2sim-microtubules-s/weights.npz"))
    memory = whole_image_memory(network)
    for side, measured in ((512, 0.60), (1024, 2.14), (1536, 4.64), (2048, 8.47)):
        assert memory.gb(side**2) == pytest.approx(measured, rel=0.04)
    said = [memory.largest_image(size) for size in (8, 16, 32)]  # in the card and on the page
    assert said == ["3 megapixels", "7 megapixels", "15 megapixels"]
    assert memory.megapixels(1000) == pytest.approx(50.3, abs=0.05)


def test_a_card_without_a_saved_model_says_who_cannot_run_it(description: Description) -> None:
    onnx = replace(description, artifacts=(description.artifact("onnx"),))
    card = write_card(onnx)
    assert "these versions need a SavedModel" in card
    assert "format=Tensorflow" not in card


@needs_imagej
def test_the_line_for_the_pixel_size_works_in_imagej(
    description: Description, tmp_path: Path
) -> None:
    (line,) = re.findall(r"^selectImage.*$", write_card(description), re.M)
    driver = f"""
newImage("image.tif", "16-bit ramp", 20, 30, 1);
setVoxelSize(0.0626, 0.08, 1, "micron");
newImage("image_output.tif", "32-bit ramp", 40, 60, 1);
{line}
getVoxelSize(width, height, depth, unit);
print(getTitle() + "|" + d2s(width, 6) + "|" + d2s(height, 6) + "|" + unit);
run("Close All");
"""
    assert (
        imagej(tmp_path, driver, tmp_path).strip() == "image_output.tif|0.031300|0.040000|microns"
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


@pytest.mark.parametrize("pixel_size_um", [None, 0.065, 2.0])
def test_the_font_has_every_character_of_a_cover(
    describe: Describe, monkeypatch: pytest.MonkeyPatch, pixel_size_um: float | None
) -> None:
    written: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, place: tuple[float, float], words: str, **how: Any) -> None:
        written.append(words)
        draw(self, place, words, **how)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    draw_cover(describe(shape=(60, 60), pixel_size_um=pixel_size_um))
    font = ImageFont.load_default(30)
    absent = bytes(font.getmask("\uffff"))
    assert len(written) >= 2
    missing = {c for words in written for c in words if bytes(font.getmask(c)) == absent}
    assert missing == set()


def test_a_flat_image_still_gets_a_cover(describe: Describe) -> None:
    description = describe()
    sample = replace(description.sample, image=np.full((1, 48, 64), 7, np.uint8))
    assert draw_cover(replace(description, sample=sample))[:4] == b"\x89PNG"
