"""fedgrid: its engine's rounds, by one worker a core."""

import math
from functools import partial

import numpy as np
import torch

from bench.peers.networks import tensors
from bench.peers.task import Clock, Data, Task
from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.examples import Examples, Inputs
from fedgrid.engine.federation import Federation
from fedgrid.engine.states import States
from fedgrid.partitions import Partition
from fedgrid.rng import stream
from fedgrid.tasks.models import MNIST_2NN, MNIST_CNN, recurrent

MODELS = {"2nn": MNIST_2NN, "cnn": MNIST_CNN, "lstm": recurrent(258, 8, 256, 2, unroll=80, peephole=False)}


def train(task: Task, data: Data, lr: float, clock: Clock) -> None:
    """Trains until the clock has seen enough."""
    torch.set_num_threads(1)
    x, y, test_x, test_y = tensors(data)
    as_it_is = Inputs(lambda x: x)
    examples, tested = Examples(x, y, as_it_is), Examples(test_x, test_y, as_it_is)
    held = Partition(np.arange(len(y)), np.arange(task.clients + 1) * data.each)
    share, B, model = task.cohort / task.clients, task.B or math.inf, MODELS[task.model]
    federation = Federation(model, examples, held, share, 1, B, partial(stream, 0), workers=task.cores)
    w = torch.cat([torch.from_numpy(weights).flatten() for weights in data.weights])[None]
    states, t, done = States(), 0, False
    while not done:
        t += 1
        w, states, _ = federation.round(t, w, torch.tensor([lr]), states)
        (accuracy,), (loss,) = evaluate(model, w, tested, workers=task.cores)
        done = clock(accuracy, loss)
