"""EGBAD against its paper: BiGAN's losses and the scores by hand, averages of weights, and dropout."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import raises_sentence, random_batch, started, zeros
from torch import nn

from minigan import EGBAD
from minigan.models.egbad import PairDiscriminator, loss_D, loss_E, loss_G

TINY = {"epochs": 1, "width": 4, "z_dim": 6, "batch_size": 8, "progress": False}
TRAINED = ("G", "E", "D")


def prepared(**parameters) -> EGBAD:
    """A detector just before a step, without dropout unless it is given."""
    return started(EGBAD(**TINY | {"dropout": 0.0} | parameters))


def batch(n: int = 8, seed: int = 0) -> torch.Tensor:
    return random_batch(n, seed, torch.float32)


def parameters(network: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


# ---------------------------------------------------------------------- losses and one step


def test_the_losses_of_a_bigan():
    p, q = (1 / (1 + math.exp(-t)) for t in (2.0, -1.0))  # D(x, E(x)) and D(G(z), z)
    real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
    assert loss_D(real, fake).item() == pytest.approx(-math.log(p) - math.log(1 - q))
    assert loss_G(fake).item() == pytest.approx(-math.log(q))
    assert loss_E(real).item() == pytest.approx(-math.log(1 - p))


def test_a_step_by_hand():
    detector, x = prepared(), batch()
    twin, moved = copy.deepcopy(detector), {}
    z = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))  # the seed's first numbers
    found = detector.training_step(x)
    fake, z_hat = twin.G(z), twin.E(x)
    p, q = twin.D(x, z_hat.detach())[0].sigmoid(), twin.D(fake.detach(), z)[0].sigmoid()
    expected = {"D": -p.log().mean() - (1 - q).log().mean()}
    for ours, theirs in zip(twin.D.parameters(), detector.D.parameters(), strict=True):
        (gradient,) = torch.autograd.grad(expected["D"], ours, retain_graph=True)
        torch.testing.assert_close(theirs.grad, gradient, rtol=1e-3, atol=1e-6)
    twin.D.load_state_dict({**twin.D.state_dict(), **dict(detector.D.named_parameters())})  # D has learned
    expected["G"] = -twin.D(fake, z)[0].sigmoid().log().mean()
    expected["E"] = -(1 - twin.D(x, z_hat)[0].sigmoid()).log().mean()
    for name in ("G", "E"):
        for ours, theirs in zip(
            getattr(twin, name).parameters(), getattr(detector, name).parameters(), strict=True
        ):
            (gradient,) = torch.autograd.grad(expected[name], ours, retain_graph=True)
            torch.testing.assert_close(theirs.grad, gradient, rtol=1e-3, atol=1e-6)
            moved[name] = moved.get(name, False) or not torch.equal(ours, theirs)
    assert moved == {"G": True, "E": True}
    for name, loss in expected.items():
        assert found[f"loss_{name}"].item() == pytest.approx(loss.item(), rel=1e-4)


def test_D_tells_pairs_apart_by_both_halves():
    D, x = PairDiscriminator(6, 1, 16, width=4).eval(), batch()
    z = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    y = D(x, z)[0]
    assert not torch.allclose(y, D(x, z.flip(0))[0], rtol=1e-6)
    assert not torch.allclose(y, D(x.flip(0), z)[0], rtol=1e-6)
    torch.testing.assert_close(y.flip(0), D(x.flip(0), z.flip(0))[0])


def test_layers_have_the_papers_width_at_its_default():
    with torch.device("meta"):  # shapes without numbers
        D = PairDiscriminator(200, 1, 32)
    assert D.of_z[0].weight.shape == (512, 200)
    assert D.joint[0].weight.shape == (1024, 16 * 256 + 512)


# ---------------------------------------------------------------------- dropout


def test_dropout_keeps_the_mean_and_follows_its_source_of_randomness():
    D, h = PairDiscriminator(6, 1, 16, width=4, dropout=0.25), torch.ones(200, 50)

    def dropped(seed):
        return D.drop(h, torch.Generator().manual_seed(seed))

    found = dropped(0)
    assert torch.equal(found, dropped(0)) and not torch.equal(found, dropped(1))
    assert found.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (found == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert D.drop(h, None) is h


def test_dropout_is_for_training_only():
    detector = EGBAD(**TINY).fit(zeros())
    before = detector.rng_.get_state()
    np.testing.assert_array_equal(detector.anomaly_score(zeros(5)), detector.anomaly_score(zeros(5)))
    assert torch.equal(detector.rng_.get_state(), before)
    other = EGBAD(**TINY | {"dropout": 0.0}).fit(zeros())
    assert detector.history_["loss_D"].iloc[0] != other.history_["loss_D"].iloc[0]


# ---------------------------------------------------------------------- averages of weights


@pytest.mark.parametrize("decay", [0.999, 0.3, 0.0])
def test_averages_follow_the_weights_step_by_step(decay):
    detector = prepared(decay=decay, lr=0.05)
    mean = {name: parameters(getattr(detector, name)) for name in TRAINED}
    for step in range(1, 6):
        detector.training_step(batch(seed=step))
        a = min(decay, step / (9 + step))
        for name in TRAINED:
            new = parameters(getattr(detector, name))
            mean[name] = [a * old + (1 - a) * now for old, now in zip(mean[name], new, strict=True)]
            for found, expected in zip(
                getattr(detector, f"{name}_mean").parameters(), mean[name], strict=True
            ):
                torch.testing.assert_close(found, expected)
            averaged, current = (dict(getattr(detector, n).named_buffers()) for n in (f"{name}_mean", name))
            assert averaged and all(torch.equal(averaged[key], current[key]) for key in current)


def test_everything_that_is_returned_comes_from_the_averages():
    detector, x = EGBAD(**TINY | {"epochs": 2}).fit(zeros()), zeros(5)
    uses = (detector.anomaly_score, detector.reconstruct, detector.anomaly_map, lambda x: detector.sample(5))
    before = [use(x) for use in uses]
    for name in TRAINED:
        for p in getattr(detector, name).parameters():
            p.data.zero_()
    for use, expected in zip(uses, before, strict=True):
        np.testing.assert_array_equal(use(x), expected)
    for p in detector.G_mean.parameters():
        p.data.zero_()
    for use, expected in zip(uses, before, strict=True):
        assert not np.array_equal(use(x), expected)


# ---------------------------------------------------------------------- scores


@pytest.mark.parametrize("alpha", [0.9, 0.25])
def test_the_scores_by_hand(alpha):
    detector, x = prepared(alpha=alpha), batch()
    for step in range(3):
        detector.training_step(batch(seed=step))
    detector._set_mode(training=False)
    z_hat = detector.E_mean(x)
    x_hat = detector.G_mean(z_hat)
    (y, f), (y_hat, f_hat) = detector.D_mean(x, z_hat), detector.D_mean(x_hat, z_hat)
    parts = {
        "features": (f - f_hat).abs().sum(1),
        "cross_entropy": -y.sigmoid().log(),
        "released_cross_entropy": -y_hat.sigmoid().log(),
    }
    for scored_by, L_D in parts.items():
        expected = alpha * (x - x_hat).abs().sum((1, 2, 3)) + (1 - alpha) * L_D
        torch.testing.assert_close(detector.set_params(scored_by=scored_by).score_step(x), expected)


def test_two_queries_have_two_reconstructions():
    detector = EGBAD(**TINY | {"epochs": 5, "lr": 1e-2, "decay": 0.5}).fit(zeros())
    a, b = detector.reconstruct(np.stack([zeros(1)[0], 255 - zeros(1)[0]]))
    assert np.abs(a - b).max() > 0.01


@pytest.mark.parametrize(
    "bad", [{"alpha": -0.1}, {"decay": 1.5}, {"dropout": 1.0}, {"dropout": -0.5}, {"scored_by": "fm"}]
)
def test_impossible_parameters(bad):
    with raises_sentence(ValueError, *bad):
        EGBAD(**TINY | bad).fit(zeros())
