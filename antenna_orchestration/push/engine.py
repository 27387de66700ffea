"""The push worker's engine: wait for the service, lease tasks, post them, hand the results in; and shut down in order.

It leases and hands results in through the verbs of `dispatch`, as the gateway does for its workers. While the service
is not ready, nothing is leased and leased tasks are handed back, so no image fails for that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from antenna_orchestration import errors, kernel
from antenna_orchestration.contract.pushing import Sent
from antenna_orchestration.dispatch import given_to_workers, image_urls, keep_leases, register, reported, worker_status
from antenna_orchestration.dispatch.lease import lease
from antenna_orchestration.dispatch.offers import Offers
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import given_boxes, messages
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.domain.job import DispatchMode, Job
from antenna_orchestration.processing import loops, retrying
from antenna_orchestration.push import identity
from antenna_orchestration.push.options import PushOptions, PushSummary
from antenna_orchestration.push.posting import Batch, Poster
from antenna_orchestration.push.service import ProcessingService

logger = logging.getLogger(__name__)

IDLE: Final = 0.5
"""Seconds between looks for work while there is none."""

NOT_READY: Final = Backoff(first=1.0, longest=15.0, factor=1.5)
"""Pauses between looks whether the service is ready."""

RESTART: Final = 1.0
"""Seconds after which a loop that came to its end is started again."""

CHECK_TOKEN: Final = 30.0
"""Seconds between checks of the worker's token; a worker whose token was revoked ends."""

BATCH_KEY: Final = "request_source_image_batch_size"
"""Key of a job's own batch size. Keys that begin with `request_` are for us, and are not sent to the service."""

MOST_AT_ONCE: Final = 1_000
"""Largest batch size that a job may ask for."""


class Pusher:
    """One push worker."""

    def __init__(
        self,
        *,
        http: HttpServices,
        worker: Token,
        service: ProcessingService,
        options: PushOptions,
        timeout: float,
        host: str,
    ) -> None:
        self._http = http
        self._worker = worker
        self._service = service
        self._options = options
        self._timeout = timeout
        self._host = host
        self._offers = Offers(http)
        self._pipelines: frozenset[str] = frozenset()
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._busy_at = time.monotonic()
        self._posting = 0
        self._poster = Poster(
            http=http,
            worker=worker,
            service=service,
            stopping=self._stopping,
            is_ready=self._ready.is_set,
            on_gone=self._lose,
        )

    def ask_to_stop(self) -> None:
        """Finish the current posts and end; when called again, end at once."""
        if self._stopping.is_set():
            self._hurried.set()
        logger.info("leaving%s", " at once" if self._hurried.is_set() else "")
        self._stopping.set()

    async def run(self) -> PushSummary:
        """Push until asked to stop, or until idle for as long as the options say.

        Raises what `register` raises, and `Forbidden` when the worker's token was revoked.
        """
        if not await self._is_the_only_one():
            return self._summary()
        try:
            await self._poster.hand_back_all()
            async with loops.running(
                loops.Loop(
                    name="announcements",
                    every=RESTART,
                    act=lambda: self._http.services.announcements.follow(self._offers.on_announcements),
                ),
                loops.Loop(name="alive", every=worker_status.messages_every(self._http), act=self._say_alive),
                loops.Loop(
                    name="leases",
                    every=self._http.settings.task_ack_wait / 3,
                    act=lambda: keep_leases.keep_quietly(self._http),
                ),
                loops.Loop(name="token", every=CHECK_TOKEN, act=self._check_token),
                loops.Loop(name="service", every=RESTART, act=self._keep_service),
            ):
                pushing = [
                    asyncio.create_task(self._push_batches(), name=f"push {number}")
                    for number in range(self._options.parallel)
                ]
                await self._until_over(pushing)
        finally:
            await self._sign_off()
        return self._summary()

    def _summary(self) -> PushSummary:
        return PushSummary(
            worker=self._worker.name,
            reason="asked" if self._stopping.is_set() else "idle",
            done=self._poster.done,
            failed=self._poster.failed + self._http.open_questions.failed,
            handed_back=self._poster.handed_back,
        )

    async def _until_over(self, pushing: Sequence[asyncio.Task[None]]) -> None:
        hurried: asyncio.Task[Any] = asyncio.create_task(self._hurried.wait(), name="hurried")
        running: set[asyncio.Task[Any]] = set(pushing)
        try:
            while running and not hurried.done():
                done, _ = await asyncio.wait({*running, hurried}, return_when=asyncio.FIRST_COMPLETED)
                for ended in done & running:
                    ended.result()
                running -= done
        finally:
            await kernel.end(hurried, *pushing)

    # The worker's identity, its heartbeats, and the service.

    async def _is_the_only_one(self) -> bool:
        """Wait while another process runs as this same worker; False when asked to stop meanwhile.

        Until the other one ends, everything that the worker holds belongs to it.
        """
        said = False
        while not self._stopping.is_set():
            heard = (await self._http.live.workers.get(self._worker.holder)).heard
            if await self._http.live.leases.now() - heard > 3 * worker_status.messages_every(self._http):
                return True
            if not said:
                said = True
                logger.warning("a push worker for %s runs already; this one waits for its end", self._service.name)
            await loops.rest(IDLE, unless=self._stopping)
        return False

    async def _say_alive(self) -> None:
        await worker_status.hear(
            self._http,
            self._worker,
            host=self._host,
            pipelines=self._pipelines,
            service=self._service.name,
            waiting=not self._ready.is_set(),
        )

    async def _check_token(self) -> None:
        """Raise `Forbidden` once the worker's token was revoked."""
        await identity.worker_token(self._http, project=self._options.project, service=self._service.name)

    async def _keep_service(self) -> None:
        """Wait until the service is ready, register what it serves, then wait until a post finds it gone."""
        looks, said = 0, ""
        while (why_not := await self._take_up_service()) is not None:
            if why_not != said:
                said = why_not
                logger.warning("waiting for the processing service: %s", why_not)
            looks += 1
            await asyncio.sleep(NOT_READY.pause(looks))
        logger.info("%s is ready and serves %s", self._service.name, ", ".join(sorted(self._pipelines)) or "nothing")
        self._lost.clear()
        self._ready.set()
        await self._say_alive()
        await self._lost.wait()

    async def _take_up_service(self) -> str | None:
        """Register the service's pipelines. Returns why it cannot be used now, or None."""
        if (why_not := await self._service.why_not_ready()) is not None:
            return why_not
        try:
            info = await self._service.info()
        except errors.Unavailable as error:
            return str(error)
        (project,) = self._worker.projects
        registered = await register.register(
            self._http,
            project,
            self._worker,
            [register.pipeline_row_of(one) for one in info.pipelines],
            service=info.name,
            host=self._host,
            client_info={"url": self._service.name},
            kind="push",
        )
        self._pipelines = frozenset(registered.pipelines)
        return None if self._pipelines else f"{self._service.name} serves no pipeline"

    def _lose(self, reason: str) -> None:
        if self._ready.is_set():
            logger.warning("the processing service is gone: %s", reason)
            self._ready.clear()
            self._lost.set()

    # Leasing.

    async def _push_batches(self) -> None:
        """Lease a batch, post it and hand its results in, one batch after the other."""
        while not self._stopping.is_set() and not self._is_idle():
            if not self._ready.is_set():
                self._busy_at = time.monotonic()
                await loops.rest(IDLE, unless=self._stopping)
                continue
            try:
                batch = await self._lease()
            except errors.Unavailable as error:
                logger.warning("leasing waits: %s", error)
                await loops.rest(retrying.PAUSE, unless=self._stopping)
                continue
            if batch is None:
                await loops.rest(IDLE, unless=self._stopping)
                continue
            if self._stopping.is_set() or not self._ready.is_set():
                await self._poster.hand_back(batch.job.job_run, batch.image_ids)
                continue
            self._posting += 1
            try:
                await self._poster.push(batch)
            finally:
                self._posting -= 1
                self._busy_at = time.monotonic()
            await loops.rest(self._poster.pause(), unless=self._stopping)

    def _is_idle(self) -> bool:
        longest = self._options.exit_when_idle
        return longest is not None and not self._posting and time.monotonic() - self._busy_at >= longest

    async def _lease(self) -> Batch | None:
        found = await self._offers.for_worker(self._worker, wanted=self._is_for_us, limit=1)
        job = await self._http.services.catalog.jobs.find(found[0].job) if found else None
        if job is None:
            return None
        leased = await lease(self._http, job, self._worker, self._batch_size(job))
        if not leased:
            return None
        await self._offers.leased(self._worker, self._worker, job.job_run, len(leased))
        try:
            urls = await image_urls.urls_of(self._http, leased, base=self._image_base())
            given = await given_to_workers.boxes_of(self._http, job, leased)
        except BaseException:
            await self._poster.hand_back(job.job_run, [one.image for one in leased])
            raise
        return Batch(
            job=job,
            images=tuple(leased),
            sent=tuple(
                Sent(image_id=str(one.image), url=url, reply_subject=one.token, given=given.get(one.image))
                for one, url in zip(leased, urls, strict=True)
            ),
            begin_until=time.monotonic() + self._http.settings.http_lease - self._timeout,
        )

    def _is_for_us(self, job: messages.Announcement) -> bool:
        return job.dispatch_mode is DispatchMode.SYNC and job.pipeline in self._pipelines

    def _batch_size(self, job: Job) -> int:
        own: Any = job.config.get(BATCH_KEY)
        is_size = isinstance(own, int) and not isinstance(own, bool) and 1 <= own <= MOST_AT_ONCE
        size = int(own) if is_size else self._options.batch_size
        if job.detections_of is not None:
            size = min(size, given_boxes.MOST_AT_ONCE)
        # A service that keeps failing is tried with single images.
        return 1 if self._poster.service_is_ill else size

    def _image_base(self) -> str:
        """URL of the gateway, as the service reaches it; the gateway serves local files."""
        settings = self._http.settings
        own = f"http://{settings.gateway_host}:{settings.gateway_port}"
        base = settings.gateway_public_url or settings.gateway_url or own
        return base.rstrip("/")

    async def _sign_off(self) -> None:
        await reported.hand_back_all(self._http)
        try:
            await self._poster.hand_back_all()
            await worker_status.leave(self._http, self._worker)
        except errors.Unavailable as error:
            logger.warning("not signed off, leases end by themselves: %s", error)
