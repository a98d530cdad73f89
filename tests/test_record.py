"""Laws of records and of files that are whole or not there; the full disk is the kernel's, not a mock's."""

import copy
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedgrid import files, record

NAME = "digits_2nn-iid-C0.1-E1-B10-s0-0123456789"
RECORD = {
    "schema": record.SCHEMA,
    "name": NAME,
    "settings": {"C": 0.1, "B": "inf", "lr": [0.1, 0.215]},
    "curves": {"rounds": [1, 2], "rates": [{"lr": 0.1, "test_accuracy": [0.1, 1 / 3], "train_loss": [None]}]},
    "result": {"ended": "target", "rounds_to_target": {"0.97": None}},
    "provenance": {
        "commit": "c0ffee",
        "dirty": False,
        "engine": "e",
        "data": "d",
        "partition": "p",
        "initial_weights": "i",
        "final_weights": "f",
        "libraries": {"torch": "2.13.0"},
    },
}


def test_what_is_written_is_what_is_read(tmp_path):
    place = record.write(RECORD, tmp_path)
    assert place == record.path(NAME, tmp_path)
    assert record.read(place) == RECORD
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [place]


def test_floats_survive_to_the_last_bit(tmp_path):
    values = [1 / 3, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, 2 / 7, 0.9712345678901234]
    written = copy.deepcopy(RECORD)
    written["curves"]["rates"][0]["test_loss"] = values
    assert record.read(record.write(written, tmp_path))["curves"]["rates"][0]["test_loss"] == values


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_has_not_is_never_written(tmp_path, value):
    old = record.write(RECORD, tmp_path).read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        record.write(RECORD | {"curves": {"rounds": [value]}}, tmp_path)
    assert record.path(NAME, tmp_path).read_bytes() == old


def without(section, key=None):
    damaged = copy.deepcopy(RECORD)
    del (damaged if key is None else damaged[section])[section if key is None else key]
    return damaged


DAMAGES = {
    "another name": RECORD | {"name": "mnist_2nn-iid-C0.1-E1-B10-s0-0123456789"},
    "no name": without("name"),
    "another schema": RECORD | {"schema": record.SCHEMA + 1},
    "no schema": without("schema"),
    "a list": [RECORD],
    "a string": "record",
    "a number": 7,
    "null": None,
    "a section that is a number": RECORD | {"provenance": 7},
    **{f"null for {section}": RECORD | {section: None} for section in record.SECTIONS},
    **{f"no {section}": without(section) for section in record.SECTIONS},
    **{f"no {section}.{key}": without(section, key) for section, keys in record.SECTIONS.items() for key in keys},
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
    changed = RECORD | {"result": {"ended": "horizon"}}
    record.write(changed, tmp_path)
    assert place.stat().st_mtime_ns != 10**18
    assert record.read(place) == changed


WRITE_A_LONGER_ONE = """
import json, resource, sys
from pathlib import Path
from fedgrid import record
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
    longer = RECORD | {"curves": {"rounds": list(range(50_000))}}
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
