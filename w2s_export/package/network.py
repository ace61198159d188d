"""What restoration needs, from a package or from bare weights."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_export.config import Normalisation
from w2s_export.errors import ConfigError, ConversionError, PackageError
from w2s_export.formats import cpu_fast as fast_format
from w2s_export.formats import onnx as onnx_format
from w2s_export.io import user_cache
from w2s_export.io.files import name_of, sha256_of
from w2s_export.io.worker import memory_limit
from w2s_export.network import Network, seams_in_words
from w2s_export.package.opening import OpenedPackage, open_package
from w2s_export.package.sample import read_sample
from w2s_export.rdf.reading import at
from w2s_export.resources import DEFAULT_MODEL, asset
from w2s_export.restore.network import Model, ReadyNetwork, model_of
from w2s_export.restore.record import identity
from w2s_export.runtime.choose import open_engine
from w2s_export.sources.adapted_network import of_counts
from w2s_export.sources.load import Reading, doubts, load_network, normalisation_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from w2s_export.runtime.protocol import Runtime

logger = logging.getLogger(__name__)

_CROP = (61, 93)
"""Height and width that the fast CPU graph is compared on: odd, and more than a block of tiles."""
CPU_FAST_TOLERANCE = 1e-4
"""Of the output's range. A network of 6 trained blocks measured 8.5e-6, small ones 1e-6; a wrong
border or tap gives 1e-2 and more."""
_FEATURES_THAT_PAY = 64
"""Of a network, below which its fast graph is hardly faster than the direct one."""


@dataclass(frozen=True, slots=True)
class PackagedNetwork:
    """The network of a package, with the halo and the smallest size its rdf states."""

    package: OpenedPackage
    model: Model
    network: Network
    cpu_fast: bool = False
    """Restore by the fast CPU graph attached to it."""

    def open(self, folder: Path) -> ReadyNetwork:
        """Write the ONNX file into the folder.

        Raises:
            PackageError: its rdf lacks a number, or its fast graph is another.
        """
        package, target = self.package, folder / onnx_format.FILE
        # What was checked is what is run: written anew, without what only another parser sees.
        target.write_bytes(self.network.graph.SerializeToString())
        halo, minimum = _halo_and_minimum(package.path, package.rdf, self.model)
        seams = _known_seams(halo, at(package.rdf, "config", "w2s_export", "seams"))
        foreign = self.network.checkpoint is None
        ready = ReadyNetwork(self.model, target, halo, minimum, seams=seams, foreign=foreign)
        fast = folder / fast_format.FILE
        if self.cpu_fast:
            return ready.by_cpu_fast(self._made_here(_attached(package), fast))
        return _with_made(ready, self.network, fast)

    def _made_here(self, entry: Mapping[str, str], fast: Path) -> Path:
        """The fast graph, made of the weights: the package's is not run, whoever wrote it.

        Raises:
            PackageError: the package's is another one.
        """
        path, name = self.package.path, entry["source"]
        if self.package.sha256(name) != entry["sha256"]:
            raise PackageError(
                f"{path}: '{name}' is not the file whose SHA-256 its rdf states; fetch or write "
                "the package again"
            )
        made = fast_format.write(self.network, fast)
        if made.sha256 != entry["sha256"]:
            raise PackageError(
                f"{path}: its '{name}' is not the fast CPU graph that this version "
                "makes of its weights, and no other is run; export it again with --cpu-fast, or "
                "restore without --cpu-fast"
            )
        return made.path


@dataclass(frozen=True, slots=True)
class BareWeights:
    """Weights of any format: written as ONNX, their halo measured.

    The halo is measured on the sample of the default model, as an export without `--sample` does:
    so it is the same whichever images are restored, and a second run continues the first. The
    theoretical radius would be safe too, but a network of 23 blocks sees 348 pixels by it, and
    tiles would cost several times as much. To have it measured on images of your own, export a
    package with `--sample`.
    """

    path: Path
    model: Model
    network: Network
    cpu_fast: bool = False
    """Restore by the fast CPU graph, once it has been compared with the direct one."""

    def open(self, folder: Path) -> ReadyNetwork:
        """Write the files into the folder.

        Raises:
            W2SExportError: the network cannot be written.
        """
        import numpy as np

        from w2s_export.data.normalise import normalise
        from w2s_export.metrics.parity import compare

        network = self.network
        onnx = onnx_format.write(network, folder / onnx_format.FILE).path
        file = asset(f"models/{DEFAULT_MODEL}/sample_input.tif")
        sample = read_sample(file, network.channels_in, repeat_channels=True)
        if network.fixed is None:  # else the sample is mirrored to what the network reads
            sample = sample.cut(network)
        image = normalise(sample.pixels, self.model.normalisation)
        foreign = network.checkpoint is None
        direct = open_engine("cpu", onnx, apart=memory_limit() if foreign else None)
        halo, minimum, seams = _measured(direct, image, network, sha256_of(onnx))
        least = 1 if network.fixed else minimum
        ready = ReadyNetwork(self.model, onnx, halo, least, seams=seams, foreign=foreign)
        if not self.cpu_fast:
            return _with_made(ready, network, folder / fast_format.FILE)
        fast = fast_format.write(network, folder / fast_format.FILE).path
        height, width = (network.step * side for side in _CROP)
        crop = image[np.newaxis, :, :height, :width]
        row = compare("the fast CPU graph", "crop", direct(crop), fast_format.load(fast)(crop))
        if not row.max_relative <= CPU_FAST_TOLERANCE:
            raise ConversionError(
                f"{self.path}: the fast CPU graph is {row.max_relative:.1e} of the range from the "
                f"direct one, more than {CPU_FAST_TOLERANCE:.0e}; restore without --cpu-fast"
            )
        return ready.by_cpu_fast(fast)


def _measured(
    direct: Runtime, image: NDArray[np.float32], network: Network, sha256: str
) -> tuple[int, int, float | None]:
    """Halo, smallest size and the seams that remain, measured once for an ONNX file and sample."""
    from w2s_export.restore.halo import measure_halo

    key = hashlib.sha256(f"2 {sha256} {image.shape}".encode() + image.tobytes()).hexdigest()
    found = user_cache.recall("halos", key)
    halo, minimum, visible = (found.get(name) for name in ("halo", "minimum", "visible"))
    if isinstance(halo, int) and isinstance(minimum, int) and minimum > 2 * halo >= 0:
        return halo, minimum, _known_seams(halo, visible)
    measured = measure_halo(direct, image, network)
    stated = ("halo", "minimum", "visible")
    user_cache.remember("halos", key, {name: getattr(measured, name) for name in stated})
    return measured.halo, measured.minimum, measured.visible


def _known_seams(halo: int, stated: object) -> float | None:
    """The seams that were measured before, warned of as a measurement warns; None without any."""
    if not isinstance(stated, float):
        return None
    logger.warning("%s", seams_in_words(halo, stated))
    return stated


def read_package(path: Path, *, cpu_fast: bool = False) -> PackagedNetwork:
    """A package that this tool wrote, in either format.

    Args:
        path: the zip.
        cpu_fast: restore by its fast CPU graph.

    Raises:
        CheckpointError: damaged, or a package of another tool.
        PackageError: not a safe zip, or one without the fast CPU graph that is asked for.
    """
    package = open_package(path)  # checks every member before anything is read
    network = load_network(path)
    return _packaged(package, network, network.normalisation, cpu_fast)


def read_weights(
    path: Path,
    *,
    scale: int | None = None,
    normalisation: Normalisation | None = None,
    cpu_fast: bool = False,
    reading: Reading | None = None,
) -> BareWeights | PackagedNetwork:
    """Weights of any format; a package among them is used as it is.

    Args:
        path: the weights.
        scale: where they do not record it.
        normalisation: where they do not record it, or to override it.
        cpu_fast: restore by the fast CPU graph.
        reading: of a network of another family.

    Raises:
        CheckpointError: no weights that this tool can use.
        PackageError: a package without the fast CPU graph that is asked for.
    """
    reading = reading or Reading()
    network = load_network(
        path,
        scale=scale,
        dynamic=reading.dynamic,
        signature=reading.signature,
        normalisation=normalisation,
    )
    how = normalisation or network.normalisation
    if doubt := doubts(network):
        logger.warning("%s: %s", path, doubt)
    if network.source_format == "package":
        return _packaged(open_package(path), network, how, cpu_fast)
    network = of_counts(replace(network, normalisation=normalisation_of(path, how)))
    model = _model(path, network, network.normalisation)
    return BareWeights(path, model, network, cpu_fast)


def open_network(
    package: Path | None,
    weights: Path | None,
    *,
    scale: int | None = None,
    normalisation: Normalisation | None = None,
    cpu_fast: bool = False,
    reading: Reading | None = None,
) -> BareWeights | PackagedNetwork:
    """What a user names: a package, weights, or by default the embedded model.

    Raises:
        ConfigError: a package, and with it what a package has of its own.
        W2SExportError: see `read_package` and `read_weights`.
    """
    if package is None:
        chosen = weights or asset(f"models/{DEFAULT_MODEL}/weights.npz")
        return read_weights(
            chosen,
            scale=scale,
            normalisation=normalisation,
            cpu_fast=cpu_fast,
            reading=reading,
        )
    asked = reading is not None and reading != Reading()
    if weights is not None or scale is not None or normalisation is not None or asked:
        raise ConfigError(
            "--package has weights, scale, normalisation and sizes of its own; leave out "
            "--weights, --scale, --normalisation, --dynamic and --signature"
        )
    return read_package(package, cpu_fast=cpu_fast)


def _packaged(
    package: OpenedPackage, network: Network, how: Normalisation | None, cpu_fast: bool
) -> PackagedNetwork:
    if cpu_fast:
        _attached(package)
    return PackagedNetwork(package, _model(package.path, network, how), network, cpu_fast)


def _attached(package: OpenedPackage) -> Mapping[str, str]:
    """Name and hash of the fast CPU graph, whose types `load_checkpoint` has checked.

    Raises:
        PackageError: there is none.
    """
    entry: Mapping[str, str] | None = package.rdf["config"]["w2s_export"].get("cpu_fast")
    if entry is None:
        raise PackageError(
            f"{package.path}: holds no fast CPU graph; export it again with --cpu-fast, or restore "
            "without --cpu-fast"
        )
    return entry


def _with_made(ready: ReadyNetwork, network: Network, fast: Path) -> ReadyNetwork:
    """The network, with the fast graph made of its weights when it is wanted, if that may pay."""
    checkpoint = network.checkpoint
    if checkpoint is None or checkpoint.config.nf < _FEATURES_THAT_PAY:
        return ready
    return replace(ready, fast=lambda: fast_format.write(network, fast).path)


def _model(path: Path, network: Network, how: Normalisation | None) -> Model:
    name = network.provenance.name or name_of(path).split(".")[0]
    return model_of(network, name, how, identity(path))


def _halo_and_minimum(path: Path, rdf: Mapping[str, Any], model: Model) -> tuple[int, int]:
    """What the rdf states of its input's size and its output's halo, as input pixels.

    Tiles of a fixed size are mirrored beyond an image, however small it is.
    """
    try:
        source, result = rdf["inputs"][0], rdf["outputs"][0]
        if isinstance(source["axes"], str):  # format 0.4
            place = source["axes"].index("y")
            minimum = 1 if model.fixed else source["shape"]["min"][place]
            halo = result["halo"][place]
        else:
            size = next(a for a in source["axes"] if a.get("id") == "y")["size"]
            minimum = 1 if model.fixed else size["min"]
            halo = next(a for a in result["axes"] if a.get("id") == "y").get("halo", 0)
        return -(-int(halo) // model.scale), int(minimum)
    except (KeyError, TypeError, ValueError, IndexError, StopIteration, OverflowError):
        raise PackageError(
            f"{path}: its rdf states no halo and smallest size; write the package again"
        ) from None
