"""f-AnoGAN: the critic, the two phases, the encoder's losses and the score by hand."""

import copy

import numpy as np
import pytest
import torch
from helpers import raises_sentence, started, zeros
from helpers import zeros_in_a_batch as batch

from minigan import FAnoGAN, fanogan

SMALL = {"width": 4, "z_dim": 5, "epochs": 4, "encoder_epochs": 2, "batch_size": 8, "progress": False}


def fitted(**more) -> FAnoGAN:
    return FAnoGAN(**SMALL | more).fit(zeros())


def built(epoch: int = 1, **more) -> FAnoGAN:
    """Ready for a step of this epoch: 1 trains the GAN, 3 the encoder."""
    detector = started(FAnoGAN(**SMALL | more))
    detector.batch_size_, detector.epoch_ = detector.batch_size, epoch
    detector.start_epoch()
    return detector


def state(network) -> dict[str, torch.Tensor]:
    return copy.deepcopy(network.state_dict())


def same(before: dict[str, torch.Tensor], network) -> bool:
    return all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


# ---------------------------------------------------------------------- the critic


def test_the_critic_judges_each_image_alone_in_training_too():
    critic, x = fanogan.Critic(1, 16, width=4), batch()
    critic.train()
    alone = torch.cat([critic(x[i : i + 1])[0] for i in range(8)])
    torch.testing.assert_close(critic(x)[0], alone, rtol=1e-4, atol=1e-6)
    assert critic(x)[1].shape == (8, 8, 4, 4)


def test_loss_D_is_that_of_wgan_gp(monkeypatch):
    detector, x = built(lambda_gp=7.0), batch()
    fake = torch.tanh(torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))
    given = []
    monkeypatch.setattr(fanogan, "gradient_penalty", lambda *args: given.append(args) or torch.tensor(2.0))
    found = detector.loss_D(x, fake).item()
    assert found == pytest.approx(
        (detector.D(fake)[0].mean() - detector.D(x)[0].mean()).item() + 14, rel=1e-5
    )
    ((critic, real, drawn, generator),) = given
    assert real is x and drawn is fake and generator is detector.rng_
    assert torch.equal(critic(x), detector.D(x)[0])


# ---------------------------------------------------------------------- the two phases


def test_the_gan_is_trained_first_and_then_the_encoder_alone():
    detector = built(epoch=2)
    before = {name: state(getattr(detector, name)) for name in ("G", "D", "E")}
    detector.training_step(batch(40))
    assert same(before["E"], detector.E)
    assert not same(before["G"], detector.G) and not same(before["D"], detector.D)

    detector = built(epoch=3)
    before = {name: state(getattr(detector, name)) for name in ("G", "D", "E")}
    detector.training_step(batch())
    assert not same(before["E"], detector.E)
    # Frozen: not even G's running averages have changed.
    assert same(before["G"], detector.G) and same(before["D"], detector.D)


def test_the_history_has_the_losses_of_each_phase():
    history = fitted().history_
    assert history["loss_D"].notna().tolist() == [True, True, False, False]
    assert history["loss_G"].notna().tolist() == [True, True, False, False]
    assert history["loss_E"].notna().tolist() == [False, False, True, True]


def test_the_critic_has_images_of_its_own_for_each_of_its_steps(monkeypatch):
    detector = built(n_critic=3)
    parts = detector.batches(40, None)
    assert [len(part) for part in parts] == [24] * 5  # as many steps of G as there are batches of 8
    counts = np.bincount(torch.cat(parts).numpy(), minlength=40)
    assert (counts == 3).all()
    detector.epoch_ = 3
    assert [len(part) for part in detector.batches(40, None)] == [8] * 5

    seen, steps = [], []
    monkeypatch.setattr(
        detector, "loss_D", lambda real, fake: seen.append(real) or detector.D(real)[0].mean()
    )
    for name in ("opt_D", "opt_G"):
        monkeypatch.setattr(getattr(detector, name), "step", lambda name=name: steps.append(name))
    detector.epoch_, x = 1, batch(24)
    detector.training_step(x)
    assert steps == ["opt_D"] * 3 + ["opt_G"]
    torch.testing.assert_close(torch.cat(seen), x)


# ---------------------------------------------------------------------- the encoder


@pytest.mark.parametrize("which", ["izi_f", "izi", "ziz"])
def test_the_encoders_losses_by_hand(which):
    detector, x = built(epoch=3, encoder_loss=which, kappa=3.0), batch()
    twin = copy.deepcopy(detector)  # its random numbers come next, and its batch norms are as before
    found = detector.loss_E(x).item()
    if which == "ziz":
        z = twin.latents(8)
        expected = (z - twin.E(twin.G(z))).square().mean()
    else:
        x_hat = twin.G(twin.E(x))
        expected = (x - x_hat).square().mean()
        if which == "izi_f":
            expected = expected + 3 * (twin.D(x)[1] - twin.D(x_hat)[1]).square().mean()
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_the_encoder_ends_in_tanh_or_not():
    code = built(code_activation="none").E(batch())
    torch.testing.assert_close(built().E(batch()), code.tanh())  # the weights are the same


def test_the_encoder_learns_to_invert_the_generator():
    settings = {"epochs": 16, "encoder_epochs": 15, "lr": 1e-3, "lr_E": 3e-3, "code_activation": "none"}
    losses = fitted(**settings, encoder_loss="ziz").history_["loss_E"]
    assert losses.iloc[-1] < 0.8 * losses.iloc[1]


def test_scores_by_hand():
    detector, x = fitted(kappa=2.0), batch(4)
    with torch.no_grad():
        z_hat = detector.E(x)
        x_hat = detector.G(z_hat)
        residual = (x - x_hat).square().mean((1, 2, 3)).numpy()
        features = (detector.D(x)[1] - detector.D(x_hat)[1]).square().mean((1, 2, 3)).numpy()
        latent = (z_hat - detector.E(x_hat)).square().mean(1).numpy()
    expected = {"both": residual + 2 * features, "residual": residual, "latent": latent}
    for name, scores in expected.items():
        detector.set_params(scored_by=name)
        np.testing.assert_allclose(detector.anomaly_score(zeros(4)), scores, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(detector.reconstruct(zeros(4)), x_hat.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "bad, word",
    [
        ({"encoder_epochs": 4}, "encoder_epochs"),
        ({"encoder_epochs": 0}, "encoder_epochs"),
        ({"n_critic": 0}, "n_critic"),
        ({"kappa": -1.0}, "kappa"),
        ({"lambda_gp": -1.0}, "lambda_gp"),
        ({"encoder_loss": "zizi"}, "encoder_loss"),
        ({"lr_E": -1.0}, "lr_E"),
        ({"batch_size": 1}, "batch_size"),
    ],
)
def test_impossible_parameters(bad, word):
    with raises_sentence(ValueError, word):
        fitted(**bad)
