"""A record as MLflow shows it: a run for its cell, and one below it for each learning rate. Pure functions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from fedgrid.curves import envelope
from fedgrid.grid.cells import Cell
from fedgrid.grid.choices import tag
from fedgrid.partitions import PARTITIONS

DIGESTS = ("engine", "data", "partition", "initial_weights", "final_weights", "patch")  # of a record's provenance
Point = tuple[str, float | None, int]  # a metric's name, its value, its round


@dataclass(frozen=True)
class LoggedRun:
    """What one run says."""

    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, Any]  # None: no tag
    points: list[Point]


def run_of_cell(cell: Cell, made: Mapping[str, Any]) -> LoggedRun:
    """The run of a cell: the envelope over its rates by round, or Figure 1's losses by θ; results, provenance."""
    curves = made["curves"]
    if "rates" in curves:
        best = envelope([rate["test_accuracy"] for rate in curves["rates"]]).tolist()
        points = by_round({"best_accuracy": best}, curves["rounds"])
    else:
        points = by_round({key: curves[key] for key in ("theta", "train_loss")}, range(len(curves["theta"])))
    results = {key.replace("_target.", "_"): value for key, value in flat(made["result"]).items()}
    numbers = {key: value for key, value in results.items() if type(value) in (int, float) and key != "best_accuracy"}
    points += [(key, value, 0) for key, value in numbers.items()]
    tags = {key: value for key, value in results.items() if type(value) in (bool, str)}
    tags |= {f"{key}_digest" if key in DIGESTS else key: value for key, value in flat(made["provenance"]).items()}
    tags |= {"level": "cell", "cell": cell.name}
    tags |= {"mlflow.source.name": "fedgrid", "mlflow.source.git.commit": made["provenance"]["commit"]}
    tags |= {"mlflow.note.content": f"To run it again: `python -m fedgrid run {cell.name}`"}
    others = (one for one in fields(cell) if one.default not in (MISSING, getattr(cell, one.name)))
    name = [cell.label, tag(PARTITIONS, cell.partition), *(f"{one.name}={cell.settings[one.name]}" for one in others)]
    return LoggedRun(" ".join(name), made["settings"], tags, points)


def runs_of_rates(made: Mapping[str, Any], parent: str) -> list[LoggedRun]:
    """The runs below a cell's: each learning rate's curves by round. Figure 1's cells have one rate and none below."""
    runs = []
    for rate in made["curves"].get("rates", ()):
        curves = {key: value for key, value in rate.items() if isinstance(value, list) and key != "weights"}
        points = by_round(curves, made["curves"]["rounds"])
        stopped = {why: rate.get(why) for why in ("diverged", "pruned")}
        tags = {"level": "rate", "cell": made["name"], "mlflow.parentRunId": parent} | stopped
        runs.append(LoggedRun(f"lr {rate['lr']:g}", made["settings"] | {"lr": rate["lr"]}, tags, points))
    return runs


def by_round(curves: Mapping[str, Iterable[float | None]], rounds: Sequence[int]) -> list[Point]:
    """The curves as points: fewer of one that ended early. A loss that overflowed is None and leaves a gap."""
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
