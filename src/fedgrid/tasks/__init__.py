"""TASKS: what is learnt. A task is a dataset, the model that learns it and how its inputs are made."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from fedgrid.engine.examples import Inputs
from fedgrid.engine.model import Model
from fedgrid.tasks import inputs
from fedgrid.tasks.datasets import CORPORA, Dataset
from fedgrid.tasks.models import CHAR_LSTM, CIFAR_CNN, DIGITS_2NN, MNIST_2NN, MNIST_CNN, WORD_LSTM


@dataclass(frozen=True)
class Task:
    """A workload of the paper. `inputs` are made of the dataset, a scaling of pixels and the type of products."""

    dataset: str
    model: Model
    inputs: Callable[[Dataset, str, torch.dtype], Inputs] = inputs.grey


TASKS: dict[str, Task] = {
    "mnist_2nn": Task("mnist", MNIST_2NN),
    "mnist_cnn": Task("mnist", MNIST_CNN),
    "cifar": Task("cifar10", CIFAR_CNN, inputs.colour),
    "shakespeare": Task("shakespeare", CHAR_LSTM, inputs.text),
    # the paper's corpus is private: one task for each that may stand in for it
    **{f"words_{corpus}": Task(corpus, WORD_LSTM, inputs.text) for corpus in CORPORA},
    "digits_2nn": Task("digits", DIGITS_2NN),
}
