"""The digest of the sources that a cell's curve depends on: `engine` in its record.

A module's digest is that of its normal form, in which each module that it imports is told by that one's digest: so it
says what the module computes and what it builds on, and not where either lies. A cell's digest is that of the modules
in which its race, data, inputs, partition, algorithm, layers and initial values are written. No comment changes it, a
file may move, and another dataset, algorithm or layer is no part of it.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from fedgrid.engine import products
from fedgrid.grid.cells import Cell, Interpolation, Race
from fedgrid.numerics import PORTABLE
from fedgrid.run import interpolation, race
from fedgrid.run.syntax import Form, Import, form
from fedgrid.tasks import TASKS, initial
from fedgrid.tasks.datasets import DATASETS
from fedgrid.tasks.initial import INITS

PACKAGE = "fedgrid"
# What counts of this package, with all that lies below. The rest moves no number: settings stand in the record.
FLOORS = ("rng", "numerics", "curves", "algorithms", "partitions", "engine", "tasks", "run.race", "run.interpolation")
ASIDE = ("tasks.fetch", "tasks.datasets.declaration")


def roots(cell: Cell) -> Iterator[Any]:
    """What the cell is computed by: a module, or what is looked up in the module where it is written."""
    task = TASKS[cell.task]
    yield interpolation if isinstance(cell, Interpolation) else race
    yield from (cell.partition, DATASETS[task.dataset].load, task.inputs)
    yield from (cell.algorithm, *cell.message) if isinstance(cell, Race) else ()
    yield from cell.model.parts
    yield INITS.get(cell.init, initial)
    yield from [products] if cell.numerics == PORTABLE else []


def digest(cell: Cell) -> str:
    """sha256 of what the cell's curve depends on beside its settings, data and libraries, in hexadecimal.

    ValueError naming a module whose source cannot be read.
    """
    lines = dict.fromkeys(HERE.line(root) for root in roots(cell))
    return hashlib.sha256("\n".join([*lines, repr(cell.model)]).encode()).hexdigest()


def counts(module: str) -> bool:
    """Whether a number may depend on that module of this package."""
    name = module.removeprefix(f"{PACKAGE}.")
    return name not in ASIDE and any(f"{name}.".startswith(f"{floor}.") for floor in FLOORS)


def place(module: str) -> Path | None:
    """Where the source of that module lies, as Python finds it; None where it has none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # below a module that is no package; or made without a file
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


class Sources:
    """Modules by name, each read once: a process computes by what it imported, whatever becomes of the files."""

    def __init__(self, find: Callable[[str], Path | None]) -> None:
        self.find = find
        self.forms: dict[Path, Form] = {}
        self.digests: dict[Path, str] = {}
        self.begun: set[Path] = set()  # those whose digests are being made

    def line(self, root: Any) -> str:
        """The digest of the module in which the root is written, and what it is called there.

        ValueError where what it computes is not all written there, as a functools.partial's is not.
        """
        if isinstance(root, ModuleType):
            return self.digest(root.__name__)
        named = root if hasattr(root, "__qualname__") else type(root)
        if named is not root and callable(root):
            raise ValueError(f"{root!r}: no digest can say what it computes; write it as a function or a class")
        return f"{self.digest(named.__module__)} {named.__qualname__}"

    def digest(self, module: str) -> str:
        """sha256 of the module's form, what it imports told by digests; ValueError where its source can't be read."""
        path = self.find(module)
        if path is None:
            raise ValueError(f"{module}: it has no Python file, so no digest can say what it computes")
        if path in self.begun:
            raise ValueError(f"{path}: it imports a module that imports it; move what both need to a third")
        if path not in self.digests:
            self.begun.add(path)
            try:
                pieces = [one if isinstance(one, str) else self.imports(one, module) for one in self.form(path)]
            finally:
                self.begun.remove(path)
            self.digests[path] = hashlib.sha256("".join(pieces).encode()).hexdigest()
        return self.digests[path]

    def form(self, path: Path) -> Form:
        """The normal form of the source at that path; ValueError where it is none."""
        if path not in self.forms:
            try:
                self.forms[path] = form(path.read_bytes())
            except SyntaxError as error:
                raise ValueError(f"{path}: not readable as Python: {error}") from error
        return self.forms[path]

    def imports(self, several: tuple[Import, ...], importer: str) -> str:
        """Imports that stand together in a module, as text: in an order that depends on no place of a file."""
        return "\n".join(sorted(self.told(self.absolute(one, importer), importer) for one in several))

    def told(self, one: Import, importer: str) -> str:
        """An import as text: of a module that counts the digest; of another of this package no place; of others, it."""
        ours = {PACKAGE, top(importer)}
        one = self.origin(one, ours)
        if top(one.module) not in ours:
            return f"{one.bound} = {one.module} {one.name}"
        return f"{one.bound} = {self.digest(one.module) if self.follows(one.module) else ''} {one.name}"

    def follows(self, module: str) -> bool:
        """Whether the module itself counts. A package of this one does not: its lists hold more than a cell chose."""
        return top(module) != PACKAGE or (counts(module) and not self.is_package(module))

    def origin(self, one: Import, ours: Collection[str]) -> Import:
        """The import from where it is written: a package of ours passes on names of its modules, and holds modules."""
        path = self.find(one.module) if top(one.module) in ours else None
        if one.name is None or path is None or not self.is_package(one.module):
            return one
        for piece in self.form(path):
            for passed in () if isinstance(piece, str) else (self.absolute(it, one.module) for it in piece):
                if passed.bound == one.name and passed.module != one.module:
                    return self.origin(passed._replace(bound=one.bound), ours)
        module = f"{one.module}.{one.name}"
        return one if self.find(module) is None else Import(module, None, one.bound)

    def absolute(self, one: Import, importer: str) -> Import:
        """The import by the module's full name."""
        package = importer if self.is_package(importer) else importer.rpartition(".")[0]
        return one._replace(module=importlib.util.resolve_name(one.module, package))

    def is_package(self, module: str) -> bool:
        """Whether the module is a package."""
        path = self.find(module)
        return path is not None and path.name == "__init__.py"


def top(module: str) -> str:
    """The package that holds a module, and all that belongs to it."""
    return module.partition(".")[0]


HERE = Sources(place)
