"""Who may call a route, as FastAPI dependencies: a route's signature names its caller and what the caller may see.

Each caller is authenticated first, then its role is checked, and only then is the job or project looked up; all of that
comes before the route's own parameters are validated. What else a route needs of a request stays in the route.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Request

from antenna_orchestration import errors
from antenna_orchestration.catalog.projects import Project
from antenna_orchestration.domain.access import Act, Token
from antenna_orchestration.domain.ids import JobId, ProjectId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.gateway.parameters import Number
from antenna_orchestration.gateway.routing import demands
from antenna_orchestration.gateway.state import Gateway, gateway_of
from antenna_orchestration.processing import retrying

RESULT_PATIENCE: Final = 45.0
"""Seconds that a post of results waits for the stores; existing clients give up after 60 and never post again."""


async def _this_gateway(request: Request) -> Gateway:
    # FastAPI would run a plain function on a thread.
    return gateway_of(request)


ThisGateway = Annotated[Gateway, Depends(_this_gateway)]
"""The gateway that serves the request."""


def _caller_who_may(act: Act) -> Callable[..., Awaitable[Token]]:
    async def caller(request: Request, gateway: ThisGateway) -> Token:
        token = await gateway.callers.authenticate(request)
        token.check(act)
        return token

    return demands(act)(caller)


AnyCaller = Annotated[Token, Depends(_caller_who_may(Act.LIST))]
"""A worker, a submitter or an admin."""

WorkerCaller = Annotated[Token, Depends(_caller_who_may(Act.LEASE))]
"""A caller that may lease tasks: a worker, or an admin."""

RegisteringCaller = Annotated[Token, Depends(_caller_who_may(Act.REGISTER))]
"""A caller that may register pipelines: a worker, or an admin."""

CountingCaller = Annotated[Token, Depends(_caller_who_may(Act.COUNT))]
"""A caller that may read how much waits: a monitor, a submitter, or an admin."""

ViewerCaller = Annotated[Token, Depends(_caller_who_may(Act.LOOK))]
"""A caller that may look at jobs: a submitter, or an admin."""

SubmitterCaller = Annotated[Token, Depends(_caller_who_may(Act.SUBMIT))]
"""A caller that may submit and steer jobs: a submitter, or an admin."""


async def job_of(gateway: Gateway, caller: Token, job_id: JobId) -> Job:
    """The job, if it is in one of the caller's projects. Raises `NotFound`, also for another project's."""
    job = await gateway.http.services.catalog.jobs.find(job_id)
    if job is None or not caller.reaches(job.project_id):
        raise errors.NotFound(f"there is no job {job_id}")
    return job


async def _job_for_worker(gateway: ThisGateway, caller: WorkerCaller, job_id: Number) -> Job:
    return await job_of(gateway, caller, JobId(job_id))


async def _job_for_viewer(gateway: ThisGateway, caller: ViewerCaller, job_id: Number) -> Job:
    return await job_of(gateway, caller, JobId(job_id))


async def _job_for_submitter(gateway: ThisGateway, caller: SubmitterCaller, job_id: Number) -> Job:
    return await job_of(gateway, caller, JobId(job_id))


JobForWorker = Annotated[Job, Depends(_job_for_worker)]
"""The job in the path, for a `WorkerCaller`."""

JobForViewer = Annotated[Job, Depends(_job_for_viewer)]
"""The job in the path, for a `ViewerCaller`."""

JobForSubmitter = Annotated[Job, Depends(_job_for_submitter)]
"""The job in the path, for a `SubmitterCaller`."""


async def _result_deadline() -> float:
    return time.monotonic() + RESULT_PATIENCE


ResultDeadline = Annotated[float, Depends(_result_deadline)]
"""Until when a post of results waits for the stores before its body is read, in monotonic seconds."""


@demands(Act.LEASE)
async def _posting_caller(request: Request, gateway: ThisGateway, deadline: ResultDeadline) -> Token:
    caller = await retrying.retry_until(deadline, lambda: gateway.callers.authenticate(request))
    caller.check(Act.LEASE)
    return caller


PostingCaller = Annotated[Token, Depends(_posting_caller)]
"""Like `WorkerCaller`, but waits for the catalog until the post's deadline."""


async def _job_for_post(gateway: ThisGateway, caller: PostingCaller, deadline: ResultDeadline, job_id: Number) -> Job:
    return await retrying.retry_until(deadline, lambda: job_of(gateway, caller, JobId(job_id)))


JobForPost = Annotated[Job, Depends(_job_for_post)]
"""The job in the path, for a `PostingCaller`; it waits for the catalog likewise."""


async def _project_of(gateway: Gateway, caller: Token, project_id: int) -> Project:
    if caller.reaches(ProjectId(project_id)):
        found = await gateway.http.services.catalog.projects.list([ProjectId(project_id)])
        if found:
            return found[0]
    raise errors.NotFound(f"there is no project {project_id}")


async def _project_for_any_caller(gateway: ThisGateway, caller: AnyCaller, project_id: Number) -> ProjectId:
    return (await _project_of(gateway, caller, project_id)).project_id


async def _project_for_registration(gateway: ThisGateway, caller: RegisteringCaller, project_id: Number) -> ProjectId:
    return (await _project_of(gateway, caller, project_id)).project_id


async def _project_for_viewer(gateway: ThisGateway, caller: ViewerCaller, project_id: Number) -> Project:
    return await _project_of(gateway, caller, project_id)


async def _project_for_submitter(gateway: ThisGateway, caller: SubmitterCaller, project_id: Number) -> Project:
    return await _project_of(gateway, caller, project_id)


ProjectForViewer = Annotated[Project, Depends(_project_for_viewer)]
"""The project in the path, if it is one of the `ViewerCaller`'s."""

ProjectForSubmitter = Annotated[Project, Depends(_project_for_submitter)]
"""The project in the path, if it is one of the `SubmitterCaller`'s."""

ProjectForAnyCaller = Annotated[ProjectId, Depends(_project_for_any_caller)]
"""The project in the path, if it is one of the `AnyCaller`'s."""

ProjectForRegistration = Annotated[ProjectId, Depends(_project_for_registration)]
"""The project in the path, if it is one of the `RegisteringCaller`'s."""


def host_of(request: Request) -> str:
    """The address that the request came from."""
    return request.client.host if request.client else "unknown"
