"""What each of several processes does that share cells: `python -m tests.sharing ORDERS`, by torchrun or by hand."""

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta

from fedgrid.algorithms import ALGORITHMS
from fedgrid.engine import ranks
from fedgrid.grid.cells import cell
from fedgrid.run import job, locks, race
from fedgrid.tasks import TASKS, Task
from fedgrid.tasks.models import convolutional
from tests.strangers import Controlled
from tests.trees import ROOT

# Beside what the package has: an algorithm with states at clients and server, and the paper's CNN for small images.
OWN = (
    (ALGORITHMS, "controlled", Controlled),
    (TASKS, "digits_cnn", Task("digits", convolutional(8, 10, 32, 64, hidden=512))),
)


def started(folder, count, cells, each=(), **orders):
    """So many processes in that folder, as torchrun would start them; `each`: what each one's environment has more."""
    orders = json.dumps({"cells": cells} | orders)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environments = [{"RANK": str(rank), "WORLD_SIZE": str(count)} | address for rank in range(count)]
    given = [mine | more for mine, more in zip(environments, each or [{}] * count, strict=True)]
    return [process(folder, [sys.executable, "-m"], orders, environment) for environment in given]


def process(folder, command, orders, environment):
    """The running process of this module, started in that folder by that command; what it says goes to a file."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/src{os.pathsep}{ROOT}"} | environment
    with said(folder, environment.get("RANK", "torchrun")).open("w") as log:
        return subprocess.Popen([*command, "tests.sharing", orders], cwd=folder, env=environment, stderr=log)


def said(folder, rank):
    """The file with what that rank said."""
    return folder / f"rank-{rank}.log"


def made(settings):
    """The cell of those settings, of another kind than a race if they say so."""
    return cell({key: value for key, value in settings.items() if key != "kind"}, settings.get("kind", "race"))


def free_port():
    """A port that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def disturb(at, struck, number):
    """Has a rank send itself a signal after a round; where it is no more to be caught, the round before was kept."""
    job.CHECKPOINT_SECONDS = 0
    undisturbed = race.laps

    def laps(*arguments):
        for lap in undisturbed(*arguments):
            if (lap.t, ranks.rank()) == (at, struck):
                os.kill(os.getpid(), number)
            yield lap

    race.laps = laps


def main(cells, strike=None, timeout=None):
    """Makes the records of those settings, here, and ends as `python -m fedgrid run` does."""
    for registry, name, choice in OWN:
        registry[name] = choice
    if strike:
        disturb(*strike)
    if timeout:
        ranks.TIMEOUT, locks.POLL_SECONDS = timedelta(seconds=timeout), timeout / 10
    try:
        for path in job.settled([made(one) for one in cells]):
            print(path)
    except (ValueError, OSError) as error:
        sys.exit(f"fedgrid run: {error}")


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
