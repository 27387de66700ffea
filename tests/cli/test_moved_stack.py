"""Commands that run for long, and a stack that comes back at another port because a stranger has taken its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from antenna_orchestration.domain.job import Job
from antenna_orchestration.embedded.stores import EmbeddedStores, embedded_stores
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.services import opened, prepare
from tests.cli.shells import ANTENNA
from tests.free_ports import free_port
from tests.homes import temporary_folder
from tests.processing.jobs_by_hand import claimed, make_job
from tests.waiting import eventually, wait_until

FOLLOWS = "is at another address now"


@contextmanager
def in_background(log: Path, variables: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a shell of its own, which Ctrl-C ends."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("ANTENNA_", "DAGSTER_"))}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*ANTENNA, *arguments], env=outside | dict(variables), cwd=log.parent, stdout=output, stderr=output
        )
    try:
        yield process
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


@contextmanager
def a_stranger_at(url: str) -> Iterator[None]:
    """Somebody else's server at the address of one of ours."""
    with socket.create_server((urlsplit(url).hostname or "", urlsplit(url).port or 0)):
        yield


async def published(stores: EmbeddedStores, project: str) -> Job:
    """A job of two images for the worker."""
    await prepare(stores.settings)
    files = [stores.settings.home.parent / f"{project}-{number}.jpg" for number in range(2)]
    for file in files:
        file.write_bytes(b"not opened by the null pipeline")
    kinds = [f"file:{stores.settings.host_id}"]
    async with opened(stores.settings) as services:
        made = await make_job(services, project, 2, urls=[file.as_uri() for file in files], source_kinds=kinds)
        job = await claimed(services, made)
        await publish.publish(services, job.job_id)
        return job


async def is_done(stores: EmbeddedStores, job: Job) -> None:
    """Wait until there is a result for each image."""
    async with opened(stores.settings) as services:

        async def all_there() -> bool:
            return len(await services.queue.unread_results(job.job_run)) == 2

        await eventually(all_there, description="two results", timeout=120)


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["by its folder", "by its variables"])
def test_a_worker_and_a_gateway_follow_the_stack_that_they_joined(template: Path, how: str) -> None:
    with temporary_folder() as folder, ExitStack() as shells:
        home, port = folder / ".antenna", free_port()
        log, gateway_log = folder / "worker.log", folder / "gateway.log"
        with embedded_stores(home, template=template) as stores:
            variables = {"ANTENNA_HOME": str(home), **(stores.variables if how == "by its variables" else {})}
            old = stores.settings.nats_url
            job = asyncio.run(published(stores, "before"))
            worker = shells.enter_context(in_background(log, variables, "worker", "--pipelines", "null"))
            shells.enter_context(in_background(gateway_log, variables, "gateway", "--port", str(port)))
            asyncio.run(is_done(stores, job))
            wait_until(lambda: is_ready(port), description="the gateway is ready", timeout=120)
        with a_stranger_at(old), embedded_stores(home) as stores:
            assert stores.settings.nats_url != old
            for one in (log, gateway_log):
                wait_until(lambda one=one: FOLLOWS in one.read_text(), description="it follows", timeout=120)
            asyncio.run(is_done(stores, asyncio.run(published(stores, "after"))))
            wait_until(lambda: is_ready(port), description="the gateway is ready again", timeout=120)
            assert worker.poll() is None, "the process is the same, as a service manager wants it"
            # In order, while the queue is there.
            shells.close()
