"""FedJAX: its federated averaging over models in Haiku, in one process whose operations use all cores."""

from collections.abc import Callable
from typing import Any

import fedjax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from fedjax.algorithms import fed_avg
from fedjax.core import client_samplers, metrics

from bench.peers.task import Clock, Data, Task

AT_ONCE = 500  # examples of an evaluation
jax.tree_map = jax.tree_util.tree_map  # the name by which FedJAX 0.0.17 calls it; newer releases of jax have it no more


def two_nn(batch: Any) -> Any:
    """MNIST's 2NN."""
    return hk.nets.MLP([200, 200, 10])(batch["x"])


def cnn(batch: Any) -> Any:
    """MNIST's CNN."""
    x = batch["x"].reshape(-1, 28, 28, 1)
    for channels in (32, 64):
        x = hk.max_pool(jax.nn.relu(hk.Conv2D(channels, 5)(x)), 2, 2, "SAME")
    return hk.nets.MLP([512, 10])(hk.Flatten()(x))


def lstm(batch: Any) -> Any:
    """Shakespeare's character LSTM, of plain cells."""
    x = hk.Embed(258, 8)(batch["x"].T)
    memory = hk.DeepRNN([hk.LSTM(256), hk.LSTM(256)])
    out, _ = hk.dynamic_unroll(memory, x, memory.initial_state(x.shape[1]))
    return hk.Linear(258)(out).swapaxes(0, 1)


NETWORKS: dict[str, Callable[[Any], Any]] = {"2nn": two_nn, "cnn": cnn, "lstm": lstm}


def network(task: Task, data: Data) -> Any:
    """The model as FedJAX has it."""
    of_text = task.model == "lstm"
    return fedjax.create_model_from_haiku(
        hk.transform(NETWORKS[task.model]),
        {"x": data.train_x[:1], "y": data.train_y[:1]},
        lambda batch, out: cross_entropy(batch["y"], out),
        {
            "accuracy": metrics.SequenceTokenAccuracy(masked_target_values=()) if of_text else metrics.Accuracy(),
            "loss": metrics.SequenceTokenCrossEntropyLoss(masked_target_values=())
            if of_text
            else metrics.CrossEntropyLoss(),
        },
    )


def cross_entropy(y: Any, out: Any) -> Any:
    """Each example's loss, a text's the mean over its steps."""
    return metrics.unreduced_cross_entropy_loss(y, out).reshape(len(y), -1).mean(-1)


def beginning(params: Any, data: Data) -> Any:
    """Haiku's parameters of that form, at the weights that everyone begins with."""
    given = iter(data.weights)
    begun = {}
    for name in sorted(params, key=lambda name: name == "linear"):  # the last layer of the LSTM's
        if name == "embed":
            begun[name] = {"embeddings": next(given)}
        elif "lstm" in name:
            begun[name] = memory(next(given), next(given), next(given)[0])
        else:
            weight = next(given)
            weight = weight.transpose(1, 2, 3, 0) if weight.ndim == 4 else weight
            begun[name] = {"w": weight, "b": next(given)[0]}
    return jax.tree_util.tree_map(jnp.asarray, begun)


def memory(W: np.ndarray, U: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Haiku's parameters of an LSTM: its gates are in the order i, g, f, o, and it adds 1 to f's bias."""
    order = np.arange(len(W)).reshape(4, -1)[[0, 2, 1, 3]].ravel()
    shift = np.repeat(np.array([0, 0, -1, 0], np.float32), len(W) // 4)
    return {"w": np.concatenate([W, U], 1)[order].T, "b": b[order] + shift}


def train(task: Task, data: Data, lr: float, clock: Clock) -> None:
    """Trains until the clock has seen enough."""
    model = network(task, data)
    x, y = data.train_x, data.train_y
    held = ((k, data.client(k)) for k in range(task.clients))
    clients = fedjax.InMemoryFederatedData({k: {"x": x[mine], "y": y[mine]} for k, mine in held})
    batches = fedjax.ShuffleRepeatBatchHParams(task.B or data.each, num_epochs=1)
    sgd = fedjax.optimizers.sgd
    averaging = fed_avg.federated_averaging(fedjax.model_grad(model), sgd(lr), sgd(1.0), batches)
    sampler = client_samplers.UniformGetClientSampler(clients, task.cohort, seed=0)
    test = fedjax.ClientDataset({"x": data.test_x, "y": data.test_y}).batch(fedjax.BatchHParams(AT_ONCE))
    state, done = averaging.init(beginning(model.init(jax.random.PRNGKey(0)), data)), False
    while not done:
        state, _ = averaging.apply(state, sampler.sample())
        seen = fedjax.evaluate_model(model, state.params, test)
        done = clock(seen["accuracy"], seen["loss"])
