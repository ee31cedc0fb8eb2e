"""Linear networks for vectors: a generator, and a discriminator with spectral norm.

ALGAN's feature variant and its toy in two dimensions are made of them.
"""

from __future__ import annotations

from torch import nn

from minigan.blocks.norms import add_spectral_norm_
from minigan.blocks.training import init_normal_


class VectorGenerator(nn.Sequential):
    """Generator of feature vectors, three linear layers: (n, z_dim) -> (n, d). No output activation."""

    def __init__(self, z_dim: int, d: int, width: int = 512, batch_norm: bool = True):
        layers: list[nn.Module] = []
        for inside in (z_dim, width):
            layers.append(nn.Linear(inside, width, bias=not batch_norm))
            layers += [nn.BatchNorm1d(width)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers, nn.Linear(width, d))
        if batch_norm:  # without it, weights this small would give outputs that hardly vary
            init_normal_(self)


class VectorDiscriminator(nn.Sequential):
    """Discriminator of feature vectors, three linear layers with spectral norm: (n, d) -> (n,)."""

    def __init__(self, d: int, width: int = 512):
        super().__init__(
            nn.Linear(d, width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(width, 1),
            nn.Flatten(0),  # (n, 1) -> (n,)
        )
        init_normal_(self)
        add_spectral_norm_(self)
