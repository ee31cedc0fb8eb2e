"""PatchCore: a memory of normal patches, thinned to a coreset; anomalies have a patch far from all of them.

A network trained on ImageNet describes every patch of an image by features from two depths. PatchCore keeps
those of all normal images in a memory, wherever in the image they were, and thins it greedily so that every
patch stays close to one that is kept. The score comes from the patch whose nearest neighbour is farthest.

    Roth, Pemula, Zepeda, Schoelkopf, Brox and Gehler, "Towards Total Recall in Industrial Anomaly Detection",
    CVPR 2022. https://arxiv.org/abs/2106.08265

    x --> backbone (fixed) --> maps of two blocks --> means of 3x3 --> patches --> greedy coreset --> memory M
    query --> backbone ------> maps of two blocks --> means of 3x3 --> patches --> distance to M, maximum

What the paper leaves open, and how it is read here:

* Backbone: the paper's is Wide ResNet-50-2. The default is EfficientNet-Lite0, whose weights come with
  `minigan[features]`. As in the paper:
  `PatchCore(backbone="wide_resnet50_2", blocks=(2, 3), normalise=False)`.
* Features are normalised before distances are measured, because those of EfficientNet-Lite0 have no common
  scale (`normalise`).
* The fraction of patches that are kept: the paper reports 1, 10 and 25 %. Choosing them takes most of the
  time, which grows with the square of the number of patches.
* The greedy choice starts at a patch that is drawn at random, in features that are projected at random to 128
  dimensions, which hardly changes distances (Johnson and Lindenstrauss).
* The number b of neighbours in Eq. 7 is not given: 9, as in the library anomalib. The nearest patch of the
  memory is one of its own neighbours, so the weight lies between 0 and 1.
* The mean of 3x3 features counts zeros beyond the border, as in the released code. Over the features that
  exist, 4 to 6 of 9, it would vary more than inside, and the farthest patch of a normal image is then mostly
  one of the border: on small textures the AUROC fell from 1.00 to 0.86 (`neighborhood`).

The released code differs: its score is the largest squared distance without Eq. 7 (`n_reweighted=0` is its
root), each depth is pooled to 1024 numbers and both together to 1024 again, and
ten random patches make up the first distances of the greedy choice. It resizes to 256 pixels and crops 224.

Not in this file: the crop, and the backbone (`minigan.blocks.features`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import softmax
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from minigan.checks import require
from minigan.models._pretrained import PatchDetector

#: Dimensions in which the greedy choice measures distances.
PROJECTED = 128
#: Rows among which the greedy choice looks for the farthest one until another may be farther.
ACTIVE = 4096
#: For distances to one row: torch's default, matrix products, takes four times as long there.
EXACT = "donot_use_mm_for_euclid_dist"


def greedy_coreset(rows: Tensor, m: int, generator: torch.Generator) -> Tensor:
    """Algorithm 1: m of the rows, each the one farthest from those already chosen: (n, d) -> (m,) int64.

    Distances to the chosen rows only shrink. So it is enough to keep those of the farthest rows up to date
    until the largest of them falls below what all others had; then these catch up, all at once.
    """
    if m == len(rows):
        return torch.arange(m)
    if rows.shape[1] > PROJECTED:  # psi, a random linear projection
        psi = torch.randn(rows.shape[1], PROJECTED, generator=generator) / PROJECTED**0.5
        rows = rows @ psi.to(rows.device)
    chosen = [int(torch.randint(len(rows), (), generator=generator))]
    nearest = torch.cdist(rows, rows[chosen])[:, 0]  # of each row to the nearest chosen one
    nearest[chosen] = -torch.inf  # not again, not even among equal rows
    while len(chosen) < m:
        up_to_date = len(chosen)
        largest = nearest.topk(min(ACTIVE + 1, len(rows)))
        active, distances, limit = largest.indices[:ACTIVE], largest.values[:ACTIVE], largest.values[-1]
        few = rows[active]
        while len(chosen) < m and distances.max() >= limit:
            farthest = distances.argmax()
            chosen.append(int(active[farthest]))
            distances = torch.minimum(
                distances, torch.cdist(few, few[farthest][None], compute_mode=EXACT)[:, 0]
            )
            distances[farthest] = -torch.inf
        for part in torch.arange(len(rows)).split(ACTIVE):  # in parts, for memory
            new = torch.cdist(rows[part], rows[chosen[up_to_date:]]).amin(1)
            nearest[part] = torch.minimum(nearest[part], new)
        nearest[chosen] = -torch.inf
    return torch.tensor(chosen)


@dataclass(kw_only=True, eq=False, repr=False)
class PatchCore(PatchDetector):
    """PatchCore on images of any size, 1 or 3 channels: distance to the nearest patch of normal images.

    Objects may stand anywhere in the image.

    Attributes after `fit`, beside those of `Detector`:
        memory_: (m, c) float32, the patches that are kept.

    `minigan methods PatchCore` lists all hyperparameters.
    """

    adjustable: ClassVar = PatchDetector.adjustable | {"n_reweighted"}

    #: Fraction of the normal patches that the memory keeps; the paper has 0.01, 0.1 and 0.25.
    coreset: float = 0.1
    #: Side p of the neighbourhood over which features are averaged, an odd number; 1 leaves them as they are.
    neighborhood: int = 3
    #: Neighbours b in the memory that weight the score (Eq. 7); 0 leaves the weight out.
    n_reweighted: int = 9

    def patches(self, maps: list[Tensor]) -> Tensor:
        """Eq. 2 and 3: means over p x p neighbourhoods, coarser maps enlarged linearly."""
        p = self.neighborhood_
        means = [F.avg_pool2d(each, p, stride=1, padding=p // 2) for each in maps]  # zeros beyond the border
        size = maps[0].shape[2:]
        return torch.cat([F.interpolate(each, size, mode="bilinear") for each in means], dim=1)

    def learn_patches(self, x: Tensor) -> None:
        rows = torch.from_numpy(np.concatenate([patches for patches, _ in self.patches_of(x)]))  # (n p, c)
        generator = torch.Generator().manual_seed(int(self.seed))
        m = max(1, round(self.coreset * len(rows)))
        self._remember(rows[greedy_coreset(rows.to(self.source_[3]), m, generator)])

    def distances(self, patches: np.ndarray) -> np.ndarray:
        """Distance of each patch to the nearest one in the memory: (p, c) -> (p,)."""
        return self.neighbors_.kneighbors(patches, 1)[0][:, 0]

    def image_score(self, patches: np.ndarray, grid: tuple[int, int]) -> float:
        """Eq. 6 and 7: the largest distance s*, weighted by how dense the memory is around its neighbour."""
        distances, nearest = self.neighbors_.kneighbors(patches, 1)
        farthest = int(distances[:, 0].argmax())
        s_star, query = float(distances[farthest, 0]), patches[farthest]  # Eq. 6: max min ||p - m||
        b = min(self.n_reweighted, len(self.memory_))
        if b < 2:  # the weight of a neighbour that stands alone would be 0
            return s_star
        m_star = self.memory_[nearest[farthest]].numpy()  # (1, c)
        around = self.memory_[self.neighbors_.kneighbors(m_star, b)[1][0]].numpy()  # N_b(m*), (b, c)
        to_query = np.linalg.norm(around - query, axis=1)
        # Eq. 7: 1 - exp ||p - m*|| / sum over m in N_b(m*) of exp ||p - m||, where m* is the nearest of them
        weight = 1 - softmax(to_query).min()
        return float(weight * s_star)

    def _remember(self, memory: Tensor) -> None:
        self.memory_ = memory
        # By brute force: trees do not help in a hundred dimensions.
        self.neighbors_ = NearestNeighbors(algorithm="brute").fit(memory.numpy())

    def _state(self) -> dict[str, Tensor]:
        return {**super()._state(), "memory": self.memory_}

    def take(self, tensors: dict[str, Tensor]) -> None:
        super().take(tensors)
        self._remember(tensors["memory"])

    def _choose_source(self) -> None:
        super()._choose_source()
        self.neighborhood_ = self.neighborhood

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "n_reweighted")
        p = self.neighborhood
        require(p >= 1 and p % 2 == 1, f"expected neighborhood to be an odd number from 1, got {p}")
        require(0 < self.coreset <= 1, f"expected coreset to be above 0 and at most 1, got {self.coreset}")
