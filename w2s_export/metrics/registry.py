"""The metrics: what each asks of a restored image and its target, found by looking.

A module under `metrics/registered` whose functions carry `@metric` is all that a new metric needs:
training, `evaluate`, tables, cards and experiments take whatever `metrics()` finds.

One definition serves all of them: the target is the image as stored, the restored image is first
fitted to it by least squares, `a·x + b`, and the range is the target's 99.9 % minus its 0.1 %
percentile, so that a single hot pixel does not flatter the score. What is restored had its borders
mirrored, as the clients do it. Of several channels the mean is taken.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
Features = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]
"""(H, W), 0…1 → feature maps (h, w, C), as many as the network has stages."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a metric sees of one channel."""

    restored: Plane
    """(H, W), fitted to the target's intensities."""
    target: Plane
    """(H, W), as stored."""
    width: float
    """The target's range."""
    features: Features | None = None
    """A feature network, where one was given."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A registered metric."""

    key: str
    """Its name in files and configurations; a unit comes last: `psnr_db`."""
    label: str
    """Its column in tables."""
    higher_is_better: bool
    digits: int
    """Decimals that mean something."""
    needs_features: bool
    function: Callable[[Compared], float]

    @property
    def bicubic_key(self) -> str:
        """Name of bicubic enlargement's score beside the network's: `psnr_bicubic_db`."""
        stem, _, unit = self.key.rpartition("_")
        return f"{stem}_bicubic_{unit}" if unit in ("db", "px") else f"{self.key}_bicubic"

    @property
    def meaning(self) -> str:
        """First line of its docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


def metric(
    key: str,
    label: str,
    *,
    higher_is_better: bool,
    digits: int = 3,
    needs_features: bool = False,
) -> Callable[[Callable[[Compared], float]], Callable[[Compared], float]]:
    """Mark a function as a metric; arguments as the fields of `Metric`."""

    def mark(function: Callable[[Compared], float]) -> Callable[[Compared], float]:
        marked: Any = function
        marked.metric = Metric(key, label, higher_is_better, digits, needs_features, function)
        return function

    return mark


@cache
def metrics() -> dict[str, Metric]:
    """Every metric by its key: PSNR, SSIM, NRMSE and resolution first, then by module."""
    from w2s_export.metrics import registered

    found: dict[str, Metric] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(registered.__path__)):
        for value in vars(import_module(f"{registered.__name__}.{module}")).values():
            if isinstance(one := getattr(value, "metric", None), Metric):
                found[one.key] = one
    first = [key for key in ("psnr_db", "ssim", "nrmse", "resolution_px") if key in found]
    return {key: found[key] for key in dict.fromkeys([*first, *found])}
