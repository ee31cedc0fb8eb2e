"""Y-GAN: an autoencoder with two encoders, one for semantic and one for residual information.

A reconstruction must contain everything, the irrelevant too, and an anomaly that shares the irrelevant parts
is reconstructed well. Y-GAN splits the code. A classifier of the normal sub-classes moves what distinguishes
them into z_s, and gradient reversal removes it from z_r, which holds the rest: the decoder needs both to
reconstruct the image. An image is anomalous when the classifier is not certain of its sub-class from z_s.

    Ivanovska and Struc, "Y-GAN: Learning Dual Data Representations for Anomaly Detection in Images", Expert
    Systems with Applications 248, 2024. https://arxiv.org/abs/2109.14020

    x --> E_s --> z_s --+---------------------> C --> sub-class           score = 1 - max p
     \\                  +--> Dec --> x_hat
      +-> E_r --> z_r --+---- reversed gradient --> C --> no sub-class
    x, x_hat --> Ds --> real?        Dec(z_s, z_r of another image) --> E_s --> z_s again?

The paper calls the decoder D. In this book D is a discriminator, so the decoder is called Dec.

What the paper leaves open, and how it is read here:

* L1 and squared L2 norms (Eq. 3, 4) are means over their elements, as in GANomaly, which has the same
  weights, 50 and 1. f (Eq. 4) is the 4x4 map before the discriminator's last convolution.
* Eq. 11 lists L_rec in the discriminator's loss too, where it has no gradient: it is left out.
* Who trains C? Section 3.2 updates "the Y-shaped auto-encoder" by Eq. 10 and Ds by Eq. 11, and names C
  nowhere. Here C learns from L_s and L_r, with the autoencoder's Adam.
* Which codes does the gradient of L_con reach? Section 3.1 says that it "penalizes the encoder E_s". Here
  nothing is detached: it reaches E_s by z_s and by the code of the hybrid, and Dec and E_r by the hybrid.
* Section 4.3 lists the activation before batch norm, "each convolutional layer" of the encoders, Ds up to its
  last layer, and Dec: `norm="after"`. By default batch norm comes before the activation, and the first and
  last layer have none, as in DCGAN and in the released code. There are no biases, and weights start as
  N(0, 0.02^2).
* The weight of the reversal follows Ganin and Lempitsky: 2 / (1 + exp(-10 p)) - 1, where p is the fraction of
  the training that is done after the current step.
* The classifier's hidden layer has a ReLU and PyTorch's initial weights. A shuffle may leave a z_r in its
  place. E_s's batch norm collects its running statistics from images and from hybrids, since both pass it.
* Prototypes (Eq. 16) are means of unit-length codes. For Eq. 17, k-means makes as many clusters as there
  are sub-classes. For labels from clustering, the number of clusters is chosen from 2 to `max_clusters`.

The released code differs, and each difference is a switch (`minigan.tables.ygan.RELEASED` has all of them):

* Eq. 4 compares with a detached x_hat, so L_adv does not train the generator. Ds is not frozen, and its
  gradients are set to zero before, not after: L_adv trains Ds, against L_bce (`detach_features`).
* Eq. 9 is 1 - |cos|, of 64 shuffles a step. The codes are detached before they are decoded, and each hybrid
  is rescaled from its own extremes to [-1, 1]. z_r has such a term, too (`consistency`, `shuffles`).
* Half of L_bce (`lambda_bce`); Ds starts again when that is below 1e-5 (`reset_below`); C has a leaky ReLU
  (`hidden_slope`); widths are not capped (`max_width`); always batch statistics (`batch_statistics`).

Not in this file: the ablations of Table 5, which are settings (`minigan.tables.ygan`); PlantVillage's
augmentations; what else the released code does: MNIST in three channels from -0.42 to 2.82, which tanh cannot
reach, a stepped learning rate, the best epoch on the test set, scores scaled by the extremes of the test set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real, unit_range
from minigan.checks import require
from minigan.models._subclasses import SubclassDetector, one_minus_confidence


class Prototypes(nn.Module):
    """Mean unit-length z_s of each sub-class, and of each cluster: (N, d); infinite where never computed."""

    classes: Tensor  # (N, d)
    clusters: Tensor  # (N, d)

    def __init__(self, n_classes: int, d: int):
        super().__init__()
        self.register_buffer("classes", torch.full((n_classes, d), torch.inf))
        self.register_buffer("clusters", torch.full((n_classes, d), torch.inf))


# ---------------------------------------------------------------------- losses


def L_rec(x: Tensor, x_hat: Tensor) -> Tensor:
    """Eq. 3: |x - x_hat|_1, averaged, (n, c, h, w) twice -> ()."""
    return F.l1_loss(x_hat, x)


def L_adv(f_x: Tensor, f_x_hat: Tensor) -> Tensor:
    """Eq. 4, feature matching: ||f(x) - f(x_hat)||_2^2, averaged, (n, w, 4, 4) twice -> ()."""
    return F.mse_loss(f_x_hat, f_x)


def L_bce(real: Tensor, fake: Tensor) -> Tensor:
    """Eq. 5: -log Ds(x) - log(1 - Ds(x_hat)), from raw outputs, (n,) twice -> ()."""
    return bce_real(real) + bce_fake(fake)


def L_con(z: Tensor, z_again: Tensor) -> Tensor:
    """Eq. 9: -cos(z_s, E_s(x_hat')), averaged, (n, d) twice -> () in [-1, 1]."""
    return -F.cosine_similarity(z, z_again).mean()


def released_L_con(z: Tensor, z_again: Tensor) -> Tensor:
    """The released code's Eq. 9: 1 - |cos(z, E(x_hat'))|, averaged, (n, d) twice -> () in [0, 1]."""
    return 1 - F.cosine_similarity(z, z_again).abs().mean()


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class YGAN(SubclassDetector):
    """Y-GAN on square images of 16 to 256 pixels, 1 or 3 channels, with sub-class labels.

    Defaults are the paper's (section 4.3). On a laptop, `width=16` takes seconds.

    `minigan methods YGAN` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {
        "L_rec": {"E_s", "E_r", "Dec"},
        "L_adv": {"E_s", "E_r", "Dec"},
        "L_s": {"E_s", "C"},
        "L_r": {"E_r", "C"},
        "L_con": {"E_s", "E_r", "Dec"},
        "L_bce": {"Ds"},
    }
    init_std: ClassVar = {"E_s": 0.02, "E_r": 0.02, "Dec": 0.02, "Ds": 0.02, "C": "pytorch"}

    #: Passes over the training images (200 for PlantVillage).
    epochs: int = 100
    batch_size: int = 64
    #: Dimensions of each of the codes z_s and z_r.
    z_dim: int = 100
    #: Units of the classifier's hidden layer.
    hidden: int = 30
    #: Weights of the losses in Eq. 10: the paper's lambda 1 to 5. 0 leaves a loss out (except L_rec).
    lambda_rec: float = 50.0
    lambda_adv: float = 1.0
    lambda_s: float = 1.0
    lambda_r: float = 1.0
    lambda_con: float = 50.0
    #: Weight of L_bce in Eq. 11, the paper's lambda 6; the released code has 0.5.
    lambda_bce: float = 1.0
    #: Learning rate and momentums of both Adams.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512
    #: Order of batch norm and activation: DCGAN's, or that of section 4.3, with batch norm in every layer.
    norm: Literal["before", "after"] = "before"
    #: "dual" encoders; "split": one encoder, its code split in two (B1); "single": its code is z_s (B2, B3).
    encoder: Literal["dual", "split", "single"] = "dual"
    #: The score (section 6.3); may be changed after `fit`, except to "weak_prototype". Calibrate again then.
    scored_by: Literal["softmax", "image", "latent", "semantic", "prototype", "weak_prototype", "entropy"] = (
        "softmax"
    )
    #: Consistency loss: Eq. 9, or that of the released code.
    consistency: Literal["paper", "released"] = "paper"
    #: Shuffles of z_r per step; the released code has 64.
    shuffles: int = 1
    #: Released code: L_adv trains Ds and not the generator.
    detach_features: bool = False
    #: Initialise Ds again when its weighted loss in a step falls below this (released code: 1e-5); 0 = never.
    reset_below: float = 0.0
    #: Negative slope of the activation in C's hidden layer: 0 is a ReLU; the released code has 0.01.
    hidden_slope: float = 0.0
    #: Released code: encoders and discriminator use batch statistics, also for scoring. For comparison only:
    #: a score then depends on the other images of its batch.
    batch_statistics: bool = False

    def training_labels(self, x: Tensor, y: Tensor | None) -> Tensor:
        y = super().training_labels(x, y)
        self.clusters_ = None
        if self.scored_by == "weak_prototype":  # Eq. 17 has weak labels of its own
            weak = y if self.labels == "cluster" else self.weak_labels(x, len(self.classes_))
            self.clusters_ = weak.unique(return_inverse=True)[1]
        return y

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (channels, size, self.width, self.max_width)
        d = self.z_dim if self.encoder == "dual" else 2 * self.z_dim
        d_s = 2 * self.z_dim if self.encoder == "single" else self.z_dim
        self.E_s = blocks.DCGANEncoder(d, *stack, norm=self.norm)
        if self.encoder == "dual":
            self.E_r = blocks.DCGANEncoder(d, *stack, norm=self.norm)
        self.Dec = blocks.DCGANGenerator(2 * self.z_dim, *stack, norm=self.norm)
        self.C = blocks.LatentClassifier(d_s, len(self.classes_), self.hidden, self.hidden_slope)
        self.prototypes = Prototypes(len(self.classes_), d_s)
        # The paper's "generator" is all of these together; only Ds has an optimiser of its own.
        encoders = [self.E_s, self.E_r] if self.encoder == "dual" else [self.E_s]
        generator = nn.ModuleList([*encoders, self.Dec, self.C, self.prototypes]).to(self.device_)
        self.opt_G = blocks.adam(generator.parameters(), self.lr, self.betas)
        if self.lambda_adv:
            self.Ds = blocks.FeatureDiscriminator(*stack, norm=self.norm).to(self.device_)
            self.opt_D = blocks.adam(self.Ds.parameters(), self.lr, self.betas)
        if self.batch_statistics:
            for name, network in self._networks().items():
                if name != "Dec":
                    blocks.forget_running_statistics_(network)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 1: (n, c, h, w) -> z_s and z_r, (n, d) each; z_r is (n, 0) with a single code."""
        if self.encoder == "dual":
            return self.E_s(x), self.E_r(x)
        z = self.E_s(x)
        return z.split(self.z_dim, dim=1) if self.encoder == "split" else (z, z[:, :0])

    def semantic(self, x: Tensor) -> Tensor:  # z_s alone: (n, c, h, w) -> (n, d)
        return self.E_s(x)[:, : self.z_dim] if self.encoder == "split" else self.E_s(x)

    def decode(self, z_s: Tensor, z_r: Tensor) -> Tensor:
        """Eq. 2: two codes, (n, d) each -> images (n, c, h, w) in [-1, 1]."""
        return self.Dec(torch.cat([z_s, z_r], dim=1))

    def reversal_weight(self) -> float:
        """lambda_R, the weight of the reversed gradient (Eq. 7): 2 / (1 + exp(-10 p)) - 1, from 0 to 1."""
        p = (self.epoch_ - 1 + (self.step_ + 1) / self.steps_per_epoch_) / self.epochs
        return 2 / (1 + math.exp(-10 * p)) - 1

    def consistency_loss(self, z_s: Tensor, z_r: Tensor) -> Tensor:
        """Eq. 9: L_con(z_s, E_s(x_hat')) for hybrids x_hat' = Dec(z_s, shuffled z_r). (n, d) twice -> ()."""
        total = z_s.new_zeros(())
        for _ in range(self.shuffles):
            order = torch.randperm(len(z_r), generator=self.rng_, device=z_r.device)
            if self.consistency == "paper":
                hybrid = self.decode(z_s, z_r[order])  # x_hat'
                total = total + L_con(z_s, self.semantic(hybrid))
            else:  # the released code has a second hybrid for z_r, made in the same way
                hybrid = 2 * unit_range(self.decode(z_s.detach(), z_r[order].detach())) - 1
                z_s_again, z_r_again = self.codes(hybrid)
                total = total + released_L_con(z_s, z_s_again) + released_L_con(z_r[order], z_r_again)
        return total / self.shuffles

    def branch(self) -> tuple[()] | None:
        return None if self.reset_below else ()  # it looks at a loss

    def training_step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Section 3.2 for one batch: images x, (b, c, h, w), and sub-classes y, (b,)."""
        z_s, z_r = self.codes(x)
        x_hat = self.decode(z_s, z_r)
        losses = {"L_rec": L_rec(x, x_hat)}  # Eq. 3
        if self.lambda_adv and self.detach_features:
            losses["L_adv"] = L_adv(self.Ds(x)[1], self.Ds(x_hat.detach())[1])  # no gradient passes to x_hat
        elif self.lambda_adv:
            with blocks.frozen(self.Ds):  # the gradient passes through Ds to x_hat, but must not train Ds
                losses["L_adv"] = L_adv(self.Ds(x)[1], self.Ds(x_hat)[1])  # Eq. 4
        if self.lambda_s:
            losses["L_s"] = F.cross_entropy(self.C(z_s), y)  # Eq. 6: -log C(z_s)_y
        if self.lambda_r and self.encoder != "single":
            # Eq. 7: reversed, the gradient trains C to classify z_r, and E_r to prevent it.
            z_reversed = blocks.reverse_gradient(z_r, self.live(self.reversal_weight))
            losses["L_r"] = F.cross_entropy(self.C(z_reversed), y)  # Eq. 8: -log C(z_r)_y
        if self.lambda_con and self.encoder != "single":
            losses["L_con"] = self.consistency_loss(z_s, z_r)  # Eq. 9
        weights = {"L_rec": self.lambda_rec, "L_adv": self.lambda_adv, "L_s": self.lambda_s}
        weights |= {"L_r": self.lambda_r, "L_con": self.lambda_con}
        # Eq. 10: lambda_1 L_rec + lambda_2 L_adv + lambda_3 L_s + lambda_4 L_r + lambda_5 L_con
        L_G = sum((weights[name] * loss for name, loss in losses.items()), start=x.new_zeros(()))
        self.opt_G.zero_grad()
        if self.lambda_adv:
            self.opt_D.zero_grad()  # here, because with `detach_features` L_adv has a gradient in Ds
        L_G.backward()
        self.opt_G.step()

        if self.lambda_adv:
            # Detached: Ds's loss must not train the generator.
            losses["L_bce"] = L_bce(self.Ds(x)[0], self.Ds(x_hat.detach())[0])  # Eq. 5
            L_D = self.lambda_bce * losses["L_bce"]  # Eq. 11: lambda_6 L_bce
            L_D.backward()
            self.opt_D.step()
            if self.reset_below and L_D.item() < self.reset_below:
                blocks.init_normal_(self.Ds)
        return losses

    def fit_statistics(self, x: Tensor, y: Tensor) -> None:
        """Prototypes (Eq. 16, 17): mean unit-length z_s of each sub-class and of each cluster."""
        z_s = self._map_batches(lambda x: F.normalize(self.semantic(x)), x)  # (n, d), of unit length
        for i in range(len(self.classes_)):
            self.prototypes.classes[i] = z_s[y.cpu() == i].mean(0)
            if self.clusters_ is not None:
                k = int(self.clusters_.max()) + 1  # if fewer than sub-classes, some clusters stand twice
                self.prototypes.clusters[i] = z_s[self.clusters_ == i % k].mean(0)

    # ------------------------------------------------------------------ using it

    def score_step(self, x: Tensor) -> Tensor:
        """The score chosen by `scored_by`: (n, c, h, w) -> (n,)."""
        if self.scored_by in ("softmax", "entropy"):  # E_s and C are enough
            logits = self.C(self.semantic(x))
            if self.scored_by == "softmax":
                return one_minus_confidence(logits)  # Eq. 12: 1 - max_i p_i
            return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)  # Eq. 18: -sum_i p_i log p_i
        if self.scored_by in ("prototype", "weak_prototype"):
            known = self.prototypes.classes if self.scored_by == "prototype" else self.prototypes.clusters
            require(
                not bool(known.isinf().any()),
                "expected prototypes of clusters, got none, because fit makes them only for this score; pass "
                "scored_by='weak_prototype' before fit",
            )
            z_s = F.normalize(self.semantic(x))
            return (z_s[:, None] - known).square().sum(2).amin(1)  # Eq. 16, 17: min_i ||z_s - prototype_i||^2
        z_s, z_r = self.codes(x)
        x_hat = self.decode(z_s, z_r)
        if self.scored_by == "image":
            return (x - x_hat).square().flatten(1).sum(1)  # Eq. 13: ||x - x_hat||^2
        z, z_hat = z_s, self.semantic(x_hat)
        if self.scored_by == "latent":
            z, z_hat = torch.cat([z_s, z_r], 1), torch.cat(self.codes(x_hat), 1)
        # Eq. 14, 15: ||z - z_hat||^2 of unit-length codes (section 6.3)
        return (F.normalize(z) - F.normalize(z_hat)).square().sum(1)

    def encode(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """Codes z_s and z_r of images: (n, d) float32 each."""
        z = self.map_batches(lambda x: torch.cat(self.codes(x), dim=1), images)
        d_s = self.prototypes.classes.shape[1]
        return z[:, :d_s], z[:, d_s:]

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat in [-1, 1] (Eq. 2): (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.decode(*self.codes(x)), images)

    def hybrid(self, semantic: Any, residual: Any) -> np.ndarray:
        """Hybrids Dec(z_s of one image, z_r of another) (Fig. 6a), pair by pair: (n, c, h, w)."""
        (z_s, _), (_, z_r) = self.encode(semantic), self.encode(residual)
        require(
            len(z_s) == len(z_r),
            f"expected as many semantic as residual images, got {len(z_s)} and {len(z_r)}; pass pairs",
        )
        return self._map_batches(self.Dec, torch.from_numpy(np.concatenate([z_s, z_r], axis=1))).numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(1, "hidden", "shuffles")
        self._check_at_least(0, "lambda_rec", "lambda_adv", "lambda_s", "lambda_r", "lambda_con")
        self._check_at_least(0, "lambda_bce", "reset_below", "hidden_slope")
        require(
            self.lambda_s > 0 or self.scored_by not in ("softmax", "entropy"),
            f"expected a score without the classifier, which lambda_s=0 leaves untrained, got scored_by="
            f"{self.scored_by!r}; pass scored_by='image' or another",
        )
