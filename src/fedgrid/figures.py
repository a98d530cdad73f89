"""Figures as PDF, SVG and PNG, their data as CSV, the paper's curves drawn beside ours. Everything comes from records.

The same records give the same bytes: no date, no random identifier, no font but matplotlib's own.
"""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedgrid import paper, record
from fedgrid.artefacts import Artefact
from fedgrid.cells import Averaging, Cell
from fedgrid.curves import envelope
from fedgrid.tables import label

FIGURES = Path("results/figures")
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "fedgrid",
    "savefig.dpi": 150,
}
# Okabe & Ito's colours, told apart by colour-blind readers too: a colour per B, a dash per E, a width per C.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
DASHES = ("-", "--", ":", "-.")
PAPER_COLOUR = "#888888"
Point = tuple[float, float]
# A line of a figure: its panel, its label, whose it is ("ours" or "paper"), its points and matplotlib's line style.
Line = tuple[str, str, str, list[Point], dict[str, Any]]


def accuracy_lines(artefact: Artefact, records: Mapping[str, Any]) -> list[Line]:
    """The envelope of each cell that has been run, and the paper's curve where there is one."""
    layout = artefact.figure or {}
    values = {name: sorted({getattr(cell, name) for cell in artefact.cells}) for name in ("C", "E", "B")}
    varied = [name for name, several in values.items() if len(several) > 1]
    lines: list[Line] = []
    for cell in artefact.cells:
        panel = label(cell.settings[layout["panels"]])
        name = ", ".join(f"{name} = {label(cell.settings[name])}" for name in varied)
        place = {name: several.index(getattr(cell, name)) for name, several in values.items()}
        colour, dash = COLOURS[place["B"] % len(COLOURS)], DASHES[place["E"] % len(DASHES)]
        style = {"color": colour, "linestyle": dash, "linewidth": 1.2 + place["C"]}
        if cell.name in records:
            curves = records[cell.name]["curves"]
            best = envelope([rate["test_accuracy"] for rate in curves["rates"]]).tolist()
            lines.append((panel, name, "ours", list(zip(curves["rounds"], best, strict=False)), style))
        lines += paper_line(artefact, cell, panel, name)
    return lines


def averaging_lines(artefact: Artefact, records: Mapping[str, Any]) -> list[Line]:
    """The training loss of every average, from independent and from shared initial weights."""
    lines: list[Line] = []
    for cell in artefact.cells:
        panel = "shared initial weights" if isinstance(cell, Averaging) and cell.shared_start else "independent"
        if cell.name in records:
            curves = records[cell.name]["curves"]
            points = list(zip(curves["theta"], curves["train_loss"], strict=True))
            lines.append((panel, "fedgrid", "ours", points, {"color": COLOURS[0]}))
        lines += paper_line(artefact, cell, panel, "")
    return lines


def paper_line(artefact: Artefact, cell: Cell, panel: str, name: str) -> list[Line]:
    """The paper's own curve for the cell, if it was read off the figure."""
    points = paper.of(cell, paper.printed(artefact.name)).get("points")
    shown = f"paper: {name}" if name else "paper"
    style = {"color": PAPER_COLOUR, "linewidth": 1, "marker": ".", "markersize": 4}
    return [(panel, shown, "paper", [(x, y) for x, y in points], style)] if points else []


def dress_accuracy(axes: Axes, artefact: Artefact) -> None:
    """The axes of test accuracy by round, in the paper's ranges, with the target."""
    ranges = (artefact.figure or {})["range"]
    axes.set(xlabel="communication rounds", ylabel="test accuracy", xlim=ranges["rounds"], ylim=ranges["accuracy"])
    axes.set_xscale("symlog", linthresh=10)
    axes.xaxis.set_major_formatter(mpl.ticker.ScalarFormatter())
    targets = {target for cell in artefact.cells for target in cell.settings.get("targets", [])}
    for target in sorted(targets):
        axes.axhline(target, color="#bbbbbb", linewidth=0.8, zorder=0)


def dress_averaging(axes: Axes, artefact: Artefact) -> None:
    """The axes of training loss by mixing weight, in the paper's ranges."""
    axes.set(xlabel="mixing weight θ", ylabel="loss on the training set", xlim=(-0.2, 1.2))


KINDS: dict[str, tuple[Callable[[Artefact, Mapping[str, Any]], list[Line]], Callable[[Axes, Artefact], None]]] = {
    "accuracy": (accuracy_lines, dress_accuracy),
    "averaging": (averaging_lines, dress_averaging),
}


def draw(artefact: Artefact, lines: list[Line]) -> Figure:
    """The figure: a panel beside another for each panel that the lines name."""
    panels = list(dict.fromkeys(line[0] for line in lines)) or ["not run"]
    dress = KINDS[(artefact.figure or {})["kind"]][1]
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        dress(axes, artefact)
        axes.set_title(panel, fontsize=9)
        for _, name, _, points, style in (line for line in lines if line[0] == panel):
            axes.plot(*zip(*points, strict=True), label=name, **style)
    handles = {
        text: handle for axes in figure.axes for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside right center", fontsize=8)
    figure.suptitle(fill(artefact.title, 60 * len(panels)), fontsize=9)  # a single panel is narrow
    return figure


def comma_separated(lines: list[Line]) -> bytes:
    """The points of every line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["panel", "line", "whose", "x", "y"])
    writer.writerows((panel, name, whose, x, y) for panel, name, whose, points, _ in lines for x, y in points)
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
    with mpl.rc_context():
        mpl.rcdefaults()  # not a user's own matplotlibrc
        mpl.rcParams.update(STYLE)  # type: ignore[arg-type]  # its keys are literals
        lines = KINDS[(artefact.figure or {})["kind"]][0](artefact, records)
        figure = draw(artefact, lines)
        files = {FIGURES / f"{artefact.name}.{suffix}": rendered(figure, suffix) for suffix in ("pdf", "svg", "png")}
    return {FIGURES / f"{artefact.name}.csv": comma_separated(lines)} | files
