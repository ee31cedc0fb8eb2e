"""What the tests of the library share: tiny data, and what a good error message looks like."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest

from minigan import data


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
