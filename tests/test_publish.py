"""Laws of publication, on a real SQLite store and a real MLflow server: once, whole, and exactly the record."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from fedgrid import artefacts, curves, files, job, publish, record
from fedgrid.datasets import digits

GRID = {
    "cells": {"task": "digits_2nn", "K": 50, "C": 0.1, "E": 1, "B": 10, "rounds": 12, "train_loss": True},
    "grid": [{"partition": ["iid", "shards"], "lr": [0.3, 1e30], "targets": [0.2, 0.99]}],
}
AVERAGING = {
    "kind": "averaging",
    "cells": {"task": "digits_2nn", "partition": "iid", "K": 50, "E": 1, "B": 10, "lr": 0.1, "points": 5},
    "grid": [{"shared_start": True}],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with params and the records of three cells; a learning rate of theirs diverges."""
    folder = tmp_path_factory.mktemp("trained")
    digits.extract(folder / "raw/digits/digits.npz")
    dataset = job.load_data("digits", folder / "raw")
    (folder / "params").mkdir()
    for name, declared in {"grid": GRID, "twin": {"cells_of": "grid"}, "averaging": AVERAGING}.items():
        (folder / f"params/{name}.yaml").write_text(yaml.safe_dump(declared))
    for cell in artefacts.all_cells(folder / "params").values():
        drawn = job.draw_partition(dataset, cell.partition, cell.K, cell.seed)
        job.write_partition(drawn, dataset, folder / f"partitions/{cell.partition_name}.npz")
        made = job.run(cell, folder / "raw", folder / "partitions", folder / "checkpoints")
        record.write(made, folder / "cells")
    return folder


@pytest.fixture
def campaign(trained, tmp_path):
    """The same in a folder of the test's own."""
    for path in [*trained.glob("params/*"), *trained.rglob("cells/**/*.json")]:
        files.write(tmp_path / path.relative_to(trained), path.read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    """The URI of a fresh SQLite store, which the first publication lays out."""
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URI of a running MLflow server with one worker."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"--workers 1 --host 127.0.0.1 --port {port} --backend-store-uri sqlite:///{folder}/mlflow.db".split()
    command = [sys.executable, "-m", "mlflow", "server", *options, "--artifacts-destination", str(folder / "artefacts")]
    with (folder / "log").open("w") as log:
        # without the seven processes that wait for jobs of its AI features
        quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(command, cwd=folder, env=quiet, stdout=log, stderr=log, start_new_session=True)
    try:
        await_health(f"http://127.0.0.1:{port}/health", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def await_health(url, process, log):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"no MLflow server: {log.read_text()[-2000:]}")


@pytest.fixture(params=["sqlite", "server"])
def client(request, monkeypatch):
    """A client of the store that publication goes to, without runs."""
    return emptied(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture
def local(sqlite, monkeypatch):
    """The same of the SQLite store only, for laws that don't depend on the way there."""
    return emptied(sqlite, monkeypatch)


@pytest.fixture
def remote(server, monkeypatch):
    """The same of the server only."""
    return emptied(server, monkeypatch)


def emptied(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name, value in publish.PATIENCE.items():
        monkeypatch.setenv(name, value)
    if uri.startswith("sqlite"):
        monkeypatch.chdir(Path(uri.removeprefix("sqlite:///")).parent)  # its files go to ./mlruns
    store = MlflowClient(uri)
    for run in active(store):
        store.delete_run(run.info.run_id)
    return store


def active(client):
    found = client.get_experiment_by_name("fedgrid digits_2nn")
    return list(client.search_runs([found.experiment_id], max_results=1000)) if found else []


def publication(folder, *names):
    """What it counted: (created, replaced, kept)."""
    return publish.publish_artefacts(list(names), folder / "params", folder / "cells", folder / "figures")


def tree(client):
    """Each cell's run with the runs below it, by the cell's name; none twice and none without its parent."""
    runs = {run.info.run_id: run for run in active(client)}
    parents = [run for run in runs.values() if run.data.tags["level"] == "cell"]
    cells = {run.data.tags["cell"]: (run, []) for run in parents}
    assert len(cells) == len(parents)
    for run in runs.values():
        if run.data.tags["level"] == "rate":
            cells[runs[run.data.tags["mlflow.parentRunId"]].data.tags["cell"]][1].append(run)
    return cells


def identifiers(client):
    return {run.info.run_id for run in active(client)}


def curve(client, run, key):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]


def assert_shows(client, folder, name):
    """The cell has one run, whole, with one below it for each learning rate, and they say what its record does."""
    path = record.path(name, folder / "cells")
    made, (run, below) = record.read(path), tree(client)[name]
    assert run.data.tags["record_digest"] == files.sha256(path)
    assert {one.info.status for one in (run, *below)} == {"FINISHED"}
    rounds, rates = made["curves"]["rounds"], made["curves"]["rates"]
    best = curves.envelope([rate["test_accuracy"] for rate in rates]).tolist()
    assert curve(client, run, "best_accuracy") == list(zip(rounds, best, strict=True))
    by_rate = {float(one.data.params["lr"]): one for one in below}
    assert len(below) == len(by_rate) == len(rates)
    for rate in rates:
        for key in ("test_accuracy", "test_loss", "train_loss"):
            expected = [(t, value) for t, value in zip(rounds, rate[key], strict=False) if value is not None]
            assert curve(client, by_rate[rate["lr"]], key) == expected
    return run, below


def first(folder):
    """The record of the cell that most tests look at."""
    (path,) = (folder / "cells").rglob("digits_2nn-iid-C0.1-*.json")
    return path


def change(folder, times=1):
    """Writes the first record anew, its test accuracies halved and its curves so many times as long."""
    made = record.read(first(folder))
    length = len(made["curves"]["rounds"]) * times
    made["curves"]["rounds"] = list(range(1, length + 1))
    for rate in made["curves"]["rates"]:
        rate["test_accuracy"] = [value / 2 for value in rate["test_accuracy"]] * times
        for key in ("test_loss", "train_loss"):
            rate[key] = rate[key] * times
    record.write(made, folder / "cells")


def test_what_is_published_is_the_record(client, campaign):
    assert publication(campaign, "grid", "averaging") == (3, 0, 0)
    run, below = assert_shows(client, campaign, first(campaign).stem)
    made = json.loads(first(campaign).read_text())
    settings = {key: value if isinstance(value, str) else json.dumps(value) for key, value in made["settings"].items()}
    assert run.data.params == settings
    assert {one.info.run_name for one in below} == {"lr 0.3", "lr 1e+30"}
    assert [one.data.params | {"lr": settings["lr"]} for one in below] == [settings] * 2
    assert [one.data.tags.get("diverged") for one in below if one.info.run_name == "lr 1e+30"] == ["1"]
    for tag, fact in {"commit": "commit", "engine_digest": "engine", "data_digest": "data"}.items():
        assert run.data.tags.get(tag) == made["provenance"][fact]
    assert run.data.tags["partition_digest"] == made["provenance"]["partition"]
    assert run.data.metrics["rounds_to_0.2"] == made["result"]["rounds_to_target"]["0.2"]
    assert "rounds_to_0.99" not in run.data.metrics
    assert run.data.metrics["best_lr"] == made["result"]["best_lr"]
    (data,) = [given.dataset for given in run.inputs.dataset_inputs]
    assert (data.name, made["provenance"]["data"].startswith(data.digest)) == ("digits", True)


def test_figure_1_shows_its_losses_by_theta(client, campaign):
    publication(campaign, "averaging")
    ((run, below),) = tree(client).values()
    made = record.read(record.path(run.data.tags["cell"], campaign / "cells"))
    for key in ("theta", "train_loss"):
        assert curve(client, run, key) == list(enumerate(made["curves"][key]))
    assert run.data.metrics["least.loss"] == made["result"]["least"]["loss"]
    assert not below


def test_published_twice_is_published_once(client, campaign, monkeypatch):
    monkeypatch.setattr(publish, "PAGE", 2)  # three cells: more than a page
    assert publication(campaign, "grid", "averaging") == (3, 0, 0)
    before = identifiers(client)
    assert publication(campaign, "averaging", "twin", "grid") == (0, 0, 3)
    assert identifiers(client) == before


def test_a_changed_record_replaces_its_run_and_no_other(client, campaign):
    publication(campaign, "grid")
    others = {name: run.info.run_id for name, (run, _) in tree(client).items() if name != first(campaign).stem}
    change(campaign)
    assert publication(campaign, "grid") == (0, 1, 1)
    assert_shows(client, campaign, first(campaign).stem)
    assert {name: tree(client)[name][0].info.run_id for name in others} == others
    assert len(active(client)) == 2 * (1 + 2)


def test_a_curve_longer_than_a_call_takes_is_whole(client, campaign):
    change(campaign, times=100)
    publication(campaign, "grid")
    assert_shows(client, campaign, first(campaign).stem)


def test_cells_not_yet_run_are_left_out(local, campaign):
    first(campaign).unlink()
    assert publication(campaign, "grid") == (1, 0, 0)


def test_a_damaged_record_is_named(local, campaign):
    first(campaign).write_text("{}")
    with pytest.raises(ValueError, match=f"^{first(campaign)}: damaged record"):
        publication(campaign, "grid")


def test_a_run_carries_the_record_and_the_figures_of_all_its_artefacts(client, campaign):
    files.write(campaign / "figures/twin.png", b"the first drawing")
    publication(campaign, "grid")
    run, _ = tree(client)[first(campaign).stem]
    assert run.data.tags["artefacts"] == "grid, twin"
    expected = {first(campaign).name: first(campaign).read_bytes(), "twin.png": b"the first drawing"}
    assert carried(client, run, campaign) == expected
    files.write(campaign / "figures/twin.png", b"another drawing")
    files.write(campaign / "figures/grid.png", b"a new one")
    assert publication(campaign, "grid") == (0, 0, 2)
    same, _ = tree(client)[first(campaign).stem]
    assert same.info.run_id == run.info.run_id
    expected |= {"twin.png": b"another drawing", "grid.png": b"a new one"}
    assert carried(client, run, campaign) == expected


def carried(client, run, folder):
    """What the run's files hold, by their names."""
    to = folder / "down"
    to.mkdir(exist_ok=True)
    names = [file.path for file in client.list_artifacts(run.info.run_id)]
    return {name: Path(client.download_artifacts(run.info.run_id, name, to)).read_bytes() for name in names}


CALLS = ("create_run", "log_batch", "log_inputs", "log_artifact", "set_tag", "set_terminated", "delete_run")


def test_interrupted_at_any_call_and_repeated_it_is_whole(local, campaign, monkeypatch):
    (campaign / "params/one.yaml").write_text(yaml.safe_dump(GRID | {"grid": [GRID["grid"][0] | {"partition": "iid"}]}))
    publication(campaign, "one")
    for calls in range(1, 100):
        change(campaign)  # so that runs are deleted, too
        with monkeypatch.context() as patch:
            left = [calls]
            for name in CALLS:
                patch.setattr(MlflowClient, name, interrupting(getattr(MlflowClient, name), left))
            try:
                publication(campaign, "one")
            except KeyboardInterrupt:
                pass
            else:
                break
        assert sum(publication(campaign, "one")) == 1
        assert_shows(local, campaign, first(campaign).stem)
        assert len(active(local)) == 1 + 2
    assert calls > 15


def interrupting(call, left):
    """The call, interrupted in its place when `left[0]`, which all such calls count down, comes to 0."""

    def interrupted(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return call(*arguments, **options)

    return interrupted


def test_killed_while_it_publishes_and_repeated_it_is_whole(remote, campaign):
    script = f"""
        import os, signal
        from pathlib import Path
        from fedgrid import publish
        publish.illustrate = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        folder = Path({str(campaign)!r})
        publish.publish_artefacts(["grid"], folder / "params", folder / "cells", folder / "figures")
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(active(remote)) == 1 + 2
    assert publication(campaign, "grid") == (1, 1, 0)
    for name in tree(remote):
        assert_shows(remote, campaign, name)
    assert len(active(remote)) == 2 * (1 + 2)


def test_a_server_that_does_not_answer_is_one_line_that_names_it(campaign, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    said = rf"^http://127.0.0.1:{port}: .*Connection refused.*; start the server"
    with pytest.raises(ValueError, match=said) as raised:
        publication(campaign, "grid")
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_damaged_database_is_one_line_that_names_it(campaign, monkeypatch):
    files.write(campaign / "mlflow.db", "no database")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{campaign}/mlflow.db")
    with pytest.raises(ValueError, match=r"mlflow\.db: .*not a database; .*delete") as raised:
        publication(campaign, "grid")
    assert "\n" not in str(raised.value)
