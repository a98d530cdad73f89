"""A throw-away SLURM on this machine, from Debian's packages, as root: two nodes with two fake GPUs each.

No systemd, no cgroups; a database only if accounting is asked for. Its configuration lies in /etc/slurm, since
Snakemake's jobs drop SLURM_CONF; one that lies there and is not ours is left alone.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ETC = Path("/etc/slurm")
MARK = "# the cluster of fedgrid's tests: made anew by each run"
NODES = ("n1", "n2")
GPUS = (0, 1)
CONFIG = """\
{mark}
ClusterName=fedgrid
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
SlurmctldPort=17817
StateSaveLocation={state}/state
SlurmdSpoolDir={state}/spool-%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd-%n.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,requeue_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
ReturnToService=2
MinJobAge=300
SlurmdTimeout=10
InactiveLimit=0
KillWait=5
GresTypes=gpu
{accounting}
{nodes}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=02:00:00 GraceTime=20 PriorityTier=1
PartitionName=gpu Nodes=n1 MaxTime=02:00:00 PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=02:00:00 PriorityTier=10 PreemptMode=OFF
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory={megabytes} Gres=gpu:2"
# They must be character devices, or SLURM sets no CUDA_VISIBLE_DEVICES.
GRES = "NodeName={name} Name=gpu Flags=nvidia_gpu_env File={state}/gpu[0-1]"
ACCOUNTED = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=16819
AccountingStoreFlags=job_comment"""
DATABASE = """\
{mark}
AuthType=auth/munge
DbdHost=localhost
DbdPort=16819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
LogFile={state}/slurmdbd.log
PidFile={state}/slurmdbd.pid
"""
NEEDED = {  # by Debian's package
    "slurm-wlm": ("munged", "slurmctld", "slurmd", "srun"),
    "slurmdbd": ("slurmdbd",),
    "mariadb-server": ("mariadbd", "mysql"),
}


def missing(accounting: bool) -> str:
    """What this machine lacks for the cluster, in a line; nothing if it can be started."""
    for package, programs in NEEDED.items():
        absent = [name for name in programs if not found(name)]
        if absent and (accounting or package == "slurm-wlm"):
            return f"{', '.join(absent)} not installed (Debian's {package})"
    if os.geteuid():
        return "SLURM's daemons need root"
    if (ETC / "slurm.conf").is_file() and not (ETC / "slurm.conf").read_text().startswith(MARK):
        return f"{ETC}/slurm.conf is another cluster's"
    if answers("sinfo"):
        return "a slurmctld runs here already, perhaps of tests that were killed; end it and every slurmd"
    return ""


def found(name: str) -> str | None:
    """Where that program lies; Debian keeps daemons in /usr/sbin."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Cluster:
    """The cluster, running from `start` to `stop`; `state` holds its spool, logs and process numbers."""

    def __init__(self, state: Path, accounting: bool = False):
        self.state, self.accounting = state, accounting
        self.database: subprocess.Popen | None = None

    def start(self) -> None:
        """Starts every daemon and waits until all nodes are idle."""
        (self.state / "state").mkdir(parents=True)
        self.state.chmod(0o755)
        self.configure()
        munge()
        if self.accounting:
            self.start_accounting()
        run("slurmctld", "-c")
        for node in NODES:
            self.start_node(node)
        self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        """Waits until all nodes are idle."""
        until(lambda: run("sinfo", "-h", "-p", "cpu", "-t", "idle", "-o", "%D").strip() == str(len(NODES)), 60)

    def configure(self) -> None:
        """Writes /etc/slurm."""
        host = socket.gethostname().partition(".")[0]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        each = {"host": host, "state": self.state, "megabytes": int(memory * 0.8 / len(NODES))}
        nodes = [NODE.format(name=name, port=17901 + i, **each) for i, name in enumerate(NODES)]
        for gpu in GPUS:
            os.mknod(self.state / f"gpu{gpu}", 0o20666, os.makedev(1, 3))  # a copy of /dev/null
        for node in NODES:
            (self.state / f"spool-{node}").mkdir()
        accounting = ACCOUNTED if self.accounting else "AccountingStorageType=accounting_storage/none"
        ETC.mkdir(exist_ok=True)
        text = CONFIG.format(mark=MARK, nodes="\n".join(nodes), accounting=accounting, **each)
        (ETC / "slurm.conf").write_text(text)
        gres = [GRES.format(name=name, **each) for name in NODES]
        (ETC / "gres.conf").write_text("\n".join([MARK, "AutoDetect=off", *gres]) + "\n")

    def start_accounting(self) -> None:
        """Starts MariaDB, if it does not run, and SLURM's database on it, with an account of root's."""
        if not answers("mysqladmin", "ping"):
            Path("/run/mysqld").mkdir(exist_ok=True)
            shutil.chown("/run/mysqld", "mysql", "mysql")
            self.database = subprocess.Popen(
                [found("mariadbd"), "--user=mysql", "--skip-networking", "--pid-file=/run/mysqld/fedgrid.pid"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            until(lambda: answers("mysqladmin", "ping"), 60)
        password = secrets.token_hex()
        for statement in (
            "drop database if exists slurm_acct_db",
            "create database slurm_acct_db",
            f"create or replace user slurm@localhost identified by '{password}'",
            "grant all on slurm_acct_db.* to slurm@localhost",
        ):
            run("mysql", "-e", statement)
        settings = ETC / "slurmdbd.conf"
        settings.touch(0o600)
        settings.write_text(DATABASE.format(mark=MARK, password=password, state=self.state))
        run("slurmdbd")
        until(lambda: answers("sacctmgr", "-n", "list", "cluster"), 60)
        run("sacctmgr", "-i", "add", "cluster", "fedgrid")
        run("sacctmgr", "-i", "add", "account", "bench", "Description=tests", "Organization=tests")
        run("sacctmgr", "-i", "add", "user", "root", "Account=bench")

    def start_node(self, node: str) -> None:
        """Starts the node's slurmd."""
        run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """The node's slurmd is gone without a word, as in a power cut of that daemon alone."""
        os.kill(self.pid(f"slurmd-{node}"), signal.SIGKILL)

    def pid(self, daemon: str) -> int:
        """The daemon's process number."""
        return int((self.state / f"{daemon}.pid").read_text())

    def clear(self) -> None:
        """Ends every job, one whose process is stopped too: SLURM sends it SIGKILL in the end."""
        run("scancel", "--user=root", "--state=RUNNING")
        run("scancel", "--user=root", "--state=PENDING")
        until(lambda: not run("squeue", "-h").strip(), 60)

    def stop(self) -> None:
        """Ends every daemon that `start` started, also where it did not get to its end; munged is left running."""
        for daemon in (*(f"slurmd-{node}" for node in NODES), "slurmctld", "slurmdbd"):
            self.end(daemon)
        if self.database:
            self.database.terminate()
            self.database.wait()

    def end(self, daemon: str) -> None:
        """Ends the daemon, if it runs, and waits for its end."""
        place = self.state / f"{daemon}.pid"
        if place.is_file():
            with contextlib.suppress(ProcessLookupError):  # killed, and its file left
                os.kill(self.pid(daemon), signal.SIGTERM)
                until(lambda: not place.is_file(), 60)


def munge() -> None:
    """Starts munged, which signs messages, with a key of its own, unless one runs."""
    if answers("munge", "-n"):
        return
    Path("/run/munge").mkdir(exist_ok=True)
    shutil.chown("/run/munge", "munge", "munge")
    key = Path("/etc/munge/munge.key")
    if not key.is_file():
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        shutil.chown(key, "munge", "munge")
    run("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", found("munged"))


def run(*command: str) -> str:
    """What the command prints; its failure is the test's, with what it said."""
    done = subprocess.run([found(command[0]), *command[1:]], capture_output=True, text=True)
    assert not done.returncode, f"{' '.join(command)}: {done.stderr}{done.stdout}"
    return done.stdout


def answers(*command: str) -> bool:
    """Whether the command succeeds."""
    return not subprocess.run(command, capture_output=True).returncode


def until(condition, seconds: float) -> None:
    """Waits until the condition holds; it must within that many seconds, which no healthy machine needs."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.3)
