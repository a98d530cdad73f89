"""The record that a cell leaves: one JSON file, named like its cell, written whole, checked when read.

Schema 2 is schema 1 and more: what both hold is read alike, and records of schema 1 stay as they are.
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedgrid import files
from fedgrid.grid.cells import Cell

CELLS = Path("results/cells")
SCHEMA = 2  # that is written
SCHEMAS = (1, SCHEMA)  # that are read
# What a value must be.
KINDS: dict[str, Callable[[Any], bool]] = {
    "a number": lambda value: type(value) in (int, float) and abs(value) <= sys.float_info.max,
    "a whole number": lambda value: type(value) is int,
    "text": lambda value: isinstance(value, str),
    "true or false": lambda value: type(value) is bool,
    "16 hexadecimal digits": lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{16}", value)),
    "anything": lambda value: True,
}
OR_NULL = " or null"
# What records hold, as far as anybody reads it: a mapping by its keys, a list by its one element, else a kind of value.
# A key that ends in ? may be missing.
COMMON = {
    "schema": "a whole number",
    "name": "text",
    "settings": {"lr": ["a number"]},
    "provenance": {
        "commit": "text or null",
        "dirty": "true or false or null",
        **dict.fromkeys(("engine", "data", "partition", "initial_weights", "final_weights"), "text"),
        "seconds": "a number",
        "libraries": "anything",
    },
}
RATE = {
    "lr": "a number",
    "test_accuracy": ["a number"],
    "test_loss": ["a number or null"],
    "train_loss": ["a number or null"],
    "diverged": "a whole number or null",
    "pruned?": "a whole number",
}
RACE = {
    "settings": {"targets": ["a number"], "rounds": "a whole number", "train_loss": "true or false"},
    "curves": {"rounds": ["a whole number"], "rates": [RATE]},
    "result": {
        "ended": "text or null",
        "rounds": "a whole number",
        "rounds_to_target": {},
        "best_accuracy": "a number or null",
        "best_lr": "a number or null",
        "best_lr_at_grid_end": "true or false",
    },
}
EXTREME = {"loss": "a number", "theta": "a number"}
AVERAGES = {
    "settings": {"shared_start": "true or false"},
    "curves": {"theta": ["a number"], "train_loss": ["a number"], "parents": ["a number"]},
    "result": {"parents": ["a number"], "least": EXTREME, "greatest": EXTREME},
}
# What schema 2 adds: to each record, and to a race's.
ADDED = {
    "patch": "text or null",
    "provenance": {
        "patch": "text or null",
        "examples": "a whole number",
        "hardware": {
            **dict.fromkeys(("device", "processor", "instructions"), "text"),
            "cores": "a whole number or null",
            "threads": "a whole number",
            "ranks?": "a whole number",
        },
        "peak_memory_bytes": {"host": "a whole number", "device": "a whole number or null"},
        "requested": dict.fromkeys(("cpus", "gpus", "memory_mb", "seconds"), "a whole number or null"),
    },
}
ADDED_TO_RACE = {
    "curves": {"rates": [{"weights": ["16 hexadecimal digits"]}]},
    "provenance": dict.fromkeys(("test_examples", "bytes_down", "bytes_up"), "a whole number"),
}


def path(name: str, folder: Path = CELLS) -> Path:
    """Where the record of the cell of that name lies: in the folder of its task."""
    return folder / name.partition("-")[0] / f"{name}.json"


def text(record: Mapping[str, Any]) -> str:
    """The record as its file has it."""
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def write(record: Mapping[str, Any], folder: Path = CELLS) -> Path:
    """Writes the record, whole or not at all; its path."""
    place = path(record["name"], folder)
    files.write(place, text(record))
    return place


def read(place: Path) -> dict[str, Any]:
    """The record at that path; ValueError naming the file where it is damaged or under another's name."""
    try:
        record = json.loads(place.read_text())
        if not isinstance(record, dict) or type(record.get("schema")) is not int or record["schema"] not in SCHEMAS:
            raise ValueError(f"it is no record of schema {' or '.join(map(str, SCHEMAS))}")
        if fault := next(faults(record), None):
            raise ValueError(fault)
        if record["name"] != place.stem:
            raise ValueError(f"it is the record of {record['name']!r}")
    except (ValueError, RecursionError) as error:
        remedy = "restore it from git or delete it to run it again"
        raise ValueError(f"{place}: damaged record: {error}; {remedy}") from error
    return record


def faults(record: dict[str, Any]) -> Iterator[str]:
    """What keeps a record from being read: parts that are missing or of another kind, lists that do not go together.

    Each may presuppose that there was none before it.
    """
    yield from unlike(record, COMMON)
    averages = "shared_start" in record["settings"]
    yield from unlike(record, AVERAGES if averages else RACE)
    if record["schema"] > 1:
        yield from unlike(record, ADDED)
        yield from unlike(record, {} if averages else ADDED_TO_RACE)
        yield from mispatched(record)
    yield from (uneven_averages if averages else uneven_race)(record)


def unlike(value: Any, form: Any, at: str = "") -> Iterator[str]:
    """What of the value at that place is not of the form."""
    if isinstance(form, dict):
        if not isinstance(value, dict):
            yield f"its {at} is no mapping"
            return
        for named, inner in form.items():
            key = named.removesuffix("?")
            below = f"{at}.{key}".lstrip(".")
            if key in value:
                yield from unlike(value[key], inner, below)
            elif key == named:
                yield f"it lacks {below}"
    elif isinstance(form, list):
        if not isinstance(value, list):
            yield f"its {at} is no list"
            return
        for one in value:
            yield from unlike(one, form[0], at)
    elif not (KINDS[form.removesuffix(OR_NULL)](value) or (value is None and form.endswith(OR_NULL))):
        yield f"its {at} is not {form}"


def uneven_race(record: dict[str, Any]) -> Iterator[str]:
    """Rates that have more values than rounds or other numbers of them; other targets than the settings'."""
    settings, curves = record["settings"], record["curves"]
    longest = 0
    for rate in curves["rates"]:
        points = len(rate["test_accuracy"])
        longest = max(longest, points)
        if record["schema"] > 1 and len(rate["weights"]) != points:
            yield f"its weights at lr {rate['lr']:g} are not one for each accuracy"
        if len(rate["test_loss"]) != points or len(rate["train_loss"]) != points * settings["train_loss"]:
            yield f"its curves at lr {rate['lr']:g} are of unequal lengths"
    if len(curves["rounds"]) < longest:
        yield "its curves.rounds are fewer than its accuracies"
    to_target = record["result"]["rounds_to_target"]
    yield from unlike(
        to_target, dict.fromkeys(map(str, settings["targets"]), "a number or null"), "result.rounds_to_target"
    )
    if len(to_target) != len(settings["targets"]):
        yield "its result.rounds_to_target has other targets than its settings"


def mispatched(record: dict[str, Any]) -> Iterator[str]:
    """A patch that is not the one of its provenance; one too long to be kept is told by its digest alone."""
    patch = record["patch"]
    if patch is not None and hashlib.sha256(patch.encode()).hexdigest() != record["provenance"]["patch"]:
        yield "its patch has another digest than its provenance.patch"


def uneven_averages(record: dict[str, Any]) -> Iterator[str]:
    """Losses that are not one for each θ, or parents that are not two."""
    curves = record["curves"]
    if len(curves["theta"]) != len(curves["train_loss"]):
        yield "its curves.theta and its curves.train_loss are of unequal lengths"
    if len(curves["parents"]) != 2 or len(record["result"]["parents"]) != 2:
        yield "its parents are not two"


def existing(names: Mapping[str, Any] | list[str], folder: Path = CELLS) -> dict[str, dict[str, Any]]:
    """The records that are there of those cells, by name; cells not run are absent."""
    return {name: read(path(name, folder)) for name in names if path(name, folder).is_file()}


def refuse_others(cells: Iterable[Cell], records: Mapping[str, Any]) -> None:
    """ValueError where a record's settings are not those of the cell that it is named like."""
    for cell in cells:
        if cell.name in records and records[cell.name]["settings"] != cell.recorded:
            raise ValueError(f"{path(cell.name)}: damaged record: its settings are not those that its name stands for")
