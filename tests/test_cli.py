"""The command line: what people type, what they get, and how mistakes are answered."""

import errno
import io
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import dask
import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import Normed, fake_record, raises_sentence, run_by, tiny_cells, write_digits
from PIL import Image

import minigan
from minigan import cli, data, experiments, registry, scores_file, scoring, tables, terminal
from minigan.cli import main
from minigan.hyperparameters import hyperparameters
from minigan.image_files import find_images
from minigan.paths import ROOT
from minigan.tables import Cell, Table


@pytest.fixture
def folders(tmp_path):
    """Sixty fours to learn from; ten fours and ten ones to score, these in a folder of their own."""
    write_digits(tmp_path, 8, good=(4, 0, 60), new=(4, 60, 70), new_odd=(1, 0, 10))
    return tmp_path


# What is said before a training, and about images that differ from those learned from.
NOTICE = re.compile(
    r"^(\d+ images in .* to learn from, .*|5 % false .*|6 images cannot promise .*"
    r"|minigan: (images|scores) .*)\n",
    re.M,
)


def without_notices(said):
    """What was said on standard error beside them."""
    return NOTICE.sub("", said)


def score(folders, *more):
    """By ALGAN, unless `more` says otherwise: the last of several --method counts."""
    folder, train = str(folders / "new"), str(folders / "good")
    return main(["score", folder, "--train", train, "--image-size", "8", "--method", "ALGAN", *more])


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
    flagged, sure = capsys.readouterr().out.splitlines()
    assert flagged.startswith(f"{table['anomalous'].sum()} of 20 images lie above the threshold ")
    assert flagged.endswith(f"; see {out}")
    low, high = (100 * fraction for fraction in detector.normal_flagged_)
    assert sure == (
        f"of new normal images, between {low:.0f} and {high:.0f} % may lie above the threshold (90 % "
        f"interval; it comes from {detector.n_calibrated_} images)"
    )


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.0051, 0.2589), "between 1 and 26 %"),
        ((0.0, 0.9), "between 0 and 90 %"),
        ((0.04612, 0.05397), "between 4.6 and 5.4 %"),
        ((0.03, 0.0799), "between 3.0 and 8.0 %"),
    ],
)
def test_the_summary_says_how_sure_the_threshold_is(interval, said):
    table = pd.DataFrame({"file": ["a", "b"], "score": [1.0, 2.0], "anomalous": [False, True]})
    detector = SimpleNamespace(threshold_=1.5, normal_flagged_=interval, n_calibrated_=10)
    flagged, sure = scoring.summary(table, detector, None).split("\n")
    assert flagged == "1 of 2 images lie above the threshold 1.5"
    assert said in sure and sure.endswith("(90 % interval; it comes from 10 images)")


def test_score_prints_a_table_without_out(folders, capsys):
    assert score(folders, "--method", "PCA") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "score", "anomalous"]
    assert len(lines) == 1 + 20 + 2 and lines[-3].split()[0] == "odd/09.png"


@pytest.mark.parametrize("size", ["3", "8"])
def test_score_reads_grey_files_as_the_training_images_were(folders, size):
    for path in find_images(folders / "good"):
        Image.merge("RGB", [Image.open(path), Image.new("L", (8, 8), 9), Image.new("L", (8, 8))]).save(path)
    out = folders / "scores.csv"
    assert score(folders, "--method", "PCA", "--image-size", size, "--out", str(out)) == 0
    detector = minigan.PCA(image_size=int(size)).fit(folders / "good")
    np.testing.assert_allclose(pd.read_csv(out)["score"], detector.anomaly_score(folders / "new"))


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
        (["--method", "ALGN"], "expected the name of a method, got 'ALGN'; did you mean ALGAN?"),
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
        (["--out", "nowhere/scores.csv"], "a folder to save into, got 'nowhere', which does not exist; make"),
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
    assert score(folders, "--method", "PCA", "--strict") == 2
    assert "05.png" in capsys.readouterr().err


# ---------------------------------------------------------------------- scores are not lost

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs names or devices that Linux has")
NAMES = [
    b"\xff.png",
    b"x\xe9.png",
    "ü é.png".encode(),
    "日本.png".encode(),
    b"a\nb.png",
    b"c\rd.png",
    b'q"u,o.png',
]


@pytest.fixture
def odd_names(folders):
    """`folders`, where the images to score have names that are hard to write."""
    for path in find_images(folders / "new"):
        path.unlink()
    for name in NAMES:
        Image.new("L", (8, 8), 99).save(folders / "new" / os.fsdecode(name))
    return folders


@pytest.fixture
def untrained(monkeypatch):
    """Training fails the test."""
    monkeypatch.setattr(minigan.PCA, "fit", lambda *a, **k: pytest.fail("trained first"))


@pytest.fixture
def after_training(monkeypatch):
    """A list of functions that are called as soon as PCA is trained."""
    calls, fit = [], minigan.PCA._fit

    def trained(*arguments):
        fit(*arguments)
        for call in calls:
            call()

    monkeypatch.setattr(minigan.PCA, "_fit", trained)
    return calls


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def standard_output(monkeypatch, stream):
    """Inside, this is standard output; what it could not write is given up, as `main` promises."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        yield
    if stream is not None:
        stream.close()


@LINUX
def test_a_file_keeps_the_bytes_of_names(odd_names, capsys):
    assert score(odd_names, "--method", "PCA", "--out", str(odd_names / "scores.csv")) == 0
    table = pd.read_csv(odd_names / "scores.csv", encoding_errors="surrogateescape")
    assert sorted(map(os.fsencode, table["file"])) == sorted(NAMES)
    assert table["score"].notna().all() and without_notices(capsys.readouterr().err) == ""


@LINUX
@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", ["\\udcff.png", "x\\udce9.png", "\\xfc \\xe9.png", "\\u65e5\\u672c.png"]),
        ("latin-1", ["\\udcff.png", "x\\udce9.png", "ü é.png", "\\u65e5\\u672c.png"]),
        ("utf-8", ["\\udcff.png", "x\\udce9.png", "ü é.png", "日本.png"]),
    ],
)
def test_every_terminal_shows_every_name(odd_names, monkeypatch, encoding, shown):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    with standard_output(monkeypatch, stream):
        assert score(odd_names, "--method", "PCA") == 0
        assert stream.errors == "strict"  # as before
        lines = raw.getvalue().decode(encoding).splitlines()
    assert len(lines) == 1 + len(NAMES) + 2
    assert [name for name in shown if not any(line.strip().startswith(name) for line in lines)] == []


def test_every_terminal_shows_the_hyperparameters(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(minigan.PCA, "__doc__", "Scores ≥ 0 by the error ‖x − x̂‖.")
    with standard_output(monkeypatch, io.TextIOWrapper(raw, encoding="ascii")):
        assert main(["methods"]) == 0
        assert b"Scores \\u2265 0 by" in raw.getvalue()


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zip"])
def test_the_suffix_says_how_the_file_is_compressed(folders, suffix):
    out = folders / f"scores.csv{suffix}"
    assert score(folders, "--method", "PCA", "--out", str(out)) == 0
    assert len(pd.read_csv(out)) == 20
    assert suffix == "" or b"odd/" not in out.read_bytes()


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("new", "which is a folder; pass the path of a file"),
        ("nowhere/scores.csv", "which does not exist; make it first"),
        ("good/00.png/scores.csv", "which does not exist; make it first"),
        ("x" * 300, "pass another path"),
        ("scores.csv.zst", "zstandard"),
        pytest.param("/proc/scores.csv", "No such file or directory", marks=LINUX),
    ],
)
def test_an_out_that_cannot_be_written_is_noticed_before_training(
    folders, capsys, monkeypatch, untrained, out, why
):
    monkeypatch.setitem(sys.modules, "zstandard", None)  # as if it were not installed
    monkeypatch.chdir(folders)
    before = sorted(folders.rglob("*"))
    assert score(folders, "--method", "PCA", "--out", out) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("minigan: expected ") and said.err.count("\n") == 1
    assert why in said.err and sorted(folders.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are another matter on Windows")
@pytest.mark.parametrize("protected", ["file", "folder"])
def test_a_protected_file_or_folder_is_noticed_before_training(
    folders, capsys, monkeypatch, untrained, protected
):
    monkeypatch.chdir(folders)  # read from inside, because the folders above may be closed to others
    folders.chmod(0o755)
    score(folders, "--method", "qqq")  # imports what it needs while it may
    capsys.readouterr()
    root = os.geteuid() == 0  # whom nothing is forbidden
    with tempfile.TemporaryDirectory() as name:  # in a place that is open to others
        folder, out = Path(name), Path(name, "scores.csv")
        out.write_text("old")
        out.chmod(0o444 if protected == "file" else 0o666)
        folder.chmod(0o777 if protected == "file" else 0o555)
        if root:
            os.seteuid(65534)
        try:
            arguments = ["score", "new", "--train", "good", "--image-size", "8", "--method", "PCA"]
            assert main([*arguments, "--out", str(out)]) == 2
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o777)
        assert out.read_text() == "old" and list(folder.iterdir()) == [out]
    said = capsys.readouterr().err
    assert f"expected --out to be a file that can be written, got {str(out)!r} (Permission denied)" in said


def test_a_full_disk_is_noticed_before_training(folders, capsys, monkeypatch, untrained):
    out = folders / "scores.csv"
    out.write_text("old")
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda table, path, **k: path.write_text("fi") and full())
    assert score(folders, "--method", "PCA", "--out", str(out)) == 2
    assert "(No space left on device)" in capsys.readouterr().err
    assert out.read_text() == "old" and not list(folders.glob(".minigan*"))


def test_too_few_images_are_noticed_before_training(folders, capsys, untrained):
    for path in find_images(folders / "good")[2:]:
        path.unlink()
    assert score(folders, "--method", "PCA") == 2
    assert "expected at least 3 training images, one of them" in capsys.readouterr().err


@pytest.mark.parametrize("failing", ["full disk", "folder gone", "no replacing", "a bug"])
def test_a_table_that_cannot_be_written_after_all_is_printed(
    folders, capsys, monkeypatch, after_training, failing
):
    out = folders / "kept" / "scores.csv"
    out.parent.mkdir()
    assert score(folders, "--method", "PCA", "--out", str(out)) == 0
    wanted = out.read_text()
    out.write_text("old")
    capsys.readouterr()
    to_csv = pd.DataFrame.to_csv

    def half(error):
        def write(table, path=None, **options):
            if path is None:
                return to_csv(table, **options)
            path.write_text("fi")
            raise error

        return lambda: monkeypatch.setattr(pd.DataFrame, "to_csv", write)

    after_training.append(
        {
            "full disk": half(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
            "folder gone": lambda: out.parent.rename(folders / "moved"),
            "no replacing": lambda: monkeypatch.setattr(os, "replace", full),
            "a bug": half(TypeError("a bug")),
        }[failing]
    )
    if failing == "a bug":
        with pytest.raises(TypeError, match="a bug"):
            score(folders, "--method", "PCA", "--out", str(out))
    else:
        assert score(folders, "--method", "PCA", "--out", str(out)) == 2
    said = capsys.readouterr()
    assert said.out == wanted
    if failing != "a bug":
        error = without_notices(said.err)
        assert error.startswith(f"minigan: expected to write the table to {str(out)!r}, got an error (")
        assert error.endswith("; it was printed to standard output instead\n") and error.count("\n") == 1
    folder = folders / ("moved" if failing == "folder gone" else "kept")
    assert (folder / "scores.csv").read_text() == "old" and len(list(folder.iterdir())) == 1


@LINUX
def test_a_device_stays_a_device(folders, capsys):
    assert score(folders, "--method", "PCA", "--out", "/dev/null") == 0
    assert capsys.readouterr().out.startswith("11 of 20 images lie above")
    assert score(folders, "--method", "PCA", "--out", "/dev/full") == 2
    said = capsys.readouterr()
    assert len(pd.read_csv(io.StringIO(said.out))) == 20 and "'/dev/full', got an error (No space" in said.err
    for name in ("/dev/null", "/dev/full"):
        assert stat.S_ISCHR(os.stat(name).st_mode)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_gets_the_table(folders):
    os.mkfifo(folders / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append(pd.read_csv(folders / "pipe")))
    reader.start()
    assert score(folders, "--method", "PCA", "--out", str(folders / "pipe")) == 0
    reader.join(10)
    assert len(got[0]) == 20 and stat.S_ISFIFO(os.stat(folders / "pipe").st_mode)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell that two open files are one")
def test_the_file_that_standard_output_goes_to_gets_csv_and_nothing_else(folders, capsys, monkeypatch):
    """As `--out /dev/stdout > scores.csv`: to write it as another file would overwrite one with the other."""
    out = folders / "scores.csv"
    for name in ("trying", "replacing"):
        monkeypatch.setattr(scores_file, name, lambda path: pytest.fail("writes another file"))
    with standard_output(monkeypatch, out.open("w", encoding="ascii")):
        assert score(folders, "--method", "PCA", "--out", str(out)) == 0
    assert len(pd.read_csv(out)) == 20
    assert "of 20 images lie above" in capsys.readouterr().err


class Broken(io.StringIO):
    """A stream that breaks after some writes."""

    def __init__(self, left: int, error: OSError):
        super().__init__()
        self.left, self.error = left, error

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe"), OSError(5, "I/O")]
)
@pytest.mark.parametrize("more", [[], ["--out", "scores.csv"]])
def test_a_table_that_cannot_be_printed_goes_to_standard_error(
    folders, capsys, monkeypatch, after_training, error, more
):
    monkeypatch.chdir(folders)
    if more:
        after_training.append(lambda: monkeypatch.setattr(os, "replace", full))
    with standard_output(monkeypatch, Broken(0, error)):
        assert score(folders, "--method", "PCA", *more) == 2
    *table, sentence = without_notices(capsys.readouterr().err).splitlines()
    assert len(pd.read_csv(io.StringIO("\n".join(table)))) == 20
    assert sentence.endswith("; it was printed to standard error instead")


def test_a_reader_that_has_seen_enough_ends_quietly(folders, capsys, monkeypatch):
    with standard_output(monkeypatch, Broken(1, BrokenPipeError(32, "Broken pipe"))):
        assert score(folders, "--method", "PCA") == 141
    assert without_notices(capsys.readouterr().err) == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows has another error for a reader that is gone")
@pytest.mark.parametrize("reader", ["gone", pytest.param("full disk", marks=LINUX)])
def test_what_cannot_be_printed_is_given_up(capsys, monkeypatch, reader):
    """Else Python would try again at its end, complain, and change the exit code."""
    if reader == "gone":
        closed, write = os.pipe()
        os.close(closed)
        stream = os.fdopen(write, "w")
    else:
        stream = open("/dev/full", "w")  # noqa: SIM115 (`standard_output` closes it)
    with standard_output(monkeypatch, stream):  # closing it writes what is left
        assert main(["methods"]) == (141 if reader == "gone" else 2)
    said = capsys.readouterr().err
    assert said == "" if reader == "gone" else "No space left on device" in said


def test_without_standard_output(folders, capsys, monkeypatch, untrained):
    with standard_output(monkeypatch, None):
        assert score(folders, "--method", "PCA") == 2
    assert "expected standard output to print a table to, got a closed one" in capsys.readouterr().err


def test_a_file_is_written_without_standard_output(folders, monkeypatch):
    with standard_output(monkeypatch, None):
        assert score(folders, "--method", "PCA", "--out", str(folders / "scores.csv")) == 0
    assert len(pd.read_csv(folders / "scores.csv")) == 20


@pytest.mark.parametrize("stream", [None, Broken(0, OSError(28, "No space left on device"))])
def test_messages_that_cannot_be_shown_end_no_training(folders, capsys, monkeypatch, stream):
    settings = ["--image-size", "16", "--set", "epochs=1", "width=2"]
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        assert score(folders, *settings) == 0  # with a progress bar
        assert sys.stderr is stream
    assert "of 20 images lie above the threshold" in capsys.readouterr().out


# ---------------------------------------------------------------------- interrupted

SIGNALS = [signal.SIGINT, *terminal.ENDING]


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal():
    """Tests that run under nohup, or in a service, may have started with some of them ignored."""
    before = {number: signal.getsignal(number) for number in terminal.ENDING}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    """Send a signal to this process, unless it would end the tests."""
    assert signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN), "nobody handles the signal"
    signal.raise_signal(number)


@pytest.fixture
def stopping(monkeypatch):
    """`stopping(number, where)`: a signal comes in epoch 3 of 3, in the first one, or at scoring."""
    monkeypatch.setattr(registry, "get", lambda name: Normed)

    def stop(number, where):
        def start_epoch(detector):
            if detector.epoch_ == {"first epoch": 1, "last epoch": 3}.get(where):
                send(number)

        def score_step(detector, x, step=Normed.score_step):
            if where == "scoring" and detector.epoch_ == 3 and len(x) == 20:
                send(number)
            return step(detector, x)

        monkeypatch.setattr(Normed, "start_epoch", start_epoch)
        monkeypatch.setattr(Normed, "score_step", score_step)

    return stop


@pytest.mark.parametrize("to_file", [True, False])
@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_training_writes_its_scores_and_says_so(folders, capsys, stopping, number, to_file):
    out = folders / "scores.csv"
    stopping(number, "last epoch")
    handler = signal.getsignal(number)
    assert score(folders, *(["--out", str(out)] if to_file else [])) == 128 + number
    assert signal.getsignal(number) is handler
    said = capsys.readouterr()
    assert "minigan: expected to train 3 epochs, got 2 because of an interruption" in said.err
    assert "of 20 images lie above the threshold" in said.out and "Warning" not in said.err
    if to_file:
        detector = Normed(epochs=2, progress=False).fit(folders / "good")
        np.testing.assert_allclose(pd.read_csv(out)["score"], detector.anomaly_score(folders / "new"))
    else:
        assert len(said.out.splitlines()) == 1 + 20 + 3


@pytest.mark.parametrize("where", ["first epoch", "scoring"])
@pytest.mark.parametrize("number", SIGNALS)
def test_interrupted_where_there_are_no_scores(folders, capsys, stopping, number, where):
    out = folders / "scores.csv"
    out.write_text("old")
    stopping(number, where)
    assert score(folders, "--out", str(out)) == 128 + number
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "minigan: interrupted; what was written before is kept"
    assert said.out == "" and out.read_text() == "old"


def test_a_second_interruption_ends_at_once(folders, capsys, monkeypatch, stopping):
    stopping(signal.SIGINT, "last epoch")
    monkeypatch.setattr(Normed, "score_step", lambda *a: send(signal.SIGINT))
    out = folders / "scores.csv"
    assert score(folders, "--out", str(out)) == 130
    assert not out.exists() and "what was written before is kept" in capsys.readouterr().err


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_training_whose_scores_cannot_be_written(
    folders, capsys, monkeypatch, stopping, number
):
    stopping(number, "last epoch")
    monkeypatch.setattr(os, "replace", full)
    assert score(folders, "--out", str(folders / "scores.csv")) == 2
    said = capsys.readouterr()
    assert "got 2 because of an interruption" in said.err and len(pd.read_csv(io.StringIO(said.out))) == 20


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_sweep_keeps_its_records(tiny, capsys, monkeypatch, number):
    cells = list(tiny_cells(n=3))
    monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "", lambda: cells))

    def run(cell):
        if cell.target == "1":
            send(number)
        return fake_record(cell)

    run_by(monkeypatch, run)
    assert main(["reproduce", "tiny", "--jobs", "1"]) == 128 + number
    plan, said = capsys.readouterr().err.splitlines()
    assert plan == "runs to do: 3; trainings: 3"
    assert said == "minigan: interrupted; what was written before is kept"
    assert experiments.results("tiny")["auroc"].notna().tolist() == [True, False, False]


@pytest.mark.parametrize("number", terminal.ENDING)
def test_a_signal_that_somebody_handles_stays_so(number):
    seen = []
    before = signal.signal(number, lambda *a: seen.append("theirs"))
    try:
        with terminal.interruptible() as received:
            signal.raise_signal(number)
        signal.signal(number, signal.SIG_IGN)  # as nohup does
        with terminal.interruptible() as ignored:
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)
    assert seen == ["theirs"] and received == ignored == []


def test_a_command_runs_in_any_thread(capsys):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["methods", "PCA"])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process at once")
@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_an_interrupted_process(folders, number):
    command = [sys.executable, "-m", "minigan", "score", "new", "--train", "good", "--image-size", "16"]
    command += ["--method", "ALGAN", "--out", "scores.csv"]
    command += ["--set", "epochs=100000", "width=2", "device=cpu"]
    with subprocess.Popen(command, cwd=folders, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        said = b""
        # The progress bar after an epoch, and how long all of them take.
        announced = rb"training takes about [\d.]+ (minutes|hours|days), by its first"
        while not (re.search(rb" [1-9]\d*/100000 ", said) and re.search(announced, said)):
            part = process.stderr.read1()
            assert part, said
            said += part
        process.send_signal(number)
        out, end = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    trained = re.search(r"expected to train 100000 epochs, got (\d+) because", end.decode())
    assert int(trained[1]) >= 1 and "Traceback" not in end.decode()
    assert b"of 20 images lie above" in out and len(pd.read_csv(folders / "scores.csv")) == 20


# ---------------------------------------------------------------------- the other commands


def test_warnings_of_minigan_are_lines_without_their_place():
    arguments = ("f.py", 3, "x = 1")
    with terminal.plain_warnings():
        assert warnings.formatwarning("expected more", UserWarning, *arguments) == "minigan: expected more\n"
        assert "f.py:3: RuntimeWarning" in warnings.formatwarning("odd", RuntimeWarning, *arguments)
    assert "f.py:3: UserWarning" in warnings.formatwarning("expected more", UserWarning, *arguments)


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
    assert capsys.readouterr().err.startswith("minigan: expected the name of a method, got ")


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
    said = capsys.readouterr()
    assert said.out == "tiny: 0 of 3 runs recorded\n"
    planned, where = said.err.splitlines()
    assert planned == "runs to do: 3; trainings: 3"  # no record says how long they take
    assert where == f"records are in {tiny / 'results'}"
    assert main(["reproduce", "tiny", "--jobs", "1"]) == 1
    said = capsys.readouterr().err
    assert "\nminigan: expected " in said and "tiny: PCA, one_class nine" in said
    assert main(["reproduce", "tiny", "--minutes", "0"]) == 0
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"runs to do: 1; trainings: 1; about \d+\.\d seconds for 1 of these, by the records of .*\n.*\n",
        said,
    )
    assert (tiny / "results" / "tiny.csv").is_file()

    assert main(["results"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == set(tables.TABLES)
    assert [line.split()[:4] for line in lines if "Three cells" in line] == [["tiny", "2", "of", "3"]]

    assert main(["results", "tiny"]) == 0
    title, *_, last = capsys.readouterr().out.splitlines()
    assert title == "Three cells"
    assert last.split()[:2] == ["one_class", "PCA"] and last.split()[-2:] == ["2", "1"]  # runs, missing


OWN = """
from minigan.tables import Table, grid
from minigan.tables.digits import DIGITS

def cells():
    yield from grid("mine", {("PCA", ""): {}}, "digits", {"size": 8}, "one_class", range(2), seeds=range(1))

MINE = Table("mine", "PCA on two digits", cells)
"""


def test_a_table_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path / "records"))
    monkeypatch.setattr(tables, "TABLES", dict(tables.TABLES))
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    for backend in ([], ["--backend", "threading", "--jobs", "2"]):  # the second time nothing is left
        assert main(["reproduce", str(file), *backend]) == 0
        said = capsys.readouterr()
        assert said.out.endswith("mine: 2 of 2 runs recorded\n")
        assert said.err.endswith(f"records are in {tmp_path / 'records' / 'results'}\n")
    assert said.out.count("\n") == 1 and len(experiments.results("mine")) == 2
    assert main(["results", str(file)]) == 0
    assert capsys.readouterr().out.startswith("PCA on two digits\n")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("MINE = ", "return_none = lambda: ", "expected one table in '{}', got 0; name one `Table` in it"),
        ("MINE = ", 'TWO = Table("two", "", cells)\nMINE = ', "expected one table in '{}', got 2"),
        ('Table("mine"', 'Table("digits"', "that no table of minigan has, got 'digits'; rename it"),
        ('Table("mine"', 'Table("../mine"', "that no table of minigan has, got '../mine'; rename it"),
        ('grid("mine"', 'grid("yours"', "expected cells of the table 'mine', got some of yours"),
        ("yield from grid", "yield 1; yield from grid", "expected cells of the table 'mine', got some of 1"),
        ("cells)", "cells", "expected Python code that runs, got '{}', which fails (SyntaxError: "),
        (
            "MINE =",
            "MINE = nothing; ONE =",
            "expected Python code that runs, got '{}', which fails (NameError: ",
        ),
    ],
)
def test_files_that_are_no_table_of_ones_own(tmp_path, monkeypatch, old, new, said):
    monkeypatch.setattr(tables, "TABLES", dict(tables.TABLES))
    file = tmp_path / "mine.py"
    file.write_text(OWN.replace(old, new))
    with raises_sentence(ValueError, said.format(file)):
        tables.from_file(file)
    with raises_sentence(ValueError, "expected a Python file with a table", "other.py", "no file"):
        tables.from_file(file.with_name("other.py"))


def test_runs_are_spread_over_a_cluster_by_its_address(tiny, monkeypatch, capsys):
    asked = []

    class Client:
        def __init__(self, address, threads_per_worker=None, n_workers=None):
            asked.append(address)
            # glibc keeps freed memory, which small networks ask for again in the next step
            assert "MALLOC_TRIM_THRESHOLD_" not in dask.config.get("distributed.nanny.pre-spawn-environ")
            assert threads_per_worker == (1 if address is None else None)

        __enter__, __exit__ = (lambda self: self), (lambda self, *error: None)

    distributed = SimpleNamespace(Client=Client)
    monkeypatch.setitem(sys.modules, "distributed", distributed)
    monkeypatch.setattr(joblib, "parallel_config", lambda backend: asked.append(backend) or nullcontext())
    command = ["reproduce", "tiny", "--minutes", "0", "--backend", "dask"]
    assert main([*command, "--address", "tcp://10.0.0.1:8786"]) == 0 and main(command) == 0
    assert asked == ["tcp://10.0.0.1:8786", "dask", None, "dask"]
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(command) == 2
    assert "expected the package distributed for --backend dask, got none" in capsys.readouterr().err
    assert main(["reproduce", "tiny", "--address", "tcp://10.0.0.1:8786"]) == 2
    assert "expected --address with --backend dask, got it with none" in capsys.readouterr().err


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
    assert "\nminigan: expected " in said.err and "`minigan datasets`" in said.err


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
        raise experiments.Interrupted("expected it whole, got an interruption after 3 epochs")

    monkeypatch.setattr(experiments, "reproduce", interrupt)
    assert main(["reproduce", "digits"]) == 130
    assert capsys.readouterr().err == "minigan: expected it whole, got an interruption after 3 epochs\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--help", 0, "reproduce"),
        ("skore", 2, "invalid choice"),
        ("methods pca", 0, "n_components"),
        ("datasets", 0, "comes with minigan"),
    ],
)
def test_python_m_minigan(arguments, code, said):
    command = [sys.executable, "-m", "minigan", *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code
    assert said in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_every_command_and_option_is_explained_and_the_readme_names_every_command():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (commands,) = [action for action in cli._parser()._actions if action.choices]
    assert {"threshold", "export", "methods", "datasets", "results"} <= set(commands.choices)
    for name, command in commands.choices.items():
        assert re.search(rf"\bminigan {name}\b", readme), f"the README does not name `minigan {name}`"
        assert command.description
        unexplained = [action.dest for action in command._actions if len(action.help or "") < 10]
        assert unexplained == [], f"options of `minigan {name}` without a sentence"


def test_help_is_quick():
    code = (
        "import sys; from minigan.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([m for m in ('torch', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
