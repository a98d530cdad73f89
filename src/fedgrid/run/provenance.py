"""Where a number comes from: commit, libraries and hardware of this process, and what it asked for and took."""

import hashlib
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

PACKAGE = Path(__file__).parents[1]
SOURCES = (":/src", ":/params", ":/extensions")  # of the repository, whatever lies beside them
PATCH_BYTES = 64 * 1024  # a thousand lines or two: more is no edit but another program, and a digest tells it
PLAIN = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
DIGITS = 16  # of a weights' digest, which only a training can give: nobody gains by finding other weights that have it
# What a SLURM job was given, by the variables that tell it. A time is told by its two ends.
SLURM = {"cpus": "SLURM_CPUS_PER_TASK", "gpus": "SLURM_GPUS_ON_NODE", "memory_mb": "SLURM_MEM_PER_NODE"}
SLURM_TIMES = ("SLURM_JOB_START_TIME", "SLURM_JOB_END_TIME")


def git(*arguments: str) -> str | None:
    """What git prints for these sources; None where they lie in no repository or git is missing."""
    try:
        done = subprocess.run(["git", "-C", PACKAGE, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def commit() -> dict[str, Any]:
    """The commit of the sources, and whether sources or params differed from it."""
    changes = git("status", "--porcelain", "--", *SOURCES)
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def patch() -> tuple[str | None, str | None]:
    """The sha256 of what makes the sources from their commit, and its text; None where nothing does.

    The text is None, too, where it is longer than PATCH_BYTES or no UTF-8. Git applies it (`git apply`). Of a package
    that lies in a repository of something else, nothing is told.
    """
    root = git("rev-parse", "--show-toplevel")
    if root is None or Path(root, "src/fedgrid").resolve() != PACKAGE.resolve():
        return None, None
    changes = printed(root, "diff", *PLAIN, "HEAD", "--", *SOURCES)
    untracked = printed(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *SOURCES)
    for new in filter(None, untracked.split(b"\0")):
        changes += printed(root, "diff", *PLAIN, "--no-index", "--", os.devnull, os.fsdecode(new))
    if not changes:
        return None, None
    try:
        text = changes.decode() if len(changes) <= PATCH_BYTES else None
    except UnicodeDecodeError:
        text = None
    return hashlib.sha256(changes).hexdigest(), text


def printed(root: str, *arguments: str) -> bytes:
    """What git prints in that repository, to the byte; a difference is no error."""
    return subprocess.run(["git", "-C", root, *arguments], capture_output=True, check=False).stdout


def libraries() -> dict[str, str]:
    """The versions of what computes."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "pyyaml": yaml.__version__,
    }


def pinned(constraints: Path) -> dict[str, str]:
    """The libraries that a constraints.txt pins, and their versions; none where there is no such file."""
    lines = constraints.read_text().splitlines() if constraints.is_file() else []
    return {library: version for library, sign, version in (line.partition("==") for line in lines) if sign}


def device_name(device: torch.device) -> str:
    """ "cpu", or what the GPU is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def hardware(device: torch.device, threads: int) -> dict[str, Any]:
    """What computes: the device, the processor beside it, and how many threads share a CPU's work."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        model = next((value.strip() for key, _, value in lines if key.strip() == "model name"), model)
    return {
        "device": device_name(device),
        "processor": model,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": threads,
    }


def beside(machines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The hardware of ranks that work together: the first one's, every processor, and how many ranks if several."""
    if len(machines) == 1:
        return dict(machines[0])
    processors = " and ".join(dict.fromkeys(one["processor"] for one in machines))
    return dict(machines[0]) | {"processor": processors, "ranks": len(machines)}


def requested() -> dict[str, int | None]:
    """What SLURM gave this job: CPUs, GPUs, memory in MB, seconds; None where it does not say, or is not there."""
    given = {what: os.environ.get(name, "") for what, name in SLURM.items()}
    found = {what: int(value) if value.isdecimal() else None for what, value in given.items()}
    began, ends = (os.environ.get(name, "") for name in SLURM_TIMES)
    return found | {"seconds": int(ends) - int(began) if began.isdecimal() and ends.isdecimal() else None}


def peak_memory(device: torch.device) -> dict[str, int | None]:
    """The most bytes that this process has held at once: of the host's memory, and of tensors on its GPU."""
    unit = 1 if sys.platform == "darwin" else 1024
    held = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "device": held}


def together(machines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The hardware of work that went from machine to machine: the last one's, and every processor that decided bits."""
    named = {key: ", then ".join(dict.fromkeys(one[key] for one in machines)) for key in ("processor", "instructions")}
    return dict(machines[-1]) | named


def tensor_digest(w: torch.Tensor) -> str:
    """sha256 of the tensor's values, in hexadecimal."""
    return hashlib.sha256(w.cpu().contiguous().numpy().data).hexdigest()


def weights_digests(w: torch.Tensor) -> list[str]:
    """Of each rate's weights, w (R, parameters), the first digits of their sha256."""
    return [tensor_digest(one)[:DIGITS] for one in w.cpu()]
