"""One run: a record says what was measured, of a detector that saw what its cell says."""

import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import DIGITS, Normed, raises_sentence

import minigan
from minigan import data, experiments, leaks, metrics, protocols, registry
from minigan.experiments import runs
from minigan.tables import Cell

MEASURED = [*experiments.METRICS, *experiments.COUNTS]


def test_record_of_a_classical_method_is_what_the_metrics_say():
    cell = Cell("t", "PCA", "few", "digits", DIGITS, "leave_one_out", "3", 1, {"n_components": 4})
    record = experiments.run(cell)
    split = protocols.leave_one_out(data.load("digits", size=8), "3", seed=1)
    scores = minigan.PCA(n_components=4).fit(split.train).anomaly_score(split.test)
    # The same images, but held out differently: nearly the same number.
    assert record["auroc"] == pytest.approx(metrics.auroc(split.test_labels, scores), abs=0.03)
    scores = minigan.PCA(n_components=4).fit(split.train, validation=split.held_out).anomaly_score(split.test)
    assert record["auroc"] == metrics.auroc(split.test_labels, scores)
    assert record["average_precision"] == metrics.average_precision(split.test_labels, scores)
    assert (record["n_train"], record["n_test"]) == (len(split.train), len(split.test))
    assert record["epochs"] == 0 and record["device"] == "cpu" and record["auroc_selected"] == ""
    assert record["auroc_averaged"] == record["auroc_late_mean"] == record["auroc_late_std"] == ""
    assert tuple(record) == experiments.COLUMNS
    assert record["settings"] == '{"n_components": 4}' and record["minigan"] == minigan.__version__
    assert pd.Timestamp(record["date"]).utcoffset() == pd.Timedelta(0)


def test_record_of_a_network_has_the_last_and_the_selected_epoch(monkeypatch):
    settings = {"width": 2, "epochs": 3, "batch_size": 100, "validate_every": 1, "device": "cpu"}
    options = {"category": "brick", "size": 16}
    cell = Cell("t", "ALGAN", "", "textures", options, "defects", "brick", 1, settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    made = []
    monkeypatch.setattr(runs, "detector_of", lambda c, f=runs.detector_of: made.append(f(c)) or made[0])
    record = experiments.run(cell)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(threads)
    assert made[0].seed == 1

    split = protocols.defects(data.load("textures", **options), seed=1)
    for which, column in (("last", "auroc"), ("best_validation", "auroc_selected")):
        scores = made[0].use_weights(which).anomaly_score(split.test)
        assert record[column] == metrics.auroc(split.test_labels, scores)
    assert record["epochs"] == 3

    def auroc(which):
        scores = made[0].use_weights(which).anomaly_score(split.test)
        return metrics.auroc(split.test_labels, scores)

    late = [auroc(epoch) for epoch in (1, 2, 3)]  # of five that count there are three
    assert record["auroc"] == late[-1]
    assert record["auroc_late_mean"] == pytest.approx(np.mean(late), abs=1e-12)
    assert record["auroc_late_std"] == pytest.approx(np.std(late), abs=1e-12) and np.std(late) > 0
    assert record["auroc_averaged"] == auroc("average")
    made.clear()
    again = experiments.run(cell)
    assert [again[name] for name in MEASURED] == [record[name] for name in MEASURED]


def test_record_has_the_auroc_of_scores_that_depend_on_the_batch(monkeypatch):
    monkeypatch.setattr(registry, "get", lambda name: Normed)
    made = []
    monkeypatch.setattr(runs, "detector_of", lambda c, f=runs.detector_of: made.append(f(c)) or made[-1])
    for protocol, name, options in (
        ("one_class", "digits", DIGITS),
        ("defects", "textures", {"category": "brick", "size": 16}),  # with a selected epoch
    ):
        target = "5" if protocol == "one_class" else "brick"
        cell = Cell("t", "Normed", "", name, options, protocol, target, 2, {"device": "cpu"})
        record = experiments.run(cell)
        split = runs.split_of(cell)
        scores = leaks.batch_statistics(
            made[-1].use_weights("last"), split.test, split.test_labels, batch_size=64, seed=2
        )
        expected = {which: metrics.auroc(split.test_labels, scores[which]) for which in scores}
        assert record["auroc"] == expected["evaluation"]
        assert record["auroc_mixed"] == expected["mixed"] and record["auroc_sorted"] == expected["sorted"]
        assert len(set(expected.values())) == 3
        assert (record["auroc_selected"] == "") == (protocol == "one_class")
    other = experiments.run(Cell("t", "Normed", "", "digits", DIGITS, "one_class", "5", 2, {}, gamma=0))
    assert other["auroc_mixed"] != record["auroc_mixed"] and other["gamma"] == "0.0"


@pytest.mark.parametrize("method", ["PCA", "ALGAN"])
def test_nothing_is_recorded_of_a_leak_that_cannot_be(method):
    settings = {"width": 2, "epochs": 1, "image_size": 16} if method == "ALGAN" else {}
    record = experiments.run(Cell("t", method, "", "digits", DIGITS, "one_class", "1", 0, settings))
    assert record["auroc_mixed"] == record["auroc_sorted"] == ""


@pytest.mark.parametrize("meaning", ["ignored", "anomalies", "classes"])
@pytest.mark.parametrize(
    ("protocol", "gamma"),
    [("supervised", 0.1), ("contaminated", 0.1), ("leave_one_out", 0), ("one_class", 0)],
)
def test_labels_are_given_to_those_that_understand_them(monkeypatch, meaning, protocol, gamma):
    class Seen(minigan.PCA):
        label_meaning = meaning

        def fit(self, images, labels=None, validation=None):
            seen.update(images=images, labels=labels, held_out=validation)
            return super().fit(images, labels, validation)

    seen = {}
    monkeypatch.setattr(registry, "get", lambda name: Seen)
    cell = Cell("t", "Seen", "", "digits", DIGITS, protocol, "7", 1, {}, gamma=gamma)
    record = experiments.run(cell)
    extra = {"gamma": gamma} if gamma else {}
    split = getattr(protocols, protocol)(data.load("digits", **DIGITS), "7", seed=1, **extra)
    expected = {"ignored": None, "anomalies": split.train_labels, "classes": split.train_classes}[meaning]
    np.testing.assert_array_equal(seen["images"], split.train)
    np.testing.assert_array_equal(seen["held_out"][0], split.validation)
    assert (seen["labels"] is None) == (expected is None)
    if expected is not None:
        np.testing.assert_array_equal(seen["labels"], expected)
    if protocol == "supervised" and meaning == "anomalies":
        assert expected.mean() == pytest.approx(0.1, abs=0.005)
    assert record["gamma"] == str(float(gamma)) and record["n_train"] == len(split.train)


@pytest.mark.parametrize(
    ("protocol", "arguments"),
    [
        ("one_class", {"validation": 0}),
        ("leave_one_out", {"validation": 0}),
        ("leave_one_out", {"validation": 0.3}),
        ("supervised", {"validation": 0}),
        ("contaminated", {"validation": 0, "n_test": 20}),
        ("objects", {"n_normal": 3}),
        ("defects", {"training": 0.8, "validation": 0}),
        ("defects", {"validation": 0.25, "by_group": False}),
    ],
    ids=str,
)
def test_a_split_has_the_arguments_of_its_cell(protocol, arguments):
    textures = protocol == "defects"
    name, options = ("textures", {"category": "brick", "size": 16}) if textures else ("digits", DIGITS)
    gamma = {"gamma": 0.1} if protocol in ("supervised", "contaminated") else {}
    target = () if protocol in ("defects", "objects") else ("7",)
    cell = Cell("t", "PCA", "", name, options, protocol, "7", 2, {}, split=arguments, **gamma)
    found = runs.split_of(cell)
    expected = getattr(protocols, protocol)(data.load(name, **options), *target, seed=2, **gamma, **arguments)
    for part in ("train_index", "validation_index", "test_index"):
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))


@pytest.mark.parametrize("method", ["KernelDensity", "SoftmaxClassifier"])
def test_where_the_split_holds_nothing_out_neither_does_the_detector(method, monkeypatch):
    """Otherwise a tenth of the images would still not be trained on, and no record would say so."""
    settings = {"width": 2, "epochs": 1, "image_size": 16} if method != "KernelDensity" else {}
    made, seen = [], []
    monkeypatch.setattr(runs, "detector_of", lambda c, f=runs.detector_of: made.append(f(c)) or made[-1])
    cls = registry.get(method)
    monkeypatch.setattr(
        cls, "_fit", lambda self, x, *rest, f=cls._fit: seen.append(len(x)) or f(self, x, *rest)
    )
    for split in ({}, {"validation": 0}):
        cell = Cell("t", method, "", "digits", DIGITS, "leave_one_out", "7", 1, settings, split=split)
        record = experiments.run(cell)
        assert record["n_train"] == seen[-1]
        assert record["protocol"] == cell.protocol_call and record["settings"] == cell.key[-2]
        assert hasattr(made[-1], "threshold_") == (not split)
    nine = [(data.load("digits", **DIGITS).labels == label).sum() for label in range(10) if label != 7]
    assert seen[1] == sum(round(0.8 * n) for n in nine) > seen[0]


def test_gamma_is_written_in_one_way():
    def cell(gamma, protocol="supervised"):
        return Cell("t", "PCA", "", "digits", DIGITS, protocol, "1", 0, {}, gamma=gamma)

    def text(gamma):
        return dict(zip(experiments.KEY, cell(gamma).key, strict=True))["gamma"]

    assert [text(g) for g in (0, 0.0, 0.05, 0.1, 1 / 3)] == ["0.0", "0.0", "0.05", "0.1", str(1 / 3)]
    assert text(np.float64(0.05)) == "0.05" and cell(0) == cell(0.0)
    assert str(cell(0.05)) == "t: PCA, supervised 1, gamma 0.05, seed 0"
    assert str(cell(0)) == "t: PCA, supervised 1, seed 0"
    assert Cell("t", "PCA", "", "digits", DIGITS, "one_class", "1", 0, {}).key == cell(0, "one_class").key
    with raises_sentence(ValueError, "expected gamma to be 0", "'leave_one_out'", "got 0.1"):
        cell(0.1, "leave_one_out")


def test_commit_is_that_of_the_checkout(monkeypatch, tmp_path):
    def commit():
        experiments.commit.cache_clear()
        return experiments.commit()

    monkeypatch.setattr(runs, "ROOT", tmp_path)
    assert commit() == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=b@c"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert commit() == ""  # a repository without a commit
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert commit() == head
    (tmp_path / "minigan").mkdir()
    (tmp_path / "minigan" / "new.py").touch()
    assert commit() == head + "+"
    experiments.commit.cache_clear()
