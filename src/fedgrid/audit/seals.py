"""Records against the manifest that seals them, and the manifest against what DVC and git have of it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import yaml

from fedgrid import files, manifest
from fedgrid.audit.campaign import PAPER, Campaign, Finding

LOCK = Path("dvc.lock")


def unsealed(campaign: Campaign) -> Iterator[Finding]:
    """Every record is as the manifest has it, and the manifest as dvc.lock has it.

    dvc.lock is asked of the paper's manifest alone, which git keeps: the quickstart's is anyone's own, and no two runs
    of it take the same time. That git's HEAD has another manifest is a note, for so it is with each new record.
    """
    place, there = manifest.path(campaign.name), [campaign.path(name) for name in campaign.cells]
    there = [path for path in there if path.is_file()]
    if not place.is_file():
        if there:
            yield Finding(
                "unsealed", str(place), f"no manifest; seal the records with `{campaign.command('manifest')}`"
            )
        return
    try:
        kept = manifest.read(place)
    except ValueError as error:
        yield Finding("unsealed", str(place), str(error))
        return
    yield from unlike(campaign, kept.digests, there)
    if kept.chain != kept.chained:
        yield Finding("unsealed", str(place), "its chain is not that of its lines; restore it from git")
    if campaign.name == PAPER and locked(place) not in (None, hashlib.md5(place.read_bytes()).hexdigest()):
        yield Finding("unsealed", str(place), f"{LOCK} has the digest of another; `dvc commit paper`")
    if (held := manifest.committed(place)) and held != kept:
        new, gone = (len(a.digests.items() - b.digests.items()) for a, b in ((kept, held), (held, kept)))
        yield Finding(
            "unsealed", str(place), f"{new} of its lines are not in git's HEAD, {gone} of HEAD's not in it", True
        )


def unlike(campaign: Campaign, digests: dict[str, str], there: list[Path]) -> Iterator[Finding]:
    """Records that differ from their line, records without a line, lines without a record."""
    place = manifest.path(campaign.name)
    for path in sorted({*digests, *(path.as_posix() for path in there)}):
        if path not in digests:
            says = f"{place} has no line of it; seal it with `{campaign.command('manifest')}`"
        elif not Path(path).is_file():
            says = f"{place} has a line of it, and it is gone; restore it, or delete that line"
        elif files.sha256(Path(path)) != digests[path]:
            says = f"it is not as {place} has it; restore it, or delete its line there and seal it anew"
        else:
            continue
        yield Finding("unsealed", Path(path).stem, says)


def locked(place: Path) -> str | None:
    """The md5 that dvc.lock has of that file; None where it has none."""
    if not LOCK.is_file():
        return None
    stages = (yaml.safe_load(LOCK.read_text()) or {}).get("stages", {})
    outs = (out for stage in stages.values() for out in stage.get("outs", []))
    return next((out.get("md5") for out in outs if out.get("path") == place.as_posix()), None)
