"""Laws of security: each attack is made for real, runs nothing, and is refused in one line."""

import ast
import hashlib
import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml

from fedgrid import files
from fedgrid.__main__ import main
from fedgrid.grid import artefacts
from fedgrid.grid.cells import cell
from fedgrid.run import checkpoint, job
from fedgrid.tasks import fetch
from fedgrid.tasks.datasets import DATASETS, cifar10, corpora, digits

ROOT = Path(__file__).parents[1]
PWNED = "pwned"  # the file that an attack leaves where it runs
NAMES = ["x; touch pwned", "$(touch pwned)", "`touch pwned`", "-x", "x\ny", "a|b", ".."]
CELL = {"task": "digits_2nn", "partition": "iid", "K": 50, "C": 0.1, "E": 1, "B": 10, "lr": 0.1, "targets": [0.9]}
DECLARED = {"cells": CELL | {"rounds": 5}, "grid": [{"seed": 0}]}
TABLE = {"rows": ["E"], "columns": ["partition"], "baseline": {"E": 1}}


class Payload:
    """What touches a file when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {PWNED}",)


@pytest.fixture(autouse=True)
def untouched(tmp_path, monkeypatch):
    """A working folder of the test's own, in and above which nothing is left by an attack."""
    folder = tmp_path / "work/here"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("FEDGRID_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield
    assert [path for path in tmp_path.rglob("*") if path.name == PWNED] == []


def refusal(call, *arguments):
    """The one line that the call says when it refuses."""
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_payload_runs_where_it_is_unpickled():
    pickle.loads(pickle.dumps(Payload()))
    Path(PWNED).unlink()


# Pickles.


def npz_with_a_pickle(path, **plain):
    """An .npz whose array "w" is a pickle with the payload."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, w=np.array([Payload()], dtype=object), indices=np.array([Payload()], dtype=object), **plain)


def test_a_pickle_in_a_checkpoint_is_not_loaded_and_the_race_starts_anew(capsys):
    npz_with_a_pickle(Path("cell.npz"), state=np.array("[]"))
    one = cell(
        {"task": "digits_2nn", "partition": "iid", "C": 0.1, "E": 1, "B": 10, "lr": 0.1, "targets": [], "rounds": 1}
    )
    assert checkpoint.read(Path("cell.npz"), {}, one) is None
    said = capsys.readouterr().err
    assert said.startswith("cell.npz: no checkpoint (cell.npz: damaged (Object arrays cannot be loaded")
    assert said.count("\n") == 1


def test_a_pickle_in_a_partition_or_in_data_is_refused():
    digits.extract(Path("good/digits/digits.npz"))
    dataset = job.load_data("digits", Path("good"))
    npz_with_a_pickle(Path("p.npz"), offsets=np.zeros(2), name=np.array("p"), data=np.array("d"))
    assert "Object arrays cannot be loaded" in refusal(job.read_partition, Path("p.npz"), dataset)
    npz_with_a_pickle(Path("raw/digits/digits.npz"))
    assert "Object arrays cannot be loaded" in refusal(job.load_data, "digits", Path("raw"))
    assert fetch.digest(Path("raw/digits/digits.npz"), ".npz") == "of no .npz file"


def test_a_pickle_in_place_of_an_encoded_corpus_is_refused():
    folder = Path("encoded/posts")
    folder.mkdir(parents=True)
    for name in ("train", "test", "clients"):
        (folder / f"{name}.npy").write_bytes(pickle.dumps(Payload()))
    assert "train.npy: damaged" in refusal(DATASETS["posts"].load, folder)


def cifar(content, path=Path(cifar10.ARCHIVE)):
    """An archive of CIFAR-10 whose batches all hold that."""
    with tarfile.open(path, "w:gz") as archive:
        for member in (*cifar10.TRAIN, *cifar10.TEST):
            add(archive, f"{cifar10.FOLDER}/{member}", content)
    return path


def add(archive, name, content):
    """Adds a file to a tar archive."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    archive.addfile(header, io.BytesIO(content))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_batch_of_cifar10_that_calls_anything_is_refused(protocol):
    cifar(pickle.dumps({b"data": Payload(), b"labels": []}, protocol))
    assert "no archive of CIFAR-10 (it calls " in refusal(cifar10.load, Path())


# Archives.

CLIMBING = ["../pwned", "../../pwned", "/tmp/../pwned", "a/../../pwned"]


def test_no_member_of_a_tar_is_written_anywhere():
    with tarfile.open("x.tar.gz", "w:gz") as archive:
        for name in [*CLIMBING, "good"]:
            add(archive, name, b"content")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("circle")
            link.type, link.linkname = kind, "circle"
            archive.addfile(link)
    before = sorted(Path().rglob("*"))
    md5 = hashlib.md5(b"content").hexdigest()
    assert fetch.members(Path("x.tar.gz")) == {PWNED: md5, "good": md5}
    assert sorted(Path().rglob("*")) == before and not Path("/", PWNED).exists()


@pytest.mark.parametrize("corpus", ["sentiment140", "blogs"])
def test_no_member_of_a_zip_is_written_anywhere(corpus):
    archive = {"sentiment140": "trainingandtestdata.zip", "blogs": "blogs.zip"}[corpus]
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(corpora.TWEETS, '"0","1","date","query","me","hello"\n')
        for name in CLIMBING:
            packed.writestr(f"{name}.xml", "<post>hello</post>")
    before = sorted(Path().rglob("*"))
    assert "hello" in {text for _, text in corpora.READERS[corpus](Path())}
    assert sorted(Path().rglob("*")) == before


def test_an_archive_that_unpacks_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(fetch, "MOST", 3)
    for size, held in ((2 * fetch.PIECE, {"big"}), (4 * fetch.PIECE, set())):
        with tarfile.open("x.tar.gz", "w:gz") as archive:
            add(archive, "big", bytes(size))
        assert set(fetch.members(Path("x.tar.gz"))) == held


def test_a_zip_whose_members_unpack_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(fetch, "MOST", 3)
    for size, count in ((2 * fetch.PIECE, 1), (4 * fetch.PIECE, 0)):
        with zipfile.ZipFile("x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("big", bytes(size))
        assert fetch.of_members(Path("x.zip"))[0] == count


def test_an_array_that_says_it_is_larger_than_memory_is_refused():
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**60,)})
    with zipfile.ZipFile("x.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(10))
    assert "x.npz: damaged" in refusal(files.arrays, Path("x.npz"))
    assert fetch.digest(Path("x.npz"), ".npz") == "of no .npz file"


# YAML.

TAGS = [
    f"!!python/object/apply:os.system ['touch {PWNED}']",
    f"!!python/object/new:subprocess.Popen [[touch, {PWNED}]]",
    f"!!python/name:os.system ''\nx: {PWNED}",
]


@pytest.mark.parametrize("tag", TAGS)
def test_yaml_makes_no_object(tag):
    Path("params").mkdir()
    for name in ("table4", "datasets"):
        Path(f"params/{name}.yaml").write_text(f"title: {tag}\n")
    said = "not readable as YAML: could not determine a constructor"
    assert f"params/table4.yaml: {said}" in refusal(artefacts.artefact, "table4")
    assert f"params/datasets.yaml: {said}" in refusal(fetch.fetch, "mnist")


# Extensions.


@pytest.mark.parametrize("name", [*NAMES, "../evil", "/tmp/evil", "extensions.evil", "os", ""])
def test_no_params_file_has_a_file_run_but_one_in_extensions(name):
    evil = f"from pathlib import Path\nPath({PWNED!r}).touch()\n"
    for place in ("evil.py", "params/evil.py", "extensions/evil.py", "extensions/extensions/evil.py"):
        files.write(Path(place), evil)
    declare("one", table=TABLE, extensions=[name])
    assert refusal(artefacts.artefact, "one").startswith("params/one.yaml: ")
    declare("one", table=TABLE)
    assert artefacts.artefact("one").cells  # one that is not named is not run


# Names.


def declare(name, **more):
    """The artefact of that name, declared in params/."""
    files.write(Path(f"params/{name}.yaml"), yaml.safe_dump({"title": name} | DECLARED | more))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_a_shell_or_a_path_could_mistake_is_no_artefact_and_no_dataset(name):
    declare("other", table=TABLE)
    assert "no name of an artefact" in refusal(artefacts.artefact, name)
    files.write(
        Path("params/datasets.yaml"), yaml.safe_dump({name: {"train": 9, "sources": ["."], "files": {"a": "0" * 64}}})
    )
    assert "no name of a dataset" in refusal(fetch.fetch, name)
    files.write(
        Path("params/datasets.yaml"), yaml.safe_dump({"d": {"train": 9, "sources": ["."], "files": {name: "0" * 64}}})
    )
    assert "which is not a file's name and sha256" in refusal(fetch.fetch, "d")


def test_another_artefacts_cells_lie_in_params():
    Path("../secret.yaml").write_text(yaml.safe_dump(DECLARED))
    Path("params").mkdir()
    Path("params/x.yaml").write_text("title: x\ncells_of: ../../secret\nfigure: {kind: interpolation}\n")
    assert "no name of an artefact" in refusal(artefacts.artefact, "x")


@pytest.mark.parametrize("verb", ["run", "partition", "table", "explain", "fetch", "encode"])
def test_a_verb_takes_no_name_that_is_not_declared(verb, capsys):
    declare("one", table=TABLE)
    files.write(
        Path("params/datasets.yaml"), yaml.safe_dump({"d": {"train": 9, "sources": ["."], "files": {"a": "0" * 64}}})
    )
    for name in ("../../x", f"x; touch {PWNED}", f"$(touch {PWNED})"):
        with pytest.raises(SystemExit):
            main([verb, name])
        assert capsys.readouterr().err.count("\n") <= 1


@pytest.mark.parametrize("title", ["x\n\\input{/etc/passwd}", "x\r\\input{y}", "x\u2028y", ""])
def test_a_title_is_one_line_for_in_latex_it_is_a_comment(title):
    declare("one", table=TABLE, title=title)
    assert "params/one.yaml: title is" in refusal(artefacts.artefact, "one")


def test_a_title_is_never_a_command(capsys):
    title = f"$(touch {PWNED}); `touch {PWNED}` =cmd|'/c calc'!A1 \\input{{x}}"
    declare("one", table=TABLE, title=title)
    for name in ("paper", "datasets"):
        shutil.copy(ROOT / f"params/{name}.yaml", "params")
    main(["table", "one"])
    (csv, tex) = (Path(f"results/tables/one.{suffix}").read_text() for suffix in ("csv", "tex"))
    assert tex.splitlines()[0] == f"% {title}"
    assert "cmd" not in csv
    assert not [line for line in csv.splitlines() for value in line.split(",") if value[:1] in ("=", "+", "-", "@")]


@pytest.fixture
def checkout(tmp_path):
    """The rules and params in a folder of their own, and Snakemake there: whether it failed, and what it said."""
    tree = tmp_path / "tree"
    for name in ("Snakefile", "workflow", "params", "profiles"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, files_parent(tree) / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def snakemake(target):
        command = ("snakemake", "--cores", "1", "--", target)
        done = subprocess.run(command, cwd=tree, env=os.environ | {"PATH": path}, capture_output=True, text=True)
        return done.returncode != 0, done.stdout + done.stderr

    return tree, snakemake


def files_parent(folder):
    """The folder, made."""
    folder.mkdir(exist_ok=True)
    return folder


def named_artefact(tree):
    shutil.copy(tree / "params/quickstart.yaml", tree / f"params/x; touch {PWNED}.yaml")
    return f"results/tables/x; touch {PWNED}.md", "no name of an artefact"


def named_dataset(tree):
    return declared_file(tree, f"x; touch {PWNED}", "a"), "does not match"


def named_file(tree):
    return declared_file(tree, "digits", f"x; touch {PWNED}"), "does not match"


def climbing_file(tree):
    return declared_file(tree, "digits", f"../../../{PWNED}"), "does not match"


def declared_file(tree, dataset, file):
    """Declares that file of that dataset; its path."""
    path = tree / "params/datasets.yaml"
    declared = yaml.safe_load(path.read_text())
    declared[dataset] = {"train": 1, "sources": ["scikit-learn"], "files": {file: "0" * 64}}
    path.write_text(yaml.safe_dump(declared))
    return f"data/raw/{dataset}/{file}"


@pytest.mark.fault
@pytest.mark.parametrize("attack", [named_artefact, named_dataset, named_file, climbing_file])
def test_no_declared_name_reaches_a_rules_shell(checkout, attack):
    tree, snakemake = checkout
    target, said = attack(tree)
    failed, output = snakemake(target)
    assert failed
    assert [line for line in output.splitlines() if "params" in line and said in line], output


# Mirrors.


class Hostile(BaseHTTPRequestHandler):
    """Answers with a redirection to `server.to`, or with what it likes."""

    def do_GET(self):
        self.send_response(302 if self.server.to else 200)
        if self.server.to:
            self.send_header("Location", self.server.to)
        self.end_headers()
        self.wfile.write(b"" if self.server.to else b"what it likes")

    def log_message(self, *_):
        pass


@pytest.fixture
def hostile():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as host:
        host.to = None
        thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield host
        host.shutdown()
        thread.join()


@pytest.mark.parametrize("to", [None, "file:///etc/passwd", "ftp://127.0.0.1:9/x", "/again"])
def test_a_mirror_can_neither_slip_in_a_file_nor_have_one_of_ours_read(hostile, to, capsys):
    hostile.to = to
    pinned = hashlib.sha256(Path("/etc/passwd").read_bytes() if to == "file:///etc/passwd" else b"pinned").hexdigest()
    declared = {"d": {"train": 9, "sources": [f"http://127.0.0.1:{hostile.server_port}"], "files": {"a": pinned}}}
    files.write(Path("params/datasets.yaml"), yaml.safe_dump(declared))
    assert "data/raw/d/a: not to be had" in refusal(fetch.fetch, "d")
    assert list(Path("data/raw/d").iterdir()) == []


# The sources.

FORBIDDEN_IMPORTS = {"pickle", "cPickle", "_pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib", "pty", "imp"}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.spawnl", "os.execv", "tempfile.mktemp"),
    *("torch.load", "torch.jit.load", "pd.read_pickle", "pandas.read_pickle", "np.fromregex", "shutil.unpack_archive"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.Loader", "yaml.UnsafeLoader"),
}
EXTRACTION = {"extractall", "unpack_archive"}
# An unpickler that knows arrays of bytes and nothing else.
EXCEPTIONS = {("tasks/datasets/cifar10.py", "imports pickle")}


def breaches(path):
    """What a source does that none may."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.partition(".")[0] in FORBIDDEN_IMPORTS)
        if isinstance(node, ast.Call):
            called, given = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
            if called in FORBIDDEN_CALLS or called.rpartition(".")[2] in EXTRACTION:
                yield f"calls {called}"
            if called in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
                yield "loads with numpy and does not forbid pickles"
            if given.get("shell", "False") != "False":
                yield f"calls {called} with a shell"


def test_no_source_unpickles_evaluates_extracts_or_calls_a_shell():
    package = ROOT / "src/fedgrid"
    sources = sorted(package.rglob("*.py"))
    assert len(sources) > 30
    found = {(path.relative_to(package).as_posix(), breach) for path in sources for breach in breaches(path)}
    assert found == EXCEPTIONS


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from pickle import loads", "import joblib.memory", "eval('1')", "torch.load(path)"),
        *("np.load(path)", "np.load(path, allow_pickle=True)", "yaml.load(text, yaml.Loader)", "tar.extractall()"),
        *("subprocess.run(line, shell=True)", "os.system(line)"),
    ],
)
def test_the_law_of_the_sources_sees_a_breach(source, tmp_path):
    (tmp_path / "source.py").write_text(source)
    assert list(breaches(tmp_path / "source.py"))


# Files.


def test_what_is_written_is_readable_as_the_umask_says_and_never_executable():
    mask = os.umask(0o027)
    try:
        files.write(Path("made.json"), "{}")
    finally:
        os.umask(mask)
    assert Path("made.json").stat().st_mode & 0o777 == 0o640
