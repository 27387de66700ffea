"""Seasons for tests: traps whose photographs come as files, are found by watching, and are processed by hand."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path

import msgspec

from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services
from tests.processing.classified_jobs import LABELS, MOTHS, found, registered
from tests.processing.jobs_by_hand import ALGORITHM, Hands, claimed, hands
from tests.processing.watched import Watched, photograph, watch

SECONDS = 0.25
"""Of work on a photograph."""

_AT_A_TIME = 6

PER_NIGHT = 12
"""Photographs of a usual night, each half hour from 21:30."""


def stamps(night: date, photographs: int = PER_NIGHT) -> list[datetime]:
    """When the photographs of a night were taken."""
    return [datetime.combine(night, time(21, 30)) + timedelta(minutes=30 * number) for number in range(photographs)]


def put(folder: Path, taken: Iterable[datetime], *, of: str = "") -> None:
    """Photographs with names that say when they were taken; of different traps they differ."""
    for moment in taken:
        photograph(folder / f"{moment:%Y%m%d%H%M%S}.jpg", f"{of or folder.name} {moment}")


async def traps(services: Services, project: str, folder: Path, names: Sequence[str]) -> dict[str, Watched]:
    """Watched folders, one a deployment."""
    pipeline = await registered(services, project)
    for name in names:
        (folder / name).mkdir(parents=True)
    return {name: await watch(services, project, folder / name, deployment=name, pipeline=pipeline) for name in names}


On = Callable[[str], list[Detection]]
"""What is found on the photograph with this URI."""


async def look_and_process(
    services: Services, project: str, watched: dict[str, Watched], *, on: On | None = None
) -> int:
    """Look until nothing more is found, and process all jobs of the project; returns how many."""
    for source in watched.values():
        while (await source.look()).jobs:
            pass
    waiting = await services.catalog.jobs.list(project=project, statuses=[JobStatus.QUEUED], limit=1000)
    async with hands(services) as worker:
        # Several at a time: most of a small job is waiting.
        for start in range(0, len(waiting), _AT_A_TIME):
            await asyncio.gather(
                *(_process(services, worker, job, on or _on) for job in waiting[start : start + _AT_A_TIME])
            )
    return len(waiting)


async def _process(services: Services, worker: Hands, waiting: Job, on: On) -> None:
    await claimed(services, waiting)
    await publish.publish(services, waiting.job_id)
    job = await services.catalog.jobs.get(waiting.job_id)
    left = job.total
    while left:
        leases = await worker.lease(job, left)
        for lease in leases:
            await worker.report(
                [lease],
                detections=on(lease.task.uri),
                algorithms=[ALGORITHM, MOTHS],
                width=4000,
                height=3000,
                timings={"infer": SECONDS, "wait": 5.0},
            )
        left -= len(leases)
    await collect.collect(services, job, observer=collect.Observer())
    await finish.write_final_tables(services, job)
    await finish.finish_job(services, job)


def _on(uri: str) -> list[Detection]:
    """None to two animals, at a place of their own: what stays in one spot over nights is not an animal."""
    name = Path(uri).name
    chance = hashlib.sha256(name.encode()).digest()
    x, y = chance[1] * 10.0, chance[2] * 10.0
    return [
        msgspec.structs.replace(found(LABELS[number]), box=(x + 40 * number, y, x + 40 * number + 9, y + 7))
        for number in range(int(name[8:12]) // 30 % 3)
    ]
