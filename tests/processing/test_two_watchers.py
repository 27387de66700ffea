"""Two processes that look at the same sources, and are killed: each photograph is in one job in the end.

They run without the lock that usually keeps one of them out, so that only what a job claims keeps them apart.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import new_captures
from antenna_orchestration.processing.services import Services
from antenna_orchestration.submission.locations import local_path
from tests.processing import rounds_process
from tests.processing.watched import Watched, watch
from tests.waiting import eventually, wait_until

NIGHTS = ("20260612", "20260613", "20260614")


class People:
    """Who copies, moves, renames and locks files, at random; a photograph is what a file holds in the end."""

    def __init__(self, home: Path, dice: random.Random) -> None:
        self.home = home
        self.dice = dice
        # What was where, by path and version.
        self.written: dict[tuple[str, str], str] = {}
        # Files that still grow, with the pieces that are to come.
        self.growing: dict[Path, list[str]] = {}
        self.locked: list[Path] = []
        self.count = 0

    def act(self) -> None:
        """One thing."""
        self.dice.choices(
            [self.arrive, self.begin_to_grow, self.grow, self.rename, self.send_again, self.lock, self.unlock],
            weights=[6, 2, 6, 2, 2, 1, 2],
        )[0]()

    def arrive(self) -> None:
        for _ in range(self.dice.randint(1, 12)):
            self._write(self._new(), f"photograph {self.count}")

    def begin_to_grow(self) -> None:
        path = self._new()
        self._write(path, f"photograph {self.count}, piece 0")
        self.growing[path] = [f", piece {piece}" for piece in range(1, 4)]

    def grow(self) -> None:
        for path in list(self.growing):
            with path.open("a") as file:
                file.write(self.growing[path].pop(0))
            self._note(path)
            if not self.growing[path]:
                del self.growing[path]

    def rename(self) -> None:
        if files := self._at_rest():
            self._note(self.dice.choice(files).rename(self._new()))

    def send_again(self) -> None:
        if files := self._at_rest():
            self._write(self._new(), self.dice.choice(files).read_text())

    def lock(self) -> None:
        """A folder or file that nobody may read, or a disk that is taken out."""
        source = self.dice.choice(list(self.home.iterdir()))
        path = self.dice.choice([source, *(one for one in source.rglob("*") if one not in self.growing)])
        path.chmod(0)
        self.locked.append(path)

    def unlock(self) -> None:
        for path in reversed(self.locked):
            path.chmod(0o755)
        self.locked.clear()

    def end(self) -> None:
        self.unlock()
        while self.growing:
            self.grow()

    def _at_rest(self) -> list[Path]:
        self.unlock()
        return [path for path in self.home.rglob("*.jpg") if path not in self.growing]

    def _new(self) -> Path:
        self.unlock()
        self.count += 1
        source, night = self.dice.choice("ab"), self.dice.choice(NIGHTS)
        folder = self.home / source / self.dice.choice(["", "100MEDIA", "101MEDIA/DCIM"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{night}22{self.count // 60 % 60:02}{self.count % 60:02}_{self.count}.jpg"

    def _write(self, path: Path, content: str) -> None:
        # The name begins with a dot while it is written, and is not looked at.
        hidden = path.with_name(f".{path.name}")
        hidden.write_text(content)
        self._note(hidden.rename(path))

    def _note(self, path: Path) -> None:
        status = path.stat()
        self.written[str(path), f"{status.st_size}-{status.st_mtime_ns}"] = path.read_text()


async def in_jobs(source: Watched, people: People) -> Counter[tuple[str, str]]:
    """How many jobs each photograph of each source is in."""
    async with source.services.catalog.database.transaction() as connection:
        rows = await connection.execute(
            "SELECT c.url, c.version FROM job_images i JOIN captures c USING (image_id) "
            "JOIN projects p ON p.project_id = c.project_id WHERE p.slug = %s",
            [source.project],
        )
        images = await rows.fetchall()
    found: Counter[tuple[str, str]] = Counter()
    for row in images:
        path = local_path(row["url"])
        found[Path(path).relative_to(people.home).parts[0], people.written[path, row["version"]]] += 1
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_two_processes_that_die_put_each_photograph_into_one_job(
    own_stores: EmbeddedStores, own_services: Services, project: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 2**32))
    print(f"CHAOS_SEED={seed}")
    people = People(tmp_path / "home", random.Random(seed))
    sources = []
    for name in "ab":
        (people.home / name).mkdir(parents=True)
        sources.append(
            await watch(own_services, project, people.home / name, deployment=name, settle="1s", every="15s")
        )
    log = tmp_path / "log"
    alive: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        numbers = (source.number for source in sources)
        alive.append(rounds_process.start(own_stores, *numbers, log=log, variables={"WITHOUT_LOCK": "1"}))

    def wait_for_a_round() -> None:
        size = log.stat().st_size
        wait_until(lambda: log.stat().st_size > size, description="a round ends", poll=0.02)

    try:
        start()
        start()
        wait_for_a_round()
        for killed in range(10):
            for _ in range(people.dice.randint(4, 12)):
                people.act()
                wait_for_a_round()
            moment = time.monotonic() + people.dice.uniform(0, 0.5)
            wait_until(lambda: time.monotonic() > moment, description="the moment", poll=0.005)  # noqa: B023
            one = alive.pop(killed % 2)
            one.send_signal(signal.SIGKILL)
            assert one.wait() == -signal.SIGKILL, "it had ended by itself"
            start()
            twice = {what: count for what, count in (await in_jobs(sources[0], people)).items() if count > 1}
            assert not twice, twice
    finally:
        for one in alive:
            one.kill()
            one.wait()
    assert "Traceback" not in log.read_text(), log.read_text()
    people.end()
    there = {
        (path.relative_to(people.home).parts[0], path.read_text())
        for path in people.home.rglob("*.jpg")
        if not path.name.startswith(".")
    }

    async def all_are_in_jobs() -> bool:
        for source in sources:
            source.later(new_captures.LOOKED_AGAIN_AFTER + 1)
            await source.look()
        return there <= set(await in_jobs(sources[0], people))

    await eventually(all_are_in_jobs, description="all photographs are in jobs")
    found = await in_jobs(sources[0], people)
    assert set(found.values()) == {1}, {what: count for what, count in found.items() if count > 1}
    assert len(there) > 100
