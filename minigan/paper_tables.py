"""The papers' tables, declared to be run: the same data, splits and targets, and the same settings.

Each has two budgets. "paper" is what the paper did, as far as it says. "quick" is for two cores: a part of
the images, drawn at random; small ones; narrow networks; some thousand steps. A number of the quick budget
shows how a method works, and seldom how well.

Labels are the "setting" of the published numbers (`published.py`), so that each finds its partner; one that
has none there is ours. Beside the methods stands the floor, what scikit-learn does with the same images in
seconds. A method that is not in minigan yet has no cells.

What has no table here: AGAD's Table 8 and ALGAN's Table 5 are measured without training, and ALGAN's Table 6
needs nothing but the seconds in the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from minigan.benchmarks import CIFAR10, CIFAR100, FASHION
from minigan.cells import SEEDS, Cell, Table, grid
from minigan.defect_sets import MVTEC

Runs = Mapping[tuple[str, str], Mapping[str, Any]]  # {(method, label): settings}

TARGETS: dict[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
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
MEDICAL = ("alzheimer", "chest_xray", "lung_histopathology", "retinal_oct")

#: Options of `data.load`. MNIST shrinks to 16 pixels without harm, CIFAR-10 does not.
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
        **{name: {"size": 32, "n": 3000} for name in MEDICAL},
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
        **{name: {"size": 128} for name in MEDICAL},
    },
}

#: What differs from a method's defaults, which are the papers'. Learning rates are larger where there are far
#: fewer steps.
QUICK: dict[str, dict[str, Any]] = {
    "ALGAN": {"width": 16, "epochs": 60},
    "AGAD": {"batch_size": 32, "min_anomalies": 4, "epochs": 40},
    "ADeGAN": {"width": 16, "epochs": 15},
    "SimultaneousEncoder": {
        **{"kimg": 24, "phase_kimg": 3, "batch_size": 32},
        **{"width": 8, "max_width": 32, "z_dim": 64},
    },
    "YGAN": {"width": 16, "epochs": 20, "lr": 1e-3},
    "SoftmaxClassifier": {"width": 16, "epochs": 20, "lr": 1e-3},
}
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
PAPER_EPOCHS = {("YGAN", "plantvillage"): 200, ("SoftmaxClassifier", "plantvillage"): 200}
#: AGAD's generators; the quick budget has a quarter of their widths.
WIDTHS = {"naive": 16, "unet": 8, "unet++": 8}

FLOOR = ("PCA", "NearestNeighbors", "IsolationForest")


def _settings(budget: str, method: str, dataset: str, **more: Any) -> dict[str, Any]:
    """Hyperparameters of a method on a data set, and `more`, which counts for both budgets."""
    quick = budget == "quick"
    epochs = (QUICK_EPOCHS if quick else PAPER_EPOCHS).get((method, dataset))
    settings = {**QUICK[method]} if quick and method in QUICK else {}
    if epochs is not None:
        settings["epochs"] = epochs
    clusters = more.get("labels") == "cluster" or more.get("scored_by") == "weak_prototype"
    if clusters and quick:
        settings["cluster_features"] = "pixels"  # EfficientNet's weights have to be downloaded
    return settings | more


def _floor(dataset: str, budget: str) -> Runs:
    """Large images are looked at in 64x64: pixels are all that these methods know."""
    large = IMAGES[budget][dataset].get("size", 32) > 64
    return {(method, ""): {"image_size": 64} if large else {} for method in FLOOR}


def _cells(
    budget: str, table: str, dataset: str, protocol: str, runs: Runs, gammas: Iterable[float] = (0.0,), **more
) -> Iterator[Cell]:
    """The grid of a data set with all its targets; `more` are further options of `data.load`."""
    targets = TARGETS.get(dataset, ("all",))
    options = IMAGES[budget][dataset] | more
    return grid(table, runs, dataset, options, protocol, targets, gammas, budget=budget)


def _seed_by_seed(cells: Iterable[Cell]) -> list[Cell]:
    return sorted(cells, key=lambda cell: cell.seed)


def _table(
    name: str, title: str, declare: Callable[[str], Iterable[Cell]], published: tuple[str, int] | None = None
) -> Table:
    """A table whose cells are told by the budget alone."""
    return Table(name, title, partial(declare, "quick"), partial(declare, "paper"), published)


# ---------------------------------------------------------------------- Y-GAN

LEAVE_ONE_OUT = {1: "mnist", 2: "fashion_mnist", 3: "cifar10"}
#: Scores of section 6.3, compared in Figure 8. The sixth, "weak_prototype", has a training of its own: it has
#: clusters made before.
OTHER_SCORES = ("image", "latent", "semantic", "prototype", "entropy")
#: As `ygan.ABLATIONS`, which cannot be read without loading torch; a test compares them.
ABLATIONS: dict[str, dict[str, Any]] = {
    "A1": {"lambda_con": 0.0},
    "A2": {"lambda_r": 0.0},
    "A3": {"lambda_r": 0.0, "lambda_con": 0.0},
    "B1": {"encoder": "split"},
    "B2": {"encoder": "single"},
    "B3": {"encoder": "single", "lambda_s": 0.0, "scored_by": "image"},
    "B4": {"lambda_adv": 0.0},
}


def _ygan_own(budget: str, dataset: str, methods: tuple[str, ...] = ("YGAN", "SoftmaxClassifier")) -> Runs:
    return {(method, ""): _settings(budget, method, dataset) for method in methods}


def _ygan(number: int, budget: str) -> Iterator[Cell]:
    """Tables 1 to 3; five of the other scores stand here, too, because they share the training."""
    dataset = LEAVE_ONE_OUT[number]
    runs = dict(_ygan_own(budget, dataset))
    for score in OTHER_SCORES:
        runs["YGAN", f"scored_by={score}"] = _settings(budget, "YGAN", dataset, scored_by=score)
    return _cells(budget, f"ygan-{number}", dataset, "leave_one_out", {**runs, **_floor(dataset, budget)})


def _ygan_4(budget: str) -> Iterator[Cell]:
    runs = {**_ygan_own(budget, "plantvillage"), **_floor("plantvillage", budget)}
    return _cells(budget, "ygan-4", "plantvillage", "defects", runs)


def _ygan_whole(budget: str, methods: tuple[str, ...] = ("YGAN",)) -> list[Cell]:
    """The proposal's own cells of Tables 1 to 4, which Tables 5 and 6 repeat."""
    cells = [cell for number in LEAVE_ONE_OUT for cell in _ygan(number, budget)] + list(_ygan_4(budget))
    return [cell for cell in cells if cell.method in methods and not cell.label]


def _ygan_varied(budget: str, table: str, variants: Mapping[str, Mapping[str, Any]]) -> Iterator[Cell]:
    """Y-GAN on all four data sets, by label."""
    for dataset in (*LEAVE_ONE_OUT.values(), "plantvillage"):
        protocol = "defects" if dataset == "plantvillage" else "leave_one_out"
        runs = {
            ("YGAN", label): _settings(budget, "YGAN", dataset, **variant)
            for label, variant in variants.items()
        }
        yield from _cells(budget, table, dataset, protocol, runs)


def _ygan_5(budget: str) -> list[Cell]:
    variants = {f"ablation={name}": settings for name, settings in ABLATIONS.items()}
    return _seed_by_seed([*_ygan_whole(budget), *_ygan_varied(budget, "ygan-5", variants)])


def _ygan_6(budget: str) -> list[Cell]:
    variants = {"labels=cluster": {"labels": "cluster"}}
    return _seed_by_seed([*_ygan_whole(budget), *_ygan_varied(budget, "ygan-6", variants)])


def _ygan_figure_8(budget: str) -> list[Cell]:
    cells: list[Cell] = []
    for number, dataset in LEAVE_ONE_OUT.items():
        weak = _settings(budget, "YGAN", dataset, scored_by="weak_prototype")
        cells += [cell for cell in _ygan(number, budget) if cell.method == "YGAN"]
        cells += _cells(
            *(budget, "ygan-figure-8", dataset, "leave_one_out"), {("YGAN", "scored_by=weak_prototype"): weak}
        )
    return _seed_by_seed(cells)


# ---------------------------------------------------------------------- AGAD

#: The generators behind "Ours" in AGAD's Table 1 (a footnote and appendix B.1).
OURS = {"mnist": "naive", "fashion_mnist": "unet++", "cifar10": "unet++", "cifar100": "unet++"}
GAMMAS = (0.0, 0.01, 0.05, 0.1, 0.2)  # of Table 2
GAMMAS_345 = (0.0, 0.01, 0.03, 0.05, 0.1)


def _agad_runs(budget: str, dataset: str, variants: Mapping[str, Mapping[str, Any]]) -> Runs:
    runs = {}
    for label, variant in variants.items():
        width = {"width": WIDTHS[variant["generator"]]} if budget == "quick" else {}
        runs["AGAD", label] = _settings(budget, "AGAD", dataset, **width, **variant)
    return runs


def _agad_1(budget: str) -> list[Cell]:
    cells: list[Cell] = []
    for dataset, ours in OURS.items():
        runs = {
            **_agad_runs(budget, dataset, {f"generator={ours}": {"generator": ours}}),
            **_floor(dataset, budget),
        }
        cells += _cells(budget, "agad-1", dataset, "one_class", runs)
    return _seed_by_seed(cells)


def _agad_9(budget: str) -> list[Cell]:
    """All three generators, those of Table 1 among them."""
    cells = [cell for cell in _agad_1(budget) if cell.method == "AGAD"]
    for dataset, ours in OURS.items():
        others = {f"generator={name}": {"generator": name} for name in WIDTHS if name != ours}
        cells += _cells(budget, "agad-9", dataset, "one_class", _agad_runs(budget, dataset, others))
    return _seed_by_seed(cells)


def _agad_2(budget: str) -> list[Cell]:
    cells: list[Cell] = []
    for dataset in ("mnist", "fashion_mnist", "cifar10"):
        ours = {f"generator={OURS[dataset]}": {"generator": OURS[dataset]}}
        cells += _cells(budget, "agad-2", dataset, "supervised", _agad_runs(budget, dataset, ours), GAMMAS)
    return _seed_by_seed(cells)


def _agad_3(budget: str) -> list[Cell]:
    cells: list[Cell] = []
    variants = {"": {"generator": "unet"}, "lambda_adcon=0": {"generator": "unet", "lambda_adcon": 0.0}}
    for dataset in MEDICAL:
        runs = {**_agad_runs(budget, dataset, variants), **_floor(dataset, budget)}
        cells += _cells(budget, "agad-3", dataset, "supervised", runs, GAMMAS_345)
    return _seed_by_seed(cells)


def _agad_unet(budget: str, table: str, variants: Mapping[str, Mapping[str, Any]]) -> list[Cell]:
    """The U-Net with more and more labelled anomalies, on the three sets of Tables 4 and 5."""
    named = {
        f"generator=unet{',' * bool(label)}{label}": {"generator": "unet", **variant}
        for label, variant in variants.items()
    }
    cells: list[Cell] = []
    for dataset in ("fashion_mnist", "cifar10", "cifar100"):
        runs = _agad_runs(budget, dataset, named)
        cells += _cells(budget, table, dataset, "supervised", runs, GAMMAS_345)
    return cells


def _agad_4(budget: str) -> list[Cell]:
    return _seed_by_seed(_agad_unet(budget, "agad-4", {"": {}, "lambda_adcon=0": {"lambda_adcon": 0.0}}))


def _agad_5(budget: str) -> list[Cell]:
    """Its last row repeats Table 4."""
    aux, freeze = {"auxiliary_norms": True}, {"freeze_norms": True}
    variants = {
        "auxiliary_norms=True,freeze_norms=True": aux | freeze,
        "auxiliary_norms=True": aux,
        "freeze_norms=True": freeze,
    }
    whole = [cell for cell in _agad_4(budget) if cell.label == "generator=unet"]
    return _seed_by_seed([*_agad_unet(budget, "agad-5", variants), *whole])


# ---------------------------------------------------------------------- ADe-GAN


def _adegan_runs(budget: str, dataset: str, *counts: int) -> Runs:
    return {("ADeGAN", f"n_patterns={n}"): _settings(budget, "ADeGAN", dataset, n_patterns=n) for n in counts}


def _adegan_1(budget: str) -> Iterator[Cell]:
    """Its floor stands in Y-GAN's Table 1: the splits are the same."""
    return _cells(budget, "adegan-1", "mnist", "leave_one_out", _adegan_runs(budget, "mnist", 10))


def _adegan_2(budget: str) -> list[Cell]:
    """The mean over the ten digits for each number of patterns; that of ten is Table 1."""
    others = _adegan_runs(budget, "mnist", 2, 4, 6, 8, 12, 14)
    cells = [*_adegan_1(budget), *_cells(budget, "adegan-2", "mnist", "leave_one_out", others)]
    return _seed_by_seed(cells)


def _adegan_figure_3(budget: str) -> list[Cell]:
    cells: list[Cell] = []
    for dataset in ("fashion_mnist", "cifar10"):
        cells += _cells(
            budget, "adegan-figure-3", dataset, "leave_one_out", _adegan_runs(budget, dataset, 10)
        )
    return _seed_by_seed(cells)


# ---------------------------------------------------------------------- simultaneous encoder

#: The scores of Table 2. f-AnoGAN's own networks are another method; its score is measured on ours, too.
SCORES = ("proposed", "origin", "residual", "residual_raw", "f_anogan")


def _encoder_runs(
    budget: str, dataset: str, *scores: str, **more: Any
) -> dict[tuple[str, str], dict[str, Any]]:
    first = "".join(f"{name}={value}," for name, value in more.items())
    return {
        ("SimultaneousEncoder", f"{first}scored_by={score}"): _settings(
            budget, "SimultaneousEncoder", dataset, **more, scored_by=score
        )
        for score in scores
    }


def _simultaneous_encoder_2(budget: str) -> list[Cell]:
    cells: list[Cell] = []
    for dataset, target in (("cifar10", "automobile"), ("kth_cellvideos", "normal")):
        runs = {**_encoder_runs(budget, dataset, *SCORES), **_floor(dataset, budget)}
        options = IMAGES[budget][dataset]
        cells += grid(
            *("simultaneous-encoder-2", runs, dataset, options, "contaminated", [target], (0.0, 0.02)),
            budget=budget,
        )
    return _seed_by_seed(cells)


def _simultaneous_encoder_1(budget: str) -> list[Cell]:
    """Image distance, as in Table 2 without contamination, against latent distance; three scores."""
    three = ("residual", "origin", "proposed")
    labels = [f"scored_by={score}" for score in three]
    cells = [
        cell
        for cell in _simultaneous_encoder_2(budget)
        if cell.dataset == "kth_cellvideos" and cell.label in labels and not cell.gamma
    ]
    latent = _encoder_runs(budget, "kth_cellvideos", *three, encoder_loss="latent")
    cells += _cells(budget, "simultaneous-encoder-1", "kth_cellvideos", "contaminated", latent)
    return _seed_by_seed(cells)


#: Beyond the paper: every method with more and more anomalies among its training images.
CONTAMINATIONS = (0.0, 0.02, 0.1, 0.005, 0.01, 0.05, 0.2)


def _contamination(budget: str) -> Iterator[Cell]:
    """The widest-spaced shares first."""
    dataset = "cifar10"
    # One class of CIFAR-10 has a ninth of the images that the other tables train on, hence more passes.
    more = {"epochs": 60} if budget == "quick" else {}
    runs = {
        **_encoder_runs(budget, dataset, *SCORES),
        ("ALGAN", ""): _settings(budget, "ALGAN", dataset, **more),
        **_agad_runs(budget, dataset, {"generator=naive": {"generator": "naive"}}),
        ("ADeGAN", ""): _settings(budget, "ADeGAN", dataset, **more),
        **{
            (method, "labels=cluster"): _settings(budget, method, dataset, labels="cluster", **more)
            for method in ("YGAN", "SoftmaxClassifier")
        },
        **_floor(dataset, budget),
    }
    options = IMAGES[budget][dataset]
    for seed in SEEDS:
        for gamma in CONTAMINATIONS:
            yield from grid(
                *("contamination", runs, dataset, options, "contaminated", ["automobile"], (gamma,)),
                seeds=(seed,),
                budget=budget,
            )


# ---------------------------------------------------------------------- ALGAN

#: How ALGAN's paper (section 4.2) varies the training images of each MVTec-AD category: `ALGAN(augment=...)`.
MVTEC_AUGMENTATIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("carpet", "grid", "leather", "tile"), ("vflip", "hflip")),
    **dict.fromkeys(("bottle", "hazelnut"), ("vflip", "hflip", "rotate")),
    **dict.fromkeys(("wood", "toothbrush", "transistor", "zipper"), ("hflip",)),
    **dict.fromkeys(("metal_nut", "screw"), ("rotate",)),
    **dict.fromkeys(("cable", "capsule", "pill"), ()),
}
#: Without colours; the toothbrushes have some, but the paper makes them grey.
GREY = ("grid", "screw", "toothbrush", "zipper")
#: The check marks of Table 7.
CHECK_MARKS: dict[str, dict[str, Any]] = {
    "buffer=0,anomalous_latent=0": {"buffer_batches": 0, "alpha": 1.0},
    "buffer=1,anomalous_latent=0": {"alpha": 1.0},
    "buffer=0,anomalous_latent=1": {"buffer_batches": 0},
    "buffer=1,anomalous_latent=1": {},
}


def _mvtec(budget: str, table: str, runs_of: Callable[[str], Runs]) -> list[Cell]:
    """MVTec AD, where every category is a data set of its own."""
    cells: list[Cell] = []
    for category in MVTEC:
        options = {"category": category, **IMAGES[budget]["mvtec"]}
        options |= {"grayscale": True} if category in GREY else {}
        cells += grid(table, runs_of(category), "mvtec", options, "defects", [category], budget=budget)
    return _seed_by_seed(cells)


def _algan_mvtec(budget: str, category: str, **more: Any) -> dict[str, Any]:
    settings = _settings(budget, "ALGAN", "mvtec", augment=MVTEC_AUGMENTATIONS[category], **more)
    # The brightest of three equal channels, and their mean, would be two more copies.
    return settings if category in GREY else {**settings, "extra_channels": True}


def _algan_1(budget: str) -> list[Cell]:
    return _mvtec(
        budget,
        "algan-1",
        lambda category: {("ALGAN", ""): _algan_mvtec(budget, category), **_floor("mvtec", budget)},
    )


def _algan_7(budget: str) -> list[Cell]:
    return _mvtec(
        budget,
        "algan-7",
        lambda category: {
            ("ALGAN", label): _algan_mvtec(budget, category, **marks) for label, marks in CHECK_MARKS.items()
        },
    )


def _feature(budget: str, **settings: Any) -> Runs:
    """ALGAN on features needs ImageNet's weights, and hours on two cores: it has no quick budget."""
    return {("ALGANFeature", ""): settings} if budget == "paper" else {}


def _algan_2(budget: str) -> list[Cell]:
    """Features of objects are those of the middle (224 of 256 pixels), of textures those of the whole."""
    textures = ("carpet", "grid", "leather", "tile", "wood")
    return _mvtec(
        budget,
        "algan-2",
        lambda category: _feature(budget, **({} if category in textures else {"crop_from": 256})),
    )


def _flipped(budget: str, dataset: str) -> dict[str, Any]:
    """Tiles and objects are mirrored at random in training (section 4.2)."""
    return _settings(budget, "ALGAN", dataset, augment=("hflip",))


def _algan_3(budget: str) -> Iterator[Cell]:
    runs = {("ALGAN", ""): _flipped(budget, "mtd"), **_feature(budget), **_floor("mtd", budget)}
    return _cells(budget, "algan-3", "mtd", "defects", runs)


def _algan_4(budget: str) -> Iterator[Cell]:
    runs = {("ALGAN", ""): _flipped(budget, "coil100"), **_feature(budget), **_floor("coil100", budget)}
    return _cells(budget, "algan-4", "coil100", "objects", runs)


def _mtd_split(budget: str) -> list[Cell]:
    """Tiles split by tile, as in Table 3, and photograph by photograph, as in the paper."""
    runs = {("ALGAN", "random split"): _flipped(budget, "mtd")}
    runs |= {(method, "random split"): settings for (method, _), settings in _floor("mtd", budget).items()}
    split = _cells(budget, "mtd-split", "mtd", "defects", runs, by_tile=False)
    return _seed_by_seed([*_algan_3(budget), *split])


# ---------------------------------------------------------------------- all of them on one split


def _mnist(budget: str) -> list[Cell]:
    """Every method on the splits of Y-GAN's and ADe-GAN's Table 1."""
    few = {"epochs": 15} if budget == "quick" else {}  # nine classes have nine times the images of one
    runs = {
        ("ALGAN", ""): _settings(budget, "ALGAN", "mnist", **few),
        **_agad_runs(budget, "mnist", {"generator=naive": {"generator": "naive", **few}}),
        **_encoder_runs(budget, "mnist", *SCORES),
        **{(method, ""): {} for method in ("KernelDensity", "OneClassSVM")},
    }
    own = _cells(budget, "mnist", "mnist", "leave_one_out", runs)
    return _seed_by_seed([*_ygan(1, budget), *_adegan_1(budget), *own])


#: In the order in which `minigan reproduce --next` takes them up.
PAPER_TABLES = (
    _table("ygan-1", "Y-GAN, Table 1: MNIST, one digit left out", partial(_ygan, 1), ("ygan", 1)),
    _table("adegan-1", "ADe-GAN, Table 1: MNIST, one digit left out", _adegan_1, ("adegan", 1)),
    _table("agad-1", "AGAD, Table 1: one class of MNIST, Fashion-MNIST, CIFAR", _agad_1, ("agad", 1)),
    _table("algan-1", "ALGAN, Table 1: MVTec AD", _algan_1, ("algan", 1)),
    _table(
        "simultaneous-encoder-2",
        "Simultaneous encoder, Table 2: cars and cells, contaminated",
        _simultaneous_encoder_2,
        ("simultaneous_encoder", 2),
    ),
    _table("mnist", "Every method on MNIST, one digit left out", _mnist),
    _table("ygan-2", "Y-GAN, Table 2: Fashion-MNIST, one class left out", partial(_ygan, 2), ("ygan", 2)),
    _table("ygan-3", "Y-GAN, Table 3: CIFAR-10, one class left out", partial(_ygan, 3), ("ygan", 3)),
    _table("algan-3", "ALGAN, Table 3: magnetic tiles", _algan_3, ("algan", 3)),
    _table("mtd-split", "Magnetic tiles, split tile by tile or at random", _mtd_split),
    _table("algan-4", "ALGAN, Table 4: COIL-100", _algan_4, ("algan", 4)),
    _table("ygan-4", "Y-GAN, Table 4: healthy and ill leaves", _ygan_4, ("ygan", 4)),
    _table("algan-7", "ALGAN, Table 7: with and without its pseudo-anomalies", _algan_7, ("algan", 7)),
    _table("adegan-figure-3", "ADe-GAN, Figure 3: Fashion-MNIST and CIFAR-10", _adegan_figure_3),
    _table("contamination", "More and more anomalies in the training set: every method", _contamination),
    _table("agad-9", "AGAD, Table 9: three generators", _agad_9, ("agad", 9)),
    _table("ygan-6", "Y-GAN, Table 6: labels from clustering", _ygan_6, ("ygan", 6)),
    _table("ygan-figure-8", "Y-GAN, Figure 8: seven scores", _ygan_figure_8),
    _table("adegan-2", "ADe-GAN, Table 2: two to fourteen patterns", _adegan_2, ("adegan", 2)),
    _table("agad-4", "AGAD, Table 4: with and without L_adcon", _agad_4, ("agad", 4)),
    _table("agad-2", "AGAD, Table 2: labelled anomalies", _agad_2, ("agad", 2)),
    _table("ygan-5", "Y-GAN, Table 5: ablations", _ygan_5, ("ygan", 5)),
    _table("agad-5", "AGAD, Table 5: batch norms apart or frozen", _agad_5, ("agad", 5)),
    _table("agad-3", "AGAD, Table 3: four medical sets", _agad_3, ("agad", 3)),
    _table(
        "simultaneous-encoder-1",
        "Simultaneous encoder, Table 1: what trains the encoder, on cells",
        _simultaneous_encoder_1,
        ("simultaneous_encoder", 1),
    ),
    _table("algan-2", "ALGAN, Table 2: MVTec AD, on features", _algan_2, ("algan", 2)),
)
