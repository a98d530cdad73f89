"""Two commits of a small repository, altered in one way: the diff says that, and nothing else."""

import contextlib
import itertools
import json
import re
import subprocess
from pathlib import Path

import pytest

from fedgrid.__main__ import main
from fedgrid.audit import revision
from fedgrid.audit.changes import Shown, pairs
from fedgrid.audit.diff import diff, moves
from fedgrid.grid.artefacts import artefact
from fedgrid.run import record
from tests import handmade

ROOT = Path(__file__).parents[1]
TABLE = """
title: "Table 0"
cells: {task: digits_2nn, partition: [iid, shards], K: 50, C: 0.1, E: 1, targets: [0.5], rounds: 30, lr: [0.1, 0.2]}
grid: [{B: [10, inf]}]
table: {rows: [B], columns: [partition], baseline: {B: inf}}
"""
CURVES = """
title: "Figure 0"
cells: {task: digits_2nn, partition: iid, K: 50, C: 0.1, E: 1, B: 5, targets: [], rounds: 2, lr: 0.1}
grid: [{init: [he, glorot]}]
figure: {kind: curves, y: test_accuracy, lines: best, x: rounds, panels: [], range: {x: [0, 3], y: [0.0, 1.0]}}
"""
DRAWN = """
title: "Figure of Table 0"
cells_of: small
figure: {kind: curves, y: test_accuracy, lines: best, x: rounds, panels: [], range: {x: [0, 3], y: [0.0, 1.0]}}
"""
AVERAGES = """
title: "Averages"
kind: interpolation
cells: {task: digits_2nn, partition: iid, E: 1, B: 10, lr: 0.1}
grid: [{shared_start: [false, true]}]
figure: {kind: interpolation}
"""
DATASETS = """
digits:
  train: 1500
  sources: [scikit-learn]
  files: {digits.npz: a470b969786ddd561eb73a05c67189f8d02d4b1f25581321aea6fbe6297091b4}
mnist: {train: 60000, sources: [https://example.org/mnist/], files: {}}
"""
# The params files' texts, and of the sources one of the engine and one that moves no number.
FILES = {
    "params/small.yaml": TABLE,
    "params/curves.yaml": CURVES,
    "params/drawn.yaml": DRAWN,
    "params/averages.yaml": AVERAGES,
    "params/datasets.yaml": DATASETS,
    "params/paper.yaml": "small: [{B: 10, rounds: 20}]\n",
    "src/fedgrid/run/race.py": "laps = 1\n",
    "src/fedgrid/engine/steps.py": "steps = 1\n",
    "src/fedgrid/tables.py": "tables = 1\n",
    "constraints.txt": "numpy==2.4.6\ntabulate==0.10.0\ntorch==2.13.0\n",
    "README.md": "fedgrid\n",
}
ORIGIN = handmade.ORIGIN | {
    "engine": "e" * 64,
    "data": "d" * 64,
    "partition": "0" * 64,
    "libraries": {"python": "3.11.7", "numpy": "2.4.6", "torch": "2.13.0", "pyyaml": "6.0.3"},
}


def made(cell, rounds, accuracy=0.75, **origin):
    """A record of that cell: rounds to its targets, best accuracy, and an origin that differs as told."""
    if cell.settings.get("shared_start") is not None:
        result = least(rounds)
        curves = {"theta": [0.0], "train_loss": [rounds], "parents": [rounds, rounds]}
    else:
        result = {"ended": "target" if rounds else "horizon", "rounds": 1}
        result |= {"rounds_to_target": {str(target): rounds for target in cell.targets}, "best_accuracy": accuracy}
        result |= {"best_lr": 0.1, "best_lr_at_grid_end": True}
        rate = {"lr": 0.1, "test_accuracy": [accuracy], "test_loss": [1.0], "train_loss": [], "diverged": None}
        curves = {"rounds": [1], "rates": [rate]}
    settings = {"settings": cell.recorded, "result": result, "curves": curves}
    return {"schema": 1, "name": cell.name, "provenance": ORIGIN | origin} | settings


def least(loss):
    """The result of averages, all of which have that loss."""
    return {"parents": [loss, loss], "least": {"loss": loss, "theta": 0.0}, "greatest": {"loss": loss, "theta": 0.0}}


def git(*arguments):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout


def cell_of(name, **settings):
    """The artefact's cell of those settings."""
    return next(cell for cell in artefact(name).cells if settings.items() <= cell.settings.items())


def ten():
    return cell_of("small", partition="iid", B=10)


def write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def change(path, before, after):
    text = Path(path).read_text()
    assert before in text
    Path(path).write_text(text.replace(before, after))


def edited(name, change):
    one = json.loads(record.path(name).read_text())
    change(one)
    record.write(one)


def every_record(**origin):
    for place in sorted(Path("results/cells").glob("*/*.json")):
        one = json.loads(place.read_text())
        record.write(one | {"provenance": one["provenance"] | origin})


def seeds():
    """Table 0 over two seeds, the new one run for the IID cell of B = 10."""
    change("params/small.yaml", "B: [10, inf]", "B: [10, inf], seed: [0, 1]")
    record.write(made(cell_of("small", partition="iid", B=10, seed=1), 24.0))


def rates():
    """Another grid of rates for all of Table 0, run for the IID cell of B = 10 alone."""
    change("params/small.yaml", "lr: [0.1, 0.2]", "lr: [0.1, 0.4]")
    record.write(made(ten(), 10.0))


def two_targets():
    change("params/small.yaml", "targets: [0.5]", "targets: [0.25, 0.5]")
    change("params/small.yaml", "columns: [partition]", "columns: [partition, target]")


NUMBER = ("Numbers", "small", "rounds to 50 %")
ANEW = ("Records", "made anew", "same numbers, same curves")
RUN = {f"iid-C0.1-E1-B{B}-s0" for B in ("5", "10", "inf")} | {"shards-C0.1-E1-B10-s0", "iid-averaging-shared-s0"}
UNEXPLAINED = ("by the same settings, engine, data and libraries",)
UNSHOWN = "other numbers that nothing shows"
LABELS = ["B = 10, IID", "B = 10, non-IID", "B = ∞, IID", "B = ∞, non-IID"]
# What is done to the repository, and all that has moved then: section, subject, what, where, before, after; causes.
ALTERED = {
    "number": (
        lambda: record.write(made(ten(), 15.0)),
        {(*NUMBER, "B = 10, IID", "20", "15", UNEXPLAINED)},
        "small: 1 number moved; nothing else",
    ),
    "last digit": (
        lambda: record.write(made(ten(), 20.000000000000004)),
        {(*NUMBER, "B = 10, IID", "20.0", "20.000000000000004", UNEXPLAINED)},
        "small: 1 number moved; nothing else",
    ),
    "not reached any more": (
        lambda: record.write(made(ten(), None, engine="f" * 64)),
        {
            (*NUMBER, "B = 10, IID", "20", "> 30", ("engine",)),
            ("Code", "records by engine", "e" * 12, "", "6", "5", ()),
            ("Code", "records by engine", "f" * 12, "", "0", "1", ()),
        },
        "small: 1 number moved; code moved",
    ),
    "newly run": (
        lambda: record.write(made(cell_of("small", partition="shards", B="inf"), 29.0)),
        {(*NUMBER, "B = ∞, non-IID", None, "29", ()), ("Code", "records by engine", "e" * 12, "", "6", "7", ())},
        "small: 1 newly run; code moved",
    ),
    "gone": (
        lambda: record.path(ten().name).unlink(),
        {(*NUMBER, "B = 10, IID", "20", None, ()), ("Code", "records by engine", "e" * 12, "", "6", "5", ())},
        "small: 1 gone; code moved",
    ),
    "figure": (
        lambda: record.write(made(cell_of("curves", init="he"), None, accuracy=0.5)),
        {("Numbers", "curves", "best accuracy", "init = he", "0.75", "0.5", UNEXPLAINED)},
        "curves: 1 number moved; nothing else",
    ),
    "averages": (
        lambda: record.write(made(cell_of("averages", shared_start=True), 0.25)),
        {("Numbers", "averages", "least loss", "shared_start = True", "0.5", "0.25", UNEXPLAINED)},
        "averages: 1 number moved; nothing else",
    ),
    "made anew": (
        lambda: record.write(made(ten(), 20.0, seconds=1.5)),
        {(*ANEW, "iid-C0.1-E1-B10-s0", "", "", UNEXPLAINED)},
        "no number moved; records moved",
    ),
    "numbers that nothing shows": (
        lambda: record.write(made(ten(), 20.0, accuracy=0.875)),
        {("Records", "made anew", f"{UNSHOWN}, other curves", "iid-C0.1-E1-B10-s0", "", "", UNEXPLAINED)},
        "no number moved; records moved",
    ),
    "a result without its curves": (
        lambda: edited(ten().name, lambda one: one["result"].update(best_accuracy=0.875)),
        {("Records", "made anew", f"{UNSHOWN}, same curves", "iid-C0.1-E1-B10-s0", "", "", UNEXPLAINED)},
        "no number moved; records moved",
    ),
    "seeds": (
        seeds,
        {
            (*NUMBER, "B = 10, IID", "20", "22 ± 2.8 (n = 2)", ("seed",)),
            *(("Settings", "small", "seed", label, "0", "0, 1", ()) for label in LABELS),
            ("Code", "records by engine", "e" * 12, "", "6", "7", ()),
        },
        "small: 1 number moved; settings and code moved",
    ),
    "rates": (
        rates,
        {
            (*NUMBER, "B = 10, IID", "20", "10", ("lr",)),
            (*NUMBER, "B = ∞, IID", "> 30", None, ("lr",)),
            (*NUMBER, "B = 10, non-IID", "25", None, ("lr",)),
            *(("Settings", "small", "lr", label, "0.1, 0.2", "0.1, 0.4", ()) for label in LABELS),
            ("Code", "records by engine", "e" * 12, "", "6", "7", ()),
        },
        "small: 1 number moved, 2 gone; settings and code moved",
    ),
    "targets": (
        two_targets,
        {
            (*NUMBER, "B = 10, IID", "20", None, ("targets",)),
            (*NUMBER, "B = 10, non-IID", "25", None, ("targets",)),
            (*NUMBER, "B = ∞, IID", "> 30", None, ("targets",)),
            *(("Settings", "small", "targets", label, "0.5", "0.25, 0.5", ()) for label in LABELS),
            ("Settings", "artefacts", "table changed", "small", "", "", ()),
        },
        "small: 3 gone; settings moved",
    ),
    "cell": (
        lambda: change("params/curves.yaml", "[he, glorot]", "[he]"),
        {("Settings", "curves", "", "init = glorot", "", None, ())},
        "no number moved; settings moved",
    ),
    "setting": (
        lambda: change("params/curves.yaml", "[he, glorot]", "[he, torch]"),
        {
            ("Numbers", "curves", "best accuracy", "init = glorot", "0.75", None, ("init",)),
            ("Settings", "curves", "init", "init = glorot", "glorot", "torch", ()),
        },
        "curves: 1 gone; settings moved",
    ),
    "artefact": (
        lambda: Path("params/averages.yaml").unlink(),
        {("Settings", "artefacts", "", "averages (2 cells)", "", None, ())},
        "no number moved; settings moved",
    ),
    "title": (
        lambda: change("params/drawn.yaml", "Figure of", "Figure 1 of"),
        {("Settings", "artefacts", "title changed", "drawn", "", "", ())},
        "no number moved; settings moved",
    ),
    "paper": (
        lambda: change("params/paper.yaml", "rounds: 20", "rounds: 21"),
        {("Settings", "the paper's numbers", "changed", "small", "", "", ())},
        "no number moved; settings moved",
    ),
    "sha256": (
        lambda: change("params/datasets.yaml", "a470b969786d", "b470b969786d"),
        {("Data", "digits", "files/digits.npz", "", "a470b969786d", "b470b969786d", ())},
        "no number moved; data moved",
    ),
    "source": (
        lambda: change("params/datasets.yaml", "example.org", "example.com"),
        {("Data", "mnist", "sources", "", "https://example.org/mnist/", "https://example.com/mnist/", ())},
        "no number moved; data moved",
    ),
    "dataset": (
        lambda: change("params/datasets.yaml", "mnist:", "posts:"),
        {
            ("Data", "params/datasets.yaml", "", name, *went, ())
            for name, went in {"mnist": ("", None), "posts": (None, "")}.items()
        },
        "no number moved; data moved",
    ),
    "data in the records": (
        lambda: every_record(data="c" * 64),
        {
            ("Data", "records", "digits", "", "d" * 12, "c" * 12, ()),
            *((*ANEW, name, "", "", ("data",)) for name in RUN),
        },
        "no number moved; records and data moved",
    ),
    "partition in a record": (
        lambda: record.write(made(ten(), 20.0, partition="1" * 64)),
        {
            ("Data", "records", "digits-iid-K50-s0", "", "0" * 12, f"{'0' * 12}, {'1' * 12}", ()),
            (*ANEW, "iid-C0.1-E1-B10-s0", "", "", ("partition",)),
        },
        "no number moved; records and data moved",
    ),
    "engine": (
        lambda: (write("src/fedgrid/run/race.py", "laps = 2\n"), write("src/fedgrid/engine/layers.py", "")),
        {
            ("Code", "engine", "changed", "run/race.py", "", "", ()),
            ("Code", "engine", "", "engine/layers.py", None, "", ()),
        },
        "no number moved; code moved",
    ),
    "constraints": (
        lambda: write("constraints.txt", "numpy==2.4.6\ntabulate==0.11.0\ntorch==2.14.0\n"),
        {("Code", "constraints.txt", "torch", "", "2.13.0", "2.14.0", ())},
        "no number moved; code moved",
    ),
    "what moves no number": (
        lambda: (write("src/fedgrid/tables.py", "tables = 2\n"), write("README.md", "fedgrid!\n")),
        set(),
        "nothing moved",
    ),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with a campaign, most of it run, on the branch base; from there a branch for each alteration."""
    folder = tmp_path_factory.mktemp("repository")
    with contextlib.chdir(folder):
        git("init", "-q", "-b", "base")
        for path, text in FILES.items():
            write(path, text)
        record.write(made(ten(), 20.0))
        record.write(made(cell_of("small", partition="shards", B=10), 25.0))
        record.write(made(cell_of("small", partition="iid", B="inf"), None))
        for init in ("he", "glorot"):
            record.write(made(cell_of("curves", init=init), None))
        record.write(made(cell_of("averages", shared_start=True), 0.5))
        commit("base")
        for name, (alter, *_) in ALTERED.items():
            git("checkout", "-q", "-b", branch(name), "base")
            alter()
            commit(name)
        git("checkout", "-q", "base")
    return folder


@pytest.fixture(autouse=True)
def here(repository, monkeypatch):
    monkeypatch.chdir(repository)


@pytest.fixture(scope="module")
def states(repository):
    """What each branch holds."""
    with contextlib.chdir(repository):
        return {name: revision.revision(branch(name)) for name in ("base", *ALTERED)}


def branch(name):
    return name.replace(" ", "-")


def commit(message):
    git("add", "-A")
    git("commit", "-q", "-m", message)


def plain(found):
    """The moves without ratios and names of records; of these, task and digest are left out."""
    names = re.compile(r"digits_2nn-(.+)-[0-9a-f]{10}")
    return {(*move[:3], names.sub(r"\1", move.where), move.before, move.after, move.causes) for move in found}


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_altered_has_moved_and_nothing_else(name, states):
    _, expected, closing = ALTERED[name]
    assert plain(moves(states["base"], states[name])) == expected
    assert diff(states["base"], states[name]).splitlines()[-1] == closing


def test_a_state_and_itself_are_no_move_apart(states):
    assert not [name for name, state in states.items() if moves(state, state)]


def test_the_way_back_is_the_mirror_of_the_way_there(states):
    for one, other in itertools.combinations(states.values(), 2):
        there, back = moves(one, other), moves(other, one)
        assert {(*move[:4], move.after, move.before, move.causes) for move in there} == {
            (*move[:6], move.causes) for move in back
        }
        ratios = {move[:4]: move.ratio for move in there if move.ratio}
        assert {move[:4]: 1 / move.ratio for move in back if move.ratio} == pytest.approx(ratios)


def test_a_ratio_is_after_over_before(states):
    (move,) = moves(states["base"], states["number"])
    assert move.ratio == 0.75


def test_a_person_reads_it_section_by_section(states):
    assert (
        diff(states["base"], states["seeds"])
        == f"""\
# base ({states["base"].commit}) → seeds ({states["seeds"].commit})

## Numbers
small, rounds to 50 %:
- B = 10, IID: 20 → 22 ± 2.8 (n = 2) (× 1.1, seed)

## Settings
- small, seed: 0 → 0, 1: B = 10, IID; B = ∞, IID; B = 10, non-IID; B = ∞, non-IID

## Code
- records by engine, eeeeeeeeeeee: 6 → 7

small: 1 number moved; settings and code moved"""
    )


def test_the_commit_is_git_s_own(states):
    assert states["base"].commit == git("log", "-1", "--format=%h, %cs", "base").strip()


def test_the_working_tree_is_neither_read_nor_touched(repository, capsys, monkeypatch):
    """Not even where it is in ruins."""
    main(["diff", "base", "number"])
    expected = capsys.readouterr().out
    with contextlib.chdir(repository):
        git("worktree", "add", "-q", "--detach", "../ruins", "base")
    monkeypatch.chdir(repository.parent / "ruins")
    change("params/small.yaml", "rounds: 30", "rounds: thirty")
    write("params/paper.yaml", "{")
    Path(record.path(ten_by_name())).write_text("{")
    before = git("status", "--porcelain"), git("stash", "list"), git("rev-parse", "HEAD")
    main(["diff", "base", "number"])
    assert capsys.readouterr().out == expected
    assert (git("status", "--porcelain"), git("stash", "list"), git("rev-parse", "HEAD")) == before


def ten_by_name():
    return next(Path("results/cells/digits_2nn").glob("digits_2nn-iid-C0.1-E1-B10-s0-*.json")).stem


def test_any_name_of_a_commit_will_do(capsys):
    git("tag", "-f", "v0.1", "base")
    main(["diff", "v0.1", "number"])
    assert capsys.readouterr().out.endswith("small: 1 number moved; nothing else\n")
    main(["diff", "number~1", git("rev-parse", "--short", "base").strip()])
    assert capsys.readouterr().out.endswith("\n\nnothing moved\n")


@pytest.fixture
def older(repository, tmp_path, monkeypatch):
    """A clone at base, to be altered as an older schema would have it."""
    git("clone", "-q", str(repository), str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")


def compared(*said):
    """The diff of the present state to base, committed; the lines of what was not read hold what is said."""
    commit("older")
    then, now = revision.revision("HEAD"), revision.revision("origin/base")
    assert len(then.unread) == len(said) and all(words in line for words, line in zip(said, then.unread, strict=True))
    assert all(line.startswith("HEAD:") and "/tmp" not in line for line in then.unread)
    text = diff(then, now)
    assert all(f"\n- {line}\n" in text for line in then.unread)
    return plain(moves(then, now)), text.splitlines()[-1]


@pytest.mark.usefixtures("older")
def test_params_of_another_schema_are_named_and_the_others_compared():
    """An artefact that cannot be read on one side is not said to be new; its records are compared all the same."""
    record.write(made(ten(), 15.0))
    record.write(made(cell_of("curves", init="he"), None, accuracy=0.5))
    change("params/curves.yaml", "rounds: 2,", "rounds: 2, momentum: 0.9,")
    found, closing = compared("params/curves.yaml: unknown setting 'momentum'")
    assert found == {
        ("Numbers", "curves", "best accuracy", "init = he", "0.5", "0.75", UNEXPLAINED),
        (*NUMBER, "B = 10, IID", "15", "20", UNEXPLAINED),
    }
    assert closing == "curves: 1 number moved; small: 1 number moved; nothing else; not read: 1"


@pytest.mark.usefixtures("older")
@pytest.mark.parametrize("file", ["small", "datasets", "paper"])
@pytest.mark.parametrize("text", ["{", "- 1\n", "\xff", "", "1: {2: 3}\n"])
def test_a_params_file_in_ruins_costs_no_other(file, text):
    Path(f"params/{file}.yaml").write_bytes(text.encode("latin-1"))
    record.write(made(cell_of("averages", shared_start=True), 0.25))
    commit("ruins")
    then, now = revision.revision("HEAD"), revision.revision("origin/base")
    number = ("Numbers", "averages", "least loss", "shared_start = True", "0.25", "0.5", UNEXPLAINED)
    assert number in plain(moves(then, now))
    whole = text.startswith("1") and file != "small"  # a mapping, of nothing that is known
    assert whole or any(f"HEAD:params/{file}.yaml" in line for line in then.unread)
    assert not [move for move in moves(then, now) if move.where.startswith(("small", "drawn"))] or file == "paper"


@pytest.mark.usefixtures("older")
@pytest.mark.parametrize(
    ("alter", "says"),
    [
        (lambda one: one | {"schema": 0}, "no record of schema 1 or 2"),
        (lambda one: one | {"provenance": {}}, "it lacks provenance.commit"),
        (lambda one: one | {"result": {"rounds": 20}}, "it lacks result.ended"),
        (lambda one: one | {"result": one["result"] | {"rounds_to_target": [20.0]}}, "rounds_to_target is no mapping"),
        (lambda one: one | {"curves": {"rates": [0.1]}}, "it lacks curves.rounds"),
    ],
)
def test_a_record_of_another_layout_is_named_and_the_others_compared(alter, says):
    place = record.path(ten_by_name())
    write(place, json.dumps(alter(json.loads(place.read_text()))))
    found, closing = compared(says)
    assert (*NUMBER, "B = 10, IID", None, "20", ()) in found
    assert closing == "small: 1 newly run; code moved; not read: 1"


@pytest.mark.usefixtures("older")
def test_a_revision_may_predate_everything_but_its_sources():
    for folder in ("params", "results"):
        git("rm", "-q", "-r", folder)
    found, closing = compared()
    assert {move[1] for move in found if move[0] == "Numbers"} == {"averages", "curves", "small"}
    assert closing.startswith("averages: 1 newly run; curves: 2 newly run; small: 3 newly run; settings, data and code")


@pytest.mark.usefixtures("older")
def test_a_record_that_no_params_file_declares_is_compared_by_its_name():
    for side in ("then", "now"):
        Path("params/averages.yaml").unlink(missing_ok=True)
        if side == "now":
            place = next(Path("results/cells/digits_2nn").glob("*averaging*"))
            one = json.loads(place.read_text())
            record.write(one | {"result": least(0.25)})
        commit(side)
    found = plain(moves(revision.revision("HEAD~1"), revision.revision("HEAD")))
    assert found == {("Numbers", "no artefact", "least loss", "iid-averaging-shared-s0", "0.5", "0.25", UNEXPLAINED)}


@pytest.mark.usefixtures("older")
def test_a_module_that_moves_or_is_commented_is_no_change_and_one_that_is_no_python_is_named():
    write("src/fedgrid/run/race.py", "from fedgrid.engine.layers import Linear\n\nSIZE = 1\n")
    write("src/fedgrid/engine/steps.py", "from fedgrid.engine.layers import Linear\n\nSIZE = 2\n")
    write("src/fedgrid/engine/layers.py", "class Linear: ...\n")
    commit("then")
    write("src/fedgrid/engine/dense.py", '"""Dense layers."""\n\n\nclass Linear: ...  # none yet\n')
    Path("src/fedgrid/engine/layers.py").unlink()
    write("src/fedgrid/run/race.py", "from fedgrid.engine.dense import Linear\nSIZE = 1\n")
    write("src/fedgrid/engine/steps.py", "from fedgrid.engine.dense import Linear\nSIZE = 3\n")
    write("src/fedgrid/engine/memory.py", "no python\n")
    commit("now")
    then, now = revision.revision("HEAD~1"), revision.revision("HEAD")
    assert plain(moves(then, now)) == {("Code", "engine", "changed", "engine/steps.py", "", "", ())}
    assert then.unread == () and len(now.unread) == 1
    assert "src/fedgrid/engine/memory.py: not readable as Python" in now.unread[0]


def test_of_several_alike_those_that_differ_least_are_the_same():
    def one(name, **settings):
        return Shown("a", "rounds", name, {"task": "digits_2nn"} | settings, (name,))

    before = [one("a", init="glorot", lr=[1]), one("b", init="he", lr=[1]), one("c", init="he", lr=[2])]
    after = [one("d", init="he", lr=[3]), one("e", init="glorot", lr=[3]), one("c", init="he", lr=[2])]
    matched = {(a.where, b.where) for a, b in pairs(before, after)}
    assert matched == {("a", "e"), ("b", "d"), ("c", "c")}
    assert pairs([one("a", E=1)], [one("a", E=2)]) == [(None, one("a", E=2)), (one("a", E=1), None)]


def refusal(names, capsys):
    """The one line on stderr with which the call is refused, its exit status 1."""
    with pytest.raises(SystemExit) as ended:
        main(["diff", *names])
    code, err = ended.value.code, capsys.readouterr().err.splitlines()
    assert code == 1 or isinstance(code, str)  # of which Python prints the text, and exits with 1
    (line,) = err or [code]
    return line


@pytest.mark.parametrize("names", [["nowhere", "base"], ["base", "nowhere"], ["base", "base:params"], ["base", ""]])
def test_a_bad_revision_is_one_line_that_names_it(names, capsys):
    bad = next(name for name in names if name != "base")
    assert refusal(names, capsys).startswith(f"fedgrid diff: no revision {bad!r} in this repository")


def test_outside_a_repository_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "not a git repository" in refusal(["base", "number"], capsys)


def test_in_a_folder_without_a_campaign_is_one_line(monkeypatch, capsys):
    monkeypatch.chdir("src")
    assert "base: it has no params, records or sources here" in refusal(["base", "number"], capsys)


@pytest.mark.parametrize("names", [[], ["base"], ["base", "number", "figure"]])
def test_two_revisions_are_asked_for(names, capsys):
    assert "see fedgrid" in refusal(names, capsys)
