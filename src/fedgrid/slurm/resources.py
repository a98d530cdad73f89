"""The minutes of walltime and megabytes of memory that a cell's job asks for, from the plan's estimate.

Both grow with a job's attempts, up to a bound. A short walltime costs little, since a job that runs out of it resumes
where it stood; a long one waits in the queue.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fedgrid.grid import paper
from fedgrid.grid.cells import Cell, Race
from fedgrid.grid.plan import examples_per_round, training_examples
from fedgrid.numerics import PORTABLE

# Floating-point operations per second of training. One thread: about the least of the committed records, evaluation
# included. A GPU: on the safe side; an H100 trains the CNN at 4e12 to 20e12, the character LSTM at 3e12 to 12e12.
SPEED = {"cpu": 20e9, "gpu": 500e9}
MARGIN = 2  # of the minutes, over those expected
SHORT = 10  # minutes, which every job may take; cells that ask for no more are packed
LONGEST = 24 * 60  # minutes that a job asks for at most, unless told: what most partitions allow
GROWTH = 3  # times the memory of the first attempt: more than that, no estimate is wrong by


def minutes(cell: Cell, gpus: int, attempt: int, longest: int = LONGEST) -> int:
    """Minutes of walltime for the cell's job, from SHORT to the longest that are granted."""
    train = training_examples(cell.dataset)
    horizon = cell.rounds if isinstance(cell, Race) else 1
    rounds = min(paper.printed_rounds(cell) or horizon, horizon)
    flops = rounds * examples_per_round(cell, train) * cell.model.flops
    asked = MARGIN * attempt * flops / SPEED["gpu" if gpus else "cpu"] / 60
    return round(min(max(asked, SHORT), longest))


def megabytes(cell: Cell, gpus: int, attempt: int) -> int:
    """Megabytes of a node's memory for the cell's job: Python with its data, and the weights of all learning rates.

    A race keeps some ten copies of each rate's weights: the server's, its sums, a client's, a checkpoint's. The most
    that was measured is two thirds of what is asked for (docs/cluster.md).
    """
    weights = 40 * cell.model.parameters * len(cell.lr) / 1e6
    return round(min(attempt, GROWTH) * (1500 + weights + 4000 * gpus))


@dataclass(frozen=True)
class Cluster:
    """What the jobs of a run ask of its cluster.

    longest: minutes that a job asks for at most. gpu_tasks: the tasks whose cells take a GPU, all where it is None.
    ranks: processes that share a long cell, each on a GPU of its own where the cell takes one.
    """

    longest: int
    gpu_tasks: Collection[str] | None
    ranks: int = 1

    def gpus(self, cell: Cell) -> int:
        """How many GPUs a process of the cell's takes, where there are any; portable numbers are computed on a CPU."""
        return int(cell.numerics != PORTABLE and (self.gpu_tasks is None or cell.task in self.gpu_tasks))

    def minutes(self, cell: Cell, attempt: int, packs: Mapping[str, int]) -> int:
        """Minutes that the cell's job asks for; the cells of a pack, one after another, get no more than one cell.

        packs: how many cells share a job, by the pack's name.
        """
        share = self.longest // packs.get(self.pack(cell) or "", 1)
        return minutes(cell, self.gpus(cell), attempt, max(share, 1))

    def megabytes(self, cell: Cell, attempt: int) -> int:
        """Megabytes of a node's memory that the cell's job asks for: all its processes may be on one."""
        return (self.tasks(cell) or 1) * megabytes(cell, self.gpus(cell), attempt)

    def tasks(self, cell: Cell) -> int | None:
        """How many processes share the cell's job; None where it is one's, as a short cell's always is."""
        return None if self.ranks == 1 or self.pack(cell) else self.ranks

    def start(self, cell: Cell, threads: int) -> str:
        """What starts each process of the cell's job: Python, for several by srun in a SLURM job, else by torchrun.

        Both end all processes as soon as one fails.
        """
        if not (tasks := self.tasks(cell)):
            return "python"
        if "SLURM_JOB_ID" in os.environ:
            return f"srun --kill-on-bad-exit=1 --ntasks={tasks} --cpus-per-task={threads} python"
        return f"torchrun --standalone --nproc-per-node={tasks}"

    def pack(self, cell: Cell) -> str | None:
        """The group of short cells that may share one job; None of a long cell."""
        if minutes(cell, self.gpus(cell), 1) > SHORT:
            return None
        return "short_gpu" if self.gpus(cell) else "short"


def cluster(config: Mapping[str, Any]) -> Cluster:
    """The cluster of that configuration of Snakemake's; ValueError where it is none."""
    longest, ranks = config.get("longest", LONGEST), config.get("ranks", 1)
    for name, value, what in (("longest", longest, "minutes"), ("ranks", ranks, "processes")):
        if type(value) is not int or value < 1:
            raise ValueError(f"profiles/slurm/partitions.yaml: {name} is {value!r}; it must be {what}, from 1")
    return Cluster(longest, config.get("gpu_tasks"), ranks)
