"""Tables that a laptop fills: every method on scikit-learn's digits, ALGAN's ablation on textures.

They repeat the papers' questions in small and have the quick budget only. Networks are as wide as in the
quick budget of the papers' tables (`settings.QUICK`); what differs here is the number of passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minigan.tables.agad import WIDTHS
from minigan.tables.algan import ABLATION, PSEUDO_ANOMALIES
from minigan.tables.cells import SEEDS, Cell, Runs, Table, grid
from minigan.tables.settings import CLASSICAL, QUICK, hyperparameters
from minigan.tables.simultaneous_encoder import LATENT_LOSS, SCORES
from minigan.tables.ygan import ABLATIONS, NORM_AFTER

TEN_DIGITS = range(10)
#: Where all ten would take too long.
FIVE_DIGITS = range(5)
THREE_DIGITS = (1, 3, 8)


def _on_digits(
    table: str,
    runs: Runs,
    protocol: str,
    targets: Iterable[int] = TEN_DIGITS,
    gammas: Iterable[float] = (0.0,),
    seeds: Iterable[int] = SEEDS,
) -> Iterator[Cell]:
    """The grid of the digits in 16x16 pixels."""
    return grid(table, runs, "digits", {"size": 16}, protocol, targets, gammas, seeds)


# ---------------------------------------------------------------------- ALGAN

#: Passes of ALGAN over the digits: nine classes have nine times the images of one, hence fewer passes.
ALGAN_EPOCHS = {"one_class": 200, "leave_one_out": 40}


def _classical() -> dict[tuple[str, str], dict[str, Any]]:
    """The classical methods with their defaults."""
    return {(method, ""): {} for method in CLASSICAL}


def _algan_digits() -> Iterator[Cell]:
    """ALGAN and the classical baselines, one digit normal or one digit left out."""
    for seed in SEEDS:
        for protocol, epochs in ALGAN_EPOCHS.items():
            runs = _classical()
            runs["ALGAN", ""] = QUICK["ALGAN"] | {"epochs": epochs}
            yield from _on_digits("digits", runs, protocol, seeds=[seed])


DIGITS = Table("digits", "Handwritten digits: ALGAN and the classical baselines", _algan_digits)


#: Readings of what the paper leaves open: one batch of latents for all batches of two epochs, which is
#: Algorithm 1 to the letter; and other values of what section 4.1 sets.
ALGAN_READINGS: dict[str, dict[str, Any]] = {
    "one batch of latents": {"shared_latents": True},
    "alpha 0.5": {"alpha": 0.5},
    "sigma 2": {"sigma": 2.0},
    "slower G": {"lr_G": 5e-5},
}


def _algan_digits_readings() -> Iterator[Cell]:
    """ALGAN by several readings of its paper, beside the default: all of them on one split, then the next."""
    for seed in SEEDS:
        for protocol, epochs in ALGAN_EPOCHS.items():
            same = (protocol, seed)
            for cell in DIGITS.cells():
                if cell.method == "ALGAN" and (cell.protocol, cell.seed) == same:
                    yield cell
            runs: dict[tuple[str, str], dict[str, Any]] = {
                ("ALGAN", label): QUICK["ALGAN"] | {"epochs": epochs} | reading
                for label, reading in ALGAN_READINGS.items()
            }
            yield from _on_digits("algan-digits-readings", runs, protocol, seeds=[seed])


ALGAN_DIGITS_READINGS = Table(
    "algan-digits-readings", "ALGAN on digits by several readings of its paper", _algan_digits_readings
)


def _algan_textures() -> Iterator[Cell]:
    """ALGAN's Table 7 on scikit-image's textures with drawn defects: one texture after the other."""
    small = {"image_size": 32}
    runs: dict[tuple[str, str], dict[str, Any]] = {(method, ""): small for method in CLASSICAL}
    for label, switched in ABLATION.items():
        runs["ALGAN", label] = QUICK["ALGAN"] | small | PSEUDO_ANOMALIES | switched
    for category in ("brick", "gravel", "grass"):
        options = {"category": category, "size": 64}
        yield from grid("algan-7-textures", runs, "textures", options, "defects", [category])


ALGAN_7_TEXTURES = Table(
    "algan-7-textures", "ALGAN's ablation (Table 7) in small, on textures", _algan_textures
)

# ---------------------------------------------------------------------- Y-GAN

#: Passes of Y-GAN and the plain classifier: over nine digits, and over one, which has fewer images.
YGAN_EPOCHS = 100
YGAN_ONE_DIGIT_EPOCHS = 300
#: With the true sub-classes, without the consistency loss (A1 in the paper's Table 5), and with sub-classes
#: from clustering (Table 6).
YGAN_VARIANTS: dict[tuple[str, str], dict[str, Any]] = {
    ("SoftmaxClassifier", "true labels"): {},
    ("YGAN", "true labels"): {},
    ("YGAN", "true labels, without L_con"): {"lambda_con": 0.0},
    ("SoftmaxClassifier", "clusters"): {"labels": "cluster"},
    ("YGAN", "clusters"): {"labels": "cluster"},
}


def _ygan_digits() -> Iterator[Cell]:
    """Y-GAN and its label-matched baseline, one variant after the other."""
    for (method, label), variant in YGAN_VARIANTS.items():
        settings = hyperparameters("quick", method, "digits", epochs=YGAN_EPOCHS, **variant)
        yield from _on_digits("ygan-digits", {(method, label): settings}, "leave_one_out")


YGAN_DIGITS = Table(
    "ygan-digits", "Y-GAN and a plain classifier with the same labels, on digits", _ygan_digits
)

#: What the losses beside L_s do, with both orders of batch norm (the paper's A1 to A3), and two readings of
#: the released code. What is missing here is in `YGAN_VARIANTS`.
YGAN_READINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("YGAN", "without the reversal"): ABLATIONS["A2"],
    ("YGAN", "with neither"): ABLATIONS["A3"],
    ("SoftmaxClassifier", "norm after"): NORM_AFTER,
    ("YGAN", "norm after"): NORM_AFTER,
    ("YGAN", "norm after, without L_con"): NORM_AFTER | ABLATIONS["A1"],
    ("YGAN", "norm after, without the reversal"): NORM_AFTER | ABLATIONS["A2"],
    ("YGAN", "norm after, with neither"): NORM_AFTER | ABLATIONS["A3"],
    ("YGAN", "released L_adv"): {"detach_features": True},
    ("YGAN", "released L_con, one shuffle"): {"consistency": "released"},
}


def _ygan_digits_readings() -> Iterator[Cell]:
    """Y-GAN with true labels by several readings of its paper: all of them on one split, then the next."""
    yield from (cell for cell in YGAN_DIGITS.cells() if cell.label.startswith("true labels"))
    runs = {
        (method, label): hyperparameters("quick", method, "digits", epochs=YGAN_EPOCHS, **reading)
        for (method, label), reading in YGAN_READINGS.items()
    }
    yield from _on_digits("ygan-digits-readings", runs, "leave_one_out")


YGAN_DIGITS_READINGS = Table(
    "ygan-digits-readings", "Y-GAN on digits by several readings of its paper", _ygan_digits_readings
)

# ---------------------------------------------------------------------- AGAD

#: 800 steps, as many as 35 epochs of 6000 images in batches of 256.
AGAD_SETTINGS: dict[str, Any] = QUICK["AGAD"] | {"epochs": 200}
AGAD_GAMMA_EPOCHS = 100
#: The three generators; one without L_adcon, and one whose second pass has batch norms of its own (AdvProp in
#: the paper's Table 5).
GENERATORS: dict[str, dict[str, Any]] = {
    "naive": {"generator": "naive", "width": WIDTHS["naive"]},
    "unet": {"generator": "unet", "width": WIDTHS["unet"]},
    "unet++": {"generator": "unet++", "width": WIDTHS["unet++"]},
    "naive, without L_adcon": {"generator": "naive", "width": WIDTHS["naive"], "lambda_adcon": 0.0},
    "naive, auxiliary norms": {"generator": "naive", "width": WIDTHS["naive"], "auxiliary_norms": True},
}
#: The same with running averages over both passes of the generator, which is what happens when nothing is
#: done about it, and was our reading at first.
BOTH_PASSES: dict[str, dict[str, Any]] = {
    f"{name}, both passes": GENERATORS[name] | {"average_both_passes": True} for name in WIDTHS
}
#: What the reconstruction of a labelled anomaly is pushed away from: two readings of the paper.
DISTANCES: dict[str, dict[str, Any]] = {
    "Eq. 10": {"anomaly_distance": "x_hat"},
    "Eq. 3": {"anomaly_distance": "x"},
}


def _agad_digits() -> Iterator[Cell]:
    """AGAD's generators without labelled anomalies, one digit normal."""
    for seed in SEEDS:
        for label, generator in (GENERATORS | BOTH_PASSES).items():
            runs = {("AGAD", label): AGAD_SETTINGS | generator}
            yield from _on_digits("agad-digits", runs, "one_class", seeds=[seed])


AGAD_DIGITS = Table("agad-digits", "AGAD's three generators on digits", _agad_digits)


def _agad_digits_gamma() -> Iterator[Cell]:
    """The smallest generator with labelled anomalies, by both readings of the distance.

    The runs are of our first reading of batch norm, with running averages over both passes.
    """
    naive = AGAD_SETTINGS | BOTH_PASSES["naive, both passes"] | {"epochs": AGAD_GAMMA_EPOCHS}
    runs = {("AGAD", label): naive | distance for label, distance in DISTANCES.items()}
    return _on_digits("agad-digits-gamma", runs, "supervised", gammas=(0.0, 0.01, 0.05, 0.2))


AGAD_DIGITS_GAMMA = Table(
    "agad-digits-gamma", "AGAD on digits with more and more labelled anomalies", _agad_digits_gamma
)

# ---------------------------------------------------------------------- ADe-GAN

#: Some 1080 steps.
ADEGAN_SETTINGS: dict[str, Any] = QUICK["ADeGAN"] | {"epochs": 60}
ERROR_ALONE = {"scored_by": "error"}
#: Its score and the two parts of it; and the same with batch norm's usual running averages, trained anew:
#: collecting the others draws random numbers, too.
ADEGAN_VARIANTS: dict[str, dict[str, Any]] = {
    "Eq. 11": {},
    "error alone": ERROR_ALONE,
    "pattern alone": {"scored_by": "pattern"},
    "Eq. 11, running averages": {"collect_norms": False},
    "error alone, running averages": ERROR_ALONE | {"collect_norms": False},
}


def _adegan_digits() -> Iterator[Cell]:
    """ADe-GAN's score and its two parts, one digit left out."""
    for seed in SEEDS:
        for label, variant in ADEGAN_VARIANTS.items():
            runs = {("ADeGAN", label): ADEGAN_SETTINGS | variant}
            yield from _on_digits("adegan-digits", runs, "leave_one_out", seeds=[seed])


ADEGAN_DIGITS = Table("adegan-digits", "ADe-GAN's score and its two halves, on digits", _adegan_digits)


#: What might carry its score: the control of the error (the same training), the weight of L_ip, the number of
#: steps and the width.
ADEGAN_READINGS: dict[str, dict[str, Any]] = {
    "error over ink": {"scored_by": "error_over_ink"},
    "without L_ip": {"lambda_ip": 0.0},
    "L_ip x 5": {"lambda_ip": 5.0},
    "twice the steps": {"epochs": 2 * ADEGAN_SETTINGS["epochs"]},
    "twice the width": {"width": 2 * ADEGAN_SETTINGS["width"]},
}


def _adegan_digits_readings() -> Iterator[Cell]:
    """ADe-GAN by one change at a time, beside the default: all of them on one split, then the next."""
    yield from (cell for cell in ADEGAN_DIGITS.cells() if cell.label in ("Eq. 11", "error alone"))
    runs: dict[tuple[str, str], dict[str, Any]] = {
        ("ADeGAN", label): ADEGAN_SETTINGS | reading for label, reading in ADEGAN_READINGS.items()
    }
    yield from _on_digits("adegan-digits-readings", runs, "leave_one_out")


ADEGAN_DIGITS_READINGS = Table(
    "adegan-digits-readings", "ADe-GAN on digits: what carries its score", _adegan_digits_readings
)


def _adegan_digits_patterns() -> Iterator[Cell]:
    """ADe-GAN's Table 2 with three numbers of patterns, by its score and by the error alone."""
    runs: dict[tuple[str, str], dict[str, Any]] = {}
    for n_patterns in (2, 6, 14):
        settings = ADEGAN_SETTINGS | {"n_patterns": n_patterns}
        runs["ADeGAN", f"{n_patterns} patterns"] = settings
        runs["ADeGAN", f"{n_patterns} patterns, error alone"] = settings | ERROR_ALONE
    return _on_digits("adegan-digits-patterns", runs, "leave_one_out", THREE_DIGITS)


ADEGAN_DIGITS_PATTERNS = Table(
    "adegan-digits-patterns", "ADe-GAN with 2 to 14 patterns, on three digits", _adegan_digits_patterns
)

# ---------------------------------------------------------------------- simultaneous encoder

#: The distance that trains the encoder (Table 1); and the same where the generator does not learn from it, as
#: in the released code.
ENCODER_LOSSES: dict[str, dict[str, Any]] = {
    "d_I": {},
    "d_I, E alone": {"encoder_updates": "E"},
    "d_z": LATENT_LOSS,
}


def _encoder_settings(score: str) -> dict[str, Any]:
    """The encoder with a score; 750 steps, half of them at full size. The default score is not repeated."""
    settings = QUICK["SimultaneousEncoder"]
    return settings if score == "proposed" else settings | {"scored_by": score}


def _encoder_digits() -> Iterator[Cell]:
    """The encoder by five scores, and other methods, on one digit, with contaminated training images."""
    runs: dict[tuple[str, str], dict[str, Any]] = {
        ("SimultaneousEncoder", symbol): _encoder_settings(score) for score, symbol in SCORES.items()
    }
    runs |= _classical()
    runs["ALGAN", ""] = QUICK["ALGAN"] | {"epochs": ALGAN_EPOCHS["one_class"]}
    for method in ("SoftmaxClassifier", "YGAN"):
        runs[method, "clusters"] = hyperparameters(
            "quick", method, "digits", epochs=YGAN_ONE_DIGIT_EPOCHS, labels="cluster"
        )
    # All the methods together take a minute and a half for each of these splits.
    return _on_digits(
        "simultaneous-encoder-digits", runs, "contaminated", FIVE_DIGITS, gammas=(0.0, 0.02, 0.1)
    )


SIMULTANEOUS_ENCODER_DIGITS = Table(
    "simultaneous-encoder-digits",
    "The simultaneous encoder and others on contaminated digits",
    _encoder_digits,
)


def _encoder_digits_losses() -> Iterator[Cell]:
    """The encoder's Table 1 by three scores, without contamination."""
    runs = {
        ("SimultaneousEncoder", f"{loss}: {SCORES[score]}"): _encoder_settings(score) | learning
        for loss, learning in ENCODER_LOSSES.items()
        for score in ("proposed", "origin", "residual")
    }
    return _on_digits("simultaneous-encoder-digits-losses", runs, "contaminated")


SIMULTANEOUS_ENCODER_DIGITS_LOSSES = Table(
    "simultaneous-encoder-digits-losses",
    "What trains the simultaneous encoder (Table 1), on digits",
    _encoder_digits_losses,
)
