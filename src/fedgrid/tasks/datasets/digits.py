"""The embedded dataset: scikit-learn's 1,797 handwritten digits of 8×8 (UCI's optical recognition test set).

`extract` writes them as an .npz from the library; `load` needs only numpy. The last 297 images are the test set.
"""

from pathlib import Path

import numpy as np

from fedgrid.files import whole
from fedgrid.tasks.datasets.dataset import Dataset

TRAIN = 1500  # images; 50 clients of 30, or 100 shards of 15


def extract(path: Path) -> None:
    """Writes scikit-learn's digits to path: x uint8 (1797, 64) from 0 to 16, y int64 (1797,)."""
    from sklearn.datasets import load_digits  # an import of the orchestration, not of a compute node

    x, y = load_digits(return_X_y=True)
    with whole(path) as partial, partial.open("wb") as file:
        np.savez(file, x=x.astype(np.uint8), y=y.astype(np.int64))


def load(folder: Path) -> Dataset:
    """The digits from the folder's digits.npz."""
    with np.load(folder / "digits.npz", allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    return Dataset("digits", x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:], white=16)
