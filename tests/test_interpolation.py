"""Figure 1's laws, against training and losses written out in plain torch and numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fedgrid.algorithms import batches
from fedgrid.engine.steps import Replicas
from fedgrid.grid.artefacts import artefact
from fedgrid.grid.cells import Interpolation
from fedgrid.partitions import Partition
from fedgrid.partitions.iid import IID
from fedgrid.rng import stream
from fedgrid.run import interpolation
from fedgrid.tasks.datasets import Dataset

ROOT = Path(__file__).parents[1]
FIGURE_1 = artefact("figure1", ROOT / "params").cells
E, B, LR = 20, 50, 0.1  # the paper's, section 2


def cell(shared_start):
    """Figure 1's cell on the small sister of its model, two clients."""
    return Interpolation(task="digits_2nn", partition=IID(), E=E, B=B, lr=(LR,), K=2, shared_start=shared_start)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As a job has it; threads cost more than they bring to a net this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data():
    """1,200 images of ten classes that can be learnt: 600 for each of two clients."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 10, 1300)
    x = np.clip(rng.normal(8, 2, (10, 64))[y] + rng.normal(0, 5, (1300, 64)), 0, 16).astype(np.uint8)
    return Dataset("digits", x[:1200], y[:1200], x[1200:], y[1200:], white=16)


@pytest.fixture(scope="module")
def partition():
    return IID().draw(np.zeros(1200), 2, np.random.default_rng(8))


@pytest.fixture(scope="module")
def trained(data, partition):
    """Initial and final weights of both cells, by shared_start."""
    return {shared: interpolation.parents(cell(shared), data, partition) for shared in (False, True)}


def network(w, dtype=torch.float64):
    """The 2NN of those flat weights as torch's own modules."""
    layers = [torch.nn.Linear(64, 200), torch.nn.Linear(200, 200), torch.nn.Linear(200, 10)]
    place = 0
    for layer in layers:
        inputs, outputs = layer.in_features, layer.out_features
        matrix = w[place : place + inputs * outputs].view(inputs, outputs)
        bias = w[place + inputs * outputs : place + (inputs + 1) * outputs]
        layer.weight.data, layer.bias.data = matrix.T.to(dtype).clone(), bias.to(dtype).clone()
        place += (inputs + 1) * outputs
    assert place == len(w) == 55_210
    return torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])


def flat(model):
    """The weights of torch's modules as one vector, matrices as (inputs, outputs)."""
    return torch.cat([part.detach().t().reshape(-1) for part in model.parameters()])  # t() leaves a vector as it is


def reference_loss(w, data):
    """The mean cross-entropy over the training set, in float64."""
    with torch.no_grad():
        logits = network(w)(torch.from_numpy(data.train_x).double() / 16)
    right = logits[torch.arange(len(data.train_y)), torch.from_numpy(data.train_y)]
    return float((logits.logsumexp(1) - right).mean())


def test_figure_1_trains_for_240_updates_of_50_on_600_examples():
    for declared in FIGURE_1:
        images = 60_000 // declared.K
        assert images == 600
        orders = batches.epochs(np.arange(images), declared.E, np.random.default_rng(0), declared.shuffle)
        sizes = [len(b) for order in orders for b in batches.batches(order, declared.B)]
        assert sizes == [50] * 240
        assert (declared.lr, declared.task, declared.partition) == ((0.1,), "mnist_2nn", IID())
    declared = sorted((one.seed, one.shared_start) for one in FIGURE_1)
    assert declared == [(seed, shared) for seed in (0, 1, 2) for shared in (False, True)]


def test_each_parent_makes_its_240_updates_on_its_own_600_examples(data, partition, monkeypatch):
    """Every batch whose gradient is taken, as the step sees it; the step itself is the engine's own."""
    interpolation.parents(cell(True), data, partition)  # how many replicas step together is tried once, by steps
    seen, step = [], Replicas.step
    monkeypatch.setattr(Replicas, "step", lambda self, x, *batch: seen.append(x[0]) or step(self, x, *batch))
    interpolation.parents(cell(True), data, partition)
    assert [len(x) for x in seen] == [50] * 480
    for k, mine in enumerate((seen[:240], seen[240:])):
        images = torch.cat(mine).mul(16).round().to(torch.uint8).numpy()
        own, often = np.unique(data.train_x[partition[k]], axis=0, return_counts=True)
        shown, times = np.unique(images, axis=0, return_counts=True)
        assert np.array_equal(shown, own) and np.array_equal(times, E * often)


@pytest.mark.parametrize("k", [0, 1])
def test_a_parent_is_plain_torch_sgd_on_its_client_s_batches(data, partition, monkeypatch, k):
    """In float64: in float32, 240 steps through ReLUs make percents of a rounding."""
    monkeypatch.setattr(interpolation, "WEIGHTS", torch.float64)
    monkeypatch.setattr(interpolation, "PRECISIONS", {"float32": (torch.float64, "ieee")})
    initial, final = interpolation.parents(cell(False), data, partition)
    model = network(initial[k])
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    x, y = torch.from_numpy(data.train_x).double() / 16, torch.from_numpy(data.train_y)
    rng, updates = stream(0, "client", 1, k), 0
    for _ in range(E):
        order = torch.from_numpy(rng.permutation(partition[k]))
        for b in order.split(B):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[b]), y[b]).backward()
            optimizer.step()
            updates += 1
    assert updates == 240
    moved = float((final[k] - initial[k]).norm())
    assert float((flat(model) - final[k]).norm()) < 1e-9 * moved


def test_a_shared_start_is_the_same_weights_and_an_independent_one_is_not(trained):
    (apart, apart_final), (shared, shared_final) = trained[False], trained[True]
    assert torch.equal(shared[0], shared[1])
    assert torch.equal(shared[0], apart[0])  # the figure's two halves differ in the second parent alone
    assert torch.equal(shared_final[0], apart_final[0])
    biases = apart[0] == 0  # they start at zero in both
    assert int(biases.sum()) == 410 and not (apart[0] == apart[1])[~biases].any()
    correlation = torch.corrcoef(apart)[0, 1]
    assert abs(float(correlation)) < 0.02
    for final in (apart_final, shared_final):
        assert not torch.equal(final[0], final[1])


@pytest.mark.parametrize("shared", [False, True])
def test_the_losses_are_those_of_the_mixtures_written_out_in_plain_torch(data, trained, shared):
    """θ = 1 is the first client's model and θ = 0 the second's; θ = 1/2 their mean; the ends lie beyond both."""
    w = trained[shared][1]
    curves = interpolation.averages(cell(shared), data, w, interpolation.mixing_weights(cell(shared)))
    first, second = w.double()
    assert curves["parents"] == pytest.approx([reference_loss(first, data), reference_loss(second, data)], rel=1e-5)
    assert abs(curves["parents"][0] - curves["parents"][1]) > 1e-3 * curves["parents"][0]  # or nothing told them apart
    for i in (0, 7, 20, 24, 25, 42, 49):
        theta = -0.2 + 1.4 * i / 49
        expected = reference_loss(second + theta * (first - second), data)
        assert curves["train_loss"][i] == pytest.approx(expected, rel=1e-5), theta


@pytest.mark.parametrize("points", [3, 8, 50])
def test_at_one_and_at_zero_stand_the_parents(data, trained, points):
    some = Interpolation(task="digits_2nn", partition=IID(), E=1, B=B, lr=(LR,), K=2, shared_start=True, points=points)
    half = interpolation.averages(some, data, trained[True][1], interpolation.mixing_weights(some))
    assert len(half["theta"]) == len(half["train_loss"]) == points
    for parent, theta in zip(half["parents"], (1.0, 0.0), strict=True):
        for t, loss in zip(half["theta"], half["train_loss"], strict=True):
            if abs(t - theta) < 1e-12:
                assert loss == pytest.approx(parent, rel=1e-6)
    at = {round(t, 9) for t in half["theta"]}
    assert ({0.0, 1.0} <= at) == (points in (8, 50))  # 1.4 / 7 and 1.4 / 49 meet both, 1.4 / 2 does not


def test_the_half_way_average_is_the_mean_of_the_weights(data, trained):
    w = trained[False][1]
    halfway = Interpolation(task="digits_2nn", partition=IID(), E=1, B=B, lr=(LR,), K=2, shared_start=False, points=3)
    curves = interpolation.averages(halfway, data, w, interpolation.mixing_weights(halfway))
    assert curves["theta"][1] == pytest.approx(0.5, abs=1e-15)
    assert curves["train_loss"][1] == pytest.approx(reference_loss((w[0].double() + w[1].double()) / 2, data), rel=1e-5)


def test_averages_of_a_model_with_itself_are_that_model(data, trained):
    w = trained[False][1][:1].repeat(2, 1)
    curves = interpolation.averages(cell(False), data, w, interpolation.mixing_weights(cell(False)))
    assert curves["train_loss"] == pytest.approx([reference_loss(w[0], data)] * 50, rel=1e-5)


def test_fifty_mixing_weights_from_minus_02_to_12():
    theta = interpolation.mixing_weights(cell(True))
    assert len(theta) == 50 and (theta[0], theta[-1]) == (-0.2, 1.2)
    assert np.diff(theta) == pytest.approx([1.4 / 49] * 49)


def test_averaging_helps_from_a_shared_start_and_hurts_from_independent_ones(data, trained):
    """The paper's finding, here on images made up for the test."""
    for shared, (_, final) in trained.items():
        curves = interpolation.averages(cell(shared), data, final, interpolation.mixing_weights(cell(shared)))
        found = interpolation.result(curves)
        if shared:
            assert found["least"]["loss"] < 0.95 * min(found["parents"])
        else:
            assert found["greatest"]["loss"] > 2 * max(found["parents"])


def test_the_result_is_the_least_and_the_greatest_loss_between_the_parents():
    curves = {"theta": [-0.2, 0.0, 0.4, 0.8, 1.2], "train_loss": [0.1, 0.5, 0.3, 0.9, 2.0], "parents": [0.4, 0.5]}
    assert interpolation.result(curves) == {
        "parents": [0.4, 0.5],
        "least": {"loss": 0.3, "theta": 0.4},
        "greatest": {"loss": 0.9, "theta": 0.8},
    }


def test_other_seeds_give_other_parents_and_the_same_seed_the_same(data, partition, trained):
    def parents(seed):
        short = Interpolation(
            task="digits_2nn", partition=IID(), E=1, B=B, lr=(LR,), K=2, shared_start=False, seed=seed
        )
        return interpolation.parents(short, data, partition)

    once, again, other = parents(0), parents(0), parents(1)
    assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1])
    assert torch.equal(once[0], trained[False][0]) and not torch.equal(once[0], other[0])


def test_only_clients_0_and_1_are_trained(data, trained):
    """With a third client beside them, the first two's models are what they were."""
    short = Interpolation(task="digits_2nn", partition=IID(), E=1, B=B, lr=(LR,), K=3, shared_start=True)
    order = np.arange(1200)
    two, three = Partition(order, np.array([0, 300, 600])), Partition(order, np.array([0, 300, 600, 1200]))
    assert torch.equal(interpolation.parents(short, data, two)[1], interpolation.parents(short, data, three)[1])
