"""How a model's weights start; the paper is silent."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from fedgrid.engine.layers import MNIST_START
from fedgrid.engine.model import Layered, Model


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


MODULE = "module"  # as an nn.Module draws its own


def inits(model: Model) -> tuple[str, ...]:
    """How the model's weights may start."""
    return tuple(INITS) if model.fused else (MODULE,)


def initial_weights(model: Model, init: str, rng: np.random.Generator) -> Tensor:
    """w_0: float64 (parameters,), drawn layer by layer in the way that INITS names, or by the module itself."""
    if init not in inits(model):
        raise ValueError(f"init is {init}; for {model} it must be {' or '.join(inits(model))}")
    if (itself := model.drawn(rng)) is not None:
        return itself
    assert isinstance(model, Layered)
    drawn: list[np.ndarray] = []
    for layer in model.layers:
        own = getattr(layer, "tutorial", MNIST_START) if init == "tutorial" else MNIST_START
        for shape, fans in zip(layer.shapes, layer.fans, strict=True):
            if fans and own.deviation:
                drawn.append(truncated_normal(shape, rng) * own.deviation)
            elif fans:
                inputs = fans
                drawn.append(INITS[init](fans, shape, rng))
            else:
                drawn.append(INITS[init](inputs, shape, rng) if init == "torch" else np.full(shape, own.bias))
    return torch.from_numpy(np.concatenate([values.ravel() for values in drawn]))
