"""Laws of extensions: a file registers what params files may then name, and what is wrong with it is told."""

import sys
from pathlib import Path

import pytest

from fedgrid import extensions
from fedgrid.algorithms import ALGORITHMS, FedAvg
from fedgrid.grid import artefacts
from fedgrid.partitions import PARTITIONS
from fedgrid.registry import REGISTRIES

HALF = """
from dataclasses import dataclass
from fedgrid.algorithms import ALGORITHMS, FedAvg

@ALGORITHMS.register("half_step")
@dataclass(frozen=True)
class HalfStep(FedAvg):
    rate: float = 0.5
"""
ARTEFACT = """
extensions: half
cells: {task: digits_2nn, partition: iid, K: 50, C: 0.1, E: 1, B: 10, lr: 0.1, targets: [0.9], rounds: 5}
grid: [{algorithm: half_step}]
table: {rows: [algorithm], columns: [E], baseline: {E: 1}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of the user's own, where commands run."""
    monkeypatch.chdir(tmp_path)
    for name in ("params", "extensions"):
        (tmp_path / name).mkdir()
    return tmp_path


def write(**sources):
    for name, source in sources.items():
        Path(f"extensions/{name}.py").write_text(source)


def refusal(call, *arguments):
    """The one line that the call says when it refuses; no registry is as before only in part."""
    before = [dict(registry) for registry in REGISTRIES]
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    assert [dict(registry) for registry in REGISTRIES] == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_params_file_names_an_extension_and_its_cells_are_of_what_that_registers():
    write(half=HALF)
    Path("params/mine.yaml").write_text(ARTEFACT)
    (cell,) = artefacts.artefact("mine").cells
    assert cell.settings["algorithm"] == {"name": "half_step", "rate": 0.5}
    assert type(cell.algorithm) is ALGORITHMS["half_step"]


def test_an_artefact_whose_cells_are_anothers_has_its_extensions_too():
    write(half=HALF)
    Path("params/mine.yaml").write_text(ARTEFACT)
    shown = "{kind: curves, y: test_accuracy, lines: best, x: rounds, panels: [], range: {x: [0, 5], y: [0, 1]}}"
    Path("params/a_figure.yaml").write_text(f"cells_of: mine\nfigure: {shown}\n")
    assert list(artefacts.all_cells()) == [cell.name for cell in artefacts.artefact("a_figure").cells]


def test_an_extension_is_run_once_and_is_the_same_module_for_all_who_ask():
    write(half=HALF + "print('run')")
    assert extensions.load("half") is extensions.load("half") is sys.modules["fedgrid_extensions.half"]


def test_one_extension_may_import_another_and_either_may_be_named_first():
    write(half=HALF, more="from fedgrid_extensions.half import HalfStep\n" + HALF.replace("half_step", "other"))
    more, half = map(extensions.load, ("more", "half"))
    assert extensions.source(ALGORITHMS["other"]) is more
    assert extensions.source(ALGORITHMS["half_step"]) is half


def test_the_source_of_a_choice_and_of_an_instance_is_the_extension_that_brought_it_and_of_fedgrids_own_none():
    write(half=HALF)
    module = extensions.load("half")
    assert module.__file__ == str(Path("extensions/half.py").absolute())
    assert extensions.source(ALGORITHMS["half_step"]) is extensions.source(module.HalfStep(0.1)) is module
    assert extensions.source(FedAvg()) is extensions.source(PARTITIONS["iid"]) is None


def test_an_installed_package_offers_an_extension_by_an_entry_point(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder / "site")
    (folder / "site/their-1.dist-info").mkdir(parents=True)
    (folder / "site/their-1.dist-info/METADATA").write_text("Name: their\nVersion: 1\n")
    entries = "[fedgrid.extensions]\nhalf = their_package.methods\ngone = their_package.gone\n"
    (folder / "site/their-1.dist-info/entry_points.txt").write_text(entries)
    (folder / "site/their_package").mkdir()
    (folder / "site/their_package/methods.py").write_text(HALF)
    assert extensions.load("half").__name__ == "their_package.methods"
    assert extensions.source(ALGORITHMS["half_step"]).__name__ == "their_package.methods"
    assert "extension 'gone': ModuleNotFoundError: No module named 'their_package.gone'" in refusal(
        extensions.load, "gone"
    )
    assert "there are: gone, half" in refusal(extensions.load, "none")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\ndef f(:\n", "extensions/bad.py, line 2: SyntaxError: "),
        ("import torch\n\n1 / 0\n", "extensions/bad.py, line 3: ZeroDivisionError: division by zero"),
        ("from fedgrid.rng import stream\n\nstream()\n", "extensions/bad.py, line 3: TypeError: "),
        ("import sys\nsys.exit('enough')\n", "extensions/bad.py, line 2: SystemExit: enough"),
        ("raise ValueError('a\\nb')\n", "extensions/bad.py, line 1: ValueError: a b"),
        ("x = 1\n", "extensions/bad.py registers nothing; it needs, say, @ALGORITHMS.register('bad')"),
        (HALF.replace("half_step", "fedavg"), "line 5: ValueError: algorithm 'fedavg' is there already, in fedgrid; "),
        (HALF.replace("half_step", "Half"), "line 5: ValueError: algorithm 'Half': a name is lower-case letters"),
        (HALF + "ALGORITHMS['fedavg'] = HalfStep\n", "extensions/bad.py replaces algorithm 'fedavg'; register another"),
        (HALF + "1 / 0\n", "extensions/bad.py, line 9: ZeroDivisionError"),
    ],
    ids=["syntax", "error", "theirs in ours", "exit", "lines", "nothing", "taken", "no name", "replaced", "half way"],
)
def test_what_is_wrong_with_an_extension_is_one_line_with_file_and_line_and_leaves_nothing(source, said):
    write(bad=source)
    assert said in refusal(extensions.load, "bad")
    assert "fedgrid_extensions.bad" not in sys.modules
    write(bad=HALF + "# mended")
    assert extensions.load("bad").HalfStep is ALGORITHMS["half_step"]


def test_a_name_that_two_extensions_register_is_refused_and_both_files_are_named():
    write(half=HALF, again=HALF)
    extensions.load("half")
    said = refusal(extensions.load, "again")
    assert said.startswith("extensions/again.py, line 5: ValueError: algorithm 'half_step' is there already, in /")
    assert "extensions/half.py; choose another name" in said


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("gone", "no extension 'gone': no extensions/gone.py, nor has an installed package one; there are: mine"),
        ("my-method", "extension 'my-method': a name is letters, digits and _, no digit first; rename it"),
        ("../up", "extension '../up': a name is"),
        ("{a: b}", "extensions is {'a': 'b'}; it is a list of names, such as [my_method]"),
        ("[1]", "extensions is [1]; it is a list of names"),
    ],
)
def test_a_params_file_that_names_no_extension_is_named(declared, said):
    write(mine=HALF)
    Path("params/one.yaml").write_text(ARTEFACT.replace("half", declared, 1))
    for read in (artefacts.all_cells, artefacts.extend_all):
        assert f"params/one.yaml: {said}" in refusal(read)
