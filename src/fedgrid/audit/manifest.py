"""The manifest seals records: it lists the sha256 of every record of a campaign, chained into one digest.

    # chain <h_n>
    <sha256 of the file>  results/cells/<task>/<cell>.json

A line for each record, sorted by path, as `sha256sum -c` reads it where the paths begin. h_0 is 32 zero bytes and
h_i = sha256(h_{i−1} ‖ line i, without its line feed): h_n, in hexadecimal, names all records at once. The file stands
in git and its digest in dvc.lock: whoever alters a record alters both, in sight of all who read the history.

A line is sealed once git's HEAD holds it. Then it is not rewritten, neither for another record nor for a missing one:
whoever wants that deletes the line, and git shows it. Before that, and for the quickstart, of which git holds nothing,
lines follow the records: one that is deleted and run again takes other seconds, and has deceived nobody.
"""

import hashlib
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedgrid import files

MANIFESTS = Path("results/manifests")
HEAD = re.compile("# chain ([0-9a-f]{64})")
LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


@dataclass(frozen=True)
class Manifest:
    """The digest of each record by its path, and the chain over them as it is written."""

    digests: dict[str, str]
    chain: str

    @property
    def lines(self) -> list[str]:
        """A line for each record, sorted by path."""
        return [f"{digest}  {path}" for path, digest in sorted(self.digests.items())]

    @property
    def chained(self) -> str:
        """The chain over the lines."""
        return chain(self.lines)


def path(campaign: str) -> Path:
    """Where the manifest of the campaign of that name lies."""
    return MANIFESTS / f"{campaign}.sha256"


def chain(lines: Iterable[str]) -> str:
    """h_n of the lines, in hexadecimal."""
    h = bytes(32)
    for line in lines:
        h = hashlib.sha256(h + line.encode()).digest()
    return h.hex()


def text(digests: dict[str, str]) -> str:
    """The manifest of those digests, by path."""
    lines = Manifest(digests, "").lines
    return "\n".join([f"# chain {chain(lines)}", *lines]) + "\n"


def parsed(content: str) -> Manifest:
    """The manifest that the text is; ValueError saying why it is none."""
    first, *lines = content.splitlines() or [""]
    head, matches = HEAD.fullmatch(first), [LINE.fullmatch(line) for line in lines]
    if not head:
        raise ValueError("it does not begin with its chain")
    if None in matches:
        raise ValueError(f"line {matches.index(None) + 2} is no digest and path")
    found = Manifest({match[2]: match[1] for match in matches if match}, head[1])
    if found.lines != lines:
        raise ValueError("its lines are not sorted by path, each path once")
    return found


def read(place: Path) -> Manifest:
    """The manifest at that path; ValueError naming the file where it is damaged."""
    try:
        return parsed(place.read_text())
    except ValueError as error:
        remedy = "restore it from git, or delete it and seal the records anew"
        raise ValueError(f"{place}: damaged manifest: {error}; {remedy}") from error


def committed(place: Path) -> Manifest | None:
    """The manifest as git's HEAD holds it; None where it holds none, or a damaged one, or there is no git."""
    show = ["git", "show", f"HEAD:./{place.as_posix()}"]
    try:
        return parsed(subprocess.run(show, capture_output=True, text=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def seal(place: Path, records: Iterable[Path]) -> str:
    """The text of the manifest at that path, with a line for each of the records that is there.

    ValueError naming a record that is not as its sealed line has it, or gone. The line of a record that is not among
    these any more, because no artefact of the campaign declares it, is dropped.
    """
    paths = {record.as_posix(): record for record in records}
    digests = {name: files.sha256(record) for name, record in paths.items() if record.is_file()}
    kept, held = read(place) if place.is_file() else None, committed(place)
    sealed = kept.digests.items() & held.digests.items() if kept and held else set()
    for name, digest in sorted(sealed):
        if name in paths and digests.get(name) != digest:
            what = "altered since it was sealed" if name in digests else "sealed, and gone"
            raise ValueError(f"{name}: {what}; restore it, or delete its line from {place} to accept it")
    return text(digests)
