"""Checks of what was made: are records whole, as declared and as sealed, and do tables and figures say what they say?

Each check is a function from a campaign (what is declared, and its records) to its findings, and changes nothing. A
finding must be mended; a note is worth knowing. The checks do not train: `replay` alone does.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from fedgrid.audit.campaign import Campaign, Finding
from fedgrid.audit.efforts import examples, moved
from fedgrid.audit.origins import commits, contradictory, data, mixed, origin, partitions
from fedgrid.audit.readings import edges, readings
from fedgrid.audit.records import damaged, missing, settings, undeclared
from fedgrid.audit.seals import uncommitted, unsealed
from fedgrid.audit.shown import printed, stale

__all__ = ["CHECKS", "COMMITTED", "Campaign", "Finding", "as_json", "audit", "damaged", "lines", "text"]

Check = Callable[[Campaign], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    damaged,
    missing,
    undeclared,
    unsealed,
    uncommitted,
    settings,
    readings,
    edges,
    moved,
    examples,
    contradictory,
    partitions,
    data,
    origin,
    commits,
    mixed,
    stale,
    printed,
)
# Those that look at more than committed files: at data/, at dvc.lock, at git. What they find, clones need not share.
BESIDE = (uncommitted, examples, partitions, data, commits)
COMMITTED = tuple(check for check in CHECKS if check not in BESIDE)


def audit(campaign: Campaign, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Those checks' findings, in their order."""
    return list(dict.fromkeys(finding for check in checks for finding in check(campaign)))


def text(findings: list[Finding], records: int) -> str:
    """The findings as a person reads them."""
    return lines(findings, f"audit: {records} records, {len(CHECKS)} checks")


def lines(findings: list[Finding], of: str) -> str:
    """A line for each finding, and behind what they are of, how many each check has."""
    listed = [f"{'note' if one.note else 'FINDING'} {one.check}: {one.subject}: {one.says}" for one in findings]
    standing = Counter(one.check for one in findings if not one.note)
    by_check = f" ({', '.join(f'{count} {check}' for check, count in standing.items())})" if standing else ""
    verdict = f"{of}, {standing.total()} findings{by_check}, {len(findings) - standing.total()} notes"
    return "\n".join([*listed, verdict])


def as_json(findings: list[Finding], records: int) -> str:
    """The findings for a machine."""
    return json.dumps({"records": records, "findings": [asdict(one) for one in findings]}, indent=1) + "\n"
