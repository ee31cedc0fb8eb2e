"""minigan beside what people would use instead, in the same process and in turns.

* anomalib's GANomaly: a training step of both on the same networks, without Lightning's trainer around it.
* anomalib's PaDiM and PatchCore: learning and scoring on the same layers of the same network,
  EfficientNet-Lite0. anomalib would download its weights; they are ours, where they fit, tensor by tensor.
* PyOD's AnoGAN, on the pixels, beside ours: its networks are others, so this compares two ways to get scores.
* scikit-learn itself, on the same rows of pixels: what the classical methods add to it.

Where a library is not installed, its part is left out, and a line says so.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from sklearn import decomposition, ensemble, neighbors, svm

from bench.methods import task
from bench.papers import started, stepper
from bench.stopwatch import interleaved, row
from minigan import data, metrics, registry
from minigan.blocks.extraction import CACHE, shared_backbone
from minigan.images import as_tensor, to_float
from minigan.torch_state import usual_modes

#: GANomaly: images and a batch. Its defaults are the same in both: 64 features, codes of 100.
SHAPE, BATCH = (3, 32, 32), 64
#: PaDiM and PatchCore: side of the input, and numbers of images to learn from and to score.
INPUT, N_TRAIN, N_TEST = 128, 16, 32
#: Stages of EfficientNet-Lite0 in timm that end with minigan's blocks 4 and 10.
NETWORK, LAYERS = "tf_efficientnet_lite0", ["blocks.2", "blocks.4"]
CORESET = 0.1


def measure(repetitions: int) -> Iterator[dict[str, Any]]:
    """How many times as long the other library takes, for each of the pairs that are installed."""
    with warnings.catch_warnings(), usual_modes():
        warnings.simplefilter("ignore")
        yield from _scikit_learn(repetitions)
        if _installed("anomalib"):
            yield from _ganomaly(repetitions)
            for method in ("PaDiM", "PatchCore"):
                yield from _patches(method, repetitions)
        if _installed("pyod"):
            yield from _pyod(repetitions)


def _installed(name: str) -> bool:
    if find_spec(name) is None:
        print(f"{name} is not installed: nothing is compared with it", file=sys.stderr)
        return False
    return True


def _ratios(
    name: str, variant: str, functions: dict[str, Callable[[], Any]], repetitions: int
) -> Iterator[dict[str, Any]]:
    """Milliseconds of "minigan" and of the other one, and their ratio within each turn."""
    for function in functions.values():
        function()
    seconds = interleaved(functions, repetitions)
    ours, theirs = seconds.values()
    yield row("others", name, variant, "ms of minigan", 1000 * ours)
    yield row("others", name, variant, "ms of the other", 1000 * theirs)
    yield row("others", name, variant, "other / minigan", theirs / ours)


def _scikit_learn(repetitions: int) -> Iterator[dict[str, Any]]:
    """`fit` and scoring of the classical methods beside scikit-learn's own estimators on rows of pixels."""
    x, _, test = task("PCA")
    rows, test_rows = (to_float(as_tensor(part)).flatten(1).double().numpy() for part in (x, test))

    def pca() -> None:
        model = decomposition.PCA(0.95, svd_solver="full").fit(rows)
        ((test_rows - model.inverse_transform(model.transform(test_rows))) ** 2).mean(1)

    width = float(np.sqrt(rows.var(axis=0).mean()) * len(rows) ** (-1 / (rows.shape[1] + 4)))
    theirs: dict[str, Callable[[], Any]] = {
        "PCA": pca,
        "OneClassSVM": lambda: svm.OneClassSVM().fit(rows).decision_function(test_rows),
        "IsolationForest": lambda: (
            ensemble.IsolationForest(random_state=0).fit(rows).score_samples(test_rows)
        ),
        "KernelDensity": lambda: (
            neighbors.KernelDensity(bandwidth=width, leaf_size=len(rows)).fit(rows).score_samples(test_rows)
        ),
        "NearestNeighbors": lambda: neighbors.NearestNeighbors().fit(rows).kneighbors(test_rows)[0].mean(1),
    }
    for method, other in theirs.items():

        def ours(method: str = method) -> None:
            registry.get(method)(holdout=0).fit(x).anomaly_score(test)

        yield from _ratios(
            f"scikit-learn, {method}", "fit and score", {"minigan": ours, "other": other}, repetitions
        )


def _ganomaly(repetitions: int) -> Iterator[dict[str, Any]]:
    from anomalib.data import ImageBatch
    from anomalib.models import Ganomaly
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Resize

    detector = started("GANomaly", SHAPE)
    ours = stepper(detector, BATCH)
    other = Ganomaly(batch_size=BATCH, pre_processor=PreProcessor(transform=Resize(SHAPE[1:])))
    optimizers = other.configure_optimizers()
    # What Lightning's trainer would provide.
    other.optimizers = lambda: optimizers
    other.manual_backward = lambda loss, **options: loss.backward(**options)
    other.log_dict = lambda *_, **__: None
    other.train()
    batch = ImageBatch(image=torch.rand(BATCH, *SHAPE))
    functions = {"minigan": ours, "other": lambda: other.training_step(batch, 0)}
    yield from _ratios("anomalib, GANomaly", "training step", functions, repetitions)
    for name, networks in (("minigan", detector._networks().values()), ("anomalib", [other.model])):
        weights = sum(p.numel() for network in networks for p in network.parameters()) / 1e6
        yield row("others", "anomalib, GANomaly", name, "million parameters", weights)

    x = torch.rand(BATCH, *SHAPE)
    other.model.eval()

    def score() -> None:
        with torch.inference_mode():
            other.model(x)

    functions = {"minigan": lambda: detector._scores(2 * x - 1), "other": score}
    yield from _ratios("anomalib, GANomaly", "scoring", functions, repetitions)


def _patches(method: str, repetitions: int) -> Iterator[dict[str, Any]]:
    """PaDiM or PatchCore on bundled textures, features as they are, in both libraries."""
    from anomalib.models.image.padim.torch_model import PadimModel
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    backbone = shared_backbone("imagenet", torch.device("cpu"), "efficientnet_lite0")
    textures = data.load("textures", size=64)
    normal, anomalous = (textures.images[textures.labels == label] for label in (0, 1))
    x = normal[:N_TRAIN]
    test = np.concatenate([normal[N_TRAIN:][: N_TEST // 2], anomalous[: N_TEST // 2]])
    labels = np.repeat([0, 1], N_TEST // 2)
    settings: dict[str, Any] = {"input_size": INPUT, "normalise": False, "device": "cpu", "holdout": 0}
    if method == "PatchCore":
        settings["coreset"] = CORESET
    detector = registry.get(method)(**settings)
    found: dict[str, np.ndarray] = {}

    def prepared(images: np.ndarray) -> torch.Tensor:
        inputs = torch.nn.functional.interpolate(to_float(as_tensor(images)), (INPUT, INPUT), mode="bilinear")
        return inputs.expand(-1, 3, -1, -1)

    def learn() -> None:
        CACHE.clear()
        detector.fit(x)

    def score() -> None:
        CACHE.clear()
        found["minigan"] = detector.anomaly_score(test)

    def made() -> Any:
        if method == "PaDiM":
            n = detector.mean_.shape[1]
            model: Any = PadimModel(backbone=NETWORK, layers=LAYERS, pre_trained=False, n_features=n)
        else:
            model = PatchcoreModel(backbone=NETWORK, layers=LAYERS, pre_trained=False)
        _take_weights(model.feature_extractor, backbone)
        return model

    learn()
    models = [made() for _ in range(repetitions + 1)]  # each learns once
    used: list[Any] = []

    def learn_there() -> None:
        model = models.pop()
        model.train()
        model.feature_extractor.eval()
        with torch.no_grad():
            for image in prepared(x).split(1):
                model(image)
            model.fit() if method == "PaDiM" else model.subsample_embedding(CORESET)
        used.append(model.eval())

    def score_there() -> None:
        with torch.no_grad():
            parts = [used[-1](image).pred_score for image in prepared(test).split(1)]
        found["anomalib"] = torch.cat(parts).flatten().numpy()

    name = f"anomalib, {method}"
    yield from _ratios(name, "fit", {"minigan": learn, "other": learn_there}, repetitions)
    yield from _ratios(name, "scoring", {"minigan": score, "other": score_there}, repetitions)
    for library, scores in found.items():
        yield row("others", name, library, "AUROC", metrics.auroc(labels, scores))


def _take_weights(extractor: torch.nn.Module, backbone: Any) -> None:
    """Our weights of the same network for timm's layers, in order; all shapes have to agree."""
    ours = [value for name, value in backbone.network.state_dict().items() if "num_batches" not in name]
    theirs = [value for name, value in extractor.state_dict().items() if "num_batches" not in name]
    if all(a.shape == b.shape for a, b in zip(theirs, ours, strict=False)):
        for a, b in zip(theirs, ours, strict=False):
            a.copy_(b)
    else:
        print(
            "the weights of EfficientNet-Lite0 stand in another order in timm: they stay random",
            file=sys.stderr,
        )


def _pyod(repetitions: int) -> Iterator[dict[str, Any]]:
    from pyod.models.anogan import AnoGAN

    x, _, test = task("AnoGAN")
    x, test = x[:64], test[:10]
    rows, test_rows = x.reshape(len(x), -1).astype(float), test.reshape(len(test), -1).astype(float)
    epochs, search = 2, 20
    settings = {"width": 16, "epochs": epochs, "search_steps": search, "batch_size": 16, "progress": False}
    detector = registry.get("AnoGAN")(**settings, device="cpu", holdout=0)

    def ours() -> None:
        detector.fit(x).anomaly_score(test)

    def theirs() -> None:  # its fit also searches for every training image
        AnoGAN(epochs=epochs, epochs_query=search, batch_size=16).fit(rows).decision_function(test_rows)

    yield from _ratios("PyOD, AnoGAN", "fit and score", {"minigan": ours, "other": theirs}, repetitions)
