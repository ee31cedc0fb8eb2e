"""The training loop: base class of all detectors that are made of PyTorch networks.

`NeuralDetector` adds to the contract (`minigan.detector`) what networks need: a device, epochs, batches, one
progress bar, the weights of the last epoch and of the best validation epoch. It never decides what trains
what. A method in its own file writes:

    build(image_shape)        networks and optimisers, as attributes
    training_step(x, y)       the paper's algorithm on one batch; returns its named losses
    score_step(x)             the paper's anomaly score of one batch, (n,)
    reconstruct(x), sample(n), anomaly_map(x)                    where the paper has them
    start_epoch(), fit_statistics(x, y), batches(n, y), training_data(x), training_labels(x, y)
                              where its training is more than a pass over images in random batches
    norm_pass(x)              the passes of its score, where the score is a search or takes many more
    branch(), live(value)     what it decides and computes in Python, for a GPU that replays recorded steps
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from minigan import blocks, captured, metrics
from minigan.checks import is_whole_number, require
from minigan.images import to_float
from minigan.inputs import Validation
from minigan.networks import NetworkHolder, Weights
from minigan.saliency import gradient_map
from minigan.torch_state import between, pick_device, seeded, usual_modes
from minigan.turns import own_stream, run_to_the_end

#: Part of the newest epoch in the running average of weights.
AVERAGE_RATE = 0.1
#: Batches in which batch norm collects its statistics for the averaged weights; one epoch, if that is less.
NORM_BATCHES = 30


@dataclass(kw_only=True, eq=False, repr=False)
class NeuralDetector(NetworkHolder):
    """Base class of detectors made of networks. Subclasses write `build`, `training_step` and `score_step`.

    Attributes after `fit`, beside those of `Detector`:
        interrupted_: True when Ctrl-C ended the training before its last epoch.
        best_validation_epoch_: the epoch with the best AUROC on validation images of both kinds, if any.
    """

    #: Passes over the training images.
    epochs: int = 100
    #: Images per training step.
    batch_size: int = 64
    #: "cpu", "cuda", "cuda:1", "mps", or "auto": cuda when there is one, else the CPU.
    device: str | torch.device = "auto"
    #: Epochs from one validation to the next, when there are validation images of both kinds.
    validate_every: int = 8
    #: Epochs, counted from the last one back, whose weights stay in memory after `fit` for `use_weights`.
    keep_epochs: int = 1
    #: Show one progress bar while fitting.
    progress: bool = True

    #: Which networks the gradient of each named loss reaches. The contract tests check it.
    gradient_flow: ClassVar[dict[str, set[str]]] = {}
    #: Standard deviation of each network's initial weights, or "pytorch" for its default. The contract tests
    #: check it.
    init_std: ClassVar[dict[str, float | str]] = {}
    #: Images per scoring call; only speed and memory depend on it.
    score_batch_size: ClassVar[int] = 256

    # ------------------------------------------------------------------ what a method writes

    def build(self, image_shape: tuple[int, ...]) -> None:
        """Make networks and optimisers for images of this shape, as attributes of self.

        What `save` is to keep must be a parameter or a buffer of a network. `load` first builds on torch's
        "meta" device, to compare shapes before memory is taken: no `.item()`, no file and no `rng_` here.
        """
        raise NotImplementedError

    def start_epoch(self) -> None:
        """Called before each epoch; `epoch_` (from 1), `steps_per_epoch_` and `batch_size_` are set."""

    def batches(self, n: int, y: Tensor | None) -> Sequence[Tensor]:
        """One epoch's batches, as indices of the n training items: each item once, in random order.

        An incomplete last batch is left out; its images come again with the next shuffle. A method that
        composes its batches otherwise replaces this (and does not use `steps_per_epoch_`); y (n,) are the
        labels.
        """
        order = torch.randperm(n, generator=self.rng_, device=self.device_)
        return order.split(self.batch_size_)[: n // self.batch_size_]

    def training_step(self, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        """One step on one batch, x (n, c, h, w) in [-1, 1]; returns the named losses, with their graphs.

        `epoch_` (from 1), `step_` (from 0 within the epoch) and `rng_` (all randomness) are set.
        """
        raise NotImplementedError

    def branch(self) -> Hashable | None:
        """What `training_step` decides in Python by anything but its hyperparameters; () for nothing.

        On a GPU, a step that comes again and again is recorded and replayed without Python (`captured`), once
        for each value of this. None, the default, says that the step must not be recorded. It must not be
        where it reads a tensor, as `.item()` does, or uses a boolean one as an index.
        """
        return None

    def live(self, value: Callable[[], float | Tensor]) -> Any:
        """`value()`, for what `training_step` takes from Python and what differs from step to step.

        In a recorded step it is a tensor that `value` fills before each replay. So `value` is called once in
        a step, or before it, draws no random numbers, and gives a number or a tensor of the same shape.
        """
        given = self.__dict__.get("_live")  # by `captured`, while it records a step
        return value() if given is None else given(value)

    def fit_statistics(self, x: Tensor, y: Tensor | None) -> None:
        """Fit what a score needs beside trained weights, such as prototypes, to the training images.

        Called at the end of each epoch, and once more for the running average of the weights. x are all
        training items as `training_data` returned them, on the device; networks are in evaluation mode and no
        gradients are kept. What it learns must go into buffers of a network.
        """

    def end_epoch(self, x: Tensor, y: Tensor | None) -> None:
        """Called after each epoch, before its weights are kept; it calls `fit_statistics`."""
        self.fit_statistics(x, y)

    def score_step(self, x: Tensor) -> Tensor:
        """Scores of one batch, higher = more anomalous, (n, c, h, w) -> (n,).

        Networks are in evaluation mode and no gradients are kept.
        """
        raise NotImplementedError

    def norm_pass(self, x: Tensor) -> object:
        """A pass of one batch of training images through the batch norms that the score passes.

        From such passes the batch norms of averaged weights collect their statistics. A method whose score is
        a search, or costs far more than a pass, replaces it.
        """
        return self.score_step(x)

    def training_data(self, x: Tensor) -> Tensor:
        """The items that batches are drawn from, the images themselves; a method on features replaces it."""
        return x

    def training_labels(self, x: Tensor, y: Tensor | None) -> Tensor | None:
        """The labels that `training_step` gets; called before `build`, with the training images."""
        return y

    # ------------------------------------------------------------------ the loop

    def fit_in_steps(
        self, images: Any, labels: Any = None, validation: tuple[Any, Any] | None = None
    ) -> Iterator[None]:
        """`fit` as a generator that pauses after each training step, so that trainings can take turns.

        The caller is inside `torch_state.usual_modes` and, on a GPU, in a stream of this training's own.
        """
        x, y, held_out = self._begin(images, labels, validation)
        yield from self._steps(x, y, held_out)
        self._end(held_out, warns=validation is None)

    def _fit(self, x: Tensor, y: Tensor | None, validation: Validation) -> None:
        with own_stream(pick_device(self.device)):
            run_to_the_end(self._steps(x, y, validation))

    def _steps(self, x: Tensor, y: Tensor | None, validation: Validation) -> Generator[None, None, None]:
        """The whole training; where its steps turn out not to be capturable, begin anew without that."""
        try:
            yield from self._train(x, y, validation, captured.step_of)
            return
        except captured.Refused as refusal:
            captured.say_once(type(self).__name__, str(refusal))
        yield from self._train(x, y, validation, captured.Step)

    def _train(
        self, x: Tensor, y: Tensor | None, validation: Validation, make_step: Callable[..., captured.Step]
    ) -> Iterator[None]:
        held_out, held_out_labels = validation
        validates = len(np.unique(held_out_labels)) == 2
        images = x
        with seeded(self.seed):
            y = self.training_labels(x, y)
            self._start(self.image_shape_)
            # The whole set is on the device, as uint8 where it was so; batches become float one by one.
            x = self.training_data(x).to(self.device_)
        if y is not None:
            y = y.repeat_interleave(len(x) // len(images)).to(self.device_)
        self.batch_size_ = min(self.batch_size, len(x))
        self.steps_per_epoch_ = len(x) // self.batch_size_
        rows: list[dict[str, float]] = []
        self._weights_: dict[str | int, Weights] = {}  # copies, for `use_weights`
        self.interrupted_ = False
        keeper = getattr(self, "_keeper", None)  # `resuming.kept_in`
        if keeper is not None:
            rows = keeper.begin(self, x, y, validation)
        step = make_step(self, x, y)
        bar = tqdm(
            range(len(rows) + 1, self.epochs + 1),
            type(self).__name__,
            self.epochs,
            initial=len(rows),
            disable=not self.progress,
            unit="epoch",
        )
        try:
            for self.epoch_ in bar:
                row = yield from self._train_epoch(step)
                weights = self._epoch_weights()
                rows.append(row)
                self._weights_ |= weights  # from here on an interruption keeps this epoch
                self._weights_.pop(self.epoch_ - self.keep_epochs, None)
                losses = {k: f"{v:.3f}" for k, v in row.items() if k not in ("epoch", "seconds")}
                bar.set_postfix(losses, refresh=False)
                if validates and (self.epoch_ % self.validate_every == 0 or self.epoch_ == self.epochs):
                    self._validate(rows, held_out, held_out_labels)
                if keeper is not None:
                    keeper.after_epoch(self, rows)
        except KeyboardInterrupt:
            if not rows:
                raise  # nothing was learned yet
            self.interrupted_ = True
            warnings.warn(
                f"interrupted in epoch {self.epoch_}: the weights are those after epoch {len(rows)}",
                stacklevel=6,
            )
        self.history_ = pd.DataFrame(rows).set_index("epoch")
        self._finish_average(images, x, y)
        self.use_weights("last")
        if keeper is not None and not self.interrupted_:
            keeper.end()

    def _train_epoch(self, step: captured.Step) -> Generator[None, None, dict[str, float]]:
        """One pass over the training items; returns a row of `history_`: the mean of each loss, the time."""
        began = time.perf_counter()
        self._set_mode(training=True)
        self.start_epoch()
        batches = self.batches(len(step.x), step.y)
        tell = getattr(self, "_on_step", None)  # the command line listens, to say how long training takes
        for self.step_, chosen in enumerate(batches):
            step(chosen)
            if tell is not None:
                tell(len(batches))
            yield
        means = step.means(len(batches))
        self._check_losses(means)
        self._set_mode(training=False)
        with torch.no_grad():
            self.end_epoch(step.x, step.y)
        return {"epoch": self.epoch_, **means, "seconds": time.perf_counter() - began}

    def _finish_average(self, images: Tensor, x: Tensor, y: Tensor | None) -> None:
        """Fit to the averaged weights what training, or `fit_statistics`, fits to those of every epoch."""
        self.use_weights("average")
        with torch.no_grad():
            for network in self._networks().values():
                blocks.settle_spectral_norm_(network)
            self._collect_norms(images)
            self.fit_statistics(x, y)
        self._weights_["average"] = self._copy_weights()

    def _collect_norms(self, images: Tensor) -> None:
        """Collect batch norm's running statistics anew: averaged ones do not fit averaged weights."""
        networks = self._networks().values()
        if not any(isinstance(module, nn.BatchNorm2d) for net in networks for module in net.modules()):
            return
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(int(self.seed)))
        size = min(self.batch_size_, len(images))  # an incomplete batch would count as much as a whole one
        with blocks.collecting_statistics(*networks):
            for chosen in order[: len(images) // size * size].split(size)[:NORM_BATCHES]:
                self.norm_pass(to_float(images[chosen], self.device_))

    def _validate(self, rows: list[dict[str, float]], held_out: Tensor, labels: np.ndarray) -> None:
        """Note the validation AUROC in the last row of `history_`; keep the weights if it is the best."""
        auroc = metrics.auroc(labels, self._scores(held_out))
        if auroc > max((row["auroc"] for row in rows if "auroc" in row), default=-np.inf):
            self.best_validation_epoch_ = self.epoch_
            self._weights_["best_validation"] = self._weights_["last"]
        rows[-1]["auroc"] = auroc

    def use_weights(self, which: Literal["last", "average", "best_validation"] | int) -> Self:
        """Switch between the weights of the last epoch, a running average, and those of chosen epochs.

        Args:
            which: "last"; "average", the running average of the weights after each epoch, which smooths what
                changes from one epoch to the next and needs no labels. Its batch norms collect their
                statistics anew from training images (`norm_pass`). "best_validation", the epoch with the
                best AUROC on validation images, for which `fit` needs some of both kinds; or one of the last
                `keep_epochs` epochs by its number.

        "best_validation" is chosen on anomalous images, as some papers do: report it only beside "last".
        All are in memory after `fit`; `save` keeps the ones in use. The threshold stays as it is: call
        `calibrate` again. Raises ValueError for weights that are not in memory.
        """
        weights = getattr(self, "_weights_", {})
        require(
            which in weights,
            f"expected weights out of {', '.join(map(repr, weights)) or 'none'}, got {which!r}; "
            "'best_validation' needs validation images of both kinds in fit, an epoch must be among the last "
            "keep_epochs, and a checkpoint holds only the weights that were in use",
        )
        for name, network in self._networks().items():
            network.load_state_dict(weights[which][name])
        self._set_mode(training=False)
        return self

    def _start(self, image_shape: tuple[int, ...]) -> None:
        """Device, randomness and networks: the state before the first step."""
        self.device_ = pick_device(self.device)
        self.rng_ = torch.Generator(self.device_).manual_seed(int(self.seed))
        with seeded(self.seed):
            self.build(image_shape)
        self._set_mode(training=False)

    # ------------------------------------------------------------------ using it

    def map_batches(self, function: Callable[[Tensor], Tensor], images: Any) -> np.ndarray:
        """Apply `function` to all images, a few hundred at a time; `reconstruct` and others are built on it.

        `function` takes (m, c, h, w) in [-1, 1] and returns m rows; networks are in evaluation mode and no
        gradients are kept. Raises NotFittedError before `fit`, ValueError for images of another shape.
        """
        self._check_fitted()
        return self._map_batches(function, self._like_training(images)).numpy()

    def anomaly_map(self, images: Any) -> np.ndarray:
        """Where images are anomalous, (n, h, w) float32 from 0 on, higher = more anomalous.

        |x - x_hat|, averaged over the channels, for methods that reconstruct; else `saliency.gradient_map`.
        """
        if not hasattr(self, "reconstruct"):
            return gradient_map(self, images)
        x = to_float(self._like_training(images))
        return (x - torch.from_numpy(self.reconstruct(images))).abs().mean(1).numpy()

    def _map_batches(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        self._set_mode(training=False)  # or a result would depend on its batch
        with usual_modes(), torch.inference_mode():
            parts = [function(to_float(part, self.device_)).cpu() for part in x.split(self.score_batch_size)]
        return torch.cat(parts)

    def _scores(self, x: Tensor) -> np.ndarray:
        return self._map_batches(self.score_step, x).double().numpy()

    def draw_latents(self, n: int, d: int, seed: int) -> Tensor:
        """z ~ N(0, I) for `sample`, (n, d): the same numbers on every device, so drawn on the CPU."""
        self._check_fitted()
        for name, value in (("n", n), ("seed", seed)):
            good = is_whole_number(value) and value >= 0
            require(good, f"expected {name} to be a whole number of at least 0, got {value!r}")
        generator = torch.Generator().manual_seed(int(seed))
        z = torch.randn(n, d, generator=generator, dtype=torch.float32, device="cpu")
        return z.to(self.device_)

    # ------------------------------------------------------------------ inside

    def _epoch_weights(self) -> dict[str | int, Weights]:
        """What `_weights_` notes after an epoch: its weights, and the running average up to it."""
        weights = self._copy_weights()
        before = self._weights_.get("average", weights)
        # At first every epoch counts the same, later each for a tenth less than the next one.
        new = max(AVERAGE_RATE, 1 / self.epoch_)
        average = {
            name: {key: between(before[name][key], value, new) for key, value in state.items()}
            for name, state in weights.items()
        }
        return {self.epoch_: weights, "last": weights, "average": average}

    def _check_losses(self, means: dict[str, float]) -> None:
        for name, value in means.items():
            if not np.isfinite(value):
                earlier = f", or look at the losses before it with epochs={self.epoch_ - 1}"
                raise FloatingPointError(
                    f"expected finite losses, got {name} = {value} in epoch {self.epoch_}; try a smaller "
                    f"learning rate{earlier if self.epoch_ > 1 else ''}"
                )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(1, "epochs", "batch_size", "validate_every", "keep_epochs")
        # What nearly every method has under these names, and always with the same meaning.
        names = {field.name for field in dataclasses.fields(self)}
        self._check_at_least(1, *sorted(names & {"z_dim", "width", "max_width"}))
        self._check_at_least(0, *sorted(name for name in names if name == "lr" or name.startswith("lr_")))
        if "betas" in names:
            betas = self.betas
            good = all(0 <= beta < 1 for beta in betas)
            require(good, f"expected betas to be two numbers from 0 to below 1, got {betas!r}")
