"""What an algorithm keeps from round to round beside w."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedgrid.algorithms.fedavg import State


@dataclass(frozen=True)
class States:
    """The server's state, and that of each client which has taken part.

    Every tensor is (R, parameters). Of an algorithm that keeps nothing, there is none.
    """

    server: State = field(default_factory=dict)
    clients: Mapping[int, State] = field(default_factory=dict)

    def of_rates(self, some: Tensor) -> "States":
        """Those of some of the rates, given as a mask or as indices."""
        return States(chosen(self.server, some), {k: chosen(one, some) for k, one in self.clients.items()})

    def to(self, device: torch.device) -> "States":
        """The same on that device."""
        return States(moved(self.server, device), {k: moved(one, device) for k, one in self.clients.items()})


def chosen(state: State, some: Tensor) -> State:
    """The state of some of the rates."""
    return {name: one[some] for name, one in state.items()}


def moved(state: State, device: torch.device) -> State:
    """The state on that device."""
    return {name: one.to(device) for name, one in state.items()}
