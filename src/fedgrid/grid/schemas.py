"""Params files by their JSON schemas, which the workflow asks before any rule runs."""

from pathlib import Path

from fedgrid import files, shipped

SCHEMAS = shipped.ROOT / "workflow/schemas"


def check(path: Path, kind: str) -> None:
    """ValueError naming file and key, where a params file is not valid by the schema of its kind."""
    from jsonschema import Draft202012Validator  # not on a node that trains
    from jsonschema.exceptions import best_match

    rules = files.mapping(SCHEMAS / f"{kind}.schema.yaml")
    if error := best_match(Draft202012Validator(rules).iter_errors(files.mapping(path))):
        raise ValueError(f"{path}: {'.'.join(map(str, error.absolute_path)) or 'top level'}: {error.message}")
