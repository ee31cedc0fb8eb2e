"""Experiments: run cell by cell, and recorded so that nothing is lost or done twice.

    experiments.reproduce("digits", minutes=8)      # or: minigan reproduce digits --minutes 8
    experiments.summary("digits")                   # means, intervals, and how many runs are missing
    experiments.reproduce(None, minutes=60)         # or: minigan reproduce --next --minutes 60

`minigan.tables` declares what a table consists of: its cells, one run each. `runs.py` makes one run,
`sweep.py` those of a table that have no record yet, and `records.py` writes and reads the records, one line
of `<data folder>/results/<table>.csv` each. `published.py` has the papers' numbers, and `report.py` compares.

A cell is known by everything that it says. Changed settings make another cell, and records of the old one
stay in the file without being counted.
"""

from minigan.experiments.records import (
    COLUMNS,
    COUNTS,
    METRICS,
    VERSIONS,
    overview,
    results,
    saved_outputs,
    summary,
)
from minigan.experiments.runs import Interrupted, Trained, commit, measure, run, train
from minigan.experiments.sweep import RunsFailed, reproduce
from minigan.tables.cells import KEY, Cell

__all__ = [
    "COLUMNS",
    "COUNTS",
    "KEY",
    "METRICS",
    "VERSIONS",
    "Cell",
    "Interrupted",
    "RunsFailed",
    "Trained",
    "commit",
    "measure",
    "overview",
    "reproduce",
    "results",
    "run",
    "saved_outputs",
    "summary",
    "train",
]
