"""The data's own clients: section 3's roles of Shakespeare and authors of posts."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedgrid.partitions.partition import Division, Partition


@dataclass(frozen=True)
class Natural(Division):
    """The data's own clients, roles or authors (section 3), or K drawn from them."""

    title: ClassVar[str] = "non-IID"
    own_clients: ClassVar[bool] = True

    def draw(
        self, labels: np.ndarray, K: int, rng: np.random.Generator, clients: np.ndarray | None = None
    ) -> Partition:
        assert clients is not None
        chosen = np.sort(rng.choice(len(clients) - 1, K, replace=False))
        held = [np.arange(clients[k], clients[k + 1]) for k in chosen]
        return Partition(np.concatenate(held), np.cumsum([0, *map(len, held)]))
