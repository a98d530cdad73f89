"""What a dataset declares of itself before any file of it is there. Nothing here reads or fetches one."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Pinned = str | list[str] | dict[str, str]  # sha256, several that will do, or the md5 of each member of an archive
# A folder or URL that holds the files, or what writes the file at the path that it is given.
Source = str | Callable[[Path], None]
UNPINNED = "unpinned"  # in place of a sha256 that is not known yet
MEMBERS = "members "  # before a sha256: it is that of a zip's members, not of the zip
NAME = r"\w[\w.-]*"  # of a dataset, a file or a member
SHA256 = f"(?:{MEMBERS})?[0-9a-f]{{64}}"


@dataclass(frozen=True)
class Declaration:
    """How many training examples a dataset has, and its files: in which sources to look, in order, what each must be.

    files: by their names what is pinned, a sha256 in hexadecimal (of an .npz, that of its arrays, as `fetch` tells it)
    or, of an archive that differs from mirror to mirror, the md5 of each member; of a zip of many, one sha256 for all
    of them behind MEMBERS; UNPINNED until it is known. A list holds several of which one will do. clients: how many the
    training examples have of their own, such as authors; None where that is unknown before they are there. ValueError
    where one of these is something else.
    """

    train: int
    sources: Sequence[Source]
    files: Mapping[str, Pinned]
    clients: int | None = None

    def __post_init__(self) -> None:
        if fault := faulty(self.train, self.sources, self.files, self.clients):
            raise ValueError(f"a dataset {fault}")


def faulty(train: Any, sources: Any, files: Any, clients: Any) -> str | None:
    """What is wrong with that declaration; None where nothing is."""
    if not (type(train) is int and train > 0):
        return "must have train, its number of training examples"
    if not (isinstance(sources, list | tuple) and sources and isinstance(files, dict) and files):
        return "must have sources, a list, and files, a mapping"
    if not (clients is None or (type(clients) is int and clients >= 0)):
        return f"has clients {clients!r}, which is no number of clients of its own"
    for file, pinned in files.items():
        if not (re.fullmatch(NAME, str(file)) and well_pinned(pinned)):
            return f"has {file!r}: {pinned!r}, which is not a file's name and sha256"
    return None


def well_pinned(pinned: Any) -> bool:
    """Whether that is a sha256, several, UNPINNED, or the md5 of each member of an archive."""
    if isinstance(pinned, dict):
        return all(
            re.fullmatch(NAME, str(one)) and re.fullmatch("[0-9a-f]{32}", str(md5)) for one, md5 in pinned.items()
        )
    if isinstance(pinned, list):
        return bool(pinned) and all(re.fullmatch(SHA256, str(one)) for one in pinned)
    return bool(re.fullmatch(f"{SHA256}|{UNPINNED}", str(pinned)))
