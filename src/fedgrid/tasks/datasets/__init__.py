"""One file per dataset: the raw files → arrays, checked. DATASETS names them, with all that is known of each.

A loader reads the folder that `fedgrid.tasks.fetch` filled and returns a Dataset; it downloads nothing.
"""

import re
from pathlib import Path
from typing import Any

from fedgrid import files, shipped
from fedgrid.registry import Registry
from fedgrid.tasks.datasets import cifar10, digits, mnist, shakespeare, words
from fedgrid.tasks.datasets.corpora import READERS
from fedgrid.tasks.datasets.dataset import Dataset, DatasetInfo
from fedgrid.tasks.datasets.declaration import NAME, UNPINNED, Declaration, faulty

RAW, ENCODED = Path("data/raw"), Path("data/encoded")
DECLARED = Path("params/datasets.yaml")  # of the paper's: their pins are params
DATASETS: Registry[DatasetInfo] = Registry("dataset")
DATASETS |= {
    "mnist": DatasetInfo(mnist.load),
    "cifar10": DatasetInfo(cifar10.load),
    "shakespeare": DatasetInfo(shakespeare.load, example="line"),
    "digits": DatasetInfo(digits.load),
    # any of them may stand in for the paper's private posts
    **{name: DatasetInfo(words.load, example="ten words", posts=posts) for name, posts in READERS.items()},
}


def declared(name: str, path: Path = DECLARED) -> Declaration:
    """What is declared of the dataset: in the file that registers it or, of the paper's, at that path.

    ValueError where nothing is, both is, or something else than a declaration.
    """
    own = DATASETS[name].declared if name in DATASETS else None
    try:
        table = files.mapping(shipped.found(path))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; run this in the project's root folder") from None
    if own is not None and name in table:
        raise ValueError(f"{path}: {name} is declared in the file that registers it, too; take it out of one")
    return own or of_params(name, table, path)


def of_params(name: str, table: Any, path: Path) -> Declaration:
    """What the table of params/datasets.yaml says of the dataset; ValueError where that is no declaration."""
    if name not in table:
        if name in DATASETS:
            raise ValueError(f"{path}: it has no {name}; declare it there, or in its DatasetInfo")
        owned = [one for one, info in DATASETS.items() if info.declared]
        raise ValueError(f"unknown dataset {name!r}; {path} has {', '.join(map(str, [*table, *owned]))}")
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{path}: {name!r} is no name of a dataset; rename it: letters, digits, _, - and .")
    said = table[name] if isinstance(table[name], dict) else {}
    train, sources, pins, clients = (said.get(key) for key in ("train", "sources", "files", "clients"))
    if fault := faulty(train, sources, pins, clients):
        raise ValueError(f"{path}: {name} {fault}")
    assert train and sources and pins
    return Declaration(train, [str(source) for source in sources], pins, clients)


__all__ = ["DATASETS", "UNPINNED", "Dataset", "DatasetInfo", "Declaration", "declared"]
