"""Y-GAN's label-matched baseline: Y-GAN's encoder, classifier, labels and settings, and nothing else."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import digits

from minigan import YGAN, SoftmaxClassifier

TINY = {"epochs": 1, "width": 4, "z_dim": 6, "batch_size": 8, "progress": False}


def three_digits(n: int = 36) -> tuple[np.ndarray, np.ndarray]:
    """Digits 0, 5, 9, 0, ...: (n, 16, 16) uint8, and their labels."""
    images, labels = digits()
    y = np.array([0, 5, 9])[np.arange(n) % 3]
    return np.stack([images[labels == label][i // 3] for i, label in enumerate(y)]), y


def prepared(cls=SoftmaxClassifier, shape=(1, 16, 16), classes: int = 3, **parameters) -> SoftmaxClassifier:
    """A detector just before its first step."""
    detector = cls(**TINY | parameters)
    detector._check_parameters()
    detector.classes_ = np.arange(classes)
    detector._start(shape)
    detector._set_mode(training=True)
    return detector


def batch(n: int = 8, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 1, 16, 16, generator=generator, dtype=dtype) * 2 - 1, torch.arange(n) % 3


def test_the_loss_is_the_cross_entropy_with_the_sub_class():
    detector, (x, y) = prepared(), batch()
    with torch.no_grad():
        logits = copy.deepcopy(detector.C)(copy.deepcopy(detector.E_s)(x)).tolist()
    expected = 0.0
    for row, label in zip(logits, y.tolist(), strict=True):
        expected -= math.log(math.exp(row[label]) / sum(math.exp(v) for v in row)) / len(logits)
    losses = detector.training_step(x, y)
    assert list(losses) == ["cross_entropy"]
    assert losses["cross_entropy"].item() == pytest.approx(expected, rel=1e-5)


def test_one_step_follows_the_gradient_of_that_loss():
    detector, (x, y) = prepared(), batch(dtype=torch.float64)
    detector.E_s.double(), detector.C.double()
    E_s, C = copy.deepcopy(detector.E_s), copy.deepcopy(detector.C)
    p = C(E_s(x)).softmax(1)
    weights = [*E_s.parameters(), *C.parameters()]
    expected = torch.autograd.grad(-p[range(8), y].log().mean(), weights)
    detector.training_step(x, y)
    found = [p.grad for p in [*detector.E_s.parameters(), *detector.C.parameters()]]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    # Adam's first step has the length of the learning rate, whatever the gradient's.
    moved = detector.C[-1].weight - C[-1].weight
    torch.testing.assert_close(moved, -2e-4 * expected[-2].sign(), rtol=0.05, atol=0)


def test_a_second_step_does_not_remember_the_gradient_of_the_first():
    detector, (x, y) = prepared(lr=0.0), batch()
    detector.training_step(x, y)
    first = detector.C[0].weight.grad.clone()
    detector.training_step(x, y)
    torch.testing.assert_close(detector.C[0].weight.grad, first)


def test_encoder_classifier_and_settings_are_y_gans():
    baseline, ygan = prepared(width=64, z_dim=100, shape=(3, 32, 32), classes=9), None
    ygan = prepared(YGAN, width=64, z_dim=100, shape=(3, 32, 32), classes=9)
    for name, n_weights in (("E_s", 1_068_800), ("C", 3_309)):
        a, b = getattr(baseline, name), getattr(ygan, name)
        assert str(a) == str(b)
        assert sum(p.numel() for p in a.parameters()) == sum(p.numel() for p in b.parameters()) == n_weights
    for a, b in zip(baseline.E_s.parameters(), ygan.E_s.parameters(), strict=True):
        assert torch.equal(a, b)  # one seed: the encoders start alike
    assert not torch.equal(baseline.C[0].weight, ygan.C[0].weight)  # drawn after networks that only Y-GAN has
    defaults = SoftmaxClassifier().get_params()
    assert defaults.items() <= YGAN().get_params().items()
    group, other = baseline.opt.param_groups[0], ygan.opt_G.param_groups[0]
    assert (group["lr"], group["betas"]) == (other["lr"], other["betas"]) == (2e-4, (0.5, 0.999))


def test_both_see_the_same_batches_in_the_first_epoch(monkeypatch):
    (x, y), seen = three_digits(), {}
    for cls in (SoftmaxClassifier, YGAN):
        step = cls.training_step

        def noted(self, x, y, step=step):
            seen.setdefault(type(self), []).append((x.clone(), y))
            return step(self, x, y)

        monkeypatch.setattr(cls, "training_step", noted)
    # Y-GAN's shuffles draw from the same source of randomness, but an epoch's order is drawn before them.
    SoftmaxClassifier(**TINY).fit(x, y), YGAN(**TINY).fit(x, y)
    assert len(seen[YGAN]) == 4
    for (x1, y1), (x2, y2) in zip(seen[SoftmaxClassifier], seen[YGAN], strict=True):
        assert torch.equal(x1, x2) and torch.equal(y1, y2)


def test_the_score_is_one_minus_the_largest_probability():
    x, y = three_digits()
    detector = SoftmaxClassifier(**TINY | {"epochs": 3}).fit(x, y)
    with torch.no_grad():
        logits = detector.C(detector.E_s(torch.from_numpy(x)[:, None] / 127.5 - 1)).double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(detector.anomaly_score(x), 1 - p.max(1), rtol=1e-4)
    assert detector.anomaly_score(x).min() >= 0 and detector.anomaly_score(x).max() <= 2 / 3


def test_it_learns_to_tell_the_sub_classes_apart_and_then_doubts_little():
    x, y = three_digits(120)
    detector = SoftmaxClassifier(**TINY | {"epochs": 12, "width": 8, "lr": 1e-3}).fit(x, y)
    losses = detector.history_["cross_entropy"]
    assert losses.iloc[0] == pytest.approx(math.log(3), abs=0.3)  # at first, three classes are a guess
    assert losses.iloc[-1] < 0.2
    logits = detector.map_batches(lambda x: detector.C(detector.E_s(x)), x)
    assert (detector.classes_[logits.argmax(1)] == y).mean() > 0.95
    assert np.median(detector.anomaly_score(x)) < 0.2
