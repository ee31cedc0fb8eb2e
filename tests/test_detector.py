"""The loop and the contract's details, on detectors so small that one can compute what must come out."""

import dataclasses
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import points, raises_sentence, zeros
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from minigan import checkpoint, metrics
from minigan.checks import require
from minigan.detector import Detector
from minigan.neural import NeuralDetector
from minigan.torch_state import pick_device


@dataclass(kw_only=True, eq=False, repr=False)
class Distance(NeuralDetector):
    """Learns a centre c by gradient descent on |x - c|^2; the score is the distance from it."""

    takes: ClassVar = ("vectors", "images")
    gradient_flow: ClassVar = {"loss": {"net"}}

    progress: bool = False
    epochs: int = 3
    batch_size: int = 10
    lr: float = 0.1

    def build(self, image_shape):
        self.net = nn.Linear(1, int(np.prod(image_shape)), bias=False).to(self.device_)
        self.optimiser = torch.optim.SGD(self.net.parameters(), lr=self.lr)
        self.seen, self.modes, self.epochs_started = [], [], []

    def centre(self) -> Tensor:
        return self.net.weight[:, 0]

    def start_epoch(self):
        self.epochs_started.append(self.epoch_)

    def training_step(self, x, y):
        self.seen.append((self.epoch_, self.step_, x.clone(), y))
        self.modes.append(self.net.training)
        loss = ((x.flatten(1) - self.centre()) ** 2).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {"loss": loss}

    def score_step(self, x):
        return (x.flatten(1) - self.centre()).norm(dim=1)


@dataclass(kw_only=True, eq=False, repr=False)
class Classes(Distance):
    """Needs labels of the normal sub-classes."""

    label_meaning: ClassVar = "classes"


@dataclass(kw_only=True, eq=False, repr=False)
class Supervised(Distance):
    """Needs to know which training images are anomalies."""

    label_meaning: ClassVar = "anomalies"


@dataclass(kw_only=True, eq=False, repr=False)
class OnlyVectors(Distance):
    takes: ClassVar = ("vectors",)


def rows_seen(detector: Distance, epoch: int) -> np.ndarray:
    return torch.cat([x for e, _, x, _ in detector.seen if e == epoch]).flatten(1).numpy()


def as_set(rows: np.ndarray) -> set[tuple]:
    return {tuple(row) for row in rows.tolist()}


# ---------------------------------------------------------------------- what the loop does


def test_every_epoch_sees_the_images_once_in_another_order():
    x = points(50)
    detector = Distance(holdout=0).fit(x)
    orders = [rows_seen(detector, epoch) for epoch in (1, 2, 3)]
    for rows in orders:
        assert rows.shape == (50, 2) and as_set(rows) == as_set(x)
    assert not np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[1], orders[2])
    assert [step for e, step, _, _ in detector.seen if e == 2] == [0, 1, 2, 3, 4]
    assert detector.epochs_started == [1, 2, 3]
    assert all(detector.modes)


def test_an_incomplete_last_batch_is_left_out_and_comes_again():
    x = points(25)
    detector = Distance(holdout=0, epochs=12).fit(x)
    assert detector.steps_per_epoch_ == 2
    assert {len(batch) for _, _, batch, _ in detector.seen} == {10}
    assert as_set(rows_seen(detector, 1)) < as_set(x)
    assert set().union(*(as_set(rows_seen(detector, e)) for e in range(1, 13))) == as_set(x)


def test_a_batch_is_never_larger_than_the_set():
    detector = Distance(holdout=0, batch_size=64).fit(points(7))
    assert (detector.batch_size_, detector.steps_per_epoch_) == (7, 1)
    assert detector.batch_size == 64  # the parameter stays


def test_batches_of_bytes_arrive_as_floats():
    detector = Distance(holdout=0).fit(zeros(20))
    for _, _, x, _ in detector.seen:
        assert x.dtype == torch.float32 and x.shape == (10, 1, 16, 16)
        assert x.min() == -1 and x.max() <= 1


def test_history_holds_the_mean_loss_of_each_epoch():
    detector = Distance(holdout=0, lr=0.0).fit(points(30))
    centre = detector.centre().detach().numpy()
    expected = ((points(30) - centre) ** 2).mean()
    history = detector.history_
    assert isinstance(history, pd.DataFrame)
    assert list(history.index) == [1, 2, 3] and history.index.name == "epoch"
    assert list(history.columns) == ["loss", "seconds"]
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)
    assert (history["seconds"] >= 0).all()


def test_the_mean_is_over_the_batches_that_there_were():
    class Twice(Distance):
        def batches(self, n, y):
            return [*super().batches(n, y)] * 2

    once = Distance(holdout=0, lr=0.0).fit(points(30)).history_["loss"]
    twice = Twice(holdout=0, lr=0.0).fit(points(30))
    assert len(twice.seen) == 2 * 3 * 3  # epochs of three batches, each of them twice
    np.testing.assert_allclose(twice.history_["loss"], once, rtol=1e-5)


def test_it_learns_the_centre():
    x = points(100) + [5, -3]
    detector = Distance(epochs=30, holdout=0).fit(x)
    np.testing.assert_allclose(detector.centre().detach(), x.mean(0), atol=0.1)
    assert detector.history_["loss"].iloc[-1] < detector.history_["loss"].iloc[0] / 5


def test_many_images_are_scored_in_parts():
    detector = Distance().fit(points(20))
    x = points(1000)
    expected = np.linalg.norm(x - detector.centre().detach().numpy(), axis=1)
    np.testing.assert_allclose(detector.anomaly_score(x), expected, rtol=1e-5)


def test_scores_carry_no_graph():
    detector = Distance().fit(points(20))
    detector.anomaly_score(points(5))
    assert detector.net.weight.grad is None or not detector.net.weight.grad.requires_grad
    seen = []
    detector.score_step = lambda x: seen.append(torch.is_inference_mode_enabled()) or x[:, 0]
    detector.anomaly_score(points(5))
    assert seen == [True]


def test_the_progress_bar_can_be_shown_and_hidden(capfd):
    Distance(progress=True).fit(points(20))
    shown = capfd.readouterr().err
    assert "Distance" in shown and "3/3" in shown and "loss=" in shown
    Distance(progress=False).fit(points(20))
    assert capfd.readouterr().err == ""


def test_the_loop_works_on_what_training_data_returns(monkeypatch):
    monkeypatch.setattr(Distance, "training_data", lambda self, x: x.repeat_interleave(3, 0))
    detector = Classes(holdout=0, epochs=1).fit(points(20), np.arange(20))
    labels = torch.cat([y for _, _, _, y in detector.seen])
    rows = rows_seen(detector, 1)
    assert len(rows) == 60
    np.testing.assert_array_equal(rows, points(20)[labels.numpy()])  # each copy kept its label


# ---------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "labels",
    [np.arange(30), np.linspace(0, 1, 30), ["good", "bad"] * 15, pd.Series(["a"] * 30, dtype="category")],
    ids=["integers", "floats", "text", "categories"],
)
def test_labels_are_ignored_where_they_mean_nothing(labels):
    with_labels = Distance().fit(points(30), labels)
    assert all(y is None for _, _, _, y in with_labels.seen)
    np.testing.assert_array_equal(
        with_labels.anomaly_score(points(5)), Distance().fit(points(30)).anomaly_score(points(5))
    )


def test_labels_stay_beside_their_images():
    x = points(40)
    for labels in (np.arange(40), list(range(40)), torch.arange(40), np.arange(40, dtype=np.uint8)):
        detector = Classes().fit(x, labels)
        for _, _, batch, y in detector.seen:
            assert y.dtype == torch.int64
            np.testing.assert_array_equal(x[y.numpy()], batch.numpy())


def test_labelled_anomalies_are_never_held_out():
    x, labels = points(40), np.arange(40) % 2
    x[labels == 1] += 100
    detector = Supervised(holdout=0.3).fit(x, labels)
    seen = as_set(rows_seen(detector, 1)) | as_set(rows_seen(detector, 2)) | as_set(rows_seen(detector, 3))
    assert as_set(x[labels == 1]) <= seen
    held = np.array([row for row in x if tuple(row.tolist()) not in seen])
    assert len(held) == 12  # 30 % of 40
    assert detector.threshold_ == pytest.approx(np.quantile(detector.anomaly_score(held), 0.95))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros(7, int), ["30 labels", "(7,)"]),
        (np.zeros((30, 1), int), ["30 labels", "(30, 1)"]),
        (1, ["30 labels", "()"]),
        ([[1], [1, 2]], ["lists that differ in length", "pass one for each image"]),
        (np.zeros(30), ["whole numbers", "float64", "labels.astype(int)"]),
        (["a"] * 30, ["whole numbers", "<U1", "numpy.unique"]),
    ],
)
@pytest.mark.parametrize("cls", [Distance, Classes])
def test_labels_that_do_not_fit(cls, labels, words):
    if words[0] != "whole numbers" or cls is Classes:
        with raises_sentence(ValueError, *words):
            cls().fit(points(30), labels)
    detector = cls().fit(points(30))
    for use in (detector.calibrate, detector.score):
        with raises_sentence(ValueError, "expected"):
            use(points(30), labels)


def test_labels_may_be_missing_and_the_method_decides_whether_it_can_do_without():
    detector = Classes().fit(points(30))
    assert detector.image_shape_ == (2,)
    assert detector.seen and all(y is None for _, _, _, y in detector.seen)


# ---------------------------------------------------------------------- held-out and validation images


def test_held_out_images_are_not_trained_on_and_set_the_threshold():
    x = points(100)
    detector = Distance(holdout=0.2, contamination=0.25).fit(x)
    seen = as_set(rows_seen(detector, 1))
    assert len(seen) == 80
    held = np.array([row for row in x if tuple(row.tolist()) not in seen])
    assert len(held) == 20
    assert detector.threshold_ == pytest.approx(np.quantile(detector.anomaly_score(held), 0.75))
    assert as_set(rows_seen(Distance(holdout=0.2, seed=1).fit(x), 1)) != seen  # chosen by the seed


@pytest.mark.parametrize(("n", "holdout", "kept"), [(10, 0.01, 9), (3, 0.9, 2), (2, 0.5, 2), (100, 0.999, 2)])
def test_at_least_one_is_held_out_and_two_are_kept(n, holdout, kept):
    detector = Distance(holdout=holdout, batch_size=2).fit(points(n))
    assert detector.steps_per_epoch_ * 2 in (kept, kept - 1)
    assert hasattr(detector, "threshold_") == (kept < n)


def test_without_held_out_images_there_is_no_threshold_until_calibrated(tmp_path):
    detector = Distance(holdout=0).fit(points(30))
    for use in (detector.predict, detector.decision_function):
        with raises_sentence(
            NotFittedError, "a threshold", "no image was held out", "calibrate(normal_images)"
        ):
            use(points(5))
    with raises_sentence(NotFittedError, "a threshold"):
        _ = detector.offset_
    assert not hasattr(detector, "threshold_")
    assert detector.calibrate(points(200, seed=4)).predict(points(5)).shape == (5,)
    with raises_sentence(NotFittedError, "a fitted"):
        _ = Distance().offset_


def test_a_missing_threshold_stays_missing_in_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("minigan.get", {"Distance": Distance}.__getitem__)
    Distance(holdout=0).fit(points(30)).save(tmp_path / "a")
    loaded = Distance.load(tmp_path / "a")
    assert not hasattr(loaded, "threshold_")


def test_validation_images_take_the_place_of_the_hold_out():
    x, held = points(50), points(40, seed=3)
    detector = Distance(holdout=0.5).fit(x, validation=(held, None))
    assert as_set(rows_seen(detector, 1)) == as_set(x)
    assert detector.threshold_ == pytest.approx(np.quantile(detector.anomaly_score(held), 0.95))
    assert "auroc" not in detector.history_


def far() -> tuple[np.ndarray, np.ndarray]:
    """20 normal vectors and 10 anomalies far away, with labels."""
    return np.concatenate([points(20, seed=3), points(10, seed=4) + 30]), np.repeat([0, 1], [20, 10])


def test_validation_with_anomalies_records_the_auroc_and_the_best_epoch():
    detector = Distance(epochs=7, validate_every=3).fit(points(50), validation=far())
    auroc = detector.history_["auroc"]
    assert list(auroc.index[auroc.notna()]) == [3, 6, 7]  # every third epoch, and the last
    assert (auroc.dropna() == 1).all()
    assert detector.best_validation_epoch_ == 3  # the first of equals
    assert detector.threshold_ == pytest.approx(np.quantile(detector.anomaly_score(far()[0][:20]), 0.95))


def test_selected_weights_are_those_of_the_best_epoch():
    """Good in epochs 3 and 4 of 6: the fourth is selected, the last counts until asked otherwise."""

    class Unsteady(Distance):
        def start_epoch(self):
            super().start_epoch()
            with torch.no_grad():
                self.net.weight.fill_(self.epoch_)

        def score_step(self, x):
            good = 2.5 < self.net.weight.mean() < 4.5
            return self.net.weight.mean() + x.norm(dim=1) * (1 if good else -1)

    settings = {"validate_every": 2, "lr": 0.0}
    four = Unsteady(epochs=4, **settings).fit(points(50), validation=far())
    detector = Unsteady(epochs=6, **settings).fit(points(50), validation=far())
    assert detector.history_["auroc"].dropna().tolist() == [0.0, 1.0, 0.0]
    assert detector.best_validation_epoch_ == 4
    last = detector.anomaly_score(far()[0])
    assert detector.use_weights("best_validation") is detector
    np.testing.assert_array_equal(detector.anomaly_score(far()[0]), four.anomaly_score(far()[0]))
    assert not np.array_equal(detector.anomaly_score(far()[0]), last)
    detector.use_weights("last")
    np.testing.assert_array_equal(detector.anomaly_score(far()[0]), last)
    with raises_sentence(ValueError, "got 'best'", "'last', 'average', 'best_validation'"):
        detector.use_weights("best")


def test_kept_weights_are_copies():
    detector = Distance().fit(points(30))
    before = detector.anomaly_score(points(5))
    with torch.no_grad():
        detector.net.weight.fill_(99)
    detector.use_weights("last")
    np.testing.assert_array_equal(detector.anomaly_score(points(5)), before)


def test_nothing_is_selected_without_anomalous_validation_images():
    detector = Distance().fit(points(30), validation=(points(10), np.zeros(10, int)))
    with raises_sentence(ValueError, "got 'best_validation'", "out of 'last'", "both kinds"):
        detector.use_weights("best_validation")
    with raises_sentence(ValueError, "out of none, got 'last'", "none"):
        Distance().use_weights("last")


def test_validation_with_anomalies_alone_sets_no_threshold():
    detector = Distance().fit(points(30), validation=(points(10) + 30, np.ones(10, int)))
    with raises_sentence(NotFittedError, "a threshold"):
        detector.predict(points(5))


@pytest.mark.parametrize(
    ("validation", "kind", "words"),
    [
        (points(10), TypeError, ["pair (images, labels)", "ndarray"]),
        ((points(10),), TypeError, ["pair (images, labels)", "tuple"]),
        ((points(10), np.zeros(9, int)), ValueError, ["10 labels", "(9,)"]),
        ((points(10), np.arange(10)), ValueError, ["0 (normal) and 1 (anomalous)"]),
        ((points(10, d=3), None), ValueError, ["(2,)", "(3,)"]),
        ((points(0), None), ValueError, ["at least one"]),
    ],
)
def test_validation_sets_that_do_not_fit(validation, kind, words):
    with raises_sentence(kind, *words):
        Distance().fit(points(30), validation=validation)


# ---------------------------------------------------------------------- hooks around the steps


@dataclass(kw_only=True, eq=False, repr=False)
class Hooked(Distance):
    """Notes when its hooks are called and with what; `note` is a buffer that an epoch's end fills."""

    label_meaning: ClassVar = "classes"

    def training_labels(self, x, y):
        self.given = x.clone(), None if y is None else y.clone()
        self.asked_before_build = not hasattr(self, "net")
        labels = y if y is not None else torch.zeros(len(x), dtype=torch.int64)
        classes, numbers = labels.unique(return_inverse=True)
        self.classes_ = classes.numpy()
        return numbers

    def build(self, image_shape):
        super().build(image_shape)
        self.net.register_buffer("note", torch.full((len(self.classes_),), torch.inf))
        self.calls = []

    def batches(self, n, y):
        self.calls.append(("batches", self.epoch_, n, y.clone()))
        return super().batches(n, y)

    def training_step(self, x, y):
        self.calls.append(("step", self.epoch_))
        return super().training_step(x, y)

    def end_epoch(self, x, y):
        self.calls.append(
            ("end", self.epoch_, x.clone(), y.clone(), self.net.training, torch.is_grad_enabled())
        )
        self.net.note.fill_(self.epoch_)

    def score_step(self, x):
        return super().score_step(x) * (1 if self.net.note[0] == 2 else -1)  # good after epoch 2 alone


GAPS = np.array([5, -3, 9])[np.arange(30) % 3]  # labels are names, not numbers from 0


def test_hooks_are_called_in_order_with_all_training_items():
    x = points(30)
    detector = Hooked(holdout=0, epochs=2).fit(x, GAPS)
    assert [call[:2] for call in detector.calls] == [
        call for epoch in (1, 2) for call in [("batches", epoch), *[("step", epoch)] * 3, ("end", epoch)]
    ]
    numbers = torch.from_numpy(np.array([1, 0, 2])[np.arange(30) % 3])
    for name, _, *arguments in detector.calls:
        if name == "batches":
            assert arguments[0] == 30 and torch.equal(arguments[1], numbers)
        if name == "end":
            np.testing.assert_array_equal(arguments[0], x)
            assert torch.equal(arguments[1], numbers)
            assert arguments[2:] == [False, False]  # neither training mode nor gradients


def test_training_labels_are_asked_for_once_before_build_without_held_out_items():
    x = points(30)
    detector = Hooked(holdout=0.2).fit(x, GAPS)
    images, labels = detector.given
    assert detector.asked_before_build and len(images) == 24
    np.testing.assert_array_equal(
        labels, GAPS[[np.flatnonzero((x == row).all(1))[0] for row in images.numpy()]]
    )
    for _, _, batch, y in detector.seen:  # training steps see what came out
        rows = [np.flatnonzero((x == row).all(1))[0] for row in batch.numpy()]
        np.testing.assert_array_equal(detector.classes_[y], GAPS[rows])


def test_training_labels_may_be_made_where_none_came():
    detector = Hooked().fit(points(30))
    assert detector.given[1] is None
    assert all((y == 0).all() and len(y) == len(x) for _, _, x, y in detector.seen)


def test_a_method_may_mix_its_batches_otherwise():
    class Uneven(Distance):
        def batches(self, n, y):
            return [torch.tensor([3, 3, 3]), torch.tensor([0, 1])]

    x = points(20)
    detector = Uneven(holdout=0, epochs=1, lr=0.0).fit(x)
    np.testing.assert_array_equal(rows_seen(detector, 1), x[[3, 3, 3, 0, 1]])
    assert [step for _, step, _, _ in detector.seen] == [0, 1]
    losses = [((batch - detector.centre()) ** 2).mean().item() for _, _, batch, _ in detector.seen]
    assert detector.history_["loss"].iloc[0] == pytest.approx(np.mean(losses))  # over two batches


class Steps(Hooked):
    """After epoch e all weights are 10 e; `fit_statistics` notes the weights that it finds."""

    def start_epoch(self):
        super().start_epoch()
        with torch.no_grad():
            self.net.weight.fill_(10.0 * self.epoch_)

    def end_epoch(self, x, y):
        self.fit_statistics(x, y)

    def fit_statistics(self, x, y):
        self.net.note.fill_(self.net.weight.mean().item())


def test_the_average_of_the_weights_counts_all_epochs_alike_at_first_and_then_forgets():
    for epochs, expected in ((1, 10), (4, 25), (10, 55), (12, 0.9 * (0.9 * 55 + 11) + 12)):
        detector = Steps(epochs=epochs, lr=0.0).fit(points(30))
        assert detector.net.weight.mean() == 10 * epochs
        detector.use_weights("average")
        assert detector.net.weight.mean().item() == pytest.approx(expected)
        # What is fitted to the training images at an epoch's end is fitted to the average, too.
        np.testing.assert_allclose(detector.net.note, expected, rtol=1e-6)
        detector.use_weights("last")
        assert detector.net.weight.mean() == detector.net.note[0] == 10 * epochs


def test_batch_norm_collects_its_statistics_for_the_average_anew():
    """From training images in whole batches; the last epoch keeps what it collected while it trained."""

    class Normed(Steps):
        def build(self, image_shape):
            super().build(image_shape)
            self.norm = torch.nn.BatchNorm2d(1)

        def score_step(self, x):
            return self.norm(self.net.weight[0, 0] * x[:, :1, None, None]).flatten()

    x = points(33)  # no training image is held out, and the last batch is incomplete
    detector = Normed(epochs=4, lr=0.0, batch_size=16, holdout=0.0).fit(x)
    assert detector.norm.running_mean == 0 and detector.norm.num_batches_tracked == 0
    detector.use_weights("average")
    seen = 25 * torch.as_tensor(x)[:, 0]  # the averaged weight is 25
    order = torch.randperm(33, generator=torch.Generator().manual_seed(detector.seed))
    batches = seen[order[:32]].reshape(2, 16)
    torch.testing.assert_close(detector.norm.running_mean[0], batches.mean())
    torch.testing.assert_close(detector.norm.running_var[0], batches.var(1).mean())
    assert not detector.norm.training and detector.norm.num_batches_tracked == 2


def test_infinite_buffers_are_averaged_to_infinite_ones():
    """As prototypes that were never computed: inf - inf would be nan."""

    class Never(Distance):
        def build(self, image_shape):
            super().build(image_shape)
            self.net.register_buffer("note", torch.tensor([torch.inf, 3.0]))

    detector = Never(epochs=3).fit(points(30)).use_weights("average")
    assert detector.net.note.tolist() == [torch.inf, 3.0]


def test_the_last_epochs_are_kept_as_many_as_wanted():
    detector = Steps(epochs=5, lr=0.0, keep_epochs=3).fit(points(30))
    for epoch in (3, 4, 5):
        assert detector.use_weights(epoch).net.weight.mean() == 10 * epoch
    with raises_sentence(ValueError, "got 2", "keep_epochs"):
        detector.use_weights(2)
    few = Steps(epochs=2, lr=0.0, keep_epochs=5).fit(points(30))
    assert [few.use_weights(epoch).net.weight.mean() for epoch in (1, 2)] == [10, 20]
    with raises_sentence(ValueError, "keep_epochs", "got 0"):
        Steps(keep_epochs=0).fit(points(30))


def test_what_an_epochs_end_has_learned_belongs_to_the_weights_of_that_epoch():
    detector = Hooked(epochs=3, validate_every=1).fit(points(30), GAPS, validation=far())
    assert detector.history_["auroc"].tolist() == [0, 1, 0]  # it is there before the first look
    assert detector.net.note.tolist() == [3, 3, 3]
    detector.use_weights("best_validation")
    assert detector.net.note.tolist() == [2, 2, 2]
    assert metrics.auroc(far()[1], detector.anomaly_score(far()[0])) == 1


def test_an_interrupted_epoch_leaves_what_the_last_finished_one_has_learned():
    class Interrupted(Hooked):
        def training_step(self, x, y):
            if self.epoch_ == 3:
                raise KeyboardInterrupt
            return super().training_step(x, y)

    with pytest.warns(UserWarning, match="those after epoch 2"):
        assert Interrupted().fit(points(30), GAPS).net.note.tolist() == [2, 2, 2]


def test_classes_and_buffers_stand_in_the_checkpoint(tmp_path):
    detector = Hooked(epochs=2).fit(points(30), GAPS)
    detector.save(tmp_path / "a")
    loaded = Hooked.load(tmp_path / "a")
    assert loaded.classes_.tolist() == [-3, 5, 9] and loaded.classes_.dtype == np.int64
    assert loaded.net.note.tolist() == [2, 2, 2]
    np.testing.assert_array_equal(loaded.anomaly_score(points(5)), detector.anomaly_score(points(5)))
    Distance().fit(points(30)).save(tmp_path / "b")
    assert not hasattr(Distance.load(tmp_path / "b"), "classes_")


@pytest.mark.parametrize(
    "classes", ["abc", ["a", "b", "c"], [[1, 2, 3]], [[1], [2], [3]], 5, {"1": 2}, [None] * 3, [10**30] * 3]
)
def test_classes_in_a_broken_checkpoint(classes, tmp_path):
    Hooked(epochs=1).fit(points(30), GAPS).save(tmp_path / "a")
    header, tensors = checkpoint.read(tmp_path / "a")
    checkpoint.write(tmp_path / "b", header | {"classes": classes}, tensors)
    with raises_sentence(ValueError, "expected a checkpoint of a working Hooked"):
        Hooked.load(tmp_path / "b")


@pytest.mark.parametrize("classes", [None, [1, 2], [1, 2, 3, 4]])
def test_a_checkpoint_with_fewer_or_more_classes_than_its_networks(classes, tmp_path):
    Hooked(epochs=1).fit(points(30), GAPS).save(tmp_path / "a")
    header, tensors = checkpoint.read(tmp_path / "a")
    checkpoint.write(tmp_path / "b", header | {"classes": classes}, tensors)
    with raises_sentence(ValueError, "expected a checkpoint of a working Hooked"):
        Hooked.load(tmp_path / "b")


def test_a_second_fit_forgets_the_classes():
    detector = Hooked().fit(points(30), GAPS).fit(points(30), np.arange(30) % 2)
    assert detector.classes_.tolist() == [0, 1]


# ---------------------------------------------------------------------- in parts


def test_functions_of_many_images_are_computed_in_parts():
    detector, seen = Distance().fit(zeros(20)), []
    detector.net.train()

    def double(x):
        seen.append((len(x), detector.net.training, torch.is_inference_mode_enabled()))
        assert x.dtype == torch.float32 and x.min() >= -1 and x.max() <= 1 and x.shape[1:] == (1, 16, 16)
        return 2 * x

    x = np.concatenate([zeros(150)] * 4)
    result = detector.map_batches(double, x)
    assert seen == [(256, False, True), (256, False, True), (len(x) - 512, False, True)]
    assert isinstance(result, np.ndarray) and result.dtype == np.float32
    np.testing.assert_allclose(result[:, 0], 2 * (x / 127.5 - 1), atol=1e-6)  # in the order of the images
    assert detector.map_batches(double, x[:1]).shape == (1, 1, 16, 16)


def test_functions_of_images_want_a_fitted_detector_and_images_like_those_of_training():
    with raises_sentence(NotFittedError, "a fitted"):
        Distance().map_batches(lambda x: x, zeros(2))
    with raises_sentence(ValueError, "(1, 16, 16)", "(3, 16, 16)"):
        Distance().fit(zeros(20)).map_batches(lambda x: x, zeros(2, channels=3))


# ---------------------------------------------------------------------- what goes wrong while training


def interrupt_in(epoch: int, step: int = 1):
    class Interrupted(Distance):
        def training_step(self, x, y):
            if (self.epoch_, self.step_) == (epoch, step):
                raise KeyboardInterrupt
            return super().training_step(x, y)

    return Interrupted


def test_an_interrupted_fit_keeps_the_last_finished_epoch():
    with pytest.warns(
        UserWarning, match="interrupted in epoch 3: the weights are those after epoch 2"
    ) as caught:
        detector = interrupt_in(epoch=3)(epochs=50).fit(points(50))
    assert caught[0].filename == __file__  # the warning points at the call of fit
    assert list(detector.history_.index) == [1, 2]
    two = Distance(epochs=2).fit(points(50))
    np.testing.assert_array_equal(detector.anomaly_score(points(9)), two.anomaly_score(points(9)))
    assert detector.threshold_ == two.threshold_


def test_an_interruption_before_anything_was_learned_is_passed_on():
    detector = interrupt_in(epoch=1)()
    with pytest.raises(KeyboardInterrupt):
        detector.fit(points(50))
    with raises_sentence(NotFittedError, "a fitted"):
        detector.anomaly_score(points(5))


def test_a_loss_that_is_no_number_stops_the_training_and_is_named():
    class Exploding(Distance):
        def training_step(self, x, y):
            losses = super().training_step(x, y)
            return losses | {"loss_D": losses["loss"] * (torch.nan if self.epoch_ == 2 else 1)}

    detector = Exploding()
    with raises_sentence(FloatingPointError, "loss_D = nan in epoch 2", "smaller learning rate", "epochs=1"):
        detector.fit(points(50))
    with raises_sentence(NotFittedError, "a fitted"):
        detector.anomaly_score(points(5))


def test_scores_that_are_no_numbers_are_refused():
    detector = Distance().fit(points(30))
    with torch.no_grad():
        detector.net.weight.fill_(torch.nan)
    with raises_sentence(FloatingPointError, "5 of 5 that are not", "history_"):
        detector.anomaly_score(points(5))


def test_a_second_fit_forgets_the_first():
    detector = Distance().fit(points(30), validation=far())
    detector.use_weights("best_validation")
    detector.leftover, detector._leftover_ = 1, 2
    detector.fit(points(30, d=3))
    assert detector.image_shape_ == (3,)
    assert not {"leftover", "_leftover_", "best_validation_epoch_"} & set(vars(detector))
    assert "auroc" not in detector.history_
    with raises_sentence(ValueError, "got 'best_validation'"):
        detector.use_weights("best_validation")


def test_what_scikit_learn_notes_on_a_detector_survives_fit():
    detector = Distance().set_params(epochs=1)
    detector._parent_callback_ctx = "a note"
    assert detector.fit(points(30))._parent_callback_ctx == "a note"


# ---------------------------------------------------------------------- warnings


def caught_by(call, few: bool = False) -> list[str]:
    """The warnings of a call; those about a threshold from few images only on request."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if not few:
            warnings.filterwarnings("ignore", "the threshold comes from")
        call()
    assert all(w.filename == __file__ for w in caught)  # they point at the user's line, not into minigan
    return [str(w.message) for w in caught]


def caught_by_fit(x, detector: Detector) -> list[str]:
    return caught_by(lambda: detector.fit(x))


def test_images_in_the_unit_range_are_pointed_out():
    x = zeros(20) / 255
    assert ["2 * x - 1" in message for message in caught_by_fit(x, Distance())] == [True]
    assert caught_by_fit(2 * x - 1, Distance()) == []
    assert caught_by_fit(zeros(20), Distance()) == []
    assert caught_by_fit(np.abs(points(20)), Distance()) == []


def test_identical_training_images_are_pointed_out():
    assert ["identical" in m for m in caught_by_fit(np.repeat(zeros(1), 9, 0), Distance())] == [True]


UNIT, FLOATS = zeros(20) / 255, zeros(20) / 127.5 - 1


@pytest.mark.parametrize(
    ("trained", "got", "word"),
    [
        (zeros(20), UNIT, "2 * x - 1"),
        (FLOATS, UNIT, "2 * x - 1"),
        (UNIT, zeros(20), "as the training images were"),
        (UNIT, FLOATS, "as the training images were"),
        (zeros(20), FLOATS, ""),
        (FLOATS, zeros(20), ""),
        (UNIT, UNIT, ""),
        (zeros(20), np.maximum(zeros(20), 128), ""),  # bright, but bytes
    ],
)
@pytest.mark.parametrize("way", ["anomaly_score", "predict", "decision_function", "calibrate", "loaded"])
def test_images_of_another_range_than_in_fit_are_pointed_out(trained, got, word, way, tmp_path):
    detector = Distance()
    caught_by_fit(trained, detector)
    if way == "loaded":
        detector.save(tmp_path / "detector.safetensors")
        detector, way = Distance.load(tmp_path / "detector.safetensors"), "anomaly_score"
    found = caught_by_any(lambda: getattr(detector, way)(got))
    assert [word in message for message in found] == ([True] if word else [])


@pytest.mark.parametrize("labels", [None, np.arange(20) % 2])
def test_validation_images_of_another_range_are_pointed_out(labels):
    found = caught_by_any(lambda: Distance().fit(zeros(20), validation=(UNIT, labels)))
    assert [("2 * x - 1" in message) for message in found] == [True]


def caught_by_any(call) -> list[str]:
    """The warnings of a call, wherever they point: scoring is reached by several ways."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "the threshold comes from")
        call()
    return [str(w.message) for w in caught]


def test_a_threshold_from_few_images_is_pointed_out_with_its_uncertainty():
    detector = Distance(contamination=0.05)
    (text,) = caught_by(lambda: detector.fit(points(100)), few=True)
    assert text == (
        "the threshold comes from 10 normal images only: of new ones, 1% to 39% may lie above it, not 5%; "
        "hold out more, or call calibrate with more"
    )
    assert detector.n_calibrated_ == 10
    assert caught_by(lambda: detector.calibrate(points(20, seed=3)), few=True) == []
    assert detector.n_calibrated_ == 20 and detector.normal_flagged_[1] < 0.25
    assert caught_by(lambda: detector.fit(points(90), validation=(points(10), None)), few=True) == []
    assert detector.n_calibrated_ == 10


@pytest.mark.parametrize(("n", "contamination"), [(10, 0.05), (30, 0.1), (400, 0.05)])
def test_the_interval_covers_what_is_flagged_of_new_normal_images(n, contamination):
    detector, covered = Distance(contamination=contamination).fit(points(200)), []
    new = detector.anomaly_score(points(20_000, seed=9))
    for seed in range(100):
        caught_by_any(lambda seed=seed: detector.calibrate(points(n, seed=seed + 100)))
        low, high = detector.normal_flagged_
        covered.append(low <= (new > detector.threshold_).mean() <= high)
    assert np.mean(covered) >= 0.85  # 0.9 but for the chance in 100 draws; a wrong interval is far below


def test_what_is_known_about_the_threshold_is_saved(tmp_path):
    detector = Distance().fit(points(300))
    detector.save(tmp_path / "detector.safetensors")
    loaded = Distance.load(tmp_path / "detector.safetensors")
    assert loaded.n_calibrated_ == detector.n_calibrated_ == 30
    assert loaded.normal_flagged_ == detector.normal_flagged_
    assert loaded.n_features_in_ == detector.n_features_in_ == 2
    assert not hasattr(Distance().fit(zeros(20)), "n_features_in_")


# ---------------------------------------------------------------------- parameters, devices, randomness


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"epochs": 0}, ["epochs", "at least 1", "0"]),
        ({"batch_size": -1}, ["batch_size", "at least 1", "-1"]),
        ({"validate_every": 0}, ["validate_every", "at least 1"]),
        ({"contamination": 1.0}, ["contamination", "between 0 and 1", "1.0"]),
        ({"holdout": 1}, ["holdout", "below 1"]),
        ({"image_size": 0}, ["image_size", "at least 1", "0"]),
        ({"image_size": "64"}, ["image_size", "whole number", "'64'"]),
        ({"image_size": 16.0}, ["image_size", "whole number", "16.0"]),
        ({"device": "abacus"}, ["'abacus'", "'cpu'"]),
        ({"device": ""}, ["''", "'cpu'"]),
        ({"device": "cuda:99"}, ["cuda:99"]),
    ],
)
def test_parameters_that_cannot_work(parameters, words):
    with raises_sentence(ValueError, *words):
        Distance(**parameters).fit(points(30))


def test_a_single_colour_image_is_pointed_out():
    detector = Distance().fit(zeros(20, channels=3))
    with raises_sentence(ValueError, "(3, 16, 16)", "a single image as image[None]"):
        detector.anomaly_score(zeros(1, channels=3)[0].transpose(2, 0, 1))


def test_methods_say_what_they_take():
    with raises_sentence(ValueError, "expected vectors for OnlyVectors", "images of shape (20, 1, 16, 16)"):
        OnlyVectors().fit(zeros(20))
    images_only = dataclasses.make_dataclass("ImagesOnly", [], bases=(Distance,), eq=False, repr=False)
    images_only.takes = ("images",)
    with raises_sentence(ValueError, "images for ImagesOnly", "vectors of shape (20, 2)", "image[None]"):
        images_only().fit(points(20))


def test_automatic_device(monkeypatch):
    for available, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda answer=available: answer)
        monkeypatch.setattr(torch, "empty", lambda *args, **kwargs: None)  # no real device is asked
        assert pick_device("auto").type == expected
        assert pick_device("cpu").type == "cpu"
    with raises_sentence(ValueError, "'cuda:1'", "without CUDA", "device='cpu'"):
        pick_device("cuda:1")


def test_numbers_from_numpy_are_fine_as_parameters():
    plain = Distance(seed=3, epochs=2, image_size=None)
    numpy = Distance(seed=np.int64(3), epochs=np.int32(2))
    scores = [d.fit(points(30)).anomaly_score(points(5)) for d in (plain, numpy)]
    np.testing.assert_array_equal(*scores)


def test_require():
    require(True, "never said")
    with pytest.raises(ValueError, match="said"):
        require(False, "said")


def test_the_hooks_of_a_detector_must_be_written():
    neural, plain, x = NeuralDetector(), Detector(), torch.zeros(2, 1, 4, 4)
    hooks = [
        (neural.build, (1, 4, 4)),
        (neural.training_step, x, None),
        (neural.score_step, x),
        (plain._fit, x, None, (x, np.zeros(2))),
        (plain._scores, x),
        (plain._state,),
        (plain._restore, {}),
    ]
    for hook, *arguments in hooks:
        with pytest.raises(NotImplementedError):
            hook(*arguments)


def test_the_detector_is_an_estimator_that_scikit_learn_knows():
    from sklearn.utils import estimator_html_repr, get_tags

    detector = Distance(epochs=9)
    assert get_tags(detector).estimator_type == "outlier_detector"
    assert "Distance" in estimator_html_repr(detector)
    assert repr(detector) == "Distance(epochs=9)"
    assert detector.fit_predict(points(30)).shape == (30,)
