"""The pathological non-IID clients of section 3 of McMahan et al. 2017, and their unbalanced variant."""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import numpy as np

from fedgrid.partitions import cuts
from fedgrid.partitions.partition import Division, Partition


@dataclass(frozen=True)
class Shards(Division):
    """Section 3, non-IID: the data is sorted by label and cut into 2K shards; each client is dealt two of them.

    The sort is stable, so a shard is a slice of the dataset's own order within a label; 60,000 images among 100
    clients make 200 shards of 300. A shard may straddle two labels: a client holds one to four.
    """

    title: ClassVar[str] = "non-IID"
    sorts: ClassVar[bool] = True

    def cut(self, n: int, parts: int, rng: np.random.Generator) -> np.ndarray:
        """Where the shards begin and end."""
        return cuts.equal(n, parts)

    def slices(self, K: int) -> int:
        return 2 * K

    def largest(self, n: int, K: int) -> int:
        return 2 * ceil(n / (2 * K))

    def draw(
        self, labels: np.ndarray, K: int, rng: np.random.Generator, clients: np.ndarray | None = None
    ) -> Partition:
        by_label = np.argsort(labels, kind="stable")
        shard = np.split(by_label, self.cut(len(labels), 2 * K, rng)[1:-1])
        dealt = rng.permutation(2 * K)
        pairs = [np.concatenate([shard[a], shard[b]]) for a, b in dealt.reshape(K, 2)]
        return Partition(np.concatenate(pairs), np.cumsum([0, *map(len, pairs)]))


@dataclass(frozen=True)
class UnbalancedShards(Shards):
    """Two shards per client, the shards cut at random places of the label-sorted data (section 3's footnote)."""

    title: ClassVar[str] = "unbalanced non-IID"

    def cut(self, n: int, parts: int, rng: np.random.Generator) -> np.ndarray:
        return cuts.random(n, parts, rng)

    def largest(self, n: int, K: int) -> int:
        return n
