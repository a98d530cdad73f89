"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images of 32×32 in colour, ten classes alike.

The archive's members are pickles. They are read by an unpickler that knows arrays of bytes and nothing else, so that a
forged one can run no code.
"""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fedgrid.tasks.datasets.dataset import Dataset

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TRAIN, TEST = tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",)
IMAGES = 10_000  # in a batch


class Kind:
    """A pickled dtype, of which only the name is read: numpy's own can be forged to crash the process."""

    def __init__(self, name: bytes | str, *flags: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


class Bytes:
    """A pickled array of bytes."""

    def __init__(self, *empty: Any) -> None:
        self.array = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, numbers = state
        if kind.name not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"its numbers are {kind.name!r}, not bytes")
        self.array = np.frombuffer(numbers, np.uint8).reshape(shape, order="F" if by_columns else "C")


KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Bytes for core in ("core", "_core")},  # numpy 1's, and 2's
    ("numpy", "ndarray"): Bytes,
    ("numpy", "dtype"): Kind,
}


class Arrays(pickle.Unpickler):
    """An unpickler of plain values and arrays of bytes."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may call."""
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it calls {module}.{name}")
        return KNOWN[module, name]


def batch(archive: tarfile.TarFile, member: str) -> tuple[np.ndarray, np.ndarray]:
    """The images of a batch, uint8 (10000, 3072) by height, width and colour, and their classes, int64 (10000,)."""
    file = archive.extractfile(f"{FOLDER}/{member}")
    if file is None:
        raise ValueError(f"{member} is no file")
    read = Arrays(io.BytesIO(file.read()), encoding="bytes").load()
    images, classes = read[b"data"].array, np.array(read[b"labels"], np.int64)
    if images.shape != (IMAGES, 3072) or classes.shape != (IMAGES,):
        raise ValueError(f"{member} has images {images.shape} and classes {classes.shape}")
    return images.reshape(-1, 3, 1024).swapaxes(1, 2).reshape(IMAGES, -1), classes


def joined(archive: tarfile.TarFile, members: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The images and classes of several batches, one after another."""
    images, classes = zip(*(batch(archive, member) for member in members), strict=True)
    return np.concatenate(images), np.concatenate(classes)


def load(folder: Path) -> Dataset:
    """CIFAR-10 from the folder's archive; ValueError naming it where it is damaged or no such archive."""
    path = folder / ARCHIVE
    try:
        with tarfile.open(path) as archive:
            (train_x, train_y), (test_x, test_y) = (joined(archive, members) for members in (TRAIN, TEST))
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive raises whatever its parsers stumble over
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: no archive of CIFAR-10 ({reason}); delete it and fetch the data again") from error
    return Dataset("cifar10", train_x, train_y, test_x, test_y, white=255)
