"""What restoration needs, from a package or from bare weights."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from w2s_export.checkpoint.artifact import Checkpoint
from w2s_export.checkpoint.load import load_checkpoint
from w2s_export.config import Normalisation, PercentileNormalisation
from w2s_export.convert.artifact import sha256_of
from w2s_export.errors import PackageError
from w2s_export.package.description import ONNX
from w2s_export.package.opening import open_package
from w2s_export.package.sample import read_sample
from w2s_export.resources import DEFAULT_MODEL, asset
from w2s_export.restore.network import Model, Network
from w2s_export.restore.record import identity

_LARGEST_ONNX = 2 << 30


@dataclass(frozen=True, slots=True)
class PackagedNetwork:
    """The ONNX file of a package, with the halo and the smallest size its rdf states."""

    path: Path
    model: Model

    def open(self, folder: Path) -> Network:
        """Unpack the ONNX file into the folder.

        Raises:
            PackageError: damaged, or not the file whose hash the rdf states.
        """
        package = open_package(self.path)
        entry = package.rdf["weights"]["onnx"]
        target = folder / ONNX
        if package.sizes.get(entry["source"], 0) > _LARGEST_ONNX:
            raise PackageError(f"{self.path}: its ONNX file is larger than {_LARGEST_ONNX} bytes")
        target.write_bytes(package.read(entry["source"], _LARGEST_ONNX))
        if sha256_of(target) != entry.get("sha256"):
            raise PackageError(
                f"{self.path}: '{entry['source']}' is not the file whose SHA-256 its rdf states; "
                "fetch or write the package again"
            )
        halo, minimum = _halo_and_minimum(self.path, package.rdf, self.model.config.scale)
        return Network(self.model, target, halo, minimum)


@dataclass(frozen=True, slots=True)
class BareWeights:
    """Weights of any format: converted to ONNX, their halo measured.

    The halo is measured on the sample of the default model, as an export without `--sample` does:
    so it is the same whichever images are restored, and a second run continues the first. The
    theoretical radius would be safe too, but a network of 23 blocks sees 348 pixels by it, and
    tiles would cost several times as much. To have it measured on images of your own, export a
    package with `--sample`.
    """

    path: Path
    model: Model
    scale: int | None

    def open(self, folder: Path) -> Network:
        """Convert, in a process of its own: TensorFlow's memory goes with it.

        Raises:
            W2SExportError: the weights cannot be converted.
        """
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(_convert, self.path, self.model, self.scale, folder).result()


def read_package(path: Path) -> PackagedNetwork:
    """A package that this tool wrote, in either format.

    Raises:
        CheckpointError: damaged, or a package of another tool.
        PackageError: not a safe zip.
    """
    open_package(path)  # checks every member before anything is read
    checkpoint = load_checkpoint(path)
    return PackagedNetwork(path, _model(path, checkpoint, checkpoint.normalisation))


def read_weights(
    path: Path, *, scale: int | None = None, normalisation: Normalisation | None = None
) -> BareWeights | PackagedNetwork:
    """Weights of any format; a package among them is used as it is.

    Args:
        path: the weights.
        scale: where they do not record it.
        normalisation: where they do not record it, or to override it.

    Raises:
        CheckpointError: no weights of this family.
    """
    checkpoint = load_checkpoint(path, scale=scale)
    how = normalisation or checkpoint.normalisation
    if checkpoint.source_format == "package":
        open_package(path)
        return PackagedNetwork(path, _model(path, checkpoint, how))
    return BareWeights(path, _model(path, checkpoint, how or PercentileNormalisation()), scale)


def _model(path: Path, checkpoint: Checkpoint, how: Normalisation | None) -> Model:
    name = checkpoint.provenance.name or path.name.split(".")[0]
    return Model(name, checkpoint.config, how, identity(path))


def _convert(path: Path, model: Model, scale: int | None, folder: Path) -> Network:
    from w2s_export.convert.onnx import to_onnx
    from w2s_export.convert.runtimes import OnnxRuntime
    from w2s_export.data.normalise import normalise
    from w2s_export.networks.generator import build_generator, set_weights
    from w2s_export.restore.halo import measure_halo

    checkpoint = load_checkpoint(path, scale=scale)
    generator = build_generator(checkpoint.config)
    set_weights(generator, checkpoint.config, checkpoint.weights)
    onnx = to_onnx(generator, checkpoint.config, folder / ONNX).path
    file = asset(f"models/{DEFAULT_MODEL}/sample_input.tif")
    sample = read_sample(file, checkpoint.config, repeat_channels=True)
    image = normalise(sample.pixels, model.normalisation)
    halo = measure_halo(OnnxRuntime(onnx), image, checkpoint.config)
    return Network(model, onnx, halo.halo, halo.minimum)


def _halo_and_minimum(path: Path, rdf: Mapping[str, Any], scale: int) -> tuple[int, int]:
    """What the rdf states of its input's size and its output's halo, as input pixels."""
    try:
        source, result = rdf["inputs"][0], rdf["outputs"][0]
        if isinstance(source["axes"], str):  # format 0.4
            place = source["axes"].index("y")
            minimum, halo = source["shape"]["min"][place], result["halo"][place]
        else:
            minimum = next(a for a in source["axes"] if a.get("id") == "y")["size"]["min"]
            halo = next(a for a in result["axes"] if a.get("id") == "y").get("halo", 0)
        return -(-int(halo) // scale), int(minimum)
    except (KeyError, TypeError, ValueError, IndexError, StopIteration):
        raise PackageError(
            f"{path}: its rdf states no halo and smallest size; write the package again"
        ) from None
