"""Runs of `process_job` as Dagster would start them, each on a thread, and what a person does to them in the UI.

The daemon's part is done by hand: a tick of each sensor when a test says so.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from antenna_orchestration import settings
from antenna_orchestration.assets.run_session import PARTITION
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.job import Counts, Job, JobStatus
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.sensors.job_run_status import job_run_status
from antenna_orchestration.sensors.queued_jobs import queued_jobs
from tests.processing.jobs_by_hand import hands, make_job
from tests.waiting import wait_until

T = TypeVar("T")


class RunsByHand:
    """One job, its runs, and a worker."""

    def __init__(self, wanted: settings.Settings, instance: dg.DagsterInstance, project: str, images: int) -> None:
        self.wanted = wanted
        self.instance = instance
        self.definitions = build_definitions()
        self.process_job = self.definitions.resolve_job_def("process_job")
        # A high priority, because other tests may leave queued jobs in the shared stores.
        self.job_id = self.do(lambda services: make_job(services, project, images, priority=90)).job_id
        self.threads: dict[str, threading.Thread] = {}
        self.instance.add_dynamic_partitions("processing_jobs", [ids.partition_key(self.job_id)])

    def do(self, act: Callable[[Services], Awaitable[T]]) -> T:
        """Let the services do something."""

        async def main() -> T:
            async with opened(self.wanted) as services:
                return await act(services)

        return asyncio.run(main())

    # The job.

    def job(self) -> Job:
        """The job as it is."""
        return self.do(lambda services: services.catalog.jobs.get(self.job_id))

    def counts(self) -> Counts:
        """Its images as they are."""
        return self.do(lambda services: services.catalog.images.count(self.job_id))

    def work(self, images: int, *, wait: float = 0.1) -> int:
        """Process up to so many of the job's tasks, that come within so many seconds; how many there were."""

        async def act(services: Services) -> int:
            job = await services.catalog.jobs.get(self.job_id)
            if job.epoch is None:
                return 0
            async with hands(services) as worker:
                leases = await worker.lease(job, images, wait=wait)
                await worker.report(leases)
                return len(leases)

        return self.do(act)

    def hand_back(self, images: int) -> int:
        """Lease up to so many of the job's tasks and hand them back, as a worker that leaves does; how many."""

        async def act(services: Services) -> int:
            async with hands(services) as worker:
                leases = await worker.lease(await services.catalog.jobs.get(self.job_id), images, wait=0.1)
                for lease in leases:
                    await lease.hand_back()
                return len(leases)

        return self.do(act)

    # The daemon.

    def tick(self) -> list[str]:
        """One tick of `queued_jobs`; the runs that it requested for the job, which wait now."""
        with dg.build_sensor_context(
            instance=self.instance, resources={"stores": Stores()}, definitions=self.definitions
        ) as context:
            result = queued_jobs(context)
        assert isinstance(result, dg.SensorResult | dg.SkipReason)
        asked = result.run_requests or [] if isinstance(result, dg.SensorResult) else []
        ours = [request for request in asked if request.partition_key == ids.partition_key(self.job_id)]
        return [self.launch(tags=dict(request.tags)) for request in ours]

    def tell_of(self, run_id: str) -> None:
        """One tick of `job_run_status` for a run that was canceled."""
        run = self.run(run_id)
        event = dg.DagsterEvent("PIPELINE_CANCELED", run.job_name)
        with dg.build_run_status_sensor_context(
            sensor_name="job_run_status",
            dagster_event=event,
            dagster_instance=self.instance,
            dagster_run=run,
            resources={"stores": Stores()},
        ) as context:
            job_run_status(context)

    # Runs.

    @property
    def at_work(self) -> list[str]:
        """The runs that were begun and are not over."""
        return [run_id for run_id, thread in self.threads.items() if thread.is_alive()]

    def launch(self, *, tags: dict[str, str] | None = None, parent: str | None = None) -> str:
        """A run that waits in the run queue: of the sensor (`tags`), executed again, or launched by hand."""
        inherited = dict(self.run(parent).tags) if parent else {}
        run = self.instance.create_run_for_job(
            self.process_job,
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags={PARTITION: ids.partition_key(self.job_id), **inherited, **(tags or {})},
            parent_run_id=parent,
            root_run_id=parent,
        )
        return run.run_id

    def begin(self, run_id: str) -> None:
        """Start a run that waits, and wait until it serves the job or is over."""
        run = self.run(run_id)
        thread = threading.Thread(target=self._execute, args=(run,), name=f"run {run_id}")
        self.threads[run_id] = thread
        thread.start()
        wait_until(
            lambda: not thread.is_alive() or self.job().run_id == run_id, description="the run has taken the job up"
        )

    def _execute(self, run: dg.DagsterRun) -> None:
        try:
            execute_run(InMemoryJob(self.process_job), run, self.instance)
        except Exception:
            # Dagster cannot record the end of a run that was deleted.
            if self.instance.has_run(run.run_id):
                raise

    def run(self, run_id: str) -> dg.DagsterRun:
        """A run as Dagster knows it."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None, "the run was deleted"
        return run

    def ended(self, run_id: str) -> None:
        """Wait until a run that was begun is over."""
        self.threads[run_id].join(timeout=90)
        assert not self.threads[run_id].is_alive(), f"run {run_id} does not end"

    # A person in the UI.

    def terminate(self, run_id: str, *, force: bool = False) -> None:
        """Terminate a run, wait until it has ended, and let the sensor know."""
        run = self.run(run_id)
        if force or run_id not in self.threads:
            self.instance.report_run_canceled(run)
        else:
            self.instance.report_run_canceling(run)
        if run_id in self.threads:
            self.ended(run_id)
        self.tell_of(run_id)

    def delete(self, run_id: str) -> None:
        """Delete a run, which ends then if it was at work."""
        self.instance.delete_run(run_id)
        if run_id in self.threads:
            self.ended(run_id)

    # The end.

    def bring_to_its_end(self) -> None:
        """Do what daemon and worker do by themselves, until the job is over."""

        def is_over() -> bool:
            for run_id in self.tick():
                self.begin(run_id)
            self.work(100)
            return self.job().status.is_terminal

        wait_until(is_over, description=f"job {self.job_id} is over", timeout=120)
        for run_id in self.threads:
            self.ended(run_id)

    def check_every_image_once(self) -> None:
        """The job succeeded, and catalog and lake hold each image once."""

        async def in_lake(services: Services) -> list[int]:
            table = await asyncio.to_thread(services.lake.read_table, "detections", self.job_id)
            return [int(image) for image in table.column("image_id").to_pylist()]

        counts, images = self.counts(), self.do(in_lake)
        assert self.job().status is JobStatus.SUCCESS, self.job()
        assert counts.done == counts.total == len(images) == len(set(images)), (counts, images)

    def stop(self) -> None:
        """End all runs."""
        for run_id, thread in self.threads.items():
            if thread.is_alive():
                if (run := self.instance.get_run_by_id(run_id)) is not None:
                    self.instance.report_run_canceled(run)
                self.ended(run_id)


@contextmanager
def runs_by_hand(wanted: settings.Settings, folder: Path, project: str, images: int) -> Iterator[RunsByHand]:
    """A job of so many images, with a Dagster instance of its own in the folder."""
    folder.mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        runs = RunsByHand(wanted, instance, project, images)
        try:
            yield runs
        finally:
            runs.stop()
