"""The record: what a cell leaves. One JSON file, named like its cell, written whole, checked when read."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fedgrid import files
from fedgrid.cells import Cell

CELLS = Path("results/cells")
SCHEMA = 1
# What every record holds, and what must be in it for tables, figures and audit.
SECTIONS = {
    "settings": (),
    "curves": (),
    "result": (),
    "provenance": ("commit", "dirty", "engine", "data", "partition", "initial_weights", "final_weights", "libraries"),
}


def path(name: str, folder: Path = CELLS) -> Path:
    """Where the record of the cell of that name lies: in the folder of its task."""
    return folder / name.partition("-")[0] / f"{name}.json"


def write(record: Mapping[str, Any], folder: Path = CELLS) -> Path:
    """Writes the record, whole or not at all; its path."""
    place = path(record["name"], folder)
    files.write(place, json.dumps(record, indent=1, allow_nan=False) + "\n")
    return place


def read(place: Path) -> dict[str, Any]:
    """The record at that path; ValueError naming the file where it is damaged or under another's name."""
    try:
        record = json.loads(place.read_text())
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise ValueError(f"it is no record of schema {SCHEMA}")
        for section, keys in SECTIONS.items():
            if not isinstance(record.get(section), dict):
                raise ValueError(f"it lacks {section}")
            for key in keys:
                if key not in record[section]:
                    raise ValueError(f"it lacks {section}.{key}")
        if record.get("name") != place.stem:
            raise ValueError(f"it is the record of {record.get('name')}")
    except (ValueError, TypeError) as error:
        remedy = "restore it from git or delete it to run it again"
        raise ValueError(f"{place}: damaged record: {error}; {remedy}") from error
    return record


def existing(names: Mapping[str, Any] | list[str], folder: Path = CELLS) -> dict[str, dict[str, Any]]:
    """The records that are there of those cells, by name; cells not run are absent."""
    return {name: read(path(name, folder)) for name in names if path(name, folder).is_file()}


def refuse_others(cells: Iterable[Cell], records: Mapping[str, Any]) -> None:
    """ValueError where a record's settings are not those of the cell that it is named like."""
    for cell in cells:
        if cell.name in records and records[cell.name]["settings"] != cell.recorded:
            raise ValueError(f"{path(cell.name)}: damaged record: its settings are not those that its name stands for")
