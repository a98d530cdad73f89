"""The choices of one kind, each by its name: algorithms, partitions, datasets, tasks.

A registry is the list that params files choose from, and the door through which a user's own file brings another:

    @ALGORITHMS.register("half_step")
    @dataclass(frozen=True)
    class HalfStep(FedAvg): ...
"""

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

Choice = TypeVar("Choice")
Added = TypeVar("Added")
NAME = r"[a-z][a-z0-9_]*"  # it stands in the names of records and partitions, whose parts are joined by -
REGISTRIES: list["Registry[Any]"] = []  # every one: `extensions` looks there for what a user's own file brought


class Registry(dict[str, Choice]):
    """The choices of one kind by name, in the order in which they came.

    kind: what one of them is called. brought: of those that are a user's own, the module that registered each.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.brought: dict[str, ModuleType] = {}
        REGISTRIES.append(self)

    def __missing__(self, name: str) -> Choice:
        raise ValueError(f"unknown {self.kind} {name!r}; choose from {', '.join(self)}")

    def name_of(self, choice: object) -> str:
        """The name under which the choice stands here."""
        return next(name for name, one in self.items() if one is choice)

    def register(self, name: str) -> Callable[[Added], Added]:
        """What adds its argument under that name and returns it; ValueError where the name is taken, or no name."""
        if not re.fullmatch(NAME, name):
            raise ValueError(f"{self.kind} {name!r}: a name is lower-case letters, digits and _, a letter first")
        if name in self:
            owner = self.brought[name].__file__ if name in self.brought else "fedgrid"
            raise ValueError(f"{self.kind} {name!r} is there already, in {owner}; choose another name")

        def add(choice: Added) -> Added:
            self[name] = choice  # type: ignore[assignment]
            return choice

        return add
