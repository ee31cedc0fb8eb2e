"""Deep SVDD and Deep SAD: a network that maps normal images close to one point, the centre of a sphere.

An encoder learns to map all normal images to a fixed centre. An image that it maps far away is an anomaly.
Deep SAD also takes labelled anomalies, and learns to map these away from the centre.

    Ruff, Vandermeulen, Goernitz, Deecke, Siddiqui, Binder, Mueller and Kloft, "Deep One-Class
    Classification", ICML 2018. https://proceedings.mlr.press/v80/ruff18a.html
    Ruff, Vandermeulen, Goernitz, Binder, Mueller, Mueller and Kloft, "Deep Semi-Supervised Anomaly
    Detection", ICLR 2020. https://arxiv.org/abs/1906.02694

    x --> phi --> decoder --> x_hat ~ x            pretraining; then the decoder is thrown away
    all x --> phi --> mean = c                     one pass, after which c never changes
    x --> phi --> ||phi(x) - c||^2                 small for normal images; Deep SAD: its reciprocal is small
                                                   for labelled anomalies

A network that maps every image to c has no loss and tells nothing. With a bias it learns to do just that
(Proposition 2), so phi has none, and c stays away from the origin (Proposition 1). A training that ends there
all the same is an error.

What the papers leave open, and how it is read here:

* Layers: both have LeNet-like networks for 28 and 32 pixels, on MNIST with 32 outputs. Here phi is DCGAN's
  encoder, which exists for all sizes, and the decoder DCGAN's generator. Batch norm's shifts would be biases,
  so its scales and shifts are left out.
* Each entry of c is at least 0.1 away from 0, as in the released code.
* Batch norm's running averages are collected in one pass before c is computed. Without pretraining they
  would still be 0 and 1 then, and phi would be another network than the one that is trained.
* The weight decay (lambda / 2) ||W||^2 is left to the optimiser, which gives the same gradient.
* Labels here name anomalies only: Deep SAD's labelled normal images, y = +1, have the loss of unlabelled
  ones for eta = 1. To the distance in a denominator 1e-6 is added, as in the released code.
* A batch of Deep SAD is drawn from all images: it has as many labelled anomalies as chance gives it.

What released code does differently: one version of Deep SVDD's has biases (CIFAR-10) and learned shifts
(MNIST), for which `biases` stands. Deep SAD's includes the labelled anomalies in the mean c, from which we
leave them out: `centre_from="all"`. Numbers of epochs, batch sizes and learning rates are those of the
commands for MNIST in the READMEs (of Deep SVDD also in the paper's first code, for Theano); we have not
compared them with the papers' text.

Not in this file: the soft-boundary objective (Eq. 3); contrast normalisation of the images, with which the
papers' results were measured; a given centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from minigan import blocks
from minigan.images import to_float
from minigan.neural import NeuralDetector

#: Each entry of the centre is at least this far from 0.
SMALLEST_ENTRY = 0.1
#: Outputs that differ from the centre by less, relative to its length, are equal to it: half the digits of
#: float32 are then used up by what all images have in common.
COLLAPSED = torch.finfo(torch.float32).eps ** 0.5


class Hypersphere(nn.Module):
    """Encoder phi and the centre c: (n, channels, size, size) -> phi(x), (n, d)."""

    c: Tensor  # (d,)

    def __init__(self, d: int, channels: int, size: int, width: int, max_width: int, biases: bool = False):
        super().__init__()
        self.encoder = blocks.DCGANEncoder(d, channels, size, width, max_width)
        if not biases:  # convolutions have none, so batch norm's shifts are the only ones
            for module in self.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.affine = False
                    module.register_parameter("weight", None)
                    module.register_parameter("bias", None)
        self.register_buffer("c", torch.zeros(d))

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def distance(self, x: Tensor) -> Tensor:
        """||phi(x) - c||^2: (n, channels, size, size) -> (n,)."""
        return (self(x) - self.c).square().sum(1)


def away_from_zero(c: Tensor) -> Tensor:
    """The centre with every entry at least 0.1 away from 0, signs kept, (d,) -> (d,).

    An output that has to be 0 is reached by weights of 0, whatever the image.
    """
    return torch.where(c < 0, c.clamp(max=-SMALLEST_ENTRY), c.clamp(min=SMALLEST_ENTRY))


@dataclass(kw_only=True, eq=False, repr=False)
class DeepSVDD(NeuralDetector):
    """Deep SVDD (one-class objective) on square images of 16 to 256 pixels, 1 or 3 channels.

    Defaults are those of the authors' command for MNIST. On a laptop, `width=16` with 30 epochs of each kind
    takes seconds on the digits.

    `minigan methods DeepSVDD` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {"L_svdd": {"phi"}}
    init_std: ClassVar = {"phi": 0.02}

    #: Passes over the training images after the pretraining.
    epochs: int = 150
    #: Of these, passes with the full learning rate; it is a tenth of it afterwards.
    search_epochs: int = 50
    #: Passes of the autoencoder that gives phi its first weights, and how many have the full learning rate;
    #: 0 starts from random weights.
    pretrain_epochs: int = 150
    pretrain_search_epochs: int = 50
    batch_size: int = 200
    #: Dimensions of phi(x).
    z_dim: int = 32
    #: Let batch norm learn scales and shifts. Its shifts are biases, with which phi may collapse (Prop. 2).
    biases: bool = False
    #: Learning rate and momentums of Adam.
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    #: Weight decay lambda, 1 / C for the C = 1e6 of the first code.
    weight_decay: float = 1e-6
    #: Channels of the layer next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        stack = (*blocks.check_size(image_shape), self.width, self.max_width)
        self.phi = Hypersphere(self.z_dim, *stack, biases=self.biases).to(self.device_)
        self.opt = self.adam(self.phi)

    def adam(self, *networks: nn.Module) -> torch.optim.Adam:
        weights = [p for network in networks for p in network.parameters()]
        betas = (float(self.betas[0]), float(self.betas[1]))
        return torch.optim.Adam(weights, self.lr, betas, weight_decay=self.weight_decay, fused=True)

    def set_rate(self, optimiser: torch.optim.Adam, epoch: int, search_epochs: int) -> None:
        """Two phases: the learning rate, and a tenth of it after `search_epochs`."""
        for group in optimiser.param_groups:
            group["lr"] = self.lr if epoch <= search_epochs else self.lr / 10

    # ------------------------------------------------------------------ before the first epoch

    def training_data(self, x: Tensor) -> Tensor:
        """Pretrain phi and fix the centre; the images (n, c, h, w) stay as they are."""
        if self.pretrain_epochs:
            self.pretrain(x)
        self.fix_centre(self.centred(x))
        return x

    def centred(self, x: Tensor) -> Tensor:
        """The images whose mean output is the centre: all of them."""
        return x

    def pretrain(self, x: Tensor) -> None:
        """Train phi as the encoder of an autoencoder, ||x - decoder(phi(x))||^2; the decoder is not kept."""
        stack = (*blocks.check_size(self.image_shape_), self.width, self.max_width)
        decoder = blocks.DCGANGenerator(self.z_dim, *stack).to(self.device_)
        optimiser = self.adam(self.phi, decoder)
        self.phi.train()
        for epoch in tqdm(range(1, self.pretrain_epochs + 1), "pretraining", disable=not self.progress):
            self.set_rate(optimiser, epoch, self.pretrain_search_epochs)
            order = torch.randperm(len(x), generator=self.rng_, device=self.device_).to(x.device)
            for chosen in order.split(self.batch_size):
                images = to_float(x[chosen], self.device_)
                loss = F.mse_loss(decoder(self.phi(images)), images)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

    @torch.no_grad()  # the centre is a constant: no loss trains the network through it
    def fix_centre(self, x: Tensor) -> None:
        """c: the mean of phi(x) in one pass over these images, with entries away from 0 (section 3.3)."""
        with blocks.collecting_statistics(self.phi):
            for part in x.split(self.batch_size):
                self.phi(to_float(part, self.device_))
        self.phi.c.copy_(away_from_zero(self._map_batches(self.phi, x).mean(0)))

    # ------------------------------------------------------------------ learning

    def start_epoch(self) -> None:
        self.set_rate(self.opt, self.epoch_, self.search_epochs)

    def branch(self) -> tuple[()]:
        return ()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Eq. 4 on a batch x, (b, c, h, w): minimise 1/b sum ||phi(x) - c||^2."""
        loss = self.phi.distance(x).mean()
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return {"L_svdd": loss}

    def fit_statistics(self, x: Tensor, y: Tensor | None) -> None:
        """Refuse a collapsed network, one that maps different images to the centre alike.

        The images of one scoring call are enough to see it.
        """
        some = x[: self.score_batch_size]
        farthest = self._map_batches(self.phi.distance, some).amax().sqrt()
        different = not bool((some == some[:1]).all())  # equal images have equal outputs, and rightly so
        if different and bool(farthest <= COLLAPSED * self.phi.c.norm().cpu()):
            raise FloatingPointError(
                "expected outputs that differ between images, got a collapsed network whose outputs all "
                f"equal the centre in epoch {self.epoch_}; train without biases, for fewer epochs, or with a "
                "smaller learning rate"
            )

    def score_step(self, x: Tensor) -> Tensor:
        """Eq. 5: ||phi(x) - c||^2, (n, c, h, w) -> (n,)."""
        return self.phi.distance(x)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "pretrain_epochs", "search_epochs", "pretrain_search_epochs", "weight_decay")


@dataclass(kw_only=True, eq=False, repr=False)
class DeepSAD(DeepSVDD):
    """Deep SAD on square images of 16 to 256 pixels, with or without labelled anomalies.

    Without any it is Deep SVDD. Defaults are those of the authors' command for MNIST.

    `minigan methods DeepSAD` lists all hyperparameters.
    """

    label_meaning: ClassVar = "anomalies"
    gradient_flow: ClassVar = {"L_normal": {"phi"}, "L_anomalies": {"phi"}}

    pretrain_search_epochs: int = 150
    batch_size: int = 128
    #: Weight of the labelled anomalies in Eq. 7.
    eta: float = 1.0
    #: Images whose mean output is the centre: those without a label "anomaly", or "all", as the code has it.
    centre_from: Literal["normal", "all"] = "normal"

    def training_labels(self, x: Tensor, y: Tensor | None) -> Tensor | None:
        self.is_normal_ = torch.ones(len(x), dtype=torch.bool) if y is None else y == 0  # for the centre
        return y

    def centred(self, x: Tensor) -> Tensor:
        """The images whose mean output is the centre, by `centre_from`."""
        return x if self.centre_from == "all" else x[self.is_normal_]

    def branch(self) -> None:
        return None  # the number of anomalies in a batch decides on shapes

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Eq. 7 on a batch x, (b, c, h, w): 1/b (sum of normal d + eta sum of anomalous 1/d), d as above."""
        d = self.phi.distance(x)
        anomalous = torch.zeros_like(d, dtype=torch.bool) if y is None else y == 1
        # Sums over b, not means over each kind: a batch may have no anomalies, and all images count alike.
        L_normal = d[~anomalous].sum() / len(x)
        L_anomalies = (1 / (d[anomalous] + 1e-6)).sum() / len(x)
        self.opt.zero_grad()
        (L_normal + self.eta * L_anomalies).backward()
        self.opt.step()
        return {"L_normal": L_normal, "L_anomalies": L_anomalies}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "eta")
