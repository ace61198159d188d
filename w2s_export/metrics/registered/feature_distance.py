"""How different two images look to a network that was trained to recognise things.

In the manner of LPIPS (Zhang et al. 2018, https://arxiv.org/abs/1801.03924) without its learned
weights: VGG's features after blocks 1, 2 and 3, each pixel's vector scaled to length one, squared
differences summed over channels and averaged over pixels and blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from w2s_export.metrics.registry import Compared, Plane, metric

_NEVER_ZERO = 1e-10


@metric("feature_distance", "features", higher_is_better=False, digits=4, needs_features=True)
def feature_distance(images: Compared) -> float:
    """Distance of feature vectors (in the manner of LPIPS); needs the weights of VGG19 or VGG16."""
    if images.features is None:
        raise ValueError("feature_distance needs a feature network")
    low = float(np.percentile(images.target, 0.1))

    def shown(image: Plane) -> NDArray[np.float32]:
        return ((image - low) / images.width).clip(0, 1).astype(np.float32)

    both = (images.features(shown(image)) for image in (images.restored, images.target))
    distances = [
        float(np.mean(np.sum((_unit(x) - _unit(y)) ** 2, axis=-1)))
        for x, y in zip(*both, strict=True)
    ]
    return float(np.mean(distances))


def _unit(features: NDArray[np.float32]) -> NDArray[np.float64]:
    values = features.astype(np.float64)
    length: NDArray[np.float64] = np.sqrt(np.sum(values**2, axis=-1, keepdims=True))
    return values / (length + _NEVER_ZERO)
