"""Trains cells one after another for a given time, each in a process of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType


def fill(names: Iterable[str], seconds: float, run: Callable[[str], list[str]]) -> list[str]:
    """Runs the cells in that order until the time is over, and gives the names of those that failed.

    `run` is the command that trains a cell. The one that runs when the time is over writes a checkpoint, from which
    the next call goes on; so it does where this process is asked to end.
    """
    until, failed = time.monotonic() + seconds, []
    before = signal.signal(signal.SIGTERM, leave)
    try:
        for name in names:
            if (left := until - time.monotonic()) <= 0:
                break
            if trained(run(name), left) not in (0, 128 + signal.SIGTERM):
                failed.append(name)
    finally:
        signal.signal(signal.SIGTERM, before)
    return failed


def trained(command: list[str], seconds: float) -> int:
    """The exit status of the command, which is asked to end after that time, or when this process is."""
    child = subprocess.Popen(command)
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return ended(child)
    except BaseException:
        ended(child)
        raise


def ended(child: "subprocess.Popen[bytes]") -> int:
    """The exit status of the child, asked to end: it does so after its round, which may take long, by a checkpoint."""
    child.terminate()
    return child.wait()


def leave(number: int, frame: FrameType | None) -> None:
    """Ends this process as its shell would say it, after what is to be tidied."""
    sys.exit(128 + number)
