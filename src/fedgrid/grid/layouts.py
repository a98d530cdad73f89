"""How a table or figure is laid out by the settings of its cells: what may be declared, and which cells go together."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from fedgrid.grid.cells import Cell, Race, as_settings

# What a layout says, beside the kind of a figure; those that name settings of its cells.
LAYOUTS = {
    "table": ("rows", "columns", "baseline"),
    "figure": ("kind",),
}
NO_SETTINGS = ("target", "changed")  # by which a table may be laid out all the same
# What the figures of a kind must say, and what they may.
FIGURES = {
    "curves": (("kind", "y", "lines", "x", "panels", "range"), ("monotone", "log", "every")),
    "interpolation": (("kind",), ()),
}


def laid_out(declared: Mapping[str, Any], cells: tuple[Cell, ...]) -> dict[str, Any]:
    """The table and the figure of a params file, the table's baseline read as cells are.

    ValueError where one is laid out by what its cells have not, or two cells are in one place.
    """
    found = {what: declared.get(what) for what in LAYOUTS}
    check_layouts(found, cells)
    if found["table"]:
        found["table"] = found["table"] | {"baseline": baseline(found["table"]["baseline"], cells)}
        check_places(found["table"], cells)
    return found


def check_layouts(layout: Mapping[str, Any], cells: tuple[Cell, ...]) -> None:
    """ValueError where a table or figure is laid out by what its cells have not."""
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


def baseline(declared: Mapping[str, Any], cells: Iterable[Cell]) -> dict[str, Any]:
    """The settings of a table's baseline; ValueError where no cell has them."""
    wanted, there = {}, [cell.settings for cell in cells]
    for name, value in declared.items():
        try:
            wanted[name] = as_settings(name, value)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"table has a baseline of {name}: {error}") from error
        if all(settings[name] != wanted[name] for settings in there):
            others = ", ".join(dict.fromkeys(str(settings[name]) for settings in there))
            none = f"table has a baseline of {name} {value}, and no cell of it has that"
            raise ValueError(f"{none}; its cells have {name} {others}")
    if not any(all(settings[name] == value for name, value in wanted.items()) for settings in there):
        together = ", ".join(f"{name} {value}" for name, value in wanted.items())
        none = f"table has a baseline of {together}, and no cell of it has all of that"
        raise ValueError(f"{none}; name what one cell has, or {{}}")
    return wanted


def check_table(laid: Mapping[str, Any]) -> None:
    """ValueError where a table says of its rows, columns or baseline what is none, or something else."""
    if unknown := sorted(map(str, set(laid) - set(LAYOUTS["table"]))):
        raise ValueError(f"unknown key {unknown[0]!r}; a table has {', '.join(LAYOUTS['table'])}")
    for key in ("rows", "columns"):
        if not (laid[key] and are_names(laid[key])):
            raise ValueError(f"table has {key} {laid[key]!r}; it is a list of settings, one at least")
    if twice := [name for name, count in Counter(place(laid)).items() if count > 1]:
        raise ValueError(f"table has {twice[0]!r} twice in its rows and columns; name it once")
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
    holds = all(races) if laid["kind"] == "curves" else not any(races)
    yield "kind", holds, "curves are of races, interpolation is not"
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


def by_seed(cells: Iterable[Cell]) -> list[tuple[Cell, ...]]:
    """The cells in their order, those that differ in nothing but the seed together: repeats of one experiment."""
    repeats: dict[Cell, list[Cell]] = {}
    for cell in cells:
        repeats.setdefault(replace(cell, seed=0), []).append(cell)
    return [tuple(several) for several in repeats.values()]
