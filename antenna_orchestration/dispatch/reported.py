"""Reported errors: what becomes of an image about which a worker behind the gateway reported an error.

The gateway looks at the image itself, beside the request. What it cannot read either has failed for good; everything
else is offered again (`domain.reported_errors`). Meanwhile this process alone holds the task and extends it. If the
process ends, the queue offers the task again by itself, and the report costs nothing but the repetition.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.contract.results import reason_of
from antenna_orchestration.dispatch.image_urls import path_of
from antenna_orchestration.dispatch.judge_results import Verdict
from antenna_orchestration.dispatch.lease import ack_of
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import messages, reported_errors
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.domain.job import ACTIVE, Job
from antenna_orchestration.domain.reported_errors import Finding, Look, Report
from antenna_orchestration.live.leases import KeptLease

logger = logging.getLogger(__name__)

TOO_MANY: Final = Look(finding=Finding.UNKNOWN, why="there are too many images to look at")

MOST_HELD: Final = 20_000
"""Tasks that a process holds for a look at most; what is reported beyond them is offered again without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """An error that a worker reported about one image, and the lease that it had."""

    image: ImageId
    lease: KeptLease
    reason: str
    # Whether the worker said the same of its whole batch.
    shared: bool
    before: Report | None
    report: Report


async def note(http: HttpServices, job_run: JobRun, holder: int, verdicts: Sequence[Verdict]) -> dict[ImageId, Report]:
    """Note the errors in a post of this worker; the reports of the images that are to be tried again."""
    failed = [one for one in verdicts if one.item.kind != "done" and one.status in ("queued", "retry")]
    if not failed:
        return {}
    now = await http.live.leases.now()
    reports = {
        one.claim.image: (one.before or Report()).after(one.detail, holder=one.kept.holder, shared=one.shared, now=now)
        for one in failed
        if one.claim is not None and one.kept is not None and one.status == "retry"
    }
    await http.live.reports.put(job_run, reports)
    await http.live.reports.count_reasons(holder, [one.detail for one in failed])
    return reports


def take_up(http: HttpServices, job: Job, worker: Token, reported: Sequence[Reported]) -> None:
    """Hold the tasks whose leases were struck out, and decide about their images beside the request."""
    for one in reported:
        http.open_questions.held[job.job_run, one.image] = one.lease
    groups = [[one for one in reported if one.shared], *([one] for one in reported if not one.shared)]
    for group in filter(None, groups):
        http.open_questions.start(_decide_quietly(http, job, worker, group), f"reported errors of job {job.job_id}")


async def keep(http: HttpServices, *, longest: float = reported_errors.LONGEST_AT_THE_END) -> None:
    """Extend the tasks that are held, and shorten waits to `longest` seconds in jobs of which everything else is done.

    Call it every third of `task_ack_wait`. Raises `Unavailable`.
    """
    questions = http.open_questions
    now = await http.live.leases.now()
    for (job_run, image), lease in list(questions.held.items()):
        if lease.is_ours(now=now, ack_wait=http.settings.task_ack_wait):
            await http.remote_leases.extend([ack_of(job_run, lease)])
            if (job_run, image) in questions.held:
                questions.held[job_run, image] = msgspec.structs.replace(lease, confirmed=now)
    for job_run in {job_run for job_run, _ in questions.waiting}:
        ended = await _is_at_the_end(http, job_run)
        for key, (lease, until) in list(questions.waiting.items()):
            if key[0] != job_run:
                continue
            if until - now <= longest:
                del questions.waiting[key]
            elif ended:
                del questions.waiting[key]
                # The queue takes the last word on when to offer a task that was handed back.
                await http.remote_leases.hand_back([ack_of(job_run, lease)], longest)


async def hand_back_all(http: HttpServices) -> None:
    """Decide about nothing more, and offer the tasks that are held to everybody."""
    questions = http.open_questions
    # Before the decisions are stopped, which forget what they held.
    held = dict(questions.held)
    await questions.stop()
    questions.held.clear()
    try:
        for (job_run, _), lease in held.items():
            await _offer(http, job_run, lease, 0.0)
    except errors.Unavailable as error:
        logger.warning("%d tasks are offered again when their leases end: %s", len(held), error)


async def _decide_quietly(http: HttpServices, job: Job, worker: Token, group: Sequence[Reported]) -> None:
    try:
        await _decide(http, job, worker, group)
    except errors.Unavailable as error:
        logger.warning("job %s: %d tasks are offered again when their leases end: %s", job.job_id, len(group), error)
    except Exception:
        logger.exception("job %s: %d tasks are offered again when their leases end", job.job_id, len(group))
    finally:
        for one in group:
            http.open_questions.held.pop((job.job_run, one.image), None)


async def _decide(http: HttpServices, job: Job, worker: Token, group: Sequence[Reported]) -> None:
    """Look at the images, then fail them or offer them again. Raises `Unavailable`."""
    looks = await asyncio.gather(*(_look(http, one.image) for one in group))
    culprits = [one.image for one, look in zip(group, looks, strict=True) if look.finding is Finding.UNUSABLE]
    reports: dict[ImageId, Report] = {}
    for one, look in zip(group, looks, strict=True):
        if look.finding is Finding.UNUSABLE:
            continue
        report = one.report
        if look.finding is Finding.UNREACHABLE and not reported_errors.passes(one.reason):
            report = report.as_passing(one.before)
        if one.shared and not culprits:
            report = msgspec.structs.replace(report, alone=True)
        reports[one.image] = report
    await http.live.reports.put(job.job_run, reports)
    for one, look in zip(group, looks, strict=True):
        lease = http.open_questions.held.pop((job.job_run, one.image), one.lease)
        if one.image in reports:
            await _let_wait(http, job.job_run, one.image, lease, reported_errors.delay(reports[one.image], look))
        else:
            await _fail(http, job, worker, one=one, lease=lease, look=look)


async def _look(http: HttpServices, image: ImageId) -> Look:
    if len(http.open_questions.held) > MOST_HELD:
        return TOO_MANY
    async with http.looks.turn() as is_ours:
        if not is_ours:
            return TOO_MANY
        uri = await http.services.catalog.images.get_url(image)
        if uri.startswith("file:") and await asyncio.to_thread(path_of, http, uri) is None:
            return Look(finding=Finding.UNKNOWN, why="the gateway may not read it, or it is gone")
        return await http.looks.look(uri)


async def _let_wait(http: HttpServices, job_run: JobRun, image: ImageId, lease: KeptLease, seconds: float) -> None:
    """Offer the task again after so many seconds, or sooner if there is nothing else to do. Raises `Unavailable`."""
    if seconds > reported_errors.LONGEST_AT_THE_END and await _is_at_the_end(http, job_run):
        seconds = reported_errors.LONGEST_AT_THE_END
    await _offer(http, job_run, lease, seconds)
    if seconds > reported_errors.LONGEST_AT_THE_END:
        http.open_questions.waiting[job_run, image] = (lease, await http.live.leases.now() + seconds)


async def _fail(http: HttpServices, job: Job, worker: Token, *, one: Reported, lease: KeptLease, look: Look) -> None:
    """Publish that the image failed: neither the worker nor the gateway can read it. Raises `Unavailable`."""
    current = await http.services.catalog.jobs.find(job.job_id)
    if current is None or current.job_run != job.job_run or current.status not in ACTIVE:
        return
    now = datetime.now(UTC)
    result = messages.Result(
        job=job.job_id,
        generation=job.generation,
        image=one.image,
        worker=worker.name,
        delivery=lease.delivery,
        outcome="failed",
        reason=reason_of(reported_errors.both_reasons(one.reason, look)),
        retryable=False,
        # The clocks of Redis and of the gateway may differ.
        timings={"held": max(now.timestamp() - lease.since, 0.001)},
        created_at=now,
    )
    await http.sender.deliver([(result, ack_of(job.job_run, lease))])
    http.open_questions.failed += 1
    http.live.reports.forget(job.job_run, [one.image])
    await http.live.workers.count(lease.holder, settled=1, failed=1)


async def _offer(http: HttpServices, job_run: JobRun, lease: KeptLease, seconds: float) -> None:
    now = await http.live.leases.now()
    if lease.is_ours(now=now, ack_wait=http.settings.task_ack_wait):
        await http.remote_leases.hand_back([ack_of(job_run, lease)], seconds)


async def _is_at_the_end(http: HttpServices, job_run: JobRun) -> bool:
    """Whether everything of the job is done but images about which errors were reported. Raises `Unavailable`."""
    job = await http.services.catalog.jobs.find(job_run.job)
    if job is None or job.epoch is None or job.job_run != job_run or job.published_upto < job.total:
        return False
    counts = await http.services.queue.counts(job_run, job.epoch)
    return counts is not None and counts.queued == 0 and counts.leased <= await http.live.reports.count(job_run)
