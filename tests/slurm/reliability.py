"""docs/reliability.md, from the trials that the fault tests tell of."""

from collections import defaultdict
from typing import NamedTuple

from tabulate import tabulate

PAGE = """\
# Reliability

What each fault costs: how many finished records it lost, and how many rounds were trained again. A killed job goes on
from its last checkpoint; one is written every {seconds} s in these tests, every minute in real use.

{table}

Each test starts two cells that share one job of a real SLURM (two nodes on one machine, without accounting). It lets
one cell finish while the other trains, and then injects the fault. Too little memory and a cut download strike at the
start, before anything is trained. Snakemake may be started once more where it was killed or gave up; otherwise
everything must end by itself. Then both records must be those of an undisturbed run, byte for byte except for the
seconds they took. The finished cell's record must be the very same file, and no half-written file may lie anywhere.

Written by `pytest tests/slurm --tries {tries} --reliability docs/reliability.md` from what its tests saw.
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
