"""What `python -m fedgrid new` writes: working examples to change, each with its test and its table.

A template is a file of this package in which NAME, and Name for a class, stand for the name that was asked for. The
profiles of a campaign are those of fedgrid's own workflow.
"""

import re
from collections.abc import Mapping
from keyword import iskeyword
from pathlib import Path
from typing import Any

from fedgrid import files, shipped
from fedgrid.algorithms import ALGORITHMS
from fedgrid.grid import artefacts
from fedgrid.partitions import PARTITIONS
from fedgrid.registry import NAME, Registry
from fedgrid.tasks import TASKS
from fedgrid.tasks.datasets import DATASETS

HERE = Path(__file__).parent
# Of each kind, where its name must be free.
KINDS: dict[str, tuple[Registry[Any], ...]] = {
    "algorithm": (ALGORITHMS,),
    "partition": (PARTITIONS,),
    "dataset": (DATASETS, TASKS),
    "model": (TASKS,),
}
CAMPAIGN = {
    "Snakefile": "Snakefile",
    "README.md": "README.md",
    "first.yaml": "params/first.yaml",
    "extensions.md": "extensions/README.md",
    "gitignore": ".gitignore",
}


def extension(kind: str, name: str) -> dict[Path, str]:
    """The files of an extension of that kind: itself, its test, its params file. ValueError where the name is taken."""
    if not re.fullmatch(NAME, name) or iskeyword(name):
        raise ValueError(f"{name!r} is no name for it: a name is lower-case letters, digits and _, a letter first")
    taken = (*artefacts.NOT_ARTEFACTS, *artefacts.RULES, artefacts.OWN)
    if name in taken or any(name in registry for registry in KINDS[kind]):
        raise ValueError(f"{name!r} is fedgrid's own already; choose another name")
    places = {
        "extension.py": f"extensions/{name}.py",
        "test.py": f"tests/test_{name}.py",
        "params.yaml": f"params/{name}.yaml",
    }
    return {Path(place): named(HERE / kind / template, name) for template, place in places.items()}


def campaign(folder: Path) -> dict[Path, str]:
    """The files of a campaign in that folder."""
    own = {folder / place: named(HERE / "campaign" / file, folder.resolve().name) for file, place in CAMPAIGN.items()}
    profiles = sorted(path for path in (shipped.ROOT / "profiles").rglob("*.yaml"))
    return own | {folder / path.relative_to(shipped.ROOT): path.read_text() for path in profiles}


def named(template: Path, name: str) -> str:
    """The template's text with that name."""
    camel = "".join(part.capitalize() for part in name.split("_"))
    return re.sub(r"\bName\b", camel, re.sub(r"\bNAME\b", name, template.read_text()))


def write(texts: Mapping[Path, str]) -> None:
    """Writes the files; ValueError naming one that is there already: nothing is overwritten."""
    if there := [path for path in texts if path.exists()]:
        raise ValueError(f"{there[0]}: it is there already, and nothing is overwritten; choose another name or move it")
    files.write_all(texts)
