"""Laws of the workflow: the real Snakemake and DVC on the embedded digits.

The quickstart runs once, in a clone of the working tree, uncommitted changes included; each law has a copy of it.
"""

import filecmp
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.trees import Tree, clone, jobs

# A proxy on a port where nobody listens: every host is out of reach, at once.
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
TABLE = [f"results/tables/quickstart.{suffix}" for suffix in ("csv", "md", "tex")]
FIGURE = [f"results/figures/quickstart.{suffix}" for suffix in ("pdf", "svg", "png", "csv")]
AUDIT = "results/audit/quickstart.json"
PASSED = "results/audit/quickstart.passed"
CELLS = "results/cells/digits_2nn"
SLOW = "digits_2nn-iid-C0.5-E5-B10-"  # of the quickstart's cells; still short


def training(text):
    """What training made of a record: its curves and the digest of its last weights."""
    record = json.loads(text)
    return json.dumps(record["curves"]), record["provenance"]["final_weights"]


def doctored(text):
    """The record with another number of rounds, as from another engine."""
    record = json.loads(text)
    record["result"]["rounds_to_target"] = {"0.9": 3.0}
    return json.dumps(record, indent=1) + "\n"


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A clone of the working tree as it stands, committed."""
    return clone(tmp_path_factory.mktemp("workflow") / "clone")


@pytest.fixture(scope="session")
def finished(checkout):
    """The clone after its quickstart, and what that printed."""
    return checkout, checkout.snakemake("quickstart", **OFFLINE)


@pytest.fixture
def tree(finished, tmp_path):
    """A copy of the finished quickstart, to do with as one likes."""
    return finished[0].copy(tmp_path / "tree")


def test_the_quickstart_needs_no_network_and_leaves_table_figure_audit_and_mlflow(finished):
    tree, output = finished
    assert jobs(output)["run"] == 16 == len(tree.records())
    for name in (*TABLE, *FIGURE):
        assert (tree.path / name).stat().st_size > 0, name
    audit = json.loads((tree.path / AUDIT).read_text())
    assert audit["records"] == 16
    assert all(finding["note"] for finding in audit["findings"])
    with sqlite3.connect(tree.path / "mlflow.db") as database:
        cells = "select count(*) from tags where key = 'level' and value = 'cell'"
        assert database.execute(cells).fetchone() == (16,)
    database.close()


def test_after_the_quickstart_nothing_is_left_to_do_to_commit_or_to_publish(finished):
    tree, _ = finished
    assert tree.planned("quickstart") == {}
    assert tree.run("git", "status", "--porcelain") == ""
    assert "0 runs created, 0 replaced, 16 kept" in tree.run("python", "-m", "fedgrid", "publish", "quickstart")


def test_a_deleted_record_is_run_again_alone_with_the_same_curve_and_all_that_shows_it_is_made_again(tree):
    name, before = next(iter(tree.records().items()))
    (tree.path / CELLS / name).unlink()
    shown = {"table": 1, "figure": 1, "manifest": 1, "judge": 1}
    assert tree.planned("quickstart") == {"run": 1, "publish": 1, "replay": 1, "quickstart": 1} | shown
    assert jobs(tree.snakemake(f"{CELLS}/{name}", PASSED)) == {"run": 1} | shown
    assert training(tree.records()[name]) == training(before)


def test_times_say_nothing_with_every_record_newer_than_what_was_made_of_it_there_is_nothing_to_do(tree):
    shutil.rmtree(tree.path / ".snakemake")
    made = [path for top in ("data", "results", "mlruns") for path in (tree.path / top).rglob("*")]
    kept = [path for path in made if path.is_file() and re.search("digits|quickstart", str(path))]
    times = sorted(path.stat().st_mtime_ns for path in kept)
    newest_first = sorted(kept, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path, ns in zip(newest_first, times, strict=True):
        os.utime(path, ns=(ns, ns))
    assert tree.planned("quickstart") == {}


def test_another_shell_line_or_resource_of_a_rule_trains_nothing_anew(tree):
    rule = tree.path / "workflow/rules/cells.smk"
    rule.write_text(rule.read_text().replace("    shell:\n", "    threads: 1\n    shell:\n").replace("tee", "tee -i"))
    assert "threads: 1" in rule.read_text()
    assert "tee -i" in rule.read_text()
    assert tree.planned("quickstart") == {}


def test_a_new_cell_runs_alone_and_the_table_and_figure_have_it(tree):
    before = tree.records()
    tree.edit("quickstart", lambda declared: declared["grid"].append({"partition": "iid", "C": 0.1, "E": 2, "B": 10}))
    assert jobs(tree.snakemake(PASSED)) == {"run": 1, "table": 1, "figure": 1, "manifest": 1, "judge": 1}
    after = tree.records()
    assert before.items() < after.items()
    (new,) = after.keys() - before
    assert Path(new).stem in (tree.path / TABLE[0]).read_text()
    assert ",E = 2, B = 10" in (tree.path / FIGURE[3]).read_text().replace("C = 0.1, ", ",")


def test_another_grid_of_rates_makes_other_records_and_the_audit_names_the_old_ones(tree):
    before = tree.records()

    def change(declared):
        declared["cells"] |= {"partition": "iid", "lr": {"per_decade": 3, "from": -2, "to": 1}}
        declared["grid"] = [{"C": 0.1, "E": 1, "B": "inf"}]

    tree.edit("quickstart", change)
    output = tree.snakemake(PASSED, fails=True)
    assert tree.planned(PASSED)["judge"] == 1  # a failed audit is not done with
    after = tree.records()
    assert before.items() < after.items()
    assert len(after) == len(before) + 1
    named = set(re.findall(r"^FINDING undeclared: (\S+): ", output, re.MULTILINE))
    assert named == {Path(name).stem for name in before}


def racing(tree):
    """The process that runs a cell in the tree, once it catches SIGTERM; None until then."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"fedgrid\0run\0" in (process / "cmdline").read_bytes() and (process / "cwd").resolve() == tree.path:
                (caught,) = re.findall(r"^SigCgt:\s*(\w+)", (process / "status").read_text(), re.MULTILINE)
                if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
                    return int(process.name)
        except OSError:  # gone, or not ours to see
            continue
    return None


def stopped(tree, target, stop):
    """The round that a run of the target reached when `stop`, called with Snakemake's and the job's pid, ended it."""
    with tree.start("snakemake", "--cores", "2", target) as snakemake:
        while not (job := racing(tree)):
            assert snakemake.poll() is None, snakemake.communicate()[0]
            time.sleep(0.05)
        stop(snakemake.pid, job)
        output, _ = snakemake.communicate(timeout=120)
    assert snakemake.returncode != 0, output
    assert not (tree.path / target).exists()
    assert tree.partial() == []
    with np.load(tree.path / "results/checkpoints" / f"{Path(target).stem}.npz") as checkpoint:
        return json.loads(str(checkpoint["state"]))[1]["t"]


@pytest.mark.fault
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the job in /proc")
def test_a_cell_stopped_by_sigterm_and_again_by_ctrl_c_resumes_to_the_same_record(tree):
    ((name, before),) = ((name, text) for name, text in tree.records().items() if name.startswith(SLOW))
    target = f"{CELLS}/{name}"
    (tree.path / target).unlink()
    first = stopped(tree, target, lambda snakemake, job: os.kill(job, signal.SIGTERM))
    second = stopped(tree, target, lambda snakemake, job: os.killpg(snakemake, signal.SIGINT))  # as a terminal does
    assert 0 < first < second
    tree.snakemake(target)
    assert training(tree.records()[name]) == training(before)
    assert list((tree.path / "results/checkpoints").iterdir()) == tree.partial() == []


def test_a_record_that_came_after_snakemake_was_stopped_is_not_run_again(tree):
    target = f"{CELLS}/{next(iter(tree.records()))}"
    marks = tree.path / ".snakemake/incomplete"
    marks.mkdir(exist_ok=True)
    # So Snakemake marks what it began: its path in base64.
    (marks / subprocess.run(("base64", "-w0"), input=target, capture_output=True, text=True, check=True).stdout).touch()
    assert tree.planned("quickstart") == {}


def digits_alone(tree):
    """Leaves nothing declared that needs the network."""
    for path in (tree.path / "params").glob("*.yaml"):
        if path.stem not in ("datasets", "paper", "quickstart"):
            path.unlink()
    tree.edit("datasets", lambda declared: [declared.pop(name) for name in list(declared) if name != "digits"])
    tree.commit("digits alone")


def test_the_paper_s_audit_is_asked_each_time_and_finds_what_was_altered_since_it_passed(tree):
    digits_alone(tree)
    tree.edit("quickstart", lambda declared: declared.update(paper=True))
    tree.run("git", "rm", "-q", "-r", "dvc.lock", "results/cells", "results/manifests")  # they are of other records
    tree.commit("the quickstart is the paper")
    assert {"manifest", "audit"} <= jobs(tree.snakemake("audit")).keys()
    assert tree.planned("audit") == {"audit": 1}
    place = tree.path / CELLS / next(iter(tree.records()))
    place.write_text(place.read_text() + "\n")
    output = tree.snakemake("audit", fails=True)
    assert f"FINDING unsealed: {place.stem}: " in output and "replay: 6 of 16 records, 0 findings" in output
    assert tree.planned("audit") == {"audit": 1}


def test_a_fresh_clone_with_dvc_pull_has_every_record_and_nothing_to_do(tree, tmp_path):
    digits_alone(tree)
    declared = (tree.path / "params/quickstart.yaml").read_text()
    (tree.path / "params/table1.yaml").write_text(f"{declared}\npaper: true\n")  # the quickstart stands beside a paper
    tree.commit("a paper of the digits")
    assert tree.run("dvc", "repro", "quickstart").count("Nothing to be done") == 2
    assert "up to date" in tree.run("dvc", "status", "data", "quickstart")
    assert tree.run("git", "status", "--porcelain").split() == ["M", "dvc.lock"]
    tree.commit("lock")
    remote = ("dvc", "remote", "add", "--local", "--default", "box", str(tmp_path / "box"))
    tree.run(*remote)
    tree.run("dvc", "push")
    fresh = Tree(tmp_path / "fresh")
    tree.run("git", "clone", "--quiet", str(tree.path), str(fresh.path))
    fresh.run(*remote)
    fresh.run("dvc", "pull", "data", "quickstart")
    assert fresh.planned(*TABLE, *FIGURE, PASSED) == {}
    assert fresh.records() == tree.records()
    made = [*TABLE, *FIGURE, AUDIT, "data/raw/digits/digits.npz"]
    assert filecmp.cmpfiles(tree.path, fresh.path, made, shallow=False) == (made, [], [])
    assert fresh.run("git", "status", "--porcelain") == ""


def test_dvc_names_the_parameter_and_the_entry_of_the_table_that_changed_between_two_commits(tree):
    metrics = ("python", "-m", "fedgrid", "metrics", "quickstart")
    tree.run(*metrics)
    tree.commit("before")
    tree.edit("quickstart", lambda declared: declared["cells"].update(rounds=300))
    name, text = next((name, text) for name, text in tree.records().items() if "-iid-C0.1-E1-B10-" in name)
    tree.run("git", "stash", "--quiet")  # the metrics are of the params as they were
    (tree.path / CELLS / name).write_text(doctored(text))
    tree.run(*metrics)
    tree.run("git", "stash", "pop", "--quiet")
    tree.commit("after")
    changed = tree.run("dvc", "params", "diff", "HEAD~1", "HEAD").splitlines()[1:]
    assert [line.split() for line in changed] == [["params/quickstart.yaml", "cells.rounds", "200", "300"]]
    (changed,) = tree.run("dvc", "metrics", "diff", "HEAD~1", "HEAD").splitlines()[1:]
    assert changed.startswith("results/metrics.json")
    assert "quickstart.C=0.1 E=1 B=10 partition=IID.rounds" in changed


def test_rules_are_clean_and_every_target_has_its_jobs(checkout):
    assert "your workflow is in a good condition" in checkout.run("snakemake", "--lint")
    checkout.run("snakefmt", "--check", "Snakefile", "workflow")
    names = [path.stem for path in (checkout.path / "params").glob("*.yaml") if path.stem not in ("datasets", "paper")]
    checkout.planned("all", "data", "mlflow", *names)


def test_no_job_of_a_cluster_asks_for_longer_than_is_granted_nor_do_eight_cells_that_share_one(tmp_path):
    asked = ("snakemake", "quickstart", "--dry-run", "--profile", "profiles/slurm", "--config", "gpu_tasks=[]")
    tree = clone(tmp_path / "clone")
    output = tree.run(*asked, "longest=40")
    assert re.findall(r"resources: .*runtime=(\d+), cell=1", output) == ["5"] * 16
    (line,) = re.findall("partitions.yaml: longest is .*", tree.run(*asked, "longest=day", fails=True))
    assert line == "partitions.yaml: longest is 'day'; it must be minutes, from 1"


def test_snakemakes_report_holds_the_table_and_the_figure_and_loads_nothing(tree):
    tree.snakemake("--report", "report.html", "quickstart", **OFFLINE)
    report = (tree.path / "report.html").read_text()
    assert all(name in report for name in (*TABLE, *FIGURE))
    assert not re.search(r"<(script|img)[^>]*\ssrc=\W?https?:|<link[^>]*\shref=\W?https?:", report)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda declared: declared["cells"].update(momentum=0.9), "momentum"),
        (lambda declared: declared.update(bogus=1), "bogus"),
        (lambda declared: declared["grid"][0].update(C=-0.1), "C is -0.1"),
        (lambda declared: declared.update(grid=[]), "grid"),
        (lambda declared: declared["table"].update(rows=None), "table has rows None"),
    ],
    ids=["unknown setting", "unknown key", "negative C", "empty grid", "no rows"],
)
def test_a_bad_params_file_is_named_with_its_key_in_one_line(checkout, tmp_path, change, key):
    tree = checkout.copy(tmp_path / "tree")
    tree.edit("quickstart", change)
    output = tree.snakemake("--dry-run", "quickstart", fails=True)
    assert [line for line in output.splitlines() if "params/quickstart.yaml" in line and key in line], output


def test_a_download_has_its_own_patience_and_is_not_tried_again_as_jobs_on_nodes_are(checkout, tmp_path):
    tree, missing = checkout.copy(tmp_path / "tree"), {"FEDGRID_MIRROR": str(tmp_path / "empty")}
    output = tree.snakemake(
        "--retries", "2", "data/raw/mnist/t10k-labels-idx1-ubyte.gz", fails=True, **missing, **OFFLINE
    )
    assert output.count("fedgrid fetch: data/raw/mnist/t10k-labels-idx1-ubyte.gz: not to be had") == 1


@pytest.mark.fault
def test_data_out_of_reach_is_named_with_its_sources_and_what_is_there_stays(tree, tmp_path):
    declared = yaml.safe_load((tree.path / "params/datasets.yaml").read_text())["mnist"]
    mine, *_ = sorted(declared["files"])
    (tree.path / "data/raw/mnist").mkdir()
    (tree.path / "data/raw/mnist" / mine).write_text("put here by hand")
    files = [f"data/raw/mnist/{file}" for file in declared["files"]]
    output = tree.snakemake(*files, fails=True, FEDGRID_MIRROR=str(tmp_path / "empty"), **OFFLINE)
    (line, *_) = (line for line in output.splitlines() if line.startswith("fedgrid fetch: data/raw/mnist/"))
    assert all(source.rstrip("/") in line for source in (str(tmp_path / "empty"), *declared["sources"]))
    assert [path.name for path in (tree.path / "data/raw/mnist").iterdir()] == [mine]
    assert tree.partial() == []
