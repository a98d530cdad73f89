"""Artefacts: the tables and figures of the paper, as params files declare them.

A params file names the cells that its artefact needs, written as a grid, and how they are laid out. Two artefacts that
declare the same cell share its record. Nothing here trains or reads a record.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from fedgrid.cells import KINDS, Cell, grid

PARAMS = Path("params")
NOT_ARTEFACTS = ("datasets", "paper")
# What a layout says, beside the kind of a figure; those that name settings of its cells.
LAYOUTS = {
    "table": ("rows", "columns", "baseline"),
    "figure": ("kind",),
}
FIGURES = {"accuracy": ("kind", "panels", "range"), "averaging": ("kind",)}


@dataclass(frozen=True)
class Artefact:
    """A table or figure of the paper, as its params file declares it."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    table: Mapping[str, Any] | None = None
    figure: Mapping[str, Any] | None = None
    paper: bool = True  # whether `all` makes it
    cells_of: str | None = None  # the artefact whose cells these are


def artefact(name: str, folder: Path = PARAMS, within: tuple[str, ...] = ()) -> Artefact:
    """The artefact that <folder>/<name>.yaml declares; ValueError naming the file and what is wrong with it.

    `within` names the artefacts whose cells_of led here.
    """
    path = folder / f"{name}.yaml"
    try:
        declared = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such artefact; there are {', '.join(artefact_names(folder))}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    try:
        check(declared)
        if name in within:
            raise ValueError(f"cells_of goes in a circle: {' → '.join((*within, name))}")
        cells = declared_cells(declared, folder, (*within, name))
        layout = {key: declared.get(key) for key in LAYOUTS}
        check_layout(layout, cells)
        others = {key: declared[key] for key in ("paper", "cells_of") if key in declared}
        return Artefact(name, declared.get("title", name), cells, **layout, **others)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check(declared: Any) -> None:
    """ValueError where what a params file declares has not the form of an artefact."""
    if not isinstance(declared, dict):
        raise ValueError("a params file is a mapping with title, cells, grid and table or figure")
    known = {"title", "kind", "cells_of", "cells", "grid", "table", "figure", "paper"}
    if unknown := sorted(map(str, set(declared) - known)):
        raise ValueError(f"unknown key {unknown[0]!r}; an artefact has {', '.join(sorted(known))}")
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


def check_layout(layout: Mapping[str, Any], cells: tuple[Cell, ...]) -> None:
    """ValueError where a table or figure is laid out by what its cells have not, or two cells in one place."""
    for what, keys in LAYOUTS.items():
        if (laid := layout[what]) is None:
            continue
        if not isinstance(laid, dict):
            raise ValueError(f"{what} is not a mapping of {', '.join(keys)}")
        if what == "figure" and "kind" in laid and laid["kind"] not in list(FIGURES):
            raise ValueError(f"unknown kind of figure {laid['kind']!r}; choose from {', '.join(FIGURES)}")
        wanted = FIGURES[laid["kind"]] if what == "figure" and "kind" in laid else keys
        if missing := [key for key in wanted if key not in laid]:
            raise ValueError(f"{what} lacks {missing[0]}; it has {', '.join(wanted)}")
        names = [*laid.get("rows", []), *laid.get("columns", []), *laid.get("baseline", {})]
        names += [laid["panels"]] if "panels" in laid else []
        for name in names:
            if any(name not in cell.settings for cell in cells):
                raise ValueError(f"{what} is laid out by {name!r}, which is no setting of its cells")
    if layout["table"]:
        places = Counter(tuple(str(cell.settings[name]) for name in place(layout["table"])) for cell in cells)
        for values, count in places.items():
            if count > 1:
                raise ValueError(f"table has {count} cells at {', '.join(values)}; add a setting that tells them apart")


def place(table: Mapping[str, Any]) -> list[str]:
    """The settings that give a cell its place in a table: those of the rows, then those of the columns."""
    return [*table["rows"], *table["columns"]]


def declared_cells(declared: Mapping[str, Any], folder: Path, within: tuple[str, ...]) -> tuple[Cell, ...]:
    """The cells of a params file: its own grid, or another artefact's."""
    if "cells_of" in declared:
        return artefact(str(declared["cells_of"]), folder, within).cells
    return tuple(dict.fromkeys(grid(declared.get("cells", {}), declared["grid"], declared.get("kind", "race"))))


def by_seed(cells: Iterable[Cell]) -> list[tuple[Cell, ...]]:
    """The cells in their order, those that differ in nothing but the seed together: repeats of one experiment."""
    repeats: dict[Cell, list[Cell]] = {}
    for cell in cells:
        repeats.setdefault(replace(cell, seed=0), []).append(cell)
    return [tuple(several) for several in repeats.values()]


def artefact_names(folder: Path = PARAMS) -> list[str]:
    """Every artefact that the folder declares, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem not in NOT_ARTEFACTS)


def all_cells(folder: Path = PARAMS) -> dict[str, Cell]:
    """Every declared cell by its name."""
    return {one.name: one for name in artefact_names(folder) for one in artefact(name, folder).cells}
