"""PatchCore: the greedy coreset, the neighbourhoods and the weighted score, against plain computations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import add_tiny_backbone, raises_sentence, zeros

from minigan import PatchCore
from minigan.models import patchcore
from minigan.models.patchcore import greedy_coreset


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    add_tiny_backbone(monkeypatch)


def make(**settings) -> PatchCore:
    return PatchCore(**{"backbone": "tiny", "blocks": (1, 3), "holdout": 0} | settings)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain_coreset(rows: torch.Tensor, m: int, first: int) -> list[int]:
    """The same by its definition: each time the row that is farthest from all chosen ones."""
    chosen = [first]
    while len(chosen) < m:
        distances = torch.cdist(rows.double(), rows[chosen].double()).amin(1)
        distances[chosen] = -1
        chosen.append(int(distances.argmax()))
    return chosen


@pytest.mark.parametrize("active", [1, 3, 20, 4096])
def test_the_coreset_is_greedy_whatever_is_kept_up_to_date(active, monkeypatch):
    monkeypatch.setattr(patchcore, "ACTIVE", active)
    rows = torch.randn(200, 3, generator=random(1)).cumsum(1)
    chosen = greedy_coreset(rows, 60, random()).tolist()
    assert chosen == plain_coreset(rows, 60, chosen[0])


def test_every_row_is_chosen_once_at_most_even_among_equal_ones():
    rows = torch.ones(30, 4)
    rows[10:] = 2.0
    chosen = greedy_coreset(rows, 29, random()).tolist()
    assert len(set(chosen)) == 29
    assert rows[chosen[:2]].unique(dim=0).shape[0] == 2  # one of each kind first


def test_all_rows_are_all_rows():
    assert greedy_coreset(torch.randn(9, 2), 9, random()).tolist() == list(range(9))


def test_the_coreset_covers_better_than_as_many_rows_at_random():
    rows = torch.cat([torch.randn(500, 5, generator=random(1)), 20 + torch.randn(5, 5, generator=random(2))])

    def farthest(chosen):
        return torch.cdist(rows, rows[chosen]).amin(1).max()

    assert farthest(greedy_coreset(rows, 25, random())) < farthest(
        torch.randperm(505, generator=random())[:25]
    )


def test_long_rows_are_projected_and_distances_hardly_change():
    rows = torch.randn(60, 700, generator=random(1)) * torch.linspace(0.2, 3, 60)[:, None]
    chosen = greedy_coreset(rows, 10, random()).tolist()
    exact = plain_coreset(rows, 10, chosen[0])
    assert len(set(chosen[1:]) & set(exact[1:])) >= 7


def test_patches_are_means_over_their_neighbours_and_zeros_beyond_the_border():
    detector = make(normalise=False).fit(zeros(4))
    maps = [torch.randn(1, 2, 4, 4, generator=random()), torch.randn(1, 3, 2, 2, generator=random())]
    joined = detector.patches(maps)
    assert joined.shape == (1, 5, 4, 4)
    torch.testing.assert_close(joined[0, :2, 1, 2], maps[0][0, :, 0:3, 1:4].mean((1, 2)))
    torch.testing.assert_close(joined[0, :2, 0, 0], maps[0][0, :, 0:2, 0:2].sum((1, 2)) / 9)  # the corner: 4
    whole = maps[1].sum((2, 3), keepdim=True).expand(-1, -1, 4, 4) / 9  # 3x3 covers the 2x2 map everywhere
    torch.testing.assert_close(joined[:, 2:], whole)
    detector = make(normalise=False, neighborhood=1).fit(zeros(4))
    enlarged = F.interpolate(maps[1], (4, 4), mode="bilinear")
    torch.testing.assert_close(detector.patches(maps), torch.cat([maps[0], enlarged], 1))


def with_memory(memory: np.ndarray, **settings) -> PatchCore:
    detector = make(**settings).fit(zeros(3))
    detector._remember(torch.from_numpy(memory))
    return detector


def test_the_score_is_equation_7():
    rng = np.random.default_rng(0)
    memory, patches = rng.normal(size=(50, 4)).astype(np.float32), rng.normal(size=(9, 4)).astype(np.float32)
    distances = np.linalg.norm(patches[:, None] - memory, axis=2)  # (9, 50)
    farthest = distances.min(1).argmax()
    s_star, m_star = distances[farthest].min(), distances[farthest].argmin()
    around = np.linalg.norm(memory - memory[m_star], axis=1).argsort()[:5]  # N_b(m*), m* among them
    weight = 1 - np.exp(s_star) / np.exp(distances[farthest, around]).sum()
    detector = with_memory(memory, n_reweighted=5)
    assert detector.image_score(patches, (3, 3)) == pytest.approx(weight * s_star, rel=1e-5)
    np.testing.assert_allclose(detector.distances(patches), distances.min(1), rtol=1e-4)
    for b in (0, 1):
        detector.n_reweighted = b
        assert detector.image_score(patches, (3, 3)) == pytest.approx(s_star, rel=1e-5)


def test_a_patch_far_away_has_a_finite_score():
    memory = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    score = with_memory(memory).image_score(np.full((4, 4), 1e4, np.float32), (2, 2))
    assert np.isfinite(score) and score > 1e3  # exp(20000) is not a number of a computer


def test_the_memory_holds_the_wanted_fraction_and_knows_its_patches():
    x = zeros(10)
    detector = make(coreset=0.1).fit(x)
    assert detector.memory_.shape == (64, 14)
    everything = make(coreset=1.0, n_reweighted=0).fit(x)
    assert everything.memory_.shape == (640, 14)
    np.testing.assert_allclose(everything.anomaly_score(x), 0, atol=0.01)  # by rounding
    assert make(coreset=1e-6).fit(x).memory_.shape == (1, 14)
    assert np.isfinite(make(coreset=1e-6).fit(x).anomaly_score(x)).all()


def test_objects_may_stand_anywhere():
    """A patch is compared with those of all positions: shifted by the stride of the maps, it is known."""
    x = np.zeros((6, 64, 64), np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None]
    x[:, 24:32, 24:32] = 200
    shifted = np.roll(x[:1], (8, 8), axis=(1, 2))
    detector = make(input_size=64, n_reweighted=0, coreset=1.0).fit(x)
    strange = x[:1].copy()
    strange[:, 26:30, 26:30] = 0
    known, unknown = detector.anomaly_score(np.concatenate([shifted, strange]))
    assert known < unknown / 2


def test_what_cannot_work_is_refused():
    for bad in (0.0, 1.5):
        with raises_sentence(ValueError, "coreset to be above 0", str(bad)):
            make(coreset=bad).fit(zeros(8))
    for bad in (0, 2):
        with raises_sentence(ValueError, "neighborhood to be an odd number", str(bad)):
            make(neighborhood=bad).fit(zeros(8))
