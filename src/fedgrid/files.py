"""Files that are whole or not there: written beside their place, then renamed into it."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to; what stands there when the block ends becomes `path`, and nothing does if the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, content: str | bytes) -> None:
    """The content, whole, at path; a file that already holds it is left alone, times and all."""
    write_all({path: content})


def write_all(contents: Mapping[Path, str | bytes]) -> None:
    """Those contents at those paths, as `write` has one: all of them, or none where there is no room for all."""
    with ExitStack() as all_whole:
        for path, content in contents.items():
            content = content.encode() if isinstance(content, str) else content
            if not (path.is_file() and path.read_bytes() == content):
                all_whole.enter_context(whole(path)).write_bytes(content)


def sweep(path: Path) -> None:
    """Removes what writers of that path left when they were killed; for one who knows that none is at it."""
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mapping(path: Path) -> Mapping[str, Any]:
    """The mapping that a YAML file is; ValueError naming the file where it is none. Not to be altered: it is shared."""
    try:
        plain = parsed(path.read_text())
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(plain, dict):
        raise ValueError(f"{path}: it is no mapping of keys to values")
    return plain


@cache
def parsed(text: str) -> Any:
    """What that YAML says, parsed once: the same few files are asked of for each of a thousand cells."""
    return yaml.safe_load(text)


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; ValueError naming the file where it is damaged. Nothing is unpickled."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as npz:
            return dict(npz)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive raises whatever its parsers stumble over
        raise ValueError(f"{path}: damaged ({' '.join(str(error).split())})") from error
