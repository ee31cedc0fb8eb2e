"""Deep SVDD and Deep SAD: losses, score and centre by hand, biases and collapse, labelled anomalies."""

import numpy as np
import pytest
import torch
from helpers import digits, raises_sentence, started, zeros
from helpers import zeros_in_a_batch as batch
from torch import nn

from minigan import DeepSAD, DeepSVDD, deep_svdd, metrics
from minigan.images import to_float

SMALL = {"width": 4, "z_dim": 3, "pretrain_epochs": 0, "progress": False}


def built(cls=DeepSVDD, **more) -> DeepSVDD:
    return started(cls(**SMALL | more), training=False)


def images(n: int = 8) -> torch.Tensor:
    return torch.from_numpy(zeros(n))[:, None]


def outputs(monkeypatch, detector: DeepSVDD, rows: list[list[float]], c: list[float]) -> torch.Tensor:
    """Let phi return these rows, times a weight of 1 that gets the gradients, and have this centre."""
    scale = torch.ones((), requires_grad=True)
    monkeypatch.setattr(detector.phi, "forward", lambda x: scale * torch.tensor(rows))
    detector.phi.c.copy_(torch.tensor(c))
    monkeypatch.setattr(detector.opt, "step", lambda: None)
    return scale


# ---------------------------------------------------------------------- losses and score


def test_the_loss_is_the_mean_squared_distance_from_the_centre(monkeypatch):
    detector = built()
    scale = outputs(monkeypatch, detector, [[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]], [1.0, 0.0, 1.0])
    loss = detector.training_step(batch(2))["L_svdd"]
    assert loss.item() == ((0 + 4 + 1) + (1 + 0 + 4)) / 2
    # d/ds of sum (s phi - c)^2 at s = 1 is 2 phi . (phi - c)
    assert scale.grad.item() == (2 * (0 + 4 + 0) + 2 * (0 + 0 + 6)) / 2
    assert detector.score_step(batch(2)).tolist() == [5.0, 5.0]


def test_labelled_anomalies_have_the_reciprocal_of_the_distance(monkeypatch):
    rows, c = [[1.0, 2.0, 0.0], [0.0, 0.0, 3.0], [1.0, 0.0, 3.0]], [1.0, 0.0, 1.0]  # distances 5, 5, 4
    detector = built(DeepSAD, eta=3.0)
    scale = outputs(monkeypatch, detector, rows, c)
    losses = detector.training_step(batch(3), torch.tensor([0, 1, 1]))
    assert losses["L_normal"].item() == pytest.approx(5 / 3)
    assert losses["L_anomalies"].item() == pytest.approx((1 / 5 + 1 / 4) / 3, rel=1e-5)
    # d/ds of d is 8, 12 and 12 here; of 1/d it is -(d/ds d) / d^2, and eta weighs it.
    assert scale.grad.item() == pytest.approx((8 - 3 * 12 / 25 - 3 * 12 / 16) / 3, rel=1e-5)
    without = detector.training_step(batch(3), torch.zeros(3, dtype=torch.int64))
    assert without["L_normal"].item() == pytest.approx(14 / 3) and without["L_anomalies"].item() == 0


def test_an_anomaly_at_the_centre_has_a_finite_loss(monkeypatch):
    detector = built(DeepSAD)
    outputs(monkeypatch, detector, [[1.0, 0.0, 1.0]], [1.0, 0.0, 1.0])
    loss = detector.training_step(batch(1), torch.ones(1, dtype=torch.int64))["L_anomalies"]
    assert loss.item() == pytest.approx(1e6)


def test_deep_sad_without_anomalies_is_deep_svdd():
    settings = {name: getattr(DeepSAD(), name) for name in ("search_epochs", "batch_size")}
    settings |= SMALL | {"epochs": 2, "pretrain_epochs": 1}
    scores = [
        cls(**settings).fit(zeros(), labels).anomaly_score(zeros())
        for cls, labels in ((DeepSVDD, None), (DeepSAD, None), (DeepSAD, np.zeros(40, int)))
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_weights_decay_and_the_learning_rate_drops_once():
    detector = built(lr=0.01, weight_decay=0.3, search_epochs=2)
    rates = []
    for detector.epoch_ in (1, 2, 3, 4):
        detector.start_epoch()
        (group,) = detector.opt.param_groups
        rates.append(group["lr"])
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001]) and group["weight_decay"] == 0.3


# ---------------------------------------------------------------------- the centre


def test_entries_of_the_centre_keep_away_from_zero():
    found = deep_svdd.away_from_zero(torch.tensor([0.0, 0.05, -0.05, 0.3, -0.3]))
    torch.testing.assert_close(found, torch.tensor([0.1, 0.1, -0.1, 0.3, -0.3]))


def test_the_centre_is_the_mean_output_of_one_pass(monkeypatch):
    monkeypatch.setattr(deep_svdd, "SMALLEST_ENTRY", 0.0)
    detector = built(batch_size=8)
    x = images(16)
    detector.training_data(x)
    detector._set_mode(training=False)
    torch.testing.assert_close(detector.phi.c, detector.phi(to_float(x)).mean(0))
    detector._set_mode(training=True)  # phi in training, with batches of the same size, is the same network
    parts = torch.cat([detector.phi(to_float(part)) for part in x.split(8)])
    torch.testing.assert_close(detector.phi.c, parts.mean(0), atol=0.02, rtol=0.05)
    assert not detector.phi.c.requires_grad and "phi.c" in detector._state()


def test_the_centre_never_changes_while_training(monkeypatch):
    seen = []
    whole = DeepSVDD.fit_statistics
    monkeypatch.setattr(
        DeepSVDD, "fit_statistics", lambda self, x, y: seen.append(self.phi.c.clone()) or whole(self, x, y)
    )
    detector = DeepSVDD(**SMALL, epochs=3).fit(zeros())
    assert len(seen) == 4 and all(torch.equal(c, seen[0]) for c in seen)  # three epochs and the average
    assert torch.equal(detector.phi.c, seen[0]) and seen[0].abs().min() >= 0.1


@pytest.mark.parametrize("centre_from", ["normal", "all"])
def test_labelled_anomalies_count_in_the_centre_on_request_only(centre_from, monkeypatch):
    seen = []
    monkeypatch.setattr(DeepSAD, "fix_centre", lambda self, x: seen.append(x))
    detector, x = built(DeepSAD, centre_from=centre_from), images(6)
    y = torch.tensor([0, 1, 0, 0, 1, 0])
    detector.training_labels(x, y)
    detector.training_data(x)
    assert torch.equal(seen[0], x if centre_from == "all" else x[y == 0])


def test_pretraining_gives_phi_its_first_weights_and_lowers_the_reconstruction_error(monkeypatch):
    detector = built(pretrain_epochs=12, pretrain_search_epochs=6, lr=3e-3, batch_size=8, width=8)
    first = [p.clone() for p in detector.phi.parameters()]
    losses, mse = [], deep_svdd.F.mse_loss
    monkeypatch.setattr(deep_svdd.F, "mse_loss", lambda a, b: losses.append(mse(a, b)) or losses[-1])
    detector.pretrain(images(16))
    assert len(losses) == 2 * 12 and losses[-1] < 0.7 * losses[0]
    assert all(not torch.equal(a, b) for a, b in zip(first, detector.phi.parameters(), strict=True))
    assert detector._networks().keys() == {"phi"}  # the decoder is gone


# ---------------------------------------------------------------------- biases and collapse


def test_phi_has_no_bias_of_any_kind_unless_asked_for():
    names = [name for name, _ in built().phi.named_parameters()]
    assert names and all(name.endswith("weight") for name in names)
    assert all(p.ndim == 4 for p in built().phi.parameters())  # convolutions alone
    norms = [m for m in built(biases=True).phi.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(norm.bias is not None and norm.weight is not None for norm in norms)


def collapse(detector: DeepSVDD) -> None:
    """Proposition 2: with weights of 0 in front of it, a bias makes every output the same, here c."""
    *_, norm, _, last, _ = detector.phi.encoder
    with torch.no_grad():
        norm.weight.zero_(), norm.bias.fill_(1.0)
    detector.phi.c.copy_(detector.phi(batch(1))[0].detach())


def test_a_collapsed_network_is_an_error_that_says_so():
    detector = built(biases=True)
    detector.epoch_ = 7
    detector.fix_centre(images())
    detector.fit_statistics(images(), None)  # a network as it starts is not collapsed
    collapse(detector)
    with raises_sentence(FloatingPointError, "collapsed", "centre", "epoch 7", "biases"):
        detector.fit_statistics(images(), None)
    detector.fit_statistics(images(1).expand(8, -1, -1, -1), None)  # of equal images it is no fault


def test_collapse_ends_the_training(monkeypatch):
    step = DeepSVDD.training_step
    monkeypatch.setattr(DeepSVDD, "training_step", lambda self, x, y: collapse(self) or step(self, x, y))
    with raises_sentence(FloatingPointError, "collapsed"):
        DeepSVDD(**SMALL, epochs=2, lr=0.0, biases=True).fit(zeros())


# ---------------------------------------------------------------------- using it


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"pretrain_epochs": -1}, "pretrain_epochs"),
        ({"search_epochs": -1}, "search_epochs"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"z_dim": 0}, "z_dim"),
        ({"eta": -1.0}, "eta"),
        ({"centre_from": "anomalies"}, "centre_from"),
    ],
)
def test_impossible_parameters(bad, word):
    with raises_sentence(ValueError, word):
        DeepSAD(**SMALL | bad).fit(zeros())


def test_a_few_labelled_anomalies_help():
    """Digit 3 is normal; ten labelled anomalies move the others of their kind away from the centre."""
    x, y = digits()
    train, kind = np.concatenate([x[y == 3][:100], x[y == 8][:10]]), np.repeat([0, 1], [100, 10])
    test, labels = np.concatenate([x[y == 3][100:], x[y == 8][10:]]), np.repeat([0, 1], [83, 164])
    settings = SMALL | {"z_dim": 32, "width": 8, "epochs": 15, "lr": 1e-3, "batch_size": 22}
    found = [
        metrics.auroc(labels, DeepSAD(**settings, eta=eta).fit(train, kind).anomaly_score(test))
        for eta in (0.0, 1.0)
    ]
    assert found[1] > max(0.95, found[0])
