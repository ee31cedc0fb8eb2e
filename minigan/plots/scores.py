"""Scores and trainings: histograms, ROC curves, maps of the plane, training curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import roc_curve

from minigan.checks import require
from minigan.metrics import auroc
from minigan.plots.style import ANOMALOUS, FAKE, FIELD_COLORS, GREY, LINES, NORMAL, as_array, color_of


def score_histogram(
    scores: ArrayLike, labels: ArrayLike, threshold: float | None = None, ax: Axes | None = None
) -> Axes:
    """Histograms of the anomaly scores of normal (label 0) and anomalous (label 1) images.

    Bars are fractions of their own class, so that a rare class is as visible as a common one.
    """
    scores, labels = as_array(scores), as_array(labels)
    require(
        scores.ndim == 1 and scores.shape == labels.shape and bool(np.isfinite(scores).all()),
        f"expected a finite score and a label for each image, got {np.isfinite(scores).sum()} finite "
        f"scores in an array of shape {scores.shape} and labels of shape {labels.shape}",
    )
    ax = ax or plt.subplots()[1]
    edges = np.histogram_bin_edges(scores, bins=30)
    groups = [("normal", scores[labels == 0]), ("anomalous", scores[labels == 1])]
    groups = [(name, values) for name, values in groups if len(values)]
    for name, values in groups:
        weights = np.full(len(values), 1 / len(values))  # bars of a class sum to 1
        ax.hist(values, edges, weights=weights, color=color_of(name), alpha=0.55, histtype="stepfilled")
    # The names stand above the bars, in the order of the classes on the axis.
    ax.set_ylim(top=1.25 * ax.get_ylim()[1])
    groups.sort(key=lambda group: np.median(group[1]))
    for (name, values), x, side in zip(groups, (0.01, 0.99), ("left", "right"), strict=False):
        style = {"ha": side, "va": "top", "color": color_of(name), "weight": "bold"}
        ax.text(x, 1.0, f"{name} ({len(values)})", transform=ax.transAxes, **style)
    if threshold is not None:
        ax.axvline(threshold, 0, 0.85, color="black", linestyle="--", linewidth=1.5)
        low, high = ax.get_xlim()
        side = "left" if threshold < low + 0.1 * (high - low) else "center"  # not over the other axis
        ax.text(threshold, 0.86, "threshold", transform=ax.get_xaxis_transform(), ha=side)
    ax.set(xlabel="anomaly score", ylabel="fraction of the class")
    return ax


def roc(
    labels: ArrayLike,
    scores: ArrayLike | Mapping[str, ArrayLike],
    threshold: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """ROC curves, each named with its AUROC: the true positive rate against the false positive rate.

    Args:
        labels: (n,) of 0 (normal) and 1 (anomalous).
        scores: (n,) anomaly scores, or name -> scores for one curve each.
        threshold: a dot marks the two rates when images that score at least this are predicted anomalous.
        ax: the axes to draw on; new ones when not given.
    """
    labels = as_array(labels)
    given = scores if isinstance(scores, Mapping) else {"AUROC": scores}
    curves = {name: as_array(values) for name, values in given.items()}
    areas = {name: auroc(labels, values) for name, values in curves.items()}
    ax = ax or plt.subplots(figsize=(4.5, 4.5))[1]
    ax.plot([0, 1], [0, 1], color="#BBBBBB", linestyle=":")
    # Curves end in two corners; their names are written in the empty one below, the best at the top.
    colors = dict(zip(curves, cycle(LINES), strict=False))
    for i, name in enumerate(sorted(areas, key=areas.get)):
        color = colors[name]
        ax.plot(*roc_curve(labels, curves[name])[:2], color=color, clip_on=False)
        text = f"{name} {areas[name]:.3f}"
        ax.text(0.99, 0.03 + 0.075 * i, text, color=color, ha="right", weight="bold")
        if threshold is not None:
            flagged = curves[name] >= threshold
            false_alarms, found = flagged[labels == 0].mean(), flagged[labels == 1].mean()
            dot: dict[str, Any] = {"markersize": 10, "markeredgecolor": "white", "clip_on": False}
            ax.plot(false_alarms, found, "o", color=color, **dot)
    if isinstance(scores, Mapping):
        ax.text(0.99, 0.03 + 0.075 * len(areas), "AUROC", color=GREY, ha="right")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set(xlabel="fraction of normal images flagged", ylabel="fraction of anomalies found")
    return ax


def field(
    score: Callable[[np.ndarray], ArrayLike],
    bounds: tuple[float, float, float, float] = (-4, 4, -4, 4),
    resolution: int = 100,
    points: Mapping[str, ArrayLike] | None = None,
    threshold: float = 0.5,
    levels: int | Sequence[float] = 10,
    ax: Axes | None = None,
) -> Axes:
    """Map of the anomaly score over the plane, with sets of points on top.

    Args:
        score: (m, 2) float32 -> (m,) scores, higher = more anomalous.
        bounds: left, right, bottom, top.
        resolution: points along each side at which the score is computed.
        points: name -> (n, 2); the colour follows from the name, see `color_of`.
        threshold: the score that is drawn white, with a black line along it.
        levels: the number of bands, spread evenly around the threshold, or their edges. Pass edges
            when several maps share one scale.
        ax: the axes to draw on; new ones when not given.
    """
    left, right, bottom, top = bounds
    x, y = np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)
    plane = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
    values = as_array(score(plane)).astype(float)
    require(
        values.size == len(plane) and bool(np.isfinite(values).all()),
        f"expected score to return {len(plane)} finite numbers, one for each point, got "
        f"{np.isfinite(values).sum()} finite ones in an array of shape {values.shape}",
    )
    if isinstance(levels, int):
        reach = np.abs(values - threshold).max() or 1.0
        edges = list(np.linspace(threshold - reach, threshold + reach, levels + 1))
    else:
        edges = list(levels)
    require(
        edges[0] < threshold < edges[-1],
        f"expected levels around the threshold {threshold:g}, got {edges}",
    )
    ax = ax or plt.subplots(figsize=(4.5, 4.5))[1]
    values = values.reshape(resolution, resolution)
    norm = TwoSlopeNorm(threshold, edges[0], edges[-1])
    ax.contourf(x, y, values, edges, cmap=FIELD_COLORS, norm=norm, extend="both")
    if values.min() < threshold < values.max():
        ax.contour(x, y, values, [threshold], colors="black", linewidths=1.2, linestyles="solid")
    markers = {NORMAL: "o", FAKE: "^", ANOMALOUS: "X", GREY: "s"}
    for name, xy in (points or {}).items():
        style: dict[str, Any] = {"color": color_of(name), "edgecolors": "white", "linewidths": 0.5}
        across, upwards = as_array(xy).T
        ax.scatter(across, upwards, s=24, marker=markers[color_of(name)], label=name, **style)
    if points:
        style = {"frameon": True, "edgecolor": "white", "handletextpad": 0.1, "borderpad": 0.2}
        ax.legend(loc="upper left", fontsize="small", markerscale=1.4, borderaxespad=0.3, **style)
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    return ax


def history(frame: pd.DataFrame, columns: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Training curves: columns of a detector's `history_` (a row per epoch) as lines with their names.

    The names stand at the right ends of the lines, placed for the current limits of the axes: set other
    limits before.
    """
    columns = list(frame.columns if columns is None else columns)
    require(
        set(columns) <= set(frame.columns), f"expected columns out of {list(frame.columns)}, got {columns}"
    )
    lines = {name: frame[name].dropna() for name in columns}  # some are measured only every few epochs
    lines = {name: line for name, line in lines.items() if len(line)}
    require(bool(lines), f"expected numbers in the columns {columns}, got none; fit a detector first")
    ax = ax or plt.subplots()[1]
    ax.margins(x=0)
    drawn = []  # height of the line's end, its name and its colour
    for (name, line), color in zip(lines.items(), cycle(LINES), strict=False):
        ax.plot(line.index, line, color=color, marker="o" if len(line) == 1 else None, label=name)
        drawn.append((float(line.iloc[-1]), name, color))
    # Names stand at the height of the lines' ends, moved apart where they would overlap.
    ax.get_ylim()  # matplotlib scales an axis only when its limits are requested
    gap = 1.3 * plt.rcParams["font.size"] * ax.figure.dpi / 72  # pixels
    drawn.sort(key=lambda line: line[0])
    ends = np.array([ax.transData.transform((0, end))[1] for end, _, _ in drawn])
    rank = gap * np.arange(len(ends))
    places = isotonic_regression(ends - rank) + rank  # the nearest places at least a gap apart
    for (_, name, color), place in zip(drawn, places, strict=True):
        style = {"color": color, "va": "center", "weight": "bold"}
        height = ax.transAxes.inverted().transform((0, place))[1]
        ax.text(1.02, height, name, transform=ax.transAxes, **style)
    ax.set_xlabel(frame.index.name or "epoch")
    return ax
