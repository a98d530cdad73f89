"""What every loader returns."""

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dataset:
    """Images as stored, and their classes.

    train_x, test_x: uint8 (examples, pixels), 0 to `white`; train_y, test_y: int64 (examples,).
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    white: int

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = len(getattr(self, f"{part}_x")), len(getattr(self, f"{part}_y"))
            if images != labels:
                raise ValueError(f"{self.name}: {images} {part}ing images but {labels} labels; fetch the data again")

    @property
    def digest(self) -> str:
        """sha256 of the four arrays, with their shapes and types, in hexadecimal."""
        digest = hashlib.sha256()
        for array in (self.train_x, self.train_y, self.test_x, self.test_y):
            digest.update(f"{array.shape} {array.dtype.str} ".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()
