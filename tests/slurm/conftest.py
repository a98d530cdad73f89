"""The cluster that these tests share, and what they tell of faults: docs/reliability.md is written from it.

pytest tests/slurm --tries 3 --reliability docs/reliability.md
"""

import os
from pathlib import Path

import pytest

from tests.slurm import reliability
from tests.slurm.campaign import Campaign, prepare, timeless
from tests.slurm.cluster import Cluster, missing
from tests.trees import clone


def pytest_addoption(parser):
    parser.addoption("--tries", type=int, default=1, help="how often each fault is injected")
    parser.addoption("--reliability", type=Path, help="the page to write from what the tests saw")


def pytest_generate_tests(metafunc):
    if "attempt" in metafunc.fixturenames:
        metafunc.parametrize("attempt", range(metafunc.config.getoption("tries")))


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    """A running cluster, with accounting if the module says so. Where none can be had, tests skip; in CI they fail."""
    cluster = Cluster(tmp_path_factory.mktemp("slurm"), getattr(request.module, "ACCOUNTING", False))
    if lack := missing(cluster.accounting):
        assert not os.environ.get("CI"), lack
        pytest.skip(lack)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(running):
    """The running cluster; no job of the test outlives it."""
    yield running
    running.clear()


@pytest.fixture(scope="session")
def declared(tmp_path_factory):
    """A checkout that declares the campaign, with its data and partition."""
    tree = clone(tmp_path_factory.mktemp("declared") / "clone")
    prepare(tree)
    tree.run("python", "-m", "fedgrid", "fetch", "digits")
    tree.run("python", "-m", "fedgrid", "partition", "digits-iid-K50-s0")
    return Campaign(tree)


@pytest.fixture(scope="session")
def undisturbed(declared, tmp_path_factory):
    """The records of the campaign that nothing happens to, by cell, without what clocks said."""
    calm = declared.copy(tmp_path_factory.mktemp("undisturbed") / "tree")
    calm.tree.run("python", "-m", "fedgrid", "run", *calm.cells)
    return {name: timeless(calm.record(name).read_text()) for name in calm.cells}


@pytest.fixture
def campaign(declared, tmp_path):
    """A copy of the campaign; nothing that it starts outlives the test."""
    campaign = declared.copy(tmp_path / "tree")
    yield campaign
    campaign.stop()


@pytest.fixture
def tell(request):
    """Notes what a fault cost: which it was, how it was injected, records lost, rounds that were trained again."""

    def note(fault, injected, lost, again):
        request.node.user_properties.append(("fault", reliability.Trial(fault, injected, lost, again)))

    return note


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    """Writes the page, if every test of every fault was run, and held."""
    path, seen = config.getoption("reliability"), terminalreporter.stats
    unseen = [what for what in ("failed", "error", "skipped", "deselected") if seen.get(what)]
    if path and (exitstatus or unseen):
        terminalreporter.write_line(f"{path} is not written: {', '.join(unseen) or 'no'} tests")
    elif path:
        trials = [trial for report in seen["passed"] for key, trial in report.user_properties if key == "fault"]
        path.write_text(reliability.page(trials))
