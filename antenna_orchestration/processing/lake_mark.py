"""The lake's mark: a file in it that says which catalog it belongs to.

So two catalogs never write the tables of their jobs over each other's, and the empty folder below which a disk is not
mounted is not taken for a lake whose tables are gone: images would be processed again, and the tables written below the
mount point would vanish with the next mount.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.lake import paths
from antenna_orchestration.lake.folder import Folder, Missing, storage_options
from antenna_orchestration.processing import lake_watch
from antenna_orchestration.processing.services import Services

logger = logging.getLogger(__name__)

_FOLDER_OF_JOB: Final = "job_id="

_REMEDY: Final = (
    "mount it, or name the right one with ANTENNA_LAKE_URI. If its tables are lost for good, make an empty file "
    "{lake}/{mark} once it is mounted, and this lake is taken"
)


async def claim(services: Services) -> None:
    """Mark the lake as this catalog's, or see that it is; then number new jobs after all that the lake has tables of.

    The catalog may be an older copy than the lake: the numbers that it gives next are then taken. Raises `Conflict` if
    the lake is another catalog's, and `Unavailable` if it is empty although it was marked before or the catalog has
    jobs, and if a folder does not answer. A bucket that does not is left alone.
    """
    settings, ours = services.settings, await services.catalog.lake_mark()
    # As it is before it is marked, so without a mark to look for.
    lake = Folder(settings.lake, storage_options=storage_options(settings), what="lake")
    try:
        said, in_home = await lake_watch.ask(lambda: (_read(lake), settings.lake_is_in_home), lake=lake.uri)
        tables = await asyncio.to_thread(lake.names, "manifest")
    except errors.LakeUnavailable as error:
        if lake.remote is None:
            raise
        # Nothing lies in its place, so that jobs can wait for it, and the next start marks it.
        logger.warning("the lake is not looked at: %s", error)
        return
    has_jobs = bool(await services.catalog.jobs.list(limit=1))
    if said is None and not tables and not in_home and (ours.is_claimed or has_jobs):
        raise errors.LakeUnavailable(
            f"the lake {lake.uri} is empty, and was not: {_REMEDY.format(lake=lake.uri, mark=paths.MARK)}"
        )
    here = {"home": str(settings.home), "host": socket.gethostname()}
    if said and not ours.is_claimed and has_jobs and here.items() <= said.items():
        # A copy of this home's catalog was put back that is older than the mark.
        said = {}
    if said and said.get("catalog") != ours.mark:
        raise errors.Conflict(
            f"the lake {lake.uri} belongs to another catalog, that of {said.get('home', '?')} on "
            f"{said.get('host', '?')}: set ANTENNA_LAKE_URI to a place of this one's own. If that catalog is gone, "
            f"restore its backup, or move the lake away to begin anew; if it is this one, empty {lake.uri}/{paths.MARK}"
        )
    if not said:
        mark = {"catalog": ours.mark, **here, "since": datetime.now(UTC).isoformat(timespec="seconds")}
        await asyncio.to_thread(lake.write, paths.MARK, lambda sink: sink.write(json.dumps(mark, indent=2).encode()))
        await asyncio.to_thread(lake.sync, "")
    await services.catalog.claim_lake()
    await _number_after(services, tables)


def _read(lake: Folder) -> dict[str, Any] | None:
    """What the mark says; nothing if a person made it, None if there is none. Blocks."""
    try:
        said = json.loads(lake.read(paths.MARK) or b"{}")
    except Missing:
        return None
    except ValueError as error:
        raise errors.Conflict(
            f"{lake.uri}/{paths.MARK} is damaged ({error}): if the lake is this catalog's, empty the file"
        ) from error
    return said if isinstance(said, dict) else {}


async def _number_after(services: Services, tables: list[str]) -> None:
    numbers = []
    for name in tables:
        with suppress(ValueError):
            numbers.append(int(name.removeprefix(_FOLDER_OF_JOB)))
    highest = max(numbers, default=0)
    if highest > (known := await services.catalog.jobs.highest()):
        logger.warning(
            "the lake has tables of job %d, the catalog knows jobs up to %d: new jobs are numbered after that",
            highest,
            known,
        )
        await services.catalog.jobs.number_after(JobId(highest))
