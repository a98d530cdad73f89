"""`python -m bench`: a table of rounds per workload and device; `--json FILE` writes the same as data.

Each workload has a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from bench.rounds import BF16, CPU, GPU, Workload, measure
from fedgrid.engine.precision import bf16_is_slow
from fedgrid.numerics import NATIVE, NUMERICS, become, here

COLUMNS = {
    "model": "model",
    "device": "device",
    "clients": "of clients",
    "cohort": "cohort",
    "batch_size": "B",
    "precision": "precision",
    "rates": "rates",
    "workers": "threads",
    "examples_per_second": "examples/s",
    "gflops": "GFLOP/s",
    "share_of_matmul": "of matmul",
    "loop_examples_per_second": "plain loop, examples/s",
    "evaluated_per_second": "evaluated/s",
    "peak_mb": "peak MB",
}


def workloads(numerics: str) -> tuple[list[tuple[Workload, torch.device]], str]:
    """What is measured here, each on its device, and why no bf16 is on the CPU, where none is."""
    left_out = bf16_is_slow() if numerics == NATIVE else "portable numerics are float32, not bf16"
    todo = [(work, torch.device("cpu")) for work in (CPU if left_out else [*CPU, *BF16])]
    if torch.cuda.is_available():
        todo += [(work, torch.device("cuda")) for work in GPU]
    return todo, left_out


def row(measured: dict[str, Any]) -> list[str]:
    """The measured row as a person reads it."""
    shown = {key: f"{value:,.0f}" if isinstance(value, int | float) else value for key, value in measured.items()}
    shown["share_of_matmul"] = f"{measured['share_of_matmul']:.0%}"
    return [shown[key] for key in COLUMNS]


def main() -> None:
    """Measures each workload in a process of its own, prints the table and writes the file."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as data, too")
    parser.add_argument("--numerics", choices=NUMERICS, default=NATIVE, help="of all workloads")
    asked = parser.parse_args()
    if not here(asked.numerics):
        become(asked.numerics, ["bench", *sys.argv[1:]])
    todo, left_out = workloads(asked.numerics)
    measured = []
    for work, device in todo:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            measured.append(alone.submit(measure, work, device, numerics=asked.numerics).result())
        print(f"{len(measured)} of {len(todo)} measured", file=sys.stderr)
    print(tabulate([row(one) for one in measured], list(COLUMNS.values()), "github", disable_numparse=True))
    if left_out:
        print(f"\n{left_out}; no row of a CPU has it")
    if asked.json:
        asked.json.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
