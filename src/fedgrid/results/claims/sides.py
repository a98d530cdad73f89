"""The numbers that claims are checked on: ours, from records, and the paper's, in one shape. Nothing here judges."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any, NamedTuple

from fedgrid.grid import paper
from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.cells import Cell
from fedgrid.grid.layouts import by_seed, spots
from fedgrid.results.labels import label
from fedgrid.results.learning_curves import Points, lines
from fedgrid.results.rounds_to_target import NOT_REACHED, entries


class Seen(NamedTuple):
    """A number or curve at its settings; None, or no points, where it was not run or is not printed."""

    at: Mapping[str, Any]
    value: Any


@dataclass(frozen=True)
class Side:
    """The numbers of one side, ours or the paper's, of the artefacts that are declared."""

    ours: bool
    artefacts: Mapping[str, Artefact]
    records: Mapping[str, Any]

    def rounds(self, *names: str, **at: Any) -> list[Seen]:
        """Rounds to target by those tables, at those settings, `target` and `u` among them; ∞ where not reached."""
        return [seen for name in names for seen in self.tables.get(name, []) if has(seen, at)]

    @cached_property
    def tables(self) -> dict[str, list[Seen]]:
        """The rounds that each table tells, by its name."""
        return {name: list(self.told(artefact)) for name, artefact in self.artefacts.items() if artefact.table}

    def told(self, artefact: Artefact) -> Iterator[Seen]:
        """The rounds that a table tells."""
        layout, printed = artefact.table or {}, paper.printed(artefact.name)
        for spot, entry in zip(spots(layout, artefact.cells), entries(artefact, self.records), strict=True):
            said = paper.of(spot.cells[0], printed, spot.settings["target"])
            ours = math.inf if entry.status == NOT_REACHED else entry.rounds
            theirs = math.inf if said.get("rounds", 0) is None else said.get("rounds")
            yield Seen(dict(spot.settings) | {"u": entry.u}, ours if self.ours else theirs)

    def curves(self, name: str) -> list[Seen]:
        """The lines of a figure, each a tuple of points (x, y); `lr` is a line's own rate."""
        found = []
        artefact = self.artefacts[name]
        for line in lines(artefact, self.records) if artefact.figure else []:
            points: Points = tuple((x, y) for x, y, *_ in line.ours) if self.ours else line.paper
            found.append(Seen(line.settings, points))
        return found

    def accuracies(self, name: str, **at: Any) -> list[Seen]:
        """The best test accuracy of an artefact's races at those settings, the mean over their repeats."""
        printed, experiments = paper.printed(name), by_seed(self.artefacts[name].cells)
        found = [
            Seen(
                repeats[0].settings, self.best(repeats) if self.ours else paper.of(repeats[0], printed).get("accuracy")
            )
            for repeats in experiments
        ]
        return [seen for seen in found if has(seen, at)]

    def best(self, repeats: Sequence[Cell]) -> float | None:
        """The mean of the best accuracies of the repeats that were run."""
        results = [self.records[cell.name]["result"] for cell in repeats if cell.name in self.records]
        found = [one["best_accuracy"] for one in results if one["best_accuracy"] is not None]
        return mean(found) if found else None

    def parameters(self) -> Iterator[tuple[Seen, float]]:
        """The weights of each model that the paper counts, by the task of a declared cell; with the paper's number."""
        cells = [cell for artefact in self.artefacts.values() for cell in artefact.cells]
        for entry in paper.printed("models"):
            cell = next((cell for cell in cells if cell.task.startswith(entry["task"])), None)
            count = cell.model.parameters if cell else None
            at = {"task": cell.task if cell else entry["task"]}
            yield Seen(at, count if self.ours else entry["parameters"]), entry["parameters"]


def has(seen: Seen, at: Mapping[str, Any]) -> bool:
    """Whether it stands at those settings."""
    return all(seen.at.get(name) == value for name, value in at.items())


def number(seen: Sequence[Seen], **at: Any) -> float | None:
    """The number at those settings; None where there is none."""
    return next((one.value for one in seen if has(one, at)), None)


def groups(seen: Sequence[Seen], *names: str) -> list[tuple[str, list[Seen]]]:
    """Those that agree in these settings, by their labels: MNIST 2NN, non-IID."""
    found: dict[str, list[Seen]] = {}
    for one in seen:
        found.setdefault(", ".join(label(one.at[name]) for name in names), []).append(one)
    return list(found.items())
