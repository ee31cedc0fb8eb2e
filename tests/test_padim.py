"""PaDiM: the Gaussian of every position, the distance, the map, against numpy on a few numbers."""

import numpy as np
import pytest
import torch
from helpers import add_tiny_backbone, digits, raises_sentence, zeros
from scipy.spatial.distance import mahalanobis

import minigan
from minigan import PaDiM, metrics
from minigan.blocks import extraction


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    add_tiny_backbone(monkeypatch)


def make(**settings) -> PaDiM:
    return PaDiM(**{"backbone": "tiny", "blocks": (1, 3), "holdout": 0} | settings)


def raw_patches(x: np.ndarray) -> np.ndarray:
    """Patches straight from the network: (n, 64, 6 + 8), the coarser map repeated."""
    network = extraction.shared_backbone("imagenet", torch.device("cpu"), "tiny")
    (a, b), _ = network.maps(torch.from_numpy(x)[:, None] / 127.5 - 1, (1, 3))
    b = b.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return torch.cat([a, b], dim=1).flatten(2).mT.numpy()


def test_distances_are_mahalanobis_distances_from_the_position_s_own_gaussian():
    x = zeros(40)
    detector = make(normalise=False, epsilon=0.05).fit(x[:30])
    train, queries = raw_patches(x[:30]), raw_patches(x[30:])
    (found, grid), *_ = detector.patches_of(torch.from_numpy(x[30:])[:, None])
    np.testing.assert_allclose(found, queries[0], atol=1e-5)
    assert grid == (8, 8)
    distances = detector.distances(found)
    for position in (0, 27, 63):
        rows = train[:, position].astype(np.float64)
        inverse = np.linalg.inv(np.cov(rows.T) + 0.05 * np.eye(14))
        expected = mahalanobis(queries[0, position], rows.mean(0), inverse)
        assert distances[position] == pytest.approx(expected, rel=1e-3)


def test_sums_over_many_batches_give_the_same_gaussian(monkeypatch):
    x = zeros(40)
    whole = make().fit(x)
    monkeypatch.setattr("minigan.models.padim.BATCH", 7)
    parts = make().fit(x)
    torch.testing.assert_close(parts.mean_, whole.mean_)
    torch.testing.assert_close(parts.whitening_, whole.whitening_, rtol=1e-4, atol=1e-4)


def test_normalised_patches_have_one_length_and_no_scale():
    x = zeros(40)
    detector = make().fit(x)
    raw = raw_patches(x).reshape(-1, 14)
    mean, std = detector.scale_.numpy()
    np.testing.assert_allclose(mean, raw.mean(0), atol=1e-5)
    np.testing.assert_allclose(std[raw.std(0) > 0], raw.std(0)[raw.std(0) > 0], rtol=1e-4)
    for patches, _ in detector.patches_of(torch.from_numpy(x[:3])[:, None]):
        np.testing.assert_allclose((patches**2).mean(1), 1, rtol=1e-5)
    assert make(normalise=False).fit(x).scale_ is None


def test_the_scale_comes_from_a_part_of_many_images(monkeypatch):
    monkeypatch.setattr("minigan.models._pretrained.SCALE_IMAGES", 3)
    x = zeros(21)
    raw = raw_patches(x[[0, 10, 20]]).reshape(-1, 14)  # spread over the whole set
    np.testing.assert_allclose(make().fit(x).scale_[0], raw.mean(0), atol=1e-5)


def test_a_feature_that_never_changes_does_no_harm():
    black = np.zeros((12, 16, 16), np.uint8)
    black[:6, 4:8, 4:8] = 255
    detector = make().fit(black)
    assert torch.isfinite(detector.scale_).all() and (detector.scale_[1] > 0).all()


def test_features_are_drawn_by_the_seed():
    chosen = [make(n_features=5, seed=seed).fit(zeros(10)).chosen_ for seed in (0, 0, 1)]
    assert chosen[0].tolist() == chosen[1].tolist() == sorted(set(chosen[0])) != chosen[2].tolist()
    assert make().fit(zeros(10)).chosen_.tolist() == list(range(14))
    assert make(n_features=100).fit(zeros(10)).mean_.shape == (64, 14)  # no more than there are


def test_the_map_shows_where_the_defect_is_and_the_score_is_its_maximum():
    x = zeros(50)
    detector = make(sigma=1.0).fit(x[:40])
    damaged = x[40:].copy()
    damaged[:, 2:6, 10:14] = 255 - damaged[:, 2:6, 10:14]
    maps = detector.anomaly_map(damaged)
    assert maps.shape == (10, 16, 16) and maps.dtype == np.float32
    np.testing.assert_allclose(maps.max((1, 2)), detector.anomaly_score(damaged), rtol=1e-5)
    masks = np.zeros((10, 16, 16), int)
    masks[:, 2:6, 10:14] = 1
    assert metrics.auroc(masks.ravel(), maps.ravel()) > 0.9
    smoother = detector.set_params(sigma=4.0).anomaly_map(damaged)
    assert smoother.std() < maps.std()


def test_a_map_has_the_size_of_the_images_whatever_the_input_of_the_backbone():
    x = np.random.default_rng(0).integers(0, 256, (6, 24, 40), dtype=np.uint8)
    detector = make(input_size=32).fit(x)
    assert detector.anomaly_map(x[:2]).shape == (2, 24, 40)
    assert detector.mean_.shape[0] == 16 * 16


def test_settings_of_the_extraction_that_are_changed_after_fit_change_no_score(tmp_path):
    x = zeros(12)
    detector = make().fit(x)
    scores = detector.anomaly_score(x)
    detector.set_params(input_size=32, blocks=(3,), normalise=False)
    np.testing.assert_array_equal(detector.anomaly_score(x), scores)
    detector.save(tmp_path / "a")
    np.testing.assert_array_equal(minigan.load(tmp_path / "a").anomaly_score(x), scores)


def test_what_cannot_work_is_refused():
    x = zeros(8)
    with raises_sentence(ValueError, "epsilon to be positive"):
        make(epsilon=0.0).fit(x)
    with raises_sentence(ValueError, "at least one block"):
        make(blocks=()).fit(x)
    with raises_sentence(ValueError, "blocks of tiny from 0 to 5", "got 9"):
        make(blocks=(9,)).fit(x)
    with raises_sentence(ValueError, "architecture out of", "'abacus'"):
        make(backbone="abacus").fit(x)
    with raises_sentence(ValueError, "images for PaDiM", "vectors"):
        make().fit(np.zeros((8, 3), np.float32))


def test_a_file_whose_shapes_do_not_fit_is_refused(tmp_path):
    from minigan import checkpoint

    make().fit(zeros(8)).save(tmp_path / "a")
    header, tensors = checkpoint.read(tmp_path / "a")
    checkpoint.write(tmp_path / "a", header, tensors | {"mean": tensors["mean"][:, :3]})
    with raises_sentence(ValueError, "different shapes"):
        minigan.load(tmp_path / "a")


def test_it_finds_digits_that_nobody_showed_it():
    images, labels = digits()
    detector = make().fit(images[labels == 0][:120])
    x = np.concatenate([images[labels == 0][120:], images[labels != 0][:100]])
    truth = np.repeat([0, 1], [len(x) - 100, 100])
    assert metrics.auroc(truth, detector.anomaly_score(x)) > 0.9
