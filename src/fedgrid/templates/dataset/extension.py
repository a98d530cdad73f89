"""NAME: a dataset of your own, here ten Gaussian clouds of points, and the task that learns it.

A dataset says how many training examples it has, where its files come from, what each must be, and how they are loaded.
Files of your own come from a URL or a folder, ["https://…"], where [generate] stands below.
"""

from pathlib import Path

import numpy as np

from fedgrid.files import whole
from fedgrid.tasks import TASKS, Task
from fedgrid.tasks.datasets import DATASETS, Dataset, DatasetInfo, Declaration
from fedgrid.tasks.models import dense

CLASSES, NUMBERS = 10, 16  # a point is 16 numbers
TRAIN, TEST = 1000, 500


def generate(path: Path) -> None:
    """Writes the file: points about ten centres, as bytes, so that every machine makes the same."""
    rng = np.random.default_rng(0)
    centres = rng.integers(64, 192, size=(CLASSES, NUMBERS))
    y = np.arange(TRAIN + TEST) % CLASSES
    points = centres[y] + rng.integers(-60, 61, size=(len(y), NUMBERS))
    with whole(path) as partial, partial.open("wb") as file:
        np.savez(file, x=points.astype(np.uint8), y=y)


def load(folder: Path) -> Dataset:
    """The points from the folder's points.npz; the last 500 are the test set."""
    with np.load(folder / "points.npz", allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    return Dataset("NAME", x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:], white=255)


# The sha256 of the file or, of an .npz, of its arrays. Write "unpinned", and `python -m fedgrid fetch NAME` tells it.
PINNED = "eb48cfa33b178da0609e09fb42c09195858ae6d6eb696710ae3b1f5b394aa82d"
DATASETS.register("NAME")(
    DatasetInfo(load, example="point", declared=Declaration(TRAIN, [generate], {"points.npz": PINNED}))
)
TASKS.register("NAME")(Task("NAME", dense(NUMBERS, 32, CLASSES)))
