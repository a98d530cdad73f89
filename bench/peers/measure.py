"""Runs the peers one after another and gathers what they tell: what docs/peers.json holds."""

import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from bench.peers import environments
from bench.peers.environments import PEERS, Peer
from bench.peers.task import Task
from bench.peers.workloads import WORKLOADS, Workload, prepare
from fedgrid.grid.artefacts import artefact
from fedgrid.run import provenance, record
from fedgrid.tasks.datasets import RAW

ROOT = Path(__file__).parents[2]
SECONDS = 3600  # that a peer may take for a workload
ALIKE = 0.15  # how far a loss may be from the peers' median, as a part of it: their shuffles and cohorts differ
RATES, TARGET, HORIZON = (0.0215, 0.0464, 0.1, 0.215, 0.464), 0.96, 40
Measured = dict[str, Any]


def measure(peers: Sequence[Peer] = PEERS, workloads: Sequence[Workload] = WORKLOADS) -> Measured:
    """Every workload and the sweep by every peer: what they took, or why one was not run."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        return {
            **machine(),
            "peers": {peer.name: about(peer) for peer in peers},
            "workloads": {work.name: rounds(work, peers, folder) for work in workloads},
            "sweep": sweep(peers, folder),
        }


def machine() -> Measured:
    """Where and when this is measured."""
    here = provenance.hardware(torch.device("cpu"), 1)
    made = {key: here[key] for key in ("processor", "instructions")}
    return {"date": date.today().isoformat(), **made, "cores": cores(), "python": platform.python_version()}


def about(peer: Peer) -> Measured:
    """What the peer is called, how it uses the cores and what it was installed with."""
    ours = {"torch": torch.__version__, **provenance.commit()}
    installs = [argument for call in peer.installs for argument in call if not argument.startswith("-")]
    return {"title": peer.title, "threads": peer.threads, "with": installs or ours}


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def rounds(work: Workload, peers: Sequence[Peer], folder: Path) -> Measured:
    """The workload by each peer: its first round's seconds, those of the others, and what it learnt."""
    data = str(prepare(work.model, folder))
    task = Task(data, work.model, work.clients, work.cohort, work.B, (work.lr,), work.rounds, cores())
    found = {}
    for peer in peers:
        told = run(peer, task)
        if "not_run" not in told:
            (rate,) = told["rates"]
            first, *warm = rate["seconds"]
            told = {"first": first, "warm": warm, "loss": rate["loss"][-1], "accuracy": rate["accuracy"][-1]}
        found[peer.name] = rounded(told)
        print(work.name, peer.title, found[peer.name].get("not_run") or median(told["warm"]), file=sys.stderr)
    return {"title": work.title, "peers": alike(found)}


def alike(found: dict[str, Measured]) -> dict[str, Measured]:
    """The same without those that learnt something else: their work was not the others'."""
    losses = [told["loss"] for told in found.values() if "loss" in told and math.isfinite(told["loss"])]
    middle = median(losses) if losses else 0.0
    for name, told in found.items():
        if "loss" in told and not abs(told["loss"] - middle) <= ALIKE * middle:
            found[name] = {"not_run": f"its loss is {told['loss']:.4g}, the peers' median {middle:.4g}: other work"}
    return found


def sweep(peers: Sequence[Peer], folder: Path) -> Measured:
    """The 2NN of W1 at five rates to a target, each peer as its users run it: the seconds of it all, start included.

    A peer trains one rate after another, each to the target or the horizon; fedgrid trains them together, until one is
    there.
    """
    task = Task(str(prepare("2nn", folder)), "2nn", 100, 10, 10, RATES, HORIZON, cores(), TARGET)
    found = {}
    for peer in peers:
        told = race(folder) if peer.name == "ours" else run(peer, task)
        if "not_run" not in told:
            rates = told.pop("rates")
            told["rounds"] = [len(rate["accuracy"]) for rate in rates]
            if max(max(rate["accuracy"]) for rate in rates) < TARGET:
                told = {"not_run": f"no rate reached {TARGET} in {HORIZON} rounds"}
        found[peer.name] = rounded(told)
        print("sweep", peer.title, found[peer.name], file=sys.stderr)
    return {"rates": RATES, "target": TARGET, "horizon": HORIZON, "peers": found}


def run(peer: Peer, task: Task) -> Measured:
    """The rates' rounds and the seconds of the whole process; or `not_run`, why there is nothing of the kind."""
    try:
        interpreter = environments.python(peer)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return {"not_run": f"not installed: {error}"}
    launcher = [word.format(cores=task.cores) for word in peer.launcher]
    command = [interpreter, *launcher, "-m", "bench.peers.run", peer.name, task.text()]
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | dict(peer.variables)
    if peer.installs:
        variables["PYTHONPATH"] = str(ROOT)
    return timed(command, ROOT, variables, lambda printed: json.loads(printed.splitlines()[-1]))


def race(folder: Path) -> Measured:
    """The same of fedgrid's own commands."""
    declare(folder)
    (cell,) = artefact("sweep", folder / "params").cells
    verbs = f"partition {cell.partition_name}", f"run {cell.name}"
    command = " && ".join(f"{sys.executable} -m fedgrid {verb}" for verb in verbs)

    def rates(printed: str) -> list[Measured]:
        curves = record.read(folder / record.path(cell.name))["curves"]
        return [{"accuracy": rate["test_accuracy"]} for rate in curves["rates"]]

    return timed(["sh", "-c", command], folder, os.environ | {"OMP_NUM_THREADS": str(cores())}, rates)


def declare(folder: Path) -> None:
    """Writes the sweep's params file into the folder, with what it needs besides, and links the data there."""
    settings = {"E": 1, "B": 10, "lr": list(RATES), "targets": [TARGET], "rounds": HORIZON, "evaluate": "every_round"}
    declared = {
        "cells": {"task": "mnist_2nn", "partition": "iid", "C": 0.1},
        "grid": [settings],
        "table": {"rows": ["E"], "columns": ["partition"], "baseline": {"E": 1}},
    }
    for name in ("params", "data"):
        (folder / name).mkdir()
    (folder / "params" / "sweep.yaml").write_text(yaml.safe_dump(declared))
    shutil.copy(ROOT / "params" / "datasets.yaml", folder / "params")
    (folder / RAW).symlink_to(RAW.resolve())


def timed(command: Sequence[Any], folder: Path, variables: Mapping[str, str], rates: Callable[[str], Any]) -> Measured:
    """The seconds that the command takes, and `rates` of what it prints; `not_run` where it fails."""
    began = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return {"not_run": f"it took longer than {SECONDS} s"}
    seconds = time.perf_counter() - began
    if done.returncode:
        return {"not_run": environments.reason(done.stderr)}
    return {"seconds": seconds, "rates": rates(done.stdout)}


def rounded(told: Any) -> Any:
    """The same with four digits of each number."""
    if isinstance(told, dict):
        return {key: rounded(value) for key, value in told.items()}
    if isinstance(told, list):
        return [rounded(value) for value in told]
    return float(f"{told:.4g}") if isinstance(told, float) else told
