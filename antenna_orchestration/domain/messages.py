"""What travels on the queue: tasks, results and announcements, as msgpack. `tests/golden/` pins the bytes.

`v` is the format's version. A reader ignores fields it does not know; a change that an old reader would
misunderstand raises the version, and an unknown version is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, JobRun, PipelineSlug
from antenna_orchestration.domain.job import DispatchMode
from antenna_orchestration.domain.times import in_utc

VERSION: Final = 1

PUSHED: Final = 2
"""Version of the announcement of a job that is pushed to a processing service. Workers from before there were such jobs
would lease its tasks; they refuse the version, and so leave the job alone."""

GIVEN: Final = 3
"""Version of the announcement of a job whose tasks carry boxes. Workers from before there were such jobs would look for
boxes of their own; they refuse the version, and so leave the job alone."""

BOUND: Final = 4
"""Version of the announcement of a job that is bound to the digest of somebody's own pipeline. Workers from before
there were digests cannot tell which code they run; they refuse the version, and so leave the job alone. What this
project ships is the same in both for one version, so that older workers go on serving those jobs."""

MAX_DETECTIONS: Final = 10_000
"""More detections than this in one image is a broken worker, not a swarm."""


EARLIEST: Final = 2000
LATEST: Final = 9000
"""Years between which a result's time lies."""

LONGEST_HELD: Final = 30 * 24 * 3600.0
"""Seconds that a worker can have had an image; beyond that its timings are nonsense."""

MAX_TEXT: Final = 2_000
"""Characters of a reason or a worker's name."""

MAX_NUMBER: Final = 2**31 - 1
"""Largest count or size in pixels that the catalog's columns hold."""

MAX_COORDINATE: Final = 1e6
"""Largest coordinate in pixels; no photograph is a hundredth as wide, but a model that diverges says anything."""

MAX_SECONDS: Final = 1e9
"""Longest inference time."""

ROUNDING: Final = 1e-3
"""How far from [0, 1] a score may be, as half floats round."""

MAX_LABEL: Final = 500
"""Characters of a label."""


# `gc=False` where messages come by the million: they hold no cycles, and the collector need not walk them.
class AlgorithmRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An algorithm as results name it."""

    key: str
    version: str


class GivenBox(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A detection of another job, whose box is to be classified."""

    box: tuple[float, float, float, float]
    """As in `Detection`."""
    score: float | None
    algorithm: AlgorithmRef
    """The detector that found it."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a job, to be processed by whoever leases it."""

    v: int = VERSION
    job: JobId
    generation: Generation
    image: ImageId
    uri: str
    """`file:///…`, `s3://bucket/key` or `http(s)://…`; tasks carry the plain URI, never a signed one."""
    pipeline: PipelineSlug
    config_hash: str
    """Names the job's configuration, which the announcement carries once for all its tasks."""
    captured_at: datetime | None = None
    deployment: str | None = None
    version: str = ""
    """Which bytes were submitted, as `domain/versions.py` writes it; empty where that is not known."""
    detections: list[GivenBox] | msgspec.UnsetType = msgspec.UNSET
    """The boxes to classify, where the job says so (`antenna submit --detections-of`); no detector runs then, and the
    result has these boxes in this order. 10,000 are less than 1 MB."""

    @property
    def job_run(self) -> JobRun:
        """The job in the generation that the task belongs to."""
        return JobRun(self.job, self.generation)


class Classification(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one algorithm says a detection is."""

    algorithm: AlgorithmRef
    label: str
    score: float | None
    """Probability of `label`, in [0, 1]; None when the algorithm gives none."""
    top_labels: list[str] = []
    top_scores: list[float] = []
    """The best classes, best first; same length as `top_labels`."""
    terminal: bool = True
    """False for an intermediate step such as the moth filter."""
    scores: bytes | None = None
    """The whole softmax vector, little-endian float16 in the category map's order, when the job asks for it."""
    inference_time: float | None = None
    """Seconds, as a worker behind the gateway reports them."""


class Mask(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which pixels of an image belong to a detection, run-length encoded as in COCO."""

    height: int
    width: int
    """Size of the image in pixels, as decoded."""
    counts: str
    """COCO's compressed counts: runs of 0 and 1 in turn, column by column, beginning with 0, written as LEB128 digits
    in ASCII, as `pycocotools.mask.encode` gives them."""


class RotatedBox(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A rectangle that is turned about its centre; pixels of the image as decoded."""

    cx: float
    cy: float
    width: float
    height: float
    angle: float
    """Degrees clockwise, as the image is seen, in [-180, 180]: 0 is a box along the axes."""


Attribute = str | float | int | bool
"""What a free attribute may be; NaN and infinities are not."""


class Detection(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One sighting: an insect found in one image. The same insect in the next image is another detection."""

    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the image as decoded (no EXIF rotation), origin at the top left corner."""
    score: float | None
    """In [0, 1]; None when the algorithm gives none."""
    algorithm: AlgorithmRef
    classifications: list[Classification] = []
    inference_time: float | None = None
    """Seconds, as a worker behind the gateway reports them."""
    mask: Mask | msgspec.UnsetType = msgspec.UNSET
    rotated: RotatedBox | msgspec.UnsetType = msgspec.UNSET
    """The box as the model turned it; `box` is the smallest one along the axes around it."""
    attributes: dict[str, Attribute] | msgspec.UnsetType = msgspec.UNSET
    """What else the pipeline says of it, by name, such as `wing_length_mm`."""


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What came of one task. It may arrive more than once; the collector counts an image once."""

    v: int = VERSION
    job: JobId
    generation: Generation
    image: ImageId
    worker: str
    delivery: int
    """Which delivery of the task this was, from 1."""
    outcome: Literal["done", "failed"]
    reason: str | None = None
    """Why it failed, for people; None when done."""
    retryable: bool = False
    """Whether a retry of the job may do better."""
    width: int | None = None
    height: int | None = None
    detections: list[Detection] = []
    timings: dict[str, float] = {}
    """Seconds by stage: load, wait (in the worker's hands until its batch began), decode, infer, finish. A worker
    behind the gateway reports one number, which is `infer`; the gateway adds `held`: from its lease to its post."""
    created_at: datetime | None = None
    algorithms: list[AlgorithmRef] = []
    """What processed the image, whether or not it found anything; empty from workers that do not tell."""
    digest: str | msgspec.UnsetType = msgspec.UNSET
    """Digest of the pipeline that processed it, as in `Announcement.digest`; unset for jobs that are bound to none,
    and from workers that know none."""
    labels: list[Classification] | msgspec.UnsetType = msgspec.UNSET
    """What the image as a whole shows, from pipelines that name whole photographs."""
    attributes: dict[str, Attribute] | msgspec.UnsetType = msgspec.UNSET
    """What else the pipeline says of the image as a whole, by name, such as `blur`."""

    @property
    def job_run(self) -> JobRun:
        """The job in the generation that the result belongs to."""
        return JobRun(self.job, self.generation)

    @property
    def posted_at(self) -> datetime | None:
        """When the worker reported it, in UTC; None when it does not say so, or something impossible."""
        made = self.created_at
        return in_utc(made) if made is not None and EARLIEST < made.year < LATEST else None

    @property
    def leased_at(self) -> datetime | None:
        """When the worker got the image, from its timings; None when they do not tell."""
        held = self.timings.get("held", sum(self.timings.values()))
        is_told = self.posted_at is not None and 0 < held < LONGEST_HELD
        return self.posted_at - timedelta(seconds=held) if is_told and self.posted_at is not None else None


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """A job as workers see it in the KV bucket `jobs`: enough to lease and process its tasks."""

    v: int = VERSION
    job: JobId
    generation: Generation
    epoch: Epoch
    pipeline: PipelineSlug
    config: dict[str, Any]
    config_hash: str
    priority: int = 1
    interactive: bool = False
    source_kinds: tuple[str, ...] = ()
    total: int = 0
    name: str = ""
    dispatch_mode: DispatchMode = DispatchMode.ASYNC
    """Whose tasks these are. Anything but `async_api` comes with the version `PUSHED`, or a later one."""
    pipeline_version: str = ""
    algorithms: list[AlgorithmRef] = []
    """The pipeline's as it was when the job was submitted. Workers that have another version leave the job alone. Empty
    for jobs from before this was recorded."""
    some_done: bool = False
    """Whether images of the job are done, and no worker can load any that are left; set only then. Workers that loaded
    none of the job themselves learn from it that those need not be waited for."""
    ack_wait: float = 0.0
    """Seconds that a lease of the job's tasks lasts, as the queue was told; 0 for jobs from before this was announced.
    """
    digest: str | msgspec.UnsetType = msgspec.UNSET
    """Digest of the pipeline as it was when the job was submitted: of its code, weights, labels and requirements, and
    of the files that the configuration names. Workers whose pipeline has another leave the job alone. Unset for jobs
    from before this was recorded, and for pipelines of which it is not known."""
    pull: bool | msgspec.UnsetType = msgspec.UNSET
    """True if workers that were started for it may fetch the pipeline of this digest from the lake's store and run it;
    unset otherwise."""
    forbidden_since: datetime | None = None
    """Since when no worker may load the images that are left, while that is so: a worker that comes to a job which has
    waited for days says so."""

    @property
    def job_run(self) -> JobRun:
        """The job in the generation that the announcement belongs to."""
        return JobRun(self.job, self.generation)


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as the KV bucket `workers` shows it; the entry ends by itself 30 s after the last one."""

    v: int = VERSION
    worker: str
    host: str
    pid: int
    device: str
    pipelines: tuple[str, ...]
    reaches: tuple[str, ...]
    """Source kinds that it can load, with `*` suffixes allowed: `http`, `s3:*`, `file:<host>`."""
    started_at: datetime
    at: datetime
    leased: int = 0
    done: int = 0
    failed: int = 0
    rate: float = 0.0
    """Images a second over the last minute."""
    last_result_at: datetime | None = None
    state: str = "idle"
    """`loading`, `idle`, `working`, `draining`, `lost` for a worker that left because its device was lost, or `waiting`
    for a processing service that does not answer."""
    run_id: str | None = None
    kind: str = "nats"
    """`nats` for a worker on the queue itself, `http` for one behind the gateway, `push` for one that posts to a
    processing service."""
    counters: dict[str, int] = {}
    """Of an HTTP or push worker since it was first seen: leased, settled, failed, handed_back, expired, late, rejected,
    bytes."""
    projects: tuple[str, ...] = ()
    """Slugs of the projects whose jobs it serves; empty for all."""
    service: str = ""
    """URL of a push worker's processing service."""
    client_info: dict[str, str] = {}
    """What an HTTP worker says of itself: hostname, pod_name, pid, device, software, version, platform."""
    failing: dict[str, str] = {}
    """Pipelines that it would serve and cannot load, each with the reason; they are not among `pipelines`."""
    refused: dict[str, str] = {}
    """Jobs by number that this worker leaves alone though it has their pipeline, with the reason: they were submitted
    with another version of it, or with settings that it does not take."""
    forbidden: dict[str, str] = {}
    """Jobs by number that rest on this worker because it may not load their images: the last reason, and since when."""
    digests: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """Digests of its pipelines, by slug; without those of which none is known."""
    memory: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    """Bytes of its machine's memory that each of its device processes holds: by the slug of the pipeline that has one
    to itself, and under `built-in` that of all pipelines of this project."""
    engines: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """What runs the models of the loaded pipelines that have a choice, by slug, such as `onnxruntime 1.32.0`."""
    seconds: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    """Seconds of its device per image, by the slug of the pipeline, as measured lately."""
    unreachable: dict[str, str] = {}
    """Jobs by number of which images could not be loaded lately and are tried again: host, reason, and since when."""


M = TypeVar("M", Task, Result, Announcement, Heartbeat)

_READ: Final[dict[type, frozenset[int]]] = {
    Task: frozenset({VERSION}),
    Result: frozenset({VERSION}),
    Announcement: frozenset({VERSION, PUSHED, GIVEN, BOUND}),
    Heartbeat: frozenset({VERSION}),
}
"""The versions that this reads."""

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (Task, Result, Announcement, Heartbeat)
}


def encode(message: Task | Result | Announcement | Heartbeat) -> bytes:
    """The message's bytes on the wire."""
    return _encoder.encode(message)


def decode(kind: type[M], payload: bytes) -> M:
    """Read a message. Raises `InvalidInput` for bytes of another shape or version, and for impossible values."""
    try:
        message: M = _decoders[kind].decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.InvalidInput(f"not a {kind.__name__.lower()} message: {error}") from None
    if message.v not in _READ[kind]:
        raise errors.InvalidInput(f"{kind.__name__.lower()} message of version {message.v}, this reads {VERSION}")
    if isinstance(message, Result):
        _check_result(message)
    return message


def _check_result(result: Result) -> None:
    """Workers are other people's code: what the lake cannot hold or a person cannot read is refused here."""
    for text in (result.worker, result.reason or ""):
        if "\0" in text or len(text) > MAX_TEXT:
            raise errors.InvalidInput(f"worker and reason are plain text of at most {MAX_TEXT} characters")
    if not all(0 <= number <= MAX_NUMBER for number in (result.delivery, result.width or 0, result.height or 0)):
        raise errors.InvalidInput("delivery, width or height is out of range")
    if result.outcome == "failed" and not result.reason:
        raise errors.InvalidInput("a failed result needs a reason")
    check_detections(result.detections)
    _check_labels(result.labels or ())


def check_detections(detections: Sequence[Detection]) -> None:
    """Refuse what no image can show. Raises `InvalidInput`."""
    if len(detections) > MAX_DETECTIONS:
        raise errors.InvalidInput(f"{len(detections)} detections in one image; the limit is {MAX_DETECTIONS}")
    for detection in detections:
        x1, y1, x2, y2 = detection.box
        # It catches NaN, too, since nothing is less or more than that.
        if not (-MAX_COORDINATE <= x1 <= x2 <= MAX_COORDINATE and -MAX_COORDINATE <= y1 <= y2 <= MAX_COORDINATE):
            raise errors.InvalidInput(
                f"box {detection.box} is not x1 <= x2, y1 <= y2 in pixels up to {MAX_COORDINATE:.0f}"
            )
        _check_numbers(detection.score, detection.inference_time, ())
        _check_labels(detection.classifications)


def _check_labels(labels: Sequence[Classification]) -> None:
    """The same of what is said of a detection, or of the image as a whole."""
    for one in labels:
        _check_numbers(one.score, one.inference_time, one.top_scores)
        if len(one.top_labels) != len(one.top_scores):
            raise errors.InvalidInput("top_labels and top_scores differ in length")
        longest = max(map(len, one.top_labels), default=0)
        if longest > MAX_LABEL or len(one.label) > MAX_LABEL or "\0" in one.label:
            raise errors.InvalidInput(f"a label is plain text of at most {MAX_LABEL} characters")


def _check_numbers(score: float | None, seconds: float | None, top: Sequence[float]) -> None:
    for value in (0.0 if score is None else score, *top):
        if not -ROUNDING <= value <= 1 + ROUNDING:
            raise errors.InvalidInput(f"a score, {value:g}, is not between 0 and 1")
    if seconds is not None and not 0 <= seconds <= MAX_SECONDS:
        raise errors.InvalidInput(f"an inference_time of {seconds:g} is not a number of seconds")
