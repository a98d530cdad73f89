"""Steps of SGD on a stack of replicas: the clients of a cohort, each at every learning rate."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedgrid.algorithms import FedAvg
from fedgrid.engine.model import Model

WARM_UP = 3  # steps before a capture, in which the GPU's libraries choose their kernels
Weights = list[list[Tensor]]
Pool = Any  # torch's handle of the memory of CUDA graphs


class Batches(NamedTuple):
    """The batches of several steps, of G clients each.

    x: (steps, G, B, …), inputs; y: int64 (steps, G, B, …), classes, −1 where nothing is to be learnt (no example, an
    unknown word, what follows a post); share: (steps, G, B, …), the weight of each class in the loss, 0 where y is −1.
    Over a client's batch they sum to 1, and to less where a text has steps of which nothing is to be learnt.
    present: (steps, G), 1 where the client has a batch, else 0.
    """

    x: Tensor
    y: Tensor
    share: Tensor
    present: Tensor


def replicated(batches: Batches, lr: Tensor) -> Batches:
    """The batches of G clients for their G·R replicas, a client's rates side by side, shares times the rates lr (R,).

    y and share gain a last axis of 1, and y loses its −1, whose share is 0; present becomes each replica's rate, or 0.
    """

    def widened(tensor: Tensor) -> Tensor:
        return tensor.unsqueeze(2).expand(-1, -1, len(lr), *tensor.shape[2:]).flatten(1, 2)  # of one client, a view

    rates = lr.view(-1, *[1] * (batches.share.dim() - 2))
    share = (batches.share.unsqueeze(2) * rates).flatten(1, 2)
    present = (batches.present.unsqueeze(2) * lr).flatten(1)
    return Batches(widened(batches.x), widened(batches.y.clamp(min=0)).unsqueeze(-1), share.unsqueeze(-1), present)


def descend(model: Model, weights: Weights, into: Weights, x: Tensor, y: Tensor, share: Tensor) -> None:
    """into ← into − the gradient, at `weights`, of the cross-entropies' sum weighted by share: one step, as replicated.

    The derivative by the logits is share · (softmax − onehot), in share's precision. The shares of a replica sum to its
    rate, or that part of it which the examples are of a step; of a client without examples, to 0.
    """
    if share.dim() == 4 and share.device.type == "cpu":  # texts, as far as learnt; a GPU is asked for no number
        steps = length(share.squeeze(-1) != 0)
        x, y, share = (tensor[:, :, :steps] for tensor in (x, y, share))
    logits, kept = model.forward(weights, x)
    delta = logits.softmax(-1, dtype=share.dtype).mul_(share).scatter_add_(-1, y, -share)
    penalties = model.penalties(weights, share.flatten(1).sum(1))  # before a weight moves
    model.descend(weights, into, kept, delta.to(logits.dtype))
    for place, penalty in penalties:
        into[place][0].sub_(penalty)


def length(counted: Tensor) -> int:
    """How many steps, the last axis of counted (…, steps), texts have up to the last in which something is learnt."""
    return 1 + max(counted.flatten(0, -2).any(0).nonzero().flatten().tolist(), default=0)


def rounded(weights: Weights, dtype: torch.dtype) -> Weights:
    """The weights in another precision."""
    return [[weight.to(dtype) for weight in mine] for mine in weights]


class Beside(NamedTuple):
    """What clients have beside their weights and batches, as a client's term needs it; parameters in the last axis.

    w_t: (R, …), the weights that they began with; client: (G, R, …) each, what they kept; server: (R, …) each.
    """

    w_t: Tensor
    client: Mapping[str, Tensor]
    server: Mapping[str, Tensor]

    def each(self, change: Callable[[Tensor], Any]) -> "Beside":
        """The same of what the change makes of each tensor."""
        client, server = ({name: change(one) for name, one in state.items()} for state in (self.client, self.server))
        return Beside(change(self.w_t), client, server)

    def tensors(self) -> list[Tensor]:
        """All of them, in a fixed order."""
        return [self.w_t, *self.client.values(), *self.server.values()]


class Replicas:
    """G clients at R rates and their weights, which SGD changes where they lie.

    A step is captured as a CUDA graph when one of its shape first comes to a GPU, and replayed from then on: one launch
    in place of a hundred, and nothing waits for the host. pool: memory that graphs share of which no two run at once.
    """

    def __init__(
        self,
        model: Model,
        algorithm: FedAvg,
        beside: Beside,
        lr: Tensor,
        clients: int,
        dtype: torch.dtype,
        pool: Pool = None,
    ) -> None:
        w = beside.w_t
        self.model, self.algorithm, self.lr, self.clients = model, algorithm, lr, clients
        self.dtype, self.pool = dtype, pool
        self.exact = w.dtype == dtype
        self.on_gpu = w.is_cuda
        self.weights = model.stacked(w.repeat(clients, 1))
        self.beside = beside
        if self.on_gpu and self.adds:  # a graph reads where it was captured: a place of its own, which rounds fill anew
            self.beside = beside.each(torch.clone)
        self.held: dict[torch.Size, list[Tensor]] = {}  # a step's numbers, by the shape of a batch
        self.captured: dict[torch.Size, Callable[[], None]] = {}

    def restart(self, beside: Beside, lr: Tensor) -> None:
        """Every client from the weights w_t (R, parameters), at the rates lr (R,) of another round."""
        self.lr = lr
        for mine, given in zip(self.weights, self.model.weights(beside.w_t), strict=True):
            for weight, there in zip(mine, given, strict=True):
                weight.unflatten(0, (-1, len(there))).copy_(there)
        if self.adds:
            for here, there in zip(self.beside.tensors(), beside.tensors(), strict=True):
                here.copy_(there)

    def epoch(self, batches: Batches, clients: Sequence[int]) -> None:
        """w_k ← w_k − η∇ℓ(w_k; b) for each replica and each of its batches.

        clients: of each step, how many of the clients, from the first on, have examples; the others stay as they are.
        """
        step = self.replay if self.on_gpu else self.step
        for batch, taking_part in zip(zip(*replicated(batches, self.lr), strict=True), clients, strict=True):
            some = self.together(taking_part) * len(self.lr)
            step(*(tensor[:some] for tensor in batch))

    def together(self, clients: int) -> int:
        """How many clients step where so many have examples: on a GPU a power of two, since each number is a graph."""
        return min(1 << (clients - 1).bit_length(), self.clients) if self.on_gpu else clients

    def step(self, x: Tensor, y: Tensor, share: Tensor, lr: Tensor) -> None:
        """One step of the first replicas, kernel by kernel.

        x: (replicas, B, …); y, share: (replicas, B, …, 1); lr: (replicas,), 0 of one that has no batch.
        """
        mine = self.weights
        if len(x) < self.clients * len(self.lr):
            mine = [[weight[: len(x)] for weight in layer] for layer in mine]
        terms = self.terms(mine, lr)  # before a weight moves
        descend(self.model, mine if self.exact else rounded(mine, self.dtype), mine, x, y, share)
        for weight, term in terms:
            weight.sub_(term)

    def terms(self, weights: Weights, lr: Tensor) -> list[tuple[Tensor, Tensor]]:
        """η times what the algorithm adds to each weight's gradient, beside that weight; none where it adds nothing."""
        if not self.adds:
            return []
        (w_t, client, server), found, rates = self.laid, [], len(self.lr)
        for place, layer in enumerate(weights):
            for i, weight in enumerate(layer):
                stacked = weight.unflatten(0, (-1, rates))  # (clients, R, …)
                kept = {name: one[place][i][: len(stacked)] for name, one in client.items()}
                term = self.algorithm.client_term(
                    stacked, w_t[place][i], kept, {name: one[place][i] for name, one in server.items()}
                )
                assert term is not None
                found.append((weight, lr.view(-1, *[1] * (weight.dim() - 1)) * term.flatten(0, 1)))
        return found

    @cached_property
    def laid(self) -> Beside:
        """What is beside, cut into the shapes of the weights."""
        return self.beside.each(self.model.weights)

    @cached_property
    def adds(self) -> bool:
        """Whether the algorithm adds anything to a gradient."""
        first = self.beside.each(lambda one: one[..., :1])
        kept = {name: one[0] for name, one in first.client.items()}
        return self.algorithm.client_term(first.w_t, first.w_t, kept, first.server) is not None

    def replay(self, *given: Tensor) -> None:
        """One step by its graph, captured at need."""
        shape = given[0].shape
        if shape[1:] not in self.held:
            every = self.clients * len(self.lr)
            self.held[shape[1:]] = [one.new_zeros(every, *one.shape[1:]) for one in given]
        held = [one[: shape[0]] for one in self.held[shape[1:]]]
        if shape not in self.captured:
            self.captured[shape] = self.capture(*held)
        for there, here in zip(held, given, strict=True):
            there.copy_(here)
        self.captured[shape]()

    def capture(self, x: Tensor, y: Tensor, share: Tensor, lr: Tensor) -> Callable[[], None]:
        """The launch of such a step of what then lies there. Shares and rates of 0 leave the weights as they are."""
        share.zero_()
        lr.zero_()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.step(x, y, share, lr)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            self.step(x, y, share, lr)
        return graph.replay
