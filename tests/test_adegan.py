"""ADe-GAN: the losses and the score by hand, the two stages, patterns and their mixtures."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import digits, raises_sentence, started, zeros
from helpers import zeros_in_a_batch as batch
from scipy.stats import norm
from torch import nn

from minigan import ADeGAN, adegan

SMALL = {"width": 4, "n_patterns": 4, "z_dim": 3, "progress": False}


def fitted(**more) -> ADeGAN:
    return ADeGAN(**SMALL | {"epochs": 2, "batch_size": 8} | more).fit(zeros())


def built(channels: int = 1, **more) -> ADeGAN:
    return started(ADeGAN(**SMALL | more), channels, training=False)


@pytest.fixture
def double():
    """Everything in float64, so that gradients taken by hand agree to many digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# ---------------------------------------------------------------------- losses


def test_L_ip_is_the_cross_entropy_to_no_pattern():
    even = torch.zeros(3, 4)
    assert adegan.L_ip(even).item() == pytest.approx(math.log(4))  # its least value
    p = torch.tensor([[0.7, 0.1, 0.1, 0.1]])
    expected = -(math.log(0.7) + 3 * math.log(0.1)) / 4
    assert adegan.L_ip(p.log()).item() == pytest.approx(expected, rel=1e-6)


def test_L_sl_and_L_recon_by_hand():
    p = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
    z_n, z_hat = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    expected = -(math.log(0.7) + math.log(0.2)) / 2 + (1 + 0 + 4 + 0) / 4
    assert adegan.L_sl(p.log(), z_hat, torch.tensor([0, 0]), z_n).item() == pytest.approx(expected, rel=1e-6)
    x = torch.tensor([[[[1.0, -1.0]]]])
    assert adegan.L_recon(x, torch.zeros_like(x) - 1).item() == 2.0


@pytest.mark.parametrize(
    "channels, given, weight", [(1, None, 1.0), (3, None, 10.0), (3, 2.5, 2.5), (1, np.float32(2), 2.0)]
)
def test_L_sl_weighs_more_in_colour(channels, given, weight):
    assert built(channels, lambda_sl=given).weight_sl == weight


# ---------------------------------------------------------------------- the score


def test_the_score_is_equation_11_with_the_normal_distribution():
    rng = np.random.default_rng(0)
    r, q, n_c = rng.normal(3, 1, 50), rng.uniform(0.25, 1, 50), 4
    errors = adegan.NormalErrors()
    errors.mu.fill_(2.5), errors.s.fill_(0.7)
    share = errors.fraction_above(torch.from_numpy(r))
    P = norm.cdf(r, 2.5, 0.7)
    np.testing.assert_allclose(share, 1 - P, rtol=1e-9)
    A = -P / n_c - (1 - P) * q
    found = adegan.anomaly_score(share, torch.from_numpy(q), n_c)
    np.testing.assert_allclose(found, A + 1 / n_c, rtol=1e-9, atol=1e-15)


def test_corners_and_slopes_of_the_score():
    def A(fraction_above, q):
        share, q = (torch.tensor([v], dtype=torch.float64) for v in (fraction_above, q))
        return adegan.anomaly_score(share, q, 10).item() - 0.1

    assert A(1.0, 1.0) == -1  # redrawn well, one clear pattern
    assert A(0.0, 1.0) == A(0.0, 0.1) == A(1.0, 0.1) == pytest.approx(-0.1)  # a large error, or no pattern
    assert A(0.9, 0.8) < A(0.5, 0.8) and A(0.5, 0.8) < A(0.5, 0.4)


def test_the_score_tells_hopeless_errors_apart():
    errors, q = adegan.NormalErrors(), torch.ones(4, dtype=torch.float64)
    scores = adegan.anomaly_score(errors.fraction_above(torch.tensor([8.0, 9.0, 20.0, 30.0])), q, 10)
    assert (scores.diff() > 0).all() and scores.max() < 0


def test_usual_errors_are_those_of_the_training_images():
    x = zeros()
    detector = ADeGAN(**SMALL, epochs=1, batch_size=8, holdout=0.0).fit(x)
    r = np.linalg.norm((x[:, None] / 127.5 - 1 - detector.reconstruct(x)).reshape(len(x), -1), axis=1)
    assert detector.errors.mu.item() == pytest.approx(r.mean(), rel=1e-5)
    assert detector.errors.s.item() == pytest.approx(r.std(), rel=1e-5)


def test_scored_by():
    detector, x = fitted(), np.concatenate([zeros(5), np.zeros((1, 16, 16), np.uint8)])
    p = detector.pattern_probabilities(x)
    r = np.linalg.norm((x[:, None] / 127.5 - 1 - detector.reconstruct(x)).reshape(6, -1), axis=1)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    both = (1 - norm.cdf(r, detector.errors.mu, detector.errors.s)) * (1 / 4 - p.max(1))
    over_ink = r / np.maximum((x / 255).sum((1, 2)), 1)  # the last image is black
    scores = {"both": both, "error": r, "pattern": -p.max(1), "error_over_ink": over_ink}
    for name, expected in scores.items():
        detector.scored_by = name
        np.testing.assert_allclose(detector.anomaly_score(x), expected, rtol=1e-4, atol=1e-12, err_msg=name)
    detector.scored_by = "eror"
    with raises_sentence(ValueError, "scored_by", "pattern", "eror"):
        detector.anomaly_score(x)


# ---------------------------------------------------------------------- latents


def test_one_pattern_has_plain_latents_and_mixtures_within_a_pattern():
    detector = built(sigma=0.5, z_dim=200)
    pattern, z_n = detector.one_pattern(400)
    assert pattern.shape == (800,) and z_n.shape == (800, 200)
    assert set(pattern.tolist()) == {0, 1, 2, 3}
    plain, mixed = z_n.split(400)
    assert plain.std().item() == pytest.approx(0.5, rel=0.02)
    assert abs(plain.mean().item()) < 0.01
    # lambda^2 + (1 - lambda)^2 is 2/3 on average, and never more than 1.
    assert mixed.square().mean().item() == pytest.approx(0.25 * 2 / 3, rel=0.05)
    assert mixed.std(1).max().item() < plain.std(1).max().item() * 1.05


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_patterns_and_features_are_mixed_at_the_same_share(share, monkeypatch):
    detector, ends = built(), [1.0, 0.0]
    monkeypatch.setattr(detector, "mixing_weights", lambda n: torch.full((n, 1), share))
    monkeypatch.setattr(detector, "features", lambda n: torch.full((n, 3), ends.pop(0)))
    monkeypatch.setattr(detector, "patterns", lambda n: torch.zeros(n, dtype=torch.int64))
    z_c, z_n = detector.two_patterns(50)
    torch.testing.assert_close(z_c[:, 0], torch.full((50,), share))
    torch.testing.assert_close(z_n, torch.full((50, 3), share))
    ends += [5.0, 1.0, 0.0]  # the first are not mixed
    _, z_n = detector.one_pattern(10)
    assert z_n[:10].eq(5).all() and z_n[10:].eq(share).all()


def test_two_patterns_are_never_the_same():
    z_c, z_n = built().two_patterns(2000)
    assert z_c.shape == (2000, 4) and z_n.shape == (2000, 3)
    torch.testing.assert_close(z_c.sum(1), torch.ones(2000))
    assert (z_c >= 0).all() and ((z_c > 0).sum(1) == 2).all()
    share = z_c.max(1).values  # the larger of lambda and 1 - lambda: uniform from 1/2 to 1
    assert share.mean().item() == pytest.approx(0.75, abs=0.01) and share.min() < 0.51
    pairs = {tuple(row.nonzero().flatten().tolist()) for row in z_c}
    assert len(pairs) == 6  # each two of the four


# ---------------------------------------------------------------------- the two stages


def test_stage_1_moves_D_and_G_and_stage_2_moves_G_and_E(monkeypatch):
    detector = built()
    sets = {name: {id(p) for p in getattr(detector, name).parameters()} for name in ("G", "E", "D")}
    of = {
        "opt_D": sets["D"],
        "opt_G": sets["G"],
        "opt_GE": sets["G"] | sets["E"],
    }
    order = []
    for name, owned in of.items():
        optimiser = getattr(detector, name)
        assert {id(p) for group in optimiser.param_groups for p in group["params"]} == owned
        assert optimiser.param_groups[0]["lr"] == 2e-4
        monkeypatch.setattr(optimiser, "step", lambda name=name: order.append(name))
    detector.training_step(batch())
    assert order == ["opt_D", "opt_G", "opt_GE"]


def weights(detector: ADeGAN) -> dict[str, torch.Tensor]:
    """By network and name: "G.0.weight" and so on."""
    return {f"{n}.{k}": p for n in ("G", "E", "D") for k, p in getattr(detector, n).named_parameters()}


def watched(detector: ADeGAN) -> list[tuple[str, dict, dict]]:
    """From now on: each optimiser's name, the gradients it was given, and the weights it left."""
    seen = []
    for name in ("opt_D", "opt_G", "opt_GE"):
        optimiser = getattr(detector, name)

        def step(name=name, step=optimiser.step):
            gradients = {k: None if p.grad is None else p.grad.clone() for k, p in weights(detector).items()}
            step()
            seen.append((name, gradients, {k: p.detach().clone() for k, p in weights(detector).items()}))

        optimiser.step = step
    return seen


def take_over(twin: ADeGAN, left: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for key, p in weights(twin).items():
            if not torch.equal(p, left[key]):  # what has not moved is still needed, for gradients
                p.copy_(left[key])


def check_gradients(loss: torch.Tensor, twin: ADeGAN, networks: str, given: dict) -> None:
    for key, p in weights(twin).items():
        if key[0] in networks:
            (expected,) = torch.autograd.grad(loss, p, retain_graph=True)
            torch.testing.assert_close(given[key], expected, msg=lambda m, key=key: f"{key}: {m}")
            assert expected.any(), key


def test_a_step_is_equations_1_and_8_by_hand(double):
    detector, x = built(lambda_ip=2.0, lambda_sl=3.0, lambda_recon=5.0), batch().double()
    detector._set_mode(training=True)
    before = {k: p.detach().clone() for k, p in weights(detector).items()}
    for _ in range(2):  # the second time, with gradients of the first still around
        twin = copy.deepcopy(detector)
        seen = watched(detector)
        found = detector.training_step(x)
        (_, of_D, left_D), (_, of_G, left_G), (_, of_GE, left_GE) = seen
        G, E, D, b, eye = twin.G, twin.E, twin.D, len(x), torch.eye(4)

        pattern, z_n = twin.one_pattern(b)
        fake = G(torch.cat([eye[pattern], z_n], 1))
        loss_D = -D(x)[0].sigmoid().log().mean() - (1 - D(fake.detach())[0].sigmoid()).log().mean()
        check_gradients(loss_D, twin, "D", of_D)
        take_over(twin, left_D)
        loss_G = -D(fake)[0].sigmoid().log().mean()
        check_gradients(loss_G, twin, "G", of_G)

        take_over(twin, left_G)
        pattern, z_n = twin.one_pattern(b)
        p, z_hat = read(E(G(torch.cat([eye[pattern], z_n], 1))))
        sl = -p[range(2 * b), pattern].log().mean() + (z_hat - z_n).square().mean()
        ip = -read(E(G(torch.cat(twin.two_patterns(b), 1))))[0].log().mean()
        recon = (x - G(torch.cat(read(E(x)), 1))).square().mean()
        check_gradients(2 * ip + 3 * sl + 5 * recon, twin, "GE", of_GE)
        expected = {"loss_D": loss_D, "loss_G": loss_G, "L_ip": ip, "L_sl": sl, "L_recon": recon}
        assert {k: v.item() for k, v in found.items()} == pytest.approx(
            {k: v.item() for k, v in expected.items()}
        )
        for left, moved in ((left_D, "D"), (left_G, "G"), (left_GE, "GE")):
            assert {k[0] for k in left if not torch.equal(left[k], before[k])} == set(moved)
            before = left
        for name in ("G", "E", "D"):  # as many passes, in that order
            for a, b in zip(getattr(detector, name).buffers(), getattr(twin, name).buffers(), strict=True):
                torch.testing.assert_close(a, b)
        for name in ("opt_D", "opt_G", "opt_GE"):
            del getattr(detector, name).step  # watched no longer


def read(code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """E's output: probabilities of 4 patterns by the softmax, and z_n."""
    e = code[:, :4].exp()
    return e / e.sum(1, keepdim=True), code[:, 4:]


def test_the_generator_does_not_learn_in_the_discriminators_step(monkeypatch):
    detector = built()
    seen = []
    monkeypatch.setattr(
        detector.opt_D, "step", lambda: seen.append([p.grad is None for p in detector.G.parameters()])
    )
    detector.training_step(batch())
    assert all(seen[0])
    # Nor does D hear of G's step: its gradient is still the one of its own.
    grads = [p.grad.clone() for p in detector.D.parameters()]
    detector.opt_D.zero_grad()
    assert all(g.abs().sum() > 0 for g in grads)


def test_stage_2_weighs_its_losses_as_told(monkeypatch):
    """Each weight on its own decides which networks' gradients there are at all."""
    for weights, moves_E in (
        ({"lambda_ip": 0.0, "lambda_sl": 0.0, "lambda_recon": 0.0}, False),
        ({"lambda_ip": 1.0, "lambda_sl": 0.0, "lambda_recon": 0.0}, True),
        ({"lambda_ip": 0.0, "lambda_sl": 1.0, "lambda_recon": 0.0}, True),
        ({"lambda_ip": 0.0, "lambda_sl": 0.0, "lambda_recon": 1.0}, True),
    ):
        detector = built(**weights)
        monkeypatch.setattr(detector.opt_GE, "step", lambda: None)
        detector.training_step(batch())
        total = sum(p.grad.abs().sum().item() for p in detector.E.parameters())
        assert (total > 0) == moves_E, weights


# ---------------------------------------------------------------------- batch norm


def test_running_statistics_are_those_of_redrawn_training_images():
    x = zeros(32)
    detector = ADeGAN(**SMALL, epochs=1, batch_size=32, holdout=0.0).fit(x)
    norm_layer = next(m for m in detector.E.modules() if isinstance(m, nn.BatchNorm2d))
    seen = []
    norm_layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    norm_layer.train()  # only this one: what comes before it has no batch norm
    before = norm_layer.running_mean.clone(), norm_layer.running_var.clone()
    with torch.no_grad():
        detector.E(batch(32))
    torch.testing.assert_close(before[0], seen[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before[1], seen[0].var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_all_norms_of_E_and_G_are_collected_from_every_batch_of_real_images(monkeypatch):
    """Against the plain means over batches of what each batch norm was given."""
    seen, redraw = {}, ADeGAN.redraw

    def spied(self, x):
        collecting = self.E.training or any(m.training for m in self.E.modules())
        if not collecting or torch.is_grad_enabled():
            return redraw(self, x)
        hooks = [
            m.register_forward_pre_hook(lambda m, inputs: seen.setdefault(m, []).append(inputs[0].detach()))
            for net in (self.E, self.G)
            for m in net.modules()
            if isinstance(m, nn.BatchNorm2d)
        ]
        images.append(x)
        result = redraw(self, x)
        for hook in hooks:
            hook.remove()
        return result

    images, x = [], zeros(40)
    monkeypatch.setattr(ADeGAN, "redraw", spied)
    monkeypatch.setattr(ADeGAN, "_finish_average", lambda *_: None)  # it would collect once more
    detector = ADeGAN(**SMALL, epochs=1, batch_size=10, holdout=0.0).fit(x)
    used = torch.cat(images)
    assert len(images) == 4 and sorted(map(bytes, used.numpy())) == sorted(map(bytes, batch(40).numpy()))
    norms = [m for net in (detector.E, detector.G) for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert set(seen) == set(norms) and len(norms) == 3
    for m, inputs in seen.items():
        mean = torch.stack([h.mean((0, 2, 3)) for h in inputs]).mean(0)
        var = torch.stack([h.var((0, 2, 3)) for h in inputs]).mean(0)
        torch.testing.assert_close(m.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(m.running_var, var, rtol=1e-4, atol=1e-6)


def test_collecting_norms_changes_no_weight_and_can_be_left_out():
    with_it, without = fitted(epochs=1), fitted(epochs=1, collect_norms=False)
    for name in ("G", "E", "D"):
        a, b = dict(getattr(with_it, name).named_parameters()), getattr(without, name).named_parameters()
        assert all(torch.equal(a[key], value) for key, value in b)
    assert not np.array_equal(with_it.anomaly_score(zeros(6)), without.anomaly_score(zeros(6)))


# ---------------------------------------------------------------------- using it


def test_samples_are_of_the_pattern_asked_for():
    detector = fitted()
    rows = [detector.sample(3, pattern=k) for k in range(4)]
    for row in rows:
        assert row.shape == (3, 1, 16, 16) and np.abs(row).max() <= 1
    assert not np.array_equal(rows[0], rows[1])
    in_turn = detector.sample(8)  # patterns 0, 1, 2, 3, 0, ...
    noise = {k: detector.sample(8, pattern=k) for k in range(4)}
    for i in range(8):
        np.testing.assert_array_equal(in_turn[i], noise[i % 4][i])
    assert not any(np.array_equal(in_turn[i], noise[(i + 1) % 4][i]) for i in range(8))
    wide = ADeGAN(**SMALL | {"epochs": 1, "sigma": 100.0}).fit(zeros()).sample(8, pattern=0)
    assert wide.std(0).mean() > 5 * noise[0].std(0).mean()  # sigma is how much samples of a pattern differ
    for bad in (4, -1, 2.5, True, "1"):
        with raises_sentence(ValueError, "pattern", "0 to 3", str(bad)):
            detector.sample(3, pattern=bad)


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"n_patterns": 1}, "n_patterns"),
        ({"z_dim": 0}, "z_dim"),
        ({"sigma": 0.0}, "sigma"),
        ({"lambda_ip": -1.0}, "lambda_ip"),
        ({"lambda_sl": -1.0}, "lambda_sl"),
        ({"lambda_sl": True}, "lambda_sl"),
        ({"lambda_sl": "much"}, "lambda_sl"),
        ({"scored_by": "r"}, "scored_by"),
        ({"batch_size": 1}, "batch_size"),
        ({"betas": (0.5, 1.0)}, "betas"),
    ],
)
def test_impossible_parameters(bad, word):
    with raises_sentence(ValueError, word):
        fitted(**bad)


def test_patterns_find_classes_without_being_told():
    """Two digits that look nothing alike: after a short training, one pattern holds hardly both of them."""
    images, labels = digits()
    x, y = images[labels <= 1][:160], labels[labels <= 1][:160]
    settings = {"width": 8, "epochs": 20, "batch_size": 16, "lr": 1e-3, "n_patterns": 4}
    p = ADeGAN(**settings, progress=False).fit(x).pattern_probabilities(x)
    found = p.argmax(1)
    purity = sum(np.bincount(y[found == k], minlength=2).max() for k in range(4)) / len(y)
    assert purity > 0.85
