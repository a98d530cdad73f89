"""Layers over a leading replica axis: R sets of weights, one per client and learning rate, each with its activations.

`forward` gives the layer's output and what `descend` will need. `descend` is the backward pass with SGD inside: it
takes the loss's derivative by the output *already multiplied by the learning rate*, subtracts the weights' gradient
where `into` lies, and returns the derivative by the input. The derivative is linear, so the factor given at the loss
reaches every layer, and no gradient need ever exist. `into` may be the weights themselves (local SGD) or another tensor
like them (a sum of gradients taken at the same weights).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

Weights = Sequence[Tensor]
Shape = tuple[int, ...]


class Layer(Protocol):
    """What a model is made of."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes of the layer's weights, without the replica axis."""

    @property
    def fans(self) -> tuple[tuple[int, int] | None, ...]:
        """Of each weight, its inputs and outputs, by which it is initialised; None for a bias."""

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward pass of one example or character (a multiply-add counts two)."""

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        """The layer's output (R, batch, …) for its input (R, batch, …), and what `descend` will need."""

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor, first: bool) -> Tensor:
        """Subtracts the gradient from `into`; the derivative by the input, of no use where that is data (`first`)."""


class Weightless:
    """A layer without weights."""

    shapes: tuple[Shape, ...] = ()
    fans: tuple[tuple[int, int] | None, ...] = ()
    flops = 0


class Normalisation(Weightless):
    """A layer that normalises its input, and that a model can do without: the setting `lrn` leaves it out."""


threshold_backward = torch.ops.aten.threshold_backward.grad_input


def subtract_product(into: Tensor, a: Tensor, b: Tensor) -> None:
    """into ← into − a·b, batched; where a and b are of lower precision, the sum is still of into's."""
    if into.dtype == a.dtype:
        into.baddbmm_(a, b, alpha=-1)
    else:
        into.sub_(torch.bmm(a, b))


@dataclass(frozen=True)
class View(Weightless):
    """The same numbers in another shape: (R, batch, *shape)."""

    shape: Shape

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        return x.reshape(*x.shape[:2], *self.shape), x.shape

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor, first: bool) -> Tensor:
        return delta.reshape(kept)


@dataclass(frozen=True)
class Relu(Weightless):
    """max(x, 0), elementwise. It overwrites its input and the derivative by its output, which no other layer needs."""

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        out = x.relu_()
        return out, out

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor, first: bool) -> Tensor:
        return threshold_backward(delta, kept, 0, grad_input=delta)


@dataclass(frozen=True)
class Start:
    """How the weights of a layer start in a tutorial of TensorFlow's: truncated normal of that deviation, equal biases.

    A deviation of None is that of the fully connected MNIST tutorial, 1/√inputs.
    """

    deviation: float | None = None
    bias: float = 0.0


MNIST_START = Start()
CONVOLUTIONAL_START = Start(0.1, 0.1)  # of the convolutional MNIST tutorial, after its first layer


@dataclass(frozen=True)
class Linear:
    """x·W + b with W (inputs, outputs) and b (1, outputs), at each position of (R, batch, …, inputs).

    penalty: λ of the loss's further term λ/2·‖W‖², which the model's `penalties` bring into a step.
    """

    inputs: int
    outputs: int
    tutorial: Start = MNIST_START
    penalty: float = 0.0
    tutorial2015: Start = CONVOLUTIONAL_START

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return (self.inputs, self.outputs), (1, self.outputs)

    @property
    def fans(self) -> tuple[tuple[int, int] | None, ...]:
        return (self.inputs, self.outputs), None

    @property
    def flops(self) -> int:
        return 2 * self.inputs * self.outputs

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        W, b = weights
        if x.dim() == 3:
            return torch.baddbmm(b, x, W), x
        out, rows = self.forward(weights, x.flatten(1, -2))
        return out.view(*x.shape[:-1], -1), rows

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor, first: bool) -> Tensor:
        if delta.dim() > 3:
            return self.descend(weights, into, kept, delta.flatten(1, -2), first).view(*delta.shape[:-1], -1)
        by_x = delta if first else torch.bmm(delta, weights[0].mT)  # before W moves
        subtract_product(into[0], kept.mT, delta)
        into[1].sub_(delta.sum(1, keepdim=True))
        return by_x
