"""NAME: FedAvg with a learning rate of the server's own. Put the paper and its equation here.

An algorithm is a frozen dataclass. Its fields are settings that a params file may give: {name: NAME, server_lr: 0.5}.
It differs from FedAvg in some of these places (fedgrid/algorithms/fedavg.py has them all, with FedAvg's answers):

    client_term    what a client adds to its gradient                      nothing, here
    message        what a client sends to the server                       its weights, as in FedAvg
    kept           what a client keeps until it takes part again           nothing (client_state is what it begins with)
    shares         the weight of each message in their sum                 n_k / m_t, as in FedAvg
    server_step    how the server's weights move, and what it keeps        written below (server_state: as it begins)

Tensors are (…, parameters): write operations that are elementwise over them, and one file serves the fast engine too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fedgrid.algorithms import ALGORITHMS, FedAvg
from fedgrid.algorithms.costs import Bound
from fedgrid.algorithms.fedavg import State


@ALGORITHMS.register("NAME")
@dataclass(frozen=True)
class Name(FedAvg):
    """FedAvg whose server goes a part of the way to the clients' average, or beyond it."""

    server_lr: float = 0.5

    title: ClassVar[str] = "Name"  # what tables call it
    identity: ClassVar[dict[str, float]] = {"server_lr": 1.0}  # with which it is FedAvg, bit for bit: a test asks

    def server_step(self, w_t: Tensor, combined: State, server: State) -> tuple[Tensor, State]:
        """w_{t+1} = w_t + η_s·Δ, of the average's update Δ; written from the average, so that η_s = 1 loses no bit."""
        average = combined["w"]
        return average + (self.server_lr - 1) * (average - w_t), server

    def bounds(self, race: Any) -> Iterator[Bound]:
        """What a params file may say: each setting, whether its value is allowed, and what is."""
        yield "server_lr", self.server_lr > 0, "a number above 0"
