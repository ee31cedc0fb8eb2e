"""The simultaneous encoder: losses and scores by hand, who learns what, and what growing does to scores."""

import math

import numpy as np
import pytest
import torch
from helpers import raises_sentence, zeros
from torch import nn

from minigan import SimultaneousEncoder
from minigan import simultaneous_encoder as se
from minigan.images import to_float

SMALL = {"width": 4, "max_width": 8, "z_dim": 8, "batch_size": 8, "progress": False}
SHORT = SMALL | {"kimg": 0.2, "phase_kimg": 0.02, "epochs": 4}


def fitted(**more) -> SimultaneousEncoder:
    return SimultaneousEncoder(**SHORT | more).fit(zeros())


def built(size: int = 16, **more) -> SimultaneousEncoder:
    detector = SimultaneousEncoder(**SMALL | {"kimg": 40, "phase_kimg": 1} | more)
    detector.image_shape_ = (1, size, size)
    detector._start(detector.image_shape_)
    return detector


def batch(n: int = 8) -> torch.Tensor:
    return to_float(torch.from_numpy(zeros(n))[:, None])


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


def test_a_training_too_short_to_grow_up_is_told_before_it_starts():
    with raises_sentence(ValueError, "kimg=0.08", "16 pixels", "phase_kimg=0.02", "more than 0.08"):
        fitted(kimg=0.08)
    fitted(kimg=0.081)


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


# ---------------------------------------------------------------------- scores


def test_scores_by_hand():
    detector, x = fitted(), zeros(6)
    z_hat, x_hat = detector.encode(x), detector.reconstruct(x)
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
    assert set(expected) == set(se.SCORES)
    for name, values in expected.items():
        detector.scored_by = name
        np.testing.assert_allclose(detector.anomaly_score(x), values, rtol=1e-4, err_msg=name)
    detector.set_params(scored_by="residual", residual_norm="printed")
    np.testing.assert_allclose(detector.anomaly_score(x), expected["residual"] / 16, rtol=1e-4)  # sqrt(N_X)


def test_a_longer_code_is_more_normal_and_contrast_does_not_count():
    z = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    assert se.L_o(z).tolist() == pytest.approx([-5 / math.sqrt(2), -0.5 / math.sqrt(2)])
    x, x_hat = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    torch.testing.assert_close(se.L_n(0.2 * x - 0.7, x_hat), se.L_n(x, x_hat))
    assert se.unit_range(torch.full((1, 1, 2, 2), 0.3)).eq(0).all()


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
