"""NAME: clients whose labels are skewed by a Dirichlet distribution (Hsu, Qi, Brown 2019, arXiv 1909.06335).

A partition is a frozen dataclass. Its fields are settings that a params file may give: {name: NAME, alpha: 0.1}. Its
`draw` says who holds which training examples.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedgrid.partitions import PARTITIONS, Division, Partition
from fedgrid.partitions.partition import of_clients

ATTEMPTS = 1000  # after which there is no hope that every client gets an example


@PARTITIONS.register("NAME")
@dataclass(frozen=True)
class Name(Division):
    """Each label's examples are dealt by shares drawn from Dir(α·1): few labels a client if α is small, IID if not."""

    alpha: float = 0.5

    title: ClassVar[str] = "Name"  # what tables call it
    sorts: ClassVar[bool] = True  # it needs a label for each example, which a text has not

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}; it must be above 0")

    def draw(
        self, labels: np.ndarray, K: int, rng: np.random.Generator, clients: np.ndarray | None = None
    ) -> Partition:
        """Who holds what, by that random stream alone; drawn again until no client is left without an example."""
        for _ in range(ATTEMPTS):
            held = self.attempt(labels, K, rng)
            if all(map(len, held)):
                return of_clients(held)
        raise ValueError(f"alpha: {self.alpha} leaves some of {K} clients without examples, {ATTEMPTS} times; raise it")

    def attempt(self, labels: np.ndarray, K: int, rng: np.random.Generator) -> list[np.ndarray]:
        """The examples of each client; some may have none."""
        parts = []
        for label in np.unique(labels):
            examples = rng.permutation(np.flatnonzero(labels == label))
            ends = np.cumsum(rng.dirichlet(np.full(K, self.alpha)))[:-1] * len(examples)
            parts.append(np.split(examples, ends.astype(int)))
        return [np.concatenate(own) for own in zip(*parts, strict=True)]
