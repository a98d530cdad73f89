"""Extensions: a user's own files, which bring algorithms, partitions, datasets, models and tasks of theirs.

A params file names those that it needs: `extensions: [my_method]`. That is extensions/my_method.py in the folder where
the command runs or, where there is none, what an installed package offers under that name, in the entry points of the
group GROUP. It is run as any module that is imported, once in a process, and registers what it brings in the registries
(`fedgrid.registry`). Nothing here guards against what such a file does: it is its user's own code.
"""

import importlib
import re
import sys
import traceback
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from fedgrid.registry import REGISTRIES, Registry

FOLDER = Path("extensions")
PACKAGE = "fedgrid_extensions"  # what the files in FOLDER are modules of
GROUP = "fedgrid.extensions"
# Where a traceback is on the way to a user's line, or beyond it.
LOADING = re.compile(f"importlib|^{re.escape(str(Path(__file__).parent))}/")
Kept = list[tuple[Registry[Any], dict[str, Any]]]  # each registry with its choices as they were


def names(declared: Any) -> list[str]:
    """The extensions that a params file names; ValueError where that is neither a name nor a list of names."""
    listed = [declared] if isinstance(declared, str) else declared
    if not (isinstance(listed, list) and all(isinstance(name, str) for name in listed)):
        raise ValueError(f"extensions is {declared!r}; it is a list of names, such as [my_method]")
    return listed


@cache
def load(name: str) -> ModuleType:
    """The module of that extension, when what it registers stands in the registries; ValueError, in one line, if not.

    One that fails leaves the registries as they were.
    """
    if not name.isidentifier():
        raise ValueError(f"extension {name!r}: a name is letters, digits and _, no digit first; rename it")
    module, kept = f"{PACKAGE}.{name}", [(registry, dict(registry)) for registry in REGISTRIES]
    by_another = module in sys.modules  # which imported it: then, what it brings is there already
    try:
        found = imported(name)
        if not bring(found, kept) and not by_another:
            raise ValueError(f"{shown(found)} registers nothing; it needs, say, @ALGORITHMS.register({name!r})")
    except ValueError:
        sys.modules.pop(module, None)
        restore(kept)
        raise
    return found


def imported(name: str) -> ModuleType:
    """The module of the file in FOLDER or of the entry point; ValueError telling file and line where it fails."""
    try:
        if (FOLDER / f"{name}.py").is_file():
            return of_folder(name)
        if found := offered().get(name):
            return of_package(found)
    except (Exception, SystemExit) as error:
        raise ValueError(failure(name, error)) from error
    there = ", ".join(sorted({*(path.stem for path in FOLDER.glob("*.py")), *offered()})) or "none"
    raise ValueError(
        f"no extension {name!r}: no {FOLDER}/{name}.py, nor has an installed package one; there are: {there}"
    )


def offered() -> dict[str, EntryPoint]:
    """What installed packages offer, by name."""
    return {one.name: one for one in entry_points(group=GROUP)}


def of_folder(name: str) -> ModuleType:
    """The module of FOLDER's file of that name."""
    package = sys.modules.setdefault(PACKAGE, ModuleType(PACKAGE))
    package.__path__ = [str(FOLDER.absolute())]
    importlib.invalidate_caches()  # the file may be younger than what Python knows of the folder
    return importlib.import_module(f"{PACKAGE}.{name}")


def of_package(found: EntryPoint) -> ModuleType:
    """The module that the entry point names."""
    found.load()
    return sys.modules[found.module]


def bring(module: ModuleType, kept: Kept) -> bool:
    """Whether the module, or one that it imported, brought anything; ValueError where it replaced what was there."""
    some = False
    for registry, before in kept:
        for name, choice in registry.items():
            if name in before and choice is not before[name]:
                raise ValueError(f"{shown(module)} replaces {registry.kind} {name!r}; register another name")
            if name not in before:
                registry.brought[name], some = home(choice, module), True
    return some


def restore(kept: Kept) -> None:
    """Leaves the registries as they were."""
    for registry, before in kept:
        for name in registry.keys() - before.keys():
            registry.brought.pop(name, None)
        registry.clear()
        registry.update(before)


def home(choice: object, module: ModuleType) -> ModuleType:
    """The extension in which the choice stands: the one that says so, or else the one that is being loaded."""
    own = str(getattr(choice, "__module__", ""))
    return sys.modules[own] if own.startswith(f"{PACKAGE}.") else module


def source(choice: object) -> ModuleType | None:
    """The extension that brought the choice, which is a registry's or an instance of it; None where it is fedgrid's."""
    for registry in REGISTRIES:
        for name, module in registry.brought.items():
            if registry.get(name) is choice or registry.get(name) is type(choice):
                return module
    return None


def shown(module: ModuleType) -> Path:
    """The module's file, by its path from here where it lies below."""
    return relative(module.__file__ or module.__name__)


def relative(path: str) -> Path:
    """The path from here where it lies below, else as it is."""
    return Path(path).relative_to(Path.cwd()) if Path(path).is_relative_to(Path.cwd()) else Path(path)


def failure(name: str, error: BaseException) -> str:
    """In one line, what the extension failed with, and in which line: the last one that is a user's own."""
    says = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError):
        return f"{relative(error.filename or name)}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    own = [one for one in traceback.extract_tb(error.__traceback__) if not LOADING.search(one.filename)]
    of_file = [one for one in own if Path(one.filename).is_relative_to(FOLDER.absolute())]
    for at in (of_file or own)[-1:]:
        return f"{relative(at.filename)}, line {at.lineno}: {says}"
    return f"extension {name!r}: {says}"
