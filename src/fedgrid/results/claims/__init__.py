"""The paper's claims as checks on numbers, and whether each holds here.

Every check runs on our numbers and on the paper's. A test holds that the paper's own numbers pass.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedgrid.grid.artefacts import Artefact
from fedgrid.results.claims import statements
from fedgrid.results.claims.sides import Side
from fedgrid.results.claims.statements import Check, Item
from fedgrid.results.rounds_to_target import NOT_RUN

HOLDS, FAILS, NOT_DECLARED = "holds", "does not hold", "not declared"


@dataclass(frozen=True)
class Claim:
    """What the paper says and where; the artefacts that show it; what must be so of a side's numbers."""

    says: str
    where: str
    artefacts: tuple[str, ...]
    items: Callable[[Side], Iterator[Item]]


CLAIMS = (
    Claim(
        "FedAvg needs 10 to 100 times fewer rounds of communication than synchronized SGD (FedSGD).",
        "abstract; Tables 2 and 4",
        ("table2", "table4"),
        statements.tenfold,
    ),
    Claim(
        "The gain is due to more computation on each client, once there is a minimum of parallelism over clients.",
        "section 3; Table 1",
        ("table1",),
        statements.batches_help_more_than_clients,
    ),
    Claim(
        "Averaging two models that started from the same random weights works well; from different ones it does not.",
        "section 2; Figure 1",
        ("figure1",),
        statements.averages_of_a_shared_start_gain,
    ),
    Claim(
        "The models have the number of parameters that the paper counts.",
        "section 3",
        (),
        statements.parameters,
    ),
    Claim(
        "With small batches, more clients per round need fewer rounds.",
        "section 3, increasing parallelism; Table 1",
        ("table1",),
        statements.more_clients_help,
    ),
    Claim(
        "With small batches the gain is large up to C = 0.1 and small beyond.",
        "section 3, increasing parallelism; Table 1",
        ("table1",),
        statements.a_tenth_of_the_clients_helps_most,
    ),
    Claim(
        "With B = ∞ there is only a small advantage in more clients.",
        "section 3, increasing parallelism; Table 1",
        ("table1",),
        statements.clients_help_full_batches_less,
    ),
    Claim(
        "On IID data more local updates per round need dramatically fewer rounds.",
        "section 3, increasing computation per client; Tables 2 and 4",
        ("table2", "table4"),
        statements.fedavg_needs_fewer_rounds,
    ),
    Claim(
        "The more computation per client, u = E·n/(K·B), the fewer rounds.",
        "section 3, increasing computation per client; Tables 2 and 4",
        ("table2", "table4"),
        statements.more_updates_fewer_rounds,
    ),
    Claim(
        "On pathological non-IID data (two digits a client) the gain is smaller, but still there.",
        "section 3, increasing computation per client; Tables 2 and 4",
        ("table2", "table4"),
        statements.pathological_gains_less,
    ),
    Claim(
        "On Shakespeare the gain is larger on the natural, non-IID division by role than on IID data.",
        "section 3, increasing computation per client; Table 2",
        ("table2",),
        statements.natural_gains_more,
    ),
    Claim(
        "Unbalanced divisions of MNIST are slightly easier for FedAvg than balanced ones.",
        "section 3, a footnote without numbers",
        ("unbalanced",),
        statements.unbalanced_is_easier,
    ),
    Claim(
        "FedAvg converges to a higher test accuracy than FedSGD, even beyond the target.",
        "section 3, increasing computation per client; cells of Figure 6",
        ("figure6",),
        statements.fedavg_ends_higher,
    ),
    Claim(
        "With very many local epochs the LSTM's loss reaches a plateau or rises.",
        "section 3, can we over-optimize on the clients; Figure 3",
        ("figure3",),
        statements.lstm_stalls,
    ),
    Claim(
        "The MNIST CNN bears very many local epochs.",
        "appendix A; Figure 8",
        ("figure8",),
        statements.cnn_does_not_stall,
    ),
    Claim(
        "On CIFAR-10 FedAvg reaches 80, 82 and 85 % in 64, 49 and 49 times fewer rounds than SGD takes minibatches.",
        "section 3, CIFAR experiments; Table 3",
        ("table3",),
        statements.fedavg_needs_fewer_rounds_than_sgd,
    ),
    Claim(
        "The word LSTM reaches 10.5 % in 23 times fewer rounds by FedAvg than by FedSGD.",
        "section 3, large-scale LSTM experiments",
        ("table_words",),
        statements.words_need_fewer_rounds,
    ),
    Claim(
        "The word LSTM ends more accurate by FedAvg than by FedSGD; five local epochs are slightly worse than one.",
        "section 3, large-scale LSTM experiments; Figures 5 and 10",
        ("figure10",),
        statements.words_end_better,
    ),
)


@dataclass(frozen=True)
class Judged:
    """A claim with what both sides' numbers say of it; nothing where no artefact that shows it is declared."""

    claim: Claim
    paper: list[Item]
    ours: list[Item]

    @property
    def checks(self) -> list[Check]:
        """What was asked of our numbers."""
        return [check for item in self.ours for check in item.checks]

    @property
    def verdict(self) -> str:
        """Whether the claim holds here."""
        return verdict(self.checks) if self.ours else NOT_DECLARED


def judge(artefacts: Sequence[Artefact], records: Mapping[str, Any]) -> list[Judged]:
    """Every claim beside the paper's numbers and ours."""
    by_name = {artefact.name: artefact for artefact in artefacts}
    paper, ours = (Side(whose, by_name, records) for whose in (False, True))
    found = []
    for claim in CLAIMS:
        declared = all(name in by_name for name in claim.artefacts)
        found.append(Judged(claim, *(list(claim.items(side)) if declared else [] for side in (paper, ours))))
    return found


def verdict(checks: Sequence[Check]) -> str:
    """What the checks come to: one that fails refutes; none that could be made, no verdict."""
    made = [check for check in checks if check is not None]
    return NOT_RUN if not made else HOLDS if all(made) else FAILS


def tally(checks: Sequence[Check]) -> str:
    """How many of the checks that could be made hold, and how many could not be made."""
    made = [check for check in checks if check is not None]
    if not made:
        return NOT_RUN if checks else ""
    return f"{sum(made)} of {len(made)}" + (f", {missing} not run" if (missing := len(checks) - len(made)) else "")
