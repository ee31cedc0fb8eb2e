"""Printed numbers beside ours: like is compared with like."""

import numpy as np
import pytest
from made_up_papers import make_up, record_some

from minigan import metrics, report


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    return make_up(monkeypatch, tmp_path)


@pytest.fixture
def some(made_up):
    return record_some(made_up)


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
    ours, theirs = rows.loc["PCA", "", "0"], rows.loc["GANomaly", "", "0"]
    assert ours["ours"] == 0.625 and np.isnan(ours["published"]) and np.isnan(ours["difference"])
    assert theirs["published"] == 0.6 and (theirs["seeds"], theirs["of"]) == (0, 0)
    assert np.isnan(theirs["ours"])
    assert rows["of"].sum() == 27 and rows["seeds"].sum() == 5


def test_another_metric_is_compared_with_the_same_numbers(some):
    rows = report.comparison("one", "auroc_selected", folder=some.folder).set_index(["label", "target"])
    assert rows[rows["method"] == "YGAN"].loc[("", "0"), "ours"] == pytest.approx(0.94)
    assert rows[rows["method"] == "PCA"].loc[("", "0"), "seeds"] == 0
    by_method = report.by_method("one", "auroc_selected", folder=some.folder).set_index(["method", "label"])
    assert by_method.loc[("YGAN", ""), "ours"] == pytest.approx((0.94 + 0.54) / 2)
    verdict = report.verdict("one", "auroc_selected", folder=some.folder)
    assert verdict.word == "small runs fall short"
    assert "by the epoch chosen on anomalous validation images" in verdict.reason


def test_means_are_over_the_targets_that_were_run(some):
    rows = report.by_method("one", folder=some.folder)
    names = rows[["method", "label"]].agg(" ".join, axis=1).tolist()
    assert names == ["YGAN ", "YGAN scored_by=image", "PCA ", "GANomaly "]
    ygan, image, pca, ganomaly = (row for _, row in rows.iterrows())
    assert ygan["published"] == pytest.approx(0.85)  # of targets 0 and 1, not 0.7
    assert ygan["ours"] == pytest.approx((0.9 + 0.5) / 2)  # each target once, however many seeds it has
    assert ygan["difference"] == pytest.approx(0.7 - 0.85)
    low, high = metrics.mean_interval([0.8, 0.95, 0.95, 0.5])[1:]
    assert (ygan["low"], ygan["high"]) == (pytest.approx(low), pytest.approx(high))
    assert (ygan["targets"], ygan["of_targets"], ygan["runs"], ygan["of_runs"]) == (2, 3, 4, 9)
    assert np.isnan(image["published"]) and np.isnan(image["ours"]) and np.isnan(image["low"])
    assert (image["targets"], image["of_targets"], image["runs"], image["of_runs"]) == (0, 3, 0, 9)
    assert pca["ours"] == 0.625 and np.isnan(pca["published"]) and pca["targets"] == 1
    assert ganomaly["published"] == pytest.approx(0.55) and np.isnan(ganomaly["ours"])
    assert (ganomaly["of_targets"], ganomaly["of_runs"]) == (0, 0)
    assert set(rows["budget"]) == {"quick"}
    # PCA lacks target 1, on which Y-GAN was run; the variant would be run on all three.
    assert rows["same_targets"].tolist() == [True, True, False, True]


def test_baselines_are_averaged_over_the_targets_of_the_paper_s_method(made_up):
    for target, auroc in (("0", 0.5), ("1", 0.75), ("2", 1.0)):
        made_up.record("one", "quick", auroc, target, 0, "PCA")
    rows = report.by_method("one", folder=made_up.folder).set_index(["method", "label"])
    assert rows.loc[("PCA", ""), "ours"] == 0.75 and rows["same_targets"].all()  # Y-GAN was run on none
    assert rows.loc[("GANomaly", ""), "published"] == pytest.approx(0.55)
    made_up.record("one", "quick", 0.9, "1", 0)
    rows = report.by_method("one", folder=made_up.folder).set_index(["method", "label"])
    assert rows.loc[("YGAN", ""), "published"] == 0.8
    assert rows.loc[("GANomaly", ""), "published"] == 0.5  # printed for target 1, and so comparable with 0.8
    pca = rows.loc[("PCA", "")]
    assert pca["ours"] == 0.75 and np.isnan(pca["low"])  # of one run
    assert (pca["targets"], pca["runs"]) == (3, 3)  # what is recorded
    assert rows["same_targets"].all()
    made_up.record("one", "quick", 0.9, "2", 0)
    rows = report.by_method("one", folder=made_up.folder).set_index(["method", "label"])
    assert rows.loc[("PCA", ""), "ours"] == 0.875
    assert rows.loc[("GANomaly", ""), "published"] == pytest.approx(0.55)  # nothing is printed for target 2
    assert rows["same_targets"].to_dict() == {
        ("YGAN", ""): True,
        ("YGAN", "scored_by=image"): True,
        ("PCA", ""): True,
        ("GANomaly", ""): False,
    }


def test_of_what_was_not_run_the_whole_mean_is_shown(made_up):
    rows = report.by_method("one", folder=made_up.folder).set_index(["method", "label"])
    assert rows.loc[("YGAN", ""), "published"] == pytest.approx(0.7)
    assert rows["ours"].isna().all() and (rows["targets"] == 0).all()


def test_where_only_a_mean_is_printed_ours_is_compared_with_that(made_up):
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
    assert report.budget_of("one", some.folder) == "quick"  # baselines alone are not worth showing
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
