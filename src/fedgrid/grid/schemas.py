"""Params files by their JSON schemas, which the workflow asks before any rule runs."""

from pathlib import Path

from fedgrid import files


def check(path: Path, schema: Path) -> list[str]:
    """The keys of a params file that is valid by its schema; ValueError naming the file and the key that is not."""
    from jsonschema import Draft202012Validator  # not on a node that trains
    from jsonschema.exceptions import best_match

    declared = files.mapping(path)
    if error := best_match(Draft202012Validator(files.mapping(schema)).iter_errors(declared)):
        raise ValueError(f"{path}: {'.'.join(map(str, error.absolute_path)) or 'top level'}: {error.message}")
    return list(declared)
