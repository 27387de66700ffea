"""Whose fault it is, and who rests for it."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import attempts
from antenna_orchestration.domain.ids import Generation, JobId, JobRun
from antenna_orchestration.worker.policy.source_health import (
    HOST_PATIENCE,
    HOST_REST,
    JOB_REST,
    LONGEST_AT_THE_END,
    ONE_OF_MANY,
    Fail,
    HandBack,
    SourceHealth,
)
from antenna_orchestration.worker.timing import Timing

UNUSABLE = errors.ImageUnusable("no such file")
UNREACHABLE = errors.ImageUnreachable("HTTP 503")
FORBIDDEN = errors.ImageForbidden("HTTP 403")

NOW = datetime(2026, 6, 13, 6, tzinfo=UTC)

JOB = JobRun(JobId(1), Generation(1))
OTHER = JobRun(JobId(2), Generation(1))


@pytest.fixture
def health() -> SourceHealth:
    return SourceHealth(max_attempts=5, timing=Timing(dice=random.Random(1), now=lambda: NOW))


def fails(
    health: SourceHealth,
    error: errors.ImageError,
    *,
    job_run: JobRun = JOB,
    host: str = "host",
    delivery: int = 1,
    now: float,
) -> HandBack | Fail:
    return health.failed(job_run, host, f"{host}/{now}", error, delivery=delivery, now=now)


def test_the_images_own_fault_is_final_at_once(health: SourceHealth) -> None:
    assert fails(health, UNUSABLE, now=0) == Fail("no such file", retryable=False)


def test_a_passing_fault_is_final_at_the_last_attempt_only(health: SourceHealth) -> None:
    for delivery, delay in enumerate(attempts.RETRY_DELAYS, start=1):
        verdict = fails(health, UNREACHABLE, delivery=delivery, now=delivery)
        assert isinstance(verdict, HandBack)
        assert 0.8 * delay <= verdict.delay <= 1.2 * delay
    last = fails(health, UNREACHABLE, delivery=5, now=10)
    assert isinstance(last, Fail)
    assert last.retryable


def test_a_host_that_fails_in_a_row_rests_with_its_jobs(health: SourceHealth) -> None:
    health.loaded(OTHER, "fine", 0.0)
    for now in range(HOST_PATIENCE - 1):
        fails(health, UNREACHABLE, now=now)
    assert not health.job_rests(JOB, HOST_PATIENCE)
    verdict = fails(health, UNREACHABLE, now=HOST_PATIENCE)
    assert isinstance(verdict, HandBack)
    assert verdict.delay >= 0.8 * HOST_REST
    assert health.job_rests(JOB, HOST_PATIENCE + 1)
    assert health.host_rests("host", HOST_PATIENCE + 1) == pytest.approx(HOST_REST - 1)
    assert not health.job_rests(OTHER, HOST_PATIENCE + 1)
    assert not health.job_rests(JOB, HOST_PATIENCE + HOST_REST)
    # Still down: one failure is enough this time.
    fails(health, UNREACHABLE, now=HOST_PATIENCE + HOST_REST + 1)
    assert health.job_rests(JOB, HOST_PATIENCE + HOST_REST + 2)


def test_one_success_ends_the_row(health: SourceHealth) -> None:
    for now in range(HOST_PATIENCE - 1):
        fails(health, UNREACHABLE, now=now)
    health.loaded(JOB, "host", HOST_PATIENCE)
    fails(health, UNREACHABLE, now=HOST_PATIENCE + 1)
    assert not health.job_rests(JOB, HOST_PATIENCE + 2)


def test_a_job_of_many_hosts_goes_on_while_one_of_them_rests(health: SourceHealth) -> None:
    for now in range(HOST_PATIENCE):
        fails(health, UNREACHABLE, now=now)
    health.loaded(JOB, "another host", HOST_PATIENCE)
    assert not health.job_rests(JOB, HOST_PATIENCE + 1)
    assert health.host_rests("host", HOST_PATIENCE + 1) > 0


def test_a_forbidden_job_rests_until_one_of_its_images_can_be_loaded(health: SourceHealth) -> None:
    verdict = fails(health, FORBIDDEN, now=0)
    assert isinstance(verdict, HandBack)
    assert health.job_rests(JOB, 1)
    assert health.due(JOB_REST.first - 1) == []
    assert health.due(JOB_REST.first) == [(JOB, ["host/0"])]
    health.tried(JOB, loadable=True, now=JOB_REST.first)
    assert not health.job_rests(JOB, JOB_REST.first)


def test_a_resting_job_is_tried_more_and_more_seldom(health: SourceHealth) -> None:
    fails(health, FORBIDDEN, now=0)
    now, rests = JOB_REST.first, []
    for _ in range(12):
        health.tried(JOB, loadable=False, now=now)
        assert health.is_on_trial(JOB) and not health.job_rests(JOB, now)
        fails(health, FORBIDDEN, now=now)
        assert health.job_rests(JOB, now)
        [rest] = [rest for rest in range(1, 1000) if health.due(now + rest)][:1]
        rests.append(rest)
        now += rest
    assert rests == sorted(rests)
    assert rests[-1] == JOB_REST.longest


def test_a_good_image_behind_a_forbidden_one_ends_its_rest(health: SourceHealth) -> None:
    """A1: only the forbidden one was tried, for four minutes, where a worker met it first."""
    fails(health, FORBIDDEN, now=0)
    health.tried(JOB, loadable=False, now=JOB_REST.first)
    assert health.is_on_trial(JOB)
    health.loaded(JOB, "host", JOB_REST.first)
    assert not health.is_on_trial(JOB) and not health.job_rests(JOB, JOB_REST.first)


def test_one_forbidden_image_among_many_good_ones_fails_and_rests_nobody(health: SourceHealth) -> None:
    for delivery in range(1, ONE_OF_MANY):
        health.loaded(JOB, "host", delivery)
        assert isinstance(fails(health, FORBIDDEN, delivery=delivery, now=delivery), HandBack)
        assert not health.job_rests(JOB, delivery)
    health.loaded(JOB, "host", 10)
    last = fails(health, FORBIDDEN, delivery=ONE_OF_MANY, now=11)
    assert isinstance(last, Fail) and last.retryable and last.reason.startswith("HTTP 403, since")


def test_rights_that_end_in_mid_job_rest_it_and_fail_nothing(health: SourceHealth) -> None:
    health.loaded(JOB, "host", 0)
    verdicts = [fails(health, FORBIDDEN, now=now) for now in range(1, 4)]
    assert all(isinstance(verdict, HandBack) for verdict in verdicts)
    assert health.job_rests(JOB, 4)


def test_what_is_known_of_jobs_that_ended_is_forgotten(health: SourceHealth) -> None:
    fails(health, FORBIDDEN, now=0)
    health.forget_all_but(set())
    assert not health.job_rests(JOB, 1)
    assert health.due(100) == []


def test_the_last_images_of_a_job_fail_when_only_they_are_forbidden(health: SourceHealth) -> None:
    """A1: nothing else is left to be loaded, so that no success will end the row of forbidden images."""
    health.loaded(JOB, "host", 0.0)
    for delivery in range(1, ONE_OF_MANY):
        for image in range(4):
            assert isinstance(fails(health, FORBIDDEN, delivery=delivery, now=10 * delivery + image), HandBack)
        assert health.job_rests(JOB, 10 * delivery + 4)
        health.tried(JOB, loadable=False, now=10 * delivery + 5)
        assert health.is_on_trial(JOB)
    for image in range(4):
        verdict = fails(health, FORBIDDEN, delivery=ONE_OF_MANY, now=100 + image)
        assert isinstance(verdict, Fail) and verdict.retryable and verdict.reason.startswith("HTTP 403, since")
        assert not health.job_rests(JOB, 100 + image)


def test_forbidden_images_fail_where_others_were_done_by_somebody_else(health: SourceHealth) -> None:
    """A1: a fresh worker, and the retry of forbidden images alone, have loaded nothing of the job themselves."""
    health.know(done={JOB}, forbidden_since={})
    now = 0.0
    for delivery in range(1, ONE_OF_MANY):
        assert isinstance(fails(health, FORBIDDEN, delivery=delivery, now=now), HandBack)
        assert "HTTP 403, since 20" in health.forbidden["1"]
        now += LONGEST_AT_THE_END
        assert health.due(now)
        health.tried(JOB, loadable=False, now=now)
        assert health.is_on_trial(JOB)
    verdict = fails(health, FORBIDDEN, delivery=ONE_OF_MANY, now=now)
    assert isinstance(verdict, Fail)
    assert verdict.retryable
    assert verdict.reason.startswith("HTTP 403, since 20") and verdict.reason.endswith("UTC (delivery 3)")


def test_many_forbidden_images_of_a_job_end_within_the_hour(health: SourceHealth) -> None:
    """A1: each trial takes twice as many tasks as the one before."""
    health.know(done={JOB}, forbidden_since={})
    deliveries, now = [0] * 1000, 0.0
    while any(delivery < ONE_OF_MANY for delivery in deliveries):
        if health.job_rests(JOB, now):
            now += LONGEST_AT_THE_END
            health.tried(JOB, loadable=False, now=now)
        image = deliveries.index(min(deliveries))
        deliveries[image] += 1
        fails(health, FORBIDDEN, delivery=deliveries[image], now=now)
    assert 300 < now < 3600


def test_no_image_fails_for_a_disk_that_is_away(health: SourceHealth) -> None:
    """A share that was away over night ended the job; within the hour each image of it had failed."""
    health.loaded(JOB, "host", 0)
    away = errors.NotMounted("the disk at /mnt/nas is gone from this worker; is it mounted?")
    now = 1.0
    for delivery in range(1, 100):
        assert isinstance(fails(health, away, delivery=delivery, now=now), HandBack)
        for job_run, _ in health.due(now):
            health.tried(job_run, loadable=False, now=now)
        now += 60
    assert health.forbidden[str(JOB.job)].startswith("the disk at /mnt/nas is gone")
    health.loaded(JOB, "host", now)
    assert isinstance(fails(health, FORBIDDEN, delivery=ONE_OF_MANY, now=now), Fail)


def test_a_job_of_which_nothing_is_done_waits_and_says_why(health: SourceHealth) -> None:
    """A1: a worker with access may come yet."""
    assert health.forbidden == {}
    for delivery in range(1, 20):
        assert isinstance(fails(health, FORBIDDEN, delivery=delivery, now=delivery), HandBack)
    assert "HTTP 403" in health.forbidden["1"]
    health.loaded(JOB, "host", 30)
    assert health.forbidden == {}


def test_a_fresh_worker_says_since_when_the_job_waits(health: SourceHealth) -> None:
    """A1: with each worker that the autoscaler started the wait began anew, in all that people see."""
    began = datetime(2026, 6, 12, 22, 10, tzinfo=UTC)
    health.know(done=frozenset(), forbidden_since={JOB: began})
    fails(health, FORBIDDEN, now=0)
    assert health.forbidden["1"] == "HTTP 403, since 2026-06-12 22:10 UTC"
    health.know(done={JOB}, forbidden_since={JOB: began})
    verdict = fails(health, FORBIDDEN, delivery=ONE_OF_MANY, now=1)
    assert isinstance(verdict, Fail) and "since 2026-06-12 22:10 UTC" in verdict.reason


def test_an_unreachable_host_is_named_with_its_reason_and_since_when(health: SourceHealth) -> None:
    """A1: while its images are tried again nothing told for what the job waits; then their reason had no time."""
    assert not health.has_waiting
    fails(health, UNREACHABLE, now=0)
    said = "HTTP 503, since 2026-06-13 06:00 UTC"
    assert said in health.unreachable["1"] and health.has_waiting
    last = fails(health, UNREACHABLE, delivery=5, now=1)
    assert isinstance(last, Fail) and said in last.reason and "(attempt 5)" in last.reason
    health.loaded(JOB, "host", 2)
    assert not health.unreachable and not health.has_waiting
