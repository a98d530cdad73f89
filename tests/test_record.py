"""Laws of records and of files that are whole or not there; the full disk is the kernel's, not a mock's."""

import copy
import functools
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedgrid import files
from fedgrid.run import record
from tests import handmade

TEXT = "diff --git a/src/fedgrid/rng.py b/src/fedgrid/rng.py\n"
# All that a record of schema 2 tells of its origin, and what of it a race tells besides.
ORIGIN = handmade.ORIGIN | {
    "dirty": True,
    "patch": hashlib.sha256(TEXT.encode()).hexdigest(),
    "examples": 1200,
    "hardware": {"device": "cpu", "processor": "Z80", "instructions": "none", "cores": None, "threads": 1},
    "peak_memory_bytes": {"host": 10**9, "device": None},
    "requested": {"cpus": 1, "gpus": None, "memory_mb": 4000, "seconds": None},
}
RACED = {"test_examples": 297, "bytes_down": 800, "bytes_up": 800}
NAME = "digits_2nn-iid-C0.1-E1-B10-s0-0123456789"
RECORD = {
    "schema": record.SCHEMA,
    "name": NAME,
    "settings": {"C": 0.1, "B": "inf", "lr": [0.1, 0.2], "targets": [0.97], "rounds": 2, "train_loss": True},
    "curves": {
        "rounds": [1, 2],
        "rates": [
            {
                "lr": 0.1,
                "test_accuracy": [0.1, 1 / 3],
                "test_loss": [2, None],
                "train_loss": [None, 1.5],
                "weights": ["0123456789abcdef", "fedcba9876543210"],
                "diverged": None,
            },
            {
                "lr": 0.2,
                "test_accuracy": [0.1],
                "test_loss": [9.5],
                "train_loss": [1e300],
                "weights": ["0" * 16],
                "diverged": 2,
            },
        ],
    },
    "result": {
        "ended": "horizon",
        "rounds": 2,
        "rounds_to_target": {"0.97": None},
        "best_accuracy": 1 / 3,
        "best_lr": 0.1,
        "best_lr_at_grid_end": True,
    },
    "provenance": ORIGIN | RACED,
    "patch": TEXT,
}
SECTIONS = ("settings", "curves", "result", "provenance")
AVERAGED = {
    "schema": record.SCHEMA,
    "name": NAME,
    "settings": {"lr": [0.1], "shared_start": True},
    "curves": {"theta": [0.0, 0.5, 1.0], "train_loss": [2.0, 0.5, 1.0], "parents": [1.0, 2.0]},
    "result": {
        "parents": [1.0, 2.0],
        "least": {"loss": 0.5, "theta": 0.5},
        "greatest": {"loss": 2.0, "theta": 0.0},
    },
    "provenance": ORIGIN,
    "patch": TEXT,
}


def of_schema_1(one):
    """The record as schema 1 had it: without what schema 2 added."""
    old = copy.deepcopy(one) | {"schema": 1, "provenance": handmade.ORIGIN}
    del old["patch"]
    for rate in old["curves"].get("rates", ()):
        del rate["weights"]
    return old


OLD = {"a race of schema 1": of_schema_1(RECORD), "averages of schema 1": of_schema_1(AVERAGED)}
ALL = {"a race": RECORD, "averages": AVERAGED} | OLD


@pytest.mark.parametrize("one", ALL.values(), ids=ALL)
def test_what_is_written_is_what_is_read(tmp_path, one):
    place = record.write(one, tmp_path)
    assert place == record.path(NAME, tmp_path)
    assert record.read(place) == one
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [place]


def test_floats_survive_to_the_last_bit(tmp_path):
    values = [1 / 3, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, 2 / 7, 0.9712345678901234]
    written = copy.deepcopy(RECORD)
    written["curves"]["rounds"] = [*range(1, 7)]
    written["curves"]["rates"][0] |= dict.fromkeys(("test_accuracy", "test_loss", "train_loss"), values)
    written["curves"]["rates"][0]["weights"] = ["0" * 16] * 6
    assert record.read(record.write(written, tmp_path))["curves"]["rates"][0]["test_loss"] == values


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_has_not_is_never_written(tmp_path, value):
    old = record.write(RECORD, tmp_path).read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        record.write(RECORD | {"curves": {"rounds": [value]}}, tmp_path)
    assert record.path(NAME, tmp_path).read_bytes() == old


def places(value, *at):
    """The path to every value in nested mappings and lists, from the outermost."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*at, key)
        yield from places(one, *at, key)


def altered(one, at, change):
    """A copy of the record in which the change was made to what holds the value at that path."""
    damaged = copy.deepcopy(one)
    *outer, last = at
    holder = damaged
    for key in outer:
        holder = holder[key]
    change(holder, last)
    return damaged


def without(*at):
    return altered(RECORD, at, lambda holder, key: holder.pop(key))


# What any reader may pass by: settings are compared with the declared ones, libraries are only told.
FREE = [("settings", "C"), ("settings", "B"), ("provenance", "libraries")]
EVERY = [(one, at) for one in ALL.values() for at in places(one) if not any(at[: len(free)] == free for free in FREE)]


DAMAGES = {
    "another name": RECORD | {"name": "mnist_2nn-iid-C0.1-E1-B10-s0-0123456789"},
    "no name": without("name"),
    "another schema": RECORD | {"schema": record.SCHEMA + 1},
    "no schema": without("schema"),
    "true for a schema": RECORD | {"schema": True},
    "schema 2 of what schema 1 held": OLD["a race of schema 1"] | {"schema": 2},
    "another patch": RECORD | {"patch": TEXT + " "},
    "a patch of a clean tree": RECORD | {"provenance": RECORD["provenance"] | {"patch": None}},
    "a list": [RECORD],
    "a string": "record",
    "a number": 7,
    "null": None,
    "a section that is a number": RECORD | {"provenance": 7},
    **{f"null for {section}": RECORD | {section: None} for section in SECTIONS},
    **{f"no {section}": without(section) for section in SECTIONS},
    "no text": RECORD | {"name": [NAME]},
}


def refusal(place):
    with pytest.raises(ValueError) as caught:
        record.read(place)
    text = str(caught.value)
    assert text.startswith(f"{place}: damaged record: ") and "\n" not in text
    return text


@pytest.mark.parametrize("damaged", DAMAGES.values(), ids=DAMAGES)
def test_a_record_that_lacks_something_is_refused_by_its_file(tmp_path, damaged):
    place = record.path(NAME, tmp_path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(damaged))
    refusal(place)


def put(place, one):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(one))
    return place


@pytest.mark.parametrize("other", [{}, [{}], [["text"]], "text", True], ids=["mapping", "list", "deep", "text", "flag"])
def test_a_value_of_another_kind_anywhere_is_refused(tmp_path, other):
    for one, at in EVERY:
        whole = functools.reduce(lambda value, key: value[key], at, one)
        if type(whole) is not type(other) or isinstance(other, dict | list):
            damaged = altered(one, at, lambda holder, key: holder.__setitem__(key, other))
            refusal(put(record.path(NAME, tmp_path), damaged))


def test_a_record_without_any_of_its_values_is_refused_by_the_value_s_name(tmp_path):
    for one, at in EVERY:
        if isinstance(at[-1], str):
            text = refusal(put(record.path(NAME, tmp_path), altered(one, at, lambda holder, key: holder.pop(key))))
            assert at[-1] in text or at[-1] == "shared_start"  # without which it is taken for a race


@pytest.mark.parametrize(
    ("one", "at"),
    [
        (RECORD, ("curves", "rounds")),
        *((RECORD, ("curves", "rates", 0, key)) for key in ("test_accuracy", "test_loss", "train_loss", "weights")),
        *((AVERAGED, ("curves", key)) for key in ("theta", "train_loss", "parents")),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_lists_that_belong_together_and_differ_in_length_are_refused(tmp_path, one, at):
    refusal(put(record.path(NAME, tmp_path), altered(one, at, lambda holder, key: holder[key].pop())))


@pytest.mark.parametrize("digest", ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "0123456789abcdeg"])
def test_a_digest_of_weights_is_sixteen_hexadecimal_digits(tmp_path, digest):
    at = ("curves", "rates", 0, "weights", 0)
    refusal(put(record.path(NAME, tmp_path), altered(RECORD, at, lambda holder, key: holder.__setitem__(key, digest))))


def test_a_patch_too_long_to_be_kept_is_told_by_its_digest(tmp_path):
    one = RECORD | {"patch": None}
    assert record.read(put(record.path(NAME, tmp_path), one)) == one


COMMITTED = sorted((Path(__file__).parents[1] / "results/cells").glob("*/*.json"))


def test_every_committed_record_of_schema_1_is_read_as_it_lies_there():
    old = [place for place in COMMITTED if json.loads(place.read_text())["schema"] == 1]
    assert len(old) > 50
    for place in old:
        read = record.read(place)
        assert read == json.loads(place.read_text()) and record.text(read) == place.read_text()


def test_a_rate_may_say_when_it_was_pruned_and_in_a_whole_round_only(tmp_path):
    at = ("curves", "rates", 0, "pruned")
    pruned = altered(RECORD, at, lambda holder, key: holder.__setitem__(key, 2))
    assert record.read(put(record.path(NAME, tmp_path), pruned)) == pruned
    for other in (None, "2", 1.5, True, [2]):
        damaged = altered(pruned, at, lambda holder, key, other=other: holder.__setitem__(key, other))
        assert "curves.rates.pruned is not a whole number" in refusal(put(record.path(NAME, tmp_path), damaged))


def test_rounds_to_a_target_that_was_not_set_are_refused(tmp_path):
    more = RECORD["result"] | {"rounds_to_target": {"0.97": None, "0.9": 1.5}}
    refusal(put(record.path(NAME, tmp_path), RECORD | {"result": more}))


def test_curves_of_the_training_loss_are_there_where_they_were_asked_for_and_only_there(tmp_path):
    asked = altered(RECORD, ("settings", "train_loss"), lambda holder, key: holder.__setitem__(key, False))
    refusal(put(record.path(NAME, tmp_path), asked))
    for rate in asked["curves"]["rates"]:
        rate["train_loss"] = []
    assert record.read(put(record.path(NAME, tmp_path), asked)) == asked


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
@pytest.mark.parametrize("at", [("curves", "rates", 0, "test_accuracy", 0), ("result", "best_accuracy")])
def test_a_number_that_no_float_is_is_refused(tmp_path, at, text):
    damaged = altered(RECORD, at, lambda holder, key: holder.__setitem__(key, "HERE"))
    place = put(record.path(NAME, tmp_path), damaged)
    place.write_text(place.read_text().replace('"HERE"', text))
    refusal(place)


def test_a_record_nested_without_end_is_refused(tmp_path):
    place = put(record.path(NAME, tmp_path), RECORD)
    place.write_text("[" * 100_000)
    refusal(place)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-3],
        lambda whole: whole + whole,
        lambda whole: b"\x00" * len(whole),
        lambda whole: whole.replace(b"target", b"t\xffrget"),
        lambda whole: b"<<<<<<< HEAD\n" + whole,
    ],
    ids=["empty", "half", "almost whole", "twice", "zeros", "not UTF-8", "a merge conflict"],
)
def test_a_damaged_file_is_refused_by_its_name(tmp_path, damage):
    place = record.write(RECORD, tmp_path)
    place.write_bytes(damage(place.read_bytes()))
    refusal(place)


def test_a_refusal_says_what_is_missing(tmp_path):
    place = record.path(NAME, tmp_path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(without("provenance", "final_weights")))
    assert "provenance.final_weights" in refusal(place)
    place.write_text(json.dumps(DAMAGES["another name"]))
    assert "mnist_2nn-iid-C0.1-E1-B10-s0-0123456789" in refusal(place)


def test_existing_records_are_those_that_are_there_and_a_damaged_one_is_no_missing_one(tmp_path):
    other = "digits_2nn-iid-C0.1-E1-B10-s1-9876543210"
    place = record.write(RECORD, tmp_path)
    assert record.existing([NAME, other], tmp_path) == {NAME: RECORD}
    place.write_text("{")
    with pytest.raises(ValueError, match=NAME):
        record.existing([NAME, other], tmp_path)


def test_an_unchanged_record_keeps_its_times_and_a_changed_one_does_not(tmp_path):
    place = record.write(RECORD, tmp_path)
    os.utime(place, ns=(10**18, 10**18))
    inode = place.stat().st_ino
    record.write(copy.deepcopy(RECORD), tmp_path)
    assert place.stat().st_mtime_ns == 10**18 and place.stat().st_ino == inode
    changed = RECORD | {"result": RECORD["result"] | {"ended": "target"}}
    record.write(changed, tmp_path)
    assert place.stat().st_mtime_ns != 10**18
    assert record.read(place) == changed


WRITE_A_LONGER_ONE = """
import json, resource, sys
from pathlib import Path
from fedgrid.run import record
longer = json.loads(sys.stdin.read())
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
record.write(longer, Path(sys.argv[1]))
"""


def files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("before", [True, False], ids=["an old record", "no record"])
def test_a_disk_that_fills_up_in_mid_write_leaves_what_was_there(tmp_path, before):
    old = record.write(RECORD, tmp_path).read_bytes() if before else None
    longer = RECORD | {"curves": {"rounds": list(range(50_000))}}
    limit = 64 * 1024  # bytes: the kernel refuses to write on, as it does on a full disk
    assert len(json.dumps(longer)) > 2 * limit
    done = subprocess.run(
        [sys.executable, "-c", WRITE_A_LONGER_ONE, tmp_path, str(limit)],
        input=json.dumps(longer),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "OSError" in done.stderr and "File too large" in done.stderr
    assert files_in(tmp_path) == ([record.path(NAME, tmp_path)] if before else [])
    if before:
        assert record.path(NAME, tmp_path).read_bytes() == old


def test_the_same_write_succeeds_where_there_is_room(tmp_path):
    longer = RECORD | {"curves": RECORD["curves"] | {"rounds": list(range(50_000))}}
    assert record.read(record.write(longer, tmp_path)) == longer


KILLED_IN_MID_WRITE = """
import os, signal, sys
from pathlib import Path
from fedgrid import files
with files.whole(Path(sys.argv[1])) as partial:
    partial.write_text("half of")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_in_mid_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "record.json"
    path.write_text("the old one")
    done = subprocess.run([sys.executable, "-c", KILLED_IN_MID_WRITE, path])
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "the old one"
    assert files_in(tmp_path) != [path]  # it did die in mid-write
    files.write(path, "the new one")
    assert path.read_text() == "the new one"


def test_an_error_in_mid_write_leaves_nothing(tmp_path):
    path = tmp_path / "deep" / "file"
    with pytest.raises(ZeroDivisionError), files.whole(path) as partial:
        partial.write_text("half of")
        _ = 1 / 0
    assert files_in(tmp_path) == []


def test_readers_see_the_old_file_or_the_new_one_and_nothing_between(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with files.whole(path) as partial:
        partial.write_text("ne")
        assert path.read_text() == "old"
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert files_in(tmp_path) == [path]


def test_a_reader_in_the_middle_of_the_old_file_reads_it_to_its_end(tmp_path):
    path = tmp_path / "file"
    path.write_text("the old one")
    with path.open() as reader:
        files.write(path, "new")
        assert reader.read() == "the old one"
    assert path.read_text() == "new"


def test_a_folder_that_cannot_be_written_is_an_error_and_not_a_silence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        files.write(tmp_path / "file" / "record.json", "text")


@pytest.mark.parametrize("content", ["ü – η\n", b"\x00\xff", ""])
def test_text_and_bytes_are_written_as_they_are(tmp_path, content):
    path = tmp_path / "file"
    files.write(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)


def test_the_sha256_of_a_file(tmp_path):
    path = Path(tmp_path / "abc")
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
