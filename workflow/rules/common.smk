# What params/ declares, read once: artefacts, cells and datasets, each file checked against its schema.
import yaml
from pathlib import Path
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from fedgrid.audit import replay
from fedgrid.grid import artefacts
from fedgrid.slurm import resources
from fedgrid.tasks.datasets import CORPORA, words

SCHEMAS = Path(workflow.basedir) / "workflow/schemas"


def checked(path, schema):
    """The params file, valid by its schema; WorkflowError naming file and key (Snakemake's own names neither)."""
    try:
        declared = yaml.safe_load(Path(path).read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise WorkflowError(f"{path}: not readable as YAML: {' '.join(str(error).split())}")
    rules = yaml.safe_load((SCHEMAS / f"{schema}.schema.yaml").read_text())
    if error := best_match(Draft202012Validator(rules).iter_errors(declared)):
        raise WorkflowError(f"{path}: {'.'.join(map(str, error.absolute_path)) or 'top level'}: {error.message}")
    return declared


for name in artefacts.artefact_names():
    checked(f"params/{name}.yaml", "artefact")
ARTEFACTS = {name: artefacts.artefact(name) for name in artefacts.artefact_names()}
DATASETS = checked("params/datasets.yaml", "datasets")
PAPER = [name for name, artefact in ARTEFACTS.items() if artefact.paper]
CELLS = {cell.name: cell for artefact in ARTEFACTS.values() for cell in artefact.cells}
PARTITIONS = {cell.partition_name: cell for cell in CELLS.values()}
LONGEST = config.get("longest", resources.LONGEST)  # minutes that a job asks for at most
if type(LONGEST) is not int or LONGEST < 1:
    raise WorkflowError(f"profiles/slurm/partitions.yaml: longest is {LONGEST!r}; it must be minutes, from 1")
TABLE_FORMATS = ["csv", "md", "tex"]
FIGURE_FORMATS = ["pdf", "svg", "png", "csv"]


wildcard_constraints:
    artefact="|".join(ARTEFACTS),
    campaign="|".join(["paper", *(name for name in ARTEFACTS if name not in PAPER)]),
    dataset="|".join(DATASETS),
    file=r"[\w.-]+",
    partition=r"[\w.-]+",
    task=r"\w+",
    cell=r"[\w.-]+",


def raw_files(dataset):
    """The files of a dataset under data/raw."""
    return [f"data/raw/{dataset}/{file}" for file in DATASETS[dataset]["files"]]


def data_files(dataset):
    """What a dataset is loaded from: its files, or what they were encoded into."""
    if dataset in CORPORA:
        return [f"data/encoded/{dataset}/{file}" for file in words.FILES]
    return raw_files(dataset)


def partition_file(cell):
    """The partition that a cell trains on."""
    return f"data/partitions/{cell.partition_name}.npz"


def records(artefact):
    """The records of an artefact's cells. Targets name them: Snakemake misses no input of a table that is there."""
    return [f"results/cells/{cell.task}/{cell.name}.json" for cell in ARTEFACTS[artefact].cells]


def sources(artefact):
    """What an artefact is made from: the params files that declare it, and the records of its cells.

    A record's name holds every setting and a checkout's times are arbitrary, so a record's time says nothing: ancient.
    One that is made in the same run makes its tables and figures anew.
    """
    declared = [f"params/{name}.yaml" for name in (artefact, ARTEFACTS[artefact].cells_of, "paper") if name]
    return declared + [ancient(record) for record in records(artefact)]


def outputs(artefact):
    """The files of an artefact: its table's and its figure's."""
    tables = [f"results/tables/{artefact}.{suffix}" for suffix in TABLE_FORMATS]
    figures = [f"results/figures/{artefact}.{suffix}" for suffix in FIGURE_FORMATS]
    return (tables if ARTEFACTS[artefact].table else []) + (figures if ARTEFACTS[artefact].figure else [])


def results(artefact):
    """An artefact's sources and files, for what reads them all. A record that is made anew makes it anew, too."""
    return sources(artefact) + [ancient(path) for path in outputs(artefact)]


def campaign(name):
    """The artefacts whose records are sealed together."""
    return PAPER if name == "paper" else [name]


def gpus(wildcards):
    """How many GPUs a cell's job takes where there are any: one if its task is among gpu_tasks, as all are unless told."""
    task = CELLS[wildcards.cell].task
    return int(task in config.get("gpu_tasks", [task]))


def walltime(wildcards, attempt):
    """Minutes that a cell's job asks for; the cells of a pack, one after another, are granted no more than one cell is."""
    share = LONGEST // workflow.group_settings.group_components.get(pack(wildcards), 1)
    return resources.minutes(CELLS[wildcards.cell], gpus(wildcards), attempt, max(share, 1))


def memory(wildcards, attempt):
    """Megabytes that a cell's job asks for."""
    return resources.megabytes(CELLS[wildcards.cell], gpus(wildcards), attempt)


def pack(wildcards):
    """The group of short cells that may share one job of the cluster; none of a long cell."""
    if resources.minutes(CELLS[wildcards.cell], gpus(wildcards), 1) > resources.SHORT:
        return None
    return "short_gpu" if gpus(wildcards) else "short"


def operands(wildcards):
    """The artefacts that `manifest` is called with: none, where it is the paper's."""
    return "" if wildcards.campaign == "paper" else wildcards.campaign


def replayed(names):
    """Data and partitions of the cells that a replay of those artefacts may take."""
    cells = [cell for name in names for cell in ARTEFACTS[name].cells if replay.rounds(cell)]
    files = [path for cell in cells for path in (*data_files(cell.dataset), partition_file(cell))]
    return [ancient(path) for path in dict.fromkeys(files)]
