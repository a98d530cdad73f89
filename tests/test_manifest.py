"""The manifest names every record's bytes; a seal that git holds is renewed over no other record."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fedgrid.__main__ import main
from fedgrid.audit import manifest
from fedgrid.grid import artefacts
from fedgrid.run import record
from tests.campaigns import SMALL, commit

PLACE = manifest.path("small")
# By coreutils, of no line, of "a", of "a" and "b": (head -c 32 /dev/zero; printf a) | sha256sum, and so on.
CHAINS = [
    "0" * 64,
    "41a0370c3d9f42773a59e8e01651911cf43b1e3f66944cbb690029debc4eb647",
    "abccbe9b24d2bbd3aa1360d605147a841dd051130131c6929d6004e1ae4796e8",
]


@pytest.fixture
def records(tmp_path, monkeypatch):
    """Paths of two records that are there, in the working directory; the manifest takes their bytes as they are."""
    monkeypatch.chdir(tmp_path)
    Path("params").mkdir()
    Path("params/small.yaml").write_text(SMALL)
    paths = [record.path(cell.name) for cell in artefacts.artefact("small").cells]
    for n, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"record {n}\n")
    return paths


def seal():
    """The manifest that the verb leaves."""
    main(["manifest", "small"])
    return PLACE.read_text()


def refused(capsys, path, *words):
    """The verb refuses in one line that names the record, and leaves the manifest as it is."""
    before = PLACE.read_text()
    with pytest.raises(SystemExit) as caught:
        main(["manifest", "small"])
    err = capsys.readouterr().err
    assert caught.value.code == 1 and err.count("\n") == 1
    assert all(word in err for word in (str(path), f"delete its line from {PLACE}", *words)), err
    assert PLACE.read_text() == before


def forget(path):
    """Deletes the line of that record, as a person does: with an editor."""
    PLACE.write_text(re.sub(rf".*  {re.escape(str(path))}\n", "", PLACE.read_text()))


@pytest.mark.parametrize("n", range(3))
def test_the_chain_is_the_one_that_coreutils_make(n):
    assert manifest.chain(["a", "b"][:n]) == CHAINS[n]


def test_the_chain_depends_on_order_and_on_where_lines_end():
    assert len({manifest.chain(lines) for lines in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""])}) == 4


def test_the_file_is_the_chain_and_a_line_for_each_record_by_path(records):
    first, *lines = seal().splitlines()
    assert lines == [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" for path in sorted(records)]
    h = bytes.fromhex("00" * 32)
    for line in lines:
        h = hashlib.sha256(b"".join([h, line.encode("ascii")])).digest()
    assert first == f"# chain {h.hex()}"


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs coreutils")
def test_sha256sum_reads_it_where_the_paths_begin(records):
    seal()
    check = ["sha256sum", "--check", "--strict", "--quiet", PLACE]
    assert subprocess.run(check).returncode == 0
    records[0].write_text("another\n")
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == f"{records[0]}: FAILED\n"


def test_the_same_records_give_the_same_bytes_and_a_cell_that_was_not_run_has_no_line(records):
    assert seal() == seal()
    records[1].unlink()
    assert str(records[1]) not in seal()
    assert str(records[0]) in PLACE.read_text()


def test_a_record_that_the_campaign_does_not_declare_is_no_part_of_it(records):
    before = seal()
    records[0].with_name("stranger.json").write_text("{}")
    assert seal() == before


def test_before_git_holds_them_lines_follow_the_records(records):
    first = seal()
    records[0].write_text("another\n")
    second = seal()
    records[0].unlink()
    assert len({first, second, seal()}) == 3


def test_a_new_record_is_added_to_sealed_ones(records):
    records[1].unlink()
    seal()
    commit()
    records[1].write_text("run at last\n")
    assert str(records[1]) in seal()
    records[1].write_text("run again\n")  # its line stands in no commit yet
    assert hashlib.sha256(b"run again\n").hexdigest() in seal()


def test_a_sealed_record_that_was_altered_is_refused_until_its_line_is_deleted(records, capsys):
    seal()
    commit()
    records[1].write_text("record 1 \n")
    refused(capsys, records[1], "altered")
    forget(records[1])
    assert hashlib.sha256(b"record 1 \n").hexdigest() in seal()


def test_a_sealed_record_that_is_gone_is_refused_until_its_line_is_deleted(records, capsys):
    seal()
    commit()
    records[0].unlink()
    refused(capsys, records[0], "gone")
    forget(records[0])
    assert str(records[0]) not in seal()


def test_a_sealed_record_that_is_restored_is_sealed_as_before(records, capsys):
    before = seal()
    commit()
    records[0].write_text("another\n")
    refused(capsys, records[0])
    subprocess.run(["git", "checkout", "-q", records[0]], check=True)
    assert seal() == before


def test_the_line_of_a_record_that_is_declared_no_more_is_dropped(records):
    seal()
    commit()
    Path("params/small.yaml").write_text(SMALL.replace("[iid, shards]", "iid"))
    records[1].unlink()
    assert str(records[1]) not in seal() and str(records[0]) in PLACE.read_text()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text.partition("\n")[2],
        lambda text: text.replace("# chain ", "# chian "),
        lambda text: text.replace("  ", " "),
        lambda text: text + text.splitlines()[-1] + "\n",
        lambda text: "\n".join([text.splitlines()[0], *reversed(text.splitlines()[1:])]) + "\n",
        lambda text: text[:-80],
        lambda text: text + "\n",
    ],
    ids=["empty", "no chain", "another head", "one space", "a line twice", "another order", "cut short", "empty line"],
)
def test_a_damaged_manifest_is_named_by_its_file(records, capsys, damage):
    PLACE.parent.mkdir(parents=True)
    PLACE.write_text(damage(manifest.text({str(path): "0" * 64 for path in records})))
    with pytest.raises(SystemExit) as caught:
        main(["manifest", "small"])
    err = capsys.readouterr().err
    assert caught.value.code == 1 and err.count("\n") == 1 and str(PLACE) in err and "damaged" in err


def test_a_manifest_whose_committed_one_is_damaged_can_be_made_whole(records):
    PLACE.parent.mkdir(parents=True)
    PLACE.write_text("<<<<<<< HEAD\n")
    commit()
    PLACE.unlink()
    seal()
    assert manifest.read(PLACE).digests.keys() == {*map(str, records)}
