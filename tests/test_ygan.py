"""Y-GAN against its paper, equation by equation; one training step against a gradient taken by hand."""

import copy
import math
from typing import get_args

import numpy as np
import pytest
import torch
from helpers import digits, raises_sentence
from torch import nn

from minigan import YGAN, clustering
from minigan.detector import parameter_types
from minigan.models.ygan import L_adv, L_bce, L_con, L_rec, released_L_con
from minigan.tables.ygan import ABLATIONS, RELEASED

TINY = {"epochs": 1, "width": 4, "z_dim": 5, "batch_size": 8, "progress": False}
SCORES = get_args(parameter_types(YGAN)["scored_by"])
LIVELY = TINY | {"epochs": 8, "lr": 0.01, "lambda_con": 1.0, "holdout": 0}  # long enough for real differences
B = 6  # images in a batch


def three_digits(n: int = 36, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Digits 0, 5, 9, 0, ...: (n, 16, 16) or (n, 16, 16, 3) uint8, and their labels."""
    images, labels = digits()
    y = np.array([0, 5, 9])[np.arange(n) % 3]
    x = np.stack([images[labels == label][i // 3] for i, label in enumerate(y)])
    return (x if channels == 1 else np.stack([x, x[:, ::-1], 255 - x], -1)), y


def floats(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x)[:, None].float() / 127.5 - 1


def prepared(**parameters) -> YGAN:
    """A detector in the middle of its training, before a step, in double precision."""
    detector = YGAN(**TINY | {"epochs": 4} | parameters)
    detector._check_parameters()
    detector.classes_ = np.arange(3)
    detector._start((1, 16, 16))
    for network in detector._networks().values():
        network.double()
    detector._set_mode(training=True)
    detector.epoch_, detector.step_, detector.steps_per_epoch_, detector.batch_size_ = 2, 1, 4, B
    return detector


def batch(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(B, 1, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x * 2 - 1, torch.arange(B) % 3


def weights_of(detector: YGAN) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": p for n, net in detector._networks().items() for k, p in net.named_parameters()}


def calls_of(network: nn.Module) -> list[torch.Tensor]:
    """Collects what the network is given from now on."""
    seen = []
    network.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    return seen


# ---------------------------------------------------------------------- losses


def test_reconstruction_loss_is_the_mean_absolute_difference():
    x, x_hat = torch.tensor([[[[0.5, -1.0]]], [[[0.0, 1.0]]]]), torch.tensor([[[[0.0, 1.0]]], [[[0.0, 0.5]]]])
    assert L_rec(x, x_hat).item() == (0.5 + 2 + 0 + 0.5) / 4  # Eq. 3


def test_adversarial_loss_is_the_mean_squared_difference_of_features():
    assert L_adv(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 5.0]])).item() == (1 + 9) / 2  # Eq. 4


def test_the_discriminators_loss_is_the_binary_cross_entropy():
    real, fake = [0.3, -1.2], [0.5, 2.0]
    sigmoid = [1 / (1 + math.exp(-t)) for t in real], [1 / (1 + math.exp(-t)) for t in fake]
    expected = -sum(math.log(p) for p in sigmoid[0]) / 2 - sum(math.log(1 - p) for p in sigmoid[1]) / 2
    assert L_bce(torch.tensor(real), torch.tensor(fake)).item() == pytest.approx(expected)  # Eq. 5


def test_consistency_loss_is_minus_the_cosine():
    z, again = [[3.0, 4.0], [1.0, 0.0]], [[4.0, 3.0], [-2.0, 0.0]]
    assert L_con(torch.tensor(z), torch.tensor(again)).item() == pytest.approx(-(24 / 25 - 1) / 2)  # Eq. 9
    assert L_con(torch.tensor(z), 7 * torch.tensor(z)).item() == pytest.approx(-1)


def test_the_released_consistency_loss_takes_the_opposite_for_the_same():
    z, again = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [-2.0, 0.0]])
    assert released_L_con(z, again).item() == pytest.approx(((1 - 24 / 25) + 0) / 2)
    assert released_L_con(z, -z).item() == pytest.approx(0) and L_con(z, -z).item() == pytest.approx(1)


# ---------------------------------------------------------------------- one step, by hand


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum(1) / (a.square().sum(1).sqrt() * b.square().sum(1).sqrt())


def losses_by_hand(twin: YGAN, x: torch.Tensor, y: torch.Tensor, released: bool) -> dict[str, torch.Tensor]:
    """Eq. 3, 4, 6, 8 (without the reversal), 9 and 5 with these networks and this source of randomness."""
    E_s, C, Dec, Ds, d = twin.E_s, twin.C, twin.Dec, twin.Ds, twin.z_dim

    def codes(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if twin.encoder == "dual":
            return E_s(x), twin.E_r(x)
        z = E_s(x)
        return (z[:, :d], z[:, d:]) if twin.encoder == "split" else (z, z[:, 2 * d :])

    def cross_entropy(z: torch.Tensor) -> torch.Tensor:
        p = C(z).exp()
        return -(p[range(B), y] / p.sum(1)).log().mean()

    z_s, z_r = codes(x)
    x_hat = Dec(torch.cat([z_s, z_r], 1))
    losses = {"L_rec": (x - x_hat).abs().mean()}
    losses["L_adv"] = (Ds.features(x) - Ds.features(x_hat)).square().mean()
    losses["L_s"] = cross_entropy(z_s)
    if twin.encoder != "single":
        losses["L_r"] = cross_entropy(z_r)
        total = 0.0
        for _ in range(twin.shuffles):
            order = torch.randperm(B, generator=twin.rng_)
            z = torch.cat([z_s, z_r[order]], 1)
            hybrid = Dec(z.detach() if released else z)
            if released:  # each from its own minimum and maximum to -1 and 1
                low, high = hybrid.flatten(1).aminmax(dim=1)
                hybrid = (2 * hybrid - (low + high)[:, None, None, None]) / (high - low)[:, None, None, None]
            again_s, again_r = codes(hybrid)
            if released:
                total = total + (1 - cosine(z_s, again_s).abs()).mean()
                total = total + (1 - cosine(z_r[order], again_r).abs()).mean()
            else:
                total = total - cosine(z_s, again_s).mean()
        losses["L_con"] = total / twin.shuffles
    real, fake = Ds(x)[0].sigmoid(), Ds(x_hat.detach())[0].sigmoid()
    losses["L_bce"] = -real.log().mean() - (1 - fake).log().mean()
    return losses


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"lambda_rec": 3.0, "lambda_adv": 7.0, "lambda_s": 0.5, "lambda_r": 2.0, "lambda_con": 4.0},
        {"consistency": "released", "shuffles": 3},
        {"shuffles": 2},
        {"encoder": "split"},
        {"encoder": "single"},
        {"detach_features": True, "lambda_adv": 100.0},
        {"detach_features": True, "lambda_adv": 2.0, "lambda_bce": 0.5},
        {"lambda_bce": 3.0},
        {"hidden_slope": 0.3},
        {"norm": "after"},
        {"norm": "after", "encoder": "split", "consistency": "released"},
        RELEASED | {"shuffles": 2},
    ],
    ids=str,
)
def test_the_gradient_of_a_step_is_that_of_equations_10_and_11(parameters):
    detector, (x, y) = prepared(**parameters), batch()
    twin = copy.deepcopy(detector)
    found = {name: loss.item() for name, loss in detector.training_step(x, y).items()}

    released = parameters.get("consistency") == "released"
    by_hand = losses_by_hand(twin, x, y, released)
    assert found == pytest.approx({name: loss.item() for name, loss in by_hand.items()})

    weights = weights_of(twin)
    expected = {name: torch.zeros_like(p) for name, p in weights.items()}
    lambda_R = 2 / (1 + math.exp(-10 * 6 / 16)) - 1  # 6 of 16 steps are done with this one
    factors = {"L_rec": detector.lambda_rec, "L_adv": detector.lambda_adv, "L_s": detector.lambda_s}
    factors |= {"L_r": detector.lambda_r, "L_con": detector.lambda_con, "L_bce": detector.lambda_bce}
    trains_Ds = {"L_bce", "L_adv"} if detector.detach_features else {"L_bce"}
    for name, loss in by_hand.items():
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, retain_graph=True)
        for key, gradient in zip(weights, gradients, strict=True):
            if gradient is None or key.startswith("Ds.") != (name in trains_Ds):
                continue
            reverse = name == "L_r" and key.startswith("E_")  # Eq. 7
            expected[key] += factors[name] * gradient * (-lambda_R if reverse else 1)
    for key, p in weights_of(detector).items():
        torch.testing.assert_close(p.grad, expected[key], msg=lambda m, key=key: f"{key}: {m}")
        assert expected[key].any(), f"{key} has no gradient"


@pytest.mark.parametrize("detach", [False, True])
def test_whom_L_adv_trains(detach):
    """In the paper the generator, in the released code Ds, and never both."""
    others = {"lambda_rec": 0.0, "lambda_s": 0.0, "lambda_r": 0.0, "lambda_con": 0.0, "lambda_bce": 0.0}
    detector, (x, y) = prepared(**others, scored_by="image", detach_features=detach), batch()
    made = []
    detector.Dec.register_forward_hook(lambda module, args, x_hat: made.append(x_hat) or x_hat.retain_grad())
    before = copy.deepcopy(detector)
    loss = detector.training_step(x, y)["L_adv"]
    in_Ds = sum(p.grad.abs().sum().item() for p in detector.Ds.features.parameters())
    in_x_hat = 0 if made[0].grad is None else made[0].grad.abs().sum().item()
    assert (in_Ds > 1e-3) == detach and (in_x_hat > 1e-6) != detach
    for name in ("E_s", "E_r", "Dec", "Ds"):
        pairs = zip(getattr(before, name).parameters(), getattr(detector, name).parameters(), strict=True)
        moved = any(not torch.equal(a, b) for a, b in pairs)
        assert moved == ((name == "Ds") == detach), name
    after = [detector.Ds(image)[1] for image in (x, made[0].detach())]
    if detach:  # Ds has learned to see no difference between an image and its reconstruction
        assert L_adv(*after) < loss


def test_detached_features_leave_the_generator_as_without_an_adversary():
    (x, y), losses = batch(), {}
    for detach in (False, True):
        losses[detach] = prepared(detach_features=detach).training_step(x, y)
    for name, loss in losses[True].items():  # of the first step: the same numbers
        torch.testing.assert_close(loss.detach(), losses[False][name].detach())
    without, detached = prepared(lambda_adv=0.0), prepared(detach_features=True)
    without.training_step(x, y), detached.training_step(x, y)
    for name in ("E_s", "E_r", "Dec", "C"):
        for a, b in zip(
            getattr(without, name).parameters(), getattr(detached, name).parameters(), strict=True
        ):
            torch.testing.assert_close(a.grad, b.grad)


def test_a_second_step_does_not_remember_the_gradients_of_the_first():
    for detach in (False, True):
        detector, (x, y) = prepared(detach_features=detach, lr=0.0), batch()
        detector.rng_.manual_seed(3), detector.training_step(x, y)
        first = {key: p.grad.clone() for key, p in weights_of(detector).items()}
        detector.rng_.manual_seed(3), detector.training_step(x, y)
        for key, p in weights_of(detector).items():
            torch.testing.assert_close(p.grad, first[key])


@pytest.mark.parametrize(("below", "restarts"), [(0.0, False), (1e-5, False), (0.4, False), (1.0, True)])
def test_ds_starts_again_when_its_weighted_loss_is_low(below, restarts):
    """Untrained, L_bce is 2 log 2, of which the weight leaves a half: 0.69."""
    detector, (x, y) = prepared(reset_below=below, lambda_bce=0.5, lr=0.0), batch()
    before = [p.clone() for p in detector.Ds.parameters()]
    loss = detector.training_step(x, y)["L_bce"].item()
    assert 0.4 < loss / 2 < 1.0
    for a, b in zip(before, detector.Ds.parameters(), strict=True):
        assert torch.equal(a, b) != (restarts and bool(b.any()))  # biases start as zeros and stay so
    if restarts:
        assert detector.Ds.features[0].weight.std().item() == pytest.approx(0.02, rel=0.3)


def test_the_released_switches_are_no_defaults():
    YGAN(**RELEASED)._check_parameters()
    assert all(getattr(YGAN(), name) != value for name, value in RELEASED.items())
    assert YGAN(**RELEASED).lambda_bce == 0.5 and RELEASED["shuffles"] == 64


def test_each_adam_moves_its_own_networks():
    detector = prepared()
    of_G, of_D = (
        {id(p) for p in optimiser.param_groups[0]["params"]} for optimiser in (detector.opt_G, detector.opt_D)
    )
    networks = detector._networks()
    assert of_D == {id(p) for p in detector.Ds.parameters()}
    assert of_G == {id(p) for name, net in networks.items() if name != "Ds" for p in net.parameters()}
    for optimiser in (detector.opt_G, detector.opt_D):
        group = optimiser.param_groups[0]
        assert group["lr"] == 2e-4 and group["betas"] == (0.5, 0.999) and group["weight_decay"] == 0


def test_optimisers_of_a_detector_built_twice_hold_the_networks_in_use():
    """As `load` does: first without memory, then for real."""
    detector = prepared()
    detector._start((1, 16, 16))
    names = {id(p): name for name, p in weights_of(detector).items()}
    of_G = [names.get(id(p), "of no network") for p in detector.opt_G.param_groups[0]["params"]]
    assert of_G and not [name for name in of_G if name.startswith(("Ds.", "of no"))]


# ---------------------------------------------------------------------- reversal


def test_the_reversal_grows_from_0_to_1_with_the_training():
    detector, found = prepared(epochs=4), []
    for detector.epoch_ in (1, 2, 3, 4):
        for detector.step_ in range(4):
            found.append(detector.reversal_weight())
    assert found == sorted(found)
    assert found[7] == pytest.approx(2 / (1 + math.exp(-5)) - 1)  # half of the way
    assert found[0] == pytest.approx(2 / (1 + math.exp(-10 / 16)) - 1)
    assert found[-1] == pytest.approx(2 / (1 + math.exp(-10)) - 1) and 0.9999 < found[-1] < 1
    detector.epochs, detector.epoch_, detector.step_ = 10_000, 1, 0
    assert detector.reversal_weight() < 2e-4  # in a long training it starts at nearly nothing


def test_by_the_reversal_e_r_unlearns_what_c_learns():
    alone = {"lambda_rec": 0.0, "lambda_adv": 0.0, "lambda_s": 0.0, "lambda_con": 0.0, "scored_by": "image"}
    detector, (x, y) = prepared(**alone, lr=1e-3), batch()
    detector.epoch_, detector.step_ = 4, 3
    before = copy.deepcopy(detector)
    assert set(detector.training_step(x, y)) == {"L_rec", "L_r"}

    def loss(E_r: nn.Module, C: nn.Module) -> float:
        with torch.no_grad():
            return nn.functional.cross_entropy(C(E_r(x)), y).item()

    start = loss(before.E_r, before.C)
    assert loss(before.E_r, detector.C) < start - 1e-4
    assert loss(detector.E_r, before.C) > start + 1e-4
    for a, b in zip(before.E_s.parameters(), detector.E_s.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_weight_of_the_reversal_is_used(monkeypatch):
    gradients = {}
    for weight in (0.0, 0.5, 1.0):
        monkeypatch.setattr(YGAN, "reversal_weight", lambda self, weight=weight: weight)
        detector, (x, y) = prepared(lambda_rec=0.0, lambda_adv=0.0, lambda_con=0.0), batch()
        detector.training_step(x, y)
        gradients[weight] = [p.grad.clone() for p in detector.E_r.parameters()]
    for none, half, one in zip(*gradients.values(), strict=True):
        assert not none.any() and one.any()
        torch.testing.assert_close(half, one / 2)


# ---------------------------------------------------------------------- consistency


@pytest.mark.parametrize("shuffles", [1, 3])
def test_hybrids_are_made_of_every_z_s_with_the_z_r_of_another_order(shuffles):
    detector, (x, y) = prepared(shuffles=shuffles), batch()
    seen = calls_of(detector.Dec)
    detector.training_step(x, y)
    assert len(seen) == 1 + shuffles
    first, *hybrids = seen
    orders = set()
    for z in hybrids:
        assert torch.equal(z[:, :5], first[:, :5])
        order = [(first[:, 5:] == row).all(1).nonzero().item() for row in z[:, 5:]]
        assert sorted(order) == list(range(B))
        orders.add(tuple(order))
    assert len(orders) == shuffles and tuple(range(B)) not in orders


def test_shuffles_come_from_the_detectors_own_randomness():
    detector, (x, _) = prepared(), batch()
    z = detector.codes(x)
    twin = copy.deepcopy(detector)
    torch.manual_seed(99)
    assert twin.consistency_loss(*z).item() == detector.consistency_loss(*z).item()
    detector.rng_.manual_seed(7), twin.rng_.manual_seed(8)
    assert twin.consistency_loss(*z).item() != detector.consistency_loss(*z).item()


# ---------------------------------------------------------------------- the order of batch norm


@pytest.mark.parametrize("encoder", ["dual", "split", "single"])
def test_batch_norm_after_the_activation_is_that_of_section_4_3(encoder, set_of_three):
    """In all networks after DCGAN; by default they are as they always were."""
    x, y = set_of_three
    detector = YGAN(**TINY, encoder=encoder, norm="after").fit(x, y)
    usual = YGAN(**TINY, encoder=encoder).fit(x, y)
    for name in ("E_s", "E_r", "Dec", "Ds") if encoder == "dual" else ("E_s", "Dec", "Ds"):
        kinds = [type(m).__name__ for m in getattr(detector, name).modules()]
        others = [type(m).__name__ for m in getattr(usual, name).modules()]
        activation = "ReLU" if name == "Dec" else "LeakyReLU"
        for i, kind in enumerate(kinds):
            assert kind != "BatchNorm2d" or kinds[i - 1] == activation
        for i, kind in enumerate(others):
            assert kind != "BatchNorm2d" or others[i + 1] == activation
        layers = sum("Conv" in kind for kind in kinds)
        assert kinds.count("BatchNorm2d") == layers - (0 if name.startswith("E_") else 1)
    assert np.isfinite(detector.anomaly_score(x)).all()
    assert type(detector.C[1]) is nn.ReLU and detector.grad_cam(x[:2]).shape == (2, 16, 16)


# ---------------------------------------------------------------------- batch statistics


@pytest.fixture(scope="module")
def set_of_three() -> tuple[np.ndarray, np.ndarray]:
    return three_digits()


@pytest.fixture(scope="module")
def fitted(set_of_three) -> YGAN:
    """Shared: tests change `scored_by` alone."""
    x, y = set_of_three
    return YGAN(**LIVELY).fit(x, y)


def test_with_batch_statistics_an_images_neighbours_matter(fitted, set_of_three):
    x, y = set_of_three
    leaking = YGAN(**LIVELY, batch_statistics=True).fit(x, y)
    company = np.concatenate([x[:1], 255 - x[1:9]])
    for detector, leaks in ((leaking, True), (fitted, False)):
        detector.set_params(scored_by="image")
        alone, crowded = detector.anomaly_score(x[:9])[0], detector.anomaly_score(company)[0]
        assert (abs(alone - crowded) > 1e-3 * alone) == leaks
        for name in ("E_s", "E_r", "Ds", "Dec"):
            kept = [key for key in getattr(detector, name).state_dict() if "running" in key]
            assert bool(kept) == (name == "Dec" or not leaks), name
    fitted.set_params(scored_by="softmax")


# ---------------------------------------------------------------------- ablations


ALL = {"L_rec", "L_adv", "L_s", "L_r", "L_con", "L_bce"}


@pytest.mark.parametrize(
    ("name", "networks", "losses"),
    [
        ("A1", {"E_s", "E_r", "Dec", "C", "Ds"}, ALL - {"L_con"}),
        ("A2", {"E_s", "E_r", "Dec", "C", "Ds"}, ALL - {"L_r"}),
        ("A3", {"E_s", "E_r", "Dec", "C", "Ds"}, ALL - {"L_r", "L_con"}),
        ("B1", {"E_s", "Dec", "C", "Ds"}, ALL),
        ("B2", {"E_s", "Dec", "C", "Ds"}, ALL - {"L_r", "L_con"}),
        ("B3", {"E_s", "Dec", "C", "Ds"}, {"L_rec", "L_adv", "L_bce"}),
        ("B4", {"E_s", "E_r", "Dec", "C"}, ALL - {"L_adv", "L_bce"}),
    ],
)
def test_the_ablations_of_table_5(name, networks, losses, set_of_three):
    x, y = set_of_three
    detector = YGAN(**TINY, **ABLATIONS[name]).fit(x, y)
    assert set(detector._networks()) == networks | {"prototypes"}
    assert set(detector.history_.columns) == losses | {"seconds"}
    assert np.isfinite(detector.anomaly_score(x)).all()
    assert detector.reconstruct(x[:2]).shape == (2, 1, 16, 16)
    z_s, z_r = detector.encode(x)
    d_s, d_r = {"B1": (5, 5), "B2": (10, 0), "B3": (10, 0)}.get(name, (5, 5))
    assert (z_s.shape, z_r.shape) == ((36, d_s), (36, d_r))
    assert detector.C[0].in_features == d_s and detector.Dec[1].in_channels == 10


def test_all_seven_ablations_are_there():
    assert list(ABLATIONS) == ["A1", "A2", "A3", "B1", "B2", "B3", "B4"]
    for parameters in ABLATIONS.values():
        YGAN(**parameters)._check_parameters()


# ---------------------------------------------------------------------- scores


def unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def scores_by_hand(detector: YGAN, x: np.ndarray, train: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Eq. 12 to 16 and 18, from codes and reconstructions alone."""
    z_s, z_r = detector.encode(x)
    x_hat = detector.reconstruct(x)
    again_s, again_r = detector.encode(x_hat)
    with torch.no_grad():
        logits = detector.C(torch.from_numpy(z_s)).double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    known = unit(detector.encode(train)[0])
    prototypes = np.stack([known[y == label].mean(0) for label in np.unique(y)])
    z, again = np.concatenate([z_s, z_r], 1), np.concatenate([again_s, again_r], 1)
    return {
        "softmax": 1 - p.max(1),
        "image": ((floats(x).numpy() - x_hat) ** 2).sum((1, 2, 3)),
        "latent": ((unit(z) - unit(again)) ** 2).sum(1),
        "semantic": ((unit(z_s) - unit(again_s)) ** 2).sum(1),
        "prototype": ((unit(z_s)[:, None] - prototypes) ** 2).sum(2).min(1),
        "entropy": -(p * np.log(p)).sum(1),
    }


def test_the_scores_of_equations_12_to_18(fitted, set_of_three):
    (train, y), (x, _) = set_of_three, three_digits(60)
    x = np.concatenate([x[36:], 255 - x[:3]])
    for name, expected in scores_by_hand(fitted, x, train, y).items():
        assert fitted.set_params(scored_by=name) is fitted
        found = fitted.anomaly_score(x)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5 * expected.max(), err_msg=name)
        assert found.std() > 0, name
    assert set(SCORES) == {*scores_by_hand(fitted, x, train, y), "weak_prototype"}
    fitted.set_params(scored_by="softmax")


@pytest.mark.parametrize("encoder", ["split", "single"])
def test_the_scores_with_one_encoder(encoder, set_of_three):
    x, y = set_of_three
    detector = YGAN(**TINY | {"epochs": 2}, encoder=encoder, holdout=0).fit(x, y)
    for name, expected in scores_by_hand(detector, x[:8], x, y).items():
        found = detector.set_params(scored_by=name).anomaly_score(x[:8])
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5 * expected.max(), err_msg=name)


def test_prototypes_are_means_of_the_kept_weights_codes(set_of_three):
    """Of the training images alone, of unit length, and of the epoch whose weights are in use."""
    x, y = set_of_three
    images, labels = digits()
    held = np.concatenate([x, images[labels == 1][:12]]), np.repeat([0, 1], [36, 12])
    detector = YGAN(**TINY | {"epochs": 3, "lr": 2e-3}, validate_every=1, scored_by="prototype")
    detector.fit(x, y, validation=held)
    seen = []
    for which in ("last", "best_validation"):
        z_s = unit(detector.use_weights(which).encode(x)[0])
        for i, label in enumerate((0, 5, 9)):
            expected = z_s[y == label].mean(0)
            np.testing.assert_allclose(detector.prototypes.classes[i], expected, atol=1e-5)
            assert np.linalg.norm(expected) < 1  # the mean of unit vectors is shorter
        assert detector.prototypes.clusters.isinf().all()
        seen.append(detector.prototypes.classes.clone())
    assert torch.equal(*seen) == (detector.best_validation_epoch_ == 3)


def test_weak_prototypes_are_means_of_clusters(set_of_three):
    x, y = set_of_three
    weak = {"scored_by": "weak_prototype", "cluster_features": "pixels"}
    detector = YGAN(**TINY, **weak, holdout=0, seed=2).fit(x, y)
    clusters = clustering.weak_labels(torch.from_numpy(x)[:, None], "pixels", n_clusters=3, seed=2)
    assert any(len(set(y[clusters == k])) > 1 for k in range(3))  # they are not the sub-classes
    z_s = unit(detector.encode(x)[0])
    means = np.stack([z_s[clusters == k].mean(0) for k in range(3)])
    np.testing.assert_allclose(detector.prototypes.clusters, means, atol=1e-5)
    expected = ((z_s[:, None] - means) ** 2).sum(2).min(1)
    np.testing.assert_allclose(detector.anomaly_score(x), expected, rtol=1e-3, atol=1e-5 * expected.max())
    found = detector.set_params(scored_by="prototype").anomaly_score(x)
    assert not np.allclose(found, expected, rtol=1e-3)


def test_of_clusters_as_sub_classes_both_prototypes_are_the_same(set_of_three):
    x, _ = set_of_three
    weak = {"scored_by": "weak_prototype", "cluster_features": "pixels", "labels": "cluster"}
    detector = YGAN(**TINY, **weak).fit(x)
    assert torch.equal(detector.prototypes.clusters, detector.prototypes.classes)


def test_prototypes_of_clusters_must_be_asked_for_before_fit(fitted, set_of_three):
    fitted.set_params(scored_by="weak_prototype")
    with raises_sentence(ValueError, "prototypes of clusters", "scored_by='weak_prototype'", "before fit"):
        fitted.anomaly_score(set_of_three[0])
    fitted.set_params(scored_by="softmax")


def test_prototypes_travel_with_the_checkpoint(tmp_path, set_of_three):
    x, y = set_of_three
    detector = YGAN(**TINY, scored_by="weak_prototype", cluster_features="pixels").fit(x, y)
    detector.save(tmp_path / "a")
    loaded = YGAN.load(tmp_path / "a")
    assert loaded.classes_.tolist() == [0, 5, 9]
    for name in SCORES:
        scores = [d.set_params(scored_by=name).anomaly_score(x) for d in (detector, loaded)]
        np.testing.assert_array_equal(*scores, err_msg=name)


@pytest.mark.parametrize("name", ["softmin", ""])
def test_a_score_that_there_is_not_is_refused_after_fit_too(name, fitted, set_of_three):
    fitted.set_params(scored_by=name)
    try:
        with raises_sentence(ValueError, "scored_by", "'softmax'", repr(name)):
            fitted.anomaly_score(set_of_three[0])
    finally:
        fitted.set_params(scored_by="softmax")


def test_the_default_score_takes_the_encoder_and_the_classifier_alone(fitted, set_of_three):
    x, _ = set_of_three
    unused = [calls_of(fitted.Dec), calls_of(fitted.Ds)]
    used = calls_of(fitted.C)
    fitted.anomaly_score(x)
    assert used and not any(unused)


# ---------------------------------------------------------------------- codes, reconstructions, hybrids


def test_codes_and_reconstructions(fitted, set_of_three):
    x, _ = set_of_three
    z_s, z_r = fitted.encode(x)
    assert z_s.shape == z_r.shape == (36, 5) and z_s.dtype == z_r.dtype == np.float32
    with torch.no_grad():
        np.testing.assert_allclose(z_s, fitted.E_s(floats(x)), atol=1e-5)
        np.testing.assert_allclose(z_r, fitted.E_r(floats(x)), atol=1e-5)
        x_hat = fitted.Dec(torch.cat([torch.from_numpy(z_s), torch.from_numpy(z_r)], 1))
    found = fitted.reconstruct(x)
    assert found.shape == (36, 1, 16, 16) and found.dtype == np.float32 and np.abs(found).max() <= 1
    np.testing.assert_allclose(found, x_hat, atol=1e-4)


def test_hybrids_have_z_s_of_the_first_and_z_r_of_the_second(fitted, set_of_three):
    x, _ = set_of_three
    a, b = x[:4], x[8:12]
    fitted.Dec.train()  # a mode that was left over must not matter
    found = fitted.hybrid(a, b)
    assert found.shape == (4, 1, 16, 16) and found.dtype == np.float32
    z = np.concatenate([fitted.encode(a)[0], fitted.encode(b)[1]], 1)
    with torch.no_grad():
        expected = fitted.Dec.eval()(torch.from_numpy(z))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - fitted.hybrid(b, a)).max() > 1e-3
    np.testing.assert_allclose(fitted.hybrid(x, x), fitted.reconstruct(x), atol=1e-5)


def test_hybrids_want_pairs(fitted, set_of_three):
    x, _ = set_of_three
    with raises_sentence(ValueError, "pairs", "got 2 and 3", "as many semantic as residual"):
        fitted.hybrid(x[:2], x[:3])


def test_colour_images():
    x, y = three_digits(channels=3)
    detector = YGAN(**TINY).fit(x, y)
    assert detector.reconstruct(x[:2]).shape == detector.hybrid(x[:2], x[2:4]).shape == (2, 3, 16, 16)
    assert detector.grad_cam(x[:2]).shape == (2, 16, 16)


def test_reconstructions_come_nearer_while_it_learns(set_of_three):
    x, y = set_of_three
    detector = YGAN(**TINY | {"epochs": 30, "lr": 2e-3, "width": 8}).fit(x, y)
    losses = detector.history_
    assert losses["L_rec"].iloc[-1] < losses["L_rec"].iloc[0] / 2
    assert losses["L_con"].iloc[-1] < -0.8


# ---------------------------------------------------------------------- parameters


def test_defaults_are_the_papers():
    """Section 4.3: lambda 1 and 5 are 50, the others 1; Adam at 0.0002 and (0.5, 0.999); 100 epochs."""
    expected = {
        "epochs": 100,
        "batch_size": 64,
        "z_dim": 100,
        "hidden": 30,
        "lr": 2e-4,
        "betas": (0.5, 0.999),
    }
    expected |= {"lambda_rec": 50, "lambda_adv": 1, "lambda_s": 1, "lambda_r": 1, "lambda_con": 50}
    expected |= {"encoder": "dual", "scored_by": "softmax", "consistency": "paper", "shuffles": 1}
    expected |= {"detach_features": False, "batch_statistics": False, "labels": "given"}
    assert expected.items() <= YGAN().get_params().items()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"encoder": "triple"}, ["encoder", "'dual'", "'triple'"]),
        ({"scored_by": "softmin"}, ["scored_by", "'softmax'", "'entropy'", "'softmin'"]),
        ({"consistency": "cosine"}, ["consistency", "'paper'", "'released'", "'cosine'"]),
        ({"shuffles": 0}, ["shuffles", "at least 1", "0"]),
        ({"lambda_con": -1.0}, ["lambda_con", "at least 0", "-1"]),
        ({"lambda_rec": -1.0}, ["lambda_rec", "at least 0"]),
        ({"lambda_bce": -1.0}, ["lambda_bce", "at least 0", "-1.0"]),
        ({"reset_below": -1.0}, ["reset_below", "at least 0", "-1.0"]),
        ({"hidden_slope": -0.1}, ["hidden_slope", "at least 0", "-0.1"]),
        ({"lambda_s": 0.0}, ["'softmax'", "lambda_s=0", "scored_by='image'"]),
        ({"lambda_s": 0.0, "scored_by": "entropy"}, ["'entropy'", "lambda_s=0", "scored_by='image'"]),
        ({"betas": (1.0, 0.9)}, ["betas", "below 1"]),
    ],
)
def test_parameters_that_cannot_work(parameters, words):
    with raises_sentence(ValueError, *words):
        YGAN(**TINY | parameters).fit(*three_digits())
