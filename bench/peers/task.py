"""What every peer is given and what it tells: the task, its data and the clock. Runs in every peer's environment."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Task:
    """Rounds of FedAvg with E = 1: `cohort` of `clients` clients, batches of B (0: all), at each of `rates` in turn.

    target: the test accuracy at which a rate is done; None where it trains all `rounds`.
    """

    data: str
    model: str
    clients: int
    cohort: int
    B: int
    rates: tuple[float, ...]
    rounds: int
    cores: int
    target: float | None = None

    def text(self) -> str:
        """The task as an argument of a command."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "Task":
        """The task that such an argument names."""
        told = json.loads(text)
        return cls(**told | {"rates": tuple(told["rates"])})


@dataclass(frozen=True)
class Data:
    """The data of a task: inputs as the model takes them, int64 labels, and the weights that everyone begins with.

    Training examples lie client by client: client k has the k-th `each` of them, beginning again where they end.
    weights: in the order and form of fedgrid's layers.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    each: int
    weights: tuple[np.ndarray, ...]

    def client(self, k: int) -> slice:
        """Where client k's examples lie."""
        begins = k % (len(self.train_y) // self.each) * self.each
        return slice(begins, begins + self.each)


PARTS = ("train_x", "train_y", "test_x", "test_y")


def write(data: Data, path: Path) -> None:
    """Keeps the data as a file."""
    arrays = {name: getattr(data, name) for name in PARTS} | {f"w{i}": w for i, w in enumerate(data.weights)}
    np.savez(path, each=np.array(data.each), **arrays)


def read(path: str) -> Data:
    """The data in the file, images as float32 from 0 to 1."""
    kept = np.load(path)
    parts = {name: kept[name] for name in PARTS}
    images = {name: x.astype(np.float32) / 255 for name, x in parts.items() if x.dtype == np.uint8}
    weights = tuple(kept[f"w{i}"] for i in range(sum(name.startswith("w") for name in kept.files)))
    return Data(**parts | images, each=int(kept["each"]), weights=weights)


class Clock:
    """Notes when each round ends and what the evaluation in it found."""

    def __init__(self, task: Task) -> None:
        self.task, self.seen = task, []  # type: Task, list[tuple[float, float, float]]
        self.began = time.perf_counter()

    def __call__(self, accuracy: float, loss: float) -> bool:
        """Whether this round was the last."""
        self.seen.append((time.perf_counter() - self.began, float(accuracy), float(loss)))
        target = self.task.target
        return len(self.seen) == self.task.rounds or (target is not None and accuracy >= target)

    def told(self, lr: float) -> dict[str, Any]:
        """The rate's rounds: each one's seconds, accuracy and loss."""
        ends, accuracy, loss = (list(values) for values in zip(*self.seen, strict=True))
        seconds = [end - begin for begin, end in zip([0.0, *ends[:-1]], ends, strict=True)]
        return {"lr": lr, "seconds": seconds, "accuracy": accuracy, "loss": loss}
