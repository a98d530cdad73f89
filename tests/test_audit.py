"""A whole small campaign, really run, has no standing finding; damaged in one way, it has the findings of that way.

What a damage does to a record, it does to the tables and figures that show the record: those are then stale too.
"""

import contextlib
import copy
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import yaml

from fedgrid import audit
from fedgrid.__main__ import main
from fedgrid.audit import manifest, replay
from fedgrid.audit.readings import edges, readings
from fedgrid.commands import campaign as campaign_of
from fedgrid.curves import Prune
from fedgrid.grid import artefacts
from fedgrid.partitions import PARTITIONS
from fedgrid.run import job, provenance, record
from tests.campaigns import AVERAGED, SMALL, commit, edit, make

MADE = {f"results/tables/small.{suffix}" for suffix in ("csv", "md", "tex")} | {
    f"results/figures/small.{suffix}" for suffix in ("csv", "pdf", "svg", "png")
}
MANIFEST = "results/manifests/small.sha256"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a campaign of two cells, run, sealed, and its tables and figures."""
    return make(tmp_path_factory.mktemp("campaign"), small=SMALL)


@pytest.fixture(autouse=True)
def campaign(whole, tmp_path, monkeypatch):
    """A copy of the campaign to damage; the working directory."""
    here = tmp_path / "campaign"
    shutil.copytree(whole, here)
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def names(campaign):
    """The names of the IID and of the non-IID cell."""
    return [cell.name for cell in artefacts.artefact("small").cells]


def make_averaged(folder):
    """A folder with the campaign of one average."""
    folder.mkdir()
    return make(folder, averaged=AVERAGED)


def findings(names=("small",)):
    """Every finding, as the verb has it; of the paper's campaign, where none is named."""
    return audit.audit(campaign_of(list(names)))


def standing(names=("small",)):
    """Check and subject of each finding that stands."""
    return {(one.check, one.subject) for one in findings(names) if not one.note}


def notes(check):
    """Subject and text of each note of that check."""
    return [(one.subject, one.says) for one in findings() if one.note and one.check == check]


def stale(files=MADE):
    return {("stale", file) for file in files}


def seal(names=("small",)):
    """Seals what is there, as who damages a campaign may do, too: outside git nothing keeps the old seals."""
    main(["manifest", *names])


def forge(name, change):
    """Edits the record of that name and seals it anew."""
    edit(name, change)
    seal()


def test_a_whole_campaign_has_no_standing_finding(names):
    assert standing() == set()
    assert sorted(place.stem for place in Path("results/cells").rglob("*.json")) == sorted(names)
    assert {str(place) for folder in ("tables", "figures") for place in Path("results", folder).iterdir()} == MADE


def test_a_deleted_record_is_missing(names):
    record.path(names[0]).unlink()
    assert standing() == {("missing", names[0]), ("unsealed", names[0])} | stale()
    seal()
    assert standing() == {("missing", names[0])} | stale()


@pytest.mark.parametrize("size", [0, 1, 500, -2])
def test_a_truncated_record_is_damaged(names, size):
    place = record.path(names[0])
    place.write_bytes(place.read_bytes()[:size])
    seal()
    assert standing() == {("damaged", names[0])}


@pytest.mark.parametrize("section", ["settings", "curves", "result", "provenance", "name", "schema"])
def test_a_record_without_one_of_its_parts_is_damaged(names, section):
    forge(names[0], lambda one: one.pop(section))
    assert standing() == {("damaged", names[0])}


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["result"].clear(),
        lambda one: one["curves"].clear(),
        lambda one: one["result"].update(rounds_to_target={"0.9": 2.0}),
        lambda one: one["curves"].update(rates=[{}]),
        lambda one: one["curves"]["rates"][1].pop("train_loss"),
        lambda one: one["curves"]["rates"][1].update(test_accuracy=["0.1", "0.2"]),
        lambda one: one["curves"]["rates"][1]["test_accuracy"].append(0.9),
        lambda one: one["provenance"].update(engine=None),
    ],
    ids=["no result", "no curves", "another target", "empty", "no training loss", "text", "a value more", "no engine"],
)
def test_a_record_that_readers_could_not_read_is_damaged(names, change):
    forge(names[0], change)
    assert standing() == {("damaged", names[0])}


@pytest.mark.parametrize("key, value", [("C", 0.2), ("lr", [0.1, 0.464]), ("seed", 1), ("B", "inf"), ("momentum", 0.9)])
def test_edited_settings_are_found(names, key, value):
    forge(names[0], lambda one: one["settings"].update({key: value}))
    assert standing() == {("settings", names[0])}


def test_a_renamed_record_is_missing_and_undeclared(names):
    new = names[0].replace("-s0-", "-s1-")
    place = record.path(names[0])
    place.rename(place.with_stem(new))
    seal()
    assert standing() == {("missing", names[0]), ("undeclared", new)} | stale()


def test_a_record_under_another_cell_s_name_is_damaged(names):
    record.path(names[0]).replace(record.path(names[1]))
    seal()
    assert standing() == {("missing", names[0]), ("damaged", names[1])}


def test_a_record_that_no_artefact_declares_is_found(names):
    stranger = names[0].replace("-E1-", "-E7-")
    forge(names[0], lambda one: record.write(one | {"name": stranger}))
    assert standing() == {("undeclared", stranger)}


def test_a_cell_that_several_artefacts_declare_is_missing_once(campaign, names):
    (campaign / "params/other.yaml").write_text(SMALL)
    record.path(names[0]).unlink()
    found = [one for one in findings(("small", "other")) if one.check == "missing"]
    assert [one.subject for one in found] == [names[0]]
    assert "small, other" in found[0].says


def test_the_paper_s_records_are_looked_for_in_every_folder_and_an_artefact_s_in_those_of_its_tasks(names):
    published(names)
    edit(names[0], lambda one: record.write(one | {"name": "gone-iid-C0.1-E1-B10-s0-0123456789"}))
    assert standing(()) == {("undeclared", "gone-iid-C0.1-E1-B10-s0-0123456789")}
    assert standing() == set()


def test_a_record_that_another_artefact_declares_is_at_home(campaign, names):
    (campaign / "params/other.yaml").write_text(SMALL.replace("B: 10", "B: 20"))
    other = artefacts.artefact("other").cells[0]
    forge(names[0], lambda one: record.write(one | {"name": other.name}))
    assert standing() == set()
    (campaign / "params/other.yaml").unlink()
    assert standing() == {("undeclared", other.name)}


def redrawn(kind, seed):
    """Puts the partition of another seed where that of seed 0 stood."""
    data = job.load_data("digits")
    job.write_partition(
        job.draw_partition(data, PARTITIONS[kind](), 50, seed), data, job.PARTITIONS / f"digits-{kind}-K50-s0.npz"
    )


def test_a_partition_redrawn_with_another_seed_is_found_by_its_records(names):
    redrawn("iid", seed=0)
    assert standing() == set()  # the same seed is the same partition
    redrawn("iid", seed=1)
    assert standing() == {("partitions", names[0])}
    redrawn("shards", seed=1)
    assert standing() == {("partitions", names[0]), ("partitions", names[1])}


def test_a_partition_of_other_data_is_found(names):
    place = job.PARTITIONS / "digits-iid-K50-s0.npz"
    with np.load(place) as arrays:
        other = dict(arrays) | {"data": np.array("0" * 64)}
    np.savez(place, **other)
    (one,) = (finding for finding in findings() if not finding.note)
    assert (one.check, one.subject) == ("partitions", names[0]) and "another data" in one.says


@pytest.mark.parametrize(
    "damage",
    [lambda whole: b"", lambda whole: b"no zip", lambda whole: whole[: len(whole) // 2], lambda whole: whole[:-1]],
    ids=["empty", "garbage", "half", "almost whole"],
)
def test_a_damaged_partition_is_a_finding_and_no_crash(names, damage):
    place = job.PARTITIONS / "digits-iid-K50-s0.npz"
    place.write_bytes(damage(place.read_bytes()))
    found = standing()
    assert len(found) == 1 and {check for check, _ in found} == {"partitions"}


def test_without_data_and_partitions_records_are_judged_all_the_same(campaign, names):
    shutil.rmtree(campaign / "data")
    assert standing() == set()
    record.path(names[1]).write_text("{")
    seal()
    assert standing() == {("damaged", names[1])}


def edited(file):
    """Changes a digit of a text and adds a byte to a picture."""
    place = Path(file)
    content = place.read_bytes()
    place.write_bytes(content + b"\0" if place.suffix == ".png" else content.replace(b"3", b"4", 1))
    assert place.read_bytes() != content


@pytest.mark.parametrize("file", ["results/tables/small.csv", "results/figures/small.pdf"])
def test_an_edited_and_a_deleted_file_are_stale_and_no_other(file):
    edited(file)
    assert standing() == stale({file})
    Path(file).unlink()
    assert standing() == stale({file})


@pytest.mark.parametrize("file", ["results/figures/small.png", "results/figures/small.csv"])
def test_a_picture_that_another_matplotlib_drew_is_a_note_but_its_data_are_not(file):
    edited(file)
    Path("constraints.txt").write_text("matplotlib==0.1\n")
    assert standing() == (stale({file}) if file.endswith("csv") else set())
    assert [subject for subject, _ in notes("stale")] == ([file] if file.endswith("png") else [])
    Path("constraints.txt").write_text(f"matplotlib=={matplotlib.__version__}\n")
    assert standing() == stale({file})


def test_every_edited_file_is_stale():
    for file in MADE:
        edited(file)
    assert standing() == stale()


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["curves"]["rates"][0].update(test_accuracy=[0.9, 0.9]),
        lambda one: one["result"].update(rounds_to_target={"0.5": 1.5}),
        lambda one: one["result"].update(best_accuracy=0.99),
        lambda one: one["result"].update(best_lr=0.1),
        lambda one: one["result"].update(best_lr_at_grid_end=True),
        lambda one: one["result"].update(ended="horizon"),
        lambda one: one["result"].update(rounds=3),
        lambda one: one["result"].update(verdict="won"),
    ],
    ids=["curve", "rounds to target", "accuracy", "rate", "mark", "end", "rounds", "more"],
)
def test_a_result_that_its_curves_do_not_give_is_found_even_where_tables_were_made_of_it(names, change):
    forge(names[0], change)
    assert standing() != set()
    main(["table", "small"])
    main(["figure", "small"])
    cost = {(check, names[0]) for check in ("moved", "examples")}  # as far as its rounds are others
    assert standing() - cost == {("readings", names[0])}


# By hand, of races at two rates, evaluated after each round until an envelope of 0.5, the horizon 3, or divergence.
RACES = {
    "target": ([1, 2], [[0.1, 0.2], [0.2, 0.6]], (None, None), "target", 2, 1.75, 0.6, 0.2),
    "target at once": ([1], [[0.5], [0.4]], (None, None), "target", 1, 1.0, 0.5, 0.1),
    "horizon": ([1, 2, 3], [[0.1, 0.2, 0.3], [0.1, 0.4, 0.2]], (None, None), "horizon", 3, None, 0.4, 0.2),
    "horizon of one": ([1, 2, 3], [[0.1, 0.2, 0.3], [0.1]], (None, 2), "horizon", 3, None, 0.3, 0.1),
    "diverged": ([1], [[], [0.1]], (1, 2), "diverged", 2, None, 0.1, 0.2),
    "diverged at once": ([], [[], []], (1, 1), "diverged", 1, None, None, None),
}
# The same of races that prune, of rates 0.1, 0.2 and 0.4, up to the horizon. In the first, 0.1 is behind from the
# start. In the second it was, until 0.2, which had led, diverged. In the third 0.1 and 0.4 are, but by too little.
TESTED = ("test_accuracy", "test_loss")
RULE = Prune(evaluations=2, smaller=1.5, larger=3.0)
PRUNED = {
    "one": ([1, 2, 3], [[0.05, 0.1], [0.45, 0.4, 0.4], [0.1, 0.1, 0.2]], (None,) * 3, (2, None, None)),
    "a leader gone": ([1, 2, 3], [[0.1, 0.2, 0.3], [0.45], [0.1, 0.1, 0.1]], (None, 2, None), (None,) * 3),
    "none": ([1, 2, 3], [[0.4, 0.1, 0.2], [0.45, 0.4, 0.4], [0.1, 0.1, 0.4]], (None,) * 3, (None,) * 3),
}


def raced(name):
    """The record's settings, curves and result, as a race of that name leaves them."""
    rounds, tested, diverged, ended, last, to_target, accuracy, best = RACES[name]
    small = artefacts.artefact("small").cells[0]
    cell = replace(small, lr=(0.1, 0.2), evaluate="every_round")
    rates = [
        {"lr": lr, "test_accuracy": curve, "test_loss": [1.0] * len(curve), "train_loss": [], "diverged": lost}
        for lr, curve, lost in zip(cell.lr, tested, diverged, strict=True)
    ]
    result = {
        "ended": ended,
        "rounds": last,
        "rounds_to_target": {"0.5": to_target},
        "best_accuracy": accuracy,
        "best_lr": best,
        "best_lr_at_grid_end": best is not None,
    }
    return cell, {"rounds": rounds, "rates": rates}, result


def read(cell, curves, result):
    """The findings of the readings, were that the record of the cell."""
    source = json.loads(next(Path("results/cells").rglob("*.json")).read_text())
    source |= {"schema": 1, "name": cell.name, "settings": cell.recorded}  # of schema 1, whose curves have no weights
    record.write(source | {"curves": curves, "result": result})
    campaign = audit.Campaign((replace(artefacts.artefact("small"), cells=(cell,)),))
    assert campaign.records.keys() == {cell.name}
    return list(readings(campaign))


@pytest.mark.parametrize("name", RACES)
def test_a_race_that_ended_by_the_rules_is_read_as_by_hand(name):
    assert read(*raced(name)) == []


def raced_and_pruned(name):
    """The record's cell, curves and result, as a race of that name leaves them."""
    rounds, tested, diverged, pruned = copy.deepcopy(PRUNED[name])
    cell = replace(artefacts.artefact("small").cells[0], lr=(0.1, 0.2, 0.4), evaluate="every_round", prune=RULE)
    rates = [
        {"lr": lr, "test_accuracy": curve, "test_loss": [1.0] * len(curve), "train_loss": [], "diverged": lost}
        | ({"pruned": left} if left else {})
        for lr, curve, lost, left in zip(cell.lr, tested, diverged, pruned, strict=True)
    ]
    result = {"ended": "horizon", "rounds": 3, "rounds_to_target": {"0.5": None}, "best_accuracy": 0.45}
    return cell, {"rounds": rounds, "rates": rates}, result | {"best_lr": 0.2, "best_lr_at_grid_end": False}


@pytest.mark.parametrize("name", PRUNED)
def test_a_race_that_pruned_by_its_rule_is_read_as_by_hand(name):
    assert read(*raced_and_pruned(name)) == []


@pytest.mark.parametrize(
    ("name", "rate", "change", "says"),
    [
        ("one", 0, lambda rate: rate.pop("pruned"), "0.1 is pruned in round 2; it says never pruned"),
        ("one", 0, lambda rate: rate.update(pruned=3), "0.1 is pruned in round 2; it says pruned in round 3"),
        ("one", 0, lambda rate: rate.update(diverged=3), "0.1 is pruned in round 2; it says that it diverged"),
        ("one", 0, lambda rate: [rate[key].append(0.1) for key in TESTED], "not evaluated as scheduled"),
        ("one", 0, lambda rate: [rate[key].pop() for key in TESTED], "0.1 is never pruned; it says pruned in round 2"),
        ("one", 2, lambda rate: rate.update(pruned=3), "0.4 is never pruned; it says pruned in round 3"),
        ("one", 2, lambda rate: [rate[key].pop() for key in TESTED], "not evaluated as scheduled"),
        ("a leader gone", 0, lambda rate: rate.update(pruned=3), "0.1 is never pruned; it says pruned in round 3"),
        ("a leader gone", 1, lambda rate: rate.update(pruned=1), "0.2 is never pruned; it says pruned in round 1"),
    ],
)
def test_a_forged_end_of_a_rate_is_found_and_named(name, rate, change, says):
    cell, curves, result = raced_and_pruned(name)
    change(curves["rates"][rate])
    (found,) = read(cell, curves, result)
    assert found.check == "readings" and says in found.says


def test_a_rate_that_is_said_to_be_pruned_where_no_rule_is_set_is_found():
    cell, curves, result = raced_and_pruned("one")
    (found,) = read(replace(cell, prune=None), curves, result)
    assert "0.1 is never pruned; it says pruned in round 2" in found.says


def shorter(curves, n):
    """Leaves n evaluated rounds, as of a race that was stopped there."""
    curves["rounds"] = curves["rounds"][:n]
    for rate in curves["rates"]:
        rate["test_accuracy"], rate["test_loss"] = rate["test_accuracy"][:n], rate["test_loss"][:n]


@pytest.mark.parametrize("ended", ["horizon", "target", "diverged", None])
def test_a_race_that_ended_neither_at_its_target_nor_at_the_horizon_nor_diverged_is_found(ended):
    cell, curves, result = raced("horizon")
    shorter(curves, 1)
    told = result | {"ended": ended, "rounds": 1, "best_accuracy": 0.1, "best_lr": 0.1}
    assert len(read(cell, curves, told)) == 1
    assert len(read(cell, curves, told | {"rounds": 3})) == 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("horizon", lambda curves: curves.update(rounds=[1, 2, 4])),
        ("target", lambda curves: curves.update(rounds=[1, 3])),
        ("target", lambda curves: curves.update(rounds=[2, 1])),
        ("horizon of one", lambda curves: curves["rates"][1].update(diverged=3)),
        ("horizon of one", lambda curves: curves["rates"][1].update(diverged=None)),
        ("horizon of one", lambda curves: curves["rates"][1].update(diverged=1)),
        ("horizon", lambda curves: curves["rates"][1].update(diverged=4)),
        ("diverged", lambda curves: curves["rates"][0].update(diverged=3)),
        ("diverged at once", lambda curves: [rate.update(diverged=9) for rate in curves["rates"]]),
    ],
)
def test_curves_that_no_race_of_those_settings_leaves_are_found(name, change):
    cell, curves, result = raced(name)
    change(curves)
    assert len(read(cell, curves, result)) == 1


def test_a_race_that_went_on_after_its_target_or_past_its_horizon_is_found():
    cell, curves, result = raced("horizon")
    assert len(read(replace(cell, targets=(0.35,)), curves, result | {"rounds_to_target": {"0.35": 1.75}})) == 1
    assert len(read(replace(cell, rounds=2), curves, result)) == 1
    cell, curves, result = raced("target")
    assert len(read(replace(cell, rounds=1), curves, result)) == 1


def test_averages_whose_result_their_curves_do_not_give_are_found(tmp_path, monkeypatch):
    folder = make_averaged(tmp_path / "averaged")
    monkeypatch.chdir(folder)
    (name,) = (cell.name for cell in artefacts.artefact("averaged").cells)
    assert standing(("averaged",)) == set()
    whole = record.path(name).read_text()
    for change in (lambda one: one["curves"].clear(), lambda one: one["curves"]["theta"].pop()):
        edit(name, change)
        assert ("damaged", name) in standing(("averaged",))
        record.path(name).write_text(whole)
    for change in (
        lambda one: one["result"].update(parents=[1.0, 1.0]),
        lambda one: one["result"]["least"].update(loss=0.0),
        lambda one: one["result"]["greatest"].update(theta=0.5),
        lambda one: one["curves"].update(parents=[1.0, 1.0]),
        lambda one: one["curves"]["theta"].__setitem__(0, -0.3),
        lambda one: one["curves"]["train_loss"].__setitem__(25, 0.0),
        lambda one: [one["curves"][key].pop() for key in ("theta", "train_loss")],
    ):
        edit(name, change)
        assert ("readings", name) in standing(("averaged",))
        record.path(name).write_text(whole)


@pytest.mark.parametrize(
    "what, check", [("bytes_down", "moved"), ("bytes_up", "moved"), ("examples", "examples")], ids=str
)
def test_bytes_and_examples_that_settings_and_partition_do_not_give_are_found(campaign, names, what, check):
    forge(names[0], lambda one: one["provenance"].update({what: one["provenance"][what] + 1}))
    assert standing() == {(check, names[0])}
    shutil.rmtree(campaign / "data/partitions")  # without which nobody knows the clients' sizes
    assert standing() == ({(check, names[0])} if check == "moved" else set())


def test_a_race_that_claims_endless_rounds_is_judged_all_the_same(names):
    forge(names[0], lambda one: one["result"].update(rounds=10**15))
    assert standing() >= {("readings", names[0])}


def test_a_record_of_another_engine_is_worth_a_note_and_no_more(names):
    forge(names[0], lambda one: one["provenance"].update(engine="0" * 64))
    ((subject, says),) = ((subject, says) for subject, says in notes("origin") if "engine" in says)
    assert subject == "1 records"
    assert says.startswith("made by another engine than the one here")
    assert standing() == set()


def test_records_from_uncommitted_sources_are_worth_a_note_that_counts_them(names):
    for name, dirty in zip(names, (True, False), strict=True):
        forge(name, lambda one, dirty=dirty: one["provenance"].update(dirty=dirty))
    (one,) = (finding for finding in findings() if "uncommitted" in finding.says)
    assert (one.check, one.subject, one.note) == ("origin", "1 records", True)
    forge(names[0], lambda one: one["provenance"].update(dirty=False))
    assert findings() == []


def published(names):
    """Makes of the campaign the paper's, made from committed sources and sealed as such."""
    for name in names:
        edit(name, lambda one: one["provenance"].update(dirty=False))
    Path("params/small.yaml").write_text(SMALL.replace("paper: false", "paper: true"))
    Path(MANIFEST).unlink(missing_ok=True)
    seal(())


@pytest.mark.parametrize("dirty", [True, None])
def test_in_the_paper_s_campaign_they_are_a_finding(names, dirty):
    published(names)
    edit(names[0], lambda one: one["provenance"].update(dirty=dirty))
    seal(())
    assert standing(()) == standing() == {("origin", "1 records")}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository in which the sources are said to lie; its first commit."""
    folder = tmp_path / "sources"
    folder.mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    with contextlib.chdir(folder):
        for text in ("first", "second"):
            Path("source.py").write_text(text)
            commit(text)
    return provenance.git("rev-parse", "HEAD~1")


def made_at(names, *commits):
    """Makes of the campaign the paper's, its records made at those commits."""
    published(names)
    for name, its in zip(names, commits, strict=True):
        edit(name, lambda one, its=its: one["provenance"].update(commit=its))
    seal(())


@pytest.mark.parametrize("lost", ["0" * 40, "HEAD", "--all", "HEAD --", "not a commit", ""])
def test_a_commit_that_the_repository_does_not_have_is_found(names, repository, lost):
    made_at(names, repository, repository)
    assert standing(()) == set()
    made_at(names, repository, lost)
    assert standing(()) == {("commits", "1 records")}


def test_a_tree_is_no_commit(names, repository):
    made_at(names, provenance.git("rev-parse", "HEAD^{tree}"), repository)
    assert standing(()) == {("commits", "1 records")}


def test_a_commit_that_is_not_there_is_worth_a_note_elsewhere_than_in_the_paper_s_campaign(names, repository):
    for name in names:
        edit(name, lambda one: one["provenance"].update(commit="0" * 40))
    seal()
    ((subject, _),) = notes("commits")
    assert subject == "2 records" and standing() == set()


def test_without_git_s_whole_history_a_commit_that_is_not_there_is_worth_a_note(
    names, repository, tmp_path, monkeypatch
):
    made_at(names, repository, repository)
    shallow = ["git", "clone", "-q", "--depth", "1", (tmp_path / "sources").as_uri(), tmp_path / "shallow"]
    subprocess.run(shallow, check=True)
    for folder in (tmp_path / "shallow", tmp_path):  # the latter is no repository
        monkeypatch.setattr(provenance, "PACKAGE", folder)
        (one,) = (one for one in findings(()) if one.check == "commits")
        assert one.note and one.subject == "2 records"


def test_what_the_records_of_an_artefact_differ_in_is_worth_a_note(names):
    assert notes("mixed") == []
    forge(names[0], lambda one: one["provenance"].update(engine="0" * 64))
    forge(names[1], lambda one: one["provenance"]["libraries"].update(torch="9.9"))
    here, torch = "the one here", provenance.libraries()["torch"]
    ((subject, says),) = notes("mixed")
    assert subject == "small" and says.startswith("its records differ in engine (")
    assert all(f"{value}: 1" in says for value in ("0" * 12, here, "9.9", torch)) and "numpy" not in says
    assert standing() == set()


@pytest.mark.parametrize("what", ["libraries", "hardware"])
def test_a_provenance_without_form_is_worth_a_note_and_no_crash(names, what):
    of_schema_1 = {"schema": 1}  # which asked for none
    forge(names[0], lambda one: one.update(of_schema_1) or one["provenance"].update({what: "gone"}))
    assert "unknown: 1" in notes("mixed")[0][1]
    assert standing() == set()


# The manifest.


def sealed(change):
    """Rewrites the manifest with the digests, by path, as the change leaves them."""
    digests = dict(manifest.read(Path(MANIFEST)).digests)
    change(digests)
    Path(MANIFEST).write_text(manifest.text(digests))


def test_a_record_altered_by_a_byte_that_changes_nothing_it_says_is_not_as_it_was_sealed(names):
    place = record.path(names[0])
    place.write_bytes(place.read_bytes() + b"\n")
    assert standing() == {("unsealed", names[0])}


def test_a_record_without_a_line_is_unsealed(names):
    sealed(lambda digests: digests.pop(str(record.path(names[0]))))
    assert standing() == {("unsealed", names[0])}


def test_a_line_without_a_record_is_found_though_nothing_declares_it(names):
    sealed(lambda digests: digests.update({"results/cells/digits_2nn/digits_2nn-gone.json": "0" * 64}))
    assert standing() == {("unsealed", "digits_2nn-gone")}


def test_a_line_of_a_record_that_is_declared_no_more_is_no_finding_of_its_own(names):
    stranger = names[0].replace("-E1-", "-E7-")
    edit(names[0], lambda one: record.write(one | {"name": stranger}))
    digest = hashlib.sha256(record.path(stranger).read_bytes()).hexdigest()
    sealed(lambda digests: digests.update({str(record.path(stranger)): digest}))
    assert standing() == {("undeclared", stranger)}


def test_a_line_edited_with_its_record_breaks_the_chain(names):
    place, kept = record.path(names[0]), Path(MANIFEST)
    before = hashlib.sha256(place.read_bytes()).hexdigest()
    place.write_bytes(place.read_bytes() + b"\n")
    kept.write_text(kept.read_text().replace(before, hashlib.sha256(place.read_bytes()).hexdigest()))
    assert standing() == {("unsealed", MANIFEST)}


@pytest.mark.parametrize("text", ["", "# chain\n", "no manifest"])
def test_a_damaged_manifest_and_none_are_findings(text):
    Path(MANIFEST).write_text(text)
    assert standing() == {("unsealed", MANIFEST)}
    Path(MANIFEST).unlink()
    assert standing() == {("unsealed", MANIFEST)}


PAPERS = Path("results/manifests/paper.sha256")


def lock(md5, path=PAPERS):
    """Writes a dvc.lock with that digest of that file."""
    outs = [{"path": "results/cells/other", "md5": "0" * 32}, {"path": str(path), "md5": md5}]
    stages = {"data": {"cmd": "fetch"}, "paper": {"cmd": "snakemake", "outs": outs}}
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def test_a_manifest_that_is_not_as_dvc_lock_has_it_is_found(names):
    published(names)
    lock(hashlib.md5(PAPERS.read_bytes()).hexdigest())
    assert standing(()) == standing() == set()
    lock("0" * 32)
    assert standing(()) == standing() == {("uncommitted", str(PAPERS))}
    (one,) = (one for one in findings(()) if not one.note)
    assert "dvc commit paper" in one.says


def test_dvc_lock_is_asked_of_the_paper_s_manifest_alone():
    lock("0" * 32, MANIFEST)
    assert standing() == set()


def test_a_manifest_that_dvc_lock_does_not_have_is_found(names):
    published(names)
    for path in ("results/manifests/other.sha256", "paper.sha256"):
        lock(hashlib.md5(PAPERS.read_bytes()).hexdigest(), path)
        assert standing(()) == {("uncommitted", str(PAPERS))}
    Path("dvc.lock").write_text("schema: '2.0'\nstages:\n")
    assert standing(()) == {("uncommitted", str(PAPERS))}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> other\n",
        "stages: [paper]\n",
        "stages: {paper: outs}\n",
        "stages: {paper: {outs: 7}}\n",
        "stages: {paper: {outs: [7]}}\n",
        "stages: {paper: {outs: [{path: results/manifests/paper.sha256}]}}\n",
        "stages: 2024-13-45\n",
    ],
    ids=["empty", "conflict", "list", "text", "number", "numbers", "no digest", "no date"],
)
def test_a_damaged_dvc_lock_is_a_finding_and_no_crash(names, text):
    published(names)
    Path("dvc.lock").write_text(text)
    assert standing(()) == {("uncommitted", "dvc.lock")}


def test_that_there_is_no_dvc_lock_is_worth_a_note(names):
    published(names)
    (one,) = (one for one in findings(()) if one.check == "uncommitted")
    assert one.note and one.subject == "dvc.lock"


def test_a_manifest_that_is_not_git_s_is_worth_a_note_that_counts_the_lines(names):
    commit()
    assert notes("uncommitted") == []
    record.path(names[0]).write_bytes(record.path(names[0]).read_bytes() + b"\n")
    sealed(lambda digests: digests.pop(str(record.path(names[0]))))
    seal()
    ((subject, says),) = notes("uncommitted")
    assert subject == MANIFEST and "1 of its lines" in says and "1 of HEAD's" in says
    assert standing() == set()


# Artefacts of the paper, which all of its records seal together.


@pytest.fixture
def two(campaign, names):
    """The names of the cells of the paper's artefacts one and two, each of which has one."""
    published(names)
    (campaign / "params/small.yaml").unlink()
    for name, partition in {"one": "iid", "two": "shards"}.items():
        (campaign / f"params/{name}.yaml").write_text(
            SMALL.replace("[iid, shards]", partition).replace("paper: false", "paper: true")
        )
    for verb in ("table", "figure"):
        main([verb])
    assert standing(()) == standing(("one",)) == standing(("two",)) == set()
    return names


def test_an_artefact_of_the_paper_is_sealed_by_the_paper_s_manifest(two):
    place = record.path(two[1])
    place.write_bytes(place.read_bytes() + b"\n")
    assert standing(()) == standing(("two",)) == {("unsealed", two[1])}
    assert standing(("one",)) == set()
    place.unlink()
    assert ("unsealed", two[1]) in standing(("two",))
    assert standing(("one",)) == set()


def test_no_manifest_of_an_artefact_of_the_paper_launders_what_was_altered(two, capsys):
    before = PAPERS.read_text()
    with pytest.raises(SystemExit):
        main(["manifest", "two"])
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "two" in err and "`python -m fedgrid manifest`" in err
    assert [*PAPERS.parent.iterdir()] == [PAPERS] and PAPERS.read_text() == before


def test_without_it_the_paper_s_manifest_is_asked_for(two):
    PAPERS.unlink()
    (one,) = (one for one in findings(("two",)) if not one.note)
    assert (one.check, one.subject) == ("unsealed", str(PAPERS)) and one.says.endswith("`python -m fedgrid manifest`")


def test_a_replay_of_an_artefact_of_the_paper_is_drawn_by_the_paper_s_chain(two):
    assert replay.sample(campaign_of(["two"])) == [two[1]]
    PAPERS.unlink()
    with pytest.raises(ValueError, match=f"{PAPERS}: no manifest"):
        replay.sample(campaign_of(["two"]))


# Data.


@pytest.mark.parametrize("data", ["there", "gone"])
def test_records_that_contradict_each_other_on_their_data_are_found_without_any(names, data):
    forge(names[0], lambda one: one["provenance"].update(data="0" * 64))
    if data == "gone":
        shutil.rmtree("data")
        assert standing() == {("contradictory", "digits")}
        (one,) = (one for one in findings() if not one.note)
        assert "2 digests of their data" in one.says and "000000000000: 1" in one.says
    else:
        assert standing() == {("contradictory", "digits"), ("data", names[0]), ("partitions", names[0])}


def test_records_that_contradict_each_other_on_a_partition_are_found_without_any(campaign, names):
    (campaign / "params/small.yaml").write_text(SMALL.replace("B: 10", "B: [10, 20]"))
    (other,) = (
        cell.name for cell in artefacts.artefact("small").cells if (cell.settings["partition"], cell.B) == ("iid", 20)
    )
    settings = artefacts.all_cells()[other].recorded
    edit(names[0], lambda one: record.write(one | {"name": other, "settings": settings}))
    shutil.rmtree("data")
    seal()
    assert not {"contradictory", "partitions"} & {check for check, _ in standing()}
    forge(other, lambda one: one["provenance"].update(partition="0" * 64))
    assert ("contradictory", "digits-iid-K50-s0") in standing()
    assert ("contradictory", "digits-shards-K50-s0") not in standing()


def test_what_is_not_there_to_be_compared_is_worth_a_note():
    assert notes("data") == notes("partitions") == []
    (job.PARTITIONS / "digits-shards-K50-s0.npz").unlink()
    assert notes("partitions") == [("data/partitions", "not there to be compared: digits-shards-K50-s0")]
    shutil.rmtree("data")
    assert notes("data") == [("data/raw", "not there to be compared: digits")]
    assert notes("partitions") == [
        ("data/partitions", "not there to be compared: digits-iid-K50-s0, digits-shards-K50-s0")
    ]


def test_raw_data_that_are_not_the_pinned_ones_are_found():
    place = job.RAW / "digits/digits.npz"
    with np.load(place) as arrays:
        other = dict(arrays)
    np.savez_compressed(place, **other)  # another file of the same arrays
    assert standing() == set()
    other["x"][0, 0] += 1
    np.savez(place, **other)
    assert standing() == {("data", str(place))}


def test_raw_data_that_are_cut_short_are_found():
    place = job.RAW / "digits/digits.npz"
    place.write_bytes(place.read_bytes()[:1000])
    assert standing() == {("data", str(place))}


def test_a_record_and_a_partition_of_other_data_than_the_raw_ones_are_found(names):
    place = job.PARTITIONS / "digits-iid-K50-s0.npz"
    with np.load(place) as arrays:
        other = dict(arrays) | {"data": np.array("0" * 64)}
    np.savez(place, **other)
    forge(names[0], lambda one: one["provenance"].update(data="0" * 64))
    contradiction = ("contradictory", "digits")
    assert standing() == {("data", names[0]), contradiction}
    (job.RAW / "digits/digits.npz").unlink()
    assert standing() == {contradiction}


# Learning rates.


def largest_is_best(one):
    """Makes of a record one whose best rate is the largest of its grid, with a result that says so."""
    rates = one["curves"]["rates"]
    rates[1]["lr"], rates[2]["lr"] = rates[2]["lr"], rates[1]["lr"]
    one["curves"]["rates"] = [rates[0], rates[2], rates[1]]
    one["result"].update(best_lr=2.15, best_lr_at_grid_end=True)


def test_a_best_rate_at_the_end_of_its_grid_is_found(names):
    forge(names[0], largest_is_best)
    main(["table", "small"])
    main(["figure", "small"])
    assert standing() == {("edges", names[0])}


def test_of_rates_that_are_drawn_each_by_itself_none_is_the_best(names):
    forge(names[0], largest_is_best)
    small = artefacts.artefact("small")
    each = replace(small, table=None, figure=small.figure | {"lines": "each"})
    assert [one.subject for one in edges(audit.Campaign((small,)))] == [names[0]]
    assert list(edges(audit.Campaign((each,)))) == []


def test_a_rate_alone_is_no_grid(names):
    small = artefacts.artefact("small")
    alone = replace(small.cells[0], lr=(0.464,))

    def change(one):
        one["curves"]["rates"] = one["curves"]["rates"][1:2]
        one["result"].update(best_lr=0.464, best_lr_at_grid_end=True)
        record.write(one | {"name": alone.name, "settings": alone.recorded})

    edit(names[0], change)
    campaign = audit.Campaign((replace(small, cells=(alone,)),))
    assert campaign.records.keys() == {alone.name}
    assert list(edges(campaign)) == []


# The paper's numbers.


def test_what_is_printed_is_told_beside_what_is_measured(names):
    """Ours: 2 rounds by hand-made curves, and the envelope 0.2, 0.5 (IID); the other cell never reaches its target."""

    def change(one):
        for rate, accuracy in zip(one["curves"]["rates"], ([0.1, 0.1], [0.2, 0.5], [0.1, 0.1]), strict=True):
            rate["test_accuracy"] = accuracy
        one["result"].update(rounds_to_target={"0.5": 2.0}, best_accuracy=0.5)

    forge(names[0], change)
    printed = {
        "small": [
            {"partition": "iid", "rounds": 8, "points": [[0, 0.1], [2, 0.5], [3, 0.9]]},
            {"partition": "shards", "rounds": 5},
        ]
    }
    Path("params/paper.yaml").write_text(yaml.safe_dump(printed))
    assert notes("printed") == [
        (
            "small",
            "1 of 2 printed rounds measured: ours/paper 0.25 to 0.25, median 0.25; "
            "1 of 1 printed curves measured: ours/paper 0.67 to 1.00, median 0.83",
        )
    ]


def test_where_the_paper_prints_nothing_there_is_nothing_to_tell():
    assert notes("printed") == []


def test_the_verb_prints_what_it_found_keeps_it_as_json_and_fails_where_a_finding_stands(names, capsys):
    main(["audit", "small"])
    assert re.search(r"^audit: 2 records, \d+ checks, 0 findings, \d notes$", capsys.readouterr().out, re.MULTILINE)
    kept = Path("results/audit/small.json")
    assert json.loads(kept.read_text())["records"] == 2
    Path("results/tables/small.md").unlink()
    with pytest.raises(SystemExit) as caught:
        main(["audit", "small"])
    assert caught.value.code == 1
    out = capsys.readouterr().out
    assert "FINDING stale: results/tables/small.md: not made yet\n" in out and "1 findings (1 stale), " in out
    (one,) = (one for one in json.loads(kept.read_text())["findings"] if not one["note"])
    assert one == {"check": "stale", "subject": "results/tables/small.md", "says": "not made yet", "note": False}


def test_the_page_is_the_same_whatever_dvc_and_git_have_and_whether_data_are_there(names):
    def page():
        main(["report"])
        return Path("results/report.html").read_bytes()

    published(names)
    lock("0" * 32)
    before = page()
    assert ("uncommitted", str(PAPERS)) in standing(()) and b"missing" not in before
    lock(hashlib.md5(PAPERS.read_bytes()).hexdigest())
    assert page() == before
    commit()
    shutil.rmtree("data")
    Path("dvc.lock").unlink()
    assert page() == before
    record.path(names[0]).write_bytes(record.path(names[0]).read_bytes() + b"\n")
    assert page() != before


def test_an_audit_changes_nothing(campaign):
    def state():
        return {
            place: (place.read_bytes(), place.stat().st_mtime_ns) for place in campaign.rglob("*") if place.is_file()
        }

    before = state()
    findings()
    assert state() == before
