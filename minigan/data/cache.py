"""The copies of data sets that are kept in data/cache/, and the decorator that makes and uses them.

A benchmark is a function that reads the set's files from a path:

    @cached("mnist")
    def mnist(path: Path, size: int | None = None) -> Dataset: ...

Everybody else calls it without the path, `mnist(size=32)`. The decorator finds the files (`sources.py`), or
unpacks or downloads them, and keeps the result as one file of plain arrays, data/cache/mnist-32.npz. The next
call reads that copy, in a moment. Where some options do not concern the files, the public function calls a
decorated one, as `mtd` calls `read_mtd`.

A copy is made again when the options or the files have changed, and stays good when the files are gone. It is
written whole or not at all, and of several processes that want it one makes it and the others wait.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np

from minigan.data import sources
from minigan.data.archives import DAMAGED
from minigan.data.dataset import ARRAYS, Dataset, check_size
from minigan.files import replacing
from minigan.paths import data_folder

TEXTS = ("name", "classes", "subclass_names", "defects")  # the fields of a Dataset besides the arrays

P = ParamSpec("P")
Reader = Callable[Concatenate[Path, P], Dataset]


def cached(
    name: str, part: str = "", beside: Callable[[Path], Path | None] | None = None
) -> Callable[[Reader[P]], Callable[P, Dataset]]:
    """Decorator of a function that reads a data set: finds the files and keeps a copy of the result.

    Args:
        name: of the set, as in `sources.SOURCES`.
        part: the option that names a part of the set, such as MVTec AD's category. The reader is given that
            part's folder.
        beside: finds a further file that the reader uses (None where there is none). A copy is made again
            when that file changes, too.

    The decorated function takes the reader's parameters without the path. One of them is `size`, from 8 to
    1024 pixels; None only where that is its default. All must be values that JSON can hold.
    """

    def decorate(read: Reader[P]) -> Callable[P, Dataset]:
        signature = inspect.signature(read)
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])  # no path

        @functools.wraps(read)
        def load(*args: P.args, **kwargs: P.kwargs) -> Dataset:
            options = _options(name, signature, args, kwargs)
            return _load(name, options, options[part] if part else "", beside, read)

        load.__signature__ = signature  # type: ignore[attr-defined]  # what help() and the API page show
        return load

    return decorate


def _load(
    name: str,
    options: dict[str, Any],
    part: str,
    beside: Callable[[Path], Path | None] | None,
    read: Callable[..., Dataset],
) -> Dataset:
    """The data set from its copy, or else read from its files, of which a copy is then kept."""
    copy = data_folder() / "cache" / f"{'-'.join([name, *_words(options)])}.npz"
    path = sources.find(name, part)
    state = _state_of(path, beside)
    dataset = _read_copy(copy, options, state)
    if dataset is not None:
        return dataset
    copy.parent.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock  # here: the command line scores ONNX files without it

    with FileLock(copy.with_suffix(".lock")):
        dataset = _read_copy(copy, options, state)  # another process may have made it in the meantime
        if dataset is None:
            if path is None:
                path = sources.find(name, part) or sources.fetch(name, part)
                state = _state_of(path, beside)
            dataset = read(path, **options)
            _write_copy(copy, options, state, dataset)
    return dataset


def _options(name: str, signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    """All options of a call by name, defaults included; ValueError for a size that cannot be."""
    try:
        call = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}() {error}") from None
    call.apply_defaults()
    options = {key: int(x) if isinstance(x, np.integer) else x for key, x in call.arguments.items()}
    if options["size"] is not None or signature.parameters["size"].default is not None:
        check_size(name, options["size"])
    return options


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not None or False: whatever is off is as good as absent."""
    return {key: value for key, value in options.items() if value is not None and value is not False}


def _words(options: dict[str, Any]) -> list[str]:
    """The options in a copy's name: {"species": ["apple", "corn"], "size": 64} -> ["apple+corn", "64"]."""
    words = []
    for key, value in _given(options).items():
        if value is True:
            words.append(key)
        else:
            words.append("+".join(value) if isinstance(value, list) else str(value))
    return words


def _read_copy(copy: Path, options: dict[str, Any], state: str | None) -> Dataset | None:
    """The copy; None if there is none, if options or files were different then, or if it is damaged."""
    try:
        # Opened here, because numpy leaves a file open that turns out to be damaged.
        with copy.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            if _given(about["options"]) != _given(options):
                return None
            if state is not None and about["files"] != state:
                return None
            fields = {key: arrays[key] for key in ARRAYS if key in arrays.files}
            texts: dict[str, Any] = {
                key: tuple(x) if isinstance(x, list) else x for key, x in about.items() if key in TEXTS
            }
            return Dataset(**fields, **texts)
    except (ValueError, KeyError, TypeError, AttributeError, *DAMAGED):
        return None


def _write_copy(copy: Path, options: dict[str, Any], state: str | None, dataset: Dataset) -> None:
    about = {key: getattr(dataset, key) for key in TEXTS} | {"options": options, "files": state}
    arrays = {key: getattr(dataset, key) for key in ARRAYS if getattr(dataset, key) is not None}
    with replacing(copy) as temporary, temporary.open("wb") as out:
        np.savez(out, about=np.array(json.dumps(about)), **arrays)


def _files(folder: Path) -> Iterator[Path]:
    """All files in a folder and its sub-folders, those behind links too; each real folder once."""
    seen = set()
    for inside, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(inside)
        if real in seen:
            folders.clear()
        else:
            seen.add(real)
            yield from (Path(inside) / name for name in names)


def _state_of(path: Path | None, beside: Callable[[Path], Path | None] | None) -> str | None:
    """A hash of names, sizes and times that changes when a file is added, removed or written to.

    It covers the set's files and the one beside them. None where they are gone.
    """
    if path is None:
        return None
    further = beside(path) if beside is not None else None
    digest = hashlib.sha256()
    for top in [path] if further is None else [path, further]:
        inside = sorted(_files(top)) if top.is_dir() else [top]
        for file in inside:
            if file.is_file() and not file.name.startswith("."):
                state = file.stat()
                name = file.relative_to(top.parent).as_posix()
                digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
