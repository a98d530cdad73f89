"""Reads a git revision: what its params declare, its records say and its engine is.

The working tree is neither read nor touched. Nothing here compares or prints.
"""

import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from fedgrid import files
from fedgrid.grid.artefacts import NOT_ARTEFACTS, Artefact, artefact
from fedgrid.run import record, syntax
from fedgrid.run.provenance import pinned

KEPT = re.compile(r"(params/[^/]+\.yaml|results/cells/.+\.json|src/fedgrid/.+\.py|constraints\.txt)")
SOURCES = Path("src/fedgrid")
LIBRARIES = ("python", "numpy", "torch", "pyyaml")


class Made(NamedTuple):
    """A record: its numbers by what they are called, and where they come from."""

    settings: Mapping[str, Any]
    numbers: Mapping[str, float | str]  # a text where the target was not reached
    curves: str  # their digest
    origin: Mapping[str, str]  # engine, data and partition, in digests, and libraries
    digest: str  # of all of it


@dataclass(frozen=True)
class Revision:
    """What a git revision holds; what cannot be read of it stands in `unread`, a line each."""

    name: str
    commit: str  # abbreviated, and its date
    artefacts: Mapping[str, Artefact]
    records: Mapping[str, Made]
    params: Mapping[str, Mapping[str, Any]]  # datasets.yaml and paper.yaml
    modules: Mapping[str, str]  # digests of what the sources compute, by their path within the package
    versions: Mapping[str, str]  # of LIBRARIES, as constraints.txt has them
    unread: tuple[str, ...]
    broken: frozenset[str]  # params files that are there and cannot be read


def git(*arguments: str) -> bytes:
    """What git prints; ValueError in git's own words where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True)
    if done.returncode:
        raise ValueError(f"git {arguments[0]}: {(done.stderr.decode(errors='replace').splitlines() or ['failed'])[0]}")
    return done.stdout


def commit(name: str) -> str:
    """The commit of a revision, in full; ValueError where this is no git repository or has no such revision."""
    git("rev-parse", "--git-dir")
    try:
        return git("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").decode().split()[-1]
    except ValueError:
        remedy = "`git tag` and `git log --oneline` list them"
        raise ValueError(f"no revision {name!r} in this repository; {remedy}") from None


def revision(name: str) -> Revision:
    """What that revision holds; ValueError where there is none, or nothing of fedgrid in it."""
    full = commit(name)
    with TemporaryDirectory() as folder:
        unpack(git("archive", "--format=tar", full), Path(folder))
        if not any(Path(folder).iterdir()):
            raise ValueError(f"{name}: it has no params, records or sources here; ask in the project's root folder")
        return read(name, git("log", "-1", "--format=%h, %cs", full).decode().strip(), Path(folder))


def unpack(archive: bytes, folder: Path) -> None:
    """Writes the files of the archive that a comparison reads."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member) if KEPT.fullmatch(member.name) else None
            if content is not None:
                place = folder / member.name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.read())


def read(name: str, shown: str, folder: Path) -> Revision:
    """The revision whose files lie in that folder."""
    declared = sorted((folder / "params").glob("*.yaml"))
    own = [place for place in declared if place.stem not in NOT_ARTEFACTS]
    artefacts, failed = readable(lambda place: artefact(place.stem, place.parent), own)
    params, others = readable(files.mapping, [place for place in declared if place not in own])
    records, damaged = readable(made, sorted((folder / record.CELLS).glob("*/*.json")))
    written = sorted(set((folder / SOURCES).rglob("*.py")) - set((folder / SOURCES).rglob("__init__.py")))
    modules, foreign = readable(module, written, lambda place: place.relative_to(folder / SOURCES).as_posix())
    unread = [" ".join(says.replace(f"{folder}/", "").split()) for says in [*failed, *others, *damaged, *foreign]]
    return Revision(
        name=name,
        commit=shown,
        artefacts=artefacts,
        records=records,
        params=params,
        modules=modules,
        versions={one: pin for one, pin in pinned(folder / "constraints.txt").items() if one in LIBRARIES},
        unread=tuple(f"{name}:{says}" for says in unread),
        broken=frozenset(place.stem for place in declared) - {*artefacts, *params},
    )


def readable(
    what: Callable[[Path], Any], places: Iterable[Path], key: Callable[[Path], str] = lambda place: place.stem
) -> tuple[dict[str, Any], list[str]]:
    """What each file holds, by its key; what is wrong with those that cannot be read."""
    found, failed = {}, []
    for place in places:
        try:
            found[key(place)] = what(place)
        except ValueError as error:
            failed.append(str(error))
    return found, failed


def module(place: Path) -> str:
    """The digest of what the module at that path computes; ValueError naming it where it is no Python."""
    try:
        return syntax.digest(place.read_bytes())
    except SyntaxError as error:
        raise ValueError(f"{place}: not readable as Python: {error}") from error


def made(place: Path) -> Made:
    """The record at that path; ValueError naming it where it is damaged."""
    whole = record.read(place)
    settings, origin = whole["settings"], whole["provenance"]
    libraries = origin["libraries"] if isinstance(origin["libraries"], dict) else {}
    return Made(
        settings,
        numbers(settings, whole["result"], whole["curves"]),
        digest(whole["curves"]),
        {name: str(origin[name]) for name in ("engine", "data", "partition")}
        | {name: str(libraries[name]) for name in LIBRARIES if name in libraries},
        digest(whole),
    )


def numbers(settings: Mapping[str, Any], result: Mapping[str, Any], curves: Mapping[str, Any]) -> dict[str, Any]:
    """A record's numbers: rounds to each target, best accuracy, least training loss."""
    if "theta" in curves:
        return {"least loss": result["least"]["loss"]}
    told: dict[str, Any] = {}
    for target, rounds in reversed(result["rounds_to_target"].items()):
        told[rounds_to(float(target))] = f"> {settings['rounds']}" if rounds is None else rounds
    told["best accuracy"] = "none" if result["best_accuracy"] is None else result["best_accuracy"]
    losses = [loss for rate in curves["rates"] for loss in rate["train_loss"] if loss is not None]
    return told | ({"least training loss": min(losses)} if losses else {})


def rounds_to(target: float) -> str:
    """What the rounds to a target are called."""
    return f"rounds to {100 * target:g} %"


def digest(plain: Any) -> str:
    """sha256 of plain JSON values, whatever their order, in hexadecimal."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
