"""Keeps an unfinished race as a file: written whole or not at all, and read back only by the same race.

It carries a digest of all that it holds. One that does not hold what was written, or what no race can be in, is set
aside under another name, for whoever asks what happened before the race ends, and the race begins anew.

What clients keep lies in a file beside it (`engine.rows`), of which the checkpoint names the rows and their digests.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedgrid import files
from fedgrid.curves import SCHEDULES
from fedgrid.engine import rows
from fedgrid.engine.states import States
from fedgrid.grid.cells import Race
from fedgrid.run import race

Machine = Mapping[str, Any]  # what `provenance.hardware` says of it


def path(folder: Path, name: str, device: str) -> Path:
    """Where the checkpoint of the race of that name lies; a GPU's has its model in its name.

    A job may come back on another model, whose sums are others: it begins anew, and leaves the first one's work alone.
    """
    model = "" if device == "cpu" else "." + re.sub(r"[^\w-]+", "-", device)
    return folder / f"{name}{model}.npz"


def beside(path: Path) -> Path:
    """The file of what clients keep, of the race whose checkpoint lies at path."""
    return path.with_name(f"{path.name}.clients")


def save(path: Path, who: dict[str, str], lap: race.Lap, seconds: float, machines: Sequence[Machine]) -> None:
    """Writes the race so far, its seconds and the machines that it ran on, whole or not at all."""
    clients = lap.states.clients
    tensors = {"w": lap.w} | {f"server/{name}": one for name, one in lap.states.server.items()}
    state = {one.name: getattr(lap, one.name) for one in fields(lap) if one.name not in ("w", "states")}
    state["rates"] = [asdict(rate) for rate in lap.rates]
    arrays: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    arrays |= {f"clients/{name}": array for name, array in clients.index().items()}
    arrays["state"] = np.array(json.dumps([who, state, seconds, machines]))
    clients.flush()
    with files.whole(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays, digest=np.array(digest(arrays)))
    clients.checkpointed()


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of the arrays' names, kinds, shapes and values, in hexadecimal."""
    whole = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        whole.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()


def under(place: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the arrays whose name begins with that place, by the rest of it."""
    return {name.removeprefix(place): one for name, one in arrays.items() if name.startswith(place)}


def read(path: Path, who: dict[str, str], cell: Race) -> tuple[race.Lap, float, list[Machine]] | None:
    """The cell's race, its seconds and machines so far; None where there is none, or only a broken one or another's."""
    try:
        kept = files.arrays(path)
        if str(kept.pop("digest", None)) != digest(kept):
            raise ValueError("its digest is not that of what it holds")
        whose, state, seconds, machines = json.loads(str(kept["state"]))
        others = [key for key in who if whose.get(key) != who[key]]
        rates = tuple(race.Rate(**tuples(rate)) for rate in state["rates"])
        w = torch.from_numpy(kept["w"])
        server = {name: torch.from_numpy(array) for name, array in under("server/", kept).items()}
        index = {} if others else under("clients/", kept)
        clients = rows.named(beside(path), index, form_of(cell), cell.K)
        states = States(server, clients, tuple(state["running"]))
        lap = race.Lap(**(tuples(state) | {"w": w, "states": states, "rates": rates}))
        seconds = float(seconds)
        machines = [one | {key: str(one[key]) for key in ("processor", "instructions")} for one in machines]
        if not others and (fault := next(faults(cell, lap), None)):
            raise ValueError(fault)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # JSON of another form
        aside = path.replace(path.with_name(f"{path.name}.damaged"))
        if beside(path).is_file():
            beside(path).replace(beside(aside))
        print(f"{path}: no checkpoint ({error}); set aside as {aside.name}; starting from round 0", file=sys.stderr)
        return None
    if others:
        print(f"{path}: of another {', '.join(others)}; starting from round 0", file=sys.stderr)
        return None
    return lap, seconds, machines


def faults(cell: Race, lap: race.Lap) -> Iterator[str]:
    """What no race of the cell can have come to. Each may presuppose that there was none before it."""
    if type(lap.t) is not int or not 0 < lap.t <= cell.rounds:
        yield f"t is {lap.t}, no round from 1 to {cell.rounds}"
    if tuple(rate.lr for rate in lap.rates) != cell.lr:
        yield "its learning rates are not the cell's"
    if lap.running != tuple(i for i, rate in enumerate(lap.rates) if runs(rate)):
        yield f"running is {lap.running}, not the rates that have not ended"
    shape = len(lap.running), cell.model.parameters
    if lap.w.dtype != race.WEIGHTS or tuple(lap.w.shape) != shape:
        yield f"its weights are {lap.w.dtype} {tuple(lap.w.shape)}, not {race.WEIGHTS} {shape}"
    if not lap.w.isfinite().all():
        yield "its weights are not finite"
    if any(kept.shape != lap.w.shape for kept in lap.states.server.values()):
        yield "what its server keeps has another shape than its weights"
    scheduled = tuple(filter(SCHEDULES[cell.evaluate], range(1, lap.t + 1)))
    if lap.rounds != (scheduled if lap.running else scheduled[: len(lap.rounds)]):
        yield "its evaluated rounds are not the cell's"
    for rate in (lap.rates[i] for i in lap.running):
        if {len(rate.test_accuracy), len(rate.test_loss), len(rate.weights)} != {len(lap.rounds)}:
            yield f"its curve at lr {rate.lr:g} has not a value for each evaluated round"
    yield from lap.states.clients.faults()


def form_of(cell: Race) -> rows.Form:
    """What a client keeps in a race of the cell, which begins with all of its rates."""
    w = torch.zeros(len(cell.lr), cell.model.parameters, dtype=race.WEIGHTS)
    names = tuple(sorted(cell.algorithm.client_state(w)))
    return rows.Form(names, len(cell.lr), cell.model.parameters, w.numpy().dtype.str)


def runs(rate: race.Rate) -> bool:
    """Whether the rate has neither diverged nor left the race."""
    return rate.diverged is None and rate.pruned is None


def tuples(plain: dict[str, Any]) -> dict[str, Any]:
    """The same with JSON's lists as the tuples they were."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
