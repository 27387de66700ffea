"""PostgreSQL, Redis and NATS on the composition's own files and environment."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator

import nats
import psycopg
import pytest
import redis

from antenna_orchestration import errors
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.services import opened, prepare
from antenna_orchestration.queue import connection, names
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.results import ResultSender
from tests.docker.certificates import write_certificate
from tests.docker.composition import MAIN, OUTSIDE
from tests.docker.composition_processes import Deployment, deployed
from tests.homes import temporary_folder
from tests.processing.jobs_by_hand import Hands, claimed, make_job


@pytest.mark.long
def test_each_role_enters_its_own_database_only(deployment: Deployment) -> None:
    variables = deployment.services["code-location"].variables
    catalog = variables["ANTENNA_DATABASE_URL"]
    dagster = variables["ANTENNA_DAGSTER_PG_URL"].replace("+psycopg2", "")
    for url, own in ((catalog, "antenna"), (dagster, "dagster")):
        with psycopg.connect(url) as session:
            session.execute("CREATE TABLE mine (x int)")
            session.execute("DROP TABLE mine")
            rights = "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = current_user"
            assert session.execute(rights).fetchone() == (False,)
        for other in {"antenna", "dagster", "postgres", "template1"} - {own}:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(url.replace(f"/{own}?", f"/{other}?"))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(catalog.replace("://antenna:", "://antenna:x"))


def test_postgres_takes_the_compositions_options(deployment: Deployment) -> None:
    with psycopg.connect(deployment.stores.admin_database_url) as session:
        for name, value in (("max_connections", "330"), ("shared_buffers", "512MB"), ("max_wal_size", "4GB")):
            assert session.execute(f"SHOW {name}").fetchone() == (value,)
    log = (deployment.here.home.logs / "postgres.log").read_text()
    assert not [value for value in deployment.variables.values() if value in log]


def test_redis_refuses_strangers_and_never_forgets_by_itself(deployment: Deployment) -> None:
    url = deployment.services["code-location"].variables["ANTENNA_REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        wanted = {"maxmemory-policy": "noeviction", "maxmemory": str(256 * 2**20), "save": "", "appendonly": "no"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
    wrong = redis.Redis.from_url(url.replace("redis://:", "redis://:x"))
    with wrong as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_nats_writes_often_and_takes_large_results(deployment: Deployment) -> None:
    monitor = f"http://127.0.0.1:{deployment.here.ports['nats-monitor']}/"
    with urllib.request.urlopen(f"{monitor}jsz", timeout=60) as answer:
        assert json.load(answer)["config"]["sync_interval"] == 10e9
    with urllib.request.urlopen(f"{monitor}varz", timeout=60) as answer:
        assert json.load(answer)["max_payload"] == 8 * 2**20


async def test_a_worker_leases_and_reports_and_cannot_administrate(deployment: Deployment, project: str) -> None:
    orchestrator = deployment.settings("code-location")
    await prepare(orchestrator)
    async with opened(orchestrator) as services:
        job = await claimed(services, await make_job(services, project, 3))
        await publish.publish(services, job.job_id)
        job = await services.catalog.jobs.get(job.job_id)

        url = deployment.settings("worker-cpu").worker_queue_url
        refused: list[str] = []

        async def hear(error: Exception) -> None:
            refused.append(str(error))

        async with (
            connection.connected(url, name="worker", inbox_prefix=names.WORKER_INBOX) as client,
            Leaser(client, ack_wait=orchestrator.task_ack_wait) as leaser,
            ResultSender(client) as sender,
        ):
            hands = Hands(leaser, sender)
            leases = await hands.lease(job, 3)
            assert len(leases) == 3
            await hands.report(leases)
        stranger = await nats.connect(
            url, inbox_prefix=names.WORKER_INBOX.encode(), error_cb=hear, allow_reconnect=False
        )
        forbidden = ("$JS.API.STREAM.DELETE.TASKS", "$JS.API.STREAM.PURGE.TASKS", "tasks.null.1.1.1", "$KV.jobs.1.1")
        for subject in forbidden:
            await stranger.publish(subject, b"")
        async with asyncio.timeout(60):
            while len(refused) < len(forbidden):
                await stranger.flush()
        await stranger.close()
        assert all("permissions violation" in refusal.lower() for refusal in refused)
        info = await services.connection.jetstream(timeout=60).stream_info("RESULTS")
        assert info.state.messages == 3


@pytest.fixture(scope="module")
def outside() -> Iterator[Deployment]:
    """NATS with the door for workers elsewhere."""
    with temporary_folder() as folder, deployed(folder, MAIN, OUTSIDE) as deployment:
        secrets = deployment.here.path("/run/secrets")
        secrets.mkdir(parents=True)
        write_certificate(secrets / "tls-certificate", secrets / "tls-key")
        deployment.stores.start("nats")
        yield deployment


# nats-py's websocket says its time-out in aiohttp's old way.
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:parameter 'timeout':DeprecationWarning")
async def test_outside_only_a_worker_logs_in_and_only_over_tls(
    outside: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = outside.services["worker-cpu"].variables["ANTENNA_WORKER_NATS_URL"]
    everything = outside.services["code-location"].variables["ANTENNA_NATS_URL"]
    inside, door = (f"@127.0.0.1:{outside.here.ports[name]}" for name in ("nats", "nats-outside"))

    def through(url: str, scheme: str = "wss") -> str:
        return url.replace("nats://", f"{scheme}://").replace(inside, door)

    with pytest.raises(errors.Unavailable, match=r"(?i)certificate"):
        await connection.connect(through(worker), name="distrusts", wait=5)
    monkeypatch.setenv("SSL_CERT_FILE", str(outside.here.path("/run/secrets/tls-certificate")))
    async with connection.connected(through(worker), name="worker", inbox_prefix=names.WORKER_INBOX) as client:
        await client.flush()
        assert client.max_payload == 8 * 2**20
    with pytest.raises(errors.Unavailable, match=r"(?i)authorization violation"):
        await connection.connect(through(everything), name="everything", wait=5)
    with pytest.raises(errors.Unavailable):
        await connection.connect(through(worker, "ws"), name="plain", wait=1)
    async with connection.connected(everything, name="orchestrator") as client:
        await client.flush()
