"""The lines of a figure: what records and the paper's curves say, as points with a name. Nothing here draws or writes.

Cells that differ in their seed alone are repeats of one experiment: a line is their mean, its band goes from the least
to the greatest of them. Both are over the points that all repeats have, so they end where the first of them ended, at
its target, diverged or pruned: beyond it, the mean would jump and speak of the remaining repeats alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from fedgrid.algorithms import FedAvg, fedavg
from fedgrid.curves import envelope
from fedgrid.grid import paper
from fedgrid.grid.artefacts import Artefact
from fedgrid.grid.cells import NESTED, Cell, Race
from fedgrid.grid.layouts import by_seed
from fedgrid.grid.plan import training_examples
from fedgrid.results.labels import label

ORDER = ("C", "E", "B")  # named before other settings
# Settings that tune an experiment, or end it: they name a line only where nothing else does.
TUNED = ("lr", "decay", "rounds", "targets", "evaluate", "train_loss", "prune")
PLAIN = ("task", "partition", "algorithm", "message")  # whose values say what they are
WORDS = {
    ("shared_start", False): "independent",
    ("shared_start", True): "shared initial weights",
    ("decay_per", "epoch"): "decay per epoch",
    ("decay_per", "round"): "decay per round",
}

Points = tuple[tuple[float, float], ...]  # x, y
Told = tuple[tuple[str, Any], ...]  # settings that tell a line from the others of its panel, and their values
Band = tuple[tuple[float, float, float, float], ...]  # x; the mean, the least and the greatest y of the repeats


@dataclass(frozen=True)
class Line:
    """An experiment in its panel, or a learning rate of one: ours, where it has been run, and the paper's."""

    panel: str
    name: str  # empty where the line is alone in its panel
    told: Told
    cell: Cell  # the first of its repeats
    n: int  # repeats that have been run
    ours: Band
    paper: Points
    theirs: str  # the name of the paper's curve; empty where it is the panel's only one

    @property
    def settings(self) -> dict[str, Any]:
        """Its cell's settings; of a learning rate's line, with that rate."""
        return self.cell.settings | {name: lr for name, lr in self.told if name == "lr"}


def lines(artefact: Artefact, records: Mapping[str, Any]) -> list[Line]:
    """The figure's lines, panel by panel, each experiment in its place, run or not."""
    layout, printed = artefact.figure or {}, paper.printed(artefact.name)
    found: list[Line] = []
    for panel, experiments in panels(artefact).items():
        firsts, place = [repeats[0] for repeats in experiments], len(found)
        for cell, repeats in zip(firsts, experiments, strict=True):
            curves = [records[one.name]["curves"] for one in repeats if one.name in records]
            for told, lr in identities(cell, firsts, layout):
                ours = mean_and_range([reading(cell, one, layout, lr) for one in curves])
                theirs = paper.of(cell if lr is None else replace(cell, lr=(lr,)), printed).get("points", [])
                points = tuple((x, y) for x, y in theirs)
                name = called(told, is_fedsgd(cell))
                found.append(Line(panel, name, told, cell, len(curves), ours, points, name))
        found[place:] = sharing(found[place:])
    return found


def sharing(panel: Sequence[Line]) -> list[Line]:
    """The panel's lines; a curve of the paper's that stands for all of them stands beside the first alone."""
    first, *others = panel
    if not (others and first.paper and all(line.paper == first.paper for line in others)):
        return list(panel)
    return [replace(first, theirs=""), *(replace(line, paper=()) for line in others)]


def panels(artefact: Artefact) -> dict[str, list[tuple[Cell, ...]]]:
    """The experiments of each panel by its title, each with its repeats."""
    names = (artefact.figure or {}).get("panels", ["shared_start"])
    found: dict[str, list[tuple[Cell, ...]]] = {}
    for repeats in by_seed(artefact.cells):
        cell = repeats[0]
        whole = {"E", "B"} <= set(names)  # or else FedSGD shares the panel with what is not
        title = called([(name, value(cell, name)) for name in names], whole and is_fedsgd(cell))
        found.setdefault(title, []).append(repeats)
    return found


def reading(
    cell: Cell, curves: Mapping[str, Any], layout: Mapping[str, Any], lr: float | None = None
) -> dict[float, float]:
    """What a record shows: y by x, of that learning rate or of the best. Without losses that overflowed."""
    if not isinstance(cell, Race):
        return dict(zip(curves["theta"], curves["train_loss"], strict=True))
    rates = [rate[layout["y"]] for rate in curves["rates"] if lr in (None, rate["lr"])]
    monotone = layout["y"] == "test_accuracy" if lr is None else layout.get("monotone", False)
    ys = envelope(rates).tolist() if monotone else least(rates)
    per_round, every = gradients(cell) if layout["x"] == "gradients" else 1, layout.get("every", 1)
    seen = zip(curves["rounds"], ys, strict=False)  # a rate that diverged or was pruned has fewer
    return {t * per_round: y for t, y in seen if t % every == 0 and y is not None}


def least(curves: Sequence[Sequence[float | None]]) -> Sequence[float | None]:
    """The curve whose last loss is least, among those that ran to the end; ties: the first."""
    return min(curves, key=lambda curve: (-len(curve), *((y is None, y) for y in curve[-1:])), default=[])


def gradients(cell: Race) -> int:
    """Minibatch gradients that a round computes."""
    return cell.algorithm.gradients(cell, training_examples(cell.dataset))


def mean_and_range(readings: Sequence[Mapping[float, float]]) -> Band:
    """(x, mean, least, greatest) of the readings at each x that all of them have."""
    shared = [x for x in readings[0] if all(x in other for other in readings)] if readings else []
    values = {x: [one[x] for one in readings] for x in shared}
    return tuple((x, mean(ys), min(ys), max(ys)) for x, ys in values.items())


def identities(cell: Cell, panel: Sequence[Cell], layout: Mapping[str, Any]) -> Iterator[tuple[Told, float | None]]:
    """What tells each line of an experiment from the panel's others, and its learning rate where each has a line."""
    peers = [other for other in panel if algorithm(other) == algorithm(cell)]
    names = telling(peers)
    if len(peers) < len(panel) and (algorithm(cell) != FedAvg() or not names):
        names = ["algorithm", *names]
    told = tuple((name, value(cell, name)) for name in names)
    if layout.get("lines") == "each":
        yield from (((*told, ("lr", lr)), lr) for lr in cell.lr)
    else:
        yield told, None


def telling(peers: Sequence[Cell]) -> list[str]:
    """The settings that tell experiments apart: those that vary; of tuning only where nothing else does."""
    names = [name for name in peers[0].settings if name != "seed"]
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    varied = [name for name in names if len({getattr(cell, name) for cell in peers}) > 1]
    untuned = [name for name in varied if name not in TUNED]
    apart = {tuple(getattr(cell, name) for name in untuned) for cell in peers}
    return untuned if len(apart) == len(peers) else varied


def value(cell: Cell, name: str) -> Any:
    """A setting of the cell, one that nests by its label: lines are ordered by such values."""
    return label(cell.settings[name]) if name in (*NESTED, "prune") else getattr(cell, name)


def algorithm(cell: Cell) -> FedAvg:
    """The cell's algorithm; averages are of FedAvg's clients."""
    return cell.algorithm if isinstance(cell, Race) else FedAvg()


def is_fedsgd(cell: Cell) -> bool:
    """Whether it is what the paper calls FedSGD."""
    return isinstance(cell, Race) and fedavg.is_fedsgd(cell.algorithm, cell)


def called(told: Sequence[tuple[str, Any]], fedsgd: bool) -> str:
    """Those settings as a legend has them; FedSGD's E and B by its name."""
    parts = ["FedSGD" if fedsgd and name in ("E", "B") else said(name, value) for name, value in told]
    return ", ".join(dict.fromkeys(parts))


def said(name: str, value: Any) -> str:
    """A setting and its value in a legend."""
    if name in PLAIN:
        return label(value)
    if name == "prune":
        return f"pruned: {label(value)}"
    if (name, value) in WORDS:
        return WORDS[name, value]
    values = value if isinstance(value, tuple) else (value,)
    return f"{'η' if name == 'lr' else name} = {', '.join(map(label, values))}"
