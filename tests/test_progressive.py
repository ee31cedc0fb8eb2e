"""Networks that grow: layers by hand, no jump at any growth step, the schedule."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minigan import progressive
from minigan.blocks.progressive import (
    EqualizedConv2d,
    MinibatchStd,
    PixelNorm,
    ProgressiveEncoder,
    ProgressiveGenerator,
)

OF_IMAGE = {"channels": 3, "size": 32, "width": 4, "max_width": 16}
FULL = 3  # the level of 32 pixels
EPS = 1e-6


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


# ---------------------------------------------------------------------- layers


def test_pixel_norm_by_hand():
    x = torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]])  # two pixels of two channels: (3, 4) and (0, 2)
    expected = torch.tensor([[[[3 / math.sqrt(12.5), 0.0]], [[4 / math.sqrt(12.5), math.sqrt(2)]]]])
    torch.testing.assert_close(PixelNorm()(x), expected)
    z = torch.randn(5, 64)
    torch.testing.assert_close(PixelNorm()(z).norm(dim=1), torch.full((5,), 8.0))  # sqrt(64)
    assert torch.isfinite(PixelNorm()(torch.zeros(1, 4))).all()


def test_equalised_rate_by_hand():
    layer = EqualizedConv2d(8, 5, kernel=3, padding=1)
    assert layer.scale == math.sqrt(2 / 72)  # 8 * 3 * 3 inputs
    assert EqualizedConv2d(8, 5, 1, gain=1.0).scale == math.sqrt(1 / 8)
    assert not layer.bias.any()
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight / 6, layer.bias, padding=1))


def test_equalised_layers_start_with_weights_of_one_and_keep_the_spread_of_what_passes():
    layer = EqualizedConv2d(64, 64, 3)
    assert layer.weight.std().item() == pytest.approx(1, abs=0.02)
    x = torch.randn(8, 64, 16, 16)
    assert layer(F.relu(x)).std().item() == pytest.approx(1, abs=0.05)  # the 2 is for the half that ReLU took


def test_equalised_layers_learn_at_one_speed_whatever_their_size():
    """One step of Adam moves every weight by lr; what matters is that relative to its spread, 1."""
    for inside in (4, 256):
        layer = EqualizedConv2d(inside, 4, 3)
        before = layer.weight.detach().clone()
        optimiser = torch.optim.Adam(layer.parameters(), lr=0.01, eps=1e-15)
        layer(torch.randn(2, inside, 5, 5)).square().mean().backward()
        optimiser.step()
        moved = (layer.weight - before).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=1e-5)


def test_weights_as_used_move_by_the_same_share_of_their_spread_in_every_layer():
    """Not so for an ordinary convolution that starts with small weights: large layers would learn faster."""
    _, E, _ = networks()
    layers = [m for m in E.modules() if isinstance(m, EqualizedConv2d)]
    before = [m.weight.detach() * m.scale for m in layers]
    optimiser = torch.optim.Adam(E.parameters(), lr=0.01, eps=1e-20)
    E(torch.randn(4, 3, 32, 32), FULL - 0.5).square().sum().backward()
    optimiser.step()
    shares = [
        ((m.weight * m.scale - used).abs().mean() / m.scale).item()
        for m, used in zip(layers, before, strict=True)
        if m.weight.grad is not None
    ]
    assert len(shares) == 11 and shares == pytest.approx([0.01] * 11, rel=1e-3)
    spreads = [used.std().item() / m.scale for m, used in zip(layers, before, strict=True)]
    assert spreads == pytest.approx([1.0] * len(layers), abs=0.35)  # the smallest has 12 weights


def test_what_follows_a_layer_decides_its_gain():
    for network in networks():
        for name, m in network.named_modules():
            if isinstance(m, EqualizedConv2d):
                inputs = m.weight[0].numel()
                last = name.startswith("to_image") or m.weight.shape[0] in (1, 5)
                assert m.scale == pytest.approx(math.sqrt((1 if last else 2) / inputs)), name
    slopes = {m.negative_slope for n in networks() for m in n.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2}


def test_minibatch_deviation_by_hand():
    x = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1) * torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    out = MinibatchStd()(x)  # deviations 1 and 2, whose mean is 1.5
    assert out.shape == (2, 3, 1, 1)
    torch.testing.assert_close(out[:, :2], x)
    torch.testing.assert_close(out[:, 2], torch.full((2, 1, 1), 1.5))
    same = torch.ones(4, 2, 3, 3, requires_grad=True)  # a generator that repeats itself
    MinibatchStd()(same)[:, 2].sum().backward()
    assert torch.isfinite(same.grad).all()
    assert MinibatchStd()(same)[:, 2].max() < 1e-3


# ---------------------------------------------------------------------- no jump at any growth step


def networks():
    reader = ProgressiveEncoder(5, **OF_IMAGE)
    critic = ProgressiveEncoder(1, **OF_IMAGE, minibatch_std=True)
    return ProgressiveGenerator(6, **OF_IMAGE), reader, critic


@pytest.mark.parametrize("before", range(FULL))
def test_fading_in_is_continuous_for_every_network_and_for_real_images(before):
    G, E, D = networks()
    z, x = torch.randn(4, 6), torch.rand(4, 3, 32, 32) * 2 - 1

    def double(image):
        return F.interpolate(image, scale_factor=2.0)

    old, new = G(z, float(before)), G(z, before + EPS)
    torch.testing.assert_close(new, double(old), atol=1e-4, rtol=0)
    for network in (E, D):
        seen_before = network(progressive.at_level(x, float(before)), float(before))
        seen_after = network(progressive.at_level(x, before + EPS), before + EPS)
        torch.testing.assert_close(seen_after, seen_before, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        progressive.at_level(x, before + EPS),
        double(progressive.at_level(x, float(before))),
        atol=1e-4,
        rtol=0,
    )


@pytest.mark.parametrize("after", range(1, FULL + 1))
def test_fading_in_ends_where_the_new_layers_stand_alone(after):
    G, E, D = networks()
    z, x = torch.randn(4, 6), torch.rand(4, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(G(z, after - EPS), G(z, float(after)), atol=1e-4, rtol=0)
    for network in (E, D):
        nearly = network(progressive.at_level(x, after - EPS), after - EPS)
        done = network(progressive.at_level(x, float(after)), float(after))
        torch.testing.assert_close(nearly, done, atol=1e-4, rtol=0)


def test_halfway_an_image_is_the_mean_of_old_and_new():
    G = ProgressiveGenerator(6, **OF_IMAGE)
    z = torch.randn(2, 6)
    old, half, new = F.interpolate(G(z, 1.0), scale_factor=2.0), G(z, 1.5), G(z, 2.0)
    torch.testing.assert_close(half, (old + new) / 2)
    x = torch.rand(2, 3, 32, 32)
    blurred = F.interpolate(F.avg_pool2d(x, 4), scale_factor=2.0)
    torch.testing.assert_close(progressive.at_level(x, 1.5), (blurred + F.avg_pool2d(x, 2)) / 2)


@pytest.mark.parametrize("before", range(FULL))
def test_images_go_from_old_to_new_in_a_straight_line(before):
    G = ProgressiveGenerator(6, **OF_IMAGE)
    z, x = torch.randn(2, 6), torch.rand(2, 3, 32, 32)
    for image in (lambda level: G(z, level), lambda level: progressive.at_level(x, level)):
        old, new = F.interpolate(image(float(before)), scale_factor=2.0), image(before + 1.0)
        for alpha in (0.1, 0.7):
            torch.testing.assert_close(image(before + alpha), (1 - alpha) * old + alpha * new)


def test_readers_mix_what_they_read_at_two_sizes():
    for network in networks()[1:]:
        x, alpha = torch.rand(2, 3, 8, 8), 0.3
        old, new = network.features(F.avg_pool2d(x, 2), 0.0), network.features(x, 1.0)
        torch.testing.assert_close(network.features(x, alpha), (1 - alpha) * old + alpha * new)
        x, alpha = torch.rand(2, 3, 32, 32), 0.6  # from 16 to 32 pixels, by hand
        h = network.blocks[2](network.from_image[3](x))
        h = (1 - alpha) * network.from_image[2](F.avg_pool2d(x, 2)) + alpha * h
        expected = network.blocks[0](network.blocks[1](h))
        torch.testing.assert_close(network.features(x, 2 + alpha), expected)


def test_every_pixel_inside_the_generator_has_a_mean_square_of_one():
    G, maps = ProgressiveGenerator(6, **OF_IMAGE), []
    for m in G.modules():
        if isinstance(m, EqualizedConv2d):
            m.register_forward_pre_hook(lambda m, inputs: maps.append(inputs[0].detach()))
    G(100 * torch.randn(4, 6), float(FULL))
    assert len(maps) == 2 + 2 * FULL + 1
    for h in maps:
        torch.testing.assert_close(h.square().mean(1), torch.ones(h[:, 0].shape), rtol=1e-3, atol=1e-3)


def test_sizes_at_each_level():
    G, E, D = networks()
    for level, side in ((0.0, 4), (0.3, 8), (1.0, 8), (1.3, 16), (2.0, 16), (3.0, 32)):
        image = G(torch.randn(2, 6), level)
        assert image.shape == (2, 3, side, side)
        assert E(image, level).shape == (2, 5) and D(image, level).shape == (2, 1)
        assert E.features(image, level).shape == (2, 16, 4, 4)
        assert progressive.at_level(torch.zeros(2, 3, 32, 32), level).shape == image.shape


def test_only_layers_of_the_level_learn():
    G = ProgressiveGenerator(6, **OF_IMAGE)
    G(torch.randn(2, 6), 1.4).square().sum().backward()
    learns = {name for name, p in G.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name.rsplit(".", 1)[0] for name in learns if name.startswith("to_image")} == {
        "to_image.1",
        "to_image.2",
    }
    assert {name.split(".")[1] for name in learns if name.startswith("blocks")} == {"0", "1"}


# ---------------------------------------------------------------------- lengths, levels, widths


def test_the_generator_does_not_see_how_long_a_vector_is():
    G = ProgressiveGenerator(6, **OF_IMAGE)
    z = torch.randn(4, 6)
    for factor in (0.01, 3.0, 1e3):
        torch.testing.assert_close(G(factor * z, 2.0), G(z, 2.0), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(G(-z, 2.0), G(z, 2.0), atol=1e-2)  # but it does see where it points


def test_a_reader_without_deviation_reads_each_image_alone_and_one_with_it_does_not():
    _, E, D = networks()
    x = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(E(x[:1], 3.0), E(x, 3.0)[:1])
    assert (D(x[:1], 3.0) - D(x, 3.0)[:1]).abs().item() > 1e-4


def test_a_schedule_rests_and_fades_in_turn():
    levels = [progressive.level_after(phases, full=2) for phases in (0, 0.9, 1, 1.25, 2, 2.5, 3, 3.75, 4, 99)]
    assert levels == [0, 0, 0, 0.25, 1, 1, 1, 1.75, 2, 2]
    assert [progressive.split_level(level) for level in (0.0, 0.25, 1.0, 1.75)] == [
        (0, 1.0),
        (1, 0.25),
        (1, 1.0),
        (2, 0.75),
    ]
    assert [progressive.full_level(size) for size in (16, 32, 64, 256)] == [2, 3, 4, 6]


def test_widths_are_the_papers_unless_told_otherwise():
    assert progressive.widths(32, None, 512) == [512] * 4
    assert progressive.widths(64, None, 512) == [512] * 4 + [256]
    assert progressive.widths(256, None, 512) == [512] * 4 + [256, 128, 64]
    assert progressive.widths(32, 4, 16) == [16, 16, 8, 4]
