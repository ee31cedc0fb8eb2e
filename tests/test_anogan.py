"""AnoGAN: the losses of the search by hand, the search itself, and what it must not touch."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import digits, raises_sentence, started, zeros
from helpers import zeros_in_a_batch as batch

from minigan import AnoGAN, anogan

SMALL = {"width": 4, "z_dim": 6, "progress": False}


def built(**more) -> AnoGAN:
    return started(AnoGAN(**SMALL | more), training=False)


@pytest.fixture(scope="module")
def trained() -> AnoGAN:
    """A GAN of zeros and ones, trained until it draws both, so that a search has somewhere to go."""
    settings = {"width": 8, "epochs": 15, "batch_size": 16, "lr": 1e-3, "search_lr": 0.1, "search_steps": 30}
    return AnoGAN(**SMALL | settings).fit(np.concatenate([zeros(80), ones(80)]))


def ones(n: int) -> np.ndarray:
    images, labels = digits()
    return images[labels == 1][:n]


# ---------------------------------------------------------------------- losses


def test_both_losses_are_sums_for_each_query():
    x, x_hat = torch.tensor([[[[1.0, -1.0]]], [[[0.0, 0.0]]]]), torch.tensor([[[[0.5, 0.0]]], [[[0.0, 2.0]]]])
    assert anogan.L_R(x, x_hat).tolist() == [1.5, 2.0]
    assert anogan.L_D(x, x_hat).tolist() == [1.5, 2.0]


def test_the_score_weighs_both_losses_of_the_z_that_was_found(trained):
    x = batch(3)
    f, z = trained.search(x)
    with torch.no_grad():
        x_hat = trained.G(z)
        f_hat = trained.D(x_hat)[1]
        torch.testing.assert_close(f, trained.D(x)[1])
    residual = (x - x_hat).abs().sum((1, 2, 3)).numpy()
    features = (f - f_hat).abs().sum((1, 2, 3)).numpy()
    expected = {"both": 0.9 * residual + 0.1 * features, "residual": residual, "features": features}
    for name, scores in expected.items():
        trained.set_params(scored_by=name)
        np.testing.assert_allclose(trained.anomaly_score(zeros(3)), scores, rtol=1e-4, err_msg=name)
    trained.set_params(scored_by="both")


# ---------------------------------------------------------------------- the search


def test_two_queries_get_two_different_closest_images(trained):
    """Code that skips the search returns one image for all queries."""
    queries = np.concatenate([zeros(10), ones(10)])
    closest = trained.reconstruct(queries)
    start = trained.G(trained.G.get_buffer("z_1")[None]).detach().numpy()
    assert (np.abs(closest - start).mean((1, 2, 3)) > 0.05).all()
    assert np.abs(closest[0] - closest[10]).mean() > 0.1
    # What was found for a zero is closer to zeros than what was found for a one, and the other way round.
    x = queries[:, None] / 127.5 - 1
    distance = np.abs(x[:, None] - closest[None]).mean((2, 3, 4))  # (query, closest image)
    assert distance[:10, :10].mean() < 0.9 * distance[:10, 10:].mean()
    assert distance[10:, 10:].mean() < 0.9 * distance[10:, :10].mean()


def test_more_steps_find_closer_images(trained):
    x, residuals = zeros(20), []
    for steps in (1, 15, 60):
        trained.set_params(search_steps=steps, scored_by="residual")
        residuals.append(trained.anomaly_score(x).mean())
    trained.set_params(search_steps=30, scored_by="both")
    assert residuals[1] < 0.95 * residuals[0] and residuals[2] < 0.95 * residuals[1], residuals


def test_a_search_is_adam_on_z_alone(trained):
    """Written out for one query, with Adam's rule by hand, and found again in a batch of others."""
    x, steps = batch(5), 4
    trained.set_params(search_steps=steps)
    z = trained.G.get_buffer("z_1").double().clone()
    G, D = (copy_in_double(network) for network in (trained.G, trained.D))
    m, v = torch.zeros_like(z), torch.zeros_like(z)
    query = x[2:3].double()
    for t in range(1, steps + 1):
        z.requires_grad_()
        x_hat = G(z[None])
        loss = 0.9 * (query - x_hat).abs().sum() + 0.1 * (D(query)[1] - D(x_hat)[1]).abs().sum()
        (g,) = torch.autograd.grad(loss, z)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        z = (z - 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)).detach()
    found = trained.search(x)[1]
    trained.set_params(search_steps=30)
    torch.testing.assert_close(found[2].double(), z, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found[0], found[2], atol=1e-2)


def copy_in_double(network):
    return copy.deepcopy(network).double().eval()


def test_a_search_trains_nothing_and_leaves_no_gradients():
    detector = built(search_steps=3)
    detector.search(batch())
    for network in (detector.G, detector.D):
        assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_every_search_starts_at_the_same_z_drawn_from_the_seed():
    first, again, other = built(seed=1), built(seed=1), built(seed=2)
    start = first.G.get_buffer("z_1")
    assert start.shape == (6,) and start.abs().max() <= 1
    assert torch.equal(start, again.G.get_buffer("z_1"))
    assert not torch.equal(start, other.G.get_buffer("z_1"))


# ---------------------------------------------------------------------- training


def test_training_draws_uniform_latents_and_has_dcgans_losses(monkeypatch):
    detector, seen = built(z_dim=400), []
    detector.G.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for optimiser in (detector.opt_D, detector.opt_G):
        monkeypatch.setattr(optimiser, "step", lambda: None)
    detector._set_mode(training=True)
    x = batch()
    losses = detector.training_step(x)
    (z,) = seen
    assert z.shape == (8, 400) and z.min() < -0.95 and z.max() > 0.95 and z.abs().max() <= 1
    assert z.std().item() == pytest.approx(1 / math.sqrt(3), rel=0.03)
    real, fake = detector.D(x)[0].sigmoid(), detector.D(detector.G(z))[0].sigmoid()
    assert losses["loss_D"].item() == pytest.approx(
        (-real.log().mean() - (1 - fake).log().mean()).item(), rel=1e-4
    )
    assert losses["loss_G"].item() == pytest.approx(-fake.log().mean().item(), rel=1e-4)


def test_samples_come_from_uniform_latents(trained):
    seen = []
    hook = trained.G.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    trained.sample(2000)
    hook.remove()
    assert seen[0].abs().max() <= 1 and seen[0].std().item() == pytest.approx(1 / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"search_steps": 0}, "search_steps"),
        ({"search_lr": 0.0}, "search_lr"),
        ({"lambda_d": 1.5}, "lambda_d"),
        ({"scored_by": "discriminator"}, "scored_by"),
        ({"batch_size": 1}, "batch_size"),
    ],
)
def test_impossible_parameters(bad, word):
    with raises_sentence(ValueError, word):
        AnoGAN(**SMALL | bad).fit(zeros())
