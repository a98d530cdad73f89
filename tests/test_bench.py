"""The bench measures what it says; how fast anything is, no test asserts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from bench import __main__ as bench
from bench import clients, loops, pruning, rounds
from fedgrid.curves import Prune
from fedgrid.rng import stream
from fedgrid.run.pace import examples
from fedgrid.tasks import models

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["MNIST_2NN", "MNIST_CNN", "CHAR_LSTM", "WORD_LSTM", "DIGITS_2NN"])
def test_the_plain_loops_network_is_of_the_same_size(name):
    """But for peepholes, which torch.nn.LSTM lacks, and its second bias."""
    model, net = getattr(models, name), loops.network(getattr(models, name))
    memories = [layer for layer in model.layers if hasattr(layer, "peephole")]
    gates = sum(4 * layer.units - 3 * layer.units for layer in memories)
    assert sum(p.numel() for p in net.parameters()) == model.parameters + gates
    data = examples(model, 3, stream(0, "x"), torch.device("cpu"))
    x, y = data[:3]
    assert torch.isfinite(cross_entropy(net(x).flatten(0, -2), y.flatten()))


def test_the_plain_loop_averages_what_its_clients_learn_by_sgd():
    net = torch.nn.Linear(2, 2, bias=False)
    begun = net.weight.detach().clone()
    data = examples(models.dense(2, 2), 6, stream(0, "x"), torch.device("cpu"))
    expected = torch.zeros(2, 2)
    for mine in ([0, 1], [2, 3, 4, 5]):
        W = begun.clone().requires_grad_()
        x, y = data[torch.tensor(mine)]
        (gradient,) = torch.autograd.grad(cross_entropy(x @ W.T, y), W)
        expected += len(mine) / 6 * (begun - 0.5 * gradient)
    loops.train(net, [torch.tensor([0, 1]), torch.tensor([2, 3, 4, 5])], data, 4, 0.5)
    torch.testing.assert_close(net.weight.detach(), expected)


def test_a_row_says_what_was_done_and_how_fast():
    work = rounds.Workload("DIGITS_2NN", 10, rates=2, cohort=2, each=20, clients=200, workers=2)
    row = rounds.measure(work, torch.device("cpu"), turns=1)
    wanted = {"model", "device", "cohort", "batch_size", "examples_per_second", "gflops", "share_of_matmul", "peak_mb"}
    assert wanted <= set(row) and json.loads(json.dumps(row)) == row
    assert row["gflops"] == pytest.approx(row["examples_per_second"] * models.DIGITS_2NN.flops / 1e9)
    assert row["share_of_matmul"] == pytest.approx(row["gflops"] / row["matmul_gflops"])
    assert 50 < row["peak_mb"] < 24_000


@pytest.mark.parametrize("keeps", [False, True])
def test_a_round_of_many_clients_says_what_they_keep(keeps):
    row = clients.measure(clients.Case("softmax", 300, 20, keeps), turns=1)
    assert set(clients.COLUMNS) <= set(row) and json.loads(json.dumps(row)) == row
    assert row["file_mb"] == pytest.approx(300 * 650 * 4 / 1e6 if keeps else 0)  # each in its place: no checkpoint yet
    assert len(clients.row(row)) == len(clients.COLUMNS)


def test_bf16_has_rows_where_a_cpu_has_instructions_for_it_and_the_bench_says_where_it_has_not(monkeypatch):
    def of_bf16(numerics):
        todo, left_out = bench.workloads(numerics)
        return [work.model for work, device in todo if work.precision == "bf16" and device.type == "cpu"], left_out

    monkeypatch.setattr(bench, "bf16_is_slow", lambda: "")
    assert of_bf16("native") == (["MNIST_CNN", "CHAR_LSTM"], "")
    assert of_bf16("portable") == ([], "portable numerics are float32, not bf16")
    monkeypatch.setattr(bench, "bf16_is_slow", lambda: "bf16 does not pay")
    assert of_bf16("native") == ([], "bf16 does not pay")


def test_a_row_of_bf16_is_measured_with_products_in_bf16(monkeypatch):
    seen = set()
    monkeypatch.setattr(rounds, "evaluate", lambda *given: seen.add(given[3]))
    work = rounds.Workload("DIGITS_2NN", 10, cohort=2, each=20, precision="bf16")
    row = rounds.measure(work, torch.device("cpu"), turns=1)
    assert row["precision"] == "bf16" and seen == {torch.bfloat16}


def test_a_race_is_cut_where_the_rule_ends_its_rates_and_costs_so_much_less():
    """The first rate leaves after two of four evaluations; the third diverged in round 15; the last leads late."""
    curves = [[0.1, 0.1, 0.9, 0.95], [0.5, 0.5, 0.6, 0.6], [0.4], [0.4, 0.5, 0.5, 0.8]]
    race = pruning.Raced(
        "one", "iid", 10, (0.1, 0.2, 0.4, 0.8), (0.7,), (10, 20, 30, 40), 40, curves, (None, None, 15, None)
    )
    rule = Prune(2, 1.5, 9.0)
    cut = pruning.pruned(rule, curves)
    assert cut == [curves[0][:2], *curves[1:]]
    assert pruning.price(race, curves) == (40 + 40 + 15 + 40) / 40
    assert pruning.price(race, cut) == (20 + 40 + 15 + 40) / 40
    assert pruning.reading(race, curves) == (20 + 10 * (0.7 - 0.5) / (0.9 - 0.5), 0.95, 0.1)
    assert pruning.reading(race, cut) == (pytest.approx(35), 0.8, 0.8)
    assert pruning.outcome(rule, race).moved and not pruning.outcome(Prune(4, 1.5, 9.0), race).moved


def test_the_rule_that_the_documents_recommend_moves_no_committed_record():
    among = pruning.races()
    assert len(among) >= 80
    moved = [one.name for one in among if pruning.outcome(pruning.CHOSEN, one).moved]
    assert not moved, "docs/params.md and docs/performance.md say so; choose a rule anew by `python -m bench.pruning`"


def test_an_unknown_option_is_one_line_and_a_status():
    done = subprocess.run([sys.executable, "-m", "bench", "--jsn"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "--jsn" in done.stderr


def test_the_table_of_zen_3_before_and_after_is_that_of_its_data():
    """Examples a second before and after, and their ratio, of every model of the engine's own layers."""
    runs = [json.loads((ROOT / f"docs/performance-zen3{which}.json").read_text()) for which in ("-before", "")]
    pairs = [pair for pair in zip(*runs, strict=True) if hasattr(models, pair[0]["model"])]
    speeds = [[one["examples_per_second"] for one in pair] for pair in pairs]
    table = (ROOT / "docs/performance.md").read_text().partition("| examples/s before |")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[5:8] for line in table.splitlines()[2:]]
    assert rows == [[f"{before:,.0f}", f"{after:,.0f}", f"{after / before:.2f}"] for before, after in speeds]
