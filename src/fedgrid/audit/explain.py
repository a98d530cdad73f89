"""`fedgrid explain`: a number of a table or figure and where it comes from, as text for a terminal.

An entry is named by settings, in any order and as tables or params files spell them: `E=5 B=inf non-IID`, `FedSGD`,
`80 %`. Values are exact, spelling is not.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from fedgrid.audit.lineage import Source, Trace, phrase, traces
from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.cells import NESTED
from fedgrid.results.labels import label
from fedgrid.results.learning_curves import PLAIN, is_fedsgd
from fedgrid.results.rounds_to_target import NOT_RUN

WIDTH, HEIGHT = 64, 12  # characters of a plot
DOTS = np.array([[1, 8], [2, 16], [4, 32], [64, 128]])  # of a Braille character, from above: what each adds to its code


def explain(artefact: Artefact, records: Mapping[str, Any], entry: str) -> str:
    """What is known of the entry: its number, its curve, each repeat's record and the commands that make it anew.

    Where several entries have all those settings, of each. ValueError, listing those there are, where none has.
    """
    found = find(entry, artefact, traces(artefact, records))
    return "\n\n\n".join(told(trace, artefact) for trace in found)


def find(entry: str, artefact: Artefact, among: list[Trace]) -> list[Trace]:
    """Those that the entry names."""
    found = [trace for trace in among if names(entry, trace)]
    if not (entry and found):
        raise ValueError(f"{artefact.name}: no entry {entry!r}; it has {'; '.join(trace.name for trace in among)}")
    return found


def told(trace: Trace, artefact: Artefact) -> str:
    """One entry."""
    says = "   ".join(f"{whose} {value}" for whose, value in trace.says.items())
    head = [artefact.title, trace.name, "", f"{trace.measure}: {says}"]
    drawn = plot(trace) if trace.curves else []
    return "\n".join([*head, *drawn, *(line for source in trace.sources for line in account(source))])


def names(entry: str, trace: Trace) -> bool:
    """Whether the entry's words are all settings of that number."""
    left = spelt(entry)
    for known in sorted(map(spelt, phrases(trace)), key=len, reverse=True):  # "unbalanced IID" before "IID"
        left = left.replace(known, " ")
    return not left.strip()


def phrases(trace: Trace) -> Iterator[str]:
    """What may be said of a number: each of its settings as in params, in a table, in its name."""
    for name, value in trace.settings.items():
        yield from (f"{name}={value}", phrase(name, value))
        if isinstance(value, str) or name in NESTED:
            yield f"{name}={label(value)}"
        if name == "task":
            yield from label(value).split()  # "CNN" of "MNIST CNN"
        if name in PLAIN:
            yield label(value)
            yield from [value] if isinstance(value, str) else []
    if is_fedsgd(trace.sources[0].cell):
        yield "FedSGD"


def spelt(text: str) -> str:
    """The text in one spelling: lower case, one blank around each word, no hyphens, numbers in their shortest form."""
    text = text.casefold()
    for written, meant in (("∞", "inf"), ("η", "lr"), ("non ", "non-"), (",", " ")):
        text = text.replace(written, meant)
    words = (canonical(word) for word in re.sub(r"\s*(=)\s*|\s+(?=%)", r"\1", text).split())
    return f" {' '.join(words)} "


def canonical(word: str) -> str:
    """A word, or a setting and its value, without hyphens; a number in its shortest form."""
    name, equals, value = word.rpartition("=")
    try:
        value = f"{float(value):g}"
    except ValueError:
        value = re.sub("[-_]", "", value)
    return re.sub("[-_]", "", name) + equals + value


def account(source: Source) -> Iterator[str]:
    """A repeat's record, or that there is none, and the commands that make it."""
    yield from ("", source.path if source.sha256 else f"{source.path}: {NOT_RUN}")
    proof = {"sha256": source.sha256, "statement": source.statement} if source.sha256 else {}
    facts = {"record": proof} | dict(source.facts) if proof else {}
    for section, pairs in facts.items():
        yield f"  {section}"
        yield from (f"    {name:20} {value}" for name, value in pairs.items())
    yield f"  to run it{' again' if source.sha256 else ''}"
    yield from (f"    {command}" for command in source.commands)


def plot(trace: Trace) -> list[str]:
    """The repeats' curves in dots of Braille, a dotted line at the target; the ends of the axes and their names."""
    (left, right), (low, high) = trace.ends
    grid = np.zeros((4 * HEIGHT, 2 * WIDTH), bool)  # from below

    def row(y: Any) -> Any:
        return np.rint((y - low) / (high - low or 1) * (len(grid) - 1)).astype(int)

    if trace.target is not None:
        grid[row(trace.target), ::4] = True
    for curve in trace.curves:
        x, y = np.array(curve).T
        across = np.linspace(left, right, grid.shape[1])
        rows = row(np.interp(across[across <= x[-1]], x, y)).tolist()
        for i, (a, b) in enumerate(pairwise([rows[0], *rows])):
            grid[min(a, b) : max(a, b) + 1, i] = True
    codes = (grid[::-1].reshape(HEIGHT, 4, WIDTH, 2) * DOTS[:, None]).sum(axis=(1, 3))
    edge = [f"{high:.3g}", *[""] * (HEIGHT - 2), f"{low:.3g}"]
    drawn = [f"{at:>8} │{''.join(chr(0x2800 + code) for code in line)}" for at, line in zip(edge, codes, strict=True)]
    ends = f"{left:<{WIDTH // 2},.4g}{right:>{WIDTH // 2},.4g}"
    indent = " " * 10
    return ["", indent + trace.axes[1], *drawn, indent + ends, indent + trace.axes[0]]
