"""EGBAD: a bidirectional GAN (BiGAN) whose encoder replaces AnoGAN's search in the latent space.

AnoGAN looks for the latent of each query by gradient descent. Here an encoder E learns along with the
generator G: the discriminator D sees pairs of an image and a latent, (x, E(x)) or (G(z), z), and where it can
no longer tell them apart, E inverts G. An image is scored by what G makes of E(x), in pixels and in D's
features.

    Zenati, Foo, Lecouat, Manek and Chandrasekhar, "Efficient GAN-Based Anomaly Detection", ICLR workshop
    2018. https://arxiv.org/abs/1802.06222
    BiGAN: Donahue, Kraehenbuehl and Darrell, "Adversarial Feature Learning", ICLR 2017.
    https://arxiv.org/abs/1605.09782

    x --> E --> (x, E(x)) --+
                            +--> D --> which pair?       no loss compares x with G(E(x)) in training
    z --> G --> (G(z), z) --+
    x --> E --> G --> x_hat                              the score does

What the paper leaves open, and how it is read here:

* Its layers are for MNIST's 28 pixels. Here E, G and the image's part of D are DCGAN's, for every size; the
  latent's part of D has 512 units and the joint layer 1024 at `width=64`, as in the paper. Dropout follows
  both parts and the joint layer, not every convolution.
* G and E do not minimise the negative of D's loss but the usual cross-entropies with exchanged targets.
* One batch of images and latents serves D and then G and E. In the released code, each of the two steps has
  its own.
* Scores use averages of the weights over the steps (decay 0.999, released code) with the current statistics
  of batch norm. In the first 9000 steps the decay is smaller, min(decay, t / (9 + t)) at step t, so that the
  initial weights do not count in a short training. The average has to be short where the learning rate is
  large: codes change fast in a BiGAN, and those of averaged weights are then much too short.
* The number of passes over the images is an argument of the released code, without a default; 100 is ours.

What released code does differently:

* Its "cross-entropy" score asks D about (G(E(x)), E(x)) instead of (x, E(x)): `scored_by`.

Not in this file: the networks for tables of numbers (KDD99).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real
from minigan.checks import require
from minigan.neural import NeuralDetector


class PairDiscriminator(nn.Module):
    """Discriminator of pairs: (n, c, size, size) and (n, d) -> raw outputs (n,), features (n, 16 width).

    A raw output says how likely it is that the latent was made from the image, and not the image from the
    latent. Dropout zeroes a fraction of the numbers and scales up the others. It takes place where a source
    of randomness is given, in training.
    """

    def __init__(
        self,
        z_dim: int,
        channels: int,
        size: int,
        width: int = 64,
        max_width: int = 512,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.dropout = dropout
        inside = 16 * blocks.dcgan_widths(size, width, max_width)[-1]
        self.of_x = nn.Sequential(*blocks.halving_layers(channels, size, width, max_width), nn.Flatten())
        self.of_z = nn.Sequential(nn.Linear(z_dim, 8 * width), nn.LeakyReLU(0.2))
        self.joint = nn.Sequential(nn.Linear(inside + 8 * width, 16 * width), nn.LeakyReLU(0.2))
        self.last = nn.Sequential(nn.Linear(16 * width, 1), nn.Flatten(0))  # -> (n,)
        blocks.init_normal_(self)

    def forward(self, x: Tensor, z: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        h = torch.cat([self.drop(self.of_x(x), rng), self.drop(self.of_z(z), rng)], dim=1)
        features = self.drop(self.joint(h), rng)
        return self.last(features), features

    def drop(self, h: Tensor, rng: torch.Generator | None) -> Tensor:
        if rng is None or not self.dropout:
            return h
        kept = torch.rand(h.shape, generator=rng, device=h.device) >= self.dropout
        return h * kept / (1 - self.dropout)


# ---------------------------------------------------------------------- losses


def loss_D(y_real: Tensor, y_fake: Tensor) -> Tensor:
    """-log D(x, E(x)) - log(1 - D(G(z), z)), from D's raw outputs, (n,) twice -> ()."""
    return bce_real(y_real) + bce_fake(y_fake)


def loss_G(y_fake: Tensor) -> Tensor:
    """-log D(G(z), z), (n,) -> ()."""
    return bce_real(y_fake)


def loss_E(y_real: Tensor) -> Tensor:
    """-log(1 - D(x, E(x))), (n,) -> (): E, too, wants its pairs to be taken for the other ones."""
    return bce_fake(y_real)


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class EGBAD(NeuralDetector):
    """EGBAD on square images of 16 to 256 pixels, 1 or 3 channels: a BiGAN, scored by reconstruction.

    Defaults are the paper's and the released code's; its learning rate needs very many steps. On a laptop,
    `lr=1e-3` with `decay=0` and `width=16` learns in half a minute on one digit.

    `minigan methods EGBAD` lists all hyperparameters.
    """

    adjustable: ClassVar = NeuralDetector.adjustable | {"alpha"}
    gradient_flow: ClassVar = {"loss_D": {"D"}, "loss_G": {"G"}, "loss_E": {"E"}}
    init_std: ClassVar = dict.fromkeys(("G", "E", "D", "G_mean", "E_mean", "D_mean"), 0.02)

    #: Passes over the training images.
    epochs: int = 100
    batch_size: int = 100
    #: Dimensions of the latent.
    z_dim: int = 200
    #: Weight of the pixels in the score, the paper's alpha; D's part has the rest. May be changed after
    #: `fit`; calibrate again then.
    alpha: float = 0.9
    #: D's part of the score: its "features", its "cross_entropy" as in the paper, or that of the pair in
    #: which the "released" code puts G(E(x)) for x. May be changed after `fit`, too.
    scored_by: Literal["features", "cross_entropy", "released_cross_entropy"] = "features"
    #: Fraction of the numbers that dropout zeroes in D.
    dropout: float = 0.5
    #: Decay of the averages of all weights; 0: no average, the weights themselves.
    decay: float = 0.999
    #: Learning rate and momentums of the three Adams.
    lr: float = 1e-5
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (self.z_dim, channels, size, self.width, self.max_width)
        self.G = blocks.DCGANGenerator(*stack).to(self.device_)
        self.E = blocks.DCGANEncoder(*stack).to(self.device_)
        self.D = PairDiscriminator(*stack, dropout=self.dropout).to(self.device_)
        # No loss trains the averages of the weights: `follow` updates them.
        self.G_mean, self.E_mean, self.D_mean = (
            copy.deepcopy(network).requires_grad_(False) for network in (self.G, self.E, self.D)
        )
        self.opt_G = blocks.adam(self.G.parameters(), self.lr, self.betas)
        self.opt_E = blocks.adam(self.E.parameters(), self.lr, self.betas)
        self.opt_D = blocks.adam(self.D.parameters(), self.lr, self.betas)
        self.steps = 0

    def branch(self) -> tuple[()]:
        return ()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """One step of D, then one of G and one of E, on a batch x, (b, c, h, w)."""
        z = torch.randn(len(x), self.z_dim, generator=self.rng_, device=self.device_)
        fake, z_hat = self.G(z), self.E(x)
        # Detached: D's loss trains neither E nor G.
        L_D = loss_D(self.D(x, z_hat.detach(), self.rng_)[0], self.D(fake.detach(), z, self.rng_)[0])
        self.opt_D.zero_grad()
        L_D.backward()
        self.opt_D.step()

        with blocks.frozen(self.D):  # the gradient passes through D to G and E, but must not train D
            L_G = loss_G(self.D(fake, z, self.rng_)[0])
            L_E = loss_E(self.D(x, z_hat, self.rng_)[0])
        self.opt_G.zero_grad()
        self.opt_E.zero_grad()
        (L_G + L_E).backward()  # L_G does not depend on E, nor L_E on G
        self.opt_G.step()
        self.opt_E.step()
        self.follow()
        return {"loss_D": L_D, "loss_G": L_G, "loss_E": L_E}

    @torch.no_grad()
    def follow(self) -> None:
        """Update the averages of the weights: mean <- decay * mean + (1 - decay) * weights."""
        weight = self.live(self.next_weight)
        pairs = ((self.G_mean, self.G), (self.E_mean, self.E), (self.D_mean, self.D))
        for mean, network in pairs:
            blocks.move_towards_(mean.parameters(), network.parameters(), weight)
            for kept, statistic in zip(mean.buffers(), network.buffers(), strict=True):
                kept.copy_(statistic)

    def next_weight(self) -> float:
        """1 - decay at the next step."""
        self.steps += 1
        return 1 - min(self.decay, self.steps / (9 + self.steps))

    def score_step(self, x: Tensor) -> Tensor:
        """A(x) = alpha L_G + (1 - alpha) L_D: (n, c, h, w) -> (n,)."""
        z_hat = self.E_mean(x)
        x_hat = self.G_mean(z_hat)
        L_G = (x - x_hat).abs().flatten(1).sum(1)  # ||x - G(E(x))||_1
        (y, f), (y_hat, f_hat) = self.D_mean(x, z_hat), self.D_mean(x_hat, z_hat)
        if self.scored_by == "features":
            L_D = (f - f_hat).abs().sum(1)  # ||f(x, E(x)) - f(G(E(x)), E(x))||_1
        else:  # -log D(x, E(x)), or -log D(G(E(x)), E(x))
            L_D = F.softplus(-(y if self.scored_by == "cross_entropy" else y_hat))
        return self.alpha * L_G + (1 - self.alpha) * L_D

    def reconstruct(self, images: Any) -> np.ndarray:
        """G(E(x)) in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.G_mean(self.E_mean(x)), images)

    @torch.inference_mode()
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """n generated images in [-1, 1]: (n, c, h, w) float32."""
        z = self.draw_latents(n, self.z_dim, seed)
        self._set_mode(training=False)
        return self.G_mean(z).cpu().numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in ("alpha", "decay"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"expected {name} to lie in [0, 1], got {value}")
        good = 0 <= self.dropout < 1
        require(good, f"expected dropout to be a fraction from 0 to below 1, got {self.dropout}")
