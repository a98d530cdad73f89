"""Where records come from: data and partitions, engine, libraries and machine."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedgrid import files
from fedgrid.audit.campaign import Campaign, Finding
from fedgrid.grid.artefacts import PAPER
from fedgrid.grid.cells import Cell
from fedgrid.numerics import PORTABLE
from fedgrid.partitions.partition import Partition
from fedgrid.results import replays
from fedgrid.run import provenance, sources
from fedgrid.tasks import fetch
from fedgrid.tasks.datasets import DATASETS, RAW, UNPINNED, declared

PARTITIONS = Path("data/partitions")
CHEAP = 2**26  # bytes of raw files that an audit reads as a dataset: CIFAR-10, with more, takes longer than all else
# What a curve may depend on besides its settings and its engine, by its place in provenance.
ORIGINS = {
    "torch": ("libraries", "torch"),
    "numpy": ("libraries", "numpy"),
    "Python": ("libraries", "python"),
    "device": ("hardware", "device"),
    "processor": ("hardware", "processor"),
    "instructions": ("hardware", "instructions"),
}
# Of these, what decides the bits that an engine gives: of native numbers, and of portable ones.
MACHINE = ("torch", "device", "processor", "instructions")
PORTABLE_MACHINE = ("torch", "numpy", "device")


def deciding(cell: Cell) -> tuple[str, ...]:
    """What decides the cell's bits beside the engine."""
    return PORTABLE_MACHINE if cell.numerics == PORTABLE else MACHINE


def contradictory(campaign: Campaign) -> Iterator[Finding]:
    """All records of a dataset say that it was the same, all of a partition, too: no file need be there to see it."""
    for what, groups in {"data": by_dataset(campaign), "partition": by_partition(campaign)}.items():
        for subject, names in groups.items():
            count = Counter(campaign.records[name]["provenance"][what] for name in names)
            if len(count) > 1:
                said = ", ".join(f"{digest[:12]}: {n}" for digest, n in count.most_common())
                yield Finding(
                    "contradictory", subject, f"its records have {len(count)} digests of their {what} ({said})"
                )


def by_dataset(campaign: Campaign) -> dict[str, list[str]]:
    """The names of the records of each dataset."""
    return grouped(campaign, lambda cell: cell.dataset)


def by_partition(campaign: Campaign) -> dict[str, list[str]]:
    """The names of the records of each partition."""
    return grouped(campaign, lambda cell: cell.partition_name)


def grouped(campaign: Campaign, by: Callable[[Cell], str]) -> dict[str, list[str]]:
    """The names of the records whose cells have the same."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in campaign.records:
        groups[by(campaign.cells[name])].append(name)
    return groups


def absent(check: str, folder: Path, names: Iterable[str]) -> Iterator[Finding]:
    """A note of what is not in that folder to be compared."""
    if gone := ", ".join(names):
        yield Finding(check, str(folder), f"not there to be compared: {gone}", note=True)


def partitions(campaign: Campaign) -> Iterator[Finding]:
    """Every record's data and partition are those that lie in data/partitions, where they do."""
    users = {PARTITIONS / f"{partition}.npz": names for partition, names in by_partition(campaign).items()}
    yield from absent("partitions", PARTITIONS, sorted(place.stem for place in users if not place.is_file()))
    for place, names in users.items():
        if not place.is_file():
            continue
        try:
            kept = files.arrays(place)
            here = {"data": str(kept["data"]), "partition": Partition(kept["indices"], kept["offsets"]).digest}
        except (ValueError, KeyError) as error:
            yield Finding("partitions", str(place), f"no partition: {error}")
            continue
        for name in names:
            for what, digest in here.items():
                if campaign.records[name]["provenance"][what] != digest:
                    yield Finding("partitions", name, f"it was made with another {what} than {place}")


def data(campaign: Campaign) -> Iterator[Finding]:
    """The files in data/raw, where they are, are the pinned ones, and give the data that the records were made with.

    A corpus is trained on as it was encoded: of it, and of large data, the files alone are compared.
    """
    incomplete = []
    for dataset, names in by_dataset(campaign).items():
        pinned = {RAW / dataset / file: what for file, what in declared(dataset).files.items()}
        there = {place: what for place, what in pinned.items() if place.is_file() and what != UNPINNED}
        faults = [(place, fetch.difference(place, place.suffix, what)) for place, what in there.items()]
        for place, fault in faults:
            if fault:
                yield Finding("data", str(place), f"{fault} as pinned; delete it and fetch again")
        if len(there) < len(pinned):
            incomplete.append(dataset)
        elif not DATASETS[dataset].posts and not any(fault for _, fault in faults):
            yield from made_with_others(campaign, dataset, names, sum(place.stat().st_size for place in there))
    yield from absent("data", RAW, sorted(incomplete))


def made_with_others(campaign: Campaign, dataset: str, names: Iterable[str], size: int) -> Iterator[Finding]:
    """Records that were made with other data than those in data/raw, where these are not too large to be read."""
    digest = DATASETS[dataset].load(RAW / dataset).digest if size <= CHEAP else None
    for name in names:
        if digest not in (None, campaign.records[name]["provenance"]["data"]):
            yield Finding("data", name, f"it was made with other data than {RAW / dataset} holds")


def origin(campaign: Campaign) -> Iterator[Finding]:
    """All records come from one committed state of the sources.

    Nobody can run a record again that was made from uncommitted sources. In the paper's campaign, which is published,
    that is a finding; elsewhere a note, for whoever tries an edit on the quickstart has done nothing wrong.
    """
    made = [one["provenance"] for one in campaign.records.values()]
    if dirty := sum(one["dirty"] is not False for one in made):
        says = "made from uncommitted sources or params: nobody can run them again"
        yield Finding("origin", f"{dirty} records", says, note=campaign.seal != PAPER)
    yield from by_other_engines(campaign)


def by_other_engines(campaign: Campaign) -> Iterator[Finding]:
    """A note of the records that another engine made, and how they begin where the engine here runs them again.

    One that begins otherwise on the very machine that made it is a finding.
    """
    place, kept = replays.path(campaign.seal), []
    try:
        kept = replays.read(place)
    except ValueError as error:
        yield Finding("origin", str(place), str(error))
    found = replays.found(campaign.cells, campaign.records, kept, campaign.folder)
    if found:
        says = f"made by another engine than the one here; run again, {replays.sentence(found.values())}"
        yield Finding("origin", f"{len(found)} records", says, note=True)
    for name, one in campaign.records.items():
        cell = campaign.cells[name]
        own = machine(one["provenance"], deciding(cell))
        for again in replays.of(cell, kept, campaign.folder):
            if again.found == replays.OTHERWISE and {what: again.machine.get(what) for what in own} == own:
                says = f"run again on a machine like its own, its curves begin otherwise, says {place}"
                yield Finding("origin", name, says)


def machine(made: Any, among: Iterable[str] = MACHINE) -> dict[str, str]:
    """What of a provenance decides bits beside the engine."""
    return {what: said(made, ORIGINS[what]) for what in among}


def commits(campaign: Campaign) -> Iterator[Finding]:
    """Every record's commit is in the repository of the sources.

    One that is not there is a note where not all of the history is, or no git, and where records are anyone's own.
    """
    made = Counter(one["provenance"]["commit"] for one in campaign.records.values())
    lost = [commit for commit in made if commit is not None and not known(commit)]
    if lost:
        whole = provenance.git("rev-parse", "--is-shallow-repository") == "false"
        says = f"made at {', '.join(commit[:12] for commit in sorted(lost))}: not in git's history here"
        aside = "" if whole else ", which is not the whole"
        count = sum(made[commit] for commit in lost)
        yield Finding("commits", f"{count} records", says + aside, note=not whole or campaign.seal != PAPER)


def known(commit: str) -> bool:
    """Whether git has a commit of that name: its digest, nothing else that git would take for one."""
    return bool(re.fullmatch("[0-9a-f]{40,64}", commit)) and (
        provenance.git("cat-file", "-e", f"{commit}^{{commit}}") is not None
    )


def mixed(campaign: Campaign) -> Iterator[Finding]:
    """The records that an artefact sets side by side come from one engine, one version of each library, one machine."""
    for artefact in campaign.artefacts:
        names = sorted({cell.name for cell in artefact.cells} & campaign.records.keys())
        made = [campaign.records[name]["provenance"] for name in names]
        counts = {"engine": Counter(engine(campaign, name) for name in names)}
        counts |= {what: Counter(said(one, place) for one in made) for what, place in ORIGINS.items()}
        says = [f"{what} ({listed(count)})" for what, count in counts.items() if len(count) > 1]
        if says:
            yield Finding("mixed", artefact.name, f"its records differ in {', '.join(says)}", note=True)


def engine(campaign: Campaign, name: str) -> str:
    """The engine that made that record, by its first digits, or that it is the one here.

    Each cell has a digest of its own: only that one tells whether the engine is another now.
    """
    made = campaign.records[name]["provenance"]["engine"]
    return "the one here" if made == sources.digest(campaign.cells[name]) else made[:12]


def said(made: Any, place: Iterable[str]) -> str:
    """What the provenance says at that place; "unknown" where it says nothing."""
    for key in place:
        made = made.get(key) if isinstance(made, Mapping) else None
    return "unknown" if made is None else str(made)


def listed(count: Counter[str]) -> str:
    """The values, the most frequent first, each with its number of records."""
    return ", ".join(f"{value}: {n}" for value, n in count.most_common())
