"""What torch shares between threads: random numbers, the number of threads, modes."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import nn

from minigan.torch_state import one_thread, seeded, usual_modes

DRAWS = [
    lambda: torch.rand(3),
    lambda: torch.randn(2, 2),
    lambda: torch.randint(9, (4,)),
    lambda: torch.randperm(5),
    lambda: torch.empty(3).uniform_(),
    lambda: torch.empty(3).normal_(),
    lambda: torch.empty(3).bernoulli_(0.5),
    lambda: torch.empty(3).exponential_(),
    lambda: torch.normal(torch.zeros(3), 1.0),
    lambda: nn.init.normal_(torch.empty(2, 2)),
    lambda: nn.init.kaiming_normal_(torch.empty(2, 2)),
    lambda: nn.init.xavier_uniform_(torch.empty(2, 2)),
    lambda: nn.init.orthogonal_(torch.empty(2, 2)),
    lambda: nn.init.trunc_normal_(torch.empty(2, 2)),
    lambda: nn.Linear(2, 2).weight.detach(),
    lambda: nn.Conv2d(1, 1, 2).bias.detach(),
    lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)).weight.detach(),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_seeded_gives_the_numbers_of_torchs_seed_and_leaves_torchs_state_alone(draw):
    torch.manual_seed(5)
    expected, before = draw(), torch.get_rng_state()
    with seeded(5):
        found = draw()
    assert torch.equal(found, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_that_was_asked_for_is_used():
    with seeded(1):
        found = torch.rand(3, generator=torch.Generator().manual_seed(2))
    assert torch.equal(found, torch.rand(3, generator=torch.Generator().manual_seed(2)))


def test_seeds_of_two_threads_and_nested_ones_do_not_mix():
    barrier = Barrier(2)

    def draw(seed: int) -> list[torch.Tensor]:
        with seeded(seed):
            first = torch.rand(2)
            barrier.wait()
            with seeded(seed + 10):
                inside = torch.rand(2)
            barrier.wait()
            return [first, inside, torch.rand(2)]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(draw, (1, 2)))
    for seed, (first, inside, second) in zip((1, 2), found, strict=True):
        generator = torch.Generator().manual_seed(seed)
        assert torch.equal(first, torch.rand(2, generator=generator))
        assert torch.equal(second, torch.rand(2, generator=generator))
        assert torch.equal(inside, torch.rand(2, generator=torch.Generator().manual_seed(seed + 10)))


def test_one_thread_holds_until_the_last_has_left():
    before, inside, left = torch.get_num_threads(), Barrier(2), Barrier(2)
    torch.set_num_threads(2)
    try:

        def come_and_go() -> int:
            with one_thread:
                inside.wait(10)
            left.wait(10)
            return torch.get_num_threads()

        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(come_and_go)
            with one_thread:
                inside.wait(10)
                left.wait(10)
                assert torch.get_num_threads() == 1
            assert other.result() == 1  # it left while this thread was inside
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), one_thread:
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_usual_modes_are_those_of_a_new_process():
    torch.set_default_dtype(torch.float16)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            with usual_modes():
                x = torch.ones(2, 2, requires_grad=True)
                y = x @ x
                assert x.dtype == y.dtype == torch.float32 and x.device.type == "cpu"
                assert y.requires_grad and not y.is_inference()
            assert torch.ones(1).device.type == "meta" and torch.is_autocast_enabled("cpu")
        assert torch.get_default_dtype() == torch.float16
    finally:
        torch.set_default_dtype(torch.float32)
