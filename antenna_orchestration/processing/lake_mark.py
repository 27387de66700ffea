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
from antenna_orchestration.processing.services import Services

logger = logging.getLogger(__name__)

_FOLDER_OF_JOB: Final = "job_id="


async def claim(services: Services) -> None:
    """Mark the lake as this catalog's, or see that it is; then number new jobs after all that the lake has tables of.

    The catalog may be an older copy than the lake: the numbers that it gives next are then taken. Raises `Conflict` if
    the lake is another catalog's, and `Unavailable` if it is empty although the catalog has jobs.
    """
    # As it is before it is marked, so without a mark to look for.
    lake = Folder(services.settings.lake, storage_options=storage_options(services.settings), what="lake")
    ours = await services.catalog.lake_mark()
    said = await asyncio.to_thread(_read, lake)
    tables = await asyncio.to_thread(lake.names, "manifest")
    if (
        said is None
        and not tables
        and not services.settings.lake_is_in_home
        and await services.catalog.jobs.list(limit=1)
    ):
        raise errors.LakeUnavailable(
            f"the lake {lake.uri} is empty, and the catalog has jobs: is it mounted? If its tables are lost for good, "
            f"make an empty file {lake.uri}/{paths.MARK}, and this lake is taken"
        )
    theirs = said.get("catalog", ours) if said else ours
    if theirs != ours:
        assert said is not None
        raise errors.Conflict(
            f"the lake {lake.uri} belongs to another catalog, that of {said.get('home', '?')} on "
            f"{said.get('host', '?')}: set ANTENNA_LAKE_URI to a place of this one's own. If that catalog is gone, "
            "restore its backup, or move the lake away to begin anew"
        )
    if not said:
        mark = {
            "catalog": ours,
            "home": str(services.settings.home),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        await asyncio.to_thread(lake.write, paths.MARK, lambda sink: sink.write(json.dumps(mark, indent=2).encode()))
        await asyncio.to_thread(lake.sync, "")
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
