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
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import yaml

from fedgrid.grid.artefacts import artefact
from fedgrid.results import figures
from fedgrid.results.learning_curves import gradients, lines
from tests import handmade

ROOT = Path(__file__).parents[1]
DECLARED = ROOT / "params"
FIGURES = sorted(path.stem for path in DECLARED.glob("*.yaml") if "figure" in yaml.safe_load(path.read_text()))
READINGS = json.loads((Path(__file__).parent / "data/paper_curves.json").read_text())
SUFFIXES = ("pdf", "svg", "png", "csv")
ACCURACY = """
title: "Figure 0: test accuracy, η − θ"
cells: {task: mnist_2nn, partition: [iid, shards], C: 0.1, E: 1, targets: [0.75], rounds: 200, lr: [0.1, 0.2, 0.4]}
grid: [{B: [inf, 10]}]
figure:
  kind: curves
  y: test_accuracy
  lines: best
  x: rounds
  panels: [partition]
  range: {x: [0, 200], y: [0.0, 1.0]}
  log: [x]
"""
AVERAGING = """
title: "Figure 00: θw + (1 − θ)w′"
kind: interpolation
cells: {task: mnist_2nn, partition: iid, E: 20, B: 50, lr: 0.1, points: 4, seed: [0, 1]}
grid: [{shared_start: [false, true]}]
figure: {kind: interpolation}
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
# Of a start that is shared or not: the losses of two seeds, their mean, least and greatest.
LOSSES = {
    False: ([0.75, 1.25, 1.0, 0.5], [0.25, 1.5, 1.0, 0.625]),
    True: ([0.5, 0.375, 0.25, 0.5], [0.5, 0.125, 0.5, 0.75]),
}
BANDS = {
    False: ([0.5, 1.375, 1.0, 0.5625], [0.25, 1.25, 1.0, 0.5], [0.75, 1.5, 1.0, 0.625]),
    True: ([0.5, 0.25, 0.375, 0.625], [0.5, 0.125, 0.25, 0.5], [0.5, 0.375, 0.5, 0.75]),
}


def made(cell, curves):
    """A record of the cell with those curves."""
    return {
        "schema": 1,
        "name": cell.name,
        "settings": cell.recorded,
        "result": {},
        "curves": curves,
        "provenance": handmade.ORIGIN,
    }


def race_curves(rounds=ROUNDS, curves=RATES, lrs=(0.1, 0.2, 0.4), y="test_accuracy"):
    return {"rounds": rounds, "rates": [{"lr": lr, y: curve} for lr, curve in zip(lrs, curves, strict=True)]}


def declare(folder):
    """Makes of a folder one that declares the two artefacts, what their paper shows and how large the dataset is."""
    (folder / "params").mkdir()
    for name, text in (("accuracy", ACCURACY), ("averaging", AVERAGING), ("paper", PAPER)):
        (folder / f"params/{name}.yaml").write_text(text)
    (folder / "params/datasets.yaml").write_text("mnist: {train: 60000, sources: [.], files: {a: unpinned}}\n")


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
        cell.name: made(cell, {"theta": THETA, "train_loss": LOSSES[cell.shared_start][cell.seed]})
        for cell in averagings
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


def table(content):
    """The CSV's lines as {(panel, line, whose): points}; a point is (x, y), of ours (x, y, low, high, n)."""
    found = {}
    for row in csv.DictReader(io.StringIO(content.decode())):
        point = [float(row[name]) for name in ("x", "y", "low", "high", "n") if row[name]]
        found.setdefault((row["panel"], row["line"], row["whose"]), []).append(tuple(point))
    return found


def alone(xs, ys):
    """The points of a line of one run: its own least and greatest."""
    return [(float(x), y, y, y, 1.0) for x, y in zip(xs, ys, strict=True)]


def test_accuracy_points_are_the_envelopes_of_the_records_and_the_paper_s_own(made_once):
    assert table(made_once["accuracy"]["csv"]) == {
        ("IID", "FedSGD", "ours"): alone(ROUNDS, ENVELOPE),
        ("non-IID", "FedSGD", "ours"): alone(ROUNDS, ENVELOPE),
        ("non-IID", "B = 10", "paper"): [(10, 0.125), (20, 0.25), (200, 0.875)],
    }


def test_averaging_points_are_mean_and_range_of_the_seeds_and_the_paper_s_own(made_once):
    band = {shared: [(*point, 2.0) for point in zip(THETA, *BANDS[shared], strict=True)] for shared in BANDS}
    assert table(made_once["averaging"]["csv"]) == {
        ("independent", "", "ours"): band[False],
        ("independent", "", "paper"): [(-0.2, 0.75), (0.5, 1.25), (1.2, 0.5)],
        ("shared initial weights", "", "ours"): band[True],
        ("shared initial weights", "", "paper"): [(-0.2, 0.5), (1.2, 0.625)],
    }


def test_every_line_of_the_data_is_drawn(made_once):
    """The SVG's own paths, read back in its points: as many of each line's vertices as the data has points."""
    files = made_once["averaging"]
    root = ElementTree.fromstring(files["svg"])
    drawn = [element.get("d", "") for element in root.iter("{http://www.w3.org/2000/svg}path")]
    vertices = [len(re.findall("[ML]", path)) for path in drawn if path.startswith("M") and "z" not in path.lower()]
    for points in table(files["csv"]).values():
        assert len(points) in vertices
    assert sum(count in (3, 4) for count in vertices) >= 3


@pytest.mark.parametrize("name", ["accuracy", "averaging"])
def test_the_files_are_what_their_suffixes_say(made_once, name):
    files = made_once[name]
    assert files["pdf"].startswith(b"%PDF-") and files["pdf"].rstrip().endswith(b"%%EOF")
    assert files["png"].startswith(b"\x89PNG\r\n\x1a\n") and files["png"].endswith(b"IEND\xaeB`\x82")
    assert ElementTree.fromstring(files["svg"]).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"\r" not in files["csv"]


def test_no_date_stands_in_any_file(made_once):
    files = made_once["accuracy"]
    assert b"/Type /Catalog" in files["pdf"] and b"Date" not in files["pdf"]
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
    for content in files.values():
        assert matplotlib.__version__.encode() not in content


def test_no_zlib_of_a_system_decides_the_bytes_of_a_pdf(made_once):
    assert b"FlateDecode" not in made_once["accuracy"]["pdf"]


def digests(files):
    return {suffix: hashlib.sha256(content).hexdigest() for suffix, content in files.items()}


ELSEWHERE = """
import hashlib, json, sys
from fedgrid.results import figures
from fedgrid.grid.artefacts import artefact
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
    records[name]["curves"]["train_loss"] = [1.0, 1 / 3, 0.8, 0.7]  # the least of the repeats
    after = built("averaging", records)
    assert all(made_once["averaging"][suffix] != after[suffix] for suffix in SUFFIXES)
    shown = {y for points in table(after["csv"]).values() for point in points for y in point[1:]}
    assert 1 / 3 in shown  # in full precision


@pytest.mark.parametrize("name", ["accuracy", "averaging"])
def test_without_any_record_the_paper_s_curves_stand_alone(name):
    found = table(built(name, {})["csv"])
    assert {whose for _, _, whose in found} == {"paper"}
    assert len(found) == {"accuracy": 1, "averaging": 2}[name]


def test_without_any_record_or_paper_the_figure_is_empty_and_there(folder):
    (folder / "params/paper.yaml").write_text("table9: []\n")
    files = built("accuracy", {})
    assert files["csv"] == b"panel,line,whose,x,y,low,high,n\n"
    assert all(files[suffix] for suffix in SUFFIXES)


def test_a_record_whose_settings_are_not_those_declared_is_refused(records):
    name = next(cell.name for cell in artefact("accuracy").cells if cell.name in records)
    records[name]["settings"] = records[name]["settings"] | {"lr": [0.1, 0.2]}
    with pytest.raises(ValueError, match=re.escape(name)):
        figures.build(artefact("accuracy"), records)


def test_a_rate_that_never_was_evaluated_and_a_race_with_none_leave_the_rest_as_it_is(records):
    name = next(cell.name for cell in artefact("accuracy").cells if cell.name in records)
    records[name]["curves"] = race_curves(curves=[RATES[0], []], lrs=(0.1, 9))
    assert table(built("accuracy", records)["csv"])["IID", "FedSGD", "ours"] == alone(ROUNDS, [0.1, 0.3, 0.3, 0.6])
    records[name]["curves"] = race_curves([], [[]], (9,))
    assert ("IID", "FedSGD", "ours") not in table(built("accuracy", records)["csv"])


def drawn(name, records):
    """matplotlib's figure, before it becomes a file."""
    one = artefact(name)
    return figures.draw(one, lines(one, records), figures.status(one, records))


def test_what_is_drawn_is_the_data(records):
    """Each panel's lines and bands, read back from matplotlib: x and y of the mean, the outline of the range."""
    for axes in drawn("averaging", records).axes:
        shared = axes.get_title() == "shared initial weights"
        mean, low, high = BANDS[shared]
        ours = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
        assert ours["fedgrid (n = 2)"] == [list(point) for point in zip(THETA, mean, strict=True)]
        (band,) = axes.collections
        outline = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
        assert outline == {*zip(THETA, low, strict=True), *zip(THETA, high, strict=True)}


def test_a_line_of_one_point_is_a_dot(records):
    name = next(cell.name for cell in artefact("accuracy").cells if cell.name in records)
    records[name]["curves"] = race_curves([1], [[0.5], [0.8]], (0.1, 0.2))
    marked = {
        axes.get_title(): line.get_marker()
        for axes in drawn("accuracy", records).axes
        for line in axes.get_lines()
        if line.get_label() == "FedSGD"
    }
    assert marked == {"IID": ".", "non-IID": ""}


def test_a_line_of_one_run_has_no_band_and_no_n(records):
    for axes in drawn("accuracy", records).axes:
        assert not axes.collections
    (legend,) = drawn("accuracy", records).legends
    assert [text.get_text() for text in legend.get_texts()] == ["FedSGD", "paper: B = 10"]


@pytest.mark.parametrize(("kept", "status"), [(0, "\nnot run"), (1, "\n1 of 4 cells run"), (4, "")])
def test_the_title_says_what_was_not_run(records, kept, status):
    some = dict([item for item in records.items() if "theta" in item[1]["curves"]][:kept])
    assert drawn("averaging", some).get_suptitle() == f"Figure 00: θw + (1 − θ)w′{status}".replace(" = ", "\xa0=\xa0")


def test_axes_targets_and_ranges_are_as_declared(folder):
    text = ACCURACY.replace("{x: [0, 200], y: [0.0, 1.0]}", "{iid: {x: [1, 50], y: [0.5, 1.0]}, shards: RANGE}")
    text = text.replace("RANGE", "{x: [0, 9000], y: [0.25, 0.75]}")
    (folder / "params/accuracy.yaml").write_text(text.replace("targets: [0.75]", "targets: [0.5, 0.75]"))
    iid, shards = drawn("accuracy", {}).axes
    assert (iid.get_xlim(), iid.get_ylim(), iid.get_xscale()) == ((1, 50), (0.5, 1.0), "log")
    assert (shards.get_xlim(), shards.get_ylim(), shards.get_xscale()) == ((0, 9000), (0.25, 0.75), "symlog")
    assert iid.get_yscale() == shards.get_yscale() == "linear"
    for axes in (iid, shards):
        across = {line.get_ydata()[0] for line in axes.get_lines() if line.get_label().startswith("_")}
        assert across == {0.5, 0.75}


def test_lines_of_one_setting_look_alike_in_every_panel_and_no_two_in_one_panel_do(monkeypatch):
    monkeypatch.chdir(ROOT)
    for name in FIGURES:
        found = lines(artefact(name), {})
        looks = {told: str(sorted(look.items())) for told, look in figures.styles(found).items()}
        for panel in {line.panel for line in found}:
            seen = [looks[line.told] for line in found if line.panel == panel]
            assert len(set(seen)) == len(seen), name


def test_algorithms_with_settings_of_their_own_are_drawn_and_named(folder):
    algorithms = "algorithm: [fedavg, {name: fedprox, mu: [0.1, 1.0]}], "
    (folder / "params/accuracy.yaml").write_text(ACCURACY.replace("B: [inf, 10]", f"{algorithms}B: 10"))
    found = {cell.name: made(cell, race_curves()) for cell in artefact("accuracy").cells}
    (legend,) = drawn("accuracy", found).legends
    names = ["FedAvg", "FedProx (μ = 0.1)", "FedProx (μ = 1)"]
    assert sorted(text.get_text() for text in legend.get_texts() if "paper" not in text.get_text()) == names


def test_the_paper_s_line_is_of_the_same_hue_thinner_lighter_and_marked(records):
    one = artefact("averaging")
    style = next(iter(figures.styles(lines(one, records)).values()))
    paper = figures.paler(style)
    assert paper["linewidth"] < style["linewidth"] and paper["marker"] and "marker" not in style
    ours, theirs = (np.array(matplotlib.colors.to_rgb(one["color"])) for one in (style, paper))
    assert (theirs > ours).all()
    (hue, _, _), (their_hue, _, _) = (matplotlib.colors.rgb_to_hsv(colour) for colour in (ours, theirs))
    assert their_hue == pytest.approx(hue)


def run_thrice(one):
    """The artefact with three seeds of each cell, and a record of all."""
    cells = tuple(dict.fromkeys(replace(cell, seed=seed) for cell in one.cells for seed in range(3)))
    curves = {"theta": THETA, "train_loss": LOSSES[True][0], "rounds": [20, 500]}
    rates = {
        cell: [{"lr": lr, "test_accuracy": [0.5, 0.6], "train_loss": [1.0, 0.5]} for lr in cell.lr] for cell in cells
    }
    return replace(one, cells=cells), {cell.name: made(cell, curves | {"rates": rates[cell]}) for cell in cells}


@pytest.mark.parametrize("name", FIGURES)
def test_the_legend_names_every_line_and_is_neither_cut_nor_over_a_panel(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    one, records = run_thrice(artefact(name))
    found = lines(one, records)
    figure = figures.draw(one, found, "")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert set(texts) == {f"{line.name or 'fedgrid'} (n = 3)" for line in found} | {
        f"paper: {line.theirs}" if line.theirs else "paper" for line in found if line.paper
    }
    assert texts == sorted(texts, key=lambda text: text.startswith("paper"))  # ours first
    box, page = legend.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    assert all(axes.get_tightbbox().x1 <= box.x0 for axes in figure.axes)


@pytest.fixture(scope="module")
def unrun():
    """The data of every figure that is declared, drawn without a single record, and its title.

    A glyph that the font lacks and a legend that leaves its axes no room are warnings, and so errors here.
    """
    with contextlib.chdir(ROOT):
        return {name: table(built(name, {})["csv"]) for name in FIGURES}


def test_every_declared_figure_is_drawn_before_anything_has_run(unrun):
    assert set(unrun) >= {f"figure{number}" for number in range(1, 11)} | {"quickstart"}
    assert {whose for found in unrun.values() for _, _, whose in found} == {"paper"}


IID = {"IID": "IID", "non-IID": "NonIID"}
WORDS = {"FedSGD": "FedSGD", "E = 1, B = 8": "FedAvgE1", "E = 5, B = 8": "FedAvgE5"}
RATES_OF = {"FedSGD": (6, 9, 18, 22), "E = 1, B = 8": (3, 6, 9, 18), "E = 5, B = 8": (3, 6, 9, 18)}
NINE = {"C = 0, E = 5": "C0_E5_lr0.05", "C = 0.1, E = 1": "C0.1_E1_lr0.30", "C = 0.1, E = 5": "C0.1_E5_lr0.17"}
NINE |= {"C = 0.1, E = 10": "C0.1_E10_lr0.17", "C = 0.1, E = 20": "C0.1_E20_lr0.15", "C = 1, E = 5": "C1.0_E5_lr0.50"}
# Of each figure: the panel and line where a curve of the paper belongs, and the reading's name.
PLACES = {
    "figure1": {("independent", ""): "fig1_independent", ("shared initial weights", ""): "fig1_common"},
    "figure2": {
        (f"{task}, {panel}", "FedSGD"): f"fig2_{model}_FedSGD_{name}"
        for task, model in (("MNIST CNN", "cnn"), ("Shakespeare LSTM", "lstm"))
        for panel, name in IID.items()
    },
    "figure3": {
        (panel, f"E = {E}"): f"fig3_{name}_E{E}" for panel, name in IID.items() for E in (1, 5, 25, 50, 100, 200)
    },
    "figure4": {("FedSGD", f"η = {lr}"): f"fig4_FedSGD_{lr}" for lr in (0.45, 0.6, 0.7)}
    | {("E = 5, B = 50", f"η = {lr}"): f"fig4_FedAvg_{lr}" for lr in (0.05, 0.15, 0.25)},
    "figure4_start": {
        (f"decay per {unit}, init = {init}", ""): "fig4_FedAvg_0.15"
        for unit, init in (("epoch", "tutorial"), ("round", "tutorial"), ("epoch", "tutorial2015"))
    },
    "figure5": {
        (panel, f"η = {lr}"): f"fig5_{name}_{lr}"
        for panel, name in WORDS.items()
        if name != "FedAvgE5"
        for lr in RATES_OF[panel]
    },
    "figure6": {},
    "figure7": {(panel, "FedSGD"): f"fig7_2nn_FedSGD_{name}" for panel, name in IID.items()},
    "figure8": {
        (panel, f"E = {E}"): f"fig8_{name}_E{E}" for panel, name in IID.items() for E in (1, 5, 25, 50, 100, 200, 400)
    },
    "figure9": {("", line): f"fig9_{name}" for line, name in (NINE | {"SGD": "SGD_lr0.15"}).items()},
    "figure10": {(panel, f"η = {lr}"): f"fig10_{name}_{lr}" for panel, name in WORDS.items() for lr in RATES_OF[panel]},
}


@pytest.mark.parametrize("name", PLACES)
def test_each_curve_of_the_paper_stands_in_its_panel_under_its_settings_point_for_point(unrun, name):
    """Against an independent copy of the readings, whose rounds were measured to a thousandth."""
    assert {(panel, line) for panel, line, _ in unrun[name]} == set(PLACES[name])
    for place, reading in PLACES[name].items():
        points, copy = (np.array(one) for one in (unrun[name][*place, "paper"], READINGS[reading]["points"]))
        if name == "figure9":
            copy = copy[[np.abs(copy[:, 0] - x).argmin() for x in points[:, 0]]]
        assert points.shape == copy.shape
        assert np.abs(points[:, 0] - copy[:, 0]).max() < (0.5 if name == "figure9" else 1e-3)
        assert (points[:, 1] == copy[:, 1]).all()


def test_every_reading_of_the_paper_s_curves_has_its_place():
    placed = {reading for places in PLACES.values() for reading in places.values()}
    assert placed == {name for name in READINGS if name != "_README"}


def test_the_curves_of_figure_9_are_thinned_evenly_from_end_to_end(unrun):
    for (_, line), reading in PLACES["figure9"].items():
        x = [x for x, *_ in unrun["figure9"]["", line, "paper"]]
        copy = [x for x, _ in READINGS[reading]["points"] if x <= 300_001]
        assert (x[0], x[-1]) == (round(copy[0]), round(copy[-1]))
        if len(copy) <= 60:
            assert len(x) == len(copy)
        else:
            assert 50 <= len(x) <= 60
            assert max(np.diff(x)) < 2 * (x[-1] - x[0]) / len(x)


def test_the_paper_s_figure_9_counts_gradients_as_we_do(monkeypatch):
    """Its curves have a point every five rounds, plain SGD's every 500 updates: x is a multiple of their gradients."""
    monkeypatch.chdir(ROOT)
    for line in lines(artefact("figure9"), {}):
        x = np.array([x for x, _ in READINGS[PLACES["figure9"]["", line.name]]["points"]])
        steps = x / (500 if line.name == "SGD" else 5 * gradients(line.cell))
        assert np.abs(steps - steps.round()).max() < 0.01, line.name
        assert steps.max() > 10
