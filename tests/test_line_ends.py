"""A clone made where git is told to write other line ends has every file's own bytes, and audits as any clone does."""

import contextlib
import subprocess

import pytest

from fedgrid import audit
from fedgrid.commands import campaign
from tests.trees import clone


@pytest.fixture(scope="module")
def clones(tmp_path_factory):
    """A clone as git makes one, and one with the setting that Windows has by default."""
    folder = tmp_path_factory.mktemp("clones")
    return clone(folder / "plain"), clone(folder / "windows", "-c", "core.autocrlf=true")


def listed(tree):
    """Each file that git keeps, by its path, as it lies there."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=tree.path, capture_output=True, text=True, check=True)
    return {name: (tree.path / name).read_bytes() for name in filter(None, done.stdout.split("\0"))}


def test_every_file_has_its_own_bytes(clones):
    plain, windows = map(listed, clones)
    assert plain.keys() == windows.keys() and len(plain) > 300
    assert [name for name in plain if plain[name] != windows[name]] == []


def test_it_audits_as_any_clone_does(clones):
    said = []
    for tree in clones:
        with contextlib.chdir(tree.path):
            said.append(audit.audit(campaign(["table4", "figure7"])))
    assert said[0] == said[1]
    assert {one.check for one in said[0] if not one.note} <= {"missing"}
