"""The command line as a user has it, in a folder with params of its own: what it makes, how it refuses a mistake."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import NamedTuple

import numpy as np
import pytest
import torch

from fedgrid.__main__ import VERBS, main
from fedgrid.grid import artefacts
from fedgrid.run import locks, record

ROOT = Path(__file__).parents[1]
SMALL = """\
title: "Small"
paper: false
cells: {task: digits_2nn, partition: [iid, shards], K: 50, C: 0.1, E: 1, targets: [0.5], rounds: 3,
  lr: [0.1, 0.464, 2.15]}
grid: [{B: 10}]
table: {rows: [B], columns: [partition], baseline: {E: 1}}
figure: {kind: curves, y: test_accuracy, lines: best, x: rounds, panels: [partition], range: {x: [0, 3], y: [0.0, 1.0]}}
"""
README = """# Before

<!-- small -->
an old table
<!-- /small -->

After, where `<!-- table4 -->` and a lone <!-- other --> stay.
"""
PARTITIONS = ("digits-iid-K50-s0", "digits-shards-K50-s0")
MADE = {f"results/tables/small.{suffix}" for suffix in ("csv", "md", "tex")} | {
    f"results/figures/small.{suffix}" for suffix in ("csv", "pdf", "svg", "png")
}


class Done(NamedTuple):
    """What a command left."""

    out: str
    err: str
    status: int


def fedgrid(folder, *commands):
    """`python -m fedgrid …` in the folder for each of the commands, processes of their own, side by side."""
    running = [
        subprocess.Popen([sys.executable, "-m", "fedgrid", *words], cwd=folder, stdout=PIPE, stderr=PIPE, text=True)
        for words in commands
    ]
    return [Done(*one.communicate(), one.returncode) for one in running]


def declare(folder):
    """Makes of a folder one with params, a README and the documents beside it."""
    (folder / "params").mkdir(parents=True)
    (folder / "docs").mkdir()
    (folder / "params/small.yaml").write_text(SMALL)
    for name in ("paper", "datasets"):
        shutil.copy(ROOT / f"params/{name}.yaml", folder / "params")
    (folder / "README.md").write_text(README)
    (folder / "docs/deviations.md").write_text("no table here\n")


def cells(folder):
    """The names of the IID and of the non-IID cell."""
    return [cell.name for cell in artefacts.artefact("small", folder / "params").cells]


def state(folder):
    """Every file's content."""
    return {str(place.relative_to(folder)): place.read_bytes() for place in folder.rglob("*") if place.is_file()}


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A folder in which every verb of the good path has been called once, and what each said."""
    folder = tmp_path_factory.mktemp("walk")
    declare(folder)
    said = {}
    steps = (
        {"fetch": ["digits"]},
        {"partition": PARTITIONS},
        {"run": cells(folder)},
        {"table": ["small"], "figure": ["small"]},
        {"manifest": ["small"]},
        {"audit": ["small"]},
    )
    for step in steps:
        said |= zip(step, fedgrid(folder, *([verb, *operands] for verb, operands in step.items())), strict=True)
        assert [said[verb].status for verb in step] == [0] * len(step), [said[verb].err for verb in step]
    with contextlib.chdir(folder):
        main(["metrics", "small"])
        main(["readme", "small"])
    return folder, said


@pytest.fixture
def folder(walked, tmp_path, monkeypatch):
    """A copy of that folder, the working directory."""
    here = tmp_path / "here"
    shutil.copytree(walked[0], here)
    monkeypatch.chdir(here)
    return here


def refused(capsys, *arguments):
    """The one line on stderr with which the command line refuses; exit status 1, nothing on stdout, no file touched."""
    before = state(Path())
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    out, err = capsys.readouterr()
    if isinstance(caught.value.code, str):  # Python prints it on stderr and exits with 1
        err += caught.value.code + "\n"
    assert out == ""
    assert err.count("\n") == 1 and err.endswith("\n"), err
    assert isinstance(caught.value.code, str) or caught.value.code == 1
    assert state(Path()) == before
    return err


def test_the_good_path_says_what_it_made_and_makes_it(walked):
    folder, said = walked
    assert said["fetch"].out == "data/raw/digits/digits.npz\n"
    assert said["partition"].out == ""
    records = [str(record.path(name)) for name in cells(folder)]
    assert said["run"].out.splitlines() == records
    assert {*said["table"].out.splitlines(), *said["figure"].out.splitlines()} == MADE
    assert re.search(r"^audit: 2 records, \d+ checks, 0 findings, \d notes$", said["audit"].out, re.MULTILINE)
    assert {done.err for verb, done in said.items() if verb != "run"} == {""}
    unsigned = "its statement is unsigned; `python -m fedgrid key` makes a key"
    assert said["run"].err.splitlines() == [f"{one}: {unsigned}" for one in records]
    assert set(state(folder)) == {
        *(one.replace("cells", "statements") for one in records),
        "README.md",
        "docs/deviations.md",
        *(f"params/{name}.yaml" for name in ("small", "paper", "datasets")),
        "data/raw/digits/digits.npz",
        *(f"data/partitions/{name}.npz" for name in PARTITIONS),
        *records,
        *MADE,
        "results/metrics.json",
        "results/manifests/small.sha256",
        "results/audit/small.json",
    }


def test_table_metrics_and_readme_tell_the_record_s_rounds(walked):
    folder, _ = walked
    metrics = json.loads((folder / "results/metrics.json").read_text())["small"]
    table = (folder / "results/tables/small.md").read_text()
    assert table.rstrip() in (folder / "README.md").read_text()
    for name, column in zip(cells(folder), ("IID", "non-IID"), strict=True):
        rounds = record.read(record.path(name, folder / "results/cells"))["result"]["rounds_to_target"]["0.5"]
        assert metrics[f"B=10 partition={column}"].get("rounds") == (rounds and float(f"{rounds:.4g}"))
        assert (f"| {rounds:.0f}" if rounds else "| > 3") in table


def test_claims_of_a_folder_that_declares_none_of_the_paper_s_artefacts_are_a_page_that_says_so(folder, capsys):
    Path("params/small.yaml").write_text(SMALL.replace("paper: false", "paper: true"))
    main(["claims"])
    text = Path("results/README.md").read_text()
    assert text.count("**not declared**") > 10 and "2 of 2" in text and "](tables/small.md)" in text
    assert capsys.readouterr() == ("", "")
    main(["claims"])
    assert Path("results/README.md").read_text() == text


def test_tasks_are_listed_with_what_params_declare_of_them(folder, capsys):
    main(["tasks"])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("digits_2nn"))
    assert line.split() == ["digits_2nn", "55,210", "50", "1,500", "image", "50", "%", "digits"]


def test_the_readme_changes_between_its_marks_alone(walked):
    text = (walked[0] / "README.md").read_text()
    start, end = "<!-- small -->", "<!-- /small -->"
    before, after = README.split("an old table")
    assert text.startswith(before.rstrip()) and text.endswith(after.lstrip())
    assert text.partition(start)[0] + start == before.rstrip()
    assert end + text.partition(end)[2] == after.lstrip()
    assert "an old table" not in text and "**Small**" in text
    assert (walked[0] / "docs/deviations.md").read_text() == "no table here\n"


def test_a_cell_run_again_gives_the_same_curves(folder):
    """In a process of its own, as the first time: the record differs in its seconds at most."""
    name = cells(folder)[0]
    first = record.read(record.path(name))
    record.path(name).unlink()
    (done,) = fedgrid(folder, ["run", name])
    assert done.status == 0, done.err
    again = record.read(record.path(name))
    for section in ("settings", "curves", "result"):
        assert again[section] == first[section]
    for key in ("data", "partition", "initial_weights", "final_weights", "examples"):
        assert again["provenance"][key] == first["provenance"][key]
    assert len(again["curves"]["rounds"]) >= 1 and again["provenance"]["examples"] > 0


def test_every_verb_called_again_makes_the_same_bytes(folder, capsys):
    before = state(folder)
    for verb in ("fetch", "partition", "table", "figure", "metrics", "readme", "manifest", "audit"):
        main([verb, *{"fetch": ["digits"], "partition": PARTITIONS}.get(verb, ["small"])])
    assert state(folder) == before
    assert capsys.readouterr().err == ""


def test_the_plan_lists_every_cell_as_done(folder, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    main(["plan", "small"])
    out = capsys.readouterr().out
    assert all(re.search(rf"^{re.escape(name)} +done ", out, re.MULTILINE) for name in cells(folder))
    assert "0 of 2 cells to run: 0.00 h expected on 7 cores, at most 0.00 h" in out


# A process of its own: what Python makes of a refusal is one line on stderr and exit status 1.


def test_an_unknown_verb_or_artefact_is_one_line_and_status_1(folder):
    before = state(folder)
    for done, named in zip(
        fedgrid(folder, ["tabel"], ["table", "tabel4"]), ("tabel", "params/tabel4.yaml"), strict=True
    ):
        assert named in done.err and done.err.startswith("fedgrid")
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done.err
    assert state(folder) == before


# The rest in this process.


@pytest.mark.parametrize(
    "arguments",
    [[], ["tabel"], ["run"], ["fetch"], ["partition"], ["table", "--fast", "small"], ["tasks", "small"]],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_a_command_line_that_is_none_is_refused(folder, capsys, arguments):
    assert refused(capsys, *arguments).startswith("fedgrid")


@pytest.mark.parametrize("verb", [verb for verb, (_, operand, _) in VERBS.items() if operand == "ARTEFACT"])
def test_an_unknown_artefact_is_named_by_every_verb_with_those_there_are(folder, capsys, verb):
    line = refused(capsys, verb, "small", "tabel4")
    assert "params/tabel4.yaml" in line and "small" in line


def test_an_unknown_operand_is_named(folder, capsys):
    for verb in ("run", "partition", "fetch"):
        assert "'nope'" in refused(capsys, verb, "nope")


@pytest.mark.parametrize("verb", ["run", "partition"])
def test_an_unknown_operand_is_named_before_anything_is_done(folder, capsys, verb):
    """Not after the hours that the cell before it takes."""
    known = {"run": cells(folder)[0], "partition": PARTITIONS[0]}[verb]
    place = {"run": record.path(known), "partition": Path(f"data/partitions/{known}.npz")}[verb]
    place.unlink()
    assert "'nope'" in refused(capsys, verb, known, "nope")


OWN_CELLS = SMALL[SMALL.index("cells:") : SMALL.index("table:")]
# What is wrong in the params file, what it replaces, what the line names besides the file.
MISTAKES = {
    "unknown setting": ("E: 1,", "E: 1, momentum: 0.9,", "momentum"),
    "missing setting": ("E: 1,", "", "'E'"),
    "unknown task": ("digits_2nn", "digits_3nn", "digits_3nn"),
    "unknown partition": ("[iid, shards]", "[iid, shard]", "'shard'"),
    "negative C": ("C: 0.1", "C: -0.1", "C is -0.1"),
    "C beyond 1": ("C: 0.1", "C: 10", "C is 10"),
    "E of a half": ("E: 1,", "E: 0.5,", "E: 0.5"),
    "E of 0": ("E: 1,", "E: 0,", "E is 0"),
    "B of 0": ("B: 10", "B: 0", "B is 0"),
    "K of 0": ("K: 50", "K: 0", "K is 0"),
    "no rate": ("[0.1, 0.464, 2.15]", "[]", "lr is []"),
    "a rate in words": ("[0.1, 0.464, 2.15]", "fast", "lr: 'fast'"),
    "a negative rate": ("[0.1, 0.464, 2.15]", "[-0.1, 0.464, 2.15]", "lr is [-0.1, 0.464, 2.15]"),
    "a grid of rates of none per decade": ("[0.1, 0.464, 2.15]", "{per_decade: 0, from: 0, to: 1}", "lr"),
    "a target in percent": ("[0.5]", "[50]", "targets is [50.0]"),
    "a target in words": ("[0.5]", "half", "targets: 'half'"),
    "a key twice": ("C: 0.1", "C: 0.1, C: 0.5", "line 3: the key 'C' stands in line 3 already"),
    "own clients of images": ("[iid, shards]", "natural", "partition is natural"),
    "a batch beyond the largest client": ("B: 10", "B: 31", "B is 31"),
    "a cell twice": ("[{B: 10}]", "[{B: 10}, {B: 10.0}]", "rows 1 and 2 of grid"),
    "a value twice": ("[iid, shards]", "[iid, iid]", "partition has 'iid' twice"),
    "a negative seed": ("E: 1,", "E: 1, seed: -1,", "seed is -1"),
    "an empty grid": ("[{B: 10}]", "[]", "grid is empty"),
    "no grid": ("grid: [{B: 10}]\n", "", "grid is empty"),
    "a grid that is a mapping": ("[{B: 10}]", "{B: 10}", "grid"),
    "a grid that is a number": ("[{B: 10}]", "5", "grid"),
    "rows that are numbers": ("[{B: 10}]", "[5]", "grid"),
    "unknown kind": ('title: "Small"', "kind: rice", "'rice'"),
    "unknown key": ('title: "Small"', "titel: Small", "'titel'"),
    "not YAML": ('title: "Small"', 'title: "Small', "YAML"),
    "cells of an unknown artefact": (OWN_CELLS, "cells_of: tabel4\n", "params/tabel4.yaml"),
    "cells of itself": (OWN_CELLS, "cells_of: small\n", "cells_of"),
    "a table by an unknown setting": ("rows: [B]", "rows: [Z]", "'Z'"),
    "a table without rows": ("rows: [B], ", "", "rows"),
    "a baseline of no cell": ("baseline: {E: 1}", "baseline: {E: 3}", "baseline of E 3"),
    "a baseline of an unknown setting": ("baseline: {E: 1}", "baseline: {Z: 1}", "'Z'"),
    "a table that says something else": ("rows: [B], ", "rows: [B], colour: red, ", "'colour'"),
    "neither table nor figure": (SMALL[SMALL.index("table:") :], "", "neither table nor figure"),
    "a title that is a number": ('title: "Small"', "title: 2017", "title is 2017"),
    "perhaps of the paper": ("paper: false", "paper: maybe", "paper is 'maybe'"),
}
FIGURE_MISTAKES = {
    "unknown kind of figure": ("kind: curves", "kind: curved", "'curved'"),
    "panels of an unknown setting": ("panels: [partition]", "panels: [part]", "'part'"),
    "no range": (", range: {x: [0, 3], y: [0.0, 1.0]}", "", "range"),
}


def mistaken(folder, old, new):
    assert SMALL.count(old) == 1
    (folder / "params/small.yaml").write_text(SMALL.replace(old, new))


@pytest.mark.parametrize(("old", "new", "named"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_params_file_is_named_with_the_file(folder, capsys, old, new, named):
    mistaken(folder, old, new)
    line = refused(capsys, "table", "small")
    assert "params/small.yaml" in line and named in line


@pytest.mark.parametrize(("old", "new", "named"), FIGURE_MISTAKES.values(), ids=FIGURE_MISTAKES)
def test_a_mistake_in_a_figure_s_layout_is_named_with_the_file(folder, capsys, old, new, named):
    mistaken(folder, old, new)
    line = refused(capsys, "figure", "small")
    assert "params/small.yaml" in line and named in line


@pytest.mark.parametrize("old, new", [("C: 0.1", "C: -0.1"), ("digits_2nn", "digits_3nn")])
@pytest.mark.parametrize("verb", ["run", "partition", "plan", "metrics", "audit"])
def test_every_verb_names_the_mistaken_params_file(folder, capsys, verb, old, new):
    operand = {"run": cells(folder)[0], "partition": PARTITIONS[0]}.get(verb, "small")
    mistaken(folder, old, new)
    assert "params/small.yaml" in refused(capsys, verb, operand)


@pytest.mark.parametrize("name", ["datasets", "paper"])
@pytest.mark.parametrize("content", ["digits: [", "", "just words"])
def test_a_damaged_file_beside_the_artefacts_is_named(folder, capsys, name, content):
    (folder / f"params/{name}.yaml").write_text(content)
    assert f"params/{name}.yaml: " in refused(capsys, "table", "small")


@pytest.mark.parametrize("entries", ["", " 5", " [x]"])
def test_what_the_paper_says_of_an_artefact_in_another_form_is_named(folder, capsys, entries):
    (folder / "params/paper.yaml").write_text(f"table4:{entries}\n")
    assert "params/paper.yaml: table4 is no list" in refused(capsys, "table", "small")


def test_a_dataset_without_its_number_of_training_examples_is_named(folder, capsys):
    place = folder / "params/datasets.yaml"
    place.write_text(re.sub(r"\n +train: 1500", "", place.read_text()))
    assert "params/datasets.yaml: digits must have train" in refused(capsys, "table", "small")


def test_more_clients_than_examples_are_refused(folder, capsys):
    mistaken(folder, "K: 50", "K: 1501")
    said = refused(capsys, "partition", "digits-iid-K1501-s0")
    assert "K is 1501, for which iid needs 1501 examples at least; digits has 1500" in said


def test_a_record_that_is_there_is_kept_and_said_to_be(folder, capsys, monkeypatch):
    """Whatever becomes of a job, what was trained stays; whoever wants it anew deletes it. It waits for no GPU."""
    monkeypatch.setattr(locks, "own_gpu", pytest.fail)
    before = state(folder)
    main(["run", cells(folder)[0]])
    assert state(folder) == before
    out, err = capsys.readouterr()
    assert out == f"{record.path(cells(folder)[0])}\n" and "delete it to run the cell again" in err


@pytest.mark.parametrize("verb", ["table", "figure", "metrics", "readme", "plan", "run"])
@pytest.mark.parametrize("size", [0, 300, -3])
def test_a_corrupt_record_is_named_by_its_file(folder, capsys, verb, size):
    place = record.path(cells(folder)[0])
    place.write_bytes(place.read_bytes()[:size])
    assert str(place) in refused(capsys, verb, {"run": place.stem}.get(verb, "small"))


def test_a_record_of_other_settings_is_named(folder, capsys):
    place = record.path(cells(folder)[0])
    one = json.loads(place.read_text())
    one["settings"]["C"] = 0.2
    place.write_text(json.dumps(one))
    for verb in ("table", "figure", "metrics", "readme"):
        assert cells(folder)[0] in refused(capsys, verb, "small")


DAMAGES = {
    "empty": lambda whole: b"",
    "garbage": lambda whole: b"no archive",
    "half": lambda whole: whole[: len(whole) // 2],
    "one bit": lambda whole: whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:],
}


@pytest.fixture
def unrun(folder):
    """That folder without its records."""
    for name in cells(folder):
        record.path(name).unlink()
    return folder


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_corrupt_raw_file_is_named(unrun, capsys, damage):
    place = unrun / "data/raw/digits/digits.npz"
    place.write_bytes(damage(place.read_bytes()))
    for verb, operand in (("run", cells(unrun)[0]), ("partition", PARTITIONS[0]), ("fetch", "digits")):
        assert "data/raw/digits/digits.npz" in refused(capsys, verb, operand)


def test_missing_data_are_named_with_the_verb_that_brings_them(unrun, capsys):
    (unrun / "data/raw/digits/digits.npz").unlink()
    for verb, operand in (("run", cells(unrun)[0]), ("partition", PARTITIONS[0])):
        line = refused(capsys, verb, operand)
        assert "data/raw/digits/digits.npz" in line and "python -m fedgrid fetch digits" in line


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_corrupt_partition_is_named(unrun, capsys, damage):
    place = unrun / f"data/partitions/{PARTITIONS[0]}.npz"
    place.write_bytes(damage(place.read_bytes()))
    line = refused(capsys, "run", cells(unrun)[0])
    assert f"data/partitions/{PARTITIONS[0]}.npz" in line and "delete it" in line


def test_a_missing_partition_is_named_with_the_verb_that_draws_it(unrun, capsys):
    (unrun / f"data/partitions/{PARTITIONS[1]}.npz").unlink()
    line = refused(capsys, "run", cells(unrun)[1])
    assert f"python -m fedgrid partition {PARTITIONS[1]}" in line


def test_a_partition_of_another_dataset_is_refused(unrun, capsys):
    place = f"data/partitions/{PARTITIONS[0]}.npz"
    with np.load(unrun / place) as kept:
        arrays = dict(kept) | {"data": np.array("0" * 64)}
    np.savez(unrun / place, **arrays)
    line = refused(capsys, "run", cells(unrun)[0])
    assert place in line and "another dataset" in line


def test_a_partition_under_another_s_name_is_refused(unrun, capsys):
    """The IID one where the non-IID one should be: the record would say "shards" of IID clients, and no audit know."""
    shutil.copy(unrun / f"data/partitions/{PARTITIONS[0]}.npz", unrun / f"data/partitions/{PARTITIONS[1]}.npz")
    assert f"data/partitions/{PARTITIONS[1]}.npz" in refused(capsys, "run", cells(unrun)[1])


def test_a_missing_readme_is_named(folder, capsys):
    (folder / "README.md").unlink()
    assert "README.md" in refused(capsys, "readme", "small")


def test_every_verb_says_what_it_does_in_its_help(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^ +{verb} +[A-Z]", out, re.MULTILINE) for verb in VERBS)
