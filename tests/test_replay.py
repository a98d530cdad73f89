"""A replay finds again what was trained here, bit for bit, and finds what was not, however well it is sealed."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from fedgrid import audit
from fedgrid.__main__ import main
from fedgrid.audit import manifest, replay
from fedgrid.commands import campaign as campaign_of
from fedgrid.grid import artefacts
from fedgrid.results import replays, summary
from fedgrid.run import record, sources
from tests.campaigns import AVERAGED, ROOT, SMALL, edit, make

ACCURACY, LOSS = replay.TOLERANCE["accuracy"], replay.TOLERANCE["loss"]
KEYS = {"accuracy": "test_accuracy", "loss": "test_loss"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a campaign of two races and one of an average, run and sealed."""
    return make(tmp_path_factory.mktemp("campaign"), small=SMALL, averaged=AVERAGED)


@pytest.fixture(autouse=True)
def folder(whole, tmp_path, monkeypatch):
    """The working directory, with a copy of the records to damage; data and params are the same."""
    monkeypatch.chdir(tmp_path)
    for name in ("data", "params"):
        Path(name).symlink_to(whole / name)
    for path in (whole / "results").rglob("*"):
        if path.suffix in (".json", ".sha256"):
            copied = Path("results") / path.relative_to(whole / "results")
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture
def name():
    """The IID race, whose best rate is the second of three."""
    return artefacts.artefact("small").cells[0].name


def found(artefact="small"):
    """Each replayed cell's finding, by its name."""
    campaign = campaign_of([artefact])
    return {name: replay.replay(campaign, name) for name in replay.sample(campaign)}


def standing(artefact="small"):
    return {name for name, finding in found(artefact).items() if not finding.note}


def forge(name, change, artefact="small"):
    """Edits the record and seals it anew: its manifest is as good as any."""
    edit(name, change)
    main(["manifest", artefact])


def added(key, by, rate=1, point=0):
    """A change of a record that adds so much to a point of a rate's curve."""

    def change(one):
        one["curves"]["rates"][rate][KEYS[key]][point] += by

    return change


def from_elsewhere(one):
    """Makes of a record one of another engine."""
    one["provenance"]["engine"] = "0" * 64


def other_weights(i):
    """A change of a record that exchanges the digest of a rate's weights at its i-th evaluated round."""
    return lambda one: one["curves"]["rates"][1]["weights"].__setitem__(i, "0" * 16)


def test_a_replay_says_up_to_which_round_the_weights_are_the_record_s(name):
    assert found()[name].says.endswith("; the weights are the same up to round 2")
    for i, proven in ((1, 1), (0, 0)):
        forge(name, other_weights(i))
        finding = found()[name]
        assert not finding.note and finding.says.endswith(f"; the weights are the same up to round {proven}")


def test_weights_are_compared_wherever_the_record_was_made(name):
    forge(name, lambda one: (from_elsewhere(one), other_weights(1)(one)))
    finding = found()[name]
    assert finding.note and "near enough" in finding.says and finding.says.endswith("same up to round 1")


def test_a_record_of_schema_1_is_replayed_by_its_curves_alone(name):
    def old(one):
        one["schema"] = 1
        for rate in one["curves"]["rates"]:
            del rate["weights"]

    forge(name, old)
    finding = found()[name]
    assert finding.note and "same bits" in finding.says and "weights" not in finding.says


@pytest.mark.parametrize("artefact, cells", [("small", 2), ("averaged", 1)])
def test_what_was_trained_here_begins_with_the_same_bits(artefact, cells):
    findings = found(artefact)
    assert len(findings) == cells and all(one.note for one in findings.values())
    assert all("with the same bits; made with the same engine" in one.says for one in findings.values())


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("rate", range(3))
@pytest.mark.parametrize("point", range(replay.ROUNDS))
def test_a_curve_that_differs_by_the_last_bit_is_found(name, key, rate, point):
    def change(one):
        curve = one["curves"]["rates"][rate][KEYS[key]]
        curve[point] = math.nextafter(curve[point], 9)

    forge(name, change)
    assert standing() == {name}


def test_a_rate_that_did_not_diverge_then_is_found(name):
    forge(name, lambda one: one["curves"]["rates"][0].update(diverged=1))
    assert standing() == {name}


def test_a_rate_that_was_pruned_later_is_no_difference_and_one_that_was_not_pruned_then_is_found(name):
    forge(name, lambda one: one["curves"]["rates"][0].update(pruned=replay.ROUNDS + 1))
    assert standing() == set()
    forge(name, lambda one: one["curves"]["rates"][0].update(pruned=replay.ROUNDS))
    assert standing() == {name}


@pytest.mark.parametrize("key", ["train_loss", "parents"])
def test_an_average_that_differs_by_the_last_bit_is_found(key):
    (cell,) = artefacts.artefact("averaged").cells

    def change(one):
        one["curves"][key][-1] = math.nextafter(one["curves"][key][-1], 9)

    forge(cell.name, change, "averaged")
    assert standing("averaged") == {cell.name}


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["curves"].update(rates=[]),
        lambda one: one["curves"]["rates"].pop(),
        lambda one: one["curves"].update(rounds=[2, 3]),
        lambda one: one["curves"]["rates"][0].update(test_loss=[None, 1.0]),
        lambda one: [rate.update({key: [] for key in (*KEYS.values(), "weights")}) for rate in one["curves"]["rates"]],
    ],
    ids=["no rate", "a rate less", "other rounds", "overflowed", "no value"],
)
@pytest.mark.parametrize("where", [lambda one: None, from_elsewhere], ids=["here", "elsewhere"])
def test_curves_that_the_cell_does_not_give_are_a_finding_and_no_crash(name, change, where):
    def both(one):
        change(one)
        where(one)

    forge(name, both)
    assert standing() == {name}


def test_averages_without_values_are_a_finding_and_no_crash():
    (cell,) = artefacts.artefact("averaged").cells
    forge(cell.name, lambda one: one["curves"].update(theta=[], train_loss=[]), "averaged")
    assert standing("averaged") == {cell.name}


def test_a_damaged_record_is_no_record_left_out(name, capsys):
    forge(name, lambda one: one.update(curves={}))
    with pytest.raises(SystemExit):
        main(["replay", "small"])
    assert f"FINDING damaged: {name}: " in capsys.readouterr().out


def test_curves_from_elsewhere_with_the_same_bits_say_so(name):
    forge(name, from_elsewhere)
    assert "with the same bits; made with another engine" in found()[name].says
    assert standing() == set()


@pytest.mark.parametrize("key, most", [("accuracy", ACCURACY), ("loss", LOSS)])
@pytest.mark.parametrize("factor", [0.5, 2])
def test_curves_from_elsewhere_are_held_to_the_tolerance(name, key, most, factor):
    def change(one):
        from_elsewhere(one)
        value = one["curves"]["rates"][0][KEYS[key]][0]
        added(key, factor * most * (value if key == "loss" else 1), rate=0)(one)

    forge(name, change)
    assert standing() == ({name} if factor > 1 else set())
    assert f"{key} differs by " in found()[name].says and "made with another engine" in found()[name].says


@pytest.mark.parametrize("rate, point", [(0, 1), (1, 0), (2, 0)], ids=["a later round", "the best rate", "one above"])
def test_what_roundings_decide_elsewhere_is_not_compared_there(name, rate, point):
    def change(one):
        from_elsewhere(one)
        added("loss", 9.0, rate, point)(one)

    forge(name, change)
    assert standing() == set()


def test_where_the_smallest_rate_is_the_best_it_is_compared(name):
    def change(one):
        from_elsewhere(one)
        one["curves"]["rates"][0]["test_accuracy"] = [0.7, 0.7]

    forge(name, change)
    assert standing() == {name}


def test_averages_from_elsewhere_are_held_to_the_tolerance_of_a_loss():
    (cell,) = artefacts.artefact("averaged").cells
    for factor, expected in ((1 + LOSS / 2, set()), (1 + 2 * LOSS, {cell.name})):

        def change(one, factor=factor):
            from_elsewhere(one)
            one["curves"]["parents"][0] *= factor

        forge(cell.name, change, "averaged")
        assert standing("averaged") == expected


@pytest.mark.parametrize(
    "section, key",
    [("libraries", "torch"), ("hardware", "device"), ("hardware", "processor"), ("hardware", "instructions")],
)
def test_torch_and_machine_decide_the_bits_too(name, section, key):
    forge(name, lambda one: one["provenance"][section].update({key: "another"}))
    assert "made with another" in found()[name].says


@pytest.mark.parametrize("key", ["cores", "threads"])
def test_cores_and_threads_decide_nothing(name, key):
    forge(name, lambda one: one["provenance"]["hardware"].update({key: 99}))
    assert "made with the same engine" in found()[name].says


def test_the_sample_is_the_same_for_everyone_and_known_only_once_the_records_are_sealed(name, monkeypatch):
    monkeypatch.setattr(replay, "SAMPLE", 1)
    seen = {}
    for seconds in range(12):
        forge(name, lambda one, seconds=seconds: one["provenance"].update(seconds=seconds))
        chain = manifest.read(manifest.path("small")).chain
        seen[chain] = replay.sample(campaign_of(["small"]))
        assert replay.sample(campaign_of(["small"])) == seen[chain]
    assert len(seen) == 12 and {len(names) for names in seen.values()} == {1}
    assert len({names[0] for names in seen.values()}) == 2


def test_a_written_chain_that_is_not_that_of_the_lines_chooses_nothing(name, monkeypatch):
    monkeypatch.setattr(replay, "SAMPLE", 1)
    place, before = manifest.path("small"), replay.sample(campaign_of(["small"]))
    for digit in "0123456789":
        place.write_text(f"# chain {digit * 64}\n" + place.read_text().partition("\n")[2])
        assert replay.sample(campaign_of(["small"])) == before


# By hand: m·n_k·E·rates examples a round, of 0.88 (2NN) and 72.4 (CNN) MFLOP each, in 10^12: 0.63, 1.74, 8.7; the CNN's
# loss over 60,000 training examples at 4 rates, of 24.5 MFLOP each, costs 5.9 more.
@pytest.mark.parametrize(
    "artefact, settings, expected",
    [
        ("table4", {"partition": "iid", "E": 20, "B": 10.0}, 2),
        ("table2", {"partition": "iid", "E": 1, "B": 10.0}, 1),
        ("table2", {"partition": "iid", "E": 5, "B": 10.0}, 0),
        ("figure6", {"partition": "iid", "E": 1, "B": 10.0}, 0),
        ("table3", {"E": 5, "B": 50.0}, 0),  # first evaluated in round 10
        ("figure1", {"seed": 0}, 1),
    ],
)
def test_a_replay_runs_as_many_first_rounds_as_it_can_afford(monkeypatch, artefact, settings, expected):
    monkeypatch.chdir(ROOT)
    cells = artefacts.artefact(artefact).cells
    cell = next(cell for cell in cells if settings.items() <= cell.settings.items())
    assert replay.rounds(cell) == expected


def test_records_that_are_too_dear_are_told_and_not_chosen(monkeypatch):
    monkeypatch.setattr(replay, "BUDGET", 1.0)
    campaign = campaign_of(["small"])
    assert replay.sample(campaign) == []
    (one,) = replay.left_out(campaign)
    assert (one.check, one.subject, one.note) == ("replay", "2 records", True) and "digits_2nn" in one.says


def test_the_verb_prints_what_it_found_keeps_it_as_json_and_fails_where_a_finding_stands(name, capsys):
    kept = Path("results/audit/small-replay.json")
    main(["replay", "small"])
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "replay: 2 of 2 records, 0 findings, 2 notes" and name in err
    assert json.loads(kept.read_text())["records"] == 2
    forge(name, added("loss", 0.1))
    with pytest.raises(SystemExit) as caught:
        main(["replay", "small"])
    assert caught.value.code == 1
    assert f"FINDING replay: {name}: run again, its curves begin otherwise" in capsys.readouterr().out
    assert [one["subject"] for one in json.loads(kept.read_text())["findings"] if not one["note"]] == [name]


@pytest.mark.parametrize("place", ["results/manifests/small.sha256", "data"])
def test_without_manifest_or_data_the_verb_says_how_to_have_them(capsys, place):
    Path(place).unlink()
    replay.load_data.cache_clear()
    with pytest.raises(SystemExit) as caught:
        main(["replay", "small"])
    err = capsys.readouterr().err.splitlines()
    assert caught.value.code == 1 and place in err[-1] and "`python -m fedgrid " in err[-1]
    assert not Path("results/audit/small-replay.json").exists()


def test_a_cell_that_ends_before_its_first_rounds_are_over_is_replayed_to_its_end(name):
    campaign = campaign_of(["small"])
    cell = replace(campaign.cells[name], targets=(0.3,))
    assert record.read(record.path(name))["curves"]["rounds"] == [1, 2]
    assert replay.again(cell, replay.rounds(cell))["rounds"] == [1]


# All records, and what is kept of it.

KEPT = Path("results/replays/small.json")


def told(capsys, *names):
    """The lines that `replay --all` prints."""
    main(["replay", "--all", *(names or ("small",))])
    return capsys.readouterr().out.splitlines()


def origin():
    """What the audit says of the engines that made the records: subject, text, and whether it is a note."""
    found = audit.origin(campaign_of(["small"]))
    return {(one.subject, one.says, one.note) for one in found if "uncommitted" not in one.says}


def elsewhere(one, **more):
    """The replay, as another machine had it."""
    return replace(one, machine=dict(one.machine) | {"processor": "another"}, **more)


def test_every_record_is_run_again_and_what_it_gave_is_kept_with_what_it_speaks_for(name, capsys):
    *lines, last = told(capsys)
    cells = campaign_of(["small"]).cells
    assert sorted(lines) == sorted(f"{one}: same bits" for one in cells)
    assert last == f"{KEPT}: 2 of 2 records were made by the engine at HEAD."
    kept = {one.name: one for one in replays.read(KEPT)}
    assert kept.keys() == cells.keys()
    assert kept[name].engine == sources.digest(cells[name]) == record.read(record.path(name))["provenance"]["engine"]
    assert kept[name].record == hashlib.sha256(record.path(name).read_bytes()).hexdigest()
    assert kept[name].machine == replay.machine_here(cells[name]) and kept[name].differs == {}
    assert KEPT.read_text() == replays.text(kept.values())


def test_an_average_is_run_again_too(capsys):
    (cell,) = artefacts.artefact("averaged").cells
    assert told(capsys, "averaged")[0] == f"{cell.name}: same bits"


def test_what_was_run_again_is_not_run_once_more(name, capsys, monkeypatch):
    told(capsys)
    before = KEPT.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(replay, "again", None)
        assert len(told(capsys)) == 1
    assert KEPT.read_bytes() == before


@pytest.mark.parametrize("change", ["record", "engine", "machine"])
def test_another_record_engine_or_machine_is_run_again_and_only_there(name, capsys, monkeypatch, change):
    told(capsys)
    first = {one.name: one for one in replays.read(KEPT)}
    if change == "record":
        edit(name, lambda one: one["provenance"].update(seconds=99.0))
    else:
        other = elsewhere(first[name]) if change == "machine" else replace(first[name], engine="0" * 64)
        KEPT.write_text(replays.text([other, *(one for one in first.values() if one.name != name)]))
    assert told(capsys)[0] == f"{name}: same bits"
    now = [one for one in replays.read(KEPT) if one.name == name]
    assert len(now) == (2 if change == "machine" else 1) and (first[name] in now) == (change != "record")


def test_it_goes_on_where_it_was_killed(name, capsys, monkeypatch):
    proof, done = replay.proof, []

    def killed(campaign, name):
        if done:
            raise KeyboardInterrupt
        done.append(name)
        return proof(campaign, name)

    with monkeypatch.context() as patch:
        patch.setattr(replay, "proof", killed)
        with pytest.raises(KeyboardInterrupt):
            told(capsys)
    assert [one.name for one in replays.read(KEPT)] == done
    capsys.readouterr()
    *lines, _ = told(capsys)
    assert len(lines) == 1 and done[0] not in lines[0]


def test_what_cannot_be_run_is_told_and_not_kept(name, capsys):
    Path("data").unlink()
    Path("data").mkdir()
    replay.load_data.cache_clear()
    *lines, _ = told(capsys)
    assert len(lines) == 2 and all(": not tried: data/raw/digits" in line for line in lines)
    assert not KEPT.exists()


def test_more_is_paid_for_a_first_round_than_for_the_sample_s_and_not_any_price(name, monkeypatch):
    campaign = campaign_of(["small"])
    cell = campaign.cells[name]
    cost = 3 * 5 * 30 * cell.model.flops  # of a round: rates, clients, examples of each
    for budget, sampled, all_of_them in ((2, 2, 2), (1, 1, 1), (0.9, 0, 1), (0.11, 0, 1), (0.09, 0, 0)):
        monkeypatch.setattr(replay, "BUDGET", budget * cost)
        assert (replay.rounds(cell), replay.rounds(cell, replay.PATIENCE)) == (sampled, all_of_them)
        assert (name in replay.affordable(campaign)) == (all_of_them > 0)


def test_the_first_evaluated_round_may_be_a_later_one(name):
    cell = replace(campaign_of(["small"]).cells[name], evaluate="cifar", rounds=100)
    assert replay.rounds(cell) == 20


def test_records_of_another_engine_that_begin_with_the_same_bits_say_so(name, capsys):
    edit(name, from_elsewhere)
    made = "made by another engine than the one here; run again"
    none = f"{made}, 0 of 1 records start with the same bits at HEAD, the rest not tried"
    assert origin() == {("1 records", none, True)}
    *_, last = told(capsys)
    assert last.endswith(
        "1 of 2 records were made by the engine at HEAD; 1 of 1 others start with the same bits at HEAD."
    )
    assert origin() == {("1 records", f"{made}, 1 of 1 records start with the same bits at HEAD", True)}


@pytest.mark.parametrize("factor, found", [(0.5, "to a tolerance"), (2, "otherwise")])
def test_what_differs_is_measured_and_beyond_a_tolerance_it_is_otherwise(name, capsys, factor, found):
    def change(one):
        from_elsewhere(one)
        added("loss", factor * LOSS * one["curves"]["rates"][0]["test_loss"][0], rate=0)(one)

    edit(name, change)
    assert any(line.startswith(f"{name}: {found} (accuracy differs by 0, loss differs by ") for line in told(capsys))
    (one,) = (one for one in replays.read(KEPT) if one.name == name)
    assert one.found == found and one.differs["loss"] == pytest.approx(factor * LOSS, rel=0.05)
    assert any(f"0 of 1 records start with the same bits at HEAD, 1 {found}" in says for _, says, _ in origin())
    assert [subject for subject, _, note in origin() if not note] == [name] * (found == "otherwise")


def test_curves_that_the_cell_does_not_give_are_otherwise(name, capsys):
    edit(name, lambda one: one["curves"].update(rounds=[2, 3]))
    assert f"{name}: otherwise (accuracy differs by no value, loss differs by no value)" in told(capsys)
    assert {(subject, note) for subject, _, note in origin()} == {(name, False)}


def test_a_last_bit_by_the_same_engine_on_the_same_machine_is_otherwise(name, capsys):
    def change(one):
        curve = one["curves"]["rates"][0]["test_loss"]
        curve[0] = math.nextafter(curve[0], 9)

    edit(name, change)
    told(capsys)
    assert {(subject, note) for subject, _, note in origin()} == {(name, False)}


def test_otherwise_on_another_machine_is_counted_and_no_finding_and_the_best_replay_counts(name, capsys):
    told(capsys)
    edit(name, from_elsewhere)
    told(capsys)
    same = next(one for one in replays.read(KEPT) if one.name == name)
    other = elsewhere(same, found="otherwise", differs={"accuracy": 0.5, "loss": None})
    KEPT.write_text(replays.text([other]))
    ((_, says, note),) = origin()
    assert note and says.endswith("0 of 1 records start with the same bits at HEAD, 1 otherwise")
    KEPT.write_text(replays.text([other, same]))
    ((_, says, note),) = origin()
    assert note and says.endswith("1 of 1 records start with the same bits at HEAD")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-3],
        lambda text: "[]",
        lambda text: text.replace('"found": "same bits"', '"found": "the same"', 1),
        lambda text: text.replace('"found"', '"lost"', 1),
        lambda text: text.replace('"device"', '"gadget"', 1),
        lambda text: text.replace('"differs": {}', '"differs": {"loss": "much"}', 1),
        lambda text: text.replace('"differs"', '"more": 1, "differs"', 1),
    ],
)
def test_damaged_replays_are_one_line_and_a_finding(capsys, damage):
    told(capsys)
    KEPT.write_text(damage(KEPT.read_text()))
    with pytest.raises(SystemExit) as caught:
        main(["replay", "--all", "small"])
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 1 and line.startswith(f"fedgrid replay: {KEPT}: damaged replays: ")
    assert [(subject, note) for subject, _, note in origin()] == [(str(KEPT), False)]


def test_what_replays_say_is_written_between_its_marks():
    found = ["same bits"] * 3 + ["to a tolerance"] * 2 + ["otherwise", None]
    says = replays.summary(9, found)
    assert says == (
        "2 of 9 records were made by the engine at HEAD; "
        "3 of 7 others start with the same bits at HEAD, 2 to a tolerance, 1 otherwise, the rest not tried."
    )
    text = "a\n<!-- replays -->\nold\n<!-- /replays -->\nb\n"
    assert summary.readme(text, [], {}, says) == f"a\n<!-- replays -->\n\n{says}\n\n<!-- /replays -->\nb\n"
    assert summary.readme("<!-- replays --> and no end\n", [], {}, says) == "<!-- replays --> and no end\n"
