"""Results of many runs: dot plots with intervals, panels, the square of class ranks, coloured tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pandas.io.formats.style import Styler

from minigan.checks import require
from minigan.metrics import mean_interval
from minigan.names import named, readable
from minigan.plots.style import FIELD_COLORS, GREY, LINES


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
        axis.set_yticks(range(len(order)), [readable(str(method)) for method in order])
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
    ax.set(
        yticks=y, yticklabels=[readable(name) for name in names], ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel
    )
    ax.set_xlim(min(0.5, np.floor(lowest * 10) / 10), 1)
    ax.axvline(0.5, color="#BBBBBB", linestyle=":")
    ax.grid(axis="y", color="#EEEEEE")
    ax.set_axisbelow(True)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return ax


def panels_by_group(groups: Mapping[str, pd.DataFrame], title: str) -> list[Axes]:
    """Dot plots of groups of methods, a panel for each, averaged over the targets that all of them have.

    It prints on how many targets it compares; without any, it says why, draws nothing and returns [].

    Args:
        groups: name of a panel -> AUROCs, a row for each method, a column for each target, NaN where there is
            no run; such as `by_labels` of `experiments.benchmarks` gives.
        title: of the whole figure.
    """
    groups = {name: group.dropna(how="all") for name, group in groups.items()}
    groups = {name: group for name, group in groups.items() if len(group)}
    if not groups:
        print(f"{title}: no run is recorded, so there is no figure.")
        return []
    ran = pd.concat(groups.values())
    common = list(ran.columns[ran.notna().all()])
    if not common:
        print(f"{title}: no target has runs of all methods, so there is no figure.")
        return []
    which = f": {', '.join(common)}" if len(common) < ran.shape[1] else ""
    print(f"Compared on {len(common)} of {ran.shape[1]} targets{which}")
    heights = [len(group) + 1 for group in groups.values()]
    ratios = {"height_ratios": heights}
    figure, axes = plt.subplots(
        len(heights), sharex=True, figsize=(6.5, 0.7 + 0.36 * sum(heights)), gridspec_kw=ratios
    )
    axes = list(np.ravel(axes))
    for ax, (name, group) in zip(axes, groups.items(), strict=True):
        rows = [(method.partition(" (")[0], *mean_interval(row)) for method, row in group[common].iterrows()]
        results_dots(pd.DataFrame(rows, columns=["method", "mean", "low", "high"]), ax=ax)
        ax.axvline(0.5, color="#BBBBBB", linestyle=":")
        ax.set_title(name)
        ax.label_outer()
    left, right = axes[0].get_xlim()
    axes[0].set_xlim(min(left, 0.45), max(right, 0.55))
    figure.suptitle(title, weight="bold", x=0.02, ha="left")
    return axes


def rank_square(ranks: pd.DataFrame, columns: Sequence[str], rows: str, title: str) -> Axes | None:
    """Which classes have high scores: a square of class ranks in per cent, darker where they are higher.

    Args:
        ranks: such as `class_ranks` of `experiments.benchmarks` gives, a row for each training; NaN rows
            stay white. Without any number it says so, and there is no figure.
        columns: names of the classes of test images.
        rows: what the rows are, such as "digit left out".
        title: of the axes.
    """
    if ranks.isna().all(axis=None):
        print(f"{title}: no scores are saved yet, so there is no figure.")
        return None
    long = max(map(len, columns)) > 2
    figure, ax = plt.subplots(figsize=(6.5, 5.4) if long else (6, 5.2))
    values = ranks.to_numpy(float)
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            ink = "white" if value > 0.6 else "black"
            ax.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=10, color=ink)
    ax.set_xticks(range(ranks.shape[1]), columns, rotation=90 if long else 0)
    ax.set_yticks(range(len(ranks)), ranks.index)
    ax.set(xlabel="class of the test image", ylabel=rows, title=title)
    ax.spines[:].set_visible(False)
    percent = {"label": "% of scores that are lower, median", "format": lambda value, _: f"{100 * value:.0f}"}
    figure.colorbar(image, shrink=0.6, **percent)
    return ax


def colored_table(frame: pd.DataFrame) -> Styler:
    """A table of AUROCs as HTML: blue below guessing, vermilion above, a dash where there is no run."""
    table = named(frame).rename_axis(index=None, columns=None).style
    # Always dark text, because the colours are pale.
    table = table.background_gradient(cmap=FIELD_COLORS, vmin=0, vmax=1, axis=None, text_color_threshold=0)
    table = table.highlight_null(props="background-color: transparent; color: inherit")
    return table.format(precision=2, na_rep="–")
