"""MLflow: every cell is a run, its learning rates are the runs below it. It shows records and makes no number.

To publish again creates nothing again: a run's tag `published`, set last, is the sha256 of its record. A run with
another record's is replaced, and so is one without it, which an interrupted publication left. One process publishes.
"""

import hashlib
import json
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import yaml

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # the import reads it
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException

from fedgrid import artefacts, record
from fedgrid.cells import Cell
from fedgrid.curves import envelope
from fedgrid.files import sha256

STORE = "sqlite:///mlflow.db"
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}  # MLflow's own: 7; 120 seconds
BATCH = 1000  # metrics a call, MLflow's most
PAGE = 1000  # runs a call
DIGESTS = ("engine", "data", "partition", "initial_weights", "final_weights")  # of a record's provenance
NOTE = """\
A run is a cell of the grid C × E × B; the runs below it are its learning rates. A step is a round.
`best_accuracy` is the envelope over the rates; where it crosses a target, the tables count the rounds.
**Views → Cells** shows the grid as columns."""
COLUMNS = ("params.partition", "params.C", "params.E", "params.B", "metrics.best_accuracy", "metrics.best_lr")
Point = tuple[str, float | None, int]  # a metric's name, its value, its round


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
    origin: str  # a URL or a folder


@dataclass(frozen=True)
class Sheet:
    """What one run says."""

    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, Any]  # None: no tag
    points: list[Point]


def publish_artefacts(names: list[str], params: Path, records: Path, figures: Path) -> Counts:
    """Publishes the records that are there of those artefacts' cells; ValueError where the store does not answer."""
    every = {name: artefacts.artefact(name, params) for name in {*artefacts.artefact_names(params), *names}}
    entries = []
    for cell in dict.fromkeys(cell for name in names for cell in every[name].cells):
        path = record.path(cell.name, records)
        uses = sorted(name for name in every if cell in every[name].cells)
        shown = [figure for name in uses if (figure := figures / f"{name}.png").is_file()]
        if path.is_file():
            entries.append(Entry(cell, path, tuple(uses), tuple(shown), origin(cell.dataset, params)))
    return publish(entries, os.environ.get("MLFLOW_TRACKING_URI") or STORE)


def origin(dataset: str, params: Path) -> str:
    """The first URL that <params>/datasets.yaml gives for the dataset; its folder where there is none."""
    path = params / "datasets.yaml"
    declared = yaml.safe_load(path.read_text()) if path.is_file() else {}
    urls = re.findall(r"https?://[^'\s]+", str(declared.get(dataset)))
    return urls[0] if urls else f"data/raw/{dataset}"


def publish(entries: Iterable[Entry], store: str) -> Counts:
    """Brings the store's runs of those cells to their records; ValueError where the store does not answer."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    tasks = defaultdict(list)
    for entry in entries:
        tasks[entry.cell.task].append(entry)
    clock = count(int(time.time() * 1000), -1)  # the UI lists the latest first; falling times keep the order given
    done: Counter[str] = Counter()
    try:
        client = MlflowClient(store)
        for task, group in tasks.items():
            experiment = experiment_of(client, task, group)
            runs = defaultdict(list)
            for run in search(client, experiment, "tags.level = 'cell'"):
                runs[run.data.tags["cell"]].append(run)
            done.update(settle(client, experiment, entry, runs[entry.cell.name], clock) for entry in group)
    except MlflowException as error:
        reason = re.sub(r"//[^/@\s]*@", "//", f"{store}: {str(error).splitlines()[0]}")  # without a password
        remedy = "start that server, or unset MLFLOW_TRACKING_URI to publish to mlflow.db; then publish again"
        raise ValueError(f"{reason}; {remedy}") from error
    return Counts(*(done[what] for what in Counts._fields))


def experiment_of(client: MlflowClient, task: str, group: list[Entry]) -> str:
    """The identifier of the task's experiment, made where it is missing; with a saved view of the grid's columns."""
    found = client.get_experiment_by_name(f"fedgrid {task}")
    if found is None:
        tags = {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": NOTE}
        identifier = client.create_experiment(f"fedgrid {task}", tags=tags)
    else:
        identifier = found.experiment_id
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(identifier)
    targets = sorted({target for entry in group for target in entry.cell.settings.get("targets", ())})
    columns = [*COLUMNS, *(f"metrics.rounds_to_target.{target}" for target in targets)]
    state = {"selectedColumns": [re.sub(r"\.(.*)", r".`\1`", column) for column in columns]}
    # MLflow's UI keeps views so, though its API does not say it; one that it cannot read it leaves out.
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


def settle(client: MlflowClient, experiment: str, entry: Entry, runs: list[Run], clock: Iterator[int]) -> str:
    """Leaves one whole run of the entry's record in place of those runs: "created", "replaced" or "kept"."""
    digest = sha256(entry.path)
    whole = [run for run in runs if run.data.tags.get("published") == digest][:1]
    for run in runs:
        if run not in whole:
            delete(client, experiment, run.info.run_id)
    if whole:
        illustrate(client, whole[0].info.run_id, whole[0].data.tags, entry)
        return "kept"
    run_id = create(client, experiment, entry, digest, clock)
    illustrate(client, run_id, {}, entry)
    client.set_tag(run_id, "published", digest)  # last: a run without it is half-done
    return "replaced" if runs else "created"


def delete(client: MlflowClient, experiment: str, run_id: str) -> None:
    """Deletes a cell's run, after those below it: an interruption leaves none without the run that it is found by."""
    for child in list(search(client, experiment, f"tags.mlflow.parentRunId = '{run_id}'")):
        client.delete_run(child.info.run_id)
    client.delete_run(run_id)


def create(client: MlflowClient, experiment: str, entry: Entry, digest: str, clock: Iterator[int]) -> str:
    """A new run of the cell, and one below it for each learning rate; the identifier of the first."""
    made = record.read(entry.path)
    seconds = made["provenance"].get("seconds", 0)
    run_id = log(client, experiment, cell_sheet(entry.cell, made, digest), next(clock), seconds)
    client.log_inputs(run_id, [dataset(entry, made)])
    client.log_artifact(run_id, str(entry.path))
    for sheet in rate_sheets(made, run_id):
        log(client, experiment, sheet, next(clock), seconds)
    return run_id


def log(client: MlflowClient, experiment: str, sheet: Sheet, began: int, seconds: float) -> str:
    """A new run of what the sheet says, which lasted so many seconds; its identifier. `began` is in milliseconds."""
    tags = {key: text(value) for key, value in sheet.tags.items() if value is not None}
    run_id: str = client.create_run(experiment, began, tags, sheet.name).info.run_id
    client.log_batch(run_id, params=[Param(key, text(value)) for key, value in sheet.params.items()])
    metrics = [Metric(key, value, began, step) for key, value, step in sheet.points if value is not None]
    for i in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics[i : i + BATCH])
    client.set_terminated(run_id, end_time=began + round(1000 * seconds))
    return run_id


def cell_sheet(cell: Cell, made: Mapping[str, Any], digest: str) -> Sheet:
    """The run of a cell: the envelope over its rates by round, or Figure 1's losses by θ; results, cost and origin."""
    curves, provenance = made["curves"], made["provenance"]
    if "rates" in curves:
        best = envelope([rate["test_accuracy"] for rate in curves["rates"]]).tolist()
        points = by_round({"best_accuracy": best}, curves["rounds"])
    else:
        points = by_round({key: curves[key] for key in ("theta", "train_loss")}, range(len(curves["theta"])))
    facts = flat(made["result"]) | {f"{key}_digest" if key in DIGESTS else key: provenance[key] for key in provenance}
    numbers = {
        key: value for key, value in facts.items() if isinstance(value, int | float) and value is not bool(value)
    }
    points += [(key, value, 0) for key, value in numbers.items() if key not in {point[0] for point in points}]
    tags = flat({key: value for key, value in facts.items() if key not in numbers})
    tags |= {"level": "cell", "cell": cell.name, "record_digest": digest}
    tags |= {"mlflow.source.git.commit": provenance["commit"]}
    tags |= {"mlflow.note.content": f"To run it again: `python -m fedgrid run {cell.name}`"}
    seed = f" s{cell.seed}" if cell.seed else ""
    return Sheet(f"{cell.label} {cell.partition}{seed}", made["settings"], tags, points)


def rate_sheets(made: Mapping[str, Any], parent: str) -> Iterator[Sheet]:
    """The runs below a cell's: each learning rate's curves by round. Figure 1's cells have one rate and none below."""
    for rate in made["curves"].get("rates", ()):
        tags = {"level": "rate", "cell": made["name"], "mlflow.parentRunId": parent}
        tags |= {"diverged_after_round": rate["diverged"]}
        curves = {key: rate[key] for key in ("test_accuracy", "test_loss", "train_loss")}
        points = by_round(curves, made["curves"]["rounds"])
        yield Sheet(f"lr {rate['lr']:g}", made["settings"] | {"lr": rate["lr"]}, tags, points)


def by_round(curves: Mapping[str, Iterable[float | None]], rounds: Iterable[int]) -> list[Point]:
    """The curves as points: fewer of one that ended early. A loss that overflowed is None and leaves a gap."""
    rounds = list(rounds)
    return [(key, value, t) for key, curve in curves.items() for t, value in zip(rounds, curve, strict=False)]


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """The same with inner mappings' keys joined to the outer ones by dots."""
    pairs: dict[str, Any] = {}
    for key, value in nested.items():
        pairs |= {f"{key}.{k}": v for k, v in flat(value).items()} if isinstance(value, Mapping) else {key: value}
    return pairs


def text(value: Any) -> str:
    """A setting or fact as the UI shows it: what is no text as JSON, which params files understand too."""
    return value if isinstance(value, str) else json.dumps(value)


def dataset(entry: Entry, made: Mapping[str, Any]) -> DatasetInput:
    """The dataset as MLflow's UI shows one; of its digest, 36 characters are allowed."""
    kind, field = ("http", "url") if "://" in entry.origin else ("local", "uri")
    digest = made["provenance"]["data"][:36]
    data = Dataset(entry.cell.dataset, digest, kind, json.dumps({field: entry.origin}))
    return DatasetInput(data, [InputTag("mlflow.data.context", "training")])


def illustrate(client: MlflowClient, run_id: str, tags: Mapping[str, str], entry: Entry) -> None:
    """Brings the run's artefacts and their figures up to date: they change without the record."""
    shown = hashlib.sha256(" ".join([*entry.artefacts, *map(sha256, entry.figures)]).encode()).hexdigest()
    if tags.get("shown") == shown:
        return
    client.set_tag(run_id, "artefacts", ", ".join(entry.artefacts))
    for figure in entry.figures:
        client.log_artifact(run_id, str(figure))
    client.set_tag(run_id, "shown", shown)
