"""The paper's models, each written once as a tuple of layers and checked by its parameter count.

A model's weights are one flat vector, as the paper's w is: (parameters,) or, for R replicas, (R, parameters).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import prod, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedgrid.engine.convolutional import Conv2d, LocalResponse, MaxPool
from fedgrid.engine.layers import Layer, Linear, Relu, Start, View
from fedgrid.engine.recurrent import Embedding, Lstm


@dataclass(frozen=True)
class Model:
    """A classifier of images, or of each position of a text of `unroll` characters or words: from inputs to logits."""

    layers: tuple[Layer, ...]
    unroll: int = 1

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return sum(prod(shape) for layer in self.layers for shape in layer.shapes)

    @cached_property
    def first(self) -> int:
        """The place of the first layer with weights: no derivative is wanted below it."""
        return next(place for place, layer in enumerate(self.layers) if layer.shapes)

    @property
    def flops(self) -> int:
        """Floating-point operations to train on one example: forward, and twice that backward but for the data."""
        return self.unroll * (3 * sum(layer.flops for layer in self.layers) - self.layers[self.first].flops)

    @property
    def forward_flops(self) -> int:
        """Floating-point operations to evaluate one example."""
        return self.unroll * sum(layer.flops for layer in self.layers)

    def weights(self, w: Tensor) -> list[list[Tensor]]:
        """Each layer's weights as views of the flat w: (…, parameters) gives (…, *shape)."""
        shapes = [shape for layer in self.layers for shape in layer.shapes]
        flat = iter(w.split([prod(shape) for shape in shapes], -1))
        return [[next(flat).unflatten(-1, shape) for shape in layer.shapes] for layer in self.layers]

    def stacked(self, w: Tensor) -> list[list[Tensor]]:
        """Copies of each layer's weights, (R, *shape), each a tensor of its own, as batched products want matrices."""
        return [[weight.clone(memory_format=torch.contiguous_format) for weight in mine] for mine in self.weights(w)]

    def flat(self, weights: list[list[Tensor]]) -> Tensor:
        """The flat w (R, parameters) of what `stacked` gave."""
        return torch.cat([weight.flatten(1) for mine in weights for weight in mine], 1)

    def forward(self, weights: list[list[Tensor]], x: Tensor) -> tuple[Tensor, list[Any]]:
        """Logits (R, batch, …, classes) of inputs x (R, batch, …), and what each layer's backward pass will need."""
        kept = []
        for layer, mine in zip(self.layers, weights, strict=True):
            x, needed = layer.forward(mine, x)
            kept.append(needed)
        return x, kept

    def descend(self, weights: list[list[Tensor]], into: list[list[Tensor]], kept: list[Any], delta: Tensor) -> None:
        """Subtracts the gradient from `into`, given the loss's derivative by the logits, times the learning rate."""
        for depth in reversed(range(self.first, len(self.layers))):
            first = depth == self.first
            delta = self.layers[depth].descend(weights[depth], into[depth], kept[depth], delta, first)

    def penalties(self, weights: list[list[Tensor]], lr: Tensor) -> list[tuple[int, Tensor]]:
        """η·λ·W of each layer that has an L2 penalty λ/2·‖W‖², and its place: what a step subtracts as well.

        weights: R of each; lr: (R,), η of each replica.
        """
        rates = lr.view(-1, 1, 1)
        return [
            (place, rates * layer.penalty * weights[place][0])
            for place, layer in enumerate(self.layers)
            if isinstance(layer, Linear) and layer.penalty
        ]

    def variant(self, lrn: bool, l2: bool) -> "Model":
        """The model, or the one without its local response normalisation, or without its L2 penalty."""
        layers = [layer for layer in self.layers if lrn or not isinstance(layer, LocalResponse)]
        if not l2:
            layers = [replace(layer, penalty=0.0) if isinstance(layer, Linear) else layer for layer in layers]
        return replace(self, layers=tuple(layers))


def dense(*widths: int) -> Model:
    """Fully connected layers of those widths with ReLU between them."""
    layers: list[Layer] = []
    for inputs, outputs in pairwise(widths):
        layers += [Linear(inputs, outputs), Relu()]
    return Model(tuple(layers[:-1]))


def convolutional(size: int, classes: int, *channels: int, hidden: int, window: int = 5) -> Model:
    """Convolutions of those channels on square grey images, each halved by max pooling; a hidden layer; the classes.

    ReLU stands after pooling, where it is the same function of a quarter of the numbers.
    """
    layers: list[Layer] = [View((size, size, 1))]
    for inputs, outputs in pairwise((1, *channels)):
        layers += [Conv2d(size, inputs, outputs, window), MaxPool(), Relu()]
        size = -(-size // 2)
    flat = size * size * channels[-1]
    return Model((*layers, View((flat,)), Linear(flat, hidden), Relu(), Linear(hidden, classes)))


def tutorial_cifar() -> Model:
    """The CNN of TensorFlow's CIFAR-10 tutorial (2016), with its initial values and L2 penalty."""
    size, channels, widths, classes = 24, 64, (384, 192), 10
    flat = (size // 4) ** 2 * channels
    first, second = Start(0.05, 0.0), Start(0.05, 0.1)
    return Model(
        (
            *(View((size, size, 3)), Conv2d(size, 3, channels, tutorial=first), MaxPool(3, 2), Relu(), LocalResponse()),
            *(Conv2d(size // 2, channels, channels, tutorial=second), Relu(), LocalResponse(), MaxPool(3, 2)),
            *(View((flat,)), Linear(flat, widths[0], Start(0.04, 0.1), penalty=0.004), Relu()),
            *(Linear(*widths, Start(0.04, 0.1), penalty=0.004), Relu()),
            Linear(widths[1], classes, Start(1 / widths[1], 0.0)),
        )
    )


def recurrent(vocabulary: int, width: int, units: int, depth: int, unroll: int, peephole: bool = True) -> Model:
    """An embedding, `depth` layers of LSTM and a softmax over the vocabulary at each position."""
    memories = [Lstm(inputs, units, peephole) for inputs in (width, *[units] * (depth - 1))]
    return Model((Embedding(vocabulary, width), *memories, Linear(units, vocabulary)), unroll)


def truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Standard normal draws, those beyond two standard deviations drawn again."""
    draws = rng.standard_normal(shape)
    while (far := np.abs(draws) > 2).any():
        draws[far] = rng.standard_normal(far.sum())
    return draws


# How a weight of those inputs and outputs starts; the paper is silent.
INITS: dict[str, Callable[[tuple[int, int], tuple[int, ...], np.random.Generator], np.ndarray]] = {
    # Glorot & Bengio 2010, uniform: the default of TensorFlow from 1.0 on
    "glorot": lambda fans, shape, rng: rng.uniform(-1, 1, shape) * sqrt(6 / sum(fans)),
    # He et al. 2015, normal
    "he": lambda fans, shape, rng: rng.standard_normal(shape) * sqrt(2 / fans[0]),
    # the tutorials that came with TensorFlow in 2016: truncated normal of the layer's own deviation, or 1/√inputs
    "tutorial": lambda fans, shape, rng: truncated_normal(shape, rng) / sqrt(fans[0]),
    # PyTorch's nn.Linear: uniform in ±1/√inputs, biases alike
    "torch": lambda fans, shape, rng: rng.uniform(-1, 1, shape) / sqrt(fans[0]),
}


def initial_weights(model: Model, init: str, rng: np.random.Generator) -> Tensor:
    """w_0: float64 (parameters,), drawn layer by layer in the way that INITS names."""
    drawn: list[np.ndarray] = []
    for layer in model.layers:
        own = layer.tutorial if init == "tutorial" and isinstance(layer, Conv2d | Linear) else Start()
        for shape, fans in zip(layer.shapes, layer.fans, strict=True):
            if fans and own.deviation:
                drawn.append(truncated_normal(shape, rng) * own.deviation)
            elif fans:
                inputs = fans
                drawn.append(INITS[init](fans, shape, rng))
            else:
                drawn.append(INITS[init](inputs, shape, rng) if init == "torch" else np.full(shape, own.bias))
    return torch.from_numpy(np.concatenate([values.ravel() for values in drawn]))


# MNIST 2NN (section 3): 199,210 parameters.
MNIST_2NN = dense(784, 200, 200, 10)
# MNIST CNN (section 3): 1,663,370 parameters, a count that needs SAME padding.
MNIST_CNN = convolutional(28, 10, 32, 64, hidden=512)
# CIFAR-10's CNN (section 3): about 10⁶ parameters in the paper, 1,068,298 in the tutorial.
CIFAR_CNN = tutorial_cifar()
# Shakespeare's character LSTM (section 3): 866,578 parameters, which need peepholes and a vocabulary of 258.
CHAR_LSTM = recurrent(vocabulary=258, width=8, units=256, depth=2, unroll=80)
# The word LSTM (section 3): 4,950,544 parameters.
WORD_LSTM = recurrent(vocabulary=10_000, width=192, units=256, depth=1, unroll=10)
# The 2NN's small sister for scikit-learn's 8×8 digits: 55,210 parameters.
DIGITS_2NN = dense(64, 200, 200, 10)
