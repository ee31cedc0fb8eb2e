"""Extraction of pretrained features, one image at a time, kept in memory so that a sweep extracts once.

What is kept is found again by a hash of the image and of all settings, whatever set the image is in then:
another split of the same data, or another method on the same blocks, extracts nothing anew. Images pass the
backbone one by one. On a CPU that takes no longer than in batches, and an image's features are the same to
the last bit whatever stands beside it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from minigan.blocks.features import Backbone
from minigan.images import to_float

#: Features of one image: an array for each block.
Features = tuple[np.ndarray, ...]
#: Bytes that are asked for at once. So many come from the system, and go back to it when they are freed.
PIECE = 2**26


class FeatureCache:
    """Features of the images used last, by a hash, up to a number of bytes; the oldest ones go first.

    They are copied into large pieces of memory. On their own, small arrays would lie between the large ones
    that a backbone frees after each image, and keep these from the system: twenty times their own size.
    """

    def __init__(self, limit: int):
        self.limit, self.bytes = limit, 0
        self.kept: OrderedDict[bytes, Features] = OrderedDict()
        self.piece, self.used = np.empty(0, np.uint8), 0
        self.lock = Lock()

    def get(self, key: bytes) -> Features | None:
        """The features kept under this key, or None."""
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
            return self.kept.get(key)

    def put(self, key: bytes, features: Features) -> Features:
        """Keep a copy of features, which is returned, and drop the oldest ones beyond the limit."""
        with self.lock:
            if key not in self.kept:  # no other thread was faster
                self.kept[key] = tuple(map(self._copy, features))
                self.bytes += _size(features)
            copy = self.kept[key]
            while self.bytes > self.limit and self.kept:
                self.bytes -= _size(self.kept.popitem(last=False)[1])
            return copy

    def _copy(self, array: np.ndarray) -> np.ndarray:
        """The array, in the piece that is being filled; a piece is freed when nothing in it is kept."""
        size = -(-array.nbytes // 64) * 64  # aligned
        if self.used + size > len(self.piece):
            self.piece, self.used = np.empty(max(PIECE, size), np.uint8), 0
        place = self.piece[self.used : self.used + array.nbytes].view(array.dtype).reshape(array.shape)
        place[...] = array
        self.used += size
        return place

    def clear(self) -> None:
        """Keep nothing: what comes next is extracted, and its time can be measured."""
        with self.lock:
            self.kept.clear()
            self.bytes, self.piece, self.used = 0, np.empty(0, np.uint8), 0


def _size(features: Features) -> int:
    return sum(array.nbytes for array in features)


#: Shared by all detectors of the process: a gigabyte, about 5000 images of 224 pixels with blocks 4 and 10.
CACHE = FeatureCache(2**30)
_one_at_a_time = Lock()  # the hooks that collect maps belong to the network, which detectors share


def extract(
    x: Tensor, backbone: Backbone, blocks: tuple[int, ...], size: int | None = None, pooled: bool = False
) -> Iterator[Features]:
    """Features of each image, in order, from the cache where they are known.

    Args:
        x: (n, c, h, w) images, uint8 or float, as `images.as_tensor` returns them.
        backbone: the network.
        blocks: numbers of its blocks, see `blocks.features`.
        size: side of its input in pixels; None is the size that its weights were tested at.
        pooled: give the mean of each map over all positions instead of the map, and the features behind all
            blocks after them.

    Yields:
        for each image the maps of the blocks, (c_i, h_i, w_i) each; or vectors, (c_i,) each and (d,). They
        are float32, and not to be changed.
    """
    settings = (backbone.digest, tuple(map(int, blocks)), size or backbone.size, pooled)
    for image in x:
        key = _key(image, settings)
        features = CACHE.get(key)
        if features is None:
            with _one_at_a_time:
                maps, last = backbone.maps(to_float(image[None], backbone.device), blocks, size)
            if pooled:
                features = tuple(each.mean((0, 2, 3)).numpy() for each in maps) + (last[0].numpy(),)
            else:
                features = tuple(each[0].numpy() for each in maps)
            features = CACHE.put(key, features)
        yield features


def extract_rotated(
    x: Tensor, backbone: Backbone, rotations: int, crop_from: int | None = None
) -> Iterator[np.ndarray]:
    """Features of each image under every rotation, (rotations, d), in order, from the cache where known.

    `Backbone.__call__` explains the arguments. The arrays are float32, and not to be changed.
    """
    for image in x:
        key = _key(image, (backbone.digest, "rotated", rotations, crop_from))
        features = CACHE.get(key)
        if features is None:
            views = backbone(to_float(image[None], backbone.device), rotations, crop_from=crop_from)
            features = CACHE.put(key, (views[0].numpy(),))
        yield features[0]


def _key(image: Tensor, settings: tuple) -> bytes:
    about = repr((settings, image.dtype, tuple(image.shape))).encode()
    return hashlib.sha1(about + image.contiguous().cpu().numpy().tobytes()).digest()


def shared_backbone(weights: str | Path, device: torch.device, architecture: str) -> Backbone:
    """A backbone that all detectors of the process share; a file of weights that changed is read anew."""
    path = Path(weights)
    changed = path.stat().st_mtime_ns if weights != "imagenet" and path.is_file() else 0
    return _backbone(str(weights), str(device), architecture, changed)


@lru_cache(maxsize=2)
def _backbone(weights: str, device: str, architecture: str, changed: int) -> Backbone:
    return Backbone(weights, device, architecture)
