"""How fast this machine trains: examples per second of a cell's work, from a second of it on random data."""

import time
from math import prod

import numpy as np
import torch

from fedgrid import fedavg
from fedgrid.cells import Cell, Race
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.layers import Linear, View
from fedgrid.engine.recurrent import Embedding
from fedgrid.job import device
from fedgrid.models import Model, initial_weights
from fedgrid.partition import Partition
from fedgrid.streams import stream
from fedgrid.tasks import PRECISIONS

SECONDS = 0.5


def pace(cell: Cell, train: int) -> float:
    """Examples per second, over all rates, of an epoch of clients with `train` / K examples each; of SGD, of a batch.

    On a CPU, whose clients take turns, one client and one thread; on a GPU, which trains them together, a cohort.
    """
    torch.set_num_threads(1)
    here, (dtype, _) = device(cell), PRECISIONS[cell.precision]
    model, n_k, rng = cell.model, max(train // cell.K, 1), stream(0, "calibrate")
    clients = 1
    if isinstance(cell, Race) and cell.algorithm == "sgd":
        n_k = min(int(cell.B), train)
    if here.type == "cuda" and isinstance(cell, Race):
        clients = fedavg.cohort_size(cell.K, cell.C, cell.rounding)
    data = examples(model, clients * n_k, rng, here, dtype)
    everyone = Partition(np.arange(clients * n_k), np.arange(clients + 1) * n_k)
    draw: fedavg.Stream = lambda *keys: stream(0, *keys)  # noqa: E731
    federation = Federation(model, data, everyone, 1, 1, cell.B, draw, dtype=dtype)
    w = initial_weights(model, "glorot", rng).float().repeat(len(cell.lr), 1).to(here)
    lr = torch.full((len(cell.lr),), 0.01, device=here)

    def a_round(t: int) -> None:
        federation.round(t, w, lr)[0].sum().item()  # which a GPU must have finished for

    a_round(1)  # the first is slow
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        rounds += 1
        a_round(rounds)
    return rounds * clients * n_k * len(cell.lr) / (time.perf_counter() - began)


def examples(
    model: Model, n: int, rng: np.random.Generator, device: torch.device, dtype: torch.dtype = torch.float32
) -> Examples:
    """Random examples such as the model learns from."""
    first, last = model.layers[0], model.layers[-1]
    assert isinstance(last, Linear)
    if isinstance(first, Embedding):
        words = torch.from_numpy(rng.integers(first.vocabulary, size=(2, n, model.unroll))).to(device)
        return Examples(words[0], words[1], Inputs(lambda x: x))
    assert isinstance(first, Linear | View)
    pixels = first.inputs if isinstance(first, Linear) else prod(first.shape)
    x = torch.from_numpy(rng.integers(256, size=(n, pixels), dtype=np.uint8)).to(device)
    y = torch.from_numpy(rng.integers(last.outputs, size=n)).to(device)
    return Examples(x, y, Inputs(lambda x: x.to(dtype).div_(255)))
