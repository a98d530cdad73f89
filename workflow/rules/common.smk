# What params/ declares, read once: artefacts, cells and datasets, each file checked against its schema.
import yaml
from pathlib import Path
from snakemake.utils import validate

from fedgrid import artefacts


def checked(path, schema):
    """The params file, valid by its schema in workflow/schemas/."""
    declared = yaml.safe_load(Path(path).read_text())
    validate(declared, f"../schemas/{schema}.schema.yaml")
    return declared


DATASETS = checked("params/datasets.yaml", "datasets")
for name in artefacts.artefact_names():
    checked(f"params/{name}.yaml", "artefact")
ARTEFACTS = {name: artefacts.artefact(name) for name in artefacts.artefact_names()}
PAPER = [name for name, artefact in ARTEFACTS.items() if artefact.paper]
CELLS = artefacts.all_cells()
PARTITIONS = {cell.partition_name: cell for cell in CELLS.values()}
TABLE_FORMATS = ["csv", "md", "tex"]
FIGURE_FORMATS = ["pdf", "svg", "png", "csv"]


wildcard_constraints:
    artefact="|".join(ARTEFACTS),
    dataset="|".join(DATASETS),


def raw_files(dataset):
    """The files of a dataset under data/raw."""
    return [f"data/raw/{dataset}/{file}" for file in DATASETS[dataset]["files"]]


def partition_file(cell):
    """The partition that a cell trains on."""
    return f"data/partitions/{cell.partition_name}.npz"


def records(artefact):
    """The records of an artefact's cells. Their names hold every setting, so their times say nothing: ancient."""
    return [ancient(f"results/cells/{cell.task}/{cell.name}.json") for cell in ARTEFACTS[artefact].cells]


def outputs(artefact):
    """The files of an artefact: its table's and its figure's."""
    tables = [f"results/tables/{artefact}.{suffix}" for suffix in TABLE_FORMATS]
    figures = [f"results/figures/{artefact}.{suffix}" for suffix in FIGURE_FORMATS]
    return (tables if ARTEFACTS[artefact].table else []) + (figures if ARTEFACTS[artefact].figure else [])


def campaign(name):
    """The artefacts that an audit judges together."""
    return PAPER if name == "paper" else [name]
