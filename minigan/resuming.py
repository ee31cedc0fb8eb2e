"""Resume a training that was killed: `fit` writes its whole state to a file and goes on from there.

    with resuming.kept_in("bottle.training", detector):
        detector.fit(images)       # killed in epoch 57; the same lines again begin with that epoch

The outcome is that of a training without the interruption, on the CPU to the last bit: networks, optimisers,
random numbers, replay buffers and the kept weights of earlier epochs are those of the last epoch that was
written. When the training is complete, the file is removed. `minigan fit --resume` and the recorded runs of
experiments do this.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from minigan import checkpoint
from minigan.blocks import ReplayBuffer
from minigan.checks import require
from minigan.files import replacing
from minigan.image_files import reason
from minigan.inputs import Validation
from minigan.turns import Paused

if TYPE_CHECKING:
    from minigan.neural import NeuralDetector

#: Seconds from one writing of the state to the next; a training that is shorter writes nothing.
EVERY = 60.0
#: Hyperparameters that may differ when a training goes on: they change nothing that is learned.
MAY_DIFFER = {"device", "progress", "contamination"}


@contextmanager
def kept_in(
    path: str | Path, detector: NeuralDetector, every: float | None = None, until: float = math.inf
) -> Iterator[Keeper]:
    """Inside, `detector.fit` keeps its state in the file `path`, and goes on from there if the file exists.

    Args:
        path: the file; it is written between epochs, first after `every` seconds, and replaced whole.
        detector: its settings, its training and its validation images must be those that the file was
            written with.
        every: seconds from one writing to the next; 0 writes after each epoch, None is `EVERY`.
        until: the time (of `time.time`) from which on the training pauses: after the next epoch, its state is
            written, and `fit` raises `turns.Paused`.

    Raises, from `fit`:
        ValueError: the file is not the state of this training; one sentence says what differs.
    """
    keeper = Keeper(Path(path), EVERY if every is None else every, until)
    detector.__dict__["_keeper"] = keeper
    try:
        yield keeper
    finally:
        detector.__dict__.pop("_keeper", None)


class Keeper:
    """Writes the state of one training to a file, and reads it back. The training loop calls its methods."""

    def __init__(self, path: Path, every: float, until: float = math.inf):
        self.path, self.every, self.until = path, every, until
        self.written, self.training, self.validation = time.monotonic(), "", ""
        #: Seconds of the epochs that were trained before the training was killed.
        self.seconds_before = 0.0

    def begin(
        self, detector: NeuralDetector, x: Tensor, y: Tensor | None, validation: Validation
    ) -> list[dict[str, float]]:
        """Called before the first epoch, with the training items; returns the rows of epochs already done.

        `validation` are the items that are not trained on, with their labels.
        """
        self.written, self.training = time.monotonic(), _name_of(detector, x, y)
        self.validation = _hash_of(*validation)
        if not self.path.exists():
            return []
        state = self._read()
        require(
            state["training"] == self.training,
            f"expected the state of this training, got {str(self.path)!r}, which {state['method']} wrote "
            "with other settings, images or labels, or with another version; pass the same ones, or delete "
            "the file",
        )
        require(  # their AUROC has chosen the best epoch so far; earlier versions did not note them (None)
            state["validation"] in (None, self.validation),
            f"expected the validation images of this training, got others than those of {str(self.path)!r}; "
            "pass the same images and labels, or delete the file",
        )
        try:
            _restore(detector, state)
        except checkpoint.DAMAGED as error:  # written on another device, or by another version of the method
            raise ValueError(
                f"expected a state that fits the networks of {type(detector).__name__}, got "
                f"{str(self.path)!r} ({reason(error)}); delete the file to begin anew"
            ) from error
        self.seconds_before = sum(row["seconds"] for row in state["rows"])
        return state["rows"]

    def after_epoch(self, detector: NeuralDetector, rows: list[dict[str, float]]) -> None:
        """Write the state, if the last writing was long enough ago or if the training has to pause."""
        pauses = time.time() >= self.until and len(rows) < detector.epochs
        if pauses or time.monotonic() - self.written >= self.every:
            state = {"training": self.training, "method": type(detector).__name__, "rows": rows}
            state["validation"] = self.validation
            with replacing(self.path) as temporary:
                torch.save(state | _state_of(detector), temporary)
            self.written = time.monotonic()
        if pauses:
            raise Paused(f"{self.path} has the state after {len(rows)} of {detector.epochs} epochs")

    def end(self) -> None:
        """Called when the training is complete: the file has done its work."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            # Tensors, numbers and text alone: a file from elsewhere runs no code.
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            found = {key: state[key] for key in ("training", "method", "rows", "attributes", "states")}
            return found | {"validation": state.get("validation")}
        except Exception as error:  # a damaged file makes torch raise nearly anything
            raise ValueError(
                f"expected the state of a training, got {str(self.path)!r}, which is damaged or something "
                "else; delete the file to begin anew"
            ) from error


def _state_of(detector: NeuralDetector) -> dict[str, Any]:
    """Everything that the next epoch depends on: "states" of what has a `state_dict`, and "attributes"."""
    parameters = {field.name for field in fields(detector)}
    states: dict[str, Any] = {"rng_": detector.rng_.get_state()}
    attributes = {}
    for name, value in vars(detector).items():
        if isinstance(value, ReplayBuffer):
            states[name] = (value.capacity, value.items, value.filled)
        elif hasattr(value, "state_dict"):
            states[name] = value.state_dict()
        elif name not in parameters and _is_plain(value):
            attributes[name] = value
    return {"states": states, "attributes": attributes}


def _restore(detector: NeuralDetector, state: dict[str, Any]) -> None:
    """The state of `_state_of` in a detector whose networks have just been built."""
    for name, value in state["attributes"].items():
        setattr(detector, name, value.to(detector.device_) if isinstance(value, Tensor) else value)
    for name, value in state["states"].items():
        if name == "rng_":
            detector.rng_.set_state(value)
        elif isinstance(value, tuple):  # a method makes it before its first epoch, not with its networks
            capacity, items, filled = value
            buffer = ReplayBuffer(capacity, detector.rng_)
            buffer.items, buffer.filled = None if items is None else items.to(detector.device_), filled
            setattr(detector, name, buffer)
        else:
            getattr(detector, name).load_state_dict(value)


def _is_plain(value: Any) -> bool:
    """Tensors, numbers, text, and lists and dictionaries of them; `fit` makes all else before it begins."""
    if isinstance(value, dict):
        return all(_is_plain(each) for each in [*value.keys(), *value.values()])
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str) or isinstance(value, Tensor)


def _name_of(detector: NeuralDetector, x: Tensor, y: Tensor | None) -> str:
    """A name of the training: method, settings, versions, training items and labels."""
    settings = {k: v for k, v in detector.get_params(deep=False).items() if k not in MAY_DIFFER}
    return _hash_of(x, y, first=f"{(type(detector).__name__, sorted(settings.items()))}{torch.__version__}")


def _hash_of(*values: Tensor | np.ndarray | None, first: str = "") -> str:
    """A name of arrays: equal only where types, shapes and contents are."""
    found = hashlib.sha256(first.encode())
    for value in values:
        if value is not None:
            array = torch.as_tensor(value)
            found.update(repr((array.dtype, tuple(array.shape))).encode())
            found.update(array.cpu().contiguous().numpy().data)
    return found.hexdigest()
