"""Every name of a stream, subject, consumer, bucket and header, and the functions that read one back."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterable
from typing import Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, JobRun, PipelineSlug

TASKS: Final = "TASKS"
RESULTS: Final = "RESULTS"
JOBS_BUCKET: Final = "jobs"
WORKERS_BUCKET: Final = "workers"
PAYLOADS_BUCKET: Final = "payloads"
OPENINGS_BUCKET: Final = "openings"
STORED: Final = (
    TASKS,
    RESULTS,
    *(f"KV_{bucket}" for bucket in (JOBS_BUCKET, WORKERS_BUCKET, OPENINGS_BUCKET)),
    f"OBJ_{PAYLOADS_BUCKET}",
)
"""All streams; a bucket is a stream, too."""

WORKER_INBOX: Final = "_INBOX_worker"
"""Inbox prefix of the worker role, which may subscribe to nothing else."""

SITE: Final = re.compile(r"site-[A-Za-z0-9_-]{1,64}")
"""The NATS user of one site's workers, who may subscribe to nothing but its own inbox."""


def inbox_of_user(user: str) -> str:
    """The inbox prefix with which a worker's connection has to subscribe."""
    return f"_INBOX_{user}" if SITE.fullmatch(user) else WORKER_INBOX


OBJECT_HEADER: Final = "Antenna-Object"
"""Header of a result whose payload is in the object store: its sha256, from which the reader derives the name."""


def new_epoch() -> Epoch:
    """A random name that no earlier consumer of the job has had."""
    return Epoch(secrets.token_hex(4))


def task_subject(pipeline: PipelineSlug, job_run: JobRun, image: ImageId | None = None) -> str:
    """Subject of one task, or of all tasks of the job run."""
    return f"tasks.{pipeline}.{job_run.job}.{job_run.generation}.{'*' if image is None else image}"


def result_subject(job_run: JobRun, image: ImageId | None = None) -> str:
    """Subject of the results of one image, or of all images of the job run."""
    return f"results.{job_run.job}.{job_run.generation}.{'*' if image is None else image}"


def openings_subject(job_run: JobRun, image: ImageId | None = None) -> str:
    """Subject that counts the open attempts of one image's task, or of all images of the job run."""
    return f"$KV.{OPENINGS_BUCKET}.{job_run.job}.{job_run.generation}.{'*' if image is None else image}"


MAX_IMAGE: Final = 2**63 - 1
"""Largest id that the catalog can store."""


def image_of_subject(subject: str) -> ImageId:
    """The image that a task or result subject names last. Raises `InvalidInput` for a foreign subject."""
    image = subject.rpartition(".")[2]
    if not (image.isascii() and image.isdecimal() and int(image) <= MAX_IMAGE):
        raise errors.InvalidInput(f"subject {subject} names no image")
    return ImageId(int(image))


def images_of_subjects(subjects: Iterable[str]) -> set[ImageId]:
    """The images that subjects name; foreign subjects are left out."""
    found: set[ImageId] = set()
    for subject in subjects:
        with contextlib.suppress(errors.InvalidInput):
            found.add(image_of_subject(subject))
    return found


def task_consumer(job_run: JobRun, epoch: Epoch) -> str:
    """Durable consumer of a job's tasks."""
    return f"{task_consumer_prefix(job_run)}{epoch}"


def task_consumer_prefix(job_run: JobRun) -> str:
    """How the names of a job's task consumers begin, of whatever epoch."""
    return f"j{job_run.job}-g{job_run.generation}-"


def result_consumer_prefix(job_run: JobRun) -> str:
    """How the names of a job's result consumers begin; the collector that owns the job adds its own ending."""
    return f"r{job_run.job}-g{job_run.generation}-"


_CONSUMER = re.compile(r"^[jr](\d+)-g(\d+)-")


def job_run_of_consumer(name: str) -> JobRun | None:
    """The job run that a consumer of ours belongs to; None for a foreign name."""
    match = _CONSUMER.match(name)
    return JobRun(JobId(int(match[1])), Generation(int(match[2]))) if match else None


def job_key(job_run: JobRun) -> str:
    """Key of a job's announcement."""
    return f"{job_run.job}.{job_run.generation}"


def payload_name(job_run: JobRun, image: ImageId, sha256: str) -> str:
    """Name of a large result in the object store. Readers derive it, and never take it from a message."""
    if len(sha256) != 64 or not all(c in "0123456789abcdef" for c in sha256):
        raise errors.InvalidInput("a payload's sha256 is 64 hexadecimal digits")
    return f"{job_run.job}/{job_run.generation}/{image}/{sha256}"


class AckSubject(NamedTuple):
    """What JetStream's reply subject says about a delivery."""

    subject: str
    stream: str
    consumer: str
    delivery: int
    # The message's sequence in the stream, and the delivery's number among all deliveries of the consumer.
    sequence: int
    place: int

    @classmethod
    def parse(cls, reply: str) -> AckSubject:
        """Read `$JS.ACK.…`, in the form without or with domain and account (ADR-15)."""
        tokens = reply.split(".")
        first = 2 if len(tokens) == 9 else 4
        stream, consumer, delivery, sequence, place = tokens[first : first + 5]
        return cls(reply, stream, consumer, int(delivery), int(sequence), int(place))

    @classmethod
    def of_task(cls, job_run: JobRun, epoch: Epoch, *, delivery: int, sequence: int, place: int) -> AckSubject:
        """The reply subject of a task's delivery, from what was noted of its lease.

        The server finds the task by `sequence`, and ignores a hand-back with a `place` that it never delivered. It does
        not read the rest of the subject.
        """
        consumer = task_consumer(job_run, epoch)
        subject = f"$JS.ACK.{TASKS}.{consumer}.{delivery}.{sequence}.{place}.0.0"
        return cls(subject, TASKS, consumer, delivery, sequence, place)
