"""A cell → its curves: all its learning rates in lockstep through the same cohorts and the same batches.

The race ends when the envelope over the rates has crossed the last target, at the horizon, or when every rate has
diverged. A rate that cannot win leaves it before, where its cell says when (`prune`). A race is a function of the cell,
the data and the partition alone: no function here reads a file or a clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedgrid.algorithms.batches import DECAYS
from fedgrid.curves import SCHEDULES, Prune, best_rate, envelope, leaves, rounds_to_target
from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.examples import Examples
from fedgrid.engine.federation import Federation
from fedgrid.engine.precision import PRECISIONS
from fedgrid.engine.rows import Rows
from fedgrid.engine.states import States
from fedgrid.grid.cells import Race
from fedgrid.partitions.partition import Partition
from fedgrid.rng import stream
from fedgrid.run.provenance import weights_digests
from fedgrid.tasks import TASKS
from fedgrid.tasks.datasets import Dataset
from fedgrid.tasks.initial import initial_weights

WEIGHTS = torch.float32  # the precision of weights and of sums over them
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Rate:
    """What one learning rate has shown so far, one value per evaluated round."""

    lr: float
    test_accuracy: tuple[float, ...] = ()
    test_loss: tuple[float, ...] = ()
    train_loss: tuple[float, ...] = ()
    weights: tuple[str, ...] = ()  # their digests: whoever trains again can prove each round by itself
    diverged: int | None = None  # the round after which its weights were not finite
    pruned: int | None = None  # the round after whose evaluation it left the race


@dataclass(frozen=True)
class Lap:
    """The race after round t.

    w: (running, parameters), the weights of the rates still running, in the order of `rates`; states: what their
    algorithm keeps beside them.
    """

    t: int
    w: Tensor
    rates: tuple[Rate, ...]
    states: States = field(default_factory=States)
    rounds: tuple[int, ...] = ()  # the evaluated ones
    examples: int = 0  # trained on so far, over all rates
    running: tuple[int, ...] = field(default=())  # places in `rates`


def start(cell: Race, kept: Path | None = None) -> Lap:
    """Round 0: every rate at the same initial weights. kept: where the file of what clients keep is to lie, if any."""
    w = initial_weights(cell.model, cell.init, stream(cell.seed, "init")).to(WEIGHTS)
    rates = tuple(Rate(lr) for lr in cell.lr)
    w = w.repeat(len(rates), 1)
    states = States(cell.algorithm.server_state(w), Rows(kept))
    return Lap(0, w, rates, states, running=tuple(range(len(rates))))


def laps(
    cell: Race, data: Dataset, partition: Partition, lap: Lap, device: torch.device = CPU, workers: int = 1
) -> Iterator[Lap]:
    """The race after each further round, until it is over; on a CPU by that many threads, on which nothing depends."""
    dtype, _ = PRECISIONS[cell.precision]
    inputs = TASKS[cell.task].inputs(data, cell.scaling, dtype)
    train, test = (
        Examples(torch.from_numpy(x).to(device), torch.from_numpy(y).to(device), inputs)
        for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y))
    )
    federation = Federation(
        cell.model,
        train,
        partition,
        cell.C,
        cell.E,
        cell.B,
        partial(stream, cell.seed),
        cell.rounding,
        cell.shuffle,
        dtype,
        workers,
        cell.algorithm,
        cell.message,
    )
    lap = replace(lap, w=lap.w.to(device), states=lap.states.to(device))
    while not ended(cell, lap):
        decayed = cell.decay ** DECAYS[cell.decay_per](lap.t + 1, federation.share)
        lap = drop_diverged(one_round(federation, lap, decayed))
        if SCHEDULES[cell.evaluate](lap.t) and lap.running:
            seen = evaluate(cell.model, lap.w, test, dtype, workers)
            train_loss = evaluate(cell.model, lap.w, train, dtype, workers)[1] if cell.train_loss else None
            lap = observe(lap, *seen, train_loss)
            lap = drop_pruned(cell.prune, lap) if cell.prune else lap
        yield lap


def one_round(federation: Federation, lap: Lap, decayed: float) -> Lap:
    """The race one round on, at its learning rates times `decayed`, not yet judged."""
    lr = torch.tensor([lap.rates[i].lr * decayed for i in lap.running], dtype=lap.w.dtype, device=lap.w.device)
    w, states, examples = federation.round(lap.t + 1, lap.w, lr, lap.states)
    return replace(lap, t=lap.t + 1, w=w, states=states, examples=lap.examples + examples * len(lr))


def drop_diverged(lap: Lap) -> Lap:
    """The race without the rates whose weights are no longer finite."""
    return without(lap, torch.isfinite(lap.w).all(1).tolist(), "diverged")


def drop_pruned(rule: Prune, lap: Lap) -> Lap:
    """The race, just evaluated, without the rates that the rule ends."""
    ends = leaves(rule, [rate.test_accuracy for rate in lap.rates])
    return without(lap, [ends[i] is None for i in lap.running], "pruned")


def without(lap: Lap, stay: list[bool], why: str) -> Lap:
    """The race with those of its running rates that stay; the others' curves remain, and say in which round and why."""
    if all(stay):
        return lap
    rates = list(lap.rates)
    stopped: dict[str, Any] = {why: lap.t}
    for i, stays in zip(lap.running, stay, strict=True):
        if not stays:
            rates[i] = replace(rates[i], **stopped)
    running = tuple(i for i, stays in zip(lap.running, stay, strict=True) if stays)
    some = torch.tensor(stay, device=lap.w.device)
    return replace(lap, w=lap.w[some], states=lap.states.of_rates(some), rates=tuple(rates), running=running)


def observe(lap: Lap, accuracy: list[float], loss: list[float], train_loss: list[float] | None) -> Lap:
    """The race with one more point on the curve of each running rate."""
    rates, weights = list(lap.rates), weights_digests(lap.w)
    for place, i in enumerate(lap.running):
        rate = rates[i]
        rates[i] = replace(
            rate,
            test_accuracy=(*rate.test_accuracy, accuracy[place]),
            test_loss=(*rate.test_loss, loss[place]),
            train_loss=(*rate.train_loss, train_loss[place]) if train_loss else (),
            weights=(*rate.weights, weights[place]),
        )
    return replace(lap, rates=tuple(rates), rounds=(*lap.rounds, lap.t))


def ended(cell: Race, lap: Lap) -> str | None:
    """Why the race is over: "target", "diverged" or "horizon"; None while it is not."""
    best = envelope([rate.test_accuracy for rate in lap.rates])
    if cell.targets and len(best) and best[-1] >= cell.targets[-1]:
        return "target"
    if not lap.running:
        return "diverged"
    return "horizon" if lap.t >= cell.rounds else None


def result(cell: Race, lap: Lap) -> dict[str, Any]:
    """What the tables read: rounds to each target, the best rate and whether the grid ends there."""
    curves = [rate.test_accuracy for rate in lap.rates]
    best = envelope(curves)
    winner = best_rate(cell.lr, curves)
    return {
        "ended": ended(cell, lap),
        "rounds": lap.t,
        "rounds_to_target": {str(a): rounds_to_target(lap.rounds[: len(best)], best, a) for a in cell.targets},
        "best_accuracy": float(best[-1]) if len(best) else None,
        "best_lr": winner,
        "best_lr_at_grid_end": winner in (cell.lr[0], cell.lr[-1]),
    }
