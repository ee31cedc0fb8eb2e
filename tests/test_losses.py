"""The shared losses against the logarithms that they stand for."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigan.blocks.losses import bce_fake, bce_real, gradient_penalty, unit_range


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8))
def test_they_are_mean_logarithms_of_the_discriminators_probability(logits):
    t = torch.tensor(logits, dtype=torch.float64)
    real = sum(-math.log(sigmoid(v)) for v in logits) / len(logits)
    fake = sum(-math.log(1 - sigmoid(v)) for v in logits) / len(logits)
    assert bce_real(t).item() == pytest.approx(real, rel=1e-9)
    assert bce_fake(t).item() == pytest.approx(fake, rel=1e-9)


def test_they_stay_finite_however_sure_the_discriminator_is():
    t = torch.tensor([-1000.0, 1000.0], requires_grad=True)
    loss = bce_real(t) + bce_fake(t)
    loss.backward()
    assert loss.item() == pytest.approx(1000)
    assert torch.isfinite(t.grad).all()


def test_small_means_agreement():
    sure_it_is_real = torch.tensor([8.0])
    assert bce_real(sure_it_is_real) < 0.001 < 7 < bce_fake(sure_it_is_real)


# ---------------------------------------------------------------------- gradient penalty


def penalty(D, real, fake, seed=0):
    return gradient_penalty(D, real, fake, torch.Generator().manual_seed(seed))


def test_penalty_of_a_plane_is_the_square_of_its_slope_minus_one():
    w = torch.tensor([[3.0, 0.0], [0.0, 4.0]])  # a slope of 5 everywhere
    real, fake = torch.rand(6, 1, 2, 2), torch.rand(6, 1, 2, 2)
    assert penalty(lambda x: (x * w).sum((1, 2, 3)), real, fake).item() == pytest.approx(16)
    assert penalty(lambda x: (x * w).sum((1, 2, 3)) / 5, real, fake).item() == pytest.approx(0, abs=1e-10)


def test_penalty_is_taken_between_pairs_of_real_and_fake_images():
    seen = []

    def D(x):
        seen.append(x.detach())
        return x.square().sum((1, 2, 3)) / 2  # the slope at x is its length

    real, fake = torch.zeros(500, 1, 1, 1), torch.full((500, 1, 1, 1), 2.0)
    found = penalty(D, real, fake)
    (x,) = seen
    share = x.flatten() / 2  # one for each pair, uniform in [0, 1]
    assert 0 <= share.min() < 0.02 and 0.98 < share.max() <= 1
    assert share.mean().item() == pytest.approx(0.5, abs=0.05)
    assert found.item() == pytest.approx((2 * share - 1).square().mean().item(), rel=1e-5)
    assert penalty(D, real, fake) == found != penalty(D, real, fake, seed=1)


def test_all_pixels_of_an_image_are_mixed_at_one_share():
    seen = []

    def D(x):
        seen.append(x.detach())
        return x.sum((1, 2, 3))

    penalty(D, torch.zeros(5, 3, 4, 4), torch.ones(5, 3, 4, 4))
    (x,) = seen
    assert (x == x[:, :1, :1, :1]).all() and len(x[:, 0, 0, 0].unique()) == 5


def test_penalty_teaches_D_and_nobody_else():
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    real = torch.rand(4, 2, 1, 1, requires_grad=True)
    fake = torch.rand(4, 2, 1, 1, requires_grad=True)
    penalty(lambda x: (x[:, :, 0, 0] * w).sum(1), real, fake).backward()
    torch.testing.assert_close(w.grad, 2 * (5 - 1) * w.detach() / 5)  # of (|w| - 1)^2
    assert real.grad is None and fake.grad is None
    # Steeper further out, so that it does matter where the images are.
    curved = penalty(lambda x: w.sum() * x.square().sum((1, 2, 3)), real, fake)
    assert torch.autograd.grad(curved, [real, fake], allow_unused=True) == (None, None)


def test_each_image_is_stretched_to_the_unit_range():
    x = torch.tensor([[[[0.0]], [[2.0]], [[4.0]]], [[[5.0]], [[5.0]], [[6.0]]]])  # all channels together
    assert unit_range(x).flatten(1).tolist() == [[0, 0.5, 1], [0, 0, 1]]
    assert unit_range(torch.full((1, 1, 2, 2), 0.3)).eq(0).all()  # finite, though it has no contrast
    faint = 0.001 * torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(unit_range(faint), unit_range(1000 * faint))
