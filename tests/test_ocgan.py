"""OCGAN: the cube, the losses and mining by hand, and whose statistics the networks keep."""

import copy

import numpy as np
import pytest
import torch
from helpers import raises_sentence, started, zeros
from helpers import zeros_in_a_batch as batch
from torch import nn

from minigan import OCGAN

SMALL = {"width": 4, "width_D": 4, "z_dim": 5, "epochs": 4, "batch_size": 8, "progress": False}


def fitted(**more) -> OCGAN:
    return OCGAN(**SMALL | more).fit(zeros())


def built(epoch: int = 1, **more) -> OCGAN:
    """Ready for a step of this epoch: in the last of four there is mining."""
    detector = started(OCGAN(**SMALL | more))
    detector.epoch_ = epoch
    return detector


# ---------------------------------------------------------------------- the cube


def test_codes_and_points_lie_in_the_cube():
    detector = built(z_dim=300)
    points = detector.points(50)
    assert points.shape == (50, 300) and points.abs().max() <= 1
    assert points.std().item() == pytest.approx(3**-0.5, rel=0.02) and abs(points.mean().item()) < 0.02
    with torch.no_grad():
        detector.E[-3].weight.mul_(100)
    assert 0.9 < detector.E(batch()).abs().max() <= 1


def test_samples_come_from_all_of_the_cube():
    detector, seen = fitted(), []
    detector.G.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    detector.sample(2000)
    assert seen[0].abs().max() <= 1 and seen[0].std().item() == pytest.approx(3**-0.5, rel=0.02)


# ---------------------------------------------------------------------- mining


def test_mining_is_a_step_down_the_classifiers_loss_inside_the_cube():
    detector = built(mining_lr=40.0)
    before = {name: copy.deepcopy(getattr(detector, name).state_dict()) for name in ("G", "C")}
    l_2 = detector.points(6)
    start = l_2.clone().requires_grad_()
    loss = -(1 - detector.C(detector.G(start))[0].sigmoid()).log().sum()
    (slope,) = torch.autograd.grad(loss, start)
    for name, state in before.items():
        getattr(detector, name).load_state_dict(state)
    found = detector.mine(l_2)
    torch.testing.assert_close(found, (l_2 - 40 * slope).clamp(-1, 1), rtol=1e-3, atol=1e-5)
    assert not found.requires_grad and (found != l_2).any()
    for name, state in before.items():
        now = getattr(detector, name).state_dict()
        running = [key for key in state if "running" in key]
        assert running and all(torch.equal(now[key], state[key]) for key in running), name


def test_more_steps_lower_the_classifiers_output():
    detector = built(mining_steps=20, mining_lr=5.0)
    detector._set_mode(training=False)
    l_2 = detector.points(16)
    before, after = (detector.C(detector.G(z))[0] for z in (l_2, detector.mine(l_2)))
    assert (after < before).all()


@pytest.mark.parametrize("epoch, mines", [(1, 0), (3, 0), (4, 1)])
def test_mining_begins_in_the_last_quarter(epoch, mines, monkeypatch):
    detector, calls = built(epoch), []
    monkeypatch.setattr(detector, "mine", lambda l_2: calls.append(l_2) or l_2)
    detector.training_step(batch())
    assert len(calls) == mines


# ---------------------------------------------------------------------- losses and score


def test_losses_by_hand():
    detector, x = built(sigma=0.3, lr=0.0), batch()  # nothing moves
    twin = copy.deepcopy(detector)
    found = detector.training_step(x)
    noise = torch.randn(x.shape, generator=twin.rng_)
    l_1, l_2 = twin.E(x + 0.3 * noise), twin.points(8)
    x_hat, fake = twin.G(l_1), twin.G(l_2)

    def log_real(logits):
        return logits.sigmoid().log().mean()

    def log_fake(logits):
        return (1 - logits.sigmoid()).log().mean()

    expected = {
        "loss_C": -log_real(twin.C(x_hat)[0]) - log_fake(twin.C(fake)[0]),
        "loss_Dl": -log_real(twin.D_l(l_2)) - log_fake(twin.D_l(l_1)),
        "loss_Dv": -log_real(twin.D_v(x)[0]) - log_fake(twin.D_v(fake)[0]),
        "L_latent": -log_real(twin.D_l(l_1)),
        "L_visual": -log_real(twin.D_v(fake)[0]),
        "L_MSE": (x - x_hat).square().mean(),
    }
    assert {k: v.item() for k, v in found.items()} == pytest.approx(
        {k: v.item() for k, v in expected.items()}, rel=1e-4
    )
    total = 250 * expected["L_MSE"] + 10 * expected["L_latent"] + expected["L_visual"]
    networks = [*twin.E.parameters(), *twin.G.parameters()]
    given = [p.grad for p in (*detector.E.parameters(), *detector.G.parameters())]
    for mine, theirs in zip(given, torch.autograd.grad(total, networks), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_running_averages_are_those_of_reconstructed_training_images():
    x = zeros(32)
    detector = OCGAN(**SMALL | {"epochs": 1, "batch_size": 32}, holdout=0.0).fit(x)
    norm = next(m for m in detector.G.modules() if isinstance(m, nn.BatchNorm2d))
    seen = []
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    mean = norm.running_mean.clone()
    norms = [m for m in detector.E.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms:
        m.train()  # as while they were collected
    with torch.no_grad():
        detector.G(detector.E(batch(32)))
    torch.testing.assert_close(mean, seen[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    usual = OCGAN(**SMALL | {"epochs": 1, "batch_size": 32, "collect_norms": False}, holdout=0.0).fit(x)
    assert not np.array_equal(usual.anomaly_score(x), detector.anomaly_score(x))


def test_the_score_is_the_mean_squared_error():
    detector = fitted()
    x, x_hat = zeros(5)[:, None] / 127.5 - 1, detector.reconstruct(zeros(5))
    np.testing.assert_allclose(
        detector.anomaly_score(zeros(5)), ((x - x_hat) ** 2).mean((1, 2, 3)), rtol=1e-4
    )


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"mining_from": 1.5}, "mining_from"),
        ({"mining_steps": 0}, "mining_steps"),
        ({"mining_lr": -1.0}, "mining_lr"),
        ({"lambda_mse": -1.0}, "lambda_mse"),
        ({"width_D": 0}, "width_D"),
        ({"sigma": -1.0}, "sigma"),
        ({"batch_size": 1}, "batch_size"),
    ],
)
def test_impossible_parameters(bad, word):
    with raises_sentence(ValueError, word):
        fitted(**bad)
