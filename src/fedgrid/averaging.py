"""Figure 1: the loss of θw + (1 − θ)w′, the average of two models trained on different data.

Section 2: two 2NNs, each trained for 240 updates of B = 50 at η = 0.1 on its own IID sample of 600 MNIST examples, from
different initial weights or from the same; the loss is over the whole training set. It trains by the specification.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedgrid import fedavg
from fedgrid.cells import Averaging
from fedgrid.datasets import Dataset
from fedgrid.engine.federation import evaluate
from fedgrid.models import initial_weights
from fedgrid.partition import Partition
from fedgrid.race import DTYPE
from fedgrid.streams import stream
from fedgrid.tasks import SCALINGS, TASKS

CHUNK = 10  # averages evaluated together; bounds memory


def parents(cell: Averaging, data: Dataset, partition: Partition) -> tuple[Tensor, Tensor]:
    """Initial and final weights of clients 0 and 1: two tensors (2, parameters)."""
    model = TASKS[cell.task].model
    x, y = SCALINGS[cell.scaling](data, DTYPE)(torch.from_numpy(data.train_x)), torch.from_numpy(data.train_y)
    draw = partial(stream, cell.seed)
    starts = [draw("init") if cell.shared_start or k == 0 else draw("init", k) for k in (0, 1)]
    initial = torch.stack([initial_weights(model, cell.init, rng).to(DTYPE) for rng in starts])
    final = [
        fedavg.client_update(
            initial[k],
            partition[k],
            lambda w, b: model.loss(w, x[b], y[b]),
            cell.E,
            cell.B,
            cell.lr[0],
            draw("client", 1, k),
            cell.shuffle,
        )
        for k in (0, 1)
    ]
    return initial, torch.stack(final)


def averages(cell: Averaging, data: Dataset, w: Tensor) -> dict[str, Any]:
    """θ and the training loss of each θw + (1 − θ)w′, with the losses of the two parents, θ = 1 and θ = 0."""
    model = TASKS[cell.task].model
    scale = SCALINGS[cell.scaling](data, DTYPE)
    x, y = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    theta = np.linspace(*cell.span, cell.points)
    mixtures = torch.stack([t * w[0] + (1 - t) * w[1] for t in (*theta, 1.0, 0.0)])
    with torch.inference_mode():
        losses = [loss for part in mixtures.split(CHUNK) for loss in evaluate(model, part, x, y, scale)[1]]
    return {"theta": theta.tolist(), "train_loss": losses[:-2], "parents": losses[-2:]}


def result(curves: dict[str, Any]) -> dict[str, Any]:
    """The figure's numbers: the parents' losses, and the least and greatest loss between them."""
    between = [(loss, t) for t, loss in zip(curves["theta"], curves["train_loss"], strict=True) if 0 <= t <= 1]
    low, high = min(between), max(between)
    return {
        "parents": curves["parents"],
        "least": {"loss": low[0], "theta": low[1]},
        "greatest": {"loss": high[0], "theta": high[1]},
    }
