"""The benchmarks of the papers: data sets that have to be fetched, each from its publisher.

    mnist = data.load("mnist", size=32)                            # downloads itself, once
    screws = data.load("mvtec", category="screw", size=128)        # FileNotFoundError says where to get it
    leaves = data.load("plantvillage", species="apple")
    mine = data.load("folder", path="photos/", size=64)

`minigan datasets` shows which are there. A set lives in `data/<name>/`, as the archive that its publisher
offers or unpacked; the first load unpacks it, resizes every image and keeps the result, so that the next
takes a moment. Images are resized bilinearly with antialiasing and squeezed to a square.

Pages, archives and licences are in `sources.py`; MVTec AD, the magnetic tiles and the leaves are in
`defect_sets.py`, any folder in `folders.py`. Layouts and counts are those of the publishers' pages and of the
papers named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from minigan import datafiles
from minigan.data import Dataset, _check_size
from minigan.defect_sets import mtd, mvtec, plantvillage
from minigan.folders import folder, tree
from minigan.sources import find, folder_of, load

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
#: The 20 coarse classes of CIFAR-100 and the five fine ones in each (Krizhevsky's page).
CIFAR100 = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}


# --- arrays: MNIST, Fashion-MNIST, CIFAR, COIL-100 ------------------------------------------------------


def mnist(size: int | None = None) -> Dataset:
    """MNIST: 70,000 handwritten digits, grey, 28x28, ten classes; official split 60,000 / 10,000.

    torchvision downloads it into data/mnist/ and compares checksums. A file data/mnist.npz with the arrays
    x_train, y_train, x_test, y_test (as Keras has it) is used instead when it is there. `size` resizes.

    Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits, 1998.
    """
    return _arrays("mnist", "MNIST", tuple("0123456789"), size, False)


def fashion_mnist(size: int | None = None) -> Dataset:
    """Fashion-MNIST: 70,000 clothes, grey, 28x28, ten classes; official split 60,000 / 10,000.

    As `mnist`: downloaded by torchvision into data/fashion_mnist/, or taken from data/fashion_mnist.npz.

    Source: Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017. MIT licence.
    """
    return _arrays("fashion_mnist", "FashionMNIST", FASHION, size, False)


def cifar10(size: int | None = None, grayscale: bool = False) -> Dataset:
    """CIFAR-10: 60,000 photographs, colour, 32x32, ten classes; official split 50,000 / 10,000.

    As `mnist`: downloaded by torchvision into data/cifar10/, or taken from data/cifar10.npz. What torchvision
    downloads is a pickle, which could run code: it is opened only after its checksum was compared.

    Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    return _arrays("cifar10", "CIFAR10", CIFAR10, size, grayscale)


def cifar100(labels: str = "fine", size: int | None = None, grayscale: bool = False) -> Dataset:
    """CIFAR-100: 60,000 photographs, colour, 32x32; official split 50,000 / 10,000.

    `labels` is "fine", 100 classes, or "coarse", the 20 groups of five that AGAD's paper takes. As `cifar10`:
    downloaded by torchvision into data/cifar100/, or taken from data/cifar100.npz, which has fine labels.
    """
    if labels not in ("fine", "coarse"):
        raise ValueError(f'labels = {labels!r} came; CIFAR-100 has "fine" and "coarse" ones.')
    fine = tuple(sorted(name for five in CIFAR100.values() for name in five.split()))
    dataset = _arrays("cifar100", "CIFAR100", fine, size, grayscale)
    if labels == "fine":
        return dataset
    coarse = {name: i for i, five in enumerate(CIFAR100.values()) for name in five.split()}
    group = np.array([coarse[name] for name in fine])  # (100,)
    return Dataset(
        "cifar100 (coarse)", dataset.images, group[dataset.labels], tuple(CIFAR100), dataset.official
    )


def _arrays(name: str, kind: str, classes: tuple[str, ...], size: int | None, grayscale: bool) -> Dataset:
    """A set of arrays: data/<name>.npz if there is one, else torchvision's dataset `kind`."""
    if size is not None:
        _check_size(name, size, 8, 1024)

    def read(path: Path) -> Dataset:
        if path.suffix == ".npz":
            parts = _npz(path, "x_train", "y_train", "x_test", "y_test")
        else:
            parts = [values for train in (True, False) for values in _torchvision(kind, path, train)]
        images = np.concatenate([_converted(parts[i], size, grayscale) for i in (0, 2)])
        labels = np.concatenate([parts[i].ravel() for i in (1, 3)]).astype(np.int64)
        official = np.repeat(["train", "test"], [len(parts[0]), len(parts[2])])
        return Dataset(name, images, labels, classes, official)

    def locate(wanted: bool) -> Path | None:
        file = folder_of(name).with_suffix(".npz")
        found = file if file.is_file() else find(name, unpacking=False)
        return _download(name, kind) if found is None and wanted else found

    return load(name, {"size": size, "grayscale": grayscale}, locate, read)


def _download(name: str, kind: str) -> Path:
    """torchvision's download into data/<name>/, with a progress bar and a comparison of checksums."""
    from torchvision import datasets

    home = folder_of(name)
    try:
        getattr(datasets, kind)(home, download=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{name} is not here yet and could not be downloaded ({datafiles.reason(error)}): try again with "
            f"a network, or put {name}.npz with x_train, y_train, x_test, y_test into {str(home.parent)!r}"
        ) from error
    return home


def _torchvision(kind: str, home: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of one part of what torchvision downloaded."""
    from torchvision import datasets

    try:
        part = getattr(datasets, kind)(home, train=train)
    except (ValueError, AssertionError, *datafiles.DAMAGED) as error:
        raise ValueError(
            f"what is in {str(home)!r} is damaged ({datafiles.reason(error)}): delete it and load again"
        ) from error
    return np.asarray(part.data), np.asarray(part.targets)


def _npz(path: Path, *keys: str) -> list[np.ndarray]:
    """Arrays of a .npz file, by name. Nothing in it is executed: arrays of Python objects are refused."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[key] for key in keys]
    except (KeyError, ValueError, *datafiles.DAMAGED) as error:
        raise ValueError(
            f"cannot read {str(path)!r} ({datafiles.reason(error)}): expected a .npz file of numbers with "
            f"the arrays {', '.join(keys)}"
        ) from error


def _converted(images: np.ndarray, size: int | None, grayscale: bool) -> np.ndarray:
    """(n, h, w) or (n, h, w, 3) uint8, made grey and resized where that is wanted."""
    if size in (None, images.shape[1]) and not grayscale:
        return images
    pictures = (Image.fromarray(image) for image in images)
    return np.stack(
        [np.asarray(datafiles.resized(x.convert("L") if grayscale else x, size)) for x in pictures]
    )


def coil100(size: int | None = None, grayscale: bool = False) -> Dataset:
    """COIL-100: 100 objects on a turntable before black, colour, 128x128, 72 views each, 5 degrees apart.

    The classes are "obj1" to "obj100", no official split. Neighbouring views look much alike, so a random
    split is an easy task. Read from coil-100.zip, which holds files such as coil-100/obj1__0.png, or from
    data/coil100.npz with the arrays x (n, h, w, 3), y from 1 to 100, and angle.

    Source: Nene, Nayar and Murase, Columbia Object Image Library, report CUCS-006-96, 1996; file names as in
    the code of TensorFlow Datasets. Offered for research; no licence is stated.
    """
    if size is not None:
        _check_size("coil100", size, 8, 1024)
    file = folder_of("coil100").with_suffix(".npz")

    def read(path: Path) -> Dataset:
        if path.suffix == ".npz":
            images, y, angle = _npz(path, "x", "y", "angle")
            images = _converted(images, size, grayscale)
        else:
            names = [(re.fullmatch(r"obj(\d+)__(\d+)\.png", x.name), x) for x in path.iterdir()]
            found = sorted((int(match[1]), int(match[2]), x) for match, x in names if match)
            y, angle = np.array([entry[:2] for entry in found]).T
            images = datafiles.read_images([x for *_, x in found], size, 1 if grayscale else 3, "coil100")
        order = np.lexsort((angle, y))
        classes = tuple(f"obj{i}" for i in range(1, 101))
        return Dataset("coil100", images[order], y[order].astype(np.int64) - 1, classes)

    def locate(wanted: bool) -> Path | None:
        return file if file.is_file() else find("coil100", wanted)

    return load("coil100", {"size": size, "grayscale": grayscale}, locate, read)


# --- folders: cells, and the four medical sets of AGAD's paper -------------------------------------------


def kth_cellvideos(size: int = 64) -> Dataset:
    """KTH-Cellvideos: crops of microscope films, grey; living cells are "normal", debris is "anomalous".

    Nobody offers the crops for download; ask the authors of the two papers. They cut 64x64 pixels around each
    labelled object, 525,657 normal crops for training (each object also turned three times) and 256 of each
    class for testing. Put them into train/normal, train/anomalous, test/normal and test/anomalous. Frames of
    one film resemble each other, and nothing here says which crops belong together.

    Source: section 4.1.2 of the simultaneous encoder's paper (Berg, Ahlberg and Felsberg, 2019); the films
    are from Magnusson, Jalden, Gilbert and Blau, Global linking of cell tracks, IEEE TMI 34, 2015. Licence
    not known.
    """
    return _classes("kth_cellvideos", ("normal", "anomalous"), size)


def alzheimer(size: int = 64) -> Dataset:
    """Alzheimer's data set: 6,400 slices of brain scans, grey, about 176x208; four classes, official split.

    "NonDemented" is normal (2,560 for training, 640 for testing), then "VeryMildDemented" (1,792, 448),
    "MildDemented" (717, 179) and "ModerateDemented" (52, 12). Nothing says which slices are of one patient: a
    test image may have its neighbour among the training images.

    Layout: Alzheimer_s Dataset/train/NonDemented, .../test/NonDemented and so on. Source: S. Dubey,
    Alzheimer's dataset (4 class of images), Kaggle, 2019; counts as in AGAD's paper, whose total, 6,412, is a
    slip. Licence not known.
    """
    classes = ("NonDemented", "VeryMildDemented", "MildDemented", "ModerateDemented")
    return _classes("alzheimer", classes, size)


def chest_xray(size: int = 64, by_patient: bool = True) -> Dataset:
    """Chest X-rays of children: 5,856 images, grey, of many sizes; "NORMAL" and "PNEUMONIA", official split.

    Where there is a folder val, it counts as test, as in AGAD's paper. `groups` numbers the patients, told by
    the names (person12_bacteria_46, IM-0115-0001). Numbers of patients occur in both parts of the official
    split, so the protocols leave some test images out; `by_patient=False` leaves out the numbers instead.

    Layout: chest_xray/train/NORMAL, chest_xray/test/PNEUMONIA and so on. Source: Kermany, Zhang and Goldbaum,
    Mendeley Data, 2018, version 2 (Cell 172, 2018). CC BY 4.0.
    """
    return _classes("chest_xray", ("NORMAL", "PNEUMONIA"), size, by_patient=by_patient)


def retinal_oct(size: int = 64, by_patient: bool = True) -> Dataset:
    """Retinal OCT: 84,495 scans, grey, of many sizes; "NORMAL", "CNV", "DME", "DRUSEN", official split.

    Where there is a folder val, it counts as test, as in AGAD's paper (250 test images of each class then).
    `groups` numbers the patients, which stand in the names: CNV-1016042-1 is image 1 of patient 1016042. The
    publisher calls the two parts independent, but others who compared the numbers found 566 of the 633 test
    patients among the training images. The protocols leave their test images out, which is most of them;
    `by_patient=False` leaves out the numbers instead, and that leaks.

    Layout: OCT2017/train/CNV, OCT2017/test/NORMAL and so on. Source: as `chest_xray`. CC BY 4.0.
    """
    return _classes("retinal_oct", ("NORMAL", "CNV", "DME", "DRUSEN"), size, by_patient=by_patient)


def _patient(name: str) -> str | None:
    """ "person12_virus_46.jpeg" -> "person12", "IM-0115-0001.jpeg" -> "IM-0115", "CNV-42-1.jpeg" -> "42"."""
    found = re.match(r"person\d+|(?:NORMAL2-)?IM-\d+|[A-Z]+-(\d+)", name)
    return found and (found[1] or found[0])


def _classes(name: str, classes: Sequence[str], size: int, by_patient: bool = False) -> Dataset:
    """A grey set in folders train/<class>, test/<class> and perhaps val/<class>."""
    _check_size(name, size, 8, 1024)

    def read(path: Path) -> Dataset:
        return tree(path, name, size, channels=1, classes=classes, group_of=_patient if by_patient else None)

    return load(name, {"size": size, "by_patient": by_patient}, lambda wanted: find(name, wanted), read)


def lung_histopathology(size: int = 64, grayscale: bool = False) -> Dataset:
    """The lung part of LC25000: 15,000 stained sections, colour, 768x768, in three classes of 5,000.

    "lung_n" is benign, "lung_aca" and "lung_scc" are two kinds of cancer. The publisher has no split;
    `official` is that of AGAD's paper, which tests on the last 500 of each class in the order of their names.
    All images were made from 750 originals by augmentation, and nothing says which belong together: this
    split leaks, and so does any other.

    Layout: lung_colon_image_set/lung_image_sets/lung_n and so on. Source: Borkowski and others, Lung and
    colon cancer histopathological image dataset, arXiv:1912.12142, 2019. No licence is stated.
    """
    _check_size("lung_histopathology", size, 8, 1024)

    def read(path: Path) -> Dataset:
        classes = ("lung_n", "lung_aca", "lung_scc")
        dataset = tree(path, "lung_histopathology", size, grayscale, channels=3, classes=classes)
        counts = np.bincount(dataset.labels)  # images stand class by class, in the order of their names
        place = np.concatenate([np.arange(n) / n for n in counts])
        return replace(dataset, official=np.where(place < 0.9, "train", "test"))

    options = {"size": size, "grayscale": grayscale}
    return load("lung_histopathology", options, lambda wanted: find("lung_histopathology", wanted), read)


LOADERS = {
    loader.__name__: loader
    for loader in (
        *(mnist, fashion_mnist, cifar10, cifar100, coil100),
        *(mtd, mvtec, plantvillage, kth_cellvideos),
        *(alzheimer, chest_xray, lung_histopathology, retinal_oct, folder),
    )
}
