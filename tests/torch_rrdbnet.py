"""RRDBNet by PyTorch's own operations, as its paper draws it; shares nothing with ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.config import GeneratorConfig

Floats = NDArray[np.float32]


def forward(state: Mapping[str, Floats], image: Floats, config: GeneratorConfig) -> Floats:
    """Run the network: (N, C, H, W) → (N, C', s·H, s·W)."""
    import torch
    from torch.nn import functional

    def conv(x: Any, name: str) -> Any:
        kernel, bias = (torch.from_numpy(state[f"{name}.{part}"]) for part in ("weight", "bias"))
        return functional.conv2d(x, kernel, bias, padding=1)

    def lrelu(x: Any) -> Any:
        return functional.leaky_relu(x, config.negative_slope)

    def up(x: Any, factor: int) -> Any:
        return functional.interpolate(x, scale_factor=factor, mode="nearest")

    x = torch.from_numpy(image)
    if config.pixel_unshuffle > 1:
        x = functional.pixel_unshuffle(x, config.pixel_unshuffle)
    first = x = conv(x, "conv_first")
    for block in range(config.nb):
        outer = x
        for dense in (1, 2, 3):
            inner = features = x
            for k in (1, 2, 3, 4):
                y = lrelu(conv(features, f"body.{block}.rdb{dense}.conv{k}"))
                features = torch.cat([features, y], 1)
            y = conv(features, f"body.{block}.rdb{dense}.conv5")
            x = inner + config.residual_scale * y
        x = outer + config.residual_scale * x
    x = first + conv(x, "conv_body")
    if config.upsampling == "conv":
        for step in (1, 2):
            if f"conv_up{step}.weight" in state:
                x = lrelu(conv(up(x, 2), f"conv_up{step}"))
    elif config.scale * config.pixel_unshuffle > 1:
        # Without upsampling there is no activation either: ESRGAN's first code (architecture.py
        # of xinntao's BasicSR of 2018) goes from the trunk to HR_conv0 directly at ×1.
        x = lrelu(up(x, config.scale * config.pixel_unshuffle))
    return conv(lrelu(conv(x, "conv_hr")), "conv_last").float().numpy()
