"""MNIST (LeCun, Cortes, Burges): 60,000 training and 10,000 test images of 28×28, in the IDX format."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from fedgrid.tasks.datasets.dataset import Dataset

UNSIGNED_BYTE = 8


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in a gzipped IDX file; ValueError naming the file where it is not one or is cut short."""
    try:
        raw = gzip.decompress(path.read_bytes())
        zeros, kind, axes = struct.unpack(">HBB", raw[:4])
        shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise ValueError(f"{path}: no IDX file ({error}); delete it and fetch the data again") from error
    if zeros or kind != UNSIGNED_BYTE or len(raw) != 4 + 4 * axes + math.prod(shape):
        raise ValueError(f"{path}: no IDX file of bytes of shape {shape}; delete it and fetch the data again")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()  # writable, as torch wants it


def load(folder: Path) -> Dataset:
    """MNIST from its four files in the folder, each image a row of 784 pixels."""
    arrays = {
        f"{part}_{kind}": read_idx(folder / f"{prefix}-{name}-ubyte.gz")
        for part, prefix in (("train", "train"), ("test", "t10k"))
        for kind, name in (("x", "images-idx3"), ("y", "labels-idx1"))
    }
    return Dataset(
        name="mnist",
        train_x=arrays["train_x"].reshape(-1, 784),
        train_y=arrays["train_y"].astype(np.int64),
        test_x=arrays["test_x"].reshape(-1, 784),
        test_y=arrays["test_y"].astype(np.int64),
        white=255,
    )
