"""Where the benchmarks come from, where they are kept, and which of them are there.

A set lives in `data/<name>/`, as the archive that its publisher offers or unpacked. `minigan datasets` prints
`status()`. The facts are taken from the publishers' pages and repositories; where no licence was found, it
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigan import datafiles
from minigan.data import Dataset


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, and what tells its folder."""

    page: str
    archive: str  # as its publisher calls it; empty if only the authors have the images
    licence: str
    sign: str  # found in the folder of the set, as a glob pattern; a folder if it ends in a slash
    automatic: bool = False  # torchvision downloads it


_KERMANY = "https://data.mendeley.com/datasets/rscbjbr9sj/2"
_REPOSITORY = "the repository as .zip (Code, Download ZIP)"
_KRIZHEVSKY = "https://www.cs.toronto.edu/~kriz/cifar.html"
SOURCES = {
    "mnist": Source("http://yann.lecun.com/exdb/mnist/", "four .gz files", "none found", "MNIST/raw/", True),
    "fashion_mnist": Source(
        "https://github.com/zalandoresearch/fashion-mnist", "four .gz files", "MIT", "FashionMNIST/raw/", True
    ),
    "cifar10": Source(_KRIZHEVSKY, "cifar-10-python.tar.gz", "none stated", "cifar-10-batches-py/", True),
    "cifar100": Source(_KRIZHEVSKY, "cifar-100-python.tar.gz", "none stated", "cifar-100-python/", True),
    "coil100": Source(
        page="https://www.cs.columbia.edu/CAVE/software/softlib/coil-100.php",
        archive="coil-100.zip",
        licence="none stated; offered for research",
        sign="obj1__0.png",
    ),
    "mtd": Source(
        page="https://github.com/abin24/Magnetic-tile-defect-datasets.",
        archive=_REPOSITORY,
        licence="none stated; use is welcome, with a citation",
        sign="MT_Free/",
    ),
    "mvtec": Source(
        page="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        archive="mvtec_anomaly_detection.tar.xz, or the archive of one category,",
        licence="CC BY-NC-SA 4.0",
        sign="*/train/good/",
    ),
    "plantvillage": Source(
        page="https://github.com/spMohanty/PlantVillage-Dataset",
        archive=_REPOSITORY,
        licence="CC BY-SA 3.0",
        sign="*___*/",
    ),
    "kth_cellvideos": Source(
        page="https://doi.org/10.1109/TMI.2014.2370951",
        archive="",
        licence="not known",
        sign="train/normal/",
    ),
    "alzheimer": Source(
        page="https://www.kaggle.com/datasets/tourist55/alzheimers-dataset-4-class-of-images",
        archive="archive.zip",
        licence="not known",
        sign="train/NonDemented/",
    ),
    "chest_xray": Source(_KERMANY, "ChestXRay2017.zip", "CC BY 4.0", "train/PNEUMONIA/"),
    "lung_histopathology": Source(
        page="https://github.com/tampapath/lung_colon_image_set",
        archive="LC25000.zip",
        licence="none stated; free to download",
        sign="lung_n/",
    ),
    "retinal_oct": Source(_KERMANY, "OCT2017.tar.gz", "CC BY 4.0", "train/CNV/"),
}


def folder_of(name: str) -> Path:
    """The folder of a set, whether it is there or not: `<data folder>/<name>`."""
    return datafiles.data_folder() / name


def find(name: str, unpacking: bool, sign: str = "", part: str = "") -> Path | None:
    """The folder in data/<name>/ that has the sign of the set (or `sign`); archives there may be unpacked.

    Without unpacking, None when there is no such folder. With it, FileNotFoundError: one sentence that names
    the page, the archive, and the folder to put it in, and the `part` that is lacking.
    """
    source, home = SOURCES[name], folder_of(name)
    found = datafiles.find(home, sign or source.sign, unpacking)
    if found is None and unpacking:
        which = f"{name} ({part})" if part else name
        raise FileNotFoundError(f"{which} is not here yet: {_advice(name)}")
    return found


def _advice(name: str) -> str:
    source, home = SOURCES[name], str(folder_of(name))
    if not source.archive:
        return (
            f"ask the authors of {source.page!r} for the images, then put them, packed or not, into {home!r}"
        )
    return f"get {source.archive} from {source.page!r} and put it, packed or not, into {home!r}"


def status() -> list[tuple[str, str, str]]:
    """(name, state, note) of every benchmark.

    The states: "there", "packed" (unpacked by the first load), "kept" (the files are gone, but copies of what
    was loaded are not), "on demand" (the first load downloads it), "missing".
    """
    rows = []
    for name, source in SOURCES.items():
        home, file = folder_of(name), folder_of(name).with_suffix(".npz")
        found = file if file.is_file() else find(name, unpacking=False)
        copies = [path.stem for end in ("", "-*") for path in folder_of("cache").glob(f"{name}{end}.npz")]
        if found is not None:
            parts = (
                sorted(path.parent.parent.name for path in found.glob(source.sign)) if name == "mvtec" else []
            )
            rows.append((name, "there", f"{', '.join(parts)} in {found}" if parts else str(found)))
        elif datafiles.archives(home):
            rows.append((name, "packed", ", ".join(str(path) for path in datafiles.archives(home))))
        elif copies:
            rows.append((name, "kept", ", ".join(sorted(copies))))
        elif source.automatic:
            rows.append((name, "on demand", f"the first load downloads it into {home}"))
        else:
            rows.append((name, "missing", _advice(name)))
    return rows


def load(
    name: str,
    options: dict[str, Any],
    locate: Callable[[bool], Path | Sequence[Path] | None],
    read: Callable[..., Dataset],
) -> Dataset:
    """`datafiles.cached` under a name such as data/cache/mvtec-bottle-64.npz."""
    words = [name]
    for key, value in options.items():
        if value is True:
            words.append(key)
        elif value not in (None, False):
            words.append("+".join(value) if isinstance(value, list) else str(value))
    return datafiles.cached(folder_of("cache") / f"{'-'.join(words)}.npz", options, locate, read)
