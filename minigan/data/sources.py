"""Where the benchmarks come from, where they are kept, and which of them are there.

A set lives in `data/<name>/`, as the archive that its publisher offers or unpacked. `minigan datasets` prints
`status()`. The facts are taken from the publishers' pages and repositories; "none found", "none stated" and
"not known" say that we found no licence, not that there are no rights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from minigan.data import archives
from minigan.image_files import reason
from minigan.paths import data_folder


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, and by what its folder is recognised."""

    page: str
    archive: str  # as its publisher calls it; empty if only the authors have the images
    licence: str
    sign: str  # found in the folder of the set: a glob pattern, of a folder if it ends in a slash
    torchvision: str = ""  # the class of torchvision that downloads it, where there is one
    npz: bool = False  # a file of arrays, data/<name>.npz, is used instead where there is one


_KERMANY = "https://data.mendeley.com/datasets/rscbjbr9sj/2"
_REPOSITORY = "the repository as .zip (Code, Download ZIP)"
_KRIZHEVSKY = "https://www.cs.toronto.edu/~kriz/cifar.html"
SOURCES = {
    "mnist": Source(
        page="http://yann.lecun.com/exdb/mnist/",
        archive="four .gz files",
        licence="none found",
        sign="MNIST/raw/",
        torchvision="MNIST",
        npz=True,
    ),
    "fashion_mnist": Source(
        page="https://github.com/zalandoresearch/fashion-mnist",
        archive="four .gz files",
        licence="MIT",
        sign="FashionMNIST/raw/",
        torchvision="FashionMNIST",
        npz=True,
    ),
    "cifar10": Source(
        page=_KRIZHEVSKY,
        archive="cifar-10-python.tar.gz",
        licence="none stated",
        sign="cifar-10-batches-py/",
        torchvision="CIFAR10",
        npz=True,
    ),
    "cifar100": Source(
        page=_KRIZHEVSKY,
        archive="cifar-100-python.tar.gz",
        licence="none stated",
        sign="cifar-100-python/",
        torchvision="CIFAR100",
        npz=True,
    ),
    "coil100": Source(
        page="https://www.cs.columbia.edu/CAVE/software/softlib/coil-100.php",
        archive="coil-100.zip",
        licence="none stated; offered for research",
        sign="obj1__0.png",
        npz=True,
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
    "chest_xray": Source(
        page=_KERMANY,
        archive="ChestXRay2017.zip",
        licence="CC BY 4.0",
        sign="train/PNEUMONIA/",
    ),
    "lung_histopathology": Source(
        page="https://github.com/tampapath/lung_colon_image_set",
        archive="LC25000.zip",
        licence="none stated; free to download",
        sign="lung_n/",
    ),
    "retinal_oct": Source(
        page=_KERMANY,
        archive="OCT2017.tar.gz",
        licence="CC BY 4.0",
        sign="train/CNV/",
    ),
}


def home(name: str) -> Path:
    """The folder of a set, whether it is there or not: `<data folder>/<name>`."""
    return data_folder() / name


def find(name: str, part: str = "") -> Path | None:
    """The files of a set: its folder (the one with its sign), or the file data/<name>.npz; None if not there.

    `part` is a sub-folder that is wanted, such as a category of MVTec AD; then that is what is returned.
    """
    source, arrays = SOURCES[name], data_folder() / f"{name}.npz"
    if source.npz and arrays.is_file():
        return arrays
    return _inside(archives.find(home(name), _sign(source, part)), part)


def fetch(name: str, part: str = "") -> Path:
    """As `find`, for a set that is not there yet: its archives are unpacked, or torchvision downloads it.

    Raises:
        FileNotFoundError: one sentence that names the page, the archive, and the folder to put it in.
    """
    source = SOURCES[name]
    if source.torchvision:
        return _download(name)
    found = _inside(archives.find_in_archives(home(name), _sign(source, part)), part)
    if found is None:
        which = f"{name} ({part})" if part else name
        raise FileNotFoundError(f"expected the files of {which}, got none; {_advice(name)}")
    return found


def status() -> list[tuple[str, str, str]]:
    """(name, state, note) of every benchmark.

    The states: "there", "packed" (unpacked by the first load), "kept" (the files are gone, but copies of what
    was loaded are not), "on demand" (the first load downloads it), "missing".
    """
    return [(name, *_state(name)) for name in SOURCES]


def _state(name: str) -> tuple[str, str]:
    source, found = SOURCES[name], find(name)
    if found is not None and name == "mvtec":
        categories = sorted(path.parent.parent.name for path in found.glob(source.sign))
        return "there", f"{', '.join(categories)} in {found}"
    if found is not None:
        return "there", str(found)
    if packed := archives.archives(home(name)):
        return "packed", ", ".join(str(path) for path in packed)
    cache = data_folder() / "cache"
    if copies := sorted({path.stem for end in ("", "-*") for path in cache.glob(f"{name}{end}.npz")}):
        return "kept", ", ".join(copies)
    if source.torchvision:
        return "on demand", f"the first load downloads it into {home(name)}"
    return "missing", _advice(name)


def _sign(source: Source, part: str) -> str:
    """ "*/train/good/" and "screw" -> "screw/train/good/"."""
    return source.sign.replace("*", part, 1) if part else source.sign


def _inside(found: Path | None, part: str) -> Path | None:
    return found / part if found is not None else None


def _download(name: str) -> Path:
    """torchvision's download into data/<name>/, with a progress bar and a comparison of checksums."""
    from torchvision import datasets

    try:
        getattr(datasets, SOURCES[name].torchvision)(home(name), download=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"expected to download {name}, got an error ({reason(error)}); try again with a network, or put "
            f"{name}.npz with x_train, y_train, x_test, y_test into {str(data_folder())!r}"
        ) from error
    return home(name)


def _advice(name: str) -> str:
    source, folder = SOURCES[name], str(home(name))
    if not source.archive:
        return (
            f"ask the authors of {source.page!r} for the images and put them, packed or not, into {folder!r}"
        )
    return f"get {source.archive} from {source.page!r} and put it, packed or not, into {folder!r}"
