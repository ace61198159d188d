"""The Fiji macro of the examples, in ImageJ without Fiji.

DeepImageJ itself is not there: a command of its name stands in for it, which names its results by
ImageJ's own `getShortTitle`, as the real one does. What is tested is all of the macro, and the
words it gives to DeepImageJ; that the real one takes them is known from its source.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests import factories
from tests.imagej import JAR, QUICK, needs_imagej
from tests.inputs import checkpoint
from w2s_export.network import HaloMeasurement
from w2s_export.package.archive import write_packages
from w2s_export.rdf.description import Sample
from w2s_export.sources.load import load_network

pytestmark = [
    needs_imagej,
    pytest.mark.skipif(shutil.which("javac") is None, reason="needs a JDK"),
]

MACRO = Path(__file__).resolve().parents[1] / "examples" / "05_restore_folder.ijm"

# A macro in the plugins folder is a command; its options are those of the command. Each stand-in
# doubles the image by repeating pixels, and leaves it where its DeepImageJ would.
STAND_INS = {
    "3.1": """
options = call("ij.Macro.getOptions");
print("RUN " + options);
input = value("input_path=[");
if (indexOf(input, "silent") < 0) {
	open(input);
	name = call("Short_Title.ofCurrent");
	size = "width=" + 2 * getWidth() + " height=" + 2 * getHeight();
	run("Size...", size + " interpolation=None");
	run("32-bit");
	setVoxelSize(1, 1, 1, "pixel");
	saveAs("Tiff", value("output_folder=[") + "/" + name + "_output.tif");
	close();
}
function value(key) {
	rest = substring(options, indexOf(options, key) + lengthOf(key));
	return substring(rest, 0, indexOf(rest, "]"));
}
""",
    "2.1": """
print("RUN " + call("ij.Macro.getOptions"));
title = getTitle();
if (indexOf(title, "silent") < 0) {
	runMacro("MODEL/preprocessing.ijm");
	size = "width=" + 2 * getWidth() + " height=" + 2 * getHeight();
	run("Size...", size + " interpolation=None");
	setVoxelSize(1, 1, 1, "pixel");
	rename("tiny_output_" + replace(title, ".tif", ""));
	runMacro("MODEL/postprocessing.ijm");
}
""",
}

SHORT_TITLE = """
public class Short_Title {
  public static String ofCurrent() {
    return ij.IJ.getImage().getShortTitle();
  }
}
"""


@pytest.fixture(scope="module")
def short_title(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled class that asks ImageJ for the name of an image."""
    folder = tmp_path_factory.mktemp("java")
    (folder / "Short_Title.java").write_text(SHORT_TITLE)
    subprocess.run(["javac", "-cp", str(JAR), "Short_Title.java"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package, unzipped as its README says."""
    folder = tmp_path_factory.mktemp("model")
    pixels = np.arange(40 * 48, dtype=np.uint16).reshape(1, 40, 48)
    network = load_network(checkpoint(folder / "weights.npz"))
    description = factories.description(
        network,
        factories.any_artifacts(folder / "weights"),
        Sample(pixels, np.zeros((1, 80, 96), np.float32), 0.08, ""),
        name="tiny model",
        halo=HaloMeasurement(14, 29, 1e-4, ()),
    )
    packages = write_packages(description, folder)
    with zipfile.ZipFile(packages.deepimagej) as archive:
        archive.extractall(folder / "tiny model")  # ours
    return folder / "tiny model"


@pytest.fixture
def images(tmp_path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    made = {
        "a cell of 2.5 days": rng.integers(0, 60_000, (40, 48)).astype(np.uint16),
        "a": rng.integers(0, 255, (36, 47)).astype(np.uint8),
        "acell of 2.5 days": rng.integers(0, 255, (33, 30)).astype(np.uint8),
        "a cell_2": rng.integers(0, 255, (31, 53)).astype(np.uint8),
    }
    refused = {
        "stack": np.zeros((4, 40, 40), np.uint8),
        "small": np.zeros((40, 20), np.uint8),
        "silent": rng.integers(0, 255, (40, 40)).astype(np.uint8),
        "flat": np.full((40, 40), 7, np.uint16),
        "nan": np.where(np.eye(40) == 1, np.nan, rng.normal(0, 1, (40, 40))).astype(np.float32),
        "infinite": np.where(np.eye(40) == 1, np.inf, 0.5).astype(np.float32),
    }
    (tmp_path / "in").mkdir()
    for name, pixels in {**made, **refused}.items():
        tifffile.imwrite(
            tmp_path / "in" / f"{name}.tif",
            pixels,
            imagej=True,
            resolution=(12.5, 10),
            metadata={"unit": "micron", "axes": "TYX"[-pixels.ndim :]},
        )
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    return made


def restore_folder(
    version: str, model: Path, folder: Path, short_title: Path, argument: str | None = None
) -> str:
    (folder / "plugins").mkdir()
    stand_in = STAND_INS[version].replace("MODEL", str(model))
    (folder / "plugins" / "DeepImageJ_Run.ijm").write_text(stand_in)
    if argument is None:
        argument = f"{model}|{folder / 'in'}|{folder / 'out'}/|{version}"
    classes = f"{JAR}:{short_title}"
    command = [
        "xvfb-run",
        "-a",
        "java",
        *QUICK,
        f"-Dplugins.dir={folder}",
        "-cp",
        classes,
        "ij.ImageJ",
    ]
    done = subprocess.run(
        [*command, "-batch", str(MACRO), argument],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("version", STAND_INS)
def test_every_image_it_can_take_is_restored(
    version: str, model: Path, images: dict[str, np.ndarray], short_title: Path, tmp_path: Path
) -> None:
    # Left from another run: neither may it pass for a result nor be restored.
    (tmp_path / "out").mkdir()
    tifffile.imwrite(tmp_path / "out" / "silent_output.tif", np.zeros((80, 80), np.uint8))
    said = restore_folder(version, model, tmp_path, short_title).splitlines()

    assert f"4 images restored into {tmp_path / 'out'}" == said[-1]
    left_out = sorted(line for line in said if line.endswith(", left out"))
    reasons = (
        "flat.tif: is flat",
        "infinite.tif: has pixels that are not finite numbers",
        "nan.tif: has pixels that are not finite numbers",
        "silent.tif: DeepImageJ ",
        "small.tif: is smaller than 29 pixels",
        "stack.tif: has 4 planes",
    )
    for line, reason in zip(left_out, reasons, strict=True):
        assert line.startswith(reason)

    assert not (tmp_path / "out" / "restoring").exists()
    for name, pixels in images.items():
        expected = np.kron(pixels, np.ones((2, 2))).astype(np.float32)
        if version == "2.1":
            low, high = np.percentile(pixels, [1, 99.8])
            expected = (expected - low) / (high - low + 1e-6)
        with tifffile.TiffFile(tmp_path / "out" / f"{name}_output.tif") as result:
            np.testing.assert_allclose(result.asarray(), expected, atol=1e-6)
            tags = result.pages[0].tags
            resolution = [tags[axis].value for axis in ("XResolution", "YResolution")]
            assert [a / b for a, b in resolution] == pytest.approx([25, 20])  # half the pixel size


def test_the_words_for_deepimagej_are_those_of_the_packages_readme(
    model: Path, images: dict[str, np.ndarray], short_title: Path, tmp_path: Path
) -> None:
    recorded = re.findall(r'run\("DeepImageJ Run", "(.*)"\);', (model / "README.md").read_text())
    newest, older = recorded
    out = tmp_path / "out"
    said = restore_folder("3.1", model, tmp_path, short_title)
    for placeholder, value in (
        ("/path/to/Fiji.app/models/tiny model", model),
        ("/path/to/image.tif", tmp_path / "in" / "a cell of 2.5 days.tif"),
        ("/path/to/results", out / "restoring"),
    ):
        assert placeholder in newest
        newest = newest.replace(placeholder, str(value))
    assert f"RUN {newest} \n" in said

    (tmp_path / "2.1").mkdir()
    argument = f"{model}|{tmp_path / 'in'}|{out}|2.1"
    said = restore_folder("2.1", model, tmp_path / "2.1", short_title, argument)
    assert f"RUN {older} \n" in said  # `a cell of …` has the size of the sample


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("{model}|{images}|{images}/|3.1", "folder for the results other than"),
        ("{model}|{images}/none|{images}|3.1", "There is no folder"),
        ("{images}|{images}|{model}|2.1", "There is no rdf.yaml"),
        ("{model}|{images}|{model}|4", 'is 3.1 or 2.1, not "4"'),
        ("{model}|{images}", "Give MODEL FOLDER|IMAGES|RESULTS|VERSION"),
    ],
)
def test_what_it_cannot_do_is_said(
    argument: str, words: str, model: Path, short_title: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    argument = argument.format(model=model, images=tmp_path / "in")
    assert words in restore_folder("3.1", model, tmp_path, short_title, argument)
