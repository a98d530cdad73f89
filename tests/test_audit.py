"""A whole small campaign, really run, has no standing finding; damaged in one way, it has the findings of that way.

What a damage does to a record, it does to the tables and figures that show the record: those are then stale too.
"""

import contextlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from fedgrid import artefacts, audit, job, provenance, record
from fedgrid.__main__ import main

ROOT = Path(__file__).parents[1]
SMALL = """
title: "Small"
cells: {task: digits_2nn, partition: [iid, shards], K: 50, C: 0.1, E: 1, targets: [0.5], rounds: 3, lr: [0.1, 0.464]}
grid: [{B: 10}]
table: {rows: [B], columns: [partition], baseline: {B: inf}}
figure: {kind: curves, y: test_accuracy, lines: best, x: rounds, panels: [partition], range: {x: [0, 3], y: [0.0, 1.0]}}
"""
MADE = {f"results/tables/small.{suffix}" for suffix in ("csv", "md", "tex")} | {
    f"results/figures/small.{suffix}" for suffix in ("csv", "pdf", "svg", "png")
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a campaign of two cells, run, and its tables and figures."""
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "params").mkdir()
    (folder / "params/small.yaml").write_text(SMALL)
    for name in ("paper", "datasets"):
        shutil.copy(ROOT / f"params/{name}.yaml", folder / "params")
    with contextlib.chdir(folder):
        main(["fetch", "digits"])
        main(["partition", "digits-iid-K50-s0", "digits-shards-K50-s0"])
        main(["run", *(cell.name for cell in artefacts.artefact("small").cells)])
        main(["table", "small"])
        main(["figure", "small"])
    return folder


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


def findings():
    """Every finding, as the verb has it."""
    small = (artefacts.artefact("small"),)
    return audit.audit(audit.Campaign(small, declared=frozenset(artefacts.all_cells())))


def standing():
    """Check and subject of each finding that stands."""
    return {(one.check, one.subject) for one in findings() if not one.note}


def stale(files=MADE):
    return {("stale", file) for file in files}


def edit(name, change):
    """Rewrites the record of that name as the change leaves it."""
    place = record.path(name)
    one = json.loads(place.read_text())
    change(one)
    place.write_text(json.dumps(one, indent=1) + "\n")


def test_a_whole_campaign_has_no_standing_finding(names):
    assert standing() == set()
    assert sorted(place.stem for place in Path("results/cells").rglob("*.json")) == sorted(names)
    assert {str(place) for folder in ("tables", "figures") for place in Path("results", folder).iterdir()} == MADE


def test_a_deleted_record_is_missing(names):
    record.path(names[0]).unlink()
    assert standing() == {("missing", names[0])} | stale()


@pytest.mark.parametrize("size", [0, 1, 500, -2])
def test_a_truncated_record_is_damaged(names, size):
    place = record.path(names[0])
    place.write_bytes(place.read_bytes()[:size])
    assert standing() == {("damaged", names[0])}


@pytest.mark.parametrize("section", [*record.SECTIONS, "name", "schema"])
def test_a_record_without_one_of_its_parts_is_damaged(names, section):
    edit(names[0], lambda one: one.pop(section))
    assert standing() == {("damaged", names[0])}


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["result"].clear(),
        lambda one: one["curves"].clear(),
        lambda one: one["result"].update(rounds_to_target={"0.9": 2.0}),
        lambda one: one["curves"].update(rates=[{}]),
    ],
    ids=["no result", "no curves", "another target", "no rate"],
)
def test_a_record_that_no_table_or_figure_can_be_made_of_is_a_finding_and_no_crash(names, change):
    edit(names[0], change)
    assert names[0] in {subject for _, subject in standing()}


@pytest.mark.parametrize("key, value", [("C", 0.2), ("lr", [0.1]), ("seed", 1), ("B", "inf"), ("momentum", 0.9)])
def test_edited_settings_are_found(names, key, value):
    edit(names[0], lambda one: one["settings"].update({key: value}))
    assert standing() == {("settings", names[0])}


def test_a_renamed_record_is_missing_and_undeclared(names):
    new = names[0].replace("-s0-", "-s1-")
    place = record.path(names[0])
    place.rename(place.with_stem(new))
    assert standing() == {("missing", names[0]), ("undeclared", new)} | stale()


def test_a_record_under_another_cell_s_name_is_damaged(names):
    record.path(names[0]).replace(record.path(names[1]))
    assert standing() == {("missing", names[0]), ("damaged", names[1])}


def test_a_record_that_no_artefact_declares_is_found(names):
    stranger = names[0].replace("-E1-", "-E7-")
    edit(names[0], lambda one: record.write(one | {"name": stranger}))
    assert standing() == {("undeclared", stranger)}


def test_a_record_that_another_artefact_declares_is_at_home(campaign, names):
    (campaign / "params/other.yaml").write_text(SMALL.replace("B: 10", "B: 20"))
    other = artefacts.artefact("other").cells[0]
    edit(names[0], lambda one: record.write(one | {"name": other.name}))
    assert standing() == set()
    (campaign / "params/other.yaml").unlink()
    assert standing() == {("undeclared", other.name)}


def redrawn(kind, seed):
    """Puts the partition of another seed where that of seed 0 stood."""
    data = job.load_data("digits")
    job.write_partition(job.draw_partition(data, kind, 50, seed), data, job.PARTITIONS / f"digits-{kind}-K50-s0.npz")


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


def test_every_edited_file_is_stale():
    for file in MADE:
        edited(file)
    assert standing() == stale()


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["curves"]["rates"][0].update(test_accuracy=[0.9, 0.9, 0.9]),
        lambda one: one["result"].update(rounds_to_target={"0.5": 1.5}),
        lambda one: one["result"].update(best_lr=0.1),
        lambda one: one["result"].update(best_lr_at_grid_end=False),  # of two rates, either ends the grid
    ],
    ids=["curve", "rounds", "rate", "mark"],
)
def test_a_result_that_its_curves_do_not_give_is_found_even_where_tables_were_made_of_it(names, change):
    edit(names[0], change)
    assert standing() != set()
    main(["table", "small"])
    main(["figure", "small"])
    assert {subject for _, subject in standing()} == {names[0]}


def test_a_record_of_another_engine_is_worth_a_note_and_no_more(names):
    before = set(findings())
    edit(names[0], lambda one: one["provenance"].update(engine="0" * 64))
    (one,) = set(findings()) - before
    assert (one.check, one.subject, one.note) == ("origin", "1 records", True)
    assert "000000000000" in one.says and provenance.engine_digest()[:12] in one.says
    assert before <= set(findings()) and standing() == set()


def test_records_from_uncommitted_sources_are_worth_a_note_that_counts_them(names):
    for name, dirty in zip(names, (True, False), strict=True):
        edit(name, lambda one, dirty=dirty: one["provenance"].update(dirty=dirty))
    (one,) = (finding for finding in findings() if "uncommitted" in finding.says)
    assert (one.check, one.subject, one.note) == ("origin", "1 records", True)
    edit(names[0], lambda one: one["provenance"].update(dirty=False))
    assert findings() == []


def test_the_verb_prints_what_it_found_keeps_it_as_json_and_fails_where_a_finding_stands(names, capsys):
    main(["audit", "small"])
    assert re.search(r"^audit: 2 records, \d+ checks, 0 findings, \d notes$", capsys.readouterr().out, re.MULTILINE)
    kept = Path("results/audit/small.json")
    assert json.loads(kept.read_text())["records"] == 2
    Path("results/tables/small.md").unlink()
    with pytest.raises(SystemExit) as caught:
        main(["audit", "small"])
    assert caught.value.code == 1
    assert "FINDING stale: results/tables/small.md: not made yet\n" in capsys.readouterr().out
    (one,) = (one for one in json.loads(kept.read_text())["findings"] if not one["note"])
    assert one == {"check": "stale", "subject": "results/tables/small.md", "says": "not made yet", "note": False}


def test_an_audit_changes_nothing(campaign):
    def state():
        return {
            place: (place.read_bytes(), place.stat().st_mtime_ns) for place in campaign.rglob("*") if place.is_file()
        }

    before = state()
    findings()
    assert state() == before
