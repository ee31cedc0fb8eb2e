"""Check training steps that are captured as CUDA graphs, and time them: some two minutes on a GPU.

    make gpu-check
    PYTHONPATH=. python tests/gpu_check.py --out FOLDER       # where nothing is installed

Each method is trained three times with its default networks on images of 32 pixels, some 50 steps each: twice
step by step, and once captured. The losses of the last epoch have to agree: as well as those of the first two
do, or within 0.1 %. Then several trainings of Y-GAN share the GPU, to see how many of them are best.

It prints tables and writes them into FOLDER as `gpu_methods.csv` and `gpu_trainings.csv`, each row as soon as
it is there. A method that fails says so in its row, and the others go on. The exit code is 0 if all captured
steps agree, 1 if not, and 2 without a GPU. `--device cpu` tries the script itself, with tiny networks and a
stand-in for graphs (`cpu_graph`).
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from cpu_graph import recorded_on_the_cpu

import minigan
from minigan import captured, data, registry
from minigan.neural import NeuralDetector
from minigan.torch_state import usual_modes
from minigan.turns import in_turn

#: Steps that are not timed: ordinary ones, the capture, and a few more.
FIRST = 8
#: Relative difference of losses that counts as rounding where repeated runs are equal.
ROUNDING = 1e-3
#: Settings that make some 50 steps of every method, and nothing else that takes time.
SETTINGS: dict[str, dict[str, Any]] = {
    "SimultaneousEncoder": {"kimg": 7.0, "phase_kimg": 1.0},
    "GeoTrans": {"epochs": 1, "translate": False},
    "DeepSVDD": {"pretrain_epochs": 0, "search_epochs": 3},
    "DeepSAD": {"pretrain_epochs": 0},
}
#: The same for tiny networks on a CPU, where a step must still come often enough to be recorded.
TINY: dict[str, dict[str, Any]] = {"SimultaneousEncoder": {"kimg": 0.4, "phase_kimg": 0.064}}


def neural_methods() -> list[str]:
    return [name for name in minigan.methods() if issubclass(registry.get(name), NeuralDetector)]


class Check:
    """What the command line asked for, and the data."""

    def __init__(self, device: str, steps: int):
        self.device, self.steps, self.tiny = torch.device(device), steps, device == "cpu"
        digits = data.load("digits", size=16 if self.tiny else 32)
        self.images, self.classes = digits.images, digits.labels

    def wait(self) -> None:
        """Until the device has done all that was ordered."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def detector(self, name: str, **more: Any) -> NeuralDetector:
        """An untrained detector of this method that makes about `steps` steps."""
        method = registry.get(name)
        settings: dict[str, Any] = {"device": str(self.device), "progress": False, "holdout": 0.0}
        if self.tiny:
            settings |= {"batch_size": 8} | {key: 4 for key in ("width", "z_dim") if hasattr(method, key)}
        detector = method(**settings)
        detector.set_params(epochs=math.ceil(self.steps / self.steps_per_epoch(detector)))
        if name == "FAnoGAN":  # both of its phases
            detector.set_params(encoder_epochs=detector.epochs // 2)
        chosen = SETTINGS.get(name, {}) | (TINY.get(name, {}) if self.tiny else {})
        return detector.set_params(**chosen, **more)

    def n_images(self, detector: NeuralDetector) -> int:
        """Images for ten steps an epoch, or all of them; GeoTrans shows each one eight times in its epoch."""
        epoch = self.steps / 8 if type(detector).__name__ == "GeoTrans" else 10
        return min(math.ceil(epoch * detector.batch_size), len(self.images))

    def steps_per_epoch(self, detector: NeuralDetector) -> int:
        return self.n_images(detector) // min(detector.batch_size, self.n_images(detector))

    def items(self, detector: NeuralDetector) -> tuple[Any, Any]:
        """Training items and labels, as this method takes them."""
        n = self.n_images(detector)
        if detector.takes[0] == "vectors":
            return torch.randn(n, 64, generator=torch.Generator().manual_seed(0)), None
        labels = {
            "ignored": None,
            "classes": self.classes[:n],
            "anomalies": (self.classes[:n] == 3).astype(int),
        }
        return self.images[:n], labels[detector.label_meaning]

    def trained(self, detector: NeuralDetector) -> tuple[pd.Series, float, int]:
        """Losses of the last epoch, the median of seconds a step, and the number of steps."""
        times: list[float] = []

        def steps() -> Iterator[None]:
            for _ in detector.fit_in_steps(*self.items(detector)):
                self.wait()
                times.append(time.perf_counter())
                yield

        with usual_modes():
            for _ in in_turn([steps()], 1, self.device):
                pass
        seconds = float(np.median(np.diff(times[FIRST:])))
        return detector.history_.drop(columns="seconds").iloc[-1].dropna(), seconds, len(times)

    def method(self, name: str) -> dict[str, Any]:
        """A row of the first table."""
        row: dict[str, Any] = {"method": name}
        try:
            with step_by_step():
                first, _, _ = self.trained(self.detector(name))
                again, eager, row["steps"] = self.trained(self.detector(name))
            with counted(self.device.type) as count, log_kept() as said:
                losses, seconds, _ = self.trained(self.detector(name))
            row |= {"captures": count[0], "difference": difference(losses, first)}
            row |= {"eager twice": difference(again, first), "eager ms": 1e3 * eager, "ms": 1e3 * seconds}
            row["times faster"] = eager / seconds
            agrees = row["difference"] <= max(ROUNDING, 2 * row["eager twice"])
            row["verdict"] = ("agrees" if agrees else "DIFFERS") if count[0] and not said else "as written"
            row["why"] = "; ".join(said)
        except Exception as error:  # the others go on
            row |= {"verdict": "FAILED", "why": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        return row

    def trainings(self, n: int, steps: int) -> dict[str, Any]:
        """A row of the second table: n trainings of Y-GAN in turn, each with a seed of its own."""
        row: dict[str, Any] = {"trainings": n}
        began: list[float] = []

        def steps_of(seed: int) -> Iterator[None]:
            detector = self.detector("YGAN", seed=seed, epochs=2)
            # All steps lie in one long epoch, as most steps of a training on many images do.
            chosen = np.arange(detector.batch_size * (FIRST + steps + 1)) % len(self.images)
            training = detector.fit_in_steps(self.images[chosen], self.classes[chosen])
            for count, _ in enumerate(training):
                if count == FIRST and seed == n - 1:
                    self.wait()
                    began.append(time.perf_counter())
                if count == FIRST + steps:
                    return
                yield

        try:
            with usual_modes():
                for _ in in_turn(map(steps_of, range(n)), n, self.device):
                    pass
            self.wait()
            row["steps a second"] = n * steps / (time.perf_counter() - began[0])
            if self.device.type == "cuda":
                row["GiB"] = torch.cuda.max_memory_allocated() / 2**30
        except Exception as error:  # such as too little memory
            row["why"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        return row


def difference(a: pd.Series, b: pd.Series) -> float:
    """The largest relative difference of two rows of losses; infinite where other losses are there."""
    if list(a.index) != list(b.index):
        return math.inf
    return float(((a - b).abs() / b.abs().clip(lower=1e-3)).max())


# ---------------------------------------------------------------------- ways of training


@contextmanager
def step_by_step() -> Iterator[None]:
    """Inside, nothing is captured."""
    os.environ["MINIGAN_CAPTURE"] = "0"
    try:
        yield
    finally:
        del os.environ["MINIGAN_CAPTURE"]


@contextmanager
def counted(device: str) -> Iterator[list[int]]:
    """Inside, captures are counted."""
    record, count = captured.RECORDERS[device], [0]

    def counting(detector: captured.Trainable, step: Callable[[], None]) -> captured.Graph:
        graph = record(detector, step)
        count[0] += 1
        return graph

    captured.RECORDERS[device] = counting
    try:
        yield count
    finally:
        captured.RECORDERS[device] = record


@contextmanager
def log_kept() -> Iterator[list[str]]:
    """Inside, what the log says about steps that are not captured is kept instead of printed."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(str(record.args[1]))  # type: ignore[method-assign,index]
    captured.say_once.cache_clear()
    captured.log.addHandler(handler)
    captured.log.propagate = False
    try:
        yield said
    finally:
        captured.log.removeHandler(handler)
        captured.log.propagate = True


# ---------------------------------------------------------------------- the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check and time captured training steps on a GPU.")
    parser.add_argument(
        "--device", choices=["cuda", "cpu"], default="cuda", help="cpu: try the script itself"
    )
    parser.add_argument("--methods", nargs="*", metavar="NAME", help="default: all that have networks")
    parser.add_argument("--steps", type=int, default=50, metavar="N", help="steps of each training")
    parser.add_argument("--trainings", type=int, nargs="*", default=[1, 4, 8, 16], metavar="N")
    parser.add_argument("--out", type=Path, default=Path("build"), metavar="FOLDER", help="default: build")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "gpu_check: expected a CUDA device, got none; --device cpu tries the script itself",
            file=sys.stderr,
        )
        return 2
    card = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{card}, torch {torch.__version__}, Python {sys.version.split()[0]}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.deterministic = True  # or two ordinary trainings would differ
    check = Check(options.device, options.steps)
    began = time.perf_counter()
    with recorded_on_the_cpu() if options.device == "cpu" else nullcontext():
        methods = neural_methods() if options.methods is None else options.methods
        found = table(map(check.method, methods), options.out / "gpu_methods.csv")
        torch.backends.cudnn.deterministic = False
        steps = options.steps if check.tiny else 4 * options.steps
        shared = table(
            (check.trainings(n, steps) for n in options.trainings), options.out / "gpu_trainings.csv"
        )
    for each in (found, shared):
        if len(each):
            print(f"\n{each.to_string(index=False, na_rep='')}")
    if "steps a second" in shared:
        best = shared.loc[shared["steps a second"].idxmax(), "trainings"]
        print(f"\nbest: {best} trainings in turn (experiments.sweep.ON_A_GPU)")
    print(f"{time.perf_counter() - began:.0f} seconds; the tables are in {options.out}")
    return int(bool(found["verdict"].isin(["DIFFERS", "FAILED"]).any()) if len(found) else 0)


def table(rows: Iterator[dict[str, Any]], path: Path) -> pd.DataFrame:
    """The rows as a table, printed one by one and written after each: a cut loses one."""
    done: list[dict[str, Any]] = []
    for row in rows:
        done.append(row)
        frame = pd.DataFrame(done).round(4)
        frame.to_csv(path, index=False)
        print(
            ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()),
            flush=True,
        )
    return pd.DataFrame(done).round(4)


if __name__ == "__main__":
    sys.exit(main())
