"""What detectors share that learn to tell the sub-classes of the normal images apart.

Where the labels come from, the score that a classifier gives, and Grad-CAM. A method built on this has an
encoder `E_s`, image to code, and a classifier `C`, code to one logit per sub-class; what trains them stands
in the method's own file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from minigan.detector import NeuralDetector, pick_device, require


def one_minus_confidence(logits: Tensor) -> Tensor:
    """1 - max softmax: (n, N) -> (n,) in [0, 1 - 1/N], higher = less sure.

    Computed as the sum of the other probabilities. A difference from 1 would round to the same 0 for all
    images that the classifier is sure of, and their order would be lost.
    """
    p = logits.softmax(1)
    return p.sort(1).values[:, :-1].sum(1)


@dataclass(kw_only=True, eq=False, repr=False)
class SubclassDetector(NeuralDetector):
    """A detector that is told the sub-class of every normal image, or finds sub-classes by itself."""

    label_meaning: ClassVar = "classes"

    #: Where sub-classes come from: "given" to `fit` as labels, or "cluster": k-means (Y-GAN*, section 6.3).
    labels: Literal["given", "cluster"] = "given"
    #: What is clustered: EfficientNet-B4's features ("imagenet": downloaded weights, or pixels where that is
    #: not possible; or the path of a state dict), or "pixels". Both are reduced to 100 dimensions by PCA.
    cluster_features: str | Path = "imagenet"
    #: The number of clusters is the one from 2 to this with the largest mean silhouette.
    max_clusters: int = 15

    def training_labels(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Sub-classes numbered from 0 to N - 1, (n,) int64; `classes_[i]` is the label that became i.

        Raises:
            ValueError: no labels, or a single sub-class, which leaves a classifier nothing to learn.
        """
        if self.labels == "cluster":
            y = self.weak_labels(x)
        require(
            y is not None,
            f"{type(self).__name__} learns from sub-classes of the normal images: pass fit a label for each, "
            "or labels='cluster' to find sub-classes by clustering",
        )
        classes, y = y.unique(return_inverse=True)
        require(
            len(classes) >= 2,
            f"{type(self).__name__} has a single sub-class to learn from, nothing to tell apart; pass labels "
            "of more (and validation images, lest rare ones be held out), or labels='cluster' to find some",
        )
        self.classes_ = classes.numpy()
        return y

    def weak_labels(self, x: Tensor, n_clusters: int | None = None) -> Tensor:
        """Cluster numbers of the training images, (n, c, h, w) -> (n,) int64; see `minigan.clustering`."""
        from minigan.clustering import weak_labels  # here, because it brings torchvision, which takes seconds

        device = pick_device(self.device)
        found = weak_labels(x, self.cluster_features, n_clusters, self.max_clusters, self.seed, device)
        return torch.from_numpy(found)

    def grad_cam(self, images: Any) -> np.ndarray:
        """Where the classifier looks: (n, h, w) float32, at least 0, larger = more reason for its answer.

        Grad-CAM (Selvaraju et al., 2017) of the most likely sub-class at the encoder's last 4x4 map,
        enlarged linearly. It explains the classification, not the score: a map may be all 0.
        """
        from captum.attr import LayerAttribution, LayerGradCam  # here: only this method needs it

        def logits(x: Tensor) -> Tensor:
            return self.C(self.semantic(x))

        def explain(x: Tensor) -> Tensor:
            target = logits(x).argmax(1)
            with torch.inference_mode(False), torch.enable_grad():
                x, target = x.clone(), target.clone()  # an inference tensor knows no gradients
                cam = LayerGradCam(logits, self.last_map())
                maps = cam.attribute(x, target=target, relu_attributions=True)
                maps = LayerAttribution.interpolate(maps, tuple(x.shape[2:]), "bilinear")
            return maps[:, 0].detach()

        return self.in_parts(explain, images)

    def semantic(self, x: Tensor) -> Tensor:
        """The code that C reads: (n, c, h, w) -> (n, d)."""
        return self.E_s(x)

    def last_map(self) -> nn.Module:
        """The layer of `E_s` whose output, (n, width, 4, 4), the code is read from."""
        return self.E_s[-3]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_choice("labels", "given", "cluster")
        source = self.cluster_features
        require(
            isinstance(source, str | Path),
            f"cluster_features must be 'imagenet', 'pixels' or the path of a state dict, got {source!r}",
        )
        self._check_at_least(2, "max_clusters", "batch_size")
