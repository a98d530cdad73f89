"""What was found when records' first rounds were run again: results/replays/<campaign>.json.

`python -m fedgrid replay --all` writes it. It is the proof for records that an older engine made: nothing rewrites
them, and a replay says whether the engine as it is gives the same. An entry speaks for one record file, one digest of
the cell's engine and one machine; where one of them is another, it says nothing.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedgrid import files
from fedgrid.grid.cells import Cell
from fedgrid.run import record, sources

REPLAYS = Path("results/replays")
SAME, NEAR, OTHERWISE = FOUND = ("same bits", "to a tolerance", "otherwise")  # the best comes first
FORM = {
    "replays": [
        {
            **dict.fromkeys(("name", "record", "engine", "found"), "text"),
            "machine": {**dict.fromkeys(("device", "processor", "instructions", "torch"), "text"), "numpy?": "text"},
            "differs": {},
        }
    ]
}


@dataclass(frozen=True)
class Replay:
    """A record's first rounds, run again."""

    name: str
    record: str  # sha256 of its file
    engine: str  # digest of what the cell is computed by here
    machine: Mapping[
        str, str
    ]  # what else decides bits: device, processor, instructions, torch; numpy, too, of portable ones
    found: str  # one of FOUND
    differs: Mapping[str, float | None]  # the most that an accuracy, and a loss, differ by; None: by a missing value


def path(campaign: str) -> Path:
    """Where the replays of the campaign lie that a manifest of that name seals."""
    return REPLAYS / f"{campaign}.json"


def read(place: Path) -> list[Replay]:
    """The replays at that path, none where there is no file; ValueError naming one that is damaged."""
    try:
        plain = json.loads(place.read_text())
        if fault := next(record.unlike(plain, FORM), None):
            raise ValueError(fault)
        kept = [Replay(**one) for one in plain["replays"]]
        if fault := next((fault for one in kept for fault in faults(one)), None):
            raise ValueError(fault)
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{place}: damaged replays: {error}; restore it from git or delete it") from error
    return kept


def faults(one: Replay) -> Iterator[str]:
    """What an entry says that no replay finds."""
    if one.found not in FOUND:
        yield f"its found is {one.found!r}, none of {', '.join(FOUND)}"
    yield from record.unlike(one.differs, dict.fromkeys(one.differs, "a number or null"), "differs")


def text(replays: Iterable[Replay]) -> str:
    """The file of those replays."""
    ordered = sorted(map(asdict, replays), key=lambda one: (one["name"], sorted(one["machine"].items())))
    return json.dumps({"replays": ordered}, indent=1, allow_nan=False) + "\n"


def added(replays: Iterable[Replay], new: Replay) -> list[Replay]:
    """The replays with a new one, without those that it outdates: of the same machine, or of another file or engine."""

    def stands(old: Replay) -> bool:
        return (old.record, old.engine) == (new.record, new.engine) and old.machine != new.machine

    return [*(old for old in replays if old.name != new.name or stands(old)), new]


def measured(one: Replay) -> str:
    """How far the record and its replay are apart, in brackets; nothing where they are not."""
    differs = (
        f"{what} differs by {'no value' if much is None else f'{much:.2g}'}" for what, much in one.differs.items()
    )
    return f" ({', '.join(differs)})" if one.differs else ""


def of(cell: Cell, replays: Iterable[Replay], folder: Path = record.CELLS) -> list[Replay]:
    """The replays of the cell's record as it is, by the engine as it is; the best comes first."""
    mine = [one for one in replays if one.name == cell.name]
    if mine:
        here = files.sha256(record.path(cell.name, folder)), sources.digest(cell)
        mine = [one for one in mine if (one.record, one.engine) == here]
    return sorted(mine, key=lambda one: FOUND.index(one.found))


def found(
    cells: Mapping[str, Cell], records: Mapping[str, Any], replays: Sequence[Replay], folder: Path = record.CELLS
) -> dict[str, str | None]:
    """Of each record that another engine made: what its best replay found, None where it was not tried."""
    others = [name for name, one in records.items() if one["provenance"]["engine"] != sources.digest(cells[name])]
    return {name: next((one.found for one in of(cells[name], replays, folder)), None) for name in others}


def sentence(found: Iterable[str | None], what: str = "records") -> str:
    """How many of those records begin as their replays do."""
    count = Counter(found)
    parts = [f"{count[SAME]} of {count.total()} {what} start with the same bits at HEAD"]
    parts += [f"{count[how]} {how}" for how in (NEAR, OTHERWISE) if count[how]]
    return ", ".join([*parts, *(["the rest not tried"] if count[None] else [])])


def summary(records: int, found: Iterable[str | None]) -> str:
    """How many records the engine at HEAD has made, and how the others, `found`, stand to it."""
    others = list(found)
    here = records - len(others)
    if not here:
        return f"{sentence(others)}."
    made = f"{here} of {records} records were made by the engine at HEAD"
    return f"{made}; {sentence(others, 'others')}." if others else f"{made}."
