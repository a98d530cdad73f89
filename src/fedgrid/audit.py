"""The audit: do the records say what is declared, and do tables and figures say what the records do?

Each check is a function from a campaign to its findings and touches nothing. A finding stands until it is mended; a
note informs.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedgrid import figures, files, provenance, record, tables
from fedgrid.artefacts import Artefact
from fedgrid.cells import Cell, Race
from fedgrid.curves import best_rate, envelope, rounds_to_target
from fedgrid.partition import Partition

PARTITIONS = Path("data/partitions")


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be (or, as a note, worth knowing)."""

    check: str
    subject: str
    says: str
    note: bool = False


@dataclass(frozen=True)
class Campaign:
    """What is declared and what is there."""

    artefacts: tuple[Artefact, ...]
    folder: Path = record.CELLS
    declared: frozenset[str] = frozenset()  # names of all cells that any artefact declares

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """The campaign's cells by name."""
        return {cell.name: cell for artefact in self.artefacts for cell in artefact.cells}

    @cached_property
    def read(self) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
        """The readable records of the campaign's cells by name, and a finding for each damaged one."""
        found, damaged = {}, []
        for name in sorted(self.cells):
            if (place := record.path(name, self.folder)).is_file():
                try:
                    found[name] = record.read(place)
                except ValueError as error:
                    damaged.append(Finding("damaged", name, str(error)))
        return found, damaged

    @property
    def records(self) -> Mapping[str, dict[str, Any]]:
        """The readable records by name."""
        return self.read[0]


def damaged(campaign: Campaign) -> Iterator[Finding]:
    """Every record is whole and under its own name."""
    yield from campaign.read[1]


def missing(campaign: Campaign) -> Iterator[Finding]:
    """Every declared cell has its record."""
    for artefact in campaign.artefacts:
        for cell in artefact.cells:
            if not record.path(cell.name, campaign.folder).is_file():
                yield Finding("missing", cell.name, f"{artefact.name} declares it; it has not been run")


def undeclared(campaign: Campaign) -> Iterator[Finding]:
    """Every record in the tasks' folders has a declaration."""
    tasks = {cell.task for cell in campaign.cells.values()}
    for place in sorted(place for task in tasks for place in (campaign.folder / task).glob("*.json")):
        if place.stem not in campaign.declared:
            yield Finding("undeclared", place.stem, f"{place}: no artefact in params/ declares this record")


def settings(campaign: Campaign) -> Iterator[Finding]:
    """Every record's settings are those declared under its name."""
    for name, one in campaign.records.items():
        if one["settings"] != campaign.cells[name].recorded:
            yield Finding("settings", name, "its settings are not those that its name is the digest of")


def readings(campaign: Campaign) -> Iterator[Finding]:
    """Every race's result is what the paper's rule reads off its curves."""
    for name, one in campaign.records.items():
        if not isinstance(campaign.cells[name], Race):
            continue
        try:
            read, said = reading(one["curves"], campaign.cells[name].settings), one["result"]
            same = all(said[key] == value for key, value in read.items())
        except (KeyError, TypeError, ValueError, IndexError):
            same = False
        if not same:
            yield Finding("readings", name, "its rounds to target or best rate are not those of its curves")


def reading(curves: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Rounds to each target and the best rate, from the curves alone; ValueError where they are of other rates."""
    tested = [rate["test_accuracy"] for rate in curves["rates"]]
    lrs = [rate["lr"] for rate in curves["rates"]]
    if lrs != settings["lr"]:
        raise ValueError("the curves are of other learning rates")
    winner = best_rate(lrs, tested)
    best = envelope(tested)
    rounds = curves["rounds"][: len(best)]
    return {
        "rounds_to_target": {str(target): rounds_to_target(rounds, best, target) for target in settings["targets"]},
        "best_lr": winner,
        "best_lr_at_grid_end": winner in (lrs[0], lrs[-1]),
    }


def partitions(campaign: Campaign) -> Iterator[Finding]:
    """Every record's data and partition are those that lie in data/, where they do."""
    users: dict[Path, list[str]] = {}
    for name in campaign.records:
        users.setdefault(PARTITIONS / f"{campaign.cells[name].partition_name}.npz", []).append(name)
    for place, names in users.items():
        if not place.is_file():
            continue
        try:
            kept = files.arrays(place)
            here = {"data": str(kept["data"]), "partition": Partition(kept["indices"], kept["offsets"]).digest}
        except (ValueError, KeyError) as error:
            yield Finding("partitions", str(place), f"no partition: {error}")
            continue
        for name in names:
            for what, digest in here.items():
                if campaign.records[name]["provenance"][what] != digest:
                    yield Finding("partitions", name, f"it was made with another {what} than {place}")


def origin(campaign: Campaign) -> Iterator[Finding]:
    """All records come from one committed state of the sources."""
    made = [one["provenance"] for one in campaign.records.values()]
    if dirty := sum(bool(one["dirty"]) for one in made):
        yield Finding("origin", f"{dirty} records", "made from uncommitted sources or params", note=True)
    here = provenance.engine_digest()
    for engine, count in sorted(Counter(one["engine"] for one in made).items()):
        if engine != here:
            says = f"made by engine sources {engine[:12]}; those here are {here[:12]}"
            yield Finding("origin", f"{count} records", says, note=True)


def stale(campaign: Campaign) -> Iterator[Finding]:
    """Tables and figures are, byte for byte, what the records make; of unsound records nothing can be made."""
    unsound = {finding.subject for check in (damaged, settings, readings) for finding in check(campaign)}
    for artefact in campaign.artefacts:
        if unsound & {cell.name for cell in artefact.cells}:
            continue
        made: dict[Path, Any] = tables.build(artefact, campaign.records) if artefact.table else {}
        made |= figures.build(artefact, campaign.records) if artefact.figure else {}
        for place, content in made.items():
            content = content.encode() if isinstance(content, str) else content
            if not place.is_file():
                yield Finding("stale", str(place), "not made yet")
            elif place.read_bytes() != content:
                yield Finding("stale", str(place), "not what the records make")


CHECKS: tuple[Callable[[Campaign], Iterator[Finding]], ...] = (
    damaged,
    missing,
    undeclared,
    settings,
    readings,
    partitions,
    origin,
    stale,
)


def audit(campaign: Campaign) -> list[Finding]:
    """Every check's findings, in the order of the checks."""
    return list(dict.fromkeys(finding for check in CHECKS for finding in check(campaign)))


def text(findings: list[Finding], records: int) -> str:
    """The findings as a person reads them."""
    lines = [f"{'note' if one.note else 'FINDING'} {one.check}: {one.subject}: {one.says}" for one in findings]
    standing = sum(not one.note for one in findings)
    verdict = f"audit: {records} records, {len(CHECKS)} checks, {standing} findings, {len(findings) - standing} notes"
    return "\n".join([*lines, verdict])


def as_json(findings: list[Finding], records: int) -> str:
    """The findings for a machine."""
    return json.dumps({"records": records, "findings": [asdict(one) for one in findings]}, indent=1) + "\n"
