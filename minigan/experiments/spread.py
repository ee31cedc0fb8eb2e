"""How much of an AUROC is luck: standard deviations between seeds and between the last epochs, from records.

    spread.between_runs()            # one row for each method
    spread.margin("YGAN", runs=10)   # by how much a mean over ten runs may miss by luck alone
    spread.by_epoch("digits")        # the last epoch beside the last few, and beside averaged weights
    spread.readings("algan-digits-readings")    # variants of a method, in pairs with its default
    spread.pairs(wide, [("Eq. 11", "PCA")])     # two methods on the same splits, with the same seeds

A single run differs from its repetition with another seed, because its images, its initial weights and its
batches differ, and because a GAN goes on moving until its last epoch. Where the records repeat runs with
other seeds, they say how much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from minigan import metrics, registry
from minigan.checks import require
from minigan.experiments import speed
from minigan.experiments.records import read_records, results
from minigan.paths import data_folder
from minigan.tables.cells import KEY

#: What makes two runs repetitions of each other.
SAME = [name for name in KEY if name != "seed"]


def between_runs(folder: str | Path | None = None) -> pd.DataFrame:
    """Standard deviations of a run's AUROC, one row for each method that has records.

    "seeds": between runs that differ in nothing but their seed, pooled over all settings, splits and targets,
    and "repeated" counts those that have at least two seeds. "late": between the last epochs within a run,
    the root of the mean square over all runs that recorded it, and "measured" counts them. NaN where there
    are none.
    """
    runs = _runs(folder)
    rows = {}
    for method in registry.methods():
        of_method = runs[runs["method"] == method]
        if len(of_method):
            deviation, repeated = _between_seeds(of_method)
            late = of_method["auroc_late_std"].dropna()
            rows[method] = {
                "seeds": deviation,
                "repeated": repeated,
                "late": np.sqrt((late**2).mean()) if len(late) else np.nan,
                "measured": len(late),
            }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["seeds", "repeated", "late", "measured"])


def by_epoch(name: str, folder: str | Path | None = None, budget: str = "quick") -> pd.DataFrame:
    """How much the choice of the epoch matters in a table: one row for each protocol, method and label.

    Means over the runs that recorded all of it: the AUROC of the "last" epoch, the mean ("late mean") and the
    standard deviation ("late std") of those of the last epochs, and the AUROC by the running average of the
    weights ("averaged"). "runs" counts these runs and "missing" those without. Methods without epochs have no
    row.
    """
    by = ["protocol", "method", "label"]
    columns = {
        "auroc": "last",
        "auroc_late_mean": "late mean",
        "auroc_late_std": "late std",
        "auroc_averaged": "averaged",
    }
    rows = []
    for group, runs in results(name, folder, budget).groupby(by, sort=False):
        if (runs["epochs"] == 0).any():
            continue
        whole = runs.dropna(subset=list(columns))
        means = whole[list(columns)].mean().rename(columns)
        rows.append({**dict(zip(by, group, strict=True)), **means, "runs": len(whole)})
        rows[-1]["missing"] = len(runs) - len(whole)
    return pd.DataFrame(rows, columns=[*by, *columns.values(), "runs", "missing"]).set_index(by)


def readings(
    name: str,
    default: str = "",
    metric: str = "auroc",
    folder: str | Path | None = None,
    budget: str = "quick",
) -> pd.DataFrame:
    """The variants of a table beside the default of the same method, compared in pairs.

    Two runs are a pair if they have the same method, protocol, data set, target, gamma and seed. Rows with
    few runs cover only some of the targets, so that their means alone cannot be compared.

    Args:
        name: a table, such as "algan-digits-readings".
        default: the label of the variant that the others are compared with.
        metric: a column of `experiments.results`, such as "auroc" (the last epoch) or "auroc_late_mean".

    Returns one row for each protocol, method and label that was run, the default first: the "mean" over the
    runs; the mean "difference" to the default and its 95 % interval, "low" to "high", by bootstrap over the
    pairs; how many pairs are "better" than the default, out of "pairs"; and how many runs are "missing".
    """
    by = ["protocol", "method", "label"]
    split = ["dataset", "target", "gamma", "seed"]
    groups = list(results(name, folder, budget).groupby(by, sort=False))
    labels = {label for (_, _, label), _ in groups}
    require(
        default in labels,
        f"expected default to be a label of {name}, one of {', '.join(map(repr, labels))}, got {default!r}",
    )
    values = {key: runs.set_index(split)[metric].dropna() for key, runs in groups}
    rows = []
    for (protocol, method, label), runs in sorted(groups, key=lambda group: group[0][2] != default):
        ours = values[protocol, method, label]
        if ours.empty:
            continue
        row = dict(zip(by, (protocol, method, label), strict=True))
        row |= {"mean": ours.mean(), "missing": len(runs) - len(ours)}
        if label != default and (protocol, method, default) in values:
            pairs = (ours - values[protocol, method, default]).dropna()
            if len(pairs):
                interval = metrics.mean_interval(pairs)
                row |= dict(zip(("difference", "low", "high"), interval, strict=True))
            row |= {"better": (pairs > 0).sum(), "pairs": len(pairs)}
        rows.append(row)
    columns = ["mean", "difference", "low", "high", "better", "pairs", "missing"]
    found = pd.DataFrame(rows, columns=[*by, *columns]).set_index(by)
    return found.astype({"better": "Int64", "pairs": "Int64"})


def pairs(
    wide: pd.DataFrame, questions: Mapping[str, tuple[str, str]] | Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Differences in pairs: is one method better than another on the same splits, with the same seeds?

    Args:
        wide: AUROCs, a row for each split and seed, a column for each method; NaN where there is no run.
        questions: two columns for each, the first minus the second; as a mapping, with a name of its own.

    Returns one row of text for each question with at least one pair: the mean difference, its 95 % interval
    by bootstrap over the pairs, and in how many of them the first is better.
    """
    if not isinstance(questions, Mapping):
        questions = {f"{first} minus {second}": (first, second) for first, second in questions}
    unknown = {name for pair in questions.values() for name in pair} - set(wide.columns)
    require(not unknown, f"expected columns out of {list(wide.columns)}, got {sorted(unknown)}")
    rows = {}
    for question, (first, second) in questions.items():
        gap = (wide[first] - wide[second]).dropna()
        if len(gap):
            mean, low, high = metrics.mean_interval(gap)
            better = f"{(gap > 0).sum()} of {len(gap)}"
            rows[question] = (f"{mean:+.3f}", f"{low:+.3f} to {high:+.3f}", better)
    columns = ["mean difference", "95 % interval", "first is better in"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def margin(method: str, runs: int, folder: str | Path | None = None) -> float:
    """Two standard errors of a mean over `runs` runs: by how much it may miss by luck alone.

    The standard deviation of a run is that between seeds, of `between_runs`, and runs are taken as
    independent. NaN where the method was never run with two seeds on one split.
    """
    require(runs >= 1, f"expected at least one run, got {runs}; there is no mean without any")
    recorded = _runs(folder)
    return float(2 * _between_seeds(recorded[recorded["method"] == method])[0] / np.sqrt(runs))


def _between_seeds(runs: pd.DataFrame) -> tuple[float, int]:
    """The pooled standard deviation between seeds, and how many settings and splits have at least two."""
    groups = runs.groupby(SAME)["auroc"]
    freedom = (groups.count() - 1).clip(lower=0)
    pooled = (freedom * groups.var()).sum() / freedom.sum() if freedom.sum() else np.nan
    return float(np.sqrt(pooled)), int((freedom > 0).sum())


def _runs(folder: str | Path | None) -> pd.DataFrame:
    """All records of all tables of the quick budget, by whatever settings, old ones among them."""
    files = sorted((Path(data_folder() if folder is None else folder) / "results").glob("*.csv"))
    files = [path for path in files if path.stem != speed.NAME]  # that one has no runs
    return _read(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@lru_cache(maxsize=4)
def _read(files: tuple[tuple[Path, int, int], ...]) -> pd.DataFrame:
    """The records of these files, read again when one of them has changed."""
    rows = [record for path, *_ in files for record in read_records(path)]
    frame = pd.DataFrame(rows, columns=[*KEY, "auroc", "auroc_late_std"])
    frame = frame[frame["budget"] == "quick"]
    for column in ("auroc", "auroc_late_std"):
        frame[column] = pd.to_numeric(frame[column])
    return frame
