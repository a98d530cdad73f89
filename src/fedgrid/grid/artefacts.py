"""Artefacts: the tables and figures of the paper, as params files declare them.

A params file names the cells that its artefact needs, written as a grid, and how they are laid out. Two artefacts that
declare the same cell share its record. Nothing here trains or reads a record.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgrid import extensions, files
from fedgrid.grid import limits
from fedgrid.grid.cells import KINDS, Cell, grid
from fedgrid.grid.layouts import LAYOUTS, laid_out

PARAMS = Path("params")
NOT_ARTEFACTS = ("datasets", "paper")
PAPER, OWN = "paper", "campaign"  # what all artefacts of the paper are called together, and all of one's own folder
NAME = r"\w[\w-]*"  # of an artefact: it stands in paths, in rules' shell lines and in patterns
# The workflow's rules, each of which is a target; an artefact is a target of its own name.
RULES = (
    *("all", "data", "fetch", "encode", "partition", "run", "table", "figure", "metrics", "claims", "report_page"),
    *("publish", "mlflow", "manifest", "judge", "replay", "audit"),
)


@dataclass(frozen=True)
class Artefact:
    """A table or figure of the paper, as its params file declares it."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    table: Mapping[str, Any] | None = None
    figure: Mapping[str, Any] | None = None
    paper: bool = False  # whether it is one of the paper's, which `all` makes
    cells_of: str | None = None  # the artefact whose cells these are


def artefact(name: str, folder: Path = PARAMS, within: tuple[str, ...] = ()) -> Artefact:
    """The artefact that <folder>/<name>.yaml declares; ValueError naming the file and what is wrong with it.

    `within` names the artefacts whose cells_of led here.
    """
    path = folder / f"{name}.yaml"
    if name == OWN:
        raise ValueError(f"{path}: all artefacts together are called {OWN}; rename it")
    if not re.fullmatch(NAME, name):
        raise ValueError(
            f"{folder}: {name!r} is no name of an artefact; rename it: letters, digits, _ and -, the first no -"
        )
    try:
        declared = files.mapping(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such artefact; there are {', '.join(artefact_names(folder))}") from None
    try:
        check(declared)
        if name in RULES:
            raise ValueError(f"the workflow has a rule {name!r}, and an artefact none of its name; rename the file")
        extend(declared)
        if name in within:
            raise ValueError(f"cells_of goes in a circle: {' → '.join((*within, name))}")
        cells = declared_cells(declared, folder, (*within, name))
        limits.check(cells, folder / "datasets.yaml")
        said = {key: declared[key] for key in ("paper", "cells_of") if key in declared}
        return Artefact(name, declared.get("title", name), cells, **laid_out(declared, cells), **said)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check(declared: Mapping[str, Any]) -> None:
    """ValueError where what a params file declares has not the form of an artefact."""
    known = {"title", "kind", "cells_of", "cells", "grid", "table", "figure", "paper", "extensions"}
    if unknown := sorted(map(str, set(declared) - known)):
        raise ValueError(f"unknown key {unknown[0]!r}; an artefact has {', '.join(sorted(known))}")
    title = declared.get("title", "untitled")
    if not isinstance(title, str) or len(title.splitlines()) != 1:  # in LaTeX it is a comment, which a line ends
        raise ValueError(f"title is {title!r}; it is one line of text")
    if type(declared.get("paper", False)) is not bool:
        raise ValueError(f"paper is {declared['paper']!r}; it is true or false")
    if all(declared.get(key) is None for key in LAYOUTS):
        raise ValueError("it has neither table nor figure; an artefact is shown as one at least")
    if "cells_of" in declared:
        if others := sorted({"kind", "cells", "grid"} & set(declared)):
            raise ValueError(f"{others[0]} beside cells_of; an artefact has its own cells or another's")
        return
    if declared.get("kind", "race") not in list(KINDS):
        raise ValueError(f"unknown kind {declared['kind']!r}; choose from {', '.join(KINDS)}")
    if not isinstance(declared.get("cells", {}), dict):
        raise ValueError("cells is not a mapping of the settings that all rows share")
    rows = declared.get("grid")
    if not rows:
        raise ValueError("grid is empty; it must list at least one row of settings")
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise ValueError("grid is not a list of rows, each a mapping of settings")


def extend(declared: Mapping[str, Any]) -> None:
    """Loads the extensions that a params file names."""
    for name in extensions.names(declared.get("extensions", [])):
        extensions.load(name)


def extend_all(folder: Path = PARAMS) -> None:
    """Loads the extensions of every params file: one may bring a dataset. ValueError naming the file."""
    for path in (folder / f"{name}.yaml" for name in artefact_names(folder)):
        declared = files.mapping(path)
        try:
            extend(declared)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def declared_cells(declared: Mapping[str, Any], folder: Path, within: tuple[str, ...]) -> tuple[Cell, ...]:
    """The cells of a params file: its own grid, or another artefact's."""
    if "cells_of" in declared:
        return artefact(str(declared["cells_of"]), folder, within).cells
    found: dict[Cell, int] = {}
    for place, row in enumerate(declared["grid"], start=1):
        for one in grid(declared.get("cells", {}), [row], declared.get("kind", "race")):
            if one in found:
                rows = f"rows {found[one]} and {place} of grid give the same cell"
                twice = rows if found[one] < place else f"row {place} of grid gives the same cell twice"
                raise ValueError(f"{twice}, {one.name}; remove one")
            found[one] = place
    return tuple(found)


def artefact_names(folder: Path = PARAMS) -> list[str]:
    """Every artefact that the folder declares, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem not in NOT_ARTEFACTS)


def main_names(folder: Path = PARAMS) -> list[str]:
    """The artefacts that are made, sealed and judged together: the paper's or, in a folder without any of it, all."""
    names = artefact_names(folder)
    return [name for name in names if artefact(name, folder).paper] or names


def main_name(folder: Path = PARAMS) -> str:
    """What those are called together."""
    return PAPER if any(artefact(name, folder).paper for name in artefact_names(folder)) else OWN


def all_cells(folder: Path = PARAMS) -> dict[str, Cell]:
    """Every declared cell by its name."""
    return {one.name: one for name in artefact_names(folder) for one in artefact(name, folder).cells}


def known(name: str, among: dict[str, Any], what: str) -> Any:
    """The one of that name; ValueError where none is declared."""
    if name not in among:
        nearest = ", ".join(difflib.get_close_matches(name, among, n=3, cutoff=0))
        raise ValueError(f"unknown {what} {name!r}; the nearest of {len(among)} that params/ declares: {nearest}")
    return among[name]
