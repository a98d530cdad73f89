"""On a GPU the engine equals the specification too: captured steps, whole cohorts in one stack, nothing by chance."""

from functools import partial

import numpy as np
import pytest
import torch

from fedgrid.engine import federation as engine
from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.memory import Epoch, replica_bytes
from fedgrid.engine.states import States
from fedgrid.partitions import Partition
from fedgrid.rng import stream
from fedgrid.run.pace import examples
from fedgrid.tasks.models import CHAR_LSTM, MNIST_2NN, MNIST_CNN, WORD_LSTM
from tests import test_functional as modules
from tests.test_engine import KINDS, LRS, SETTINGS, distance, partition, prepare, raced, start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")
GPU = torch.device("cuda")


@pytest.mark.parametrize("divided", ["iid", "shards_unbalanced"])
@pytest.mark.parametrize("settings", list(SETTINGS.values())[:4], ids=list(SETTINGS)[:4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_equals_the_specification(kind, settings, divided):
    assert distance(KINDS[kind], partition(divided, 10), torch.float64, device=GPU, **settings) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_equals_the_specification_for_a_single_replica(kind):
    P, settings = partition("shards_unbalanced", 10), {"C": 0, "E": 2, "B": 5}
    assert distance(KINDS[kind], P, torch.float64, lrs=(0.3,), device=GPU, **settings) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_equals_the_specification_where_a_cohort_does_not_fit_at_once(kind, monkeypatch):
    """Groups of three clients, the last of one, at two rates and then one."""
    monkeypatch.setattr(engine, "replicas_at_once", lambda *_: (3, 2))
    P, settings = partition("shards_unbalanced", 10), {"C": 0.4, "E": 2, "B": 5}
    assert distance(KINDS[kind], P, torch.float64, device=GPU, **settings) < 1e-9


@pytest.mark.parametrize("settings", list(SETTINGS.values())[:4], ids=list(SETTINGS)[:4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_computes_the_same_bits_again(kind, settings):
    P = partition("shards_unbalanced", 10)
    first, second = (raced(KINDS[kind], P, LRS, 5, torch.float32, GPU, **settings) for _ in range(2))
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))


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
    Federation(model, data, Partition(np.arange(B), np.array([0, B])), 1, 2, B, partial(stream, 0)).round(
        1, w, lr, States()
    )
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    clients.round(1, w, lr, States())
    reckoned = 16 * replica_bytes(model, clients.example, Epoch(B, B))
    assert 0.7 * reckoned < torch.cuda.max_memory_allocated() - before < 1.05 * reckoned


@pytest.mark.parametrize("settings", modules.SETTINGS.values(), ids=modules.SETTINGS)
@pytest.mark.parametrize("kind", modules.KINDS)
def test_a_module_on_a_gpu_equals_the_specification(kind, settings):
    P = partition("shards_unbalanced", 10)
    assert modules.distance(modules.KINDS[kind], P, torch.float64, device=GPU, **settings) < 1e-9


@pytest.mark.parametrize("kind", modules.KINDS)
def test_a_module_on_a_gpu_computes_the_same_bits_again(kind, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)  # as a job has it
    model, stored = modules.KINDS[kind]
    data = Examples(*(one.to(GPU) for one in stored()), Inputs(prepare(torch.float32)))
    w, P = modules.start(model, torch.float32).to(GPU), partition("shards_unbalanced", 10)
    first, second = (modules.raced(model, data, P, LRS, 5, w, torch.float32, C=0.4, E=2, B=4) for _ in range(2))
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))
