"""The engine equals the specification, `algorithms.fedavg.rounds`, under losses written here with torch alone."""

from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, cross_entropy, linear, max_pool2d, relu

from fedgrid.algorithms import FedAvg, fedavg
from fedgrid.engine import evaluation, width
from fedgrid.engine import federation as engine
from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.memory import (
    Epoch,
    activations,
    examples_at_once,
    fitting,
    rates_at_once,
    replica_bytes,
    replicas_at_once,
    step_bytes,
)
from fedgrid.engine.states import States
from fedgrid.engine.steps import Batches, Beside, Replicas
from fedgrid.engine.workers import spread
from fedgrid.partitions import PARTITIONS, Partition, draw
from fedgrid.rng import stream
from fedgrid.tasks.models import CHAR_LSTM, CIFAR_CNN, MNIST_2NN, MNIST_CNN, convolutional, dense, recurrent

INF = float("inf")
N, CLASSES = 97, 5
LRS = (0.03, 0.3, 1.7)


def cut(w, *shapes):
    """The flat w cut by hand into tensors of those shapes, which must use it up."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    return [part.view(shape) for part, shape in zip(w.split(sizes), shapes, strict=True)]


def plain_dense(w, x):
    """The network dense(12, 8, 5)."""
    W1, b1, W2, b2 = cut(w, (12, 8), (8,), (8, 5), (5,))
    return linear(relu(linear(x, W1.T, b1)), W2.T, b2)


def plain_convolutional(w, x):
    """Two convolutions of 3 × 3 on 6 × 6 images, ReLU before pooling, a hidden layer of 4."""
    W1, b1, W2, b2, W3, b3, W4, b4 = cut(w, (2, 3, 3, 1), (2,), (3, 3, 3, 2), (3,), (12, 4), (4,), (4, 5), (5,))
    x = max_pool2d(relu(conv2d(x.view(-1, 1, 6, 6), W1.permute(0, 3, 1, 2), b1, padding=1)), 2)
    x = max_pool2d(relu(conv2d(x, W2.permute(0, 3, 1, 2), b2, padding=1)), 2, ceil_mode=True)
    return linear(relu(linear(x.permute(0, 2, 3, 1).flatten(1), W3.T, b3)), W4.T, b4)


def plain_recurrent(w, x):
    """An embedding of 6 indices in 3 numbers, two memories of 4 units with peepholes, and a softmax over 6."""
    memory = lambda inputs: ((16, inputs), (16, 4), (16,), (3, 4))  # noqa: E731
    table, *w = cut(w, (6, 3), *memory(3), *memory(4), (4, 6), (6,))
    x = table[x]
    for W, U, b, (p_i, p_f, p_o) in (w[0:4], w[4:8]):
        h = c = torch.zeros(len(x), 4, dtype=x.dtype)
        out = []
        for x_t in x.unbind(1):
            i, f, g, o = (linear(x_t, W, b) + linear(h, U)).split(4, 1)
            kept = torch.sigmoid(f + p_f * c) * c
            c = kept + torch.sigmoid(i + p_i * c) * torch.tanh(g)
            h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
            out.append(h)
        x = torch.stack(out, 1)
    return linear(x, w[8].T, w[9])


def images(pixels):
    def examples(n=N, seed=0):
        rng = np.random.default_rng(seed)
        x = torch.from_numpy(rng.integers(256, size=(n, pixels), dtype=np.uint8))
        return x, torch.from_numpy(rng.integers(CLASSES, size=n))

    return examples


def texts(n=N, seed=0):
    """Lines of 1 to 5 of 6 characters; what follows a line's end is not to be learnt."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, size=(n, 1))
    x, y = torch.from_numpy(rng.integers(6, size=(2, n, 5)))
    return x, y.masked_fill(torch.from_numpy(np.arange(5) >= lengths), -1)


# Each kind of model: the engine's, the same by hand, and examples for it.
KINDS = {
    "dense": (dense(12, 8, 5), plain_dense, images(12)),
    "convolutional": (convolutional(6, 5, 2, 3, hidden=4, window=3), plain_convolutional, images(36)),
    "recurrent": (recurrent(6, 3, 4, depth=2, unroll=5), plain_recurrent, texts),
}
DENSE = KINDS["dense"]


def mean_loss(logits, y):
    """Over examples; that of a text is the mean over its steps, of which those without anything to be learnt cost 0."""
    each = cross_entropy(logits.flatten(0, -2), y.flatten(), ignore_index=-1, reduction="none")
    return each.view(len(y), -1).mean(1).mean()


def prepare(dtype):
    return lambda x: x.to(dtype) / 255 if x.dtype == torch.uint8 else x


def start(model, dtype):
    w = torch.randn(model.parameters, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 3
    return w.to(dtype)


def specified(kind, P, lr, count, dtype, seed=3, **settings):
    """w_1, …, w_count by the specification, at one learning rate."""
    model, logits, examples = kind
    x, y = examples()
    x = prepare(dtype)(x)

    def loss(w, b):
        return mean_loss(logits(w, x[b]), y[b])

    rounds = fedavg.rounds(start(model, dtype), P, loss, lr=lr, stream=partial(stream, seed), **settings)
    return list(islice(rounds, count))


def federation(kind, P, dtype=torch.float64, seed=3, device="cpu", **settings):
    model, _, examples = kind
    data = Examples(*(tensor.to(device) for tensor in examples()), Inputs(prepare(dtype)))
    return Federation(model, data, P, stream=partial(stream, seed), dtype=dtype, **settings)


def raced(kind, P, lrs, count, dtype, device="cpu", **settings):
    """The same by the engine, for all learning rates together: count tensors (R, parameters)."""
    clients = federation(kind, P, dtype, device=device, **settings)
    w, lr, laps = start(kind[0], dtype).repeat(len(lrs), 1).to(device), torch.tensor(lrs, dtype=dtype).to(device), []
    states = States(clients.algorithm.server_state(w))
    for t in range(1, count + 1):
        w, states, _ = clients.round(t, w, lr, states)
        laps.append(w.cpu())
    return laps


def partition(kind, K):
    clients = np.sort(stream(0, "clients").choice(np.arange(1, N), K - 1, replace=False))
    return draw(PARTITIONS[kind](), images(1)()[1].numpy(), K, stream(0, "partition"), np.array([0, *clients, N]))


def distance(kind, P, dtype, count=5, lrs=LRS, device="cpu", **settings):
    """The farthest that engine and specification are apart, in any round, rate and weight; both went somewhere."""
    laps = raced(kind, P, lrs, count, dtype, device, **settings)
    apart = 0.0
    for r, lr in enumerate(lrs):
        for ours, theirs in zip(laps, specified(kind, P, lr, count, dtype, **settings), strict=True):
            apart = max(apart, (ours[r] - theirs).abs().max().item())
        assert (laps[-1][r] - start(kind[0], dtype)).abs().max() > 10 * lr * 1e-3
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
    "fedsgd with all clients": {"C": 1, "E": 1, "B": INF},
    "rounded up": {"C": 0.33, "E": 1, "B": 5, "rounding": "up"},
    "rounded down": {"C": 0.37, "E": 1, "B": 5, "rounding": "down"},
}
DIVIDED = [name for name in PARTITIONS if name != "population"]  # which asks for a hundred examples


@pytest.mark.parametrize("kind", DIVIDED)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_engine_equals_the_specification(kind, settings):
    assert distance(DENSE, partition(kind, 10), torch.float64, **settings) < 1e-9


@pytest.mark.parametrize("divided", ["iid", "shards_unbalanced"])
@pytest.mark.parametrize("settings", list(SETTINGS.values())[:4], ids=list(SETTINGS)[:4])
@pytest.mark.parametrize("kind", ["convolutional", "recurrent"])
def test_the_engine_equals_the_specification_for_every_kind_of_model(kind, settings, divided):
    assert distance(KINDS[kind], partition(divided, 10), torch.float64, **settings) < 1e-9


@pytest.mark.parametrize("divided", ["iid", "shards_unbalanced"])
@pytest.mark.parametrize("settings", list(SETTINGS.values())[:4], ids=list(SETTINGS)[:4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_equals_the_specification_in_single_precision(kind, settings, divided):
    assert distance(KINDS[kind], partition(divided, 10), torch.float32, **settings) < 1e-4


@pytest.mark.parametrize(("clients", "rates"), [(2, 3), (4, 1), (3, 2), (100, 100)])
@pytest.mark.parametrize("settings", list(SETTINGS.values())[:4], ids=list(SETTINGS)[:4])
@pytest.mark.parametrize("kind", KINDS)
def test_clients_stacked_as_on_a_gpu_equal_the_specification(kind, settings, clients, rates, monkeypatch):
    """Of unequal clients, each with its own number of steps and its own last batch."""
    monkeypatch.setattr(engine, "replicas_at_once", lambda *_: (clients, rates))
    assert distance(KINDS[kind], partition("shards_unbalanced", 10), torch.float64, **settings) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_fedsgds_one_step_may_be_taken_in_pieces(kind, monkeypatch):
    monkeypatch.setattr(engine, "examples_at_once", lambda *_: 10)
    for settings in (SETTINGS["fedsgd"], SETTINGS["fedsgd with all clients"]):
        assert distance(KINDS[kind], partition("shards_unbalanced", 10), torch.float64, **settings) < 1e-9


def test_the_engine_equals_the_specification_for_a_single_rate_and_for_many():
    for lrs in ([0.3], np.geomspace(1e-3, 3, 13).tolist()):
        assert distance(DENSE, partition("iid", 7), torch.float64, lrs=lrs, C=0.5, E=2, B=6) < 1e-9


def test_the_engine_equals_the_specification_where_clients_share_examples():
    P = Partition(np.random.default_rng(0).permutation(N), np.arange(31) * 11)  # 30 clients of 11 hold 97 examples
    for settings in SETTINGS.values():
        assert distance(DENSE, P, torch.float64, count=3, **settings) < 1e-9


@pytest.mark.parametrize("settings", [SETTINGS["several epochs"], SETTINGS["fedsgd with all clients"]])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_depends_on_the_number_of_workers(kind, settings, monkeypatch):
    """Not a bit of it: clients and pieces of data are divided among threads, and summed in their own order."""
    for module in (engine, evaluation):
        monkeypatch.setattr(module, "examples_at_once", lambda *_: 10)
    P = partition("shards_unbalanced", 10)
    model, _, examples = KINDS[kind]
    data = Examples(*examples(), Inputs(prepare(torch.float32)))
    alone = raced(KINDS[kind], P, LRS, 4, torch.float32, **settings)
    for workers in (2, 3):
        shared = raced(KINDS[kind], P, LRS, 4, torch.float32, workers=workers, **settings)
        assert all(a.equal(b) for a, b in zip(alone, shared, strict=True))
        assert evaluate(model, alone[-1], data, workers=workers) == evaluate(model, alone[-1], data)


def test_an_error_in_a_worker_is_raised():
    broken = [lambda: 1, lambda: 1 / 0, lambda: 1]
    with pytest.raises(ZeroDivisionError):
        list(spread(lambda one: one(), broken, 2))


def test_rounds_of_the_engine_differ_in_cohort_and_order():
    """A round taken twice is the same, one of another number is not: what resumption rests on."""
    clients = federation(DENSE, partition("iid", 10), C=0.2, E=1, B=3)
    w, lr = start(DENSE[0], torch.float64)[None], torch.tensor([0.3], dtype=torch.float64)
    first, second, again = (clients.round(t, w, lr, States())[0] for t in (1, 2, 1))
    assert first.equal(again)
    assert not first.equal(second)


@pytest.mark.parametrize("settings", [SETTINGS["several epochs"], SETTINGS["fedsgd"]])
def test_a_round_leaves_what_it_was_given(settings):
    clients = federation(DENSE, partition("iid", 10), **settings)
    w, lr = start(DENSE[0], torch.float64).repeat(2, 1), torch.tensor([0.3, 1.0], dtype=torch.float64)
    kept = [tensor.clone() for tensor in (w, lr, clients.data.x, clients.data.y)]
    clients.round(1, w, lr, States())
    assert all(a.equal(b) for a, b in zip((w, lr, clients.data.x, clients.data.y), kept, strict=True))


@pytest.mark.parametrize("kind", DIVIDED)
@pytest.mark.parametrize("settings", [{"E": 3, "B": 4}, {"E": 1, "B": INF}])
def test_a_round_counts_the_examples_it_trained_each_rate_on(kind, settings):
    P = partition(kind, 10)
    clients = federation(DENSE, P, C=0.4, seed=0, **settings)
    for t in range(1, 6):
        asked = []
        fedavg_round = fedavg.rounds(
            torch.zeros(1),
            P,
            lambda w, b, asked=asked: (asked.extend(b.tolist()), w.sum())[1],
            C=0.4,
            lr=0.1,
            stream=lambda name, _, *keys, t=t: stream(0, name, t, *keys),
            **settings,
        )
        next(fedavg_round)
        w, lr = start(DENSE[0], torch.float64)[None], torch.tensor([0.1], dtype=torch.float64)
        *_, count = clients.round(t, w, lr, States())
        assert count == len(asked)


BESIDE = [(0.3,), (0.3, 1.7), (0.03, 0.3), (0.01, 0.03, 0.1, 0.3, 1.0, 1.7, 2.5)]


@pytest.mark.parametrize("beside", BESIDE, ids=len)
@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_does_not_depend_on_the_rates_that_race_beside_it(kind, beside):
    P, settings = partition("shards", 10), {"C": 0.4, "E": 3, "B": 4}
    for together, alone in zip(
        raced(KINDS[kind], P, beside, 5, torch.float64, **settings),
        raced(KINDS[kind], P, [0.3], 5, torch.float64, **settings),
        strict=True,
    ):
        torch.testing.assert_close(together[beside.index(0.3)], alone[0], rtol=0, atol=1e-11)


@pytest.mark.parametrize("settings", [SETTINGS["several epochs"], SETTINGS["fedsgd"]])
def test_a_rate_does_not_depend_on_its_place_by_a_single_bit(settings):
    """The flat weights of a model begin at any address; stacked apart, a layer's lie alike for every rate."""
    model = dense(12, 16, 16)
    kind, lrs = (model, None, images(12)), (0.03, 0.3, 0.1, 1.0, 0.2)
    forwards = raced(kind, partition("iid", 10), lrs, 8, torch.float32, **settings)[-1]
    backwards = raced(kind, partition("iid", 10), lrs[::-1], 8, torch.float32, **settings)[-1]
    assert forwards.equal(backwards.flip(0))


def test_a_rate_that_overflows_touches_no_other():
    P, settings = partition("iid", 10), {"C": 0.4, "E": 3, "B": 4}
    beside = raced(DENSE, P, [0.3, 1e300], 4, torch.float64, **settings)
    alone = raced(DENSE, P, [0.3], 4, torch.float64, **settings)
    assert not beside[-1][1].isfinite().all()
    torch.testing.assert_close(beside[-1][0], alone[-1][0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_rounds_products_and_not_the_sum_of_steps(kind):
    """A hundred steps of 1/1000 of a bf16's last digit each would all be lost, if weights were bf16."""
    P, settings = partition("iid", 10), {"C": 1, "E": 2, "B": 4}
    exact = raced(KINDS[kind], P, [1e-4], 4, torch.float32, **settings)[-1]
    w, lr = start(KINDS[kind][0], torch.float32)[None], torch.tensor([1e-4])
    model, _, examples = KINDS[kind]
    data = Examples(*examples(), Inputs(prepare(torch.bfloat16)))
    clients = Federation(model, data, P, stream=partial(stream, 3), dtype=torch.bfloat16, **settings)
    begun = w
    for t in range(1, 5):
        w, *_ = clients.round(t, w, lr, States())
    moved, wanted = (w - begun).flatten(), (exact - begun).flatten()
    assert w.dtype == torch.float32 and not w.equal(exact)
    assert (moved - wanted).norm() < 0.03 * wanted.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_never_asks_the_device_for_a_number(kind):
    """PyTorch's meta device has none to give: a step that branched on one, or fetched one, would raise."""
    model, _, examples = KINDS[kind]
    x, y = examples(12)
    w, lr = torch.empty(3, model.parameters, device="meta"), torch.empty(3, device="meta")
    replicas = Replicas(model, FedAvg(), Beside(w, {}, {}), lr, 2, torch.float32)
    x, y = (tensor.view(2, 2, 3, *tensor.shape[1:]).to("meta") for tensor in (prepare(torch.float32)(x), y))
    replicas.epoch(Batches(x, y, torch.empty(y.shape, device="meta"), torch.empty(2, 2, device="meta")), [2, 2])
    assert model.flat(replicas.weights).shape == (6, model.parameters)


# Two steps of three clients, of four examples each, none distorted.
ORDER = np.arange(24).reshape(2, 3, 4), np.empty((2, 3, 4, 0), np.float32), torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_replicas_that_restart_are_those_of_their_new_weights_and_rates(kind):
    """As on a GPU, where they are kept from round to round, while the rates may decay."""
    model = KINDS[kind][0]
    w, lr = torch.stack([start(model, torch.float32) * factor for factor in (1, 2)]), torch.tensor(LRS[:2])
    kept = Replicas(model, FedAvg(), Beside(torch.zeros_like(w), {}, {}), lr, 3, torch.float32)
    kept.restart(Beside(w, {}, {}), lr / 7)
    new = Replicas(model, FedAvg(), Beside(w, {}, {}), lr / 7, 3, torch.float32)
    assert model.flat(kept.weights).equal(model.flat(new.weights))
    assert model.flat(kept.weights).equal(torch.cat([w, w, w]))
    for replicas in (kept, new):
        batches = federation(KINDS[kind], partition("iid", 10), torch.float32, C=1, E=1, B=4).batches(*ORDER)
        replicas.epoch(batches, [3, 3])
    assert model.flat(kept.weights).equal(model.flat(new.weights))
    assert not model.flat(new.weights).equal(torch.cat([w, w, w]))


@pytest.mark.parametrize("n", [1, N, 1000, 2 * 1000 + 7])
@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_is_a_plain_computation_over_all_examples(kind, n):
    model, plain, examples = KINDS[kind]
    x, y = examples(n, seed=5)
    w = torch.stack([start(model, torch.float64) * factor for factor in (-4, 0.5, 1, 30)])
    accuracy, loss = evaluate(model, w, Examples(x, y, Inputs(prepare(torch.float64))), torch.float64)
    classes = y.flatten().tolist()
    for r in range(len(w)):
        logits = plain(w[r], prepare(torch.float64)(x)).flatten(0, -2)
        right = sum(int(a == b) for a, b in zip(logits.argmax(1).tolist(), classes, strict=True))
        assert accuracy[r] == right / sum(one >= 0 for one in classes)
        assert loss[r] == pytest.approx(mean_loss(logits, y).item(), rel=1e-12)
    assert n == 1 or len(set(accuracy)) > 1


def test_accuracy_does_not_depend_on_the_rates_evaluated_together():
    model, _, examples = DENSE
    data = Examples(*examples(500, seed=5), Inputs(prepare(torch.float32)))
    w = torch.stack([start(model, torch.float32) * factor for factor in (0.5, 1, 4, 30)])
    together = evaluate(model, w, data)
    for r in range(len(w)):
        accuracy, loss = evaluate(model, w[r : r + 1], data)
        assert accuracy == [together[0][r]]
        assert loss == pytest.approx([together[1][r]], rel=1e-6)


# How much is done at once


def test_activations_are_counted_as_by_hand():
    # inputs, the hidden layer (which ReLU overwrites), the inputs of the second layer again, logits
    assert activations(dense(12, 8, 5), (1, 12), torch.float32) == (12 + 8) + 8 + (8 + 5)
    cnn = activations(MNIST_CNN, (1, 784), torch.float32)
    assert cnn > 28 * 28 * 32 + 14 * 14 * 64  # at least the convolutions' outputs


def test_the_pieces_that_a_cpu_sums_keep_their_size():
    """The records of FedSGD, and every loss, depend on it by their last bits."""
    assert examples_at_once(MNIST_CNN, torch.zeros(1, 784), 4) == 95
    assert examples_at_once(CIFAR_CNN, torch.zeros(1, 24, 24, 3), 1) == 64


def test_a_step_holds_what_must_be_there_at_once():
    # hidden layer, logits, their derivative and the hidden layer's; no more than inputs beside, and 8 sums for a bias
    must = 8 + 5 + 5 + 8
    assert 4 * 10 * must <= step_bytes(dense(12, 8, 5), (1, 12), 10) < 4 * (10 * (must + 13) + 12)


@pytest.mark.parametrize(("B", "gib"), [(50, 5.0), (600, 53.4)])
def test_a_replica_takes_what_was_measured_on_a_gpu(B, gib):
    """torch.cuda.max_memory_allocated of an H100 in rounds of ten clients' CNNs at four rates, docs/performance.md."""
    reckoned = 40 * replica_bytes(MNIST_CNN, torch.zeros(1, 784), Epoch(B, 600)) / 2**30
    assert gib < reckoned < 1.07 * gib


WIDTHS = [(1, 1), (2, 1), (1, 3), (2, 2), (4, 3), (100, 100)]


@pytest.mark.parametrize("divided", ["iid", "shards_unbalanced"])
@pytest.mark.parametrize("settings", [SETTINGS["a last partial batch"], SETTINGS["several epochs of one batch"]])
def test_no_bit_depends_on_how_many_replicas_step_together(settings, divided, monkeypatch):
    """The clock chooses how many. Clients smaller than a batch step alone: no stack makes room for others' examples."""
    kind, found = (dense(12, 16, 16), None, images(12)), []
    for together in WIDTHS:
        monkeypatch.setattr(engine, "replicas_at_once", lambda *_, together=together: together)
        found.append(raced(kind, partition(divided, 20), LRS, 3, torch.float32, **settings)[-1])
    assert all(one.equal(found[0]) for one in found)


def test_clients_whose_steps_have_room_for_unlike_numbers_of_examples_step_alone_on_a_cpu():
    alike, unlike = (partition(kind, 97 if kind == "iid" else 10) for kind in ("iid", "shards_unbalanced"))
    assert federation(DENSE, alike, C=1, E=2, B=INF).one_shape
    assert not federation(DENSE, unlike, C=1, E=2, B=INF).one_shape
    assert federation(DENSE, unlike, C=1, E=2, B=INF).at_once(3) == (1, 3)
    assert federation(DENSE, unlike, C=1, E=2, B=int(unlike.sizes(np.arange(10)).min())).one_shape
    assert not federation(KINDS["recurrent"], alike, C=1, E=2, B=1).one_shape


def test_a_measured_width_is_one_that_moves_no_bit(monkeypatch):
    model, small = dense(12, 16, 16), (torch.float32, 4)
    wide = width.measured_width(model, (1, 12), *small, 3)
    assert width.Trial(model, (1, 12), *small, wide).same_bits(wide)
    monkeypatch.setattr(width.Trial, "same_bits", lambda _, tried: tried == (1, 1))
    assert width.measured_width(model, (1, 12), torch.float32, 5, 3) == (1, 1)


def test_a_trial_sees_a_replica_that_does_not_end_where_it_does_alone(monkeypatch):
    trial = width.Trial(dense(12, 16, 16), (1, 12), torch.float32, 4, (2, 2))
    assert trial.same_bits((2, 2))
    alone = trial.alone[1, 1]
    alone[7] = torch.nextafter(alone[7], torch.tensor(1.0))
    assert not trial.same_bits((2, 2)) and trial.same_bits((2, 1))


def test_the_widths_tried_fit_into_a_cache():
    assert list(width.fitting_a_cache(1, 9)) == [(1, 1), (2, 1), (5, 1)]
    assert list(width.fitting_a_cache(5, 9)) == [(1, 1), (1, 3), (1, 5)]  # 2, 2 and 1 would leave one alone
    assert list(width.fitting_a_cache(13, 9)) == [(1, 1), (1, 7)]
    assert list(width.fitting_a_cache(8, 9)) == [(1, 1), (1, 2), (1, 4), (1, 8)]
    assert list(width.fitting_a_cache(3, 0)) == [(1, 1)]
    assert max(clients * rates for clients, rates in width.fitting_a_cache(3, 10**6)) <= width.MOST


def test_a_clients_rates_stay_together_unless_another_width_is_clearly_faster():
    taken = {(1, 1): 2.0, (1, 3): 1.0, (1, 5): 1.09, (2, 5): 1.2}
    assert width.chosen(taken) == (1, 5)
    assert width.chosen(taken | {(1, 5): 1.11}) == (1, 3)
    assert width.chosen({(1, 1): 1.0, (1, 5): 1.5, (2, 5): 1.4}) == (1, 1)
    assert width.chosen(taken | {(2, 5): 0.9}) == (2, 5)
    assert width.chosen({(1, 1): 2.0, (2, 1): 1.04, (4, 1): 1.0, (8, 1): 1.03}) == (2, 1)


@pytest.mark.parametrize(("size", "cores", "share"), [("512K", "0", 2**19), ("32768K", "0-3,8-11", 2**22)])
def test_a_cache_is_shared_by_its_cores(size, cores, share, tmp_path):
    (tmp_path / "size").write_text(size + "\n")
    (tmp_path / "shared_cpu_list").write_text(cores + "\n")
    assert width.share(tmp_path) == share


def test_a_cpu_steps_one_replica_after_another_where_a_step_is_long():
    assert replicas_at_once(MNIST_CNN, torch.zeros(1, 784), Epoch(50, 600), 5) == (1, 1)


def test_the_rates_that_pass_together_where_weights_stand_still_keep_their_number():
    """The records of FedSGD, and every loss, depend on it by their last bits."""
    found = [rates_at_once(model, torch.zeros(1, 784), 5) for model in (MNIST_2NN, MNIST_CNN, CHAR_LSTM)]
    assert found == [5, 1, 1]


def test_a_gpu_stacks_all_that_fits_rates_before_clients():
    example = torch.zeros(1, 784)
    each = replica_bytes(MNIST_2NN, example, Epoch(10, 600))
    assert each == 3 * 4 * 199_210 + (2 * 600 + 10) * (4 * 784 + 8 + 4) + step_bytes(MNIST_2NN, (1, 784), 10)
    assert fitting(MNIST_2NN, example, Epoch(10, 600), 5, 50 * each) == (10, 5)
    assert fitting(MNIST_2NN, example, Epoch(10, 600), 5, 50 * each - 1) == (9, 5)
    assert fitting(MNIST_2NN, example, Epoch(10, 600), 5, 3 * each) == (1, 3)
    assert fitting(MNIST_2NN, example, Epoch(10, 600), 5, each) == (1, 1)
    twice = replica_bytes(MNIST_2NN, example, Epoch(10, 600, alike=False)) - each
    assert twice == step_bytes(MNIST_2NN, (1, 784), 10)  # a narrower step is captured beside the full one
    with pytest.raises(ValueError, match=r"a replica of 199210 weights in batches of 10 takes 5 MiB.* smaller B"):
        fitting(MNIST_2NN, example, Epoch(10, 600), 5, each - 1)
