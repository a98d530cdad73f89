"""What a partition is, and what draws one: a division of training examples among K clients.

A partition is drawn from labels, the number of clients and one random stream. No function here reads a file.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True)
class Partition(Sequence[np.ndarray]):
    """K clients' examples: client k holds those from `offsets[k]` to `offsets[k + 1]` in the order `indices`.

    indices: int64 (n,), a permutation of the training examples; offsets: int64 (K + 1,), from 0. Where they end at n
    the examples are divided; where they go on, the order begins again, and an example has several holders.
    """

    indices: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, k: Any) -> Any:  # clients are asked for one at a time, never by slice
        return self.indices[np.arange(self.offsets[k], self.offsets[k + 1]) % len(self.indices)]

    def sizes(self, clients: np.ndarray) -> np.ndarray:
        """n_k of each of those clients."""
        return self.offsets[clients + 1] - self.offsets[clients]

    @cached_property
    def largest(self) -> int:
        """The largest n_k; asked for by each stack on a GPU, and of a million clients worth keeping."""
        return int(np.diff(self.offsets).max())

    def alike(self, B: float) -> bool:
        """Whether all clients take as many steps an epoch, in batches of B."""
        n_k = np.diff(self.offsets)
        return bool(np.ptp(np.ceil(n_k / min(B, self.largest))) == 0)

    @property
    def digest(self) -> str:
        """sha256 of indices and offsets, in hexadecimal."""
        return hashlib.sha256(self.indices.tobytes() + self.offsets.tobytes()).hexdigest()


def of_clients(held: Sequence[np.ndarray]) -> Partition:
    """The partition whose client k holds the examples held[k], int64 (n_k,)."""
    return Partition(np.concatenate(held).astype(np.int64), np.cumsum([0, *map(len, held)]).astype(np.int64))


@dataclass(frozen=True)
class Division:
    """How training examples are divided among clients: a frozen dataclass of its own settings, and `draw`.

    title: what tables call it. sorts: whether it needs a label for each example, which a text has not.
    own_clients: whether it takes the data's own clients, such as authors.
    """

    title: ClassVar[str]
    sorts: ClassVar[bool] = False
    own_clients: ClassVar[bool] = False

    def slices(self, K: int) -> int:
        """How many examples K clients need at least."""
        return K

    def largest(self, n: int, K: int) -> int:
        """The most examples that one of K clients may have, of n; all of them where that is unknown before the draw."""
        return n

    def draw(
        self, labels: np.ndarray, K: int, rng: np.random.Generator, clients: np.ndarray | None = None
    ) -> Partition:
        """The partition of len(labels) examples among K clients, by that random stream alone.

        labels: (n,), or (n, steps) of texts; clients: int64, where each of the data's own clients' examples begin and,
        at last, n; None where the data have no clients of their own.
        """
        raise NotImplementedError


def draw(
    division: Division, labels: np.ndarray, K: int, rng: np.random.Generator, clients: np.ndarray | None = None
) -> Partition:
    """The partition that the division draws, checked.

    ValueError where there are fewer examples than it needs, fewer own clients than K, no labels to sort by; or where it
    leaves a client without examples or gives one that is not there.
    """
    own = 0 if clients is None else len(clients) - 1
    if division.own_clients and own < K:
        raise ValueError(f"K: the data have {own} clients of their own, not {K}")
    if labels.ndim > 1 and division.sorts:
        raise ValueError(f"partition {division.title} sorts by label, and a text has none; choose natural or iid")
    if not division.own_clients and len(labels) < division.slices(K):
        needed = f"{division.slices(K)} slices for {K} clients ({division.title})"
        raise ValueError(f"K: {len(labels)} examples cannot fill {needed}")
    return checked(division.draw(labels, K, rng, clients), division, len(labels), K)


def checked(drawn: Partition, division: Division, n: int, K: int) -> Partition:
    """The partition, if it has K clients, each with examples, all among the n that there are."""
    if len(drawn) != K:
        raise ValueError(f"partition {division.title} drew {len(drawn)} clients, not K = {K}")
    if len(empty := np.flatnonzero(np.diff(drawn.offsets) < 1)):
        raise ValueError(
            f"partition {division.title} leaves client {empty[0]} of {K} without examples; choose a smaller K"
        )
    for example in (drawn.indices.min(), drawn.indices.max()):
        if not 0 <= example < n:
            raise ValueError(f"partition {division.title} deals example {example}; there are {n}, from 0")
    return drawn
