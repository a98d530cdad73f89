"""Locks: one process to a cell, and one of a user's cells to a GPU.

They are the operating system's, and end with their holder. A file system that has none is refused, since a lock made of
a file alone would outlive a killed holder.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from fedgrid.engine import ranks

POLL_SECONDS = 2  # between two looks at a lock that another process holds


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else is in a block of that lock file, on any node that shares its folder; whoever is is waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = lock_on(path)
    if not acquired(lock):
        say(f"{path.stem}: another process is at it; waiting for its end")
        while not acquired(lock):
            time.sleep(POLL_SECONDS)
            ranks.keep_waiting()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: filelock has whoever waits for it look for another
        lock.release()


@contextmanager
def own_gpu() -> Iterator[None]:
    """PyTorch's "cuda" is a GPU that no other cell of this user uses here, once one is free; nothing without a GPU.

    ValueError where none is free for one of several ranks: those that wait would hold what others wait for.
    """
    if not torch.cuda.is_available():
        yield
        return
    # By its own name: under SLURM each job calls the one that it was given number 0.
    names = [torch.cuda.get_device_properties(index).uuid for index in range(torch.cuda.device_count())]
    with first_free([gpu_lock(name) for name in names]) as index:
        torch.cuda.set_device(index)
        yield


def gpu_lock(name: str) -> Path:
    """This user's lock file of that GPU. In a folder that all may write to, nobody can lock another user's file."""
    return Path(tempfile.gettempdir(), f"fedgrid-{os.getuid()}-gpu-{name}.lock")


@contextmanager
def first_free(paths: Sequence[Path]) -> Iterator[int]:
    """The place in the sequence of a lock file that is this block's, once one is free."""
    locks = [lock_on(path) for path in paths]
    if (index := first_acquired(locks)) is None:
        if ranks.size() > 1:
            raise ValueError(f"rank {ranks.rank()}: no GPU of {len(locks)} is free; a job needs one for each rank")
        say(f"other cells use all GPUs ({len(locks)}); waiting for the first that is free")
    while index is None:
        time.sleep(POLL_SECONDS)
        index = first_acquired(locks)
    try:
        yield index
    finally:
        locks[index].release()


def lock_on(path: Path) -> FileLock:
    """The operating system's lock on that file, not yet held."""
    return FileLock(path, fallback_to_soft=False, poll_interval=POLL_SECONDS)


def first_acquired(locks: Sequence[FileLock]) -> int | None:
    """The place of the first of the locks that nobody held and that is ours now; None where all are held."""
    return next((index for index, lock in enumerate(locks) if acquired(lock)), None)


def acquired(lock: FileLock) -> bool:
    """Whether the lock is ours now, without waiting; ValueError where its file system has no locks."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError as error:
        if error.filename:  # that file is to blame, and named
            raise
        raise ValueError(
            f"{lock.lock_file}: its file system does not lock files ({error.strerror}); "
            "mount it with locks (Lustre: -o flock) or work on another"
        ) from error
    return True


def say(line: str) -> None:
    """A line on stderr, at once: whoever waits wants to know why."""
    print(line, file=sys.stderr, flush=True)
