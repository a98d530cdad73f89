"""What a round of an algorithm costs, and how the algorithm is called: all that others ask of it besides its places."""

from collections.abc import Iterator
from dataclasses import fields
from math import ceil
from typing import Any, ClassVar, Protocol

from fedgrid.algorithms.cohorts import cohort_size

Bound = tuple[str, bool, str]  # a setting's name, whether its value is allowed, and what is


class Settings(Protocol):
    """The settings of a race that its cost depends on."""

    @property
    def K(self) -> int: ...
    @property
    def C(self) -> float: ...
    @property
    def E(self) -> int: ...
    @property
    def B(self) -> float: ...
    @property
    def rounding(self) -> str: ...


class Costs:
    """Costs of a round at those settings, for one learning rate, of n training examples in all.

    They are those of clients that train by themselves; an algorithm that differs says so by its own.
    """

    title: ClassVar[str]  # what tables call the algorithm
    unit: ClassVar[str] = "rounds"  # what its horizon counts

    def work(self, s: Settings, n: int) -> tuple[int, float]:
        """How many clients train in a round, and how many examples each has on average."""
        return cohort_size(s.K, s.C, s.rounding), n / s.K

    def examples(self, s: Settings, n: int) -> float:
        """Examples trained on, those of several epochs counted several times."""
        clients, n_k = self.work(s, n)
        return clients * n_k * s.E

    def updates(self, s: Settings, n: int) -> float:
        """u = E·n / (K·B): updates that a client is expected to make. A batch is at most all that the client has."""
        _, n_k = self.work(s, n)
        return s.E * max(n_k / s.B, 1.0)

    def gradients(self, s: Settings, n: int) -> int:
        """Minibatch gradients that are computed: of m clients, in E epochs of an average client's batches."""
        clients, n_k = self.work(s, n)
        return clients * s.E * max(ceil(n_k / s.B), 1)

    def share(self, s: Settings, n: int) -> float:
        """The part of the data, or of the clients, that is passed over."""
        return cohort_size(s.K, s.C, s.rounding) / s.K

    def floats(self, parameters: int) -> tuple[int, int]:
        """How many numbers a client receives, and how many it sends."""
        return parameters, parameters

    def bounds(self, race: Any) -> Iterator[Bound]:
        """What the algorithm asks of its own hyperparameters and of the settings of a race."""
        yield from ()

    def label(self, s: Settings) -> str:
        """The point of the grid, as the name of a record has it."""
        B = "inf" if float("inf") == s.B else int(s.B)
        return f"C{s.C:g}-E{s.E}-B{B}"

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Its own settings and their values."""
        return {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]
