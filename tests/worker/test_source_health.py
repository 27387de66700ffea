"""Whose fault it is, and who rests for it."""

from __future__ import annotations

import random

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import attempts
from antenna_orchestration.worker.policy.source_health import (
    FIRST_JOB_REST,
    HOST_PATIENCE,
    HOST_REST,
    LONGEST_JOB_REST,
    ONE_OF_MANY,
    TRIAL_EVERY,
    Fail,
    HandBack,
    SourceHealth,
)

UNUSABLE = errors.ImageUnusable("no such file")
UNREACHABLE = errors.ImageUnreachable("HTTP 503")
FORBIDDEN = errors.ImageForbidden("HTTP 403")


@pytest.fixture
def standing() -> SourceHealth:
    return SourceHealth(max_attempts=5, dice=random.Random(1))


def fails(
    standing: SourceHealth,
    error: errors.ImageError,
    *,
    job: object = "job",
    host: str = "host",
    delivery: int = 1,
    now: float,
) -> HandBack | Fail:
    return standing.failed(job, host, f"{host}/{now}", error, delivery=delivery, now=now)  # type: ignore[arg-type]


def test_the_images_own_fault_is_final_at_once(standing: SourceHealth) -> None:
    assert fails(standing, UNUSABLE, now=0) == Fail("no such file", retryable=False)


def test_a_passing_fault_is_handed_back_ever_longer_and_final_at_the_last_attempt(standing: SourceHealth) -> None:
    for delivery, delay in enumerate(attempts.RETRY_DELAYS, start=1):
        verdict = fails(standing, UNREACHABLE, delivery=delivery, now=delivery)
        assert isinstance(verdict, HandBack)
        assert 0.8 * delay <= verdict.delay <= 1.2 * delay
    last = fails(standing, UNREACHABLE, delivery=5, now=10)
    assert isinstance(last, Fail)
    assert last.retryable


def test_a_host_that_fails_in_a_row_rests_with_its_jobs_and_only_with_them(standing: SourceHealth) -> None:
    standing.loaded("other", "fine", 0.0)
    for now in range(HOST_PATIENCE - 1):
        fails(standing, UNREACHABLE, now=now)
    assert not standing.job_rests("job", HOST_PATIENCE)
    verdict = fails(standing, UNREACHABLE, now=HOST_PATIENCE)
    assert isinstance(verdict, HandBack)
    assert verdict.delay >= 0.8 * HOST_REST
    assert standing.job_rests("job", HOST_PATIENCE + 1)
    assert standing.host_rests("host", HOST_PATIENCE + 1) == pytest.approx(HOST_REST - 1)
    assert not standing.job_rests("other", HOST_PATIENCE + 1)
    assert not standing.job_rests("job", HOST_PATIENCE + HOST_REST)
    # Still down: one failure is enough this time.
    fails(standing, UNREACHABLE, now=HOST_PATIENCE + HOST_REST + 1)
    assert standing.job_rests("job", HOST_PATIENCE + HOST_REST + 2)


def test_one_success_ends_the_row(standing: SourceHealth) -> None:
    for now in range(HOST_PATIENCE - 1):
        fails(standing, UNREACHABLE, now=now)
    standing.loaded("job", "host", HOST_PATIENCE)
    fails(standing, UNREACHABLE, now=HOST_PATIENCE + 1)
    assert not standing.job_rests("job", HOST_PATIENCE + 2)


def test_a_job_of_many_hosts_goes_on_while_one_of_them_rests(standing: SourceHealth) -> None:
    for now in range(HOST_PATIENCE):
        fails(standing, UNREACHABLE, now=now)
    standing.loaded("job", "another host", HOST_PATIENCE)
    assert not standing.job_rests("job", HOST_PATIENCE + 1)
    assert standing.host_rests("host", HOST_PATIENCE + 1) > 0


def test_a_forbidden_job_rests_until_one_of_its_images_can_be_loaded(standing: SourceHealth) -> None:
    verdict = fails(standing, FORBIDDEN, now=0)
    assert isinstance(verdict, HandBack)
    assert standing.job_rests("job", 1)
    assert standing.due(FIRST_JOB_REST - 1) == []
    assert standing.due(FIRST_JOB_REST) == [("job", ["host/0"])]
    standing.tried("job", loadable=True, now=FIRST_JOB_REST)
    assert not standing.job_rests("job", FIRST_JOB_REST)


def test_a_resting_job_is_tried_ever_more_seldom_and_now_and_then_with_a_fresh_image(standing: SourceHealth) -> None:
    fails(standing, FORBIDDEN, now=0)
    now, rests = FIRST_JOB_REST, []
    for tries in range(1, 3 * TRIAL_EVERY + 1):
        standing.tried("job", loadable=False, now=now)
        assert standing.is_on_trial("job") == (tries % TRIAL_EVERY == 0)
        if standing.is_on_trial("job"):
            assert not standing.job_rests("job", now)
            fails(standing, FORBIDDEN, now=now)
            assert standing.job_rests("job", now)
        [rest] = [rest for rest in range(1, 1000) if standing.due(now + rest)][:1]
        rests.append(rest)
        now += rest
    assert rests == sorted(rests)
    assert rests[-1] == LONGEST_JOB_REST


def test_one_forbidden_image_among_many_good_ones_fails_and_rests_nobody(standing: SourceHealth) -> None:
    for delivery in range(1, ONE_OF_MANY):
        standing.loaded("job", "host", delivery)
        assert isinstance(fails(standing, FORBIDDEN, delivery=delivery, now=delivery), HandBack)
        assert not standing.job_rests("job", delivery)
    standing.loaded("job", "host", 10)
    assert fails(standing, FORBIDDEN, delivery=ONE_OF_MANY, now=11) == Fail("HTTP 403", retryable=True)


def test_rights_that_end_in_the_middle_of_a_job_rest_it_and_fail_nothing(standing: SourceHealth) -> None:
    standing.loaded("job", "host", 0)
    verdicts = [fails(standing, FORBIDDEN, now=now) for now in range(1, 4)]
    assert all(isinstance(verdict, HandBack) for verdict in verdicts)
    assert standing.job_rests("job", 4)


def test_what_is_known_of_jobs_that_ended_is_forgotten(standing: SourceHealth) -> None:
    fails(standing, FORBIDDEN, now=0)
    standing.forget(set())
    assert not standing.job_rests("job", 1)
    assert standing.due(100) == []
