"""Artefacts: the tables and figures of the paper, as params files declare them.

A params file names the cells that its artefact needs, written as a grid, and how they are laid out. Two artefacts that
declare the same cell share its record. Nothing here trains or reads a record.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fedgrid.cells import KINDS, Cell, Race, grid

PARAMS = Path("params")
NOT_ARTEFACTS = ("datasets", "paper")
NAME = r"\w[\w-]*"  # of an artefact: it stands in paths, in rules' shell lines and in patterns
# What a layout says, beside the kind of a figure; those that name settings of its cells.
LAYOUTS = {
    "table": ("rows", "columns", "baseline"),
    "figure": ("kind",),
}
NO_SETTINGS = ("target", "changed")  # by which a table may be laid out all the same
# What the figures of a kind must say, and what they may.
FIGURES = {
    "curves": (("kind", "y", "lines", "x", "panels", "range"), ("monotone", "log", "every")),
    "averaging": (("kind",), ()),
}


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
    if not re.fullmatch(NAME, name):
        raise ValueError(
            f"{folder}: {name!r} is no name of an artefact; rename it: letters, digits, _ and -, the first no -"
        )
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
    if len(str(declared.get("title", "untitled")).splitlines()) != 1:  # in LaTeX it is a comment, which a line ends
        raise ValueError(f"title is {declared['title']!r}; it is one line")
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
        if missing := [key for key in keys if key not in laid]:
            raise ValueError(f"{what} lacks {missing[0]}; it has {', '.join(keys)}")
        check_table(laid) if what == "table" else check_figure(laid, cells)
        names = [*laid.get("baseline", {}), *laid.get("panels", [])]
        names += [name for name in (place(laid) if what == "table" else []) if name not in NO_SETTINGS]
        for name in names:
            if any(name not in cell.settings for cell in cells):
                raise ValueError(f"{what} is laid out by {name!r}, which is no setting of its cells")
    if layout["table"]:
        check_places(layout["table"], cells)


def check_table(laid: Mapping[str, Any]) -> None:
    """ValueError where a table says of its rows, columns or baseline what is none."""
    for key in ("rows", "columns"):
        if not (laid[key] and are_names(laid[key])):
            raise ValueError(f"table has {key} {laid[key]!r}; it is a list of settings, one at least")
    if not isinstance(laid["baseline"], dict):
        raise ValueError(f"table has baseline {laid['baseline']!r}; it is a mapping of settings")


def are_names(value: Any) -> bool:
    """Whether it is a list of what may be settings."""
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def check_places(table: Mapping[str, Any], cells: tuple[Cell, ...]) -> None:
    """ValueError where cells of a table have no target to count rounds to, or several experiments one place."""
    if not all(cell.settings.get("targets") for cell in cells):
        raise ValueError("table counts rounds to a target, and cells of it have none")
    places = Counter(tuple(str(spot.settings[name]) for name in place(table)) for spot in spots(table, cells))
    for values, count in places.items():
        if count > 1:
            raise ValueError(f"table has {count} cells at {', '.join(values)}; add a setting that tells them apart")


def check_figure(laid: Mapping[str, Any], cells: tuple[Cell, ...]) -> None:
    """ValueError where a figure says what its kind does not, or lacks what it must say."""
    kind = laid["kind"]
    if kind not in list(FIGURES):
        raise ValueError(f"unknown kind of figure {kind!r}; choose from {', '.join(FIGURES)}")
    wanted, allowed = FIGURES[kind]
    if missing := [key for key in wanted if key not in laid]:
        raise ValueError(f"figure lacks {missing[0]}; it has {', '.join(wanted)}")
    if unknown := sorted(map(str, set(laid) - {*wanted, *allowed})):
        raise ValueError(f"unknown key {unknown[0]!r}; a figure of {kind} has {', '.join((*wanted, *allowed))}")
    for name, holds, must in figure_bounds(laid, cells):
        if not holds:
            raise ValueError(f"figure has {name} {laid.get(name)!r}; {must}")


def figure_bounds(laid: Mapping[str, Any], cells: tuple[Cell, ...]) -> Iterator[tuple[str, bool, str]]:
    """Each key of a figure, whether what it says is allowed, and what is; a check may rely on those before it."""
    races = [isinstance(cell, Race) for cell in cells]
    yield "kind", all(races) if laid["kind"] == "curves" else not any(races), "curves are of races, averaging is not"
    if laid["kind"] != "curves":
        return
    log, monotone = laid.get("log", []), laid.get("monotone", False)
    yield "y", laid["y"] in ["test_accuracy", "train_loss"], "it is test_accuracy or train_loss"
    losses = all(cell.settings["train_loss"] for cell in cells)
    yield "y", laid["y"] != "train_loss" or losses, "its cells evaluate none: train_loss is false"
    yield "lines", laid["lines"] in ["best", "each"], "it is best or each"
    yield "x", laid["x"] in ["rounds", "gradients"], "it is rounds or gradients"
    yield "panels", are_names(laid["panels"]), "it is a list of settings"
    yield "log", isinstance(log, list) and all(axis in ["x", "y"] for axis in log), "it is a list of x and y"
    yield "monotone", type(monotone) is bool, "it is true or false"
    once = not monotone or (laid["lines"], laid["y"]) == ("each", "test_accuracy")
    yield "monotone", once, "it is for each rate's test_accuracy; best is monotone anyway"
    yield "every", type(laid.get("every", 1)) is int and laid.get("every", 1) >= 1, "it is a whole number from 1"
    ranges = [axes_range(laid, cell) for cell in cells]
    yield "range", all(map(is_range, ranges)), "it has x and y, [least, greatest] each, or that per value of a panel"
    yield "log", "y" not in log or all(one["y"][0] > 0 for one in ranges), "a logarithmic y begins above 0"


def axes_range(laid: Mapping[str, Any], cell: Cell) -> Any:
    """The range of the axes where the cell is drawn: the figure's, or that of its value of the first panel setting."""
    ranges = laid["range"]
    if not isinstance(ranges, dict) or "x" in ranges or not laid["panels"]:
        return ranges
    value = cell.settings.get(laid["panels"][0])
    return next((axes for key, axes in ranges.items() if key == value), None)  # a list of rates is no key


def is_range(axes: Any) -> bool:
    """Whether it is an x and a y, each [least, greatest]."""
    if not (isinstance(axes, dict) and set(axes) == {"x", "y"}):
        return False
    for ends in axes.values():
        if not (isinstance(ends, list) and len(ends) == 2 and all(type(end) in (int, float) for end in ends)):
            return False
    return all(least < greatest for least, greatest in axes.values())


def place(table: Mapping[str, Any]) -> list[str]:
    """The settings that give a cell its place in a table: those of the rows, then those of the columns."""
    return [*table["rows"], *table["columns"]]


class Spot(NamedTuple):
    """What a table has one entry for: repeats of an experiment; their settings, and NO_SETTINGS.

    `target` is that of the entry, `changed` the settings that are not as in the table's baseline.
    """

    cells: tuple[Cell, ...]
    settings: Mapping[str, Any]


def spots(table: Mapping[str, Any], cells: Iterable[Cell]) -> list[Spot]:
    """A table's spots: repeats are together unless seeds have places; by target, each target has its own."""
    names = place(table)
    apart = "seed" in names or ("changed" in names and "seed" in table["baseline"])
    found = []
    for repeats in [(cell,) for cell in cells] if apart else by_seed(cells):
        settings = repeats[0].settings
        changed = {name: settings[name] for name, value in table["baseline"].items() if settings[name] != value}
        for target in settings["targets"] if "target" in names else settings["targets"][-1:]:
            found.append(Spot(repeats, settings | {"target": target, "changed": changed}))
    return found


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
