"""Softmax classifier of the normal sub-classes, scored by its uncertainty: Y-GAN's label-matched baseline.

Y-GAN gets the sub-class of every normal image, and most methods that it is compared with do not. So how much
of its result do these labels alone explain? This detector has the same encoder, the same classifier and the
same labels, and nothing else: no decoder, no second encoder, no adversary.

    Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural
    Networks", ICLR 2017. https://arxiv.org/abs/1610.02136

    x --> E_s --> z_s --> C --> p_1 ... p_N --> cross-entropy with the sub-class;  score = 1 - max p

What the paper leaves open, and how it is read here:

* It uses existing classifiers of any kind. Networks, optimiser, batch size and number of epochs are Y-GAN's
  here, so that the two differ in what Y-GAN adds and in nothing else.
* An anomaly may fall on any side of the borders between sub-classes: no loss asks for uncertainty away from
  them. That the score works at all is a finding, not a consequence.

Not in this file: temperature scaling, input perturbation, ensembles, and other improvements of the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from minigan import blocks
from minigan.models._subclasses import SubclassDetector, one_minus_confidence


@dataclass(kw_only=True, eq=False, repr=False)
class SoftmaxClassifier(SubclassDetector):
    """Softmax classifier of normal sub-classes, scored by 1 - max softmax. 16 to 256 pixels, 1 or 3 channels.

    Defaults are Y-GAN's (section 4.3 of its paper), so that a difference between the two is a difference
    between the methods. On a laptop, `width=16` takes seconds.

    `minigan methods SoftmaxClassifier` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {"cross_entropy": {"E_s", "C"}}
    init_std: ClassVar = {"E_s": 0.02, "C": "pytorch"}

    #: Passes over the training images.
    epochs: int = 100
    batch_size: int = 64
    #: Dimensions of the code z_s.
    z_dim: int = 100
    #: Units of the classifier's hidden layer.
    hidden: int = 30
    #: Adam's learning rate and momentums.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layer next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512
    #: Order of batch norm and activation in E_s, as in Y-GAN.
    norm: Literal["before", "after"] = "before"

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (channels, size, self.width, self.max_width)
        E_s = blocks.DCGANEncoder(self.z_dim, *stack, norm=self.norm)
        C = blocks.LatentClassifier(self.z_dim, len(self.classes_), self.hidden)
        self.E_s, self.C = E_s.to(self.device_), C.to(self.device_)
        self.opt = blocks.adam([*self.E_s.parameters(), *self.C.parameters()], self.lr, self.betas)

    def branch(self) -> tuple[()]:
        return ()

    def training_step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """One step on images x, (b, c, h, w), and their sub-classes y, (b,): cross-entropy, -log p_y."""
        loss = F.cross_entropy(self.C(self.E_s(x)), y)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return {"cross_entropy": loss}

    def score_step(self, x: Tensor) -> Tensor:
        """1 - max_i p_i (section 2 of the paper): (n, c, h, w) -> (n,) in [0, 1 - 1/N]."""
        return one_minus_confidence(self.C(self.semantic(x)))

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(1, "hidden")
