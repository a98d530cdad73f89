"""The workloads, and the data that every peer is given of them: MNIST, and lines of Shakespeare."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.peers.ours import MODELS
from bench.peers.task import Data, write
from fedgrid.rng import stream
from fedgrid.run.job import load_data
from fedgrid.tasks.initial import initial_weights


@dataclass(frozen=True)
class Workload:
    """Rounds with E = 1 at one learning rate; B = 0 is all of a client's examples."""

    name: str
    title: str
    model: str
    B: int
    lr: float
    rounds: int
    clients: int = 100
    cohort: int = 10


WORKLOADS = [
    Workload("W1", "2NN, B = 10", "2nn", 10, 0.1, 13),
    Workload("W2", "2NN, B = ∞", "2nn", 0, 0.1, 13),
    Workload("W3", "CNN, B = 10", "cnn", 10, 0.1, 4),
    Workload("W4", "char-LSTM, plain cells, B = 10", "lstm", 10, 1.0, 5, clients=20, cohort=20),
    Workload("W5", "2NN, B = 10, 100,000 clients", "2nn", 10, 0.1, 13, clients=100_000),
]
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # training inputs and labels, and those for testing
LINES, TESTED = 800, 100  # of Shakespeare


def prepare(model: str, folder: Path) -> Path:
    """The file of the model's data, made where it is not there yet."""
    place = folder / f"{model}.npz"
    if not place.exists():
        rng = stream(0, f"peers {model}")
        parts = lines(rng) if model == "lstm" else images(rng)
        each = len(parts[1]) // (20 if model == "lstm" else 100)
        write(Data(*parts, each, weights(model, rng)), place)
    return place


def images(rng: np.random.Generator) -> Arrays:
    """MNIST, shuffled."""
    data = load_data("mnist")
    order = rng.permutation(len(data.train_y))
    return data.train_x[order], data.train_y[order], data.test_x, data.test_y


def lines(rng: np.random.Generator) -> Arrays:
    """Lines of Shakespeare for training, and others for testing, padding learnt like any character."""
    data = load_data("shakespeare")
    train, test = np.split(rng.permutation(len(data.train_y))[: LINES + TESTED], [LINES])
    x, y = (part.astype(np.int64) for part in (data.train_x, data.train_y))
    return x[train], y[train], x[test], y[test]


def weights(model: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """What everyone begins with, one array for each of the layers' weights."""
    w = initial_weights(MODELS[model], "glorot", rng).float()
    shapes = [shape for layer in MODELS[model].layers for shape in layer.shapes]
    parts = w.split([int(np.prod(shape)) for shape in shapes])
    return tuple(part.view(shape).numpy() for part, shape in zip(parts, shapes, strict=True))
