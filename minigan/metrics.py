"""How well scores tell anomalies from normal images.

Everywhere: `labels` are (n,), 0 normal and 1 anomalous; `scores` are (n,), higher is more anomalous.
Both classes must be present. Input that cannot be measured raises a ValueError that says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score


class EqualError(NamedTuple):
    """Rates at the threshold where they are closest; all shares lie in [0, 1]."""

    tpr: float  # share of the anomalies that are flagged
    tnr: float  # share of the normal images that are not
    threshold: float  # an image is flagged when its score >= threshold


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The chance that an anomaly scores higher than a normal image; a tie counts half.

    1 is perfect, 0.5 is guessing, 0 is perfectly wrong. It does not depend on any threshold,
    nor on how rare anomalies are.
    """
    labels, scores = _check(labels, scores)
    # The rank-sum form; scikit-learn's roc_auc_score gives the same, too slowly for the bootstrap.
    anomalies, normals = labels.sum(), len(labels) - labels.sum()
    ranks = rankdata(scores)[labels == 1]  # from 1; ties share their mean rank
    return float((ranks.sum() - anomalies * (anomalies + 1) / 2) / (anomalies * normals))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision averaged over the anomalies, each at the threshold that just flags it.

    1 is perfect; guessing gives the share of anomalies, so compare it on the same test set only.
    """
    return float(average_precision_score(*_check(labels, scores)))


def equal_error(labels: ArrayLike, scores: ArrayLike) -> EqualError:
    """True positive and true negative rate at the threshold where the two are closest.

    The threshold is one of the scores. With finitely many images the rates seldom meet exactly;
    where several thresholds are equally close, the one with the largest sum of the rates is taken,
    and among those the highest.
    """
    labels, scores = _check(labels, scores)
    normal, anomalous = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
    thresholds = np.unique(scores)  # (k,)
    kept = np.searchsorted(normal, thresholds)  # normal images below the threshold
    flagged = len(anomalous) - np.searchsorted(anomalous, thresholds)
    # Both rates times both class sizes: whole numbers, so that ties are ties.
    tnr, tpr = kept * len(anomalous), flagged * len(normal)
    best = np.lexsort((-thresholds, -(tpr + tnr), abs(tpr - tnr)))[0]
    return EqualError(
        tpr=float(flagged[best] / len(anomalous)),
        tnr=float(kept[best] / len(normal)),
        threshold=float(thresholds[best]),
    )


def bootstrap_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    metric: Callable[[np.ndarray, np.ndarray], float] = auroc,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """(low, high) of a metric over `n` test sets drawn with replacement from this one.

    Normal images and anomalies are drawn separately, so every draw has as many of each as came.
    The interval says how much the choice of test images matters, and nothing about another
    training run: for that, train several times and use `mean_interval`.
    """
    labels, scores = _check(labels, scores)
    _check_draws(n, level)
    rng = np.random.default_rng(seed)
    normal, anomalous = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    values = []
    for _ in range(n):
        drawn = np.r_[rng.choice(normal, len(normal)), rng.choice(anomalous, len(anomalous))]
        values.append(metric(labels[drawn], scores[drawn]))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(
    values: ArrayLike, n: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """(mean, low, high) of one number per run, such as the AUROC of each seed.

    The interval is a bootstrap of the mean. It is too narrow for a handful of runs, and
    from a single run nothing can be said about the spread: low and high are then NaN.
    """
    values = np.asarray(values, dtype=float)
    _check_draws(n, level)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"values of shape {values.shape} came; a list of at least one finite number is wanted."
        )
    if len(values) == 1:
        return float(values[0]), np.nan, np.nan
    means = np.random.default_rng(seed).choice(values, (n, len(values))).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)


def _check(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(n,) labels in {0, 1}, both present, and (n,) finite scores; else one clear sentence."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(
            f"labels of shape {labels.shape} and scores of shape {scores.shape} came; "
            "give one label and one score for each image, both of shape (n,)."
        )
    if not np.isin(labels, (0, 1)).all():
        other = np.setdiff1d(labels, (0, 1))[0]
        raise ValueError(f"there is a label {other}; labels must be 0 (normal) or 1 (anomalous).")
    if not np.isfinite(scores).all():
        raise ValueError(
            f"{(~np.isfinite(scores)).sum()} of {len(scores)} scores are not finite numbers; "
            "look at the detector that made them."
        )
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"all {len(labels)} labels are the same; a metric needs normal and anomalous images."
        )
    return labels.astype(np.int64), scores


def _check_draws(n: int, level: float) -> None:
    if n < 1 or not 0 < level < 1:
        raise ValueError(f"n = {n} and level = {level} came; n >= 1 and 0 < level < 1 are wanted.")
