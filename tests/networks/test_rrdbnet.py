"""The Keras generator against recorded outputs of the original networks and against the layout."""

from __future__ import annotations

import numpy as np
import pytest

from w2s_export.config import GeneratorConfig
from w2s_export.errors import CheckpointMismatchError
from w2s_export.networks.layout import parameter_count, tensor_shapes
from w2s_export.networks.rrdbnet import build_generator, get_weights, set_weights

TINY = GeneratorConfig(nf=4, gc=2, nb=1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 1},
        {"scale": 4, "upsampling": "conv", "in_nc": 3, "out_nc": 3},
        {"scale": 2, "upsampling": "conv", "pixel_unshuffle": 2},
        {"scale": 1, "upsampling": "conv", "pixel_unshuffle": 4, "in_nc": 3},
    ],
)
def test_family_member_has_the_layouts_weights_and_scale(options: dict) -> None:
    config = GeneratorConfig(nf=4, gc=2, nb=1, **options)
    model = build_generator(config)
    assert {k: v.shape for k, v in get_weights(model, config).items()} == tensor_shapes(config)
    assert model.count_params() == parameter_count(config)
    assert model.input_shape == (None, None, None, config.in_nc)
    output = model(np.zeros((2, 8, 12, config.in_nc), np.float32))
    assert output.shape == (2, 8 * config.scale, 12 * config.scale, config.out_nc)


def test_kernels_start_as_he_normal_times_a_tenth() -> None:
    model = build_generator(GeneratorConfig(nb=1), seed=3)
    kernel = model.get_layer("body_0_rdb1_conv5").get_weights()[0]
    fan_in = 9 * (64 + 4 * 32)
    # 110,592 draws: the sample's deviation is within 1 % of the distribution's.
    assert kernel.std() == pytest.approx(0.1 * np.sqrt(2 / fan_in), rel=0.01)


def test_a_seed_gives_the_same_weights_and_another_does_not() -> None:
    first, again, other = (get_weights(build_generator(TINY, s), TINY) for s in (5, 5, 6))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["conv_first/kernel"], other["conv_first/kernel"])


def test_no_two_kernels_start_alike() -> None:
    config = GeneratorConfig(nf=4, gc=4, nb=3)
    weights = get_weights(build_generator(config), config)
    kernels = [v.tobytes() for k, v in weights.items() if k.endswith("kernel")]
    assert len(set(kernels)) == len(kernels)


def test_every_layer_must_be_filled() -> None:
    weights = get_weights(build_generator(TINY), TINY)
    model = build_generator(TINY)
    kernel = weights.pop("conv_hr/kernel")
    with pytest.raises(CheckpointMismatchError, match="lacks 1 weight.*conv_hr/kernel"):
        set_weights(model, TINY, weights)
    weights["conv_hr/kernel"] = kernel[:, :, :1]
    with pytest.raises(CheckpointMismatchError, match=r"first 'conv_hr/kernel'.*\(3, 3, 1, 4\)"):
        set_weights(model, TINY, weights)
    weights["conv_hr/kernel"] = np.full_like(kernel, np.nan)
    with pytest.raises(CheckpointMismatchError, match="NaN or infinity.*conv_hr/kernel"):
        set_weights(model, TINY, weights)
    weights["conv_hr/kernel"] = kernel
    weights["conv_hr2/bias"] = kernel
    with pytest.raises(
        CheckpointMismatchError, match="no layer for 1 tensor, first 'conv_hr2/bias'"
    ):
        set_weights(model, TINY, weights)
