"""`python -m bench.pruning`: what `prune` would have changed and saved in the committed records, by their own curves.

A race of several rates is cut where the rule ends each rate, and read again. A rule's price is the rounds that all
rates of a race train, over the rounds of the race: what it costs in units of one rate that runs to the end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import mean, median
from typing import Any

from tabulate import tabulate

from fedgrid.curves import Prune, best_rate, envelope, leaves, rounds_to_target
from fedgrid.run import record

GRID = [Prune(*point) for point in product((4, 5, 6, 8, 10), (1.1, 1.2, 1.3, 1.5), (2.0, 3.0))]
SYMMETRIC = [Prune(n, times, times) for n, times in product((5, 8), (1.3, 2.0, 3.0))]
CHOSEN = Prune(8, 1.3, 3.0)
FIVE = 5
Curves = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Raced:
    """A race of several rates as its record has it."""

    name: str
    partition: str
    batch: Any
    lrs: tuple[float, ...]
    targets: tuple[float, ...]
    rounds: tuple[int, ...]  # the evaluated ones
    last: int
    curves: Curves  # test accuracies by rate
    diverged: tuple[int | None, ...]


@dataclass(frozen=True)
class Outcome:
    """What a rule does to a race."""

    moved: bool  # whether rounds to a target, the best accuracy or the best rate are others
    before: float  # its price without the rule, and with it
    price: float

    @property
    def saved(self) -> float:
        """The share of the work that is saved."""
        return 1 - self.price / self.before


def races() -> list[Raced]:
    """The committed races of several rates, by name; not those that pruned, whose curves are cut already."""
    records = (record.read(place) for place in sorted(record.CELLS.glob("*/*.json")))
    return [raced(one) for one in records if len(one["settings"]["lr"]) > 1 and "prune" not in one["settings"]]


def raced(made: dict[str, Any]) -> Raced:
    """The race of a record."""
    settings, curves = made["settings"], made["curves"]
    return Raced(
        made["name"],
        settings["partition"] if isinstance(settings["partition"], str) else settings["partition"]["name"],
        settings["B"],
        tuple(settings["lr"]),
        tuple(settings["targets"]),
        tuple(curves["rounds"]),
        made["result"]["rounds"],
        [rate["test_accuracy"] for rate in curves["rates"]],
        tuple(rate["diverged"] for rate in curves["rates"]),
    )


def pruned(rule: Prune, curves: Curves) -> Curves:
    """The curves that a race leaves under the rule, from those that it leaves without.

    A rate's end may change who leads afterwards, so that the earliest end is taken first.
    """
    ends = leaves(rule, curves)
    late = [n for n, curve in zip(ends, curves, strict=True) if n is not None and n < len(curve)]
    if not late:
        return curves
    cut = [curve[:n] if n == min(late) else curve for n, curve in zip(ends, curves, strict=True)]
    return pruned(rule, cut)


def reading(race: Raced, curves: Curves) -> tuple[Any, ...]:
    """What a table reads off curves of that race: rounds to each target, the best accuracy and rate."""
    best = envelope(curves)
    to_target = [rounds_to_target(race.rounds[: len(best)], best, target) for target in race.targets]
    return (*to_target, best[-1], best_rate(race.lrs, curves))


def price(race: Raced, curves: Curves) -> float:
    """The rounds that all rates train, over the race's."""
    ends = [
        race.last if len(cut) == len(whole) else race.rounds[len(cut) - 1]
        for cut, whole in zip(curves, race.curves, strict=True)
    ]
    trained = [end if lost is None else min(end, lost) for end, lost in zip(ends, race.diverged, strict=True)]
    return sum(trained) / race.last


def outcome(rule: Prune, race: Raced) -> Outcome:
    """What the rule does to the race."""
    curves = pruned(rule, race.curves)
    return Outcome(reading(race, curves) != reading(race, race.curves), price(race, race.curves), price(race, curves))


def five(race: Raced) -> Raced | None:
    """The race among five neighbouring rates, the best as near their middle as can be; None where it has fewer."""
    if len(race.lrs) < FIVE:
        return None
    best = race.lrs.index(best_rate(race.lrs, race.curves) or race.lrs[0])
    first = min(max(best - FIVE // 2, 0), len(race.lrs) - FIVE)
    some = slice(first, first + FIVE)
    return Raced(
        race.name,
        race.partition,
        race.batch,
        race.lrs[some],
        race.targets,
        race.rounds,
        race.last,
        race.curves[some],
        race.diverged[some],
    )


def row(outcomes: Sequence[Outcome]) -> list[str]:
    """How many races there are, how many are moved, the work saved, and the price with and without."""
    saved = [one.saved for one in outcomes]
    before, after = ([getattr(one, which) for one in outcomes] for which in ("before", "price"))
    return [
        str(len(outcomes)),
        str(sum(one.moved for one in outcomes)),
        f"{mean(saved):.0%}",
        f"{median(saved):.0%}",
        f"{mean(before):.1f}",
        f"{mean(after):.1f}",
        f"{median(after):.1f}",
    ]


COLUMNS = ["races", "moved", "saved, mean", "median", "rates' price", "pruned, mean", "median"]


def table(first: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of such rows, each begun by what it is of."""
    return str(tabulate(list(rows), [*first, *COLUMNS], "github", disable_numparse=True))


def by_rule(rules: Iterable[Prune], among: Sequence[Raced]) -> str:
    """What each rule does to all of the races."""
    said = ([f"{one.evaluations}", f"{one.smaller:g}", f"{one.larger:g}"] for one in rules)
    rows = ([*words, *row([outcome(rule, one) for one in among])] for words, rule in zip(said, rules, strict=True))
    return table(["evaluations", "smaller", "larger"], rows)


def by_group(rule: Prune, among: Sequence[Raced]) -> str:
    """What a rule does to the races of each partition and kind of batch, and to those of five rates."""
    groups: dict[str, list[Raced]] = {"all": list(among)}
    for one in among:
        groups.setdefault(one.partition, []).append(one)
    for one in among:
        groups.setdefault("B = ∞" if one.batch == "inf" else "B < ∞", []).append(one)
    groups["five rates around the best"] = [some for one in among if (some := five(one))]
    rows = ([name, *row([outcome(rule, one) for one in some])] for name, some in groups.items())
    return table([f"{rule.evaluations} evaluations, {rule.smaller:g}, {rule.larger:g}"], rows)


def left_out(rules: Sequence[Prune], among: Sequence[Raced]) -> tuple[int, int]:
    """Of how many races the others' most saving rule that moves none of them moves this one; of how many in all."""
    found = [[outcome(rule, one) for one in among] for rule in rules]
    moved = 0
    for i in range(len(among)):
        safe = [of for of in found if not any(one.moved for j, one in enumerate(of) if j != i)]
        moved += max(safe, key=lambda of: sum(one.saved for one in of))[i].moved
    return moved, len(among)


def main() -> None:
    """Prints the tables of docs/performance.md."""
    among = races()
    moved, of = left_out(GRID, among)
    print(by_rule(GRID, among), by_rule(SYMMETRIC, among), by_group(CHOSEN, among), sep="\n\n")
    print(f"\nleft out one by one: {moved} of {of} are moved by the rule that saves most among those moving no other")


if __name__ == "__main__":
    main()
