"""Laws of `fedgrid explain`: each number is found by its name, however spelt, and what is told is the record's."""

import hashlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from fedgrid.__main__ import main
from fedgrid.audit.explain import HEIGHT, WIDTH, explain, find, plot
from fedgrid.audit.lineage import Trace, traces
from fedgrid.grid.artefacts import all_cells, artefact, artefact_names
from fedgrid.run import record
from tests import handmade

ROOT = Path(__file__).parents[1]


def cell_of(hand, *where):
    return next(cell for cell in hand.cells if handmade.place(cell) == where)


@pytest.mark.parametrize("name", artefact_names(ROOT / "params"))
def test_every_number_is_found_by_its_own_name(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    one = artefact(name)
    among = traces(one, {})
    assert among and all(find(trace.name, one, among) == [trace] for trace in among)


@pytest.mark.parametrize(
    "entry",
    [
        "E=1 B=∞ non-IID",
        "b=inf NON-iid e=1",
        "non iid, E = 1, B = INF",
        "FedSGD shards",
        "fedsgd partition=non-IID",
        "C=0.1 E=1 B=Infinity partition=shards target=0.75",
        "mnist_2nn E=1.0 B=inf K=100 noniid C=.10 75 %",
        "MNIST 2NN FedSGD non-IID lr=[0.1, 0.2, 0.4]",
    ],
)
def test_spelling_is_free(hand, entry):
    assert [trace.name for trace in find(entry, hand, traces(hand, {}))] == ["E=1 B=∞ non-IID"]


@pytest.mark.parametrize(
    "entry",
    ["E=2 B=10 IID", "E=1 B=1 IID", "E=5 B=inf IID", "C=0.2 E=1 B=10 IID", "E=1 B=10 unbalanced IID", "E=1 B=10 II"],
)
def test_values_are_exact_and_an_unknown_entry_is_told_those_there_are(hand, entry):
    with pytest.raises(ValueError) as caught:
        find(entry, hand, traces(hand, {}))
    line = str(caught.value)
    names = "E=1 B=∞ IID; E=1 B=10 IID; E=1 B=∞ non-IID; E=1 B=10 non-IID; E=5 B=10 IID"
    assert line.startswith(f"hand: no entry {entry!r}") and "\n" not in line
    assert sorted(line.partition("it has ")[2].split("; ")) == sorted(names.split("; "))


def test_of_an_ambiguous_entry_each_is_told_and_no_other(hand):
    found = find("E=1 B=10", hand, traces(hand, {}))
    assert [trace.name for trace in found] == ["E=1 B=10 IID", "E=1 B=10 non-IID"]
    text = explain(hand, {}, "E=1 B=10")
    assert all(text.count(f"python -m fedgrid run {trace.sources[0].cell.name}") == 1 for trace in found)


def test_a_model_is_a_setting_too(monkeypatch):
    """Table 2 calls both models' clients non-IID."""
    monkeypatch.chdir(ROOT)
    table2 = artefact("table2")
    among = traces(table2, {})
    names = ["MNIST CNN E=5 B=10 non-IID", "Shakespeare LSTM E=5 B=10 non-IID"]
    assert [trace.name for trace in find("E=5 B=10 non-IID", table2, among)] == names
    assert [trace.name for trace in find("CNN E=5 B=10 non-IID", table2, among)] == names[:1]


def test_the_command_line_joins_the_entry_s_words_and_refuses_in_one_line(hand, records, capsys):
    main(["explain", "hand", "E=1", "B=∞", "iid"])
    assert "E=1 B=∞ IID" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["explain", "hand"])
    assert caught.value.code == 1
    assert re.fullmatch(r"fedgrid explain: hand: no entry ''; it has .*\n", capsys.readouterr().err)


def test_in_a_folder_of_ones_own_the_commit_is_said_to_be_one_of_fedgrids_clone(hand, records):
    assert f"    # in the clone of fedgrid: git checkout {handmade.COMMIT}\n" in explain(hand, records, "E=1 B=∞ iid")


def test_it_tells_the_number_the_paper_s_and_what_the_record_says(hand, records):
    Path("src/fedgrid").mkdir(parents=True)
    text = explain(hand, records, "E=1 B=∞ iid")
    cell = cell_of(hand, "iid", 1, "inf", 0)
    path = record.path(cell.name)
    assert "rounds to 75 % test accuracy: ours 25   paper 100   ours/paper 0.25" in text
    assert path.as_posix() in text and hashlib.sha256(path.read_bytes()).hexdigest() in text
    for name in ("engine", "data", "partition", "initial_weights", "final_weights"):
        assert f"{name} of {cell.name}" in text
    for said in (handmade.COMMIT, "12.5", "torch: 2.13.0", handmade.HOSTILE, "0.1, 0.2, 0.4", "mnist_2nn"):
        assert said in text
    assert re.search(r"best lr +0\.2$", text, re.MULTILINE)
    assert text.endswith(
        f"    git checkout {handmade.COMMIT}\n    python -m fedgrid fetch mnist\n"
        f"    python -m fedgrid partition mnist-iid-K100-s0\n    rm -f {path}\n    python -m fedgrid run {cell.name}"
    )


def test_it_tells_which_rates_left_because_they_could_not_win(hand, records):
    one = records[cell_of(hand, "iid", 1, "inf", 0).name]
    assert "pruned" not in explain(hand, records, "E=1 B=∞ iid")
    for rate, t in zip(one["curves"]["rates"], (10, 2_000), strict=False):
        rate["pruned"] = t
    assert re.search(
        r"^ +pruned +0\.1 in round 10, 0\.2 in round 2,000$", explain(hand, records, "FedSGD iid"), re.MULTILINE
    )


def test_what_was_not_run_says_so_and_how_to_run_it(hand, records):
    text, cell = explain(hand, records, "E=1 B=10 iid"), cell_of(hand, "iid", 1, 10, 0)
    assert f"{record.path(cell.name).as_posix()}: not run" in text and "checkout" not in text and "rm -f" not in text
    assert text.endswith(f"python -m fedgrid run {cell.name}") and cell.name in all_cells()


def test_a_target_that_was_not_reached_is_a_number_too(hand, records):
    assert "ours > 200   paper —" in explain(hand, records, "shards E=1 B=10")


def test_of_several_seeds_each_is_told(hand, records):
    text = explain(hand, records, "E=5 B=10")
    done, missing = (record.path(cell_of(hand, "iid", 5, 10, seed).name).as_posix() for seed in (0, 1))
    assert f"\n{done}\n" in text and f"\n{missing}: not run\n" in text and "n = 1 of 2" in text


def test_the_line_of_a_figure_has_its_own_rate_s_curve(monkeypatch):
    monkeypatch.chdir(ROOT)
    one = artefact("figure4")
    (trace,) = find("E=5 B=50 lr=0.15", one, traces(one, {}))
    assert trace.settings["lr"] == 0.15 and trace.says["paper"].endswith(" in round 3,000")


def test_a_commit_is_one_word_of_its_command_and_uncommitted_sources_are_told(hand, tmp_path):
    records = handmade.write(hand, tmp_path, commit="main;\nrm -rf ~", dirty=True)
    *_, warning, checkout, _, _, _, _ = explain(hand, records, "FedSGD iid").splitlines()
    assert shlex.split(checkout)[-3:] == ["git", "checkout", "main; rm -rf ~"]
    assert warning.strip().startswith("#") and "commit" in warning


def dots(lines):
    """The dots of a plot in Braille, from below: bool (4 · HEIGHT, 2 · WIDTH)."""
    grid = np.zeros((4 * HEIGHT, 2 * WIDTH), bool)
    places = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]  # of Unicode's dots 1 to 8
    for row, line in enumerate(line.partition("│")[2] for line in lines if "│" in line):
        for column, character in enumerate(line):
            for bit, (down, right) in enumerate(places):
                grid[4 * row + down, 2 * column + right] = ord(character) - 0x2800 >> bit & 1
    return grid[::-1]


def traced(target, *curves):
    sources = [type("Source", (), {"curve": curve}) for curve in curves]
    return Trace("line", {}, "loss", {}, ("x", "y"), target, tuple(sources))


def test_a_straight_line_is_drawn_as_one():
    grid = dots(plot(traced(None, ((0.0, 2.0), (10.0, 4.0)))))
    for column in range(2 * WIDTH):
        rows = np.flatnonzero(grid[:, column])
        wanted = column / (2 * WIDTH - 1) * (4 * HEIGHT - 1)
        assert len(rows) and max(abs(rows - wanted)) <= 1


def test_the_target_is_a_dotted_line_at_its_height_and_a_shorter_curve_ends_early():
    lines = plot(traced(1.0, ((0.0, 0.0), (10.0, 0.0)), ((0.0, 0.5), (5.0, 0.5))))
    grid = dots(lines)
    assert grid[-1].tolist() == [column % 4 == 0 for column in range(2 * WIDTH)]
    assert grid[0].all() and set(np.flatnonzero(grid[1:-1].any(axis=0))) == set(range(WIDTH))
    assert re.fullmatch(r" +0 +10", lines[-2]) and lines[1].strip() == "y" and lines[-1].strip() == "x"
