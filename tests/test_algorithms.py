"""Laws of algorithms: each by hand, equal to FedAvg where it says so, and the engine equal to the specification."""

from dataclasses import dataclass, fields
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, linear, relu

from fedgrid.algorithms import ALGORITHMS, MESSAGES, FedAvg, fedavg
from fedgrid.algorithms.fedavgm import FedAvgM
from fedgrid.algorithms.fedprox import FedProx
from fedgrid.algorithms.messages import Clip
from fedgrid.engine import federation as engine
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.states import States
from fedgrid.partitions import PARTITIONS, draw
from fedgrid.rng import stream
from fedgrid.tasks.models import dense
from tests.strangers import Controlled

INF = float("inf")
N, PIXELS, HIDDEN, CLASSES = 61, 12, 8, 5
MODEL = dense(PIXELS, HIDDEN, CLASSES)
LRS = (0.05, 0.4)
K = 8


EVERY = {name: kind() for name, kind in ALGORITHMS.items()} | {"a stranger's": Controlled()}
FEDERATED = {name: one for name, one in EVERY.items() if one.unit == "rounds"}
SETTINGS = {
    "fedsgd": {"C": 0.5, "E": 1, "B": INF},
    "a last partial batch": {"C": 0.5, "E": 1, "B": 4},
    "several epochs": {"C": 0.4, "E": 3, "B": 5},
    "all clients": {"C": 1.0, "E": 2, "B": INF},
}


def examples():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(N, PIXELS)))
    return x, torch.from_numpy(rng.integers(CLASSES, size=N))


X, Y = examples()


def loss(w, b):
    """ℓ(w; b) of the network, with torch alone."""
    sizes = PIXELS * HIDDEN, HIDDEN, HIDDEN * CLASSES, CLASSES
    W1, b1, W2, b2 = w.split(sizes)
    hidden = relu(linear(X[b].to(w.dtype), W1.view(PIXELS, HIDDEN).T, b1))
    return cross_entropy(linear(hidden, W2.view(HIDDEN, CLASSES).T, b2), Y[b])


def start(dtype=torch.float64):
    w = torch.randn(MODEL.parameters, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 3
    return w.to(dtype)


def divided(kind="iid_unbalanced", clients=K):
    return draw(PARTITIONS[kind](), Y.numpy(), clients, stream(0, "partition"))


def specified(P, lr, count=6, **settings):
    rounds = fedavg.rounds(start(), P, loss, lr=lr, stream=partial(stream, 3), **settings)
    return list(islice(rounds, count))


def raced(P, count=6, dtype=torch.float64, lrs=LRS, **settings):
    """The weights after each round by the engine, and the states after the last."""
    data = Examples(X, Y, Inputs(lambda x: x.to(dtype)))
    clients = Federation(MODEL, data, P, stream=partial(stream, 3), dtype=dtype, **settings)
    w, lr, laps = start(dtype).repeat(len(lrs), 1), torch.tensor(lrs, dtype=dtype), []
    states = States(clients.algorithm.server_state(w))
    for t in range(1, count + 1):
        w, states, _ = clients.round(t, w, lr, states)
        laps.append(w)
    return laps, states


def apart(P, **settings):
    laps, _ = raced(P, **settings)
    assert (laps[-1] - start()).abs().max() > 1e-3  # it went somewhere
    return max(
        (ours[r] - theirs).abs().max().item()
        for r, lr in enumerate(LRS)
        for ours, theirs in zip(laps, specified(P, lr, **settings), strict=True)
    )


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("algorithm", FEDERATED.values(), ids=FEDERATED)
def test_the_engine_equals_the_specification_for_whatever_is_registered(algorithm, settings):
    for kind in ("iid_unbalanced", "shards"):
        assert apart(divided(kind), algorithm=algorithm, **settings) < 1e-9


@pytest.mark.parametrize("B", [7, 100])
def test_the_engine_equals_the_specification_of_an_algorithm_without_clients(B):
    assert apart(divided("iid", 1), algorithm=EVERY["sgd"], C=1.0, E=1, B=B, count=11) < 1e-9


@pytest.mark.parametrize(("clients", "rates"), [(2, 2), (3, 1), (1, 2), (100, 100)])
@pytest.mark.parametrize("algorithm", FEDERATED.values(), ids=FEDERATED)
def test_no_stacking_changes_an_algorithm(algorithm, clients, rates, monkeypatch):
    monkeypatch.setattr(engine, "replicas_at_once", lambda *_: (clients, rates))
    assert apart(divided(), algorithm=algorithm, **SETTINGS["several epochs"]) < 1e-9


@pytest.mark.parametrize("algorithm", FEDERATED.values(), ids=FEDERATED)
def test_nothing_depends_on_the_number_of_workers_by_a_single_bit(algorithm):
    alone, states = raced(divided(), algorithm=algorithm, **SETTINGS["several epochs"])
    shared, same = raced(divided(), algorithm=algorithm, workers=3, **SETTINGS["several epochs"])
    assert all(a.equal(b) for a, b in zip(alone, shared, strict=True))
    there, rows = states.clients.read(np.arange(K))
    there_too, same_rows = same.clients.read(np.arange(K))
    assert np.array_equal(there, there_too) and np.array_equal(rows, same_rows)


@pytest.mark.parametrize("chain", [(Clip(0.05),), (Clip(0.3), Clip(0.1))])
@pytest.mark.parametrize("algorithm", FEDERATED.values(), ids=FEDERATED)
def test_the_engine_equals_the_specification_where_updates_are_transformed(algorithm, chain):
    for settings in SETTINGS.values():
        assert apart(divided(), algorithm=algorithm, message=chain, **settings) < 1e-9


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", [one for one in ALGORITHMS.values() if hasattr(one, "identity")])
def test_with_its_identity_an_algorithm_is_fedavg_bit_for_bit(kind, settings):
    assert set(kind.identity) <= {one.name for one in fields(kind)}
    for dtype in (torch.float32, torch.float64):
        plain, _ = raced(divided(), dtype=dtype, **settings)
        same, _ = raced(divided(), dtype=dtype, algorithm=kind(**kind.identity), **settings)
        assert all(a.equal(b) for a, b in zip(plain, same, strict=True))
        other, _ = raced(divided(), dtype=dtype, algorithm=kind(), **settings)
        if settings != SETTINGS["fedsgd"] or kind is not FedProx:  # whose term is 0 where a client begins
            assert not other[-1].equal(plain[-1])


def test_a_clip_that_none_exceeds_changes_no_bit():
    for settings in (SETTINGS["a last partial batch"], SETTINGS["several epochs"]):
        plain, _ = raced(divided(), dtype=torch.float32, **settings)
        clipped, _ = raced(divided(), dtype=torch.float32, message=(Clip(1e6),), **settings)
        assert all(a.equal(b) for a, b in zip(plain, clipped, strict=True))


def test_of_one_client_that_clips_the_server_moves_by_the_norm():
    laps, _ = raced(divided(), count=1, message=(Clip(0.02),), C=0, E=2, B=5)
    torch.testing.assert_close((laps[0] - start()).norm(dim=1), torch.full((2,), 0.02, dtype=torch.float64))


@pytest.mark.parametrize("algorithm", EVERY.values(), ids=EVERY)
def test_a_client_s_term_is_elementwise(algorithm):
    """The engine asks for it layer by layer."""
    w, w_t, one, other = torch.randn(4, 3, MODEL.parameters, dtype=torch.float64)
    client = dict.fromkeys(algorithm.client_state(w), one)
    server = dict.fromkeys(algorithm.server_state(w), other)
    whole, some = algorithm.client_term(w, w_t, client, server), slice(5, 40)
    if whole is None:
        return
    parts = [{name: tensor[:, some] for name, tensor in state.items()} for state in (client, server)]
    assert algorithm.client_term(w[:, some], w_t[:, some], *parts).equal(whole[:, some])


# By hand.


def test_two_prox_steps_by_hand():
    """F(w) = (w − 3)²/2 for one client: w_1 = w_0 − η(w_0 − 3), w_2 = w_1 − η(w_1 − 3 + μ(w_1 − w_0))."""
    P, eta, mu = [np.arange(1)], 0.5, 0.2
    rounds = fedavg.rounds(
        torch.tensor([1.0], dtype=torch.float64),
        P,
        lambda w, b: ((w - 3) ** 2 / 2).sum(),
        C=1,
        E=2,
        B=INF,
        lr=eta,
        stream=partial(stream, 0),
        algorithm=FedProx(mu),
    )
    # 1 − 0.5·(1 − 3) = 2; 2 − 0.5·((2 − 3) + 0.2·(2 − 1)) = 2.4
    assert next(rounds).item() == pytest.approx(2.4, abs=1e-15)
    # from 2.4: 2.7; 2.7 − 0.5·(−0.3 + 0.2·0.3) = 2.82
    assert next(rounds).item() == pytest.approx(2.82, abs=1e-15)


def test_a_large_mu_holds_clients_at_the_server_s_weights():
    """With ημ = 1, each step is w_t − η∇F: E epochs of a full batch move as far as the last gradient alone."""
    P, lr = divided(), 0.1
    settings = {"C": 1.0, "E": 6, "B": INF}
    held = specified(P, lr, count=1, algorithm=FedProx(1 / lr), **settings)[0] - start()
    free = specified(P, lr, count=1, **settings)[0] - start()
    assert held.norm() < free.norm() / 4


def test_momentum_by_hand():
    """One client, F(w) = w: each round's Δ is −η. v_1 = −η, v_2 = −η(1 + β), v_3 = −η(1 + β + β²); w falls by η_s·v."""
    rounds = fedavg.rounds(
        torch.zeros(1, dtype=torch.float64),
        [np.arange(1)],
        lambda w, b: w.sum(),
        C=1,
        E=1,
        B=INF,
        lr=0.1,
        stream=partial(stream, 0),
        algorithm=FedAvgM(beta=0.5, server_lr=2.0),
    )
    # v: −0.1, −0.15, −0.175; w: −0.2, −0.5, −0.85
    assert [w.item() for w in islice(rounds, 3)] == pytest.approx([-0.2, -0.5, -0.85], abs=1e-15)


def test_a_clip_shortens_the_long_and_leaves_the_short():
    update = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    torch.testing.assert_close(Clip(1.0)(update, None), torch.tensor([[0.6, 0.8], [0.3, 0.4]]))


# What algorithms cost.


def test_costs_of_fedavg_are_the_paper_s():
    """Section 3: u = E·n / (K·B); of MNIST's 60,000 among 100, C = 0.1, E = 5, B = 10: 300 updates, 30,000 examples."""
    where = type("At", (), {"K": 100, "C": 0.1, "E": 5, "B": 10, "rounding": "nearest"})()
    costs = FedAvg()
    assert (costs.updates(where, 60_000), costs.examples(where, 60_000)) == (300, 30_000)
    assert costs.gradients(where, 60_000) == 3000
    assert costs.share(where, 60_000) == 0.1 and costs.floats(7) == (7, 7)


def test_costs_of_plain_sgd_are_a_minibatch():
    where = type("At", (), {"K": 1, "C": 1.0, "E": 1, "B": 100, "rounding": "nearest"})()
    sgd = EVERY["sgd"]
    assert (sgd.updates(where, 50_000), sgd.examples(where, 50_000), sgd.gradients(where, 50_000)) == (1, 100, 1)
    assert sgd.share(where, 50_000) == 1 / 500 and sgd.floats(7) == (0, 0)


# What a stranger's algorithm may get wrong.


@dataclass(frozen=True)
class Weightless(FedAvg):
    def shares(self, n_k):
        return np.where(np.arange(len(n_k)) == 1, 0.0, 1.0)


def test_a_client_whose_weight_is_none_is_named():
    P, S_2 = divided(), fedavg.cohort(K, 0.5, stream(3, "cohort", 1))
    with pytest.raises(ValueError, match=rf"^round 1: FedAvg gives client {S_2[1]} the weight 0.0"):
        raced(P, algorithm=Weightless(), C=0.5, E=2, B=4)


def test_every_choice_has_a_title_and_says_what_it_is():
    for registry in (ALGORITHMS, PARTITIONS, MESSAGES):
        for kind in registry.values():
            assert kind.__doc__ and kind().__class__ is kind
            assert hash(kind()) == hash(kind())
