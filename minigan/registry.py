"""The list of all methods and of the papers that they come from.

It is the one place that knows every method. A method is imported when it is first used, so `import minigan`
stays fast. To add a method, write its file in `minigan/models/` and enter it here; `CONTRIBUTING.md` lists
what else it needs.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minigan.detector import Detector

#: Name of the class -> its module in `minigan.models`, in the order in which the book introduces them.
METHODS: dict[str, str] = {
    "ALGAN": "algan",
    "ALGANFeature": "algan",
    "AGAD": "agad",
    "ADeGAN": "adegan",
    "SimultaneousEncoder": "simultaneous_encoder",
    "YGAN": "ygan",
    "SoftmaxClassifier": "softmax_classifier",
    "GeoTrans": "geotrans",
    "ARNet": "arnet",
    "DeepSVDD": "deep_svdd",
    "DeepSAD": "deep_svdd",
    "AnoGAN": "anogan",
    "EGBAD": "egbad",
    "FAnoGAN": "fanogan",
    "MemAE": "memae",
    "ALOCC": "alocc",
    "OCGAN": "ocgan",
    "GPND": "gpnd",
    "GANomaly": "ganomaly",
    "SkipGANomaly": "skip_ganomaly",
    "ADGAN": "agad",
    "PaDiM": "padim",
    "PatchCore": "patchcore",
    "Mahalanobis": "mahalanobis",
    "DN2": "dn2",
    "OneClassSVM": "classical",
    "IsolationForest": "classical",
    "PCA": "classical",
    "KernelDensity": "classical",
    "NearestNeighbors": "classical",
    "Brightness": "classical",
}


@dataclass(frozen=True)
class Paper:
    """A paper that the book reproduces."""

    title: str  # the method's name as the paper writes it
    methods: tuple[str, ...]  # the classes that the paper proposes
    chapter: str  # pages of the book, without folder and ending: the method's,
    reproduction: str  # and the one that repeats the paper's tables


#: The five papers, by the name of their file in `data/published/`.
PAPERS: dict[str, Paper] = {
    "algan": Paper("ALGAN", ("ALGAN", "ALGANFeature"), "algan", "reproduce_algan"),
    "agad": Paper("AGAD", ("AGAD",), "agad", "reproduce_agad"),
    "adegan": Paper("ADe-GAN", ("ADeGAN",), "adegan", "reproduce_adegan"),
    "simultaneous_encoder": Paper(
        "Simultaneous encoder",
        ("SimultaneousEncoder",),
        "simultaneous_encoder",
        "reproduce_simultaneous_encoder",
    ),
    "ygan": Paper("Y-GAN", ("YGAN",), "ygan", "reproduce_ygan"),
}


def methods() -> list[str]:
    """Names of all detectors, in the order in which the book introduces them."""
    return list(METHODS)


def get(name: str) -> type[Detector]:
    """The detector class called `name`.

    Raises:
        ValueError: no method has this name; the message names the nearest that exists.
    """
    if name not in METHODS:
        known = {method.lower(): method for method in METHODS}
        nearest = difflib.get_close_matches(name.lower(), known, n=1)
        guess = f"did you mean {known[nearest[0]]}? " if nearest else ""
        raise ValueError(
            f"expected the name of a method, got {name!r}; {guess}`minigan methods` and minigan.methods() "
            "list all"
        )
    return getattr(import_module(f"minigan.models.{METHODS[name]}"), name)
