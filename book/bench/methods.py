"""Every method of the registry on one small task: what training and scoring cost, and where a step goes."""

import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from bench.stopwatch import PYTHON, Operations, Peak, floor, interleaved, row
from minigan import blocks, data, registry, tables
from minigan.detector import Detector
from minigan.images import as_tensor, to_float
from minigan.neural import NeuralDetector
from minigan.torch_state import seeded, usual_modes

#: The task: digits of 16 pixels, so many of them to learn from and to score.
SIZE, N_TRAIN, N_SCORED = 16, 384, 1000
#: Settings on top of those of the quick budget: a second of training, and every phase of it.
SHORT: dict[str, dict[str, Any]] = {
    "ALGANFeature": {"width": 128},
    "SimultaneousEncoder": {"kimg": 1.28, "phase_kimg": 0.1, "epochs": 2},
    "FAnoGAN": {"epochs": 2, "encoder_epochs": 1},
    "DeepSVDD": {"epochs": 1, "search_epochs": 1, "pretrain_epochs": 1, "pretrain_search_epochs": 1},
    "GeoTrans": {"epochs": 1},
    "ADGAN": {"width": 8},
    "AGAD": {"width": 8},
}
SHORT["DeepSAD"] = SHORT["DeepSVDD"]
#: For methods on pretrained features: side of the backbone's input, and fewer images.
INPUT, N_FEATURES = 64, 100
#: Seconds that scoring one by one, or in batches, may take at most in each turn.
PATIENCE = 1.0


def task(method: str) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Training images, their labels if the method uses some, and images to score."""
    digits = data.load("digits", size=SIZE)
    x, classes = digits.images, digits.labels
    if method == "ALGANFeature":  # on vectors, because its features are of a network that is not here
        x = (x[:, ::2, ::2].reshape(len(x), -1) / 127.5 - 1).astype(np.float32)
    if method in tables.settings.PRETRAINED:
        return x[:N_FEATURES], None, x[N_TRAIN:][:N_FEATURES]
    labels = {
        "ignored": None,
        "anomalies": (classes[:N_TRAIN] == 1).astype(int) if method == "DeepSAD" else None,
        "classes": classes[:N_TRAIN],
    }[registry.get(method).label_meaning]
    return x[:N_TRAIN], labels, x[N_TRAIN:][:N_SCORED]


def detector_of(method: str) -> Detector:
    """The method with the settings of the quick budget, for a short training."""
    kind = registry.get(method)
    settings = dict(tables.QUICK.get(method, {}))
    if issubclass(kind, NeuralDetector):
        settings |= {"epochs": 2, "device": "cpu", "progress": False} | SHORT.get(method, {})
    elif method in tables.settings.PRETRAINED:
        settings |= {"input_size": INPUT, "device": "cpu"}
    return kind(**settings)


def measure(method: str, repetitions: int) -> Iterator[dict[str, Any]]:
    """All lines of a method, one after the other."""
    with warnings.catch_warnings(), usual_modes():
        warnings.simplefilter("ignore")  # of short trainings, and of thresholds from few images
        yield from _first_use(method)
        x, y, test = task(method)
        detector = detector_of(method)
        if isinstance(detector, NeuralDetector):
            yield from _training(detector, method, x, y, repetitions)
        else:
            yield from _fitting(detector, method, x, repetitions)
        yield from _scoring(detector, method, test, repetitions)


def _first_use(method: str) -> Iterator[dict[str, Any]]:
    """What only a new process can tell."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        for (variant, metric), value in process.submit(alone, method).result().items():
            yield row("methods", method, variant, metric, value)


def alone(method: str) -> dict[tuple[str, str], float]:
    """Seconds to import a method, and the memory of its first use in this process.

    A process that has worked before has memory left, which it uses again without asking the system.
    """
    torch.set_num_threads(1)
    began = time.process_time()
    registry.get(method)
    found = {("", "seconds to import"): time.process_time() - began}
    with warnings.catch_warnings(), usual_modes():
        warnings.simplefilter("ignore")
        x, y, test = task(method)
        detector = detector_of(method)
        _load_kernels()
        with Peak() as peak:
            detector.fit(x, y, validation=(x[:10], None))
        found["training", "MB at the peak"] = peak.mb
        with Peak() as peak:
            detector.anomaly_score(test)
        found["scoring", "MB at the peak"] = peak.mb
    return found


def _load_kernels() -> None:
    """A step of torch's, because the first one loads libraries, which are no method's own."""
    layers = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.BatchNorm2d(8))
    optimizer = blocks.adam(layers.parameters(), 1e-3, (0.5, 0.999))
    layers(torch.zeros(8, 1, 8, 8)).square().mean().backward()
    optimizer.step()


def _fitting(detector: Detector, method: str, x: np.ndarray, repetitions: int) -> Iterator[dict[str, Any]]:
    def fit() -> None:
        _forget_features()
        detector.fit(x, validation=(x[:10], None))

    fit()
    seconds = interleaved({"fit": fit}, repetitions)["fit"]
    yield row("methods", method, "training", "images per second", len(x) / seconds)


def _training(
    detector: NeuralDetector, method: str, x: np.ndarray, y: Any, repetitions: int
) -> Iterator[dict[str, Any]]:
    """`fit`, the bare loop, and the floor of its steps, in turns."""
    detector.fit(x, y, validation=(x[:10], None))
    fitted, loop = clone(detector), Loop(detector, x, y)
    turns = [Operations()]

    def watched() -> None:
        turns.append(Operations())
        with turns[-1]:
            loop.run()

    with turns[0]:
        loop.run()
    functions = {
        "fit": lambda: fitted.fit(x, y, validation=(x[:10], None)),
        "loop": loop.run,
        "floor": floor(turns[0]),
        "watched": watched,
    }
    seconds = interleaved(functions, repetitions)
    yield row("methods", method, "training", "images per second", loop.images / seconds["fit"])
    yield row("methods", method, "training", "ms per step", 1000 * seconds["loop"] / loop.steps)
    yield row("methods", method, "fit / bare loop", "ratio", seconds["fit"] / seconds["loop"])
    yield row("methods", method, "floor / bare loop", "ratio", seconds["floor"] / seconds["loop"])
    yield from parts(method, turns[1:], seconds["loop"])


def parts(name: str, turns: list[Operations], whole: np.ndarray) -> Iterator[dict[str, Any]]:
    """Fractions of a step by the kinds of its operations; what is in none of them is Python's.

    `whole` (turns,) are the seconds of the same steps without the watch, which takes time itself.
    """
    inside = np.array([sum(operations.seconds.values()) for operations in turns])
    whole = np.maximum(whole, inside)
    for title in turns[0].seconds:
        seconds = np.array([operations.seconds[title] for operations in turns])
        yield row("operations", name, title, "fraction of a step", np.median(seconds / whole))
    yield row("operations", name, PYTHON, "fraction of a step", np.median(1 - inside / whole))


class Loop:
    """A bare loop over a method's training steps: no copies of weights, no history, no threshold.

    What a method itself does before and after each epoch is part of it.
    """

    def __init__(self, detector: NeuralDetector, x: np.ndarray, y: Any):
        self.detector, self.steps, self.images = detector, 0, 0
        images, labels = as_tensor(x), None if y is None else torch.from_numpy(np.asarray(y))
        with seeded(0):
            self.y: Tensor | None = detector.training_labels(images, labels)
            self.x = detector.training_data(images)
        if self.y is not None:
            self.y = self.y.repeat_interleave(len(self.x) // len(images))

    def run(self) -> None:
        """Train from the start."""
        detector, x, y = self.detector, self.x, self.y
        detector._start(detector.image_shape_)
        detector.batch_size_ = min(detector.batch_size, len(x))
        detector.steps_per_epoch_ = len(x) // detector.batch_size_
        self.steps = self.images = 0
        for epoch in range(1, detector.epochs + 1):
            detector.epoch_ = epoch
            detector._set_mode(training=True)
            detector.start_epoch()
            for step, chosen in enumerate(detector.batches(len(x), y)):
                detector.step_ = step
                detector.training_step(to_float(x[chosen]), None if y is None else y[chosen])
                self.steps, self.images = self.steps + 1, self.images + len(chosen)
            detector._set_mode(training=False)
            with torch.no_grad():
                detector.end_epoch(x, y)


def _scoring(detector: Detector, method: str, test: np.ndarray, repetitions: int) -> Iterator[dict[str, Any]]:
    """Scoring in batches, and one image after the other; and whether the scores are the same."""

    def score(x: np.ndarray) -> np.ndarray:
        _forget_features()
        return detector.anomaly_score(x)

    began = time.process_time()
    score(test[:1])
    each = time.process_time() - began
    single = test[: max(5, min(len(test), int(PATIENCE / each)))]
    batched = test[: max(len(single), int(len(test) * min(1.0, 20 * PATIENCE / (each * len(test)))))]
    found: dict[str, np.ndarray] = {}

    def one_by_one() -> None:
        found["single"] = np.concatenate([score(single[i : i + 1]) for i in range(len(single))])

    def in_batches() -> None:
        found["batched"] = score(batched)

    in_batches()
    seconds = interleaved({"one": one_by_one, "batches": in_batches}, repetitions)
    one, batches = seconds["one"] / len(single), seconds["batches"] / len(batched)
    yield row("methods", method, "scoring", "images per second", 1 / batches)
    yield row("methods", method, "one by one / batches", "ratio", one / batches)
    apart = np.abs(found["single"] - found["batched"][: len(single)]).max()
    yield row("methods", method, "one by one / batches", "difference", apart / found["batched"].std())


def _forget_features() -> None:
    from minigan.blocks.extraction import CACHE

    CACHE.clear()
