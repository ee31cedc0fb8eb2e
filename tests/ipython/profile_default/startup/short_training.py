"""Shortens a chapter while it is tested: `make test` gives IPython this folder (IPYTHONDIR).

Every cell still runs, and every epoch begins and ends, but of all batches only the fraction
MINIGAN_TEST_BATCHES is trained on (where an epoch has few, some epochs have none), of a loop over N_STEPS
only every tenth step is made, of a flip book only every fifth picture is drawn, and the command line looks at
smaller photographs. Panels of sliders call their functions once. `make execute` runs the chapters in full.
"""

import dataclasses
import os
import re
import sys

DRAWN = 5
MADE = 10
SEEN = 64
FRACTION = float(os.environ.get("MINIGAN_TEST_BATCHES", "1"))


def draw_fewer(*_: object) -> None:
    """Let a flip book that gets a function repeat each of its pictures, as soon as it is imported."""
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


def see_less(*_: object) -> None:
    """Let the installed backbone take 64 instead of 224 pixels, where a chapter uses the command line."""
    if "minigan.training" not in sys.modules:
        return
    get_ipython().events.unregister("post_run_cell", see_less)  # noqa: F821
    from minigan.blocks import features

    full = features.ARCHITECTURES["efficientnet_lite0"]
    features.ARCHITECTURES["efficientnet_lite0"] = dataclasses.replace(full, size=SEEN)


def shorten(*_: object) -> None:
    """Shorten `NeuralDetector` as soon as it is imported: to import torch here would slow every page."""
    neural = sys.modules.get("minigan.neural")
    if neural is None or not hasattr(neural, "NeuralDetector"):
        return
    get_ipython().events.unregister("post_run_cell", shorten)  # noqa: F821 (IPython defines it)
    full = neural.NeuralDetector._train_epoch

    def train_epoch(self, step):
        batches = type(self).batches

        def some(n, y):
            """As many of the epoch's batches as keep the fraction up to here; in the first epoch, one."""
            chosen = batches(self, n, y)
            until = FRACTION * len(chosen) * self.epoch_
            since = FRACTION * len(chosen) * (self.epoch_ - 1)
            return chosen[: max(int(until) - int(since), int(self.epoch_ == 1))]

        self.batches = some
        try:
            row = yield from full(self, step)
        finally:
            del self.batches
            if hasattr(self, "kimg"):  # counts images, and would make up for those left out
                self.shown = round(1000 * self.kimg * self.epoch_ / self.epochs)
        # An epoch without a batch has the losses of the one before.
        self._last_row = {**getattr(self, "_last_row", {}), **row} if self.epoch_ > 1 else row
        return self._last_row

    neural.NeuralDetector._train_epoch = train_epoch


def use_panels_once() -> None:
    """Let a panel of sliders call its function with the values it begins with, so that an error is one."""
    import ipywidgets
    from ipywidgets.widgets.interaction import interactive

    def panel(**controls):
        def decorator(function):
            sliders = interactive(function, {"manual": True}, **controls)
            result = function(**{slider.description: slider.value for slider in sliders.kwargs_widgets})
            if result is not None:
                display(result)  # noqa: F821 (IPython defines it)
            return function

        return decorator

    ipywidgets.interact = ipywidgets.interact_manual = panel


def make_fewer_steps(lines: list[str]) -> list[str]:
    """A cell whose loops of N_STEPS steps make every tenth of them, the last one too."""
    found = re.compile(r"^(\s*for \w+ in range\()(?:1, N_STEPS \+ 1|N_STEPS)\):$", re.M)
    return found.sub(rf"\g<1>{MADE}, N_STEPS + 1, {MADE}):", "".join(lines)).splitlines(keepends=True)


if FRACTION < 1:
    for change in (shorten, draw_fewer, see_less):
        get_ipython().events.register("post_run_cell", change)  # noqa: F821
        change()  # kernels of `tests/warm_kernels.py` have imported it already
    get_ipython().input_transformers_cleanup.append(make_fewer_steps)  # noqa: F821
    use_panels_once()
