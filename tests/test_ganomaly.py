"""GANomaly against its paper: equations 1 to 5 by hand, one step, and the switches of the released code."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import in_double, raises_sentence, started, zeros
from helpers import random_batch as batch
from torch import nn

from minigan import GANomaly, leaks
from minigan.models.ganomaly import L_adv, L_con, L_d, L_enc

TINY = {"epochs": 1, "width": 4, "z_dim": 6, "batch_size": 8, "progress": False}
NETWORKS = ("G_E", "G_D", "E", "D")


def prepared(**parameters) -> GANomaly:
    """A detector just before a step, in double precision."""
    return in_double(started(GANomaly(**TINY | parameters)))


def test_the_losses_of_equations_1_to_3():
    a, b = torch.tensor([[1.0, -0.5]]), torch.tensor([[0.0, 0.25]])
    assert L_con(a, b).item() == (1 + 0.75) / 2
    assert L_adv(a, b).item() == L_enc(a, b).item() == (1 + 0.5625) / 2


def test_the_loss_of_D_is_the_mean_of_two_cross_entropies():
    p, q = (1 / (1 + math.exp(-t)) for t in (2.0, -1.0))
    found = L_d(torch.tensor([2.0]), torch.tensor([-1.0]))
    assert found.item() == pytest.approx((-math.log(p) - math.log(1 - q)) / 2)


def test_the_released_numbers_of_weights():
    detector = GANomaly()
    detector.device_ = torch.device("meta")  # shapes without numbers
    with detector.device_:
        detector.build((1, 32, 32))
    counted = {name: sum(p.numel() for p in getattr(detector, name).parameters()) for name in NETWORKS}
    assert counted == {"G_E": 1_066_752, "G_D": 1_066_880, "E": 1_066_752, "D": 661_248}
    assert sum(counted[name] for name in NETWORKS[:3]) == 3_200_384


def test_a_step_is_equation_4_and_the_loss_of_D_by_hand():
    detector = prepared(lambda_adv=2.0, lambda_con=3.0, lambda_enc=5.0)
    for _ in range(2):  # the second time, with gradients of the first still around
        twin, x = copy.deepcopy(detector), batch()
        found = detector.training_step(x)
        z = twin.G_E(x)
        x_hat = twin.G_D(z)
        z_hat = twin.E(x_hat)
        adv = (twin.D.features(x) - twin.D.features(x_hat)).square().mean()
        con, enc = (x - x_hat).abs().mean(), (z - z_hat).square().mean()
        p, q = twin.D(x)[0].sigmoid(), twin.D(x_hat.detach())[0].sigmoid()
        d = -(p.log().mean() + (1 - q).log().mean()) / 2
        expected = {"L_adv": adv, "L_con": con, "L_enc": enc, "L_d": d}
        assert {k: v.item() for k, v in found.items()} == pytest.approx(
            {k: v.item() for k, v in expected.items()}
        )
        L = 2 * adv + 3 * con + 5 * enc
        for name in NETWORKS:
            loss = d if name == "D" else L
            mine, others = (dict(getattr(t, name).named_parameters()) for t in (detector, twin))
            gradients = torch.autograd.grad(loss, list(others.values()), retain_graph=True)
            for key, gradient in zip(others, gradients, strict=True):
                torch.testing.assert_close(mine[key].grad, gradient, msg=lambda m, key=key: f"{key}: {m}")
                assert not torch.equal(mine[key], others[key]), key  # and Adam moved it


def test_the_adversarial_loss_alone_trains_the_generator():
    """The fake is not detached: without the other losses, G still moves, and the second encoder does not."""
    detector = prepared(lambda_con=0.0, lambda_enc=0.0)
    before = copy.deepcopy(detector)
    detector.training_step(batch())
    moved = {
        name: any(
            not torch.equal(p, q)
            for p, q in zip(
                getattr(detector, name).parameters(), getattr(before, name).parameters(), strict=True
            )
        )
        for name in NETWORKS
    }
    assert moved == {"G_E": True, "G_D": True, "E": False, "D": True}


@pytest.mark.parametrize(("threshold", "happens"), [(0.0, False), (1e-9, False), (1e9, True)])
def test_D_starts_anew_when_its_loss_is_below_the_threshold(threshold, happens, monkeypatch):
    detector, reset = prepared(reset_below=threshold), []
    monkeypatch.setattr("minigan.blocks.init_normal_", reset.append)
    detector.training_step(batch())
    assert reset == ([detector.D] if happens else [])


def test_the_three_scores_by_hand():
    detector, x = prepared(), batch()
    detector._set_mode(training=False)
    z = detector.G_E(x)
    x_hat = detector.G_D(z)
    z_hat = detector.E(x_hat)
    expected = {
        "squared": (z - z_hat).square().sum(1) / 6,
        "absolute": (z - z_hat).abs().sum(1) / 6,
        "reconstruction": (x - x_hat).abs().sum((1, 2, 3)) / 256,
    }
    for scored_by, scores in expected.items():
        torch.testing.assert_close(detector.set_params(scored_by=scored_by).score_step(x), scores)


def test_scores_are_not_scaled_over_the_queries():
    detector = GANomaly(**TINY).fit(zeros())
    together = detector.anomaly_score(zeros(20))
    assert together.min() > 0 and together.max() != 1
    np.testing.assert_allclose(detector.anomaly_score(zeros(20)[5:6]), together[5:6], rtol=1e-5)


def test_what_released_code_gets_from_batch_statistics_can_be_measured():
    """`leaks` finds the batch norms of all three networks that the score passes through."""
    detector = GANomaly(**TINY).fit(zeros())
    x = zeros(30)
    found = leaks.batch_statistics(detector, x, np.repeat([0, 1], 15), batch_size=10)
    assert not np.allclose(found["evaluation"], found["mixed"])
    assert not np.allclose(found["sorted"], found["mixed"])
    for name in NETWORKS[:3]:
        assert any(isinstance(m, nn.BatchNorm2d) for m in getattr(detector, name).modules())


def test_reconstruction_and_map_agree():
    detector = GANomaly(**TINY).fit(zeros())
    x = zeros(3)
    x_hat = detector.reconstruct(x)
    np.testing.assert_allclose(
        detector.anomaly_map(x), np.abs(x / np.float32(127.5) - 1 - x_hat[:, 0]), atol=1e-5
    )


@pytest.mark.parametrize(
    "bad",
    [{"lambda_adv": -1.0}, {"lambda_con": -1.0}, {"lambda_enc": -1.0}, {"reset_below": -1.0}, {"z_dim": 0}]
    + [{"scored_by": "l1"}],
)
def test_impossible_parameters(bad):
    with raises_sentence(ValueError, *bad):
        GANomaly(**TINY | bad).fit(zeros())
