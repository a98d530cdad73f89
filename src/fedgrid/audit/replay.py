"""Replay: a few cells' first rounds, run again and compared with what their records say.

Whoever reads records cannot tell a curve that was trained from one that was made up; whoever trains again can. The
few cells that must stand for all are chosen by nobody: they are those whose sha256 of the manifest's chain and their
name is least, which is known only once the records are sealed, and is then the same for everyone.

The same engine, torch and machine must give the same bits. Elsewhere sums are rounded in another order, and what a
rounding changes grows with each step: it turns a ReLU here and there, and near divergence it soon decides everything.
So elsewhere only the first evaluated round is compared, at the rates below the record's best (where none is, at the
smallest), and to a tolerance. It is about thrice what 51 records were seen to differ by when their processor's AVX-512
kernels were exchanged for AVX2's: there, accuracies by 0.0036 and losses by 0.6 % at most; at the best rates, which are
nearest to divergence, by 0.09 and 16 %.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from itertools import count, islice
from typing import Any

import torch

from fedgrid import files, numerics
from fedgrid.audit import Campaign, Finding, manifest
from fedgrid.audit.origins import MACHINE, deciding, machine
from fedgrid.curves import SCHEDULES, best_rate
from fedgrid.engine import products
from fedgrid.grid import artefacts
from fedgrid.grid.cells import Cell, Interpolation, Race
from fedgrid.grid.plan import examples_per_round, training_examples
from fedgrid.results import replays
from fedgrid.results.replays import Replay
from fedgrid.run import interpolation, job, locks, provenance, race, sources

SAMPLE = 6  # cells
ROUNDS = 2  # of each, at most
BUDGET = 2e12  # floating-point operations of training: a minute or less on one thread
PATIENCE = 10  # times as much, at most, for the first evaluated round of a record where all are run again
TOLERANCE = {"accuracy": 0.01, "loss": 0.02}  # a loss's relative to the record's

load_data = cache(job.load_data)
Curves = Mapping[str, Any]


def rounds(cell: Cell, times: float = 1) -> int:
    """How many of its first rounds a replay of the cell runs, the last one evaluated; 0 where none can be afforded.

    As many as the budget allows; where that is none, up to the first evaluated one, if so many times the budget do.
    """
    if not isinstance(cell, Race):
        return 1
    train = training_examples(cell.dataset)
    each = examples_per_round(cell, train) * cell.model.flops
    judging = train * len(cell.lr) * cell.model.forward_flops * cell.train_loss
    evaluated = islice(filter(SCHEDULES[cell.evaluate], count(1)), ROUNDS)
    costs = [(t * each + n * judging, t) for n, t in enumerate(evaluated, 1)]
    within = [t for cost, t in costs if cost <= BUDGET] or [t for cost, t in costs[:1] if cost <= times * BUDGET]
    return max(within, default=0)


def sample(campaign: Campaign) -> list[str]:
    """The names of the cells to replay; ValueError where the records are not sealed."""
    place = manifest.path(campaign.seal)
    if not place.is_file():
        raise ValueError(f"{place}: no manifest; seal the records with `{campaign.sealing}`")
    chain = manifest.read(place).chained
    names = [name for name in campaign.records if rounds(campaign.cells[name])]
    return sorted(names, key=lambda name: hashlib.sha256(f"{chain} {name}".encode()).digest())[:SAMPLE]


def left_out(campaign: Campaign) -> Iterator[Finding]:
    """A note of the records that no sample holds, because a replay of them takes too long."""
    dear = [campaign.cells[name].task for name in campaign.records if not rounds(campaign.cells[name])]
    if dear:
        says = f"never replayed: their first evaluated round costs more than {BUDGET / 1e12:g} TFLOP"
        yield Finding("replay", f"{len(dear)} records", f"{says} ({', '.join(sorted(set(dear)))})", note=True)


def replay(campaign: Campaign, name: str) -> Finding:
    """What running the cell's first rounds again finds; a note where its record's curves begin like that.

    A note, too, where this machine cannot compute portable numbers.
    """
    cell, one = campaign.cells[name], campaign.records[name]
    if cell.numerics == numerics.PORTABLE:
        try:
            numerics.check()
        except ValueError as error:
            return Finding("replay", name, f"not tried: {error}", note=True)
    others = elsewhere(cell, one["provenance"])
    compared = compare(cell, one["curves"], rounds(cell))
    if compared is None:
        return Finding("replay", name, "its curves are not of the form that its cell gives")
    same, apart, proven = compared
    says, stands = verdict(same, apart, others)
    weights = "" if proven is None else f"; the weights are the same up to round {proven}"
    return Finding("replay", name, f"run again, its curves begin {says}{weights}", note=not stands)


def verdict(same: bool, apart: Mapping[str, float], others: Sequence[str]) -> tuple[str, bool]:
    """How the curves begin, and whether that is a finding; `others` decided the record's bits and are not as here."""
    made = f"made with another {', '.join(others)}" if others else "made with the same engine, torch and machine"
    if same or not others:
        return f"{'with the same bits' if same else 'otherwise'}; {made}", not same
    measured = ", ".join(f"{what} differs by {much:.2g}" for what, much in apart.items())
    return f"{'otherwise' if far(apart) else 'near enough'}: {measured}; {made}", far(apart)


def far(apart: Mapping[str, float]) -> bool:
    """Whether curves are further apart than another machine explains."""
    return any(apart[what] > most for what, most in TOLERANCE.items())


def affordable(campaign: Campaign) -> list[str]:
    """The names of the records that `replay --all` runs again."""
    return [name for name in campaign.records if rounds(campaign.cells[name], PATIENCE)]


def kept(campaign: Campaign, name: str, among: Sequence[Replay]) -> bool:
    """Whether the record has been run again on this machine already, as it is and by the engine as it is."""
    cell = campaign.cells[name]
    return any(one.machine == machine_here(cell) for one in replays.of(cell, among, campaign.folder))


def proof(campaign: Campaign, name: str) -> Replay:
    """What running the cell's first rounds again finds, to be kept; ValueError where this machine cannot."""
    cell, one = campaign.cells[name], campaign.records[name]
    where, others = machine_here(cell), elsewhere(cell, one["provenance"])
    none = False, dict.fromkeys(TOLERANCE, math.inf), None
    same, apart, _ = compare(cell, one["curves"], rounds(cell, PATIENCE)) or none
    found = replays.SAME if same else replays.OTHERWISE if far(apart) or not others else replays.NEAR
    differs = {} if same else {what: much if math.isfinite(much) else None for what, much in apart.items()}
    return Replay(name, files.sha256(campaign.path(name)), sources.digest(cell), where, found, differs)


def compare(cell: Cell, curves: Curves, last: int) -> tuple[bool, dict[str, float], int | None] | None:
    """Whether the cell's first rounds, run again, give the record's bits, how far they are apart, and `proven`.

    None where the record's curves are not of the form that its cell gives.
    """
    found = again(cell, last)
    try:
        apart = differences(cell, curves, found)
        return head(cell, curves, last) == as_told(found, curves), apart, proven(curves, found)
    except (ValueError, IndexError):
        return None


def as_told(found: Curves, curves: Curves) -> dict[str, Any]:
    """What was found, without digests of weights where the record has none, as the first records have not."""
    if "rates" not in found or all("weights" in rate for rate in curves["rates"]):
        return dict(found)
    return {**found, "rates": [{key: one for key, one in rate.items() if key != "weights"} for rate in found["rates"]]}


def proven(curves: Curves, found: Curves) -> int | None:
    """The last evaluated round up to which all weights are the record's; 0 where the first are others.

    None where the record has no digests of weights.
    """
    rates = list(zip(curves.get("rates", ()), found.get("rates", ()), strict=True))
    if not rates or not all("weights" in then for then, _ in rates):
        return None
    evaluated = 0
    for i, t in enumerate(found["rounds"]):
        if any(then["weights"][i : i + 1] != now["weights"][i : i + 1] for then, now in rates):
            break
        evaluated = t
    return evaluated


def again(cell: Cell, last: int) -> dict[str, Any]:
    """The curves of the cell's first rounds, as a record holds them; of averages, those at both ends of θ."""
    if cell.numerics == numerics.PORTABLE:
        return numerics.elsewhere(cell.numerics, __name__, "portably", cell.name, last)
    return trained(cell, last)


def portably(name: str, last: int) -> dict[str, Any]:
    """The same of the portable cell of that name, by a process that was started for it."""
    products.portable()
    return trained(artefacts.all_cells()[name], last)


def trained(cell: Cell, last: int) -> dict[str, Any]:
    """The same, by this process as it is."""
    torch.set_num_threads(1)
    data = load_data(cell.dataset)
    drawn = job.partition_of(cell, data)
    with locks.own_gpu():
        if isinstance(cell, Interpolation):
            _, final = interpolation.parents(cell, data, drawn, job.device(cell))
            low, *_, high = interpolation.mixing_weights(cell)
            return interpolation.averages(cell, data, final, [low, high], job.workers(cell))
        assert isinstance(cell, Race)
        for lap in race.laps(cell, data, drawn, race.start(cell), job.device(cell), job.workers(cell)):
            if lap.t == last:
                break
    curves = {"rounds": lap.rounds, "rates": [job.finite(asdict(rate)) for rate in lap.rates]}
    return json.loads(json.dumps(curves))


def elsewhere(cell: Cell, made: Mapping[str, Any]) -> list[str]:
    """What decides the bits and is not as it was when a record of that provenance was made."""
    engine = ["engine"] if made["engine"] != sources.digest(cell) else []
    then, now = machine(made, deciding(cell)), machine_here(cell, deciding(cell))
    return [*engine, *(what for what in now if then[what] != now[what])]


def machine_here(cell: Cell, among: Iterable[str] = ()) -> dict[str, str]:
    """The machine that the cell would be run on, as `machine` reads one off a provenance; by default, all that is kept.

    Beside what native numbers depend on, that is what the cell's own do.
    """
    hardware = provenance.hardware(job.device(cell), job.workers(cell))
    portable = {"instructions": products.INSTRUCTIONS} if cell.numerics == numerics.PORTABLE else {}
    return machine(
        {"libraries": provenance.libraries(), "hardware": hardware | portable}, among or {*MACHINE, *deciding(cell)}
    )


def head(cell: Cell, curves: Curves, last: int) -> dict[str, Any]:
    """What a record's curves say of its rounds up to the last that a replay runs; of averages, of both ends of θ."""
    if isinstance(cell, Interpolation):
        ends = {key: [curves[key][0], curves[key][-1]] for key in ("theta", "train_loss")}
        return ends | {"parents": curves["parents"]}
    n = sum(t <= last for t in curves["rounds"])
    rates: list[dict[str, Any]] = [
        {key: kept[:n] if isinstance(kept, list) else kept for key, kept in rate.items()} for rate in curves["rates"]
    ]
    for rate in rates:
        rate["diverged"] = early(rate["diverged"], last)
        if early(rate.get("pruned"), last) is None:
            rate.pop("pruned", None)
    return {"rounds": curves["rounds"][:n], "rates": rates}


def early(t: int | None, last: int) -> int | None:
    """The round, if it is none after the last."""
    return t if t is not None and t <= last else None


def differences(cell: Cell, curves: Curves, found: Curves) -> dict[str, float]:
    """The greatest difference of an accuracy, and of a loss relatively, between a record's curves and those found."""
    apart = dict.fromkeys(TOLERANCE, 0.0)
    for what, recorded, now in pairs(cell, curves, found):
        apart[what] = max(apart[what], difference(recorded, now, relative=what == "loss"))
    return apart


def pairs(cell: Cell, curves: Curves, found: Curves) -> Iterator[tuple[str, Sequence[Any], Sequence[Any]]]:
    """What is compared elsewhere: "accuracy" or "loss", the record's values, those found; ValueError where none can."""
    if isinstance(cell, Interpolation):
        for key in ("train_loss", "parents"):
            yield "loss", head(cell, curves, 1)[key], found[key]
        return
    if curves["rounds"][:1] != found["rounds"][:1]:
        raise ValueError("evaluated in another round")
    best = best_rate(cell.lr, [rate["test_accuracy"] for rate in curves["rates"]])
    calm = [lr for lr in cell.lr if lr < (best or 0)] or cell.lr[:1]
    for rate, other in zip(curves["rates"], found["rates"], strict=True):
        if rate["lr"] in calm:
            for key in ("test_accuracy", "test_loss", "train_loss"):
                yield key.partition("_")[2], rate[key][:1], other[key][:1]


def difference(recorded: Sequence[Any], now: Sequence[Any], relative: bool) -> float:
    """The greatest difference of two values at the same place; infinite where one of them is missing."""
    if len(recorded) != len(now):
        return math.inf
    apart = [0.0]
    for a, b in zip(recorded, now, strict=True):
        if a != b:
            apart.append(math.inf if None in (a, b) else abs(a - b) / (abs(a) if relative and a else 1))
    return max(apart)
