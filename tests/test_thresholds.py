"""Thresholds: by a rate of false alarms, by labelled images, and what is said about them."""

import numpy as np
import pandas as pd
import pytest
from helpers import points, raises_sentence, ring, write_digits
from hypothesis import given
from hypothesis import strategies as st

import minigan
from minigan import PCA, data, metrics, wording
from minigan.cli import main
from minigan.image_files import find_images

WHOLE = st.integers(-9, 9)  # few distinct values, so that ties are common


def balanced(labels, scores, threshold):
    flagged = np.asarray(scores) > threshold
    labels = np.asarray(labels)
    return flagged[labels == 1].mean() - flagged[labels == 0].mean()


def test_the_best_threshold_by_hand():
    assert metrics.best_threshold([0, 0, 1, 1], [1.0, 2.0, 4.0, 5.0]) == 3  # in the middle of the gap
    # 1.5 flags 3 of 3 and 1 of 2, 3.5 flags 2 of 3 and none: 1 - 1/2 < 2/3.
    assert metrics.best_threshold([0, 1, 0, 1, 1], [1, 2, 3, 4, 5]) == 3.5
    # It does not depend on how many there are of each kind: every normal image ten times changes nothing.
    assert metrics.best_threshold([0] * 20 + [1, 1, 1], [1, 3] * 10 + [2, 4, 5]) == 3.5
    assert metrics.best_threshold([0, 1], [2, 1]) == 2  # the wrong way round: nothing is flagged
    assert metrics.best_threshold([0, 1], [7, 7]) == 7
    low = 1.0
    high = np.nextafter(low, 2)  # there is no number in between
    assert metrics.best_threshold([0, 1], [low, high]) == low
    with raises_sentence(ValueError, "expected normal and anomalous images"):
        metrics.best_threshold([0, 0], [1, 2])


@given(st.lists(st.tuples(st.integers(0, 1), WHOLE), max_size=30))
def test_no_threshold_is_better_and_none_as_good_is_higher(pairs):
    labels, scores = map(np.array, zip((0, 1), (1, 0), *pairs, strict=True))
    found = metrics.best_threshold(labels, scores)
    others = np.arange(-11, 11) + 0.5
    values = np.array([balanced(labels, scores, other) for other in others])
    assert balanced(labels, scores, found) == pytest.approx(values.max())
    flagged = (scores > found).sum()
    assert flagged == min((scores > other).sum() for other in others[np.isclose(values, values.max())])


def test_calibrate_takes_labels(tmp_path):
    detector = PCA(n_components=1).fit(points(100))
    x, y = np.concatenate([points(40, seed=3), ring(30, 8, 12)]), np.repeat([0, 1], [40, 30])
    scores = detector.anomaly_score(x)
    assert detector.calibrate(x, y).threshold_ == metrics.best_threshold(y, scores)
    np.testing.assert_array_equal(detector.calibration_scores_, scores[:40])  # of normal images alone
    assert detector.n_calibrated_ == 40 and detector.notes_ == {"labelled": 70}
    assert detector.normal_flagged_ == metrics.flagged_interval(scores[:40], detector.threshold_)
    detector.save(tmp_path / "a")
    loaded = minigan.load(tmp_path / "a")
    assert loaded.threshold_ == detector.threshold_
    assert wording.where_from(loaded).startswith("The threshold was chosen by 40 normal and 30 anomalous")
    before = loaded.threshold_
    with raises_sentence(ValueError, "expected normal and anomalous images"):
        loaded.calibrate(x[:40], y[:40])
    with raises_sentence(ValueError, "expected 70 labels"):
        loaded.calibrate(x, y[:3])
    assert loaded.threshold_ == before and loaded.notes_ == {"labelled": 70}  # as before the mistakes
    loaded.calibrate(x[:40])
    assert loaded.threshold_ == pytest.approx(np.quantile(scores[:40], 0.95)) and loaded.notes_ == {}
    assert "held out of training: it is meant to flag 5 %" in wording.where_from(loaded)


@pytest.fixture
def parts(tmp_path, monkeypatch, capsys):
    """The working directory: `train`, and `sorted` with fours in `good` and ones in `odd`; a detector."""
    write_digits(tmp_path, 8, train=(4, 0, 60), sorted_good=(4, 60, 90), sorted_odd=(1, 0, 20))
    monkeypatch.chdir(tmp_path)
    assert fit("--out", "parts.safetensors") == 0
    capsys.readouterr()
    return tmp_path


def fit(*more):
    return main(["fit", "train", "--method", "PCA", "--image-size", "8", *more])


def scores_of(detector, folder):
    return detector.anomaly_score(data.load("folder", path=folder).images)


def test_fit_with_a_rate_of_false_alarms(parts, capsys):
    assert fit("--false-alarms", "0.2", "--out", "a.safetensors") == 0
    said = capsys.readouterr().err
    assert "20 % false alarms from 6 images can be anything from " in said and "cannot promise" not in said
    assert fit("--false-alarms", "0.01", "--out", "b.safetensors") == 0
    promise = "6 images cannot promise 1 % false alarms, which takes 100 or more"
    assert promise in capsys.readouterr().err
    assert main(["threshold", "b.safetensors", "--false-alarms", "0.01"]) == 0
    assert promise in capsys.readouterr().out
    detector = minigan.load("a.safetensors")
    assert detector.contamination == 0.2
    assert detector.threshold_ == pytest.approx(np.quantile(detector.calibration_scores_, 0.8))
    arguments = ["score", "sorted", "--train", "train", "--method", "PCA", "--image-size", "8"]
    assert main([*arguments, "--false-alarms", "0.2", "--out", "scores.csv"]) == 0
    table = pd.read_csv("scores.csv")
    assert (table["anomalous"] == (table["score"] > detector.threshold_)).all()


def test_the_threshold_from_sorted_images(parts, capsys):
    before = minigan.load("parts.safetensors")
    assert main(["threshold", "parts.safetensors", "sorted", "--out", "new.safetensors"]) == 0
    detector, said = minigan.load("new.safetensors"), capsys.readouterr()
    good, odd = scores_of(detector, "sorted/good"), scores_of(detector, "sorted/odd")
    assert detector.threshold_ == metrics.best_threshold(np.repeat([0, 1], [30, 20]), [*good, *odd])
    assert "50 images in sorted: 30 normal, 20 anomalous ones" in said.err
    flagged = f"it flags {(odd > detector.threshold_).sum()} of 20 anomalous images ("
    assert said.out.startswith(flagged)
    assert f" and {(good > detector.threshold_).sum()} of 30 normal images (" in said.out
    assert "it was chosen on these images" in said.out
    assert f"threshold {detector.threshold_:.4g}, before {before.threshold_:.4g}; saved as new" in said.out
    assert minigan.load("parts.safetensors").threshold_ == before.threshold_
    np.testing.assert_array_equal(scores_of(before, "sorted/good"), good)  # only the threshold is another
    assert main(["report", "new.safetensors", "sorted", "--out", "report.html"]) == 0
    page = (parts / "report.html").read_text(encoding="utf-8")
    assert "chosen by 30 normal and 20 anomalous images" in page and "meant to flag" not in page


def test_the_threshold_from_normal_images_and_from_those_held_out(parts, capsys):
    assert main(["threshold", "parts.safetensors", "sorted/good", "--false-alarms", "0.1"]) == 0
    detector, said = minigan.load("parts.safetensors"), capsys.readouterr()
    good = scores_of(detector, "sorted/good")
    assert detector.threshold_ == pytest.approx(np.quantile(good, 0.9)) and detector.contamination == 0.1
    assert "all taken for normal ones, because no folder called good, normal, ok" in said.err
    assert "may lie above the threshold (90 % interval; it comes from 30 images)" in said.out
    assert main(["threshold", "parts.safetensors", "--false-alarms", "0.5"]) == 0  # by the same scores
    assert minigan.load("parts.safetensors").threshold_ == pytest.approx(np.median(good))
    # With defects beside them, a rate of false alarms goes by the normal images; what is found is counted.
    assert main(["threshold", "parts.safetensors", "sorted", "--false-alarms", "0.1"]) == 0
    assert minigan.load("parts.safetensors").threshold_ == pytest.approx(np.quantile(good, 0.9))
    assert "of 20 anomalous images" in capsys.readouterr().out


def test_images_that_were_learned_from_are_pointed_out(parts, capsys):
    assert main(["threshold", "parts.safetensors", "train", "--out", "new.safetensors"]) == 0
    assert "60 of 60 images are among those that the detector learned from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["threshold", "parts.safetensors"], "expected images or a rate of false alarms"),
        (["threshold", "parts.safetensors", "nowhere"], "expected a folder of images, got 'nowhere'"),
        (["threshold", "parts.safetensors", "--false-alarms", "5"], "between 0 and 1, got 5.0; write 0.01"),
        (["threshold", "sorted/good/00.png", "sorted"], "expected a complete safetensors file"),
        (
            ["threshold", "parts.safetensors", "sorted", "--out", "no/a"],
            "which does not exist; make it first",
        ),
        (["score", "parts.safetensors", "sorted", "--false-alarms", "0.1"], "only where a detector learns"),
        (
            ["fit", "train", "--out", "a", "--false-alarms", "0.1", "--set", "contamination=0.1"],
            "which mean the same, got both",
        ),
    ],
)
def test_mistakes_are_answered_with_one_sentence(parts, capsys, arguments, words):
    before = {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()}
    assert main(arguments) == 2
    said = capsys.readouterr()
    problem = [line for line in said.err.splitlines() if line.startswith("minigan: expected ")]
    assert len(problem) == 1 and words in problem[0] and said.out == ""
    assert {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()} == before


def test_a_model_of_an_earlier_version_has_no_scores_to_choose_from(parts, capsys):
    detector = minigan.load("parts.safetensors")
    del detector.calibration_scores_
    detector.save("old.safetensors")
    assert main(["threshold", "old.safetensors", "--false-alarms", "0.1"]) == 2
    assert "expected a model with the scores of its held-out images" in capsys.readouterr().err
    assert len(find_images("sorted")) == 50
