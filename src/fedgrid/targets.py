"""The files that the workflow makes, and what from, as its rules name them. Nothing is read or written here."""

from collections.abc import Iterable

from fedgrid.audit import replay
from fedgrid.grid import paper
from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.cells import Cell
from fedgrid.tasks.datasets import DATASETS, declared
from fedgrid.tasks.datasets.words import FILES as ENCODED

TABLE = ("csv", "md", "tex")
FIGURE = ("pdf", "svg", "png", "csv")


def raw_files(dataset: str) -> list[str]:
    """The files of a dataset under data/raw."""
    return [f"data/raw/{dataset}/{file}" for file in declared(dataset).files]


def data_files(dataset: str) -> list[str]:
    """What a dataset is loaded from: its files, or what they were encoded into."""
    if DATASETS[dataset].posts:
        return [f"data/encoded/{dataset}/{file}" for file in ENCODED]
    return raw_files(dataset)


def partition_file(cell: Cell) -> str:
    """The partition that a cell trains on."""
    return f"data/partitions/{cell.partition_name}.npz"


def record_files(artefact: Artefact) -> list[str]:
    """The records of an artefact's cells."""
    return [f"results/cells/{cell.task}/{cell.name}.json" for cell in artefact.cells]


def params_files(artefact: Artefact) -> list[str]:
    """The params files of this folder that an artefact is declared and judged by."""
    own = [f"params/{name}.yaml" for name in (artefact.name, artefact.cells_of) if name]
    return own + [str(paper.PAPER)] * paper.PAPER.is_file()


def shown_files(artefact: Artefact) -> list[str]:
    """The files that show an artefact: its table's and its figure's."""
    tables = [f"results/tables/{artefact.name}.{suffix}" for suffix in TABLE]
    figures = [f"results/figures/{artefact.name}.{suffix}" for suffix in FIGURE]
    return (tables if artefact.table else []) + (figures if artefact.figure else [])


def replayed_files(artefacts: Iterable[Artefact]) -> list[str]:
    """Data and partitions of the cells that a replay of those artefacts may take."""
    cells = [cell for artefact in artefacts for cell in artefact.cells if replay.rounds(cell)]
    return list(dict.fromkeys(path for cell in cells for path in (*data_files(cell.dataset), partition_file(cell))))
