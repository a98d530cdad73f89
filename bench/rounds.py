"""A workload, measured: the engine's rounds, the same round by a plain PyTorch loop, and the machine's ceiling.

They take turns in one process, and each figure is the least over the turns: what the machine does when it does nothing
else, which on a shared one a median is not.
"""

import math
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from bench import loops
from fedgrid import partitions
from fedgrid.engine import products
from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.examples import Examples
from fedgrid.engine.federation import Federation
from fedgrid.engine.model import Model
from fedgrid.engine.precision import PRECISIONS
from fedgrid.engine.states import States
from fedgrid.engine.workers import spread
from fedgrid.numerics import NATIVE, PORTABLE
from fedgrid.partitions import PARTITIONS
from fedgrid.rng import stream
from fedgrid.run import provenance
from fedgrid.run.pace import examples
from fedgrid.tasks import models
from fedgrid.tasks.initial import initial_weights, inits

TURNS = 7
SIZE = 2048  # of the matrices whose product is the ceiling
EVALUATED = 4e9  # floating-point operations of an evaluation: 10,000 examples of the 2NN
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Workload:
    """A round with E = 1: `cohort` of `clients` clients of `each` examples, batches of B (0: all), at so many rates."""

    model: str
    B: int
    rates: int = 1
    cohort: int = 10
    each: int = 600
    clients: int = 100
    workers: int = 1
    precision: str = "float32"


MODELS: dict[str, Model] = vars(models) | {"2NN as an nn.Module": loops.MODULE_2NN}
CPU = [
    Workload("MNIST_2NN", 10),
    Workload("2NN as an nn.Module", 10),
    Workload("MNIST_2NN", 10, rates=5),
    Workload("2NN as an nn.Module", 10, rates=5),
    Workload("MNIST_2NN", 10, rates=5, workers=CORES),
    Workload("MNIST_2NN", 10, rates=5, clients=1_000_000),
    Workload("MNIST_2NN", 0),
    Workload("MNIST_2NN", 0, rates=5),
    Workload("MNIST_CNN", 10, cohort=2, each=300),
    Workload("MNIST_CNN", 10, rates=5, cohort=2, each=300),
    Workload("MNIST_CNN", 10, cohort=2, each=300, workers=CORES),
    Workload("MNIST_CNN", 0, cohort=2, each=300),
    Workload("CHAR_LSTM", 10, cohort=2, each=20),
    Workload("CHAR_LSTM", 10, rates=5, cohort=2, each=20),
    Workload("WORD_LSTM", 8, cohort=4, each=160),
]
BF16 = [  # where a CPU has instructions for it
    Workload("MNIST_CNN", 10, cohort=2, each=300, precision="bf16"),
    Workload("CHAR_LSTM", 10, cohort=2, each=20, precision="bf16"),
]
GPU = [
    Workload("MNIST_2NN", 10, rates=5),
    Workload("2NN as an nn.Module", 10, rates=5),
    Workload("MNIST_2NN", 0, rates=5),
    Workload("MNIST_CNN", 10, rates=5),
    Workload("MNIST_CNN", 10, rates=5, cohort=100),
    Workload("CHAR_LSTM", 10, rates=5, cohort=115, each=75, clients=1146),
    Workload("WORD_LSTM", 8, rates=5, cohort=200, each=160, clients=1000),
]


def measure(work: Workload, device: torch.device, turns: int = TURNS, numerics: str = NATIVE) -> dict[str, Any]:
    """The row of that workload; times are the least over the turns."""
    torch.set_num_threads(1)
    if numerics == PORTABLE:
        products.portable()
    model, rng, (dtype, _) = MODELS[work.model], stream(0, "bench"), PRECISIONS[work.precision]
    n = work.each * min(work.clients, 100)
    data = examples(model, n, rng, device, dtype)
    kind = "population" if work.clients > 100 else "iid"
    held = partitions.draw(PARTITIONS[kind](), np.zeros(len(data.y), np.int64), work.clients, rng)
    B, share, draw = work.B or math.inf, work.cohort / work.clients, partial(stream, 0)
    federation = Federation(model, data, held, share, 1, B, draw, dtype=dtype, workers=work.workers)
    w = initial_weights(model, inits(model)[0], rng).float().repeat(work.rates, 1).to(device)
    lr = torch.full((work.rates,), 0.05, device=device)
    rounds = iter(range(1, turns + 3))
    a_round: Callable[[], Any] = lambda: federation.round(next(rounds), w, lr, States())  # noqa: E731
    timed(a_round, device)
    peak = memory(device)  # before anything else is asked for

    few = slice(0, min(max(int(EVALUATED / model.forward_flops), 1), len(data.y)))
    tested, exact = Examples(data.x[few], data.y[few], data.inputs), examples(model, n, stream(0, "bench"), device)
    net, clients = loops.network(model).to(device), [torch.from_numpy(held[k]).to(device) for k in range(work.cohort)]
    a = torch.randn(SIZE, SIZE, device=device)
    tasks: dict[str, Callable[[], Any]] = {
        "matmul": lambda: list(spread(lambda _: a @ a, range(work.workers), work.workers)),
        "round": a_round,
        "evaluation": lambda: evaluate(model, w, tested, dtype, work.workers),
        "loop": lambda: loops.train(net, clients, exact, int(min(B, work.each)), 0.05),
    }
    for task in tasks.values():
        timed(task, device)
    taken = [{name: timed(task, device) for name, task in tasks.items()} for _ in range(turns)]
    seconds = {name: min(turn[name] for turn in taken) for name in tasks}
    trained = work.cohort * work.each * work.rates
    gflops = trained * model.flops / seconds["round"] / 1e9
    ceiling = work.workers * 2 * SIZE**3 / seconds["matmul"] / 1e9
    return asdict(work) | {
        "batch_size": work.B or "inf",
        "device": provenance.device_name(device),
        "examples_per_second": trained / seconds["round"],
        "gflops": gflops,
        "share_of_matmul": gflops / ceiling,
        "matmul_gflops": ceiling,
        "evaluated_per_second": len(tested.y) * work.rates / seconds["evaluation"],
        "loop_examples_per_second": work.cohort * work.each / seconds["loop"],
        "peak_mb": peak,
    }


def timed(task: Callable[[], Any], device: torch.device) -> float:
    """Seconds that the task takes, the device's work included."""
    began = time.perf_counter()
    task()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def memory(device: torch.device) -> float:
    """The most memory that this process ever held, in MB: on the GPU where it computes there, else its own."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
