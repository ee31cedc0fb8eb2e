"""Printed numbers beside ours: like is compared with like, and the word for it follows from the runs."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import DIGITS, fake_record, write_record

from minigan import experiments, metrics, published, registry, report, tables
from minigan.cells import BUDGETS
from minigan.tables import Cell, Table

#: Target by target, with a mean of some and another metric; and a table of nothing but means.
PRINTED = """paper,table,dataset,protocol,gamma,setting,method,target,metric,value,std
ygan,table1,digits,leave_one_out,0,,YGAN,0,auroc,0.9,0.01
ygan,table1,digits,leave_one_out,0,,YGAN,1,auroc,0.8,
ygan,table1,digits,leave_one_out,0,,YGAN,2,auroc,0.4,
ygan,table1,digits,leave_one_out,0,,YGAN,mean,auroc,0.7,0.2
ygan,table1,digits,leave_one_out,0,,YGAN,texture,auroc,0.1,
ygan,table1,digits,leave_one_out,0,,YGAN,0,tpr,0.99,
ygan,table1,digits,leave_one_out,0,,GANomaly,0,auroc,0.6,
ygan,table1,digits,leave_one_out,0,,GANomaly,1,auroc,0.5,
ygan,table1,digits,leave_one_out,0,,GANomaly,mean,auroc,0.55,
ygan,table1,digits,leave_one_out,0,,PCA,2,auroc,0.3,
ygan,table2,digits,supervised,0,,YGAN,mean,auroc,0.7,
ygan,table2,digits,supervised,0.1,,YGAN,mean,auroc,0.75,
ygan,table2,color_digits,supervised,0,,YGAN,mean,auroc,0.6,
ygan,table2,color_digits,supervised,0.1,,YGAN,mean,auroc,0.65,
"""


def one_cells(budget):
    for seed in range(3):
        for target in "012":
            for method, label in (("YGAN", ""), ("YGAN", "scored_by=image"), ("PCA", "")):
                yield Cell(
                    *("one", method, label, "digits", DIGITS, "leave_one_out", target, seed),
                    *({"epochs": 1} if label else {}, budget),
                )


def two_cells(budget):
    for dataset in ("digits", "color_digits"):
        for gamma in (0.0, 0.1):
            for target in "01":
                yield Cell(
                    "two", "YGAN", "", dataset, DIGITS, "supervised", target, 0, {}, budget, gamma=gamma
                )


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Two tables of ours with printed numbers, both made up; `record` writes one of our runs."""
    (tmp_path / "ygan.csv").write_text(PRINTED)
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    for number, (name, cells) in enumerate((("one", one_cells), ("two", two_cells)), start=1):
        quick, paper = (lambda b=budget, c=cells: c(b) for budget in BUDGETS)
        monkeypatch.setitem(tables.TABLES, name, Table(name, "", quick, paper, ("ygan", number)))

    def record(name, budget, auroc, target="0", seed=0, method="YGAN", label="", **more):
        where = {"target": target, "seed": seed, "method": method, "label": label}
        of_cell = {key: more.pop(key) for key in ("dataset", "gamma") if key in more}
        where |= of_cell
        (cell,) = [
            cell
            for cell in tables.table(name).cells(budget)
            if all(getattr(cell, key) == value for key, value in where.items())
        ]
        write_record(tmp_path, cell, auroc, **more)

    return SimpleNamespace(folder=tmp_path, record=record)


@pytest.fixture
def some(made_up):
    """Target 0 with three seeds, target 1 with one, target 2 with none; and one run of PCA."""
    for target, seed, auroc in (("0", 0, 0.8), ("0", 1, 0.95), ("0", 2, 0.95), ("1", 2, 0.5)):
        made_up.record("one", "quick", auroc, target, seed, auroc_selected=auroc + 0.04)
    made_up.record("one", "quick", 0.625, "0", 0, "PCA")
    return made_up


def test_comparison_has_every_number_of_both(some):
    rows = report.comparison("one", folder=some.folder)
    names = rows[["method", "label", "target"]].agg(" ".join, axis=1).tolist()
    ours = [f"{run} {target}" for target in "012" for run in ("YGAN ", "YGAN scored_by=image", "PCA ")]
    assert names == [*ours, "YGAN  mean", "YGAN  texture", "GANomaly  0", "GANomaly  1", "GANomaly  mean"]
    assert set(rows["dataset"]) == {"digits"} and set(rows["gamma"]) == {0.0}
    assert set(rows["budget"]) == {"quick"}
    rows = rows.set_index(["method", "label", "target"])
    first = rows.loc["YGAN", "", "0"]
    assert first["published"] == 0.9 and first["published_std"] == 0.01
    assert first["ours"] == pytest.approx(0.9) and first["difference"] == pytest.approx(0)
    assert (first["low"], first["high"]) == (0.8, 0.95)
    assert (first["seeds"], first["of"]) == (3, 3)
    second, third = rows.loc["YGAN", "", "1"], rows.loc["YGAN", "", "2"]
    assert second["ours"] == second["low"] == second["high"] == 0.5
    assert second["difference"] == pytest.approx(-0.3) and second["seeds"] == 1
    assert third["published"] == 0.4 and (third["seeds"], third["of"]) == (0, 3)
    assert third[["ours", "low", "high", "difference"]].isna().all()
    floor, rival = rows.loc["PCA", "", "0"], rows.loc["GANomaly", "", "0"]
    assert floor["ours"] == 0.625 and np.isnan(floor["published"]) and np.isnan(floor["difference"])
    assert rival["published"] == 0.6 and (rival["seeds"], rival["of"]) == (0, 0)
    assert np.isnan(rival["ours"])
    assert rows["of"].sum() == 27 and rows["seeds"].sum() == 5


def test_another_metric_is_compared_with_the_same_numbers(some):
    rows = report.comparison("one", "auroc_selected", folder=some.folder).set_index(["label", "target"])
    assert rows[rows["method"] == "YGAN"].loc[("", "0"), "ours"] == pytest.approx(0.94)
    assert rows[rows["method"] == "PCA"].loc[("", "0"), "seeds"] == 0
    by_method = report.by_method("one", "auroc_selected", folder=some.folder).set_index(["method", "label"])
    assert by_method.loc[("YGAN", ""), "ours"] == pytest.approx((0.94 + 0.54) / 2)
    assert report.verdict("one", "auroc_selected", folder=some.folder).word == "not so far"


def test_means_are_over_the_targets_that_were_run(some):
    rows = report.by_method("one", folder=some.folder)
    assert rows[["method", "label"]].agg(" ".join, axis=1).tolist() == [
        *("YGAN ", "YGAN scored_by=image", "PCA ", "GANomaly "),
    ]
    ygan, image, pca, rival = (row for _, row in rows.iterrows())
    assert ygan["published"] == pytest.approx(0.85)  # of targets 0 and 1, not 0.7
    assert ygan["ours"] == pytest.approx((0.9 + 0.5) / 2)  # each target once, however many seeds it has
    assert ygan["difference"] == pytest.approx(0.7 - 0.85)
    low, high = metrics.mean_interval([0.8, 0.95, 0.95, 0.5])[1:]
    assert (ygan["low"], ygan["high"]) == (pytest.approx(low), pytest.approx(high))
    assert (ygan["targets"], ygan["of_targets"], ygan["runs"], ygan["of_runs"]) == (2, 3, 4, 9)
    assert np.isnan(image["published"]) and np.isnan(image["ours"]) and np.isnan(image["low"])
    assert (image["targets"], image["of_targets"], image["runs"], image["of_runs"]) == (0, 3, 0, 9)
    assert pca["ours"] == 0.625 and np.isnan(pca["published"]) and pca["targets"] == 1
    assert rival["published"] == pytest.approx(0.55) and np.isnan(rival["ours"])
    assert (rival["of_targets"], rival["of_runs"]) == (0, 0)
    assert set(rows["budget"]) == {"quick"}


def test_of_what_was_not_run_the_whole_mean_is_shown(made_up):
    rows = report.by_method("one", folder=made_up.folder).set_index(["method", "label"])
    assert rows.loc[("YGAN", ""), "published"] == pytest.approx(0.7)
    assert rows["ours"].isna().all() and (rows["targets"] == 0).all()


def test_where_but_a_mean_is_printed_ours_is_held_against_that(made_up):
    made_up.record("two", "quick", 0.5, "0", gamma=0.0, dataset="digits")
    made_up.record("two", "quick", 0.625, "1", gamma=0.0, dataset="digits")
    made_up.record("two", "quick", 0.875, "1", gamma=0.1, dataset="color_digits")
    rows = report.by_method("two", folder=made_up.folder).set_index(["dataset", "gamma"])
    assert rows["published"].to_dict() == {
        **{("digits", 0.0): 0.7, ("digits", 0.1): 0.75},
        **{("color_digits", 0.0): 0.6, ("color_digits", 0.1): 0.65},
    }
    assert rows.loc[("digits", 0.0), "ours"] == 0.5625
    assert rows.loc[("color_digits", 0.1), "difference"] == pytest.approx(0.225)
    assert rows["targets"].tolist() == [2, 0, 0, 1] and set(rows["of_targets"]) == {2}
    assert rows["runs"].tolist() == [2, 0, 0, 1] and set(rows["of_runs"]) == {2}
    assert set(report.comparison("two", folder=made_up.folder)["target"]) == {"0", "1", "mean"}


def test_the_paper_s_budget_is_shown_once_its_method_has_a_run_of_it(some):
    assert report.budget_of("one", some.folder) == "quick"
    some.record("one", "paper", 0.5, "0", 0, "PCA")
    assert report.budget_of("one", some.folder) == "quick"  # the floor alone is not worth showing
    some.record("one", "paper", 0.125, "2", 1)
    assert report.budget_of("one", some.folder) == "paper"
    for function in (report.comparison, report.by_method):
        assert set(function("one", folder=some.folder)["budget"]) == {"paper"}
        assert set(function("one", folder=some.folder, budget="quick")["budget"]) == {"quick"}
    rows = report.comparison("one", folder=some.folder)
    assert sorted(rows["ours"].dropna()) == [0.125, 0.5]
    assert report.by_method("one", folder=some.folder, budget="quick")["ours"].max() == pytest.approx(0.7)
    assert "of the paper budget" in report.verdict("one", folder=some.folder).reason
    assert "of the quick budget" in report.verdict("one", folder=some.folder, budget="quick").reason


# ---------------------------------------------------------------------- the verdict


def fill(made_up, budget, aurocs, gaps=()):
    """All runs of the table "two", but for the gaps: {(dataset, gamma): AUROC}."""
    for (dataset, gamma), auroc in aurocs.items():
        for target in "01":
            if (dataset, gamma, target) not in gaps:
                made_up.record("two", budget, auroc, target, dataset=dataset, gamma=gamma)


def shifted(*by):
    """What is printed in the table "two", with so much added."""
    keys = [("digits", 0.0), ("digits", 0.1), ("color_digits", 0.0), ("color_digits", 0.1)]
    return {key: value + more for key, value, more in zip(keys, (0.7, 0.75, 0.6, 0.65), by, strict=True)}


GAP = {("color_digits", 0.1, "1")}


@pytest.mark.parametrize(
    ("budget", "by", "gaps", "word", "reached"),
    [
        ("paper", (0.1, 0, -0.019, 0.2), (), "reproduced", 4),
        ("paper", (0.1, 0, -0.021, 0.2), (), "partly", 3),
        ("paper", (-0.1, -0.3, -0.2, 0.0), (), "partly", 1),
        ("paper", (-0.1, -0.3, -0.2, -0.021), (), "not reproduced", 0),
        ("paper", (0.1, 0, 0, 0), GAP, "partly, so far", 3),
        ("paper", (-0.1, -0.3, -0.2, -0.021), GAP, "not so far", 0),
        ("quick", (0.1, 0, -0.019, 0.2), (), "partly, so far", 4),
        ("quick", (-0.1, -0.2, -0.3, 0), (), "partly, so far", 1),
        ("quick", (-0.1, -0.2, -0.3, -0.03), (), "not so far", 0),
    ],
)
def test_a_word_for_every_outcome(made_up, budget, by, gaps, word, reached):
    fill(made_up, budget, shifted(*by), gaps)
    verdict = report.verdict("two", folder=made_up.folder)
    assert verdict.word == word
    # Of the last result, a printed mean over both targets, one is missing: nothing to hold it against.
    of, runs, by = (3, 6, by[:3]) if gaps else (4, 8, by)
    assert verdict.reason == (
        f"{reached} of {of} results are within 0.02 of the printed ones or above (differences: "
        f"{min(by):+.3f} to {max(by):+.3f}), by {runs} of 8 runs of the {budget} budget"
    )
    assert str(verdict) == f"{word}: {verdict.reason}"


def test_nothing_run_yet(made_up):
    verdict = report.verdict("one", folder=made_up.folder)
    assert verdict == ("not run", "9 runs of the quick budget are declared, none is recorded")
    made_up.record("one", "quick", 0.9, "2", 0, "PCA")  # a rival is no verdict on the paper
    made_up.record("one", "quick", 0.9, "0", 0, "YGAN", "scored_by=image")  # nor is what it does not print
    assert report.verdict("one", folder=made_up.folder).word == "not run"


def test_a_printed_mean_waits_until_all_targets_were_run(made_up):
    made_up.record("two", "quick", 0.9, "0", dataset="digits", gamma=0.0)
    rows = report.by_method("two", folder=made_up.folder)
    assert rows.loc[rows["targets"] == 1, "comparable"].tolist() == [False]
    verdict = report.verdict("two", folder=made_up.folder)
    assert verdict == (
        "not so far",
        "1 of 8 runs of the quick budget are recorded, too few for a mean like the printed ones",
    )
    made_up.record("two", "quick", 0.9, "1", dataset="digits", gamma=0.0)
    rows = report.by_method("two", folder=made_up.folder)
    assert rows.loc[rows["targets"] == 2, "comparable"].tolist() == [True]
    assert report.verdict("two", folder=made_up.folder).reason.startswith("1 of 1 results")


def test_a_single_result_has_a_single_difference(made_up):
    made_up.record("one", "quick", 0.95, "0")
    made_up.record("one", "quick", 0.1, "2", 0, "PCA")
    reason = report.verdict("one", folder=made_up.folder).reason
    assert "1 of 1 results" in reason and "(differences: +0.050)" in reason and "by 1 of 9 runs" in reason


def test_what_cannot_be_asked(made_up):
    for function in (report.comparison, report.by_method, report.verdict, report.budget_of):
        with pytest.raises(ValueError, match="digits repeats no table of a paper, so there is nothing to"):
            function("digits", folder=made_up.folder)
        with pytest.raises(ValueError, match="there is no table 'three'; choose one of"):
            function("three", folder=made_up.folder)
    with pytest.raises(ValueError, match="there is no metric 'accuracy'; choose one of auroc, auroc_sel"):
        report.comparison("one", "accuracy", folder=made_up.folder)
    with pytest.raises(ValueError, match="there is no budget 'laptop'; choose one of quick, paper"):
        report.verdict("one", budget="laptop", folder=made_up.folder)


# ---------------------------------------------------------------------- the papers' own tables

PAPERS = [name for name, table in tables.TABLES.items() if table.published]


def test_own_methods_are_in_minigan_and_in_the_papers():
    assert set(report.OWN) == set(published.papers())
    for paper, own in report.OWN.items():
        assert set(own) <= set(published.table(paper)["method"]) and all(map(report.in_minigan, own))
    assert not report.in_minigan("GANomaly")
    assert {method for own in report.OWN.values() for method in own} < set(registry.METHODS)


@pytest.mark.parametrize("name", PAPERS)
def test_without_any_run_the_printed_numbers_are_there(name, tmp_path):
    paper, number = tables.table(name).published
    printed = published.table(paper, number)
    printed = printed[printed["metric"] == "auroc"]
    assert report.budget_of(name, tmp_path) == "quick"
    rows = report.comparison(name, folder=tmp_path)
    assert rows["published"].notna().sum() == len(printed) and rows["ours"].isna().all()
    assert rows["published"].sum() == pytest.approx(printed["value"].sum())
    assert not rows.duplicated(report.RESULT).any()
    runs = len(tables.table(name).cells())
    assert rows["of"].sum() == runs == report.by_method(name, folder=tmp_path)["of_runs"].sum()
    verdict = report.verdict(name, folder=tmp_path)
    reason = "none is recorded" if runs else "there are no runs of the quick budget"
    assert verdict.word == "not run" and reason in verdict.reason


#: One of each kind: by target, means alone, several data sets and gammas, means of groups, one target.
KINDS = ("adegan-1", "ygan-6", "agad-1", "agad-3", "simultaneous-encoder-1", "algan-2", "algan-4")


@pytest.mark.parametrize("name", KINDS)
def test_with_the_printed_numbers_as_ours_all_is_reproduced(name, tmp_path):
    """A record for every run, with the number that the paper prints for its target or for the mean."""
    rows = report.comparison(name, budget="paper", folder=tmp_path).set_index(report.RESULT)["published"]
    (tmp_path / "results").mkdir()
    written = {}
    for cell in tables.table(name).cells("paper"):
        result = (cell.dataset, cell.gamma, cell.method, cell.label)
        value = rows.get((*result, cell.target), np.nan)
        value = rows.get((*result, published.MEAN), 0.5) if np.isnan(value) else value
        written.setdefault(cell.table, []).append(fake_record(cell, value))
    for part, records in written.items():
        with (tmp_path / "results" / f"{part}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, experiments.COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(records)
    assert report.budget_of(name, tmp_path) == "paper"
    found = report.by_method(name, folder=tmp_path)
    own = found[found["method"].isin(report.OWN[tables.table(name).published[0]])]
    own = own[own["published"].notna()]
    assert len(own) and (own["difference"].abs() < 1e-9).all()
    assert (own["targets"] == own["of_targets"]).all() and (own["runs"] == own["of_runs"]).all()
    verdict = report.verdict(name, folder=tmp_path)
    assert verdict.word == "reproduced", verdict
