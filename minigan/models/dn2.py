"""DN2: nearest neighbours on pretrained features, the baseline of everything that uses ImageNet.

An image is described by the last features of a network trained on ImageNet, averaged over all positions. The
score is the mean squared distance to the nearest training images: no training, no map, one number to choose.

    Bergman, Cohen and Hoshen, "Deep Nearest Neighbor Anomaly Detection", 2020.
    https://arxiv.org/abs/2002.10445

    x --> backbone (fixed) --> mean over positions --> f --> squared distances to the k nearest training f

What the paper leaves open, and how it is read here:

* Backbone: the paper's are ResNets, up to ResNet-152. The default is EfficientNet-Lite0, whose weights come
  with `minigan[features]`.

Not in this file: the crop of the central 224 of 256 pixels; the paper's versions for unlabelled anomalies in
the training set and for groups of images; the backbone (`minigan.blocks.features`). For pixels, and for
vectors of any origin, there is `NearestNeighbors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from minigan.detector import Detector
from minigan.models._pretrained import PretrainedDetector


@dataclass(kw_only=True, eq=False, repr=False)
class DN2(PretrainedDetector):
    """DN2 on images of any size, 1 or 3 channels: squared distance to the nearest images in feature space.

    Attributes after `fit`, beside those of `Detector`:
        memory_: (n, d) float32, features of the training images.

    `minigan methods DN2` lists all hyperparameters.
    """

    adjustable: ClassVar = Detector.adjustable | {"n_neighbors"}

    #: Number of neighbours, or all if there are fewer.
    n_neighbors: int = 2

    def learn(self, x: Tensor) -> None:
        self._remember(self._vectors(x)[0])

    def _scores(self, x: Tensor) -> np.ndarray:
        """d(x) = 1/k sum over the k nearest f of ||f(x) - f||^2: (n,)."""
        k = min(self.n_neighbors, len(self.memory_))
        distances, _ = self.neighbors_.kneighbors(self._vectors(x)[0], k)  # (n, k)
        return np.square(distances, dtype=np.float64).mean(axis=1)

    def _remember(self, memory: np.ndarray) -> None:
        self.memory_ = memory
        # By brute force: trees do not help in a thousand dimensions.
        self.neighbors_ = NearestNeighbors(algorithm="brute").fit(memory)

    def _state(self) -> dict[str, Tensor]:
        return {"memory": torch.from_numpy(self.memory_)}

    def take(self, tensors: dict[str, Tensor]) -> None:
        self._remember(tensors["memory"].numpy())

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(1, "n_neighbors")
