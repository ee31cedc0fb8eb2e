"""Many runs: the cells of a table that have no record yet are run and recorded, one by one or side by side.

    experiments.reproduce("digits", minutes=8)      # or: minigan reproduce digits --minutes 8
    experiments.reproduce(None, minutes=60)         # or: minigan reproduce --next --minutes 60

What can be relied on, and how:

* Killing the sweep loses a minute of the runs in progress and nothing else: a record is written when its run
  ends, and a long training goes on where it was (`minigan.resuming`), unless minigan has changed since.
* Any number of processes may work on one table, also from several machines on a shared folder. Each holds a
  lock of the operating system on its cell, which ends with the process, however that ends.
* Cells that differ only in how they score (`scored_by`) share one training.
* On a GPU, several networks train in turn in one process (`minigan.turns`), with the numbers that each would
  have alone. When the time is over they stop, and the next call goes on with them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import Timeout
from joblib import Parallel, delayed, effective_n_jobs

from minigan import registry, tables
from minigan.checks import require
from minigan.experiments import records, runs
from minigan.paths import data_folder
from minigan.tables.cells import SEEDS, Cell
from minigan.turns import Paused, in_turn, run_to_the_end
from minigan.wording import duration

#: Trains a cell, with a file for its state, pausing after each step.
Train = Callable[[Cell, Path], Generator[None, None, runs.Trained]]
#: The type of device on which networks train in turn.
TURNS_ON = "cuda"
#: Trainings that take turns there, unless something else is asked for.
ON_A_GPU = 8


class RunsFailed(RuntimeError):
    """Some runs of a sweep failed; all others are done and recorded."""


def reproduce(
    name: str | None,
    jobs: int | None = None,
    minutes: float | None = None,
    folder: str | Path | None = None,
    budget: str = "quick",
    seeds: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Run the cells of a table that have no record, and record them; returns `results` or `overview`.

    Args:
        name: of a table, see `minigan.tables`. None takes all of them: the first seed of each table, then the
            second, in the order in which they are declared; what is returned is then the `overview`.
        jobs: runs side by side, -1 for one on each core. None is joblib's own setting: one, unless
            `joblib.parallel_config` says otherwise, which can also spread the sweep, by its `backend`,
            over a cluster whose machines share the folder. On a GPU, so many networks train in turn, in one
            process, and None is `ON_A_GPU`.
        minutes: start no run after so many; None runs all. Networks on a GPU then also stop, after the epoch
            in progress, and the next call goes on with them.
        folder: the data folder, see `paths.data_folder`.
        budget: "quick", for two cores; "long", the paper's steps with small networks; or "paper", what the
            paper spent.
        seeds, methods, targets: only cells with one of these; None takes all.

    A run whose data set is not here waits, and a line says so.

    Raises:
        ValueError: there is no such table or budget, the table has no runs of it, or its file cannot be read.
        FileNotFoundError: nothing could be run, because the data sets are not here.
        RunsFailed: some runs failed. The others are done and recorded, and the next call tries the failed
            ones again; `run(cell)` shows where one fails.
        Interrupted: Ctrl-C or another signal stopped a training. What was recorded before stays.
    """
    folder = data_folder() if folder is None else Path(folder).resolve()
    cells = _asked_for(name, budget, seeds, methods, targets)
    missing = _missing(cells, folder)
    trainings: dict[tuple[str, ...], list[Cell]] = {}
    for cell in missing:
        trainings.setdefault((cell.table, *cell.training), []).append(cell)
    deadline = np.inf if minutes is None else time.time() + 60 * minutes
    started: list[Cell] = []
    at_once, on_gpu, others = _on_a_gpu(list(trainings.values()), jobs)
    failed = [] if not on_gpu else _in_turn(_with_data(on_gpu, deadline, started), at_once, folder, deadline)
    failed += Parallel(n_jobs=jobs)(
        delayed(_run_and_record)(each, folder, deadline, saves_outputs=_saves_outputs(each[0]))
        for each in _with_data(others, deadline, started)
    )
    if missing and not started and time.time() < deadline:
        raise FileNotFoundError(
            f"expected the data sets of {len(missing)} runs, got none of them; `minigan datasets` says where "
            "to find them"
        )
    failures = [failure for each in failed for failure in each]
    if failures:
        raise RunsFailed(
            f"expected none of {len(started)} runs to fail, got {len(failures)}; call again to repeat the "
            f"failed ones, the first is {failures[0]}"
        )
    return records.overview(folder, budget) if name is None else records.results(name, folder, budget)


@contextmanager
def dask_client(address: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """A client of a dask cluster: the one with this address, or one of processes on this machine.

    `workers` is the number of those processes; None is one for each core. dask has its workers give freed
    memory back to the system at once. A training of small networks asks for the same memory again in each
    step, and takes a third longer with that; so workers here do not do it. On a cluster, `dask worker
    --no-nanny` starts one that does not either.

    Raises ValueError where the package distributed is missing.
    """
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            "expected the package distributed for --backend dask, got none; install it with "
            "pip install 'dask[distributed]'"
        ) from error
    options = {"threads_per_worker": 1, "n_workers": workers} if address is None else {}
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1}}),
        Client(address, **options) as client,
    ):
        yield client


def plan(
    name: str | None,
    folder: str | Path | None = None,
    budget: str = "quick",
    seeds: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
) -> str:
    """What `reproduce` would run, and how long that takes one after the other: a line, "" for nothing.

    The time is that of recorded runs of the same method, table and budget. Takes and raises what `reproduce`
    does.
    """
    folder = data_folder() if folder is None else Path(folder).resolve()
    cells = _asked_for(name, budget, seeds, methods, targets)
    missing = _missing(cells, folder)
    trainings = list({(c.table, *c.training): c for c in missing}.values())  # those that others share, once
    known: dict[tuple[str, str], list[float]] = {}
    for part in {cell.table for cell in trainings}:
        for record in records.read_records(records.record_file(part, folder)):
            if record["budget"] == budget and record["seconds"]:
                known.setdefault((part, record["method"]), []).append(float(record["seconds"]))
    if not trainings:
        return ""
    times = [float(np.median(known[at])) for c in trainings if (at := (c.table, c.method)) in known]
    line = f"runs to do: {len(missing)}; trainings: {len(trainings)}"
    if times:
        line += f"; about {duration(sum(times))} for {len(times)} of these, by the records of similar runs"
    return line


def _asked_for(
    name: str | None,
    budget: str,
    seeds: Sequence[int] | None,
    methods: Sequence[str] | None,
    targets: Sequence[str] | None,
) -> list[Cell]:
    """The cells of a table, or of all, that were asked for; arguments as those of `reproduce`."""
    chosen = list(tables.TABLES.values()) if name is None else [tables.table(name)]
    # A cell that stands in several tables comes once.
    cells = list({(c.table, *c.key): c for each in chosen for c in each.cells(budget)}.values())
    if not cells:
        raise ValueError(
            f"expected a table with runs of the budget {budget!r}, got {name!r} without any; choose another "
            "budget"
        )
    if name is None:
        cells.sort(key=lambda cell: cell.seed)
    for what, wanted in (("seed", seeds), ("method", methods), ("target", targets)):
        if wanted is not None:
            known = list(dict.fromkeys(getattr(cell, what) for cell in cells))
            wrong = [value for value in wanted if value not in known]
            require(
                not wrong,
                f"expected {what}s out of {', '.join(map(str, known))}, got {', '.join(map(str, wrong))}",
            )
            cells = [cell for cell in cells if getattr(cell, what) in wanted]
    return cells


def _missing(cells: Sequence[Cell], folder: Path) -> list[Cell]:
    """The cells without a record."""
    parts = {cell.table for cell in cells}
    done = {part: records.recorded_keys(records.record_file(part, folder)) for part in parts}
    return [cell for cell in cells if cell.key not in done[cell.table]]


def _saves_outputs(cell: Cell) -> bool:
    """Whether scores and curves are saved beside the record: for the first seed of the papers' tables."""
    return cell.seed == SEEDS[0] and tables.table(cell.table).paper is not None


def _with_data(trainings: Sequence[list[Cell]], deadline: float, started: list[Cell]) -> Iterator[list[Cell]]:
    """The trainings whose data set can be loaded, one by one, as joblib asks for them.

    Each adds its cells to `started`. One line for each data set that cannot be loaded says how many runs
    wait.
    """

    def source(cell: Cell) -> tuple[str, str]:
        return cell.dataset, json.dumps(cell.options)

    available: dict[tuple[str, str], bool] = {}
    for cells in trainings:
        if time.time() >= deadline:
            return
        wanted = source(cells[0])
        if wanted not in available:
            try:
                runs.dataset_of(cells[0])
                available[wanted] = True
            except (OSError, ValueError) as error:
                available[wanted] = False
                waiting = sum(len(each) for each in trainings if source(each[0]) == wanted)
                print(f"{waiting} runs wait: {error}", flush=True)
        if available[wanted]:
            started += cells
            yield cells


def _on_a_gpu(
    trainings: Sequence[list[Cell]], jobs: int | None
) -> tuple[int, list[list[Cell]], list[list[Cell]]]:
    """How many networks take turns on a GPU, the trainings of these, and all others, for joblib.

    joblib gets all where there is no GPU, and where `joblib.parallel_config` asks for several jobs.
    """
    spread = jobs is None and effective_n_jobs(None) > 1
    if spread or all(registry.METHODS.get(cells[0].method) == "classical" for cells in trainings):
        return 0, [], list(trainings)  # without torch
    from minigan.neural import NeuralDetector
    from minigan.torch_state import pick_device

    if pick_device("auto").type != TURNS_ON:
        return 0, [], list(trainings)
    on_gpu: list[list[Cell]] = []
    others: list[list[Cell]] = []
    for cells in trainings:
        device = str(cells[0].settings.get("device", TURNS_ON))
        takes_turns = device in ("auto", TURNS_ON) and issubclass(
            registry.get(cells[0].method), NeuralDetector
        )
        (on_gpu if takes_turns else others).append(cells)
    return ON_A_GPU if jobs is None else effective_n_jobs(jobs), on_gpu, others


def _in_turn(trainings: Iterator[list[Cell]], at_once: int, folder: Path, deadline: float) -> list[list[str]]:
    """Run trainings of networks in this process, `at_once` of them in turn; returns what failed."""
    import torch

    from minigan.torch_state import usual_modes

    def train(cell: Cell, state: Path) -> Generator[None, None, runs.Trained]:
        return runs.train_in_steps(cell, state, deadline, at_once)

    steps = (_record_in_steps(each, folder, deadline, _saves_outputs(each[0]), train) for each in trainings)
    with usual_modes():
        return list(in_turn(steps, at_once, torch.device(TURNS_ON)))


def _run_and_record(cells: Sequence[Cell], folder: Path, deadline: float, saves_outputs: bool) -> list[str]:
    """Run cells that share a training, unless they are done, in progress or too late; returns what failed.

    May run in another process, which knows the tables that minigan declares and no others.
    """

    def train(cell: Cell, state: Path) -> Generator[None, None, runs.Trained]:
        return runs.train(cell, state)
        yield  # never: it makes this a generator, as the others are

    return run_to_the_end(_record_in_steps(cells, folder, deadline, saves_outputs, train))


def _record_in_steps(
    cells: Sequence[Cell], folder: Path, deadline: float, saves_outputs: bool, train: Train
) -> Generator[None, None, list[str]]:
    """`_run_and_record`, which pauses whenever `train` does."""
    if time.time() >= deadline:
        return []
    digest = hashlib.sha256("\n".join(cells[0].training).encode()).hexdigest()[:16]
    try:
        with records.lock(folder, f"{cells[0].table}-{digest}", timeout=0):
            done = records.recorded_keys(records.record_file(cells[0].table, folder))
            left = [cell for cell in cells if cell.key not in done]  # another process may have done some
            state = folder / "claims" / f"{cells[0].table}-{digest}-{runs.commit()[:12]}.training"
            if not left:
                return []
            return (yield from _train_and_record(left, folder, saves_outputs, state, train))
    except Timeout:  # another process works on these cells
        return []


def _train_and_record(
    cells: Sequence[Cell], folder: Path, saves_outputs: bool, state: Path, train: Train
) -> Generator[None, None, list[str]]:
    """Train once, then measure and record each cell; a failure is returned as text and stops nothing else."""
    print(f"{cells[0]}: begins", flush=True)
    try:
        trained = yield from train(cells[0], state)
    except runs.Interrupted:  # the whole sweep ends
        raise
    except Paused as pause:
        print(f"{cells[0]}: pauses, {pause}", flush=True)
        return []
    except Exception as error:  # one run that fails must not stop the others
        return [_failure(cell, error) for cell in cells]
    failures = []
    for cell in cells:
        try:
            record = runs.measure(cell, trained)
        except Exception as error:
            failures.append(_failure(cell, error))
            continue
        arrays = runs.outputs(cell, trained) if saves_outputs else None
        if arrays is not None:
            records.save_outputs(cell, arrays, folder)
        records.append_record(record, cell.table, folder)
        print(f"{cell}: AUROC {record['auroc']:.3f} in {record['seconds']:.0f} s", flush=True)
    return failures


def _failure(cell: Cell, error: Exception) -> str:
    """Say that a run failed, now and in the words that `reproduce` reports at its end."""
    print(f"{cell}: failed: {error}", flush=True)
    return f"{cell}: {type(error).__name__}: {error}"
