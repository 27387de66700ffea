"""Leasing over a line that is cut and mended."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from antenna_orchestration import errors
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
