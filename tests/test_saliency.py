"""Heat maps of every network: from reconstructions where there are some, else from gradients of the score."""

import numpy as np
import pytest
import torch
from helpers import digits, points, raises_sentence, zeros
from sklearn.exceptions import NotFittedError
from test_contract import NEURAL, ON_IMAGES, class_of, fitted, others

from minigan import ALGAN, ALGANFeature
from minigan.saliency import SMOOTHING, gradient_map

SMALL = {"epochs": 1, "width": 4, "progress": False}


@pytest.mark.parametrize("name", [name for name in NEURAL if name in ON_IMAGES])
def test_every_network_on_images_has_heat_maps(name):
    """They are independent of the batch, and leave no gradients behind."""
    detector, x = fitted(name), others(name)[:6]
    before = {key: value.clone() for key, value in detector._state().items()}
    heat = detector.anomaly_map(x)
    assert heat.shape == (6, 16, 16) and heat.dtype == np.float32
    assert np.isfinite(heat).all() and (heat >= 0).all() and heat.std() > 0
    np.testing.assert_allclose(detector.anomaly_map(x[2:3])[0], heat[2], rtol=1e-3, atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in detector._state().items())


def test_without_a_map_of_its_own_it_is_the_error_of_the_reconstruction():
    detector, x = fitted("GANomaly"), others("GANomaly")[:3]
    expected = np.abs(x[:, None] / np.float32(127.5) - 1 - detector.reconstruct(x)).mean(1)
    np.testing.assert_allclose(detector.anomaly_map(x), expected, atol=1e-6)
    assert "anomaly_map" not in vars(class_of("GANomaly"))


@pytest.fixture
def looking_left(monkeypatch):
    """A detector whose score is the sum of the squares of one pixel, (8, 3); black is -1."""
    detector = ALGAN(**SMALL).fit(zeros(20))
    monkeypatch.setattr(detector, "score_step", lambda x: x[:, :, 8, 3].square().sum(1))
    return detector


def test_heat_is_the_gradient_of_the_score_smoothed(looking_left):
    """d x^2 / dx = 2x at one pixel, spread over its neighbours: the sum stays, and it stays there."""
    x = np.full((2, 16, 16), 255, np.uint8)
    x[1] = 64
    heat = looking_left.anomaly_map(x)
    np.testing.assert_allclose(heat.sum((1, 2)), [2, 2 * abs(64 / 127.5 - 1)], rtol=1e-5)
    assert np.unravel_index(heat[0].argmax(), heat[0].shape) == (8, 3)
    far = 5 * round(SMOOTHING * 16 + 1)
    assert heat[:, :, 3 + far :].max() == 0


def test_gradients_are_found_whatever_the_caller_has_switched_off(looking_left):
    x = zeros(3)
    expected = looking_left.anomaly_map(x)
    with torch.inference_mode():
        np.testing.assert_array_equal(looking_left.anomaly_map(x), expected)
    with torch.no_grad():
        np.testing.assert_array_equal(looking_left.anomaly_map(torch.from_numpy(x)), expected)


def test_y_gan_s_map_is_of_its_score_not_of_its_reconstruction():
    detector, x = fitted("YGAN"), others("YGAN")[:3]
    np.testing.assert_array_equal(detector.anomaly_map(x), gradient_map(detector, x))


def test_what_has_no_map():
    with pytest.raises(NotFittedError):
        ALGAN().anomaly_map(digits()[0][:2])
    vectors = ALGANFeature(**SMALL | {"width": 8}).fit(points(40))
    assert not hasattr(vectors, "anomaly_map")
    with raises_sentence(ValueError, "expected images for a heat map, got vectors"):
        gradient_map(vectors, points(3))
