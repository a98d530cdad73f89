"""One cell over both nodes of a real SLURM, by the workflow's own rule."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from fedgrid.grid import artefacts
from tests.slurm.campaign import EAGER, EAGERLY, PARTITIONS, PROFILE, timeless
from tests.slurm.cluster import run, until

RANKS = 4
# A horizon so far that the cell counts as a long one, and a target that ends it soon.
SHARED = {
    "title": "Shared",
    "paper": False,
    "cells": {"task": "digits_2nn", "partition": "iid", "K": 50, "targets": [0.9], "lr": [0.1, 0.215, 0.464]},
    "grid": [{"C": 0.5, "E": [3], "B": 10, "rounds": 10_000}],
    "table": {"rows": ["E"], "columns": ["C"], "baseline": {"E": 3}},
}


@pytest.fixture
def shared(campaign):
    """The checkout with that cell, the cell's name, and its record by one process."""
    tree = campaign.tree
    (tree.path / "params/shared.yaml").write_text(yaml.safe_dump(SHARED))
    (tree.path / "profiles/slurm/partitions.yaml").write_text(yaml.safe_dump(PARTITIONS | {"ranks": RANKS}))
    tree.commit("a cell to share")
    (one,) = artefacts.artefact("shared", tree.path / "params").cells
    tree.run("python", "-m", "fedgrid", "run", one.name)
    alone = campaign.record(one.name).read_text()
    campaign.record(one.name).unlink()
    return campaign, one.name, alone


def processes(name):
    """The numbers of the processes that share the cell."""
    found = subprocess.run(["pgrep", "-f", f"^[^ ]*python -m fedgrid run {name}"], capture_output=True, text=True)
    return [int(number) for number in found.stdout.split()]


def test_a_cell_over_two_nodes_has_the_record_of_one_process_though_one_of_them_is_killed(cluster, shared):
    campaign, name, alone = shared
    record = f"results/cells/digits_2nn/{name}.json"
    nodes = ("--set-resources", "run:nodes=2", "run:mem_mb=4000")  # a second attempt's may be more than a node has
    # The nodes of this cluster have names that no network knows.
    known = {"PYTHONPATH": f"{campaign.tree.path}/src{os.pathsep}{EAGERLY}", "MASTER_ADDR": "127.0.0.1"}
    snakemake = campaign.tree.start("snakemake", *PROFILE, *EAGER, *nodes, "--", record, **known)
    campaign.started.append(snakemake)
    until(lambda: campaign.kept(name) >= 3 or snakemake.poll() is not None, 300)
    assert snakemake.poll() is None, snakemake.communicate()
    assert run("squeue", "-h", "-t", "R", "-o", "%N %D %C").split() == ["n[1-2]", "2", str(RANKS)]
    found = processes(name)
    there = [environment(one)["SLURMD_NODENAME"] for one in found]
    assert sorted(there) == ["n1", "n1", "n2", "n2"]
    os.kill(found[there.index("n2")], signal.SIGKILL)
    until(lambda: not set(found) & set(processes(name)), 60)
    said, _ = snakemake.communicate(timeout=600)
    assert not snakemake.returncode, said
    assert len(set(re.findall(r"has been submitted with SLURM jobid (\d+)", said))) == 2
    assert min(campaign.rounds(name)) > 3  # the second job went on from the first one's checkpoint
    made = json.loads(campaign.record(name).read_text())
    assert made["provenance"]["hardware"].pop("ranks") == RANKS
    assert timeless(json.dumps(made)) == timeless(alone)
    assert not campaign.tree.partial()


def environment(process):
    """What that process was started with."""
    text = Path(f"/proc/{process}/environ").read_text()
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
