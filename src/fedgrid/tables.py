"""Tables: rounds to target and speedup beside the paper's, as CSV, Markdown and LaTeX, from records alone."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fedgrid import paper, record
from fedgrid.artefacts import Artefact, place
from fedgrid.cells import Cell, Race

TABLES = Path("results/tables")
LABELS = {"iid": "IID", "shards": "non-IID", "inf": "∞"}
NOT_RUN, REACHED, NOT_REACHED = "not run", "reached", "not reached"


@dataclass(frozen=True)
class Entry:
    """One number of a table, ours and the paper's. Rounds and speedups are None where there is none."""

    row: tuple[str, ...]
    column: tuple[str, ...]
    status: str
    rounds: float | None  # to the last target, by the paper's reading of the curve
    speedup: float | None  # the baseline's rounds over these
    paper_rounds: float | None
    paper_speedup: float | None
    ratio: float | None  # rounds / paper_rounds
    horizon: int
    best_lr: float | None
    best_lr_at_grid_end: bool
    record: str


def label(value: Any) -> str:
    """A setting's value as a table shows it."""
    return LABELS.get(str(value), f"{value:g}" if isinstance(value, float) else str(value))


def key(cell: Cell, names: Sequence[str]) -> tuple[str, ...]:
    """The cell's place in a table: its values of those settings."""
    return tuple(label(cell.settings[name]) for name in names)


def rounds(cell: Cell, records: Mapping[str, Any]) -> float | None:
    """The rounds that the cell's record took to its last target; None where it did not reach it or was not run."""
    if not isinstance(cell, Race) or cell.name not in records:
        return None
    return records[cell.name]["result"]["rounds_to_target"][str(cell.targets[-1])]


def speedup(cell: Race, artefact: Artefact, records: Mapping[str, Any]) -> float | None:
    """The baseline's rounds over the cell's: the baseline differs from it by the artefact's baseline settings alone."""
    layout = artefact.table or {}
    wanted = {name: cell.settings[name] for name in place(layout)}
    wanted |= {name: label(value) for name, value in layout["baseline"].items()}
    wanted = {name: label(value) for name, value in wanted.items()}
    for base in artefact.cells:
        if base != cell and all(label(base.settings[name]) == value for name, value in wanted.items()):
            return quotient(rounds(base, records), rounds(cell, records))
    return None


def quotient(above: float | None, below: float | None) -> float | None:
    """above / below, None where either is missing."""
    return above / below if above is not None and below else None


def entry(cell: Race, artefact: Artefact, records: Mapping[str, Any], printed: list[dict[str, Any]]) -> Entry:
    """The table's entry for a cell."""
    layout = artefact.table or {}
    said = paper.of(cell, printed)
    ours, result = rounds(cell, records), records.get(cell.name, {}).get("result", {})
    reached = REACHED if ours is not None else NOT_REACHED
    return Entry(
        row=key(cell, layout["rows"]),
        column=key(cell, layout["columns"]),
        status=reached if result else NOT_RUN,
        rounds=ours,
        speedup=speedup(cell, artefact, records),
        paper_rounds=said.get("rounds"),
        paper_speedup=said.get("speedup"),
        ratio=quotient(ours, said.get("rounds")),
        horizon=cell.rounds,
        best_lr=result.get("best_lr"),
        best_lr_at_grid_end=result.get("best_lr_at_grid_end", False),
        record=cell.name,
    )


def entries(artefact: Artefact, records: Mapping[str, Any]) -> list[Entry]:
    """The table's entries, one per cell; ValueError where a record's settings are not those declared."""
    record.refuse_others(artefact.cells, records)
    printed = paper.printed(artefact.name)
    return [entry(cell, artefact, records, printed) for cell in artefact.cells if isinstance(cell, Race)]


def with_speedup(rounds: float | None, speedup: float | None) -> str:
    """Rounds as the paper prints them, with the speedup behind."""
    if rounds is None:
        return "—"
    return f"{rounds:.0f}" + (f" ({speedup:.1f}×)" if speedup is not None else "")


def ours(entry: Entry) -> str:
    """Our side of an entry; "> horizon" where the target was not reached, † where the best rate ends the grid."""
    if entry.status == NOT_RUN:
        return NOT_RUN
    mark = " †" if entry.best_lr_at_grid_end else ""
    if entry.status == NOT_REACHED:
        return f"> {entry.horizon}{mark}"
    return with_speedup(entry.rounds, entry.speedup) + mark


def theirs(entry: Entry) -> str:
    """The paper's side of an entry."""
    return with_speedup(entry.paper_rounds, entry.paper_speedup)


def ratio(entry: Entry) -> str:
    """Ours over the paper's."""
    return "" if entry.ratio is None else f"{entry.ratio:.2f}"


def pivot(artefact: Artefact, found: list[Entry]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: a row per row key, and per column key ours, the paper's and their ratio."""
    layout = artefact.table or {}
    columns = list(dict.fromkeys(one.column for one in found))
    at = {(one.row, one.column): one for one in found}
    parts: list[tuple[str, Callable[[Entry], str]]] = [("ours", ours)]
    if paper.printed(artefact.name):
        parts += [("paper", theirs), ("ours/paper", ratio)]
    headers = [*layout["rows"], *(f"{' '.join(column)} {name}" for column in columns for name, _ in parts)]
    rows = [
        [*row, *(show(at[row, column]) if (row, column) in at else "" for column in columns for _, show in parts)]
        for row in dict.fromkeys(one.row for one in found)
    ]
    return headers, rows


def notes(found: list[Entry]) -> list[str]:
    """What a reader must know below the table."""
    done = [one for one in found if one.status != NOT_RUN]
    lines = [
        f"{len(done)} of {len(found)} cells run; rounds by the paper's rule, speedup over the baseline in brackets."
    ]
    if any(one.best_lr_at_grid_end for one in done):
        lines.append("† the best learning rate is at the end of its grid: a wider grid may need fewer rounds.")
    if any(one.status == NOT_REACHED for one in done):
        lines.append("> n: the target was not reached within n rounds.")
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
    for symbol, command in (("∞", r"$\infty$"), ("×", r"$\times$"), ("†", r"$\dagger$"), ("—", "---")):
        table = table.replace(symbol, command)
    return f"% {artefact.title}\n{table}\n"


def comma_separated(artefact: Artefact, found: list[Entry]) -> str:
    """The entries in full precision, one line each."""
    layout = artefact.table or {}
    rest = [field.name for field in fields(Entry) if field.name not in ("row", "column")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*layout["rows"], *layout["columns"], *rest])
    for one in found:
        values = asdict(one)
        writer.writerow([*one.row, *one.column, *(values[name] for name in rest)])
    return text.getvalue()


FORMATS = {"csv": comma_separated, "md": markdown, "tex": latex}


def build(artefact: Artefact, records: Mapping[str, Any]) -> dict[Path, str]:
    """The table's files and their texts, from whichever of its records exist."""
    found = entries(artefact, records)
    return {TABLES / f"{artefact.name}.{suffix}": show(artefact, found) for suffix, show in FORMATS.items()}
