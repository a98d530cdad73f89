"""Laws of the page: made of records and findings alone, it opens every number, escapes all, asks for nothing."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from fedgrid.__main__ import main
from fedgrid.audit import Finding
from fedgrid.audit.explain import explain
from fedgrid.audit.report import page
from fedgrid.grid.artefacts import artefact, main_names
from fedgrid.results.rounds_to_target import NOT_RUN, entries
from fedgrid.run import record
from tests import handmade

ROOT = Path(__file__).parents[1]
VOID = {"meta", "link", "img", "path", "polyline"}
FINDINGS = [
    Finding("missing", "cell-a", "hand declares it; it has not been run"),
    Finding("missing", "cell-b", "hand declares it; it has not been run"),
    Finding("origin", "3 records", f"made by {handmade.HOSTILE}", note=True),
]


class Element:
    """An element of a page, its attributes, its text, what it holds."""

    def __init__(self, tag, attributes):
        self.tag, self.attributes, self.children = tag, attributes, []

    def walk(self):
        """The elements below it, in their order."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.walk()

    def all(self, tag):
        """Those of that tag."""
        return [one for one in self.walk() if one.tag == tag]

    @property
    def text(self):
        return " ".join("".join(child if isinstance(child, str) else child.text for child in self.children).split())

    def __repr__(self):
        return f"<{self.tag} {self.attributes}>"


class Tree(HTMLParser):
    """Builds elements; an element that is closed in the wrong order is an error."""

    def __init__(self, text):
        super().__init__()
        self.open = [Element("page", {})]
        self.feed(text)
        assert len(self.open) == 1, self.open

    def handle_starttag(self, tag, attrs):
        one = Element(tag, dict(attrs))
        self.open[-1].children.append(one)
        if tag not in VOID:
            self.open.append(one)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].children.append(data)


def tree(text):
    return Tree(text).open[0]


@pytest.fixture
def text(hand, records):
    return page([hand], records, FINDINGS)


@pytest.fixture
def html(text):
    return tree(text)


def by_id(html):
    return {one.attributes["id"]: one for one in html.walk() if "id" in one.attributes}


def test_every_measured_number_opens_the_account_of_its_records(hand, records, html):
    table = html.all("section")[2].all("table")[0]
    found = [one for one in entries(hand, records) if one.status != NOT_RUN]
    buttons = table.all("button")
    assert len(buttons) == len(found) == 3
    for button in buttons:
        opened = by_id(html)[button.attributes["popovertarget"]]
        assert "popover" in opened.attributes and opened.all("h4")[0].text.startswith("Table 0 E=")
        entry = next(one for one in found if any(name in opened.text for name in one.record))
        for name in entry.record:
            path = record.path(name)
            assert path.as_posix() in opened.text
            assert not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() in opened.text
        assert button.text == opened.all("dd")[0].text  # the number itself


def test_the_lines_of_the_figure_open_theirs(html):
    targets = {one.attributes["popovertarget"] for one in html.all("button")}
    assert {target for target in targets if "figure" in target} == {"hand-figure-1", "hand-figure-3", "hand-figure-5"}
    assert targets <= set(by_id(html))


@pytest.mark.parametrize("entry", ["E=1 B=inf iid", "E=5 B=10 iid", "E=1 B=10 non-IID"])
def test_the_page_tells_what_explain_tells(hand, records, html, entry):
    told = explain(hand, records, entry)
    name = told.splitlines()[1]
    opened = next(one for one in html.all("div") if one.all("h4") and one.all("h4")[0].text == f"Table 0 {name}")
    facts = [line.strip() for line in told.splitlines() if re.match(r" {4}\S", line) and "│" not in line]
    assert len(facts) > 30
    for fact in facts:
        assert all(" ".join(part.split()) in opened.text for part in re.split(r" {2,}", fact)), fact


def test_nothing_is_asked_for_and_nothing_runs(text, html):
    assert not html.all("script") and not html.all("iframe")
    (policy,) = (one for one in html.all("meta") if "http-equiv" in one.attributes)
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    sources = [one.attributes[key] for one in html.walk() for key in ("src", "href") if key in one.attributes]
    outside = {source for source in sources if not source.startswith(("#", "data:"))}
    assert outside == {"https://arxiv.org/abs/1602.05629v3"}  # a link, which asks for nothing until it is followed
    assert not re.search(r"url\(|@import", "".join(one.text for one in html.all("style")))


def test_hostile_strings_are_text(text, html):
    images = html.all("img")
    assert [one.attributes["src"].partition(",")[0] for one in images] == ["data:image/svg+xml"]
    assert handmade.HOSTILE in html.text and handmade.HOSTILE not in text
    assert not html.all("b") and "<b>bold</b>" in html.text  # of the title
    assert not [key for one in html.walk() for key in one.attributes if key.startswith("on")]


def test_the_page_is_sound_for_readers_that_hear_it(html):
    headings = [int(one.tag[1]) for one in html.walk() if re.fullmatch("h[1-6]", one.tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    identities = Counter(one.attributes["id"] for one in html.walk() if "id" in one.attributes)
    assert identities and max(identities.values()) == 1
    for table in html.all("table"):
        assert table.all("caption") and all(one.attributes.get("scope") for one in table.all("th"))
    assert all(one.attributes.get("alt") for one in html.all("img"))
    for link in html.all("a"):
        target = link.attributes["href"]
        assert target.startswith("https:") or target[1:] in by_id(html)


def test_findings_are_counted_by_check_and_told_together(html):
    section = html.all("section")[0]
    assert "2 findings, 1 notes" in section.text
    rows = [[cell.text for cell in row.children if isinstance(cell, Element)] for row in section.all("tr")]
    assert rows == [["check", "findings", "notes"], ["missing", "2", "0"], ["origin", "0", "1"]]
    assert section.text.count("it has not been run") == 1 and "cell-a" in section.text and "cell-b" in section.text


def test_an_audit_without_findings_says_so(hand, records):
    assert "0 findings, 0 notes; nothing is wrong." in tree(page([hand], records, [])).all("section")[0].text


def test_the_curve_of_a_number_is_its_record_s(html):
    """E = 5, B = 10: rounds 1, 2, 4 at 0.25, 0.5, 1; the target is 0.75. The plot is 640 wide and 200 high."""
    opened = by_id(html)["hand-table-5"]
    (curve,) = opened.all("polyline")
    assert curve.attributes["points"] == "0,200 213,133 640,0"
    assert [one.attributes["d"] for one in opened.all("path")] == ["M0 0V200H640", "M0 67H640"]
    words = opened.all("svg")[0].attributes["aria-label"]
    assert words == (
        "Best test accuracy from 0.25 to 1, by communication rounds from 1 to 4, with a line at the target 0.75"
    )


def test_the_drawing_is_an_image_of_its_own_with_its_text_as_text(html):
    (image,) = html.all("img")
    drawing = ElementTree.fromstring(unquote(image.attributes["src"].partition(",")[2]))
    words = {one.text for one in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"communication rounds", "test accuracy", "IID", "non-IID"} <= words
    assert "3 of 5 lines of ours and 1 of the paper’s" in image.attributes["alt"]


def test_only_the_artefacts_asked_for_are_on_a_page_that_is_named_after_them(hand, records, tmp_path, capsys):
    main(["report", "hand"])
    written = (tmp_path / "results/report-hand.html").read_text()
    assert capsys.readouterr().out == "results/report-hand.html\n"
    (claim,) = tree(written).all("section")[1].all("li")  # the one that needs no artefact of the paper
    assert claim.text.startswith("The models have the number of parameters that the paper counts. holds 1 of 1")


def test_the_same_records_give_the_same_bytes(hand, records, tmp_path):
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "fedgrid", "report", "hand"], env=os.environ | {"PYTHONHASHSEED": seed}, cwd=tmp_path
        )
        assert done.returncode == 0
        (tmp_path / "results/report-hand.html").rename(tmp_path / f"{seed}.html")
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()


def test_the_committed_page_has_every_committed_record_as_it_is(monkeypatch):
    """Its numbers come from these records: whether the rest is up to date would take as long as the audit."""
    monkeypatch.chdir(ROOT)
    text = Path("results/report.html").read_text()
    for name in {cell.name for one in main_names() for cell in artefact(one).cells}:
        if (path := record.path(name)).is_file():
            stale = f"{path} is not in results/report.html: run `python -m fedgrid report` and commit what changes"
            assert path.as_posix() in text and hashlib.sha256(path.read_bytes()).hexdigest() in text, stale
