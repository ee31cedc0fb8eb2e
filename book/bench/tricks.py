"""What single tricks give, how large sets are scored, and how long minigan takes to start."""

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import joblib
import numpy as np
import torch
from PIL import Image

from bench.papers import images, started, stepper
from bench.stopwatch import interleaved, own_memory, row
from minigan import MemAE, blocks, experiments, registry
from minigan.experiments.sweep import dask_client
from minigan.image_files import open_upright, resized
from minigan.torch_state import usual_modes

#: Networks for the tricks of a step: Y-GAN, which has the most passes, on 32 pixels at half its width.
METHOD, SHAPE, SETTINGS, BATCH = "YGAN", (1, 32, 32), {"width": 32}, 64
#: Sizes of sets that lie in a file mapped into memory, the first in a quick run, and their images' side.
SCALES, SIDE = (1_000, 10_000, 100_000, 1_000_000), 32
#: A sweep's backends of joblib and numbers of workers, by what the measurement is called.
WORKERS = {"one": (None, 1), "two processes": ("loky", 2), "two dask workers": ("dask", 2)}
#: A photograph of 12 megapixels, and the side it is read at.
PHOTOGRAPH, READ = (4000, 3000), 224


def tricks(repetitions: int) -> Iterator[dict[str, Any]]:
    """Each trick and its opposite in turns: how many times faster a training step is with it."""
    with usual_modes():
        for name, with_it, without, clock in _pairs():
            for step in (with_it, without):
                step()  # Adam's averages, and the choice of kernels
            seconds = interleaved({"with": with_it, "without": without}, repetitions, clock)
            yield row("tricks", name, "", "times faster", seconds["without"] / seconds["with"])
        small, large = _step(16), _step(BATCH)
        small(), large()
        seconds = interleaved({"16": small, "64": large}, repetitions)
        ratio = (seconds["16"] / 16) / (seconds["64"] / BATCH)  # per image
        yield row("tricks", f"batches of {BATCH}, not 16", "", "times faster", ratio)
        yield from _photographs(repetitions)


def _step(batch: int = BATCH, **settings: Any) -> Callable[[], Any]:
    return stepper(started(METHOD, SHAPE, **SETTINGS | settings), batch)


def _pairs() -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any], Callable[[], float]]]:
    """Name, the step with a trick, the step without it, and the clock."""
    cpu, plain = time.process_time, _step()
    with mock.patch.object(blocks, "adam", _plain_adam):
        in_many = _step()
    yield "Adam in one kernel", plain, in_many, cpu

    def trains_all() -> None:  # gradients of weights that are thrown away
        with mock.patch.object(blocks, "frozen", lambda *_: nullcontext()):
            plain()

    yield "no gradients for frozen weights", plain, trains_all, cpu

    def in_bf16() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            plain()

    yield "bf16", in_bf16, plain, cpu
    yield "channels last", _channels_last(), plain, cpu

    def with_threads(n: int) -> Callable[[], None]:
        def run() -> None:
            before = torch.get_num_threads()
            torch.set_num_threads(n)
            plain()
            torch.set_num_threads(before)

        return run

    yield "two threads, by the clock on the wall", with_threads(2), with_threads(1), time.perf_counter


def _plain_adam(parameters: Any, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=lr, betas=betas, foreach=False, fused=False)


def _channels_last() -> Callable[[], Any]:
    """A step whose images and weights lie in memory with the channels last."""
    detector = started(METHOD, SHAPE, **SETTINGS)
    for network in detector._networks().values():
        network.to(memory_format=torch.channels_last)
    usual = stepper(detector, BATCH)
    training_step = detector.training_step

    def step(x: torch.Tensor, y: Any) -> Any:
        return training_step(x.to(memory_format=torch.channels_last), y)

    detector.training_step = step  # type: ignore[method-assign]
    return usual


def _photographs(repetitions: int) -> Iterator[dict[str, Any]]:
    """Reading a JPEG at a smaller size: Pillow can decode it so, but the pixels are others."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (600, 800, 3), dtype=np.uint8))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "photograph.jpg"
        small.resize(PHOTOGRAPH, Image.Resampling.BICUBIC).save(path, quality=90)

        def whole() -> np.ndarray:
            return np.asarray(resized(open_upright(path), READ))

        def draft() -> np.ndarray:
            with Image.open(path) as image:
                image.draft("RGB", (2 * READ, 2 * READ))
                return np.asarray(resized(image.convert("RGB"), READ))

        seconds = interleaved({"whole": whole, "draft": draft}, repetitions)
        apart = np.abs(whole().astype(float) - draft()).max()
    yield row("tricks", "JPEG decoded small", "", "times faster", seconds["whole"] / seconds["draft"])
    yield row("tricks", "JPEG decoded small", "", "largest difference in grey levels", apart)
    yield row("tricks", "JPEG decoded small", "", "ms per photograph", 1000 * seconds["whole"])


# ---------------------------------------------------------------------- large sets


def scale(repetitions: int) -> Iterator[dict[str, Any]]:
    """Learning and scoring from a file mapped into memory: microseconds per image, memory beyond the file."""
    with usual_modes(), warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        for n in SCALES if repetitions > 1 else SCALES[:1]:
            path = Path(folder) / f"{n}.npy"
            file = np.lib.format.open_memmap(path, "w+", np.uint8, (n, SIDE, SIDE))
            for start in range(0, n, 1000):
                file[start : start + 1000] = images((1, SIDE, SIDE), min(1000, n - start))[:, 0].numpy()
            file.flush()
            mapped = np.load(path, mmap_mode="r")
            detector = MemAE(width=4, epochs=1, device="cpu", progress=False)
            for variant in ("learning", "scoring"):
                before = own_memory()
                began = time.process_time()
                if variant == "learning":  # with validation images nothing is held out, so nothing is copied
                    detector.fit(mapped, validation=(mapped[:256], None))
                else:
                    detector.anomaly_score(mapped)
                each = (time.process_time() - began) / n
                yield row("scale", f"{n}", variant, "microseconds per image", 1e6 * each)
                yield row("scale", f"{n}", variant, "MB more than before", own_memory() - before)
            del file, mapped
            path.unlink()


def workers(repetitions: int) -> Iterator[dict[str, Any]]:
    """The same runs by one worker and by two, joblib's processes and dask's: how many times faster."""
    seconds: dict[str, list[float]] = {}
    for turn in range(min(repetitions, 2)):
        for name in list(WORKERS)[:: 1 if turn % 2 == 0 else -1]:
            seconds.setdefault(name, []).append(_sweep(*WORKERS[name]))
    alone = np.array(seconds["one"])
    for name, times in seconds.items():
        if name != "one":
            yield row("workers", name, "", "times faster", alone / np.array(times))


def _sweep(backend: str | None, jobs: int) -> float:
    """Seconds on the wall of the runs of a small table, whose workers have started already."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        if backend == "dask":
            stack.enter_context(dask_client(workers=jobs))
        if backend is not None:
            stack.enter_context(joblib.parallel_config(backend=backend, n_jobs=jobs))
            # A process that starts imports torch, which is paid once in a sweep of hours.
            joblib.Parallel()(joblib.delayed(registry.get)("MemAE") for _ in range(8 * jobs))
        began = time.perf_counter()
        experiments.reproduce("family-digits", methods=["MemAE"], seeds=[0], folder=folder)
        return time.perf_counter() - began


# ---------------------------------------------------------------------- starting


def imports(repetitions: int) -> Iterator[dict[str, Any]]:
    """CPU seconds of new processes that import minigan, show its help, or list data sets."""
    commands = {
        "python": ["-c", "pass"],
        "import minigan": ["-c", "import minigan"],
        "minigan --help": ["-m", "minigan", "--help"],
        "minigan datasets": ["-m", "minigan", "datasets"],
        "import torch": ["-c", "import torch"],
    }
    clock: Callable[[], float] = lambda: sum(os.times()[2:4])  # noqa: E731 (of children)
    functions = {name: _new_process(arguments) for name, arguments in commands.items()}
    for name, seconds in interleaved(functions, repetitions, clock).items():
        yield row("imports", name, "", "seconds", seconds)


def _new_process(arguments: list[str]) -> Callable[[], Any]:
    command = [sys.executable, *arguments]
    return lambda: subprocess.run(command, check=True, capture_output=True)
