"""MemAE: addressing, shrinkage and losses by hand, and that images are reconstructed from memories alone."""

import math

import numpy as np
import pytest
import torch
from helpers import raises_sentence, zeros
from helpers import zeros_in_a_batch as batch

from minigan import MemAE, memae

SMALL = {"width": 4, "z_dim": 5, "n_memories": 6, "epochs": 2, "batch_size": 8, "progress": False}


def fitted(**more) -> MemAE:
    return MemAE(**SMALL | more).fit(zeros())


def memory(items: list[list[float]], shrinkage: float = 0.0, similarity="cosine") -> memae.Memory:
    module = memae.Memory(len(items), len(items[0]), shrinkage, similarity)
    with torch.no_grad():
        module.items.copy_(torch.tensor(items))
    return module


# ---------------------------------------------------------------------- the memory


def test_memories_are_addressed_by_the_softmax_of_their_similarity():
    items, z = [[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]], torch.tensor([[5.0, 0.0]])
    e = np.exp([1.0, 0.0, -1.0])  # cosines
    z_hat, w = memory(items)(z)
    np.testing.assert_allclose(w.detach(), [e / e.sum()], rtol=1e-5)
    np.testing.assert_allclose(z_hat.detach(), w.detach().numpy() @ np.array(items), rtol=1e-5)
    e = np.exp([10.0, 0.0, -15.0])  # inner products
    np.testing.assert_allclose(memory(items, similarity="inner")(z)[1].detach(), [e / e.sum()], atol=1e-6)


def test_shrinkage_drops_small_weights_and_the_others_add_up_to_one():
    w = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
    torch.testing.assert_close(memae.shrink(w, 0.0), w)
    expected = torch.tensor(
        [[0.0, 0.0, 3 / 7, 4 / 7], [0.0, 0.0, 0.0, 0.0]]
    )  # none is above 1/4 in the second
    torch.testing.assert_close(memae.shrink(w, 0.25), expected)


def test_the_threshold_counts_in_parts_of_the_number_of_memories():
    assert memory([[1.0, 0.0]] * 20, shrinkage=1.5).threshold == pytest.approx(1.5 / 20)


def test_cosines_cannot_make_weights_reach_eight_parts():
    """The largest weight there is: one memory like the code, all the others opposite."""
    n = 50
    w = memory([[1.0, 0.0]] + [[-1.0, 0.0]] * (n - 1)).address(torch.tensor([[1.0, 0.0]]))
    assert w.max().item() == pytest.approx(math.e**2 / (math.e**2 + n - 1), rel=1e-5) and w.max() < 8 / n
    # So a threshold above it leaves nothing, whatever the image.
    dead = memory(torch.randn(n, 2, generator=torch.Generator().manual_seed(0)).tolist(), shrinkage=8.0)
    z_hat, w = dead(torch.tensor([[1.0, 0.0], [0.3, 0.7]]))
    assert not w.any() and not z_hat.any()


def test_images_are_reconstructed_from_memories_alone():
    detector, x = fitted(), np.concatenate([zeros(5), 255 - zeros(5)])
    w = detector.memory_weights(x)
    assert w.shape == (10, 6) and (w >= 0).all()
    np.testing.assert_allclose(w.sum(1), 1, rtol=1e-5)
    assert (w == 0).any()
    with torch.no_grad():
        x_hat = detector.G(torch.from_numpy(w) @ detector.M.items)
    np.testing.assert_allclose(detector.reconstruct(x), x_hat, rtol=1e-4, atol=1e-6)
    memories = detector.memories()
    assert memories.shape == (6, 1, 16, 16) and np.abs(memories).max() <= 1


# ---------------------------------------------------------------------- losses and score


def test_losses_by_hand():
    w = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert memae.L_ent(w).item() == pytest.approx(math.log(2) / 2, rel=1e-5)
    x = torch.tensor([[[[1.0, -1.0]]]])
    assert memae.L_rec(x, torch.zeros_like(x) - 1).item() == 2.0


def test_a_step_descends_the_weighed_sum():
    detector = MemAE(**SMALL | {"lambda_ent": 0.7})
    detector.image_shape_ = (1, 16, 16)
    detector._start(detector.image_shape_)
    detector._set_mode(training=True)
    x_hat, w = detector.redraw(batch())
    total = (batch() - x_hat).square().mean() - 0.7 * (w * (w + 1e-12).log()).sum(1).mean()
    (expected,) = torch.autograd.grad(total, detector.M.items)
    detector.training_step(batch())
    torch.testing.assert_close(detector.M.items.grad, expected, rtol=1e-4, atol=1e-8)


def test_the_entropy_makes_the_weights_sparser():
    entropies = [fitted(lambda_ent=w, lr=1e-2, epochs=6).history_["L_ent"].iloc[-1] for w in (0.0, 1.0)]
    assert entropies[1] < 0.95 * entropies[0]


def test_the_score_is_the_squared_error_summed():
    detector = fitted()
    x, x_hat = zeros(5)[:, None] / 127.5 - 1, detector.reconstruct(zeros(5))
    np.testing.assert_allclose(detector.anomaly_score(zeros(5)), ((x - x_hat) ** 2).sum((1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(detector.anomaly_map(zeros(5)), np.abs(x - x_hat)[:, 0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"n_memories": 1}, "n_memories"),
        ({"shrinkage": -1.0}, "shrinkage"),
        ({"lambda_ent": -1.0}, "lambda_ent"),
        ({"similarity": "euclid"}, "similarity"),
        ({"batch_size": 1}, "batch_size"),
    ],
)
def test_impossible_parameters(bad, word):
    with raises_sentence(ValueError, word):
        fitted(**bad)
