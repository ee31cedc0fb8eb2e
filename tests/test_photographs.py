"""Lists of images: CSV files with paths, and with labels where folders do not say what is what."""

import os

import numpy as np
import pytest
from helpers import raises_sentence, zeros
from PIL import Image

from minigan.photographs import labels_of, normal_images, photographs


@pytest.fixture
def listed(tmp_path):
    """Six images in two folders, and a function that writes a list of them."""
    for i, image in enumerate(zeros(6)):
        (tmp_path / f"camera{i % 2}").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"camera{i % 2}" / f"{i}.png")

    def write(text: str, encoding: str = "utf-8"):
        (tmp_path / "list.csv").write_text(text, encoding=encoding)
        return tmp_path / "list.csv"

    return write


ROWS = "camera1/1.png,normal\ncamera0/0.png,scratch\ncamera0/2.png,GOOD\ncamera1/3.png, 0 \n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("head", ["file,label", "Path,Anomalous", "image,class"])
def test_labels_say_what_is_learned_from(listed, head, encoding):
    table = listed(f"{head}\n{ROWS}", encoding)
    found = photographs(table)
    assert [path.name for path in found.files] == ["1.png", "0.png", "2.png", "3.png"]
    assert labels_of(found) == [False, True, False, False] and found.root == table.parent
    chosen = normal_images(str(table))
    assert [path.name for path in chosen.files] == ["1.png", "2.png", "3.png"]
    assert str(chosen) == "3 images (left out: 1 labelled as anomalous)"


def test_without_labels_folders_say_it(listed, tmp_path):
    (tmp_path / "good").mkdir()
    os.replace(tmp_path / "camera0" / "0.png", tmp_path / "good" / "0.png")
    table = listed("number,file\n7,good/0.png\n8,camera1/1.png\n")
    assert labels_of(photographs(table)) == [False, True]
    assert len(normal_images(table).files) == 2  # a list without labels is one of normal images


def test_absolute_paths_and_those_of_other_folders(listed, tmp_path):
    (tmp_path / "lists").mkdir()
    table = tmp_path / "lists" / "a.csv"
    table.write_text(f"file\n../camera0/0.png\n{tmp_path / 'camera1' / '1.png'}\n")
    found = photographs(table)
    assert found.root == tmp_path
    assert [path.relative_to(found.root).as_posix() for path in found.files] == [
        "camera0/0.png",
        "camera1/1.png",
    ]
    np.testing.assert_array_equal(np.asarray(Image.open(found.files[1])), zeros(6)[1])


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", ValueError, "with no rows"),
        ("file,label\n", ValueError, "with no rows"),
        ("name,label\ncamera0/0.png,0\n", ValueError, "a column file, path, image"),
        ("file,label\ncamera0/0.png,0\nnowhere.png,0\n", FileNotFoundError, "in line 3, which is not there"),
        ("file,label\ncamera0/0.png,\n", ValueError, "got none for 1 of 1; fill in label"),
        ("file,label\ncamera0/0.png\n", ValueError, "got none for 1 of 1; fill in label"),
        ("file,label\ncamera0/0.png,1\n", ValueError, "got none of 1 with the label normal"),
        ("file\n,\n", FileNotFoundError, "in line 2, which is not there"),
    ],
)
def test_lists_that_cannot_be_used(listed, text, kind, words):
    with raises_sentence(kind, "expected", words):
        normal_images(listed(text))


def test_a_list_in_another_encoding(listed):
    with raises_sentence(ValueError, "expected a CSV file in UTF-8", "save it anew"):
        photographs(listed("file\nBüro.png\n", encoding="latin-1"))
