"""Settings that nest: a choice by its name alone, or by its name with settings of its own.

algorithm: fedavg
algorithm: {name: fedprox, mu: 0.1}
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from fedgrid.registry import Registry

Choice = TypeVar("Choice")


def number(value: Any) -> float:
    """The value as a float; TypeError where it is not a number (a string may only be "inf")."""
    if isinstance(value, bool) or not (isinstance(value, int | float) or value == "inf"):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def whole(value: Any) -> int:
    """The value, if it is a whole number."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def flag(value: Any) -> bool:
    """The value, if it is true or false."""
    if type(value) is not bool:
        raise TypeError(f"{value!r} is not true or false")
    return value


READ: dict[type, Callable[[Any], Any]] = {float: number, int: whole, bool: flag, str: str}


def chosen(registry: Registry[type[Choice]], value: Any) -> Choice:
    """The choice that a params file means, made with its own settings; ValueError naming what is unknown or wrong."""
    said = {"name": value} if isinstance(value, str) else value
    if not isinstance(said, Mapping) or "name" not in said:
        raise ValueError(f"{value!r} is no {registry.kind}; write its name, or {{name: …, its settings}}")
    name, own = said["name"], {key: one for key, one in said.items() if key != "name"}
    if name not in registry:
        raise ValueError(f"unknown {registry.kind} {name!r}; choose from {', '.join(registry)}")
    if fault := next(faults(registry[name], own), None):
        raise ValueError(f"{registry.kind} {name}: {fault}")
    return registry[name](**values(name, registry[name], own))


def filled(name: str, kind: type[Choice], value: Any) -> Choice:
    """The settings that the mapping of a params file under that name means; ValueError naming what is wrong with it."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is {value!r}; it is a mapping of {', '.join(one.name for one in fields(kind))}")  # type: ignore[arg-type]
    if fault := next(faults(kind, value), None):
        raise ValueError(f"{name}: {fault}")
    return kind(**values(name, kind, value))


def faults(kind: type[Any], own: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a choice's class, or with the settings that it is given; each presupposes those before it."""
    if not is_dataclass(kind):
        yield "its class is no dataclass; put @dataclass(frozen=True) above it"
        return
    known = {one.name: one for one in fields(kind)}
    for key in known:
        if key == "name" or any(callable(vars(base).get(key)) for base in kind.__mro__[1:]):
            yield f"its setting {key!r} means something else here; rename it"
    yield from (f"unknown setting {key!r}; it has {', '.join(known) or 'none'}" for key in own if key not in known)
    yield from (f"missing setting {key!r}" for key, one in known.items() if one.default is MISSING and key not in own)


def values(name: str, kind: type[Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a choice's own settings, each of its field's type."""
    hints, found = get_type_hints(kind), {}
    for key, value in own.items():
        try:
            found[key] = READ.get(hints[key], lambda same: same)(value)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"{name}.{key}: {error}") from error
    return found


def plain(registry: Registry[Any], choice: Any) -> Any:
    """The choice as JSON has it: its name or, with settings of its own, a mapping that spells them all out."""
    name = registry.name_of(type(choice))
    own = {one.name: getattr(choice, one.name) for one in fields(choice)}
    return {"name": name} | own if own else name


def tag(registry: Registry[Any], choice: Any) -> str:
    """The choice as a name of a record or file has it: dirichlet_alpha0.1."""
    own = [f"_{one.name}{getattr(choice, one.name)}" for one in fields(choice)]
    return re.sub(r"[^\w.-]", "", "".join([registry.name_of(type(choice)), *own]))
