"""U-Net and UNet++: image-to-image networks with skip connections."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan.blocks.training import init_normal_


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
