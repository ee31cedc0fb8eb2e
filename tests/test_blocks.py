"""Stacks, U-Nets, batch norms, initialisation, spectral norm, standardisation and the replay buffer."""

import pytest
import torch
import torch.nn.functional as F
from helpers import raises_sentence
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from minigan.blocks import (
    SIZES,
    AuxiliaryBatchNorm2d,
    DCGANDiscriminator,
    DCGANEncoder,
    DCGANGenerator,
    FeatureDiscriminator,
    LatentClassifier,
    ReplayBuffer,
    Standardize,
    UNet,
    UNetPlusPlus,
    VectorDiscriminator,
    VectorGenerator,
    adam,
    add_auxiliary_norms_,
    add_spectral_norm_,
    auxiliary_norms,
    check_size,
    collecting_statistics,
    dcgan_widths,
    double_convolution,
    forget_running_statistics_,
    frozen,
    halving_layers,
    init_normal_,
    reverse_gradient,
    running_norms,
    settle_spectral_norm_,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------- stacks


def test_sizes_that_the_stacks_take():
    for size in SIZES:
        assert check_size((3, size, size)) == (3, size)
    for shape, word in (((1, 32, 16), "16 x 32"), ((1, 48, 48), "48 x 48"), ((1, 8, 8), "8 x 8")):
        with raises_sentence(ValueError, "16, 32, 64, 128, 256", word, "image_size=64"):
            check_size(shape)
    with raises_sentence(ValueError, "expected images", "length 7"):
        check_size((7,))


def test_widths_double_from_the_image_inwards_up_to_a_cap():
    assert dcgan_widths(256, 64, 512) == [64, 128, 256, 512, 512, 512]  # 7 layers have 6 widths between
    assert dcgan_widths(16, 64, 512) == [64, 128]
    assert dcgan_widths(64, 16, 40) == [16, 32, 40, 40]


@pytest.mark.parametrize("size", SIZES)
def test_stacks_have_one_layer_less_than_the_exponent(size):
    """ALGAN, section 4.1: seven layers each for 256 pixels."""
    k = size.bit_length() - 1
    G, D = DCGANGenerator(10, 3, size, width=4), DCGANDiscriminator(3, size, width=4)
    assert sum(isinstance(m, nn.ConvTranspose2d) for m in G) == k - 1
    assert sum(isinstance(m, nn.Conv2d) for m in D) == k - 1
    # Batch norm and ReLU after each of G's layers but the last, which ends in tanh; D has no batch norm.
    assert sum(isinstance(m, nn.BatchNorm2d) for m in G) == sum(isinstance(m, nn.ReLU) for m in G) == k - 2
    assert isinstance(G[-1], nn.Tanh) and isinstance(G[-2], nn.ConvTranspose2d)
    assert sum(isinstance(m, nn.LeakyReLU) and m.negative_slope == 0.2 for m in D) == k - 2
    assert not any(isinstance(m, nn.BatchNorm2d) for m in D.modules())
    x = G(torch.randn(2, 10))
    assert x.shape == (2, 3, size, size) and x.abs().max() <= 1
    assert D(x).shape == (2,)
    assert D(x[:1]).shape == (1,)


def test_each_layer_doubles_or_halves():
    heights = []
    G, D = DCGANGenerator(10, 1, 32, width=4), DCGANDiscriminator(1, 32, width=4)
    for layer in [*G, *D]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda m, args, out: heights.append(out.shape[2]))
    D(G(torch.randn(2, 10)))
    assert heights == [4, 8, 16, 32] + [16, 8, 4, 1]


def test_without_batch_norm_the_generator_has_biases():
    with_norm, without = DCGANGenerator(10, 1, 16, 4), DCGANGenerator(10, 1, 16, 4, batch_norm=False)
    assert not any(name.endswith("bias") and "0" in name for name, p in with_norm[1].named_parameters())
    assert all(m.bias is None for m in with_norm if isinstance(m, nn.ConvTranspose2d))
    assert all(m.bias is not None for m in without if isinstance(m, nn.ConvTranspose2d))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in without)
    x = torch.randn(4, 10)
    torch.testing.assert_close(without(x)[:1], without(x[:1]))  # items are treated on their own


def test_the_discriminator_treats_each_image_on_its_own_even_while_training():
    D = DCGANDiscriminator(1, 16, 4).train()
    D(torch.randn(2, 1, 16, 16))
    x = torch.randn(6, 1, 16, 16)
    for module in D.modules():  # keep the estimate of the singular values still between the two calls
        if hasattr(module, "_power_method"):
            module._power_method = lambda *args: None
    torch.testing.assert_close(D(x)[:2], D(x[:2]))


# ---------------------------------------------------------------------- encoders and feature discriminators


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def lively(network: nn.Module) -> nn.Module:
    """In evaluation mode, with weights so large that no path fades away."""
    torch.manual_seed(0)
    init_normal_(network, std=0.3)
    return network.eval()


# Counted in the authors' released code: GANomaly's with one channel, Y-GAN's with three, 32x32 pixels.
@pytest.mark.parametrize(
    ("network", "n_weights"),
    [
        (DCGANEncoder(100, 1, 32), 1_066_752),
        (DCGANEncoder(100, 3, 32), 1_068_800),
        (DCGANGenerator(100, 1, 32), 1_066_880),
        (DCGANGenerator(200, 3, 32), 2_547_328 - 1_068_800),  # Y-GAN's E_s and decoder together: 2,547,328
        (FeatureDiscriminator(1, 32), 661_248),
        (FeatureDiscriminator(3, 32), 663_296),
        (LatentClassifier(100, 9), 3_309),
    ],
)
def test_numbers_of_weights_are_those_of_the_released_code(network, n_weights):
    assert count(network) == n_weights


@pytest.mark.parametrize("size", SIZES)
def test_encoders_and_feature_discriminators_end_in_codes_numbers_and_4x4_maps(size):
    x = torch.rand(2, 3, size, size)
    assert DCGANEncoder(7, 3, size, width=2)(x).shape == (2, 7)
    output, features = FeatureDiscriminator(3, size, width=2)(x)
    assert output.shape == (2,) and features.shape == (2, dcgan_widths(size, 2, 512)[-1], 4, 4)
    assert FeatureDiscriminator(3, size, width=2).eval()(x[:1])[0].shape == (1,)


def test_the_first_layer_has_no_batch_norm_and_all_others_have_one():
    """DCGAN's rule; the last layer of an encoder or a discriminator has none either."""
    kinds = [type(layer).__name__ for layer in halving_layers(1, 64, 2, 512)]
    assert kinds == ["Conv2d", "LeakyReLU"] + 3 * ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    for layer in halving_layers(1, 64, 2, 512):
        assert getattr(layer, "bias", None) is None or isinstance(layer, nn.BatchNorm2d)
        assert getattr(layer, "negative_slope", 0.2) == 0.2
    assert [type(layer).__name__ for layer in DCGANEncoder(7, 1, 16, 2)][-3:] == [
        "LeakyReLU",
        "Conv2d",
        "Flatten",
    ]


def kinds_of(network: nn.Module) -> list[str]:
    """The names of the layers in the order in which they are computed, those inside of others too."""
    inside = [m for m in network.modules() if not isinstance(m, nn.Sequential) and m is not network]
    return [type(layer).__name__ for layer in inside]


@pytest.mark.parametrize(("size", "inner"), [(16, 2), (32, 3), (64, 4)])
def test_batch_norm_after_the_activation_follows_every_layer(size, inner):
    """Section 4.3 of Y-GAN's paper: convolution, activation, batch norm; the outputs of G and D have none."""
    down, up = ["Conv2d", "LeakyReLU", "BatchNorm2d"], ["ConvTranspose2d", "ReLU", "BatchNorm2d"]
    E, G = DCGANEncoder(7, 3, size, 2, norm="after"), DCGANGenerator(7, 3, size, 2, norm="after")
    D = FeatureDiscriminator(3, size, 2, norm="after")
    assert kinds_of(E) == (inner + 1) * down + ["Flatten"]
    assert kinds_of(D) == inner * down + ["Conv2d", "Flatten"]
    assert kinds_of(G) == ["Unflatten", *inner * up, "ConvTranspose2d", "Tanh"]
    # Two numbers for each channel of the batch norms that "before" does not have.
    widths = dcgan_widths(size, 2, 512)
    assert count(E) - count(DCGANEncoder(7, 3, size, 2)) == 2 * widths[0] + 2 * 7
    assert count(D) - count(FeatureDiscriminator(3, size, 2)) == 2 * widths[0]
    assert count(G) == count(DCGANGenerator(7, 3, size, 2))
    x = torch.rand(4, 3, size, size)
    code = E(x)
    assert code.shape == (4, 7) and G(code).shape == x.shape and D(x)[1].shape == (4, widths[-1], 4, 4)
    (G(code).mean() + D(x)[0].mean()).backward()  # no activation writes over what a gradient needs
    torch.testing.assert_close(code.mean(0), torch.zeros(7), atol=1e-5, rtol=0)


def test_networks_are_by_default_those_that_old_checkpoints_hold():
    E, G, D = DCGANEncoder(7, 1, 16, 2), DCGANGenerator(7, 1, 16, 2), FeatureDiscriminator(1, 16, 2)
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(E.state_dict()) == ["0.weight", "2.weight", *[f"3.{name}" for name in norm], "5.weight"]
    assert list(G.state_dict()) == [
        "1.weight",
        *[f"2.{name}" for name in norm],
        "4.weight",
        *[f"5.{name}" for name in norm],
        "7.weight",
    ]
    features = ["0.weight", "2.weight", *[f"3.{name}" for name in norm]]
    assert list(D.state_dict()) == [*[f"features.{name}" for name in features], "last.0.weight"]
    for network, other in (
        (E, DCGANEncoder(7, 1, 16, 2, norm="before")),
        (G, DCGANGenerator(7, 1, 16, 2, norm="before")),
        (D, FeatureDiscriminator(1, 16, 2, norm="before")),
    ):
        assert str(network) == str(other)


def test_the_features_are_what_the_output_is_made_of():
    D, x = FeatureDiscriminator(1, 16, width=4).eval(), torch.rand(3, 1, 16, 16)
    output, features = D(x)
    kernel = D.last[0].weight  # (1, 8, 4, 4)
    torch.testing.assert_close(output, (features * kernel).sum((1, 2, 3)))
    assert (features < 0).any()  # after the leaky ReLU, whose negative side is not cut off


@pytest.mark.parametrize("size", SIZES)
def test_a_bottleneck_of_2_keeps_four_places_and_as_many_weights(size):
    E, G = DCGANEncoder(7, 1, size, 2, bottleneck=2), DCGANGenerator(7, 1, size, 2, bottleneck=2)
    code = E(torch.rand(3, 1, size, size))
    assert code.shape == (3, 4 * 7) and G(code).shape == (3, 1, size, size)
    for network, other in ((E, DCGANEncoder(7, 1, size, 2)), (G, DCGANGenerator(7, 1, size, 2))):
        assert count(network) == count(other)


def test_the_places_of_a_2x2_code_are_places_in_the_image():
    E, G = lively(DCGANEncoder(5, 1, 64, 2, bottleneck=2)), lively(DCGANGenerator(5, 1, 64, 2, bottleneck=2))
    x = torch.zeros(2, 1, 64, 64)
    x[1, :, 0, 63] = 1  # top right
    changed = (E(x)[0] != E(x)[1]).view(5, 2, 2).any(0)
    assert changed.tolist() == [[False, True], [False, False]]
    z = torch.zeros(2, 5, 2, 2)
    z[1, :, 1, 0] = 9  # bottom left
    image = G(z.flatten(1))
    changed = (image[0] != image[1])[0]
    assert changed[56:, :8].any() and not changed[0, 63]


def test_the_latent_classifier_has_one_hidden_layer_of_30_units():
    C, z = LatentClassifier(5, 3), torch.randn(4, 5)
    assert C[0].weight.shape == (30, 5)
    hidden = (z @ C[0].weight.T + C[0].bias).clamp(min=0)
    torch.testing.assert_close(C(z), hidden @ C[2].weight.T + C[2].bias)


@pytest.mark.parametrize("slope", [0.01, 0.2])
def test_the_latent_classifier_may_leak(slope):
    C, z = LatentClassifier(5, 3, slope=slope), torch.randn(4, 5)
    before = z @ C[0].weight.T + C[0].bias
    hidden = torch.where(before < 0, slope * before, before)
    torch.testing.assert_close(C(z), hidden @ C[2].weight.T + C[2].bias)
    assert list(C.state_dict()) == list(LatentClassifier(5, 3).state_dict())


# ---------------------------------------------------------------------- U-Nets


@pytest.mark.parametrize("channels", [1, 3])
def test_u_nets_have_the_papers_numbers_of_weights(channels):
    """AGAD, Table 8: 7.76 and 9.04 million, at widths 32 to 512."""
    assert 7.757e6 <= count(UNet(channels)) <= 7.766e6
    assert 9.038e6 <= count(UNetPlusPlus(channels)) <= 9.050e6


@pytest.mark.parametrize("cls", [UNet, UNetPlusPlus])
def test_u_nets_have_five_levels_and_return_images(cls):
    for size in SIZES:
        for channels in (1, 3):
            x = cls(channels, width=1)(torch.randn(2, channels, size, size))
            assert x.shape == (2, channels, size, size) and x.abs().max() <= 1
    network = cls(1, width=3)
    assert [block[0].out_channels for block in network.down] == [3, 6, 12, 24, 48]
    seen = []
    for block in network.down:
        block.register_forward_hook(lambda m, args, out: seen.append(out.shape[2]))
    network(torch.randn(2, 1, 32, 32))
    assert seen == [32, 16, 8, 4, 2]


def test_a_node_is_twice_convolution_norm_and_relu():
    node, x = double_convolution(2, 3).eval(), torch.randn(2, 2, 5, 5)
    expected = x
    for i in (0, 3):
        expected = F.conv2d(expected, node[i].weight, padding=1)
        scale, shift = node[i + 1].weight.view(-1, 1, 1), node[i + 1].bias.view(-1, 1, 1)
        expected = (expected / (1 + 1e-5) ** 0.5 * scale + shift).clamp(min=0)  # running statistics 0 and 1
    torch.testing.assert_close(node(x), expected)


def down(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 2)


def test_the_u_net_by_hand():
    network = lively(UNet(1, width=2, levels=3))
    x = torch.randn(2, 1, 8, 8)
    a = network.down[0](x)
    b = network.down[1](down(a))
    c = network.down[2](down(b))
    b = network.merge[1](torch.cat([b, network.up[1](c)], 1))
    a = network.merge[0](torch.cat([a, network.up[0](b)], 1))
    torch.testing.assert_close(network(x), torch.tanh(network.last(a)))


def test_u_net_plus_plus_by_hand():
    """Zhou et al., Figure 1: x[i, j] is made of x[i, 0], ..., x[i, j - 1] and of x[i + 1, j - 1] enlarged."""
    network = lively(UNetPlusPlus(1, width=2, levels=4))

    def node(key: str, *left_and_below: torch.Tensor) -> torch.Tensor:
        *left, below = left_and_below
        return network.merge[key](torch.cat([*left, network.up[key](below)], 1))

    x = torch.randn(2, 1, 16, 16)
    x00 = network.down[0](x)
    x10 = network.down[1](down(x00))
    x20 = network.down[2](down(x10))
    x30 = network.down[3](down(x20))
    x01, x11, x21 = node("0,1", x00, x10), node("1,1", x10, x20), node("2,1", x20, x30)
    x02, x12 = node("0,2", x00, x01, x11), node("1,2", x10, x11, x21)
    x03 = node("0,3", x00, x01, x02, x12)
    torch.testing.assert_close(network(x), torch.tanh(network.last(x03)))
    assert len(network.merge) == 6


@pytest.mark.parametrize(("cls", "node"), [(UNet, 0), (UNetPlusPlus, "0,4")])
def test_skip_connections_carry_what_the_levels_below_have_lost(cls, node):
    """A checkerboard is gone after one pooling: only the skip connections can rebuild it."""
    network = lively(cls(1, width=2))
    x = torch.zeros(1, 1, 16, 16)
    x[..., ::2, ::2] = x[..., 1::2, 1::2] = 1

    def differs() -> bool:
        return not torch.equal(network(x), network(x.roll(1, dims=3)))

    def zero(weights: torch.Tensor) -> None:
        with torch.no_grad():
            weights.zero_()

    assert differs()
    zero(network.up[node].weight)
    assert differs()  # without anything from below
    first = network.merge[node][0].weight
    zero(first[:, :-2])  # the channels of the skip connections; the last two come from below
    assert not differs()


# ---------------------------------------------------------------------- the gradient turned round


def test_a_reversed_gradient_is_multiplied_by_minus_the_weight():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    for weight in (1.0, 0.25, 0.0):
        y = reverse_gradient(x, weight)
        assert torch.equal(y, x)
        (gradient,) = torch.autograd.grad((y * torch.tensor([3.0, 5.0])).sum(), x)
        assert gradient.tolist() == [-3 * weight, -5 * weight]
    (gradient,) = torch.autograd.grad(reverse_gradient(x).sum(), x)
    assert gradient.tolist() == [-1, -1]


def test_a_reversed_gradient_turns_only_what_lies_before_it():
    before, after = nn.Linear(2, 2), nn.Linear(2, 1)
    weights, x = [before.weight, after.weight], torch.randn(3, 2)
    plain = torch.autograd.grad(after(before(x)).sum(), weights)
    turned = torch.autograd.grad(after(reverse_gradient(before(x), 0.5)).sum(), weights)
    torch.testing.assert_close(turned[0], -0.5 * plain[0])
    torch.testing.assert_close(turned[1], plain[1])


# ---------------------------------------------------------------------- batch norms


def normed() -> nn.Sequential:
    """A small network with two batch norms, one of them nested."""
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), inner)


def statistics(network: nn.Module, which: str = "") -> dict[str, torch.Tensor]:
    """Copies of the running statistics whose names contain `which`."""
    return {k: v.clone() for k, v in network.named_buffers() if which in k}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> set[bool]:
    assert a.keys() == b.keys() and a
    return {torch.equal(a[k], b[k]) for k in a if not k.endswith("num_batches_tracked")}


def test_auxiliary_norms_use_and_move_statistics_of_their_own():
    network, x = normed(), torch.randn(4, 1, 5, 5) + 3
    plain = [p.clone() for p in network.parameters()]
    before = network(x)  # also moves the running statistics, which both norms then start with
    add_auxiliary_norms_(network)
    assert [m for m in network.modules() if isinstance(m, AuxiliaryBatchNorm2d)] == [
        network[1],
        network[3][1],
    ]
    assert count(network) == sum(p.numel() for p in plain) + 2 * (2 + 2)
    torch.testing.assert_close(network(x), before)
    main, auxiliary = statistics(network, "main"), statistics(network, "auxiliary")
    with auxiliary_norms(network):
        network(x + 5)
    assert same(main, statistics(network, "main")) == {True}
    assert same(auxiliary, statistics(network, "auxiliary")) == {False}
    auxiliary = statistics(network, "auxiliary")
    network(x)
    assert same(main, statistics(network, "main")) == {False}
    assert same(auxiliary, statistics(network, "auxiliary")) == {True}
    network.eval()
    usual = network(x)
    with auxiliary_norms(network):
        assert not torch.allclose(network(x), usual)
    torch.testing.assert_close(network(x), usual)


def test_auxiliary_norms_learn_scales_of_their_own():
    network, x = normed(), torch.randn(4, 1, 5, 5)
    add_auxiliary_norms_(network)
    with auxiliary_norms(network):
        network(x).square().sum().backward()
    for norm in (network[1], network[3][1]):
        assert norm.auxiliary.weight.grad is not None and norm.main.weight.grad is None
        assert norm.auxiliary.weight is not norm.main.weight


def test_auxiliary_norms_are_put_back_after_an_error():
    network = normed()
    add_auxiliary_norms_(network)
    with pytest.raises(RuntimeError, match="boom"), auxiliary_norms(network):
        assert network[1].use_auxiliary and network[3][1].use_auxiliary
        raise RuntimeError("boom")
    assert not network[1].use_auxiliary and not network[3][1].use_auxiliary


def test_a_network_without_auxiliary_norms_takes_no_notice():
    network, x = normed().eval(), torch.randn(4, 1, 5, 5)
    expected = network(x)
    with auxiliary_norms(network):
        assert torch.equal(network(x), expected)


def test_collected_statistics_are_the_mean_of_all_batches_and_nothing_else_changes():
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).eval()
    network[0].running_mean.fill_(100.0)  # to be forgotten
    weights = [p.clone() for p in network.parameters()]
    batches = [torch.randn(8, 2, 4, 4) + i for i in range(3)]
    with collecting_statistics(network), torch.no_grad():
        assert network[0].training and not network[1].training
        for x in batches:
            network(x)
    means = torch.stack([x.mean((0, 2, 3)) for x in batches])
    variances = torch.stack([x.var((0, 2, 3)) for x in batches])
    torch.testing.assert_close(network[0].running_mean, means.mean(0))
    torch.testing.assert_close(network[0].running_var, variances.mean(0))
    assert network[2].running_mean.any()
    assert not any(module.training for module in network.modules())
    assert network[0].momentum == network[2].momentum == 0.1
    assert all(torch.equal(a, b) for a, b in zip(weights, network.parameters(), strict=True))


def test_a_norm_that_no_batch_passes_keeps_its_statistics():
    used, unused = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    without = nn.BatchNorm2d(2, track_running_stats=False)
    unused(torch.randn(8, 2, 4, 4) + 5)
    before = {name: buffer.clone() for name, buffer in unused.named_buffers()}
    with collecting_statistics(used, unused, without), torch.no_grad():
        used(torch.randn(8, 2, 4, 4) + 7)
    assert same(before, dict(unused.named_buffers())) == {True} and before["num_batches_tracked"] == 1
    assert used.running_mean.min() > 5


def test_collecting_statistics_is_put_back_after_an_error():
    network = nn.Sequential(nn.BatchNorm2d(2, momentum=0.3)).eval()
    with pytest.raises(RuntimeError, match="boom"), collecting_statistics(network):
        raise RuntimeError("boom")
    assert network[0].momentum == 0.3 and not network[0].training


def test_running_norms_use_the_running_statistics_and_leave_them():
    network, x = normed().train(), torch.randn(4, 1, 5, 5) * 2 + 3
    network(x)
    before, of_the_batch = statistics(network), network.eval()(x)
    network.train()
    network[3][1].eval()  # was in evaluation mode before, and stays so
    with running_norms(network):
        torch.testing.assert_close(network(x), of_the_batch)
        torch.testing.assert_close(network(x)[:1], network(x[:1]))  # an image is treated on its own
        network(x).square().sum().backward()
    assert same(before, statistics(network)) == {True}
    assert network[1].weight.grad.abs().max() > 0  # scale and shift do learn
    assert network[1].training and network.training and not network[3][1].training


def test_running_norms_are_put_back_after_an_error():
    network = normed().train()
    with pytest.raises(RuntimeError, match="boom"), running_norms(network):
        assert not network[1].training and network[0].training
        raise RuntimeError("boom")
    assert network[1].training and network[3][1].training


def test_running_norms_hold_both_norms_of_a_pair():
    network, x = normed().train(), torch.randn(4, 1, 5, 5)
    add_auxiliary_norms_(network)
    before = statistics(network)
    with running_norms(network):
        network(x)
        with auxiliary_norms(network):
            network(x)
    assert same(before, statistics(network)) == {True}


def test_forgotten_statistics_are_those_of_the_batch_in_every_mode():
    network, x = normed(), torch.randn(4, 1, 5, 5) * 2 + 3
    in_training = network.train()(x)
    assert not torch.allclose(network.eval()(x), in_training)
    forget_running_statistics_(network)
    for mode in (True, False):
        torch.testing.assert_close(network.train(mode)(x), in_training)
    assert not torch.allclose(network(x[:2]), in_training[:2])  # and so an image's neighbours matter
    assert not [key for key in network.state_dict() if "running" in key or "tracked" in key]
    network.load_state_dict(network.state_dict())


# ---------------------------------------------------------------------- initialisation


def test_initial_weights_biases_and_batch_norms():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(16, 64, 4), nn.ConvTranspose2d(64, 16, 4), nn.BatchNorm2d(2000), nn.BatchNorm1d(2000)
    )
    network.append(nn.Linear(100, 200))
    for p in network.parameters():
        nn.init.constant_(p, 7.0)
    init_normal_(network, std=0.05)
    for i in (0, 1, 4):
        assert network[i].weight.std().item() == pytest.approx(0.05, rel=0.05)
        assert network[i].weight.mean().abs() < 0.002
    for i in (2, 3):
        assert network[i].weight.mean().item() == pytest.approx(1, abs=0.01)
        assert network[i].weight.std().item() == pytest.approx(0.05, rel=0.1)
    assert all((layer.bias == 0).all() for layer in network)


def test_initialisation_copes_with_layers_without_weights_or_biases():
    network = nn.Sequential(
        nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3, affine=True), nn.ReLU(), nn.Flatten()
    )
    init_normal_(network)
    assert network[0].bias is None


# ---------------------------------------------------------------------- spectral norm


def settled(network: nn.Module, x: torch.Tensor, n: int = 60) -> nn.Module:
    """Let the power iterations, one per training call, come to rest."""
    network.train()
    with torch.no_grad():
        for _ in range(n):
            network(x)
    return network.eval()


def test_spectral_norm_makes_the_largest_singular_value_one():
    torch.manual_seed(0)
    D = settled(DCGANDiscriminator(3, 32, width=8), torch.randn(2, 3, 32, 32))
    layers = [m for m in D if isinstance(m, nn.Conv2d)]
    assert len(layers) == 4
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
        assert largest == pytest.approx(1, abs=0.02)
        stored = layer.parametrizations.weight.original
        assert torch.linalg.matrix_norm(stored.flatten(1), ord=2).item() < 0.9  # without it, it is not one


def test_spectral_norm_bounds_how_fast_the_output_can_change():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    nn.init.normal_(network[0].weight, 0, 3)
    add_spectral_norm_(network)
    settled(network, torch.randn(4, 5))
    a, b = torch.randn(500, 5), torch.randn(500, 5)
    slope = (network(a) - network(b)).abs().squeeze(1) / (a - b).norm(dim=1)
    assert slope.max() <= 1.001


def test_spectral_norm_is_exact_again_after_weights_have_changed():
    """As with averaged weights; gradients, modes and layers without spectral norm are left alone."""
    network = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Linear(7, 7))
    add_spectral_norm_(network)
    network.eval()
    plain = nn.Linear(3, 3)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
        network.append(plain)
        before = plain.weight.clone()
        settle_spectral_norm_(network, 100)
        for layer in network[:2]:
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)
    assert torch.equal(plain.weight, before)
    assert not any(m.training for layer in network[:2] for m in layer.modules())


def test_spectral_norm_reaches_nested_layers_and_leaves_others():
    network = nn.Sequential(nn.Sequential(nn.Linear(3, 3)), nn.BatchNorm1d(3))
    add_spectral_norm_(network)
    assert [name for name, _ in network.named_parameters() if name.endswith("original")] == [
        "0.0.parametrizations.weight.original"
    ]


# ---------------------------------------------------------------------- optimiser, freezing


def test_adam_has_the_given_settings():
    optimiser = adam(nn.Linear(2, 2).parameters(), 3e-4, [0.0, 0.9])
    group = optimiser.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (3e-4, (0.0, 0.9), 0)


def test_frozen_networks_pass_gradients_on_without_taking_any():
    a, b = nn.Linear(2, 2), nn.Linear(2, 1)
    b.bias.requires_grad_(False)
    with frozen(b):
        loss = b(a(torch.ones(1, 2))).sum()
    loss.backward()
    assert a.weight.grad is not None and b.weight.grad is None
    assert b.weight.requires_grad and not b.bias.requires_grad  # as they were


def test_frozen_networks_thaw_after_an_error():
    network = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="boom"), frozen(network):
        raise RuntimeError("boom")
    assert all(p.requires_grad for p in network.parameters())


# ---------------------------------------------------------------------- standardisation


def test_standardised_features_have_mean_zero_and_deviation_one():
    x = torch.randn(500, 3, generator=generator()) * torch.tensor([1.0, 100.0, 0.01]) + 5
    network = Standardize(3)
    network.fit(x)
    z = network(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=2e-3)
    torch.testing.assert_close(z.std(0), torch.ones(3), rtol=1e-3, atol=0)
    torch.testing.assert_close(network.undo(z), x)
    assert not list(network.parameters()) and set(network.state_dict()) == {"mean", "std"}


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -77.7, 12345.678, 1e-8])
@pytest.mark.parametrize("n", [2, 7, 33, 1000])
def test_a_feature_that_never_changes_is_only_shifted(value, n):
    """Its deviation is not zero but a rounding error, and dividing by that would drown all other features."""
    network = Standardize(1)
    network.fit(torch.full((n, 1), value))
    assert network.std.item() == 1
    assert network(torch.tensor([[value + 1]])).item() == pytest.approx(1, abs=0.01)


# ---------------------------------------------------------------------- the buffer


@given(st.integers(1, 12), st.lists(st.integers(1, 15), min_size=1, max_size=8), st.integers(0, 99))
def test_a_buffer_holds_what_came_in_and_is_never_over_full(capacity, batches, seed):
    buffer, seen = ReplayBuffer(capacity, generator(seed)), 0
    for size in batches:
        new = torch.arange(seen, seen + size)
        buffer.add(new)
        seen += size
        held = set(buffer.sample(capacity).tolist())
        assert len(buffer) == len(held) <= capacity  # all different
        assert held <= set(range(seen))
        assert set(new[:capacity].tolist()) <= held  # the newest are all there
    assert len(buffer) == min(capacity, sum(min(size, capacity) for size in batches))


def test_a_full_buffer_gives_up_random_old_items():
    buffer = ReplayBuffer(8, generator())
    buffer.add(torch.arange(8))
    buffer.add(torch.arange(100, 104))
    held = sorted(buffer.sample(8).tolist())
    old = [item for item in held if item < 100]
    assert held[4:] == [100, 101, 102, 103]  # half is replaced by a batch of half its size
    assert len(old) == 4 and old not in ([0, 1, 2, 3], [4, 5, 6, 7])


def test_samples_are_different_items_in_another_order_each_time():
    buffer = ReplayBuffer(50, generator())
    buffer.add(torch.arange(50))
    first, second = buffer.sample(10).tolist(), buffer.sample(10).tolist()
    assert len(set(first)) == len(set(second)) == 10
    assert set(first) != set(second)
    assert len(buffer.sample(999)) == 50


def test_the_buffer_depends_on_its_generator_alone():
    samples = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        buffer = ReplayBuffer(6, generator(5))
        buffer.add(torch.arange(6))
        buffer.add(torch.arange(6, 10))
        samples.append(buffer.sample(4).tolist())
    assert samples[0] == samples[1]


def test_the_buffer_keeps_numbers_not_graphs():
    buffer = ReplayBuffer(4, generator())
    new = torch.ones(2, 3, requires_grad=True)
    buffer.add(new)
    assert not buffer.sample(2).requires_grad
    new.data.zero_()
    assert (buffer.sample(2) == 1).all()  # a copy, not a view of a batch that changes later


# ---------------------------------------------------------------------- vectors


def test_networks_of_vectors_have_three_linear_layers():
    G, D = VectorGenerator(100, 7, width=16), VectorDiscriminator(7, width=16)
    assert [(m.in_features, m.out_features) for m in G if isinstance(m, nn.Linear)] == [
        (100, 16),
        (16, 16),
        (16, 7),
    ]
    assert [(m.in_features, m.out_features) for m in D if isinstance(m, nn.Linear)] == [
        (7, 16),
        (16, 16),
        (16, 1),
    ]
    assert sum(isinstance(m, nn.BatchNorm1d) for m in G) == 2
    assert not any(isinstance(m, nn.BatchNorm1d) for m in D.modules())
    assert isinstance(G[-1], nn.Linear)  # features have no bounds
    assert G(torch.randn(5, 100)).shape == (5, 7) and D(torch.randn(5, 7)).shape == (5,)
    assert all(hasattr(m, "parametrizations") for m in D if isinstance(m, nn.Linear))
