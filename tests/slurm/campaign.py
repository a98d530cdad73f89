"""A campaign of two cells on the embedded digits, and what a fault has to leave of it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import yaml

from fedgrid.grid import artefacts
from tests.slurm.reliability import CHECKPOINT_SECONDS
from tests.trees import Tree

# Long enough for a fault to find them in the middle, on any machine; they end at their horizon.
FAULTS = {
    "title": "Faults",
    "paper": False,
    "cells": {"task": "digits_2nn", "partition": "iid", "K": 50, "targets": [0.9999], "lr": [0.1, 0.215, 0.464]},
    "grid": [{"C": 0.5, "E": [3, 4], "B": 10, "rounds": 150}],
    "table": {"rows": ["E"], "columns": ["C"], "baseline": {"E": 3}},
}
PARTITIONS = {"partitions": {"cpu": {"max_runtime": 120}, "gpu": {"max_runtime": 120, "max_gpu": 1}}}
PROFILE = ("--profile", "profiles/slurm")
# A test's cluster is nobody else's: it may be asked at once, and every second.
EAGER = ("--slurm-init-seconds-before-status-checks", "1")
EAGERLY = Path(__file__).parent / "eager"


def prepare(tree: Tree) -> None:
    """Declares the two cells in the checkout, lets it write checkpoints often, and commits that."""
    (tree.path / "params/faults.yaml").write_text(yaml.safe_dump(FAULTS))
    (tree.path / "profiles/slurm/partitions.yaml").write_text(yaml.safe_dump(PARTITIONS))
    job = tree.path / "src/fedgrid/run/job.py"
    text, changed = re.subn(
        r"^CHECKPOINT_SECONDS = \d+\nPROGRESS_SECONDS = \d+$",
        f"CHECKPOINT_SECONDS = {CHECKPOINT_SECONDS}\nPROGRESS_SECONDS = 0",
        job.read_text(),
        flags=re.MULTILINE,
    )
    assert changed == 1
    job.write_text(text)
    tree.commit("two cells for faults")


def timeless(text: str) -> str:
    """The record without what a clock said, the memory that it took, and what SLURM gave the job."""
    record = json.loads(text)
    for key in ("seconds", "examples_per_second", "peak_memory_bytes", "requested"):
        record["provenance"].pop(key)
    return json.dumps(record)


def submitted(said: str) -> list[str]:
    """The SLURM jobs that Snakemake says it submitted."""
    return re.findall(r"has been submitted with SLURM jobid (\d+)", said)


class Campaign:
    """A checkout's two cells, on SLURM."""

    def __init__(self, tree: Tree):
        self.tree = tree
        self.cells = [cell.name for cell in artefacts.artefact("faults", tree.path / "params").cells]
        self.records = [f"results/cells/digits_2nn/{name}.json" for name in self.cells]
        self.started: list[subprocess.Popen] = []

    def start(self, *arguments: str, profile=PROFILE + EAGER) -> subprocess.Popen:
        """Snakemake, running, its output in a file."""
        with (self.tree.path / "snakemake.log").open("ab") as log:
            snakemake = subprocess.Popen(
                ["snakemake", *profile, *arguments, "--", *self.records],
                cwd=self.tree.path,
                env=self.tree.environment(PYTHONPATH=f"{self.tree.path}/src{os.pathsep}{EAGERLY}"),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.started.append(snakemake)
        return snakemake

    def stop(self) -> None:
        """Ends every Snakemake that still runs, and what it runs beside it: a test that failed leaves them."""
        for snakemake in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(snakemake.pid, signal.SIGKILL)
            snakemake.wait()

    def middle(self, snakemake: subprocess.Popen) -> tuple[str, str]:
        """Waits for the middle: one cell's record is there, the other trains past a checkpoint. (finished, training)"""
        while True:
            assert snakemake.poll() is None, self.said()
            there = [name for name in self.cells if self.record(name).is_file()]
            assert len(there) < 2, "both cells ended before the fault came"
            other = [name for name in self.cells if name not in there and self.reached(name) > self.kept(name) > 2]
            if there and other:
                return there[0], other[0]
            time.sleep(0.05)

    def record(self, name: str) -> Path:
        """Where the cell's record is or will be."""
        return self.tree.path / f"results/cells/digits_2nn/{name}.json"

    def kept(self, name: str) -> int:
        """The round of the cell's checkpoint; 0 without one."""
        try:
            with np.load(self.tree.path / f"results/checkpoints/{name}.npz", allow_pickle=False) as arrays:
                return json.loads(str(arrays["state"]))[1]["t"]
        except FileNotFoundError:
            return 0

    def log(self, name: str) -> str:
        """What the cell's last process has said."""
        path = self.tree.path / f"logs/cells/digits_2nn/{name}.log"
        return path.read_text() if path.is_file() else ""

    def rounds(self, name: str) -> list[int]:
        """The rounds that it has told of."""
        return [int(t) for t in re.findall(r"round (\d+)/", self.log(name))]

    def reached(self, name: str) -> int:
        """The last of them; 0 before the first."""
        return max(self.rounds(name), default=0)

    def process(self, name: str) -> int:
        """The number of the process that trains the cell."""
        found = subprocess.run(["pgrep", "-f", f"^python -m fedgrid run {name}"], capture_output=True, text=True)
        (number,) = found.stdout.split()
        return int(number)

    def said(self) -> str:
        """All that Snakemake printed."""
        return (self.tree.path / "snakemake.log").read_text()

    def end(self, snakemake: subprocess.Popen, fails: bool = False) -> None:
        """Waits for Snakemake's end, a good one unless it should fail."""
        snakemake.wait(300)
        assert (snakemake.returncode != 0) == fails, self.said()

    def settled(self, undisturbed: dict[str, str], finished: dict[str, str]) -> int:
        """How many of the finished records are no longer what they were.

        Every record is that of the undisturbed campaign, and nothing half-written is left.
        """
        for name in self.cells:
            assert timeless(self.record(name).read_text()) == undisturbed[name]
        assert not self.tree.partial()
        assert not list((self.tree.path / "results/checkpoints").glob("*.npz"))
        return sum(self.record(name).read_text() != text for name, text in finished.items())

    def copy(self, path: Path) -> "Campaign":
        """The same campaign in another folder."""
        return Campaign(Tree(Path(shutil.copytree(self.tree.path, path, symlinks=True))))
