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
            if not trained(run(name), left):
                failed.append(name)
    finally:
        signal.signal(signal.SIGTERM, before)
    return failed


def trained(command: list[str], seconds: float) -> bool:
    """Whether the command did what it should. It is asked to end after that time, or when this process is.

    It then ends after its round, which may take long, with a checkpoint; early on, at once.
    """
    with subprocess.Popen(command) as child:
        try:
            return child.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            child.terminate()
            return child.wait() in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
        except BaseException:
            child.terminate()
            raise


def leave(number: int, frame: FrameType | None) -> None:
    """Ends this process as its shell would say it, after what is to be tidied."""
    sys.exit(128 + number)
