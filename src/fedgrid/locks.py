"""One process trains a cell, one cell at a time uses a GPU.

The locks are the operating system's: they end with their holder.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

POLL_SECONDS = 0.5


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else is in a block of that lock file, on any node that shares its folder; whoever is is waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"{path.stem}: another process is at it; waiting for its end", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: filelock has whoever waits for it look for another
        lock.release()


@contextmanager
def own_gpu() -> Iterator[None]:
    """PyTorch's "cuda" is a GPU that no other cell of this machine uses, once one is free; nothing without a GPU."""
    if not torch.cuda.is_available():
        yield
        return
    # By its own name: under SLURM each job calls the one that it was given number 0.
    names = [torch.cuda.get_device_properties(index).uuid for index in range(torch.cuda.device_count())]
    with first_free([Path(tempfile.gettempdir(), f"fedgrid-gpu-{name}.lock") for name in names]) as index:
        torch.cuda.set_device(index)
        yield


@contextmanager
def first_free(paths: Sequence[Path]) -> Iterator[int]:
    """The place in the sequence of a lock file that is this block's, once one is free."""
    locks = [FileLock(path, mode=0o666) for path in paths]  # other people of the machine wait for the same GPUs
    while True:
        for index, lock in enumerate(locks):
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            try:
                yield index
            finally:
                lock.release()
            return
        time.sleep(POLL_SECONDS)
