"""Scores of networks as PyTorch modules that ONNX can express: (n, c, h, w) in [-1, 1] -> (n,).

`NetworkScore` is the method's own `score_step`, with the functions that ONNX lacks made of others. ONNX has
no gradients either, and two scores need some: `JacobianScore` (GPND) and `SearchScore` (AnoGAN) differentiate
layer by layer, by the chain rule.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import gammaln
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from minigan.checks import require

#: Singular values of a Jacobian count as at least this, as in GPND.
SMALLEST = 1e-6


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


# ---------------------------------------------------------------------- derivatives, by the chain rule


def outputs_of(layers: Sequence[Any], x: Tensor) -> list[Tensor]:
    """What each of the layers gives, the first to the last.

    An activation in place overwrites the output before it, which the derivatives below do not need.
    """
    outputs = []
    for layer in layers:
        x = layer(x)
        outputs.append(x)
    return outputs


def slope(layer: Any, y: Tensor) -> Tensor | None:
    """The derivative of a layer that works number by number, from its output y; None of a convolution.

    In evaluation mode, batch norm is such a layer.

    Raises:
        ValueError: for a layer whose derivative is not written here.
    """
    if isinstance(layer, nn.BatchNorm2d):
        assert layer.running_var is not None
        return (layer.weight / (layer.running_var + layer.eps).sqrt())[None, :, None, None]
    if isinstance(layer, nn.ReLU):
        return (y > 0).float()
    if isinstance(layer, nn.LeakyReLU):
        return torch.where(y > 0, 1.0, layer.negative_slope)
    if isinstance(layer, nn.Tanh):
        return 1 - y.square()
    require(
        isinstance(layer, nn.Conv2d | nn.ConvTranspose2d),
        "expected convolutions, batch norm, ReLU, leaky ReLU and tanh, whose derivatives are known for ONNX, "
        f"got the layer {type(layer).__name__}; add it to `onnx_networks.slope`",
    )
    return None


def pulled_back(layers: Sequence[Any], outputs: Sequence[Tensor], gradient: Tensor) -> Tensor:
    """The gradient with respect to the input of layers, from that of their last output: backward mode."""
    for layer, y in zip(reversed(layers), reversed(outputs), strict=True):
        factor = slope(layer, y)
        if factor is None:
            # The transpose of a convolution is a transposed convolution, and the other way round.
            transposed = F.conv2d if isinstance(layer, nn.ConvTranspose2d) else F.conv_transpose2d
            gradient = transposed(gradient, layer.weight, None, layer.stride, layer.padding)
        else:
            gradient = gradient * factor
    return gradient


def pushed_forward(layers: Sequence[Any], outputs: Sequence[Tensor], tangents: Tensor) -> Tensor:
    """How the last output moves with the input of layers, in d directions each: forward mode.

    (n, d, ...) directions of the input -> (n, d, ...) derivatives of the output.
    """
    d = tangents.shape[1]
    for layer, y in zip(layers, outputs, strict=True):
        factor = slope(layer, y)
        if factor is None:
            same = F.conv2d if isinstance(layer, nn.Conv2d) else F.conv_transpose2d
            moved = same(tangents.flatten(0, 1), layer.weight, None, layer.stride, layer.padding)
            tangents = moved.view(-1, d, *moved.shape[1:])
        else:
            tangents = tangents * factor[:, None]
    return tangents


class JacobianScore(NetworkScore):
    """GPND's score, which knows by how much its decoder f stretches volumes."""

    def __init__(self, detector: Any):
        super().__init__(detector)
        self.layers = list(detector.f)[1:]  # without the first, which gives a code (n, d) the shape of a map
        detector.log_det = self.log_det

    def log_det(self, z: Tensor) -> Tensor:
        """log |det S| of the singular values of f's Jacobian: (n, d) -> (n,)."""
        d = z.shape[1]
        directions = torch.eye(d).expand(z.shape[0], d, d)[..., None, None]
        moved = pushed_forward(self.layers, outputs_of(self.layers, z[:, :, None, None]), directions)
        rows = moved.flatten(2).double()  # J^T: (n, d, m)
        # ONNX has no singular values. Their product is that of the lengths that Gram and Schmidt find.
        total = torch.zeros(z.shape[0], dtype=torch.float64)
        for _ in range(d):
            row, rows = rows[:, :1], rows[:, 1:]  # (n, 1, m) and the others
            length = row.square().sum(2, keepdim=True).sqrt().clamp(min=SMALLEST)  # (n, 1, 1)
            row = row / length
            rows = rows - (rows @ row.transpose(1, 2)) * row
            total = total + length.log()[:, 0, 0]
        return total


class SearchStep(nn.Module):
    """A step of AnoGAN's search by Adam, for all queries: z, its two averages, the step -> the next three."""

    def __init__(self, detector: Any):
        super().__init__()
        self.G = nn.ModuleList(list(detector.G)[1:])  # without the first, as above
        self.f = nn.ModuleList(detector.D.features)
        self.lr, self.lambda_d = detector.search_lr, detector.lambda_d

    def forward(
        self, x: Tensor, f: Tensor, z: Tensor, m: Tensor, v: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        images = outputs_of(list(self.G), z[:, :, None, None])
        features = outputs_of(list(self.f), images[-1])
        # Of Eq. 5 and 6: the derivative of |a - b| is a sign.
        gradient = pulled_back(list(self.f), features, self.lambda_d * (features[-1] - f).sign())
        gradient = gradient + (1 - self.lambda_d) * (images[-1] - x).sign()
        gradient = pulled_back(list(self.G), images, gradient)[:, :, 0, 0]
        # Adam, with torch's usual momentums.
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient.square()
        z = z - self.lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        return z, m, v


class Search(nn.Module):
    """All steps of AnoGAN's search: a loop, which would be hundreds of copies of a step in a trace."""

    def __init__(self, step: nn.Module, n_steps: int):
        super().__init__()
        self.step, self.n_steps = step, n_steps

    def forward(self, x: Tensor, f: Tensor, z: Tensor) -> Tensor:
        m, v, t = torch.zeros_like(z), torch.zeros_like(z), torch.zeros(())
        for _ in range(self.n_steps):
            t = t + 1.0
            z, m, v = self.step(x, f, z, m, v, t)
        return z


class SearchScore(NetworkScore):
    """AnoGAN's score, at the end of its search, which follows every rounding: the later, the further."""

    #: How far a score may be from PyTorch's, as in `exporting.TOLERANCE`. After 500 steps on digits, it was a
    #: hundredth for the worst of sixty images, and 0.0002 for the median.
    tolerance = 0.05

    def __init__(self, detector: Any):
        super().__init__(detector)
        self.detector = detector
        x = torch.zeros(2, *detector.image_shape_)  # what it holds makes no difference to a trace
        f, z_1 = detector.D(x)[1], detector.G.z_1.expand(2, -1)
        example = (x, f, z_1, torch.zeros_like(z_1), torch.zeros_like(z_1), torch.ones(()))
        with warnings.catch_warnings():
            # TorchScript is deprecated, but the exporter by tracing is made of it and writes loops.
            warnings.simplefilter("ignore", FutureWarning)
            step = torch.jit.trace(SearchStep(detector).eval(), example, check_trace=False)
            self.loop = torch.jit.script(Search(step, detector.search_steps))
        detector.search = self.search

    def search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """D's features of queries, and z of the closest images: (n, c, h, w) -> (n, w, 4, 4), (n, z_dim)."""
        f = self.detector.D(x)[1]
        return f, self.loop(x, f, self.detector.G.z_1.expand(x.shape[0], -1))
