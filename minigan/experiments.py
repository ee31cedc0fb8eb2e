"""Experiments: run cell by cell, and recorded so that nothing is lost or done twice.

    experiments.reproduce("digits", minutes=8)      # or: minigan reproduce digits --minutes 8
    experiments.summary("digits")                   # means, intervals, and how many runs are missing
    experiments.reproduce(None, minutes=60)         # or: minigan reproduce --next --minutes 60

What a table consists of, `tables.py` and `paper_tables.py` declare: its cells, one run each. `reproduce` runs
those that have no record yet, and writes each record as one line of `<data folder>/results/<table>.csv` as
soon as it is there. `data/README.md` explains the columns.

What can be relied on, and how:

* Killing the sweep loses the runs under way and nothing else. A line that a crash cut short is ignored when
  reading and removed before the next one is written.
* Any number of processes may work on one table, also from several machines on a shared folder. Each holds an
  operating system's lock on its cell, which ends with the process, however that ends.
* A cell is known by everything that it says. Changed settings make another cell, and records of the old
  one stay in the file without being counted.
* A cell's run does not depend on which process runs it, or beside what: one thread each, its own seed.
* Cells that differ in nothing but how they score (`scored_by`) share one training.

Two things are measured beside a method's own AUROC, because papers report them: that of the epoch chosen on
anomalous validation images, and that of scores which lean on the batch (`minigan.leaks`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from joblib import Parallel, delayed

import minigan
from minigan import data, metrics, protocols, registry
from minigan.cells import KEY, SEEDS, WITH_ANOMALIES, WITHOUT_TARGET, Cell
from minigan.datafiles import ROOT, data_folder
from minigan.tables import TABLES, table

if TYPE_CHECKING:
    from minigan.detector import Detector

METRICS = ("auroc", "auroc_selected", "average_precision", "auroc_mixed", "auroc_sorted")
VERSIONS = ("torch", "scikit-learn")  # of these packages, beside Python's and minigan's own
COUNTS = ("n_train", "n_test", "epochs")
#: What tells one cell from another, then what was measured, then where.
COLUMNS = (*KEY, *METRICS, *COUNTS, "seconds", "device", "python", *VERSIONS, "minigan", "commit", "date")

# ---------------------------------------------------------------------- one run


@dataclass(frozen=True)
class Trained:
    """What `train` leaves for `measure`."""

    split: protocols.Split
    detector: Detector
    seconds: float


def run(cell: Cell) -> dict[str, Any]:
    """Train and measure; the record, by the names in `COLUMNS`. Nothing is written."""
    return measure(cell, train(cell))


def train(cell: Cell) -> Trained:
    """The cell's detector, trained on the cell's split."""
    split, detector = _split(cell), _detector(cell)
    labels = {
        "ignored": None,
        "anomalies": split.train_labels,  # None too, unless the protocol is `supervised`
        "classes": split.train_classes,
    }[detector.label_meaning]
    with _one_thread():
        began = time.perf_counter()
        detector.fit(split.train, labels, validation=split.held_out)
        seconds = time.perf_counter() - began
    if len(detector.history_) < getattr(detector, "epochs", 0):
        raise KeyboardInterrupt  # fit keeps what it has when interrupted; a record is of a whole run
    return Trained(split, detector, seconds)


def measure(cell: Cell, trained: Trained) -> dict[str, Any]:
    """The record of a cell from what was trained for it, or for another one with the same `training`."""
    import torch  # here, because whoever only reads records should not wait for it

    from minigan import leaks
    from minigan.detector import NeuralDetector

    split, detector, seconds = trained.split, trained.detector, trained.seconds
    if hasattr(detector, "scored_by"):
        detector.set_params(scored_by=_detector(cell).scored_by)
    with _one_thread():
        # All three of the last epoch, so before `use("selected")`.
        if isinstance(detector, NeuralDetector):
            scores = leaks.batch_statistics(detector, split.test, split.test_labels, seed=cell.seed)
        else:
            scores = {"evaluation": detector.anomaly_score(split.test)}
        selected = ""
        if hasattr(detector, "selected_epoch_"):  # there were anomalous validation images
            selected = metrics.auroc(split.test_labels, detector.use("selected").anomaly_score(split.test))
            detector.use("last")

    record = dict(zip(KEY, cell.key, strict=True))
    record["auroc"] = metrics.auroc(split.test_labels, scores["evaluation"])
    record["auroc_selected"] = selected
    record["average_precision"] = metrics.average_precision(split.test_labels, scores["evaluation"])
    # Left empty where batch norm takes no part in the score: nothing was measured that is not said already.
    leaky = any(not np.array_equal(s, scores["evaluation"]) for s in scores.values())
    for name in ("mixed", "sorted"):
        record[f"auroc_{name}"] = metrics.auroc(split.test_labels, scores[name]) if leaky else ""
    record["n_train"], record["n_test"] = len(split.train), len(split.test)
    record["epochs"], record["seconds"] = len(detector.history_), round(seconds, 2)
    device = getattr(detector, "device_", torch.device("cpu"))
    record["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    record["python"] = platform.python_version()
    record |= {package: version(package) for package in VERSIONS}
    record["minigan"], record["commit"] = minigan.__version__, commit()
    record["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    return record


@contextmanager
def _one_thread() -> Iterator[None]:
    """Inside, torch has one thread: networks are small, and sums in another order round differently."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _split(cell: Cell) -> protocols.Split:
    dataset = _dataset(cell.dataset, json.dumps(cell.options))
    if cell.protocol in WITHOUT_TARGET:
        return getattr(protocols, cell.protocol)(dataset, seed=cell.seed)
    gamma = {"gamma": cell.gamma} if cell.protocol in WITH_ANOMALIES else {}
    return getattr(protocols, cell.protocol)(dataset, cell.target, seed=cell.seed, **gamma)


@lru_cache(maxsize=4)
def _dataset(name: str, options: str) -> data.Dataset:
    return data.load(name, **json.loads(options))


def _detector(cell: Cell) -> Detector:
    detector = registry.get(cell.method)(**cell.settings, seed=cell.seed)
    return detector.set_params(progress=False) if hasattr(detector, "progress") else detector


@cache
def commit() -> str:
    """The commit of this checkout, with a "+" behind it where `minigan/` differs; "" outside of one."""
    if not (ROOT / ".git").exists():
        return ""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", "minigan") else "")
    except (OSError, subprocess.CalledProcessError):  # no git here, or it does not trust this folder
        return ""


# ---------------------------------------------------------------------- many runs


def reproduce(
    name: str | None,
    jobs: int | None = None,
    minutes: float | None = None,
    folder: str | Path | None = None,
    budget: str = "quick",
) -> pd.DataFrame:
    """Run what a table still lacks, and record it; returns `results`, or `overview` of all tables.

    Args:
        name: of a table, see `minigan.tables`. None takes all of them: the first seed of each table, then the
            second, in the order in which they are declared.
        jobs: runs side by side, -1 for one on each core. None is joblib's own setting: one, unless
            `joblib.parallel_config` says otherwise, which can also spread the sweep, by its `backend`,
            over a cluster whose machines share the folder. On a GPU, several small networks train side by
            side in the time of one.
        minutes: start no run after so many; None runs all.
        folder: the data folder, see `data_folder`.
        budget: "quick", for two cores, or "paper", what the paper spent.

    A run whose data set is not here waits, and a line says so.

    Raises:
        ValueError: there is no such table or budget, the table has no runs of it, or its file cannot be read.
        FileNotFoundError: nothing could be run, because the data sets are not here.
        RuntimeError: some runs failed. The others are done and recorded, and the failed ones come again;
            `run(cell)` shows where one fails.
    """
    folder = data_folder() if folder is None else Path(folder).resolve()
    chosen = list(TABLES.values()) if name is None else [table(name)]
    # A cell that stands in several tables comes once.
    cells = list({(c.table, *c.key): c for each in chosen for c in each.cells(budget)}.values())
    if not cells:
        raise ValueError(f"{name} has no runs of the budget {budget!r}")
    if name is None:
        cells.sort(key=lambda cell: cell.seed)
    done = _done(cells, folder)
    missing = [cell for cell in cells if (cell.table, *cell.key) not in done]
    deadline = np.inf if minutes is None else time.time() + 60 * minutes
    trainings: dict[tuple[str, ...], list[Cell]] = {}
    for cell in missing:
        trainings.setdefault((cell.table, *cell.training), []).append(cell)
    started = list[Cell]()
    runs = Parallel(n_jobs=jobs)(
        delayed(_run_and_record)(each, folder, deadline, keeping=_is_kept(each[0]))
        for each in _with_data(list(trainings.values()), deadline, started)
    )
    if missing and not started and time.time() < deadline:
        raise FileNotFoundError(
            f"{len(missing)} runs wait for data sets that are not here; `minigan datasets` says where to get "
            "them"
        )
    failures = [failure for failed in runs for failure in failed]
    if failures:
        raise RuntimeError(
            f"{len(failures)} of {len(started)} runs failed and will be tried again next time; {failures[0]}"
        )
    return overview(folder, budget) if name is None else results(name, folder, budget)


def _with_data(trainings: Sequence[list[Cell]], deadline: float, started: list[Cell]) -> Iterator[list[Cell]]:
    """The trainings whose data set can be loaded, one by one, as they are wanted; one line for what cannot.

    Their cells are added to `started`.
    """

    def of(cell: Cell) -> tuple[str, str]:
        return cell.dataset, json.dumps(cell.options)

    here: dict[tuple[str, str], bool] = {}
    for cells in trainings:
        wanted = of(cells[0])
        if time.time() >= deadline:
            return
        if wanted not in here:
            try:
                _dataset(*wanted)
                here[wanted] = True
            except (OSError, ValueError) as error:
                here[wanted] = False
                concerned = sum(len(each) for each in trainings if of(each[0]) == wanted)
                print(f"{concerned} runs wait: {error}", flush=True)
        if here[wanted]:
            started += cells
            yield cells


def _run_and_record(cells: Sequence[Cell], folder: Path, deadline: float, keeping: bool) -> list[str]:
    """Run cells that share a training, unless they are done, being done or too late; says what failed.

    May run in another process, which knows the tables that minigan declares and no others.
    """
    if time.time() >= deadline:
        return []
    path, failures = _path(cells[0].table, folder), []

    def failed(cell: Cell, error: Exception) -> str:
        print(f"{cell}: failed: {error}", flush=True)
        return f"{cell}: {type(error).__name__}: {error}"

    digest = hashlib.sha256("\n".join(cells[0].training).encode()).hexdigest()[:16]
    try:
        with _lock(folder, f"{cells[0].table}-{digest}", timeout=0):
            done = _keys(path)  # by now another process may have done some
            cells = [cell for cell in cells if cell.key not in done]
            try:
                trained = train(cells[0]) if cells else None
            except Exception as error:  # one run that fails must not stop the others
                return [failed(cell, error) for cell in cells]
            for cell in cells:
                try:
                    record = measure(cell, trained)
                except Exception as error:
                    failures.append(failed(cell, error))
                    continue
                if keeping:
                    _keep(cell, trained, folder)
                _append(path, record, folder)
                print(f"{cell}: AUROC {record['auroc']:.3f} in {record['seconds']:.0f} s", flush=True)
    except Timeout:  # another process is at it
        pass
    return failures


# ---------------------------------------------------------------------- the records


def results(name: str, folder: str | Path | None = None, budget: str = "quick") -> pd.DataFrame:
    """One row per cell of the table, in its order; what has no record has NaN and "" from `auroc` on."""
    cells = table(name).cells(budget)
    records: dict[tuple[str, ...], dict[str, str]] = {}
    for part in dict.fromkeys(cell.table for cell in cells):
        for record in _records(_path(part, folder)):
            # The first counts, should git have merged two.
            records.setdefault((part, *_key(record)), record)
    rows = []
    for cell in cells:
        blank = dict.fromkeys(COLUMNS, "") | dict(zip(KEY, cell.key, strict=True))
        rows.append(records.get((cell.table, *cell.key), blank))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    for column in ("gamma", "seed", *METRICS, *COUNTS, "seconds"):
        frame[column] = pd.to_numeric(frame[column])
    return frame.astype(dict.fromkeys(COUNTS, "Int64"))  # whole numbers, or missing


def overview(folder: str | Path | None = None, budget: str = "quick") -> pd.DataFrame:
    """One row per table that has runs of this budget: title, runs, and how many of these are recorded."""
    rows = {}
    for each in TABLES.values():
        recorded = results(each.name, folder, budget)["auroc"].notna()
        if len(recorded):
            rows[each.name] = {"title": each.title, "runs": len(recorded), "recorded": int(recorded.sum())}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["title", "runs", "recorded"])


def kept(cell: Cell, folder: str | Path | None = None) -> dict[str, np.ndarray] | None:
    """What is kept of a run beside its record, for figures; None if nothing is.

    That is the case for networks and the first seed of the papers' tables. The arrays: "scores" (n,) of the
    test images by the last epoch, "anomalous" (n,) bool, "classes" (n,) the data set's own labels of them,
    "subclasses" (n,) where it has some; and the columns of `history_`, each with "history_" before its name.
    """
    path = _kept_path(cell, folder)
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _is_kept(cell: Cell) -> bool:
    return cell.seed == SEEDS[0] and table(cell.table).paper is not None


def _keep(cell: Cell, trained: Trained, folder: Path) -> None:
    split, detector = trained.split, trained.detector
    if not hasattr(detector, "use"):  # no network
        return
    dataset = _dataset(cell.dataset, json.dumps(cell.options))
    scores = detector.use("last").anomaly_score(split.test)
    arrays = {"scores": scores.astype(np.float32), "anomalous": split.test_labels.astype(bool)}
    arrays["classes"] = dataset.labels[split.test_index].astype(np.int16)
    if dataset.subclasses is not None:
        arrays["subclasses"] = dataset.subclasses[split.test_index].astype(np.int16)
    history = detector.history_.reset_index()
    arrays |= {f"history_{name}": history[name].to_numpy(np.float32) for name in history}
    path = _kept_path(cell, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".tmp").open("wb") as file:
        np.savez_compressed(file, **arrays)
    path.with_suffix(".tmp").replace(path)


def _kept_path(cell: Cell, folder: str | Path | None) -> Path:
    digest = hashlib.sha256("\n".join(cell.key).encode()).hexdigest()[:16]
    return _path(cell.table, folder).parent / "scores" / cell.table / f"{digest}.npz"


def summary(
    name: str, metric: str = "auroc", folder: str | Path | None = None, budget: str = "quick"
) -> pd.DataFrame:
    """Per protocol, method and label: mean of a metric over targets and seeds, interval, runs, missing runs.

    `low` and `high` are `metrics.mean_interval`'s. The mean is over the runs that are there, so compare
    methods only where none is missing. A table with several data sets has "dataset" as the first level of the
    index, one with more than one gamma has "gamma" as the last, and a mean for each.

    `metric` is "auroc" (of the last epoch), "auroc_selected" (of the epoch chosen on anomalous validation
    images), "average_precision", or "auroc_mixed" and "auroc_sorted" (of scores that lean on the statistics
    of batches of 64 images, see `leaks.batch_statistics`; no runs where batch norm takes no part in them).
    """
    if metric not in METRICS:
        raise ValueError(f"there is no metric {metric!r} in the records; choose one of {', '.join(METRICS)}")
    frame, rows = results(name, folder, budget), []
    by = ["dataset"] * (frame["dataset"].nunique() > 1) + ["protocol", "method", "label"]
    by += ["gamma"] * (frame["gamma"].nunique() > 1)
    for group, cells in frame.groupby(by, sort=False):
        values = cells[metric].dropna()
        mean, low, high = metrics.mean_interval(values) if len(values) else (np.nan,) * 3
        rows.append((*group, mean, low, high, len(values), int(cells["auroc"].isna().sum())))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "runs", "missing"]).set_index(by)


def _path(name: str, folder: str | Path | None) -> Path:
    return Path(data_folder() if folder is None else folder) / "results" / f"{name}.csv"


def _lock(folder: Path, name: str, timeout: float = -1) -> FileLock:
    """A lock that the operating system takes back when the process ends. Its empty file stays behind."""
    (folder / "claims").mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "claims" / f"{name}.lock", timeout=timeout)


def _append(path: Path, record: Mapping[str, Any], folder: Path) -> None:
    """Write one line, whole, behind the whole lines that are there."""
    with _lock(folder, path.stem):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _whole_lines(path)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        if not kept:
            writer.writeheader()
        writer.writerow(record)
        with path.open("ab", buffering=0) as file:
            file.truncate(len(kept))
            file.write(text.getvalue().encode())  # unbuffered: one call of the operating system
            os.fsync(file.fileno())


def _whole_lines(path: Path) -> bytes:
    """The file up to its last line break: what follows is what a crash left of a line."""
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def _records(path: Path) -> list[dict[str, str]]:
    """All whole records of a file, as text; ValueError when it is not one of ours."""
    lines = list(csv.reader(_whole_lines(path).decode().splitlines()))
    if lines and tuple(lines[0]) != COLUMNS:
        raise ValueError(
            f"{str(path)!r} has other columns than this version of minigan writes: move it away, or use the "
            "version that wrote it"
        )
    for number, line in enumerate(lines, start=1):
        if len(line) != len(COLUMNS):
            raise ValueError(
                f"line {number} of {str(path)!r} has {len(line)} values instead of {len(COLUMNS)}: "
                "repair or delete it"
            )
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines[1:]]


def _key(record: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(record[name] for name in KEY)


def _keys(path: Path) -> set[tuple[str, ...]]:
    return {_key(record) for record in _records(path)}


def _done(cells: Sequence[Cell], folder: Path) -> set[tuple[str, ...]]:
    """Of these cells, those with a record, as (table, *key)."""
    keys = {name: _keys(_path(name, folder)) for name in {cell.table for cell in cells}}
    return {(cell.table, *cell.key) for cell in cells if cell.key in keys[cell.table]}
