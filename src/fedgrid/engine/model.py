"""A model, from inputs to logits and back. Its weights are one flat vector, the paper's w; (R, parameters) of replicas.

`Layered` is a tuple of fused layers, as the paper's models are. `fedgrid.engine.functional.Module` is any
torch.nn.Module.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from fedgrid.engine.layers import Layer, Linear, Normalisation, Shape, View

Weights = list[list[Tensor]]  # (R, *shape) each, those of a layer together


class Model(Protocol):
    """A classifier of examples, or of each position of a text of `unroll` characters or words."""

    fused: ClassVar[bool]  # whether its backward pass is written by hand, with SGD inside

    def __hash__(self) -> int:
        """Models that are equal are one: what is asked of a model is kept by it."""

    @property
    def inputs(self) -> Shape:
        """The shape of an example; () of a text."""

    @property
    def unroll(self) -> int:
        """The characters or words of a text; 1 where examples are none."""

    @property
    def classes(self) -> int:
        """How many classes there are; of texts, how many characters or words."""

    @property
    def parts(self) -> Sequence[object]:
        """What it is made of, each written in a module of its own or of others: layers, or what makes an nn.Module."""

    @property
    def parameters(self) -> int:
        """The number of weights."""

    @property
    def flops(self) -> int:
        """Floating-point operations to train on one example: forward, and twice that backward but for the data."""

    @property
    def forward_flops(self) -> int:
        """Floating-point operations to evaluate one example."""

    def weights(self, w: Tensor) -> Weights:
        """Each layer's weights as views of the flat w: (…, parameters) gives (…, *shape)."""

    def stacked(self, w: Tensor) -> Weights:
        """Copies of each layer's weights, (R, *shape), each a tensor of its own, as batched products want matrices."""

    def flat(self, weights: Weights) -> Tensor:
        """The flat w (R, parameters) of what `stacked` gave."""

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        """Logits (R, batch, …, classes) of inputs x (R, batch, …), and what `descend` will need."""

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor) -> None:
        """Subtracts the gradient from `into`, given the loss's derivative by the logits, times the learning rate."""

    def penalties(self, weights: Weights, lr: Tensor) -> Sequence[tuple[int, Tensor]]:
        """η·λ·W of each layer that has an L2 penalty λ/2·‖W‖², and its place: what a step subtracts as well.

        weights: R of each; lr: (R,), η of each replica.
        """

    def drawn(self, rng: np.random.Generator) -> Tensor | None:
        """w_0 as the model draws it itself, float64 (parameters,); None of one whose weights are drawn for it."""

    def activations(self, weights: Weights, x: Tensor) -> int:
        """How many numbers the forward pass of those inputs, of one example, makes and keeps."""

    def variant(self, lrn: bool, l2: bool) -> "Model":
        """The model, or the one without its local response normalisation, or without its L2 penalty."""


def stacked(weights: Weights) -> Weights:
    """Copies of the weights, each a tensor of its own."""
    return [[weight.clone(memory_format=torch.contiguous_format) for weight in mine] for mine in weights]


def flat(weights: Weights) -> Tensor:
    """The weights (R, *shape) of R replicas one after another: (R, parameters)."""
    return torch.cat([weight.reshape(len(weight), -1) for mine in weights for weight in mine], 1)


@dataclass(frozen=True)
class Layered:
    """A model of fused layers."""

    layers: tuple[Layer, ...]
    unroll: int = 1
    fused: ClassVar[bool] = True

    @property
    def inputs(self) -> Shape:
        match self.layers[0]:
            case Linear(inputs=width):
                return (width,)
            case View(shape=shape):
                return shape
        return ()

    @property
    def classes(self) -> int:
        last = self.layers[-1]
        assert isinstance(last, Linear)
        return last.outputs

    @property
    def parts(self) -> Sequence[object]:
        return self.layers

    @property
    def parameters(self) -> int:
        return sum(prod(shape) for layer in self.layers for shape in layer.shapes)

    @cached_property
    def first(self) -> int:
        """The place of the first layer with weights: no derivative is wanted below it."""
        return next(place for place, layer in enumerate(self.layers) if layer.shapes)

    @property
    def flops(self) -> int:
        return self.unroll * (3 * sum(layer.flops for layer in self.layers) - self.layers[self.first].flops)

    @property
    def forward_flops(self) -> int:
        return self.unroll * sum(layer.flops for layer in self.layers)

    def weights(self, w: Tensor) -> Weights:
        shapes = [shape for layer in self.layers for shape in layer.shapes]
        parts = iter(w.split([prod(shape) for shape in shapes], -1))
        return [[next(parts).unflatten(-1, shape) for shape in layer.shapes] for layer in self.layers]

    def stacked(self, w: Tensor) -> Weights:
        return stacked(self.weights(w))

    def flat(self, weights: Weights) -> Tensor:
        return flat(weights)

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, list[Any]]:
        kept = []
        for layer, mine in zip(self.layers, weights, strict=True):
            x, needed = layer.forward(mine, x)
            kept.append(needed)
        return x, kept

    def descend(self, weights: Weights, into: Weights, kept: list[Any], delta: Tensor) -> None:
        for depth in reversed(range(self.first, len(self.layers))):
            first = depth == self.first
            delta = self.layers[depth].descend(weights[depth], into[depth], kept[depth], delta, first)

    def penalties(self, weights: Weights, lr: Tensor) -> list[tuple[int, Tensor]]:
        rates = lr.view(-1, 1, 1)
        return [
            (place, rates * layer.penalty * weights[place][0])
            for place, layer in enumerate(self.layers)
            if isinstance(layer, Linear) and layer.penalty
        ]

    def drawn(self, rng: np.random.Generator) -> Tensor | None:
        return None

    def activations(self, weights: Weights, x: Tensor) -> int:
        counted = 0
        for layer, mine in zip(self.layers, weights, strict=True):
            x, kept = layer.forward(mine, x)
            held = {id(one): one for one in (x, *(kept if isinstance(kept, tuple) else [kept])) if torch.is_tensor(one)}
            counted += sum(prod(one.shape) for one in held.values())
        return counted

    def variant(self, lrn: bool, l2: bool) -> "Layered":
        layers = [layer for layer in self.layers if lrn or not isinstance(layer, Normalisation)]
        if not l2:
            layers = [replace(layer, penalty=0.0) if isinstance(layer, Linear) else layer for layer in layers]
        return replace(self, layers=tuple(layers))
