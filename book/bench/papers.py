"""The papers' own tables of cost, and what one step of each of their tables costs here.

ALGAN's Tables 5 and 6 (milliseconds to score an image, minutes to train) and AGAD's Table 8 (milliseconds,
parameters) were measured on the authors' GPUs, so only ratios within a table can be compared, and numbers of
parameters. For all tables of the five papers, two lines say how many steps a run of the paper's budget has,
and how long a step takes: `minigan.experiments.speed.minutes` multiplies them.
"""

import json
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch

from bench.stopwatch import interleaved, row
from minigan import data, protocols, registry, tables
from minigan.images import to_float
from minigan.neural import NeuralDetector
from minigan.tables import Cell
from minigan.torch_state import seeded, usual_modes

#: At most so many pixels in a batch whose step is measured; a larger batch takes in proportion longer.
PIXELS = 64 * 32 * 32
#: MVTec AD has 3629 training images in 15 categories (Bergmann and others, CVPR 2019); of size 256 here.
MVTEC_IMAGES, MVTEC_SIZE = 3629 / 15, 256
#: Methods of ALGAN's Tables 5 and 6 that learn from images, in networks that are here, and their epochs.
ALGAN_TABLES, ALGAN_EPOCHS = ("ALGAN", "GANomaly", "SkipGANomaly", "ALOCC"), 512
GENERATORS = ("naive", "unet", "unet++")


def started(method: str, shape: tuple[int, int, int], **settings: Any) -> NeuralDetector:
    """A network detector with fresh weights for images of this shape, as before its first step."""
    detector = registry.get(method)(**settings, device="cpu", progress=False)
    assert isinstance(detector, NeuralDetector)
    detector.image_shape_ = shape
    x, y = images(shape, 20), torch.arange(20) % 9
    with seeded(0):
        detector.training_labels(x, y if detector.label_meaning == "classes" else None)
    detector._start(shape)
    return detector


def images(shape: tuple[int, int, int], n: int) -> torch.Tensor:
    """Random images, (n, c, h, w) uint8."""
    return torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def stepper(detector: NeuralDetector, batch: int) -> Any:
    """A function that makes one training step on a fixed batch of random images, late in the training."""
    x = to_float(images(detector.image_shape_, batch))
    y = torch.arange(batch) % 9 if detector.label_meaning == "classes" else None
    detector.batch_size_, detector.steps_per_epoch_ = batch, 1
    detector.epoch_, detector.step_ = 1, 0
    detector._set_mode(training=True)
    detector.start_epoch()
    detector.batches(batch, None)
    if hasattr(detector, "kimg"):  # its networks grow: at full size
        detector.shown = 1000 * detector.kimg - 1
    return lambda: detector.training_step(x, y)


def step_seconds(detector: NeuralDetector, repetitions: int) -> np.ndarray:
    """Seconds of a step with the detector's own batch size, (repetitions,)."""
    _, side, _ = detector.image_shape_
    batch = min(detector.batch_size, 2048 // side if hasattr(detector, "kimg") else detector.batch_size)
    probe = max(2, min(batch, PIXELS // side**2))
    step = stepper(detector, probe)
    step()  # the first one makes Adam's averages, and fills buffers
    return interleaved({"step": step}, repetitions)["step"] * batch / probe


# ---------------------------------------------------------------------- what the papers print


def printed(repetitions: int) -> Iterator[dict[str, Any]]:
    """ALGAN's Tables 5 and 6, and AGAD's Table 8."""
    with warnings.catch_warnings(), usual_modes():
        warnings.simplefilter("ignore")
        for generator in GENERATORS:
            detector = started("AGAD", (3, 32, 32), generator=generator)
            weights = sum(p.numel() for p in detector.G.parameters()) / 1e6
            yield row("printed", "agad table 8", generator, "million_parameters", weights)
            each = 1000 * _score(detector, repetitions)
            yield row("printed", "agad table 8", generator, "predict_ms", each)
        for method in ALGAN_TABLES:
            detector = started(method, (3, MVTEC_SIZE, MVTEC_SIZE))
            yield row("printed", "algan table 5", method, "predict_ms", 1000 * _score(detector, repetitions))
            each = step_seconds(detector, max(1, repetitions // 2)) / detector.batch_size
            minutes = each * MVTEC_IMAGES * ALGAN_EPOCHS / 60
            yield row("printed", "algan table 6", method, "train_minutes", minutes)


def _score(detector: NeuralDetector, repetitions: int) -> np.ndarray:
    """Seconds to score one image alone, (repetitions,)."""
    x = images(detector.image_shape_, 1)
    detector._scores(x)
    return interleaved({"score": lambda: detector._scores(x)}, repetitions)["score"]


# ---------------------------------------------------------------------- what the papers' tables take


def steps(repetitions: int) -> Iterator[dict[str, Any]]:
    """For each table: steps of a run of the paper's budget, and milliseconds of one, by method and data set.

    Data sets that are not on this machine are left out.
    """

    @cache
    def milliseconds(method: str, shape: tuple[int, int, int], settings: str) -> float:
        detector = started(method, shape, **json.loads(settings))
        return float(np.median(1000 * step_seconds(detector, repetitions)))

    with warnings.catch_warnings(), usual_modes():
        warnings.simplefilter("ignore")
        for cells in _of_each_table():
            first = cells[0]
            sizes = [size for cell in cells if (size := _training_size(cell)) is not None]
            if not sizes:
                continue
            shapes = {shape for shape, _ in sizes}
            counts, times = [], []
            for cell in cells:
                detector = registry.get(cell.method)(**_settings(cell))
                n = float(np.mean([n for _, n in sizes]))
                counts.append(_steps(detector, n, max(shapes)[1]))
                key = json.dumps(_of_the_network(_settings(cell)), sort_keys=True)
                times.append(milliseconds(cell.method, max(shapes), key))
            name = f"{first.method} {first.dataset}"
            yield row("tables", first.table, name, "steps per run", np.mean(counts))
            yield row("tables", first.table, name, "ms per step", np.mean(times))


def _of_each_table() -> Iterator[list[Cell]]:
    """The first seed's cells of the papers' own methods, for each table and data set."""
    for table in tables.TABLES.values():
        if table.published is None:
            continue
        own = registry.PAPERS[table.published[0]].methods
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in table.cells("paper"):
            features = cell.method == "ALGANFeature"  # of a network whose weights have to be downloaded
            if cell.method in own and table.owns(cell) and cell.seed == 0 and not features:
                groups.setdefault((cell.method, cell.dataset), []).append(cell)
        yield from groups.values()


def _settings(cell: Cell) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in cell.settings.items()}


def _of_the_network(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that make a step longer or shorter by much: those of the generator."""
    return {name: value for name, value in settings.items() if name in ("generator", "kimg", "phase_kimg")}


def _steps(detector: Any, n: float, side: int) -> float:
    if hasattr(detector, "kimg"):
        return 1000 * detector.kimg / min(detector.batch_size, 2048 // side)
    return detector.epochs * (n // min(detector.batch_size, n))


@cache
def _dataset(name: str, options: str) -> Any:
    return data.load(name, **json.loads(options))


def _training_size(cell: Cell) -> tuple[tuple[int, int, int], int] | None:
    """Shape and number of the training images of a cell; None where the data set is not here.

    They are counted in the size that the quick budget has, which is in the cache.
    """
    small = tables.IMAGES["quick"][cell.dataset].get("size")
    options = {**cell.options} | ({} if small is None else {"size": small})
    try:
        dataset = _dataset(cell.dataset, json.dumps(options))
    except (FileNotFoundError, ValueError, OSError):
        return None
    arguments: dict[str, Any] = {"seed": cell.seed, **cell.split}
    if cell.protocol in tables.WITH_ANOMALIES:
        arguments["gamma"] = cell.gamma
    target = () if cell.protocol in tables.WITHOUT_TARGET else (cell.target,)
    split = getattr(protocols, cell.protocol)(dataset, *target, **arguments)
    size = cell.options.get("size", dataset.images.shape[1])
    channels = 1 if dataset.images.ndim == 3 else dataset.images.shape[3]
    return (channels, size, size), len(split.train)
