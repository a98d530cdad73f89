"""Algorithm 1, FederatedAveraging, of McMahan et al. 2017 (arXiv 1602.05629): the specification.

Slow and readable, to be held beside the PDF; symbols are the paper's. The engine does the same work fast and is tested
equal to this file. FedSGD is the case E = 1, B = inf. Averages are weighted by n_k / m_t over the cohort, as the
erratum in the arXiv's v4 corrects the printed sum over all K clients.

`FedAvg` has the places in which a federated algorithm may differ, each with what Algorithm 1 does there; `rounds` runs
any algorithm made of such places, one client after another. No function here reads a file, a flag, a clock or a global
random state.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedgrid.algorithms.batches import Stream, batches, epochs
from fedgrid.algorithms.cohorts import cohort
from fedgrid.algorithms.costs import Costs, Settings
from fedgrid.algorithms.messages import Sender, Transformation, transformed

Loss = Callable[[Tensor, np.ndarray], Tensor]
# Tensors by name, each (…, parameters) like w: what a client or the server keeps from round to round, or a message.
State = Mapping[str, Tensor]


class Trained(NamedTuple):
    """A client after its local epochs. Tensors are (…, parameters), where … is nothing or the learning rates."""

    w_t: Tensor  # what it began with
    w_k: Tensor  # what it has now
    steps: int  # of local SGD that it took
    lr: float | Tensor  # η, or (…, 1)
    client: State  # what it kept from the last round in which it took part
    server: State  # the server's, at the beginning of the round


@dataclass(frozen=True)
class FedAvg(Costs):
    """FederatedAveraging: the average of clients' weights after E epochs of SGD. Others differ in one place or two."""

    title: ClassVar[str] = "FedAvg"

    @property
    def averages_weights(self) -> bool:
        """Whether clients keep nothing and send their weights, of which the average by n_k is wanted, as here."""
        mine = type(self)
        return all(getattr(mine, place) is getattr(FedAvg, place) for place in ("message", "kept", "shares"))

    def minibatch(self, n: int, B: float, t: int, stream: Stream) -> np.ndarray | None:
        """Of an algorithm without clients, the examples of round t's single update; None where clients train."""
        return None

    def server_state(self, w: Tensor) -> State:
        """What the server keeps beside w, before round 1."""
        return {}

    def client_state(self, w: Tensor) -> State:
        """What a client keeps, before the first round in which it takes part."""
        return {}

    def client_term(self, w: Tensor, w_t: Tensor, client: State, server: State) -> Tensor | None:
        """What a client adds to its gradient at w; None is nothing. Elementwise: it is asked for w in parts, too."""
        return None

    def message(self, trained: Trained) -> State:
        """What a client sends: "return w to server"."""
        return {"w": trained.w_k}

    def kept(self, trained: Trained) -> State:
        """What a client keeps for the next round in which it takes part."""
        return {}

    def shares(self, n_k: np.ndarray) -> np.ndarray:
        """The weight of each message in their sum, for clients of n_k examples: n_k / m_t."""
        return n_k / n_k.sum()

    def server_step(self, w_t: Tensor, combined: State, server: State) -> tuple[Tensor, State]:
        """w_{t+1}, and what the server keeps: from the weighted sum of the messages. Here, the average itself."""
        return combined["w"], server


def is_fedsgd(algorithm: Costs, s: Settings) -> bool:
    """Whether that is what the paper calls FedSGD: one step of FedAvg on all of a client's data."""
    return algorithm == FedAvg() and s.E == 1 and math.isinf(s.B)


def client_update(
    w_t: Tensor,
    P_k: np.ndarray,
    loss: Loss,
    E: int,
    B: float,
    lr: float,
    rng: np.random.Generator,
    shuffle: str,
    algorithm: FedAvg,
    client: State,
    server: State,
) -> Trained:
    """ClientUpdate(k, w): E epochs of plain SGD from w, in batches of B of the client's own examples."""
    w, steps = w_t, 0
    for order in epochs(P_k, E, rng, shuffle):
        for b in batches(order, B):
            w = w.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(w, b), w)
            w = w.detach()
            if (term := algorithm.client_term(w, w_t, client, server)) is not None:
                gradient = gradient + term
            w, steps = w - lr * gradient, steps + 1
    return Trained(w_t, w, steps, lr, client, server)


def rounds(
    w: Tensor,
    P: Sequence[np.ndarray],
    loss: Loss,
    *,
    C: float,
    E: int,
    B: float,
    lr: float,
    stream: Stream,
    rounding: str = "nearest",
    shuffle: str = "every_epoch",
    algorithm: FedAvg = FedAvg(),  # frozen
    message: Sequence[Transformation] = (),
) -> Iterator[Tensor]:
    """w_1, w_2, …: the server's weights after each round, without end.

    `w` is the flat weight vector w_0; `P[k]` holds the indices of client k's examples; `loss(w, b)` is the mean loss
    ℓ(w; b) over the examples b, differentiable in w; `stream(name, *keys)` gives a named random stream; `message` is
    the chain of transformations that each client's update goes through before it is sent.
    """
    server, clients, t = algorithm.server_state(w), dict[int, State](), 0
    everything = np.concatenate(list(P))
    while True:
        t += 1
        if (b := algorithm.minibatch(len(everything), B, t, stream)) is not None:
            at = w.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(at, everything[b]), at)
            w = w.detach() - lr * gradient
            yield w
            continue
        S_t = cohort(len(P), C, stream("cohort", t), rounding)
        combined: dict[str, Tensor] = {}
        for k, share in zip(S_t.tolist(), algorithm.shares(np.array([len(P[k]) for k in S_t])), strict=True):
            client = clients.get(k, algorithm.client_state(w))
            rng = stream("client", t, k)
            trained = client_update(w, P[k], loss, E, B, lr, rng, shuffle, algorithm, client, server)
            clients[k] = algorithm.kept(trained)
            sent = transformed(trained.w_t, trained.w_k, message, Sender(t, k, S_t, stream))
            for name, tensor in algorithm.message(trained._replace(w_k=sent)).items():
                combined[name] = combined.get(name, torch.zeros_like(tensor)) + share * tensor
        w, server = algorithm.server_step(w, combined, server)
        yield w
