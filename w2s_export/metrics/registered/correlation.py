"""Linear correlation, which many papers of the field report."""

from __future__ import annotations

import numpy as np

from w2s_export.metrics.registry import Compared, metric


@metric("correlation", "correlation", higher_is_better=True, digits=4)
def correlation(images: Compared) -> float:
    """Pearson's correlation of the pixels; 0 where the restored image is constant."""
    x, y = (image - image.mean() for image in (images.restored, images.target))
    power = float(np.sqrt(np.vdot(x, x) * np.vdot(y, y)))
    return float(np.vdot(x, y)) / power if power else 0.0
