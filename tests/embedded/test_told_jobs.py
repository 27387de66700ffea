"""The daemon's sensors look at once when a job was submitted."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Iterator

import psycopg
import pytest
from dagster._daemon import sensor
from dagster._daemon.daemon import SensorDaemon

from antenna_orchestration.embedded import told_jobs
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import opened
from tests.processing.jobs_by_hand import make_job
from tests.waiting import PATIENCE, wait_until


def test_dagsters_loop_rests_as_it_is_changed_here() -> None:
    """Read at 1.13.27: fails when its internals move."""
    source = inspect.getsource(sensor.execute_sensor_iteration_loop)
    assert source.count("shutdown_event.") == source.count("shutdown_event.wait(sleep_time)") == 1


@pytest.fixture
def waking(monkeypatch: pytest.MonkeyPatch) -> tuple[told_jobs.Waking, threading.Event, threading.Event]:
    monkeypatch.setattr(told_jobs, "_POLL", 0.01)
    monkeypatch.setattr(told_jobs, "APART", 0.01)
    end, told = threading.Event(), threading.Event()
    return told_jobs.Waking(end, told), end, told


Parts = tuple[told_jobs.Waking, threading.Event, threading.Event]


def waits(one: told_jobs.Waking) -> tuple[threading.Thread, list[bool]]:
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(one.wait(10 * PATIENCE)), daemon=True)
    thread.start()
    return thread, answers


def test_it_looks_when_told_and_once(waking: Parts) -> None:
    one, _, told = waking
    thread, answers = waits(one)
    told.set()
    thread.join(PATIENCE)
    assert (answers, told.is_set(), one.is_set()) == ([False], False, False)


def test_one_that_is_not_told_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a look that was asked for only a while: it may have passed over a sensor whose tick was under way."""
    rests: list[float] = []

    class Told(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout or 0.0)
            return super().wait(0.0)

    monkeypatch.setattr(told_jobs, "_POLL", 10_000.0)
    monkeypatch.setattr(told_jobs, "APART", 0.01)
    told = Told()
    one = told_jobs.Waking(threading.Event(), told)
    told.set()
    one.wait(1_000.0)
    assert rests.pop() > 900
    one.wait(1_000.0)
    assert rests and max(rests) <= 0.01


def test_the_sensor_daemon_rests_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Dagster's own loop gets is told of jobs, and notices the end."""
    seen: list[told_jobs.Waking] = []

    def core_loop(_daemon: object, _context: object, end: told_jobs.Waking) -> Iterator[None]:
        seen.append(end)
        yield None

    monkeypatch.setattr(SensorDaemon, "core_loop", core_loop)
    monkeypatch.setattr(told_jobs, "listen", lambda _url, told, _say: told.set())
    told_jobs.install("", print)
    end = threading.Event()
    list(SensorDaemon.core_loop(object(), object(), end))  # type: ignore[arg-type]
    assert not seen[0].wait(10 * PATIENCE), "it was told"
    end.set()
    assert seen[0].wait(10 * PATIENCE)


def test_the_end_of_the_daemon_is_noticed(waking: Parts) -> None:
    one, end, _ = waking
    thread, answers = waits(one)
    end.set()
    thread.join(PATIENCE)
    assert answers == [True]
    assert one.is_set()


def test_looks_that_were_asked_for_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a sensor that began a moment ago would be passed over, and the job would wait for the next look."""
    rests: list[float] = []

    class End(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout or 0.0)
            return False

    monkeypatch.setattr(told_jobs, "APART", 10_000.0)
    told = threading.Event()
    one = told_jobs.Waking(End(), told)
    told.set()
    one.wait(100_000.0)
    assert 5_000 < rests[0] <= 10_000


class Over(Exception):
    """The test has seen enough."""


async def test_the_catalog_tells_of_each_job_also_after_an_outage(
    shared_stores: EmbeddedStores, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told_jobs, "PAUSE", 0.05)
    url, told, said = shared_stores.settings.database_url, threading.Event(), list[str]()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            raise Over

    def listen() -> None:
        with contextlib.suppress(Over):
            told_jobs.listen(url, told, say)

    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    async with opened(shared_stores.settings) as services:
        for outages in (0, 1):
            if outages:
                cut(url)
                wait_until(lambda: len(said) == 2, description="the outage and its end are said")
            wait_until(told.is_set, description="it listens, and looks for what came before")
            told.clear()
            await make_job(services, project, 1)
            wait_until(told.is_set, description="the job is told")
            told.clear()
    cut(url)
    listening.join(PATIENCE)
    assert not listening.is_alive()
    assert "looked for every five seconds only: the catalog does not tell of them: " in said[0]
    assert "\t" not in said[0]
    assert said[1] == "the catalog tells of new jobs again"


def cut(url: str) -> None:
    """End the session that listens, as an outage does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'antenna told' AND datname = current_database()"
        )
