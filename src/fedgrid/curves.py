"""Reading a learning curve as the paper does: the envelope over the learning rates, made monotone, and its crossing.

Section 3: "we construct a learning curve for each combination of parameter settings, optimizing η as described above
and then making each curve monotonically improving by taking the best value of test-set accuracy achieved over all
prior rounds. We then calculate the number of rounds where the curve crosses the target accuracy, using linear
interpolation between the discrete points forming the curve." Pure functions of numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np


def paper(t: int) -> bool:
    """Rounds 1 to 10, then tens to 100, then hundreds: the markers of the paper's Figures 3 and 8."""
    return t <= 10 or (t <= 100 and t % 10 == 0) or t % 100 == 0


def cifar(t: int) -> bool:
    """Tens to 100, then fifties: the markers of Figure 4."""
    return t % 50 == 0 or (t <= 100 and t % 10 == 0)


def fives(t: int) -> bool:
    """Rounds 1 to 10, then fives: the markers of Figures 5 and 9."""
    return t <= 10 or t % 5 == 0


def minibatches(t: int) -> bool:
    """Every 500th round: the markers of plain SGD in Figure 9."""
    return t % 500 == 0


def every_round(t: int) -> bool:
    """Every round."""
    return True


# The rounds at which the global model is evaluated.
SCHEDULES: dict[str, Callable[[int], bool]] = {
    "paper": paper,
    "cifar": cifar,
    "fives": fives,
    "minibatches": minibatches,
    "every_round": every_round,
}


def envelope(curves: Sequence[Sequence[float]]) -> np.ndarray:
    """The best accuracy of any learning rate up to each evaluated round: float64 (points,), never falling.

    Each curve is one learning rate's; one that ended early (diverged) is shorter and adds nothing after its end.
    """
    points = max(map(len, curves), default=0)
    best = np.full(points, -np.inf)
    for curve in curves:
        best[: len(curve)] = np.fmax(best[: len(curve)], curve)
    return np.maximum.accumulate(best)


def rounds_to_target(rounds: Sequence[float], accuracy: Sequence[float] | np.ndarray, target: float) -> float | None:
    """The round where the monotone curve first meets the target, between its points by linear interpolation.

    None where it never does; the first point's round where it begins at or above the target.
    """
    best = np.maximum.accumulate(np.asarray(accuracy, float))
    above = np.flatnonzero(best >= target)
    if not len(above):
        return None
    i = above[0]
    if i == 0:
        return float(rounds[0])
    share = (target - best[i - 1]) / (best[i] - best[i - 1])
    return float(rounds[i - 1] + share * (rounds[i] - rounds[i - 1]))


def best_rate(lrs: Sequence[float], curves: Sequence[Sequence[float]]) -> float | None:
    """The learning rate whose curve reached the envelope's last value, at its first point there; ties: the smallest.

    None where no rate was ever evaluated.
    """
    best = envelope(curves)
    if not len(best):
        return None
    first = int(np.flatnonzero(best == best[-1])[0])
    return min(lr for lr, curve in zip(lrs, curves, strict=True) if len(curve) > first and curve[first] == best[-1])


@dataclass(frozen=True)
class Prune:
    """When a learning rate that cannot win leaves its race: once it has been behind the leader for long enough.

    At an evaluation, a rate's error is 1 − its best accuracy so far. Not its accuracy of the moment, which on non-IID
    data leaps about and would put the leader itself behind. The leader is the rate of the least error among those that
    still run: a rate that diverged can win no more, and so drives out none. The leader is never behind, so one rate at
    least is never pruned. A rate above the leader's begins unsteadily and may yet win; one below it is only slower. So
    they have a factor each.
    """

    evaluations: Annotated[int, "how many evaluations in a row a rate must be behind"]
    smaller: Annotated[
        float, "a rate below the leader's is behind if its error is more than so many times the leader's"
    ]
    larger: Annotated[float, "the same of a rate above the leader's"]

    def bounds(self) -> Iterator[tuple[str, bool, str]]:
        """Each of its settings, whether its value is allowed, and what is."""
        yield "evaluations", self.evaluations >= 1, "a whole number from 1"
        for name in ("smaller", "larger"):
            yield name, 1 <= getattr(self, name) < np.inf, "a number from 1"


def behind(rule: Prune, curves: Sequence[Sequence[float]]) -> np.ndarray:
    """Whether each rate, of rising ones, is behind at each of its evaluations: bool (rates, points).

    Of equal leaders it is the smallest rate that leads.
    """
    error = np.full((len(curves), max(map(len, curves), default=0)), np.inf)
    for row, curve in zip(error, curves, strict=True):
        row[: len(curve)] = 1 - np.maximum.accumulate(np.asarray(curve, float))
    above = np.arange(len(curves))[:, None] > error.argmin(0)
    return np.isfinite(error) & (error > np.where(above, rule.larger, rule.smaller) * error.min(0))


def leaves(rule: Prune, curves: Sequence[Sequence[float]]) -> list[int | None]:
    """After how many evaluations the rule ends the curve of each rate, of rising ones; None where it never does."""
    found: list[int | None] = []
    for row in behind(rule, curves).tolist():
        windows = (n for n in range(rule.evaluations, len(row) + 1) if all(row[n - rule.evaluations : n]))
        found.append(next(windows, None))
    return found
