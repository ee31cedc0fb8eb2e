"""Medical benchmarks: cells, brain scans, X-rays, retinal scans and tissue sections, in folders of classes.

    cells = data.load("kth_cellvideos")
    chest = data.load("chest_xray", size=64)

Each class is a sub-folder, in the folders train, test and perhaps val. Images are resized bilinearly and
antialiased, and squeezed to a square. Pages and licences are in `sources.py`; layouts and counts are those of
the publishers' pages and of AGAD's and the simultaneous encoder's papers.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from minigan.data.cache import cached
from minigan.data.dataset import Dataset
from minigan.data.folders import read_tree


@cached("kth_cellvideos")
def kth_cellvideos(path: Path, size: int = 64) -> Dataset:
    """KTH-Cellvideos: crops of microscope films, grey; living cells are "normal", debris is "anomalous".

    Nobody offers the crops for download; ask the authors of the two papers. They cut 64x64 pixels around each
    labelled object, 525,657 normal crops for training (each object also turned three times) and 256 of each
    class for testing. Put them into train/normal, train/anomalous, test/normal and test/anomalous. Frames of
    one film resemble each other, and nothing here says which crops come from one film.

    Source: section 4.1.2 of the simultaneous encoder's paper (Berg, Ahlberg and Felsberg, 2019); the films
    are from Magnusson, Jalden, Gilbert and Blau, Global linking of cell tracks, IEEE TMI 34, 2015. Licence
    not known.
    """
    return read_tree(path, "kth_cellvideos", size, channels=1, classes=("normal", "anomalous"))


@cached("alzheimer")
def alzheimer(path: Path, size: int = 64) -> Dataset:
    """Alzheimer's data set: 6,400 slices of brain scans, grey, about 176x208; four classes, official split.

    "NonDemented" is normal (2,560 for training, 640 for testing), then "VeryMildDemented" (1,792, 448),
    "MildDemented" (717, 179) and "ModerateDemented" (52, 12). Nothing says which slices are of one patient: a
    test image may have its neighbour among the training images.

    Layout: Alzheimer_s Dataset/train/NonDemented, .../test/NonDemented and so on. Source: S. Dubey,
    Alzheimer's dataset (4 class of images), Kaggle, 2019; counts as in AGAD's paper, whose total, 6,412, is a
    slip. Licence not known.
    """
    classes = ("NonDemented", "VeryMildDemented", "MildDemented", "ModerateDemented")
    return read_tree(path, "alzheimer", size, channels=1, classes=classes)


@cached("chest_xray")
def chest_xray(path: Path, size: int = 64, by_patient: bool = True) -> Dataset:
    """Chest X-rays of children: 5,856 images, grey, of many sizes; "NORMAL" and "PNEUMONIA", official split.

    Where there is a folder val, it counts as test, as in AGAD's paper. `groups` numbers the patients, derived
    from the names of the files (person12_bacteria_46, IM-0115-0001). Some patients are in both parts of the
    official split, so the protocols leave their test images out; `by_patient=False` leaves out the groups
    instead, and that leaks.

    Layout: chest_xray/train/NORMAL, chest_xray/test/PNEUMONIA and so on. Source: Kermany, Zhang and Goldbaum,
    Mendeley Data, 2018, version 2 (Cell 172, 2018). CC BY 4.0.
    """
    classes = ("NORMAL", "PNEUMONIA")
    group_of = _patient if by_patient else None
    return read_tree(path, "chest_xray", size, channels=1, classes=classes, group_of=group_of)


@cached("retinal_oct")
def retinal_oct(path: Path, size: int = 64, by_patient: bool = True) -> Dataset:
    """Retinal OCT: 84,495 scans, grey, of many sizes; "NORMAL", "CNV", "DME", "DRUSEN", official split.

    Where there is a folder val, it counts as test, as in AGAD's paper (250 test images of each class then).
    `groups` numbers the patients, derived from the names of the files: CNV-1016042-1 is image 1 of patient
    1016042. The publisher calls the two parts independent, but others who compared the numbers found 566 of
    the 633 test patients among the training images. The protocols leave their test images out, which is most
    of them; `by_patient=False` leaves out the groups instead, and that leaks.

    Layout: OCT2017/train/CNV, OCT2017/test/NORMAL and so on. Source: as `chest_xray`. CC BY 4.0.
    """
    classes = ("NORMAL", "CNV", "DME", "DRUSEN")
    group_of = _patient if by_patient else None
    return read_tree(path, "retinal_oct", size, channels=1, classes=classes, group_of=group_of)


@cached("lung_histopathology")
def lung_histopathology(path: Path, size: int = 64, grayscale: bool = False) -> Dataset:
    """The lung part of LC25000: 15,000 stained sections, colour, 768x768, in three classes of 5,000.

    "lung_n" is benign, "lung_aca" and "lung_scc" are two kinds of cancer. The publisher has no split;
    `official` is that of AGAD's paper, which tests on the last 500 of each class in the order of their names.
    All images were made from 750 originals by augmentation, and nothing says which belong together: this
    split leaks, and so does any other.

    Layout: lung_colon_image_set/lung_image_sets/lung_n and so on. Source: Borkowski and others, Lung and
    colon cancer histopathological image dataset, arXiv:1912.12142, 2019. No licence is stated.
    """
    classes = ("lung_n", "lung_aca", "lung_scc")
    dataset = read_tree(path, "lung_histopathology", size, 1 if grayscale else 3, classes)
    counts = np.bincount(dataset.labels)  # images are in the order of the classes, then of their names
    place = np.concatenate([np.arange(n) / n for n in counts])
    return replace(dataset, official=np.where(place < 0.9, "train", "test"))


def _patient(name: str) -> str | None:
    """The patient in a file's name.

    "person12_virus_46.jpeg" -> "person12", "IM-0115-0001.jpeg" -> "IM-0115", "CNV-42-1.jpeg" -> "42".
    """
    found = re.match(r"person\d+|(?:NORMAL2-)?IM-\d+|[A-Z]+-(\d+)", name)
    if found is None:
        return None
    return found[1] or found[0]
