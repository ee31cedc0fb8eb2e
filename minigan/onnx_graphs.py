"""Scores of all kinds of detectors as PyTorch modules that ONNX can express: (n, c, h, w) uint8 -> (n,).

`graph_of` makes one of a fitted detector. For a network it is the method's own `score_step`. What is not a
network is written anew here, because scikit-learn and numpy leave no trace that could be exported; tests hold
both to the same scores.
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
from scipy.special import gammaln
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from minigan.checks import require
from minigan.neural import NeuralDetector

if TYPE_CHECKING:
    from minigan.blocks.features import Backbone

#: Methods that no graph can express, and why.
IMPOSSIBLE = {
    "ALGANFeature": "which rotates images, and by a graph in ONNX its scores are others",
    "AnoGAN": "which searches for the closest image by gradients, and a graph in ONNX has none",
    "GPND": "whose Jacobian is made of gradients, and a graph in ONNX has none (jacobian=False does without)",
    "IsolationForest": "whose trees are not made of tensors",
}


def graph_of(detector: Any) -> nn.Module:
    """A module that gives the detector's scores; the detector itself is of no use afterwards.

    Raises:
        ValueError: no graph can express this score; the message says why.
    """
    name = type(detector).__name__
    without = name == "GPND" and not (detector.jacobian and detector.scored_by in ("novelty", "parallel"))
    require(
        name not in IMPOSSIBLE or without,
        f"expected a method that ONNX can express, got {name}, {IMPOSSIBLE.get(name)}; score with the saved "
        "detector",
    )
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

    def forward(self, images: Tensor) -> Tensor:
        return self.score(images.float() / 127.5 - 1)


class NetworkScore(nn.Module):
    """The `score_step` of a method: (n, c, h, w) in [-1, 1] -> (n,)."""

    def __init__(self, detector: Any):
        super().__init__()
        self.networks = nn.ModuleDict(detector._networks())
        self.networks.requires_grad_(False)
        for layer in [each for each in self.networks.modules() if parametrize.is_parametrized(each)]:
            # Spectral norm: the weights are divided once and for all, not for each batch.
            parametrize.remove_parametrizations(layer, "weight")
        self.score_step = detector.score_step

    def forward(self, x: Tensor) -> Tensor:
        with OnnxOperations():
            return self.score_step(x)


class OnnxOperations(TorchFunctionMode):
    """Inside, functions that ONNX lacks are made of those that it has."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return REPLACED.get(getattr(func, "__name__", ""), func)(*args, **(kwargs or {}))


def rot90(x: Tensor, k: int, dims: tuple[int, int]) -> Tensor:
    """k quarter turns, 0 to 3, from the first of two axes to the second."""
    first, second = dims
    if k == 2:
        return x.flip(dims)
    turned = x if k == 0 else x.transpose(first, second)
    return turned if k == 0 else turned.flip(first if k == 1 else second)


def erfc(x: Tensor, terms: int = 40) -> Tensor:
    """1 - erf(x) to 1e-13 of itself, also where it is small; onnxruntime has no erf of float64."""
    a = x.abs()
    low, high = a.clamp(max=2), a.clamp(min=2)
    # Below 2, a series: erf(a) = 2 / sqrt(pi) exp(-a^2) sum_n 2^n a^(2n + 1) / (1 3 5 ... (2n + 1)).
    term = total = low
    for n in range(1, terms):
        term = term * (2 / (2 * n + 1)) * low**2
        total = total + term
    near = 1 - 2 / math.sqrt(math.pi) * torch.exp(-(low**2)) * total
    # From 2 on, a continued fraction: exp(-a^2) / sqrt(pi) / (a + 1/2 / (a + 2/2 / (a + 3/2 / (a + ...)))).
    fraction = high
    for n in range(terms, 0, -1):
        fraction = high + n / 2 / fraction
    upper = torch.where(a < 2, near, torch.exp(-(high**2)) / (math.sqrt(math.pi) * fraction))
    return torch.where(x < 0, 2 - upper, upper)


def lgamma(x: Tensor) -> Tensor:
    """log Gamma(x) of something that is the same for all images: a constant of the graph."""
    return torch.from_numpy(np.asarray(gammaln(x.numpy())))


def diagonal(x: Tensor, dim1: int, dim2: int) -> Tensor:
    """The diagonals of square matrices, (n, k, k) -> (n, k)."""
    assert (x.ndim, dim1, dim2) == (3, 1, 2)
    return x.flatten(1)[:, :: int(x.shape[2]) + 1]


#: Name of a function of torch -> the same of other functions.
REPLACED: dict[str, Callable[..., Tensor]] = {
    "diagonal": diagonal,
    "erfc": erfc,
    "lgamma": lgamma,
    "rot90": rot90,
}


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


#: Name of the method -> the module of its score, where `NetworkScore` is not it.
GRAPHS: dict[str, Callable[[Any], nn.Module]] = {
    "PaDiM": PaDiMScore,
    "PatchCore": PatchCoreScore,
    "Mahalanobis": MahalanobisScore,
    "DN2": DN2Score,
    "OneClassSVM": _svm,
    "PCA": _pca,
    "KernelDensity": _density,
    "NearestNeighbors": _nearest_neighbors,
    "Brightness": _brightness,
}
