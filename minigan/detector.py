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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor

from minigan import checkpoint, inputs, metrics
from minigan.checks import check_type, require
from minigan.image_files import Squaring
from minigan.images import as_tensor
from minigan.inputs import Validation
from minigan.torch_state import usual_modes


@dataclass(kw_only=True, eq=False, repr=False)
class Detector(OutlierMixin, BaseEstimator):
    """Base class of all anomaly detectors. Subclasses write `_fit`, `_scores`, `_state` and `_restore`.

    Attributes after `fit`:
        image_shape_: (c, h, w) of the training images, or (d,) for vectors.
        image_range_: "uint8", "float" (in [-1, 1]) or "unit" (floats that were never below 0), as in `fit`.
        n_features_in_: d, for vectors alone, as in scikit-learn.
        threshold_: images that score above it are predicted to be anomalous. `offset_` is minus it, which is
            scikit-learn's name.
        calibration_scores_: (n,) scores of the normal images that the threshold comes from, unless an earlier
            version saved the detector. n_calibrated_ is their number.
        normal_flagged_: (low, high), a 90 % interval of the fraction of new normal images that score above
            the threshold. It is wide when the threshold comes from few images.
        classes_: the training labels in ascending order, for methods that learn from classes.
        history_: pandas DataFrame, one row per epoch (empty for detectors without epochs).
        notes_: a dict in the types of JSON that `save` keeps, {} after `fit`; `minigan fit` describes the
            training images there, `calibrate` how many images had labels ("labelled").
    """

    #: Fraction of *normal* images that may be predicted to be anomalous. The threshold is this quantile of
    #: the scores of held-out normal images; it changes `predict`, never the scores.
    contamination: float = 0.05
    #: Fraction of the training images held out for the threshold when `fit` gets no validation images.
    holdout: float = 0.1
    #: Resize every image to this many pixels square; None keeps their size.
    image_size: int | None = None
    #: What becomes of images that are not square when they are resized: see `image_files.Squaring`.
    squaring: Squaring = "squeeze"
    #: The same seed on the same machine gives the same scores, on the CPU to the last bit.
    seed: int = 0

    #: What the labels given to `fit` mean: "ignored", "anomalies" (0 / 1), or "classes" of the normal images.
    label_meaning: ClassVar[Literal["ignored", "anomalies", "classes"]] = "ignored"
    #: Which kinds of input the method takes: "images", "vectors", or both.
    takes: ClassVar[tuple[str, ...]] = ("images",)
    #: Hyperparameters that may be changed after `fit`, because only scoring reads them. `save` writes their
    #: present values, and those that all others had in `fit`.
    adjustable: ClassVar[frozenset[str]] = frozenset({"contamination", "device", "progress", "scored_by"})

    # ------------------------------------------------------------------ learning

    def fit(self, images: Any, labels: Any = None, validation: tuple[Any, Any] | None = None) -> Self:
        """Learn from training images.

        Args:
            images: (n, h, w), (n, h, w, c) or (n, c, h, w), uint8 in [0, 255] or float in [-1, 1]; a folder
                or files; Pillow images; or (n, d) vectors for methods that take them. Normal ones, unless the
                method says otherwise.
            labels: (n,) integers for methods that use them (see `label_meaning`); ignored by the others,
                whatever they are, as in scikit-learn.
            validation: (images, labels) that are not trained on; labels 0 normal, 1 anomalous, or None for
                "all normal". Its normal images set the threshold. If both kinds are present, neural detectors
                also record the AUROC on it. Without it, the fraction `holdout` of the training images is
                held out.

        Raises:
            TypeError, ValueError, FileNotFoundError: one sentence on what is wrong with the input.
        """
        with usual_modes():
            x, y, held_out = self._begin(images, labels, validation)
            self._fit(x, y, held_out)
            self._end(held_out, warns=validation is None)  # else n is known
        return self

    def fit_predict(
        self, images: Any, labels: Any = None, validation: tuple[Any, Any] | None = None
    ) -> np.ndarray:
        """`fit`, then `predict` of the same images: +1 for normal, -1 for anomalous images, (n,) int64."""
        return self.fit(images, labels, validation).predict(images)

    def calibrate(self, images: Any, labels: Any = None) -> Self:
        """Set the threshold so that the fraction `contamination` of these normal images lies above it.

        `fit` does this with its held-out images; do it again after changing `contamination`. With labels,
        (n,) 0 normal and 1 anomalous, the threshold is `metrics.best_threshold` instead.
        """
        self._check_fitted()
        self._check_parameters()
        x = self._like_training(images)
        y = None if labels is None else inputs.check_labels(labels, len(x)).numpy()
        self._calibrate(self._finite_scores(x), warns=True, y=y)
        return self

    # ------------------------------------------------------------------ using what was learned

    def anomaly_score(self, images: Any) -> np.ndarray:
        """One score per image, (n,) float64; higher = more anomalous.

        Raw (no scaling to [0, 1], which would need other images) and independent of the batch.
        """
        self._check_fitted()
        self._check_parameters()  # some may be changed after `fit`, such as the kind of score
        return self._finite_scores(self._like_training(images))

    def _finite_scores(self, x: Tensor) -> np.ndarray:
        with usual_modes():
            scores = self._scores(x)
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

    def score(self, images: Any, labels: Any = None) -> float:
        """AUROC of the anomaly scores: what scikit-learn's `GridSearchCV` maximises unless told otherwise.

        `labels` (n,) are 0 for normal and 1 for anomalous images, or scikit-learn's 1 and -1, both present.
        """
        require(labels is not None, "expected labels, because score is the AUROC, got none; pass them as y")
        y = inputs.check_labels(labels, None).numpy()
        return metrics.auroc(y == -1 if -1 in y else y, self.anomaly_score(images))

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
        """Write everything that `load` needs into one safetensors file (numbers and JSON, no code).

        Classical methods are fitted again by `load`, so their files contain the training items themselves.
        """
        self._check_fitted()
        checkpoint.write(path, self._header(), self._state())

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
            arguments: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in header["parameters"].items()
            }
            if "device" in {field.name for field in dataclasses.fields(cls)}:
                arguments["device"] = device
            detector = cls(**arguments)
            detector._take(header, tensors)
        except checkpoint.DAMAGED as error:
            raise ValueError(
                f"expected a checkpoint of a working {cls.__name__}, got {str(path)!r} ({error}); save the "
                "detector again"
            ) from error
        return detector

    def _header(self) -> dict[str, Any]:
        """What a checkpoint holds beside the tensors of `_state`, in the types of JSON."""
        present = {
            name: value for name, value in self.get_params(deep=False).items() if name in self.adjustable
        }
        return {
            "class": type(self).__name__,
            "parameters": self.fitted_parameters_ | present,
            "image_shape": list(self.image_shape_),
            "image_range": self.image_range_,
            "classes": self.classes_.tolist() if hasattr(self, "classes_") else None,
            "threshold": getattr(self, "threshold_", None),
            "n_calibrated": getattr(self, "n_calibrated_", None),
            "normal_flagged": getattr(self, "normal_flagged_", None),
            "calibration_scores": getattr(self, "calibration_scores_", np.empty(0)).tolist(),
            "notes": getattr(self, "notes_", {}),
            "history": self.history_.reset_index().to_dict(orient="list") if len(self.history_) else {},
        }

    def _take(self, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Become fitted from a header and tensors; the parameters are set already."""
        self._check_parameters()
        self.fitted_parameters_ = self.get_params(deep=False)
        self.image_shape_ = inputs.saved_shape(header["image_shape"], self.image_size)
        self.image_range_ = header.get("image_range")  # unknown in files of earlier versions
        if len(self.image_shape_) == 1:
            self.n_features_in_ = self.image_shape_[0]
        history = pd.DataFrame(header["history"])
        self.history_ = history.set_index("epoch") if len(history) else history
        if header.get("classes") is not None:
            self.classes_ = np.array(header["classes"], dtype=np.int64)
            require(self.classes_.ndim == 1, "its classes are not a list of whole numbers")
        with usual_modes():
            self._restore(tensors)
        if header["threshold"] is not None:
            self.threshold_ = float(header["threshold"])
            require(bool(np.isfinite(self.threshold_)), "its threshold is not a finite number")
        if header.get("n_calibrated") is not None:
            self.n_calibrated_ = int(header["n_calibrated"])
            low, high = header["normal_flagged"]
            self.normal_flagged_ = float(low), float(high)
        if header.get("calibration_scores"):
            self.calibration_scores_ = np.array(header["calibration_scores"], dtype=np.float64)
            good = self.calibration_scores_.ndim == 1 and np.isfinite(self.calibration_scores_).all()
            require(bool(good), "its scores of held-out images are not a list of finite numbers")
        self.notes_ = dict(header.get("notes") or {})

    # ------------------------------------------------------------------ for subclasses

    def _fit(self, x: Tensor, y: Tensor | None, validation: Validation) -> None:
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

    def _begin(self, images: Any, labels: Any, validation: Any) -> tuple[Tensor, Tensor | None, Validation]:
        """What `fit` was given, checked: training items, their labels, and validation with its labels."""
        self._check_parameters()
        x = self._tensor(images)
        inputs.check_enough(x)
        y = inputs.training_labels(labels, len(x), self.label_meaning)
        self._forget()
        self.notes_ = {}
        inputs.warn_about_training(x)
        self.image_shape_ = tuple(x.shape[1:])
        self.image_range_ = inputs.range_of(x)
        if validation is not None:
            held_out = self._check_validation(validation)
        else:
            x, y, normal = self._hold_out(x, y)
            held_out = normal, np.zeros(len(normal), dtype=np.int64)
        return x, y, held_out

    def _end(self, validation: Validation, warns: bool) -> None:
        """Note what was learned with which parameters, and set the threshold from normal validation items."""
        if len(self.image_shape_) == 1:
            self.n_features_in_ = self.image_shape_[0]
        self.fitted_parameters_ = self.get_params(deep=False)
        normal = validation[0][torch.from_numpy(validation[1] == 0)]
        if len(normal):
            self._calibrate(self._finite_scores(normal), warns, up=4)

    def _calibrate(self, scores: np.ndarray, warns: bool, y: np.ndarray | None = None, up: int = 3) -> None:
        """Set the threshold from scores, of normal images if not labelled, and say what it will flag."""
        aim = 1 - self.contamination
        found = np.quantile(scores, aim) if y is None else metrics.best_threshold(y, scores)
        self.threshold_ = float(found)
        self.notes_.pop("labelled", None)
        if y is not None:
            self.notes_["labelled"], scores = len(y), scores[y == 0]
        self.calibration_scores_, self.n_calibrated_ = scores, len(scores)
        self.normal_flagged_ = low, high = metrics.flagged_interval(scores, self.threshold_)
        if warns and y is None and len(scores) * self.contamination < 1:
            warnings.warn(
                f"the threshold comes from {len(scores)} normal images only: of new ones, {low:.0%} to "
                f"{high:.0%} may lie above it, not {self.contamination:.0%}; hold out more, or call "
                "calibrate with more",
                stacklevel=up,
            )

    def _tensor(self, data: Any, channels: int | None = None) -> Tensor:
        x = as_tensor(data, size=self.image_size, channels=channels, squaring=self.squaring)
        if x.is_inference():  # made in inference mode: it would not take part in training
            x = x.clone()
        return inputs.check_kind(x, self.takes, type(self).__name__)

    def _like_training(self, data: Any, up: int = 5) -> Tensor:
        """`_tensor`, and of the shape that the detector was trained on."""
        channels = self.image_shape_[0] if len(self.image_shape_) == 3 else None
        x = self._tensor(data, channels)
        single = (len(x), *x.shape[2:]) == self.image_shape_  # a single colour image, read as three grey ones
        require(
            tuple(x.shape[1:]) == self.image_shape_,
            f"expected items of shape {self.image_shape_} as in training, got {tuple(x.shape[1:])}; "
            + ("pass a single image as image[None]" if single else "")
            + ("" if single else "convert or resize them as the training images were"),
        )
        inputs.warn_if_other_range(inputs.range_of(x), self.image_range_, up)
        return x

    def _check_validation(self, validation: Any) -> tuple[Tensor, np.ndarray]:
        data, labels = inputs.check_pair(validation)
        held_out = self._like_training(data, up=6)
        if labels is None:
            return held_out, np.zeros(len(held_out), dtype=np.int64)
        y = inputs.check_labels(labels, len(held_out))
        inputs.check_binary(y, "validation labels")
        return held_out, y.numpy()

    def _hold_out(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
        """Split off `holdout` of len(x), normal images only, at random by the seed; at least 2 stay."""
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(int(self.seed)))
        if y is not None and self.label_meaning == "anomalies":
            order = order[y[order] == 0]
        held_out = order[: min(self.n_held_out(len(x)), max(0, len(order) - 2))]
        remains = ~torch.isin(torch.arange(len(x)), held_out)
        rest = remains if len(held_out) else slice(None)  # a view: no copy where nothing is held out
        return x[rest], None if y is None else y[rest], x[held_out]

    def n_held_out(self, n: int) -> int:
        """How many of n normal training images `fit` holds out for the threshold."""
        return min(max(1, round(self.holdout * n)), max(0, n - 2)) if self.holdout > 0 else 0

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
