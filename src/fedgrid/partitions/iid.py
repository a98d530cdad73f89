"""IID clients: section 3 of McMahan et al. 2017, its unbalanced variant, and a population of any size."""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import numpy as np

from fedgrid.partitions import cuts
from fedgrid.partitions.partition import Division, Partition

HUNDRED = 100  # the paper's clients; of a population of any size, each holds as much as one of them


@dataclass(frozen=True)
class IID(Division):
    """Section 3, IID: the data is shuffled and cut into K equal slices."""

    title: ClassVar[str] = "IID"

    def cut(self, n: int, parts: int, rng: np.random.Generator) -> np.ndarray:
        """Where the slices begin and end."""
        return cuts.equal(n, parts)

    def largest(self, n: int, K: int) -> int:
        return ceil(n / K)

    def draw(
        self, labels: np.ndarray, K: int, rng: np.random.Generator, clients: np.ndarray | None = None
    ) -> Partition:
        indices = rng.permutation(len(labels))
        return Partition(indices, self.cut(len(labels), K, rng))


@dataclass(frozen=True)
class UnbalancedIID(IID):
    """IID with unequal clients (section 3's footnote; how unequal is unstated): slices cut at random places."""

    title: ClassVar[str] = "unbalanced IID"

    def cut(self, n: int, parts: int, rng: np.random.Generator) -> np.ndarray:
        return cuts.random(n, parts, rng)

    def largest(self, n: int, K: int) -> int:
        return n


@dataclass(frozen=True)
class Population(Division):
    """IID, a hundredth of the data a client however many there are: the shuffled order is gone through again and again.

    The paper's 600 MNIST images a client, at the scale of real federations: memory grows by a number a client.
    """

    title: ClassVar[str] = "population"

    def slices(self, K: int) -> int:
        return HUNDRED

    def largest(self, n: int, K: int) -> int:
        return n // HUNDRED

    def draw(
        self, labels: np.ndarray, K: int, rng: np.random.Generator, clients: np.ndarray | None = None
    ) -> Partition:
        return Partition(rng.permutation(len(labels)), np.arange(K + 1) * (len(labels) // HUNDRED))
