# What params/ declares, read once, and the names by which the rules ask for files and resources.
from fedgrid import shipped, targets
from fedgrid.grid import artefacts, schemas
from fedgrid.slurm.resources import cluster
from fedgrid.targets import data_files, partition_file, raw_files
from fedgrid.tasks.datasets import DATASETS, DECLARED

ARTEFACTS = {name: artefacts.artefact(name) for name in artefacts.artefact_names()}
for name in ARTEFACTS:
    schemas.check(artefacts.PARAMS / f"{name}.yaml", "artefact")
schemas.check(shipped.found(DECLARED), "datasets")
MAIN = artefacts.main_names()
CAMPAIGN = artefacts.main_name()
CAMPAIGNS = {CAMPAIGN: MAIN} | {name: [name] for name in ARTEFACTS if name not in MAIN}  # what is sealed together
CELLS = {cell.name: cell for artefact in ARTEFACTS.values() for cell in artefact.cells}
PARTITIONS = {cell.partition_name: cell for cell in CELLS.values()}
CLUSTER = cluster(config)


wildcard_constraints:
    artefact="|".join(ARTEFACTS),
    campaign="|".join(CAMPAIGNS),
    dataset="|".join(DATASETS),
    file=r"[\w.-]+",
    partition=r"[\w.-]+",
    task=r"\w+",
    cell=r"[\w.-]+",


def records(artefact):
    """The records of an artefact. Targets name them: Snakemake misses no input of a table that is there."""
    return targets.record_files(ARTEFACTS[artefact])


def sources(artefact):
    """What an artefact is made from: the params files that declare it, and its records.

    A record's name holds every setting and a checkout's times are arbitrary, so a record's time says nothing: ancient.
    One that is made in the same run makes its tables and figures anew.
    """
    return targets.params_files(ARTEFACTS[artefact]) + ancient(records(artefact))


def outputs(artefact):
    """The files that show an artefact."""
    return targets.shown_files(ARTEFACTS[artefact])


def results(artefact):
    """An artefact's sources and files, for what reads them all. A record that is made anew makes it anew, too."""
    return sources(artefact) + ancient(outputs(artefact))


def replayed(names):
    """Data and partitions of what a replay of those artefacts may run."""
    return ancient(targets.replayed_files(ARTEFACTS[name] for name in names))
