"""Tables from records made by hand: every entry follows from curves that a reader can interpolate in the head."""

import csv
import io
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fedgrid.grid.artefacts import artefact, artefact_names
from fedgrid.grid.cells import cell as cell_of
from fedgrid.results import rounds_to_target, summary, tables
from fedgrid.run import record
from tests import handmade

ROOT = Path(__file__).parents[1]
DECLARED = ROOT / "params"
PARAMS = """
title: "Table 0: rounds to 75 % test accuracy"
cells: {task: mnist_2nn, partition: [iid, shards], C: 0.1, targets: [0.5, 0.75], rounds: 200, lr: [0.1, 0.2, 0.4]}
grid: [{E: [1, 5], B: [inf, 10]}]
table: {rows: [E, B], columns: [partition], baseline: {E: 1, B: inf}}
"""
PAPER = """
hand:
  - {partition: iid, E: 1, B: inf, rounds: 100}
  - {partition: iid, E: 1, B: 10, rounds: 4, speedup: 25.0}
  - {partition: iid, E: 5, B: inf, rounds: null}
  - {partition: shards, E: 1, B: 10, rounds: 160, speedup: 0.6}
"""
# (partition, E, B): evaluated rounds, the three rates' test accuracies, rounds to 0.5 and to 0.75 by hand, best rate
RUN = {
    ("iid", 1, "inf"): ([1, 10, 20, 30], [[0.1, 0.2, 0.3, 0.4], [0.1, 0.25, 0.5, 1.0], [0.1] * 4], 20.0, 25.0, 0.2),
    ("iid", 1, 10): ([1, 2, 4], [[0.1, 0.2, 0.3], [0.25, 0.5, 1.0], [0.1, 0.2, 0.3]], 2.0, 3.0, 0.2),
    ("iid", 5, "inf"): ([1, 10, 20], [[0.1] * 3, [0.1, 0.2, 0.3], [0.25, 0.5, 1.0]], 10.0, 15.0, 0.4),
    ("iid", 5, 10): ([1, 100, 200], [[0.1] * 3, [0.25, 0.5, 0.5], [0.1] * 3], 100.0, None, 0.2),
    ("shards", 1, "inf"): ([1, 100, 200], [[0.2, 0.3, 0.4], [0.1] * 3, [0.1] * 3], None, None, 0.1),
    ("shards", 1, 10): ([1, 30, 50], [[0.1] * 3, [0.25, 0.5, 1.0], [0.1] * 3], 30.0, 40.0, 0.2),
}
NOT_RUN = {("shards", 5, "inf"), ("shards", 5, 10)}


def place(cell):
    return cell.settings["partition"], cell.E, cell.settings["B"]


def made(cell, rounds, accuracies, to_half, to_target, best):
    """The record of a cell whose rates showed those accuracies."""
    return {
        "schema": 1,
        "name": cell.name,
        "settings": cell.recorded,
        "result": {
            "ended": "target" if to_target else "horizon",
            "rounds": rounds[-1],
            "rounds_to_target": {"0.5": to_half, "0.75": to_target},
            "best_accuracy": max(map(max, accuracies)),
            "best_lr": best,
            "best_lr_at_grid_end": best in (0.1, 0.4),
        },
        "curves": {
            "rounds": rounds,
            "rates": [
                {"lr": lr, "test_accuracy": curve, "test_loss": [1.0] * len(curve), "train_loss": [], "diverged": None}
                for lr, curve in zip(cell.lr, accuracies, strict=True)
            ],
        },
        "provenance": handmade.ORIGIN,
    }


@pytest.fixture
def hand(tmp_path, monkeypatch):
    """The artefact, declared in a folder of its own that is also the working directory."""
    (tmp_path / "params").mkdir()
    (tmp_path / "params/hand.yaml").write_text(PARAMS)
    (tmp_path / "params/paper.yaml").write_text(PAPER)
    shutil.copy(DECLARED / "datasets.yaml", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    return artefact("hand")


@pytest.fixture
def records(hand):
    return {cell.name: made(cell, *RUN[place(cell)]) for cell in hand.cells if place(cell) in RUN}


@pytest.fixture
def found(hand, records):
    return dict(zip(map(place, hand.cells), rounds_to_target.entries(hand, records), strict=True))


def text_of(hand, records, suffix):
    return tables.build(hand, records)[Path(f"results/tables/hand.{suffix}")]


def cells_of(line):
    return [text.strip() for text in line.strip().strip("|").split("|")]


def markdown_rows(text):
    """Headers, and the rows by their first two cells."""
    header, rule, *rows = (line for line in text.splitlines() if line.startswith("|"))
    assert set(rule) <= set("|-: ")
    return cells_of(header), {tuple(cells_of(row)[:2]): cells_of(row)[2:] for row in rows}


def test_the_hand_made_records_are_records(hand, records):
    for one in records.values():
        assert record.read(record.write(one)) == one
    assert set(map(place, hand.cells)) == set(RUN) | NOT_RUN


def test_rounds_are_those_to_the_last_target(found):
    assert {where: one.rounds for where, one in found.items()} == {
        ("iid", 1, "inf"): 25.0,
        ("iid", 1, 10): 3.0,
        ("iid", 5, "inf"): 15.0,
        ("iid", 5, 10): None,
        ("shards", 1, "inf"): None,
        ("shards", 1, 10): 40.0,
        ("shards", 5, "inf"): None,
        ("shards", 5, 10): None,
    }


def test_speedup_is_the_baseline_s_rounds_over_these_in_the_same_column(found):
    speedups = {where: one.speedup for where, one in found.items() if one.speedup is not None}
    assert speedups == {("iid", 1, 10): 25 / 3, ("iid", 5, "inf"): 25 / 15}
    # the baseline has none over itself; non-IID has none at all, for its baseline never reached the target


def test_a_baseline_differs_from_its_row_by_its_own_settings_alone(tmp_path, hand):
    """As in Table 1: the baseline C = 0 is that of the row's own E and the column's own partition."""
    text = PARAMS.replace("C: 0.1,", "").replace("B: [inf, 10]", "B: 10, C: [0.0, 0.1]")
    text = text.replace("rows: [E, B]", "rows: [E, C]").replace("baseline: {E: 1, B: inf}", "baseline: {C: 0.0}")
    (tmp_path / "params/by_c.yaml").write_text(text)
    by_c = artefact("by_c")
    # rounds of C = 0 and of C = 0.1
    rounds = {("iid", 1): (60, 20), ("iid", 5): (30, 20), ("shards", 1): (90, 20), ("shards", 5): (20, 40)}
    records = {}
    for cell in by_c.cells:
        answer = float(rounds[cell.settings["partition"], cell.E][cell.C > 0])
        records[cell.name] = made(cell, [1, 2], [[0.1, 1.0]] * 3, 1.0, answer, 0.2)
    speedups = {one.row + one.column: one.speedup for one in rounds_to_target.entries(by_c, records)}
    assert {key: value for key, value in speedups.items() if value is not None} == {
        ("1", "0.1", "IID"): 3.0,
        ("5", "0.1", "IID"): 1.5,
        ("1", "0.1", "non-IID"): 4.5,
        ("5", "0.1", "non-IID"): 0.5,
    }
    assert len(speedups) == 8


def test_ratio_is_ours_over_the_paper_s_where_both_have_one(found):
    assert {where: one.ratio for where, one in found.items() if one.ratio is not None} == {
        ("iid", 1, "inf"): 0.25,
        ("iid", 1, 10): 0.75,
        ("shards", 1, 10): 0.25,
    }


def test_status_tells_not_run_from_not_reached(found):
    status = {where: one.status for where, one in found.items()}
    assert {where for where in status if status[where] == "not run"} == NOT_RUN
    assert {where for where in status if status[where] == "not reached"} == {("iid", 5, 10), ("shards", 1, "inf")}
    assert sum(one == "reached" for one in status.values()) == 4


def test_the_table_as_a_person_reads_it(hand, records):
    headers, rows = markdown_rows(text_of(hand, records, "md"))
    sides = ["ours", "paper", "ours/paper"]
    assert headers == ["E", "B", "u", *(f"{column} {side}" for column in ("IID", "non-IID") for side in sides)]
    assert rows == {
        ("1", "∞"): ["1", "25", "100", "0.25", "> 200 †", "—", ""],
        ("1", "10"): ["60", "3 (8.3×)", "4 (25.0×)", "0.75", "40", "160 (0.6×)", "0.25"],
        ("5", "∞"): ["5", "15 (1.7×) †", "—", "", "not run", "—", ""],
        ("5", "10"): ["300", "> 200", "—", "", "not run", "—", ""],
    }


def test_the_notes_say_how_many_cells_ran_and_what_the_marks_mean(hand, records):
    below = text_of(hand, records, "md").rpartition("|\n")[2]
    assert "6 of 8 cells run" in below and "A number with >: the target was not reached" in below
    assert "†: the best learning rate is the first, last or only one of its grid" in below
    plain = ("iid", 1, "inf"), ("iid", 1, 10), ("shards", 1, 10)
    good = {cell.name: records[cell.name] for cell in hand.cells if place(cell) in plain}
    below = text_of(hand, good, "md").rpartition("|\n")[2]
    assert "3 of 8 cells run" in below and "†" not in below and ">" not in below


def test_an_artefact_that_the_paper_does_not_have_shows_ours_alone(hand, records, tmp_path):
    (tmp_path / "params/paper.yaml").write_text("table9: []\n")
    headers, rows = markdown_rows(text_of(hand, records, "md"))
    assert headers == ["E", "B", "u", "IID ours", "non-IID ours"]
    assert rows["1", "10"] == ["60", "3 (8.3×)", "40"]


def test_csv_holds_every_entry_in_full_precision(hand, records, found):
    name = next(cell.name for cell in hand.cells if place(cell) == ("iid", 1, 10))
    records[name]["result"]["rounds_to_target"]["0.75"] = 1 / 3 + 2
    lines = list(csv.DictReader(io.StringIO(text_of(hand, records, "csv"))))
    assert len(lines) == len(hand.cells)
    for line, one in zip(lines, rounds_to_target.entries(hand, records), strict=True):
        assert (line["E"], line["B"], line["partition"]) == one.row + one.column
        for key in ("rounds", "spread", "speedup", "paper_rounds", "paper_speedup", "ratio"):
            assert (float(line[key]) if line[key] else None) == getattr(one, key), key
        assert (line["status"], (line["record"],)) == (one.status, one.record)
        assert tuple(map(float, line["best_lr"].split())) == one.best_lr
        assert (int(line["n"]), int(line["declared"])) == (int(one.status != "not run"), 1)
        assert (int(line["horizon"]), line["best_lr_at_grid_end"]) == (200, str(one.best_lr_at_grid_end))
    assert float(next(line for line in lines if line["record"] == name)["rounds"]) == 1 / 3 + 2


def well_formed_latex(text):
    """The rows of a booktabs table: balanced, ASCII but for its comment, as many cells in every row as columns."""
    comment, *lines = text.splitlines()
    assert comment.startswith("% ")
    body = "\n".join(lines)
    assert body.isascii(), sorted(set(re.sub(r"[\x00-\x7f]", "", body)))
    columns = re.fullmatch(r"\\begin\{tabular\}\{([lcr]+)\}", lines[0])[1]
    assert lines[-1] == r"\end{tabular}"
    assert [line for line in lines if line.startswith(r"\t") or line[:4] in (r"\mid", r"\bot")] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]
    assert body.count("{") == body.count("}") and body.count("$") % 2 == 0
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(lines) == len(rows) + 5
    for row in rows:
        assert len(re.split(r"(?<!\\)&", row)) == len(columns)
        assert not re.search(r"(?<!\\)[_%#]", re.sub(r"\$[^$]*\$", "", row))  # but for a symbol's index
    return rows


def test_latex_says_the_same_without_raw_symbols(hand, records):
    header, *rows = well_formed_latex(text_of(hand, records, "tex"))
    assert len(rows) == 4
    assert r"15 (1.7$\times$) $\dagger$" in rows[2] and r"$\infty$" in rows[2] and "---" in rows[2]
    assert "ours/paper" in header


@pytest.mark.parametrize("name", [name for name in artefact_names(DECLARED) if artefact(name, DECLARED).table])
def test_an_artefact_with_no_record_says_not_run_everywhere(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    declared = artefact(name)
    files = {path.suffix: text for path, text in tables.build(declared, {}).items()}
    headers, _ = markdown_rows(files[".md"])
    rows = [cells_of(line) for line in files[".md"].splitlines() if line.startswith("|")][2:]
    ours = [place for place, header in enumerate(headers) if header.endswith(" ours")]
    assert all(len(row) == len(headers) for row in rows)
    shown = [row[place] for row in rows for place in ours]
    by = declared.table["rows"] + declared.table["columns"]
    by += declared.table["baseline"] if "changed" in by else []
    spots = {
        (cell if "seed" in by else replace(cell, seed=0), target)
        for cell in declared.cells
        for target in (cell.targets if "target" in by else cell.targets[-1:])
    }
    assert shown.count("not run") == len(spots) and set(shown) <= {"not run", ""}
    assert f"0 of {len(declared.cells)} cells run" in files[".md"]
    lines = list(csv.DictReader(io.StringIO(files[".csv"])))
    assert {(line["status"], line["rounds"], line["speedup"], line["ratio"], line["best_lr"]) for line in lines} == {
        ("not run", "", "", "", "")
    }
    assert len(well_formed_latex(files[".tex"])) == len(rows) + 1


def test_every_markdown_row_has_as_many_cells_as_the_header(hand, records):
    lines = [line for line in text_of(hand, records, "md").splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 2 + 4


@pytest.mark.parametrize("key, value", [("C", 0.2), ("lr", [0.1, 0.2]), ("momentum", 0.9), ("B", 10.0)])
def test_a_record_whose_settings_are_not_those_declared_is_refused(hand, records, key, value):
    name = next(cell.name for cell in hand.cells if place(cell) == ("iid", 1, "inf"))
    records[name]["settings"] = records[name]["settings"] | {key: value}
    with pytest.raises(ValueError, match=rf"{re.escape(name)}.*settings"):
        tables.build(hand, records)


def test_the_same_records_give_the_same_bytes_in_any_order(hand, records):
    backwards = dict(reversed(records.items()))
    once = tables.build(hand, records)
    assert tables.build(hand, backwards) == once
    assert set(once) == {Path(f"results/tables/hand.{suffix}") for suffix in ("csv", "md", "tex")}
    assert all(text.endswith("\n") and "\r" not in text for text in once.values())


def test_records_of_other_artefacts_change_nothing(hand, records):
    stranger = next(iter(records.values())) | {"name": "stranger", "settings": {}}
    assert tables.build(hand, records | {"stranger": stranger}) == tables.build(hand, records)


def test_two_experiments_in_one_place_of_the_table_are_refused_and_neither_is_hidden(hand, tmp_path):
    (tmp_path / "params/twice.yaml").write_text(PARAMS.replace("C: 0.1,", "C: [0.1, 0.2],"))
    with pytest.raises(ValueError, match=r"params/twice\.yaml.*2 cells at 1, inf, iid"):
        artefact("twice")


def test_a_table_of_cells_without_a_target_is_refused(hand, tmp_path):
    (tmp_path / "params/endless.yaml").write_text(PARAMS.replace("targets: [0.5, 0.75]", "targets: []"))
    with pytest.raises(ValueError, match=r"params/endless\.yaml.*target"):
        artefact("endless")


# Targets among the columns, as in Table 3: SGD's cell has other K and C than FedAvg's, and shares no row with it.

BY_TARGET = """
title: "Table 3: rounds to 50 and 75 %"
cells: {task: cifar, partition: iid, targets: [0.5, 0.75], lr: 0.1}
grid:
  - {algorithm: sgd, K: 1, C: 1.0, E: 1, B: 100, rounds: 9000}
  - {C: 0.1, E: 1, B: inf, rounds: 3000}
  - {C: 0.1, E: 5, B: 50, rounds: 3000}
table: {rows: [algorithm, E, B], columns: [target], baseline: {algorithm: sgd, E: 1, B: 100}}
"""
BY_TARGET_PAPER = """
by_target:
  - {algorithm: sgd, B: 100, target: 0.50, rounds: 1800}
  - {algorithm: sgd, B: 100, target: 0.75, rounds: 9900}
  - {algorithm: fedavg, E: 1, B: inf, target: 0.5, rounds: 360, speedup: 5.0}
  - {algorithm: fedavg, E: 1, B: inf, target: 0.75, rounds: null}
  - {algorithm: fedavg, E: 5, B: 50, target: 0.5, rounds: 30, speedup: 60.0}
"""


@pytest.fixture
def by_target(hand, tmp_path):
    """The artefact, and records: SGD 1000 and 8000 updates, FedSGD 250 and never, FedAvg 20 and 100 rounds."""
    (tmp_path / "params/by_target.yaml").write_text(BY_TARGET)
    (tmp_path / "params/paper.yaml").write_text(BY_TARGET_PAPER)
    declared = artefact("by_target")
    answers = [(1000.0, 8000.0), (250.0, None), (20.0, 100.0)]
    return declared, {
        cell.name: made(cell, [1], [[0.8]], *answer, 0.2) for cell, answer in zip(declared.cells, answers, strict=True)
    }


def test_each_target_has_a_column_and_its_own_speedup_and_number_of_the_paper(by_target):
    headers, rows = markdown_rows(tables.build(*by_target)[Path("results/tables/by_target.md")])
    sides = ["ours", "paper", "ours/paper"]
    assert headers == ["algorithm", "E", "B", "u", *(f"{target} % {side}" for target in (50, 75) for side in sides)]
    assert rows == {
        ("SGD", "1"): ["100", "1", "1000", "1800", "0.56", "8000", "9900", "0.81"],
        ("FedAvg", "1"): ["∞", "1", "250 (4.0×)", "360 (5.0×)", "0.69", "> 3000", "—", ""],
        ("FedAvg", "5"): ["50", "50", "20 (50.0×)", "30 (60.0×)", "0.67", "100 (80.0×)", "—", ""],
    }


def test_a_cell_with_two_targets_counts_once_below_the_table(by_target):
    declared, records = by_target
    records.pop(declared.cells[2].name)
    assert "2 of 3 cells run" in tables.build(declared, records)[Path("results/tables/by_target.md")]


def test_metrics_tell_targets_apart(by_target):
    found = json.loads(summary.metrics([by_target[0]], by_target[1]))["by_target"]
    assert found["algorithm=FedAvg E=5 B=50 target=50 %"] == {"rounds": 20.0, "ours_over_paper": 0.6667, "best_lr": 0.2}
    assert found["algorithm=FedAvg E=1 B=∞ target=75 %"] == {"best_lr": 0.2}
    assert len(found) == 6


# Ablations: a row is what has changed from the defaults, the baseline of its own column; a seed is a change as well.

CHANGED = """
title: "Ablations"
cells: {task: mnist_2nn, partition: iid, C: 0.1, targets: [0.5], rounds: 100, lr: [0.1, 0.2]}
grid:
  - {E: 1, B: [inf, 10]}
  - {E: 1, B: 10, init: he, seed: 1}
  - {E: 1, B: 10, lr: 0.4}
table:
  rows: [task, changed]
  columns: [E, B]
  baseline: {init: glorot, lr: [0.1, 0.2], seed: 0}
"""


def test_a_row_may_be_what_has_changed_from_the_baseline(hand, tmp_path):
    (tmp_path / "params/changed.yaml").write_text(CHANGED)
    declared = artefact("changed")
    records = {
        cell.name: made(cell, [1], [[0.8]] * len(cell.lr), taken, None, 0.1)
        for cell, taken in zip(declared.cells, (90.0, 60.0, 20.0, 30.0), strict=True)
    }
    headers, rows = markdown_rows(tables.build(declared, records)[Path("results/tables/changed.md")])
    assert headers == ["task", "changed", "1 ∞ ours", "1 10 ours"]
    assert rows == {
        ("MNIST 2NN", "nothing"): ["90 †", "60 †"],
        ("MNIST 2NN", "init he, seed 1"): ["", "20 (3.0×) †"],
        ("MNIST 2NN", "lr 0.4"): ["", "30 (2.0×) †"],
    }


# Seeds: cells that differ in nothing else are repeats of one experiment.


@pytest.fixture
def seeds(hand, tmp_path):
    """The same grid with three seeds, and the cells of one place by seed."""
    (tmp_path / "params/seeds.yaml").write_text(PARAMS.replace("C: 0.1,", "C: 0.1, seed: [0, 1, 2],"))
    declared = artefact("seeds")

    def told(rounds):
        """Records in which the repeats at (partition, E, B) took those rounds; fewer of them are not run."""
        records = {}
        for where, answers in rounds.items():
            repeats = [cell for cell in declared.cells if place(cell) == where]
            for one, answer in zip(repeats, answers, strict=False):
                records[one.name] = made(one, [1, 2], [[0.1, 0.2]] * 3, 1.0, answer, (0.2, 0.2, 0.4)[one.seed])
        return records

    return declared, told


IID = ("iid", 1, "inf"), ("iid", 1, 10), ("iid", 5, "inf"), ("iid", 5, 10)


@pytest.mark.parametrize(
    "rounds, shown",
    [
        ([400.0, 410.0, 420.0], "410 ± 10 (n = 3)"),  # deviations -10, 0, 10: √(200 / 2)
        ([3.0, 4.0, 5.0], "4 ± 1.0 (n = 3)"),
        ([400.0, 420.0], "410 ± 14 (n = 2 of 3)"),  # √(200 / 1)
        ([400.0], "400 (n = 1 of 3)"),
        ([], "not run"),
        ([100.0, None, 120.0], "> 200 (2 of 3 reached)"),
        ([None, None, None], "> 200 (0 of 3 reached)"),
        ([None, 120.0], "> 200 (1 of 2 reached, n = 2 of 3)"),
        ([None], "> 200 (0 of 1 reached, n = 1 of 3)"),
    ],
)
def test_repeats_are_one_entry_with_mean_spread_and_number(seeds, rounds, shown):
    declared, told = seeds
    _, rows = markdown_rows(tables.build(declared, told({IID[0]: rounds}))[Path("results/tables/seeds.md")])
    assert len(rows) == 4
    assert rows["1", "∞"][1].removesuffix(" †") == shown


def test_the_speedup_of_repeats_is_the_ratio_of_means(seeds):
    """Not the mean of ratios, 6.5; of a baseline that did not always reach the target there is none."""
    declared, told = seeds
    rounds = {IID[0]: [100.0, 200.0, 300.0], IID[1]: [10.0, 20.0, 60.0], IID[2]: [50.0, None, 50.0]}
    found = {(one.row, one.column): one for one in rounds_to_target.entries(declared, told(rounds))}
    assert found[("1", "10"), ("IID",)].speedup == 200 / 30
    assert found[("5", "∞"), ("IID",)].speedup is None
    unsure = {IID[0]: [100.0, None, 300.0], IID[1]: [10.0, 20.0, 60.0]}
    assert {one.speedup for one in rounds_to_target.entries(declared, told(unsure))} == {None}


def test_the_csv_tells_of_repeats_how_many_there_are_and_names_them_all(seeds):
    declared, told = seeds
    text = tables.build(declared, told({IID[0]: [400.0, 420.0]}))[Path("results/tables/seeds.csv")]
    line = next(csv.DictReader(io.StringIO(text)))
    assert (line["n"], line["declared"], line["reached"], line["rounds"]) == ("2", "3", "2", "410.0")
    assert float(line["spread"]) == pytest.approx(math.sqrt(200))
    assert line["record"].split() == [cell.name for cell in declared.cells if place(cell) == IID[0]]
    assert line["best_lr"] == "0.2 0.2"


def test_the_notes_count_repeats_as_cells_and_say_what_a_spread_is(seeds):
    declared, told = seeds
    below = tables.build(declared, told({IID[0]: [400.0, 420.0]}))[Path("results/tables/seeds.md")].rpartition("|\n")[2]
    assert "2 of 24 cells run" in below and "± s" in below
    below = tables.build(declared, told({IID[0]: [400.0]}))[Path("results/tables/seeds.md")].rpartition("|\n")[2]
    assert "±" not in below


def test_metrics_of_repeats_have_spread_number_and_a_rate_where_all_agree(seeds):
    declared, told = seeds
    found = json.loads(summary.metrics([declared], told({IID[0]: [400.0, 420.0], IID[1]: [3.0, 4.0, 5.0]})))["seeds"]
    assert found == {
        "E=1 B=∞ partition=IID": {"rounds": 410.0, "spread": 14.14, "n": 2.0, "best_lr": 0.2},
        "E=1 B=10 partition=IID": {"rounds": 4.0, "spread": 1.0, "n": 3.0},
    }


def test_a_table_laid_out_by_seed_keeps_seeds_apart(seeds, tmp_path):
    by_seed = PARAMS.replace("C: 0.1,", "C: 0.1, seed: [0, 1, 2],").replace("rows: [E, B]", "rows: [E, B, seed]")
    (tmp_path / "params/by_seed.yaml").write_text(by_seed)
    found = rounds_to_target.entries(artefact("by_seed"), seeds[1]({IID[0]: [100.0, 200.0], IID[1]: [10.0, 40.0]}))
    assert len(found) == 24 and {one.declared for one in found} == {1}
    rounds = {one.row[1:]: (one.rounds, one.speedup) for one in found if one.rounds is not None}
    assert rounds == {
        ("∞", "0"): (100.0, None),
        ("∞", "1"): (200.0, None),
        ("10", "0"): (10.0, 10.0),
        ("10", "1"): (40.0, 5.0),
    }


def test_a_spread_in_latex_is_a_command(seeds):
    declared, told = seeds
    rows = well_formed_latex(
        tables.build(declared, told({IID[0]: [400.0, 410.0, 420.0]}))[Path("results/tables/seeds.tex")]
    )
    assert any(r"410 $\pm$ 10 (n = 3)" in row for row in rows)


# u = E·n / (K·B), of MNIST's 60,000 examples and 100 clients as the paper prints it, and where it prints none.


@pytest.mark.parametrize(
    "settings, u",
    [
        ({"E": 1, "B": "inf"}, 1),
        ({"E": 5, "B": 50}, 60),
        ({"E": 20, "B": 10}, 1200),
        ({"E": 20, "B": 1000}, 20),  # more than the 600 that a client has
        ({"E": 1, "B": 100, "K": 1, "C": 1.0, "algorithm": "sgd"}, 1),
    ],
)
def test_u_counts_a_client_s_updates_in_a_round(settings, u):
    common = {"task": "mnist_2nn", "partition": "iid", "C": 0.1, "targets": [0.9], "rounds": 5, "lr": 0.1}
    assert (one := cell_of(common | settings)).algorithm.updates(one, 60_000) == u


def test_u_is_shown_as_the_paper_shows_it():
    assert [tables.shortest(u) for u in (1.0, 7.4398, 37.1, 1200.0)] == ["1", "7.4", "37.1", "1200"]
