"""Mahalanobis distances and nearest neighbours on pooled features, against numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from helpers import add_tiny_backbone, points, raises_sentence, zeros
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.covariance import ledoit_wolf

import minigan
from minigan import DN2, Mahalanobis, checkpoint
from minigan.blocks import extraction


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    add_tiny_backbone(monkeypatch)


def depths(x: np.ndarray) -> list[np.ndarray]:
    """Pooled features of blocks 1 and 3 and of the end, straight from the network."""
    network = extraction.shared_backbone("imagenet", torch.device("cpu"), "tiny")
    maps, last = network.maps(torch.from_numpy(x)[:, None] / 127.5 - 1, (1, 3))
    return [each.mean((2, 3)).double().numpy() for each in maps] + [last.double().numpy()]


def distances(train: np.ndarray, queries: np.ndarray) -> np.ndarray:
    covariance, _ = ledoit_wolf(train)
    inverse = np.linalg.inv(covariance)
    return np.array([mahalanobis(query, train.mean(0), inverse) for query in queries])


@pytest.mark.parametrize(("blocks", "used"), [(None, [0, 1, 2]), ((), [2]), ((3,), [1, 2])])
def test_distances_at_the_chosen_depths_are_summed(blocks, used):
    x = zeros(40)
    train, queries = depths(x[:30]), depths(x[30:])
    expected = sum(distances(train[i], queries[i]) for i in used)
    found = Mahalanobis(backbone="tiny", blocks=blocks, holdout=0).fit(x[:30]).anomaly_score(x[30:])
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_vectors_are_one_depth_and_need_no_backbone():
    x, queries = points(100, d=5), points(10, d=5, seed=1)
    found = Mahalanobis(backbone="no such", holdout=0).fit(x).anomaly_score(queries)
    np.testing.assert_allclose(found, distances(x.astype(np.float64), queries), rtol=1e-6)


def test_fewer_images_than_features_are_enough():
    """Without shrinkage the covariance of 5 points in 20 dimensions has no inverse."""
    x = points(5, d=20)
    detector = Mahalanobis(holdout=0).fit(x)
    assert np.isfinite(detector.anomaly_score(points(10, d=20, seed=1))).all()
    assert np.linalg.matrix_rank(detector.precisions_[0]) == 20


def test_blocks_that_are_changed_after_fit_change_no_score(tmp_path):
    x = zeros(12)
    detector = Mahalanobis(backbone="tiny").fit(x)
    scores = detector.anomaly_score(x)
    np.testing.assert_array_equal(detector.set_params(blocks=(1,)).anomaly_score(x), scores)
    detector.save(tmp_path / "a")
    np.testing.assert_array_equal(minigan.load(tmp_path / "a").anomaly_score(x), scores)


def test_a_file_whose_shapes_do_not_fit_is_refused(tmp_path):
    Mahalanobis().fit(points(20)).save(tmp_path / "a")
    header, tensors = checkpoint.read(tmp_path / "a")
    checkpoint.write(tmp_path / "a", header, tensors | {"mean0": torch.zeros(3, dtype=torch.float64)})
    with raises_sentence(ValueError, "do not fit its means"):
        minigan.load(tmp_path / "a")


@pytest.mark.parametrize("k", [1, 2, 5])
def test_dn2_is_the_mean_squared_distance_to_the_nearest(k):
    x = zeros(40)
    train, queries = depths(x[:30])[-1], depths(x[30:])[-1]
    expected = np.sort(cdist(queries, train, "sqeuclidean"), axis=1)[:, :k].mean(1)
    found = DN2(backbone="tiny", n_neighbors=k, holdout=0).fit(x[:30]).anomaly_score(x[30:])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_dn2_counts_all_images_where_there_are_few():
    x = zeros(6)
    few = DN2(backbone="tiny", n_neighbors=50, holdout=0).fit(x)
    all_of_them = DN2(backbone="tiny", n_neighbors=6, holdout=0).fit(x)
    np.testing.assert_array_equal(few.anomaly_score(x), all_of_them.anomaly_score(x))
