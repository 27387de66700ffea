"""What the watching sensor reports, and when."""

import asyncio
import json

import dagster as dg
import psycopg
import pytest

from antenna_orchestration import settings
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing import cancel, publish
from antenna_orchestration.processing.services import opened
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.sensors.health_watch import health_watch
from antenna_orchestration.upkeep import health
from tests.processing.jobs_by_hand import claimed, make_job


def watched(instance: dg.DagsterInstance, cursor: str | None) -> tuple[dict[str, bool], str]:
    """One tick: the verdicts that it reported, and its cursor."""
    with dg.build_sensor_context(
        instance=instance, resources={"stores": Stores()}, definitions=build_definitions(), cursor=cursor
    ) as context:
        result = health_watch(context)
    assert isinstance(result, dg.SensorResult) and result.cursor
    told = {}
    for event in result.asset_events or []:
        assert isinstance(event, dg.AssetCheckEvaluation)
        told[event.check_name] = event.passed
    return told, result.cursor


def later(cursor: str, *, seconds: float) -> str:
    """The cursor as if its tick had been so long ago."""
    memory = json.loads(cursor)
    memory["failing"] = {name: since - seconds for name, since in memory["failing"].items()}
    return json.dumps(memory)


def test_a_run_that_nobody_ends_fails_a_check_until_it_is_ended(wanted: settings.Settings) -> None:
    with psycopg.connect(wanted.database_url) as connection:
        # No sensor ends the runs of other tests.
        connection.execute("DELETE FROM run_heartbeats")
    with dg.DagsterInstance.ephemeral() as instance:
        told, cursor = watched(instance, None)
        assert told["runs"] is True and set(told) <= set(health.WATCHED)
        with psycopg.connect(wanted.database_url) as connection:
            connection.execute(
                "INSERT INTO run_heartbeats (run_id, heartbeat_at) VALUES ('lost', now() - interval '70 s')"
            )
        told, cursor = watched(instance, cursor)
        assert "runs" not in told, "a check was reported at once"
        told, cursor = watched(instance, later(cursor, seconds=31))
        assert told["runs"] is False
        assert "runs" not in watched(instance, cursor)[0], "a verdict was reported twice"
        with psycopg.connect(wanted.database_url) as connection:
            connection.execute("DELETE FROM run_heartbeats WHERE run_id = 'lost'")
        assert watched(instance, cursor)[0]["runs"] is True


def test_a_clock_that_jumps_fails_a_check(wanted: settings.Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _, cursor = watched(instance, None)
        memory = json.loads(cursor)
        memory["clock_offset"] -= 7200
        _, cursor = watched(instance, json.dumps(memory))
        told, cursor = watched(instance, later(cursor, seconds=31))
        assert told["clocks"] is False
        assert json.loads(cursor)["jump"] == "the clock of this machine jumped 7200 s forward"


@pytest.mark.usefixtures("wanted")
def test_a_server_that_does_not_answer_fails_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sensor skipped then, and all checks stayed green."""
    with dg.DagsterInstance.ephemeral() as instance:
        told, cursor = watched(instance, None)
        assert told["queue"] is True
        with monkeypatch.context() as away:
            away.setenv("ANTENNA_NATS_URL", "nats://127.0.0.1:1")
            settings.get.cache_clear()
            told, cursor = watched(instance, cursor)
            assert told == {}
            told, cursor = watched(instance, later(cursor, seconds=31))
            assert told == {"queue": False}
        settings.get.cache_clear()
        assert watched(instance, cursor)[0]["queue"] is True


def test_times_of_the_future_are_set_to_now_at_once(wanted: settings.Settings, project: str) -> None:
    """At once, not after a minute; and the ticks of before are not the last ones."""

    async def queued() -> Job:
        async with opened(wanted) as services:
            return await make_job(services, project, 1)

    job = asyncio.run(queued())
    with (
        dg.DagsterInstance.ephemeral() as instance,
        psycopg.connect(wanted.database_url, autocommit=True) as connection,
    ):
        _, cursor = watched(instance, None)
        memory = json.loads(cursor)
        memory["cleared_at"] += 7200
        connection.execute("UPDATE jobs SET created_at = now() + interval '2 hours' WHERE job_id = %s", [job.job_id])
        watched(instance, json.dumps(memory))
        row = connection.execute("SELECT created_at <= now() FROM jobs WHERE job_id = %s", [job.job_id]).fetchone()
        assert row == (True,)


@pytest.mark.long
def test_a_missing_stream_is_found_and_made_again(wanted: settings.Settings) -> None:
    async def look() -> None:
        async with opened(wanted) as services:
            await services.connection.jetstream().delete_stream("KV_openings")
            found = {result.name: result for result in (await health.watch(services)).results}
            # C2: until somebody makes it again the check fails; it counted as repaired.
            assert (found["queue"].details, found["queue"].unfixable) == (["the stream KV_openings is missing"], 1)
            assert await services.missing_streams() == ["KV_openings"]
            found = {result.name: result for result in (await health.check(services)).results}
            assert (found["queue"].fixed, found["queue"].unfixable) == (1, 0)
            assert await services.missing_streams() == []

    asyncio.run(look())


def test_a_late_task_of_a_canceled_job_is_cleared_within_a_minute(wanted: settings.Settings, project: str) -> None:
    async def with_late_task() -> Job:
        async with opened(wanted) as services:
            job = await claimed(services, await make_job(services, project, 1))
            await publish.publish(services, job.job_id)
            job = await services.catalog.jobs.get(job.job_id)
            images = await services.catalog.images.to_publish_again(
                job.job_run, sorted(await services.queue.waiting(job.pipeline, job.job_run))
            )
            await cancel.cancel(services, job.job_id, reason="test")
            await publish.republish(services, job, images)
            return job

    async def waiting(job: Job) -> int:
        async with opened(wanted) as services:
            return len(await services.queue.waiting(job.pipeline, job.job_run))

    job = asyncio.run(with_late_task())
    with dg.DagsterInstance.ephemeral() as instance:
        assert asyncio.run(waiting(job)) == 1
        _, cursor = watched(instance, None)
        assert asyncio.run(waiting(job)) == 0
        assert json.loads(cursor)["cleared_at"] > 0
