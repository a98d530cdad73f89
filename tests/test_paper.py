"""The paper's numbers in params/paper.yaml: as transcribed, complete, and agreeing with one another."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from fedgrid.curves import SCHEDULES, rounds_to_target
from fedgrid.grid import paper
from fedgrid.grid.artefacts import artefact
from fedgrid.grid.layouts import by_seed
from fedgrid.results.labels import label
from fedgrid.results.rounds_to_target import entries

ROOT = Path(__file__).parents[1]
TRANSCRIPT = Path(__file__).parents[2] / "shared" / "paper"
needs_transcript = pytest.mark.skipif(not TRANSCRIPT.is_dir(), reason=f"{TRANSCRIPT}, the transcript, is not here")
PRINTED = yaml.safe_load((ROOT / "params" / "paper.yaml").read_text())
COPY = json.loads((Path(__file__).parent / "data/paper_curves.json").read_text())
TASK = {"2NN": "mnist_2nn", "CNN": "mnist_cnn"}
SETTINGS = ("task", "partition", "C", "E", "B")

# The same cells as Table 1 and Tables 2 or 4 print them: the paper's own repeatability.
REPEATED = {
    ("mnist_2nn", "iid", 1, "inf"): (1474, 1468),
    ("mnist_2nn", "iid", 1, 10): (87, 92),
    ("mnist_2nn", "shards", 1, "inf"): (1796, 1817),
    ("mnist_2nn", "shards", 1, 10): (664, 831),
    ("mnist_cnn", "iid", 5, "inf"): (339, 179),
    ("mnist_cnn", "iid", 5, 10): (18, 20),
    ("mnist_cnn", "shards", 5, "inf"): (1100, 1000),
    ("mnist_cnn", "shards", 5, 10): (206, 229),
}


def by_settings(name):
    """(rounds, speedup) of each entry by its settings; every entry has them all and none stands twice."""
    found = {tuple(entry[key] for key in SETTINGS): (entry["rounds"], entry.get("speedup")) for entry in PRINTED[name]}
    assert len(found) == len(PRINTED[name])
    return found


@pytest.fixture(scope="module")
def transcript():
    return yaml.safe_load((TRANSCRIPT / "tables.yaml").read_text())


@pytest.fixture(scope="module")
def readings():
    return json.loads((TRANSCRIPT / "figures.json").read_text())


@needs_transcript
def test_table_1_is_the_transcript(transcript):
    columns = [("iid", "inf"), ("iid", 10), ("shards", "inf"), ("shards", 10)]
    assert transcript["table_1"]["columns"] == ["iid_Binf", "iid_B10", "noniid_Binf", "noniid_B10"]
    expected = {
        (TASK[row["model"]], partition, row["C"], row["E"], B): (rounds, speedup)
        for row in transcript["table_1"]["rows"]
        for (partition, B), rounds, speedup in zip(columns, row["rounds"], row["speedup"], strict=True)
    }
    assert by_settings("table1") == expected


@needs_transcript
def test_table_4_is_the_transcript(transcript):
    expected = {
        ("mnist_2nn", partition, 0.1, row["E"], row["B"] or "inf"): (row[name], row.get(f"{name}_x"))
        for row in transcript["table_4"]["rows"]
        for partition, name in (("iid", "iid"), ("shards", "noniid"))
    }
    assert by_settings("table4") == expected


@needs_transcript
def test_table_2_is_the_transcript(transcript):
    halves = transcript["table_2"]["mnist_cnn_99"], transcript["table_2"]["shakespeare_lstm_54"]
    expected = {
        (task, partition, 0.1, row["E"], row["B"] or "inf"): (row[name], row.get(f"{name}_x"))
        for half, task, other in zip(halves, ("mnist_cnn", "shakespeare"), ("shards", "natural"), strict=True)
        for row in half["rows"]
        for partition, name in (("iid", "iid"), (other, "noniid"))
    }
    assert by_settings("table2") == expected


@needs_transcript
def test_table_3_is_the_transcript(transcript):
    table, names = transcript["table_3"], {"SGD": ("sgd", 100), "FedSGD": ("fedavg", "inf"), "FedAvg": ("fedavg", 50)}
    expected = {
        (*names[row["alg"]], target): (rounds, speedup)
        for row in table["rows"]
        for target, rounds, speedup in zip(table["targets"], row["rounds"], row["speedup"], strict=True)
    }
    found = {(one["algorithm"], one["B"], one["target"]): one for one in PRINTED["table3"]}
    assert {key: (one["rounds"], one.get("speedup")) for key, one in found.items()} == expected
    assert len(found) == len(PRINTED["table3"]) == 9


@needs_transcript
def test_the_word_lstm_s_two_numbers_are_the_transcript_s(transcript):
    said, (fedsgd, fedavg) = transcript["word_lstm"], PRINTED["table_words"]
    first, second = said["rows"]
    assert fedsgd == {"E": 1, "B": "inf", "target": said["target"], "rounds": first["rounds"]}
    assert fedavg == {key: second[key] for key in ("E", "B", "rounds", "speedup")} | {"target": said["target"]}


@needs_transcript
@pytest.mark.parametrize(
    "name, half, task, slack",
    [
        ("table_2", "mnist_cnn_99", "mnist_cnn", 0),
        ("table_2", "shakespeare_lstm_54", "shakespeare", 0.1),  # n, its lines, is derived from u itself: ours are more
        ("table_4", None, "mnist_2nn", 0),
    ],
)
def test_u_is_what_the_paper_prints(monkeypatch, transcript, name, half, task, slack):
    monkeypatch.chdir(ROOT)
    table = transcript[name][half] if half else transcript[name]
    wanted = {(row["E"], row["B"] or "inf"): row["u"] for row in table["rows"]}
    declared = artefact(name.replace("_", ""), ROOT / "params")
    found = [one for one in entries(declared, {}) if half is None or one.row[0] == label(task)]
    assert len(found) == 2 * len(wanted)
    for one in found:
        E, B = one.row[-2:]
        assert one.u == pytest.approx(wanted[int(E), "inf" if B == "∞" else int(B)], abs=slack)


@needs_transcript
def test_the_accuracies_that_the_text_names_are_the_transcript_s(transcript):
    said = (
        transcript["text_numbers"]["cnn_fedsgd_final"]["acc"],
        transcript["text_numbers"]["cnn_fedavg_B10_E20"]["acc"],
    )
    assert {(one["E"], one["B"]): one["accuracy"] for one in PRINTED["figure6"]} == {
        (1, "inf"): said[0],
        (20, 10): said[1],
    }


@needs_transcript
def test_the_targets_are_the_transcript_s(transcript):
    targets = {(TASK[row["model"]], (row["target"],)) for row in transcript["table_1"]["rows"]}
    targets |= {("mnist_2nn", (transcript["table_4"]["target"],)), ("cifar", tuple(transcript["table_3"]["targets"]))}
    targets.add(("mnist_cnn", (transcript["table_2"]["mnist_cnn_99"]["target"],)))
    targets.add(("shakespeare", (transcript["table_2"]["shakespeare_lstm_54"]["target"],)))
    cells = [cell for i in range(1, 5) for cell in artefact(f"table{i}", ROOT / "params").cells]
    assert {(cell.task, cell.targets) for cell in cells} == targets and len(targets) == 4


@needs_transcript
def test_the_copied_curves_are_those_read_off_the_figures_without_the_points_where_the_axes_cut_them(readings):
    """tests/test_figures.py has where each stands in params/paper.yaml and is drawn."""
    first, last = {"fig9": 1}, dict.fromkeys(("fig4", "fig5", "fig9", "fig10"), -1)
    expected = {
        name.removesuffix("_approx"): points[first.get(name.split("_")[0]) : last.get(name.split("_")[0])]
        for name, points in readings.items()
        if isinstance(points, list)
    }
    assert {name: curve["points"] for name, curve in COPY.items() if name != "_README"} == expected


@needs_transcript
def test_within_the_paper_repeats_are_the_transcript_s(transcript):
    repeats = {
        (TASK[row["model"]], partition, row["E"], row["B"] or "inf"): tuple(row[name])
        for row in transcript["within_paper_repeats"]
        for partition, name in (("iid", "iid"), ("shards", "noniid"))
    }
    assert repeats == REPEATED


def test_table_1_has_40_entries_of_which_five_did_not_reach_the_target():
    """As its caption says: five runs with the large batch size."""
    found = by_settings("table1")
    assert len(found) == 40
    assert {settings for settings, (rounds, _) in found.items() if rounds is None} == {
        *(("mnist_2nn", partition, C, 1, "inf") for partition in ("iid", "shards") for C in (0.5, 1.0)),
        ("mnist_cnn", "shards", 1.0, 5, "inf"),
    }


def test_table_4_has_18_entries_and_all_reached_the_target():
    found = by_settings("table4")
    assert len(found) == 18
    assert all(type(rounds) is int for rounds, _ in found.values())


@pytest.mark.parametrize("name", ["table1", "table2", "table4"])
def test_the_cells_declared_are_the_cells_printed_one_for_one(name):
    experiments = [repeats[0].settings for repeats in by_seed(artefact(name, ROOT / "params").cells)]
    declared = [tuple(settings[key] for key in SETTINGS) for settings in experiments]
    assert sorted(declared, key=str) == sorted(by_settings(name), key=str)


def test_the_paper_prints_eight_cells_twice_and_differently():
    first, second = by_settings("table1"), by_settings("table2") | by_settings("table4")
    twice = {settings: (first[settings][0], second[settings][0]) for settings in first.keys() & second.keys()}
    assert {(task, partition, E, B): pair for (task, partition, C, E, B), pair in twice.items()} == REPEATED
    assert {settings[2] for settings in twice} == {0.1}


@pytest.mark.parametrize(
    ("name", "baseline"), [("table1", {"C": 0.0}), ("table2", {"E": 1, "B": "inf"}), ("table4", {"E": 1, "B": "inf"})]
)
def test_every_printed_speedup_is_the_baseline_s_rounds_over_these_to_the_printed_digit(name, baseline):
    found, checked = by_settings(name), 0
    for settings, (rounds, speedup) in found.items():
        base = tuple((dict(zip(SETTINGS, settings, strict=True)) | baseline).values())
        if base == settings or rounds is None:
            assert speedup is None
        else:
            assert f"{found[base][0] / rounds:.1f}" == f"{speedup:.1f}", settings
            checked += 1
    assert checked == {"table1": 27, "table2": 26, "table4": 16}[name]  # no exception: not one misprint


def test_table_3_s_printed_speedups_are_sgd_s_updates_over_these_rounds_to_the_printed_digit():
    sgd = {one["target"]: one["rounds"] for one in PRINTED["table3"] if one["algorithm"] == "sgd"}
    fewer = [one for one in PRINTED["table3"] if one["algorithm"] == "fedavg" and one["rounds"]]
    assert len(sgd) == 3 and len(fewer) == 5
    for one in fewer:
        assert f"{sgd[one['target']] / one['rounds']:.1f}" == f"{one['speedup']:.1f}"


def test_the_ablations_repeat_rows_of_table_4_and_fedavg_s_80_percent_of_table_3():
    rows = {key: (said[0], None) for key, said in by_settings("table4").items()}
    (fedavg,) = (one for one in PRINTED["table3"] if one["target"] == 0.8 and one.get("B") == 50)
    rows["cifar", "iid", *(fedavg[name] for name in ("C", "E", "B"))] = fedavg["rounds"], None
    assert by_settings("ablations").items() <= rows.items()
    (cifar,) = (one for one in PRINTED["ablations"] if one["task"] == "cifar")
    assert cifar["target"] == 0.8


def test_figure_1_has_50_points_evenly_from_minus_02_to_12():
    for entry in PRINTED["figure1"]:
        theta, loss = np.array(entry["points"]).T
        assert len(theta) == 50
        assert np.abs(theta - np.linspace(-0.2, 1.2, 50)).max() < 1e-4
        assert loss.min() > 0.39 and loss.max() < 1.26


def test_figure_1_averages_worse_than_its_parents_from_independent_starts_and_better_from_a_shared_one():
    apart, shared = (dict(map(tuple, entry["points"])) for entry in PRINTED["figure1"])
    assert (apart[0.0], apart[1.0], max(apart[t] for t in apart if 0 < t < 1)) == (0.4821, 0.453, 1.2555)
    assert (shared[0.0], shared[1.0], min(shared.values())) == (0.4617, 0.4602, 0.3985)


def test_figure_7_crosses_97_percent_where_table_4_says():
    """The curves were read off a raster, to 3e-4; the table's numbers were printed: two ways to the same two values."""
    found = by_settings("table4")
    for entry in PRINTED["figure7"]:
        t, accuracy = np.array(entry["points"]).T
        assert (np.diff(accuracy) >= 0).all() and (t % 100 == 0).all()
        i = int(np.argmax(accuracy >= 0.97))
        crossing = t[i - 1] + 100 * (0.97 - accuracy[i - 1]) / (accuracy[i] - accuracy[i - 1])
        assert crossing == pytest.approx(found["mnist_2nn", entry["partition"], 0.1, 1, "inf"][0], abs=1.5)


def test_figure_4_s_best_curve_reaches_85_percent_when_table_3_says():
    """It prints 2000, and the curve has a point every 50 rounds. Its other two numbers, 280 and 630, are not on it."""
    (entry,) = (entry for entry in PRINTED["figure4"] if (entry["E"], entry["lr"]) == (5, 0.15))
    t, accuracy = np.array(entry["points"]).T
    crossings = [rounds_to_target(t, accuracy, target) for target in (0.8, 0.82, 0.85)]
    assert crossings == pytest.approx([344, 693, 1990], abs=2)


def test_figure_5_is_the_best_so_far_of_what_figure_10_shows_every_20_rounds():
    best = {(entry["E"], entry["B"], entry["lr"]): np.array(entry["points"]).T for entry in PRINTED["figure5"]}
    seen = {(entry["E"], entry["B"], entry["lr"]): np.array(entry["points"]).T for entry in PRINTED["figure10"]}
    assert len(best) == 8 and len(seen) == 12
    for settings, (rounds, accuracy) in best.items():
        assert (np.diff(accuracy) >= 0).all()
        t, shown = seen[settings]
        assert (np.interp(t, rounds, accuracy) >= np.maximum.accumulate(shown) - 2e-4).all()


@pytest.mark.parametrize("name", ["figure2", "figure3", "figure4", "figure5", "figure7", "figure8", "figure10"])
def test_the_paper_s_points_are_at_rounds_that_we_evaluate_too(name):
    (schedule,) = {cell.evaluate for cell in artefact(name, ROOT / "params").cells}
    rounds = {t for entry in PRINTED[name] for t, _ in entry["points"]} - {0}  # the untrained model
    assert len(rounds) > 10 and all(SCHEDULES[schedule](t) for t in rounds)


def test_a_learning_rate_is_matched_where_the_cell_s_grid_holds_it():
    (cell,) = (cell for cell in artefact("figure4", ROOT / "params").cells if cell.E == 5)
    assert cell.lr == (0.05, 0.15, 0.25)
    entries = [{"E": 5, "lr": 0.2, "rounds": 1}, {"E": 5, "lr": 0.25, "rounds": 2}, {"E": 5, "rounds": 3}]
    assert [paper.of(cell, entries)["rounds"], paper.of(cell, entries[::-1])["rounds"]] == [2, 3]
    assert paper.of(cell, entries[:1]) == {}


def test_an_entry_that_names_a_target_is_of_that_target_and_of_the_cell_s_last_if_none_is_asked_for():
    (cell,) = (cell for cell in artefact("table3", ROOT / "params").cells if cell.E == 5)
    printed = paper.printed("table3", ROOT / "params/paper.yaml")
    said = [paper.of(cell, printed, target)["rounds"] for target in (*cell.targets, None)]
    assert said == [280, 630, 2000, 2000]
    assert paper.of(cell, printed, 0.9) == {}
    assert paper.printed_rounds(cell, ROOT / "params/paper.yaml") == 2000


def test_printed_rounds_are_those_of_the_cell_s_task_and_of_a_cell_with_a_target():
    """Entries that name no task are found by their target: 820 and 35 are the word LSTM's alone."""
    path = ROOT / "params/paper.yaml"
    found = {}
    for name in ("table_words", "figure8", "words_generated", "table1"):
        found[name] = {paper.printed_rounds(cell, path) for cell in artefact(name, ROOT / "params").cells}
    assert found["table_words"] == {820, 35}
    assert found["figure8"] == found["words_generated"] == {None}  # to its horizon; not the paper's target
    assert not found["table1"] & {820, 35}


def test_every_declared_cell_finds_its_own_entry():
    for name in ("table1", "table2", "table4"):
        entries = paper.printed(name, ROOT / "params" / "paper.yaml")
        for cell in artefact(name, ROOT / "params").cells:
            said = paper.of(cell, entries)
            wanted = by_settings(name)[tuple(cell.settings[key] for key in SETTINGS)]
            assert (said["rounds"], said.get("speedup")) == wanted
    entries = paper.printed("figure1", ROOT / "params" / "paper.yaml")
    for cell in artefact("figure1", ROOT / "params").cells:
        assert paper.of(cell, entries)["points"][0] == [-0.2, 0.5164 if cell.shared_start else 0.7581]


def test_the_paper_is_silent_where_it_prints_nothing():
    path = ROOT / "params" / "paper.yaml"
    assert paper.printed("quickstart", path) == []
    entries = paper.printed("table4", path)
    for cell in artefact("quickstart", ROOT / "params").cells:
        assert paper.of(cell, entries) == {}
    cells = [repeats[0] for repeats in by_seed(artefact("table1", ROOT / "params").cells)]
    sparse = [cell for cell in cells if cell.C != 0.1]
    assert len(sparse) == 32 and all(paper.of(cell, entries) == {} for cell in sparse)


def test_the_cells_that_the_paper_prints_twice_are_run_once():
    first, *others = (artefact(name, ROOT / "params").cells for name in ("table1", "table2", "table4"))
    shared = {cell.name for cell in first} & {cell.name for cells in others for cell in cells}
    assert len(shared) == len(REPEATED)
