"""Skip-GANomaly against its paper: the U-Net, equations 1 to 5 by hand, and the switches of released code."""

import copy

import numpy as np
import pytest
import torch
from helpers import in_double, raises_sentence, started, zeros
from helpers import random_batch as batch
from torch import nn

from minigan import SkipGANomaly
from minigan.models.skip_ganomaly import Generator, L_adv, L_con, L_lat

TINY = {"epochs": 1, "width": 4, "batch_size": 8, "progress": False}


def prepared(**parameters) -> SkipGANomaly:
    """A detector just before a step, in double precision."""
    return in_double(started(SkipGANomaly(**TINY | parameters)))


# ---------------------------------------------------------------------- the U-Net


@pytest.mark.parametrize(("size", "depth"), [(16, 4), (32, 5), (128, 7)])
def test_the_unet_goes_down_to_a_single_pixel(size, depth):
    G = Generator(1, size, width=2, max_width=8)
    assert len(G.down) == len(G.up) == depth
    sides = []
    for layer in G.down:
        layer.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    x_hat = G(torch.zeros(2, 1, size, size))
    assert sides == [size // 2**i for i in range(1, depth + 1)] and sides[-1] == 1
    assert x_hat.shape == (2, 1, size, size) and x_hat.abs().max() <= 1


def test_the_number_of_weights_of_the_unet():
    """At 32x32x1: five convolutions down and five up, twice as many inputs where a skip connection joins."""
    down = 16 * (1 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 512) + 2 * (128 + 256 + 512)
    up = 16 * (512 * 512 + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 1) + 1 + 2 * (512 + 256 + 128 + 64)
    with torch.device("meta"):  # shapes without numbers
        G = Generator(1, 32)
    assert sum(p.numel() for p in G.parameters()) == down + up


def test_every_map_on_the_way_down_reaches_the_output_by_its_own_connection():
    """Cut the way through the deeper levels: what is left of the output still depends on each map."""
    G = Generator(1, 16, width=2).double().eval()
    for k in range(3):
        captured = []
        hook = G.down[k].register_forward_hook(
            lambda module, inputs, output, captured=captured: captured.append(output)
        )
        below = G.down[k + 1].register_forward_hook(lambda module, inputs, output: output.detach())
        G(batch()).sum().backward(inputs=list(G.down[k].parameters()))
        hook.remove()
        below.remove()
        assert captured and all(p.grad.abs().sum() > 0 for p in G.down[k].parameters() if p.ndim > 1)


def test_batch_norm_follows_every_layer_but_the_first_the_innermost_and_the_last():
    G = Generator(1, 32, width=2)
    has_norm = [any(isinstance(m, nn.BatchNorm2d) for m in layer) for layer in (*G.down, *G.up)]
    assert has_norm == [False, True, True, True, False, True, True, True, True, False]


# ---------------------------------------------------------------------- losses and one step


def test_the_losses_of_equations_1_to_3():
    p = torch.tensor([0.5, -2.0]).sigmoid()
    assert L_adv(torch.tensor([0.5, -2.0])).item() == pytest.approx(-p.log().mean().item())
    a, b = torch.tensor([[1.0, -0.5]]), torch.tensor([[0.0, 0.25]])
    assert L_con(a, b).item() == (1 + 0.75) / 2
    assert L_lat(a, b).item() == (1 + 0.5625) / 2


@pytest.mark.parametrize("in_D", [False, True])
def test_a_step_is_equation_4_and_the_loss_of_D_by_hand(in_D):
    detector = prepared(lambda_adv=2.0, lambda_con=3.0, lambda_lat=5.0, D_minimises_L_lat=in_D)
    for _ in range(2):  # the second time, with gradients of the first still around
        twin, x = copy.deepcopy(detector), batch()
        found = detector.training_step(x)
        x_hat = twin.G(x)
        (y, f), (y_hat, f_hat) = twin.D(x), twin.D(x_hat)
        adv, con = -y_hat.sigmoid().log().mean(), (x - x_hat).abs().mean()
        lat = (f - f_hat).square().mean()
        y_hat_D, f_hat_D = twin.D(x_hat.detach())
        d = -y.sigmoid().log().mean() - (1 - y_hat_D.sigmoid()).log().mean()
        d = d + (5 * (f - f_hat_D).square().mean() if in_D else 0)
        expected = {"L_adv": adv, "L_con": con, "L_lat": lat, "L_d": d}
        assert {k: v.item() for k, v in found.items()} == pytest.approx(
            {k: v.item() for k, v in expected.items()}
        )
        for name, loss in (("G", 2 * adv + 3 * con + 5 * lat), ("D", d)):
            mine, others = (dict(getattr(t, name).named_parameters()) for t in (detector, twin))
            gradients = torch.autograd.grad(loss, list(others.values()), retain_graph=True)
            for key, gradient in zip(others, gradients, strict=True):
                torch.testing.assert_close(mine[key].grad, gradient, msg=lambda m, key=key: f"{key}: {m}")
                assert not torch.equal(mine[key], others[key]), key  # and Adam moved it


def test_noise_is_drawn_from_the_seed_and_has_the_given_standard_deviation():
    x = batch(64)
    assert prepared().noisy(x) is x
    a, b = (prepared(noise=0.2, seed=3).noisy(x) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a, prepared(noise=0.2, seed=4).noisy(x))
    assert (a - x).std().item() == pytest.approx(0.2, rel=0.05)


def test_noise_reaches_the_generator_in_training_and_not_in_scoring():
    detector = prepared(noise=0.5)
    seen = []
    detector.G.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    x = batch()
    compared = detector.training_step(x)["L_con"]
    detector._set_mode(training=False)
    detector.score_step(x)
    assert not torch.equal(seen[0], x) and torch.equal(seen[1], x)
    clean = prepared(noise=0.5)  # the reconstruction of the noisy image is compared with the clean one
    assert compared.item() == pytest.approx((x - clean.G(seen[0])).abs().mean().item())


@pytest.mark.parametrize(("threshold", "happens"), [(0.0, False), (1e-9, False), (1e9, True)])
def test_D_starts_anew_when_its_loss_is_below_the_threshold(threshold, happens, monkeypatch):
    detector, reset = prepared(reset_below=threshold), []
    monkeypatch.setattr("minigan.blocks.init_normal_", reset.append)
    detector.training_step(batch())
    assert reset == ([detector.D] if happens else [])


# ---------------------------------------------------------------------- using it


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.9, 1.0])
def test_the_score_of_equation_5_by_hand(weight):
    detector, x = prepared(lambda_score=weight), batch()
    detector._set_mode(training=False)
    x_hat = detector.G(x)
    R = (x - x_hat).square().sum((1, 2, 3)) / 256
    f, f_hat = detector.D.features(x), detector.D.features(x_hat)
    L = (f - f_hat).square().sum((1, 2, 3)) / f[0].numel()
    torch.testing.assert_close(detector.score_step(x), weight * R + (1 - weight) * L)


def test_reconstruction_and_map_agree():
    detector = SkipGANomaly(**TINY).fit(zeros())
    x = zeros(3)
    x_hat = detector.reconstruct(x)
    np.testing.assert_allclose(
        detector.anomaly_map(x), np.abs(x / np.float32(127.5) - 1 - x_hat[:, 0]), atol=1e-5
    )


@pytest.mark.parametrize(
    "bad",
    [{"lambda_adv": -1.0}, {"lambda_con": -1.0}, {"lambda_lat": -1.0}, {"noise": -1.0}]
    + [{"reset_below": -1.0}, {"lambda_score": 1.5}, {"D_minimises_L_lat": 1}],
)
def test_impossible_parameters(bad):
    with raises_sentence(ValueError, *bad):
        SkipGANomaly(**TINY | bad).fit(zeros())
