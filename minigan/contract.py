"""The contract of detectors as checks for a method of one's own: `print(contract.check(MyMethod))`.

Most of them stand for a mistake found in published code: a loss that trains the wrong network, a score that
depends on the batch, a flipped sign, hidden randomness. A check that fails says what to write, or to mend.
`tests/test_contract.py` runs them, and many more, on every method of minigan.
"""

from __future__ import annotations

import random
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from minigan import data
from minigan.checks import require
from minigan.detector import Detector
from minigan.images import to_float
from minigan.neural import NeuralDetector

N = TypeVar("N", bound=NeuralDetector)
#: What every network detector writes itself.
HOOKS = ("build", "training_step", "score_step")
#: Columns of a printed report.
COLUMNS = 78


class Broken(AssertionError):
    """A promise of the contract that a detector does not keep."""


@dataclass(frozen=True)
class Report:
    """What `check` found; printed, a line for each promise and a sentence for each that is broken.

    `verdicts` has a promise and "" where it is kept, else the sentence.
    """

    method: str
    verdicts: dict[str, str]

    @property
    def kept(self) -> bool:
        """Whether all promises are kept."""
        return not any(self.verdicts.values())

    def __str__(self) -> str:
        lines = [f"{self.method}:"]
        for promise, sentence in self.verdicts.items():
            lines.append(f"{'BROKEN' if sentence else 'kept  '}  {promise}")
            for part in sentence.splitlines():
                lines += textwrap.wrap(part, COLUMNS - 8, initial_indent=8 * " ", subsequent_indent=8 * " ")
        return "\n".join(lines)

    __repr__ = __str__


def check(
    method: type[Detector],
    settings: Mapping[str, Any] | None = None,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Report:
    """Run a detector class on images through the contract; returns a report to print.

    Args:
        method: the class; it need not be registered, or lie in minigan.
        settings: hyperparameters with which a fit takes a second and is enough for noise to score higher than
            training images, such as {"epochs": 20, "width": 8, "batch_size": 8}.
        images: normal training images, (n, h, w) or (n, h, w, c) uint8, 20 or more; 40 zeros of 16 x 16
            pixels when not given.
        labels: (n,) for methods that learn from labels.

    Raises:
        ValueError: the class is no detector of images.
    """
    is_detector = isinstance(method, type) and issubclass(method, Detector) and "images" in method.takes
    require(is_detector, f"expected a class of image detectors, got {method!r}; derive from NeuralDetector")
    neural = issubclass(method, NeuralDetector)
    quiet = {"contamination": 0.25} | ({"progress": False} if neural else {})  # few images: no warning
    settings = quiet | dict(settings or {})
    digits = data.load("digits", size=16)
    x, y = digits.images[digits.labels == 0][:40] if images is None else np.asarray(images), labels
    fitted: list[Detector] = []
    verdicts: dict[str, str] = {}

    def fit() -> Detector:
        return method(**settings).fit(x, y)

    def promise(text: str, keep: Callable[[], object]) -> bool:
        try:
            keep()
            verdicts[text] = ""
        except Exception as error:  # whatever a new method raises is what its author wants to read
            kind = "" if isinstance(error, Broken) else f"{type(error).__name__}: "
            verdicts[text] = f"{kind}{error}"
        return not verdicts[text]

    if neural:
        if not promise(f"{', '.join(HOOKS)} are written", lambda: check_written(method)):
            return Report(method.__name__, verdicts)
        few = None if y is None else y[:16]
        promise(
            "each loss trains the networks that gradient_flow declares",
            lambda: check_gradient_flow(method(**settings), x[:16], few, epoch=2),
        )
        promise(
            "initial weights have the spread that init_std declares",
            lambda: check_initial_weights(started(method(), x, y)),
        )
    if not promise("it learns from images", lambda: fitted.append(fit())):
        return Report(method.__name__, verdicts)
    detector = fitted[0]
    if neural:
        promise(
            "every weight is trained",
            lambda: check_every_weight_is_trained(started(method(**settings), x, y), detector),
        )
    noise = np.random.default_rng(0).integers(0, 256, x.shape, dtype=np.uint8)
    promise("a score depends on its image alone", lambda: check_scores_stand_alone(detector, x[:20]))
    promise("noise scores higher than training images", lambda: check_direction(detector, x, noise))
    promise("what it draws has the shape and range of images", lambda: check_outputs(detector, x[:4]))
    promise("all randomness comes from the seed", lambda: check_randomness(fit, x[:20]))
    promise("a file keeps everything", lambda: check_saving(detector, x[:20], method.load))
    return Report(method.__name__, verdicts)


# ---------------------------------------------------------------------- what training reaches


def check_written(method: type[Detector]) -> None:
    """All hooks of the training loop are there."""
    missing = [name for name in HOOKS if getattr(method, name) is getattr(NeuralDetector, name)]
    if missing:
        raise Broken(
            f"expected {method.__name__} to have {', '.join(HOOKS)}, got none called {', '.join(missing)}; "
            "minigan/models/_template.py has an example of each"
        )


def check_gradient_flow(
    detector: NeuralDetector,
    images: Any,
    labels: np.ndarray | None = None,
    epoch: int = 1,
    names: set[str] | None = None,
) -> None:
    """Each loss of `training_step` gives a gradient to exactly the networks that `gradient_flow` declares.

    `names` are the losses to expect where training has phases; all that are declared when not given.
    """
    losses = _losses_with_graphs(detector, images, labels, epoch)
    reached = {name: _reached_by(loss, detector._networks()) for name, loss in losses.items()}
    declared = detector.gradient_flow
    if names is not None:
        declared = {name: networks for name, networks in declared.items() if name in names}
    if reached != declared:
        raise Broken(advice_on_gradient_flow(type(detector).__name__, reached, declared))


def advice_on_gradient_flow(name: str, reached: Mapping, declared: Mapping) -> str:
    """What to write, or to look for, where the losses of `training_step` are not those declared."""
    lines = [f"the losses of {name}.training_step train other networks than `gradient_flow` declares:"]
    for loss in sorted({*reached, *declared}):
        found, wanted = sorted(reached.get(loss, ())), sorted(declared.get(loss, ()))
        if loss not in reached:
            lines.append(f"* {loss!r} is declared, but training_step does not return it")
        elif found != wanted:
            lines.append(f"* {loss!r} trains {found or 'no network'}, declared is {wanted or 'nothing'}")
    literal = ", ".join(f'"{loss}": {networks or "set()"}' for loss, networks in reached.items())
    lines.append(
        "a network too many: a `.detach()` or `blocks.frozen(...)` is missing; one too few: a detach cuts "
        "the gradient, or the loss does not use the network; where training_step is as in the paper, write"
    )
    lines.append(f"    gradient_flow: ClassVar = {{{literal}}}")
    return "\n".join(lines)


def check_every_weight_is_trained(before: NeuralDetector, after: NeuralDetector) -> None:
    """No weight of a fitted detector is as in a started one of the same parameters."""
    for network in before._networks():
        initial = dict(getattr(before, network).named_parameters())
        for key, value in getattr(after, network).named_parameters():
            if torch.equal(value, initial[key]):
                raise Broken(
                    f"expected fit to update every weight, got {network}.{key} as it was initialised; give "
                    "its network to an optimiser, and let a loss use it"
                )


def check_initial_weights(detector: NeuralDetector) -> None:
    """The initial weights of a started detector have the spread that `init_std` declares."""
    weights = {
        name: [p for p in module.parameters() if p.ndim >= 2] for name, module in detector._networks().items()
    }
    measured = {n: torch.cat([p.flatten() for p in w]).std().item() for n, w in weights.items() if w}
    rounded = {network: round(std, 3) for network, std in measured.items()}
    advice = (
        f"the initial weights of {type(detector).__name__}'s networks have the standard deviations "
        f'{rounded}; declare those that the paper asks for as `init_std: ClassVar = {{"network": 0.02}}` '
        '("pytorch" for the default of its layers), and apply an initialiser such as blocks.init_normal_ '
        "where they differ"
    )
    if set(measured) != set(detector.init_std):
        raise Broken(advice)
    for network, declared in detector.init_std.items():
        for p in weights[network]:
            # PyTorch's default is uniform up to 1 / sqrt(inputs).
            std = (3 * p[0].numel()) ** -0.5 if isinstance(declared, str) else declared
            tolerance = 5 / (2 * p.numel()) ** 0.5  # five standard errors of a standard deviation
            near = abs(p.std().item() - std) <= tolerance * std
            if not near or abs(p.mean().item()) >= 5 * std / p.numel() ** 0.5:
                raise Broken(f"{network}: {advice}")


def started(detector: N, images: Any, labels: np.ndarray | None = None) -> N:
    """The detector, just before its first epoch on these images."""
    batch = detector._tensor(images)
    detector.image_shape_ = tuple(batch.shape[1:])
    detector.training_labels(batch, None if labels is None else torch.as_tensor(labels))
    detector._start(detector.image_shape_)
    return detector


def _losses_with_graphs(
    detector: NeuralDetector, images: Any, labels: np.ndarray | None, epochs: int
) -> dict[str, Tensor]:
    """The losses of one training step, with graphs and without any update of any network."""
    batch = started(detector, images, labels)._tensor(images)
    y = detector.training_labels(batch, None if labels is None else torch.as_tensor(labels))
    batch = to_float(detector.training_data(batch))
    detector.batch_size_, detector.steps_per_epoch_, detector.step_ = len(batch), 1, 0
    detector._set_mode(training=True)
    losses: dict[str, Tensor] = {}
    with _nothing_is_updated():
        for detector.epoch_ in range(1, epochs + 1):
            detector.start_epoch()
            chosen = detector.batches(len(batch), y)[0]
            losses = detector.training_step(batch[chosen], None if y is None else y[chosen])
    return losses


@contextmanager
def _nothing_is_updated() -> Iterator[None]:
    """Inside, `backward` and the steps of optimisers do nothing, so that graphs stay."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Tensor, "backward", lambda *_, **__: None))
        for optimiser in (torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop):
            stack.enter_context(mock.patch.object(optimiser, "step", lambda *_, **__: None))
        yield


def _reached_by(loss: Tensor, networks: Mapping[str, nn.Module]) -> set[str]:
    """Names of the networks that this loss gives a gradient other than zero."""
    reached = set()
    for name, network in networks.items():
        parameters = [p for p in network.parameters() if p.requires_grad]  # averages have none
        if parameters and loss.requires_grad:
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
            if any(g is not None and bool((g != 0).any()) for g in gradients):
                reached.add(name)
    return reached


# ---------------------------------------------------------------------- scores, and what is drawn


def check_scores_stand_alone(detector: Detector, images: np.ndarray) -> None:
    """A score depends neither on the other images of the call nor on their order."""
    together = detector.anomaly_score(images)
    if together.dtype != np.float64 or together.shape != (len(images),):
        raise Broken(
            f"expected {len(images)} scores in float64, one for each image, got {together.dtype} of shape "
            f"{together.shape}; let score_step return (n,)"
        )
    order = np.random.default_rng(0).permutation(len(images))
    alone = np.concatenate([detector.anomaly_score(images[i : i + 1]) for i in range(len(images))])
    mixed = np.empty(len(images))
    mixed[order] = detector.anomaly_score(images[order])
    for found, how in ((alone, "scored by itself"), (mixed, "scored in another order")):
        # Only sums in another order may differ: a leak through batch statistics is far larger.
        close = 1e-4 * abs(together) + 1e-5 * (1e-3 + together.std())
        if (abs(found - together) > close).any():
            raise Broken(
                "expected the score of an image to depend on that image alone, got another score when it is "
                f"{how} ({together[0]:.4g} became {found[0]:.4g}); look for a mean, a maximum or a layer of "
                "batch norm in score_step that sees the whole batch"
            )


def check_direction(detector: Detector, normal: Any, anomalous: Any) -> None:
    """The median score of anomalous items is higher than that of normal ones."""
    usual, strange = (float(np.median(detector.anomaly_score(x))) for x in (normal, anomalous))
    if not strange > usual:
        raise Broken(
            f"expected noise to score higher than training items, got the medians {strange:.4g} and "
            f"{usual:.4g}; look for a flipped sign in score_step, or train for longer"
        )


def check_outputs(detector: Detector, images: np.ndarray, bounded: bool = True) -> None:
    """Samples, reconstructions and anomaly maps have the right shape and finite values, images in [-1, 1].

    `bounded` is False for detectors whose networks work on features, which have no range.
    """
    name, n = type(detector).__name__, len(images)
    c, h, w = detector.image_shape_
    shapes = {"sample": (n, c, h, w), "reconstruct": (n, c, h, w), "anomaly_map": (n, h, w)}
    for method, shape in shapes.items():
        if not hasattr(detector, method):
            continue
        result = getattr(detector, method)(n if method == "sample" else images)
        if result.shape != shape or not np.isfinite(result).all():
            got = f"{result.shape} with {(~np.isfinite(result)).sum()} values that are not finite"
            raise Broken(f"expected {name}.{method} to return finite values of shape {shape}, got {got}")
        low, high = result.min(), result.max()
        if bounded and method != "anomaly_map" and not -1 <= low <= high <= 1:
            raise Broken(
                f"expected {name}.{method} to return images in [-1, 1], got values from {low:.3g} to "
                f"{high:.3g}; end the network in tanh, or .clamp(-1, 1)"
            )


# ---------------------------------------------------------------------- randomness, and files


def check_randomness(fit: Callable[[], Detector], images: Any) -> None:
    """Fitting and scoring neither read nor move the global random states of torch, numpy and Python."""
    results = []
    for seed in (1, 2):
        with _global_seed(seed):
            before = _global_states()
            results.append(fit().anomaly_score(images))
            after = _global_states()
        moved = [name for name in before if before[name] != after[name]]
        if moved:
            raise Broken(
                "expected all randomness to come from the detector's seed, got numbers drawn from the global "
                f"generator of {', '.join(moved)}; pass generator=self.rng_ to torch.randn and the like"
            )
    if not np.array_equal(results[0], results[1]):
        raise Broken(
            "expected the same scores from the same seed, got others in the second of two trainings; look "
            "for what changes from one to the next, such as the order of a set or the time"
        )


def _global_states() -> dict[str, Any]:
    """The states of the global generators, to compare."""
    numpy, torchs = np.random.get_state(legacy=False)["state"], torch.get_rng_state().tolist()
    return {"torch": torchs, "numpy": (numpy["key"].tobytes(), numpy["pos"]), "random": random.getstate()}


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Inside, the global generators have this seed; afterwards they go on as if nothing had been."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    for start in (torch.manual_seed, np.random.seed, random.seed):
        start(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def check_saving(detector: Detector, images: Any, load: Callable[[Path], Detector]) -> None:
    """A detector that was saved and loaded is the same to the last bit."""
    name = type(detector).__name__
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{part}.safetensors") for part in ("first", "again")]
        detector.save(paths[0])
        loaded = load(paths[0])
        loaded.save(paths[1])
        same = {
            "class": type(loaded) is type(detector),
            "hyperparameters": loaded.get_params() == detector.get_params(),
            "image_shape_": loaded.image_shape_ == detector.image_shape_,
            "threshold_": loaded.threshold_ == detector.threshold_,
            "history_": loaded.history_.equals(detector.history_),
            "scores": np.array_equal(loaded.anomaly_score(images), detector.anomaly_score(images)),
            "decisions": np.array_equal(loaded.predict(images), detector.predict(images)),
            "file": paths[0].read_bytes() == paths[1].read_bytes(),
        }
    others = [what for what, equal in same.items() if not equal]
    if others:
        raise Broken(
            f"expected a {name} from a file to be the one that was saved, got other {', '.join(others)}; "
            "what fit learns must be a parameter or a buffer of a network, since save writes nothing else"
        )
