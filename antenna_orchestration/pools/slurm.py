"""Workers as jobs of a Slurm cluster: one batch job per worker, named after it.

States are read from `squeue`, which also lists jobs that ended a short while ago (`MinJobAge`, five minutes if the
cluster does not say otherwise).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from antenna_orchestration.pools.configuration import SlurmPool
from antenna_orchestration.pools.launcher import Asked, Seen, output_of, plain_environment, told_of

TIMEOUT: Final = 15.0
"""Seconds in which Slurm's commands answer; its controller may be busy."""

LISTED_WITHIN: Final = 60.0
"""Seconds after a start in which its job is listed at the latest; one without is gone."""

_PREFIX: Final = "antenna-"
_WAITING: Final = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
_RUNNING: Final = frozenset({"RUNNING", "COMPLETING", "STAGE_OUT", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"})
_ENDED_WELL: Final = frozenset({"COMPLETED", "CANCELLED", "PREEMPTED"})


class SlurmLauncher:
    """One pool of a cluster, as the user who runs this process."""

    def __init__(self, pool: SlurmPool) -> None:
        self._pool = pool

    async def look(self, starts: Sequence[Asked]) -> Mapping[str, Seen]:
        """As `Launcher.look`."""
        listed = await _said(["squeue", "--me", "--noheader", "--states=all", "--format=%i|%j|%T|%r"])
        jobs = [line.split("|", 3) for line in listed.splitlines() if line.count("|") >= 3]
        # A job that was requeued is listed once; the newest of those of one name counts.
        found = {name.removeprefix(_PREFIX): (number, state, reason) for number, name, state, reason in jobs}
        return {start.start_id: _seen(start, found.get(start.start_id)) for start in starts}

    async def others(self, heard: Collection[str | None]) -> int:
        """As `Launcher.others`: they are known once they are heard."""
        return 0

    async def start(self, start_id: str) -> str:
        """As `Launcher.start`. The script goes through standard input, and names no secret."""
        words = ["sbatch", *self._pool.options, "--parsable", f"--job-name={_PREFIX}{start_id}"]
        answer = await _said(words, stdin=self.script(start_id))
        # With several clusters: `number;cluster`.
        return told_of(answer.split(";")[0])

    async def cancel(self, start: Asked) -> None:
        """As `Launcher.cancel`: a job that runs by now goes on."""
        named = [f"--name={_PREFIX}{start.start_id}"]
        await _said(["scancel", "--me", "--state=PENDING", *named])

    def script(self, start_id: str) -> str:
        """The batch script. `srun`, because `--signal` and `scancel` send SIGTERM to steps, not to the shell.

        One worker, however many tasks the options ask for, on all the CPUs: since Slurm 22.05 steps do not inherit
        `--cpus-per-task`.
        """
        command = shlex.join([*self._pool.worker, *self._pool.worker_arguments(start_id)])
        step = "exec srun --ntasks=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}"
        return "\n".join(["#!/bin/bash", "set -eu", self._pool.setup, f"{step} {command}", ""])


async def _said(words: Sequence[str], *, stdin: str = "") -> str:
    return await output_of(
        words, timeout=TIMEOUT, stdin=stdin, environment=plain_environment(prefixes=("SLURM_", "SBATCH_"))
    )


def _seen(start: Asked, job: tuple[str, str, str] | None) -> Seen:
    if job is None:
        if start.handle or start.age > LISTED_WITHIN:
            return Seen("gone", "" if start.was_heard else "its Slurm job is not listed any more")
        return Seen("waiting", "it is not in Slurm's list yet")
    number, state, reason = job
    # `CANCELLED by 1000`
    state = state.split(" ")[0]
    if state in _WAITING:
        return Seen("waiting", f"Slurm job {number} is {state} ({reason})")
    if state in _RUNNING:
        return Seen("running", f"Slurm job {number} is {state}")
    if state in _ENDED_WELL and (start.was_heard or state != "COMPLETED"):
        return Seen("gone")
    why = f" ({reason})" if reason not in ("None", "") else ""
    unheard = "" if start.was_heard else " before its worker was heard"
    return Seen("gone", f"Slurm job {number} ended as {state}{why}{unheard}; the file that sbatch wrote says more")
