"""The engine equals the specification, `fedgrid.fedavg.rounds`, under a loss written here with torch alone."""

from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, linear, relu

from fedgrid import fedavg
from fedgrid.engine.federation import EVALUATION_BATCH, Federation, evaluate
from fedgrid.engine.layers import Linear, Relu
from fedgrid.models import dense
from fedgrid.partition import PARTITIONS, draw
from fedgrid.streams import stream

INF = float("inf")
FEATURES, HIDDEN, CLASSES, N = 12, 8, 5, 97
MODEL = dense(FEATURES, HIDDEN, CLASSES)
LRS = (0.03, 0.3, 1.7)


def examples(n=N, seed=0):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.integers(256, size=(n, FEATURES), dtype=np.uint8))
    return x, torch.from_numpy(rng.integers(CLASSES, size=n))


def scale(dtype):
    return lambda x: x.to(dtype) / 255


def start(dtype):
    w = torch.randn(MODEL.parameters, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 3
    return w.to(dtype)


def plain_logits(w, x):
    """The network dense(12, 8, 5), its weights cut from the flat w by hand."""
    W1, b1, W2, b2 = w.split([FEATURES * HIDDEN, HIDDEN, HIDDEN * CLASSES, CLASSES])
    hidden = relu(linear(x, W1.view(FEATURES, HIDDEN).T, b1))
    return linear(hidden, W2.view(HIDDEN, CLASSES).T, b2)


def specified(P, lr, count, dtype, seed=3, **settings):
    """w_1, …, w_count by the specification, at one learning rate."""
    x, y = examples()
    x = scale(dtype)(x)

    def loss(w, b):
        return cross_entropy(plain_logits(w, x[b]), y[b])

    rounds = fedavg.rounds(start(dtype), P, loss, lr=lr, stream=partial(stream, seed), **settings)
    return list(islice(rounds, count))


def raced(P, lrs, count, dtype, seed=3, **settings):
    """The same by the engine, for all learning rates together: count tensors (R, parameters)."""
    federation = Federation(MODEL, *examples(), scale(dtype), P, stream=partial(stream, seed), **settings)
    w, lr, laps = start(dtype).repeat(len(lrs), 1), torch.tensor(lrs, dtype=dtype), []
    for t in range(1, count + 1):
        w, _ = federation.round(t, w, lr)
        laps.append(w)
    return laps


def partition(kind, K):
    return draw(kind, examples()[1].numpy(), K, stream(0, "partition"))


def distance(P, dtype, count=5, lrs=LRS, **settings):
    """The farthest that engine and specification are apart, in any round, rate and weight; both went somewhere."""
    laps = raced(P, lrs, count, dtype, **settings)
    apart = 0.0
    for r, lr in enumerate(lrs):
        for ours, theirs in zip(laps, specified(P, lr, count, dtype, **settings), strict=True):
            apart = max(apart, (ours[r] - theirs).abs().max().item())
        assert (laps[-1][r] - start(dtype)).abs().max() > 10 * lr * 1e-3
    return apart


SETTINGS = {
    "fedsgd": {"C": 0.4, "E": 1, "B": INF},
    "a last partial batch": {"C": 0.4, "E": 1, "B": 4},
    "several epochs": {"C": 0.4, "E": 3, "B": 7},
    "several epochs of one batch": {"C": 0.4, "E": 3, "B": INF},
    "a batch larger than the client": {"C": 0.4, "E": 2, "B": 1000},
    "batches of one": {"C": 0.2, "E": 1, "B": 1},
    "shuffled once": {"C": 0.4, "E": 3, "B": 4, "shuffle": "once"},
    "one client": {"C": 0, "E": 2, "B": 5},
    "all clients": {"C": 1, "E": 2, "B": 5},
    "rounded up": {"C": 0.33, "E": 1, "B": 5, "rounding": "up"},
    "rounded down": {"C": 0.37, "E": 1, "B": 5, "rounding": "down"},
}


@pytest.mark.parametrize("kind", PARTITIONS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_engine_equals_the_specification(kind, settings):
    assert distance(partition(kind, 10), torch.float64, **settings) < 1e-9


@pytest.mark.parametrize("kind", ["iid", "shards_unbalanced"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_engine_equals_the_specification_in_single_precision(kind, settings):
    assert distance(partition(kind, 10), torch.float32, **settings) < 1e-4


def test_the_engine_equals_the_specification_for_a_single_rate_and_for_many():
    for lrs in ([0.3], np.geomspace(1e-3, 3, 13).tolist()):
        assert distance(partition("iid", 7), torch.float64, lrs=lrs, C=0.5, E=2, B=6) < 1e-9


def test_rounds_of_the_engine_differ_in_cohort_and_order():
    """A round taken twice is the same, one of another number is not: what resumption rests on."""
    federation = Federation(
        MODEL, *examples(), scale(torch.float64), partition("iid", 10), C=0.2, E=1, B=3, stream=partial(stream, 0)
    )
    w, lr = start(torch.float64)[None], torch.tensor([0.3], dtype=torch.float64)
    (first, _), (second, _), (again, _) = (federation.round(t, w, lr) for t in (1, 2, 1))
    assert first.equal(again)
    assert not first.equal(second)


def test_a_round_leaves_the_weights_it_was_given():
    P = partition("iid", 10)
    federation = Federation(MODEL, *examples(), scale(torch.float64), P, 0.4, 2, 3, partial(stream, 0))
    w, lr = start(torch.float64).repeat(2, 1), torch.tensor([0.3, 1.0], dtype=torch.float64)
    kept, kept_lr = w.clone(), lr.clone()
    federation.round(1, w, lr)
    assert w.equal(kept) and lr.equal(kept_lr)


@pytest.mark.parametrize("kind", PARTITIONS)
def test_a_round_counts_the_examples_it_trained_each_rate_on(kind):
    P = partition(kind, 10)
    federation = Federation(MODEL, *examples(), scale(torch.float64), P, 0.4, 3, 4, partial(stream, 0))
    for t in range(1, 6):
        asked = []
        fedavg_round = fedavg.rounds(
            torch.zeros(1),
            P,
            lambda w, b, asked=asked: (asked.extend(b.tolist()), w.sum())[1],
            C=0.4,
            E=3,
            B=4,
            lr=0.1,
            stream=lambda name, _, *keys, t=t: stream(0, name, t, *keys),
        )
        next(fedavg_round)
        _, count = federation.round(t, start(torch.float64)[None], torch.tensor([0.1], dtype=torch.float64))
        assert count == len(asked)


BESIDE = [(0.3,), (0.3, 1.7), (0.03, 0.3), (0.01, 0.03, 0.1, 0.3, 1.0, 1.7, 2.5)]


@pytest.mark.parametrize("beside", BESIDE, ids=len)
def test_a_rate_does_not_depend_on_the_rates_that_race_beside_it(beside):
    P, settings = partition("shards", 10), {"C": 0.4, "E": 3, "B": 4}
    for together, alone in zip(
        raced(P, beside, 8, torch.float64, **settings), raced(P, [0.3], 8, torch.float64, **settings), strict=True
    ):
        torch.testing.assert_close(together[beside.index(0.3)], alone[0], rtol=0, atol=1e-12)


def test_a_rate_that_overflows_touches_no_other():
    P, settings = partition("iid", 10), {"C": 0.4, "E": 3, "B": 4}
    beside = raced(P, [0.3, 1e300], 4, torch.float64, **settings)
    alone = raced(P, [0.3], 4, torch.float64, **settings)
    assert not beside[-1][1].isfinite().all()
    torch.testing.assert_close(beside[-1][0], alone[-1][0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, N, EVALUATION_BATCH, 2 * EVALUATION_BATCH + 7])
def test_evaluation_is_a_plain_computation_over_all_examples(n):
    x, y = examples(n, seed=5)
    w = torch.stack([start(torch.float64) * factor for factor in (0.5, 1, 4, 30)])
    accuracy, loss = evaluate(MODEL, w, x, y, scale(torch.float64))
    for r in range(len(w)):
        logits = plain_logits(w[r], x.double() / 255)
        assert accuracy[r] == sum(int(a == b) for a, b in zip(logits.argmax(1).tolist(), y.tolist(), strict=True)) / n
        assert loss[r] == pytest.approx(cross_entropy(logits, y).item(), rel=1e-12)
    assert n == 1 or len(set(accuracy)) > 1


def test_accuracy_does_not_depend_on_the_rates_evaluated_together():
    x, y = examples(500, seed=5)
    w = torch.stack([start(torch.float32) * factor for factor in (0.5, 1, 4, 30)])
    together = evaluate(MODEL, w, x, y, scale(torch.float32))
    for r in range(len(w)):
        accuracy, loss = evaluate(MODEL, w[r : r + 1], x, y, scale(torch.float32))
        assert accuracy == [together[0][r]]
        assert loss == pytest.approx([together[1][r]], rel=1e-6)


def replicas(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("first", [False, True])
def test_a_linear_layers_descent_is_a_gradient_step_of_autograd(first):
    W, b, x, delta = replicas(3, 4, 5), replicas(3, 1, 5, seed=1), replicas(3, 6, 4, seed=2), replicas(3, 6, 5, seed=3)
    leaves = [tensor.clone().requires_grad_() for tensor in (W, b, x)]
    out = leaves[2] @ leaves[0] + leaves[1]
    by_W, by_b, by_x = torch.autograd.grad((out * delta).sum(), leaves)
    expected = W - by_W, b - by_b
    returned = Linear(4, 5).descend([W, b], x, out.detach(), delta, first)
    torch.testing.assert_close((W, b), expected, rtol=1e-12, atol=1e-12)
    if not first:
        torch.testing.assert_close(returned, by_x, rtol=1e-12, atol=1e-12)


def test_relus_descent_is_autograds_also_at_zero():
    x = torch.tensor([[[-1.0, 0.0, 2.0, -0.0, 1e-300]]], dtype=torch.float64).requires_grad_()
    delta = torch.tensor([[[3.0, 4.0, 5.0, 6.0, 7.0]]], dtype=torch.float64)
    (by_x,) = torch.autograd.grad((relu(x) * delta).sum(), x)
    plain = x.detach()
    out = Relu().forward([], plain)
    assert out.tolist() == relu(plain).tolist()
    assert Relu().descend([], plain, out, delta, first=False).tolist() == by_x.tolist()
