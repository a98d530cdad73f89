"""A whole small campaign, really run on the digits: what tests of audit, manifest and replay have copies of."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from fedgrid.__main__ import main
from fedgrid.grid import artefacts
from fedgrid.run import record

ROOT = Path(__file__).parents[1]
SMALL = """
title: "Small"
paper: false
cells: {task: digits_2nn, partition: [iid, shards], K: 50, C: 0.1, E: 1, targets: [0.5], rounds: 3}
grid: [{B: 10, lr: [0.1, 0.464, 2.15]}]
table: {rows: [B], columns: [partition], baseline: {E: 1}}
figure: {kind: curves, y: test_accuracy, lines: best, x: rounds, panels: [partition], range: {x: [0, 3], y: [0.0, 1.0]}}
"""
AVERAGED = """
title: "Averaged"
paper: false
kind: interpolation
cells: {task: digits_2nn, partition: iid, K: 50, E: 1, B: 10, lr: 0.1}
grid: [{shared_start: true}]
figure: {kind: interpolation}
"""
NOBODY = {f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def make(folder, **declared):
    """Makes in the folder the campaign of each artefact declared, as params/ has it: run, drawn and sealed."""
    (folder / "params").mkdir()
    for name in ("paper", "datasets"):
        shutil.copy(ROOT / f"params/{name}.yaml", folder / "params")
    for name, text in declared.items():
        (folder / f"params/{name}.yaml").write_text(text)
    with contextlib.chdir(folder):
        cells = artefacts.all_cells().values()
        main(["fetch", "digits"])
        main(["partition", *{cell.partition_name for cell in cells}])
        main(["run", *(cell.name for cell in cells)])
        for verb in ("table", "figure", "manifest"):
            for name in declared:
                main([verb, name])
    return folder


def edit(name, change):
    """Rewrites the record of that name as the change leaves it."""
    place = record.path(name)
    one = json.loads(place.read_text())
    change(one)
    place.write_text(json.dumps(one, indent=1) + "\n")


def commit(message="as it is"):
    """Commits the working directory to a repository of its own."""
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", message]):
        subprocess.run(["git", *command], check=True, env=os.environ | NOBODY)
