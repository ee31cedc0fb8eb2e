"""Which name lives in which module: the one place that knows every method.

A method is imported when it is first asked for, so `import minigan` stays light. To add a method, write
its file, add its line here and run the tests: `tests/test_contract.py` takes the rest from this table.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minigan.detector import Detector

METHODS: dict[str, str] = {
    "ALGAN": "algan",
    "ALGANFeature": "algan",
    "AGAD": "agad",
    "ADeGAN": "adegan",
    "SimultaneousEncoder": "simultaneous_encoder",
    "YGAN": "ygan",
    "SoftmaxClassifier": "softmax_classifier",
    "OneClassSVM": "classical",
    "IsolationForest": "classical",
    "PCA": "classical",
    "KernelDensity": "classical",
    "NearestNeighbors": "classical",
}


def methods() -> list[str]:
    """Names of all detectors, in the order in which the book meets them."""
    return list(METHODS)


def get(name: str) -> type[Detector]:
    """The detector class called `name`.

    Raises:
        ValueError: when no method has this name; the message lists those that exist.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    return getattr(import_module(f"minigan.{METHODS[name]}"), name)
