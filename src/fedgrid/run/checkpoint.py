"""Keeps an unfinished race as a file: written whole or not at all, and read back only by the same race."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedgrid import files
from fedgrid.engine.states import States
from fedgrid.run import race

Machine = Mapping[str, Any]  # what `provenance.hardware` says of it


def path(folder: Path, name: str, device: str) -> Path:
    """Where the checkpoint of the race of that name lies; a GPU's has its model in its name.

    A job may come back on another model, whose sums are others: it begins anew, and leaves the first one's work alone.
    """
    model = "" if device == "cpu" else "." + re.sub(r"[^\w-]+", "-", device)
    return folder / f"{name}{model}.npz"


def save(path: Path, who: dict[str, str], lap: race.Lap, seconds: float, machines: Sequence[Machine]) -> None:
    """Writes the race so far, its seconds and the machines that it ran on, whole or not at all."""
    tensors = {"w": lap.w} | named(lap.states)
    state = {one.name: getattr(lap, one.name) for one in fields(lap) if one.name not in ("w", "states")}
    state["rates"] = [asdict(rate) for rate in lap.rates]
    arrays: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    with files.whole(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays, state=np.array(json.dumps([who, state, seconds, machines])))


def named(states: States) -> dict[str, torch.Tensor]:
    """The tensors of the states by where they stand: server/<name>, client/<k>/<name>."""
    server = {f"server/{name}": one for name, one in states.server.items()}
    return server | {f"client/{k}/{name}": one for k, kept in states.clients.items() for name, one in kept.items()}


def states(tensors: Mapping[str, torch.Tensor]) -> States:
    """The states of which those are the tensors."""
    server: dict[str, torch.Tensor] = {}
    clients: dict[int, dict[str, torch.Tensor]] = {}
    for place, tensor in tensors.items():
        match place.split("/"):
            case ["server", name]:
                server[name] = tensor
            case ["client", k, name]:
                clients.setdefault(int(k), {})[name] = tensor
    return States(server, clients)


def read(path: Path, who: dict[str, str]) -> tuple[race.Lap, float, list[Machine]] | None:
    """The race, its seconds and machines so far; None where there is none, or only a broken one or another race's."""
    try:
        kept = files.arrays(path)
        whose, state, seconds, machines = json.loads(str(kept["state"]))
        others = [key for key in who if whose.get(key) != who[key]]
        rates = tuple(race.Rate(**tuples(rate)) for rate in state["rates"])
        tensors = {name: torch.from_numpy(array) for name, array in kept.items() if name != "state"}
        w = tensors.pop("w")
        lap = race.Lap(**(tuples(state) | {"w": w, "states": states(tensors), "rates": rates}))
        seconds = float(seconds)
        machines = [one | {key: str(one[key]) for key in ("processor", "instructions")} for one in machines]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # JSON of another form
        print(f"{path}: no checkpoint ({error}); starting from round 0", file=sys.stderr)
        return None
    if others:
        print(f"{path}: of another {', '.join(others)}; starting from round 0", file=sys.stderr)
        return None
    return lap, seconds, machines


def tuples(plain: dict[str, Any]) -> dict[str, Any]:
    """The same with JSON's lists as the tuples they were."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
