"""Checks what records say that they cost: bytes follow from the settings, examples from these and the partition."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from fedgrid import files
from fedgrid.audit.campaign import Campaign, Finding
from fedgrid.grid.cells import Race
from fedgrid.partitions import Partition
from fedgrid.rng import stream
from fedgrid.run import effort
from fedgrid.run.job import PARTITIONS


def moved(campaign: Campaign) -> Iterator[Finding]:
    """Every race's bytes are those that its clients receive and send in its rounds."""
    for name, cell, one in races(campaign):
        counted = effort.moved(cell, one["result"]["rounds"])
        said = {what: one["provenance"].get(what) for what in counted}
        if said != counted:
            yield Finding("moved", name, f"its bytes are {listed(said)}; by its settings and rounds, {listed(counted)}")


def examples(campaign: Campaign) -> Iterator[Finding]:
    """Every race's examples are those of its cohorts, where its partition lies in data/partitions.

    Plain SGD is left out: it has no cohorts, and all its minibatches would have to be drawn again.
    """
    drawn: dict[str, Partition | None] = {}
    for name, cell, one in races(campaign):
        if cell.partition_name not in drawn:
            drawn[cell.partition_name] = partition(cell)
        held, said = drawn[cell.partition_name], one["provenance"]
        if held is None or held.digest != said["partition"]:  # said by `partitions`
            continue
        if cell.algorithm.minibatch(len(held.indices), cell.B, 1, partial(stream, cell.seed)) is not None:
            continue
        last = one["result"]["rounds"]
        ends = (rate["diverged"] or rate.get("pruned") or last for rate in one["curves"]["rates"])
        counted = effort.examples(cell, held, (min(end, last) for end in ends))
        if said.get("examples") != counted:
            says = f"it says that it was trained on {said.get('examples')} examples; its cohorts have {counted}"
            yield Finding("examples", name, says)


def races(campaign: Campaign) -> Iterator[tuple[str, Race, dict[str, Any]]]:
    """The records of races that did not run beyond their horizon, which `readings` would say."""
    for name, one in campaign.records.items():
        cell = campaign.cells[name]
        if isinstance(cell, Race) and 0 < one["result"]["rounds"] <= cell.rounds:
            yield name, cell, one


def partition(cell: Race) -> Partition | None:
    """The cell's partition in data/partitions; None where there is none that can be read."""
    try:
        kept = files.arrays(PARTITIONS / f"{cell.partition_name}.npz")
        return Partition(kept["indices"], kept["offsets"])
    except (OSError, ValueError, KeyError):
        return None


def listed(counts: dict[str, Any]) -> str:
    """Counts as a person reads them."""
    return ", ".join(f"{what.removeprefix('bytes_')} {n}" for what, n in counts.items())
