"""A real Slurm for tests: a controller and two nodes with fake GPUs, all on this machine's loopback.

It needs Debian's `munge slurm-client slurmctld slurmd` and nothing else: no systemd, no cgroups, no
accounting database, no GPU. Everything it writes lies in one short-lived folder, and only processes it
started are ever signalled.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from command import PATIENCE

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "setpriv")
NODES = ("alpha", "beta")
GPUS_A_NODE = 2
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

# Why some of it is as it is:
# - config_overrides: nodes claim more processors and memory than the machine has.
# - cred_expire is also the time a requeued job waits; less than five seconds counts as two minutes.
# - NoInAddrAny: daemons listen on the address of the host's own name, 127.0.0.1, and nowhere else.
# - preempt_send_user_signal: preemption warns with the signal a job asked for before it stops it.
# - KillWait: a job that is cancelled or requeued saves within this time, also beside other tests.
# - FirstJobId: a new cluster would count from 1 and meet files of jobs of an older one.
# - NO_CONF_HASH: FirstJobId changes when the controller starts again; nodes do not have to know.
CONFIGURATION = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.sock,cred_expire=5
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
FirstJobId={first}
DebugFlags=NO_CONF_HASH
MaxArraySize=9
KillWait=10
MinJobAge=300
SlurmctldTimeout=60
SlurmdTimeout=10
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
{nodes}
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=30 State=UP
PartitionName=high Nodes=ALL PriorityTier=9 PreemptMode=OFF State=UP
"""


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCH) is None]


def eventually(condition: Callable[[], object], seconds: float, what: str | Callable[[], str]) -> None:
    """Wait until something is so; what it is may be asked when it is not, to say how things stand then."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.1)


@dataclass
class Cluster:
    """The daemons and their folder."""

    # A short path, because sockets lie below it.
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp")))
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What the daemons and Slurm's commands need to find each other."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
        return {**kept, "PATH": SEARCH, "SLURM_CONF": str(self.root / "slurm.conf")}

    def start(self) -> None:
        """Start everything and wait until both nodes can take jobs."""
        self._configure()
        self.start_daemon("munged")
        eventually((self.root / "munge.sock").exists, PATIENCE, "munged listens")
        self.start_daemon("slurmctld")
        eventually(self.answers, PATIENCE, lambda: f"slurmctld answers\n{self.log('slurmctld')}")
        for node in NODES:
            self.start_daemon(node)
        eventually(self.idle, PATIENCE, self.listed)

    def start_daemon(self, name: str) -> None:
        """Start one: munged, slurmctld, or a node's slurmd by the node's name."""
        root = self.root
        if name == "slurmctld":
            self._number_jobs_anew()
        command = {
            "munged": [
                "munged", "--foreground", f"--socket={root}/munge.sock", f"--key-file={root}/munge.key",
                f"--log-file={root}/munged.log", f"--pid-file={root}/munged.pid",
                f"--seed-file={root}/munged.seed",
            ],
            "slurmctld": ["slurmctld", "-D"],
        }.get(name, ["slurmd", "-D", "-N", name])  # fmt: skip
        with (root / f"{name}.out").open("ab") as out:
            # They die with the tests, even when those are killed.
            command = ["setpriv", "--pdeathsig", "KILL", *_named_localhost(), *command]
            self.daemons[name] = subprocess.Popen(
                command, env=self.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )

    def _number_jobs_anew(self) -> None:
        """Let a controller that starts again count from a thousand higher.

        One that was killed may have forgotten its last jobs. It would give their numbers to others, and nodes
        that remember them would refuse these as duplicates.
        """
        path = self.root / "slurm.conf"
        if (self.root / "state/job_state").exists():
            text = path.read_text()
            path.write_text(re.sub(r"(?<=FirstJobId=)\d+", lambda match: str(int(match[0]) + 1000), text))

    def kill_daemon(self, name: str, number: int = signal.SIGKILL) -> None:
        """End one, without a warning by default."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(number)
        daemon.wait(30)

    def kill_node(self, name: str) -> None:
        """What a power cut does to a node: its daemon and all that it started are gone at once."""
        below = [pid for pid in _processes() if _is_step_of(pid, name, self.root)]
        doomed = {pid for parent in below for pid in (parent, *_descendants(parent))}
        self.kill_daemon(name)
        for pid in doomed:
            _signal(pid, signal.SIGKILL)

    def kill_tasks(self) -> None:
        """End what jobs do, so that they end by themselves: Slurm takes five seconds more to end them."""
        for pid in [pid for pid in _processes() if any(_is_step_of(pid, node, self.root) for node in NODES)]:
            for child in _descendants(pid):
                if _name(child) not in ("srun", "slurm_script"):
                    _signal(child, signal.SIGKILL)

    def command(self, *words: object, check: bool = True) -> str:
        """Output of one of Slurm's commands."""
        try:
            done = self._run(*words)
        except subprocess.TimeoutExpired:  # a signal for a job that is just coming or going is sent ten times
            assert not check, f"{words}: no end within a minute"
            return ""
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def _run(self, *words: object) -> subprocess.CompletedProcess[str]:
        given = list(map(str, words))
        return subprocess.run(
            given, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def answers(self) -> bool:
        return "UP" in self.command("scontrol", "ping", check=False)

    def idle(self) -> bool:
        states = self.command("sinfo", "-h", "-N", "-p", "low", "-o", "%T", check=False).split()
        return states == ["idle"] * len(NODES)

    def queue(self) -> dict[str, str]:
        """State of every queued job, by its number. A queue that does not answer is not an empty queue."""
        answers: list[str] = []

        def answered() -> bool:
            with contextlib.suppress(subprocess.TimeoutExpired):
                done = self._run("squeue", "-h", "-r", "-o", "%i %T")
                answers.extend([done.stdout] if done.returncode == 0 else [])
            return bool(answers)

        eventually(answered, PATIENCE, lambda: f"squeue answers\n{self.log('slurmctld')}")
        words = answers[0].split()
        return dict(zip(words[::2], words[1::2], strict=True))

    def listed(self) -> str:
        """The queue and the nodes, with reasons, and what the daemons said last."""
        queue = self.command("squeue", "-h", "-r", "-o", "%i %T %r %S", check=False)
        nodes = self.command("sinfo", "-h", "-N", "-o", "%N %T %E", check=False)
        logs = (f"{name}:\n{self.log(name)}" for name in ("slurmctld", *(f"slurmd-{node}" for node in NODES)))
        return "\n".join((queue + nodes, *logs))

    def log(self, name: str) -> str:
        """The end of a daemon's log."""
        path = self.root / f"{name}.log"
        return path.read_text()[-2000:] if path.exists() else ""

    def clear(self) -> None:
        """Cancel what is left of a test and bring back what it killed."""
        for name in ("munged", "slurmctld", *NODES):
            if name not in self.daemons or self.daemons[name].poll() is not None:
                self.start_daemon(name)
        eventually(self.answers, PATIENCE, "slurmctld answers")
        self.command("scancel", "--me", "--state=PENDING", check=False)
        self.kill_tasks()
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self.queue(), 3, "jobs end when what they do has ended")
        self.command("scancel", "--me", check=False)
        for node in NODES:
            self.command("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        eventually(lambda: not self.queue(), PATIENCE, lambda: f"the queue is empty: {self.queue()}")
        eventually(self.idle, PATIENCE, self.listed)

    def stop(self) -> None:
        """End every daemon and every job, and remove the folder."""
        try:
            self.command("scancel", "--me", "--full", "-s", "KILL", check=False)
            for node in NODES:
                self.kill_node(node) if node in self.daemons else None
        finally:
            for name in list(self.daemons):
                self.kill_daemon(name)
            shutil.rmtree(self.root, ignore_errors=True)

    def _configure(self) -> None:
        ports = _free_ports(1 + len(NODES))
        host = "localhost" if _named_localhost() else socket.gethostname()
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.root / name).mkdir()
        self.root.chmod(0o755)
        key = self.root / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=64000 "
            f"Gres=gpu:{GPUS_A_NODE} State=UNKNOWN"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        (self.root / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=host, controller=ports[0], user=_user(), root=self.root, nodes=nodes,
                first=random.SystemRandom().randrange(1_000, 50_000_000),
            )
        )  # fmt: skip
        (self.root / "gres.conf").write_text(f"AutoDetect=off\nName=gpu File={self._gpu_files()}\n")
        version = self.command("slurmctld", "-V").split()[-1]
        if version >= "24.05":  # two digits a part: the text compares like the number
            (self.root / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        elif version >= "23.02":
            (self.root / "cgroup.conf").write_text("IgnoreSystemd=yes\n")

    def _gpu_files(self) -> str:
        """Character devices that Slurm takes for GPUs: copies of /dev/null, or consoles nobody opens."""
        try:
            for index in range(GPUS_A_NODE):
                os.mknod(self.root / f"gpu{index}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError:
            return f"/dev/tty[0-{GPUS_A_NODE - 1}]"
        return f"{self.root}/gpu[0-{GPUS_A_NODE - 1}]"


def _named_localhost() -> list[str]:
    """What to start daemons with where this host's name is not 127.0.0.1: a namespace in which it is."""
    try:
        if socket.gethostbyname(socket.gethostname()) == "127.0.0.1":
            return []
    except OSError:
        pass
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--uts", *user, "sh", "-c", 'hostname localhost; exec "$@"', "daemon"]


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _free_ports(count: int) -> list[int]:
    listening = [socket.socket() for _ in range(count)]
    for each in listening:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in listening]
    for each in listening:
        each.close()
    return ports


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _name(pid: int) -> str:
    """What a process calls itself; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _is_step_of(pid: int, node: str, root: Path) -> bool:
    """Whether a process is a slurmstepd of this cluster on one of its nodes."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        opened = " ".join(os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    return (
        _name(pid).startswith("slurmstepd")
        and str(root).encode() in environment
        and f"slurmd-{node}" in opened
    )


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, children) for each in (child, *_descendants(child))]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
