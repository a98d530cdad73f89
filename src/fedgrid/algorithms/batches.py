"""In which order a client goes through its examples: ℬ and the epochs of ClientUpdate, McMahan et al. 2017."""

import math
from collections.abc import Callable, Iterator

import numpy as np

# The paper's ClientUpdate splits P_k into batches before its loop over epochs; practice shuffles in every epoch.
SHUFFLES = ("every_epoch", "once")
# How often the learning rate has decayed before round t, each round a pass over that share of the data. The paper says
# that rates decay on CIFAR-10, and not when; docs/deviations.md has why its own curves speak for epochs.
DECAYS: dict[str, Callable[[int, float], int]] = {
    "epoch": lambda t, share: math.floor(round((t - 1) * share, 9)),
    "round": lambda t, share: t - 1,
}

Stream = Callable[..., np.random.Generator]


def epochs(P_k: np.ndarray, E: int, rng: np.random.Generator, shuffle: str = "every_epoch") -> Iterator[np.ndarray]:
    """E orders of client k's examples P_k, int64 (n_k,) each: a fresh one per epoch, or one for all."""
    order = rng.permutation(P_k)
    for epoch in range(E):
        if epoch and shuffle == "every_epoch":
            order = rng.permutation(P_k)
        yield order


def batches(order: np.ndarray, B: float) -> Iterator[np.ndarray]:
    """ℬ: the order cut into batches of size B; the last one may be smaller, B = inf is a single batch."""
    size = min(B, len(order))
    for start in range(0, len(order), int(size)):
        yield order[start : start + int(size)]


def minibatch(n: int, B: float, t: int, stream: Stream) -> np.ndarray:
    """The examples of plain SGD's t-th update on n of them, int64 (B,): each epoch a fresh order, cut into batches."""
    epoch, step = divmod(t - 1, math.ceil(n / B))
    size = int(min(B, n))
    return stream("epoch", epoch).permutation(n)[step * size :][:size]
