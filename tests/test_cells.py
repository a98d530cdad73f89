"""Laws of cells and of params files: what is wrong is one line that names the key, and a name stands for a cell."""

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedgrid import files
from fedgrid.algorithms import ALGORITHMS, FedAvg
from fedgrid.grid.artefacts import all_cells, artefact, artefact_names
from fedgrid.grid.cells import CHOICES, Interpolation, Race, cell, grid, rates

INF = float("inf")
RACE = {
    "task": "digits_2nn",
    "partition": "iid",
    "K": 50,
    "C": 0.1,
    "E": 1,
    "B": 10,
    "lr": [0.1, 0.215],
    "targets": [0.9, 0.95],
    "rounds": 100,
}
AVERAGING = {"task": "digits_2nn", "partition": "iid", "E": 1, "B": 10, "lr": [0.1], "shared_start": True}
DEFAULTS = {
    "seed": 0,
    "init": "glorot",
    "scaling": "unit",
    "shuffle": "every_epoch",
    "rounding": "nearest",
    "evaluate": "paper",
    "train_loss": False,
}


def refusal(function, *arguments):
    """The text of the ValueError; it must be one line."""
    with pytest.raises(ValueError) as caught:
        function(*arguments)
    assert caught.type is ValueError
    text = str(caught.value)
    assert text and "\n" not in text and len(text) < 400
    return text


def names(text, key):
    return re.search(rf"(?<![a-z]){re.escape(key)}(?![a-z])", text, re.IGNORECASE if len(key) > 2 else 0)


# Values


WRONG = [
    ("task", "mnist_cnnn"),
    ("partition", "dirichlet"),
    ("init", "xavier"),
    ("scaling", "none"),
    ("shuffle", "never"),
    ("rounding", "sideways"),
    ("evaluate", "sometimes"),
    ("task", None),
    ("task", 5),
    ("partition", True),
    ("C", -0.1),
    ("C", 1.1),
    ("C", 10),
    ("C", "abc"),
    ("C", True),
    ("C", None),
    ("C", "inf"),
    ("C", math.nan),
    ("C", {"from": 0}),
    ("E", 0),
    ("E", -1),
    ("E", "five"),
    ("E", 1.5),
    ("E", 1.0),
    ("E", True),
    ("E", None),
    ("E", INF),
    ("B", 0),
    ("B", -10),
    ("B", 2.5),
    ("B", "all"),
    ("B", "10"),
    ("B", True),
    ("B", None),
    ("B", -INF),
    ("B", math.nan),
    ("K", 0),
    ("K", 1e2),
    ("K", "100"),
    ("seed", 0.5),
    ("seed", "zero"),
    ("seed", None),
    ("rounds", 0),
    ("rounds", INF),
    ("rounds", "many"),
    ("train_loss", "yes"),
    ("train_loss", 1),
    ("targets", "0.9"),
    ("targets", [0.9, 0.9]),
    ("targets", [0.95, 0.9]),
    ("targets", [90]),
    ("targets", [0]),
    ("targets", [1]),
    ("targets", [math.nan]),
    ("targets", [True]),
    ("targets", None),
    ("lr", []),
    ("lr", [0.1, 0.1]),
    ("lr", [0.2, 0.1]),
    ("lr", [0.0, 0.1]),
    ("lr", [-0.1]),
    ("lr", -0.1),
    ("lr", [INF]),
    ("lr", [math.nan]),
    ("lr", ["big"]),
    ("lr", [True]),
    ("lr", True),
    ("lr", None),
    ("lr", [[0.1]]),
    ("lr", {}),
    ("lr", {"per_decade": 3}),
    ("lr", {"per_decade": 3, "from": -3, "to": 0, "by": 1}),
    ("lr", {"per_decade": 3.5, "from": -3, "to": 0}),
    ("lr", {"per_decade": True, "from": -3, "to": 0}),
    ("lr", {"per_decade": 3, "from": 0, "to": -1}),
    ("lr", {"per_decade": -3, "from": -3, "to": 0}),
    ("lr", {"per_decade": 0, "from": -3, "to": 0}),
    ("lr", {"per_decade": 10_000, "from": 0, "to": 1}),  # two rates of three digits that are one
    ("lr", {"per_decade": 1, "from": 400, "to": 400}),  # no number of a computer
]


@pytest.mark.parametrize(("key", "value"), WRONG, ids=[f"{key}={value}" for key, value in WRONG])
def test_a_setting_of_no_allowed_value_is_refused_by_its_name(key, value):
    assert names(refusal(cell, RACE | {key: value}), key)


@pytest.mark.parametrize("key", CHOICES)
def test_an_unknown_choice_is_answered_with_the_known_ones(key):
    text = refusal(cell, RACE | {key: "strange"})
    assert "strange" in text
    assert all(choice in text for choice in CHOICES[key])


@pytest.mark.parametrize("key", ["momentum", "e", "lrs", "shared_start", "points", 5, "E "])
def test_an_unknown_setting_is_refused_by_its_name(key):
    assert repr(key) in refusal(cell, RACE | {key: 1})


@pytest.mark.parametrize("key", [key for key in RACE if key != "K"])
def test_a_missing_setting_is_refused_by_its_name(key):
    assert names(refusal(cell, {name: value for name, value in RACE.items() if name != key}), key)


@pytest.mark.parametrize(
    ("key", "value"), [("lr", [0.1, 0.2]), ("K", 1), ("points", 2), ("shared_start", "yes"), ("C", 0.1), ("rounds", 5)]
)
def test_a_wrong_setting_of_figure_1_is_refused_by_its_name(key, value):
    assert names(refusal(cell, AVERAGING | {key: value}, "interpolation"), key)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("inf"), st.dates()
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@given(key=st.sampled_from([*RACE, *DEFAULTS]), value=ANYTHING)
def test_whatever_yaml_may_hold_makes_a_cell_or_one_line_that_names_the_key(key, value):
    try:
        made = cell(RACE | {key: value})
    except ValueError as error:
        assert names(str(error), key) and "\n" not in str(error)
    else:
        assert cell(made.settings) == made


def test_a_number_too_large_for_a_float_is_refused_by_the_settings_name():
    for key in ("B", "C"):
        assert names(refusal(cell, RACE | {key: 10**400}), key)


# Names


def test_golden_names_so_that_no_record_is_orphaned_silently():
    assert cell(RACE).name == "digits_2nn-iid-C0.1-E1-B10-s0-eff69f9635"
    assert cell(RACE | {"B": "inf", "C": 0}).name == "digits_2nn-iid-C0-E1-Binf-s0-905aac5a1c"
    assert cell(AVERAGING, "interpolation").name == "digits_2nn-iid-averaging-shared-s0-152ac84237"


OTHER = {
    "task": "mnist_2nn",
    "partition": "shards",
    "K": 51,
    "C": 0.2,
    "E": 2,
    "B": 11,
    "lr": [0.1, 0.216],
    "targets": [0.9, 0.96],
    "rounds": 101,
    "seed": 1,
    "init": "he",
    "scaling": "standard",
    "shuffle": "once",
    "rounding": "up",
    "evaluate": "every_round",
    "train_loss": True,
    "precision": "bf16",
    "numerics": "portable",
    "lrn": False,
    "l2": False,
    "decay": 0.99,
    "decay_per": "round",
    "algorithm": {"name": "fedprox", "mu": 0.5},
    "message": [{"name": "clip", "norm": 2.0}],
    "prune": {"evaluations": 8, "smaller": 1.3, "larger": 3},
}
ALSO = {key: {"task": "cifar"} for key in ("lrn", "l2")}  # whose model has what they take away
SGD = RACE | {"algorithm": "sgd", "K": 1, "C": 1, "E": 1}  # plain SGD has no clients


def test_a_setting_that_came_later_leaves_every_earlier_record_its_name():
    """The name that a record of the first release has, and that no default of a later setting may change."""
    settings = {"task": "mnist_2nn", "partition": "iid", "C": 0.1, "E": 1, "B": 10, "targets": [0.97], "rounds": 2000}
    first = cell(settings | {"lr": {"per_decade": 3, "from": -5, "to": 0}})
    assert first.name == "mnist_2nn-iid-C0.1-E1-B10-s0-dfd4000a4f"
    assert "precision" in first.settings and "precision" not in first.recorded
    other = dataclasses.replace(first, precision="tf32")
    assert other.recorded == first.recorded | {"precision": "tf32"}


def test_a_cell_of_any_other_setting_has_another_name():
    assert set(OTHER) == {field.name for field in dataclasses.fields(Race)}
    cells = [cell(RACE), *(cell(RACE | ALSO.get(key, {}) | {key: value}) for key, value in OTHER.items())]
    cells += [cell(SGD), cell(SGD | {"algorithm": "fedavg"}), cell(RACE | {"task": "cifar"})]
    cells += [cell(RACE | {"B": INF}), cell(RACE | {"lr": 0.1}), cell(RACE | {"targets": []})]
    assert len({one.name for one in cells}) == len(cells)


@pytest.mark.parametrize("key", ["K", "C", "E"])
def test_plain_sgd_is_refused_where_it_is_given_clients(key):
    assert names(refusal(cell, SGD | {key: 2 if key != "C" else 0.1}), key)
    assert re.fullmatch(r"digits_2nn-iid-sgd-B10-s0-[0-9a-f]{10}", cell(SGD).name)


@pytest.mark.parametrize("settings", [{"partition": "shards"}, {"B": INF}])
def test_plain_sgd_takes_minibatches_of_all_data(settings):
    assert names(refusal(cell, SGD | settings), *settings)


def test_normalisation_and_penalty_can_be_taken_from_the_cifar_model_and_from_no_other():
    plain = cell(RACE | {"task": "cifar", "lrn": False, "l2": False}).model
    assert {type(layer).__name__ for layer in plain.layers} == {"View", "Conv2d", "MaxPool", "Relu", "Linear"}
    assert [layer.penalty for layer in plain.layers if hasattr(layer, "penalty")] == [0, 0, 0]
    assert plain.parameters == cell(RACE | {"task": "cifar"}).model.parameters == 1_068_298
    for key in ("lrn", "l2"):
        assert names(refusal(cell, RACE | {key: False}), key)


def test_an_average_of_any_other_setting_has_another_name():
    other = {key: OTHER[key] for key in OTHER if key in {field.name for field in dataclasses.fields(Interpolation)}}
    other |= {"lr": [0.2], "points": 51, "shared_start": False}
    assert set(other) == {field.name for field in dataclasses.fields(Interpolation)}
    changed = [AVERAGING | ALSO.get(key, {}) | {key: value} for key, value in other.items()]
    cells = [cell(settings, "interpolation") for settings in (AVERAGING, AVERAGING | {"task": "cifar"}, *changed)]
    assert len({one.name for one in cells}) == len(cells)


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "C": st.integers(0, 10**6).map(lambda c: c / 10**6),
            "E": st.integers(1, 10**6),
            "B": st.integers(1, 10**6) | st.just(INF),
            "seed": st.integers(0, 10**6),
            "rounds": st.integers(1, 10**6),
        },
    ),
    key=st.sampled_from(sorted(OTHER)),
)
def test_names_are_readable_file_names_that_differ_whenever_cells_do(changes, key):
    one, other = cell(RACE | changes), cell(RACE | changes | ALSO.get(key, {}) | {key: OTHER[key]})
    assert (one.name == other.name) == (one == other)
    assert re.fullmatch(r"[a-z0-9_]+-[a-z_]+-C[-+.0-9e]+-E\d+-B(inf|\d+)-s\d+-[0-9a-f]{10}", one.name)
    assert re.fullmatch(r"[\w.+-]+", other.name)


COMMITTED = sorted((Path(__file__).parents[1] / "results/cells").glob("*/*.json"))


def test_every_committed_record_keeps_its_name_and_is_read_as_before():
    """Its settings, as JSON has them, are those of the cell that its name stands for."""
    assert len(COMMITTED) > 80
    for place in COMMITTED:
        settings = json.loads(place.read_text())["settings"]
        kind = "interpolation" if "shared_start" in settings else "race"
        one = cell(settings, kind)
        assert one.name == place.stem
        assert one.recorded == settings


# Settings that nest


def test_a_choice_by_its_name_alone_has_the_defaults_of_its_settings_spelt_out():
    by_name, whole = cell(RACE | {"algorithm": "fedprox"}), cell(RACE | {"algorithm": {"name": "fedprox", "mu": 0.01}})
    assert by_name == whole and by_name.name == whole.name
    assert by_name.settings["algorithm"] == {"name": "fedprox", "mu": 0.01}
    assert by_name.name.startswith("digits_2nn-iid-fedprox_mu0.01-C0.1-")


def test_a_race_that_prunes_says_so_in_its_name_and_one_that_does_not_is_named_as_ever():
    assert re.fullmatch(r"digits_2nn-iid-C0\.1-E1-B10-pruned-s0-\w{10}", cell(RACE | {"prune": OTHER["prune"]}).name)
    assert cell(RACE | {"prune": None}).name == cell(RACE).name
    found = [one.prune for one in grid(RACE, [{"prune": [None, OTHER["prune"] | {"evaluations": [5, 8]}]}])]
    assert [one and one.evaluations for one in found] == [None, 5, 8]


def test_fedavg_however_it_is_written_is_the_same_cell():
    assert cell(RACE | {"algorithm": {"name": "fedavg"}}).name == cell(RACE | {"algorithm": "fedavg"}).name
    assert cell(RACE | {"partition": {"name": "iid"}}).name == cell(RACE).name


def test_a_record_s_settings_give_its_cell_again():
    for settings in (
        {"algorithm": {"name": "fedavgm", "beta": 0.5}},
        {"message": ["clip", {"name": "clip", "norm": 3}]},
        {"prune": OTHER["prune"]},
    ):
        one = cell(RACE | settings)
        assert cell(json.loads(json.dumps(one.recorded))) == one


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"algorithm": "fedproxx"}, "unknown algorithm 'fedproxx'; choose from fedavg, sgd, fedprox, fedavgm"),
        ({"algorithm": {"name": "fedprox", "nu": 1}}, "algorithm fedprox: unknown setting 'nu'; it has mu"),
        ({"algorithm": {"name": "fedavg", "mu": 1}}, "algorithm fedavg: unknown setting 'mu'; it has none"),
        ({"algorithm": {"mu": 1}}, "{'mu': 1} is no algorithm; write its name, or {name: …, its settings}"),
        ({"algorithm": {"name": "fedprox", "mu": "much"}}, "fedprox.mu: 'much' is not a number"),
        ({"algorithm": {"name": "fedprox", "mu": -1}}, "mu is -1.0; it must be a number from 0"),
        ({"algorithm": {"name": "fedavgm", "beta": 1}}, "beta is 1.0; it must be a number from 0 and below 1"),
        ({"message": [{"name": "clip", "norm": 0}]}, "norm is 0.0; it must be a positive number"),
        ({"partition": "sharts"}, "unknown partition 'sharts'; choose from natural, iid, shards"),
        ({"message": ["clap"]}, "unknown transformation 'clap'; choose from clip"),
        ({"message": "clip"}, "message is 'clip'; it is a list"),
        ({"prune": True}, "prune is True; it is a mapping of evaluations, smaller, larger"),
        ({"prune": {}}, "prune: missing setting 'evaluations'"),
        ({"prune": OTHER["prune"] | {"margin": 1}}, "prune: unknown setting 'margin'; it has evaluations, smaller"),
        ({"prune": OTHER["prune"] | {"evaluations": 1.5}}, "prune.evaluations: 1.5 is not a whole number"),
        ({"prune": OTHER["prune"] | {"evaluations": 0}}, "prune.evaluations is 0; it must be a whole number from 1"),
        ({"prune": OTHER["prune"] | {"smaller": 0.9}}, "prune.smaller is 0.9; it must be a number from 1"),
        ({"prune": OTHER["prune"] | {"larger": "inf"}}, "prune.larger is inf; it must be a number from 1"),
    ],
)
def test_a_choice_that_is_none_is_named(settings, said):
    assert refusal(cell, RACE | settings).startswith(said)


def test_a_setting_of_a_choice_that_hides_a_method_is_named(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Half(FedAvg):
        share: float = 0.5

    monkeypatch.setitem(ALGORITHMS, "half", Half)
    assert refusal(cell, RACE | {"algorithm": "half"}).startswith("algorithm half: its setting 'share' means")


def test_a_list_within_a_choice_is_an_axis():
    common = RACE | {"algorithm": ["fedavg", {"name": "fedprox", "mu": [0.1, 1]}]}
    prox = [{"name": "fedprox", "mu": mu} for mu in (0.1, 1.0)]
    found = [(one.E, one.settings["algorithm"]) for one in grid(common, [{"E": [1, 5]}])]
    assert found == [(E, one) for E in (1, 5) for one in ("fedavg", *prox)]


def test_a_default_spelt_out_is_the_same_cell():
    assert {key: cell(RACE).settings[key] for key in DEFAULTS} == DEFAULTS
    assert cell(RACE | DEFAULTS).name == cell(RACE).name


def test_a_whole_number_may_be_written_as_a_fraction_and_a_list_of_one_as_itself():
    assert cell(RACE | {"B": 10.0, "C": 1, "lr": 1}).name == cell(RACE | {"B": 10, "C": 1.0, "lr": [1.0]}).name


def test_settings_are_plain_json_that_gives_the_cell_again():
    for made in (cell(RACE), cell(RACE | {"B": INF})):
        assert cell(json.loads(json.dumps(made.settings, allow_nan=False))) == made


def test_a_cells_partition_is_shared_by_all_cells_that_differ_elsewhere():
    shared = {
        cell(RACE | {key: OTHER[key]}).partition_name
        for key in OTHER
        if key not in ("task", "partition", "K", "seed", *ALSO)
    }
    assert shared == {"digits-iid-K50-s0"}
    apart = {cell(RACE | {key: OTHER[key]}).partition_name for key in ("task", "partition", "K", "seed")}
    assert apart == {"mnist-iid-K50-s0", "digits-shards-K50-s0", "digits-iid-K51-s0", "digits-iid-K50-s1"}


@pytest.mark.parametrize("written", ["inf", ".inf", "'inf'", '".inf"', "+.inf", ".Inf"])
def test_yamls_ways_to_write_infinity_all_mean_the_whole_local_data(written):
    if written == '".inf"':  # a string that is not the word
        assert names(refusal(cell, RACE | {"B": files.parsed(written)}), "B")
    else:
        assert cell(RACE | {"B": files.parsed(written)}) == cell(RACE | {"B": INF})


# Rates


@pytest.mark.parametrize(
    ("lr", "expected"),
    [
        ({"per_decade": 3, "from": -4, "to": 0}, (0.0464, 0.1, 0.215, 0.464, 1.0)),
        ({"per_decade": 6, "from": 0, "to": 6}, (1.0, 1.47, 2.15, 3.16, 4.64, 6.81, 10.0)),
        ({"per_decade": 1, "from": -2, "to": -2}, (0.01,)),
        ([0.05, 0.15, 0.25], (0.05, 0.15, 0.25)),
        (18, (18.0,)),
    ],
)
def test_grids_of_rates_are_the_papers_printed_values(lr, expected):
    assert rates(lr) == expected
    assert cell(RACE | {"lr": lr}).lr == expected


@given(per_decade=st.sampled_from([1, 2, 3, 6, 12]), start=st.integers(-60, 30), count=st.integers(1, 15))
def test_a_grid_of_rates_rises_by_a_constant_factor_to_three_digits(per_decade, start, count):
    grid_of_rates = rates({"per_decade": per_decade, "from": start, "to": start + count - 1})
    assert len(grid_of_rates) == count
    for i, lr in enumerate(grid_of_rates):
        assert lr == pytest.approx(math.exp(math.log(10) * (start + i) / per_decade), rel=0.005)
        assert lr == float(f"{lr:.3g}")
    assert cell(RACE | {"lr": list(grid_of_rates)}).lr == grid_of_rates


# Grids


def test_a_grid_is_the_product_of_its_lists_row_by_row():
    common = {key: value for key, value in RACE.items() if key not in ("C", "E", "B")} | {
        "partition": ["iid", "shards"]
    }
    rows = [{"C": [0.1, 1], "E": 1, "B": [10, "inf"]}, {"C": 0, "E": [1, 5], "B": 50, "partition": "iid", "lr": [0.3]}]
    points = [(one.settings["partition"], one.C, one.E, one.B, one.lr) for one in grid(common, rows)]
    lr = (0.1, 0.215)
    assert points == [
        *(("iid", C, 1, B, lr) for C in (0.1, 1) for B in (10, INF)),
        *(("shards", C, 1, B, lr) for C in (0.1, 1) for B in (10, INF)),
        *(("iid", 0, E, 50, (0.3,)) for E in (1, 5)),
    ]


def test_lists_of_rates_and_targets_are_a_cells_own():
    (only,) = grid(RACE, [{}])
    assert only.lr == (0.1, 0.215) and only.targets == (0.9, 0.95)


def test_an_axis_without_values_is_not_a_grid_of_nothing():
    assert names(refusal(lambda: list(grid(RACE | {"E": []}, [{}]))), "E")


# Params files


GOOD = {
    "title": "A table",
    "cells": RACE,
    "grid": [{"E": [1, 5]}],
    "table": {"rows": ["E"], "columns": ["partition"], "baseline": {"E": 1}},
}

AXES = {"x": [0, 9], "y": [0.0, 1.0]}
CURVES = {"kind": "curves", "y": "test_accuracy", "lines": "best", "x": "rounds", "panels": [], "range": AXES}


def declare(folder, name="table9", **changes):
    declared = {key: value for key, value in (GOOD | changes).items() if value is not None}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(declared))
    return name


def test_a_params_file_gives_its_cells_in_order(tmp_path):
    declare(tmp_path, grid=[{"E": [1, 5]}, {"E": 20}])
    assert [one.E for one in artefact("table9", tmp_path).cells] == [1, 5, 20]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("cells: {task: [iid", "YAML"),
        ("a: b: c", "YAML"),
        ("\tgrid: 1", "YAML"),
        ("title: !!python/object:os.system x", "YAML"),
        (b"title: \xff\xfe", "YAML"),
        ("- a\n- b\n", "mapping"),
        ("", "mapping"),
        ("table", "mapping"),
        ("7", "mapping"),
    ],
)
def test_a_file_that_is_no_mapping_in_yaml_is_refused_by_its_name(tmp_path, text, key):
    path = tmp_path / "table9.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused = refusal(artefact, "table9", tmp_path)
    assert refused.startswith(f"{path}: ") and key in refused


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"gird": [{}]}, "gird"),
        ({"grid": None}, "grid"),
        ({"grid": []}, "grid"),
        ({"grid": 5}, "grid"),
        ({"grid": "E"}, "grid"),
        ({"grid": [5]}, "grid"),
        ({"grid": ["E"]}, "grid"),
        ({"grid": {"E": 1}}, "grid"),
        ({"cells": [1, 2]}, "cells"),
        ({"cells": "all"}, "cells"),
        ({"kind": "marathon"}, "kind"),
        ({"kind": []}, "kind"),
        ({"cells_of": "table9", "cells": None, "grid": None}, "cells_of"),  # of itself
        ({"cells_of": "table10", "cells": None, "grid": None}, "table10"),
        ({"cells_of": "table8", "cells": None}, "grid"),  # which of the two?
        ({"cells": RACE | {"E": "five"}, "grid": [{}]}, "E"),
        ({"cells": RACE | {"momentum": 0.9}}, "momentum"),
        ({"cells": RACE | {"lr": []}}, "lr"),
        ({"cells": RACE | {"C": -1}}, "C"),
        ({"cells": {}, "grid": [{}]}, "task"),
        *(({"table": GOOD["table"] | {"rows": rows}}, "rows") for rows in (None, 5, [], [["B"]], {"E": 1}, "E")),
        *(({"table": GOOD["table"] | {"columns": columns}}, "columns") for columns in (None, [None], [5])),
        *(({"table": GOOD["table"] | {"baseline": baseline}}, "baseline") for baseline in (None, ["E"], "E", 5)),
        ({"figure": CURVES | {"panels": ["lr"], "range": {0.1: AXES}}}, "range"),
        ({"figure": CURVES | {"panels": ["B"], "range": {50: AXES}}}, "range"),
        ({"figure": CURVES | {"panels": "B"}}, "panels"),
    ],
    ids=str,
)
def test_a_wrong_params_file_is_refused_by_its_name_and_the_keys(tmp_path, changes, key):
    declare(tmp_path, **changes)
    refused = refusal(artefact, "table9", tmp_path)
    assert refused.startswith(f"{tmp_path / 'table9.yaml'}: ")
    assert names(refused.removeprefix(f"{tmp_path / 'table9.yaml'}: "), key)


def test_keys_that_cannot_be_sorted_are_refused_too(tmp_path):
    (tmp_path / "table9.yaml").write_text("5: 6\ngird: 7\n")
    assert "unknown key" in refusal(artefact, "table9", tmp_path)


def test_a_circle_of_params_files_is_refused(tmp_path):
    declare(tmp_path, "table8", cells_of="table9", cells=None, grid=None)
    declare(tmp_path, "table9", cells_of="table8", cells=None, grid=None)
    assert "cells_of" in refusal(artefact, "table9", tmp_path)


def test_a_missing_params_file_is_refused_by_its_name_with_those_that_are_there(tmp_path):
    declare(tmp_path)
    refused = refusal(artefact, "table10", tmp_path)
    assert refused.startswith(f"{tmp_path / 'table10.yaml'}: ") and "table9" in refused


def test_an_error_in_a_borrowed_file_names_the_file_that_has_it(tmp_path):
    declare(tmp_path, "table9", cells=RACE | {"E": 0}, grid=[{}])
    declare(tmp_path, "figure9", cells_of="table9", cells=None, grid=None)
    refused = refusal(artefact, "figure9", tmp_path)
    assert str(tmp_path / "table9.yaml") in refused and names(refused, "E")


def test_two_artefacts_that_declare_the_same_cell_share_it(tmp_path):
    declare(tmp_path, "table9")
    # the same point written otherwise: in the row, as numbers of another kind, with defaults spelt out
    other = {"B": 10.0, "seed": 0, "init": "glorot", "lr": [0.1, 0.215]}
    common = {key: value for key, value in RACE.items() if key not in other}
    table = GOOD["table"] | {"baseline": {"E": 5}}
    declare(tmp_path, "table10", cells=common, grid=[{"E": [5, 20], **other}], table=table)
    declare(tmp_path, "figure9", cells_of="table9", cells=None, grid=None)
    nine, ten, figure = (artefact(name, tmp_path).cells for name in ("table9", "table10", "figure9"))
    assert nine[1].name == ten[0].name and nine[1] == ten[0]
    assert figure == nine
    assert artefact_names(tmp_path) == ["figure9", "table10", "table9"]
    assert list(all_cells(tmp_path)) == [nine[0].name, nine[1].name, ten[1].name]
