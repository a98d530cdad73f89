"""Checks tables and figures against records, and says how ours stand to the paper's."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import numpy as np

from fedgrid.audit.campaign import Campaign, Finding
from fedgrid.audit.readings import unsound
from fedgrid.grid.artefacts import Artefact
from fedgrid.results import figures, tables
from fedgrid.results.learning_curves import Line, lines
from fedgrid.results.rounds_to_target import entries
from fedgrid.run.provenance import pinned

CONSTRAINTS = Path("constraints.txt")
PICTURES = (".pdf", ".svg", ".png")


def sound(campaign: Campaign) -> Iterator[Artefact]:
    """The artefacts of whose records tables and figures can be made."""
    unfit = unsound(campaign)
    yield from (artefact for artefact in campaign.artefacts if not unfit & {cell.name for cell in artefact.cells})


def stale(campaign: Campaign) -> Iterator[Finding]:
    """Tables and figures are, byte for byte, what the records make; of unsound records nothing can be made.

    Another matplotlib than constraints.txt pins draws the same picture in other bytes: then, a note.
    """
    for artefact in sound(campaign):
        made: dict[Path, Any] = tables.build(artefact, campaign.records) if artefact.table else {}
        made |= figures.build(artefact, campaign.records) if artefact.figure else {}
        for place, content in made.items():
            content = content.encode() if isinstance(content, str) else content
            if not place.is_file():
                yield Finding("stale", str(place), "not made yet")
            elif place.read_bytes() != content:
                foreign = place.suffix in PICTURES and drawn_otherwise()
                says = f"; drawn here by matplotlib {mpl.__version__}, not the one pinned" if foreign else ""
                yield Finding("stale", str(place), f"not what the records make{says}", note=foreign)


def drawn_otherwise() -> bool:
    """Whether constraints.txt pins another matplotlib than draws here."""
    return pinned(CONSTRAINTS).get("matplotlib", mpl.__version__) != mpl.__version__


def printed(campaign: Campaign) -> Iterator[Finding]:
    """For information: how much of what the paper prints has been measured, and how ours stands to it."""
    for artefact in sound(campaign):
        says: list[str] = []
        if artefact.table:
            said = [entry for entry in entries(artefact, campaign.records) if entry.paper_rounds is not None]
            says += measured("rounds", [[] if entry.ratio is None else [entry.ratio] for entry in said])
        if artefact.figure:
            drawn = [line for line in lines(artefact, campaign.records) if line.paper]
            says += measured("curves", [ratios(line) for line in drawn])
        if says:
            yield Finding("printed", artefact.name, "; ".join(says), note=True)


def measured(what: str, found: Sequence[Sequence[float]]) -> Iterator[str]:
    """How many of the paper's numbers or curves have ratios of ours to them, and which; nothing where it has none."""
    every = [ratio for one in found for ratio in one]
    if found:
        spread = f": ours/paper {min(every):.2f} to {max(every):.2f}, median {median(every):.2f}" if every else ""
        yield f"{sum(map(bool, found))} of {len(found)} printed {what} measured{spread}"


def ratios(line: Line) -> list[float]:
    """Our y over the paper's at each of our x that its curve reaches, between its points by linear interpolation."""
    x, y = zip(*sorted(line.paper), strict=True)
    return [ours / float(np.interp(at, x, y)) for at, ours, *_ in line.ours if x[0] <= at <= x[-1]]
