"""Layers, stacks and tools that methods share. None of them decides what trains what.

DCGAN's two stacks (Radford et al., 2016, https://arxiv.org/abs/1511.06434) are the backbone of most
methods here; they work for every square size 2^k from 16 to 256 by growing one layer per doubling.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SIZES = (16, 32, 64, 128, 256)


def check_size(image_shape: tuple[int, ...]) -> tuple[int, int]:
    """(c, size, size) -> (c, size), or a sentence saying which sizes there are.

    Raises:
        ValueError: not an image shape, not square, or not a power of two from 16 to 256.
    """
    if len(image_shape) != 3:
        raise ValueError(f"this method needs images, got vectors of length {image_shape[0]}")
    channels, height, width = image_shape
    if height != width or height not in SIZES:
        raise ValueError(
            f"this method takes square images of {', '.join(map(str, SIZES))} pixels, got {width} x "
            f"{height}; pass image_size=64 (or another of these) to resize them"
        )
    return channels, height


def dcgan_widths(size: int, width: int, max_width: int) -> list[int]:
    """Channels of the inner layers, from the image inwards: 64, 128, 256, ... capped at `max_width`.

    A stack for size 2^k has k - 1 layers and so k - 2 inner widths.
    """
    return [min(width * 2**i, max_width) for i in range(size.bit_length() - 3)]


class DCGANGenerator(nn.Sequential):
    """Latent vector to image by transposed convolutions: (n, z_dim) -> (n, channels, size, size).

    Batch norm and ReLU after every layer but the last, which ends in tanh. No biases, as in DCGAN; the
    shifts of batch norm do their work. Without batch norm, the layers get biases instead, and PyTorch's own
    initial weights: DCGAN's small ones count on batch norm to scale their outputs up. With `bottleneck=2` the
    latent is a 2x2 map, given as (n, z_dim * 4).
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        size: int,
        width: int = 64,
        max_width: int = 512,
        batch_norm: bool = True,
        bottleneck: int = 1,
    ):
        # (n, z_dim) -> (n, z_dim, 1, 1)
        layers: list[nn.Module] = [nn.Unflatten(1, (z_dim, bottleneck, bottleneck))]
        inside, (stride, padding) = z_dim, to_4x4(bottleneck)  # the other layers double
        for outside in dcgan_widths(size, width, max_width)[::-1]:
            layers.append(nn.ConvTranspose2d(inside, outside, 4, stride, padding, bias=not batch_norm))
            layers += [nn.BatchNorm2d(outside)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            inside, stride, padding = outside, 2, 1
        last = nn.ConvTranspose2d(inside, channels, 4, 2, 1, bias=not batch_norm)
        super().__init__(*layers, last, nn.Tanh())
        if batch_norm:
            init_normal_(self)


class DCGANDiscriminator(nn.Sequential):
    """Image to one raw number by strided convolutions: (n, channels, size, size) -> (n,).

    With spectral normalisation (Miyato et al., 2018) on every layer and no batch norm: an image's
    output never depends on its neighbours in the batch. LeakyReLU(0.2) between the layers.
    """

    def __init__(self, channels: int, size: int, width: int = 64, max_width: int = 512):
        layers: list[nn.Module] = []
        inside = channels
        for outside in dcgan_widths(size, width, max_width):
            layers += [nn.Conv2d(inside, outside, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]  # halves h and w
            inside = outside
        layers += [nn.Conv2d(inside, 1, 4), nn.Flatten(0)]  # (n, inside, 4, 4) -> (n, 1, 1, 1) -> (n,)
        super().__init__(*layers)
        init_normal_(self)  # before spectral norm, whose first estimate starts from these weights
        add_spectral_norm_(self)


def to_4x4(bottleneck: int) -> tuple[int, int]:
    """Stride and padding of the 4x4 kernels between a 1x1 or 2x2 map and a 4x4 map."""
    return {1: (1, 0), 2: (2, 1)}[bottleneck]


def halving_layers(channels: int, size: int, width: int, max_width: int) -> list[nn.Module]:
    """Strided convolutions down to a 4x4 map: (n, channels, size, size) -> (n, last width, 4, 4).

    LeakyReLU(0.2) after each, batch norm before it in all but the first; no biases, as in DCGAN.
    """
    layers: list[nn.Module] = []
    inside = channels
    for i, outside in enumerate(dcgan_widths(size, width, max_width)):
        layers.append(nn.Conv2d(inside, outside, 4, 2, 1, bias=False))
        layers += [nn.BatchNorm2d(outside)] if i else []
        layers.append(nn.LeakyReLU(0.2))
        inside = outside
    return layers


class DCGANEncoder(nn.Sequential):
    """Image to code, DCGAN's generator turned round: (n, channels, size, size) -> (n, z_dim).

    The last layer reads the whole 4x4 map, without batch norm or activation. With `bottleneck=2` it halves
    once more instead, and the code is a 2x2 map, returned as (n, z_dim * 4).
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        size: int,
        width: int = 64,
        max_width: int = 512,
        bottleneck: int = 1,
    ):
        inside = dcgan_widths(size, width, max_width)[-1]
        last = nn.Conv2d(inside, z_dim, 4, *to_4x4(bottleneck), bias=False)
        super().__init__(*halving_layers(channels, size, width, max_width), last, nn.Flatten())
        init_normal_(self)


class FeatureDiscriminator(nn.Module):
    """Image to a raw number and the features behind it: (n, c, size, size) -> (n,), (n, width, 4, 4).

    DCGAN's discriminator with batch norm, as GANomaly and its relatives use it: the features of the last
    convolution before the output are compared between an image and its reconstruction.
    """

    def __init__(self, channels: int, size: int, width: int = 64, max_width: int = 512):
        super().__init__()
        self.features = nn.Sequential(*halving_layers(channels, size, width, max_width))
        inside = dcgan_widths(size, width, max_width)[-1]
        self.last = nn.Sequential(nn.Conv2d(inside, 1, 4, bias=False), nn.Flatten(0))  # -> (n,)
        init_normal_(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return self.last(features), features


def double_convolution(inside: int, outside: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm and ReLU: (n, inside, h, w) -> (n, outside, h, w)."""
    layers: list[nn.Module] = []
    for channels in (inside, outside):
        layers += [
            nn.Conv2d(channels, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Image to image with skip connections: (n, channels, size, size) -> the same, in [-1, 1].

    Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597: five levels, each half as large and twice as
    wide as the one above, upsampling by 2x2 transposed convolutions. Sizes are multiples of 16.
    """

    def __init__(self, channels: int, width: int = 32, levels: int = 5):
        super().__init__()
        widths = [width * 2**i for i in range(levels)]
        self.down = nn.ModuleList(double_convolution(a, b) for a, b in pairwise([channels, *widths]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(double_convolution(2 * a, a) for a in widths[:-1])
        self.last = nn.Conv2d(width, channels, 1)
        init_normal_(self)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.down[0](x)]  # (n, 32, h, w), (n, 64, h/2, w/2), ...
        for convolve in self.down[1:]:
            levels.append(convolve(F.max_pool2d(levels[-1], 2)))
        x = levels[-1]
        for i in reversed(range(len(self.up))):
            x = self.merge[i](torch.cat([levels[i], self.up[i](x)], dim=1))
        return torch.tanh(self.last(x))


class UNetPlusPlus(nn.Module):
    """A U-Net whose skip connections are themselves small U-Nets; shapes as `UNet`.

    Zhou et al., 2020, https://arxiv.org/abs/1912.05074, without deep supervision: node (i, j) at level i
    merges all nodes to its left, (i, 0) to (i, j - 1), with node (i + 1, j - 1) from the level below.
    """

    def __init__(self, channels: int, width: int = 32, levels: int = 5):
        super().__init__()
        widths = [width * 2**i for i in range(levels)]
        self.down = nn.ModuleList(double_convolution(a, b) for a, b in pairwise([channels, *widths]))
        nodes = [(i, j) for j in range(1, levels) for i in range(levels - j)]  # column by column
        self.up = nn.ModuleDict(
            {f"{i},{j}": nn.ConvTranspose2d(widths[i + 1], widths[i], 2, 2) for i, j in nodes}
        )
        self.merge = nn.ModuleDict(
            {f"{i},{j}": double_convolution((j + 1) * widths[i], widths[i]) for i, j in nodes}
        )
        self.last = nn.Conv2d(width, channels, 1)
        init_normal_(self)

    def forward(self, x: Tensor) -> Tensor:
        levels = [[self.down[0](x)]]  # levels[i][j] is node (i, j)
        for convolve in self.down[1:]:
            levels.append([convolve(F.max_pool2d(levels[-1][0], 2))])
        for key, up in self.up.items():
            i, j = map(int, key.split(","))
            below = up(levels[i + 1][j - 1])
            levels[i].append(self.merge[key](torch.cat([*levels[i], below], dim=1)))
        return torch.tanh(self.last(levels[0][-1]))


class LatentClassifier(nn.Sequential):
    """Code to the logits of N classes by one hidden layer: (n, d) -> (n, N). PyTorch's initial weights."""

    def __init__(self, d: int, n_classes: int, hidden: int = 30):
        super().__init__(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, n_classes))


class _ReversedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reverse_gradient(x: Tensor, weight: float = 1.0) -> Tensor:
    """x itself; on the way back its gradient is multiplied by -weight (Ganin and Lempitsky, 2015)."""
    return _ReversedGradient.apply(x, weight)


class AuxiliaryBatchNorm2d(nn.Module):
    """A batch norm, and a second one for images of another kind, chosen by `auxiliary_norms` (AdvProp).

    Xie et al., 2020, https://arxiv.org/abs/1911.09665.
    """

    def __init__(self, main: nn.BatchNorm2d):
        super().__init__()
        self.main, self.auxiliary = main, copy.deepcopy(main)
        self.use_auxiliary = False

    def forward(self, x: Tensor) -> Tensor:
        return (self.auxiliary if self.use_auxiliary else self.main)(x)


def add_auxiliary_norms_(network: nn.Module) -> None:
    """Give every batch norm of the network a second one, in place."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, AuxiliaryBatchNorm2d(child))


@contextmanager
def auxiliary_norms(network: nn.Module) -> Iterator[None]:
    """Inside, the network normalises with its second batch norms, where it has any."""
    norms = [module for module in network.modules() if isinstance(module, AuxiliaryBatchNorm2d)]
    for norm in norms:
        norm.use_auxiliary = True
    try:
        yield
    finally:
        for norm in norms:
            norm.use_auxiliary = False


@contextmanager
def running_norms(network: nn.Module) -> Iterator[None]:
    """Inside, batch norms use their running statistics, and do not change them."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


@contextmanager
def collecting_statistics(*networks: nn.Module) -> Iterator[None]:
    """Inside, batch norms use the batch at hand; their running statistics become the means over all batches.

    What they had before is forgotten, so let at least one batch pass.
    """
    norms = [m for network in networks for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's word for: all batches count the same
        norm.train()
    try:
        yield
    finally:
        for norm, (momentum, training) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(training)


def forget_running_statistics_(network: nn.Module) -> None:
    """Let every batch norm use the batch at hand for ever, also in evaluation mode, in place.

    Some published code does. What comes out for an image then depends on the other images of its batch.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None


def init_normal_(network: nn.Module, std: float = 0.02) -> None:
    """DCGAN's initialisation, in place: weights N(0, std^2), batch norm scales N(1, std^2), biases 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def add_spectral_norm_(network: nn.Module) -> None:
    """Divide every convolution's and linear layer's weight by its largest singular value, in place."""
    for module in list(network.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            spectral_norm(module)


def adam(parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam in its fused form: the same rule, in one kernel for all parameters."""
    return torch.optim.Adam(parameters, lr=lr, betas=tuple(map(float, betas)), fused=True)


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Inside, gradients flow *through* these networks but not *into* their weights (and cost less)."""
    weights = [p for network in networks for p in network.parameters() if p.requires_grad]
    for p in weights:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in weights:
            p.requires_grad_(True)


class Standardize(nn.Module):
    """Features minus their mean, divided by their standard deviation, both of the training set."""

    def __init__(self, d: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("std", torch.ones(d))

    def fit(self, x: Tensor) -> None:
        """Take mean and deviation from x, (n, d); a feature that never changes is only shifted."""
        self.mean.copy_(x.mean(0))
        varies = (x != x[:1]).any(0)  # rounding gives equal numbers a deviation of some 1e-8
        self.std.copy_(torch.where(varies, x.std(0), 1.0))

    def forward(self, x: Tensor) -> Tensor:  # (n, d) -> (n, d)
        return (x - self.mean) / self.std

    def undo(self, x: Tensor) -> Tensor:
        """Back to the data's own units: (n, d) -> (n, d)."""
        return x * self.std + self.mean


class ReplayBuffer:
    """Keeps fakes from earlier in training. A full buffer gives up random items for new ones.

    Args:
        capacity: number of items kept.
        generator: where the randomness comes from; also decides the device.
    """

    def __init__(self, capacity: int, generator: torch.Generator):
        self.capacity, self.generator, self.filled = capacity, generator, 0
        self.items: Tensor | None = None  # (capacity, ...), the first `filled` of them in use

    def __len__(self) -> int:
        return self.filled

    def add(self, new: Tensor) -> None:
        """Take in a batch: free places first, then random old items make room. (b, ...)"""
        new = new.detach()[: self.capacity]  # memory, not graph: no gradient reaches what made it
        if self.items is None:
            self.items = new.new_empty(self.capacity, *new.shape[1:])
        n_free = min(self.capacity - self.filled, len(new))
        replaced = self._choose(len(new) - n_free)  # drawn before the new ones move in
        self.items[self.filled : self.filled + n_free] = new[:n_free]
        self.items[replaced] = new[n_free:]
        self.filled += n_free

    def sample(self, n: int) -> Tensor:
        """n different random items, or all of them if there are fewer. (min(n, len), ...)"""
        return self.items[self._choose(n)]

    def _choose(self, n: int) -> Tensor:
        """Indices of n different items in use."""
        return torch.randperm(self.filled, generator=self.generator, device=self.generator.device)[:n]
