"""The peers: what each is, with which releases of what it is installed, and how it is started.

Each has a virtual environment of its own in the user's cache, made once; other releases make another one.
"""

import hashlib
import os
import re
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

TORCH = f"torch=={metadata.version('torch').partition('+')[0]}"  # the one that fedgrid runs by
Arguments = tuple[str, ...]


@dataclass(frozen=True)
class Peer:
    """A simulator: `name` is its module here, `installs` are the arguments of pip, call by call.

    One that installs nothing runs in the project's own environment. launcher: what stands before the module in its
    command, and variables of its own; {cores} is how many cores there are.
    """

    name: str
    title: str
    threads: str
    installs: tuple[Arguments, ...] = ()
    launcher: Arguments = ()
    variables: Mapping[str, str] = field(default_factory=dict)


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "{cores}")
SILENT = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
FEDLABS = (
    "nvidia-ml-py==13.615.71",
    "munch==4.0.0",
    "pandas==3.1.1",
    "pillow==13.0.0",
    "scikit-learn==1.9.1",
    "tqdm==4.70.1",
)
PEERS = [
    Peer("ours", "fedgrid", "a worker a core"),
    Peer("fedjax", "FedJAX", "all cores in an operation", (("fedjax==0.0.17", "jax==0.10.2", "jaxlib==0.10.2"),)),
    Peer("pfl", "pfl-research", "a process a core", (("pfl[pytorch]==0.6.0", TORCH),), TORCHRUN),
    Peer("flower", "Flower", "a Ray actor a core", (("flwr[simulation]==1.41.0", TORCH),), variables=SILENT),
    Peer(
        "fedlab",
        "FedLab",
        "all cores in an operation",
        (("--no-deps", "fedlab==1.3.0"), (TORCH, *FEDLABS)),  # without torchvision
    ),
    Peer("loop", "plain PyTorch loop", "all cores in an operation"),
]


def cache() -> Path:
    """The folder of the environments."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedgrid" / "peers"


def python(peer: Peer) -> Path:
    """The interpreter of the peer's environment, which is made where it is not there; RuntimeError with pip's words."""
    if not peer.installs:
        return Path(sys.executable)
    digest = hashlib.sha256(repr((sys.version_info[:2], peer.installs)).encode()).hexdigest()[:8]
    folder = cache() / f"{peer.name}-{digest}"
    interpreter, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        print(f"{folder}: installing {peer.title}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        for arguments in peer.installs:
            said = subprocess.run([interpreter, "-m", "pip", "install", *arguments], capture_output=True, text=True)
            if said.returncode:
                raise RuntimeError(reason(said.stderr))
        done.touch()
    return interpreter


def reason(said: str) -> str:
    """Why a process failed, of what it said: its last error, else its last line. That a child failed is no reason."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line for line in lines if re.search(r"^(\S+: )?[\w.]*(Error|ERROR|Exception)\b", line)]
    errors = [line for line in errors if "ChildFailedError" not in line]
    return (errors or lines)[-1]
