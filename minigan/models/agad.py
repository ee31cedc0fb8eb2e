"""AGAD: an autoencoder that reconstructs normal images well and its own reconstructions badly.

An autoencoder that learned to copy normal images often copies anomalies too: no loss forbids it. AGAD has no
anomalies to train on, but it has something almost normal, its own reconstruction x_hat, which it treats as a
pseudo-anomaly: the generator learns to reconstruct x, and to fail on x_hat. Where labelled anomalies exist,
it learns to fail on them too. The score is the distance between an image and its reconstruction.

    Shi and Zhang, "AGAD: Adversarial Generative Anomaly Detection", 2023. https://arxiv.org/abs/2304.04211

    x --> G --> x_hat ---> G --> x_hat'          x ~ x_hat (L_con)      x_hat far from x_hat' (L_adcon)
    |             |
    +-----> D <---+   real or reconstructed? (L_adv)   z ~ z_hat, D's features of both (L_lat)
    labelled anomalies go the same way, with the reciprocals of these losses (Eq. 10)

What the paper leaves open, and how it is read here:

* "Details as in the original works" (Fig. 5): every node of the U-Nets is convolution, batch norm and ReLU,
  twice, though the figure's own example has another order. Upsampling is by 2x2 transposed convolutions (only
  these give 7.76 and 9.04 million weights); the output activation is tanh.
* Table 7 read literally gives the naive generator a 2x2 bottleneck; GANomaly, whose layers it has, has 1x1:
  `bottleneck`. Both have the same number of weights.
* D is "a naive VGG-like classifier" (section 3.3.1): two blocks of convolution, batch norm, leaky ReLU, and a
  fully convolutional classifier. Widths, kernels and how it halves the image are not given. Here it is 64
  and 128 channels, 4x4 kernels of stride 2 as in GANomaly (VGG has 3x3 kernels and pooling), and a 3x3
  convolution, averaged over the image. Weights N(0, 0.02^2) as in GANomaly.
* |.|_1 and |.|_2 in the losses are means of absolute and squared differences, as in GANomaly.
* L_adcon has no detach: it changes x_hat as well as G(x_hat).
* For labelled anomalies, Eq. 10 compares x_hat with G(x_hat), and Eq. 3 the anomaly x with its
  reconstruction. The default is Eq. 10; `anomaly_distance="x"` is Eq. 3. Line 9 of Algorithm 1 and Eq. 10
  give the adversarial loss different targets; we follow Eq. 10. Adding 0.01 keeps losses in a denominator
  away from 0.
* L_a and L_n (Eq. 11) are means over the anomalous and over the normal images of a batch, added.
* Normal and anomalous images of a batch share one pass through G; x_hat has a second one. In training each
  pass is normalised by its own statistics. Running averages over both passes would fit neither, because
  L_adcon drives the two apart, and the score passes x alone: so the averages are those of x. The other way
  is `average_both_passes`. `auxiliary_norms`, from section 6.2, also learns scales and shifts for each.
* "At least 32 anomalies in each batch": as many as their fraction of the training set gives, or 32 if that is
  more, repeated where there are fewer. An epoch is one pass over the normal images.
* delta, the "threshold to reset theta_d", is used by no line of Algorithm 1. GANomaly re-initialises the
  discriminator when its loss falls below 1e-5: `reset_below`, off by default.
* The paper gives no number of epochs. 35 is the last label on the axis of Fig. 6. Adam's momentums (0.5,
  0.999) are GANomaly's.

Not in this file: scoring with batch statistics, as some code of this lineage does (`minigan.leaks`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real
from minigan.neural import NeuralDetector

# ---------------------------------------------------------------------- networks


class NaiveGenerator(nn.Sequential):
    """Encoder-decoder without skip connections (Table 7): (n, c, size, size) -> the same, in [-1, 1]."""

    def __init__(self, channels: int, size: int, width: int = 64, z_dim: int = 100, bottleneck: int = 1):
        stack = (z_dim, channels, size, width)
        encoder = blocks.DCGANEncoder(*stack, bottleneck=bottleneck)  # -> (n, bottleneck^2 z_dim)
        super().__init__(encoder, blocks.DCGANGenerator(*stack, bottleneck=bottleneck))


class Discriminator(nn.Module):
    """Discriminator: (n, c, h, w) -> raw outputs (n,) and its last feature map z, (n, 2 width, h/4, w/4)."""

    def __init__(self, channels: int, width: int = 64):
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside in ((channels, width), (width, 2 * width)):
            layers += [nn.Conv2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside)]
            layers.append(nn.LeakyReLU(0.2))
        self.features = nn.Sequential(*layers)
        self.classify = nn.Conv2d(2 * width, 1, 3, padding=1)
        blocks.init_normal_(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.features(x)
        return self.classify(z).mean((1, 2, 3)), z


# ---------------------------------------------------------------------- losses


def L_adv(y_hat: Tensor) -> Tensor:
    """Eq. 5 for G: -log D(x_hat), from D's raw outputs, (n,) -> ()."""
    return bce_real(y_hat)


def L_con(x: Tensor, x_hat: Tensor) -> Tensor:
    """Eq. 6, contextual loss: |x - x_hat|_1, (n, c, h, w) twice -> ()."""
    return F.l1_loss(x_hat, x)


def L_lat(z: Tensor, z_hat: Tensor) -> Tensor:
    """Eq. 7, latent loss: |z - z_hat|_2 of D's features, (n, w, h/4, w/4) twice -> ()."""
    return F.mse_loss(z_hat, z)


def L_adcon(x_hat: Tensor, x_hat_again: Tensor) -> Tensor:
    """Eq. 8, contextual adversarial loss: -|x_hat - G(x_hat)|_1, (n, c, h, w) twice -> (), at most 0."""
    return -F.l1_loss(x_hat_again, x_hat)


def reciprocal(loss: Tensor) -> Tensor:
    """1 / (loss + 0.01), for Eq. 10: minimising it makes the loss large, and it is finite at 0."""
    return 1 / (loss + 0.01)


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class AGAD(NeuralDetector):
    """AGAD on square images of 16 to 256 pixels, 1 or 3 channels, with or without labelled anomalies.

    Defaults are the paper's (section 4.2), which uses `generator="naive"` on MNIST. With `lambda_adcon=0`,
    Skip-GANomaly's losses on UNet++ are left: the class `ADGAN`. On a laptop, `width=8` and small batches
    take seconds.

    `minigan methods AGAD` lists all hyperparameters.
    """

    label_meaning: ClassVar[Literal["anomalies", "ignored"]] = "anomalies"
    gradient_flow: ClassVar = {
        "L_adv": {"G"},
        "L_con": {"G"},
        "L_adcon": {"G"},
        "L_lat": {"G"},
        "anomalies 1/L_adv": {"G"},
        "anomalies 1/L_adcon": {"G"},
        "anomalies 1/L_lat": {"G"},
        "L_d": {"D"},
    }
    init_std: ClassVar = {"G": 0.02, "D": 0.02}

    #: Passes over the normal training images; the last label on the axis of Fig. 6.
    epochs: int = 35
    batch_size: int = 256
    #: Which generator (section 3.3.1, appendix A.2).
    generator: Literal["naive", "unet", "unet++"] = "unet++"
    #: Weights of the losses in Eq. 9 and 10. `lambda_adcon=0` leaves out the contextual adversarial loss.
    lambda_adv: float = 1.0
    lambda_con: float = 50.0
    lambda_adcon: float = 15.0
    lambda_lat: float = 5.0
    #: Smallest number of labelled anomalies in a batch, if there are any (section 3.3.2); at most half of it.
    min_anomalies: int = 32
    #: What G must reconstruct badly: a labelled anomaly's reconstruction "x_hat" (Eq. 10) or itself, "x" (Eq.
    #: 3).
    anomaly_distance: Literal["x_hat", "x"] = "x_hat"
    #: Batch norm's running averages in G include the second pass, over x_hat, as they do when nothing is done
    #: about it. False: they are those of x alone, as in scoring.
    average_both_passes: bool = False
    #: G's second pass, over x_hat, uses batch norms of its own, as in AdvProp (section 6.2).
    auxiliary_norms: bool = False
    #: In G, labelled anomalies and their reconstructions are normalised with the running statistics and do
    #: not change them: our reading of "switching off" batch norm for them (section 6.2, "Freeze BN" in Table
    #: 5).
    freeze_norms: bool = False
    #: Re-initialise D when its loss in a step falls below this (GANomaly: 1e-5); 0 = never.
    reset_below: float = 0.0
    #: Learning rate and momentums of both Adams.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; None: 32 in the U-Nets, 64 in "naive" (the paper's) and in D.
    width: int | None = None
    #: Side of the naive generator's innermost map.
    bottleneck: Literal[1, 2] = 1
    #: Channels of the naive generator's innermost map.
    z_dim: int = 100

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        self.G: nn.Module
        if self.generator == "naive":
            self.G = NaiveGenerator(channels, size, self.width or 64, self.z_dim, self.bottleneck)
        else:
            network = blocks.UNet if self.generator == "unet" else blocks.UNetPlusPlus
            self.G = network(channels, self.width or 32)
        if self.auxiliary_norms:
            blocks.add_auxiliary_norms_(self.G)
        self.G.to(self.device_)
        self.D = Discriminator(channels, self.width or 64).to(self.device_)
        self.opt_G = blocks.adam(self.G.parameters(), self.lr, self.betas)
        self.opt_D = blocks.adam(self.D.parameters(), self.lr, self.betas)

    def batches(self, n: int, y: Tensor | None) -> Sequence[Tensor]:
        """Batches of normal images and then equally many labelled anomalies in each (section 3.3.2)."""
        self.n_anomalies = 0
        if y is None or not bool(y.any()):
            return super().batches(n, y)
        normal, anomalous = (y == 0).nonzero()[:, 0], (y == 1).nonzero()[:, 0]
        in_proportion = round(self.batch_size_ * len(anomalous) / n)
        at_least = min(self.min_anomalies, self.batch_size_ // 2)  # so that normal images are left
        self.n_anomalies = min(max(in_proportion, at_least), self.batch_size_ - 1)
        each = min(self.batch_size_ - self.n_anomalies, len(normal))
        steps = len(normal) // each
        order = normal[self._shuffle(len(normal))].split(each)[:steps]
        rounds = math.ceil(steps * self.n_anomalies / len(anomalous))
        drawn = torch.cat([anomalous[self._shuffle(len(anomalous))] for _ in range(rounds)])
        return [torch.cat(pair) for pair in zip(order, drawn.split(self.n_anomalies), strict=False)]

    def _shuffle(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self.rng_, device=self.device_)

    def branch(self) -> int | None:
        """The labelled anomalies in a batch. None where D may be re-initialised: that looks at its loss."""
        return None if self.reset_below else self.n_anomalies

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Algorithm 1 for one batch x, (b, c, h, w), whose last `n_anomalies` images are anomalies."""
        parts = [len(x) - self.n_anomalies, self.n_anomalies]
        x_hat = self.reconstruct_batch(x, parts)  # line 3
        with blocks.auxiliary_norms(self.G), self.second_pass():
            x_hat_again = self.reconstruct_batch(x_hat, parts)  # line 4
        with blocks.frozen(self.D):  # the gradient passes through D to G, but must not train D
            _, z = self.D(x)
            y_hat, z_hat = self.D(x_hat)
        (x_n, x_a), (x_hat_n, x_hat_a) = x.split(parts), x_hat.split(parts)
        (again_n, again_a), (y_hat_n, y_hat_a) = x_hat_again.split(parts), y_hat.split(parts)
        (z_n, z_a), (z_hat_n, z_hat_a) = z.split(parts), z_hat.split(parts)

        losses = {"L_adv": L_adv(y_hat_n), "L_con": L_con(x_n, x_hat_n)}  # line 6
        losses |= {"L_adcon": L_adcon(x_hat_n, again_n), "L_lat": L_lat(z_n, z_hat_n)}
        # Eq. 9: L_n = lambda_adv L_adv + lambda_con L_con + lambda_adcon L_adcon + lambda_lat L_lat
        L_G = self.lambda_adv * losses["L_adv"] + self.lambda_con * losses["L_con"]
        L_G = L_G + self.lambda_adcon * losses["L_adcon"] + self.lambda_lat * losses["L_lat"]
        if self.n_anomalies:  # line 9
            compared = (x_a, x_hat_a) if self.anomaly_distance == "x" else (x_hat_a, again_a)
            adv, lat = reciprocal(L_adv(y_hat_a)), reciprocal(L_lat(z_a, z_hat_a))
            adcon = reciprocal(-L_adcon(*compared))
            # Eq. 10: L_a = lambda_adv / L_adv - lambda_adcon / L_adcon + lambda_lat / L_lat
            L_a = self.lambda_adv * adv + self.lambda_adcon * adcon + self.lambda_lat * lat
            losses |= {"anomalies 1/L_adv": adv, "anomalies 1/L_adcon": adcon, "anomalies 1/L_lat": lat}
            L_G = L_G + L_a  # Eq. 11: L_n + L_a
        self.opt_G.zero_grad()
        L_G.backward()
        self.opt_G.step()  # line 12

        real, fake = self.D(x)[0], self.D(x_hat_n.detach())[0]  # detached: L_d must not train G
        losses["L_d"] = bce_real(real[: parts[0]]) + bce_fake(fake)  # line 7
        if self.n_anomalies:
            losses["L_d"] = losses["L_d"] + bce_fake(real[parts[0] :])  # line 10
        self.opt_D.zero_grad()
        losses["L_d"].backward()
        self.opt_D.step()  # line 13
        if self.reset_below and losses["L_d"].item() < self.reset_below:
            blocks.init_normal_(self.D)
        return losses

    def reconstruct_batch(self, x: Tensor, parts: Sequence[int]) -> Tensor:
        """G(x): in one pass, or in two where batch norm is frozen for the anomalies (`freeze_norms`)."""
        if not (self.freeze_norms and self.n_anomalies):
            return self.G(x)
        normal, anomalous = x.split(parts)
        copies = self.G(normal)
        with blocks.running_norms(self.G):
            return torch.cat([copies, self.G(anomalous)])

    def second_pass(self) -> AbstractContextManager[None]:
        """Which statistics normalise x_hat in G, and whether the running ones change."""
        if not self.lambda_adcon:  # the pass only measures
            return blocks.running_norms(self.G)
        shares = not (self.auxiliary_norms or self.average_both_passes)
        return blocks.unchanged_statistics(self.G) if shares else nullcontext()

    def score_step(self, x: Tensor) -> Tensor:
        """||x - G(x)||_2 (section 3.3.3): (n, c, h, w) -> (n,)."""
        return (x - self.G(x)).flatten(1).norm(dim=1)

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.G(x), images)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "lambda_adv", "lambda_con", "lambda_adcon", "lambda_lat", "reset_below")
        self._check_at_least(1, "min_anomalies")
        self._check_at_least(2, "batch_size")


@dataclass(kw_only=True, eq=False, repr=False)
class ADGAN(AGAD):
    """ADGAN as AGAD without its contextual adversarial loss: Skip-GANomaly's losses on UNet++, no labels.

    Cheng, Liu, Gao and Chen, "ADGAN: A Scalable GAN-based Architecture for Image Anomaly Detection", ITNEC
    2020, https://doi.org/10.1109/itnec48623.2020.9085163. AGAD's paper compares with it, and says of it only
    that it gave GANomaly a UNet++. We have not read Cheng's paper, so this is our understanding and not a
    reproduction: everything but `lambda_adcon` is as in `AGAD`, whose ablation it is. Deecke et al. (2018)
    call another method ADGAN, one that searches latents as AnoGAN does.

    `minigan methods ADGAN` lists all hyperparameters; those for labelled anomalies have no effect.
    """

    label_meaning: ClassVar = "ignored"
    gradient_flow: ClassVar = {
        name: AGAD.gradient_flow[name] for name in ("L_adv", "L_con", "L_adcon", "L_lat", "L_d")
    }

    #: 0: L_adcon is measured and not minimised.
    lambda_adcon: float = 0.0
