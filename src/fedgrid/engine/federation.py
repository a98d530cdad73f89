"""One round of Algorithm 1 for all learning rates of a cell together, equal to `fedgrid.fedavg.rounds` rate by rate.

A client's examples are gathered once per epoch from the one resident copy of the data and serve every rate; its R sets
of weights lie stacked, (R, parameters), so that one batched matrix product does the work of R.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedgrid import fedavg
from fedgrid.models import Model
from fedgrid.partition import Partition

EVALUATION_BATCH = 1000  # examples; bounds the activations' memory and changes no count


@dataclass(frozen=True)
class Federation:
    """The clients, their data and Algorithm 1's settings; holds no state between rounds.

    x: uint8 (n, features), the training inputs as stored; `scale(x)` gives the model's inputs in the working precision.
    y: int64 (n,), their classes.
    """

    model: Model
    x: Tensor
    y: Tensor
    scale: Callable[[Tensor], Tensor]
    partition: Partition
    C: float
    E: int
    B: float
    stream: fedavg.Stream
    rounding: str = "nearest"
    shuffle: str = "every_epoch"

    def round(self, t: int, w: Tensor, lr: Tensor) -> tuple[Tensor, int]:
        """w_t from w_{t-1}, both (R, parameters), with lr (R,), and the examples that each rate was trained on."""
        S_t = fedavg.cohort(len(self.partition), self.C, self.stream("cohort", t), self.rounding)
        m_t = sum(len(self.partition[k]) for k in S_t)
        average = torch.zeros_like(w)
        for k in S_t:
            w_k = self.client_update(t, k, w, lr)
            average.add_(w_k, alpha=len(self.partition[k]) / m_t)
        return average, m_t * self.E

    def client_update(self, t: int, k: int, w: Tensor, lr: Tensor) -> Tensor:
        """ClientUpdate(k, w) at every rate: the client's R sets of weights after E epochs, (R, parameters)."""
        w_k = w.clone()
        weights = self.model.weights(w_k)
        rng = self.stream("client", t, k)
        for order in fedavg.epochs(self.partition[k], self.E, rng, self.shuffle):
            x, y = self.examples(order)
            for b in fedavg.batches(np.arange(len(order)), self.B):
                batch = slice(b[0], b[-1] + 1)
                self.descend(weights, x[batch].expand(len(lr), -1, -1), y[batch], lr)
        return w_k

    def examples(self, order: np.ndarray) -> tuple[Tensor, Tensor]:
        """The inputs (n, features) and classes (n,) of those examples."""
        chosen = torch.from_numpy(order)
        return self.scale(self.x[chosen]), self.y[chosen]

    def descend(self, weights: list[list[Tensor]], x: Tensor, y: Tensor, lr: Tensor) -> None:
        """w ← w − η∇ℓ(w; b), in place: x (R, batch, features), y (batch,), lr (R,)."""
        inputs = [x]
        for layer, mine in zip(self.model.layers, weights, strict=True):
            inputs.append(layer.forward(mine, inputs[-1]))
        out = inputs.pop()
        delta = out.softmax(-1)  # the cross-entropy's derivative by the logits is softmax − onehot
        delta[:, torch.arange(len(y)), y] -= 1
        delta.mul_((lr / len(y))[:, None, None])
        for depth in reversed(range(len(self.model.layers))):
            x = inputs[depth]
            delta = self.model.layers[depth].descend(weights[depth], x, out, delta, first=depth == 0)
            out = x


def evaluate(
    model: Model, w: Tensor, x: Tensor, y: Tensor, scale: Callable[[Tensor], Tensor]
) -> tuple[list[float], list[float]]:
    """Each rate's accuracy and mean cross-entropy over the examples: two lists of R floats."""
    correct = torch.zeros(len(w), dtype=torch.int64)
    loss = torch.zeros(len(w), dtype=torch.float64)
    for start in range(0, len(x), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        logits = model.logits(w, scale(x[part]).expand(len(w), -1, -1))
        correct += (logits.argmax(-1) == y[part]).sum(-1)
        per_example = cross_entropy(logits.transpose(1, 2), y[part].expand(len(w), -1), reduction="none")
        loss += per_example.sum(-1, dtype=torch.float64)
    return [count / len(y) for count in correct.tolist()], [total / len(y) for total in loss.tolist()]
