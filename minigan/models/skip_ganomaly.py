"""Skip-GANomaly: a U-Net autoencoder with an adversary, scored by pixels and by the adversary's features.

Skip connections let the autoencoder reproduce fine detail, which GANomaly's narrow code loses. Its adversary
D is also its measure: the features of an image and of its reconstruction have to agree, in training and in
the score.

    Akcay, Atapour-Abarghouei and Breckon, "Skip-GANomaly: Skip Connected and Adversarially Trained
    Encoder-Decoder Anomaly Detection", IJCNN 2019. https://arxiv.org/abs/1901.08954

    x --> G (U-Net down to 1x1) --> x_hat         x ~ x_hat (L_con)
    |                                 |
    +--------------> D <--------------+           real or reconstructed? (L_adv)
                     +--> features f(x) ~ f(x_hat) (L_lat)

What the paper leaves open, and how it is read here:

* Weights of the losses and the learning rate are the released code's. The paper weighs L_con otherwise; its
  text was not at hand.
* The U-Net has log2(size) levels, so that its innermost map is 1x1, as in the released code: 4x4 convolutions
  of stride 2, each followed by batch norm except the first and the innermost.
* f is the last feature map of DCGAN's discriminator before its classifier. The released D has one layer more:
  a convolution to 100 numbers, which are f, and a linear classifier of these.
* The norms in L_con and L_lat are means of absolute values and of squares. Both parts of the score are means
  of squares, as released.

What released code does differently:

* D's loss includes L_lat: D, too, makes the features of both images alike (`D_minimises_L_lat`).
* In training, it adds to the images a tensor of noise that was never initialised: whatever was in memory, NaN
  in some reports. `noise` is the Gaussian noise that was meant, off by default.
* It re-initialises D when D's loss in a step falls below 1e-5: `reset_below`.
* It scores in training mode, so that a score depends on the rest of its batch, and test images are sorted by
  class (`minigan.leaks`); scores are scaled by the smallest and largest of the test set.

Not in this file: a learning rate that decays, which the released settings start only after the last epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real
from minigan.checks import require
from minigan.neural import NeuralDetector

# ---------------------------------------------------------------------- networks


class Generator(nn.Module):
    """U-Net of log2(size) levels: (n, c, size, size) -> the same, in [-1, 1]; its innermost map is 1x1."""

    def __init__(self, channels: int, size: int, width: int = 64, max_width: int = 512):
        super().__init__()
        depth = size.bit_length() - 1  # log2(size)
        widths = [min(width * 2**i, max_width) for i in range(depth)]
        down = [nn.Sequential(nn.Conv2d(channels, width, 4, 2, 1, bias=False))]
        for i, (a, b) in enumerate(pairwise(widths), start=2):
            layers = [nn.LeakyReLU(0.2), nn.Conv2d(a, b, 4, 2, 1, bias=False)]  # halves h and w
            down.append(nn.Sequential(*layers, *([nn.BatchNorm2d(b)] if i < depth else [])))
        self.down = nn.ModuleList(down)
        up = []
        inside = widths[-1]
        for outside in widths[-2::-1]:
            convolution = nn.ConvTranspose2d(inside, outside, 4, 2, 1, bias=False)  # doubles h and w
            up.append(nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(outside)))
            inside = 2 * outside  # beside it, the map of the same size on the way down
        up.append(nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(inside, channels, 4, 2, 1), nn.Tanh()))
        self.up = nn.ModuleList(up)
        blocks.init_normal_(self)

    def forward(self, x: Tensor) -> Tensor:
        maps = []  # (n, 64, h/2, w/2), (n, 128, h/4, w/4), ..., (n, 512, 1, 1)
        for convolve in self.down:
            x = convolve(x)
            maps.append(x)
        x = self.up[0](maps.pop())
        for convolve in self.up[1:]:
            x = convolve(torch.cat([maps.pop(), x], dim=1))
        return x


# ---------------------------------------------------------------------- losses


def L_adv(y_hat: Tensor) -> Tensor:
    """Eq. 1 for G: -log D(x_hat), from D's raw outputs, (n,) -> ()."""
    return bce_real(y_hat)


def L_con(x: Tensor, x_hat: Tensor) -> Tensor:
    """Eq. 2, contextual loss: ||x - x_hat||_1, (n, c, h, w) twice -> ()."""
    return F.l1_loss(x_hat, x)


def L_lat(f: Tensor, f_hat: Tensor) -> Tensor:
    """Eq. 3, latent loss: ||f(x) - f(x_hat)||_2 of D's features, (n, w, 4, 4) twice -> ()."""
    return F.mse_loss(f_hat, f)


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class SkipGANomaly(NeuralDetector):
    """Skip-GANomaly on square images of 16 to 256 pixels, 1 or 3 channels.

    Defaults are those of the released code. On a laptop, `width=16` with 60 epochs takes some seconds on one
    digit.

    `minigan methods SkipGANomaly` lists all hyperparameters.
    """

    adjustable: ClassVar = NeuralDetector.adjustable | {"lambda_score"}
    gradient_flow: ClassVar = {"L_adv": {"G"}, "L_con": {"G"}, "L_lat": {"G"}, "L_d": {"D"}}
    init_std: ClassVar = {"G": 0.02, "D": 0.02}

    #: Passes over the training images.
    epochs: int = 15
    #: Weights of the losses in Eq. 4.
    lambda_adv: float = 1.0
    lambda_con: float = 50.0
    lambda_lat: float = 1.0
    #: Weight of the pixels in the score (Eq. 5, the paper's lambda); D's features have the rest. May be
    #: changed after `fit`; calibrate again then.
    lambda_score: float = 0.9
    #: Released code: L_lat is a part of D's loss, too.
    D_minimises_L_lat: bool = False
    #: Standard deviation of Gaussian noise on G's input in training.
    noise: float = 0.0
    #: Re-initialise D when its loss in a step falls below this (released code: 1e-5); 0 = never.
    reset_below: float = 0.0
    #: Learning rate and momentums of both Adams.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        stack = (*blocks.check_size(image_shape), self.width, self.max_width)
        self.G = Generator(*stack).to(self.device_)
        self.D = blocks.FeatureDiscriminator(*stack).to(self.device_)
        self.opt_G = blocks.adam(self.G.parameters(), self.lr, self.betas)
        self.opt_D = blocks.adam(self.D.parameters(), self.lr, self.betas)

    def branch(self) -> tuple[()] | None:
        return None if self.reset_below else ()  # it looks at a loss

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """One step of G, then one of D, on a batch x, (b, c, h, w)."""
        x_hat = self.G(self.noisy(x))
        with blocks.frozen(self.D):  # the gradient passes through D to G, but must not train D
            _, f = self.D(x)
            y_hat, f_hat = self.D(x_hat)
        losses = {"L_adv": L_adv(y_hat), "L_con": L_con(x, x_hat), "L_lat": L_lat(f, f_hat)}
        # Eq. 4: L = lambda_adv L_adv + lambda_con L_con + lambda_lat L_lat
        L = self.lambda_adv * losses["L_adv"] + self.lambda_con * losses["L_con"]
        L = L + self.lambda_lat * losses["L_lat"]
        self.opt_G.zero_grad()
        L.backward()
        self.opt_G.step()

        y_real, f = self.D(x)
        y_hat, f_hat = self.D(x_hat.detach())  # detached: L_d must not train G
        losses["L_d"] = bce_real(y_real) + bce_fake(y_hat)  # Eq. 1 for D
        if self.D_minimises_L_lat:
            losses["L_d"] = losses["L_d"] + self.lambda_lat * L_lat(f, f_hat)
        self.opt_D.zero_grad()
        losses["L_d"].backward()
        self.opt_D.step()
        if self.reset_below and losses["L_d"].item() < self.reset_below:
            blocks.init_normal_(self.D)
        return losses

    def noisy(self, x: Tensor) -> Tensor:
        """x + N(0, noise^2): (n, c, h, w) -> (n, c, h, w)."""
        if not self.noise:
            return x
        return x + self.noise * torch.randn(x.shape, generator=self.rng_, device=x.device)

    def score_step(self, x: Tensor) -> Tensor:
        """Eq. 5: lambda R(x) + (1 - lambda) L(x), pixels and features, (n, c, h, w) -> (n,)."""
        x_hat = self.G(x)
        R = (x - x_hat).square().flatten(1).mean(1)
        L = (self.D(x)[1] - self.D(x_hat)[1]).square().flatten(1).mean(1)
        return self.lambda_score * R + (1 - self.lambda_score) * L

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.G(x), images)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "lambda_adv", "lambda_con", "lambda_lat", "noise", "reset_below")
        require(
            0 <= self.lambda_score <= 1, f"expected lambda_score to lie in [0, 1], got {self.lambda_score}"
        )
