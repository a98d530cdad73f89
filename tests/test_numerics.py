"""Portable numbers have the same bits everywhere: on this machine whatever its shell says, and those of other machines.

The digests below were the same on a Zen 3 and on it as ten other processors of Intel and AMD, with and without
AVX-512 and AMX, with caches of other sizes (docs/performance.md says how).
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgrid import numerics
from fedgrid.__main__ import main
from fedgrid.audit import replay
from fedgrid.commands import campaign as campaign_of
from fedgrid.engine import products
from fedgrid.grid import artefacts
from fedgrid.grid.cells import cell
from fedgrid.run import job, record, sources
from tests.campaigns import ROOT, SMALL
from tests.test_job import PLAIN

VERSIONS = {"torch": "2.13.0", "numpy": "2.4.6"}  # whose kernels gave the digests; others may sum otherwise
DIGESTS = {
    "digits 2NN": "c9045128060b4a99",
    "2NN, B = 10": "bb608c7c608b573e",
    "2NN, B = 10, five rates": "1d47ea19cff1c526",
    "2NN, B = inf": "e14f40e0ed6b5f2d",
    "2NN, B = inf, five rates": "eb4b7121c6a1e018",
    "CNN, B = 10": "a9fae682abd96c71",
    "CNN, B = 10, three rates": "fea5a123defd11ca",
    "CNN, B = inf": "69f506202983f3f2",
    "CIFAR-10's CNN": "3e64b758c445e78d",
    "character LSTM": "d874c275d8165436",
    "character LSTM, three rates": "e75ac76071cc014b",
    "word LSTM": "6661e53a073df7d9",
}
HOSTILE = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Sandybridge",
    "OPENBLAS_NUM_THREADS": "2",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA",
}
PORTABLE = PLAIN | {"numerics": "portable"}


def fit():
    """Whether this machine can compute portable numbers."""
    try:
        numerics.check()
        return True
    except ValueError:
        return False


avx2 = pytest.mark.skipif(not fit(), reason="needs Linux on x86-64 with AVX2")
known = pytest.mark.skipif(
    {"torch": torch.__version__.partition("+")[0], "numpy": np.__version__} != VERSIONS,
    reason="the digests are of other versions of torch and numpy",
)


def start(*arguments, **said):
    """A finished process of those arguments, whose shell says that beside."""
    found = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    surroundings = os.environ | found | said
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=surroundings, check=False)


@avx2
@known
def test_every_kind_of_work_has_the_bits_that_other_machines_gave_it_whatever_the_shell_says():
    done = start("-m", "tests.digests", **HOSTILE)
    assert not done.stderr and json.loads(done.stdout) == DIGESTS


@avx2
def test_what_changes_a_portable_process_after_it_began_is_named_and_does_not_start_it_for_ever(tmp_path):
    script = (
        "import os; os.environ['MKL_NUM_THREADS'] = '1'; from fedgrid.numerics import *; become(PORTABLE, ['again'])"
    )
    (tmp_path / "again.py").write_text(script)
    done = start("-c", script, PYTHONPATH=f"{ROOT / 'src'}{os.pathsep}{tmp_path}")
    says = "ValueError: numerics: portable: MKL_NUM_THREADS was set after the process began; no extension may set it"
    assert done.stderr.splitlines()[-1] == says


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
    """A folder with a campaign of a native and a portable race, run by one command in a hostile shell, and sealed."""
    folder = tmp_path_factory.mktemp("portable")
    (folder / "params").mkdir()
    for name in ("paper", "datasets"):
        shutil.copy(ROOT / f"params/{name}.yaml", folder / "params")
    declared = SMALL.replace("partition: [iid, shards]", "partition: iid, numerics: [native, portable]")
    declared = declared.replace("columns: [partition]", "columns: [numerics]").replace("[partition]", "[numerics]")
    (folder / "params/small.yaml").write_text(declared)
    with contextlib.chdir(folder):
        names = [one.name for one in artefacts.artefact("small").cells]
        main(["fetch", "digits"])
        main(["partition", "digits-iid-K50-s0"])
        done = start("-m", "fedgrid", "run", *names, **HOSTILE)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(record.path(name)) for name in names]
        main(["manifest", "small"])
    return folder


@pytest.fixture
def cells(portable, monkeypatch):
    """The two cells, in their folder."""
    monkeypatch.chdir(portable)
    return {one.numerics: one for one in artefacts.artefact("small").cells}


@avx2
def test_one_command_runs_cells_of_both_numerics(cells):
    made = {kind: record.read(record.path(one.name)) for kind, one in cells.items()}
    assert made["portable"]["settings"]["numerics"] == "portable" and "numerics" not in made["native"]["settings"]
    assert made["portable"]["provenance"]["hardware"]["instructions"] == "AVX2"
    native, portable = (one["curves"]["rates"][0]["test_loss"] for one in (made["native"], made["portable"]))
    assert native != portable and native == pytest.approx(portable, rel=1e-4)


@avx2
def test_a_portable_record_is_replayed_bit_for_bit_from_a_native_process(cells):
    campaign = campaign_of(["small"])
    name = cells["portable"].name
    campaign.records[name]["provenance"]["hardware"] |= {"processor": "Z80"}
    says = replay.replay(campaign, name).says
    made = "run again, its curves begin with the same bits; made with the same engine, torch and machine"
    assert says == f"{made}; the weights are the same up to round 2"


@pytest.mark.parametrize("section, key", [("libraries", "numpy"), ("libraries", "torch")])
def test_libraries_decide_portable_bits_and_the_processor_does_not(cells, section, key):
    name = cells["portable"].name
    made = record.read(record.path(name))["provenance"]
    assert replay.elsewhere(cells["portable"], made) == []
    made["hardware"] |= {"processor": "Z80", "instructions": "none"}
    assert replay.elsewhere(cells["portable"], made) == []
    made[section] |= {key: "another"}
    assert replay.elsewhere(cells["portable"], made) == [key]


@avx2
def test_a_process_that_did_not_begin_as_a_portable_one_computes_no_portable_cell(tmp_path):
    with pytest.raises(ValueError, match="a process that began with it; run its cells by `python -m fedgrid run`"):
        job.run(cell(PORTABLE), tmp_path, tmp_path, tmp_path)


def test_a_portable_process_has_no_other_word_for_its_libraries(monkeypatch):
    for key, value in HOSTILE.items():
        monkeypatch.setenv(key, value)
    assert not numerics.here("portable") and numerics.here("native")
    for key in list(os.environ):
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", "/")
    for key, value in numerics.TOLD.items():
        monkeypatch.setenv(key, value)
    assert numerics.here("portable") and numerics.environment() == numerics.TOLD | {"HOME": "/"}


@pytest.mark.parametrize(
    "machine, flags, has",
    [("aarch64", None, "aarch64, not Linux"), ("x86_64", "fma avx", "x86_64, without AVX2")],
)
def test_a_machine_that_cannot_is_told_in_one_line(tmp_path, machine, flags, has):
    cpuinfo = tmp_path / "cpuinfo"
    if flags:
        cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags}\n")
    says = "numerics: portable needs Linux on an x86-64 processor with AVX2; here is " + has
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        numerics.check(cpuinfo, machine)


def test_portable_numbers_are_float32():
    with pytest.raises(ValueError, match="precision is bf16; it must be float32 where numerics is portable"):
        cell(PORTABLE | {"precision": "bf16"})


def test_numerics_is_part_of_a_cell_s_name_and_leaves_the_old_ones():
    native = cell(PLAIN)
    assert native.name == cell(PLAIN | {"numerics": "native"}).name != cell(PORTABLE).name
    assert sources.digest(native) != sources.digest(cell(PORTABLE))


@avx2
def test_products_are_those_of_float64_whatever_their_layout():
    done = start("-c", "from tests import test_numerics as here; here.compare()", **numerics.TOLD)
    assert done.returncode == 0, done.stderr


@settings(deadline=None)
@given(st.data())
def compare(data):
    """Each overridden product, of any shape and layout, against numpy's in float64."""
    products.portable()
    size = st.integers(1, 9)
    replicas, m, n, k = (data.draw(size) for _ in range(4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    a, b, c = (matrices(data, rng, replicas, *shape) for shape in ((m, k), (k, n), (m, n)))
    beta, alpha = data.draw(st.sampled_from([(1, 1), (1, -1), (0.5, 2)]))
    exact = beta * c.double().numpy() + alpha * np.matmul(a.double().numpy(), b.double().numpy())
    product = np.matmul(a.double().numpy(), b.double().numpy())
    close(torch.bmm(a, b), product)
    close(torch.mm(a[0], b[0]), product[0])
    close(torch.baddbmm(c, a, b, beta=beta, alpha=alpha), exact)
    close(torch.addmm(c[0], a[0], b[0], beta=beta, alpha=alpha), exact[0])
    close(torch.addmm(c[0, :1], a[0], b[0]), c[0, :1].double().numpy() + product[0])
    assert c.baddbmm_(a, b, beta=beta, alpha=alpha) is c
    close(c, exact)


def matrices(data, rng, replicas, rows, columns):
    """Random matrices laid out in one of several ways."""
    whole = torch.from_numpy(rng.standard_normal((replicas, 2 * rows, 2 * columns)).astype(np.float32))
    layouts = {
        "contiguous": lambda: whole[:, :rows, :columns].contiguous(),
        "transposed": lambda: whole[:, :rows, :columns].mT.contiguous().mT,
        "part": lambda: whole[:, :rows, :columns],
        "part, transposed": lambda: whole.mT.contiguous().mT[:, :rows, :columns],
        "every second": lambda: whole[:, ::2, ::2],
        "replicas inside": lambda: whole[:, :rows, :columns].permute(1, 2, 0).contiguous().permute(2, 0, 1),
    }
    return layouts[data.draw(st.sampled_from(sorted(layouts)))]()


def close(found, exact):
    """Whether the product is right to float32's precision."""
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-4, atol=1e-4)
