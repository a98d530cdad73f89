"""What every loader returns, and what is known of a dataset besides."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedgrid.tasks.datasets.declaration import Declaration

NOTHING = -1  # among tokens: no character or word
BLOCK = 2**16  # examples hashed at once: a memory-mapped corpus never lies in memory whole


@dataclass(frozen=True)
class Dataset:
    """Examples as stored.

    Of images, train_x and test_x are uint8 (examples, pixels), 0 to `white`; of measurements, float32 (examples, …),
    with a `white` of 1. train_y and test_y are their classes, int64 (examples,). Of texts, x are the characters or
    words that are read and y those that come next, int16 (examples, unroll), NOTHING where a word is unknown and after
    an end that is not learnt.
    clients: int64 (K + 1,), where each client's training examples begin, one client's after another's; None where the
    data have no clients of their own.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    white: int = 0
    clients: np.ndarray | None = None

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            inputs, classes = len(getattr(self, f"{part}_x")), len(getattr(self, f"{part}_y"))
            if inputs != classes:
                raise ValueError(f"{self.name}: {inputs} {part}ing inputs but {classes} labels; fetch the data again")

    @property
    def digest(self) -> str:
        """sha256 of the arrays, with their shapes and types, in hexadecimal."""
        digest = hashlib.sha256()
        for array in (self.train_x, self.train_y, self.test_x, self.test_y, self.clients):
            if array is not None:
                digest.update(f"{array.shape} {array.dtype.str} ".encode())
                for start in range(0, len(array), BLOCK):
                    digest.update(array[start : start + BLOCK].tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class DatasetInfo:
    """All that is known of a dataset.

    load: the folder of its files → Dataset; of a corpus, the folder of what they were encoded into, `words.load`.
    example: what one of its examples is called. posts: of a corpus, the folder of its files → (author, text) of each
    post, as often as asked. declared: what params/datasets.yaml would say of it, where it stands elsewhere.
    """

    load: Callable[[Path], Dataset]
    example: str = "image"
    posts: Callable[[Path], Iterator[tuple[str, str]]] | None = None
    declared: Declaration | None = None
