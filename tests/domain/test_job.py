"""The states of jobs and images: every pair is tried, so that a new edge has to be entered here as well."""

from itertools import product

import pytest

from antenna_orchestration.domain.job import (
    ACTIVE,
    IMAGE_TRANSITIONS,
    JOB_TRANSITIONS,
    TERMINAL,
    Counts,
    ImageStatus,
    JobStatus,
    sources_of,
    verdict,
)

JOB_EDGES = {
    ("QUEUED", "CLAIMED"),
    ("QUEUED", "CANCELING"),
    ("CLAIMED", "RUNNING"),
    ("CLAIMED", "FAILURE"),
    ("CLAIMED", "CANCELING"),
    ("RUNNING", "SUCCESS"),
    ("RUNNING", "FAILURE"),
    ("RUNNING", "CANCELING"),
    ("CANCELING", "CANCELED"),
    ("SUCCESS", "QUEUED"),
    ("FAILURE", "QUEUED"),
    ("CANCELED", "QUEUED"),
}
IMAGE_EDGES = {("pending", "done"), ("pending", "failed"), ("failed", "done"), ("failed", "pending"),
               ("done", "pending")}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), list(product(JobStatus, JobStatus)))
def test_jobs(before: JobStatus, after: JobStatus) -> None:
    legal = (before.value, after.value) in JOB_EDGES
    assert (after in JOB_TRANSITIONS[before]) is legal
    assert (before in sources_of(after)) is legal


@pytest.mark.parametrize(("before", "after"), list(product(ImageStatus, ImageStatus)))
def test_images(before: ImageStatus, after: ImageStatus) -> None:
    assert (after in IMAGE_TRANSITIONS[before]) is ((before.value, after.value) in IMAGE_EDGES)


def test_each_status_is_active_terminal_or_canceling() -> None:
    assert not ACTIVE & TERMINAL
    assert set(JobStatus) - ACTIVE - TERMINAL == {JobStatus.CANCELING}
    for status in JobStatus:
        assert status.is_terminal is (JOB_TRANSITIONS[status] == {JobStatus.QUEUED})


def test_from_everywhere_a_job_comes_to_an_end() -> None:
    for status in set(JobStatus) - TERMINAL:
        reached = {status}
        while more := {after for before in reached for after in JOB_TRANSITIONS[before]} - reached:
            reached |= more
        assert reached & TERMINAL


@pytest.mark.parametrize(
    ("total", "failed", "threshold", "status"),
    [
        (0, 0, 0.5, JobStatus.SUCCESS),
        (10, 0, 0.0, JobStatus.SUCCESS),
        (10, 1, 0.0, JobStatus.FAILURE),
        (10, 5, 0.5, JobStatus.SUCCESS),
        (10, 6, 0.5, JobStatus.FAILURE),
        (10, 10, 1.0, JobStatus.SUCCESS),
        (1, 1, 0.5, JobStatus.FAILURE),
    ],
)
def test_verdict(total: int, failed: int, threshold: float, status: JobStatus) -> None:
    assert verdict(total=total, failed=failed, threshold=threshold) is status


def test_accounted() -> None:
    assert Counts(total=9, done=4, failed=2, pending=3).accounted == 6
