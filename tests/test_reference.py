"""Laws of docs/params.md: its tables are made of the code, and each of its examples is a params file."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
import yaml

from fedgrid import files
from fedgrid.__main__ import main
from fedgrid.grid import schemas
from fedgrid.grid.artefacts import artefact
from fedgrid.grid.cells import CHOICES, NESTED, Interpolation, Race, cell
from fedgrid.results import reference
from fedgrid.run import pace

ROOT = Path(__file__).parents[1]
SCHEMA = files.mapping(reference.SCHEMA)
PAGE = (ROOT / reference.PAGE).read_text()
STALE = "docs/params.md is not what the code makes: run `python -m fedgrid readme` and commit what changes"


def blocks(text):
    """The examples of params files in a document."""
    return re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


README = (ROOT / "README.md").read_text().partition("\n## A params file of your own\n")[2].partition("\n## ")[0]
(MINIMAL,) = blocks(README)
NAME = re.search(r"`params/(\w+)\.yaml`", README)[1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory in which the README's params file is the only one."""
    (tmp_path / "params").mkdir()
    shutil.copy(ROOT / "params/datasets.yaml", tmp_path / "params")
    (tmp_path / f"params/{NAME}.yaml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def declare(name, said):
    """The artefact of such a params file, which its schema and its reader both must take."""
    path = Path(f"params/{name}.yaml")
    path.write_text(yaml.safe_dump(said, sort_keys=False))
    schemas.check(path, "artefact")
    return artefact(name)


def table(name):
    """The rows of a table of the page, each its cells; the first one without its marks of code."""
    part = PAGE.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    lines = [[one.strip() for one in line.strip("|").split("|")] for line in part.strip().splitlines()[2:]]
    return {first.strip("`"): others for first, *others in lines}


def test_the_page_is_what_the_code_makes(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert reference.page(PAGE, SCHEMA) == PAGE, STALE


def test_every_key_every_setting_and_every_choice_stands_on_the_page():
    keys = SCHEMA["properties"]
    assert list(table("artefact")) == list(keys)
    assert all(list(table(what)) == list(keys[what]["properties"]) for what in ("table", "figure"))
    assert list(table("settings")) == [one.name for one in dataclasses.fields(Race)]
    assert {*table("settings"), *table("interpolation")} >= {one.name for one in dataclasses.fields(Interpolation)}
    for name, choices in {**CHOICES, **NESTED}.items():
        listed = list(table(name)) or re.findall(r"`(\w+)`", table("settings")[name][1])
        assert {*listed, "module"} >= set(choices), name
    assert "`init: module`" in PAGE


def test_nothing_on_the_page_is_without_a_word():
    made = ("artefact", "table", "figure", "settings", "interpolation", "task", *reference.TABLES)
    assert all(row[0] for name in made for row in table(name).values())


def test_a_setting_left_out_is_what_the_page_says():
    settings = cell(reference.SAMPLES["race"]).settings
    for name, (_, _, otherwise) in table("settings").items():
        assert otherwise == "needed" or files.parsed(otherwise.strip("`")) == settings[name], name


@pytest.mark.parametrize("block", blocks(PAGE))
def test_every_example_of_the_page_is_a_params_file(folder, block):
    """Of one that shows a part, the rest is the minimal one's."""
    said = files.parsed(block)
    assert declare("example", said if "title" in said else files.parsed(MINIMAL) | said).cells


def test_one_example_spells_out_every_setting_and_one_every_key_of_a_figure():
    (every,) = (block for block in blocks(PAGE) if "precision:" in block)
    assert set(files.parsed(every)["cells"]) == {one.name for one in dataclasses.fields(Race)}
    (figure,) = (block for block in blocks(PAGE) if block.startswith("figure:"))
    assert set(files.parsed(figure)["figure"]) == set(table("figure"))


def test_a_file_without_a_title_or_common_settings_is_one_to_every_reader(folder):
    minimal = files.parsed(MINIMAL)
    row = minimal["cells"] | {"E": 1, "B": "inf", "lr": 0.1}
    assert declare("bare", {"grid": [row], "table": minimal["table"]}).title == "bare"


def test_the_readme_has_the_page_s_minimal_params_file_of_ten_lines():
    assert blocks(PAGE)[0] == MINIMAL and len(MINIMAL.splitlines()) <= 10


def test_the_readme_s_params_file_is_planned_and_tabled_where_there_is_nothing_else(folder, monkeypatch, capsys):
    monkeypatch.setattr(pace, "SECONDS", 0.01)
    main(["plan", NAME])
    assert "3 of 3 cells to run" in capsys.readouterr().out
    main(["table", NAME])
    made = Path(f"results/tables/{NAME}.md").read_text()
    assert made.count("not run") == 3 and "0 of 3 cells run" in made


def test_a_cell_of_the_readme_s_params_file_trains_to_its_target(folder):
    *_, last = artefact(NAME).cells
    main(["fetch", "digits"])
    main(["partition", last.partition_name])
    main(["run", last.name])
    main(["table", NAME])
    assert "1 of 3 cells run" in Path(f"results/tables/{NAME}.md").read_text()
