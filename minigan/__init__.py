"""minigan: anomaly detection with GANs, one readable file per method.

```python
from minigan import ALGAN, data, protocols

split = protocols.one_class(data.load("digits"), normal=0)
scores = ALGAN(epochs=20).fit(split.train).anomaly_score(split.test)  # higher = more anomalous
```

Every detector and every public module is reached from here and imported on first use, whatever folder it
lies in. `minigan.methods()` lists the detectors.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minigan.registry import METHODS, get, methods

if TYPE_CHECKING:
    from pathlib import Path

    from minigan.detector import Detector

__version__ = "0.1.0"

#: Public modules: the name in `from minigan import ...` -> where it lies.
_MODULES = {
    "blocks": "blocks",
    "checks": "checks",
    "contract": "contract",
    "data": "data",
    "diagrams": "diagrams",
    "exercises": "exercises",
    "experiments": "experiments",
    "exporting": "exporting",
    "flipbook": "flipbook",
    "hyperparameters": "hyperparameters",
    "image_files": "image_files",
    "images": "images",
    "leaks": "leaks",
    "listing": "listing",
    "metrics": "metrics",
    "names": "names",
    "onnx_model": "onnx_model",
    "plots": "plots",
    "protocols": "protocols",
    "registry": "registry",
    "tables": "tables",
    "clustering": "blocks.clustering",
    "extraction": "blocks.extraction",
    "features": "blocks.features",
    "losses": "blocks.losses",
    "progressive": "blocks.progressive",
    "sources": "data.sources",
    "benchmarks": "experiments.benchmarks",
    "published": "experiments.published",
    "report": "experiments.report",
    "spine": "experiments.spine",
    "verdicts": "experiments.verdicts",
    "spread": "experiments.spread",
    "adegan": "models.adegan",
    "agad": "models.agad",
    "algan": "models.algan",
    "arnet": "models.arnet",
    "alocc": "models.alocc",
    "anogan": "models.anogan",
    "classical": "models.classical",
    "dn2": "models.dn2",
    "mahalanobis": "models.mahalanobis",
    "padim": "models.padim",
    "patchcore": "models.patchcore",
    "deep_svdd": "models.deep_svdd",
    "geotrans": "models.geotrans",
    "egbad": "models.egbad",
    "fanogan": "models.fanogan",
    "memae": "models.memae",
    "ocgan": "models.ocgan",
    "gpnd": "models.gpnd",
    "ganomaly": "models.ganomaly",
    "simultaneous_encoder": "models.simultaneous_encoder",
    "skip_ganomaly": "models.skip_ganomaly",
    "softmax_classifier": "models.softmax_classifier",
    "ygan": "models.ygan",
}

__all__ = ["load", "methods", *METHODS, *_MODULES]  # noqa: PLE0604 (names that __getattr__ provides)


def load(path: str | Path, device: str = "auto") -> Detector:
    """Load a detector saved by `Detector.save`, whatever its class.

    Loading executes nothing from the file: it holds numbers and JSON only.

    Raises:
        FileNotFoundError, ValueError: with one sentence on what is wrong with the file.
    """
    from minigan import checkpoint

    return get(checkpoint.read(path)[0]["class"]).load(path, device=device)


def __getattr__(name: str) -> Any:
    if name in METHODS:
        return get(name)
    if name in _MODULES:
        return import_module(f"minigan.{_MODULES[name]}")
    raise AttributeError(f"module 'minigan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
