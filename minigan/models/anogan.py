"""AnoGAN: a GAN of normal images, and for each query a search for the closest image that it can generate.

A generator that has only seen normal images can draw nothing else. AnoGAN therefore searches its latent space
by gradient descent for the image that is closest to a query. For a normal query there is a close one, for an
anomaly there is none, and what remains of the difference is the score and shows the place of the anomaly.

    Schlegl, Seeboeck, Waldstein, Schmidt-Erfurth and Langs, "Unsupervised Anomaly Detection with Generative
    Adversarial Networks to Guide Marker Discovery", IPMI 2017. https://arxiv.org/abs/1703.05921

    z ~ U(-1, 1) --> G --> fake ----+
                     training image +--> D --> real?                                        (training)
    z_1 --> G --> image ~ query?  <-- gradient of L(z) changes z, 500 times --> z_500       (for each query)

What the paper leaves open, and how it is read here:

* How the search descends is not said. Here it is by Adam, with a learning rate of its own (`search_lr`). A
  step changes each number of z by about that much at first, in a cube whose sides have length 2.
* All queries start from the same z_1, drawn once from `seed` and kept with the weights. The paper draws one
  at random; then a score would change from one call to the next, or with the order of the queries.
* z is not kept inside the cube that G was trained on.
* Queries are searched for together, but the losses of a batch are added and Adam works number by number, so
  the others of a batch have no influence on a search.
* f, the features of D in L_D, is its last map, of 4x4 pixels.

What released code does differently: we know of none by the authors. Code of others that skips the search, and
so returns one and the same image for all queries, has been published as AnoGAN.

Not in this file: the reference score with D's own output, and the earlier search of Yeh et al. that the paper
compares with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real
from minigan.checks import require
from minigan.neural import NeuralDetector

# ---------------------------------------------------------------------- losses of the search


def L_R(x: Tensor, x_hat: Tensor) -> Tensor:
    """Eq. 2, residual loss: sum |x - G(z)|, (n, c, h, w) twice -> (n,)."""
    return (x - x_hat).abs().flatten(1).sum(1)


def L_D(f: Tensor, f_hat: Tensor) -> Tensor:
    """Eq. 4, discrimination loss: sum |f(x) - f(G(z))| of D's features, (n, w, 4, 4) twice -> (n,)."""
    return (f - f_hat).abs().flatten(1).sum(1)


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class AnoGAN(NeuralDetector):
    """AnoGAN on square images of 16 to 256 pixels, 1 or 3 channels, with a search for each query.

    Scoring takes `search_steps` passes forward and backward through both networks, so it is some thousand
    times slower than that of other methods. Fewer steps, such as 100, may be set after `fit`.

    `minigan methods AnoGAN` lists all hyperparameters.
    """

    adjustable: ClassVar = NeuralDetector.adjustable | {"search_steps", "search_lr", "lambda_d"}
    gradient_flow: ClassVar = {"loss_D": {"D"}, "loss_G": {"G"}}
    init_std: ClassVar = {"G": 0.02, "D": 0.02}

    #: Passes over the training images (section 3).
    epochs: int = 20
    #: Dimensions of z; the paper does not give them, DCGAN has 100.
    z_dim: int = 100
    #: Steps of the search for each query (section 3).
    search_steps: int = 500
    #: Learning rate of the search.
    search_lr: float = 0.02
    #: Weight of the discrimination loss in the search and in the score, the paper's lambda.
    lambda_d: float = 0.1
    #: The score: Eq. 6 ("both"), or its parts: "residual" (Eq. 2) or "features" (Eq. 4) of the same z. May be
    #: changed after `fit`; calibrate again then.
    scored_by: Literal["both", "residual", "features"] = "both"
    #: Learning rate and momentums of both Adams in training, DCGAN's.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (channels, size, self.width, self.max_width)
        self.G = blocks.DCGANGenerator(self.z_dim, *stack)
        self.G.register_buffer("z_1", 2 * torch.rand(self.z_dim) - 1)  # where every search starts
        self.G.to(self.device_)
        self.D = blocks.FeatureDiscriminator(*stack).to(self.device_)
        self.opt_G = blocks.adam(self.G.parameters(), self.lr, self.betas)
        self.opt_D = blocks.adam(self.D.parameters(), self.lr, self.betas)

    # ------------------------------------------------------------------ learning

    def branch(self) -> tuple[()]:
        return ()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Eq. 1, DCGAN's training, for one batch x, (b, c, h, w): first D, then G."""
        z = 2 * torch.rand(len(x), self.z_dim, generator=self.rng_, device=self.device_) - 1  # (b, z_dim)
        fake = self.G(z)
        # Detached: D's loss must not train G.
        loss_D = bce_real(self.D(x)[0]) + bce_fake(self.D(fake.detach())[0])
        self.opt_D.zero_grad()
        loss_D.backward()
        self.opt_D.step()
        with blocks.frozen(self.D):  # the gradient passes through D to G, but must not train D
            loss_G = bce_real(self.D(fake)[0])
        self.opt_G.zero_grad()
        loss_G.backward()
        self.opt_G.step()
        return {"loss_D": loss_D, "loss_G": loss_G}

    def norm_pass(self, x: Tensor) -> None:
        """As in training: x and fakes through D, z through G; the search takes hundreds of passes."""
        z = 2 * torch.rand(len(x), self.z_dim, generator=self.rng_, device=self.device_) - 1  # (b, z_dim)
        self.D(x)
        self.D(self.G(z))

    # ------------------------------------------------------------------ the search

    def losses(self, x: Tensor, f: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """L_R and L_D of each query x with features f, for its z: (n, ...), (n, z_dim) -> (n,), (n,)."""
        x_hat = self.G(z)
        return L_R(x, x_hat), L_D(f, self.D(x_hat)[1])

    def weigh(self, residual: Tensor, features: Tensor) -> Tensor:
        """Eq. 5 and 6: (1 - lambda) L_R + lambda L_D. (n,), (n,) -> (n,)."""
        return (1 - self.lambda_d) * residual + self.lambda_d * features

    def search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """D's features of queries, and z of the closest images: (n, c, h, w) -> (n, w, 4, 4), (n, z_dim)."""
        # Scores are computed in inference mode, which knows no gradients, so it is left here.
        with torch.inference_mode(False), torch.enable_grad():
            x = x.clone()  # a tensor of inference mode cannot take part in a graph
            f = self.D(x)[1].detach()  # detached: it does not depend on z
            z = self.G.get_buffer("z_1").expand(len(x), -1).clone().requires_grad_()  # (n, z_dim)
            descent = torch.optim.Adam([z], lr=self.search_lr)
            for _ in range(self.search_steps):
                # The sum, because a mean would make the gradient of one query depend on how many there are.
                loss = self.weigh(*self.losses(x, f, z)).sum()
                # With respect to z alone: the search trains neither G nor D.
                (z.grad,) = torch.autograd.grad(loss, z)
                descent.step()
            return f, z.detach()

    # ------------------------------------------------------------------ using it

    def score_step(self, x: Tensor) -> Tensor:
        """Eq. 6 or one of its parts, at the end of the search: (n, c, h, w) -> (n,)."""
        residual, features = self.losses(x, *self.search(x))
        return {"both": self.weigh(residual, features), "residual": residual, "features": features}[
            self.scored_by
        ]

    def reconstruct(self, images: Any) -> np.ndarray:
        """The closest image that the search finds, in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.G(self.search(x)[1]), images)

    @torch.inference_mode()
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """n generated images in [-1, 1]: (n, c, h, w) float32."""
        normal = self.draw_latents(n, self.z_dim, seed)
        self._set_mode(training=False)
        # erf(t / sqrt(2)) makes a uniform number in (-1, 1) of a normal one.
        return self.G(torch.erf(normal / math.sqrt(2))).cpu().numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(1, "search_steps")
        self._check_at_least(2, "batch_size")
        require(self.search_lr > 0, f"expected search_lr to be positive, got {self.search_lr}")
        require(0 <= self.lambda_d <= 1, f"expected lambda_d to lie in [0, 1], got {self.lambda_d}")
