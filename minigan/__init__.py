"""minigan: anomaly detection with GANs, one readable file per method.

```python
from minigan import ALGAN, data, protocols

split = protocols.one_class(data.load("digits"), normal=0)
scores = ALGAN(epochs=20).fit(split.train).anomaly_score(split.test)  # higher = more anomalous
```

The detectors (`minigan.methods()` lists them) and the shared modules are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minigan.registry import METHODS, get, methods

if TYPE_CHECKING:
    from pathlib import Path

    from minigan.detector import Detector

__version__ = "0.1.0"

_MODULES = (
    "benchmarks",
    "blocks",
    "clustering",
    "data",
    "experiments",
    "features",
    "images",
    "leaks",
    "losses",
    "metrics",
    "plots",
    "progressive",
    "protocols",
    "published",
    "tables",
)

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
        return import_module(f"minigan.{name}")
    raise AttributeError(f"module 'minigan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
