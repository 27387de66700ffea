"""Several processes of one gateway: whichever takes a call, it is one gateway."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest
import requests

from antenna_orchestration.domain.job import Job
from antenna_orchestration.embedded import processes
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, collected, http_worker, job_for_http, running_gateway
from tests.gateway.http_worker import Task, session, success
from tests.waiting import wait_until


def servants(gateway: RunningGateway) -> list[psutil.Process]:
    """The processes that serve, without their own children."""
    return [child for child in psutil.Process(gateway.pid).children() if not processes.is_zombie(child)]


def servant_of(gateway: RunningGateway, http: requests.Session) -> int:
    """The process that has the session's connection."""
    with http.get(f"{gateway.url}/livez", timeout=60, stream=True) as answer:
        ours = answer.raw.connection.sock.getsockname()[1]
        answer.raise_for_status()
        assert answer.content
    for servant in servants(gateway):
        if any(one.raddr and one.raddr.port == ours for one in servant.net_connections("tcp")):
            return servant.pid
    return 0


@contextmanager
def a_session_for_each(gateway: RunningGateway, token: str) -> Iterator[dict[int, requests.Session]]:
    """Sessions of a worker, by the process that answers them."""
    found: dict[int, requests.Session] = {}
    with ExitStack() as stack:

        def are_served_by_both() -> bool:
            http = stack.enter_context(session(token))
            if servant := servant_of(gateway, http):
                found.setdefault(servant, http)
            return len(found) == 2

        wait_until(are_served_by_both, description="connections to both processes", timeout=120)
        yield found


def queued(gateway: RunningGateway, http: requests.Session, job: Job, tasks: list[Task]) -> int:
    """Post results of these tasks; how many were taken."""
    results = [{"reply_subject": task.reply_subject, "result": success(task.image_id)} for task in tasks]
    answer = http.post(f"{gateway.base}/jobs/{job.job_id}/result/", json={"results": results}, timeout=60)
    answer.raise_for_status()
    return int(answer.json()["results_queued"])


@pytest.mark.long
async def test_two_processes_are_one_gateway(shared_stores: EmbeddedStores, services: Services, project: str) -> None:
    job = await job_for_http(services, project, 12)
    with running_gateway(shared_stores, ANTENNA_GATEWAY_PROCESSES="2", ANTENNA_HTTP_LEASE="300") as gateway:
        worker = await http_worker(services, gateway, project, batch_size=4)
        async with collected(services, job):
            with a_session_for_each(gateway, worker.token) as by_process:
                first, second = by_process
                # Leased through one, posted through the other.
                for leasing, posting in ((first, second), (second, first)):
                    tasks = worker.lease(by_process[leasing], job.job_id)
                    assert queued(gateway, by_process[posting], job, tasks) == 4
                # One is killed, and its leases are the gateway's.
                held = worker.lease(by_process[first], job.job_id)
                psutil.Process(first).kill()
                assert queued(gateway, by_process[second], job, held) == 4
                wait_until(
                    lambda: len(servants(gateway)) == 2 and first not in [one.pid for one in servants(gateway)],
                    description="another process in place of the killed one",
                    timeout=120,
                )
        left = servants(gateway)
        gateway.stop(signal.SIGTERM)
        assert not [one for one in left if one.is_running() and not processes.is_zombie(one)]


@pytest.mark.slow
async def test_no_process_outlives_the_one_that_holds_the_port(shared_stores: EmbeddedStores) -> None:
    with running_gateway(shared_stores, ANTENNA_GATEWAY_PROCESSES="2") as gateway:
        left = servants(gateway)
        assert len(left) == 2
        gateway.stop(signal.SIGKILL)
        _, alive = psutil.wait_procs(left, timeout=60)
        assert not alive
        # The port is free for the next.
        gateway.start()
