"""The macros run in the real ImageJ, against numpy."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from tests.data.test_normalise import run_in_core
from tests.imagej import JAR, QUICK, imagej, needs_imagej
from w2s_export.config import (
    FixedMeanNormalisation,
    FixedRangeNormalisation,
    NoNormalisation,
    Normalisation,
    PercentileNormalisation,
    ZeroMeanNormalisation,
)
from w2s_export.data.normalise import processing_05
from w2s_export.package.macros import postprocessing_macro, preprocessing_macro

pytestmark = needs_imagej

# One job a line: macro|image|where to save the current image afterwards|part to select.
DRIVER = """
jobs = split(File.openAsString(getArgument()), "\\n");
for (j = 0; j < jobs.length; j++) {
	job = split(jobs[j], "|");
	open(job[1]);
	original = getImageID();
	if (job.length > 3)
		makeRectangle(2, 3, 5, 6);
	start = getTime();
	runMacro(job[0]);
	spent = getTime() - start;
	getMinAndMax(low, high);
	getVoxelSize(width, height, depth, unit);
	state = "" + nImages + "|" + bitDepth() + "|" + getTitle() + "|" + low + "|" + high
		+ "|" + d2s(width, 9) + "|" + d2s(height, 9) + "|" + unit + "|" + selectionType();
	saveAs("Tiff", job[2]);
	selectImage(original);
	print(state + "|" + selectionType() + "|" + spent);
	run("Select None");
	saveAs("Tiff", job[2] + ".original.tif");
	run("Close All");
}
"""


@dataclass(frozen=True)
class Outcome:
    """The current image after a macro, and what is around it."""

    pixels: NDArray[Any]
    original: NDArray[Any]
    windows: int
    bits: int
    title: str
    display: tuple[float, float]
    pixel_size: tuple[float, float]
    unit: str
    selected: bool
    original_selected: bool
    milliseconds: int


def run_all(
    folder: Path, macro: str | None, images: dict[str, NDArray[Any]], select: bool = False
) -> dict[str, Outcome]:
    """Run the macro on each image, in one ImageJ."""
    assert macro is not None
    (folder / "macro.ijm").write_text(macro)
    jobs = []
    for name, pixels in images.items():
        axes = {2: "YX", 3: "ZYX", 4: "ZCYX"}[pixels.ndim]
        tifffile.imwrite(
            folder / f"{name}.tif",
            pixels,
            imagej=True,
            resolution=(1 / 0.0626, 1 / 0.08),
            metadata={"unit": "micron", "axes": axes},
        )
        parts = [folder / "macro.ijm", folder / f"{name}.tif", folder / f"{name}.out.tif"]
        jobs.append("|".join(map(str, parts)) + ("|select" if select else ""))
    (folder / "jobs.txt").write_text("\n".join(jobs))
    lines = imagej(folder, DRIVER, folder / "jobs.txt").splitlines()
    assert len(lines) == len(images), lines
    outcomes = {}
    for name, line in zip(images, lines, strict=True):
        part = line.split("|")
        outcomes[name] = Outcome(
            pixels=tifffile.imread(folder / f"{name}.out.tif"),
            original=tifffile.imread(folder / f"{name}.out.tif.original.tif"),
            windows=int(part[0]),
            bits=int(part[1]),
            title=part[2],
            display=(float(part[3]), float(part[4])),
            pixel_size=(float(part[5]), float(part[6])),
            unit=part[7],
            selected=part[8] != "-1",
            original_selected=part[9] != "-1",
            milliseconds=int(part[10]),
        )
    return outcomes


def by_percentiles(image: NDArray[Any], how: PercentileNormalisation) -> NDArray[np.float64]:
    values = image.astype(np.float64)
    low, high = np.percentile(values, [how.low, how.high])
    return (values - low) / (high - low + 1e-6)


RNG = np.random.default_rng(5)
IMAGES: dict[str, NDArray[Any]] = {
    "uint8": RNG.integers(3, 250, (37, 53)).astype(np.uint8),
    "uint16": RNG.integers(100, 60_000, (41, 64)).astype(np.uint16),
    "float32": RNG.normal(-3, 400, (53, 37)).astype(np.float32),
    "tiny values": RNG.normal(0, 1e-3, (31, 31)).astype(np.float32),
    "counts": RNG.poisson(4, (33, 65)).astype(np.uint16),
    "stack": np.stack([RNG.integers(0, n, (19, 23)) for n in (90, 900, 9000)]).astype(np.uint16),
    "float stack": RNG.normal(10, 5, (2, 21, 17)).astype(np.float32),
    "one row": RNG.integers(0, 99, (1, 17)).astype(np.uint8),
}


def test_percentiles_are_numpys(tmp_path: Path) -> None:
    how = PercentileNormalisation(low=0.1, high=99.9)
    for name, outcome in run_all(tmp_path, preprocessing_macro(how, 1), IMAGES).items():
        image = IMAGES[name]
        planes = image if image.ndim == 3 else image[np.newaxis]
        expected = np.stack([by_percentiles(plane, how) for plane in planes]).reshape(image.shape)
        # Two float32 roundings: 1.2e-7 measured. A 256-bin histogram is 2e-3 off.
        assert np.abs(outcome.pixels - expected).max() <= 1e-6, name
        assert (outcome.bits, outcome.pixels.dtype) == (32, np.float32)
        assert outcome.display == (0, 1)
        assert outcome.windows == 2, name  # the original and the result
        assert outcome.title == f"{name}.tif"  # DeepImageJ names its output after it
        np.testing.assert_array_equal(outcome.original, image)
        assert outcome.pixel_size == pytest.approx((0.0626, 0.08))


def test_other_percentiles(tmp_path: Path) -> None:
    how = PercentileNormalisation(low=2, high=99.87)
    images = {name: IMAGES[name] for name in ("uint16", "float32", "tiny values")}
    for name, outcome in run_all(tmp_path, preprocessing_macro(how, 1), images).items():
        expected = by_percentiles(images[name], how)
        assert np.abs(outcome.pixels - expected).max() <= 1e-6, name


def test_channels_are_normalised_together(tmp_path: Path) -> None:
    how = PercentileNormalisation()
    scale = np.array([100, 1000, 5000]).reshape(3, 1, 1)
    colour = RNG.integers(1, scale, (2, 3, 29, 31)).astype(np.uint16)
    floats = RNG.normal(0, scale, (1, 3, 17, 19)).astype(np.float32)
    images = {"colour": colour, "floats": floats}
    for name, outcome in run_all(tmp_path, preprocessing_macro(how, 3), images).items():
        expected = np.stack([by_percentiles(plane, how) for plane in images[name]])
        assert np.abs(outcome.pixels - expected.squeeze()).max() <= 1e-6, name


def test_fixed_range(tmp_path: Path) -> None:
    how = FixedRangeNormalisation(low=100.5, high=4195)
    for name, outcome in run_all(tmp_path, preprocessing_macro(how, 1), IMAGES).items():
        expected = (IMAGES[name].astype(np.float64) - 100.5) / (4195 - 100.5)
        assert np.abs(outcome.pixels - expected).max() <= 1e-5, name  # 15 in float32: 1e-6
        assert (outcome.bits, outcome.windows, outcome.title) == (32, 2, f"{name}.tif")
        np.testing.assert_array_equal(outcome.original, IMAGES[name])


def test_zero_mean_and_cut(tmp_path: Path) -> None:
    how = ZeroMeanNormalisation(clip=(-1.25, 1.5))
    for name, outcome in run_all(tmp_path, preprocessing_macro(how, 1), IMAGES).items():
        image = IMAGES[name].astype(np.float64)
        planes = image if image.ndim == 3 else image[np.newaxis]
        expected = [((p - p.mean()) / (p.std() + 1e-6)).clip(-1.25, 1.5) for p in planes]
        assert np.abs(outcome.pixels - np.stack(expected).reshape(image.shape)).max() <= 2e-6, name
        assert (outcome.bits, outcome.windows, outcome.title) == (32, 2, f"{name}.tif")
        np.testing.assert_array_equal(outcome.original, IMAGES[name])


def test_fixed_mean_and_bare_cut(tmp_path: Path) -> None:
    images = {name: IMAGES[name] for name in ("uint16", "float32")}
    for how, expect in (
        (FixedMeanNormalisation(mean=310.5, std=97), lambda x: (x - 310.5) / 97),
        (NoNormalisation(clip=(-7, 255)), lambda x: x.clip(-7, 255)),
    ):
        for name, outcome in run_all(tmp_path, preprocessing_macro(how, 1), images).items():
            expected = expect(images[name].astype(np.float64))
            assert np.abs(outcome.pixels - expected).max() <= 1e-6 * np.abs(expected).max(), name
    assert preprocessing_macro(NoNormalisation(), 1) is None


@pytest.mark.parametrize(
    "how",
    [
        PercentileNormalisation(low=1, high=99.8),
        PercentileNormalisation(low=2, high=99, clip=(0, 1)),
        FixedRangeNormalisation(low=100.5, high=4195),
        FixedMeanNormalisation(mean=310.5, std=97),
        ZeroMeanNormalisation(clip=(-1.25, 1.5)),
    ],
    ids=str,
)
def test_imagej_and_core_make_the_same_of_an_image(tmp_path: Path, how: Normalisation) -> None:
    """The macro in ImageJ against the steps of the rdf in bioimageio.core: two foreign programs."""
    images = {name: IMAGES[name] for name in ("uint8", "uint16", "float32")}
    for name, outcome in run_all(tmp_path, preprocessing_macro(how, 1), images).items():
        expected = run_in_core(processing_05(how), images[name][np.newaxis])[0]
        assert np.ptp(expected) > 0.05  # no flat image: 8 bits are little of the fixed range
        # Both in float32: 3e-7 of the largest value measured.
        allowed = 2e-6 * max(1.0, float(np.abs(expected).max()))
        assert np.abs(outcome.pixels - expected).max() <= allowed, name


@pytest.mark.parametrize(
    "how",
    [PercentileNormalisation(), FixedRangeNormalisation(), ZeroMeanNormalisation()],
    ids=["percentile", "fixed", "zero mean"],
)
def test_a_selection_neither_crops_nor_gets_lost(tmp_path: Path, how: Normalisation) -> None:
    images = {"uint8": IMAGES["uint8"]}
    outcome = run_all(tmp_path, preprocessing_macro(how, 1), images, select=True)["uint8"]
    assert outcome.pixels.shape == images["uint8"].shape
    assert not outcome.selected
    assert outcome.original_selected


def test_a_megapixel_takes_seconds(tmp_path: Path) -> None:
    images: dict[str, NDArray[Any]] = {
        "warm": IMAGES["float32"],
        "float32": RNG.normal(0, 1, (1024, 1024)).astype(np.float32),
        "uint16": RNG.integers(0, 65536, (1024, 1024)).astype(np.uint16),
    }
    outcomes = run_all(tmp_path, preprocessing_macro(PercentileNormalisation(), 1), images)
    # 2.0 s and 0.9 s measured on two busy cores.
    assert outcomes["float32"].milliseconds < 15_000
    assert outcomes["uint16"].milliseconds < 10_000


@pytest.mark.parametrize(
    ("fault", "channels", "words"),
    [
        ("rgb", 1, "the image is RGB"),
        ("flat", 1, "The image is flat"),
        ("grey", 3, "takes 3 channels, the image has 1"),
    ],
)
def test_what_cannot_be_normalised_is_refused(
    tmp_path: Path, fault: str, channels: int, words: str
) -> None:
    image = {
        "rgb": RNG.integers(0, 255, (20, 20, 3)).astype(np.uint8),
        "flat": np.full((20, 20), 7, np.uint16),
        "grey": IMAGES["uint8"],
    }[fault]
    tifffile.imwrite(
        tmp_path / "image.tif", image, photometric="rgb" if fault == "rgb" else "minisblack"
    )
    macro = preprocessing_macro(PercentileNormalisation(), channels)
    said = imagej(tmp_path, "open(getArgument());\n" + macro, tmp_path / "image.tif")
    assert words in said


MEANINGLESS = ("nan", "infinite", "flat", "flat counts", "one pixel")
"""Images that a normalisation by the image itself refuses; a fixed one refuses the first two."""


@pytest.mark.parametrize(
    ("how", "refused"),
    [
        (PercentileNormalisation(), MEANINGLESS),
        (ZeroMeanNormalisation(), MEANINGLESS),
        (FixedRangeNormalisation(low=0, high=2), MEANINGLESS[:2]),
        (NoNormalisation(clip=(0, 1)), MEANINGLESS[:2]),
    ],
    ids=["percentile", "zero mean", "fixed", "clip"],
)
def test_images_without_meaning_are_refused_by_what_they_are(
    tmp_path: Path, how: Normalisation, refused: tuple[str, ...]
) -> None:
    nan, infinite = (RNG.normal(0, 1, (20, 24)).astype(np.float32) for _ in range(2))
    nan[3, 4], infinite[3, 4] = np.nan, np.inf
    faults = {
        "nan": (nan, "not finite"),
        "infinite": (infinite, "not finite"),
        "flat": (np.full((20, 24), 0.1, np.float32), "The image is flat"),
        "flat counts": (np.full((20, 24), 7, np.uint16), "The image is flat"),
        "one pixel": (np.ones((1, 1), np.uint8), "one pixel"),
    }
    (tmp_path / "macro.ijm").write_text(str(preprocessing_macro(how, 1)))
    driver = ""
    for name, (image, _) in faults.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
        driver += (
            f'open("{tmp_path}/{name}.tif");\nresult = runMacro("{tmp_path}/macro.ijm");\n'
            'print("result " + result + ", open " + nImages);\nrun("Close All");\n'
        )
    said = re.findall(r"(.*?)^result (\S+), open (\d)$", imagej(tmp_path, driver, ""), re.M | re.S)
    for (name, (_, words)), (told, result, windows) in zip(faults.items(), said, strict=True):
        # ImageJ's answer to a macro that ended itself; the user's image stays, the copy does not.
        assert (words in told) == (name in refused), name
        expected = ("[aborted]", "1") if name in refused else ("0", "2")
        assert (result, windows) == expected, name


def test_an_rgb_image_becomes_three_channels(tmp_path: Path) -> None:
    image = RNG.integers(0, 255, (20, 24, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="rgb")
    how = PercentileNormalisation()
    driver = "open(getArgument());\n" + preprocessing_macro(how, 3).replace(
        "rename(title);", f'saveAs("Tiff", "{tmp_path}/o.tif");'
    )
    imagej(tmp_path, driver, tmp_path / "image.tif")
    expected = by_percentiles(image.transpose(2, 0, 1), how)
    assert np.abs(tifffile.imread(tmp_path / "o.tif") - expected).max() <= 1e-6


def test_signed_16_bit_images_keep_their_sign(tmp_path: Path) -> None:
    # ImageJ stores them unsigned with a calibration, which its raw histogram ignores.
    image = RNG.integers(-3000, 3000, (27, 29)).astype(np.int16)
    tifffile.imwrite(tmp_path / "image.tif", image)
    how = PercentileNormalisation()
    macro = preprocessing_macro(how, 1) + f'\nsaveAs("Tiff", "{tmp_path}/out.tif");'
    imagej(tmp_path, "open(getArgument());\n" + macro, tmp_path / "image.tif")
    normalised = tifffile.imread(tmp_path / "out.tif")
    assert np.abs(normalised - by_percentiles(image, how)).max() <= 1e-6


def test_the_result_gets_its_pixel_size_and_a_display_range(tmp_path: Path) -> None:
    images: dict[str, NDArray[Any]] = {
        "plane": RNG.normal(0.4, 0.1, (40, 50)).astype(np.float32),
        "stack": RNG.normal(0.4, 0.1, (2, 40, 50)).astype(np.float32),
    }
    for name, outcome in run_all(tmp_path, postprocessing_macro(2), images).items():
        assert outcome.pixel_size == pytest.approx((0.0313, 0.04))
        assert outcome.unit == "microns"
        assert outcome.windows == 1
        np.testing.assert_array_equal(outcome.pixels, images[name])
        low, high = outcome.display
        first = images[name].reshape(-1, 40, 50)[0]
        assert np.quantile(first, 0) <= low <= np.quantile(first, 0.05)
        assert np.quantile(first, 0.95) <= high <= np.quantile(first, 1)


def test_a_result_without_pixel_size_takes_it_from_its_source(tmp_path: Path) -> None:
    # As DeepImageJ 2.1 leaves it: MODEL_output_IMAGE, uncalibrated, the source beside it.
    (tmp_path / "post.ijm").write_text(postprocessing_macro(2))
    driver = f"""
newImage("field", "16-bit ramp", 20, 30, 1);
rename("field.tif");
setVoxelSize(0.0626, 0.08, 1, "micron");
newImage("other", "16-bit ramp", 20, 30, 1);
setVoxelSize(7, 7, 1, "micron");
newImage("model_output_field", "32-bit ramp", 40, 60, 1);
runMacro("{tmp_path}/post.ijm");
getVoxelSize(width, height, depth, unit);
print(getTitle() + "|" + d2s(width, 6) + "|" + d2s(height, 6) + "|" + unit + "|" + nImages);
newImage("model_output_nowhere", "32-bit ramp", 40, 60, 1);
runMacro("{tmp_path}/post.ijm");
getVoxelSize(width, height, depth, unit);
print(getTitle() + "|" + width + "|" + startsWith(unit, "pixel") + "|" + nImages);
selectImage("field.tif");
getVoxelSize(width, height, depth, unit);
print(d2s(width, 4));
run("Close All");
"""
    assert imagej(tmp_path, driver, tmp_path).splitlines() == [
        "model_output_field|0.031300|0.040000|microns|3",
        "model_output_nowhere|1|1|4",
        "0.0626",
    ]


# DeepImageJ 2.1.16, ProcessingBridge.runProcessingMacro: the image has no window, is the current
# one by name only, and whatever is current afterwards is the network's input.
HARNESS = """
import ij.*;
public class Harness {
  public static void main(String[] args) throws Exception {
    new ImageJ(ImageJ.NO_SHOW);
    ImagePlus input = IJ.openImage(args[1]);
    input.show();
    input.getWindow().dispose();
    WindowManager.setTempCurrentImage(input);
    String aborted = IJ.runMacroFile(args[0]);
    ImagePlus result = WindowManager.getCurrentImage();
    if (result.isVisible()) result.getWindow().dispose();
    System.out.println(aborted + "|" + (result != input) + "|" + result.getTitle());
    IJ.saveAsTiff(result, args[2]);
    System.exit(0);
  }
}
"""


@pytest.mark.skipif(shutil.which("javac") is None, reason="needs a JDK")
def test_deepimagej_takes_the_normalised_copy(tmp_path: Path) -> None:
    how = PercentileNormalisation()
    (tmp_path / "Harness.java").write_text(HARNESS)
    (tmp_path / "pre.ijm").write_text(preprocessing_macro(how, 1))
    tifffile.imwrite(tmp_path / "field.tif", IMAGES["uint16"], imagej=True)
    command = ["xvfb-run", "-a", "java", *QUICK, "-cp", str(JAR), "Harness.java"]
    done = subprocess.run(
        [*command, "pre.ijm", "field.tif", "out.tif"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.splitlines() == ["null|true|field.tif"], done.stderr
    expected = by_percentiles(IMAGES["uint16"], how)
    assert np.abs(tifffile.imread(tmp_path / "out.tif") - expected).max() <= 1e-6
