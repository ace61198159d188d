"""Intensity normalisation, and the exact bioimage.io processing each kind corresponds to.

The clients normalise before the network runs, so training, packages and verification must use the
same formula to the last bit: `scale_range`, `scale_linear`, `zero_mean_unit_variance` and `clip` as
bioimageio.core computes them (https://github.com/bioimage-io/core-bioimage-io-python).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import (
    FixedMeanNormalisation,
    FixedRangeNormalisation,
    NoNormalisation,
    Normalisation,
    PercentileNormalisation,
    ZeroMeanNormalisation,
    parse_config,
)
from w2s_export.counting import counted
from w2s_export.errors import ConfigError, FlatImageError, NotFiniteImageError

EPS = 1e-6
"""Added to a percentile range and to a deviation. The specification lets a package choose, but
bioimageio.core always adds this much."""


def normalise(image: NDArray[Any], how: Normalisation | None) -> NDArray[np.float32]:
    """Normalise one image over all its pixels and channels.

    Args:
        image: any shape, detector counts, any real dtype.
        how: None leaves the values as they are.

    Returns:
        float32, the same shape.

    Raises:
        NotFiniteImageError: NaN or infinite pixels.
        FlatImageError: its percentile range, or its deviation, is empty.
    """
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, reported below
        values = image.astype(np.float32)
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise NotFiniteImageError(
            f"the image has {count} NaN or infinite pixels; replace them first"
        )
    if how is None:
        return values
    if isinstance(how, PercentileNormalisation):
        values = by_range(values, *_percentile_range(values, how))
    elif isinstance(how, ZeroMeanNormalisation):
        exact = values.astype(np.float64)
        values = by_range(values, *low_and_width(float(exact.mean()), float(exact.std()), how))
    elif (linear := gain_and_offset(how)) is not None:
        values = values * np.float32(linear[0]) + np.float32(linear[1])
    elif (parts := statistics_of_channels(how)) is not None:
        values = _by_channel(values, *parts)
    return clipped(values, how)


def clipped(values: NDArray[np.float32], how: Normalisation | None) -> NDArray[np.float32]:
    """Values cut to the range that the network was trained on, if it was."""
    if how is None or how.clip is None:
        return values
    return values.clip(np.float32(how.clip[0]), np.float32(how.clip[1]))


def by_range(values: NDArray[np.float32], low: float, width: float) -> NDArray[np.float32]:
    """`(x − low) / width`, for a part of an image as for the whole."""
    # In float32, or as gain · x + offset, counts far from zero would lose their last digits: 7e-5
    # of the range for an image of 300 counts on an offset of 60000.
    return ((values.astype(np.float64) - low) / width).astype(np.float32)


def fixed_range(how: Normalisation | None) -> tuple[float, float] | None:
    """Count that becomes 0, and how many more become 1, where no image changes them."""
    if isinstance(how, FixedRangeNormalisation):
        return how.low, how.high - how.low
    if isinstance(how, FixedMeanNormalisation) and not isinstance(how.mean, tuple):
        return None if isinstance(how.std, tuple) else (how.mean, how.std)
    return None


def statistics_of_channels(
    how: Normalisation | None,
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation of each channel, where they have their own."""
    if not isinstance(how, FixedMeanNormalisation) or fixed_range(how) is not None:
        return None
    count = max(len(value) for value in (how.mean, how.std) if isinstance(value, tuple))
    means, stds = (v if isinstance(v, tuple) else (v,) * count for v in (how.mean, how.std))
    return means, stds


def _by_channel(
    values: NDArray[np.float32], means: tuple[float, ...], stds: tuple[float, ...]
) -> NDArray[np.float32]:
    """`(x − mean) / std` of an image (…, C, H, W)."""
    if values.ndim < 3 or values.shape[-3] != len(means):
        raise ConfigError(
            f"the normalisation has numbers for {counted(len(means), 'channel')}, the image is "
            f"{values.shape}"
        )
    shape = (-1, 1, 1)
    made: NDArray[np.float32] = values - np.array(means, np.float32).reshape(shape)
    return made / np.array(stds, np.float32).reshape(shape)


def gain_and_offset(how: Normalisation | None) -> tuple[float, float] | None:
    """Factor and addend of a normalisation that no image changes: `y = gain · x + offset`."""
    found = fixed_range(how)
    return None if found is None else (1.0 / found[1], 0.0 - found[0] / found[1])


def depends_on_image(how: Normalisation | None) -> bool:
    """Whether every image is normalised by numbers of its own."""
    return isinstance(how, PercentileNormalisation | ZeroMeanNormalisation)


def _percentile_range(image: NDArray[Any], how: PercentileNormalisation) -> tuple[float, float]:
    low, high = np.percentile(image.astype(np.float64), [how.low, how.high])
    return low_and_width(float(low), float(high), how)


def low_and_width(
    first: float, second: float, how: PercentileNormalisation | ZeroMeanNormalisation
) -> tuple[float, float]:
    """What `by_range` takes.

    Args:
        first: the image's lower percentile, or its mean.
        second: its upper percentile, or its standard deviation.
        how: which of both.

    Raises:
        FlatImageError: the range is empty.
    """
    if isinstance(how, ZeroMeanNormalisation):
        if not second > abs(first) * 1e-6:
            raise FlatImageError(
                f"the image is flat: its mean is {first:g} and its standard deviation {second:g}; "
                "give an image with structure in it"
            )
        return first, second + EPS
    if not second - first > max(abs(first), abs(second)) * 1e-6:
        raise FlatImageError(
            f"the image is flat: its {how.low:g} % and {how.high:g} % percentiles are {first:g} "
            f"and {second:g}; give an image with structure in it"
        )
    return first, second - first + EPS


def processing_05(how: Normalisation | None) -> list[dict[str, Any]]:
    """The rdf 0.5 preprocessing steps that do the same."""
    return [{"id": name, "kwargs": kwargs} for name, kwargs in _steps(how, ["channel", "y", "x"])]


def processing_04(how: Normalisation | None) -> list[dict[str, Any]]:
    """The rdf 0.4 preprocessing steps that do the same."""
    return [
        {"name": name, "kwargs": {"mode": "per_sample", **kwargs} if "axes" in kwargs else kwargs}
        for name, kwargs in _steps(how, "cyx")
    ]


def _steps(how: Normalisation | None, axes: Any) -> list[tuple[str, dict[str, Any]]]:
    steps: list[tuple[str, dict[str, Any]]] = []
    if isinstance(how, PercentileNormalisation):
        kwargs = {"axes": axes, "min_percentile": how.low, "max_percentile": how.high, "eps": EPS}
        steps.append(("scale_range", kwargs))
    elif isinstance(how, ZeroMeanNormalisation):
        steps.append(("zero_mean_unit_variance", {"axes": axes, "eps": EPS}))
    elif statistics_of_channels(how) is not None:
        raise ConfigError(
            "numbers for each channel are no step that every client has; they become part of the "
            "network, which is then described without normalisation"
        )
    elif (linear := gain_and_offset(how)) is not None:
        steps.append(("scale_linear", {"gain": linear[0], "offset": linear[1]}))
    if how is not None and how.clip is not None:
        steps.append(("clip", {"min": how.clip[0], "max": how.clip[1]}))
    return steps


def in_words(how: Normalisation | None) -> str:
    """How images are normalised, for the card: a phrase behind "normalised"."""
    end = "" if how is None or how.clip is None else f", cut to {how.clip[0]:g}…{how.clip[1]:g}"
    if isinstance(how, PercentileNormalisation):
        return (
            f"by the {how.low:g} % and {how.high:g} % percentiles of each image, "
            f"`(x − P_low) / (P_high − P_low)`{end}"
        )
    if isinstance(how, ZeroMeanNormalisation):
        return f"to zero mean and unit variance of each image, `(x − mean) / std`{end}"
    if isinstance(how, FixedMeanNormalisation) and (numbers := fixed_range(how)) is not None:
        return f"`(x − {numbers[0]:g}) / {numbers[1]:g}`{end}"
    if isinstance(how, FixedMeanNormalisation):
        return f"`(x − {how.mean}) / {how.std}` of each channel{end}"
    if isinstance(how, FixedRangeNormalisation):
        return f"`(x − {how.low:g}) / ({how.high:g} − {how.low:g})`{end}"
    return f"that is, the network takes them as they are{end}"


def parse_normalisation(text: str, option: str = "--normalisation") -> Normalisation:
    """Parse what a command line says, e.g. `percentile:1:99.8`, `mean-std:120:40`, `none`.

    Args:
        text: kind and numbers between colons; `:clip` or `:clip:LOW:HIGH` may follow.
        option: its name, for the message.

    Raises:
        ConfigError: unknown kind, wrong numbers; says what to write.
    """
    head, cut, bounds = text.partition("clip")
    kind, *numbers = head.rstrip(":").split(":") if head or not cut else ["none"]
    found = _KINDS.get(kind)
    clip = [part for part in bounds.split(":") if part] if cut else None
    if found is None or len(numbers) not in (0, len(found[1])) or len(clip or ()) not in (0, 2):
        raise ConfigError(
            f"{option} {text}: write percentile:LOW:HIGH (e.g. percentile:1:99.8), range:LOW:HIGH "
            "(e.g. range:0:255), zero-mean, mean-std:MEAN:STD (one number, or one per channel "
            "between commas) or none, and :clip or :clip:LOW:HIGH behind it where the network was "
            "trained on cut values"
        )
    values: dict[str, Any] = {
        name: tuple(number.split(",")) if "," in number else number
        for name, number in zip(found[1], numbers, strict=False)
    }
    if clip is not None:
        values["clip"] = clip or (0.0, 1.0)
    made: Normalisation = parse_config(found[0], values, option)
    return made


_KINDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "percentile": (PercentileNormalisation, ("low", "high")),
    "range": (FixedRangeNormalisation, ("low", "high")),
    "mean-std": (FixedMeanNormalisation, ("mean", "std")),
    "zero-mean": (ZeroMeanNormalisation, ()),
    "none": (NoNormalisation, ()),
}


def as_normalisation(given: str | Normalisation | None) -> Normalisation | None:
    """What `parse_normalisation` makes of a text; a configuration, or nothing, as it is."""
    return parse_normalisation(given) if isinstance(given, str) else given
