"""Laws of what a record tells of its origin: the patch of a dirty tree, SLURM's grant, memory, digests of weights."""

import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from fedgrid.run import provenance
from tests import campaigns

SECRET = "a password that is nobody's business"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository like fedgrid's, clean, in which the package lies."""
    root = tmp_path / "clone"
    for name, text in {
        "src/fedgrid/rng.py": "SEED = 0\n",
        "params/table.yaml": "E: 1\n",
        "extensions/own.py": "ETA = 1\n",
        "notes.txt": "none\n",
        ".gitignore": "*.secret\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.chdir(root)
    campaigns.commit()
    monkeypatch.setattr(provenance, "PACKAGE", root / "src/fedgrid")
    return root


def edited(root):
    """The tree, edited in each way."""
    (root / "src/fedgrid/rng.py").write_text("SEED = 1   \n\nNAME = 'ü'\n\n")
    (root / "src/fedgrid/new file.py").write_text("NEW = 1\n")
    (root / "src/fedgrid/blob.bin").write_bytes(bytes(range(256)))
    (root / "params/table.yaml").unlink()
    (root / "extensions/own.py").write_text("ETA = 2\n")


def test_a_clean_tree_has_no_patch(tree):
    assert provenance.patch() == (None, None)
    assert provenance.commit()["dirty"] is False


def test_the_patch_makes_the_tree_from_its_commit(tree, tmp_path):
    edited(tree)
    digest, text = provenance.patch()
    assert provenance.commit()["dirty"] is True
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    again = tmp_path / "again"
    subprocess.run(["git", "clone", "-q", tree, again], check=True)
    subprocess.run(["git", "-C", again, "apply", "-"], input=text.encode(), check=True)
    for folder in ("src", "params", "extensions"):
        mine, theirs = (
            {path.relative_to(root): path.read_bytes() for path in (root / folder).rglob("*") if path.is_file()}
            for root in (tree, again)
        )
        assert mine == theirs


def test_staged_changes_are_in_the_patch_and_the_index_is_left_alone(tree):
    edited(tree)
    subprocess.run(["git", "add", "src/fedgrid/rng.py", "src/fedgrid/new file.py"], check=True)
    before = (tree / ".git/index").read_bytes()
    _, text = provenance.patch()
    assert "SEED = 1" in text and "NEW = 1" in text
    assert (tree / ".git/index").read_bytes() == before


def test_nothing_beside_sources_params_and_extensions_is_in_the_patch(tree, tmp_path):
    (tmp_path / "outside").write_text(SECRET)
    for name in ("notes.txt", "data.txt", "src/fedgrid/key.secret", "docs/page.md"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(SECRET)
    (tree / "src/fedgrid/link").symlink_to(tmp_path / "outside")
    edited(tree)
    _, text = provenance.patch()
    assert SECRET not in text and "notes.txt" not in text and "docs" not in text


def test_a_user_s_settings_of_git_do_not_change_the_patch(tree):
    edited(tree)
    plain = provenance.patch()
    for key, value in {"diff.noprefix": "true", "color.ui": "always", "diff.external": "/bin/false"}.items():
        subprocess.run(["git", "config", key, value], check=True)
    assert provenance.patch() == plain


@pytest.mark.parametrize("content", [b"x = 1\n" * 20_000, b"x = '\xff'\n"], ids=["long", "no UTF-8"])
def test_a_patch_that_a_record_does_not_hold_has_a_digest(tree, content):
    (tree / "src/fedgrid/new.py").write_bytes(content)
    digest, text = provenance.patch()
    assert text is None and len(digest) == 64


def test_of_a_package_in_someone_else_s_repository_nothing_is_told(tree, monkeypatch):
    installed = tree / "src/lib/fedgrid"
    installed.mkdir(parents=True)
    (tree / "src/business.py").write_text(SECRET)
    monkeypatch.setattr(provenance, "PACKAGE", installed)
    assert provenance.patch() == (None, None)


def test_without_git_there_is_no_patch(tree, monkeypatch):
    edited(tree)
    monkeypatch.setenv("PATH", "/nowhere")
    assert provenance.patch() == (None, None)


NOTHING = {"cpus": None, "gpus": None, "memory_mb": None, "seconds": None}
ASKED = {
    "SLURM_CPUS_PER_TASK": "2",
    "SLURM_GPUS_ON_NODE": "1",
    "SLURM_MEM_PER_NODE": "4000",
    "SLURM_JOB_START_TIME": "1700000000",
    "SLURM_JOB_END_TIME": "1700003600",
}


def test_what_slurm_gave_is_told_and_elsewhere_nothing(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    assert provenance.requested() == NOTHING
    for name, value in ASKED.items():
        monkeypatch.setenv(name, value)
    assert provenance.requested() == {"cpus": 2, "gpus": 1, "memory_mb": 4000, "seconds": 3600}
    for name in ASKED:
        monkeypatch.setenv(name, "4G")
    assert provenance.requested() == NOTHING


def test_peak_memory_is_what_the_process_held_in_bytes():
    before = provenance.peak_memory(torch.device("cpu"))
    held = np.ones(2**28, np.uint8)
    after = provenance.peak_memory(torch.device("cpu"))
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    assert after["device"] is None and held.nbytes <= after["host"]
    assert before["host"] <= after["host"] and abs(after["host"] - peak) < 2**26


def test_a_digest_of_weights_is_the_head_of_their_sha256_and_tells_the_least_change():
    w = torch.from_numpy(np.arange(12, dtype="<f4").reshape(3, 4))
    digests = provenance.weights_digests(w)
    rows = [np.arange(4 * i, 4 * i + 4, dtype="<f4").tobytes() for i in range(3)]
    assert digests == [hashlib.sha256(row).hexdigest()[:16] for row in rows]
    w[1, 2] = torch.nextafter(w[1, 2], torch.tensor(9.0))
    moved = provenance.weights_digests(w)
    assert moved[::2] == digests[::2] and moved[1] != digests[1]
    assert provenance.weights_digests(w.T.contiguous().T) == moved
