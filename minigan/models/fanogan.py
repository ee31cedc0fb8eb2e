"""f-AnoGAN: the fast AnoGAN, a Wasserstein GAN and then an encoder, which replaces the search for each query.

AnoGAN searches for the closest image that its generator can draw, which takes hundreds of steps for every
query. f-AnoGAN trains an encoder that finds it in one: first a GAN on normal images, then, with the GAN
frozen, an encoder for which G(E(x)) looks like x, to the eye and to the critic.

    Schlegl, Seeboeck, Waldstein, Langs and Schmidt-Erfurth, "f-AnoGAN: Fast unsupervised anomaly detection
    with generative adversarial networks", Medical Image Analysis 54, 2019.
    https://doi.org/10.1016/j.media.2019.01.010

    z ~ N(0, I) --> G --> fake ----+
                    training image +--> D --> how real?          (first: WGAN-GP trains G and D)
    x --> E --> z --> G --> x_hat ~ x,  D's features f(x_hat) ~ f(x)     (then: izi_f trains E alone)

What the paper leaves open, and how it is read here:

* Layers: the paper's networks are residual, for 64x64 pixels; here they are DCGAN's, for 16 to 256. The
  critic has layer norm where DCGAN has batch norm, as the released one: the gradient penalty is a number for
  each image, and batch norm would mix them. Its output has no bias, which cancels in the loss of a WGAN.
* The training is counted in epochs, of which the last `encoder_epochs` train E. As in released code, an epoch
  of the GAN has as many steps of G as there are batches of images, and `n_critic` steps of D for each, with
  images of their own.
* Until the encoder's epochs begin, E is untrained, and so is a score: that of a validation, or of an
  interrupted training. The running average of all weights includes E's early ones.
* f is D's last map, of 4x4 pixels. G normalises with its running averages while E is trained, as in scoring.

What released code does differently: its encoder ends without the tanh that the paper describes
(`code_activation="none"`).

Not in this file: the residual networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from minigan import blocks
from minigan.blocks.losses import gradient_penalty
from minigan.checks import require
from minigan.neural import NeuralDetector

# ---------------------------------------------------------------------- networks


class Critic(nn.Module):
    """Critic of the WGAN: (n, c, size, size) -> raw outputs (n,) and features f, (n, last width, 4, 4).

    It has layer norm, so that an output never depends on the other images of a batch.
    """

    def __init__(self, channels: int, size: int, width: int = 64, max_width: int = 512):
        super().__init__()
        layers: list[nn.Module] = []
        inside = channels
        for i, outside in enumerate(blocks.dcgan_widths(size, width, max_width)):
            layers.append(nn.Conv2d(inside, outside, 4, 2, 1, bias=i == 0))
            layers += [nn.GroupNorm(1, outside)] if i else []  # one group: layer norm over all channels
            layers.append(nn.LeakyReLU(0.2))
            inside = outside
        self.features = nn.Sequential(*layers)
        self.judge = nn.Sequential(nn.Conv2d(inside, 1, 4, bias=False), nn.Flatten(0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f = self.features(x)
        return self.judge(f), f


# ---------------------------------------------------------------------- losses


def mean_square(a: Tensor, b: Tensor) -> Tensor:
    """1/n ||a - b||^2 for each pair, n the numbers in one: (b, ...) twice -> (b,)."""
    return (a - b).square().flatten(1).mean(1)


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class FAnoGAN(NeuralDetector):
    """f-AnoGAN on square images of 16 to 256 pixels, 1 or 3 channels.

    Defaults are the paper's and the released code's, except for the numbers of epochs: there 7 of the GAN and
    50,000 steps of the encoder, on a million image patches. Here the images are fewer, and the epochs more.

    `minigan methods FAnoGAN` lists all hyperparameters.
    """

    adjustable: ClassVar = NeuralDetector.adjustable | {"kappa"}
    gradient_flow: ClassVar = {"loss_D": {"D"}, "loss_G": {"G"}, "loss_E": {"E"}}
    init_std: ClassVar = {"G": 0.02, "D": "pytorch", "E": 0.02}

    #: Passes over the training images in all: first of the GAN, then `encoder_epochs` of the encoder.
    epochs: int = 200
    encoder_epochs: int = 100
    #: Dimensions of z.
    z_dim: int = 128
    #: Steps of the critic for each one of the generator.
    n_critic: int = 5
    #: Weight of the gradient penalty.
    lambda_gp: float = 10.0
    #: What E learns from: latents and their images' codes ("ziz"), images and their reconstructions
    #: ("izi"), or these and D's features of both ("izi_f").
    encoder_loss: Literal["izi_f", "izi", "ziz"] = "izi_f"
    #: Weight of D's features in the loss of izi_f and in the score.
    kappa: float = 1.0
    #: What follows E's last layer: the paper's tanh, or nothing, as in the released settings.
    code_activation: Literal["tanh", "none"] = "tanh"
    #: The score: the paper's, of images and features ("both"), the residual of the images alone ("residual"),
    #: or the distance between the code of the image and that of its reconstruction ("latent", measured by
    #: released code). May be changed after `fit`; calibrate again then.
    scored_by: Literal["both", "residual", "latent"] = "both"
    #: Learning rate and momentums of the GAN's Adams.
    lr: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.9)
    #: Learning rate of the encoder's RMSProp.
    lr_E: float = 5e-5
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (channels, size, self.width, self.max_width)
        self.G = blocks.DCGANGenerator(self.z_dim, *stack).to(self.device_)
        self.D = Critic(*stack).to(self.device_)
        self.E = blocks.DCGANEncoder(self.z_dim, *stack)
        if self.code_activation == "tanh":
            self.E.append(nn.Tanh())
        self.E.to(self.device_)
        self.opt_G = blocks.adam(self.G.parameters(), self.lr, self.betas)
        self.opt_D = blocks.adam(self.D.parameters(), self.lr, self.betas)
        self.opt_E = torch.optim.RMSprop(self.E.parameters(), self.lr_E)

    # ------------------------------------------------------------------ the two phases

    def encoding(self) -> bool:
        """Whether this epoch trains the encoder, and no longer the GAN."""
        return self.epoch_ > self.epochs - self.encoder_epochs

    def start_epoch(self) -> None:
        if self.encoding():
            self.G.eval()  # frozen: neither its weights nor its running averages change

    def batches(self, n: int, y: Tensor | None) -> Sequence[Tensor]:
        """One epoch's batches; in the GAN's phase each is for `n_critic` steps of the critic and one of G."""
        usual = super().batches(n, y)
        if self.encoding():
            return usual
        needed = len(usual) * self.n_critic * self.batch_size_
        order = torch.cat(list(usual))
        while len(order) < needed:
            order = torch.cat([order, *super().batches(n, y)])
        return order.split(self.n_critic * self.batch_size_)

    def branch(self) -> bool:
        return self.encoding()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """One step of the encoder on x, or `n_critic` steps of D on parts of it and one of G."""
        if self.encoding():
            with blocks.frozen(self.G, self.D):  # E's loss passes through G and D, and trains neither
                loss_E = self.loss_E(x)
            self.opt_E.zero_grad()
            loss_E.backward()
            self.opt_E.step()
            return {"loss_E": loss_E}
        losses = []
        for real in x.chunk(self.n_critic):
            with torch.no_grad():  # D's loss must not train G
                fake = self.G(self.latents(len(real)))
            losses.append(self.loss_D(real, fake))
            self.opt_D.zero_grad()
            losses[-1].backward()
            self.opt_D.step()
        with blocks.frozen(self.D):  # the gradient passes through D to G, but must not train D
            loss_G = -self.criticise(self.G(self.latents(len(real)))).mean()
        self.opt_G.zero_grad()
        loss_G.backward()
        self.opt_G.step()
        return {"loss_D": torch.stack(losses).mean(), "loss_G": loss_G}

    def latents(self, n: int) -> Tensor:
        """z ~ N(0, I): (n, z_dim)."""
        return torch.randn(n, self.z_dim, generator=self.rng_, device=self.device_)

    def criticise(self, x: Tensor) -> Tensor:
        """D's raw outputs: (n, c, h, w) -> (n,)."""
        return self.D(x)[0]

    def loss_D(self, real: Tensor, fake: Tensor) -> Tensor:
        """WGAN-GP: E[D(fake)] - E[D(real)] + lambda_gp * gradient penalty. (b, c, h, w) twice -> ()."""
        penalty = gradient_penalty(self.criticise, real, fake, self.rng_)
        return self.criticise(fake).mean() - self.criticise(real).mean() + self.lambda_gp * penalty

    def loss_E(self, x: Tensor) -> Tensor:
        """The loss chosen by `encoder_loss`, averaged over images x. (b, c, h, w) -> ()."""
        if self.encoder_loss == "ziz":
            z = self.latents(len(x))
            return mean_square(z, self.E(self.G(z))).mean()  # L_ziz: 1/d ||z - E(G(z))||^2
        x_hat = self.G(self.E(x))
        residual = mean_square(x, x_hat)  # L_izi: 1/n ||x - G(E(x))||^2
        if self.encoder_loss == "izi":
            return residual.mean()
        # L_izi_f: L_izi + kappa 1/n_d ||f(x) - f(G(E(x)))||^2
        return (residual + self.kappa * mean_square(self.D(x)[1], self.D(x_hat)[1])).mean()

    # ------------------------------------------------------------------ using it

    def score_step(self, x: Tensor) -> Tensor:
        """The score chosen by `scored_by`: (n, c, h, w) -> (n,)."""
        z_hat = self.E(x)
        x_hat = self.G(z_hat)
        if self.scored_by == "latent":
            return mean_square(z_hat, self.E(x_hat))
        residual = mean_square(x, x_hat)
        if self.scored_by == "residual":
            return residual
        # A(x) = A_R(x) + kappa A_D(x): L_izi_f of each image
        return residual + self.kappa * mean_square(self.D(x)[1], self.D(x_hat)[1])

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat = G(E(x)) in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.G(self.E(x)), images)

    @torch.inference_mode()
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """n generated images in [-1, 1]: (n, c, h, w) float32."""
        z = self.draw_latents(n, self.z_dim, seed)
        self._set_mode(training=False)
        return self.G(z).cpu().numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "lambda_gp", "kappa")
        self._check_at_least(1, "encoder_epochs", "n_critic")
        self._check_at_least(2, "batch_size")
        require(
            self.encoder_epochs < self.epochs,
            f"expected encoder_epochs to be fewer than epochs, {self.epochs}, so that the GAN is trained "
            f"first, got {self.encoder_epochs}; raise epochs",
        )
