"""The task queue as the orchestrator sees it: open a job, publish, look what waits, close."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import nats.js.errors
from nats.aio.client import Client
from nats.js import api

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, PipelineSlug
from antenna_orchestration.queue import names, open_attempts, payloads
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.payloads import Payloads
from antenna_orchestration.queue.publisher import Confirmed, Message, Publisher

logger = logging.getLogger(__name__)

MAX_ACK_PENDING = 20_000
"""Tasks of one job that may be leased at once by all workers together; workers bound themselves far below."""

LISTING_TIMEOUT = 20.0
"""Seconds; a page of 100,000 subjects takes half a second on an idle server."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the server counts for a job's task consumer."""

    # Tasks nobody holds.
    queued: int
    # Tasks in someone's hands.
    leased: int
    # Leases that ended without an acknowledgement and were handed out again.
    redelivered: int
    # Tasks handed out at least once, counted again at each redelivery.
    delivered: int


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

    async def open(self, pipeline: PipelineSlug, job: JobId, generation: Generation, epoch: Epoch) -> None:
        """Create the job's consumer, or find that it is there already.

        It never expires by itself: a job may wait for a GPU over the holidays. Deliveries are unlimited, because
        whoever leases decides about attempts (`domain.attempts`).
        """
        config = api.ConsumerConfig(
            durable_name=names.task_consumer(job, generation, epoch),
            filter_subject=names.task_subject(pipeline, job, generation),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait,
            max_deliver=-1,
            max_ack_pending=MAX_ACK_PENDING,
        )
        with translated(f"opening job {job}"):
            try:
                await self._js.add_consumer(names.TASKS, config)
            except nats.js.errors.NotFoundError as error:
                raise errors.Unavailable("the stream TASKS is gone") from error

    async def publish(self, tasks: Sequence[messages.Task]) -> Confirmed:
        """Publish tasks; one that waits or is leased already is refused by the server and counts as published."""
        return await self._publisher.publish(
            [
                Message(names.task_subject(task.pipeline, task.job, task.generation, task.image), messages.encode(task))
                for task in tasks
            ]
        )

    async def counts(self, job: JobId, generation: Generation, epoch: Epoch) -> Waiting | None:
        """The server's counters of the job's consumer; None when the consumer is gone."""
        with translated(f"looking at job {job}"):
            try:
                info = await self._js.consumer_info(names.TASKS, names.task_consumer(job, generation, epoch))
            except nats.js.errors.NotFoundError:
                return None
        return Waiting(
            queued=info.num_pending or 0,
            leased=info.num_ack_pending or 0,
            redelivered=info.num_redelivered or 0,
            delivered=info.delivered.consumer_seq if info.delivered else 0,
        )

    async def waiting(self, pipeline: PipelineSlug, job: JobId, generation: Generation) -> set[ImageId]:
        """The images of the job that wait or are leased. A listing: 100,000 images take the server half a second."""
        return await self._listing(names.TASKS, names.task_subject(pipeline, job, generation))

    async def unread_results(self, job: JobId, generation: Generation) -> set[ImageId]:
        """The images of the job whose results wait to be collected or acknowledged."""
        return await self._listing(names.RESULTS, names.result_subject(job, generation))

    async def _listing(self, stream: str, subjects: str) -> set[ImageId]:
        return names.images_of_subjects(await self._subjects(stream, subjects))

    async def _subjects(self, stream: str, subjects: str) -> set[str]:
        """The server lists at most 100,000 subjects a page, and between two pages the stream moves on.

        What is missed for that looks lost and is published again, which the server refuses or the collector ignores.
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

    async def jobs_on_queue(self) -> set[tuple[JobId, Generation]]:
        """Every job and generation that has a consumer, a task, a result or a large payload on the queue."""
        with translated("listing the jobs on the queue"):
            found = [*await consumers(self._js, names.TASKS), *await consumers(self._js, names.RESULTS)]
        jobs = {job for name in found if (job := names.job_of_consumer(name)) is not None}
        subjects = await self._subjects(names.RESULTS, "results.>")
        if await self._has_unaccounted_tasks():
            subjects |= await self._subjects(names.TASKS, "tasks.>")
        subjects |= await self._subjects(open_attempts.STREAM, f"$KV.{names.OPENINGS_BUCKET}.>")
        jobs |= {job for subject in subjects if (job := _job_of_subject(subject)) is not None}
        chunks = await self._subjects(payloads.STREAM, payloads.CHUNKS)
        jobs |= {job for subject in chunks if (job := payloads.job_of_chunks(subject)) is not None}
        return jobs | {job for name in await self._payload_names() if (job := _job_of_payload(name)) is not None}

    async def _has_unaccounted_tasks(self) -> bool:
        """Whether there are tasks that no consumer counts: a million tasks of live jobs need not be listed for that.

        The tasks are counted first. What is acknowledged meanwhile costs a listing, and a task that hides behind one
        published meanwhile is found in the next round.
        """
        with translated("counting the tasks on the queue"):
            try:
                state = (await self._js.stream_info(names.TASKS)).state
                counted = 0
                for name in await consumers(self._js, names.TASKS):
                    info = await self._js.consumer_info(names.TASKS, name)
                    counted += (info.num_pending or 0) + (info.num_ack_pending or 0)
            except nats.js.errors.NotFoundError:
                # The stream, or a consumer whose job ended just now.
                return True
        return bool(state.messages > counted)

    async def _payload_names(self) -> list[str]:
        subjects = await self._subjects(payloads.STREAM, payloads.ALL)
        return [name for subject in subjects if (name := payloads.name_of(subject)) is not None]

    async def close(self, pipeline: PipelineSlug | None, job: JobId, generation: Generation) -> None:
        """Delete the job's consumers of this generation, then its tasks, results and payloads. All may be gone already.

        Without a pipeline the tasks of all pipelines are meant, for a job that the catalog does not know.
        """
        with translated(f"closing job {job}"):
            await self._delete_consumers(names.TASKS, f"j{job}-g{generation}-")
            await self._purge(names.TASKS, names.task_subject(pipeline or PipelineSlug("*"), job, generation))
            await self._delete_consumers(names.RESULTS, names.result_consumer_prefix(job, generation))
            await self._purge(names.RESULTS, names.result_subject(job, generation))
            await self._purge(open_attempts.STREAM, names.openings_subject(job, generation))
        for name in await self._payload_names():
            if _job_of_payload(name) == (job, generation):
                await self._payloads.drop(name)
        for subject in await self._subjects(payloads.STREAM, payloads.CHUNKS):
            if payloads.job_of_chunks(subject) == (job, generation):
                with translated(f"closing job {job}"):
                    await self._purge(payloads.STREAM, subject)

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


def _job_of_subject(subject: str) -> tuple[JobId, Generation] | None:
    """The job and generation of a task's or result's subject; None for one that is not ours."""
    job, generation, image = (*subject.split(".")[-3:], "", "", "")[:3]
    if not (job.isdecimal() and generation.isdecimal() and image.isdecimal()):
        return None
    return JobId(int(job)), Generation(int(generation))


def _job_of_payload(name: str) -> tuple[JobId, Generation] | None:
    job, generation, *rest = (*name.split("/"), "")
    return (
        (JobId(int(job)), Generation(int(generation))) if rest and job.isdecimal() and generation.isdecimal() else None
    )


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
