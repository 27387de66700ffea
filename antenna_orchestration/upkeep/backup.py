"""Backup and restore of what cannot be made again: the catalog and the lake.

The catalog is read first, in one snapshot, and the lake after it: every file that the catalog names is then in the
lake, or was replaced by a later one. A restore writes the lake first, so that no job is launched before its files are
there. The queue and Redis are not in a backup: they are rebuilt from the catalog.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from antenna_orchestration import __version__, errors
from antenna_orchestration.answers import kept_downloads
from antenna_orchestration.catalog import backup as catalog_backup
from antenna_orchestration.domain.job import ACTIVE
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.lake.folder import BLOCK, Folder, storage_options
from antenna_orchestration.processing import clear_queue
from antenna_orchestration.processing.services import Services

FORMAT: Final = 1
"""Version of the backup's layout; a backup of another version is refused."""

MARK: Final = "backup.json"
"""Written last: without this file, a backup is incomplete."""

_CATALOG: Final = "catalog"
_LAKE: Final = "lake"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a backup holds."""

    uri: str
    created_at: datetime
    catalog_version: str
    jobs: int
    # Files of the lake, and their bytes.
    files: int
    bytes: int


async def backup(services: Services, target: str) -> Contents:
    """Copy catalog and lake to an empty or new folder, or `s3://bucket/prefix`, while everything may go on.

    Jobs are restored as they were when the catalog was read; no job is deleted meanwhile. Raises `Conflict` when the
    target is not empty or jobs are being deleted, `InvalidInput` when it lies in the lake, and `Unavailable`; what was
    written until then has no mark and is not a backup.
    """
    to = Folder(target, storage_options=storage_options(services.settings, target))
    lake = services.lake_folder
    if f"{to.uri}/".startswith(f"{lake.uri}/"):
        raise errors.InvalidInput(f"{target} lies in the lake, which would be copied into itself")
    if await asyncio.to_thread(to.files):
        raise errors.Conflict(f"{to.uri} is not empty: give each backup a folder of its own")
    # The backup holds all that the catalog holds, including hashes of tokens.
    await asyncio.to_thread(to.make_private)
    created_at = datetime.now(UTC)
    # The files of a job that the catalog's copy knows stay until they are copied.
    async with services.catalog.deletions.none():
        async with catalog_backup.snapshot(services.settings.database_url) as snapshot:
            version = snapshot.version
            for table in catalog_backup.TABLES:
                await _write_table(snapshot, table, to)
        # Counted in the copy: the catalog may have changed since.
        jobs = await asyncio.to_thread(_count_lines, to, "jobs")
        files = await asyncio.to_thread(_to_keep, lake)
        below = Folder(f"{to.uri}/{_LAKE}", storage_options=storage_options(services.settings, target))
        # A part that is deleted meanwhile is missing in the copy; after a restore its images are processed again.
        await asyncio.to_thread(below.copy_from, lake, files, may_vanish=True)
        copied = await asyncio.to_thread(below.files)
        # What was not there then, was away.
        await asyncio.to_thread(lake.check_mounted)
    contents = Contents(
        uri=to.uri,
        created_at=created_at,
        catalog_version=version,
        jobs=jobs,
        files=len(copied),
        bytes=sum(copied.values()),
    )
    await asyncio.to_thread(_write_mark, to, contents)
    return contents


async def restore(services: Services, source: str) -> Contents:
    """Fill an empty catalog and an empty lake from a backup; the sensor then relaunches unfinished jobs.

    Queue and Redis are cleared, because they hold nothing of this catalog. Raises `InvalidInput` if the backup is
    incomplete or of another format, `Conflict` if catalog or lake are not empty or of another version, and
    `Unavailable`. Whatever it raises, catalog and lake are left as they were.
    """
    options = storage_options(services.settings, source)
    from_ = Folder(source, storage_options=options)
    contents = await asyncio.to_thread(_read_mark, from_)
    version, use = await catalog_backup.version_and_use(services.settings.database_url)
    if use:
        raise errors.Conflict(f"the catalog is not empty ({use}): restore into an empty one")
    if version != contents.catalog_version:
        raise errors.Conflict(
            f"the backup is of catalog version {contents.catalog_version}, this one is {version}: restore it with "
            "the release that made it, then upgrade"
        )
    lake, copy = services.lake_folder, Folder(f"{from_.uri}/{_LAKE}", storage_options=options)
    if found := await asyncio.to_thread(_to_keep, lake):
        raise errors.Conflict(
            f"the lake {lake.uri} is not empty ({counted(len(found), 'file')}): restore into an empty one"
        )
    files = await asyncio.to_thread(copy.files)
    if (len(files), sum(files.values())) != (contents.files, contents.bytes):
        raise errors.InvalidInput(
            f"the backup in {from_.uri} is damaged: {len(files)} files of {sum(files.values())} bytes in place of "
            f"{contents.files} of {contents.bytes}"
        )
    await _clear_queue(services)
    try:
        await asyncio.to_thread(lake.copy_from, copy, sorted(files))
        tables = {table: partial(_read_table, from_, table) for table in catalog_backup.TABLES}
        await catalog_backup.load(services.settings.database_url, tables)
    except BaseException:
        # The first error is the one to raise.
        with suppress(errors.Unavailable):
            await asyncio.to_thread(lake.remove, list(files))
        raise
    for job in await services.catalog.jobs.list(statuses=ACTIVE, limit=100_000):
        when = f"{contents.created_at:%Y-%m-%d %H:%M} UTC"
        await services.catalog.job_log.add(
            job.job_id, "restored", f"Restored from a backup of {when}; it goes on from there"
        )
    return contents


async def _clear_queue(services: Services) -> None:
    """Clear everything: the catalog is empty, so it belongs to unknown jobs, whose numbers may be used again."""
    found = await services.queue.jobs_on_queue() | set(await services.announcements.read())
    with suppress(errors.Unavailable):
        found |= await services.live.counters.jobs()
    for job_run in sorted(found):
        await clear_queue.clear_job_run(services, job_run, None)


def _to_keep(lake: Folder) -> list[str]:
    """The files of a lake but for those of downloads, which are made again when somebody asks. Blocks."""
    lake.check_mounted()
    return sorted(path for path in lake.files() if not path.startswith(f"{kept_downloads.FOLDER}/"))


async def _write_table(snapshot: catalog_backup.Snapshot, table: str, to: Folder) -> None:
    with to.writing(_name_of(table)) as file, gzip.open(file, "wb", compresslevel=3) as packed:
        async for block in snapshot.rows(table):
            await asyncio.to_thread(packed.write, block)


def _read_table(from_: Folder, table: str) -> Iterator[bytes]:
    try:
        with from_.reading(_name_of(table)) as file, gzip.open(file, "rb") as packed:
            while block := packed.read(BLOCK):
                yield block
    except (EOFError, gzip.BadGzipFile) as error:
        raise errors.InvalidInput(f"the backup in {from_.uri} is damaged: {_name_of(table)}: {error}") from error


def _count_lines(to: Folder, table: str) -> int:
    return sum(block.count(b"\n") for block in _read_table(to, table))


def _name_of(table: str) -> str:
    return f"{_CATALOG}/{table}.copy.gz"


def _write_mark(to: Folder, contents: Contents) -> None:
    text = {
        "format": FORMAT,
        "antenna": __version__,
        "created_at": contents.created_at.isoformat(),
        "catalog_version": contents.catalog_version,
        "jobs": contents.jobs,
        "files": contents.files,
        "bytes": contents.bytes,
    }
    with to.writing(MARK) as file:
        file.write(json.dumps(text, indent=2).encode())


def _read_mark(from_: Folder) -> Contents:
    if MARK not in from_.files():
        raise errors.InvalidInput(f"{from_.uri} holds no backup, or one that was not finished (no {MARK})")
    with from_.reading(MARK) as file:
        content = file.read()
    try:
        found = json.loads(content)
        if found["format"] != FORMAT:
            raise errors.InvalidInput(f"the backup in {from_.uri} has format {found['format']}, this reads {FORMAT}")
        return Contents(
            uri=from_.uri,
            created_at=datetime.fromisoformat(found["created_at"]),
            catalog_version=str(found["catalog_version"]),
            jobs=int(found["jobs"]),
            files=int(found["files"]),
            bytes=int(found["bytes"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise errors.InvalidInput(f"{from_.uri}/{MARK} cannot be read: {error}") from error
