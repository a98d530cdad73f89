"""Campaigns on a real SLURM: the quickstart, and GPUs."""

from pathlib import Path

from tests.slurm.campaign import EAGER, PROFILE, submitted
from tests.slurm.cluster import run, until


def test_the_quickstart_through_slurm_ends_with_its_table_and_an_audit_without_findings(cluster, campaign):
    tree = campaign.tree
    said = tree.run("snakemake", *PROFILE, *EAGER, "quickstart")
    assert "0 findings" in said
    assert (tree.path / "results/tables/quickstart.md").is_file()
    # Sixteen short cells in two jobs, a partition (the other was there), the replay; all else ran beside Snakemake.
    assert len(submitted(said)) == 4
    comments = run("squeue", "-h", "-t", "all", "-o", "%k").split()
    assert comments.count("rule_short_run") == 2
    assert "rule_partition_wildcards_digits-shards-K50-s0" in comments


def test_each_cell_on_a_gpu_has_a_device_of_its_own(cluster, campaign, undisturbed):
    """Two jobs of one cell each, on the node with the two GPUs of partition gpu."""
    apart = (
        "--config",
        "gpu_tasks=[digits_2nn]",
        "--group-components",
        "short_gpu=1",
        "--set-resources",
        "run:mem_mb=999",
    )
    snakemake = campaign.start(*apart)
    until(lambda: all(campaign.reached(name) for name in campaign.cells), 120)
    jobs = run("squeue", "-h", "-t", "R", "-o", "%P %N %D %C").splitlines()
    assert jobs == ["gpu n1 1 1"] * 2
    devices = {environment(campaign.process(name))["CUDA_VISIBLE_DEVICES"] for name in campaign.cells}
    assert devices == {"0", "1"}
    campaign.end(snakemake)
    assert campaign.settled(undisturbed, {}) == 0


def environment(process: int) -> dict[str, str]:
    """What that process was started with."""
    text = Path(f"/proc/{process}/environ").read_text()
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
