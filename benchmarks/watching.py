"""What a tick of the sensor new_captures costs: 200 watched folders, 5,000,000 photographs that are known.

The catalog has the five million as rows. On the disk are 5,000 folders with 20 files each: folders in which nothing
came are not listed, so the files in them cost nothing, but for the 20 folders that a tick lists again.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import new_captures, watched_sources
from antenna_orchestration.processing.services import Services
from benchmarks import rig
from benchmarks.figures import Figure

SOURCES = 200
FOLDERS = 25
FILES = 20
KNOWN = 5_000_000

_KNOWN = """
    INSERT INTO source_files (source_id, uri, version, size, state, content)
    SELECT s.source_id, s.uri || '/old/' || n || '.jpg', '1-1', 1, 'submitted', sha256(n::text::bytea)
    FROM sources s CROSS JOIN generate_series(1, %(each)s) n
"""
_IN_JOBS = """
    INSERT INTO source_photographs (source_id, content, job_id) SELECT source_id, content, 1 FROM source_files
    ON CONFLICT DO NOTHING
"""


def run() -> list[Figure]:
    """Let all sources be due at once: first with nothing new, then with a photograph in each of ten."""
    with rig.stores() as running, tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(running, Path(folder)))


async def _measure(running: EmbeddedStores, home: Path) -> list[Figure]:
    async with rig.on(running) as services:
        for number in range(SOURCES):
            for night in range(FOLDERS):
                (home / str(number) / str(night)).mkdir(parents=True)
                for file in range(FILES):
                    (home / str(number) / str(night) / f"{file}.jpg").write_text(f"{number} {night} {file}")
            await watched_sources.add_source(
                services, project="season", deployment=f"trap {number}", uri=str(home / str(number)), pipeline="null"
            )
        # Listed, and known: with their settling time of ten minutes nothing is submitted.
        await _until_listed(services)
        async with services.catalog.database.transaction() as connection:
            await connection.execute("UPDATE source_files SET state = 'submitted', content = sha256(uri::bytea)")
            await connection.execute(_KNOWN, {"each": KNOWN // SOURCES - FOLDERS * FILES})
            await connection.execute(_IN_JOBS)
            await connection.execute("UPDATE source_folders SET is_quiet = true, listed_at = now() - interval '2 h'")
        async with services.catalog.database.transaction() as connection:
            await connection.execute("ANALYZE")
        quiet = await _tick(services)
        for number in range(10):
            (home / str(number) / "0" / "new.jpg").write_text(f"new {number}")
        busy = await _tick(services)
        began = time.perf_counter()
        listed = await watched_sources.list_sources(services)
        listing = time.perf_counter() - began
        if sum(one.found for one in listed) != KNOWN + 10:
            raise AssertionError("not all files are known")
    return [
        Figure(f"tick, {SOURCES} sources, {KNOWN:,} known, nothing new", quiet, "s", at_most=2.0),
        Figure("tick, the same, new in ten of them", busy, "s", at_most=2.0),
        Figure("antenna sources list of them", listing, "s", at_most=0.5),
    ]


async def _until_listed(services: Services) -> None:
    while True:
        await new_captures.round_(services)
        if not await services.catalog.sources.due(1):
            return


async def _tick(services: Services) -> float:
    """Seconds of a round in which all sources are due."""
    async with services.catalog.database.transaction() as connection:
        await connection.execute("UPDATE sources SET next_look_at = now()")
    began = time.perf_counter()
    done = await new_captures.round_(services)
    seconds = time.perf_counter() - began
    if done is None or done.listed != SOURCES or done.failed:
        raise AssertionError(f"the round did {done}")
    return seconds
