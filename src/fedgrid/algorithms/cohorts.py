"""Who takes part in a round: S_t of Algorithm 1, McMahan et al. 2017. No function here keeps a state."""

import math
from collections.abc import Callable

import numpy as np

# The paper writes m = max(C·K, 1) and leaves open what happens where C·K is not an integer.
ROUNDINGS: dict[str, Callable[[float], int]] = {
    "nearest": round,  # not int: int(0.29 * 100) is 28
    "down": lambda x: math.floor(round(x, 9)),
    "up": lambda x: math.ceil(round(x, 9)),
}


def cohort_size(K: int, C: float, rounding: str = "nearest") -> int:
    """m = max(C·K, 1), the clients of a round."""
    return max(ROUNDINGS[rounding](C * K), 1)


def cohort(K: int, C: float, rng: np.random.Generator, rounding: str = "nearest") -> np.ndarray:
    """S_t: a random set of m = max(C·K, 1) clients, sorted, as int64 (m,)."""
    return np.sort(rng.choice(K, cohort_size(K, C, rounding), replace=False))
