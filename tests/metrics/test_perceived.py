"""The distance of features, against the same formula in PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.vgg import Layers, layers, write_npz
from w2s_export.metrics.scores import score
from w2s_export.sources.feature_weights import load_features


def expected(restored: np.ndarray, target: np.ndarray, weights: Layers) -> float:
    """VGG19 with ReLU, max pooling between blocks; unit vectors, squared distance, mean."""
    low, high = np.percentile(target, [0.1, 99.9])
    slope, offset = np.polyfit(restored.ravel(), target.ravel(), 1)
    total, features = 0.0, []
    for image in (slope * restored + offset, target):
        shown = np.clip((image - low) / (high - low), 0, 1)
        x = torch.tensor(255 * shown)[None, None].repeat(1, 3, 1, 1)
        x = x - torch.tensor([103.939, 116.779, 123.68])[None, :, None, None]
        stages = []
        for name, (kernel, bias) in weights.items():
            if name.endswith("conv1") and name != "block1_conv1":
                stages.append(x)
                x = functional.max_pool2d(x, 2)
            weight = torch.tensor(kernel.transpose(3, 2, 0, 1)).double()
            x = functional.relu(
                functional.conv2d(x, weight, torch.tensor(bias).double(), padding=1)
            )
        features.append([*stages, x])
    for one, other in zip(*features, strict=True):
        difference = functional.normalize(one) - functional.normalize(other)
        total += float((difference**2).sum(1).mean())
    return total / 3


@pytest.mark.parametrize("depth", [3, 4])
def test_it_is_the_formula(tmp_path: Path, depth: int) -> None:
    weights = layers(depth)
    features = load_features(write_npz(tmp_path / "vgg.npz", weights)).stages
    rng = np.random.default_rng(0)
    target = rng.gamma(2.0, 10.0, (24, 20))
    restored = target + rng.normal(0, 9, target.shape)
    scores = score(restored, target, features=features)
    assert scores["feature_distance"] == pytest.approx(
        expected(restored, target, weights), rel=1e-3
    )
    same = score(3 * target - 1, target, features=features)
    assert same["feature_distance"] == pytest.approx(0, abs=1e-8)
    assert "feature_distance" not in score(restored, target)
