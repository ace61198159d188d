"""What DeepImageJ does with an image, by the real parts: its macros in ImageJ, its runtime.

DeepImageJ 2.1 and 3.0 normalise with the package's macro, run the SavedModel in TensorFlow 1.15 and
calibrate the result with the other macro. The same image through the ONNX file shows that nothing
hangs on the format, and through bioimageio.core that both tools restore alike.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.clients.conftest import Exported
from tests.clients.environments import (
    NEWEST,
    ONNX_1_12,
    TENSORFLOW_1_15,
    Environment,
    needs_environments,
)
from tests.clients.running import ONNX, PIPELINE, SAVED_MODEL, Arrays, largest_difference, run
from tests.clients.test_clients import AT_HAND
from tests.imagej import imagej, needs_imagej
from w2s_export.rdf.description import POSTPROCESSING, PREPROCESSING, SAMPLE_INPUT

pytestmark = [needs_environments, needs_imagej]

# Measured: 5e-7 of the range. A 256-bin percentile is 2e-3 off.
TOLERANCE = 1e-5

PIXEL_SIZE = 0.08  # of the made images, µm

BEFORE = """
names = split(File.openAsString(getArgument()), "\\n");
for (i = 0; i < names.length; i++) {
	open(names[i] + ".tif");
	runMacro("PREPROCESSING");
	saveAs("Tiff", names[i] + ".normalised.tif");
	run("Close All");
}
"""

# As DeepImageJ 2.1 leaves it: the source, and beside it MODEL_output_IMAGE without a pixel size.
AFTER = """
names = split(File.openAsString(getArgument()), "\\n");
for (i = 0; i < names.length; i++) {
	open(names[i] + ".tif");
	source = getTitle();
	open(names[i] + ".restored.tif");
	rename("model_output_" + replace(source, ".tif", ""));
	runMacro("POSTPROCESSING");
	getVoxelSize(width, height, depth, unit);
	getMinAndMax(low, high);
	print(source + "|" + nImages + "|" + bitDepth() + "|" + d2s(width, 6) + "|" + d2s(height, 6)
		+ "|" + unit + "|" + (high > low));
	saveAs("Tiff", names[i] + ".final.tif");
	run("Close All");
}
"""


class Chain:
    """A package unzipped, images, and the stages of the chain over them."""

    def __init__(self, package: Path, folder: Path) -> None:
        self.folder = folder
        with zipfile.ZipFile(package) as archive:
            archive.extractall(folder)  # ours
        rng = np.random.default_rng(21)
        self.images = {
            "bits8": rng.gamma(2, 20, (31, 45)).clip(0, 255).astype(np.uint8),
            "bits16": rng.gamma(2, 900, (67, 33)).astype(np.uint16),
            "bits32": rng.normal(-3, 40, (50, 29)).astype(np.float32),
        }
        for name, image in self.images.items():
            tifffile.imwrite(
                folder / f"{name}.tif",
                image,
                imagej=True,
                resolution=(1 / PIXEL_SIZE, 1 / PIXEL_SIZE),
                metadata={"unit": "micron", "axes": "YX"},
            )
        sample = Path(SAMPLE_INPUT).stem
        self.images[sample] = tifffile.imread(folder / SAMPLE_INPUT).squeeze()
        self.jobs = folder / "names.txt"
        self.jobs.write_text("\n".join(str(folder / name) for name in self.images))
        imagej(folder, BEFORE.replace("PREPROCESSING", str(folder / PREPROCESSING)), self.jobs)
        self.inputs = folder / "inputs.npz"
        np.savez(self.inputs, **{n: self.read(n, "normalised")[None, None] for n in self.images})

    def read(self, name: str, stage: str) -> np.ndarray:
        return tifffile.imread(self.folder / f"{name}.{stage}.tif")

    def finish(self, restored: Arrays) -> dict[str, str]:
        """Post-process; what ImageJ says of each result."""
        for name, batch in restored.items():
            tifffile.imwrite(self.folder / f"{name}.restored.tif", batch[0, 0], imagej=True)
        macro = AFTER.replace("POSTPROCESSING", str(self.folder / POSTPROCESSING))
        lines = imagej(self.folder, macro, self.jobs).splitlines()
        return dict(line.split(".tif|", 1) for line in lines)

    def final(self) -> Arrays:
        return {name: self.read(name, "final") for name in self.images}


@pytest.fixture(scope="module")
def chain(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return Chain(exported.packages[1], tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def core(chain: Chain, exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    """bioimageio.core's restorations of the images as detected."""
    folder = tmp_path_factory.mktemp("core")
    raw = {name: image[None, None].astype(np.float32) for name, image in chain.images.items()}
    np.savez(folder / "raw.npz", **raw)
    job = [exported.packages[1], "onnx", folder / "raw.npz"]
    (results,) = run(NEWEST, f"bioimageio.core {AT_HAND}", PIPELINE, [job], folder)
    return {name: batch[0, 0] for name, batch in results.items()}


@pytest.mark.parametrize(
    ("environment", "script"),
    [(TENSORFLOW_1_15, SAVED_MODEL), (ONNX_1_12, ONNX)],
    ids=lambda value: value.name if isinstance(value, Environment) else "",
)
def test_macro_network_macro_is_what_core_restores(
    environment: Environment,
    script: str,
    chain: Chain,
    core: Arrays,
    exported: Exported,
    tmp_path: Path,
) -> None:
    job = [exported.weights.files[script], chain.inputs]
    (restored,) = run(environment, environment.name, script, [job], tmp_path)
    said = chain.finish(restored)
    final = chain.final()

    worst = largest_difference(final, core)
    sample = Path(SAMPLE_INPUT).stem
    promised = {sample: tifffile.imread(chain.folder / "sample_output.tif").squeeze()}
    kept = largest_difference({sample: final[sample]}, promised)
    print(f"{environment.name} between macros: {worst:.2e} of the range from core, ", end="")
    print(f"{kept:.2e} from sample_output.tif")
    assert worst <= TOLERANCE
    assert kept <= TOLERANCE

    assert sorted(said) == sorted(chain.images)
    for name in ("bits8", "bits16", "bits32"):  # half the pixel size, two windows, 32 bit
        assert said[name] == "2|32|0.040000|0.040000|microns|1"
