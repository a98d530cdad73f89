"""Where a number comes from: commit, libraries and hardware of this process."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

PACKAGE = Path(__file__).parents[1]


def git(*arguments: str) -> str | None:
    """What git prints for these sources; None where they lie in no repository or git is missing."""
    try:
        done = subprocess.run(["git", "-C", PACKAGE, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def commit() -> dict[str, Any]:
    """The commit of the sources, and whether sources or params differed from it."""
    changes = git("status", "--porcelain", "--", ":/src", ":/params")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


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


def together(machines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The hardware of work that went from machine to machine: the last one's, and every processor that decided bits."""
    named = {key: ", then ".join(dict.fromkeys(one[key] for one in machines)) for key in ("processor", "instructions")}
    return dict(machines[-1]) | named


def tensor_digest(w: torch.Tensor) -> str:
    """sha256 of the tensor's values, in hexadecimal."""
    return hashlib.sha256(w.cpu().contiguous().numpy().tobytes()).hexdigest()
