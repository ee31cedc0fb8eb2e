"""Sub-classes of images that nobody has labelled: the weak labels of Y-GAN*.

Y-GAN learns from the sub-classes of the normal images. Where nobody has named them, section 6.3 of its
paper guesses them: describe each image by EfficientNet-B4's features, reduce these to 100 numbers, and
let k-means put alike images together.

Source: Ivanovska and Struc, Y-GAN: Learning Dual Data Representations for Anomaly Detection in Images.
The silhouette: Kaufman and Rousseeuw, Finding Groups in Data, Wiley (the paper cites the printing of 2009).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits
from torch import Tensor

from minigan.images import to_float

COMPONENTS = 100  # "we reduce the dimensionality of these representations to 100"
SILHOUETTES = 2000  # images whose silhouette is computed: it compares every one with every other
RESTARTS = 10  # k-means from as many beginnings; the paper does not say


def weak_labels(
    x: Tensor,
    features: str | Path = "imagenet",
    n_clusters: int | None = None,
    max_clusters: int = 15,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Guess the sub-class of every image by clustering (Y-GAN's paper, section 6.3).

    The paper says: EfficientNet-B4, principal components, k-means, and as many clusters as give the
    largest mean silhouette. It leaves open between which numbers of clusters it searched, and how often
    k-means started anew. Here every number from 2 to `max_clusters` is tried, with 10 starts each. The
    default of 15 lies above the 9 to 12 clusters that the paper found.

    A silhouette compares an image with all others. Above 2000 images, a random 2000 of them stand for
    all, the same ones for every number of clusters.

    Args:
        x: (n, c, h, w) images, uint8 or float, as `images.as_tensor` returns them.
        features: what describes an image: "imagenet" (EfficientNet-B4; see `features.Backbone`), the path
            of a state dict for EfficientNet-B4, or "pixels" in [-1, 1]. Where the weights of "imagenet"
            cannot be had, the pixels take their place, with a warning.
        n_clusters: the number of clusters; None chooses it.
        max_clusters: the largest number to try.
        seed: of all randomness; the global random states are neither used nor changed.
        device: where EfficientNet-B4 computes.

    Returns:
        (n,) int64, the numbers 0 .. k - 1. They mean nothing beyond who is with whom.

    Raises:
        ValueError: not images, too few of them, all the same, or more clusters asked for than there are
            different images.
        FileNotFoundError: there is no file at the given path.
    """
    if x.ndim != 4:
        raise ValueError(f"clustering takes images of shape (n, c, h, w), got {tuple(x.shape)}")
    largest = max_clusters if n_clusters is None else n_clusters
    if largest < 2:
        raise ValueError(f"sub-classes are at least 2 clusters, got {largest}")
    seen: set[bytes] = set()
    for image in x:  # until it is known that there are enough different ones
        seen.add(image.numpy().tobytes())
        if len(seen) >= largest:
            break
    different = len(seen)
    if n_clusters is None:
        if len(x) < 3 or different < 2:
            raise ValueError(
                "a number of clusters can be chosen for 3 images or more, not all of them alike; "
                f"got {len(x)}, of which {different} differ"
            )
        candidates = range(2, min(max_clusters, different, len(x) - 1) + 1)
    else:
        if different < n_clusters:
            raise ValueError(f"{n_clusters} clusters take as many different images, got {different}")
        candidates = [n_clusters]
    rows = _describe(x, features, device)  # (n, d)
    # Sums over several threads end in whatever order the threads do, and could tip an image over.
    with threadpool_limits(1):
        rows = PCA(min(COMPONENTS, *rows.shape), random_state=seed).fit_transform(rows)  # (n, <= 100)
        found = [KMeans(k, n_init=RESTARTS, random_state=seed).fit_predict(rows) for k in candidates]
        if len(found) > 1:
            some = np.random.default_rng(seed).permutation(len(x))[:SILHOUETTES]
            quality = [_silhouette(rows[some], labels[some]) for labels in found]
            found = [found[int(np.argmax(quality))]]
    return np.unique(found[0], return_inverse=True)[1].astype(np.int64)  # no number without an image


def _describe(x: Tensor, features: str | Path, device: torch.device | str) -> np.ndarray:
    """(n, c, h, w) images -> (n, d) float32: 1792 features, or the pixels in [-1, 1]."""
    if features != "pixels":
        from minigan.blocks.features import Backbone  # here, because torchvision takes seconds to import

        try:
            backbone = Backbone(features, device, architecture="efficientnet_b4")
        except FileNotFoundError as error:
            if features != "imagenet":
                raise
            warnings.warn(f"clusters are found by pixels, not by ImageNet's features: {error}", stacklevel=3)
        else:  # in parts, because an image of 380 pixels leaves megabytes behind in every layer
            return torch.cat([backbone(to_float(part, device))[:, 0] for part in x.split(16)]).numpy()
    return to_float(x).flatten(1).numpy()


def _silhouette(rows: np.ndarray, labels: np.ndarray) -> float:
    """The mean silhouette, from -1 to 1; -1 where these images lie in one cluster or each in its own."""
    k = len(np.unique(labels))
    return silhouette_score(rows, labels) if 2 <= k < len(rows) else -1.0
