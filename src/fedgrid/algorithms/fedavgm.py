"""FedAvgM: Hsu, Qi, Brown 2019, "Measuring the Effects of Non-Identical Data Distribution" (arXiv 1909.06335).

Section 4: with Δ_t the average of the clients' updates, the server keeps v ← βv + Δ_t and steps to w ← w + v; the
server rate η_s is that of Reddi et al. 2021 (arXiv 2003.00295), who write the same as their SERVEROPT.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fedgrid.algorithms.costs import Bound
from fedgrid.algorithms.fedavg import FedAvg, State


@dataclass(frozen=True)
class FedAvgM(FedAvg):
    """FedAvg whose server has momentum β and a learning rate of its own."""

    beta: float = 0.9
    server_lr: float = 1.0

    title: ClassVar[str] = "FedAvgM"
    identity: ClassVar[dict[str, float]] = {"beta": 0.0, "server_lr": 1.0}  # with which it is FedAvg, bit for bit

    def server_state(self, w: Tensor) -> State:
        return {"v": torch.zeros_like(w)}

    def server_step(self, w_t: Tensor, combined: State, server: State) -> tuple[Tensor, State]:
        """v ← βv + Δ_t, w ← w_t + η_s·v; written from the average, so that without momentum no bit is lost."""
        average = combined["w"]
        delta = average - w_t
        v = self.beta * server["v"] + delta
        return average + (self.server_lr * v - delta), {"v": v}

    def bounds(self, race: Any) -> Iterator[Bound]:
        yield "beta", 0 <= self.beta < 1, "a number from 0 and below 1"
        yield "server_lr", self.server_lr > 0, "a number above 0"
