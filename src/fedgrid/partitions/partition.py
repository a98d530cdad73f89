"""P_k: which examples client k holds, for the partitions of section 3 of the paper.

A partition is drawn from labels, the number of clients and one random stream. No function here reads a file.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

HUNDRED = 100  # the paper's clients; of a population of any size, each holds as much as one of them


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

    @property
    def largest(self) -> int:
        """The largest n_k."""
        return int(np.diff(self.offsets).max())

    def alike(self, B: float) -> bool:
        """Whether all clients take as many steps an epoch, in batches of B."""
        n_k = np.diff(self.offsets)
        return bool(np.ptp(np.ceil(n_k / min(B, self.largest))) == 0)

    @property
    def digest(self) -> str:
        """sha256 of indices and offsets, in hexadecimal."""
        return hashlib.sha256(self.indices.tobytes() + self.offsets.tobytes()).hexdigest()


def equal_cuts(n: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """parts + 1 offsets that cut n examples into slices of n / parts, give or take one."""
    return np.linspace(0, n, parts + 1).astype(np.int64)


def random_cuts(n: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """parts + 1 offsets that cut n examples at uniformly random places; no slice is empty."""
    inner = np.sort(rng.choice(n - 1, parts - 1, replace=False)) + 1
    return np.concatenate([[0], inner, [n]]).astype(np.int64)


Cuts = Callable[[int, int, np.random.Generator], np.ndarray]


def iid(labels: np.ndarray, K: int, rng: np.random.Generator, cuts: Cuts = equal_cuts) -> Partition:
    """Section 3, IID: the data is shuffled and cut into K slices."""
    indices = rng.permutation(len(labels))
    return Partition(indices, cuts(len(labels), K, rng))


def shards(labels: np.ndarray, K: int, rng: np.random.Generator, cuts: Cuts = equal_cuts) -> Partition:
    """Section 3, non-IID: the data is sorted by label and cut into 2K shards; each client is dealt two of them.

    The sort is stable, so a shard is a slice of the dataset's own order within a label; 60,000 images among 100
    clients make 200 shards of 300. A shard may straddle two labels: a client holds one to four.
    """
    by_label = np.argsort(labels, kind="stable")
    shard = np.split(by_label, cuts(len(labels), 2 * K, rng)[1:-1])
    dealt = rng.permutation(2 * K)
    pairs = [np.concatenate([shard[a], shard[b]]) for a, b in dealt.reshape(K, 2)]
    return Partition(np.concatenate(pairs), np.cumsum([0, *map(len, pairs)]))


def iid_unbalanced(labels: np.ndarray, K: int, rng: np.random.Generator) -> Partition:
    """IID with unequal clients (section 3's footnote; how unequal is unstated): slices cut at random places."""
    return iid(labels, K, rng, random_cuts)


def shards_unbalanced(labels: np.ndarray, K: int, rng: np.random.Generator) -> Partition:
    """Two shards per client, the shards cut at random places of the label-sorted data (section 3's footnote)."""
    return shards(labels, K, rng, random_cuts)


def population(labels: np.ndarray, K: int, rng: np.random.Generator) -> Partition:
    """IID, a hundredth of the data a client however many there are: the shuffled order is gone through again and again.

    The paper's 600 MNIST images a client, at the scale of real federations: memory grows by a number a client.
    """
    return Partition(rng.permutation(len(labels)), np.arange(K + 1) * (len(labels) // HUNDRED))


def natural(clients: np.ndarray, K: int, rng: np.random.Generator) -> Partition:
    """The data's own clients, roles or authors (section 3), or K drawn from them; `clients` is where each begins."""
    chosen = np.sort(rng.choice(len(clients) - 1, K, replace=False))
    held = [np.arange(clients[k], clients[k + 1]) for k in chosen]
    return Partition(np.concatenate(held), np.cumsum([0, *map(len, held)]))


PARTITIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], Partition]] = {
    "natural": natural,
    "iid": iid,
    "shards": shards,
    "iid_unbalanced": iid_unbalanced,
    "shards_unbalanced": shards_unbalanced,
    "population": population,
}


def draw(
    kind: str, labels: np.ndarray, K: int, rng: np.random.Generator, clients: np.ndarray | None = None
) -> Partition:
    """The partition of that kind among K clients, given the examples' labels and, if the data have any, own clients.

    ValueError where there are fewer examples than slices to cut, or fewer clients than K; or no clients, or no labels.
    """
    if kind == "natural":
        own = 0 if clients is None else len(clients) - 1
        if clients is None or own < K:
            raise ValueError(f"K: the data have {own} clients of their own, not {K}")
        return natural(clients, K, rng)
    if labels.ndim > 1 and kind.startswith("shards"):
        raise ValueError(f"partition {kind} sorts by label, and a text has none; choose natural or iid")
    slices = K if kind.startswith("iid") else HUNDRED if kind == "population" else 2 * K
    if len(labels) < slices:
        raise ValueError(f"K: {len(labels)} examples cannot fill {slices} slices for {K} clients ({kind})")
    return PARTITIONS[kind](labels, K, rng)
