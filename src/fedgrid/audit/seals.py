"""Checks records against the manifest that seals them, and the manifest against git and dvc.lock."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import yaml

from fedgrid import files
from fedgrid.audit import manifest
from fedgrid.audit.campaign import Campaign, Finding
from fedgrid.grid.artefacts import PAPER

LOCK = Path("dvc.lock")


def unsealed(campaign: Campaign) -> Iterator[Finding]:
    """Every record is as the manifest has it, and the manifest's chain is that of its lines."""
    place, there = manifest.path(campaign.seal), [campaign.path(name) for name in campaign.cells]
    there = [path for path in there if path.is_file()]
    if not place.is_file():
        if there:
            yield Finding("unsealed", str(place), f"no manifest; seal the records with `{campaign.sealing}`")
        return
    try:
        kept = manifest.read(place)
    except ValueError as error:
        yield Finding("unsealed", str(place), str(error))
        return
    yield from unlike(campaign, kept.digests, there)
    if kept.chain != kept.chained:
        yield Finding("unsealed", str(place), "its chain is not that of its lines; restore it from git")


def unlike(campaign: Campaign, digests: dict[str, str], there: list[Path]) -> Iterator[Finding]:
    """Records that differ from their line, records without a line, lines without a record.

    Of a manifest that seals more than the campaign, the lines of the campaign's cells alone.
    """
    place = manifest.path(campaign.seal)
    if campaign.name != campaign.seal:
        digests = {path: digest for path, digest in digests.items() if Path(path).stem in campaign.cells}
    for path in sorted({*digests, *(path.as_posix() for path in there)}):
        if path not in digests:
            says = f"{place} has no line of it; seal it with `{campaign.sealing}`"
        elif not Path(path).is_file():
            says = f"{place} has a line of it, and it is gone; restore it, or delete that line"
        elif files.sha256(Path(path)) != digests[path]:
            says = f"it is not as {place} has it; restore it, or delete its line there and seal it anew"
        else:
            continue
        yield Finding("unsealed", Path(path).stem, says)


def uncommitted(campaign: Campaign) -> Iterator[Finding]:
    """The manifest is as dvc.lock has it, and as git's HEAD has it.

    dvc.lock is asked of the paper's manifest alone, which git keeps: the quickstart's is anyone's own, and no two runs
    of it take the same time. That git's HEAD has another manifest is a note, for so it is with each new record.
    """
    place = manifest.path(campaign.seal)
    try:
        kept = manifest.read(place)
    except (FileNotFoundError, ValueError):  # which `unsealed` tells
        return
    if campaign.seal == PAPER:
        yield from unlocked(place)
    if (held := manifest.committed(place)) and held != kept:
        new, gone = (len(a.digests.items() - b.digests.items()) for a, b in ((kept, held), (held, kept)))
        yield Finding(
            "uncommitted", str(place), f"{new} of its lines are not in git's HEAD, {gone} of HEAD's not in it", True
        )


def unlocked(place: Path) -> Iterator[Finding]:
    """That dvc.lock has not the digest of that file; a note where there is no dvc.lock."""
    if not LOCK.is_file():
        yield Finding("uncommitted", str(LOCK), f"it is not here: {place} is compared with git alone", note=True)
        return
    try:
        stages = (yaml.safe_load(LOCK.read_text())["stages"] or {}).values()
        outs = [out for stage in stages for out in stage.get("outs", []) if out["path"] == place.as_posix()]
        digests = [out["md5"] for out in outs]
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError):
        yield Finding("uncommitted", str(LOCK), "it is damaged; restore it from git, then `dvc commit paper`")
        return
    if digests != [hashlib.md5(place.read_bytes()).hexdigest()]:
        says = f"{LOCK} has {'the digest of another' if digests else 'no digest of it'}; `dvc commit paper`"
        yield Finding("uncommitted", str(place), says)
