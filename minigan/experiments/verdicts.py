"""All verdicts on a paper at a glance: what its page of the book begins with, from the records alone.

    verdicts.of_paper("ygan")      # one row for each table and budget that has runs
    verdicts.page("ygan")          # the same as a table for the page; a click on a verdict says why
    verdicts.more_steps("ygan-1")  # the long runs beside the quick ones, and what they change in a sentence

Nothing is decided here: the words and their reasons are those of `report.verdict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from minigan import names as names_of
from minigan import registry, tables
from minigan.checks import require
from minigan.experiments import compare, records, report
from minigan.tables.cells import BUDGETS

#: What a column of the records is called in the head of a table.
EPOCHS = {"auroc": "last epoch", "auroc_selected": "selected epoch"}


@dataclass(frozen=True)
class Page:
    """A table as HTML; a notebook shows it as a cell's last value."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def of_paper(key: str, metrics: Sequence[str] = ("auroc",), folder: str | Path | None = None) -> pd.DataFrame:
    """The verdicts on a paper, one row for each of its tables, budget and metric.

    A budget has a row as soon as one of its runs of the paper's own methods is recorded; a table without any
    has one for the first budget in which it is declared. The paper's tables that ours do not repeat, because
    they print no AUROC, are left out.

    Args:
        key: the paper, a key of `registry.PAPERS`.
        metrics: columns of the records, see `report.HOW_MEASURED`; "auroc" is the last epoch.
        folder: the data folder.

    Returns columns "table" (as printed), "name" (ours), "budget", "metric", "word" and "reason" (of
    `report.verdict`), "printed", "ours" and "classical" (means over the judged results, see `report.status`),
    "recorded" and "declared" (runs of the paper's own methods).
    """
    require(key in registry.PAPERS, f"expected a paper out of {', '.join(registry.PAPERS)}, got {key!r}")
    rows = []
    for table in tables.TABLES.values():
        if table.published is None or table.published[0] != key:
            continue
        for budget, found in _with_runs(table.name, folder).items():
            for metric in metrics:
                judged = found if metric == "auroc" else report.evidence(table.name, metric, budget, folder)
                word, reason = report.judge(judged, metric)
                means = judged.own if judged.judged.empty else judged.judged
                rows.append(
                    {
                        "table": table.title.partition(", ")[2],
                        "name": table.name,
                        "budget": budget,
                        "metric": metric,
                        "word": word,
                        "reason": reason,
                        "printed": means["published"].mean(),
                        "ours": means["ours"].mean(),
                        "classical": found.classical.mean(skipna=False),  # it has no epochs
                        "recorded": judged.recorded,
                        "declared": judged.declared,
                    }
                )
    return pd.DataFrame(rows).sort_values(["table", "metric"], kind="stable", ignore_index=True)


def _with_runs(name: str, folder: str | Path | None) -> dict[str, report.Evidence]:
    """The evidence of the budgets with runs of the paper's methods; without any, of the first declared."""
    own = compare.own_methods(name)
    found = {}
    for budget in BUDGETS:
        runs = records.results(name, folder, budget)  # looked at first: evidence on thousands of runs is slow
        if runs.loc[runs["method"].isin(own), "auroc"].notna().any():
            found[budget] = report.evidence(name, "auroc", budget, folder)
    recorded = {budget: each for budget, each in found.items() if each.recorded}
    for budget in () if recorded else BUDGETS:
        each = found.get(budget) or report.evidence(name, "auroc", budget, folder)
        if each.declared:
            return {budget: each}
    return recorded


def page(key: str, metrics: Sequence[str] = ("auroc",), folder: str | Path | None = None) -> Page:
    """`of_paper` as a table for a page of the book; each verdict opens and shows its reason.

    Tables without any run stand below, in one sentence.
    """
    rows = of_paper(key, metrics, folder)
    untested = list(dict.fromkeys(rows.loc[rows["recorded"] == 0, "table"]))
    rows = rows[rows["recorded"] > 0]
    heads = ["table", "does it hold?", *(["epoch"] if len(metrics) > 1 else [])]
    heads += ["printed", "ours", "classical", "runs"]
    lines = []
    for row in rows.itertuples():
        why = f"<details><summary>{escape(row.word)}</summary>{escape(row.reason)}.</details>"
        epoch = [EPOCHS.get(row.metric, row.metric)] if len(metrics) > 1 else []
        numbers = [_number(value) for value in (row.printed, row.ours, row.classical)]
        runs = f"{row.recorded} of {row.declared} {row.budget}"
        cells = [escape(row.table), why, *epoch, *numbers, runs]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    below = f"<p>Not run so far: {escape('; '.join(untested))}.</p>" if untested else ""
    return Page(
        f'<div class="verdicts"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
        f"{below}</div>"
    )


def more_steps(*names: str, folder: str | Path | None = None) -> Page:
    """What the number of steps alone does: `compare.by_budget` of some tables as a table for a page.

    A sentence below says how often the long run is better than the quick one, over all methods that are
    trained in steps.
    """
    rows = compare.by_budget(*names, folder=folder)
    rows = rows[rows["long"].notna()]
    if rows.empty:
        return Page("<p>No long run of these tables is recorded so far.</p>")
    printed = rows["published"].notna().any()
    lines = []
    for (dataset, gamma, method, label, target), row in rows.iterrows():
        extra = f", {gamma:g} labelled" if gamma else ""
        what = f"{method}, {label}" if label else method
        cells = [names_of.readable(f"{dataset}, {target}{extra}"), names_of.readable(what)]
        for budget in ("quick", "long"):
            seeds = int(row[f"seeds of {budget}"])
            cells.append(f"{row[budget]:.3f} ({seeds})" if seeds else "–")
        cells += [_number(row["published"])] if printed else []
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = ["left-out or normal class", "method", "quick (seeds)", "long (seeds)"]
    head = "".join(f"<th>{name}</th>" for name in [*heads, *(["printed"] if printed else [])])
    trained = rows[~rows.index.get_level_values("method").isin(tables.CLASSICAL)].dropna(subset=["quick"])
    gain = trained["long"] - trained["quick"]
    said = ""
    if len(gain):
        between = f" (from {gain.min():+.3f} to {gain.max():+.3f})" if len(gain) > 1 else ""
        said = (
            f"<p>The long training raises {int((gain > 0).sum())} of {len(gain)} results of networks; the "
            f"mean difference is {gain.mean():+.3f}{between}.</p>"
        )
    return Page(
        f'<div class="verdicts"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
        f"{said}</div>"
    )


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
