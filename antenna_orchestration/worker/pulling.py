"""Fetches pipelines that jobs ask for and this worker does not have; only a worker that was started with `--pull` does.

A job's project must allow it, too: its announcement says so. One pipeline is made ready at a time, on a thread; its
tasks are leased only then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.domain.messages import Announcement
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.worker.nudge import Nudge
from antenna_orchestration.worker.timing import Timing

logger = logging.getLogger(__name__)

BACKOFF: Final = Backoff(first=30.0, longest=1800.0)
"""Seconds until a pipeline that could not be fetched is tried again."""

MOST_KEPT: Final = 200
"""Failed pipelines that are remembered."""


@dataclass(slots=True)
class _Failure:
    slug: str
    reason: str
    # In a row.
    times: int
    not_before: float


class PipelinePuller:
    """Knows which pipelines were fetched, by digest, and fetches those that are wanted."""

    def __init__(self, *, fetch: Callable[[str], PipelineSpec] | None, nudge: Nudge, timing: Timing) -> None:
        """`fetch` makes the pipeline of a digest ready, as `processing.pulled.ready` does; it blocks.

        None for a worker that fetches none.
        """
        self._fetch = fetch
        self._nudge = nudge
        self._clock = timing.clock
        self._ready: dict[str, PipelineSpec] = {}
        self._failed: dict[str, _Failure] = {}
        # What to fetch next, with the slugs that jobs call it by; the first is being fetched.
        self._wanted: dict[str, str] = {}
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pull")

    @property
    def ready(self) -> Mapping[str, PipelineSpec]:
        """The pipelines that were fetched, by digest."""
        return self._ready

    @property
    def fetching(self) -> frozenset[str]:
        """Slugs of the pipelines that are being fetched, or are about to be."""
        return frozenset(self._wanted.values())

    @property
    def failing(self) -> dict[str, str]:
        """Slugs of the pipelines that could not be fetched, with the reason; each is tried again."""
        return {one.slug: one.reason for one in self._failed.values()}

    def get(self, job: Announcement) -> PipelineSpec | None:
        """The job's pipeline, if it is here; else it is fetched, if the job's project allows that."""
        if self._fetch is None or not job.digest or job.pull is not True:
            return None
        if (spec := self._ready.get(job.digest)) is not None:
            # The job's own name for it: another one was checked to be the same, or it could not have the digest.
            return spec if spec.slug == job.pipeline else None
        failure = self._failed.get(job.digest)
        if job.digest not in self._wanted and (failure is None or failure.not_before <= self._clock()):
            self._wanted[job.digest] = job.pipeline
            self._arrived.set()
        return None

    async def run(self) -> None:
        """Fetch what is wanted, for ever."""
        loop, fetch = asyncio.get_running_loop(), self._fetch
        if fetch is None:
            await loop.create_future()
            return
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._wanted:
                digest, slug = next(iter(self._wanted.items()))
                logger.info("fetching pipeline %s (%s)", slug, digest[:12])
                try:
                    self._ready[digest] = await loop.run_in_executor(self._thread, fetch, digest)
                except errors.AntennaError as error:
                    self._note_failure(digest, slug, str(error))
                except OSError as error:
                    self._note_failure(digest, slug, f"it cannot be kept here: {error}")
                # A pack is other people's: whatever it does to us costs its jobs, and not those of others.
                except Exception as error:
                    logger.warning("fetching pipeline %s failed", slug, exc_info=True)
                    self._note_failure(digest, slug, f"{type(error).__name__}: {error}")
                else:
                    self._failed.pop(digest, None)
                    logger.info("pipeline %s (%s) is ready", slug, digest[:12])
                del self._wanted[digest]
                self._nudge.give()

    def _note_failure(self, digest: str, slug: str, reason: str) -> None:
        before = self._failed.pop(digest, None)
        times = 1 + (before.times if before else 0)
        pause = BACKOFF.pause(times)
        self._failed[digest] = _Failure(slug, reason, times, self._clock() + pause)
        while len(self._failed) > MOST_KEPT:
            del self._failed[next(iter(self._failed))]
        logger.warning("pipeline %s cannot be fetched, next try in %.0f s: %s", slug, pause, reason)
