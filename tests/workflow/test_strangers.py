"""A stranger's files, each added by the docs alone: raced, killed, resumed, tabled beside FedAvg and audited clean."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def commands(page):
    """The commands of a page's bash blocks, in its order."""
    blocks = re.findall(r"^```bash\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def done(line, folder):
    """What the command prints in that folder; it must succeed."""
    ran = subprocess.run(["bash", "-ec", line], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert ran.returncode == 0, f"{line}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def test_every_command_of_the_worked_comparison_does_what_the_page_says(tmp_path):
    said, folder = {}, tmp_path
    for line in commands("compare.md"):
        if line.startswith("cd "):
            folder = folder / line.removeprefix("cd ")
        else:
            said[line] = done(line, folder)
    table = said["cat results/tables/half_step.md"]
    assert re.search(r"^\| FedAvg +\| \d+", table, re.MULTILINE)
    assert re.search(r"^\| Half.?step \(.*0\.5\) +\| \d+", table, re.MULTILINE | re.IGNORECASE)
    assert "not run" not in table
    assert " 0 findings" in said["python -m fedgrid audit half_step"]


# The three files, together in one experiment.

PARAMS = """
title: "A stranger's algorithm, partition and model, beside FedAvg"
extensions: [half, skew, net]
cells: {task: net, init: module, partition: {name: skew, alpha: 1.0}, K: 20, C: 0.25, E: 2, B: 10, rounds: 40}
grid:
  - {algorithm: [fedavg, {name: half, server_lr: 0.5}], targets: [], lr: [0.05, 0.1], evaluate: every_round}
  - {algorithm: [fedavg, {name: half, server_lr: 0.5}], targets: [0.6], lr: [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]}
table: {rows: [algorithm], columns: [partition], baseline: {algorithm: fedavg}}
"""
TABLED = PARAMS.replace(PARAMS.splitlines()[5] + "\n", "")
KILLED = PARAMS.replace(PARAMS.splitlines()[6] + "\n", "").replace("table: {", "figure: {").split("figure:")[0]
FIGURE = (
    "figure: {kind: curves, y: test_accuracy, lines: best, x: rounds, panels: [partition], "
    "range: {x: [0, 40], y: [0.0, 1.0]}}\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A campaign with the three files, which `new` wrote, its data fetched and its partition drawn."""
    root = tmp_path_factory.mktemp("strangers")
    done("python -m fedgrid new campaign mine", root)
    mine = root / "mine"
    for kind, name in (("algorithm", "half"), ("partition", "skew"), ("model", "net")):
        done(f"python -m fedgrid new {kind} {name}", mine)
    (mine / "params/together.yaml").write_text(TABLED)
    (mine / "params/killed.yaml").write_text(KILLED + FIGURE)
    done("python -m fedgrid fetch digits", mine)
    done("python -m fedgrid partition digits-skew_alpha1.0-K20-s0", mine)
    return mine


def cells(folder, artefact):
    ask = f"from fedgrid.grid.artefacts import artefact; print(*[one.name for one in artefact({artefact!r}).cells])"
    return done(f'python -c "{ask}"', folder).split()


def outcome(folder, name):
    """What must not depend on a kill: curves, result and weights."""
    (path,) = folder.glob(f"results/cells/*/{name}.json")
    made = json.loads(path.read_text())
    return made["curves"], made["result"], made["provenance"]["final_weights"]


@pytest.mark.fault
def test_a_race_of_a_stranger_s_files_that_was_killed_ends_byte_for_byte_as_one_that_was_not(folder):
    name = next(name for name in cells(folder, "killed") if "-half" in name)
    run = [sys.executable, "-m", "fedgrid", "run", name]
    often = "from fedgrid.run import job; job.CHECKPOINT_SECONDS = 0; from fedgrid.__main__ import main; main()"
    begun = subprocess.Popen([sys.executable, "-c", often, "run", name], cwd=folder, env=ENVIRONMENT)
    checkpoint = folder / f"results/checkpoints/{name}.npz"
    while not checkpoint.is_file() and begun.poll() is None:
        time.sleep(0.02)
    begun.send_signal(signal.SIGKILL)
    assert begun.wait() == -signal.SIGKILL and checkpoint.is_file()  # it was at work, and had not ended
    resumed = subprocess.run(run, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert resumed.returncode == 0 and "round 0" not in resumed.stderr
    after_a_kill = outcome(folder, name)
    for path in folder.glob(f"results/cells/*/{name}.json"):
        path.unlink()
    done(f"python -m fedgrid run {name}", folder)
    assert outcome(folder, name) == after_a_kill


def test_a_stranger_s_files_stand_in_a_table_beside_fedavg_and_are_audited_clean(folder):
    done(f"python -m fedgrid run {' '.join(cells(folder, 'together'))}", folder)
    done("python -m fedgrid table together && python -m fedgrid manifest together", folder)
    table = (folder / "results/tables/together.md").read_text()
    assert "| FedAvg " in table and "not run" not in table
    assert " 0 findings" in done("python -m fedgrid audit together", folder)


def test_the_audit_sees_that_a_stranger_s_file_is_another_than_the_record_s(folder):
    place, audit = folder / "extensions/half.py", "python -m fedgrid audit together"
    text, before = place.read_text(), done(audit, folder)
    try:
        place.write_text(text + "\n# a comment changes nothing\n")
        assert done(audit, folder) == before
        place.write_text(text.replace("(self.server_lr - 1)", "(self.server_lr - 1 + 0)"))
        assert "note origin: " in done(audit, folder).replace(before, "")
    finally:
        place.write_text(text)
