"""Autoencoder: a template for new methods. Copy this file and replace what is its own; it passes all tests.

It learns to reconstruct normal images through a short code. Anomalies are reconstructed worse, so the
reconstruction error is the anomaly score.

    Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006.
    https://doi.org/10.1126/science.1127647

    x --> E --> z --> G --> x_hat ~ x     (L_rec)

What the paper leaves open, and how it is read here:

* Layers: it trains fully connected ones layer by layer; here they are DCGAN's, trained together.

Not in this file: the name in `minigan/registry.py` and the other places that `CONTRIBUTING.md` lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from minigan import blocks
from minigan.neural import NeuralDetector


@dataclass(kw_only=True, eq=False, repr=False)
class Autoencoder(NeuralDetector):
    """Autoencoder on square images of 16 to 256 pixels, 1 or 3 channels, scored by reconstruction error.

    Once it is registered, `minigan methods Autoencoder` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {"L_rec": {"E", "G"}}
    init_std: ClassVar = {"E": 0.02, "G": 0.02}

    #: Dimensions of the code.
    z_dim: int = 100
    #: Learning rate and momentums of Adam.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (self.z_dim, channels, size, self.width, self.max_width)
        self.E = blocks.DCGANEncoder(*stack).to(self.device_)
        self.G = blocks.DCGANGenerator(*stack).to(self.device_)
        self.opt = blocks.adam([*self.E.parameters(), *self.G.parameters()], self.lr, self.betas)

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """One step on a batch x, (b, c, h, w) in [-1, 1]: minimise ||x - G(E(x))||^2, averaged."""
        loss = F.mse_loss(self.G(self.E(x)), x)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return {"L_rec": loss}

    def score_step(self, x: Tensor) -> Tensor:
        """||x - G(E(x))||_2: (n, c, h, w) -> (n,), higher = more anomalous."""
        return (x - self.G(self.E(x))).flatten(1).norm(dim=1)

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.G(self.E(x)), images)
