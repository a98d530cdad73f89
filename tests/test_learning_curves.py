"""Laws of a figure's lines: what is read of a record, how repeats become a mean and a range, what a line is called."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fedgrid.algorithms.fedavg import batches, cohort, epochs
from fedgrid.grid.artefacts import Artefact, artefact
from fedgrid.grid.cells import cell, grid
from fedgrid.results.learning_curves import gradients, least, lines, mean_and_range
from fedgrid.rng import stream

ROOT = Path(__file__).parents[1]
DECLARED = ROOT / "params"
FIGURES = sorted(path.stem for path in DECLARED.glob("*.yaml") if "figure" in yaml.safe_load(path.read_text()))
RACE = {
    "task": "mnist_2nn",
    "partition": "iid",
    "C": 0.3,
    "E": 2,
    "B": 4,
    "K": 10,
    "targets": [],
    "rounds": 100,
    "lr": [0.1],
}
LAYOUT = {
    "kind": "curves",
    "y": "test_accuracy",
    "lines": "best",
    "x": "rounds",
    "panels": [],
    "range": {"x": [0, 100], "y": [0.0, 1.0]},
}
PAPER = """
figure0:
  - {E: 1, lr: 0.2, points: [[1, 0.5], [2, 0.75]]}
  - {E: 5, points: [[1, 0.25]]}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory whose MNIST has a hundred examples."""
    (tmp_path / "params").mkdir()
    (tmp_path / "params/paper.yaml").write_text(PAPER)
    (tmp_path / "params/datasets.yaml").write_text("mnist: {train: 100, sources: [.], files: {a: unpinned}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def figure(*rows, **layout):
    """A figure of the grid's rows."""
    return Artefact("figure0", "Figure 0", tuple(grid(RACE, list(rows))), figure=LAYOUT | layout)


def read(artefact, *curves):
    """The lines of the artefact where its cells have those curves, one {lr: ys} each, at rounds 1, 2, 3, …"""
    found = {}
    for one, rates in zip(artefact.cells, curves, strict=False):
        length = max(map(len, rates.values()))
        kept = [{"lr": lr, "test_accuracy": ys, "train_loss": ys} for lr, ys in rates.items()]
        found[one.name] = {"curves": {"rounds": list(range(1, length + 1)), "rates": kept}}
    return lines(artefact, found)


READINGS = st.dictionaries(st.integers(1, 6), st.floats(0, 1), max_size=6)


@given(st.lists(READINGS, min_size=1, max_size=4))
def test_a_band_is_mean_and_range_of_all_repeats_where_all_have_a_point(readings):
    band = mean_and_range(readings)
    assert {x for x, *_ in band} == set.intersection(*map(set, readings))
    for x, middle, low, high in band:
        ys = np.array([one[x] for one in readings])
        assert (low, high) == (ys.min(), ys.max())
        assert middle == pytest.approx(ys.mean()) and low <= middle <= high


def test_repeats_are_drawn_to_where_the_first_of_them_ended_and_those_not_run_do_not_count():
    seeds = figure({"seed": [0, 1, 2, 3]})
    (line,) = read(seeds, {0.1: [0.25, 0.5, 0.75]}, {0.1: [0.75, 1.0]}, {0.1: [0.5, 0.75, 1.0]})
    assert line.n == 3
    assert line.ours == ((1, 0.5, 0.25, 0.75), (2, 0.75, 0.5, 1.0))


def test_the_best_accuracy_is_each_repeat_s_own_envelope():
    seeds = figure({"seed": [0, 1], "lr": [0.1, 0.2]})
    (line,) = read(seeds, {0.1: [0.5, 0.25, 0.75], 0.2: [0.25, 1.0]}, {0.1: [0.0, 0.0, 0.5], 0.2: [0.25, 0.25, 0.0]})
    assert line.ours == ((1, 0.375, 0.25, 0.5), (2, 0.625, 0.25, 1.0), (3, 0.75, 0.5, 1.0))


def test_each_rate_is_averaged_over_the_seeds_by_itself():
    seeds = figure({"seed": [0, 1], "lr": [0.1, 0.2]}, lines="each")
    slow, fast = read(seeds, {0.1: [0.5, 0.25], 0.2: [0.75]}, {0.1: [0.0, 0.75], 0.2: [0.25, 1.0]})
    assert (slow.name, slow.n, slow.ours) == ("η = 0.1", 2, ((1, 0.25, 0.0, 0.5), (2, 0.5, 0.25, 0.75)))
    assert (fast.name, fast.n, fast.ours) == ("η = 0.2", 2, ((1, 0.5, 0.25, 0.75),))  # it diverged in one


def test_races_that_prune_and_races_that_do_not_are_told_apart():
    rule = {"evaluations": 8, "smaller": 1.3, "larger": 3}
    whole, pruned = read(figure({"prune": [None, rule], "lr": [0.1, 0.2]}), {0.1: [0.5], 0.2: [0.25]})
    assert (whole.name, pruned.name) == ("pruned: none", "pruned: evaluations 8, smaller 1.3, larger 3")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(1, 4), st.booleans())
def test_every_nth_round_is_shown_as_it_was_or_with_the_best_of_those_between(ys, every, monotone):
    layout = {"lines": "each", "every": every, "monotone": monotone}
    (line,) = read(figure({}, **layout), {0.1: ys})
    expected = {t: max(ys[:t]) if monotone else ys[t - 1] for t in range(1, len(ys) + 1) if t % every == 0}
    assert {x: y for x, y, *_ in line.ours} == expected


@pytest.mark.parametrize(
    ("curves", "best"),
    [
        ([[3, 2, 1], [3, 1, 2]], [3, 2, 1]),
        ([[1, 2, 3], [3, 2, 1]], [3, 2, 1]),
        ([[2, 1], [1, 2, 3]], [1, 2, 3]),  # it did better until it diverged
        ([[1, 2, None], [3, 3, 3]], [3, 3, 3]),  # overflowed
        ([[2, 1], [3, 1]], [2, 1]),  # a tie goes to the first
        ([[2, None], [3, None]], [2, None]),
        ([[], [3]], [3]),
        ([[], []], []),
        ([], []),
    ],
)
def test_the_best_loss_is_the_curve_that_ends_lowest_of_those_that_went_furthest(curves, best):
    assert least(curves) == best


def test_a_loss_that_overflowed_is_no_point():
    losses = figure({"train_loss": True}, y="train_loss")
    (line,) = read(losses, {0.1: [2.0, None, 1.0]})
    assert line.ours == ((1, 2.0, 2.0, 2.0), (3, 1.0, 1.0, 1.0))


def test_a_figure_of_losses_follows_the_rate_whose_last_loss_is_least():
    losses = figure({"train_loss": True, "lr": [0.1, 0.2]}, y="train_loss")
    (line,) = read(losses, {0.1: [1.0, 4.0, 3.0], 0.2: [5.0, 2.0, 2.5]})
    assert [y for _, y, *_ in line.ours] == [5.0, 2.0, 2.5]  # as it was: no envelope, not monotone


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 18),  # three clients, two epochs, ten examples in batches of four: three
        ({"B": "inf"}, 6),
        ({"B": 10}, 6),
        ({"B": 11}, 6),
        ({"C": 0.0}, 6),
        ({"C": 1.0, "E": 5}, 150),
        ({"K": 7}, 16),  # two clients; 14 examples and two sevenths are four batches
        ({"algorithm": "sgd", "K": 1, "C": 1.0, "E": 1}, 1),
    ],
    ids=str,
)
def test_gradient_computations_of_a_round_as_counted_by_hand(settings, count):
    assert gradients(cell(RACE | settings)) == count
    (line,) = read(figure(settings, x="gradients"), {0.1: [0.25, 0.5]})
    assert [x for x, *_ in line.ours] == [count, 2 * count]


@pytest.mark.parametrize("settings", [{}, {"B": "inf"}, {"B": 3, "C": 1.0}, {"E": 7, "K": 5}], ids=str)
def test_gradient_computations_are_the_batches_that_the_specification_draws(settings):
    one = cell(RACE | settings)
    parts = np.array_split(np.arange(100), one.K)
    drawn = [
        len(list(batches(order, one.B)))
        for k in cohort(one.K, one.C, stream(0, "cohort", 1))
        for order in epochs(parts[k], one.E, stream(0, "client", 1, int(k)))
    ]
    assert gradients(one) == sum(drawn)


SGD = {"algorithm": "sgd", "K": 1, "C": 1.0, "E": 1}


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([{}], [""]),
        ([{"seed": [0, 1]}], [""]),
        ([{"E": [1, 5], "B": ["inf", 10]}], ["FedSGD", "E = 1, B = 10", "E = 5, B = ∞", "E = 5, B = 10"]),
        ([{"E": 1, "B": ["inf", 10]}], ["FedSGD", "B = 10"]),
        ([{"E": 1, "B": "inf", "C": [0.0, 0.5]}], ["C = 0", "C = 0.5"]),
        ([{"B": 10, "C": 1.0}, {"E": 1, "B": "inf"}], ["C = 1, E = 2, B = 10", "C = 0.3, FedSGD"]),
        ([{"E": 1, "B": "inf", "lr": 0.5, "decay": 0.99}, {"E": 5}], ["FedSGD", "E = 5, B = 4"]),
        ([{"rounds": 50, "E": [1, 5]}, {"E": 9, "targets": [0.5]}], ["E = 1", "E = 5", "E = 9"]),
        ([{"decay": [0.5, 1.0]}], ["decay = 0.5", "decay = 1"]),  # nothing else tells them apart
        ([{"lr": 0.1}, {"lr": [0.1, 0.2]}], ["η = 0.1", "η = 0.1, 0.2"]),
        ([{"shuffle": ["every_epoch", "once"]}], ["shuffle = every_epoch", "shuffle = once"]),
        ([SGD, {"C": [0.0, 0.5], "E": 5}], ["SGD", "C = 0", "C = 0.5"]),
        ([SGD, {"E": 5}], ["SGD", "FedAvg"]),
        ([SGD | {"B": [1, 4]}, {"E": 1, "B": "inf"}, {}], ["SGD, B = 1", "SGD, B = 4", "FedSGD", "E = 2, B = 4"]),
        ([SGD], [""]),
    ],
    ids=str,
)  # fmt: skip
def test_a_line_is_called_by_what_tells_it_from_the_others(rows, names):
    assert [line.name for line in lines(figure(*rows), {})] == names


def test_lines_are_told_apart_within_their_panel_alone():
    found = lines(figure({"E": [1, 5], "B": "inf"}, {"E": [5, 9], "B": 10}, panels=["B"]), {})
    assert [(line.panel, line.name) for line in found] == [
        ("B = ∞", "FedSGD"),
        ("B = ∞", "E = 5"),
        ("B = 10", "E = 5"),
        ("B = 10", "E = 9"),
    ]
    found = lines(figure({"E": [1, 5], "B": "inf"}, {"E": 1, "B": 10}, panels=["E", "B"]), {})
    assert [(line.panel, line.name) for line in found] == [("FedSGD", ""), ("E = 5, B = ∞", ""), ("E = 1, B = 10", "")]


@pytest.mark.parametrize("name", FIGURES)
def test_no_two_lines_of_a_panel_have_one_name(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    found = [(line.panel, line.name) for line in lines(artefact(name), {})]
    assert len(set(found)) == len(found) > 0


def test_the_paper_s_curve_of_a_rate_is_that_rate_s_alone():
    found = lines(figure({"E": [1, 5, 9], "lr": [0.1, 0.2]}, lines="each"), {})
    assert {line.name: line.paper for line in found if line.paper} == {
        "E = 1, η = 0.2": ((1, 0.5), (2, 0.75)),
        "E = 5, η = 0.1": ((1, 0.25),),  # of any rate
        "E = 5, η = 0.2": ((1, 0.25),),
    }
    assert [len(line.paper) for line in lines(figure({"E": 1, "lr": [0.1, 0.2]}), {})] == [2]
    assert [len(line.paper) for line in lines(figure({"E": 1, "lr": [0.1, 0.3]}), {})] == [0]


LOSS = {"y": "train_loss"}
WRONG = [  # what the schema can see, too, and what it cannot
    ({"kind": "accuracy"}, "kind", True),
    ({"kind": None}, "kind", True),
    ({"y": "accuracy"}, "y", True),
    ({"y": None}, "y", True),
    ({"lines": "all"}, "lines", True),
    ({"x": "epochs"}, "x", True),
    ({"panels": "partition"}, "panels", True),
    ({"panels": [["E"]]}, "panels", True),
    ({"range": {"rounds": [0, 1], "accuracy": [0, 1]}}, "range", True),
    ({"range": {"x": [0, 1]}}, "range", True),
    ({"range": {"x": [0, 1, 2], "y": [0, 1]}}, "range", True),
    ({"range": {"x": [0, "100"], "y": [0, 1]}}, "range", True),
    ({"range": [0, 1]}, "range", True),
    ({"log": "x"}, "log", True),
    ({"log": ["z"]}, "log", True),
    ({"monotone": "yes", "lines": "each"}, "monotone", True),
    ({"every": 0}, "every", True),
    ({"every": 2.5}, "every", True),
    ({"legend": "none"}, "legend", True),
    ({"panels": ["momentum"]}, "momentum", False),
    ({"range": {"x": [1, 0], "y": [0, 1]}}, "range", False),
    ({"panels": ["partition"], "range": {"shards": {"x": [0, 1], "y": [0, 1]}}}, "range", False),
    ({"range": {"iid": {"x": [0, 1], "y": [0, 1]}}}, "range", False),  # there are no panels
    ({"log": ["y"]}, "log", False),  # from 0
    ({"monotone": True}, "monotone", False),  # of the best, which is monotone
    (LOSS, "train_loss", False),  # which the cells do not evaluate
]


def declared(folder, **changes):
    """The params file of a figure with those changes, None for a key that is not there."""
    laid = {key: value for key, value in (LAYOUT | changes).items() if value is not None}
    text = {"title": "Figure 0", "cells": RACE, "grid": [{"E": [1, 5]}], "figure": laid}
    (folder / "params/figure0.yaml").write_text(yaml.safe_dump(text))
    return text


@pytest.fixture(scope="module")
def schema():
    return Draft202012Validator(yaml.safe_load((ROOT / "workflow/schemas/artefact.schema.yaml").read_text()))


@pytest.mark.parametrize(("changes", "key", "seen"), WRONG, ids=str)
def test_a_figure_that_is_laid_out_wrongly_is_refused_by_the_key(folder, schema, changes, key, seen):
    text = declared(folder, **changes)
    with pytest.raises(ValueError, match=rf"params/figure0.yaml: .*\b{key}\b"):
        artefact("figure0")
    assert schema.is_valid(text) != seen


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lines": "each", "monotone": True, "every": 20, "log": ["x"]},
        {"log": ["x", "y"], "range": {"x": [0, 100], "y": [1.0e-6, 1]}},
        {"panels": ["partition", "E"], "range": {"iid": {"x": [0, 1], "y": [0, 1]}}, "x": "gradients"},
    ],
    ids=str,
)
def test_a_figure_that_is_laid_out_well_is_taken(folder, schema, changes):
    schema.validate(declared(folder, **changes))
    assert artefact("figure0").figure == LAYOUT | changes


def test_averages_and_curves_are_not_drawn_as_one_another(folder):
    declared(folder, **dict.fromkeys(LAYOUT) | {"kind": "interpolation"})
    with pytest.raises(ValueError, match="kind"):
        artefact("figure0")


@pytest.mark.parametrize("name", FIGURES)
def test_every_declared_figure_is_as_the_schema_has_it(schema, name):
    schema.validate(yaml.safe_load((DECLARED / f"{name}.yaml").read_text()))


@pytest.mark.parametrize("name", ["figure2", "figure8"])
def test_a_range_of_its_own_is_that_of_the_panel_s_first_setting(name):
    one = artefact(name, DECLARED)
    first = one.figure["panels"][0]
    assert set(one.figure["range"]) == {str(cell.settings[first]) for cell in one.cells}


def test_a_curve_of_the_paper_s_that_stands_for_a_whole_panel_is_there_once_and_unnamed(folder):
    (folder / "params/paper.yaml").write_text("figure0: [{E: 5, points: [[1, 0.25]]}]\n")
    alike = lines(figure({"E": 5, "init": ["glorot", "he"]}), {})
    assert [(line.name, line.paper, line.theirs) for line in alike] == [
        ("init = glorot", ((1, 0.25),), ""),
        ("init = he", (), "init = he"),
    ]
    apart = lines(figure({"E": [1, 5], "init": "glorot"}), {})
    assert [(line.paper, line.theirs) for line in apart] == [((), "E = 1"), (((1, 0.25),), "E = 5")]
