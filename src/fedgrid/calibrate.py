"""How fast this machine trains: examples per second of a cell's work, from a second of it on random data."""

import time

import numpy as np
import torch

from fedgrid.cells import Cell
from fedgrid.engine.federation import Federation
from fedgrid.job import THREADS
from fedgrid.models import initial_weights
from fedgrid.partition import Partition
from fedgrid.race import DTYPE
from fedgrid.streams import stream
from fedgrid.tasks import TASKS

SECONDS = 0.5


def pace(cell: Cell, train: int) -> float:
    """Examples per second, over all rates, of one client's local epochs with `train` / K examples."""
    torch.set_num_threads(THREADS)
    model, n_k = TASKS[cell.task].model, max(train // cell.K, 1)
    features, classes = model.layers[0].shapes[0][0], model.layers[-1].shapes[0][-1]
    rng = stream(0, "calibrate")
    x = torch.from_numpy(rng.integers(0, 256, (n_k, features), np.uint8))
    y = torch.from_numpy(rng.integers(0, classes, n_k))
    everyone = Partition(np.arange(n_k), np.array([0, n_k]))
    federation = Federation(
        model, x, y, lambda x: x.to(DTYPE).div_(255), everyone, 0, 1, cell.B, lambda *keys: stream(0, *keys)
    )
    w = initial_weights(model, "glorot", rng).to(DTYPE).repeat(len(cell.lr), 1)
    lr = torch.full((len(cell.lr),), 0.01, dtype=DTYPE)
    with torch.inference_mode():
        federation.round(1, w, lr)  # the first is slow
        began, rounds = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            rounds += 1
            federation.round(rounds, w, lr)
    return rounds * n_k * len(cell.lr) / (time.perf_counter() - began)
