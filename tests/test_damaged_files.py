"""2000 damaged checkpoints: each gives a working detector or one sentence, in little time and memory."""

import json
import resource
import time
import warnings

import numpy as np
import pytest
from helpers import zeros
from sklearn.exceptions import NotFittedError

import minigan
from minigan import PCA, GANomaly

SMALL = {"width": 2, "z_dim": 2, "epochs": 1, "batch_size": 16, "progress": False}
#: Detectors, and how many damaged copies of each are tried.
TRIED = {"PCA": (PCA(n_components=2), 1850), "GANomaly": (GANomaly(**SMALL), 150)}
#: Numbers and text that somebody might put into a header, harmless and otherwise.
STRANGE = [0, -1, 1e308, 10**12, float("nan"), None, True, "", "0", [], {}, [[]], "../../x", "PCA", "cuda:9"]


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A copy damaged at random: bits flipped, bytes lost, repeated or zeroed, or another header."""
    kind = rng.integers(6)
    at, length = sorted(rng.integers(0, len(content), 2))
    length = min(length - at, 64)
    if kind == 0:
        changed = bytearray(content)
        for position in rng.integers(0, len(content), rng.integers(1, 9)):
            changed[position] ^= 1 << rng.integers(8)
        return bytes(changed)
    if kind == 1:
        return content[:at]
    if kind == 2:
        return content[:at] + content[at : at + length] + content[at:]
    if kind == 3:
        return content[:at] + bytes(length) + content[at + length :]
    return with_another_header(content, rng)


def with_another_header(content: bytes, rng: np.random.Generator) -> bytes:
    """A valid safetensors file whose JSON has one value replaced, removed or put under another name."""
    n = int.from_bytes(content[:8], "little")
    about = json.loads(content[8 : 8 + n])
    header = json.loads(about["__metadata__"]["minigan"])
    where = header if rng.random() < 0.5 else header["parameters"]
    name = str(rng.choice(sorted(where)))
    value, how = where.pop(name), rng.integers(4)
    if how == 0:
        where[name + "_"] = value
    elif how > 1:
        where[name] = STRANGE[rng.integers(len(STRANGE))]
    about["__metadata__"]["minigan"] = json.dumps(header)
    text = json.dumps(about).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + n :]


@pytest.mark.parametrize("name", TRIED)
def test_a_damaged_checkpoint_works_or_gets_one_sentence(name, tmp_path):
    detector, n = TRIED[name]
    x = zeros(4)
    detector.fit(zeros(20)).save(tmp_path / "whole")
    content, path = (tmp_path / "whole").read_bytes(), tmp_path / "damaged"
    before, slowest, refused = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0, 0
    for seed in range(n):
        path.write_bytes(damaged(content, np.random.default_rng(seed)))
        began = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded = minigan.load(path, device="cpu")
                scores = loaded.anomaly_score(x)
            assert scores.shape == (4,) and np.isfinite(scores).all(), seed
        except (ValueError, FloatingPointError, NotFittedError) as error:
            refused += 1
            message = str(error)
            assert "expected" in message and "got" in message, (seed, message)
            assert "\n" not in message and len(message) < 600, (seed, message)
        slowest = max(slowest, time.perf_counter() - began)
    assert refused > n / 3  # the damage is real
    assert slowest < 5, slowest
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000, f"{grown} KiB"
