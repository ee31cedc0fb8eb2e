"""AGAD: reconstruct normal images well, and fail to reconstruct one's own reconstructions.

An autoencoder that learned to copy normal images often copies anomalies too: nobody told it not to. AGAD has
no anomalies to show, but it has something almost normal, its own reconstruction x_hat, and calls that a
pseudo-anomaly: the generator is to rebuild x from x, and to spoil x_hat when x_hat comes in. Where labelled
anomalies exist, it learns to spoil them too. The score is how far the reconstruction is from the image.

    Shi and Zhang, "AGAD: Adversarial Generative Anomaly Detection", 2023. https://arxiv.org/abs/2304.04211

    x --> G --> x_hat ---> G --> x_hat'          x ~ x_hat (L_con)      x_hat far from x_hat' (L_adcon)
    |             |
    +-----> D <---+   real or reconstructed? (L_adv)   z ~ z_hat, D's features of both (L_lat)
    labelled anomalies go the same way, with the reciprocals of these losses (Eq. 10)

What the paper leaves open, and how it is read here:

* "Details as in the original works" (Fig. 5): every node of the U-Nets is twice convolution, batch norm,
  ReLU, though the figure's own example has another order. 2x2 transposed convolutions go up (only then are
  there 7.76 and 9.04 million weights); tanh ends all.
* Table 7 read literally gives the naive generator a 2x2 bottleneck, GANomaly's, whose layers it has, 1x1:
  `bottleneck`. Both have the same weights.
* Widths and kernels of D are not given: 64 and 128 channels, 4x4 kernels of stride 2, and a 3x3 convolution
  as the "fully convolutional" classifier, averaged over the image. Weights N(0, 0.02^2) as in GANomaly.
* |.|_1 and |.|_2 in the losses are means of absolute and squared differences, as in GANomaly.
* L_adcon has no detach: x_hat as well as G(x_hat) may move apart.
* Eq. 10 for labelled anomalies compares x_hat with G(x_hat), Eq. 3 the anomaly x with its reconstruction.
  The default is Eq. 10; `anomaly_distance="x"` is Eq. 3. Line 9 of Algorithm 1 gives the adversarial loss
  another target than Eq. 10 does; Eq. 10 it is. Losses in a denominator are kept from 0 by adding 0.01.
* L_a and L_n (Eq. 11) are means over the anomalous and over the normal images of a batch, added.
* Normal and anomalous images of a batch share one pass through G, x_hat has its own. The running averages
  of batch norm take in both passes, and fit neither where L_adcon drives the two apart: on small data the
  score in evaluation mode suffers. `auxiliary_norms`, from section 6.2, keeps them apart.
* "At least 32 anomalies in each batch": their share of the training set, or 32 if that is more, drawn again
  and again where there are fewer. An epoch is one pass over the normal images.
* delta, the "threshold to reset theta_d", is used by no line of Algorithm 1. In GANomaly, the discriminator
  starts anew when its loss falls below 1e-5: `reset_below`, off by default.
* 35 epochs is where the curves of Fig. 6 end. Adam's momentums (0.5, 0.999) are GANomaly's.

Not in this file: scoring with batch statistics, as some code of this lineage does (`minigan.leaks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan import blocks
from minigan.detector import NeuralDetector, require
from minigan.losses import say_fake, say_real

# ---------------------------------------------------------------------- networks


class NaiveGenerator(nn.Sequential):
    """Encoder and decoder without skip connections (Table 7): (n, c, size, size) -> the same, in [-1, 1]."""

    def __init__(self, channels: int, size: int, width: int = 64, z_dim: int = 100, bottleneck: int = 1):
        of_image = {"channels": channels, "size": size, "width": width, "bottleneck": bottleneck}
        encoder = blocks.DCGANEncoder(z_dim, **of_image)  # -> (n, z_dim) or, with bottleneck 2, (n, 4 z_dim)
        super().__init__(encoder, blocks.DCGANGenerator(z_dim, **of_image))


class Discriminator(nn.Module):
    """Image to a raw number and its last feature map z: (n, c, h, w) -> (n,), (n, 2 width, h/4, w/4)."""

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
    """Eq. 5 for G: its reconstructions are to be called real. D's raw outputs (n,) -> ()."""
    return say_real(y_hat)


def L_con(x: Tensor, x_hat: Tensor) -> Tensor:
    """Eq. 6: an image and its reconstruction are alike. (n, c, h, w) twice -> ()."""
    return F.l1_loss(x_hat, x)


def L_lat(z: Tensor, z_hat: Tensor) -> Tensor:
    """Eq. 7: D's features of both are alike. (n, w, h/4, w/4) twice -> ()."""
    return F.mse_loss(z_hat, z)


def L_adcon(x_hat: Tensor, x_hat_again: Tensor) -> Tensor:
    """Eq. 8: a reconstruction and *its* reconstruction are not alike. (n, c, h, w) twice -> (), at most 0."""
    return -F.l1_loss(x_hat_again, x_hat)


def reciprocal(loss: Tensor) -> Tensor:
    """1 / loss, as Eq. 10 has it: minimising it makes a loss large. Finite at 0."""
    return 1 / (loss + 0.01)


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class AGAD(NeuralDetector):
    """AGAD on square images of 16 to 256 pixels, 1 or 3 channels, with or without labelled anomalies.

    Defaults are the paper's (section 4.2); on MNIST it uses `generator="naive"`. With `lambda_adcon=0` it is
    ADGAN (Cheng et al., 2020). On a laptop, `width=8` and small batches take seconds.
    """

    label_meaning: ClassVar = "anomalies"
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
    weight_spread: ClassVar = {"G": 0.02, "D": 0.02}

    #: Passes over the normal training images (Fig. 6).
    epochs: int = 35
    batch_size: int = 256
    #: Which generator (section 3.3.1, appendix A.2).
    generator: Literal["naive", "unet", "unet++"] = "unet++"
    #: Weights of the losses in Eq. 9 and 10. `lambda_adcon=0` leaves out the contextual adversarial loss.
    lambda_adv: float = 1.0
    lambda_con: float = 50.0
    lambda_adcon: float = 15.0
    lambda_lat: float = 5.0
    #: Labelled anomalies in a batch, at least, when there are any (section 3.3.2); half of a small batch.
    min_anomalies: int = 32
    #: What G is to spoil of a labelled anomaly: its reconstruction "x_hat" (Eq. 10), or itself, "x" (Eq. 3).
    anomaly_distance: Literal["x_hat", "x"] = "x_hat"
    #: G's second pass, over x_hat, has batch norms of its own, as in AdvProp (section 6.2).
    auxiliary_norms: bool = False
    #: In G, labelled anomalies and their copies are normalised with the running statistics and do not change
    #: them: how "switching off" batch norm for them (section 6.2, Table 5's "Freeze BN") is read here.
    freeze_norms: bool = False
    #: Start D anew when its loss in a step falls below this (GANomaly: 1e-5); 0 = never.
    reset_below: float = 0.0
    #: Learning rate and momentums of both Adams.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; None: 32 in the U-Nets, 64 in "naive" (the paper's) and in D.
    width: int | None = None
    #: Side of the naive generator's innermost map, 1 or 2; its channels.
    bottleneck: int = 1
    z_dim: int = 100

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
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
        """Normal images first, then labelled anomalies, as many in each batch (section 3.3.2)."""
        self.n_anomalies = 0
        if y is None or not bool(y.any()):
            return super().batches(n, y)
        normal, anomalous = (y == 0).nonzero()[:, 0], (y == 1).nonzero()[:, 0]
        share = round(self.batch_size_ * len(anomalous) / n)
        at_least = min(self.min_anomalies, self.batch_size_ // 2)  # or hardly a normal image would be left
        self.n_anomalies = min(max(share, at_least), self.batch_size_ - 1)
        each = min(self.batch_size_ - self.n_anomalies, len(normal))
        steps = len(normal) // each
        order = normal[self._shuffle(len(normal))].split(each)[:steps]
        rounds = -(-steps * self.n_anomalies // len(anomalous))  # as often as it takes
        drawn = torch.cat([anomalous[self._shuffle(len(anomalous))] for _ in range(rounds)])
        return [torch.cat(pair) for pair in zip(order, drawn.split(self.n_anomalies), strict=False)]

    def _shuffle(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self.rng_, device=self.device_)

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Algorithm 1 for one batch x, (b, c, h, w), whose last `n_anomalies` images are anomalies."""
        parts = [len(x) - self.n_anomalies, self.n_anomalies]
        x_hat = self.reconstruct_batch(x, parts)  # line 3
        # Without L_adcon the second pass only measures, and must leave no trace in the running averages.
        untouched = nullcontext() if self.lambda_adcon else blocks.running_norms(self.G)
        with blocks.auxiliary_norms(self.G), untouched:  # auxiliary norms: where it has any
            x_hat_again = self.reconstruct_batch(x_hat, parts)  # line 4
        with blocks.frozen(self.D):  # the gradient passes through D to G, but D does not learn to help G
            _, z = self.D(x)
            y_hat, z_hat = self.D(x_hat)
        (x_n, x_a), (x_hat_n, x_hat_a) = x.split(parts), x_hat.split(parts)
        (again_n, again_a), (y_hat_n, y_hat_a) = x_hat_again.split(parts), y_hat.split(parts)
        (z_n, z_a), (z_hat_n, z_hat_a) = z.split(parts), z_hat.split(parts)

        losses = {"L_adv": L_adv(y_hat_n), "L_con": L_con(x_n, x_hat_n)}  # line 6
        losses |= {"L_adcon": L_adcon(x_hat_n, again_n), "L_lat": L_lat(z_n, z_hat_n)}
        L_G = self.lambda_adv * losses["L_adv"] + self.lambda_con * losses["L_con"]  # Eq. 9
        L_G = L_G + self.lambda_adcon * losses["L_adcon"] + self.lambda_lat * losses["L_lat"]
        if self.n_anomalies:  # line 9
            spoilt = (x_a, x_hat_a) if self.anomaly_distance == "x" else (x_hat_a, again_a)
            adv, lat = reciprocal(L_adv(y_hat_a)), reciprocal(L_lat(z_a, z_hat_a))
            adcon = reciprocal(-L_adcon(*spoilt))
            L_a = self.lambda_adv * adv + self.lambda_adcon * adcon + self.lambda_lat * lat  # Eq. 10
            losses |= {"anomalies 1/L_adv": adv, "anomalies 1/L_adcon": adcon, "anomalies 1/L_lat": lat}
            L_G = L_G + L_a  # Eq. 11
        self.opt_G.zero_grad()
        L_G.backward()
        self.opt_G.step()  # line 12

        real, fake = self.D(x)[0], self.D(x_hat_n.detach())[0]  # to D a reconstruction is data, without G
        losses["L_d"] = say_real(real[: parts[0]]) + say_fake(fake)  # line 7
        if self.n_anomalies:
            losses["L_d"] = losses["L_d"] + say_fake(real[parts[0] :])  # line 10
        self.opt_D.zero_grad()
        losses["L_d"].backward()
        self.opt_D.step()  # line 13
        if self.reset_below and losses["L_d"].item() < self.reset_below:
            blocks.init_normal_(self.D)
        return losses

    def reconstruct_batch(self, x: Tensor, parts: Sequence[int]) -> Tensor:
        """G(x), in one pass, or with the anomalies apart where their batch norm is frozen."""
        if not (self.freeze_norms and self.n_anomalies):
            return self.G(x)
        normal, anomalous = x.split(parts)
        copies = self.G(normal)
        with blocks.running_norms(self.G):
            return torch.cat([copies, self.G(anomalous)])

    def score(self, x: Tensor) -> Tensor:
        """||x - G(x)||_2 (section 3.3.3): (n, c, h, w) -> (n,)."""
        return (x - self.G(x)).flatten(1).norm(dim=1)

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat in [-1, 1]: (n, c, h, w) float32."""
        return self.in_parts(lambda x: self.G(x), images)

    def anomaly_map(self, images: Any) -> np.ndarray:
        """|x - x_hat|, averaged over the channels: (n, h, w) float32 in [0, 2], larger = worse copied."""
        return self.in_parts(lambda x: (x - self.G(x)).abs().mean(1), images)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_choice("generator", "naive", "unet", "unet++")
        self._check_choice("anomaly_distance", "x_hat", "x")
        self._check_betas()
        self._check_at_least(0, "lambda_adv", "lambda_con", "lambda_adcon", "lambda_lat", "reset_below")
        self._check_at_least(1, "z_dim", "min_anomalies")
        self._check_at_least(2, "batch_size")
        require(self.bottleneck in (1, 2), f"bottleneck must be 1 or 2, got {self.bottleneck}")
        self._check_width()
