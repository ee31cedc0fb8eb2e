"""What the tests of the library share: tiny data, and what a good error message looks like."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from minigan import data, experiments
from minigan.experiments import records, runs
from minigan.images import to_float
from minigan.neural import NeuralDetector
from minigan.tables import Cell
from minigan.torch_state import seeded

D = TypeVar("D", bound=NeuralDetector)


@contextmanager
def raises_sentence(kind: type[Exception], *words: str) -> Iterator[None]:
    """Expect this exception, with one short sentence that contains these words."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    shown = re.sub(r"'[^']*[/\\][^']*'", "'path'", message)  # how long a path is, is not the library's fault
    assert "\n" not in message and ". " not in shown, f"more than one sentence: {message}"
    assert 20 < len(shown) < 250, f"too short or too long: {message}"
    for word in words:
        assert word in message, f"{word!r} is missing in: {message}"


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images of 16x16 pixels, (1797, 16, 16) uint8, and their labels 0..9."""
    dataset = data.load("digits", size=16)
    return dataset.images, dataset.labels


def write_digits(top: Path, size: int, **folders: tuple[int, int, int]) -> None:
    """Digits as files: `good=(4, 0, 60)` writes the first sixty fours to top/good; new_odd is new/odd."""
    dataset = data.load("digits", size=size)
    for name, (digit, first, end) in folders.items():
        folder = top.joinpath(*name.split("_"))
        folder.mkdir(parents=True, exist_ok=True)
        for i, picture in enumerate(dataset.images[dataset.labels == digit][first:end]):
            Image.fromarray(picture).save(folder / f"{i:02}.png")


def zeros(n: int = 40, channels: int = 1) -> np.ndarray:
    """The digit 0: (n, 16, 16) uint8, or with three different channels (n, 16, 16, 3)."""
    images, labels = digits()
    x = images[labels == 0][:n]
    return x if channels == 1 else np.stack([x, x[:, ::-1], 255 - x], axis=-1)


def points(n: int = 200, d: int = 2, seed: int = 0) -> np.ndarray:
    """Normal vectors: (n, d) float32 from N(0, I)."""
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def ring(n: int, low: float, high: float, seed: int = 1) -> np.ndarray:
    """Anomalous vectors: (n, 2) float32 at a distance from low to high from the origin."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, n), rng.uniform(low, high, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)


# ---------------------------------------------------------------------- a network before its first step


def started(detector: D, channels: int = 1, *, training: bool = True) -> D:
    """The detector with fresh networks for images of 16 pixels, in training or in evaluation mode."""
    detector.image_shape_ = (channels, 16, 16)
    detector._start(detector.image_shape_)
    detector._set_mode(training=training)
    return detector


def in_double(detector: D) -> D:
    """The detector with its networks in float64, so that gradients taken by hand agree to many digits."""
    for network in detector._networks().values():
        network.double()
    return detector


def zeros_in_a_batch(n: int = 8, channels: int = 1) -> torch.Tensor:
    """`zeros` as a training step gets them: (n, channels, 16, 16) in [-1, 1]."""
    x = torch.from_numpy(zeros(n, channels))
    return to_float(x[:, None] if channels == 1 else x.permute(0, 3, 1, 2))


def random_batch(n: int = 8, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Random images, (n, 1, 16, 16) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 16, 16, generator=generator, dtype=dtype) * 2 - 1


# ---------------------------------------------------------------------- pretrained features


def tiny_network() -> nn.Module:
    """A backbone of two convolutions, 8 features, with the same random weights each time."""
    with seeded(0):
        layers = [nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()]
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        network.add_module("head", nn.Linear(8, 2))
    return network


def add_tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let detectors take `backbone="tiny"` during a test: blocks 1 and 3, on images of 16 pixels."""
    from minigan.blocks import features  # here, because torchvision takes seconds to import

    def weights() -> dict:
        return tiny_network().state_dict()

    tiny = features.Architecture(tiny_network, "head", "{}", (1, 3), own_weights=weights, size=16)
    monkeypatch.setitem(features.ARCHITECTURES, "tiny", tiny)


# ---------------------------------------------------------------------- experiments

DIGITS = {"size": 8}


def tiny_cells(table: str = "tiny", n: int = 6) -> Iterator[Cell]:
    """Cells that take a moment each: PCA on digits of 8x8 pixels, one target each."""
    for target in range(n):
        yield Cell(table, "PCA", "", "digits", DIGITS, "one_class", str(target), 0, {})


def network_cells(table: str = "trained") -> Iterator[Cell]:
    """Three small networks of two epochs, half a second each."""
    settings = {"width": 2, "epochs": 2, "n_patterns": 3, "device": "cpu"}
    for target in "012":
        yield Cell(table, "ADeGAN", "", "digits", {"size": 16}, "one_class", target, 0, settings)


def fake_record(cell: Cell, auroc: float = 0.75) -> dict[str, object]:
    """A record of a run that did not take place."""
    record = dict.fromkeys(experiments.COLUMNS, "") | dict(zip(experiments.KEY, cell.key, strict=True))
    return record | {"auroc": auroc, "n_train": 3, "n_test": 4, "epochs": 0, "seconds": 0.5}


def write_record(folder: Path, cell: Cell, auroc: float = 0.75, **measured: object) -> None:
    """Such a record in its file in the data folder."""
    records.append_record(fake_record(cell, auroc) | measured, cell.table, folder)


def run_by(monkeypatch: pytest.MonkeyPatch, run: Callable[[Cell], dict[str, object]]) -> None:
    """Take records from this function of a cell, instead of training anything."""
    monkeypatch.setattr(runs, "train", lambda cell, state: SimpleNamespace(split=None, detector=None))
    monkeypatch.setattr(runs, "measure", lambda cell, trained: run(cell))


def lines(folder: Path, table: str = "tiny") -> list[str]:
    """The lines of a table's file in the data folder."""
    return (folder / "results" / f"{table}.csv").read_text(encoding="utf-8").splitlines()


@dataclass(kw_only=True, eq=False, repr=False)
class Normed(NeuralDetector):
    """The score is the distance from the mean image, each pixel in units of its standard deviation."""

    epochs: int = 3

    def build(self, image_shape):
        self.net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(int(np.prod(image_shape)), affine=False))

    def training_step(self, x, y):
        return {"loss": self.net(x).mean()}

    def score_step(self, x):
        return self.net(x).square().mean(1)

    def use_weights(self, which):  # the best epoch on validation images, and no other, has another mean
        super().use_weights("last")
        self.net[1].running_mean.fill_(9.0 if which == "best_validation" else 0.0)
        return self
