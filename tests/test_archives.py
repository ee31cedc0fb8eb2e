"""Archives: found, unpacked once and whole, and never outside their folder."""

import gzip
import io
import shutil
import stat
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from data_trees import mtd_tree, mvtec_tree, pack
from helpers import raises_sentence

from minigan import data
from minigan.data import archives


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("MINIGAN_DATA", str(folder))
    return folder


@pytest.mark.parametrize("archive", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_archives_are_unpacked_once(home, archive):
    if archive == "a.tar":
        mvtec_tree(home / "tree")
        with tarfile.open(home / "a.tar", "w") as out:
            out.add(home / "tree", "mvtec_anomaly_detection")
        (home / "mvtec").mkdir()
        (home / "a.tar").rename(home / "mvtec" / "a.tar")
    else:
        mvtec_tree(home / "tree" / "mvtec_anomaly_detection")
        pack(home / "tree", home / "mvtec" / archive)
    assert data.load("mvtec", size=16).masks.any()
    assert (home / "mvtec" / "a" / "mvtec_anomaly_detection" / "bottle").is_dir()
    assert not list((home / "mvtec").glob(".unpacking*"))
    (home / "mvtec" / archive).write_bytes(b"no longer needed")
    assert data.load("mvtec", size=24).masks.any()


def test_other_categories_in_other_archives(home):
    for category in ("bottle", "wood"):
        mvtec_tree(home / "tree", category)
        pack(home / "tree", home / "mvtec" / f"{category}.zip")
    assert data.load("mvtec", category="wood", size=16).name == "mvtec (wood)"
    with raises_sentence(FileNotFoundError, "mvtec (screw)"):
        data.load("mvtec", category="screw")


def test_an_archive_of_something_else(home):
    (home / "mtd").mkdir()
    zipped(home / "mtd" / "a.zip", "12:30.txt")  # a colon alone is no drive
    zipfile.ZipFile(home / "mtd" / "b.zip", "w").close()  # nothing in it
    with raises_sentence(FileNotFoundError, "expected the files of mtd, got none"):
        data.load("mtd")
    assert {x.name for x in (home / "mtd" / "a").iterdir()} == {"fine.txt", "12:30.txt"}


def zipped(path: Path, name: str, link: bool = False) -> None:
    member = zipfile.ZipInfo(name)
    if link:
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("fine.txt", "fine")
        out.writestr(member, "../../outside")


def tarred(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "../../outside"
    member.size = 4 if kind == tarfile.REGTYPE else 0
    with tarfile.open(path, "w:gz") as out:
        out.addfile(tarfile.TarInfo("fine.txt"), io.BytesIO())
        out.addfile(member, io.BytesIO(b"evil"))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:\\evil.txt", "a/C:evil.txt"]
)
def test_no_member_leaves_the_folder(home, kind, name):
    archive = home / "mtd" / f"bad.{kind}"
    archive.parent.mkdir()
    (zipped if kind == "zip" else tarred)(archive, name)
    with raises_sentence(ValueError, "expected plain files", "would land outside its folder"):
        data.load("mtd")
    assert {x.name for x in home.rglob("*") if not x.name.startswith(".")} == {
        "mtd",
        archive.name,
        "cache",
        "mtd-64.lock",
    }
    assert not list(home.parent.rglob("evil*"))


@pytest.mark.parametrize("kind", ["zip", tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(home, kind):
    archive = home / "mtd" / ("bad.zip" if kind == "zip" else "bad.tar.gz")
    archive.parent.mkdir()
    if kind == "zip":
        zipped(archive, "link", link=True)
    else:
        tarred(archive, "link", kind)
    with raises_sentence(ValueError, "'link'", "is a link or a device"):
        data.load("mtd")
    assert not (home / "mtd" / "bad").exists()


@pytest.mark.parametrize("archive", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
def test_a_damaged_archive_is_refused(home, archive, damage):
    noise = np.random.default_rng(0).bytes(200_000)
    (home / "tree").mkdir()
    (home / "tree" / "noise.bin").write_bytes(noise)
    path = home / "mtd" / archive
    if archive == "a.tar":
        path.parent.mkdir()
        with tarfile.open(path, "w") as out:
            out.add(home / "tree" / "noise.bin", "noise.bin")
    else:
        pack(home / "tree", path)
    content = bytearray(path.read_bytes())
    if damage == "flipped" and archive == "a.tar":
        content[0:8] = b"\xff" * 8  # plain tar protects its headers only
    for place in range(50_000, 50_100) if damage == "flipped" else ():
        content[place] ^= 255
    path.write_bytes({"empty": b"", "text": b"<html>", "cut": content[:60_000]}.get(damage, content))
    with raises_sentence(ValueError, archive, "damaged or cut off", "get it again"):
        data.load("mtd")
    assert not (home / "mtd" / "a").exists() and not list((home / "mtd").glob(".unpacking*"))


@pytest.mark.parametrize("kind", ["", ":gz"])
@pytest.mark.parametrize(
    "damage", ["cut between members", "a damaged header", "other members behind the end"]
)
def test_a_tar_that_seems_to_end_early(home, kind, damage):
    """tarfile itself takes any of these for a complete archive."""
    plain, path = io.BytesIO(), home / "mtd" / "a.tar.gz" if kind else home / "mtd" / "a.tar"
    with tarfile.open(fileobj=plain, mode="w") as out:
        for name in "abc":
            out.addfile(tarfile.TarInfo(name))  # 512 bytes each, no content
    content = bytearray(plain.getvalue())
    if damage == "cut between members":
        content = content[:1024]
    elif damage == "a damaged header":
        content[512:518] = b"\xff" * 6
    else:
        content = content[:512] + bytes(1024) + content[512:]
    path.parent.mkdir()
    path.write_bytes(gzip.compress(content) if kind else content)
    with raises_sentence(ValueError, "damaged or cut off", "get it again"):
        data.load("mtd")


def test_a_full_disk_is_not_a_damaged_archive(home, monkeypatch):
    mtd_tree(home / "tree")
    pack(home / "tree", home / "mtd" / "a.zip")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        data.load("mtd")
    assert not (home / "mtd" / "a").exists()


def test_a_zip_with_a_password_is_refused(home):
    archive = home / "mtd" / "a.zip"
    archive.parent.mkdir()
    zipped(archive, "secret.txt")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the bit that says: a password is needed
    content[6] |= 1
    archive.write_bytes(content)
    with raises_sentence(ValueError, "password"):
        data.load("mtd")


def test_what_a_killed_process_left_is_removed(home):
    mtd_tree(home / "tree")
    pack(home / "tree", home / "mtd" / "a.zip")
    (home / "mtd" / ".unpacking-a" / "MT_Free").mkdir(parents=True)
    (home / "mtd" / ".unpacking-a" / "old.txt").write_text("half")
    assert len(data.load("mtd", size=16)) == 16
    assert not (home / "mtd" / "a" / "old.txt").exists()


def test_two_at_once_unpack_once(home):
    mtd_tree(home / "tree")
    pack(home / "tree", home / "mtd" / "a.zip")
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(archives.unpack, [home / "mtd" / "a.zip"] * 3)) == {home / "mtd" / "a"}
    assert len(list((home / "mtd" / "a").rglob("*.jpg"))) == 16


def test_gz_files_are_no_archives_of_ours(home):
    """torchvision's own downloads lie in the same folder and are its business."""
    (home / "mnist").mkdir()
    (home / "mnist" / "x.gz").write_bytes(gzip.compress(b"x"))
    assert archives.archives(home / "mnist") == []
