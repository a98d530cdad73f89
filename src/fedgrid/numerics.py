"""NUMERICS: by which kernels a cell's numbers are computed. A process chooses them before PyTorch is imported.

native: those that PyTorch, MKL and oneDNN choose by the processor. Another processor adds in another order, and a race
that is near divergence turns on that.
portable: those of AVX2 alone, in blocks of fixed size: the same bits on every x86-64 processor that has AVX2. On a CPU.

No function here imports PyTorch or numpy.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

NATIVE, PORTABLE = NUMERICS = ("native", "portable")
TOLD_SO = "FEDGRID_NUMERICS"  # set in a process that was started as a portable one
CORE = "Haswell"  # the first processor with AVX2, as OpenBLAS calls its kernels
# What a portable process is told. Nothing else that a shell says to these libraries reaches it.
TOLD = {
    TOLD_SO: PORTABLE,
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",  # only Intel's processors heed AVX2
    "OPENBLAS_CORETYPE": CORE,
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
INSTRUCTIONS = {"avx2", "fma"}  # as Linux calls them
CPUINFO = Path("/proc/cpuinfo")
FAMILIES = ("ATEN_", "ONEDNN_", "DNNL_", "MKL_", "OPENBLAS_", "NPY_", "GLIBC_TUNABLES")


def environment() -> dict[str, str]:
    """The environment of a portable process: this one's, without what it says to the libraries that compute."""
    return {key: value for key, value in os.environ.items() if not key.startswith(FAMILIES)} | TOLD


def check(cpuinfo: Path = CPUINFO, machine: str = platform.machine()) -> None:
    """ValueError where this machine cannot give the portable bits: the libraries would be told what it has not."""
    if machine != "x86_64" or INSTRUCTIONS - flags(cpuinfo):
        has = "without AVX2" if cpuinfo.is_file() else "not Linux"
        raise ValueError(f"numerics: portable needs Linux on an x86-64 processor with AVX2; here is {machine}, {has}")


def flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """The instructions and other features of this machine's processor, as Linux on x86-64 calls them."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def here(numerics: str) -> bool:
    """Whether this process, as it was started, can compute a cell of those numerics."""
    return numerics == NATIVE or environment() == dict(os.environ)


def become(numerics: str, arguments: Sequence[str]) -> NoReturn:
    """Goes on as `python -m arguments` in a process that can compute a cell of those numerics; its number stays.

    ValueError where this is such a process already, and something that it imported has changed its environment since.
    """
    check()
    assert numerics == PORTABLE
    if os.environ.get(TOLD_SO) == PORTABLE:
        changed = ", ".join(sorted({name for name, _ in environment().items() ^ os.environ.items()}))
        raise ValueError(f"numerics: portable: {changed} was set after the process began; no extension may set it")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", *arguments], environment())


def elsewhere(numerics: str, module: str, function: str, *arguments: Any) -> Any:
    """What a module's function of those arguments is, by a process that can compute a cell of those numerics.

    Arguments and result are plain JSON values. ValueError where it ends with an error.
    """
    check()
    assert numerics == PORTABLE
    does = f"import json, sys; from {module} import {function}; print(json.dumps({function}(*json.load(sys.stdin))))"
    asked = json.dumps(arguments)
    done = subprocess.run([sys.executable, "-c", does], input=asked, capture_output=True, text=True, env=environment())
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2].removeprefix("ValueError: ")
        raise ValueError(said or f"the process that computes portable numbers ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
