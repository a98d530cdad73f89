"""The campaign in short, from records: results/metrics.json for `dvc metrics diff`, and the documents' tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedgrid import tables
from fedgrid.artefacts import Artefact, place

METRICS = Path("results/metrics.json")
DOCUMENTS = (Path("README.md"), Path("docs/deviations.md"))  # that hold tables between marks


def metrics(artefacts: list[Artefact], records: Mapping[str, Any]) -> str:
    """Rounds to target and ratio to the paper's of every cell that has been run, as nested JSON."""
    found: dict[str, dict[str, Any]] = {}
    for artefact in artefacts:
        if not artefact.table:
            continue
        for one in tables.entries(artefact, records):
            if one.status != tables.NOT_RUN:
                at = zip(place(artefact.table), one.row + one.column, strict=True)
                values = {"rounds": one.rounds, "ours_over_paper": one.ratio, "best_lr": one.best_lr}
                rounded = {key: float(f"{value:.4g}") for key, value in values.items() if value is not None}
                found.setdefault(artefact.name, {})[" ".join(f"{name}={value}" for name, value in at)] = rounded
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def readme(text: str, artefacts: list[Artefact], records: Mapping[str, Any]) -> str:
    """A document with each table between its marks, `<!-- table4 -->` and `<!-- /table4 -->`, made anew."""
    for artefact in artefacts:
        start, end = f"<!-- {artefact.name} -->", f"<!-- /{artefact.name} -->"
        if artefact.table and end in text.partition(start)[2]:
            before, rest = text.split(start, 1)
            after = rest.split(end, 1)[1]
            table = tables.markdown(artefact, tables.entries(artefact, records))
            text = f"{before}{start}\n\n{table}\n{end}{after}"
    return text
