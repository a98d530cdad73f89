"""Checks records against what params/ declares: all are there, whole, and of the declared settings."""

from collections import defaultdict
from collections.abc import Iterator

from fedgrid.audit.campaign import Campaign, Finding
from fedgrid.grid.artefacts import OWN, PAPER


def damaged(campaign: Campaign) -> Iterator[Finding]:
    """Every record is whole and under its own name."""
    yield from campaign.read[1]


def missing(campaign: Campaign) -> Iterator[Finding]:
    """Every declared cell has its record."""
    declared: dict[str, list[str]] = defaultdict(list)
    for artefact in campaign.artefacts:
        for cell in artefact.cells:
            declared[cell.name].append(artefact.name)
    for name, artefacts in declared.items():
        if not campaign.path(name).is_file():
            yield Finding("missing", name, f"it has not been run; declared by {', '.join(artefacts)}")


def undeclared(campaign: Campaign) -> Iterator[Finding]:
    """Every record in the tasks' folders has a declaration; where no artefact was named, in all folders."""
    tasks = {"*"} if campaign.name in (PAPER, OWN) else {cell.task for cell in campaign.cells.values()}
    for place in sorted(place for task in tasks for place in campaign.folder.glob(f"{task}/*.json")):
        if place.stem not in campaign.declared:
            yield Finding("undeclared", place.stem, f"{place}: no artefact in params/ declares this record")


def settings(campaign: Campaign) -> Iterator[Finding]:
    """Every record's settings are those declared under its name."""
    for name, one in campaign.records.items():
        if one["settings"] != campaign.cells[name].recorded:
            yield Finding("settings", name, "its settings are not those that its name is the digest of")
