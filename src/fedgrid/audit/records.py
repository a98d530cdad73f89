"""Records against what is declared: all there, whole, of the declared settings, their results those of their curves."""

from collections.abc import Iterator, Mapping
from typing import Any

from fedgrid.audit.campaign import Campaign, Finding
from fedgrid.cells import Race
from fedgrid.curves import best_rate, envelope, rounds_to_target


def damaged(campaign: Campaign) -> Iterator[Finding]:
    """Every record is whole and under its own name."""
    yield from campaign.read[1]


def missing(campaign: Campaign) -> Iterator[Finding]:
    """Every declared cell has its record."""
    for artefact in campaign.artefacts:
        for cell in artefact.cells:
            if not campaign.path(cell.name).is_file():
                yield Finding("missing", cell.name, f"{artefact.name} declares it; it has not been run")


def undeclared(campaign: Campaign) -> Iterator[Finding]:
    """Every record in the tasks' folders has a declaration."""
    tasks = {cell.task for cell in campaign.cells.values()}
    for place in sorted(place for task in tasks for place in (campaign.folder / task).glob("*.json")):
        if place.stem not in campaign.declared:
            yield Finding("undeclared", place.stem, f"{place}: no artefact in params/ declares this record")


def settings(campaign: Campaign) -> Iterator[Finding]:
    """Every record's settings are those declared under its name."""
    for name, one in campaign.records.items():
        if one["settings"] != campaign.cells[name].recorded:
            yield Finding("settings", name, "its settings are not those that its name is the digest of")


def readings(campaign: Campaign) -> Iterator[Finding]:
    """Every race's result is what the paper's rule reads off its curves."""
    for name, one in campaign.records.items():
        if not isinstance(campaign.cells[name], Race):
            continue
        try:
            read, said = reading(one["curves"], campaign.cells[name].settings), one["result"]
            same = all(said[key] == value for key, value in read.items())
        except (KeyError, TypeError, ValueError, IndexError):
            same = False
        if not same:
            yield Finding("readings", name, "its rounds to target or best rate are not those of its curves")


def edges(campaign: Campaign) -> Iterator[Finding]:
    """Every best learning rate lies inside its grid, as section 3 of the paper says of its own.

    At an end, a wider grid may need fewer rounds: our number is not the minimum that the table says it is. This is
    asked where a table or figure takes the best of several rates: a rate alone is no grid, and of rates that are drawn
    each by itself none is the best.
    """
    unfit = unsound(campaign)
    takes_best = [one for one in campaign.artefacts if one.table or (one.figure or {}).get("lines") == "best"]
    for name, cell in {cell.name: cell for artefact in takes_best for cell in artefact.cells}.items():
        if not isinstance(cell, Race) or len(cell.lr) == 1 or name in unfit or name not in campaign.records:
            continue
        read = reading(campaign.records[name]["curves"], cell.settings)
        if read["best_lr_at_grid_end"]:
            grid = f"{cell.lr[0]:g} to {cell.lr[-1]:g}"
            yield Finding(
                "edges", name, f"its best rate, {read['best_lr']:g}, ends its grid, {grid}; widen lr in params/"
            )


def reading(curves: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Rounds to each target and the best rate, from the curves alone; ValueError where they are of other rates."""
    tested = [rate["test_accuracy"] for rate in curves["rates"]]
    lrs = [rate["lr"] for rate in curves["rates"]]
    if lrs != settings["lr"]:
        raise ValueError("the curves are of other learning rates")
    winner = best_rate(lrs, tested)
    best = envelope(tested)
    rounds = curves["rounds"][: len(best)]
    return {
        "rounds_to_target": {str(target): rounds_to_target(rounds, best, target) for target in settings["targets"]},
        "best_lr": winner,
        "best_lr_at_grid_end": winner in (lrs[0], lrs[-1]),
    }


def unsound(campaign: Campaign) -> set[str]:
    """The names of the records of which no table or figure can be made."""
    return {finding.subject for check in (damaged, settings, readings) for finding in check(campaign)}
