"""Processes that start warm: each is forked from one that has imported already what they need.

A process needs seconds to import torch, pandas, scikit-learn and matplotlib, and tests and chapters start
dozens; here one process of each worker of pytest does it for all. This is for Linux: elsewhere such forks are
impossible or unsafe. That a cold start works, and what it imports, is tested in test_imports.py and
test_cli.py.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

#: What they are forked with. PyTorch itself imports its compiler, `_dynamo`, with the first optimiser.
IMPORTED = ["scipy.stats", "seaborn", "sklearn.metrics", "torchvision", "torch._dynamo", "minigan.neural"]


def fork(function: Callable[..., None], *args: object) -> BaseProcess:
    """Start `function(*args)` in a warm process."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(IMPORTED)
    process = forks.Process(target=function, args=args)
    process.start()
    return process


def python(words: Sequence[str], environment: dict[str, str], folder: str) -> None:
    """What a forked process does to be `python word word ...`, for a module, -m name, or a script."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if words[0] == "-m":
        _, module, *sys.argv[1:] = words
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")


def _with_outputs(out: str, error: str, words: Sequence[str], *rest: object) -> None:
    for stream, path in ((1, out), (2, error)):
        os.dup2(os.open(path, os.O_WRONLY), stream)
    python(words, *rest)


def run_python(
    words: Sequence[str], folder: Path, environment: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `python word word ...` in a folder, and wait; as `subprocess.run` with its outputs as text."""
    if sys.platform != "linux":
        options = {"cwd": folder, "env": environment, "timeout": timeout}
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, **options)
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as error:
        process = fork(_with_outputs, out.name, error.name, words, environment, str(folder))
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, timeout)
        return subprocess.CompletedProcess(words, process.exitcode, out.read(), error.read())
