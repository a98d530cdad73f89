"""Plain SGD, the baseline of Table 3 of McMahan et al. 2017: no clients; a round is one update on a minibatch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedgrid.algorithms.batches import Stream, minibatch
from fedgrid.algorithms.costs import Bound, Settings
from fedgrid.algorithms.fedavg import FedAvg


@dataclass(frozen=True)
class SGD(FedAvg):
    """w ← w − η∇ℓ(w; b), the minibatches b drawn from the whole data, epoch by epoch."""

    title: ClassVar[str] = "SGD"
    unit: ClassVar[str] = "updates"

    def minibatch(self, n: int, B: float, t: int, stream: Stream) -> np.ndarray | None:
        return minibatch(n, B, t, stream)

    def work(self, s: Settings, n: int) -> tuple[int, float]:
        return 1, min(s.B, n)

    def share(self, s: Settings, n: int) -> float:
        return 1 / math.ceil(n / s.B)

    def floats(self, parameters: int) -> tuple[int, int]:
        return 0, 0  # nothing is communicated

    def bounds(self, race: Any) -> Iterator[Bound]:
        for name in ("K", "C", "E"):
            yield name, getattr(race, name) == 1, "1 for plain SGD, which has no clients"
        yield "partition", race.partition.title == "IID", "iid for plain SGD, whose data are whole"
        yield "B", not math.isinf(race.B), "finite for plain SGD, whose round is a minibatch"

    def label(self, s: Settings) -> str:
        return f"B{int(s.B)}"
