"""What jobs ask of a cluster, worked out by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from fedgrid.grid import artefacts
from fedgrid.slurm import resources

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def cell():
    """Table 4's E = 10, B = 50 on IID data, at six rates; the paper took 45 rounds."""
    table4 = artefacts.artefact("table4", ROOT / "params").cells
    (found,) = (one for one in table4 if (one.settings["partition"], one.E, one.B, one.seed) == ("iid", 10, 50, 0))
    return replace(found, lr=(0.0215, 0.0464, 0.1, 0.215, 0.464, 1.0))


def test_the_walltime_is_twice_the_plans_expectation(cell):
    # 45 rounds × 10 clients × 600 examples × 10 epochs × 6 rates × 879,200 operations, at 20 GFLOP/s
    seconds = 45 * 10 * 600 * 10 * 6 * 879_200 / 20e9
    assert resources.minutes(cell, 0, 1) == round(2 * seconds / 60) == 24
    assert resources.minutes(cell, 0, 3) == round(6 * seconds / 60)


def test_a_cell_that_the_paper_prints_no_rounds_of_may_take_its_horizon(cell):
    unprinted = replace(cell, E=7, rounds=100)
    seconds = 100 * 10 * 600 * 7 * 6 * 879_200 / 20e9
    assert resources.minutes(unprinted, 0, 1) == round(2 * seconds / 60) == 37


@pytest.mark.parametrize("attempt", [1, 2, 100])
def test_no_job_asks_for_less_than_minutes_or_more_than_a_day(cell, attempt):
    assert resources.minutes(cell, 1, attempt) >= 10
    assert resources.minutes(replace(cell, E=1, rounds=1), 0, attempt) == 10
    assert resources.minutes(replace(cell, E=1000), 0, attempt) == 24 * 60


@pytest.mark.parametrize("attempt", [1, 6])
def test_a_partition_that_grants_less_is_asked_for_no_more(cell, attempt):
    """The job would wait forever, or go to a partition that nobody meant; stopped at its limit, it resumes."""
    assert resources.minutes(replace(cell, E=1000), 0, attempt, longest=240) == 240
    assert resources.minutes(replace(cell, E=1, rounds=1), 0, attempt, longest=5) == 5


def test_memory_grows_with_weights_rates_and_attempts(cell):
    weights = 199_210 * 6
    assert resources.megabytes(cell, 0, 1) == round(1500 + 10 * 4 * weights / 1e6)
    assert resources.megabytes(cell, 0, 2) == round(2 * (1500 + 10 * 4 * weights / 1e6))
    assert resources.megabytes(cell, 0, 6) == resources.megabytes(cell, 0, 3)
    assert resources.megabytes(cell, 0, 3) == round(3 * (1500 + 10 * 4 * weights / 1e6))
    assert resources.megabytes(cell, 1, 1) > resources.megabytes(cell, 0, 1)


def test_cells_that_share_a_job_are_granted_together_what_one_is(cell):
    short, long = replace(cell, E=1, rounds=1), replace(cell, E=1000)
    here = resources.cluster({"longest": 40, "gpu_tasks": ["cifar"]})
    assert (here.gpus(cell), here.pack(short), here.pack(long)) == (0, "short", None)
    assert [here.minutes(short, 1, {"short": n}) for n in (1, 8, 100)] == [10, 5, 1]
    assert here.minutes(long, 1, {"short": 8}) == 40
    assert here.megabytes(cell, 2) == resources.megabytes(cell, 0, 2)


def test_every_task_takes_a_gpu_unless_told(cell):
    assert resources.cluster({}).gpus(cell) == 1
    assert resources.cluster({}).pack(replace(cell, E=1, rounds=1)) == "short_gpu"
    assert resources.cluster({"gpu_tasks": []}).gpus(cell) == 0


def test_a_cell_of_portable_numbers_takes_no_gpu_and_a_cpus_time(cell):
    portable = replace(cell, numerics="portable")
    assert resources.cluster({}).gpus(portable) == 0
    assert resources.cluster({}).minutes(portable, 1, {}) == resources.minutes(cell, 0, 1)


@pytest.mark.parametrize("longest", [0, "day", True, 1.5])
def test_what_is_granted_is_whole_minutes(longest):
    with pytest.raises(ValueError, match=r"partitions.yaml: longest is .*; it must be minutes, from 1"):
        resources.cluster({"longest": longest})


def test_processes_share_a_long_cell_and_no_short_one(cell, monkeypatch):
    short, long = replace(cell, E=1, rounds=1), replace(cell, E=1000)
    here, alone = resources.cluster({"ranks": 4, "gpu_tasks": []}), resources.cluster({"gpu_tasks": []})
    assert [here.tasks(short), here.tasks(long), alone.tasks(long)] == [None, 4, None]
    assert here.megabytes(long, 1) == 4 * resources.megabytes(long, 0, 1)
    assert here.megabytes(short, 1) == resources.megabytes(short, 0, 1)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert [here.start(short, 1), alone.start(long, 1)] == ["python", "python"]
    assert here.start(long, 1) == "torchrun --standalone --nproc-per-node=4"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert here.start(long, 2) == "srun --kill-on-bad-exit=1 --ntasks=4 --cpus-per-task=2 python"
    assert here.start(short, 2) == "python"


@pytest.mark.parametrize("ranks", [0, "two", True])
def test_processes_are_a_whole_number(ranks):
    with pytest.raises(ValueError, match=r"partitions.yaml: ranks is .*; it must be processes, from 1"):
        resources.cluster({"ranks": ranks})
