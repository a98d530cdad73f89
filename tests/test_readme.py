"""What is committed is what the records make: documents, tables, figures and metrics are not stale, no link is dead."""

import re
from importlib import metadata
from pathlib import Path

import pytest

from fedgrid.__main__ import VERBS
from fedgrid.audit import CHECKS
from fedgrid.commands import replayed
from fedgrid.grid.artefacts import all_cells, artefact, artefact_names, main_names
from fedgrid.results import figures, summary, tables
from fedgrid.run import record

ROOT = Path(__file__).parents[1]
DECLARED = ROOT / "params"
PAPER = [name for name in artefact_names(DECLARED) if artefact(name, DECLARED).paper]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), ROOT / summary.CLAIMS, *PAGES]
PINNED = re.search(r"^matplotlib==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
STALE = "is not what the records make: run `python -m fedgrid {}` and commit what changes"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def records():
    """Every record there is of the paper's cells; one that is damaged is an error here."""
    names = [cell.name for name in PAPER for cell in artefact(name, DECLARED).cells]
    return record.existing(names, ROOT / record.CELLS)


def is_made(path, content, verb):
    assert path.is_file(), f"{path} {STALE.format(verb)}"
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content), (
        f"{path} {STALE.format(verb)}"
    )


def test_the_paper_s_artefacts_are_those_the_command_line_takes():
    assert main_names() == PAPER


@pytest.mark.parametrize("name", [name for name in PAPER if artefact(name, DECLARED).table])
def test_the_table_is_what_the_records_make(records, name):
    for path, content in tables.build(artefact(name), records).items():
        is_made(path, content, f"table {name}")


@pytest.mark.parametrize("name", [name for name in PAPER if artefact(name, DECLARED).figure])
def test_the_figure_is_what_the_records_make(records, name):
    """Its data always; its pictures where matplotlib is the pinned one, for another draws other bytes."""
    for path, content in figures.build(artefact(name), records).items():
        if path.suffix == ".csv" or metadata.version("matplotlib") == PINNED:
            is_made(path, content, f"figure {name}")


def test_the_metrics_are_what_the_records_make(records):
    is_made(summary.METRICS, summary.metrics([artefact(name) for name in PAPER], records), "metrics")


def test_the_claims_are_what_the_records_make(records):
    is_made(summary.CLAIMS, summary.report([artefact(name) for name in PAPER], records), "claims")


@pytest.mark.parametrize("path", summary.DOCUMENTS, ids=str)
def test_the_document_s_tables_are_what_the_records_make(records, path):
    is_made(path, summary.readme(path.read_text(), [artefact(name) for name in PAPER], records, replayed()), "readme")


def test_every_table_of_the_paper_stands_in_a_document_between_its_marks():
    text = "".join(path.read_text() for path in summary.DOCUMENTS)
    for name in PAPER:
        if artefact(name).table:
            start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
            assert text.count(start) == text.count(end) == 1 and text.index(start) < text.index(end), name


def test_how_many_records_were_run_again_stands_in_the_readme_between_its_marks():
    text = (ROOT / "README.md").read_text()
    assert text.count("<!-- replays -->") == text.count("<!-- /replays -->") == 1 and replayed() in text


def test_the_readme_s_map_names_every_page():
    map_of_pages = (ROOT / "README.md").read_text().partition("\n## Documents\n")[2].partition("\n## ")[0]
    assert not [path.name for path in PAGES if f"](docs/{path.name})" not in map_of_pages]


def test_the_page_on_auditing_names_every_check():
    text = (ROOT / "docs/auditing.md").read_text()
    assert not [check.__name__ for check in CHECKS if f"`{check.__name__}`" not in text]


def prose(path):
    """The document without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_relative_link_or_image_is_dead(path):
    text = prose(path)
    found = re.findall(r"\]\(<?([^)\s>]+)>?(?: +\"[^\"]*\")?\)", text) + re.findall(
        r"(?:src|href)=[\"']([^\"']+)", text
    )
    for target in found:
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), f"{path.relative_to(ROOT)} links to {target}, which is not there"
        assert there.resolve().is_relative_to(ROOT), f"{path.relative_to(ROOT)} links out of the repository: {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{path.relative_to(ROOT)} links to {target}, a heading that is not there"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_tells_to_paste_exists(path):
    """Verbs, artefacts and cells: a cell's name ends in a digest of its settings and goes stale with them."""
    text = path.read_text()
    own = re.findall(r"fedgrid new \w+ (\w+)", text) + re.findall(r"`params/(\w+)\.yaml`", text)
    cells, artefacts = all_cells(), [*artefact_names(), *own]
    for name in re.findall(r"\b\w+-\w+-[\w.-]+-s\d+-[0-9a-f]{10}\b", text):
        assert name in cells, f"{path.relative_to(ROOT)} names {name}, which params/ does not declare"
    for verb, operand in re.findall(r"(?:python -m |`)fedgrid ([a-z]+)(?: (\w+))?", text):
        assert verb in VERBS, f"{path.relative_to(ROOT)}: fedgrid {verb}"
        if VERBS[verb][1] == "ARTEFACT" and operand:
            assert operand in artefacts, f"{path.relative_to(ROOT)}: fedgrid {verb} {operand}"
