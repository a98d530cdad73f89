"""One file per dataset: the raw files → arrays, checked. DATASETS names them.

A loader reads the folder that `fedgrid.tasks.fetch` filled and returns a Dataset; it downloads nothing.
"""

from collections.abc import Callable
from pathlib import Path

from fedgrid.tasks.datasets import cifar10, digits, mnist, shakespeare, words
from fedgrid.tasks.datasets.corpora import READERS
from fedgrid.tasks.datasets.dataset import Dataset

# Texts that are encoded once, after they are fetched: any of them may stand in for the paper's private posts.
CORPORA = tuple(READERS)
DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "mnist": mnist.load,
    "cifar10": cifar10.load,
    "shakespeare": shakespeare.load,
    "digits": digits.load,
    **dict.fromkeys(CORPORA, words.load),
}

__all__ = ["CORPORA", "DATASETS", "Dataset"]
