"""ADe-GAN: the losses and the score by hand, the two stages, patterns and their mixtures."""

import math

import numpy as np
import pytest
import torch
from helpers import digits, raises_sentence, zeros
from scipy.stats import norm
from torch import nn

from minigan import ADeGAN, adegan
from minigan.images import to_float

SMALL = {"width": 4, "n_patterns": 4, "z_dim": 3, "progress": False}


def fitted(**more) -> ADeGAN:
    return ADeGAN(**SMALL | {"epochs": 2, "batch_size": 8} | more).fit(zeros())


def built(channels: int = 1, **more) -> ADeGAN:
    detector = ADeGAN(**SMALL | more)
    detector.image_shape_ = (channels, 16, 16)
    detector._start(detector.image_shape_)
    return detector


def batch(n: int = 8) -> torch.Tensor:
    return to_float(torch.from_numpy(zeros(n))[:, None])


# ---------------------------------------------------------------------- losses


def test_L_ip_is_the_cross_entropy_to_no_pattern():
    even = torch.zeros(3, 4)
    assert adegan.L_ip(even).item() == pytest.approx(math.log(4))  # its least value
    p = torch.tensor([[0.7, 0.1, 0.1, 0.1]])
    expected = -(math.log(0.7) + 3 * math.log(0.1)) / 4
    assert adegan.L_ip(p.log()).item() == pytest.approx(expected, rel=1e-6)


def test_L_sl_and_L_recon_by_hand():
    p = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
    z_n, z_hat = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    expected = -(math.log(0.7) + math.log(0.2)) / 2 + (1 + 0 + 4 + 0) / 4
    assert adegan.L_sl(p.log(), z_hat, torch.tensor([0, 0]), z_n).item() == pytest.approx(expected, rel=1e-6)
    x = torch.tensor([[[[1.0, -1.0]]]])
    assert adegan.L_recon(x, torch.zeros_like(x) - 1).item() == 2.0


@pytest.mark.parametrize("channels, given, weight", [(1, None, 1.0), (3, None, 10.0), (3, 2.5, 2.5)])
def test_L_sl_weighs_more_in_colour(channels, given, weight):
    assert built(channels, lambda_sl=given).weight_sl == weight


# ---------------------------------------------------------------------- the score


def test_the_score_is_equation_11_with_the_normal_distribution():
    rng = np.random.default_rng(0)
    r, q, n_c = rng.normal(3, 1, 50), rng.uniform(0.25, 1, 50), 4
    errors = adegan.NormalErrors()
    errors.mu.fill_(2.5), errors.s.fill_(0.7)
    share = errors.share_above(torch.from_numpy(r))
    P = norm.cdf(r, 2.5, 0.7)
    np.testing.assert_allclose(share, 1 - P, rtol=1e-9)
    A = -P / n_c - (1 - P) * q
    found = adegan.anomaly_score(share, torch.from_numpy(q), n_c)
    np.testing.assert_allclose(found, A + 1 / n_c, rtol=1e-9, atol=1e-15)


def test_corners_and_slopes_of_the_score():
    def A(share_above, q):
        share, q = (torch.tensor([v], dtype=torch.float64) for v in (share_above, q))
        return adegan.anomaly_score(share, q, 10).item() - 0.1

    assert A(1.0, 1.0) == -1  # redrawn well, one clear pattern
    assert A(0.0, 1.0) == A(0.0, 0.1) == A(1.0, 0.1) == pytest.approx(-0.1)  # a large error, or no pattern
    assert A(0.9, 0.8) < A(0.5, 0.8) and A(0.5, 0.8) < A(0.5, 0.4)


def test_the_score_tells_hopeless_errors_apart():
    errors, q = adegan.NormalErrors(), torch.ones(4, dtype=torch.float64)
    scores = adegan.anomaly_score(errors.share_above(torch.tensor([8.0, 9.0, 20.0, 30.0])), q, 10)
    assert (scores.diff() > 0).all() and scores.max() < 0


def test_usual_errors_are_those_of_the_training_images():
    x = zeros()
    detector = ADeGAN(**SMALL, epochs=1, batch_size=8, holdout=0.0).fit(x)
    r = np.linalg.norm((x[:, None] / 127.5 - 1 - detector.reconstruct(x)).reshape(len(x), -1), axis=1)
    assert detector.errors.mu.item() == pytest.approx(r.mean(), rel=1e-5)
    assert detector.errors.s.item() == pytest.approx(r.std(), rel=1e-5)


def test_scored_by():
    detector, x = fitted(), zeros(6)
    p = detector.pattern_probabilities(x)
    r = np.linalg.norm((x[:, None] / 127.5 - 1 - detector.reconstruct(x)).reshape(6, -1), axis=1)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    both = (1 - norm.cdf(r, detector.errors.mu, detector.errors.s)) * (1 / 4 - p.max(1))
    for name, expected in {"both": both, "error": r, "pattern": -p.max(1)}.items():
        detector.scored_by = name
        np.testing.assert_allclose(detector.anomaly_score(x), expected, rtol=1e-4, atol=1e-12, err_msg=name)


# ---------------------------------------------------------------------- latents


def test_one_pattern_has_plain_latents_and_mixtures_within_a_pattern():
    detector = built(sigma=0.5, z_dim=200)
    pattern, z_n = detector.one_pattern(400)
    assert pattern.shape == (800,) and z_n.shape == (800, 200)
    assert set(pattern.tolist()) == {0, 1, 2, 3}
    plain, mixed = z_n.split(400)
    assert plain.std().item() == pytest.approx(0.5, rel=0.02)
    assert abs(plain.mean().item()) < 0.01
    # lambda^2 + (1 - lambda)^2 is 2/3 on average, and never more than 1.
    assert mixed.square().mean().item() == pytest.approx(0.25 * 2 / 3, rel=0.05)
    assert mixed.std(1).max().item() < plain.std(1).max().item() * 1.05


def test_two_patterns_are_never_the_same():
    z_c, z_n = built().two_patterns(2000)
    assert z_c.shape == (2000, 4) and z_n.shape == (2000, 3)
    torch.testing.assert_close(z_c.sum(1), torch.ones(2000))
    assert (z_c >= 0).all() and ((z_c > 0).sum(1) == 2).all()
    share = z_c.max(1).values  # the larger of lambda and 1 - lambda: uniform from 1/2 to 1
    assert share.mean().item() == pytest.approx(0.75, abs=0.01) and share.min() < 0.51
    pairs = {tuple(row.nonzero().flatten().tolist()) for row in z_c}
    assert len(pairs) == 6  # each two of the four


# ---------------------------------------------------------------------- the two stages


def test_stage_1_moves_D_and_G_and_stage_2_moves_G_and_E(monkeypatch):
    detector = built()
    sets = {name: {id(p) for p in getattr(detector, name).parameters()} for name in ("G", "E", "D")}
    of = {
        "opt_D": sets["D"],
        "opt_G": sets["G"],
        "opt_GE": sets["G"] | sets["E"],
    }
    order = []
    for name, owned in of.items():
        optimiser = getattr(detector, name)
        assert {id(p) for group in optimiser.param_groups for p in group["params"]} == owned
        assert optimiser.param_groups[0]["lr"] == 2e-4
        monkeypatch.setattr(optimiser, "step", lambda name=name: order.append(name))
    detector.training_step(batch())
    assert order == ["opt_D", "opt_G", "opt_GE"]


def test_the_generator_does_not_learn_in_the_discriminators_step(monkeypatch):
    detector = built()
    seen = []
    monkeypatch.setattr(
        detector.opt_D, "step", lambda: seen.append([p.grad is None for p in detector.G.parameters()])
    )
    detector.training_step(batch())
    assert all(seen[0])
    # Nor does D hear of G's step: its gradient is still the one of its own.
    grads = [p.grad.clone() for p in detector.D.parameters()]
    detector.opt_D.zero_grad()
    assert all(g.abs().sum() > 0 for g in grads)


def test_stage_2_weighs_its_losses_as_told(monkeypatch):
    """Each weight on its own decides which networks' gradients there are at all."""
    for weights, moves_E in (
        ({"lambda_ip": 0.0, "lambda_sl": 0.0, "lambda_recon": 0.0}, False),
        ({"lambda_ip": 1.0, "lambda_sl": 0.0, "lambda_recon": 0.0}, True),
        ({"lambda_ip": 0.0, "lambda_sl": 1.0, "lambda_recon": 0.0}, True),
        ({"lambda_ip": 0.0, "lambda_sl": 0.0, "lambda_recon": 1.0}, True),
    ):
        detector = built(**weights)
        monkeypatch.setattr(detector.opt_GE, "step", lambda: None)
        detector.training_step(batch())
        total = sum(p.grad.abs().sum().item() for p in detector.E.parameters())
        assert (total > 0) == moves_E, weights


# ---------------------------------------------------------------------- batch norm


def test_running_statistics_are_those_of_redrawn_training_images():
    x = zeros(32)
    detector = ADeGAN(**SMALL, epochs=1, batch_size=32, holdout=0.0).fit(x)
    norm_layer = next(m for m in detector.E.modules() if isinstance(m, nn.BatchNorm2d))
    seen = []
    norm_layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    norm_layer.train()  # only this one: what comes before it has no batch norm
    before = norm_layer.running_mean.clone(), norm_layer.running_var.clone()
    with torch.no_grad():
        detector.E(batch(32))
    torch.testing.assert_close(before[0], seen[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before[1], seen[0].var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_collecting_norms_changes_no_weight_and_can_be_left_out():
    with_it, without = fitted(epochs=1), fitted(epochs=1, collect_norms=False)
    for name in ("G", "E", "D"):
        a, b = dict(getattr(with_it, name).named_parameters()), getattr(without, name).named_parameters()
        assert all(torch.equal(a[key], value) for key, value in b)
    assert not np.array_equal(with_it.anomaly_score(zeros(6)), without.anomaly_score(zeros(6)))


# ---------------------------------------------------------------------- using it


def test_samples_are_of_the_pattern_asked_for():
    detector = fitted()
    rows = [detector.sample(3, pattern=k) for k in range(4)]
    for row in rows:
        assert row.shape == (3, 1, 16, 16) and np.abs(row).max() <= 1
    assert not np.array_equal(rows[0], rows[1])
    in_turn = detector.sample(8)  # patterns 0, 1, 2, 3, 0, ...
    noise = {k: detector.sample(8, pattern=k) for k in range(4)}
    for i in range(8):
        np.testing.assert_array_equal(in_turn[i], noise[i % 4][i])
    for bad in (4, -1):
        with raises_sentence(ValueError, "pattern", "0 to 3", str(bad)):
            detector.sample(3, pattern=bad)


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"n_patterns": 1}, "n_patterns"),
        ({"z_dim": 0}, "z_dim"),
        ({"sigma": 0.0}, "sigma"),
        ({"lambda_ip": -1.0}, "lambda_ip"),
        ({"lambda_sl": -1.0}, "lambda_sl"),
        ({"lambda_sl": "much"}, "lambda_sl"),
        ({"scored_by": "r"}, "scored_by"),
        ({"batch_size": 1}, "batch_size"),
        ({"betas": (0.5, 1.0)}, "betas"),
    ],
)
def test_impossible_parameters(bad, word):
    with raises_sentence(ValueError, word):
        fitted(**bad)


def test_patterns_find_classes_without_being_told():
    """Two digits that look nothing alike: after a short training, one pattern holds hardly both of them."""
    images, labels = digits()
    x, y = images[labels <= 1], labels[labels <= 1]
    settings = {"width": 16, "epochs": 15, "batch_size": 16, "lr": 1e-3, "n_patterns": 4}
    p = ADeGAN(**settings, progress=False).fit(x).pattern_probabilities(x)
    found = p.argmax(1)
    purity = sum(np.bincount(y[found == k], minlength=2).max() for k in range(4)) / len(y)
    assert purity > 0.85
