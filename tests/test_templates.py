"""Laws of what `python -m fedgrid new` writes: it works as it is written, and it overwrites nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from fedgrid import extensions, shipped, templates
from fedgrid.__main__ import main
from fedgrid.algorithms import ALGORITHMS
from fedgrid.grid import artefacts
from fedgrid.partitions import PARTITIONS
from fedgrid.tasks import TASKS
from fedgrid.tasks.datasets import DATASETS

WRITTEN = {"algorithm": ALGORITHMS, "partition": PARTITIONS, "dataset": DATASETS, "model": TASKS}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of one's own, where commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(capsys, *arguments):
    """The one line that the command says when it refuses."""
    with pytest.raises(SystemExit) as caught:
        main(["new", *arguments])
    out, err = capsys.readouterr()
    assert caught.value.code == 1
    assert (out, err.count("\n")) == ("", 1)
    return err


def shortened(name, rounds=2):
    """The params file with that few rounds and one learning rate: what is asked is that it runs."""
    path = Path(f"params/{name}.yaml")
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith(("rounds:", "lr:"))]
    path.write_text("\n".join(lines).replace("\ncells:", f"\ncells:\n  rounds: {rounds}\n  lr: 0.1\n  #"))


@pytest.mark.parametrize("kind", WRITTEN)
def test_an_example_passes_its_own_test_and_its_table_is_made(kind, capsys):
    main(["new", kind, "my_own"])
    *written, then = capsys.readouterr().out.splitlines()
    assert written == ["extensions/my_own.py", "tests/test_my_own.py", "params/my_own.yaml"]
    assert then == "Next: pytest tests/test_my_own.py && snakemake --cores all my_own"
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "tests/test_my_own.py"]
    tested = subprocess.run(command, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout
    shortened("my_own")
    cells = artefacts.artefact("my_own").cells
    assert extensions.source(WRITTEN[kind]["my_own"]).__file__ == str(Path(written[0]).absolute())
    main(["fetch", *{cell.dataset for cell in cells}])
    main(["partition", *{cell.partition_name for cell in cells}])
    main(["run", *(cell.name for cell in cells)])
    for verb in ("table", "figure"):
        main([verb, "my_own"])
    table = Path("results/tables/my_own.md").read_text()
    assert f"{len(cells)} of {len(cells)} cells run" in table
    assert "MyOwn" in table or "my_own" in table


def test_a_campaign_has_a_workflow_an_artefact_and_fedgrids_own_profiles(folder, capsys):
    main(["new", "campaign", "mine"])
    *written, then = capsys.readouterr().out.splitlines()
    assert then == "Next: cd mine && snakemake --cores all"
    assert {*written} == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for profile in (shipped.ROOT / "profiles").rglob("*.yaml"):
        assert (folder / "mine" / profile.relative_to(shipped.ROOT)).read_bytes() == profile.read_bytes()
    assert artefacts.artefact_names(folder / "mine/params") == ["first"]
    assert "\n# mine\n" in f"\n{(folder / 'mine/README.md').read_text()}"


@pytest.mark.parametrize("place", ["extensions/mine.py", "tests/test_mine.py", "params/mine.yaml"])
def test_what_is_there_is_named_and_nothing_is_written(place, folder, capsys):
    Path(place).parent.mkdir()
    Path(place).write_text("mine")
    assert f"{place}: it is there already, and nothing is overwritten" in refusal(capsys, "algorithm", "mine")
    assert [path for path in folder.rglob("*") if path.is_file()] == [Path(place).absolute()]
    assert Path(place).read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("algorithm", "fedavg"), "'fedavg' is fedgrid's own already; choose another name"),
        (("model", "digits_2nn"), "'digits_2nn' is fedgrid's own already"),
        (("dataset", "digits_2nn"), "'digits_2nn' is fedgrid's own already"),
        (("partition", "paper"), "'paper' is fedgrid's own already"),
        (("partition", "table"), "'table' is fedgrid's own already"),
        (("algorithm", "my-method"), "'my-method' is no name for it"),
        (("algorithm", "../up"), "'../up' is no name for it"),
        (("algorithm", "class"), "'class' is no name for it"),
        (("method", "mine"), "unknown kind 'method'; choose from algorithm, partition, dataset, model, campaign"),
    ],
)
def test_a_name_or_kind_that_cannot_be_is_refused(arguments, said, folder, capsys):
    assert said in refusal(capsys, *arguments)
    assert list(folder.iterdir()) == []


def test_a_campaign_goes_into_a_folder_that_has_files_but_none_of_its_own(folder, capsys):
    (folder / "notes.txt").write_text("mine")
    main(["new", "campaign", "."])
    assert "Snakefile" in capsys.readouterr().out
    assert "Snakefile: it is there already" in refusal(capsys, "campaign", ".")


def test_every_template_of_an_extension_is_written():
    assert {*templates.KINDS, "campaign"} == {path.name for path in templates.HERE.iterdir() if path.name[0] != "_"}
