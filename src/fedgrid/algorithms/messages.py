"""What is done to a client's update before it is sent: a chain of transformations, none by default.

A transformation is a frozen dataclass of its own settings that takes an update, w_k − w_t, and gives another.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedgrid.algorithms.batches import Stream
from fedgrid.algorithms.costs import Bound


class Sender(NamedTuple):
    """Whose update it is: client k of the cohort S_t of round t; `stream` gives named random streams."""

    t: int
    k: int
    S_t: np.ndarray
    stream: Stream


class Transformation:
    """One link of the chain."""

    def __call__(self, update: Tensor, sender: Sender) -> Tensor:
        """What is sent in place of the update (…, parameters), where … is nothing or the learning rates."""
        raise NotImplementedError

    def bounds(self) -> Iterator[Bound]:
        """What it asks of its own settings."""
        yield from ()


def transformed(w_t: Tensor, w_k: Tensor, chain: Sequence[Transformation], sender: Sender) -> Tensor:
    """The weights that the server is told: w_t + the transformed w_k − w_t.

    Written as w_k + (transformed − update): a chain that changes nothing changes no bit.
    """
    if not chain:
        return w_k
    update = sent = w_k - w_t
    for transformation in chain:
        sent = transformation(sent, sender)
    return w_k + (sent - update)


@dataclass(frozen=True)
class Clip(Transformation):
    """Updates longer than `norm` in L2 are shortened to it (McMahan et al. 2018, arXiv 1710.06963, section 3)."""

    norm: float = 1.0

    def __call__(self, update: Tensor, sender: Sender) -> Tensor:
        length = torch.linalg.vector_norm(update, dim=-1, keepdim=True)
        return update * (self.norm / length.clamp(min=self.norm))

    def bounds(self) -> Iterator[Bound]:
        yield "norm", 0 < self.norm < math.inf, "a positive number"
