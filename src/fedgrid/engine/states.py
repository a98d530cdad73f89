"""What an algorithm keeps from round to round beside w: the server's in memory, the clients' in a file of rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
import torch
from torch import Tensor

from fedgrid.algorithms.fedavg import State
from fedgrid.engine.rows import Form, Rows


@dataclass(frozen=True)
class States:
    """The server's state, tensors (R, parameters), and that of each client which has taken part.

    A round writes into `clients` what they keep, so of the states before it only the server's remain.
    Of an algorithm that keeps nothing, there is none, and no file. rates: those still racing, by their places in a row;
    None while all do. The row of a client that trains without the others has zeros for them.
    """

    server: State = field(default_factory=dict)
    clients: Rows = field(default_factory=Rows)
    rates: tuple[int, ...] | None = None

    def of_rates(self, stay: Tensor) -> "States":
        """Those of the rates that stay, bool (R,). No client's row is touched."""
        rates = range(len(stay)) if self.rates is None else self.rates
        server = {name: one[stay] for name, one in self.server.items()}
        return States(server, self.clients, tuple(compress(rates, stay.tolist())))

    def to(self, device: torch.device) -> "States":
        """The same on that device, to which clients' come as they train."""
        return States({name: one.to(device) for name, one in self.server.items()}, self.clients, self.rates)

    def of_clients(self, clients: np.ndarray, first: State) -> State:
        """What each of the clients keeps, (clients, R, parameters) each; `first` of one that has not taken part."""
        stacked = {name: one.repeat(len(clients), 1, 1) for name, one in first.items()}
        if not stacked:
            return {}
        there, rows = self.clients.read(clients)
        if there.any():
            racing = rows if self.rates is None else rows[:, :, list(self.rates)]
            for name, kept in zip(sorted(stacked), torch.from_numpy(racing).unbind(1), strict=True):
                one = stacked[name]
                one[torch.from_numpy(there).to(one.device)] = kept.to(one.device)
        return stacked

    def keep(self, clients: np.ndarray, kept: Sequence[State], first: State, title: str) -> None:
        """Writes what the clients keep; ValueError naming the algorithm where it is not of the form of `first`."""
        for one in kept:
            if shapes(one) != shapes(first):
                raise ValueError(f"{title}: kept gives {shapes(one)}, client_state {shapes(first)}; they must be alike")
        if not first:
            return
        names = tuple(sorted(first))
        racing = torch.stack([torch.stack([one[name] for name in names]) for one in kept]).cpu().numpy()
        form = self.clients.form or Form(names, racing.shape[2], racing.shape[3], racing.dtype.str)
        rows = np.zeros((len(clients), *form.shape), form.dtype)
        rows[:, :, slice(None) if self.rates is None else list(self.rates)] = racing
        self.clients.write(clients, form, rows)


def shapes(state: State) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, by name."""
    return {name: tuple(one.shape) for name, one in state.items()}
