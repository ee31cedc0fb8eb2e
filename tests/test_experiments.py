"""Experiments: every run recorded once, whatever is killed and however many work at it."""

import os
import subprocess
import sys
import textwrap
import warnings
from dataclasses import dataclass
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from torch import nn

import minigan
from minigan import data, experiments, leaks, metrics, protocols, tables
from minigan.detector import NeuralDetector
from minigan.tables import Cell, Table

DIGITS = {"size": 8}
MEASURED = [*experiments.METRICS, *experiments.COUNTS]


def tiny_cells(table="tiny", n=6):
    for target in range(n):
        yield Cell(table, "PCA", "", "digits", DIGITS, "one_class", str(target), 0, {})


@pytest.fixture
def tiny(monkeypatch):
    """A table of six quick cells."""
    monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "Six quick cells", tiny_cells))
    return "tiny"


def fake_record(cell, auroc=0.75):
    record = dict.fromkeys(experiments.COLUMNS, "") | dict(zip(experiments.KEY, cell.key, strict=True))
    return record | {"auroc": auroc, "n_train": 3, "n_test": 4, "epochs": 0, "seconds": 0.5}


def run_by(monkeypatch, run):
    """Take records from this function of a cell, instead of training anything."""
    monkeypatch.setattr(experiments, "train", lambda cell: "trained")
    monkeypatch.setattr(experiments, "measure", lambda cell, trained: run(cell))


@pytest.fixture
def quick(monkeypatch):
    """Runs that measure nothing; the list of the cells that ran."""
    ran = []
    run_by(monkeypatch, lambda cell: ran.append(cell) or fake_record(cell))
    return ran


def lines(folder, table="tiny"):
    return (folder / "results" / f"{table}.csv").read_text(encoding="utf-8").splitlines()


# ---------------------------------------------------------------------- the tables as declared


@pytest.mark.parametrize("name", tables.TABLES)
def test_tables_declare_cells_that_can_be_run(name):
    cells = list(tables.table(name).cells())
    assert len({cell.key for cell in cells}) == len(cells)
    assert {cell.table for cell in cells} == {name}
    for cell in cells:
        experiments._detector(cell)._check_parameters()
        assert callable(getattr(protocols, cell.protocol))
    labels = {(cell.method, cell.label) for cell in cells}
    seeds = {cell.seed for cell in cells}
    splits = {(cell.protocol, cell.target, cell.gamma) for cell in cells}
    assert len(cells) == len(labels) * len(seeds) * len(splits)  # every method on every split
    assert seeds == {0, 1, 2}


def test_digits_has_ten_targets_under_two_protocols():
    cells = list(tables.table("digits").cells())
    assert {(c.protocol, c.target) for c in cells} == {
        (protocol, str(target)) for protocol in ("one_class", "leave_one_out") for target in range(10)
    }
    assert {c.method for c in cells} == {"ALGAN", *tables.CLASSICAL}


def test_ablation_switches_two_things():
    cells = list(tables.table("algan-7-textures").cells())
    algan = {c.label: (c.settings["buffer_batches"], c.settings["alpha"]) for c in cells if c.label}
    assert algan == {"neither": (0, 1), "buffer": (2, 1), "anomalous latent": (0, 0.75), "both": (2, 0.75)}
    assert all(c.options["category"] == c.target for c in cells)


def test_an_unknown_table_is_answered_with_a_list():
    with pytest.raises(ValueError, match="no table 'digit'; choose one of digits, algan-7-textures, "):
        experiments.reproduce("digit")


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
    clock = iter(range(0, 1000, 25))  # seconds: each look at the clock costs 25
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


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_side_by_side_gives_the_same_records(tiny, tmp_path, backend):
    one = experiments.reproduce(tiny, folder=tmp_path / "one")
    with joblib.parallel_config(backend=backend, n_jobs=2):
        two = experiments.reproduce(tiny, folder=tmp_path / "two")
    pd.testing.assert_frame_equal(one[MEASURED], two[MEASURED])
    assert one["auroc"].notna().all() and len(lines(tmp_path / "two")) == 7


# ---------------------------------------------------------------------- killed, and two at once

SWEEP = """
    import os, sys, time
    from pathlib import Path
    from minigan import experiments, tables
    from minigan.tables import Cell, Table

    def cells():
        for target in range({n}):
            yield Cell("tiny", "PCA", "", "digits", {{"size": 8}}, "one_class", str(target), 0, {{}})

    def run(cell):
        print("started", cell.target, flush=True)
        time.sleep({pause})
        record = dict.fromkeys(experiments.COLUMNS, "") | dict(zip(experiments.KEY, cell.key))
        return record | {{"auroc": int(cell.target) / 100, "epochs": os.getpid(), "seconds": 0.0}}

    tables.TABLES["tiny"] = Table("tiny", "", cells)
    experiments.train = lambda cell: "trained"
    experiments.measure = lambda cell, trained: run(cell)
    print("ready", flush=True)
    while not Path("go").exists():
        time.sleep(0.01)
    experiments.reproduce("tiny", folder="data")
    print("torch was imported:", "torch" in sys.modules)
"""


def sweep(folder, n, pause):
    """A process that runs the cells of `tiny_cells` without measuring, `pause` seconds each."""
    code = textwrap.dedent(SWEEP).format(n=n, pause=pause)
    environment = os.environ | {"PYTHONPATH": str(experiments.ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )


def test_killed_in_the_middle_and_started_again(tiny, monkeypatch, tmp_path):
    run_by(monkeypatch, lambda cell: fake_record(cell, int(cell.target) / 100))
    whole = experiments.reproduce(tiny, folder=tmp_path / "whole")

    (tmp_path / "go").touch()
    with sweep(tmp_path, n=6, pause=0.2) as process:
        for line in process.stdout:
            if line == "started 3\n":
                process.kill()
    folder = tmp_path / "data"
    assert process.returncode != 0 and len(lines(folder)) == 4  # the header and 0, 1, 2

    with (folder / "results" / "tiny.csv").open("a", encoding="utf-8") as file:
        file.write("PCA,,dig")  # what a power cut would leave
    assert experiments.results(tiny, folder)["auroc"].notna().sum() == 3
    again = experiments.reproduce(tiny, folder=folder)
    pd.testing.assert_series_equal(again["auroc"], whole["auroc"])
    assert len(lines(folder)) == 7 and len(pd.read_csv(folder / "results" / "tiny.csv")) == 6


def test_two_processes_at_once(monkeypatch, tmp_path):
    n = 25
    monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "", lambda: tiny_cells(n=n)))
    both = [sweep(tmp_path, n=n, pause=0.02) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]

    said = [line for text in outputs for line in text.splitlines()]
    started = [line.split()[1] for line in said if line.startswith("started")]
    assert sorted(started, key=int) == [str(target) for target in range(n)]  # each cell once
    frame = experiments.results("tiny", tmp_path / "data")
    assert frame["auroc"].notna().all() and len(lines(tmp_path / "data")) == n + 1
    assert frame["epochs"].nunique() == 2  # process ids: both had their share
    assert said.count("torch was imported: False") == 2  # nobody waits for it who only reads and writes


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
    monkeypatch.setattr(experiments, "ROOT", tmp_path)  # as in site-packages
    monkeypatch.chdir(tmp_path)
    assert experiments.data_folder() == tmp_path / "data"


def test_every_column_is_explained():
    text = (experiments.ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert [name for name in experiments.COLUMNS if f"`{name}`" not in text] == []
    assert [name for name in tables.TABLES if f"`{name}`" not in text] == []
