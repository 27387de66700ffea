"""Which reported errors pass, which are about a batch, which are final, and how long the others wait."""

from collections import Counter

import pytest

from antenna_orchestration.domain import attempts, reported_errors
from antenna_orchestration.domain.reported_errors import Finding, Look, Report

READABLE = Look(finding=Finding.READABLE)
AWAY = Look(finding=Finding.UNREACHABLE, why="HTTP 503")
ODD = "integer division or modulo by zero"


@pytest.mark.parametrize(
    "reason",
    [
        "Read timed out. (read timeout=30)",
        "Timeout while waiting",
        "Batch processing error: CUDA out of memory. Tried to allocate 2.00 GiB",
        "MemoryError",
        "oom",
        "503 Server Error: Service Unavailable for url: http://images/1.jpg",
        "the processing service answered HTTP 502: bad gateway",
        "HTTPConnectionPool(host='images', port=80): Max retries exceeded",
        "[Errno 111] Connection refused",
        "status code: 500",
        "no answer within 100 s",
        "HTTP Error 429: Too Many Requests",
    ],
)
def test_a_fault_that_passes(reason: str) -> None:
    assert reported_errors.passes(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "failed to load image",
        "cannot identify image file",
        "Batch processing error: " + ODD,
        "404 Client Error: Not Found for url: http://images/500.jpg",
        "image 5032 has 512x500 pixels",
        "no such species",
        "",
        "x" * 2_000,
    ],
)
def test_a_fault_that_stays(reason: str) -> None:
    assert not reported_errors.passes(reason)


def test_a_batch_is_named_and_more_than_one_image() -> None:
    batch = "Batch processing error: " + ODD
    assert reported_errors.shared_reasons([batch, batch, "failed to load image", "failed to load image"]) == {batch}
    assert reported_errors.shared_reasons([batch, "", ""]) == set()


def is_final(before: Report | None, reason: str, *, shared: bool = False, delivery: int = 1) -> bool:
    return reported_errors.is_final(before, reason, shared=shared, delivery=delivery, max_attempts=5)


def after(*reasons: str, shared: bool = False) -> Report:
    report = Report()
    for number, reason in enumerate(reasons):
        report = report.after(reason, holder=number, shared=shared, now=float(number))
    return report


def test_a_second_error_is_final_unless_passing_or_of_a_batch() -> None:
    assert not is_final(None, ODD)
    assert is_final(after(ODD), ODD, delivery=2)
    assert not is_final(after("oom", "oom"), ODD, delivery=3)
    assert not is_final(after(ODD), "oom", delivery=2)
    assert not is_final(after(ODD, shared=True), ODD, shared=True, delivery=2)
    # The image was tried alone after that.
    assert is_final(after(ODD, shared=True), ODD, delivery=2)
    # An error that the gateway found to be its store's is none of the image's.
    assert not is_final(after(ODD).as_passing(None), ODD, delivery=2)


def test_whatever_is_said_the_last_attempt_is_final() -> None:
    assert is_final(after("oom", "oom", "oom", "oom"), "oom", delivery=5)
    assert is_final(None, ODD, shared=True, delivery=5)
    left_out = Report(passing=1, left_out=4)
    assert not is_final(left_out, "oom", delivery=6) and is_final(left_out, "oom", delivery=9)


def test_deliveries_without_harm_do_not_count() -> None:
    def plans(report: Report | None) -> list[attempts.Plan]:
        return [reported_errors.plan(delivery, report) for delivery in (2, 3, 10, 11)]

    batch, alone, failed = attempts.Plan.BATCH, attempts.Plan.ALONE, attempts.Plan.FAIL_UNOPENED
    assert plans(None) == [batch, alone, alone, failed]
    assert plans(Report(left_out=8)) == [batch, batch, batch, alone]
    assert plans(Report(own=1, passing=1, left_out=1)) == [batch, batch, alone, alone]
    assert plans(Report(shared=1, alone=True)) == [alone, alone, alone, alone]


def test_only_what_passes_waits() -> None:
    for times in range(1, 9):
        assert reported_errors.delay(after(*[ODD] * times), READABLE) == 5.0
        middle = (5.0, 30.0, 120.0, 600.0)[min(times, 4) - 1]
        assert 0.8 * middle <= reported_errors.delay(after(*["oom"] * times), READABLE) <= 1.2 * middle
    assert reported_errors.delay(after(ODD, ODD).as_passing(after("oom")), AWAY) >= 24.0


def test_an_image_is_kept_for_others_for_a_while() -> None:
    report = Report(holders=(1, 2), at=100.0)
    assert reported_errors.is_kept_for_others(report, 2, now=110.0)
    assert not reported_errors.is_kept_for_others(report, 3, now=110.0)
    assert not reported_errors.is_kept_for_others(report, 2, now=121.0)


def test_the_commonest_reasons_are_shown() -> None:
    reasons = Counter({"a": 5, "b" * 300: 4, "c": 3, "d": 2, "e": 1})
    assert reported_errors.in_words(reasons) == f"a (5), {'b' * 80} (4), c (3), other reasons (3)"
    counted = Counter({reported_errors.OTHERS: 191, "a": 5})
    assert reported_errors.in_words(counted) == "a (5), other reasons (191)"
    assert reported_errors.in_words(Counter()) == ""
