"""FedLab's standalone simulation: its serial trainer and its synchronous server, in one process."""

import sys
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor

from bench.peers.networks import evaluate, network, shuffled, tensors
from bench.peers.task import Clock, Data, Task

# FedLab imports torchvision, for datasets that are not asked for here; it needs gigabytes of CUDA, or fails to import.
sys.modules["torchvision"] = MagicMock()

from fedlab.contrib.algorithm.fedavg import FedAvgSerialClientTrainer, FedAvgServerHandler  # noqa: E402
from fedlab.core.standalone import StandalonePipeline  # noqa: E402


class Clients:
    """The clients' batches, as FedLab's trainer asks for them."""

    def __init__(self, data: Data, x: Tensor, y: Tensor) -> None:
        self.data, self.x, self.y = data, x, y

    def get_dataloader(self, k: int, batch_size: int) -> list[tuple[Tensor, Tensor]]:
        """Client k's batches of an epoch."""
        held = self.data.client(k)
        return [(x, y.flatten()) for x, y in shuffled(self.x[held], self.y[held], batch_size)]


class Pipeline(StandalonePipeline):
    """FedLab's pipeline, which leaves evaluation to its user."""

    def __init__(self, handler: Any, trainer: Any, test: tuple[Tensor, Tensor], clock: Clock) -> None:
        super().__init__(handler, trainer)
        self.test, self.clock = test, clock

    def evaluate(self) -> None:
        """Evaluates the global model; ends the rounds where the clock has seen enough."""
        if self.clock(*evaluate(self.handler.model, *self.test)):
            self.handler.global_round = self.handler.round


def train(task: Task, data: Data, lr: float, clock: Clock) -> None:
    """Trains until the clock has seen enough."""
    torch.set_num_threads(task.cores)
    x, y, *test = tensors(data)
    net = network(task.model, data)
    trainer = FedAvgSerialClientTrainer(net, task.clients)
    trainer.dataset = Clients(data, x, y)
    trainer.setup_optim(1, task.B, lr)
    handler = FedAvgServerHandler(net, task.rounds, task.cohort / task.clients)
    Pipeline(handler, trainer, (test[0], test[1]), clock).main()
