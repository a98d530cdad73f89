"""The cells that were not run, in the order in which they add most to the tables and figures per hour."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tabulate import tabulate

from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.layouts import by_seed
from fedgrid.grid.plan import Cost, Pace, plan


@dataclass
class Waiting:
    """A cell that was not run: what it costs, the artefacts that it fills a place of, and how much it adds there.

    The first record of an experiment adds one to each artefact that shows it; the k-th repeat, by another seed, 1/k.
    """

    cost: Cost
    adds: float = 0.0
    fills: list[str] = field(default_factory=list)

    @property
    def worth(self) -> float:
        """What it adds per expected hour."""
        return self.adds / self.cost.hours


def queue(
    artefacts: Sequence[Artefact], done: Collection[str], train: Callable[[str], int], pace: Pace
) -> list[Waiting]:
    """The cells of those artefacts that have no record, each once, what adds most per hour first.

    `done` names the cells that have one, `train` counts a dataset's examples, `pace` gives examples per second.
    """
    waiting: dict[str, Waiting] = {}
    for artefact in artefacts:
        costs = {one.cell.name: one for one in plan(artefact, done, train, pace)}
        for repeats in by_seed(artefact.cells):
            ordered = sorted(repeats, key=lambda cell: cell.name not in done)  # what was run, then as declared
            for place, cell in enumerate(ordered, start=1):
                if cell.name not in done:
                    one = waiting.setdefault(cell.name, Waiting(costs[cell.name]))
                    one.adds += 1 / place
                    one.fills.append(artefact.name)
    return sorted(waiting.values(), key=lambda one: one.worth, reverse=True)


def text(waiting: Sequence[Waiting], what: str) -> str:
    """The queue as a person reads it, with the hours up to the end of each cell on one core or GPU."""
    hours = list(accumulate(one.cost.hours for one in waiting))
    rows = [
        [one.cost.cell.name, f"{one.cost.hours:.2f}", f"{until:.2f}", f"{one.adds:.2f}", ", ".join(one.fills)]
        for one, until in zip(waiting, hours, strict=True)
    ]
    headers = ["cell", "hours expected", "until then", "adds", "to"]
    left = f"{len(waiting)} cells to run: {hours[-1] if hours else 0:.2f} h expected on one {what}"
    return f"{tabulate(rows, headers, disable_numparse=True)}\n\n{left}" if rows else left
