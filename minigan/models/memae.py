"""MemAE: an autoencoder with a memory, which reconstructs every image from a few remembered normal codes.

An ordinary autoencoder may learn to copy anomalies as well. MemAE never decodes the code of an image itself,
but a mixture of a few learned codes, its memory; these come from normal images, so an anomaly is
reconstructed as something normal, and the reconstruction error is the anomaly score.

    Gong, Liu, Le, Saha, Mansour, Venkatesh and van den Hengel, "Memorizing Normality to Detect Anomaly:
    Memory-augmented Deep Autoencoder for Unsupervised Anomaly Detection", ICCV 2019.
    https://arxiv.org/abs/1904.02639

    x --> E --> z --> M: which memories are like z? --> z_hat --> G --> x_hat ~ x     (L_rec)
                      few of them (L_ent)

What the paper leaves open, and how it is read here:

* Layers: the paper has three convolutions on each side, other ones for each data set; here they are DCGAN's.
* A memory is a whole code, as in the paper's experiments with images, not the code of one position.
* The shrinkage threshold may be between 1 / N and 3 / N. `shrinkage` counts in units of 1 / N, and is 1.
  Where no weight reaches it, the mixture is 0. Cosines of new memories are small, and their weights all near
  1 / N: on digits, with 2, none ever reached it, all codes were 0, and nothing was learned.
* Sums over pixels are means in L_rec, so that the weight of the entropy, alpha, holds for images of all
  sizes.
* The number of epochs is not given for images.

What released code does differently: it compares z with a memory by the inner product, which makes the weights
far more unequal than the paper's cosine similarity does (`similarity="inner"`). It starts with memories
uniform in [-1 / sqrt(C), 1 / sqrt(C)], C the numbers in a code, and so does this file, because the paper does
not say.

Not in this file: video, where each position of a feature map asks the memory on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan import blocks
from minigan.neural import NeuralDetector

# ---------------------------------------------------------------------- the memory


class Memory(nn.Module):
    """Memory module: N codes of length C, addressed by similarity; (n, C) -> (n, C), weights (n, N).

    The weights add up to 1, and few of them differ from 0.
    """

    def __init__(self, n_memories: int, code: int, shrinkage: float, similarity: Literal["cosine", "inner"]):
        super().__init__()
        self.items = nn.Parameter(torch.empty(n_memories, code).uniform_(-(code**-0.5), code**-0.5))
        self.threshold, self.similarity = shrinkage / n_memories, similarity

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        w = self.address(z)
        return w @ self.items, w  # Eq. 3: z_hat = w M

    def address(self, z: Tensor) -> Tensor:
        """Weights of the memories for codes, (n, C) -> (n, N)."""
        if self.similarity == "cosine":
            d = F.normalize(z, dim=1) @ F.normalize(self.items, dim=1).T  # Eq. 5: z m_i^T / (||z|| ||m_i||)
        else:
            d = z @ self.items.T
        return shrink(d.softmax(1), self.threshold)  # Eq. 4: exp d_i / sum_j exp d_j


def shrink(w: Tensor, threshold: float) -> Tensor:
    """Eq. 6 and 7, hard shrinkage: weights up to the threshold become 0, and the others add up to 1 again.

    Written as max(w - lambda, 0) w / (|w - lambda| + epsilon), which has a gradient: (n, N) -> (n, N).
    """
    kept = F.relu(w - threshold) * w / ((w - threshold).abs() + 1e-12)
    return F.normalize(kept, p=1, dim=1)


# ---------------------------------------------------------------------- losses


def L_rec(x: Tensor, x_hat: Tensor) -> Tensor:
    """Eq. 8: ||x - x_hat||^2, averaged, (n, c, h, w) twice -> ()."""
    return F.mse_loss(x_hat, x)


def L_ent(w: Tensor) -> Tensor:
    """Eq. 9: entropy of the weights, -sum w_i log w_i, averaged over images, (n, N) -> ()."""
    return -torch.xlogy(w, w + 1e-12).sum(1).mean()


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class MemAE(NeuralDetector):
    """MemAE on square images of 16 to 256 pixels, 1 or 3 channels.

    Defaults are the paper's for MNIST; for CIFAR-10 it has `n_memories=500`. With a few hundred training
    images, a larger learning rate is needed.

    `minigan methods MemAE` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {"L_rec": {"E", "M", "G"}, "L_ent": {"E", "M"}}
    init_std: ClassVar = {"E": 0.02, "M": "pytorch", "G": 0.02}

    #: Dimensions of a code, the paper's C.
    z_dim: int = 100
    #: Memories, the paper's N.
    n_memories: int = 100
    #: Threshold of the weights, in units of 1 / n_memories; 0 keeps all memories.
    shrinkage: float = 1.0
    #: How a code is compared with a memory: as in Eq. 5, or as in released code.
    similarity: Literal["cosine", "inner"] = "cosine"
    #: Weight of the entropy, the paper's alpha.
    lambda_ent: float = 2e-4
    #: Learning rate and momentums of Adam.
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (self.z_dim, channels, size, self.width, self.max_width)
        self.E = blocks.DCGANEncoder(*stack).to(self.device_)
        self.M = Memory(self.n_memories, self.z_dim, self.shrinkage, self.similarity).to(self.device_)
        self.G = blocks.DCGANGenerator(*stack).to(self.device_)
        parameters = [*self.E.parameters(), *self.M.parameters(), *self.G.parameters()]
        self.opt = blocks.adam(parameters, self.lr, self.betas)

    def redraw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction from memories, and their weights: (n, c, h, w) -> (n, c, h, w), (n, N)."""
        z_hat, w = self.M(self.E(x))
        return self.G(z_hat), w

    def branch(self) -> tuple[()]:
        return ()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """One step on a batch x, (b, c, h, w): minimise Eq. 10, L_rec + alpha L_ent."""
        x_hat, w = self.redraw(x)
        losses = {"L_rec": L_rec(x, x_hat), "L_ent": L_ent(w)}
        total = losses["L_rec"] + self.lambda_ent * losses["L_ent"]
        self.opt.zero_grad()
        total.backward()
        self.opt.step()
        return losses

    # ------------------------------------------------------------------ using it

    def score_step(self, x: Tensor) -> Tensor:
        """||x - x_hat||^2: (n, c, h, w) -> (n,)."""
        return (x - self.redraw(x)[0]).square().flatten(1).sum(1)

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.redraw(x)[0], images)

    def memory_weights(self, images: Any) -> np.ndarray:
        """Weight of each memory in the reconstruction of each image: (n, N) float32, rows add up to 1."""
        return self.map_batches(lambda x: self.redraw(x)[1], images)

    def memories(self) -> np.ndarray:
        """What each memory looks like when it is decoded alone, in [-1, 1]: (N, c, h, w) float32."""
        self._check_fitted()
        self._set_mode(training=False)
        with torch.inference_mode():
            return self.G(self.M.items).cpu().numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "shrinkage", "lambda_ent")
        self._check_at_least(2, "n_memories", "batch_size")
