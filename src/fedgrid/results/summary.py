"""Summaries of all records: results/README.md (claim by claim), results/metrics.json, the tables within documents.

And the list of tasks, which needs no record.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.layouts import place
from fedgrid.results import distances, tables
from fedgrid.results.claims import FAILS, HOLDS, NOT_DECLARED, Judged, judge, tally
from fedgrid.results.claims.statements import Item
from fedgrid.results.rounds_to_target import NOT_RUN, Entry, entries
from fedgrid.tasks import TASKS
from fedgrid.tasks.datasets import DATASETS

METRICS = Path("results/metrics.json")
DOCUMENTS = (Path("README.md"), Path("docs/deviations.md"))  # that hold tables between marks
CLAIMS = Path("results/README.md")
INTRODUCTION = """\
Each claim of McMahan et al. 2017 ([arXiv 1602.05629v3](https://arxiv.org/abs/1602.05629v3)) is turned into checks on
numbers. Every check runs on our [records](cells) and on the paper's own numbers. A run that did not reach its target
counts as slower than any that did; "—" stands for what was not run or is not printed. Written by
`python -m fedgrid claims`."""


def metrics(artefacts: list[Artefact], records: Mapping[str, Any]) -> str:
    """Rounds to target and ratio to the paper's of every cell that has been run, as nested JSON."""
    found: dict[str, dict[str, Any]] = {}
    for artefact in artefacts:
        if not artefact.table:
            continue
        for one in entries(artefact, records):
            if one.status != NOT_RUN:
                at = zip(place(artefact.table), one.row + one.column, strict=True)
                found.setdefault(artefact.name, {})[" ".join(f"{name}={value}" for name, value in at)] = measured(one)
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def measured(entry: Entry) -> dict[str, float]:
    """The numbers of an entry, to four digits; of several seeds spread and number, and the rate that all agree on."""
    values = {"rounds": entry.rounds, "ours_over_paper": entry.ratio, "spread": entry.spread}
    if len(set(entry.best_lr)) == 1:
        values["best_lr"] = entry.best_lr[0]
    if entry.declared > 1:
        values["n"] = entry.n
    return {key: float(f"{value:.4g}") for key, value in values.items() if value is not None}


def readme(text: str, artefacts: list[Artefact], records: Mapping[str, Any], replayed: str) -> str:
    """A document with each table between its marks made anew, and what was replayed, between marks of that name."""
    for artefact in artefacts:
        if artefact.table and marks(artefact.name)[1] in text:
            text = between(text, artefact.name, tables.markdown(artefact, entries(artefact, records)))
    if marks("distances")[1] in text and {name for name, _ in distances.GROUPS.values()} <= {a.name for a in artefacts}:
        rows = list(distances.rows(distances.distances(artefacts, records), distances.unfinished(artefacts, records)))
        text = between(text, "distances", f"{grid(distances.HEADERS, rows)}\n")
    return between(text, "replays", f"{replayed}\n")


def between(text: str, name: str, content: str) -> str:
    """The text with that content between the marks of that name, where it has them."""
    start, end = marks(name)
    before, begun, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    return f"{before}{start}\n\n{content}\n{end}{after}" if begun and ended else text


def marks(name: str) -> tuple[str, str]:
    """What stands before and behind a part of a document that is made: `<!-- table4 -->` and `<!-- /table4 -->`."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def report(artefacts: Sequence[Artefact], records: Mapping[str, Any]) -> str:
    """The claims with their verdicts, then each with its numbers, then the tables and figures that have them all."""
    found = judge(artefacts, records)
    rows = [[str(i), one.claim.says, one.verdict, tally(one.checks)] for i, one in enumerate(found, start=1)]
    sources = [source(artefact, records) for artefact in sorted(artefacts, key=by_number)]
    parts = [
        "# What the paper claims, and whether it holds here",
        INTRODUCTION,
        standing(found),
        grid(["", "claim", "here", "checks"], rows),
        "## Claim by claim",
        *(section(i, one) for i, one in enumerate(found, start=1)),
        "## Tables and figures",
        grid(["", "", "cells run", "made from, by"], sources),
    ]
    return "\n\n".join(parts) + "\n"


def numbers(item: Item, otherwise: str) -> str:
    """The item's numbers, where there are enough for a check."""
    return item.says if any(check is not None for check in item.checks) else otherwise


def section(place: int, judged: Judged) -> str:
    """A claim as a person reads it: where the paper has it, what was checked, the paper's numbers and ours."""
    claim = judged.claim
    checked = (claim.items.__doc__ or "").splitlines()[0]
    head = f"### {place}. {claim.says}\n\nPaper: {claim.where}. Checked: *{checked}* Here: **{judged.verdict}**."
    rows = [
        [ours.where, numbers(paper, "not printed"), numbers(ours, NOT_RUN), tally(ours.checks)]
        for paper, ours in zip(judged.paper, judged.ours, strict=True)
    ]
    return head + (f"\n\n{grid(['', 'paper', 'ours', 'checks'], rows)}" if rows else "")


def source(artefact: Artefact, records: Mapping[str, Any]) -> list[str]:
    """What an artefact shows and where, how many of its cells have been run, and how to make it anew."""
    places = {"table": f"tables/{artefact.name}.md", "figure": f"figures/{artefact.name}.svg"}
    links = [f"[{what}]({place})" for what, place in places.items() if getattr(artefact, what)]
    run = sum(cell.name in records for cell in artefact.cells)
    made = f"[params](../params/{artefact.name}.yaml), `snakemake --cores all {artefact.name}`"
    return [artefact.title, ", ".join(links), f"{run} of {len(artefact.cells)}", made]


def by_number(artefact: Artefact) -> list[tuple[int, str]]:
    """A key by which figure2 comes before figure10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", artefact.name)]


def grid(headers: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def standing(found: Sequence[Judged]) -> str:
    """How many claims hold, how many do not, of how many nothing is known."""
    counts = Counter(one.verdict for one in found)
    partly = sum(one.verdict == HOLDS and None in one.checks for one in found)
    parts = [f"hold: {counts[HOLDS]}" + (f" ({partly} of them as far as their cells were run)" if partly else "")]
    parts += [f"do not hold: {counts[FAILS]}", f"not run: {counts[NOT_RUN]}"]
    parts += [f"not declared: {counts[NOT_DECLARED]}"] if counts[NOT_DECLARED] else []
    return f"**{len(found)} claims; {', '.join(parts)}.**"


def tasks(artefacts: Sequence[Artefact], train: Callable[[str], int]) -> str:
    """What is learnt, and what the artefacts declare of it; `train` counts the training examples of a dataset."""
    rows = []
    for name, task in TASKS.items():
        settings = [cell.settings for artefact in artefacts for cell in artefact.cells if cell.task == name]
        clients = sorted({one["K"] for one in settings if one["K"] > 1})
        targets = sorted({target for one in settings for target in one.get("targets", [])})
        counts = [f"{task.model.parameters:,}", ", ".join(f"{K:,}" for K in clients), f"{train(task.dataset):,}"]
        reached = ", ".join(f"{100 * target:g} %" for target in targets)
        rows.append([name, *counts, DATASETS[task.dataset].example, reached, task.dataset])
    headers = ["task", "parameters", "clients", "training examples", "each", "targets", "dataset"]
    return tabulate(rows, headers, disable_numparse=True, colalign=("left", *["right"] * 3, *["left"] * 3))
