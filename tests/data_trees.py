"""Small data sets in the layout in which each benchmark is published, as the tests write them; no network."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from minigan.data.dataset import ARRAYS, Dataset


def picture(path: Path, value=0, size=(12, 10), mark: tuple | None = None) -> Path:
    """An image of one grey level or colour, `size` = (width, height); `mark` is a white box in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB" if isinstance(value, tuple) else "L", size, value)
    if mark:
        image.paste(255, mark)
    image.save(path)
    return path


def pack(folder: Path, archive: Path) -> None:
    """Everything in the folder into a .zip or .tar.* file; the folder is deleted."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path in sorted(folder.rglob("*")):
                out.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, f"w:{archive.suffix[1:]}") as out:
            out.add(folder, ".")
    shutil.rmtree(folder)


def keras(path: Path, shape: tuple[int, ...], classes: int, n: int = 40) -> dict[str, np.ndarray]:
    """Write a file as Keras has it; the labels are a column, as some of these files have them."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(256, size=(n, *shape), dtype=np.uint8),
        "y_train": (np.arange(n) % classes).astype(np.uint8)[:, None],
        "x_test": rng.integers(256, size=(n // 2, *shape), dtype=np.uint8),
        "y_test": (np.arange(n // 2) % classes).astype(np.uint8)[:, None],
    }
    np.savez(path, **arrays)
    return arrays


def idx(path: Path, values: np.ndarray) -> None:
    """The format of the MNIST files: a magic number, the shape, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = np.array([0x0800 + values.ndim, *values.shape], ">i4").tobytes()
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def mnist_files(raw: Path) -> np.ndarray:
    images = np.random.default_rng(0).integers(256, size=(9, 28, 28), dtype=np.uint8)
    for part, rows in (("train", slice(6)), ("t10k", slice(6, 9))):
        idx(raw / f"{part}-images-idx3-ubyte", images[rows])
        idx(raw / f"{part}-labels-idx1-ubyte", np.arange(9)[rows])
    return images


def mtd_tree(top: Path) -> None:
    """Four tiles under settings 1 to 3, frames apart as published; one has a crack in two photographs."""
    for tile, start in enumerate((100, 1000, 1130, 5000)):
        for setting in (1, 2, 3):
            kind = "MT_Crack" if tile == 2 and setting > 1 else "MT_Free"
            stem = top / kind / "Imgs" / f"exp{setting}_num_{start + 20 * setting}"
            picture(stem.with_suffix(".jpg"), 40 * tile + 10, (20 + tile, 40))
            picture(
                stem.with_suffix(".png"), 0, (20 + tile, 40), (0, 0, 5, 1) if kind == "MT_Crack" else None
            )
    for kind in ("Blowhole", "Break", "Fray", "Uneven"):
        stem = top / f"MT_{kind}" / "Imgs" / f"exp1_num_{9000 + 100 * len(kind)}"
        picture(stem.with_suffix(".jpg"), 200)
        picture(stem.with_suffix(".png"), 0, mark=(2, 2, 4, 4))


def mvtec_tree(top: Path, category: str = "bottle", value=(200, 100, 50), masks: int = 2) -> None:
    for i in range(4):
        picture(top / category / "train" / "good" / f"{i:03}.png", value)
    for i in range(2):
        picture(top / category / "test" / "good" / f"{i:03}.png", value)
        picture(top / category / "test" / "broken_large" / f"{i:03}.png", value)
        if i < masks:
            mask = top / category / "ground_truth" / "broken_large" / f"{i:03}_mask.png"
            picture(mask, 0, mark=(0, 0, 1, 1 + i))
    (top / category / "license.txt").write_text("...")


def leaves_tree(top: Path, raw: str = "") -> None:
    for i in range(4):
        picture(top / raw / "Apple___healthy" / f"a{i}___RS_HL {i}.JPG", (0, 200, 0))
        picture(top / raw / "Apple___Apple_scab" / f"b{i}___FREC_Scab {i}.JPG", (90, 200, 0))
        picture(top / raw / "Pepper,_bell___healthy" / f"c{i}___JR_HL {i}.JPG", (0, 90, 0))
        picture(top / raw / "Pepper,_bell___Bacterial_spot" / f"d{i}___NREC_B.Spot {i}.JPG", (0, 90, 90))
        picture(top / raw / "Orange___Haunglongbing_(Citrus_greening)" / f"e{i}___X {i}.JPG", (200, 90, 0))


NAMES = {
    "alzheimer": ("Alzheimer_s Dataset", "nonDem{i}.jpg"),
    "chest_xray": ("chest_xray", "person{i}_virus_7.jpeg"),
    "retinal_oct": ("OCT2017 ", "CNV-{i}-2.jpeg"),
    "kth_cellvideos": ("crops", "{i}.png"),
}
FOLDERS = {
    "alzheimer": ("NonDemented", "VeryMildDemented", "MildDemented", "ModerateDemented"),
    "chest_xray": ("NORMAL", "PNEUMONIA"),
    "retinal_oct": ("NORMAL", "CNV", "DME", "DRUSEN"),
    "kth_cellvideos": ("normal", "anomalous"),
}


def classes_tree(top: Path, name: str, parts=("train", "test", "val")) -> None:
    """Two images for each class and part, in colour: they are made grey."""
    for part in parts:
        for label, kind in enumerate(FOLDERS[name]):
            for i in range(2):
                file = NAMES[name][1].format(i=10 * label + i)
                picture(top / NAMES[name][0] / part / kind / file, (50 * label + 10,) * 3, (15, 11))
        picture(top / NAMES[name][0] / part / FOLDERS[name][0] / "._hidden.jpeg")


def same(a: Dataset, b: Dataset) -> None:
    for field in ARRAYS:
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert [a.name, a.classes, a.defects, a.subclass_names] == [
        b.name,
        b.classes,
        b.defects,
        b.subclass_names,
    ]
