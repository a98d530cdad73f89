"""docs/params.md: its tables of what a params file may say, made of the schema, the settings and the registries."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from inspect import getdoc
from pathlib import Path
from typing import Any, get_type_hints

from fedgrid.algorithms import ALGORITHMS, MESSAGES
from fedgrid.curves import SCHEDULES, Prune
from fedgrid.grid import schemas
from fedgrid.grid.cells import CHOICES, KINDS, as_json, cell
from fedgrid.partitions import PARTITIONS
from fedgrid.results.summary import between, grid
from fedgrid.tasks import TASKS
from fedgrid.tasks.datasets import declared
from fedgrid.tasks.initial import INITS
from fedgrid.tasks.inputs import SCALINGS

PAGE = Path("docs/params.md")
SCHEMA = schemas.SCHEMAS / "artefact.schema.yaml"
# Settings whose choices have a table of their own, under the heading that has that anchor.
TABLES: dict[str, Mapping[str, Any]] = {
    "partition": PARTITIONS,
    "algorithm": ALGORITHMS,
    "message": MESSAGES,
    "init": INITS,
    "scaling": SCALINGS,
    "evaluate": SCHEDULES,
}
TYPES = {bool: "`true` or `false`", float: "a number", int: "a whole number", str: "a text"}
# A cell of each kind, whose bounds are those of any.
SAMPLE = {"task": "digits_2nn", "partition": "iid", "E": 1, "B": 10, "lr": 0.1}
SAMPLES = {"race": SAMPLE | {"C": 0.1, "targets": 0.9, "rounds": 9}, "interpolation": SAMPLE | {"shared_start": True}}


def page(text: str, schema: Mapping[str, Any]) -> str:
    """The page with each of its tables made anew, between its marks."""
    for name, table in made(schema):
        text = between(text, name, f"{table}\n")
    return text


def made(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each table of the page by its name."""
    yield "artefact", keys(schema)
    yield "table", keys(schema["properties"]["table"])
    yield "figure", keys(schema["properties"]["figure"])
    race = settings("race")
    yield "settings", shown(race)
    yield "interpolation", shown([row for row in settings("interpolation") if row not in race])
    yield "prune", pruning()
    yield "task", tasks()
    for name, choices in TABLES.items():
        yield name, listed(name, choices)


def keys(rule: Mapping[str, Any]) -> str:
    """The keys of a mapping by its schema: what each is, what it may be, and what it is where it is left out."""
    needed = {*rule.get("required", []), *rule.get("then", {}).get("required", [])}
    rows = []
    for key, one in rule["properties"].items():
        otherwise = "needed" if key in needed else code(one["default"]) if "default" in one else ""
        rows.append([code(key), one["description"], value(one), otherwise])
    return grid(["key", "what it is", "value", "if left out"], rows)


def value(rule: Mapping[str, Any]) -> str:
    """What a key may be, by its schema."""
    match rule:
        case {"enum": choices}:
            return among(choices)
        case {"anyOf": rules}:
            return " or ".join(dict.fromkeys(map(value, rules)))
        case {"type": "integer", "minimum": least}:
            return f"a whole number from {least}"
        case {"type": "array", "items": {"enum": choices}}:
            return f"a list of {' and '.join(map(code, choices))}"
        case {"type": "array", "items": {"type": "object"}}:
            return "a list of mappings"
    return {"boolean": TYPES[bool], "string": "a text", "array": "a list"}.get(rule.get("type", ""), "a mapping")


def among(choices: Iterable[str]) -> str:
    """Those choices, of which one is made."""
    *others, last = map(code, choices)
    return f"{', '.join(others)} or {last}"


def code(plain: Any) -> str:
    """A value as a params file has it."""
    return f"`{plain if isinstance(plain, str) else json.dumps(plain)}`"


def settings(kind: str) -> list[list[str]]:
    """The settings of a kind of cell: what each is, what it may be, and its default."""
    sample, hints = cell(SAMPLES[kind], kind), get_type_hints(KINDS[kind], include_extras=True)
    bounds: dict[str, str] = {}
    for name, _, wanted in sample.bounds():
        bounds[name] = f"{bounds[name]}, {wanted}" if name in bounds and name != "K" else wanted
    rows = []
    for one in fields(KINDS[kind]):
        (says,), default = hints[one.name].__metadata__, one.default
        otherwise = "needed" if default is MISSING else code(as_json(one.name, default))
        rows.append([code(one.name), says, allowed(one.name, bounds.get(one.name)), otherwise])
    return rows


def allowed(name: str, bound: str | None) -> str:
    """What a setting may be."""
    if name == "prune":
        return f"[a mapping](#{name})"
    if name == "task" or name in TABLES:
        return f"[one of these](#{name})" if name != "message" else f"[a list of these](#{name})"
    if name in CHOICES:
        return among(CHOICES[name])
    return bound if bound and name not in ("lrn", "l2") else TYPES[bool]


def shown(rows: list[list[str]]) -> str:
    """Settings as a table."""
    return grid(["setting", "what it is", "value", "if left out"], rows)


def pruning() -> str:
    """The settings of `prune`."""
    hints, bounds = get_type_hints(Prune, include_extras=True), Prune(1, 1, 1).bounds()
    return shown([[code(name), hints[name].__metadata__[0], wanted, "needed"] for name, _, wanted in bounds])


def tasks() -> str:
    """The tasks: their data, and the size of their models."""
    rows = []
    for name, task in TASKS.items():
        of = declared(task.dataset)
        clients = "known when they are here" if of.clients is None else f"{of.clients:,}"
        rows.append([code(name), task.dataset, f"{task.model.parameters:,}", f"{of.train:,}", clients])
    return grid(["task", "dataset", "parameters", "training examples", "clients of its own"], rows)


def listed(name: str, choices: Mapping[str, Any]) -> str:
    """The choices of a setting: what each is and, where there are any, its own settings."""
    rows = [[code(choice), first(kind), "; ".join(own(name, kind))] for choice, kind in choices.items()]
    if any(row[2] for row in rows):
        return grid([name, "what it is", "settings of its own"], rows)
    return grid([name, "what it is"], [row[:2] for row in rows])


def first(choice: Any) -> str:
    """The first line of what a choice's source says of it."""
    return (getdoc(choice) or "").partition("\n")[0]


def own(name: str, kind: Any) -> Iterator[str]:
    """The settings of a choice's own: what each may be, and its default."""
    hints, bounds = get_type_hints(kind), dict[str, str]()
    if name == "algorithm":
        bounds = {key: wanted for key, _, wanted in kind().bounds(cell(SAMPLES["race"]))}
    for one in fields(kind) if is_dataclass(kind) else ():
        given = "" if one.default is MISSING else f", {code(one.default)} unless given"
        yield f"{code(one.name)}: {bounds.get(one.name, TYPES[hints[one.name]])}{given}"
