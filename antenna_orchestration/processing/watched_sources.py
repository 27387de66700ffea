"""Watched sources as people handle them: add, list, pause, resume, remove. `new_captures` does the watching.

Folders are looked at by Dagster's daemon or code server, so they are named as they are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from antenna_orchestration import errors, kernel
from antenna_orchestration.catalog.sources import NewSource, SourceState, TroubledSource, unknown
from antenna_orchestration.domain import cron as schedule
from antenna_orchestration.domain import times
from antenna_orchestration.domain.progress import duration
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.versions import Validators
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing.services import Records, Services
from antenna_orchestration.processing.submit import Submission, check, spec_of
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import locations, patterns, watching, web_lists
from antenna_orchestration.submission.locations import scheme_of

OVERDUE: Final = 600.0
"""Seconds by which a look may be late before it is reported."""

EVERY: Final = "5m"
"""How often a source is looked at unless something else is named."""

_SHORTEST: Final = 15
"""Seconds: how often the sensor ticks."""

_LONGEST: Final = 30 * 86400


async def add_source(
    services: Services,
    *,
    project: str,
    deployment: str,
    uri: str,
    pipeline: str = registry.DEFAULT_PIPELINE,
    pattern: str = "",
    settle: str = "10m",
    every: str = "",
    cron: str = "",
    config: Mapping[str, Any] | None = None,
    created_by: str = "",
) -> int:
    """Begin to watch a folder, a prefix of a bucket, or a list on the web; returns the source's number.

    `uri` is a path, `file://`, `s3://` or http(s); `settle` and `every` are lengths of time such as `10m`, of which
    `every` is `EVERY` if neither it nor a cron expression is named. Raises `InvalidInput` and its kinds, also if it
    cannot be listed now, and `Conflict` if a source watches the same files.
    """
    if cron and every:
        raise errors.InvalidInput("name either how often to look (every) or when (cron)")
    if cron:
        schedule.next_after(cron, datetime.now(UTC), UTC)
    every = every or EVERY
    settle_seconds, every_seconds = times.seconds_of(settle, "settle"), times.seconds_of(every, "every")
    if not _SHORTEST <= every_seconds <= _LONGEST:
        raise errors.InvalidInput(f"every {every!r} is not between {_SHORTEST}s and 30d")
    if settle_seconds > _LONGEST:
        raise errors.InvalidInput(f"settle {settle!r} is longer than 30d")
    if not deployment.strip():
        raise errors.InvalidInput("name the deployment whose photographs these are")
    named = _named(uri, services.settings)
    submission = Submission(
        sources=(named,), pipeline=pipeline, project=project, deployment=deployment, config=config or {}
    )
    # What a job would be refused for is said now.
    check(submission, await spec_of(services, pipeline, project))
    takes = watching.taker(pattern)
    if named.startswith("s3:"):
        await asyncio.to_thread(watching.list_bucket, named, "", takes, services.settings)
    elif named.startswith("file:"):
        await asyncio.to_thread(watching.root, named, services.settings)
    else:
        await asyncio.to_thread(web_lists.fetch, named, Validators(), services.settings)
    return await services.catalog.sources.add(
        NewSource(
            project=project,
            deployment=deployment,
            uri=named,
            pattern=pattern,
            pipeline=pipeline,
            config=submission.config,
            settle_seconds=settle_seconds,
            every_seconds=every_seconds,
            cron=" ".join(cron.split()),
            created_by=created_by or kernel.user_of_this_process(),
        )
    )


async def list_sources(services: Services, project: str | None = None) -> Sequence[SourceState]:
    """All sources, or those of a project."""
    return await services.catalog.sources.list(project=project)


async def show_source(services: Services, source: int) -> SourceState:
    """One source. Raises `NotFound`."""
    found = await services.catalog.sources.list(source=source)
    if not found:
        raise errors.NotFound(unknown(source))
    return found[0]


async def troubles(services: Services, project: str | None = None) -> list[str]:
    """A line for each source that is watched and needs a person."""
    return [said for _, said in await troubled(services, project)]


async def troubled(records: Records, project: str | None = None) -> list[tuple[TroubledSource, str]]:
    """Each source that is watched and needs a person, with a line that says why."""
    found = await records.catalog.sources.troubled(overdue=OVERDUE, project=project)
    return [(one, _trouble(one)) for one in found]


def _trouble(one: TroubledSource) -> str:
    said = [f"it cannot be listed: {one.error}"] if one.error else []
    said += [f"what is new cannot be submitted: {one.refusal}"] if one.refusal else []
    if not said:
        said = [f"its look is late by {duration(one.overdue)}; is the sensor new_captures running?"]
    return f"source {one.source_id} of deployment {one.deployment} ({location(one.uri)}): {'; '.join(said)}"


def location(uri: str) -> str:
    """What a source watches, as people write it."""
    return locations.local_path(uri) if uri.startswith("file:") else uri


def looks(state: SourceState) -> str:
    """How often, or when, a source is looked at."""
    if not state.cron:
        return f"every {duration(state.every_seconds)}"
    where = f"in {state.time_zone}" if state.time_zone else "in the time zone of nights (ANTENNA_TIME_ZONE)"
    return f"at {state.cron} {where}"


def standing(state: SourceState, now: datetime) -> list[str]:
    """What a source does and waits for, in a few short lines."""
    if state.paused_at is not None:
        return ["paused"]
    lines = []
    if state.failures:
        lines.append(f"cannot be listed: {state.error}")
    elif state.error:
        lines.append(f"a part cannot be listed: {state.error}")
    if state.refusal:
        lines.append(f"cannot be submitted: {state.refusal}; again {_in(state.submit_at, now)}")
    if state.is_being_listed and not state.failures:
        lines.append("being listed")
    if state.moving:
        ago = f", the last change {duration((now - state.newest_at).total_seconds())} ago" if state.newest_at else ""
        lines.append(f"{counted(state.moving, 'file')} not at rest{ago}")
    if state.unread:
        lines.append(f"{counted(state.unread, 'file')} being read")
    if state.read and not state.refusal:
        waits = "wait until all are at rest" if state.moving else "wait to be submitted"
        lines.append(f"{counted(state.read, 'photograph')} {waits}")
    if state.left_out:
        lines.append(f"{counted(state.left_out, 'file')} left out: {state.left_out_why}")
    return [*lines, f"next look {_in(state.next_look_at, now)}"]


def as_dict(state: SourceState, now: datetime) -> dict[str, Any]:
    """A source for programs."""
    return {
        "source_id": state.source_id,
        "project": state.project,
        "deployment": state.deployment,
        "location": location(state.uri),
        "pattern": state.pattern,
        "pipeline": state.pipeline,
        "config": dict(state.config),
        "settle_seconds": state.settle_seconds,
        "every_seconds": None if state.cron else state.every_seconds,
        "cron": state.cron or None,
        "created_by": state.created_by,
        "created_at": state.created_at,
        "paused_at": state.paused_at,
        "looked_at": state.looked_at,
        "next_look_at": state.next_look_at,
        "failures": state.failures,
        "error": state.error or None,
        "refusal": state.refusal or None,
        "found": state.found,
        "not_at_rest": state.moving,
        "unread": state.unread,
        "to_submit": state.read,
        "submitted": state.submitted,
        "duplicates": state.duplicates,
        "left_out": state.left_out,
        "jobs": state.jobs,
        "last_job": state.last_job,
        "standing": standing(state, now),
    }


def _in(moment: datetime, now: datetime) -> str:
    seconds = (moment - now).total_seconds()
    return f"in {duration(seconds)}" if seconds > 0 else "now"


def _named(uri: str, settings: Settings) -> str:
    """The location of a source as the catalog has it. Raises `InvalidSource`."""
    scheme = scheme_of(uri)
    if "\0" in uri or not uri:
        raise errors.InvalidSource(f"{uri!r} is not a folder, a bucket or a list")
    if len(uri) > locations.MAX_URI:
        raise errors.InvalidSource(f"{uri[:80]}… is longer than {locations.MAX_URI} characters")
    if scheme == "s3":
        uri = locations.in_lower_case(uri)
        if patterns.MAGIC.search(uri):
            raise errors.InvalidSource(f"{uri}: name the prefix here, and what is taken below it with --pattern")
        return uri.rstrip("/")
    if scheme in ("http", "https"):
        return web_lists.address(uri, watching.locator(settings))
    if scheme not in (None, "file"):
        raise errors.InvalidSource(f"{uri}: only folders, s3:// and lists at http(s):// can be watched")
    # With the names of links, as for a folder that is submitted.
    path = str(Path(locations.local_path(uri) if scheme else uri).expanduser().absolute())
    if ".." in path.split("/"):
        path = str(Path(path).resolve())
    if path == "/":
        raise errors.InvalidSource("name a folder below /")
    return locations.folder_uri(path)
