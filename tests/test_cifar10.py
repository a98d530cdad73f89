"""CIFAR-10: the real archive's counts, and archives that are damaged or forged."""

import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fedgrid.tasks import fetch
from fedgrid.tasks.datasets import cifar10

PARAMS = Path(__file__).parents[1] / "params" / "datasets.yaml"
MIRROR = os.environ.get("FEDGRID_MIRROR", "")
IMAGES = np.arange(10_000 * 3072, dtype=np.uint64).astype(np.uint8).reshape(10_000, 3072)


def archived(folder, members):
    """An archive of those members; the batches that are not named hold the same pattern."""
    batch = pickle.dumps({b"data": IMAGES, b"labels": [i % 10 for i in range(10_000)]}, protocol=4)
    everything = dict.fromkeys((*cifar10.TRAIN, *cifar10.TEST), batch) | members
    with tarfile.open(folder / cifar10.ARCHIVE, "w:gz", compresslevel=1) as archive:
        for name, content in everything.items():
            member = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def refusal(folder):
    with pytest.raises(ValueError) as caught:
        cifar10.load(folder)
    message = str(caught.value)
    assert message.startswith(str(folder / cifar10.ARCHIVE)) and "\n" not in message
    return message


def test_images_are_read_by_height_width_and_colour(tmp_path):
    archived(tmp_path, {})
    data = cifar10.load(tmp_path)
    assert data.train_x.shape == (50_000, 3072) and data.test_x.shape == (10_000, 3072)
    red, green, blue = IMAGES[3].reshape(3, 32, 32)  # as stored
    image = data.test_x[3].reshape(32, 32, 3)
    for plane, colour in enumerate((red, green, blue)):
        assert (image[:, :, plane] == colour).all()
    assert data.train_y[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1] and data.train_y.dtype == np.int64


class Forged:
    def __reduce__(self):
        return os.system, ("touch forged",)


def test_a_forged_batch_runs_nothing_and_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archived(tmp_path, {"data_batch_3": pickle.dumps({b"data": Forged(), b"labels": []}, protocol=4)})
    assert "it calls posix.system" in refusal(tmp_path)
    assert not Path("forged").exists()


class Pickled:
    """What a pickle makes by a call, and the state that it gives it: any, also one that numpy never writes."""

    def __init__(self, makes, given, state):
        self.reduced = makes, given, state

    def __reduce__(self):
        return self.reduced


def pickled(numbers, name="u1", shape=IMAGES.shape, by_columns=False, state=(3, "|", None, None, None, -1, -1, 0)):
    """An array as numpy pickles it."""
    makes, given, _ = IMAGES.__reduce__()
    return Pickled(makes, given, (1, shape, Pickled(np.dtype, (name, False, True), state), by_columns, numbers))


def batch_with(**changed):
    return pickle.dumps({b"data": IMAGES, b"labels": [0] * 10_000} | {k.encode(): v for k, v in changed.items()}, 4)


@pytest.mark.parametrize("place", ["data", "labels"])
def test_a_forged_dtype_is_refused_before_numpy_sees_it(tmp_path, place):
    """Of a void whose field is an object without saying so: numpy took an array's bytes for addresses and crashed."""
    inner = Pickled(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 63))
    state = 3, "|", None, ("a",), {"a": (inner, 0)}, 8, 1, 0
    archived(tmp_path, {"data_batch_2": batch_with(**{place: pickled(b"A" * 32, "V8", (4,), state=state)})})
    assert "its numbers are 'V8', not bytes" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["i1", "b1", "u2", b"f8"])
def test_images_of_other_numbers_are_refused(tmp_path, name):
    archived(tmp_path, {"data_batch_2": batch_with(data=pickled(IMAGES.tobytes(), name))})
    assert f"its numbers are {name!r}, not bytes" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["u1", b"u1"])  # as Python 3 writes it, and 2
@pytest.mark.parametrize("order", ["C", "F"])
def test_images_are_read_by_rows_and_by_columns(tmp_path, name, order):
    archived(tmp_path, {"test_batch": batch_with(data=pickled(IMAGES.tobytes(order), name, by_columns=order == "F"))})
    read = cifar10.load(tmp_path)
    assert (read.test_x == read.train_x[:10_000]).all()


def test_a_damaged_or_incomplete_archive_is_named(tmp_path):
    archived(tmp_path, {"test_batch": pickle.dumps({b"data": IMAGES[:5], b"labels": [0] * 5}, protocol=4)})
    assert "test_batch has images (5, 3072)" in refusal(tmp_path)
    place = tmp_path / cifar10.ARCHIVE
    place.write_bytes(place.read_bytes()[:100_000])
    assert "delete it" in refusal(tmp_path)
    place.write_bytes(b"no archive")
    assert "delete it" in refusal(tmp_path)


def test_of_an_archive_each_members_md5_is_pinned_whatever_its_compression(tmp_path):
    archived(tmp_path, {"data_batch_1": b"one", "test_batch": b"two"})
    place = tmp_path / cifar10.ARCHIVE
    one, two = "f97c5d29941bfb1b2fdab0874906ab82", "b8a9f715dbb64fd5c56e7783c6820a61"  # md5 of "one" and "two"
    right = {"data_batch_1": one, "test_batch": two}
    assert fetch.bring(place, right, []) == place
    for wrong, member in (
        ({**right, "test_batch": one}, "test_batch"),
        ({**right, "data_batch_9": one}, "data_batch_9"),
    ):
        with pytest.raises(ValueError, match=f"{member} is .*, not {one}"):
            fetch.bring(place, wrong, [])
    place.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=f"data_batch_1 is None, not {one} as pinned; delete it"):
        fetch.bring(place, right, [])


@pytest.mark.skipif(not Path(MIRROR, "cifar10").is_dir(), reason="FEDGRID_MIRROR is no folder with CIFAR-10")
def test_the_pinned_archive_has_five_thousand_and_a_thousand_images_of_each_class(tmp_path):
    fetch.fetch("cifar10", tmp_path, PARAMS)
    data = cifar10.load(tmp_path / "cifar10")
    assert np.bincount(data.train_y).tolist() == [5000] * 10 and np.bincount(data.test_y).tolist() == [1000] * 10
    means = data.train_x.reshape(-1, 3).mean(0) / 255
    assert [f"{mean:.4f}" for mean in means] == ["0.4914", "0.4822", "0.4465"]  # as often quoted: red, green, blue
