"""Laws of the real thing: MNIST as FEDGRID_MIRROR (a folder) serves it, and a committed record run again."""

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fedgrid.grid import artefacts
from fedgrid.partitions import PARTITIONS
from fedgrid.run import job, race, record
from fedgrid.tasks import fetch

ROOT = Path(__file__).parents[1]
MIRROR = os.environ.get("FEDGRID_MIRROR")
pytestmark = pytest.mark.skipif(not (MIRROR and Path(MIRROR).is_dir()), reason="FEDGRID_MIRROR names no folder")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    raw = tmp_path_factory.mktemp("raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDGRID_MIRROR", MIRROR)
        fetch.fetch("mnist", raw, ROOT / "params/datasets.yaml")
    return job.load_data("mnist", raw)


def test_mnist_has_its_published_counts(data):
    assert data.train_x.shape == (60000, 784) and data.test_x.shape == (10000, 784)
    assert np.bincount(data.train_y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.test_y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert f"{data.train_x.mean() / 255:.4f} {data.train_x.std() / 255:.4f}" == "0.1307 0.3081"  # as often quoted


def test_shards_of_mnist_are_200_of_300_and_two_to_a_client(data):
    drawn = job.draw_partition(data, PARTITIONS["shards"](), 100, seed=0)
    held = [np.unique(data.train_y[drawn[k]]) for k in range(100)]
    assert {len(drawn[k]) for k in range(100)} == {600}
    assert max(map(len, held)) <= 4 and np.mean([len(labels) <= 2 for labels in held]) > 0.8
    by_label = np.argsort(data.train_y, kind="stable")
    shard_of = np.empty(60000, int)
    shard_of[by_label] = np.arange(60000) // 300
    assert all(len(np.unique(shard_of[drawn[k]])) == 2 for k in range(100))


@pytest.mark.parametrize("E, B, calm", [(1, 10, 0.1), (1, 50, 0.215)])
def test_a_committed_record_run_again_has_the_same_curve(data, E, B, calm):
    (cell,) = [
        one
        for one in artefacts.artefact("table4", ROOT / "params").cells
        if (one.settings["partition"], one.E, one.B, one.seed) == ("iid", E, B, 0)
    ]
    kept = record.read(record.path(cell.name, ROOT / record.CELLS))
    drawn = job.draw_partition(data, cell.partition, cell.K, cell.seed)
    assert (data.digest, drawn.digest) == (kept["provenance"]["data"], kept["provenance"]["partition"])
    *_, lap = islice(race.laps(cell, data, drawn, race.start(cell)), 2)
    for again, before in zip(lap.rates, kept["curves"]["rates"], strict=True):
        assert again.diverged == before["diverged"] or lap.t < before["diverged"]
        # Another processor adds in another order: AVX-512, AVX2 and SSE were seen to differ by 0.0012 up to the calm
        # rate, beyond by 0.0022 to 0.18; another seed differs by 0.016 in one round or more.
        if before["lr"] <= calm:
            assert again.test_accuracy == pytest.approx(before["test_accuracy"][:2], abs=0.002)
