"""Experiments: every run recorded once, whatever is killed and however many work at it."""

import subprocess
import warnings
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from helpers import DIGITS, fake_record, lines, run_by, tiny_cells, write_record
from torch import nn

import minigan
from minigan import data, datafiles, experiments, leaks, metrics, protocols, tables
from minigan.detector import NeuralDetector
from minigan.tables import Cell, Table

MEASURED = [*experiments.METRICS, *experiments.COUNTS]


@pytest.fixture
def tiny(monkeypatch):
    """A table of six quick cells."""
    monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "Six quick cells", tiny_cells))
    return "tiny"


@pytest.fixture
def quick(monkeypatch):
    """Runs that measure nothing; the list of the cells that ran."""
    ran = []
    run_by(monkeypatch, lambda cell: ran.append(cell) or fake_record(cell))
    return ran


# ---------------------------------------------------------------------- one run


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
    monkeypatch.setattr(
        experiments, "_detector", lambda c, f=experiments._detector: made.append(f(c)) or made[0]
    )
    record = experiments.run(cell)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(threads)
    assert made[0].seed == 1

    split = protocols.defects(data.load("textures", **options), seed=1)
    for which, column in (("last", "auroc"), ("selected", "auroc_selected")):
        scores = made[0].use(which).anomaly_score(split.test)
        assert record[column] == metrics.auroc(split.test_labels, scores)
    assert record["epochs"] == 3
    made.clear()
    again = experiments.run(cell)
    assert [again[name] for name in MEASURED] == [record[name] for name in MEASURED]


@dataclass(kw_only=True, eq=False, repr=False)
class Normed(NeuralDetector):
    """The score is the distance from the mean image, each pixel in units of its spread."""

    epochs: int = 3

    def build(self, image_shape):
        self.net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(int(np.prod(image_shape)), affine=False))

    def training_step(self, x, y):
        return {"loss": self.net(x).mean()}

    def score(self, x):
        return self.net(x).square().mean(1)

    def use(self, which):  # as if the selected epoch, and no other, thought the other way round
        super().use("last")
        self.net[1].running_mean.fill_(9.0 if which == "selected" else 0.0)
        return self


def test_record_has_what_the_score_owes_to_its_neighbours(monkeypatch):
    monkeypatch.setattr(experiments.registry, "get", lambda name: Normed)
    made = []
    monkeypatch.setattr(
        experiments, "_detector", lambda c, f=experiments._detector: made.append(f(c)) or made[-1]
    )
    for protocol, name, options in (
        ("one_class", "digits", DIGITS),
        ("defects", "textures", {"category": "brick", "size": 16}),  # with a selected epoch
    ):
        target = "5" if protocol == "one_class" else "brick"
        cell = Cell("t", "Normed", "", name, options, protocol, target, 2, {"device": "cpu"})
        record = experiments.run(cell)
        split = experiments._split(cell)
        scores = leaks.batch_statistics(
            made[-1].use("last"), split.test, split.test_labels, batch_size=64, seed=2
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
    monkeypatch.setattr(experiments.registry, "get", lambda name: Seen)
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
    with pytest.raises(ValueError, match="gamma = 0.1 came, but leave_one_out has no anomalies in its tr"):
        cell(0.1, "leave_one_out")


def test_an_interrupted_fit_is_not_recorded(tiny, monkeypatch, tmp_path):
    class Interrupted(minigan.ALGAN):
        def start_epoch(self):
            if self.epoch_ == 2:
                raise KeyboardInterrupt
            super().start_epoch()

    settings = {"width": 2, "epochs": 2, "image_size": 16}
    cell = Cell(tiny, "ALGAN", "", "digits", DIGITS, "one_class", "3", 0, settings)
    monkeypatch.setitem(tables.TABLES, tiny, Table(tiny, "", lambda: iter([cell])))
    monkeypatch.setattr(experiments.registry, "get", lambda name: Interrupted)
    with warnings.catch_warnings(), pytest.raises(KeyboardInterrupt):
        warnings.simplefilter("ignore")
        experiments.reproduce(tiny, folder=tmp_path)
    assert not (tmp_path / "results").exists()


def test_commit_is_that_of_the_checkout(monkeypatch, tmp_path):
    def commit():
        experiments.commit.cache_clear()
        return experiments.commit()

    monkeypatch.setattr(experiments, "ROOT", tmp_path)
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


# ---------------------------------------------------------------------- many runs


def test_what_is_there_is_not_run_again(tiny, quick, tmp_path, capsys):
    experiments.reproduce(tiny, folder=tmp_path)
    assert len(quick) == 6
    before = lines(tmp_path)
    assert len(before) == 7 and before[0] == ",".join(experiments.COLUMNS)
    assert "tiny: PCA, one_class 5, seed 0: AUROC 0.750" in capsys.readouterr().out
    experiments.reproduce(tiny, folder=tmp_path)
    assert len(quick) == 6 and lines(tmp_path) == before


def test_changed_settings_are_another_cell(tiny, quick, monkeypatch, tmp_path):
    experiments.reproduce(tiny, folder=tmp_path)

    def changed():
        for cell in tiny_cells():
            yield Cell(**{**vars(cell), "settings": {"n_components": 2}})

    monkeypatch.setitem(tables.TABLES, tiny, Table(tiny, "", changed))
    assert experiments.results(tiny, tmp_path)["auroc"].isna().all()
    experiments.reproduce(tiny, folder=tmp_path)
    assert len(quick) == 12 and len(lines(tmp_path)) == 13
    assert len(experiments.results(tiny, tmp_path)) == 6


def test_no_run_starts_when_the_time_is_over(tiny, quick, monkeypatch, tmp_path):
    experiments.reproduce(tiny, minutes=0, folder=tmp_path)
    assert not quick
    clock = iter(range(0, 1000, 12))  # seconds: each look at the clock costs 12
    monkeypatch.setattr(experiments, "time", SimpleNamespace(time=lambda: next(clock)))
    experiments.reproduce(tiny, minutes=1, folder=tmp_path)
    assert len(quick) == 2


def test_a_run_that_fails_does_not_stop_the_others(tiny, monkeypatch, tmp_path, capsys):
    def run(cell):
        if cell.target == "1":
            raise FloatingPointError("loss_D became nan")
        return fake_record(cell)

    run_by(monkeypatch, run)
    with pytest.raises(
        RuntimeError, match="1 of 6 runs failed.*one_class 1, seed 0: Floating.*loss_D became nan"
    ):
        experiments.reproduce(tiny, folder=tmp_path)
    assert "failed: loss_D became nan" in capsys.readouterr().out
    assert experiments.results(tiny, tmp_path)["auroc"].isna().tolist() == [False, True] + 4 * [False]


def test_a_cell_that_another_process_holds_is_left_to_it(tiny, quick, tmp_path):
    experiments.reproduce(tiny, folder=tmp_path)
    cells = list(tiny_cells())
    held = sorted(path for path in (tmp_path / "claims").glob("tiny-*.lock"))
    assert len(held) == 6
    (tmp_path / "results" / "tiny.csv").unlink()
    with FileLock(held[0]):
        experiments.reproduce(tiny, folder=tmp_path)
    assert len(lines(tmp_path)) == 6 and len(quick) == 6 + 5
    experiments.reproduce(tiny, folder=tmp_path)
    assert {line.split(",")[5] for line in lines(tmp_path)[1:]} <= {cell.target for cell in cells} | {
        '"size"'
    }
    assert len(quick) == 6 + 6


# ---------------------------------------------------------------------- one training, several scores


def scored(table="scores", protocol="one_class", dataset="digits", options=DIGITS, seed=0):
    """Y-GAN's relative with three scores, as cells of one training; the last has the default."""
    for label, score in (
        ("image", {"scored_by": "image"}),
        ("latent", {"scored_by": "latent"}),  # in the middle: with seed 1, measuring it fails
        ("softmax", {}),
    ):
        yield Cell(table, "Scored", label, dataset, options, protocol, "5", seed, {"epochs": 1} | score)


@pytest.fixture
def trainings(monkeypatch):
    """A table of two trainings with three scores each; the list of the trainings that took place."""
    fits = []

    @dataclass(kw_only=True, eq=False, repr=False)
    class Scored(Normed):
        scored_by: str = "softmax"

        def _fit(self, *arguments):
            fits.append(self.seed)
            super()._fit(*arguments)

        def score(self, x):
            if self.scored_by == "latent" and self.seed == 1:
                raise FloatingPointError("no latent")
            return super().score(x) ** {"image": 1, "softmax": 2, "latent": -1}[self.scored_by]

    monkeypatch.setattr(experiments.registry, "get", lambda name: Scored)
    cells = lambda: (cell for i in range(3) for seed in (0, 1) for cell in [list(scored(seed=seed))[i]])  # noqa: E731
    monkeypatch.setitem(tables.TABLES, "scores", Table("scores", "Six cells of two trainings", cells))
    return fits


def test_cells_that_differ_in_their_score_share_a_training_and_nothing_else(trainings, tmp_path):
    cells = list(scored())
    apart = [experiments.run(cell) for cell in cells]
    assert trainings == [0, 0, 0]
    assert len({cell.key for cell in cells}) == 3 and len({cell.training for cell in cells}) == 1
    trainings.clear()
    with pytest.raises(RuntimeError, match="1 of 6 runs failed.*latent.*seed 1.*no latent"):
        experiments.reproduce("scores", folder=tmp_path)
    assert trainings == [0, 1]
    together = experiments.results("scores", tmp_path).set_index(["seed", "label"])["auroc"]
    assert [together[0, cell.label] for cell in cells] == [record["auroc"] for record in apart]
    assert together[0, "image"] == together[0, "softmax"] != together[0, "latent"]
    # A measurement that fails loses only itself.
    assert together[1].isna().to_dict() == {"image": False, "softmax": False, "latent": True}
    with pytest.raises(RuntimeError, match="1 of 1 runs failed"):
        experiments.reproduce("scores", folder=tmp_path)
    assert trainings == [0, 1, 1]  # what is there is not trained again


def test_real_records_of_one_training_are_those_of_a_training_each(monkeypatch, tmp_path):
    """Also after another score was measured first, and with all that is measured of batch norm."""

    def cells():
        for score in ("pattern", "both", "error"):
            settings = {"width": 2, "epochs": 2, "n_patterns": 3, "scored_by": score}
            yield Cell("real", "ADeGAN", score, "digits", {"size": 16}, "one_class", "2", 1, settings)

    trained = []
    train = experiments.train
    monkeypatch.setattr(experiments, "train", lambda cell: trained.append(cell.label) or train(cell))
    monkeypatch.setitem(tables.TABLES, "real", Table("real", "", cells))
    together = experiments.reproduce("real", folder=tmp_path)
    assert trained == ["pattern"] and together["auroc"].nunique() == 3
    assert together["seconds"].nunique() == 1  # of the one training
    for row, cell in zip(together[MEASURED].to_dict("records"), cells(), strict=True):
        if cell.label != "pattern":
            record = experiments.run(cell)
            apart = {name: record[name] for name in MEASURED if record[name] != ""}
            assert {name: row[name] for name in apart} == apart and "auroc_mixed" in apart
    assert trained == ["pattern", "both", "error"]


def test_a_training_that_fails_is_tried_once_and_told_of_all(trainings, monkeypatch, tmp_path):
    def fail(cell):
        tried.append(cell)
        raise FloatingPointError("loss became nan")

    tried = []
    monkeypatch.setattr(experiments, "train", fail)
    with pytest.raises(RuntimeError, match="6 of 6 runs failed.*loss became nan"):
        experiments.reproduce("scores", folder=tmp_path)
    assert len(tried) == 2


def test_where_the_score_chooses_the_epoch_nothing_is_shared():
    options = {"category": "brick", "size": 16}
    cells = list(scored(protocol="defects", dataset="textures", options=options))
    assert len({cell.training for cell in cells}) == 3
    one, other = scored(seed=0), scored(seed=1)
    assert next(one).training != next(other).training


def test_a_record_that_came_in_the_meantime_is_respected(tiny, monkeypatch, tmp_path):
    ran = []

    def run(cell):  # while the first cell runs, somebody else finishes all the others
        ran.append(cell)
        for other in tiny_cells():
            if other != cell:
                experiments._append(tmp_path / "results" / "tiny.csv", fake_record(other), tmp_path)
        return fake_record(cell)

    run_by(monkeypatch, run)
    experiments.reproduce(tiny, folder=tmp_path)
    assert len(ran) == 1 and len(lines(tmp_path)) == 7


# ---------------------------------------------------------------------- the records


def test_results_show_every_cell_and_what_is_missing(tiny, quick, tmp_path):
    empty = experiments.results(tiny, tmp_path)
    assert len(empty) == 6 and empty["auroc"].isna().all()
    assert tuple(empty.columns) == experiments.COLUMNS

    path = tmp_path / "results" / "tiny.csv"
    experiments._append(path, fake_record(list(tiny_cells())[4], auroc=0.123456789012345), tmp_path)
    frame = experiments.results(tiny, tmp_path)
    assert frame["target"].tolist() == list("012345")
    assert frame.loc[4, "auroc"] == 0.123456789012345 and frame["auroc"].notna().sum() == 1
    assert frame.loc[4, "n_train"] == 3 and frame["n_train"].isna().sum() == 5
    assert frame["seed"].dtype.kind == "i" and frame["label"].eq("").all()


def test_summary_counts_what_is_missing(tmp_path, monkeypatch):
    def cells():
        for label, target in (("a", "0"), ("a", "1"), ("a", "2"), ("b", "0"), ("b", "1"), ("c", "0")):
            yield Cell(
                "tiny", "PCA", label, "digits", DIGITS, "one_class", target, 0, {"n_components": len(label)}
            )

    def cell(label, target):
        return next(c for c in cells() if (c.label, c.target) == (label, target))

    monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "", cells))
    path = tmp_path / "results" / "tiny.csv"
    for label, target, auroc in (("a", "0", 0.5), ("a", "2", 1.0), ("b", "1", 0.25)):
        record = fake_record(cell(label, target), auroc) | {"average_precision": auroc / 2}
        experiments._append(path, record, tmp_path)
    summary = experiments.summary("tiny", folder=tmp_path)
    assert summary.index.tolist() == [("one_class", "PCA", label) for label in "abc"]
    assert summary["runs"].tolist() == [2, 1, 0] and summary["missing"].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(summary["mean"], [0.75, 0.25, np.nan])
    assert summary["low"].iloc[0] == 0.5 and summary["high"].iloc[0] == 1.0
    assert summary["low"].iloc[1:].isna().all()
    precision = experiments.summary("tiny", "average_precision", tmp_path)
    np.testing.assert_array_equal(precision["mean"], [0.375, 0.125, np.nan])
    with pytest.raises(ValueError, match="no metric 'accuracy' in the records; choose one of auroc, "):
        experiments.summary("tiny", "accuracy", tmp_path)


def test_summary_tells_gammas_apart_where_there_are_several(tmp_path, monkeypatch):
    def cells(gammas):
        for gamma, target in [(g, t) for g in gammas for t in ("0", "1")]:
            yield Cell("tiny", "PCA", "", "digits", DIGITS, "supervised", target, 0, {}, gamma=gamma)

    for gammas in ((0.1,), (0, 0.05, 0.1)):
        monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "", lambda: cells(gammas)))  # noqa: B023
        folder = tmp_path / str(len(gammas))
        for cell in cells(gammas):
            record = fake_record(cell, cell.gamma + 0.5) | {"auroc_sorted": 0.25 if cell.gamma else ""}
            if cell.gamma == 0.1 or cell.target == "0":
                experiments._append(folder / "results" / "tiny.csv", record, folder)
        summary = experiments.summary("tiny", folder=folder)
        leaky = experiments.summary("tiny", "auroc_sorted", folder=folder)
        assert experiments.results("tiny", folder)["gamma"].unique().tolist() == list(gammas)
        if len(gammas) == 1:
            assert summary.index.tolist() == [("supervised", "PCA", "")]
            assert summary.index.names == ["protocol", "method", "label"]
        else:
            assert summary.index.tolist() == [("supervised", "PCA", "", gamma) for gamma in gammas]
            assert summary.index.names == ["protocol", "method", "label", "gamma"]
            assert summary["mean"].tolist() == [0.5, 0.55, 0.6] and summary["runs"].tolist() == [1, 1, 2]
            assert summary["missing"].tolist() == [1, 1, 0]
            assert leaky["runs"].tolist() == [0, 1, 2] and leaky["missing"].tolist() == [1, 1, 0]


def test_records_of_another_table_serve_too(tiny, tmp_path, monkeypatch):
    """In its own order, and not by cells of that name which the other table has besides."""

    def cells():
        yield from list(tiny_cells())[:1:-1]
        yield Cell("both", "PCA", "", "digits", DIGITS, "one_class", "0", 0, {})

    monkeypatch.setitem(tables.TABLES, "both", Table("both", "", cells))
    for cell in tiny_cells():
        write_record(tmp_path, cell, int(cell.target) / 10)
    frame = experiments.results("both", tmp_path)
    assert frame["target"].tolist() == ["5", "4", "3", "2", "0"]
    np.testing.assert_array_equal(frame["auroc"], [0.5, 0.4, 0.3, 0.2, np.nan])
    ran = []
    run_by(monkeypatch, lambda cell: ran.append(cell) or fake_record(cell))
    assert experiments.reproduce("both", folder=tmp_path)["auroc"].notna().all()
    assert [cell.table for cell in ran] == ["both"]
    assert len(lines(tmp_path)) == 7 and len(lines(tmp_path, "both")) == 2


@pytest.fixture
def budgets(monkeypatch):
    """A table of two cells that look at few images, or at one that takes all of them."""

    def cells(budget, n):
        for target in range(n):
            yield Cell("two", "PCA", "", "digits", DIGITS, "one_class", str(target), 0, {}, budget)

    table = Table("two", "Two budgets", lambda: cells("quick", 2), lambda: cells("paper", 1))
    monkeypatch.setitem(tables.TABLES, "two", table)
    return "two"


def test_budgets_are_kept_apart(budgets, quick, tiny, tmp_path):
    done = experiments.reproduce(budgets, folder=tmp_path, budget="paper")
    assert done["budget"].tolist() == ["paper"] and done["auroc"].notna().all()
    assert experiments.results(budgets, tmp_path)["auroc"].isna().tolist() == [True, True]
    assert experiments.summary(budgets, folder=tmp_path)["missing"].tolist() == [2]
    assert experiments.summary(budgets, folder=tmp_path, budget="paper")["runs"].tolist() == [1]
    overview = experiments.overview(tmp_path, "paper")
    assert overview.loc["two"].tolist() == ["Two budgets", 1, 1] and "tiny" not in overview.index
    assert experiments.overview(tmp_path).loc["two"].tolist() == ["Two budgets", 2, 0]
    assert experiments.overview(tmp_path).loc["tiny"].tolist() == ["Six quick cells", 6, 0]
    with pytest.raises(ValueError, match="tiny has no runs of the budget 'paper'"):
        experiments.reproduce(tiny, folder=tmp_path, budget="paper")
    for ask in (experiments.reproduce, experiments.results, experiments.summary):
        with pytest.raises(ValueError, match="there is no budget 'laptop'; choose one of quick, paper"):
            ask(budgets, folder=tmp_path, budget="laptop")


def test_summary_tells_data_sets_apart_where_there_are_several(tmp_path, monkeypatch):
    def cells(datasets, gammas):
        for dataset, gamma, target in [(d, g, t) for d in datasets for g in gammas for t in "01"]:
            yield Cell("tiny", "PCA", "", dataset, DIGITS, "supervised", target, 0, {}, gamma=gamma)

    for gammas in ((0.0,), (0.0, 0.1)):
        several = lambda gammas=gammas: cells(("digits", "color_digits"), gammas)  # noqa: E731
        monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "", several))
        folder = tmp_path / str(len(gammas))
        for cell in several():
            write_record(folder, cell, 0.25 if cell.dataset == "digits" else 0.75 - cell.gamma)
        summary = experiments.summary("tiny", folder=folder)
        last = ["gamma"] if len(gammas) > 1 else []
        assert summary.index.names == ["dataset", "protocol", "method", "label", *last]
        found = summary["mean"].tolist()
        assert found == ([0.25, 0.75] if len(gammas) == 1 else [0.25, 0.25, 0.75, 0.65])
        assert summary.index.get_level_values("dataset")[-1] == "color_digits"


# ---------------------------------------------------------------------- all tables


@pytest.fixture
def two_tables(monkeypatch, tmp_path):
    """All there is: "a", and "b" with the cells of "a", its own, and some of a set that is not here."""

    def cell(table, target, seed, dataset="digits", options=DIGITS):
        return Cell(table, "PCA", "", dataset, options, "one_class", str(target), seed, {})

    def a():  # not seed by seed
        for target in (0, 1):
            yield from (cell("a", target, seed) for seed in (0, 1))

    def b():
        yield cell("b", 2, 0)
        yield from a()
        yield cell("b", 2, 1)
        yield from (cell("b", i, seed, "mtd", {"size": 16}) for seed in (0, 1) for i in (7, 8))

    both = {name: Table(name, f"Table {name}", cells) for name, cells in (("a", a), ("b", b))}
    monkeypatch.setattr(tables, "TABLES", both)
    monkeypatch.setattr(experiments, "TABLES", both)
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path))
    return both


def test_all_tables_seed_by_seed_and_what_lacks_its_data_waits(two_tables, quick, tmp_path, capsys):
    overview = experiments.reproduce(None)
    done = [(cell.table, cell.target, cell.seed) for cell in quick]
    assert done == [
        *(("a", "0", 0), ("a", "1", 0), ("b", "2", 0)),
        *(("a", "0", 1), ("a", "1", 1), ("b", "2", 1)),
    ]
    assert overview.index.tolist() == ["a", "b"]
    assert overview["runs"].tolist() == [4, 10] and overview["recorded"].tolist() == [4, 6]
    assert overview["title"].tolist() == ["Table a", "Table b"]
    said = [line for line in capsys.readouterr().out.splitlines() if "wait" in line]
    assert len(said) == 1 and said[0].startswith("4 runs wait: ") and "mtd" in said[0]
    assert len(lines(tmp_path, "a")) == 5 and len(lines(tmp_path, "b")) == 3

    with pytest.raises(FileNotFoundError, match="4 runs wait for data sets that are not here; `minigan data"):
        experiments.reproduce(None)
    with pytest.raises(FileNotFoundError, match="4 runs wait"):
        experiments.reproduce("b")
    assert experiments.reproduce("a")["auroc"].notna().all()  # complete: nothing waits
    assert experiments.reproduce(None, minutes=0).equals(overview)  # no time to look
    assert len(quick) == 6


def test_options_that_lack_their_data_wait_each(two_tables, quick, tmp_path, monkeypatch, capsys):
    """One line for each set of options, because a category may be here and another not."""

    def cells():
        for category in ("screw", "bottle", "screw"):
            for seed in (0, 1):
                options = {"category": category, "size": 16}
                yield Cell("c", "PCA", "", "mvtec", options, "defects", category, seed, {})
        yield Cell("c", "PCA", "", "digits", DIGITS, "one_class", "3", 0, {})

    monkeypatch.setitem(two_tables, "c", Table("c", "", cells))
    done = experiments.reproduce("c")
    said = [line for line in capsys.readouterr().out.splitlines() if "wait" in line]
    assert [line.split(":")[0] for line in said] == ["2 runs wait", "2 runs wait"]
    assert "screw" in said[0] and "bottle" in said[1] and done["auroc"].notna().sum() == 1 == len(quick)


def test_no_data_set_is_loaded_when_the_time_is_over(quick, monkeypatch, tmp_path):
    cells = [Cell("s", "PCA", "", "digits", {"size": n}, "one_class", "1", 0, {}) for n in (8, 9, 10)]
    monkeypatch.setitem(tables.TABLES, "s", Table("s", "", lambda: iter(cells)))
    loaded = []
    monkeypatch.setattr(experiments, "_dataset", lambda name, options: loaded.append(options))
    clock = iter(range(0, 1000, 35))  # the end is at 60: one look before loading, and no run
    monkeypatch.setattr(experiments, "time", SimpleNamespace(time=lambda: next(clock)))
    experiments.reproduce("s", minutes=1, folder=tmp_path)
    assert loaded == ['{"size": 8}'] and not quick


def test_a_damaged_data_set_waits_and_each_is_loaded_when_its_turn_comes(
    two_tables, tmp_path, monkeypatch, capsys
):
    def cells():
        yield Cell("c", "PCA", "", "digits", DIGITS, "one_class", "3", 0, {})
        yield Cell("c", "PCA", "", "mnist", {}, "one_class", "3", 0, {})
        yield Cell("c", "PCA", "", "digits", {"size": 9}, "one_class", "3", 0, {})

    monkeypatch.setitem(two_tables, "c", Table("c", "", cells))
    (tmp_path / "mnist.npz").touch()
    order, load = [], experiments._dataset
    monkeypatch.setattr(experiments, "_dataset", lambda *what: order.append(what[0]) or load(*what))
    run_by(monkeypatch, lambda cell: order.append("run") or fake_record(cell))
    done = experiments.reproduce("c")
    assert done["auroc"].isna().tolist() == [False, True, False]
    assert order == ["digits", "run", "mnist", "digits", "run"]
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "wait" in line]
    assert said.startswith("1 runs wait: cannot read ") and "mnist.npz" in said


def test_a_run_that_fails_among_all_tables(two_tables, monkeypatch):
    def run(cell):
        if cell.table == "b":
            raise FloatingPointError("loss became nan")
        return fake_record(cell)

    run_by(monkeypatch, run)
    with pytest.raises(RuntimeError, match="2 of 6 runs failed.*b: PCA"):
        experiments.reproduce(None)
    assert experiments.overview()["recorded"].tolist() == [4, 4]


# ---------------------------------------------------------------------- what is kept for figures


@dataclass(kw_only=True, eq=False, repr=False)
class TwoScores(Normed):
    """The selected epoch thinks the other way round, and "far" is the square of the score."""

    scored_by: str = "near"

    def score(self, x):
        return super().score(x) ** (2 if self.scored_by == "far" else 1)


@pytest.fixture
def kept_table(monkeypatch):
    """Two scores of a network and PCA, two seeds each, of a table that has a budget of a paper."""
    methods = {"TwoScores": TwoScores, "PCA": minigan.PCA}
    monkeypatch.setattr(experiments.registry, "get", methods.__getitem__)
    options = {"category": "brick", "size": 16}

    def cells():
        for seed in (0, 1):
            for score in ("near", "far"):
                settings = {"scored_by": score, "device": "cpu"}
                yield Cell("kept", "TwoScores", score, "digits", DIGITS, "one_class", "5", seed, settings)
            yield Cell("kept", "PCA", "", "digits", DIGITS, "one_class", "5", seed, {})
        yield Cell(
            "kept", "TwoScores", "", "textures", options, "defects", "brick", 0, {"device": "cpu"}
        )  # with a selected epoch

    monkeypatch.setitem(tables.TABLES, "kept", Table("kept", "", cells, list))
    return list(cells())


def test_scores_of_networks_and_the_first_seed_are_kept(kept_table, tmp_path):
    frame = experiments.reproduce("kept", folder=tmp_path)
    assert frame["auroc"].notna().all()
    kept = [experiments.kept(cell, tmp_path) for cell in kept_table]
    assert [arrays is not None for arrays in kept] == [True, True] + 4 * [False] + [True]
    files = sorted(path.suffix for path in (tmp_path / "results" / "scores").rglob("*.*"))
    assert files == [".npz"] * 3  # and nothing half written
    for cell, arrays, auroc in zip(kept_table, kept, frame["auroc"], strict=True):
        if arrays is None:
            continue
        trained = experiments.train(cell)
        split, detector = trained.split, trained.detector.use("last")
        scores = detector.anomaly_score(split.test)
        np.testing.assert_allclose(arrays["scores"], scores, rtol=1e-6)
        assert metrics.auroc(arrays["anomalous"], arrays["scores"]) == pytest.approx(auroc, abs=1e-4)
        assert arrays["anomalous"].dtype == bool and "subclasses" not in arrays
        np.testing.assert_array_equal(arrays["anomalous"], split.test_labels == 1)
        dataset = data.load(cell.dataset, **cell.options)
        np.testing.assert_array_equal(arrays["classes"], dataset.labels[split.test_index])
        history = detector.history_.reset_index()
        columns = {name.removeprefix("history_") for name in arrays if name.startswith("history_")}
        assert columns == set(history) >= {"epoch", "loss", "seconds"}
        for name in columns - {"seconds"}:
            np.testing.assert_allclose(arrays[f"history_{name}"], history[name], rtol=1e-6)
    np.testing.assert_allclose(kept[0]["scores"] ** 2, kept[1]["scores"], rtol=1e-5)
    assert [len(arrays["scores"]) for arrays in kept[:2]] == frame["n_test"].tolist()[:2]


def test_sub_classes_are_kept_where_there_are_some(kept_table, tmp_path, monkeypatch):
    digits = data.load("digits", **DIGITS)
    odd = {"subclasses": digits.labels % 2, "subclass_names": ("even", "odd")}
    monkeypatch.setattr(experiments, "_dataset", lambda name, options: replace(digits, **odd))
    cell = kept_table[0]
    trained = experiments.train(cell)
    experiments._keep(cell, trained, tmp_path)
    arrays = experiments.kept(cell, tmp_path)
    np.testing.assert_array_equal(arrays["subclasses"], arrays["classes"] % 2)
    assert len(set(arrays["classes"])) == 10


def test_nothing_is_kept_of_a_laptop_s_table(kept_table, tmp_path, monkeypatch):
    monkeypatch.setitem(tables.TABLES, "kept", Table("kept", "", lambda: kept_table[:1]))
    assert experiments.reproduce("kept", folder=tmp_path)["auroc"].notna().all()
    assert not (tmp_path / "results" / "scores").exists()


def test_other_settings_have_other_files(kept_table, tmp_path):
    paths = {experiments._kept_path(cell, tmp_path) for cell in kept_table}
    assert len(paths) == len(kept_table)
    assert {path.parent for path in paths} == {tmp_path / "results" / "scores" / "kept"}


def test_killed_between_what_is_kept_and_the_record(kept_table, tmp_path, monkeypatch):
    whole = experiments.reproduce("kept", folder=tmp_path / "whole")
    with monkeypatch.context() as killed:
        killed.setattr(experiments, "_append", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            experiments.reproduce("kept", folder=tmp_path)
    assert experiments.kept(kept_table[0], tmp_path) is not None
    assert experiments.results("kept", tmp_path)["auroc"].isna().all()
    again = experiments.reproduce("kept", folder=tmp_path)
    pd.testing.assert_frame_equal(again[MEASURED], whole[MEASURED])
    for cell in (kept_table[0], kept_table[1]):
        one, two = experiments.kept(cell, tmp_path), experiments.kept(cell, tmp_path / "whole")
        for name in one.keys() - {"history_seconds"}:
            np.testing.assert_array_equal(one[name], two[name])


def test_what_is_kept_is_written_whole_or_not_at_all(kept_table, tmp_path, monkeypatch):
    cell, save = kept_table[0], np.savez_compressed

    def fails(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    trained = experiments.train(cell)
    monkeypatch.setattr(np, "savez_compressed", fails)
    with pytest.raises(OSError, match="No space left"):
        experiments._keep(cell, trained, tmp_path)
    assert experiments.kept(cell, tmp_path) is None
    monkeypatch.setattr(np, "savez_compressed", save)
    experiments._keep(cell, trained, tmp_path)
    before = experiments.kept(cell, tmp_path)
    monkeypatch.setattr(np, "savez_compressed", fails)
    with pytest.raises(OSError, match="No space left"):
        experiments._keep(cell, trained, tmp_path)
    assert experiments.kept(cell, tmp_path).keys() == before.keys()


# ---------------------------------------------------------------------- files that are not as written


def test_the_first_of_two_equal_records_counts(tiny, tmp_path):
    # Two machines that did not know of each other, merged by git.
    cell = next(tiny_cells())
    for auroc in (0.6, 0.7):
        experiments._append(tmp_path / "results" / "tiny.csv", fake_record(cell, auroc), tmp_path)
    assert experiments.results(tiny, tmp_path).loc[0, "auroc"] == 0.6


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("method,auroc\nPCA,0.5\n", "other columns than this version of minigan writes"),
        (
            ",".join(experiments.COLUMNS) + "\nPCA,0.5\n",
            f"line 2 of .* 2 values instead of {len(experiments.COLUMNS)}",
        ),
    ],
)
def test_a_file_that_is_not_ours(tiny, tmp_path, text, sentence):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tiny.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        experiments.results(tiny, tmp_path)


def test_line_ends_of_windows_are_read(tiny, quick, tmp_path):
    experiments.reproduce(tiny, folder=tmp_path)
    path = tmp_path / "results" / "tiny.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    experiments.reproduce(tiny, folder=tmp_path)
    assert len(quick) == 6


def test_where_the_records_are(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path / "mine"))
    assert experiments.data_folder() == tmp_path / "mine"
    monkeypatch.delenv("MINIGAN_DATA")
    assert experiments.data_folder() == experiments.ROOT / "data"
    monkeypatch.setattr(datafiles, "ROOT", tmp_path)  # as in site-packages
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert experiments.data_folder() == tmp_path / "here" / "data"
    (tmp_path / "pyproject.toml").touch()  # as in a checkout
    assert experiments.data_folder() == tmp_path / "data"


def test_every_column_is_explained():
    text = (experiments.ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert [name for name in experiments.COLUMNS if f"`{name}`" not in text] == []
    assert [name for name in tables.TABLES if f"`{name}`" not in text] == []
