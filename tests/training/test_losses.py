"""Losses by hand and against PyTorch, and told apart from the faults of the original W2S code."""

from __future__ import annotations

import numpy as np
import pytest

from w2s_export.training.losses import (
    discriminator_loss,
    generator_adversarial_loss,
    gram,
    perceptual_loss,
    pixel_loss,
    texture_loss,
)

TARGET = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32).reshape(1, 2, 2, 1)
OUTPUT = np.array([[1.0, 1.0], [0.0, 6.0]], np.float32).reshape(1, 2, 2, 1)


@pytest.mark.parametrize("loss", [pixel_loss, perceptual_loss])
def test_l1_and_l2_by_hand(loss) -> None:
    assert float(loss(TARGET, OUTPUT, "l1")) == pytest.approx((1 + 0 + 2 + 3) / 4)
    assert float(loss(TARGET, OUTPUT, "l2")) == pytest.approx((1 + 0 + 4 + 9) / 4)
    with pytest.raises(ValueError, match="unknown pixel loss 'l3'"):
        loss(TARGET, OUTPUT, "l3")


def test_gram_by_hand() -> None:
    # Two pixels, three channels: (1, 2, 0) and (3, 0, 1).
    features = np.array([[1, 2, 0], [3, 0, 1]], np.float32).reshape(1, 1, 2, 3)
    expected = np.array([[10, 2, 3], [2, 4, 0], [3, 0, 1]]) / (1 * 2 * 3)
    np.testing.assert_allclose(gram(features)[0], expected, rtol=1e-6)


def test_texture_by_hand() -> None:
    # One pixel, one channel: G = F²; |16 − 4| and its square.
    two, four = (np.full((1, 1, 1, 1), v, np.float32) for v in (2, 4))
    assert float(texture_loss(two, four, "l1")) == pytest.approx(12)
    assert float(texture_loss(two, four, "l2")) == pytest.approx(144)


def test_texture_against_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    a, b = np.random.default_rng(0).normal(size=(2, 3, 5, 4, 6)).astype(np.float32)

    def grams(x: np.ndarray) -> object:
        x = torch.from_numpy(x)
        return torch.einsum("nyxc,nyxd->ncd", x, x) / (5 * 4 * 6)

    expected = torch.nn.functional.l1_loss(grams(a), grams(b)).item()
    assert float(texture_loss(a, b, "l1")) == pytest.approx(expected, rel=1e-5)


def test_texture_is_of_channels_not_of_pixels() -> None:
    """A fault of the original: Gram matrices over pixels, (HW)×(HW), which compare places."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    moved = rng.permutation(features.reshape(2, 16, 3), axis=1).reshape(features.shape)
    assert gram(features).shape == (2, 3, 3)
    assert float(texture_loss(features, moved, "l1")) == pytest.approx(0, abs=1e-6)
    flat, other = (x.reshape(2, 16, 3) for x in (features, moved))
    faulty = np.abs(flat @ flat.swapaxes(1, 2) - other @ other.swapaxes(1, 2)).mean() / 48
    assert faulty > 0.01


def test_adversarial_losses_by_hand() -> None:
    # One image each, logits 3 and −2: the real one exceeds the fake by 5, which exceeds it by −5.
    real, fake = np.float32([[3]]), np.float32([[-2]])
    right, wrong = np.log(1 + np.exp(-5)), np.log(1 + np.exp(5))
    assert float(discriminator_loss(real, fake)) == pytest.approx(2 * right, rel=1e-5)
    assert float(generator_adversarial_loss(real, fake)) == pytest.approx(2 * wrong, rel=1e-5)


def test_each_is_compared_with_the_mean_of_the_others() -> None:
    # C(xr) − E[C(xf)] = 1 − 1, 4 − 1; C(xf) − E[C(xr)] = 0 − 2.5, 2 − 2.5.
    real, fake = np.float32([[1], [4]]), np.float32([[0], [2]])
    softplus = np.logaddexp(0, [[-0.0, -3.0], [-2.5, -0.5]])
    assert float(discriminator_loss(real, fake)) == pytest.approx(
        softplus[0].mean() + softplus[1].mean(), rel=1e-6
    )


def test_a_joint_mean_takes_the_place_of_the_mean_of_the_batch() -> None:
    real, fake = np.float32([[1]]), np.float32([[0]])
    loss = discriminator_loss(real, fake, mean=lambda logits: np.float32(2.0))
    assert float(loss) == pytest.approx(np.logaddexp(0, 1) + np.logaddexp(0, -2), rel=1e-6)


@pytest.mark.parametrize("scale", [1, 100])
def test_adversarial_losses_and_gradients_against_pytorch(scale: float) -> None:
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    import tensorflow as tf

    logits = scale * np.random.default_rng(1).normal(size=(2, 5, 1)).astype(np.float32)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    for loss, label in ((discriminator_loss, 1.0), (generator_adversarial_loss, 0.0)):
        real, fake = (torch.tensor(x, requires_grad=True) for x in logits)
        first, second = real - fake.mean(), fake - real.mean()
        expected = bce(first, torch.full_like(first, label)) + bce(
            second, torch.full_like(second, 1 - label)
        )
        expected.backward()
        tensors = [tf.constant(x) for x in logits]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            got = loss(*tensors)
        assert float(got) == pytest.approx(expected.item(), rel=1e-5)
        for ours, theirs in zip(tape.gradient(got, tensors), (real, fake), strict=True):
            np.testing.assert_allclose(ours, theirs.grad, atol=1e-6)


def test_logits_are_not_taken_for_probabilities() -> None:
    """A fault of the original: cross-entropy of logits, clipped to 0…1 as if probabilities."""
    import keras

    real, fake = np.float32([[3]]), np.float32([[-2]])
    faulty = keras.losses.BinaryCrossentropy()  # from_logits=False
    wrong = float(faulty(np.ones((1, 1)), real - fake) + faulty(np.zeros((1, 1)), fake - real))
    right = 2 * np.log1p(np.exp(-5))
    assert float(discriminator_loss(real, fake)) == pytest.approx(right, rel=1e-5)
    assert wrong != pytest.approx(right, rel=0.5)
    # Clipped, it teaches nothing; of logits, a confident mistake is pulled back at full strength.
    import tensorflow as tf

    value = tf.constant(fake)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(value)
        ours = generator_adversarial_loss(tf.constant(real), value)
        theirs = faulty(tf.ones((1, 1)), value - real)
    assert tape.gradient(theirs, value).numpy().item() == 0
    assert tape.gradient(ours, value).numpy().item() == pytest.approx(-2, abs=0.02)


def test_huge_logits_stay_finite() -> None:
    real, fake = np.float32([[-1e4]]), np.float32([[1e4]])
    assert float(discriminator_loss(real, fake)) == pytest.approx(4e4)
