"""How many replicas step together on a CPU: as many as its caches suggest, of which a short trial takes the fastest.

A wide stack shares the cost of calling each operation; a narrow one keeps its weights in a cache. Which of these counts
depends on the processor. Only widths at which every replica ends with the very bits that it has alone are tried, so no
curve depends on the choice.
"""

import math
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import takewhile
from math import prod
from pathlib import Path

import torch

from fedgrid.algorithms import FedAvg
from fedgrid.engine.model import Model
from fedgrid.engine.steps import Batches, Beside, Replicas

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
CACHE = 2**22  # bytes, where the system does not say
MOST = 10  # replicas: of more, calls are a small part
CLIENTS = (2, 5, 10)  # tried together: cohorts are tens, mostly, and leave no small rest
LONG = 0.005  # seconds of a single replica's step in which calls are a small part already
COMPARED = 8  # steps after which bits are compared: another order of summation shows in the first few
TIMED = 2  # steps of a turn: so short that some are undisturbed, on a busy machine too
SECONDS = 0.25  # of this thread, for the turns of all widths
CLEAR = 1.1  # times as long as the fastest: so slow must all rates of one client be before another width is taken
NEAR = 1.05  # of the least time: the narrowest so near it leaves most of the cache to the data

Width = tuple[int, int]  # how many clients, how many of the rates of each


@cache
@torch.inference_mode()
def measured_width(model: Model, shape: tuple[int, ...], dtype: torch.dtype, B: int, rates: int) -> Width:
    """The fastest width for steps of B examples of shape (1, …) at so many rates."""
    widths = list(fitting_a_cache(rates, largest_cache() // (4 * model.parameters)))
    alone = Trial(model, shape, dtype, B, (1, 1)).turn((1, 1))
    if min(alone() for _ in range(3)) > LONG:  # of three: one may be disturbed
        return 1, 1
    trial = Trial(model, shape, dtype, B, widths[-1])
    alike = list(takewhile(trial.same_bits, widths))
    turns = {width: trial.turn(width) for width in alike}
    least, began = dict.fromkeys(alike, math.inf), time.thread_time()
    while len(alike) > 1 and time.thread_time() - began < SECONDS:
        for width, turn in turns.items():  # one after another: a machine's speed varies
            least[width] = min(least[width], turn())
    return chosen(least)


def chosen(least: dict[Width, float]) -> Width:
    """The width to take, given each one's least time, the narrowest first.

    Rates of one client share its examples, so those stay together unless another width is clearly faster.
    """
    together = max(width for width in least if width[0] == 1)
    if least[together] <= CLEAR * min(least.values()):
        return together
    return next(width for width in least if least[width] <= NEAR * min(least.values()))


def fitting_a_cache(rates: int, most: int) -> Iterator[Width]:
    """One replica, then more and more of a client's rates, then of clients, as far as `most` replicas fit."""
    powers = [2**i for i in range(rates.bit_length() + 1)]
    parts = sorted({-(-rates // n) for n in powers} | {1})
    even = [part for part in parts if rates % part == 0 or 2 * (rates % part) > part]  # no small rest
    for width in [*((1, part) for part in even), *((n, rates) for n in CLIENTS)]:
        if width == (1, 1) or prod(width) <= min(most, MOST):
            yield width


@cache
def largest_cache() -> int:
    """Bytes of a core's share of this processor's caches, of the largest."""
    try:
        return max(share(place) for place in CACHES.glob("index*"))
    except (OSError, ValueError):  # no such system, or none there
        return CACHE


def share(cache: Path) -> int:
    """A core's share of that cache, in bytes: of "32768K" that CPUs "0-3,8" share, 32768 KiB / 5."""
    ranges = [[int(end) for end in part.split("-")] for part in (cache / "shared_cpu_list").read_text().split(",")]
    cores = sum(ends[-1] - ends[0] + 1 for ends in ranges)
    return (int((cache / "size").read_text().strip().removesuffix("K")) << 10) // cores


class Trial:
    """Steps of up to so many replicas on random examples, each from its rate's weights."""

    def __init__(self, model: Model, shape: tuple[int, ...], dtype: torch.dtype, B: int, widest: Width) -> None:
        random, (clients, rates) = torch.Generator().manual_seed(0), widest
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        self.model, self.dtype = model, dtype
        self.w = torch.randn(rates, model.parameters, generator=random, dtype=exact).div_(30)
        self.lr = torch.linspace(0.01, 0.1, rates, dtype=exact)
        x = torch.rand(COMPARED, clients, B, *shape[1:], generator=random).to(dtype)
        y = torch.randint(model.classes, x.shape[:3], generator=random)
        self.batches = Batches(x, y, torch.full(y.shape, 1 / B, dtype=exact), self.w.new_ones(COMPARED, clients))
        self.alone: dict[Width, torch.Tensor] = {}  # where each ends by itself: its client and its rate

    def same_bits(self, width: Width) -> bool:
        """Whether each replica of such a stack ends where it does alone."""
        together = self.ends(*map(slice, width))
        return all(together[k, r].equal(self.end(k, r)) for k in range(width[0]) for r in range(width[1]))

    def end(self, k: int, r: int) -> torch.Tensor:
        """Where client k ends at rate r by itself."""
        if (k, r) not in self.alone:
            self.alone[k, r] = self.ends(slice(k, k + 1), slice(r, r + 1))[0, 0]
        return self.alone[k, r]

    def ends(self, clients: slice, rates: slice) -> torch.Tensor:
        """Where a stack of those ends: (clients, rates, parameters)."""
        stack = self.stack(clients, rates)
        self.steps(stack, clients, COMPARED)
        return self.model.flat(stack.weights).unflatten(0, (stack.clients, -1))

    def stack(self, clients: slice, rates: slice) -> Replicas:
        """Those clients at those rates, before their first step."""
        together = len(range(*clients.indices(len(self.batches.x[0]))))
        return Replicas(self.model, FedAvg(), Beside(self.w[rates], {}, {}), self.lr[rates], together, self.dtype)

    def steps(self, stack: Replicas, clients: slice, count: int) -> None:
        """Takes the first steps of those clients."""
        stack.epoch(Batches(*(tensor[:count, clients] for tensor in self.batches)), [stack.clients] * count)

    def turn(self, width: Width) -> Callable[[], float]:
        """What takes some steps and returns a replica's time for one: this thread's own, others may use the machine."""
        clients, rates = map(slice, width)
        stack = self.stack(clients, rates)
        self.steps(stack, clients, 1)  # whatever is made once

        def timed() -> float:
            began = time.thread_time()
            self.steps(stack, clients, TIMED)
            return (time.thread_time() - began) / (TIMED * prod(width))

        return timed
