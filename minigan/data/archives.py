"""Archives: finding the folder of a data set, and unpacking what its publisher offers, safely.

This module knows no data set. What is unpacked appears whole or not at all, and only inside its own folder.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO

from minigan.image_files import reason

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
#: What reading a damaged archive, or a damaged .npz file, may raise.
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # a password is needed
    NotImplementedError,  # a kind of compression that Python does not know
)


def find(home: Path, sign: str, depth: int = 4) -> Path | None:
    """The shallowest folder that contains something matching the glob pattern `sign`, or None.

    Publishers and file managers wrap a set into one or two further folders. They are all searched, from
    `home` itself to `depth` levels below; hidden folders are left out.
    """
    level = [home] if home.is_dir() else []
    for _ in range(depth + 1):
        for folder in level:
            if any(folder.glob(sign)):
                return folder
        entries = [entry for folder in level for entry in sorted(os.scandir(folder), key=lambda x: x.name)]
        level = [Path(x.path) for x in entries if x.is_dir() and not x.name.startswith(".")]
    return None


def find_in_archives(home: Path, sign: str) -> Path | None:
    """As `find`, in the archives of a folder, which are unpacked one by one until it is found."""
    for archive in archives(home):
        found = find(unpack(archive), sign)
        if found is not None:
            return found
    return None


def archives(home: Path) -> list[Path]:
    """The archives in a folder, sorted by name."""
    return sorted(
        x for x in home.glob("*") if x.name.lower().endswith(SUFFIXES) and not x.name.startswith(".")
    )


def unpack(archive: Path) -> Path:
    """Unpack a .zip or .tar.* file into a folder of its own, beside it and named like it; returns the folder.

    The folder appears when everything is in it. When it is there already, nothing is done. Only files are
    unpacked, and only to places inside the folder.

    Raises:
        ValueError: the archive is damaged, or a member is a link or would land outside the folder.
    """
    # The longest suffix first: "a.tar.gz" must not lose its ".gz" only.
    suffix = next(end for end in sorted(SUFFIXES, key=len)[::-1] if archive.name.lower().endswith(end))
    target = archive.with_name(archive.name[: -len(suffix)] or "unpacked")
    # Into a hidden folder first, which `find` skips. What a killed process left there is removed.
    partial = archive.with_name(f".unpacking-{target.name}")
    members = _zip_members if suffix == ".zip" else _tar_members
    from filelock import FileLock  # here: the command line scores ONNX files without it

    with FileLock(archive.with_name(f".{archive.name}.lock")):
        if target.is_dir():  # unpacked before, or by another process in the meantime
            return target
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            with closing(members(archive)) as found:  # an error must not leave the archive open
                for name, content in found:
                    place = partial.joinpath(*PurePosixPath(name).parts)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with place.open("wb") as out:
                        shutil.copyfileobj(content, out, 1 << 20)
            os.replace(partial, target)
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno:  # no space left, and the like
                raise
            raise ValueError(
                f"expected a complete archive, got {str(archive)!r}, which is damaged or cut off "
                f"({reason(error)}); get it again"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _zip_members(archive: Path) -> Generator[tuple[str, IO[bytes]], None, None]:
    """The files in a .zip archive: names, checked, and contents."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if not member.is_dir():
                link = stat.S_ISLNK(member.external_attr >> 16)  # a link made by a Unix zip
                name = _checked(archive, member.filename, link)
                with opened.open(member) as content:
                    yield name, content


def _tar_members(archive: Path) -> Generator[tuple[str, IO[bytes]], None, None]:
    """The files in a .tar.* archive: names, checked, and contents."""
    with tarfile.open(archive) as opened:
        for member in opened:
            if not member.isdir():
                name = _checked(archive, member.name, not member.isreg())
                content = opened.extractfile(member)
                assert content is not None  # as for every plain file
                yield name, content
        # tarfile takes a damaged header for the end of the archive, and does not read on to the checksum
        # behind the end. So the rest is read here: it must be there, and consist of zeros.
        rest = 0
        assert opened.fileobj is not None  # as in every open archive
        while block := opened.fileobj.read(1 << 20):
            rest += len(block)
            if block.strip(b"\0"):
                raise tarfile.ReadError("a damaged header")
        if rest == 0:
            raise tarfile.ReadError("the end is missing")


def _checked(archive: Path, name: str, special: bool) -> str:
    """The name of a member, with slashes; ValueError unless it is a plain file inside the folder."""
    name = name.replace("\\", "/")
    path = PurePosixPath(name)
    outside = path.is_absolute() or any(part == ".." or re.match("[A-Za-z]:", part) for part in path.parts)
    if special or outside or not path.parts:
        why = "is a link or a device" if special else "would land outside its folder"
        raise ValueError(
            f"expected plain files in the archive {str(archive)!r}, got {name!r}, which {why}; no published "
            "set needs that, so get the archive from its publisher"
        )
    return name
