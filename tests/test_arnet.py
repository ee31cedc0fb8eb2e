"""ARNet: erased attributes, loss and score by hand, learning rate, restorations and maps."""

import numpy as np
import pytest
import torch
from helpers import raises_sentence, started, zeros
from helpers import zeros_in_a_batch as batch

from minigan import ARNet, arnet
from minigan.images import to_float

SMALL = {"width": 2, "levels": 2, "epochs": 1, "batch_size": 8, "progress": False}


def built(channels: int = 1, **more) -> ARNet:
    return started(ARNet(**SMALL | more), channels, training=False)


def test_erasing_makes_grey_and_turns():
    x = torch.rand(5, 3, 4, 4)
    erased = arnet.erase(x, torch.tensor([0, 1, 2, 3, 1]))
    for image, seen, turn in zip(x.numpy(), erased.numpy(), [0, 1, 2, 3, 1], strict=True):
        for channel in seen:
            np.testing.assert_allclose(channel, np.rot90(image.mean(0), turn), rtol=1e-6)


def test_nothing_but_the_mean_of_the_channels_reaches_the_network():
    detector, x = built(3), batch(4, channels=3)
    other = x[:, [2, 0, 1]]  # other colours, the same grey
    assert not torch.equal(x, other)
    with torch.no_grad():
        torch.testing.assert_close(detector.restore(x), detector.restore(other))


@pytest.mark.parametrize("loss", ["l2", "l1"])
def test_the_loss_compares_with_the_image_before_it_was_erased(loss, monkeypatch):
    detector, x, seen = built(3, loss=loss), batch(8, channels=3), []
    monkeypatch.setattr(detector.opt, "step", lambda: None)
    forward = detector.G.forward
    monkeypatch.setattr(detector.G, "forward", lambda e: seen.append((e, forward(e))) or seen[-1][1])
    found = detector.training_step(x)["L_train"]
    ((erased, restored),) = seen
    difference = x - restored
    expected = difference.square().mean() if loss == "l2" else difference.abs().mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    grey = x.mean(1)
    turns = [
        [k for k in range(4) if torch.equal(e[0], g.rot90(k))][0] for e, g in zip(erased, grey, strict=True)
    ]
    assert len(set(turns)) > 1  # every image has a turn of its own


def test_the_learning_rate_is_halved_after_each_tenth():
    detector = built(epochs=20, lr=0.8)
    rates = []
    for detector.epoch_ in range(1, 21):
        detector.start_epoch()
        rates.append(detector.opt.param_groups[0]["lr"])
    np.testing.assert_allclose(rates, np.repeat(0.8 / 2.0 ** np.arange(10), 2))


def by_hand(detector: ARNet, x: torch.Tensor) -> np.ndarray:
    """The L1 errors after each turn, by separate passes: (n, 4)."""
    columns = []
    for k in range(4):
        with torch.no_grad():
            restored = detector.G(x.mean(1, keepdim=True).rot90(k, (2, 3)).expand_as(x))
        columns.append((x - restored).abs().mean((1, 2, 3)).numpy())
    return np.stack(columns, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_score_is_the_mean_of_errors_relative_to_those_of_the_training_images(channels):
    x = zeros(20, channels)
    detector = ARNet(**SMALL | {"holdout": 0.0}).fit(x)
    errors = by_hand(detector, batch(20, channels))
    np.testing.assert_allclose(detector.errors.mean, errors.mean(0), rtol=1e-4)
    scores = detector.anomaly_score(x)
    np.testing.assert_allclose(scores, (errors / errors.mean(0)).mean(1), rtol=1e-4)
    assert scores.mean() == pytest.approx(1, rel=1e-4)  # of a training image, on average
    maps = detector.anomaly_map(x)
    assert maps.shape == (20, 16, 16)
    np.testing.assert_allclose(maps.mean((1, 2)), scores, rtol=1e-4)
    restored = detector.reconstruct(x)
    expected = np.abs(restored - batch(20, channels).numpy()).mean((1, 2, 3))
    np.testing.assert_allclose(errors[:, 2], expected, rtol=1e-4)  # from the image upside down


def test_an_error_of_zero_divides_nothing():
    errors = arnet.MeanErrors()
    errors.fit(torch.zeros(3, 4))
    assert (errors.mean > 0).all()


def test_it_cannot_copy():
    """What is upside down is restored as if it were upright, though copying would be easier."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(230, 25, 16)[None, :, None]  # light above, dark below
    x = (ramp + rng.uniform(-20, 20, (48, 1, 16))).astype(np.uint8)
    detector = ARNet(**SMALL | {"width": 4, "levels": 3, "epochs": 10, "lr": 0.5}).fit(x[:32])
    upright, upside_down = x[32:], np.ascontiguousarray(x[32:, ::-1])
    assert detector.anomaly_score(upside_down).min() > 1.1 * detector.anomaly_score(upright).max()
    restored = detector.restore(to_float(torch.from_numpy(upside_down)[:, None]))[:, 0, 0].detach().numpy()
    assert (restored[:, :4].mean((1, 2)) > restored[:, -4:].mean((1, 2))).all()  # light above again


@pytest.mark.parametrize(
    "bad", [{"levels": 1}, {"levels": 6}, {"momentum": -0.1}, {"loss": "l3"}, {"lr": -1.0}]
)
def test_impossible_parameters(bad):
    with raises_sentence(ValueError, *bad, str(*bad.values())):
        ARNet(**SMALL | bad).fit(zeros())
