"""Answers requests: loads the photographs, has them processed, and says what was found or why not.

One request may have many images and several requests come at a time. Each request has only a window of its images under
way, so that a small one beside a large one does not wait for the end of that.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import itertools
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from antenna_orchestration import errors, kernel
from antenna_orchestration.contract import models, results, serving
from antenna_orchestration.contract.serving import Found, Known, Request, Wanted
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.pipelines import identity
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.serve import describing
from antenna_orchestration.serve.lane import DEPTH, Lanes
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import DeviceLost
from antenna_orchestration.worker.device.model_loading import BACKOFF
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.policy.batch_groups import BatchGroup

logger = logging.getLogger(__name__)

MOST_CONFIGURATIONS: Final = 500
"""Configurations of pipelines in the life of a service. Each is remembered, and its models are loaded anew."""

_DATA: Final = "data:image/"

_detections = msgspec.msgpack.Decoder(list[Detection])


class ServiceBusy(errors.Unavailable):
    """It has enough in hand; the same request may be sent a little later."""


class NothingDone(errors.InvalidInput):
    """Every image of the request failed; the message has the reason of the first."""

    http_status = 422


class ProcessLost(errors.InternalError):
    """The same, because the device process was ended from outside; the request may be sent again."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why an image failed; `is_ours` if that was a shortage on this machine."""

    reason: str
    is_ours: bool = False


class Engine:
    """The pipelines of a service, which are loaded from the moment on when `run` runs."""

    def __init__(
        self,
        *,
        settings: Settings,
        pipelines: Mapping[str, PipelineSpec],
        device: DevicePool,
        loader: Loader,
        queue: int,
    ) -> None:
        """`queue`: images in hand at most."""
        self._settings = settings
        self._pipelines = pipelines
        self._device = device
        self._loader = loader
        self._queue = queue
        self._lanes = Lanes(device, batch_size=settings.batch_size)
        self._numbers = itertools.count()
        self._groups: dict[tuple[str, str], BatchGroup] = {}
        self._digests = {slug: identity.digest_of(spec) for slug, spec in pipelines.items()}
        self._known: dict[str, dict[str, Known]] = {}
        self._in_hand = 0
        # Slugs of the pipelines that are or were loaded, and why others are not.
        self.ready: set[str] = set()
        self.why_not: dict[str, str] = {}

    async def run(self) -> None:
        """Load the pipelines and watch over their processes, for ever."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._device.watch(), name="device-watch")
                for slug in self._pipelines:
                    tasks.create_task(self._make_ready(slug), name=f"load {slug}")
        finally:
            await self._lanes.end()

    @property
    def is_ready(self) -> bool:
        """Whether all pipelines were loaded. One whose process is lost later is loaded again for the next request."""
        return len(self.ready) == len(self._pipelines)

    def info(self) -> models.ServiceInfo:
        """The service's description of itself. Raises `Unavailable` until it is known."""
        if missing := [slug for slug in self._pipelines if slug not in self._known]:
            raise errors.Unavailable(f"the labels of {missing[0]} are not read yet")
        return models.ServiceInfo(
            name="antenna serve",
            pipelines=[describing.described(spec, self._known[slug]) for slug, spec in self._pipelines.items()],
        )

    async def process(self, request: Request) -> bytes:
        """The answer to a request, as JSON.

        Raises `UnknownPipeline`, `InvalidInput` for a configuration that the pipeline refuses, `ServiceBusy`,
        `PipelineUnavailable`, and `NothingDone` or `ProcessLost` when each image failed.
        """
        group = self._group_of(request)
        if request.pipeline not in self._known:
            raise errors.Unavailable(self.why_not.get(request.pipeline) or f"{request.pipeline} is being loaded")
        if self._in_hand and self._in_hand + len(request.images) > self._queue:
            raise ServiceBusy(f"{self._in_hand} images are in hand; send these a little later")
        self._in_hand += len(request.images)
        began = time.monotonic()
        try:
            outcomes = await self._all(group, request)
        finally:
            self._in_hand -= len(request.images)
        self._check_some_done(request, outcomes)
        return await asyncio.to_thread(
            serving.answer_body,
            request,
            {name: said.reason if isinstance(said, _Fault) else said for name, said in outcomes.items()},
            seconds=time.monotonic() - began,
            known=self._known[request.pipeline],
        )

    # Pipelines.

    async def _make_ready(self, slug: str) -> None:
        spec, failures = self._pipelines[slug], 0
        group = self._group(spec, {})
        while slug not in self.ready:
            try:
                self._known[slug] = await asyncio.to_thread(describing.known_of, spec)
                await self._device.load(group)
            except errors.AntennaError as error:
                failures += 1
                pause = BACKOFF.pause(failures)
                self.why_not[slug] = results.reason_of(f"{slug} cannot be loaded: {error}")
                logger.warning("%s; tried again in %.0f s", self.why_not[slug], pause)
                await asyncio.sleep(pause)
            else:
                self.why_not.pop(slug, None)
                self.ready.add(slug)
                logger.info("pipeline %s is ready", slug)

    def _group_of(self, request: Request) -> BatchGroup:
        spec = self._pipelines.get(request.pipeline)
        if spec is None:
            served = ", ".join(sorted(self._pipelines))
            raise errors.UnknownPipeline(f"pipeline {request.pipeline[:64]!r} is not served here; there are: {served}")
        return self._group(spec, request.config)

    def _group(self, spec: PipelineSpec, config: Mapping[str, Any]) -> BatchGroup:
        merged = spec.merged_config(config)
        key = (spec.slug, json.dumps(merged, sort_keys=True, default=str))
        if key not in self._groups:
            digest = self._digests[spec.slug]
            if identity.with_files_of("x", config) != "x":
                raise errors.InvalidInput("a setting names a file of this machine, which only its owner may do")
            if len(self._groups) >= MOST_CONFIGURATIONS:
                raise errors.InvalidInput(
                    f"{MOST_CONFIGURATIONS} configurations were asked for since the start; no further one is taken"
                )
            self._groups[key] = BatchGroup(
                next(self._numbers), spec, merged, identity.with_files_of(digest, merged) if digest else ""
            )
        return self._groups[key]

    # Images.

    async def _all(self, group: BatchGroup, request: Request) -> dict[str, Found | _Fault]:
        outcomes: dict[str, Found | _Fault] = {}
        waiting = iter(request.images)
        size = self._settings.batch_size or group.spec.batch_size
        window = min(max(DEPTH * size, self._settings.load_concurrency), len(request.images))
        tasks = [asyncio.create_task(self._some(group, waiting, outcomes)) for _ in range(window)]
        try:
            await asyncio.gather(*tasks)
        finally:
            # Whoever asked has left, or the pipeline cannot be loaded.
            await kernel.end(*tasks)
        return outcomes

    async def _some(self, group: BatchGroup, waiting: Iterator[Wanted], outcomes: dict[str, Found | _Fault]) -> None:
        for one in waiting:
            outcomes[one.image_id] = await self._one(group, one)

    async def _one(self, group: BatchGroup, wanted: Wanted) -> Found | _Fault:
        try:
            data = await self._bytes(wanted.url)
        except errors.ImageError as error:
            return _Fault(results.reason_of(str(error)))
        try:
            said = await self._lanes.process(group, _item(group, wanted), data)
        except DeviceLost as lost:
            return _Fault(results.reason_of(f"it stops the device process: {lost}"), is_ours=lost.may_be_ours)
        finally:
            self._loader.memory.release(len(data))
        if isinstance(said, protocol.Failed):
            return _Fault(results.reason_of(said.reason), is_ours=said.out_of_memory)
        detections = _detections.decode(said.detections)
        return Found(width=said.width, height=said.height, detections=detections, seconds=said.timings["infer"])

    async def _bytes(self, url: str) -> bytes:
        """The image, compressed; its size is charged to the loader's memory. Raises `ImageError`."""
        if url[: len(_DATA)].lower() == _DATA:
            return await self._data(url)
        if url.partition("://")[0].lower() not in ("http", "https"):
            # What this machine or its credentials can read is not for everybody who can ask.
            raise errors.ImageUnusable("only http and https URLs, and data:image/…;base64, are loaded")
        try:
            return await self._loader.load(url)
        except errors.ImageError:
            raise
        except Exception as error:
            logger.exception("loading from %s", self._loader.host(url))
            raise errors.ImageUnreachable(f"loading failed: {type(error).__name__}") from error

    async def _data(self, url: str) -> bytes:
        head, _, text = url.partition(",")
        if not head.lower().endswith(";base64"):
            raise errors.ImageUnusable("a data: URL has to be base64")
        try:
            data = await asyncio.to_thread(base64.b64decode, text, validate=True)
        except (binascii.Error, ValueError):
            raise errors.ImageUnusable("a data: URL that is not base64") from None
        await self._loader.memory.reserve(len(data))
        return data

    def _check_some_done(self, request: Request, outcomes: Mapping[str, Found | _Fault]) -> None:
        faults = [said for one in request.images if isinstance(said := outcomes[one.image_id], _Fault)]
        if len(faults) < len(request.images):
            return
        first = f"image {request.images[0].image_id}: {faults[0].reason}"
        reason = first if len(faults) == 1 else f"all {len(faults)} images failed; {first}"
        if any(fault.is_ours for fault in faults):
            raise ProcessLost(reason)
        raise NothingDone(reason)


def _item(group: BatchGroup, wanted: Wanted) -> protocol.Item:
    name = wanted.image_id
    # The platform's ids are numbers.
    is_number = name.isascii() and name.isdigit() and len(name) < 19
    number = int(name) if is_number else int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    # A URL that holds the image itself is not for logs.
    uri = wanted.url if wanted.url[:5].lower() != "data:" else "data:"
    # Platforms send the boxes that they have to everybody.
    given = wanted.given if group.spec.takes_detections else None
    return protocol.Item(0, 0, number, uri, None, None, given)
