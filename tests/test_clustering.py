"""Clustering: known groups are found, and input that cannot be clustered gets one sentence."""

import random

import numpy as np
import pytest
import torch
from helpers import digits, raises_sentence

from minigan.blocks import clustering, extraction, features
from minigan.blocks.clustering import weak_labels
from minigan.images import as_tensor

pytestmark = pytest.mark.filterwarnings("error")


def purity(labels: np.ndarray, truth: np.ndarray) -> float:
    """The fraction of images whose class is the most frequent one of their cluster."""
    return sum(np.bincount(truth[labels == k]).max() for k in np.unique(labels)) / len(truth)


def colors(n: int, centres: list[tuple[int, int, int]], seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Noise around a few colours in turn: (n, 3, 6, 6) uint8, and the number of the colour (n,)."""
    truth = np.arange(n) % len(centres)
    noise = np.random.default_rng(seed).normal(0, 25, (n, 3, 6, 6))
    images = np.array(centres)[truth][:, :, None, None] + noise
    return torch.from_numpy(np.clip(np.round(images), 0, 255).astype(np.uint8)), truth


FOUR = [(200, 60, 60), (60, 200, 60), (60, 60, 200), (200, 200, 60)]


@pytest.fixture
def offline(monkeypatch):
    def nowhere(*args):
        raise FileNotFoundError("cannot download; put w.pth into checkpoints")

    monkeypatch.setattr(features, "load_weights", nowhere)


@pytest.fixture
def mean_colors(monkeypatch) -> list:
    """Instead of a network: how the backbone was asked for, and every batch that it was given."""
    seen = []

    class Means:
        size, digest, device = 224, "means", torch.device("cpu")

        def maps(self, x, blocks, size):
            seen.append(x)
            return [], x.mean((2, 3))  # (n, 3)

    def shared_backbone(*args):
        seen.append(args)
        return Means()

    monkeypatch.setattr(extraction, "shared_backbone", shared_backbone)
    monkeypatch.setattr(extraction, "CACHE", extraction.FeatureCache(limit=10**6))
    return seen


def test_the_number_of_colors_is_found_and_so_are_they():
    x, truth = colors(60, FOUR)
    labels = weak_labels(x, "pixels")
    assert labels.shape == (60,) and labels.dtype == np.int64
    assert sorted(set(labels)) == [0, 1, 2, 3] and purity(labels, truth) == 1


def test_digits_fall_into_clusters_of_mostly_one_digit():
    images, truth = digits()
    x = as_tensor(images)
    assert purity(weak_labels(x, "pixels", n_clusters=10), truth) > 0.7  # guessing: about 0.12
    labels = weak_labels(x, "pixels")
    assert 7 <= labels.max() + 1 <= 13 and purity(labels, truth) > 0.6


def test_a_given_number_of_clusters_is_kept_and_the_search_ends_where_it_is_told():
    x, _ = colors(60, FOUR)
    for k in (2, 3, 7):
        assert len(set(weak_labels(x, "pixels", n_clusters=k))) == k
    assert len(set(weak_labels(x, "pixels", max_clusters=3))) == 3
    assert len(set(weak_labels(x, "pixels", n_clusters=20, max_clusters=3))) == 20  # nothing is searched


def test_equal_seeds_give_equal_labels_and_global_randomness_is_left_alone():
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (80, 1, 8, 8), dtype=np.uint8))
    x = x.float() / 127.5 - 1  # noise without any groups: the labels depend on the seed alone
    np.random.seed(0)
    torch.manual_seed(0)
    random.seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate()
    first, again, other = (weak_labels(x, "pixels", n_clusters=5, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(before[0], np.random.get_state()[1])
    assert (before[1] == torch.get_rng_state()).all() and before[2] == random.getstate()


def test_bytes_and_floats_of_the_same_images_give_the_same_labels():
    x, _ = colors(40, FOUR)
    np.testing.assert_array_equal(weak_labels(x, "pixels"), weak_labels(x.float() / 127.5 - 1, "pixels"))


def test_features_are_computed_once_for_each_image_from_floats(mean_colors):
    x, truth = colors(40, FOUR)
    labels = weak_labels(x, device="cpu")
    assert len(set(labels)) == 4 and purity(labels, truth) == 1
    asked, *batches = mean_colors
    assert asked == ("imagenet", torch.device("cpu"), "efficientnet_b4")
    assert [len(batch) for batch in batches] == [1] * 40
    together = torch.cat(batches)
    assert -1 <= together.min() < 0 and together.max() <= 1
    weak_labels(x[5:])  # as in a sweep, where each class is left out in turn
    assert len(mean_colors) == 42


def test_a_path_goes_to_the_backbone(mean_colors, tmp_path):
    weak_labels(colors(20, FOUR)[0], tmp_path / "w.pth")
    assert mean_colors[0][0] == tmp_path / "w.pth"


def test_without_weights_the_pixels_are_used_and_it_says_so(offline):
    x, _ = colors(40, FOUR)
    with pytest.warns(UserWarning, match="pixels are clustered.*cannot download.*put w.pth into") as caught:
        labels = weak_labels(x)
    assert len(caught) == 1 and caught[0].filename == __file__
    np.testing.assert_array_equal(labels, weak_labels(x, "pixels"))


def test_a_path_without_a_file_is_an_error_and_not_replaced():
    with raises_sentence(FileNotFoundError, "not a file", "nowhere.pth", "efficientnet_b4"):
        weak_labels(colors(20, FOUR)[0], "nowhere.pth")


def test_silhouettes_of_a_part_are_enough(monkeypatch):
    x, truth = colors(200, FOUR)
    monkeypatch.setattr(clustering, "SILHOUETTES", 40)
    sizes = []
    original = clustering.silhouette_score
    monkeypatch.setattr(
        clustering, "silhouette_score", lambda rows, labels: sizes.append(len(rows)) or original(rows, labels)
    )
    assert purity(weak_labels(x, "pixels"), truth) == 1
    assert sizes == [40] * 14


def test_a_cluster_that_the_part_misses_does_no_harm(monkeypatch):
    """The best two clusters are a single image and all others; a part without it has only one of them."""
    x = torch.zeros(50, 1, 4, 4, dtype=torch.uint8)
    x[0], x[1:, 0, 0, 0] = 255, torch.arange(49)
    some = np.random.default_rng(0).permutation(50)[:5]
    assert 0 not in some
    monkeypatch.setattr(clustering, "SILHOUETTES", 5)
    assert len(set(weak_labels(x, "pixels", max_clusters=3))) == 3  # of two, the part would see one


def test_few_or_repeated_images():
    pair = torch.tensor([0, 0, 0, 255, 255], dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    assert weak_labels(pair, "pixels").tolist() in ([0, 0, 0, 1, 1], [1, 1, 1, 0, 0])
    three = torch.tensor([0, 10, 255], dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    assert weak_labels(three, "pixels").tolist() in ([0, 0, 1], [1, 1, 0])
    assert sorted(weak_labels(three, "pixels", n_clusters=3)) == [0, 1, 2]


IMAGES = colors(8, FOUR)[0]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (lambda: weak_labels(IMAGES[:2], "pixels"), ("at least 3 images", "got 2")),
        (lambda: weak_labels(IMAGES[:1].expand(9, -1, -1, -1), "pixels"), ("alike", "got 9", "1 differ")),
        (lambda: weak_labels(IMAGES, "pixels", n_clusters=9), ("9 clusters", "got 8")),
        (lambda: weak_labels(IMAGES, "pixels", n_clusters=1), ("at least 2", "got 1")),
        (lambda: weak_labels(IMAGES, "pixels", n_clusters=0), ("at least 2", "got 0")),
        (lambda: weak_labels(IMAGES, "pixels", max_clusters=1), ("at least 2", "got 1")),
        (lambda: weak_labels(torch.zeros(9, 4), "pixels"), ("(n, c, h, w)", "(9, 4)")),
    ],
)
def test_what_cannot_be_clustered_gets_one_sentence(request_, words):
    with raises_sentence(ValueError, *words):
        request_()


def test_another_network_may_be_chosen_and_its_installed_weights_are_used():
    x, truth = colors(12, FOUR[:2])
    labels = weak_labels(x, n_clusters=2, architecture="efficientnet_lite0")
    assert purity(labels, truth) == 1
