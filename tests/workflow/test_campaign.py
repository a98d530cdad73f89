"""Laws of a folder of one's own: outside the clone, made, sealed, judged and shown by fedgrid's workflow.

`python -m fedgrid new` writes it as a user would; it is run once, and each law has a copy of it.
"""

import json
import re

import pytest

from tests.trees import Tree, clone, jobs

SHOWN = {"table": 2, "figure": 2, "metrics": 1, "manifest": 1, "report_page": 1}
MINE = ["my_partition_alpha1.0-", "my_algorithm_server_lr0.5-"]  # in the names of records
PARAMS = """
title: "Mine: both at once"
extensions: [my_algorithm, my_partition]
cells: {task: digits_2nn, K: 50, C: 0.1, E: 1, B: 10, targets: [0.5], rounds: 20, lr: [0.1, 0.464, 2.15]}
grid: [{partition: {name: my_partition, alpha: 1}, algorithm: [fedavg, my_algorithm]}]
table: {rows: [algorithm], columns: [partition], baseline: {algorithm: fedavg}}
figure: {kind: curves, y: test_accuracy, lines: best, x: rounds, panels: [partition], range: {x: [0, 9], y: [0, 1]}}
"""


class Folder(Tree):
    """A folder outside the clone, whose commands are the clone's."""

    def environment(self, **more):
        return super().environment(PYTHONPATH=str(self.path.parent / "clone/src"), **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder after `snakemake`, and what that printed."""
    parent = tmp_path_factory.mktemp("campaign")
    folder = Folder(parent / "mine")
    clone(parent / "clone").run("python", "-m", "fedgrid", "new", "campaign", str(folder.path))
    for kind in ("algorithm", "partition"):
        folder.run("python", "-m", "fedgrid", "new", kind, f"my_{kind}")
        (folder.path / f"params/my_{kind}.yaml").unlink()
    (folder.path / "params/mine.yaml").write_text(PARAMS)
    folder.edit("first", lambda declared: declared["cells"].update(targets=[0.5]))  # sooner
    return folder, folder.snakemake()


@pytest.fixture
def folder(finished):
    return finished[0]


def test_it_makes_whatever_it_declares_and_nothing_of_the_papers(finished):
    folder, output = finished
    assert jobs(output) == {"all": 1, "fetch": 1, "partition": 2, "run": 5} | SHOWN
    assert folder.planned() == {}
    made = {path.name for path in (folder.path / "results").rglob("*") if path.is_file() and path.suffix != ".json"}
    assert {"first.md", "mine.md", "first.svg", "mine.svg", "campaign.sha256", "report.html"} <= made
    assert not re.search("paper|README", " ".join(made))
    for name in MINE:
        assert [record for record in folder.records() if name in record]
    assert "MyAlgorithm (η_s = 0.5)" in (folder.path / "results/tables/mine.md").read_text()


def test_what_takes_no_names_takes_all_that_it_declares_and_the_audit_is_clean(folder):
    for verb in ("plan", "table", "figure", "metrics", "claims", "readme", "report", "manifest", "tasks"):
        folder.run("python", "-m", "fedgrid", verb)
    audit = folder.run("python", "-m", "fedgrid", "audit")
    assert re.search(r"^audit: 5 records, \d+ checks, 0 findings", audit, re.MULTILINE), audit
    assert json.loads((folder.path / "results/audit/campaign.json").read_text())["records"] == 5
    assert "replay: 5 of 5 records, 0 findings" in folder.run("python", "-m", "fedgrid", "replay")
    assert "5 runs created, 0 replaced, 0 kept" in folder.run("python", "-m", "fedgrid", "publish")
    assert "FedProx (μ = 0.1)" in (folder.path / "README.md").read_text()


def test_a_part_of_it_is_judged_by_the_seal_of_the_whole(folder):
    assert ", 0 findings" in folder.run("python", "-m", "fedgrid", "audit", "mine")
    said = folder.run("python", "-m", "fedgrid", "manifest", "mine", fails=True)
    place = "results/manifests/campaign.sha256"
    assert said == f"fedgrid manifest: mine: sealed in {place} with others, by `python -m fedgrid manifest`\n"


def test_a_record_that_was_altered_is_found(folder):
    place = next((folder.path / "results/cells").rglob("*fedprox*.json"))
    whole = place.read_text()
    place.write_text(whole + "\n")
    assert f"FINDING unsealed: {place.stem}: " in folder.run("python", "-m", "fedgrid", "audit", fails=True)
    place.write_text(whole)


def test_its_own_tests_run_where_it_lies(folder):
    assert " passed" in folder.run("python", "-m", "pytest", "-q")


def test_a_cluster_is_a_profile_of_it_too(folder):
    asked = folder.run("snakemake", "--dry-run", "--forceall", "--profile", "profiles/slurm", "--config", "longest=7")
    assert set(re.findall(r"resources: .*runtime=(\d+), cell=1", asked)) == {"1"}  # a pack's eighth, at least a minute
    assert "local rule" not in asked


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("1 / 0", "params/mine.yaml: extensions/my_algorithm.py, line 1: ZeroDivisionError: division by zero"),
        ("def f(:", "params/mine.yaml: extensions/my_algorithm.py, line 1: SyntaxError: "),
    ],
)
def test_an_extension_that_fails_is_named_with_its_params_file_in_one_line(folder, broken, said):
    place = folder.path / "extensions/my_algorithm.py"
    whole = place.read_text()
    place.write_text(broken)
    try:
        assert [line for line in folder.snakemake("--dry-run", fails=True).splitlines() if line.startswith(said)]
    finally:
        place.write_text(whole)
