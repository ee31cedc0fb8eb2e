"""Stacks, initialisation, spectral norm, standardisation and the replay buffer."""

import pytest
import torch
from helpers import raises_sentence
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from minigan.blocks import (
    SIZES,
    DCGANDiscriminator,
    DCGANGenerator,
    ReplayBuffer,
    Standardize,
    adam,
    add_spectral_norm_,
    check_size,
    dcgan_widths,
    frozen,
    init_normal_,
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
    with raises_sentence(ValueError, "needs images", "length 7"):
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
