"""`python -m tests.digests`: the digests of portable weights and curves, of a little of every kind of work.

The data are drawn from named streams, so nothing is fetched. Times are tens of milliseconds, the LSTM's a second.
"""

import hashlib
import json
import math
import sys
from functools import partial

import numpy as np
import torch

from fedgrid import partitions
from fedgrid.engine import products
from fedgrid.engine.evaluation import evaluate
from fedgrid.engine.federation import Federation
from fedgrid.engine.states import States
from fedgrid.numerics import PORTABLE, become, here
from fedgrid.partitions import PARTITIONS
from fedgrid.rng import stream
from fedgrid.run.pace import examples
from fedgrid.tasks import models
from fedgrid.tasks.initial import initial_weights, inits

INF = math.inf
# Model, B, learning rates that race, clients of a cohort, examples of each, rounds, the largest rate.
WORK = {
    "digits 2NN": (models.DIGITS_2NN, 10, 3, 5, 30, 20, 0.1),
    "2NN, B = 10": (models.MNIST_2NN, 10, 1, 2, 60, 3, 0.1),
    "2NN, B = 10, five rates": (models.MNIST_2NN, 10, 5, 2, 60, 2, 0.1),
    "2NN, B = inf": (models.MNIST_2NN, INF, 1, 4, 600, 3, 0.1),
    "2NN, B = inf, five rates": (models.MNIST_2NN, INF, 5, 2, 600, 2, 0.1),
    "CNN, B = 10": (models.MNIST_CNN, 10, 1, 1, 20, 2, 0.05),
    "CNN, B = 10, three rates": (models.MNIST_CNN, 10, 3, 1, 20, 1, 0.05),
    "CNN, B = inf": (models.MNIST_CNN, INF, 1, 1, 60, 1, 0.05),
    "CIFAR-10's CNN": (models.CIFAR_CNN, 20, 1, 1, 40, 1, 0.05),
    "character LSTM": (models.CHAR_LSTM, 10, 1, 1, 10, 1, 1.0),
    "character LSTM, three rates": (models.CHAR_LSTM, 10, 3, 1, 10, 1, 1.0),
    "word LSTM": (models.WORD_LSTM, 8, 1, 1, 8, 1, 1.0),
}


def digest(model, B, rates, m, each, rounds, lr):
    """sha256, its first 16 digits, of the weights after those rounds and of accuracies and losses by them."""
    rng, K = stream(0, "digest"), 3 * m
    data = examples(model, K * each, rng, torch.device("cpu"))
    held = partitions.draw(PARTITIONS["iid"](), np.zeros(K * each, np.int64), K, rng)
    federation = Federation(model, data, held, 1 / 3, 1, B, partial(stream, 0))
    w = initial_weights(model, inits(model)[0], stream(0, "init")).float().repeat(rates, 1)
    racing = torch.tensor([lr / 2**i for i in range(rates)])
    for t in range(1, rounds + 1):
        w, _, _ = federation.round(t, w, racing, States())
    assert torch.isfinite(w).all()
    return hashlib.sha256(w.numpy().tobytes() + repr(evaluate(model, w, data)).encode()).hexdigest()[:16]


def main():
    """Prints the digests as JSON, and how PyTorch calls the instructions."""
    if not here(PORTABLE):
        become(PORTABLE, ["tests.digests", *sys.argv[1:]])
    torch.set_num_threads(1)
    products.portable()
    print(json.dumps({name: digest(*WORK[name]) for name in sys.argv[1:] or WORK}, indent=1))


if __name__ == "__main__":
    main()
