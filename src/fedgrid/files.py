"""Files that are whole or not there: written beside their place, then renamed into it. And YAML, read strictly."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml
from yaml.constructor import ConstructorError


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(plain, dict):
        raise ValueError(f"{path}: it is no mapping of keys to values")
    return plain


@cache
def parsed(text: str) -> Any:
    """What that YAML says, parsed once: the same few files are asked of for each of a thousand cells."""
    return Core(text).get_single_data()


class Core(yaml.SafeLoader):
    """A reader of YAML 1.2's core schema, to which a key that stands twice is an error.

    PyYAML's own reads YAML 1.1, where 1e-1 is a text, `on` is true, 1:30 is 90, 010 is 8 and 2020-01-01 a date; and of
    two equal keys it takes the last one.
    """

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  # none of PyYAML's: see below
    yaml_constructors: ClassVar[dict[Any, Any]] = {None: yaml.SafeLoader.construct_undefined}

    def scalar(self, node: yaml.ScalarNode) -> Any:
        """The null, truth or number that stands there."""
        text, tag = self.text(node), node.tag.removeprefix(TAG)
        texts, read = SCALARS[tag]
        if not re.fullmatch(texts, text):  # where the file says what it is: !!int many
            raise ConstructorError(None, None, f"{text!r} is no {tag}", node.start_mark)
        return read(text)

    def text(self, node: yaml.ScalarNode) -> str:
        """The text that stands there."""
        return str(self.construct_scalar(node))

    def sequence(self, node: yaml.SequenceNode) -> list[Any]:
        """The list that stands there."""
        return self.construct_sequence(node, deep=True)

    def mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        """The mapping that stands there, if each of its keys does so once."""
        found, lines = self.construct_mapping(node, deep=True), dict[Any, int]()
        for one, _ in node.value:
            key, line = self.construct_object(one, deep=True), one.start_mark.line + 1
            if key in lines:
                raise ValueError(
                    f"line {line}: the key {key!r} stands in line {lines[key]} already; remove one of them"
                )
            lines[key] = line
        return found


def whole_number(text: str) -> int:
    """The number of decimal digits, or of octal (0o17) or hexadecimal ones (0xff)."""
    return int(text, 0 if text[:2] in ("0o", "0x") else 10)


def number(text: str) -> float:
    """The number, .inf or .nan."""
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


# The core schema (YAML 1.2.2, section 10.3.2): of each tag, how its values are written, and what reads them.
FINITE = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "null": ("~|null|Null|NULL|", lambda text: None),
    "bool": ("true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    "int": ("[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", whole_number),
    "float": (rf"{FINITE}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", number),
}
TAG = "tag:yaml.org,2002:"
for one, (texts, _) in SCALARS.items():  # in this order: a whole number is written as a number may be
    Core.add_implicit_resolver(TAG + one, re.compile(rf"(?:{texts})\Z"), None)
    Core.add_constructor(TAG + one, Core.scalar)
Core.add_constructor(f"{TAG}str", Core.text)
Core.add_constructor(f"{TAG}seq", Core.sequence)
Core.add_constructor(f"{TAG}map", Core.mapping)


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; ValueError naming the file where it is damaged. Nothing is unpickled."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as npz:
            return dict(npz)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive raises whatever its parsers stumble over
        raise ValueError(f"{path}: damaged ({' '.join(str(error).split())})") from error
