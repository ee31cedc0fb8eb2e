"""The shared losses against the logarithms that they stand for."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigan.losses import say_fake, say_real


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8))
def test_they_are_mean_logarithms_of_the_discriminators_probability(logits):
    t = torch.tensor(logits, dtype=torch.float64)
    real = sum(-math.log(sigmoid(v)) for v in logits) / len(logits)
    fake = sum(-math.log(1 - sigmoid(v)) for v in logits) / len(logits)
    assert say_real(t).item() == pytest.approx(real, rel=1e-9)
    assert say_fake(t).item() == pytest.approx(fake, rel=1e-9)


def test_they_stay_finite_however_sure_the_discriminator_is():
    t = torch.tensor([-1000.0, 1000.0], requires_grad=True)
    loss = say_real(t) + say_fake(t)
    loss.backward()
    assert loss.item() == pytest.approx(1000)
    assert torch.isfinite(t.grad).all()


def test_small_means_agreement():
    sure_it_is_real = torch.tensor([8.0])
    assert say_real(sure_it_is_real) < 0.001 < 7 < say_fake(sure_it_is_real)
