"""What a cluster may do to a campaign, done to one: it ends all the same, with the records of an undisturbed one.

Laws, for every fault: each record is byte for byte the undisturbed one, seconds aside; a record that was finished when
the fault came is the same file still; no half-written file is left; the cell that was in training goes on from its
checkpoint.
"""

import hashlib
import os
import signal

import pytest
import yaml

from fedgrid.tasks import fetch
from tests.slurm.campaign import EAGER, PROFILE
from tests.slurm.cluster import run, until

LOCALLY = ("--cores", "1")


@pytest.fixture
def strike(campaign, undisturbed, tell):
    """Runs the campaign up to its middle, strikes, and has it end; tells what that cost."""

    def struck(fault, injected, blow, again=(), profile=PROFILE + EAGER, interrupted=True):
        snakemake = campaign.start(profile=profile)
        done, training = campaign.middle(snakemake)
        finished = {done: campaign.record(done).read_text()}
        before, kept = campaign.reached(training), campaign.kept(training)
        blow(training, snakemake)
        for arguments in again:
            snakemake.wait(300)
            snakemake = campaign.start(*arguments, profile=profile)
        campaign.end(snakemake)
        lost = campaign.settled(undisturbed, finished)
        assert lost == 0
        first = min(campaign.rounds(training), default=before + 1)  # none if another process's record was kept
        assert (first > kept) == interrupted
        tell(fault, injected, lost, max(before - first + 1, 0) if interrupted else 0)

    return struck


def job():
    """The one job of the cluster that runs."""
    (number,) = run("squeue", "-h", "-t", "R", "-o", "%A").split()
    return number


def test_a_cancelled_job_comes_back(cluster, strike, attempt):
    strike("a job is cancelled", "`scancel` of the running job", lambda *_: run("scancel", job()))


def test_a_killed_process_comes_back(cluster, strike, campaign, attempt):
    strike(
        "the training process is killed",
        "SIGKILL to it",
        lambda training, _: os.kill(campaign.process(training), signal.SIGKILL),
    )


def test_a_preempted_job_comes_back(cluster, strike, attempt):
    """SLURM's own preemption: SIGTERM, a grace time of 20 seconds, the job requeued."""

    def preempt(*_):
        run("sbatch", "-p", "urgent", "--nodes=2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")

    strike("a job is preempted", "a job of higher priority takes all nodes: SIGTERM, 20 s of grace", preempt)


def test_a_job_out_of_memory_comes_back_with_more(cluster, campaign, undisturbed, tell, attempt):
    """The first asks for less than a cell's process takes, as from a plan that is wrong: SLURM kills it."""
    before = set(run("squeue", "-h", "-t", "all", "-o", "%A").split())
    campaign.end(campaign.start("--set-resources", "run:mem_mb=250 * attempt ** 3"))
    lost = campaign.settled(undisturbed, {})
    jobs = dict(line.split(maxsplit=1) for line in run("squeue", "-h", "-t", "all", "-o", "%A %m %T").splitlines())
    first, second = (jobs[number] for number in sorted(set(jobs) - before, key=int))
    assert first in ("250M FAILED", "250M OUT_OF_MEMORY")
    assert second == "2000M COMPLETED"
    tell("a job runs out of memory", "it asks for 250 MB, which SLURM holds it to", lost, None)


def test_a_job_past_its_walltime_comes_back(cluster, strike, campaign, attempt):
    """The process hangs, as on a file system that does not answer, until SLURM's patience ends."""

    def hang(training, _):
        os.kill(campaign.process(training), signal.SIGSTOP)
        run("scontrol", "update", f"JobId={job()}", "TimeLimit=1")

    strike("a job runs out of its walltime", "its process hangs (SIGSTOP) until its limit, a minute", hang)


def test_a_node_that_is_lost_gives_its_job_to_another(cluster, strike, campaign, attempt):
    """Its slurmd is killed, as if the network had lost it: the other node gets the job, while the first trains on.

    The second process must wait for the first, however slow, and keep its record.
    """
    node = []

    def lose(training, _):
        process, number = campaign.process(training), job()
        node.append(run("squeue", "-h", "-t", "R", "-o", "%N").strip())
        cluster.kill_node(node[0])
        os.kill(process, signal.SIGSTOP)
        try:
            until(lambda: run("squeue", "-h", "-t", "PD", "-o", "%A").strip() == number, 120)
            run("scontrol", "update", f"JobId={number}", "StartTime=now")  # SLURM would let it rest for two minutes
            until(lambda: "another process is at it" in campaign.log(training), 120)
        finally:
            os.kill(process, signal.SIGCONT)

    injected = "SIGKILL to its slurmd; its processes train on, beside those of the requeued job"
    try:
        strike("a node is lost", injected, lose)
    finally:
        for name in node:
            cluster.start_node(name)
            cluster.wait_for_nodes()


def test_snakemake_killed_and_started_again(cluster, strike, campaign, attempt):
    """Its cluster job runs on; the second Snakemake's job waits for the same cells' locks, and keeps their records."""

    def kill(_, snakemake):
        os.killpg(snakemake.pid, signal.SIGKILL)

    strike("Snakemake is killed", "SIGKILL to it; `--unlock`, and the same command again", kill, (["--unlock"], []))


def test_two_snakemakes_at_once(cluster, strike, campaign, attempt):
    def second(*_):
        campaign.end(campaign.start(), fails=True)
        assert "Directory cannot be locked" in campaign.said()

    strike("two Snakemakes at once", "the same command a second time, which is refused", second, interrupted=False)


def test_a_full_disk_while_a_record_is_written(strike, campaign, attempt):
    """The folder of records is a file system of its own, with room for less than a record."""
    folder = campaign.record(campaign.cells[0]).parent
    folder.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    filler = folder / "filler"

    def fill(training, _):
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(2**21))
        until(lambda: "No space left" in campaign.log(training), 300)
        filler.unlink()

    try:
        strike(
            "the disk is full when a record is written", "a file system of 1 MB, filled", fill, ([],), profile=LOCALLY
        )
    finally:
        campaign.stop()  # or the folder is in use
        run("umount", str(folder))


def test_a_download_cut_in_the_middle(campaign, host, tell, attempt):
    """The host hangs up in the middle of the file, as often as one command tries; the next command has it whole."""
    name, content = "t10k-labels-idx1-ubyte.gz", bytes(range(256)) * 1024
    one = host({name: content}, cut={name: fetch.ATTEMPTS})
    path = campaign.tree.path / "params/datasets.yaml"
    datasets = yaml.safe_load(path.read_text())
    datasets["mnist"] |= {"sources": [one.url], "files": {name: hashlib.sha256(content).hexdigest()}}
    path.write_text(yaml.safe_dump(datasets))
    place = campaign.tree.path / "data/raw/mnist" / name
    assert "cut" in campaign.tree.snakemake(f"data/raw/mnist/{name}", fails=True)
    assert not place.exists()
    campaign.tree.snakemake(f"data/raw/mnist/{name}")
    assert place.read_bytes() == content
    assert not campaign.tree.partial()
    tell("a download is cut", "the host hangs up in the middle of the file; the same command again", 0, None)
