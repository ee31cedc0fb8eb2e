"""Names to read in tables and figures: "fashion_mnist" -> Fashion-MNIST, "n_patterns=10" -> 10 patterns.

    readable("buffer=0,anomalous_latent=1")     # "no buffer, anomalous latents"
    named(frame)                                # a frame with such names, in its cells, rows and columns
    table(frame)                                # the same as a table for a page, with three decimals

Records and functions keep the short names; these are for the reader.
"""

from __future__ import annotations

import re

import pandas as pd
from pandas.io.formats.style import Styler

#: Data sets, protocols, scores, and methods whose class has another name than in prose.
NAMES = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "coil100": "COIL-100",
    "color_digits": "colour digits",
    "mvtec": "MVTec AD",
    "mtd": "magnetic tiles",
    "plantvillage": "PlantVillage",
    "kth_cellvideos": "KTH cells",
    "alzheimer": "brain scans",
    "chest_xray": "chest X-rays",
    "lung_histopathology": "lung tissue",
    "retinal_oct": "retinal OCT",
    "one_class": "one-class",
    "leave_one_out": "leave-one-out",
    "f_anogan": "f-AnoGAN",
    "residual_raw": "residual, not stretched",
    "weak_prototype": "weak prototype",
    "error_over_ink": "error over ink",
    "ADeGAN": "ADe-GAN",
    "ALGANFeature": "ALGAN-feature",
    "DeepSAD": "Deep SAD",
    "DeepSVDD": "Deep SVDD",
    "FAnoGAN": "f-AnoGAN",
    "IsolationForest": "isolation forest",
    "KernelDensity": "kernel density",
    "NearestNeighbors": "nearest neighbours",
    "PNet": "P-Net",
    "OneClassSVM": "one-class SVM",
    "SimultaneousEncoder": "simultaneous encoder",
    "SkipGANomaly": "Skip-GANomaly",
    "SoftmaxClassifier": "softmax classifier",
    "YGAN": "Y-GAN",
}
#: Settings as labels have them, "key=value"; {} is the value.
SETTINGS = {
    "buffer=0": "no buffer",
    "buffer=1": "buffer",
    "anomalous_latent=0": "no anomalous latents",
    "anomalous_latent=1": "anomalous latents",
    "generator=naive": "naive",
    "generator=unet": "U-Net",
    "generator=unet++": "UNet++",
    "lambda_adcon=0": "without L_adcon",
    "auxiliary_norms=True": "auxiliary norms",
    "freeze_norms=True": "frozen norms",
    "encoder_loss=latent": "d_z",
    "labels=cluster": "clusters as labels",
    "input=features": "on features",
    "backbone=efficientnet_lite0": "EfficientNet-Lite0",
    "backbone=wide_resnet50_2": "Wide ResNet-50-2",
    "backbone=wide_resnet101_2": "Wide ResNet-101-2",
    "norm=after": "batch norm after the activation",
    "scored_by": "{}",
    "n_patterns": "{} patterns",
    "coreset_percent": "coreset of {} %",
    "epochs": "{} epochs",
    "ablation": "ablation {}",
}

_WORD = re.compile(r"(?<![\w.])(" + "|".join(sorted(NAMES, key=len, reverse=True)) + r")(?!\w|=)")
_SETTING = re.compile(r"(?<!\w)(\w+)=([\w.+]+),? ?")


def readable(text: str) -> str:
    """A name for readers, wherever a short one stands in a text. Other words stay as they are."""

    def setting(match: re.Match[str]) -> str:
        key, value = match.groups()
        pattern = SETTINGS.get(f"{key}={value}", SETTINGS.get(key, ""))
        end = match[0].removeprefix(f"{key}={value}").replace(",", ", ").replace("  ", " ")
        return (pattern.format(value) if pattern else f"{key}={value}") + end

    return _WORD.sub(lambda match: NAMES[match[1]], _SETTING.sub(setting, text))


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy of a frame with `readable` names: in cells of text, in the names of rows and of columns."""

    def of(value: object) -> object:
        return readable(value) if isinstance(value, str) else value

    return frame.map(of).rename(index=of, columns=of)


def table(frame: pd.DataFrame, precision: int = 3, missing: str = "–") -> Styler:
    """A frame as a table for a page: `named`, rounded, without row numbers, a dash where nothing is."""
    shown = named(frame).style.format(precision=precision, na_rep=missing)
    return shown.hide(axis="index") if isinstance(frame.index, pd.RangeIndex) else shown
