"""Laws of NAME: one step by hand, FedAvg at its identity, and the fast engine equal to the specification."""

from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, linear, relu

from fedgrid import extensions
from fedgrid.algorithms import FedAvg, fedavg
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.states import States
from fedgrid.partitions.partition import of_clients
from fedgrid.rng import stream
from fedgrid.tasks.models import dense

Name = extensions.load("NAME").Name
RNG = np.random.default_rng(0)
X, Y = torch.from_numpy(RNG.normal(size=(40, 6))), torch.from_numpy(RNG.integers(3, size=40))
P = of_clients([np.arange(0, 5), np.arange(5, 12), np.arange(12, 40)])  # who holds which examples
MODEL = dense(6, 4, 3)  # 6 inputs, 4 hidden, 3 classes
START = torch.from_numpy(RNG.normal(size=MODEL.parameters))
SETTINGS = {"C": 1.0, "E": 2, "B": 4, "stream": partial(stream, 0)}


def loss(w, b):
    """The mean loss of the examples b at the flat weights w, by torch alone."""
    W1, b1, W2, b2 = w.split((24, 4, 12, 3))
    return cross_entropy(linear(relu(linear(X[b], W1.view(6, 4).T, b1)), W2.view(4, 3).T, b2), Y[b])


def specified(algorithm, rounds=4):
    """The server's weights after each round, by the specification: one client after another, in float64."""
    return list(islice(fedavg.rounds(START, P, loss, lr=0.3, algorithm=algorithm, **SETTINGS), rounds))


def raced(algorithm, dtype, rounds=4):
    """The same by the engine, which trains all clients and learning rates (here, one) as a stack."""
    clients = Federation(
        MODEL, Examples(X, Y, Inputs(lambda x: x.to(dtype))), P, dtype=dtype, algorithm=algorithm, **SETTINGS
    )
    w, lr, laps = START.to(dtype).repeat(1, 1), torch.tensor([0.3], dtype=dtype), []
    states = States(algorithm.server_state(w))
    for t in range(1, rounds + 1):
        w, states, _ = clients.round(t, w, lr, states)
        laps.append(w[0])
    return laps


def test_one_step_of_the_server_by_hand():
    w, server = Name(server_lr=0.5).server_step(torch.tensor([1.0, 2.0]), {"w": torch.tensor([3.0, 1.0])}, {})
    assert w.tolist() == [2.0, 1.5]  # half of the way
    assert server == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_its_identity_it_is_fedavg_bit_for_bit(dtype):
    ours, plain = raced(Name(**Name.identity), dtype), raced(FedAvg(), dtype)
    assert all(a.equal(b) for a, b in zip(ours, plain, strict=True))
    assert not raced(Name(), dtype)[-1].equal(plain[-1])


def test_the_engine_equals_the_specification():
    for ours, theirs in zip(raced(Name(), torch.float64), specified(Name()), strict=True):
        assert (ours - theirs).abs().max() < 1e-9
