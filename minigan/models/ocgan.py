"""OCGAN: an autoencoder whose whole latent cube decodes to normal images, scored by reconstruction error.

An autoencoder of eights may reconstruct a one, too: some codes that no eight has are free to decode to
anything. OCGAN leaves no such codes. It fills a cube evenly with the codes of normal images, and demands that
every point of the cube decodes to an image like them; points where this fails are searched for by gradient
descent.

    Perera, Nallapati and Xiang, "OCGAN: One-class Novelty Detection Using GANs with Constrained Latent
    Representations", CVPR 2019. https://arxiv.org/abs/1903.08550

    x + noise --> E --> l_1 in (-1, 1)^d --> G --> x_hat ~ x            (L_MSE)
                         +--> D_l --> uniform? (L_latent)  +--> C --> decoded code of an image?
    l_2 ~ U(-1, 1)^d ----^                                 |
      +--> moved to where C says no (mining) --> G --> fake --> D_v --> like x? (L_visual)

What the paper leaves open, and how it is read here:

* Layers of E, G, D_v and C are DCGAN's; D_l is fully connected, as in released code.
* The noise, N(0, 0.2), has the standard deviation 0.2.
* The number of steps of "informative-negative mining", their size and their beginning are those of released
  code: one step of size 2, in the last quarter of the training. Points are clipped to the cube.
* Errors are means over pixels. As in released code, L_MSE then needs a weight in the hundreds, 250, and
  L_latent 10: the paper's single weight, 10 for L_MSE, is for sums over the pixels of an image.
* G decodes codes and uniform points in separate passes, and batch norm's running averages include both,
  though only codes of images are scored. So they are collected anew after each epoch, from reconstructed
  training images (`collect_norms`).

What released code does differently: its encoder has no tanh, so that codes may leave the cube.

Not in this file: the choice of the epoch by validation images, as in the paper; see `use_weights`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real
from minigan.checks import require
from minigan.images import to_float
from minigan.neural import NeuralDetector


class LatentDiscriminator(nn.Sequential):
    """Latent discriminator: codes (n, d) -> raw outputs (n,), by layers of 128, 64, 32 and 16 units."""

    def __init__(self, d: int):
        layers: list[nn.Module] = []
        for outside in (128, 64, 32, 16):
            layers += [nn.Linear(d, outside), nn.ReLU()]
            d = outside
        super().__init__(*layers, nn.Linear(d, 1), nn.Flatten(0))


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class OCGAN(NeuralDetector):
    """OCGAN on square images of 16 to 256 pixels, 1 or 3 channels, scored by reconstruction error.

    Defaults are the paper's and, where it is silent, the released settings'. With a few hundred images,
    smaller batches take more steps.

    `minigan methods OCGAN` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {
        "loss_C": {"C"},
        "loss_Dl": {"D_l"},
        "loss_Dv": {"D_v"},
        "L_MSE": {"E", "G"},
        "L_latent": {"E"},
        "L_visual": {"G"},
    }
    init_std: ClassVar = {"E": 0.02, "G": 0.02, "D_l": "pytorch", "D_v": 0.02, "C": 0.02}

    #: Passes over the training images.
    epochs: int = 200
    batch_size: int = 512
    #: Dimensions of the latent cube.
    z_dim: int = 16
    #: Standard deviation of the noise on the images that are encoded in training.
    sigma: float = 0.2
    #: Weights of L_MSE and of L_latent; L_visual has 1.
    lambda_mse: float = 250.0
    lambda_latent: float = 10.0
    #: Fraction of the epochs after which mining begins; 1 = never.
    mining_from: float = 0.75
    #: Steps of mining, and their size.
    mining_steps: int = 1
    mining_lr: float = 2.0
    #: Collect batch norm's running averages from reconstructed training images only, anew after each epoch.
    collect_norms: bool = True
    #: Learning rate and momentums of every Adam.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image in E and G, and in D_v and C; they double inwards up to
    #: max_width.
    width: int = 64
    width_D: int = 16
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (self.z_dim, channels, size, self.width, self.max_width)
        narrow = (channels, size, self.width_D, self.max_width)
        self.E = blocks.DCGANEncoder(*stack).append(nn.Tanh()).to(self.device_)  # into the cube
        self.G = blocks.DCGANGenerator(*stack).to(self.device_)
        self.D_l = LatentDiscriminator(self.z_dim).to(self.device_)
        self.D_v = blocks.FeatureDiscriminator(*narrow).to(self.device_)
        self.C = blocks.FeatureDiscriminator(*narrow).to(self.device_)
        self.opt_EG = blocks.adam([*self.E.parameters(), *self.G.parameters()], self.lr, self.betas)
        self.opt_Dl = blocks.adam(self.D_l.parameters(), self.lr, self.betas)
        self.opt_Dv = blocks.adam(self.D_v.parameters(), self.lr, self.betas)
        self.opt_C = blocks.adam(self.C.parameters(), self.lr, self.betas)

    # ------------------------------------------------------------------ latents

    def points(self, n: int) -> Tensor:
        """l_2, uniform in the cube (-1, 1)^d: (n, z_dim)."""
        return 2 * torch.rand(n, self.z_dim, generator=self.rng_, device=self.device_) - 1

    def mine(self, l_2: Tensor) -> Tensor:
        """Informative negatives: points moved to where C rejects what G draws, (n, d) -> (n, d)."""
        for _ in range(self.mining_steps):
            l_2 = l_2.detach().requires_grad_()
            # These passes are a search: batch norm must not learn from them, and no network is trained.
            with blocks.unchanged_statistics(self.G), blocks.unchanged_statistics(self.C):
                loss = F.softplus(self.C(self.G(l_2))[0]).sum()  # -log(1 - C(G(l_2))), for each point its own
            (slope,) = torch.autograd.grad(loss, l_2)
            l_2 = (l_2 - self.mining_lr * slope).clamp(-1, 1)
        return l_2.detach()

    # ------------------------------------------------------------------ learning

    def mining(self) -> bool:
        """Whether this epoch has informative negatives."""
        return self.epoch_ > self.mining_from * self.epochs

    def branch(self) -> bool:
        return self.mining()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Algorithm 1 for one batch x, (b, c, h, w): C, D_l and D_v, then E and G together."""
        noise = torch.randn(x.shape, generator=self.rng_, device=self.device_)
        l_1, l_2 = self.E(x + self.sigma * noise), self.points(len(x))  # (b, d) each
        x_hat, fake = self.G(l_1), self.G(l_2)

        # Detached in all three: their losses must not train E or G.
        losses = {"loss_C": bce_real(self.C(x_hat.detach())[0]) + bce_fake(self.C(fake.detach())[0])}
        losses["loss_Dl"] = bce_real(self.D_l(l_2)) + bce_fake(self.D_l(l_1.detach()))
        losses["loss_Dv"] = bce_real(self.D_v(x)[0]) + bce_fake(self.D_v(fake.detach())[0])
        for name, optimiser in (("loss_C", self.opt_C), ("loss_Dl", self.opt_Dl), ("loss_Dv", self.opt_Dv)):
            optimiser.zero_grad()
            losses[name].backward()
            optimiser.step()

        if self.mining():
            fake = self.G(self.mine(l_2))
        with blocks.frozen(self.D_l, self.D_v):  # gradients pass through D_l and D_v, but must not train them
            losses["L_latent"] = bce_real(self.D_l(l_1))
            losses["L_visual"] = bce_real(self.D_v(fake)[0])
        losses["L_MSE"] = F.mse_loss(x_hat, x)  # ||x - G(E(x + n))||^2
        total = self.lambda_mse * losses["L_MSE"] + self.lambda_latent * losses["L_latent"]
        self.opt_EG.zero_grad()
        (total + losses["L_visual"]).backward()
        self.opt_EG.step()
        return losses

    def fit_statistics(self, x: Tensor, y: Tensor | None) -> None:
        """Collect batch norm's averages from all training images."""
        if self.collect_norms:
            with blocks.collecting_statistics(self.E, self.G):
                for chosen in self.batches(len(x), y):
                    self.G(self.E(to_float(x[chosen], self.device_)))

    # ------------------------------------------------------------------ using it

    def score_step(self, x: Tensor) -> Tensor:
        """||x - G(E(x))||^2, averaged: (n, c, h, w) -> (n,)."""
        return (x - self.G(self.E(x))).square().flatten(1).mean(1)

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat = G(E(x)) in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.G(self.E(x)), images)

    @torch.inference_mode()
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Images decoded from n random points of the cube, in [-1, 1]: (n, c, h, w) float32."""
        normal = self.draw_latents(n, self.z_dim, seed)
        self._set_mode(training=False)
        # erf(t / sqrt(2)) makes a uniform number in (-1, 1) of a normal one.
        return self.G(torch.erf(normal / 2**0.5)).cpu().numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "sigma", "lambda_mse", "lambda_latent", "mining_lr")
        self._check_at_least(1, "mining_steps", "width_D")
        self._check_at_least(2, "batch_size")
        good = 0 <= self.mining_from <= 1
        require(good, f"expected mining_from to lie in [0, 1], got {self.mining_from}")
