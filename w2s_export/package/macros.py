"""ImageJ macros that DeepImageJ 2.1 and 3.0 run around the network.

Those versions do not execute the rdf's `preprocessing`: they run these files on the current image
and take the current image afterwards as the result. Each macro has one idea, so each kind of
normalisation has its own template.
"""

from __future__ import annotations

from string import Template

from w2s_export.config import FixedRangeNormalisation, Normalisation
from w2s_export.data.normalise import EPS
from w2s_export.resources import asset


def preprocessing_macro(normalisation: Normalisation, channels: int) -> str:
    """The macro that normalises an image as training did.

    Args:
        normalisation: what the network was trained with.
        channels: channels of the network's input, normalised together.
    """
    if isinstance(normalisation, FixedRangeNormalisation):
        return _fill(
            "preprocessing_fixed_range.ijm",
            low=repr(normalisation.low),
            high=repr(normalisation.high),
            channels=channels,
        )
    return _fill(
        "preprocessing_percentile.ijm",
        low=repr(normalisation.low),
        high=repr(normalisation.high),
        eps=repr(EPS),
        channels=channels,
    )


def postprocessing_macro(scale: int) -> str:
    """The macro that calibrates and displays an output `scale` times as large as its input."""
    return _fill("postprocessing.ijm", factor=scale)


def _fill(name: str, **values: object) -> str:
    template = asset(f"bioimageio/macros/{name}").read_text(encoding="utf-8")
    return Template(template).substitute(values)
