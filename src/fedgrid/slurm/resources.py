"""What a cell's job asks of a cluster: minutes of walltime and megabytes of memory, from the plan's estimate.

Both grow with a job's attempts, up to a bound. A job that runs out of its walltime resumes where it stood, so that a
short one costs little; one that is long waits in the queue.
"""

from fedgrid.grid import paper
from fedgrid.grid.cells import Cell, Race
from fedgrid.grid.plan import examples_per_round, training_examples

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
