"""The datasets' files, each from the first source that has it, none kept without its pinned sha256.

Of an archive that differs from mirror to mirror, the md5 of each member is pinned instead. A file whose sha256 nobody
has published, or anyone's own, is declared as UNPINNED: it is refused until whoever trusts it has put it in its place
and pinned the sha256 that the refusal tells.

params/datasets.yaml declares them. FEDGRID_MIRROR, a folder or URL that holds <dataset>/<file>, is asked before the
hosts. A file in place is never overwritten: the pinned one is left as it is, any other is an error that names it.
Training imports neither this module nor pooch.
"""

import gzip
import hashlib
import os
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pooch
import requests

from fedgrid import shipped
from fedgrid.files import arrays, mapping, sha256, whole
from fedgrid.tasks.datasets import corpora, digits

EMBEDDED: dict[str, Callable[[Path], None]] = {"scikit-learn": digits.extract, "fedgrid": corpora.generate}
Pinned = str | dict[str, str]  # sha256, or the md5 of each member of an archive
UNPINNED = "unpinned"  # in place of a sha256 that is not known yet
DECLARED = Path("params/datasets.yaml")
NAME = r"\w[\w.-]*"  # of a dataset, a file or a member
PIECE, MOST = 2**20, 2**10  # bytes read at once of an archive not yet known, and how many times at most: 1 GiB
WEB = ("http://", "https://")
ATTEMPTS = 3  # at one host
PAUSE = 1.0  # seconds before the second attempt; twice that before the third
TIMEOUT = (3, 10)  # seconds to connect to one of a host's addresses (there may be a dozen), and between two reads


def fetch(name: str, raw: Path = Path("data/raw"), declared: Path = DECLARED) -> list[Path]:
    """The files of a dataset under raw/<dataset>, whole and checked; ValueError, in one line, where one can't be had.

    name: the dataset, or one file of it as <dataset>/<file>. What is there and right keeps its modification time.
    """
    dataset, _, file = name.partition("/")
    sources, files = read(declared, dataset)
    if file and file not in files:
        raise ValueError(f"{declared}: {dataset} has no file {file!r}; it has {', '.join(files)}")
    mirror = os.environ.get("FEDGRID_MIRROR")
    if mirror and not set(sources) <= set(EMBEDDED):
        sources = [f"{mirror.rstrip('/')}/{dataset}", *sources]
    return [bring(raw / dataset / one, files[one], sources) for one in ([file] if file else files)]


def files_of(dataset: str) -> list[str]:
    """The names of the dataset's files."""
    return list(read(DECLARED, dataset)[1])


def read(declared: Path, name: str) -> tuple[list[str], dict[str, Pinned]]:
    """The dataset's sources, and its files with what is pinned; ValueError where they are not declared, or badly."""
    try:
        table = mapping(shipped.found(declared))
    except FileNotFoundError:
        raise ValueError(f"{declared}: there is no such file") from None
    if name not in table:
        raise ValueError(f"unknown dataset {name!r}; {declared} has {', '.join(map(str, table))}")
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{declared}: {name!r} is no name of a dataset; rename it: letters, digits, _, - and .")
    match table[name]:
        case {"sources": [_, *_] as sources, "files": dict() as files} if files:
            pass
        case _:
            raise ValueError(f"{declared}: {name} must have sources, a list, and files, a mapping")
    for file, pinned in files.items():
        if not (re.fullmatch(NAME, str(file)) and well_pinned(pinned)):
            raise ValueError(f"{declared}: {name} has {file!r}: {pinned!r}, which is not a file's name and sha256")
    return [str(source).rstrip("/") for source in sources], files


def well_pinned(pinned: Any) -> bool:
    """Whether that is a sha256, UNPINNED, or the md5 of each member of an archive."""
    if isinstance(pinned, dict):
        return all(
            re.fullmatch(NAME, str(one)) and re.fullmatch("[0-9a-f]{32}", str(md5)) for one, md5 in pinned.items()
        )
    return bool(re.fullmatch(f"[0-9a-f]{{64}}|{UNPINNED}", str(pinned)))


def bring(path: Path, pinned: Pinned, sources: list[str]) -> Path:
    """The path, where the pinned file now stands: as it was, or from the first of the sources that has it."""
    if pinned == UNPINNED:
        trust = f"if you trust it, pin its sha256, {digest(path, path.suffix)}" if path.exists() else ""
        mend = trust or f"put it there, from {sources[-1]}, and fetch again to be told"
        raise ValueError(f"{path}: no sha256 of it is pinned in params/datasets.yaml; {mend}")
    if path.exists():
        if fault := difference(path, path.suffix, pinned):
            raise ValueError(f"{path}: {fault} as pinned; delete it and fetch again")
        return path
    tried = []
    for source in sources:
        try:
            with whole(path) as partial:
                copy(source, path.name, partial)
                if fault := difference(partial, path.suffix, pinned):
                    raise ValueError(fault)
            return path
        except (OSError, ValueError, ImportError) as error:  # requests' own are OSErrors
            tried.append(f"{source}: {reason(error)}")
        print(f"{path.name}: {tried[-1]}", file=sys.stderr)
    mirror = f"set FEDGRID_MIRROR to a folder or URL that holds {path.parent.name}/{path.name}"
    mend = "pip install fedgrid[workflow]" if source in EMBEDDED else mirror
    raise ValueError(f"{path}: not to be had ({'; '.join(tried)}); {mend}")


def difference(path: Path, suffix: str, pinned: Pinned) -> str | None:
    """How the file differs from what is pinned of it; None where it does not."""
    if isinstance(pinned, str):
        found = digest(path, suffix)
        return None if found == pinned else f"its sha256 is {found}, not {pinned}"
    held = members(path)
    for name, md5 in pinned.items():
        if held.get(name) != md5:
            return f"the md5 of its member {name} is {held.get(name)}, not {md5}"
    return None


def members(path: Path) -> dict[str, str]:
    """The md5 of each file of a .tar.gz, in hexadecimal, by its name without folders; none of what is none."""
    found = {}
    try:
        if bomb(path):
            return {}
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                # links may lead in circles, and a sparse file's holes may be of any size
                if member.isreg() and not member.issparse() and (file := archive.extractfile(member)):
                    found[Path(member.name).name] = hashlib.md5(file.read()).hexdigest()
    except Exception:  # a forged archive raises whatever its parser stumbles over
        return {}
    return found


def bomb(path: Path) -> bool:
    """Whether the gzipped file unpacks to more than an archive of ours does."""
    with gzip.open(path) as file:
        pieces = iter(partial(file.read, PIECE), b"")
        return len(list(islice(map(len, pieces), MOST + 1))) > MOST


def digest(path: Path, suffix: str) -> str:
    """sha256 of the file in hexadecimal; of an .npz, of its arrays with their names, shapes and types."""
    if suffix != ".npz":
        return sha256(path)
    try:
        held = arrays(path)
    except ValueError:
        return "of no .npz file"
    hashed = hashlib.sha256()
    for key in sorted(held):
        hashed.update(f"{key} {held[key].shape} {held[key].dtype.str} ".encode())
        hashed.update(held[key].tobytes())
    return hashed.hexdigest()


def copy(source: str, file: str, to: Path) -> None:
    """Writes what the source has under the file's name."""
    if source in EMBEDDED:
        EMBEDDED[source](to)
    elif source.startswith(WEB):
        download(f"{source}/{file}", to)
    else:
        shutil.copyfile(Path(source) / file, to)


def download(url: str, to: Path) -> None:
    """Writes what the URL serves, with a progress bar on stderr; tries again after what may pass, not after silence."""
    print(url, file=sys.stderr)
    # identity: requests would unpack what a host compressed on the way, and a .gz that it mistook for that
    headers = {"Accept-Encoding": "identity"}
    get = pooch.HTTPDownloader(progressbar=True, chunk_size=2**16, timeout=TIMEOUT, headers=headers)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return get(url, str(to), None)
        except requests.RequestException as error:
            refused = error.response is not None and error.response.status_code < 500
            if refused or isinstance(error, requests.Timeout) or attempt == ATTEMPTS:
                raise
        time.sleep(attempt * PAUSE)


def reason(error: Exception) -> str:
    """Why it failed, in a few words: requests wraps a refused connection in three exceptions of a paragraph each."""
    while inner := [e for e in (getattr(error, "reason", None), *error.args) if isinstance(e, Exception)]:
        error = inner[0]
    words = " ".join(str(error).split()) or type(error).__name__
    return words.rpartition("): ")[2].partition(" for url: ")[0]
