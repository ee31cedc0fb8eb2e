"""Verdicts: a word for every outcome, which follows from the runs and does not mislead."""

import csv

import numpy as np
import pytest
from helpers import fake_record, raises_sentence, write_record
from made_up_papers import make_up, record_some, three_cells

from minigan import experiments, published, registry, report, tables
from minigan.registry import PAPERS
from minigan.tables import BUDGETS, Table


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    return make_up(monkeypatch, tmp_path)


@pytest.fixture
def some(made_up):
    return record_some(made_up)


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
        ("paper", (0.1, 0, -0.021, 0.2), (), "partly reproduced", 3),
        ("paper", (-0.1, -0.2, -0.2, 0.0), (), "partly reproduced", 1),
        ("paper", (-0.1, -0.2, -0.1, -0.021), (), "not reproduced", 0),
        ("paper", (0.1, 0, 0, 0), GAP, "too few runs", 3),
        ("paper", (-0.1, -0.2, -0.1, -0.021), GAP, "too few runs", 0),
        ("quick", (0.1, 0, -0.019, 0.2), (), "small runs reach it", 4),
        ("quick", (0.1, 0, 0, 0), GAP, "small runs reach it", 3),
        ("quick", (0.1, 0, -0.021, 0.2), (), "small runs fall short", 3),
        ("quick", (-0.1, -0.2, -0.1, -0.03), (), "small runs fall short", 0),
    ],
)
def test_a_word_for_every_outcome(made_up, budget, by, gaps, word, reached):
    fill(made_up, budget, shifted(*by), gaps)
    verdict = report.verdict("two", folder=made_up.folder)
    assert verdict.word == word
    # Of the last result, a printed mean over both targets, one is missing: nothing to compare it with.
    of, runs, by = (3, 6, by[:3]) if gaps else (4, 8, by)
    said = (
        f"{reached} of {of} results are within 0.02 of the printed ones or above (differences: "
        f"{min(by):+.3f} to {max(by):+.3f}), by {runs} of 8 runs of the {budget} budget"
    )
    if word == "too few runs":
        said = f"only 7 of 8 runs are recorded and all are needed; so far {said}"
    below = sum(printed + more < 0.5 for printed, more in zip((0.7, 0.75, 0.6, 0.65), by, strict=False))
    if below:
        said += f"; below chance (0.5): {below} of {of} results"
    assert verdict.reason == said
    assert str(verdict) == f"{word}: {verdict.reason}"


def test_nothing_run_yet(made_up):
    verdict = report.verdict("one", folder=made_up.folder)
    assert verdict == ("not tested", "9 runs of the quick budget are declared, none is recorded")
    made_up.record("one", "quick", 0.9, "2", 0, "PCA")  # a baseline is no verdict on the paper
    made_up.record("one", "quick", 0.9, "0", 0, "YGAN", "scored_by=image")  # nor is what it does not print
    assert report.verdict("one", folder=made_up.folder).word == "not tested"


def test_small_runs_of_less_than_half_of_the_targets_are_too_few(made_up):
    for seed in range(3):
        made_up.record("one", "quick", 0.95, "0", seed)
    made_up.record("one", "quick", 0.1, "2", 0, "PCA")
    verdict = report.verdict("one", folder=made_up.folder)
    assert verdict == (
        "too few runs",
        "only 1 of 3 targets have a run and 2 are needed; so far 1 of 1 results are within 0.02 of the "
        "printed ones or above (differences: +0.050), by 3 of 9 runs of the quick budget",
    )
    made_up.record("one", "quick", 0.9, "1")
    assert report.verdict("one", folder=made_up.folder).word == "small runs reach it"


def test_runs_of_the_paper_s_budget_are_too_few_until_they_are_complete(made_up):
    runs = [(target, seed) for target in "012" for seed in range(3)]
    for target, seed in runs[:-1]:
        made_up.record("one", "paper", 0.95, target, seed)
    verdict = report.verdict("one", folder=made_up.folder)
    assert verdict.word == "too few runs"
    assert verdict.reason.startswith(
        "only 8 of 9 runs are recorded and all are needed; so far 1 of 1 results"
    )
    made_up.record("one", "paper", 0.95, *runs[-1])
    assert report.verdict("one", folder=made_up.folder).word == "reproduced"


def test_a_printed_mean_waits_until_all_targets_were_run(made_up):
    for dataset, gamma in shifted(0, 0, 0, 0):
        made_up.record("two", "quick", 0.9, "0", dataset=dataset, gamma=gamma)
    rows = report.by_method("two", folder=made_up.folder)
    assert rows["comparable"].tolist() == [False] * 4
    assert report.verdict("two", folder=made_up.folder) == (
        "too few runs",
        "4 of 8 runs of the quick budget are recorded, and none gives a mean like the printed ones",
    )
    made_up.record("two", "quick", 0.9, "1", dataset="digits", gamma=0.0)
    rows = report.by_method("two", folder=made_up.folder)
    assert rows["comparable"].tolist() == [True, False, False, False]
    verdict = report.verdict("two", folder=made_up.folder)
    assert verdict.word == "small runs reach it" and verdict.reason.startswith("1 of 1 results")


# ---------------------------------------------------------------------- verdicts that do not mislead


def variant(made_up, budget, i, auroc):
    made_up.record("three", budget, auroc, label=f"ablation=A{i}")


def test_a_table_is_judged_by_its_own_rows_and_not_by_those_of_another(made_up):
    for target in "012":
        for seed in range(3):
            made_up.record("one", "quick", 0.95, target, seed)
    assert report.verdict("one", folder=made_up.folder).word == "small runs reach it"
    rows = report.by_method("three", folder=made_up.folder)
    assert rows["difference"].max() == pytest.approx(0.25)  # the borrowed row is shown
    assert report.verdict("three", folder=made_up.folder) == (
        "not tested",
        "3 runs of the quick budget are declared, none is recorded; what it repeats from one is judged there",
    )
    for i in (1, 2, 3):
        variant(made_up, "quick", i, 0.55)
    verdict = report.verdict("three", folder=made_up.folder)
    assert verdict.word == "small runs fall short"
    assert verdict.reason.startswith("1 of 2 results") and "(differences: -0.050 to +0.040)" in verdict.reason


def test_a_table_with_rows_of_other_tables_alone_is_judged_by_these(made_up, monkeypatch):
    def borrowed():
        return [cell for cell in three_cells("quick") if cell.table == "one"]

    monkeypatch.setitem(tables.TABLES, "three", Table("three", "", borrowed, list, ("ygan", 3)))
    for target in "012":
        made_up.record("one", "quick", 0.95, target)
    verdict = report.verdict("three", folder=made_up.folder)
    assert verdict.word == "small runs reach it" and "by 3 of 9 runs" in verdict.reason


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_result_below_chance_is_never_reached(made_up, budget):
    """A2 is printed as 0.51: ours of 0.495 is within the margin, and guessing would do better."""
    for i, auroc in ((1, 0.7), (2, 0.495), (3, 0.7)):
        variant(made_up, budget, i, auroc)
    verdict = report.verdict("three", budget=budget, folder=made_up.folder)
    words = {"quick": "small runs fall short", "long": "small networks fall short"}
    assert verdict.word == (words | {"paper": "partly reproduced"})[budget]
    assert (
        verdict.reason.startswith("1 of 2 results") and "below chance (0.5): 1 of 2 results" in verdict.reason
    )
    # A3 is printed below chance, which nobody has to reach.
    assert "not judged, because printed below chance: 1 results" in verdict.reason


def test_nothing_is_partly_reproduced_where_the_mean_is_below_chance(made_up):
    fill(made_up, "paper", shifted(-0.6, -0.7, -0.5, 0.0))
    verdict = report.verdict("two", folder=made_up.folder)
    assert verdict.word == "not reproduced"
    assert verdict.reason.startswith("1 of 4 results") and "below chance (0.5): 3 of 4" in verdict.reason


def test_how_the_number_came_about_is_said_in_the_same_sentence(some, monkeypatch):
    artefact = {"digits/0": "the zeros are larger than the others", "digits/2": "not run"}
    monkeypatch.setattr(report, "KNOWN_ARTEFACTS", artefact)
    for target, auroc in (("0", 0.9), ("1", 0.8)):
        some.record("one", "paper", 0.5, target, **dict.fromkeys(report.HOW_MEASURED, auroc))
    for metric, how in report.HOW_MEASURED.items():
        reason = report.verdict("one", metric, "paper", some.folder).reason
        assert how in reason and "; the zeros are larger than the others" in reason
        assert "not run" not in reason and ". " not in reason
    assert "epoch" not in report.verdict("one", folder=some.folder).reason


def test_the_screws_of_mvtec_come_with_their_artefact(tmp_path):
    cells = [cell for cell in tables.table("algan-1").cells() if cell.method == "ALGAN"]
    for cell in cells:
        if cell.target != "screw":
            write_record(tmp_path, cell, 0.9, auroc_selected=0.95)
    assert "brightness" not in report.verdict("algan-1", folder=tmp_path).reason
    write_record(tmp_path, next(cell for cell in cells if cell.target == "screw"), 0.9, auroc_selected=0.95)
    for metric in ("auroc", "auroc_selected"):
        verdict = report.verdict("algan-1", metric, folder=tmp_path)
        assert "the mean brightness alone has an AUROC of 1.00" in verdict.reason


def test_methods_without_runs_of_a_budget_are_named(tmp_path):
    for cell in tables.table("algan-4").cells():
        write_record(tmp_path, cell, 1.0)
    verdict = report.verdict("algan-4", folder=tmp_path)
    assert verdict.word == "small runs reach it"
    assert verdict.reason.endswith("; ALGAN-feature has no runs of the quick budget")
    for cell in tables.table("agad-1").cells("long"):
        write_record(tmp_path, cell, 1.0)
    verdict = report.verdict("agad-1", budget="long", folder=tmp_path)
    assert "; AGAD (UNet++) has no runs of the long budget" in verdict.reason


def test_results_without_any_run_are_counted(tmp_path):
    for cell in tables.table("agad-1").cells():
        if cell.method == "AGAD" and cell.dataset != "mnist":
            write_record(tmp_path, cell, 1.0)
    verdict = report.verdict("agad-1", folder=tmp_path)
    assert verdict.word == "small runs reach it" and "without any run: 1 of 4 results" in verdict.reason


def test_what_cannot_be_asked(made_up):
    for function in (report.comparison, report.by_method, report.verdict, report.budget_of):
        with raises_sentence(ValueError, "a table that repeats one of a paper", "got 'digits'"):
            function("digits", folder=made_up.folder)
        with pytest.raises(ValueError, match="got 'four'; choose one of"):
            function("four", folder=made_up.folder)
    for metric in ("accuracy", "average_precision"):  # the papers print AUROC
        with raises_sentence(
            ValueError, f"expected an AUROC, got {metric!r}", "choose one of auroc, auroc_sel"
        ):
            report.comparison("one", metric, folder=made_up.folder)
    with raises_sentence(ValueError, "got 'laptop'", "choose one of quick, long, paper"):
        report.verdict("one", budget="laptop", folder=made_up.folder)


# ---------------------------------------------------------------------- all papers at once


def test_status_has_a_row_for_each_method_of_the_papers(tmp_path):
    rows = report.status(tmp_path).set_index("method")
    assert list(rows.index) == [method for paper in PAPERS.values() for method in paper.methods]
    assert rows["table"].to_dict() == {
        "ALGAN": "algan-1",
        "ALGANFeature": "algan-2",
        "AGAD": "agad-1",
        "ADeGAN": "adegan-1",
        "SimultaneousEncoder": "simultaneous-encoder-2",
        "YGAN": "ygan-1",
    }
    assert (rows["verdict"] == "not tested").all() and (rows["recorded"] == 0).all()
    assert (rows["budget"] == "").all() and rows["ours"].isna().all() and rows["printed"].notna().all()
    assert (rows["declared"] > 0).all()

    printed = report.comparison("adegan-1", folder=tmp_path).set_index(["method", "target"])["published"]
    for cell in tables.table("adegan-1").cells():
        if cell.seed == 0 and cell.target in "01234":
            write_record(tmp_path, cell, 0.5)
    row = report.status(tmp_path).set_index("method").loc["ADeGAN"]
    assert (row["budget"], row["recorded"], row["declared"], row["ours"]) == ("quick", 5, 30, 0.5)
    assert row["printed"] == pytest.approx(np.mean([printed["ADeGAN", digit] for digit in "01234"]))
    assert row["verdict"] == report.verdict("adegan-1", folder=tmp_path).word == "small runs fall short"
    for cell in tables.table("algan-2").cells("paper"):
        write_record(tmp_path, cell, 0.99)
    row = report.status(tmp_path).set_index("method").loc["ALGANFeature"]
    assert (row["budget"], row["verdict"], row["recorded"]) == ("paper", "reproduced", 45)


def test_status_names_the_best_classical_baseline_on_the_same_targets(tmp_path):
    cells = [cell for cell in tables.table("adegan-1").cells() if cell.seed == 0 and cell.target in "01"]
    for cell in cells:
        if cell.method == "ADeGAN":
            write_record(tmp_path, cell, 0.5)
    assert np.isnan(report.status(tmp_path).set_index("method").loc["ADeGAN"]["classical"])
    for cell in cells:
        by_method = {"PCA": 0.6, "NearestNeighbors": 0.7 if cell.target == "0" else 0.4, "GANomaly": 0.9}
        if cell.method in by_method:
            write_record(tmp_path, cell, by_method[cell.method])
    row = report.status(tmp_path).set_index("method").loc["ADeGAN"]
    assert row["classical"] == pytest.approx(0.6)  # PCA's mean; the neighbours' is 0.55
    assert row["reason"] == report.verdict("adegan-1", folder=tmp_path).reason


def test_status_in_markdown(tmp_path):
    cell = next(cell for cell in tables.table("ygan-1").cells() if cell.target == "8")
    write_record(tmp_path, cell, 0.625)
    rows = published.table("ygan", 1).query("method == 'YGAN' and target == '8'")
    assert rows["value"].item() == 0.988
    head, rule, *rows = report.status_markdown(tmp_path).split("\n\n")[0].splitlines()
    assert head == "| method | chapter | table | budget | runs | printed | ours | verdict |"
    assert rule.count("|") == head.count("|") and len(rows) == sum(
        len(paper.methods) for paper in PAPERS.values()
    )
    last = (
        "| `YGAN` | [Y-GAN](book/ygan.ipynb) | `ygan-1` | quick | 1 of 30 | 0.988 | 0.625 | "
        "[too few runs](book/reproduce_ygan.ipynb) |"
    )
    assert rows[-1] == last
    assert rows[0].startswith("| `ALGAN` | [ALGAN](book/algan.ipynb) | `algan-1` | - | 0 of 45 | 0.878 | - |")


# ---------------------------------------------------------------------- the papers' own tables

REPEATED = [name for name, table in tables.TABLES.items() if table.published]


def test_own_methods_are_in_minigan_and_in_the_papers():
    assert set(PAPERS) == set(published.papers())
    for key, paper in PAPERS.items():
        assert set(paper.methods) <= set(published.table(key)["method"])
        assert all(map(report.in_minigan, paper.methods))
    assert not report.in_minigan("LSA")
    assert {method for paper in PAPERS.values() for method in paper.methods} < set(registry.METHODS)


@pytest.mark.parametrize("name", REPEATED)
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
    # The quick runs of ALGAN on features have another backbone, so they are not the paper's.
    reason = "there are no runs of the quick budget" if name == "algan-2" else "none is recorded"
    assert verdict.word == "not tested" and reason in verdict.reason


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
    own = found[found["method"].isin(PAPERS[tables.table(name).published[0]].methods)]
    own = own[own["published"].notna()]
    assert len(own) and (own["difference"].abs() < 1e-9).all()
    assert (own["targets"] == own["of_targets"]).all() and (own["runs"] == own["of_runs"]).all()
    verdict = report.verdict(name, folder=tmp_path)
    assert verdict.word == "reproduced", verdict
