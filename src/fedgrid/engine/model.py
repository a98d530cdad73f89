"""A model: a tuple of layers. Its weights are one flat vector, the paper's w, or (R, parameters) of R replicas."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from fedgrid.engine.layers import Layer, Linear, Normalisation


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
        """The model, or the one without its normalisation, or without its L2 penalty."""
        layers = [layer for layer in self.layers if lrn or not isinstance(layer, Normalisation)]
        if not l2:
            layers = [replace(layer, penalty=0.0) if isinstance(layer, Linear) else layer for layer in layers]
        return replace(self, layers=tuple(layers))
