"""FedProx: Li et al. 2020, "Federated Optimization in Heterogeneous Networks" (arXiv 1812.06127), Algorithm 2.

A client minimises h_k(w; w_t) = F_k(w) + μ/2 ‖w − w_t‖² (equation 2), which keeps it near the weights it began with.
Here by E epochs of SGD, as FedAvg does, all clients the same E.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fedgrid.algorithms.costs import Bound
from fedgrid.algorithms.fedavg import FedAvg, State


@dataclass(frozen=True)
class FedProx(FedAvg):
    """FedAvg whose clients are held near the server's weights by a proximal term of strength μ."""

    mu: float = 0.01

    title: ClassVar[str] = "FedProx"
    identity: ClassVar[dict[str, float]] = {"mu": 0.0}  # with which it is FedAvg, bit for bit

    def client_term(self, w: Tensor, w_t: Tensor, client: State, server: State) -> Tensor | None:
        """∇ of μ/2 ‖w − w_t‖²."""
        return self.mu * (w - w_t)

    def bounds(self, race: Any) -> Iterator[Bound]:
        yield "mu", self.mu >= 0, "a number from 0"
