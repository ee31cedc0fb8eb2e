"""Shortens a chapter while it is tested: `make test` gives IPython this folder (IPYTHONDIR).

Every cell still runs, and every epoch, but of an epoch's batches only the fraction MINIGAN_TEST_BATCHES (at
least one) is trained on, and of a flip book only every fifth picture is drawn. `make execute` runs the
chapters in full.
"""

import math
import os
import sys

DRAWN = 5
FRACTION = float(os.environ.get("MINIGAN_TEST_BATCHES", "1"))


def draw_fewer(*_: object) -> None:
    """Let a flip book that gets a function repeat each of its pictures, once a cell has imported it."""
    flipbook = sys.modules.get("minigan.flipbook")
    if flipbook is None or not hasattr(flipbook, "_pictures"):
        return
    get_ipython().events.unregister("post_run_cell", draw_fewer)  # noqa: F821
    full = flipbook._pictures

    def pictures(frames, positions, *more):
        if not callable(frames):
            return full(frames, positions, *more)
        drawn, size = full(frames, positions[::DRAWN], *more)
        return [drawn[i // DRAWN] for i in range(len(positions))], size

    flipbook._pictures = pictures


def shorten(*_: object) -> None:
    """Shorten `NeuralDetector`, once a cell has imported it: importing torch here would slow every page."""
    neural = sys.modules.get("minigan.neural")
    if neural is None or not hasattr(neural, "NeuralDetector"):
        return
    get_ipython().events.unregister("post_run_cell", shorten)  # noqa: F821 (IPython defines it)
    full = neural.NeuralDetector._train_epoch

    def train_epoch(self, x, y):
        batches = type(self).batches

        def some(n, y):
            chosen = batches(self, n, y)
            return chosen[: math.ceil(FRACTION * len(chosen))]

        self.batches = some
        try:
            return full(self, x, y)
        finally:
            del self.batches
            if hasattr(self, "kimg"):  # counts images, and would make up for those left out
                self.shown = round(1000 * self.kimg * self.epoch_ / self.epochs)

    neural.NeuralDetector._train_epoch = train_epoch


if FRACTION < 1:
    get_ipython().events.register("post_run_cell", shorten)  # noqa: F821
    get_ipython().events.register("post_run_cell", draw_fewer)  # noqa: F821
