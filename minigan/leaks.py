"""Test-set leakage through batch norm: how much a score depends on the other images of its batch.

    leaks.batch_statistics(detector, split.test, split.test_labels)     # the same images, scored three ways

A batch norm layer in training mode normalises every image with the mean and the variance of its batch,
y = (x - mean) / sqrt(var + eps). Code that forgets to switch to evaluation mode before it scores, such as
GANomaly's and Skip-GANomaly's, therefore gives an image another score in another batch. If the test images
are also sorted, normal ones first, nearly every batch consists of one class, and so its statistics reveal the
label.

A detector's own `anomaly_score` never does this (except with `YGAN(batch_statistics=True)`, a switch that
imitates published code). The function here does it on purpose, to measure what the leak is worth.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from minigan.checks import is_whole_number, require
from minigan.neural import NeuralDetector


def batch_statistics(
    detector: NeuralDetector, images: Any, labels: Any, batch_size: int = 64, seed: int = 0
) -> dict[str, np.ndarray]:
    """Scores of one fitted detector with and without the statistics of the batch.

    The detector itself does not change. Where no batch norm takes part in its score, nothing can leak this
    way, and the three arrays are equal.

    Args:
        detector: any fitted detector made of networks.
        images: (n, ...) as `anomaly_score` takes them, at least two.
        labels: (n,) 0 normal, 1 anomalous. They only give the order of the images in "sorted".
        batch_size: images per batch, at least 2; 64 as in GANomaly's code. Batches are of nearly equal size
            and never larger, except that three images share a batch rather than leave one alone.
        seed: seed of the order in "mixed".

    Returns:
        Three arrays of scores, (n,) float64 in the order of `images`, higher = more anomalous.
        "evaluation" is what `anomaly_score` gives; "mixed" has batch norm as in training, with batches drawn
        at random from all the images; "sorted" has it with batches in the order of the labels, normal images
        first.

    Raises:
        TypeError, ValueError, NotFittedError: one sentence on what is wrong with the input.
    """
    if not isinstance(detector, NeuralDetector):
        raise TypeError(
            f"expected a detector made of networks, got {type(detector).__name__}; it has no batch norm that "
            "could leak"
        )
    detector._check_fitted()
    x, labels = detector._like_training(images), np.asarray(labels)
    require(len(x) >= 2, f"expected at least 2 images, because one alone has no batch, got {len(x)}")
    require(
        is_whole_number(batch_size) and batch_size >= 2,
        f"expected batch_size to be a whole number of at least 2, got {batch_size!r}",
    )
    require(
        labels.shape == (len(x),) and set(np.unique(labels)) <= {0, 1},
        f"expected {len(x)} labels, each 0 (normal) or 1 (anomalous), got shape {labels.shape} with the "
        f"values {np.unique(labels).tolist()[:5]}",
    )

    evaluation = detector.anomaly_score(images)
    twin, layers = _as_in_training(detector)
    twin.score_batch_size = len(x)  # type: ignore[misc]  # so that `_scores` keeps our batches whole
    if not _are_called(layers, twin, x[:2]):  # other batches could still round differently
        return {"evaluation": evaluation, "mixed": evaluation.copy(), "sorted": evaluation.copy()}
    orders = {
        "mixed": np.random.default_rng(seed).permutation(len(x)),
        "sorted": np.argsort(labels, kind="stable"),
    }
    n_batches = min(math.ceil(len(x) / batch_size), len(x) // 2)  # no batch of one image
    scores = {name: np.empty(len(x)) for name in orders}
    for name, order in orders.items():
        for chosen in np.array_split(order, n_batches):
            scores[name][chosen] = twin._scores(x[chosen])
    return {"evaluation": evaluation, **scores}


def _as_in_training(detector: NeuralDetector) -> tuple[NeuralDetector, list[_BatchNorm]]:
    """A copy whose batch norm layers use the statistics of the batch, and the list of these layers."""
    twin = copy.copy(detector)  # shares everything but the networks, such as an ImageNet backbone
    networks = copy.deepcopy(detector._networks())
    for name, network in networks.items():
        setattr(twin, name, network)
    layers = [layer for layer in nn.ModuleList(networks.values()).modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        # Without running statistics, a layer uses those of the batch in every mode, as it does in training.
        layer.running_mean = layer.running_var = None
    return twin, layers


def _are_called(layers: Iterable[_BatchNorm], twin: NeuralDetector, x: Tensor) -> bool:
    """Whether scoring these images runs through any of the layers."""
    calls: list[nn.Module] = []
    for layer in layers:
        layer.register_forward_hook(lambda layer, *_: calls.append(layer))
    twin._scores(x)
    return bool(calls)
