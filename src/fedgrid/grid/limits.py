"""What a cell may ask of its data, by what is declared of them: no file of the data need be there."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedgrid.grid.cells import Cell
from fedgrid.partitions import PARTITIONS
from fedgrid.tasks.datasets import Declaration, declared


def check(cells: Iterable[Cell], params: Path) -> None:
    """ValueError where a cell asks its dataset for more than it has, by that params/datasets.yaml or its own file."""
    for cell in cells:
        if fault := next(faults(cell, known(cell.dataset, params)), None):
            raise ValueError(fault)


def known(dataset: str, params: Path) -> Declaration | None:
    """What is declared of the dataset; None where that cannot be read, as those will say who cannot do without."""
    try:
        return declared(dataset, params)
    except (FileNotFoundError, ValueError):
        return None


def faults(cell: Cell, has: Declaration | None) -> Iterator[str]:
    """What the cell asks for that its dataset has not; each presupposes those before it."""
    division, K, B, data = cell.partition, cell.K, cell.B, cell.dataset
    kind, clients = PARTITIONS.name_of(type(division)), has.clients if has else None
    if division.own_clients and clients == 0:
        others = ", ".join(name for name, one in PARTITIONS.items() if not one.own_clients)
        yield f"partition is {kind}, and {data} has no clients of its own; choose from {others}"
    if division.own_clients and clients is not None and clients < K:
        yield f"K is {K}, and {data} has {clients} clients of its own; choose a K of at most {clients}"
    if division.sorts and cell.model.unroll > 1:
        others = ", ".join(name for name, one in PARTITIONS.items() if not one.sorts)
        yield f"partition is {kind}, which sorts by label, and {data} is a text without labels; choose from {others}"
    if has is None:
        return
    if not division.own_clients and division.slices(K) > has.train:
        needs = f"{kind} needs {division.slices(K)} examples at least"
        yield f"K is {K}, for which {needs}; {data} has {has.train}; choose a smaller K"
    largest = division.largest(has.train, K)
    if largest < B < math.inf:
        most = f"no client has more than {largest} examples: {data} has {has.train}, K is {K}"
        yield f"B is {B:.0f}, and {most}; choose inf, a client's whole data, or at most {largest}"
