"""A small campaign made by hand, with hostile strings in it: what `explain` and `report` are tested on."""

import shutil
from pathlib import Path

from fedgrid.grid.artefacts import artefact
from fedgrid.run import record

ROOT = Path(__file__).parents[1]
PARAMS = """
title: "Table 0: rounds to 75 % test accuracy, <b>bold</b> & plain"
cells: {task: mnist_2nn, C: 0.1, targets: [0.75], rounds: 200, lr: [0.1, 0.2, 0.4]}
grid:
  - {partition: [iid, shards], E: 1, B: [inf, 10]}
  - {partition: iid, E: 5, B: 10, seed: [0, 1]}
table: {rows: [E, B], columns: [partition], baseline: {E: 1, B: inf}}
figure: {kind: curves, y: test_accuracy, lines: best, x: rounds, panels: [partition], range: {x: [0, 9], y: [0.0, 1.0]}}
"""
PAPER = """
models:
  - {task: mnist_2nn, parameters: 199210}
hand:
  - {partition: iid, E: 1, B: inf, rounds: 100, points: [[10, 0.125], [200, 0.875]]}
  - {partition: iid, E: 5, B: 10, rounds: 4, speedup: 25.0}
"""
# (partition, E, B, seed): evaluated rounds, the envelope of the three rates, rounds to 0.75 by hand
RUN = {
    ("iid", 1, "inf", 0): ([1, 10, 20, 30], [0.1, 0.25, 0.5, 1.0], 25.0),
    ("iid", 5, 10, 0): ([1, 2, 4], [0.25, 0.5, 1.0], 3.0),
    ("shards", 1, 10, 0): ([1, 100, 200], [0.25, 0.5, 0.5], None),
}
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script></style>"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# A record's provenance, as little as a record may have.
ORIGIN = {
    "commit": COMMIT,
    "dirty": False,
    **{key: f"digest of {key}" for key in ("engine", "data", "partition", "initial_weights", "final_weights")},
    "seconds": 12.5,
    "libraries": {"torch": "2.13.0"},
}


def declare(folder):
    """The artefact, declared in the folder, which is to be the working directory."""
    (folder / "params").mkdir()
    (folder / "params/hand.yaml").write_text(PARAMS)
    (folder / "params/paper.yaml").write_text(PAPER)
    shutil.copy(ROOT / "params/datasets.yaml", folder / "params")
    return artefact("hand", folder / "params")


def place(cell):
    return cell.settings["partition"], cell.E, cell.settings["B"], cell.seed


def made(cell, **provenance):
    """The record of a cell, if it is among those that were run."""
    rounds, accuracy, to_target = RUN[place(cell)]
    curve = {"test_accuracy": accuracy, "test_loss": [1.0] * len(rounds), "train_loss": [], "diverged": None}
    digests = {key: f"{key} of {cell.name}" for key, said in ORIGIN.items() if str(said).startswith("digest")}
    return {
        "schema": 1,
        "name": cell.name,
        "settings": cell.recorded,
        "result": {
            "ended": "target" if to_target else "horizon",
            "rounds": rounds[-1],
            "rounds_to_target": {"0.75": to_target},
            "best_accuracy": max(accuracy),
            "best_lr": 0.2,
            "best_lr_at_grid_end": False,
        },
        "curves": {"rounds": rounds, "rates": [curve | {"lr": lr} for lr in cell.lr]},
        "provenance": ORIGIN | digests | {"hardware": {"device": "cpu", "processor": HOSTILE}} | provenance,
    }


def write(hand, folder, **provenance):
    """Writes the records of the cells that were run below the folder; the records by name."""
    records = {cell.name: made(cell, **provenance) for cell in hand.cells if place(cell) in RUN}
    for one in records.values():
        record.write(one, folder / record.CELLS)
    return records
