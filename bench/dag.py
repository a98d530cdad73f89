"""`python -m bench.dag`: what Snakemake takes to plan the whole paper over several seeds, and to find it finished.

The project is copied to a temporary folder, without data and results. There every file that a rule would make is an
empty one: nothing is fetched or trained.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import yaml
from tabulate import tabulate

from fedgrid.grid.artefacts import NOT_ARTEFACTS

ROOT = Path(__file__).parents[1]
COPIED = ("Snakefile", "workflow", "profiles", "params")
SEEDS = (3, 6)  # the second for over 1,000 jobs
FINISHED = "Nothing to be done"


class Took(NamedTuple):
    """A call of Snakemake: what it printed, the seconds that passed, and those that its processes computed."""

    said: str
    wall: float
    cpu: float


def snakemake(folder: Path, *arguments: str) -> Took:
    """A call of Snakemake in that folder; RuntimeError with its words where it fails."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "snakemake", "--cores", "all", *arguments]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stdout)
    return Took(done.stdout, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def copy(folder: Path, seeds: int) -> None:
    """Copies the project's declarations and rules, every cell declared with seeds 0, 1, … instead of its own."""
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    for place in (folder / "params").glob("*.yaml"):
        declared = yaml.safe_load(place.read_text())
        if place.stem not in NOT_ARTEFACTS and "grid" in declared:
            for row in declared["grid"]:
                row["seed"] = list(range(seeds))
            place.write_text(yaml.safe_dump(declared, sort_keys=False))


def finish(folder: Path) -> None:
    """Makes every file that a rule would make, of one age, and has Snakemake keep its notes on each."""
    listed = snakemake(folder, "--summary").said.splitlines()
    heads = next(i for i, line in enumerate(listed) if line.startswith("output_file\t"))
    for line in listed[heads + 1 :]:
        place = folder / line.partition("\t")[0]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        os.utime(place, (0, 0))
    snakemake(folder, "--touch", "--forceall", "--quiet", "all")


def measure(seeds: int) -> list[list[str]]:
    """Rows of the table: a dry run with nothing made, then a call with everything made."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder, seeds)
        planned = snakemake(folder, "--dry-run")
        finish(folder)
        found = snakemake(folder)
    if FINISHED not in found.said:
        raise RuntimeError(found.said)
    jobs = re.findall(r"^total +(\d+)$", planned.said, re.MULTILINE)[-1]
    return [row(seeds, jobs, "dry run", planned), row(seeds, jobs, "finished, called again", found)]


def row(seeds: int, jobs: str, what: str, took: Took) -> list[str]:
    """A row of the table."""
    return [str(seeds), f"{int(jobs):,}", what, f"{took.wall:.1f}", f"{took.cpu:.1f}"]


def main(every: Sequence[int] = SEEDS) -> None:
    """Prints the table."""
    rows = [row for seeds in every for row in measure(seeds)]
    headers = ["seeds", "jobs", "Snakemake", "seconds", "of CPU"]
    print(tabulate(rows, headers, "github", disable_numparse=True))


if __name__ == "__main__":
    main()
