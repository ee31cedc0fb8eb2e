"""How much of an AUROC is luck, on records that are made up."""

import numpy as np
import pandas as pd
import pytest
from helpers import DIGITS, raises_sentence, write_record
from made_up_papers import make_up

from minigan import report, tables
from minigan.experiments import spread
from minigan.tables import Cell


def run(folder, method, target, seed, auroc, settings=None, budget="quick", **measured):
    cell = Cell("t", method, "", "digits", DIGITS, "one_class", target, seed, settings or {}, budget)
    write_record(folder, cell, auroc, **measured)


@pytest.fixture
def some(tmp_path):
    """YGAN on two targets, with variances of 0.005 (two seeds) and 0.01 (three); and what must not count."""
    for seed, auroc in enumerate((0.7, 0.8)):
        run(tmp_path, "YGAN", "0", seed, auroc, auroc_late_std=0.03)
    for seed, auroc in enumerate((0.5, 0.6, 0.7)):
        run(tmp_path, "YGAN", "1", seed, auroc, auroc_late_std=0.05 if seed == 0 else "")
    run(tmp_path, "YGAN", "0", 2, 0.1, settings={"epochs": 1})  # other settings are no repetition
    for seed in range(3):
        run(tmp_path, "YGAN", "0", seed, 0.1 * seed, budget="paper")
    run(tmp_path, "PCA", "0", 0, 0.9)
    return tmp_path


def test_deviations_between_seeds_are_pooled_over_what_was_repeated(some):
    found = spread.between_runs(some)
    assert list(found.index) == ["YGAN", "PCA"]
    assert found.loc["YGAN", "seeds"] == pytest.approx(np.sqrt((1 * 0.005 + 2 * 0.01) / 3))
    assert found.loc["YGAN", "late"] == pytest.approx(np.sqrt((2 * 0.03**2 + 0.05**2) / 3))
    assert found[["repeated", "measured"]].to_numpy().tolist() == [[2, 3], [0, 0]]
    assert found.loc["PCA", ["seeds", "late"]].isna().all()
    run(some, "PCA", "0", 1, 0.9)  # a file that grows is read again
    assert spread.between_runs(some).loc["PCA", "seeds"] == 0


def test_the_margin_is_two_standard_errors(some, tmp_path):
    deviation = spread.between_runs(some).loc["YGAN", "seeds"]
    assert spread.margin("YGAN", 1, some) == pytest.approx(2 * deviation)
    assert spread.margin("YGAN", 16, some) == pytest.approx(deviation / 2)
    assert np.isnan(spread.margin("PCA", 5, some)) and np.isnan(spread.margin("AGAD", 5, some))
    assert np.isnan(spread.margin("YGAN", 5, tmp_path / "empty"))
    with raises_sentence(ValueError, "at least one run, got 0"):
        spread.margin("YGAN", 0, some)


def test_a_verdict_allows_for_luck(monkeypatch, tmp_path):
    """Three targets, three seeds: 0.06 below the printed mean is within luck only if seeds differ enough."""
    made_up = make_up(monkeypatch, tmp_path)
    for target, printed in (("0", 0.9), ("1", 0.8), ("2", 0.4)):
        for seed, luck in enumerate((-0.05, 0.0, 0.05)):
            made_up.record("one", "quick", printed - 0.06 + luck, target, seed)
    margin = 2 * 0.05 / 3
    assert spread.margin("YGAN", 9, tmp_path) == pytest.approx(margin)
    verdict = report.verdict("one", folder=tmp_path)
    assert verdict.word == "small runs fall short"
    assert f"0 of 1 results are within {margin:.2f} of the printed ones" in verdict.reason
    for seed, auroc in enumerate((0.2, 0.9)):  # a split on which seeds differ a lot
        run(tmp_path, "YGAN", "9", seed, auroc)
    margin = spread.margin("YGAN", 9, tmp_path)
    assert margin > 0.06
    verdict = report.verdict("one", folder=tmp_path)
    assert verdict.word == "small runs reach it" and f"within {margin:.2f} of" in verdict.reason


def test_the_last_epoch_beside_others(monkeypatch, tmp_path):
    """Means over the runs that measured everything; classical methods have no epochs."""
    make_up(monkeypatch, tmp_path)
    network = [cell for cell in tables.table("one").cells() if cell.method == "YGAN" and not cell.label]
    for cell, auroc in zip(network, (0.7, 0.8, 0.9), strict=False):
        late = {"auroc_late_mean": auroc - 0.1, "auroc_late_std": 0.02, "auroc_averaged": auroc + 0.05}
        write_record(tmp_path, cell, auroc, **(late if auroc < 0.85 else {}) | {"epochs": 9})
    write_record(tmp_path, next(c for c in tables.table("one").cells() if c.method == "PCA"), 0.99)
    found = spread.by_epoch("one", tmp_path)
    assert list(found.index.get_level_values("method")) == ["YGAN", "YGAN"]
    row = found.loc[("leave_one_out", "YGAN", "")]
    np.testing.assert_allclose(row[["last", "late mean", "late std", "averaged"]], [0.75, 0.65, 0.02, 0.8])
    assert row[["runs", "missing"]].tolist() == [2, 7]
    never_run = found.loc[("leave_one_out", "YGAN", "scored_by=image")]
    assert never_run[["runs", "missing"]].tolist() == [0, 9] and np.isnan(never_run["last"])


def test_readings_are_compared_in_pairs(monkeypatch, tmp_path):
    """The default first; differences over the pairs alone, by hand; what was never run has no row."""
    make_up(monkeypatch, tmp_path)
    cells = [cell for cell in tables.table("one").cells() if cell.method == "YGAN"]
    default = [cell for cell in cells if not cell.label]
    other = [cell for cell in cells if cell.label == "scored_by=image"]
    for cell, auroc in zip(default, (0.5, 0.6, 0.7, 0.8), strict=False):
        write_record(tmp_path, cell, auroc)
    assert list(spread.readings("one", folder=tmp_path).index) == [("leave_one_out", "YGAN", "")]
    for cell, auroc in zip(other[2:], (0.8, 0.7, 0.1), strict=False):  # the third has no partner
        write_record(tmp_path, cell, auroc)
    found = spread.readings("one", folder=tmp_path)
    assert list(found.index.get_level_values("label")) == ["", "scored_by=image"]
    first, second = found.to_dict("records")
    assert first["mean"] == pytest.approx(0.65) and np.isnan(first["difference"])
    assert second["mean"] == pytest.approx(1.6 / 3) and second["difference"] == pytest.approx(0)
    np.testing.assert_allclose([second["low"], second["high"]], [-0.1, 0.1])
    assert [second[name] for name in ("better", "pairs", "missing")] == [1, 2, 6]
    turned = spread.readings("one", "scored_by=image", folder=tmp_path)
    assert list(turned.index.get_level_values("label")) == ["scored_by=image", ""]
    with raises_sentence(ValueError, "expected default to be a label of one, one of '', 'scored_by=image'"):
        spread.readings("one", "another", folder=tmp_path)


def test_differences_in_pairs_by_hand():
    """Only splits with both runs count; a question without a pair has no row."""
    wide = pd.DataFrame({"a": [0.9, 0.8, 0.7, np.nan], "b": [0.8, 0.7, 0.8, 0.1], "c": 4 * [np.nan]})
    found = spread.pairs(wide, [("a", "b"), ("a", "c")])
    assert found.to_dict("index") == {
        "a minus b": {
            "mean difference": "+0.033",
            "95 % interval": "-0.100 to +0.100",
            "first is better in": "2 of 3",
        }
    }
    assert list(spread.pairs(wide, {"which?": ("b", "a")})["mean difference"]) == ["-0.033"]
    assert spread.pairs(wide, [("a", "c")]).empty
    with raises_sentence(ValueError, "expected columns out of ['a', 'b', 'c'], got ['d']"):
        spread.pairs(wide, [("a", "d")])
