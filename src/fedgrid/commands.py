"""What each verb of `python -m fedgrid` does. Files are read and written here, and lines printed."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedgrid import numerics
from fedgrid.grid import artefacts
from fedgrid.grid.artefacts import Artefact
from fedgrid.run import record

if TYPE_CHECKING:
    from fedgrid.audit import Campaign, Finding
    from fedgrid.grid.queue import Waiting

FIGURES = Path("results/figures")
AUDITS = Path("results/audit")


def new(names: list[str]) -> None:
    """Write an example of your own: algorithm, partition, dataset or model NAME, or campaign DIR."""
    from fedgrid import templates

    kind, name = names
    if kind == "campaign":
        texts, then = templates.campaign(Path(name)), [f"cd {name}", "snakemake --cores all"]
    elif kind in templates.KINDS:
        texts, then = templates.extension(kind, name), [f"pytest tests/test_{name}.py", f"snakemake --cores all {name}"]
    else:
        raise ValueError(f"unknown kind {kind!r}; choose from {', '.join([*templates.KINDS, 'campaign'])}")
    templates.write(texts)
    print(*texts, sep="\n")
    print("Next:", " && ".join(then))


def fetch(names: list[str]) -> None:
    """Download datasets to data/raw, each file checked against its sha256."""
    from fedgrid.tasks.fetch import fetch as bring

    artefacts.extend_all()
    for name in names:
        for path in bring(name):
            print(path)


def encode(names: list[str]) -> None:
    """Encode downloaded corpora as numbered words, once, in data/encoded."""
    from fedgrid.run import job
    from fedgrid.tasks.datasets import DATASETS, words

    readers = {name: info.posts for name, info in DATASETS.items() if info.posts}
    for corpus in names:
        if corpus not in readers:
            raise ValueError(f"unknown corpus {corpus!r}; choose from {', '.join(readers)}")
    for corpus in names:
        raw, encoded = job.RAW / corpus, job.ENCODED / corpus
        try:
            summary = words.encode(readers[corpus](raw), encoded, str(raw))
        except FileNotFoundError as error:
            remedy = f"fetch it with `python -m fedgrid fetch {corpus}`"
            raise ValueError(f"{error.filename}: no such data; {remedy}") from error
        print(f"{encoded}: {summary}")


def partition(names: list[str]) -> None:
    """Divide examples among clients: draw partitions, such as mnist-iid-K100-s0, into data/partitions."""
    from fedgrid.run import job

    cells = {cell.partition_name: cell for cell in artefacts.all_cells().values()}
    for cell in [artefacts.known(name, cells, "partition") for name in names]:
        name = cell.partition_name
        dataset = job.load_data(cell.dataset)
        drawn = job.draw_partition(dataset, cell.partition, cell.K, cell.seed)
        job.write_partition(drawn, dataset, job.PARTITIONS / f"{name}.npz")


def run(names: list[str]) -> None:
    """Train cells and write their records; a stopped cell resumes, a record that is there is kept."""
    from fedgrid.engine import ranks
    from fedgrid.run import job

    cells = artefacts.all_cells()
    asked = [artefacts.known(name, cells, "cell") for name in names]
    portable = [cell for cell in asked if cell.numerics == numerics.PORTABLE]
    native = [cell for cell in asked if cell not in portable]
    if native and portable and ranks.launched()[1] > 1:  # which meet once, and not again when they begin anew
        raise ValueError("several processes run cells of native and of portable numerics apart: give each a command")
    for path in job.settled(native):
        print(path)
    if portable and not numerics.here(numerics.PORTABLE):
        numerics.become(numerics.PORTABLE, ["fedgrid", "run", *(cell.name for cell in portable)])
    for path in job.settled(portable):
        print(path)


def key(names: list[str]) -> None:
    """Print your public key, for results/keys/SITE.pem; your private one signs your records, and is made if need be."""
    from fedgrid.run import keys

    place = keys.make()
    signing = keys.private()
    assert signing is not None
    public = signing.public_key()
    print(keys.pem(public), end="")
    print(f"{place}: the private key of this one, {keys.identity(public)}; keep it to yourself", file=sys.stderr)


def plan(names: list[str]) -> None:
    """Estimate what each cell of a table or figure costs on this machine, before anything runs."""
    from fedgrid.grid import plan as plans
    from fedgrid.run import pace

    for artefact in chosen(names):
        done = record.existing([cell.name for cell in artefact.cells])
        costs = plans.plan(artefact, done, plans.training_examples, pace.pace)
        print(plans.text(artefact, costs, *pace.computers()), end="\n\n")


def plan_next(names: list[str]) -> None:
    """List the cells that were not run, in the order in which they add most to tables and figures per hour."""
    from fedgrid.grid import queue
    from fedgrid.run import pace

    print(queue.text(waiting(names), pace.computers()[1]))


def fill(names: list[str]) -> None:
    """Train what `plan --next` lists, in its order, for so many hours; what was begun resumes. Nothing is committed."""
    from fedgrid.run.fill import fill as train

    hours = positive(names[0])
    cells = [one.cost.cell.name for one in waiting([])]
    failed = train(cells, hours * 3600, lambda name: [sys.executable, "-m", "fedgrid", "run", name])
    if failed:
        raise ValueError(f"not trained: {', '.join(failed)}; what each says stands above")


def positive(hours: str) -> float:
    """That number of hours; ValueError where it is none, or not above zero."""
    try:
        number = float(hours)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"HOURS is {hours!r}; it must be a number above 0")
    return number


def waiting(names: list[str]) -> "list[Waiting]":
    """The cells of those artefacts, or of the paper's, that have no record, what adds most per hour first."""
    from fedgrid.grid import plan as plans
    from fedgrid.grid.queue import queue
    from fedgrid.run import pace

    found = chosen(names)
    return queue(found, records(found), plans.training_examples, pace.pace)


def table(names: list[str]) -> None:
    """Write tables from the records that exist; the rest says "not run"."""
    from fedgrid.results import tables

    make(names, "table", tables.build)


def figure(names: list[str]) -> None:
    """Draw figures from the records that exist."""
    from fedgrid.results import figures

    make(names, "figure", figures.build)


def make(names: list[str], what: str, build: Callable[..., dict[Path, Any]]) -> None:
    """Writes the files that `build` makes of each artefact that declares such a layout."""
    from fedgrid import files

    for artefact in chosen(names):
        if getattr(artefact, what):
            made = build(artefact, records([artefact]))
            files.write_all(made)
            print(*made, sep="\n")


def metrics(names: list[str]) -> None:
    """Write results/metrics.json, for `dvc metrics diff`, from the records that exist."""
    from fedgrid import files
    from fedgrid.results import summary

    found = chosen(names)
    files.write(summary.METRICS, summary.metrics(found, records(found)))


def readme(names: list[str]) -> None:
    """Write the tables in README.md and docs/ again: of records, replays, and of what params files may say."""
    from fedgrid import files
    from fedgrid.results import reference, summary

    found, proof = chosen(names), replayed()
    first, *others = summary.DOCUMENTS
    for path in [first, *filter(Path.is_file, others)]:
        files.write(path, summary.readme(path.read_text(), found, records(found), proof))
    if reference.PAGE.is_file():
        files.write(reference.PAGE, reference.page(reference.PAGE.read_text(), files.mapping(reference.SCHEMA)))


def claims(names: list[str]) -> None:
    """Write results/README.md: each claim of the paper, and whether the records bear it out."""
    from fedgrid import files
    from fedgrid.results import summary

    found = chosen(names)
    files.write(summary.CLAIMS, summary.report(found, records(found)))


def tasks(names: list[str]) -> None:
    """List the tasks: parameters, clients, training examples, targets and dataset of each."""
    from fedgrid.grid.plan import training_examples
    from fedgrid.results import summary

    declared = [artefacts.artefact(name) for name in artefacts.artefact_names()]
    print(summary.tasks(declared, training_examples))


def publish(names: list[str]) -> None:
    """Publish records to MLflow (runs already there are kept): ./mlflow.db, or the server MLFLOW_TRACKING_URI."""
    from fedgrid.run import locks
    from fedgrid.tracking import publish as publishing

    # one publisher of a checkout at a time: two would lay out a fresh mlflow.db together
    with locks.alone(Path("mlflow.db.lock")):
        counts = publishing.publish_artefacts(names or artefacts.main_names(), artefacts.PARAMS, record.CELLS, FIGURES)
    print(f"MLflow: {counts.created} runs created, {counts.replaced} replaced, {counts.kept} kept")


def audit(names: list[str]) -> None:
    """Check records, tables and figures against what params/ declares; exit status 1 if anything is wrong."""
    from fedgrid import audit as audits

    judged = campaign(names)
    findings = audits.audit(judged)
    print(audits.text(findings, len(judged.records)))
    conclude(findings, len(judged.records), judged.name)


def replay(names: list[str]) -> None:
    """Train the first rounds of a few cells again and compare them with their records; exit status 1 if one differs."""
    from fedgrid import audit as audits
    from fedgrid.audit import replay as replays

    judged = campaign(names)
    findings, sample = [*audits.damaged(judged), *replays.left_out(judged)], replays.sample(judged)
    for name in sample:
        print(name, file=sys.stderr, flush=True)
        findings.append(replays.replay(judged, name))
    print(audits.lines(findings, f"replay: {len(sample)} of {len(judged.records)} records"))
    conclude(findings, len(sample), f"{judged.name}-replay")


def replay_all(names: list[str]) -> None:
    """Train the first rounds of every record that this machine can; keep in results/replays whether they agree."""
    from fedgrid import files
    from fedgrid.audit import replay as replaying
    from fedgrid.results import replays

    judged = campaign(names)
    place, among = replays.path(judged.seal), replaying.affordable(judged)
    for name in among:
        known = replays.read(place)
        if replaying.kept(judged, name, known):
            continue
        print(name, file=sys.stderr, flush=True)
        try:
            new = replaying.proof(judged, name)
        except ValueError as error:
            print(f"{name}: not tried: {error}")
            continue
        files.write(place, replays.text(replays.added(known, new)))
        print(f"{name}: {new.found}{replays.measured(new)}", flush=True)
    found = replays.found(judged.cells, judged.records, replays.read(place))
    print(f"{place}: {replays.summary(len(judged.records), found.values())}")


def conclude(findings: "list[Finding]", records: int, name: str) -> None:
    """Keeps the findings as results/audit/<name>.json; exit status 1 if one is more than a note."""
    from fedgrid import audit as audits
    from fedgrid import files

    files.write(AUDITS / f"{name}.json", audits.as_json(findings, records))
    if any(not finding.note for finding in findings):
        sys.exit(1)


def manifest(names: list[str]) -> None:
    """Seal records: write the sha256 of each to results/manifests; refused if a sealed record was altered."""
    from fedgrid import files
    from fedgrid.audit import manifest as manifests

    sealed = campaign(names)
    place = manifests.path(sealed.seal)
    if sealed.name != sealed.seal:
        raise ValueError(f"{' '.join(names)}: sealed in {place} with others, by `{sealed.sealing}`")
    files.write(place, manifests.seal(place, map(sealed.path, sealed.cells)))
    print(place)


def report(names: list[str]) -> None:
    """Write results/report.html: one page with every number and where it comes from."""
    from fedgrid import audit as audits
    from fedgrid import files
    from fedgrid.audit import report as reports

    found = chosen(names)
    findings = audits.audit(campaign(names), audits.COMMITTED)
    path = Path(f"results/{'-'.join(['report', *names])}.html")
    files.write(path, reports.page(found, records(found), findings))
    print(path)


def explain(names: list[str]) -> None:
    """Show where a number comes from: name a table or figure and its settings, such as table4 "E=10 B=10 IID"."""
    from fedgrid.audit import explain as explaining

    artefact = artefacts.artefact(names[0])
    print(explaining.explain(artefact, records([artefact]), " ".join(names[1:])))


def diff(names: list[str]) -> None:
    """Show what moved between two git revisions: numbers, settings, data, code."""
    from fedgrid.audit.diff import diff as compare
    from fedgrid.audit.revision import revision

    print(compare(*map(revision, names)))


def chosen(names: list[str]) -> list[Artefact]:
    """The artefacts of those names; where none is named, the paper's or, in a folder without any of it, all."""
    return [artefacts.artefact(name) for name in names or artefacts.main_names()]


def campaign(names: list[str]) -> "Campaign":
    """The campaign of those artefacts, with the names of all declared cells."""
    from fedgrid.audit import Campaign

    declared = frozenset(artefacts.all_cells())
    return Campaign(tuple(chosen(names)), declared=declared, name="-".join(names) or artefacts.main_name())


def replayed() -> str:
    """How many of the paper's records the engine as it is has made or run again."""
    from fedgrid.results import replays

    judged = chosen([])
    there = records(judged)
    cells = {cell.name: cell for artefact in judged for cell in artefact.cells}
    found = replays.found(cells, there, replays.read(replays.path("paper")))
    return replays.summary(len(there), found.values())


def records(among: list[Artefact]) -> dict[str, dict[str, Any]]:
    """The records that exist of the artefacts' cells."""
    return record.existing([cell.name for artefact in among for cell in artefact.cells])
