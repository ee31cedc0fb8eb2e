"""ARNet: anomaly detection by restoring attributes that were erased from an image, its colour and direction.

Every image is made grey and turned by a random quarter turn, and a U-Net learns to restore the original.
Unlike an autoencoder it cannot copy: to turn images back and to colour them, it must know how normal ones
look. Anomalies are restored as if they were normal, and so badly.

    Ye, Huang, Cao, Li, Zhang and Lu, "Attribute Restoration Framework for Anomaly Detection", IEEE
    Transactions on Multimedia 24, 2022. https://doi.org/10.1109/TMM.2020.3046884
    First version: Huang et al., "Inverse-Transform AutoEncoder for Anomaly Detection", 2019.
    https://arxiv.org/abs/1911.10676

    x --> grey --> turned by 0, 90, 180 or 270 degrees --> G --> x_hat ~ x
    score: the L1 errors for all four turns, each divided by its mean over the training images

Where the settings come from: a reproduction of the first version, to whose readers an author gave advice
(https://github.com/yuxiao-ash/ITAE-Pytorch-Anomaly_Detection, issue 1). We found no code by the authors, and
have not compared the reproduction with the paper's final text.

What the paper leaves open, and how it is read here:

* G is `blocks.UNet`, five levels; the reproduction has half as many channels at the innermost one, and
  enlarges images linearly. The grey image is repeated for each channel, because that U-Net has as many
  channels before as behind it.
* Grey images have no colour to erase, so only the direction is.
* The training loss is the mean of squares, and the error at test time the L1 distance. `loss="l1"` trains
  with the latter, too.
* The learning rate is halved nine times, after each tenth of the training.
* No turn is a turn by 0 degrees, whose restoration a U-Net learns at once. Dividing by the mean training
  error lets the four turns count alike.

Not in this file: mirrored copies of the training images, which the reproduction has for CIFAR-10; erased
attributes of videos.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan import blocks
from minigan.checks import require
from minigan.neural import NeuralDetector

#: Quarter turns: by 0, 90, 180 and 270 degrees.
TURNS = range(4)


def erase(x: Tensor, turns: Tensor) -> Tensor:
    """Erase the colour and the direction: (n, c, h, h), (n,) quarter turns -> (n, c, h, h), grey."""
    grey = x.mean(1, keepdim=True).expand_as(x)
    turned = torch.stack([grey.rot90(k, (2, 3)) for k in TURNS])  # (4, n, c, h, h)
    return turned[turns, torch.arange(x.shape[0], device=x.device)]  # not len(x), which a trace does not see


class MeanErrors(nn.Module):
    """Mean L1 error of the training images for each quarter turn."""

    mean: Tensor  # (4,)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(len(TURNS)))

    def fit(self, errors: Tensor) -> None:
        """Take the means of errors, (n, 4)."""
        self.mean.copy_(errors.mean(0).clamp(min=1e-12))  # not 0: an error is divided by it


@dataclass(kw_only=True, eq=False, repr=False)
class ARNet(NeuralDetector):
    """ARNet on square images of 16 to 256 pixels, 1 or 3 channels: four passes for each score.

    Defaults are those of the reproduction named above. On a laptop, `width=8` takes seconds on the digits.

    `minigan methods ARNet` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {"L_train": {"G"}}
    init_std: ClassVar = {"G": 0.02}
    score_batch_size: ClassVar = 64  # each image passes four times

    #: Passes over the training images.
    epochs: int = 500
    batch_size: int = 32
    #: Training loss: the mean of squared ("l2") or of absolute ("l1") differences.
    loss: Literal["l2", "l1"] = "l2"
    #: Learning rate of stochastic gradient descent at first; it is halved after each tenth of the epochs.
    lr: float = 0.1
    #: Momentum of stochastic gradient descent.
    momentum: float = 0.0
    #: Channels of the U-Net at full size; they double at each level, of which there are `levels`.
    width: int = 64
    levels: int = 5

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, _ = blocks.check_size(image_shape)
        self.G = blocks.UNet(channels, self.width, self.levels).to(self.device_)
        self.errors = MeanErrors().to(self.device_)
        self.opt = torch.optim.SGD(self.G.parameters(), self.lr, self.momentum)

    def start_epoch(self) -> None:
        tenths = 10 * (self.epoch_ - 1) // self.epochs  # 0 .. 9
        for group in self.opt.param_groups:
            group["lr"] = self.lr / 2**tenths

    def branch(self) -> tuple[()]:
        return ()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """||x - G(erased x)||^2, averaged, on a batch x, (b, c, h, w), each with a random quarter turn."""
        turns = torch.randint(len(TURNS), (len(x),), generator=self.rng_, device=self.device_)
        measure = F.mse_loss if self.loss == "l2" else F.l1_loss
        loss = measure(self.G(erase(x, turns)), x)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return {"L_train": loss}

    def fit_statistics(self, x: Tensor, y: Tensor | None) -> None:
        """Take the mean errors of the training images, for each turn, with the weights of this epoch."""
        self.errors.fit(self._map_batches(lambda part: self.differences(part).mean((2, 3, 4)), x))

    def differences(self, x: Tensor) -> Tensor:
        """|x - G(erased x)| for each quarter turn: (n, c, h, w) -> (n, 4, c, h, w)."""
        return (x[:, None] - self.restore(x)).abs()

    def restore(self, x: Tensor) -> Tensor:
        """x_hat from the grey image after each quarter turn: (n, c, h, w) -> (n, 4, c, h, w)."""
        turns = torch.arange(len(TURNS), device=x.device).repeat(x.shape[0])
        erased = erase(x.repeat_interleave(len(TURNS), dim=0), turns)
        return self.G(erased).unflatten(0, (-1, len(TURNS)))

    def score_step(self, x: Tensor) -> Tensor:
        """1/4 sum_k e_k(x) / (mean e_k in training), with e_k = |x - x_hat_k|_1: (n, c, h, w) -> (n,)."""
        return (self.differences(x).mean((2, 3, 4)) / self.errors.mean).mean(1)

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat in [-1, 1] from the grey images after half a turn, (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.restore(x)[:, 2], images)

    def anomaly_map(self, images: Any) -> np.ndarray:
        """The errors of `score_step` at each pixel, whose mean is the score: (n, h, w) float32, from 0."""

        def errors(x: Tensor) -> Tensor:
            return (self.differences(x).mean(2) / self.errors.mean[:, None, None]).mean(1)

        return self.map_batches(errors, images)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "momentum")
        good = 2 <= self.levels <= 5  # five levels halve 16 pixels four times
        require(good, f"expected levels from 2 to 5, got {self.levels}")
