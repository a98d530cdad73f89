"""Layers that see images, (R, batch, height, width, channels).

Kernels are chosen by the number of replicas: on a CPU a single one has the native convolution, many are one batched
matrix product. On a GPU it is always that product: cuDNN's backward kernels may sum in another order each time.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from fedgrid.engine.layers import (
    CONVOLUTIONAL_START,
    MNIST_START,
    Normalisation,
    Shape,
    Start,
    Weightless,
    Weights,
    subtract_product,
)

PRODUCTS = 256  # that fill a GPU, whose processors are a hundred or so


@dataclass(frozen=True)
class Conv2d:
    """A convolution with SAME padding and stride 1: W (outputs, window, window, inputs), b (1, outputs).

    size: height and width of its images; window is odd.
    """

    size: int
    inputs: int
    outputs: int
    window: int = 5
    tutorial: Start = MNIST_START
    tutorial2015: Start = CONVOLUTIONAL_START

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return (self.outputs, self.window, self.window, self.inputs), (1, self.outputs)

    @property
    def fans(self) -> tuple[tuple[int, int] | None, ...]:
        return (self.window**2 * self.inputs, self.window**2 * self.outputs), None

    @property
    def flops(self) -> int:
        return 2 * self.size**2 * self.window**2 * self.inputs * self.outputs

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        W, b = weights
        if self.native(x):
            apart = planes(x).contiguous(), planes(W).contiguous()  # channel by channel, as these kernels are fastest
            out = conv2d(*apart, b[0, 0], padding=self.window // 2)
            return images(out, x).contiguous(), (x, apart)
        x = self.columns(x)
        return torch.baddbmm(b, x, W.flatten(2).mT).unflatten(1, (-1, self.size, self.size)), x

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor, first: bool) -> Tensor:
        W, _ = weights
        if isinstance(kept, tuple):
            x, apart = kept
            edge = self.window // 2
            by_x, by_W, by_b = torch.ops.aten.convolution_backward(
                *(planes(delta).contiguous(), *apart, [self.outputs]),
                *([1, 1], [edge, edge], [1, 1], False, [0, 0], 1, [not first, True, True]),
            )
            into[0].sub_(by_W.permute(0, 2, 3, 1))
            into[1].sub_(by_b)
            return delta if first else images(by_x, x).contiguous()
        by_x = delta
        if not first:
            # The derivative by the input is a convolution with the window turned round, from outputs to inputs.
            turned = W.flip(2, 3).permute(0, 2, 3, 1, 4).flatten(1, 3)
            by_x = torch.bmm(self.columns(delta), turned).view(*delta.shape[:-1], self.inputs)
        delta = delta.flatten(1, 3)
        subtract_sum_over_pixels(into[0].flatten(2), delta, kept)
        into[1].sub_(delta.sum(1, keepdim=True))
        return by_x

    def native(self, x: Tensor) -> bool:
        """Whether the native convolution serves these images (or their columns): one replica's, of several channels."""
        return x.dim() == 5 and len(x) == 1 and self.inputs > 1 and x.device.type != "cuda"

    def columns(self, x: Tensor) -> Tensor:
        """The window around each pixel as a row: (R, batch·height·width, window²·channels)."""
        edge = self.window // 2
        padded = pad(x, (0, 0, edge, edge, edge, edge))
        if x.shape[-1] * x.element_size() % 16 == 0:  # a copy moves 16 bytes at a time as fast as 4
            padded = padded.view(torch.complex128)
        windows = padded.unfold(2, self.window, 1).unfold(3, self.window, 1)
        return windows.permute(0, 1, 2, 3, 5, 6, 4).reshape(len(x), prod(x.shape[1:4]), -1).view(x.dtype)


def subtract_sum_over_pixels(into: Tensor, delta: Tensor, columns: Tensor) -> None:
    """into ← into − deltaᵀ·columns, from (R, pixels, outputs) and (R, pixels, window²·inputs).

    Those are few and small products over very many pixels. A GPU takes each in parts, which it sums, so that all of its
    processors have work.
    """
    replicas, pixels, _ = delta.shape
    if not delta.is_cuda or replicas >= PRODUCTS:
        subtract_product(into, delta.mT, columns)
        return
    parts = next(n for n in range(min(-(-PRODUCTS // replicas), pixels), pixels + 1) if pixels % n == 0)
    delta, columns = (rows.unflatten(1, (parts, -1)).flatten(0, 1) for rows in (delta, columns))
    into.sub_(torch.bmm(delta.mT, columns).unflatten(0, (-1, parts)).sum(1, dtype=into.dtype))


def planes(x: Tensor) -> Tensor:
    """(R, batch, height, width, channels) as PyTorch's kernels want it: (R·batch, channels, height, width), a view."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


def images(x: Tensor, like: Tensor) -> Tensor:
    """What `planes` was taken of, from (R·batch, channels, height, width)."""
    return x.permute(0, 2, 3, 1).unflatten(0, like.shape[:2])


@dataclass(frozen=True)
class MaxPool(Weightless):
    """The maximum over windows of window × window, with SAME padding as TensorFlow has it: the odd pixel at the end."""

    window: int = 2
    stride: int = 2

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        padded = self.padded(planes(x))
        out, places = torch.ops.aten.max_pool2d_with_indices(padded, [self.window] * 2, [self.stride] * 2)
        return images(out, x), (x, padded, places)

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor, first: bool) -> Tensor:
        x, padded, places = kept
        by_padded = torch.ops.aten.max_pool2d_with_indices_backward(
            planes(delta), padded, [self.window] * 2, [self.stride] * 2, [0, 0], [1, 1], False, places
        )
        before, _ = self.edges(x.shape[2])
        by_x = by_padded[:, :, before : before + x.shape[2], before : before + x.shape[3]]
        return images(by_x, x)

    def padded(self, x: Tensor) -> Tensor:
        """The planes with what SAME padding adds, which is never a maximum."""
        before, after = self.edges(x.shape[2])
        return pad(x, (before, after, before, after), value=-torch.inf) if after else x

    def edges(self, size: int) -> tuple[int, int]:
        """Pixels added before and after an axis of that size."""
        missing = max((-(-size // self.stride) - 1) * self.stride + self.window - size, 0)
        return missing // 2, missing - missing // 2


@dataclass(frozen=True)
class LocalResponse(Normalisation):
    """TensorFlow's local response normalisation, x · (bias + alpha · Σ x²)^−beta, the sum over channels within radius.

    Krizhevsky et al. 2012, section 3.3; the defaults are those of TensorFlow's CIFAR-10 tutorial.
    """

    radius: int = 4
    bias: float = 1.0
    alpha: float = 0.001 / 9
    beta: float = 0.75

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        norm = self.nearby(x * x).mul_(self.alpha).add_(self.bias)
        return x * norm**-self.beta, (x, norm)

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor, first: bool) -> Tensor:
        x, norm = kept
        by_norm = self.nearby(delta * x * norm ** -(self.beta + 1))
        return delta * norm**-self.beta - 2 * self.alpha * self.beta * x * by_norm

    def nearby(self, x: Tensor) -> Tensor:
        """The sum over the channels within radius of each: a product with a matrix of ones along its diagonal."""
        channels = x.shape[-1]
        return x @ x.new_ones(channels, channels).tril_(self.radius).triu_(-self.radius)
