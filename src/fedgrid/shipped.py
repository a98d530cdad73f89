"""What comes with fedgrid beside its modules: the workflow, its profiles, and params files that are everyone's.

In a clone they lie in its root, where a reader looks for them; a wheel takes them along (pyproject.toml says which).
"""

from pathlib import Path

PACKAGE = Path(__file__).parent
ROOT = PACKAGE / "repository" if (PACKAGE / "repository").is_dir() else PACKAGE.parents[1]
SNAKEFILE = ROOT / "Snakefile"


def found(path: Path) -> Path:
    """That file of the folder where the command runs or, where that has none, fedgrid's own of that name."""
    return path if path.is_file() else ROOT / path
