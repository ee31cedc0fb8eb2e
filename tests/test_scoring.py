"""`minigan fit`, `score` with a saved detector, and `compare`, as people type them."""

import errno
import os
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import minigan
from minigan import data, metrics
from minigan.cli import main
from minigan.image_files import find_images
from minigan.photographs import normal_images, photographs
from minigan.registry import METHODS


def write(folder, pictures, names="{:02}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / names.format(i))


@pytest.fixture
def bottle(tmp_path, monkeypatch):
    """A data set in the layout of MVTec AD, of fours and ones; the working directory is its parent."""
    digits = data.load("digits", size=8)
    fours, ones = digits.images[digits.labels == 4], digits.images[digits.labels == 1]
    write(tmp_path / "bottle/train/good", fours[:60])
    write(tmp_path / "bottle/test/good", fours[60:90])
    write(tmp_path / "bottle/test/broken", ones[:20])
    write(tmp_path / "bottle/ground_truth/broken", ones[:20], "{:02}_mask.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "bottle"


def fitted(*more):
    return main(["fit", "bottle", "--image-size", "8", "--out", "b.safetensors", *more])


# ---------------------------------------------------------------------- which files


def test_only_train_is_learned_from(bottle):
    chosen = normal_images(bottle)
    assert chosen.files == find_images(bottle / "train")
    assert chosen.left_out == {"masks": 20, "in test/": 50} and chosen.root == bottle / "train"
    assert str(chosen) == "60 images (left out: 20 masks; left out: 50 in test/)"
    assert photographs(bottle / "test").left_out == {}
    assert len(photographs(bottle).files) == 60 + 50  # all but the masks may be scored


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (["a.jpg", "a.png", "b.jpg", "b.png"], 2),  # magnetic tiles
        (["a.JPEG", "a.png", "c.png"], 1),
        (["a.png", "a_mask.png", "b.png", "b_mask.bmp"], 2),
        (["a.jpg", "a-mask.png", "b.jpg"], 1),
        (["a_mask.png", "b_mask.png"], 0),  # no photographs beside them: masks for faces, perhaps
        (["a.bmp", "a.png"], 0),  # which of them would it be?
        (["a.jpg", "b.png"], 0),
    ],
)
def test_masks_beside_photographs(tmp_path, names, masks):
    for name in names:
        Image.new("L", (8, 8), 99).save(tmp_path / name)
    for chosen in (normal_images(tmp_path), photographs(tmp_path)):
        assert chosen.left_out == ({"masks": masks} if masks else {})
        assert len(chosen.files) == len(names) - masks
        assert not [path for path in chosen.files if "mask" in path.stem and masks]


def test_a_folder_called_test_may_be_trained_on_by_its_own_path(bottle):
    assert len(normal_images(bottle / "test").files) == 50
    assert len(normal_images(bottle / "test" / "good").files) == 30


def test_nothing_to_learn_from(tmp_path):
    write(tmp_path / "all" / "test", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(
        ValueError, match=r"expected photographs in .*, got 0 images \(left out: 3 in test/\)"
    ):
        normal_images(tmp_path / "all")


# ---------------------------------------------------------------------- fit, then score


def test_fit_and_score_do_what_the_library_does(bottle, capsys):
    assert fitted("--method", "nearestneighbors", "--set", "n_neighbors=2") == 0
    said = capsys.readouterr()
    assert said.err == "learns from 60 images (left out: 20 masks; left out: 50 in test/) in bottle\n"
    assert said.out.startswith("NearestNeighbors saved as b.safetensors: ") and "90 % interval" in said.out
    assert main(["score", "b.safetensors", "bottle/test", "--out", "scores.csv"]) == 0
    detector = minigan.NearestNeighbors(n_neighbors=2, image_size=8).fit(bottle / "train")
    table = pd.read_csv("scores.csv")
    np.testing.assert_array_equal(table["score"], detector.anomaly_score(bottle / "test"))
    assert table["file"][0] == "broken/00.png"
    assert (table["anomalous"] == (table["score"] > detector.threshold_)).all()
    assert metrics.auroc(table["file"].str.startswith("broken"), table["score"]) > 0.95


def test_single_files_and_several_folders_are_scored(bottle, capsys):
    assert fitted() == 0
    capsys.readouterr()
    assert main(["score", "b.safetensors", "bottle/test/broken", "bottle/test/good/03.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[0] == "bottle/test/broken/00.png"
    assert lines[21].split()[0] == "bottle/test/good/03.png"
    assert lines[22].startswith("20 of 21 images") or lines[22].startswith("21 of 21")


def test_images_are_read_as_the_model_needs_them(bottle, capsys):
    """Of another size and in colour: converted to what the detector was trained on."""
    assert fitted() == 0
    write(bottle / "new", [np.full((40, 20, 3), (200, 10, 10), np.uint8)])
    assert main(["score", "b.safetensors", "bottle/new"]) == 0
    assert "1 of 1 images lie above" in capsys.readouterr().out


def test_heat_maps_are_drawn_over_the_photographs(bottle, capsys):
    settings = ["--method", "GANomaly", "--image-size", "16", "--set", "epochs=1", "width=4", "z_dim=4"]
    assert "GANomaly" in METHODS
    assert main(["fit", "bottle", "--out", "g.safetensors", *settings]) == 0
    assert main(["score", "g.safetensors", "bottle/test", "--heatmaps", "maps", "--out", "s.csv"]) == 0
    assert capsys.readouterr().err.endswith("50 heat maps in maps\n")
    with Image.open("maps/broken_00.png.png") as drawn:
        assert drawn.size == (8, 8) and drawn.mode == "RGB"
        colours = np.asarray(drawn).astype(int)
    assert len(os.listdir("maps")) == 50
    assert np.ptp(colours, axis=2).max() > 0  # the grey photograph has colours now


def test_no_heat_map_replaces_another_file(bottle, capsys):
    settings = ["--method", "GANomaly", "--image-size", "16", "--set", "epochs=1", "width=4", "z_dim=4"]
    assert main(["fit", "bottle", "--out", "g.safetensors", *settings]) == 0
    write(bottle / "new" / "a", np.zeros((1, 8, 8), np.uint8))
    write(bottle / "new", np.zeros((1, 8, 8), np.uint8), "a_{:02}.png")
    assert main(["score", "g.safetensors", "bottle/new", "--heatmaps", "maps"]) == 0
    assert sorted(os.listdir("maps")) == ["0000_a_00.png.png", "0001_a_00.png.png"]
    capsys.readouterr()
    assert main(["score", "g.safetensors", "bottle/new", "--heatmaps", "g.safetensors"]) == 2
    assert (
        "expected --heatmaps to be a folder, got 'g.safetensors', which is a file" in capsys.readouterr().err
    )


def test_sub_classes_are_the_sub_folders_of_train(tmp_path, monkeypatch):
    """Not `train` itself, nor what lies beside it."""
    digits = data.load("digits", size=16)
    for digit in (4, 1):
        write(tmp_path / "parts" / "train" / str(digit), digits.images[digits.labels == digit][:20])
    write(tmp_path / "parts" / "test" / "odd", digits.images[:3])
    monkeypatch.chdir(tmp_path)
    settings = ["--method", "SoftmaxClassifier", "--image-size", "16", "--set", "epochs=1", "width=2"]
    assert main(["fit", "parts", "--out", "s.safetensors", *settings]) == 0
    assert minigan.load("s.safetensors").classes_.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["score", "b.safetensors", "bottle", "--method", "PCA"], "expected --method only where a detector"),
        (
            ["score", "b.safetensors", "bottle", "--image-size", "9", "--set", "a=1"],
            "--image-size, --set only",
        ),
        (["score", "vectors.safetensors", "bottle"], "square images, got 'vectors.safetensors', which takes"),
        (
            ["score", "open.safetensors", "bottle"],
            "a threshold, got 'open.safetensors' without one; call its",
        ),
        (["fit", "nowhere", "--out", "x"], "expected a folder of images, got 'nowhere'"),
        (["fit", "bottle", "--out", "no/where"], "expected a folder to save into, got 'no'"),
        (["fit", "bottle", "--out", "x", "--set", "n=1"], "a hyperparameter of PCA, got --set 'n=1'"),
        (["score", "bottle/test"], "expected a model and the images that it is to score, got 'bottle/test'"),
        (["score", "bottle", "bottle/test"], "got 'bottle'"),
        (["score", "bottle/test/good/00.png", "bottle/test"], "expected a complete safetensors file, got"),
        (["score", "b.safetensors", "nowhere"], "expected a folder of images, got 'nowhere'"),
        (["score", "b.safetensors", "bottle/test", "--heatmaps", "m"], "a method with heat maps, got PCA"),
        (["compare", "bottle", "bottle/test/good"], "got 30 of 30 images outside of such folders"),
        (["compare", "bottle", "bottle/test", "--methods", "PAC"], "got 'PAC'; did you mean PCA?"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(bottle, capsys, arguments, sentence):
    assert fitted() == 0
    minigan.PCA().fit(np.random.default_rng(0).normal(size=(30, 3))).save("vectors.safetensors")
    minigan.PCA(image_size=8, holdout=0).fit(bottle / "train").save("open.safetensors")
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert sentence in said.err and said.err.startswith("minigan: expected "), said.err
    assert said.err.count("\n") == 1 and said.out == ""


def test_a_detector_that_cannot_be_saved_is_saved_elsewhere(bottle, capsys, monkeypatch):
    save, tried = minigan.PCA.save, []

    def full_at_first(self, path):
        tried.append(path)
        if len(tried) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, path)

    monkeypatch.setattr(minigan.PCA, "save", full_at_first)
    assert fitted() == 2
    said = capsys.readouterr().err
    (elsewhere,) = re.findall(r"it was saved as '(.*)' instead", said)
    assert "No space left on device" in said and minigan.load(elsewhere).threshold_


# ---------------------------------------------------------------------- compare


def test_compare_looks_for_normal_folders_inside_the_test_folder_alone(bottle, capsys, monkeypatch):
    (bottle.parent / "good").mkdir()
    bottle.rename(bottle.parent / "good" / "bottle")  # that everything lies in a folder "good" says nothing
    arguments = ["--image-size", "8", "--methods", "PCA"]
    assert main(["compare", "good/bottle", "good/bottle/test", *arguments]) == 0
    assert "tests on 30 normal, 20 anomalous" in capsys.readouterr().err


def test_compare_ranks_methods_and_says_which_to_take(bottle, capsys):
    methods = ["PCA", "Brightness", "NearestNeighbors"]
    assert main(["compare", "bottle", "bottle/test", "--image-size", "8", "--methods", *methods]) == 0
    said = capsys.readouterr()
    assert said.err.endswith("; tests on 30 normal, 20 anomalous\n")
    *table, advice = said.out.splitlines()
    rows = {line.split()[0]: line.split() for line in table[1:]}
    assert set(rows) == set(methods)
    aurocs = [float(line.split()[1]) for line in table[1:]]
    assert aurocs == sorted(aurocs, reverse=True)
    detector = minigan.PCA(image_size=8).fit(bottle / "train")
    scores = detector.anomaly_score(bottle / "test")
    broken = np.repeat([1, 0], [20, 30])
    assert float(rows["PCA"][1]) == pytest.approx(metrics.auroc(broken, scores), abs=6e-4)
    assert rows["PCA"][2] == f"{(scores[:20] > detector.threshold_).mean():.0%}"
    assert rows["PCA"][3] == f"{(scores[20:] > detector.threshold_).mean():.0%}"
    assert any(name in advice for name in ("PCA", "NearestNeighbors")) and "Brightness" not in advice
