"""The queue of cells that were not run, and what trains it within a time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedgrid.grid.artefacts import artefact
from fedgrid.grid.queue import queue, text
from fedgrid.run.fill import fill

ROOT = Path(__file__).parents[1]
PACE = 1000.0  # examples per second

# Two tables: the first has two seeds of one experiment and a dear cell; the second shows the first's seed 0, too.
SHARED = "{task: digits_2nn, partition: iid, K: 50, C: 0.1, E: 1, B: 10, lr: 0.1, targets: [0.9]"
ONE = f"""
title: "One"
cells: {SHARED}, rounds: 10}}
grid:
  - {{seed: [0, 1]}}
  - {{E: 9, rounds: 20}}
table: {{rows: [E], columns: [C], baseline: {{E: 1}}}}
"""
TWO = f"""
title: "Two"
cells: {SHARED}, rounds: 10}}
grid: [{{seed: 0}}]
table: {{rows: [E], columns: [C], baseline: {{E: 1}}}}
"""


@pytest.fixture
def artefacts(tmp_path):
    for name, declared in (("one", ONE), ("two", TWO)):
        (tmp_path / f"{name}.yaml").write_text(declared)
    return [artefact(name, tmp_path) for name in ("one", "two")]


def waiting(artefacts, done=()):
    return queue(artefacts, done, lambda dataset: 1500, lambda cell: PACE)


def by_seed_and_epochs(waiting):
    return [(one.cost.cell.seed, one.cost.cell.E) for one in waiting]


def test_each_cell_waits_once_by_what_it_adds_per_hour(artefacts):
    """A round of five clients of 30 examples takes 0.15 s: ten of them 1.5 s, twenty of nine epochs 27 s."""
    found = waiting(artefacts)
    assert by_seed_and_epochs(found) == [(0, 1), (1, 1), (0, 9)]
    assert [one.adds for one in found] == [2, 1 / 2, 1]  # in both tables; a second repeat; a first
    assert [one.fills for one in found] == [["one", "two"], ["one"], ["one"]]
    assert [3600 * one.cost.hours for one in found] == pytest.approx([1.5, 1.5, 27])


def test_a_repeat_adds_as_much_as_the_first_where_no_other_was_run(artefacts):
    first, second, _ = artefacts[0].cells
    (left, _) = waiting(artefacts[:1], {first.name})
    assert (left.cost.cell, left.adds) == (second, 1 / 2)
    (left, _) = waiting(artefacts[:1], {second.name})
    assert (left.cost.cell, left.adds) == (first, 1 / 2)


def test_nothing_waits_where_all_was_run(artefacts):
    everything = {cell.name for one in artefacts for cell in one.cells}
    assert waiting(artefacts, everything) == []
    assert text([], "core") == "0 cells to run: 0.00 h expected on one core"


def test_the_total_counts_a_shared_cell_once(artefacts):
    assert text(waiting(artefacts), "core").splitlines()[-1] == "3 cells to run: 0.01 h expected on one core"  # 30 s


def job(folder, name):
    """A process that writes its name and sleeps as long as the name says; asked to end, it says so and does."""
    program = (
        "import pathlib, signal, sys, time\n"
        f"place = pathlib.Path({str(folder / name)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: (place.write_text('asked to end'), sys.exit(143)))\n"
        f"place.write_text('begun'); time.sleep({name}); place.write_text('done')"
    )
    return [sys.executable, "-c", program]


def test_the_cell_that_runs_when_the_time_is_over_is_asked_to_end_and_none_follows(tmp_path):
    assert fill(["0", "60", "1"], 2, lambda name: job(tmp_path, name)) == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "done", "60": "asked to end"}


def test_a_cell_that_fails_is_named_and_the_next_one_runs(tmp_path):
    assert fill(["no number", "0"], 60, lambda name: job(tmp_path, name)) == ["no number"]
    assert (tmp_path / "0").read_text() == "done"


def test_whoever_ends_the_queue_ends_its_cell(tmp_path):
    program = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_queue import Path, fill, job\n"
        "fill(['60'], 60, lambda name: job(Path(sys.argv[2]), name))"
    )
    queueing = subprocess.Popen([sys.executable, "-c", program, str(ROOT / "tests"), str(tmp_path)])
    until = time.monotonic() + 60
    while not (tmp_path / "60").is_file() and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(queueing.pid, signal.SIGTERM)
    assert queueing.wait(60) == 143
    assert (tmp_path / "60").read_text() == "asked to end"


@pytest.mark.parametrize("hours", ["0", "-1", "two", "inf", "nan"])
def test_hours_are_a_number_above_zero(hours):
    ran = subprocess.run(
        [sys.executable, "-m", "fedgrid", "fill", "--", hours], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr == f"fedgrid fill: HOURS is {hours!r}; it must be a number above 0\n"
