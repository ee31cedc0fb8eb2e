"""Clustering of unlabelled images by k-means: the weak labels of Y-GAN*.

Y-GAN learns from the sub-classes of the normal images. Where these have no labels, section 6.3 of its paper
derives them: EfficientNet-B4's features of each image are reduced to 100 dimensions by PCA and clustered by
k-means.

Source: Ivanovska and Struc, Y-GAN: Learning Dual Data Representations for Anomaly Detection in Images.
The silhouette: Kaufman and Rousseeuw, Finding Groups in Data, Wiley (the paper cites the printing of 2009).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits
from torch import Tensor

from minigan.checks import require
from minigan.images import to_float

COMPONENTS = 100  # "we reduce the dimensionality of these representations to 100"
SILHOUETTES = 2000  # images whose silhouettes are computed; each is compared with all the others
RESTARTS = 10  # initialisations of k-means, of which the best counts; the paper gives no number


def weak_labels(
    x: Tensor,
    features: str | Path = "imagenet",
    n_clusters: int | None = None,
    max_clusters: int = 15,
    seed: int = 0,
    device: torch.device | str = "cpu",
    architecture: str = "efficientnet_b4",
) -> np.ndarray:
    """Weak labels: the cluster of each image stands for its sub-class (Y-GAN's paper, section 6.3).

    The paper gives: EfficientNet-B4, principal components, k-means, and the number of clusters with the
    largest mean silhouette. It leaves open which numbers of clusters it tried, and how many initialisations
    k-means had. Here every number from 2 to `max_clusters` is tried, with 10 initialisations each. The
    default of 15 lies above the 9 to 12 clusters that the paper found.

    The silhouette of an image is (b - a) / max(a, b), where a is its mean distance to the others of its
    cluster, and b that to the nearest other cluster. For more than 2000 images it is computed on a random
    2000 of them, the same ones for every number of clusters.

    Args:
        x: (n, c, h, w) images, uint8 or float, as `images.as_tensor` returns them.
        features: what is clustered: "imagenet" for a network's features (see `features.Backbone`), the path
            of a state dict for that network, or "pixels" in [-1, 1]. Where the weights of "imagenet" cannot
            be had, the pixels are clustered, with a warning.
        n_clusters: the number of clusters; None chooses it.
        max_clusters: the largest number to try.
        seed: seed of all randomness; the global random states are neither used nor changed.
        device: the torch device that computes the features.
        architecture: the network, one of `features.ARCHITECTURES`; the paper's is EfficientNet-B4.

    Returns:
        (n,) int64, cluster numbers 0 .. k - 1 in no meaningful order.

    Raises:
        ValueError: not images, too few of them, all the same, or fewer different images than clusters.
        FileNotFoundError: there is no file at the given path.
    """
    require(x.ndim == 4, f"expected images of shape (n, c, h, w) to cluster, got {tuple(x.shape)}")
    candidates = _numbers_to_try(x, n_clusters, max_clusters)
    rows = _describe(x, features, device, architecture)  # (n, d)
    # Several threads would add in any order, and a rounding error can move an image to another cluster.
    with threadpool_limits(1):
        rows = PCA(min(COMPONENTS, *rows.shape), random_state=seed).fit_transform(rows)  # (n, <= 100)
        found = [KMeans(k, n_init=RESTARTS, random_state=seed).fit_predict(rows) for k in candidates]
        if len(found) > 1:
            some = np.random.default_rng(seed).permutation(len(x))[:SILHOUETTES]
            quality = [_silhouette(rows[some], labels[some]) for labels in found]
            found = [found[int(np.argmax(quality))]]
    return np.unique(found[0], return_inverse=True)[1].astype(np.int64)  # no number without an image


def _numbers_to_try(x: Tensor, n_clusters: int | None, max_clusters: int) -> Sequence[int]:
    """The numbers of clusters to compare: the given one, or all from 2 that these images allow."""
    largest = max_clusters if n_clusters is None else n_clusters
    require(largest >= 2, f"expected at least 2 clusters, got {largest}")
    different = _count_different(x, largest)
    if n_clusters is not None:
        require(
            different >= n_clusters,
            f"expected at least {n_clusters} different images for {n_clusters} clusters, got {different}",
        )
        return [n_clusters]
    require(
        len(x) >= 3 and different >= 2,
        f"expected at least 3 images, not all alike, to choose a number of clusters, got {len(x)}, of which "
        f"{different} differ",
    )
    return range(2, min(max_clusters, different, len(x) - 1) + 1)


def _count_different(x: Tensor, enough: int) -> int:
    """The number of different images; counting ends at `enough`."""
    seen: set[bytes] = set()
    for image in x:
        seen.add(image.numpy().tobytes())
        if len(seen) >= enough:
            break
    return len(seen)


def _describe(
    x: Tensor, features: str | Path, device: torch.device | str, architecture: str = "efficientnet_b4"
) -> np.ndarray:
    """(n, c, h, w) images -> (n, d) float32: a network's features, or the pixels in [-1, 1]."""
    if features != "pixels":
        # Here, because torchvision takes seconds to import.
        from minigan.blocks.extraction import extract, shared_backbone

        try:
            backbone = shared_backbone(features, torch.device(device), architecture)
        except FileNotFoundError as error:
            if features != "imagenet":
                raise
            warnings.warn(f"pixels are clustered instead of ImageNet features: {error}", stacklevel=3)
        else:
            return np.stack([last for (last,) in extract(x, backbone, (), pooled=True)])
    return to_float(x).flatten(1).numpy()


def _silhouette(rows: np.ndarray, labels: np.ndarray) -> float:
    """The mean silhouette, from -1 to 1; -1 if these images share one cluster, or each has its own."""
    k = len(np.unique(labels))
    return silhouette_score(rows, labels) if 2 <= k < len(rows) else -1.0
