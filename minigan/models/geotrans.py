"""GeoTrans: anomaly detection by recognising how an image was flipped, shifted and turned.

A classifier learns which of 72 transformations was applied to a normal image. It has to know what normal
images look like for that, and it is less certain, or certain in another way, about a transformed anomaly.

    Golan and El-Yaniv, "Deep Anomaly Detection Using Geometric Transformations", NeurIPS 2018.
    https://arxiv.org/abs/1805.10917

    x --> T_1 ... T_72 --> f --> y, the probabilities of the 72 transformations --> cross-entropy
    y(T_i(x)) of all training images --> Dirichlet distribution alpha_i, one for each i
    score: minus the log-likelihood of y(T_1(x)), ..., y(T_72(x)) under these

Some transformations cannot be told apart on some images (a zero, turned by 180 degrees, is a zero). The
Dirichlet distributions have learned that; the simple score, the mean probability of the true transformation,
has not.

What the paper leaves open, and how it is read here:

* Layers: its classifier is a wide residual network (10-4 for 32 pixels, 16-8 for 64). Here it is DCGAN's
  encoder with 72 outputs, which exists for all sizes.
* A shift is by a quarter of the image's side. What it uncovers is a reflection of the image, its outermost
  row included, as in the released code.
* An epoch is a pass over all images in all transformations. The code has ceil(200 / 72) = 3 of them, with
  Adam's defaults and batches of 128.
* alpha_i maximises the likelihood, found by the fixed-point iteration of Minka from Wicker's approximation,
  as in the code. Where outputs hardly vary, sum(alpha) has no finite maximum: it starts at most at 1e6, and
  there are at most 1000 iterations.
* The paper's score leaves out the constant of each likelihood, and adds up over the transformations. Here the
  constants are in, because numbers stay small with them, and it is the mean. The order of the images is the
  same.

Not in this file: the wide residual network, and its weight decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan import blocks
from minigan.neural import NeuralDetector

EULER_GAMMA = -float(torch.digamma(torch.ones((), dtype=torch.float64)))

# ---------------------------------------------------------------------- transformations


def transformations(shift: int) -> Tensor:
    """All combinations of flip, shift down, shift to the right, and quarter turns: (72, 4), the first none.

    With `shift=0` there are flips and turns only: (8, 4).
    """
    shifts = (0, -shift, shift) if shift else (0,)
    return torch.tensor(list(product((0, 1), shifts, shifts, range(4))))


def reflected(index: Tensor, n: int) -> Tensor:
    """Indices beyond 0 .. n - 1, reflected at the borders: -1 -> 0, -2 -> 1, n -> n - 1."""
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= n, 2 * n - 1 - index, index)


def transform(x: Tensor, how: Tensor) -> Tensor:
    """Flip, shift, then turn each image as its row of `how` says: (n, c, h, h), (n, 4) -> (n, c, h, h)."""
    n, _, side, _ = x.shape
    flip, down, right, turns = how.unbind(1)
    pixels, each = torch.arange(side, device=x.device), torch.arange(n, device=x.device)
    rows = reflected(pixels - down[:, None], side)  # (n, h): where row i of the result comes from
    columns = reflected(pixels - right[:, None], side)
    columns = torch.where(flip[:, None] == 1, side - 1 - columns, columns)
    moved = x[each[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (n, h, h, c)
    turned = torch.stack([moved.rot90(k, (1, 2)) for k in range(4)])
    return turned[turns, each].permute(0, 3, 1, 2)


# ---------------------------------------------------------------------- Dirichlet distributions


def inverse_digamma(y: Tensor) -> Tensor:
    """x > 0 with digamma(x) = y, by five steps of Newton from Minka's first guess; any shape, float64."""
    x = torch.where(y >= -2.22, y.exp() + 0.5, -1 / (y + EULER_GAMMA))
    for _ in range(5):
        x = x - (torch.digamma(x) - y) / torch.polygamma(1, x)
    return x


def fit_dirichlet(log_y: Tensor, iterations: int = 1000) -> Tensor:
    """Most likely Dirichlet distributions: logarithms of n probabilities, (..., n, k) -> alpha, (..., k)."""
    mean_log, mean = log_y.mean(-2), log_y.exp().mean(-2)  # (..., k)
    # Wicker's first guess: sum(alpha) = (k - 1) gamma / sum_j mean_j (log mean_j - mean_log_j).
    spread = (mean * (mean.clamp(min=1e-300).log() - mean_log)).sum(-1, keepdim=True)
    total = (mean.shape[-1] - 1) * EULER_GAMMA / spread.clamp(min=1e-300)
    alpha = (mean * total.clamp(max=1e6)).clamp(min=1e-6)
    for _ in range(iterations):
        # Minka: digamma(alpha_j) = digamma(sum(alpha)) + mean_log_j
        new = inverse_digamma(torch.digamma(alpha.sum(-1, keepdim=True)) + mean_log)
        done = bool(((new - alpha).abs() <= 1e-5 * alpha).all())
        alpha = new
        if done:
            break
    return alpha


class Dirichlets(nn.Module):
    """Dirichlet distribution of the classifier's output for each transformation.

    It stays on the CPU: a small table in float64, which not every device has.
    """

    alpha: Tensor  # (k, k), float64: row i for T_i

    def __init__(self, k: int):
        super().__init__()
        self.register_buffer("alpha", torch.ones(k, k, dtype=torch.float64))

    def surprise(self, log_y: Tensor) -> Tensor:
        """Minus the log-likelihood, averaged over the k transformations: (n, k, k) -> (n,)."""
        constant = torch.lgamma(self.alpha.sum(1)) - torch.lgamma(self.alpha).sum(1)  # (k,)
        return -(constant + ((self.alpha - 1) * log_y).sum(2)).mean(1)


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class GeoTrans(NeuralDetector):
    """GeoTrans on square images of 16 to 256 pixels, 1 or 3 channels: 72 passes for each score.

    Defaults are the released code's, which the paper refers to. On a laptop, `width=16` takes a minute on the
    digits of one class.

    `minigan methods GeoTrans` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {"cross_entropy": {"f"}}
    init_std: ClassVar = {"f": 0.02}

    #: Passes over the training images in all transformations.
    epochs: int = 3
    #: Transformed images per training step.
    batch_size: int = 128
    #: Flips, quarter turns and shifts (72), or only flips and quarter turns (8), the code's other choice.
    translate: bool = True
    #: The score: Dirichlet-normalised, or minus the mean probability of the true transformation ("simple").
    #: May be changed after `fit`; calibrate again then.
    scored_by: Literal["dirichlet", "simple"] = "dirichlet"
    #: Learning rate and momentums of Adam.
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    #: Channels of the layer next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        self.how = transformations(size // 4 if self.translate else 0).to(self.device_)  # (k, 4)
        self.f = blocks.DCGANEncoder(len(self.how), channels, size, self.width, self.max_width)
        self.f.to(self.device_)
        self.dirichlets = Dirichlets(len(self.how))
        self.opt = blocks.adam(self.f.parameters(), self.lr, self.betas)

    def batches(self, n: int, y: Tensor | None) -> Sequence[Tensor]:
        """Every image in every transformation once, in random order; returns the numbers of the images.

        Which transformation each is to have, is kept for `training_step`.
        """
        k = len(self.how)
        size = min(self.batch_size, n * k)
        order = torch.randperm(n * k, generator=self.rng_, device=self.device_)
        parts = order.split(size)[: n * k // size]
        self.wanted = [part % k for part in parts]
        return [part // k for part in parts]

    def branch(self) -> tuple[()]:
        return ()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Cross-entropy -log y_j(T_j(x)) on a batch x, (b, c, h, w), each image with its own T_j."""
        j = self.live(lambda: self.wanted[self.step_])
        loss = F.cross_entropy(self.f(transform(x, self.how[j])), j)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return {"cross_entropy": loss}

    def fit_statistics(self, x: Tensor, y: Tensor | None) -> None:
        """Fit alpha_i to the classifier's outputs for all training images in T_i, for each i."""
        log_y = self._map_batches(self.log_probabilities, x)  # (n, k, k)
        self.dirichlets.alpha.copy_(fit_dirichlet(log_y.transpose(0, 1)))

    def log_probabilities(self, x: Tensor) -> Tensor:
        """log y(T_i(x)) for each i: (n, c, h, w) -> (n, k, k), float64 on the CPU; row i is for T_i."""
        n = x.shape[0]  # not len(x), which a trace does not see
        outputs = [self.f(transform(x, how.expand(n, -1))) for how in self.how]
        return torch.stack([logits.cpu().double().log_softmax(1) for logits in outputs], 1)

    def score_step(self, x: Tensor) -> Tensor:
        """-1/k sum_i log Dir(y(T_i(x)); alpha_i), or -1/k sum_i y_i(T_i(x)): (n, c, h, w) -> (n,)."""
        log_y = self.log_probabilities(x)
        if self.scored_by == "simple":
            return -log_y.diagonal(dim1=1, dim2=2).exp().mean(1)
        return self.dirichlets.surprise(log_y)
