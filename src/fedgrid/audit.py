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
    def read(self) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
        """The readable records of the campaign's cells by name, and a finding for each damaged one."""
        found, damaged = {}, []
        for name in sorted({cell.name for artefact in self.artefacts for cell in artefact.cells}):
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
    tasks = {cell.task for artefact in campaign.artefacts for cell in artefact.cells}
    for place in sorted(place for task in tasks for place in (campaign.folder / task).glob("*.json")):
        if place.stem not in campaign.declared:
            yield Finding("undeclared", place.stem, f"{place}: no artefact in params/ declares this record")


def settings(campaign: Campaign) -> Iterator[Finding]:
    """Every record's settings are those declared under its name."""
    cells = {cell.name: cell for artefact in campaign.artefacts for cell in artefact.cells}
    for name, one in campaign.records.items():
        if one["settings"] != cells[name].settings:
            yield Finding("settings", name, "its settings are not those that its name is the digest of")


def partitions(campaign: Campaign) -> Iterator[Finding]:
    """Every record's data and partition are those that lie in data/, where they do."""
    cells = {cell.name: cell for artefact in campaign.artefacts for cell in artefact.cells}
    for name, one in campaign.records.items():
        place = PARTITIONS / f"{cells[name].partition_name}.npz"
        if not place.is_file():
            continue
        kept = files.arrays(place)
        here = {"data": str(kept["data"]), "partition": Partition(kept["indices"], kept["offsets"]).digest}
        for what, digest in here.items():
            if one["provenance"][what] != digest:
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
    """Tables and figures are, byte for byte, what the records make."""
    if campaign.read[1]:
        return  # nothing can be rebuilt from damaged records
    for artefact in campaign.artefacts:
        made: dict[Path, Any] = {}
        if artefact.table:
            made |= tables.build(artefact, campaign.records)
        if artefact.figure:
            made |= figures.build(artefact, campaign.records)
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
