"""A stand-in for CUDA graphs on the CPU: operations of torch are recorded, and done again without Python.

What goes wrong with a CUDA graph goes wrong here: a number of Python that was different in the recorded step
stays what it was, and an operation that must wait for a tensor's value is refused.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minigan import captured

aten = torch.ops.aten
#: Operations whose result, or its shape, depends on what is in a tensor.
WAITING = {
    aten._local_scalar_dense.default: "the value of a tensor",
    aten.nonzero.default: "which entries are not 0",
    aten.masked_select.default: "which entries are chosen",
    aten.equal.default: "whether tensors are equal",
    aten.lift_fresh.default: "a tensor made of numbers of Python",
}


class CPUGraph(TorchDispatchMode):
    """Inside, operations are done and recorded; `replay` does them again on the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], tuple, dict, list[Tensor]]] = []
        self.done = False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        masks = func is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        if func in WAITING or masks:
            raise RuntimeError(f"expected a step that never waits, got one that asks for {WAITING.get(func)}")
        results = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, tensors_in(results)))
        self.done = True
        return results

    def replay(self) -> None:
        """A CUDA graph does nothing while it records, and this one has already done it: the first time."""
        if self.done:
            self.done = False
            return
        for func, args, kwargs, results in self.calls:
            with torch.no_grad():
                for old, new in zip(results, tensors_in(func(*args, **kwargs)), strict=True):
                    if old.data_ptr() != new.data_ptr():  # not in place, and no view
                        old.copy_(new)


def tensors_in(results: Any) -> list[Tensor]:
    return [result for result in tree_leaves(results) if isinstance(result, Tensor)]


def cpu_graph(detector: captured.Trainable, step: Callable[[], None]) -> CPUGraph:
    """Record a step on the CPU, as `captured.cuda_graph` does on a GPU."""
    with CPUGraph() as graph:
        step()
    return graph


@contextmanager
def recorded_on_the_cpu() -> Iterator[list[str]]:
    """Inside, training steps on the CPU are recorded and replayed; gives the methods that were."""
    methods: list[str] = []

    def record(detector: captured.Trainable, step: Callable[[], None]) -> CPUGraph:
        graph = cpu_graph(detector, step)
        methods.append(type(detector).__name__)
        return graph

    captured.RECORDERS["cpu"] = record
    try:
        yield methods
    finally:
        del captured.RECORDERS["cpu"]
