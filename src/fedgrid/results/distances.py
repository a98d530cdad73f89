"""How far we are from the paper's prints, by pixels and initial weights. docs/deviations.md states the criterion.

For a number that the paper prints and we measured, the distance is ln(ours/paper); for several, their root mean square.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import isinf, log, sqrt
from statistics import mean
from typing import Any

from fedgrid.grid import paper
from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.cells import Cell, Interpolation, Race
from fedgrid.grid.layouts import by_seed, spots
from fedgrid.results.learning_curves import mean_and_range, reading
from fedgrid.results.rounds_to_target import average, rounds

Records = Mapping[str, Any]
Combination = tuple[str, str]  # scaling, init
Pair = tuple[Combination, float, float]  # of a combination: our number, and the paper's


def to_target(artefact: Artefact, records: Records) -> Iterator[Pair]:
    """Rounds to target, the mean over seeds; the horizon where even one of them did not reach the target."""
    printed = paper.printed(artefact.name)
    for spot in spots(artefact.table or {}, artefact.cells):
        said = paper.of(spot.cells[0], printed).get("rounds")
        if said and (taken := rounds(spot, records)):
            yield combination(spot.cells[0]), average(taken) or spot.settings["rounds"], said


def fedsgd_errors(artefact: Artefact, records: Records) -> Iterator[Pair]:
    """One minus FedSGD's best accuracy so far, where Figure 7 can be read and as far as all seeds' races go."""
    cells = tuple(cell for cell in artefact.cells if isinstance(cell, Race) and cell.E == 1 and isinf(cell.B))
    for which, ours, said in on_curves(cells, records, "figure7", "test_accuracy"):
        yield which, 1 - ours, 1 - said


def training_losses(artefact: Artefact, records: Records) -> Iterator[Pair]:
    """The training loss, where Figure 8 can be read."""
    yield from on_curves(artefact.cells, records, "figure8", "train_loss")


def on_curves(cells: Sequence[Cell], records: Records, figure: str, y: str) -> Iterator[Pair]:
    """Ours, the mean over seeds, and the paper's at each point of its curve where all of ours have one."""
    layout = {"x": "rounds", "y": y}
    for repeats in by_seed(cells):
        curves = [records[cell.name]["curves"] for cell in repeats if cell.name in records]
        ours = {x: y for x, y, _, _ in mean_and_range([reading(repeats[0], one, layout) for one in curves])}
        for t, said in paper.of(repeats[0], paper.printed(figure)).get("points", []):
            if t in ours:
                yield combination(repeats[0]), ours[t], said


def averaged_losses(artefact: Artefact, records: Records) -> Iterator[Pair]:
    """Figure 1's losses, means over seeds: the parents'; the greatest between independent ones, the least of shared."""
    for repeats in by_seed(artefact.cells):
        first, results = repeats[0], [records[cell.name]["result"] for cell in repeats if cell.name in records]
        if not (results and isinstance(first, Interpolation)):
            continue
        points = dict(paper.of(first, paper.printed("figure1"))["points"])
        between = [loss for theta, loss in points.items() if 0 <= theta <= 1]
        yield combination(first), mean(mean(one["parents"]) for one in results), mean((points[0.0], points[1.0]))
        which, said = ("least", min(between)) if first.shared_start else ("greatest", max(between))
        yield combination(first), mean(one[which]["loss"] for one in results), said


# Groups of quantities: the artefact that has their cells, and what reads them. The first three make a distance.
GROUPS: dict[str, tuple[str, Callable[[Artefact, Records], Iterator[Pair]]]] = {
    "rounds": ("scaling", to_target),
    "FedSGD's curve": ("scaling", fedsgd_errors),
    "Figure 1": ("scaling_figure1", averaged_losses),
    "CNN": ("scaling_cnn", to_target),
    "Figure 8": ("scaling_figure8", training_losses),
}
JUDGED = ("rounds", "FedSGD's curve", "Figure 1")


def combination(cell: Cell) -> Combination:
    """What is compared: how the pixels are scaled, and how the weights start."""
    return cell.scaling, cell.init


def root_mean_square(values: Sequence[float]) -> float:
    """√ of the mean of the squares."""
    return sqrt(mean(value**2 for value in values))


def distances(artefacts: Sequence[Artefact], records: Records) -> dict[Combination, dict[str, list[float]]]:
    """ln(ours/paper) of every number that was measured, by combination and group."""
    there = {artefact.name: artefact for artefact in artefacts}
    found: dict[Combination, dict[str, list[float]]] = {}
    for group, (name, pairs) in GROUPS.items():
        for which, ours, said in pairs(there[name], records):
            found.setdefault(which, {}).setdefault(group, []).append(log(ours / said))
    return found


def unfinished(artefacts: Sequence[Artefact], records: Records) -> set[Combination]:
    """The combinations of which a cell was not run that their distance is made of."""
    judged = {GROUPS[group][0] for group in JUDGED}
    cells = (cell for artefact in artefacts if artefact.name in judged for cell in artefact.cells)
    return {combination(cell) for cell in cells if cell.name not in records}


def rows(
    found: Mapping[Combination, Mapping[str, Sequence[float]]], lacking: Collection[Combination]
) -> Iterator[list[str]]:
    """A row for each combination: the distance, that of each group, and in brackets of how many numbers it is.

    Of a combination that lacks a cell there is no distance yet: it would be compared with others over other numbers.
    """
    for which, groups in found.items():
        each = {group: root_mean_square(values) for group, values in groups.items()}
        whole = which not in lacking and all(group in each for group in JUDGED)
        judged = f"{root_mean_square([each[group] for group in JUDGED]):.3f}" if whole else "not all run"
        shown = [f"{each[group]:.3f} ({len(groups[group])})" if group in each else "not run" for group in GROUPS]
        yield [*which, judged, *shown]


HEADERS = ["pixels", "initial weights", "distance", *GROUPS]
