"""Whatever order things happen in, every image is counted once: a stateful property test on real stores.

The machine publishes, leases, reports, hands back, crashes, loses tasks and results, collects with and without
acknowledging, collects twice, finishes, cancels and retries, in any order that hypothesis finds, and holds the catalog
against a model of what was reported. The invariants of a job's life, and where they are checked:

I1  An active job's pending image that was published waits as a task or as a result, or reconciling puts it back
    (`nothing_published_is_lost`, `reconcile`).
I2  What is on the queue is of pending images, or a repetition that moves nothing (`collect_some`).
I3  All images of a job are in the catalog before the first is published (`every_image_has_one_state`).
I4  The queue is cleared only of a job that is over (`nothing_published_is_lost`, `cancel_and_retry`).
I5  Counts move only with images: done, failed and pending always add up (`counts_add_up`).
I6  A result is acknowledged only after its rows and its image's status are committed (`collect_some` that dies in
    between, `_end`).
I7  A terminal status is never left but by a retry, which opens a generation (`terminal_is_terminal`).
I8  An image is done only with its rows in a part that the catalog names; the ledger comes with the job's end
    (`a_done_image_has_its_rows`, `_end`).
I9  A failure is final only at the job's end: until then a success beats it (`every_image_has_one_state`, `_end`).
"""

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from antenna_orchestration.catalog.images import ImageOutcome
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import cancel, clear_queue, collect, finish, publish, reconcile, retry
from antenna_orchestration.processing.services import opened, prepare
from antenna_orchestration.queue import names
from antenna_orchestration.queue.leasing import Lease
from tests.processing.jobs_by_hand import Hands, hands, make_job

IMAGES = 8
ACK_WAIT = 0.7

_numbers = itertools.count()


class EveryImageOnce(RuleBasedStateMachine):
    """One job between a publisher, workers that come and go, and collectors that die."""

    stores: EmbeddedStores

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.contexts: list[object] = []
        self.held: list[Lease] = []
        # Images of which a success, or a failure, was durable in this generation; and successes kept from before.
        self.succeeded: set[int] = set()
        self.failed: set[int] = set()
        # Images whose task or result this test has taken off the queue.
        self.lost: set[int] = set()

    @initialize()
    def begin(self) -> None:
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        wanted = self.stores.settings.model_copy(update={"task_ack_wait": ACK_WAIT})
        services = opened(wanted)
        self.services = await services.__aenter__()
        worker = hands(self.services)
        self.worker: Hands = await worker.__aenter__()
        self.contexts = [worker, services]
        job = await make_job(self.services, f"any-order-{next(_numbers)}", IMAGES)
        self.job_id = job.job_id
        self._images = await self.services.catalog.images.pending(job.job_run, upto=IMAGES)
        await self._start()

    async def _start(self) -> None:
        job = await self._job()
        await self.services.catalog.jobs.claim(1, job_id=job.job_id)
        assert await self.services.catalog.jobs.start(job.job_run, "run")

    async def _job(self) -> Job:
        return await self.services.catalog.jobs.get(self.job_id)

    @rule(limit=st.one_of(st.none(), st.integers(1, IMAGES)))
    def publish(self, limit: int | None) -> None:
        self.runner.run(publish.publish(self.services, self.job_id, limit=limit))

    @rule(wanted=st.integers(1, IMAGES))
    def lease(self, wanted: int) -> None:
        async def act() -> None:
            job = await self._job()
            if job.epoch is not None:
                self.held += await self.worker.lease(job, wanted, wait=0)

        self.runner.run(act())

    @precondition(lambda self: self.held)
    @rule(outcome=st.sampled_from(["done", "failed"]), acknowledge=st.booleans(), data=st.data())
    def report(self, outcome: str, acknowledge: bool, data: st.DataObject) -> None:
        """A result becomes durable; the task is acknowledged, or its worker dies before it could."""
        lease = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        changes = {} if outcome == "done" else {"outcome": "failed", "reason": "drawn", "detections": []}
        self.runner.run(self.worker.report([lease], acknowledge=acknowledge, **changes))
        job = self.runner.run(self._job())
        if lease.task.generation == job.generation:
            (self.succeeded if outcome == "done" else self.failed).add(lease.task.image)

    @precondition(lambda self: self.held)
    @rule()
    def hand_back(self) -> None:
        self.runner.run(self.held.pop().hand_back())

    @precondition(lambda self: self.held)
    @rule()
    def crash(self) -> None:
        """The worker is gone with everything it holds; the leases end by themselves."""
        self.held.clear()

    @rule(acknowledge=st.booleans(), twice=st.booleans())
    def collect_some(self, acknowledge: bool, twice: bool) -> None:
        """A collector commits what is there and dies before, or after, it acknowledged."""

        async def act() -> None:
            job = await self._job()
            async with self.services.results(job.job_run) as feed:
                received = await feed.pull(IMAGES * 4, wait=0)
                for _ in range(2 if twice else 1):
                    collector = collect.Collector(services=self.services, job=job, observer=collect.Observer())
                    await collector.commit(received)
                if acknowledge:
                    await feed.acknowledge(received)

        self.runner.run(act())

    @rule()
    def reconcile(self) -> None:
        """What was lost is found, and nothing else."""

        async def act() -> None:
            job = await self._job()
            waiting = await self.services.catalog.images.pending(job.job_run, upto=job.published_upto)
            on_queue = await self.services.queue.waiting(job.pipeline, job.job_run)
            on_queue |= await self.services.queue.unread_results(job.job_run)
            found = await reconcile.reconcile(self.services, self.job_id)
            assert found.lost == len(waiting - on_queue) <= len(self.lost)
            self.lost.clear()

        self.runner.run(act())

    @rule(stream=st.sampled_from([names.TASKS, names.RESULTS]))
    def lose(self, stream: str) -> None:
        """The queue forgets acknowledged messages, as it may when the power fails."""

        async def act() -> None:
            job = await self._job()
            queue = self.services.queue
            if stream == names.TASKS:
                subject = names.task_subject(job.pipeline, job.job_run)
                self.lost |= await queue.waiting(job.pipeline, job.job_run)
            else:
                subject = names.result_subject(job.job_run)
                gone = await queue.unread_results(job.job_run)
                self.lost |= gone
                rows = {row["image_id"]: row["status"] for row in await self._rows()}
                # What was only there is nobody's knowledge any more.
                self.succeeded -= {image for image in gone if rows[image] != "done"}
                self.failed -= {image for image in gone if rows[image] == "pending"}
            await self.services.connection.jetstream(timeout=60).purge_stream(stream, subject=subject)

        self.runner.run(act())

    @rule(status=st.sampled_from([JobStatus.SUCCESS, JobStatus.FAILURE]))
    def terminal_is_terminal(self, status: JobStatus) -> None:
        """A job that is given up stays so, whatever arrives; a retry goes on with what is not done."""

        async def act() -> None:
            job = await self._job()
            assert await self.services.catalog.jobs.finish(job.job_run, status, "given up")
            for other in (JobStatus.SUCCESS, JobStatus.FAILURE, JobStatus.CANCELED):
                assert not await self.services.catalog.jobs.finish(job.job_run, other, "again")
            assert not await self.services.catalog.jobs.start(job.job_run, "late")
            assert not await cancel.cancel(self.services, job.job_id, reason="late")
            before = await self.services.catalog.images.count(job.job_id)
            late = [
                ImageOutcome(image, "done", None, 1, None, False, None, None, 0, 0, "late") for image in self._images
            ]
            assert not await self.services.catalog.images.commit(job.job_run, late)
            assert await self.services.catalog.images.count(job.job_id) == before
            assert (await self._job()).status is status
            await clear_queue.clear_queue(self.services, job)
            await self._retry()

        self.runner.run(act())

    async def _retry(self) -> None:
        rows = await self._rows()
        done = {row["image_id"] for row in rows if row["status"] == "done"}
        before = await self._job()
        retried = await retry.retry(self.services, self.job_id)
        assert retried.images == IMAGES - len(done)
        if retried.generation == before.generation:
            # Nothing to retry; what another generation does to such a job is tried all the same.
            assert not retried.images
            assert await self.services.catalog.jobs.retry(self.job_id)
        self.succeeded, self.failed, self.lost = done, set(), set()
        await self._start()

    @rule()
    def cancel_and_retry(self) -> None:
        async def act() -> None:
            assert await cancel.cancel(self.services, self.job_id, reason="drawn")
            job = await self._job()
            assert job.status is JobStatus.CANCELED
            assert not await self.services.queue.waiting(job.pipeline, job.job_run)
            assert not await self.services.queue.unread_results(job.job_run)
            await self._retry()

        self.runner.run(act())

    async def _rows(self) -> list[dict[str, object]]:
        return [row async for rows in self.services.catalog.images.manifest(self.job_id) for row in rows]

    @invariant()
    def every_image_has_one_state(self) -> None:
        if not self.contexts:
            return
        rows = self.runner.run(self._rows())
        assert len({row["image_id"] for row in rows}) == len(rows) == IMAGES
        for row in rows:
            image, status = row["image_id"], row["status"]
            assert status != "done" or image in self.succeeded
            assert status != "failed" or image in self.failed

    @invariant()
    def counts_add_up(self) -> None:
        if self.contexts:
            counts = self.runner.run(self.services.catalog.images.count(self.job_id))
            assert counts.done + counts.failed + counts.pending == counts.total == IMAGES

    @invariant()
    def nothing_published_is_lost(self) -> None:
        async def look() -> None:
            job = await self._job()
            waiting = await self.services.queue.waiting(job.pipeline, job.job_run)
            unread = await self.services.queue.unread_results(job.job_run)
            pending = await self.services.catalog.images.pending(job.job_run, upto=job.published_upto)
            assert pending <= waiting | unread | self.lost
            if job.epoch is not None:
                # A living job can be leased from.
                assert await self.services.queue.counts(job.job_run, job.epoch) is not None
                assert await self.services.announcements.has(job.job_run, job.epoch)

        if self.contexts:
            self.runner.run(look())

    @invariant()
    def a_done_image_has_its_rows(self) -> None:
        if not self.contexts:
            return
        for part, images in self.runner.run(self.services.catalog.images.by_part(self.job_id)).items():
            table = self.services.lake.read_part(self.job_id, part, "detections")
            assert table is not None and set(images) <= set(table.column("image_id").to_pylist())

    def teardown(self) -> None:
        if not self.contexts:
            return
        try:
            self.runner.run(self._end())
        finally:
            for context in self.contexts:
                self.runner.run(context.__aexit__(None, None, None))  # type: ignore[attr-defined]
            self.runner.close()

    async def _standing(self) -> str:
        job = await self._job()
        assert job.epoch is not None
        counts = await self.services.catalog.images.count(job.job_id)
        return (
            f"{counts}; {job}; consumer {await self.services.queue.counts(job.job_run, job.epoch)}; "
            f"tasks {await self.services.queue.waiting(job.pipeline, job.job_run)}; "
            f"results {await self.services.queue.unread_results(job.job_run)}"
        )

    async def _end(self) -> None:
        """However it stands, the job can be brought to its end, and the tables hold each done image once."""
        await publish.publish(self.services, self.job_id)
        await reconcile.reconcile(self.services, self.job_id)
        job = await self._job()
        for lease in self.held:
            await lease.hand_back()
        collecting = asyncio.create_task(
            collect.collect(self.services, job, observer=collect.Observer()), name="collect"
        )
        try:
            async with asyncio.timeout(60):
                while not collecting.done():
                    await self.worker.report(await self.worker.lease(job, IMAGES, wait=0.2))
        except TimeoutError:
            pytest.fail(f"the job does not end: {await self._standing()}")
        counts = collecting.result()
        assert counts.done + counts.failed == IMAGES
        tables = await finish.write_final_tables(self.services, job)
        await finish.finish_job(self.services, job)
        assert tables.rows["detections"] == counts.done
        images = self.services.lake.read_table("detections", job.job_id).column("image_id").to_pylist()
        done = {row["image_id"] for row in await self._rows() if row["status"] == "done"}
        assert sorted(images) == sorted(done)
        # A success that was durable in this generation is never lost to a failure.
        assert self.succeeded <= done


@pytest.mark.timeout(170)
@pytest.mark.slow
def test_every_image_is_counted_once_in_any_order(shared_stores: EmbeddedStores) -> None:
    wanted = shared_stores.settings.model_copy(update={"task_ack_wait": ACK_WAIT})
    asyncio.run(prepare(wanted))
    EveryImageOnce.stores = shared_stores
    run_state_machine_as_test(
        EveryImageOnce,
        settings=hypothesis_settings(
            max_examples=12,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
