"""Kernels for nbval that start warm: each is forked from a process that has the chapters' imports already.

A plugin of pytest, `-p warm_kernels`, for `make test`. A kernel needs seconds to import torch, pandas,
scikit-learn and matplotlib, and there is one for each chapter; here one process of each worker does it for
all. On other systems than Linux, where such forks are impossible or unsafe, kernels start as usual.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import time
from multiprocessing.process import BaseProcess

import pandas
from jupyter_client.provisioning import local_provisioner

#: What the kernels are forked with. PyTorch itself imports its compiler, `_dynamo`, with the first optimiser.
IMPORTED = ["scipy.stats", "seaborn", "sklearn.metrics", "torchvision", "torch._dynamo", "minigan.neural"]


class ForkedKernel:
    """A kernel as `jupyter_client` wants to have it: the part of `subprocess.Popen` that it uses."""

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess):
        self.process, self.pid = process, process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_kernel(command: list[str], environment: dict[str, str], folder: str | None) -> None:
    """What a forked process does: it becomes `python -m ipykernel_launcher ...`."""
    os.setsid()  # a group of its own, which is signalled as a whole
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder or ".")
    pandas.set_option("display.max_columns", 20)  # what it takes when a notebook imports it
    _, _, module, *sys.argv[1:] = command
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def launch_forked(command: list[str], env: dict[str, str] | None = None, cwd: str | None = None, **_: object):
    """In place of `jupyter_client.launcher.launch_kernel`."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(IMPORTED)
    process = forks.Process(target=run_kernel, args=(command, dict(os.environ if env is None else env), cwd))
    process.start()
    while process.is_alive() and os.getpgid(process.pid) != process.pid:  # its group is asked for next
        time.sleep(0.01)
    return ForkedKernel(process)


if sys.platform == "linux":
    # Read when matplotlib is imported, and what a kernel sets before that.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    local_provisioner.launch_kernel = launch_forked
