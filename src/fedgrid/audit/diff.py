"""`fedgrid diff`: what moved between two git revisions, as text: numbers, records, settings, data and code."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from fedgrid.audit.changes import UNEXPLAINED, Move, Shown, apart, moved, numbers, own, pairs, where
from fedgrid.audit.revision import LIBRARIES, Revision
from fedgrid.grid.artefacts import Artefact
from fedgrid.results.labels import label
from fedgrid.results.tables import behind
from fedgrid.run.sources import counts
from fedgrid.tasks import TASKS

LISTED = {"Records": 3, "Settings": 6}  # places of one and the same move that are listed before the rest is counted
THERE = ""  # stands for what is there and has no value to print


def diff(then: Revision, now: Revision) -> str:
    """Everything that moved from one to the other, and what could not be read, as text."""
    found = moves(then, now)
    lines = [f"# {then.name} ({then.commit}) → {now.name} ({now.commit})"]
    for section, several in grouped(found, lambda move: move.section):
        lines += ["", f"## {section}", *(of_numbers if section == "Numbers" else of_others)(several)]
    unread = dict.fromkeys([*then.unread, *now.unread])
    if unread:
        lines += ["", "## Not read", *(f"- {line}" for line in unread)]
    return "\n".join([*lines, "", closing(found) + (f"; not read: {len(unread)}" if unread else "")])


def moves(then: Revision, now: Revision) -> list[Move]:
    """Everything that moved from one to the other, section by section."""
    found = list(numbers(then, now))
    return [*found, *records(then, now, found), *settings(then, now), *data(then, now), *code(then, now)]


def records(then: Revision, now: Revision, told: Sequence[Move]) -> Iterator[Move]:
    """The records that were made anew and of which no number that is shown has moved."""
    others = {name for move in told for name in move.records}
    for name in sorted(set(then.records) & set(now.records) - others):
        was, has = then.records[name], now.records[name]
        if was.digest != has.digest:
            said = "same numbers" if was.numbers == has.numbers else "other numbers that nothing shows"
            said += ", same curves" if was.curves == has.curves else ", other curves"
            causes = tuple(moved(was.origin, has.origin)) or (UNEXPLAINED,)
            yield Move("Records", "made anew", said, name, THERE, THERE, causes=causes)


def settings(then: Revision, now: Revision) -> Iterator[Move]:
    """What is declared otherwise: artefacts, their layout and cells, the paper's numbers."""
    earlier, later = own(then), own(now)
    for name in sorted({*then.artefacts, *now.artefacts} - then.broken - now.broken):
        before, after = then.artefacts.get(name), now.artefacts.get(name)
        if before and after:
            yield from layout(before, after)
            for pair in pairs(experiments(earlier.get(name, [])), experiments(later.get(name, []))):
                yield from cells(*pair)
        elif one := before or after:
            yield present("Settings", "artefacts", f"{name} ({len(one.cells)} cells)", before, after)
    if "paper" not in then.broken | now.broken:
        was, has = then.params.get("paper", {}), now.params.get("paper", {})
        for name in moved(was, has):
            yield present("Settings", "the paper's numbers", name, was.get(name), has.get(name))


def layout(before: Artefact, after: Artefact) -> Iterator[Move]:
    """What an artefact says otherwise beside its cells."""
    for what in ("title", "table", "figure", "paper", "cells_of"):
        if getattr(before, what) != getattr(after, what):
            yield Move("Settings", "artefacts", f"{what} changed", before.name, THERE, THERE)


def experiments(found: Sequence[Shown]) -> list[Shown]:
    """Those that are shown, each once however many targets it has."""
    return list({one.names: one._replace(what="") for one in found}.values())


def cells(before: Shown | None, after: Shown | None) -> Iterator[Move]:
    """An experiment that is declared otherwise, is new or gone."""
    if before and after:
        for name in moved(before.settings, after.settings):
            values = before.settings.get(name), after.settings.get(name)
            yield Move("Settings", after.artefact, name, where(before, after), *apart(*values, setting, str))
    elif one := before or after:
        yield present("Settings", one.artefact, one.where, before, after)


def setting(value: Any) -> str:
    """A setting's value in short; a few numbers of a list one by one."""
    if not isinstance(value, list):
        return str(value)
    return label(value) if len(value) > 3 else ", ".join(f"{one:g}" for one in value) or "none"


def data(then: Revision, now: Revision) -> Iterator[Move]:
    """Where the data comes from, by params/datasets.yaml; digests of data and partitions, by the records."""
    if "datasets" not in then.broken | now.broken:
        was, has = then.params.get("datasets", {}), now.params.get("datasets", {})
        for name in moved(was, has):
            if name in was and name in has:
                before, after = flat(was[name]), flat(has[name])
                for what in moved(before, after):
                    yield Move("Data", name, what, "", *apart(before.get(what), after.get(what), brief, str))
            else:
                yield present("Data", "params/datasets.yaml", name, was.get(name), has.get(name))
    earlier, later = digests(then), digests(now)
    for name in sorted(set(earlier) & set(later)):  # one that only new records have is no move
        if earlier[name] != later[name]:
            yield Move("Data", "records", name, "", *apart(joined(earlier[name]), joined(later[name]), brief, str))


def flat(tree: Any, path: str = "") -> dict[str, str]:
    """The leaves of nested mappings, as text, by their path: files/pg100.txt."""
    if not isinstance(tree, dict):
        return {path: ", ".join(map(str, tree)) or "none" if isinstance(tree, list) else str(tree)}
    return {at: leaf for key, one in tree.items() for at, leaf in flat(one, f"{path}/{key}".strip("/")).items()}


def brief(text: str) -> str:
    """The text with 12 digits of each digest."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b", r"\1", text)


def digests(revision: Revision) -> dict[str, set[str]]:
    """The digests of data and partition that records have, by dataset and by partition."""
    found: dict[str, set[str]] = {}
    for made in revision.records.values():
        task, *rest = (str(made.settings.get(name)) for name in ("task", "partition", "K", "seed"))
        dataset = TASKS[task].dataset if task in TASKS else task
        found.setdefault(dataset, set()).add(made.origin["data"])
        found.setdefault("{}-{}-K{}-s{}".format(dataset, *rest), set()).add(made.origin["partition"])
    return found


def joined(texts: set[str]) -> str:
    """The texts in a row."""
    return ", ".join(sorted(texts))


def code(then: Revision, now: Revision) -> Iterator[Move]:
    """What engine modules compute, the records of each engine, the libraries pinned and used."""
    for name in moved(then.modules, now.modules):
        was, has = then.modules.get(name), now.modules.get(name)
        was, has = None if was in now.modules.values() else was, None if has in then.modules.values() else has
        if (was or has) and counts(name.removesuffix(".py").replace("/", ".")):  # one that lies elsewhere is no move
            yield present("Code", "engine", name, was, has)
    before, after = (Counter(made.origin["engine"] for made in one.records.values()) for one in (then, now))
    for engine in moved(before, after):
        yield Move("Code", "records by engine", brief(engine), "", str(before[engine]), str(after[engine]))
    for library in moved(then.versions, now.versions):
        yield Move("Code", "constraints.txt", library, "", then.versions.get(library), now.versions.get(library))
    for library in LIBRARIES:
        was, has = (joined(used(one, library)) or None for one in (then, now))
        if was != has:
            yield Move("Code", "records", library, "", was, has)


def used(revision: Revision, library: str) -> set[str]:
    """The versions of a library that made the records."""
    return {made.origin[library] for made in revision.records.values() if library in made.origin}


def present(section: str, subject: str, name: Any, before: Any, after: Any) -> Move:
    """The move of what has no value to print: added, removed, or changed where it is there on both sides."""
    was, has = (None if value is None else THERE for value in (before, after))
    return Move(section, subject, "changed" if was == has else THERE, str(name), was, has)


def of_numbers(found: Sequence[Move]) -> Iterator[str]:
    """The lines of numbers, under what shows them."""
    for (subject, what), several in grouped(found, lambda move: (move.subject, move.what)):
        yield f"{subject}, {what}:"
        for move in several:
            asides = [] if move.ratio is None else [f"× {move.ratio:.4g}"]
            went = f"{move.before or 'not run'} → {move.after or 'not run'}"
            yield f"- {move.where}: {went}{behind([*asides, *move.causes])}"


def of_others(found: Sequence[Move]) -> Iterator[str]:
    """The lines of what is no number, one for all places where the same has moved."""
    for move, several in grouped(found, lambda move: move._replace(where="")):
        places = [one.where for one in several if one.where]
        most = LISTED.get(move.section, len(places))
        more = [f"{len(places) - most} more"] if len(places) > most else []
        listed = "; ".join([*places[:most], *more])
        yield f"- {move.subject}{said(move)}{behind(move.causes)}" + (f": {listed}" if listed else "")


def grouped(found: Sequence[Move], by: Callable[[Move], Any]) -> Iterable[tuple[Any, list[Move]]]:
    """The moves that have the same key, together; in the order in which each key comes first."""
    groups: dict[Any, list[Move]] = {}
    for move in found:
        groups.setdefault(by(move), []).append(move)
    return groups.items()


def said(move: Move) -> str:
    """How it moved: added, removed, from what to what."""
    if move.before == move.after == THERE:
        return f", {move.what}"
    if THERE in (move.before, move.after):
        return ", added" if move.before is None else ", removed"
    return f", {move.what}: {move.before or '—'} → {move.after or '—'}"


def closing(found: Sequence[Move]) -> str:
    """What moved, counted."""
    if not found:
        return "nothing moved"
    told = [move for move in found if move.section == "Numbers"]
    parts = [f"{name}: {tally(several)}" for name, several in grouped(told, lambda move: move.subject)]
    *others, last = list(dict.fromkeys(move.section.lower() for move in found if move not in told)) or ["nothing else"]
    also = (f"{', '.join(others)} and {last}" if others else last) + (" moved" if len(told) < len(found) else "")
    return "; ".join([*(parts or ["no number moved"]), also])


def tally(numbers: Sequence[Move]) -> str:
    """How many of an artefact's numbers moved, are newly run, are gone."""
    counts = Counter("newly run" if one.before is None else "gone" if one.after is None else "moved" for one in numbers)
    moved = "number moved" if counts["moved"] == 1 else "numbers moved"
    named = {"moved": moved, "newly run": "newly run", "gone": "gone"}
    return ", ".join(f"{counts[what]} {name}" for what, name in named.items() if counts[what])
