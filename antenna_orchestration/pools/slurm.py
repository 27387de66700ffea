"""Workers as jobs of a Slurm cluster: one batch job per worker, named after it.

States are read from `squeue`, which also lists jobs that ended a short while ago (`MinJobAge`, five minutes if the
cluster does not say otherwise).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from antenna_orchestration.pools.configuration import SlurmPool
from antenna_orchestration.pools.launcher import Asked, Seen, output_of

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
        listed = await output_of(
            ["squeue", "--me", "--noheader", "--states=all", f"--format={FORMAT}"], timeout=TIMEOUT
        )
        found = {name.removeprefix(_PREFIX): job for name, *job in jobs_in(listed)}
        return {start.start_id: _seen(start, found.get(start.start_id)) for start in starts}

    async def others(self, heard: Collection[str | None]) -> int:
        """As `Launcher.others`: they are known once they are heard."""
        return 0

    async def start(self, start_id: str) -> str:
        """As `Launcher.start`. The script goes through standard input, and names no secret."""
        words = ["sbatch", "--parsable", f"--job-name={_PREFIX}{start_id}", *self._pool.options]
        answer = await output_of(words, timeout=TIMEOUT, stdin=self.script(start_id), environment=_for_workers())
        return job_of(answer)

    async def cancel(self, start: Asked) -> None:
        """As `Launcher.cancel`: a job that runs by now goes on."""
        named = [f"--name={_PREFIX}{start.start_id}"]
        await output_of(["scancel", "--me", "--state=PENDING", *named], timeout=TIMEOUT)

    def script(self, start_id: str) -> str:
        """The batch script."""
        return batch_script([*self._pool.worker, *self._pool.worker_arguments(start_id)], setup=self._pool.setup)


def batch_script(command: Sequence[str], *, setup: str = "") -> str:
    """A script that runs a command. By `srun`: `--signal` and `scancel --signal` reach the steps of a job alone."""
    return "\n".join(["#!/bin/bash", "set -eu", setup, f"exec srun {shlex.join(command)}", ""])


def job_of(answer: str) -> str:
    """The job's number in what `sbatch --parsable` prints; with several clusters that is `number;cluster`."""
    return answer.strip().split(";")[0]


def jobs_in(listed: str) -> list[tuple[str, str, str, str]]:
    """Name, number, state and reason of each job that squeue lists, oldest first."""
    rows = [line.split("|", 3) for line in listed.splitlines() if line.count("|") >= 3]
    jobs = [(name, number, state, reason) for number, name, state, reason in rows]
    return sorted(jobs, key=lambda job: int(job[1]) if job[1].isdigit() else 0)


def _for_workers() -> dict[str, str]:
    """The environment that sbatch hands to the job: without the settings of this process, and its secrets in them."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ANTENNA_", "DAGSTER_"))}


def _seen(start: Asked, job: Sequence[str] | None) -> Seen:
    if job is not None:
        return seen(*job)
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
