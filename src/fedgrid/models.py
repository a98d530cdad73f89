"""The paper's models, each written once as a tuple of layers and checked by its parameter count.

A model's weights are one flat vector, as the paper's w is: (parameters,) or, for R replicas, (R, parameters).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedgrid.engine.layers import Layer, Linear, Relu


@dataclass(frozen=True)
class Model:
    """A feed-forward classifier: its layers, from inputs to logits."""

    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return sum(prod(shape) for layer in self.layers for shape in layer.shapes)

    @property
    def flops(self) -> int:
        """Floating-point operations to train on one example: forward, and twice that backward but for the data."""
        return 3 * sum(layer.flops for layer in self.layers) - self.layers[0].flops

    def weights(self, w: Tensor) -> list[list[Tensor]]:
        """Each layer's weights as views of the flat w: (…, parameters) gives (…, *shape)."""
        shapes = [shape for layer in self.layers for shape in layer.shapes]
        flat = iter(w.split([prod(shape) for shape in shapes], -1))
        return [[next(flat).unflatten(-1, shape) for shape in layer.shapes] for layer in self.layers]

    def logits(self, w: Tensor, x: Tensor) -> Tensor:
        """(…, batch, classes) of the inputs x (…, batch, features), differentiable in w."""
        for layer, weights in zip(self.layers, self.weights(w), strict=True):
            x = layer.forward(weights, x)
        return x

    def loss(self, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """ℓ(w; b): the mean cross-entropy of one set of weights over the examples (x, y)."""
        return cross_entropy(self.logits(w, x), y)


def dense(*widths: int) -> Model:
    """Fully connected layers of those widths with ReLU between them."""
    layers: list[Layer] = []
    for inputs, outputs in pairwise(widths):
        layers += [Linear(inputs, outputs), Relu()]
    return Model(tuple(layers[:-1]))


def truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Standard normal draws, those beyond two standard deviations drawn again."""
    draws = rng.standard_normal(shape)
    while (far := np.abs(draws) > 2).any():
        draws[far] = rng.standard_normal(far.sum())
    return draws


# How a weight matrix (inputs, outputs) starts; the paper is silent. Biases start at zero, but for "torch".
INITS: dict[str, Callable[[tuple[int, int], np.random.Generator], np.ndarray]] = {
    # Glorot & Bengio 2010, uniform: TensorFlow's default
    "glorot": lambda s, rng: rng.uniform(-1, 1, s) * sqrt(6 / sum(s)),
    # He et al. 2015, normal
    "he": lambda s, rng: rng.standard_normal(s) * sqrt(2 / s[0]),
    # the MNIST tutorial that came with TensorFlow in 2016: truncated normal of 1/√inputs
    "tutorial": lambda s, rng: truncated_normal(s, rng) / sqrt(s[0]),
    # PyTorch's nn.Linear: uniform in ±1/√inputs, biases alike
    "torch": lambda s, rng: rng.uniform(-1, 1, s) / sqrt(s[0]),
}


def initial_weights(model: Model, init: str, rng: np.random.Generator) -> Tensor:
    """w_0: float64 (parameters,), drawn layer by layer in the way that INITS names."""
    drawn: list[np.ndarray] = []
    for layer in model.layers:
        for shape in layer.shapes:
            if shape[0] > 1:
                matrix = shape[0], shape[-1]
                drawn.append(INITS[init](matrix, rng))
            else:
                drawn.append(rng.uniform(-1, 1, shape) / sqrt(matrix[0]) if init == "torch" else np.zeros(shape))
    return torch.from_numpy(np.concatenate([values.ravel() for values in drawn]))


# MNIST 2NN (section 3): 199,210 parameters.
MNIST_2NN = dense(784, 200, 200, 10)
# Its small sister for scikit-learn's 8×8 digits: 55,210 parameters.
DIGITS_2NN = dense(64, 200, 200, 10)
