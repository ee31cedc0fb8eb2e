"""AGAD against its paper: equations 5 to 11, Algorithm 1 by hand, and what stands in a batch."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import digits, raises_sentence, zeros
from torch import nn

from minigan import ADGAN, AGAD
from minigan.blocks import SIZES, AuxiliaryBatchNorm2d, UNet, UNetPlusPlus, init_normal_
from minigan.models.agad import Discriminator, L_adcon, L_adv, L_con, L_lat, NaiveGenerator, reciprocal
from minigan.torch_state import seeded

TINY = {"epochs": 1, "width": 4, "generator": "naive", "z_dim": 6, "batch_size": 8, "progress": False}
each_generator = pytest.mark.parametrize("generator", ["naive", "unet", "unet++"])
B, A = 8, 3  # images in a batch, labelled anomalies among them


def prepared(n_anomalies: int = 0, shape=(1, 16, 16), **parameters) -> AGAD:
    """A detector just before a step, in double precision."""
    detector = AGAD(**TINY | parameters)
    detector._check_parameters()
    detector._start(shape)
    for network in detector._networks().values():
        network.double()
    detector._set_mode(training=True)
    detector.epoch_, detector.step_, detector.batch_size_ = 1, 0, detector.batch_size
    detector.n_anomalies = n_anomalies
    return detector


def batch(seed: int = 0, n: int = B, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, size, size, generator=generator, dtype=torch.float64) * 2 - 1


def statistics(network: nn.Module, which: str = "") -> dict[str, torch.Tensor]:
    """Copies of the running statistics whose names contain `which`."""
    return {k: v.clone() for k, v in network.named_buffers() if "running" in k and which in k}


def alike(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    assert a.keys() == b.keys() and a
    return all(torch.allclose(a[k], b[k]) for k in a)


def calls_of(network: nn.Module) -> list[torch.Tensor]:
    """Collects what the network is given from now on."""
    seen = []
    network.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    return seen


def floats(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x)[:, None].float() / 127.5 - 1


# ---------------------------------------------------------------------- losses


def test_the_losses_of_equations_5_to_8():
    y_hat = [0.5, -2.0]
    expected = -sum(math.log(1 / (1 + math.exp(-t))) for t in y_hat) / 2  # BCE with the target "real"
    assert L_adv(torch.tensor(y_hat)).item() == pytest.approx(expected)
    a, b = torch.tensor([[1.0, -0.5]]), torch.tensor([[0.0, 0.25]])
    assert L_con(a, b).item() == (1 + 0.75) / 2
    assert L_lat(a, b).item() == (1 + 0.5625) / 2
    assert L_adcon(a, b).item() == -(1 + 0.75) / 2


def test_reciprocals_of_equation_10_are_finite_and_fall_when_the_loss_grows():
    losses = torch.tensor([0.0, 0.1, 1.0, 4.0], requires_grad=True)
    found = reciprocal(losses)
    assert found.tolist() == pytest.approx([100, 1 / 0.11, 1 / 1.01, 1 / 4.01])
    (slope,) = torch.autograd.grad(found.sum(), losses)
    assert torch.isfinite(slope).all() and (slope < 0).all()


# ---------------------------------------------------------------------- one step, by hand


def set_norms(network: nn.Module, *, training: bool) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(training)


def use_auxiliary(network: nn.Module, use: bool) -> None:
    for module in network.modules():
        if isinstance(module, AuxiliaryBatchNorm2d):
            module.use_auxiliary = use


def set_momentum(network: nn.Module, momentum: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum


def bce(logits: torch.Tensor, target: float) -> torch.Tensor:
    p = logits.sigmoid()
    return -(target * p.log() + (1 - target) * (1 - p).log()).mean()


def step_by_hand(twin: AGAD, x: torch.Tensor, a: int) -> tuple[dict, dict[str, torch.Tensor]]:
    """Losses, and gradients of Eq. 9 to 11 and of lines 7 and 10; the last `a` images are anomalies."""
    n, G, D = len(x) - a, twin.G, twin.D

    def copies(images: torch.Tensor) -> torch.Tensor:
        if not (twin.freeze_norms and a):
            return G(images)
        first = G(images[:n])
        set_norms(G, training=False)
        both = torch.cat([first, G(images[n:])])
        set_norms(G, training=True)
        return both

    x_hat = copies(x)
    use_auxiliary(G, True)
    set_momentum(G, 0.1 if twin.average_both_passes or twin.auxiliary_norms else 0.0)
    again = copies(x_hat)
    set_momentum(G, 0.1)
    use_auxiliary(G, False)
    z, (y_hat, z_hat) = D(x)[1], D(x_hat)
    losses = {
        "L_adv": bce(y_hat[:n], 1),
        "L_con": (x[:n] - x_hat[:n]).abs().mean(),
        "L_adcon": -(x_hat[:n] - again[:n]).abs().mean(),
        "L_lat": (z[:n] - z_hat[:n]).square().mean(),
    }
    if a:
        pair = (x, x_hat) if twin.anomaly_distance == "x" else (x_hat, again)
        distance = (pair[0][n:] - pair[1][n:]).abs().mean()
        losses["anomalies 1/L_adv"] = 1 / (bce(y_hat[n:], 1) + 0.01)
        losses["anomalies 1/L_adcon"] = 1 / (distance + 0.01)
        losses["anomalies 1/L_lat"] = 1 / ((z[n:] - z_hat[n:]).square().mean() + 0.01)
    factors = {"adv": twin.lambda_adv, "con": twin.lambda_con}
    factors |= {"adcon": twin.lambda_adcon, "lat": twin.lambda_lat}
    L_G = sum(factors[name.split("L_")[1]] * loss for name, loss in losses.items())
    gradients = {f"G.{k}": g for k, g in zip(dict(G.named_parameters()), gradients_of(L_G, G), strict=True)}
    y = D(x)[0]
    L_d = bce(y[:n], 1) + bce(D(x_hat[:n].detach())[0], 0)
    if a:
        L_d = L_d + bce(y[n:], 0)
    gradients |= {f"D.{k}": g for k, g in zip(dict(D.named_parameters()), gradients_of(L_d, D), strict=True)}
    return {name: loss.item() for name, loss in (losses | {"L_d": L_d}).items()}, gradients


def gradients_of(loss: torch.Tensor, network: nn.Module) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)


@pytest.mark.parametrize("anomalies", [0, A])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"lambda_adv": 3.0, "lambda_con": 0.5, "lambda_adcon": 7.0, "lambda_lat": 11.0},
        {"anomaly_distance": "x"},
        {"auxiliary_norms": True},
        {"freeze_norms": True},
        {"auxiliary_norms": True, "freeze_norms": True},
        {"generator": "unet", "width": 2},
        {"generator": "unet++", "width": 2},
    ],
    ids=str,
)
def test_a_step_follows_algorithm_1(parameters, anomalies):
    detector, x = prepared(anomalies, **parameters), batch()
    twin = copy.deepcopy(detector)
    found = {name: loss.item() for name, loss in detector.training_step(x).items()}
    losses, gradients = step_by_hand(twin, x, anomalies)
    assert found == pytest.approx(losses)
    for name in ("G", "D"):
        for key, p in getattr(detector, name).named_parameters():
            expected = gradients[f"{name}.{key}"]
            torch.testing.assert_close(p.grad, expected, msg=lambda m, key=key: f"{key}: {m}")
    for network, other in ((detector.G, twin.G), (detector.D, twin.D)):  # as many passes, in that order
        assert alike(statistics(network), statistics(other))


def test_each_adam_moves_its_own_network():
    detector = prepared()
    for optimiser, network in ((detector.opt_G, detector.G), (detector.opt_D, detector.D)):
        (group,) = optimiser.param_groups
        assert {id(p) for p in group["params"]} == {id(p) for p in network.parameters()}
        assert group["lr"] == 2e-4 and group["betas"] == (0.5, 0.999) and group["weight_decay"] == 0


# ---------------------------------------------------------------------- the contextual adversarial loss


def test_without_its_weight_the_contextual_adversarial_loss_moves_nothing():
    x = batch()
    detector, other = prepared(lambda_adcon=0.0), prepared(lambda_adcon=0.0)
    other.G.train()
    twin = copy.deepcopy(other)
    detector.training_step(x)
    x_hat = twin.G(x)  # Skip-GANomaly's losses, which we take for ADGAN's
    z, (y_hat, z_hat) = twin.D(x)[1], twin.D(x_hat)
    loss = bce(y_hat, 1) + 50 * (x - x_hat).abs().mean() + 5 * (z - z_hat).square().mean()
    for p, expected in zip(detector.G.parameters(), gradients_of(loss, twin.G), strict=True):
        torch.testing.assert_close(p.grad, expected)


def test_without_its_weight_the_second_pass_leaves_no_trace_in_the_scores():
    x = batch()
    detector = prepared(lambda_adcon=0.0)
    twin = copy.deepcopy(detector)
    detector.training_step(x)
    twin.G(x)
    assert alike(statistics(detector.G), statistics(twin.G))


def test_x_hat_and_its_reconstruction_both_move_apart():
    """L_adcon has no detach: its gradient also runs through x_hat, into the first pass."""
    detector, x = prepared(lambda_adv=0.0, lambda_con=0.0, lambda_lat=0.0), batch()
    twin = copy.deepcopy(detector)
    detector.training_step(x)
    x_hat = twin.G(x)
    detached = gradients_of(-15 * (x_hat.detach() - twin.G(x_hat.detach())).abs().mean(), twin.G)
    found = [p.grad for p in detector.G.parameters()]
    assert not any(torch.allclose(a, b, rtol=1e-3) for a, b in zip(found, detached, strict=True))


# ---------------------------------------------------------------------- batches


def batches_of(
    n_normal: int, n_anomalous: int, **parameters
) -> tuple[AGAD, torch.Tensor, list[torch.Tensor]]:
    detector = prepared(**parameters)
    n = n_normal + n_anomalous
    y = torch.zeros(n, dtype=torch.int64)
    y[torch.randperm(n, generator=torch.Generator().manual_seed(5))[:n_anomalous]] = 1
    detector.batch_size_ = min(detector.batch_size, n)
    return detector, y, list(detector.batches(n, y))


# Images, anomalies, batch, least anomalies -> anomalies and normal images in a batch, batches.
@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((1000, 10, 256, 32), (32, 224, 4)),  # 1 %: 32 all the same
        ((800, 200, 256, 32), (51, 205, 3)),  # 20 %: their fraction, 51 of 256
        ((95, 5, 20, 4), (4, 16, 5)),
        ((90, 10, 20, 1), (2, 18, 5)),
        ((10, 1, 256, 32), (5, 6, 1)),  # a batch of all 11: half of it is normal
        ((3, 40, 8, 2), (7, 1, 3)),
    ],
)
def test_what_stands_in_a_batch(counts, expected):
    n_normal, n_anomalous, batch_size, least = counts
    detector, y, batches = batches_of(n_normal, n_anomalous, batch_size=batch_size, min_anomalies=least)
    anomalies, normal, steps = expected
    assert detector.n_anomalies == anomalies and len(batches) == steps
    for chosen in batches:
        assert y[chosen].tolist() == [0] * normal + [1] * anomalies
    seen = torch.cat([chosen[:normal] for chosen in batches]).tolist()
    assert len(set(seen)) == len(seen) == n_normal // normal * normal  # every normal image once
    drawn = torch.bincount(torch.cat([chosen[normal:] for chosen in batches]), minlength=len(y))[y == 1]
    assert drawn.max() - drawn.min() <= 1  # all anomalies as often as each other


def test_batches_are_decided_by_the_seed_and_differ_between_epochs():
    runs = []
    for seed in (0, 0, 1):
        detector, y, first = batches_of(60, 7, seed=seed, min_anomalies=2)
        runs.append((first, detector.batches(67, y)))
    (first, second), again, other = runs
    assert all(torch.equal(a, b) for a, b in zip([*first, *second], [*again[0], *again[1]], strict=True))
    assert not torch.equal(first[0], second[0]) and not torch.equal(first[0], other[0][0])
    assert not torch.equal(first[0][-2:], second[0][-2:])


@pytest.mark.parametrize("labels", [None, np.zeros(40, int)])
def test_without_anomalies_batches_are_plain(labels):
    detector = prepared()
    y = None if labels is None else torch.from_numpy(labels)
    batches = detector.batches(40, y)
    assert detector.n_anomalies == 0 and sorted(torch.cat(batches).tolist()) == list(range(40))


def test_labels_of_normal_images_alone_change_nothing():
    x = zeros(40)
    plain, told = AGAD(**TINY).fit(x), AGAD(**TINY).fit(x, np.zeros(40, int))
    np.testing.assert_array_equal(plain.anomaly_score(x), told.anomaly_score(x))
    assert plain.history_.drop(columns="seconds").equals(told.history_.drop(columns="seconds"))


def test_labelled_anomalies_reach_the_step_as_the_last_of_a_batch(monkeypatch):
    images, labels = digits()
    x, y = np.concatenate([zeros(40), images[labels == 1][:6]]), np.repeat([0, 1], [40, 6])
    order = np.random.default_rng(0).permutation(46)
    seen, step = [], AGAD.training_step
    monkeypatch.setattr(AGAD, "training_step", lambda self, x, y: seen.append((x, y)) or step(self, x, y))
    detector = AGAD(**TINY, min_anomalies=3).fit(x[order], y[order])
    anomalous = {image.tobytes() for image in images[labels == 1][:6]}
    for batch_, labels_ in seen:
        assert labels_.tolist() == [0] * 5 + [1] * 3
        found = ((batch_[:, 0] + 1) * 127.5).round().byte().numpy()
        assert [image.tobytes() in anomalous for image in found] == [False] * 5 + [True] * 3
    assert len(seen) == 7  # 35 normal images (5 of 40 are held out), 5 in each batch
    assert {"anomalies 1/L_adv", "anomalies 1/L_adcon", "anomalies 1/L_lat"} <= set(detector.history_.columns)


# ---------------------------------------------------------------------- batch norms


@each_generator
def test_running_averages_are_those_of_the_images_alone_and_training_is_the_same(generator):
    """The score passes x alone, and so do its averages; those over both passes are a switch."""
    x, runs = batch(), {}
    for both in (False, True):
        detector = prepared(generator=generator, average_both_passes=both)
        twin = copy.deepcopy(detector)
        losses = detector.training_step(x)
        runs[both] = losses["L_adcon"].item(), [p.detach().clone() for p in detector.G.parameters()]
        x_hat = twin.G(x)
        assert alike(statistics(detector.G), statistics(twin.G)) is not both
        twin.G(x_hat)
        assert alike(statistics(detector.G), statistics(twin.G)) is both
        assert all(m.momentum == 0.1 for m in detector.G.modules() if isinstance(m, nn.BatchNorm2d))
    assert runs[False][0] == runs[True][0]
    assert all(map(torch.equal, runs[False][1], runs[True][1]))


@each_generator
def test_auxiliary_norms_take_the_second_pass_and_leave_the_first_alone(generator):
    detector, x = prepared(auxiliary_norms=True, generator=generator), batch()
    twin = copy.deepcopy(detector)
    untouched = statistics(twin.G, "auxiliary")
    detector.training_step(x)
    x_hat = twin.G(x)
    assert alike(statistics(detector.G, "main"), statistics(twin.G, "main"))
    assert not alike(statistics(detector.G, "auxiliary"), untouched)
    use_auxiliary(twin.G, True)
    twin.G(x_hat)
    assert alike(statistics(detector.G, "auxiliary"), statistics(twin.G, "auxiliary"))
    assert not any(m.use_auxiliary for m in detector.G.modules() if isinstance(m, AuxiliaryBatchNorm2d))


def test_scores_use_the_first_norms():
    detector = AGAD(**TINY, auxiliary_norms=True).fit(zeros(20))
    scores, x_hat = detector.anomaly_score(zeros(20)), detector.reconstruct(zeros(20))
    with torch.no_grad():
        for module in detector.G.modules():
            if isinstance(module, AuxiliaryBatchNorm2d):
                module.auxiliary.running_mean += 100
                module.auxiliary.weight.zero_()
    np.testing.assert_array_equal(detector.anomaly_score(zeros(20)), scores)
    np.testing.assert_array_equal(detector.reconstruct(zeros(20)), x_hat)
    with torch.no_grad():
        for module in detector.G.modules():
            if isinstance(module, AuxiliaryBatchNorm2d):
                module.main.weight *= 2
    assert not np.array_equal(detector.anomaly_score(zeros(20)), scores)


def statistics_after_a_step(
    anomalies: torch.Tensor, which: str = "", **parameters
) -> dict[str, torch.Tensor]:
    """Of G, after a step on the same normal images and these anomalies."""
    detector = prepared(A, **parameters)
    with seeded(0):
        init_normal_(detector.G, std=0.3)  # or reconstructions would all be nearly black
    detector.training_step(torch.cat([batch()[: B - A], anomalies]))
    return statistics(detector.G, which)


def test_frozen_norms_treat_each_anomaly_on_its_own_and_take_no_notice_of_it():
    detector, x = prepared(A, freeze_norms=True), batch()
    before = statistics(detector.G)
    x_hat = detector.reconstruct_batch(x, [B - A, A])
    after = statistics(detector.G)
    twin = prepared(A, freeze_norms=True)
    torch.testing.assert_close(x_hat[: B - A], twin.G(x[: B - A]))  # normal images: by their own statistics
    assert alike(after, statistics(twin.G)) and not alike(after, before)
    alone = twin.G.eval()(x[-1:])
    torch.testing.assert_close(x_hat[-1:], alone)  # the anomaly: by the running ones
    assert all(m.training for m in detector.G.modules() if isinstance(m, nn.BatchNorm2d))
    assert x_hat[-1].requires_grad


def test_anomalies_move_the_running_statistics_unless_norms_are_frozen():
    some, others = batch(1, A), batch(2, A) * 0.1
    assert not alike(statistics_after_a_step(some), statistics_after_a_step(others))
    frozen = {"freeze_norms": True, "auxiliary_norms": True, "which": "main"}
    assert alike(statistics_after_a_step(some, **frozen), statistics_after_a_step(others, **frozen))


def test_with_frozen_norms_anomalies_move_no_running_statistic():
    some, others = batch(1, A), batch(2, A) * 0.1
    frozen = {"freeze_norms": True}
    assert alike(statistics_after_a_step(some, **frozen), statistics_after_a_step(others, **frozen))


def test_without_anomalies_frozen_norms_are_like_any():
    x = zeros(20)
    np.testing.assert_array_equal(
        AGAD(**TINY, freeze_norms=True).fit(x).anomaly_score(x), AGAD(**TINY).fit(x).anomaly_score(x)
    )


def test_frozen_norms_with_a_single_normal_image_in_a_batch():
    x, y = zeros(20), np.arange(20) % 2
    detector = AGAD(**TINY | {"generator": "unet", "width": 2}, freeze_norms=True).fit(x, y)
    assert np.isfinite(detector.anomaly_score(x)).all()


# ---------------------------------------------------------------------- the discriminator, and its new start


def test_the_discriminator_has_two_blocks_and_no_fully_connected_layer():
    D = Discriminator(3, width=4)
    kinds = [type(m).__name__ for m in D.features]
    assert kinds == ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 2
    assert not any(isinstance(m, nn.Linear) for m in D.modules())
    for size in SIZES:
        y, z = D(torch.rand(2, 3, size, size))
        assert y.shape == (2,) and z.shape == (2, 8, size // 4, size // 4)
    torch.testing.assert_close(y, D.classify(z).mean((1, 2, 3)))


def test_below_its_threshold_the_discriminator_starts_anew():
    x = batch()
    loss = prepared().training_step(x)["L_d"].item()
    for threshold, resets in ((0.0, False), (loss * 0.9, False), (loss * 1.1, True)):
        detector = prepared(reset_below=threshold)
        with torch.no_grad():
            for p in detector.D.parameters():
                p += 1.0
        moved = copy.deepcopy(detector)
        if resets:
            moved.reset_below = 0.0
        detector.reset_below = 1e9 if resets else 0.0
        detector.training_step(x), moved.training_step(x)
        means = [p.mean().item() for p in detector.D.parameters() if p.ndim == 4]
        assert all(abs(mean) < 0.1 for mean in means) == resets
        for a, b in zip(detector.G.parameters(), moved.G.parameters(), strict=True):
            assert torch.equal(a, b)  # G is left alone


@pytest.mark.parametrize(("factor", "resets"), [(0.99, False), (1.01, True)])
def test_the_threshold_is_compared_with_the_discriminators_loss(factor, resets):
    x = batch()
    plain = prepared()
    loss = plain.training_step(x)["L_d"].item()
    detector = prepared(reset_below=loss * factor)
    detector.training_step(x)
    same = [torch.equal(a, b) for a, b in zip(detector.D.parameters(), plain.D.parameters(), strict=True)]
    assert not any(same) if resets else all(same)
    if resets:
        spread = torch.cat([p.flatten() for p in detector.D.parameters() if p.ndim == 4]).std().item()
        assert spread == pytest.approx(0.02, rel=0.2) and not detector.D.classify.bias.any()


# ---------------------------------------------------------------------- generators


@pytest.mark.parametrize("bottleneck", [1, 2])
def test_the_naive_generator_has_ganomalys_number_of_weights(bottleneck):
    """Printed as 2.04 M, in units of 2^20."""
    network = NaiveGenerator(1, 32, bottleneck=bottleneck)
    assert sum(p.numel() for p in network.parameters()) == 2_133_632 == 1_066_752 + 1_066_880
    assert round(2_133_632 / 2**20, 2) in (2.03, 2.04)
    sides = []
    for layer in network[0]:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda m, args, out: sides.append(out.shape[1:]))
    x = network(torch.rand(2, 1, 32, 32))
    assert sides == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (100, bottleneck, bottleneck)]
    assert x.shape == (2, 1, 32, 32) and x.abs().max() <= 1


def test_which_generator_is_built():
    widths = {"naive": 64, "unet": 32, "unet++": 32}
    for name, cls in {"naive": NaiveGenerator, "unet": UNet, "unet++": UNetPlusPlus}.items():
        detector = AGAD(generator=name)
        detector._start((3, 32, 32))
        assert type(detector.G) is cls
        first = next(m for m in detector.G.modules() if isinstance(m, nn.Conv2d))
        assert (first.in_channels, first.out_channels) == (3, widths[name])
        assert detector.D.features[0].out_channels == 64


@pytest.mark.parametrize("bottleneck", [1, 2])
def test_both_bottlenecks_fit_score_and_come_back(bottleneck, tmp_path):
    detector = AGAD(**TINY, bottleneck=bottleneck).fit(zeros(20))
    detector.save(tmp_path / "a")
    np.testing.assert_array_equal(
        AGAD.load(tmp_path / "a").anomaly_score(zeros(5)), detector.anomaly_score(zeros(5))
    )


@each_generator
def test_each_generator_learns_to_copy_a_few_images(generator):
    x = zeros(16)
    epochs = 40 if generator == "naive" else 25  # the U-Nets have skip connections
    settings = TINY | {
        "epochs": epochs,
        "lr": 4e-3,
        "generator": generator,
        "holdout": 0,
        "lambda_adcon": 0.0,
    }
    detector = AGAD(**settings, auxiliary_norms=True).fit(x)
    losses = detector.history_["L_con"]
    assert losses.iloc[-1] < 0.5 * losses.iloc[0]
    images = floats(x).numpy()
    error = np.abs(detector.reconstruct(x) - images).mean()
    assert error < 0.6 * np.abs(images - images.mean()).mean()


# ---------------------------------------------------------------------- scores, maps


@pytest.mark.parametrize("channels", [1, 3])
def test_score_map_and_reconstruction_say_the_same(channels):
    x = zeros(20, channels)
    detector = AGAD(**TINY | {"epochs": 4, "lr": 2e-3}).fit(x)
    images = torch.from_numpy(x).float() / 127.5 - 1
    images = (images[:, None] if channels == 1 else images.permute(0, 3, 1, 2)).numpy()
    x_hat = detector.reconstruct(x)
    assert x_hat.shape == images.shape and x_hat.dtype == np.float32 and np.abs(x_hat).max() <= 1
    difference = images - x_hat
    expected = np.sqrt((difference**2).sum((1, 2, 3)))  # section 3.3.3
    np.testing.assert_allclose(detector.anomaly_score(x), expected, rtol=1e-4)
    maps = detector.anomaly_map(x)
    assert maps.shape == (20, 16, 16) and maps.dtype == np.float32 and 0 <= maps.min() <= maps.max() <= 2
    np.testing.assert_allclose(maps, np.abs(difference).mean(1), atol=1e-5)


def test_labelled_anomalies_are_spoilt():
    """Eq. 3's reading: their reconstructions become worse than those of normal images, of new ones too."""
    images, labels = digits()
    x = np.concatenate([zeros(60), images[labels == 1][:12]])
    y = np.repeat([0, 1], [60, 12])
    settings = TINY | {"epochs": 32, "lr": 3e-3, "batch_size": 16, "min_anomalies": 4}
    scores = {}
    for told in (False, True):
        detector = AGAD(**settings, anomaly_distance="x", lambda_adcon=15.0)
        detector.fit(x if told else x[:60], y if told else None)
        ones = detector.anomaly_score(images[labels == 1][50:80])
        scores[told] = ones.mean() / detector.anomaly_score(zeros(150)[100:]).mean()
    assert scores[True] > 1.2 * scores[False]


# ---------------------------------------------------------------------- parameters


def test_defaults_are_the_papers():
    """Section 4.2."""
    expected = {"epochs": 35, "batch_size": 256, "generator": "unet++", "lr": 2e-4, "betas": (0.5, 0.999)}
    expected |= {"lambda_adv": 1, "lambda_con": 50, "lambda_adcon": 15, "lambda_lat": 5, "min_anomalies": 32}
    expected |= {"anomaly_distance": "x_hat", "auxiliary_norms": False, "freeze_norms": False}
    expected |= {"reset_below": 0, "bottleneck": 1, "z_dim": 100, "width": None}
    assert expected.items() <= AGAD().get_params().items()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"generator": "resnet"}, ["generator", "'unet++'", "'resnet'"]),
        ({"anomaly_distance": "y"}, ["anomaly_distance", "'x_hat'", "'y'"]),
        ({"lambda_adcon": -1.0}, ["lambda_adcon", "at least 0", "-1"]),
        ({"lambda_lat": -1.0}, ["lambda_lat", "at least 0"]),
        ({"reset_below": -1e-5}, ["reset_below", "at least 0"]),
        ({"min_anomalies": 0}, ["min_anomalies", "at least 1"]),
        ({"z_dim": 0}, ["z_dim", "at least 1"]),
        ({"batch_size": 1}, ["batch_size", "at least 2", "1"]),
        ({"bottleneck": 4}, ["bottleneck", "1 or 2", "4"]),
        ({"width": 0}, ["width", "at least 1", "0"]),
        ({"width": 4.0}, ["width", "whole number", "4.0"]),
        ({"betas": (0.5, 1.0)}, ["betas", "below 1"]),
    ],
)
def test_parameters_that_cannot_work(parameters, words):
    with raises_sentence(ValueError, *words):
        AGAD(**TINY | parameters).fit(zeros(20))


def test_labels_that_are_not_normal_or_anomalous():
    for labels in (np.arange(20) % 3, np.ones(20, int)):
        with raises_sentence(ValueError, "0 (normal) and 1 (anomalous)", "some of them 0"):
            AGAD(**TINY).fit(zeros(20), labels)


# ---------------------------------------------------------------------- ADGAN


def test_adgan_is_agad_without_its_contextual_adversarial_loss():
    x = batch().numpy().astype(np.float32)
    theirs = AGAD(**TINY, lambda_adcon=0.0).fit(x)
    ours = ADGAN(**TINY).fit(x)
    np.testing.assert_array_equal(ours.anomaly_score(x), theirs.anomaly_score(x))
    assert not np.array_equal(AGAD(**TINY).fit(x).anomaly_score(x), theirs.anomaly_score(x))


def test_adgan_ignores_labels_of_anomalies():
    x, y = batch().numpy().astype(np.float32), np.repeat([0, 1], [B - A, A])
    labelled, plain = ADGAN(**TINY).fit(x, y), ADGAN(**TINY).fit(x)
    np.testing.assert_array_equal(labelled.anomaly_score(x), plain.anomaly_score(x))
    assert list(labelled.history_.columns) == ["L_adv", "L_con", "L_adcon", "L_lat", "L_d", "seconds"]
