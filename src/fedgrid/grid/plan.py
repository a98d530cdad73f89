"""Estimates what each cell of a table or figure costs, before anything runs.

The expected cost takes the paper's own rounds to target where it prints them; the most is the horizon. Evaluation, a
few percent, is left out.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from fedgrid.engine.precision import bf16_is_slow
from fedgrid.grid import paper
from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.cells import Cell, Race
from fedgrid.tasks.datasets import DECLARED, declared

SLOWER = "slower than the same layers fused (docs/performance.md says how much); the hours above have it so"
# Examples per second that a cell trains on, over all its rates, on one thread of this machine or on one GPU.
Pace = Callable[[Cell], float]


@dataclass(frozen=True)
class Cost:
    """What a cell costs, over all its learning rates: expected, and at most."""

    cell: Cell
    done: bool
    examples: float
    examples_at_most: float
    pace: float  # examples per second

    @property
    def flops(self) -> float:
        """Expected floating-point operations of training."""
        return self.examples * self.cell.model.flops

    @property
    def hours(self) -> float:
        """Expected hours on one thread, or one GPU."""
        return self.examples / self.pace / 3600

    @property
    def hours_at_most(self) -> float:
        """Hours to the horizon on one thread, or one GPU."""
        return self.examples_at_most / self.pace / 3600


def training_examples(dataset: str, params: Path = DECLARED) -> int:
    """How many training examples the dataset has, as it is declared; ValueError where it is not."""
    return declared(dataset, params).train


def examples_per_round(cell: Cell, train: int) -> float:
    """Examples that all rates train on in a round, of `train` examples in the dataset."""
    each = cell.algorithm.examples(cell, train) if isinstance(cell, Race) else 2 * train / cell.K * cell.E
    return each * len(cell.lr)


def cost(cell: Cell, train: int, expected: float | None, done: bool, pace: Pace) -> Cost:
    """The cell's cost, given the rounds that it is expected to take (None: all up to its horizon)."""
    horizon = cell.rounds if isinstance(cell, Race) else 1
    each = examples_per_round(cell, train)
    return Cost(cell, done, each * min(expected or horizon, horizon), each * horizon, pace(cell))


def plan(artefact: Artefact, done: Collection[str], train: Callable[[str], int], pace: Pace) -> list[Cost]:
    """The cost of each cell; `done` names the cells that have a record, `train` counts a dataset's examples."""
    printed = paper.printed(artefact.name)
    costs = []
    for cell in artefact.cells:
        expected = paper.of(cell, printed).get("rounds") or paper.printed_rounds(cell)
        costs.append(cost(cell, train(cell.dataset), expected, cell.name in done, pace))
    return costs


def text(artefact: Artefact, costs: list[Cost], count: int, what: str) -> str:
    """The plan as a person reads it, with the hours left on so many cores or GPUs, each at a cell of its own."""
    rows = [
        [
            one.cell.name,
            "done" if one.done else "",
            f"{one.examples / 1e6:.2f}",
            f"{one.flops / 1e12:.1f}",
            f"{one.hours:.2f}",
            f"{one.hours_at_most:.2f}",
        ]
        for one in costs
    ]
    headers = ["cell", "", "million examples", "TFLOP", "hours expected", "at most"]
    left = [one for one in costs if not one.done]
    hours, at_most = sum(one.hours for one in left) / count, sum(one.hours_at_most for one in left) / count
    on = f"{count} {what}{'s' * (count > 1)}"
    total = f"{len(left)} of {len(costs)} cells to run: {hours:.2f} h expected on {on}, at most {at_most:.2f} h"
    unfused = sorted({one.cell.task for one in costs if not one.cell.model.fused})
    notes = [f"{', '.join(unfused)}: no fused layers, an nn.Module is {SLOWER}"] if unfused else []
    if what == "core" and any(one.cell.precision == "bf16" for one in left) and bf16_is_slow():
        notes.append(f"{bf16_is_slow()}; the hours above have it so")
    return "\n".join([artefact.title, "", tabulate(rows, headers, disable_numparse=True), "", total, *notes])
