"""Metrics: values worked out by hand, laws that hold for all scores, and clear errors."""

import numpy as np
import pytest
from helpers import raises_sentence
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from minigan import metrics

WHOLE = st.integers(-20, 20)  # few distinct values, so that ties are common


@st.composite
def labelled_scores(draw):
    """(labels, scores): both classes present, in any order, with ties."""
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=30))]
    labels = np.array(draw(st.permutations(labels)))
    return labels, np.array(draw(st.lists(WHOLE, min_size=len(labels), max_size=len(labels))), float)


def test_auroc_by_hand():
    # Pairs (anomaly, normal): 3>1, 3>2, 2>1 and 2=2, so (3 + 1/2) of 4.
    assert metrics.auroc([0, 0, 1, 1], [1, 2, 2, 3]) == 0.875
    assert metrics.auroc([0, 1], [0, 1]) == 1
    assert metrics.auroc([1, 0], [0, 1]) == 0
    assert metrics.auroc([0, 1, 1, 0], [7, 7, 7, 7]) == 0.5


def test_mean_auroc_by_hand():
    labels = [0, 1, 1, 0, 1, 0, 0, 1]
    scores = [1, 2, 0, 8, 9, 7, 5, 6]
    groups = ["a", "a", "a", "b", "b", "b", "c", "d"]
    assert metrics.mean_auroc(labels, scores, groups) == (1 / 2 + 2 / 2) / 2  # "c" and "d" have one kind each
    assert metrics.mean_auroc(labels, scores, np.zeros(8)) == metrics.auroc(labels, scores)
    with raises_sentence(ValueError, "expected a group with normal and anomalous images", "2 groups"):
        metrics.mean_auroc([0, 0, 1], [1, 2, 3], [5, 5, 6])
    with raises_sentence(ValueError, "expected groups of shape (3,)", "got (2,)"):
        metrics.mean_auroc([0, 0, 1], [1, 2, 3], [5, 5])


@given(st.integers(0, 2**31))
def test_mean_auroc_does_not_compare_groups_with_each_other(seed):
    rng = np.random.default_rng(seed)
    groups, labels = np.repeat([3, 7, 9], 20), np.tile([0, 1], 30)
    scores = rng.normal(size=60) + labels
    found = metrics.mean_auroc(labels, scores, groups)
    shifted = scores + 100 * groups
    assert found == pytest.approx(metrics.mean_auroc(labels, shifted, groups))
    each = [roc_auc_score(labels[groups == g], scores[groups == g]) for g in (3, 7, 9)]
    assert found == pytest.approx(np.mean(each))
    # All together, two thirds of the pairs now say only which group is higher.
    assert metrics.auroc(labels, shifted) == pytest.approx(found / 3 + 1 / 3)


def test_average_precision_by_hand():
    # From the highest score down: anomaly (precision 1), normal, anomaly (precision 2/3).
    assert metrics.average_precision([1, 0, 1, 0], [9, 8, 7, 1]) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.average_precision([0, 0, 0, 1], [5, 5, 5, 5]) == 0.25


def test_equal_error_by_hand():
    # At threshold 3: of the anomalies 3 and 5 are flagged, of the normal images 1 and 2 are not.
    assert metrics.equal_error([0, 0, 0, 1, 1, 1], [1, 2, 4, 0, 3, 5]) == (2 / 3, 2 / 3, 3)
    # Perfect scores: anywhere in the gap would do; the lowest anomaly is the threshold.
    assert metrics.equal_error([0, 0, 1, 1], [1, 2, 8, 9]) == (1, 1, 8)


def test_equal_error_ties_go_to_the_larger_sum_and_then_to_the_higher_threshold():
    # (tpr, tnr) is (1, 1/2) at threshold 2 and (1/2, 1) at 3: as close, and with the same sum.
    assert metrics.equal_error([0, 0, 1, 1], [1, 2, 2, 3]) == (1 / 2, 1, 3)
    assert metrics.equal_error([1, 0], [0, 5]) == (0, 0, 5)
    labels, scores = [0, 0, 1, 1, 1], [1, 4, 2, 3, 5]
    # 2: (1, 1/2); 3: (2/3, 1/2); 4: (1/3, 1/2); 5: (1/3, 1). The gaps at 3 and 4 are both 1/6.
    assert metrics.equal_error(labels, scores) == (2 / 3, 1 / 2, 3)
    assert metrics.equal_error([0, 1], [2, 2]) == (1, 0, 2)


@given(labelled_scores())
def test_agrees_with_scikit_learn(case):
    assert metrics.auroc(*case) == pytest.approx(roc_auc_score(*case))
    assert metrics.average_precision(*case) == pytest.approx(average_precision_score(*case))


@given(labelled_scores())
def test_negated_scores_and_swapped_labels_mirror_auroc(case):
    labels, scores = case
    value = metrics.auroc(labels, scores)
    assert 0 <= value <= 1
    assert metrics.auroc(labels, -scores) == pytest.approx(1 - value)
    assert metrics.auroc(1 - labels, scores) == pytest.approx(1 - value)


@given(labelled_scores(), st.randoms(use_true_random=False))
def test_only_the_order_of_the_scores_counts(case, random):
    labels, scores = case
    rising = np.exp(scores / 10) * 3 - 7
    order = np.array(random.sample(range(len(labels)), len(labels)))
    for metric in (metrics.auroc, metrics.average_precision):
        assert metric(labels, rising) == pytest.approx(metric(labels, scores))
        assert metric(labels[order], scores[order]) == pytest.approx(metric(labels, scores))
    tpr, tnr, threshold = metrics.equal_error(labels, scores)
    assert metrics.equal_error(labels, rising) == (tpr, tnr, pytest.approx(np.exp(threshold / 10) * 3 - 7))


@given(labelled_scores())
def test_equal_error_says_what_its_threshold_does_and_nothing_is_closer(case):
    labels, scores = case
    tpr, tnr, threshold = metrics.equal_error(labels, scores)
    flagged = scores >= threshold
    assert tpr == pytest.approx(flagged[labels == 1].mean())
    assert tnr == pytest.approx((~flagged[labels == 0]).mean())
    for other in scores:
        flagged = scores >= other
        gap = abs(flagged[labels == 1].mean() - (~flagged[labels == 0]).mean())
        assert abs(tpr - tnr) <= gap + 1e-12


def test_inputs_of_any_array_kind():
    torch = pytest.importorskip("torch")
    assert metrics.auroc(torch.tensor([0, 1]), torch.tensor([0.0, 1.0])) == 1
    assert metrics.auroc(np.array([False, True]), [0, 1]) == 1


def test_bootstrap_interval_is_repeatable_and_narrows():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    scores = rng.normal(labels, 1)
    low, high = metrics.bootstrap_interval(labels, scores, n=300)
    assert low < metrics.auroc(labels, scores) < high
    assert (low, high) == metrics.bootstrap_interval(labels, scores, n=300)
    assert (low, high) != metrics.bootstrap_interval(labels, scores, n=300, seed=1)
    narrower = metrics.bootstrap_interval(labels, scores, n=300, level=0.5)
    assert low < narrower[0] < narrower[1] < high
    few = metrics.bootstrap_interval(labels[::10], scores[::10], n=300)
    assert few[1] - few[0] > 2 * (high - low)


def test_bootstrap_interval_has_its_width_from_theory():
    """Hanley and McNeil's standard error of the AUROC, at 0.76 with 200 + 200 images: 0.024."""
    labels = np.repeat([0, 1], 200)
    low, high = metrics.bootstrap_interval(labels, np.random.default_rng(0).normal(labels, 1))
    assert (high - low) / (2 * 1.96) == pytest.approx(0.024, rel=0.15)


def test_bootstrap_draws_keep_the_number_of_each_class():
    labels = np.array([0, 0, 0, 1])
    shares = metrics.bootstrap_interval(labels, [1, 2, 3, 4], metric=lambda y, s: y.mean(), n=50)
    assert shares == (0.25, 0.25)
    assert metrics.bootstrap_interval(labels, [1, 2, 3, 4], n=50) == (1, 1)


def test_mean_interval():
    mean, low, high = metrics.mean_interval([0.8, 0.9, 1.0])
    assert mean == pytest.approx(0.9) and 0.8 <= low < 0.9 < high <= 1.0
    assert (mean, low, high) == metrics.mean_interval([0.8, 0.9, 1.0])
    assert metrics.mean_interval([0.7] * 5) == pytest.approx((0.7, 0.7, 0.7))
    mean, low, high = metrics.mean_interval([0.7])
    assert mean == 0.7 and np.isnan(low) and np.isnan(high)
    values = np.random.default_rng(0).normal(size=400)
    _, low, high = metrics.mean_interval(values)
    assert (high - low) / (2 * 1.96) == pytest.approx(1 / 20, rel=0.15)


@pytest.mark.parametrize("metric", [metrics.auroc, metrics.average_precision, metrics.equal_error])
@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([0, 0], [1, 2], ("normal and anomalous images", "got 2 labels of one kind")),
        ([1], [1], ("normal and anomalous images", "got 1 labels of one kind")),
        ([], [], ("normal and anomalous images", "got 0 labels")),
        ([0, 1], [1, np.nan], ("finite scores", "got 1 of 2")),
        ([0, 1], [np.inf, 1], ("finite scores", "got 1 of 2")),
        ([0, 1, 1], [1, 2], ("shape (n,)", "got (3,) and (2,)")),
        ([[0, 1]], [[1, 2]], ("shape (n,)", "got (1, 2) and (1, 2)")),
        ([0, 2], [1, 2], ("0 (normal) or 1 (anomalous)", "got 2")),
        ([-1, 1], [1, 2], ("0 (normal) or 1 (anomalous)", "got -1")),
    ],
)
def test_what_cannot_be_measured_is_said(metric, labels, scores, words):
    with raises_sentence(ValueError, *words):
        metric(labels, scores)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.mean_interval([]), ("at least one finite number", "got values of shape (0,)")),
        (lambda: metrics.mean_interval([0.5, np.nan]), ("at least one finite number", "shape (2,)")),
        (lambda: metrics.mean_interval([0.5, 0.6], level=95), ("a level between 0 and 1", "got 95")),
        (lambda: metrics.bootstrap_interval([0, 1], [0, 1], n=0), ("at least 1 draw", "got n = 0")),
        (lambda: metrics.bootstrap_interval([0, 0], [0, 1]), ("normal and anomalous", "of one kind")),
    ],
)
def test_intervals_say_what_they_expect(call, words):
    with raises_sentence(ValueError, *words):
        call()


# ---------------------------------------------------------------------- per-region overlap


def two_defects() -> np.ndarray:
    """A large defect of 16 pixels and a small one of 2, over a corner, in two images of 10 x 10."""
    masks = np.zeros((2, 10, 10), bool)
    masks[0, 2:6, 2:6] = True
    masks[1, 1, 1] = masks[1, 2, 2] = True
    return masks


def test_pro_counts_every_region_the_same():
    """Half of the large defect and all of the small one are found before any other pixel."""
    masks = two_defects()
    maps = np.zeros(masks.shape)
    maps[0, 2:4, 2:6], maps[1][masks[1]] = 2, 1
    # From (0, 0.75) on a straight line to (1, 1): all other pixels are found together.
    assert metrics.pro(masks, maps) == pytest.approx(0.75 + 0.25 * 0.3 / 2)
    assert metrics.pro(masks, maps, limit=1.0) == pytest.approx(0.75 + 0.25 / 2)
    assert metrics.pro(masks, masks.astype(float)) == 1
    missed = masks.astype(float)
    missed[1] = 0  # the small defect is a ninth of the marked pixels, and half of the regions
    assert metrics.pro(masks, missed) == pytest.approx(0.5 + 0.5 * 0.3 / 2)


def test_pro_by_hand_up_to_its_limit():
    """One row of ten pixels, two of them marked, the second and the fourth hottest."""
    masks, maps = np.zeros((1, 1, 10), bool), np.arange(10.0, 0, -1).reshape(1, 1, 10)
    masks[0, 0, [1, 3]] = True  # two regions of one pixel
    # Rates: (1/8, 0), (1/8, 1/2), (2/8, 1/2), (2/8, 1), ...; the area up to 0.3 is that of two rectangles.
    assert metrics.pro(masks, maps) == pytest.approx((0.5 / 8 + 1 * 0.05) / 0.3)
    assert metrics.pro(masks, maps, limit=0.2) == pytest.approx(0.5 * 0.075 / 0.2)
    assert metrics.pro(masks, -maps) == pytest.approx(0)


def test_pro_of_noise_is_half_the_limit():
    rng = np.random.default_rng(0)
    masks = rng.random((20, 32, 32)) < 0.02
    assert metrics.pro(masks, rng.random(masks.shape)) == pytest.approx(0.15, abs=0.02)


def test_what_pro_cannot_measure():
    masks, maps = two_defects(), np.zeros((2, 10, 10))
    for wrong, words in (
        ((masks[0], maps[0]), "expected masks and maps of one shape"),
        ((masks, maps[:1]), "expected masks and maps of one shape"),
        ((masks & False, maps), "expected marked and unmarked pixels"),
        ((masks | True, maps), "expected marked and unmarked pixels"),
        ((masks, maps + np.nan), "expected finite heat maps"),
    ):
        with raises_sentence(ValueError, words):
            metrics.pro(*wrong)
    with raises_sentence(ValueError, "expected limit to lie above 0"):
        metrics.pro(masks, maps, limit=0)
