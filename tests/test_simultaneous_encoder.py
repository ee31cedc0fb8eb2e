"""The simultaneous encoder: losses and scores by hand, who learns what, and what growing does to scores."""

import copy
import math
from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import digits, raises_sentence, zeros
from helpers import zeros_in_a_batch as batch
from torch import nn

from minigan import SimultaneousEncoder, progressive
from minigan import simultaneous_encoder as se
from minigan.detector import parameter_types

SMALL = {"width": 4, "max_width": 8, "z_dim": 8, "batch_size": 8, "progress": False}
SHORT = SMALL | {"kimg": 0.2, "phase_kimg": 0.02, "epochs": 4}


def fitted(**more) -> SimultaneousEncoder:
    return SimultaneousEncoder(**SHORT | more).fit(zeros()) if more else copy.deepcopy(fitted_once())


@cache
def fitted_once() -> SimultaneousEncoder:
    return SimultaneousEncoder(**SHORT).fit(zeros())


def built(size: int = 16, **more) -> SimultaneousEncoder:
    detector = SimultaneousEncoder(**SMALL | {"kimg": 40, "phase_kimg": 1} | more)
    detector.image_shape_ = (1, size, size)
    detector._start(detector.image_shape_)
    return detector


@pytest.fixture
def double():
    """Everything in float64, so that gradients taken by hand agree to many digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# ---------------------------------------------------------------------- losses


def test_image_and_latent_distance_by_hand():
    assert se.d_I(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[2.0, 1.0]]]])).item() == 1.5
    z = torch.tensor([[3.0, 4.0]])  # scaled to a mean square of 1: (3, 4) / sqrt(12.5)
    expected = (3 / math.sqrt(12.5) + abs(4 / math.sqrt(12.5) - 1)) / 2
    assert se.d_z(z, torch.tensor([[0.0, 1.0]])).item() == pytest.approx(expected, rel=1e-6)


def test_no_loss_sees_the_length_of_a_code():
    detector = built()
    detector.level = 2.0
    fake = detector.G(detector.latents(4), 2.0).detach()
    z_hat = detector.E(fake, 2.0).detach().requires_grad_()
    loss = se.d_I(fake, detector.G(z_hat, 2.0))
    (gradient,) = torch.autograd.grad(loss, z_hat)
    along = (gradient * z_hat).sum(1) / (gradient.norm(dim=1) * z_hat.norm(dim=1))
    assert along.abs().max() < 1e-4  # the gradient is at a right angle to the code
    torch.testing.assert_close(se.d_I(fake, detector.G(7 * z_hat, 2.0)), loss, rtol=1e-4, atol=1e-6)


def test_loss_D_by_hand():
    detector = built(lambda_gp=0.0, drift=0.25)
    detector.criticise = lambda x: x.mean((1, 2, 3))
    real, fake = torch.full((2, 1, 4, 4), 2.0), torch.full((2, 1, 4, 4), 3.0)
    assert detector.loss_D(real, fake).item() == 3 - 2 + 0.25 * 4
    detector.lambda_gp = 10.0  # the slope of a mean over 16 pixels is 1/4 everywhere
    assert detector.loss_D(real, fake).item() == pytest.approx(2 + 10 * (0.25 - 1) ** 2)


def grads(network: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


@pytest.mark.parametrize("loss", ["image", "latent"])
@pytest.mark.parametrize("updates", ["G+E", "E"])
def test_who_learns_from_the_encoders_loss(updates, loss, monkeypatch):
    detector = built(encoder_updates=updates, encoder_loss=loss)
    x = batch()
    G = [p.clone() for p in detector.G.parameters()]
    monkeypatch.setattr(detector, "criticise", lambda x: x.mean((1, 2, 3)) * 0)  # no gradient from D
    monkeypatch.setattr(detector, "loss_D", lambda real, fake: detector.D(real, detector.level).sum())
    detector.training_step(x)
    moved = any(not torch.equal(a, b) for a, b in zip(G, detector.G.parameters(), strict=True))
    assert moved == (updates == "G+E")
    assert grads(detector.E)


def step_by_hand(twin: SimultaneousEncoder, D_after: nn.Module, x: torch.Tensor, level: float) -> tuple:
    """Eq. 1 with these networks: losses, and gradients by network. D moves before G and E look at it."""
    G, D, E, n = twin.G, twin.D, twin.E, len(x)

    def z() -> torch.Tensor:
        return torch.randn(n, twin.z_dim, generator=twin.rng_)

    def code(image: torch.Tensor) -> torch.Tensor:
        found = E(image, level)
        return torch.where(found > 0, found, 0.2 * found) if twin.leaky_code else found

    def encoder_loss(latent: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        if twin.encoder_loss == "image":
            return (fake - G(code(fake), level)).abs().mean()
        of_length_1 = latent / (latent.square().mean(1, keepdim=True) + 1e-8).sqrt()
        return (of_length_1 - code(fake)).abs().mean()

    real, fake = progressive.at_level(x, level), G(z(), level).detach()
    y_real, y_fake = D(real, level)[:, 0], D(fake, level)[:, 0]
    share = torch.rand(n, 1, 1, 1, generator=twin.rng_)
    between = (real + share * (fake - real)).requires_grad_()
    (slope,) = torch.autograd.grad(D(between, level).sum(), between, create_graph=True)
    penalty = ((slope.square().sum((1, 2, 3)).sqrt() - 1) ** 2).mean()
    loss_D = y_fake.mean() - y_real.mean() + twin.lambda_gp * penalty + twin.drift * (y_real**2).mean()
    gradients = {"D": gradients_of(loss_D, D)}

    latent = z()
    fake = G(latent, level)
    loss_G = -D_after(fake, level).mean()
    if twin.encoder_updates == "G+E":
        loss_E = encoder_loss(latent, fake)
        gradients["G"] = gradients_of(loss_G + loss_E, G)
    else:
        gradients["G"] = gradients_of(loss_G, G)  # hears nothing of E, which sees images of its own
        latent = z()
        loss_E = encoder_loss(latent, G(latent, level).detach())
    gradients["E"] = gradients_of(loss_E, E)
    losses = {"loss_D": loss_D, "loss_G": loss_G, "loss_E": loss_E}
    return {name: loss.item() for name, loss in losses.items()}, gradients


def gradients_of(loss: torch.Tensor, network: nn.Module) -> tuple:
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)


@pytest.mark.parametrize(
    ("parameters", "shown"),  # 1400: the level is 0.4
    [
        ({}, 0),
        ({}, 1400),
        ({"encoder_updates": "E"}, 4000),
        ({"encoder_loss": "latent"}, 1400),
        ({"encoder_loss": "latent", "encoder_updates": "E", "leaky_code": True}, 1400),
        ({"lambda_gp": 3.0, "drift": 0.5, "leaky_code": True}, 3500),
    ],
    ids=str,
)
def test_a_step_is_equation_1_by_hand(parameters, shown, double):
    detector, x = built(**parameters), batch().double()
    detector.shown, level = shown, detector.level_after(shown)
    for _ in range(2):  # the second time, with gradients of the first still around
        twin = copy.deepcopy(detector)
        found = {name: loss.item() for name, loss in detector.training_step(x).items()}
        losses, gradients = step_by_hand(twin, detector.D, x, level)
        assert found == pytest.approx(losses)
        for name, expected in gradients.items():
            for p, gradient in zip(getattr(detector, name).parameters(), expected, strict=True):
                torch.testing.assert_close(p.grad, gradient, msg=lambda m, name=name: f"{name}: {m}")
        assert detector.shown == twin.shown + len(x)
        detector.shown = shown


def test_each_network_is_moved_by_its_own_optimiser_only():
    detector = built()
    of = {name: {id(p) for p in getattr(detector, name).parameters()} for name in ("G", "D", "E")}
    for name in of:
        groups = getattr(detector, f"opt_{name}").param_groups
        assert {id(p) for group in groups for p in group["params"]} == of[name]
        assert groups[0]["lr"] == 1e-3 and groups[0]["betas"] == (0.0, 0.99)


def test_the_generator_learns_nothing_in_the_discriminators_step():
    detector = built()
    detector.level = 2.0
    with torch.no_grad():
        fake = detector.G(detector.latents(8), 2.0)
    detector.loss_D(batch(), fake).backward()
    assert grads(detector.D) and not grads(detector.G) and not grads(detector.E)


# ---------------------------------------------------------------------- the schedule


def test_batches_are_128_then_64_then_32_and_add_up():
    detector = built(size=64, batch_size=128, phase_kimg=0.5, kimg=8, epochs=2)
    detector.batch_size_ = 128
    detector.epoch_ = 1
    first = detector.batches(200, None)
    assert {len(chosen) for chosen in first} >= {128, 64}
    detector.shown = sum(map(len, first))
    assert 4000 <= detector.shown < 4000 + 64
    detector.epoch_ = 2
    second = detector.batches(200, None)
    assert {len(chosen) for chosen in second} == {32}  # 4.5 to 8 thousand: 64 pixels
    assert 8000 <= detector.shown + sum(map(len, second)) < 8032
    count = torch.bincount(torch.cat(first)[: 200 * 19])  # whole passes: every image as often
    assert count.min() == count.max() == 19


def test_levels_follow_the_images_shown():
    detector = built(size=32, phase_kimg=1.0)
    assert [detector.level_after(n) for n in (0, 1000, 1500, 2000, 3000, 3250, 60_000)] == [
        0,
        0,
        0.5,
        1,
        1,
        1.25,
        3,
    ]


def test_the_schedule_goes_on_where_the_last_part_ended():
    detector = fitted(kimg=0.32, phase_kimg=0.04, epochs=4)
    assert detector.shown == 320 and detector.steps == 40 and detector.level == 2
    assert detector.history_.index.tolist() == [1, 2, 3, 4]


def test_images_come_in_random_order_each_as_often_as_another():
    detector = built(kimg=0.5, phase_kimg=0.02, epochs=1)
    detector.batch_size_, detector.epoch_ = 8, 1
    first, second = torch.cat(detector.batches(50, None)), torch.cat(detector.batches(50, None))
    assert torch.bincount(first[:500]).tolist() == [10] * 50
    assert not torch.equal(first[:50], first[50:100]) and not torch.equal(first, second)


def test_a_training_too_short_to_grow_up_is_told_before_it_starts():
    with raises_sentence(ValueError, "0.0879", "16 pixels", "phase_kimg=0.02", "at least 0.088"):
        fitted(kimg=0.0879)
    assert fitted(kimg=0.088, phase_kimg=0.02).level == 2


def test_averages_follow_at_the_stated_pace():
    detector = built(decay=0.5)
    start = detector.G.first[2].weight.clone()
    detector.training_step(batch())
    one = detector.G.first[2].weight.clone()
    mean = 0.9 * one + 0.1 * start  # t = 0: a decay of 1/10
    torch.testing.assert_close(detector.G_mean.first[2].weight, mean)
    for steps in range(2, 21):
        detector.training_step(batch())
        decay = min(0.5, steps / (9 + steps))
        mean = decay * mean + (1 - decay) * detector.G.first[2].weight
    torch.testing.assert_close(detector.G_mean.first[2].weight, mean)
    assert decay == 0.5


def test_both_networks_that_score_have_averages_of_all_their_weights():
    detector = built()
    pairs = [(detector.G_mean, detector.G), (detector.E_mean, detector.E)]
    expected = [p.detach().clone() for mean, _ in pairs for p in mean.parameters()]
    for steps in (1, 2, 3):
        detector.shown = 4000  # grown up
        detector.training_step(batch())
        decay = steps / (9 + steps)
        now = [p.detach() for _, network in pairs for p in network.parameters()]
        expected = [decay * mean + (1 - decay) * p for mean, p in zip(expected, now, strict=True)]
    found = [p for mean, _ in pairs for p in mean.parameters()]
    for p, by_hand in zip(found, expected, strict=True):
        torch.testing.assert_close(p, by_hand)


def test_the_discriminator_alone_looks_at_the_whole_batch():
    detector, x = built(), batch(4)
    with torch.no_grad():
        assert (detector.D(x, 2.0)[:1] - detector.D(x[:1], 2.0)).abs().item() > 1e-6
        for network in (detector.E, detector.E_mean):  # also while training
            torch.testing.assert_close(network.train()(x, 2.0)[:1], network(x[:1], 2.0))


def test_averages_hold_numbers_and_no_graph():
    """Or each step's graph would hang on the one before, for as long as the training lasts."""
    detector = built()
    for _ in range(2):
        detector.training_step(batch())
    averages = [p for net in (detector.G_mean, detector.E_mean) for p in net.parameters()]
    assert all(p.grad_fn is None and not p.requires_grad for p in averages)


# ---------------------------------------------------------------------- scores


def test_scores_by_hand():
    detector, x = fitted(), zeros(6)
    z_hat, x_hat = detector.encode(x), detector.map_batches(lambda x: detector.match(x)[2], x)  # not clipped
    image = x[:, None] / 127.5 - 1

    def unit(a):
        low, high = a.min((1, 2, 3), keepdims=True), a.max((1, 2, 3), keepdims=True)
        return (a - low) / (high - low)

    expected = {
        "origin": -np.sqrt((z_hat**2).mean(1)),
        "residual": np.sqrt(((unit(image) - unit(x_hat)) ** 2).mean((1, 2, 3))),
        "residual_raw": np.sqrt((((image - x_hat) / 2) ** 2).sum((1, 2, 3))),
    }
    expected["proposed"] = 0.05 * expected["residual"] + 0.95 * expected["origin"]
    with torch.no_grad():
        f, f_hat = (
            detector.D.features(torch.as_tensor(a, dtype=torch.float32), 2.0).numpy() for a in (image, x_hat)
        )
    expected["f_anogan"] = ((image - x_hat) ** 2).mean((1, 2, 3)) + 3 * ((f - f_hat) ** 2).mean((1, 2, 3))
    detector.kappa = 3.0
    assert set(expected) == set(get_args(parameter_types(SimultaneousEncoder)["scored_by"]))
    for name, values in expected.items():
        detector.scored_by = name
        np.testing.assert_allclose(detector.anomaly_score(x), values, rtol=1e-4, err_msg=name)
    detector.set_params(scored_by="residual", residual_norm="printed")
    np.testing.assert_allclose(detector.anomaly_score(x), expected["residual"] / 16, rtol=1e-4)  # sqrt(N_X)
    detector.set_params(scored_by="proposed", lambda_n=0.75)
    by_hand = 0.75 * expected["residual"] / 16 + 0.25 * expected["origin"]
    np.testing.assert_allclose(detector.anomaly_score(x), by_hand, rtol=1e-4)


def test_a_longer_code_is_more_normal_and_contrast_does_not_count():
    z = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    assert se.L_o(z).tolist() == pytest.approx([-5 / math.sqrt(2), -0.5 / math.sqrt(2)])
    x, x_hat = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    torch.testing.assert_close(se.L_n(0.2 * x - 0.7, x_hat), se.L_n(x, x_hat))


def test_scores_come_from_the_averages():
    detector, x = fitted(), zeros(6)
    before = detector.anomaly_score(x)
    for network in (detector.G, detector.E):
        for p in network.parameters():
            p.data.zero_()
    np.testing.assert_array_equal(detector.anomaly_score(x), before)
    detector.E_mean.last[-2].bias.data += 1
    assert not np.array_equal(detector.anomaly_score(x), before)


def test_leaky_code():
    detector = fitted(leaky_code=True)
    codes = detector.encode(zeros(20))
    detector.leaky_code = False
    plain = detector.encode(zeros(20))
    np.testing.assert_allclose(codes, np.where(plain > 0, plain, 0.2 * plain), rtol=1e-5)
    assert (plain < 0).any()


def test_a_longer_code_changes_the_origin_distance_and_no_residual():
    """What no loss sees, the score sees."""
    detector, x = fitted(), zeros(6)
    names = ("origin", "residual", "residual_raw", "f_anogan")
    before = {name: detector.set_params(scored_by=name).anomaly_score(x) for name in names}
    last = detector.E_mean.last[-2]  # before nn.Flatten
    last.weight.data *= 5
    last.bias.data *= 5
    after = {name: detector.set_params(scored_by=name).anomaly_score(x) for name in names}
    np.testing.assert_allclose(after.pop("origin"), 5 * before.pop("origin"), rtol=1e-5)
    for name, scores in after.items():
        np.testing.assert_allclose(scores, before[name], rtol=1e-3, err_msg=name)


# ---------------------------------------------------------------------- interrupted, saved


def interrupted(monkeypatch) -> SimultaneousEncoder:
    """Stopped in the third of four parts, at 8 pixels."""
    step = SimultaneousEncoder.training_step

    def stop(self, x, y=None):
        if self.epoch_ == 3:
            raise KeyboardInterrupt
        return step(self, x, y)

    monkeypatch.setattr(SimultaneousEncoder, "training_step", stop)
    with pytest.warns(UserWarning, match="interrupted in epoch 3"):
        return fitted(kimg=0.24, phase_kimg=0.05)


def test_an_interrupted_training_scores_at_the_size_that_it_has_reached(monkeypatch, tmp_path):
    detector, x = interrupted(monkeypatch), zeros(6)
    level = detector.E_mean.level.item()
    assert 1 <= level < 2 and len(detector.history_) == 2
    assert detector.reconstruct(x).shape == detector.sample(6).shape == (6, 1, 16, 16)
    with torch.no_grad():
        small, _, x_hat = detector.match(batch(6))
    side = 8 if level == 1 else 16
    assert small.shape == x_hat.shape == (6, 1, side, side)
    detector.save(tmp_path / "half.safetensors")
    loaded = SimultaneousEncoder.load(tmp_path / "half.safetensors")
    assert loaded.E_mean.level.item() == level
    np.testing.assert_array_equal(loaded.anomaly_score(x), detector.anomaly_score(x))


def test_selected_weights_score_at_their_own_level(monkeypatch):
    """The best look at validation images may have been before the networks were grown up."""
    quality = iter([0.5, 0.9, 0.7, 0.6])
    monkeypatch.setattr("minigan.metrics.auroc", lambda labels, scores: next(quality))
    images, labels = digits()
    held = (images[labels <= 1][:20], labels[labels <= 1][:20])
    settings = SHORT | {"kimg": 0.24, "phase_kimg": 0.05, "validate_every": 1}
    detector = SimultaneousEncoder(**settings).fit(zeros(), validation=held)
    assert detector.best_validation_epoch_ == 2 and detector.E_mean.level.item() == 2
    last = detector.anomaly_score(zeros(6))
    assert detector.use_weights("best_validation").E_mean.level.item() < 2
    assert not np.array_equal(detector.anomaly_score(zeros(6)), last)
    np.testing.assert_array_equal(detector.use_weights("last").anomaly_score(zeros(6)), last)


def test_half_grown_images_are_shown_enlarged(monkeypatch):
    detector = interrupted(monkeypatch)
    detector.E_mean.level.fill_(1.0)  # 8 pixels: each becomes four
    for images in (detector.reconstruct(zeros(6)), detector.sample(6)):
        small = torch.from_numpy(images)[:, :, ::2, ::2]
        np.testing.assert_array_equal(F.interpolate(small, scale_factor=2.0).numpy(), images)
    with torch.no_grad():
        x = detector.match(batch(6))[0]
    torch.testing.assert_close(x, F.avg_pool2d(batch(6), 2))


def test_samples_are_clipped_to_the_range_of_images():
    detector = fitted()
    for layer in detector.G_mean.to_image:
        layer.bias.data += 5
    assert detector.sample(4).max() == detector.reconstruct(zeros(4)).max() == 1
    assert detector.map_batches(lambda x: detector.match(x)[2], zeros(4)).max() > 1  # the score sees that


def test_samples_come_from_the_averaged_generator_and_their_seed():
    detector = fitted()
    np.testing.assert_array_equal(detector.sample(4), detector.sample(4))
    assert not np.array_equal(detector.sample(4), detector.sample(4, seed=1))
    np.testing.assert_array_equal(detector.sample(6)[:4], detector.sample(4))
    for p in detector.G_mean.parameters():
        p.data.zero_()
    assert not detector.sample(2).any()


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"encoder_loss": "codes"}, "encoder_loss"),
        ({"encoder_updates": "G"}, "encoder_updates"),
        ({"scored_by": "norm"}, "scored_by"),
        ({"residual_norm": "l1"}, "residual_norm"),
        ({"lambda_n": 1.5}, "lambda_n"),
        ({"decay": -0.1}, "decay"),
        ({"phase_kimg": 0.0}, "phase_kimg"),
        ({"width": 0}, "width"),
        ({"z_dim": 0}, "z_dim"),
        ({"kappa": -1.0}, "kappa"),
    ],
)
def test_impossible_parameters(bad, word):
    with raises_sentence(ValueError, word):
        fitted(**bad)


@pytest.mark.parametrize("name, value", [("scored_by", "orgin"), ("residual_norm", "l2")])
def test_a_score_that_does_not_exist_is_refused_after_training_too(name, value):
    detector = fitted()
    setattr(detector, name, value)
    with raises_sentence(ValueError, name, value):
        detector.anomaly_score(zeros(4))


@pytest.mark.parametrize("level", [math.nan, -3.0, 9.0, 1e11])
def test_a_file_with_a_level_that_cannot_be_is_refused(tmp_path, level):
    detector = fitted()
    detector.E_mean.level.fill_(level)
    detector.save(tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=f"its level, {level}, is not from 0 to 2".replace("+", ".")):
        SimultaneousEncoder.load(tmp_path / "bad.safetensors")
