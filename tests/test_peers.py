"""What is said of other simulators is what was measured; all of them are given identical work, and none is dropped."""

import json
import re
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.peers import loop, measure, ours, shown
from bench.peers.environments import PEERS, Peer, reason
from bench.peers.task import Clock, Data, Task, read, write
from bench.peers.workloads import WORKLOADS, weights
from fedgrid.rng import stream

ROOT = Path(__file__).parents[1]
MEASURED = json.loads((ROOT / "docs/peers.json").read_text())
PINNED = re.search(r"^matplotlib==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
LOOP = next(peer for peer in PEERS if peer.name == "loop")


@pytest.fixture(autouse=True)
def threads():
    """Peers set how many threads PyTorch has."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def small(model, folder):
    """Two clients of ten examples each, four for testing, and a task of one full-batch step a round."""
    rng = stream(0, "small")
    text = model == "lstm"
    shape, classes = ((24, 80), 258) if text else ((24, 784), 10)
    x = rng.integers(classes, size=shape) if text else rng.integers(256, size=shape, dtype=np.uint8)
    y = rng.integers(classes, size=shape if text else 24)
    place = folder / f"{model}.npz"
    write(Data(x[:20], y[:20], x[20:], y[20:], 10, weights(model, rng)), place)
    return Task(str(place), model, clients=2, cohort=2, B=0, rates=(0.05,), rounds=3, cores=1)


def test_documents_and_chart_are_what_was_measured():
    """The chart where matplotlib is the pinned one, for another draws other bytes."""
    for path, content in shown.shown(MEASURED, ROOT).items():
        if path != shown.CHART or metadata.version("matplotlib") == PINNED:
            there = (ROOT / path).read_bytes()
            again = f"{path} is stale: run `python -m bench.peers --chart docs/peers.json` and commit what changes"
            assert there == (content.encode() if isinstance(content, str) else content), again


def test_the_words_say_how_many_times_as_long_the_fastest_of_the_others_takes():
    titles = {"ours": {"title": "fedgrid"}, "a": {"title": "A"}, "b": {"title": "B"}}
    round_ = {"ours": {"warm": [2.0, 1.0, 9.0]}, "a": {"warm": [3.0]}, "b": {"not_run": "no"}}
    swept = {"ours": {"seconds": 10.0}, "a": {"seconds": 90.0}, "b": {"seconds": 45.0}}
    sweep = {"rates": [0.1, 0.2], "target": 0.96, "peers": swept}
    said = {"peers": titles, "workloads": {"W1": {"title": "", "peers": round_}}, "sweep": sweep, "cores": 2}
    text = shown.compared(said)
    assert "2 learning rates to 96%" in text and "fedgrid 10 s" in text and "(B) 45 s" in text
    assert "1.5 to 1.5 times as long" in text
    sweep["peers"] = {"ours": {"seconds": 10.0}, "a": {"not_run": "no"}, "b": {"not_run": "no"}}
    assert "Nothing was compared" in shown.compared(said)


def test_every_peer_and_workload_was_measured_or_says_why_not():
    assert list(MEASURED["peers"]) == [peer.name for peer in PEERS]
    assert list(MEASURED["workloads"]) == [work.name for work in WORKLOADS]
    for part in (*MEASURED["workloads"].values(), MEASURED["sweep"]):
        assert list(part["peers"]) == list(MEASURED["peers"])
        assert all({"not_run"} == set(told) or "not_run" not in told for told in part["peers"].values())


def test_what_was_measured_is_the_same_work():
    for one in MEASURED["workloads"].values():
        assert measure.alike(dict(one["peers"])) == one["peers"]


@pytest.mark.parametrize("model", ["2nn", "cnn", "lstm"])
def test_full_batch_steps_from_the_same_weights_are_the_same_in_the_loop_and_here(model, tmp_path):
    task = small(model, tmp_path)
    seen = []
    for peer in (ours, loop):
        clock = Clock(task)
        peer.train(task, read(task.data), 0.05, clock)
        seen.append([told[1:] for told in clock.seen])
    assert len(seen[0]) == task.rounds
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-4)


def test_a_peer_in_a_process_of_its_own_tells_each_rates_rounds(tmp_path):
    task = replace(small("2nn", tmp_path), rates=(0.05, 0.1))
    told = measure.run(LOOP, task)
    assert [rate["lr"] for rate in told["rates"]] == [0.05, 0.1]
    assert all(len(rate["seconds"]) == len(rate["loss"]) == task.rounds for rate in told["rates"])
    assert told["seconds"] > sum(sum(rate["seconds"]) for rate in told["rates"])


def test_a_peer_that_fails_is_told_by_one_line(tmp_path):
    told = measure.run(Peer("nobody", "Nobody", "none"), small("2nn", tmp_path))
    assert told == {"not_run": "ModuleNotFoundError: No module named 'bench.peers.nobody'"}
    assert reason("[rank1]: ValueError: no\n=====\n") == "[rank1]: ValueError: no" and reason("") == "it said nothing"


def test_a_rate_ends_at_its_target_or_horizon():
    task = Task("", "2nn", 100, 10, 10, (0.1,), rounds=2, cores=1, target=0.9)
    assert Clock(task)(0.9, 0.3) and not Clock(task)(0.89, 0.3)
    clock = Clock(replace(task, target=None))
    assert [clock(0.95, 0.3), clock(0.96, 0.3)] == [False, True]


def test_a_loss_unlike_the_others_is_other_work_and_is_not_run():
    found = {name: {"loss": loss} for name, loss in (("a", 0.2), ("b", 0.21), ("c", 2.3), ("d", float("nan")))}
    kept = measure.alike(found | {"e": {"not_run": "no"}})
    assert [name for name, told in kept.items() if "not_run" not in told] == ["a", "b"]


def test_clients_hold_the_examples_in_turn():
    data = Data(np.zeros((20, 1)), np.zeros(20), np.zeros((1, 1)), np.zeros(1), 10, ())
    assert [data.client(k) for k in range(3)] == [slice(0, 10), slice(10, 20), slice(0, 10)]
