"""Tools of training: initial weights, Adam, frozen networks, gradient reversal, standardisation, replay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def init_normal_(network: nn.Module, std: float = 0.02) -> None:
    """DCGAN's initialisation, in place: weights N(0, std^2), batch norm scales N(1, std^2), biases 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def adam(parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """The optimiser Adam in its fused form: the same rule, in one kernel for all parameters."""
    return torch.optim.Adam(parameters, lr=lr, betas=(float(betas[0]), float(betas[1])), fused=True)


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Inside, gradients flow *through* these networks but not *into* their weights, which saves time."""
    weights = [p for network in networks for p in network.parameters() if p.requires_grad]
    for p in weights:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in weights:
            p.requires_grad_(True)


class _ReversedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: float | Tensor) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reverse_gradient(x: Tensor, weight: float | Tensor = 1.0) -> Tensor:
    """Gradient reversal: x itself, but its gradient is multiplied by -weight (Ganin and Lempitsky, 2015)."""
    return _ReversedGradient.apply(x, weight)


def move_towards_(means: Iterable[Tensor], values: Iterable[Tensor], weight: float | Tensor) -> None:
    """Running averages: mean <- (1 - weight) * mean + weight * value, in place; weight may be a tensor ()."""
    means, values = list(means), list(values)
    if isinstance(weight, Tensor):  # its value stays on the device
        torch._foreach_lerp_(means, values, [weight] * len(means))
    else:
        torch._foreach_lerp_(means, values, weight)


class Standardize(nn.Module):
    """Standardisation, (x - mean) / std, with the mean and standard deviation of the training set."""

    mean: Tensor  # (d,)
    std: Tensor  # (d,)

    def __init__(self, d: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("std", torch.ones(d))

    def fit(self, x: Tensor) -> None:
        """Take mean and standard deviation from x, (n, d); a constant feature is only shifted."""
        self.mean.copy_(x.mean(0))
        varies = (x != x[:1]).any(0)  # rounding gives equal numbers a standard deviation of some 1e-8
        self.std.copy_(torch.where(varies, x.std(0), 1.0))

    def forward(self, x: Tensor) -> Tensor:  # (n, d) -> (n, d)
        return (x - self.mean) / self.std

    def undo(self, x: Tensor) -> Tensor:
        """Back to the data's own units: (n, d) -> (n, d)."""
        return x * self.std + self.mean


class ReplayBuffer:
    """Replay buffer of earlier fakes; when it is full, new items replace random old ones.

    Args:
        capacity: number of items kept.
        generator: source of randomness; its device is the buffer's.
    """

    def __init__(self, capacity: int, generator: torch.Generator):
        self.capacity, self.generator, self.filled = capacity, generator, 0
        self.items: Tensor | None = None  # (capacity, ...), the first `filled` of them in use

    def __len__(self) -> int:
        return self.filled

    def add(self, new: Tensor) -> None:
        """Add a batch (b, ...): to free places first, then in place of random old items."""
        new = new.detach()[: self.capacity]  # no gradient of a later step reaches the generator of these
        if self.items is None:
            self.items = new.new_empty(self.capacity, *new.shape[1:])
        n_free = min(self.capacity - self.filled, len(new))
        replaced = self._choose(len(new) - n_free)  # chosen before the new ones are added
        self.items[self.filled : self.filled + n_free] = new[:n_free]
        self.items[replaced] = new[n_free:]
        self.filled += n_free

    def sample(self, n: int) -> Tensor:
        """n different random items, or all of them if there are fewer: (min(n, len), ...)."""
        if self.items is None:
            raise ValueError("expected a buffer with items, got an empty one; add a batch first")
        return self.items[self._choose(n)]

    def _choose(self, n: int) -> Tensor:
        """Indices of n different items in use."""
        return torch.randperm(self.filled, generator=self.generator, device=self.generator.device)[:n]
