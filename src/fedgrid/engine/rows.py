"""What clients keep from round to round: a row each, in a file, of those that have taken part.

A row that the last checkpoint names is not overwritten before the next one is written: what its client keeps meanwhile
goes to another place of the file. So the process may be killed at any moment, and the checkpoint and the rows that it
names are those of one round. Places that nothing names are taken again, and the file is at most twice as large as what
clients keep. Memory holds a place and a digest of each client, and the rows of those that train.
"""

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PIECE = 2**24  # bytes of the file that are looked at together
NOWHERE = -1  # the place of a client that has not taken part


class Form(NamedTuple):
    """What a row is: tensors of those names, each (rates, parameters). rates: those that the race began with."""

    names: tuple[str, ...]
    rates: int
    parameters: int
    dtype: str  # numpy's

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a row as an array."""
        return len(self.names), self.rates, self.parameters

    @property
    def nbytes(self) -> int:
        """Of a row in the file."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class Rows:
    """The rows of all clients. One thread writes; others may read meanwhile, of other clients.

    path: of the file, which is made when a row is first written; without one, a temporary file that nobody else sees.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.form: Form | None = None  # that of the first row
        self.place = np.empty(0, np.int64)  # by client: the number of its row in the file, or NOWHERE
        self.digest = np.empty(0, np.uint64)  # by client: of its row
        self.named = np.empty(0, bool)  # by client: whether the last checkpoint names that place
        self.free = np.empty(0, np.int64)  # places before the end that neither a client nor the checkpoint has
        self.end = 0
        self.file: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Given to another process, they are a copy of its own there."""
        return copy, (self.path, self.form, self.place, self.digest, self.end)

    def read(self, clients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the clients have a row, bool (clients,), and their rows (those, names, rates, parameters)."""
        place = np.full(len(clients), NOWHERE)
        inside = clients < len(self.place)
        place[inside] = self.place[clients[inside]]
        there = place != NOWHERE
        if self.form is None:
            return there, np.empty((0, 0, 0, 0))
        rows = np.empty((int(there.sum()), *self.form.shape), self.form.dtype)
        for row, at in zip(rows, place[there].tolist(), strict=True):
            self.fill(row, at * row.nbytes)
        return there, rows

    def write(self, clients: np.ndarray, form: Form, rows: np.ndarray) -> None:
        """Keeps the rows (clients, names, rates, parameters) of that form, which all have.

        ValueError where the file has no room for them.
        """
        self.form = self.form or form
        assert form == self.form
        self.reach(int(clients.max()) + 1)
        for k, row in zip(clients.tolist(), rows, strict=True):
            if self.place[k] == NOWHERE or self.named[k]:
                self.place[k], self.named[k] = self.unused(), False
            self.put(row, int(self.place[k]))
            self.digest[k] = digest(row)

    def reach(self, clients: int) -> None:
        """Makes room in memory for so many clients, and for twice as many as before, so that it is seldom made."""
        if clients > len(self.place):
            more = max(clients, 2 * len(self.place)) - len(self.place)
            self.place = np.append(self.place, np.full(more, NOWHERE))
            self.digest = np.append(self.digest, np.zeros(more, np.uint64))
            self.named = np.append(self.named, np.zeros(more, bool))

    def unused(self) -> int:
        """A place that neither a client nor the checkpoint has."""
        if len(self.free):
            place, self.free = int(self.free[-1]), self.free[:-1]
            return place
        self.end += 1
        return self.end - 1

    def fill(self, rows: np.ndarray, at: int) -> None:
        """Reads the rows from that byte on; ValueError where the file ends before."""
        left = rows.data.cast("B")
        while left:
            if not (read := os.preadv(self.opened(), [left], at)):
                raise ValueError(f"{self.path}: it was cut; delete it and run the cell again, from round 0")
            left, at = left[read:], at + read

    def put(self, row: np.ndarray, place: int) -> None:
        """Writes the row there."""
        left, at = row.data.cast("B"), place * row.nbytes
        try:
            while left:
                written = os.pwrite(self.opened(), left, at)
                left, at = left[written:], at + written
        except OSError as error:
            raise self.unwritten(error) from error

    def flush(self) -> None:
        """Has the rows on the disk before a checkpoint names them."""
        if self.file is not None:
            try:
                os.fsync(self.file)
            except OSError as error:
                raise self.unwritten(error) from error

    def unwritten(self, error: OSError) -> ValueError:
        """What to say where the disk does not take the rows: without them the race can't go on."""
        needed = f"what clients keep is not written ({error.strerror or error})"
        return ValueError(f"{self.path}: {needed}; make room and run the cell again: it goes on from its checkpoint")

    def opened(self) -> int:
        """The file's descriptor. A file whose rows are not known yet begins empty."""
        if self.file is None:
            if self.path is None:
                self.file, name = tempfile.mkstemp()
                Path(name).unlink()
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.file = os.open(self.path, os.O_RDWR | (0 if self.named.any() else os.O_CREAT | os.O_TRUNC), 0o666)
            weakref.finalize(self, os.close, self.file)
        return self.file

    def index(self) -> dict[str, np.ndarray]:
        """What a checkpoint has to say of the rows; nothing where there are none."""
        if self.form is None:
            return {}
        clients = np.flatnonzero(self.place != NOWHERE)
        form = {name: np.array(one) for name, one in self.form._asdict().items()}
        return form | {"clients": clients, "places": self.place[clients], "digests": self.digest[clients]}

    def checkpointed(self) -> None:
        """The checkpoint that names the rows as they are now is written: any other place is free."""
        has = self.place != NOWHERE
        taken = np.zeros(self.end, bool)
        taken[self.place[has]] = True
        self.named, self.free = has, np.flatnonzero(~taken)[::-1]  # the first is the next to be taken

    def faults(self) -> Iterator[str]:
        """Why the rows are not those that the checkpoint names: the file is not there, was cut or altered."""
        if self.form is None:
            return
        if self.path is None or not self.path.is_file():
            yield f"{self.path} is not there"
            return
        if self.path.stat().st_size < self.end * self.form.nbytes:
            yield f"{self.path} was cut"
            return
        whose, has = np.full(self.end, NOWHERE), np.flatnonzero(self.place != NOWHERE)
        whose[self.place[has]] = has
        at_once = max(PIECE // self.form.nbytes, 1)
        for start in range(0, self.end, at_once):
            some = whose[start : start + at_once]
            rows = np.empty((len(some), *self.form.shape), self.form.dtype)
            self.fill(rows, start * self.form.nbytes)
            for k, row in zip(some.tolist(), rows, strict=True):
                if k != NOWHERE and digest(row) != self.digest[k]:
                    yield f"{self.path} does not hold what client {k} kept"
                    return


def copy(path: Path | None, form: Form | None, place: np.ndarray, digest: np.ndarray, end: int) -> Rows:
    """The rows of that file in a temporary one, which no checkpoint names."""
    rows = Rows()
    rows.form, rows.place, rows.digest, rows.end = form, place, digest, end
    rows.named = np.zeros(len(place), bool)
    if path is not None and form is not None:
        with path.open("rb") as source, os.fdopen(os.dup(rows.opened()), "wb") as own:
            shutil.copyfileobj(source, own)
    return rows


def named(path: Path, index: Mapping[str, np.ndarray], form: Form, K: int) -> Rows:
    """The rows, of that form and of K clients, that a checkpoint names in the file; they are not yet looked at.

    ValueError where the index is of other rows, or of none.
    """
    rows = Rows(path)
    if not index:
        return rows
    rows.form = Form(tuple(index["names"].tolist()), int(index["rates"]), int(index["parameters"]), str(index["dtype"]))
    if rows.form != form:
        raise ValueError(f"what its clients keep is {rows.form}, not {form}")
    clients, places, digests = (index[name] for name in ("clients", "places", "digests"))
    if not (clients.dtype == places.dtype == np.int64 and digests.dtype == np.uint64 and clients.size):
        raise ValueError("its clients, their places and digests are no whole numbers")
    if not clients.shape == places.shape == digests.shape == (len(clients),) or repeats(clients) or repeats(places):
        raise ValueError("its clients have not a place and a digest each")
    if clients.min() < 0 or clients.max() >= K or places.min() < 0:
        raise ValueError(f"it names clients that are not among {K}, or places that no file has")
    rows.reach(int(clients.max()) + 1)
    rows.place[clients], rows.digest[clients] = places, digests
    rows.end = int(places.max()) + 1
    rows.checkpointed()
    return rows


def repeats(numbers: np.ndarray) -> bool:
    """Whether one of them stands there twice."""
    return bool((np.diff(np.sort(numbers)) == 0).any())


def digest(row: np.ndarray) -> int:
    """The first 64 bits of the row's sha256."""
    return int.from_bytes(hashlib.sha256(row.data).digest()[:8], "little")
