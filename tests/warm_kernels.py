"""Kernels for nbval that start warm: each is forked from a process that has the chapters' imports already.

A plugin of pytest, `-p warm_kernels`, for `make test`. On other systems than Linux, kernels start as usual.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.process import BaseProcess

import forks
import pandas
from jupyter_client.provisioning import local_provisioner


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


def run_kernel(command: list[str], environment: dict[str, str], folder: str) -> None:
    """What a forked process does: it becomes `python -m ipykernel_launcher ...`."""
    os.setsid()  # a group of its own, which is signalled as a whole
    pandas.set_option("display.max_columns", 20)  # what it takes when a notebook imports it
    forks.python(command[1:], environment, folder)


def launch_forked(command: list[str], env: dict[str, str] | None = None, cwd: str | None = None, **_: object):
    """In place of `jupyter_client.launcher.launch_kernel`."""
    process = forks.fork(run_kernel, command, dict(os.environ if env is None else env), cwd or ".")
    while process.is_alive() and os.getpgid(process.pid) != process.pid:  # its group is asked for next
        time.sleep(0.01)
    return ForkedKernel(process)


if sys.platform == "linux":
    # Read when matplotlib is imported, and what a kernel sets before that.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    local_provisioner.launch_kernel = launch_forked
