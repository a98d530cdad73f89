"""Publishes records to MLflow: a run for each cell, with a run below it for each of its learning rates.

A run's last tag is the sha256 of its record: with it the run is *whole*. To publish again creates nothing again. Any
number of processes, on any number of machines, may publish to one server at once, without a lock or a lease:

- A cell's runs have an order: start time, then identifier. A new run starts after all that its publisher sees.
- Whoever sees a whole run deletes all that is older, whole or half-done. What is newer and half-done stays: somebody
  may be at work on it.
- Whoever then sees anything but one whole run of the record makes another, and looks again once it is whole. If it was
  deleted meanwhile, a newer one had come.

So the newest run that was ever whole is never deleted, and of two publishers the one that looks last sees both runs:
when all have ended, each cell has one run, whole, of a record that one of them published. What an interruption leaves,
the cell's next publication removes. (MLflow has no unique names of runs. Its answers are taken to be up to date.)
"""

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # the import reads it
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException

from fedgrid.files import sha256
from fedgrid.grid import artefacts
from fedgrid.grid.cells import Cell
from fedgrid.run import record
from fedgrid.tasks.datasets import DATASETS, DECLARED, RAW, declared
from fedgrid.tracking.retries import REQUESTS, with_retries
from fedgrid.tracking.runs import LoggedRun, run_of_cell, runs_of_rates, text

STORE = "sqlite:///mlflow.db"
BATCH = 1000  # metrics a call, MLflow's most
MOST = 10_000  # runs of a cell, those below them included, in one answer
NOTE = """\
A run is a cell, the runs below it its learning rates, a step a round. **Views → Cells** shows the grid as columns.

`best_accuracy` is the envelope over the rates; where it crosses a target, the tables count the rounds.
"""
# Of the saved view, with their widths in pixels.
PARAMS = {"params.`partition`": 80, "params.`C`": 50, "params.`E`": 50, "params.`B`": 50}
METRICS = {"metrics.`best_accuracy`": 120, "metrics.`best_lr`": 70}


class Counts(NamedTuple):
    """How many cells a publication created, replaced and left as they were."""

    created: int
    replaced: int
    kept: int


@dataclass(frozen=True)
class Entry:
    """What is published of a cell: its record, the artefacts that show it, their figures, the origin of its data."""

    cell: Cell
    path: Path  # of the record
    artefacts: tuple[str, ...]
    figures: tuple[Path, ...]
    origin: str  # a URL, a library or a folder


def publish_artefacts(names: list[str], params: Path, records: Path, figures: Path) -> Counts:
    """Publishes the records that are there of those artefacts' cells; PublicationError if the store does not answer."""
    every = {name: artefacts.artefact(name, params) for name in {*artefacts.artefact_names(params), *names}}
    uses = defaultdict(list)  # by any artefact, not only those asked for
    for name in sorted(every):
        for cell in every[name].cells:
            uses[cell].append(name)
    entries = []
    for cell in dict.fromkeys(cell for name in names for cell in every[name].cells):
        path = record.path(cell.name, records)
        shown = tuple(figure for name in uses[cell] if (figure := figures / f"{name}.png").is_file())
        if path.is_file():
            entries.append(Entry(cell, path, tuple(uses[cell]), shown, origin(cell.dataset, params)))
    return publish(entries, os.environ.get("MLFLOW_TRACKING_URI") or STORE)


def origin(dataset: str, params: Path) -> str:
    """The first source that is declared of the dataset; its folder where nothing is declared, or its files are made."""
    path = params / DECLARED.name
    source = declared(dataset, path).sources[0] if path.is_file() or DATASETS[dataset].declared else None
    return source if isinstance(source, str) else f"{RAW}/{dataset}"


def publish(entries: Iterable[Entry], store: str) -> Counts:
    """Brings the store's runs of those cells to their records; PublicationError where the store does not answer."""
    tasks = defaultdict(list)
    for entry in entries:
        tasks[entry.cell.task].append(entry)
    done: Counter[str] = Counter()
    client = with_retries(store, partial(connected, store))
    for task, group in tasks.items():
        experiment = with_retries(store, partial(experiment_of, client, task, group))
        # the UI lists the latest first: backwards, so that it shows them in the order given
        done.update(with_retries(store, partial(settle, client, experiment, entry)) for entry in reversed(group))
    return Counts(*(done[what] for what in Counts._fields))


def connected(store: str) -> MlflowClient:
    """A client of the store; a local database is laid out."""
    os.environ.update(REQUESTS)
    return MlflowClient(store)


def experiment_of(client: MlflowClient, task: str, group: list[Entry]) -> str:
    """The identifier of the task's experiment, made where it is missing; its saved view has the group's targets."""
    found = client.get_experiment_by_name(f"fedgrid {task}")
    kind = {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": NOTE}
    identifier = str(found.experiment_id if found else client.create_experiment(f"fedgrid {task}", tags=kind))
    if found and found.lifecycle_stage == "deleted":
        client.restore_experiment(identifier)
    targets = sorted({target for entry in group for target in entry.cell.settings.get("targets", ())})
    columns = PARAMS | {f"metrics.`rounds_to_{target}`": 120 for target in targets} | METRICS
    state = {"selectedColumns": list(columns), "columnOrder": list(columns), "columnWidths": columns}
    # So MLflow's UI keeps its views, though no manual says it; one that it could not read it would leave out.
    view = {"name": "Cells", "createdAt": 0, "state": json.dumps(state)}
    client.set_experiment_tag(identifier, "mlflow.sharedViewState.cells", json.dumps(view))
    return identifier


def settle(client: MlflowClient, experiment: str, entry: Entry) -> str:
    """Leaves one whole run of the entry's record in place of the cell's runs: "created", "replaced" or "kept"."""
    digest = sha256(entry.path)
    before = family(client, experiment, entry.cell)
    runs = clear(client, before)
    if whole := sole(runs, digest):
        with unless_outdone(client, whole.info.run_id):
            illustrate(client, whole.info.run_id, whole.data.tags, entry)
        return "kept"
    create(client, experiment, entry, digest, after=max((run.info.start_time for run in runs), default=0))
    clear(client, family(client, experiment, entry.cell))
    return "replaced" if before else "created"


def family(client: MlflowClient, experiment: str, cell: Cell) -> list[Run]:
    """The cell's runs and those below them; in one answer, for pages shift where others delete."""
    return list(client.search_runs([experiment], f"tags.cell = '{cell.name}'", max_results=MOST))


def top(run: Run) -> str:
    """The identifier of the cell's run that it is, or is below."""
    return str(run.data.tags.get("mlflow.parentRunId", run.info.run_id))


def rank(run: Run) -> tuple[int, str]:
    """Its place among the cell's runs."""
    return run.info.start_time, run.info.run_id


def sole(runs: list[Run], digest: str) -> Run | None:
    """The whole run of that record, if there is none beside it; None otherwise."""
    cells = [run for run in runs if top(run) == run.info.run_id]
    return cells[0] if [run.data.tags.get("record_digest") for run in cells] == [digest] else None


def clear(client: MlflowClient, runs: list[Run]) -> list[Run]:
    """Deletes what is older than the newest whole run of a cell, and what is below a deleted one; the runs that stay.

    The cell's runs go before those below them: so one that is whole has all of its own.
    """
    cells = [run for run in runs if top(run) == run.info.run_id]
    newest = max((rank(run) for run in cells if "record_digest" in run.data.tags), default=(0, ""))
    stay = {run.info.run_id for run in cells if rank(run) >= newest}
    for run in sorted(runs, key=lambda run: top(run) != run.info.run_id):
        if top(run) not in stay:
            client.delete_run(run.info.run_id)
    return [run for run in runs if top(run) in stay]


def create(client: MlflowClient, experiment: str, entry: Entry, digest: str, after: int) -> None:
    """A new run of the cell, begun after that time in milliseconds, and one below it for each learning rate."""
    made = record.read(entry.path)
    begun = max(after + 1, round(1000 * time.time()))
    run_id = begin(client, experiment, logged := run_of_cell(entry.cell, made), begun)
    with unless_outdone(client, run_id):
        fill(client, run_id, logged, begun, made)
        client.log_inputs(run_id, [dataset(entry, made)])
        client.log_artifact(run_id, str(entry.path))
        for later, below in enumerate(reversed(runs_of_rates(made, run_id)), begun + 1):
            fill(client, begin(client, experiment, below, later), below, later, made)
        illustrate(client, run_id, {}, entry)
        client.set_tag(run_id, "record_digest", digest)  # last: a run without it is half-done


@contextmanager
def unless_outdone(client: MlflowClient, run_id: str) -> Iterator[None]:
    """A block that ends where another publisher has deleted the run, for a newer one that is whole."""
    try:
        yield
    except MlflowException:
        if client.get_run(run_id).info.lifecycle_stage != "deleted":
            raise


def begin(client: MlflowClient, experiment: str, logged: LoggedRun, begun: int) -> str:
    """A new run with that name and tags; its identifier."""
    tags = {key: text(value) for key, value in logged.tags.items() if value is not None}
    return str(client.create_run(experiment, begun, tags, logged.name).info.run_id)


def fill(client: MlflowClient, run_id: str, logged: LoggedRun, begun: int, made: Mapping[str, Any]) -> None:
    """Brings its params and points to the run and ends it. Its duration is the training's."""
    client.log_batch(run_id, params=[Param(key, text(value)) for key, value in logged.params.items()])
    metrics = [Metric(key, value, begun, step) for key, value, step in logged.points if value is not None]
    for i in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics[i : i + BATCH])
    client.set_terminated(run_id, end_time=begun + round(1000 * made["provenance"].get("seconds", 0)))


def dataset(entry: Entry, made: Mapping[str, Any]) -> DatasetInput:
    """The dataset as MLflow's UI shows one; of its digest, 36 characters are allowed."""
    kind, field = ("http", "url") if "://" in entry.origin else ("local", "uri")
    digest = made["provenance"]["data"][:36]
    data = Dataset(entry.cell.dataset, digest, kind, json.dumps({field: entry.origin}))
    return DatasetInput(data, [InputTag("mlflow.data.context", "training")])


def illustrate(client: MlflowClient, run_id: str, tags: Mapping[str, str], entry: Entry) -> None:
    """Brings the run's artefacts and their figures up to date: they change without the record."""
    figures = ", ".join(f"{figure.name} {sha256(figure)[:12]}" for figure in entry.figures)
    shown = {"artefacts": ", ".join(entry.artefacts), "figures": figures or "none yet"}
    if shown.items() <= tags.items():
        return
    for figure in entry.figures:
        client.log_artifact(run_id, str(figure))
    for key, value in shown.items():
        client.set_tag(run_id, key, value)
