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

FORMAT: Final = "%i|%j|%T|%r"
"""What squeue prints of a job, for `jobs_in`."""

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
        listed = await _said(["squeue", "--me", "--noheader", "--states=all", f"--format={FORMAT}"])
        found = {name.removeprefix(_PREFIX): job for name, *job in jobs_in(listed)}
        return {start.start_id: _seen(start, found.get(start.start_id)) for start in starts}

    async def others(self, heard: Collection[str | None]) -> Collection[str]:
        """As `Launcher.others`: they are known once they are heard."""
        return ()

    async def start(self, start_id: str) -> str:
        """As `Launcher.start`. The script goes through standard input, and names no secret."""
        words = ["sbatch", *self._pool.options, "--parsable", f"--job-name={_PREFIX}{start_id}"]
        return job_of(await _said(words, stdin=self.script(start_id)))

    async def cancel(self, start: Asked) -> None:
        """As `Launcher.cancel`: a job that runs by now goes on."""
        named = [f"--name={_PREFIX}{start.start_id}"]
        await _said(["scancel", "--me", "--state=PENDING", *named])

    def script(self, start_id: str) -> str:
        """The batch script."""
        return batch_script([*self._pool.worker, *self._pool.worker_arguments(start_id)], setup=self._pool.setup)


async def _said(words: Sequence[str], *, stdin: str = "") -> str:
    return await output_of(
        words, timeout=TIMEOUT, stdin=stdin, environment=plain_environment(prefixes=("SLURM_", "SBATCH_"))
    )


def batch_script(command: Sequence[str], *, setup: str = "") -> str:
    """A script that runs a command. By `srun`: `--signal` and `scancel --signal` reach the steps of a job alone.

    One task, however many the options ask for, on all the CPUs: since Slurm 22.05 steps do not inherit
    `--cpus-per-task`.
    """
    step = "exec srun --ntasks=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}"
    return "\n".join(["#!/bin/bash", "set -eu", setup, f"{step} {shlex.join(command)}", ""])


def job_of(answer: str) -> str:
    """The job's number in what `sbatch --parsable` prints; with several clusters that is `number;cluster`."""
    return told_of(answer.split(";", maxsplit=1)[0])


def jobs_in(listed: str) -> list[tuple[str, str, str, str]]:
    """Name, number, state and reason of each job that squeue lists, oldest first."""
    rows = [line.split("|", 3) for line in listed.splitlines() if line.count("|") >= 3]
    jobs = [(name, number, state, reason) for number, name, state, reason in rows]
    return sorted(jobs, key=lambda job: int(job[1]) if job[1].isdigit() else 0)


def _seen(start: Asked, job: Sequence[str] | None) -> Seen:
    if job is not None:
        found = seen(*job)
        if found == Seen("gone") and job[1] == "COMPLETED" and not start.was_heard:
            return Seen("gone", f"Slurm job {job[0]} ended before its worker was heard; its output says more")
        return found
    if start.handle or start.age > LISTED_WITHIN:
        return Seen("gone", "" if start.was_heard else "its Slurm job is not listed any more")
    return Seen("waiting", "it is not in Slurm's list yet")


def seen(number: str, state: str, reason: str) -> Seen:
    """What a job's state means for what it was started for."""
    # `CANCELLED by 1000`
    state = state.split(" ", maxsplit=1)[0]
    if state in _WAITING:
        return Seen("waiting", f"Slurm job {number} is {state} ({reason})")
    if state in _RUNNING:
        return Seen("running", f"Slurm job {number} is {state}")
    if state in _ENDED_WELL:
        return Seen("gone")
    why = f" ({reason})" if reason not in ("None", "") else ""
    return Seen("gone", f"Slurm job {number} ended as {state}{why}; the file that sbatch wrote says more")
