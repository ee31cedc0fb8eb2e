"""Trainings in turn: generators that pause after each training step run to their end, alone or side by side.

    with usual_modes():
        for result in in_turn(trainings, 8, torch.device("cuda")):    # one step of each after the other
            ...

One training leaves a GPU idle, because its networks are small. Several in one process fill it: each has a
stream, a queue of orders of its own, and the GPU works on all queues at once.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import torch

R = TypeVar("R")


class Paused(Exception):
    """The time of a training is over: its state is in a file, and another `fit` goes on with it."""


def run_to_the_end(steps: Generator[None, None, R]) -> R:
    """Run a generator without pauses; returns what it returns.

    A Ctrl-C that comes while it pauses is raised inside of it, which knows what to do about one.
    """
    waiting: KeyboardInterrupt | None = None
    while True:
        try:
            if waiting is None:
                next(steps)
            else:
                interruption, waiting = waiting, None
                steps.throw(interruption)
        except StopIteration as end:
            return end.value
        except KeyboardInterrupt as interruption:
            if getattr(steps, "gi_frame", None) is None:  # it has ended by this very exception
                raise
            waiting = interruption


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Inside, orders to a CUDA device wait in a queue of their own; on other devices nothing is different."""
    queue = Queue(device)
    try:
        with queue.entered():
            yield
    finally:
        queue.leave()


class Queue:
    """A stream of a CUDA device, behind all that was ordered before; nothing on other devices."""

    def __init__(self, device: torch.device):
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            import torch  # here, because sweeps of classical methods do without it

            self.outside = torch.cuda.current_stream(device)
            self.stream = torch.cuda.Stream(device)
            self.stream.wait_stream(self.outside)

    def entered(self) -> AbstractContextManager:
        """Inside, orders wait in this queue."""
        if self.stream is None:
            return nullcontext()
        import torch

        return torch.cuda.stream(self.stream)

    def leave(self) -> None:
        """What is ordered outside from now on comes after all that waits here."""
        if self.stream is not None:
            self.outside.wait_stream(self.stream)


class _Turn(Generic[R]):
    """A generator and its queue."""

    def __init__(self, steps: Generator[None, None, R], device: torch.device):
        self.steps, self.queue = steps, Queue(device)

    def next(self) -> None:
        with self.queue.entered():
            next(self.steps)

    def close(self) -> None:
        with self.queue.entered():
            self.steps.close()
        self.queue.leave()


def in_turn(trainings: Iterable[Generator[None, None, R]], at_once: int, device: torch.device) -> Iterator[R]:
    """Run generators side by side, `at_once` at a time, a step of each in turn; gives what they return.

    One begins when another ends, and is asked for only then. An exception of one closes the others.
    """
    waiting = iter(trainings)
    running: list[_Turn[R]] = []
    try:
        while True:
            while len(running) < at_once and (steps := next(waiting, None)) is not None:
                running.append(_Turn(steps, device))
            if not running:
                return
            for turn in tuple(running):
                try:
                    turn.next()
                except StopIteration as end:
                    running.remove(turn)
                    turn.queue.leave()
                    yield end.value
    finally:
        for turn in running:
            turn.close()
