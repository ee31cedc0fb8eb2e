"""Captured training steps: on a GPU, a step is recorded once as a CUDA graph and replayed from then on.

At 32x32 pixels a step is hundreds of kernels of a few microseconds, and the GPU would wait for Python between
them. A graph starts them all by one call. What a graph asks for, and who takes care of it:

* Every replay reads and writes the same memory. So the graph holds a tensor for the numbers of the batch's
  items, and takes the batch and its labels from the training set by itself. Losses are summed in it, too.
* Python does not run in a replay. What a method decides in Python, it says in `branch()`; the learning rates
  belong to it as well. Another value is another step, which is captured anew. What a method takes from Python
  as a number or a tensor that differs from step to step, it asks for by `live(...)`.
* Random numbers go on: the detector's generator is registered with the graph, and gives the numbers that it
  would give without one.
* Nothing may be made in a capture that lasts. The first steps of each kind are ordinary ones, so that the
  state of optimisers and what libraries set up is there before.

A step that cannot be captured runs as it is written, and a warning in the log says so, once for each method.
`MINIGAN_CAPTURE=0` in the environment switches capturing off.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from minigan.images import to_float

log = logging.getLogger(__name__)

#: What `live` is given: the value of the coming step, without randomness.
Value = Callable[[], "float | Tensor"]
#: Ordinary steps of one kind in a row before it is captured, as PyTorch's notes on CUDA graphs advise.
WARM_UP = 3


class Trainable(Protocol):
    """What a step needs of a detector: `minigan.neural.NeuralDetector`, which this file cannot import."""

    device_: torch.device
    rng_: torch.Generator

    def training_step(self, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        """One step on one batch."""

    def branch(self) -> Hashable | None:
        """What the step decides in Python."""


class Graph(Protocol):
    """What was recorded; `torch.cuda.CUDAGraph` is one."""

    def replay(self) -> None:
        """Do again what was recorded, with the present contents of the same memory."""


#: Records what a function does on a device, without doing it, for a detector and its source of randomness.
Recorder = Callable[[Trainable, Callable[[], None]], Graph]


class Refused(Exception):
    """A training step that was to be captured cannot be: the training has to begin anew, without captures."""


def cuda_graph(detector: Trainable, step: Callable[[], None]) -> Graph:
    """Record a step as a CUDA graph, on the current stream, which must not be the default one."""
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(detector.rng_)
    with capturable(detector), torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        step()
    return graph


#: Type of device -> what records a step there. Elsewhere, steps run as they are written.
RECORDERS: dict[str, Recorder] = {"cuda": cuda_graph}


# ---------------------------------------------------------------------- steps


class Step:
    """One training step as the loop calls it: the batch, `training_step`, and the sums of its losses.

    Args:
        detector: its networks are in training mode when a step is called, `epoch_` and `step_` are set.
        x, y: all training items, on the device, and their labels.
    """

    def __init__(self, detector: Trainable, x: Tensor, y: Tensor | None):
        self.detector, self.x, self.y = detector, x, y
        self.sums: dict[str, Tensor] = {}  # of all losses that there ever were: a graph needs one place
        self.epoch: dict[str, Tensor] = {}  # of the losses of this epoch

    def __call__(self, chosen: Tensor) -> None:
        """Train on the items with these numbers, (b,)."""
        self.run(chosen)

    def run(self, chosen: Tensor) -> None:
        """What a step does, whether it is recorded or not."""
        batch = to_float(self.x[chosen], self.detector.device_)
        losses = self.detector.training_step(batch, None if self.y is None else self.y[chosen])
        # Summed on the device, and without their graphs: nothing waits for the device inside an epoch.
        for name, loss in losses.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(loss.detach())
            self.epoch[name] = self.sums[name].add_(loss.detach())

    def means(self, n: int) -> dict[str, float]:
        """Mean of each loss over the n steps of an epoch; the next epoch then begins."""
        means = {name: float(total) / n for name, total in self.epoch.items()}
        for total in self.sums.values():
            total.zero_()
        self.epoch = {}
        return means


class CapturedStep(Step):
    """A step that is recorded after it came `WARM_UP` times in a row, and replayed while it is the same."""

    def __init__(self, detector: Trainable, x: Tensor, y: Tensor | None, record: Recorder):
        super().__init__(detector, x, y)
        self.record = record
        self.graph: Graph | None = None
        self.kind: Hashable = None
        self.times = 0

    def __call__(self, chosen: Tensor) -> None:
        branch = self.detector.branch()
        kind = (branch, len(chosen), tuple(group["lr"] for group in _groups(self.detector)))
        if kind != self.kind:
            self.kind, self.times, self.graph = kind, 0, None  # the old graph gives its memory back
        self.times += 1
        if branch is None:
            say_once(type(self.detector).__name__, "its branch() is None")
        if branch is None or self.times < WARM_UP:
            self.run(chosen)
        elif self.times == WARM_UP:  # the last ordinary step shows what differs from step to step
            self.live = LiveValues(self.detector)
            with self.live.learned():
                self.run(chosen)
        else:
            self.live.fill()
            self.replay(chosen)

    def replay(self, chosen: Tensor) -> None:
        """Do the recorded step; record it before, if it is the first time."""
        if self.graph is None:
            self.chosen, before, self.epoch = chosen.clone(), self.epoch, {}
            try:
                with self.live.given():
                    self.graph = self.record(self.detector, lambda: self.run(self.chosen))
            except Exception as error:  # whatever a method or CUDA does not allow
                raise Refused(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
            self.of_graph, self.epoch = self.epoch, before
        self.chosen.copy_(chosen)
        self.graph.replay()
        self.epoch |= self.of_graph


class LiveValues:
    """What a step takes from Python by `live`: functions in the order of the calls, and a tensor for each."""

    def __init__(self, detector: Trainable):
        self.detector, self.functions, self.tensors = detector, list[Value](), list[Tensor]()

    @contextmanager
    def learned(self) -> Iterator[None]:
        """Inside, `live` gives values as in an ordinary step, and they are noted."""

        def note(function: Value) -> float | Tensor:
            value = function()
            self.functions.append(function)
            # Numbers in float32, in which torch computes with them; a copy, no view of the method's own.
            dtype = value.dtype if isinstance(value, Tensor) else torch.float32
            self.tensors.append(torch.as_tensor(value, dtype=dtype, device=self.detector.device_).clone())
            return value

        yield from self._answered_by(note)

    @contextmanager
    def given(self) -> Iterator[None]:
        """Inside, `live` gives the noted tensors, in the same order."""
        left = iter(self.tensors)
        yield from self._answered_by(lambda function: next(left))

    def fill(self) -> None:
        """Put the values of the coming step into the tensors."""
        for function, tensor in zip(self.functions, self.tensors, strict=True):
            value = function()
            if isinstance(value, Tensor):
                tensor.copy_(value)
            else:
                tensor.fill_(value)

    def _answered_by(self, answer: Callable[[Value], float | Tensor]) -> Iterator[None]:
        self.detector.__dict__["_live"] = answer
        try:
            yield
        finally:
            del self.detector.__dict__["_live"]


# ---------------------------------------------------------------------- which of the two


def step_of(detector: Trainable, x: Tensor, y: Tensor | None) -> Step:
    """The training step of a detector: one that will be captured, or an ordinary one."""
    record = RECORDERS.get(detector.device_.type)
    if record is None or os.environ.get("MINIGAN_CAPTURE") == "0":
        return Step(detector, x, y)
    if "training_step" in vars(detector) or not speaks_for_its_step(type(detector)):
        say_once(type(detector).__name__, "its training_step has no branch() beside it")
        return Step(detector, x, y)
    return CapturedStep(detector, x, y, record)


def speaks_for_its_step(method: type) -> bool:
    """Whether `branch` was written for this `training_step`, and not for that of a class it derives from."""
    owners = [cls for cls in method.__mro__ if {"branch", "training_step"} & vars(cls).keys()]
    return "branch" in vars(owners[0])


@cache
def say_once(method: str, why: str) -> None:
    """Note in the log that steps of this method run as they are written."""
    log.warning("%s: training steps run as they are written, without a CUDA graph (%s)", method, why)


def _optimisers(detector: Trainable) -> list[torch.optim.Optimizer]:
    return [value for value in vars(detector).values() if isinstance(value, torch.optim.Optimizer)]


def _groups(detector: Trainable) -> list[dict[str, Any]]:
    return [group for optimiser in _optimisers(detector) for group in optimiser.param_groups]


@contextmanager
def capturable(detector: Trainable) -> Iterator[None]:
    """Inside, optimisers count their steps on the device, and agree to be captured."""
    for optimiser in _optimisers(detector):
        for parameter, state in optimiser.state.items():
            if "step" in state:
                state["step"] = torch.as_tensor(state["step"]).to(parameter.device)
    groups = [group for group in _groups(detector) if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:  # or every ordinary step would complain
            group["capturable"] = False
