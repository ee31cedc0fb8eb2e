"""Stopwatch: repetitions that take turns, in CPU time; peak memory; what the time of a step is spent on.

A machine is never quiet. So whatever is compared runs in turns, A B B A A B, the clock counts the time that
this process computes (`time.process_time`) and not that in which others do, and of some repetitions the
median is taken. A ratio is the median of the ratios within each turn.
"""

import gc
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from minigan.experiments import commit

#: Convolutions and matrix products: the work that no training can do without. Their replay is the floor.
FLOOR = {"convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm"}
CONVOLUTIONS = "convolutions and matrix products"
#: What else the operations of a step are, by the beginning of torch's name for them.
KINDS = {
    "batch norm": ("native_batch_norm", "_native_batch_norm", "native_group_norm"),
    "activations": ("relu", "leaky_relu", "threshold", "tanh", "sigmoid", "elu", "softmax", "_softmax")
    + ("_log_softmax", "log_sigmoid"),
    "optimiser": ("_fused_adam", "_foreach"),
}
OTHER, PYTHON = "losses, copies and the rest", "Python between them"


def interleaved(
    functions: Mapping[str, Callable[[], Any]],
    repetitions: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, np.ndarray]:
    """Seconds that each function takes, (repetitions,), in turns whose order is turned around each time."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repetitions):
        for name in list(functions)[:: 1 if turn % 2 == 0 else -1]:
            gc.collect()  # not while the clock runs
            began = clock()
            functions[name]()
            seconds[name].append(clock() - began)
    return {name: np.array(values) for name, values in seconds.items()}


def row(section: str, name: str, variant: str, metric: str, values: Any) -> dict[str, Any]:
    """A line of `speed.csv` from repetitions of one measurement: their median and quartiles."""
    array = np.atleast_1d(np.asarray(values, dtype=float))
    low, middle, high = np.quantile(array, [0.25, 0.5, 0.75])
    line = {"section": section, "name": name, "variant": variant, "metric": metric}
    numbers = {"value": f"{middle:.6g}", "low": f"{low:.6g}", "high": f"{high:.6g}"}
    return line | numbers | {"repetitions": len(array)} | machine()


def machine() -> dict[str, Any]:
    """Where and when something is measured; "load" is how many processes want a core, this one among them."""
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "",
        "python": platform.python_version(),
        "torch": version("torch"),
        "minigan": version("minigan"),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()


# ---------------------------------------------------------------------- memory


class Peak:
    """The memory that a block takes at its peak beyond what the process had, in MB: `with Peak() as peak`.

    It is read from Linux, which counts files that are mapped into memory, too; elsewhere `mb` is NaN.
    """

    mb = float("nan")

    def __enter__(self) -> "Peak":
        gc.collect()
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is in use now
            self.before = _status("VmRSS")
        except OSError:
            self.before = float("nan")
        return self

    def __exit__(self, *_: object) -> None:
        self.mb = _status("VmHWM") - self.before


def own_memory() -> float:
    """The memory of this process without mapped files, in MB; NaN where Linux does not say."""
    return _status("RssAnon")


def _status(name: str) -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return float("nan")


# ---------------------------------------------------------------------- the operations of a step


class Operations(TorchDispatchMode):
    """Inside, the CPU time of every operation of torch is added up by its kind; `floor` keeps the heavy ones.

    Backward passes count as well: on a CPU they run in the same thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: Counter[str] = Counter()
        self.floor: list[tuple[Callable, tuple, dict]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name.split("::")[1]
        began = time.thread_time()
        result = func(*args, **kwargs)
        self.seconds[kind(name)] += time.thread_time() - began
        if name in FLOOR:
            self.floor.append((func, tree_map(_shape, args), tree_map(_shape, kwargs)))
        return result


def kind(name: str) -> str:
    """The kind of an operation by torch's name for it: "leaky_relu_backward" -> "activations"."""
    if name in FLOOR:
        return CONVOLUTIONS
    return next((title for title, beginnings in KINDS.items() if name.startswith(beginnings)), OTHER)


class _Shape(tuple):
    """Shape, strides and type of a tensor that an operation was given; to `tree_map` it is one thing."""


def _shape(value: Any) -> Any:
    return _Shape((value.shape, value.stride(), value.dtype)) if isinstance(value, Tensor) else value


def floor(operations: Operations) -> Callable[[], None]:
    """A function that repeats the convolutions and matrix products of a step, and nothing else.

    They get random numbers in tensors of the same shapes; equal shapes share one, which is optimistic.
    """
    made: dict[_Shape, Tensor] = {}

    def tensor(value: Any) -> Any:
        if not isinstance(value, _Shape):
            return value
        if value not in made:
            shape, strides, dtype = value
            made[value] = torch.empty_strided(shape, strides, dtype=dtype).normal_()
        return made[value]

    def filled(values: Any) -> Any:
        return tree_map(tensor, values)

    calls = [(func, filled(args), filled(kwargs)) for func, args, kwargs in operations.floor]

    def repeat() -> None:
        with torch.no_grad():
            for func, args, kwargs in calls:
                func(*args, **kwargs)

    return repeat
