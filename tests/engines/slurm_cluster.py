"""A Slurm cluster on this host: a controller and nodes with a GPU each that is none, all in a folder of their own.

Needs root, a folder without blanks in its path, and Debian's `slurm-wlm` and `munge`. Nothing outside the folder is
written; commands find the cluster by `SLURM_CONF`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

from tests.free_ports import free_port
from tests.waiting import wait_until

NEEDED: Final = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "srun")


def missing() -> str:
    """Why there can be no cluster here; empty if there can."""
    if os.geteuid() != 0:
        return "a Slurm cluster of one host needs root"
    lacking = [name for name in NEEDED if shutil.which(name, path=_PATH) is None]
    return (
        f"{', '.join(lacking)} not installed: tests/engines/install, or apt-get install slurm-wlm munge"
        if lacking
        else ""
    )


_PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


class SlurmCluster:
    """The processes of a cluster. Use it as a context manager."""

    def __init__(self, folder: Path, *, nodes: int = 2, cpus: int = 8) -> None:
        self._folder = folder
        self.nodes = [f"n{number}" for number in range(nodes)]
        self._cpus = cpus
        self._ports = [free_port() for _ in range(nodes + 1)]
        self._name = f"antenna{self._ports[0]}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}

    def __enter__(self) -> SlurmCluster:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        for name in ("munge", "state", "spool", "log"):
            (self._folder / name).mkdir(parents=True, mode=0o755)
        key = self._folder / "munge/key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        (self._folder / "slurm.conf").write_text(self._configuration())
        (self._folder / "gres.conf").write_text(f"NodeName=n[0-{len(self.nodes) - 1}] Name=gpu File=/dev/null\n")
        munge = self._folder / "munge"
        self._run("munged", "munged", "--foreground", "--force", *(
            f"--{option}={munge / file}"
            for option, file in (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"),
                                 ("seed-file", "seed"))
        ))  # fmt: skip
        wait_until((munge / "socket").exists, description="munged listens", timeout=30)
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        wait_until(lambda: self.states() == ["idle"] * len(self.nodes), description="all nodes idle", timeout=60)

    def __exit__(self, *_: object) -> None:
        if "slurmctld" in self._processes:
            subprocess.run(["scancel", "--me"], env=self._env, capture_output=True, check=False)
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def _env(self) -> dict[str, str]:
        return os.environ | self.environment

    def start_controller(self) -> None:
        """Start the controller with the state that it has, and wait until it answers."""
        self._run("slurmctld", "slurmctld", "-D", "-i")
        wait_until(self.states, description="the controller answers", timeout=60)

    def kill_controller(self) -> None:
        """SIGKILL of the controller, once it has saved which jobs run: it writes its state some seconds later.

        One that starts again with an older state ends the jobs that it does not know, and drains their nodes until
        somebody resumes them.
        """
        saved = self._folder / "state/job_state"
        before = saved.stat().st_mtime_ns if saved.exists() else 0
        for number in self.jobs("RUNNING"):
            self.call("scontrol", "update", f"JobId={number}", "Comment=saved")
        wait_until(
            lambda: saved.exists() and saved.stat().st_mtime_ns > before, description="the state is saved", timeout=60
        )
        controller = self._processes.pop("slurmctld")
        controller.kill()
        controller.wait()

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        (self._folder / "spool" / node).mkdir(exist_ok=True)
        self._run(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """SIGKILL of the node's daemon, its step managers and all that they run: the node is gone, as by its power."""
        daemon = self._processes.pop(node)
        spool = str(self._folder / "spool" / node).encode()
        # Another cluster may have a node of this name.
        ours = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CLUSTER_NAME={self._name}".encode()}
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
                arguments = (process / "cmdline").read_bytes()
            except OSError:
                continue
            is_step = arguments.startswith(b"slurmstepd") and spool in arguments
            if ours <= set(environment) or is_step:
                try:
                    os.kill(int(process.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def call(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def states(self) -> list[str]:
        """The nodes' states."""
        done = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%t"], env=self._env, capture_output=True, text=True, check=False
        )
        return done.stdout.split()

    def jobs(self, states: str = "PENDING,RUNNING,SIGNALING,COMPLETING") -> dict[str, str]:
        """The state of each batch job in one of these states, by its number; those that are not over, if not said."""
        lines = self.call("squeue", "--noheader", f"--states={states}", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def _run(self, name: str, *command: str) -> None:
        with (self._folder / "log" / f"{name}.out").open("ab") as output:
            self._processes[name] = subprocess.Popen(command, env=self._env, stdout=output, stderr=output)

    def _configuration(self) -> str:
        host = socket.gethostname().split(".")[0]
        munge, folder = self._folder / "munge/socket", self._folder
        lines = [
            f"ClusterName={self._name}", f"SlurmctldHost={host}(127.0.0.1)", f"SlurmctldPort={self._ports[0]}",
            "AuthType=auth/munge", f"AuthInfo=socket={munge}", "CryptoType=crypto/munge", "SlurmUser=root",
            "SlurmdUser=root", f"StateSaveLocation={folder}/state", f"SlurmdSpoolDir={folder}/spool/%n",
            f"SlurmctldPidFile={folder}/slurmctld.pid", f"SlurmdPidFile={folder}/slurmd-%n.pid",
            f"SlurmctldLogFile={folder}/log/slurmctld.log", f"SlurmdLogFile={folder}/log/slurmd-%n.log",
            "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "SwitchType=switch/none", "MpiDefault=none",
            "ReturnToService=2", "SchedulerType=sched/backfill",
            "SchedulerParameters=batch_sched_delay=0,sched_min_interval=200000,bf_interval=1",
            "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core",
            "AccountingStorageType=accounting_storage/none", "JobAcctGatherType=jobacct_gather/none", "KillWait=30",
            "MessageTimeout=20", "SlurmctldTimeout=30", "SlurmdTimeout=30", "InactiveLimit=0", "GresTypes=gpu",
            "SlurmdParameters=config_overrides", "JobRequeue=1",
        ]  # fmt: skip
        lines += [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self._cpus} RealMemory=40000 "
            "Gres=gpu:1 State=UNKNOWN"
            for node, port in zip(self.nodes, self._ports[1:], strict=True)
        ]
        return "\n".join([*lines, "PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP", ""])
