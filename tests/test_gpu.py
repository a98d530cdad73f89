"""On a GPU the engine equals the specification too: captured steps, whole cohorts in one stack, nothing by chance."""

import pytest
import torch

from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.examples import Examples, Inputs
from tests.test_engine import KINDS, LRS, SETTINGS, federation, partition, prepare, specified, start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")
GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def float32_means_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee")


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
