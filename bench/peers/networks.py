"""The workloads' networks as torch.nn has them, and their evaluation: what the peers that build on PyTorch share."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.peers.task import Data

AT_ONCE = 500  # examples of an evaluation


class Recurrent(nn.Module):
    """An embedding, torch.nn.LSTM (which has no peepholes) and a linear layer."""

    def __init__(self, vocabulary: int, width: int, units: int, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.memory = nn.LSTM(width, units, depth, batch_first=True)
        self.out = nn.Linear(units, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps) → (batch · steps, vocabulary)."""
        out, _ = self.memory(self.embedding(x))
        return self.out(out.flatten(0, 1))


def two_nn() -> nn.Module:
    """MNIST's 2NN."""
    return nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))


def cnn() -> nn.Module:
    """MNIST's CNN."""
    convolutions = [
        layer
        for inputs, outputs in ((1, 32), (32, 64))
        for layer in (nn.Conv2d(inputs, outputs, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2))
    ]
    dense = [nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10)]
    return nn.Sequential(nn.Unflatten(1, (1, 28, 28)), *convolutions, *dense)


def lstm() -> nn.Module:
    """Shakespeare's character LSTM, of plain cells."""
    return Recurrent(258, 8, 256, 2)


NETWORKS: dict[str, Callable[[], nn.Module]] = {"2nn": two_nn, "cnn": cnn, "lstm": lstm}


def network(model: str, data: Data) -> nn.Module:
    """The model's network at the weights that everyone begins with."""
    net = NETWORKS[model]()
    given = iter(data.weights)
    with torch.no_grad():
        for layer in net.modules():
            for parameter, value in beginnings(layer, given):
                parameter.copy_(torch.from_numpy(value))
    return net


def beginnings(layer: nn.Module, given: Iterator[np.ndarray]) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Each parameter of the layer and its value, made of the next of those given, which are in fedgrid's form."""
    if isinstance(layer, nn.Embedding):
        yield layer.weight, next(given)
    elif isinstance(layer, nn.Linear):
        weight = next(given)
        if layer.in_features == 3136:  # pixels by channels there, channels by pixels here
            weight = weight.reshape(49, 64, -1).swapaxes(0, 1).reshape(3136, -1)
        yield from zip(layer.parameters(), (weight.T, next(given)[0]), strict=True)
    elif isinstance(layer, nn.Conv2d):
        weight = next(given).transpose(0, 3, 1, 2)
        yield from zip(layer.parameters(), (weight, next(given)[0]), strict=True)
    elif isinstance(layer, nn.LSTM):
        for by_input, by_state, bias, second in layer.all_weights:
            yield from ((by_input, next(given)), (by_state, next(given)), (bias, next(given)[0]))
            yield second.requires_grad_(False), np.zeros(len(second), np.float32)  # the others have one bias


def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The mean cross-entropy."""
    return cross_entropy(net(x), y.flatten())


def shuffled(x: Tensor, y: Tensor, B: int) -> list[tuple[Tensor, Tensor]]:
    """The batches of an epoch."""
    return [(x[b], y[b]) for b in torch.randperm(len(y)).split(B or len(y))]


@torch.inference_mode()
def evaluate(net: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Accuracy and mean loss of the examples."""
    right, total = 0.0, 0.0
    for some, classes in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True):
        out = net(some)
        right += (out.argmax(-1) == classes.flatten()).sum().item()
        total += cross_entropy(out, classes.flatten(), reduction="sum").item()
    return right / y.numel(), total / y.numel()


def tensors(data: Data) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test data as tensors."""
    return tuple(map(torch.from_numpy, (data.train_x, data.train_y, data.test_x, data.test_y)))  # type: ignore[return-value]
