"""The law of the wheel: it carries all that a folder of a user's own takes from fedgrid, as it lies in the clone."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHIPPED = ["Snakefile", "workflow/**/*", "profiles/**/*", "params/datasets.yaml", "params/paper.yaml"]


def test_a_wheel_carries_modules_templates_and_what_the_workflow_needs(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    carried = zipfile.ZipFile(wheel)
    held = set(carried.namelist())
    package = {path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(ROOT / "src").as_posix() for path in package if ".egg-info" not in str(path)} <= held
    for pattern in SHIPPED:
        for path in filter(Path.is_file, ROOT.glob(pattern)):
            name = f"fedgrid/repository/{path.relative_to(ROOT).as_posix()}"
            assert carried.read(name) == path.read_bytes()
