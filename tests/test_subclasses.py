"""What Y-GAN and its label-matched baseline have in common: sub-class labels, softmax score, Grad-CAM."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import digits, raises_sentence
from sklearn.exceptions import NotFittedError

from minigan import YGAN, SoftmaxClassifier, clustering
from minigan.models._subclasses import one_minus_confidence

TINY = {"epochs": 1, "width": 4, "z_dim": 6, "batch_size": 8, "progress": False}
both = pytest.mark.parametrize("cls", [SoftmaxClassifier, YGAN])


def three_digits(n: int = 36, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Digits 0, 5, 9, 0, ...: (n, 16, 16) or (n, 16, 16, 3) uint8, and their labels."""
    images, labels = digits()
    y = np.array([0, 5, 9])[np.arange(n) % 3]
    x = np.stack([images[labels == label][i // 3] for i, label in enumerate(y)])
    return (x if channels == 1 else np.stack([x, x[:, ::-1], 255 - x], -1)), y


# ---------------------------------------------------------------------- the score by doubt


def test_doubt_is_one_minus_the_largest_probability():
    logits = [[1.0, 2.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 3.9]]
    expected = [1 - max(math.exp(v) for v in row) / sum(math.exp(v) for v in row) for row in logits]
    found = one_minus_confidence(torch.tensor(logits))
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert found[1].item() == pytest.approx(2 / 3)  # undecided between three: as large as it can be


def test_doubt_is_exact_where_there_is_hardly_any():
    """1 - p would be the same 0 for all of these images, and their order lost."""
    gaps = torch.tensor([10.0, 20.0, 30.0, 40.0, 80.0])
    logits = torch.stack([gaps, torch.zeros(5)], 1)
    assert (1 - logits.softmax(1).amax(1)).tolist()[2:] == [0, 0, 0]
    assert one_minus_confidence(logits).tolist() == pytest.approx(torch.exp(-gaps).tolist(), rel=1e-4)


def test_doubt_does_not_ask_which_class_it_is():
    logits = torch.randn(5, 4)
    torch.testing.assert_close(one_minus_confidence(logits), one_minus_confidence(logits[:, [2, 0, 3, 1]]))
    torch.testing.assert_close(one_minus_confidence(logits), one_minus_confidence(logits + 7))


# ---------------------------------------------------------------------- labels


@both
def test_labels_are_names_whose_gaps_do_not_matter(cls):
    x, y = three_digits()
    detector = cls(**TINY).fit(x, y)
    assert detector.classes_.tolist() == [0, 5, 9] and detector.classes_.dtype == np.int64
    assert detector.C[-1].out_features == 3
    for labels in (np.searchsorted([0, 5, 9], y), y - 100, y.tolist(), torch.from_numpy(y)):
        twin = cls(**TINY).fit(x, labels)
        np.testing.assert_array_equal(twin.anomaly_score(x), detector.anomaly_score(x))


@both
def test_each_image_is_taught_its_own_label(cls, monkeypatch):
    x, y = three_digits()
    taught, step = [], cls.training_step
    monkeypatch.setattr(
        cls, "training_step", lambda self, x, y: taught.append((x.clone(), y)) or step(self, x, y)
    )
    detector = cls(**TINY).fit(x, y)
    assert taught
    for batch, numbers in taught:
        for image, number in zip(((batch[:, 0] + 1) * 127.5).round().numpy(), numbers, strict=True):
            assert y[(x == image).all((1, 2))].tolist() == [detector.classes_[number]]


@both
def test_a_class_that_was_held_out_altogether_is_no_class(cls):
    x, y = three_digits(20)
    first_held = torch.randperm(20, generator=torch.Generator().manual_seed(0))[0]
    y[first_held] = 77
    assert cls(**TINY, holdout=0.1, seed=0).fit(x, y).classes_.tolist() == [0, 5, 9]
    assert cls(**TINY, holdout=0).fit(x, y).classes_.tolist() == [0, 5, 9, 77]


@both
def test_a_single_sub_class_leaves_nothing_to_learn(cls):
    x, _ = three_digits()
    words = (cls.__name__, "2 or more sub-classes", "got 1", "labels='cluster'")
    with raises_sentence(ValueError, *words):
        cls(**TINY).fit(x, np.full(len(x), 7))


@both
def test_missing_labels(cls):
    x, _ = three_digits()
    with raises_sentence(ValueError, cls.__name__, "pass fit a label for each", "labels='cluster'"):
        cls(**TINY).fit(x)


@both
def test_clusters_take_the_place_of_labels(cls):
    x, y = three_digits()
    cluster = {"labels": "cluster", "cluster_features": "pixels", "holdout": 0, "seed": 1}
    detector = cls(**TINY, **cluster).fit(x)
    expected = clustering.weak_labels(torch.from_numpy(x)[:, None], "pixels", seed=1)
    assert detector.classes_.tolist() == list(range(expected.max() + 1))
    told = cls(**TINY, holdout=0, seed=1).fit(x, expected)
    np.testing.assert_array_equal(told.anomaly_score(x), detector.anomaly_score(x))
    with_labels = cls(**TINY, **cluster).fit(x, y)  # which are not used
    np.testing.assert_array_equal(with_labels.anomaly_score(x), detector.anomaly_score(x))


@both
def test_what_is_asked_of_the_clustering(cls, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        clustering, "weak_labels", lambda x, *rest: asked.append((len(x), *rest)) or np.arange(len(x)) % 4
    )
    x, y = three_digits()
    parameters = {"labels": "cluster", "cluster_features": tmp_path / "w.pth", "max_clusters": 7, "seed": 3}
    parameters |= {"cluster_backbone": "efficientnet_lite0"}
    detector = cls(**TINY, **parameters).fit(x)
    given = (tmp_path / "w.pth", None, 7, 3, torch.device("cpu"), "efficientnet_lite0")
    assert asked == [(32, *given)]  # 4 of the 36 are held out
    assert detector.classes_.tolist() == [0, 1, 2, 3]
    cls(**TINY).fit(x, y)
    assert len(asked) == 1


@both
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"labels": "guess"}, ["labels", "'given'", "'cluster'", "'guess'"]),
        ({"max_clusters": 1}, ["max_clusters", "at least 2", "1"]),
        ({"batch_size": 1}, ["batch_size", "at least 2", "1"]),
        ({"z_dim": 0}, ["z_dim", "at least 1"]),
        ({"hidden": 0}, ["hidden", "at least 1"]),
        ({"width": 0}, ["width", "at least 1"]),
        ({"max_width": 0}, ["max_width", "at least 1"]),
        ({"betas": (0.5, 1.0)}, ["betas", "below 1", "1.0"]),
        ({"norm": "inside"}, ["norm", "'before'", "'after'", "'inside'"]),
    ],
)
def test_parameters_that_cannot_work(cls, parameters, words):
    with raises_sentence(ValueError, *words):
        cls(**TINY | parameters).fit(*three_digits())


# ---------------------------------------------------------------------- Grad-CAM


@pytest.fixture(scope="module", params=["SoftmaxClassifier", "YGAN", "YGAN single", "colour"])
def looking(request):
    """A detector whose weights are large enough for maps that are not flat, and images."""
    channels = 3 if request.param == "colour" else 1
    cls = YGAN if request.param.startswith("YGAN") else SoftmaxClassifier
    more = {"lambda_con": 0.0} if cls is YGAN else {}
    more |= {"encoder": "single"} if request.param == "YGAN single" else {}
    x, y = three_digits(channels=channels)
    return cls(**TINY | {"epochs": 3, "lr": 0.01}, **more).fit(x, y), x


def floats(x: np.ndarray) -> torch.Tensor:
    x = torch.from_numpy(x).float() / 127.5 - 1
    return x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)


def through(layers: list[torch.nn.Module], x: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        x = layer(x)
    return x


def test_grad_cam_by_hand(looking):
    """Selvaraju et al., Eq. 1 and 2: maps of the last layer, weighted by the mean of their gradients."""
    detector, x = looking
    largest = []
    for i in range(6):
        image, layers = floats(x[i : i + 1]), list(detector.E_s)
        maps = through(layers[:-2], image).detach().requires_grad_()  # (1, 8, 4, 4)
        logits = detector.C(through(layers[-2:], maps))[0]
        (gradient,) = torch.autograd.grad(logits.max(), maps)
        weights = gradient.mean((2, 3), keepdim=True)
        expected = F.interpolate((weights * maps).sum(1, keepdim=True).relu(), 16, mode="bilinear")[0, 0]
        expected = expected.detach().numpy()
        np.testing.assert_allclose(detector.grad_cam(x[i : i + 1])[0], expected, atol=1e-5 * expected.max())
        largest.append(expected.max())
    assert max(largest) > 0  # or nothing was compared


def test_grad_cam_has_a_map_for_each_image(looking):
    detector, x = looking
    maps = detector.grad_cam(x)
    assert maps.shape == (36, 16, 16) and maps.dtype == np.float32
    assert (maps >= 0).all() and maps.max() > 0
    assert maps.std((1, 2)).max() > 0
    np.testing.assert_allclose(detector.grad_cam(x[5:6])[0], maps[5], atol=1e-5 * maps.max())


def test_grad_cam_leaves_the_detector_as_it_was(looking):
    detector, x = looking
    before, scores = copy.deepcopy(detector._state()), detector.anomaly_score(x)
    gradients = {k: p.grad for k, p in detector.E_s.named_parameters()}
    detector.E_s.train()
    detector.grad_cam(x[:3])
    after = detector._state()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert {k: p.grad for k, p in detector.E_s.named_parameters()} == gradients
    assert not any(
        m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in detector.E_s.modules()
    )
    assert all(p.requires_grad for p in detector.E_s.parameters())
    np.testing.assert_array_equal(detector.anomaly_score(x), scores)


@both
@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize(
    ("norm", "last"), [("before", torch.nn.LeakyReLU), ("after", torch.nn.BatchNorm2d)], ids=str
)
def test_grad_cam_looks_at_the_last_4x4_map(cls, size, norm, last):
    detector = cls(width=2, z_dim=3, norm=norm)
    detector.classes_ = np.arange(2)
    detector._start((1, size, size))
    seen = []
    detector.last_map().register_forward_hook(lambda m, args, out: seen.append(out))
    code = detector.E_s(torch.rand(2, 1, size, size))
    assert seen[0].shape[2:] == (4, 4) and type(detector.last_map()) is last
    behind = list(detector.E_s)[-2:]  # nothing but the last layer
    torch.testing.assert_close(through(behind, seen[0]), code)


def test_grad_cam_with_a_split_code():
    x, y = three_digits()
    assert YGAN(**TINY, encoder="split").fit(x, y).grad_cam(x[:2]).shape == (2, 16, 16)


@both
def test_grad_cam_before_fit(cls):
    with raises_sentence(NotFittedError, cls.__name__, "a fitted"):
        cls(**TINY).grad_cam(three_digits()[0])
