"""A plain PyTorch loop, as one would write it: client after client, by as many threads as there are cores."""

import torch

from bench import loops
from bench.peers.networks import evaluate, network, tensors
from bench.peers.task import Clock, Data, Task
from fedgrid.engine.examples import Examples, Inputs


def train(task: Task, data: Data, lr: float, clock: Clock) -> None:
    """Trains until the clock has seen enough."""
    torch.set_num_threads(task.cores)
    x, y, test_x, test_y = tensors(data)
    examples, net, done = Examples(x, y, Inputs(lambda x: x)), network(task.model, data), False
    while not done:
        cohort = torch.randperm(task.clients)[: task.cohort].tolist()
        clients = [torch.arange(len(y))[data.client(k)] for k in cohort]
        loops.train(net, clients, examples, task.B or data.each, lr)
        done = clock(*evaluate(net, test_x, test_y))
