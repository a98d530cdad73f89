"""`python -m fedgrid VERB`: the commands that the workflow runs. Each can be run by hand."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from fedgrid import commands

# Each verb: what it does, what its operands are, none where it takes none, and whether it can do without any.
VERBS: dict[str, tuple[Callable[[list[str]], None], str, str | int]] = {
    "new": (commands.new, "KIND NAME", 2),
    "tasks": (commands.tasks, "", ""),
    "fetch": (commands.fetch, "DATASET", "+"),
    "encode": (commands.encode, "CORPUS", "+"),
    "partition": (commands.partition, "PARTITION", "+"),
    "key": (commands.key, "", ""),
    "plan": (commands.plan, "ARTEFACT", "*"),
    "run": (commands.run, "CELL", "+"),
    "fill": (commands.fill, "HOURS", 1),
    "table": (commands.table, "ARTEFACT", "*"),
    "figure": (commands.figure, "ARTEFACT", "*"),
    "metrics": (commands.metrics, "ARTEFACT", "*"),
    "readme": (commands.readme, "ARTEFACT", "*"),
    "claims": (commands.claims, "", ""),
    "publish": (commands.publish, "ARTEFACT", "*"),
    "manifest": (commands.manifest, "ARTEFACT", "*"),
    "audit": (commands.audit, "ARTEFACT", "*"),
    "replay": (commands.replay, "ARTEFACT", "*"),
    "diff": (commands.diff, "REVISION", 2),
    "report": (commands.report, "ARTEFACT", "*"),
    "explain": (commands.explain, "ARTEFACT ENTRY", "+"),
}

# What a verb does instead, if it is given that option.
INSTEAD: dict[str, tuple[str, Callable[[list[str]], None]]] = {
    "replay": ("--all", commands.replay_all),
    "plan": ("--next", commands.plan_next),
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors, like all others, are one line and exit status 1."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and ends."""
        sys.exit(f"{self.prog}: {message}; see {self.prog} --help")


def doc(function: Callable[[list[str]], None]) -> str:
    """What a verb does, as its docstring begins."""
    return (function.__doc__ or "").splitlines()[0]


def main(arguments: list[str] | None = None) -> None:
    """Does what the verb says; an error that the user can mend is one line on stderr and exit status 1, or its own."""
    parser = Parser(prog="fedgrid", description=__doc__)
    asking = parser.add_subparsers(dest="verb", required=True)
    for verb, (function, operand, count) in VERBS.items():
        summary = doc(function)
        usage = f"fedgrid {verb} [-h] {operand}" if " " in operand else None  # argparse would repeat both words
        one = asking.add_parser(verb, help=summary, description=summary, usage=usage)
        one.set_defaults(does=function)
        if operand:
            one.add_argument("names", nargs=count, metavar=operand)
        if verb in INSTEAD:
            option, instead = INSTEAD[verb]
            one.add_argument(option, dest="does", action="store_const", const=instead, help=doc(instead))
    asked = parser.parse_args(arguments, argparse.Namespace(names=[]))
    try:
        asked.does(asked.names)
    except (ValueError, OSError) as error:
        print(f"fedgrid {asked.verb}: {error}", file=sys.stderr)
        sys.exit(getattr(error, "status", 1))


if __name__ == "__main__":
    main()
