"""What an audit looks at, a campaign: declared cells and their records. What it says: findings."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedgrid.audit import manifest
from fedgrid.grid.artefacts import OWN, PAPER, Artefact
from fedgrid.grid.cells import Cell
from fedgrid.run import record


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or, as a note, worth knowing."""

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
    name: str = PAPER  # or, in a folder without the paper's artefacts, OWN; or its artefacts' names, joined by "-"

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """The campaign's cells by name."""
        return {cell.name: cell for artefact in self.artefacts for cell in artefact.cells}

    @cached_property
    def read(self) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
        """The readable records of the campaign's cells by name, and a finding for each damaged one."""
        found, damaged = {}, []
        for name in sorted(self.cells):
            if (place := self.path(name)).is_file():
                try:
                    found[name] = record.read(place)
                except ValueError as error:
                    damaged.append(Finding("damaged", name, str(error)))
        return found, damaged

    @property
    def records(self) -> Mapping[str, dict[str, Any]]:
        """The readable records by name."""
        return self.read[0]

    def path(self, name: str) -> Path:
        """Where the record of that name lies."""
        return record.path(name, self.folder)

    @property
    def seal(self) -> str:
        """The name of the manifest that seals it: where all of it is the paper's, the paper's.

        In a folder of one's own, an artefact without a manifest of its own is sealed with all others.
        """
        if all(artefact.paper for artefact in self.artefacts):
            return PAPER
        return OWN if manifest.path(OWN).is_file() and not manifest.path(self.name).is_file() else self.name

    @property
    def sealing(self) -> str:
        """The command that seals its records."""
        names = [] if self.seal in (PAPER, OWN) else [artefact.name for artefact in self.artefacts]
        return " ".join(["python -m fedgrid manifest", *names])
