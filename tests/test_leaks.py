"""Leaks through batch norm: scores computed by hand, and a detector that stays as it is."""

import copy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from helpers import digits, points, raises_sentence, zeros
from sklearn.exceptions import NotFittedError
from torch import nn

import minigan
from minigan import leaks
from minigan.neural import NeuralDetector

KEYS = ("evaluation", "mixed", "sorted")


@dataclass(kw_only=True, eq=False, repr=False)
class NormedValue(NeuralDetector):
    """The score is the value itself, after batch norm: (x - mean) / std."""

    takes: ClassVar = ("vectors",)
    progress: bool = False
    epochs: int = 2

    def build(self, image_shape):
        # With dropout in training mode, the scores would not be those computed by hand.
        layers = nn.BatchNorm1d(1, eps=1e-9, affine=False, momentum=None), nn.Dropout(0.5)
        self.net = nn.Sequential(*layers).double()
        self.sizes = []

    def training_step(self, x, y):
        return {"loss": self.net(x.double()).mean()}

    def score_step(self, x):
        self.sizes.append(len(x))
        return self.net(x.double())[:, 0]


@dataclass(kw_only=True, eq=False, repr=False)
class Convolutions(NeuralDetector):
    """Two kinds of batch norm with learned scales, and layers beside them that have modes too."""

    progress: bool = False
    epochs: int = 1

    def build(self, image_shape):
        conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 3, 3, stride=2))
        self.first = nn.Sequential(conv, nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
        self.second = nn.Sequential(nn.BatchNorm1d(147), nn.Linear(147, 1), nn.Flatten(0))
        self.opt = torch.optim.SGD([*self.first.parameters(), *self.second.parameters()], lr=0.1)

    def training_step(self, x, y):
        loss = (self.score_step(x) - 1).square().mean()
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return {"loss": loss}

    def score_step(self, x):
        return self.second(self.first(x))


def one_number(values):
    return np.asarray(values, dtype=np.float32)[:, None]


def standardized(values):
    values = np.asarray(values, dtype=np.float64)
    return (values - values.mean()) / values.std()


NORMAL, ANOMALOUS = np.array([-1.0, 0, 1, 2]), np.array([10.0, 11, 13, 14])


@pytest.fixture
def fitted():
    """Running mean 0.5 and running variance 1: those of the training set, the variance unbiased."""
    train = 0.5 + np.sqrt(0.75) * np.array([-1.0, -1, 1, 1])
    return NormedValue(batch_size=4, holdout=0.0).fit(one_number(train))


def test_the_leak_by_hand(fitted):
    # Normal and anomalous ones in turn, so that only the right order puts the scores in their places.
    x, labels = np.stack([ANOMALOUS, NORMAL], axis=1).ravel(), np.tile([1, 0], 4)
    scores = leaks.batch_statistics(fitted, one_number(x), labels, batch_size=4)
    assert tuple(scores) == KEYS and all(s.shape == (8,) and s.dtype == np.float64 for s in scores.values())
    np.testing.assert_allclose(scores["evaluation"], x - 0.5, atol=1e-6)
    # Batches of one kind: an anomaly is ordinary among anomalies. Here the leak hides every one of them.
    np.testing.assert_allclose(scores["sorted"][labels == 0], standardized(NORMAL))
    np.testing.assert_allclose(scores["sorted"][labels == 1], standardized(ANOMALOUS))
    # One batch of all: their order does not matter.
    scores = leaks.batch_statistics(fitted, one_number(x), labels, batch_size=8)
    for name in ("mixed", "sorted"):
        np.testing.assert_allclose(scores[name], standardized(x))


def test_mixed_batches_come_from_all_images_and_from_the_seed(fitted):
    x, labels = np.arange(100.0), np.repeat([0, 1], 50)
    first, again, other = (
        leaks.batch_statistics(fitted, one_number(x), labels, batch_size=10, seed=seed) for seed in (1, 1, 2)
    )
    for name in KEYS:
        np.testing.assert_array_equal(first[name], again[name])
    np.testing.assert_array_equal(first["sorted"], other["sorted"])
    assert (first["mixed"] != other["mixed"]).all()
    order = np.random.default_rng(1).permutation(100)
    for chosen in np.split(order, 10):
        np.testing.assert_allclose(first["mixed"][chosen], standardized(x[chosen]))
    # In mixed batches small numbers get small scores; in a batch of one class their order is lost.
    assert np.corrcoef(x, first["mixed"])[0, 1] > 0.8 > 0.2 > np.corrcoef(x, first["sorted"])[0, 1]


def test_images_of_one_kind_keep_their_order(fitted):
    x = np.random.default_rng(0).normal(size=200)
    scores = leaks.batch_statistics(fitted, one_number(x), np.zeros(200), batch_size=50)
    for part in range(0, 200, 50):
        np.testing.assert_allclose(
            scores["sorted"][part : part + 50], standardized(x[part : part + 50]), atol=1e-5
        )


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (65, 64, [33, 32]),
        (64, 64, [64]),
        (3, 2, [3]),
        (7, 2, [3, 2, 2]),
        (600, 500, [300, 300]),
        (2, 64, [2]),
    ],
)
def test_batches_are_nearly_equal_and_no_image_is_alone(fitted, n, batch_size, sizes):
    fitted.sizes.clear()  # the copy shares this list
    leaks.batch_statistics(fitted, one_number(np.arange(n)), np.zeros(n), batch_size=batch_size)
    sorted_and_mixed = fitted.sizes[-2 * len(sizes) :]
    assert sorted_and_mixed == 2 * sizes


def test_64_images_unless_told_otherwise(fitted):
    fitted.sizes.clear()
    leaks.batch_statistics(fitted, one_number(np.arange(192)), np.zeros(192))
    assert fitted.sizes[-6:] == 6 * [64]


@pytest.fixture(scope="module")
def convolutions():
    return Convolutions(seed=1).fit(zeros(100))


def test_batch_norm_is_as_in_training_and_nothing_else(convolutions):
    images, labels = digits()[0][:96], (digits()[1][:96] > 0).astype(int)
    scores = leaks.batch_statistics(convolutions, images, labels, batch_size=32)
    np.testing.assert_array_equal(scores["evaluation"], convolutions.anomaly_score(images))
    trained = copy.deepcopy(convolutions)
    trained.first[1].train()
    trained.second[0].train()
    x = torch.from_numpy(images).unsqueeze(1).float() / 127.5 - 1
    order = np.argsort(labels, kind="stable")
    with torch.no_grad():
        parts = [trained.score_step(x[chosen]) for chosen in np.split(order, 3)]
    np.testing.assert_allclose(scores["sorted"][order], torch.cat(parts).numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(scores["sorted"] - scores["evaluation"]).min() > 1e-4


def test_the_detector_stays_as_it_is(convolutions, tmp_path):
    def state():
        networks = {"first": convolutions.first, "second": convolutions.second}
        modules = [module for network in networks.values() for module in network.modules()]
        assert not any(module._forward_hooks for module in modules)
        tensors = {f"{k}.{n}": t.clone() for k, v in networks.items() for n, t in v.state_dict().items()}
        kept = {k: id(v) for k, v in vars(convolutions).items()}
        convolutions.save(tmp_path / "now")
        return tensors, kept, [module.training for module in modules], (tmp_path / "now").read_bytes()

    images, labels = digits()[0][:100], (digits()[1][:100] > 0).astype(int)
    scores = convolutions.anomaly_score(images)
    before, torchs, numpys = state(), torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    leaks.batch_statistics(convolutions, images, labels)
    after = state()
    assert before[0].keys() == after[0].keys() and before[1:] == after[1:]
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert any("running_mean" in name for name in before[0])
    assert torch.equal(torchs, torch.get_rng_state())
    assert (numpys == np.random.get_state()[1]).all()  # noqa: NPY002
    np.testing.assert_array_equal(convolutions.anomaly_score(images), scores)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_batch_norm_in_the_score_nothing_leaks(channels):
    detector = minigan.ALGAN(width=4, epochs=2, progress=False).fit(zeros(60, channels))
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in detector.G.modules())  # but not in D
    images, labels = zeros(90, channels), np.tile([0, 1], 45)
    scores = leaks.batch_statistics(detector, images, labels, batch_size=7)
    for name in KEYS:
        np.testing.assert_array_equal(scores[name], detector.anomaly_score(images))
    scores["mixed"][0] += 1
    assert scores["evaluation"][0] != scores["mixed"][0] != scores["sorted"][0]


def test_rounding_is_no_leak():
    class Rounding(NormedValue):
        """Another batch size changes the last digit of a sum, as on some processors."""

        def score_step(self, x):
            return x[:, 0].double() + 1e-15 * len(x)

    detector = Rounding(holdout=0.0).fit(one_number(np.arange(8) / 8))
    scores = leaks.batch_statistics(detector, one_number(np.arange(8) / 8), np.zeros(8), batch_size=4)
    for name in KEYS:
        np.testing.assert_array_equal(scores[name], scores["evaluation"])


def test_a_loaded_detector_leaks_as_much(convolutions, tmp_path):
    convolutions.save(tmp_path / "kept")
    loaded = Convolutions.load(tmp_path / "kept")
    images, labels = digits()[0][:60], np.repeat([1, 0], 30)
    ours, theirs = (leaks.batch_statistics(d, images, labels, 20) for d in (convolutions, loaded))
    for name in KEYS:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_what_cannot_be_measured_gets_one_sentence(fitted):
    x, labels = one_number(np.arange(6)), np.array([0, 0, 0, 1, 1, 1])
    with raises_sentence(TypeError, "made of networks", "PCA", "no batch norm"):
        leaks.batch_statistics(minigan.PCA().fit(points(50)), x, labels)
    with raises_sentence(NotFittedError, "expected a fitted NormedValue"):
        leaks.batch_statistics(NormedValue(), x, labels)
    with raises_sentence(ValueError, "shape (1,)", "as in training"):
        leaks.batch_statistics(fitted, points(6), labels)
    for wrong, words in (
        (labels[:5], "shape (5,)"),
        (labels[:, None], "shape (6, 1)"),
        (labels + 1, "values [1, 2]"),
        (labels / 2, "values [0.0, 0.5]"),
        (list("aaabbb"), "values ['a', 'b']"),
    ):
        with raises_sentence(ValueError, "expected 6 labels, each 0 (normal) or 1", words):
            leaks.batch_statistics(fitted, x, wrong)
    with raises_sentence(ValueError, "at least 2 images", "got 1"):
        leaks.batch_statistics(fitted, x[:1], labels[:1])
    for batch_size in (1, 2.5, True):
        with raises_sentence(
            ValueError, "batch_size to be a whole number of at least 2", f"got {batch_size}"
        ):
            leaks.batch_statistics(fitted, x, labels, batch_size=batch_size)
