"""`python -m bench.peers.run PEER TASK`, in that peer's environment: trains each rate, prints what the clock saw."""

import json
import os
import sys
from importlib import import_module

from bench.peers.task import Clock, Task, read


def main(peer: str, text: str) -> None:
    """Prints, as the last line, a JSON list of the rates' rounds."""
    task = Task.read(text)
    train = import_module(f"bench.peers.{peer}").train
    data = read(task.data)
    told = []
    for lr in task.rates:
        clock = Clock(task)
        train(task, data, lr, clock)
        told.append(clock.told(lr))
    if os.environ.get("RANK", "0") == "0":  # of pfl-research's processes, the first
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
