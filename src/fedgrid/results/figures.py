"""Draws figures (PDF, SVG, PNG) with the paper's curves beside ours, and writes their data as CSV, from records alone.

The same records give the same bytes: no date, no random identifier, no font but matplotlib's own.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.cells import Interpolation
from fedgrid.grid.layouts import axes_range
from fedgrid.results.learning_curves import Line, Told, lines
from fedgrid.run import record

FIGURES = Path("results/figures")
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "fedgrid",
    "pdf.compression": 0,  # zlib-ng, which some systems have for zlib, compresses to other bytes
    "savefig.dpi": 150,
}
# Okabe & Ito's colours, told apart by colour-blind readers too, the first three also in grey, as dashes are.
COLOURS = ("#0072b2", "#e69f00", "#000000", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
MARKERS = "os^DvPX"
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (3, 1, 3, 1, 1, 1)))
AXES = {
    "rounds": "communication rounds",
    "gradients": "minibatch gradient computations",
    "test_accuracy": "test accuracy",
    "train_loss": "loss on the training set",
}
# Inches: width and height of a panel, and of one that stands alone; the legend's width.
PANEL, ALONE, LEGEND = (3.6, 3.2), (5.0, 3.8), 1.9


def styles(found: Sequence[Line]) -> dict[Told, dict[str, Any]]:
    """matplotlib's style of each line by what tells it: a colour and a dash of its own, while there are enough.

    Else lines share them by setting: the last one is the colour, the one before the dash, and before that the width.
    """
    tolds = sorted({line.told for line in found})
    if len(tolds) <= len(COLOURS):
        return {told: style(place, place) for place, told in enumerate(tolds)}
    values: dict[str, set[Any]] = {}
    for name, value in (pair for told in tolds for pair in told):
        values.setdefault(name, set()).add(value)
    colour, dash, width = [*list(values)[::-1], "", "", ""][:3]
    looks = {}
    for told in tolds:
        place = {name: sorted(values[name]).index(value) for name, value in told}
        looks[told] = style(place.get(colour, 0), place.get(dash, 0), place.get(width, 0))
    return looks


def style(colour: int, dash: int, width: int = 0) -> dict[str, Any]:
    """matplotlib's style of a line, each part of it by its place."""
    return {
        "color": COLOURS[colour % len(COLOURS)],
        "linestyle": DASHES[dash % len(DASHES)],
        "linewidth": 1.3 + width,
    }


def paler(ours: Mapping[str, Any]) -> dict[str, Any]:
    """The paper's style of a line: of the same hue, but light and thin, with the markers of its hue."""
    light = tuple((part + 1) / 2 for part in to_rgb(ours["color"]))
    marker = MARKERS[COLOURS.index(ours["color"])]
    return {"color": light, "linestyle": ours["linestyle"], "linewidth": 0.8, "marker": marker, "markersize": 2.5}


def shown(line: Line, whose: str) -> str:
    """What the legend says of a line."""
    if whose == "paper":
        return f"paper: {line.theirs}" if line.theirs else "paper"
    return (line.name or "fedgrid") + (f" (n = {line.n})" if line.n > 1 else "")


def plot(axes: Axes, line: Line, look: Mapping[str, Any]) -> None:
    """The line in its panel: the mean of ours, above all else, with the range of its repeats; the paper's curve."""
    if line.paper:
        axes.plot(*zip(*line.paper, strict=True), label=shown(line, "paper"), **paler(look))
    if line.ours:
        x, mean, low, high = zip(*line.ours, strict=True)
        axes.plot(x, mean, label=shown(line, "ours"), zorder=3, marker="" if len(x) > 1 else ".", **look)
        if line.n > 1:
            axes.fill_between(x, low, high, color=look["color"], alpha=0.2, linewidth=0)


def dress(axes: Axes, layout: Mapping[str, Any], panel: Sequence[Line]) -> None:
    """The panel's title and axes and, of test accuracy, its cells' targets."""
    axes.set_title(panel[0].panel, fontsize=9)
    if layout["kind"] == "interpolation":
        axes.set(xlabel="mixing weight θ", ylabel=AXES["train_loss"], xlim=Interpolation.span)
        return
    axes.set(xlabel=AXES[layout["x"]], ylabel=AXES[layout["y"]])
    ends, log = axes_range(layout, panel[0].cell), layout.get("log", [])
    if "y" in log:
        axes.set_yscale("log")
    if "x" in log and ends["x"][0] > 0:
        axes.set_xscale("log", subs=())
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    elif "x" in log:
        axes.set_xscale("symlog", linthresh=10)  # a logarithm from 0 needs a linear start
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set(xlim=ends["x"], ylim=ends["y"])
    if layout["y"] == "test_accuracy":
        for target in sorted({target for line in panel for target in line.cell.settings["targets"]}):
            axes.axhline(target, color="#bbbbbb", linewidth=0.8, zorder=0)


def status(artefact: Artefact, records: Mapping[str, Any]) -> str:
    """What the title says of cells that have not been run; nothing where all have."""
    run, cells = sum(cell.name in records for cell in artefact.cells), len(artefact.cells)
    return "" if run == cells else f"{run} of {cells} cells run" if run else "not run"


def draw(artefact: Artefact, found: Sequence[Line], note: str) -> Figure:
    """The figure: its panels, four of them two by two, the legend beside them, title and note above."""
    panels = list(dict.fromkeys(line.panel for line in found))
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    width, height = PANEL if len(panels) > 1 else ALONE
    figure = Figure(figsize=(width * columns + LEGEND, height * rows), layout="constrained")
    looks = styles(found)
    for place, title in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        panel = [line for line in found if line.panel == title]
        dress(axes, artefact.figure or {}, panel)
        for line in panel:
            plot(axes, line, looks[line.told])
    if handles := legend(figure, found):
        figure.legend(handles.values(), handles.keys(), loc="outside right center")
    title = fill(caption(artefact), int(13 * figure.get_figwidth()))
    figure.suptitle(f"{title}\n{note}" if note else title, fontsize=9)
    return figure


def caption(artefact: Artefact) -> str:
    """The title as it is set in lines: none is broken at an equals sign."""
    return artefact.title.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def legend(figure: Figure, found: Sequence[Line]) -> dict[str, Any]:
    """The handle of every line drawn, by its text: ours, then the paper's, each in the order of their settings."""
    labelled = [axes.get_legend_handles_labels() for axes in figure.axes]
    drawn = {text: handle for handles, texts in labelled for handle, text in zip(handles, texts, strict=True)}
    ordered = sorted(found, key=lambda line: line.told)
    texts = dict.fromkeys(shown(line, whose) for whose in ("ours", "paper") for line in ordered)
    return {text: drawn[text] for text in texts if text in drawn}


def comma_separated(found: Sequence[Line]) -> bytes:
    """The points of every line, the range of the repeats and their number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["panel", "line", "whose", "x", "y", "low", "high", "n"])
    for line in found:
        writer.writerows((line.panel, line.name, "ours", *point, line.n) for point in line.ours)
        writer.writerows((line.panel, line.name, "paper", *point, "", "", "") for point in line.paper)
    return text.getvalue().encode()


def rendered(figure: Figure, suffix: str) -> bytes:
    """The figure in that format, free of dates and versions."""
    anonymous = {
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, metadata=anonymous[suffix])
    return buffer.getvalue()


def build(artefact: Artefact, records: Mapping[str, Any]) -> dict[Path, bytes]:
    """The figure's files and their contents, from whichever of its records exist."""
    record.refuse_others(artefact.cells, records)
    found = lines(artefact, records)
    with mpl.rc_context():
        mpl.rcdefaults()  # not a user's own matplotlibrc
        mpl.rcParams.update(STYLE)  # type: ignore[arg-type]  # its keys are literals
        figure = draw(artefact, found, status(artefact, records))
        files = {FIGURES / f"{artefact.name}.{suffix}": rendered(figure, suffix) for suffix in ("pdf", "svg", "png")}
    return {FIGURES / f"{artefact.name}.csv": comma_separated(found)} | files
