"""Algorithm 1, FederatedAveraging, of McMahan et al. 2017 (arXiv 1602.05629): the specification.

Slow and readable, to be held beside the PDF; symbols are the paper's. The engine does the same work fast and is tested
equal to this file. FedSGD is the case E = 1, B = inf; plain SGD, Table 3's baseline, has no clients. Averages are
weighted by n_k / m_t over the cohort, as the erratum in the arXiv's v4 corrects the printed sum over all K clients.

No function here reads a file, a flag, a clock or a global random state.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

# The paper writes m = max(C·K, 1) and leaves open what happens where C·K is not an integer.
ROUNDINGS: dict[str, Callable[[float], int]] = {
    "nearest": round,  # not int: int(0.29 * 100) is 28
    "down": lambda x: math.floor(round(x, 9)),
    "up": lambda x: math.ceil(round(x, 9)),
}
# The paper's ClientUpdate splits P_k into batches before its loop over epochs; practice shuffles in every epoch.
SHUFFLES = ("every_epoch", "once")

ALGORITHMS = ("fedavg", "sgd")
# How often the learning rate has decayed before round t, each round a pass over that share of the data. The paper says
# that rates decay on CIFAR-10, and not when; docs/deviations.md has why its own curves speak for epochs.
DECAYS: dict[str, Callable[[int, float], int]] = {
    "epoch": lambda t, share: math.floor(round((t - 1) * share, 9)),
    "round": lambda t, share: t - 1,
}

Stream = Callable[..., np.random.Generator]
Loss = Callable[[Tensor, np.ndarray], Tensor]


def cohort_size(K: int, C: float, rounding: str = "nearest") -> int:
    """m = max(C·K, 1), the clients of a round."""
    return max(ROUNDINGS[rounding](C * K), 1)


def cohort(K: int, C: float, rng: np.random.Generator, rounding: str = "nearest") -> np.ndarray:
    """S_t: a random set of m = max(C·K, 1) clients, sorted, as int64 (m,)."""
    return np.sort(rng.choice(K, cohort_size(K, C, rounding), replace=False))


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


def client_update(
    w: Tensor, P_k: np.ndarray, loss: Loss, E: int, B: float, lr: float, rng: np.random.Generator, shuffle: str
) -> Tensor:
    """ClientUpdate(k, w): E epochs of plain SGD from w, in batches of B of the client's own examples."""
    for order in epochs(P_k, E, rng, shuffle):
        for b in batches(order, B):
            w = w.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(w, b), w)
            w = w.detach() - lr * gradient
    return w


def rounds(
    w: Tensor,
    P: Sequence[np.ndarray],
    loss: Loss,
    *,
    C: float,
    E: int,
    B: float,
    lr: float,
    stream: Stream,
    rounding: str = "nearest",
    shuffle: str = "every_epoch",
) -> Iterator[Tensor]:
    """w_1, w_2, …: the server's weights after each round, without end.

    `w` is the flat weight vector w_0; `P[k]` holds the indices of client k's examples; `loss(w, b)` is the mean loss
    ℓ(w; b) over the examples b, differentiable in w; `stream(name, *keys)` gives a named random stream.
    """
    t = 0
    while True:
        t += 1
        S_t = cohort(len(P), C, stream("cohort", t), rounding)
        m_t = sum(len(P[k]) for k in S_t)
        w_k = [client_update(w, P[k], loss, E, B, lr, stream("client", t, k), shuffle) for k in S_t]
        w = sum((len(P[k]) / m_t * w_k[i] for i, k in enumerate(S_t)), torch.zeros_like(w))
        yield w
