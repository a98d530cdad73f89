"""The numbers of a table: rounds to target and speedup, ours from records beside the paper's. Nothing here formats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from fedgrid.grid import paper
from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.cells import Race
from fedgrid.grid.layouts import Spot, place, spots
from fedgrid.grid.plan import training_examples
from fedgrid.results.labels import label
from fedgrid.run import record

NOT_RUN, REACHED, NOT_REACHED = "not run", "reached", "not reached"


@dataclass(frozen=True)
class Entry:
    """One number of a table, ours and the paper's. Rounds and speedups are None where there is none.

    Cells that differ in their seed alone are repeats of one experiment and have one entry.
    """

    row: tuple[str, ...]
    column: tuple[str, ...]
    u: float  # expected updates of a client in a round
    status: str  # reached where all repeats that were run did
    rounds: float | None  # to the target, by the paper's reading of the curve: the mean over the repeats
    spread: float | None  # their sample standard deviation, in rounds
    n: int  # repeats run
    declared: int  # repeats
    reached: int  # repeats that did
    speedup: float | None  # the baseline's rounds over these
    paper_rounds: float | None
    paper_speedup: float | None
    ratio: float | None  # rounds / paper_rounds
    horizon: int
    best_lr: tuple[float, ...]  # of each repeat run
    best_lr_at_grid_end: bool  # of any repeat
    record: tuple[str, ...]  # the repeats' names


def key(settings: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """A place in a table: the values of those settings, a target in percent."""
    return tuple(f"{100 * settings[name]:g} %" if name == "target" else label(settings[name]) for name in names)


def rounds(spot: Spot, records: Mapping[str, Any]) -> list[float | None]:
    """The rounds that each repeat which was run took to the target; None where it did not reach it."""
    results = [records[cell.name]["result"] for cell in spot.cells if cell.name in records]
    return [result["rounds_to_target"][str(spot.settings["target"])] for result in results]


def average(taken: Sequence[float | None]) -> float | None:
    """The mean of the rounds that repeats took; None where one of them did not reach the target, or none was run."""
    reached = [one for one in taken if one is not None]
    return mean(reached) if reached and len(reached) == len(taken) else None


def speedup(spot: Spot, artefact: Artefact, records: Mapping[str, Any]) -> float | None:
    """The baseline's rounds over these: the baseline differs in place by the artefact's baseline settings alone."""
    layout = artefact.table or {}
    wanted = {name: spot.settings[name] for name in place(layout)} | layout["baseline"] | {"changed": {}}
    for base in spots(layout, artefact.cells):
        if base != spot and all(base.settings[name] == value for name, value in wanted.items()):
            return quotient(average(rounds(base, records)), average(rounds(spot, records)))
    return None


def quotient(above: float | None, below: float | None) -> float | None:
    """above / below, None where either is missing."""
    return above / below if above is not None and below else None


def entry(spot: Spot, artefact: Artefact, records: Mapping[str, Any], said: Mapping[str, Any], u: float) -> Entry:
    """The table's entry for an experiment, at one target, beside what the paper says."""
    layout = artefact.table or {}
    taken = rounds(spot, records)
    ours, reached = average(taken), [one for one in taken if one is not None]
    results = [records[one.name]["result"] for one in spot.cells if one.name in records]
    return Entry(
        row=key(spot.settings, layout["rows"]),
        column=key(spot.settings, layout["columns"]),
        u=u,
        status=NOT_RUN if not taken else NOT_REACHED if None in taken else REACHED,
        rounds=ours,
        spread=stdev(reached) if ours is not None and len(reached) > 1 else None,
        n=len(taken),
        declared=len(spot.cells),
        reached=len(reached),
        speedup=speedup(spot, artefact, records),
        paper_rounds=said.get("rounds"),
        paper_speedup=said.get("speedup"),
        ratio=quotient(ours, said.get("rounds")),
        horizon=spot.settings["rounds"],
        best_lr=tuple(result["best_lr"] for result in results if result["best_lr"] is not None),
        best_lr_at_grid_end=any(result["best_lr_at_grid_end"] for result in results),
        record=tuple(one.name for one in spot.cells),
    )


def entries(artefact: Artefact, records: Mapping[str, Any]) -> list[Entry]:
    """The table's entries, one per spot; ValueError where a record's settings are not those declared."""
    record.refuse_others(artefact.cells, records)
    printed = paper.printed(artefact.name)
    found = []
    for spot in spots(artefact.table or {}, artefact.cells):
        cell = spot.cells[0]
        if isinstance(cell, Race):
            said = paper.of(cell, printed, spot.settings["target"])
            u = cell.algorithm.updates(cell, training_examples(cell.dataset))
            found.append(entry(spot, artefact, records, said, u))
    return found
