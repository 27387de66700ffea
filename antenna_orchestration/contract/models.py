"""Requests and answers of the HTTP contract, apart from result posts (`contract/results.py`).

What existing workers send and read, and no more: unknown fields are ignored. The shapes are part of the contract; a
field may be added, none renamed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt

from antenna_orchestration.domain.job import DispatchMode

Name = Annotated[str, Field(max_length=200)]
Slug = Annotated[str, Field(max_length=64)]


class ErrorAnswer(BaseModel):
    """Every error: `detail` says what is wrong; a bad field is named beside it."""

    model_config = ConfigDict(extra="allow")
    detail: str


class TasksRequest(BaseModel):
    """A worker asks for work."""

    batch_size: Annotated[StrictInt, Field(ge=1, le=2**31)]
    client_info: dict[str, Any] | None = None


class WireTask(BaseModel):
    """One leased task. `reply_subject` is opaque: it comes back with the result."""

    id: str
    image_id: str
    image_url: str
    reply_subject: str | None
    config: dict[str, Any] = {}


class TasksAnswer(BaseModel):
    """An empty list means that nothing of the job can be leased now."""

    tasks: list[WireTask]


class ItemStatus(BaseModel):
    """What became of one posted result: `queued`, `retry`, `late` or `rejected`."""

    reply_subject: str
    status: str
    task_id: str
    detail: str = ""


class ResultsAnswer(BaseModel):
    """The post was taken; each result has a status of its own."""

    status: str = "accepted"
    job_id: int
    results_queued: int
    tasks: list[ItemStatus]


class JobItem(BaseModel):
    """A job in a list, as workers read it."""

    id: int
    pipeline_slug: str


class JobList(BaseModel):
    """One page."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[JobItem | JobDetail]


class StageParameter(BaseModel):
    """A number of a stage."""

    name: str
    key: str
    value: float | int


class Stage(BaseModel):
    """A stage of a job."""

    key: str
    name: str
    status: str
    progress: float
    params: list[StageParameter] = []


class ProgressSummary(BaseModel):
    """The job as a whole."""

    status: str
    progress: float


class Progress(BaseModel):
    """Progress by stage."""

    summary: ProgressSummary
    stages: list[Stage]


class LogEntry(BaseModel):
    """A line of a job's log."""

    at: datetime
    level: str
    action: str
    message: str


class JobDetail(BaseModel):
    """A job for people and scripts."""

    id: int
    name: str
    project: str
    project_id: int
    pipeline_slug: str
    config: dict[str, Any]
    status: str
    status_reason: str | None
    dispatch_mode: str
    generation: int
    priority: int
    interactive: bool
    total: int
    done: int
    failed: int
    waiting: int
    skipped: int
    duplicates: int
    detections: int
    classifications: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress
    logs: list[LogEntry] = []
    warnings: list[str] = []


def _in_utc(time: datetime) -> datetime:
    """A time without a zone is taken for UTC."""
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if not 1800 <= time.year <= 2200:
        raise ValueError("a photograph is of our time")
    return time.astimezone(UTC)


class NewImage(BaseModel):
    """An image named one by one."""

    url: Annotated[str, Field(max_length=2000)]
    captured_at: Annotated[datetime, AfterValidator(_in_utc)] | None = None
    deployment: Name | None = None


class NewJob(BaseModel):
    """What to process. Either of `sources` (folders, patterns, lists, s3:// and http(s):// locations) and `images`."""

    project: Slug | int
    pipeline: Slug | None = None
    name: Name = ""
    sources: Annotated[list[Annotated[str, Field(max_length=2000)]], Field(max_length=1000)] = []
    images: Annotated[list[NewImage], Field(max_length=100_000)] = []
    config: dict[str, Any] = {}
    priority: Annotated[int, Field(ge=1, le=100)] = 1
    interactive: bool = False
    limit: Annotated[int, Field(ge=1, le=2**31)] | None = None
    shuffle: bool = False
    reprocess: bool = False
    # Without one, the project's way.
    dispatch_mode: DispatchMode | None = None
    deployment: Name | None = None


class ProjectItem(BaseModel):
    """A project in a list."""

    id: int
    name: str
    slug: str


class ProjectList(BaseModel):
    """All projects of the token in one page: existing workers read only the first."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[ProjectItem]


class CategoryMap(BaseModel):
    """The labels of a classifier in the order of its outputs."""

    data: list[dict[str, Any]] | dict[str, Any] | None = None
    labels: list[str] | None = None
    uri: str | None = None


class WireAlgorithm(BaseModel):
    """An algorithm as workers describe it."""

    name: Name
    key: Annotated[str, Field(min_length=1, max_length=200)]
    description: Annotated[str, Field(max_length=2000)] | None = None
    task_type: str | None = None
    version: Annotated[int, Field(ge=0, le=2**31)] = 1
    version_name: str | None = None
    uri: Annotated[str, Field(max_length=2000)] | None = None
    category_map: CategoryMap | None = None


class WirePipeline(BaseModel):
    """A pipeline as workers describe it."""

    name: Name
    slug: str
    version: Annotated[int, Field(ge=0, le=2**31)] = 1
    description: Annotated[str, Field(max_length=2000)] | None = None
    algorithms: Annotated[list[WireAlgorithm], Field(max_length=50)] = []


class ServiceInfo(BaseModel):
    """What a processing service says of itself (`GET /info`)."""

    name: Name = ""
    pipelines: Annotated[list[WirePipeline], Field(max_length=200)] = []


class RegistrationRequest(BaseModel):
    """A worker registers what it serves. The name is missing where an API key says who it is."""

    processing_service_name: Name = ""
    pipelines: Annotated[list[WirePipeline], Field(max_length=200)]
    client_info: dict[str, Any] | None = None


class RegistrationAnswer(BaseModel):
    """What both sides of the contract want to read."""

    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    success: bool = True
    error: str | None = None
    pipelines: list[str]
    pipelines_created: list[str]
    pipelines_updated: list[str]
    algorithms_created: list[str]
    processing_service_id: int


class PipelineItem(BaseModel):
    """A pipeline of a project."""

    slug: str
    name: str
    version: str
    description: str
    algorithms: list[dict[str, Any]]


class PipelineList(BaseModel):
    """All pipelines that a project's jobs can name."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[PipelineItem]


JobList.model_rebuild()
