"""Files that are replaced whole: what failures leave behind, and what a replaced file keeps."""

import os
import stat
import sys
from pathlib import Path

import pytest
from helpers import raises_sentence

from minigan.files import replacing, trying

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs names that Linux has")
POSIX = pytest.mark.skipif(
    os.name != "posix", reason="links, pipes and permissions are other things on Windows"
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("old", [None, "old"])
@pytest.mark.parametrize(
    "name",
    ["a", "a.csv.gz", ".hidden", "ü"]
    + [pytest.param(name, marks=LINUX) for name in ("x" * 255, "\udcff", "a\nb")],
)
def test_a_file_appears_whole(tmp_path, name, old):
    path = tmp_path / name
    if old is not None:
        path.write_text(old)
    with replacing(str(path)) as temporary:
        assert temporary.name == name and temporary.parent.parent == tmp_path
        temporary.write_text("new")
        assert (path.read_text() if path.exists() else None) == old
    assert path.read_text() == "new" and names(tmp_path) == [name]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_an_error_of_the_last_step_leaves_the_old_file(tmp_path, monkeypatch, failing):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"), replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


@POSIX
def test_a_folder_that_vanishes_meanwhile(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(FileNotFoundError), replacing(folder / "a") as temporary:
        temporary.write_text("new")
        folder.rename(tmp_path / "moved")


def test_a_trial_changes_nothing(tmp_path):
    path = tmp_path / "a"
    with trying(path) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == []
    path.write_text("old")
    with trying(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


@POSIX
@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_stays_one(tmp_path, there):
    real, link = tmp_path / "folder" / "real", tmp_path / "link"
    real.parent.mkdir()
    link.symlink_to(real)
    if there:
        real.write_text("old")
    with replacing(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink() and real.read_text() == "new"
    assert names(tmp_path) == ["folder", "link"] and names(real.parent) == ["real"]


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permissions_are_kept(tmp_path, mode):
    path = tmp_path / "a"
    path.touch()
    path.chmod(mode)
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "other").touch()
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


@POSIX
def test_what_cannot_be_replaced_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "a")
    for path, kind, words in [
        (tmp_path, IsADirectoryError, ["which is a folder", "pass the path of a file"]),
        (
            tmp_path / "nowhere" / "a",
            FileNotFoundError,
            ["a folder to save into", "nowhere", "make it first"],
        ),
        (tmp_path / "link", FileNotFoundError, ["a folder to save into", "nowhere", "make it first"]),
        (tmp_path / "pipe", OSError, ["a device or a pipe", "pass the path of a file"]),
        ("/dev/null", OSError, ["a device or a pipe", "pass the path of a file"]),
    ]:
        with raises_sentence(kind, "expected", *words), replacing(path) as temporary:
            temporary.write_text("never")
    assert names(tmp_path) == ["link", "pipe"] and stat.S_ISCHR(os.stat("/dev/null").st_mode)
