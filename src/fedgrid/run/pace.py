"""Measures how fast this machine trains a cell: examples per second, from one second of its work on random data."""

import os
import time
from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np
import torch

from fedgrid.algorithms.batches import Stream
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.model import Model
from fedgrid.engine.precision import PRECISIONS
from fedgrid.engine.states import States
from fedgrid.grid.cells import Cell, Race
from fedgrid.grid.plan import training_examples
from fedgrid.partitions import Partition
from fedgrid.rng import stream
from fedgrid.run.job import device
from fedgrid.tasks.initial import initial_weights, inits

SECONDS = 0.5


class Work(NamedTuple):
    """What a cell's pace depends on: cells that are equal in it have one pace."""

    model: Model
    precision: str
    B: float
    rates: int
    clients: int  # trained together
    n_k: int  # examples of each
    here: torch.device


def work(cell: Cell, train: int, here: torch.device) -> Work:
    """The work of an epoch of clients with `train` / K examples each; of SGD, of a batch.

    On a CPU, whose clients take turns, it is one client's; on a GPU, which trains them together, a cohort's.
    """
    clients, n_k = cell.algorithm.work(cell, train) if isinstance(cell, Race) else (1, train / cell.K)
    together = clients if here.type == "cuda" else 1
    return Work(cell.model, cell.precision, cell.B, len(cell.lr), together, max(int(n_k), 1), here)


def computers() -> tuple[int, str]:
    """How many cells are trained at once here, and on what: each has a GPU of its own or, without any, a core."""
    return (torch.cuda.device_count(), "GPU") if torch.cuda.is_available() else (os.cpu_count() or 1, "core")


def pace(cell: Cell) -> float:
    """Examples per second of the cell's work, over all rates, on one thread of a CPU or on the GPU that is there."""
    return measured(work(cell, training_examples(cell.dataset), device(cell)))


@cache
def measured(work: Work) -> float:
    """Examples per second of that work, over all rates."""
    torch.set_num_threads(1)
    dtype, _ = PRECISIONS[work.precision]
    rng = stream(0, "calibrate")
    n = work.clients * work.n_k
    everyone = Partition(np.arange(n), np.arange(work.clients + 1) * work.n_k)
    draw: Stream = lambda *keys: stream(0, *keys)  # noqa: E731
    data = examples(work.model, n, rng, work.here, dtype)
    federation = Federation(work.model, data, everyone, 1, 1, work.B, draw, dtype=dtype)
    w = initial_weights(work.model, inits(work.model)[0], rng).float().repeat(work.rates, 1).to(work.here)
    lr = torch.full((work.rates,), 0.01, device=work.here)

    def a_round(t: int) -> None:
        federation.round(t, w, lr, States())[0].sum().item()  # which a GPU must have finished for

    a_round(1)  # the first is slow
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        rounds += 1
        a_round(rounds)
    return rounds * n * work.rates / (time.perf_counter() - began)


def examples(
    model: Model, n: int, rng: np.random.Generator, device: torch.device, dtype: torch.dtype = torch.float32
) -> Examples:
    """Random examples such as the model learns from."""
    if model.unroll > 1:
        words = torch.from_numpy(rng.integers(model.classes, size=(2, n, model.unroll))).to(device)
        return Examples(words[0], words[1], Inputs(lambda x: x))
    x = torch.from_numpy(rng.integers(256, size=(n, prod(model.inputs)), dtype=np.uint8)).to(device)
    y = torch.from_numpy(rng.integers(model.classes, size=n)).to(device)
    return Examples(x, y, Inputs(lambda x: x.to(dtype).div_(255)))
