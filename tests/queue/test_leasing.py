"""Leasing over a line that is cut and mended."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from antenna_orchestration import errors, kernel
from antenna_orchestration.queue import connection, names, puller
from antenna_orchestration.queue.leasing import Lease, Leaser
from tests.chaos import tcp_proxy
from tests.waiting import eventually
from tests.worker.bench import open_bench, queue_server


@pytest.mark.long
async def test_a_question_without_an_answer_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the line was mended each of them was answered, with tasks that nobody worked on until their leases ended."""
    monkeypatch.setattr(puller, "GRACE", 0.3)
    monkeypatch.setattr(connection, "ANSWER", 0.3)
    with queue_server() as server, tcp_proxy.before(urlsplit(server.settings.nats_url).port or 0) as line:
        url = tcp_proxy.behind(line, server.settings.worker_nats_url)
        async with (
            open_bench(server.settings) as bench,
            connection.connected(url, name="worker", inbox_prefix=names.WORKER_INBOX) as client,
            Leaser(client, ack_wait=60.0) as leaser,
        ):
            job = await bench.submit([f"file:///{number}.jpg" for number in range(20)])
            line.stall()
            for _ in range(4):
                with pytest.raises(errors.Unavailable):
                    await leaser.lease(job.job_run, job.epoch, 2)
            line.restore()
            monkeypatch.setattr(puller, "GRACE", 60.0)
            monkeypatch.setattr(connection, "ANSWER", 60.0)

            async def leased() -> list[Lease] | None:
                return await leaser.lease(job.job_run, job.epoch, 2)

            assert len(await eventually(leased, description="tasks") or []) == 2
            await client.flush()
            assert (await bench.counts(job)).leased <= 4


async def test_what_arrives_late_is_given_by_and_by() -> None:
    """A worker that asked for one got all that an earlier question had asked for."""
    with queue_server() as server:
        async with (
            open_bench(server.settings) as bench,
            Leaser(bench.client, ack_wait=60.0) as holder,
            Leaser(bench.client, ack_wait=60.0) as leaser,
        ):
            job = await bench.submit([f"file:///{number}.jpg" for number in range(5)])
            held = await holder.lease(job.job_run, job.epoch, 5) or []
            asked = asyncio.create_task(leaser.lease(job.job_run, job.epoch, 5, wait=30))
            consumer = names.task_consumer(job.job_run, job.epoch)

            async def is_asked() -> bool:
                return bool((await bench.client.jetstream().consumer_info(names.TASKS, consumer)).num_waiting)

            await eventually(is_asked, description="a question at the server")
            await kernel.end(asked)
            for one in held:
                await one.hand_back()
            given: list[int] = []

            async def all_given() -> bool:
                some = await leaser.lease(job.job_run, job.epoch, 2) or []
                assert len(some) <= 2
                given.extend(one.task.image for one in some)
                return len(given) == 5

            await eventually(all_given, description="five tasks")
            assert sorted(given) == sorted(one.task.image for one in held)
