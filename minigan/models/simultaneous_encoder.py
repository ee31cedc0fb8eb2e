"""Simultaneous encoder: a progressive GAN and its encoder, trained together; short codes are anomalous.

A generator draws normal images from random vectors, and an encoder finds the vector from which a query image
could have been generated. The two are trained together: a generated image, encoded and generated again,
should look the same. The paper finds that anomalies then have short codes, even when some anomalies are among
the training images, so its score is mostly minus that length. No loss demands it: see the chapter before you
rely on it.

    Berg, Ahlberg and Felsberg, "Unsupervised Learning of Anomaly Detection from Contaminated Image Data
    using Simultaneous Encoder Training", 2019. https://arxiv.org/abs/1905.11034

    z ~ N(0, I) --> G --> fake --+--> D --> real?                            (WGAN-GP)
                                 +--> E --> z_hat --> G --> fake again ~ fake     (d_I)
    query --> E --> z_hat: how long (L_o)?  --> G --> closest match: how far (L_n)?

G, D and E grow together from 4x4 pixels: see `minigan/blocks/progressive.py`, which also defines levels.

What the paper leaves open, and how it is read here:

* E is D without the minibatch standard deviation (a code must not depend on other images) and with N_z
  outputs. The released encoder keeps that layer, which is left out here, and ends in a leaky ReLU
  (`leaky_code`).
* "32 epochs" of 5000 images are too few for 12 hours: the released settings show 12 million images, 600,000
  for each stable phase and each fade-in. Training is counted in thousands of images, `kimg`; `epochs` only
  says into how many parts it is divided, for the history and for validation.
* Batches of 128 while images are small, 64 at 32 pixels, 32 at 64 (the paper's last two): at most
  2048 / side.
* The L1 norm in Eq. 1 is a mean over pixels. The latent distance (Eq. 7) compares with the normalised z.
* Released code: E's loss does not train the generator (`encoder_updates="E"`).
* Eq. 2 divides a norm by N_X, so that Eq. 5 is hardly more than L_o, while Table 2 shows a difference between
  the two. Read as a root mean square it counts: `residual_norm`, "rms" by default.
* Scores use averages of the weights of G and E, as in the released settings (decay 0.999). In the first 9000
  steps the decay is smaller, min(decay, t / (9 + t)) at step t, so that a short training is not lost.
* f-AnoGAN's score (Table 2, e) needs features of D: its 4x4 map, before the minibatch standard deviation.
* After a training that was interrupted early, images are scored at the size that the networks had reached.

Not in this file: f-AnoGAN itself, and the search for codes without an encoder (Fig. 2a, d).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigan import blocks
from minigan.blocks import progressive
from minigan.blocks.losses import gradient_penalty, unit_range
from minigan.blocks.progressive import Level, PixelNorm, ProgressiveEncoder, ProgressiveGenerator
from minigan.checks import require
from minigan.neural import NeuralDetector

# ---------------------------------------------------------------------- losses and scores


def d_I(fake: Tensor, fake_again: Tensor) -> Tensor:
    """Eq. 6: |G(z) - G(E(G(z)))|_1, averaged, from images (n, c, h, w) twice -> ()."""
    return F.l1_loss(fake_again, fake)


def d_z(z: Tensor, z_hat: Tensor) -> Tensor:
    """Eq. 7: |z - E(G(z))|_1, averaged, with z normalised as in G, (n, N_z) twice -> ()."""
    return F.l1_loss(z_hat, PixelNorm()(z))


def L_n(x: Tensor, x_hat: Tensor, norm: str = "rms") -> Tensor:
    """Eq. 2: ||w(x) - w(x_hat)||_2 / N_X, or / sqrt(N_X) for "rms". (n, c, h, w) twice -> (n,)."""
    # Eq. 3: w(x) = (x - min x) / (max x - min x)
    difference = (unit_range(x) - unit_range(x_hat)).flatten(1)  # (n, N_X)
    n_x = difference.shape[1]
    return difference.norm(dim=1) / (math.sqrt(n_x) if norm == "rms" else n_x)


def L_o(z_hat: Tensor) -> Tensor:
    """Eq. 4: -||z_hat||_2 / sqrt(N_z), minus the length of the code, (n, N_z) -> (n,)."""
    return -z_hat.norm(dim=1) / math.sqrt(z_hat.shape[1])


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class SimultaneousEncoder(NeuralDetector):
    """The simultaneous encoder on square images of 16 to 256 pixels, 1 or 3 channels.

    Defaults are the paper's and, where it is silent, the released settings': days on one CPU. On a laptop,
    `kimg=40, phase_kimg=5, width=16, max_width=32, z_dim=64` takes about a minute at 16 pixels.

    `minigan methods SimultaneousEncoder` lists all hyperparameters.
    """

    adjustable: ClassVar = NeuralDetector.adjustable | {"lambda_n", "kappa", "residual_norm", "leaky_code"}
    gradient_flow: ClassVar = {"loss_D": {"D"}, "loss_G": {"G"}, "loss_E": {"G", "E"}}
    init_std: ClassVar = {"G": 1.0, "D": 1.0, "E": 1.0, "G_mean": 1.0, "E_mean": 1.0}

    #: Parts of the training, of one batch or more, each a row of `history_`; `kimg` sets its length.
    epochs: int = 32
    #: Thousands of training images shown in total.
    kimg: float = 12_000.0
    #: Thousands of images for each fade-in, and for each stable phase before the next.
    phase_kimg: float = 600.0
    #: Images per step while they are small; 2048 / side where that is fewer.
    batch_size: int = 128
    #: Dimensions of the latent vector, the paper's N_z.
    z_dim: int = 512
    #: What E's loss compares: images (Eq. 6) or latents (Eq. 7).
    encoder_loss: Literal["image", "latent"] = "image"
    #: Which networks it trains: G and E (Eq. 1), or E alone, as in the released code.
    encoder_updates: Literal["G+E", "E"] = "G+E"
    #: The score: Eq. 5 ("proposed"), its terms "origin" (Eq. 4) and "residual" (Eq. 2), "residual_raw"
    #: (Eq. 8), or "f_anogan". May be changed after `fit`; calibrate again then.
    scored_by: Literal["proposed", "origin", "residual", "residual_raw", "f_anogan"] = "proposed"
    #: Weight of the residual in Eq. 5, the paper's lambda; the origin distance has the rest.
    lambda_n: float = 0.05
    #: Eq. 2 as a root mean square, or as printed.
    residual_norm: Literal["rms", "printed"] = "rms"
    #: Weight of D's features in f-AnoGAN's score.
    kappa: float = 1.0
    #: Weight of the gradient penalty, and of D's squared outputs for real images, which keeps them near 0.
    lambda_gp: float = 10.0
    drift: float = 1e-3
    #: Released code: a leaky ReLU on the code.
    leaky_code: bool = False
    #: Decay of the averages of the weights of G and E.
    decay: float = 0.999
    #: Learning rate and momentums of every Adam.
    lr: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.99)
    #: Channels at full size, doubling inwards. None: 512 up to 32 pixels, 256 at 64, ...
    width: int | None = None
    #: Largest number of channels.
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        self.full_level = progressive.full_level(size)
        needed = 2 * self.full_level * self.phase_kimg + min(self.batch_size, 2048 // size) / 1000
        require(
            self.kimg >= needed - 1e-9,
            f"expected kimg to be at least {needed:g}, so that the networks grow to {size} pixels with "
            f"phase_kimg={self.phase_kimg:g}, got {self.kimg:g}",
        )
        stack = (channels, size, self.width, self.max_width)
        self.G = ProgressiveGenerator(self.z_dim, *stack).to(self.device_)
        self.D = ProgressiveEncoder(1, *stack, minibatch_std=True).to(self.device_)
        self.E = ProgressiveEncoder(self.z_dim, *stack).to(self.device_)
        # No loss trains the averages of the weights: `follow` updates them.
        self.G_mean = copy.deepcopy(self.G).requires_grad_(False)
        self.E_mean = copy.deepcopy(self.E).requires_grad_(False)
        self.E_mean.register_buffer("level", torch.zeros((), dtype=torch.float64))  # images are scored at it
        self.opt_D = blocks.adam(self.D.parameters(), self.lr, self.betas)
        self.opt_G = blocks.adam(self.G.parameters(), self.lr, self.betas)
        self.opt_E = blocks.adam(self.E.parameters(), self.lr, self.betas)
        self.level: Level = 0.0  # of the networks in this step
        self.reached, self.shown, self.steps = 0.0, 0, 0

    # ------------------------------------------------------------------ the schedule

    def level_after(self, shown: int) -> float:
        """The level of the networks after so many images."""
        return progressive.level_after(shown / (1000 * self.phase_kimg), self.full_level)

    def batches(self, n: int, y: Tensor | None) -> Sequence[Tensor]:
        """Batches of `kimg` / `epochs` thousand images: the training set in random order, repeatedly."""
        end, shown = round(1000 * self.kimg * self.epoch_ / self.epochs), self.shown
        found: list[Tensor] = []
        waiting = torch.empty(0, dtype=torch.long, device=self.device_)
        while shown < end or not found:
            side = 4 * 2 ** progressive.split_level(self.level_after(shown))[0]
            size = min(self.batch_size_, 2048 // side)
            while len(waiting) < size:
                order = torch.randperm(n, generator=self.rng_, device=self.device_)
                waiting = torch.cat([waiting, order])
            found.append(waiting[:size])
            waiting, shown = waiting[size:], shown + size
        return found

    def latents(self, n: int) -> Tensor:
        """z ~ N(0, I): (n, z_dim)."""
        return torch.randn(n, self.z_dim, generator=self.rng_, device=self.device_)

    # ------------------------------------------------------------------ learning

    def branch(self) -> tuple[int, bool]:
        """The resolution of the coming step, and whether its layers are fading in."""
        top, alpha = progressive.split_level(self.level_after(self.shown))
        return top, bool(alpha < 1)

    def show(self, n: int) -> float:
        """Count the next n images as shown; returns the weight of the newest layers for them, in (0, 1]."""
        self.reached = self.level_after(self.shown)
        self.shown, self.steps = self.shown + n, self.steps + 1
        return progressive.split_level(self.reached)[1]

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Eq. 1 for one batch of full-size images x, (b, c, h, w), at the level reached."""
        top, fading = self.branch()
        alpha = self.live(lambda: self.show(len(x)))
        self.level = (top, alpha) if fading else float(top)
        x = progressive.at_level(x, self.level)
        with torch.no_grad():  # D's loss must not train G
            fake = self.G(self.latents(len(x)), self.level)
        loss_D = self.loss_D(x, fake)
        self.opt_D.zero_grad()
        loss_D.backward()
        self.opt_D.step()

        z = self.latents(len(x))
        fake = self.G(z, self.level)
        with blocks.frozen(self.D):  # the gradient passes through D to G, but must not train D
            loss_G = -self.criticise(fake).mean()
        self.opt_G.zero_grad()
        self.opt_E.zero_grad()
        if self.encoder_updates == "G+E":
            loss_E = self.loss_E(z, fake)
            (loss_G + loss_E).backward()  # Eq. 1: E's loss trains G, too
        else:
            loss_G.backward()
            z = self.latents(len(x))
            with blocks.frozen(self.G):  # released code: E's loss trains E alone, on new images
                loss_E = self.loss_E(z, self.G(z, self.level))
            loss_E.backward()
        self.opt_G.step()
        self.opt_E.step()
        self.follow()
        return {"loss_D": loss_D, "loss_G": loss_G, "loss_E": loss_E}

    @torch.no_grad()
    def follow(self) -> None:
        """Update the averages of the weights: mean <- decay * mean + (1 - decay) * weights."""
        weight = self.live(lambda: 1 - min(self.decay, self.steps / (9 + self.steps)))
        for mean, network in ((self.G_mean, self.G), (self.E_mean, self.E)):
            blocks.move_towards_(mean.parameters(), network.parameters(), weight)

    def criticise(self, x: Tensor) -> Tensor:
        """D's raw outputs at the current level: (n, c, h, w) -> (n,)."""
        return self.D(x, self.level)[:, 0]

    def loss_D(self, real: Tensor, fake: Tensor) -> Tensor:
        """WGAN-GP: E[D(fake)] - E[D(real)] + lambda_gp * gradient penalty + drift * E[D(real)^2]. -> ()."""
        y_real, y_fake = self.criticise(real), self.criticise(fake)
        penalty = gradient_penalty(self.criticise, real, fake, self.rng_)
        loss = y_fake.mean() - y_real.mean() + self.lambda_gp * penalty
        return loss + self.drift * y_real.square().mean()

    def loss_E(self, z: Tensor, fake: Tensor) -> Tensor:
        """Third term of Eq. 1: d_I or d_z for fake = G(z). (n, z_dim), (n, c, h, w) -> ()."""
        z_hat = self.code(self.E, fake, self.level)
        return d_z(z, z_hat) if self.encoder_loss == "latent" else d_I(fake, self.G(z_hat, self.level))

    def code(self, E: ProgressiveEncoder, x: Tensor, level: Level) -> Tensor:
        """z_hat: (n, c, h, w) -> (n, z_dim)."""
        return F.leaky_relu(E(x, level), 0.2) if self.leaky_code else E(x, level)

    def fit_statistics(self, x: Tensor, y: Tensor | None) -> None:
        """Store the level of these weights: after an interrupted training, images are scored at it."""
        self.E_mean.get_buffer("level").fill_(self.reached)

    def level_of_scores(self) -> float:
        """The level at which images are scored: the full one, unless the training was interrupted."""
        return self.E_mean.get_buffer("level").item()

    # ------------------------------------------------------------------ using it

    def match(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Full-size images at the level reached, their codes z_hat = E(x) and closest matches G(z_hat).

        (n, c, size, size) -> (n, c, h, w), (n, z_dim), (n, c, h, w); h = w = size at the full level.
        """
        level = self.level_of_scores()
        x = progressive.at_level(x, level)
        z_hat = self.code(self.E_mean, x, level)
        return x, z_hat, self.G_mean(z_hat, level)

    def score_step(self, x: Tensor) -> Tensor:
        """The score chosen by `scored_by`: (n, c, h, w) -> (n,)."""
        x, z_hat, x_hat = self.match(x)
        if self.scored_by == "origin":
            return L_o(z_hat)
        if self.scored_by == "residual":
            return L_n(x, x_hat, self.residual_norm)
        if self.scored_by == "residual_raw":
            return (x - x_hat).flatten(1).norm(dim=1) / 2  # Eq. 8: ||x - x_hat||_2 of images in [0, 1]
        if self.scored_by == "f_anogan":
            f, f_hat = (self.D.features(image, self.level_of_scores()) for image in (x, x_hat))
            # mean (x - x_hat)^2 + kappa * mean (f(x) - f(x_hat))^2
            of_images = (x - x_hat).square().flatten(1).mean(1)
            return of_images + self.kappa * (f - f_hat).square().flatten(1).mean(1)
        # Eq. 5: lambda L_n + (1 - lambda) L_o
        return self.lambda_n * L_n(x, x_hat, self.residual_norm) + (1 - self.lambda_n) * L_o(z_hat)

    def encode(self, images: Any) -> np.ndarray:
        """Codes z_hat = E(x) of images: (n, z_dim) float32."""
        return self.map_batches(lambda x: self.match(x)[1], images)

    def reconstruct(self, images: Any) -> np.ndarray:
        """The closest match G(E(x)), clipped to [-1, 1] (Fig. 5): (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.enlarge(self.match(x)[2]).clamp(-1, 1), images)

    @torch.inference_mode()
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """n generated images, clipped to [-1, 1]: (n, c, h, w) float32."""
        z = self.draw_latents(n, self.z_dim, seed)
        return self.enlarge(self.G_mean(z, self.level_of_scores())).clamp(-1, 1).cpu().numpy()

    def enlarge(self, x: Tensor) -> Tensor:
        """Images of the level reached to full size: (n, c, h, w) -> (n, c, size, size)."""
        return F.interpolate(x, size=self.image_shape_[1:], mode="nearest")

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "lambda_gp", "drift", "kappa")
        for name in ("lambda_n", "decay"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"expected {name} to lie in [0, 1], got {value}")
        require(self.phase_kimg > 0, f"expected phase_kimg to be positive, got {self.phase_kimg}")

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        super()._restore(tensors)
        level = self.level_of_scores()  # a file may contain any number
        require(0 <= level <= self.full_level, f"its level, {level}, is not from 0 to {self.full_level}")
