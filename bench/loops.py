"""Plain PyTorch, as one would write it: torch.nn, autograd and torch.optim.SGD, client after client, at one rate."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.peers.networks import Recurrent, cnn
from fedgrid.engine.examples import Examples
from fedgrid.engine.functional import Module
from fedgrid.engine.model import Layered, Model
from fedgrid.tasks.models import MNIST_2NN, MNIST_CNN


def network(model: Model) -> nn.Module:
    """torch.nn's network of that kind and size."""
    if isinstance(model, Module):
        return model.make()
    assert isinstance(model, Layered)
    first: Any = model.layers[0]
    if model.unroll > 1:
        memories = [layer for layer in model.layers if hasattr(layer, "units")]
        return Recurrent(first.vocabulary, first.width, memories[0].units, len(memories))
    if model == MNIST_CNN:
        return cnn()
    widths = [first.inputs, *(layer.outputs for layer in model.layers if hasattr(layer, "outputs"))]
    layers = [layer for inputs, outputs in pairwise(widths) for layer in (nn.Linear(inputs, outputs), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def two_nn() -> nn.Module:
    """The 2NN as torch.nn has it."""
    return network(MNIST_2NN)


MODULE_2NN = Module(two_nn, inputs=(784,), classes=10)


def train(net: nn.Module, clients: list[Tensor], data: Examples, B: int, lr: float) -> None:
    """A round of FedAvg with E = 1: each client from the same weights, then their average."""
    begun = [p.detach().clone() for p in net.parameters()]
    sums = [torch.zeros_like(p) for p in begun]
    optimizer = torch.optim.SGD(net.parameters(), lr)
    total = sum(map(len, clients))
    for mine in clients:
        with torch.no_grad():
            for p, start in zip(net.parameters(), begun, strict=True):
                p.copy_(start)
        for b in mine[torch.randperm(len(mine))].split(B):
            x, y = data[b]
            optimizer.zero_grad()
            cross_entropy(net(x).flatten(0, -2), y.flatten()).backward()
            optimizer.step()
        with torch.no_grad():
            for total_p, p in zip(sums, net.parameters(), strict=True):
                total_p.add_(p, alpha=len(mine) / total)
    with torch.no_grad():
        for p, average in zip(net.parameters(), sums, strict=True):
            p.copy_(average)
