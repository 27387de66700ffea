"""Status of HTTP and push workers: note their calls, and send heartbeats for them as workers on the queue do."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import ids, messages
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.http_lease import LONGEST
from antenna_orchestration.live.leases import AHEAD
from antenna_orchestration.live.workers import WorkerRecord

logger = logging.getLogger(__name__)

SHOWN_FOR: Final = 30.0
"""Seconds after its last call that an idle worker is shown; existing workers ask for work every 5."""

LONGEST_PID: Final = 10
"""Digits of a process id are fewer."""

MOST_PIPELINES: Final = 200
"""Pipelines that are noted per worker."""


async def hear(
    http: HttpServices,
    worker: Token,
    *,
    host: str,
    pipelines: Iterable[str] = (),
    service: str = "",
    waiting: bool = False,
    origin: Token | None = None,
    client_info: Mapping[str, str] | None = None,
) -> None:
    """Note a call of this worker, and show it as alive. Without the queue only a warning is logged.

    A worker that only its bodies name serves what the polls of its `origin`, the same caller without that name, say.
    `service` is the URL that a push worker posts to; the worker is `waiting` while that does not answer.
    """
    try:
        await _hear(
            http,
            worker,
            host,
            pipelines,
            service,
            waiting=waiting,
            origin=origin or worker,
            client_info=client_info or {},
        )
    except errors.Unavailable as error:
        logger.warning("worker %s is not noted: %s", worker.name, error)


async def _hear(
    http: HttpServices,
    worker: Token,
    host: str,
    pipelines: Iterable[str],
    service: str,
    *,
    waiting: bool,
    origin: Token,
    client_info: Mapping[str, str],
) -> None:
    now = await http.live.leases.now()
    before = await http.live.workers.get(worker.holder)
    named = {slug for slug in itertools.islice(pipelines, MOST_PIPELINES) if ids.is_slug(slug)}
    served = named or set(before.pipelines)
    if not served and origin.holder != worker.holder:
        served = set((await http.live.workers.get(origin.holder)).pipelines)
    await http.live.workers.hear(
        worker.holder,
        name=worker.name,
        host=host,
        now=now,
        pipelines=served,
        projects=worker.projects.values(),
        service=service,
        waiting=waiting,
        client_info=client_info,
    )
    is_news = served != set(before.pipelines) or waiting != before.waiting
    if is_news or now - before.heard > messages_every(http):
        held = await http.live.leases.held_by(worker.holder)
        await _show(http, await http.live.workers.get(worker.holder), now, held=held)


async def leave(http: HttpServices, worker: Token) -> None:
    """Note that the worker ends, and show it no longer. Raises `Unavailable`."""
    await http.live.workers.leave(worker.holder)
    await http.services.heartbeats.leave(worker.name)


def messages_every(http: HttpServices) -> float:
    """Seconds between the heartbeats that calls cause; between calls, `keep_leases` sends them."""
    return min(5.0, http.settings.http_lease / 10)


async def show(http: HttpServices, *, now: float) -> None:
    """Send heartbeats for the workers that are alive: they called a moment ago, or still process a batch."""
    records = await http.live.workers.heard_since(now - LONGEST)
    held = await http.live.leases.held_by_each([record.worker for record in records])
    for record in records:
        allowed = record.speed.silence(http.settings.http_lease) if held[record.worker] else SHOWN_FOR
        # One that calls still is heard by the present clock.
        if -AHEAD < now - record.heard <= allowed:
            await _show(http, record, now, held=held[record.worker])


async def _show(http: HttpServices, record: WorkerRecord, now: float, *, held: int) -> None:
    per_image = record.speed.per_image
    counters = dict(record.counters)
    await http.services.heartbeats.beat(
        messages.Heartbeat(
            worker=record.name,
            host=record.host,
            pid=_pid(record.client_info),
            device="",
            pipelines=record.pipelines,
            # The gateway signs URLs for all sources that it reaches itself.
            reaches=("http", "s3:*", f"file:{http.settings.host_id}"),
            started_at=datetime.fromtimestamp(record.first_heard or now, UTC),
            at=datetime.now(UTC),
            leased=held,
            done=counters["settled"] - counters["failed"],
            failed=counters["failed"],
            rate=1 / per_image if per_image and held else 0.0,
            last_result_at=datetime.fromtimestamp(record.posted, UTC) if record.posted else None,
            state="waiting" if record.waiting else "working" if held else "idle",
            kind="push" if record.service else "http",
            counters=counters,
            projects=record.projects,
            service=record.service,
            client_info=dict(record.client_info),
        )
    )


def _pid(client_info: Mapping[str, str]) -> int:
    """The process id that the worker gave; 0 for none."""
    said = client_info.get("pid", "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < LONGEST_PID else 0
