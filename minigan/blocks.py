"""Layers, stacks and tools that methods share. None of them decides what trains what.

DCGAN's two stacks (Radford et al., 2016, https://arxiv.org/abs/1511.06434) are the backbone of most
methods here; they work for every square size 2^k from 16 to 256 by growing one layer per doubling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
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
    initial weights: DCGAN's small ones count on batch norm to scale their outputs up.
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        size: int,
        width: int = 64,
        max_width: int = 512,
        batch_norm: bool = True,
    ):
        layers: list[nn.Module] = [nn.Unflatten(1, (z_dim, 1, 1))]  # (n, z_dim) -> (n, z_dim, 1, 1)
        inside, stride, padding = z_dim, 1, 0  # the first layer goes from 1x1 to 4x4, the others double
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
