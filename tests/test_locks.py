"""Laws of the locks, held by real processes."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fedgrid.run import locks

NOBODY = 65534  # a user who may do little
HOLD = """
import os, sys
from pathlib import Path
from fedgrid.run import locks
locks.POLL_SECONDS = 0.05
os.setuid(int(sys.argv[1]))
with locks.{lock}({argument}) as held:
    print("held", held, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Starts processes that hold such a lock until their input ends, and waits until each holds it."""
    with contextlib.ExitStack() as stack:

        def start(lock, argument, user=None, **environment):
            code = HOLD.format(lock=lock, argument=argument)
            command = [sys.executable, "-c", code, str(os.getuid() if user is None else user)]
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            return stack.enter_context(subprocess.Popen(command, env=os.environ | environment, **pipes))

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
    assert "other cells use all GPUs (2); waiting" in third.stderr.readline().decode()
    end(second)
    assert line(third) == ["held", "1"]
    end(first)
    end(third)
    assert not third.stderr.read()  # it said so once


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_users_cell_does_not_stumble_over_ours(holder):
    """Root's folder, in which everyone may write, but nobody touch another's files: as /tmp is."""
    with tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o1777)
        for user in (0, NOBODY):
            process = holder("first_free", "[locks.gpu_lock('GPU-1')]", user, TMPDIR=shared)
            assert line(process) == ["held", "0"], process.stderr.read()
            end(process)


@pytest.mark.parametrize("lock", ["alone", "first_free"])
def test_a_file_system_without_locks_is_one_line_and_no_lock_that_outlives_its_holder(tmp_path, monkeypatch, lock):
    """As Lustre mounted without -o flock answers."""

    def flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    path = tmp_path / "cell.lock"
    said = f"^{path}: its file system does not lock files [^\n]*; mount it with locks [^\n]*$"
    with pytest.raises(ValueError, match=said), getattr(locks, lock)(path if lock == "alone" else [path]):
        pass


def test_a_place_where_no_lock_file_can_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=str(tmp_path)), locks.first_free([tmp_path / "file/a.lock"]):
        pass


def test_a_block_that_fails_frees_its_gpu(tmp_path):
    paths = [Path(tmp_path, "a")]
    for _ in range(2):
        with pytest.raises(KeyError), locks.first_free(paths) as index:
            assert index == 0
            raise KeyError
