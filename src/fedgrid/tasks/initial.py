"""How a model's weights start; the paper is silent."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from fedgrid.engine.layers import MNIST_START, Shape
from fedgrid.engine.model import Layered, Model


def truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Standard normal draws, those beyond two standard deviations drawn again."""
    draws = rng.standard_normal(shape)
    while (far := np.abs(draws) > 2).any():
        draws[far] = rng.standard_normal(far.sum())
    return draws


Fans = tuple[int, int]  # inputs and outputs of a weight


def glorot(fans: Fans, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Glorot & Bengio 2010, uniform: the default of TensorFlow from 1.0 on."""
    return rng.uniform(-1, 1, shape) * sqrt(6 / sum(fans))


def uniform2015(fans: Fans, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """TensorFlow's default before 1.0: uniform in ±√(3/inputs), of variance 1/inputs."""
    return rng.uniform(-1, 1, shape) * sqrt(3 / fans[0])


def he(fans: Fans, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """He et al. 2015, normal."""
    return rng.standard_normal(shape) * sqrt(2 / fans[0])


def tutorial(fans: Fans, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """TensorFlow's tutorials of 2016: a truncated normal of the layer's own deviation, or of 1/√inputs."""
    return truncated_normal(shape, rng) / sqrt(fans[0])


def tutorial2015(fans: Fans, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """TensorFlow's first tutorials (CNNs): a truncated normal of the layer's own deviation, or of 0.1."""
    return truncated_normal(shape, rng) * 0.1


def torch_linear(fans: Fans, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """PyTorch's nn.Linear: uniform in ±1/√inputs, biases alike."""
    return rng.uniform(-1, 1, shape) / sqrt(fans[0])


# How a weight starts; the paper is silent.
INITS: dict[str, Callable[[Fans, Shape, np.random.Generator], np.ndarray]] = {
    "glorot": glorot,
    "uniform2015": uniform2015,
    "he": he,
    "tutorial": tutorial,
    "tutorial2015": tutorial2015,
    "torch": torch_linear,
}
TUTORIALS = ("tutorial", "tutorial2015")  # layers hold their own starts under these names
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
        own = getattr(layer, init, MNIST_START) if init in TUTORIALS else MNIST_START
        for shape, fans in zip(layer.shapes, layer.fans, strict=True):
            if fans and own.deviation:
                drawn.append(truncated_normal(shape, rng) * own.deviation)
            elif fans:
                inputs = fans
                drawn.append(INITS[init](fans, shape, rng))
            else:
                drawn.append(INITS[init](inputs, shape, rng) if init == "torch" else np.full(shape, own.bias))
    return torch.from_numpy(np.concatenate([values.ravel() for values in drawn]))
