"""`minigan fit`, `score` with a saved detector, and `compare`, as people type them."""

import errno
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import forks
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import beta

import minigan
from minigan import comparison, data, metrics, terminal, training, wording
from minigan.cli import main
from minigan.image_files import find_images
from minigan.photographs import masks_of, normal_images, photographs
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
    return main(["fit", "bottle", "--image-size", "8", "--method", "PCA", "--out", "b.safetensors", *more])


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


def test_masks_are_found(bottle):
    """Beside photographs, or under ground_truth/ of the folder or of the one above."""
    for root in (bottle, bottle / "test"):
        files = photographs(root).files
        masks = [mask.relative_to(bottle).as_posix() for mask in masks_of(root, files) if mask is not None]
        assert masks == [f"ground_truth/broken/{i:02}_mask.png" for i in range(20)]
    for name in ("a.jpg", "a.png", "b.bmp", "b-mask.png", "c.png"):
        Image.new("L", (8, 8), 99).save(bottle.parent / name)
    beside = masks_of(bottle.parent, [bottle.parent / name for name in ("a.jpg", "b.bmp", "c.png")])
    assert [mask and mask.name for mask in beside] == ["a.png", "b-mask.png", None]


def test_a_folder_called_test_may_be_trained_on_by_its_own_path(bottle):
    assert len(normal_images(bottle / "test" / "good").files) == 30


def test_of_sorted_folders_only_the_normal_ones_are_learned_from(bottle, capsys):
    chosen = normal_images(bottle / "test")
    assert chosen.files == find_images(bottle / "test" / "good")
    assert chosen.left_out == {"outside of folders called good, normal, ok": 20}
    (bottle / "test" / "good").rename(bottle / "test" / "MT_Free")  # a name that says nothing
    assert len(normal_images(bottle / "test").files) == 50
    odd = "b\n" if os.name != "nt" else "b"  # Windows has no such names
    for name in ("a", odd):
        write(bottle / "test" / name, np.zeros((1, 8, 8), np.uint8))
    names = f"'MT_Free/', 'a/', {odd + '/'!r} and 1 more"
    assert main(["fit", "bottle/test", "--method", "PCA", "--out", "b.safetensors"]) == 0
    assert f"\nimages in {names} count as normal; pass the folder of the normal" in capsys.readouterr().err
    assert main(["report", "b.safetensors", "bottle/test", "--out", "r.html"]) == 0
    assert f"which images in {names} are normal is not known; name one of these" in capsys.readouterr().err


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
    counts, sure, promise = said.err.splitlines()
    assert counts == (
        "60 images (left out: 20 masks; left out: 50 in test/) in bottle: 54 to learn from, 6 held out for "
        "the threshold"
    )
    # Binomial: with 6 images, one of them above the threshold.
    low, high = beta.ppf(0.05, 1, 6), beta.ppf(0.95, 2, 5)
    interval = f"{100 * low:.0f} to {100 * high:.0f} % (90 % interval)"
    assert sure.startswith(f"5 % false alarms from 6 images can be anything from {interval}")
    assert "--set holdout=0.3" in sure
    assert said.out.startswith("NearestNeighbors saved as b.safetensors: ") and "90 % interval" in said.out
    assert "contains the 54 images that were learned from: do not pass it on where they are" in said.out
    assert main(["score", "b.safetensors", "bottle/test", "--out", "scores.csv"]) == 0
    detector = minigan.NearestNeighbors(n_neighbors=2, image_size=8).fit(bottle / "train")
    table = pd.read_csv("scores.csv")
    np.testing.assert_array_equal(table["score"], detector.anomaly_score(bottle / "test"))
    assert table["file"][0] == "broken/00.png"
    assert (table["anomalous"] == (table["score"] > detector.threshold_)).all()
    assert metrics.auroc(table["file"].str.startswith("broken"), table["score"]) > 0.95


def test_quiet_prints_results_and_mistakes_alone_and_tables_may_be_json(bottle, capsys):
    assert fitted("--quiet") == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.startswith("PCA saved as b.safetensors")
    assert main(["score", "b.safetensors", "bottle", "--quiet", "--out", "scores.json"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and "images lie above the threshold" in said.out
    assert main(["score", "b.safetensors", "bottle", "--out", "scores.csv"]) == 0
    rows = json.loads(Path("scores.json").read_text(encoding="utf-8"))
    pd.testing.assert_frame_equal(pd.DataFrame(rows), pd.read_csv("scores.csv"))
    capsys.readouterr()
    assert main(["score", "b.safetensors", "nowhere", "--quiet"]) == 2
    assert capsys.readouterr().err.startswith("minigan: expected a folder of images, got 'nowhere'")
    with terminal.quiet(True):
        print("advice", file=sys.stderr)
        print("a table that can go nowhere else", file=sys.stderr.loud)
    assert capsys.readouterr().err == "a table that can go nowhere else\n"


def test_scores_of_a_sorted_folder_come_with_their_auroc(bottle, capsys):
    assert fitted("--set", "holdout=0.3") == 0
    assert re.search(r"^training took \d+\.\d seconds$", capsys.readouterr().out, re.M)
    assert main(["score", "b.safetensors", "bottle/test", "--out", "scores.csv"]) == 0
    said, table = capsys.readouterr(), pd.read_csv("scores.csv")
    odd = table["file"].str.startswith("broken")
    counts = table["anomalous"].groupby(odd).sum()
    assert (
        f"\nthese are {counts[True]} of 20 anomalous and {counts[False]} of 30 normal images; AUROC "
        f"{metrics.auroc(odd, table['score']):.3f} (95 % interval " in said.out
    )
    assert main(["score", "b.safetensors", "bottle", "--out", "all.csv"]) == 0  # with those of train/
    told = re.search(r"these are .*; AUROC .*", capsys.readouterr().out)[0]
    both = re.search(r"these are .*; AUROC .*", said.out)[0]
    assert told == both.replace("normal images", "normal images that it did not learn from")
    for path in find_images("bottle/test/good")[6:]:
        path.unlink()
    assert (
        main(["score", "b.safetensors", "bottle/test"]) == 0
    )  # most are anomalous, but drift is of normal ones
    assert "scores lie" not in capsys.readouterr().err
    for unsorted in (["bottle/test/good"], ["bottle/test/good", "bottle/test/broken"]):
        assert main(["score", "b.safetensors", *unsorted]) == 0
        assert "AUROC" not in capsys.readouterr().out


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
        (
            ["fit", "bottle", "--out", "x", "--method", "PCA", "--set", "n=1"],
            "a hyperparameter of PCA, got --set 'n=1'",
        ),
        (["score", "bottle/test"], "expected a model and the images that it is to score, got 'bottle/test'"),
        (["score", "bottle", "bottle/test"], "got 'bottle'"),
        (["score", "bottle/test/good/00.png", "bottle/test"], "expected a complete safetensors file, got"),
        (["score", "b.safetensors", "nowhere"], "expected a folder of images, got 'nowhere'"),
        (["score", "near.safetensors", "bottle/test", "--heatmaps", "m"], "with heat maps, got NearestNeigh"),
        (["compare", "bottle", "bottle/test/good"], "got 30 of 30 images outside of such folders"),
        (["compare", "bottle", "bottle/test", "--methods", "PAC"], "got 'PAC'; did you mean PCA?"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(bottle, capsys, arguments, sentence):
    assert fitted() == 0
    minigan.PCA().fit(np.random.default_rng(0).normal(size=(30, 3))).save("vectors.safetensors")
    minigan.PCA(image_size=8, holdout=0).fit(bottle / "train").save("open.safetensors")
    minigan.NearestNeighbors(image_size=8).fit(bottle / "train").save("near.safetensors")
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


# ---------------------------------------------------------------------- what is said around a training


@pytest.mark.parametrize(
    ("installed", "name", "size", "line"),
    [
        (
            True,
            "PatchCore",
            224,
            "method: PatchCore, the default where minigan[features] is installed; --method",
        ),
        (False, "PCA", 64, "method: PCA; pip install 'minigan[features]' makes PatchCore the default"),
    ],
)
def test_the_default_method(bottle, capsys, monkeypatch, installed, name, size, line):
    """It is said before the training, which this test leaves out."""
    fitted, learns = [], getattr(minigan, name)
    monkeypatch.setattr(training, "features_installed", lambda: installed)

    def train(detector, chosen, images, state):
        detector.notes_ = {"seconds": 0.0}
        fitted.append(images.shape)
        return 0

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(learns, "save", lambda detector, path: None)
    monkeypatch.setattr(wording, "how_sure", lambda detector: "")
    assert main(["fit", "bottle", "--out", "d.safetensors"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith(line) and said.out.startswith(f"{name} saved as ")
    assert fitted == [(60, 1, size, size)]


def test_pca_is_fitted_beside_a_network(bottle, capsys):
    settings = ["--method", "OCGAN", "--image-size", "16", "--set", "epochs=1", "width=4", "z_dim=4"]
    assert main(["fit", "bottle", "--out", "o.safetensors", *settings]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    broken = np.repeat([1, 0], [20, 30])
    ours = metrics.auroc(broken, minigan.load("o.safetensors").anomaly_score(bottle / "test"))
    pca = minigan.PCA(image_size=64).fit(bottle / "train")
    theirs = metrics.auroc(broken, pca.anomaly_score(bottle / "test"))
    assert (
        f"OCGAN has AUROC {ours:.3f}, PCA {theirs:.3f}: {'PCA' if theirs > ours else 'OCGAN'} is better"
        in last
    )
    # Without images that are sorted, it says how to learn which is better; with scores, how they differ.
    assert main(["fit", "bottle/train", "--out", "o.safetensors", *settings]) == 0
    assert "`minigan compare bottle/train SORTED --methods PCA OCGAN`" in capsys.readouterr().out
    assert main(["score", "bottle/test/broken", "--train", "bottle/train", *settings]) == 0
    assert re.search(r"OCGAN flags \d+ images, PCA \d+, both \d+; rank correlation", capsys.readouterr().out)


class Clock:
    """A network's training of four steps an epoch, ten epochs, with a clock that is set by hand."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.epochs, self.device_ = 0.0, 10, SimpleNamespace(type="cpu")
        monkeypatch.setattr(training.time, "perf_counter", lambda: self.now)
        estimate = training._Estimate(self)
        for step in range(40):
            self.now += 100 if step == 0 else seconds  # the first step warms up
            estimate(4)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, ""),
        (0.5, "training takes about 20 seconds, by its first 5 of 40 steps; Ctrl-C ends it early"),
        (3.0, "training takes about 2.0 minutes, by its first 2 of 40 steps"),
        (900, "training takes about 10 hours, by its first 2 of 40 steps"),
    ],
)
def test_a_long_training_is_announced_after_its_first_steps(capsys, monkeypatch, seconds, said):
    Clock(monkeypatch, seconds)
    err = capsys.readouterr().err
    assert err.startswith(said) and err.count("\n") == bool(said)


def test_images_and_scores_that_differ_from_training_are_told(bottle, capsys):
    assert fitted("--set", "holdout=0.3") == 0
    capsys.readouterr()
    assert main(["score", "b.safetensors", "bottle/test/good"]) == 0
    assert "minigan: images are" not in capsys.readouterr().err
    write(bottle / "new", np.full((6, 10, 20, 3), (240, 230, 250), np.uint8))
    assert main(["score", "b.safetensors", "bottle/new"]) == 0
    size, colour, light, drift = capsys.readouterr().err.splitlines()
    assert size.startswith("minigan: 6 of 6 images have a size that no training image had, such as 20 x 10")
    assert "images are in colour, those learned from were grey" in colour and "brighter than every" in light
    assert "scores lie above those of the 18 normal images in calibration (Kolmogorov-Smirnov" in drift
    assert main(["score", "b.safetensors", "bottle/train"]) == 0
    assert "60 of 60 images are among those that the detector learned from" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version_knows_nothing_of_its_training(bottle, capsys):
    """But its scores and its threshold are used as ever."""
    old = minigan.PCA(image_size=8).fit(bottle / "train")
    del old.calibration_scores_
    old.save("old.safetensors")
    assert minigan.load("old.safetensors").notes_ == {}
    assert main(["score", "old.safetensors", "bottle/test"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and "of 50 images lie above the threshold" in said.out


# ---------------------------------------------------------------------- compare


def test_compare_without_test_images_says_what_can_be_said(bottle):
    command = ["compare", "bottle", "--image-size", "8", "--methods", "PCA", "Brightness"]
    done = forks.run_python(["-m", "minigan", *command], bottle.parent, dict(os.environ), timeout=120)
    assert done.returncode == 0, done.stderr
    header, *lines, advice = done.stdout.splitlines()
    assert "AUROC" not in header and [line.split()[0] for line in lines] == ["PCA", "Brightness"]
    low, high = minigan.PCA(image_size=8).fit(bottle / "train").normal_flagged_
    assert f"{100 * low:.0f} to {100 * high:.0f} %" in lines[0]
    assert "normal images alone do not say" in advice and "take" in advice
    assert "54 to learn from, 6 held out" in done.stderr


@pytest.mark.parametrize("installed", [True, False])
def test_patchcore_joins_the_comparison_where_it_can(bottle, capsys, monkeypatch, installed):
    monkeypatch.setattr(training, "features_installed", lambda: installed)
    monkeypatch.setattr(comparison, "COMPARED", ("PCA",))
    tried = []
    monkeypatch.setattr(
        minigan.PatchCore, "_fit", lambda self, *a: tried.append(self.image_size) or full("tried")
    )
    assert main(["compare", "bottle", "bottle/test"]) == (2 if installed else 0)
    said = capsys.readouterr().err
    assert tried == ([224] if installed else [])
    assert ("PatchCore is left out: pip install 'minigan[features]' adds it" in said) == (not installed)


def full(text):
    raise OSError(text)


@pytest.mark.parametrize(
    ("rows", "advice"),
    [
        ([("A", 0.2, 0.4, 9.0), ("B", 0.1, 0.3, 1.0)], "take none of them: guessing has an AUROC of 0.5"),
        ([("A", 0.99, 1.0, 9.0), ("B", 0.8, 0.9, 1.0)], "take A: it has the highest AUROC"),
        ([("A", 0.99, 1.0, 9.0), ("B", 0.985, 1.0, 1.0)], "take B: its AUROC is within 0.01 of the highest"),
        ([("A", 0.9, 1.0, 1.0), ("B", 0.8, 0.95, 9.0)], "that it beats B may be chance, with 50 test images"),
    ],
)
def test_the_advice(rows, advice):
    table = pd.DataFrame(rows, columns=["method", "AUROC", "high", "seconds"])
    assert advice in comparison._advice(table, 50)


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
    assert said.err.endswith("\ntests on 30 normal, 20 anomalous images\n")
    *table, advice = said.out.splitlines()
    rows = {line.split()[0]: line.split() for line in table[1:]}
    assert set(rows) == set(methods)
    aurocs = [float(line.split()[1]) for line in table[1:]]
    assert aurocs == sorted(aurocs, reverse=True)
    detector = minigan.PCA(image_size=8).fit(bottle / "train")
    scores = detector.anomaly_score(bottle / "test")
    broken = np.repeat([1, 0], [20, 30])
    assert float(rows["PCA"][1]) == pytest.approx(metrics.auroc(broken, scores), abs=6e-4)
    assert rows["PCA"][3] == f"{(scores[:20] > detector.threshold_).mean():.0%}"
    assert rows["PCA"][4] == f"{(scores[20:] > detector.threshold_).mean():.0%}"
    assert any(name in advice for name in ("PCA", "NearestNeighbors")) and "Brightness" not in advice


# ---------------------------------------------------------------------- images as they come


def spoil(folder: Path, *names: str) -> None:
    """Bytes that are no images, under names that promise some."""
    for name in names:
        (folder / name).write_bytes(b"no image")


def test_files_that_cannot_be_read_are_left_out_and_told(bottle, capsys):
    spoil(bottle / "train" / "good", "bad.png")
    spoil(bottle / "test", "bad.png", "worse.png")
    assert main(["fit", "bottle", "--out", "a.safetensors", "--method", "PCA"]) == 0
    said = capsys.readouterr().err
    assert "left out: 1 of 61 files, which cannot be read; --strict refuses them\n" in said
    assert f"  {str(Path('bottle/train/good/bad.png'))!r}: cannot be read (cannot identify" in said
    assert "left out: 1 that cannot be read" in said and "54 to learn from" in said
    assert main(["score", "a.safetensors", "bottle/test", "--out", "s.csv"]) == 0
    assert "left out: 2 of 52 files" in capsys.readouterr().err
    table = pd.read_csv("s.csv")
    assert len(table) == 50 and not table["file"].str.contains("bad|worse").any()
    detector = minigan.load("a.safetensors")
    assert detector.notes_["left_out"]["that cannot be read"] == 1
    for name in ("bad.png", "worse.png"):
        (bottle / "test" / name).unlink()
    np.testing.assert_allclose(table["score"], detector.anomaly_score("bottle/test"), rtol=1e-5)


def test_where_nothing_can_be_read_the_first_reason_is_told(bottle, capsys):
    (bottle / "bad").mkdir()
    spoil(bottle / "bad", "a.png", "b.png")
    assert fitted() == 0
    capsys.readouterr()
    assert main(["score", "b.safetensors", "bottle/bad"]) == 2
    said = capsys.readouterr().err
    assert "got 2 that cannot, such as 'bottle/bad/a.png': cannot be read (cannot identify" in said


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_hidden_files_links_and_copies_are_told(bottle, capsys):
    good = bottle / "train" / "good"
    shutil.copy(good / "00.png", good / ".00.png")  # as some systems and programs leave them
    shutil.copy(good / "00.png", good / "copy.png")
    (good / "elsewhere").symlink_to(bottle / "test" / "good")
    assert fitted() == 0
    said = capsys.readouterr().err
    assert said.startswith(
        "91 images (left out: 20 masks; left out: 50 in test/; left out: 1 hidden) in bottle"
    )
    assert "\n30 of 91 images lie outside of bottle, where symbolic links lead\n" in said
    assert "\n1 of these images have the same pixels as another one; " in said
    assert main(["score", "b.safetensors", "bottle/train"]) == 0
    told = capsys.readouterr().err
    assert (
        "91 images (left out: 1 hidden) in bottle/train\n30 of 91 images lie outside of bottle/train" in told
    )


def test_large_images_are_read_and_bombs_are_not(bottle, capsys, monkeypatch):
    assert fitted() == 0
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # Pillow warns above it, and refuses twice as many
    write(bottle / "new", [np.full((40, 40), 99, np.uint8), np.full((80, 80), 99, np.uint8)])
    capsys.readouterr()
    assert main(["score", "b.safetensors", "bottle/new"]) == 0
    said = capsys.readouterr()
    assert "left out: 1 of 2 files" in said.err and "could be decompression bomb" in said.err
    assert "of 1 images lie above the threshold" in said.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "bottle", "--out", "a.safetensors", "--method", "PCA", "--strict"],
        ["score", "bottle/test", "--train", "bottle", "--method", "PCA", "--strict"],
    ],
)
def test_strict_refuses_them(bottle, capsys, arguments):
    spoil(bottle / "train" / "good", "bad.png")
    assert main(arguments) == 2
    assert "expected an image file, got 'bottle/train/good/bad.png'" in capsys.readouterr().err
    assert not Path("a.safetensors").exists()


def test_heat_maps_are_those_of_the_readable_files(bottle, capsys):
    spoil(bottle / "test" / "good", "000.png")
    arguments = ["score", "bottle/test", "--train", "bottle", "--method", "PCA", "--image-size", "16"]
    assert main([*arguments, "--out", "s.csv", "--heatmaps", "maps"]) == 0
    names = pd.read_csv("s.csv")["file"].str.replace("/", "_") + ".png"
    assert sorted(os.listdir("maps")) == sorted(names)


@pytest.mark.parametrize("squaring", ["crop", "pad"])
def test_a_detector_remembers_how_images_become_square(bottle, capsys, squaring):
    """Photographs of 8 x 16 pixels: learned from and scored in the same way, from files and in Python."""
    rng = np.random.default_rng(0)
    for folder, n in (("wide", 30), ("new", 5)):
        Path(folder).mkdir()
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (8, 16), dtype=np.uint8)).save(f"{folder}/{i:02}.png")
    options = ["--method", "PCA", "--image-size", "8", "--squaring", squaring]
    assert main(["fit", "wide", "--out", "a.safetensors", *options]) == 0
    assert main(["score", "a.safetensors", "new", "--out", "s.csv"]) == 0
    detector = minigan.load("a.safetensors")
    assert detector.squaring == squaring
    expected = minigan.PCA(image_size=8, squaring=squaring).fit("wide").anomaly_score("new")
    np.testing.assert_allclose(pd.read_csv("s.csv")["score"], expected, rtol=1e-5)
    squeezed = minigan.PCA(image_size=8).fit("wide").anomaly_score("new")
    assert not np.allclose(expected, squeezed)
    capsys.readouterr()
    assert main(["score", "a.safetensors", "new", "--squaring", "pad"]) == 2
    assert "expected --squaring only where a detector learns" in capsys.readouterr().err


def test_a_list_of_images_instead_of_folders(bottle, capsys):
    files = sorted((bottle / "test").rglob("*.png"))
    labels = ["normal" if path.parent.name == "good" else "broken" for path in files]
    rows = [
        f"{path.relative_to(bottle.parent).as_posix()},{label}"
        for path, label in zip(files, labels, strict=True)
    ]
    Path("list.csv").write_text("\n".join(["file,label", *rows]))
    assert main(["fit", "list.csv", "--out", "a.safetensors", "--method", "PCA", "--image-size", "16"]) == 0
    said = capsys.readouterr().err
    assert f"left out: {labels.count('broken')} labelled as anomalous" in said
    assert main(["score", "a.safetensors", "list.csv", "--out", "s.csv"]) == 0
    assert len(pd.read_csv("s.csv")) == len(files)
    assert main(["report", "a.safetensors", "list.csv", "--out", "r.html"]) == 0
    assert "ROC" in Path("r.html").read_text(encoding="utf-8")
    assert main(["threshold", "a.safetensors", "list.csv"]) == 0
    said = capsys.readouterr().out
    assert f"of {labels.count('broken')} anomalous images" in said
