"""ImageJ macros that DeepImageJ 2.1 and 3.0 run around the network.

Those versions do not execute the rdf's `preprocessing`: they run these files on the current image
and take the current image afterwards as the result. Each macro has one idea, so each kind of
normalisation has its own template.
"""

from __future__ import annotations

from string import Template

from w2s_export.config import (
    NoNormalisation,
    Normalisation,
    PercentileNormalisation,
    ZeroMeanNormalisation,
)
from w2s_export.data.normalise import EPS, fixed_range
from w2s_export.resources import asset


def preprocessing_macro(normalisation: Normalisation | None, channels: int) -> str | None:
    """The macro that normalises an image as training did; None where nothing is to be done.

    Args:
        normalisation: what the network was trained with.
        channels: channels of the network's input, normalised together.
    """
    if normalisation is None or (
        isinstance(normalisation, NoNormalisation) and normalisation.clip is None
    ):
        return None
    shared = {"channels": channels, "clip": _clip(normalisation.clip)}
    if isinstance(normalisation, PercentileNormalisation):
        low, high = repr(normalisation.low), repr(normalisation.high)
        return _fill("preprocessing_percentile.ijm", low=low, high=high, eps=repr(EPS), **shared)
    if isinstance(normalisation, ZeroMeanNormalisation):
        return _fill("preprocessing_zero_mean.ijm", eps=repr(EPS), **shared)
    zero, width = fixed_range(normalisation) or (0.0, 1.0)
    return _fill("preprocessing_fixed_range.ijm", low=repr(zero), range=repr(width), **shared)


def _clip(bounds: tuple[float, float] | None) -> str:
    """Two lines of a macro's loop over planes."""
    if bounds is None:
        return ""
    low, high = bounds
    return (
        f'\n\trun("Min...", "value=" + d2s({low!r}, -9) + " slice");'
        f'\n\trun("Max...", "value=" + d2s({high!r}, -9) + " slice");'
    )


def postprocessing_macro(scale: int) -> str:
    """The macro that calibrates and displays an output `scale` times as large as its input."""
    return _fill("postprocessing.ijm", factor=scale)


def _fill(name: str, **values: object) -> str:
    template = asset(f"bioimageio/macros/{name}").read_text(encoding="utf-8")
    return Template(template).substitute(values)
