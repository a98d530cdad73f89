"""Where an order of examples is cut into slices."""

import numpy as np


def equal(n: int, parts: int) -> np.ndarray:
    """parts + 1 offsets that cut n examples into slices of n / parts, give or take one."""
    return np.linspace(0, n, parts + 1).astype(np.int64)


def random(n: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """parts + 1 offsets that cut n examples at uniformly random places; no slice is empty."""
    inner = np.sort(rng.choice(n - 1, parts - 1, replace=False)) + 1
    return np.concatenate([[0], inner, [n]]).astype(np.int64)
