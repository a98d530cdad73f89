"""Laws of a cell as a process: repeated, interrupted, resumed, diverged. On the embedded digits among 50 clients."""

import dataclasses
import gc
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, linear, relu

from fedgrid.algorithms import ALGORITHMS, fedavg
from fedgrid.audit import replay
from fedgrid.curves import SCHEDULES
from fedgrid.grid.cells import cell
from fedgrid.partitions import PARTITIONS
from fedgrid.partitions.partition import of_clients
from fedgrid.rng import stream
from fedgrid.run import checkpoint, effort, job, provenance, race, record, sources
from fedgrid.tasks.datasets import Dataset, digits
from fedgrid.tasks.initial import initial_weights
from fedgrid.tasks.models import DIGITS_2NN
from tests.strangers import Controlled

ROOT = Path(__file__).parents[1]
PLAIN = {
    "task": "digits_2nn",
    "partition": "shards",
    "K": 50,
    "C": 0.1,
    "E": 2,
    "B": 7,  # 30 examples a client: a last batch of two
    "lr": [0.1, 0.3],
    "targets": [],
    "rounds": 12,
    "evaluate": "every_round",
    "train_loss": True,
}
FEDSGD = PLAIN | {"partition": "iid", "E": 1, "B": "inf"}


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    """A folder with the raw digits and their partitions, as `fetch` and `partition` leave them."""
    folder = tmp_path_factory.mktemp("digits")
    digits.extract(folder / "raw/digits/digits.npz")
    dataset = job.load_data("digits", folder / "raw")
    for kind in ("iid", "shards"):
        drawn = job.draw_partition(dataset, PARTITIONS[kind](), 50, 0)
        job.write_partition(drawn, dataset, folder / f"partitions/digits-{kind}-K50-s0.npz")
    return SimpleNamespace(folder=folder, raw=folder / "raw", partitions=folder / "partitions", dataset=dataset)


@pytest.fixture
def run(laid_out, tmp_path, monkeypatch):
    """Runs the cell of those settings in this process, its checkpoints in tmp_path, without a word of progress."""
    monkeypatch.setattr(job, "PROGRESS_SECONDS", math.inf)
    return lambda settings: run_in(laid_out, settings, tmp_path)


def run_in(laid_out, settings, checkpoints):
    """The record as JSON holds it: lists for tuples."""
    return json.loads(json.dumps(job.run(cell(settings), laid_out.raw, laid_out.partitions, checkpoints)))


@pytest.fixture(scope="module")
def undisturbed(laid_out, tmp_path_factory):
    """The records of the two cells that the tests below disturb."""
    nowhere = tmp_path_factory.mktemp("no-checkpoints")
    return {name: run_in(laid_out, settings, nowhere) for name, settings in DISTURBED.items()}


# In single-batch rounds, a rate of 1e6 takes three rounds to overflow: some interruptions fall before, some after.
DISTURBED = {
    "fedavg": PLAIN | {"lr": [0.1, 0.3, 1e30]},
    "fedsgd": FEDSGD | {"lr": [0.1, 0.3, 1e6]},
    "momentum": FEDSGD | {"lr": [0.1, 0.3, 1e6], "algorithm": "fedavgm"},  # whose state is the server's
}


def outcome(of):
    """What must not depend on when or how often a race was interrupted, byte by byte."""
    kept = {key: of["provenance"][key] for key in ("initial_weights", "final_weights", "examples", "bytes_up")}
    return json.dumps([of["curves"], of["result"], kept])


# Repeated


def test_the_same_cell_run_twice_is_the_same_to_the_last_bit(run, undisturbed):
    again = run(DISTURBED["fedavg"])
    assert outcome(again) == outcome(undisturbed["fedavg"])
    other = run(DISTURBED["fedavg"] | {"seed": 0, "shuffle": "once"})
    assert other["provenance"]["final_weights"] != again["provenance"]["final_weights"]


def test_a_record_of_a_run_can_be_written_and_read(run, undisturbed, tmp_path):
    for done in undisturbed.values():
        place = record.write(done, tmp_path / "records")
        assert record.read(place) == done


def test_train_loss_and_other_observations_do_not_change_a_race(run):
    seen, unseen = run(PLAIN), run(PLAIN | {"train_loss": False, "evaluate": "paper"})
    assert seen["provenance"]["final_weights"] == unseen["provenance"]["final_weights"]
    first = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]  # the paper's schedule evaluates 1 to 10 of these 12 rounds
    for a, b in zip(seen["curves"]["rates"], unseen["curves"]["rates"], strict=True):
        assert [a["test_accuracy"][i] for i in first] == b["test_accuracy"]
        assert len(a["train_loss"]) == 12 and not b["train_loss"]


def test_effort_is_counted_in_examples_and_bytes(run):
    done = run(PLAIN)["provenance"]
    assert done["examples"] == 12 * 5 * 30 * 2 * 2  # rounds, clients, examples, epochs, rates
    assert done["bytes_down"] == done["bytes_up"] == 4 * 55_210 * 5 * 12  # bytes, weights, clients, rounds


@pytest.mark.parametrize("name", ["fedavg", "fedsgd"])
def test_the_digests_of_the_weights_are_those_of_each_evaluated_round_and_rate(laid_out, undisturbed, name):
    settings, rates = DISTURBED[name], undisturbed[name]["curves"]["rates"]
    one = cell(settings)
    drawn = job.read_partition(laid_out.partitions / f"{one.partition_name}.npz", laid_out.dataset)
    expected = [[], [], []]
    for lap in race.laps(one, laid_out.dataset, drawn, race.start(one)):
        for place, i in enumerate(lap.running):
            expected[i].append(hashlib.sha256(lap.w[place].numpy().tobytes()).hexdigest()[:16])
    assert [rate["weights"] for rate in rates] == expected
    assert all(len(rate["weights"]) == len(rate["test_accuracy"]) for rate in rates)
    assert len(rates[2]["weights"]) < 12  # it diverged


def test_an_accuracy_is_a_share_of_the_test_examples(undisturbed):
    for done in undisturbed.values():
        assert done["provenance"]["test_examples"] == 297
        right = [297 * accuracy for rate in done["curves"]["rates"] for accuracy in rate["test_accuracy"]]
        assert right and all(abs(n - round(n)) < 1e-9 for n in right)


SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@settings(max_examples=200)
@given(sizes=SIZES, C=st.sampled_from([0, 0.3, 1]), E=st.integers(1, 3), ends=st.lists(st.integers(1, 6), min_size=1))
def test_examples_follow_from_settings_partition_and_the_rounds_of_each_rate(sizes, C, E, ends):
    one = cell(PLAIN | {"K": len(sizes), "C": C, "E": E, "partition": "iid"})
    drawn = of_clients(np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]))
    m = max(round(C * len(sizes)), 1)
    cohorts = [stream(0, "cohort", t).choice(len(sizes), m, replace=False) for t in range(1, max(ends) + 1)]
    expected = sum(sizes[k] * E for last in ends for S_t in cohorts[:last] for k in S_t)
    assert effort.examples(one, drawn, ends) == expected


def test_what_a_record_says_of_examples_and_bytes_follows(laid_out, undisturbed):
    sgd = PLAIN | {"algorithm": "sgd", "partition": "iid", "K": 1, "C": 1, "E": 1, "rounds": 4}
    for name, done in undisturbed.items():
        one, said = cell(DISTURBED[name]), done["provenance"]
        drawn = job.read_partition(laid_out.partitions / f"{one.partition_name}.npz", laid_out.dataset)
        last = done["result"]["rounds"]
        assert effort.moved(one, last).items() <= said.items()
        ends = [rate["diverged"] or last for rate in done["curves"]["rates"]]
        assert effort.examples(one, drawn, ends) == said["examples"]
    assert effort.moved(cell(sgd), 4) == {"bytes_down": 0, "bytes_up": 0}


def spelt_out(w):
    """The digits' 2NN as a function of its inputs, its weights cut from the flat w by hand."""
    W1, b1, W2, b2, W3, b3 = w.split([64 * 200, 200, 200 * 200, 200, 200 * 10, 10])

    def logits(x):
        hidden = relu(linear(relu(linear(x, W1.view(64, 200).T, b1)), W2.view(200, 200).T, b2))
        return linear(hidden, W3.view(200, 10).T, b3)

    return logits


def specified(laid_out, settings, lr, count):
    """w_1, …, w_count by the specification, in single precision; the partition is read as a plain array."""
    x, y = torch.from_numpy(laid_out.dataset.train_x).float() / 16, torch.from_numpy(laid_out.dataset.train_y)
    with np.load(laid_out.partitions / f"digits-{settings['partition']}-K50-s0.npz") as arrays:
        P = np.split(arrays["indices"], arrays["offsets"][1:-1])
    rounds = fedavg.rounds(
        initial_weights(DIGITS_2NN, "glorot", stream(0, "init")).float(),
        P,
        lambda w, b: cross_entropy(spelt_out(w)(x[b]), y[b]),
        C=settings["C"],
        E=settings["E"],
        B=float(settings["B"]),
        lr=lr,
        stream=partial(stream, 0),
    )
    return list(islice(rounds, count))


@pytest.mark.parametrize("settings", [PLAIN, FEDSGD], ids=["fedavg", "fedsgd"])
def test_recorded_curves_are_those_of_the_specification(laid_out, run, settings):
    data = laid_out.dataset
    test_x, test_y = torch.from_numpy(data.test_x).float() / 16, torch.from_numpy(data.test_y)
    train_x, train_y = torch.from_numpy(data.train_x).float() / 16, torch.from_numpy(data.train_y)
    for rate in run(settings | {"rounds": 6})["curves"]["rates"]:
        for t, w in enumerate(specified(laid_out, settings, rate["lr"], 6)):
            logits = spelt_out(w)(test_x)
            correct = int((logits.argmax(1) == test_y).sum())
            assert abs(rate["test_accuracy"][t] * 297 - correct) < 1.01  # one image of 297 may be on the edge
            assert rate["test_loss"][t] == pytest.approx(cross_entropy(logits, test_y).item(), rel=1e-4)
            loss = cross_entropy(spelt_out(w)(train_x), train_y).item()
            assert rate["train_loss"][t] == pytest.approx(loss, rel=1e-4)
        assert rate["train_loss"][-1] < rate["train_loss"][0]


# Pruned

RULE = {"evaluations": 3, "smaller": 1.2, "larger": 1.5}
# In batches of 10, not 7: a matrix of 10 × 200 float32 ends where a cache line does, so each of a stack begins alike.
# Where it does not, as of 297 test images, MKL's last bits depend on the place in the stack: losses on these are near.
RACED = PLAIN | {"B": 10, "lr": [0.003, 0.03, 0.1, 0.3, 1.0, 1e30], "targets": [0.45, 0.58]}
PRUNED = RACED | {"prune": RULE}


def by_hand(curves):
    """The evaluation after which each rate is pruned by RULE; every rate but the last, which diverged, has all."""
    left, count = {}, dict.fromkeys(range(len(curves)), 0)
    for n in range(1, len(curves[0]) + 1):
        error = {i: 1 - max(curve[:n]) for i, curve in enumerate(curves) if curve and i not in left}
        leader = min(error, key=error.get)
        for i in error:
            times = RULE["smaller"] if i < leader else RULE["larger"]
            count[i] = count[i] + 1 if error[i] > times * error[leader] else 0
            if count[i] == RULE["evaluations"]:
                left[i] = n
    return [left.get(i) for i in range(len(curves))]


def test_a_pruned_race_is_the_whole_one_less_what_its_rates_had_still_to_train(run):
    whole, pruned = run(RACED), run(PRUNED)
    ends = by_hand([rate["test_accuracy"] for rate in whole["curves"]["rates"]])
    assert ends == [4, 4, 6, None, 6, None] == [rate.get("pruned") for rate in pruned["curves"]["rates"]]
    for end, rate, cut in zip(ends, whole["curves"]["rates"], pruned["curves"]["rates"], strict=True):
        exact = {key: rate[key][:end] for key in ("test_accuracy", "train_loss", "weights")}
        near = {"test_loss": pytest.approx(rate["test_loss"][:end], rel=1e-6)}
        assert cut == rate | exact | near | ({"pruned": end} if end else {})
    assert pruned["result"] == whole["result"] and whole["result"]["ended"] == "target"
    last, per_round = whole["result"]["rounds"], 5 * 30 * 2  # clients, examples, epochs
    assert pruned["provenance"]["examples"] == per_round * sum([4, 4, 6, last, 6, 1])


def test_a_pruned_rate_at_the_grid_s_end_still_ends_the_grid(run):
    """The rates on both sides of the best are gone, and it is inside all the same; the first of a grid is not."""
    done = run(PRUNED)
    assert (done["result"]["best_lr"], done["result"]["best_lr_at_grid_end"]) == (0.3, False)
    first = run(PRUNED | {"lr": [0.3, 1.0]})
    assert (first["result"]["best_lr"], first["result"]["best_lr_at_grid_end"]) == (0.3, True)
    assert [rate.get("pruned") for rate in first["curves"]["rates"]] == [None, 6]


def test_the_record_of_a_pruned_race_can_be_written_and_read(run, tmp_path):
    done = run(PRUNED)
    assert record.read(record.write(done, tmp_path)) == done


def test_a_pruned_race_started_again_goes_on_without_the_rates_that_left(laid_out, run, tmp_path):
    undisturbed = outcome(run(PRUNED))
    for at, running in ((4, 5), (6, 3), (7, 1)):  # two rates leave in round 4, two more in round 6
        assert interrupted(laid_out, PRUNED, tmp_path, at, signal.SIGKILL) == -signal.SIGKILL
        lap, *_ = checkpoint.read(tmp_path / f"{cell(PRUNED).name}.npz", identity(laid_out, PRUNED), cell(PRUNED))
        assert (lap.t, len(lap.running), len(lap.w)) == (at - 1, running, running)
    assert outcome(run(PRUNED)) == undisturbed


def test_a_race_whose_leader_diverged_goes_on_with_those_that_are_left(run):
    done = run(FEDSGD | {"lr": [0.1, 0.3, 1e6], "prune": {"evaluations": 1, "smaller": 1.0, "larger": 1.0}})
    stopped = [(rate["diverged"], rate.get("pruned")) for rate in done["curves"]["rates"]]
    assert done["result"]["ended"] == "horizon" and (None, None) in stopped


# Interrupted


CHILD = """
import json, os, sys
from pathlib import Path
from fedgrid.run import job, race
from fedgrid.grid.cells import cell
settings, folder, checkpoints, at, number, every = json.loads(sys.argv[1])
job.CHECKPOINT_SECONDS = every
undisturbed = race.laps
def disturbed(*arguments):
    for lap in undisturbed(*arguments):
        if lap.t == at:
            os.kill(os.getpid(), number)
        yield lap
race.laps = disturbed
job.run(cell(settings), Path(folder, "raw"), Path(folder, "partitions"), Path(checkpoints))
"""


def interrupted(laid_out, settings, checkpoints, at, number):
    """Runs the cell in a process of its own, to which the signal is sent after round `at`; its exit status."""
    # SIGKILL leaves no time to write: it finds the checkpoint of the round before. SIGTERM writes its own.
    every = 0 if number == signal.SIGKILL else 3600
    words = json.dumps([settings, str(laid_out.folder), str(checkpoints), at, number, every])
    return subprocess.run([sys.executable, "-c", CHILD, words]).returncode


def saved_round(settings, checkpoints):
    with np.load(checkpoints / f"{cell(settings).name}.npz") as arrays:
        return json.loads(str(arrays["state"]))[1]["t"]


@pytest.mark.parametrize("name", ["fedavg", "momentum"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_race_started_again_ends_like_the_undisturbed_one(
    laid_out, undisturbed, run, tmp_path, monkeypatch, number, name
):
    settings = DISTURBED[name]
    status = interrupted(laid_out, settings, tmp_path, 5, number)
    assert status == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    assert saved_round(settings, tmp_path) == (5 if number == signal.SIGTERM else 4)
    monkeypatch.setattr(race, "start", partial(started_once, race.start, started := []))
    assert outcome(run(settings)) == outcome(undisturbed[name])
    assert len(started) == 1  # to name the initial weights, not to begin anew


def started_once(start, started, cell, *kept):
    started.append(cell)
    return start(cell, *kept)


def test_a_race_may_be_interrupted_any_number_of_times(laid_out, undisturbed, run, tmp_path):
    settings = DISTURBED["fedsgd"]
    assert undisturbed["fedsgd"]["curves"]["rates"][-1]["diverged"] == 3  # between the first two interruptions
    for at, number in ((1, signal.SIGTERM), (5, signal.SIGKILL), (12, signal.SIGTERM)):
        interrupted(laid_out, settings, tmp_path, at, number)
        assert saved_round(settings, tmp_path) == (at - 1 if number == signal.SIGKILL else at)
    assert outcome(run(settings)) == outcome(undisturbed["fedsgd"])


def test_a_run_leaves_the_handling_of_sigterm_as_it_was(run):
    before = signal.getsignal(signal.SIGTERM)
    run(PLAIN | {"rounds": 1})
    assert signal.getsignal(signal.SIGTERM) == before


def test_seconds_add_up_over_interruptions(laid_out, run, tmp_path, monkeypatch):
    path = save(laid_out, PLAIN, tmp_path, lap_at(laid_out, PLAIN, 5), seconds=1000.0)
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0)
    assert run(PLAIN)["provenance"]["seconds"] >= 1000
    lap, seconds, _ = checkpoint.read(path, identity(laid_out, PLAIN), cell(PLAIN))
    assert lap.t == 12 and seconds >= 1000


KILLED = """
import json, os, signal, sys
from pathlib import Path
from fedgrid import files
from fedgrid.algorithms import ALGORITHMS
from fedgrid.engine.rows import Rows
from fedgrid.grid.cells import cell
from fedgrid.run import job
from tests.strangers import Controlled
settings, folder, checkpoints, place, at = json.loads(sys.argv[1])
ALGORITHMS["controlled"] = Controlled
job.CHECKPOINT_SECONDS = 0
owner, name = {"row": (Rows, "put"), "flush": (Rows, "flush"), "rename": (Path, "replace"),
               "checkpointed": (Rows, "checkpointed")}[place]
does, calls = getattr(owner, name), []
def killed(*arguments):
    calls.append(1)
    if len(calls) == at:
        if place == "row":
            row = arguments[1].copy()
            row[..., len(row) // 2 :] = 0  # half of it is written
            does(arguments[0], row, arguments[2])
        os.kill(os.getpid(), signal.SIGKILL)
    return does(*arguments)
setattr(owner, name, killed)
job.run(cell(settings), Path(folder, "raw"), Path(folder, "partitions"), Path(checkpoints))
"""
STATEFUL = PLAIN | {"lr": [0.1, 0.3, 1e30], "algorithm": "controlled"}


@pytest.mark.parametrize("place", ["row", "flush", "rename", "checkpointed"])
def test_a_race_whose_clients_keep_something_is_killed_anywhere_and_ends_like_the_undisturbed_one(
    laid_out, run, tmp_path, monkeypatch, capsys, place
):
    """In the middle of a round; between its rows and the checkpoint; between the checkpoint and what follows it."""
    monkeypatch.setitem(ALGORITHMS, "controlled", Controlled)
    whole = outcome(run(STATEFUL))
    path = tmp_path / f"{cell(STATEFUL).name}.npz"
    for at in (1, 13 if place == "row" else 3):  # of five clients a round
        words = json.dumps([STATEFUL, str(laid_out.folder), str(tmp_path), place, at])
        killed = subprocess.run([sys.executable, "-c", KILLED, words], cwd=ROOT)
        assert killed.returncode == -signal.SIGKILL
    assert saved_round(STATEFUL, tmp_path) == (3 if place == "checkpointed" else 2)
    assert outcome(run(STATEFUL)) == whole
    assert capsys.readouterr().err == "" and checkpoint.beside(path).exists()


@pytest.mark.parametrize("damage", ["cut", "altered", "removed"])
def test_a_race_whose_clients_rows_are_damaged_says_so_and_begins_anew(
    laid_out, run, tmp_path, monkeypatch, capsys, damage
):
    monkeypatch.setitem(ALGORITHMS, "controlled", Controlled)
    whole = outcome(run(STATEFUL))
    path = save(laid_out, STATEFUL, tmp_path, lap_at(laid_out, STATEFUL, 5, tmp_path))
    rows = checkpoint.beside(path)
    kept = rows.read_bytes()
    if damage == "removed":
        rows.unlink()
    else:
        rows.write_bytes(kept[:-1] if damage == "cut" else b"\1" * 100 + kept[100:])
    assert outcome(run(STATEFUL)) == whole
    says = {"cut": "was cut", "altered": "does not hold what client", "removed": "is not there"}[damage]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: no checkpoint ({rows} {says}") and "round 0" in line


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("clients/parameters", lambda one: one - 1),
        ("clients/rates", lambda one: one - 1),
        ("clients/clients", lambda one: one + 1000),
        ("clients/names", lambda one: np.array(["d_k"])),
    ],
)
def test_what_clients_keep_has_the_shape_that_the_cell_s_have(laid_out, tmp_path, monkeypatch, capsys, name, change):
    monkeypatch.setitem(ALGORITHMS, "controlled", Controlled)
    path = save(laid_out, STATEFUL, tmp_path, lap_at(laid_out, STATEFUL, 5, tmp_path))
    rewritten(path, lambda whole: whole.update({name: change(whole[name])}), sealed=True)
    assert "clients" in refused(path, identity(laid_out, STATEFUL), cell(STATEFUL), capsys)


NO_ROOM = """
import json, resource, sys
from pathlib import Path
from fedgrid.algorithms import ALGORITHMS
from fedgrid.grid.cells import cell
from fedgrid.run import job
from tests.strangers import Controlled
settings, folder, checkpoints = json.loads(sys.argv[1])
ALGORITHMS["controlled"] = Controlled
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
try:
    job.run(cell(settings), Path(folder, "raw"), Path(folder, "partitions"), Path(checkpoints))
except ValueError as error:
    sys.exit(str(error))
"""


def test_a_disk_without_room_for_what_clients_keep_ends_the_race_with_a_line(laid_out, tmp_path, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "controlled", Controlled)
    words = json.dumps([STATEFUL, str(laid_out.folder), str(tmp_path)])
    done = subprocess.run([sys.executable, "-c", NO_ROOM, words], cwd=ROOT, capture_output=True, text=True)
    rows = checkpoint.beside(checkpoint.path(tmp_path, cell(STATEFUL).name, "cpu"))
    why = "what clients keep is not written (File too large)"
    says = f"{rows}: {why}; make room and run the cell again: it goes on from its checkpoint\n"
    assert (done.returncode, done.stderr) == (1, says)


# Checkpoints

ELSEWHERE = {"device": "cpu", "processor": "Z80", "instructions": "none", "cores": 1, "threads": 1}


def lap_at(laid_out, settings, t, checkpoints=None):
    one = cell(settings)
    drawn = job.read_partition(laid_out.partitions / f"{one.partition_name}.npz", laid_out.dataset)
    begun = race.start(one, checkpoints and checkpoint.beside(checkpoints / f"{one.name}.npz"))
    return next(lap for lap in race.laps(one, laid_out.dataset, drawn, begun) if lap.t == t)


def kept_by_all(lap):
    """What each of 50 clients keeps at the rates still racing."""
    return lap.states.of_clients(np.arange(50), {"c_k": torch.zeros_like(lap.w)})["c_k"].numpy()


def identity(laid_out, settings):
    one = cell(settings)
    drawn = job.read_partition(laid_out.partitions / f"{one.partition_name}.npz", laid_out.dataset)
    return job.identity(one, laid_out.dataset, drawn)


def save(laid_out, settings, checkpoints, lap, seconds=1.0, machines=(), **changes):
    path = checkpoints / f"{cell(settings).name}.npz"
    checkpoint.save(path, identity(laid_out, settings) | changes, lap, seconds, machines)
    return path


def poisoned(laid_out, settings, t):
    """A race after round t with other weights than its own: whoever goes on from it ends elsewhere."""
    lap = lap_at(laid_out, settings, t)
    return dataclasses.replace(lap, w=torch.full_like(lap.w, 0.01))


def test_a_checkpoint_read_is_the_race_that_was_written(laid_out, tmp_path):
    settings = DISTURBED["fedsgd"]
    lap = lap_at(laid_out, settings, 4)  # one rate of three has diverged
    path = save(laid_out, settings, tmp_path, lap, 12.5, [ELSEWHERE])
    read, seconds, machines = checkpoint.read(path, identity(laid_out, settings), cell(settings))
    assert seconds == 12.5 and machines == [ELSEWHERE] and read.w.equal(lap.w) and read.w.dtype == lap.w.dtype
    for one in ("rates", "rounds", "examples", "running"):
        assert repr(getattr(read, one)) == repr(getattr(lap, one))  # types, last bits and nan, which equals nothing
    assert read.t == lap.t == 4 and len(read.running) == 2


def test_what_clients_and_server_keep_is_in_the_checkpoint_and_the_race_goes_on_by_it(laid_out, tmp_path, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "controlled", Controlled)
    settings = PLAIN | {"lr": [0.1, 0.3, 1e30], "algorithm": "controlled"}
    one, drawn = cell(settings), job.read_partition(laid_out.partitions / "digits-shards-K50-s0.npz", laid_out.dataset)
    lap, whole = lap_at(laid_out, settings, 5, tmp_path), lap_at(laid_out, settings, 9)
    assert len(lap.running) == 2 and lap.states.server["c"].shape == lap.w.shape  # one of three rates has diverged
    read, *_ = checkpoint.read(save(laid_out, settings, tmp_path, lap), identity(laid_out, settings), one)
    assert read.states.server["c"].equal(lap.states.server["c"])
    assert np.array_equal(*(kept_by_all(each) for each in (read, lap)))
    went_on = next(on for on in race.laps(one, laid_out.dataset, drawn, read) if on.t == 9)
    assert went_on.w.equal(whole.w) and went_on.rates == whole.rates
    assert np.array_equal(*(kept_by_all(each) for each in (went_on, whole)))


def test_a_race_is_the_same_if_cell_sources_data_partition_and_torch_are(laid_out, tmp_path, monkeypatch):
    one, data = cell(PLAIN), laid_out.dataset
    drawn = job.draw_partition(data, PARTITIONS["shards"](), 50, 0)
    who = job.identity(one, data, drawn)
    assert job.identity(one, data, drawn) == who
    fewer = Dataset("digits", data.train_x, data.train_y, data.test_x[1:], data.test_y[1:], data.white)
    others = [
        job.identity(cell(PLAIN | {"E": 3}), data, drawn),
        job.identity(one, fewer, drawn),
        job.identity(one, data, job.draw_partition(data, PARTITIONS["shards"](), 50, 1)),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.0")
        others.append(job.identity(one, data, drawn))
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "none")
        others.append(job.identity(one, data, drawn))
        portable = cell(PLAIN | {"numerics": "portable"})
        elsewhere = job.identity(portable, data, drawn)
    assert elsewhere == job.identity(portable, data, drawn)  # whatever the processor
    for source in ("rng", "algorithms.fedavg", "run.race", "engine.layers", "tasks.datasets.digits"):
        for n, more in enumerate(("# a comment\n", "ANOTHER = 1\n")):
            edited, name = tmp_path / f"{source}{n}.py", f"fedgrid.{source}"
            edited.write_text(sources.place(name).read_text() + more)
            with monkeypatch.context() as patch:
                find = lambda one, name=name, edited=edited: edited if one == name else sources.place(one)  # noqa: E731
                patch.setattr(sources, "HERE", sources.Sources(find))
                found = job.identity(one, data, drawn)
            if more.startswith("#"):
                assert found == who
            else:
                others.append(found)
    for n, other in enumerate(others):
        assert other not in [who, *others[:n]]


def test_a_race_that_came_from_another_processor_says_so_and_nobody_demands_its_bits(laid_out, run, tmp_path):
    here = run(PLAIN)["provenance"]
    save(laid_out, PLAIN, tmp_path, lap_at(laid_out, PLAIN, 5), machines=[ELSEWHERE, here["hardware"], ELSEWHERE])
    moved = run(PLAIN)["provenance"]
    named = {key: f"{ELSEWHERE[key]}, then {here['hardware'][key]}" for key in ("processor", "instructions")}
    assert moved["hardware"] == here["hardware"] | named
    assert replay.elsewhere(cell(PLAIN), here) == []
    assert replay.elsewhere(cell(PLAIN), moved) == ["processor", "instructions"]


def test_a_race_goes_on_from_its_own_checkpoint(laid_out, run, undisturbed, tmp_path):
    """So that the tests of checkpoints that are not used could fail."""
    settings = DISTURBED["fedavg"]
    save(laid_out, settings, tmp_path, poisoned(laid_out, settings, 5))
    assert outcome(run(settings)) != outcome(undisturbed["fedavg"])


@pytest.mark.parametrize("key", ["name", "engine", "data", "partition", "torch", "device", "instruction set"])
def test_a_checkpoint_of_another_race_is_not_used(laid_out, run, undisturbed, tmp_path, capsys, key):
    settings = DISTURBED["fedavg"]
    path = save(laid_out, settings, tmp_path, poisoned(laid_out, settings, 5), **{key: "another"})
    assert outcome(run(settings)) == outcome(undisturbed["fedavg"])
    assert capsys.readouterr().err == f"{path}: of another {key}; starting from round 0\n"


def test_a_checkpoint_of_another_device_outlives_a_job_that_came_back_on_a_gpu(
    laid_out, run, undisturbed, tmp_path, monkeypatch, capsys
):
    settings = DISTURBED["fedavg"]
    path = save(laid_out, settings, tmp_path, lap_at(laid_out, settings, 5))
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "device_name", lambda device: "NVIDIA A100/40GB")
        patch.setattr(job, "CHECKPOINT_SECONDS", 0)
        assert outcome(run(settings)) == outcome(undisturbed["fedavg"])
    assert capsys.readouterr().err == "" and path.read_bytes() == before
    others = {path.name for path in tmp_path.iterdir()} - {path.name}
    assert others == {f"{cell(settings).name}.NVIDIA-A100-40GB.npz"}


@pytest.mark.parametrize("device", ["cpu", "NVIDIA A100"])
def test_a_record_that_is_written_leaves_no_checkpoint_of_any_device_nor_what_a_killed_job_left_of_one(
    laid_out, tmp_path, monkeypatch, device
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for folder in ("raw", "partitions"):
        (tmp_path / "data" / folder).symlink_to(laid_out.folder / folder)
    one = cell(PLAIN | {"rounds": 2})
    path = checkpoint.path(job.CHECKPOINTS, one.name, device)
    other = checkpoint.path(job.CHECKPOINTS, "another", device)
    path.parent.mkdir(parents=True)
    for begun in (path, other, path.with_name(f".{path.name}.7.partial"), path.with_name(f"{path.name}.damaged")):
        begun.touch()
    checkpoint.beside(path).touch()
    job.settle(one)
    assert list(path.parent.iterdir()) == [other]


DAMAGES = {
    "empty": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "almost whole": lambda whole: whole[:-10],
    "its head alone": lambda whole: whole[:100],
    "zeros": lambda whole: bytes(len(whole)),
    "a page of zeros": lambda whole: whole[:4096] + bytes(4096) + whole[8192:],
    "text": lambda whole: b"no archive at all",
    "one array": lambda whole: whole[whole.index(b"\x93NUMPY") :],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_broken_checkpoint_starts_the_race_anew_with_a_line_on_stderr(
    laid_out, run, undisturbed, tmp_path, capsys, damage
):
    settings = DISTURBED["fedavg"]
    path = save(laid_out, settings, tmp_path, poisoned(laid_out, settings, 5))
    path.write_bytes(damage(path.read_bytes()))
    assert outcome(run(settings)) == outcome(undisturbed["fedavg"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: ") and "round 0" in line
    assert not path.exists() and path.with_name(f"{path.name}.damaged").exists()
    gc.collect(1)  # a file left open warns here, not in some later test


def rewritten(path, change, sealed):
    """Alters arrays and state of the checkpoint at that path; sealed: with the digest of what it now holds."""
    arrays = dict(np.load(path))
    whole = arrays | {"state": json.loads(str(arrays["state"]))}
    state = change(whole)
    before, digest = whole.pop("state"), whole.pop("digest")
    whole["state"] = np.array(json.dumps(before if state is None else state))
    np.savez(path, **whole, digest=np.array(checkpoint.digest(whole)) if sealed else digest)


def lap_of(whole):
    return whole["state"][1]


def setting(key, value):
    return lambda whole: lap_of(whole).update({key: value})


def of_rate(i, key, value):
    return lambda whole: lap_of(whole)["rates"][i].update({key: value})


# What each does to the arrays and to [who, lap, seconds, machines], and what the refusal calls it.
ALTERED = {
    "weights of another shape": (lambda whole: whole.update(w=whole["w"][:, :-1]), "its weights are"),
    "weights of a rate more": (lambda whole: whole.update(w=whole["w"][[0, 1, 1]]), "its weights are"),
    "weights in double precision": (lambda whole: whole.update(w=whole["w"].astype(float)), "its weights are"),
    "weights that are none": (lambda whole: whole.update(w=np.array("words")), ""),
    "weights that are NaN": (lambda whole: whole["w"].__setitem__((0, 7), np.nan), "its weights are not finite"),
    "no weights": (lambda whole: whole.pop("w") is None or None, "'w'"),
    "t: null": (setting("t", None), "t is None"),
    "t: -3": (setting("t", -3), "t is -3"),
    "t: 0": (setting("t", 0), "t is 0"),
    "t: 4.5": (setting("t", 4.5), "t is 4.5"),
    "t beyond the horizon": (setting("t", 13), "t is 13"),
    "another t": (setting("t", 6), "evaluated rounds"),
    "a rate fewer": (lambda whole: lap_of(whole)["rates"].pop() and None, "learning rates"),
    "another rate": (of_rate(0, "lr", 0.2), "learning rates"),
    "a rate that has diverged runs": (setting("running", [0, 1, 2]), "running is (0, 1, 2)"),
    "a rate that runs is left out": (setting("running", [0]), "running is (0,)"),
    "an evaluated round fewer": (setting("rounds", [1, 2, 3, 4]), "evaluated rounds"),
    "an accuracy fewer": (of_rate(0, "test_accuracy", [0.5]), "its curve at lr 0.1"),
    "rates that are none": (setting("rates", [1]), ""),
    "no rates": (lambda whole: lap_of(whole).pop("rates") and None, "'rates'"),
    "what no race has": (setting("speed", 1), "speed"),
    "machines that are none": (lambda whole: [*whole["state"][:3], [{}]], "'processor'"),
    "no machines": (lambda whole: [*whole["state"][:3], None], ""),
    "no seconds": (lambda whole: [*whole["state"][:2], None, []], ""),
    "nobody's": (lambda whole: [5, *whole["state"][1:]], ""),
    "a number": (lambda whole: 5, ""),
    "a mapping": (lambda whole: {}, ""),
    "a text": (lambda whole: "abcd", ""),
}
# What only the digest tells.
MOVED = {
    "halved weights": lambda whole: whole.update(w=whole["w"] / 2),
    "altered accuracies": of_rate(0, "test_accuracy", [0.99] * 5),
    "altered digests of weights": of_rate(0, "weights", ["0" * 16] * 5),
    "fewer examples": setting("examples", 1),
}


def refused(path, who, one, capsys):
    """The line on stderr that says why the checkpoint is not used; it has been set aside."""
    assert checkpoint.read(path, who, one) is None
    (line,) = capsys.readouterr().err.splitlines()
    aside = path.with_name(f"{path.name}.damaged")
    assert line.startswith(f"{path}: no checkpoint (") and line.endswith(
        f"); set aside as {aside.name}; starting from round 0"
    )
    assert aside.exists() and not path.exists()
    return line


@pytest.mark.parametrize(("change", "says"), ALTERED.values(), ids=ALTERED)
def test_a_checkpoint_of_what_no_race_can_be_in_is_set_aside_by_name(laid_out, tmp_path, capsys, change, says):
    settings = DISTURBED["fedavg"]
    who = identity(laid_out, settings)
    path = save(laid_out, settings, tmp_path, lap_at(laid_out, settings, 5), machines=[ELSEWHERE])
    rewritten(path, change, sealed=True)
    assert says in refused(path, who, cell(settings), capsys)


@pytest.mark.parametrize(
    "change", [*(change for change, _ in ALTERED.values()), *MOVED.values()], ids=[*ALTERED, *MOVED]
)
def test_a_checkpoint_that_is_not_what_was_written_is_set_aside(laid_out, tmp_path, capsys, change):
    settings = DISTURBED["fedavg"]
    path = save(laid_out, settings, tmp_path, lap_at(laid_out, settings, 5), machines=[ELSEWHERE])
    rewritten(path, change, sealed=False)
    assert "digest" in refused(path, identity(laid_out, settings), cell(settings), capsys)


def test_what_a_server_keeps_has_the_shape_of_the_weights(laid_out, tmp_path, capsys):
    settings = DISTURBED["momentum"]
    path = save(laid_out, settings, tmp_path, lap_at(laid_out, settings, 5))
    (kept,) = (name for name in np.load(path) if name.startswith("server/"))
    rewritten(path, lambda whole: whole.update({kept: whole[kept][:, 1:]}), sealed=True)
    assert "server" in refused(path, identity(laid_out, settings), cell(settings), capsys)


def test_a_checkpoint_rewritten_as_it_was_is_read(laid_out, tmp_path):
    """So that each of the alterations above fails by its own fault."""
    settings = DISTURBED["fedavg"]
    path = save(laid_out, settings, tmp_path, lap_at(laid_out, settings, 5), machines=[ELSEWHERE])
    for sealed in (True, False):
        rewritten(path, lambda whole: None, sealed)
        assert checkpoint.read(path, identity(laid_out, settings), cell(settings))[0].t == 5


@pytest.mark.parametrize("altered", ["halved weights", "altered accuracies"])
def test_a_race_whose_checkpoint_was_altered_begins_anew_and_ends_like_the_undisturbed_one(
    laid_out, run, undisturbed, tmp_path, capsys, altered
):
    settings = DISTURBED["fedavg"]
    path = save(laid_out, settings, tmp_path, lap_at(laid_out, settings, 5))
    rewritten(path, MOVED[altered], sealed=False)
    assert outcome(run(settings)) == outcome(undisturbed["fedavg"])
    assert "set aside" in capsys.readouterr().err


FULL_DISK = """
import json, resource, sys
from pathlib import Path
from fedgrid.run import job
from fedgrid.grid.cells import cell
settings, folder, checkpoints = json.loads(sys.argv[1])
job.CHECKPOINT_SECONDS, job.PROGRESS_SECONDS = 0, 3600
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))  # bytes: the kernel refuses to write on, as on a full disk
done = job.run(cell(settings), Path(folder, "raw"), Path(folder, "partitions"), Path(checkpoints))
print(json.dumps(done))
"""


def test_a_disk_without_room_for_a_checkpoint_ends_no_race(laid_out, undisturbed, tmp_path):
    settings = DISTURBED["fedavg"]
    words = json.dumps([settings, str(laid_out.folder), str(tmp_path)])
    done = subprocess.run([sys.executable, "-c", FULL_DISK, words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert outcome(json.loads(done.stdout)) == outcome(undisturbed["fedavg"])
    path = checkpoint.path(tmp_path, cell(settings).name, "cpu")
    assert done.stderr.splitlines() == [f"{path}: not written (File too large); the race goes on"] * 12
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_is_told_and_an_older_checkpoint_stays(laid_out, run, undisturbed, tmp_path, monkeypatch, capsys):
    settings = DISTURBED["fedavg"]
    path = save(laid_out, settings, tmp_path, lap_at(laid_out, settings, 5))
    before = path.read_bytes()
    keep_on = job.keep

    def on_a_full_disk(place, *others):
        place.with_name(f".{place.name}.{os.getpid()}.partial").symlink_to("/dev/full")
        keep_on(place, *others)

    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(job, "keep", on_a_full_disk)
    assert outcome(run(settings)) == outcome(undisturbed["fedavg"])
    assert capsys.readouterr().err == f"{path}: not written (No space left on device); the race goes on\n" * 7
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_no_checkpoint_is_written_before_its_time_and_one_each_time_after(run, tmp_path, monkeypatch):
    run(PLAIN)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0)
    run(PLAIN)
    assert saved_round(PLAIN, tmp_path) == 12
    assert [path.name for path in tmp_path.iterdir()] == [f"{cell(PLAIN).name}.npz"]


def test_progress_is_one_line_a_time(run, monkeypatch, capsys):
    monkeypatch.setattr(job, "PROGRESS_SECONDS", 0)
    run(PLAIN)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{cell(PLAIN).name}: round {t}/12" for t in range(1, 13)]


# Diverged


def test_a_rate_that_diverges_drops_out_and_the_others_never_notice(laid_out, run):
    without = run(FEDSGD)
    beside = run(FEDSGD | {"lr": [0.1, 0.3, 1e6, 1e15]})
    first, second, *gone = beside["curves"]["rates"]
    assert [first, second] == without["curves"]["rates"]
    assert beside["provenance"]["final_weights"] == without["provenance"]["final_weights"]
    assert (without["result"].pop("best_lr_at_grid_end"), beside["result"].pop("best_lr_at_grid_end")) == (True, False)
    assert beside["result"] == without["result"]
    assert first["diverged"] is second["diverged"] is None
    for rate in gone:
        finite = [bool(w.isfinite().all()) for w in specified(laid_out, FEDSGD, rate["lr"], 6)]
        assert rate["diverged"] == finite.index(False) + 1
        assert len(rate["test_accuracy"]) == len(rate["test_loss"]) == rate["diverged"] - 1
    assert {rate["diverged"] for rate in gone} == {2, 3}


def test_a_rate_that_has_diverged_is_trained_no_further(run):
    per_round = 5 * 30  # clients, examples
    done = run(FEDSGD | {"lr": [0.1, 0.3, 1e6, 1e15]})
    diverged = [rate["diverged"] or 12 for rate in done["curves"]["rates"]]
    assert done["provenance"]["examples"] == per_round * sum(diverged)


def test_a_race_ends_when_every_rate_has_diverged(run, tmp_path):
    done = run(FEDSGD | {"lr": [1e6, 1e15], "targets": [0.9]})
    assert done["result"]["ended"] == "diverged"
    assert done["result"]["rounds"] == max(rate["diverged"] for rate in done["curves"]["rates"]) == 3
    assert done["result"]["rounds_to_target"] == {"0.9": None}
    assert record.read(record.write(done, tmp_path)) == done


def test_a_race_in_which_no_rate_was_ever_evaluated_has_no_best_rate(run, tmp_path):
    done = run(PLAIN | {"lr": [1e15, 1e30], "targets": [0.9]})
    assert [rate["diverged"] for rate in done["curves"]["rates"]] == [1, 1]
    assert done["curves"]["rounds"] == []
    assert done["result"] == {
        "ended": "diverged",
        "rounds": 1,
        "rounds_to_target": {"0.9": None},
        "best_accuracy": None,
        "best_lr": None,
        "best_lr_at_grid_end": False,
    }
    assert record.read(record.write(done, tmp_path)) == done


def test_a_loss_that_overflowed_is_null(run):
    done = run(FEDSGD | {"lr": [0.1, 1e6]})
    overflowed = done["curves"]["rates"][1]
    assert overflowed["diverged"] == 3 and None in overflowed["train_loss"]
    assert None not in done["curves"]["rates"][0]["train_loss"]
    json.dumps(done, allow_nan=False)


# Ended


LONG = FEDSGD | {"lr": [0.1, 0.3], "rounds": 45, "evaluate": "paper", "train_loss": False}


@pytest.fixture(scope="module")
def to_the_horizon(laid_out, tmp_path_factory):
    return run_in(laid_out, LONG, tmp_path_factory.mktemp("no-checkpoints"))


def test_a_race_without_targets_runs_to_its_horizon(to_the_horizon):
    assert to_the_horizon["result"]["ended"] == "horizon"
    assert to_the_horizon["result"]["rounds"] == 45
    assert to_the_horizon["result"]["rounds_to_target"] == {}
    assert to_the_horizon["curves"]["rounds"] == [*range(1, 11), 20, 30, 40]


def best_so_far(of):
    curves = [rate["test_accuracy"] for rate in of["curves"]["rates"]]
    return [max(x for curve in curves for x in curve[: i + 1]) for i in range(len(of["curves"]["rounds"]))]


@pytest.mark.parametrize("share", [0.3, 0.75, 0.97])
def test_a_race_ends_at_the_first_evaluated_round_that_meets_its_last_target(run, to_the_horizon, share):
    rounds, best = to_the_horizon["curves"]["rounds"], best_so_far(to_the_horizon)
    target = round(share * best[-1], 4)
    expected = next(t for t, accuracy in zip(rounds, best, strict=True) if accuracy >= target)
    done = run(LONG | {"targets": [0.05, target]})
    assert done["result"]["ended"] == "target"
    assert done["result"]["rounds"] == expected
    points = rounds.index(expected) + 1
    assert done["curves"]["rounds"] == rounds[:points]
    for mine, whole in zip(done["curves"]["rates"], to_the_horizon["curves"]["rates"], strict=True):
        assert mine["test_accuracy"] == whole["test_accuracy"][:points]
    crossing = done["result"]["rounds_to_target"][str(target)]
    assert (rounds[points - 2] if points > 1 else 0) < crossing <= expected
    if points > 1:
        assert crossing == pytest.approx(np.interp(target, best[points - 2 : points], rounds[points - 2 : points]))


def test_a_target_met_exactly_is_met(run, to_the_horizon):
    rounds, best = to_the_horizon["curves"]["rounds"], best_so_far(to_the_horizon)
    done = run(LONG | {"targets": [best[-1]]})
    assert done["result"]["ended"] == "target"
    assert done["result"]["rounds"] == rounds[best.index(best[-1])]
    assert done["result"]["rounds_to_target"][str(best[-1])] == done["result"]["rounds"]


def test_a_target_out_of_reach_runs_to_the_horizon(run):
    done = run(LONG | {"targets": [0.1, 0.999], "rounds": 7})
    assert done["result"]["ended"] == "horizon" and done["result"]["rounds"] == 7
    assert done["result"]["rounds_to_target"]["0.999"] is None
    assert done["result"]["rounds_to_target"]["0.1"] == 1  # begins above


def test_a_best_rate_at_either_end_of_the_grid_is_flagged(run):
    flags = {}
    for lr in ([0.001, 0.01, 0.3], [0.3, 10, 30], [0.01, 0.3, 30], [0.3]):
        result = run(LONG | {"lr": lr, "rounds": 10})["result"]
        assert result["best_lr"] == 0.3
        flags[tuple(lr)] = result["best_lr_at_grid_end"]
    assert list(flags.values()) == [True, True, False, True]


def test_rounds_between_evaluations_are_trained_but_not_seen(run):
    """Evaluating more often shows more of the same race."""
    sparse, dense = run(LONG | {"rounds": 30}), run(LONG | {"rounds": 30, "evaluate": "every_round"})
    assert sparse["provenance"]["final_weights"] == dense["provenance"]["final_weights"]
    places = [t - 1 for t in range(1, 31) if SCHEDULES["paper"](t)]
    for a, b in zip(sparse["curves"]["rates"], dense["curves"]["rates"], strict=True):
        assert a["test_accuracy"] == [b["test_accuracy"][i] for i in places]


# Files


def refusal(function, *arguments):
    """The text of the ValueError; it must be one line."""
    with pytest.raises(ValueError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    del caught
    gc.collect(1)  # a file left open warns here, not in some later test
    return text


def test_a_partition_read_is_the_one_that_was_drawn(laid_out):
    for kind in ("iid", "shards"):
        drawn = job.draw_partition(laid_out.dataset, PARTITIONS[kind](), 50, 0)
        read = job.read_partition(laid_out.partitions / f"digits-{kind}-K50-s0.npz", laid_out.dataset)
        assert read.digest == drawn.digest
        assert [P_k.tolist() for P_k in read] == [P_k.tolist() for P_k in drawn]


def test_a_partition_of_another_dataset_is_refused_by_its_file(laid_out, tmp_path):
    data = laid_out.dataset
    other = Dataset("digits", data.train_x, data.train_y, data.test_x[1:], data.test_y[1:], data.white)
    path = tmp_path / "digits-iid-K50-s0.npz"
    job.write_partition(job.draw_partition(other, PARTITIONS["iid"](), 50, 0), other, path)
    assert refusal(job.read_partition, path, data).startswith(f"{path}: ")
    assert job.read_partition(path, other).digest


def test_a_cell_is_not_trained_on_a_partition_that_its_sources_no_longer_draw(laid_out, tmp_path):
    path, data = tmp_path / "digits-shards-K50-s0.npz", laid_out.dataset
    job.write_partition(job.draw_partition(data, PARTITIONS["shards"](), 50, 1), data, path)
    refused = refusal(job.run, cell(PLAIN), laid_out.raw, tmp_path, tmp_path)
    assert refused == f"{path}: it is not what the sources draw now; delete it to draw it again"


def test_a_missing_partition_is_refused_by_its_file_with_the_command_that_draws_it(laid_out, tmp_path):
    refused = refusal(job.run, cell(PLAIN), laid_out.raw, tmp_path, tmp_path)
    assert refused.startswith(f"{tmp_path / 'digits-shards-K50-s0.npz'}: ")
    assert "fedgrid partition digits-shards-K50-s0" in refused


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_partition_is_refused_by_its_file(laid_out, tmp_path, damage):
    path = tmp_path / "digits-shards-K50-s0.npz"
    path.write_bytes(damage((laid_out.partitions / path.name).read_bytes()))
    assert refusal(job.read_partition, path, laid_out.dataset).startswith(f"{path}: ")


@settings(max_examples=300)
@given(data=st.data())
def test_a_flipped_bit_or_a_cut_in_a_partition_never_gives_another_one(laid_out, tmp_path_factory, data):
    original = laid_out.partitions / "digits-shards-K50-s0.npz"
    whole = bytearray(original.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128, None]))
    damaged = (
        bytes(whole[:place]) if flip is None else bytes([*whole[:place], whole[place] ^ flip, *whole[place + 1 :]])
    )
    path = tmp_path_factory.getbasetemp() / "flipped.npz"
    path.write_bytes(damaged)
    try:
        read = job.read_partition(path, laid_out.dataset)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:  # a bit that carries nothing, as a time in the archive's head
        assert read.digest == job.read_partition(original, laid_out.dataset).digest


def test_data_that_was_never_fetched_is_refused_with_the_command_that_fetches_it(tmp_path):
    refused = refusal(job.load_data, "digits", tmp_path)
    assert str(tmp_path / "digits") in refused and "fedgrid fetch digits" in refused


def test_a_raw_file_that_is_missing_is_refused_by_its_name(tmp_path):
    (tmp_path / "digits").mkdir()
    assert str(tmp_path / "digits/digits.npz") in refusal(job.load_data, "digits", tmp_path)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_raw_file_is_refused_by_its_name(laid_out, tmp_path, damage):
    path = tmp_path / "digits/digits.npz"
    path.parent.mkdir()
    path.write_bytes(damage((laid_out.raw / "digits/digits.npz").read_bytes()))
    assert str(path) in refusal(job.load_data, "digits", tmp_path)


# Threads, devices, scale


@pytest.mark.parametrize("settings", [PLAIN, FEDSGD], ids=["fedavg", "fedsgd"])
def test_a_record_does_not_depend_on_the_threads_that_share_its_work(run, settings, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    alone = run(settings)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    shared = run(settings)
    assert (alone["provenance"]["hardware"]["threads"], shared["provenance"]["hardware"]["threads"]) == (1, 3)
    assert outcome(alone) == outcome(shared)


@pytest.mark.parametrize("wanted", ["0", "-1", "two", ""])
def test_a_number_of_threads_that_is_none_is_refused(run, wanted, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    with pytest.raises(ValueError, match=f"^OMP_NUM_THREADS is '{wanted}'; it must be a whole number from 1$"):
        run(PLAIN)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_tf32_without_a_gpu_is_refused(run):
    with pytest.raises(ValueError, match="precision tf32 needs a GPU, and this process sees none"):
        run(PLAIN | {"precision": "tf32"})


def test_bf16_learns_what_float32_does(run):
    settings = PLAIN | {"lr": [0.1], "train_loss": False}
    exact, rounded = run(settings), run(settings | {"precision": "bf16"})
    assert rounded["settings"]["precision"] == "bf16" and "precision" not in exact["settings"]
    ours, theirs = (one["curves"]["rates"][0]["test_loss"] for one in (rounded, exact))
    assert ours != theirs
    assert ours == pytest.approx(theirs, rel=0.05)
    assert theirs[-1] < 0.8 * theirs[0]


AMONG = """
import resource, sys
from pathlib import Path
from fedgrid.partitions import PARTITIONS
from fedgrid.run import job
from fedgrid.grid.cells import cell
K, folder, raw = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
settings = {"task": "digits_2nn", "partition": "population", "K": K, "C": 10 / K, "E": 1, "B": 5, "lr": 0.1}
one = cell(settings | {"targets": [], "rounds": 20})
dataset = job.load_data("digits", raw)
drawn = job.draw_partition(dataset, PARTITIONS["population"](), K, 0)
job.write_partition(drawn, dataset, folder / f"{one.partition_name}.npz")
del drawn
done = job.run(one, raw, folder, folder)
print(done["provenance"]["examples"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_cell_among_a_million_clients_takes_little_more_memory_than_one_among_a_hundred(laid_out, tmp_path):
    used = {}
    for K in (100, 10**6):
        command = [sys.executable, "-c", AMONG, str(K), str(tmp_path), str(laid_out.raw)]
        examples, used[K] = map(int, subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())
        assert examples == 20 * 10 * 15
    assert used[10**6] - used[100] < 200  # MB
