"""A campaign on a SLURM with accounting, which asks SLURM's database how its jobs are."""

from tests.slurm.campaign import submitted
from tests.slurm.cluster import run

ACCOUNTING = True


def test_the_account_is_billed_and_sacct_says_how_jobs_ended(cluster, campaign, undisturbed):
    asked = ("--slurm-status-command", "sacct", "--default-resources", "slurm_account=bench")
    campaign.end(campaign.start(*asked))
    assert campaign.settled(undisturbed, {}) == 0
    (number,) = submitted(campaign.said())
    billed = run("sacct", "-X", "-n", "-P", "-j", number, "-o", "Account,State,Comment").strip()
    assert billed == "bench|COMPLETED|rule_short_run"
