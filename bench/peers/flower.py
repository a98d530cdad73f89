"""Flower's simulation: Ray, with one actor a core, each of one thread."""

from functools import cache

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import Tensor, nn

from bench.peers.networks import evaluate, loss, network, shuffled, tensors
from bench.peers.task import Clock, Data, Task, read


class EnoughError(Exception):
    """The clock has seen enough."""


@cache
def held(task: Task) -> tuple[Data, nn.Module, Tensor, Tensor]:
    """The data and a network, read once in each actor."""
    data = read(task.data)
    return data, network(task.model, data), *tensors(data)[:2]


def client(task: Task, lr: float) -> ClientApp:
    """The app that every client runs."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        data, net, x, y = held(task)
        net.load_state_dict(message.content["arrays"].to_torch_state_dict())
        mine = data.client(int(context.node_config["partition-id"]))
        optimizer = torch.optim.SGD(net.parameters(), lr)
        for batch in shuffled(x[mine], y[mine], task.B):
            optimizer.zero_grad()
            loss(net, *batch).backward()
            optimizer.step()
        learnt = {"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord({"num-examples": data.each})}
        return Message(RecordDict(learnt), reply_to=message)

    return app


def server(task: Task, data: Data, clock: Clock) -> ServerApp:
    """The app of the server, which evaluates the global model after each round."""
    app, net = ServerApp(), network(task.model, data)
    _, _, *test = tensors(data)

    def judge(t: int, arrays: ArrayRecord) -> MetricRecord:
        if t:  # not before the first round
            net.load_state_dict(arrays.to_torch_state_dict())
            if clock(*evaluate(net, *test)):
                raise EnoughError
        return MetricRecord()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        share = task.cohort / task.clients
        strategy = FedAvg(share, fraction_evaluate=0.0, min_available_nodes=task.clients)
        try:
            strategy.start(grid, ArrayRecord(net.state_dict()), task.rounds, evaluate_fn=judge)
        except EnoughError:
            return

    return app


def train(task: Task, data: Data, lr: float, clock: Clock) -> None:
    """Trains until the clock has seen enough."""
    torch.set_num_threads(task.cores)  # of the evaluation
    resources = {"init_args": {"num_cpus": task.cores}, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server(task, data, clock), client(task, lr), task.clients, backend_config=resources)
