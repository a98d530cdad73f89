"""The plan's numbers, worked out by hand from the paper's settings."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from sklearn.datasets import load_digits

from fedgrid.engine.precision import bf16_is_slow
from fedgrid.grid import plan
from fedgrid.grid.artefacts import artefact
from fedgrid.grid.cells import cell
from fedgrid.run import pace

ROOT = Path(__file__).parents[1]
PACE = 100_000.0  # examples per second
# Table 4's E = 10, B = 50 on IID data: a round is m = 10 clients of 600 examples, 10 epochs each, at 6 learning rates.
PER_ROUND = 10 * 600 * 10 * 6
# One example through the 2NN: a multiply-add for each of its weights forward, one for the gradient of each, and one to
# take the derivative back through each, but not through the first layer, whose input is the data.
WEIGHTS = (784 * 200, 200 * 200, 200 * 10)
FLOPS = 2 * (3 * sum(WEIGHTS) - WEIGHTS[0])


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def table4():
    """Table 4, its cells of seed 0 at six rates and up to round 2000, whatever grids its params have come to."""
    declared = artefact("table4", ROOT / "params")
    rates = (0.0215, 0.0464, 0.1, 0.215, 0.464, 1.0)
    cells = (replace(one, lr=rates, rounds=2000) for one in declared.cells if one.seed == 0)
    return replace(declared, cells=tuple(cells))


def of(artefact, **settings):
    """The artefact's one cell with those settings."""
    (found,) = (one for one in artefact.cells if all(one.settings[name] == value for name, value in settings.items()))
    return found


def costs(artefact, done=()):
    return {one.cell.name: one for one in plan.plan(artefact, done, plan.training_examples, lambda cell: PACE)}


def test_one_cell_of_table_4_by_hand(table4):
    wanted = of(table4, partition="iid", E=10, B=50)
    assert plan.examples_per_round(wanted, 60_000) == PER_ROUND == 360_000
    found = costs(table4)[wanted.name]
    assert found.examples == 45 * PER_ROUND == 16_200_000  # the paper took 45 rounds
    assert found.examples_at_most == 2000 * PER_ROUND
    assert FLOPS == 879_200
    assert found.flops == 16_200_000 * FLOPS  # 14.2 TFLOP
    assert found.hours == pytest.approx(162 / 3600)
    assert found.hours_at_most == pytest.approx(7200 / 3600)


@pytest.mark.parametrize("name", ["table1", "table4", "figure7"])
def test_expected_is_the_paper_s_rounds_and_at_most_the_horizon(name):
    """Figure 7 prints no rounds, but Table 4 those of its cells; of four cells Tables 1 and 4 print two numbers."""
    tables = yaml.safe_load(Path("params/paper.yaml").read_text())
    for one in costs(artefact(name)).values():
        printed = [
            entry["rounds"]
            for entry in tables["table1"] + tables["table4"]
            if all(one.cell.settings[key] == entry[key] for key in ("partition", "C", "E", "B"))
        ]
        assert 1 <= len(printed) <= 2
        each = plan.examples_per_round(one.cell, 60_000)
        # a dash: as far as the race may go
        assert one.examples in [each * (rounds or one.cell.rounds) for rounds in printed]
        assert one.examples_at_most == each * one.cell.rounds
        assert one.examples <= one.examples_at_most


def test_expected_is_never_beyond_the_horizon(table4):
    short = replace(table4, cells=tuple(replace(one, rounds=40) for one in table4.cells))
    for one in costs(short).values():
        assert one.examples <= one.examples_at_most == 40 * plan.examples_per_round(one.cell, 60_000)
    assert costs(short)[of(short, partition="iid", E=20, B=10).name].examples == 32 * 10 * 600 * 20 * 6
    assert costs(short)[of(short, partition="iid", E=10, B=50).name].examples == 40 * PER_ROUND


@pytest.mark.parametrize(
    ("settings", "m"),
    [
        ({"C": 0.0}, 1),
        ({"C": 0.1}, 10),
        ({"C": 1.0}, 100),
        ({"C": 0.29}, 29),  # 0.29 * 100 is 28.999…
        ({"C": 0.104, "rounding": "up"}, 11),
        ({"C": 0.109, "rounding": "down"}, 10),
    ],
)
def test_a_round_is_m_clients_at_every_rate(settings, m):
    common = {"task": "mnist_2nn", "partition": "iid", "E": 3, "B": 10, "targets": [0.9], "rounds": 5}
    one = cell(common | {"lr": [0.1, 0.2]} | settings)
    assert plan.examples_per_round(one, 60_000) == m * 600 * 3 * 2


def test_figure_1_is_two_clients_of_600_for_20_epochs_each():
    for one in costs(artefact("figure1")).values():
        assert one.examples == one.examples_at_most == 2 * 600 * 20


def left(text):
    """Cells to run, cells in all, expected hours, cores, greatest hours, as the plan's last line says."""
    numbers = re.fullmatch(
        r"(\d+) of (\d+) cells to run: ([\d.]+) h expected on (\d+) cores?, at most ([\d.]+) h", text.splitlines()[-1]
    ).groups()
    return tuple(map(float, numbers))


def test_hours_left_are_those_of_the_cells_without_a_record(table4):
    all_of_them = costs(table4)
    done = [name for name, one in all_of_them.items() if one.cell.settings["partition"] == "shards"]
    assert len(done) == 9
    found = costs(table4, done)
    assert {name for name, one in found.items() if one.done} == set(done)
    hours = {
        what: sum(getattr(one, what) for name, one in all_of_them.items() if name not in done)
        for what in ("hours", "hours_at_most")
    }
    assert left(plan.text(table4, list(found.values()), 1, "core")) == (
        9,
        18,
        round(hours["hours"], 2),
        1,
        round(hours["hours_at_most"], 2),
    )
    four = left(plan.text(table4, list(found.values()), 4, "core"))
    assert four[2:] == pytest.approx((hours["hours"] / 4, 4, hours["hours_at_most"] / 4), abs=0.005)


def test_nothing_is_left_of_what_is_done(table4):
    found = costs(table4, [one.name for one in table4.cells])
    assert left(plan.text(table4, list(found.values()), 2, "core")) == (0, 18, 0, 2, 0)


def test_hours_left_are_shared_by_the_gpus_where_there_are_any(monkeypatch, table4):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = list(costs(table4).values())
    hours = sum(one.hours for one in found) / 2
    assert f"18 of 18 cells to run: {hours:.2f} h expected on 2 GPUs, at most" in plan.text(
        table4, found, *pace.computers()
    )


def test_the_plan_lists_every_cell_with_its_cost(table4):
    wanted = of(table4, partition="iid", E=10, B=50).name
    text = plan.text(table4, list(costs(table4, [wanted]).values()), 1, "core")
    assert all(one.name in text for one in table4.cells)
    (line,) = (line for line in text.splitlines() if line.startswith(wanted))
    assert line.split()[1:] == ["done", "16.20", "14.2", "0.04", "2.00"]


def test_the_training_examples_declared_are_those_of_the_datasets():
    assert plan.training_examples("mnist") == 60_000
    assert plan.training_examples("digits") == len(load_digits().target) - 297 == 1500


DIGITS = {"task": "digits_2nn", "partition": "iid", "K": 50, "C": 0.1, "E": 1, "B": 10, "lr": [0.1, 0.2]}
DIGITS |= {"targets": [0.9], "rounds": 5}
SGD = {"algorithm": "sgd", "K": 1, "C": 1.0}


@pytest.mark.parametrize("settings", [{}, {"B": "inf"}, SGD, SGD | {"B": 9999}], ids=str)
def test_the_pace_is_a_positive_number(monkeypatch, settings):
    threads = torch.get_num_threads()
    monkeypatch.setattr(pace, "SECONDS", 0.05)
    try:
        found = pace.pace(cell(DIGITS | settings))
    finally:
        torch.set_num_threads(threads)
    assert found > 0 and math.isfinite(found)


@pytest.mark.parametrize(
    ("flags", "slow"),
    [("avx2 fma", True), ("avx2 avx512f", True), ("avx512_bf16", False), ("amx_tile amx_bf16", False)],
)
def test_bf16_pays_on_a_cpu_that_has_instructions_for_it(flags, slow, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu sse2 {flags}\n")
    says = "bf16 does not pay on this CPU: without AMX or AVX512-BF16, its products are no faster than float32's"
    assert bf16_is_slow(tmp_path / "cpuinfo") == (says if slow else "")
    assert bf16_is_slow(tmp_path / "no such file") == says


def test_a_plan_says_where_bf16_does_not_pay(table4, monkeypatch):
    rounded = replace(table4, cells=tuple(replace(one, precision="bf16") for one in table4.cells[:2]))
    monkeypatch.setattr(plan, "bf16_is_slow", lambda: "bf16 does not pay")
    lines = [
        plan.text(one, list(costs(one, done).values()), 2, what).splitlines()[-1]
        for one, done, what in [
            (rounded, [], "core"),
            (rounded, [], "GPU"),
            (rounded, [one.name for one in rounded.cells], "core"),
            (table4, [], "core"),
        ]
    ]
    assert ["bf16 does not pay" in line for line in lines] == [True, False, False, False]
    monkeypatch.setattr(plan, "bf16_is_slow", lambda: "")
    assert "bf16 does" not in plan.text(rounded, list(costs(rounded).values()), 2, "core")


def work(device, **settings):
    return pace.work(cell(DIGITS | settings), 1500, torch.device(device))


def test_the_work_of_a_pace_is_a_clients_on_a_cpu_a_cohorts_on_a_gpu_and_a_batch_of_sgd():
    assert [(work(device).clients, work(device).n_k) for device in ("cpu", "cuda")] == [(1, 30), (5, 30)]
    assert [work("cpu", **SGD | {"B": B}).n_k for B in (100, 9999)] == [100, 1500]


@pytest.mark.parametrize(
    ("settings", "devices"),
    [
        ({"seed": 1, "E": 5, "lr": [0.3, 0.4]}, ()),
        ({"C": 0.5}, ("cuda",)),
        ({"C": 0.11, "rounding": "up"}, ("cuda",)),
        ({"B": 50}, ("cpu", "cuda")),
        ({"K": 100, "C": 0.05}, ("cpu", "cuda")),
        ({"lr": [0.1]}, ("cpu", "cuda")),
        ({"precision": "bf16"}, ("cpu", "cuda")),
        ({"task": "mnist_2nn"}, ("cpu", "cuda")),
        (SGD, ("cpu", "cuda")),
    ],
    ids=str,
)
def test_cells_have_one_pace_where_nothing_differs_that_it_depends_on(settings, devices):
    for device in ("cpu", "cuda"):
        assert (work(device, **settings) == work(device)) == (device not in devices)
