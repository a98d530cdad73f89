"""A cell's digest says what its curve depends on: the same wherever it lies and however it is laid out, and no less."""

import ast
import importlib.util
import itertools
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fedgrid.engine.layers import Linear
from fedgrid.engine.model import Layered
from fedgrid.grid.cells import cell
from fedgrid.run import sources
from fedgrid.run.provenance import PACKAGE
from fedgrid.run.sources import Sources
from fedgrid.tasks import TASKS, Task
from fedgrid.tasks.datasets import DATASETS, DatasetInfo, mnist
from fedgrid.tasks.initial import inits

COMMON = {"K": 50, "E": 1, "B": 10, "lr": 0.1}
RACE = COMMON | {"C": 0.1, "targets": [], "rounds": 2}
SHARDS = ("fedprox", "fedavgm")
CELLS = {
    **{task: cell(RACE | {"task": task, "partition": "iid"}) for task in ("mnist_2nn", "mnist_cnn", "digits_2nn")},
    "cifar": cell(RACE | {"task": "cifar", "partition": "iid"}),
    **{task: cell(RACE | {"task": task, "partition": "natural"}) for task in ("shakespeare", "words_posts")},
    **{name: cell(RACE | {"task": "mnist_2nn", "partition": "shards", "algorithm": name}) for name in SHARDS},
    "sgd": cell(RACE | {"task": "mnist_2nn", "partition": "iid", "algorithm": "sgd", "K": 1, "C": 1}),
    "average": cell(COMMON | {"task": "mnist_2nn", "partition": "iid", "shared_start": True}, kind="interpolation"),
}
TEXTS = {"shakespeare", "words_posts"}
GREY = set(CELLS) - TEXTS - {"cifar"}
# The modules that a number may depend on, each with the cells that it counts for.
EVERYWHERE = (
    *("rng", "curves", "run/race", "partitions/partition"),
    *(f"algorithms/{name}" for name in ("batches", "cohorts", "costs", "fedavg", "messages")),
    *("tasks/initial", "tasks/datasets/dataset"),
    *("engine/evaluation", "engine/examples", "engine/federation", "engine/layers", "engine/memory", "engine/model"),
    *("engine/precision", "engine/ranks", "engine/rows", "engine/states", "engine/steps", "engine/width"),
    *("engine/workers", "numerics"),
)
REACH = {path: set(CELLS) for path in EVERYWHERE} | {
    "run/interpolation": {"average"},
    **{f"algorithms/{name}": {name} for name in ("fedprox", "fedavgm", "sgd")},
    "partitions/cuts": set(CELLS) - TEXTS,
    "partitions/iid": set(CELLS) - TEXTS - set(SHARDS),
    "partitions/shards": set(SHARDS),
    "partitions/natural": TEXTS,
    "engine/convolutional": {"mnist_cnn", "cifar"},
    "engine/recurrent": TEXTS,
    "tasks/inputs/grey_images": GREY,
    "tasks/inputs/colour_images": {"cifar"},
    "tasks/inputs/texts": TEXTS,
    "tasks/datasets/mnist": GREY - {"digits_2nn"},
    "tasks/datasets/digits": {"digits_2nn"},
    "tasks/datasets/cifar10": {"cifar"},
    "tasks/datasets/shakespeare": {"shakespeare"},
    "tasks/datasets/words": {"words_posts"},
    "tasks/datasets/corpora": {"words_posts"},
}


def within(tree, **elsewhere):
    """Where modules lie in a copy of the package; some under names that this process does not know."""

    def find(module):
        path = tree / elsewhere.get(module, module).replace(".", "/")
        return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)

    return find


@pytest.fixture
def tree(tmp_path):
    """The folder of a copy of the package, to be altered."""
    shutil.copytree(PACKAGE, tmp_path / "fedgrid", ignore=shutil.ignore_patterns("__pycache__", "templates"))
    return tmp_path


@pytest.fixture
def digests(monkeypatch):
    """The digests of all cells, by sources that are found in this way."""

    def made(find=sources.place):
        monkeypatch.setattr(sources, "HERE", Sources(find))
        return {name: sources.digest(one) for name, one in CELLS.items()}

    return made


def every_source(tree, change):
    """Rewrites each module of the copy."""
    for path in sorted(tree.rglob("*.py")):
        path.write_bytes(change(path.read_text()).encode())


def documented(text):
    """The source as Python itself would write it, each docstring another, and imports in another order."""
    parsed = ast.parse(text)
    for node in ast.walk(parsed):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                node.body.pop(0)
            node.body.insert(0, ast.Expr(ast.Constant("Said otherwise.")))
    imports = [node for node in parsed.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in imports:
        node.names.reverse()
    parsed.body = [parsed.body[0], *reversed(imports), *(one for one in parsed.body[1:] if one not in imports)]
    return ast.unparse(parsed)


UNCHANGED = {
    "comments": lambda text: f"# once\n{text}\n# and again\n",
    "line ends": lambda text: text.replace("\n", "\r\n"),
    "blank lines": lambda text: text.replace("\n\n\n", "\n\n\n\n\n").replace("\n\n", "\n\n\n"),
    "docstrings, layout and the order of imports": documented,
}


@pytest.mark.parametrize("change", UNCHANGED.values(), ids=UNCHANGED)
def test_what_changes_no_number_changes_no_digest(tree, digests, change):
    before = digests()
    every_source(tree, change)
    assert digests(within(tree)) == before


def moved(tree, module, to):
    """Moves a module of the copy and rewrites all that import it, as a person would."""
    place = tree / to.replace(".", "/")
    place.parent.mkdir(parents=True, exist_ok=True)
    (tree / module.replace(".", "/")).with_suffix(".py").rename(place.with_suffix(".py"))
    package, _, name = module.rpartition(".")
    into, _, called = to.rpartition(".")
    bound = name if called == name else f"{called} as {name}"
    every_source(
        tree,
        lambda text: text.replace(f"from {module} import", f"from {to} import").replace(
            f"from {package} import {name}\n", f"from {into} import {bound}\n"
        ),
    )


MOVES = {
    "fedgrid.engine.layers": "fedgrid.engine.parts.dense",
    "fedgrid.engine.workers": "fedgrid.engine.zebra",
    "fedgrid.rng": "fedgrid.algorithms.rng",
    "fedgrid.tasks.datasets.dataset": "fedgrid.tasks.stored",
    "fedgrid.algorithms.fedavg": "fedgrid.algorithms.averaging",
    "fedgrid.tasks.inputs.grey_images": "fedgrid.tasks.datasets.grey",
}


@pytest.mark.parametrize("module, to", MOVES.items(), ids=MOVES)
def test_a_module_may_move(tree, digests, module, to):
    before = digests()
    moved(tree, module, to)
    assert not any(f"{module} import" in path.read_text() for path in tree.rglob("*.py"))
    assert digests(within(tree, **{module: to})) == before


def test_modules_that_moved_are_found_by_python_itself(tree):
    """The package elsewhere, three of its modules moved, imported by another process."""
    for module in ("fedgrid.engine.layers", "fedgrid.tasks.datasets.dataset", "fedgrid.rng"):
        moved(tree, module, MOVES[module])
    ask = (
        "from fedgrid.grid.cells import cell\nfrom fedgrid.run import sources\n"
        f"print(sources.digest(cell({CELLS['mnist_cnn'].settings})), sources.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", ask], cwd=tree, env={"PYTHONPATH": str(tree)}, capture_output=True)
    digest, file = done.stdout.decode().split()
    assert (digest, Path(file).parents[2]) == (sources.digest(CELLS["mnist_cnn"]), tree)


def constant(text):
    """The source with its last number another."""
    parsed = ast.parse(text)
    *_, last = [
        node for node in ast.walk(parsed) if isinstance(node, ast.Constant) and type(node.value) in (int, float)
    ]
    last.value += 1
    return ast.unparse(parsed)


def operator(text):
    """The source with its first operator another."""
    parsed = ast.parse(text)
    first = next(node for node in ast.walk(parsed) if isinstance(node, ast.BinOp | ast.Compare | ast.BoolOp))
    if isinstance(first, ast.BinOp):
        first.op = ast.Sub() if isinstance(first.op, ast.Add) else ast.Add()
    elif isinstance(first, ast.BoolOp):
        first.op = ast.Or() if isinstance(first.op, ast.And) else ast.And()
    else:
        first.ops[0] = ast.Gt() if isinstance(first.ops[0], ast.GtE) else ast.GtE()
    return ast.unparse(parsed)


def statement(text):
    """The source and one assignment more."""
    return f"{text}\nANOTHER = 1\n"


@pytest.mark.parametrize("path", REACH)
def test_a_module_counts_for_the_cells_that_reach_it_and_for_no_other(tmp_path, digests, path):
    before = digests()
    text = (PACKAGE / f"{path}.py").read_text()
    for change in (constant, operator, statement):
        try:
            changed = change(text)
        except (ValueError, StopIteration):  # it has no number or no operator
            assert change is not statement
            continue
        place = tmp_path / f"{change.__name__}.py"
        place.write_text(changed)
        name = f"fedgrid.{path.replace('/', '.')}"
        now = digests(lambda module, place=place, name=name: place if module == name else sources.place(module))
        assert {one for one in CELLS if now[one] != before[one]} == REACH[path]


def test_no_module_is_left_out_of_that_table(digests):
    digests()
    counted = {str(path.relative_to(PACKAGE).with_suffix("")) for path in sources.HERE.digests}
    assert counted == set(REACH)


@pytest.mark.parametrize("package", ["algorithms", "partitions", "tasks", "tasks/datasets", "tasks/inputs"])
def test_one_more_choice_changes_no_cell_that_did_not_choose_it(tree, digests, package):
    before = digests()
    (tree / f"fedgrid/{package}/another.py").write_text("def another(): ...\n")
    init = tree / f"fedgrid/{package}/__init__.py"
    init.write_text(
        f"{init.read_text()}\nfrom fedgrid.{package.replace('/', '.')}.another import another\nONE = [another]\n"
    )
    assert digests(within(tree)) == before


def test_another_model_s_layer_changes_the_models_beside_it_alone(tree, digests):
    before = digests()
    for path in ("convolutional", "recurrent"):
        place = tree / f"fedgrid/engine/{path}.py"
        place.write_text(f"{place.read_text()}\n\nclass Another(Weights): ...\n")
    now = digests(within(tree))
    assert {one for one in CELLS if now[one] != before[one]} == TEXTS | {"mnist_cnn", "cifar"}


def test_another_model_of_the_same_layers_has_another_digest(monkeypatch):
    before = sources.digest(CELLS["mnist_2nn"])
    monkeypatch.setitem(TASKS, "mnist_2nn", replace(TASKS["mnist_2nn"], model=Layered((Linear(784, 10),))))
    assert sources.digest(cell(RACE | {"task": "mnist_2nn", "partition": "iid"})) != before


def test_which_of_a_module_s_functions_a_task_chose_is_told(monkeypatch):
    before = sources.digest(CELLS["mnist_2nn"])
    monkeypatch.setitem(DATASETS, "mnist", DatasetInfo(mnist.read_idx))
    assert sources.digest(CELLS["mnist_2nn"]) != before


# A user's own files.


@pytest.fixture
def extension(tmp_path, monkeypatch):
    """The digest of a cell whose model has a layer of a user's file, as that file has it."""
    numbers = itertools.count()

    def made(text):
        path = tmp_path / f"mine{next(numbers)}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("fedgrid_extensions.mine", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        monkeypatch.setitem(TASKS, "mine", Task("digits", module.MODEL))
        (init, *_) = inits(module.MODEL)
        return sources.digest(cell(RACE | {"task": "mine", "partition": "iid", "init": init}))

    return made


MINE = """
from dataclasses import dataclass
from fedgrid.engine.layers import Linear
from fedgrid.engine.model import Layered
from fedgrid.engine.recurrent import Embedding

@dataclass(frozen=True)
class Mine(Embedding):
    vocabulary: int = 2
    width: int = 3

MODEL = Layered((Linear(64, 10), Mine()))
"""
NET = """
from torch import nn
from fedgrid.tasks import Module

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 10))

MODEL = Module(Net, inputs=(64,), classes=10)
"""


def test_a_file_of_the_user_s_counts_like_one_of_ours(extension, tmp_path, monkeypatch):
    before = extension(MINE)
    assert extension(f'"""Mine."""\n{MINE}# my own\n'.replace("\n", "\r\n")) == before
    assert extension(MINE.replace("width: int = 3", "width: int = 3\n    depth = 4")) != before
    path = tmp_path / "recurrent.py"
    path.write_text(statement((PACKAGE / "engine/recurrent.py").read_text()))
    monkeypatch.setattr(
        sources, "HERE", Sources(lambda name: path if name == "fedgrid.engine.recurrent" else sources.place(name))
    )
    assert extension(MINE) != before


def test_what_is_written_in_an_nn_module_counts(extension):
    before = extension(NET)
    assert extension(NET.replace("class Net", "# a net\nclass Net")) == before
    assert extension(NET.replace("30", "31")) != before
    assert extension(NET.replace("ReLU", "Tanh")) != before


def test_what_has_no_python_file_is_refused_by_its_name(monkeypatch):
    says = {len: "builtins: it has no Python file", partial(len): "no digest can say what it computes"}
    for inputs, said in says.items():
        monkeypatch.setitem(TASKS, "mnist_2nn", replace(TASKS["mnist_2nn"], inputs=inputs))
        with pytest.raises(ValueError, match=said):
            sources.digest(CELLS["mnist_2nn"])


# A package made up: how an import is told.

FILES = {
    "__init__": "from .deep.rates import rate\nfrom torch import Tensor\nOWN = 1\n",
    "method": "import numpy as np\nfrom mine import helpers, rate\n\ndef f():\n    return helpers.g(rate)\n",
    "helpers": "from fedgrid import rng\nfrom fedgrid.tasks import TASKS\n\ndef g(x):\n    return 2 * x\n",
    "deep/__init__": "",
    "deep/rates": "rate = 0.1\n",
}


@pytest.fixture
def mine(tmp_path):
    """The digest of the user's `mine.method`, its package's files those above but for the ones given."""
    trees = (tmp_path / str(n) for n in itertools.count())

    def made(changed):
        tree = next(trees)
        for name, text in (FILES | changed).items():
            place = tree / f"mine/{name}.py"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        find = within(tree)
        return Sources(lambda name: find(name) if name.startswith("mine") else sources.place(name)).digest(
            "mine.method"
        )

    return made


def edited(name, before, after):
    """That file with one text in place of another."""
    assert before in FILES[name]
    return {name: FILES[name].replace(before, after)}


@pytest.mark.parametrize(
    "same",
    [
        {"deep/rates": "# slow\nrate = 0.1  # and steady\n"},
        edited("method", "from mine import helpers, rate", "from . import rate\nfrom . import helpers"),
        edited("method", "helpers, rate", "helpers\nfrom mine.deep.rates import rate"),
        edited("method", "f():", "f():\n    'It returns.'"),
        edited("__init__", ".deep.rates", "mine.deep.rates"),
        edited("__init__", "OWN = 1", "OWN = 2"),  # nothing imports it
    ],
)
def test_imports_are_the_same_however_they_are_written(mine, same):
    assert mine(same) == mine({})


@pytest.mark.parametrize(
    "other",
    [
        edited("deep/rates", "0.1", "0.2"),
        edited("deep/rates", "0.1", "'0.1'"),
        edited("helpers", "2 * x", "2 + x"),
        edited("helpers", "2 * x", "2.0 * x"),
        edited("helpers", "from fedgrid import rng\n", ""),
        edited("helpers", "TASKS", "Task"),
        edited("method", "import numpy as np", "import torch as np"),
        edited("method", "import numpy as np", "from numpy import random as np"),
        edited("method", "helpers, rate", "helpers, OWN as rate"),
        edited("method", "def f()", "async def f()"),
        edited("method", "return", ""),
    ],
)
def test_other_code_has_another_digest(mine, other):
    assert mine(other) != mine({})


def test_what_a_package_s_own_file_defines_counts_where_it_is_imported(mine):
    method = edited("method", "rate", "OWN")
    assert mine(method) != mine(method | edited("__init__", "OWN = 1", "OWN = 2"))


def test_modules_that_import_each_other_are_refused_by_name(mine):
    both = {
        "deep/rates": "from mine.helpers import g\nrate = 0.1\n",
        "helpers": "from mine.deep.rates import rate\ng = rate\n",
    }
    with pytest.raises(ValueError, match=r"\.py: it imports a module that imports it"):
        mine(both)


def test_a_module_that_is_no_python_is_refused_by_name(mine):
    with pytest.raises(ValueError, match=r"rates\.py: not readable as Python: "):
        mine({"deep/rates": "rate = \n"})


def test_a_module_is_refused_for_the_same_reason_however_often_it_is_asked_of(tmp_path):
    (tmp_path / "mine.py").write_text("from mine.deep import x\n")
    asked = Sources(lambda name: tmp_path / "mine.py" if name == "mine" else None)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"mine\.deep: it has no Python file"):
            asked.digest("mine")
