"""What documents show of docs/peers.json: a chart, a sentence, a table. Made of that file alone."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate

from fedgrid.results.figures import COLOURS, STYLE, rendered
from fedgrid.results.summary import between

CHART = Path("docs/peers.svg")
README, PERFORMANCE = Path("README.md"), Path("docs/performance.md")
OURS, GREY = "ours", "#b0b0b0"
Measured = Mapping[str, Any]


def shown(measured: Measured, folder: Path) -> dict[Path, str | bytes]:
    """The files that show it and what they then hold, the documents as they lie in the folder."""
    made = {README: sentence(measured), PERFORMANCE: f"{about(measured)}\n\n{table(measured)}"}
    documents = {path: between((folder / path).read_text(), "peers", f"{text}\n") for path, text in made.items()}
    return {CHART: chart(measured), **documents}


def seconds(told: Measured) -> float | None:
    """What a peer is compared by: the sweep's seconds, or the median of the warm rounds'; None where it was not run."""
    if "not_run" in told:
        return None
    return told["seconds"] if "seconds" in told else median(told["warm"])


def columns(measured: Measured) -> dict[str, dict[str, Measured]]:
    """What each peer told, by the titles of the workloads and, at last, of the sweep."""
    sweep = measured["sweep"]
    races = {one["title"]: one["peers"] for one in measured["workloads"].values()}
    return races | {f"{len(sweep['rates'])} rates to {sweep['target']:.0%}": sweep["peers"]}


def ratio(peers: Mapping[str, Measured]) -> tuple[float, str] | None:
    """How many times as long the fastest of the others takes as fedgrid, and its name; None without either."""
    others = {name: s for name, told in peers.items() if name != OURS and (s := seconds(told)) is not None}
    ours = seconds(peers[OURS])
    if ours is None or not others:
        return None
    fastest = min(others, key=lambda name: others[name])
    return others[fastest] / ours, fastest


def digits(number: float) -> str:
    """The number with two digits, or all of those before its point."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}" if number >= 1 else f"{number:.2f}"


def sentence(measured: Measured) -> str:
    """The chart, and in words what it shows."""
    return f"![Seconds of a round and of a sweep, by simulator]({CHART})\n\n{compared(measured)}"


def compared(measured: Measured) -> str:
    """How fedgrid compares with the fastest of the others: in the sweep, and in the rounds of the workloads."""
    sweep = measured["sweep"]
    swept = ratio(sweep["peers"])
    single = [found[0] for one in measured["workloads"].values() if (found := ratio(one["peers"]))]
    if swept is None or not single:
        return "Nothing was compared yet: run `python -m bench.peers`."
    took = {name: seconds(sweep["peers"][name]) for name in (OURS, swept[1])}
    return (
        f"A sweep of {len(sweep['rates'])} learning rates to {sweep['target']:.0%} test accuracy on MNIST (2NN, IID, "
        f"E = 1, B = 10) takes fedgrid {took[OURS]:.0f} s on {measured['cores']} cores, the fastest of the others "
        f"({measured['peers'][swept[1]]['title']}) {took[swept[1]]:.0f} s. One round at one rate takes the fastest of "
        f"them {digits(min(single))} to {digits(max(single))} times as long as fedgrid. "
        "[What was measured](docs/performance.md#beside-other-simulators)."
    )


def about(measured: Measured) -> str:
    """Where and with what it was measured, in words."""
    peers = "; ".join(
        f"{peer['title']}: {', '.join(peer['with']) + ', ' if isinstance(peer['with'], list) else ''}{peer['threads']}"
        for peer in measured["peers"].values()
    )
    return (
        f"{measured['processor']}, {measured['cores']} cores, {measured['instructions']}, Python {measured['python']}, "
        f"{measured['date']}. {peers}."
    )


def table(measured: Measured) -> str:
    """Each workload's seconds by peer in Markdown, why any was not run, and the first rounds."""
    found = columns(measured)
    titles = {name: peer["title"] for name, peer in measured["peers"].items()}
    heads = titles | {OURS: f"**{titles[OURS]}**"}
    rows = [[heads[name], *(cell(peers[name]) for peers in found.values())] for name in titles]
    factors = [ratio(peers) for peers in found.values()]
    rows.append(["fastest of the others : fedgrid", *(digits(factor[0]) if factor else "" for factor in factors)])
    reasons: dict[str, list[str]] = {}
    for column, peers in found.items():
        for name, told in peers.items():
            if "not_run" in told:
                reasons.setdefault(f"{titles[name]} was not run: {told['not_run']}", []).append(column)
    notes = [f"{why} ({'; '.join(where)})." for why, where in reasons.items()]
    made = tabulate(rows, ["", *found], "github", disable_numparse=True)
    return "\n\n".join([made, *notes])


def cell(told: Measured) -> str:
    """A peer's seconds as the table has them."""
    if "not_run" in told:
        return "not run"
    if "seconds" in told:
        return f"{told['seconds']:.0f} ({', '.join(map(str, told['rounds']))} rounds)"
    low, high = min(told["warm"]), max(told["warm"])
    return f"{digits(median(told['warm']))} ({digits(low)}–{digits(high)}; first {digits(told['first'])})"


def chart(measured: Measured) -> bytes:
    """The chart as SVG: a panel a workload, a bar a peer."""
    found = columns(measured)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE | {"axes.grid": False, "font.size": 8})  # type: ignore[arg-type]
        figure = Figure(figsize=(9.5, 1.9), layout="constrained")
        panels = figure.subplots(1, len(found), sharey=True)
        titles = [peer["title"] for peer in measured["peers"].values()]
        for axes, (title, peers) in zip(panels, found.items(), strict=True):
            bars(axes, title, [seconds(peers[name]) for name in measured["peers"]], titles)
        panels[0].invert_yaxis()  # the axis is one for all
        figure.supxlabel(
            "seconds: of a warm round, its evaluation included; at the right, of the whole sweep", fontsize=8
        )
        return rendered(figure, "svg")


def bars(axes: Axes, title: str, heights: list[float | None], titles: list[str]) -> None:
    """A panel: a bar and its seconds for each peer, the first in colour."""
    colours = [COLOURS[0], *[GREY] * (len(heights) - 1)]
    drawn = axes.barh(titles, [height or 0 for height in heights], color=colours)
    axes.bar_label(drawn, ["not run" if height is None else digits(height) for height in heights], padding=2)
    axes.set_title(title.replace(", ", "\n", 1), fontsize=8)
    axes.set_xlim(0, 1.35 * max([height for height in heights if height], default=1.0))
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines["bottom"].set_visible(False)
