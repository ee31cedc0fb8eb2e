"""What torch shares between all that runs in a process, and how minigan becomes independent of it.

Random numbers, the default data type, the number of threads, whether gradients are recorded: torch keeps one
state of each for the process, or for a thread. A user may have changed it, and another thread may change it
meanwhile. Inside these contexts, minigan's results depend on its own parameters alone. `pick_device` says
where they are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

#: Functions and methods of torch that draw random numbers and accept a generator.
RANDOM = {"normal", "rand", "randint", "randn", "randperm"}
RANDOM |= {"bernoulli_", "exponential_", "normal_", "random_", "uniform_"}
RANDOM |= {"kaiming_normal_", "kaiming_uniform_"}  # they draw where this context is not looking


class seeded(TorchFunctionMode):  # noqa: N801 (a context, written like a function)
    """Inside, random numbers on the CPU come from a generator that starts at `seed`, in this thread only.

    They are those that `torch.manual_seed(seed)` would give, but torch's own state, which all threads share,
    is neither used nor changed. It looks at every call of torch, which takes time: it is meant for making
    networks, whose layers draw their initial weights without asking for a generator.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.generator = torch.Generator().manual_seed(int(seed))

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in RANDOM and kwargs.get("generator") is None:
            filled = args[0] if args else kwargs.get("tensor")
            device = filled.device if isinstance(filled, Tensor) else kwargs.get("device")
            if torch.device(device or "cpu").type == "cpu":
                kwargs = kwargs | {"generator": self.generator}
        return func(*args, **kwargs)


class _Shared:
    """A setting of the process that has a certain value while any thread is inside, and then its old one.

    The number of threads is in part a setting of each thread: one that leaves before others keeps the value.
    """

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], Any], value: Any):
        self.read, self.write, self.value = read, write, value
        self.lock, self.inside, self.before = Lock(), 0, None

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.before = self.read()
            self.inside += 1
            self.write(self.value)  # each time, for what is a setting of each thread

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.write(self.before)


#: Inside, torch has one thread: networks are small, and sums in another order round differently.
one_thread = _Shared(torch.get_num_threads, torch.set_num_threads, 1)
_float32 = _Shared(torch.get_default_dtype, torch.set_default_dtype, torch.float32)


@contextmanager
def usual_modes() -> Iterator[None]:
    """Inside, torch is as it was when it was imported, whatever modes the caller has switched on.

    New tensors are float32 and on the CPU, gradients are recorded, nothing is in half precision.
    """
    with ExitStack() as stack:
        stack.enter_context(_float32)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":  # not always: this context slows every call of torch
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def pick_device(device: str | torch.device) -> torch.device:
    """The torch device for "auto" (cuda when there is one, else the CPU) or for an explicit name."""
    device = str(device)  # a torch.device is welcome too
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"expected a device that is here, got {device!r} without CUDA; use device='cpu'")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch built without the device
        raise ValueError(
            f"expected a device that torch can use here, got {device!r}; use 'auto', 'cpu' or 'cuda'"
        ) from error


def between(old: Tensor, new: Tensor, weight: float) -> Tensor:
    """(1 - weight) old + weight new; equal numbers stay, infinite ones too, and counters are the new ones."""
    return torch.where(old == new, new, old.lerp(new, weight)) if new.is_floating_point() else new
