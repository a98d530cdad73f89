"""pfl-research: its simulated backend, over one process a core (torchrun starts them), each of one thread."""

from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.callback.central_evaluation import CentralEvaluationCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, StringMetricName, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.peers.networks import AT_ONCE, network, tensors
from bench.peers.task import Clock, Data, Task


class Model(nn.Module):
    """A network with the loss and the metrics that pfl-research asks for."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean cross-entropy."""
        return cross_entropy(self.net(x), y.flatten())

    @torch.no_grad()
    def metrics(self, x: Tensor, y: Tensor) -> dict[str, Weighted]:
        """Accuracy and loss."""
        out, classes = self.net(x), y.flatten()
        right = (out.argmax(-1) == classes).sum().item()
        total = cross_entropy(out, classes, reduction="sum").item()
        return {"accuracy": Weighted(right, len(classes)), "loss": Weighted(total, len(classes))}


class Told(TrainingProcessCallback):
    """Tells the clock of each round; stands after the evaluation."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def after_central_iteration(self, aggregate_metrics: Metrics, model: Any, **_: Any) -> tuple[bool, Metrics]:
        """Whether the clock has seen enough; no metrics."""
        seen = (aggregate_metrics[StringMetricName(name)].overall_value for name in ("accuracy", "loss"))
        return self.clock(*seen), Metrics()


class Evaluation(CentralEvaluationCallback):
    """pfl-research's evaluation: of the first iteration, too, in place of one before it."""

    def on_train_begin(self, *, model: Any) -> Metrics:
        """No metrics."""
        return Metrics()

    def after_central_iteration(self, aggregate_metrics: Metrics, model: Any, **_: Any) -> tuple[bool, Metrics]:
        """The metrics after this iteration."""
        return self._eval(model)


def train(task: Task, data: Data, lr: float, clock: Clock) -> None:
    """Trains until the clock has seen enough."""
    x, y, *test = tensors(data)

    def user(k: int) -> Dataset:
        held = data.client(k)
        order = torch.randperm(data.each)
        return Dataset((x[held][order], y[held][order]))

    net = Model(network(task.model, data))
    model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), lr=1.0))
    users = FederatedDataset(user, get_user_sampler("minimize_reuse", range(task.clients)))
    evaluation = Evaluation(Dataset(tuple(test)), NNEvalHyperParams(AT_ONCE), format_fn=StringMetricName)
    FederatedAveraging().run(
        NNAlgorithmParams(task.rounds, task.rounds, task.cohort, val_cohort_size=0),
        SimulatedBackend(users, users),
        model,
        NNTrainHyperParams(local_num_epochs=1, local_learning_rate=lr, local_batch_size=task.B or None),
        callbacks=[evaluation, Told(clock)],
        send_metrics_to_platform=False,
    )
