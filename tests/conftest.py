"""What all tests share."""

import socket
import sys
import threading

import pytest
import torch
from hypothesis import HealthCheck, settings

from fedgrid import extensions
from fedgrid.registry import REGISTRIES
from tests import handmade
from tests.hosts import Host

# As in a job: threads inside small operations wait for one another, the longer the busier the machine.
torch.set_num_threads(1)
# A deadline would be a timed assertion.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items):
    """The workflow's laws first: where a core takes a file, the longest should not be begun last."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")


@pytest.fixture(autouse=True)
def own_extensions():
    """Each test loads extensions of its own: none is left to the next."""
    kept, modules = [(registry, dict(registry)) for registry in REGISTRIES], set(sys.modules)
    yield
    extensions.restore(kept)
    extensions.load.cache_clear()
    for name in {name for name in sys.modules if name.startswith(extensions.PACKAGE)} - modules:
        del sys.modules[name]


@pytest.fixture
def host():
    """Starts hosts, and ends them with the test."""
    hosts = []

    def start(*args, **kwargs):
        hosts.append(Host(*args, **kwargs))
        threading.Thread(target=hosts[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return hosts[-1]

    yield start
    for one in hosts:
        one.over.set()
        one.shutdown()
        one.server_close()


@pytest.fixture
def dead():
    """The URL of a port that nobody listens at, nor can until the test ends."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def hand(tmp_path, monkeypatch):
    """The artefact made by hand, declared in the working directory."""
    monkeypatch.chdir(tmp_path)
    return handmade.declare(tmp_path)


@pytest.fixture
def records(hand, tmp_path):
    """Its records by name."""
    return handmade.write(hand, tmp_path)
