"""Progressive GAN: a generator, and an encoder or discriminator, that grow from 4x4 pixels to full size.

A progressive GAN learns small images first. When 4x4 pixels are drawn well, layers for 8x8 are added, and
their weight rises from 0 to 1, and so on. Early mistakes are cheap, and new layers do not disturb trained
ones.

    Karras, Aila, Laine and Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability, and
    Variation", ICLR 2018. https://arxiv.org/abs/1710.10196

Everything here takes a `level`: 0 is 4x4 pixels, 1 is 8x8, and 1.3 is 16x16 with weight 0.3, beside 8x8 with
weight 0.7. Just above 1 the new layers have hardly any weight, so the output changes without a jump.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# ---------------------------------------------------------------------- layers


class EqualizedConv2d(nn.Module):
    """Convolution with an equalised learning rate: weights w ~ N(0, 1), used as w * sqrt(gain / inputs).

    So all layers learn at the same speed, whatever their size (section 4.1). The bias starts at 0. Shapes as
    `nn.Conv2d`, stride 1.

    Args:
        gain: 2 before a (leaky) ReLU, 1 where no activation follows.
    """

    def __init__(self, inside: int, outside: int, kernel: int, padding: int = 0, gain: float = 2.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outside))
        self.scale, self.padding = math.sqrt(gain / (inside * kernel**2)), padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class PixelNorm(nn.Module):
    """Pixelwise normalisation: x / sqrt(mean over the channels of x^2 + 1e-8), (n, c, ...) (section 4.2).

    The channels of each pixel, or the entries of each vector, then have a mean square of 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class MinibatchStd(nn.Module):
    """Minibatch standard deviation: append it as one more channel, (n, c, h, w) -> (n, c + 1, h, w).

    It is the standard deviation of each feature over the batch, averaged over all features and places
    (section 3; released code takes groups of four images). It shows a discriminator that a generator repeats
    itself. The output depends on the batch, so networks that score must not contain it.
    """

    def forward(self, x: Tensor) -> Tensor:
        std = (x.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([x, std.expand(len(x), 1, *x.shape[2:])], dim=1)


def layer(inside: int, outside: int, kernel: int = 3, padding: int = 1) -> list[nn.Module]:
    """A convolution and LeakyReLU(0.2)."""
    return [EqualizedConv2d(inside, outside, kernel, padding), nn.LeakyReLU(0.2)]


# ---------------------------------------------------------------------- levels


def full_level(size: int) -> int:
    """The level of images of this many pixels square: log2(size) - 2, so 16 -> 2."""
    return size.bit_length() - 3


#: A level, or its two parts as `split_level` gives them; its weight alpha may then be a tensor, ().
Level = float | tuple[int, "float | Tensor"]


def split_level(level: Level) -> tuple[int, Any]:
    """1.3 -> (2, 0.3): the resolution in use, 4 * 2^2, and the weight alpha in (0, 1] of its newest."""
    if isinstance(level, tuple):
        return level
    top = math.ceil(level)
    return top, 1.0 if top == level else level - (top - 1)


def fades(alpha: float | Tensor) -> bool:
    """Whether the newest layers have less than their whole weight; a tensor says so by being one."""
    return isinstance(alpha, Tensor) or alpha < 1


def level_after(phases: float, full: int) -> float:
    """The level after so many phases: stable at 4x4, fading in, stable, fading in, ... until `full`."""
    grown, phase = divmod(max(phases - 1, 0), 2)
    return min(grown + min(phase, 1.0), float(full))


def at_level(x: Tensor, level: Level) -> Tensor:
    """Full-size images reduced to a level: (n, c, h, w) -> (n, c, 4 * 2^top, 4 * 2^top)."""
    top, alpha = split_level(level)
    x = F.avg_pool2d(x, x.shape[2] // (4 * 2**top))
    return torch.lerp(up(down(x)), x, alpha) if fades(alpha) else x


def up(x: Tensor) -> Tensor:
    """Double the resolution by repeating pixels: (n, c, h, w) -> (n, c, 2h, 2w)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def down(x: Tensor) -> Tensor:
    """Halve the resolution by averaging 2x2 pixels: (n, c, h, w) -> (n, c, h/2, w/2)."""
    return F.avg_pool2d(x, 2)


def widths(size: int, width: int | None, max_width: int) -> list[int]:
    """Channels at 4, 8, ... `size` pixels: `width` at the image, doubling inwards up to `max_width`.

    None is the paper's: 512 up to 32 pixels, then half of that for each doubling.
    """
    at_image = min(16384 // size, 512) if width is None else width
    n = full_level(size) + 1
    return [min(at_image * 2 ** (n - 1 - i), max_width) for i in range(n)]


# ---------------------------------------------------------------------- networks


class ProgressiveGenerator(nn.Module):
    """Latent vector to image: (n, z_dim), level -> (n, channels, 4 * 2^top, 4 * 2^top), about [-1, 1].

    The first layer scales z to a mean square of 1: the length of z makes no difference to the image.
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

    def forward(self, z: Tensor, level: Level) -> Tensor:
        top, alpha = split_level(level)
        h = self.first(z)
        for block in self.blocks[: max(top - 1, 0)]:
            h = block(up(h))
        if top == 0:
            return self.to_image[0](h)
        image = self.to_image[top](self.blocks[top - 1](up(h)))
        return torch.lerp(up(self.to_image[top - 1](h)), image, alpha) if fades(alpha) else image


class ProgressiveEncoder(nn.Module):
    """Image to d numbers, an encoder or a discriminator: (n, channels, h, w), level -> (n, d).

    Args:
        minibatch_std: put `MinibatchStd` before the last layers, for discriminators.
    """

    def __init__(
        self, d: int, channels: int, size: int, width: int | None, max_width: int, minibatch_std: bool = False
    ):
        super().__init__()
        w = widths(size, width, max_width)
        self.from_image = nn.ModuleList(nn.Sequential(*layer(channels, a, 1, 0)) for a in w)
        self.blocks = nn.ModuleList(  # from 8 to 4 pixels, from 16 to 8, ...
            nn.Sequential(*layer(b, b), *layer(b, a), nn.AvgPool2d(2)) for a, b in pairwise(w)
        )
        self.batch_std = MinibatchStd() if minibatch_std else nn.Identity()
        inside = w[0] + 1 if minibatch_std else w[0]
        last = [*layer(inside, w[0]), *layer(w[0], w[0], 4, 0)]  # -> (n, w, 1, 1)
        self.last = nn.Sequential(*last, EqualizedConv2d(w[0], d, 1, gain=1.0), nn.Flatten())

    def features(self, x: Tensor, level: Level) -> Tensor:
        """The 4x4 map before the last layers: (n, w, 4, 4)."""
        top, alpha = split_level(level)
        h = self.from_image[top](x)
        if top > 0:
            h = self.blocks[top - 1](h)
            if fades(alpha):
                h = torch.lerp(self.from_image[top - 1](down(x)), h, alpha)
        for block in reversed(self.blocks[: max(top - 1, 0)]):
            h = block(h)
        return h

    def forward(self, x: Tensor, level: Level) -> Tensor:
        return self.last(self.batch_std(self.features(x, level)))
