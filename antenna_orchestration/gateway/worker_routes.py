"""Routes for workers: find a job, lease its tasks, post results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from antenna_orchestration import errors
from antenna_orchestration.contract import client_info, models, pushing, statuses
from antenna_orchestration.dispatch import accept_results, given_to_workers, image_urls, lease, worker_status
from antenna_orchestration.dispatch.hand_back import hand_back
from antenna_orchestration.domain import given_boxes, messages
from antenna_orchestration.domain.access import Act, Token
from antenna_orchestration.domain.ids import ImageId, JobId
from antenna_orchestration.domain.job import DispatchMode, Job, JobStatus
from antenna_orchestration.domain.messages import GivenBox
from antenna_orchestration.gateway import bodies
from antenna_orchestration.gateway.clients import told_apart
from antenna_orchestration.gateway.dependencies import (
    RESULT_PATIENCE,
    AnyCaller,
    JobForPost,
    JobForWorker,
    PostingCaller,
    ThisGateway,
    WorkerCaller,
    host_of,
    job_of,
)
from antenna_orchestration.gateway.job_views import job_view
from antenna_orchestration.gateway.parameters import Filters
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.processing import retrying

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["workers"])

PAGE: Final = 100
"""Jobs per page, unless the caller asks for another number."""

LONGEST_POLL: Final = 10_000
"""Characters of filters that are remembered of a worker; one that asks with more has no turns."""

JobFilters = Annotated[Filters, Query()]


@router.get("/jobs/", summary="List jobs")
async def list_jobs(request: Request, gateway: ThisGateway, caller: AnyCaller, filters: JobFilters) -> models.JobList:
    """For a worker: jobs that have a task to lease now, in fair order; one with `ids_only` and no `limit`.

    For submitters and admins: the jobs of their projects, newest first.
    """
    filters.check()
    looks_for_work = caller.may(Act.LEASE) and (filters.ids_only or filters.incomplete_only)
    if caller.may(Act.LOOK) and not looks_for_work:
        return await _page_for_people(gateway, caller, filters)
    return await _page_for_workers(request, gateway, caller, filters)


@router.get("/jobs/next/", summary="The next job to work on", responses={204: {"description": "Nothing to do."}})
async def next_job(request: Request, gateway: ThisGateway, caller: WorkerCaller, filters: JobFilters) -> models.JobItem:
    """The job that this worker should ask for tasks now, by the filters of the list."""
    filters.check()
    found = await _offers(request, gateway, caller, filters, limit=1)
    if not found:
        return Response(status_code=204)  # type: ignore[return-value]
    return models.JobItem(id=found[0].job, pipeline_slug=found[0].pipeline)


@router.post("/jobs/{job_id}/tasks/", summary="Lease tasks")
async def lease_tasks(
    request: Request,
    gateway: ThisGateway,
    caller: WorkerCaller,
    job: JobForWorker,
    wanted: models.TasksRequest,
) -> models.TasksAnswer:
    """Up to `batch_size` tasks of the job. An empty list means that nothing of it can be leased now."""
    return await _lease(request, gateway, caller, job, wanted.batch_size, info=wanted.client_info)  # type: ignore[return-value]


@router.get("/jobs/{job_id}/tasks/", summary="Lease tasks (before April 2026)", deprecated=True)
async def lease_tasks_of_old(
    request: Request,
    gateway: ThisGateway,
    caller: WorkerCaller,
    job: JobForWorker,
    batch: Annotated[int, Query(ge=1, le=2**31)] = 1,
) -> models.TasksAnswer:
    """The same, as workers asked for it before."""
    return await _lease(request, gateway, caller, job, batch)  # type: ignore[return-value]


async def _lease(
    request: Request, gateway: Gateway, origin: Token, job: Job, wanted: int, *, info: Mapping[str, Any] | None = None
) -> Response:
    if job.dispatch_mode is not DispatchMode.ASYNC:
        raise errors.InvalidInput("Only async_api jobs have fetchable tasks")
    caller = told_apart(request, origin, info)
    await worker_status.hear(
        gateway.http, caller, host=host_of(request), origin=origin, client_info=client_info.read(info)
    )
    lease.raise_if_away(gateway.http)

    async def is_over() -> bool:
        return await gateway.offers.is_turn_over(caller, origin, job.job_run, wanted, partial(_asked_for, gateway))

    base = gateway.settings.gateway_public_url.rstrip("/") or str(request.base_url).rstrip("/")
    if job.detections_of is not None:
        wanted = min(wanted, given_boxes.MOST_AT_ONCE)
    leased = await lease.lease(gateway.http, job, caller, wanted, is_over=is_over)
    try:
        urls = await image_urls.urls_of(gateway.http, leased, base=base)
        given = await given_to_workers.boxes_of(gateway.http, job, leased)
        await gateway.offers.leased(caller, origin, job.job_run, len(leased))
        tasks = [
            models.WireTask(
                id=str(one.image),
                image_id=str(one.image),
                image_url=url,
                reply_subject=one.token,
                config=job.config,
                **_detections(one.image, url, given),
            )
            for one, url in zip(leased, urls, strict=True)
        ]
        # As it is sent: what cannot be written must not be found out later.
        answer = models.TasksAnswer(tasks=tasks, lease_seconds=gateway.settings.http_lease)
        return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")
    except BaseException:
        # The worker is never told about these tasks.
        try:
            images = [one.image for one in leased]
            await hand_back(gateway.http, job.job_run, caller.holder, images, untried=True)
        except errors.Unavailable as error:
            logger.warning("job %s: %d leases end by themselves: %s", job.job_id, len(leased), error)
        raise


def _detections(image: ImageId, url: str, given: Mapping[ImageId, Sequence[GivenBox]]) -> dict[str, Any]:
    """The field of a task that only those of some jobs have."""
    return {"detections": pushing.wire_boxes(str(image), url, given[image])} if image in given else {}


@router.post(
    "/jobs/{job_id}/result/",
    summary="Post results",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object", "required": ["results"], "properties": {
                "results": {"type": "array", "items": {"type": "object", "required": ["result"], "properties": {
                    "reply_subject": {"type": ["string", "null"]}, "result": {"type": "object"}}}}}}}},
        }
    },
)  # fmt: skip
async def post_results(
    request: Request, gateway: ThisGateway, caller: PostingCaller, job: JobForPost
) -> models.ResultsAnswer:
    """Results of leased tasks. 200 with a status for each; what is `queued` is durable. Bodies may be gzip.

    Waits for the queue for up to 45 s.
    """
    await worker_status.hear(gateway.http, caller, host=host_of(request))
    folder, limit = gateway.parsing.folder, gateway.settings.gateway_max_body
    async with (
        gateway.callers.posting(caller),
        gateway.budget.room(caller.token_id) as room,
        bodies.received(request, folder=folder, limit=limit, room=room) as body,
    ):
        # Counted from the body's last byte, as clients count: a slow upload does not use up the time.
        deadline = time.monotonic() + RESULT_PATIENCE
        # The job may have been canceled or retried meanwhile.
        current = await retrying.retry_until(deadline, lambda: job_of(gateway, caller, job.job_id))
        reduction = await retrying.retry_until(deadline, lambda: accept_results.reduction(gateway.http, current))
        async with gateway.parsing.items(body, reduction) as items:
            taken = await accept_results.accept(gateway.http, current, caller, items, size=body.size, deadline=deadline)
    gateway.measured.results([one.status for one in taken])
    return models.ResultsAnswer(
        job_id=job.job_id,
        results_queued=sum(one.status == "queued" for one in taken),
        tasks=[
            models.ItemStatus(
                reply_subject=one.reply_subject,
                status=one.status,
                task_id=f"{job.job_id}-{one.image}" if one.image is not None else "",
                detail=one.detail,
            )
            for one in taken
        ],
    )


async def _page_for_workers(request: Request, gateway: Gateway, caller: Token, filters: Filters) -> models.JobList:
    asked = filters.page_limit
    limit = asked if asked is not None else (1 if filters.ids_only else PAGE)
    found = await _offers(request, gateway, caller, filters, limit=limit + filters.offset)
    page = found[filters.offset :]
    items = [models.JobItem(id=job.job, pipeline_slug=job.pipeline) for job in page]
    return models.JobList(count=len(found), results=list(items))


async def _offers(
    request: Request, gateway: Gateway, caller: Token, filters: Filters, *, limit: int
) -> list[messages.Announcement]:
    if caller.may(Act.LEASE):
        await worker_status.hear(gateway.http, caller, host=host_of(request), pipelines=filters.pipelines or ())
    if filters.dispatch_mode not in (None, DispatchMode.ASYNC) or filters.has_no_job:
        return []
    poll = filters.model_dump_json(exclude_defaults=True)
    return await gateway.offers.for_worker(
        caller,
        wanted=await _matching(gateway, filters),
        limit=limit,
        poll=poll if len(poll) <= LONGEST_POLL else "",
    )


async def _asked_for(gateway: Gateway, poll: str) -> Callable[[messages.Announcement], bool]:
    """The filter of an earlier poll; it lets nothing through if another release wrote it and it cannot be read."""
    try:
        return await _matching(gateway, Filters.model_validate_json(poll))
    except (ValueError, errors.InvalidInput) as error:
        logger.warning("a worker's turns do not end until it asks for a job again: %s", error)
        return lambda _: False


async def _matching(gateway: Gateway, filters: Filters) -> Callable[[messages.Announcement], bool]:
    among: set[JobId] | None = None
    if filters.deployment is not None or filters.created_by is not None:
        among = await gateway.http.services.catalog.jobs.active(
            deployment=filters.deployment, created_by=filters.created_by
        )
    wanted = None if filters.status is None else statuses.from_wire(filters.status)

    def matches(job: messages.Announcement) -> bool:
        return (
            job.dispatch_mode is DispatchMode.ASYNC
            and (among is None or job.job in among)
            and (filters.pipelines is None or job.pipeline in filters.pipelines)
            # Announced jobs are waiting or under way.
            and (wanted is None or bool(wanted & {JobStatus.QUEUED, JobStatus.CLAIMED, JobStatus.RUNNING}))
            and (filters.search is None or filters.search.lower() in job.name.lower())
            and gateway.offers.is_of(job, filters.project_wanted)
        )

    return matches


async def _page_for_people(gateway: Gateway, caller: Token, filters: Filters) -> models.JobList:
    if filters.has_no_job:
        return models.JobList(count=0, results=[])
    chosen = None if filters.status is None else statuses.from_wire(filters.status)
    if filters.incomplete_only:
        incomplete = frozenset(status for status in JobStatus if not status.is_terminal)
        chosen = incomplete if chosen is None else chosen & incomplete
    page = await gateway.http.services.catalog.jobs.page(
        projects=caller.scope,
        project=filters.project_wanted,
        statuses=chosen,
        pipelines=filters.pipelines,
        dispatch_mode=filters.dispatch_mode,
        search=filters.search,
        deployment=filters.deployment,
        created_by=filters.created_by,
        cutoff_hours=filters.cutoff_hours,
        oldest_first=filters.ordering in ("created_at", "id"),
        limit=filters.page_limit or PAGE,
        offset=filters.offset,
    )
    if filters.ids_only:
        results: list[Any] = [models.JobItem(id=job.job_id, pipeline_slug=job.pipeline) for job in page.jobs]
    else:
        results = [await job_view(gateway, job) for job in page.jobs]
    return models.JobList(count=page.matching, results=results)
