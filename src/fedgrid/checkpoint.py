"""A race so far, as a file: written whole or not at all, and read back only by the same race."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedgrid import files, race


def save(path: Path, who: dict[str, str], lap: race.Lap, seconds: float) -> None:
    """Writes the race so far, whole or not at all."""
    state = {key: value for key, value in asdict(lap).items() if key != "w"}
    with files.whole(path) as partial, partial.open("wb") as file:
        np.savez(file, w=lap.w.cpu().numpy(), state=np.array(json.dumps([who, state, seconds])))


def read(path: Path, who: dict[str, str]) -> tuple[race.Lap, float] | None:
    """The race and its seconds so far; None where there is none, or only a broken one or another race's."""
    try:
        kept = files.arrays(path)
        whose, state, seconds = json.loads(str(kept["state"]))
        w = torch.from_numpy(kept["w"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        print(f"{path}: no checkpoint ({error}); starting from round 0", file=sys.stderr)
        return None
    if whose != who:
        print(f"{path}: of another engine, data or partition; starting from round 0", file=sys.stderr)
        return None
    rates = tuple(race.Rate(**tuples(rate)) for rate in state["rates"])
    return race.Lap(**(tuples(state) | {"w": w, "rates": rates})), seconds


def tuples(plain: dict[str, Any]) -> dict[str, Any]:
    """The same with JSON's lists as the tuples they were."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
