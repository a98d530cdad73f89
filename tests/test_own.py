"""A stranger's dataset, module and task, written as the documents have it, through every verb and a job."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from fedgrid.__main__ import main
from fedgrid.grid import artefacts, plan
from fedgrid.grid.cells import cell
from fedgrid.run import job, race, record
from fedgrid.targets import data_files, raw_files
from fedgrid.tasks import TASKS, Module, Task, fetch, inputs
from fedgrid.tasks.datasets import (
    DATASETS,
    UNPINNED,
    Dataset,
    DatasetInfo,
    Declaration,
    declared,
    words,
)
from fedgrid.tasks.models import dense, recurrent

# What the stranger writes.


def make(path):
    """Two clouds of 60 points each, one a little above the other."""
    y = np.arange(120) % 2
    x = (np.arange(360) * 7 % 13 / 13).reshape(120, 3) + 0.5 * y[:, None]
    np.savez(path, x=x.astype(np.float32), y=y)


def load(folder):
    with np.load(folder / "clouds.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    return Dataset("clouds", x[:100], y[:100], x[100:], y[100:], white=1)


class TwoLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.hidden(x).tanh())


PINNED = "16db39f496ae24f4bafc3af2badf66b61f1aa9027bfc404b1163dc18313eed1f"
RACE = {
    **{"task": "clouds_net", "partition": "iid", "K": 10, "C": 0.5, "E": 2, "B": 4, "lr": [0.01, 0.3, 100]},
    **{"init": "module", "targets": [0.999], "rounds": 2, "evaluate": "every_round", "train_loss": True},
}
MINE = {
    "title": "Mine",
    "paper": False,
    "cells": RACE | {"partition": ["iid", "shards"]},
    "grid": [{"seed": 0}],
    "table": {"rows": ["B"], "columns": ["partition"], "baseline": {"B": 4}},
}


def info(pin=PINNED, sources=(make,)):
    return DatasetInfo(load, example="point", declared=Declaration(100, sources, {"clouds.npz": pin}))


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """A folder with params of its own, and none of the project's, in which the stranger's files are loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDGRID_MIRROR", raising=False)
    DATASETS.register("clouds")(info())
    TASKS.register("clouds_net")(Task("clouds", Module(TwoLayer, inputs=(3,), classes=2)))
    Path("params").mkdir()
    Path("params/paper.yaml").write_text("{}\n")
    Path("params/mine.yaml").write_text(yaml.safe_dump(MINE))
    yield
    monkeypatch.undo()
    del DATASETS["clouds"], TASKS["clouds_net"]


def refusal(call, *args, **kwargs):
    """The one line that the call says when it fails."""
    with pytest.raises(ValueError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# It works everywhere


def test_a_strangers_task_goes_through_every_verb_and_is_audited_clean(capsys, monkeypatch):
    cells = artefacts.artefact("mine").cells
    main(["fetch", "clouds"])
    main(["partition", *(cell.partition_name for cell in cells)])
    main(["plan", "mine"])
    main(["run", *(cell.name for cell in cells)])
    main(["table", "mine"])
    main(["manifest", "mine"])
    said = capsys.readouterr().out
    assert "data/raw/clouds/clouds.npz" in said and "clouds_net: no fused layers" in said
    for one in cells:
        made = record.read(record.path(one.name))
        assert made["result"]["rounds"] == 2 and made["result"]["best_accuracy"] > 0.5
        assert made["settings"]["init"] == "module"
    main(["audit", "mine"])
    findings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FINDING")]
    assert findings == []
    main(["tasks"])
    assert re.search(r"clouds_net +26 +10 +100 +point +99.9 % +clouds", capsys.readouterr().out)


def test_a_run_is_repeated_bit_for_bit(tmp_path):
    main(["fetch", "clouds"])
    main(["partition", "clouds-iid-K10-s0"])
    first, again = (job.run(cell(RACE), checkpoints=tmp_path / str(n)) for n in range(2))
    for key in ("initial_weights", "final_weights", "data", "partition"):
        assert first["provenance"][key] == again["provenance"][key]
    assert first["curves"] == again["curves"] and first["curves"]["rounds"] == [1, 2]


def test_the_models_first_weights_are_the_modules_own(tmp_path):
    main(["fetch", "clouds"])
    main(["partition", "clouds-iid-K10-s0"])
    seeds = [cell(RACE | {"seed": seed}) for seed in (0, 1)]
    drawn = [race.start(one).w for one in seeds]
    assert all(w.shape == (3, 26) and w[0].equal(w[1]) and w.dtype == torch.float32 for w in drawn)
    assert not drawn[0].equal(drawn[1])


# What is declared of a dataset is in one place


def test_an_unpinned_file_that_is_made_is_refused_with_the_sha256_to_pin(monkeypatch):
    monkeypatch.setitem(DATASETS, "clouds", info(UNPINNED))
    said = refusal(fetch.fetch, "clouds")
    assert said.startswith("data/raw/clouds/clouds.npz: no sha256 of it is pinned where its dataset is declared; ")
    assert said.endswith(f"if you trust what {__name__}.make makes, pin its sha256, {PINNED}")
    assert list(Path("data/raw/clouds").iterdir()) == []


def test_what_makes_another_file_than_the_pinned_one_is_named(monkeypatch):
    monkeypatch.setitem(DATASETS, "clouds", info("0" * 64))
    said = refusal(fetch.fetch, "clouds")
    assert f"{__name__}.make: its sha256 is {PINNED}, not 0000" in said and said.endswith(f"mend {__name__}.make")
    assert list(Path("data/raw/clouds").iterdir()) == []


def test_a_function_that_writes_nothing_is_named(monkeypatch):
    monkeypatch.setitem(DATASETS, "clouds", info(sources=(lambda path: None,)))
    said = refusal(fetch.fetch, "clouds")
    assert "No such file" in said and f"mend {__name__}.test_a_function" in said
    assert list(Path("data/raw/clouds").iterdir()) == []


def test_a_folder_and_a_function_may_both_be_sources(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "clouds", info(sources=(str(tmp_path / "nowhere"), make)))
    assert fetch.fetch("clouds") == [Path("data/raw/clouds/clouds.npz")]


def test_fetch_plan_rules_and_audit_ask_one_function():
    assert declared("clouds").train == plan.training_examples("clouds") == 100
    assert raw_files("clouds") == data_files("clouds") == ["data/raw/clouds/clouds.npz"]


def test_a_corpus_is_loaded_from_what_it_was_encoded_into(monkeypatch):
    own = DatasetInfo(words.load, "ten words", lambda folder: iter([]), declared("clouds"))
    monkeypatch.setitem(DATASETS, "letters", own)
    assert raw_files("letters") == ["data/raw/letters/clouds.npz"]
    assert data_files("letters") == [f"data/encoded/letters/{file}" for file in words.FILES]
    assert "encode it with `python -m fedgrid encode letters`" in refusal(job.load_data, "letters")


def test_a_dataset_that_is_declared_twice_or_nowhere_is_named(monkeypatch):
    twice = {"clouds": {"train": 5, "sources": ["."], "files": {"a": "0" * 64}}}
    Path("params/datasets.yaml").write_text(yaml.safe_dump(twice))
    assert "params/datasets.yaml: clouds is declared in the file that registers it, too" in refusal(declared, "clouds")
    monkeypatch.setitem(DATASETS, "bare", DatasetInfo(load))
    assert "it has no bare; declare it there, or in its DatasetInfo" in refusal(declared, "bare")
    assert refusal(declared, "nope") == "unknown dataset 'nope'; params/datasets.yaml has clouds, clouds"


def test_a_dataset_that_is_unknown_is_named():
    assert refusal(job.load_data, "nope").startswith("unknown dataset 'nope'; choose from mnist, cifar10, ")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((0, (make,), {"a": "0" * 64}), "must have train"),
        (("many", (make,), {"a": "0" * 64}), "must have train"),
        ((9, (), {"a": "0" * 64}), "must have sources"),
        ((9, make, {"a": "0" * 64}), "must have sources"),
        ((9, (make,), {}), "files, a mapping"),
        ((9, (make,), {"../a": "0" * 64}), "has '../a'"),
        ((9, (make,), {"a": "0" * 63}), "which is not a file's name and sha256"),
    ],
    ids=["no examples", "many", "no sources", "a source alone", "no files", "a path", "a short sha256"],
)
def test_what_is_no_declaration_is_refused_by_one_line(given, says):
    assert says in refusal(Declaration, *given)


# A task whose parts do not fit is refused before anything is trained


@pytest.mark.parametrize(
    ("task", "settings", "says"),
    [
        (
            Task("clouds", Module(TwoLayer, inputs=(3,), classes=2)),
            {"init": "he"},
            "init is he; it must be module",
        ),
        (Task("clouds", dense(3, 2)), {}, "init is module; it must be glorot or uniform2015 or he or tutorial or"),
        (Task("nope", dense(3, 2)), {"init": "he"}, "task is own; it must be of a dataset that is registered; nope is"),
    ],
    ids=["init of a module", "init of layers", "dataset"],
)
def test_a_cell_of_a_task_that_does_not_fit_is_refused(monkeypatch, task, settings, says):
    monkeypatch.setitem(TASKS, "own", task)
    assert says in refusal(cell, RACE | {"task": "own"} | settings)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (Task("clouds", dense(3, 1)), "clouds has the class 1; its model has 1 classes, from 0"),
        (Task("clouds", dense(4, 2)), "clouds has examples of 3 numbers; its model takes 4"),
        (Task("clouds", recurrent(9, 2, 2, 1, 3)), "inputs are torch.float32; give its task inputs.text for texts"),
        (Task("clouds", dense(3, 2), inputs.text), "inputs are torch.int64; give its task inputs.text for texts, else"),
    ],
    ids=["classes", "size", "images to a model of texts", "texts to a model of images"],
)
def test_data_that_the_model_cannot_learn_are_named_before_it_is_trained(task, says):
    main(["fetch", "clouds"])
    assert says in refusal(task.check, job.load_data("clouds"))


def test_measurements_are_scaled_without_being_changed_where_they_lie():
    main(["fetch", "clouds"])
    data = job.load_data("clouds")
    stored = torch.from_numpy(data.train_x)
    before = stored.clone()
    for scaling in inputs.SCALINGS:
        prepared = inputs.grey(data, scaling, torch.float32).prepare(stored)
        assert stored.equal(before)
        assert prepared.equal(before) == (scaling == "unit")


@pytest.mark.parametrize("name", ["My_task", "my-task", "1st", ""])
def test_a_name_that_is_none_is_refused(name):
    assert "a name is lower-case letters, digits and _" in refusal(TASKS.register, name)
