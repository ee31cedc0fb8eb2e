"""Metrics of anomaly detection: how well scores separate anomalies from normal images.

Everywhere: `labels` are (n,), 0 normal and 1 anomalous; `scores` are (n,), higher is more anomalous.
Both classes must be present. Input that cannot be measured raises a ValueError that says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.integrate import trapezoid
from scipy.stats import binomtest, rankdata

from minigan.checks import require


class EqualError(NamedTuple):
    """Rates at the threshold where they are closest; both lie in [0, 1]."""

    tpr: float  # fraction of the anomalies that are flagged
    tnr: float  # fraction of the normal images that are not
    threshold: float  # an image is flagged when its score >= threshold


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the probability that an anomaly scores higher than a normal image.

    A tie counts half. 1 is perfect, 0.5 is chance, 0 is perfectly wrong. It depends neither on a threshold
    nor on how rare anomalies are. With n_a anomalies, n_n normal images and ranks from 1 over all scores:

        AUROC = (sum of the anomalies' ranks - n_a (n_a + 1) / 2) / (n_a n_n)
    """
    return float(_auroc(*_check(labels, scores)))


def mean_auroc(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> float:
    """Mean over groups of images, such as species of leaves, of the AUROC within each group.

    `groups` (n,) says which image is of which group. A group without both kinds of images is left out. The
    AUROC over all images together is another number: it also compares an anomaly of one group with a normal
    image of another, and changes when the scores of one group are higher throughout.

    Raises:
        ValueError: beside what all metrics refuse, no group has images of both kinds.
    """
    labels, scores = _check(labels, scores)
    groups = np.asarray(groups)
    require(
        groups.shape == labels.shape,
        f"expected groups of shape {labels.shape}, got {groups.shape}; give the group of each image",
    )
    parts = [groups == group for group in np.unique(groups)]
    found = [auroc(labels[part], scores[part]) for part in parts if len(np.unique(labels[part])) == 2]
    require(
        len(found) > 0,
        f"expected a group with normal and anomalous images, got {len(parts)} groups of one kind each; use "
        "auroc, over all images",
    )
    return float(np.mean(found))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve: precision averaged over the anomalies.

    Each anomaly counts with the precision at the threshold that just flags it. With the thresholds from high
    to low, AP = sum over k of (recall_k - recall_{k-1}) precision_k. 1 is perfect; chance gives the fraction
    of anomalies, so compare it on the same test set only.
    """
    from sklearn.metrics import average_precision_score  # here, because ONNX files are scored without it

    return float(average_precision_score(*_check(labels, scores)))


def equal_error(labels: ArrayLike, scores: ArrayLike) -> EqualError:
    """Equal error rate: true positive and true negative rate at the threshold where the two are closest.

    The threshold minimises |TPR - TNR| over all scores. With finitely many images the rates are rarely equal;
    where several thresholds are equally good, the one with the largest TPR + TNR is taken, and among those
    the highest.
    """
    labels, scores = _check(labels, scores)
    normal, anomalous = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
    thresholds = np.unique(scores)  # (k,)
    passed = np.searchsorted(normal, thresholds)  # normal images below the threshold
    flagged = len(anomalous) - np.searchsorted(anomalous, thresholds)
    # Both rates times both class sizes: whole numbers, so that ties are ties.
    tnr, tpr = passed * len(anomalous), flagged * len(normal)
    best = np.lexsort((-thresholds, -(tpr + tnr), abs(tpr - tnr)))[0]
    return EqualError(
        tpr=float(flagged[best] / len(anomalous)),
        tnr=float(passed[best] / len(normal)),
        threshold=float(thresholds[best]),
    )


def best_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """Threshold that tells normal images and anomalies apart best: it maximises TPR + TNR (Youden's J).

    Both kinds of mistakes count by their rates, so it does not depend on how many images of each kind there
    are. An image is flagged when its score is above the threshold, which lies halfway between two scores. Of
    several equally good ones it is the highest, which flags the fewest normal images.
    """
    labels, scores = _check(labels, scores)
    levels = np.unique(scores)  # (k,), ascending
    normal, anomalous = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
    # For a threshold just above each level. Above the highest one nothing is flagged.
    passed = np.searchsorted(normal, levels, side="right")
    flagged = len(anomalous) - np.searchsorted(anomalous, levels, side="right")
    # The sum of both rates times both class sizes: whole numbers, so that ties are ties.
    quality = passed * len(anomalous) + flagged * len(normal)
    best = len(levels) - 1 - int(quality[::-1].argmax())
    if best == len(levels) - 1:
        return float(levels[-1])
    low, high = levels[best : best + 2]
    middle = low + (high - low) / 2
    return float(middle if middle < high else low)  # neighbours among floating point numbers


def pro(masks: ArrayLike, maps: ArrayLike, limit: float = 0.3) -> float:
    """Per-region overlap (PRO): how much of each defect heat maps find, however small the defect is.

    For every threshold, the fraction of each marked region that lies above it, averaged over the regions, is
    drawn against the false positive rate of the unmarked pixels; the score is the area under that curve up to
    the rate `limit`, divided by `limit`: 1 for perfect maps, about `limit` / 2 for random ones. A pixel AUROC
    counts pixels, so that one large defect outweighs many scratches; here every region counts the same.

    Args:
        masks: (n, h, w), True or above 0 where a pixel is marked; a region is what is connected, also over
            corners, within an image.
        maps: (n, h, w) heat, higher = more anomalous.
        limit: the highest false positive rate that counts, above 0 and at most 1.

    Raises:
        ValueError: shapes that do not fit, no marked or no unmarked pixel, a value that is not finite.

    Source: Bergmann et al. 2020, "Uninformed students", section 4.1, where `limit` is 0.3.
    """
    marked, heat = np.asarray(masks) > 0, np.asarray(maps, dtype=float)
    require(
        marked.ndim == 3 and marked.shape == heat.shape,
        f"expected masks and maps of one shape (n, h, w), got {marked.shape} and {heat.shape}",
    )
    require(bool(np.isfinite(heat).all()), "expected finite heat maps, got NaN or infinite values")
    require(0 < limit <= 1, f"expected limit to lie above 0 and not above 1, got {limit}")
    require(
        bool(marked.any()) and not marked.all(),
        "expected marked and unmarked pixels, got one of the two kinds alone; pass masks of defects",
    )
    # Each marked pixel weighs as a part of its region; from the hottest pixel on, both rates only grow.
    weights = np.zeros(marked.shape)
    n_regions = 0
    for mask, weight in zip(marked, weights, strict=True):
        regions, n = ndimage.label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(regions.ravel(), minlength=n + 1)
        weight[mask] = 1 / sizes[regions[mask]]
        n_regions += n
    order = np.argsort(-heat, axis=None, kind="stable")
    falling = heat.ravel()[order]
    last = np.append(falling[1:] != falling[:-1], True)  # pixels of equal heat are found together
    overlap = np.append(0.0, np.cumsum(weights.ravel()[order])[last] / n_regions)
    false = np.append(0.0, np.cumsum(~marked.ravel()[order])[last] / (~marked).sum())
    inside = false < limit
    x = np.append(false[inside], limit)
    return float(trapezoid(np.append(overlap[inside], np.interp(limit, false, overlap)), x) / limit)


def bootstrap_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    metric: Callable[[np.ndarray, np.ndarray], float] = auroc,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval (low, high) of a metric over `n` test sets drawn with replacement from this one.

    Normal images and anomalies are drawn separately, so every draw has as many of each as the test set. `low`
    and `high` are the (1 - level) / 2 and (1 + level) / 2 quantiles of the metric. The interval says how much
    the choice of test images matters, and nothing about another training run: for that, train several times
    and use `mean_interval`.
    """
    labels, scores = _check(labels, scores)
    _check_draws(n, level)
    rng = np.random.default_rng(seed)
    normal, anomalous = scores[labels == 0], scores[labels == 1]
    labels = np.repeat([0, 1], [len(normal), len(anomalous)])

    def drawn() -> np.ndarray:  # the scores of a test set, (n,)
        return np.concatenate([rng.choice(normal, len(normal)), rng.choice(anomalous, len(anomalous))])

    values: list[float] = []
    while len(values) < n:
        if metric is auroc:  # of many test sets at once, in a tenth of the time
            some = min(max(1, 1_000_000 // len(labels)), n - len(values))
            values.extend(_auroc(labels, np.array([drawn() for _ in range(some)])))
        else:
            values.append(metric(labels, drawn()))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(
    values: ArrayLike, n: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Bootstrap interval (mean, low, high) of the mean of one number per run, such as the AUROC of each seed.

    `low` and `high` are the (1 - level) / 2 and (1 + level) / 2 quantiles of the means of `n` draws of as
    many runs, with replacement. The interval is too narrow for a handful of runs, and a single run says
    nothing about the spread: low and high are then NaN.
    """
    values = np.asarray(values, dtype=float)
    _check_draws(n, level)
    require(
        values.ndim == 1 and len(values) > 0 and bool(np.isfinite(values).all()),
        f"expected a list of at least one finite number, got values of shape {values.shape}; give one number "
        "for each run",
    )
    if len(values) == 1:
        return float(values[0]), np.nan, np.nan
    means = np.random.default_rng(seed).choice(values, (n, len(values))).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)


def flagged_interval(scores: ArrayLike, threshold: float, level: float = 0.9) -> tuple[float, float]:
    """False alarm rate of a threshold: interval (low, high) of the fraction of new normal images above it.

    `scores` (n,) are those of the normal images that the threshold comes from, none of which was trained on.
    If k of the n lie above it, the rate of new images lies between the quantiles of Beta(k, n - k + 1) and
    Beta(k + 1, n - k), with a probability of at least `level` and whatever the distribution of the scores is
    (Clopper and Pearson). That is exact also for a threshold that is one of these scores, as a quantile is.
    """
    scores = np.asarray(scores, dtype=float)
    _check_draws(1, level)
    require(
        scores.ndim == 1 and len(scores) > 0,
        f"expected a list of at least one score, got shape {scores.shape}; score held-out normal images",
    )
    interval = binomtest(int((scores > threshold).sum()), len(scores)).proportion_ci(level)
    return float(interval.low), float(interval.high)


def _auroc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """AUROC of each row of scores, (..., n) -> (...); all rows have the labels (n,)."""
    # scikit-learn's roc_auc_score gives the same, but too slowly for the bootstrap.
    n_a = labels.sum()
    n_n = len(labels) - n_a
    ranks = rankdata(scores, axis=-1)[..., labels == 1]  # ties have their mean rank
    return (ranks.sum(axis=-1) - n_a * (n_a + 1) / 2) / (n_a * n_n)


def _check(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(n,) labels in {0, 1}, both present, and (n,) finite scores; anything else is a ValueError."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    require(
        labels.ndim == 1 and labels.shape == scores.shape,
        f"expected labels and scores of shape (n,), got {labels.shape} and {scores.shape}; give one label "
        "and one score for each image",
    )
    if not np.isin(labels, (0, 1)).all():
        other = np.setdiff1d(labels, (0, 1))[0]
        raise ValueError(
            f"expected labels 0 (normal) or 1 (anomalous), got {other}; count every kind of anomaly as 1"
        )
    unusable = int((~np.isfinite(scores)).sum())
    require(
        unusable == 0,
        f"expected finite scores, got {unusable} of {len(scores)} that are not; examine the detector that "
        "made them",
    )
    require(
        len(np.unique(labels)) == 2,
        f"expected normal and anomalous images, got {len(labels)} labels of one kind; give both kinds",
    )
    return labels.astype(np.int64), scores


def _check_draws(n: int, level: float) -> None:
    require(n >= 1, f"expected at least 1 draw, got n = {n}; 1000 is a good choice")
    require(0 < level < 1, f"expected a level between 0 and 1, got {level}; 0.95 is a good choice")
