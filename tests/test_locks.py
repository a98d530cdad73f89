"""Laws of the locks, held by real processes."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedgrid import locks

HOLD = """
import sys, time
from pathlib import Path
from fedgrid import locks
with locks.{lock}({argument}) as held:
    print("held", held, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Starts processes that hold such a lock until their input ends, and waits until each holds it."""
    with contextlib.ExitStack() as stack:

        def start(lock, argument):
            code = HOLD.format(lock=lock, argument=argument)
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
            )
            return process

        yield start


def line(process):
    return process.stdout.readline().decode().split()


def end(process):
    process.stdin.close()
    process.wait()


def test_a_second_process_waits_for_the_first_and_says_so(holder, tmp_path):
    path = f"Path({str(tmp_path / 'cell.lock')!r})"
    first = holder("alone", path)
    assert line(first) == ["held", "None"]
    second = holder("alone", path)
    assert "cell: another process is at it; waiting" in second.stderr.readline().decode()
    os.set_blocking(second.stdout.fileno(), False)
    assert not second.stdout.read()
    os.set_blocking(second.stdout.fileno(), True)
    end(first)
    assert line(second) == ["held", "None"]
    end(second)


def test_a_killed_process_leaves_no_lock(holder, tmp_path):
    first = holder("alone", f"Path({str(tmp_path / 'cell.lock')!r})")
    line(first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    with locks.alone(tmp_path / "cell.lock"):
        pass
    assert not list(tmp_path.iterdir())


def test_other_cells_do_not_wait(tmp_path):
    with locks.alone(tmp_path / "a.lock"), locks.alone(tmp_path / "b.lock"):
        pass


def test_each_process_has_a_gpu_of_its_own_and_the_third_of_two_waits_for_one(holder, tmp_path):
    paths = f"[Path({str(tmp_path)!r}, name) for name in ('a', 'b')]"
    first, second = holder("first_free", paths), None
    assert line(first) == ["held", "0"]
    second = holder("first_free", paths)
    assert line(second) == ["held", "1"]
    third = holder("first_free", paths)
    end(second)
    assert line(third) == ["held", "1"]
    end(first)
    end(third)


def test_a_block_that_fails_frees_its_gpu(tmp_path):
    paths = [Path(tmp_path, "a")]
    for _ in range(2):
        with pytest.raises(KeyError), locks.first_free(paths) as index:
            assert index == 0
            raise KeyError
