"""Requests and responses of the HTTP contract, except result posts (`contract/results.py`).

The models have only the fields that existing workers send and read; unknown fields are ignored. Their shapes are part
of the contract: a field may be added, but none may be renamed or removed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt

from antenna_orchestration.domain.job import DispatchMode

Name = Annotated[str, Field(max_length=200)]
Slug = Annotated[str, Field(max_length=64)]


class ErrorAnswer(BaseModel):
    """The body of every error: `detail` says what is wrong. An invalid field is named in an extra key."""

    model_config = ConfigDict(extra="allow")
    detail: str


class TasksRequest(BaseModel):
    """A worker asks for at most `batch_size` tasks."""

    batch_size: Annotated[StrictInt, Field(ge=1, le=2**31)]
    client_info: dict[str, Any] | None = None


class ReleaseRequest(BaseModel):
    """A worker hands back the tasks with these `reply_subjects`; without them, all that it holds of the job."""

    reply_subjects: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=10_000)] | None = None
    client_info: dict[str, Any] | None = None


class GoodbyeRequest(BaseModel):
    """A worker hands back all that it holds."""

    client_info: dict[str, Any] | None = None


class ReleaseAnswer(BaseModel):
    """How many tasks the worker held, and holds no longer."""

    handed_back: int


class WireTask(BaseModel):
    """One leased task. The worker returns `reply_subject` unchanged with the result; it must not interpret it."""

    id: str
    image_id: str
    image_url: str
    reply_subject: str | None
    config: dict[str, Any] = {}
    detections: list[dict[str, Any]] = []
    """Boxes to classify, as a processing service gets them; only in tasks of jobs that give some."""


class TasksAnswer(BaseModel):
    """The leased tasks; an empty list means that the job has no task to lease now."""

    tasks: list[WireTask]
    lease_seconds: float
    """How long the leases are kept, at least, while the gateway hears from the worker."""


class ItemStatus(BaseModel):
    """What happened to one posted result; `status` is `queued`, `retry`, `late` or `rejected`."""

    reply_subject: str
    status: str
    task_id: str
    detail: str = ""


class ResultsAnswer(BaseModel):
    """The post was accepted; `tasks` has the status of each result in it."""

    status: str = "accepted"
    job_id: int
    results_queued: int
    tasks: list[ItemStatus]


class JobItem(BaseModel):
    """A job in a list, as workers read it."""

    id: int
    pipeline_slug: str


class JobList(BaseModel):
    """One page of jobs."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[JobItem | JobDetail]


class StageParameter(BaseModel):
    """One number that a stage shows, such as its failed images."""

    name: str
    key: str
    value: float | int


class Stage(BaseModel):
    """One stage of a job; `progress` is in [0, 1]."""

    key: str
    name: str
    status: str
    progress: float
    params: list[StageParameter] = []


class ProgressSummary(BaseModel):
    """Progress of the whole job; `progress` is in [0, 1]."""

    status: str
    progress: float


class Progress(BaseModel):
    """Progress of a job and of each of its stages."""

    summary: ProgressSummary
    stages: list[Stage]


class LogEntry(BaseModel):
    """A line of a job's log."""

    at: datetime
    level: str
    action: str
    message: str


class JobDetail(BaseModel):
    """Everything about a job, for people and scripts."""

    id: int
    name: str
    project: str
    project_id: int
    pipeline_slug: str
    config: dict[str, Any]
    status: str
    status_reason: str | None
    dispatch_mode: str
    # The job whose boxes it classifies; null if its pipeline looks for its own.
    detections_of: int | None = None
    generation: int
    priority: int
    due_at: datetime | None = None
    interactive: bool
    total: int
    done: int
    failed: int
    waiting: int
    skipped: int
    duplicates: int
    detections: int
    classifications: int
    # Null for jobs from before this was recorded.
    created_by: str | None = None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress
    logs: list[LogEntry] = []
    warnings: list[str] = []


def _of_our_times(time: datetime) -> datetime:
    """A time as it is written, in its zone or without one. Raises `ValueError` outside the years 1800 to 2200."""
    if not 1800 <= time.year <= 2200:
        raise ValueError("the year must be from 1800 to 2200")
    return time


class NewImage(BaseModel):
    """One image of a new job."""

    url: Annotated[str, Field(max_length=2000)]
    captured_at: Annotated[datetime, AfterValidator(_of_our_times)] | None = None
    deployment: Name | None = None


class NewJob(BaseModel):
    """A job to submit: what to process and how.

    `sources` are folders, patterns, lists, s3:// and http(s):// locations; `images` names images one by one. At least
    one of the two is needed.
    """

    project: Slug | int
    pipeline: Slug | None = None
    name: Name = ""
    sources: Annotated[list[Annotated[str, Field(max_length=2000)]], Field(max_length=1000)] = []
    # A finished job of the project whose boxes are classified; without sources and images, all that it has done.
    detections_of: Annotated[int, Field(ge=1, le=2**62)] | None = None
    images: Annotated[list[NewImage], Field(max_length=100_000)] = []
    config: dict[str, Any] = {}
    priority: Annotated[int, Field(ge=1, le=100)] = 1
    # When the results are wanted: `6h` from now, or ISO 8601 with a time zone.
    due: Annotated[str, Field(max_length=40)] = ""
    interactive: bool = False
    limit: Annotated[int, Field(ge=1, le=2**31)] | None = None
    shuffle: bool = False
    reprocess: bool = False
    # None for the project's default.
    dispatch_mode: DispatchMode | None = None
    deployment: Name | None = None


class TaxonItem(BaseModel):
    """A label with the name that it stands for."""

    label: str
    scientific_name: str
    rank: str
    # Names by rank, its own among them.
    lineage: dict[str, str]
    taxon_id: str | None
    vernacular_name: str | None
    # The finest rank that a determination may have.
    finest_rank: str | None


class TaxonList(BaseModel):
    """A page of a project's labels with their names; `count` is how many there are in all."""

    count: int
    results: list[TaxonItem]


class LabelMatch(BaseModel):
    """How the labels of one classifier match a project's names."""

    pipeline: str
    algorithm: str
    version: str
    # 0: none are known here.
    labels: int
    unmatched: list[str]
    # How many of the labels the species list keeps, where there is one in question.
    kept: int | None = None


class LabelMatchList(BaseModel):
    """The same for all classifiers of a project's pipelines."""

    count: int
    results: list[LabelMatch]


class NamesImported(BaseModel):
    """What an import of names wrote."""

    project: str
    # None for an import of labels.
    species_list: str | None
    count: int
    # Labels that were not known before; of a species list 1 if it is new.
    new: int
    # Rows without a rank.
    left_out: int
    # Where the list holds.
    holds_for: list[str]
    matches: list[LabelMatch]


class SpeciesListItem(BaseModel):
    """A species list, without its names."""

    name: str
    count: int
    imported_by: str
    imported_at: datetime
    holds_for_project: bool
    deployments: list[str]


class SpeciesListList(BaseModel):
    """The species lists of a project."""

    count: int
    results: list[SpeciesListItem]


class SpeciesListUse(BaseModel):
    """Let a species list hold for a project, or for one deployment; null: no list there any more."""

    species_list: Annotated[str, Field(max_length=1000)] | None
    deployment: Name | None = None


class RecipeItem(BaseModel):
    """A post-processing recipe: its hash, its steps with all parameters, and its text."""

    recipe: str
    steps: list[dict[str, dict[str, Any]]]
    count_without: list[str]
    text: str


class ReviewsImported(BaseModel):
    """How many reviews were sent, how many of them are new, and what is not a review."""

    reviews: int
    added: int
    notes: list[str]


class DeploymentItem(BaseModel):
    """A deployment with its place and its clock; what is not known is null."""

    deployment: str
    latitude: float | None
    longitude: float | None
    uncertainty_m: float | None
    time_zone: str | None
    # `local` or `utc`: what the stamps of its photographs show.
    clock: str
    # How much later the clock should have been.
    shift_seconds: int
    # Local times.
    starts_at: datetime | None
    ends_at: datetime | None
    location_name: str | None
    country_code: str | None
    pixels_per_mm: float | None
    species_list: str | None
    further: dict[str, str]
    photographs: int
    first_captured_at: datetime | None
    last_captured_at: datetime | None


class DeploymentList(BaseModel):
    """The deployments of a project."""

    count: int
    results: list[DeploymentItem]


class DeploymentsImported(BaseModel):
    """What an import of deployments wrote: their names."""

    described: list[str]
    # Not known before.
    created: list[str]
    without_photographs: list[str]
    warnings: list[str]


class DatasetItem(BaseModel):
    """What is said of a project as a data set, which exports use."""

    dataset: dict[str, Any]
    # As it was written: YAML.
    text: str
    created_by: str
    created_at: datetime


class ResultFile(BaseModel):
    """A Parquet file of a job's table."""

    name: str
    bytes: int
    url: str


class ResultTable(BaseModel):
    """A table of a job and where it can be read; `docs/reference/tables.md` describes the columns."""

    name: str
    csv: str
    parquet: list[ResultFile]


class Download(BaseModel):
    """Something to download, with its media type and what it is."""

    url: str
    type: str
    what: str


class ResultList(BaseModel):
    """Where the results of a job, and what was made of them, can be read."""

    job_id: int
    generation: int
    # False: the job is not over, or was canceled, and these are the rows so far; `notice` says so in a line.
    is_complete: bool
    # Images that have no result yet.
    pending: int
    notice: str | None
    tables: list[ResultTable]
    megadetector: str
    # All of that, the derived tables and the report.
    downloads: list[Download]
    # What could be there, with the command that makes it.
    not_there: list[str]


class DerivedTable(BaseModel):
    """A derived table and where it can be read; `docs/reference/tables.md` describes the columns."""

    name: str
    csv: str
    parquet: str
    bytes: int
    # Hash of the recipe that it was made with.
    recipe: str


class DerivedList(BaseModel):
    """Where the derived tables of a job or project can be read."""

    # The jobs that went in, and those that ended since: deriving again adds these.
    jobs: list[int]
    lacks: list[int]
    # Images of a job that had no result when the tables were derived, as it was not over or was canceled.
    pending: int
    tables: list[DerivedTable]


class Backlog(BaseModel):
    """What waits: images, seconds of one worker's time, and how many workers do it in time, all together."""

    images: int
    seconds: float
    workers: int


class ProjectItem(BaseModel):
    """A project in a list."""

    id: int
    name: str
    slug: str


class ProjectList(BaseModel):
    """All projects that the token can see, on one page, because existing workers read only the first page."""

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
    """An algorithm as a worker describes it."""

    name: Name
    key: Annotated[str, Field(min_length=1, max_length=200)]
    description: Annotated[str, Field(max_length=2000)] | None = None
    task_type: Annotated[str, Field(max_length=100)] | None = None
    version: Annotated[int, Field(ge=0, le=2**31)] = 1
    version_name: str | None = None
    uri: Annotated[str, Field(max_length=2000)] | None = None
    category_map: CategoryMap | None = None


class WirePipeline(BaseModel):
    """A pipeline as a worker describes it."""

    name: Name
    slug: str
    version: Annotated[int, Field(ge=0, le=2**31)] = 1
    description: Annotated[str, Field(max_length=2000)] | None = None
    algorithms: Annotated[list[WireAlgorithm], Field(max_length=50)] = []
    # Whether it classifies the boxes in `detections` of a request or task, instead of looking for its own.
    takes_detections: bool = False


class ServiceInfo(BaseModel):
    """How a processing service describes itself (`GET /info`)."""

    name: Name = ""
    pipelines: Annotated[list[WirePipeline], Field(max_length=200)] = []


class RegistrationRequest(BaseModel):
    """A worker registers its pipelines. It may leave the name out if its API key already identifies it."""

    processing_service_name: Name = ""
    pipelines: Annotated[list[WirePipeline], Field(max_length=200)]
    client_info: dict[str, Any] | None = None
    # Let all projects run them; for tokens of admins of all projects.
    public: bool = False


class RegistrationAnswer(BaseModel):
    """The result of a registration, with the fields that old and new workers read."""

    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    success: bool = True
    error: str | None = None
    pipelines: list[str]
    pipelines_created: list[str]
    pipelines_updated: list[str]
    algorithms_created: list[str]
    processing_service_id: int


class PipelineItem(BaseModel):
    """A pipeline that a project's jobs can use."""

    slug: str
    name: str
    version: str
    description: str
    algorithms: list[dict[str, Any]]


class PipelineList(BaseModel):
    """All pipelines that a project's jobs can use."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[PipelineItem]


class AlgorithmItem(BaseModel):
    """An algorithm in a list; `category_count` is how many classes it tells apart."""

    id: int
    key: str
    name: str
    version: str
    task_type: str
    description: str
    uri: str | None
    category_count: int


class AlgorithmList(BaseModel):
    """The algorithms of the pipelines that the token's projects may run."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[AlgorithmItem]


class RunnablePipeline(BaseModel):
    """A pipeline in a list; `processing_services` are the registered workers that serve it, by number."""

    id: str
    slug: str
    name: str
    version: str
    description: str
    is_public: bool
    algorithms: list[AlgorithmItem]
    processing_services: list[int]
    created_at: datetime


class RunnablePipelineList(BaseModel):
    """The pipelines that the token's projects may run."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[RunnablePipeline]


class ProcessingServiceItem(BaseModel):
    """A registered worker. `last_seen_latency` is how many seconds its batches take from lease to result."""

    id: int
    name: str
    kind: str
    endpoint_url: str | None
    projects: list[int]
    pipelines: list[str]
    last_seen: datetime
    last_seen_live: bool
    last_seen_latency: float | None


class ProcessingServiceList(BaseModel):
    """The registered workers of the token's projects."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[ProcessingServiceItem]


class ProcessingServiceStatus(BaseModel):
    """Whether a registered worker is there, and what it serves now."""

    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    request_successful: bool = True
    server_live: bool
    pipelines_online: list[str]
    endpoint_url: str | None
    latency: float | None
    error: str | None


JobList.model_rebuild()
