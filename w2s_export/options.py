"""Every option once: its name, type, default and help.

The public functions take these as keywords (`w2s_export.api`), the command line is made from them
(`w2s_export.cli`), and what does the work takes the object. Help stands below each field; it is
what `--help` prints and what `help(w2s_export.export)` shows.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from w2s_export.field_texts import texts_below

if TYPE_CHECKING:
    from w2s_export.config import Normalisation
    from w2s_export.training.fit import Step

    PathLike: TypeAlias = str | Path
    Normalised: TypeAlias = str | Normalisation
    Names: TypeAlias = str | Sequence[str]
    Amount: TypeAlias = str | int
else:  # what the command line makes of a word
    PathLike = Path
    Normalised = str
    Names = tuple[str, ...]
    Amount = str

NETWORK, IMAGES, RESULT, SPEED = "Network", "Images", "Result", "Speed and memory"
"""What an option is about; help shows options by these."""

Format: TypeAlias = Literal["tiff", "ome-tiff", "ome-zarr"]
Engine: TypeAlias = Literal["auto", "cpu", "openvino", "cuda", "tensorrt", "coreml", "directml"]
Precision: TypeAlias = Literal[32, 16]
PercentilesOver: TypeAlias = Literal["plane", "stack"]


def _nothing(stage: str) -> None:
    """Leave the stage unsaid."""


@dataclass(frozen=True, kw_only=True)
class ProgressOption:
    """How a program follows what is done."""

    progress: Callable[[str], None] = _nothing
    """Called with a short text when a stage begins."""


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How a network of another family is read."""

    dynamic: Annotated[bool, NETWORK] = False
    """Let the network take images of other sizes than its file fixes."""
    signature: Annotated[str | None, NETWORK] = None
    """Signature of a SavedModel that has several."""


@dataclass(frozen=True, kw_only=True)
class ExportBase:
    """All but how the network is read."""

    weights: Annotated[PathLike | None, NETWORK] = field(default=None, kw_only=False)
    """An RRDBNet (this tool's .npz, PyTorch, Keras, SavedModel, ONNX), or any image-to-image
    network of Keras, TensorFlow, ONNX or spandrel. Default: the embedded wf2sim-microtubules-s."""
    sample: Annotated[PathLike | None, IMAGES] = None
    """Image of the kind the network restores (TIFF or PNG); of a large one the busiest part, at
    most 256 × 256 pixels and fewer for a large network, travels in the packages. Default: a
    simulated one."""
    output: Annotated[PathLike, RESULT] = "w2s-export-output"
    """Folder for the two zips and report.json."""
    name: Annotated[str | None, RESULT] = None
    """Name of the model; 5 to 128 letters, digits, spaces and _ + - ( )."""
    metadata: Annotated[PathLike | None, RESULT] = None
    """YAML file with authors, maintainers, cite, license, tags."""
    normalisation: Annotated[Normalised | None, NETWORK] = None
    """percentile:LOW:HIGH, range:LOW:HIGH, zero-mean, mean-std:MEAN:STD or none, where the weights
    do not record it (or to override what they record); :clip or :clip:LOW:HIGH behind it."""
    scale: Annotated[int | None, NETWORK] = None
    """1, 2 or 4, where the weights do not record by how much the network enlarges."""
    plane: Annotated[int | None, IMAGES] = None
    """Plane of the sample, if it is a stack; counted from 0."""
    channel: Annotated[int | None, IMAGES] = None
    """Channel or colour of the sample, if it has several; counted from 0."""
    repeat_channels: Annotated[bool, IMAGES] = False
    """Give a grey sample to every channel of a colour network."""
    output_normalisation: Annotated[str | None, NETWORK] = None
    """What the result is scaled to, in every client: back (undoes a fixed normalisation),
    range:LOW:HIGH or mean-std:MEAN:STD."""
    fold_channels: Annotated[bool, NETWORK] = False
    """Turn a network of colour images into the same one for grey images."""
    cpu_fast: Annotated[bool, RESULT] = False
    """Add a second ONNX file of the same network, which restore --cpu-fast runs in fewer
    multiplications; worth it from 64 features on."""
    overwrite: Annotated[bool, RESULT] = False
    """Replace the files of an earlier export."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions(ReadingOptions, ExportBase):
    """Weights in, two verified packages out."""


@dataclass(frozen=True, kw_only=True)
class ExportCall(ProgressOption, ExportOptions):
    """What `w2s_export.export` takes."""


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """How a package is verified."""

    client: Names | None = None
    """Whom to ask: deepimagej-2.1, deepimagej-3.0, deepimagej-3.1, core-0.10, core-0.11, zoo, or
    how several begin (deepimagej). Default: those the package is meant for."""
    rules_only: bool = False
    """Read, but do not run the weights on the package's test tensors: no numbers are compared."""


@dataclass(frozen=True, kw_only=True)
class VerifyCall(ProgressOption, VerifyOptions):
    """What `w2s_export.verify` takes."""

    package: PathLike | Sequence[PathLike] = field(kw_only=False)
    """The zip, of anybody's making, or the zips of one model."""


@dataclass(frozen=True, kw_only=True)
class OutputFolder:
    """Where results go."""

    output: Annotated[PathLike, RESULT]
    """Folder for the results."""


@dataclass(frozen=True, kw_only=True)
class NetworkBase:
    """All but how the network is read."""

    package: Annotated[PathLike | None, NETWORK] = None
    """Package of this tool. Default: the embedded model."""
    weights: Annotated[PathLike | None, NETWORK] = None
    """Weights instead of a package; converted anew for every run."""
    scale: Annotated[int | None, NETWORK] = None
    """1, 2 or 4, where the weights do not record by how much the network enlarges."""
    normalisation: Annotated[Normalised | None, NETWORK] = None
    """percentile:LOW:HIGH or range:LOW:HIGH, where the weights do not record it."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(ReadingOptions, NetworkBase):
    """What restores."""


@dataclass(frozen=True, kw_only=True)
class ArrayOptions(NetworkOptions):
    """How an array is restored."""

    axes: str | None = None
    """Of the array: `HW`, `CHW`, `NCHW`, or any order of these letters, e.g. `HWC`. Default: `HW`,
    `CHW` or `NCHW` by its number of axes. Each image is normalised by itself."""
    uncertainty: bool = False
    """Restore eight orientations, in eight times the time: the result has an axis more in front,
    their mean, and their standard deviation, which shows where the network guesses."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are restored, whatever the network."""

    percentiles_over: Annotated[PercentilesOver, IMAGES] = "plane"
    """plane: each plane by itself, so bleaching and dark slices vanish. stack: all times and
    slices of a channel alike, so brightness stays comparable; a flat plane does no harm."""
    format: Annotated[Format | None, RESULT] = None
    """Default: ome-zarr for Zarr; for others tiff, as ImageJ writes it, ome-tiff beyond 4 GB."""
    dtype: Annotated[Literal["float32", "uint16"], RESULT] = "float32"
    """float32, or uint16 with value = counts / 10000 - 1 (stated in the file)."""
    memory: Annotated[Amount | None, SPEED] = None
    """What one run may take, e.g. 2GB. Default: half of what is free."""
    engine: Annotated[Engine, SPEED] = "auto"
    """auto times those that are installed on the first tile, for at most 2 % of the job's time,
    and takes the fastest that gives the same image as ONNX Runtime on the CPU (cpu)."""
    precision: Annotated[Precision, SPEED] = 32
    """16: bfloat16 by OpenVINO on processors with AMX or AVX512-BF16, float16 on a GPU. The error
    is measured on every image, stated in the output, and refused below 55 dB."""
    threads: Annotated[int | None, SPEED] = None
    """Of the engine. Default: the cores this process may use."""
    missing_chunks: Annotated[bool, IMAGES] = False
    """Take missing chunks of a Zarr as its fill value."""
    keep_intensity: Annotated[bool, IMAGES] = False
    """Map results back through the percentiles of their input, to its counts. With
    --percentiles-over plane each plane by its own, so they compare within the network's means."""
    per_colour: Annotated[bool, IMAGES] = False
    """Restore each colour of an RGB image as a channel, with a network for grey images."""
    uncertainty: Annotated[bool, RESULT] = False
    """Restore eight orientations of every tile, in eight times the time: the result is their mean.
    Their standard deviation becomes a second image, NAME_spread, 32-bit: it shows where the
    network guesses."""
    overwrite: Annotated[bool, RESULT] = False
    """Replace outputs made from other images, weights or options."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Where tiles of Zarr outputs are restored; by default in this process."""

    workers: Annotated[int | None, SPEED] = None
    """Restore tiles in as many processes of this machine (OME-Zarr output)."""
    scheduler: Annotated[str | None, SPEED] = None
    """Restore tiles on the workers of the dask scheduler at this address (OME-Zarr output)."""

    @property
    def elsewhere(self) -> bool:
        """Whether other processes restore."""
        return self.workers is not None or self.scheduler is not None


@dataclass(frozen=True, kw_only=True)
class RestoreOptions(Distribution, ImageOptions, NetworkOptions, OutputFolder):
    """How files are restored."""

    cpu_fast: Annotated[bool, SPEED] = False
    """The same network in fewer multiplications, from weights or a package exported with
    --cpu-fast. Pays with AVX2 from 64 features on (measured 1.2 to 1.4 times as fast, in 1.8
    times the memory); the default model, of 32, is slower by it."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Where a training reads and writes."""

    data: PathLike | None = None
    """Folder that holds the folders of inputs and targets."""
    output: PathLike | None = None
    """Folder for the checkpoint, the log and the state that resuming needs."""
    resume: bool = False
    """Go on with an interrupted training."""
    steps: int | None = None
    """Steps of the last phase, in place of the configuration's; with --resume a finished training
    goes on to so many."""


@dataclass(frozen=True, kw_only=True)
class TrainCall(TrainOptions):
    """What `w2s_export.train` takes."""

    config: PathLike = field(kw_only=False)
    """YAML file; `w2s-export train --explain` documents its keys."""
    data: PathLike = field()
    output: PathLike = field()
    progress: Callable[[Step], None] | None = None
    """Called after each step."""


@dataclass(frozen=True, kw_only=True)
class EvaluateBase:
    """All but how the network is read."""

    data: PathLike
    """Folder that holds the folders of inputs and targets."""
    output: PathLike | None = None
    """Folder for images.csv, summary.csv, summary.md and comparison.png. Default: write none."""
    low: str = "lr"
    """Folder of inputs in the data folder."""
    high: str = "hr"
    """Folder of targets in the data folder."""
    config: PathLike | None = None
    """Training configuration: its `data` says where the pairs lie (W2S, noise levels …) and which
    are held out. Takes the place of --low and --high."""
    split: Literal["training", "validation", "test"] = "test"
    """Which of the configuration's fields to evaluate."""
    normalisation: Normalised | None = None
    """percentile:LOW:HIGH or range:LOW:HIGH, for checkpoints that do not record it."""
    show: Names | None = None
    """Images to draw. Default: the worst, the median and the best of the last checkpoint."""
    feature_weights: PathLike | None = None
    """Weights of VGG19 or VGG16 (.npz, .h5): adds the distance of features."""
    tile: int = 256
    """Side of what is restored at once, input pixels; smaller takes less memory."""
    overwrite: bool = False
    """Replace the files of an earlier comparison."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(ReadingOptions, EvaluateBase):
    """What is compared on which images."""


@dataclass(frozen=True, kw_only=True)
class EvaluateCall(EvaluateOptions):
    """What `w2s_export.evaluate` takes."""

    checkpoints: Sequence[PathLike] = field(kw_only=False)
    """Files of any format that `w2s-export inspect` knows; none for bicubic alone."""
    progress: Callable[[int, int], None] | None = None
    """Called with how many images have been restored, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class SimulateOptions:
    """What is simulated."""

    output: PathLike = field(kw_only=False)
    """Folder to make: avgN/ for every noise level, sim/ and simulation.yaml."""
    fields: int | None = None
    """How many fields. Default: 24."""
    structure: tuple[Literal["filaments", "vesicles", "mitochondria"], ...] | None = None
    """One or more of filaments, vesicles, mitochondria, taking turns. Default: filaments."""
    frames: tuple[int, ...] | None = None
    """One or more noise levels: frames averaged. Default: 1 4 16."""
    seed: int | None = None
    """Decides samples and noise; the same seed gives the same files. Default: 0."""
    size: int | None = None
    """Height and width of the widefield images, pixels. Default: 128."""
    pixel_size_um: float | None = None
    """Pixel of the widefield images, micrometres. Default: 0.0626."""
    numerical_aperture: float | None = None
    """Of the objective. Default: 1.41."""
    emission_um: float | None = None
    """Wavelength, micrometres. Default: 0.525."""
    photons: float | None = None
    """Photoelectrons a frame in the brightest pixel. Default: 160."""
    read_noise: float | None = None
    """Of the camera, electrons a frame. Default: 1.6."""
    config: PathLike | None = None
    """YAML file with any of these settings, and all else of sample, microscope and camera
    (`optics:` density, haze, background, gain …); simulation.yaml of a set makes it again. The
    options above win over it. Its keys: w2s-export train --explain."""


@dataclass(frozen=True, kw_only=True)
class SimulateCall(SimulateOptions):
    """What `w2s_export.simulate` takes."""

    progress: Callable[[int, int], None] | None = None
    """Called with how many fields are written, and how many there will be."""


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """What becomes of a package."""

    yes: bool = False
    """Send it, if nothing is missing. Without it nothing leaves this machine."""
    hugging_face: str | None = None
    """USER or USER/REPOSITORY on Hugging Face, in place of the zoo."""
    output: PathLike | None = None
    """Folder for the files as Hugging Face gets them: model card, pictures, package."""


@dataclass(frozen=True, kw_only=True)
class SubmitCall(ProgressOption, SubmitOptions):
    """What `w2s_export.submit` takes."""

    package: PathLike = field(kw_only=False)
    """NAME.bioimageio.zip."""


def _explain(kinds: Sequence[Any]) -> None:
    """Put the text below each field into it, where the command line and `help_of` find it."""
    texts = texts_below(inspect.getsource(sys.modules[__name__]))
    for kind in kinds:
        for one in fields(kind):
            said = next(
                texts[parent.__name__, one.name]
                for parent in kind.__mro__
                if (parent.__name__, one.name) in texts
            )
            one.metadata = MappingProxyType({"help": said})


_explain([each for each in vars().values() if isinstance(each, type) and is_dataclass(each)])
