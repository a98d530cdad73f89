"""The datasets' files, each from the first source that has it, none kept without its pinned sha256.

Of an archive that differs from mirror to mirror, the md5 of each member is pinned instead, or of a zip of thousands one
sha256 over all of them. A file whose sha256 nobody has published, or anyone's own, is declared as UNPINNED: it is
refused until whoever trusts it has put it in its place and pinned the sha256 that the refusal tells.

`datasets.declared` says where files come from. FEDGRID_MIRROR, a folder or URL that holds <dataset>/<file>, is asked
before the hosts. A file in place is never overwritten: the pinned one is left as it is, any other is an error that
names it. Training imports neither this module nor pooch.
"""

import gzip
import hashlib
import os
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pooch
import requests

from fedgrid.files import arrays, sha256, whole
from fedgrid.tasks.datasets import DECLARED, RAW, corpora, declared, digits
from fedgrid.tasks.datasets.declaration import MEMBERS, UNPINNED, Pinned, Source

# Sources that write the file themselves, by the names that params/datasets.yaml has for them.
EMBEDDED: dict[str, Callable[[Path], None]] = {"scikit-learn": digits.extract, "fedgrid": corpora.generate}
PIECE, MOST = 2**20, 2**10  # bytes read at once of an archive not yet known, and how many times at most: 1 GiB
WEB = ("http://", "https://")
ATTEMPTS = 3  # at one host
PAUSE = 1.0  # seconds before the second attempt; twice that before the third
TIMEOUT = (3, 10)  # seconds to connect to one of a host's addresses (there may be a dozen), and between two reads


def fetch(name: str, raw: Path = RAW, params: Path = DECLARED) -> list[Path]:
    """The files of a dataset under raw/<dataset>, whole and checked; ValueError, in one line, where one can't be had.

    name: the dataset, or one file of it as <dataset>/<file>. What is there and right keeps its modification time.
    """
    dataset, _, file = name.partition("/")
    files = declared(dataset, params).files
    sources = [one.rstrip("/") if isinstance(one, str) else one for one in declared(dataset, params).sources]
    if file and file not in files:
        raise ValueError(f"{dataset} has no file {file!r}; it has {', '.join(files)}")
    mirror = os.environ.get("FEDGRID_MIRROR")
    if mirror and not all(map(written_by, sources)):
        sources = [f"{mirror.rstrip('/')}/{dataset}", *sources]
    return [bring(raw / dataset / one, files[one], sources) for one in ([file] if file else files)]


def written_by(source: Source) -> Callable[[Path], None] | None:
    """What writes the file, where the source holds none but makes it."""
    return source if callable(source) else EMBEDDED.get(source)


def bring(path: Path, pinned: Pinned, sources: Sequence[Source]) -> Path:
    """The path, where the pinned file now stands: as it was, or from the first of the sources that has it."""
    if pinned == UNPINNED:
        raise ValueError(f"{path}: no sha256 of it is pinned where its dataset is declared; {to_pin(path, sources)}")
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
            tried.append(f"{called(source)}: {reason(error)}")
        print(f"{path.name}: {tried[-1]}", file=sys.stderr)
    mend = f"set FEDGRID_MIRROR to a folder or URL that holds {path.parent.name}/{path.name}"
    if written_by(source):
        mend = f"mend {called(source)}" if callable(source) else "pip install fedgrid[workflow]"
    raise ValueError(f"{path}: not to be had ({'; '.join(tried)}); {mend}")


def to_pin(path: Path, sources: Sequence[Source]) -> str:
    """How to come to the sha256 that is to be pinned; of a file that is made, what it is."""
    if path.exists():
        return f"if you trust it, pin its sha256, {digest(path, path.suffix)}"
    if not written_by(source := sources[-1]):
        return f"put it there, from {source}, and fetch again to be told"
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".", suffix=".partial") as scratch:
        copy(source, path.name, made := Path(scratch) / path.name)
        return f"if you trust what {called(source)} makes, pin its sha256, {digest(made, path.suffix)}"


def called(source: Source) -> str:
    """What a source is called."""
    return f"{source.__module__}.{source.__qualname__}" if callable(source) else source


def difference(path: Path, suffix: str, pinned: Pinned) -> str | None:
    """How the file differs from what is pinned of it; None where it does not."""
    if isinstance(pinned, list):
        faults = [difference(path, suffix, one) for one in pinned]
        return None if None in faults else "; ".join(map(str, faults))
    if isinstance(pinned, str) and pinned.startswith(MEMBERS):
        count, found = of_members(path)
        wanted = pinned.removeprefix(MEMBERS)
        return None if found == wanted else f"the sha256 of its {count} members is {found}, not {wanted}"
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


def of_members(path: Path) -> tuple[int, str]:
    """How many files a .zip has, and one sha256 of them; 0 and "none" of what is none.

    It is that of their sha256sums by name, which `sha256sum * | sha256sum` tells in their folder (LC_ALL=C). Folders,
    order, compression and times do not count.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = [member for member in archive.infolist() if not member.is_dir()]
            if sum(member.file_size for member in held) > MOST * PIECE:
                return 0, "none"
            sums = [(plain_name(member.filename), member_sum(archive, member)) for member in held]
    except Exception:  # a forged archive raises whatever its parser stumbles over
        return 0, "none"
    lines = [f"{one}  {name}\n".encode() for name, one in sorted(sums)]
    return len(held), hashlib.sha256(b"".join(lines)).hexdigest()


def plain_name(member: str) -> str:
    """The member's name without folders, in one line: a line feed in a name must not look like another member."""
    return member.rpartition("/")[2].replace("\n", "\\n")


def member_sum(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    """sha256 of a member of a zip, in hexadecimal."""
    hashed = hashlib.sha256()
    with archive.open(member) as file:
        for piece in iter(partial(file.read, PIECE), b""):
            hashed.update(piece)
    return hashed.hexdigest()


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


def copy(source: Source, file: str, to: Path) -> None:
    """Writes what the source has under the file's name; what makes it is given a path of that name."""
    if make := written_by(source):
        with TemporaryDirectory(dir=to.parent, prefix=".", suffix=".partial") as scratch:
            make(Path(scratch) / file)
            (Path(scratch) / file).replace(to)
    elif str(source).startswith(WEB):
        download(f"{source}/{file}", to)
    else:
        shutil.copyfile(Path(str(source)) / file, to)


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
