"""PaDiM: a Gaussian distribution of pretrained features at every position, scored by Mahalanobis distance.

A network trained on ImageNet describes every patch of an image by features from several depths. In normal
images the patch at a given position looks much the same each time: PaDiM keeps its mean and covariance over
the training images, and the anomaly map is the Mahalanobis distance of each patch from those of its position.

    Defard, Setkov, Loesch and Audigier, "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection
    and Localization", ICPR workshops 2021. https://arxiv.org/abs/2011.08785

    x --> backbone (fixed) --> maps of some blocks --> patch (i, j): c features --> some of them, at random
                                 normal patches (i, j) --> mean, covariance --> distance of the patch (i, j)

What the paper leaves open, and how it is read here:

* Backbone: the paper's are ResNet18, Wide ResNet-50-2 and EfficientNet-B5. The default is EfficientNet-Lite0,
  whose weights come with `minigan[features]`. With the paper's best one, at the first three depths:
  `PaDiM(backbone="wide_resnet50_2", blocks=(1, 2, 3), n_features=550, normalise=False)`.
* Scale of the features: epsilon in Eq. 1 is 0.01 whatever their variances are. Here features are normalised
  first, because those of EfficientNet-Lite0 have no common scale (`normalise`).
* Number of features: 100 of ResNet18's 448 at random, 550 of 1792 of Wide ResNet-50-2. The two blocks here
  have 152, few enough to keep: `n_features=None`.
* Coarser maps are enlarged by repetition: a patch gets the features of the position that covers it.
* The map is enlarged linearly to the size of the backbone's input and smoothed by a Gaussian of 4 pixels, as
  in SPADE (Cohen and Hoshen, https://arxiv.org/abs/2005.02357). The image's score is its maximum, taken
  before the map is brought to the size of the image.

Code published by others resizes to 256 pixels and crops the central 224, and scales the scores by their
extremes over the test set.

Not in this file: the crop, and the backbone (`minigan.blocks.features`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigan.checks import require
from minigan.models._pretrained import PatchDetector

#: Images whose patches are added to the sums at once: only memory and speed depend on it.
BATCH = 32


@dataclass(kw_only=True, eq=False, repr=False)
class PaDiM(PatchDetector):
    """PaDiM on images of any size, 1 or 3 channels: position by position, a Gaussian of pretrained features.

    Objects should stand at the same place in all images. Memory grows with positions times features squared.

    Attributes after `fit`, beside those of `Detector`:
        chosen_: (c,) int64, the features that are used.
        mean_: (h * w, c) float32.
        whitening_: (h * w, c, c) float32; W'W is the inverse of the covariance.

    `minigan methods PaDiM` lists all hyperparameters.
    """

    #: Features that are kept, chosen at random by the seed; None keeps all. The paper has 100 and 550.
    n_features: int | None = None
    #: Added to the variances, so that every covariance has an inverse (section III-B).
    epsilon: float = 0.01

    def patches(self, maps: list[Tensor]) -> Tensor:
        size = maps[0].shape[2:]
        return torch.cat([F.interpolate(each, size, mode="nearest") for each in maps], dim=1)

    def learn_patches(self, x: Tensor) -> None:
        n, batch = len(x), []
        total = products = torch.zeros(())  # over the images: of features (p, c), of their products (p, c, c)
        for k, (patches, _) in enumerate(self.patches_of(x)):  # (p, c), p = h * w
            if k == 0:
                order = np.random.default_rng(self.seed).permutation(patches.shape[1])
                self.chosen_ = np.sort(order[: self.n_features])
            batch.append(torch.from_numpy(patches[:, self.chosen_]).double())
            if len(batch) == BATCH or k == n - 1:
                rows = torch.stack(batch, dim=1)  # (p, b, c)
                total, products, batch = total + rows.sum(1), products + rows.mT @ rows, []
        mean = total / n
        # Eq. 1: Sigma = 1 / (n - 1) sum_k (x_k - mu)(x_k - mu)' + epsilon I, here from the sums
        covariance = (products - n * mean[:, :, None] * mean[:, None, :]) / (n - 1)
        covariance += self.epsilon * torch.eye(mean.shape[1], dtype=torch.float64)
        factor = torch.linalg.cholesky(covariance)  # L, with L L' = Sigma
        identity = torch.eye(mean.shape[1], dtype=torch.float64).expand_as(factor)
        whitening = torch.linalg.solve_triangular(factor, identity, upper=False)  # W = L^-1
        self.mean_, self.whitening_ = mean.float(), whitening.float()

    def distances(self, patches: np.ndarray) -> np.ndarray:
        """Eq. 2: M(x) = sqrt((x - mu)' Sigma^-1 (x - mu)), of each patch: (p, c) -> (p,)."""
        difference = torch.from_numpy(patches[:, self.chosen_]) - self.mean_
        return (self.whitening_ @ difference[:, :, None])[:, :, 0].norm(dim=1).numpy()

    def image_score(self, patches: np.ndarray, grid: tuple[int, int]) -> float:
        """The maximum of the anomaly map (section III-C)."""
        return float(self.enlarged(self.distances(patches), grid).max())

    def _state(self) -> dict[str, Tensor]:
        chosen = torch.from_numpy(self.chosen_)
        return {**super()._state(), "chosen": chosen, "mean": self.mean_, "whitening": self.whitening_}

    def take(self, tensors: dict[str, Tensor]) -> None:
        super().take(tensors)
        self.chosen_ = tensors["chosen"].numpy()
        self.mean_, self.whitening_ = tensors["mean"], tensors["whitening"]
        p, c = self.mean_.shape
        require(
            self.whitening_.shape == (p, c, c) and self.chosen_.shape == (c,),
            "its means, covariances and numbers of features have different shapes",
        )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(1, "n_features")
        require(self.epsilon > 0, f"expected epsilon to be positive, got {self.epsilon}")
