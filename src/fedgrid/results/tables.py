"""Writes tables of rounds to target and speedup, ours beside the paper's, as CSV, Markdown and LaTeX."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fedgrid.grid import paper
from fedgrid.grid.artefacts import Artefact
from fedgrid.results.rounds_to_target import NOT_REACHED, NOT_RUN, Entry, entries

TABLES = Path("results/tables")
SYMBOLS = {  # in LaTeX; η_s before η
    **{"∞": r"$\infty$", "×": r"$\times$", "±": r"$\pm$", "†": r"$\dagger$", "—": "---"},
    **{r"η\_s": r"$\eta_s$", "η": r"$\eta$", "α": r"$\alpha$", "β": r"$\beta$", "μ": r"$\mu$"},
}


def ours(entry: Entry) -> str:
    """Our side of an entry; "> horizon" without the target reached, † where the best rate ends its grid or is alone."""
    if entry.status == NOT_RUN:
        return NOT_RUN
    shown = f"> {entry.horizon}" if entry.rounds is None else f"{entry.rounds:.0f}"
    if entry.spread is not None:
        shown += f" ± {entry.spread:.{0 if entry.spread >= 10 else 1}f}"
    return shown + behind(asides(entry)) + (" †" if entry.best_lr_at_grid_end else "")


def asides(entry: Entry) -> Iterator[str]:
    """What stands in brackets behind our rounds: the speedup, and what of several repeats has been run and reached."""
    if entry.speedup is not None:
        yield times(entry.speedup)
    if entry.declared > 1 and entry.reached < entry.n:
        yield f"{entry.reached} of {entry.n} reached"
    if entry.n < entry.declared:
        yield f"n = {entry.n} of {entry.declared}"
    elif entry.declared > 1 and entry.reached == entry.n:
        yield f"n = {entry.n}"


def theirs(entry: Entry) -> str:
    """The paper's side of an entry."""
    if entry.paper_rounds is None:
        return "—"
    return f"{entry.paper_rounds:.0f}" + behind([] if entry.paper_speedup is None else [times(entry.paper_speedup)])


def times(factor: float) -> str:
    """A speedup as the paper prints it."""
    return f"{factor:.1f}×"


def behind(asides: Iterable[str]) -> str:
    """Those in brackets, behind a number; nothing where there are none."""
    return f" ({inside})" if (inside := ", ".join(asides)) else ""


def ratio(entry: Entry) -> str:
    """Ours over the paper's."""
    return "" if entry.ratio is None else f"{entry.ratio:.2f}"


def pivot(artefact: Artefact, found: list[Entry]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: a row per row key, u behind E and B, and per column key ours, the paper's and their ratio."""
    names = (artefact.table or {})["rows"]
    columns = list(dict.fromkeys(one.column for one in found))
    at = {(one.row, one.column): one for one in found}
    updates: dict[tuple[str, ...], dict[str, None]] = {}  # one u a row, but where it depends on the column
    for one in found:
        updates.setdefault(one.row, {})[shortest(one.u)] = None
    counted = {"E", "B"} <= set(names)
    parts: list[tuple[str, Callable[[Entry], str]]] = [("ours", ours)]
    if paper.printed(artefact.name):
        parts += [("paper", theirs), ("ours/paper", ratio)]
    headers = [*names, *(["u"] if counted else [])]
    headers += [f"{' '.join(column)} {name}" for column in columns for name, _ in parts]
    rows = [
        [*row, *([", ".join(us)] if counted else [])]
        + [show(at[row, column]) if (row, column) in at else "" for column in columns for _, show in parts]
        for row, us in updates.items()
    ]
    return headers, rows


def shortest(u: float) -> str:
    """u as the paper prints it: 1, 7.4, 1200."""
    return f"{u:.1f}".removesuffix(".0")


def notes(found: list[Entry]) -> list[str]:
    """What a reader must know below the table."""
    done = [one for one in found if one.status != NOT_RUN]
    experiments = {one.record: one for one in found}.values()  # one has an entry for each of its targets
    run, declared = sum(one.n for one in experiments), sum(one.declared for one in experiments)
    lines = [f"{run} of {declared} cells run. Rounds by the paper's rule; in brackets, the speedup over the baseline."]
    if any(one.spread is not None for one in done):
        lines.append("a ± s: mean and sample standard deviation over n seeds.")
    if any(one.best_lr_at_grid_end for one in done):
        lines.append("†: the best learning rate is the first, last or only one of its grid. Others may need fewer.")
    if any(one.status == NOT_REACHED for one in done):
        lines.append("A number with >: the target was not reached within so many rounds.")
    return lines


def markdown(artefact: Artefact, found: list[Entry]) -> str:
    """The table in Markdown, with its title and notes."""
    headers, rows = pivot(artefact, found)
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    return f"**{artefact.title}**\n\n{table}\n\n" + "\n".join(f"{line}  " for line in notes(found)).rstrip() + "\n"


def latex(artefact: Artefact, found: list[Entry]) -> str:
    """The table in LaTeX (booktabs), its symbols as commands."""
    headers, rows = pivot(artefact, found)
    table = tabulate(rows, headers, tablefmt="latex_booktabs", disable_numparse=True)
    for symbol, command in SYMBOLS.items():
        table = table.replace(symbol, command)
    return f"% {artefact.title}\n{table}\n"


def comma_separated(artefact: Artefact, found: list[Entry]) -> str:
    """The entries in full precision, one line each; what repeats have several of is parted by spaces."""
    layout = artefact.table or {}
    rest = [field.name for field in fields(Entry) if field.name not in ("row", "column")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*layout["rows"], *layout["columns"], *rest])
    for one in found:
        values = [getattr(one, name) for name in rest]
        several = [" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values]
        writer.writerow([*one.row, *one.column, *several])
    return text.getvalue()


FORMATS = {"csv": comma_separated, "md": markdown, "tex": latex}


def build(artefact: Artefact, records: Mapping[str, Any]) -> dict[Path, str]:
    """The table's files and their texts, from whichever of its records exist."""
    found = entries(artefact, records)
    return {TABLES / f"{artefact.name}.{suffix}": show(artefact, found) for suffix, show in FORMATS.items()}
