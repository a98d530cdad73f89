"""Figure 1: the loss of θw + (1 − θ)w′, the average of two models trained on different data.

Section 2: two 2NNs, each trained for 240 updates of B = 50 at η = 0.1 on its own IID sample of 600 MNIST examples, from
different initial weights or from the same; the loss is over the whole training set.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.examples import Examples
from fedgrid.engine.federation import Federation
from fedgrid.engine.precision import PRECISIONS
from fedgrid.engine.states import States
from fedgrid.grid.cells import Interpolation
from fedgrid.partitions.partition import Partition
from fedgrid.rng import stream
from fedgrid.run.race import CPU, WEIGHTS
from fedgrid.tasks import TASKS
from fedgrid.tasks.datasets import Dataset
from fedgrid.tasks.initial import initial_weights

CHUNK = 10  # averages evaluated together; bounds memory


def training(cell: Interpolation, data: Dataset, device: torch.device) -> Examples:
    """The training set on the device."""
    dtype, _ = PRECISIONS[cell.precision]
    x, y = (torch.from_numpy(array).to(device) for array in (data.train_x, data.train_y))
    return Examples(x, y, TASKS[cell.task].inputs(data, cell.scaling, dtype))


def parents(
    cell: Interpolation, data: Dataset, partition: Partition, device: torch.device = CPU
) -> tuple[Tensor, Tensor]:
    """Initial and final weights of clients 0 and 1: two tensors (2, parameters)."""
    model, draw, (dtype, _) = cell.model, partial(stream, cell.seed), PRECISIONS[cell.precision]
    federation = Federation(
        model, training(cell, data, device), partition, 1, cell.E, cell.B, draw, shuffle=cell.shuffle, dtype=dtype
    )
    starts = [draw("init") if cell.shared_start or k == 0 else draw("init", k) for k in (0, 1)]
    initial = torch.stack([initial_weights(model, cell.init, rng).to(WEIGHTS) for rng in starts]).to(device)
    lr = torch.tensor(cell.lr, dtype=WEIGHTS, device=device)
    final = [federation.client_updates(1, np.array([k]), initial[k : k + 1], lr, States()).w[0] for k in (0, 1)]
    return initial, torch.cat(final)


def mixing_weights(cell: Interpolation) -> list[float]:
    """θ, evenly over the cell's span."""
    return np.linspace(*cell.span, cell.points).tolist()


def averages(cell: Interpolation, data: Dataset, w: Tensor, theta: list[float], workers: int = 1) -> dict[str, Any]:
    """The training loss of each θw + (1 − θ)w′, beside θ, with the losses of the two parents, θ = 1 and θ = 0."""
    model, examples, (dtype, _) = cell.model, training(cell, data, w.device), PRECISIONS[cell.precision]
    mixtures = torch.stack([t * w[0] + (1 - t) * w[1] for t in (*theta, 1.0, 0.0)])
    losses = [loss for part in mixtures.split(CHUNK) for loss in evaluate(model, part, examples, dtype, workers)[1]]
    return {"theta": theta, "train_loss": losses[:-2], "parents": losses[-2:]}


def result(curves: dict[str, Any]) -> dict[str, Any]:
    """The figure's numbers: the parents' losses, and the least and greatest loss between them."""
    between = [(loss, t) for t, loss in zip(curves["theta"], curves["train_loss"], strict=True) if 0 <= t <= 1]
    low, high = min(between), max(between)
    return {
        "parents": curves["parents"],
        "least": {"loss": low[0], "theta": low[1]},
        "greatest": {"loss": high[0], "theta": high[1]},
    }
