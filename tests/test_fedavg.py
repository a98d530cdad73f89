"""Laws of Algorithm 1. The references are torch.nn with torch.optim.SGD, exact fractions and sums done by hand."""

from fractions import Fraction
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from fedgrid.algorithms import FedAvg, batches, cohorts, fedavg
from fedgrid.rng import stream

INF = float("inf")
FEATURES, HIDDEN, CLASSES = 6, 5, 4
N = 50
UNEQUAL = [np.arange(0, 3), np.arange(3, 20), np.arange(20, 21), np.arange(21, 50)]  # 3, 17, 1 and 29 examples


def network():
    torch.manual_seed(7)
    return torch.nn.Sequential(
        torch.nn.Linear(FEATURES, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, CLASSES)
    ).double()


def examples():
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.normal(size=(N, FEATURES))), torch.from_numpy(rng.integers(CLASSES, size=N))


def flat(net):
    return torch.nn.utils.parameters_to_vector(net.parameters()).detach()


class NetworkLoss:
    """ℓ(w; b) of the network, remembering which examples it was asked for."""

    def __init__(self):
        self.net, (self.x, self.y) = network(), examples()
        self.asked = []

    def __call__(self, w, b):
        self.asked.append(b.copy())
        names, shapes = zip(*((name, p.shape) for name, p in self.net.named_parameters()), strict=True)
        parts = w.split([shape.numel() for shape in shapes])
        weights = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return cross_entropy(torch.func.functional_call(self.net, weights, (self.x[b],)), self.y[b])


def run(P, loss, count, seed=3, **settings):
    settings = {"C": 1, "E": 1, "B": INF, "lr": 0.3, "stream": partial(stream, seed)} | settings
    return list(islice(fedavg.rounds(flat(network()), P, loss, **settings), count))


def sgd(net, batches, lr):
    """The weights after each step of torch's own SGD."""
    x, y = examples()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    for b in batches:
        optimizer.zero_grad()
        cross_entropy(net(x[b]), y[b]).backward()
        optimizer.step()
        yield flat(net)


def test_fedsgd_with_all_clients_is_full_batch_gradient_descent():
    federated = run(UNEQUAL, NetworkLoss(), 20, lr=0.3)
    descent = list(sgd(network(), [np.arange(N)] * 20, lr=0.3))
    for t, (ours, theirs) in enumerate(zip(federated, descent, strict=True), start=1):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12, msg=lambda m, t=t: f"round {t}: {m}")
    assert (federated[-1] - flat(network())).abs().max() > 0.1  # it went somewhere


@pytest.mark.parametrize("E", [1, 3])
@pytest.mark.parametrize("B", [7, 10, INF])
@pytest.mark.parametrize("shuffle", batches.SHUFFLES)
def test_fedavg_with_a_single_client_is_minibatch_sgd_over_the_same_batches(E, B, shuffle):
    loss = NetworkLoss()
    federated = run([np.arange(N)], loss, 4, E=E, B=B, lr=0.2, shuffle=shuffle)
    steps = list(sgd(network(), loss.asked, lr=0.2))
    per_round = len(steps) // 4
    for t in range(4):
        torch.testing.assert_close(federated[t], steps[(t + 1) * per_round - 1], rtol=0, atol=1e-12)


def test_weights_are_the_examples_share_of_the_cohort():
    # ℓ(w; b) = mean of x over b times w: client k's step is lr times the mean of its x, whatever w is.
    x = torch.tensor([1.0, 3.0, 8.0, 100.0, 200.0, 300.0], dtype=torch.float64)
    P = [np.array([0, 1]), np.array([2]), np.array([3, 4, 5])]
    means = {0: 2.0, 1: 8.0, 2: 200.0}
    steps = {(0, 1): (2 * 2 + 1 * 8) / 3, (0, 2): (2 * 2 + 3 * 200) / 5, (1, 2): (1 * 8 + 3 * 200) / 4}
    seen = set()
    rounds = fedavg.rounds(
        torch.tensor([5.0], dtype=torch.float64),
        P,
        lambda w, b: x[b].mean() * w[0],
        C=2 / 3,
        E=1,
        B=INF,
        lr=0.5,
        stream=partial(stream, 0),
    )
    before = 5.0
    for t, w in enumerate(islice(rounds, 30), start=1):
        S_t = tuple(int(k) for k in cohorts.cohort(3, 2 / 3, stream(0, "cohort", t)))
        assert w.item() == pytest.approx(before - 0.5 * steps[S_t], abs=1e-9)
        assert steps[S_t] != sum(means[k] for k in S_t) / 2  # an unweighted average would be seen
        before = w.item()
        seen.add(S_t)
    assert seen == set(steps)


def test_the_server_starts_every_client_from_the_rounds_weights():
    # ℓ(w; b) = (w − x)²/2 with a single step: w_k = w − η(w − x_k), and their mean is known in closed form.
    x = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    rounds = fedavg.rounds(
        torch.zeros(1, dtype=torch.float64),
        [np.array([k]) for k in range(3)],
        lambda w, b: ((w - x[b]) ** 2).mean() / 2,
        C=1,
        E=2,
        B=INF,
        lr=0.25,
        stream=partial(stream, 0),
    )
    for t, w in enumerate(islice(rounds, 10), start=1):
        assert w.item() == pytest.approx(3 * (1 - 0.75 ** (2 * t)), abs=1e-12)


def sizes(K, C, rounding="nearest"):
    return len(cohorts.cohort(K, C, stream(0, "cohort", 1), rounding))


@pytest.mark.parametrize(
    ("K", "C", "m"),
    [
        (100, 0, 1),
        (100, 0.1, 10),
        (100, 0.2, 20),
        (100, 0.5, 50),
        (100, 1, 100),
        (100, 0.29, 29),
        (100, 0.07, 7),
        (1, 1, 1),
    ],
)
@pytest.mark.parametrize("rounding", cohorts.ROUNDINGS)
def test_cohort_has_the_papers_size_under_every_rounding_where_c_times_k_is_whole(K, C, m, rounding):
    assert sizes(K, C, rounding) == m


@pytest.mark.parametrize(("rounding", "m"), [("nearest", 115), ("down", 114), ("up", 115)])
def test_roundings_of_a_tenth_of_the_1146_roles_of_shakespeare(rounding, m):
    assert sizes(1146, 0.1, rounding) == m


@pytest.mark.parametrize(("rounding", "m"), [("nearest", 34), ("down", 34), ("up", 35)])
def test_roundings_of_a_part_below_a_half(rounding, m):
    assert sizes(1146, 0.03, rounding) == m  # 34.38


@given(K=st.integers(1, 2000), percent=st.integers(0, 100))
def test_cohort_size_is_that_of_exact_arithmetic(K, percent):
    exact = Fraction(percent, 100) * K
    C = percent / 100
    assert sizes(K, C, "down") == max(exact.numerator // exact.denominator, 1)
    assert sizes(K, C, "up") == max(-(-exact.numerator // exact.denominator), 1)
    assert abs(sizes(K, C, "nearest") - max(exact, 1)) <= Fraction(1, 2)


@given(K=st.integers(1, 300), C=st.floats(0, 1), seed=st.integers(0, 99), t=st.integers(1, 9999))
def test_cohort_is_a_set_of_clients(K, C, seed, t):
    S_t = cohorts.cohort(K, C, stream(seed, "cohort", t))
    assert len(set(S_t.tolist())) == len(S_t) >= 1
    assert S_t.min() >= 0 and S_t.max() < K
    assert S_t.tolist() == sorted(S_t.tolist())


def test_every_client_is_as_likely_in_a_cohort():
    count = np.zeros(20)
    for t in range(2000):
        count[cohorts.cohort(20, 0.25, stream(0, "cohort", t))] += 1
    # binomial(2000, 1/4): mean 500, standard deviation 19.4
    assert count.sum() == 10_000
    assert np.abs(count - 500).max() < 4.5 * 19.4


class Recorder:
    """Cohorts as training shows them: which clients' examples the loss was asked for, round by round."""

    def __init__(self, P):
        self.owner = {int(i): k for k, P_k in enumerate(P) for i in P_k}
        self.clients = set()

    def __call__(self, w, b):
        self.clients |= {self.owner[int(i)] for i in b}
        return (w * 0).sum()


def trained_cohorts(count, seed, C=0.3, **settings):
    P = [np.arange(3 * k, 3 * k + 3) for k in range(20)]
    loss = Recorder(P)
    cohorts = []
    rounds = fedavg.rounds(
        torch.zeros(1), P, loss, C=C, **{"E": 1, "B": INF, "lr": 0.1, "stream": partial(stream, seed)} | settings
    )
    for _ in islice(rounds, count):
        cohorts.append(sorted(loss.clients))
        loss.clients = set()
    return cohorts


def test_cohorts_are_a_function_of_seed_and_round_alone():
    plain = trained_cohorts(8, seed=5)
    for other in ({"E": 4}, {"B": 2}, {"lr": 3.0}, {"shuffle": "once"}, {"E": 2, "B": 1}):
        assert trained_cohorts(8, seed=5, **other) == plain
    assert plain == [cohorts.cohort(20, 0.3, stream(5, "cohort", t)).tolist() for t in range(1, 9)]
    assert len(set(map(tuple, plain))) == 8  # rounds differ
    assert all(a != b for a, b in zip(plain, trained_cohorts(8, seed=6), strict=True))  # seeds differ


def test_c_of_zero_trains_a_single_client_and_c_of_one_all():
    assert all(len(S_t) == 1 for S_t in trained_cohorts(10, seed=0, C=0))
    assert all(S_t == list(range(20)) for S_t in trained_cohorts(10, seed=0, C=1))


@given(n=st.integers(1, 60), B=st.one_of(st.integers(1, 70).map(float), st.just(INF)), seed=st.integers(0, 999))
def test_batches_cut_an_order_into_pieces_of_b_the_last_one_kept(n, B, seed):
    order = np.random.default_rng(seed).permutation(1000)[:n]
    cut = list(batches.batches(order, B))
    assert np.concatenate(cut).tolist() == order.tolist()
    assert all(len(b) == B for b in cut[:-1])
    assert 1 <= len(cut[-1]) <= B
    assert len(cut) == (1 if B == INF else -(-n // int(B)))


@pytest.mark.parametrize("shuffle", batches.SHUFFLES)
@given(n=st.integers(1, 40), E=st.integers(1, 5), B=st.integers(1, 45), seed=st.integers(0, 99))
def test_a_client_sees_each_of_its_examples_exactly_once_per_epoch(shuffle, n, E, B, seed):
    P_k = np.arange(100, 100 + n)
    asked = []

    def loss(w, b):
        asked.extend(b.tolist())
        return w.sum()

    rng = stream(seed, "client", 1, 0)
    fedavg.client_update(torch.zeros(1), P_k, loss, E, B, 0.1, rng, shuffle, FedAvg(), {}, {})
    assert len(asked) == E * n
    for epoch in range(E):
        assert sorted(asked[epoch * n : (epoch + 1) * n]) == P_k.tolist()


def test_shuffle_once_repeats_the_order_and_every_epoch_does_not():
    P_k = np.arange(30)
    once = [order.tolist() for order in batches.epochs(P_k, 5, stream(0, "client", 1, 2), "once")]
    every = [order.tolist() for order in batches.epochs(P_k, 5, stream(0, "client", 1, 2), "every_epoch")]
    assert len(set(map(tuple, once))) == 1
    assert len(set(map(tuple, every))) == 5
    assert once[0] == every[0] != P_k.tolist()


def test_batches_differ_between_rounds_and_between_clients():
    loss = NetworkLoss()
    run([np.arange(25), np.arange(25, 50)], loss, 2)
    first, second = loss.asked[:2], loss.asked[2:]
    assert (first[0] != second[0]).any()
    assert (first[0] != first[1] - 25).any()


def updates(n_k, E, B):
    """Local updates of a client of n_k examples, counted."""
    count = 0

    def loss(w, b):
        nonlocal count
        count += 1
        return w.sum()

    rng, P_k = stream(0, "client", 1, 0), np.arange(n_k)
    fedavg.client_update(torch.zeros(1), P_k, loss, E, B, 0.1, rng, "every_epoch", FedAvg(), {}, {})
    return count


@pytest.mark.parametrize(
    ("E", "B", "u"),
    # Tables 2 and 4, column u, for MNIST's 60,000 examples on 100 clients
    [
        *((1, INF, 1), (5, INF, 5), (10, INF, 10), (20, INF, 20), (1, 50, 12), (1, 10, 60)),
        *((5, 50, 60), (10, 50, 120), (20, 50, 240), (5, 10, 300), (10, 10, 600), (20, 10, 1200)),
    ],
)
def test_a_client_makes_the_updates_of_the_papers_column_u(E, B, u):
    assert updates(600, E, B) == u
    assert u == E if B == INF else u == E * 60_000 / (100 * B)


def test_a_round_changes_no_tensor_that_it_was_given():
    w = flat(network())
    kept = w.clone()
    settings = {"C": 1, "E": 2, "B": 5, "lr": 0.1, "stream": partial(stream, 0)}
    first, second = islice(fedavg.rounds(w, UNEQUAL, NetworkLoss(), **settings), 2)
    assert w.equal(kept)
    assert not first.equal(second) and not first.requires_grad


def test_a_race_can_be_taken_up_at_any_round():
    """w_t depends on w_{t−1}, the seed and t alone: a stream moved by three rounds goes on from w_3 to w_4, w_5."""
    whole = run(UNEQUAL, NetworkLoss(), 5, C=0.5, E=2, B=4)

    def later(name, t, *keys):
        return stream(3, name, t + 3, *keys)

    rest = fedavg.rounds(whole[2], UNEQUAL, NetworkLoss(), C=0.5, E=2, B=4, lr=0.3, stream=later)
    assert [w.tolist() for w in islice(rest, 2)] == [w.tolist() for w in whole[3:]]
