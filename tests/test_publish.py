"""Laws of publication, on a real SQLite store and a real MLflow server: once, whole, and exactly the record.

Whoever else publishes, whatever is killed or lost on the way.
"""

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from fedgrid import files
from fedgrid.grid import artefacts
from fedgrid.run import job, record
from fedgrid.tasks.datasets import digits
from fedgrid.tracking import publish, retries
from fedgrid.tracking.runs import runs_of_rates

PUBLISH = Path(__file__).parents[1] / "workflow/rules/publish.smk"
GRID = {
    "cells": {"task": "digits_2nn", "K": 50, "C": 0.1, "E": 1, "B": 10, "rounds": 12, "train_loss": True},
    "grid": [{"partition": ["iid", "shards"], "lr": [0.3, 1e30], "targets": [0.2, 0.99]}],
    "table": {"rows": ["B"], "columns": ["partition"], "baseline": {}},
}
TWIN = {"cells_of": "grid", "table": GRID["table"]}
AVERAGING = {
    "kind": "interpolation",
    "cells": {"task": "digits_2nn", "partition": "iid", "K": 50, "E": 1, "B": 10, "lr": 0.1, "points": 5},
    "grid": [{"shared_start": True}],
    "figure": {"kind": "interpolation"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with params and the records of three cells; a learning rate of theirs diverges."""
    folder = tmp_path_factory.mktemp("trained")
    digits.extract(folder / "raw/digits/digits.npz")
    dataset = job.load_data("digits", folder / "raw")
    (folder / "params").mkdir()
    for name, declared in {"grid": GRID, "twin": TWIN, "averaging": AVERAGING}.items():
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
    return copied(trained, tmp_path)


def copied(folder, to):
    """The other folder, which has the same params and records."""
    for path in [*folder.glob("params/*"), *folder.glob("cells/**/*.json")]:
        files.write(to / path.relative_to(folder), path.read_bytes())
    return to


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    """The URI of a fresh SQLite store, which the first publication lays out."""
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URI of a running MLflow server with one worker."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    process = started(folder, port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process, signal.SIGTERM)


def free_port():
    """A port that nobody listens at, none of those that the system hands out: beside this, other tests ask for one."""
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def started(folder, port):
    """The process group's leader of an MLflow server that answers there, its database and files in the folder."""
    options = f"--workers 1 --host 127.0.0.1 --port {port} --backend-store-uri sqlite:///{folder}/mlflow.db".split()
    command = [sys.executable, "-m", "mlflow", "server", *options, "--artifacts-destination", str(folder / "artefacts")]
    with (folder / "log").open("a") as log:
        # without the seven processes that wait for jobs of its AI features
        quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(command, cwd=folder, env=quiet, stdout=log, stderr=log, start_new_session=True)
    try:
        await_health(f"http://127.0.0.1:{port}/health", process, folder / "log")
    except BaseException:
        stop(process, signal.SIGKILL)
        raise
    return process


def stop(process, how):
    os.killpg(process.pid, how)
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
    monkeypatch.setattr(retries, "PAUSES", (0, 0))
    for name, value in retries.REQUESTS.items():
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
    said = curve(client, run, "best_accuracy")
    assert [t for t, _ in said] == rounds
    for n, (_, best) in enumerate(said, start=1):
        assert best == max(accuracy for rate in rates for accuracy in rate["test_accuracy"][:n])
    by_rate = {float(one.data.params["lr"]): one for one in below}
    assert len(below) == len(by_rate) == len(rates)
    for rate in rates:
        for key in ("test_accuracy", "test_loss", "train_loss"):
            expected = [(t, value) for t, value in zip(rounds, rate[key], strict=False) if value is not None]
            assert curve(client, by_rate[rate["lr"]], key) == expected
        assert "weights" not in by_rate[rate["lr"]].data.metrics  # which are digests, no curve
    return run, below


def first(folder):
    """The record of the cell that most tests look at."""
    (path,) = folder.glob("cells/*/digits_2nn-iid-C0.1-*.json")
    return path


def change(folder, times=1):
    """Writes the first record anew, its test accuracies halved and its curves so many times as long."""
    made = record.read(first(folder))
    length = len(made["curves"]["rounds"]) * times
    made["curves"]["rounds"] = list(range(1, length + 1))
    for rate in made["curves"]["rates"]:
        rate["test_accuracy"] = [value / 2 for value in rate["test_accuracy"]] * times
        for key in ("test_loss", "train_loss", "weights"):
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


def test_a_rate_says_whether_and_when_it_was_pruned():
    rates = [{"lr": 0.1, "test_accuracy": [0.1], "diverged": None, "pruned": 1}, {"lr": 0.2, "diverged": 1}]
    made = {"name": "one", "settings": {}, "curves": {"rounds": [1, 2], "rates": rates}}
    pruned, diverged = runs_of_rates(made, "parent")
    assert (pruned.tags["pruned"], pruned.tags["diverged"]) == (1, None)
    assert (diverged.tags["pruned"], diverged.tags["diverged"]) == (None, 1)


def test_figure_1_shows_its_losses_by_theta(client, campaign):
    publication(campaign, "averaging")
    ((run, below),) = tree(client).values()
    made = record.read(record.path(run.data.tags["cell"], campaign / "cells"))
    for key in ("theta", "train_loss"):
        assert curve(client, run, key) == list(enumerate(made["curves"][key]))
    assert run.data.metrics["least.loss"] == made["result"]["least"]["loss"]
    assert not below


def test_published_twice_is_published_once(client, campaign):
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


@pytest.fixture
def one(campaign):
    """The same folder with an artefact "one" of one cell, whose record is the first."""
    (campaign / "params/one.yaml").write_text(yaml.safe_dump(GRID | {"grid": [GRID["grid"][0] | {"partition": "iid"}]}))
    return campaign


def assert_whole_and_alone(client, folder):
    """The first cell is there as its record says, and nothing else."""
    assert_shows(client, folder, first(folder).stem)
    assert len(active(client)) == 1 + 2


@pytest.mark.fault
def test_interrupted_at_any_call_and_repeated_it_is_whole(local, one, monkeypatch):
    campaign = one
    publication(campaign, "one")
    for calls in range(1, 100):
        change(campaign)  # so that runs are deleted, too
        with monkeypatch.context() as patch:
            before_call(patch, calls, interrupt)
            try:
                publication(campaign, "one")
            except KeyboardInterrupt:
                pass
            else:
                break
        assert sum(publication(campaign, "one")) == 1
        assert_whole_and_alone(local, campaign)
    assert calls > 15


def before_call(patch, number, *does):
    """Does the first of those before the call of that number which a publication makes, the next before the next."""
    todo, left = list(does), [number]

    def meddled(call):
        def meddle(*arguments, **options):
            left[0] -= 1
            if left[0] <= 0 and todo:
                todo.pop(0)()
            return call(*arguments, **options)

        return meddle

    for name in CALLS:
        patch.setattr(MlflowClient, name, meddled(getattr(MlflowClient, name)))


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.fault
@pytest.mark.parametrize("dies", ["nobody", "this one", "the other"])
@pytest.mark.parametrize("theirs", ["same", "other"])
def test_another_publishes_between_any_two_calls_and_one_whole_run_is_left(local, one, monkeypatch, theirs, dies):
    """Of the same record or another one; who is killed then leaves what the next publication removes."""
    calls_of = {name: getattr(MlflowClient, name) for name in CALLS}
    record_of = {"ours": first(one).read_bytes()}
    change(one)
    record_of |= {"same": record_of["ours"], "other": first(one).read_bytes()}

    def another():
        done.append(theirs)
        first(one).write_bytes(record_of[theirs])
        with monkeypatch.context() as unpatch:
            for name, call in calls_of.items():
                unpatch.setattr(MlflowClient, name, call)
            before_call(unpatch, 3, *([interrupt] if dies == "the other" else []))
            with suppress(KeyboardInterrupt):
                publication(one, "one")
        first(one).write_bytes(record_of["ours"])

    done = []
    for calls in range(1, 100):
        for run in active(local):
            local.delete_run(run.info.run_id)
        first(one).write_bytes(record_of["ours"])
        with monkeypatch.context() as patch:
            before_call(patch, calls, another, *([interrupt] if dies == "this one" else []))
            with suppress(KeyboardInterrupt):
                publication(one, "one")
        if dies != "nobody":
            publication(one, "one")
        if len(done) < calls:
            break
        ((run, _),) = tree(local).values()
        if run.data.tags["record_digest"] != files.sha256(first(one)):
            first(one).write_bytes(record_of[theirs])
        assert_whole_and_alone(local, one)
    assert len(done) > 12


@pytest.mark.fault
def test_a_run_that_is_half_done_when_another_looks_and_whole_when_he_deletes_is_not_lost(local, one, monkeypatch):
    """He has the record that is there, and sees it whole beside ours."""
    colleague = copied(one, one / "colleague")
    publication(one, "one")
    change(one)
    family, looked, go_on = publish.family, threading.Event(), threading.Event()

    def slow_family(*arguments):
        seen = family(*arguments)
        if threading.current_thread() is his:
            looked.set()
            assert go_on.wait(60)
        return seen

    monkeypatch.setattr(publish, "family", slow_family)
    his = threading.Thread(target=publication, args=(colleague, "one"))
    with monkeypatch.context() as patch:
        before_call(patch, 5, his.start, lambda: looked.wait(60))
        publication(one, "one")
    assert looked.is_set()
    go_on.set()
    his.join()
    ((run, _),) = tree(local).values()
    whose = one if run.data.tags["record_digest"] == files.sha256(first(one)) else colleague
    assert_whole_and_alone(local, whose)


@pytest.mark.fault
def test_many_publish_to_a_server_at_once_and_each_cell_is_there_once_and_whole(remote, campaign, tmp_path):
    """Artefacts that share cells, again and again; one of the folders has another record of a cell."""
    colleague = copied(campaign, tmp_path / "colleague")
    change(colleague)
    work = [
        (campaign, "grid"),
        (campaign, "twin averaging"),
        (colleague, "grid averaging"),
        (campaign, "averaging grid"),
    ]
    publishers = [publisher(folder, names) for folder, names in work]
    for process in publishers:
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in publishers:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in publishers:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    cells = tree(remote)
    for name, (run, _) in cells.items():
        digests = {files.sha256(record.path(name, whose / "cells")): whose for whose in (campaign, colleague)}
        whose = digests[run.data.tags["record_digest"]]
        if "averaging" not in name:
            assert_shows(remote, whose, name)
    assert len(cells) == 3
    assert len(active(remote)) == 2 * (1 + 2) + 1


def publisher(folder, names):
    """A process that publishes three times, once it is told to."""
    script = f"""
        from pathlib import Path
        from fedgrid.tracking import publish
        folder = Path({str(folder)!r})
        print("ready", flush=True)
        input()
        for _ in range(3):
            publish.publish_artefacts({names.split()!r}, folder / "params", folder / "cells", folder / "figures")
    """
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], text=True, **pipes)


class Gateway(BaseHTTPRequestHandler):
    """Hands requests on to `server.upstream`; the answer to number `server.lost` is never seen."""

    def hand_on(self):
        self.server.seen += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection(self.server.upstream)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if self.server.seen != self.server.lost:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = hand_on

    def log_message(self, *_):
        pass


@pytest.fixture
def gateway(remote, server, monkeypatch):
    """A gateway to the server, which publication goes through."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as http_server:
        http_server.upstream = server.removeprefix("http://")
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{http_server.server_port}")
        yield http_server
        http_server.shutdown()
        thread.join()


@pytest.mark.fault
def test_an_answer_lost_on_the_way_doubles_nothing(remote, gateway, one):
    for lost in range(1, 100):
        change(one)
        gateway.seen, gateway.lost = 0, lost
        assert sum(publication(one, "one")) == 1
        assert_whole_and_alone(remote, one)
        if gateway.seen < lost:
            break
    assert lost > 15


@pytest.mark.fault
def test_a_server_killed_and_started_again_in_the_middle_loses_and_doubles_nothing(campaign, tmp_path, monkeypatch):
    port = free_port()
    processes = [started(tmp_path, port)]
    store = emptied(f"http://127.0.0.1:{port}", monkeypatch)
    monkeypatch.setattr(retries, "PAUSES", (1,) * 120)

    def kill():
        stop(processes[0], signal.SIGKILL)
        threading.Thread(target=lambda: processes.append(started(tmp_path, port))).start()

    try:
        before_call(monkeypatch, 12, kill)
        assert sum(publication(campaign, "grid")) == 2
        assert publication(campaign, "grid") == (0, 0, 2)
        for name in tree(store):
            assert_shows(store, campaign, name)
        assert len(active(store)) == 2 * (1 + 2)
    finally:
        stop(processes[-1], signal.SIGKILL)


@pytest.mark.fault
def test_killed_while_it_publishes_and_repeated_it_is_whole(remote, campaign):
    script = f"""
        import os, signal
        from pathlib import Path
        from fedgrid.tracking import publish
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


def test_a_server_that_does_not_answer_is_one_line_that_names_it(campaign, dead, monkeypatch, capsys):
    monkeypatch.setattr(retries, "PAUSES", (0, 0))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead.replace("//", "//me:se@cret@"))
    said = rf"^{dead}: .*Connection refused.*; start the server"
    with pytest.raises(ValueError, match=said) as raised:
        publication(campaign, "grid")
    assert "\n" not in str(raised.value)
    waited = capsys.readouterr().err
    assert len(re.findall("Connection refused.*; again in 0 s$", waited, re.MULTILINE)) == 2
    assert "cret" not in str(raised.value) + waited


def test_a_damaged_database_is_one_line_that_names_it(campaign, monkeypatch):
    files.write(campaign / "mlflow.db", "no database")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{campaign}/mlflow.db")
    with pytest.raises(ValueError, match=r"mlflow\.db: .*not a database; .*delete") as raised:
        publication(campaign, "grid")
    assert "\n" not in str(raised.value)


@pytest.fixture
def workflow(campaign):
    """Runs Snakemake with the rules of publication in a folder that has an artefact, its records and its table."""
    made = ["results/tables/quickstart.md"]
    files.write(campaign / made[0], "a table")
    files.write(campaign / "params/quickstart.yaml", yaml.safe_dump(GRID))
    (campaign / "cells").rename(campaign / "results/cells")
    snakefile = f"""
        ARTEFACTS = MAIN = ["quickstart"]
        def records(name):
            return []
        def outputs(name):
            return {made}
        results = outputs
        include: {str(PUBLISH)!r}
        rule quickstart:
            input: {made}, "mlruns/quickstart.txt"
    """
    files.write(campaign / "Snakefile", textwrap.dedent(snakefile))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def snakemake(target, store):
        environment = os.environ | {"MLFLOW_TRACKING_URI": store, "PATH": path}
        command = ("snakemake", "--cores", "1", target)
        done = subprocess.run(command, cwd=campaign, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return snakemake


@pytest.mark.fault
def test_a_server_that_is_down_fails_no_quickstart_and_mlflow_publishes_later(remote, server, dead, campaign, workflow):
    status, output = workflow("quickstart", dead)
    assert status == 0, output
    assert f"fedgrid publish: {dead}: MLflow does not answer" in (campaign / "mlruns/quickstart.txt").read_text()
    status, output = workflow("mlflow", server)
    assert status == 0, output
    assert len(tree(remote)) == 2
    assert "Nothing to be done" in workflow("quickstart", server)[1]
    (damaged, *_) = (campaign / "results/cells").rglob("*.json")
    damaged.write_text("{}")
    status, output = workflow("mlflow", server)
    assert status == 1
    assert "damaged record" in output


def test_a_cell_is_run_without_mlflow(trained, dead, campaign):
    script = """
        import sys
        from fedgrid.__main__ import main
        main(["run", sys.argv[1]])
        assert "mlflow" not in sys.modules
    """
    name = first(campaign).stem
    (campaign / "data").mkdir()
    for folder in ("raw", "partitions"):
        (campaign / "data" / folder).symlink_to(trained / folder)
    environment = os.environ | {"MLFLOW_TRACKING_URI": dead}
    command = (sys.executable, "-c", textwrap.dedent(script), name)
    done = subprocess.run(command, cwd=campaign, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made, before = (record.read(record.path(name, campaign / folder)) for folder in ("results/cells", "cells"))
    assert made["curves"] == before["curves"]
