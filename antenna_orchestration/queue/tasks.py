"""The task queue as the orchestrator uses it: open a job, publish its tasks, count them, close it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import nats.js.errors
from nats.aio.client import Client
from nats.js import api

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, JobRun, PipelineSlug
from antenna_orchestration.queue import names, open_attempts, payloads
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.payloads import Payloads
from antenna_orchestration.queue.publisher import Confirmed, Message, Publisher

logger = logging.getLogger(__name__)

MAX_ACK_PENDING = 20_000
"""Tasks of one job that all workers together may lease at once; each worker leases far fewer."""

CANNOT_STORE = 10104
"""The server's code for a consumer that it cannot store, also for the damaged files of an earlier one of this name."""

LISTING_TIMEOUT = 20.0
"""Seconds per page; one of 100,000 subjects takes half a second on an idle server."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the server counts for a job's task consumer."""

    # Tasks that nobody has leased.
    queued: int
    # Tasks that somebody has leased. Those that a worker handed back, or held when it died, count until the next lease.
    leased: int
    # Leased tasks that were delivered more than once.
    redelivered: int
    # Deliveries, redeliveries among them.
    delivered: int


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """An image's task on the queue."""

    published_at: datetime | None
    # Whether it was handed out before, and so is leased now, or was handed back or given up.
    was_delivered: bool
    # Whether any task of its job is leased now.
    some_are_leased: bool


class TaskQueue:
    """Publishes and administers tasks; needs the orchestrator's rights. Use it as an async context manager."""

    def __init__(self, client: Client, *, ack_wait: float) -> None:
        self._js = client.jetstream()
        self._publisher = Publisher(client)
        self._payloads = Payloads(client, self._publisher)
        self._ack_wait = ack_wait

    async def __aenter__(self) -> TaskQueue:
        await self._publisher.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._publisher.__aexit__(*error)

    async def open(self, pipeline: PipelineSlug, job_run: JobRun, epoch: Epoch) -> bool:
        """Create the job's consumer; idempotent. False when the server cannot store one of this epoch.

        It never expires by itself, since a job may wait for a GPU for weeks. Deliveries are unlimited, because whoever
        leases a task decides about attempts (`domain.attempts`). Raises `Unavailable`.
        """
        config = api.ConsumerConfig(
            durable_name=names.task_consumer(job_run, epoch),
            filter_subject=names.task_subject(pipeline, job_run),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait,
            max_deliver=-1,
            max_ack_pending=MAX_ACK_PENDING,
        )
        with translated(f"opening job {job_run.job}"):
            try:
                await self._js.add_consumer(names.TASKS, config)
            except nats.js.errors.NotFoundError as error:
                raise errors.Unavailable("the stream TASKS is gone") from error
            except nats.js.errors.APIError as error:
                if error.err_code != CANNOT_STORE:
                    raise
                return False
        return True

    async def publish(self, tasks: Sequence[messages.Task]) -> Confirmed:
        """Publish tasks; idempotent, since the server refuses a task that waits or is leased already."""
        return await self._publisher.publish(
            [
                Message(names.task_subject(task.pipeline, task.job_run, task.image), messages.encode(task))
                for task in tasks
            ]
        )

    async def counts(self, job_run: JobRun, epoch: Epoch) -> Waiting | None:
        """The server's counters of the job's consumer; None when the consumer is gone. Raises `Unavailable`."""
        with translated(f"looking at job {job_run.job}"):
            try:
                info = await self._js.consumer_info(names.TASKS, names.task_consumer(job_run, epoch))
            except nats.js.errors.NotFoundError:
                return None
        return Waiting(
            queued=info.num_pending or 0,
            leased=info.num_ack_pending or 0,
            redelivered=info.num_redelivered or 0,
            delivered=info.delivered.consumer_seq if info.delivered else 0,
        )

    async def backlog(self) -> dict[JobRun, Waiting]:
        """The counters of all jobs' consumers, in pages of some hundred. Raises `Unavailable`."""
        found: dict[JobRun, Waiting] = {}
        offset = 0
        while True:
            with translated("looking at what waits"):
                try:
                    page = await self._js._api_request(
                        f"$JS.API.CONSUMER.LIST.{names.TASKS}",
                        json.dumps({"offset": offset}).encode(),
                        timeout=LISTING_TIMEOUT,
                    )
                except nats.js.errors.NotFoundError:
                    return {}
            listed = page.get("consumers") or []
            for info in listed:
                if (job_run := names.job_run_of_consumer(info["name"])) is not None:
                    found[job_run] = Waiting(
                        queued=info.get("num_pending") or 0,
                        leased=info.get("num_ack_pending") or 0,
                        redelivered=info.get("num_redelivered") or 0,
                        delivered=(info.get("delivered") or {}).get("consumer_seq") or 0,
                    )
            offset += len(listed)
            if not listed or offset >= page.get("total", 0):
                return found

    async def find(self, pipeline: PipelineSlug, job_run: JobRun, epoch: Epoch, image: ImageId) -> QueuedTask | None:
        """The image's task; None when it is not on the queue. Raises `Unavailable`."""
        with translated(f"looking for image {image}"):
            try:
                found = await self._js.get_last_msg(names.TASKS, names.task_subject(pipeline, job_run, image))
                info = await self._js.consumer_info(names.TASKS, names.task_consumer(job_run, epoch))
            except nats.js.errors.NotFoundError:
                return None
        reached = info.delivered.stream_seq if info.delivered else 0
        return QueuedTask(
            published_at=found.time,
            was_delivered=(found.seq or 0) <= reached,
            some_are_leased=bool(info.num_ack_pending),
        )

    async def has_unread_result(self, job_run: JobRun, image: ImageId | None = None) -> bool:
        """Whether a result of the image, or of any image, waits to be collected. Raises `Unavailable`."""
        with translated(f"looking for results of job {job_run.job}"):
            try:
                await self._js.get_last_msg(names.RESULTS, names.result_subject(job_run, image))
            except nats.js.errors.NotFoundError:
                return False
        return True

    async def waiting(self, pipeline: PipelineSlug, job_run: JobRun) -> set[ImageId]:
        """The images of the job that wait or are leased. 100,000 images take the server half a second."""
        return await self._listing(names.TASKS, names.task_subject(pipeline, job_run))

    async def unread_results(self, job_run: JobRun) -> set[ImageId]:
        """The images of the job whose results wait to be collected or acknowledged."""
        return await self._listing(names.RESULTS, names.result_subject(job_run))

    async def _listing(self, stream: str, subjects: str) -> set[ImageId]:
        return names.images_of_subjects(await self._subjects(stream, subjects))

    async def _subjects(self, stream: str, subjects: str) -> set[str]:
        """The subjects in the stream that match, in pages of at most 100,000.

        The stream may change between two pages. An image that is missed for that looks lost and is published again,
        which the server refuses or the collector ignores.
        """
        found: set[str] = set()
        offset = 0
        while True:
            body = json.dumps({"subjects_filter": subjects, "offset": offset}).encode()
            with translated(f"listing {subjects}"):
                try:
                    page = await self._js._api_request(f"$JS.API.STREAM.INFO.{stream}", body, timeout=LISTING_TIMEOUT)
                except nats.js.errors.NotFoundError:
                    return set()
            listed = page["state"].get("subjects") or {}
            found.update(listed)
            offset += len(listed)
            if not listed or offset >= page.get("total", 0):
                return found

    async def jobs_on_queue(self) -> set[JobRun]:
        """Every job run that has a consumer, a task, a result or a large payload on the queue."""
        with translated("listing the jobs on the queue"):
            found = [*await consumers(self._js, names.TASKS), *await consumers(self._js, names.RESULTS)]
        jobs = {job_run for name in found if (job_run := names.job_run_of_consumer(name)) is not None}
        subjects = await self._subjects(names.RESULTS, "results.>")
        if await self._has_unaccounted_tasks():
            subjects |= await self._subjects(names.TASKS, "tasks.>")
        subjects |= await self._subjects(open_attempts.STREAM, f"$KV.{names.OPENINGS_BUCKET}.>")
        jobs |= {job_run for subject in subjects if (job_run := _job_run_of_subject(subject)) is not None}
        chunks = await self._subjects(payloads.STREAM, payloads.CHUNKS)
        jobs |= {job_run for subject in chunks if (job_run := payloads.job_run_of_chunks(subject)) is not None}
        return jobs | {
            job_run for name in await self._payload_names() if (job_run := _job_run_of_payload(name)) is not None
        }

    async def _has_unaccounted_tasks(self) -> bool:
        """Whether there are tasks that no consumer counts; this spares listing a million tasks of live jobs.

        The tasks are counted first. When one is acknowledged meanwhile, they are listed for nothing; when one is
        published meanwhile, a task that no consumer counts may be missed until the next call.
        """
        with translated("counting the tasks on the queue"):
            try:
                state = (await self._js.stream_info(names.TASKS)).state
                counted = 0
                for name in await consumers(self._js, names.TASKS):
                    info = await self._js.consumer_info(names.TASKS, name)
                    counted += (info.num_pending or 0) + (info.num_ack_pending or 0)
            except nats.js.errors.NotFoundError:
                # The stream is gone, or a consumer whose job ended just now.
                return True
        return bool(state.messages > counted)

    async def _payload_names(self) -> list[str]:
        subjects = await self._subjects(payloads.STREAM, payloads.ALL)
        return [name for subject in subjects if (name := payloads.name_of(subject)) is not None]

    async def close(self, pipeline: PipelineSlug | None, job_run: JobRun) -> None:
        """Delete the job run's consumers, tasks, results and payloads; idempotent. Raises `Unavailable`.

        Without `pipeline`, for a job that the catalog does not know, tasks of all pipelines are deleted.
        """
        with translated(f"closing job {job_run.job}"):
            await self._delete_consumers(names.TASKS, names.task_consumer_prefix(job_run))
            await self._purge(names.TASKS, names.task_subject(pipeline or PipelineSlug("*"), job_run))
            await self._delete_consumers(names.RESULTS, names.result_consumer_prefix(job_run))
            await self._purge(names.RESULTS, names.result_subject(job_run))
            await self._purge(open_attempts.STREAM, names.openings_subject(job_run))
        for name in await self._payload_names():
            if _job_run_of_payload(name) == job_run:
                await self._payloads.drop(name)
        for subject in await self._subjects(payloads.STREAM, payloads.CHUNKS):
            if payloads.job_run_of_chunks(subject) == job_run:
                with translated(f"closing job {job_run.job}"):
                    await self._purge(payloads.STREAM, subject)

    async def drop_consumers(self, job_run: JobRun) -> None:
        """Delete the job's task consumers, of whatever epoch; its tasks stay. Raises `Unavailable`."""
        with translated(f"deleting the consumers of job {job_run.job}"):
            await self._delete_consumers(names.TASKS, names.task_consumer_prefix(job_run))

    async def drop_tasks(self, pipeline: PipelineSlug, job_run: JobRun) -> None:
        """Delete the job's task consumer and all tasks; their images count as lost then. Raises `Unavailable`."""
        await self.drop_consumers(job_run)
        with translated(f"deleting the tasks of job {job_run.job}"):
            await self._purge(names.TASKS, names.task_subject(pipeline, job_run))

    async def drop_results(self, job_run: JobRun) -> None:
        """Delete the results that wait to be collected; their images count as lost then. Raises `Unavailable`."""
        with translated(f"deleting the results of job {job_run.job}"):
            await self._purge(names.RESULTS, names.result_subject(job_run))

    async def _purge(self, stream: str, subject: str) -> None:
        try:
            await self._js.purge_stream(stream, subject=subject)
        except nats.js.errors.NotFoundError:
            logger.debug("no stream %s to purge", stream)

    async def _delete_consumers(self, stream: str, prefix: str) -> None:
        for name in await consumers(self._js, stream):
            if name.startswith(prefix):
                try:
                    await self._js.delete_consumer(stream, name)
                except nats.js.errors.NotFoundError:
                    logger.debug("consumer %s is gone already", name)


def _job_run_of_subject(subject: str) -> JobRun | None:
    """The job run of a task's or result's subject; None for a foreign subject."""
    job, generation, image = (*subject.split(".")[-3:], "", "", "")[:3]
    if not (job.isdecimal() and generation.isdecimal() and image.isdecimal()):
        return None
    return JobRun(JobId(int(job)), Generation(int(generation)))


def _job_run_of_payload(name: str) -> JobRun | None:
    job, generation, *rest = (*name.split("/"), "")
    if not (rest and job.isdecimal() and generation.isdecimal()):
        return None
    return JobRun(JobId(int(job)), Generation(int(generation)))


async def consumers(js: object, stream: str) -> list[str]:
    """The names of all consumers of a stream, page by page; empty when the stream is gone."""
    found: list[str] = []
    while True:
        try:
            page = await js._api_request(  # type: ignore[attr-defined]
                f"$JS.API.CONSUMER.NAMES.{stream}", f'{{"offset": {len(found)}}}'.encode(), timeout=5.0
            )
        except nats.js.errors.NotFoundError:
            return []
        found += page["consumers"] or []
        if len(found) >= page["total"]:
            return found
