"""Checks results against curves: each record's result, and where its race ended, must follow from its curves."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fedgrid.audit.campaign import Campaign, Finding
from fedgrid.audit.records import damaged, settings
from fedgrid.curves import SCHEDULES, best_rate, envelope, leaves, rounds_to_target
from fedgrid.grid.cells import Cell, Interpolation, Race

Plain = Mapping[str, Any]


def readings(campaign: Campaign) -> Iterator[Finding]:
    """Every record's result is what its curves give, and its curves go as far as its settings let them."""
    for name, one in campaign.records.items():
        try:
            read, said = reading(campaign.cells[name], one["curves"]), one["result"]
            other = [key for key in {**read, **said} if key not in read or said.get(key) != read[key]]
            says = f"its curves give another {', '.join(other)}" if other else ""
        except ValueError as error:
            says = str(error)
        if says:
            yield Finding("readings", name, says)


def reading(cell: Cell, curves: Plain) -> dict[str, Any]:
    """The result that those curves give; ValueError where they are none of that cell."""
    if isinstance(cell, Interpolation):
        return of_averages(cell, curves)
    assert isinstance(cell, Race)
    return of_race(cell, curves)


def of_race(cell: Race, curves: Plain) -> dict[str, Any]:
    """A race's end, rounds to each target and best rate; ValueError where it was not run to its end."""
    tested = [rate["test_accuracy"] for rate in curves["rates"]]
    if tuple(rate["lr"] for rate in curves["rates"]) != cell.lr:
        raise ValueError("its curves are of other learning rates")
    best = envelope(tested)
    check_pruned(cell, curves)
    ended, last = end(cell, curves, best)
    if last > cell.rounds or not evaluated(cell, curves, last):
        raise ValueError(f"its curves are not evaluated as scheduled up to its end, which by them is {ended}")
    winner = best_rate(cell.lr, tested)
    return {
        "ended": ended,
        "rounds": last,
        "rounds_to_target": {str(a): rounds_to_target(curves["rounds"], best, a) for a in cell.targets},
        "best_accuracy": float(best[-1]) if len(best) else None,
        "best_lr": winner,
        "best_lr_at_grid_end": winner in (cell.lr[0], cell.lr[-1]),
    }


def check_pruned(cell: Race, curves: Plain) -> None:
    """ValueError naming a rate that did not leave its race when the rule of the cell ends it."""
    rates = curves["rates"]
    ends = leaves(cell.prune, [rate["test_accuracy"] for rate in rates]) if cell.prune else [None] * len(rates)
    for rate, n in zip(rates, ends, strict=True):
        by_rule, said = curves["rounds"][n - 1] if n else None, rate.get("pruned")
        if said != by_rule:
            raise ValueError(f"by its curves the rate {rate['lr']:g} is {when(by_rule)}; it says {when(said)}")
        if said is not None and rate["diverged"] is not None:
            raise ValueError(f"the rate {rate['lr']:g} is {when(said)}; it says that it diverged, too")


def when(t: int | None) -> str:
    """Whether and when a rate was pruned."""
    return "never pruned" if t is None else f"pruned in round {t}"


def end(cell: Race, curves: Plain, best: Sequence[float] | np.ndarray) -> tuple[str, int]:
    """Why and after which round a race of those curves is over: "target", "diverged" or "horizon"."""
    target = cell.targets[-1] if cell.targets else math.inf
    reached = [t for t, accuracy in zip(curves["rounds"], best, strict=False) if accuracy >= target]
    if reached:
        return "target", reached[0]
    left = [rate["diverged"] if rate["diverged"] is not None else rate.get("pruned") for rate in curves["rates"]]
    return ("horizon", cell.rounds) if None in left else ("diverged", max(left))


def evaluated(cell: Race, curves: Plain, last: int) -> bool:
    """Whether each rate has a value for each round of the schedule up to the last, or to that in which it left."""
    scheduled = [t for t in range(1, last + 1) if SCHEDULES[cell.evaluate](t)]
    diverged, pruned = ([rate.get(why) for rate in curves["rates"]] for why in ("diverged", "pruned"))
    # in the round that leaves it diverged a rate is not evaluated; it is pruned by an evaluation
    ends = [p if d is None else d - 1 for d, p in zip(diverged, pruned, strict=True)]
    seen = [[t for t in scheduled if end is None or t <= end] for end in ends]
    lengths = [len(rate["test_accuracy"]) for rate in curves["rates"]]
    early = all(t is None or t <= last for t in [*diverged, *pruned])
    return early and lengths == [*map(len, seen)] and curves["rounds"] == max(seen, key=len)


def of_averages(cell: Interpolation, curves: Plain) -> dict[str, Any]:
    """Figure 1's numbers: the parents' losses, the least and the greatest between them; ValueError at another θ."""
    theta = np.linspace(*cell.span, cell.points)
    if len(curves["theta"]) != cell.points or not np.allclose(curves["theta"], theta):
        raise ValueError(f"its θ are not {cell.points} from {cell.span[0]:g} to {cell.span[1]:g}")
    between = [(loss, t) for t, loss in zip(curves["theta"], curves["train_loss"], strict=True) if 0 <= t <= 1]
    ends = {"least": min(between), "greatest": max(between)}
    return {"parents": curves["parents"]} | {key: {"loss": loss, "theta": t} for key, (loss, t) in ends.items()}


def edges(campaign: Campaign) -> Iterator[Finding]:
    """Every best learning rate lies inside its grid, as section 3 of the paper says of its own.

    At an end, others may need fewer rounds: our number is not the minimum that the table says it is. This is
    asked where a table or figure takes the best of several rates: a rate alone is no grid, and of rates that are drawn
    each by itself none is the best.
    """
    unfit = unsound(campaign)
    takes_best = [one for one in campaign.artefacts if one.table or (one.figure or {}).get("lines") == "best"]
    for name, cell in {cell.name: cell for artefact in takes_best for cell in artefact.cells}.items():
        if not isinstance(cell, Race) or len(cell.lr) == 1 or name in unfit or name not in campaign.records:
            continue
        result = campaign.records[name]["result"]
        if result["best_lr_at_grid_end"]:
            grid = f"{cell.lr[0]:g} to {cell.lr[-1]:g}"
            yield Finding(
                "edges", name, f"its best rate, {result['best_lr']:g}, ends its grid, {grid}; widen lr in params/"
            )


def unsound(campaign: Campaign) -> set[str]:
    """The names of the records of which no table or figure can be made."""
    return {finding.subject for check in (damaged, settings, readings) for finding in check(campaign)}
