"""Features that are extracted once: what is found again, what is not, and what is forgotten."""

import weakref

import numpy as np
import pytest
import torch
from helpers import add_tiny_backbone, tiny_network

from minigan import DN2, PaDiM, extraction, protocols
from minigan.blocks.extraction import FeatureCache, extract, shared_backbone
from minigan.data import load

CPU = torch.device("cpu")


@pytest.fixture
def backbone(monkeypatch):
    add_tiny_backbone(monkeypatch)
    monkeypatch.setattr(extraction, "CACHE", FeatureCache(10**6))
    return shared_backbone("imagenet", CPU, "tiny")


@pytest.fixture
def extracted(backbone, monkeypatch) -> list[int]:
    """How many images each pass through the network had."""
    passes, original = [], backbone.maps

    def noted(x, *args):
        passes.append(len(x))
        return original(x, *args)

    monkeypatch.setattr(backbone, "maps", noted)
    return passes


def images(n: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, 1, 16, 16), dtype=np.uint8))


def test_maps_are_those_of_the_network_and_vectors_their_means(backbone):
    x = images()
    maps, last = backbone.maps(x / 127.5 - 1, (1, 3))
    for i, (a, b) in enumerate(extract(x, backbone, (1, 3))):
        np.testing.assert_allclose(a, maps[0][i], atol=1e-6)
        np.testing.assert_allclose(b, maps[1][i], atol=1e-6)
    for i, (a, b, d) in enumerate(extract(x, backbone, (1, 3), pooled=True)):
        np.testing.assert_allclose(a, maps[0][i].mean((1, 2)), atol=1e-6)
        np.testing.assert_allclose(b, maps[1][i].mean((1, 2)), atol=1e-6)
        np.testing.assert_allclose(d, last[i], atol=1e-6)


def test_an_image_is_extracted_once_whatever_set_it_is_in(backbone, extracted):
    x = images()
    first = list(extract(x, backbone, (1, 3)))
    assert extracted == [1] * 5  # alone, so that no features depend on those beside them
    again = list(extract(x.flip(0), backbone, (1, 3)))
    assert extracted == [1] * 5
    for (a, b), (c, d) in zip(first, again[::-1], strict=True):
        assert a is c and b is d


@pytest.mark.parametrize("other", ["blocks", "size", "pooled", "floats", "weights"])
def test_other_settings_are_extracted_anew(other, backbone, extracted, tmp_path):
    x = images(1)
    list(extract(x, backbone, (1, 3), 16, False))
    changed = {"blocks": (3, 1)} if other == "blocks" else {"blocks": (1, 3)}
    changed |= {"size": 8} if other == "size" else {}
    changed |= {"pooled": True} if other == "pooled" else {}
    if other == "weights":
        state = tiny_network().state_dict()
        state["0.bias"] += 1
        torch.save(state, tmp_path / "w.pth")
        another = shared_backbone(tmp_path / "w.pth", CPU, "tiny")
        assert (next(extract(x, another, (1, 3)))[0] != next(extract(x, backbone, (1, 3)))[0]).any()
        return
    list(extract(x / 127.5 - 1 if other == "floats" else x, backbone, **changed))
    assert len(extracted) == 2


def test_the_size_of_the_weights_and_the_same_number_are_one_setting(backbone, extracted):
    list(extract(images(1), backbone, (1, 3)))
    list(extract(images(1), backbone, (1, 3), 16))
    assert len(extracted) == 1


def test_the_oldest_features_go_first():
    cache = FeatureCache(limit=100)
    for name in "abc":
        cache.put(name.encode(), (np.zeros(10, np.float32),))  # 40 bytes each
    assert cache.get(b"a") is None and cache.bytes == 80
    cache.get(b"b")  # used again, so c is the oldest
    cache.put(b"d", (np.zeros(10, np.float32),))
    assert cache.get(b"c") is None and cache.get(b"b") is not None
    cache.put(b"d", (np.zeros(10, np.float32),))  # known already
    assert cache.bytes == 80
    cache.put(b"e", (np.zeros(100, np.float32),))  # larger than the limit: nothing is kept
    assert cache.bytes == 0 and not cache.kept
    cache.put(b"f", (np.zeros(1, np.float32),))
    cache.clear()
    assert cache.bytes == 0 and cache.get(b"f") is None


def test_features_are_copied_into_pieces_that_are_freed(monkeypatch):
    """Small arrays on their own, between large ones that come and go, kept twenty times their memory."""
    monkeypatch.setattr(extraction, "PIECE", 1000)
    cache, rng = FeatureCache(limit=2000), np.random.default_rng(0)
    given = [rng.normal(size=shape).astype(np.float32) for shape in ((5, 7), (33,), (2, 3, 4), (400,))]
    kept = [cache.put(bytes([i]), (array, array[:1])) for i, array in enumerate(given)]
    for i, (array, pair) in enumerate(zip(given, kept, strict=True)):
        np.testing.assert_array_equal(pair[0], array)
        np.testing.assert_array_equal(pair[1], array[:1])
        assert cache.get(bytes([i])) is pair or i == 0  # the first had to go
        assert all(part.flags.aligned and not np.shares_memory(part, array) for part in pair)
    pieces = [weakref.ref(pair[0].base) for pair in kept]
    assert len({id(piece()) for piece in pieces}) == 2  # three of them in the first, the largest in its own
    cache.clear()
    del kept, pair
    assert [piece() for piece in pieces] == [None] * 4


def test_a_sweep_extracts_each_image_once(backbone, extracted):
    """Another seed holds out other images, another method learns something else from the same blocks."""
    digits = load("digits", size=16)
    split = protocols.one_class(digits, normal=0)
    for seed in (0, 1):
        for settings in ({}, {"n_features": 5}):
            detector = PaDiM(backbone="tiny", blocks=(1, 3), seed=seed, **settings).fit(split.train[:30])
            detector.anomaly_score(split.test[:10])
            detector.anomaly_map(split.test[:10])
    assert len(extracted) == 40
    DN2(backbone="tiny").fit(split.train[:30])
    assert len(extracted) == 70


def test_a_file_of_weights_that_changed_is_read_again(backbone, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(tiny_network().state_dict(), path)
    first = shared_backbone(path, CPU, "tiny")
    assert shared_backbone(path, CPU, "tiny") is first
    state = tiny_network().state_dict()
    state["2.bias"] += 1
    torch.save(state, path)
    assert shared_backbone(path, CPU, "tiny").digest != first.digest
