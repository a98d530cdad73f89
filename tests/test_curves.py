"""Laws of reading a curve. The tables are hand-computed; the last law is the paper's own printed numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgrid.curves import SCHEDULES, Prune, behind, best_rate, envelope, leaves, rounds_to_target

PAPER = {
    name: curve
    for name, curve in json.loads((Path(__file__).parent / "data/paper_curves.json").read_text()).items()
    if "target" in curve and name != "_README"
}
ACCURACIES = st.integers(0, 1000).map(lambda x: x / 1000)
CURVES = st.lists(st.lists(ACCURACIES, max_size=12), min_size=1, max_size=5)


@pytest.mark.parametrize(("name", "curve"), PAPER.items())
def test_the_reading_rule_gives_the_papers_printed_rounds_from_its_own_curves(name, curve):
    rounds, accuracy = zip(*curve["points"], strict=True)
    assert rounds_to_target(rounds, accuracy, curve["target"]) == pytest.approx(curve["rounds"], abs=2)


def test_the_papers_five_curves_are_all_there():
    assert [curve["rounds"] for curve in PAPER.values()] == [626, 483, 2488, 1468, 1817]


@pytest.mark.parametrize(
    ("curves", "best"),
    [
        ([[0.1, 0.3, 0.2, 0.4]], [0.1, 0.3, 0.3, 0.4]),
        ([[0.1, 0.2, 0.6], [0.3, 0.1, 0.5]], [0.3, 0.3, 0.6]),
        ([[0.1, 0.2, 0.3], [0.5]], [0.5, 0.5, 0.5]),  # the best rate diverged: what it reached, it reached
        ([[0.1, 0.2, 0.3], [], [0.05, 0.4]], [0.1, 0.4, 0.4]),
        ([[], []], []),
        ([], []),
    ],
)
def test_envelope_is_the_best_rate_so_far(curves, best):
    assert envelope(curves).tolist() == best


@given(CURVES)
def test_envelope_never_falls_and_is_reached_by_some_rate(curves):
    best = envelope(curves).tolist()
    assert len(best) == max(map(len, curves))
    assert best == sorted(best)
    for i, value in enumerate(best):
        assert value == max(x for curve in curves for x in curve[: i + 1])


@given(CURVES)
def test_envelope_does_not_depend_on_the_order_of_the_rates(curves):
    assert envelope(curves[::-1]).tolist() == envelope(curves).tolist()


@pytest.mark.parametrize(
    ("rounds", "accuracy", "target", "crossing"),
    [
        ([1, 2, 3], [0.2, 0.4, 0.8], 0.5, 2.25),  # a quarter of the way from 0.4 to 0.8
        ([100, 200], [0.9, 1.0], 0.95, 150),
        ([10, 20, 100], [0.5, 0.7, 0.9], 0.8, 60),
        ([10, 20, 100], [0.5, 0.7, 0.9], 0.7, 20),  # met exactly at a point
        ([10, 20, 30], [0.5, 0.7, 0.7], 0.7, 20),  # the first of equals
        ([10, 20, 30, 40], [0.5, 0.6, 0.3, 0.8], 0.7, 35),  # the fall is filled in before the crossing is sought
        ([10, 20, 30], [0.5, 0.9, 0.2], 0.7, 15),  # and a fall after it changes nothing
        ([7, 8], [0.9, 0.95], 0.8, 7),  # begins above
        ([7, 8], [0.9, 0.95], 0.9, 7),  # begins at it
        ([1, 2, 3], [0.2, 0.4, 0.8], 0.81, None),
        ([], [], 0.5, None),
    ],
)
def test_rounds_to_target_by_hand(rounds, accuracy, target, crossing):
    found = rounds_to_target(rounds, accuracy, target)
    assert found == (None if crossing is None else pytest.approx(crossing, rel=1e-12))


@given(accuracy=st.lists(ACCURACIES, min_size=1, max_size=20), target=ACCURACIES)
def test_a_crossing_lies_where_the_interpolated_monotone_curve_equals_the_target(accuracy, target):
    rounds = np.cumsum(np.arange(1, len(accuracy) + 1))
    monotone = [max(accuracy[: i + 1]) for i in range(len(accuracy))]
    found = rounds_to_target(rounds, accuracy, target)
    if found is None:
        assert monotone[-1] < target
    elif monotone[0] >= target:
        assert found == rounds[0]
    else:
        assert np.interp(found, rounds, monotone) == pytest.approx(target, abs=1e-9)
        assert np.interp(found - 1e-6, rounds, monotone) < target  # and nowhere sooner


@given(accuracy=st.lists(ACCURACIES, min_size=1, max_size=20), a=ACCURACIES, b=ACCURACIES)
def test_a_higher_target_is_never_reached_sooner(accuracy, a, b):
    rounds = list(range(1, len(accuracy) + 1))
    low, high = (rounds_to_target(rounds, accuracy, target) or float("inf") for target in sorted((a, b)))
    assert low <= high


@pytest.mark.parametrize(
    ("curves", "winner"),
    [
        ([[0.1, 0.5], [0.2, 0.4], [0.3, 0.3]], 0.1),
        ([[0.1, 0.5], [0.2, 0.5], [0.3, 0.3]], 0.1),  # a tie goes to the smallest
        ([[0.1, 0.5], [0.5, 0.4], [0.3, 0.3]], 0.2),  # the one that was there first
        ([[0.1, 0.2], [0.6], [0.3, 0.3]], 0.2),  # even if it diverged later
        ([[], [], [0.3]], 0.4),
        ([[], [], []], None),
    ],
)
def test_best_rate_is_the_one_that_first_reached_the_envelopes_last_value(curves, winner):
    assert best_rate([0.1, 0.2, 0.4], curves) == winner


@given(CURVES)
def test_best_rate_reached_the_best_accuracy(curves):
    lrs = [0.1 * 2**i for i in range(len(curves))]
    winner = best_rate(lrs, curves)
    if winner is None:
        assert not any(curves)
    else:
        assert max(curves[lrs.index(winner)]) == max(x for curve in curves for x in curve)


def test_the_papers_schedule_is_the_markers_of_its_figures():
    expected = [*range(1, 11), *range(20, 101, 10), *range(200, 2001, 100)]
    assert [t for t in range(1, 2001) if SCHEDULES["paper"](t)] == expected
    assert all(SCHEDULES["every_round"](t) for t in range(1, 2001))


# Rates that cannot win

TWICE = Prune(evaluations=2, smaller=1.5, larger=3.0)


@pytest.mark.parametrize(
    ("curves", "ends"),
    [
        # errors 0.8 0.8 beside 0.5 0.5: 1.6 times the leader's, twice
        ([[0.2, 0.2, 0.2], [0.5, 0.5, 0.5]], [2, None]),
        # the same of a rate above the leader's, for which it is not enough; 0.5 beside 0.1 is, from its second time on
        ([[0.5, 0.5, 0.9, 0.9], [0.2, 0.2, 0.5, 0.5]], [None, 4]),
        # behind, not behind, behind, behind: in a row it is
        ([[0.2, 0.5, 0.5, 0.5], [0.5, 0.5, 0.75, 0.75]], [4, None]),
        # exactly 1.5 times is not more
        ([[0.25, 0.25], [0.5, 0.5]], [None, None]),
        # it fell to 0.2 and has had 0.5: what it reached, it reached
        ([[0.5, 0.2, 0.2], [0.5, 0.5, 0.5]], [None, None]),
        # a leader that diverged drives out none: from the second point on, the last two rates are alone
        ([[0.9], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]], [None, None, None]),
        # and before it did, it led: behind once, then behind the rate of 0.75
        ([[0.9], [0.2, 0.2], [0.2, 0.75]], [None, 2, None]),
        # of equal leaders the smallest leads: 0.8 beside 0.5 is above it
        ([[0.5, 0.5], [0.2, 0.2], [0.5, 0.5]], [None, None, None]),
        ([[0.5, 0.5]], [None]),
        ([[], []], [None, None]),
        ([[], [0.1, 0.1]], [None, None]),
    ],
)
def test_a_rate_that_has_been_behind_for_long_enough_leaves(curves, ends):
    assert leaves(TWICE, curves) == ends


RULES = st.builds(Prune, st.integers(1, 4), st.floats(1, 3), st.floats(1, 3))


@given(RULES, CURVES)
def test_at_each_evaluation_one_rate_at_least_is_not_behind(rule, curves):
    for n, point in enumerate(behind(rule, curves).T):
        assert not all(late for late, curve in zip(point, curves, strict=True) if len(curve) > n)


@given(RULES, CURVES)
def test_when_a_rate_leaves_depends_on_no_later_evaluation(rule, curves):
    for n in range(max(map(len, curves)) + 1):
        seen = leaves(rule, [curve[:n] for curve in curves])
        assert seen == [end if end is not None and end <= n else None for end in leaves(rule, curves)]
