"""Benchmarks that come as arrays: MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and COIL-100.

    mnist = data.load("mnist", size=32)       # downloads itself, once
    cifar = data.load("cifar10", n=6000)      # a tenth of the images

The first four have a training and a test part, are downloaded by torchvision, or are read from a file
data/<name>.npz with the arrays x_train, y_train, x_test, y_test, as Keras has it. Pages and licences are in
`sources.py`; counts are those of the publishers' pages. Without a `size` the images stay as they are; with
one they are resized bilinearly and antialiased.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from minigan.checks import require
from minigan.data.archives import DAMAGED
from minigan.data.cache import cached
from minigan.data.dataset import Dataset
from minigan.data.sources import SOURCES
from minigan.image_files import read_images, reason, resized

MNIST = tuple("0123456789")
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
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
CIFAR100_FINE = tuple(sorted(name for five in CIFAR100.values() for name in five.split()))


@cached("mnist")
def mnist(path: Path, size: int | None = None) -> Dataset:
    """MNIST: 70,000 handwritten digits, grey, 28x28, ten classes; official split 60,000 / 10,000.

    torchvision downloads it into data/mnist/ and compares checksums. A file data/mnist.npz with the arrays
    x_train, y_train, x_test, y_test (as Keras has it) is used instead when it is there. `size` resizes.

    Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits, 1998.
    """
    return _read_parts("mnist", path, MNIST, size)


@cached("fashion_mnist")
def fashion_mnist(path: Path, size: int | None = None) -> Dataset:
    """Fashion-MNIST: 70,000 clothes, grey, 28x28, ten classes; official split 60,000 / 10,000.

    As `mnist`: downloaded by torchvision into data/fashion_mnist/, or taken from data/fashion_mnist.npz.

    Source: Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017. MIT licence.
    """
    return _read_parts("fashion_mnist", path, FASHION, size)


@cached("cifar10")
def cifar10(path: Path, size: int | None = None, grayscale: bool = False) -> Dataset:
    """CIFAR-10: 60,000 photographs, colour, 32x32, ten classes; official split 50,000 / 10,000.

    As `mnist`: downloaded by torchvision into data/cifar10/, or taken from data/cifar10.npz. What torchvision
    downloads is a pickle, which could run code: it is opened only after its checksum was compared.

    Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    return _read_parts("cifar10", path, CIFAR10, size, grayscale)


def cifar100(labels: str = "fine", size: int | None = None, grayscale: bool = False) -> Dataset:
    """CIFAR-100: 60,000 photographs, colour, 32x32; official split 50,000 / 10,000.

    `labels` is "fine", 100 classes, or "coarse", the 20 groups of five that AGAD's paper takes. As `cifar10`:
    downloaded by torchvision into data/cifar100/, or taken from data/cifar100.npz, which has fine labels.
    """
    require(labels in ("fine", "coarse"), f'expected labels to be "fine" or "coarse", got {labels!r}')
    dataset = read_cifar100(size, grayscale)
    if labels == "fine":
        return dataset
    coarse_of = {name: i for i, five in enumerate(CIFAR100.values()) for name in five.split()}
    coarse = np.array([coarse_of[name] for name in CIFAR100_FINE])  # (100,), fine label -> coarse label
    return Dataset(
        name="cifar100 (coarse)",
        images=dataset.images,
        labels=coarse[dataset.labels],
        classes=tuple(CIFAR100),
        official=dataset.official,
    )


@cached("cifar100")
def read_cifar100(path: Path, size: int | None = None, grayscale: bool = False) -> Dataset:
    """CIFAR-100 with fine labels; see `cifar100`."""
    return _read_parts("cifar100", path, CIFAR100_FINE, size, grayscale)


@cached("coil100")
def coil100(path: Path, size: int | None = None, grayscale: bool = False) -> Dataset:
    """COIL-100: 100 objects on a turntable before black, colour, 128x128, 72 views each, 5 degrees apart.

    The classes are "obj1" to "obj100", no official split. Neighbouring views look much alike, so a random
    split is an easy task. Read from coil-100.zip, which holds files such as coil-100/obj1__0.png, or from
    data/coil100.npz with the arrays x (n, h, w, 3), y from 1 to 100, and angle.

    Source: Nene, Nayar and Murase, Columbia Object Image Library, report CUCS-006-96, 1996; file names as in
    the code of TensorFlow Datasets. Offered for research; no licence is stated.
    """
    if path.suffix == ".npz":
        images, y, angle = _read_npz(path, "x", "y", "angle")
        images = _converted(images, size, grayscale)
    else:
        matches = [(re.fullmatch(r"obj(\d+)__(\d+)\.png", file.name), file) for file in path.iterdir()]
        found = sorted((int(match[1]), int(match[2]), file) for match, file in matches if match)
        y, angle = np.array([(thing, degrees) for thing, degrees, _ in found]).T
        images = read_images([file for *_, file in found], size, 1 if grayscale else 3, "coil100")
    order = np.lexsort((angle, y))  # object by object, in the order of the angles
    classes = tuple(f"obj{i}" for i in range(1, 101))
    return Dataset("coil100", images[order], y[order].astype(np.int64) - 1, classes)


# --- what they share ------------------------------------------------------------------------------------


def _read_parts(
    name: str, path: Path, classes: tuple[str, ...], size: int | None, grayscale: bool = False
) -> Dataset:
    """The data set in a .npz file, or in the folder into which torchvision downloaded it."""
    if path.suffix == ".npz":
        x_train, y_train, x_test, y_test = _read_npz(path, "x_train", "y_train", "x_test", "y_test")
    else:
        x_train, y_train = _read_torchvision(name, path, train=True)
        x_test, y_test = _read_torchvision(name, path, train=False)
    return Dataset(
        name=name,
        images=np.concatenate([_converted(x, size, grayscale) for x in (x_train, x_test)]),
        labels=np.concatenate([y_train.ravel(), y_test.ravel()]).astype(np.int64),
        classes=classes,
        official=np.repeat(["train", "test"], [len(x_train), len(x_test)]),
    )


def _read_npz(path: Path, *keys: str) -> list[np.ndarray]:
    """Arrays of a .npz file, by name. Nothing in it is executed: arrays of Python objects are refused."""
    try:
        # Opened here, because numpy leaves a file open that turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return [arrays[key] for key in keys]
    except (KeyError, ValueError, *DAMAGED) as error:
        raise ValueError(
            f"expected a .npz file of numbers with the arrays {', '.join(keys)}, got {str(path)!r}, which "
            f"cannot be read ({reason(error)}); get it again"
        ) from error


def _read_torchvision(name: str, path: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of one part of what torchvision downloaded."""
    from torchvision import datasets  # here, because it imports torch

    try:
        part = getattr(datasets, SOURCES[name].torchvision)(path, train=train)
    except (ValueError, AssertionError, *DAMAGED) as error:
        raise ValueError(
            f"expected the files of {name} in {str(path)!r}, got damaged ones ({reason(error)}); delete them "
            "and load again"
        ) from error
    return np.asarray(part.data), np.asarray(part.targets)


def _converted(images: np.ndarray, size: int | None, grayscale: bool) -> np.ndarray:
    """(n, h, w) or (n, h, w, 3) uint8, made grey and resized where that is asked for."""
    if size in (None, images.shape[1]) and not grayscale:
        return images
    pictures = [Image.fromarray(image) for image in images]
    if grayscale:
        pictures = [picture.convert("L") for picture in pictures]
    return np.stack([np.asarray(resized(picture, size)) for picture in pictures])
