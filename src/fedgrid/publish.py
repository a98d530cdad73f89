"""MLflow: every cell is a run, its learning rates are the runs below it. It shows records and makes no number.

To publish again creates nothing again: a run's last tag is the sha256 of its record. A run with another record's is
replaced, and so is one that lacks it, which an interrupted publication left. One process publishes.
"""

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # the import reads it
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from fedgrid import artefacts, record
from fedgrid.cells import Cell
from fedgrid.files import sha256
from fedgrid.sheets import Sheet, cell_sheet, rate_sheets, text

STORE = "sqlite:///mlflow.db"
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}  # MLflow's own: 7; 120 seconds
BATCH = 1000  # metrics a call, MLflow's most
PAGE = 1000  # runs a call
REMEDY = "start the server that MLFLOW_TRACKING_URI names, or delete a damaged mlflow.db, and publish again"
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
    """Publishes the records that are there of those artefacts' cells; ValueError where the store does not answer."""
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
    """The first source that <params>/datasets.yaml gives for the dataset; its folder where there is none."""
    path = params / "datasets.yaml"
    declared = yaml.safe_load(path.read_text()) if path.is_file() else {}
    return str(declared.get(dataset, {}).get("sources", [f"data/raw/{dataset}"])[0])


def publish(entries: Iterable[Entry], store: str) -> Counts:
    """Brings the store's runs of those cells to their records; ValueError where the store does not answer."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    tasks = defaultdict(list)
    for entry in entries:
        tasks[entry.cell.task].append(entry)
    done: Counter[str] = Counter()
    try:
        client = MlflowClient(store)
        for task, group in tasks.items():
            experiment = experiment_of(client, task, group)
            runs = defaultdict(list)
            for run in search(client, experiment, "tags.level = 'cell'"):
                runs[run.data.tags["cell"]].append(run)
            # the UI lists the latest first: backwards, so that it shows them in the order given
            done.update(settle(client, experiment, entry, runs[entry.cell.name]) for entry in reversed(group))
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        reason = str(error).strip().splitlines()[0].split("(Caused by ")[-1]
        said = re.sub(r"//[^/@\s]*@", "//", f"{store}: MLflow does not answer: {reason}")  # without a password
        raise ValueError(f"{said}; {REMEDY}") from error
    return Counts(*(done[what] for what in Counts._fields))


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


def search(client: MlflowClient, experiment: str, condition: str) -> Iterator[Run]:
    """Every run of the experiment that meets the condition, page by page."""
    token: str | None = None
    while True:
        page = client.search_runs([experiment], condition, max_results=PAGE, page_token=token)
        yield from page
        if not (token := page.token):
            return


def settle(client: MlflowClient, experiment: str, entry: Entry, runs: list[Run]) -> str:
    """Leaves one whole run of the entry's record in place of those runs: "created", "replaced" or "kept"."""
    digest = sha256(entry.path)
    whole = [run for run in runs if run.data.tags.get("record_digest") == digest][:1]
    for run in runs:
        if run not in whole:
            delete(client, experiment, run.info.run_id)
    if whole:
        illustrate(client, whole[0].info.run_id, whole[0].data.tags, entry)
        return "kept"
    run_id = create(client, experiment, entry)
    illustrate(client, run_id, {}, entry)
    client.set_tag(run_id, "record_digest", digest)  # last: a run without it is half-done
    return "replaced" if runs else "created"


def delete(client: MlflowClient, experiment: str, run_id: str) -> None:
    """Deletes a cell's run, after those below it: an interruption leaves none without the run that it is found by."""
    for child in list(search(client, experiment, f"tags.mlflow.parentRunId = '{run_id}'")):
        client.delete_run(child.info.run_id)
    client.delete_run(run_id)


def create(client: MlflowClient, experiment: str, entry: Entry) -> str:
    """A new run of the cell, and one below it for each learning rate; the identifier of the first."""
    made = record.read(entry.path)
    seconds = made["provenance"].get("seconds", 0)
    run_id = log(client, experiment, cell_sheet(entry.cell, made), seconds)
    client.log_inputs(run_id, [dataset(entry, made)])
    client.log_artifact(run_id, str(entry.path))
    for sheet in reversed(rate_sheets(made, run_id)):
        log(client, experiment, sheet, seconds)
    return run_id


def log(client: MlflowClient, experiment: str, sheet: Sheet, seconds: float) -> str:
    """A new run of what the sheet says; its identifier. Its duration is the training's, its time of creation is now."""
    tags = {key: text(value) for key, value in sheet.tags.items() if value is not None}
    run = client.create_run(experiment, tags=tags, run_name=sheet.name).info
    client.log_batch(run.run_id, params=[Param(key, text(value)) for key, value in sheet.params.items()])
    metrics = [Metric(key, value, run.start_time, step) for key, value, step in sheet.points if value is not None]
    for i in range(0, len(metrics), BATCH):
        client.log_batch(run.run_id, metrics[i : i + BATCH])
    client.set_terminated(run.run_id, end_time=run.start_time + round(1000 * seconds))
    return str(run.run_id)


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
