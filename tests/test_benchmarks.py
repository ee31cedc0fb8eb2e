"""A benchmark at a glance, on records that are made up so that every number is known."""

import numpy as np
import pandas as pd
import pytest
from made_up_papers import make_up

from minigan import tables
from minigan.experiments import benchmarks, records


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """Y-GAN on targets 0 (two seeds) and 1, with its image score on 0, and PCA on 2."""
    made_up = make_up(monkeypatch, tmp_path)
    for seed, auroc in ((0, 0.6), (1, 0.8)):
        made_up.record("one", "quick", auroc, "0", seed, seconds=60)
    made_up.record("one", "quick", 0.9, "1", seconds=180)
    made_up.record("one", "quick", 0.5, "0", label="scored_by=image", seconds=240)
    made_up.record("one", "quick", 0.3, "2", method="PCA", seconds=6)
    return tmp_path


def test_means_over_seeds_by_method_and_target(recorded):
    found = benchmarks.by_target("one", "digits", folder=recorded)
    assert list(found.index) == ["YGAN", "YGAN (image)", "PCA"] and list(found.columns) == ["0", "1", "2"]
    nan = np.nan
    np.testing.assert_allclose(found, [[0.7, 0.9, nan], [0.5, nan, nan], [nan, nan, 0.3]])
    of_gamma = benchmarks.by_gamma("one", folder=recorded)
    assert list(of_gamma.columns) == [0.0]
    np.testing.assert_allclose(of_gamma[0.0], [(0.6 + 0.8 + 0.9) / 3, 0.5, 0.3])


def test_methods_with_labels_are_compared_apart_and_by_their_own_score(recorded):
    means = benchmarks.by_target("one", "digits", folder=recorded)
    groups = {name: list(group.index) for name, group in benchmarks.by_labels(means).items()}
    assert groups == {"with sub-class labels": ["YGAN"], "without labels": ["PCA"]}
    assert list(benchmarks.own_scores(means).index) == ["YGAN", "PCA"]


def test_expected_numbers_count_the_targets(recorded):
    row = benchmarks.expected("one", "digits", folder=recorded).loc["YGAN"]
    assert row[["mean", "lowest", "highest"]].tolist() == pytest.approx([0.8, 0.7, 0.9])
    assert row["targets"] == "2 of 3"


def test_effort_counts_a_training_once_and_estimates_the_rest(recorded):
    found = benchmarks.effort("one", "digits", folder=recorded)
    assert (found["runs"], found["recorded"]) == (27, 5) and found["command"] == "minigan reproduce one"
    # Each label has settings of its own here: the trainings took 60 + 60 + 180 + 240 + 6 seconds.
    assert found["minutes so far"] == pytest.approx(546 / 60)
    # Of Y-GAN 18 trainings with a mean of 135 seconds, of PCA 9 with one of 6.
    assert found["minutes for all"] == pytest.approx((18 * 135 + 9 * 6) / 60)
    assert np.isnan(benchmarks.effort("two", "digits", folder=recorded)["minutes for all"])


def test_ranks_of_classes_are_medians(recorded, monkeypatch):
    saved = {"scores": np.arange(10.0), "classes": np.repeat([0, 1], 5)}
    (first,) = (
        c
        for c in tables.table("one").cells()
        if (c.method, c.label, c.target, c.seed) == ("YGAN", "", "1", 0)
    )
    monkeypatch.setattr(records, "saved_outputs", lambda cell, folder: saved if cell == first else None)
    found = benchmarks.class_ranks("one", "YGAN", folder=recorded)
    assert list(found.index) == ["0", "1", "2"] and list(found.columns) == list(range(10))
    assert found.loc["1", [0, 1]].tolist() == [0.3, 0.8]
    assert found.drop(index="1").isna().all(axis=None) and found.loc["1"].count() == 2
    other_set = benchmarks.class_ranks("one", "YGAN", dataset="mnist", folder=recorded)
    pd.testing.assert_index_equal(other_set.columns, found.columns)
    assert other_set.empty
