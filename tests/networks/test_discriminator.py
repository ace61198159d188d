"""The discriminator: layers and sizes by hand, any image size, batch statistics as PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

from w2s_export.networks.batch_statistics import BatchStatisticsNormalisation
from w2s_export.networks.discriminator import DiscriminatorConfig, build_discriminator


def test_it_has_vgg128s_layers() -> None:
    model = build_discriminator(DiscriminatorConfig(), 1)
    kernels = {
        layer.name: tuple(layer.kernel.shape) for layer in model.layers if hasattr(layer, "kernel")
    }
    widths = [64, 128, 256, 512, 512]
    expected, inputs = {}, 1
    for level, width in enumerate(widths):
        expected[f"conv{level}_0"] = (3, 3, inputs, width)
        expected[f"conv{level}_1"] = (4, 4, width, width)
        inputs = width
    assert kernels == expected | {"hidden": (512, 100), "logit": (100, 1)}
    norms = [layer.name for layer in model.layers if layer.name.endswith("_norm")]
    assert norms == [f"{name}_norm" for name in expected if name != "conv0_0"]


@pytest.mark.parametrize("size", [(16, 16), (50, 34), (128, 128), (1, 1)])
def test_any_size_gives_one_logit_an_image(size: tuple[int, int]) -> None:
    model = build_discriminator(DiscriminatorConfig(nf=4, levels=3), 2)
    images = np.random.default_rng(0).random((3, *size, 2), np.float32)
    assert model(images).shape == (3, 1)


def test_logits_are_not_squashed() -> None:
    model = build_discriminator(DiscriminatorConfig(nf=4, levels=2), 1)
    last = model.get_layer("logit")
    last.set_weights([100 * last.get_weights()[0], last.get_weights()[1]])
    logits = np.asarray(model(np.random.default_rng(0).random((4, 16, 16, 1), np.float32)))
    assert logits.min() < -1 or logits.max() > 2


def test_a_seed_gives_the_same_weights_and_another_does_not() -> None:
    config = DiscriminatorConfig(nf=4, levels=2)
    first, again, other = (build_discriminator(config, 1, s).get_weights() for s in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_batch_statistics_are_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    x = np.random.default_rng(0).normal(3, 2, (4, 5, 6, 7)).astype(np.float32)
    layer = BatchStatisticsNormalisation()
    layer.build(x.shape)
    gamma, beta = np.linspace(0.5, 2, 7), np.linspace(-1, 1, 7)
    layer.set_weights([gamma, beta])
    expected = torch.nn.functional.batch_norm(
        torch.from_numpy(x).permute(0, 3, 1, 2),
        None,
        None,
        torch.tensor(gamma, dtype=torch.float32),
        torch.tensor(beta, dtype=torch.float32),
        training=True,
    ).permute(0, 2, 3, 1)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
