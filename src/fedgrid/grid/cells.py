"""Cells: points of the paper's grid, checked. Nothing here trains, reads a file or knows of tables."""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any, ClassVar

from fedgrid.algorithms import ALGORITHMS, MESSAGES, FedAvg, Transformation
from fedgrid.algorithms.batches import DECAYS, SHUFFLES
from fedgrid.algorithms.cohorts import ROUNDINGS
from fedgrid.curves import SCHEDULES, Prune
from fedgrid.engine.model import Model
from fedgrid.engine.precision import PRECISIONS
from fedgrid.grid.choices import chosen, filled, flag, number, plain, tag, whole
from fedgrid.numerics import NATIVE, NUMERICS
from fedgrid.partitions import PARTITIONS, Division
from fedgrid.registry import Registry
from fedgrid.tasks import TASKS
from fedgrid.tasks.datasets import DATASETS
from fedgrid.tasks.initial import INITS, MODULE, inits
from fedgrid.tasks.inputs import SCALINGS

CHOICES: dict[str, Any] = {
    "task": TASKS,
    "init": (*INITS, MODULE),
    "scaling": SCALINGS,
    "shuffle": SHUFFLES,
    "rounding": ROUNDINGS,
    "evaluate": SCHEDULES,
    "precision": PRECISIONS,
    "numerics": NUMERICS,
    "decay_per": DECAYS,
}
# Settings that nest, and the registries that they are chosen from.
NESTED: dict[str, Registry[Any]] = {"algorithm": ALGORITHMS, "partition": PARTITIONS, "message": MESSAGES}
OWN_LISTS = ("lr", "targets", "message")
LATER = {"later": True}  # of a setting that came after the first records


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One job that leaves one record. What Race and Interpolation, its two kinds, have in common.

    A setting is annotated with what docs/params.md says of it.
    The settings from `init` on are choices that the paper leaves open; docs/deviations.md discusses their defaults.
    """

    task: Annotated[str, "what is learnt: a dataset, and the model that learns it"]
    partition: Annotated[Division, "which training examples each client holds"]
    E: Annotated[int, "local epochs: how often a client goes through its examples in a round"]
    B: Annotated[float, "batch size; `inf` is all of a client's examples at once"]
    lr: Annotated[tuple[float, ...], "learning rates, which race: one, a list, or a grid of rates"]
    K: Annotated[int, "clients"] = 100
    seed: Annotated[int, "what partition, initial weights, cohorts and batches are drawn from"] = 0
    init: Annotated[str, "how the initial weights are drawn"] = "glorot"
    scaling: Annotated[str, "the pixels of grey images"] = "unit"
    shuffle: Annotated[str, "a client's examples, before each of its epochs or once a round"] = "every_epoch"
    precision: Annotated[str, "of matrix products; `tf32` needs a GPU"] = field(default="float32", metadata=LATER)
    numerics: Annotated[str, "kernels: this processor's best, or the same bits on any with AVX2"] = field(
        default=NATIVE, metadata=LATER
    )
    lrn: Annotated[bool, "the CIFAR-10 model's local response normalisation"] = field(default=True, metadata=LATER)
    l2: Annotated[bool, "the CIFAR-10 model's L2 penalty"] = field(default=True, metadata=LATER)

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if hasattr(self, name) and (value := getattr(self, name)) not in choices:
                raise ValueError(f"unknown {name} {value!r}; choose from {', '.join(choices)}")
        for name, holds, wanted in self.bounds():
            if not holds:
                value = as_json(name, getattr(self, name)) if hasattr(self, name) else self.own(name)
                raise ValueError(f"{name} is {value}; it must be {wanted}")

    def own(self, name: str) -> Any:
        """The value of a setting that is not the cell's but of a part that it chose; None where none has that name."""
        return None

    def bounds(self) -> Iterator[tuple[str, bool, str]]:
        """Each setting's name, whether its value is allowed, and what is."""
        yield "E", self.E >= 1, "a whole number from 1"
        yield "B", self.B >= 1 and (math.isinf(self.B) or self.B % 1 == 0), "a whole number from 1, or inf"
        yield "K", self.K >= 1, "a whole number from 1"
        yield "task", self.dataset in DATASETS, f"of a dataset that is registered; {self.dataset} is not"
        yield "init", self.init in inits(self.model), f"{' or '.join(inits(self.model))} for the model of {self.task}"
        yield "seed", self.seed >= 0, "a whole number from 0"
        exact = self.numerics == NATIVE or self.precision == "float32"
        yield "precision", exact, f"float32 where numerics is {self.numerics}"
        model, has_none = TASKS[self.task].model, "true where the task's model has no"
        yield "lrn", self.lrn or model.variant(False, True) != model, f"{has_none} local response normalisation"
        yield "l2", self.l2 or model.variant(True, False) != model, f"{has_none} L2 penalty"
        yield "lr", len(self.lr) > 0 and all(0 < lr < math.inf for lr in self.lr), "positive numbers, one at least"
        yield "lr", sorted(set(self.lr)) == list(self.lr), "rising, none twice"

    @property
    def settings(self) -> dict[str, Any]:
        """The cell as plain JSON values, every setting spelt out; B = inf as "inf"."""
        found = {one.name: as_json(one.name, getattr(self, one.name)) for one in fields(self)}
        return found | {"B": "inf" if math.isinf(self.B) else int(self.B)}

    @property
    def recorded(self) -> dict[str, Any]:
        """The settings as record and name hold them: a later one only where it is not its default.

        So a setting that is new leaves every record its name.
        """
        default = {one.name for one in fields(self) if one.metadata == LATER and getattr(self, one.name) == one.default}
        return {key: value for key, value in self.settings.items() if key not in default}

    @cached_property
    def name(self) -> str:
        """The record's name: readable, and ending in a digest of all settings."""
        digest = hashlib.sha256(json.dumps(self.recorded, sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.task}-{tag(PARTITIONS, self.partition)}-{self.label}-s{self.seed}-{digest}"

    @property
    def label(self) -> str:
        """The middle of the name."""
        raise NotImplementedError

    @property
    def dataset(self) -> str:
        """The name of the dataset that the task learns."""
        return TASKS[self.task].dataset

    @cached_property
    def model(self) -> Model:
        """What learns it, as the settings have it."""
        return TASKS[self.task].model.variant(self.lrn, self.l2)

    @property
    def partition_name(self) -> str:
        """The name of the partition's file: one per dataset, kind, K and seed."""
        return f"{self.dataset}-{tag(PARTITIONS, self.partition)}-K{self.K}-s{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Race(Cell):
    """A point of the grid C × E × B, its learning rates racing in lockstep."""

    C: Annotated[float, "client fraction: the share of the clients that take part in a round; 0 is one client"]
    targets: Annotated[tuple[float, ...], "test accuracies, one or a list; the last ends the race, `[]` never does"]
    rounds: Annotated[int, "the horizon: the round that ends a race which does not reach its last target"]
    rounding: Annotated[str, "how C·K becomes a number of clients"] = "nearest"
    evaluate: Annotated[str, "the rounds in which the model is tested"] = "paper"
    train_loss: Annotated[bool, "whether the loss over the whole training set is measured, too"] = False
    algorithm: Annotated[FedAvg, "what clients and server do in a round"] = field(default=FedAvg(), metadata=LATER)
    message: Annotated[tuple[Transformation, ...], "a list: what is done to an update, in turn, before it is sent"] = (
        field(default=(), metadata=LATER)
    )
    decay: Annotated[float, "factor by which the learning rates decay"] = field(default=1.0, metadata=LATER)
    decay_per: Annotated[str, "after each pass over the data, or each round"] = field(default="epoch", metadata=LATER)
    prune: Annotated[Prune | None, "when a learning rate that cannot win leaves the race; `null` is never"] = field(
        default=None, metadata=LATER
    )

    def bounds(self) -> Iterator[tuple[str, bool, str]]:
        """Each setting's name, whether its value is allowed, and what is."""
        yield from super().bounds()
        yield "C", 0 <= self.C <= 1, "a fraction from 0 to 1"
        yield "rounds", self.rounds >= 1, "a whole number from 1"
        yield "decay", 0 < self.decay <= 1, "above 0 and at most 1"
        yield from self.algorithm.bounds(self)
        for link in self.message:
            yield from link.bounds()
        for name, holds, wanted in self.prune.bounds() if self.prune else ():
            yield f"prune.{name}", holds, wanted
        yield "targets", all(0 < a < 1 for a in self.targets), "accuracies between 0 and 1"
        yield "targets", sorted(set(self.targets)) == list(self.targets), "rising, none twice"

    @property
    def label(self) -> str:
        """The point of the grid."""
        own = [] if self.algorithm == FedAvg() else [tag(ALGORITHMS, self.algorithm)]
        sent, pruned = (tag(MESSAGES, link) for link in self.message), ["pruned"] if self.prune else []
        return "-".join([*own, self.algorithm.label(self), *sent, *pruned])

    def own(self, name: str) -> Any:
        """The value of a setting of its algorithm, of a link of its chain or of its pruning; None where none has it."""
        if name.startswith("prune."):
            return getattr(self.prune, name.removeprefix("prune."))
        return next((getattr(one, name) for one in (self.algorithm, *self.message) if hasattr(one, name)), None)


@dataclass(frozen=True, kw_only=True)
class Interpolation(Cell):
    """Figure 1: clients 0 and 1 train apart, from the same initial weights or not, and are averaged."""

    shared_start: Annotated[bool, "whether both clients begin with the same weights"]
    points: Annotated[int, "how many averages of the two are evaluated, θ from −0.2 to 1.2"] = 50
    span: ClassVar[tuple[float, float]] = (-0.2, 1.2)  # of θ

    def bounds(self) -> Iterator[tuple[str, bool, str]]:
        """Each setting's name, whether its value is allowed, and what is."""
        yield from super().bounds()
        yield "lr", len(self.lr) == 1, "one learning rate"
        yield "K", self.K >= 2, "a whole number from 2"
        yield "points", self.points >= 3, "a whole number from 3"  # of two, none lies between the parents

    @property
    def label(self) -> str:
        """How the two start."""
        return f"averaging-{'shared' if self.shared_start else 'independent'}"


KINDS: dict[str, type[Cell]] = {"race": Race, "interpolation": Interpolation}


def rates(lr: Any) -> tuple[float, ...]:
    """The learning rates: a number, a list, or {per_decade: n, from: a, to: b}, the values 10^(k/n) for k in a..b.

    The paper's grids are multiplicative, of resolution 10^(1/3) or 10^(1/6); it prints three digits, and so do we.
    """
    if isinstance(lr, Mapping):
        if set(lr) != {"per_decade", "from", "to"} or any(type(value) is not int for value in lr.values()):
            raise ValueError(f"lr is {dict(lr)}; a grid of rates has per_decade, from and to, whole numbers")
        if lr["per_decade"] < 1 or abs(lr["from"]) > 99 or abs(lr["to"]) > 99:
            raise ValueError(f"lr is {dict(lr)}; per_decade is at least 1, from and to lie within ±99")
        return tuple(float(f"{10 ** (k / lr['per_decade']):.3g}") for k in range(lr["from"], lr["to"] + 1))
    return numbers(lr)


def numbers(value: Any) -> tuple[float, ...]:
    """The numbers of a list, or the one that stands alone."""
    return tuple(map(number, value if isinstance(value, list) else [value]))


READ: dict[str, Callable[[Any], Any]] = {
    "algorithm": lambda value: chosen(ALGORITHMS, value),
    "partition": lambda value: chosen(PARTITIONS, value),
    "message": lambda chain: tuple(chosen(MESSAGES, link) for link in listed("message", chain)),
    "prune": lambda value: None if value is None else filled("prune", Prune, value),
    "B": number,
    "C": number,
    "decay": number,
    "lr": rates,
    "targets": numbers,
    **dict.fromkeys(("E", "K", "seed", "rounds", "points"), whole),
    **dict.fromkeys(("train_loss", "shared_start", "lrn", "l2"), flag),
}


def listed(name: str, value: Any) -> list[Any]:
    """The value, if it is a list."""
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r}; it is a list")
    return value


def as_json(name: str, value: Any) -> Any:
    """The value of a setting as JSON has it."""
    if isinstance(value, Prune):
        return asdict(value)
    if name in NESTED:
        return [plain(NESTED[name], one) for one in value] if isinstance(value, tuple) else plain(NESTED[name], value)
    return list(value) if isinstance(value, tuple) else value


def as_settings(name: str, value: Any) -> Any:
    """What a params file says of a setting, as a cell's settings have it."""
    read = READ.get(name, str)(value)
    return "inf" if read == math.inf else as_json(name, read)


def cell(settings: Mapping[str, Any], kind: str = "race") -> Cell:
    """The cell of those settings; ValueError naming the setting that is unknown, missing, or not what it must be."""
    known = {field.name: field for field in fields(KINDS[kind])}
    for name in settings:
        if name not in known:
            raise ValueError(f"unknown setting {name!r}; a cell has {', '.join(known)}")
    missing = [name for name, field in known.items() if field.default is MISSING and name not in settings]
    if missing:
        raise ValueError(f"missing setting {', '.join(map(repr, missing))}")
    values = {}
    for name, value in settings.items():
        try:
            values[name] = READ.get(name, str)(value)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"{name}: {error}") from error
    return KINDS[kind](**values)


def grid(common: Mapping[str, Any], rows: list[Mapping[str, Any]], kind: str = "race") -> Iterator[Cell]:
    """The cells of an artefact: each row over the common settings; every list is an axis, but a cell's own lists."""
    for row in rows:
        settings = dict(common) | dict(row)
        axes = {name: points(value) for name, value in settings.items() if name not in OWN_LISTS}
        if empty := [name for name, values in axes.items() if not values]:
            raise ValueError(f"{empty[0]} is an empty list; an axis has at least one value")
        for name, values in axes.items():
            if twice := [value for place, value in enumerate(values) if value in values[:place]]:
                raise ValueError(f"{name} has {twice[0]!r} twice; an axis has each value once")
        for point in itertools.product(*axes.values()):
            yield cell(settings | dict(zip(axes, point, strict=True)), kind)


def points(value: Any) -> list[Any]:
    """The values of an axis: a list's, those of nested lists too; of a mapping, each combination of its own lists."""
    if isinstance(value, list):
        return [point for one in value for point in points(one)]
    if isinstance(value, Mapping):
        inner = itertools.product(*map(points, value.values()))
        return [dict(zip(value, point, strict=True)) for point in inner]
    return [value]
