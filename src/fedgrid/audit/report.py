"""`fedgrid report`: one HTML page with every number and where it comes from.

The page stands alone: no script, no server, no request. The same records and findings give the same bytes. Its findings
come from the checks that look at committed files alone, so a clone without data makes the same page. What it says is
gathered here and laid out in templates/report.html, where everything is escaped.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined

from fedgrid.audit import Finding, lineage
from fedgrid.audit.lineage import Trace
from fedgrid.grid.artefacts import Artefact
from fedgrid.results import figures, tables
from fedgrid.results.claims import NOT_DECLARED, Judged, judge, tally
from fedgrid.results.learning_curves import lines
from fedgrid.results.rounds_to_target import NOT_RUN, entries
from fedgrid.results.summary import by_number, numbers, standing

SPARK = 640, 200  # width and height of a small plot, in its own units
# Text stays text, in any font: the outlines of its letters are half of a drawing.
INLINE = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"]}
# The page's own white and, in the dark, its colours in place of matplotlib's black and grey.
LIKE_THE_PAGE = """<style>[style*='fill: #ffffff'] { fill: none !important }
@media (prefers-color-scheme: dark) { text { fill: #e4e1d9 }
[style*='stroke: #000000'] { stroke: #e4e1d9 !important } [style*='stroke: #e6e6e6'] { stroke: #3a3833 !important }
}</style>"""
PLAIN = " !$'()*+,-./:;=?@[]_{|}~"  # what a data URI may hold as it is, beside letters and digits


def page(artefacts: Sequence[Artefact], records: Mapping[str, Any], findings: Sequence[Finding]) -> str:
    """The page of those artefacts, as HTML."""
    environment = Environment(
        loader=PackageLoader("fedgrid.audit"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ordered = sorted(artefacts, key=by_number)
    judged = [one for one in judge(artefacts, records) if one.verdict != NOT_DECLARED]
    return environment.get_template("report.html").render(
        run=len(records),
        declared=len({cell.name for artefact in artefacts for cell in artefact.cells}),
        audit=by_check(findings),
        standing=standing(judged).strip("*"),
        claims=[claim(one) for one in judged],
        tables=[table(artefact, records) for artefact in ordered if artefact.table],
        figures=[figure(artefact, records) for artefact in ordered if artefact.figure],
        spark=spark,
    )


def by_check(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings of each check: those that say the same together, with their subjects."""
    checks: dict[str, dict[str, Any]] = {}
    for one in findings:
        check = checks.setdefault(one.check, {"name": one.check, "findings": 0, "notes": 0, "said": {}})
        check["notes" if one.note else "findings"] += 1
        check["said"].setdefault((one.says, one.note), []).append(one.subject)
    return list(checks.values())


def claim(judged: Judged) -> dict[str, Any]:
    """A claim with its verdict, and what was checked of the paper's numbers and ours."""
    return {
        "claim": judged.claim,
        "verdict": judged.verdict,
        "tally": tally(judged.checks),
        "checked": (judged.claim.items.__doc__ or "").splitlines()[0],
        "items": [
            (ours.where, numbers(paper, "not printed"), numbers(ours, NOT_RUN), tally(ours.checks))
            for paper, ours in zip(judged.paper, judged.ours, strict=True)
        ],
    }


def heading(artefact: Artefact) -> dict[str, Any]:
    """What every artefact's section begins with: its number, and what it shows."""
    short, _, caption = figures.caption(artefact).partition(": ")
    return {"name": artefact.name, "short": short, "caption": caption or short}


def table(artefact: Artefact, records: Mapping[str, Any]) -> dict[str, Any]:
    """A table as `tables` lays it out: its columns in groups, each group with the trace that its first number opens."""
    found = entries(artefact, records)
    traces = identified(artefact, "table", lineage.of_table(artefact, records))
    at = {(one.row, one.column): identity for one, identity in zip(found, traces, strict=True)}
    headers, rows = tables.pivot(artefact, found)
    columns = list(dict.fromkeys(one.column for one in found))
    keys = len((artefact.table or {})["rows"])
    width = 3 if f"{' '.join(columns[0])} paper" in headers else 1
    lead = len(headers) - width * len(columns)

    def groups(row: list[str]) -> list[tuple[str | None, list[str]]]:
        starts = range(lead, len(headers), width)
        return [
            (at.get((tuple(row[:keys]), column)), row[i : i + width]) for column, i in zip(columns, starts, strict=True)
        ]

    return heading(artefact) | {
        "headers": headers[:lead],
        "keys": keys,
        "columns": [" ".join(column) for column in columns],
        "parts": ("ours", "paper", "ours/paper")[:width],
        "rows": [(row[:lead], groups(row)) for row in rows],
        "notes": tables.notes(found),
        "traces": traces,
    }


def identified(artefact: Artefact, what: str, traces: Iterable[Trace]) -> dict[str, Trace]:
    """The traces by the identifiers that they have on the page."""
    return {f"{artefact.name}-{what}-{i}": trace for i, trace in enumerate(traces, start=1)}


def figure(artefact: Artefact, records: Mapping[str, Any]) -> dict[str, Any]:
    """A figure: its drawing as a data URI, what it shows in words, and the traces of its lines."""
    found = lines(artefact, records)
    ours, theirs = sum(bool(line.ours) for line in found), sum(bool(line.paper) for line in found)
    run = sum(cell.name in records for cell in artefact.cells)
    shows = f"{ours} of {len(found)} lines of ours and {theirs} of the paper’s"
    panels = ", ".join(filter(None, dict.fromkeys(line.panel for line in found)))
    told = {
        "alt": f"{artefact.title}. Drawn are {shows}; panels: {panels or 'one'}.",
        "state": f"{run} of {len(artefact.cells)} cells run; drawn are {shows}.",
        "traces": identified(artefact, "figure", lineage.of_figure(artefact, records)),
    }
    return heading(artefact) | drawn(artefact, records) | told


def drawn(artefact: Artefact, records: Mapping[str, Any]) -> dict[str, Any]:
    """The figure as `figures` draws it, without its title, as an SVG in a data URI; its width and height in pixels."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(figures.STYLE | INLINE)  # type: ignore[arg-type]  # its keys are literals
        made = figures.draw(artefact, lines(artefact, records), "")
        made.suptitle("")
        svg = figures.rendered(made, "svg").decode()
    svg = re.sub(r"<metadata>.*?</metadata>|<\?xml.*?\?>|<!DOCTYPE.*?>", "", svg, flags=re.DOTALL)
    small = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", svg.replace("<defs>", f"{LIKE_THE_PAGE}<defs>", 1))).strip()
    width, height = (round(72 * inches) for inches in made.get_size_inches())
    return {"uri": f"data:image/svg+xml,{quote(small, safe=PLAIN)}", "width": width, "height": height}


def spark(trace: Trace) -> dict[str, Any]:
    """A small plot of the trace's curves: their points, the target's height, the ends of the axes, all in words."""
    (left, right), (low, high) = trace.ends
    width, height = SPARK

    def up(y: float) -> int:
        return round(height * (1 - (y - low) / (high - low or 1)))

    curves = [
        " ".join(f"{round(width * (x - left) / (right - left or 1))},{up(y)}" for x, y in curve)
        for curve in trace.curves
    ]
    ends = {"left": f"{left:,.4g}", "right": f"{right:,.4g}", "low": f"{low:.3g}", "high": f"{high:.3g}"}
    x, y = trace.axes
    target = "" if trace.target is None else f", with a line at the target {trace.target:g}"
    words = f"{y} from {ends['low']} to {ends['high']}, by {x} from {ends['left']} to {ends['right']}{target}"
    return ends | {
        "width": width,
        "height": height,
        "curves": curves,
        "target": None if trace.target is None else up(trace.target),
        "alt": f"{words[0].upper()}{words[1:]}",
    }
