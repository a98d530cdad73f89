"""Claims, judged by records made by hand, both ways, and by the paper's own numbers, which must bear them out."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fedgrid.grid import paper
from fedgrid.grid.artefacts import artefact, artefact_names
from fedgrid.grid.layouts import by_seed
from fedgrid.results import summary
from fedgrid.results.claims import CLAIMS, FAILS, HOLDS, NOT_DECLARED, NOT_RUN, judge, statements, tally, verdict
from fedgrid.results.claims.sides import Side

ROOT = Path(__file__).parents[1]
NEVER, UNRUN = None, "unrun"  # the target was not reached; the cell was not run
N = {"mnist_2nn": 60_000, "mnist_cnn": 60_000, "shakespeare": 85_252}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def recorded(cell, **result):
    """The record of a cell of which only the result, or the curves, are looked at."""
    curves = result.pop("curves", {"rounds": [], "rates": []})
    best = {"best_lr": cell.lr[0], "best_lr_at_grid_end": False, "best_accuracy": None}
    return {"settings": cell.recorded, "result": best | result, "curves": curves}


def rounds(names, answer):
    """Records of those tables' cells, each of which took `answer(cell)` rounds to each of its targets."""
    cells = [cell for name in names for cell in artefact(name).cells if answer(cell) != UNRUN]
    return {
        cell.name: recorded(cell, rounds_to_target=dict.fromkeys(map(str, cell.targets), answer(cell)))
        for cell in cells
    }


def curves(name, points):
    """Records of that figure's cells, each with the points (round, accuracy or loss) that it shows at every rate."""
    made = {}
    for cell in artefact(name).cells:
        t, y = zip(*points(cell), strict=True)
        rates = [{"lr": lr, "test_accuracy": y, "train_loss": y} for lr in cell.lr]
        made[cell.name] = recorded(cell, curves={"rounds": t, "rates": rates})
    return made


def judged(check, names, records):
    """The claim that asks for this check, by those records and with those artefacts declared."""
    (found,) = (one for one in judge([artefact(name) for name in names], records) if one.claim.items is check)
    return found


def fedsgd(cell):
    return cell.E == 1 and math.isinf(cell.B)


def by_clients(**answers):
    """Rounds by batch size, ∞ or 10, and client fraction; where a fraction is not named, those of the nearest below."""

    def answer(cell):
        named = answers["full" if math.isinf(cell.B) else "ten"]
        return named[max(C for C in named if C <= cell.C)]

    return answer


def u(cell):
    return cell.E * max(N[cell.task] / (cell.K * cell.B), 1)


BOTH = ("table2", "table4")
TEN = {0.0: 300, 0.1: 100}
# The check, the tables, and rounds with which it holds and with which it does not; the second as near as it gets.
CASES = [
    (statements.tenfold, BOTH, lambda c: 1000 if fedsgd(c) else 99, lambda c: 1000 if fedsgd(c) else 100),
    (
        statements.batches_help_more_than_clients,
        ("table1",),
        by_clients(full={0.0: 1000}, ten={0.0: 300, 0.1: 100, 1.0: 11}),
        by_clients(full={0.0: 1000}, ten={0.0: 300, 0.1: 100, 1.0: 9}),
    ),
    (
        statements.more_clients_help,
        ("table1",),
        by_clients(full={0.0: 9}, ten={0.0: 300, 0.1: 299}),
        by_clients(full={0.0: 9}, ten={0.0: 300, 0.1: 100, 0.5: 300}),
    ),
    (
        statements.a_tenth_of_the_clients_helps_most,
        ("table1",),
        by_clients(full={0.0: 9}, ten=TEN | {1.0: 34}),
        by_clients(full={0.0: 9}, ten=TEN | {1.0: 33}),
    ),
    (
        statements.clients_help_full_batches_less,
        ("table1",),
        by_clients(full={0.0: 300, 0.1: 101}, ten=TEN),
        by_clients(full={0.0: 300, 0.1: 99}, ten=TEN),
    ),
    (statements.fedavg_needs_fewer_rounds, BOTH, lambda c: 100 if fedsgd(c) else 99, lambda c: 100),
    (statements.more_updates_fewer_rounds, BOTH, lambda c: 1e6 / u(c), lambda c: u(c)),
    (
        statements.pathological_gains_less,
        BOTH,
        lambda c: 100 if fedsgd(c) else {"iid": 97, "shards": 98}.get(c.settings["partition"], 1),
        lambda c: 100 if fedsgd(c) else {"iid": 98, "shards": 97}.get(c.settings["partition"], 1),
    ),
    (
        statements.natural_gains_more,
        ("table2",),
        lambda c: 100 if fedsgd(c) else {"iid": 50, "natural": 49}.get(c.settings["partition"], 1),
        lambda c: 100 if fedsgd(c) else {"iid": 50, "natural": 51}.get(c.settings["partition"], 1),
    ),
    (
        statements.unbalanced_is_easier,
        ("unbalanced",),
        lambda c: 99 if "_" in c.settings["partition"] or fedsgd(c) else 100,
        lambda c: 100,
    ),
    (
        statements.fedavg_needs_fewer_rounds_than_sgd,
        ("table3",),
        lambda c: {"sgd": 1000}.get(c.settings["algorithm"], 99),
        lambda c: {"sgd": 1000}.get(c.settings["algorithm"], 100),
    ),
    (
        statements.words_need_fewer_rounds,
        ("table_words",),
        lambda c: 1000 if fedsgd(c) else 99,
        lambda c: 1000 if fedsgd(c) else 100,
    ),
]


@pytest.mark.parametrize("check, names, holds, fails", CASES, ids=[case[0].__name__ for case in CASES])
def test_a_claim_on_rounds_holds_or_does_not_by_the_records(check, names, holds, fails):
    found = judged(check, names, rounds(names, holds))
    assert (found.verdict, set(found.checks)) == (HOLDS, {True})
    assert judged(check, names, rounds(names, fails)).verdict == FAILS
    assert judged(check, names, {}).verdict == NOT_RUN
    assert judged(check, (), {}).verdict == NOT_DECLARED


def test_on_pathological_data_fedavg_must_gain_something():
    """Smaller speedups alone are not enough: here FedAvg needs more rounds than FedSGD."""
    worse = rounds(BOTH, lambda cell: 100 if fedsgd(cell) else {"iid": 50}.get(cell.settings["partition"], 101))
    found = judged(statements.pathological_gains_less, BOTH, worse)
    assert found.verdict == FAILS and found.checks.count(False) == 2 == len(found.ours)


def test_fedsgd_on_an_unbalanced_partition_is_not_asked():
    records = rounds(["unbalanced"], lambda cell: 99 if ("_" in cell.settings["partition"]) != fedsgd(cell) else 100)
    assert judged(statements.unbalanced_is_easier, ("unbalanced",), records).verdict == HOLDS


def test_a_run_that_did_not_reach_the_target_is_slower_than_any_that_did():
    check = statements.fedavg_needs_fewer_rounds
    assert judged(check, BOTH, rounds(BOTH, lambda cell: NEVER if fedsgd(cell) else 5000)).verdict == HOLDS
    assert judged(check, BOTH, rounds(BOTH, lambda cell: 100 if fedsgd(cell) else NEVER)).verdict == FAILS
    assert judged(check, BOTH, rounds(BOTH, lambda cell: NEVER)).verdict == NOT_RUN


def test_what_was_not_run_is_not_judged_and_counted():
    records = rounds(BOTH, lambda cell: 100 if fedsgd(cell) else 50 if cell.E == 20 and cell.B == 10 else UNRUN)
    found = judged(statements.fedavg_needs_fewer_rounds, BOTH, records)
    assert found.verdict == HOLDS
    assert tally(found.checks) == "2 of 2, 19 not run"  # 8 rows of the 2NN, 8 of the CNN, 5 of the LSTM


def test_the_best_of_rows_is_known_once_one_is_good_enough_and_refuted_only_when_all_were_run():
    def so_far(fast):
        records = rounds(BOTH, lambda cell: 1000 if fedsgd(cell) else fast if cell.E == 5 else UNRUN)
        return judged(statements.tenfold, ("table2", "table4"), records)

    assert so_far(90).verdict == HOLDS
    assert so_far(110).verdict == NOT_RUN


def test_repeats_count_as_their_mean_and_as_not_reached_where_one_was_not():
    table = artefact("table4")
    cells = [repeats[0] for repeats in by_seed(table.cells) if repeats[0].settings["partition"] == "iid"]
    twice = replace(table, cells=tuple(replace(cell, seed=seed) for cell in cells for seed in (0, 1)))
    declared = [artefact("table2"), twice]

    def verdict_of(first, second):
        answers = {0: first, 1: second}
        records = {
            cell.name: recorded(cell, rounds_to_target={"0.97": 100 if fedsgd(cell) else answers[cell.seed]})
            for cell in twice.cells
        }
        return next(
            one.verdict for one in judge(declared, records) if one.claim.items is statements.fedavg_needs_fewer_rounds
        )

    assert verdict_of(150, 49) == HOLDS
    assert verdict_of(150, 51) == FAILS
    assert verdict_of(1, NEVER) == FAILS


# Figures.


def averaged(shared, independent):
    """Records of Figure 1: parents of loss 0.5 and 0.4 and, half way, that loss."""
    made = {}
    for cell in artefact("figure1").cells:
        half = shared if cell.shared_start else independent
        made[cell.name] = recorded(
            cell, curves={"theta": [-0.2, 0.0, 0.5, 1.0, 1.2], "train_loss": [1, 0.5, half, 0.4, 1]}
        )
    return made


@pytest.mark.parametrize(
    "shared, independent, expected",
    [(0.39, 0.51, HOLDS), (0.41, 0.51, FAILS), (0.39, 0.49, FAILS), (0.39, 0.3, FAILS)],
)
def test_averaging_gains_below_both_parents_and_loses_above_both(shared, independent, expected):
    check = statements.averages_of_a_shared_start_gain
    assert judged(check, ("figure1",), averaged(shared, independent)).verdict == expected
    assert judged(check, ("figure1",), {}).verdict == NOT_RUN


def falling(cell):
    return [(t, 2 - t / cell.rounds) for t in range(1, cell.rounds + 1)]


def rising(cell):
    """Least in the first half of the rounds."""
    return [(t, 1 + abs(t - cell.rounds // 4)) for t in range(1, cell.rounds + 1)]


def diverged(cell):
    return falling(cell)[:2]


@pytest.mark.parametrize(
    "check, figure, holds, fails",
    [
        (statements.lstm_stalls, "figure3", lambda c: rising(c) if c.E > 5 else falling(c), falling),
        (statements.lstm_stalls, "figure3", lambda c: diverged(c) if c.E > 5 else falling(c), rising),
        (statements.cnn_does_not_stall, "figure8", falling, lambda c: rising(c) if c.E == 400 else falling(c)),
        (statements.cnn_does_not_stall, "figure8", falling, lambda c: diverged(c) if c.E == 50 else falling(c)),
    ],
)
def test_a_loss_stalls_where_it_is_least_in_the_first_half_of_the_rounds_or_diverges(check, figure, holds, fails):
    found = judged(check, (figure,), curves(figure, holds))
    assert found.verdict == HOLDS and len(found.checks) in (8, 10)
    assert judged(check, (figure,), curves(figure, fails)).verdict == FAILS
    assert judged(check, (figure,), {}).verdict == NOT_RUN


def test_of_a_curve_read_off_a_figure_what_the_second_half_hides_is_unknown():
    assert statements.stalls(((1, 2.0), (40, 1.0), (50, 1.5)), 100, whole=False) is None
    assert statements.stalls(((1, 2.0), (40, 1.0), (50, 1.5)), 100, whole=True) is True
    assert statements.stalls(((1, 2.0), (40, 1.0), (51, 1.5)), 100, whole=False) is True
    assert statements.stalls(((1, 2.0), (40, 1.0), (51, 0.9)), 100, whole=False) is False
    assert statements.stalls((), 100, whole=True) is None


@pytest.mark.parametrize("accuracy, expected", [(0.9923, HOLDS), (0.9922, FAILS)])
def test_fedavg_must_come_to_a_higher_accuracy_than_fedsgd(accuracy, expected):
    runs = [cell for cell in artefact("figure6").cells if cell.settings["partition"] == "iid"]
    records = {cell.name: recorded(cell, best_accuracy=0.9922 if fedsgd(cell) else accuracy) for cell in runs}
    assert judged(statements.fedavg_ends_higher, ("figure6",), records).verdict == expected
    assert judged(statements.fedavg_ends_higher, ("figure6",), {}).verdict == NOT_RUN


@pytest.mark.parametrize(
    "one, five, fedsgd_s, expected", [(0.14, 0.13, 0.1, HOLDS), (0.14, 0.15, 0.1, FAILS), (0.14, 0.13, 0.145, FAILS)]
)
def test_the_word_lstm_s_last_accuracy_counts_not_its_best(one, five, fedsgd_s, expected):
    def points(cell):
        last = fedsgd_s if fedsgd(cell) else one if cell.E == 1 else five
        return [(20, 0.9), (40, last)]

    assert judged(statements.words_end_better, ("figure10",), curves("figure10", points)).verdict == expected


def test_a_model_has_the_parameters_that_the_paper_counts_about_is_one_digit(monkeypatch):
    def verdict_of(**said):
        printed = [{"task": task, "parameters": count} for task, count in said.items()]
        monkeypatch.setattr(paper, "printed", lambda name: printed if name == "models" else [])
        return judged(statements.parameters, ("table3", "table4", "table_words"), {}).verdict

    assert verdict_of(mnist_2nn=199_210, cifar=1e6, words=4_950_544) == HOLDS
    assert verdict_of(mnist_2nn=199_211) == FAILS
    assert verdict_of(cifar=1_000_000) == FAILS  # not "about"
    assert verdict_of(cifar=2e6) == FAILS
    assert verdict_of(mnist_cnn=1_663_370) == NOT_RUN  # no artefact here declares a cell of it


# The law that keeps claims honest: what is asked of our numbers, the paper's own pass.


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.items.__name__ for claim in CLAIMS])
def test_the_paper_s_own_numbers_bear_out_the_paper_s_claims(claim):
    declared = {name: artefact(name) for name in artefact_names()}
    said = [check for item in claim.items(Side(False, declared, {})) for check in item.checks]
    wanted = NOT_RUN if claim.items is statements.unbalanced_is_easier else HOLDS  # that one it says without numbers
    assert verdict(said) == wanted
    assert said.count(None) <= 1 or wanted == NOT_RUN


def test_every_claim_has_its_own_check_and_says_where_it_stands():
    assert len({claim.items for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.says.endswith(".") and claim.items.__doc__.splitlines()[0].endswith(".")
        assert re.search(r"abstract|section|appendix", claim.where)


# Verdicts, and the page.


@pytest.mark.parametrize(
    "made, expected, told",
    [
        ([True, True], HOLDS, "2 of 2"),
        ([True, None, None], HOLDS, "1 of 1, 2 not run"),
        ([True, False, True], FAILS, "2 of 3"),
        ([False, None], FAILS, "0 of 1, 1 not run"),
        ([None, None], NOT_RUN, "not run"),
        ([], NOT_RUN, ""),
    ],
)
def test_one_failing_check_refutes_and_one_at_least_must_have_been_made(made, expected, told):
    assert (verdict(made), tally(made)) == (expected, told)


@pytest.mark.parametrize(
    "a, b, expected",
    [
        (1, 2, True),
        (2, 1, False),
        (1, 1, False),
        (1, math.inf, True),
        (math.inf, 1, False),
        (math.inf, math.inf, None),
        (None, 1, None),
        (1, None, None),
    ],
)
def test_less_is_unknown_where_a_number_is_missing_or_neither_reached(a, b, expected):
    assert statements.less(a, b) is expected


def page(names, records):
    return summary.report([artefact(name) for name in names], records)


def test_the_page_shows_the_paper_s_numbers_ours_and_the_verdict():
    records = rounds(["table4"], lambda cell: 400 if fedsgd(cell) else 20)
    text = page(["table2", "table4"], records)
    assert "| MNIST 2NN        | 32 to 156 against 1468   | 20 against 400 | 8 of 8   |" in text
    assert "| MNIST CNN        | 18 to 234 against 626    | not run        | not run  |" in text
    counts = re.search(
        r"\*\*(\d+) claims; hold: (\d+) \((\d+) of .*\), do not hold: (\d+), not run: (\d+), not declared: (\d+)\.",
        text,
    )
    every, hold, partly, fail, unrun, undeclared = map(int, counts.groups())
    assert every == len(CLAIMS) == hold + fail + unrun + undeclared
    assert (hold, partly) == (3, 3)  # tenfold; fewer rounds than FedSGD; parameters, three of five tasks being declared
    assert (fail, unrun) == (2, 1)  # as fast whatever u is, and as fast on non-IID data; Shakespeare was not run


def test_nothing_declared_is_no_crash():
    text = page([], {})
    assert text.count("Here: **not declared**") == len(CLAIMS) - 1  # parameters are of no artefact, but of any cell
    assert f"not run: 1, not declared: {len(CLAIMS) - 1}.**" in text


def test_the_page_links_each_table_and_figure_and_says_how_much_of_it_was_run():
    records = rounds(["table4"], lambda cell: 5 if cell.E == 1 else UNRUN)
    text = page(["table4", "figure7"], records)
    run = f"{len(records)} of {len(artefact('table4').cells)}"
    assert f"[table](tables/table4.md) | {run} |" in re.sub(" +", " ", text)
    assert f"[figure](figures/figure7.svg) | {run} |" in re.sub(" +", " ", text)
    assert "`snakemake --cores all figure7`" in text


def test_the_page_lists_figure_10_after_figure_9():
    text = page(["figure10", "figure9", "figure1"], {})
    places = [text.index(f"params/{name}.yaml") for name in ("figure1", "figure9", "figure10")]
    assert places == sorted(places)


def test_a_record_of_other_settings_is_refused():
    records = rounds(["table1"], lambda cell: 5)
    name = next(iter(records))
    records[name]["settings"] = records[name]["settings"] | {"C": 0.2}
    with pytest.raises(ValueError, match=re.escape(name)):
        page(["table1"], records)


# `python -m fedgrid tasks`


def test_the_table_of_tasks_has_the_paper_s_models_and_what_is_declared_of_them():
    declared = [artefact(name) for name in ("table1", "table2", "table3")]
    counts = {"mnist": 60_000, "cifar10": 50_000, "shakespeare": 85_252}
    rows = {
        line.split("  ")[0]: re.split(r" {2,}", line)[1:]
        for line in summary.tasks(declared, lambda dataset: counts.get(dataset, 7)).splitlines()[2:]
    }
    assert rows["mnist_2nn"] == ["199,210", "100", "60,000", "image", "97 %", "mnist"]
    assert rows["cifar"] == ["1,068,298", "100", "50,000", "image", "80 %, 82 %, 85 %", "cifar10"]  # not SGD's K = 1
    assert rows["shakespeare"] == ["866,578", "1,146", "85,252", "line", "54 %", "shakespeare"]
    assert rows["words_posts"] == ["4,950,544", "7", "ten words", "posts"]  # declared by none: no clients, no target
