"""ALOCC: an autoencoder refines images, and the discriminator that it was trained against is the detector.

R learns to clean noisy normal images, and D to tell its results from real ones. R then draws normal images
well and spoils others, so that D is more certain about R(x) than about x itself: the score is how unreal D
finds R(x).

    Sabokrou, Khalooei, Fathy and Adeli, "Adversarially Learned One-Class Classifier for Novelty Detection",
    CVPR 2018. https://arxiv.org/abs/1802.09088

    x + noise --> R --> x_hat ~ x (L_R)
                          +--> D --> real?   (L_R+D)          query x --> R --> D --> score
    x ---------------------^

What the paper leaves open, and how it is read here:

* Layers: the paper's R keeps a map of features between its encoder and its decoder; here both are DCGAN's
  stacks, with a code of `z_dim` numbers, and so is D.
* The noise is N(0, sigma^2 I); sigma is released code's 0.155 for images in [0, 1], here in [-1, 1] 0.31.
  Images with noise are not clipped.
* L_R is a sum over pixels and a mean over images. R's adversarial loss is -log D(R(x + noise)), as in DCGAN.
* D processes images and refined images in one batch. With a batch for each (`joint_batches=False`), as in the
  code of most GANs, batch norm in training normalises the two with statistics of their own, and in evaluation
  mode with one running average, which fits neither. Here D itself is the score, and on digits D(R(x)) was
  then often higher for anomalies.
* The optimiser is not given: Adam, as in DCGAN. The number of epochs is not given either.
* D's score is its raw output, which orders images as its sigmoid does.
* The paper stops the training when L_R is small enough, at a value that it does not give. Here it is trained
  to the end: see the history of L_R.

What released code does differently: it updates R twice for each step of D, so that D does not win
(`refiner_steps=2`). Its D has a batch for each kind (`joint_batches=False`). It weighs L_R with 0.2, compares
R(x + noise) with the noisy image, not the clean one, by a cross-entropy, and trains by RMSProp with a
learning rate of 2e-3; these three are not repeated here.

Not in this file: the detection of places in video.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real
from minigan.neural import NeuralDetector

# ---------------------------------------------------------------------- losses


def L_R(x: Tensor, x_hat: Tensor) -> Tensor:
    """Refinement loss: ||x - x_hat||^2, averaged over images, (n, c, h, w) twice -> ()."""
    return (x - x_hat).square().flatten(1).sum(1).mean()


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class ALOCC(NeuralDetector):
    """ALOCC on square images of 16 to 256 pixels, 1 or 3 channels, scored by the discriminator.

    `minigan methods ALOCC` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {"loss_D": {"D"}, "loss_R": {"R"}, "L_R": {"R"}}
    init_std: ClassVar = {"R": 0.02, "D": 0.02}

    #: Passes over the training images; released code has 40.
    epochs: int = 40
    batch_size: int = 128
    #: Dimensions of R's code.
    z_dim: int = 100
    #: Standard deviation of the noise on the images that R cleans.
    sigma: float = 0.31
    #: Weight of L_R, the paper's lambda.
    lambda_r: float = 0.4
    #: Steps of R for each one of D; 2 in released code.
    refiner_steps: int = 1
    #: D's batches have images and refined images together, so that batch norm treats both alike.
    joint_batches: bool = True
    #: The score: minus D's raw output for the refined image ("refined") or for the image itself
    #: ("image"), or the distance between the two ("error", no score of the paper but our control). May
    #: be changed after `fit`; calibrate again then.
    scored_by: Literal["refined", "image", "error"] = "refined"
    #: Learning rate and momentums of both Adams.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (channels, size, self.width, self.max_width)
        encoder, decoder = blocks.DCGANEncoder(self.z_dim, *stack), blocks.DCGANGenerator(self.z_dim, *stack)
        self.R = nn.Sequential(encoder, decoder).to(self.device_)
        self.D = blocks.FeatureDiscriminator(*stack).to(self.device_)
        self.opt_R = blocks.adam(self.R.parameters(), self.lr, self.betas)
        self.opt_D = blocks.adam(self.D.parameters(), self.lr, self.betas)

    def noisy(self, x: Tensor) -> Tensor:
        """x + eta, eta ~ N(0, sigma^2 I): (n, c, h, w) -> (n, c, h, w)."""
        noise = torch.randn(x.shape, generator=self.rng_, device=self.device_)
        return x + self.sigma * noise

    def judge(self, x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
        """D's raw outputs for images and refined images: (n, c, h, w) twice -> (n,), (n,)."""
        if self.joint_batches:
            real, fake = self.D(torch.cat([x, x_hat]))[0].chunk(2)
            return real, fake
        return self.D(x)[0], self.D(x_hat)[0]

    def branch(self) -> tuple[()]:
        return ()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """The paper's training for one batch x, (b, c, h, w): D, then R, `refiner_steps` times."""
        x_hat = self.R(self.noisy(x))
        real, fake = self.judge(x, x_hat.detach())  # detached: D's loss must not train R
        loss_D = bce_real(real) + bce_fake(fake)
        self.opt_D.zero_grad()
        loss_D.backward()
        self.opt_D.step()
        for step in range(self.refiner_steps):
            if step:
                x_hat = self.R(self.noisy(x))
            with blocks.frozen(self.D):  # the gradient passes through D to R, but must not train D
                loss_R = bce_real(self.judge(x, x_hat)[1])
            refinement = L_R(x, x_hat)
            self.opt_R.zero_grad()
            (loss_R + self.lambda_r * refinement).backward()  # L_R+D + lambda L_R
            self.opt_R.step()
        return {"loss_D": loss_D, "loss_R": loss_R, "L_R": refinement}

    # ------------------------------------------------------------------ using it

    def score_step(self, x: Tensor) -> Tensor:
        """The score chosen by `scored_by`: (n, c, h, w) -> (n,)."""
        if self.scored_by == "image":
            return -self.D(x)[0]
        x_hat = self.R(x)
        if self.scored_by == "error":
            return (x - x_hat).flatten(1).norm(dim=1)
        return -self.D(x_hat)[0]

    def reconstruct(self, images: Any) -> np.ndarray:
        """The refined images R(x), in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.R(x), images)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "sigma", "lambda_r")
        self._check_at_least(1, "refiner_steps")
        self._check_at_least(2, "batch_size")
