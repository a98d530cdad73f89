"""Laws of a cell that several processes share: real ones, on the embedded digits among 50 clients."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml

from fedgrid import commands
from fedgrid.engine import ranks
from fedgrid.grid import artefacts
from fedgrid.numerics import NUMERICS
from fedgrid.run import job, locks, record
from fedgrid.tasks.datasets import digits
from tests.sharing import OWN, free_port, made, process, said, started

FEDAVG = {
    "task": "digits_2nn",
    "partition": "shards",
    "K": 50,
    "C": 0.5,  # 25 clients, in pieces of which the last one is smaller
    "E": 1,
    "B": 7,
    "lr": [0.1, 0.3],
    "targets": [],
    "rounds": 6,
    "evaluate": "every_round",
    "train_loss": True,
}
FEDSGD = FEDAVG | {"partition": "iid", "C": 1.0, "B": "inf", "rounds": 3}  # 1,500 examples: two pieces
CELLS = {
    "fedavg, a rate of which diverges": FEDAVG | {"lr": [0.1, 0.3, 1e30]},
    "fedsgd": FEDSGD,
    "one client a round": FEDAVG | {"C": 0},
    "states at clients and server": FEDAVG | {"algorithm": "controlled"},
    "a rate of which is pruned": FEDAVG | {"lr": [0.01, 0.3], "prune": {"evaluations": 1, "smaller": 1, "larger": 1}},
    "sgd": FEDAVG | {"partition": "iid", "algorithm": "sgd", "K": 1, "C": 1, "B": 50},
    "cnn": FEDAVG | {"task": "digits_cnn", "C": 0.1, "rounds": 2},
    "interpolation": {
        **{"kind": "interpolation", "shared_start": True, "points": 3},
        **{"task": "digits_2nn", "partition": "iid", "K": 50, "E": 1, "B": 10, "lr": 0.1},
    },
}
DISTURBED = FEDAVG | {"rounds": 8, "algorithm": "controlled"}
ENDS_WITHIN = 60  # seconds, once one of a job's processes has ended: far more than any takes


@pytest.fixture(scope="module", autouse=True)
def own():
    """Registers what the processes register, until this module's tests are over."""
    for registry, name, choice in OWN:
        registry[name] = choice
    yield
    for registry, name, _ in OWN:
        del registry[name]


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    """A folder with the raw digits and their partitions, as `fetch` and `partition` leave them."""
    folder = tmp_path_factory.mktemp("digits") / "data"
    digits.extract(folder / "raw/digits/digits.npz")
    dataset = job.load_data("digits", folder / "raw")
    for one in map(made, (*CELLS.values(), DISTURBED)):
        drawn = job.draw_partition(dataset, one.partition, one.K, 0)
        job.write_partition(drawn, dataset, folder / f"partitions/{one.partition_name}.npz")
    return folder


@pytest.fixture
def folder(laid_out, tmp_path):
    return place(laid_out, tmp_path)


def place(laid_out, path):
    """A folder to run cells in."""
    (path / "data").symlink_to(laid_out)
    return path


@pytest.fixture(scope="module")
def alone(laid_out, tmp_path_factory):
    """The records of one process that nothing happens to."""
    where = place(laid_out, tmp_path_factory.mktemp("alone"))
    (only,) = started(where, 1, [*CELLS.values(), DISTURBED])
    assert ended([only]) == [0]
    assert all("ranks" not in one["provenance"]["hardware"] for one in records(where).values())
    return told(where)


def ended(processes, within=None):
    """The processes' exit statuses, once all have ended."""
    end = within and time.monotonic() + within
    try:
        return [one.wait(end and end - time.monotonic()) for one in processes]
    finally:
        for one in processes:
            one.kill()


def records(where):
    """The records that are there, by name."""
    return {path.stem: record.read(path) for path in where.glob("results/cells/*/*.json")}


def told(where):
    """The records' text by name, without what clocks say, memory, commits, and how many processes there were."""
    found = records(where)
    for one in found.values():
        one.pop("patch")
        for key in ("seconds", "examples_per_second", "peak_memory_bytes", "commit", "dirty", "patch"):
            del one["provenance"][key]
        one["provenance"]["hardware"].pop("ranks", None)
    return {name: record.text(one) for name, one in found.items()}


def until(condition):
    """Waits until the condition holds, as it must soon."""
    end = time.monotonic() + ENDS_WITHIN
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def kept_round(where):
    """The round of the one checkpoint that is there."""
    (path,) = (where / "results/checkpoints").glob("*.npz")
    with np.load(path) as arrays:
        return json.loads(str(arrays["state"]))[1]["t"]


def last_line(where, rank):
    """What that rank said last."""
    return said(where, rank).read_text().splitlines()[-1]


# The same record


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.fault)])
def test_a_record_is_that_of_one_process_whatever_it_is_of_and_however_many_share_it(folder, alone, count):
    orders = json.dumps({"cells": [*CELLS.values(), DISTURBED]})
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    shared = process(folder, [*torchrun, "-m"], orders, {"OMP_NUM_THREADS": "1"})
    assert ended([shared]) == [0]
    assert told(folder) == alone
    assert {one["provenance"]["hardware"]["ranks"] for one in records(folder).values()} == {count}
    assert len(list(folder.glob("results/statements/*/*"))) == len(alone)
    assert not list(folder.glob("results/checkpoints/*"))


def test_without_a_launcher_there_is_one_rank_and_no_group(monkeypatch):
    for name in (*ranks.TORCHRUN, *ranks.SRUN):
        monkeypatch.delenv(name, raising=False)
    with ranks.joined():
        assert (ranks.size(), ranks.rank(), ranks.first()) == (1, 0, True)
        assert not torch.distributed.is_initialized()
    assert (ranks.each("a"), ranks.told("a"), ranks.greatest(3)) == (["a"], "a", 3)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n[1-2]", "n1"),
        ("gpu[003,005-007],cpu1", "gpu003"),
        ("a-1,b[2-3]", "a-1"),
        ("r[1-2]n[04-5]", "r1n04"),
    ],
)
def test_srun_s_processes_meet_at_the_first_node(monkeypatch, nodes, first):
    for name in (*ranks.TORCHRUN, "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    srun = {"PROCID": "3", "STEP_NUM_TASKS": "4", "STEP_NODELIST": nodes, "JOB_ID": "1234567", "STEP_ID": "0"}
    for name, value in srun.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert ranks.launched() == (3, 4)
    assert ranks.meeting_place() == f"tcp://{first}:19567"
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.7")
    monkeypatch.setenv("MASTER_PORT", "999")
    assert ranks.meeting_place() == "tcp://10.0.0.7:999"


# Ended, and resumed


@pytest.mark.fault
@pytest.mark.parametrize(("count", "struck", "then"), [(2, 1, 4), (4, 0, 1)])
def test_a_killed_rank_ends_the_job_and_another_number_of_them_goes_on_from_the_checkpoint(
    folder, alone, count, struck, then
):
    doomed = started(folder, count, [DISTURBED], strike=[5, struck, signal.SIGKILL])
    assert doomed[struck].wait(300) == -signal.SIGKILL
    others = [rank for rank in range(count) if rank != struck]
    assert ended([doomed[rank] for rank in others], ENDS_WITHIN) == [1] * (count - 1)
    for rank in others:
        assert "another process of this job has ended or does not answer; run it again" in last_line(folder, rank)
    assert kept_round(folder) == 4
    assert ended(started(folder, then, [DISTURBED])) == [0] * then
    assert told(folder).items() <= alone.items() and len(told(folder)) == 1
    assert not list(folder.glob("results/checkpoints/*"))


@pytest.mark.fault
@pytest.mark.parametrize("struck", [2])
def test_sigterm_at_one_rank_has_all_leave_in_that_round(folder, alone, struck):
    stopped = started(folder, 3, [DISTURBED], strike=[5, struck, signal.SIGTERM])
    assert ended(stopped) == [143] * 3
    assert kept_round(folder) == 5
    assert ended(started(folder, 2, [DISTURBED])) == [0, 0]
    assert told(folder).items() <= alone.items() and len(told(folder)) == 1


# Refused


def test_processors_of_other_instruction_sets_do_not_share_a_cell(folder):
    apart = started(folder, 2, [FEDAVG], [{}, {"ATEN_CPU_CAPABILITY": "default"}])
    assert ended(apart) == [1, 1]
    says = "fedgrid run: rank 1 has the instruction set DEFAULT, rank 0 the instruction set "
    assert last_line(folder, 0).startswith(says)
    assert not list(folder.glob("results/cells/*/*"))


def test_other_cells_are_not_shared(folder):
    met = {"WORLD_SIZE": "2", "MASTER_PORT": str(free_port())}
    apart = started(folder, 1, [FEDAVG], [met]) + started(folder, 1, [FEDSGD], [met | {"RANK": "1"}])
    assert ended(apart) == [1, 1]
    for rank in (0, 1):
        assert "give a job processes of one cell, on nodes of one kind" in last_line(folder, rank)


def test_several_processes_do_not_begin_anew_for_cells_of_other_numerics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = {
        "task": "digits_2nn",
        "partition": "iid",
        "C": 0.1,
        "E": 1,
        "B": 10,
        "lr": 0.1,
        "targets": 0.9,
        "rounds": 5,
    }
    table = {"rows": ["numerics"], "columns": ["C"], "baseline": {"numerics": "native"}}
    declared = {"title": "Both", "paper": False, "cells": cells, "grid": [{"numerics": list(NUMERICS)}], "table": table}
    (tmp_path / "params").mkdir()
    (tmp_path / "params/both.yaml").write_text(yaml.safe_dump(declared))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="several processes run cells of native and of portable numerics apart"):
        commands.run([one.name for one in artefacts.artefact("both").cells])


def test_the_others_wait_as_long_as_the_first_waits_for_the_cell(folder, alone, monkeypatch):
    (folder / "results/checkpoints").mkdir(parents=True)
    with locks.alone(folder / f"results/checkpoints/{made(FEDSGD).name}.lock"):
        waiting = started(folder, 2, [FEDSGD], timeout=4)  # after so many seconds of silence a rank is given up
        until(lambda: "another process is at it" in said(folder, 0).read_text())
        with pytest.raises(subprocess.TimeoutExpired):
            waiting[1].wait(8)
    assert ended(waiting) == [0, 0]
    assert told(folder).items() <= alone.items()


def test_a_job_that_has_too_few_gpus_is_refused_since_its_ranks_would_wait_for_one_another(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    refused = pytest.raises(ValueError, match=r"^rank 1: no GPU of 1 is free; a job needs one for each rank$")
    with locks.first_free([tmp_path / "gpu"]), refused, locks.first_free([tmp_path / "gpu"]):
        pass
