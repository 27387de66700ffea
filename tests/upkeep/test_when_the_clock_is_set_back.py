"""What the catalog, the queue and the gateway do with times that lie in the future, since the clock was set back.

Each test first shows what stands still, then that it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from antenna_orchestration.alerting import configuration
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.alerts import Alert, Event, Seen
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.stalls import is_unserved_for_long, waits_since
from antenna_orchestration.processing.services import Records, Services
from antenna_orchestration.upkeep import alerts, health
from antenna_orchestration.upkeep.alert_sources import Looking
from tests.processing.jobs_by_hand import claimed, make_job
from tests.processing.watched import watch

BACK = "interval '2 hours'"

Ahead = Callable[..., None]


@pytest.fixture
def ahead(services: Services) -> Ahead:
    """Let rows be as they are once the clock was set back: these times of theirs are ahead of it."""

    def move(table: str, key: str, value: object, *columns: str) -> None:
        times = ", ".join(f"{column} = {column} + {BACK}" for column in columns)
        with psycopg.connect(services.settings.database_url) as connection:
            moved = connection.execute(f"UPDATE {table} SET {times} WHERE {key} = %s", [value])
            assert moved.rowcount > 0

    return move


async def is_suspect(services: Services, job: JobId, *, silent_for: float) -> bool:
    return bool(await services.catalog.jobs.suspects(claimed_for=0, silent_for=silent_for, job_id=job))


async def test_a_job_claimed_by_a_clock_ahead_is_looked_after(services: Services, project: str, ahead: Ahead) -> None:
    job = await make_job(services, project, 1)
    await services.catalog.jobs.claim(1, job_id=job.job_id)
    ahead("jobs", "job_id", job.job_id, "created_at", "claimed_at")
    assert not await is_suspect(services, job.job_id, silent_for=0)
    assert not is_unserved_for_long(await services.catalog.jobs.get(job.job_id), datetime.now(UTC) + timedelta(hours=1))
    assert await services.catalog.redate() >= 1
    assert await is_suspect(services, job.job_id, silent_for=0)
    job = await services.catalog.jobs.get(job.job_id)
    assert job.started_at is None, "what did not happen still did not"
    assert is_unserved_for_long(job, datetime.now(UTC) + timedelta(hours=1))
    assert waits_since(job) <= datetime.now(UTC)


async def test_a_collector_heard_in_the_future_grows_silent(services: Services, project: str, ahead: Ahead) -> None:
    job = await claimed(services, await make_job(services, project, 1))
    await services.catalog.collectors.enter(job.job_run, run_id="run", host="here")
    await services.catalog.runs.beat(project)
    ahead("jobs", "job_id", job.job_id, "claimed_at", "started_at")
    ahead("collectors", "job_id", job.job_id, "started_at", "heartbeat_at")
    ahead("run_heartbeats", "run_id", project, "started_at", "heartbeat_at")
    assert not await is_suspect(services, job.job_id, silent_for=0)
    assert (await services.catalog.runs.silent_for())[project] < -7000
    await services.catalog.redate()
    # Not at once: that of a living one is of before the clock was set back, too, and its next is seconds away.
    assert not await is_suspect(services, job.job_id, silent_for=60)
    assert 0 <= (await services.catalog.runs.silent_for())[project] < 60
    assert await is_suspect(services, job.job_id, silent_for=0)
    with psycopg.connect(services.settings.database_url) as connection:
        connection.execute("DELETE FROM run_heartbeats WHERE run_id = %s", [project])


async def test_a_start_of_the_future_grows_old_and_fails(services: Services, project: str, ahead: Ahead) -> None:
    """Else nobody starts another for two hours, and no pause follows those that fail."""
    starts = services.catalog.worker_starts
    await starts.add(project, [f"{project}-1"])
    await starts.note_running([f"{project}-1"])
    await starts.add(project, [f"{project}-2"])
    await starts.end({f"{project}-2": "killed"})
    ahead("worker_starts", "pool", project, "requested_at", "running_at", "ended_at")
    [one] = [one for one in await starts.open() if one.pool == project]
    assert (one.age < -7000, one.running_for < -7000) == (True, True)
    assert ((await starts.past())[project].failed_ago or 0.0) < -7000
    await services.catalog.redate()
    [one] = [one for one in await starts.open() if one.pool == project]
    assert 0 <= one.running_for <= one.age < 60
    assert 0 <= ((await starts.past())[project].failed_ago or 0.0) < 60
    await starts.end({f"{project}-1": ""})


@pytest.mark.parametrize("cron", ["", "0 7 * * *"], ids=["every", "cron"])
async def test_a_watched_source_is_looked_at_again(
    services: Services, project: str, ahead: Ahead, tmp_path: Path, cron: str
) -> None:
    (tmp_path / "one.jpg").write_bytes(b"x")
    source = await watch(services, project, tmp_path, settle="10m", **({"cron": cron} if cron else {}))
    await source.look()
    before = (await source.state()).next_look_at
    await services.catalog.redate()
    assert (await source.state()).next_look_at == before, "a look to come is none that a clock moved"
    ahead("sources", "source_id", source.number, "looked_at", "next_look_at", "submit_at")
    ahead("source_files", "source_id", source.number, "seen_at")
    source.later(601)
    assert (await source.state()).moving == 1
    assert source.number not in {one.source_id for one in await services.catalog.sources.due(1000)}
    await services.catalog.redate()
    assert source.number in {one.source_id for one in await services.catalog.sources.due(1000)}
    source.later(601)
    assert (await source.state()).unread == 1
    await services.catalog.sources.remove(source.number)


async def test_an_alert_of_the_future_is_told_when_it_has_lasted(
    services: Services, project: str, ahead: Ahead, tmp_path: Path
) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(
        f"targets: {{{project[:8]}: {{kind: command, command: ['true'], projects: [{project}]}}}}\n"
        "no_worker_minutes: 1\n"
    )
    said = configuration.read(file)
    alert = Alert(key=f"{project}:a", event=Event.NO_WORKER, project=project, subject="a", text="t")

    async def wrong(_records: Records, _looking: Looking) -> Seen:
        return Seen(of=(f"{project}:",), alerts=[alert])

    async def made() -> int:
        done = await alerts.look(services, said, sources=[wrong])
        assert done is not None
        return done.made

    assert await made() == 0
    ahead("alerts", "project", project, "began_at", "seen_at")
    ahead("alert_rounds", "is_only", True, "began_at", "looked_at")
    assert (await services.catalog.alerts.last_round() or 0.0) < -7000
    await services.catalog.redate()
    assert 0 <= (await services.catalog.alerts.last_round() or 0.0) < 60
    with psycopg.connect(services.settings.database_url) as connection:
        connection.execute("UPDATE alerts SET began_at = began_at - interval '61 s' WHERE project = %s", [project])
    assert await made() == 1
    assert await services.catalog.alerts.waiting(project[:8], 10)
    # Nor does a target rest for two hours that was sent something a moment before.
    await services.catalog.alerts.note_sent(project[:8], [])
    ahead("alert_targets", "target", project[:8], "next_try_at")
    assert not await services.catalog.alerts.waiting(project[:8], 10)
    await services.catalog.redate()
    assert await services.catalog.alerts.waiting(project[:8], 10)
    with psycopg.connect(services.settings.database_url) as connection:
        connection.execute("UPDATE alerts SET ended_at = now() WHERE project = %s", [project])


async def test_the_health_check_sets_them_to_now_and_says_so(services: Services, project: str, ahead: Ahead) -> None:
    job = await make_job(services, project, 1)
    ahead("jobs", "job_id", job.job_id, "created_at")
    for dry_run in (True, False):
        report = await health.check(services, dry_run=dry_run)
        [clocks] = [one for one in report.results if one.name == "clocks"]
        assert bool(clocks.fixed) is not dry_run
    assert "the database's clock was set back: " in clocks.details[0]
    assert await services.catalog.redate() == 0


@pytest.mark.long
async def test_heartbeats_stored_in_the_future_go(own_services: Services, project: str) -> None:
    """Their time is the server's, so that here the present is what lies back."""
    services = own_services
    now = datetime.now(UTC)
    beat = messages.Heartbeat(
        worker=project, host="h", pid=1, device="cpu", pipelines=(), reaches=(), started_at=now, at=now
    )
    await services.heartbeats.beat(beat)
    assert project in {one.worker for one in await services.heartbeats.workers()}
    await services.heartbeats.leave_ahead(now)
    assert project in {one.worker for one in await services.heartbeats.workers()}
    assert await services.heartbeats.leave_ahead(now - timedelta(hours=2)) >= 1
    assert project not in {one.worker for one in await services.heartbeats.workers()}
