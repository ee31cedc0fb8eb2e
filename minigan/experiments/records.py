"""Records of runs: CSV files with one line per run, safe against crashes and parallel writers.

    experiments.results("digits")      # one row per cell, recorded or missing
    experiments.summary("digits")      # means, intervals, and how many runs are missing
    experiments.overview()             # every table, and how much of it is recorded

The records of a table are the lines of `<data folder>/results/<table>.csv`; `data/README.md` explains the
columns. Reading them imports no torch.

A record is one write of one whole line, flushed to the disk, under a lock of the operating system. A line
that a crash cut short is ignored when reading, and removed before the next one is written. Beside the records
of the papers' tables, `results/scores/` holds test scores and training curves for figures (`saved_outputs`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from minigan import metrics, tables
from minigan.checks import require
from minigan.files import replacing
from minigan.paths import data_folder
from minigan.tables.cells import KEY, Cell

METRICS = (
    "auroc",
    "auroc_selected",
    "auroc_averaged",
    "auroc_late_mean",
    "auroc_late_std",
    "average_precision",
    "auroc_mixed",
    "auroc_sorted",
)
#: The packages whose versions a record names, beside Python's and minigan's own.
VERSIONS = ("torch", "scikit-learn")
COUNTS = ("n_train", "n_test", "epochs")
#: What distinguishes one cell from another, then what was measured, then where.
COLUMNS = (*KEY, *METRICS, *COUNTS, "seconds", "device", "python", *VERSIONS, "minigan", "commit", "date")
#: Columns that were added later: files of earlier versions lack them.
ADDED = ("auroc_averaged", "auroc_late_mean", "auroc_late_std")

# ---------------------------------------------------------------------- reading


def results(name: str, folder: str | Path | None = None, budget: str = "quick") -> pd.DataFrame:
    """One row per cell of the table, in its order; a cell without a record has NaN and "" from `auroc` on."""
    cells = tables.table(name).cells(budget)
    records: dict[tuple[str, ...], dict[str, str]] = {}
    for part in dict.fromkeys(cell.table for cell in cells):
        for record in read_records(record_file(part, folder)):
            # The first counts, should git have merged two.
            records.setdefault((part, *key_of(record)), record)
    rows = []
    for cell in cells:
        blank = dict.fromkeys(COLUMNS, "") | dict(zip(KEY, cell.key, strict=True))
        rows.append(records.get((cell.table, *cell.key), blank))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in ("gamma", "seed", *METRICS, *COUNTS, "seconds"):
        frame[column] = pd.to_numeric(frame[column])
    return frame.astype(dict.fromkeys(COUNTS, "Int64"))  # whole numbers, or missing


def overview(folder: str | Path | None = None, budget: str = "quick") -> pd.DataFrame:
    """One row per table that has runs of this budget: title, runs, and how many of these are recorded."""
    rows = {}
    for table in tables.TABLES.values():
        recorded = results(table.name, folder, budget)["auroc"].notna()
        if len(recorded):
            rows[table.name] = {
                "title": table.title,
                "runs": len(recorded),
                "recorded": int(recorded.sum()),
            }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["title", "runs", "recorded"])


def summary(
    name: str, metric: str = "auroc", folder: str | Path | None = None, budget: str = "quick"
) -> pd.DataFrame:
    """Per protocol, method and label: mean of a metric over targets and seeds, interval, runs, missing runs.

    `low` and `high` are `metrics.mean_interval`'s. The mean is over the runs that are recorded, so compare
    methods only where none is missing. A table with several data sets has "dataset" as the first level of the
    index, one with more than one gamma has "gamma" as the last, and a mean for each.

    `metric` is one of `METRICS`: "auroc" (of the last epoch), "auroc_selected" (of the epoch chosen on
    anomalous validation images), "auroc_averaged" (of the running average of the weights), "auroc_late_mean"
    and "auroc_late_std" (mean and standard deviation over the last epochs), "average_precision", or
    "auroc_mixed" and "auroc_sorted" (of scores that depend on the statistics of batches of 64 images, see
    `leaks.batch_statistics`; no runs where batch norm takes no part in them). Runs that were recorded before
    minigan had a metric have none.
    """
    check_metric(metric)
    frame = results(name, folder, budget)
    by = ["protocol", "method", "label"]
    if frame["dataset"].nunique() > 1:
        by.insert(0, "dataset")
    if frame["gamma"].nunique() > 1:
        by.append("gamma")
    rows = []
    for group, cells in frame.groupby(by, sort=False):
        values = cells[metric].dropna()
        mean, low, high = metrics.mean_interval(values) if len(values) else (np.nan, np.nan, np.nan)
        rows.append((*group, mean, low, high, len(values), int(cells["auroc"].isna().sum())))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "runs", "missing"]).set_index(by)


def check_metric(metric: str) -> None:
    """Raise a ValueError unless the records have this metric."""
    require(
        metric in METRICS,
        f"expected a metric of the records, got {metric!r}; choose one of {', '.join(METRICS)}",
    )


# ---------------------------------------------------------------------- saved outputs


def saved_outputs(cell: Cell, folder: str | Path | None = None) -> dict[str, np.ndarray] | None:
    """What was saved of a run beside its record, for figures; None if nothing was.

    Outputs are saved of networks, for the first seed of the papers' tables. The arrays: "scores" (n,) of the
    test images by the last epoch, "anomalous" (n,) bool, "classes" (n,) the data set's own labels of them,
    "subclasses" (n,) where it has some; and the columns of `history_`, each with "history_" before its name.
    """
    path = outputs_file(cell, folder)
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def save_outputs(cell: Cell, arrays: Mapping[str, np.ndarray], folder: str | Path | None = None) -> None:
    """Write the arrays of a run, whole or not at all."""
    path = outputs_file(cell, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **dict(arrays))  # type: ignore[arg-type]


def outputs_file(cell: Cell, folder: str | Path | None) -> Path:
    """Where the outputs of a cell are saved: other settings have another file."""
    digest = hashlib.sha256("\n".join(cell.key).encode()).hexdigest()[:16]
    return record_file(cell.table, folder).parent / "scores" / cell.table / f"{digest}.npz"


# ---------------------------------------------------------------------- the files


def record_file(name: str, folder: str | Path | None) -> Path:
    """The CSV file of a table in the data folder."""
    return Path(data_folder() if folder is None else folder) / "results" / f"{name}.csv"


def lock(folder: Path, name: str, timeout: float = -1) -> FileLock:
    """A lock that the operating system takes back when the process ends; its empty file stays behind."""
    (folder / "claims").mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "claims" / f"{name}.lock", timeout=timeout)


def append_record(record: Mapping[str, Any], name: str, folder: Path) -> None:
    """Write one line, whole, after the whole lines of the table's file."""
    path = record_file(name, folder)
    with lock(folder, name):
        path.parent.mkdir(parents=True, exist_ok=True)
        _bring_up_to_date(path)
        whole = _whole_lines(path)
        text = _as_lines([record]) if whole else _as_lines([record], header=True)
        with path.open("ab", buffering=0) as file:
            file.truncate(len(whole))
            file.write(text.encode())  # unbuffered: one call of the operating system
            os.fsync(file.fileno())


def _bring_up_to_date(path: Path) -> None:
    """Rewrite a file that lacks some of today's columns, which are then empty in its lines."""
    header = _whole_lines(path).split(b"\n", 1)[0].decode()
    if header and header != ",".join(COLUMNS):
        text = _as_lines(read_records(path), header=True)
        with replacing(path) as temporary:
            temporary.write_bytes(text.encode())


def _as_lines(rows: Iterable[Mapping[str, Any]], *, header: bool = False) -> str:
    """Records as lines of the file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_records(path: Path) -> list[dict[str, str]]:
    """All whole records of a file, as text; none if there is no file.

    A file of an earlier version may lack columns that were added since; they are "".

    Raises:
        ValueError: the file is not one that minigan wrote, or that a later version did.
    """
    header, *lines = list(csv.reader(_whole_lines(path).decode().splitlines())) or [list(COLUMNS)]
    known = [name for name in COLUMNS if name in header]
    if header != known or not {*COLUMNS} - {*ADDED} <= {*header}:
        raise ValueError(
            f"expected the columns that this version of minigan writes in {str(path)!r}, got others; move it "
            "away, or use the version that wrote it"
        )
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise ValueError(
                f"expected {len(header)} values in line {number} of {str(path)!r}, got {len(line)}; repair "
                "or delete the line"
            )
    blank = dict.fromkeys(COLUMNS, "")
    return [blank | dict(zip(header, line, strict=True)) for line in lines]


def recorded_keys(path: Path) -> set[tuple[str, ...]]:
    """The keys of all cells that have a record in a file."""
    return {key_of(record) for record in read_records(path)}


def key_of(record: Mapping[str, str]) -> tuple[str, ...]:
    """The `Cell.key` of a record."""
    return tuple(record[name] for name in KEY)


def _whole_lines(path: Path) -> bytes:
    """The file up to its last line break; after that stands only what a crash left of a line."""
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]
