"""dvc.yaml lists by hand what params/ declares: nothing missing, nothing left over."""

from pathlib import Path

import pytest
import yaml

from fedgrid.grid.artefacts import artefact, artefact_names

ROOT = Path(__file__).parents[1]
STAGE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["paper"]


@pytest.fixture(scope="module")
def declared():
    found = [artefact(name, ROOT / "params") for name in artefact_names(ROOT / "params")]
    return [one for one in found if one.paper]


def test_the_paper_stage_has_every_artefact_as_a_parameter(declared):
    listed = [path for entry in STAGE["params"] for path in entry]
    assert sorted(listed) == [f"params/{one.name}.yaml" for one in declared]


def test_the_paper_stage_has_every_table_figure_and_folder_of_records_that_is_there_as_an_output(declared):
    """DVC commits no output that is not there: a task's folder is listed with its first record."""
    tasks = {f"results/cells/{cell.task}" for one in declared for cell in one.cells}
    expected = {folder for folder in tasks if (ROOT / folder).is_dir()}
    expected |= {"results/README.md", "results/report.html"}
    expected |= {"results/manifests/paper.sha256", "results/replays/paper.json"}
    expected |= {f"results/tables/{one.name}.csv" for one in declared if one.table}
    expected |= {f"results/figures/{one.name}.csv" for one in declared if one.figure}
    outputs = {path: how for entry in STAGE["outs"] for path, how in entry.items()}
    assert set(outputs) == expected
    assert all(how == {"cache": False, "persist": True} for how in outputs.values())  # git keeps them; DVC deletes none
