"""Gathers where a number of a table or figure comes from: its records, and the commands that train them again.

`explain` shows it in a terminal, `report` on a page. Nothing here draws or writes.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgrid.files import sha256
from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.cells import Cell
from fedgrid.grid.layouts import by_seed, place, spots
from fedgrid.results import tables
from fedgrid.results.figures import AXES
from fedgrid.results.labels import label
from fedgrid.results.learning_curves import Points, lines, reading, said
from fedgrid.results.rounds_to_target import NOT_RUN, entries
from fedgrid.run import record
from fedgrid.run.statements import verified
from fedgrid.tasks.datasets import DATASETS

TABLE = {"x": "rounds", "y": "test_accuracy"}  # what a table's rounds are read off: the envelope over the rates
WHERE = {"rounds": "in round {:,g}", "gradients": "after {:,g} gradients", "θ": "at θ = {:.2g}"}


@dataclass(frozen=True)
class Source:
    """A cell and what its record says; of one that was not run, the commands alone."""

    cell: Cell
    path: str
    sha256: str  # of the record; empty where there is none
    statement: str  # who signed it
    facts: Mapping[str, Mapping[str, str]]  # result, settings, provenance: what each says
    curve: Points
    commands: tuple[str, ...]  # that make the record anew


@dataclass(frozen=True)
class Trace:
    """An entry of a table or a line of a figure, and the sources of its repeats."""

    name: str  # its own in its artefact
    settings: Mapping[str, Any]
    measure: str
    says: Mapping[str, str]  # ours, the paper's and, of an entry, their ratio
    axes: tuple[str, str]  # of the curves: x, y
    target: float | None
    sources: tuple[Source, ...]

    @property
    def run(self) -> bool:
        """Whether a repeat has been run."""
        return any(source.sha256 for source in self.sources)

    @property
    def curves(self) -> list[Points]:
        """The curves of the repeats that have been run."""
        return [source.curve for source in self.sources if source.curve]

    @property
    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The least and the greatest x and y of the curves, the target among them; of a trace that has curves."""
        x, y = zip(*(point for curve in self.curves for point in curve), strict=True)
        known = [*y, *([] if self.target is None else [self.target])]
        return (min(x), max(x)), (min(known), max(known))


def traces(artefact: Artefact, records: Mapping[str, Any]) -> list[Trace]:
    """Every number of the artefact: its table's entries or, where it has none, its figure's lines.

    ValueError where a record's settings are not those declared.
    """
    return list((of_table if artefact.table else of_figure)(artefact, records))


def of_table(artefact: Artefact, records: Mapping[str, Any]) -> Iterator[Trace]:
    """The entries of a table, in their order."""
    layout = artefact.table or {}
    for spot, entry in zip(spots(layout, artefact.cells), entries(artefact, records), strict=True):
        at = spot.settings
        yield Trace(
            name=" ".join(phrase(name, at[name]) for name in place(layout)),
            settings=at,
            measure=f"rounds to {phrase('target', at['target'])} test accuracy",
            says={"ours": tables.ours(entry), "paper": tables.theirs(entry), "ours/paper": tables.ratio(entry) or "—"},
            axes=(AXES["rounds"], "best test accuracy"),
            target=at["target"],
            sources=tuple(source(cell, records, TABLE) for cell in spot.cells),
        )


def of_figure(artefact: Artefact, records: Mapping[str, Any]) -> Iterator[Trace]:
    """The lines of a figure, panel by panel."""
    record.refuse_others(artefact.cells, records)
    layout = {"x": "θ", "y": "train_loss"} | dict(artefact.figure or {})
    x, y = layout["x"], layout["y"]
    repeats = {several[0]: several for several in by_seed(artefact.cells)}
    for line in lines(artefact, records):
        lr = dict(line.told).get("lr") if layout.get("lines") == "each" else None
        targets = line.cell.settings.get("targets") if y == "test_accuracy" else None
        yield Trace(
            name=" ".join(filter(None, (line.panel, line.name))).replace(" = ", "=").replace(",", ""),
            settings=line.settings,
            measure=f"{'greatest' if y == 'test_accuracy' else 'least'} {AXES[y]}",
            says={"ours": best(line.ours, x, y) or NOT_RUN, "paper": best(line.paper, x, y) or "—"},
            axes=(AXES.get(x, "mixing weight θ"), AXES[y]),
            target=targets[-1] if targets else None,
            sources=tuple(source(cell, records, layout, lr) for cell in repeats[line.cell]),
        )


def best(points: Sequence[tuple[float, ...]], x: str, y: str) -> str:
    """A line's greatest accuracy or least loss and the first x that has it; nothing of a line without points."""
    if not points:
        return ""
    at, value, *_ = (max if y == "test_accuracy" else min)(points, key=lambda point: point[1])
    return f"{value:.4g} {WHERE[x].format(at)}"


def phrase(name: str, value: Any) -> str:
    """A setting as an entry's name has it: E=5, non-IID, 80 %."""
    if name == "changed":
        return label(value).replace(",", "")
    plain = tuple(value) if isinstance(value, list) else value
    return f"{100 * value:g} %" if name == "target" else said(name, plain).replace(" = ", "=")


def source(cell: Cell, records: Mapping[str, Any], layout: Mapping[str, Any], lr: float | None = None) -> Source:
    """What is known of a cell; its curve is what a figure of that layout shows, of that learning rate or the best."""
    path = record.path(cell.name)
    if cell.name not in records:
        return Source(cell, path.as_posix(), "", "", {}, (), commands(cell, {}))
    made = records[cell.name]
    facts = {
        "result": listed(made["result"]) | pruned(made["curves"]),
        "settings": listed(cell.settings),
        "provenance": listed(made["provenance"]),
    }
    curve = tuple(reading(cell, made["curves"], layout, lr).items())
    return Source(cell, path.as_posix(), sha256(path), verified(path), facts, curve, commands(cell, made["provenance"]))


def pruned(curves: Mapping[str, Any]) -> dict[str, str]:
    """The learning rates that left their race because they could not win, and when; nothing where none did."""
    rates = [rate for rate in curves.get("rates", []) if "pruned" in rate]
    says = ", ".join(f"{rate['lr']:g} in round {rate['pruned']:,}" for rate in rates)
    return {"pruned": says} if says else {}


def listed(section: Mapping[str, Any]) -> dict[str, str]:
    """A section of a record as pairs of words and values."""
    return {name.replace("_", " "): shown(value) for name, value in section.items()}


def shown(value: Any) -> str:
    """A record's value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "—", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def commands(cell: Cell, provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """What to paste to make the record: at its commit, or with these sources where it has none.

    In a folder of one's own, which has no sources, the commit is one of fedgrid's clone. A record that is there is
    deleted before, for `run` keeps it, and git takes away none that it does not track.
    """
    elsewhere = "" if Path("src/fedgrid").is_dir() else "# in the clone of fedgrid: "
    commit = " ".join(str(provenance.get("commit") or "").split())  # one line, as a comment is
    checkout = [f"{elsewhere}{shlex.join(['git', 'checkout', commit])}"] if commit else []
    warning = ["# it was made from changes that no commit holds"] if provenance.get("dirty") else []
    verbs = [("fetch", cell.dataset), *([("encode", cell.dataset)] if DATASETS[cell.dataset].posts else [])]
    verbs += [("partition", cell.partition_name), ("run", cell.name)]
    *before, run = (["python", "-m", "fedgrid", *verb] for verb in verbs)
    deleted = [["rm", "-f", record.path(cell.name).as_posix()]] if provenance else []
    return (*warning, *checkout, *map(shlex.join, [*before, *deleted, run]))
