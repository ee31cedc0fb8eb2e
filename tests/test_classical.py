"""The classical detectors: the right scikit-learn estimator, on the right numbers, the right way up."""

import dataclasses

import numpy as np
import pytest
from safetensors.torch import load_file
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn import decomposition, ensemble, svm

import minigan
from minigan import checkpoint, data, metrics, protocols

METHODS = ["OneClassSVM", "IsolationForest", "PCA", "KernelDensity", "NearestNeighbors"]
NAMES = [*METHODS, "Brightness"]  # which is a control, and finds nothing but darker and brighter images


@pytest.fixture(scope="module")
def split():
    return protocols.one_class(data.load("digits", size=8), normal=4)


def make(name, **settings):
    return getattr(minigan, name)(**settings)


def rows(images):
    return images.reshape(len(images), -1) / np.float32(127.5) - 1


@pytest.mark.parametrize("name", METHODS)
def test_finds_other_digits(name, split):
    detector = make(name).fit(split.train, validation=split.held_out)
    scores = detector.anomaly_score(split.test)
    assert scores.shape == (len(split.test),) and scores.dtype == np.float64
    assert metrics.auroc(split.test_labels, scores) > 0.95
    assert (detector.predict(split.test)[split.test_labels == 0] == 1).mean() > 0.7
    assert len(detector.history_) == 0


def test_kernel_density_finds_the_digit_that_nobody_showed_it():
    # A test that PCA fails (0.77 on average): each class alone is easy, all of them together are not.
    left_out = protocols.leave_one_out(data.load("digits", size=16), anomalous=3)
    scores = minigan.KernelDensity().fit(left_out.train).anomaly_score(left_out.test)
    assert metrics.auroc(left_out.test_labels, scores) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_works_on_vectors(name):
    settings = {"n_components": 1} if name == "PCA" else {}  # two would rebuild any point of the plane
    detector = make(name, seed=1, **settings).fit(data.toy("moons", 300))
    far, near = np.full((1, 2), 3.0), data.toy("moons", 50, seed=1)
    assert detector.image_shape_ == (2,)
    assert detector.anomaly_score(far)[0] >= detector.anomaly_score(near).max()


@pytest.mark.parametrize("name", NAMES)
def test_checkpoint_holds_the_data_as_they_came_and_gives_the_same_scores(name, split, tmp_path):
    detector = make(name, seed=3).fit(split.train)
    scores = detector.anomaly_score(split.test)
    path = tmp_path / "detector.safetensors"
    detector.save(path)
    kept = load_file(path)["data"]
    assert str(kept.dtype) == "torch.uint8" and len(kept) == len(split.train) - round(0.1 * len(split.train))
    loaded = minigan.load(path)
    np.testing.assert_array_equal(loaded.anomaly_score(split.test), scores)
    assert loaded.threshold_ == detector.threshold_
    assert len(loaded.history_) == 0


def test_checkpoint_of_another_shape_is_refused(split, tmp_path):
    path = tmp_path / "detector.safetensors"
    minigan.PCA().fit(split.train).save(path)
    header, tensors = checkpoint.read(path)
    del header["format"]
    checkpoint.write(path, header | {"image_shape": [1, 4, 4]}, tensors)
    with pytest.raises(ValueError, match=r"shape \(1, 4, 4\), its data have \(1, 8, 8\)"):
        minigan.load(path)


def test_one_class_svm_is_scikit_learns(split):
    ours = minigan.OneClassSVM(holdout=0).fit(split.train).anomaly_score(split.test)
    theirs = -svm.OneClassSVM().fit(rows(split.train)).decision_function(rows(split.test))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_isolation_forest_is_scikit_learns(split):
    ours = minigan.IsolationForest(holdout=0, seed=5).fit(split.train).anomaly_score(split.test)
    theirs = -ensemble.IsolationForest(random_state=5).fit(rows(split.train)).score_samples(rows(split.test))
    np.testing.assert_allclose(ours, theirs)
    other = minigan.IsolationForest(holdout=0, seed=6).fit(split.train).anomaly_score(split.test)
    assert (ours != other).any()


@pytest.mark.parametrize("count", [0.8, 7, 10_000])
def test_pca_score_is_what_the_directions_leave_over(split, count):
    detector = minigan.PCA(holdout=0, n_components=count).fit(split.train)
    x, z = rows(split.train).astype(float), rows(split.test).astype(float)
    theirs = decomposition.PCA(count if count < 1000 else 64, svd_solver="full").fit(x)
    inside = theirs.transform(z)
    # Pythagoras: the distance to the mean is what the directions hold and what they leave over.
    left = ((z - theirs.mean_) ** 2).sum(1) - (inside**2).sum(1)
    np.testing.assert_allclose(detector.anomaly_score(split.test), left / 64, atol=1e-6)
    if count == 0.8:
        kept = detector.model_.explained_variance_ratio_
        assert kept.sum() >= 0.8 > kept[:-1].sum()


@pytest.mark.parametrize("width", [0.1, "scott"])
def test_kernel_density_adds_up_all_bumps(split, width):
    # At 0.1 scikit-learn's own default (many leaves) is off by hundreds.
    ours = minigan.KernelDensity(holdout=0, bandwidth=width).fit(split.train).anomaly_score(split.test)
    x, z = rows(split.train).astype(float), rows(split.test).astype(float)
    n, d = x.shape
    h = np.sqrt(x.var(0).mean()) * n ** (-1 / (d + 4)) if width == "scott" else width
    log_density = logsumexp(-cdist(z, x, "sqeuclidean") / (2 * h**2), axis=1)
    log_density -= np.log(n) + d * np.log(h) + d / 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(ours, -log_density, rtol=1e-5)


def test_scotts_width_grows_with_the_data():
    points = data.toy("normal", 200)
    widths = [minigan.KernelDensity().fit(s * points).model_.bandwidth_ for s in (1, 10)]
    assert widths[1] == pytest.approx(10 * widths[0])
    assert widths[0] == pytest.approx(180 ** (-1 / 6), rel=0.1)  # 20 of the 200 are held out


@pytest.mark.parametrize(("k", "used"), [(1, 1), (3, 3), (10_000, None)])
def test_nearest_neighbors_mean_distance(split, k, used):
    ours = minigan.NearestNeighbors(holdout=0, n_neighbors=k).fit(split.train).anomaly_score(split.test)
    distances = np.sort(cdist(rows(split.test), rows(split.train)), axis=1)
    np.testing.assert_allclose(ours, distances[:, :used].mean(1), atol=1e-5)


def test_brightness_is_the_distance_from_the_mean_in_standard_deviations():
    light = np.array([40, 60, 50, 50, 30, 70])
    x = np.repeat(light, 64).reshape(6, 8, 8).astype(np.uint8)
    x[:, ::2] -= 10  # only the mean of an image counts
    x[:, 1::2] += 10
    detector = minigan.Brightness(holdout=0).fit(x)
    seen = np.stack([np.full((8, 8), grey, np.uint8) for grey in (50, 50 + 30, 50 - 30, 0, 255)])
    expected = abs(np.array([0, 30, -30, -50, 205])) / light.std()
    np.testing.assert_allclose(detector.anomaly_score(seen), expected, atol=1e-6)
    colours = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    scores = minigan.Brightness(holdout=0).fit(colours).anomaly_score(colours)
    means = colours.reshape(20, -1).mean(1)  # of all channels
    np.testing.assert_allclose(scores, abs(means - means.mean()) / means.std(), rtol=1e-5)


def test_brightness_sees_what_a_one_lacks_and_nothing_else():
    """The control's point: with ones left out, ink alone does it; between other digits it is guessing."""
    digits = data.load("digits", size=16)
    dark = np.where(digits.labels == 1, 0.4, 1)[:, None, None]  # as in MNIST, whose ones are thin
    thin = (digits.images * dark).astype(np.uint8)
    for images, low, high in ((thin, 0.95, 1), (digits.images, 0.3, 0.7)):
        split = protocols.leave_one_out(dataclasses.replace(digits, images=images), anomalous=1)
        scores = minigan.Brightness().fit(split.train).anomaly_score(split.test)
        assert low <= metrics.auroc(split.test_labels, scores) <= high


@pytest.mark.parametrize("name", NAMES)
def test_a_score_does_not_depend_on_the_other_images(name, split):
    detector = make(name).fit(split.train)
    many = np.concatenate([split.test] * 4)  # more than one part of a thousand
    scores = detector.anomaly_score(many)
    np.testing.assert_allclose(scores[-3:], detector.anomaly_score(split.test[-3:]), rtol=1e-9)
    np.testing.assert_allclose(scores[:1], detector.anomaly_score(many[:1]), rtol=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NAMES)
def test_identical_training_images_give_finite_scores(name, split):
    with pytest.warns(UserWarning, match="identical"):
        detector = make(name, holdout=0).fit(np.full((20, 8, 8), 7, np.uint8))
    assert np.isfinite(detector.anomaly_score(split.test)).all()


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("OneClassSVM", {"nu": 0}, "expected nu to be above 0"),
        ("IsolationForest", {"n_estimators": 0}, "expected n_estimators to be at least 1"),
        ("IsolationForest", {"max_samples": 0}, "expected max_samples to be at least 1"),
        ("PCA", {"n_components": 2.5}, "expected n_components to be a fraction"),
        ("KernelDensity", {"bandwidth": 0.0}, "expected bandwidth to be 'scott' or positive"),
        ("KernelDensity", {"bandwidth": "silverman"}, "got 'silverman'"),
        ("NearestNeighbors", {"n_neighbors": 0}, "expected n_neighbors to be at least 1"),
    ],
)
def test_settings_that_cannot_work(name, settings, sentence, split):
    with pytest.raises(ValueError, match=sentence):
        make(name, **settings).fit(split.train)


def test_pca_says_where_and_its_map_adds_up_to_the_score():
    digits = data.load("digits", size=16)
    detector = minigan.PCA().fit(digits.images[digits.labels == 0])
    x = digits.images[:40]
    maps, x_hat = detector.anomaly_map(x), detector.reconstruct(x)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), detector.anomaly_score(x), rtol=1e-5)
    inside = (np.abs(x_hat) < 1)[:, 0]  # the others are clipped
    np.testing.assert_allclose(maps[inside], (rows(x).reshape(x.shape) - x_hat[:, 0])[inside] ** 2, atol=1e-5)
    spoiled = x[:1].copy()
    spoiled[0, 2:5, 2:5] = 255  # where this zero has no ink
    heat = detector.anomaly_map(spoiled)[0]
    assert heat[2:5, 2:5].mean() > 5 * np.median(heat)
    with pytest.raises(ValueError, match="expected images, got vectors of length 2, which cannot be drawn"):
        minigan.PCA().fit(data.toy("moons", 30)).anomaly_map(data.toy("moons", 3))
