"""What a training needs, as one frozen configuration (`w2s-export train CONFIG.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from w2s_export.config import (
    Frozen,
    GeneratorConfig,
    Normalisation,
    PercentileNormalisation,
    Provenance,
    parse_config,
)
from w2s_export.data.layouts import DataSource, MixedFolders, PairedFolders
from w2s_export.io.yaml_files import read_yaml
from w2s_export.metrics.registry import metrics
from w2s_export.networks.discriminator import DiscriminatorConfig
from w2s_export.rdf.metadata import ModelName
from w2s_export.simulation.stream import SimulatedStream
from w2s_export.training.schedules import Schedule

Weight = Annotated[float, Field(ge=0, le=1e6)]


def _metric(value: str, *known: str) -> str:
    if value not in known:
        raise ValueError(f"is no score; known are {', '.join(known)}")
    return value


class AdversarialPhase(Frozen):
    """Phase two: pixel, feature and adversarial loss together, from phase one's best weights."""

    steps: Annotated[int, Field(ge=1)] = 10_000
    """Steps of this phase."""
    schedule: Schedule = Schedule()
    """Learning rate of both networks, counted from the phase's first step."""
    loss: Literal["l1", "l2"] = "l1"
    """Distance of pixels and of features."""
    features: Literal["perceptual", "texture"] = "perceptual"
    """`perceptual`: distance of VGG features. `texture`: of their Gram matrices."""
    feature_weights: Path | None = None
    """Weights of VGG19 trained on ImageNet (`.npz`, `.h5`; those of a VGG16 are taken too),
    relative to the working folder. By default they are downloaded."""
    pixel_weight: Weight = 1e-2
    """Factor on the pixel loss."""
    feature_weight: Weight = 1e-2
    """Factor on the perceptual or texture loss."""
    adversarial_weight: Weight = 1.0
    """Factor on the relativistic average adversarial loss."""
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    """The judge."""
    choose_by: str = "perceptual"
    """Validation score whose best weights are kept: `perceptual`, or a metric. PSNR falls when
    detail is added, so by default the feature loss of phase two decides (the lower the better)."""

    @field_validator("choose_by")
    @classmethod
    def _known(cls, value: str) -> str:
        return _metric(value, "perceptual", *metrics())


class TrainingConfig(Frozen):
    """A training: phase one with the pixel loss alone, and phase two where `adversarial` is given.

    Steps, patches, batches and averages are the same in both.
    """

    name: ModelName
    """Name of the model, by bioimage.io's rule: 5 to 128 letters, digits, blanks and _ + - ( )."""
    data: DataSource = PairedFolders()
    """Images and split."""
    mix: tuple[Annotated[MixedFolders | SimulatedStream, Field(discriminator="kind")], ...] = ()
    """Further sources, each with its share of every batch; `data` gives the rest. With them patches
    are cut anywhere, without them half overlapping and in turn."""
    generator: GeneratorConfig = GeneratorConfig()
    """Architecture."""
    normalisation: Normalisation = PercentileNormalisation()
    """Of the inputs; stored with the weights."""
    target_normalisation: Normalisation = PercentileNormalisation()
    """Of the targets."""
    start: Path | None = None
    """Weights to begin with, in any format `w2s-export inspect` knows, relative to the working
    folder; random by default."""
    loss: Literal["l1", "l2"] = "l1"
    """Pixel loss of phase one."""
    patch: Annotated[int, Field(ge=8, le=1024)] = 64
    """Side of an input patch, pixels."""
    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Patches per step, over all devices together."""
    steps: Annotated[int, Field(ge=0)] = 10_000
    """Steps of phase one; 0 begins with phase two, which then needs `start`."""
    schedule: Schedule = Schedule()
    """Learning rate of phase one."""
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's first decay."""
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Adam's second decay."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the moving average of the weights that is validated and kept; 0 for none."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest global norm of a network's gradient; longer ones are scaled down."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """What the networks compute in; weights stay float32."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Decides initial weights, order and augmentation."""
    validate_every: Annotated[int, Field(ge=1)] = 200
    """Steps between validations. The state that resuming needs is saved after each."""
    save_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between further saves of the state."""
    keep_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between checkpoints that are kept, to compare them later."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Validations without a better score after which a phase ends early."""
    choose_by: str = "psnr_db"
    """Validation score whose best weights phase one keeps: a metric, e.g. `psnr_db` or `ssim`."""
    adversarial: AdversarialPhase | None = None
    """Phase two; none by default."""
    simulation_workers: Annotated[int, Field(ge=0, le=256)] | None = None
    """Processes that simulate fields ahead; by default one less than there are cores."""
    provenance: Provenance = Provenance()
    """Travels into the checkpoint."""

    @field_validator("choose_by")
    @classmethod
    def _known(cls, value: str) -> str:
        return _metric(value, *(key for key, one in metrics().items() if not one.needs_features))

    @model_validator(mode="after")
    def _fits(self) -> TrainingConfig:
        if self.name == "state":
            raise ValueError("the name 'state' is taken by the file that resuming needs")
        if self.steps == 0 and (self.adversarial is None or self.start is None):
            raise ValueError("steps 0 leaves out phase one: give `adversarial` and `start`")
        if self.adversarial and self.generator.out_nc not in (1, 3):
            raise ValueError(
                f"the feature network sees 1 or 3 channels, generator.out_nc is "
                f"{self.generator.out_nc}"
            )
        for name in ("share", "last_share"):
            if sum(getattr(source, name) or source.share for source in self.mix) > 1:
                raise ValueError(f"mix: each {name} is a part of a batch; together they exceed 1")
        for stream in self.mix:
            if isinstance(stream, SimulatedStream):
                _check_stream(stream, self.patch, self.generator)
        if self.patch % self.generator.pixel_unshuffle:
            raise ValueError(
                f"patch {self.patch} must be a multiple of pixel_unshuffle "
                f"{self.generator.pixel_unshuffle}"
            )
        return self

    def with_steps(self, steps: int) -> TrainingConfig:
        """The same training with another number of steps in its last phase."""
        if self.adversarial is None:
            changes: dict[str, object] = {"steps": steps}
        else:
            changes = {"adversarial": {**self.adversarial.model_dump(), "steps": steps}}
        return parse_config(TrainingConfig, {**self.model_dump(), **changes}, "--steps")

    @property
    def all_steps(self) -> int:
        """Steps of both phases."""
        return self.steps + (self.adversarial.steps if self.adversarial else 0)

    def shares(self, step: int) -> list[float]:
        """Parts of a step's batch: that of `data`, then those of `mix`."""
        parts = [source.share_at(step / self.all_steps) for source in self.mix]
        return [1 - sum(parts), *parts]


def _check_stream(stream: SimulatedStream, patch: int, generator: GeneratorConfig) -> None:
    if stream.size < patch:
        raise ValueError(f"mix: simulated fields of {stream.size} pixels hold no patch of {patch}")
    if (generator.scale, generator.in_nc, generator.out_nc) != (2, 1, 1):
        raise ValueError("mix: simulated fields have one channel and targets twice as large")


def read_training_config(path: Path) -> TrainingConfig:
    """Read a training configuration.

    Raises:
        ConfigError: unreadable, or a key or value at fault (all are named).
    """
    return parse_config(TrainingConfig, read_yaml(path), str(path))
