"""What becomes of posted results: `judge` alone, with plain values."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.contract.results import Item
from antenna_orchestration.dispatch import judge_results
from antenna_orchestration.dispatch.judge_results import Posted, Verdict
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.http_lease import LeaseClaim
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, JobRun
from antenna_orchestration.domain.job import ACTIVE, ImageStatus, JobStatus
from antenna_orchestration.domain.reported_errors import Report
from antenna_orchestration.live.leases import KeptLease

JOB_RUN = JobRun(JobId(7), Generation(2))
WORKER = 3
MAX_ATTEMPTS = 5
NOW = datetime(2026, 7, 1, tzinfo=UTC)

DONE = Item(kind="done", image_id="5")
FAILED = Item(kind="failed", image_id="5", reason="oom")


def claim(image: int = 5, *, delivery: int = 1, job_run: JobRun = JOB_RUN, worker: int = WORKER) -> LeaseClaim:
    return LeaseClaim(
        job=job_run.job, generation=job_run.generation, image=ImageId(image), delivery=delivery, epoch=Epoch("0a"),
        sequence=9, place=11, worker=worker, expires=1_000,
    )  # fmt: skip


def kept(*, delivery: int = 1) -> KeptLease:
    return KeptLease(holder=WORKER, epoch=Epoch("0a"), sequence=9, place=11, delivery=delivery, since=100.0)


def judge(
    posted: Sequence[Posted], *, status: JobStatus = JobStatus.RUNNING, decided: frozenset[ImageId] = frozenset()
) -> list[Verdict]:
    return judge_results.judge(
        posted,
        job_run=JOB_RUN,
        status=status,
        decided=decided,
        worker="w",
        max_attempts=MAX_ATTEMPTS,
        now=NOW,
    )


def test_a_success_is_queued() -> None:
    (verdict,) = judge([Posted(item=DONE, claim=claim(delivery=2), kept=kept())])
    assert (verdict.status, verdict.detail) == ("queued", "")
    assert verdict.result == messages.Result(
        job=JOB_RUN.job, generation=JOB_RUN.generation, image=ImageId(5), worker="w", delivery=2, outcome="done",
        timings={"held": NOW.timestamp() - 100.0}, created_at=NOW,
    )  # fmt: skip


def test_a_failure_is_tried_again_until_its_last_attempt() -> None:
    (first,) = judge([Posted(item=FAILED, claim=claim(), kept=kept())])
    assert (first.status, first.detail, first.result) == ("retry", "oom", None)
    # The queue delivered it again while the worker had it.
    (last,) = judge([Posted(item=FAILED, claim=claim(), kept=kept(delivery=MAX_ATTEMPTS))])
    assert (last.status, last.detail) == ("queued", "oom")
    assert last.result is not None
    assert (last.result.outcome, last.result.delivery, last.result.retryable) == ("failed", MAX_ATTEMPTS, True)


def test_an_error_after_one_that_does_not_pass_is_final() -> None:
    before = Report().after("no such species", holder=WORKER, shared=False, now=1.0)
    strange = Item(kind="failed", image_id="5", reason="it is a teapot")
    (verdict,) = judge([Posted(item=strange, claim=claim(delivery=2), kept=kept(), before=before)])
    assert (verdict.status, verdict.detail) == ("queued", "it is a teapot")
    # What passes, and what is said of a whole batch, is no second word about this image.
    (verdict,) = judge([Posted(item=FAILED, claim=claim(delivery=2), kept=kept(), before=before)])
    assert (verdict.status, verdict.before) == ("retry", before)
    (verdict,) = judge([Posted(item=strange, claim=claim(delivery=2), kept=kept(), before=before, shared=True)])
    assert verdict.status == "retry"


def test_a_result_that_names_another_image_is_a_failed_attempt() -> None:
    (verdict,) = judge([Posted(item=DONE, claim=claim(6), kept=kept())])
    assert (verdict.status, verdict.item.kind) == ("retry", "invalid")
    assert verdict.detail == "its result cannot be used: the result names image 5, not 6"


def test_a_result_without_a_lease_of_the_worker_is_rejected() -> None:
    (verdict,) = judge([Posted(item=DONE, refusal="the lease is another worker's")])
    assert (verdict.status, verdict.detail) == ("rejected", "the lease is another worker's")
    assert verdict.claim is None and verdict.decided_image is None


@pytest.mark.parametrize("state", [None, *ImageStatus])
@pytest.mark.parametrize("item", [DONE, FAILED])
def test_after_the_lease_only_success_on_an_image_not_done_counts(item: Item, state: ImageStatus | None) -> None:
    (verdict,) = judge([Posted(item=item, claim=claim(), state=state)])
    if item is DONE and state in (ImageStatus.PENDING, ImageStatus.FAILED):
        assert verdict.status == "queued"
    else:
        assert (verdict.status, verdict.detail) == ("late", f"the lease is over and the image {state or 'gone'}")


def test_the_second_result_on_an_image_is_late() -> None:
    posted = Posted(item=DONE, claim=claim(), kept=kept())
    assert [one.detail for one in judge([posted, posted])] == ["", "posted twice"]
    (later,) = judge([posted], decided=frozenset({ImageId(5)}))
    assert (later.status, later.detail) == ("late", "posted twice")


def test_results_of_an_earlier_generation_are_late() -> None:
    earlier = claim(job_run=JobRun(JOB_RUN.job, Generation(1)))
    (verdict,) = judge([Posted(item=DONE, claim=earlier, kept=kept())])
    assert (verdict.status, verdict.detail) == ("late", "the job is RUNNING")


items = st.builds(
    Item, kind=st.sampled_from(["done", "failed", "invalid"]), image_id=st.sampled_from([None, "1", "2", "3"]),
    reason=st.just("why"),
)  # fmt: skip
claims = st.builds(
    claim, st.integers(1, 3), delivery=st.integers(1, 8),
    job_run=st.builds(JobRun, st.just(JOB_RUN.job), st.sampled_from([Generation(1), JOB_RUN.generation])),
)  # fmt: skip
posts = st.lists(
    st.builds(
        Posted, item=items, claim=st.none() | claims, refusal=st.just("not ours"),
        kept=st.none() | st.builds(kept, delivery=st.integers(1, 8)), state=st.none() | st.sampled_from(ImageStatus),
        before=st.none() | st.builds(Report, own=st.integers(0, 2), passing=st.integers(0, 2)), shared=st.booleans(),
    ), max_size=12,
)  # fmt: skip


@given(posts, st.sampled_from(JobStatus), st.frozensets(st.integers(1, 3).map(ImageId)))
def test_no_image_is_decided_twice_and_each_verdict_is_whole(
    posted: list[Posted], status: JobStatus, decided: frozenset[ImageId]
) -> None:
    verdicts = judge(posted, status=status, decided=decided)
    assert [one.claim for one in verdicts] == [one.claim for one in posted]
    images = [one.decided_image for one in verdicts if one.decided_image is not None]
    assert len(images) == len(set(images)) and not decided & set(images)
    assert not images or status in ACTIVE
    for one, verdict in zip(posted, verdicts, strict=True):
        assert (verdict.status == "rejected") == (one.claim is None)
        assert (verdict.result is not None) == (verdict.status == "queued")
        assert verdict.detail or (verdict.status == "queued" and verdict.item.kind == "done")
        if verdict.status == "retry":
            # Somebody has to hand it back.
            assert verdict.kept is not None and verdict.item.kind != "done"
        if verdict.result is not None:
            assert verdict.result.job_run == JOB_RUN
            assert (verdict.result.outcome == "done") == (verdict.item.kind == "done")


@given(posts, st.sampled_from(sorted(ACTIVE)))
def test_judging_in_two_parts_gives_the_same_decisions(posted: list[Posted], status: JobStatus) -> None:
    """Posts are judged in chunks. A result that was too late does not stand in the way of one in a later chunk."""
    held = [replace(one, kept=one.kept or kept()) for one in posted]
    whole = judge(held, status=status)
    first = judge(held[: len(held) // 2], status=status)
    decided = frozenset(one.decided_image for one in first if one.decided_image is not None)
    assert first + judge(held[len(held) // 2 :], status=status, decided=decided) == whole


def test_a_lease_token_is_the_workers_and_of_this_job() -> None:
    def read(token: LeaseClaim) -> LeaseClaim:
        return judge_results.claim_of(DONE, token, {}, job_run=JOB_RUN, worker=WORKER)

    assert read(claim()) == claim()
    with pytest.raises(errors.InvalidInput, match="of another job"):
        read(claim(job_run=JobRun(JobId(8), Generation(2))))
    with pytest.raises(errors.InvalidInput, match="another worker's"):
        read(claim(worker=4))


def test_without_a_token_the_kept_lease_of_the_image_is_meant() -> None:
    found = judge_results.claim_of(DONE, None, {ImageId(5): kept(delivery=4)}, job_run=JOB_RUN, worker=WORKER)
    assert (found.image, found.delivery, found.job, found.generation) == (5, 4, *JOB_RUN)
    for text in (None, "6", "٥", "5" * 19, "-5"):
        with pytest.raises(errors.InvalidInput, match="no reply_subject"):
            judge_results.claim_of(
                Item(kind="done", image_id=text), None, {ImageId(5): kept()}, job_run=JOB_RUN, worker=WORKER
            )
