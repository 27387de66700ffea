"""Posting: a batch to the processing service, what comes of each of its images, and giving back what was not done.

Results go the way of every post to the gateway (`dispatch/accept_results.py`): this module only says whose fault a
failure is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.contract import pushing
from antenna_orchestration.contract.pushing import Sent
from antenna_orchestration.contract.results import Item
from antenna_orchestration.dispatch import accept_results, keep_leases, register
from antenna_orchestration.dispatch.lease import Leased
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import attempts
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing import retrying
from antenna_orchestration.push.service import Answer, Failed, Gone, ProcessingService, Refused

logger = logging.getLogger(__name__)

ILL_AFTER: Final = 3
"""Posts in a row that failed by the service's own errors before the worker slows down."""

ILL_FIRST: Final = 5.0
ILL_LONGEST: Final = 60.0
"""Seconds between posts to a service that answers with errors only, growing: it should not cost all images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Images that are posted together."""

    job: Job
    images: tuple[Leased, ...]
    sent: tuple[Sent, ...]
    # By the monotonic clock: a post that begins later may outlive its leases.
    begin_until: float

    def single(self, index: int) -> Batch:
        """One of the images as a batch of its own."""
        return Batch(
            job=self.job,
            images=self.images[index : index + 1],
            sent=self.sent[index : index + 1],
            begin_until=self.begin_until,
        )


class Poster:
    """Posts batches, several at a time if wanted, and counts."""

    def __init__(
        self,
        *,
        http: HttpServices,
        worker: Token,
        service: ProcessingService,
        stopping: asyncio.Event,
        is_ready: Callable[[], bool],
        on_gone: Callable[[str], None],
    ) -> None:
        self._http = http
        self._worker = worker
        self._service = service
        self._stopping = stopping
        self._is_ready = is_ready
        self._on_gone = on_gone
        self._failed_in_a_row = 0
        self.done = 0
        self.failed = 0
        self.handed_back = 0

    @property
    def service_is_ill(self) -> bool:
        """Whether the service has answered with nothing but errors of its own of late."""
        return self._failed_in_a_row >= ILL_AFTER

    def pause(self) -> float:
        """Seconds to leave the service alone before the next post."""
        if not self.service_is_ill:
            return 0.0
        return min(ILL_FIRST * 2.0 ** min(self._failed_in_a_row - ILL_AFTER, 10), ILL_LONGEST)

    async def push(self, batch: Batch) -> None:
        """Post a batch and settle each of its images; image by image when the batch as a whole does not get through."""
        config = {
            key: value
            for key, value in batch.job.config.items()
            if key not in register.SETTINGS and not key.startswith("request_")
        }
        body = pushing.request(batch.job.pipeline, list(batch.sent), config)
        outcome = await self._service.process(
            body, stopping=self._stopping, begin_within=batch.begin_until - time.monotonic()
        )
        if isinstance(outcome, Answer):
            try:
                items = await self._read(batch, outcome.body)
            except errors.InvalidInput as error:
                outcome = Refused(str(error))
            else:
                self._failed_in_a_row = 0
                await self._settle(batch.job, items, size=len(outcome.body))
                return
        if isinstance(outcome, Gone):
            self._on_gone(outcome.reason)
            # What it had in hand may be what stopped it: let others go first.
            await self.hand_back_batch(batch, later=outcome.had_batch)
        elif isinstance(outcome, Failed) and self._stopping.is_set():
            await self.hand_back_batch(batch)
        elif len(batch.images) > 1:
            logger.warning("job %s: a batch of %d is split: %s", batch.job.job_id, len(batch.images), outcome.reason)
            await self._push_one_by_one(batch)
        else:
            self._failed_in_a_row = self._failed_in_a_row + 1 if isinstance(outcome, Failed) else 0
            await self._settle(batch.job, [pushing.failed(batch.sent[0], outcome.reason)], size=0)

    async def _push_one_by_one(self, batch: Batch) -> None:
        for index in range(len(batch.images)):
            single = batch.single(index)
            too_late = time.monotonic() > batch.begin_until
            if too_late or self._stopping.is_set() or not self._is_ready():
                await self.hand_back_batch(single)
            else:
                await self.push(single)
                await retrying.rest(self.pause(), unless=self._stopping)

    async def _read(self, batch: Batch, body: bytes) -> list[Item]:
        """What the answer says of each image. Raises `InvalidInput`."""
        reduction = await retrying.retry_forever(
            "reading an answer", lambda: accept_results.reduction(self._http, batch.job)
        )
        answered = await asyncio.to_thread(pushing.read, body, list(batch.sent), reduction)
        if answered.unknown:
            some = ", ".join(answered.unknown[:5])
            logger.warning("job %s: the answer names images that were not sent: %s", batch.job.job_id, some)
        return answered.items

    async def _settle(self, job: Job, items: list[Item], *, size: int) -> None:
        """Hand the results in, however long the stores are away: they are work already done."""
        current = await retrying.retry_forever("settling", lambda: self._http.services.catalog.jobs.find(job.job_id))
        if current is None:
            return
        taken = await retrying.retry_forever(
            "settling",
            lambda: accept_results.accept(
                self._http, current, self._worker, items, size=size, deadline=time.monotonic() + retrying.PAUSE
            ),
        )
        for item, one in zip(items, taken, strict=True):
            self.done += one.status == "queued" and item.kind == "done"
            self.failed += one.status == "queued" and item.kind != "done"
            if one.detail:
                logger.warning("job %s, image %s: %s: %s", job.job_id, one.image, one.status, one.detail)

    async def hand_back_batch(self, batch: Batch, *, later: bool = False) -> None:
        """Offer its tasks to everybody again; `later`, so that others go first."""
        await self.hand_back(batch.job, [one.image for one in batch.images], later=later)

    async def hand_back(self, job: Job, images: Sequence[ImageId], *, later: bool = False) -> None:
        """Offer tasks to everybody again. Where a store is away their leases end by themselves."""
        try:
            self.handed_back += await keep_leases.hand_back(
                self._http,
                job.job_id,
                job.generation,
                self._worker.token_id,
                images,
                delay=attempts.RETRY_DELAYS[0] if later else 0.0,
            )
        except errors.Unavailable as error:
            logger.warning("leases end by themselves: %s", error)

    async def hand_back_all(self) -> None:
        """Everything that this worker holds, from an earlier life too."""
        held = await self._http.leases.of_worker(self._worker.token_id)
        for (job, generation), images in held.items():
            self.handed_back += await keep_leases.hand_back(self._http, job, generation, self._worker.token_id, images)
