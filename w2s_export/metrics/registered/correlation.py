"""Linear correlation, which many papers of the field report."""

from __future__ import annotations

import numpy as np

from w2s_export.metrics.registry import Compared, metric


@metric("correlation", "correlation", higher_is_better=True, digits=4)
def correlation(images: Compared) -> float:
    """Pearson's correlation of the pixels; 0 where the restored image is constant."""
    if not np.ptp(images.restored):
        return 0.0
    return float(np.corrcoef(images.restored.ravel(), images.target.ravel())[0, 1])
