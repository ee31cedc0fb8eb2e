"""Mahalanobis distance on pretrained features: one Gaussian of normal images at every depth of a network.

A network trained on ImageNet describes an image by the means of its feature maps. At each depth, a Gaussian
is fitted to those of normal images; the score is the Mahalanobis distance, summed over the depths.

    Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for
    Anomaly Detection", ICPR 2021. https://arxiv.org/abs/2005.14140

    x --> backbone (fixed) --> maps at each depth --> means over positions --> Gaussian --> distance --+
                                                                                    the score: sum <---+

What the paper leaves open, and how it is read here:

* Backbone: the paper's is EfficientNet-B4 at its nine depths (`backbone="efficientnet_b4"`). The default is
  EfficientNet-Lite0, whose weights come with `minigan[features]`, after the last block of each width and at
  its end. The first of the paper's depths, a single convolution, is not one of the blocks here.
* With few images the covariance has no inverse. It is shrunk as Ledoit and Wolf propose ("A well-conditioned
  estimator for large-dimensional covariance matrices", 2004), by scikit-learn; the paper does the same.

Not in this file: the paper's reduction by (negated) principal components; the backbone
(`minigan.blocks.features`). Vectors given by the user are taken as they are, as one depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from minigan.checks import require
from minigan.models._pretrained import PretrainedDetector


@dataclass(kw_only=True, eq=False, repr=False)
class Mahalanobis(PretrainedDetector):
    """Mahalanobis distance from normal images in pretrained features, or from normal vectors.

    Attributes after `fit`, beside those of `Detector`:
        means_: (d_i,) float64 for each depth.
        precisions_: (d_i, d_i) float64 for each depth, the inverse of the shrunk covariance.
        blocks_: the blocks that are used.

    `minigan methods Mahalanobis` lists all hyperparameters.
    """

    takes: ClassVar = ("images", "vectors")

    #: Blocks of the backbone whose distances are summed, beside that of its last features; () is these alone.
    #: None is the last block of each width.
    blocks: tuple[int, ...] | None = None

    def learn(self, x: Tensor) -> None:
        models = [LedoitWolf().fit(rows.astype(np.float64)) for rows in self._depths(x)]
        self.means_ = [model.location_ for model in models]
        self.precisions_ = [model.precision_ for model in models]

    def _scores(self, x: Tensor) -> np.ndarray:
        """The sum over the depths of M(x) = sqrt((x - mu)' Sigma^-1 (x - mu)): (n,)."""
        total = np.zeros(len(x))
        for rows, mean, precision in zip(self._depths(x), self.means_, self.precisions_, strict=True):
            difference = rows - mean  # (n, d), float64
            squared = ((difference @ precision) * difference).sum(axis=1)
            total += np.sqrt(squared.clip(0))  # below 0 by rounding alone
        return total

    def _depths(self, x: Tensor) -> list[np.ndarray]:
        """Features at each depth: images (n, c, h, w) -> (n, d_i) each; vectors (n, d) are one depth."""
        return self._vectors(x, self.blocks_) if x.ndim == 4 else [x.numpy()]

    def _choose_source(self) -> None:
        super()._choose_source()
        self.blocks_ = tuple(self.blocks or ())
        if self.blocks is None and len(self.image_shape_) == 3:
            self.blocks_ = self._backbone().architecture.stages

    def _state(self) -> dict[str, Tensor]:
        pairs = zip(self.means_, self.precisions_, strict=True)
        tensors: dict[str, Tensor] = {}
        for depth, (mean, precision) in enumerate(pairs):
            tensors |= {f"mean{depth}": torch.from_numpy(mean)}
            tensors |= {f"precision{depth}": torch.from_numpy(precision)}
        return tensors

    def take(self, tensors: dict[str, Tensor]) -> None:
        depths = range(len(self.blocks_) + 1)
        self.means_ = [tensors[f"mean{depth}"].numpy() for depth in depths]
        self.precisions_ = [tensors[f"precision{depth}"].numpy() for depth in depths]
        for mean, precision in zip(self.means_, self.precisions_, strict=True):
            require(precision.shape == (*mean.shape, *mean.shape), "its covariances do not fit its means")
