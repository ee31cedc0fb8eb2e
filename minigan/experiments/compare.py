"""Printed numbers beside ours: a paper's table and our runs of it, target by target or averaged over targets.

    report.comparison("ygan-1")      # one row for each number: printed, ours, spread over seeds, difference
    report.by_method("ygan-1")       # the same, averaged over the targets that we ran
    report.by_budget("ygan-1")       # small runs, long runs and printed: what more steps change

Rows come from the paper's table and from the cells of ours (`minigan.tables`), numbers from `data/published/`
and from `data/results/`. Where we have no run, "ours" is NaN; where the paper has no number, "published" is.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from minigan import metrics, registry, tables
from minigan.checks import require
from minigan.experiments import published, records
from minigan.tables.cells import BUDGETS

#: What names a result, in ours and in the paper's tables ("label" is "setting" there).
RESULT = ["dataset", "gamma", "method", "label", "target"]
#: What names a result averaged over its targets, as in `by_method`.
ROW = RESULT[:-1]


def in_minigan(method: str) -> bool:
    """Whether the paper's name for a method is one of our classes."""
    return method in registry.METHODS


def budget_of(name: str, folder: str | Path | None = None) -> str:
    """The budget to show: "paper" as soon as a method of the paper has a run of it, else "quick"."""
    own = own_methods(name)
    runs = records.results(name, folder, "paper")
    return "paper" if runs.loc[runs["method"].isin(own), "auroc"].notna().any() else "quick"


def own_methods(name: str) -> tuple[str, ...]:
    """The methods that the paper of a table proposes."""
    return registry.PAPERS[repeated(name)[0]].methods


def repeated(name: str) -> tuple[str, int]:
    """The table of a paper that ours repeats, as `published.table` takes it."""
    table = tables.table(name)
    if table.published is None:
        raise ValueError(
            f"expected a table that repeats one of a paper, got {name!r}; there is nothing to compare it with"
        )
    return table.published


# ---------------------------------------------------------------------- side by side


def comparison(
    name: str, metric: str = "auroc", budget: str | None = None, folder: str | Path | None = None
) -> pd.DataFrame:
    """Every AUROC of the paper's table and of ours, side by side.

    Args:
        name: of a table that repeats one of a paper.
        metric: an AUROC of our records, see `experiments.summary`. ALGAN's paper chooses the epoch on
            validation images with anomalies among them, which is "auroc_selected".
        budget: "quick", "long" or "paper"; None takes `budget_of`.
        folder: the data folder.

    Returns:
        One row per result. "dataset", "gamma", "method", "label" and "target" name it; "published" and
        "published_std" are the paper's; "ours" is the mean over seeds, "low" and "high" the lowest and the
        highest, "seeds" how many were run and "of" how many there are to be run (0 where none is
        declared); "difference" is ours minus published; "budget" is the same in all rows.

    Raises:
        ValueError: there is no such table, metric or budget, or the table repeats none of a paper.
    """
    aurocs = [each for each in records.METRICS if each.startswith("auroc")]
    require(metric in aurocs, f"expected an AUROC, got {metric!r}; choose one of {', '.join(aurocs)}")
    paper, number = repeated(name)
    budget = budget or budget_of(name, folder)
    printed = published.table(paper, number).rename(columns={"setting": "label"})
    printed = printed[printed["metric"] == "auroc"].set_index(RESULT)[["value", "std"]]
    printed = printed.rename(columns={"value": "published", "std": "published_std"})
    runs = records.results(name, folder, budget).groupby(RESULT, sort=False)[metric]
    ours = runs.agg(ours="mean", low="min", high="max", seeds="count", of="size")
    both = printed.join(ours, how="outer", sort=False)
    order = [*ours.index, *printed.index.difference(ours.index, sort=False)]
    both = both.reindex(order).reset_index()
    both[["seeds", "of"]] = both[["seeds", "of"]].fillna(0).astype(int)
    both["difference"] = both["ours"] - both["published"]
    both["budget"] = budget
    return both


def by_method(
    name: str, metric: str = "auroc", budget: str | None = None, folder: str | Path | None = None
) -> pd.DataFrame:
    """`comparison`, averaged over targets, so that like is compared with like.

    The paper's own method is averaged over the targets that it was run on, "published" as well as "ours".
    What the paper compares it with, and our baselines, are averaged over the targets of the first row of the
    paper's method with the same data set and gamma that was run. Where that is impossible, "same_targets" is
    False: a run is missing, or the paper prints only a mean over all targets. Where nothing was run,
    "published" is over all targets.

    Where the paper prints only a mean over all targets, "published" is that one, and "comparable" is False
    until all targets were run. "low" and "high" are those of `metrics.mean_interval`, over targets and seeds.
    "targets" and "runs" count what is recorded, "of_targets" and "of_runs" what is declared.
    """
    rows = comparison(name, metric, budget, folder)
    budget = rows["budget"].iloc[0]
    runs = records.results(name, folder, budget)
    own = own_methods(name)
    references = _references(rows, own)
    values_of = {key: group.set_index("target")[metric] for key, group in runs.groupby(ROW, sort=False)}
    found = []
    for key, group in rows.groupby(ROW, sort=False):
        group = group.set_index("target")
        printed_mean = group["published"].get(published.MEAN, np.nan)
        group = group.drop(index=[published.MEAN, *published.GROUPS], errors="ignore")
        ran = list(group.index[group["seeds"] > 0])
        reference = references.get(key[:2])
        targets = ran or list(group.index)
        if reference and not (ran and key[2] in own):
            targets = _matched(group, reference.targets) or targets

        printed = group.loc[targets, "published"]
        one_by_one = len(printed) > 0 and bool(printed.notna().all())
        mean_published = printed.mean() if one_by_one else printed_mean
        mean_ours = group.loc[targets, "ours"].mean()
        values = values_of.get(key, pd.Series(dtype=float))
        values = values[values.index.isin(targets)].dropna()
        _, low, high = metrics.mean_interval(values) if len(values) else (np.nan, np.nan, np.nan)
        over_all = len(targets) == len(group)
        same_targets = reference is None or (reference.complete and over_all)
        if reference and not same_targets and (one_by_one or np.isnan(printed_mean)):
            same_targets = set(targets) == reference.targets
        found.append(
            {
                **dict(zip(ROW, key, strict=True)),
                "published": mean_published,
                "ours": mean_ours,
                "low": low,
                "high": high,
                "difference": mean_ours - mean_published,
                "comparable": one_by_one or (over_all and len(ran) == len(group)),
                "targets": len(ran),
                "of_targets": int((group["of"] > 0).sum()),
                "runs": int(group["seeds"].sum()),
                "of_runs": int(group["of"].sum()),
                "budget": budget,
                "same_targets": same_targets,
            }
        )
    return pd.DataFrame(found)


def by_budget(*names: str, metric: str = "auroc", folder: str | Path | None = None) -> pd.DataFrame:
    """What more training changes: the same results in every budget that was run, side by side.

    Only results that have a run of the long or of the paper's budget, as there are far more of the quick one.
    Beside the number of steps, budgets differ in images, batches and widths (`tables.settings`).

    Args:
        names: tables, of a paper or of readings of it; a result that several have is taken from the first.
        metric: an AUROC of the records.
        folder: the data folder.

    Returns one row per result, indexed by `RESULT`, in the order of the tables' cells: a column for each
    budget, the mean over seeds; "seeds of quick" and so on, how many they are; "published", NaN where the
    paper has none.
    """
    found = []
    for name in names:
        columns: dict[str, pd.Series] = {}
        for budget in BUDGETS:
            runs = records.results(name, folder, budget).groupby(RESULT, sort=False)[metric]
            columns |= {budget: runs.mean().astype(float), f"seeds of {budget}": runs.count()}
        order = columns["long"].index.union(columns["paper"].index, sort=False)
        frame = pd.concat({column: each.reindex(order) for column, each in columns.items()}, axis=1)
        frame["published"] = np.nan
        if tables.table(name).published is not None:
            rows = published.table(*repeated(name)).rename(columns={"setting": "label"})
            frame["published"] = rows[rows["metric"] == "auroc"].set_index(RESULT)["value"].reindex(order)
        found.append(frame[frame[["long", "paper"]].notna().any(axis=1)])
    together = pd.concat(found)
    counts = [f"seeds of {budget}" for budget in BUDGETS]
    together[counts] = together[counts].fillna(0).astype(int)
    return together[~together.index.duplicated()]


class _Reference(NamedTuple):
    """The targets that the paper's method was run on, and whether none is missing."""

    targets: set[str]
    complete: bool


def _references(rows: pd.DataFrame, own: tuple[str, ...]) -> dict[tuple, _Reference]:
    """By data set and gamma, the targets of the first row of the paper's methods that was run."""
    rows = rows[rows["method"].isin(own) & (rows["of"] > 0)]
    found: dict[tuple, _Reference] = {}
    for key, group in rows.groupby(ROW, sort=False):
        ran = group["seeds"] > 0
        if ran.any():
            found.setdefault(key[:2], _Reference(set(group["target"][ran]), bool(ran.all())))
    return found


def _matched(group: pd.DataFrame, wanted: set[str]) -> list[str]:
    """The wanted targets of a row, if it has a number for each of them: ours if it was run, else printed.

    Of a row without any number, its declared targets are taken.
    """
    there = group[group["seeds"] > 0]
    if there.empty:
        there = group[group["published"].notna()]
    if there.empty:
        there = group
    return [target for target in there.index if target in wanted] if wanted <= set(there.index) else []
