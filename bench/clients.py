"""`python -m bench.clients`: a round among a hundred, 10⁵ and 10⁶ clients that keep something, and that keep nothing.

Every client has taken part before, so that each of a cohort reads a row and writes one. Each line has a process of its
own; seconds are the least over the turns. `--json FILE` writes the same as data.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from bench.rounds import memory
from fedgrid import partitions
from fedgrid.algorithms import FedAvg
from fedgrid.algorithms.fedavg import State, Trained
from fedgrid.engine.federation import Federation
from fedgrid.engine.model import Model
from fedgrid.engine.rows import Form, Rows, named
from fedgrid.engine.states import States
from fedgrid.partitions import PARTITIONS
from fedgrid.rng import stream
from fedgrid.run import checkpoint, provenance, race
from fedgrid.run.pace import examples
from fedgrid.tasks.initial import initial_weights, inits
from fedgrid.tasks.models import MNIST_2NN, dense

TURNS = 5
EACH = 20  # examples of a client
CPU = torch.device("cpu")
MODELS: dict[str, Model] = {"softmax": dense(64, 10), "2NN": MNIST_2NN}
COLUMNS = {
    "model": "model",
    "clients": "clients",
    "cohort": "cohort",
    "keeps": "keeps",
    "seconds": "s a round",
    "processor_seconds": "processor s",
    "peak_mb": "peak MB",
    "file_mb": "file MB",
    "checkpoint_seconds": "checkpoint, s",
    "checkpoint_mb": "MB",
    "resume_seconds": "resume, s",
}


@dataclass(frozen=True)
class Corrected(FedAvg):
    """A stand-in for what SCAFFOLD or error feedback keep: a vector like w, which enters each of a client's steps."""

    title: ClassVar[str] = "corrected"

    def client_state(self, w: Tensor) -> State:
        return {"c_k": torch.zeros_like(w)}

    def client_term(self, w: Tensor, w_t: Tensor, client: State, server: State) -> Tensor:
        return -client["c_k"]

    def kept(self, trained: Trained) -> State:
        moved = (trained.w_t - trained.w_k) / (trained.steps * trained.lr)
        return {"c_k": 0.1 * moved}


@dataclass(frozen=True)
class Case:
    """A round of `cohort` of `clients` clients, of 20 examples each, in batches of 10, at one rate."""

    model: str
    clients: int
    cohort: int
    keeps: bool


SMALL = [(100, 100), *((K, m) for K in (10**5, 10**6) for m in (1000, 10_000))]
LARGE = [(100, 100), (1000, 1000)]
CASES = [
    Case(model, K, m, keeps)
    for model, sizes in (("softmax", SMALL), ("2NN", LARGE))
    for K, m in sizes
    for keeps in (False, True)
]


def measure(case: Case, turns: int = TURNS) -> dict[str, Any]:
    """The line of that case."""
    torch.set_num_threads(1)
    model, rng = MODELS[case.model], stream(0, "bench")
    data = examples(model, 100 * EACH, rng, CPU)
    held = partitions.draw(PARTITIONS["population"](), np.zeros(len(data.y), np.int64), case.clients, rng)
    algorithm = Corrected() if case.keeps else FedAvg()
    share, draws = case.cohort / case.clients, partial(stream, 0)
    federation = Federation(model, data, held, share, 1, 10, draws, algorithm=algorithm)
    w = initial_weights(model, inits(model)[0], rng).float().repeat(1, 1)
    with TemporaryDirectory() as folder:
        place = Path(folder, "race.npz")
        states = States(clients=Rows(checkpoint.beside(place)))
        if case.keeps:
            fill(states.clients, model, case.clients)
        taken = []
        for t in range(1, turns + 2):
            began, before = time.perf_counter(), time.process_time()
            w, states, _ = federation.round(t, w, torch.full((1,), 0.05), states)
            taken.append((time.perf_counter() - began, time.process_time() - before))
        seconds, processor = (min(turn[i] for turn in taken[1:]) for i in (0, 1))  # the first is slow
        here = {"device": provenance.hardware(CPU, 1)["processor"], "peak_mb": memory(CPU)}
        measured = {"seconds": seconds, "processor_seconds": processor}
        return asdict(case) | here | measured | kept(place, race.Lap(1, w, (), states))


def fill(rows: Rows, model: Model, clients: int) -> None:
    """Has every client keep something."""
    form = Form(("c_k",), 1, model.parameters, "<f4")
    for some in np.array_split(np.arange(clients), -(-clients * form.nbytes // 2**24)):
        rows.write(some, form, np.zeros((len(some), *form.shape), form.dtype))


def kept(place: Path, lap: race.Lap) -> dict[str, float]:
    """What a checkpoint and a resumption cost, the first after all clients have written; 0 where nothing is kept."""
    began = time.perf_counter()
    checkpoint.save(place, {}, lap, 0.0, [])
    saved = time.perf_counter()
    index, form = lap.states.clients.index(), lap.states.clients.form
    if form:
        assert not list(named(checkpoint.beside(place), index, form, 2**31).faults())
    resumed = time.perf_counter()
    file = checkpoint.beside(place)
    return {
        "file_mb": file.stat().st_size / 1e6 if form else 0.0,
        "checkpoint_seconds": saved - began,
        "checkpoint_mb": place.stat().st_size / 1e6,
        "resume_seconds": resumed - saved,
    }


def row(measured: dict[str, Any]) -> list[str]:
    """The measured line as a person reads it."""
    shown = {key: f"{value:,.3f}" if "seconds" in key else f"{value:,.0f}" for key, value in numbers(measured).items()}
    return [str((measured | shown | {"keeps": "yes" if measured["keeps"] else "no"})[key]) for key in COLUMNS]


def numbers(measured: dict[str, Any]) -> dict[str, float]:
    """What is counted or measured of it."""
    return {key: value for key, value in measured.items() if type(value) in (int, float)}


def main() -> None:
    """Measures each case in a process of its own, prints the table and writes the file."""
    parser = argparse.ArgumentParser(prog="bench.clients", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as data, too")
    asked = parser.parse_args()
    measured = []
    for case in CASES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            measured.append(alone.submit(measure, case).result())
        print(f"{len(measured)} of {len(CASES)} measured", file=sys.stderr)
    print(tabulate([row(one) for one in measured], list(COLUMNS.values()), "github", disable_numparse=True))
    if asked.json:
        asked.json.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
