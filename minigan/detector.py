"""The contract that every detector keeps, and the loop that trains the neural ones.

A detector is a scikit-learn estimator. Its hyperparameters are dataclass fields, one line each with the
reason beside it; `fit` learns from normal images; `anomaly_score` gives one number per image, higher =
more anomalous, that never depends on the other images of the call.

`Detector` is the contract. `NeuralDetector` adds what networks need: a device, epochs, one progress bar.
A method in its own file writes only what is its own:

    build(image_shape)        networks and optimisers, as attributes
    training_step(x, y)       the paper's algorithm on one batch; returns its named losses
    start_epoch(), end_epoch(x, y), batches(n, y), training_data(x), training_labels(x, y)
                              where its training differs from one pass after another over images in batches
    score(x)                  the paper's score of one batch, (n,)
    reconstruct(x), anomaly_map(x), sample(n)      where the paper has them
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn
from tqdm.auto import tqdm

from minigan import checkpoint, metrics
from minigan.images import as_tensor, to_float, warn_if_unit_range


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global randomness starts at `seed` inside and is put back outside."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@dataclass(kw_only=True, eq=False, repr=False)
class Detector(OutlierMixin, BaseEstimator):
    """What all detectors have in common. Subclasses write `_fit`, `_scores`, `_state` and `_restore`.

    Attributes after `fit`:
        image_shape_: (c, h, w) of the training images, or (d,) for vectors.
        threshold_: images scoring above it are called anomalous. `offset_` is minus it, scikit-learn's name.
        classes_: the labels that were trained on, ascending, for methods to which they mean classes.
        history_: pandas DataFrame, one row per epoch (empty for detectors without epochs).
    """

    #: Share of *normal* images that may be called anomalous. The threshold is this quantile of the scores of
    #: held-out normal images; it changes `predict`, never the scores.
    contamination: float = 0.05
    #: Share of the training images held out for the threshold when `fit` is given no validation images.
    holdout: float = 0.1
    #: Resize every image to this many pixels square; None takes them as they come.
    image_size: int | None = None
    #: The same seed on the same machine gives the same scores, on the CPU to the last bit.
    seed: int = 0

    #: What the labels given to `fit` mean: "ignored", "anomalies" (0 / 1), or "classes" of the normal images.
    label_meaning: ClassVar[Literal["ignored", "anomalies", "classes"]] = "ignored"
    #: Which inputs make sense: "images", "vectors", or both.
    takes: ClassVar[tuple[str, ...]] = ("images",)

    # ------------------------------------------------------------------ learning

    def fit(self, images: Any, labels: Any = None, validation: tuple[Any, Any] | None = None) -> Self:
        """Learn from training images.

        Args:
            images: (n, h, w), (n, h, w, c) or (n, c, h, w), uint8 [0, 255] or float [-1, 1]; a folder; or
                (n, d) vectors for methods that take them. Normal images, unless the method says otherwise.
            labels: (n,) integers for methods that use them (see `label_meaning`), else ignored, as in
                scikit-learn.
            validation: (images, labels) not trained on; labels 0 normal, 1 anomalous, or None for "all
                normal". Its normal images set the threshold. If both kinds are present, neural detectors
                also record the AUROC on it. Without it, `holdout` of the training images is kept aside.

        Raises:
            TypeError, ValueError, FileNotFoundError: one sentence on what is wrong with the input.
        """
        self._check_parameters()
        x = self._tensor(images)
        if len(x) < 2:
            raise ValueError(f"cannot learn from {len(x)} image; pass at least 2, better 100 or more")
        y = None if labels is None else _check_labels(labels, len(x))
        if y is not None and self.label_meaning == "anomalies":
            require(
                bool(((y == 0) | (y == 1)).all() and (y == 0).any()),
                "labels must be 0 (normal) or 1 (anomalous), with normal images among them",
            )
        self._forget()
        self._warn_about(x)
        self.image_shape_ = tuple(x.shape[1:])
        if validation is not None:
            held, held_labels = self._check_validation(validation)
        else:
            x, y, held = self._hold_out(x, y)
            held_labels = np.zeros(len(held), dtype=np.int64)
        with seeded(self.seed):
            self._fit(x, None if self.label_meaning == "ignored" else y, (held, held_labels))
        if (held_labels == 0).any():
            self.calibrate(held[torch.from_numpy(held_labels == 0)])
        return self

    def calibrate(self, normal_images: Any) -> Self:
        """Set the threshold so that the share `contamination` of these normal images lies above it.

        `fit` does this with its held-out images; do it again after changing `contamination`.
        """
        self.threshold_ = float(np.quantile(self.anomaly_score(normal_images), 1 - self.contamination))
        return self

    # ------------------------------------------------------------------ using what was learned

    def anomaly_score(self, images: Any) -> np.ndarray:
        """One score per image, (n,) float64; higher = more anomalous.

        Raw (no scaling to [0, 1], which would need other images) and independent of the batch.
        """
        self._check_fitted()
        scores = self._scores(self._like_training(images))
        if not np.isfinite(scores).all():
            raise FloatingPointError(
                f"{(~np.isfinite(scores)).sum()} of {len(scores)} scores are not finite; "
                "the detector did not train properly, look at history_"
            )
        return scores

    def score_samples(self, images: Any) -> np.ndarray:
        """Minus the anomaly score (scikit-learn's direction: higher = more normal), (n,)."""
        return -self.anomaly_score(images)

    def decision_function(self, images: Any) -> np.ndarray:
        """`threshold_` minus the anomaly score, (n,): negative = anomalous."""
        offset = self.offset_  # first, because it may be missing, and scoring takes time
        return self.score_samples(images) - offset

    def predict(self, images: Any) -> np.ndarray:
        """+1 for normal, -1 for anomalous images, (n,) int64, as scikit-learn's outlier detectors."""
        return np.where(self.decision_function(images) < 0, -1, 1)

    @property
    def offset_(self) -> float:
        """Minus the threshold: decision_function = score_samples - offset_."""
        self._check_fitted()
        if not hasattr(self, "threshold_"):
            raise NotFittedError(
                "there is no threshold, because no image was held out; call calibrate(normal_images) first"
            )
        return -self.threshold_

    # ------------------------------------------------------------------ keeping it

    def save(self, path: str | Path) -> None:
        """Write everything that `load` needs into one safetensors file (numbers and JSON, no code)."""
        self._check_fitted()
        header = {
            "class": type(self).__name__,
            "parameters": self.get_params(deep=False),
            "image_shape": list(self.image_shape_),
            "classes": self.classes_.tolist() if hasattr(self, "classes_") else None,
            "threshold": getattr(self, "threshold_", None),
            "history": self.history_.reset_index().to_dict(orient="list") if len(self.history_) else {},
        }
        checkpoint.write(path, header, self._state())

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Self:
        """Read a detector written by `save`. `device` is where it shall live; ignored without networks.

        Raises:
            FileNotFoundError, ValueError: one sentence on what is wrong with the file.
        """
        header, tensors = checkpoint.read(path)
        if header["class"] != cls.__name__:
            raise ValueError(
                f"{str(path)!r} was saved by {header['class']}, not by {cls.__name__}; use minigan.load"
            )
        try:
            names = {field.name for field in dataclasses.fields(cls)}
            parameters = {k: tuple(v) if isinstance(v, list) else v for k, v in header["parameters"].items()}
            detector = cls(**parameters | ({"device": device} if "device" in names else {}))
            detector._check_parameters()
            detector.image_shape_ = tuple(header["image_shape"])
            history = pd.DataFrame(header["history"])
            detector.history_ = history.set_index("epoch") if len(history) else history
            if header.get("classes") is not None:
                detector.classes_ = np.array(header["classes"], dtype=np.int64)
                require(detector.classes_.ndim == 1, "its classes are not a list of whole numbers")
            detector._restore(tensors)
            if header["threshold"] is not None:
                detector.threshold_ = float(header["threshold"])
                require(np.isfinite(detector.threshold_), "its threshold is not a finite number")
        except (
            LookupError,
            TypeError,
            ValueError,
            RuntimeError,
            AttributeError,
            ArithmeticError,
            MemoryError,
        ) as error:
            raise ValueError(f"{str(path)!r} does not describe a working {cls.__name__}: {error}") from error
        return detector

    # ------------------------------------------------------------------ for subclasses

    def _fit(self, x: Tensor, y: Tensor | None, validation: tuple[Tensor, np.ndarray]) -> None:
        """Learn from x, (n, c, h, w) uint8 / float or (n, d); set `history_`."""
        raise NotImplementedError

    def _scores(self, x: Tensor) -> np.ndarray:
        """Scores of checked images, (n,) float64."""
        raise NotImplementedError

    def _state(self) -> dict[str, Tensor]:
        """The tensors to save."""
        raise NotImplementedError

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        """Become fitted again from saved tensors; parameters and `image_shape_` are set already."""
        raise NotImplementedError

    def _check_parameters(self) -> None:
        """Refuse hyperparameters that cannot work, before anything is trained."""
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), field.type)
        require(0 <= self.seed < 2**32, f"seed must be at least 0 and below 2**32, got {self.seed}")
        require(
            0 < self.contamination < 1,
            f"contamination must lie between 0 and 1, got {self.contamination}",
        )
        require(0 <= self.holdout < 1, f"holdout must be at least 0 and below 1, got {self.holdout}")
        size = self.image_size
        require(
            size is None or (_is_whole(size) and size >= 1),
            f"image_size must be None or a whole number of pixels, got {size!r}",
        )

    # ------------------------------------------------------------------ inside

    def _tensor(self, data: Any, channels: int | None = None) -> Tensor:
        x = as_tensor(data, size=self.image_size, channels=channels)
        kind = "images" if x.ndim == 4 else "vectors"
        if kind not in self.takes:
            hint = "; pass a single image as image[None]" if kind == "vectors" else ""
            raise ValueError(
                f"{type(self).__name__} takes {self.takes[0]}, got {kind} of shape {tuple(x.shape)}{hint}"
            )
        return x

    def _like_training(self, data: Any) -> Tensor:
        """`_tensor`, and of the shape that the detector was trained on."""
        channels = self.image_shape_[0] if len(self.image_shape_) == 3 else None
        x = self._tensor(data, channels)
        if tuple(x.shape[1:]) != self.image_shape_:
            raise ValueError(
                f"expected items of shape {self.image_shape_} as in training, "
                f"got {tuple(x.shape[1:])}; convert or resize them as the training images were"
            )
        return x

    def _warn_about(self, x: Tensor) -> None:
        warn_if_unit_range(x)
        if x.ndim == 4 and bool((x == x[:1]).all()):
            warnings.warn("all training images are identical; every score will be about them", stacklevel=3)

    def _check_validation(self, validation: Any) -> tuple[Tensor, np.ndarray]:
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise TypeError(
                "validation must be a pair (images, labels), where labels may be None for 'all normal', "
                f"got {type(validation).__name__}"
            )
        data, labels = validation
        held = self._like_training(data)
        if labels is None:
            return held, np.zeros(len(held), dtype=np.int64)
        labels = _check_labels(labels, len(held)).numpy()
        require(
            set(np.unique(labels)) <= {0, 1},
            "validation labels must be 0 (normal) or 1 (anomalous)",
        )
        return held, labels

    def _hold_out(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
        """Keep aside `holdout` of len(x), normal images alone, at random by the seed; 2 of these stay."""
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(int(self.seed)))
        if y is not None and self.label_meaning == "anomalies":
            order = order[y[order] == 0]
        n_held = min(max(1, round(self.holdout * len(x))), len(order) - 2) if self.holdout > 0 else 0
        held = order[: max(0, n_held)]
        kept = torch.ones(len(x), dtype=torch.bool)
        kept[held] = False
        return x[kept], None if y is None else y[kept], x[held]

    def _check_fitted(self) -> None:
        if not hasattr(self, "image_shape_") or not hasattr(self, "history_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit(images) first")

    def _forget(self) -> None:
        """Drop what an earlier `fit` left: a second one starts from nothing but the parameters."""
        parameters = {field.name for field in dataclasses.fields(self)}
        for name in set(vars(self)) - parameters:
            if not name.startswith("_") or name.endswith("_"):  # scikit-learn notes things as _name
                delattr(self, name)


@dataclass(kw_only=True, eq=False, repr=False)
class NeuralDetector(Detector):
    """A detector made of networks. Subclasses write `build`, `training_step` and `score`."""

    #: Passes over the training images.
    epochs: int = 100
    #: Images per training step.
    batch_size: int = 64
    #: "cpu", "cuda", "cuda:1", "mps", or "auto": cuda when there is one, else the CPU.
    device: str = "auto"
    #: Epochs between two looks at the validation AUROC, when there are validation images of both kinds.
    validate_every: int = 8
    #: Show one progress bar while fitting.
    progress: bool = True

    #: Which networks the gradient of each named loss reaches. The contract tests check it.
    gradient_flow: ClassVar[dict[str, set[str]]] = {}
    #: Standard deviation of each network's initial weights. The contract tests check it.
    weight_spread: ClassVar[dict[str, float]] = {}
    #: Images per scoring call; only speed and memory depend on it.
    score_batch: ClassVar[int] = 256

    # ------------------------------------------------------------------ what a method writes

    def build(self, image_shape: tuple[int, ...]) -> None:
        """Make networks and optimisers for images of this shape, as attributes of self.

        What `save` shall keep must be a parameter or a buffer of a network. `load` first builds on torch's
        "meta" device, to compare shapes before memory is taken: no `.item()`, no file and no `rng_` here.
        """
        raise NotImplementedError

    def start_epoch(self) -> None:
        """Called before each epoch; `epoch_` (from 1), `steps_per_epoch_` and `batch_size_` are set."""

    def batches(self, n: int, y: Tensor | None) -> Sequence[Tensor]:
        """One epoch's batches, as indices of the n training items: each once, in random order.

        An incomplete last batch is left out; its images come again with the next shuffle. A method that
        mixes its batches otherwise replaces this (and has no use for `steps_per_epoch_`); y (n,) are the
        labels.
        """
        order = torch.randperm(n, generator=self.rng_, device=self.device_)
        return order.split(self.batch_size_)[: n // self.batch_size_]

    def training_step(self, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
        """One step on one batch, x (n, c, h, w) in [-1, 1]; returns the named losses, with their graphs.

        `epoch_` (from 1), `step_` (from 0 within the epoch) and `rng_` (all randomness) are set.
        """
        raise NotImplementedError

    def end_epoch(self, x: Tensor, y: Tensor | None) -> None:
        """Called after each epoch, before its weights are kept: for what is fitted to training images.

        x are all training items as `training_data` returned them, on the device; networks are in eval mode
        and no gradients are kept. What it learns must go into buffers of a network.
        """

    def score(self, x: Tensor) -> Tensor:
        """Scores of one batch, (n, c, h, w) -> (n,), higher = more anomalous; networks are in eval mode."""
        raise NotImplementedError

    def training_data(self, x: Tensor) -> Tensor:
        """What the loop draws its batches from; a method that trains on features replaces it."""
        return x

    def training_labels(self, x: Tensor, y: Tensor | None) -> Tensor | None:
        """The labels that `training_step` is given; called before `build`, with the training images."""
        return y

    # ------------------------------------------------------------------ the loop

    def _fit(self, x: Tensor, y: Tensor | None, validation: tuple[Tensor, np.ndarray]) -> None:
        held, held_labels = validation
        selects = len(np.unique(held_labels)) == 2
        y = self.training_labels(x, y)
        self._start(self.image_shape_)
        # The whole set lives on the device, as uint8 where it came so; batches become float one by one.
        n_images = len(x)
        x = self.training_data(x).to(self.device_)
        if y is not None:
            y = y.repeat_interleave(len(x) // n_images).to(self.device_)
        self.batch_size_ = min(self.batch_size, len(x))
        self.steps_per_epoch_ = len(x) // self.batch_size_
        rows: list[dict[str, float]] = []
        self._weights_ = {}  # copies of the weights: "last" finished epoch, "selected" on validation
        best = -np.inf
        bar = tqdm(range(1, self.epochs + 1), type(self).__name__, disable=not self.progress, unit="epoch")
        try:
            for self.epoch_ in bar:
                began = time.perf_counter()
                self._set_mode(training=True)
                self.start_epoch()
                total: dict[str, Tensor] = {}
                batches = self.batches(len(x), y)
                for self.step_, chosen in enumerate(batches):
                    batch = to_float(x[chosen], self.device_)
                    losses = self.training_step(batch, None if y is None else y[chosen])
                    # Summed on the device, and without their graphs: no waiting inside an epoch.
                    for name, loss in losses.items():
                        total[name] = total.get(name, 0) + loss.detach()
                row = {name: float(loss) / len(batches) for name, loss in total.items()}
                self._check_losses(row)
                self._set_mode(training=False)
                with torch.no_grad():
                    self.end_epoch(x, y)
                weights = self._copy_weights()
                rows.append({"epoch": self.epoch_, **row, "seconds": time.perf_counter() - began})
                self._weights_["last"] = weights  # from here on an interruption keeps this epoch
                bar.set_postfix({name: f"{loss:.3f}" for name, loss in row.items()}, refresh=False)
                if selects and (self.epoch_ % self.validate_every == 0 or self.epoch_ == self.epochs):
                    rows[-1]["auroc"] = auroc = metrics.auroc(held_labels, self._scores(held))
                    if auroc > best:
                        best, self.selected_epoch_ = auroc, self.epoch_
                        self._weights_["selected"] = self._weights_["last"]
        except KeyboardInterrupt:
            if "last" not in self._weights_:
                raise  # nothing was learned yet
            warnings.warn(
                f"interrupted in epoch {self.epoch_}: the weights are those after epoch {len(rows)}",
                stacklevel=3,
            )
        self.history_ = pd.DataFrame(rows).set_index("epoch")
        self.use("last")

    def use(self, which: Literal["last", "selected"]) -> Self:
        """Switch between the weights of the last epoch and those with the best validation AUROC.

        "selected" uses anomalous validation images, as some papers do: report it only beside "last".
        Both are in memory after `fit` with validation images of both kinds; `save` keeps the ones in use.
        The threshold stays as it is: call `calibrate` again.
        """
        weights = getattr(self, "_weights_", {})
        require(
            which in weights,
            f"there are no weights {which!r}; there are: {', '.join(weights) or 'none'} ('selected' needs "
            "validation images of both kinds in fit, and a checkpoint holds only the weights in use)",
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

    def in_parts(self, function: Callable[[Tensor], Tensor], images: Any) -> np.ndarray:
        """`function` of all images, a few hundred at a time: what `reconstruct` and its like are made with.

        `function` takes (m, c, h, w) in [-1, 1] and returns m rows; networks are in evaluation mode and no
        gradients are kept. Raises NotFittedError before `fit`, ValueError for images of another shape.
        """
        self._check_fitted()
        return self._in_parts(function, self._like_training(images)).numpy()

    def _in_parts(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        self._set_mode(training=False)  # or a result would depend on its batch
        with torch.inference_mode():
            parts = [function(to_float(part, self.device_)).cpu() for part in x.split(self.score_batch)]
        return torch.cat(parts)

    def _scores(self, x: Tensor) -> np.ndarray:
        return self._in_parts(self.score, x).double().numpy()

    def _networks(self) -> dict[str, nn.Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, nn.Module)}

    def _set_mode(self, *, training: bool) -> None:
        for network in self._networks().values():
            network.train(training)

    def _copy_weights(self) -> dict[str, dict[str, Tensor]]:
        return {
            name: {key: value.detach().clone() for key, value in network.state_dict().items()}
            for name, network in self._networks().items()
        }

    def _check_losses(self, row: dict[str, float]) -> None:
        for name, value in row.items():
            if not np.isfinite(value):
                look = f", or look at the losses before it with epochs={self.epoch_ - 1}"
                raise FloatingPointError(
                    f"{name} became {value} in epoch {self.epoch_}; try a smaller learning rate"
                    + (look if self.epoch_ > 1 else "")
                )

    def _state(self) -> dict[str, Tensor]:
        networks = self._networks().items()
        return {f"{name}.{key}": value for name, net in networks for key, value in net.state_dict().items()}

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        # First on the "meta" device, which takes no memory: a header may ask for networks of any size.
        self.device_ = torch.device("meta")
        with self.device_, seeded(self.seed):
            self.build(self.image_shape_)
        shapes = {name: tensor.shape for name, tensor in self._state().items()}
        require(
            {name: tensor.shape for name, tensor in tensors.items()} == shapes,
            "its tensors are not those of the networks that its parameters ask for",
        )
        self._start(self.image_shape_)
        for name, network in self._networks().items():
            prefix = f"{name}."
            network.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(1, "epochs", "batch_size", "validate_every")
        names = [field.name for field in dataclasses.fields(self)]
        self._check_at_least(0, *(name for name in names if name == "lr" or name.startswith("lr_")))

    def _draw(self, n: int, d: int, seed: int) -> Tensor:
        """N(0, I) for `sample`, (n, d): the same numbers on every device, so drawn on the CPU."""
        self._check_fitted()
        for name, value in (("n", n), ("seed", seed)):
            require(_is_whole(value) and value >= 0, f"{name} must be 0 or more, got {value!r}")
        return torch.randn(n, d, generator=torch.Generator().manual_seed(int(seed))).to(self.device_)

    def _check_at_least(self, smallest: float, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            require(value >= smallest, f"{name} must be at least {smallest}, got {value}")

    def _check_choice(self, name: str, *choices: str) -> None:
        value = getattr(self, name)
        require(value in choices, f"{name} must be one of {choices}, got {value!r}")

    def _check_width(self) -> None:
        good = self.width is None or (_is_whole(self.width) and self.width >= 1)
        require(good, f"width must be None or a whole number of channels, got {self.width!r}")

    def _check_betas(self) -> None:
        betas = np.asarray(self.betas)
        good = betas.shape == (2,) and betas.dtype.kind in "fi" and bool(((betas >= 0) & (betas < 1)).all())
        require(good, f"betas must be two numbers from 0 to below 1, got {self.betas!r}")


def pick_device(device: str | torch.device) -> torch.device:
    """The torch device for "auto" (cuda when there is one, else the CPU) or for an explicit name."""
    device = str(device)  # a torch.device is welcome too
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for, but there is no CUDA device; use device='cpu'")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch built without the device
        raise ValueError(
            f"device {device!r} is not one that torch can use here; use 'auto', 'cpu' or 'cuda'"
        ) from error


def require(condition: bool, sentence: str) -> None:
    """Raise a ValueError with this sentence unless the condition holds."""
    if not condition:
        raise ValueError(sentence)


def _is_whole(value: Any) -> bool:
    """A whole number of Python or numpy. True and False are not meant as numbers."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_type(name: str, value: Any, annotation: Any) -> None:
    """Refuse a hyperparameter of another type than its field's; unions are left to the method."""
    kind = getattr(annotation, "__name__", str(annotation)).split("[")[0]  # "tuple[str, ...]" -> "tuple"
    number = _is_whole(value) or (isinstance(value, float | np.floating) and np.isfinite(value))
    fits, expected = {
        "bool": (isinstance(value, bool | np.bool_), "True or False"),
        "int": (_is_whole(value), "a whole number"),
        "float": (number, "a finite number"),
        "tuple": (isinstance(value, tuple | list), "a tuple, such as (a, b) or (a,)"),
    }.get(kind, (True, ""))
    require(fits, f"{name} must be {expected}, got {value!r}")


def _check_labels(labels: Any, n: int) -> Tensor:
    """(n,) whole numbers as an int64 tensor, or a sentence."""
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    require(
        array.ndim == 1 and len(array) == n,
        f"expected {n} labels, one per image, got shape {array.shape}",
    )
    if array.dtype.kind not in "biu":
        raise ValueError(
            f"labels must be whole numbers, got {array.dtype}; numpy.unique(labels, return_inverse=True)[1] "
            "numbers names"
        )
    return torch.from_numpy(array.astype(np.int64))
