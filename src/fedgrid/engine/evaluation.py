"""Accuracy and loss of the global model, at every learning rate of a cell together."""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedgrid.engine.examples import Examples
from fedgrid.engine.memory import examples_at_once, rates_at_once
from fedgrid.engine.model import Model
from fedgrid.engine.steps import Weights, length, rounded
from fedgrid.engine.workers import pieces, slices, spread


def evaluate(
    model: Model, w: Tensor, data: Examples, dtype: torch.dtype = torch.float32, workers: int = 1
) -> tuple[list[float], list[float]]:
    """Each rate's accuracy over the classes that are to be learnt, and mean loss of an example: two lists of R floats.

    dtype and workers are as in Federation.
    """
    example, _ = data[:1]
    rates = rates_at_once(model, example, len(w))
    at_once, correct, losses = examples_at_once(model, example, rates), [], []
    for part in slices(len(w), rates):
        judge = partial(judged, model, rounded(model.stacked(w[part]), dtype), w.dtype, data)
        right, loss = zip(*spread(judge, pieces(len(data.y), at_once, w.is_cuda), workers), strict=True)
        correct.append(torch.stack(right).sum(0))
        losses.append(torch.stack(loss).sum(0))
    counted = (data.y >= 0).sum().item()
    positions = len(data.y) * data.positions
    return [n / counted for n in torch.cat(correct).tolist()], [loss / positions for loss in torch.cat(losses).tolist()]


@torch.inference_mode()
def judged(model: Model, weights: Weights, dtype: torch.dtype, data: Examples, some: slice) -> tuple[Tensor, Tensor]:
    """How many classes of those examples each rate gets right, and the sum of their cross-entropies in dtype."""
    x, y = data[some]
    if y.dim() == 2:  # texts, without their padding
        steps = length(y >= 0)
        x, y = x[:, :steps], y[:, :steps]
    rates = len(next(weight for mine in weights for weight in mine))
    logits, _ = model.forward(weights, x.expand(rates, *x.shape))
    logits, classes = logits.flatten(1, -2), y.flatten()
    # −1, where nothing is to be learnt, is never the likeliest class, and is ignored in the loss
    right = (logits.argmax(-1) == classes).sum(-1)
    loss = cross_entropy(logits.flatten(0, 1).to(dtype), classes.repeat(rates), ignore_index=-1, reduction="none")
    return right, loss.view(rates, -1).sum(-1, dtype=torch.float64)
