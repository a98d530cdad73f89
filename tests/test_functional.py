"""A model that is any nn.Module: equal to the specification, under losses of the module itself and plain autograd."""

import subprocess
import sys
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bench.loops import MODULE_2NN
from fedgrid.algorithms import fedavg
from fedgrid.algorithms.fedprox import FedProx
from fedgrid.engine import evaluation
from fedgrid.engine import federation as engine
from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.functional import Module
from fedgrid.engine.memory import activations, examples_at_once, step_bytes
from fedgrid.engine.states import States
from fedgrid.engine.steps import Batches, Beside, Replicas
from fedgrid.partitions import PARTITIONS, draw
from fedgrid.rng import stream
from fedgrid.run.pace import examples as random_examples
from fedgrid.tasks.initial import INITS, initial_weights, inits
from fedgrid.tasks.models import MNIST_2NN, dense

INF = float("inf")
N, CLASSES = 97, 5
LRS = (0.01, 0.03, 0.1)


class TwoLayer(nn.Module):
    """A hidden layer, a scale that is a single number, and a weight that is never used."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(12, 8), nn.Linear(8, CLASSES)
        self.scale, self.unused = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.scale * self.out(self.hidden(x).relu())


class Convolutional(nn.Module):
    """A convolution that pools and normalises its channels in groups, its two last layers sharing weights."""

    def __init__(self):
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.norm, self.one, self.two = nn.GroupNorm(2, 4), nn.Linear(36, 36), nn.Linear(36, 36)
        self.two.weight = self.one.weight
        self.out = nn.Linear(36, CLASSES)

    def forward(self, x):
        x = self.norm(self.see(x)).flatten(1)
        return self.out(self.two(self.one(x).tanh()).tanh())


class Recurrent(nn.Module):
    """A memory for which vmap has no rule."""

    def __init__(self):
        super().__init__()
        self.table, self.memory, self.out = nn.Embedding(6, 3), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 6)

    def forward(self, x):
        return self.out(self.memory(self.table(x))[0])


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


# Each kind of module: as the engine has it, and stored examples for it.
KINDS = {
    "dense": (Module(TwoLayer, inputs=(12,), classes=CLASSES), images(12)),
    "convolutional": (Module(Convolutional, inputs=(1, 6, 6), classes=CLASSES), images(36)),
    "recurrent": (Module(Recurrent, unroll=5, classes=6), texts),
}
SETTINGS = {
    "fedsgd": {"C": 0.4, "E": 1, "B": INF},
    "a last partial batch": {"C": 0.4, "E": 1, "B": 4},
    "several epochs": {"C": 0.4, "E": 3, "B": 7},
    "several epochs of one batch": {"C": 0.4, "E": 3, "B": INF},
    "a proximal term": {"C": 0.4, "E": 2, "B": 6, "algorithm": FedProx(0.5)},
}


def prepare(dtype):
    return lambda x: x.to(dtype) / 255 if x.dtype == torch.uint8 else x


def plain(model, w, x):
    """The logits of the module itself, its weights set by hand, and these weights."""
    net = model.make().to(w.dtype)
    vector_to_parameters(w.detach().clone(), net.parameters())
    return net(x.view(-1, *model.inputs) if model.inputs else x), list(net.parameters())


def mean_loss(logits, y):
    """Over examples; that of a text is the mean over its steps, of which those without anything to be learnt cost 0."""
    each = cross_entropy(logits.flatten(0, -2), y.flatten(), ignore_index=-1, reduction="none")
    return each.view(len(y), -1).mean(1).mean()


def specified(kind, P, lr, count, dtype, **settings):
    """w_1, …, w_count by the specification, at one learning rate, with the gradients of plain autograd."""
    model, examples = kind
    x, y = examples()
    x = prepare(dtype)(x)

    def loss(w, b):
        logits, weights = plain(model, w, x[b])
        gradients = torch.autograd.grad(mean_loss(logits, y[b]), weights, allow_unused=True, materialize_grads=True)
        return w @ parameters_to_vector(gradients)  # whose derivative by w they are

    rounds = fedavg.rounds(start(model, dtype), P, loss, lr=lr, stream=partial(stream, 3), **settings)
    return list(islice(rounds, count))


def start(model, dtype):
    w = torch.randn(model.parameters, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 3
    return w.to(dtype)


def raced(model, data, P, lrs, count, w, dtype, **settings):
    """The same by the engine, for all learning rates together: count tensors (R, parameters)."""
    clients = Federation(model, data, P, stream=partial(stream, 3), dtype=dtype, **settings)
    w, lr, states, laps = w.repeat(len(lrs), 1), torch.tensor(lrs, dtype=w.dtype, device=w.device), States(), []
    for t in range(1, count + 1):
        w, states, _ = clients.round(t, w, lr, states)
        laps.append(w.cpu())
    return laps


def partition(kind="shards_unbalanced", K=10):
    return draw(PARTITIONS[kind](), images(1)()[1].numpy(), K, stream(0, "partition"))


def distance(kind, P, dtype, count=4, lrs=LRS, device="cpu", **settings):
    """How far the engine ever is from the specification, all rates together."""
    model, examples = kind
    data, w = Examples(*(one.to(device) for one in examples()), Inputs(prepare(dtype))), start(model, dtype)
    laps = raced(model, data, P, lrs, count, w.to(device), dtype, **settings)
    apart = 0.0
    for r, lr in enumerate(lrs):
        reference = specified(kind, P, lr, count, dtype, **settings)
        apart = max(apart, *((lap[r] - want).abs().max().item() for lap, want in zip(laps, reference, strict=True)))
        assert (laps[-1][r] - w).abs().max() > 1e-3 * lr
    return apart


# Law: the module, trained by the engine, is the module trained by the specification


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_module_trained_by_the_engine_equals_the_specification(kind, settings):
    assert distance(KINDS[kind], partition(), torch.float64, **settings) < 1e-9


@pytest.mark.parametrize("settings", list(SETTINGS.values())[:2], ids=list(SETTINGS)[:2])
@pytest.mark.parametrize("kind", KINDS)
def test_it_does_in_single_precision(kind, settings):
    assert distance(KINDS[kind], partition("iid"), torch.float32, **settings) < 1e-4


@pytest.mark.parametrize(("clients", "rates"), [(4, 1), (3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_stacked_clients_of_unequal_size_equal_the_specification(kind, clients, rates, monkeypatch):
    monkeypatch.setattr(engine, "replicas_at_once", lambda *_: (clients, rates))
    for name in ("fedsgd", "several epochs", "a proximal term"):
        assert distance(KINDS[kind], partition(), torch.float64, **SETTINGS[name]) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_fedsgds_one_step_may_be_taken_in_pieces(kind, monkeypatch):
    monkeypatch.setattr(engine, "examples_at_once", lambda *_: 10)
    assert distance(KINDS[kind], partition(), torch.float64, **SETTINGS["fedsgd"]) < 1e-9


@pytest.mark.parametrize("settings", [SETTINGS["fedsgd"], SETTINGS["several epochs"]], ids=["fedsgd", "epochs"])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_the_2nn_as_a_module_learns_as_the_fused_2nn_of_the_same_weights(dtype, near, settings):
    def two_nn():
        return nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))

    def turned(laps, model):
        """The fused weights in the module's order: nn.Linear has W turned round."""
        return [model.flat([[W.mT.contiguous(), b] for W, b in filter(None, model.weights(w))]) for w in laps]

    data = random_examples(MNIST_2NN, N, stream(0, "x"), torch.device("cpu"), dtype)
    P = draw(PARTITIONS["shards_unbalanced"](), data.y.numpy(), 10, stream(0, "partition"))
    w = initial_weights(MNIST_2NN, "glorot", stream(0, "init")).to(dtype)[None]
    fused = turned(raced(MNIST_2NN, data, P, (0.03, 0.1), 3, w, dtype, **settings), MNIST_2NN)
    (begun,) = turned([w], MNIST_2NN)
    mine = raced(Module(two_nn, inputs=(784,), classes=10), data, P, (0.03, 0.1), 3, begun, dtype, **settings)
    assert max((a - b).abs().max().item() for a, b in zip(fused, mine, strict=True)) < near
    assert (mine[-1] - begun).abs().max() > 100 * near


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_rounds_products_and_not_the_sum_of_steps(kind):
    model, examples = KINDS[kind]
    P, w = partition("iid"), start(model, torch.float32)
    exact, rounded = (
        raced(model, Examples(*examples(), Inputs(prepare(dtype))), P, [1e-4], 3, w, dtype, C=1, E=2, B=4)[-1]
        for dtype in (torch.float32, torch.bfloat16)
    )
    moved, wanted = (rounded - w).flatten(), (exact - w).flatten()
    assert rounded.dtype == torch.float32 and not rounded.equal(exact)
    assert (moved - wanted).norm() < 0.05 * wanted.norm()


@pytest.mark.parametrize("settings", [SETTINGS["fedsgd"], SETTINGS["several epochs"]], ids=["fedsgd", "epochs"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_depends_on_the_number_of_workers(kind, settings, monkeypatch):
    """Not a bit of it, though all threads run one module."""
    for module in (engine, evaluation):
        monkeypatch.setattr(module, "examples_at_once", lambda *_: 10)
    monkeypatch.setattr(engine, "replicas_at_once", lambda *_: (1, 3))
    model, examples = KINDS[kind]
    data, w = Examples(*examples(), Inputs(prepare(torch.float32))), start(model, torch.float32)
    alone, shared = (
        raced(model, data, partition(), LRS, 4, w, torch.float32, workers=workers, **settings) for workers in (1, 3)
    )
    assert all(a.equal(b) for a, b in zip(alone, shared, strict=True))
    assert evaluate(model, alone[-1], data, workers=3) == evaluate(model, alone[-1], data)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_is_a_plain_computation_over_all_examples(kind):
    model, examples = KINDS[kind]
    x, y = examples(1000 + 7, seed=5)
    w = torch.stack([start(model, torch.float64) * factor for factor in (-4, 0.5, 1, 30)])
    accuracy, loss = evaluate(model, w, Examples(x, y, Inputs(prepare(torch.float64))), torch.float64)
    for r in range(len(w)):
        logits, _ = plain(model, w[r], prepare(torch.float64)(x))
        right = ((logits.argmax(-1) == y) & (y >= 0)).sum().item()
        assert accuracy[r] == right / (y >= 0).sum().item()
        assert loss[r] == pytest.approx(mean_loss(logits, y).item(), rel=1e-12)
    assert len(set(accuracy)) > 1


# What is asked of a model besides


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_never_asks_the_device_for_a_number(kind):
    model, examples = KINDS[kind]
    x, y = examples(12)
    w, lr = torch.empty(3, model.parameters, device="meta"), torch.empty(3, device="meta")
    replicas = Replicas(model, fedavg.FedAvg(), Beside(w, {}, {}), lr, 2, torch.float32)
    x, y = (tensor.view(2, 2, 3, *tensor.shape[1:]).to("meta") for tensor in (prepare(torch.float32)(x), y))
    replicas.epoch(Batches(x, y, torch.empty(y.shape, device="meta"), torch.empty(2, 2, device="meta")), [2, 2])
    assert model.flat(replicas.weights).shape == (6, model.parameters)


def test_the_2nns_operations_are_those_of_the_fused_one():
    def small():
        return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))

    model = Module(small, inputs=(12,), classes=5)
    assert (model.flops, model.forward_flops) == (dense(12, 8, 5).flops, dense(12, 8, 5).forward_flops)


def test_the_operations_of_a_text_are_those_of_all_its_steps():
    # of each step: the gates' products with inputs and state, and the softmax's
    assert KINDS["recurrent"][0].forward_flops == 5 * 2 * (16 * 3 + 16 * 4 + 4 * 6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_step_holds_grows_with_the_batch_and_has_room_for_copies_of_the_weights(kind):
    model, examples = KINDS[kind]
    shape = examples(1)[0].shape
    few, many = step_bytes(model, shape, 10), step_bytes(model, shape, 20)
    assert 2 * 4 * model.parameters < few < many < 2 * few


def test_activations_are_those_of_one_example_whatever_the_weights_take():
    model = KINDS["dense"][0]
    must = 12 + 8 + 5 + 5  # the copied inputs, the hidden layer after ReLU, logits before and after they are scaled
    assert must <= activations(model, (1, 12), torch.float32) <= must + 8 + 5
    assert 0.9 * must <= activations(model, (1, 12), torch.float32, 3) <= must + 8 + 5
    assert examples_at_once(model, torch.zeros(1, 12), 3) == 1000


@pytest.mark.parametrize("kind", KINDS)
def test_random_examples_are_such_as_the_model_learns_from(kind):
    model, _ = KINDS[kind]
    data = random_examples(model, 6, stream(0, "x"), torch.device("cpu"))
    accuracy, loss = evaluate(model, start(model, torch.float32)[None], data)
    assert 0 <= accuracy[0] <= 1 and np.isfinite(loss[0])


def test_models_that_are_declared_alike_are_one():
    one, same = (Module(TwoLayer, inputs=(12,), classes=CLASSES) for _ in range(2))
    other = Module(Convolutional, inputs=(1, 6, 6), classes=CLASSES)
    assert one == same and hash(one) == hash(same) and one != other
    assert repr(one) == "Module(TwoLayer, classes=5, inputs=(12,))"
    assert repr(KINDS["recurrent"][0]) == "Module(Recurrent, classes=6, unroll=5)"


# How its weights start


def test_a_module_draws_its_own_weights_from_the_cells_stream_alone():
    model, before = KINDS["dense"][0], torch.random.get_rng_state()
    w, again, other = (initial_weights(model, "module", stream(seed, "init")) for seed in (0, 0, 1))
    assert torch.random.get_rng_state().equal(before)
    assert w.dtype == torch.float64 and w.equal(again) and not w.equal(other)
    with torch.random.fork_rng():
        torch.manual_seed(int(stream(0, "init").integers(2**63)))
        assert w.equal(parameters_to_vector(TwoLayer().parameters()).double())


def test_a_module_starts_as_it_draws_itself_and_fused_layers_never_do():
    module, fused = KINDS["dense"][0], dense(12, 8, 5)
    assert (inits(module), inits(fused)) == (("module",), tuple(INITS))
    for model, init in [(module, "glorot"), (fused, "module")]:
        with pytest.raises(ValueError, match=f"init is {init}; .* it must be ") as caught:
            initial_weights(model, init, stream(0, "init"))
        assert "\n" not in str(caught.value)


# What cannot work is refused when it is declared, in one line that names the class


class Wrong(TwoLayer):
    def forward(self, x):
        return super().forward(x)[:, :3]


class Noisy(TwoLayer):
    def forward(self, x):
        return super().forward(x + torch.rand_like(x))


class Pair(TwoLayer):
    def forward(self, x):
        return super().forward(x), x


class Branching(TwoLayer):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


class Frozen(TwoLayer):
    def __init__(self):
        super().__init__()
        self.hidden.requires_grad_(False)


class Forgetful(Recurrent):
    def __init__(self):
        super().__init__()
        self.memory = nn.LSTM(3, 4, 2, batch_first=True, dropout=0.5)


class Asking(TwoLayer):
    def __init__(self, width):
        super().__init__()


def sequential(*layers):
    def make():
        return nn.Sequential(nn.Linear(12, 4), *layers, nn.Linear(4, CLASSES))

    return make


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (sequential(nn.BatchNorm1d(4)), "1 is batch normalisation, which mixes examples; use group"),
        (sequential(nn.BatchNorm1d(4, track_running_stats=False)), "1 is batch normalisation, which mixes"),
        (sequential(nn.LazyLinear(4)), "1.weight has no shape before its first input; give"),
        (sequential(nn.Dropout()), "draws random numbers (aten.bernoulli"),
        (Noisy, "draws random numbers (aten.rand_like"),
        (nn.Flatten, "no parameters"),
        (Wrong, "its forward gives (2, 3) for (2, 12), not (2, 5)"),
        (Pair, "its forward gives tuple for (2, 12), not (2, 5)"),
        (Branching, "item() cannot be called on meta tensors"),
        (Frozen, "hidden.weight does not require a gradient"),
        (Asking, "missing 1 required positional argument: 'width'); give a class or a function that needs no arg"),
        (lambda: 3, "makes int, not an nn.Module"),
        (TwoLayer(), "give an nn.Module's class, or a function that returns one, not a TwoLayer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_trained_is_refused_by_one_line_that_names_it(make, says):
    with pytest.raises(ValueError) as caught:
        Module(make, inputs=(12,), classes=CLASSES)
    line = str(caught.value)
    assert "\n" not in line and says in line
    assert getattr(make, "__qualname__", "TwoLayer") in line


@pytest.mark.parametrize(
    ("make", "settings", "says"),
    [
        (TwoLayer, {"inputs": 12}, "inputs is 12; it is a tuple of sizes"),
        (TwoLayer, {}, "give inputs, the shape of an example, or unroll"),
        (Recurrent, {"inputs": (5,), "unroll": 5}, "give inputs, the shape of an example, or unroll"),
        (Recurrent, {"unroll": 5}, "its forward gives (2, 5, 6) for (2, 5), not (2, 5, 5)"),
        (Forgetful, {"unroll": 5}, "draws random numbers (aten.bernoulli"),
        (TwoLayer, {"inputs": (13,)}, "must have same reduction dim, but got [2, 13]"),
    ],
    ids=str,
)
def test_a_declaration_that_does_not_fit_is_refused_by_one_line_that_names_it(make, settings, says):
    with pytest.raises(ValueError) as caught:
        Module(make, classes=CLASSES, **settings)
    line = str(caught.value)
    assert "\n" not in line and says in line and line.startswith(f"{__name__}.{make.__name__}")


def test_a_module_is_the_same_in_another_process():
    """Its repr and its first weights: neither holds an address or depends on the process."""
    code = """
import torch
from bench.loops import MODULE_2NN
from fedgrid.rng import stream
from fedgrid.tasks.initial import initial_weights
print(MODULE_2NN, initial_weights(MODULE_2NN, "module", stream(0, "init")).sum().item())
"""
    command, root = [sys.executable, "-c", code], Path(__file__).parents[1]
    said = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True).stdout
    drawn = initial_weights(MODULE_2NN, "module", stream(0, "init")).sum().item()
    assert said == f"Module(two_nn, classes=10, inputs=(784,)) {drawn}\n"
