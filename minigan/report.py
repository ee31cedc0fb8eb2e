"""What a paper printed beside what we ran, and in one word how far that agrees.

    report.comparison("ygan-1")      # one row for each number: printed, ours, spread over seeds, difference
    report.by_method("ygan-1")       # the same, averaged over the targets that we ran
    report.verdict("ygan-1")         # "partly, so far", and a sentence why

Nothing here is chosen or left out by hand: rows come from the paper's table and from the cells of ours
(`paper_tables.py`), numbers from `data/published/` and from `data/results/`. Where we have no run, "ours" is
NaN. Where the paper has no number, which is so for all methods that it does not name, "published" is.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from minigan import experiments, published, registry
from minigan.cells import BUDGETS
from minigan.tables import Table, table

#: What names a result, in ours and in the paper's tables ("label" is "setting" there).
RESULT = ["dataset", "gamma", "method", "label", "target"]
#: The methods that each paper proposes.
OWN = {
    "adegan": ("ADeGAN",),
    "agad": ("AGAD",),
    "algan": ("ALGAN", "ALGANFeature"),
    "simultaneous_encoder": ("SimultaneousEncoder",),
    "ygan": ("YGAN",),
}
#: How far below the printed mean ours may lie and still count as reached: two hundredths of AUROC, which is
#: about what another seed changes.
MARGIN = 0.02


class Verdict(NamedTuple):
    """A word for a table, and the sentence that explains it."""

    word: str  # "reproduced", "partly", "not reproduced", "partly, so far", "not so far" or "not run"
    reason: str

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}"


def budget_of(name: str, folder: str | Path | None = None) -> str:
    """The budget to show: "paper" as soon as a method of the paper has a run of it, else "quick"."""
    own = OWN[_paper(table(name))[0]]
    runs = experiments.results(name, folder, "paper")
    return "paper" if runs.loc[runs["method"].isin(own), "auroc"].notna().any() else "quick"


def comparison(
    name: str, metric: str = "auroc", budget: str | None = None, folder: str | Path | None = None
) -> pd.DataFrame:
    """Every AUROC of the paper's table and of ours, side by side.

    Args:
        name: of a table that repeats one of a paper.
        metric: of our records, see `experiments.summary`. ALGAN's paper chooses the epoch on validation
            images with anomalies among them, which is "auroc_selected".
        budget: "quick" or "paper"; None takes `budget_of`.
        folder: the data folder.

    Returns:
        One row per result. "dataset", "gamma", "method", "label" and "target" name it; "published" and
        "published_std" are the paper's; "ours" is the mean over seeds, "low" and "high" the lowest and the
        highest, "seeds" how many were run and "of" how many there are to be run (0 for what is not in
        minigan yet); "difference" is ours minus published; "budget" is the same in all rows.

    Raises:
        ValueError: there is no such table, metric or budget, or the table repeats none of a paper.
    """
    if metric not in experiments.METRICS:
        raise ValueError(f"there is no metric {metric!r}; choose one of {', '.join(experiments.METRICS)}")
    paper, number = _paper(table(name))
    budget = budget or budget_of(name, folder)
    printed = published.table(paper, number).rename(columns={"setting": "label"})
    printed = printed[printed["metric"] == "auroc"].set_index(RESULT)[["value", "std"]]
    printed = printed.rename(columns={"value": "published", "std": "published_std"})
    runs = experiments.results(name, folder, budget).groupby(RESULT, sort=False)[metric]
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

    "ours" is the mean over the targets that were run, and "published" the mean of the paper's numbers for the
    same targets; where it prints but a mean over all of them, that one. Then "comparable" is False until all
    targets were run. "low" and "high" are those of `metrics.mean_interval`, over targets and seeds; "targets"
    and "of_targets" count. A method that we have not run has the paper's mean over all targets.
    """
    from minigan import metrics

    rows = comparison(name, metric, budget, folder)
    budget = rows["budget"].iloc[0]
    runs = experiments.results(name, folder, budget)
    found = []
    for key, group in rows.groupby(RESULT[:-1], sort=False):
        group = group.set_index("target")
        mean = group["published"].get(published.MEAN, np.nan)
        group = group.drop(index=[published.MEAN, *published.GROUPS], errors="ignore")
        ran = group[group["seeds"] > 0]
        values = runs[(runs[RESULT[:-1]] == list(key)).all(axis=1)][metric].dropna()
        ours, low, high = metrics.mean_interval(values) if len(values) else (np.nan,) * 3
        same = ran["published"] if len(ran) else group["published"]
        one_by_one = len(same) > 0 and same.notna().all()
        printed = same.mean() if one_by_one else mean
        found.append(
            dict(zip(RESULT[:-1], key, strict=True))
            | {"published": printed, "ours": ran["ours"].mean(), "low": low, "high": high}
            | {"difference": ran["ours"].mean() - printed}
            | {"comparable": one_by_one or len(ran) == len(group)}
            | {"targets": len(ran), "of_targets": int((group["of"] > 0).sum()), "runs": len(values)}
            | {"of_runs": int(group["of"].sum()), "budget": budget}
        )
    return pd.DataFrame(found)


def verdict(
    name: str, metric: str = "auroc", budget: str | None = None, folder: str | Path | None = None
) -> Verdict:
    """Whether the paper's own method reaches what the paper prints of it, by the runs there are.

    A result counts as reached when our mean is at most `MARGIN` below the printed one. "reproduced": all
    results are, "not reproduced": none is, "partly": some are. When runs of the paper's budget are missing,
    the word is "partly, so far" where any result is reached, else "not so far". A printed mean over all
    targets is held against ours over all of them, or against nothing.
    """
    rows = by_method(name, metric, budget, folder)
    own = rows[rows["method"].isin(OWN[_paper(table(name))[0]]) & rows["published"].notna()]
    budget, declared = rows["budget"].iloc[0], own["of_runs"].sum()
    ran = own[(own["targets"] > 0) & own["comparable"]]
    if own["runs"].sum() == 0:
        none = f"{declared} runs of the {budget} budget are declared, none is recorded"
        return Verdict("not run", none if declared else f"there are no runs of the {budget} budget")
    if ran.empty:
        some = f"{own['runs'].sum()} of {declared} runs of the {budget} budget"
        return Verdict("not so far", f"{some} are recorded, too few for a mean like the printed ones")
    reached = ran["difference"] >= -MARGIN
    whole = budget == BUDGETS[1] and (own["runs"] == own["of_runs"]).all()
    if whole:
        word = "reproduced" if reached.all() else "partly" if reached.any() else "not reproduced"
    else:
        word = "partly, so far" if reached.any() else "not so far"
    worst, best = ran["difference"].min(), ran["difference"].max()
    span = f"{worst:+.3f}" if len(ran) == 1 else f"{worst:+.3f} to {best:+.3f}"
    return Verdict(
        word,
        f"{reached.sum()} of {len(ran)} results are within {MARGIN} of the printed ones or above "
        f"(differences: {span}), by {ran['runs'].sum()} of {own['of_runs'].sum()} runs "
        f"of the {budget} budget",
    )


def in_minigan(method: str) -> bool:
    """Whether the paper's name for a method is a class of ours."""
    return method in registry.METHODS


def _paper(repeated: Table) -> tuple[str, int]:
    if repeated.published is None:
        raise ValueError(
            f"{repeated.name} repeats no table of a paper, so there is nothing to compare it with"
        )
    return repeated.published
