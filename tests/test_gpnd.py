"""GPND: its densities against scipy's, its geometry on flat surfaces, its losses by hand, and each switch."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import in_double, raises_sentence, random_batch, started, zeros
from helpers import zeros_in_a_batch as batch
from scipy import stats
from torch import nn

from minigan import GPND, gpnd

SMALL = {"width": 4, "z_dim": 3, "epochs": 2, "batch_size": 8, "progress": False}
M = 16 * 16  # numbers of an image


def fitted(**more) -> GPND:
    return GPND(**SMALL | more).fit(zeros())


def built(**more) -> GPND:
    detector = started(GPND(**SMALL | more))
    detector.epoch_ = 1
    return detector


# ---------------------------------------------------------------------- densities


def test_p_z_is_scipys_generalised_gaussian_in_each_dimension():
    rng = np.random.default_rng(0)
    shapes, scales = [0.8, 1.5, 6.0], [0.1, 1.0, 5.0]
    z = np.stack(
        [stats.gennorm.rvs(b, 3.0, a, 4000, random_state=rng) for b, a in zip(shapes, scales, strict=True)], 1
    )
    p = gpnd.Densities(3)
    p.fit(torch.from_numpy(z), torch.ones(4000))
    for i, column in enumerate(z.T):
        b, centre, a = stats.gennorm.fit(column, 2.0, floc=column.mean(), scale=column.std())
        assert (p.shape[i].item(), p.scale[i].item()) == pytest.approx((b, a), rel=0.01)
        assert p.centre[i].item() == pytest.approx(centre)
    some = z[:5] + 1
    expected = stats.gennorm.logpdf(some, *(t.numpy() for t in (p.shape, p.centre, p.scale))).sum(1)
    np.testing.assert_allclose(p.log_p_z(torch.from_numpy(some)), expected)


def test_equal_codes_and_distances_have_a_density():
    p = gpnd.Densities(2)
    p.fit(torch.ones(10, 2), torch.zeros(10))
    assert torch.isfinite(p.log_p_z(torch.tensor([[1.0, 1.0], [1e3, -1e3]]))).all()
    assert torch.isfinite(p.log_p_r(torch.tensor([0.0, 1e-9, 1e3]))).all()
    assert gpnd.SHAPES[0] <= p.shape.min() <= p.shape.max() <= gpnd.SHAPES[1]


def test_p_r_is_a_density_that_follows_the_distances_and_has_tails():
    r = torch.from_numpy(stats.gamma.rvs(20, size=5000, random_state=np.random.default_rng(0))) / 4
    p = gpnd.Densities(1)
    p.fit(torch.zeros(5000, 1), r)
    grid = torch.linspace(0.01, 40, 100_000, dtype=torch.float64)
    assert torch.trapezoid(p.log_p_r(grid).exp(), grid).item() == pytest.approx(1, abs=1e-4)
    middle = torch.tensor([3.5, 5.0, 6.5], dtype=torch.float64)
    np.testing.assert_allclose(
        p.log_p_r(middle).exp(), stats.gamma.pdf(middle * 4, 20) * 4, rtol=0.15, err_msg="the true density"
    )
    far = p.log_p_r(torch.tensor([20.0, 50.0, 1e3, 1e6]))  # a histogram would be 0 there
    assert torch.isfinite(far).all() and (far.diff() < 0).all()
    near = p.log_p_r(torch.tensor([1.0, 0.1, 0.001]))
    assert torch.isfinite(near).all() and (near.diff() < 0).all()


def test_p_r_by_hand():
    p = gpnd.Densities(1, n_quantiles=2)
    p.log_r.copy_(torch.tensor([0.0, 1.0]))
    p.bandwidth.fill_(0.5)
    r = np.array([0.5, 2.0])
    kernels = [stats.norm.pdf(np.log(r), centre, 0.5) for centre in (0.0, 1.0)]
    np.testing.assert_allclose(p.log_p_r(torch.from_numpy(r)).exp(), np.mean(kernels, axis=0) / r)


@pytest.mark.parametrize("n_dims", [1, 2, 7, 240])
def test_p_perp_is_that_of_a_vector_by_its_length(n_dims):
    """The length of a vector from N(0, I) has a chi distribution, and its density is known in full."""
    r = torch.tensor([0.3, 1.0, 15.0], dtype=torch.float64)
    log_p_r = torch.from_numpy(stats.chi.logpdf(r, n_dims))
    expected = -n_dims / 2 * math.log(2 * math.pi) - r.square() / 2
    torch.testing.assert_close(gpnd.log_p_perp(r, log_p_r, n_dims), expected)


# ---------------------------------------------------------------------- the surface


def test_the_jacobian_of_the_decoder_is_its_slope():
    detector = in_double(built())
    detector._set_mode(training=False)
    with torch.no_grad():
        for weight in detector.f.parameters():
            weight.mul_(3)  # far from linear
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.inference_mode():
        J = gpnd.jacobian(detector.f, z)
        assert J.shape == (4, M, 3)
        for i in range(3):
            step = 1e-5 * torch.eye(3, dtype=torch.float64)[i]
            slope = (detector.f(z + step) - detector.f(z - step)).flatten(1) / 2e-5
            torch.testing.assert_close(J[:, :, i], slope, rtol=1e-5, atol=1e-8)
    assert all(weight.grad is None for weight in detector.f.parameters())


def flat(**more) -> tuple[GPND, torch.Tensor, torch.Tensor]:
    """A detector whose f is x = A z and whose g is x -> B x, not the closest point; A (M, 3) and B (3, M)."""
    detector, generator = built(**more), torch.Generator().manual_seed(1)
    A = torch.randn(M, 3, generator=generator, dtype=torch.float64) * torch.tensor([0.5, 1.0, 2.0])
    B = torch.linalg.pinv(A) + 0.003 * torch.randn(3, M, generator=generator, dtype=torch.float64)
    detector.g = nn.Sequential(nn.Flatten(), nn.Linear(M, 3, bias=False, dtype=torch.float64))
    detector.f = nn.Sequential(nn.Linear(3, M, bias=False, dtype=torch.float64), nn.Unflatten(1, (1, 16, 16)))
    with torch.no_grad():
        detector.g[1].weight.copy_(B)
        detector.f[0].weight.copy_(A)
    detector.p.shape.copy_(torch.tensor([2.0, 1.0, 3.0]))
    detector.p.scale.copy_(torch.tensor([1.0, 2.0, 0.5]))
    detector.p.centre.copy_(torch.tensor([0.0, 0.1, -0.1]))
    detector.p.log_r.copy_(torch.linspace(2, 3, 100, dtype=torch.float64))
    detector.p.bandwidth.fill_(0.2)
    return detector, A, B


def by_hand(p: gpnd.Densities, A: np.ndarray, z: np.ndarray, r: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of -log p(x), for z (n, 3) and r (n,) on the surface x = A z, from the equations."""
    p_z = stats.gennorm.pdf(z, *(t.numpy() for t in (p.shape, p.centre, p.scale))).prod(1)
    stretch = np.linalg.det(A.T @ A) ** 0.5  # of volumes, by f: |det S|
    p_r = np.mean([stats.norm.pdf(np.log(r), centre, 0.2) for centre in p.log_r.tolist()], axis=0) / r
    n = M - 3
    log_sphere = math.log(2) + n / 2 * math.log(math.pi) - math.lgamma(n / 2) + (n - 1) * np.log(r)
    parallel, perpendicular = -np.log(p_z / stretch), log_sphere - np.log(p_r)
    novelty = parallel + perpendicular
    return {"parallel": parallel, "perpendicular": perpendicular, "novelty": novelty, "residual": r}


def test_the_score_on_a_flat_surface_by_hand():
    detector, A, B = (t if isinstance(t, GPND) else t.numpy() for t in flat())
    x = random_batch(6)
    rows = x.flatten(1).numpy()
    z = rows @ B.T
    r = np.linalg.norm(rows - z @ A.T, axis=1)
    for scored_by, expected in by_hand(detector.p, A, z, r).items():
        detector.scored_by = scored_by
        with torch.inference_mode():
            np.testing.assert_allclose(detector.score_step(x), expected, err_msg=scored_by)


def test_without_the_jacobian_the_determinant_is_left_out():
    detector, A, _ = flat()
    x = random_batch(4)
    with torch.inference_mode():
        whole = detector.score_step(x)
        detector.jacobian = False
        without = detector.score_step(x)
    log_det = torch.linalg.det(A.T @ A).sqrt().log()
    torch.testing.assert_close(whole - without, log_det.expand(4))


def test_the_power_scales_the_dimensions_across_the_surface():
    detector, _, _ = flat(scored_by="perpendicular")
    x = random_batch(4)
    with torch.inference_mode():
        r = detector.place(x)[1]
        for power in (1.0, 0.2):
            detector.power = power
            found = detector.score_step(x)
            expected = -gpnd.log_p_perp(r, detector.p.log_p_r(r), power * (M - 3))
            torch.testing.assert_close(found, expected)
            # Between two images, the logarithm of r counts m - d - 1 times, so r is nearly all of the score.
            of_r = (power * (M - 3) - 1) * r.log().diff() - detector.p.log_p_r(r).diff()
            torch.testing.assert_close(found.diff(), of_r)


def test_a_direction_in_which_the_decoder_is_still_leaves_scores_finite():
    detector, _, _ = flat()
    with torch.no_grad():
        detector.f[0].weight[:, 1] = 0
    with torch.inference_mode():
        assert torch.isfinite(detector.score_step(random_batch(4))).all()


def test_scores_grow_with_the_distance_from_the_surface():
    detector, A, _ = flat()
    basis = torch.linalg.qr(torch.cat([A, torch.eye(M, 1, dtype=torch.float64)], 1)).Q
    away = basis[:, 3].reshape(1, 1, 16, 16)  # at right angles to the surface
    with torch.no_grad():
        detector.g[1].weight.copy_(torch.linalg.pinv(A))
        scores = detector.score_step(torch.cat([r * away for r in (15.0, 30.0, 60.0, 1e3, 1e5)]))
    assert (scores.diff() > 0).all()


# ---------------------------------------------------------------------- learning


def test_losses_by_hand(monkeypatch):
    draw = GPND.draw
    monkeypatch.setattr(GPND, "draw", lambda self, n: draw(self, n).double())
    detector, x = in_double(built(lambda_error=0.7, lr=0.0)), batch().double()  # nothing moves
    twin = copy.deepcopy(detector)
    found = detector.training_step(x)
    fake, z = twin.f(twin.draw(8)), twin.g(x)
    x_hat, light = (twin.f(z) + 1) / 2, (x + 1) / 2

    def log_real(logits):
        return logits.sigmoid().log().mean()

    def log_fake(logits):
        return (1 - logits.sigmoid()).log().mean()

    expected = {
        "loss_Dx": -log_real(twin.D_x(x)[0]) - log_fake(twin.D_x(fake)[0]),
        "loss_f": -log_real(twin.D_x(fake)[0]),
        "loss_Dz": -log_real(twin.D_z(twin.draw(8))) - log_fake(twin.D_z(z)),
        "loss_g": -log_real(twin.D_z(z)),
        "L_error": -(light * x_hat.log() + (1 - light) * (1 - x_hat).log()).mean(),
    }
    assert {k: v.item() for k, v in found.items()} == pytest.approx(
        {k: v.item() for k, v in expected.items()}
    )
    total = expected["loss_g"] + 0.7 * expected["L_error"]  # the last gradients that g and f got
    networks = [*twin.g.parameters(), *twin.f.parameters()]
    given = [p.grad for p in (*detector.g.parameters(), *detector.f.parameters())]
    for mine, theirs in zip(given, torch.autograd.grad(total, networks), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_four_updates_in_the_papers_order(monkeypatch):
    detector, order = built(), []
    networks = {
        name: {id(p) for p in getattr(detector, name).parameters()} for name in ("g", "f", "D_x", "D_z")
    }
    of = {
        "opt_Dx": networks["D_x"],
        "opt_f": networks["f"],
        "opt_Dz": networks["D_z"],
        "opt_gf": networks["g"] | networks["f"],
    }
    for name, owned in of.items():
        optimiser = getattr(detector, name)
        assert {id(p) for group in optimiser.param_groups for p in group["params"]} == owned
        monkeypatch.setattr(optimiser, "step", lambda name=name: order.append(name))
    detector.training_step(batch())
    assert order == list(of)


def test_the_learning_rate_is_quartered_after_every_such_fraction_of_the_epochs():
    detector, rates = built(quarter_every=0.375, epochs=8, lr=0.16), []
    for detector.epoch_ in range(1, 8):
        detector.start_epoch()
        rates.append({o.param_groups[0]["lr"] for o in (detector.opt_Dx, detector.opt_f)})
        rates[-1] |= {o.param_groups[0]["lr"] for o in (detector.opt_Dz, detector.opt_gf)}
    assert rates == [{0.16}] * 2 + [{0.04}] * 3 + [{0.01}] * 2


def test_latent_discriminator_has_two_hidden_layers_of_128():
    n = sum(p.numel() for p in gpnd.LatentDiscriminator(16).parameters())
    assert n == (16 * 128 + 128) + (128 * 128 + 128) + (128 + 1)


# ---------------------------------------------------------------------- statistics


def test_densities_are_those_of_the_training_images():
    x = zeros(32)
    detector = fitted_on(x)
    with torch.no_grad():
        z, r = detector.place(batch(32))
    torch.testing.assert_close(detector.p.centre, z.double().mean(0), rtol=1e-4, atol=1e-6)
    log_r = r.double().log()
    assert detector.p.log_r.mean().item() == pytest.approx(log_r.mean().item(), abs=0.01)
    assert log_r.min() <= detector.p.log_r.min() <= detector.p.log_r.max() <= log_r.max()
    assert detector.p.bandwidth.item() == pytest.approx(
        log_r.std(correction=0).item() / 2, rel=1e-3
    )  # 32^-0.2


def fitted_on(x: np.ndarray, **more) -> GPND:
    """One epoch of one batch, without held-out images."""
    return GPND(**SMALL | {"epochs": 1, "batch_size": len(x), "holdout": 0.0} | more).fit(x)


def test_running_averages_are_those_of_reconstructed_training_images():
    x = zeros(32)
    detector = fitted_on(x)
    norm = next(m for m in detector.f.modules() if isinstance(m, nn.BatchNorm2d))
    seen = []
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    mean = norm.running_mean.clone()
    for m in detector.g.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.train()  # as while they were collected
    with torch.no_grad():
        detector.f(detector.g(batch(32)))
    torch.testing.assert_close(mean, seen[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    usual = fitted_on(x, collect_norms=False)
    assert not np.array_equal(usual.anomaly_score(x), detector.anomaly_score(x))


# ---------------------------------------------------------------------- using it


def test_scored_by():
    detector, x = fitted(), zeros(5)
    scores = {}
    for name in ("novelty", "parallel", "perpendicular", "residual"):
        detector.scored_by = name
        scores[name] = detector.anomaly_score(x)
    np.testing.assert_allclose(scores["novelty"], scores["parallel"] + scores["perpendicular"])
    r = np.linalg.norm((x[:, None] / 127.5 - 1 - detector.reconstruct(x)).reshape(5, -1), axis=1)
    np.testing.assert_allclose(scores["residual"], r, rtol=1e-4)
    detector.scored_by = "probability"
    with raises_sentence(ValueError, "scored_by", "perpendicular", "probability"):
        detector.anomaly_score(x)


def test_samples_are_decoded_from_standard_normal_codes():
    detector, seen = fitted(), []
    detector.f.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    detector.sample(3000)
    assert seen[0].shape == (3000, 3)
    assert seen[0].std().item() == pytest.approx(1, rel=0.03) and abs(seen[0].mean().item()) < 0.03


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"z_dim": 0}, "z_dim"),
        ({"z_dim": 256}, "z_dim"),
        ({"lambda_error": -1.0}, "lambda_error"),
        ({"power": 0.0}, "power"),
        ({"quarter_every": 0.0}, "quarter_every"),
        ({"scored_by": "r"}, "scored_by"),
        ({"batch_size": 1}, "batch_size"),
    ],
)
def test_impossible_parameters(bad, word):
    with raises_sentence(ValueError, word):
        fitted(**bad)
