"""A module's source in a normal form: what it computes, whatever it looks like.

Two sources have one form where they differ in comments, docstrings, line ends, blank lines, layout or the order of
their imports. An import stays apart, so that whoever digests the form can put in its place what is imported rather
than where that lies. No function here reads a file.
"""

import ast
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

# Fields that are decided by the others, or that not every version of Python fills in.
LEFT_OUT = ("ctx", "kind", "type_comment", "type_ignores")


class Import(NamedTuple):
    """One name that a module imports."""

    module: str  # as it is written, with dots before it where that is relative
    name: str | None  # of what is imported from the module; None where it is the module itself
    bound: str  # what it is called here


Form = tuple[str | tuple[Import, ...], ...]  # text, and where imports stand beside one another, all of them


def form(source: str | bytes) -> Form:
    """The normal form of a module; SyntaxError where the source is no Python of this version."""
    return tuple(dumped(ast.parse(source)))


def digest(source: str | bytes) -> str:
    """sha256 of the normal form, without where what it imports of fedgrid lies; SyntaxError where it is no Python."""

    def told(one: Import) -> str:
        ours = one.module.partition(".")[0] in ("", "fedgrid")
        return f"{one.bound} = {'' if ours else one.module} {one.name}"

    pieces = (one if isinstance(one, str) else "\n".join(sorted(map(told, one))) for one in form(source))
    return hashlib.sha256("".join(pieces).encode()).hexdigest()


def dumped(node: Any) -> Iterator[str | tuple[Import, ...]]:
    """A syntax tree's form, piece by piece. Not Python's own dump: that one changes from version to version."""
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if name not in LEFT_OUT and value is not None and value != []:
                yield f"{name}="
                yield from dumped(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        if imports := tuple(one for statement in node for one in imported(statement)):
            yield imports
        for one in node:
            if not isinstance(one, ast.Import | ast.ImportFrom) and not is_text(one):
                yield from dumped(one)
        yield "]"
    else:
        yield f"{node!a},"  # in ASCII: a newer Python prints characters that an older one does not know


def imported(statement: Any) -> Iterator[Import]:
    """What a statement imports; nothing where it is no import."""
    if isinstance(statement, ast.Import):
        for one in statement.names:
            yield Import(one.name, None, one.asname or one.name)
    elif isinstance(statement, ast.ImportFrom):
        module = "." * statement.level + (statement.module or "")
        for one in statement.names:
            yield Import(module, one.name, one.asname or one.name)


def is_text(node: Any) -> bool:
    """Whether a statement is text and nothing else: a docstring, wherever it stands."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
