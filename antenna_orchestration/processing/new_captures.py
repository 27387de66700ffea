"""New captures of watched sources: one round lists what is due, reads what is at rest, and submits whole nights.

The three steps know of each other only what the catalog holds, so a round may end anywhere, and the next one goes on:

    list      folders that changed, and what is new in buckets, become files that wait
    read      files that have been as they are for long enough become photographs: their bytes and their time
    submit    photographs become jobs, one for each night; the transaction that makes a job claims its photographs

Each step has its seconds. What blocks runs on threads that nobody joins: a share that hangs costs its source a failure,
and the others nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from antenna_orchestration import errors
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.catalog.sources import (
    DueSource,
    KnownFolder,
    ReadResult,
    SourceClaim,
    SourceToSubmit,
    ToRead,
)
from antenna_orchestration.domain import nights, texts, watching
from antenna_orchestration.domain.capture_time import Taken
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.domain.watching import ReadFile
from antenna_orchestration.ecology import places
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import Selection, Submission, submit
from antenna_orchestration.submission import capture_times
from antenna_orchestration.submission import watching as looking

logger = logging.getLogger(__name__)

LISTING: Final = 10.0
READING: Final = 8.0
SUBMITTING: Final = 10.0
"""Seconds of a round for each step; Dagster ends a tick after 60. What is begun is finished."""

LEAST_SHARE: Final = 2.0
"""Seconds for which a source is listed in one round though others wait; it goes on when they had their turn."""

ANSWERS_WITHIN: Final = 15.0
"""Seconds in which a folder or a page of a bucket is listed, or some files are read; else the source hangs."""

RESOLUTION: Final = 2.5
"""Seconds within which two changes of a folder may leave the same time; on FAT and some shares it is two."""

LOOKED_AGAIN_AFTER: Final = 3600.0
"""Seconds after which a folder is listed although its time of change is the same: files may change in place."""

LOOKED_AGAIN: Final = 20
"""Such folders in one round, at most; those that were listed longest ago come first."""

SWEPT: Final = 2
"""Pages of a bucket's older names that each look lists again, round and round: names may come in any order."""

DUE_AT_ONCE: Final = 500
TO_READ: Final = 200
"""Files of one source that are read before those of the next."""

READ_TOGETHER: Final = 8
LOOKED_AT_TOGETHER: Final = 500
"""Files that one thread looks at again before they are submitted."""

TRIED_AGAIN_AFTER: Final = 3600.0
"""Seconds after which a file that could not be used is read again."""

SUBMITTED_AT_ONCE: Final = 20
"""Sources of which a round submits nights."""

LARGEST_JOB: Final = 20_000
"""Photographs of one job; what is more of a night becomes a further job."""

MOST_LOADED: Final = 100_000
"""Photographs of a source that are sorted into nights at a time."""

_threads: Final = ThreadPoolExecutor(max_workers=128, thread_name_prefix="watching")
_hanging: Final[dict[int, list[Future[Any]]]] = {}
"""By source: calls that were given up, and whose threads may be stuck for ever."""

_NAME: Final = 150
"""Characters of a deployment's name in that of a job."""

P = ParamSpec("P")
T = TypeVar("T")


class _Failed(Exception):
    """A source cannot be looked at now; the message says why."""


@dataclass(slots=True)
class Round:
    """What a round did."""

    listed: int = 0
    read: int = 0
    jobs: list[JobId] = field(default_factory=list)
    # One line for each source that failed.
    failed: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """For people."""
        said = f"{counted(self.listed, 'source')} listed"
        if self.read:
            said += f", {counted(self.read, 'file')} read"
        if self.jobs:
            said += f", {counted(len(self.jobs), 'job')} submitted"
        return f"{said}; {'; '.join(self.failed)}" if self.failed else said


async def round_(services: Services) -> Round | None:
    """One round over all sources; None if another process does one now. Idempotent, and safe to be killed.

    Raises `Unavailable` for the catalog only.
    """
    async with services.catalog.sources.lock() as is_ours:
        if not is_ours:
            return None
        done = Round()
        await list_due(services, done)
        await read_waiting(services, done)
        await submit_read(services, done)
        return done


async def list_due(services: Services, done: Round) -> None:
    """List what changed of the sources that are due."""
    sources = services.catalog.sources
    until = time.monotonic() + LISTING
    due = {source.source_id: source for source in await sources.due(DUE_AT_ONCE)}
    known = await sources.folders([number for number, source in due.items() if source.uri.startswith("file:")])
    changed = dict(
        zip(
            known,
            await asyncio.gather(*(_changed(services, due[number], known[number]) for number in known)),
            strict=True,
        )
    )
    _add_old(changed, known)
    looked: list[int] = []
    share = max(LEAST_SHARE, LISTING / max(len(due), 1))
    for number, source in due.items():
        now = time.monotonic()
        if now > until:
            break
        of_this = min(until, now + share)
        found = changed.get(number)
        try:
            if isinstance(found, _Failed):
                raise found
            if found is None:
                unreadable = await _list_bucket(services, source, of_this)
            else:
                unreadable = await _list_folders(services, source, found, of_this)
        except _Failed as error:
            await _note_not_listed(services, source, str(error), done)
            continue
        if unreadable is None:
            await sources.note_listed_in_part(number)
        elif unreadable:
            await sources.note_looked([number], error=unreadable)
            done.failed.append(f"source {number}: {unreadable}")
        done.listed += unreadable is not None
        looked += [number] if unreadable == "" else []
    if looked:
        await sources.note_looked(looked)


async def _changed(services: Services, source: DueSource, known: Sequence[KnownFolder]) -> list[KnownFolder] | _Failed:
    """The folders of a source that are to be listed; those that are gone are forgotten."""
    try:
        root, times = await _on_a_thread(
            source.source_id, looking.times_of_change, source.uri, known, services.settings
        )
    except _Failed as error:
        return error
    new = []
    if all(folder.real_uri != root.real_uri for folder in known):
        await services.catalog.sources.record_folders(source.source_id, [root])
        new = [KnownFolder(uri=root.uri, real_uri=root.real_uri, changed_ns=None, is_quiet=False, listed_ago=None)]
    if gone := [folder.real_uri for folder in known if folder.real_uri not in times]:
        await services.catalog.sources.forget_folders(source.source_id, gone)
    return new + [
        folder
        for folder in known
        if (at := times.get(folder.real_uri)) is not None
        and (at != folder.changed_ns or at == looking.UNREADABLE or not folder.is_quiet)
    ]


def _add_old(changed: Mapping[int, list[KnownFolder] | _Failed], known: Mapping[int, Sequence[KnownFolder]]) -> None:
    """Add the folders that were listed longest ago."""
    old = [
        (folder.listed_ago, number, folder)
        for number, found in changed.items()
        if not isinstance(found, _Failed)
        for folder in known[number]
        if folder.is_quiet and folder.listed_ago is not None and folder.listed_ago > LOOKED_AGAIN_AFTER
    ]
    for _, number, folder in heapq.nlargest(LOOKED_AGAIN, old, key=lambda one: one[0]):
        found = changed[number]
        if not isinstance(found, _Failed) and folder not in found:
            found.append(folder)


async def _list_folders(
    services: Services, source: DueSource, wanted: Sequence[KnownFolder], until: float
) -> str | None:
    """List folders, and those that are found in them: what could not be read, or None if not all were listed."""
    sources = services.catalog.sources
    takes, within = looking.taker(source.pattern), looking.locator(services.settings)
    tried: set[str] = set()
    unreadable: list[str] = []
    while wanted:
        found = 0
        for folder in wanted:
            if time.monotonic() > until:
                return None
            tried.add(folder.real_uri)
            listing = await _on_a_thread(source.source_id, looking.list_folder, folder, source.uri, takes, within)
            if listing is None:
                await sources.forget_folders(source.source_id, [folder.real_uri])
                continue
            await sources.record_listing(
                source.source_id,
                folder,
                changed_ns=listing.changed_ns,
                files=listing.files,
                folders=listing.folders,
                resolution=RESOLUTION,
            )
            unreadable += [listing.why] if listing.why else []
            found += len(listing.folders)
        known = (await sources.folders([source.source_id]))[source.source_id] if found else []
        wanted = [folder for folder in known if folder.changed_ns is None and folder.real_uri not in tried]
    return texts.listed(unreadable, 1)


async def _list_bucket(services: Services, source: DueSource, until: float) -> str | None:
    """List what is new in a bucket, and a part of what is old: an empty text, or None if there is more that is new."""
    sources, takes, position = services.catalog.sources, looking.taker(source.pattern), source.position

    async def page_after(name: str) -> looking.Page:
        return await _on_a_thread(source.source_id, looking.list_bucket, source.uri, name, takes, services.settings)

    while True:
        after = position.quiet_upto if position.listed_upto is None else position.listed_upto
        page = await page_after(after)
        position = replace(
            position,
            quiet_upto=watching.quiet_upto(position, page.names, datetime.now(UTC)),
            listed_upto=page.names[-1][0] if page.has_more else None,
        )
        await sources.record_page(source.source_id, page.files, position)
        if not page.has_more:
            break
        if time.monotonic() > until:
            return None
    for _ in range(SWEPT if position.quiet_upto else 0):
        page = await _on_a_thread(
            source.source_id, looking.list_bucket, source.uri, position.swept_upto, takes, services.settings
        )
        last = page.names[-1][0] if page.names else ""
        # In the store's order, that of bytes. What follows is listed by each look.
        goes_on = page.has_more and last.encode() < position.quiet_upto.encode()
        position = replace(position, swept_upto=last if goes_on else "")
        await sources.record_page(source.source_id, page.files, position)
        if not goes_on:
            break
    return ""


async def read_waiting(services: Services, done: Round) -> None:
    """Read files that are at rest, some of each source in turns."""
    until = time.monotonic() + READING
    seen: set[tuple[int, str]] = set()
    while time.monotonic() < until:
        # A file that changes again and again is read once a round.
        waiting = {
            number: [file for file in files if (number, file.uri) not in seen]
            for number, files in (
                await services.catalog.sources.files_to_read(most=TO_READ, again=TRIED_AGAIN_AFTER)
            ).items()
        }
        if not any(waiting.values()):
            return
        for number, files in waiting.items():
            seen.update((number, file.uri) for file in files)
            await _read_some(services, number, files, done, until)


async def _read_some(services: Services, number: int, files: Sequence[ToRead], done: Round, until: float) -> None:
    """Read files of one source, and note what they are."""
    sources = services.catalog.sources
    results: list[ReadResult] = []
    gone: list[str] = []
    trouble = ""
    for start in range(0, len(files), READ_TOGETHER):
        some = files[start : start + READ_TOGETHER]
        try:
            found = await asyncio.gather(*(_on_a_thread(number, looking.read, file) for file in some))
        except _Failed as error:
            trouble = str(error)
            break
        results += filter(None, found)
        gone += [file.uri for file, result in zip(some, found, strict=True) if result is None]
        if time.monotonic() > until:
            break
    if results:
        await sources.record_reads(number, results)
    if gone:
        await sources.forget_files(number, gone)
    done.read += len(results)
    if trouble:
        await sources.note_not_listed(number, trouble, pause=watching.AGAIN.pause(1))
        done.failed.append(f"source {number}: {trouble}")


async def submit_read(services: Services, done: Round) -> None:
    """Submit nights whose photographs are all read."""
    until = time.monotonic() + SUBMITTING
    for source in await services.catalog.sources.to_submit(SUBMITTED_AT_ONCE, held=watching.HELD_AT_MOST):
        if time.monotonic() > until:
            return
        try:
            await _submit_nights(services, source, done, until)
            await services.catalog.sources.note_submitted(source.source_id)
        except errors.Conflict as error:
            # Another process has them, or somebody paused the source: the next round sees what is left.
            logger.info("%s", error)
        except (errors.InvalidInput, errors.NotFound) as error:
            pause = watching.AGAIN.pause(source.refusals + 1)
            await services.catalog.sources.note_not_submitted(source.source_id, str(error), pause=pause)
            done.failed.append(f"source {source.source_id}: {error}")
        except _Failed as error:
            await services.catalog.sources.note_not_listed(source.source_id, str(error), pause=watching.AGAIN.pause(1))
            done.failed.append(f"source {source.source_id}: {error}")


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
            some = await _as_they_were(services, source.source_id, by_night[night][start : start + LARGEST_JOB])
            if some:
                done.jobs.append(await _submit_night(services, source, night, some))


async def _as_they_were(services: Services, number: int, files: Sequence[ReadFile]) -> list[ReadFile]:
    """The files that are still as they were read. Others were renamed, deleted or replaced while their night waited."""
    parts = [files[start : start + LOOKED_AT_TOGETHER] for start in range(0, len(files), LOOKED_AT_TOGETHER)]
    changed: list[ReadResult] = []
    for start in range(0, len(parts), READ_TOGETHER):
        some = parts[start : start + READ_TOGETHER]
        for found in await asyncio.gather(*(_on_a_thread(number, looking.look_again, part) for part in some)):
            changed += found
    if changed:
        await services.catalog.sources.record_reads(number, changed)
    gone = {one.uri for one in changed}
    return [file for file in files if file.uri not in gone]


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
            versions={file.uri: Version(file.version) for file in files if file.version},
        ),
        claim=SourceClaim(source_id=source.source_id, night=night, files=[(file.uri, file.version) for file in files]),
    )
    await services.catalog.job_log.add(
        submitted.job_id,
        "submitted",
        f"{counted(len(files), 'photograph')} of source {source.source_id}, night {night or nights.TIME_UNKNOWN}",
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


async def _on_a_thread(source: int, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call what looks at a source's disk or store.

    Raises `_Failed` for whatever goes wrong there, if it takes too long, and while an earlier call still does: a share
    that hangs for days takes no more threads than it took the first time.
    """
    if stuck := [call for call in _hanging.pop(source, []) if not call.done()]:
        _hanging[source] = stuck
        raise _Failed("it still does not answer")
    calling = _threads.submit(partial(function, *arguments, **options))
    try:
        return await asyncio.wait_for(asyncio.wrap_future(calling), ANSWERS_WITHIN)
    except TimeoutError:
        _hanging.setdefault(source, []).append(calling)
        raise _Failed(f"it does not answer within {ANSWERS_WITHIN:.0f} s") from None
    except (errors.AntennaError, OSError) as error:
        raise _Failed(str(error)) from error
    except Exception as error:
        logger.exception("a watched source")
        raise _Failed(f"unexpected {type(error).__name__}: {error}") from error
