"""On a GPU the engine equals the specification too: captured steps, whole cohorts in one stack, nothing by chance."""

from functools import partial

import numpy as np
import pytest
import torch

from fedgrid.calibrate import examples
from fedgrid.engine import federation as engine
from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.memory import Epoch, replica_bytes
from fedgrid.models import CHAR_LSTM, MNIST_2NN, MNIST_CNN, WORD_LSTM
from fedgrid.partition import Partition
from fedgrid.streams import stream
from tests.test_engine import KINDS, LRS, SETTINGS, federation, partition, prepare, specified, start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")
GPU = torch.device("cuda")


def raced(kind, P, dtype, count=5, lrs=LRS, **settings):
    """w_1, …, w_count (R, parameters) of a federation whose data lie on the GPU, brought back from there."""
    clients = federation(kind, P, dtype, device=GPU, **settings)
    w, lr, laps = start(kind[0], dtype).repeat(len(lrs), 1).to(GPU), torch.tensor(lrs, dtype=dtype, device=GPU), []
    for t in range(1, count + 1):
        w, _ = clients.round(t, w, lr)
        laps.append(w.cpu())
    return laps


@pytest.mark.parametrize("divided", ["iid", "shards_unbalanced"])
@pytest.mark.parametrize("settings", list(SETTINGS.values())[:4], ids=list(SETTINGS)[:4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_equals_the_specification(kind, settings, divided):
    P = partition(divided, 10)
    laps = raced(KINDS[kind], P, torch.float64, **settings)
    for r, lr in enumerate(LRS):
        for ours, theirs in zip(laps, specified(KINDS[kind], P, lr, 5, torch.float64, **settings), strict=True):
            torch.testing.assert_close(ours[r], theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_equals_the_specification_for_a_single_replica(kind):
    P, settings = partition("shards_unbalanced", 10), {"C": 0, "E": 2, "B": 5}
    laps = raced(KINDS[kind], P, torch.float64, lrs=(0.3,), **settings)
    for ours, theirs in zip(laps, specified(KINDS[kind], P, 0.3, 5, torch.float64, **settings), strict=True):
        torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_equals_the_specification_where_a_cohort_does_not_fit_at_once(kind, monkeypatch):
    """Groups of three clients, the last of one, at two rates and then one."""
    monkeypatch.setattr(engine, "replicas_at_once", lambda *_: (3, 2))
    P, settings = partition("shards_unbalanced", 10), {"C": 0.4, "E": 2, "B": 5}
    laps = raced(KINDS[kind], P, torch.float64, **settings)
    for r, lr in enumerate(LRS):
        for ours, theirs in zip(laps, specified(KINDS[kind], P, lr, 5, torch.float64, **settings), strict=True):
            torch.testing.assert_close(ours[r], theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("settings", list(SETTINGS.values())[:4], ids=list(SETTINGS)[:4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_computes_the_same_bits_again(kind, settings):
    P = partition("shards_unbalanced", 10)
    for first, second in zip(*(raced(KINDS[kind], P, torch.float32, **settings) for _ in range(2)), strict=True):
        assert first.equal(second)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_evaluates_as_a_cpu_does(kind):
    model, _, examples = KINDS[kind]
    x, y = examples(500, seed=5)
    w = torch.stack([start(model, torch.float64) * factor for factor in (0.5, 1, 4)])
    inputs = Inputs(prepare(torch.float64))
    accuracy, loss = evaluate(model, w, Examples(x, y, inputs), torch.float64)
    there = evaluate(model, w.to(GPU), Examples(x.to(GPU), y.to(GPU), inputs), torch.float64)
    assert there[0] == accuracy
    assert there[1] == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize(("model", "B"), [(MNIST_CNN, 50), (MNIST_2NN, 600), (CHAR_LSTM, 10), (WORD_LSTM, 8)])
def test_a_round_takes_the_memory_that_is_reckoned_with(model, B):
    """Of eight clients at two rates. Not more, or a full stack would not fit; not far less, or it would be small."""
    data = examples(model, 8 * B, np.random.default_rng(0), GPU)
    clients = Federation(model, data, Partition(np.arange(8 * B), np.arange(9) * B), 1, 2, B, partial(stream, 0))
    w, lr = torch.zeros(2, model.parameters, device=GPU), torch.full((2,), 0.1, device=GPU)
    Federation(model, data, Partition(np.arange(B), np.array([0, B])), 1, 2, B, partial(stream, 0)).round(1, w, lr)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    clients.round(1, w, lr)
    reckoned = 16 * replica_bytes(model, clients.example, Epoch(B, B))
    assert 0.7 * reckoned < torch.cuda.max_memory_allocated() - before < 1.05 * reckoned
