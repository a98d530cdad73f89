"""The checks of each claim, on the numbers of one side: ours or the paper's. Pure functions.

A run that did not reach its target took more rounds than any that did. A check that needs a number which is not there
is None: not judged.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from fedgrid.results.claims.sides import Seen, Side, groups, has, number
from fedgrid.results.labels import label
from fedgrid.results.learning_curves import Points

FEDSGD = {"E": 1, "B": "inf"}
TENFOLD = 10  # the abstract's "10-100×"

Check = bool | None
Number = float | None


class Item(NamedTuple):
    """A claim at one place: one side's numbers, and whether they bear it out."""

    where: str
    says: str
    checks: list[Check]


def less(a: Number, b: Number) -> Check:
    """Whether a < b; None where one is missing or neither reached the target."""
    return None if a is None or b is None or a == b == math.inf else a < b


def ratio(above: Number, below: Number) -> Number:
    """above / below; None where one is missing or neither reached the target."""
    return None if above is None or below is None or above == below == math.inf else above / below


def any_above(values: Sequence[Number], bound: float) -> Check:
    """Whether one of the values lies above the bound; None where one that is missing might."""
    known = [value for value in values if value is not None]
    return any(value > bound for value in known) or (False if values and len(known) == len(values) else None)


def shown(value: Number, form: str = "{:.0f}") -> str:
    """A number, by default of rounds."""
    return "—" if value is None else "not reached" if value == math.inf else form.format(value)


def times(factor: Number) -> str:
    """How many times fewer rounds; more than can be told where the slower one did not reach the target."""
    return "∞" if factor == math.inf else shown(factor, "{:.1f}×")


def span(values: Sequence[Number]) -> str:
    """The least and the greatest number of rounds."""
    known = sorted(value for value in values if value is not None)
    return " to ".join(dict.fromkeys(shown(value) for value in known[:1] + known[-1:])) or "—"


def most(speedups: Mapping[str, Number]) -> str:
    """The greatest speedup."""
    return times(max((value for value in speedups.values() if value is not None), default=None))


def more_clients_help(side: Side) -> Iterator[Item]:
    """With B = 10, every C above 0 needs fewer rounds than C = 0."""
    for where, rows in groups(side.rounds("table1", B=10), "task", "partition"):
        one = number(rows, C=0.0)
        says = ", ".join(f"{label(row.at['C'])}: {shown(row.value)}" for row in rows)
        yield Item(where, f"C = {says}", [less(row.value, one) for row in rows if row.at["C"] > 0])


def a_tenth_of_the_clients_helps_most(side: Side) -> Iterator[Item]:
    """With B = 10, C from 0 to 0.1 gains more than C from 0.1 to 1."""
    for where, rows in groups(side.rounds("table1", B=10), "task", "partition"):
        one, tenth, all_of_them = (number(rows, C=C) for C in (0.0, 0.1, 1.0))
        first, rest = ratio(one, tenth), ratio(tenth, all_of_them)
        yield Item(where, f"{times(first)} from C = 0 to 0.1, {times(rest)} from 0.1 to 1", [less(rest, first)])


def clients_help_full_batches_less(side: Side) -> Iterator[Item]:
    """C from 0 to 0.1 gains less with B = ∞ than with B = 10."""
    for where, rows in groups(side.rounds("table1"), "task", "partition"):
        full, small = (ratio(number(rows, B=B, C=0.0), number(rows, B=B, C=0.1)) for B in ("inf", 10))
        yield Item(where, f"{times(full)} with B = ∞, {times(small)} with B = 10", [less(full, small)])


def batches_help_more_than_clients(side: Side) -> Iterator[Item]:
    """At C = 0.1, B from ∞ to 10 gains more than, with B = 10, C from 0.1 to 1."""
    for where, rows in groups(side.rounds("table1"), "task", "partition"):
        start, small = number(rows, B="inf", C=0.1), number(rows, B=10, C=0.1)
        batches, clients = ratio(start, small), ratio(small, number(rows, B=10, C=1.0))
        yield Item(where, f"{times(batches)} by B, {times(clients)} by C", [less(clients, batches)])


def fedavg_needs_fewer_rounds(side: Side) -> Iterator[Item]:
    """On IID data, every row needs fewer rounds than FedSGD."""
    for where, rows in groups(side.rounds("table2", "table4", partition="iid"), "task"):
        others, fedsgd = [row.value for row in rows if not has(row, FEDSGD)], number(rows, **FEDSGD)
        yield Item(where, f"{span(others)} against {shown(fedsgd)}", [less(rounds, fedsgd) for rounds in others])


def more_updates_fewer_rounds(side: Side) -> Iterator[Item]:
    """Of most pairs of rows, the one with the larger u needs fewer rounds."""
    for where, rows in groups(side.rounds("table2", "table4"), "task", "partition"):
        pairs = combinations(sorted(rows, key=lambda row: row.at["u"]), 2)
        checks = [less(more.value, few.value) for few, more in pairs if few.at["u"] < more.at["u"]]
        made = [check for check in checks if check is not None]
        yield Item(where, f"{sum(made)} of {len(made)} pairs", [2 * sum(made) > len(made) if made else None])


def speedups(rows: Sequence[Seen]) -> dict[str, Number]:
    """FedSGD's rounds over those of each other row, by its E and B."""
    fedsgd = number(rows, **FEDSGD)
    return {f"{row.at['E']} {row.at['B']}": ratio(fedsgd, row.value) for row in rows if not has(row, FEDSGD)}


def tenfold(side: Side) -> Iterator[Item]:
    """On IID and natural partitions, the best row needs more than 10× fewer rounds than FedSGD."""
    rows = [row for row in side.rounds("table2", "table4") if row.at["partition"] != "shards"]
    for where, several in groups(rows, "task", "partition"):
        found = speedups(several)
        yield Item(where, f"up to {most(found)}", [any_above([*found.values()], TENFOLD)])


def beside_iid(side: Side, partition: str) -> Iterator[tuple[dict[str, Number], dict[str, Number], Item]]:
    """Of each task that has the partition: the speedups there and on IID data, and an item without checks."""
    for where, rows in groups(side.rounds("table2", "table4"), "task"):
        here, iid = (speedups([row for row in rows if has(row, {"partition": one})]) for one in (partition, "iid"))
        if here:
            yield here, iid, Item(where, f"up to {most(here)} against {most(iid)}", [])


def pathological_gains_less(side: Side) -> Iterator[Item]:
    """On the pathological partition each row's speedup is smaller than on IID data, and the best is above 1."""
    for here, iid, item in beside_iid(side, "shards"):
        smaller = [less(value, iid.get(row)) for row, value in here.items()]
        yield item._replace(checks=[*smaller, any_above([*here.values()], 1)])


def natural_gains_more(side: Side) -> Iterator[Item]:
    """On the natural partition each row's speedup is larger than on IID data."""
    for here, iid, item in beside_iid(side, "natural"):
        yield item._replace(checks=[less(iid.get(row), value) for row, value in here.items()])


def unbalanced_is_easier(side: Side) -> Iterator[Item]:
    """Each row but FedSGD needs fewer rounds on the unbalanced partition than on the balanced one."""
    rows = side.rounds("unbalanced")
    for row in rows:
        kind, _, unequal = row.at["partition"].partition("_")
        if unequal and not has(row, FEDSGD):
            balanced = number(
                rows, partition=kind, **{name: row.at[name] for name in ("task", "C", "E", "B", "target")}
            )
            where = f"{label(row.at['task'])}, {label(kind)}, E = {row.at['E']}, B = {label(row.at['B'])}"
            yield Item(where, f"{shown(row.value)} against {shown(balanced)}", [less(row.value, balanced)])


def fedavg_needs_fewer_rounds_than_sgd(side: Side) -> Iterator[Item]:
    """To each target, FedAvg takes more than 10× fewer rounds than plain SGD takes updates."""
    for _, rows in groups(side.rounds("table3"), "target"):
        sgd, fedavg = number(rows, algorithm="sgd"), number(rows, algorithm="fedavg", E=5, B=50)
        says = f"{shown(fedavg)} against {shown(sgd)}: {times(ratio(sgd, fedavg))}"
        yield Item(f"to {100 * rows[0].at['target']:g} %", says, [less(TENFOLD, ratio(sgd, fedavg))])


def words_need_fewer_rounds(side: Side) -> Iterator[Item]:
    """FedAvg with B = 8 takes more than 10× fewer rounds than FedSGD."""
    for where, rows in groups(side.rounds("table_words"), "task"):
        fedavg, fedsgd = number(rows, E=1, B=8), number(rows, **FEDSGD)
        says = f"{shown(fedavg)} against {shown(fedsgd)}: {times(ratio(fedsgd, fedavg))}"
        yield Item(where, says, [less(TENFOLD, ratio(fedsgd, fedavg))])


def words_end_better(side: Side) -> Iterator[Item]:
    """At the last round and its best rate, FedAvg is more accurate than FedSGD, and with E = 1 than with E = 5."""
    for where, curves in groups(side.curves("figure10"), "task"):
        settings = {"E": 1, "B": 8}, FEDSGD, {"E": 5, "B": 8}
        ends = [[curve.value[-1][1] for curve in curves if curve.value and has(curve, at)] for at in settings]
        fedavg, fedsgd, five = (max(end, default=None) for end in ends)
        says = [shown(one, "{:.1%}") for one in (fedavg, fedsgd, five)]
        yield Item(where, "{} against {}; with E = 5 {}".format(*says), [less(fedsgd, fedavg), less(five, fedavg)])


def fedavg_ends_higher(side: Side) -> Iterator[Item]:
    """FedAvg with E = 20, B = 10 comes to a higher test accuracy than FedSGD."""
    for where, runs in groups(side.accuracies("figure6", partition="iid"), "task", "partition"):
        fedavg, fedsgd = number(runs, E=20, B=10), number(runs, **FEDSGD)
        yield Item(where, f"{shown(fedavg, '{:.2%}')} against {shown(fedsgd, '{:.2%}')}", [less(fedsgd, fedavg)])


def averages_of_a_shared_start_gain(side: Side) -> Iterator[Item]:
    """The mean of two models has less loss than both from shared initial weights, more than both from independent."""
    for curve in side.curves("figure1"):
        where = f"{'shared' if curve.at['shared_start'] else 'independent'} initial weights"
        if not curve.value:
            yield Item(where, "", [None])
            continue
        theta, loss = np.array(curve.value).T
        one, both, other = np.interp([0, 0.5, 1], theta, loss).tolist()
        gains = both < min(one, other) if curve.at["shared_start"] else both > max(one, other)
        yield Item(where, f"{both:.3f}; the two {one:.3f} and {other:.3f}", [gains])


def stalls(points: Points, horizon: int, whole: bool) -> Check:
    """Whether the loss is least in the first half of the rounds; None where nothing is known of the second.

    `whole`: the curve is all that there was, so one that ends before has diverged.
    """
    if not points or (points[-1][0] <= horizon / 2 and not whole):
        return None
    return min(points, key=lambda point: point[1])[0] <= horizon / 2


def losses(side: Side, name: str, stalling: Sequence[int], falling: Sequence[int]) -> Iterator[Item]:
    """Whether the loss stalls with so many local epochs, and falls on with so many."""
    for at, points in side.curves(name):
        if at["E"] in (*stalling, *falling):
            stalled = stalls(points, at["rounds"], side.ours)
            holds = None if stalled is None else stalled == (at["E"] in stalling)
            seen = dict.fromkeys([*sorted(points, key=lambda point: point[1])[:1], *points[-1:]])  # least and last
            says = ", ".join(f"{loss:.3g} in round {t:g}" for t, loss in seen)
            yield Item(f"{label(at['task'])}, {label(at['partition'])}, E = {at['E']}", says, [holds])


def lstm_stalls(side: Side) -> Iterator[Item]:
    """The loss is least in the first half of the rounds with 25 and 50 local epochs, in the second with 1 and 5."""
    yield from losses(side, "figure3", (25, 50), (1, 5))


def cnn_does_not_stall(side: Side) -> Iterator[Item]:
    """The loss is least in the second half of the rounds, with 25 local epochs and with up to 400."""
    yield from losses(side, "figure8", (), (25, 50, 100, 200, 400))


def parameters(side: Side) -> Iterator[Item]:
    """Each model has as many; of one that the paper gives as "about", to one digit."""
    for seen, said in side.parameters():
        digits = "{:.0f}" if isinstance(said, int) else "{:.0e}"
        same = None if seen.value is None else digits.format(seen.value) == digits.format(said)
        about = "about " if isinstance(seen.value, float) else ""
        yield Item(label(seen.at["task"]), about + shown(seen.value, "{:,.0f}"), [same])
