"""However files arrive, and wherever the sensor dies, each photograph is in exactly one job: a stateful property test.

The machine writes, renames, touches, overwrites and deletes files between the steps of two sensors, ends steps
half-way, and holds the jobs against what it wrote. A photograph is its bytes.
"""

import asyncio
import itertools
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import new_captures
from antenna_orchestration.processing.new_captures import Round
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.submission.locations import local_path
from tests.processing.watched import Watched, photograph, watch

STEPS = (new_captures.list_due, new_captures.read_waiting, new_captures.submit_read)
PLACES = [f"{folder}/2026061{day}2215{second:02}.jpg" for folder in "ab" for day in (2, 3) for second in range(3)]

_numbers = itertools.count()


class EachPhotographOnce(RuleBasedStateMachine):
    """A folder, two sensors, and people who copy files."""

    stores: EmbeddedStores
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        # What was where, by path and version.
        self.written: dict[tuple[str, str], str] = {}
        self.clock = itertools.count(1_700_000_000)

    @initialize()
    def begin(self) -> None:
        self.home = self.folder / str(number := next(_numbers))
        self.home.mkdir()
        self.runner.run(self._begin(f"watched-in-any-order-{number}"))
        self.both(PLACES[0], 10, 2)

    async def _begin(self, project: str) -> None:
        self.contexts = [opened(self.stores.settings) for _ in range(2)]
        self.sensors: list[Services] = [await context.__aenter__() for context in self.contexts]
        self.source: Watched = await watch(self.sensors[0], project, self.home, every="15s")

    @rule(place=st.sampled_from(PLACES), content=st.integers(0, 9))
    def write(self, place: str, content: int) -> None:
        """A new file, or another one in the place of one that was there."""
        self._note(photograph(self.home / place, f"photograph {content}", changed=next(self.clock)))

    @rule(place=st.sampled_from(PLACES), to=st.sampled_from(PLACES))
    def rename(self, place: str, to: str) -> None:
        if (self.home / place).exists() and place != to:
            (self.home / to).parent.mkdir(exist_ok=True)
            self._note((self.home / place).rename(self.home / to))

    @rule(place=st.sampled_from(PLACES))
    def touch(self, place: str) -> None:
        if (self.home / place).exists():
            os.utime(self.home / place, (at := next(self.clock), at))
            self._note(self.home / place)

    @rule(place=st.sampled_from(PLACES))
    def delete(self, place: str) -> None:
        (self.home / place).unlink(missing_ok=True)

    @rule(sensor=st.integers(0, 1), step=st.sampled_from(STEPS))
    def act(self, sensor: int, step: object) -> None:
        self.runner.run(self._act(sensor, step))

    @rule(sensor=st.integers(0, 1), step=st.sampled_from(STEPS), after=st.integers(0, 500))
    def die(self, sensor: int, step: object, after: int) -> None:
        """A step ends somewhere."""

        async def run() -> None:
            acting = asyncio.create_task(self._act(sensor, step))
            for _ in range(after):
                # One turn of the event loop: no time passes.
                await asyncio.sleep(0)
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)

        self.runner.run(run())

    @rule(place=st.sampled_from(PLACES), content=st.integers(10, 99), begun=st.integers(0, 2))
    def both(self, place: str, content: int, begun: int) -> None:
        """A photograph arrives, and both sensors do what is left to be done at the same time."""
        self.write(place, content)

        async def run() -> None:
            for step in STEPS[:begun]:
                await self._act(0, step)
            for step in STEPS[begun:]:
                await asyncio.gather(self._act(0, step), self._act(1, step))

        self.runner.run(run())

    async def _act(self, sensor: int, step: object) -> None:
        assert callable(step)
        services = self.sensors[sensor]
        await services.catalog.sources.resume(self.source.number)
        done = Round()
        await step(services, done)
        assert not [line for line in done.failed if line.startswith(f"source {self.source.number}:")]

    @invariant()
    def no_photograph_is_in_two_jobs(self) -> None:
        if hasattr(self, "source"):
            twice = [content for content, count in self.runner.run(self._in_jobs()).items() if count > 1]
            assert not twice, twice

    @invariant()
    def files_are_counted(self) -> None:
        if hasattr(self, "source"):
            kept, counted = self.runner.run(self._counts())
            assert kept == counted

    async def _counts(self) -> list[dict[str, int]]:
        """How many files are in each state, as the catalog keeps it, and counted."""
        found = []
        async with self.source.services.catalog.database.transaction() as connection:
            for query in (
                "SELECT state, files FROM source_counts WHERE source_id = %s AND files <> 0",
                "SELECT state, count(*) AS files FROM source_files WHERE source_id = %s GROUP BY state",
            ):
                rows = await (await connection.execute(query, [self.source.number])).fetchall()
                found.append({row["state"]: row["files"] for row in rows})
        return found

    def teardown(self) -> None:
        if hasattr(self, "source"):
            self.runner.run(self._end())
        self.runner.close()

    async def _end(self) -> None:
        # What came into a folder within the resolution of its time is seen with the second listing.
        for _ in range(2):
            self.source.later(new_captures.LOOKED_AGAIN_AFTER + 1)
            for step in STEPS:
                await self._act(0, step)
        there = {path.read_text() for path in self.home.rglob("*.jpg")}
        found = await self._in_jobs()
        assert there <= set(found), "a photograph is in no job"
        await self.source.services.catalog.sources.pause(self.source.number)
        for context in self.contexts:
            await context.__aexit__(None, None, None)

    async def _in_jobs(self) -> Counter[str]:
        """How many jobs each photograph is in."""
        async with self.source.services.catalog.database.transaction() as connection:
            rows = await connection.execute(
                "SELECT c.url, c.version FROM job_images i JOIN captures c USING (image_id) "
                "JOIN projects p ON p.project_id = c.project_id WHERE p.slug = %s",
                [self.source.project],
            )
            images = await rows.fetchall()
        return Counter(self.written[local_path(row["url"]), row["version"]] for row in images)

    def _note(self, path: Path) -> None:
        status = path.stat()
        self.written[str(path), f"{status.st_size}-{status.st_mtime_ns}"] = path.read_text()


@pytest.mark.long
def test_each_photograph_is_in_one_job_in_any_order(shared_stores: EmbeddedStores, tmp_path: Path) -> None:
    EachPhotographOnce.stores, EachPhotographOnce.folder = shared_stores, tmp_path
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        EachPhotographOnce,
        settings=hypothesis_settings(
            max_examples=6,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
