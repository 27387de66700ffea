"""Every stream, subject, consumer, bucket and header name, and how to read one back."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterable
from typing import Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, PipelineSlug

TASKS: Final = "TASKS"
RESULTS: Final = "RESULTS"
JOBS_BUCKET: Final = "jobs"
WORKERS_BUCKET: Final = "workers"
PAYLOADS_BUCKET: Final = "payloads"
OPENINGS_BUCKET: Final = "openings"
WORKER_INBOX: Final = "_INBOX_worker"
"""Inbox prefix of the worker role; it may subscribe to nothing else."""

OBJECT_HEADER: Final = "Antenna-Object"
"""On a result whose payload lies in the object store: its sha256. The reader derives the object's name."""


def new_epoch() -> Epoch:
    """A name for a consumer's life that no earlier life had."""
    return Epoch(secrets.token_hex(4))


def task_subject(pipeline: PipelineSlug, job: JobId, generation: Generation, image: ImageId | None = None) -> str:
    """Subject of one task, or of all tasks of the job's generation."""
    return f"tasks.{pipeline}.{job}.{generation}.{'*' if image is None else image}"


def result_subject(job: JobId, generation: Generation, image: ImageId | None = None) -> str:
    """Subject of the results of one image, or of all images of the job's generation."""
    return f"results.{job}.{generation}.{'*' if image is None else image}"


def openings_subject(job: JobId, generation: Generation, image: ImageId | None = None) -> str:
    """Subject of the note how often one image's task was opened, or of all notes of the job's generation."""
    return f"$KV.{OPENINGS_BUCKET}.{job}.{generation}.{'*' if image is None else image}"


MAX_IMAGE: Final = 2**63 - 1
"""Largest id that the catalog can hold."""


def image_of_subject(subject: str) -> ImageId:
    """The image that a task or result subject names last. Raises `InvalidInput` for a subject that is not ours."""
    image = subject.rpartition(".")[2]
    if not (image.isascii() and image.isdecimal() and int(image) <= MAX_IMAGE):
        raise errors.InvalidInput(f"subject {subject} names no image")
    return ImageId(int(image))


def images_of_subjects(subjects: Iterable[str]) -> set[ImageId]:
    """The images that subjects name; those that are not ours are left out."""
    found: set[ImageId] = set()
    for subject in subjects:
        with contextlib.suppress(errors.InvalidInput):
            found.add(image_of_subject(subject))
    return found


def task_consumer(job: JobId, generation: Generation, epoch: Epoch) -> str:
    """Durable consumer of a job's tasks."""
    return f"j{job}-g{generation}-{epoch}"


def result_consumer_prefix(job: JobId, generation: Generation) -> str:
    """How the names of a job's result consumers begin; the collector that owns the job adds its own ending."""
    return f"r{job}-g{generation}-"


_CONSUMER = re.compile(r"^[jr](\d+)-g(\d+)-")


def job_of_consumer(name: str) -> tuple[JobId, Generation] | None:
    """The job and generation that a consumer of ours belongs to; None for another's."""
    match = _CONSUMER.match(name)
    return (JobId(int(match[1])), Generation(int(match[2]))) if match else None


def job_key(job: JobId, generation: Generation) -> str:
    """Key of a job's announcement."""
    return f"{job}.{generation}"


def payload_name(job: JobId, generation: Generation, image: ImageId, sha256: str) -> str:
    """Name of a large result in the object store. Derived by the reader, never taken from a message."""
    if len(sha256) != 64 or not all(c in "0123456789abcdef" for c in sha256):
        raise errors.InvalidInput("a payload's sha256 is 64 hexadecimal digits")
    return f"{job}/{generation}/{image}/{sha256}"


class AckSubject(NamedTuple):
    """What JetStream's reply subject says about a delivery."""

    subject: str
    stream: str
    consumer: str
    delivery: int
    # The message's place in the stream, and the delivery's among all of the consumer.
    sequence: int
    place: int

    @classmethod
    def parse(cls, reply: str) -> AckSubject:
        """Read `$JS.ACK.…` in the form without and with domain and account (ADR-15)."""
        tokens = reply.split(".")
        first = 2 if len(tokens) == 9 else 4
        stream, consumer, delivery, sequence, place = tokens[first : first + 5]
        return cls(reply, stream, consumer, int(delivery), int(sequence), int(place))

    @classmethod
    def of_task(
        cls, job: JobId, generation: Generation, epoch: Epoch, *, delivery: int, sequence: int, place: int
    ) -> AckSubject:
        """The reply subject of a task's delivery, from what a lease remembers of it.

        The server finds the task by its stream sequence, and ignores a hand-back whose place it never gave out; the
        rest of the subject is for the receiver.
        """
        consumer = task_consumer(job, generation, epoch)
        subject = f"$JS.ACK.{TASKS}.{consumer}.{delivery}.{sequence}.{place}.0.0"
        return cls(subject, TASKS, consumer, delivery, sequence, place)


_TASK_CONSUMER = re.compile(r"^j\d+-g\d+-([0-9a-f]+)$")


def epoch_of_consumer(name: str) -> Epoch:
    """The epoch in a task consumer's name. Raises `InvalidInput` for another's."""
    match = _TASK_CONSUMER.match(name)
    if match is None:
        raise errors.InvalidInput(f"consumer {name} is none of ours")
    return Epoch(match[1])
