"""Dagster's run launcher for a Slurm cluster: runs of workers are batch jobs, all others are launched as by default.

A run's job is found by its name, which is the run's id, so that nothing is lost when the process that submitted it dies
before it noted the number. Jobs run as the user, with the environment and in the paths, of the process that submits.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, Self

import dagster as dg
from dagster._core.errors import DagsterLaunchFailedError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass
from dagster._serdes.config_class import ConfigurableClassData

from antenna_orchestration import errors
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.times import in_utc
from antenna_orchestration.pools import slurm
from antenna_orchestration.pools.launcher import Seen, output_of
from antenna_orchestration.resources import run_states

STARTED_WITHIN: Final = 180.0
"""Seconds in which a run that is not a job of Slurm starts: Dagster's own limit would hold for those waiting there."""

_PREFIX: Final = "antenna-run-"

# `--no-requeue`: Dagster begins no run twice. `--signal`: the worker drains before its time limit.
_OPTIONS: Final = ("--no-requeue", "--signal=TERM@60")

_STACK: Final = "ANTENNA_STACK_"
"""Variables by which `antenna up` knows, and in the end kills, its own processes."""


class SlurmRunLauncher(RunLauncher[Any], ConfigurableClass):
    """Named in `dagster.yaml`; `options` are those of sbatch."""

    def __init__(self, options: Sequence[str] = (), inst_data: ConfigurableClassData | None = None) -> None:
        self._options = tuple(options)
        self._inst_data = inst_data
        self._default: Any = DefaultRunLauncher()
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """What Dagster makes it from in another process."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> Any:
        """The configuration in `dagster.yaml`."""
        return {"options": dg.Field(dg.Array(str), default_value=[])}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """Called by Dagster with the configuration in `dagster.yaml`."""
        return cls(inst_data=inst_data, **config_value)

    def register_instance(self, instance: Any) -> None:
        """As Dagster's."""
        super().register_instance(instance)
        self._default.register_instance(instance)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Submit a worker's run. Raises `DagsterLaunchFailedError` with what sbatch says."""
        run = context.dagster_run
        if not _is_for_slurm(run):
            self._default.launch_run(context)
            return
        origin = context.job_code_origin
        if origin is None:
            raise _refusal(f"run {run.run_id} does not say where its code is")
        arguments = ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=self._instance.get_ref())
        output = f"--output={self._instance.root_directory}/slurm-%j.log"
        try:
            answer = _call(
                "sbatch", "--parsable", f"--job-name={_name(run)}", output, *_OPTIONS, *self._options,
                stdin=slurm.batch_script(arguments.get_command_args()),
            )  # fmt: skip
        except errors.Unavailable as error:
            raise _refusal(str(error)) from None
        job = slurm.job_of(answer)
        self._instance.add_run_tags(run.run_id, {tags.SLURM_JOB: job})
        self._instance.report_engine_event(f"Submitted to Slurm as job {job}", run, cls=type(self))

    def terminate(self, run_id: str) -> bool:
        """Take a waiting job back; ask one that runs to drain. Raises `Unavailable`."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if not _is_for_slurm(run):
            return bool(self._default.terminate(run_id))
        # A run that Slurm's commands do not reach sees this, and leaves, too.
        self._instance.report_run_canceling(run)
        if not self.take_back(run, "its Slurm job was canceled before it began"):
            # To its step alone, once: plain `scancel` signals the batch script as well, and the second SIGTERM that the
            # run gets by it interrupts the first one's clean-up.
            _call("scancel", "--me", f"--name={_name(run)}", "--state=RUNNING", "--signal=TERM")
        return True

    def take_back(self, run: dg.DagsterRun, why: str) -> bool:
        """Cancel a run whose job waits in Slurm's queue, or is gone; False if it runs. Raises `Unavailable`."""
        _cancel_waiting(run)
        if (seen := _look(run)) is not None and seen.state != "gone":
            return False
        self._instance.report_run_canceled(run, message=why)
        return True

    def cancel_jobs_of_ended_runs(self) -> list[str]:
        """Cancel jobs that wait although their run is over; their numbers. Raises `Unavailable`.

        The UI marks a STARTING run as canceled without asking the launcher.
        """
        waiting = {
            name.removeprefix(_PREFIX): number
            for name, number, _, _ in _listed("--states=PENDING")
            if name.startswith(_PREFIX)
        }
        if not waiting:
            return []
        # Runs that this instance does not know may be another's.
        known = self._instance.get_runs(dg.RunsFilter(run_ids=list(waiting)))
        over = [run for run in known if run.is_finished]
        for run in over:
            _cancel_waiting(run)
        return [waiting[run.run_id] for run in over]

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether run monitoring asks."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether a started run can be alive; while Slurm does not answer, it can."""
        if not _is_for_slurm(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            seen = _look(run)
        except errors.Unavailable as error:
            return CheckRunHealthResult(WorkerStatus.RUNNING, str(error))
        if seen is None:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its Slurm job is not listed any more")
        # A run tells how it ended before its job ends.
        status = WorkerStatus.FAILED if seen.state == "gone" else WorkerStatus.RUNNING
        return CheckRunHealthResult(status, seen.note or "its Slurm job ended")

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """What Slurm says of the run's job."""
        if not _is_for_slurm(run):
            return None
        try:
            seen = _look(run)
        except errors.Unavailable as error:
            return str(error)
        return seen.note if seen else "its Slurm job is not listed any more"

    def why_not_starting(self, record: dg.RunRecord) -> str:
        """Why a STARTING run will not start any more; empty if it may. Raises `Unavailable`.

        Dagster's own limit is a week with this launcher, because jobs may wait in Slurm's queue for days.
        """
        run = record.dagster_run
        since = (datetime.now(UTC) - in_utc(record.update_timestamp)).total_seconds()
        if not _is_for_slurm(run):
            return f"it did not start within {STARTED_WITHIN:.0f} s" if since > STARTED_WITHIN else ""
        if since <= slurm.LISTED_WITHIN:
            return ""
        seen = _look(run)
        if seen is None:
            return "its Slurm job is not listed any more"
        return (seen.note or "its Slurm job ended before the run began") if seen.state == "gone" else ""


def _is_for_slurm(run: dg.DagsterRun) -> bool:
    """Whether it is a worker's run of our own location: others are launched where their location is."""
    return run.tags.get(tags.ROLE) == tags.WORKER and not run_states.is_elsewhere(run)


def _refusal(why: str) -> DagsterLaunchFailedError:
    return DagsterLaunchFailedError(why)  # type: ignore[no-untyped-call]


def _name(run: dg.DagsterRun) -> str:
    return f"{_PREFIX}{run.run_id}"


def _look(run: dg.DagsterRun) -> Seen | None:
    """What became of a run's job; None if Slurm does not list it. Raises `Unavailable`."""
    jobs = _listed("--states=all", f"--name={_name(run)}")
    return slurm.seen(*jobs[-1][1:]) if jobs else None


def _listed(*which: str) -> list[tuple[str, str, str, str]]:
    return slurm.jobs_in(_call("squeue", "--me", "--noheader", *which, f"--format={slurm.FORMAT}"))


def _cancel_waiting(run: dg.DagsterRun) -> None:
    _call("scancel", "--me", f"--name={_name(run)}", "--state=PENDING")


def _call(*command: str, stdin: str = "") -> str:
    """What one of Slurm's commands prints. Raises `Unavailable`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_STACK)}
    saying = output_of(command, timeout=slurm.TIMEOUT, environment=environment, stdin=stdin)
    # On a thread of its own: the web server calls its launcher from within a loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, saying).result()
