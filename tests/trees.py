"""Checkouts of the project in which tests run its real commands."""

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
NOBODY = {f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@dataclass(frozen=True)
class Tree:
    """A checkout and commands run in it, with this Python and the checkout's own fedgrid."""

    path: Path

    def environment(self, **more):
        strangers = ("FEDGRID_", "MLFLOW_", "SNAKEMAKE_", "DVC_", "GIT_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(strangers)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return kept | NOBODY | {"PATH": path, "PYTHONPATH": str(self.path / "src")} | more

    def start(self, *command, **more):
        """The running command, in a process group of its own, its output in one pipe."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.path, env=self.environment(**more), start_new_session=True, **pipes)

    def run(self, *command, fails=False, **more):
        """What the command prints; it must succeed, or fail if it should."""
        with self.start(*command, **more) as process:
            try:
                output, _ = process.communicate(timeout=600)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert (process.returncode != 0) == fails, output
        return output

    def snakemake(self, *arguments, **more):
        return self.run("snakemake", "--cores", "2", *arguments, **more)

    def planned(self, *targets):
        """How many jobs of each rule Snakemake would run."""
        return jobs(self.snakemake("--dry-run", *targets))

    def commit(self, message):
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def copy(self, path):
        """The same tree elsewhere, times and all, but MLflow's database, which holds absolute paths."""
        return Tree(Path(shutil.copytree(self.path, path, symlinks=True, ignore=shutil.ignore_patterns("mlflow.db*"))))

    def records(self):
        """Every record's text by its file's name."""
        return {path.name: path.read_text() for path in sorted(self.path.glob("results/cells/digits_2nn/*.json"))}

    def edit(self, name, change):
        """Rewrites a params file as `change` leaves what it declares."""
        path = self.path / "params" / f"{name}.yaml"
        declared = yaml.safe_load(path.read_text())
        change(declared)
        path.write_text(yaml.safe_dump(declared, sort_keys=False))

    def partial(self):
        return [str(path) for path in self.path.rglob("*.partial")]


def clone(path, *options):
    """A clone, by git's options, of the working tree as it stands, uncommitted changes included, all committed."""
    tree = Tree(path)
    git = ("git", "-C", str(ROOT), "ls-files", "-z", "--exclude-standard")
    subprocess.run(("git", "clone", "--quiet", *options, ROOT, tree.path), check=True)
    listed = subprocess.run((*git, "--modified", "--others"), capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (tree.path / name).unlink(missing_ok=True)
        if (ROOT / name).is_file():
            (tree.path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree.path / name)
    tree.run("git", "add", "--all")
    tree.run("git", "commit", "--quiet", "--allow-empty", "--message", "as it stands")
    return tree


def jobs(output):
    """How many jobs of each rule the output announces."""
    stats = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)\ntotal ", output, re.DOTALL | re.MULTILINE)
    if not stats:
        assert "Nothing to be done" in output, output
        return {}
    return {rule: int(count) for rule, count in (line.split() for line in stats[1].splitlines())}
