"""One round of Algorithm 1 for all learning rates of a cell together, equal to `algorithms.fedavg.rounds` rate by rate.

The data lie once on the device, as stored. A client's examples are gathered there once per epoch, by a table of
indices, and serve every rate; FedSGD, one step of every client from the same weights, is one step on the union of the
cohort's examples, and so is an update of plain SGD on its minibatch.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedgrid.algorithms import fedavg
from fedgrid.engine.examples import Examples
from fedgrid.engine.memory import Epoch, examples_at_once, replicas_at_once
from fedgrid.engine.model import Model
from fedgrid.engine.steps import Batches, Replicas, Weights, descend, replicated, rounded
from fedgrid.engine.workers import slices, spread
from fedgrid.partitions.partition import Partition

NOBODY = -1  # in a table of indices: no example


@dataclass(frozen=True)
class Federation:
    """The clients, their data and Algorithm 1's settings; a round depends on no other.

    dtype: the precision of products; weights and sums are of w's own.
    workers: threads that share a CPU's work; no result depends on their number.
    """

    model: Model
    data: Examples
    partition: Partition
    C: float
    E: int
    B: float
    stream: fedavg.Stream
    rounding: str = "nearest"
    shuffle: str = "every_epoch"
    dtype: torch.dtype = torch.float32
    workers: int = 1
    algorithm: str = "fedavg"
    fits: dict[int, tuple[int, int]] = field(default_factory=dict, repr=False)  # by the number of rates
    held: dict[tuple[int, ...], Replicas] = field(default_factory=dict, repr=False)  # on a GPU, with their graphs

    @torch.inference_mode()
    def round(self, t: int, w: Tensor, lr: Tensor) -> tuple[Tensor, int]:
        """w_t from w_{t-1}, both (R, parameters), with lr (R,), and the examples that each rate was trained on."""
        if self.algorithm == "sgd":
            b = self.partition.indices[fedavg.minibatch(len(self.partition.indices), self.B, t, self.stream)]
            return self.gradient_step(b, np.array([len(b)]), self.draws(len(b), t), w, lr), len(b)
        S_t = fedavg.cohort(len(self.partition), self.C, self.stream("cohort", t), self.rounding)
        fedsgd = self.E == 1 and math.isinf(self.B)
        w = self.fedsgd(t, S_t, w, lr) if fedsgd else self.average_of_updates(t, S_t, w, lr)
        return w, int(self.partition.sizes(S_t).sum()) * self.E

    @property
    def share(self) -> float:
        """The part of the data, or of the clients, that a round passes over."""
        if self.algorithm == "sgd":
            return 1 / math.ceil(len(self.partition.indices) / self.B)
        return fedavg.cohort_size(len(self.partition), self.C, self.rounding) / len(self.partition)

    def average_of_updates(self, t: int, S_t: np.ndarray, w: Tensor, lr: Tensor) -> Tensor:
        """Σ n_k/m_t · w_k over the cohort, each w_k after E epochs from w."""
        n_k = self.partition.sizes(S_t)
        m_t, S_t = n_k.sum(), S_t[np.argsort(-n_k, kind="stable")]  # clients of one stack take about as many steps
        clients, _ = self.at_once(len(w))
        groups = [S_t[i : i + clients] for i in range(0, len(S_t), clients)]
        average = torch.zeros_like(w)
        updates = spread(lambda group: self.client_updates(t, group, w, lr), groups, self.workers)
        for group, w_k in zip(groups, updates, strict=True):
            for n_k, one in zip(self.partition.sizes(group), w_k, strict=True):
                average.add_(one, alpha=n_k / m_t)
        return average

    @torch.inference_mode()
    def client_updates(self, t: int, clients: np.ndarray, w: Tensor, lr: Tensor) -> Tensor:
        """ClientUpdate(k, w) of those clients together, at every rate: (clients, R, parameters)."""
        _, rates = self.at_once(len(w))
        parts = [self.replicas(len(clients), part, w, lr) for part in slices(len(w), rates)]
        for table, draws in self.orders(t, clients):
            batches, taking_part = self.batches(table, draws, w.dtype), with_examples(table)
            for part in parts:
                part.epoch(batches, taking_part)
        return torch.cat([self.model.flat(part.weights).unflatten(0, (len(clients), -1)) for part in parts], 1)

    def orders(self, t: int, clients: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each epoch's examples, step by step: indices (steps, clients, B), NOBODY where a client has none left.

        And what distorts them: draws (steps, clients, B, draws).
        """
        sizes = self.partition.sizes(clients)
        # a GPU captures a step per shape: there, one that serves every cohort
        B = int(min(self.B, self.partition.largest if self.data.x.is_cuda else sizes.max()))
        steps = -(-sizes.max() // B)
        each = [fedavg.epochs(self.partition[k], self.E, self.stream("client", t, k), self.shuffle) for k in clients]
        drawn = [self.draws(self.E * n_k, t, k).reshape(self.E, n_k, -1) for k, n_k in zip(clients, sizes, strict=True)]
        for epoch, orders in enumerate(zip(*each, strict=True)):
            table = np.full((len(clients), steps * B), NOBODY)
            draws = np.zeros((*table.shape, self.data.inputs.draws), np.float32)
            for row, order in enumerate(orders):
                table[row, : len(order)] = order
                draws[row, : len(order)] = drawn[row][epoch]
            by_step = len(clients), steps, B
            yield table.reshape(by_step).swapaxes(0, 1), draws.reshape(*by_step, draws.shape[-1]).swapaxes(0, 1)

    def draws(self, n: int, *use: int) -> np.ndarray:
        """The random numbers that distort n examples in that round and at that client: float32 (n, draws)."""
        draws = self.data.inputs.draws
        return self.stream("distort", *use).random((n, draws), np.float32) if draws else np.empty((n, 0), np.float32)

    def batches(self, table: np.ndarray, draws: np.ndarray, dtype: torch.dtype) -> Batches:
        """The batches that the table (steps, clients, B) names; the loss of each is the mean over its examples."""
        chosen = torch.from_numpy(table).to(self.data.x.device)
        x, y = self.data.trained_on(chosen.clamp(min=0), torch.from_numpy(draws).to(self.data.x.device))
        there = chosen != NOBODY
        y.masked_fill_(~along(there, y), -1)
        examples = there.sum(-1, keepdim=True).clamp(min=1)
        return Batches(x, y, (y >= 0).to(dtype) / along(examples * self.data.positions, y))

    def fedsgd(self, t: int, S_t: np.ndarray, w: Tensor, lr: Tensor) -> Tensor:
        """FedSGD: w − η Σ n_k/m_t ∇F_k(w), one step on the union of the cohort's examples.

        Every client takes one step from the same w, so the weighted average of the w_k is that step.
        """
        n_k = self.partition.sizes(S_t)
        union = np.concatenate([self.partition[k] for k in S_t])
        draws = np.concatenate([self.draws(n, t, k) for k, n in zip(S_t, n_k, strict=True)])
        return self.gradient_step(union, n_k, draws, w, lr)

    def gradient_step(self, b: np.ndarray, n_k: np.ndarray, draws: np.ndarray, w: Tensor, lr: Tensor) -> Tensor:
        """w − η Σ n_k/n ∇F_k(w), the examples b being those of clients of n_k each, one's after another's."""
        here = self.data.x.device
        chosen, drawn = torch.from_numpy(b).to(here), torch.from_numpy(draws).to(here)
        share = self.shares(torch.from_numpy(n_k).to(here), self.data.y[chosen], w.dtype)
        _, rates = replicas_at_once(self.model, self.example, Epoch(1, 1), len(w))
        after, at_once = w.clone(), examples_at_once(self.model, self.example, rates)
        for part in slices(len(w), rates):
            pieces = [(chosen[some], drawn[some], share[some]) for some in slices(len(chosen), at_once)]
            step = partial(self.step_on, rounded(self.model.stacked(w[part]), self.dtype), lr[part])
            for moved in spread(step, pieces, self.workers):
                after[part].add_(moved)
        return after

    def shares(self, n_k: Tensor, y: Tensor, dtype: torch.dtype) -> Tensor:
        """The share in Σ n_k/n F_k of each class of y (examples, …), by clients of n_k examples in order."""
        each = n_k.to(dtype) / n_k.sum() / (n_k * self.data.positions)
        return (y >= 0) * along(each.repeat_interleave(n_k, output_size=len(y)), y)

    @torch.inference_mode()
    def step_on(self, weights: Weights, lr: Tensor, piece: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """−η times the gradient of those examples' shares of the loss: (R, parameters)."""
        chosen, draws, share = piece
        x, y = self.data.trained_on(chosen[None, None], draws)
        (batch,) = zip(*replicated(Batches(x, y, share[None, None]), lr), strict=True)
        into = [[torch.zeros_like(weight, dtype=share.dtype) for weight in mine] for mine in weights]
        descend(self.model, weights, into, *batch)
        return self.model.flat(into)

    @property
    def example(self) -> Tensor:
        """The first example, prepared: (1, …)."""
        return self.data[:1][0]

    def at_once(self, rates: int) -> tuple[int, int]:
        """How many clients, and how many of so many rates, step together; asked once, while a GPU's memory is free."""
        if rates not in self.fits:
            self.fits.clear()
            self.held.clear()
            longest, alike = self.partition.largest, self.partition.alike(self.B)
            epoch = Epoch(int(min(self.B, longest)), longest, alike)
            self.fits[rates] = replicas_at_once(self.model, self.example, epoch, rates)
        return self.fits[rates]

    def replicas(self, clients: int, part: slice, w: Tensor, lr: Tensor) -> Replicas:
        """The replicas of that many clients at those of the rates, all starting from w."""
        key = clients, part.start, part.stop
        if not w.is_cuda:  # a graph is worth keeping, an allocation is not
            return Replicas(self.model, w[part], lr[part], clients, self.dtype)
        if key not in self.held:
            pool = next((other.pool for other in self.held.values()), None) or torch.cuda.graph_pool_handle()
            self.held[key] = Replicas(self.model, w[part], lr[part], clients, self.dtype, pool)
        self.held[key].restart(w[part], lr[part])
        return self.held[key]


def with_examples(table: np.ndarray) -> list[int]:
    """Of each step of the table (steps, clients, B), how many clients there are up to the last that has examples."""
    there = table[:, ::-1, 0] != NOBODY
    return (there.shape[1] - there.argmax(1)).tolist()


def along(examples: Tensor, y: Tensor) -> Tensor:
    """What each example has, for each of its classes in y: with as many axes as y."""
    return examples.view(*examples.shape, *[1] * (y.dim() - examples.dim()))
