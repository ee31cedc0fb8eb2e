"""Simultaneous encoder: train the encoder while the generator grows, and look how far out its codes lie.

A generator draws normal images from random vectors; an encoder finds the vector that a query image could
have been drawn from. The two are trained together: a generated image and its re-generation are to look alike.
The paper finds that the codes of anomalies then turn out short, also with some anomalies among the training
images, so its score is mostly that length. No loss asks for it: see the chapter before you rely on it.

    Berg, Ahlberg and Felsberg, "Unsupervised Learning of Anomaly Detection from Contaminated Image Data
    using Simultaneous Encoder Training", 2019. https://arxiv.org/abs/1905.11034

    z ~ N(0, I) --> G --> fake --+--> D --> real?                            (WGAN-GP)
                                 +--> E --> z_hat --> G --> fake again ~ fake     (d_I)
    query --> E --> z_hat: how long (L_o)?  --> G --> closest match: how far (L_n)?

G, D and E grow together, from 4x4 pixels on: see `minigan/progressive.py`, which also says what a level is.

What the paper leaves open, and how it is read here:

* E is D without minibatch deviation (a code must not depend on its neighbours) and with N_z outputs. The
  released encoder keeps that layer, which is left out here, and ends in a leaky ReLU (`leaky_code`).
* "32 epochs" of 5000 images are too few for 12 hours: the released settings show 12 million images, 600,000
  for each fade and each rest. Training is counted in thousands of images, `kimg`; `epochs` only says into
  how many parts it is divided, for the history and for validation.
* Batches of 128 while images are small, 64 at 32 pixels, 32 at 64 (the paper's two last ones): at most
  2048 / side.
* The L1 norm in Eq. 1 is a mean over pixels. The latent distance (Eq. 7) compares with the normalised z.
* Released code: the generator never sees E's loss (`encoder_updates="E"`).
* Eq. 2 divides a norm by N_X, which leaves Eq. 5 with next to nothing but L_o, while Table 2 shows a
  difference between the two. Read as a root mean square it counts: `residual_norm`, "rms" by default.
* Scores are taken from averages of the weights of G and E, as in the released settings (decay 0.999). In
  the first 9000 steps they forget faster, min(decay, (1 + t) / (10 + t)), lest a short training be lost.
* f-AnoGAN's score (Table 2, e) needs features of D: its 4x4 map, before minibatch deviation.
* Interrupted before it has grown up, it scores at the size that it has reached.

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

from minigan import blocks, progressive
from minigan.detector import NeuralDetector, require
from minigan.losses import gradient_penalty
from minigan.progressive import Generator, PixelNorm, Reader

SCORES = ("proposed", "origin", "residual", "residual_raw", "f_anogan")  # Table 2, from below

# ---------------------------------------------------------------------- losses and scores


def d_I(fake: Tensor, fake_again: Tensor) -> Tensor:
    """Eq. 6: a generated image and its reconstruction are alike. (n, c, h, w) twice -> ()."""
    return F.l1_loss(fake_again, fake)


def d_z(z: Tensor, z_hat: Tensor) -> Tensor:
    """Eq. 7: E finds the vector itself, scaled as G scales it. (n, N_z) twice -> ()."""
    return F.l1_loss(z_hat, PixelNorm()(z))


def unit_range(x: Tensor) -> Tensor:
    """Eq. 3: each image's darkest value to 0, its brightest to 1; a constant image to 0. (n, c, h, w)."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - low) / (high - low).clamp(min=1e-8)


def L_n(x: Tensor, x_hat: Tensor, norm: str = "rms") -> Tensor:
    """Eq. 2: distance of an image and its closest match, contrast aside. (n, c, h, w) twice -> (n,)."""
    difference = (unit_range(x) - unit_range(x_hat)).flatten(1)  # (n, N_X)
    n_x = difference.shape[1]
    return difference.norm(dim=1) / (math.sqrt(n_x) if norm == "rms" else n_x)


def L_o(z_hat: Tensor) -> Tensor:
    """Eq. 4: minus the length of the code, over sqrt(N_z). (n, N_z) -> (n,)."""
    return -z_hat.norm(dim=1) / math.sqrt(z_hat.shape[1])


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class SimultaneousEncoder(NeuralDetector):
    """The simultaneous encoder on square images of 16 to 256 pixels, 1 or 3 channels.

    Defaults are the paper's and, where it is silent, the released settings': days on one CPU. On a laptop,
    `kimg=40, phase_kimg=5, width=16, max_width=32, z_dim=64` takes about a minute at 16 pixels.
    """

    gradient_flow: ClassVar = {"loss_D": {"D"}, "loss_G": {"G"}, "loss_E": {"G", "E"}}
    weight_spread: ClassVar = {"G": 1.0, "D": 1.0, "E": 1.0, "G_mean": 1.0, "E_mean": 1.0}

    #: Parts of the training, of at least a batch, a row of `history_` each; how long it is, `kimg` says.
    epochs: int = 32
    #: Thousands of training images shown in all.
    kimg: float = 12_000.0
    #: Thousands of images for each fade-in, and for each rest before the next.
    phase_kimg: float = 600.0
    #: Images per step while they are small; 2048 / side where that is fewer.
    batch_size: int = 128
    #: Dimensions of the latent vector, the paper's N_z.
    z_dim: int = 512
    #: What E is trained by: images (Eq. 6) or latents (Eq. 7).
    encoder_loss: Literal["image", "latent"] = "image"
    #: Who learns from it: G and E (Eq. 1), or E alone, as in the released code.
    encoder_updates: Literal["G+E", "E"] = "G+E"
    #: The score: Eq. 5 ("proposed"), its terms "origin" (Eq. 4) and "residual" (Eq. 2), "residual_raw"
    #: (Eq. 8), or "f_anogan". May be changed after `fit`; calibrate again then.
    scored_by: str = "proposed"
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
    #: Decay of the averages of G and E that score.
    decay: float = 0.999
    #: Learning rate and momentums of every Adam.
    lr: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.99)
    #: Channels at the full size, doubling inwards up to max_width. None: 512 up to 32 pixels, 256 at 64, ...
    width: int | None = None
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        self.full_level = progressive.full_level(size)
        needed = 2 * self.full_level * self.phase_kimg + min(self.batch_size, 2048 // size) / 1000
        require(
            self.kimg >= needed - 1e-9,
            f"kimg={self.kimg:g} ends before the networks have grown to {size} pixels; with phase_kimg="
            f"{self.phase_kimg:g}, kimg must be at least {needed:g}",
        )
        of_image = {"channels": channels, "size": size, "width": self.width, "max_width": self.max_width}
        self.G = Generator(self.z_dim, **of_image).to(self.device_)
        self.D = Reader(1, **of_image, deviation=True).to(self.device_)
        self.E = Reader(self.z_dim, **of_image).to(self.device_)
        # Nobody trains the averages: they follow.
        self.G_mean, self.E_mean = (copy.deepcopy(net).requires_grad_(False) for net in (self.G, self.E))
        self.E_mean.register_buffer("level", torch.zeros((), dtype=torch.float64))  # that scores are taken at
        self.opt_D = blocks.adam(self.D.parameters(), self.lr, self.betas)
        self.opt_G = blocks.adam(self.G.parameters(), self.lr, self.betas)
        self.opt_E = blocks.adam(self.E.parameters(), self.lr, self.betas)
        self.level, self.shown, self.steps = 0.0, 0, 0

    # ------------------------------------------------------------------ the schedule

    def level_after(self, shown: int) -> float:
        """How far the networks have grown after so many images."""
        return progressive.level_after(shown / (1000 * self.phase_kimg), self.full_level)

    def batches(self, n: int, y: Tensor | None) -> Sequence[Tensor]:
        """`kimg` / `epochs` thousand images: all of them in random order, again and again."""
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

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Eq. 1 for one batch of full-size images x, (b, c, h, w), at the level reached."""
        self.level = self.level_after(self.shown)
        self.shown, self.steps = self.shown + len(x), self.steps + 1
        x = progressive.at_level(x, self.level)
        with torch.no_grad():  # to D a fake is data: nothing here reaches G
            fake = self.G(self.latents(len(x)), self.level)
        loss_D = self.loss_D(x, fake)
        self.opt_D.zero_grad()
        loss_D.backward()
        self.opt_D.step()

        z = self.latents(len(x))
        fake = self.G(z, self.level)
        with blocks.frozen(self.D):  # the gradient passes through D to G, but D does not learn to help G
            loss_G = -self.criticise(fake).mean()
        self.opt_G.zero_grad()
        self.opt_E.zero_grad()
        if self.encoder_updates == "G+E":
            loss_E = self.loss_E(z, fake)
            (loss_G + loss_E).backward()  # Eq. 1: G, too, is to make images that E can read
        else:
            loss_G.backward()
            z = self.latents(len(x))
            with blocks.frozen(self.G):  # released code: E learns alone, on fresh images
                loss_E = self.loss_E(z, self.G(z, self.level))
            loss_E.backward()
        self.opt_G.step()
        self.opt_E.step()
        self.follow()
        return {"loss_D": loss_D, "loss_G": loss_G, "loss_E": loss_E}

    @torch.no_grad()
    def follow(self) -> None:
        """The averages move towards the networks, without a graph."""
        decay = min(self.decay, self.steps / (9 + self.steps))
        for mean, network in ((self.G_mean, self.G), (self.E_mean, self.E)):
            torch._foreach_lerp_(list(mean.parameters()), list(network.parameters()), 1 - decay)

    def criticise(self, x: Tensor) -> Tensor:
        """D's raw outputs at the level reached: (n, c, h, w) -> (n,)."""
        return self.D(x, self.level)[:, 0]

    def loss_D(self, real: Tensor, fake: Tensor) -> Tensor:
        """WGAN-GP: fakes low, real images high, a slope of 1 between them, outputs near 0. -> ()."""
        y_real, y_fake = self.criticise(real), self.criticise(fake)
        penalty = gradient_penalty(self.criticise, real, fake, self.rng_)
        loss = y_fake.mean() - y_real.mean() + self.lambda_gp * penalty
        return loss + self.drift * y_real.square().mean()

    def loss_E(self, z: Tensor, fake: Tensor) -> Tensor:
        """How well E finds what `fake` was made from. (n, z_dim), (n, c, h, w) -> ()."""
        z_hat = self.code(self.E, fake, self.level)
        if self.encoder_loss == "latent":
            return d_z(z, z_hat)
        return d_I(fake, self.G(z_hat, self.level))

    def code(self, E: Reader, x: Tensor, level: float) -> Tensor:
        """z_hat: (n, c, h, w) -> (n, z_dim)."""
        return F.leaky_relu(E(x, level), 0.2) if self.leaky_code else E(x, level)

    def end_epoch(self, x: Tensor, y: Tensor | None) -> None:
        """Note the level that these weights belong to: an interrupted training scores at it."""
        self.E_mean.level.fill_(self.level)

    # ------------------------------------------------------------------ using it

    def match(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Full-size images at the level reached, their codes and closest matches.

        (n, c, size, size) -> (n, c, h, w), (n, z_dim), (n, c, h, w); h = w = size once grown up.
        """
        level = self.E_mean.level.item()
        x = progressive.at_level(x, level)
        z_hat = self.code(self.E_mean, x, level)
        return x, z_hat, self.G_mean(z_hat, level)

    def score(self, x: Tensor) -> Tensor:
        """The score chosen by `scored_by`: (n, c, h, w) -> (n,)."""
        self._check_score()  # it may have been changed after `fit`
        x, z_hat, x_hat = self.match(x)
        if self.scored_by == "origin":
            return L_o(z_hat)
        if self.scored_by == "residual":
            return L_n(x, x_hat, self.residual_norm)
        if self.scored_by == "residual_raw":
            return (x - x_hat).flatten(1).norm(dim=1) / 2  # Eq. 8, for images in [0, 1]
        if self.scored_by == "f_anogan":
            f, f_hat = (self.D.features(image, self.E_mean.level.item()) for image in (x, x_hat))
            of_images = (x - x_hat).square().flatten(1).mean(1)
            return of_images + self.kappa * (f - f_hat).square().flatten(1).mean(1)
        return self.lambda_n * L_n(x, x_hat, self.residual_norm) + (1 - self.lambda_n) * L_o(z_hat)  # Eq. 5

    def encode(self, images: Any) -> np.ndarray:
        """z_hat: (n, z_dim) float32."""
        return self.in_parts(lambda x: self.match(x)[1], images)

    def reconstruct(self, images: Any) -> np.ndarray:
        """The closest match G(E(x)), clipped to [-1, 1] (Fig. 5): (n, c, h, w) float32."""
        return self.in_parts(lambda x: self.enlarge(self.match(x)[2]).clamp(-1, 1), images)

    @torch.inference_mode()
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """n generated images, clipped to [-1, 1]: (n, c, h, w) float32."""
        z = self._draw(n, self.z_dim, seed)
        return self.enlarge(self.G_mean(z, self.E_mean.level.item())).clamp(-1, 1).cpu().numpy()

    def enlarge(self, x: Tensor) -> Tensor:
        """Images of the level reached to full size: (n, c, h, w) -> (n, c, size, size)."""
        return F.interpolate(x, size=self.image_shape_[1:], mode="nearest")

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_choice("encoder_loss", "image", "latent")
        self._check_choice("encoder_updates", "G+E", "E")
        self._check_score()
        self._check_betas()
        self._check_at_least(0, "lambda_gp", "drift", "kappa")
        self._check_at_least(1, "z_dim", "max_width")
        for name in ("lambda_n", "decay"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be from 0 to 1, got {getattr(self, name)}")
        require(self.phase_kimg > 0, f"phase_kimg must be positive, got {self.phase_kimg}")
        self._check_width()

    def _check_score(self) -> None:
        self._check_choice("scored_by", *SCORES)
        self._check_choice("residual_norm", "rms", "printed")

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        super()._restore(tensors)
        level = self.E_mean.level.item()  # a file may say anything
        require(0 <= level <= self.full_level, f"its level, {level}, is not from 0 to {self.full_level}")
