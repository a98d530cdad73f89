"""docs/reliability.md, from the trials that the fault tests tell of."""

from collections import defaultdict
from typing import NamedTuple

from tabulate import tabulate

PAGE = """\
# Reliability

Written by `pytest tests/slurm --tries {tries} --reliability docs/reliability.md` from what its tests saw. Each starts a
campaign of two cells, which share one job of a real SLURM (two nodes on one machine, without accounting), and lets one
cell finish and the other train on. Then the fault comes. The campaign must end by itself, or be started once more where
Snakemake was killed or gave up; then both records must be those of an undisturbed campaign, byte for byte but for the
seconds they took, the finished cell's record the very same file, and no half-written file may lie anywhere.
Too little memory and a cut download strike at the start, before anything is trained.

{table}

A checkpoint is written every {seconds} s here, every minute in earnest; what came after it is trained again.
"""
HEADERS = ["fault", "how it is injected", "tried", "records lost", "rounds trained again, at most"]
CHECKPOINT_SECONDS = 1


class Trial(NamedTuple):
    """One fault, injected once."""

    fault: str
    injected: str
    lost: int  # records of finished cells
    again: int | None  # rounds that were trained twice; none where nothing was trained


def page(trials):
    """The page, a row for each fault in the order of its tests."""
    rows = defaultdict(list)
    for trial in trials:
        rows[trial.fault, trial.injected].append(trial)
    table = [
        [*what, len(group), sum(one.lost for one in group), max((one.again or 0 for one in group), default=0)]
        for what, group in rows.items()
    ]
    tries = max(len(group) for group in rows.values())
    table = tabulate(table, HEADERS, tablefmt="pipe", disable_numparse=True)
    return PAGE.format(table=table, tries=tries, seconds=CHECKPOINT_SECONDS)
