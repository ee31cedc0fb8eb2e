"""Networks that grow: Progressive GAN's generator, and the readers that mirror it.

A progressive GAN learns small images first. When 4x4 pixels are drawn well, layers for 8x8 are added, faded
in from weight 0 to 1, and so on. Early mistakes are cheap; no layer starts from nothing amid trained ones.

    Karras, Aila, Laine and Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability, and
    Variation", ICLR 2018. https://arxiv.org/abs/1710.10196

Everything here takes a `level`: 0 is 4x4 pixels, 1 is 8x8, and 1.3 is 16x16 at 0.3 of its weight. At 1 + a
tiny bit, the new layers have next to no weight: growing never makes a jump.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# ---------------------------------------------------------------------- layers


class EqualizedConv2d(nn.Module):
    """A convolution whose weights start as N(0, 1) and are scaled by sqrt(gain / inputs) as it computes.

    So all layers learn at the same speed, whatever their size (section 4.1). The bias starts at 0. Shapes as
    `nn.Conv2d`, stride 1.

    Args:
        gain: 2 before a (leaky) ReLU, 1 where nothing follows.
    """

    def __init__(self, inside: int, outside: int, kernel: int, padding: int = 0, gain: float = 2.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outside))
        self.scale, self.padding = math.sqrt(gain / (inside * kernel**2)), padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class PixelNorm(nn.Module):
    """Scale the channels of each pixel, or the numbers of each vector, to a mean square of 1: (n, c, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()  # section 4.2


class MinibatchDeviation(nn.Module):
    """Append how much the batch varies, as one more channel: (n, c, h, w) -> (n, c + 1, h, w).

    The number is the deviation of each feature over the batch, averaged over all features and places (section
    3; released code takes groups of four images). A discriminator sees by it that a generator repeats itself.
    What it gives depends on the batch: not for networks that score.
    """

    def forward(self, x: Tensor) -> Tensor:
        deviation = (x.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], dim=1)


def layer(inside: int, outside: int, kernel: int = 3, padding: int = 1) -> list[nn.Module]:
    """A convolution and LeakyReLU(0.2)."""
    return [EqualizedConv2d(inside, outside, kernel, padding), nn.LeakyReLU(0.2)]


# ---------------------------------------------------------------------- levels


def full_level(size: int) -> int:
    """The level of images of this many pixels square: 16 -> 2."""
    return size.bit_length() - 3


def split_level(level: float) -> tuple[int, float]:
    """1.3 -> (2, 0.3): the resolution in use, 4 * 2^2, and the weight of its newest layers, in (0, 1]."""
    top = math.ceil(level)
    return top, 1.0 if top == level else level - (top - 1)


def level_after(phases: float, full: int) -> float:
    """The level after so many phases: a rest at 4x4, a fade, a rest, a fade, ... until `full`."""
    grown, phase = divmod(max(phases - 1, 0), 2)
    return min(grown + min(phase, 1.0), float(full))


def at_level(x: Tensor, level: float) -> Tensor:
    """Images of this size or larger as this level sees them: (n, c, h, w) -> (n, c, 4 * 2^top, 4 * 2^top)."""
    top, alpha = split_level(level)
    x = F.avg_pool2d(x, x.shape[2] // (4 * 2**top))
    return x if alpha == 1 else torch.lerp(up(down(x)), x, alpha)


def up(x: Tensor) -> Tensor:
    """Every pixel becomes four: (n, c, h, w) -> (n, c, 2h, 2w)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def down(x: Tensor) -> Tensor:
    """Four pixels become their mean: (n, c, h, w) -> (n, c, h/2, w/2)."""
    return F.avg_pool2d(x, 2)


def widths(size: int, width: int | None, max_width: int) -> list[int]:
    """Channels at 4, 8, ... `size` pixels: `width` at the image, doubling inwards up to `max_width`.

    None is the paper's: 512 up to 32 pixels, then half of that for each doubling.
    """
    at_image = min(16384 // size, 512) if width is None else width
    n = full_level(size) + 1
    return [min(at_image * 2 ** (n - 1 - i), max_width) for i in range(n)]


# ---------------------------------------------------------------------- networks


class Generator(nn.Module):
    """Latent vector to image: (n, z_dim), level -> (n, channels, 4 * 2^top, 4 * 2^top), about [-1, 1].

    The first layer scales z to a mean square of 1: how long z is makes no difference to the image.
    """

    def __init__(self, z_dim: int, channels: int, size: int, width: int | None, max_width: int):
        super().__init__()
        w = widths(size, width, max_width)

        def normed(inside: int, outside: int, kernel: int = 3, padding: int = 1) -> list[nn.Module]:
            return [*layer(inside, outside, kernel, padding), PixelNorm()]

        begin = [PixelNorm(), nn.Unflatten(1, (z_dim, 1, 1)), *normed(z_dim, w[0], 4, 3)]  # -> (n, w, 4, 4)
        self.first = nn.Sequential(*begin, *normed(w[0], w[0]))
        self.blocks = nn.ModuleList(nn.Sequential(*normed(a, b), *normed(b, b)) for a, b in pairwise(w))
        self.to_image = nn.ModuleList(EqualizedConv2d(a, channels, 1, gain=1.0) for a in w)

    def forward(self, z: Tensor, level: float) -> Tensor:
        top, alpha = split_level(level)
        h = self.first(z)
        for block in self.blocks[: max(top - 1, 0)]:
            h = block(up(h))
        if top == 0:
            return self.to_image[0](h)
        image = self.to_image[top](self.blocks[top - 1](up(h)))
        return image if alpha == 1 else torch.lerp(up(self.to_image[top - 1](h)), image, alpha)


class Reader(nn.Module):
    """Image to numbers, a discriminator or an encoder: (n, channels, h, w), level -> (n, d).

    Args:
        deviation: with `MinibatchDeviation` before the last layers: for discriminators.
    """

    def __init__(
        self, d: int, channels: int, size: int, width: int | None, max_width: int, deviation: bool = False
    ):
        super().__init__()
        w = widths(size, width, max_width)
        self.from_image = nn.ModuleList(nn.Sequential(*layer(channels, a, 1, 0)) for a in w)
        self.blocks = nn.ModuleList(  # from 8 to 4 pixels, from 16 to 8, ...
            nn.Sequential(*layer(b, b), *layer(b, a), nn.AvgPool2d(2)) for a, b in pairwise(w)
        )
        self.deviation = MinibatchDeviation() if deviation else nn.Identity()
        last = [*layer(w[0] + deviation, w[0]), *layer(w[0], w[0], 4, 0)]  # -> (n, w, 1, 1)
        self.last = nn.Sequential(*last, EqualizedConv2d(w[0], d, 1, gain=1.0), nn.Flatten())

    def features(self, x: Tensor, level: float) -> Tensor:
        """The 4x4 map that the numbers are read from: (n, w, 4, 4)."""
        top, alpha = split_level(level)
        h = self.from_image[top](x)
        if top > 0:
            h = self.blocks[top - 1](h)
            if alpha < 1:
                h = torch.lerp(self.from_image[top - 1](down(x)), h, alpha)
        for block in reversed(self.blocks[: max(top - 1, 0)]):
            h = block(h)
        return h

    def forward(self, x: Tensor, level: float) -> Tensor:
        return self.last(self.deviation(self.features(x, level)))
