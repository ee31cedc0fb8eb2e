"""ALOCC: the losses and the scores by hand, the noise, and how often R is updated."""

import copy

import numpy as np
import pytest
import torch
from helpers import raises_sentence, started, zeros
from helpers import zeros_in_a_batch as batch

from minigan import ALOCC, alocc

SMALL = {"width": 4, "z_dim": 5, "epochs": 2, "batch_size": 8, "progress": False}


def fitted(**more) -> ALOCC:
    return ALOCC(**SMALL | more).fit(zeros())


def built(**more) -> ALOCC:
    return started(ALOCC(**SMALL | more))


def test_L_R_by_hand():
    x = torch.tensor([[[[1.0, -1.0]]], [[[0.0, -1.0]]]])
    assert alocc.L_R(x, torch.zeros_like(x) - 1).item() == (4 + 1) / 2


def test_the_noise_has_the_standard_deviation_asked_for():
    noise = built(sigma=0.5).noisy(batch(40)) - batch(40)
    assert noise.std().item() == pytest.approx(0.5, rel=0.03) and abs(noise.mean().item()) < 0.02
    torch.testing.assert_close(built(sigma=0.0).noisy(batch()), batch())


@pytest.mark.parametrize("joint", [True, False])
def test_a_step_by_hand(joint):
    """R sees noise and is compared with the clean image; D has been updated before R is."""
    detector, x = built(lambda_r=3.0, joint_batches=joint), batch()

    def D(x_hat):
        """D(x) and D(x_hat) by the twin, normalised together or each on its own."""
        if joint:
            return twin.D(torch.cat([x, x_hat]))[0].sigmoid().split(8)
        return twin.D(x)[0].sigmoid(), twin.D(x_hat)[0].sigmoid()

    twin = copy.deepcopy(detector)
    found = detector.training_step(x)
    x_hat = twin.R(twin.noisy(x))
    real, fake = D(x_hat.detach())
    loss_D = -real.log().mean() - (1 - fake).log().mean()
    twin.opt_D.zero_grad()
    loss_D.backward()
    twin.opt_D.step()
    loss_R, refinement = -D(x_hat)[1].log().mean(), (x - x_hat).square().sum((1, 2, 3)).mean()
    expected = {"loss_D": loss_D.item(), "loss_R": loss_R.item(), "L_R": refinement.item()}
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(expected, rel=1e-4)
    weights = list(twin.R.parameters())
    for p, g in zip(
        detector.R.parameters(), torch.autograd.grad(loss_R + 3 * refinement, weights), strict=True
    ):
        torch.testing.assert_close(p.grad, g, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("refiner_steps", [1, 2])
def test_R_is_updated_as_often_as_told(refiner_steps, monkeypatch):
    detector, order = built(refiner_steps=refiner_steps), []
    for name in ("opt_D", "opt_R"):
        monkeypatch.setattr(getattr(detector, name), "step", lambda name=name: order.append(name))
    detector.training_step(batch())
    assert order == ["opt_D"] + ["opt_R"] * refiner_steps


def test_scores_by_hand():
    detector, x = fitted(), batch(4)
    with torch.no_grad():
        x_hat = detector.R(x)
        expected = {"refined": -detector.D(x_hat)[0], "image": -detector.D(x)[0]}
        expected["error"] = (x - x_hat).square().sum((1, 2, 3)).sqrt()
    for name, scores in expected.items():
        detector.set_params(scored_by=name)
        np.testing.assert_allclose(detector.anomaly_score(zeros(4)), scores, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(detector.reconstruct(zeros(4)), x_hat, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"sigma": -1.0}, "sigma"),
        ({"lambda_r": -1.0}, "lambda_r"),
        ({"refiner_steps": 0}, "refiner_steps"),
        ({"scored_by": "D"}, "scored_by"),
        ({"batch_size": 1}, "batch_size"),
    ],
)
def test_impossible_parameters(bad, word):
    with raises_sentence(ValueError, word):
        fitted(**bad)


@pytest.mark.parametrize("joint", [True, False])
def test_the_discriminator_normalises_in_evaluation_mode_as_in_training(joint):
    """Only if both kinds of images share its batches: it is the score."""
    detector = built(lr=0.0, sigma=0.0, joint_batches=joint, width=8)  # nothing is learned but averages
    for _ in range(60):
        detector.training_step(batch())
    with torch.no_grad():
        x_hat = detector.R(batch())
        in_training = torch.cat(detector.judge(batch(), x_hat))
        detector.D.eval()
        in_evaluation = torch.cat(detector.judge(batch(), x_hat))
    difference = (in_training - in_evaluation).abs().max() / in_training.std()
    assert (difference < 0.1) == joint
