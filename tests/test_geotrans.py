"""GeoTrans: the transformations, Dirichlet distributions, both scores, and what an epoch is."""

import math

import numpy as np
import pytest
import torch
from helpers import raises_sentence, zeros
from scipy.special import digamma
from scipy.stats import dirichlet

from minigan import GeoTrans, geotrans

SMALL = {"width": 4, "epochs": 1, "translate": False, "progress": False}


def built(**more) -> GeoTrans:
    detector = GeoTrans(**SMALL | more)
    detector.image_shape_ = (1, 16, 16)
    detector._start(detector.image_shape_)
    return detector


# ---------------------------------------------------------------------- transformations


def test_there_are_72_different_transformations_and_the_first_changes_nothing():
    how = geotrans.transformations(4)
    assert how.shape == (72, 4) and len(how.unique(dim=0)) == 72
    x = torch.rand(1, 3, 16, 16).expand(72, -1, -1, -1)
    seen = geotrans.transform(x, how)
    assert seen.shape == (72, 3, 16, 16) and torch.equal(seen[0], x[0])
    assert len(seen.flatten(1).unique(dim=0)) == 72  # no two do the same to an image without symmetry
    assert geotrans.transformations(0).shape == (8, 4)


def by_hand(image: np.ndarray, flip: int, down: int, right: int, turns: int) -> np.ndarray:
    """One channel: mirror, shift on a canvas padded with reflections, turn."""
    image = image[:, ::-1] if flip else image
    pad = max(abs(down), abs(right))
    wide = np.pad(image, pad, mode="symmetric")
    side = len(image)
    image = wide[pad - down : pad - down + side, pad - right : pad - right + side]
    return np.rot90(image, turns)


def test_transformations_against_numpy():
    rng = np.random.default_rng(0)
    how = geotrans.transformations(2)
    x = rng.random((len(how), 2, 8, 8))
    found = geotrans.transform(torch.from_numpy(x), how)
    for image, row, seen in zip(x, how.tolist(), found, strict=True):
        expected = np.stack([by_hand(channel, *row) for channel in image])
        np.testing.assert_array_equal(seen, expected, err_msg=str(row))


@pytest.mark.parametrize(("size", "shift"), [(16, 4), (32, 8)])
def test_a_shift_is_a_quarter_of_the_side(size, shift):
    detector = GeoTrans(**SMALL | {"translate": True})
    detector._start((1, size, size))
    assert len(detector.how) == 72 and detector.how[:, 1].unique().tolist() == [-shift, 0, shift]
    assert detector.how[:, 2].unique().tolist() == [-shift, 0, shift]


# ---------------------------------------------------------------------- training


def test_an_epoch_has_every_image_in_every_transformation_once():
    detector = built(batch_size=30)
    chosen = detector.batches(15, None)
    assert [len(part) for part in chosen] == [30] * 4
    pairs = {(int(i), int(j)) for i, j in zip(torch.cat(chosen), torch.cat(detector.wanted), strict=True)}
    assert len(pairs) == 15 * 8
    assert not torch.equal(chosen[0], detector.batches(15, None)[0])  # another order in the next epoch
    assert [len(part) for part in built(batch_size=50).batches(15, None)] == [50, 50]  # 20 are left out


def test_the_loss_is_the_cross_entropy_of_the_transformation_that_was_applied(monkeypatch):
    detector, seen = built(), []
    logits = torch.randn(3, 8, requires_grad=True)
    monkeypatch.setattr(detector.f, "forward", lambda x: seen.append(x) or logits)
    monkeypatch.setattr(detector.opt, "step", lambda: None)
    detector.step_, detector.wanted = 1, [None, torch.tensor([5, 0, 2])]
    x = torch.rand(3, 1, 16, 16)
    loss = detector.training_step(x)["cross_entropy"]
    p = logits.detach().softmax(1)
    assert loss.item() == pytest.approx(-(p[0, 5] * p[1, 0] * p[2, 2]).log().item() / 3, rel=1e-5)
    assert torch.equal(seen[0][0], x[0].flip(2).rot90(1, (1, 2)))  # number 5: mirrored, a quarter turn
    assert torch.equal(seen[0][1], x[1]) and torch.equal(seen[0][2], x[2].rot90(2, (1, 2)))


# ---------------------------------------------------------------------- scores


def test_the_inverse_of_digamma():
    x = torch.tensor([1e-3, 0.05, 0.4, 1.0, 7.0, 1e5], dtype=torch.float64)
    torch.testing.assert_close(geotrans.inverse_digamma(torch.digamma(x)), x, rtol=1e-8, atol=0)


def test_fitted_dirichlet_distributions_have_the_largest_likelihood():
    rng = np.random.default_rng(0)
    true = np.array([[0.3, 2.0, 5.0, 0.8], [9.0, 1.0, 1.0, 40.0]])
    y = np.stack([rng.dirichlet(alpha, 4000) for alpha in true])  # (2, n, 4)
    alpha = geotrans.fit_dirichlet(torch.from_numpy(np.log(y))).numpy()
    np.testing.assert_allclose(alpha, true, rtol=0.1)
    # At the maximum, the expected logarithms are those of the data.
    expected = digamma(alpha) - digamma(alpha.sum(1, keepdims=True))
    np.testing.assert_allclose(expected, np.log(y).mean(1), atol=2e-3)


def test_outputs_that_do_not_vary_have_a_finite_fit():
    log_y = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log().expand(5, 3)
    alpha = geotrans.fit_dirichlet(log_y, iterations=20)
    assert alpha.isfinite().all() and alpha.sum() >= 1e5
    torch.testing.assert_close(alpha / alpha.sum(), log_y[0].exp(), rtol=1e-3, atol=0)


def test_both_scores_by_hand():
    rng = np.random.default_rng(0)
    detector = built()
    y, alpha = rng.dirichlet(np.ones(8), (5, 8)), rng.uniform(0.2, 4, (8, 8))
    detector.dirichlets.alpha.copy_(torch.from_numpy(alpha))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "log_probabilities", lambda x: torch.from_numpy(np.log(y)))
        normalised = detector.score_step(None)
        detector.scored_by = "simple"
        simple = detector.score_step(None)
    for n in range(5):
        likelihood = [dirichlet.logpdf(y[n, i], alpha[i]) for i in range(8)]
        assert normalised[n].item() == pytest.approx(-np.mean(likelihood))
        assert simple[n].item() == pytest.approx(-np.mean([y[n, i, i] for i in range(8)]))


def test_row_i_holds_the_output_for_transformation_i(monkeypatch):
    detector, x = built(), torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        log_y = detector.log_probabilities(x)
        turned = detector.f(x.rot90(3, (2, 3))).log_softmax(1)
    assert log_y.shape == (2, 8, 8)
    torch.testing.assert_close(log_y[:, 3].float(), turned)
    torch.testing.assert_close(log_y.exp().sum(2), torch.ones(2, 8, dtype=torch.float64))


def test_the_distributions_are_those_of_the_training_images():
    x = zeros(20)
    detector = GeoTrans(**SMALL | {"holdout": 0.0}).fit(x)
    images = torch.from_numpy(x)[:, None] / 127.5 - 1
    with torch.no_grad():
        log_y = detector.log_probabilities(images)
    torch.testing.assert_close(
        detector.dirichlets.alpha, geotrans.fit_dirichlet(log_y.transpose(0, 1)), rtol=1e-3, atol=1e-6
    )
    detector.scored_by = "simpel"
    with raises_sentence(ValueError, "scored_by", "simple"):
        detector.anomaly_score(x)


def test_a_certain_but_unusual_output_is_noticed_by_the_dirichlet_score_alone():
    """A zero that was turned by 180 degrees gets both turns half and half; an anomaly is certain of one."""
    usual, certain = (
        torch.tensor([[0.498, 0.002, 0.498, 0.002]]),
        torch.tensor([[0.994, 0.002, 0.002, 0.002]]),
    )
    rng = np.random.default_rng(0)
    alpha = geotrans.fit_dirichlet(torch.from_numpy(rng.dirichlet([50, 0.5, 50, 0.5], 500)).log())
    table = geotrans.Dirichlets(1)
    table.alpha = alpha[None]
    scores = [table.surprise(y.double().log()[:, None]).item() for y in (usual, certain)]
    assert scores[1] > scores[0] + 10 and math.isfinite(scores[1])
    assert -certain[0, 0] < -usual[0, 0]  # by the simple score it would be the more normal one
