"""Laws of NAME: its size, and a step of SGD in the engine equal to one that torch takes by itself."""

from functools import partial

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from fedgrid import extensions
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.states import States
from fedgrid.partitions.partition import of_clients
from fedgrid.rng import stream
from fedgrid.tasks import TASKS

Name = extensions.load("NAME").Name
MODEL = TASKS["NAME"].model
RNG = np.random.default_rng(0)
X, Y = torch.from_numpy(RNG.normal(size=(20, 64))), torch.from_numpy(RNG.integers(10, size=20))


def test_its_parameters_are_counted():
    assert MODEL.parameters == 64 * 32 + 32 + 32 * 10 + 10


def test_one_client_s_step_on_all_its_examples_is_torch_s_own():
    net = Name().double()
    w = torch.cat([weight.detach().flatten() for weight in net.parameters()])
    data = Examples(X, Y, Inputs(lambda x: x))
    everything = {"C": 1.0, "E": 1, "B": float("inf"), "stream": partial(stream, 0), "dtype": torch.float64}
    one = Federation(MODEL, data, of_clients([np.arange(20)]), **everything)
    stepped, _, _ = one.round(1, w.repeat(1, 1), torch.tensor([0.5], dtype=torch.float64), States({}))
    cross_entropy(net(X), Y).backward()
    theirs = torch.cat([(weight - 0.5 * weight.grad).detach().flatten() for weight in net.parameters()])
    assert (stepped[0] - theirs).abs().max() < 1e-12
