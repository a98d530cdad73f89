"""Files that are whole or not there: written beside their place, then renamed into it."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


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
    content = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == content:
        return
    with whole(path) as partial:
        partial.write_bytes(content)


def sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; ValueError naming the file where it is damaged. Nothing is unpickled."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as npz:
            return dict(npz)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive raises whatever its parsers stumble over
        raise ValueError(f"{path}: damaged ({' '.join(str(error).split())})") from error
