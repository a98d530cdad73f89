"""Layers over a leading replica axis: R sets of weights, one per learning rate, each with its own activations.

`forward` is also differentiable by autograd, with or without the replica axis. `descend` is the backward pass with SGD
inside: it takes the loss's derivative by the layer's output *already multiplied by the learning rate*, subtracts the
weights' gradient where the weights lie, and returns the derivative by the layer's input. The derivative is linear, so
the factor given at the loss reaches every layer, and no gradient is ever stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Weights = Sequence[Tensor]


class Layer(Protocol):
    """What a model is made of."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the layer's weights, without the replica axis."""

    @property
    def flops(self) -> int:
        """Floating-point operations of one example's forward pass (a multiply-add counts two)."""

    def forward(self, weights: Weights, x: Tensor) -> Tensor:
        """The layer's output (R, batch, …) for its input (R, batch, …)."""

    def descend(self, weights: Weights, x: Tensor, out: Tensor, delta: Tensor, first: bool) -> Tensor:
        """Updates the weights in place; the derivative by x (R, batch, …), or `delta` where x is the data (`first`)."""


@dataclass(frozen=True)
class Linear:
    """x·W + b with W (inputs, outputs) and b (1, outputs)."""

    inputs: int
    outputs: int

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.inputs, self.outputs), (1, self.outputs)

    @property
    def flops(self) -> int:
        return 2 * self.inputs * self.outputs

    def forward(self, weights: Weights, x: Tensor) -> Tensor:
        W, b = weights
        return torch.baddbmm(b, x, W) if W.dim() == 3 else x @ W + b

    def descend(self, weights: Weights, x: Tensor, out: Tensor, delta: Tensor, first: bool) -> Tensor:
        W, b = weights
        by_x = delta if first else torch.bmm(delta, W.mT)  # before W moves
        W.baddbmm_(x.mT, delta, alpha=-1)
        b.sub_(delta.sum(1, keepdim=True))
        return by_x


@dataclass(frozen=True)
class Relu:
    """max(x, 0), elementwise."""

    shapes = ()
    flops = 0

    def forward(self, weights: Weights, x: Tensor) -> Tensor:
        return x.relu()

    def descend(self, weights: Weights, x: Tensor, out: Tensor, delta: Tensor, first: bool) -> Tensor:
        return torch.ops.aten.threshold_backward(delta, out, 0)
