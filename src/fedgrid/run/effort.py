"""What a race costs, from its settings and its partition alone: what its record says of examples and bytes is this."""

from collections.abc import Iterable

import numpy as np

from fedgrid.algorithms.cohorts import cohort, cohort_size
from fedgrid.grid.cells import Race
from fedgrid.partitions import Partition
from fedgrid.rng import stream

BYTES = 4  # of a number that is sent: float32


def moved(cell: Race, rounds: int) -> dict[str, int]:
    """The bytes that one learning rate's clients would have received and sent in so many rounds, uncompressed."""
    m = cohort_size(cell.K, cell.C, cell.rounding)
    down, up = (round(BYTES * floats * m * rounds) for floats in cell.algorithm.floats(cell.model.parameters))
    return {"bytes_down": down, "bytes_up": up}


def examples(cell: Race, drawn: Partition, lasts: Iterable[int]) -> int:
    """The examples that a race is trained on whose rates ran to those rounds: in each, Σ n_k·E over its cohort.

    Not of an algorithm without clients.
    """
    n_k = np.diff(drawn.offsets)
    alike = int(n_k[0]) if np.ptp(n_k) == 0 else None
    ran = sorted(lasts)
    rates = len(ran) - np.searchsorted(ran, range(1, max(ran, default=0) + 1))  # that ran in round 1, 2, …
    return sum(in_round(cell, drawn, alike, t) * int(running) for t, running in enumerate(rates, start=1))


def in_round(cell: Race, drawn: Partition, alike: int | None, t: int) -> int:
    """The examples that one rate is trained on in round t; `alike`: what each client has, where all have as many."""
    if alike is not None:  # no matter which clients take part
        return cohort_size(cell.K, cell.C, cell.rounding) * alike * cell.E
    S_t = cohort(cell.K, cell.C, stream(cell.seed, "cohort", t), cell.rounding)
    return int(drawn.sizes(S_t).sum()) * cell.E
