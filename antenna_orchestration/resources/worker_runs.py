"""Workers as Dagster runs of `inference_worker`: the launcher of the pools of kind `dagster`.

Runs of our own location are requested by the sensor, which is handed them when the round is over; those of other
locations are launched through Dagster's web server, which alone knows their addresses.
"""

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.pools.configuration import DagsterPool
from antenna_orchestration.pools.launcher import Asked, Seen, Undecided, told_of
from antenna_orchestration.resources import run_states
from antenna_orchestration.resources.slurm_launcher import SlurmRunLauncher
from antenna_orchestration.settings import Settings
from antenna_orchestration.ui import graphql

JOB: Final = "inference_worker"

LAUNCHED_WITHIN: Final = 60.0
"""Seconds in which a start has a run."""

_WAITING: Final = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)

_AT_ONCE: Final = 500
"""Starts whose runs are asked for in one statement."""

_LAUNCH: Final = """
mutation ($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on UnauthorizedError { message }
  }
}
"""


class WorkerRuns:
    """The runs of one pool."""

    def __init__(self, instance: dg.DagsterInstance, pool: DagsterPool, settings: Settings) -> None:
        self._instance = instance
        self._pool = pool
        self._settings = settings
        # To be handed to Dagster by the sensor.
        self.requests: list[dg.RunRequest] = []

    @property
    def is_here(self) -> bool:
        """Whether its runs are of our own location."""
        return self._pool.location == tags.LOCATION

    async def look(self, starts: Sequence[Asked]) -> Mapping[str, Seen]:
        """As `Launcher.look`."""
        return await asyncio.to_thread(self._look, starts)

    async def others(self, heard: Collection[str | None]) -> Collection[str]:
        """As `Launcher.others`: runs that people launched lately, or that wait."""
        return await asyncio.to_thread(self._others, heard)

    async def start(self, start_id: str) -> str:
        """As `Launcher.start`; a run of our own location is one of `requests` afterwards."""
        config = {"ops": {"work": {"config": self._worker(start_id)}}}
        run_tags = {**self._pool.tags, tags.START: start_id}
        if self.is_here:
            self.requests.append(dg.RunRequest(run_key=start_id, run_config=config, tags=run_tags))
            return ""
        return await asyncio.to_thread(self._launch_elsewhere, config, {**run_tags, tags.ROLE: tags.WORKER})

    async def cancel(self, start: Asked) -> None:
        """As `Launcher.cancel`: a run that has left the run queue goes on."""
        record = (await asyncio.to_thread(self._records, [start.start_id])).get(start.start_id)
        if record is None:
            return
        run, why = record.dagster_run, "nothing waits for this worker any more"
        launcher = self._instance.run_launcher
        if run.status in _WAITING:
            await asyncio.to_thread(self._instance.report_run_canceled, run, why)
        elif run.status is dg.DagsterRunStatus.STARTING and isinstance(launcher, SlurmRunLauncher):
            await asyncio.to_thread(launcher.take_back, run, why)

    def _worker(self, start_id: str) -> dict[str, Any]:
        pool = self._pool
        config: dict[str, Any] = {
            "name": start_id,
            "exit_when_idle": pool.idle_exit_seconds,
            "max_lifetime": pool.max_lifetime_hours * 3600,
            "pipelines": list(pool.pipelines),
        }
        return config | ({"device": pool.device} if pool.device else {})

    def _look(self, starts: Sequence[Asked]) -> dict[str, Seen]:
        records = self._records([start.start_id for start in starts])
        return {
            start.start_id: self._seen(records[start.start_id], start)
            if start.start_id in records
            else _without_run(start)
            for start in starts
        }

    def _seen(self, record: dg.RunRecord, start: Asked) -> Seen:
        run = record.dagster_run
        number = run.run_id[:8]
        if run.status in _WAITING:
            return Seen("waiting", f"run {number} waits in Dagster's queue")
        if run.status is dg.DagsterRunStatus.STARTING and (job := run.tags.get(tags.SLURM_JOB)):
            return Seen("waiting", f"run {number} is Slurm job {job}, which has not begun")
        if run.status is dg.DagsterRunStatus.FAILURE:
            return Seen("gone", f"run {number} failed: {run_states.why_failed(self._instance, run)}")
        if run.is_finished:
            return Seen("gone")
        if not start.is_heard and not start.was_heard and run_states.age(record) > run_states.START_GRACE:
            return Seen("gone", f"the worker of run {number} was not heard within {run_states.START_GRACE:.0f} s")
        return Seen("running")

    def _others(self, heard: Collection[str | None]) -> list[str]:
        wanted = dg.RunsFilter(
            job_name=JOB, statuses=[*_WAITING, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
        )
        return [
            record.dagster_run.run_id
            for record in self._instance.get_run_records(wanted)
            if tags.START not in record.dagster_run.tags
            and record.dagster_run.run_id not in heard
            and run_states.location_of(record.dagster_run) == self._pool.location
            and (record.dagster_run.status in _WAITING or run_states.age(record) < run_states.START_GRACE)
        ]

    def _records(self, starts: Sequence[str]) -> dict[str, dg.RunRecord]:
        """The newest run of each start, in few statements: a tick of the sensor may take a minute."""
        found: dict[str, dg.RunRecord] = {}
        for number in range(0, len(starts), _AT_ONCE):
            wanted = dg.RunsFilter(job_name=JOB, tags={tags.START: [*starts[number : number + _AT_ONCE]]})
            for record in self._instance.get_run_records(wanted):
                found.setdefault(record.dagster_run.tags[tags.START], record)
        return found

    def _launch_elsewhere(self, config: dict[str, Any], run_tags: Mapping[str, str]) -> str:
        selector = {
            "repositoryLocationName": self._pool.location,
            "repositoryName": "__repository__",
            "jobName": JOB,
        }
        told = [{"key": key, "value": value} for key, value in run_tags.items()]
        parameters = {"selector": selector, "runConfigData": json.dumps(config), "executionMetadata": {"tags": told}}
        try:
            answer = graphql.ask(
                self._settings.ui_url, _LAUNCH, {"parameters": parameters}, password=self._settings.ui_password
            )["launchRun"]
        except errors.Unavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                raise Undecided(str(error)) from error
            raise
        if answer["__typename"] == "LaunchRunSuccess":
            return str(answer["run"]["runId"])
        said = answer.get("message") or "; ".join(error["message"] for error in answer.get("errors") or [])
        raise errors.Unavailable(f"a run in location {self._pool.location}: {told_of(said) or answer['__typename']}")


def _without_run(start: Asked) -> Seen:
    if start.age > LAUNCHED_WITHIN:
        return Seen("gone", "Dagster has not launched its run; does its daemon run?")
    return Seen("waiting", "its run is being requested")
