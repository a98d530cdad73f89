"""The paper's numbers and curves, from params/paper.yaml: what stands beside ours.

A folder without that file has the one that comes with fedgrid.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedgrid import files, shipped
from fedgrid.grid.cells import Cell

PAPER = Path("params/paper.yaml")
# What an entry says of the paper's result; all else in it is settings, and the target.
SAID = ("rounds", "speedup", "points", "accuracy", "parameters")


def read(path: Path) -> Mapping[str, list[dict[str, Any]]]:
    """The entries by artefact; ValueError naming the file and the artefact that has something else."""
    entries = files.mapping(shipped.found(path))
    for artefact, listed in entries.items():
        if not (isinstance(listed, list) and all(isinstance(entry, dict) for entry in listed)):
            raise ValueError(f"{path}: {artefact} is no list of mappings, each of settings and what the paper says")
    return entries


def printed(artefact: str, path: Path = PAPER) -> list[dict[str, Any]]:
    """The paper's entries for an artefact; none where it has none there."""
    return read(path).get(artefact, [])


def printed_rounds(cell: Cell, path: Path = PAPER) -> float | None:
    """The rounds that any table of the paper prints for the cell's settings; none of a cell without a target."""
    if not cell.settings.get("targets"):
        return None
    said = (of(cell, entries).get("rounds") for entries in read(path).values())
    return next((rounds for rounds in said if rounds is not None), None)


def of(cell: Cell, entries: list[dict[str, Any]], target: float | None = None) -> Mapping[str, Any]:
    """The entry whose settings are all the cell's; an empty one where the paper says nothing of it.

    Of one that names a target, it is that target or, where none is asked for, the cell's last.
    """
    last = (cell.settings.get("targets") or [None])[-1]
    at = cell.settings | {"target": last if target is None else target}
    for entry in entries:
        if all(has(at, name, value) for name, value in entry.items() if name not in SAID):
            return entry
    return {}


def has(settings: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether those settings have that one; of a learning rate, whether it is one of theirs."""
    return settings.get(name) == value or (name == "lr" and value in settings["lr"])
