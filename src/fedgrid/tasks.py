"""TASKS: what is learnt. A task is a dataset, the model that learns it and how its inputs are scaled."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fedgrid.datasets import Dataset
from fedgrid.models import DIGITS_2NN, MNIST_2NN, MNIST_CNN, Model


@dataclass(frozen=True)
class Task:
    """A workload of the paper."""

    dataset: str
    model: Model


TASKS: dict[str, Task] = {
    "mnist_2nn": Task("mnist", MNIST_2NN),
    "mnist_cnn": Task("mnist", MNIST_CNN),
    "digits_2nn": Task("digits", DIGITS_2NN),
}

Scale = Callable[[Tensor], Tensor]


def unit(data: Dataset, dtype: torch.dtype) -> Scale:
    """Pixels to 0..1."""
    return lambda x: x.to(dtype).div_(data.white)


def standard(data: Dataset, dtype: torch.dtype) -> Scale:
    """Pixels to mean 0 and variance 1 over the whole training set."""
    mean, std = float(data.train_x.mean()), float(data.train_x.std())
    return lambda x: x.to(dtype).sub_(mean).div_(std)


# The precision of products, and what PyTorch calls that of a GPU's float32 products. Weights and sums are float32.
PRECISIONS: dict[str, tuple[torch.dtype, str]] = {
    "float32": (torch.float32, "ieee"),
    "tf32": (torch.float32, "tf32"),
    "bf16": (torch.bfloat16, "ieee"),
}

# How stored pixels become the model's inputs; the paper is silent.
SCALINGS: dict[str, Callable[[Dataset, torch.dtype], Scale]] = {"unit": unit, "standard": standard}
