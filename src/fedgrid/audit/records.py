"""Records against what is declared: all there, whole, of the declared settings."""

from collections.abc import Iterator

from fedgrid.audit.campaign import Campaign, Finding


def damaged(campaign: Campaign) -> Iterator[Finding]:
    """Every record is whole and under its own name."""
    yield from campaign.read[1]


def missing(campaign: Campaign) -> Iterator[Finding]:
    """Every declared cell has its record."""
    for artefact in campaign.artefacts:
        for cell in artefact.cells:
            if not campaign.path(cell.name).is_file():
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
