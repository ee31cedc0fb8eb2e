"""One run: the detector of a cell is trained on the cell's split and measured on its test images.

    record = experiments.run(cell)     # train, then measure; nothing is written

A run does not depend on the process that makes it, or on what runs beside it: it has one thread and its own
seed. `sweep.py` makes many runs and records them.

Two things are measured beside a method's own AUROC, because papers report them: the AUROC of the epoch chosen
on anomalous validation images, and that of scores that depend on the other images of the batch
(`minigan.leaks`). Two more say how much of a network's AUROC is the luck of its last epoch: the mean and the
standard deviation over the last `LATE_EPOCHS` epochs, and the AUROC of the running average of the weights.
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import minigan
from minigan import data, metrics, protocols, registry
from minigan.experiments.records import COLUMNS, VERSIONS
from minigan.paths import ROOT
from minigan.tables.cells import KEY, WITH_ANOMALIES, WITHOUT_TARGET, Cell
from minigan.turns import run_to_the_end

if TYPE_CHECKING:
    from minigan.data import Dataset
    from minigan.detector import Detector
    from minigan.neural import NeuralDetector


#: Epochs, counted from the last one back, whose AUROCs give "auroc_late_mean" and "auroc_late_std".
LATE_EPOCHS = 5


class Interrupted(Exception):
    """Ctrl-C, or another signal, stopped a training before its last epoch, so there is no record of it.

    The `fit` of a detector that is interrupted returns with the weights of the last whole epoch, which is
    right for a person who watches it, and wrong for a record, which is of a whole run. `reproduce` passes
    this exception on, so that a sweep ends as well.
    """


@dataclass(frozen=True)
class Trained:
    """A trained detector with its split and the seconds that it took: what `train` hands to `measure`."""

    split: protocols.Split
    detector: Detector
    seconds: float
    #: How many trainings took turns in the process, this one among them.
    at_once: int = 1


def run(cell: Cell) -> dict[str, Any]:
    """Train and measure a cell; returns the record, by the names in `COLUMNS`. Nothing is written."""
    return measure(cell, train(cell))


def train(cell: Cell, state: Path | None = None) -> Trained:
    """The cell's detector, trained on the cell's split.

    Args:
        cell: what to train.
        state: a file in which a long training of a network keeps its state, and from which it goes on if an
            earlier one was killed; the outcome is the same. None keeps nothing.

    Raises:
        Interrupted: Ctrl-C or another signal stopped the training before its last epoch.
    """
    return run_to_the_end(train_in_steps(cell, state))


def train_in_steps(
    cell: Cell, state: Path | None = None, until: float = math.inf, at_once: int = 1
) -> Generator[None, None, Trained]:
    """`train`, which pauses after each step of a network where `at_once`, more than one, take turns.

    A training that is not over at the time `until` (of `time.time`) raises `turns.Paused` after the epoch in
    progress. The caller is inside `torch_state.usual_modes`.
    """
    from minigan import resuming  # here, because reading records should not wait for torch
    from minigan.neural import NeuralDetector
    from minigan.torch_state import one_thread

    split, detector = split_of(cell), detector_of(cell)
    labels = {
        "ignored": None,
        "anomalies": split.train_labels,  # None too, unless the protocol is `supervised`
        "classes": split.train_classes,
    }[detector.label_meaning]
    if split.held_out is None:  # the split says what is held out, and here it is nothing
        detector.set_params(holdout=0.0)
    keeper = None
    with one_thread, ExitStack() as stack:
        if isinstance(detector, NeuralDetector):
            detector.set_params(keep_epochs=LATE_EPOCHS)
            if state is not None:
                every = resuming.EVERY * at_once  # all of them together write as often as one alone
                keeper = stack.enter_context(resuming.kept_in(state, detector, every, until))
        began = time.perf_counter()
        if at_once > 1 and isinstance(detector, NeuralDetector):
            yield from detector.fit_in_steps(split.train, labels, split.held_out)
        else:
            detector.fit(split.train, labels, validation=split.held_out)
        seconds = time.perf_counter() - began + (0 if keeper is None else keeper.seconds_before)
    if getattr(detector, "interrupted_", False):  # classical methods have no epochs to stop between
        raise Interrupted(
            f"expected the whole training of {cell}, got an interruption after {len(detector.history_)} "
            "epochs; run it again for a record"
        )
    return Trained(split, detector, seconds, at_once)


def measure(cell: Cell, trained: Trained) -> dict[str, Any]:
    """The record of a cell from what was trained for it, or for another one with the same `training`."""
    import torch

    from minigan import leaks
    from minigan.neural import NeuralDetector
    from minigan.torch_state import one_thread

    split, detector = trained.split, trained.detector
    if hasattr(detector, "scored_by"):
        detector.set_params(scored_by=detector_of(cell).scored_by)
    with one_thread:
        # All three are of the last epoch, so they come before other weights.
        if isinstance(detector, NeuralDetector):
            scores = leaks.batch_statistics(detector, split.test, split.test_labels, seed=cell.seed)
            by_weights = _by_weights(detector, split)
        else:
            scores = {"evaluation": detector.anomaly_score(split.test)}
            by_weights = {}

    record: dict[str, Any] = dict.fromkeys(COLUMNS, "") | dict(zip(KEY, cell.key, strict=True))
    record["auroc"] = metrics.auroc(split.test_labels, scores["evaluation"])
    record |= by_weights
    record["average_precision"] = metrics.average_precision(split.test_labels, scores["evaluation"])
    # Empty where batch norm takes no part in the score: both numbers would repeat "auroc".
    leaky = any(not np.array_equal(s, scores["evaluation"]) for s in scores.values())
    for name in ("mixed", "sorted"):
        record[f"auroc_{name}"] = metrics.auroc(split.test_labels, scores[name]) if leaky else ""
    record["n_train"], record["n_test"] = len(split.train), len(split.test)
    record["epochs"], record["seconds"] = len(detector.history_), round(trained.seconds, 2)
    device = getattr(detector, "device_", torch.device("cpu"))
    record["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    if trained.at_once > 1:  # they shared the seconds
        record["device"] += f", {trained.at_once} trainings in turn"
    record["python"] = platform.python_version()
    record |= {package: version(package) for package in VERSIONS}
    record["minigan"], record["commit"] = minigan.__version__, commit()
    record["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    return record


def _by_weights(detector: NeuralDetector, split: protocols.Split) -> dict[str, float]:
    """What the AUROC is with other weights than the last ones, which are in use again at the end."""

    def auroc(which: Any) -> float:
        scores = detector.use_weights(which).anomaly_score(split.test)
        return metrics.auroc(split.test_labels, scores)

    last = len(detector.history_)
    late = [auroc(epoch) for epoch in range(max(1, last - LATE_EPOCHS + 1), last + 1)]
    found = {
        "auroc_averaged": auroc("average"),
        "auroc_late_mean": float(np.mean(late)),
        "auroc_late_std": float(np.std(late)),
    }
    if hasattr(detector, "best_validation_epoch_"):  # the validation images had anomalies among them
        found["auroc_selected"] = auroc("best_validation")
    detector.use_weights("last")
    return found


def outputs(cell: Cell, trained: Trained) -> dict[str, np.ndarray] | None:
    """Test scores and training curves of a network, as `records.saved_outputs` explains; None without one."""
    split, detector = trained.split, trained.detector
    if not hasattr(detector, "use_weights"):  # no network
        return None
    dataset = dataset_of(cell)
    scores = detector.use_weights("last").anomaly_score(split.test)
    arrays = {"scores": scores.astype(np.float32), "anomalous": split.test_labels.astype(bool)}
    arrays["classes"] = dataset.labels[split.test_index].astype(np.int16)
    if dataset.subclasses is not None:
        arrays["subclasses"] = dataset.subclasses[split.test_index].astype(np.int16)
    history = detector.history_.reset_index()
    return arrays | {f"history_{name}": history[name].to_numpy(np.float32) for name in history}


# ---------------------------------------------------------------------- what a cell names


def dataset_of(cell: Cell) -> Dataset:
    """The data set of a cell; the last few stay in memory."""
    return _load(cell.dataset, json.dumps(cell.options))


@lru_cache(maxsize=4)
def _load(name: str, options: str) -> Dataset:
    return data.load(name, **json.loads(options))


def split_of(cell: Cell) -> protocols.Split:
    """The split of a cell, drawn with its seed."""
    protocol, dataset = getattr(protocols, cell.protocol), dataset_of(cell)
    if cell.protocol in WITHOUT_TARGET:
        return protocol(dataset, seed=cell.seed, **cell.split)
    if cell.protocol in WITH_ANOMALIES:
        return protocol(dataset, cell.target, seed=cell.seed, gamma=cell.gamma, **cell.split)
    return protocol(dataset, cell.target, seed=cell.seed, **cell.split)


def detector_of(cell: Cell) -> Detector:
    """The untrained detector of a cell, with its seed and without a progress bar."""
    detector = registry.get(cell.method)(**cell.settings, seed=cell.seed)
    return detector.set_params(progress=False) if hasattr(detector, "progress") else detector


# ---------------------------------------------------------------------- where it runs


@cache
def commit() -> str:
    """The commit of this checkout, followed by "+" where `minigan/` differs from it; "" without one."""
    if not (ROOT / ".git").exists():
        return ""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        head, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", "minigan")
    except (OSError, subprocess.CalledProcessError):  # no git here, or it does not trust this folder
        return ""
    return f"{head}+" if changed else head
