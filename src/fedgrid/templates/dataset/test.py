"""Laws of NAME: it is fetched as it is pinned, loaded whole, and its task's model takes it."""

import numpy as np

from fedgrid import extensions
from fedgrid.tasks import TASKS
from fedgrid.tasks.fetch import fetch

mine = extensions.load("NAME")


def test_what_is_fetched_is_what_is_pinned_and_what_the_model_takes(tmp_path):
    (path,) = fetch("NAME", tmp_path)
    data = mine.load(path.parent)
    assert data.train_x.shape == (mine.TRAIN, mine.NUMBERS)
    assert data.test_x.shape == (mine.TEST, mine.NUMBERS)
    TASKS["NAME"].check(data)


def test_every_class_is_there_as_often_in_training_and_in_the_test(tmp_path):
    mine.generate(tmp_path / "points.npz")
    data = mine.load(tmp_path)
    for y in (data.train_y, data.test_y):
        assert len(set(np.bincount(y, minlength=mine.CLASSES))) == 1
