"""Watched sources: folders, buckets and lists on the web, what was found there, and which photographs have which job.

`source_photographs` has the key that lets the same bytes be in one job only: `claim_files` writes it in the transaction
that makes the job.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from psycopg.types.json import Jsonb

from antenna_orchestration import errors
from antenna_orchestration.catalog import projects, queries
from antenna_orchestration.catalog.database import Connection, Database, all_rows, value
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.texts import storable
from antenna_orchestration.domain.versions import Validators
from antenna_orchestration.domain.watching import BucketPosition, ReadFile

LEAST_PAUSE: Final = 15
"""Seconds between two looks at a source whose files wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSource:
    """What is to be watched, and what for."""

    project: str
    deployment: str
    # `file://` or `s3://`, without a slash at its end; or the address of a list.
    uri: str
    # Names below it that are taken; empty: all photographs.
    pattern: str
    pipeline: str
    config: Mapping[str, Any]
    settle_seconds: int
    # How often it is looked at; not used with a cron expression.
    every_seconds: int
    # When it is looked at; empty: as often as `every_seconds` says.
    cron: str
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState(NewSource):
    """A source as people see it. Files are counted by what became of them."""

    source_id: int
    created_at: datetime
    paused_at: datetime | None
    # When it was last listed to its end.
    looked_at: datetime | None
    next_look_at: datetime
    # Failures in a row to list it, and what is wrong: without a failure, that a part of it could not be read.
    failures: int
    error: str
    # The same of submitting what was found, and when that is tried again.
    refusals: int
    refusal: str
    submit_at: datetime
    is_being_listed: bool
    found: int
    # Not at rest.
    moving: int
    # At rest, and not read yet.
    unread: int
    # Read, and in no job yet.
    read: int
    submitted: int
    duplicates: int
    left_out: int
    left_out_why: str | None
    # When a file was last seen to come or change.
    newest_at: datetime | None
    jobs: int
    last_job: JobId | None
    # Of the deployment; None if it is not known.
    time_zone: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubledSource:
    """A source that needs a person."""

    source_id: int
    project: str
    deployment: str
    uri: str
    # Why it cannot be listed, and why what was found cannot be submitted; empty if it can.
    error: str
    refusal: str
    # Seconds by which its next look is late.
    overdue: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSource:
    """A source that is to be listed."""

    source_id: int
    project: str
    deployment: str
    uri: str
    pattern: str
    failures: int
    cron: str
    # Of the deployment; None if it is not known.
    time_zone: str | None
    # Of a bucket.
    position: BucketPosition
    # Of a list.
    validators: Validators


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFolder:
    """A folder of a source."""

    uri: str
    real_uri: str
    # Its time of change when it was listed; None: it was not.
    changed_ns: int | None
    # Whether it was listed twice with that time.
    is_quiet: bool
    # Seconds; None: never.
    listed_ago: float | None


class FoundFile(NamedTuple):
    """A file as a listing has it."""

    uri: str
    version: str
    size: int


class FoundFolder(NamedTuple):
    """A folder within another one, and what it really is where a link leads to it."""

    uri: str
    real_uri: str


class ListedFolder(NamedTuple):
    """A folder that was listed to its end, with its time of change, which was read before."""

    real_uri: str
    changed_ns: int
    # Why it cannot be read; empty if it can.
    why: str = ""


class GoneFolder(NamedTuple):
    """A folder that is not there any more."""

    real_uri: str


class ListedPage(NamedTuple):
    """A list on the web that was read to its end, and what to ask its server with next time."""

    validators: Validators
    # What of it cannot be used; empty: nothing.
    why: str = ""


class ToRead(NamedTuple):
    """A file that is at rest as far as is known."""

    uri: str
    version: str
    # Whether it could not be used when it was last read.
    was_left_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResult:
    """What reading a file said. With another version than the listed one, the file is not at rest."""

    uri: str
    listed: str
    version: str
    size: int
    content: bytes | None = None
    stamp: datetime | None = None
    stamp_offset: int | None = None
    # Why it cannot be used; empty if it can.
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceToSubmit:
    """A source with photographs that no job has."""

    source_id: int
    project: str
    deployment: str
    uri: str
    pipeline: str
    config: Mapping[str, Any]
    created_by: str
    refusals: int
    # Whether it is not listed to its end, or some of its files are not at rest.
    is_moving: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceClaim:
    """Files of a source that become the images of a job."""

    source_id: int
    night: date | None
    # By URI and version; no two have the same bytes.
    files: Sequence[tuple[str, str]]


class Sources:
    """The watched sources. Times are by the database's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lock(self) -> AbstractAsyncContextManager[bool]:
        """Be the only one that looks at sources, for the length of the block; False when another process does now."""
        return self._database.only_one("watched sources")

    async def add(self, new: NewSource) -> int:
        """Begin to watch; returns the source's number. Project and deployment are made if there are none.

        Raises `Conflict` if a source of the same pipeline watches the same files: they would be processed twice.
        """
        async with self._database.transaction() as connection:
            project = await projects.made(connection, new.project)
            deployment = {"project": project, "deployment": new.deployment}
            await connection.execute(queries.load("ensure_deployment"), deployment)
            for other in await all_rows(connection, "sources_of_project", project=project, pipeline=new.pipeline):
                if _overlap(new, other["uri"], other["pattern"]):
                    raise errors.Conflict(
                        f"source {other['source_id']} watches {other['uri']} for {new.pipeline} already: its "
                        "photographs would be processed twice"
                    )
            return int(
                await value(
                    connection,
                    "add_source",
                    **deployment,
                    uri=new.uri,
                    pattern=new.pattern,
                    pipeline=new.pipeline,
                    config=Jsonb(dict(new.config)),
                    settle=new.settle_seconds,
                    every=new.every_seconds,
                    cron=new.cron,
                    created_by=new.created_by,
                )
            )

    async def list(self, *, project: str | None = None, source: int | None = None) -> Sequence[SourceState]:
        """All sources, those of a project, or one."""
        rows = await self._database.rows("list_sources", project=project, source=source)
        return [SourceState(**{**row, "left_out_why": row["left_out_why"] or None}) for row in rows]

    async def troubled(self, *, overdue: float, project: str | None = None) -> Sequence[TroubledSource]:
        """Sources that are watched and cannot be listed or submitted, or whose look is late by `overdue` seconds."""
        rows = await self._database.rows("troubled_sources", overdue=overdue, project=project)
        return [TroubledSource(**row) for row in rows]

    async def count(self) -> int:
        """How many sources are watched, without those that are paused."""
        row = await self._database.row("count_sources")
        return int(row["sources"]) if row else 0

    async def pause(self, source: int) -> None:
        """Look no more until `resume`. Raises `NotFound`."""
        await self._one(source, "pause_source")

    async def resume(self, source: int) -> None:
        """Look again, at once. Raises `NotFound`."""
        await self._one(source, "resume_source")

    async def remove(self, source: int) -> None:
        """Forget the source and what was found in it; its jobs stay. Raises `NotFound`."""
        async with self._database.transaction() as connection:
            # Whoever records a listing or makes a job of it has ended then, or finds no source any more.
            if not await all_rows(connection, "lock_source", source=source):
                raise errors.NotFound(unknown(source))
            await all_rows(connection, "remove_source", source=source)

    async def due(self, limit: int) -> Sequence[DueSource]:
        """Sources that are to be listed now, those that wait longest first."""
        found = []
        for row in await self._database.rows("due_sources", limit=limit):
            position = BucketPosition(row.pop("quiet_upto"), row.pop("listed_upto"), row.pop("swept_upto"))
            validators = Validators(row.pop("etag"), row.pop("last_modified"))
            found.append(DueSource(position=position, validators=validators, **row))
        return found

    async def folders(self, sources: Collection[int]) -> Mapping[int, Sequence[KnownFolder]]:
        """The folders that are known of these sources."""
        found: dict[int, list[KnownFolder]] = {source: [] for source in sources}
        for row in await self._database.rows("folders_of_sources", sources=list(sources)):
            found[row.pop("source_id")].append(KnownFolder(**row))
        return found

    async def record_found(
        self,
        source: int,
        *,
        files: Sequence[FoundFile] = (),
        folders: Sequence[FoundFolder] = (),
        listed: Sequence[ListedFolder] = (),
        gone: Sequence[GoneFolder] = (),
        position: BucketPosition | None = None,
        validators: Validators | None = None,
        resolution: float,
    ) -> None:
        """Note a part of what a look found, in one transaction; idempotent.

        Folders that are known stay as they are, and those that are gone are listed as new ones if they come back. Files
        that come within `resolution` seconds may not change a folder's time.
        """
        async with self._database.transaction() as connection:
            # Files first: the row that counts them is locked after theirs by everybody.
            await _record_files(connection, source, files)
            await _record_folders(connection, source, folders)
            if listed:
                parameters = {
                    "source": source,
                    "real_uris": [one.real_uri for one in listed],
                    "changed_ns": [one.changed_ns for one in listed],
                    "resolution": resolution,
                }
                await connection.execute(queries.load("note_listed_folders"), parameters)
            if gone:
                uris = [one.real_uri for one in gone]
                await connection.execute(queries.load("forget_source_folders"), {"source": source, "real_uris": uris})
            if position:
                await connection.execute(
                    queries.load("note_listed_bucket"),
                    {
                        "source": source,
                        "quiet_upto": position.quiet_upto,
                        "listed_upto": position.listed_upto,
                        "swept_upto": position.swept_upto,
                    },
                )
            if validators is not None:
                parameters = {"source": source, "etag": validators.etag, "last_modified": validators.last_modified}
                await connection.execute(queries.load("note_listed_page"), parameters)

    async def note_looked(self, sources: Mapping[int, datetime | None], *, error: str = "") -> None:
        """These were listed to their end, but for what `error` tells; with when each is looked at next.

        None: as far off as the source says.
        """
        await self._database.rows(
            "note_looked",
            sources=list(sources),
            next_looks=list(sources.values()),
            error=storable(error),
            least=LEAST_PAUSE,
        )

    async def note_listed_in_part(self, source: int, *, came_forward: bool) -> None:
        """There is more to list; those that have waited for longer come first."""
        await self._database.rows("note_listed_in_part", source=source, came_forward=came_forward)

    async def note_not_listed(self, source: int, error: str, *, pause: float) -> None:
        """The source could not be listed; it is tried again after `pause` seconds."""
        await self._database.rows("note_not_listed", source=source, error=storable(error), pause=pause)

    async def files_to_read(
        self, *, most: int, again: float, source: int | None = None
    ) -> Mapping[int, Sequence[ToRead]]:
        """Files at rest, at most so many a source, and those that could not be used `again` seconds ago."""
        found: dict[int, list[ToRead]] = {}
        for row in await self._database.rows("source_files_to_read", most=most, again=again, source=source):
            found.setdefault(row.pop("source_id"), []).append(ToRead(**row))
        return found

    async def record_reads(self, source: int, results: Sequence[ReadResult]) -> None:
        """Note what reading files said; bytes that a job has make a duplicate. Idempotent."""
        await self._database.rows(
            "record_source_reads",
            source=source,
            uris=[one.uri for one in results],
            listed=[one.listed for one in results],
            versions=[one.version for one in results],
            sizes=[one.size for one in results],
            contents=[one.content for one in results],
            stamps=[one.stamp for one in results],
            offsets=[one.stamp_offset for one in results],
            whys=[storable(one.why) for one in results],
        )

    async def forget_files(self, source: int, uris: Sequence[str]) -> None:
        """Files that are gone and in no job."""
        await self._database.rows("forget_source_files", source=source, uris=list(uris))

    async def to_submit(self, limit: int, *, held: float) -> Sequence[SourceToSubmit]:
        """Sources with photographs that are read and in no job, those first that were submitted longest ago.

        One of which files still come is left out, unless a photograph has waited for `held` seconds.
        """
        rows = await self._database.rows("sources_to_submit", limit=limit, held=held)
        return [SourceToSubmit(**row) for row in rows]

    async def files_to_submit(self, source: int, limit: int) -> Sequence[ReadFile]:
        """Photographs that are read and whose bytes no job has, in the order of their URIs."""
        async with self._database.transaction() as connection:
            await connection.execute(queries.load("mark_source_duplicates"), {"source": source})
            rows = await all_rows(connection, "source_files_to_submit", source=source, limit=limit)
            return [ReadFile(**row) for row in rows]

    async def unread_folders(self, source: int, folders: Iterable[str]) -> set[str]:
        """Those of the folders below which files are not read yet."""
        rows = await self._database.rows("source_files_unread", source=source, folders=list(folders))
        return {row["folder"] for row in rows}

    async def count_jobs(self, source: int, night: date | None) -> int:
        """How many jobs a night of the source has."""
        row = await self._database.row("count_source_jobs", source=source, night=night)
        return int(row["jobs"]) if row else 0

    async def note_submitted(self, source: int) -> None:
        """What was found could be submitted."""
        await self._database.rows("note_submitted_source", source=source)

    async def note_not_submitted(self, source: int, refusal: str, *, pause: float) -> None:
        """What was found could not be submitted; it is tried again after `pause` seconds."""
        await self._database.rows("note_not_submitted", source=source, refusal=storable(refusal), pause=pause)

    async def _one(self, source: int, query: str) -> None:
        if await self._database.row(query, source=source) is None:
            raise errors.NotFound(unknown(source))


def unknown(source: int) -> str:
    """The message for a source that does not exist."""
    return f"there is no source {source}; `antenna sources list` shows all"


async def claim_files(connection: Connection, job_id: JobId, claim: SourceClaim) -> None:
    """Let files be those of a job, within the transaction that makes it.

    Raises `Conflict` if another process has claimed one of them, or if the source was paused or removed meanwhile.
    """
    if not await all_rows(connection, "hold_source", source=claim.source_id):
        raise errors.Conflict(f"source {claim.source_id} was paused or removed meanwhile")
    claimed = await value(
        connection,
        "claim_source_files",
        source=claim.source_id,
        job=job_id,
        night=claim.night,
        uris=[uri for uri, _ in claim.files],
        versions=[version for _, version in claim.files],
    )
    if claimed != len(claim.files):
        raise errors.Conflict(f"photographs of source {claim.source_id} are in another job or changed meanwhile")


def _overlap(new: NewSource, uri: str, pattern: str) -> bool:
    """Whether another source finds the same files. Two patterns within a folder are told apart by people."""
    one, other = f"{new.uri}/", f"{uri}/"
    is_within = one.startswith(other) or other.startswith(one)
    return is_within and (new.pattern == pattern or not new.pattern or not pattern)


async def _record_files(connection: Connection, source: int, files: Sequence[FoundFile]) -> None:
    if files:
        await connection.execute(
            queries.load("record_source_files"),
            {
                "source": source,
                "uris": [file.uri for file in files],
                "versions": [file.version for file in files],
                "sizes": [file.size for file in files],
            },
        )


async def _record_folders(connection: Connection, source: int, folders: Iterable[FoundFolder]) -> None:
    if found := list(folders):
        await connection.execute(
            queries.load("record_source_folders"),
            {
                "source": source,
                "uris": [folder.uri for folder in found],
                "real_uris": [folder.real_uri for folder in found],
            },
        )
