"""Structural similarity."""

from __future__ import annotations

from w2s_export.metrics.registry import Compared, metric


@metric("ssim", "SSIM", higher_is_better=True, digits=4)
def ssim(images: Compared) -> float:
    """Structural similarity (Wang et al. 2004, Gaussian window of σ 1.5)."""
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            images.restored,
            images.target,
            data_range=images.width,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
