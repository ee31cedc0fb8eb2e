"""What surrounds a command: signals that end it, and output streams that may fail. Imports no torch."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any, TextIO, cast

#: The exit code after Ctrl-C, 128 and the number of the signal, as shells have it.
INTERRUPTED = 128 + signal.SIGINT
#: The exit code when nobody reads the output any more: 128 and SIGPIPE, which other programs end by.
READER_GONE = 128 + 13
#: Signals beside Ctrl-C that ask a program to end: from a scheduler or `kill`, and from a closed terminal.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Inside, SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does; the list says which of them came.

    A signal that somebody else handles, or that is ignored (as under nohup), stays so.
    """
    received: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    # Python lets nobody but the main thread handle signals.
    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in ENDING if main and signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, interrupt)
        yield received
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def lenient_output() -> Iterator[None]:
    r"""Inside, no name is too strange to print, and no message to standard error ends the program.

    What the encoding of standard output lacks is printed as \xe9. Standard error holds messages and progress
    bars, which must not end a training when their disk is full or their reader is gone. Standard output,
    which holds results, still fails then; afterwards what it could not write is dropped.
    """
    out = sys.stdout
    errors = out.errors if isinstance(out, io.TextIOWrapper) else None
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")
    try:
        with redirect_stderr(cast(TextIO, _Tolerant(sys.stderr))):
            yield
    finally:
        for stream in (out, sys.stderr):
            _settle(stream)
        if isinstance(out, io.TextIOWrapper) and not out.closed:
            out.reconfigure(errors=errors)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Inside, a warning of minigan is a line without the place in the program that it comes from.

    Pillow does not warn of images that are large, since it refuses those that are too large.
    """
    usual = warnings.formatwarning

    def plain(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
        ours = category is UserWarning
        return f"minigan: {message}\n" if ours else usual(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Image size .* exceeds limit")
        warnings.formatwarning = plain
        try:
            yield
        finally:
            warnings.formatwarning = usual


@contextmanager
def quiet(on: bool) -> Iterator[None]:
    """Inside, if `on`, messages, warnings and progress bars go nowhere; standard output stays.

    `sys.stderr.loud` is then the stream that results go to if they can go nowhere else.
    """
    if not on:
        yield
        return
    muted = _Tolerant(None)
    muted.loud = sys.stderr
    with redirect_stderr(cast(TextIO, muted)):
        yield


class _Tolerant:
    """A text stream whose writes cannot fail; they go nowhere if it is not there (None)."""

    loud: TextIO

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if self._stream is not None:
            with suppress(OSError, ValueError):  # ValueError: the stream is closed
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(io.StringIO() if self._stream is None else self._stream, name)


def _settle(stream: TextIO | None) -> None:
    """Write what is left in the buffer of a stream, or give it up for good.

    Python would try once more at its end, complain, and change the exit code.
    """
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
