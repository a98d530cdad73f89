"""`python -m fedgrid <verb>`: what the rules call and a person can paste."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from fedgrid import artefacts, record
from fedgrid.artefacts import Artefact

FIGURES = Path("results/figures")
AUDITS = Path("results/audit")


def fetch(names: list[str]) -> None:
    """Bring datasets' files to data/raw, each checked against its sha256."""
    from fedgrid.fetch import fetch as bring

    for name in names:
        for path in bring(name):
            print(path)


def encode(names: list[str]) -> None:
    """Make words of fetched corpora, once, in data/encoded."""
    from fedgrid import job
    from fedgrid.datasets import corpora, words

    for corpus in names:
        if corpus not in corpora.READERS:
            raise ValueError(f"unknown corpus {corpus!r}; choose from {', '.join(corpora.READERS)}")
    for corpus in names:
        raw, encoded = job.RAW / corpus, job.ENCODED / corpus
        try:
            summary = words.encode(corpora.READERS[corpus](raw), encoded, str(raw))
        except FileNotFoundError as error:
            remedy = f"fetch it with `python -m fedgrid fetch {corpus}`"
            raise ValueError(f"{error.filename}: no such data; {remedy}") from error
        print(f"{encoded}: {summary}")


def partition(names: list[str]) -> None:
    """Draw partitions, such as mnist-iid-K100-s0, into data/partitions."""
    from fedgrid import job

    cells = {cell.partition_name: cell for cell in artefacts.all_cells().values()}
    for cell in [known(name, cells, "partition") for name in names]:
        name = cell.partition_name
        dataset = job.load_data(cell.dataset)
        drawn = job.draw_partition(dataset, cell.partition, cell.K, cell.seed)
        job.write_partition(drawn, dataset, job.PARTITIONS / f"{name}.npz")


def run(names: list[str]) -> None:
    """Run cells, begun or resumed, and write their records."""
    from fedgrid import job

    cells = artefacts.all_cells()
    for cell in [known(name, cells, "cell") for name in names]:
        print(record.write(job.run(cell)))
        (job.CHECKPOINTS / f"{cell.name}.npz").unlink(missing_ok=True)


def plan(names: list[str]) -> None:
    """List the cells of artefacts with what they cost on this machine."""
    from functools import cache

    from fedgrid import calibrate
    from fedgrid import plan as plans

    train = cache(plans.training_examples)
    paces: dict[Any, float] = {}

    def pace(cell: artefacts.Cell) -> float:
        work = cell.task, cell.B, len(cell.lr), cell.K
        if work not in paces:
            paces[work] = calibrate.pace(cell, train(cell.dataset))
        return paces[work]

    for artefact in chosen(names):
        done = record.existing([cell.name for cell in artefact.cells])
        print(plans.text(artefact, plans.plan(artefact, done, train, pace), os.cpu_count() or 1), end="\n\n")


def table(names: list[str]) -> None:
    """Make the tables of artefacts from the records that exist."""
    from fedgrid import tables

    make(names, "table", tables.build)


def figure(names: list[str]) -> None:
    """Make the figures of artefacts from the records that exist."""
    from fedgrid import figures

    make(names, "figure", figures.build)


def make(names: list[str], what: str, build: Callable[..., dict[Path, Any]]) -> None:
    """Writes the files that `build` makes of each artefact that declares such a layout."""
    from fedgrid import files

    for artefact in chosen(names):
        if getattr(artefact, what):
            for path, content in build(artefact, records([artefact])).items():
                files.write(path, content)
                print(path)


def metrics(names: list[str]) -> None:
    """Write results/metrics.json, which `dvc metrics diff` compares, from the records that exist."""
    from fedgrid import files, summary

    found = chosen(names)
    files.write(summary.METRICS, summary.metrics(found, records(found)))


def readme(names: list[str]) -> None:
    """Write the tables in README.md and docs/ anew from the records that exist."""
    from fedgrid import files, summary

    found = chosen(names)
    for path in summary.DOCUMENTS:
        files.write(path, summary.readme(path.read_text(), found, records(found)))


def claims(names: list[str]) -> None:
    """Write results/README.md, the paper's claims and whether they hold, from the records that exist."""
    from fedgrid import files, summary

    found = chosen(names)
    files.write(summary.CLAIMS, summary.report(found, records(found)))


def tasks(names: list[str]) -> None:
    """List what is learnt: models, clients, training examples, targets."""
    from fedgrid import summary
    from fedgrid.plan import training_examples

    declared = [artefacts.artefact(name) for name in artefacts.artefact_names()]
    print(summary.tasks(declared, training_examples))


def publish(names: list[str]) -> None:
    """Show artefacts' records in MLflow, each once: ./mlflow.db, or the server that MLFLOW_TRACKING_URI names."""
    from fedgrid import publish as publishing

    counts = publishing.publish_artefacts(names or paper_names(), artefacts.PARAMS, record.CELLS, FIGURES)
    print(f"MLflow: {counts.created} runs created, {counts.replaced} replaced, {counts.kept} kept")


def audit(names: list[str]) -> None:
    """Check records, tables and figures of artefacts against what is declared; exit status 1 where a finding stands."""
    from fedgrid import audit as audits
    from fedgrid import files

    declared = frozenset(artefacts.all_cells())
    campaign = audits.Campaign(tuple(chosen(names)), declared=declared)
    findings = audits.audit(campaign)
    print(audits.text(findings, len(campaign.records)))
    files.write(AUDITS / f"{'-'.join(names) or 'paper'}.json", audits.as_json(findings, len(campaign.records)))
    if any(not finding.note for finding in findings):
        sys.exit(1)


def paper_names() -> list[str]:
    """The artefacts of the paper, which every verb takes where none is named."""
    return [name for name in artefacts.artefact_names() if artefacts.artefact(name).paper]


def chosen(names: list[str]) -> list[Artefact]:
    """The artefacts of those names."""
    return [artefacts.artefact(name) for name in names or paper_names()]


def records(among: list[Artefact]) -> dict[str, dict[str, Any]]:
    """The records that exist of the artefacts' cells."""
    return record.existing([cell.name for artefact in among for cell in artefact.cells])


def known(name: str, among: dict[str, Any], what: str) -> Any:
    """The one of that name; ValueError where none is declared."""
    if name not in among:
        raise ValueError(f"unknown {what} {name!r}; params/ declares {len(among)}, which `fedgrid plan` lists")
    return among[name]


# Each verb: what it does, what its operands are, none where it takes none, and whether it can do without any.
VERBS: dict[str, tuple[Callable[[list[str]], None], str, str]] = {
    "tasks": (tasks, "", ""),
    "fetch": (fetch, "DATASET", "+"),
    "encode": (encode, "CORPUS", "+"),
    "partition": (partition, "PARTITION", "+"),
    "plan": (plan, "ARTEFACT", "*"),
    "run": (run, "CELL", "+"),
    "table": (table, "ARTEFACT", "*"),
    "figure": (figure, "ARTEFACT", "*"),
    "metrics": (metrics, "ARTEFACT", "*"),
    "readme": (readme, "ARTEFACT", "*"),
    "claims": (claims, "", ""),
    "publish": (publish, "ARTEFACT", "*"),
    "audit": (audit, "ARTEFACT", "*"),
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors, like all others, are one line and exit status 1."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and ends."""
        sys.exit(f"{self.prog}: {message}; see {self.prog} --help")


def main(arguments: list[str] | None = None) -> None:
    """Does what the verb says; an error that the user can mend is one line on stderr and exit status 1."""
    parser = Parser(prog="fedgrid", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, (function, operand, count) in VERBS.items():
        summary = (function.__doc__ or "").splitlines()[0]
        asking = verbs.add_parser(verb, help=summary, description=summary)
        if operand:
            asking.add_argument("names", nargs=count, metavar=operand)
    asked = parser.parse_args(arguments, argparse.Namespace(names=[]))
    try:
        VERBS[asked.verb][0](asked.names)
    except (ValueError, OSError) as error:
        sys.exit(f"fedgrid {asked.verb}: {error}")


if __name__ == "__main__":
    main()
