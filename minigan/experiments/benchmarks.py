"""A benchmark at a glance: AUROCs by target, with and without labels, class by class, and what they cost.

    by_target("ygan-1", "mnist")                # a row for each method, a column for each digit left out
    by_labels(by_target("ygan-1", "mnist"))     # the same, methods with sub-class labels apart
    class_ranks("ygan-1", "YGAN")               # which digits have high scores
    effort("ygan-1", "mnist")                   # runs, and minutes of training

The chapters of the part "Full scale" show these, by `plots.panels_by_group`, `plots.colored_table` and
`plots.rank_square`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from minigan import tables
from minigan.experiments import records

#: Methods that are given the sub-class of each training image.
LABELLED = ("YGAN", "SoftmaxClassifier")
#: Scores beside a method's own one, which have rows of their own.
OTHER_SCORES = (
    *tables.ygan.OTHER_SCORES,
    *(score for score in tables.simultaneous_encoder.SCORES if score != "proposed"),
)


def by_target(
    name: str,
    dataset: str,
    gamma: float = 0.0,
    budget: str = "quick",
    folder: str | Path | None = None,
) -> pd.DataFrame:
    """Mean AUROC over the recorded seeds of a table: a row for each method, a column for each target.

    A method with several scores has a row for each, such as "YGAN (entropy)". NaN where there is no run.
    """
    runs = records.results(name, folder, budget)
    runs = runs[(runs["dataset"] == dataset) & (runs["gamma"] == gamma)]
    means = runs.groupby([_names(runs), "target"], sort=False)["auroc"].mean()
    return means.unstack("target", sort=False)


def by_gamma(name: str, budget: str = "quick", folder: str | Path | None = None) -> pd.DataFrame:
    """Mean AUROC over the recorded runs of a table: a row for each method, a column for each gamma."""
    runs = records.results(name, folder, budget)
    means = runs.groupby([_names(runs), "gamma"], sort=False)["auroc"].mean()
    return means.unstack("gamma").sort_index(axis=1)


def _names(runs: pd.DataFrame) -> pd.Series:
    """Method and score of each run."""
    label = runs["label"].str.removeprefix("scored_by=")
    label = (" (" + label + ")").where(label != "", "")
    return (runs["method"] + label).rename("method")


def own_scores(means: pd.DataFrame) -> pd.DataFrame:
    """The rows of `by_target` in which a method has its own score, not one of `OTHER_SCORES`."""
    return means[~means.index.str.endswith(tuple(f"({score})" for score in OTHER_SCORES))]


def by_labels(means: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of `own_scores`, parted into methods with and without sub-class labels."""
    own = own_scores(means)
    labelled = own.index.str.startswith(LABELLED)
    return {"with sub-class labels": own[labelled], "without labels": own[~labelled]}


def class_ranks(
    name: str,
    method: str,
    label: str = "",
    dataset: str | None = None,
    budget: str = "quick",
    folder: str | Path | None = None,
) -> pd.DataFrame:
    """Which classes have high scores: the median rank of each class of test images, from 0 to 1.

    A row for each target of the first seed, NaN where no scores are saved; a column for each of ten classes.
    """
    rows, targets = {}, []
    for cell in tables.table(name).cells(budget):
        if (cell.method, cell.label, cell.seed) != (method, label, 0) or dataset not in (None, cell.dataset):
            continue
        targets.append(cell.target)
        saved = records.saved_outputs(cell, folder)
        if saved is not None:
            rank = pd.Series(saved["scores"]).rank(pct=True)
            rows[cell.target] = rank.groupby(saved["classes"]).median()
    return pd.DataFrame(rows).T.reindex(index=targets, columns=range(10))


def expected(
    name: str,
    dataset: str,
    gamma: float = 0.0,
    budget: str = "quick",
    folder: str | Path | None = None,
) -> pd.DataFrame:
    """Mean, lowest and highest AUROC over the targets, one row for each method."""
    means = by_target(name, dataset, gamma, budget, folder)
    return pd.DataFrame(
        {
            "mean": means.mean(axis=1),
            "lowest": means.min(axis=1),
            "highest": means.max(axis=1),
            "targets": means.count(axis=1).astype(str) + f" of {means.shape[1]}",
        }
    )


def effort(
    name: str, dataset: str, budget: str = "quick", folder: str | Path | None = None
) -> dict[str, object]:
    """Runs and minutes of training of a table on one data set, so far and in all.

    The minutes for all runs are estimated by the mean time of each method; NaN where one has no run yet.
    """
    runs = records.results(name, folder, budget)
    cells = tables.table(name).cells(budget)
    rows = pd.DataFrame(
        [
            (cell.method, (cell.table, *cell.training), auroc, seconds)
            for cell, auroc, seconds in zip(cells, runs["auroc"], runs["seconds"], strict=True)
            if cell.dataset == dataset
        ],
        columns=["method", "training", "auroc", "seconds"],
    )
    # Runs that differ only in the score have one training, which counts once.
    trainings = rows.groupby(["method", "training"], sort=False)["seconds"].max()
    minutes = trainings.groupby("method", sort=False).agg(["mean", "sum", "size"]) / [60, 60, 1]
    return {
        "command": f"minigan reproduce {name}",
        "data set": dataset,
        "runs": len(rows),
        "recorded": int(rows["auroc"].count()),
        "minutes so far": float(minutes["sum"].sum()),
        "minutes for all": float((minutes["mean"] * minutes["size"]).sum(skipna=False)),
    }
