"""Identifiers with their own types, so that a job id is never passed as an image id."""

from __future__ import annotations

import re
from typing import NamedTuple, NewType

from antenna_orchestration import errors

ProjectId = NewType("ProjectId", int)
JobId = NewType("JobId", int)
ImageId = NewType("ImageId", int)
"""Identifies a capture within the catalog; `image` on the wire and in Parquet."""
Generation = NewType("Generation", int)
"""Counts a job's retries, from 1. Subjects, consumers, leases and results carry it, so old ones are never mixed in."""
Epoch = NewType("Epoch", str)
"""Random name of one consumer's life. An acknowledgement is sent only to the epoch that leased the task."""
PipelineSlug = NewType("PipelineSlug", str)


class JobRun(NamedTuple):
    """A job in one of its generations. Whatever the queue, Redis and the collector hold of a job belongs to one."""

    job: JobId
    generation: Generation


_SLUG = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")
_PARTITION = re.compile(r"^job-([1-9][0-9]{0,18})$")


def is_slug(text: str) -> bool:
    """Whether a text is a slug."""
    return bool(_SLUG.fullmatch(text))


def slug(text: str, what: str = "slug") -> str:
    """Check a slug. It becomes a token of NATS subjects, so nothing else may pass. Raises `InvalidInput`."""
    if not is_slug(text):
        raise errors.InvalidInput(f"{what} {text!r} is not a slug: lower-case letters, digits, _ and -, at most 64")
    return text


def partition_key(job: JobId) -> str:
    """Dagster's partition key of a job."""
    return f"job-{job}"


def job_of_partition(key: str) -> JobId:
    """The job of a partition key. Raises `InvalidInput`."""
    if match := _PARTITION.fullmatch(key):
        return JobId(int(match.group(1)))
    raise errors.InvalidInput(f"partition {key!r} is not of the form job-<id>")
