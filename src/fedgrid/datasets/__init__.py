"""One file per dataset: the raw files → arrays, checked. DATASETS names them.

A loader reads the folder that `fedgrid.fetch` filled and returns a Dataset; it downloads nothing.
"""

from collections.abc import Callable
from pathlib import Path

from fedgrid.datasets import digits, mnist
from fedgrid.datasets.dataset import Dataset

DATASETS: dict[str, Callable[[Path], Dataset]] = {"mnist": mnist.load, "digits": digits.load}

__all__ = ["DATASETS", "Dataset"]
