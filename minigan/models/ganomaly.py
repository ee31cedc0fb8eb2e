"""GANomaly: an encoder, a decoder and a second encoder; the score is the distance between the two codes.

An autoencoder makes a code z of an image and reconstructs the image from it, and a second encoder makes a
code z_hat of the reconstruction. For normal images the two codes learn to agree. An anomaly is reconstructed
as something more normal, so its codes disagree.

    Akcay, Atapour-Abarghouei and Breckon, "GANomaly: Semi-Supervised Anomaly Detection via Adversarial
    Training", ACCV 2018, pages 622-637. https://arxiv.org/abs/1805.06725

    x --> G_E --> z --> G_D --> x_hat --> E --> z_hat        x ~ x_hat (L_con)     z ~ z_hat (L_enc, score)
    |                             |
    +------------> D <------------+       features of x ~ features of x_hat (L_adv);  D: real or fake?

What the paper leaves open, and how it is read here:

* L_adv (Eq. 1) compares D's features of an image with the expected ones of reconstructions. Here, as in the
  released code, each image is compared with its own reconstruction.
* The norms in L_adv, L_con and L_enc are means over all numbers: of squares, absolute values and squares.
* Eq. 5 prints the score with an L1 norm. The author called this a mistake, and the released code has the mean
  square: the default of `scored_by`. "absolute" is the printed norm, as a mean.
* D's loss is the mean of the binary cross-entropies of real and reconstructed images. G is updated before D.
* Channels double up to `max_width`, as in all methods here; the released networks have no such limit, which
  makes a difference from 128 pixels on.

What released code does differently:

* It re-initialises D, but not D's Adam, when D's loss in a step falls below 1e-5: `reset_below`.
* It never switches to evaluation mode, so a score depends on the rest of its batch (`minigan.leaks`), scales
  the scores by the smallest and largest of the test set, and keeps the epoch with the best test AUROC.
* There as here, the reconstruction in L_adv is not detached, so that L_adv trains G. In the released code of
  Y-GAN, which descends from this one, it is, and trains nothing of the generator.

Not in this file: extra layers between the strided ones, an option of the released code, off by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real
from minigan.neural import NeuralDetector

# ---------------------------------------------------------------------- losses


def L_adv(f: Tensor, f_hat: Tensor) -> Tensor:
    """Eq. 1, feature matching: ||f(x) - f(x_hat)||_2 of D's features, (n, w, 4, 4) twice -> ()."""
    return F.mse_loss(f_hat, f)


def L_con(x: Tensor, x_hat: Tensor) -> Tensor:
    """Eq. 2, contextual loss: ||x - x_hat||_1, (n, c, h, w) twice -> ()."""
    return F.l1_loss(x_hat, x)


def L_enc(z: Tensor, z_hat: Tensor) -> Tensor:
    """Eq. 3, encoder loss: ||z - z_hat||_2, (n, d) twice -> ()."""
    return F.mse_loss(z_hat, z)


def L_d(y: Tensor, y_hat: Tensor) -> Tensor:
    """D's loss: -1/2 (log D(x) + log(1 - D(x_hat))), from D's raw outputs, (n,) twice -> ()."""
    return (bce_real(y) + bce_fake(y_hat)) / 2


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class GANomaly(NeuralDetector):
    """GANomaly on square images of 16 to 256 pixels, 1 or 3 channels, scored by the distance of two codes.

    Defaults are the paper's and the released code's. On a laptop, `width=16` with 100 epochs takes some
    seconds on one digit.

    `minigan methods GANomaly` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {
        "L_adv": {"G_E", "G_D"},
        "L_con": {"G_E", "G_D"},
        "L_enc": {"G_E", "G_D", "E"},
        "L_d": {"D"},
    }
    init_std: ClassVar = {"G_E": 0.02, "G_D": 0.02, "E": 0.02, "D": 0.02}

    #: Passes over the training images.
    epochs: int = 15
    #: Weights of the losses in Eq. 4.
    lambda_adv: float = 1.0
    lambda_con: float = 50.0
    lambda_enc: float = 1.0
    #: The score: the mean "squared" or "absolute" (Eq. 5 as printed) difference of the codes, or the
    #: "reconstruction" error, which is no score of the paper. May be changed after `fit`; calibrate again
    #: then.
    scored_by: Literal["squared", "absolute", "reconstruction"] = "squared"
    #: Re-initialise D when its loss in a step falls below this (released code: 1e-5); 0 = never.
    reset_below: float = 0.0
    #: Dimensions of both codes.
    z_dim: int = 100
    #: Learning rate and momentums of both Adams.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (channels, size, self.width, self.max_width)
        self.G_E = blocks.DCGANEncoder(self.z_dim, *stack).to(self.device_)
        self.G_D = blocks.DCGANGenerator(self.z_dim, *stack).to(self.device_)
        self.E = blocks.DCGANEncoder(self.z_dim, *stack).to(self.device_)
        self.D = blocks.FeatureDiscriminator(*stack).to(self.device_)
        G = [*self.G_E.parameters(), *self.G_D.parameters(), *self.E.parameters()]
        self.opt_G = blocks.adam(G, self.lr, self.betas)
        self.opt_D = blocks.adam(self.D.parameters(), self.lr, self.betas)

    def branch(self) -> tuple[()] | None:
        return None if self.reset_below else ()  # it looks at a loss

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """One step of G (both encoders and the decoder), then one of D, on a batch x, (b, c, h, w)."""
        z, x_hat, z_hat = self.pass_through(x)
        with blocks.frozen(self.D):  # the gradient passes through D to G, but must not train D
            f, f_hat = self.D(x)[1], self.D(x_hat)[1]
        losses = {"L_adv": L_adv(f, f_hat), "L_con": L_con(x, x_hat), "L_enc": L_enc(z, z_hat)}
        # Eq. 4: L = lambda_adv L_adv + lambda_con L_con + lambda_enc L_enc
        L = self.lambda_adv * losses["L_adv"] + self.lambda_con * losses["L_con"]
        L = L + self.lambda_enc * losses["L_enc"]
        self.opt_G.zero_grad()
        L.backward()
        self.opt_G.step()

        losses["L_d"] = L_d(self.D(x)[0], self.D(x_hat.detach())[0])  # detached: L_d must not train G
        self.opt_D.zero_grad()
        losses["L_d"].backward()
        self.opt_D.step()
        if self.reset_below and losses["L_d"].item() < self.reset_below:
            blocks.init_normal_(self.D)
        return losses

    def pass_through(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z = G_E(x), x_hat = G_D(z) and z_hat = E(x_hat): (n, c, h, w) -> (n, d), (n, c, h, w), (n, d)."""
        z = self.G_E(x)
        x_hat = self.G_D(z)
        return z, x_hat, self.E(x_hat)

    def score_step(self, x: Tensor) -> Tensor:
        """The score chosen by `scored_by`: (n, c, h, w) -> (n,)."""
        z, x_hat, z_hat = self.pass_through(x)
        if self.scored_by == "reconstruction":
            return (x - x_hat).abs().flatten(1).mean(1)  # Eq. 2 of each image
        if self.scored_by == "absolute":
            return (z - z_hat).abs().mean(1)  # Eq. 5: ||G_E(x) - E(G(x))||_1, as a mean
        return (z - z_hat).square().mean(1)

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.pass_through(x)[1], images)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "lambda_adv", "lambda_con", "lambda_enc", "reset_below")
