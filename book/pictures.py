"""Draws the pictures of real data and of trained networks that the book shows.

    python book/pictures.py                       # pictures that are missing and have their data here
    python book/pictures.py data-mnist data-mtd   # these two, even if they exist already
    python book/pictures.py --again               # all pictures that have their data here

The pictures are committed in book/_static/pictures/, because the data may not be: without them, a reader
would have to fetch some gigabytes to see a page. The script names missing data sets and downloads none.

A picture of a network shows the network of a recorded run of the quick budget with seed 0: the same cell is
trained again, in a minute or two. Those of the simultaneous encoder show one of the long budget, which trains
for hours on one core; stopped, it goes on where it was. (MNIST on coloured backgrounds is in no table; its
network has the settings of a cell.) The function is named after the figure of the paper.
"""

import argparse
import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from sklearn.manifold import TSNE
from torch import nn

from minigan import (
    AGAD,
    PCA,
    YGAN,
    GANomaly,
    PaDiM,
    PatchCore,
    SimultaneousEncoder,
    data,
    experiments,
    heatmaps,
    metrics,
    plots,
    protocols,
    resuming,
    sources,
    tables,
)
from minigan.blocks.clustering import weak_labels
from minigan.blocks.progressive import PixelNorm
from minigan.experiments.runs import split_of
from minigan.images import as_tensor, resize, to_float
from minigan.models.simultaneous_encoder import L_n, L_o
from minigan.names import readable
from minigan.paths import data_folder
from minigan.tables import Cell
from minigan.tables.agad import WIDTHS
from minigan.tables.settings import hyperparameters

FOLDER = Path(__file__).parent / "_static" / "pictures"
LARGEST = 150_000  # bytes of a picture
NORMAL, ANOMALOUS = 0, 1  # colours of frames, as `plots.image_grid` takes them
RESIDUAL = plots.LINES[1]  # colour of frames around images that give their z_r

# ---------------------------------------------------------------------- helpers


def some(indices: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """n of the indices, drawn at random, always the same ones."""
    return np.random.default_rng(seed).permutation(indices)[:n]


def of_each_class(dataset: data.Dataset, n: int) -> list[np.ndarray]:
    """n images of each class, from the official training images where the data set has such a split."""
    known = dataset.official == "train" if dataset.official is not None else np.full(len(dataset), True)
    return [
        dataset.images[some(np.flatnonzero(known & (dataset.labels == label)), n)]
        for label in range(len(dataset.classes))
    ]


def beside(*sheets: Image.Image, gap: int = 12) -> Image.Image:
    """Pictures side by side, aligned at the top."""
    width = sum(sheet.width for sheet in sheets) + gap * (len(sheets) - 1)
    whole = Image.new("RGB", (width, max(sheet.height for sheet in sheets)), "white")
    left = 0
    for sheet in sheets:
        whole.paste(sheet, (left, 0))
        left += sheet.width + gap
    return whole


def below(parts: dict[str, Image.Image]) -> Image.Image:
    """Pictures one below the other, each with a line of text above it."""
    width = max(sheet.width for sheet in parts.values())
    font = ImageFont.load_default(max(14, width // 36))  # readable on a phone, which shrinks pictures
    line = round(1.8 * font.size)
    whole = Image.new("RGB", (width, sum(sheet.height + line for sheet in parts.values())), "white")
    top = 0
    for title, sheet in parts.items():
        ImageDraw.Draw(whole).text((6, top + 0.3 * font.size), title, fill="#222222", font=font)
        whole.paste(sheet, (0, top + line))
        top += line + sheet.height
    return whole


# ---------------------------------------------------------------------- the data sets


def data_mnist() -> Image.Image:
    """MNIST: five images of each digit, a column for each."""
    digits = np.stack(of_each_class(data.load("mnist"), 5))  # (10, 5, 28, 28)
    return plots.image_grid(digits.swapaxes(0, 1).reshape(-1, 28, 28), columns=10, scale=2)


def rows_of_classes(name: str) -> Image.Image:
    """Eight images of each class, a row for each, with its name."""
    dataset = data.load(name)
    rows = np.concatenate(of_each_class(dataset, 8))
    return plots.image_grid(rows, columns=8, scale=2, titles=dataset.classes)


def data_coil100() -> Image.Image:
    """COIL-100: all objects, seed 0's normal ones framed, and one of them turned by 5 degrees at a time."""
    dataset = data.load("coil100", size=48)
    normal = np.unique(protocols.objects(dataset, seed=0).train_classes)
    front = np.array([np.flatnonzero(dataset.labels == label)[0] for label in range(100)])
    borders = [NORMAL if label in normal else None for label in range(100)]
    turned = front[normal[2]] + np.arange(10)
    return below(
        {
            "Ten of a hundred objects are normal": plots.image_grid(
                dataset.images[front], columns=10, scale=1, borders=borders
            ),
            "One of them, turned by 5 degrees at a time": plots.image_grid(
                dataset.images[turned], columns=10, scale=1, borders=10 * [NORMAL]
            ),
        }
    )


def data_mtd() -> Image.Image:
    """Magnetic tiles: of the good ones and of each defect, the five that were photographed most often."""
    dataset = data.load("mtd", size=96)
    rows = []
    for label in range(len(dataset.classes)):
        tiles, counts = np.unique(dataset.groups[dataset.labels == label], return_counts=True)
        for tile in tiles[np.argsort(-counts, kind="stable")[:5]]:
            photographs = np.flatnonzero((dataset.groups == tile) & (dataset.labels == label))
            rows.append(photographs[len(photographs) // 2])  # neither the darkest nor the brightest
    borders = dataset.labels[rows] > 0
    return plots.image_grid(dataset.images[rows], columns=5, scale=1, titles=dataset.classes, borders=borders)


def data_mtd_repeats() -> Image.Image:
    """Magnetic tiles: two good tiles, six photographs of each."""
    dataset = data.load("mtd", size=96)
    tiles, counts = np.unique(dataset.groups[dataset.labels == 0], return_counts=True)
    rows = [
        dataset.images[(dataset.groups == tile) & (dataset.labels == 0)]
        for tile in some(tiles[counts == 6], 2)
    ]
    titles = ("Six photographs of one tile", "Six of another")
    return plots.image_grid(np.concatenate(rows), columns=6, scale=1, titles=titles)


def data_mvtec() -> Image.Image:
    """MVTec AD: a column for three categories, with a good image and about four images of defects."""
    columns = []
    for category in ("bottle", "transistor", "screw"):
        dataset = data.load("mvtec", category=category, size=144)
        titles, borders, images = [], [], []
        for label, kind in enumerate(dataset.classes):
            members = some(np.flatnonzero(dataset.labels == label), len(dataset))
            if dataset.masks is not None:  # the largest defects, which can be seen at this size
                members = members[np.argsort(-dataset.masks[members].sum((1, 2)), kind="stable")]
            members = members[: 4 // (len(dataset.classes) - 1) if label else 1]
            images.append(dataset.images[members])
            titles += len(members) * [kind.replace("_", " ")]
            borders += len(members) * [min(label, 1)]
        images = np.concatenate(images)
        columns.append(plots.image_grid(images, columns=1, scale=1, titles=titles, borders=borders))
    return beside(*columns)


def data_mvtec_heatmaps() -> Image.Image:
    """Bottles, and where PCA and PatchCore find them anomalous: a column for each, a row for each method."""
    small, large = (data.load("mvtec", category="bottle", size=size) for size in (64, 224))
    split = protocols.defects(large, seed=0, validation=0)
    shown: list[int] = []
    for label in range(len(large.classes)):  # two of each kind, from the middle of its files
        of = split.test_index[large.labels[split.test_index] == label]
        shown += of[[len(of) // 3, 2 * len(of) // 3]].tolist()
    photographs = [Image.fromarray(large.images[i]).resize((96, 96), Image.Resampling.BOX) for i in shown]
    borders = (large.labels[shown] > 0).astype(int)
    sheet = plots.image_grid(np.stack([np.asarray(p) for p in photographs]), 8, scale=1, borders=borders)
    sheets = {"Test images": sheet}
    learning = {"PCA, 64 pixels": (PCA(), small), "PatchCore, 224 pixels": (PatchCore(coreset=0.01), large)}
    for title, (detector, dataset) in learning.items():
        maps = detector.fit(dataset.images[split.train_index]).anomaly_map(dataset.images[shown])
        limits = heatmaps.limits_of(maps)
        over = [heatmaps.blend(p, heat, limits) for p, heat in zip(photographs, maps, strict=True)]
        sheets[title] = plots.image_grid(np.stack([np.asarray(p) for p in over]), 8, scale=1)
    return below(sheets)


def localisation(category: str) -> Image.Image:
    """Defects, and where four methods find them, with pixel AUROC and PRO over all test images.

    The networks are those of the quick budget. All maps are compared with the masks at 224 x 224 pixels, and
    smoothed by the same Gaussian, as PaDiM and PatchCore smooth theirs.
    """
    full, small = (data.load("mvtec", category=category, size=size) for size in (224, 64))
    split = protocols.defects(full, seed=0, validation=0)
    kinds = full.labels[split.test_index]
    each = 6 // (len(full.classes) - 1)  # of a kind
    shown = [i for kind in range(1, len(full.classes)) for i in some(np.flatnonzero(kinds == kind), each)]
    assert full.masks is not None
    marked = full.masks[split.test_index] > 0
    photographs = [Image.fromarray(split.test[i]).resize((96, 96), Image.Resampling.BOX) for i in shown]
    red = [
        heatmaps.blend(photograph, marked[i].astype(np.float32), (0, 1))
        for photograph, i in zip(photographs, shown, strict=True)
    ]
    of_agad = {"generator": "unet++", "width": WIDTHS["unet++"]}
    learning = {
        "PaDiM": (PaDiM(), full),
        "PatchCore": (PatchCore(**hyperparameters("quick", "PatchCore", "mvtec")), full),
        "AGAD": (AGAD(**hyperparameters("quick", "AGAD", "mvtec", **of_agad), progress=False), small),
        "GANomaly": (GANomaly(**hyperparameters("quick", "GANomaly", "mvtec"), progress=False), small),
    }
    columns = len(shown)
    sheets = {"Defects, as they are": plots.image_grid(np.stack(photographs), columns, scale=1)}
    sheets["Marked by hand"] = plots.image_grid(np.stack(red), columns, scale=1)
    for title, (detector, dataset) in learning.items():
        maps = detector.fit(dataset.images[split.train_index]).anomaly_map(dataset.images[split.test_index])
        if dataset is small:
            large = resize(torch.from_numpy(maps)[:, None], 224)[:, 0].numpy()
            maps = gaussian_filter(large, (0, PaDiM.sigma, PaDiM.sigma))
        found = f"pixel AUROC {metrics.auroc(marked.ravel(), maps.ravel()):.3f}"
        found += f", PRO {metrics.pro(marked, maps):.3f}"
        limits = heatmaps.limits_of(maps)
        over = [heatmaps.blend(p, maps[i], limits) for p, i in zip(photographs, shown, strict=True)]
        sheets[f"{title}: {found}"] = plots.image_grid(np.stack(over), columns, scale=1)
        print(f"{category}, {title}: {found}", flush=True)
    return below(sheets)


SPECIES = {"species": ["apple", "strawberry"], "size": 96}


def data_mvtec_screws() -> Figure:
    """The mean brightness of each photograph of a screw, as dots."""
    screws = data.load("mvtec", category="screw", size=64, grayscale=True)
    brightness = screws.images.reshape(len(screws), -1).mean(axis=1)  # (n,) grey levels
    tested, defective = screws.official == "test", screws.labels > 0
    parts = {
        "good, training": (~tested, plots.GREY),
        "good, test": (tested & ~defective, plots.NORMAL),
        "defective, test": (tested & defective, plots.ANOMALOUS),
    }
    ax = plt.subplots(figsize=(6.5, 2.9))[1]
    for y, (name, (chosen, color)) in enumerate(parts.items()):
        shift = np.random.default_rng(y).uniform(-0.22, 0.22, chosen.sum())
        ax.plot(brightness[chosen], y + shift, "o", color=color, alpha=0.4, markersize=5, label=name)
    area = metrics.auroc(defective[tested].astype(int), brightness[tested])
    ax.set(ylim=(2.5, -0.5), xlabel="mean grey level of the photograph")
    ax.set_yticks(range(3), parts)
    ax.tick_params(axis="y", length=0)
    for tick, (_, color) in zip(ax.get_yticklabels(), parts.values(), strict=True):
        tick.set_color(color)
    title = f"Brightness alone separates test screws: AUROC {area:.2f}"
    ax.figure.suptitle(title, x=0.02, ha="left", weight="bold", size=12)
    return ax.figure


def leaves() -> tuple[data.Dataset, dict[str, np.ndarray]]:
    """The images of leaves, and the indices of each species and condition."""
    dataset = data.load("plantvillage", **SPECIES)
    groups = {}
    for i, species in enumerate(dataset.subclass_names):
        for label, condition in enumerate(dataset.classes):
            members = np.flatnonzero((dataset.subclasses == i) & (dataset.labels == label))
            if len(members):
                groups[f"{species} {condition}" if label == 0 else condition] = members
    return dataset, groups


def data_plantvillage() -> Image.Image:
    """PlantVillage: six leaves of each species and condition, a row for each."""
    dataset, groups = leaves()
    chosen = np.concatenate([some(members, 6) for members in groups.values()])
    titles = list(groups)
    return plots.image_grid(
        dataset.images[chosen], columns=6, scale=1, titles=titles, borders=dataset.labels[chosen] > 0
    )


def data_plantvillage_backgrounds() -> Image.Image:
    """Mosaics of the upper left corners of a hundred photographs of each folder of leaves."""
    dataset, groups = leaves()
    mosaics, borders = [], []
    for members in groups.values():
        corners = dataset.images[some(members, 100), :10, :10]  # (100, 10, 10, 3)
        mosaics.append(corners.reshape(10, 10, 10, 10, 3).swapaxes(1, 2).reshape(100, 100, 3))
        borders.append(dataset.labels[members[0]] > 0)
    columns = [  # two below each other
        plots.image_grid(
            np.stack(mosaics[i : i + 2]), 1, 2, titles=list(groups)[i : i + 2], borders=borders[i : i + 2]
        )
        for i in range(0, len(mosaics), 2)
    ]
    return beside(*columns)


# ---------------------------------------------------------------------- trained networks


def cell_of(table: str, method: str, target: str, gamma: float = 0.0, budget: str = "quick") -> Cell:
    """The first such cell with seed 0."""
    wanted = (method, target, gamma, 0)
    cells = tables.table(table).cells(budget)
    return next(cell for cell in cells if (cell.method, cell.target, cell.gamma, cell.seed) == wanted)


@cache  # several pictures show one network
def trained(table: str, method: str, target: str, gamma: float = 0.0) -> experiments.Trained:
    """The trained network of a cell, and its split."""
    return experiments.train(cell_of(table, method, target, gamma))


def drawn(split: protocols.Split, label: int, n: int) -> np.ndarray:
    """n test images with this label (0 normal, 1 anomalous), drawn at random."""
    return split.test[some(np.flatnonzero(split.test_labels == label), n)]


def tiles(images: np.ndarray, size: int = 64) -> np.ndarray:
    """Images as uint8 of shape (n, size, size, 3), from uint8 (data sets) or from floats (networks)."""
    x = as_tensor(images)  # (n, c, h, w)
    if x.is_floating_point():
        x = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    x = x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    times = size // x.shape[1]
    return x.repeat(times, axis=1).repeat(times, axis=2)


def algan_figure_1() -> Image.Image:
    """Images that ALGAN generates from normal latents, and from anomalous ones."""
    detector = trained("algan-1", "ALGAN", "bottle").detector
    sheets = {}
    for title, anomalous in (("From normal latents", False), ("From anomalous latents", True)):
        images = detector.sample(12, anomalous=anomalous)[:, :3]  # without maximum and mean
        color = ANOMALOUS if anomalous else plots.FAKE
        sheets[title] = plots.image_grid(tiles(images), columns=6, borders=12 * [color])
    return below(sheets)


def agad_figure_2() -> Image.Image:
    """Five normal and five anomalous images of two data sets, and AGAD's reconstructions of them.

    The paper shows Fashion-MNIST and both CIFARs; the networks of the latter take minutes each to train.
    """
    rows, titles = [], []
    for name, target in (("MNIST", "0"), ("Fashion-MNIST", "Ankle boot")):
        found = trained("agad-1", "AGAD", target)
        x = np.concatenate([drawn(found.split, label, 5) for label in (NORMAL, ANOMALOUS)])
        x_hat = found.detector.reconstruct(x)
        rows += [tiles(x), tiles(x_hat), tiles(found.detector.reconstruct(x_hat))]
        rows.append(tiles(trained("agad-2", "AGAD", target, 0.1).detector.reconstruct(x)))
        titles += [name, "Reconstructed", "Reconstructed twice", "Reconstructed, some anomalies known"]
    frames = [*5 * [NORMAL], *5 * [ANOMALOUS], *30 * [None]]
    return plots.image_grid(np.concatenate(rows), columns=10, titles=titles, borders=2 * frames)


def with_reconstructions(found: experiments.Trained, label: int, n: int, size: int) -> Image.Image:
    """n test images in a row, and their reconstructions below them."""
    x = drawn(found.split, label, n)
    pixels = np.concatenate([tiles(x, size), tiles(found.detector.reconstruct(x), size)])
    return plots.image_grid(pixels, columns=n, scale=1, borders=n * [label] + n * [None])


def adegan_figure_4() -> Image.Image:
    """Images that ADe-GAN generates from each pattern, and reconstructions of normal and anomalous digits."""
    found = trained("adegan-1", "ADeGAN", "1")
    patterns = np.concatenate([found.detector.sample(10, pattern) for pattern in range(10)])
    return below(
        {
            "Generated, a row for each of ten patterns": plots.image_grid(tiles(patterns, 48), 10, 1),
            "Normal digits, and their reconstructions": with_reconstructions(found, NORMAL, 10, 48),
            "Left-out ones, and their reconstructions": with_reconstructions(found, ANOMALOUS, 10, 48),
        }
    )


#: The methods of the family tree that have a reconstruction, in the order of its chapter.
FAMILY = (
    *("AnoGAN", "EGBAD", "FAnoGAN", "GANomaly", "SkipGANomaly", "ADGAN"),
    *("OCGAN", "MemAE", "GPND", "ALOCC"),
)


def family_digits() -> Image.Image:
    """What the methods of the family tree make of the same three normal and five anomalous digits."""
    split = trained("family-digits", FAMILY[0], "3").split
    dataset = data.load("digits", size=16)
    first = [np.flatnonzero(dataset.labels == digit)[0] for digit in (8, 5, 1, 0, 7)]  # never trained on
    x = np.concatenate([split.test[split.test_labels == NORMAL][:3], dataset.images[first]])
    rows = [trained("family-digits", method, "3").detector.reconstruct(x) for method in FAMILY]
    return plots.image_grid(
        np.concatenate([tiles(x), *map(tiles, rows)]),
        columns=8,
        titles=["given", *map(readable, FAMILY)],
        borders=[*3 * [NORMAL], *5 * [ANOMALOUS], *8 * len(FAMILY) * [None]],
    )


# ---------------------------------------------------------------------- simultaneous encoder


class Filmed(SimultaneousEncoder):
    """A simultaneous encoder that notes, after each part of its training, what it draws and detects."""

    #: Images whose scores are followed, as uint8, and whether each is anomalous; `filmed` knows them.
    watched: ClassVar[tuple[np.ndarray, np.ndarray]]

    def build(self, image_shape: tuple[int, ...]) -> None:
        super().build(image_shape)
        #: Images shown -> images generated from the same latents, (16, c, h, w) in [-1, 1].
        self.film_: dict[int, torch.Tensor] = {}
        #: Images shown -> AUROC by score.
        self.aurocs_: dict[int, dict[str, float]] = {}

    @torch.no_grad()
    def end_epoch(self, x: torch.Tensor, y: torch.Tensor | None) -> None:
        z = torch.randn(16, self.z_dim, generator=torch.Generator().manual_seed(0))
        self.film_[self.shown] = self.G_mean(z.to(self.device_), self.reached).clamp(-1, 1).cpu()
        self.fit_statistics(x, y)  # the level at which `match` works
        images, anomalous = self.watched
        origin, residual = [], []
        for batch in np.array_split(images, max(1, len(images) // 500)):
            query, z_hat, match = self.match(to_float(as_tensor(batch), self.device_))
            origin.append(L_o(z_hat).cpu())
            residual.append(L_n(query, match).cpu())
        scores = {"L_o": torch.cat(origin), "L_n": torch.cat(residual)}
        self.aurocs_[self.shown] = {name: metrics.auroc(anomalous, s.numpy()) for name, s in scores.items()}


def filmed(cell: Cell) -> Filmed:
    """The detector of a cell of the simultaneous encoder, which follows 2000 of its test images at most."""
    split = split_of(cell)
    followed = some(np.arange(len(split.test)), 2000)

    class OnTheseImages(Filmed):
        watched = split.test[followed], split.test_labels[followed]

    return OnTheseImages(**cell.settings, seed=cell.seed, progress=False)


@cache
def encoder_of_cars() -> experiments.Trained:
    """The simultaneous encoder of Table 2 in the long budget, on cars without contamination.

    Its training takes hours on one core. It goes on where it was when it has been stopped.
    """
    cell = cell_of("simultaneous-encoder-2", "SimultaneousEncoder", "automobile", budget="long")
    detector = filmed(cell)
    split = split_of(cell)
    if split.held_out is None:
        detector.set_params(holdout=0.0)
    state = data_folder() / "cache" / "cars.training"
    state.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with resuming.kept_in(state, detector):
        detector.fit(split.train, validation=split.held_out)
    return experiments.Trained(split, detector, time.perf_counter() - began)


def simultaneous_encoder_film() -> Image.Image:
    """What the generator draws from the same latents, the more images it has been shown."""
    film = encoder_of_cars().detector.film_
    moments = [sorted(film)[round(i)] for i in np.linspace(0, len(film) - 1, 8)]
    rows = [tiles(film[shown][:8], 64) for shown in moments]
    titles = [f"after {shown / 1000:,.0f} thousand images" for shown in moments]
    return plots.image_grid(np.concatenate(rows), columns=8, scale=1, titles=titles)


def simultaneous_encoder_aurocs() -> Figure:
    """How two scores detect what is no car, the more images the networks have been shown."""
    detector = encoder_of_cars().detector
    curves = pd.DataFrame(detector.aurocs_).T  # images shown -> AUROCs
    figure, ax = plt.subplots(figsize=(6.5, 3.5))
    names = {"L_o": "length of the code, $L_o$", "L_n": "distance to the closest match, $L_n$"}
    for color, (name, label) in zip(plots.LINES, names.items(), strict=False):
        ax.plot(curves.index / 1000, curves[name], "o-", color=color, label=label)
    ax.axhline(0.5, color="#BBBBBB", linestyle=":")
    # The first stable phase, then a fade and a stable phase for each doubling of the size.
    grown = 2 * detector.full_level * detector.phase_kimg
    ax.axvline(grown, color="#BBBBBB", lw=1)
    ax.text(
        grown,
        1.01,
        " full size from here on",
        color=plots.GREY,
        va="bottom",
        transform=ax.get_xaxis_transform(),
    )
    ax.set(xlabel="thousands of images shown", ylabel="AUROC", xlim=(0, None))
    figure.legend(loc="outside lower center", ncols=1)
    return figure


def simultaneous_encoder_figure_3() -> Figure:
    """Histograms of the numbers in codes, and in the latents that the generator learns from."""
    found = encoder_of_cars()
    codes = found.detector.encode(found.split.test)  # (n, z_dim)
    z = torch.randn(20_000, codes.shape[1], generator=torch.Generator().manual_seed(0))
    groups = {
        "random latents z": PixelNorm()(z).numpy(),  # as the generator sees them
        "codes of normal images": codes[found.split.test_labels == NORMAL],
        "codes of anomalous images": codes[found.split.test_labels == ANOMALOUS],
    }
    figure, ax = plt.subplots(figsize=(6.5, 4))
    edges = np.linspace(-4, 4, 81)
    for name, values in groups.items():
        color = plots.GREY if "random" in name else plots.color_of(name)
        ax.hist(values.ravel(), edges, density=True, histtype="step", color=color, lw=2, label=name)
    ax.set(xlabel="coefficient", ylabel="density")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=1)
    return figure


def simultaneous_encoder_figure_4() -> Figure:
    """A t-SNE map of the codes of test images."""
    found = encoder_of_cars()
    codes, labels = found.detector.encode(found.split.test), found.split.test_labels
    xy = TSNE(perplexity=30, random_state=0).fit_transform(codes)  # (n, 2)
    figure, ax = plt.subplots(figsize=(6, 5))
    for label, name, marker in ((ANOMALOUS, "anomalous", "X"), (NORMAL, "normal (cars)", "o")):
        style = {"color": plots.color_of(name), "marker": marker, "edgecolors": "white"}
        ax.scatter(*xy[labels == label].T, s=30, linewidths=0.4, label=name, **style)
    ax.set(xticks=[], yticks=[])
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def simultaneous_encoder_figure_5() -> Image.Image:
    """Test images (queries) of the simultaneous encoder, and their closest matches."""
    found = encoder_of_cars()
    return below(
        {
            "Cars, and their closest matches": with_reconstructions(found, NORMAL, 8, 64),
            "Anything else, and its closest matches": with_reconstructions(found, ANOMALOUS, 8, 64),
        }
    )


# ---------------------------------------------------------------------- Y-GAN

#: The runs in the pictures of errors and of heat maps: title -> table, target.
YGAN_RUNS = {
    "MNIST, zeros left out": ("ygan-1", "0"),
    "Fashion-MNIST, T-shirts left out": ("ygan-2", "T-shirt/top"),
    "CIFAR-10, airplanes left out": ("ygan-3", "airplane"),
    "PlantVillage, only healthy leaves known": ("ygan-4", "all"),
}


def ygan_with_classes(name: str, left_out: str) -> tuple[experiments.Trained, np.ndarray]:
    """A trained Y-GAN with its split, and the data set's class labels of the test images: (n,)."""
    found, cell = trained(name, "YGAN", left_out), cell_of(name, "YGAN", left_out)
    labels = data.load(cell.dataset, **cell.options).labels
    return found, labels[found.split.test_index]


def ygan_on_colors() -> tuple[experiments.Trained, np.ndarray]:
    """The same of MNIST in black on ten colours without the zero, with the settings of the grey one."""
    cell = cell_of("ygan-1", "YGAN", "0")
    grey = data.load(cell.dataset, **cell.options)
    colored = replace(grey, images=data.on_backgrounds(grey.images, grey.labels))
    split = protocols.leave_one_out(colored, 0)
    detector = YGAN(**cell.settings).fit(split.train, split.train_classes, split.held_out)
    return experiments.Trained(split, detector, seconds=0.0), colored.labels[split.test_index]


def hybrids(found: experiments.Trained, classes: np.ndarray, size: int) -> Image.Image:
    """A grid of hybrids, with z_s from the image above (one of each normal class) and z_r from the left."""
    x, normal = found.split.test, found.split.test_labels == NORMAL
    above = [some(np.flatnonzero(classes == label), 1)[0] for label in np.unique(classes[normal])]
    rows = [np.full((1, size, size, 3), 255, np.uint8), tiles(x[above], size)]
    borders: list[int | str | None] = [None, *len(above) * [NORMAL]]
    for left in some(np.flatnonzero(normal), 7):
        rows += [tiles(x[[left]], size), tiles(found.detector.hybrid(x[above], x[len(above) * [left]]), size)]
        borders += [RESIDUAL, *len(above) * [None]]
    return plots.image_grid(np.concatenate(rows), columns=1 + len(above), scale=1, borders=borders)


def ygan_figure_6_tsne() -> Figure:
    """t-SNE maps of both codes of the same test images, each image drawn as its digit."""
    found, digits = ygan_with_classes("ygan-1", "0")
    chosen = some(np.arange(len(digits)), 500)
    figure, axes = plt.subplots(2, 1, figsize=(6, 9))
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.9, 9))
    for ax, codes, title in zip(
        axes, found.detector.encode(found.split.test[chosen]), ("z_s", "z_r"), strict=True
    ):
        xy = TSNE(perplexity=30, random_state=0).fit_transform(codes)  # (n, 2)
        ax.scatter(*xy.T, s=0)
        for (x, y), digit in zip(xy, digits[chosen], strict=True):
            style = {"color": shades[digit - 1]} if digit else {"color": plots.ANOMALOUS, "weight": "bold"}
            ax.text(x, y, str(digit), size=8, ha="center", va="center", **style)
        ax.set(xticks=[], yticks=[], title=title)
    return figure


#: Section 6.3 of the paper: per cent of the images of a cluster "that share the same ground truth".
PRINTED_PURITY = {"ygan-1": 95, "ygan-2": 91, "ygan-3": 87, "ygan-4": 80}


def data_clusters() -> Figure:
    """Purity of the clusters from which Y-GAN* learns: printed, and ours from features and from pixels.

    Filled: as many clusters as the silhouettes choose, beside the dot. Open: as many as there are classes.
    """
    kinds = {
        "EfficientNet-Lite0's features": ("imagenet", "o", plots.LINES[0]),
        "pixels": ("pixels", "s", plots.GREY),
    }
    figure, ax = plt.subplots(figsize=(6.5, 4.4))
    for y, (title, (name, target)) in enumerate(YGAN_RUNS.items()):
        split = split_of(cell_of(name, "YGAN", target))
        x, n_classes = as_tensor(split.train), len(np.unique(split.train_classes))
        for kind, (features, marker, color) in kinds.items():
            for number, face in ((None, color), (n_classes, "white")):
                found = weak_labels(x, features, number, architecture="efficientnet_lite0")
                table = pd.crosstab(found, split.train_classes)  # (clusters, classes)
                purity = 100 * table.max(axis=1).sum() / len(found)
                height = y - 0.15 if features == "imagenet" else y + 0.15
                ax.plot(purity, height, marker, color=color, markerfacecolor=face, markersize=7)
                if number is None:
                    place = {"xytext": (-8, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
                    ax.annotate(f"{len(table)}", (purity, height), color=color, **place)
                print(f"{title}: {kind}, {len(table)} clusters, purity {purity:.0f} %", flush=True)
        ax.plot(PRINTED_PURITY[name], y, "D", color=plots.LINES[1], markerfacecolor="white", markersize=7)
    for kind, (_, marker, color) in {**kinds, "printed": ("", "D", plots.LINES[1])}.items():
        ax.plot([], [], marker, color=color, markerfacecolor="white", label=kind)
    titles = [title.replace(", ", ",\n") for title in YGAN_RUNS]
    ax.set(yticks=range(len(titles)), yticklabels=titles, ylim=(len(titles) - 0.5, -0.6), xlim=(0, 100))
    ax.set_xlabel("purity of the clusters, %")
    ax.grid(axis="y", color="#EEEEEE")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def grad_cam(detector: YGAN, images: np.ndarray) -> np.ndarray:
    """Grad-CAM of the classifier's prediction on the last feature map of E_s: (n, h, w) in [0, 1].

    relu(sum_k w_k A_k), divided by its maximum, with w_k = mean over positions of d y / d A_k, where A_k are
    the channels of the map and y is the largest logit. Source: Selvaraju and others, Grad-CAM, ICCV 2017.
    """
    detector.reconstruct(images[:1])  # leaves the networks in evaluation mode
    x = to_float(as_tensor(images))
    *halving, last, flat = detector.E_s
    maps = nn.Sequential(*halving)(x).detach().requires_grad_()  # (n, channels, 4, 4)
    logits = detector.C(flat(last(maps))).amax(1)
    (gradient,) = torch.autograd.grad(logits.sum(), maps)
    heat = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat, x.shape[2:], mode="bilinear").squeeze(1).detach().numpy()
    return heat / np.maximum(heat.max((1, 2), keepdims=True), 1e-8)


def ygan_figure_9() -> Image.Image:
    """Test images that Y-GAN detects correctly, and heat maps of what the classifier used."""
    sheets = {}
    for title, cell in YGAN_RUNS.items():
        found = trained(cell[0], "YGAN", cell[1])
        split, scores = found.split, found.detector.anomaly_score(found.split.test)
        flagged = scores >= metrics.equal_error(split.test_labels, scores).threshold
        right = [np.flatnonzero((split.test_labels == label) & (flagged == label)) for label in (0, 1)]
        x = split.test[np.concatenate([some(members, 4) for members in right])]
        heat = plt.get_cmap("inferno")(grad_cam(found.detector, x))[..., :3] * 255  # (8, h, w, 3)
        over = np.uint8(0.4 * tiles(x, x.shape[1]) + 0.6 * heat)
        pixels = np.concatenate([tiles(x), tiles(over)])
        borders = [*4 * [NORMAL], *4 * [ANOMALOUS], *8 * [None]]
        sheets[title] = plots.image_grid(pixels, columns=8, borders=borders)
    return below(sheets)


def ygan_figures_10_11() -> Image.Image:
    """Y-GAN's worst errors: normal test images with high scores, anomalous ones with low scores."""
    sheets = {}
    for title, cell in YGAN_RUNS.items():
        found = trained(cell[0], "YGAN", cell[1])
        order = np.argsort(found.detector.anomaly_score(found.split.test), kind="stable")
        labels = found.split.test_labels[order]
        alarms, missed = order[labels == NORMAL][::-1][:8], order[labels == ANOMALOUS][:8]
        pixels = tiles(found.split.test[np.r_[alarms, missed]])
        sheets[title] = plots.image_grid(pixels, columns=8, borders=8 * [NORMAL] + 8 * [ANOMALOUS])
    return below(sheets)


# ---------------------------------------------------------------------- the files, and the command line

Drawing = Callable[[], Image.Image | Figure]
#: name -> the function that draws it, and the data sets that it needs.
PICTURES: dict[str, tuple[Drawing, tuple[str, ...]]] = {
    "data-mnist": (data_mnist, ("mnist",)),
    "data-fashion_mnist": (lambda: rows_of_classes("fashion_mnist"), ("fashion_mnist",)),
    "data-cifar10": (lambda: rows_of_classes("cifar10"), ("cifar10",)),
    "data-coil100": (data_coil100, ("coil100",)),
    "data-mtd": (data_mtd, ("mtd",)),
    "data-mtd-repeats": (data_mtd_repeats, ("mtd",)),
    "data-mvtec": (data_mvtec, ("mvtec",)),
    "data-mvtec-screws": (data_mvtec_screws, ("mvtec",)),
    "data-mvtec-heatmaps": (data_mvtec_heatmaps, ("mvtec",)),
    "data-mvtec-localisation-bottle": (lambda: localisation("bottle"), ("mvtec",)),
    "data-mvtec-localisation-transistor": (lambda: localisation("transistor"), ("mvtec",)),
    "data-plantvillage": (data_plantvillage, ("plantvillage",)),
    "data-plantvillage-backgrounds": (data_plantvillage_backgrounds, ("plantvillage",)),
    "ygan-figure-6": (lambda: hybrids(*ygan_with_classes("ygan-1", "0"), 48), ("mnist",)),
    "ygan-figure-6-colors": (lambda: hybrids(*ygan_on_colors(), 48), ("mnist",)),
    "ygan-figure-6-tsne": (ygan_figure_6_tsne, ("mnist",)),
    "data-clusters": (data_clusters, ("mnist", "fashion_mnist", "cifar10", "plantvillage")),
    "ygan-figure-7": (lambda: hybrids(*ygan_with_classes("ygan-3", "airplane"), 64), ("cifar10",)),
    "ygan-figure-9": (ygan_figure_9, ("mnist", "fashion_mnist", "cifar10", "plantvillage")),
    "ygan-figures-10-11": (ygan_figures_10_11, ("mnist", "fashion_mnist", "cifar10", "plantvillage")),
    "algan-figure-1": (algan_figure_1, ("mvtec",)),
    "agad-figure-2": (agad_figure_2, ("mnist", "fashion_mnist")),
    "adegan-figure-4": (adegan_figure_4, ("mnist",)),
    "family-digits": (family_digits, ("digits",)),
    "simultaneous-encoder-film": (simultaneous_encoder_film, ("cifar10",)),
    "simultaneous-encoder-aurocs": (simultaneous_encoder_aurocs, ("cifar10",)),
    "simultaneous-encoder-figure-3": (simultaneous_encoder_figure_3, ("cifar10",)),
    "simultaneous-encoder-figure-4": (simultaneous_encoder_figure_4, ("cifar10",)),
    "simultaneous-encoder-figure-5": (simultaneous_encoder_figure_5, ("cifar10",)),
}


def small_png(picture: Image.Image | Figure) -> bytes:
    """A PNG file of at most 256 colours, with fewer where it would be larger than `LARGEST`."""
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, dpi=100, facecolor="white")
        picture = Image.open(buffer)
    for colors in (256, 128, 64, 48):
        buffer = io.BytesIO()
        small = picture.convert("RGB").quantize(colors, kmeans=2, dither=Image.Dither.NONE)
        small.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LARGEST:
            break
    return buffer.getvalue()


def draw(name: str, folder: Path) -> Path:
    """Draw a picture and write its file atomically: an error leaves the old file as it was."""
    picture = PICTURES[name][0]()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_bytes(small_png(picture))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        plt.close("all")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(PICTURES)}")
    parser.add_argument("--again", action="store_true", help="also draw pictures that exist already")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder to write to")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in PICTURES]
    if unknown:
        parser.error(f"expected the name of a picture, got {unknown[0]!r}; choose from {', '.join(PICTURES)}")

    torch.set_num_threads(1)  # small networks are slower with more threads
    plots.use_style()
    # What is not in that list comes with a package.
    absent = {name for name, state, _ in sources.status() if state in ("missing", "on demand")}
    for name in chosen.names or PICTURES:
        if (chosen.out / f"{name}.png").exists() and not (chosen.names or chosen.again):
            continue
        missing = [needed for needed in PICTURES[name][1] if needed in absent]
        try:
            if missing:
                raise FileNotFoundError(f"{' and '.join(missing)}, see `minigan datasets`")
            print(draw(name, chosen.out), flush=True)
        except FileNotFoundError as error:  # also when a part of a data set is missing, such as a category
            print(f"{name} waits for data: {error}", flush=True)


if __name__ == "__main__":
    main()
