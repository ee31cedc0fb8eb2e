"""DCGAN's stacks: generator, discriminators and encoder for square images of 16 to 256 pixels.

DCGAN (Radford et al., 2016, https://arxiv.org/abs/1511.06434) is the backbone of most methods here. Its two
stacks work for every square size 2^k from 16 to 256 by growing one layer per doubling.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from minigan.blocks.norms import add_spectral_norm_
from minigan.blocks.training import init_normal_

SIZES = (16, 32, 64, 128, 256)

#: Where batch norm stands: "before" the activation, as in DCGAN, or "after" it.
Norm = Literal["before", "after"]


def check_size(image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Check an image shape: (c, size, size) -> (c, size).

    Raises:
        ValueError: not an image shape, not square, or not a power of two from 16 to 256.
    """
    if len(image_shape) != 3:
        raise ValueError(f"expected images, got vectors of length {image_shape[0]}")
    channels, height, width = image_shape
    if height != width or height not in SIZES:
        raise ValueError(
            f"expected square images of {', '.join(map(str, SIZES))} pixels, got {width} x {height}; pass "
            "image_size=64 (or another of these) to resize them"
        )
    return channels, height


def dcgan_widths(size: int, width: int, max_width: int) -> list[int]:
    """Channels of the inner layers, from the image inwards: 64, 128, 256, ... capped at `max_width`.

    A stack for size 2^k has k - 1 layers and so k - 2 inner widths.
    """
    return [min(width * 2**i, max_width) for i in range(size.bit_length() - 3)]


class DCGANGenerator(nn.Sequential):
    """DCGAN's generator: transposed convolutions, (n, z_dim) -> (n, channels, size, size) in [-1, 1].

    Batch norm and ReLU after every layer but the last, which ends in tanh. No biases, as in DCGAN: the
    shifts of batch norm take their place. Without batch norm, the layers get biases instead, and PyTorch's
    own initial weights, because DCGAN's small ones need batch norm to scale their outputs up. With
    `bottleneck=2` the latent is a 2x2 map, given as (n, z_dim * 4). With `norm="after"`, batch norm follows
    the ReLU.
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
        norm: Norm = "before",
    ):
        # (n, z_dim) -> (n, z_dim, 1, 1)
        layers: list[nn.Module] = [nn.Unflatten(1, (z_dim, bottleneck, bottleneck))]
        inside, (stride, padding) = z_dim, to_4x4(bottleneck)  # the other layers double
        for outside in dcgan_widths(size, width, max_width)[::-1]:
            layers.append(nn.ConvTranspose2d(inside, outside, 4, stride, padding, bias=not batch_norm))
            layers += [nn.BatchNorm2d(outside)] if batch_norm and norm == "before" else []
            layers.append(nn.ReLU(inplace=True))
            layers += [nn.BatchNorm2d(outside)] if batch_norm and norm == "after" else []
            inside, stride, padding = outside, 2, 1
        last = nn.ConvTranspose2d(inside, channels, 4, 2, 1, bias=not batch_norm)
        super().__init__(*layers, last, nn.Tanh())
        if batch_norm:
            init_normal_(self)


class DCGANDiscriminator(nn.Sequential):
    """DCGAN's discriminator with spectral norm: (n, channels, size, size) -> (n,) raw outputs.

    Spectral normalisation (Miyato et al., 2018) on every layer and no batch norm, so that the output for an
    image never depends on the other images of its batch. LeakyReLU(0.2) between the layers.
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


def halving_layers(
    channels: int, size: int, width: int, max_width: int, norm: Norm = "before"
) -> list[nn.Module]:
    """Strided convolutions down to a 4x4 map: (n, channels, size, size) -> (n, last width, 4, 4).

    LeakyReLU(0.2) after each, batch norm before it in all but the first; no biases, as in DCGAN. With
    `norm="after"`, batch norm follows each LeakyReLU, the first too.
    """
    layers: list[nn.Module] = []
    inside = channels
    for i, outside in enumerate(dcgan_widths(size, width, max_width)):
        layers.append(nn.Conv2d(inside, outside, 4, 2, 1, bias=False))
        layers += [nn.BatchNorm2d(outside)] if norm == "before" and i else []
        layers.append(nn.LeakyReLU(0.2))
        layers += [nn.BatchNorm2d(outside)] if norm == "after" else []
        inside = outside
    return layers


class DCGANEncoder(nn.Sequential):
    """DCGAN's encoder, the mirror image of its generator: (n, channels, size, size) -> (n, z_dim).

    The last layer covers the whole 4x4 map, without batch norm or activation. With `bottleneck=2` it halves
    the map once more instead, and the code is a 2x2 map, returned as (n, z_dim * 4). With `norm="after"`,
    LeakyReLU(0.2) and then batch norm follow every convolution, the last too.
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        size: int,
        width: int = 64,
        max_width: int = 512,
        bottleneck: int = 1,
        norm: Norm = "before",
    ):
        inside = dcgan_widths(size, width, max_width)[-1]
        last: nn.Module = nn.Conv2d(inside, z_dim, 4, *to_4x4(bottleneck), bias=False)
        if norm == "after":  # one layer, so that the 4x4 map is always the last but two
            last = nn.Sequential(last, nn.LeakyReLU(0.2), nn.BatchNorm2d(z_dim))
        super().__init__(*halving_layers(channels, size, width, max_width, norm), last, nn.Flatten())
        init_normal_(self)


class FeatureDiscriminator(nn.Module):
    """DCGAN's discriminator with features: (n, c, size, size) -> (n,) raw outputs, (n, width, 4, 4).

    It has batch norm, as in GANomaly and its relatives, which compare the features before the last
    convolution between an image and its reconstruction. `norm` is that of `halving_layers`.
    """

    def __init__(
        self, channels: int, size: int, width: int = 64, max_width: int = 512, norm: Norm = "before"
    ):
        super().__init__()
        self.features = nn.Sequential(*halving_layers(channels, size, width, max_width, norm))
        inside = dcgan_widths(size, width, max_width)[-1]
        self.last = nn.Sequential(nn.Conv2d(inside, 1, 4, bias=False), nn.Flatten(0))  # -> (n,)
        init_normal_(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return self.last(features), features


class LatentClassifier(nn.Sequential):
    """Classifier of codes with one hidden layer: (n, d) -> logits (n, N). PyTorch's initial weights.

    The hidden layer has a ReLU, or a LeakyReLU where its `slope` is not 0.
    """

    def __init__(self, d: int, n_classes: int, hidden: int = 30, slope: float = 0.0):
        activation = nn.LeakyReLU(slope) if slope else nn.ReLU()
        super().__init__(nn.Linear(d, hidden), activation, nn.Linear(hidden, n_classes))
