"""Records: what is read of them, what is saved beside them, and files that are not as written."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from helpers import DIGITS, Normed, fake_record, lines, raises_sentence, run_by, tiny_cells, write_record

import minigan
from minigan import data, experiments, metrics, paths, registry, tables
from minigan.experiments import records, runs
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


# ---------------------------------------------------------------------- the records


def test_results_show_every_cell_and_what_is_missing(tiny, quick, tmp_path):
    empty = experiments.results(tiny, tmp_path)
    assert len(empty) == 6 and empty["auroc"].isna().all()
    assert tuple(empty.columns) == experiments.COLUMNS

    write_record(tmp_path, list(tiny_cells())[4], auroc=0.123456789012345)
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
    for label, target, auroc in (("a", "0", 0.5), ("a", "2", 1.0), ("b", "1", 0.25)):
        write_record(tmp_path, cell(label, target), auroc, average_precision=auroc / 2)
    summary = experiments.summary("tiny", folder=tmp_path)
    assert summary.index.tolist() == [("one_class", "PCA", label) for label in "abc"]
    assert summary["runs"].tolist() == [2, 1, 0] and summary["missing"].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(summary["mean"], [0.75, 0.25, np.nan])
    assert summary["low"].iloc[0] == 0.5 and summary["high"].iloc[0] == 1.0
    assert summary["low"].iloc[1:].isna().all()
    precision = experiments.summary("tiny", "average_precision", tmp_path)
    np.testing.assert_array_equal(precision["mean"], [0.375, 0.125, np.nan])
    with raises_sentence(ValueError, "expected a metric", "got 'accuracy'", "choose one of auroc, "):
        experiments.summary("tiny", "accuracy", tmp_path)


def test_summary_distinguishes_gammas_where_there_are_several(tmp_path, monkeypatch):
    def cells(gammas):
        for gamma, target in [(g, t) for g in gammas for t in ("0", "1")]:
            yield Cell("tiny", "PCA", "", "digits", DIGITS, "supervised", target, 0, {}, gamma=gamma)

    for gammas in ((0.1,), (0, 0.05, 0.1)):
        monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "", lambda: cells(gammas)))  # noqa: B023
        folder = tmp_path / str(len(gammas))
        for cell in cells(gammas):
            if cell.gamma == 0.1 or cell.target == "0":
                write_record(folder, cell, cell.gamma + 0.5, auroc_sorted=0.25 if cell.gamma else "")
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
    with raises_sentence(ValueError, "runs of the budget 'paper'", "got 'tiny' without any"):
        experiments.reproduce(tiny, folder=tmp_path, budget="paper")
    for ask in (experiments.reproduce, experiments.results, experiments.summary):
        with raises_sentence(ValueError, "got 'laptop'", "choose one of quick, long, paper"):
            ask(budgets, folder=tmp_path, budget="laptop")


def test_summary_distinguishes_data_sets_where_there_are_several(tmp_path, monkeypatch):
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


# ---------------------------------------------------------------------- outputs saved for figures


@dataclass(kw_only=True, eq=False, repr=False)
class TwoScores(Normed):
    """The best epoch on validation images has another mean, and "far" is the square of the score."""

    scored_by: str = "near"

    def score_step(self, x):
        return super().score_step(x) ** (2 if self.scored_by == "far" else 1)


@pytest.fixture
def saved_table(monkeypatch):
    """Two scores of a network and PCA, two seeds each, of a table that has a budget of a paper."""
    methods = {"TwoScores": TwoScores, "PCA": minigan.PCA}
    monkeypatch.setattr(registry, "get", methods.__getitem__)
    options = {"category": "brick", "size": 16}

    def cells():
        for seed in (0, 1):
            for score in ("near", "far"):
                settings = {"scored_by": score, "device": "cpu"}
                yield Cell("saved", "TwoScores", score, "digits", DIGITS, "one_class", "5", seed, settings)
            yield Cell("saved", "PCA", "", "digits", DIGITS, "one_class", "5", seed, {})
        yield Cell(
            "saved", "TwoScores", "", "textures", options, "defects", "brick", 0, {"device": "cpu"}
        )  # with a selected epoch

    monkeypatch.setitem(tables.TABLES, "saved", Table("saved", "", cells, list))
    return list(cells())


def test_scores_of_networks_and_the_first_seed_are_saved(saved_table, tmp_path):
    frame = experiments.reproduce("saved", folder=tmp_path)
    assert frame["auroc"].notna().all()
    saved = [experiments.saved_outputs(cell, tmp_path) for cell in saved_table]
    assert [arrays is not None for arrays in saved] == [True, True] + 4 * [False] + [True]
    files = sorted(path.suffix for path in (tmp_path / "results" / "scores").rglob("*.*"))
    assert files == [".npz"] * 3  # and nothing half written
    for cell, arrays, auroc in zip(saved_table, saved, frame["auroc"], strict=True):
        if arrays is None:
            continue
        trained = experiments.train(cell)
        split, detector = trained.split, trained.detector.use_weights("last")
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
    np.testing.assert_allclose(saved[0]["scores"] ** 2, saved[1]["scores"], rtol=1e-5)
    assert [len(arrays["scores"]) for arrays in saved[:2]] == frame["n_test"].tolist()[:2]


def test_sub_classes_are_saved_where_there_are_some(saved_table, tmp_path, monkeypatch):
    digits = data.load("digits", **DIGITS)
    odd = {"subclasses": digits.labels % 2, "subclass_names": ("even", "odd")}
    monkeypatch.setattr(runs, "dataset_of", lambda cell: replace(digits, **odd))
    cell = saved_table[0]
    records.save_outputs(cell, runs.outputs(cell, experiments.train(cell)), tmp_path)
    arrays = experiments.saved_outputs(cell, tmp_path)
    np.testing.assert_array_equal(arrays["subclasses"], arrays["classes"] % 2)
    assert len(set(arrays["classes"])) == 10


def test_nothing_is_saved_of_a_laptop_s_table(saved_table, tmp_path, monkeypatch):
    monkeypatch.setitem(tables.TABLES, "saved", Table("saved", "", lambda: saved_table[:1]))
    assert experiments.reproduce("saved", folder=tmp_path)["auroc"].notna().all()
    assert not (tmp_path / "results" / "scores").exists()


def test_other_settings_have_other_files(saved_table, tmp_path):
    paths = {records.outputs_file(cell, tmp_path) for cell in saved_table}
    assert len(paths) == len(saved_table)
    assert {path.parent for path in paths} == {tmp_path / "results" / "scores" / "saved"}


def test_killed_between_the_outputs_and_the_record(saved_table, tmp_path, monkeypatch):
    whole = experiments.reproduce("saved", folder=tmp_path / "whole")
    with monkeypatch.context() as killed:
        killed.setattr(records, "append_record", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            experiments.reproduce("saved", folder=tmp_path)
    assert experiments.saved_outputs(saved_table[0], tmp_path) is not None
    assert experiments.results("saved", tmp_path)["auroc"].isna().all()
    again = experiments.reproduce("saved", folder=tmp_path)
    pd.testing.assert_frame_equal(again[MEASURED], whole[MEASURED])
    for cell in (saved_table[0], saved_table[1]):
        one, two = (
            experiments.saved_outputs(cell, tmp_path),
            experiments.saved_outputs(cell, tmp_path / "whole"),
        )
        for name in one.keys() - {"history_seconds"}:
            np.testing.assert_array_equal(one[name], two[name])


def test_outputs_are_written_whole_or_not_at_all(saved_table, tmp_path, monkeypatch):
    cell, save = saved_table[0], np.savez_compressed

    def fails(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    arrays = runs.outputs(cell, experiments.train(cell))
    monkeypatch.setattr(np, "savez_compressed", fails)
    with pytest.raises(OSError, match="No space left"):
        records.save_outputs(cell, arrays, tmp_path)
    assert experiments.saved_outputs(cell, tmp_path) is None
    monkeypatch.setattr(np, "savez_compressed", save)
    records.save_outputs(cell, arrays, tmp_path)
    before = experiments.saved_outputs(cell, tmp_path)
    monkeypatch.setattr(np, "savez_compressed", fails)
    with pytest.raises(OSError, match="No space left"):
        records.save_outputs(cell, arrays, tmp_path)
    assert experiments.saved_outputs(cell, tmp_path).keys() == before.keys()


# ---------------------------------------------------------------------- files that are not as written


def test_the_first_of_two_equal_records_counts(tiny, tmp_path):
    # Two machines that did not know of each other, merged by git.
    cell = next(tiny_cells())
    for auroc in (0.6, 0.7):
        write_record(tmp_path, cell, auroc)
    assert experiments.results(tiny, tmp_path).loc[0, "auroc"] == 0.6


def test_a_file_of_an_earlier_version_is_read_and_brought_up_to_date(tiny, quick, tmp_path):
    """Columns that were added since are empty; the first new line rewrites the file with all of them."""
    first = next(tiny_cells())
    write_record(tmp_path, first, 0.6)
    path = tmp_path / "results" / "tiny.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=list(records.ADDED))
    frame.to_csv(path, index=False)
    old = path.read_text(encoding="utf-8")
    assert experiments.results(tiny, tmp_path).loc[0, "auroc"] == 0.6
    assert path.read_text(encoding="utf-8") == old  # reading changes nothing
    experiments.reproduce(tiny, folder=tmp_path)
    assert lines(tmp_path)[0] == ",".join(experiments.COLUMNS)
    read = experiments.results(tiny, tmp_path)
    assert read["auroc"].notna().all() and read.loc[0, "auroc"] == 0.6
    assert len(quick) == 5  # the recorded one was not repeated


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("auroc,method\n0.5,PCA\n", "the columns that this version of minigan writes in .*, got others"),
        (
            ",".join((*experiments.COLUMNS, "later")) + "\n",
            "the columns that this version of minigan writes in .*, got others",
        ),
        ("method,auroc\nPCA,0.5\n", "the columns that this version of minigan writes in .*, got others"),
        (
            ",".join(experiments.COLUMNS) + "\nPCA,0.5\n",
            f"expected {len(experiments.COLUMNS)} values in line 2 of .*, got 2",
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
    assert paths.data_folder() == tmp_path / "mine"
    monkeypatch.delenv("MINIGAN_DATA")
    assert paths.data_folder() == paths.ROOT / "data"
    monkeypatch.setattr(paths, "ROOT", tmp_path)  # as in site-packages
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert paths.data_folder() == tmp_path / "here" / "data"
    (tmp_path / "pyproject.toml").touch()  # as in a checkout
    assert paths.data_folder() == tmp_path / "data"


def test_every_column_is_explained():
    text = (paths.ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert [name for name in experiments.COLUMNS if f"`{name}`" not in text] == []
    assert [name for name in tables.TABLES if f"`{name}`" not in text] == []
