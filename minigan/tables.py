"""What is run: every table of experiments, declared once as the list of its cells.

Here are the tables that a laptop fills, on digits and textures, and the list of all. Those of the papers are
in `paper_tables`. A new table is one function that yields cells, entered in `TABLES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from minigan.cells import SEEDS, Cell, Table
from minigan.paper_tables import PAPER_TABLES

CLASSICAL = ("OneClassSVM", "IsolationForest", "PCA", "KernelDensity", "NearestNeighbors")

#: Passes of ALGAN over the digits: nine classes have ten times the images of one.
DIGITS_EPOCHS = {"one_class": 200, "leave_one_out": 40}
TEXTURE_EPOCHS = 60

#: ALGAN's two kinds of pseudo-anomalies, each switched on and off (the paper's Table 7).
ABLATION: dict[str, dict[str, Any]] = {
    "neither": {"buffer_batches": 0, "alpha": 1.0},
    "buffer": {"buffer_batches": 2, "alpha": 1.0},
    "anomalous latent": {"buffer_batches": 0, "alpha": 0.75},
    "both": {"buffer_batches": 2, "alpha": 0.75},
}


#: Y-GAN and its rival on digits. An epoch of digits has 18 steps, one of MNIST some 700: hence a larger
#: learning rate than the paper's.
YGAN_DIGITS: dict[str, Any] = {"width": 16, "epochs": 100, "lr": 1e-3}
CLUSTERS: dict[str, Any] = {"labels": "cluster", "cluster_features": "pixels"}
#: With the true sub-classes, without the consistency loss (A1 in the paper's Table 5), and with sub-classes
#: found by clustering (Table 6).
YGAN_VARIANTS: dict[tuple[str, str], dict[str, Any]] = {
    ("SoftmaxClassifier", "true labels"): {},
    ("YGAN", "true labels"): {},
    ("YGAN", "true labels, without L_con"): {"lambda_con": 0.0},
    ("SoftmaxClassifier", "clusters"): CLUSTERS,
    ("YGAN", "clusters"): CLUSTERS,
}

#: AGAD on digits: 800 steps, as many as the paper's 35 epochs of 6000 images in batches of 256. The batch is
#: an eighth of the paper's, and so is the least number of labelled anomalies in it.
AGAD_DIGITS: dict[str, Any] = {"epochs": 200, "batch_size": 32, "min_anomalies": 4}
#: The three generators, each at a quarter of the paper's width; one without L_adcon, and one whose second
#: pass has batch norms of its own (AdvProp in the paper's Table 5).
GENERATORS: dict[str, dict[str, Any]] = {
    "naive": {"generator": "naive", "width": 16},
    "unet": {"generator": "unet", "width": 8},
    "unet++": {"generator": "unet++", "width": 8},
    "naive, without L_adcon": {"generator": "naive", "width": 16, "lambda_adcon": 0.0},
    "naive, auxiliary norms": {"generator": "naive", "width": 16, "auxiliary_norms": True},
}
#: What the generator is to spoil of a labelled anomaly.
DISTANCES: dict[str, dict[str, Any]] = {
    "Eq. 10": {"anomaly_distance": "x_hat"},
    "Eq. 3": {"anomaly_distance": "x"},
}

#: ADe-GAN on digits, at a quarter of our default width: some 1080 steps.
ADEGAN_DIGITS: dict[str, Any] = {"width": 16, "epochs": 60}
#: Its score and what that is made of; and the same with batch norm's usual running averages, trained anew:
#: collecting the others draws random numbers, too.
ADEGAN_VARIANTS: dict[str, dict[str, Any]] = {
    "Eq. 11": {},
    "error alone": {"scored_by": "error"},
    "pattern alone": {"scored_by": "pattern"},
    "Eq. 11, running averages": {"collect_norms": False},
    "error alone, running averages": {"collect_norms": False, "scored_by": "error"},
}

#: The simultaneous encoder on digits: 750 steps, half of them at full size, with networks that a laptop can
#: train. Batches are a quarter of the paper's, because one class of digits has some 128 training images.
SIMULTANEOUS_DIGITS: dict[str, Any] = {"kimg": 24, "phase_kimg": 3, "batch_size": 32}
SIMULTANEOUS_DIGITS |= {"width": 8, "max_width": 32, "z_dim": 64}
#: Its scores, as the paper's Table 2 calls them.
SIMULTANEOUS_SCORES: dict[str, dict[str, Any]] = {
    "proposed": {},
    "L_o": {"scored_by": "origin"},
    "L_n": {"scored_by": "residual"},
    "L_r": {"scored_by": "residual_raw"},
    "A": {"scored_by": "f_anogan"},
}
#: What trains the encoder (Table 1), and whether the generator hears of it (not so in released code).
ENCODER_LOSSES: dict[str, dict[str, Any]] = {
    "d_I": {},
    "d_I, E alone": {"encoder_updates": "E"},
    "d_z": {"encoder_loss": "latent"},
}
#: Y-GAN on a single digit, with sub-classes from clustering: more passes, because there are fewer images.
YGAN_ONE_DIGIT: dict[str, Any] = YGAN_DIGITS | CLUSTERS | {"epochs": 300}
#: Three of the ten digits, where all ten would take too long.
THREE_DIGITS = ("1", "3", "8")


def _digits() -> Iterator[Cell]:
    for seed, protocol, target in product(SEEDS, DIGITS_EPOCHS, range(10)):
        algan = {"width": 16, "epochs": DIGITS_EPOCHS[protocol]}
        for method in (*CLASSICAL, "ALGAN"):
            settings = algan if method == "ALGAN" else {}
            yield Cell("digits", method, "", "digits", {"size": 16}, protocol, str(target), seed, settings)


def _algan_7_textures() -> Iterator[Cell]:
    small = {"image_size": 32}
    runs = [(method, "", small) for method in CLASSICAL]
    for label, settings in ABLATION.items():
        runs.append(("ALGAN", label, small | {"width": 16, "epochs": TEXTURE_EPOCHS} | settings))
    for category, seed in product(("brick", "gravel", "grass"), SEEDS):  # one texture after the other
        options = {"category": category, "size": 64}
        for method, label, settings in runs:
            yield Cell(
                "algan-7-textures", method, label, "textures", options, "defects", category, seed, settings
            )


def _ygan_digits() -> Iterator[Cell]:
    small = {"size": 16}
    for ((method, label), variant), seed, target in product(YGAN_VARIANTS.items(), SEEDS, range(10)):
        settings = YGAN_DIGITS | variant
        yield Cell(
            "ygan-digits", method, label, "digits", small, "leave_one_out", str(target), seed, settings
        )


def _agad_digits() -> Iterator[Cell]:
    small = {"size": 16}
    for seed, (label, generator), target in product(SEEDS, GENERATORS.items(), range(10)):
        settings = AGAD_DIGITS | generator
        yield Cell("agad-digits", "AGAD", label, "digits", small, "one_class", str(target), seed, settings)


def _agad_digits_gamma() -> Iterator[Cell]:
    table, small = "agad-digits-gamma", {"size": 16}
    gammas = (0.0, 0.01, 0.05, 0.2)
    for seed, target, gamma in product(SEEDS, range(10), gammas):
        for label, distance in DISTANCES.items():
            settings = AGAD_DIGITS | {"epochs": 100} | GENERATORS["naive"] | distance
            yield Cell(
                table, "AGAD", label, "digits", small, "supervised", str(target), seed, settings, gamma=gamma
            )


def _adegan_digits() -> Iterator[Cell]:
    small = {"size": 16}
    for seed, (label, variant), target in product(SEEDS, ADEGAN_VARIANTS.items(), range(10)):
        settings = ADEGAN_DIGITS | variant
        yield Cell(
            "adegan-digits", "ADeGAN", label, "digits", small, "leave_one_out", str(target), seed, settings
        )


def _adegan_digits_patterns() -> Iterator[Cell]:
    table, small = "adegan-digits-patterns", {"size": 16}
    for seed, target, n_patterns in product(SEEDS, THREE_DIGITS, (2, 6, 14)):
        for label, score in (("", {}), (", error alone", {"scored_by": "error"})):
            settings = ADEGAN_DIGITS | {"n_patterns": n_patterns} | score
            label = f"{n_patterns} patterns{label}"
            yield Cell(table, "ADeGAN", label, "digits", small, "leave_one_out", target, seed, settings)


def _simultaneous_encoder_digits() -> Iterator[Cell]:
    table, small = "simultaneous-encoder-digits", {"size": 16}
    runs = [
        ("SimultaneousEncoder", label, SIMULTANEOUS_DIGITS | score)
        for label, score in SIMULTANEOUS_SCORES.items()
    ]
    runs += [(method, "", {}) for method in CLASSICAL]
    runs.append(("ALGAN", "", {"width": 16, "epochs": DIGITS_EPOCHS["one_class"]}))
    runs += [(method, "clusters", YGAN_ONE_DIGIT) for method in ("SoftmaxClassifier", "YGAN")]
    # Five digits: all the methods together take a minute and a half for each of these splits.
    for seed, target, gamma in product(SEEDS, range(5), (0.0, 0.02, 0.1)):
        for method, label, settings in runs:
            yield Cell(
                table,
                method,
                label,
                "digits",
                small,
                "contaminated",
                str(target),
                seed,
                settings,
                gamma=gamma,
            )


def _simultaneous_encoder_digits_losses() -> Iterator[Cell]:
    table, small = "simultaneous-encoder-digits-losses", {"size": 16}
    for seed, target, (loss, learning) in product(SEEDS, THREE_DIGITS, ENCODER_LOSSES.items()):
        for score in ("proposed", "L_o", "L_n"):
            settings = SIMULTANEOUS_DIGITS | learning | SIMULTANEOUS_SCORES[score]
            label = f"{loss}: {score}"
            yield Cell(
                table, "SimultaneousEncoder", label, "digits", small, "contaminated", target, seed, settings
            )


TABLES = {
    table.name: table
    for table in (
        Table("digits", "Handwritten digits: ALGAN and the classical floor", _digits),
        Table("algan-7-textures", "ALGAN's ablation (Table 7) in small, on textures", _algan_7_textures),
        Table("ygan-digits", "Y-GAN and a plain classifier with the same labels, on digits", _ygan_digits),
        Table("agad-digits", "AGAD's three generators on digits", _agad_digits),
        Table(
            "agad-digits-gamma", "AGAD on digits with more and more labelled anomalies", _agad_digits_gamma
        ),
        Table("adegan-digits", "ADe-GAN's score and its two halves, on digits", _adegan_digits),
        Table(
            "adegan-digits-patterns",
            "ADe-GAN with 2 to 14 patterns, on three digits",
            _adegan_digits_patterns,
        ),
        Table(
            "simultaneous-encoder-digits",
            "The simultaneous encoder and others on contaminated digits",
            _simultaneous_encoder_digits,
        ),
        Table(
            "simultaneous-encoder-digits-losses",
            "What trains the simultaneous encoder (Table 1), on three digits",
            _simultaneous_encoder_digits_losses,
        ),
        *PAPER_TABLES,
    )
}


def table(name: str) -> Table:
    """The table of this name; ValueError with a list when there is none."""
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}; choose one of {', '.join(TABLES)}")
    return TABLES[name]
