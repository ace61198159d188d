"""Frozen configurations. No framework is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from w2s_export.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self

Model = TypeVar("Model", bound=BaseModel)


class Frozen(BaseModel):
    """Base of every configuration: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class GeneratorConfig(Frozen):
    """One member of the RRDBNet family (ESRGAN, https://arxiv.org/abs/1809.00219).

    The defaults are the W2S report's network: 16,621,825 parameters, one channel, ×2.
    """

    in_nc: Annotated[int, Field(ge=1, le=64)] = 1
    """Channels of the input image."""
    out_nc: Annotated[int, Field(ge=1, le=64)] = 1
    """Channels of the output image."""
    nf: Annotated[int, Field(ge=1, le=1024)] = 64
    """Features of the trunk."""
    gc: Annotated[int, Field(ge=1, le=1024)] = 32
    """Growth channels of each dense block."""
    nb: Annotated[int, Field(ge=1, le=128)] = 23
    """Number of RRDBs (residual-in-residual dense blocks)."""
    scale: Literal[1, 2, 4] = 2
    """Output pixels per input pixel, along each axis."""
    upsampling: Literal["plain", "conv"] = "plain"
    """`plain`: nearest neighbour alone (W2S). `conv`: nearest, convolution, LeakyReLU per ×2 step
    (ESRGAN's upconv)."""
    pixel_unshuffle: Literal[1, 2, 4] = 1
    """Space-to-depth factor before the first convolution (Real-ESRGAN: 2 for ×2, 4 for ×1)."""
    residual_scale: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Factor on every residual branch."""
    negative_slope: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Slope of LeakyReLU below zero."""

    @model_validator(mode="after")
    def _reaches_its_scale(self) -> GeneratorConfig:
        if self.upsampling_factor not in (1, 2, 4):
            raise ValueError(
                f"scale {self.scale} with pixel_unshuffle {self.pixel_unshuffle} asks for "
                f"×{self.upsampling_factor} upsampling; the family has ×1, ×2 and ×4"
            )
        return self

    @property
    def upsampling_factor(self) -> int:
        """Nearest-neighbour factor inside the network: `scale` × `pixel_unshuffle`."""
        return self.scale * self.pixel_unshuffle


class _Normalising(Frozen):
    clip: tuple[float, float] | None = None
    """Smallest and largest value the network is given, after the rest; None: as they come."""

    @model_validator(mode="after")
    def _clips_to_a_range(self) -> Self:
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip {self.clip[0]} must be below {self.clip[1]}")
        return self


class PercentileNormalisation(_Normalising):
    """`(x − P_low) / (P_high − P_low + 1e-6)` over the whole image: rdf `scale_range`."""

    kind: Literal["percentile"] = "percentile"
    low: Annotated[float, Field(ge=0, lt=100)] = 1.0
    """Lower percentile, percent."""
    high: Annotated[float, Field(gt=1, le=100)] = 99.8
    """Upper percentile, percent."""

    @model_validator(mode="after")
    def _ordered(self) -> PercentileNormalisation:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


class FixedRangeNormalisation(_Normalising):
    """`(x − low) / (high − low)`, the same for every image: rdf `scale_linear`."""

    kind: Literal["fixed_range"] = "fixed_range"
    low: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """Detector count that becomes 0."""
    high: Annotated[float, Field(allow_inf_nan=False)] = 255.0
    """Detector count that becomes 1."""

    @model_validator(mode="after")
    def _ordered(self) -> FixedRangeNormalisation:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(allow_inf_nan=False, gt=0)]


class FixedMeanNormalisation(_Normalising):
    """`(x − mean) / std` of the training images, the same for every image: rdf `scale_linear`.

    With a number per channel it becomes part of the exported network: DeepImageJ 3.1 has one number
    for all channels alone.
    """

    kind: Literal["mean_std"] = "mean_std"
    mean: _Finite | tuple[_Finite, ...]
    """Mean of the training images, detector counts; or a list, one per channel."""
    std: _Positive | tuple[_Positive, ...]
    """Their standard deviation; or a list, one per channel."""

    @model_validator(mode="after")
    def _of_the_same_channels(self) -> FixedMeanNormalisation:
        counts = {len(value) for value in (self.mean, self.std) if isinstance(value, tuple)}
        if len(counts) > 1 or 0 in counts:
            raise ValueError(f"mean {self.mean} and std {self.std} must have as many numbers each")
        return self


class ZeroMeanNormalisation(_Normalising):
    """`(x − mean) / (std + 1e-6)` of each image: rdf `zero_mean_unit_variance`."""

    kind: Literal["zero_mean"] = "zero_mean"


class NoNormalisation(_Normalising):
    """The network takes detector counts as they are."""

    kind: Literal["none"] = "none"


Normalisation = Annotated[
    PercentileNormalisation
    | FixedRangeNormalisation
    | FixedMeanNormalisation
    | ZeroMeanNormalisation
    | NoNormalisation,
    Field(discriminator="kind"),
]


class Provenance(Frozen):
    """Where weights come from. Travels inside the checkpoint and into the package's card."""

    name: str = ""
    """Name of the model, e.g. `wf2sim-microtubules-s`."""
    description: str = ""
    """One sentence: what goes in, what comes out."""
    data: str = ""
    """Training data, with its source."""
    license: str = ""
    """SPDX identifier of the weights' licence."""
    attribution: str = ""
    """Credit the data's licence asks for."""
    command: str = ""
    """Command that made the weights."""
    pixel_size_um: Annotated[float, Field(gt=0)] | None = None
    """Pixel size of the training inputs, micrometres."""
    scores: dict[str, float] = Field(default_factory=dict)
    """Scores on held-out images, e.g. `psnr_db`, `ssim`, `psnr_bicubic_db`."""
    training: dict[str, str | int | float] = Field(default_factory=dict)
    """How it was trained, by the names of bioimage.io's model card, e.g. `loss_function`."""


def parse_config(kind: type[Model], values: object, where: str) -> Model:
    """Validate `values` as `kind`.

    Args:
        kind: a pydantic model.
        values: what a YAML or JSON file held.
        where: name of that file, for the message.

    Raises:
        ConfigError: names every key at fault, what was got and what is allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(_fault(kind, values, fault) for fault in error.errors())
        raise ConfigError(f"{where}: {faults}") from None


def _fault(kind: type[BaseModel], values: object, fault: Any) -> str:
    path, known = _place(kind, values, fault["loc"])
    place = ".".join(path) or "the whole file"
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{place}'; known keys are {', '.join(known)}"
    if fault["type"] == "missing":
        return f"'{place}': is missing"
    return f"'{place}': {_in_our_words(fault)}, got {fault.get('input')!r:.80}"


_WORDS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must hold keys and values",
    "model_type": "must hold keys and values",
    "model_attributes_type": "must hold keys and values",
    "invalid_key": "must have keys that are text",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters or fewer",
    "too_short": "must hold {min_length} or more",
    "too_long": "must hold {max_length} or fewer",
    "union_tag_invalid": "must be of a kind {expected_tags}",
    "union_tag_not_found": "must say its {discriminator}",
    "datetime_parsing": "must be a date, e.g. 2026-01-31",
    "datetime_from_date_parsing": "must be a date, e.g. 2026-01-31",
    "datetime_type": "must be a date, e.g. 2026-01-31",
}
"""What pydantic calls a fault, and what we say."""


def _in_our_words(fault: Any) -> str:
    words = _WORDS.get(fault["type"])
    if words is None:
        return str(fault["msg"]).removeprefix("Value error, ")
    return words.format_map(fault.get("ctx", {}))


def _place(
    kind: type[BaseModel], values: object, location: tuple[Any, ...]
) -> tuple[list[str], list[str]]:
    """Keys from the top to a fault, as the file has them, and the keys allowed beside the last.

    A location also names the members of unions on its way, which are no keys of the file.
    """
    path: list[str] = []
    models: list[type[BaseModel]] = [kind]
    here = values
    for index, part in enumerate(location):
        last = index == len(location) - 1
        inside = isinstance(here, (dict, list)) and (isinstance(part, int) or part in here)
        if not inside and not last:  # a member of a union: by its tag or by its name
            chosen = [m for m in models if part == m.__name__ or part in _literals(m)]
            models = chosen or models
            continue
        path.append(str(part))
        if not last:
            fields = [m.model_fields[part] for m in models if part in m.model_fields]
            models = [one for field in fields for one in models_in(field.annotation)] or models
            here = here[part] if inside else None  # type: ignore[index]
    return path, list(dict.fromkeys(key for model in models for key in model.model_fields))


def _literals(model: type[BaseModel]) -> set[Any]:
    """Values that tell a model from the other members of its union."""
    kinds = [
        f.annotation for f in model.model_fields.values() if get_origin(f.annotation) is Literal
    ]
    return {value for kind in kinds if len(get_args(kind)) == 1 for value in get_args(kind)}


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Configurations that a key of this type can hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]
