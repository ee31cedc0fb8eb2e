"""Y-GAN: two encoders, one for what an image shows and one for how it shows it.

A reconstruction must keep everything, the irrelevant too, and an anomaly that shares the irrelevant parts is
reconstructed well. Y-GAN splits the code. A classifier of the normal sub-classes pulls what they differ in
into z_s, and gradient reversal pushes it out of z_r, which keeps the rest: a decoder needs both to rebuild
the image. An image is anomalous when the classifier cannot say from z_s which sub-class it belongs to.

    Ivanovska and Struc, "Y-GAN: Learning Dual Data Representations for Anomaly Detection in Images", Expert
    Systems with Applications 248, 2024. https://arxiv.org/abs/2109.14020

    x --> E_s --> z_s --+---------------------> C --> sub-class           score = 1 - max p
     \\                  +--> Dec --> x_hat
      +-> E_r --> z_r --+---- reversed gradient --> C --> no sub-class
    x, x_hat --> Ds --> real?        Dec(z_s, z_r of another image) --> E_s --> z_s again?

The paper calls the decoder D. In this book D is a discriminator's letter, so the decoder is called Dec.

What the paper leaves open, and how it is read here:

* L1 and squared L2 norms (Eq. 3, 4) are means over their elements, as in GANomaly, which has the same
  weights, 50 and 1. f (Eq. 4) is the 4x4 map before the discriminator's last convolution.
* Eq. 11 lists L_rec in the discriminator's loss too, where it has no gradient: it is left out.
* Section 4.3 puts batch norm behind the activation; here it stands before it, as in DCGAN. None in the
  first and last layer of the encoders, no biases, weights N(0, 0.02^2), as there.
* The weight of the reversal follows Ganin and Lempitsky: 2 / (1 + exp(-10 p)) - 1, where p is the share of
  the training done with the running step.
* The classifier's hidden layer has a ReLU; PyTorch's initial weights. A shuffle may leave a z_r in its place.
  E_s's batch norm collects its running statistics from images and from hybrids, since both pass it.
* Prototypes (Eq. 16) are means of unit-length codes. For Eq. 17, k-means makes as many clusters as there
  are sub-classes. The range in which the number of clusters is looked for: 2 to `max_clusters`.
* Released code: the features of Eq. 4 come from a detached x_hat, so this loss reaches no part of the
  generator (`detach_features`). Eq. 9 is 1 - |cos| over 64 shuffles a step, with a second such term for z_r
  (`consistency="released", shuffles=64`). Batch statistics always (`batch_statistics`).

Not in this file: PlantVillage's augmentations; the released code's stepped learning rate, its choice of the
best epoch on the test set, and its scaling of scores by the test set's extremes.
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
from minigan.detector import require
from minigan.losses import say_fake, say_real
from minigan.subclasses import SubclassDetector, one_minus_confidence

SCORES = ("softmax", "image", "latent", "semantic", "prototype", "weak_prototype", "entropy")
#: The ablations of Table 5: `YGAN(**ABLATIONS["A1"])`.
ABLATIONS: dict[str, dict[str, Any]] = {
    "A1": {"lambda_con": 0.0},
    "A2": {"lambda_r": 0.0},
    "A3": {"lambda_r": 0.0, "lambda_con": 0.0},
    "B1": {"encoder": "split"},
    "B2": {"encoder": "single"},
    "B3": {"encoder": "single", "lambda_s": 0.0, "scored_by": "image"},
    "B4": {"lambda_adv": 0.0},
}


class Prototypes(nn.Module):
    """Mean unit-length z_s of each sub-class, and of each cluster: (N, d); infinite where never computed."""

    def __init__(self, n_classes: int, d: int):
        super().__init__()
        self.register_buffer("classes", torch.full((n_classes, d), torch.inf))
        self.register_buffer("clusters", torch.full((n_classes, d), torch.inf))


# ---------------------------------------------------------------------- losses


def L_rec(x: Tensor, x_hat: Tensor) -> Tensor:
    """Eq. 3: mean absolute difference of images, (n, c, h, w) twice -> ()."""
    return F.l1_loss(x_hat, x)


def L_adv(f_x: Tensor, f_x_hat: Tensor) -> Tensor:
    """Eq. 4: mean squared difference of the discriminator's features, (n, w, 4, 4) twice -> ()."""
    return F.mse_loss(f_x_hat, f_x)


def L_bce(real: Tensor, fake: Tensor) -> Tensor:
    """Eq. 5, on raw outputs, (n,) twice -> ()."""
    return say_real(real) + say_fake(fake)


def L_con(z: Tensor, z_again: Tensor) -> Tensor:
    """Eq. 9: minus the cosine between codes, averaged, (n, d) twice -> () in [-1, 1]."""
    return -F.cosine_similarity(z, z_again).mean()


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class YGAN(SubclassDetector):
    """Y-GAN on square images of 16 to 256 pixels, 1 or 3 channels, with labels of their sub-classes.

    Defaults are the paper's (section 4.3). On a laptop, `width=16` takes seconds.
    """

    gradient_flow: ClassVar = {
        "L_rec": {"E_s", "E_r", "Dec"},
        "L_adv": {"E_s", "E_r", "Dec"},
        "L_s": {"E_s", "C"},
        "L_r": {"E_r", "C"},
        "L_con": {"E_s", "E_r", "Dec"},
        "L_bce": {"Ds"},
    }
    weight_spread: ClassVar = {"E_s": 0.02, "E_r": 0.02, "Dec": 0.02, "Ds": 0.02, "C": "pytorch"}

    #: Passes over the training images (200 for PlantVillage).
    epochs: int = 100
    batch_size: int = 64
    #: Dimensions of each of the codes z_s and z_r.
    z_dim: int = 100
    #: Units of the classifier's hidden layer.
    hidden: int = 30
    #: Weights of the losses in Eq. 10: the paper's lambda 1 to 5. With 0, a loss (but L_rec) is left out.
    lambda_rec: float = 50.0
    lambda_adv: float = 1.0
    lambda_s: float = 1.0
    lambda_r: float = 1.0
    lambda_con: float = 50.0
    #: Learning rate and momentums of both Adams.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512
    #: "dual" encoders; "split": one encoder, its code cut in two (B1); "single": its code is z_s (B2, B3).
    encoder: Literal["dual", "split", "single"] = "dual"
    #: The score (section 6.3); may be changed after `fit`, except to "weak_prototype". Calibrate again then.
    scored_by: str = "softmax"
    #: Eq. 9, or what the released code does instead.
    consistency: Literal["paper", "released"] = "paper"
    #: Shuffles of z_r per step; the released code has 64.
    shuffles: int = 1
    #: Released code: no gradient of L_adv reaches the generator.
    detach_features: bool = False
    #: Released code: encoders and discriminator normalise with the batch at hand, also while scoring. Not
    #: for use: a score then depends on the other images of its batch.
    batch_statistics: bool = False

    def training_labels(self, x: Tensor, y: Tensor | None) -> Tensor:
        y = super().training_labels(x, y)
        self.clusters_ = None
        if self.scored_by == "weak_prototype":  # Eq. 17 has its own, weak labels
            weak = y if self.labels == "cluster" else self.weak_labels(x, len(self.classes_))
            self.clusters_ = weak.unique(return_inverse=True)[1]
        return y

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        of_image = {"channels": channels, "size": size, "width": self.width, "max_width": self.max_width}
        d = self.z_dim if self.encoder == "dual" else 2 * self.z_dim
        d_s = 2 * self.z_dim if self.encoder == "single" else self.z_dim
        self.E_s = blocks.DCGANEncoder(d, **of_image)
        if self.encoder == "dual":
            self.E_r = blocks.DCGANEncoder(d, **of_image)
        self.Dec = blocks.DCGANGenerator(2 * self.z_dim, **of_image)
        self.C = blocks.LatentClassifier(d_s, len(self.classes_), self.hidden)
        self.prototypes = Prototypes(len(self.classes_), d_s)
        # The "generator" of the paper is all of these; only Ds learns by itself.
        encoders = [self.E_s, self.E_r] if self.encoder == "dual" else [self.E_s]
        generator = nn.ModuleList([*encoders, self.Dec, self.C, self.prototypes]).to(self.device_)
        self.opt_G = blocks.adam(generator.parameters(), self.lr, self.betas)
        if self.lambda_adv:
            self.Ds = blocks.FeatureDiscriminator(**of_image).to(self.device_)
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

    def lambda_R(self) -> float:
        """Weight of the reversed gradient (Eq. 7), from 0 to 1 as the training goes on."""
        done = (self.epoch_ - 1 + (self.step_ + 1) / self.steps_per_epoch_) / self.epochs
        return 2 / (1 + math.exp(-10 * done)) - 1

    def consistency_loss(self, z_s: Tensor, z_r: Tensor) -> Tensor:
        """Eq. 9: is z_s the same after rebuilding the image with another one's z_r? (n, d) twice -> ()."""
        total = 0.0
        for _ in range(self.shuffles):
            order = torch.randperm(len(z_r), generator=self.rng_, device=z_r.device)
            hybrid = self.decode(z_s, z_r[order])  # x_hat'
            if self.consistency == "paper":
                total = total + L_con(z_s, self.semantic(hybrid))
            else:
                z_s_again, z_r_again = self.codes(hybrid)
                total = total + 1 - F.cosine_similarity(z_s, z_s_again).abs().mean()
                total = total + 1 - F.cosine_similarity(z_r[order], z_r_again).abs().mean()
        return total / self.shuffles

    def training_step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Section 3.2 for one batch: images x, (b, c, h, w), and sub-classes y, (b,)."""
        z_s, z_r = self.codes(x)
        x_hat = self.decode(z_s, z_r)
        losses = {"L_rec": L_rec(x, x_hat)}  # Eq. 3
        if self.lambda_adv:
            # Detached, as released, the loss stops at x_hat: the generator never hears of it.
            seen = x_hat.detach() if self.detach_features else x_hat
            with blocks.frozen(self.Ds):  # the gradient passes through Ds to x_hat; Ds does not learn here
                losses["L_adv"] = L_adv(self.Ds(x)[1], self.Ds(seen)[1])  # Eq. 4
        if self.lambda_s:
            losses["L_s"] = F.cross_entropy(self.C(z_s), y)  # Eq. 6
        if self.lambda_r and self.encoder != "single":
            z_reversed = blocks.reverse_gradient(z_r, self.lambda_R())  # Eq. 7: C learns, E_r unlearns
            losses["L_r"] = F.cross_entropy(self.C(z_reversed), y)  # Eq. 8
        if self.lambda_con and self.encoder != "single":
            losses["L_con"] = self.consistency_loss(z_s, z_r)  # Eq. 9
        weights = {"L_rec": self.lambda_rec, "L_adv": self.lambda_adv, "L_s": self.lambda_s}
        weights |= {"L_r": self.lambda_r, "L_con": self.lambda_con}
        L_G = sum(weights[name] * loss for name, loss in losses.items())  # Eq. 10
        self.opt_G.zero_grad()
        L_G.backward()
        self.opt_G.step()

        if self.lambda_adv:
            # x_hat is data to Ds: what it learns must not reach the generator.
            losses["L_bce"] = L_bce(self.Ds(x)[0], self.Ds(x_hat.detach())[0])  # Eq. 5, 11
            self.opt_D.zero_grad()
            losses["L_bce"].backward()
            self.opt_D.step()
        return losses

    def end_epoch(self, x: Tensor, y: Tensor) -> None:
        """The prototypes of Eq. 16 and 17, from the codes of all training images."""
        z_s = self._in_parts(lambda x: F.normalize(self.semantic(x)), x)  # (n, d), of unit length
        for i in range(len(self.classes_)):
            self.prototypes.classes[i] = z_s[y.cpu() == i].mean(0)
            if self.clusters_ is not None:
                k = int(self.clusters_.max()) + 1  # seldom fewer than sub-classes: then some count twice
                self.prototypes.clusters[i] = z_s[self.clusters_ == i % k].mean(0)

    # ------------------------------------------------------------------ using it

    def score(self, x: Tensor) -> Tensor:
        """The score chosen by `scored_by`: (n, c, h, w) -> (n,)."""
        self._check_score()  # it may have been changed after `fit`
        if self.scored_by in ("softmax", "entropy"):  # E_s and C are enough
            logits = self.C(self.semantic(x))
            if self.scored_by == "softmax":
                return one_minus_confidence(logits)  # Eq. 12
            return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)  # Eq. 18
        if self.scored_by in ("prototype", "weak_prototype"):
            known = self.prototypes.classes if self.scored_by == "prototype" else self.prototypes.clusters
            require(
                not bool(known.isinf().any()),
                "there are no prototypes of clusters, because fit makes them only when they are asked for; "
                "pass scored_by='weak_prototype' before fit",
            )
            z_s = F.normalize(self.semantic(x))
            return (z_s[:, None] - known).square().sum(2).amin(1)  # Eq. 16, 17
        z_s, z_r = self.codes(x)
        x_hat = self.decode(z_s, z_r)
        if self.scored_by == "image":
            return (x - x_hat).square().flatten(1).sum(1)  # Eq. 13
        z, z_hat = z_s, self.semantic(x_hat)
        if self.scored_by == "latent":
            z, z_hat = torch.cat([z_s, z_r], 1), torch.cat(self.codes(x_hat), 1)
        return (F.normalize(z) - F.normalize(z_hat)).square().sum(1)  # Eq. 14, 15: unit length, section 6.3

    def encode(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """z_s and z_r of images: (n, d) float32 each."""
        z = self.in_parts(lambda x: torch.cat(self.codes(x), dim=1), images)
        d_s = self.prototypes.classes.shape[1]
        return z[:, :d_s], z[:, d_s:]

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat in [-1, 1] (Eq. 2): (n, c, h, w) float32."""
        return self.in_parts(lambda x: self.decode(*self.codes(x)), images)

    def hybrid(self, semantic: Any, residual: Any) -> np.ndarray:
        """What z_s of one image and z_r of another make together (Fig. 6a), pair by pair: (n, c, h, w)."""
        (z_s, _), (_, z_r) = self.encode(semantic), self.encode(residual)
        require(
            len(z_s) == len(z_r),
            f"hybrids are made of pairs, but {len(z_s)} and {len(z_r)} images came; pass as many of both",
        )
        return self._in_parts(self.Dec, torch.from_numpy(np.concatenate([z_s, z_r], axis=1))).numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_choice("encoder", "dual", "split", "single")
        self._check_choice("consistency", "paper", "released")
        self._check_betas()
        self._check_at_least(1, "z_dim", "hidden", "width", "max_width", "shuffles")
        self._check_at_least(0, "lambda_rec", "lambda_adv", "lambda_s", "lambda_r", "lambda_con")
        self._check_score()

    def _check_score(self) -> None:
        self._check_choice("scored_by", *SCORES)
        require(
            self.lambda_s > 0 or self.scored_by not in ("softmax", "entropy"),
            f"scored_by={self.scored_by!r} needs the classifier, which lambda_s=0 leaves untrained; "
            "pass scored_by='image' or another score without it",
        )
