"""What detectors cost: the measurements of `make bench`, read from and written to `results/speed.csv`.

    speed.measured("methods", "ms per step")     # a Series, one number for each method
    speed.minutes("paper")                       # minutes on one core, for each table of the papers

Each line is one measurement: the median of repetitions that took turns with what it is compared with, in
seconds of CPU time where nothing else is said, and the machine. The scripts that measure are in the folder
`bench` of the checkout. Reading the file imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from minigan import tables
from minigan.checks import require
from minigan.experiments import records
from minigan.files import replacing
from minigan.registry import PAPERS

#: The name of the file, without its ending; `records.lock` has the same.
NAME = "speed"
#: What was measured: a part of the benchmark, what it is about, in which way, and which quantity.
KEY = ("section", "name", "variant", "metric")
#: The value, the quartiles around it and the number of repetitions; then where and when.
COLUMNS = (
    *KEY,
    *("value", "low", "high", "repetitions"),
    *("machine", "threads", "load", "python", "torch", "minigan", "commit", "date"),
)
#: What identifies a line: the same measurement on the same machine replaces it.
SAME = [*KEY, "machine"]


def note(rows: Iterable[Mapping[str, Any]], folder: str | Path | None = None) -> None:
    """Write measurements into the file, in place of earlier ones of the same thing on the same machine.

    The file is replaced whole, so one that is killed leaves the old lines or the new ones.
    """
    path = records.record_file(NAME, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with records.lock(path.parent.parent, NAME):
        old = everything(folder)
        new = pd.DataFrame([{name: str(row.get(name, "")) for name in COLUMNS} for row in rows])
        both = (pd.concat([old, new]) if len(old) else new).drop_duplicates(SAME, keep="last")
        with replacing(path) as temporary:
            both.to_csv(temporary, index=False, lineterminator="\n")


def everything(folder: str | Path | None = None) -> pd.DataFrame:
    """All lines of the file as text, in the order in which they were measured; none if there is no file."""
    path = records.record_file(NAME, folder)
    if not path.is_file():
        return pd.DataFrame(columns=list(COLUMNS), dtype=str)
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    require(
        list(frame.columns) == list(COLUMNS),
        f"expected the columns that this version of minigan writes in {str(path)!r}, got others; move it "
        "away, and run make bench again",
    )
    return frame


def results(folder: str | Path | None = None) -> pd.DataFrame:
    """The measurements of one machine, the one that measured last; "value", "low" and "high" are numbers."""
    frame = everything(folder)
    if len(frame):
        frame = frame[frame["machine"] == frame.sort_values("date")["machine"].iloc[-1]]
    numbers = ["value", "low", "high", "repetitions", "load"]
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in numbers}).reset_index(drop=True)


def measured(
    section: str, metric: str, variant: str | None = "", folder: str | Path | None = None
) -> pd.Series:
    """One quantity of a section: a number by name, or, with `variant=None`, by name and variant."""
    frame = results(folder)
    frame = frame[(frame["section"] == section) & (frame["metric"] == metric)]
    if variant is None:
        return frame.set_index(["name", "variant"])["value"].rename(metric)
    return frame[frame["variant"] == variant].set_index("name")["value"].rename(metric)


def minutes(budget: str, folder: str | Path | None = None) -> pd.DataFrame:
    """How long each table of the five papers takes: its paper's own methods, on one core.

    One row for each table, with "title", "runs", the "longest" run, and "minutes" for all of them, one after
    the other. With the quick budget they are the recorded times of training, and their mean for runs without
    a record. With the paper's, which nobody has run on a CPU, they are steps times the measured milliseconds
    of one; data sets that were not on the measuring machine are left out, and `counted` says how many runs
    the minutes are for.
    """
    require(budget in ("quick", "paper"), f"expected budget 'quick' or 'paper', got {budget!r}; choose one")
    steps = measured("tables", "steps per run", None, folder)
    each = measured("tables", "ms per step", None, folder)
    rows = {}
    for paper in PAPERS.values():
        for name, table in tables.TABLES.items():
            own = [cell for cell in table.cells(budget) if cell.method in paper.methods and table.owns(cell)]
            own = list({cell.training: cell for cell in own}.values())  # scores that share one count once
            if not own or table.published is None or PAPERS[table.published[0]] is not paper:
                continue
            if budget == "quick":
                frame = records.results(name, folder, budget)
                seconds = frame[frame["method"].isin(paper.methods)].groupby("dataset")["seconds"].mean()
                found = [seconds.get(cell.dataset, float("nan")) / 60 for cell in own]
            else:
                keys = [(name, f"{cell.method} {cell.dataset}") for cell in own]
                found = [steps.get(key, float("nan")) * each.get(key, float("nan")) / 60_000 for key in keys]
            known = pd.Series(found, dtype=float).dropna()
            rows[name] = {
                "title": table.title,
                "runs": len(own),
                "counted": len(known),
                "longest": known.max(),
                "minutes": known.sum() if len(known) else float("nan"),
            }
    return pd.DataFrame.from_dict(rows, orient="index")
