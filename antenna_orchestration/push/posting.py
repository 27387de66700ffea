"""Posting: send a batch to the processing service, hand in a result per image, and hand back what was not processed.

Results are handed in by the same verb as those that are posted to the gateway (`dispatch/accept_results.py`); this
module decides only what a failed post means for its images.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.contract import pushing, results
from antenna_orchestration.contract.pushing import Sent
from antenna_orchestration.contract.results import Item
from antenna_orchestration.dispatch import accept_results, register
from antenna_orchestration.dispatch.hand_back import hand_back
from antenna_orchestration.dispatch.lease import Leased
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import attempts
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing import loops, retrying
from antenna_orchestration.push.service import Answer, Failed, Gone, ProcessingService, Refused

logger = logging.getLogger(__name__)

ILL_AFTER: Final = 3
"""Posts in a row that failed by the service's own errors until the worker slows down."""

ILL: Final = Backoff(first=5.0, longest=60.0)
"""Pauses between posts to a service that answers with errors only, so that it does not cost all images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Images that are posted together."""

    job: Job
    images: tuple[Leased, ...]
    sent: tuple[Sent, ...]
    # Monotonic seconds: a post that begins later may outlive its leases.
    begin_until: float

    @property
    def image_ids(self) -> list[ImageId]:
        """The images, in order."""
        return [one.image for one in self.images]

    def single(self, index: int) -> Batch:
        """One of the images as a batch of its own."""
        return Batch(
            job=self.job,
            images=self.images[index : index + 1],
            sent=self.sent[index : index + 1],
            begin_until=self.begin_until,
        )


class Poster:
    """Posts batches, several at a time if wanted, and counts the outcomes."""

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
        """Whether the service's last posts all failed by its own errors."""
        return self._failed_in_a_row >= ILL_AFTER

    def pause(self) -> float:
        """Seconds to wait before the next post."""
        if not self.service_is_ill:
            return 0.0
        return ILL.pause(self._failed_in_a_row - ILL_AFTER + 1)

    async def push(self, batch: Batch) -> None:
        """Post a batch and hand in a result per image; post image by image when the batch as a whole fails."""
        config = {
            key: value
            for key, value in batch.job.config.items()
            if key not in (*register.SETTINGS, results.FULL_SCORES) and not key.startswith("request_")
        }
        body = pushing.request_body(batch.job.pipeline, list(batch.sent), config)
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
                await self._hand_in(batch.job, items, size=len(outcome.body))
                return
        if isinstance(outcome, Gone):
            self._on_gone(outcome.reason)
            # If the batch may have stopped the service, let other tasks go first.
            await self.hand_back(batch.job.job_run, batch.image_ids, later=outcome.had_batch)
        elif isinstance(outcome, Failed) and self._stopping.is_set():
            await self.hand_back(batch.job.job_run, batch.image_ids)
        elif len(batch.images) > 1:
            logger.warning("job %s: a batch of %d is split: %s", batch.job.job_id, len(batch.images), outcome.reason)
            await self._push_one_by_one(batch)
        else:
            self._failed_in_a_row = self._failed_in_a_row + 1 if isinstance(outcome, Failed) else 0
            await self._hand_in(batch.job, [pushing.failed(batch.sent[0], outcome.reason)], size=0)

    async def _push_one_by_one(self, batch: Batch) -> None:
        for index in range(len(batch.images)):
            single = batch.single(index)
            too_late = time.monotonic() > batch.begin_until
            if too_late or self._stopping.is_set() or not self._is_ready():
                await self.hand_back(single.job.job_run, single.image_ids)
            else:
                await self.push(single)
                await loops.rest(self.pause(), unless=self._stopping)

    async def _read(self, batch: Batch, body: bytes) -> list[Item]:
        """What the answer says about each image. Raises `InvalidInput`."""
        reduction = await retrying.retry_forever(
            "reading an answer", lambda: accept_results.reduction(self._http, batch.job)
        )
        answered = await asyncio.to_thread(pushing.read_answer, body, list(batch.sent), reduction)
        if answered.unknown:
            some = ", ".join(answered.unknown[:5])
            logger.warning("job %s: the answer names images that were not sent: %s", batch.job.job_id, some)
        return answered.items

    async def _hand_in(self, job: Job, items: list[Item], *, size: int) -> None:
        """Hand results in, however long the stores do not answer, since the work is done already."""
        current = await retrying.retry_forever(
            "handing results in", lambda: self._http.services.catalog.jobs.find(job.job_id)
        )
        if current is None:
            return
        taken = await retrying.retry_forever(
            "handing results in",
            lambda: accept_results.accept(
                self._http, current, self._worker, items, size=size, deadline=time.monotonic() + retrying.PAUSE
            ),
        )
        for item, one in zip(items, taken, strict=True):
            self.done += one.status == "queued" and item.kind == "done"
            self.failed += one.status == "queued" and item.kind != "done"
            if one.detail:
                logger.warning("job %s, image %s: %s: %s", job.job_id, one.image, one.status, one.detail)

    async def hand_back(self, job_run: JobRun, images: Sequence[ImageId], *, later: bool = False) -> None:
        """Offer tasks to everybody again.

        With `later`, because they may have stopped the service, after a delay, so that other tasks go first; otherwise
        they had no attempt. When a store does not answer, the leases end by themselves.
        """
        delay = attempts.RETRY_DELAYS[0] if later else 0.0
        try:
            self.handed_back += await hand_back(
                self._http, job_run, self._worker.holder, images, delay=delay, untried=not later
            )
        except errors.Unavailable as error:
            logger.warning("leases end by themselves: %s", error)

    async def hand_back_all(self) -> None:
        """Hand back everything that this worker holds, from an earlier process too. Raises `Unavailable`."""
        held = await self._http.live.leases.of_worker(self._worker.holder)
        for job_run, images in held.items():
            self.handed_back += await hand_back(self._http, job_run, self._worker.holder, images)
