"""Laws of what params files may declare: a mistake is named when the file is read, and not after an hour of training.

Each is one line that names the file, the key, its value and what would be right.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedgrid.grid import limits, schemas
from fedgrid.grid.artefacts import RULES, artefact, artefact_names
from fedgrid.partitions import PARTITIONS, draw
from fedgrid.tasks.datasets import Declaration

ROOT = Path(__file__).parents[1]
DIGITS = {"task": "digits_2nn", "partition": "iid", "K": 50, "C": 0.1, "E": 1, "B": 10, "lr": 0.1, "targets": 0.9}
DIGITS |= {"rounds": 100}
MNIST, CIFAR = DIGITS | {"task": "mnist_2nn", "K": 100}, DIGITS | {"task": "cifar", "K": 100, "B": 50}
LINES = DIGITS | {"task": "shakespeare", "partition": "natural", "K": 1146}
WORDS = DIGITS | {"task": "words_generated", "partition": "natural", "K": 360}
POSTS = DIGITS | {"task": "words_posts", "partition": "natural", "K": 1000}
SGD = DIGITS | {"algorithm": "sgd", "K": 1, "C": 1, "B": 1500}
FIGURE = {"kind": "curves", "y": "test_accuracy", "lines": "best", "x": "rounds", "panels": []}
FIGURE |= {"range": {"x": [0, 9], "y": [0.0, 1.0]}}


@pytest.fixture
def folder(tmp_path):
    """A folder of params files that knows how large datasets are."""
    shutil.copy(ROOT / "params/datasets.yaml", tmp_path)
    return tmp_path


def declared(folder, cells, grid=({},), name="mine", **layout):
    """The artefact of such a params file."""
    said = {"title": "Mine", "cells": cells, "grid": list(grid)} | (layout or {"figure": FIGURE})
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(said, sort_keys=False))
    return artefact(name, folder)


def refusal(folder, *arguments, **layout):
    """What is said of such a params file after the file's name: one line."""
    with pytest.raises(ValueError) as caught:
        declared(folder, *arguments, **layout)
    path, _, says = str(caught.value).partition(": ")
    assert path == str(folder / f"{layout.get('name', 'mine')}.yaml") and "\n" not in says
    return says


# Cells and their data.

TOO_MUCH = {
    "images have no clients of their own": (
        MNIST | {"partition": "natural"},
        "partition is natural, and mnist has no clients of its own; choose from iid, shards, iid_unbalanced, ",
    ),
    "nor have others": (
        CIFAR | {"partition": "natural"},
        "partition is natural, and cifar10 has no clients of its own; choose from iid, ",
    ),
    "nor the digits": (
        DIGITS | {"partition": "natural"},
        "partition is natural, and digits has no clients of its own; choose from iid, ",
    ),
    "texts have no labels": (
        LINES | {"partition": "shards"},
        "partition is shards, which sorts by label, and shakespeare is a text without labels; choose from natural, ",
    ),
    "more clients than examples": (
        DIGITS | {"K": 1501, "B": 1},
        "K is 1501, for which iid needs 1501 examples at least; digits has 1500; choose a smaller K",
    ),
    "a shard more than examples": (
        DIGITS | {"partition": "shards", "K": 751, "B": 1},
        "K is 751, for which shards needs 1502 examples at least; digits has 1500; choose a smaller K",
    ),
    "more clients than roles": (
        LINES | {"K": 1147},
        "K is 1147, and shakespeare has 1146 clients of its own; choose a K of at most 1146",
    ),
    "more clients than authors": (
        WORDS | {"K": 361},
        "K is 361, and generated has 360 clients of its own; choose a K of at most 360",
    ),
    "a batch beyond the largest client": (
        DIGITS | {"B": 31},
        "B is 31, and no client has more than 30 examples: digits has 1500, K is 50; choose inf, ",
    ),
    "a batch beyond two shards": (
        MNIST | {"partition": "shards", "B": 601},
        "B is 601, and no client has more than 600 examples: mnist has 60000, K is 100; choose inf, ",
    ),
    "a batch beyond a hundredth": (
        MNIST | {"partition": "population", "K": 10**6, "B": 601},
        "B is 601, and no client has more than 600 examples: mnist has 60000, K is 1000000; choose inf, ",
    ),
    "a batch beyond all data": (
        DIGITS | {"partition": "iid_unbalanced", "B": 1501},
        "B is 1501, and no client has more than 1500 examples: digits has 1500, K is 50; choose inf, ",
    ),
    "a batch of plain SGD beyond all data": (
        SGD | {"B": 1501},
        "B is 1501, and no client has more than 1500 examples: digits has 1500, K is 1; choose ",
    ),
}


@pytest.mark.parametrize(("cells", "says"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_the_data_cannot_give_is_refused(folder, cells, says):
    assert refusal(folder, cells).startswith(says)


@pytest.mark.parametrize(
    "cells",
    [
        *(DIGITS | {"K": 1500, "B": 1}, DIGITS | {"partition": "shards", "K": 750, "B": 2}, LINES, WORDS, POSTS, SGD),
        *(
            DIGITS | {"B": 30},
            DIGITS | {"K": 49, "B": 31},
            DIGITS | {"B": "inf"},
            DIGITS | {"K": 2000, "partition": "population"},
        ),
        *(MNIST | {"partition": "shards", "B": 600}, DIGITS | {"partition": "iid_unbalanced", "B": 1500}),
        *(POSTS | {"K": 10**9}, POSTS | {"partition": "iid"}),
    ],
    ids=str,
)
def test_what_the_data_can_give_is_declared(folder, cells):
    assert declared(folder, cells).cells


def test_data_of_which_nothing_is_known_are_asked_nothing(tmp_path):
    """A user's own, or a folder in which they are not declared: they are asked when they are divided."""
    assert declared(tmp_path, DIGITS | {"K": 1501, "B": 31}).cells
    (tmp_path / "datasets.yaml").write_text("mnist: {train: 60000}")
    assert declared(tmp_path, DIGITS | {"K": 1501, "B": 31}).cells
    (tmp_path / "datasets.yaml").write_text("in ruins: [")  # of which each verb that needs it speaks
    assert declared(tmp_path, DIGITS | {"partition": "natural"}).cells


def test_figure_1_s_cells_are_asked_too(folder):
    cells = {key: DIGITS[key] for key in ("task", "partition", "K", "E", "B", "lr")} | {"shared_start": True}
    assert declared(folder, cells, kind="interpolation", figure={"kind": "interpolation"}).cells
    says = refusal(folder, cells | {"B": 31}, kind="interpolation", figure={"kind": "interpolation"})
    assert says.startswith("B is 31, and no client has more than 30 examples")


@given(
    name=st.sampled_from([name for name, kind in PARTITIONS.items() if not kind.own_clients]),
    n=st.integers(100, 700),
    K=st.integers(1, 50),
    seed=st.integers(0, 9),
)
def test_no_client_is_larger_than_its_partition_says(name, n, K, seed):
    division = PARTITIONS[name]()
    drawn = draw(division, np.arange(n) % 10, K, np.random.default_rng(seed))
    assert drawn.largest <= division.largest(n, K)
    if name in ("iid", "population"):
        assert drawn.largest == division.largest(n, K)


@pytest.mark.parametrize("name", artefact_names(ROOT / "params"))
def test_every_committed_artefact_is_one(name):
    assert artefact(name, ROOT / "params").cells


def test_how_large_datasets_are_stands_where_they_are_declared():
    found = {name: limits.known(name, ROOT / "params/datasets.yaml") for name in ("mnist", "shakespeare", "posts")}
    counts = {name: (one.train, one.clients) for name, one in found.items()}
    assert counts == {"mnist": (60_000, 0), "shakespeare": (85_252, 1146), "posts": (1_000_000, None)}
    assert limits.known("nothing", ROOT / "params/datasets.yaml") is None


@pytest.mark.parametrize("clients", [-1, 1.5, True, "many", [1]])
def test_a_number_of_own_clients_that_is_none_is_refused(clients):
    with pytest.raises(ValueError, match=r"a dataset has clients .*, which is no number of clients of its own"):
        Declaration(1500, ["here"], {"a": "unpinned"}, clients)


# Settings that a model or a random stream does not take.


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (
            DIGITS | {"lrn": False},
            "lrn is False; it must be true where the task's model has no local response normalisation",
        ),
        (MNIST | {"l2": False}, "l2 is False; it must be true where the task's model has no L2 penalty"),
        (LINES | {"lrn": False}, "lrn is False; it must be true where "),
        (DIGITS | {"seed": -1}, "seed is -1; it must be a whole number from 0"),
    ],
    ids=["lrn", "l2", "lrn of a text", "seed"],
)
def test_a_setting_that_would_do_nothing_or_cannot_be_is_refused(folder, cells, says):
    assert refusal(folder, cells).startswith(says)
    assert declared(folder, CIFAR | {"lrn": False, "l2": False}).cells


def test_one_target_needs_no_list(folder):
    assert declared(folder, DIGITS | {"targets": 0.95}).cells == declared(folder, DIGITS | {"targets": [0.95]}).cells


# Grids.


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (
            [{"E": 1}, {"E": [5, 1]}],
            r"rows 1 and 2 of grid give the same cell, digits_2nn-iid-C0.1-E1-B10-s0-\w+; remove one",
        ),
        (
            [{"E": 2}, {}, {"B": 10.0}],
            r"rows 2 and 3 of grid give the same cell, digits_2nn-iid-C0.1-E1-B10-s0-\w+; remove one",
        ),
        ([{"seed": 0}, {"init": "glorot"}], r"rows 1 and 2 of grid give the same cell, \S+; remove one"),
        (
            [{"B": ["inf", float("inf")]}],
            r"row 1 of grid gives the same cell twice, digits_2nn-iid-C0.1-E1-Binf-s0-\w+; remove one",
        ),
        ([{"partition": ["iid", {"name": "iid"}]}], r"row 1 of grid gives the same cell twice, \S+; remove one"),
        ([{"E": [1, 5, 1]}], r"E has 1 twice; an axis has each value once"),
        ([{"B": [10, 10.0]}], r"B has 10.0 twice; an axis has each value once"),
        (
            [{"algorithm": ["fedavg", {"name": "fedprox", "mu": [1, 1]}]}],
            r"algorithm has {'name': 'fedprox', 'mu': 1} twice; .*",
        ),
    ],
    ids=str,
)
def test_a_cell_is_declared_once(folder, grid, says):
    assert re.fullmatch(says, refusal(folder, DIGITS, grid))


# Tables.


def table(**changes):
    return {"rows": ["E", "B"], "columns": ["partition"], "baseline": {"E": 1, "B": "inf"}} | changes


GRID = [{"E": [1, 5], "B": ["inf", 10]}]


@pytest.mark.parametrize(
    ("baseline", "says"),
    [
        ({"E": 3}, "table has a baseline of E 3, and no cell of it has that; its cells have E 1, 5"),
        ({"E": 1, "B": 50}, "table has a baseline of B 50, and no cell of it has that; its cells have B inf, 10"),
        ({"E": "one"}, "table has a baseline of E: 'one' is not a whole number"),
        ({"B": "none"}, "table has a baseline of B: 'none' is not a number"),
        (
            {"partition": "sharts"},
            "table has a baseline of partition: unknown partition 'sharts'; choose from natural, ",
        ),
        ({"epochs": 1}, "table is laid out by 'epochs', which is no setting of its cells"),
    ],
    ids=str,
)
def test_a_baseline_is_of_cells_that_there_are(folder, baseline, says):
    assert refusal(folder, DIGITS, GRID, table=table(baseline=baseline)).startswith(says)


def test_a_baseline_whose_settings_no_one_cell_has_together_is_refused(folder):
    says = refusal(folder, DIGITS, [{"E": 1, "B": 10}, {"E": 5, "B": "inf"}], table=table())
    assert (
        says == "table has a baseline of E 1, B inf, and no cell of it has all of that; name what one cell has, or {}"
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"B": float("inf")}, {"B": "inf"}),
        ({"B": 10.0}, {"B": 10}),
        ({"lr": 0.1}, {"lr": [0.1]}),
        ({"lr": {"per_decade": 1, "from": -1, "to": -1}}, {"lr": [0.1]}),
        ({"partition": {"name": "iid"}}, {"partition": "iid"}),
        ({"targets": 0.9}, {"targets": [0.9]}),
        ({}, {}),
    ],
    ids=str,
)
def test_a_baseline_is_read_as_cells_are(folder, written, read):
    assert declared(folder, DIGITS, GRID, table=table(baseline=written)).table["baseline"] == read


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"columns": ["partition", "E"]}, "E"),
        ({"rows": ["E", "B", "E"]}, "E"),
        ({"columns": ["partition", "partition"]}, "partition"),
        ({"rows": ["target", "E", "B"], "columns": ["target"]}, "target"),
    ],
    ids=str,
)
def test_a_setting_has_one_place_in_a_table(folder, changes, name):
    says = refusal(folder, DIGITS, GRID, table=table(**changes))
    assert says == f"table has {name!r} twice in its rows and columns; name it once"


# Names.


@pytest.mark.parametrize(
    "name", ["my table", "a;b", "-x", ".x", "a.b", "a{b}", "$HOME", "a'b", "*", "a\nb", "a:b", "~"]
)
def test_a_name_that_a_shell_reads_otherwise_is_refused(folder, name):
    (folder / f"{name}.yaml").write_text("title: x")
    with pytest.raises(ValueError, match="is no name of an artefact; rename it: letters, digits") as caught:
        artefact(name, folder)
    assert repr(name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", RULES)
def test_a_name_that_a_rule_has_is_refused(folder, name):
    says = refusal(folder, DIGITS, name=name, figure=FIGURE)
    assert says == f"the workflow has a rule {name!r}, and an artefact none of its name; rename the file"


def test_those_are_the_workflow_s_rules():
    """The quickstart's is its artefact's own."""
    sources = [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    found = {name for path in sources for name in re.findall(r"^ *rule (\w+):", path.read_text(), re.MULTILINE)}
    assert found == {*RULES, "quickstart"}


def test_the_paper_s_params_files_are_what_snakemake_s_schemas_allow(monkeypatch):
    monkeypatch.chdir(ROOT)
    schemas.check(Path("params/datasets.yaml"), "datasets")
    for name in artefact_names():
        schemas.check(Path(f"params/{name}.yaml"), "artefact")
