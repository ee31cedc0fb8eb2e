"""The command line: what people type, what they get, and how mistakes are answered."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import minigan
from minigan import data, experiments, tables
from minigan.cli import main
from minigan.hyperparameters import hyperparameters
from minigan.image_files import find_images
from minigan.paths import ROOT
from minigan.tables import Cell, Table


@pytest.fixture
def folders(tmp_path):
    """Sixty fours to learn from; ten fours and ten ones to score, these in a folder of their own."""
    digits = data.load("digits", size=8)
    fours, ones = digits.images[digits.labels == 4], digits.images[digits.labels == 1]
    for name, pictures in (("good", fours[:60]), ("new", fours[60:70]), ("new/odd", ones[:10])):
        (tmp_path / name).mkdir()
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / name / f"{i:02}.png")
    return tmp_path


def score(folders, *more):
    return main(["score", str(folders / "new"), "--train", str(folders / "good"), "--image-size", "8", *more])


def test_score_writes_what_the_library_says(folders, capsys):
    out = folders / "scores.csv"
    assert score(folders, "--method", "NearestNeighbors", "--set", "n_neighbors=2", "--out", str(out)) == 0
    detector = minigan.NearestNeighbors(n_neighbors=2).fit(folders / "good")
    table = pd.read_csv(out)
    np.testing.assert_allclose(table["score"], detector.anomaly_score(folders / "new"))
    files = find_images(folders / "new")
    assert table["file"].tolist() == [path.relative_to(folders / "new").as_posix() for path in files]
    assert (table["anomalous"] == (table["score"] > detector.threshold_)).all()
    odd = table["file"].str.startswith("odd/")
    assert table["score"][odd].min() > table["score"][~odd].median()
    printed = capsys.readouterr().out
    assert (
        f"{table['anomalous'].sum()} of 20 images lie above the threshold" in printed and str(out) in printed
    )


def test_score_prints_a_table_without_out(folders, capsys):
    assert score(folders, "--method", "PCA") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "score", "anomalous"]
    assert len(lines) == 1 + 20 + 1 and lines[-2].split()[0] == "odd/09.png"


def test_score_reads_grey_files_as_the_training_images_were(folders):
    for path in find_images(folders / "good"):
        Image.open(path).convert("RGB").save(path)
    assert score(folders, "--method", "PCA") == 0


def test_score_with_a_network(folders, capsys):
    # Two settings after one --set and one after another; a tuple, a number, and a word.
    settings = ["--set", "epochs=1", "width=2", "--set", "augment=('hflip',)", "device=cpu"]
    assert score(folders, "--image-size", "16", *settings) == 0
    assert "of 20 images lie above the threshold" in capsys.readouterr().out


def test_score_takes_sub_classes_from_sub_folders(folders, capsys):
    settings = ["--image-size", "16", "--method", "SoftmaxClassifier", "--set", "width=2", "epochs=1"]
    assert score(folders, *settings) == 2
    said = capsys.readouterr().err
    assert "got '00.png' beside them" in said and "sub-folder" in said and "--set labels=cluster" in said
    assert score(folders, *settings, "labels=cluster", "cluster_features=pixels", "max_clusters=3") == 0
    for i, path in enumerate(find_images(folders / "good")):
        (folders / "good" / str(i % 3)).mkdir(exist_ok=True)
        path.rename(folders / "good" / str(i % 3) / path.name)
    assert score(folders, *settings) == 0
    assert "of 20 images lie above the threshold" in capsys.readouterr().out


def test_score_takes_parameters_that_may_be_none(folders, capsys):
    settings = ["generator=naive", "width=2", "epochs=1", "batch_size=8"]
    assert score(folders, "--image-size", "16", "--method", "AGAD", "--set", *settings) == 0
    assert "of 20 images lie above the threshold" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--method", "ALGN"], "expected one of the methods ALGAN, "),
        (["--set", "epoch=3"], "a hyperparameter of ALGAN, got --set 'epoch=3'; did you mean epochs?"),
        (["--set", "qqq=3"], "got --set 'qqq=3'; `minigan methods ALGAN` lists all"),
        (["--set", "epochs"], "expected --set NAME=VALUE, got 'epochs'; write epochs=VALUE"),
        (["--set", "epochs=many"], "expected epochs to be a whole number, got 'many'"),
        (["--set", "epochs={[]: 1}"], "expected epochs to be a whole number, got '{[]: 1}'"),
        (["--set", "epochs=True"], "expected epochs to be a whole number, got True"),
        (["--set", "sigma=wide"], "expected sigma to be a finite number, got 'wide'"),
        (["--set", "epochs=0"], "expected epochs to be at least 1, got 0"),
        (["--set", "holdout=0"], "expected holdout to be above 0, because the threshold comes from held-out"),
        (["--train", "nowhere"], "expected a folder of images, got 'nowhere'"),
        (["--out", "nowhere/scores.csv"], "got 'nowhere/scores.csv'; make the folder 'nowhere' first"),
        (["--image-size", "0"], "expected image_size to be at least 1, got 0"),
        (
            ["--set", "augment=hflip"],
            "expected augment to be a tuple, each item 'hflip', 'vflip' or 'rotate'",
        ),
        (["--method", "PCA", "--set", "n_components=mle"], "expected n_components to be a finite number"),
    ],
)
def test_score_answers_a_mistake_with_one_sentence(folders, capsys, arguments, sentence):
    assert score(folders, *arguments) == 2
    said = capsys.readouterr()
    assert sentence in said.err and said.err.startswith("minigan: expected ") and said.err.count("\n") == 1
    assert said.out == "" and not said.err.rstrip().endswith(".")


@pytest.mark.parametrize("bug", [TypeError, RuntimeError])
def test_a_bug_shows_its_traceback(folders, monkeypatch, bug):
    def fit(*arguments):
        raise bug("a bug of minigan")

    monkeypatch.setattr(minigan.PCA, "fit", fit)
    with pytest.raises(bug, match="a bug of minigan"):
        score(folders, "--method", "PCA")


def test_a_method_is_found_in_any_case(folders, capsys):
    assert score(folders, "--method", "nearestneighbors") == 0
    found = capsys.readouterr().out
    assert score(folders, "--method", "NearestNeighbors") == 0
    assert capsys.readouterr().out == found


def test_what_would_be_lost_after_training_is_noticed_before(folders, capsys, monkeypatch):
    monkeypatch.setattr(minigan.PCA, "fit", lambda *a, **k: pytest.fail("trained first"))
    assert score(folders, "--method", "PCA", "--out", str(folders)) == 2
    assert "which is a folder; pass the path of a file" in capsys.readouterr().err
    for path in find_images(folders / "good")[2:]:
        path.unlink()
    assert score(folders, "--method", "PCA") == 2
    assert "expected at least 3 training images, one of them" in capsys.readouterr().err


def test_the_image_size_is_the_detectors(folders, capsys):
    assert score(folders, "--method", "PCA", "--set", "image_size=4") == 0
    small = capsys.readouterr().out
    assert (
        main(
            ["score", str(folders / "new"), "--train", str(folders / "good"), "--method", "PCA"]
            + ["--image-size", "4"]
        )
        == 0
    )
    assert capsys.readouterr().out == small


def test_a_damaged_image_is_noticed_before_training(folders, capsys, monkeypatch):
    (folders / "new" / "05.png").write_bytes(b"not a picture")
    monkeypatch.setattr(minigan.PCA, "fit", lambda *a, **k: pytest.fail("trained first"))
    assert score(folders, "--method", "PCA") == 2
    assert "05.png" in capsys.readouterr().err


def test_methods_lists_all(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == minigan.methods()
    assert all(len(line.split()) > 3 for line in lines)


def test_methods_shows_the_hyperparameters_of_one(capsys):
    assert main(["methods", "ygan"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("YGAN: Y-GAN on square images")
    assert re.findall(r"^Hyperparameters.*$", said, flags=re.M) == [
        "Hyperparameters:",
        "Hyperparameters, from Detector:",
        "Hyperparameters, from NeuralDetector:",
        "Hyperparameters, from SubclassDetector:",
    ]
    declared = re.findall(r"^  (\w+): (.+) = (.+)$", said, flags=re.M)
    expected = [(p.name, p.type_text, repr(p.default)) for p in hyperparameters(minigan.YGAN)]
    assert declared == expected
    # Fields under one comment are listed together, above it.
    assert (
        "  lr: float = 0.0002\n  betas: tuple[float, float] = (0.5, 0.999)\n"
        "      Learning rate and momentums of both Adams.\n"
    ) in said
    assert main(["methods", "WGAN"]) == 2
    assert capsys.readouterr().err.startswith("minigan: expected one of the methods ALGAN, ")


def test_the_version_is_the_librarys(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out == f"minigan {minigan.__version__}\n"


def test_datasets_lists_all_and_says_how_to_get_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path))
    (tmp_path / "mtd" / "MT_Free").mkdir(parents=True)
    assert main(["datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert set(rows) == set(data.names()) - {"folder"} and len(rows) == len(lines)
    assert rows["digits"].endswith("comes with minigan") and rows["mtd"].endswith(
        f"there      {tmp_path / 'mtd'}"
    )
    assert "on demand" in rows["mnist"] and "missing" in rows["chest_xray"]
    assert "ChestXRay2017.zip" in rows["chest_xray"] and str(tmp_path / "chest_xray") in rows["chest_xray"]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A table of three cells, one of which cannot work, and a data folder of its own."""

    def cells():
        for target in ("0", "1", "nine"):
            yield Cell("tiny", "PCA", "", "digits", {"size": 8}, "one_class", target, 0, {})

    def one():
        yield Cell("tiny", "PCA", "", "digits", {"size": 8}, "one_class", "2", 0, {}, "paper")

    monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "Three cells", cells, one))
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path))
    return tmp_path


def test_reproduce_and_results(tiny, capsys):
    assert main(["reproduce", "tiny", "--minutes", "0"]) == 0
    assert capsys.readouterr().out == "tiny: 0 of 3 runs recorded\n"
    assert main(["reproduce", "tiny", "--jobs", "1"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("minigan: expected ") and "tiny: PCA, one_class nine" in said
    assert (tiny / "results" / "tiny.csv").is_file()

    assert main(["results"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == set(tables.TABLES) - {"algan-2"}  # that needs a GPU
    assert [line.split()[:4] for line in lines if "Three cells" in line] == [["tiny", "2", "of", "3"]]

    assert main(["results", "tiny"]) == 0
    title, *_, last = capsys.readouterr().out.splitlines()
    assert title == "Three cells"
    assert last.split()[:2] == ["one_class", "PCA"] and last.split()[-2:] == ["2", "1"]  # runs, missing


def test_budgets(tiny, capsys):
    assert main(["reproduce", "tiny", "--budget", "paper"]) == 0
    assert capsys.readouterr().out.endswith("tiny: 1 of 1 runs recorded\n")
    assert main(["results", "--budget", "paper"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:4] for row in rows if row[0] == "tiny"] == [["tiny", "1", "of", "1"]]
    assert "algan-2" in {row[0] for row in rows} and "digits" not in {row[0] for row in rows}
    assert main(["results", "tiny", "--budget", "paper"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-2:] == ["1", "0"]
    assert main(["results", "tiny"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-2:] == ["0", "3"]
    assert main(["reproduce", "digits", "--budget", "paper"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("minigan: expected ") and "'paper'" in said and "'digits'" in said


def test_next_takes_all_tables(tiny, capsys, monkeypatch):
    monkeypatch.setattr(tables, "TABLES", {"tiny": tables.TABLES["tiny"]})
    asked = []
    reproduce = experiments.reproduce
    monkeypatch.setattr(experiments, "reproduce", lambda *a, **k: asked.append((a, k)) or reproduce(*a, **k))
    assert main(["reproduce", "--next", "--minutes", "5", "--jobs", "1", "--budget", "paper"]) == 0
    assert asked == [((None, 1, 5.0), {"budget": "paper"})]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["tiny", "1", "of", "1", "runs", "recorded;", "Three", "cells"]
    assert main(["reproduce", "--next", "--minutes", "0"]) == 0
    assert capsys.readouterr().out.split()[:4] == ["tiny", "0", "of", "3"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["reproduce"], "one of the arguments table --next is required"),
        (["reproduce", "digits", "--next"], "not allowed with argument"),
        (["reproduce", "digits", "--budget", "laptop"], "invalid choice: 'laptop'"),
    ],
)
def test_what_reproduce_cannot_do(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and said in capsys.readouterr().err


def test_what_lacks_its_data_waits(tiny, capsys, monkeypatch):
    def cells():
        yield Cell("tiny", "PCA", "", "mtd", {"size": 16}, "defects", "all", 0, {})

    monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "", cells))
    assert main(["reproduce", "tiny"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("1 runs wait: ") and said.out.count("\n") == 1
    assert said.err.startswith("minigan: expected ") and "`minigan datasets`" in said.err


def test_results_of_a_table_that_does_not_exist(capsys):
    assert main(["results", "tinny"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("minigan: expected the name of a table, got 'tinny'; choose one of digits, ")


def test_interrupted(monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "reproduce", interrupt)
    assert main(["reproduce", "digits"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_interrupted_training_ends_the_sweep_with_its_own_sentence(monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise experiments.Interrupted("expected the whole training, got Ctrl-C after 3 epochs")

    monkeypatch.setattr(experiments, "reproduce", interrupt)
    assert main(["reproduce", "digits"]) == 130
    assert capsys.readouterr().err == "minigan: expected the whole training, got Ctrl-C after 3 epochs\n"


@pytest.mark.parametrize(
    ("argument", "code", "said"), [("--help", 0, "reproduce"), ("skore", 2, "invalid choice")]
)
def test_python_m_minigan(argument, code, said):
    command = [sys.executable, "-m", "minigan", argument]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code
    assert said in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_help_is_quick():
    code = (
        "import sys; from minigan.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([m for m in ('torch', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
