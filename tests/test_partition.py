"""Laws of the partitions."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedgrid.partitions import PARTITIONS, Division, Partition, draw
from fedgrid.partitions.partition import of_clients
from fedgrid.rng import stream

DIVIDED = sorted(set(PARTITIONS) - {"population", "natural"})
KINDS = st.sampled_from(DIVIDED)
LABELS = arrays(np.int64, st.integers(2, 300), elements=st.integers(0, 9))
MNIST_LABEL_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def mnist_labels():
    return np.random.default_rng(0).permutation(np.repeat(np.arange(10), MNIST_LABEL_COUNTS))


def mnist(kind, seed=0, K=100):
    return draw(PARTITIONS[kind](), mnist_labels(), K, stream(seed, "partition"))


@given(kind=KINDS, labels=LABELS, K=st.integers(1, 150), seed=st.integers(0, 999))
def test_every_partition_is_a_disjoint_cover_by_clients_that_hold_something(kind, labels, K, seed):
    assume(len(labels) >= 2 * K)
    P = draw(PARTITIONS[kind](), labels, K, stream(seed, "partition"))
    assert len(P) == K
    assert P.indices.dtype == P.offsets.dtype == np.int64
    assert P.indices.shape == labels.shape and P.offsets.shape == (K + 1,)
    assert P.offsets[0] == 0 and P.offsets[-1] == len(labels)
    assert min(len(P_k) for P_k in P) >= 1
    assert sorted(np.concatenate(list(P)).tolist()) == list(range(len(labels)))
    for k in range(K):
        assert P[k].tolist() == P.indices[P.offsets[k] : P.offsets[k + 1]].tolist()


@given(kind=st.sampled_from(["iid", "shards"]), labels=LABELS, K=st.integers(1, 150), seed=st.integers(0, 999))
def test_balanced_partitions_give_slices_of_equal_size_give_or_take_one(kind, labels, K, seed):
    slices = {"iid": 1, "shards": 2}[kind]
    assume(len(labels) >= slices * K)
    sizes = np.diff(draw(PARTITIONS[kind](), labels, K, stream(seed, "partition")).offsets)
    assert sizes.max() - sizes.min() <= slices


@pytest.mark.parametrize("kind", ["iid", "shards"])
def test_balanced_mnist_gives_each_of_100_clients_600_examples(kind):
    assert np.diff(mnist(kind).offsets).tolist() == [600] * 100


@pytest.mark.parametrize("kind", ["iid_unbalanced", "shards_unbalanced"])
def test_unbalanced_mnist_leaves_clients_far_from_equal(kind):
    sizes = np.diff(mnist(kind).offsets)
    assert sizes.min() >= 1 and sizes.sum() == 60_000
    # Cuts at uniformly random places leave slices whose deviation is their mean: 600, or 424 for two slices of 300.
    assert 300 < sizes.std() < 900
    assert len(set(sizes.tolist())) > 80


def test_shards_of_mnist_are_200_slices_of_300_of_the_label_sorted_data():
    labels = mnist_labels()
    by_label = [i for label in range(10) for i in np.flatnonzero(labels == label).tolist()]
    expected = {tuple(by_label[300 * s : 300 * s + 300]) for s in range(200)}
    P = mnist("shards")
    dealt = [tuple(half.tolist()) for P_k in P for half in (P_k[:300], P_k[300:])]
    assert len(dealt) == 200
    assert set(dealt) == expected


@pytest.mark.parametrize("seed", range(5))
def test_a_shards_client_of_mnist_holds_one_to_four_digits_and_an_iid_client_all(seed):
    labels = mnist_labels()
    digits = [len(np.unique(labels[P_k])) for P_k in mnist("shards", seed)]
    assert min(digits) >= 1 and max(digits) <= 4
    assert np.mean(digits) < 2.5
    assert min(len(np.unique(labels[P_k])) for P_k in mnist("iid", seed)) == 10


@given(labels=LABELS, K=st.integers(1, 100), seed=st.integers(0, 999), kind=KINDS)
def test_a_shards_client_holds_two_runs_of_the_label_sorted_data(labels, K, seed, kind):
    assume(kind.startswith("shards") and len(labels) >= 2 * K)
    rank = np.empty(len(labels), np.int64)
    rank[sorted(range(len(labels)), key=lambda i: (labels[i], i))] = np.arange(len(labels))
    for P_k in draw(PARTITIONS[kind](), labels, K, stream(seed, "partition")):
        breaks = np.count_nonzero(np.diff(rank[P_k]) != 1)
        assert breaks <= 1


@pytest.mark.parametrize("kind", sorted(set(PARTITIONS) - {"natural"}))
def test_another_seed_is_another_partition(kind):
    P, Q = mnist(kind, seed=0), mnist(kind, seed=1)
    assert P.indices.tolist() != Q.indices.tolist()
    assert P.digest != Q.digest


@pytest.mark.parametrize(
    ("kind", "K", "most"),
    [("iid", 11, 10), ("iid_unbalanced", 11, 10), ("shards", 6, 5), ("shards_unbalanced", 6, 5)],
)
def test_more_clients_than_examples_can_serve_is_an_error_that_names_k(kind, K, most):
    labels = np.arange(10)
    assert len(draw(PARTITIONS[kind](), labels, most, stream(0, "partition"))) == most
    with pytest.raises(ValueError, match=rf"^K: 10 examples .*{K} clients"):
        draw(PARTITIONS[kind](), labels, K, stream(0, "partition"))


@given(kind=KINDS, labels=LABELS, K=st.integers(1, 100), seed=st.integers(0, 999))
def test_drawn_twice_is_the_same(kind, labels, K, seed):
    assume(len(labels) >= 2 * K)
    first, again = (draw(PARTITIONS[kind](), labels, K, stream(seed, "partition")) for _ in range(2))
    assert first.indices.tolist() == again.indices.tolist()
    assert first.offsets.tolist() == again.offsets.tolist()
    assert first.digest == again.digest


@given(n=st.integers(2, 100), K=st.integers(2, 50), data=st.data())
def test_the_digest_changes_with_any_change(n, K, data):
    assume(n >= K)
    P = draw(PARTITIONS["iid"](), np.zeros(n, np.int64), K, stream(0, "partition"))
    a = data.draw(st.integers(0, n - 1))
    b = data.draw(st.integers(0, n - 1).filter(lambda b: b != a))
    swapped = P.indices.copy()
    swapped[[a, b]] = swapped[[b, a]]
    moved = P.offsets.copy()
    moved[data.draw(st.integers(1, K - 1))] += 1
    fewer = np.delete(P.offsets, 1)
    digests = {P.digest, Partition(swapped, P.offsets).digest, Partition(P.indices, moved).digest}
    assert len(digests | {Partition(P.indices, fewer).digest}) == 4
    assert Partition(P.indices.copy(), P.offsets.copy()).digest == P.digest


def test_a_partition_cannot_be_given_other_arrays():
    with pytest.raises(dataclasses.FrozenInstanceError):
        mnist("iid").offsets = np.array([0, 60_000])


def test_golden_digests_so_that_no_change_of_the_draw_is_silent():
    labels = np.arange(1000) % 10
    assert {
        kind: draw(PARTITIONS[kind](), labels, 10, stream(0, "partition")).digest[:12]
        for kind in [*DIVIDED, "population"]
    } == {
        "population": "921770d9c88c",
        "iid": "01aa3112e0ea",
        "shards": "95229a8e6002",
        "iid_unbalanced": "86083adae2a0",
        "shards_unbalanced": "370d28333462",
    }


@given(n=st.integers(100, 1000), K=st.integers(1, 2000), seed=st.integers(0, 9))
def test_each_of_a_population_holds_a_hundredth_of_the_data_in_the_order_drawn(n, K, seed):
    P = draw(PARTITIONS["population"](), np.zeros(n, np.int64), K, stream(seed, "partition"))
    held = np.concatenate([P[k] for k in range(min(K, 300))])
    assert sorted(P.indices.tolist()) == list(range(n))
    assert held.tolist() == np.resize(P.indices, len(held)).tolist()  # again and again
    assert P.sizes(np.arange(K)).tolist() == [n // 100] * K and P.largest == n // 100
    assert len(P[K - 1]) == n // 100


def test_a_population_of_a_million_costs_eight_bytes_a_client():
    P = draw(PARTITIONS["population"](), mnist_labels(), 10**6, stream(0, "partition"))
    assert P.indices.nbytes + P.offsets.nbytes == 8 * (60_000 + 10**6 + 1)
    last = P[10**6 - 1]
    assert len(last) == 600 and len(set(last.tolist())) == 600


@given(kind=KINDS, labels=LABELS, K=st.integers(1, 50), seed=st.integers(0, 99))
def test_sizes_are_the_lengths_of_what_clients_hold(kind, labels, K, seed):
    assume(len(labels) >= 2 * K)
    P = draw(PARTITIONS[kind](), labels, K, stream(seed, "partition"))
    clients = np.arange(K)[::-1]
    assert P.sizes(clients).tolist() == [len(P[k]) for k in clients]
    assert P.largest == max(map(len, P))


# What a stranger's division may get wrong.


@dataclasses.dataclass(frozen=True)
class Dealt(Division):
    """Gives each client those examples."""

    held: tuple[tuple[int, ...], ...] = ()
    title = "dealt"

    def draw(self, labels, K, rng, clients=None):
        return of_clients([np.array(one, int) for one in self.held])


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (((0, 1), (), (2,)), "partition dealt leaves client 1 of 3 without examples"),
        (((0, 1), (2,)), "partition dealt drew 2 clients, not K = 3"),
        (((0, 1), (2,), (10,)), "partition dealt deals example 10; there are 10, from 0"),
        (((0, 1), (2,), (-1,)), "partition dealt deals example -1; there are 10, from 0"),
    ],
)
def test_a_division_that_leaves_a_client_empty_or_deals_what_is_not_there_is_named(held, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        draw(Dealt(held), np.arange(10), 3, stream(0, "partition"))


def test_clients_hold_what_a_division_gives_them():
    P = draw(Dealt(((4, 1), (2,), (9, 0, 3))), np.arange(10), 3, stream(0, "partition"))
    assert [P_k.tolist() for P_k in P] == [[4, 1], [2], [9, 0, 3]]
