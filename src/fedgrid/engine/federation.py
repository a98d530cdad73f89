"""A round of an algorithm at all learning rates of a cell together, equal to `algorithms.fedavg.rounds` rate by rate.

The data lie once on the device, as stored. A client's examples are gathered there once per epoch, by a table of
indices, and serve every rate; FedSGD, one step of every client from the same weights, is one step on the union of the
cohort's examples, and so is an update of plain SGD on its minibatch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedgrid.algorithms import FedAvg, Transformation
from fedgrid.algorithms.batches import Stream, epochs
from fedgrid.algorithms.cohorts import cohort
from fedgrid.algorithms.fedavg import State, Trained
from fedgrid.algorithms.messages import Sender, transformed
from fedgrid.engine import ranks
from fedgrid.engine.examples import Examples
from fedgrid.engine.memory import Epoch, examples_at_once, rates_at_once, replicas_at_once
from fedgrid.engine.model import Model
from fedgrid.engine.states import States
from fedgrid.engine.steps import Batches, Beside, Replicas, Weights, descend, replicated, rounded
from fedgrid.engine.workers import pieces, slices, spread
from fedgrid.partitions import Partition

NOBODY = -1  # in a table of indices: no example


class Updated(NamedTuple):
    """Clients after their local epochs: weights (clients, R, parameters), and how many steps each took.

    kept: what they kept from the last round in which they took part, (clients, R, parameters) each.
    """

    w: Tensor
    steps: np.ndarray
    kept: State


@dataclass(frozen=True)
class Federation:
    """The clients, their data and the settings of their algorithm; a round depends on no other.

    dtype: the precision of products; weights and sums are of w's own.
    workers: threads that share a CPU's work; no result depends on their number.
    """

    model: Model
    data: Examples
    partition: Partition
    C: float
    E: int
    B: float
    stream: Stream
    rounding: str = "nearest"
    shuffle: str = "every_epoch"
    dtype: torch.dtype = torch.float32
    workers: int = 1
    algorithm: FedAvg = FedAvg()  # noqa: RUF009  # frozen
    message: Sequence[Transformation] = ()
    fits: dict[int, tuple[int, int]] = field(default_factory=dict, repr=False)  # by the number of rates
    held: dict[tuple[int, ...], Replicas] = field(default_factory=dict, repr=False)  # on a GPU, with their graphs

    @property
    def K(self) -> int:
        """The number of clients."""
        return len(self.partition)

    @property
    def share(self) -> float:
        """The part of the data, or of the clients, that a round passes over."""
        return self.algorithm.share(self, len(self.partition.indices))

    @torch.inference_mode()
    def round(self, t: int, w: Tensor, lr: Tensor, states: States) -> tuple[Tensor, States, int]:
        """w_t from w_{t-1}, both (R, parameters), with lr (R,); the states; the examples each rate was trained on."""
        everyone = self.partition.indices
        if (b := self.algorithm.minibatch(len(everyone), self.B, t, self.stream)) is not None:
            draws = self.draws(len(b), t)
            return self.gradient_step(everyone[b], np.array([len(b)]), draws, w, lr), states, len(b)
        S_t = cohort(self.K, self.C, self.stream("cohort", t), self.rounding)
        n_k = self.partition.sizes(S_t)
        if self.steps_once(w, states):
            combined = {"w": self.fedsgd(t, S_t, w, lr)}
        else:
            combined = self.sum_of_messages(t, S_t, w, lr, states)
        w, server = self.algorithm.server_step(w, combined, states.server)
        return w, replace(states, server=server), int(n_k.sum()) * self.E

    def steps_once(self, w: Tensor, states: States) -> bool:
        """Whether the sum of the messages is the result of one step on the union of the cohort's examples.

        So it is where each client takes one step, to which the algorithm adds nothing at w_t, and sends its weights,
        of which the average is wanted.
        """
        one = self.E == 1 and math.isinf(self.B)
        if not (one and self.algorithm.averages_weights and not self.message):
            return False
        term = self.algorithm.client_term(w, w, {}, states.server)
        return term is None or not term.any()

    def sum_of_messages(self, t: int, S_t: np.ndarray, w: Tensor, lr: Tensor, states: States) -> dict[str, Tensor]:
        """Σ weight_k · message_k over the cohort, whose clients keep what they will.

        In FedAvg it is Σ n_k/m_t · w_k, each w_k after E epochs from w.
        """
        n_k = self.partition.sizes(S_t)
        weight = self.weights(t, S_t, n_k)
        by_size = np.argsort(-n_k, kind="stable")  # clients of one stack take about as many steps
        together = min(self.at_once(len(w))[0], -(-len(S_t) // (self.workers * ranks.size())))  # each thread has work
        groups = [S_t[by_size][i : i + together] for i in range(0, len(S_t), together)]
        combined: dict[str, Tensor] = {}
        first = self.algorithm.client_state(w)
        updates = spread(lambda group: self.client_updates(t, group, w, lr, states), groups, self.workers)
        for group, updated in zip(groups, updates, strict=True):
            keep: list[State] = []
            for i, (k, w_k, steps) in enumerate(zip(group.tolist(), updated.w, updated.steps.tolist(), strict=True)):
                before = {name: one[i] for name, one in updated.kept.items()}
                trained = Trained(w, w_k, steps, lr.view(-1, 1), before, states.server)
                keep.append(self.algorithm.kept(trained))
                sent = transformed(w, w_k, self.message, Sender(t, k, S_t, self.stream))
                for name, one in self.algorithm.message(trained._replace(w_k=sent)).items():
                    combined.setdefault(name, torch.zeros_like(one)).add_(one, alpha=weight[k])
            states.keep(group, keep, first, self.algorithm.title)
        return combined

    def weights(self, t: int, S_t: np.ndarray, n_k: np.ndarray) -> dict[int, float]:
        """The weight of each client's message in their sum; ValueError naming a client whose weight is none."""
        weights = dict(zip(S_t.tolist(), self.algorithm.shares(n_k).tolist(), strict=True))
        for k, weight in weights.items():
            if not 0 < weight < math.inf:
                raise ValueError(
                    f"round {t}: {self.algorithm.title} gives client {k} the weight {weight}; it must be above 0"
                )
        return weights

    @torch.inference_mode()
    def client_updates(self, t: int, clients: np.ndarray, w: Tensor, lr: Tensor, states: States) -> Updated:
        """ClientUpdate(k, w) of those clients together, at every rate: weights (clients, R, parameters)."""
        _, rates = self.at_once(len(w))
        kept = states.of_clients(clients, self.algorithm.client_state(w))
        parts = []
        for some in slices(len(w), rates):
            client, server = (
                {name: one[..., some, :] for name, one in state.items()} for state in (kept, states.server)
            )
            parts.append(self.replicas(len(clients), some, Beside(w[some], client, server), lr[some]))
        steps = np.zeros(len(clients), np.int64)
        for table, draws in self.orders(t, clients):
            batches, taking_part = self.batches(table, draws, w.dtype), with_examples(table)
            steps += (table[:, :, 0] != NOBODY).sum(0)
            for part in parts:
                part.epoch(batches, taking_part)
        flat = [self.model.flat(part.weights).unflatten(0, (len(clients), -1)) for part in parts]
        return Updated(torch.cat(flat, 1), steps, kept)

    def orders(self, t: int, clients: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each epoch's examples, step by step: indices (steps, clients, B), NOBODY where a client has none left.

        And what distorts them: draws (steps, clients, B, draws).
        """
        sizes = self.partition.sizes(clients)
        B = int(min(self.B, self.partition.largest if self.one_shape else sizes.max()))
        steps = -(-sizes.max() // B)
        each = [epochs(self.partition[k], self.E, self.stream("client", t, k), self.shuffle) for k in clients]
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
        share = (y >= 0).to(dtype) / along(examples * self.data.positions, y)
        return Batches(x, y, share, there.any(-1).to(dtype))

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
        rates = rates_at_once(self.model, self.example, len(w))
        after, at_once = w.clone(), examples_at_once(self.model, self.example, rates)
        for part in slices(len(w), rates):
            parts = [(chosen[some], drawn[some], share[some]) for some in pieces(len(chosen), at_once, w.is_cuda)]
            step = partial(self.step_on, rounded(self.model.stacked(w[part]), self.dtype), lr[part])
            for moved in spread(step, parts, self.workers):
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
        (batch,) = zip(*replicated(Batches(x, y, share[None, None], share.new_ones(1, 1)), lr), strict=True)
        into = [[torch.zeros_like(weight, dtype=share.dtype) for weight in mine] for mine in weights]
        descend(self.model, weights, into, *batch[:3])
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
            if self.one_shape:
                fit = replicas_at_once(self.model, self.example, epoch, rates)
            else:
                fit = 1, rates_at_once(self.model, self.example, rates)
            self.fits[rates] = ranks.told(fit)  # what one rank measured serves all
        return self.fits[rates]

    @cached_property
    def one_shape(self) -> bool:
        """Whether every client's steps have room for as many examples, so that any may step together.

        A GPU captures a step per shape: one serves every cohort. On a CPU a stack must not change what a client
        computes, and room for another, larger client's examples would: there, such clients step one after another, as
        do texts, whose lengths differ.
        """
        n_k = np.diff(self.partition.offsets)
        alike = self.model.unroll == 1 and n_k.min() >= min(self.B, n_k.max())
        return self.data.x.is_cuda or bool(alike)

    def replicas(self, clients: int, part: slice, beside: Beside, lr: Tensor) -> Replicas:
        """The replicas of that many clients at those of the rates, all starting from w_t."""
        make = partial(Replicas, self.model, self.algorithm, beside, lr, clients, self.dtype)
        if not lr.is_cuda:  # a graph is worth keeping, an allocation is not
            return make()
        key = clients, part.start, part.stop
        if key not in self.held:
            pool = next((other.pool for other in self.held.values()), None) or torch.cuda.graph_pool_handle()
            self.held[key] = make(pool)
        self.held[key].restart(beside, lr)
        return self.held[key]


def with_examples(table: np.ndarray) -> list[int]:
    """Of each step of the table (steps, clients, B), how many clients there are up to the last that has examples."""
    there = table[:, ::-1, 0] != NOBODY
    return (there.shape[1] - there.argmax(1)).tolist()


def along(examples: Tensor, y: Tensor) -> Tensor:
    """What each example has, for each of its classes in y: with as many axes as y."""
    return examples.view(*examples.shape, *[1] * (y.dim() - examples.dim()))
