"""Two images under a divider, in a notebook: nothing is fetched, and the keyboard moves it."""

from __future__ import annotations

from html import escape
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBER = count()


class Divider:
    """What a notebook shows of two images: one left of a line that can be moved, one right of it.

    Args:
        before: (H, W) or (C, H, W).
        after: the same field, with any number of pixels.
        labels: what the two are.

    Raises:
        ValueError: an array that is no image.
    """

    def __init__(
        self,
        before: NDArray[Any],
        after: NDArray[Any],
        labels: tuple[str, str] = ("input", "restored"),
    ) -> None:
        self.images = tuple(_with_channels(np.asarray(image)) for image in (before, after))
        self.labels = labels

    def _repr_html_(self) -> str:
        from w2s_export.verify.pictures import view

        first, second = (view(image) for image in self.images)
        left, right = (escape(label) for label in self.labels)
        height, width = self.images[0].shape[1:]
        box = f"w2s-divider-{next(_NUMBER)}"
        picture = "position:absolute;inset:0;width:100%;height:100%;image-rendering:pixelated"
        cut = f"document.getElementById('{box}').style.clipPath='inset(0 0 0 '+this.value+'%)'"
        return (
            f'<div style="max-width:32rem"><div style="position:relative;'
            f'aspect-ratio:{width}/{height}"><img alt="{left}" src="{first.uri}" '
            f'style="{picture}"><img id="{box}" alt="{right}" src="{second.uri}" '
            f'style="{picture};clip-path:inset(0 0 0 50%)"></div>'
            f'<label style="display:flex;gap:.5rem;align-items:center">{left}'
            f'<input type="range" min="0" max="100" value="50" style="flex:1" '
            f'aria-label="Divider between {left} and {right}" oninput="{cut}">{right}</label></div>'
        )


def _with_channels(image: NDArray[Any]) -> NDArray[Any]:
    if image.ndim not in (2, 3) or min(image.shape) < 1:
        raise ValueError(f"an image is (H, W) or (C, H, W), got {image.shape}")
    return image[np.newaxis] if image.ndim == 2 else image
