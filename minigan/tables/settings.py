"""What the tables share: targets, sizes of the images, hyperparameters of each budget, and the baselines.

A table of a paper has up to three budgets. "paper" is what the paper did, as far as it says. "quick" is for
two CPU cores: a random part of the images, small images, narrow networks, some thousand steps. A number of
the quick budget shows how a method works, and rarely how well. "long" has the paper's images, epochs and
batches with small images and narrow networks, on a few targets: what the number of steps alone does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from minigan.data.arrays import CIFAR10, CIFAR100, FASHION
from minigan.data.defects import MVTEC
from minigan.tables.cells import WITHOUT_TARGET, Cell, Runs, Table, grid

#: The classes that are normal, or left out, in turn. A data set that is not here has one target, "all".
TARGETS: dict[str, tuple[str, ...]] = {
    "mnist": ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
    "fashion_mnist": FASHION,
    "cifar10": CIFAR10,
    "cifar100": tuple(CIFAR100),
    "mvtec": MVTEC,
    "alzheimer": ("NonDemented",),
    "chest_xray": ("NORMAL",),
    "lung_histopathology": ("lung_n",),
    "retinal_oct": ("NORMAL",),
    "kth_cellvideos": ("normal",),
}

#: Options of `data.load`. MNIST can shrink to 16 pixels without harm, CIFAR-10 cannot. Where patients are
#: known, the quick budget keeps them on one side; the paper's has the official split as AGAD's paper uses it,
#: which does not, and so leaks.
IMAGES: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {
        "mnist": {"size": 16, "n": 7000},
        "fashion_mnist": {"size": 16, "n": 7000},
        "cifar10": {"n": 6000},
        "cifar100": {"labels": "coarse", "n": 12000},
        "mvtec": {"size": 64},
        "mtd": {"size": 64},
        "coil100": {"size": 32},
        "plantvillage": {"species": ["apple", "strawberry"], "size": 64},
        "kth_cellvideos": {"size": 32, "n": 6000},
        "alzheimer": {"size": 32, "n": 3000},
        "chest_xray": {"size": 32, "n": 3000},
        "lung_histopathology": {"size": 32, "n": 3000},
        "retinal_oct": {"size": 32, "n": 3000},
    },
    "paper": {
        "mnist": {"size": 32},
        "fashion_mnist": {"size": 32},
        "cifar10": {},
        "cifar100": {"labels": "coarse"},
        "mvtec": {"size": 256},
        "mtd": {"size": 256},
        "coil100": {"size": 256},
        "plantvillage": {"size": 256},
        "kth_cellvideos": {},
        "alzheimer": {"size": 128},
        "chest_xray": {"size": 128, "by_patient": False},
        "lung_histopathology": {"size": 128},
        "retinal_oct": {"size": 128, "by_patient": False},
    },
}

IMAGES["long"] = IMAGES["paper"] | {"mnist": {"size": 16}, "mvtec": {"size": 64}}

#: Both have the same, so that they differ in the labels alone.
DEEP_SVDD: dict[str, Any] = {
    "width": 16,
    "batch_size": 64,
    "epochs": 30,
    "search_epochs": 20,
    "pretrain_epochs": 30,
    "pretrain_search_epochs": 30,
    "lr": 1e-3,
}
#: The quick budget's hyperparameters, where they differ from a method's defaults, which are the paper's.
#: Learning rates are larger where there are far fewer steps. Batches of AGAD are an eighth of the paper's,
#: and so is the minimum of labelled anomalies in them; those of the simultaneous encoder are a quarter.
QUICK: dict[str, dict[str, Any]] = {
    "ALGAN": {"width": 16, "epochs": 60},
    # A third of the paper's rotations in training, an eighth in prediction: each is a pass of the backbone.
    "ALGANFeature": {"rotations_fit": 8, "rotations_score": 8, "epochs": 60},
    "AGAD": {"batch_size": 32, "min_anomalies": 4, "epochs": 40},
    "ADeGAN": {"width": 16, "epochs": 15},
    "SimultaneousEncoder": {
        "kimg": 24,
        "phase_kimg": 3,
        "batch_size": 32,
        "width": 8,
        "max_width": 32,
        "z_dim": 64,
    },
    "YGAN": {"width": 16, "epochs": 20, "lr": 1e-3},
    "SoftmaxClassifier": {"width": 16, "epochs": 20, "lr": 1e-3},
    # A hundred times the paper's learning rate: codes of averaged weights would be far too short (`EGBAD`).
    "EGBAD": {
        "width": 16,
        "z_dim": 32,
        "batch_size": 32,
        "lr": 1e-3,
        "decay": 0.0,
        "dropout": 0.0,
        "epochs": 40,
    },
    "GANomaly": {"width": 16, "epochs": 100},
    "SkipGANomaly": {"width": 16, "epochs": 100},
    "ADGAN": {"batch_size": 32, "epochs": 60, "width": 8},
    "AnoGAN": {"width": 16, "epochs": 60, "search_steps": 50, "search_lr": 0.1},
    # Small batches and a critic of two steps: with the paper's five, G has a few dozen steps on one class.
    "FAnoGAN": {
        "width": 16,
        "epochs": 60,
        "encoder_epochs": 40,
        "batch_size": 16,
        "n_critic": 2,
        "lr": 5e-4,
        "lr_E": 1e-3,
    },
    "MemAE": {"width": 16, "epochs": 100, "lr": 1e-3},
    "ALOCC": {"width": 16, "epochs": 60, "batch_size": 32},
    "OCGAN": {"width": 16, "epochs": 60, "batch_size": 32, "lr": 1e-3},
    "GPND": {"width": 16, "epochs": 60, "batch_size": 32},
    "GeoTrans": {"width": 16},
    "ARNet": {"width": 8, "epochs": 60, "lr": 1.0},
    "PatchCore": {"coreset": 0.01},
    "DeepSVDD": DEEP_SVDD,
    "DeepSAD": DEEP_SVDD,
}
#: The methods that the papers compare with, from AnoGAN on: reconstructions and discriminators, proxy tasks,
#: one-class networks. Their epochs in `QUICK` are for one class, some hundred images.
NETWORKS = (
    "AnoGAN",
    "EGBAD",
    "FAnoGAN",
    "GANomaly",
    "SkipGANomaly",
    "ADGAN",
    "ALOCC",
    "OCGAN",
    "GPND",
    "MemAE",
    "GeoTrans",
    "ARNet",
    "DeepSVDD",
)
#: Passes over nine classes, which have nine times the images of one; a fifth of those over one class where
#: nothing else is said. One pass of GeoTrans has 72 copies of each image.
NINE_CLASSES: dict[str, dict[str, int]] = {
    "FAnoGAN": {"epochs": 12, "encoder_epochs": 6},
    "GeoTrans": {"epochs": 1},
    "ARNet": {"epochs": 10},
    "DeepSVDD": {"epochs": 20, "search_epochs": 15, "pretrain_epochs": 20, "pretrain_search_epochs": 20},
}
#: What runs in the long budget, on which targets: {data set: {method: hyperparameters}}. All else is the
#: paper's. The encoder has a twentieth of the paper's images, as a day on one core allows.
LONG: dict[str, dict[str, dict[str, Any]]] = {
    "mnist": {
        "YGAN": {"width": 16},
        "SoftmaxClassifier": {"width": 16},
        "AGAD": {},  # `agad_runs` has the widths of its generators
        "ADeGAN": {"width": 16},
        "GANomaly": {"width": 16},
        "FAnoGAN": {"width": 16},
    },
    "mvtec": {"ALGAN": {"width": 16}},
    "cifar10": {
        "SimultaneousEncoder": {
            "kimg": 600,
            "phase_kimg": 30,
            "batch_size": 32,
            "width": 16,
            "max_width": 64,
            "z_dim": 128,
        },
    },
}
LONG_TARGETS: dict[str, tuple[str, ...]] = {
    "mnist": ("1", "4", "8"),
    "mvtec": ("bottle", "transistor"),
    "cifar10": ("automobile",),
}
#: Methods on pretrained features, each as in its paper as far as `minigan.features` has the backbone: DN2's
#: is a ResNet-152. The weights have to be downloaded.
PAPER_FEATURES: dict[str, dict[str, Any]] = {
    "PaDiM": {
        "backbone": "wide_resnet50_2",
        "blocks": (1, 2, 3),
        "n_features": 550,
        "normalise": False,
    },
    "PatchCore": {"backbone": "wide_resnet50_2", "blocks": (2, 3), "normalise": False},
    "Mahalanobis": {"backbone": "efficientnet_b4"},
    "DN2": {"backbone": "wide_resnet101_2"},
}
PRETRAINED = tuple(PAPER_FEATURES)
#: In the quick budget all have EfficientNet-Lite0, which comes with minigan's extra `features`. Small images
#: are enlarged to the first size, photographs are read in the second, which it was trained on.
BACKBONE = "efficientnet_lite0"
ON_FEATURES = f"backbone={BACKBONE}"
SMALL_INPUT, PHOTOGRAPH_INPUT = 64, 224
#: Passes over the images, where these are large or many.
QUICK_EPOCHS: dict[tuple[str, str], int] = {
    ("AGAD", "cifar10"): 30,
    ("AGAD", "cifar100"): 30,
    ("ADeGAN", "cifar10"): 8,
    ("YGAN", "cifar10"): 10,
    ("SoftmaxClassifier", "cifar10"): 10,
    ("YGAN", "plantvillage"): 30,
    ("SoftmaxClassifier", "plantvillage"): 30,
}
#: Passes over the images, where the paper has others than the defaults.
PAPER_EPOCHS: dict[tuple[str, str], int] = {
    ("YGAN", "plantvillage"): 200,
    ("SoftmaxClassifier", "plantvillage"): 200,
}

#: An argument of the protocols. By default, some of the training images are held out for the threshold. An
#: AUROC needs none, and the papers train on all of them; so does their budget.
NOTHING_HELD_OUT: dict[str, Any] = {"validation": 0}

#: The classical methods of scikit-learn, as the tables on digits and textures compare them.
CLASSICAL = ("OneClassSVM", "IsolationForest", "PCA", "KernelDensity", "NearestNeighbors")
#: The classical baselines in the papers' tables: those that need only seconds there.
BASELINES = ("PCA", "NearestNeighbors", "IsolationForest")
#: The largest image that a baseline gets: these methods compare pixels, and more of them add little.
BASELINE_SIZE = 64


def hyperparameters(budget: str, method: str, dataset: str, **varied: Any) -> dict[str, Any]:
    """A method's hyperparameters on a data set, where they differ from its defaults.

    `varied` is what the table varies. It holds for all budgets and overrides what the budget says.
    """
    if budget == "quick":
        settings = dict(QUICK.get(method, {}))
        epochs = QUICK_EPOCHS.get((method, dataset))
        if varied.get("labels") == "cluster" or varied.get("scored_by") == "weak_prototype":
            settings["cluster_features"] = "pixels"  # EfficientNet's weights have to be downloaded
    else:
        settings = dict(LONG.get(dataset, {}).get(method, {})) if budget == "long" else {}
        epochs = PAPER_EPOCHS.get((method, dataset))
    if epochs is not None:
        settings["epochs"] = epochs
    return settings | varied


def baselines(budget: str, dataset: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The runs of the classical baselines, which shrink images above 64x64 to that size."""
    size = IMAGES[budget][dataset].get("size", 32)
    settings = {"image_size": BASELINE_SIZE} if size > BASELINE_SIZE else {}
    return {(method, ""): settings for method in BASELINES}


def compared(
    budget: str, dataset: str, protocol: str, methods: Iterable[str]
) -> dict[tuple[str, str], dict[str, Any]]:
    """The runs of methods that a paper compares itself with, on images of the size of its own method."""
    runs: dict[tuple[str, str], dict[str, Any]] = {}
    for method in methods:
        if method in PRETRAINED:
            larger = {"input_size": SMALL_INPUT} if budget == "quick" else {}
            runs |= on_features(budget, dataset, [method], **larger)
            continue
        settings = hyperparameters(budget, method, dataset)
        if budget == "quick" and protocol == "leave_one_out":
            settings |= NINE_CLASSES.get(method) or {"epochs": settings["epochs"] // 5}
        runs[method, ""] = settings
    return runs


def on_features(
    budget: str, dataset: str, methods: Iterable[str] = PRETRAINED, **varied: Any
) -> dict[tuple[str, str], dict[str, Any]]:
    """The runs of methods on pretrained features.

    In the quick budget their backbone is not their paper's, so the label says which it is. In the paper's
    budget, what is not in `PRETRAINED` keeps its default.
    """
    quick = budget == "quick"
    runs = {}
    for method in methods:
        features = {"backbone": BACKBONE} if quick else PAPER_FEATURES.get(method, {})
        settings = hyperparameters(budget, method, dataset, **features, **varied)
        runs[method, ON_FEATURES if quick else ""] = settings
    return runs


def dataset_grid(
    budget: str,
    table: str,
    dataset: str,
    protocol: str,
    runs: Runs,
    targets: Iterable[str] | None = None,
    gammas: Iterable[float] = (0.0,),
    options: Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | None = None,
) -> Iterator[Cell]:
    """The `grid` of a data set in the images of a budget.

    `targets` are by default all of the data set. `options` of `data.load` are added to those of the budget,
    and so are arguments of the protocol, `split`.
    """
    whole = NOTHING_HELD_OUT if budget != "quick" and protocol not in WITHOUT_TARGET else {}
    return grid(
        table=table,
        runs=runs,
        dataset=dataset,
        options=IMAGES[budget][dataset] | dict(options or {}),
        protocol=protocol,
        targets=TARGETS.get(dataset, ("all",)) if targets is None else targets,
        gammas=gammas,
        budget=budget,
        split=whole | dict(split or {}),
    )


def photographs(budget: str) -> dict[str, Any]:
    """Options of `data.load` for methods on features, which need more pixels than networks from scratch."""
    return {"size": PHOTOGRAPH_INPUT} if budget == "quick" else {}


def two_budgets(
    name: str, title: str, declare: Callable[[str], Iterable[Cell]], published: tuple[str, int] | None = None
) -> Table:
    """A table with "quick" and "paper", from a function of the budget. Cells of the first seed come first."""
    return Table(
        name,
        title,
        quick=partial(_seed_by_seed, declare, "quick"),
        paper=partial(_seed_by_seed, declare, "paper"),
        published=published,
    )


def all_budgets(
    name: str, title: str, declare: Callable[[str], Iterable[Cell]], published: tuple[str, int] | None = None
) -> Table:
    """A table that has the long budget, too: of its cells, those that `LONG` and `LONG_TARGETS` name."""
    long = partial(_seed_by_seed, declare, "long")
    return replace(two_budgets(name, title, declare, published), long=long)


def _seed_by_seed(declare: Callable[[str], Iterable[Cell]], budget: str) -> list[Cell]:
    cells = declare(budget)
    if budget == "long":
        cells = filter(_is_long, cells)
    return sorted(cells, key=lambda cell: cell.seed)  # keeps the order within a seed


def _is_long(cell: Cell) -> bool:
    """Whether a cell is worth hours: see `LONG`. Baselines on the same images take seconds."""
    methods = (*LONG.get(cell.dataset, {}), *BASELINES)
    return cell.method in methods and cell.target in LONG_TARGETS.get(cell.dataset, ())
