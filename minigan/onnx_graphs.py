"""Scores of all kinds of detectors as PyTorch modules that ONNX can express: (n, c, h, w) uint8 -> (n,).

`graph_of` makes one of a fitted detector. For a network it is the method's own `score_step`
(`onnx_networks.py`). What is not a network is written anew here, because scikit-learn and numpy leave no
trace that could be exported; tests hold both to the same scores.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from minigan.neural import NeuralDetector
from minigan.onnx_networks import JacobianScore, NetworkScore, OnnxOperations, SearchScore

if TYPE_CHECKING:
    from minigan.blocks.features import Backbone


def graph_of(detector: Any) -> nn.Module:
    """A module that gives the detector's scores; the detector itself is of no use afterwards.

    Raises:
        ValueError: the method is one that this file does not know.
    """
    name = type(detector).__name__
    make = GRAPHS.get(name, NetworkScore if isinstance(detector, NeuralDetector) else None)
    if make is None:
        raise ValueError(
            f"expected a method that minigan can export, got {name}; score with the saved detector"
        )
    return Pixels(make(detector)).eval()


class Pixels(nn.Module):
    """Preprocessing, and then a score: (n, c, h, w) uint8 -> (n,)."""

    def __init__(self, score: nn.Module):
        super().__init__()
        self.score = score
        if hasattr(score, "tolerance"):
            self.tolerance = score.tolerance

    def forward(self, images: Tensor) -> Tensor:
        return self.score(images.float() / 127.5 - 1)


# ---------------------------------------------------------------------- classical methods, on pixels


class Rows(nn.Module):
    """Base class of scores of images as vectors in float64: constants by name, and a formula."""

    def __init__(self, **constants: Any):
        super().__init__()
        for name, value in constants.items():
            self.register_buffer(name, torch.tensor(np.asarray(value, dtype=np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x.flatten(1).double())

    def formula(self, x: Tensor) -> Tensor:
        """Scores of vectors, (n, d) float64 -> (n,)."""
        raise NotImplementedError


def squared_distances(x: Tensor, others: Tensor) -> Tensor:
    """||x - y||^2 of all pairs, without a difference for each of them in memory: (n, d), (m, d) -> (n, m)."""
    lengths = x.square().sum(-1, keepdim=True) + others.square().sum(-1)
    return (lengths - 2 * x @ others.transpose(-1, -2)).clamp(min=0)  # below 0 by rounding alone


class PCAScore(Rows):
    """Mean squared error after projection."""

    mean: Tensor
    components: Tensor

    def formula(self, x: Tensor) -> Tensor:
        x = x - self.mean
        return (x - x @ self.components.T @ self.components).square().mean(1)


class NeighborsScore(Rows):
    """Mean distance to the nearest k of the rows of `memory`, or mean squared distance."""

    memory: Tensor

    def __init__(self, memory: Any, k: int, *, squared: bool):
        super().__init__(memory=memory)
        self.k, self.squared = k, squared

    def formula(self, x: Tensor) -> Tensor:
        nearest = squared_distances(x, self.memory).topk(self.k, largest=False).values
        return (nearest if self.squared else nearest.sqrt()).mean(1)


class DensityScore(Rows):
    """Minus the log of the mean of Gaussians of standard deviation h around the rows of `data`."""

    data: Tensor
    h: Tensor

    def formula(self, x: Tensor) -> Tensor:
        n, d = self.data.shape
        exponents = -squared_distances(x, self.data) / (2 * self.h**2)
        return math.log(n) + d * (self.h.log() + math.log(2 * math.pi) / 2) - exponents.logsumexp(1)


class BoundaryScore(Rows):
    """Minus the height over the boundary of a one-class SVM with Gaussian kernels."""

    vectors: Tensor
    weights: Tensor
    gamma: Tensor
    intercept: Tensor

    def formula(self, x: Tensor) -> Tensor:
        kernels = (-self.gamma * squared_distances(x, self.vectors)).exp()
        return -(kernels @ self.weights + self.intercept)


class ForestScore(Rows):
    """2^(-relative depth) of isolation trees, whose nodes are numbered through."""

    feature: Tensor  # (nodes,), as are all but the roots
    threshold: Tensor
    below: Tensor  # the node that follows where x <= threshold; a leaf is followed by itself
    above: Tensor
    depth: Tensor
    roots: Tensor  # (trees,)

    def __init__(self, forest: Any, n_samples: int):
        trees = [each.tree_ for each in forest.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
        numbers = np.arange(sum(tree.node_count for tree in trees))

        def joined(name: str, shift: bool = False) -> np.ndarray:
            parts = [getattr(tree, name) for tree in trees]
            return np.concatenate([part + root * shift for part, root in zip(parts, roots, strict=True)])

        depths = np.concatenate([tree.compute_node_depths() for tree in trees])  # a root has depth 1
        leaf = joined("children_left") < 0
        super().__init__(
            feature=np.where(leaf, 0, joined("feature")),
            threshold=joined("threshold"),
            below=np.where(leaf, numbers, joined("children_left", shift=True)),
            above=np.where(leaf, numbers, joined("children_right", shift=True)),
            depth=depths - 1 + mean_depth(joined("n_node_samples")) + (n_samples == 1),
            roots=roots,
        )
        self.deepest = int(depths.max()) - 1
        # A tree of one image has no depth; scikit-learn then takes a relative depth of 1.
        self.usual = max(1.0, float(mean_depth(np.array([n_samples]))[0]))

    def formula(self, x: Tensor) -> Tensor:
        x = x.float()  # as trees of scikit-learn compare
        node = self.roots.long().expand(x.shape[0], -1)  # (n, trees)
        for _ in range(self.deepest):
            follows = x.gather(1, self.feature[node].long()) <= self.threshold[node]
            node = torch.where(follows, self.below[node], self.above[node]).long()
        return 2 ** (-self.depth[node].mean(1) / self.usual)


def mean_depth(n: np.ndarray) -> np.ndarray:
    """Mean depth at which random splits isolate one of n images: 2 H(n - 1) - 2 (n - 1) / n, H harmonic."""
    many = np.maximum(n, 3).astype(np.float64)
    harmonic = np.log(many - 1) + np.euler_gamma
    return np.where(n > 2, 2 * harmonic - 2 * (many - 1) / many, n - 1.0)


class BrightnessScore(Rows):
    """Standard deviations between the mean brightness and that of the training images."""

    mean: Tensor
    scale: Tensor

    def formula(self, x: Tensor) -> Tensor:
        return ((x.mean(1) - self.mean) / self.scale).abs()


def _pca(detector: Any) -> nn.Module:
    return PCAScore(mean=detector.model_.mean_, components=detector.model_.components_)


def _nearest_neighbors(detector: Any) -> nn.Module:
    model = detector.model_
    return NeighborsScore(model._fit_X, model.n_neighbors, squared=False)


def _density(detector: Any) -> nn.Module:
    return DensityScore(data=detector.model_.tree_.data, h=detector.model_.bandwidth_)


def _svm(detector: Any) -> nn.Module:
    model = detector.model_
    return BoundaryScore(
        vectors=model.support_vectors_,
        weights=model.dual_coef_[0],
        gamma=model._gamma,
        intercept=model.intercept_[0],
    )


def _forest(detector: Any) -> nn.Module:
    return ForestScore(detector.model_, min(detector.max_samples, len(detector.data_)))


def _gpnd(detector: Any) -> nn.Module:
    needed = detector.jacobian and detector.scored_by in ("novelty", "parallel")
    return JacobianScore(detector) if needed else NetworkScore(detector)


def _brightness(detector: Any) -> nn.Module:
    return BrightnessScore(mean=detector.model_.mean_[0], scale=detector.model_.scale_[0])


# ---------------------------------------------------------------------- methods on pretrained features


def traceable(backbone: Backbone, side: int) -> Backbone:
    """The backbone with a resizing that ONNX has: of images of `side` pixels, by products with matrices.

    Resizing is linear in the pixels, and each axis is resized alone, so a matrix for each axis does the same.
    """
    twin = copy.copy(backbone)
    bicubic = backbone.interpolation.value == "bicubic"

    def resized(x: Tensor, size: int) -> Tensor:
        x = x.expand(-1, 3, -1, -1)
        if size == side:
            return x
        identity = torch.eye(side)[None, None]
        mode = backbone.interpolation.value
        axis = F.interpolate(identity, (size, side), mode=mode, antialias=True)[0, 0]  # (size, side)
        x = axis @ x @ axis.T
        return x.clamp(-1, 1) if bicubic else x

    twin.__dict__["_resized"] = resized
    return twin


class Extractor(nn.Module):
    """Base class of scores of pretrained features: images in [-1, 1] -> maps of blocks, and last features."""

    def __init__(self, detector: Any):
        super().__init__()
        self.detector = detector
        self.backbone = traceable(detector._backbone(), detector.image_shape_[1])
        self.network = self.backbone.network

    def maps(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(n, c_i, h_i, w_i) for each block of the detector, and (n, d)."""
        return self.backbone.maps(x, getattr(self.detector, "blocks_", ()), self.detector.source_[2])


class DN2Score(Extractor):
    """Mean squared distance to the nearest features."""

    def __init__(self, detector: Any):
        super().__init__(detector)
        k = min(detector.n_neighbors, len(detector.memory_))
        self.neighbors = NeighborsScore(detector.memory_, k, squared=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.neighbors(self.maps(x)[1])


class MahalanobisScore(Extractor):
    """Sum over the depths of Mahalanobis distances."""

    def __init__(self, detector: Any):
        super().__init__(detector)
        self.depths = [
            (torch.tensor(mean), torch.tensor(precision))
            for mean, precision in zip(detector.means_, detector.precisions_, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        maps, last = self.maps(x)
        vectors = [*(each.mean((2, 3)) for each in maps), last]
        total = torch.zeros(())
        for rows, (mean, precision) in zip(vectors, self.depths, strict=True):
            difference = rows.double() - mean
            total = total + ((difference @ precision) * difference).sum(1).clamp(min=0).sqrt()
        return total


class PaDiMScore(Extractor):
    """The largest value of the smoothed map of the Mahalanobis distances of patches."""

    def __init__(self, detector: Any):
        super().__init__(detector)
        self.chosen = torch.from_numpy(detector.chosen_)

    def forward(self, x: Tensor) -> Tensor:
        detector = self.detector
        joined = detector.patches(self.maps(x)[0])  # (n, c, h, w)
        h, w = joined.shape[2:]
        difference = detector.standardised(joined)[:, :, self.chosen] - detector.mean_  # (n, p, c)
        distances = (detector.whitening_ @ difference[..., None])[..., 0].norm(dim=2)
        rows, columns = self._enlarging(h), self._enlarging(w)
        return (rows @ distances.unflatten(1, (h, w)) @ columns.T).flatten(1).amax(1)

    def _enlarging(self, n: int) -> Tensor:
        """The matrix that enlarges an axis of n patches linearly to the backbone's input, and smooths it."""
        side = self.detector.source_[2] or self.backbone.size
        axis = F.interpolate(torch.eye(n)[None, None], (side, n), mode="bilinear")[0, 0]  # (s, n)
        return torch.from_numpy(gaussian_filter1d(axis.numpy(), self.detector.sigma, axis=0))


class PatchCoreScore(Extractor):
    """The largest distance of a patch to the memory, weighted by how dense the memory is there."""

    def forward(self, x: Tensor) -> Tensor:
        memory = self.detector.memory_  # (m, c)
        patches = self.detector.standardised(self.detector.patches(self.maps(x)[0]))  # (n, p, c)
        nearest = squared_distances(patches, memory).min(2)
        farthest = nearest.values.argmax(1, keepdim=True)  # (n, 1)
        query = patches.gather(1, farthest[..., None].expand(-1, -1, patches.shape[2]))  # (n, 1, c)
        m_star = memory[nearest.indices.gather(1, farthest)]  # (n, 1, c)
        s_star = (query - m_star).norm(dim=2)[:, 0]  # exact, unlike the distances that found it
        b = min(self.detector.n_reweighted, len(memory))
        if b < 2:
            return s_star
        around = memory[squared_distances(m_star[:, 0], memory).topk(b, largest=False).indices]  # (n, b, c)
        to_query = (around - query).norm(dim=2)
        return (1 - to_query.softmax(1).amin(1)) * s_star


class RotatedScore(NetworkScore):
    """ALGANFeature's score: minus D's output for the features of an image, averaged over its rotations.

    All rotations go through the backbone together, which would be as many copies of it in a trace.
    """

    def __init__(self, detector: Any):
        super().__init__(detector)
        self.detector = detector
        self.backbone = traceable(detector._backbone(), detector.image_shape_[1])
        self.network = self.backbone.network

    def forward(self, x: Tensor) -> Tensor:
        # Here, because torchvision takes seconds to import. Its newer `rotate` changes images in place, which
        # a trace in ONNX does not follow.
        from torchvision.transforms.functional import InterpolationMode, rotate

        detector, backbone, n = self.detector, self.backbone, self.detector.rotations_score
        before, size = detector.crop_from or backbone.size, backbone.size
        x, edge = backbone._resized(x, before), round((before - size) / 2)
        with OnnxOperations():
            turned = [rotate(x, 360 * k / n, InterpolationMode.BILINEAR, fill=[-1.0]) for k in range(1, n)]
            crops = torch.stack([x, *turned], dim=1)[..., edge : edge + size, edge : edge + size]
            features = self.network(backbone._normalised(crops.flatten(0, 1)))  # (n_images * n, d)
            return -detector.D(detector.standardize(features)).view(-1, n).mean(1)


#: Name of the method -> the module of its score, where `NetworkScore` is not it.
GRAPHS: dict[str, Callable[[Any], nn.Module]] = {
    "ALGANFeature": RotatedScore,
    "AnoGAN": SearchScore,
    "GPND": _gpnd,
    "PaDiM": PaDiMScore,
    "PatchCore": PatchCoreScore,
    "Mahalanobis": MahalanobisScore,
    "DN2": DN2Score,
    "OneClassSVM": _svm,
    "IsolationForest": _forest,
    "PCA": _pca,
    "KernelDensity": _density,
    "NearestNeighbors": _nearest_neighbors,
    "Brightness": _brightness,
}
