"""Leaks: ways in which a score, or its AUROC, comes to know what it should not.

    leaks.batch_statistics(detector, split.test, split.test_labels)     # the same images, scored three ways

**What a score owes to its neighbours.** A batch norm layer in training mode scales every image by the mean
and the variance of its batch. Code that forgets to switch to evaluation mode before it scores, such as
GANomaly's and Skip-GANomaly's, therefore gives an image another score in other company. If the test images
are also sorted, normal ones first, the company says nearly always which of the two an image is.

A detector's own `anomaly_score` never does this (but for `YGAN(batch_statistics=True)`, a switch that
imitates published code). What is here does it on purpose, to measure its worth.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from minigan.checks import require
from minigan.neural import NeuralDetector


def batch_statistics(
    detector: NeuralDetector, images: Any, labels: Any, batch_size: int = 64, seed: int = 0
) -> dict[str, np.ndarray]:
    """Scores of one fitted detector with and without the statistics of the batch.

    The detector is left as it is. Where no batch norm takes part in its score, nothing can leak this way,
    and the three arrays are equal.

    Args:
        detector: any fitted detector made of networks.
        images: (n, ...) as `anomaly_score` takes them, at least two.
        labels: (n,) 0 normal, 1 anomalous. They only say in which order "sorted" goes through the images.
        batch_size: images per batch, at least 2; 64 as in GANomaly's code. Batches are of nearly equal size
            and never larger, except that three images stay together rather than leave one alone.
        seed: of the order in "mixed".

    Returns:
        Three arrays (n,) float64 of scores in the order of `images`, higher = more anomalous:
        "evaluation", what `anomaly_score` gives;
        "mixed", batch norm as in training, with batches drawn at random from all the images;
        "sorted", the same with the batches taken one after the other, the normal images first.

    Raises:
        TypeError, ValueError, NotFittedError: one sentence on what is wrong with the input.
    """
    if not isinstance(detector, NeuralDetector):
        raise TypeError(
            f"expected a detector made of networks, got {type(detector).__name__}: without networks there is "
            "no batch norm that could leak"
        )
    detector._check_fitted()
    x, labels = detector._like_training(images), np.asarray(labels)
    require(len(x) >= 2, f"expected at least 2 images, so that each has a neighbour, got {len(x)}")
    require(batch_size >= 2, f"batch_size must be at least 2, so that each has a neighbour, got {batch_size}")
    require(
        labels.shape == (len(x),) and set(np.unique(labels)) <= {0, 1},
        f"expected {len(x)} labels, each 0 (normal) or 1 (anomalous), got shape {labels.shape} with the "
        f"values {np.unique(labels).tolist()[:5]}",
    )

    evaluation = detector.anomaly_score(images)
    twin, layers = _as_in_training(detector)
    twin.score_batch_size = len(x)  # `_scores` must not cut our batches again
    if not _are_called(layers, twin, x[:2]):  # the same to the last bit, whatever sums round to
        return {"evaluation": evaluation, "mixed": evaluation.copy(), "sorted": evaluation.copy()}
    orders = {
        "mixed": np.random.default_rng(seed).permutation(len(x)),
        "sorted": np.argsort(labels, kind="stable"),
    }
    n_batches = min(-(-len(x) // batch_size), len(x) // 2)  # no batch of one image
    scores = {name: np.empty(len(x)) for name in orders}
    for name, order in orders.items():
        for chosen in np.array_split(order, n_batches):
            scores[name][chosen] = twin._scores(x[chosen])
    return {"evaluation": evaluation, **scores}


def _as_in_training(detector: NeuralDetector) -> tuple[NeuralDetector, list[_BatchNorm]]:
    """A copy whose batch norm layers know nothing but their batch, and these layers."""
    twin = copy.copy(detector)  # what is no network of its own, such as an ImageNet backbone, is shared
    networks = copy.deepcopy(detector._networks())
    vars(twin).update(networks)
    layers = [layer for layer in nn.ModuleList(networks.values()).modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        # Without running statistics, a layer takes those of the batch in every mode, as it does in training.
        layer.running_mean = layer.running_var = None
    return twin, layers


def _are_called(layers: Iterable[_BatchNorm], twin: NeuralDetector, x: Tensor) -> bool:
    """Whether scoring these images runs through any of the layers."""
    calls: list[nn.Module] = []
    for layer in layers:
        layer.register_forward_hook(lambda layer, *_: calls.append(layer))
    twin._scores(x)
    return bool(calls)
