"""The arithmetic of the RRDBNet family, against counts worked by hand or published."""

import pytest

from w2s_export.config import GeneratorConfig
from w2s_export.networks.layout import convolutions, parameter_count, tensor_shapes


def test_default_has_the_published_parameter_count() -> None:
    assert parameter_count(GeneratorConfig()) == 16_621_825


def test_esrgan_x4_has_the_published_parameter_count() -> None:
    # BasicSR's RRDBNet(3, 3, nf=64, nb=23, gc=32), scale 4.
    config = GeneratorConfig(in_nc=3, out_nc=3, scale=4, upsampling="conv")
    assert parameter_count(config) == 16_697_987


def test_smallest_network_by_hand() -> None:
    # nf 2, gc 1: first 9·1·2+2; five convolutions 2→1, 3→1, 4→1, 5→1, 6→2, three times;
    # body and hr 9·2·2+2 each; last 9·2·1+1.
    dense = (9 * 2 + 1) + (9 * 3 + 1) + (9 * 4 + 1) + (9 * 5 + 1) + (9 * 6 + 1) * 2
    expected = 20 + 3 * dense + 38 + 38 + 19
    assert parameter_count(GeneratorConfig(nf=2, gc=1, nb=1)) == expected


@pytest.mark.parametrize(
    ("options", "inputs"),
    [({}, 1), ({"pixel_unshuffle": 2}, 4), ({"scale": 1, "pixel_unshuffle": 4}, 16)],
)
def test_pixel_unshuffle_widens_the_first_convolution(options: dict, inputs: int) -> None:
    config = GeneratorConfig(nf=4, gc=2, nb=1, upsampling="conv", **options)
    assert tensor_shapes(config)["conv_first/kernel"] == (3, 3, inputs, 4)


def test_conv_upsampling_has_one_convolution_per_doubling() -> None:
    names = [c.name for c in convolutions(GeneratorConfig(scale=4, upsampling="conv"))]
    assert [n for n in names if n.startswith("conv_up")] == ["conv_up1", "conv_up2"]
    assert names.index("conv_up1") == names.index("conv_body") + 1
