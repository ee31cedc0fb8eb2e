"""The contract that every detector keeps: a scikit-learn estimator that gives one anomaly score per image.

Hyperparameters are dataclass fields, one line each with the reason beside it. `fit` learns from normal
images; `anomaly_score` gives one number per image, higher = more anomalous, which never depends on the other
images of the call; `predict` compares it with a threshold that comes from held-out normal images.

`Detector` is the contract. Detectors made of networks derive from `minigan.neural.NeuralDetector`, which adds
the training loop.
"""

from __future__ import annotations

import dataclasses
import typing
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor

from minigan import checkpoint
from minigan.checks import check_type, require
from minigan.images import as_tensor, warn_if_unit_range


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's global random state starts at `seed`; afterwards it is what it was before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@dataclass(kw_only=True, eq=False, repr=False)
class Detector(OutlierMixin, BaseEstimator):
    """Base class of all anomaly detectors. Subclasses write `_fit`, `_scores`, `_state` and `_restore`.

    Attributes after `fit`:
        image_shape_: (c, h, w) of the training images, or (d,) for vectors.
        threshold_: images that score above it are predicted to be anomalous. `offset_` is minus it, which is
            scikit-learn's name.
        classes_: the training labels in ascending order, for methods that learn from classes.
        history_: pandas DataFrame, one row per epoch (empty for detectors without epochs).
    """

    #: Fraction of *normal* images that may be predicted to be anomalous. The threshold is this quantile of
    #: the scores of held-out normal images; it changes `predict`, never the scores.
    contamination: float = 0.05
    #: Fraction of the training images held out for the threshold when `fit` gets no validation images.
    holdout: float = 0.1
    #: Resize every image to this many pixels square; None keeps their size.
    image_size: int | None = None
    #: The same seed on the same machine gives the same scores, on the CPU to the last bit.
    seed: int = 0

    #: What the labels given to `fit` mean: "ignored", "anomalies" (0 / 1), or "classes" of the normal images.
    label_meaning: ClassVar[Literal["ignored", "anomalies", "classes"]] = "ignored"
    #: Which kinds of input the method takes: "images", "vectors", or both.
    takes: ClassVar[tuple[str, ...]] = ("images",)

    # ------------------------------------------------------------------ learning

    def fit(self, images: Any, labels: Any = None, validation: tuple[Any, Any] | None = None) -> Self:
        """Learn from training images.

        Args:
            images: (n, h, w), (n, h, w, c) or (n, c, h, w), uint8 in [0, 255] or float in [-1, 1]; a folder;
                or (n, d) vectors for methods that take them. Normal images, unless the method says otherwise.
            labels: (n,) integers for methods that use them (see `label_meaning`); ignored by the others, as
                in scikit-learn.
            validation: (images, labels) that are not trained on; labels 0 normal, 1 anomalous, or None for
                "all normal". Its normal images set the threshold. If both kinds are present, neural detectors
                also record the AUROC on it. Without it, the fraction `holdout` of the training images is
                held out.

        Raises:
            TypeError, ValueError, FileNotFoundError: one sentence on what is wrong with the input.
        """
        self._check_parameters()
        x = self._tensor(images)
        require(
            len(x) >= 2, f"expected at least 2 training images, got {len(x)}; pass 100 or more if you can"
        )
        y = None if labels is None else _check_labels(labels, len(x))
        if y is not None and self.label_meaning == "anomalies":
            known = np.unique(y.numpy()).tolist()
            require(
                set(known) <= {0, 1} and 0 in known,
                f"expected labels 0 (normal) and 1 (anomalous), some of them 0, got only {known[:5]}",
            )
        self._forget()
        self._warn_about(x)
        self.image_shape_ = tuple(x.shape[1:])
        if validation is not None:
            held_out, held_out_labels = self._check_validation(validation)
        else:
            x, y, held_out = self._hold_out(x, y)
            held_out_labels = np.zeros(len(held_out), dtype=np.int64)
        with seeded(self.seed):
            self._fit(x, None if self.label_meaning == "ignored" else y, (held_out, held_out_labels))
        if (held_out_labels == 0).any():
            self.calibrate(held_out[torch.from_numpy(held_out_labels == 0)])
        return self

    def calibrate(self, normal_images: Any) -> Self:
        """Set the threshold so that the fraction `contamination` of these normal images lies above it.

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
        self._check_parameters()  # some may be changed after `fit`, such as the kind of score
        scores = self._scores(self._like_training(images))
        if not np.isfinite(scores).all():
            raise FloatingPointError(
                f"expected finite scores, got {(~np.isfinite(scores)).sum()} of {len(scores)} that are not; "
                "the detector did not train properly: look at history_"
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
                "expected a threshold, got none because no image was held out; call calibrate(normal_images)"
            )
        return -self.threshold_

    # ------------------------------------------------------------------ saving and loading

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
        """Read a detector written by `save`. `device` is where its networks are kept, if it has any.

        Raises:
            FileNotFoundError, ValueError: one sentence on what is wrong with the file.
        """
        header, tensors = checkpoint.read(path)
        require(
            header["class"] == cls.__name__,
            f"expected a checkpoint of {cls.__name__}, got {str(path)!r}, which {header['class']} saved; use "
            "minigan.load",
        )
        try:
            names = {field.name for field in dataclasses.fields(cls)}
            arguments: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in header["parameters"].items()
            }
            if "device" in names:
                arguments["device"] = device
            detector = cls(**arguments)
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
                require(bool(np.isfinite(detector.threshold_)), "its threshold is not a finite number")
        except (
            LookupError,
            TypeError,
            ValueError,
            RuntimeError,
            AttributeError,
            ArithmeticError,
            MemoryError,
        ) as error:
            raise ValueError(
                f"expected a checkpoint of a working {cls.__name__}, got {str(path)!r} ({error}); save the "
                "detector again"
            ) from error
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
        """Refuse hyperparameters that cannot work, before anything is trained. Subclasses add their own."""
        for name, annotation in parameter_types(type(self)).items():
            check_type(name, getattr(self, name), annotation)
        self._check_at_least(0, "seed", "holdout")
        self._check_at_least(1, "image_size")
        require(self.seed < 2**32, f"expected seed to be below 2**32, got {self.seed}")
        require(self.holdout < 1, f"expected holdout to be below 1, got {self.holdout}")
        require(
            0 < self.contamination < 1,
            f"expected contamination to lie between 0 and 1, got {self.contamination}",
        )

    def _check_at_least(self, smallest: float, *names: str) -> None:
        """Each of these hyperparameters is None or a number from `smallest` on."""
        for name in names:
            value = getattr(self, name)
            good = value is None or value >= smallest
            require(good, f"expected {name} to be at least {smallest}, got {value}")

    # ------------------------------------------------------------------ inside

    def _tensor(self, data: Any, channels: int | None = None) -> Tensor:
        x = as_tensor(data, size=self.image_size, channels=channels)
        kind = "images" if x.ndim == 4 else "vectors"
        if kind not in self.takes:
            hint = "; pass a single image as image[None]" if kind == "vectors" else ""
            raise ValueError(
                f"expected {self.takes[0]} for {type(self).__name__}, got {kind} of shape "
                f"{tuple(x.shape)}{hint}"
            )
        return x

    def _like_training(self, data: Any) -> Tensor:
        """`_tensor`, and of the shape that the detector was trained on."""
        channels = self.image_shape_[0] if len(self.image_shape_) == 3 else None
        x = self._tensor(data, channels)
        require(
            tuple(x.shape[1:]) == self.image_shape_,
            f"expected items of shape {self.image_shape_} as in training, got {tuple(x.shape[1:])}; convert "
            "or resize them as the training images were",
        )
        return x

    def _warn_about(self, x: Tensor) -> None:
        warn_if_unit_range(x)
        if x.ndim == 4 and bool((x == x[:1]).all()):
            warnings.warn("all training images are identical; every score will be about them", stacklevel=3)

    def _check_validation(self, validation: Any) -> tuple[Tensor, np.ndarray]:
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise TypeError(
                "expected validation to be a pair (images, labels), where labels may be None for 'all "
                f"normal', got {type(validation).__name__}"
            )
        data, labels = validation
        held_out = self._like_training(data)
        if labels is None:
            return held_out, np.zeros(len(held_out), dtype=np.int64)
        labels = _check_labels(labels, len(held_out)).numpy()
        known = np.unique(labels).tolist()
        require(
            set(known) <= {0, 1}, f"expected validation labels 0 (normal) and 1 (anomalous), got {known[:5]}"
        )
        return held_out, labels

    def _hold_out(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
        """Split off `holdout` of len(x), normal images only, at random by the seed; at least 2 stay."""
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(int(self.seed)))
        if y is not None and self.label_meaning == "anomalies":
            order = order[y[order] == 0]
        n_held_out = min(max(1, round(self.holdout * len(x))), len(order) - 2) if self.holdout > 0 else 0
        held_out = order[: max(0, n_held_out)]
        remains = torch.ones(len(x), dtype=torch.bool)
        remains[held_out] = False
        return x[remains], None if y is None else y[remains], x[held_out]

    def _check_fitted(self) -> None:
        if not hasattr(self, "image_shape_") or not hasattr(self, "history_"):
            raise NotFittedError(f"expected a fitted {type(self).__name__}, got a new one; call fit(images)")

    def _forget(self) -> None:
        """Drop what an earlier `fit` left: a second one starts from nothing but the parameters."""
        parameters = {field.name for field in dataclasses.fields(self)}
        for name in set(vars(self)) - parameters:
            if not name.startswith("_") or name.endswith("_"):  # scikit-learn keeps notes as _name
                delattr(self, name)


def parameter_types(detector: type) -> dict[str, Any]:
    """The hyperparameters of a detector class and their types, in the order in which they are declared."""
    hints = typing.get_type_hints(detector)
    return {field.name: hints[field.name] for field in dataclasses.fields(detector)}


def _check_labels(labels: Any, n: int) -> Tensor:
    """(n,) whole numbers as an int64 tensor; ValueError for anything else."""
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    require(
        array.ndim == 1 and len(array) == n,
        f"expected {n} labels, one per image, got shape {array.shape}",
    )
    require(
        array.dtype.kind in "biu",
        f"expected labels that are whole numbers, got {array.dtype}; number names by "
        "numpy.unique(labels, return_inverse=True)[1]",
    )
    return torch.from_numpy(array.astype(np.int64))
