"""TASKS: what is learnt. A task is a dataset, the model that learns it and how its inputs are made.

TASKS.register("my_task")(Task("digits", Module(TwoLayer, inputs=(64,), classes=10)))
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch

from fedgrid.engine.examples import Inputs
from fedgrid.engine.functional import Module
from fedgrid.engine.model import Model
from fedgrid.registry import Registry
from fedgrid.tasks import inputs
from fedgrid.tasks.datasets import Dataset
from fedgrid.tasks.datasets.corpora import READERS
from fedgrid.tasks.models import CHAR_LSTM, CIFAR_CNN, DIGITS_2NN, MNIST_2NN, MNIST_CNN, WORD_LSTM


@dataclass(frozen=True)
class Task:
    """A workload.

    inputs: how examples become the model's inputs, given the dataset, a scaling of pixels and the type of products;
    `inputs.text` for texts.
    """

    dataset: str
    model: Model
    inputs: Callable[[Dataset, str, torch.dtype], Inputs] = inputs.grey

    def check(self, data: Dataset) -> None:
        """ValueError where the model cannot learn that data: it has more classes, or examples of another size."""
        highest = max(int(data.train_y.max()), int(data.test_y.max()))
        if highest >= self.model.classes:
            raise ValueError(f"{data.name} has the class {highest}; its model has {self.model.classes} classes, from 0")
        x = self.inputs(data, "unit", torch.float32).prepare(torch.from_numpy(data.train_x[:1]))
        numbers, wanted = x[0].numel(), prod(self.model.inputs) * self.model.unroll
        if numbers != wanted:
            raise ValueError(f"{data.name} has examples of {numbers} numbers; its model takes {wanted}")
        if x.is_floating_point() == (self.model.unroll > 1):
            raise ValueError(f"{data.name}: inputs are {x.dtype}; give its task inputs.text for texts, else another")


TASKS: Registry[Task] = Registry("task")
TASKS |= {
    "mnist_2nn": Task("mnist", MNIST_2NN),
    "mnist_cnn": Task("mnist", MNIST_CNN),
    "cifar": Task("cifar10", CIFAR_CNN, inputs.colour),
    "shakespeare": Task("shakespeare", CHAR_LSTM, inputs.text),
    # the paper's corpus is private: one task for each that may stand in for it
    **{f"words_{corpus}": Task(corpus, WORD_LSTM, inputs.text) for corpus in READERS},
    "digits_2nn": Task("digits", DIGITS_2NN),
}

__all__ = ["TASKS", "Module", "Task"]
