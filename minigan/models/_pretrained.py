"""Base classes of detectors on pretrained features: backbone, patches, and maps that localise anomalies.

Nothing is trained but statistics of features: there are no epochs, and `history_` is empty. A checkpoint
holds these statistics and never the backbone, which is loaded again by its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from minigan.checks import require
from minigan.detector import Detector
from minigan.torch_state import pick_device, usual_modes

if TYPE_CHECKING:
    from minigan.blocks.features import Backbone


@dataclass(kw_only=True, eq=False, repr=False)
class PretrainedDetector(Detector):
    """Base class of all of them. Subclasses write `learn`, `_scores`, `_state` and `take`.

    Attributes after `fit`, beside those of `Detector`:
        source_: (weights, backbone, input_size, device) with which features are extracted from then on.
    """

    #: Network trained on ImageNet: "efficientnet_lite0" (nothing is downloaded), "wide_resnet50_2",
    #: "wide_resnet101_2" or "efficientnet_b4" (`minigan.features` says more).
    backbone: str = "efficientnet_lite0"
    #: Its weights: "imagenet", or the path of a state dict.
    weights: str | Path = "imagenet"
    #: Side of the backbone's input in pixels; None is the size that its weights were tested at, mostly 224.
    input_size: int | None = None
    #: "cpu", "cuda", "cuda:1", "mps", or "auto": cuda when there is one, else the CPU. It runs the backbone.
    device: str | torch.device = "auto"

    def learn(self, x: Tensor) -> None:
        """Learn from normal images (n, c, h, w), uint8 or float, or from vectors (n, d)."""
        raise NotImplementedError

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Become fitted again from what `_state` returned."""
        raise NotImplementedError

    def _fit(self, x: Tensor, y: Tensor | None, validation: tuple[Tensor, np.ndarray]) -> None:
        self._choose_source()
        self.learn(x)
        self.history_ = pd.DataFrame()  # no epochs

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        self._choose_source()
        self.take(tensors)

    def _choose_source(self) -> None:
        self.source_ = (self.weights, self.backbone, self.input_size, pick_device(self.device))

    def _backbone(self) -> Backbone:
        from minigan.blocks.extraction import shared_backbone  # here: torchvision takes seconds to import

        weights, architecture, _, device = self.source_
        return shared_backbone(weights, device, architecture)

    def _extract(self, x: Tensor, blocks: tuple[int, ...], pooled: bool) -> Iterator[tuple[np.ndarray, ...]]:
        """For each image, (c, h, w), its maps (c_i, h_i, w_i), or its vectors (c_i,) and (d,)."""
        from minigan.blocks.extraction import extract

        return extract(x, self._backbone(), blocks, self.source_[2], pooled)

    def _vectors(self, x: Tensor, blocks: tuple[int, ...] = ()) -> list[np.ndarray]:
        """Pooled features: (n, c, h, w) images -> (n, c_i) of each block, and (n, d) of them all."""
        each = list(self._extract(x, blocks, pooled=True))
        return [np.stack(vectors) for vectors in zip(*each, strict=True)]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(8, "input_size")


#: Images from which the scale of features is learned, at most.
SCALE_IMAGES = 256


@dataclass(kw_only=True, eq=False, repr=False)
class PatchDetector(PretrainedDetector):
    """A detector that gives every patch of an image a distance from normal; their map localises anomalies.

    Subclasses write `learn_patches`, `patches`, `distances` and `image_score` instead of `learn`, `_scores`.

    Attributes after `fit`, beside those of `Detector`:
        blocks_: the blocks that are used.
        scale_: (2, c) float32, mean and standard deviation of each feature over training patches; or None.
    """

    adjustable: ClassVar = Detector.adjustable | {"sigma"}

    #: Blocks of the backbone whose maps are joined, the largest map first. Blocks 4 and 10 of
    #: EfficientNet-Lite0 are the last with maps of 28 and of 14 pixels for images of 224: 784 patches of
    #: 40 + 112 features.
    blocks: tuple[int, ...] = (4, 10)
    #: Standardise each feature over the training patches, then give all patches the same length. The papers,
    #: on ResNets, do without. The blocks of EfficientNet-Lite0 end without an activation, and their features
    #: have no common scale; distances between them follow the contrast of a patch more than what it shows.
    normalise: bool = True
    #: Standard deviation of the Gaussian that smooths the map, in pixels of the backbone's input.
    sigma: float = 4.0

    def learn_patches(self, x: Tensor) -> None:
        """Learn from the patches, as `patches_of` gives them, of images (n, c, h, w)."""
        raise NotImplementedError

    def patches(self, maps: list[Tensor]) -> Tensor:
        """Join the maps of an image, (1, c_i, h_i, w_i) each, to one of the first's size: (1, c, h, w)."""
        raise NotImplementedError

    def distances(self, patches: np.ndarray) -> np.ndarray:
        """How far each patch of an image is from normal: (h * w, c) -> (h * w,)."""
        raise NotImplementedError

    def image_score(self, patches: np.ndarray, grid: tuple[int, int]) -> float:
        """The score of an image from its patches, (h * w, c), which stand in a grid of (h, w)."""
        raise NotImplementedError

    def anomaly_map(self, images: Any) -> np.ndarray:
        """Distances of the patches, enlarged and smoothed: (n, h, w) float32, higher = more anomalous."""
        self._check_fitted()
        self._check_parameters()
        with usual_modes():
            x = self._like_training(images)
            maps = [self.enlarged(self.distances(patches), grid) for patches, grid in self.patches_of(x)]
            # From the size of the backbone's input to that of the images.
            found = torch.from_numpy(np.stack(maps))[:, None]
            return F.interpolate(found, tuple(x.shape[2:]), mode="bilinear", antialias=True)[:, 0].numpy()

    def enlarged(self, distances: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """A map of distances, (h * w,), enlarged linearly to the backbone's input, and smoothed: (s, s)."""
        side = self.source_[2] or self._backbone().size
        coarse = torch.from_numpy(distances.reshape(1, 1, *grid)).float()
        fine = F.interpolate(coarse, (side, side), mode="bilinear")
        return gaussian_filter(fine[0, 0].numpy(), self.sigma)

    def patches_of(self, x: Tensor) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
        """For each image its patches, (h * w, c) float32, and their grid, (h, w)."""
        for maps in self._extract(x, self.blocks_, pooled=False):
            joined = self.patches([torch.from_numpy(each)[None] for each in maps])  # (1, c, h, w)
            yield self.standardised(joined)[0].numpy(), (joined.shape[2], joined.shape[3])

    def standardised(self, joined: Tensor) -> Tensor:
        """The patches of joined maps, on the scale that was learned: (n, c, h, w) -> (n, h * w, c)."""
        rows = joined.flatten(2).transpose(1, 2).contiguous()
        if self.scale_ is not None:
            mean, std = self.scale_
            # Of length sqrt(c): on average over the features, a square is still 1.
            rows = F.normalize((rows - mean) / std, dim=2) * rows.shape[2] ** 0.5
        return rows

    def learn(self, x: Tensor) -> None:
        self.scale_ = None
        if self.normalise:
            some = x[torch.linspace(0, len(x) - 1, min(len(x), SCALE_IMAGES)).long()]
            moments = [self._moments(rows) for rows, _ in self.patches_of(some)]
            mean, square = torch.stack(moments).mean(0)
            std = (square - mean.square()).clamp(min=0).sqrt()
            # A feature that is the same everywhere says nothing, and has no spread to divide by.
            self.scale_ = torch.stack([mean, torch.where(std > 1e-6 * mean.abs(), std, 1.0)]).float()
        self.learn_patches(x)

    @staticmethod
    def _moments(rows: np.ndarray) -> Tensor:
        """Means of the features of an image and of their squares: (h * w, c) -> (2, c) float64."""
        doubles = torch.from_numpy(rows).double()
        return torch.stack([doubles.mean(0), doubles.square().mean(0)])

    def _scores(self, x: Tensor) -> np.ndarray:
        scores = [self.image_score(patches, grid) for patches, grid in self.patches_of(x)]
        return np.array(scores, dtype=np.float64)

    def _state(self) -> dict[str, Tensor]:
        return {} if self.scale_ is None else {"scale": self.scale_}

    def take(self, tensors: dict[str, Tensor]) -> None:
        self.scale_ = tensors.get("scale")

    def _choose_source(self) -> None:
        super()._choose_source()
        self.blocks_ = tuple(self.blocks)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "sigma")
        require(len(self.blocks) >= 1, "expected at least one block in blocks, got none; pass (4, 10)")
