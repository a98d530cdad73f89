"""Pairs the numbers of two git revisions: which moved, are new or gone, and what else changed with them.

Nothing here reads a file or prints.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from fedgrid.audit.revision import Made, Revision, rounds_to
from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.cells import Cell
from fedgrid.grid.layouts import by_seed, place, spots
from fedgrid.results.rounds_to_target import key
from fedgrid.results.tables import shortest

ALIKE = ("task", "partition", "C", "E", "B")  # settings by which an experiment is known again when others have changed
UNNAMED = ("lr", "rounds", "targets", "seed")  # settings that tell no experiments of a figure apart
UNEXPLAINED = "by the same settings, engine, data and libraries"
BARE = ("task", "partition", "algorithm", "changed")  # settings whose values speak for themselves


class Move(NamedTuple):
    """One thing that moved; before or after is None where it was not there."""

    section: str
    subject: str
    what: str
    where: str
    before: str | None
    after: str | None
    ratio: float | None = None  # of numbers
    causes: tuple[str, ...] = ()
    records: tuple[str, ...] = ()  # that a number was read off, then and now


class Shown(NamedTuple):
    """One number of an artefact: repeats of an experiment. `settings` has all their seeds."""

    artefact: str
    what: str
    where: str
    settings: Mapping[str, Any]
    names: tuple[str, ...]  # of the records, seed by seed


Pair = tuple[Shown | None, Shown | None]


def shown(artefact: Artefact) -> list[Shown]:
    """The numbers of a table, or one for each experiment of a figure."""
    if (table := artefact.table) is not None:
        names = [name for name in place(table) if name != "target"]
        return [
            repeats(artefact.name, rounds_to(spot.settings["target"]), names, spot.cells, spot.settings)
            for spot in spots(table, artefact.cells)
        ]
    every = [cell.settings for cell in artefact.cells]
    names = [name for name in every[0] if name not in UNNAMED and any(one[name] != every[0][name] for one in every)]
    loss = (artefact.figure or {}).get("y") == "train_loss"
    what = "least loss" if "shared_start" in every[0] else "least training loss" if loss else "best accuracy"
    return [repeats(artefact.name, what, names, cells, cells[0].settings) for cells in by_seed(artefact.cells)]


def repeats(artefact: str, what: str, names: Sequence[str], cells: Sequence[Cell], at: Mapping[str, Any]) -> Shown:
    """The number of those repeats, which stand at those settings and are told apart by the ones named."""
    cells = sorted(cells, key=lambda cell: cell.seed)
    values = zip(names, key(at, names), strict=True)
    where = ", ".join(value if name in BARE else f"{name} = {value}" for name, value in values)
    every = cells[0].settings | {"seed": [cell.seed for cell in cells]}
    return Shown(artefact, what, where or "its only experiment", every, tuple(cell.name for cell in cells))


def own(revision: Revision) -> dict[str, list[Shown]]:
    """What each artefact shows that has cells of its own."""
    return {name: shown(one) for name, one in revision.artefacts.items() if one.cells_of is None}


def moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, or that one side lacks, sorted."""
    return sorted((name for name in {*before, *after} if before.get(name) != after.get(name)), key=str)


def pairs(before: Sequence[Shown], after: Sequence[Shown]) -> list[Pair]:
    """The same number then and now, None where there is none; of several that are ALIKE, those that differ least."""
    near = sorted(
        (len(moved(one.settings, other.settings)), sorted([one.names, other.names]), i, j)
        for i, one in enumerate(before)
        for j, other in enumerate(after)
        if one.what == other.what and not set(ALIKE) & set(moved(one.settings, other.settings))
    )
    later: dict[int, int] = {}
    for *_, i, j in near:
        if i not in later and j not in later.values():
            later[i] = j
    earlier = {j: i for i, j in later.items()}
    matched = [(before[earlier[j]] if j in earlier else None, other) for j, other in enumerate(after)]
    return [*matched, *((one, None) for i, one in enumerate(before) if i not in later)]


def numbers(then: Revision, now: Revision) -> Iterator[Move]:
    """The numbers that are others now, newly run or gone, artefact by artefact; then those of undeclared records.

    One that a single side declares is looked up in the records of both.
    """
    earlier, later = own(then), own(now)
    found = [pair for name in sorted({*earlier, *later}) for pair in pairs(earlier.get(name, []), later.get(name, []))]
    for before, after in [*found, *((one, one) for one in undeclared(then, now))]:
        if one := before or after:
            yield from number(one, after or one, then, now)


def undeclared(then: Revision, now: Revision) -> Iterator[Shown]:
    """The first number of each record that no params file declares then or now."""
    declared = {cell.name for side in (then, now) for artefact in side.artefacts.values() for cell in artefact.cells}
    every = {**then.records, **now.records}
    for name in sorted(set(every) - declared):
        at = {**every[name].settings, "seed": [every[name].settings.get("seed")]}
        yield Shown("no artefact", next(iter(every[name].numbers)), name, at, (name,))


def number(before: Shown, after: Shown, then: Revision, now: Revision) -> Iterator[Move]:
    """How the number moved; nothing where it did not."""
    was, has = values(before, then.records), values(after, now.records)
    if was == has:
        return
    earlier, later = average(was), average(has)
    yield Move(
        "Numbers",
        after.artefact,
        after.what,
        where(before, after),
        *apart(was or None, has or None, *FORMS),
        ratio=later / earlier if earlier and later else None,
        causes=why(before, after, then, now) if was and has else tuple(moved(before.settings, after.settings)),
        records=tuple(sorted({*before.names, *after.names})),
    )


def where(before: Shown, after: Shown) -> str:
    """The place of the number, the same whichever comes first."""
    return max(before.where, after.where, key=lambda text: (len(text), text))


def values(one: Shown, records: Mapping[str, Made]) -> list[float | str]:
    """The number of each repeat that has a record."""
    return [has.numbers[one.what] for has in made(one, records).values() if one.what in has.numbers]


def average(values: Sequence[float | str]) -> float | None:
    """The mean over the repeats; None where there is none or one of them did not reach its target."""
    reached = [value for value in values if not isinstance(value, str)]
    return mean(reached) if reached and len(reached) == len(values) else None


def why(before: Shown, after: Shown, then: Revision, now: Revision) -> tuple[str, ...]:
    """What else differs: settings, what the same seeds' records were made by, or which seeds were run."""
    causes = moved(before.settings, after.settings)
    earlier, later = made(before, then.records), made(after, now.records)
    causes += sorted(
        {name for seed in earlier if seed in later for name in moved(earlier[seed].origin, later[seed].origin)}
    )
    if set(earlier) != set(later) and "seed" not in causes:
        causes.append("seeds run")
    return tuple(causes) or (UNEXPLAINED,)


def made(one: Shown, records: Mapping[str, Made]) -> dict[Any, Made]:
    """The records of a number by their seeds."""
    named = zip(one.settings["seed"], one.names, strict=True)
    return {seed: records[name] for seed, name in named if name in records}


def apart(before: Any, after: Any, *forms: Callable[[Any], str]) -> tuple[str | None, str | None]:
    """Both in the first form by which they differ, else in the last; None remains None."""
    for form in forms:
        was, has = (None if value is None else form(value) for value in (before, after))
        if was != has:
            break
    return was, has


def summary(values: Sequence[float | str], figure: Callable[[float], str]) -> str:
    """A number over its repeats: the mean, the sample standard deviation, how many."""
    ours = average(values)
    reached = [value for value in values if not isinstance(value, str)]
    if ours is None:
        return str(values[0]) if len(values) == 1 else f"{len(reached)} of {len(values)} reached"
    spread = f" ± {stdev(reached):.2g} (n = {len(reached)})" if len(reached) > 1 else ""
    return figure(ours) + spread


def short(value: float) -> str:
    """A number in a few digits."""
    return shortest(value) if value >= 10 else f"{value:.4g}"


FORMS = (lambda values: summary(values, short), lambda values: summary(values, repr), repr)
