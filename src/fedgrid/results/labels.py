"""How tables, legends and claims call a setting's value: IID, ∞, FedProx (μ = 0.1)."""

from typing import Any

from fedgrid.algorithms import ALGORITHMS, MESSAGES
from fedgrid.partitions import PARTITIONS
from fedgrid.tasks.datasets.corpora import READERS

LABELS = {
    "inf": "∞",
    "None": "none",
    "mnist_2nn": "MNIST 2NN",
    "mnist_cnn": "MNIST CNN",
    "cifar": "CIFAR-10",
    "shakespeare": "Shakespeare LSTM",
    **{f"words_{corpus}": f"Word LSTM ({corpus})" for corpus in READERS},
}
SYMBOLS = {"mu": "μ", "beta": "β", "server_lr": "η_s", "alpha": "α"}  # of an algorithm's or a partition's own settings


def label(value: Any) -> str:
    """A setting's value, as JSON has it, in the words of tables."""
    if isinstance(value, list | tuple):
        return of_several(list(value))
    if isinstance(value, dict):
        return of_choice(value) if "name" in value else of_settings(value) or "nothing"
    for registry in (ALGORITHMS, PARTITIONS, MESSAGES):
        if value in registry:
            return str(getattr(registry[value], "title", value))
    return LABELS.get(str(value), f"{value:g}" if isinstance(value, float) else str(value))


def of_several(values: list[Any]) -> str:
    """Learning rates by their least and greatest; the links of a chain one after another."""
    if len(values) > 1 and all(isinstance(value, int | float) for value in values):
        return f"{values[0]:g} to {values[-1]:g} ({len(values)})"
    return " → ".join(map(label, values)) or "none"


def of_choice(value: dict[str, Any]) -> str:
    """A choice with settings of its own: FedProx (μ = 0.1)."""
    own = {SYMBOLS.get(name, name): one for name, one in value.items() if name != "name"}
    return f"{label(value['name'])} ({', '.join(f'{name} = {label(one)}' for name, one in own.items())})"


def of_settings(value: dict[str, Any]) -> str:
    """Settings and their values: init he, scaling standard."""
    return ", ".join(f"{name} {label(one)}" for name, one in value.items())
