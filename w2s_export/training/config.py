"""What a training needs, as one frozen configuration (`w2s-export train CONFIG.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from w2s_export.config import (
    Frozen,
    GeneratorConfig,
    Normalisation,
    PercentileNormalisation,
    Provenance,
    parse_config,
    read_yaml,
)
from w2s_export.data.sources import DataSource, PairedFolders
from w2s_export.training.schedules import Schedule


class TrainingConfig(Frozen):
    """Phase one: pixel loss alone."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+\-() ]{5,128}$")]
    """Name of the model, by bioimage.io's rule: 5 to 128 letters, digits, blanks and _ + - ( )."""
    data: DataSource = PairedFolders()
    """Images and split."""
    generator: GeneratorConfig = GeneratorConfig()
    """Architecture."""
    normalisation: Normalisation = PercentileNormalisation()
    """Of the inputs; stored with the weights."""
    target_normalisation: Normalisation = PercentileNormalisation()
    """Of the targets."""
    loss: Literal["l1", "l2"] = "l1"
    """Pixel loss."""
    patch: Annotated[int, Field(ge=8, le=1024)] = 64
    """Side of an input patch, pixels."""
    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Patches per step."""
    steps: Annotated[int, Field(ge=1)] = 10_000
    """Steps in all."""
    schedule: Schedule = Schedule()
    """Learning rate."""
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's first decay."""
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Adam's second decay."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the moving average of the weights that is validated and kept; 0 for none."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Decides initial weights, order and augmentation."""
    validate_every: Annotated[int, Field(ge=1)] = 200
    """Steps between validations; state is saved at each."""
    provenance: Provenance = Provenance()
    """Travels into the checkpoint."""

    @model_validator(mode="after")
    def _fits(self) -> TrainingConfig:
        if self.name == "state":
            raise ValueError("the name 'state' is taken by the file that resuming needs")
        if self.patch % self.generator.pixel_unshuffle:
            raise ValueError(
                f"patch {self.patch} must be a multiple of pixel_unshuffle "
                f"{self.generator.pixel_unshuffle}"
            )
        return self


def read_training_config(path: Path) -> TrainingConfig:
    """Read a training configuration.

    Raises:
        ConfigError: unreadable, or a key or value at fault (all are named).
    """
    return parse_config(TrainingConfig, read_yaml(path), str(path))
