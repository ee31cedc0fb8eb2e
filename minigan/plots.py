"""Figures in the book's style: histograms of scores, ROC curves, image grids, training curves, results.

In every figure blue is normal, vermilion is anomalous and green is generated. Readers with any kind of
colour vision can distinguish the three (Okabe and Ito, https://jfly.uni-koeln.de/color). Labels stand beside
what they name.

Every function draws on the axes that it gets (`ax`), or on new ones, and returns them. It sets no title: the
caller knows what the figure shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import roc_curve

from minigan.checks import require
from minigan.flipbook import FlipBook as FlipBook  # these three are part of the public names here
from minigan.flipbook import figure_png as figure_png
from minigan.flipbook import flip_book as flip_book
from minigan.images import as_tensor
from minigan.metrics import auroc

NORMAL = "#0072B2"  # blue
ANOMALOUS = "#D55E00"  # vermilion
FAKE = "#009E73"  # green: generated images or points
GREY = "#595959"
#: Colours of lines that are neither normal nor anomalous (losses, methods), dark enough for text.
LINES = ("#332288", "#AA4499", "#117733", "#882255", "#4D4D4D", "#806000")
#: Blue below the threshold, white at it, vermilion above it; pale, so that points stay visible on it.
FIELD_COLORS = LinearSegmentedColormap.from_list("field", ["#5AA9D6", "#FFFFFF", "#F0955A"])


def use_style() -> None:
    """The book's style: sets matplotlib's defaults; call it once, at the top of a notebook."""
    plt.rcParams.update(
        {
            "figure.dpi": 90,
            "figure.figsize": (6.0, 3.6),  # inches; the letters stay readable on a phone
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 12,
            "axes.titlesize": 13,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": GREY,
            "axes.prop_cycle": plt.cycler(color=LINES),
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "xtick.color": GREY,
            "ytick.color": GREY,
        }
    )


def color_of(name: str) -> str:
    """The colour of a group by its name: "fake anomalous" -> ANOMALOUS, "fake" -> FAKE, "real" -> NORMAL."""
    meanings = {ANOMALOUS: ("anomal",), FAKE: ("fake", "generated"), NORMAL: ("normal", "real")}
    for color, words in meanings.items():
        if any(word in name.lower() for word in words):
            return color
    return GREY


def image_grid(
    images: object,
    columns: int | None = None,
    scale: int | None = None,
    titles: Sequence[str] | None = None,
    borders: Sequence[int | str | None] | np.ndarray | None = None,
    pad: int = 6,
) -> Image.Image:
    """Image grid: many images as one picture, row by row, enlarged without smoothing.

    As a PNG it is far smaller than a matplotlib figure with axes around every image.

    Args:
        images: any form that `images.as_tensor` takes, for instance (n, h, w) uint8.
        columns: images in a row; at most ten when not given.
        scale: screen pixels per image pixel; when not given, images become about 64 pixels wide.
        titles: a line of text above each row.
        borders: per image a label (0 normal, 1 anomalous), a colour, or None for no border.
        pad: pixels between images; a border fills half of them.
    """
    x = as_tensor(images)
    require(x.ndim == 4, f"expected images, got shape {tuple(x.shape)}; pass a single one as x[None]")
    if x.is_floating_point():
        x = ((x + 1) * 127.5).round().to(torch.uint8)
    pixels = x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()  # (n, h, w, 3)
    n, height, width, _ = pixels.shape
    columns = columns or min(n, 10)
    rows = math.ceil(n / columns)
    if titles is not None:
        require(len(titles) == rows, f"expected a title for each of {rows} rows, got {len(titles)}")
    if borders is not None:
        require(len(borders) == n, f"expected a border for each of {n} images, got {len(borders)}")

    scale = scale or max(1, round(64 / width))
    height, width = height * scale, width * scale
    font_size = max(14, columns * (width + pad) // 36)  # readable on a phone, too
    font = ImageFont.load_default(font_size)
    line = 0 if titles is None else math.ceil(1.5 * font_size)
    step = height + pad + line
    sheet = Image.new("RGB", (columns * (width + pad) + pad, rows * step + pad), "white")
    draw = ImageDraw.Draw(sheet)
    for row, title in enumerate([] if titles is None else titles):
        draw.text((pad, row * step + pad), title, fill="#222222", font=font)
    for i, image in enumerate(pixels):
        left, top = pad + i % columns * (width + pad), pad + i // columns * step + line
        border = None if borders is None else borders[i]
        if border is not None:
            color = border if isinstance(border, str) else {0: NORMAL, 1: ANOMALOUS}[int(border)]
            edge, right, bottom = pad // 2, left + width - 1, top + height - 1
            draw.rectangle((left - edge, top - edge, right + edge, bottom + edge), color)
        enlarged = Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (left, top))
    return sheet


def score_histogram(
    scores: ArrayLike, labels: ArrayLike, threshold: float | None = None, ax: Axes | None = None
) -> Axes:
    """Histograms of the anomaly scores of normal (label 0) and anomalous (label 1) images.

    Bars are fractions of their own class, so that a rare class is as visible as a common one.
    """
    scores, labels = _array(scores), _array(labels)
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
        ax.text(threshold, 0.86, "threshold", transform=ax.get_xaxis_transform(), ha="center")
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
    labels = _array(labels)
    given = scores if isinstance(scores, Mapping) else {"AUROC": scores}
    curves = {name: _array(values) for name, values in given.items()}
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
    values = _array(score(plane)).astype(float)
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
        across, upwards = _array(xy).T
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


def results_dots(
    frame: pd.DataFrame,
    group: str | None = None,
    highlight: str | None = None,
    label: str = "AUROC",
    ax: Axes | Sequence[Axes] | None = None,
) -> Axes | list[Axes]:
    """Dot plot of results: a row for each method, a dot at the mean, a line over its interval.

    The best method of the first panel is at the top.

    Args:
        frame: columns "method", "mean", "low", "high"; a NaN mean is shown as missing.
        group: one more column; each of its values gets its own panel, all with the same rows.
        highlight: the method that the figure is about.
        label: the name of the metric.
        ax: the axes to draw on; new ones when not given. With `group`, a list of axes, and the result is a
            list, too.
    """
    columns = ["method", "mean", "low", "high"]
    if group is not None:
        columns.append(group)
    require(set(columns) <= set(frame.columns), f"expected the columns {columns}, got {list(frame.columns)}")
    panels = [("", frame)] if group is None else list(frame.groupby(group, sort=False))
    first = panels[0][1].set_index("method")["mean"].reindex(frame["method"].unique())
    order = first.sort_values(na_position="first").index
    if ax is None:
        size = (2.5 + 3.0 * len(panels), 1.0 + 0.34 * len(order))
        ax = plt.subplots(1, len(panels), sharex=True, sharey=True, figsize=size)[1]
    axes = list(np.ravel(ax))
    for axis, (name, panel) in zip(axes, panels, strict=True):
        rows = panel.set_index("method")[["mean", "low", "high"]].reindex(order)
        for y, (method, mean, low, high) in enumerate(rows.itertuples()):
            color, weight = (LINES[0], "bold") if method == highlight else (GREY, "normal")
            axis.plot([low, high], [y, y], color=color)
            axis.plot([mean], [y], "o", markersize=8, color=color)
            style = {"color": color, "weight": weight, "va": "center"}
            text = "missing" if np.isnan(mean) else f"{mean:.3f}"
            axis.text(1.03, y, text, transform=axis.get_yaxis_transform(), **style)
        axis.set_yticks(range(len(order)), order)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="#E5E5E5")
        axis.set(xlabel=label, ylim=(-0.6, len(order) - 0.4), title=name)
    return axes[0] if group is None else axes


def published_and_ours(
    rows: pd.DataFrame, names: Sequence[str], xlabel: str = "AUROC", ax: Axes | None = None
) -> Axes:
    """Dot plot of published results (open diamonds) and our own (dots), one line for each result.

    Args:
        rows: rows of `report.comparison` or `report.by_method`: "published", "ours", "low" and "high". Where
            "ours" is missing, the figure says "not run", or "no run declared" if "of" or "of_runs" is 0.
        names: one for each row, from the top.
        xlabel: the name of the metric.
        ax: the axes to draw on; new ones when not given.
    """
    require(
        len(rows) == len(names) and len(rows) > 0,
        f"expected a name for each of one row or more, got {len(names)} names for {len(rows)} rows",
    )
    ax = ax or plt.subplots(figsize=(6.5, 0.9 + 0.32 * len(rows)))[1]
    y = np.arange(len(rows))
    ours, low, high = (rows[name].to_numpy(float) for name in ("ours", "low", "high"))
    ax.hlines(y, low, high, color=LINES[0], linewidth=1.5)
    ax.plot(ours, y, "o", color=LINES[0], markersize=8, label="ours", clip_on=False)
    style = {"color": LINES[1], "markerfacecolor": "white", "markersize": 8, "clip_on": False}
    ax.plot(rows["published"].to_numpy(float), y, "D", label="printed", **style)
    declared = rows.get("of", rows.get("of_runs", pd.Series(1, rows.index))).to_numpy()
    for at in y[np.isnan(ours)]:
        text = "not run" if declared[at] else "no run declared"
        ax.text(1.04, at, text, transform=ax.get_yaxis_transform(), va="center", color=GREY)
    lowest = np.nanmin([*ours, *low, *rows["published"], 1.0])
    ax.set(yticks=y, yticklabels=names, ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    ax.set_xlim(min(0.5, np.floor(lowest * 10) / 10), 1)
    ax.axvline(0.5, color="#BBBBBB", linestyle=":")
    ax.grid(axis="y", color="#EEEEEE")
    ax.set_axisbelow(True)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return ax


def _array(values: object) -> np.ndarray:
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
