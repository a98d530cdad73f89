"""Figures from records made by hand: their data is the records' and the paper's, their bytes depend on nothing else."""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zlib
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest

from fedgrid import figures, record
from fedgrid.artefacts import artefact

ROOT = Path(__file__).parents[1]
SUFFIXES = ("pdf", "svg", "png", "csv")
ACCURACY = """
title: "Figure 0: test accuracy, η − θ"
cells: {task: mnist_2nn, partition: [iid, shards], C: 0.1, E: 1, targets: [0.75], rounds: 200, lr: [0.1, 0.2, 0.4]}
grid: [{B: [inf, 10]}]
figure: {kind: accuracy, panels: partition, range: {rounds: [0, 200], accuracy: [0.0, 1.0]}}
"""
AVERAGING = """
title: "Figure 00: θw + (1 − θ)w′"
kind: averaging
cells: {task: mnist_2nn, partition: iid, E: 20, B: 50, lr: 0.1, points: 4}
grid: [{shared_start: [false, true]}]
figure: {kind: averaging}
"""
PAPER = """
accuracy:
  - {partition: shards, B: 10, points: [[10, 0.125], [20, 0.25], [200, 0.875]]}
averaging:
  - {shared_start: false, points: [[-0.2, 0.75], [0.5, 1.25], [1.2, 0.5]]}
  - {shared_start: true, points: [[-0.2, 0.5], [1.2, 0.625]]}
"""
# The three rates' test accuracies at rounds 1, 2, 10 and 20 (the third diverged after round 2), and their envelope.
ROUNDS = [1, 2, 10, 20]
RATES = [[0.1, 0.3, 0.2, 0.6], [0.2, 0.1, 0.4, 0.4], [0.15, 0.35]]
ENVELOPE = [0.2, 0.35, 0.4, 0.6]
THETA = [-0.2, 0.26666666666666666, 0.7333333333333334, 1.2]
LOSSES = {False: [0.7, 1.2, 1.1, 0.6], True: [0.5, 0.4, 0.39, 0.52]}


def made(cell, curves):
    """A record of the cell with those curves."""
    return {
        "schema": record.SCHEMA,
        "name": cell.name,
        "settings": cell.recorded,
        "result": {},
        "curves": curves,
        "provenance": dict.fromkeys(record.SECTIONS["provenance"], "x"),
    }


def race_curves():
    rates = [{"lr": lr, "test_accuracy": curve} for lr, curve in zip((0.1, 0.2, 0.4), RATES, strict=True)]
    return {"rounds": ROUNDS, "rates": rates}


def declare(folder):
    """Makes of a folder one that declares the two artefacts and what their paper shows."""
    (folder / "params").mkdir()
    for name, text in (("accuracy", ACCURACY), ("averaging", AVERAGING), ("paper", PAPER)):
        (folder / f"params/{name}.yaml").write_text(text)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory of one's own."""
    declare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def all_records():
    """All cells of the averaging figure, and of the accuracy figure those with B = inf."""
    races = [cell for cell in artefact("accuracy").cells if cell.settings["B"] == "inf"]
    averagings = artefact("averaging").cells
    return {cell.name: made(cell, race_curves()) for cell in races} | {
        cell.name: made(cell, {"theta": THETA, "train_loss": LOSSES[cell.shared_start]}) for cell in averagings
    }


@pytest.fixture
def records(folder):
    return all_records()


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """Both figures' files by name and suffix, for tests that only look at them."""
    there = tmp_path_factory.mktemp("figures")
    declare(there)
    with contextlib.chdir(there):
        return {name: built(name, all_records()) for name in ("accuracy", "averaging")}


def built(name, records):
    """The figure's files by their suffix."""
    files = figures.build(artefact(name), records)
    assert set(files) == {Path(f"results/figures/{name}.{suffix}") for suffix in SUFFIXES}
    return {path.suffix[1:]: content for path, content in files.items()}


def lines(content):
    """The CSV's lines as {(panel, line, whose): points}."""
    found = {}
    for row in csv.DictReader(io.StringIO(content.decode())):
        found.setdefault((row["panel"], row["line"], row["whose"]), []).append((float(row["x"]), float(row["y"])))
    return found


def pairs(xs, ys):
    return list(zip(map(float, xs), ys, strict=True))


def test_accuracy_points_are_the_envelopes_of_the_records_and_the_paper_s_own(made_once):
    assert lines(made_once["accuracy"]["csv"]) == {
        ("IID", "B = ∞", "ours"): pairs(ROUNDS, ENVELOPE),
        ("non-IID", "B = ∞", "ours"): pairs(ROUNDS, ENVELOPE),
        ("non-IID", "paper: B = 10", "paper"): [(10, 0.125), (20, 0.25), (200, 0.875)],
    }


def test_averaging_points_are_those_of_the_records_and_the_paper_s_own(made_once):
    assert lines(made_once["averaging"]["csv"]) == {
        ("independent", "fedgrid", "ours"): pairs(THETA, LOSSES[False]),
        ("independent", "paper", "paper"): [(-0.2, 0.75), (0.5, 1.25), (1.2, 0.5)],
        ("shared initial weights", "fedgrid", "ours"): pairs(THETA, LOSSES[True]),
        ("shared initial weights", "paper", "paper"): [(-0.2, 0.5), (1.2, 0.625)],
    }


def test_every_line_of_the_data_is_drawn(made_once):
    """The SVG's own paths, read back in its points: as many of each line's vertices as the data has points."""
    files = made_once["averaging"]
    root = ElementTree.fromstring(files["svg"])
    drawn = [element.get("d", "") for element in root.iter("{http://www.w3.org/2000/svg}path")]
    vertices = [len(re.findall("[ML]", path)) for path in drawn if path.startswith("M") and "z" not in path.lower()]
    for points in lines(files["csv"]).values():
        assert len(points) in vertices
    assert sum(count in (3, 4) for count in vertices) >= 3


@pytest.mark.parametrize("name", ["accuracy", "averaging"])
def test_the_files_are_what_their_suffixes_say(made_once, name):
    files = made_once[name]
    assert files["pdf"].startswith(b"%PDF-") and files["pdf"].rstrip().endswith(b"%%EOF")
    assert files["png"].startswith(b"\x89PNG\r\n\x1a\n") and files["png"].endswith(b"IEND\xaeB`\x82")
    assert ElementTree.fromstring(files["svg"]).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"\r" not in files["csv"]


def inflated(pdf):
    """A PDF with its compressed streams in clear."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    return pdf + b"".join(zlib.decompressobj().decompress(one) for one in streams if one[:1] == b"x")


def test_no_date_stands_in_any_file(made_once):
    files = made_once["accuracy"]
    pdf = inflated(files["pdf"])
    assert b"/Type /Catalog" in pdf and b"Date" not in pdf
    assert b"date" not in files["svg"].lower()
    assert set(chunks(files["png"])) == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}  # neither tIME nor tEXt
    year = re.compile(rb"20[2-9]\d-[01]\d-[0-3]\d|D:20\d{6}")
    for content in files.values():
        assert not year.search(content)


def chunks(png):
    """The names of a PNG's chunks."""
    place = 8
    while place < len(png):
        yield png[place + 4 : place + 8]
        place += 12 + int.from_bytes(png[place : place + 4], "big")


def test_no_version_of_matplotlib_stands_in_any_file(made_once):
    files = made_once["accuracy"]
    for content in (inflated(files["pdf"]), files["svg"], files["png"], files["csv"]):
        assert matplotlib.__version__.encode() not in content


def digests(files):
    return {suffix: hashlib.sha256(content).hexdigest() for suffix, content in files.items()}


ELSEWHERE = """
import hashlib, json, sys
from fedgrid import figures
from fedgrid.artefacts import artefact
records = json.loads(sys.stdin.read())
print(json.dumps({name: {path.suffix[1:]: hashlib.sha256(content).hexdigest()
    for path, content in figures.build(artefact(name), records).items()} for name in ("accuracy", "averaging")}))
"""


def elsewhere(records, **environment):
    """The digests of both figures' files, made by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input=json.dumps(records),
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_same_records_give_the_same_bytes_again_in_any_order_and_in_another_process(made_once, records):
    here = {name: digests(files) for name, files in made_once.items()}
    backwards = dict(reversed(records.items()))
    assert digests(built("averaging", backwards)) == here["averaging"]
    assert elsewhere(backwards, PYTHONHASHSEED="1", TZ="Asia/Tokyo") == here


def test_a_user_s_own_matplotlibrc_changes_no_byte(made_once, records):
    taste = {"lines.linewidth": 5, "font.family": "monospace", "savefig.facecolor": "red", "axes.titlecolor": "blue"}
    with matplotlib.rc_context(taste):
        assert digests(built("averaging", records)) == digests(made_once["averaging"])


def test_other_records_give_other_bytes_in_every_format(made_once, records):
    name = next(name for name, one in records.items() if "theta" in one["curves"])
    records[name]["curves"]["train_loss"] = [1.0, 1 / 3, 0.8, 0.7]
    after = built("averaging", records)
    assert all(made_once["averaging"][suffix] != after[suffix] for suffix in SUFFIXES)
    drawn = [y for points in lines(after["csv"]).values() for _, y in points]
    assert 1 / 3 in drawn  # in full precision


@pytest.mark.parametrize("name", ["accuracy", "averaging"])
def test_without_any_record_the_paper_s_curves_stand_alone(name):
    found = lines(built(name, {})["csv"])
    assert {whose for _, _, whose in found} == {"paper"}
    assert len(found) == {"accuracy": 1, "averaging": 2}[name]


def test_without_any_record_or_paper_the_figure_is_empty_and_there(folder):
    (folder / "params/paper.yaml").write_text("table9: []\n")
    files = built("accuracy", {})
    assert files["csv"] == b"panel,line,whose,x,y\n"
    assert all(files[suffix] for suffix in SUFFIXES)


def test_the_figures_of_the_paper_can_be_drawn_before_anything_has_run(monkeypatch):
    """Titles, symbols and readings as declared: a glyph that the font lacks is a warning, and so an error here."""
    monkeypatch.chdir(ROOT)
    points = {"figure1": 100, "figure7": 34}
    for name, count in points.items():
        found = lines(built(name, {})["csv"])
        assert len(list(chain.from_iterable(found.values()))) == count
        assert {whose for _, _, whose in found} == {"paper"}


def test_a_record_whose_settings_are_not_those_declared_is_refused(records):
    name = next(cell.name for cell in artefact("accuracy").cells if cell.name in records)
    records[name]["settings"] = records[name]["settings"] | {"lr": [0.1, 0.2]}
    with pytest.raises(ValueError, match=re.escape(name)):
        figures.build(artefact("accuracy"), records)


def test_a_rate_that_never_was_evaluated_and_a_race_with_none_leave_the_rest_as_it_is(records):
    name = next(cell.name for cell in artefact("accuracy").cells if cell.name in records)
    records[name]["curves"] = {
        "rounds": ROUNDS,
        "rates": [{"lr": 0.1, "test_accuracy": RATES[0]}, {"lr": 9, "test_accuracy": []}],
    }
    assert lines(built("accuracy", records)["csv"])["IID", "B = ∞", "ours"] == pairs(ROUNDS, [0.1, 0.3, 0.3, 0.6])
    records[name]["curves"] = {"rounds": [], "rates": [{"lr": 9, "test_accuracy": []}]}
    assert ("IID", "B = ∞", "ours") not in lines(built("accuracy", records)["csv"])
