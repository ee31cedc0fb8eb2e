"""Verdicts: what a paper printed beside what we ran, and in a few words how far the two agree.

    report.comparison("ygan-1")      # one row for each number: printed, ours, spread over seeds, difference
    report.by_method("ygan-1")       # the same, averaged over the targets that we ran
    report.verdict("ygan-1")         # "small runs fall short", and a sentence why
    report.status()                  # one row for each method of the papers, as in the README

Nothing here is chosen or left out by hand: verdicts follow from the published numbers and from the records,
by the rules of `verdict`. `compare.py` puts the two side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from minigan import registry, tables
from minigan.experiments import spread
from minigan.experiments.compare import (
    RESULT,
    ROW,
    budget_of,
    by_method,
    comparison,
    in_minigan,
    own_methods,
)
from minigan.names import readable

__all__ = [
    "CHANCE",
    "ENOUGH",
    "HOW_MEASURED",
    "KNOWN_ARTEFACTS",
    "MARGIN",
    "RESULT",
    "Verdict",
    "budget_of",
    "by_method",
    "comparison",
    "evidence",
    "in_minigan",
    "judge",
    "status",
    "status_markdown",
    "verdict",
]

#: How far below the printed mean ours may lie, at least, and still count as reached: printed numbers are
#: rounded, and other seeds would have given others. Where our records say that the mean of our runs is less
#: certain than this, two of its standard errors between seeds count instead (`spread.margin`).
MARGIN = 0.02
#: The AUROC of guessing. A mean below it never counts as reached.
CHANCE = 0.5
#: With a smaller fraction of a table's own targets, runs of the quick budget are too few for a verdict. The
#: paper's budget needs all its runs.
ENOUGH = 0.5

#: What the verdict says of runs that have not the paper's budget.
SMALL = {"quick": "small runs", "long": "small networks"}

#: "dataset/target" -> what gives this target away, so that a high AUROC on it shows nothing about a method.
KNOWN_ARTEFACTS = {
    "mvtec/screw": "in our copy of MVTec AD's screws the mean brightness alone has an AUROC of 1.00",
}
#: What a reason says of an AUROC that is not that of the last epoch, image by image.
HOW_MEASURED = {
    "auroc_selected": "by the epoch chosen on anomalous validation images",
    "auroc_mixed": "with the batch statistics of mixed test images",
    "auroc_sorted": "with the batch statistics of test images sorted by their labels",
}


class Verdict(NamedTuple):
    """The outcome of a table in a few words, and one sentence that explains it.

    The words: "not tested", "too few runs"; for the quick budget "small runs fall short" and "small runs
    reach it"; for the long one "small networks fall short" and "small networks reach it"; for the paper's
    budget "reproduced", "partly reproduced" and "not reproduced". `verdict` has the rules.
    """

    word: str
    reason: str

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}"


# ---------------------------------------------------------------------- one table


def verdict(
    name: str, metric: str = "auroc", budget: str | None = None, folder: str | Path | None = None
) -> Verdict:
    """Whether the paper's own method reaches what the paper prints of it, by the runs that are recorded.

    A table is judged by its own results, one for each row of `by_method`: those of the paper's methods whose
    cells were declared for this table (`Table.owns`). A row that it repeats from another table is judged
    there. A table without any such result of its own is judged by all its rows.

    A result is reached when our mean is below the printed one by no more than luck explains, and not below
    `CHANCE`. What luck explains is `MARGIN`, or two standard errors of our mean between seeds if they are
    more (`spread.margin`).
    Results that are printed below `CHANCE` are not judged: there is nothing to reach. A printed mean over all
    targets is compared with ours over all of them, or with nothing. Of an ablation, this says whether each
    variant reaches its number, and not whether the part that it lacks is worth having.

    * "not tested": no own run is recorded, or none is declared.
    * "too few runs": less than `ENOUGH` of the own targets have a run of the quick or the long budget, each
      target counted once for each own result; or the runs of the paper's budget are not complete; or nothing
      can be compared.
    * "small runs reach it", "small runs fall short": all judged results of the quick budget are reached, or
      not. Of the long budget the same is said of "small networks": it has the paper's number of steps.
    * "reproduced", "partly reproduced", "not reproduced": all, some or none of the judged results are reached
      by complete runs of the paper's budget. Where the mean of our judged results lies below `CHANCE`,
      nothing is reproduced, not even partly.
    """
    return judge(evidence(name, metric, budget or budget_of(name, folder), folder), metric)


def judge(found: Evidence, metric: str) -> Verdict:
    """The verdict on evidence that is there already, by the rules of `verdict`."""
    budget = found.budget
    how = f", {HOW_MEASURED[metric]}" if metric in HOW_MEASURED else ""
    if not found.declared:
        word, reason = "not tested", f"there are no runs of the {budget} budget"
    elif not found.recorded:
        word = "not tested"
        reason = f"{found.declared} runs of the {budget} budget are declared, none is recorded"
    elif found.judged.empty:
        word = "too few runs"
        reason = (
            f"{found.recorded} of {found.declared} runs of the {budget} budget are recorded{how}, and none "
            "gives a mean like the printed ones"
        )
    else:
        word, reason = _outcome(found), f"{_differences(found)} of the {budget} budget{how}"
        shortage = _shortage(found)
        if shortage:
            word, reason = "too few runs", f"{shortage}; so far {reason}"
    return Verdict(word, "; ".join([reason, *found.remarks]))


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on; `evidence` finds it."""

    budget: str
    own: pd.DataFrame  # the printed results of the table's own cells, as rows of `by_method`
    judged: pd.DataFrame  # those of them that were run and can be compared
    margins: pd.Series  # how far below the printed one each judged result may lie
    classical: pd.Series  # the best classical baseline beside each judged result, NaN where none was run
    remarks: list[str]  # what the reader must know to judge the numbers

    @property
    def declared(self) -> int:
        return int(self.own["of_runs"].sum())

    @property
    def recorded(self) -> int:
        return int(self.own["runs"].sum())

    @property
    def reached(self) -> pd.Series:
        """Whether each judged result is reached."""
        return (self.judged["difference"] >= -self.margins) & (self.judged["ours"] >= CHANCE)


def _outcome(found: Evidence) -> str:
    """The word for a table with enough runs."""
    reached = found.reached
    if found.budget in SMALL:
        return f"{SMALL[found.budget]} {'reach it' if reached.all() else 'fall short'}"
    if reached.all():
        return "reproduced"
    if reached.any() and found.judged["ours"].mean() >= CHANCE:
        return "partly reproduced"
    return "not reproduced"


def _shortage(found: Evidence) -> str:
    """What is missing for a verdict; "" where there are enough runs."""
    if found.budget == "paper":
        few = found.recorded < found.declared
        text = f"only {found.recorded} of {found.declared} runs are recorded and all are needed"
    else:
        targets, of_targets = int(found.own["targets"].sum()), int(found.own["of_targets"].sum())
        needed = ceil(ENOUGH * of_targets)
        few = targets < needed
        text = f"only {targets} of {of_targets} targets have a run and {needed} are needed"
    return text if few else ""


def _differences(found: Evidence) -> str:
    """How many results are reached, and how far ours are from the printed ones."""
    lowest, highest = found.judged["difference"].min(), found.judged["difference"].max()
    span = f"{lowest:+.3f}" if len(found.judged) == 1 else f"{lowest:+.3f} to {highest:+.3f}"
    margins = sorted({f"{margin:.2f}" for margin in found.margins})
    within = margins[0] if len(margins) == 1 else f"{margins[0]} to {margins[-1]}"
    return (
        f"{found.reached.sum()} of {len(found.judged)} results are within {within} of the printed ones or "
        f"above (differences: {span}), by {found.judged['runs'].sum()} of {found.declared} runs"
    )


def evidence(name: str, metric: str, budget: str, folder: str | Path | None) -> Evidence:
    """The results that a table is judged by, and what must be said beside them."""
    table = tables.table(name)
    rows = by_method(name, metric, budget, folder)
    baselines = rows[rows["method"].isin(tables.CLASSICAL) & rows["same_targets"]]
    best = baselines.groupby(["dataset", "gamma"])["ours"].max()
    rows = rows[rows["method"].isin(own_methods(name)) & rows["published"].notna()]
    source = {tuple(getattr(cell, each) for each in ROW): cell.table for cell in table.cells(budget)}
    sources = pd.Series([source.get(key, "") for key in rows[ROW].itertuples(index=False, name=None)])
    is_own = (sources == name).to_numpy()
    if not is_own.any():
        is_own = np.ones(len(rows), dtype=bool)
    own, others = rows[is_own], sources[~is_own]
    judged = own[(own["targets"] > 0) & own["comparable"] & (own["published"] >= CHANCE)]
    luck = [spread.margin(row.method, row.runs, folder) for row in judged.itertuples()]
    margins = pd.Series(luck, index=judged.index, dtype=float).clip(lower=MARGIN).fillna(MARGIN)

    classical = best.reindex(pd.MultiIndex.from_frame(judged[["dataset", "gamma"]])).set_axis(judged.index)

    remarks = []
    below = int((judged["ours"] < CHANCE).sum())
    if below:
        remarks.append(f"below chance ({CHANCE}): {below} of {len(judged)} results")
    hopeless = int(((own["targets"] > 0) & (own["published"] < CHANCE)).sum())
    if hopeless:
        remarks.append(f"not judged, because printed below chance: {hopeless} results")
    empty = int((own["targets"] == 0).sum())
    if 0 < empty < len(own):
        remarks.append(f"without any run: {empty} of {len(own)} results")
    borrowed = sorted(set(others) - {""})
    if borrowed:
        remarks.append(f"what it repeats from {', '.join(borrowed)} is judged there")
    if (others == "").any():
        undeclared = rows[~is_own][(others == "").to_numpy()]
        whose = (f"{r.method} ({r.label})" if r.label else r.method for r in undeclared.itertuples())
        remarks.append(f"{readable(', '.join(dict.fromkeys(whose)))} has no runs of the {budget} budget")
    remarks += _artefacts(comparison(name, metric, budget, folder).merge(own[ROW], on=ROW))
    return Evidence(budget, own, judged, margins, classical, remarks)


def _artefacts(rows: pd.DataFrame) -> list[str]:
    """What `KNOWN_ARTEFACTS` says of the targets that these rows of `comparison` were run on."""
    ran = rows[rows["seeds"] > 0]
    names = dict.fromkeys(ran["dataset"] + "/" + ran["target"])
    return [KNOWN_ARTEFACTS[each] for each in names if each in KNOWN_ARTEFACTS]


# ---------------------------------------------------------------------- all papers


def status(folder: str | Path | None = None) -> pd.DataFrame:
    """How far each method of the papers is reproduced: one row for each, built from the records alone.

    The table of a method is the first one in `TABLES` that repeats a table of its paper with this method and
    none of the paper's others. The budget is `budget_of`, or the paper's where there are no runs of that; it
    is "" where nothing is recorded. "recorded" and "declared" count the runs of the table's own results.
    "printed" and "ours" are means over the results that the verdict judges, by the last epoch; where none was
    run, "printed" is over all own results. "classical" is the mean of the best classical baseline beside each
    of these results, on the same targets; NaN where one has none. "verdict" and "reason" are the two parts of
    `verdict`.
    """
    rows = []
    for key, paper in registry.PAPERS.items():
        for method in paper.methods:
            name = _main_table(key, method)
            found = evidence(name, "auroc", budget_of(name, folder), folder)
            if not found.declared:
                found = evidence(name, "auroc", "paper", folder)
            shown = found.own if found.judged.empty else found.judged
            judgement = judge(found, "auroc")
            rows.append(
                {
                    "method": method,
                    "chapter": paper.chapter,
                    "table": name,
                    "budget": found.budget if found.recorded else "",
                    "recorded": found.recorded,
                    "declared": found.declared,
                    "printed": shown["published"].mean(),
                    "ours": shown["ours"].mean(),
                    "classical": found.classical.mean(skipna=False),
                    "verdict": judgement.word,
                    "reason": judgement.reason,
                }
            )
    return pd.DataFrame(rows)


def status_markdown(folder: str | Path | None = None) -> str:
    """`status` as the README shows it: a table in Markdown, and how to read it."""
    papers = {method: paper for paper in registry.PAPERS.values() for method in paper.methods}
    lines = [
        "| method | chapter | table | budget | runs | printed | ours | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in status(folder).itertuples():
        paper = papers[row.method]
        cells = (
            f"`{row.method}`",
            f"[{paper.title}](book/{paper.chapter}.ipynb)",
            f"`{row.table}`",
            row.budget or "-",
            f"{row.recorded} of {row.declared}",
            f"{row.printed:.3f}",
            "-" if np.isnan(row.ours) else f"{row.ours:.3f}",
            f"[{row.verdict}](book/{paper.reproduction}.ipynb)",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "*Printed* and *ours* are mean AUROCs over the results of the table that were run, ours by the last",
        "epoch. *Small runs* are those of the quick budget, for two CPU cores: they show how a method works,",
        "and neither confirm nor refute the paper. `minigan.report.verdict` has the rules.",
    ]
    return "\n".join(lines)


def _main_table(key: str, method: str) -> str:
    """The first table that repeats one of the paper, with this method and none of the paper's others."""
    for table in tables.TABLES.values():
        if table.published and table.published[0] == key:
            methods = {cell.method for cell in table.cells("paper")}
            if methods.intersection(registry.PAPERS[key].methods) == {method}:
                return table.name
    raise ValueError(
        f"expected a table of {key!r} with {method} alone, got none; declare one in minigan/tables"
    )
