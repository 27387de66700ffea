"""Jobs and the images of a job: their states, and which state may follow which.

The tables below are the only place that says so; the catalog's guarded statements take their `WHERE status IN (…)`
from them, and the tests try all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from antenna_orchestration.domain import nights
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, JobRun, PipelineSlug, ProjectId


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "QUEUED"
    CLAIMED = "CLAIMED"
    RUNNING = "RUNNING"
    CANCELING = "CANCELING"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELED = "CANCELED"

    @property
    def is_terminal(self) -> bool:
        """Whether only a retry leads out of it."""
        return self in TERMINAL


class DispatchMode(StrEnum):
    """Who comes for a job's tasks; the contract's words."""

    # Workers lease them, on the queue or behind the gateway.
    ASYNC = "async_api"
    # A push worker leases them and posts them to a processing service.
    SYNC = "sync_api"


class ImageStatus(StrEnum):
    """Where one image of a job stands."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


TERMINAL: Final = frozenset({JobStatus.SUCCESS, JobStatus.FAILURE, JobStatus.CANCELED})
ACTIVE: Final = frozenset({JobStatus.QUEUED, JobStatus.CLAIMED, JobStatus.RUNNING})

JOB_TRANSITIONS: Final[dict[JobStatus, frozenset[JobStatus]]] = {
    JobStatus.QUEUED: frozenset({JobStatus.CLAIMED, JobStatus.CANCELING}),
    JobStatus.CLAIMED: frozenset({JobStatus.RUNNING, JobStatus.FAILURE, JobStatus.CANCELING}),
    JobStatus.RUNNING: frozenset({JobStatus.SUCCESS, JobStatus.FAILURE, JobStatus.CANCELING}),
    JobStatus.CANCELING: frozenset({JobStatus.CANCELED}),
    # A job without images is a SUCCESS from its beginning. Retry is the only edge out of a terminal status; it raises
    # the generation in the same statement.
    JobStatus.SUCCESS: frozenset({JobStatus.QUEUED}),
    JobStatus.FAILURE: frozenset({JobStatus.QUEUED}),
    JobStatus.CANCELED: frozenset({JobStatus.QUEUED}),
}

IMAGE_TRANSITIONS: Final[dict[ImageStatus, frozenset[ImageStatus]]] = {
    ImageStatus.PENDING: frozenset({ImageStatus.DONE, ImageStatus.FAILED}),
    # Success beats failure until the job is terminal; a retry makes failed images pending again.
    ImageStatus.FAILED: frozenset({ImageStatus.DONE, ImageStatus.PENDING}),
    # Only when the part that holds its rows cannot be read any more.
    ImageStatus.DONE: frozenset({ImageStatus.PENDING}),
}


def sources_of(status: JobStatus) -> list[str]:
    """The statuses from which `status` may be entered, for the guard of an UPDATE."""
    return sorted(before for before, after in JOB_TRANSITIONS.items() if status in after)


def verdict(*, total: int, failed: int, threshold: float) -> JobStatus:
    """SUCCESS, or FAILURE when more than `threshold` of the images failed. No images at all is a SUCCESS."""
    return JobStatus.FAILURE if total and failed / total > threshold else JobStatus.SUCCESS


def why_empty(skipped: int) -> str:
    """Why a job has no images, for people."""
    if not skipped:
        return "the job has no images"
    return "the one image was processed before" if skipped == 1 else f"all {skipped} images were processed before"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One processing job: a set of captures to be run through one pipeline."""

    job_id: JobId
    project_id: ProjectId
    project: str
    name: str
    pipeline: PipelineSlug
    config: dict[str, Any]
    config_hash: str
    status: JobStatus
    # Raised by a retry; everything on the queue names it.
    generation: Generation
    # Raised by each claim, so that a re-launched run has a run key of its own.
    launch: int
    # Name of the task consumer's present life; None before anything was published in this generation.
    epoch: Epoch | None
    # Ordinal up to which tasks were confirmed by JetStream in this generation; 0 before.
    published_upto: int
    # Whether the final tables hold this generation's rows; its parts may be gone then.
    compacted: bool
    priority: int
    interactive: bool
    dispatch_mode: DispatchMode
    # Images to process, without the skipped ones.
    total: int
    skipped: int
    duplicates: int
    # Kinds of store that a worker must reach: `s3:<endpoint/bucket>`, `http`, `file:<host>`.
    source_kinds: tuple[str, ...]
    # Dagster run that collects; None before the first.
    run_id: str | None
    # Why the job is in its status, for people; None if there is nothing to say.
    status_reason: str | None
    created_at: datetime
    claimed_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    # Who submitted it: a token's label, or a user of the host; None for jobs from before this was recorded.
    created_by: str | None = None
    # The pipeline's version when it was submitted; None for jobs from before this was recorded.
    pipeline_version: str | None = None
    # At whose noon its nights are cut.
    time_zone: str = nights.UTC_NAME
    # The job whose boxes it classifies; None if its pipeline looks for insects itself.
    detections_of: JobId | None = None
    # By when its results are wanted: more workers are started for it. None if that does not matter.
    due_at: datetime | None = None

    @property
    def job_run(self) -> JobRun:
        """The job in its present generation."""
        return JobRun(self.job_id, self.generation)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Images of a job by state, with what was found. `done + failed + pending == total`."""

    total: int = 0
    done: int = 0
    failed: int = 0
    pending: int = 0
    detections: int = 0
    classifications: int = 0

    @property
    def accounted(self) -> int:
        """Images that are done or failed."""
        return self.done + self.failed


class ImageToPublish(NamedTuple):
    """One row of the publishing cursor."""

    ordinal: int
    image: ImageId
    uri: str
    captured_at: datetime | None
    deployment: str | None
    # Which bytes the URI stood for when the job was submitted; empty where that is not known.
    version: str = ""
    # Boxes to classify, as `domain/given_boxes.py` packs them; None if a detector is to look for them.
    boxes: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line of a job's log."""

    at: datetime
    level: str
    # What happened, as one word that can be searched for: `published`, `progress`, `lost_images`.
    action: str
    message: str
    # Who did it, if somebody did.
    by: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """The message, with who did it."""
        return f"{self.message}, by {self.by}" if self.by else self.message
