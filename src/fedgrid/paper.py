"""What the paper prints, from params/paper.yaml: the number or curve that stands beside one of ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fedgrid.cells import Cell

PAPER = Path("params/paper.yaml")
# What an entry says of the paper's result; all else in it is settings.
SAID = ("rounds", "speedup", "points")


def printed(artefact: str, path: Path = PAPER) -> list[dict[str, Any]]:
    """The paper's entries for an artefact; none where it has none there."""
    return yaml.safe_load(path.read_text()).get(artefact, [])


def printed_rounds(cell: Cell, path: Path = PAPER) -> float | None:
    """The rounds that any table of the paper prints for the cell's settings."""
    tables = yaml.safe_load(path.read_text()).values()
    said = (of(cell, entries).get("rounds") for entries in tables)
    return next((rounds for rounds in said if rounds is not None), None)


def of(cell: Cell, entries: list[dict[str, Any]]) -> Mapping[str, Any]:
    """The entry whose settings are all the cell's; an empty one where the paper says nothing of it."""
    for entry in entries:
        if all(cell.settings.get(key) == value for key, value in entry.items() if key not in SAID):
            return entry
    return {}
