"""New captures of watched sources: one round lists what is due, reads what is at rest, and submits whole nights.

The three steps know of each other only what the catalog holds, so a round may end anywhere, and the next one goes on:

    list      folders and lists that changed, and what is new in buckets, become files that wait
    read      files that have been as they are for long enough become photographs: their bytes and their time
    submit    photographs become jobs, one for each night; the transaction that makes a job claims its photographs

Each step has its seconds, in which some sources at a time have their turns. What is not over by then goes on in the
next round: this process keeps it (`source_threads.Work`). Another process begins anew.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import partial
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.catalog.sources import (
    DueSource,
    FoundFile,
    FoundFolder,
    GoneFolder,
    KnownFolder,
    ListedFolder,
    ListedPage,
    ReadResult,
    SourceClaim,
    SourceToSubmit,
    ToRead,
)
from antenna_orchestration.domain import cron, nights, texts, watching
from antenna_orchestration.domain.capture_time import Taken
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.progress import duration
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.domain.watching import BucketPosition, ReadFile
from antenna_orchestration.ecology import places
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.source_threads import ANSWERS_WITHIN, Failed, Work
from antenna_orchestration.processing.submit import Selection, Submission, submit
from antenna_orchestration.submission import capture_times
from antenna_orchestration.submission import watching as looking
from antenna_orchestration.submission.watching import GoneFile

logger = logging.getLogger(__name__)

LISTING: Final = 10.0
READING: Final = 8.0
SUBMITTING: Final = 10.0
"""Seconds of a round for each step; Dagster ends a tick after 60. What is begun is finished."""

TURN: Final = 2.0
"""Seconds for which one source keeps others waiting; it goes on when they had their turn."""

AT_ONCE: Final = 16
"""Sources that are listed, or read, at the same time. Each has one thread, which mostly waits for a disk or store."""

RESOLUTION: Final = 2.5
"""Seconds within which two changes of a folder may leave the same time; on FAT and some shares it is two."""

LOOKED_AGAIN_AFTER: Final = 3600.0
"""Seconds after which a folder is listed although its time of change is the same: files may change in place."""

LOOKED_AGAIN: Final = 20
"""Such folders in one round, at most; those that were listed longest ago come first."""

DUE_AT_ONCE: Final = 500
TO_READ: Final = 200
"""Files of one source that are read before those of the next."""

TRIED_AGAIN_AFTER: Final = 3600.0
"""Seconds after which a file that could not be used is read again."""

SUBMITTED_AT_ONCE: Final = 20
"""Sources of which a round submits nights."""

LARGEST_JOB: Final = 20_000
"""Photographs of one job; what is more of a night becomes a further job."""

MOST_LOADED: Final = 100_000
"""Photographs of a source that are sorted into nights at a time."""

STANDS: Final = 3600.0
"""Seconds for which a file that was looked at again counts as being as it was: looking at a night may take rounds."""

KEPT: Final = 600.0
"""Seconds after which work with which nobody went on is dropped: the source is paused, or another process has it."""

_NAME: Final = 150
"""Characters of a deployment's name in that of a job."""


@dataclass(slots=True)
class _Kept:
    """What goes on over rounds, of one source."""

    used_at: float = 0.0
    look: Work[looking.Found] | None = None
    # What the look could not read.
    unreadable: list[str] = field(default_factory=list)
    reading: Work[ReadResult | GoneFile] | None = None
    # Whether it was noted that it hangs.
    is_told: bool = False
    again: Work[tuple[ReadFile, ReadResult | None]] | None = None
    # When a file was as it had been read, by URI and version.
    unchanged: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def busy(self) -> float:
        """Seconds for which a thread is with this source; 0 if none is."""
        return max(work.busy if work else 0.0 for work in (self.look, self.reading, self.again))

    @property
    def hangs(self) -> str:
        """What is wrong if it does not answer; empty if it does."""
        return f"it has not answered for {duration(self.busy)}" if self.busy > ANSWERS_WITHIN else ""

    async def is_free(self, work: Work[Any] | None, until: float) -> bool:
        """Whether a thread can be at this work, if need be after another one has ended: a source has one at a time."""
        others = [one for one in (self.look, self.reading, self.again) if one and one is not work]
        return all([await one.answered(until) for one in others])


@dataclass(slots=True)
class Round:
    """What a round did."""

    listed: int = 0
    read: int = 0
    jobs: list[JobId] = field(default_factory=list)
    # One line for each source that failed.
    failed: list[str] = field(default_factory=list)
    # Sources that were listed to their end, which is noted for all together, and when to look next if that is told.
    whole: dict[int, datetime | None] = field(default_factory=dict)
    # What goes on over rounds, by source.
    kept: dict[int, _Kept] = field(default_factory=dict)
    # Held while much is written: sources have their turns together, and the pool has few connections.
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def kept_of(self, source: int) -> _Kept:
        """What goes on of a source, for whoever goes on with it."""
        kept = self.kept.setdefault(source, _Kept())
        kept.used_at = time.monotonic()
        return kept

    @property
    def line(self) -> str:
        """For people."""
        said = f"{counted(self.listed, 'source')} listed"
        if self.read:
            said += f", {counted(self.read, 'file')} read"
        if self.jobs:
            said += f", {counted(len(self.jobs), 'job')} submitted"
        return f"{said}; {'; '.join(self.failed)}" if self.failed else said


class _Here:
    """What this process keeps of the sources of a database."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: dict[int, _Kept] = {}


_here: Final[dict[str, _Here]] = {}
"""By the database's URL."""


async def round_(services: Services) -> Round | None:
    """One round over all sources; None if another process does one now. Idempotent, and safe to be killed.

    Raises `Unavailable` for the catalog only.
    """
    here = _here.setdefault(services.settings.database_url, _Here())
    # The lock of the catalog is lost with its connection.
    if not here.lock.acquire(blocking=False):
        return None
    try:
        async with services.catalog.sources.lock() as is_ours:
            if not is_ours:
                return None
            before = time.monotonic() - KEPT
            here.kept = {source: kept for source, kept in here.kept.items() if kept.used_at > before or kept.busy}
            done = Round(kept=here.kept)
            await list_due(services, done)
            await read_waiting(services, done)
            await submit_read(services, done)
            return done
    finally:
        here.lock.release()


async def list_due(services: Services, done: Round) -> None:
    """List what changed of the sources that are due."""
    due = await services.catalog.sources.due(DUE_AT_ONCE)
    new = [source for source in due if done.kept_of(source.source_id).look is None]
    known = await services.catalog.sources.folders([one.source_id for one in new if one.uri.startswith("file:")])
    again = _old(known)
    for source in new:
        kept = done.kept_of(source.source_id)
        found = known.get(source.source_id)
        kept.look, kept.unreadable = Work(_begun(services, source, found, again.get(source.source_id, ()))), []
    await _in_turns((partial(_look, services, source, done) for source in due), LISTING)
    if done.whole:
        await services.catalog.sources.note_looked(done.whole)


def _begun(
    services: Services, source: DueSource, known: Sequence[KnownFolder] | None, again: Iterable[str]
) -> Iterator[looking.Found | None]:
    if known is not None:
        return looking.look_at_folders(source.uri, known, set(again), source.pattern, services.settings)
    if source.uri.startswith("s3:"):
        return looking.look_at_bucket(source.uri, source.position, source.pattern, services.settings)
    return looking.look_at_list(source.uri, source.validators, source.pattern, services.settings)


def _old(known: Mapping[int, Sequence[KnownFolder]]) -> Mapping[int, list[str]]:
    """The folders that were listed longest ago, by source."""
    old = [
        (folder.listed_ago, number, folder.real_uri)
        for number, folders in known.items()
        for folder in folders
        if folder.is_quiet and folder.listed_ago is not None and folder.listed_ago > LOOKED_AGAIN_AFTER
    ]
    again: dict[int, list[str]] = {}
    for _, number, uri in heapq.nlargest(LOOKED_AGAIN, old):
        again.setdefault(number, []).append(uri)
    return again


async def _look(services: Services, source: DueSource, done: Round, until: float) -> bool:
    """Go on with the look at a source; whether there is more that can be had now."""
    kept, number = done.kept_of(source.source_id), source.source_id
    look = kept.look
    if kept.hangs:
        kept.is_told = True
        await _note_not_listed(services, source, kept.hangs, done)
        return False
    if look is None or not await kept.is_free(look, until):
        return False
    came_forward = False
    try:
        while (found := await look.slice(until)) is not None:
            async with done.writing:
                kept.unreadable += await _record(services, number, found)
            look.taken()
            kept.is_told, came_forward = False, True
    except Failed as error:
        kept.look = None
        await _note_not_listed(services, source, str(error), done)
        return False
    if not look.is_over:
        await services.catalog.sources.note_listed_in_part(number, came_forward=came_forward)
        return came_forward
    kept.look = None
    try:
        next_look = _next_look(services, source)
    except errors.InvalidInput as error:
        # A time zone that this host does not know.
        await _note_not_listed(services, source, str(error), done)
        return False
    done.listed += 1
    if kept.unreadable:
        unreadable = texts.listed(kept.unreadable, 1)
        await services.catalog.sources.note_looked({number: next_look}, error=unreadable)
        done.failed.append(f"source {number}: {unreadable}")
    else:
        done.whole[number] = next_look
    return False


def _next_look(services: Services, source: DueSource) -> datetime | None:
    """When its cron expression says, by the zone that cuts its nights; None without one. Raises `InvalidInput`."""
    if not source.cron:
        return None
    zone = nights.zone_named(source.time_zone or services.settings.time_zone)
    return cron.next_after(source.cron, datetime.now(UTC), zone)


async def _record(services: Services, number: int, found: Sequence[looking.Found]) -> list[str]:
    """Note what a look found; returns what could not be read."""
    listed = [one for one in found if isinstance(one, ListedFolder)]
    pages = [one for one in found if isinstance(one, ListedPage)]
    if found:
        await services.catalog.sources.record_found(
            number,
            files=[one for one in found if isinstance(one, FoundFile)],
            folders=[one for one in found if isinstance(one, FoundFolder)],
            listed=listed,
            gone=[one for one in found if isinstance(one, GoneFolder)],
            position=next((one for one in reversed(found) if isinstance(one, BucketPosition)), None),
            validators=next((one.validators for one in pages), None),
            resolution=RESOLUTION,
        )
    return [why for why in (*(one.why for one in listed), *(one.why for one in pages)) if why]


async def read_waiting(services: Services, done: Round) -> None:
    """Read files that are at rest, of some sources at a time."""
    waiting = await services.catalog.sources.files_to_read(most=TO_READ, again=TRIED_AGAIN_AFTER)
    begun = [number for number, kept in done.kept.items() if kept.reading]
    numbers = dict.fromkeys([*waiting, *begun])
    await _in_turns((partial(_read_some, services, number, done, set()) for number in numbers), READING)


async def _read_some(services: Services, number: int, done: Round, seen: set[str], until: float) -> bool:
    """Go on with reading files of one source, and note what they are; whether there is more that can be had now."""
    sources, kept = services.catalog.sources, done.kept_of(number)
    if kept.hangs or not await kept.is_free(kept.reading, until):
        await _tell(services, number, kept, done)
        return False
    if kept.reading is None:
        waiting = await sources.files_to_read(most=TO_READ, again=TRIED_AGAIN_AFTER, source=number)
        # A file that changes again and again is read once a round.
        files = [file for file in waiting.get(number, ()) if file.uri not in seen]
        if not files:
            return False
        seen.update(file.uri for file in files)
        kept.reading = Work(_read(files))
    reading = kept.reading
    came_forward = False
    try:
        while (found := await reading.slice(until)) is not None:
            results = [one for one in found if isinstance(one, ReadResult)]
            gone = [one.uri for one in found if isinstance(one, GoneFile)]
            async with done.writing:
                if results:
                    await sources.record_reads(number, results)
                if gone:
                    await sources.forget_files(number, gone)
            reading.taken()
            done.read += len(results)
            kept.is_told, came_forward = False, True
    except Failed as error:
        kept.reading = None
        await _note_unreadable(services, number, str(error), done)
        return False
    if reading.is_over:
        kept.reading = None
    return came_forward


def _read(files: Iterable[ToRead]) -> Iterator[ReadResult | GoneFile | None]:
    for file in files:
        yield from looking.read(file)


async def _in_turns(acts: Iterable[Callable[[float], Awaitable[bool]]], seconds: float) -> None:
    """Let each act until a time, again and again while it says that there is more; some at a time, in turns."""
    slots = asyncio.Semaphore(AT_ONCE)
    until = time.monotonic() + seconds

    async def turns(act: Callable[[float], Awaitable[bool]]) -> None:
        goes_on = True
        while goes_on and time.monotonic() < until:
            # Whoever waits comes first.
            async with slots:
                now = time.monotonic()
                goes_on = now < until and await act(min(until, now + TURN))

    for ended in await asyncio.gather(*map(turns, acts), return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


async def submit_read(services: Services, done: Round) -> None:
    """Submit nights whose photographs are all read."""
    until = time.monotonic() + SUBMITTING
    ready = await services.catalog.sources.to_submit(SUBMITTED_AT_ONCE, held=watching.HELD_AT_MOST)
    turn = max(TURN, SUBMITTING / max(len(ready), 1))
    for source in ready:
        now = time.monotonic()
        if now > until:
            return
        try:
            await _submit_nights(services, source, done, min(until, now + turn))
            await services.catalog.sources.note_submitted(source.source_id)
        except errors.Conflict as error:
            # Another process has them, or somebody paused the source: the next round sees what is left.
            logger.info("%s", error)
        except (errors.InvalidInput, errors.NotFound) as error:
            pause = watching.AGAIN.pause(source.refusals + 1)
            await services.catalog.sources.note_not_submitted(source.source_id, str(error), pause=pause)
            done.failed.append(f"source {source.source_id}: {error}")
        except Failed as error:
            await _note_unreadable(services, source.source_id, str(error), done)


async def _submit_nights(services: Services, source: SourceToSubmit, done: Round, until: float) -> None:
    sources = services.catalog.sources
    files = watching.each_once(await sources.files_to_submit(source.source_id, MOST_LOADED))
    place = (await services.catalog.deployments.places(source.project)).get(source.deployment)
    zone = nights.zone_named(services.settings.time_zone)
    by_night: dict[date | None, list[ReadFile]] = {}
    for file in files:
        by_night.setdefault(night_of(file, place, zone), []).append(file)
    unread = await sources.unread_folders(source.source_id, {file.folder for file in files})
    for night in watching.ready_nights(by_night, is_moving=source.is_moving, unread=unread):
        for start in range(0, len(by_night[night]), LARGEST_JOB):
            if time.monotonic() > until:
                return
            part = by_night[night][start : start + LARGEST_JOB]
            same = await _as_they_were(services, source.source_id, part, done, until)
            if same is None:
                return
            if same:
                done.jobs.append(await _submit_night(services, source, night, same))


async def _as_they_were(
    services: Services, number: int, files: Sequence[ReadFile], done: Round, until: float
) -> list[ReadFile] | None:
    """The files that are still as they were read; None if not all could be looked at until then.

    Others were renamed, deleted or replaced while their night waited. Raises `Failed`.
    """
    kept, now = done.kept_of(number), time.monotonic()
    if kept.hangs or not await kept.is_free(kept.again, until):
        await _tell(services, number, kept, done)
        return None
    kept.unchanged = {key: at for key, at in kept.unchanged.items() if at > now - STANDS}
    changed: set[tuple[str, str]] = set()
    while True:
        if kept.again is None:
            left = [file for file in files if file[:2] not in kept.unchanged and file[:2] not in changed]
            if not left:
                break
            kept.again = Work(looking.look_again(left))
        again = kept.again
        try:
            while (found := await again.slice(until)) is not None:
                now = time.monotonic()
                if results := [result for _, result in found if result]:
                    await services.catalog.sources.record_reads(number, results)
                changed.update(file[:2] for file, result in found if result)
                kept.unchanged.update({file[:2]: now for file, result in found if not result})
                again.taken()
                kept.is_told = False
        except Failed:
            kept.again = None
            raise
        if not again.is_over:
            return None
        kept.again = None
    kept.unchanged = {}
    return [file for file in files if file[:2] not in changed]


async def _submit_night(
    services: Services, source: SourceToSubmit, night: date | None, files: Sequence[ReadFile]
) -> JobId:
    """One job of a night's photographs; a further one if the night has some already."""
    earlier = await services.catalog.sources.count_jobs(source.source_id, night)
    images = [_image(file, source.deployment) for file in files]
    submitted = await submit(
        services,
        Submission(
            images=images,
            pipeline=source.pipeline,
            project=source.project,
            config=source.config,
            name=f"{source.deployment[:_NAME]} {night or nights.TIME_UNKNOWN}{f' ({earlier + 1})' if earlier else ''}",
            deployment=source.deployment,
            created_by=source.created_by,
        ),
        selection=Selection(
            images=images,
            duplicates=0,
            conflicts={},
            warnings=[],
            left_out=[],
            versions={file.uri: Version(file.version) for file in files},
        ),
        claim=SourceClaim(source_id=source.source_id, night=night, files=[(file.uri, file.version) for file in files]),
    )
    return submitted.job_id


def _image(file: ReadFile, deployment: str) -> SubmittedImage:
    image = SubmittedImage(file.uri, None, deployment, file.version)
    if file.stamp is None:
        return image
    zone = None if file.stamp_offset is None else timezone(timedelta(minutes=file.stamp_offset))
    return capture_times.timed(image, Taken(file.stamp, zone))


def night_of(file: ReadFile, place: Place | None, zone: tzinfo) -> date | None:
    """The night of a photograph, as the tables count it: by the deployment's noon, else by that of `zone`.

    None if its time is not known.
    """
    if file.stamp is None:
        return None
    moment = places.moment(file.stamp, file.stamp_offset, place)
    if place is not None and place.zone is not None:
        return nights.night_of_local(moment.local_time)
    return nights.night_of(moment.captured_at or moment.local_time.replace(tzinfo=UTC), zone)


async def _note_not_listed(services: Services, source: DueSource, error: str, done: Round) -> None:
    pause = watching.AGAIN.pause(source.failures + 1)
    await services.catalog.sources.note_not_listed(source.source_id, error, pause=pause)
    done.failed.append(f"source {source.source_id}: {error}")


async def _note_unreadable(services: Services, number: int, error: str, done: Round) -> None:
    """What cannot be read cannot be listed either, most probably: the next look says what is wrong."""
    await services.catalog.sources.note_not_listed(number, error, pause=watching.AGAIN.pause(1))
    done.failed.append(f"source {number}: {error}")


async def _tell(services: Services, number: int, kept: _Kept, done: Round) -> None:
    """Note that a source hangs, once."""
    if kept.hangs and not kept.is_told:
        kept.is_told = True
        await _note_unreadable(services, number, kept.hangs, done)
