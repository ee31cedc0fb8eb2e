"""Classical baselines from scikit-learn: one-class SVM, isolation forest, PCA, kernel density, neighbours.

None of them learns a representation. An image is one long vector of its pixels in [-1, 1], and the score says
how far a new vector lies from those of the training set. They take seconds, have hardly anything to tune, and
use no label; whoever proposes a network should beat them.

    OneClassSVM         anomalies lie outside a smooth boundary around the data
    IsolationForest     anomalies are isolated by few random splits
    PCA                 anomalies are reconstructed badly from the main directions of variance
    KernelDensity       anomalies lie where the estimated density is low
    NearestNeighbors    anomalies lie far from the nearest training images

And a control, for what a result must not be due to:

    Brightness          anomalies are darker or brighter than the training images

All computation is scikit-learn's (Pedregosa et al., "Scikit-learn: Machine Learning in Python", JMLR
12, 2011), and so are the defaults, except where a comment says otherwise.

A checkpoint contains the *training data*, and loading fits the model again, which gives the same scores to
the last bit. Scikit-learn's own way of saving would execute code from the file. So do not pass on such a
checkpoint where the images are confidential.

Not in this file: features. Each class also takes (n, d) vectors, from any network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from sklearn import decomposition, ensemble, neighbors, preprocessing, svm
from torch import Tensor

from minigan.checks import require
from minigan.detector import Detector
from minigan.images import to_float


@dataclass(kw_only=True, eq=False, repr=False)
class ClassicalDetector(Detector):
    """Base class of all of them: a scikit-learn estimator (`fit_model`) and how it scores (`score_step`).

    Attributes after `fit`:
        model_: the scikit-learn estimator.
        data_: the training items, unchanged: (n, c, h, w) uint8 or float, or (n, d) vectors.
    """

    takes: ClassVar = ("images", "vectors")
    #: Whether an ONNX file of it contains training items, too, as the file of `save` does.
    exports_items: ClassVar[bool] = True

    def fit_model(self, x: np.ndarray) -> Any:
        """A scikit-learn estimator fitted to x, (n, d) float64."""
        raise NotImplementedError

    def score_step(self, x: np.ndarray) -> np.ndarray:
        """Scores by `model_`, (n, d) float64 -> (n,), higher = more anomalous."""
        return -self.model_.score_samples(x)

    def _fit(self, x: Tensor, y: Tensor | None, validation: tuple[Tensor, np.ndarray]) -> None:
        self.data_, self.model_ = x, self.fit_model(_rows(x))
        self.history_ = pd.DataFrame()  # no epochs

    def _scores(self, x: Tensor) -> np.ndarray:
        # A thousand at a time: the floats of a large test set need not fit into memory.
        return np.concatenate([self.score_step(_rows(part)) for part in x.split(1000)])

    def _state(self) -> dict[str, Tensor]:
        return {"data": self.data_}

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        data = tensors["data"]
        require(
            tuple(data.shape[1:]) == self.image_shape_,
            f"its header gives items the shape {self.image_shape_}, its data have {tuple(data.shape[1:])}",
        )
        self.data_, self.model_ = data, self.fit_model(_rows(data))


def _rows(x: Tensor) -> np.ndarray:
    """(n, c, h, w) images or (n, d) vectors -> (n, d) float64, images in [-1, 1]."""
    return to_float(x).flatten(1).double().numpy()


@dataclass(kw_only=True, eq=False, repr=False)
class OneClassSVM(ClassicalDetector):
    """One-class SVM: anomalies lie outside a smooth boundary around most of the training images.

    Far from all of them the score is constant: it cannot exceed the boundary's own height.
    Schölkopf et al., "Estimating the Support of a High-Dimensional Distribution", 2001.

    `minigan methods OneClassSVM` lists all hyperparameters.
    """

    #: At most this fraction of the training images may lie outside the boundary.
    nu: float = 0.5
    #: exp(-gamma * squared distance) is the similarity of two images; "scale" is 1 / (d * variance).
    gamma: float | Literal["scale", "auto"] = "scale"

    def fit_model(self, x: np.ndarray) -> svm.OneClassSVM:
        model = svm.OneClassSVM(nu=self.nu, gamma=self.gamma)
        model.random_state = self.seed  # unused, but taken from numpy's global random state if missing
        return model.fit(x)

    def score_step(self, x: np.ndarray) -> np.ndarray:
        return -self.model_.decision_function(x)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        require(0 < self.nu <= 1, f"expected nu to be above 0 and at most 1, got {self.nu}")


@dataclass(kw_only=True, eq=False, repr=False)
class IsolationForest(ClassicalDetector):
    """Isolation forest: anomalies are isolated by few random splits; score 2^(-relative depth), in (0, 1].

    Liu, Ting and Zhou, "Isolation Forest", 2008, whose sizes are the defaults.

    `minigan methods IsolationForest` lists all hyperparameters.
    """

    #: Number of trees.
    n_estimators: int = 100
    #: Training images seen by each tree, or all if there are fewer.
    max_samples: int = 256

    def fit_model(self, x: np.ndarray) -> ensemble.IsolationForest:
        size = min(self.max_samples, len(x))
        forest = ensemble.IsolationForest(
            n_estimators=self.n_estimators, max_samples=size, random_state=self.seed
        )
        return forest.fit(x)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(1, "n_estimators", "max_samples")


@dataclass(kw_only=True, eq=False, repr=False)
class PCA(ClassicalDetector):
    """PCA reconstruction error: mean squared error per pixel after projection on the main directions.

    The images span at most n - 1 directions; more components than that reconstruct nothing better.

    `minigan methods PCA` lists all hyperparameters.
    """

    exports_items: ClassVar = False

    #: Directions to keep: as many as explain this fraction of the variance (below 1), or their number. There
    #: is no default in scikit-learn; 0.95 is the usual choice.
    n_components: float = 0.95

    def fit_model(self, x: np.ndarray) -> decomposition.PCA:
        limit = min(x.shape)
        count = self.n_components if self.n_components < 1 else min(int(self.n_components), limit)
        with np.errstate(invalid="ignore", divide="ignore"):  # identical images: no variance to explain
            return decomposition.PCA(count, svd_solver="full").fit(x)

    def score_step(self, x: np.ndarray) -> np.ndarray:
        return ((x - self._project(x)) ** 2).mean(axis=1)

    def reconstruct(self, images: Any) -> np.ndarray:
        """Images as the main directions alone give them, clipped to [-1, 1]: (n, c, h, w) float32."""
        return self._map_images(lambda x: np.clip(self._project(x), -1, 1), images)

    def anomaly_map(self, images: Any) -> np.ndarray:
        """Squared error of each pixel, mean over the channels: (n, h, w) float32. Its mean is the score."""
        return self._map_images(lambda x: (x - self._project(x)) ** 2, images).mean(axis=1)

    def _project(self, x: np.ndarray) -> np.ndarray:
        return self.model_.inverse_transform(self.model_.transform(x))

    def _map_images(self, function: Callable[[np.ndarray], np.ndarray], images: Any) -> np.ndarray:
        """Apply a function of rows, (n, d) -> (n, d), to images: (n, c, h, w) float32."""
        self._check_fitted()
        x = self._like_training(images)
        require(x.ndim == 4, f"expected images, got vectors of length {x.shape[1]}, which cannot be drawn")
        parts = [function(_rows(part)).astype(np.float32) for part in x.split(1000)]
        return np.concatenate(parts).reshape(tuple(x.shape))

    def _check_parameters(self) -> None:
        super()._check_parameters()
        count = self.n_components
        require(
            0 < count < 1 or (count >= 1 and count == int(count)),
            f"expected n_components to be a fraction between 0 and 1 or a whole number from 1, got {count}",
        )


@dataclass(kw_only=True, eq=False, repr=False)
class KernelDensity(ClassicalDetector):
    """Kernel density estimate: minus the log of the mean of Gaussians around the training images.

    `minigan methods KernelDensity` lists all hyperparameters.
    """

    #: Standard deviation of the Gaussians. "scott" is Scott's rule (Multivariate Density Estimation, 1992),
    #: n^(-1 / (d + 4)) times the standard deviation of the data (root mean square over the pixels).
    #: Scikit-learn's own "scott" leaves that factor out.
    bandwidth: float | Literal["scott"] = "scott"

    def fit_model(self, x: np.ndarray) -> neighbors.KernelDensity:
        n, d = x.shape
        width = self.bandwidth
        if width == "scott":
            spread = np.sqrt(x.var(axis=0).mean()) or 1.0  # identical images have no scale of their own
            width = float(spread * n ** (-1 / (d + 4)))
        # One leaf makes scikit-learn add up all Gaussians. With more, it subtracts bounds from each other,
        # and in many dimensions the result is wrong (scikit-learn issue 25799); it is not even faster there.
        return neighbors.KernelDensity(bandwidth=width, leaf_size=n).fit(x)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        width = self.bandwidth
        require(width == "scott" or width > 0, f"expected bandwidth to be 'scott' or positive, got {width!r}")


@dataclass(kw_only=True, eq=False, repr=False)
class NearestNeighbors(ClassicalDetector):
    """Nearest neighbours: mean Euclidean distance to the nearest training images.

    `minigan methods NearestNeighbors` lists all hyperparameters.
    """

    #: Number of neighbours, or all if there are fewer.
    n_neighbors: int = 5

    def fit_model(self, x: np.ndarray) -> neighbors.NearestNeighbors:
        return neighbors.NearestNeighbors(n_neighbors=min(self.n_neighbors, len(x))).fit(x)

    def score_step(self, x: np.ndarray) -> np.ndarray:
        distances, _ = self.model_.kneighbors(x)  # (n, k)
        return distances.mean(axis=1)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(1, "n_neighbors")


@dataclass(kw_only=True, eq=False, repr=False)
class Brightness(ClassicalDetector):
    """Mean brightness alone: how many standard deviations it lies from that of the training images.

    A control, and no method: it looks at one number of an image, the sum of its ink. Where it separates
    anomalies, every reconstruction error may do so for no better reason, because an error grows with the ink
    that there is to reconstruct. It looks at both sides: on which one the anomalies lie, only labels say.

    `minigan methods Brightness` lists all hyperparameters.
    """

    exports_items: ClassVar = False

    def fit_model(self, x: np.ndarray) -> preprocessing.StandardScaler:
        return preprocessing.StandardScaler().fit(x.mean(axis=1, keepdims=True))  # (n, d) -> (n, 1)

    def score_step(self, x: np.ndarray) -> np.ndarray:
        return abs(self.model_.transform(x.mean(axis=1, keepdims=True)))[:, 0]
