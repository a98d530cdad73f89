"""`python -m fedgrid <verb>`: what the rules call and a person can paste."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from fedgrid import artefacts, record


def fetch(names: list[str]) -> None:
    """Brings the datasets' files to data/raw, each checked against its sha256."""
    from fedgrid.fetch import fetch as bring

    for name in names:
        for path in bring(name):
            print(path)


def partition(names: list[str]) -> None:
    """Draws the partitions of those names, such as mnist-iid-K100-s0, into data/partitions."""
    from fedgrid import job

    cells = {cell.partition_name: cell for cell in artefacts.all_cells().values()}
    for name in names:
        cell = known(name, cells, "partition")
        dataset = job.load_data(cell.dataset)
        drawn = job.draw_partition(dataset, cell.partition, cell.K, cell.seed)
        job.write_partition(drawn, dataset, job.PARTITIONS / f"{name}.npz")


def run(names: list[str]) -> None:
    """Runs the cells of those names, begun or resumed, and writes their records."""
    from fedgrid import job

    cells = artefacts.all_cells()
    for name in names:
        print(record.write(job.run(known(name, cells, "cell"))))
        (job.CHECKPOINTS / f"{name}.npz").unlink(missing_ok=True)


def known(name: str, among: dict[str, Any], what: str) -> Any:
    """The one of that name; ValueError where none is declared."""
    if name not in among:
        raise ValueError(f"unknown {what} {name!r}; params/ declares {len(among)}, which `fedgrid plan` lists")
    return among[name]


VERBS: dict[str, tuple[Callable[[list[str]], None], str]] = {
    "fetch": (fetch, "DATASET"),
    "partition": (partition, "PARTITION"),
    "run": (run, "CELL"),
}


def main(arguments: list[str] | None = None) -> None:
    """Does what the verb says; an error that the user can mend is one line on stderr and exit status 1."""
    parser = argparse.ArgumentParser(prog="fedgrid", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, (function, operand) in VERBS.items():
        summary = (function.__doc__ or "").splitlines()[0]
        verbs.add_parser(verb, help=summary, description=summary).add_argument("names", nargs="+", metavar=operand)
    chosen = parser.parse_args(arguments)
    try:
        VERBS[chosen.verb][0](chosen.names)
    except (ValueError, OSError) as error:
        sys.exit(f"fedgrid {chosen.verb}: {error}")


if __name__ == "__main__":
    main()
